"""Static checks of a Jinja template: what is wrong with it, and which names it needs.

They find all that compiling would refuse, but generate no code and evaluate nothing.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from jinja2 import nodes
from jinja2.compiler import find_undeclared
from jinja2.exceptions import TemplateSyntaxError
from jinja2.idtracking import Symbols

from yamlgraph_prompts._sandbox import fields
from yamlgraph_prompts._sandbox.explanation import foreign_syntax, syntax_hint
from yamlgraph_prompts._sandbox.jinja import GuardedEnvironment
from yamlgraph_prompts._sandbox.positions import Positions, word_columns
from yamlgraph_prompts._sandbox.views import opened_methods
from yamlgraph_prompts._text.spelling import nearest
from yamlgraph_prompts.findings import BoundedFindings, Finding, Severity, shown

# Python compiles at most 100 indentations, 200 parentheses and 20 loops in one another.
_MAX_DEPTH = 96
_MAX_LOOPS = 18
_MAX_BRANCHES = 500  # of one {% if %}
_MAX_BLOCKS = 200
_MAX_COPIED = 1_000_000  # names: Jinja copies all of them for each branch, include and scoped block
_MAX_MESSAGE = 500

_REFERENCES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
_SCOPES = (
    *(nodes.AssignBlock, nodes.Block, nodes.CallBlock, nodes.FilterBlock),
    *(nodes.For, nodes.Macro, nodes.Scope, nodes.With),
)
_OUTSIDE = frozenset({"call", "iter", "values"})  # fields of these that belong to the outer scope
_MACRO = ("caller", "kwargs", "varargs")
_SPECIAL: dict[type, tuple[str, ...]] = {  # names that Jinja itself makes in a scope
    nodes.Block: ("self", "super"),
    nodes.CallBlock: _MACRO,
    nodes.For: ("loop",),
    nodes.Macro: _MACRO,
}
_HAVE_METHODS = frozenset({"caller", "loop", "self", "super"})
_WIDE = (nodes.Stmt, nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict, nodes.Slice)
_LEAVES = frozenset({nodes.Const, nodes.Name, nodes.TemplateData})
_BY_ATTRIBUTE = frozenset({"groupby", "rejectattr", "selectattr"})
_MODIFIES = frozenset(
    {"add", "append", "clear", "extend", "insert", "pop", "remove", "setdefault", "sort", "update"}
)
_MODIFIES_HINT = (
    "Make a new list: {% set xs = xs + [x] %}. In a loop keep it in a namespace, with "
    "{% set ns = namespace(xs=[]) %} before and {% set ns.xs = ns.xs + [x] %} inside."
)
_OPEN_CLASS = "Pass its result as a variable, or open its class in the app: `templates.allow`."
_RESERVED = frozenset({"_loop_vars", "_block_vars"})


class _Place(NamedTuple):
    """Where a node stands."""

    is_soft: bool = False  # an unknown filter is refused only when it is reached
    is_top: bool = True  # in no loop, macro, block or the like
    loops: int = 0


class Inspection:
    """The findings and names of one Jinja text; nothing of it is run."""

    def __init__(
        self, text: str, environment: GuardedEnvironment, *, included: bool = False
    ) -> None:
        self.undeclared: set[str] = set()  # looked up in what it is rendered with
        self.assigned: set[str] = set()  # by a {% set %} somewhere
        self.defaulted: set[str] = set()  # of which it asks whether they are given
        self.tree: nodes.Template | None = None  # None: it does not parse
        self._text = text
        self._environment = environment
        self._included = included
        self._findings = BoundedFindings()
        self._words: dict[Finding, str] = {}
        self._names: set[str] = set()
        self._blocks: set[str] = set()
        self._copies = 0
        self._is_too_deep = False
        self._methods = environment.methods | opened_methods()  # that a template may call
        self._modules = set(_HAVE_METHODS)
        self._made: set[str] = set()  # lists and dictionaries of the template itself
        self._called: dict[str, nodes.Node] = {}
        try:
            self.tree = environment._parse(text, None, None)
            self._check(self.tree)
        except TemplateSyntaxError as error:
            message = (error.message or "syntax error")[:_MAX_MESSAGE]
            line, column, hint = error.lineno, None, syntax_hint(message)
            if foreign := foreign_syntax(text, message):
                offset, message, hint = foreign
                line, column = Positions(text).at(offset)
            self._find("error", "template-syntax", message, line, hint=hint, column=column)
        except RecursionError:
            self._find("error", "template-syntax", "it nests too deeply", None)
        except (ValueError, OverflowError):
            self._find("error", "template-syntax", "it holds a number that is too large", None)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, with columns where the word in question stands once in its line."""
        wanted = {(finding.line or 0, word) for finding, word in self._words.items()}
        columns = word_columns(self._text, wanted)
        return tuple(
            finding.at(column=columns.get((finding.line or 0, self._words[finding])))
            if finding in self._words
            else finding
            for finding in self._findings
        )

    def _find(
        self,
        severity: Severity,
        code: str,
        message: str,
        line: int | None,
        *,
        at: str | None = None,
        hint: str | None = None,
        column: int | None = None,
    ) -> None:
        finding = Finding(severity, code, message, line=line, column=column, hint=hint)
        if self._findings.add(finding) and at:
            self._words[finding] = at

    def _syntax(self, message: str, node: nodes.Node, at: str | None = None) -> None:
        self._find("error", "template-syntax", message, node.lineno, at=at)

    def _unsafe(self, message: str, node: nodes.Node, at: str | None = None) -> None:
        self._find("error", "unsafe-template", message, node.lineno, at=at)

    def _check(self, tree: nodes.Template) -> None:
        self._visit(tree, 0, _Place())
        if len(self._names) * self._copies > _MAX_COPIED:
            self._syntax("it has too many names for its branches, blocks and includes", tree)
        elif not self._is_too_deep:
            self._resolve(tree, None)
            for name in (self._called.keys() & self.undeclared) - self.assigned:
                self._not_callable(f"the variable {shown(name)}", self._called[name], name)

    def _visit(self, node: nodes.Node, depth: int, place: _Place) -> None:
        kind = type(node)
        if depth > _MAX_DEPTH or place.loops > _MAX_LOOPS:
            self._is_too_deep = True
            self._syntax("it nests too deeply", node)
            return
        if kind in _CHECKS:
            _CHECKS[kind](self, node, place)
        if kind in _LEAVES:
            return
        inner = place
        if kind in _SCOPES:
            inner = _Place(False, False, place.loops + (kind is nodes.For))
        elif kind is nodes.If or kind is nodes.CondExpr:
            inner = _Place(True, place.is_top, place.loops)
        depth += 2 if isinstance(node, _WIDE) else 1
        for field, value in node.iter_fields():
            around = place if field in _OUTSIDE else inner
            if type(value) is list:
                for child in value:
                    if isinstance(child, nodes.Node):
                        self._visit(child, depth, around)
            elif isinstance(value, nodes.Node):
                self._visit(value, depth, around)

    # -- names

    def _resolve(self, scope: Any, parent: Symbols | None) -> None:
        """Find, with Jinja's own analysis, which names a scope and those in it look up outside."""
        kind = type(scope)
        symbols = Symbols(None if kind is nodes.Block else parent)
        symbols.analyze_node(scope)
        if kind in _SPECIAL:
            for name in find_undeclared(scope.body, _SPECIAL[kind]):
                symbols.declare_parameter(name)
        self._look_up(symbols)
        if kind is nodes.AssignBlock and scope.filter is not None:
            for node in scope.filter.find_all(nodes.Name):
                if symbols.find_ref(node.name) is None:
                    message = f"the filter of a set block cannot use {shown(node.name)} here"
                    self._syntax(message, node, node.name)
        if kind is nodes.For:
            if scope.test is not None:
                condition = Symbols(parent)
                condition.analyze_node(scope, for_branch="test")
                self._look_up(condition)
            if scope.else_:
                self._resolve(nodes.Scope(scope.else_), parent)
        for inner in _inner_scopes(scope.body):
            self._resolve(inner, symbols)

    def _look_up(self, symbols: Symbols) -> None:
        for action, name in symbols.loads.values():
            if action == "resolve" and name not in self._environment.globals:
                self.undeclared.add(name)

    # -- statements

    def _name(self, node: nodes.Name, place: _Place) -> None:
        self._names.add(node.name)
        if node.name == "loop" and node.ctx == "store" and place.loops:
            self._syntax("Can't assign to special loop variable in for-loop target", node)

    def _if(self, node: nodes.If, place: _Place) -> None:
        self._copies += 1
        if len(node.elif_) > _MAX_BRANCHES:
            self._syntax(f"an if of more than {_MAX_BRANCHES} branches", node)

    def _assign(self, node: nodes.Assign, place: _Place) -> None:
        if type(node.target) is nodes.Name:
            self.assigned.add(node.target.name)
            if type(node.node) in (nodes.Dict, nodes.List):
                self._made.add(node.target.name)

    def _macro(self, node: Any, place: _Place) -> None:
        names = [argument.name for argument in node.args]
        if _has_twice(names):
            self._syntax("two parameters have the same name", node)
        required = names[: len(names) - len(node.defaults)]
        if "caller" in required and find_undeclared(node.body, ("caller",)):
            self._syntax("the parameter 'caller' of a macro needs a default", node)

    def _block(self, node: nodes.Block, place: _Place) -> None:
        self._copies += node.scoped
        if node.name in self._blocks:
            self._syntax(f"block {shown(node.name)} defined twice", node, node.name)
        elif len(self._blocks) >= _MAX_BLOCKS:
            self._syntax(f"it has more than {_MAX_BLOCKS} blocks", node)
        self._blocks.add(node.name)

    def _reference(self, node: Any, place: _Place) -> None:
        if not self._included:
            tag = {nodes.FromImport: "from"}.get(type(node), type(node).__name__.lower())
            self._find(
                "error",
                "template-include",
                f"{{% {tag} %}} cannot work in a prompt that is filled in at run time",
                node.lineno,
                at=tag,
                hint="Make the file a .yaml.j2: it is rendered when the release is built.",
            )
        self._copies += 1
        if type(node) is nodes.Extends and not place.is_top:
            self._syntax("cannot use extend from a non top-level scope", node)
        if type(node) is nodes.Import:
            self._modules.add(node.target)

    # -- expressions

    def _getattr(self, node: nodes.Getattr, place: _Place) -> None:
        self._private([node.attr], node)
        if node.attr.startswith("_") and not node.attr.startswith("__"):
            message = f"{shown(node.attr)} is refused unless it is a key of a mapping"
            self._find("warning", "unsafe-template", message, node.lineno, at=node.attr)

    def _getitem(self, node: nodes.Getitem, place: _Place) -> None:
        self._private(_texts([node.arg]), node)

    def _private(self, names: Iterable[str], node: nodes.Node, beginning: str = "__") -> None:
        for name in names:
            if name.startswith(beginning):
                self._unsafe(f"the attribute {shown(name)} is not for prompts", node, name)

    def _call(self, node: nodes.Call, place: _Place) -> None:
        self._keywords(node)
        called = node.node
        if type(called) is nodes.Name:
            self._called.setdefault(called.name, called)
        elif type(called) is nodes.Getattr:
            owner = called.node
            if type(owner) is nodes.Const and called.attr.startswith("format"):
                self._format_string(owner)
            if type(owner) is not nodes.Name or owner.name not in self._modules:
                own = type(owner) is nodes.Name and owner.name in self._made
                self._method(called.attr, called, fails=own and not place.is_soft)
        elif type(called) is nodes.Getitem:
            for name in _texts([called.arg]):
                self._method(name, called)

    def _method(self, name: str, node: nodes.Node, *, fails: bool = False) -> None:
        if name not in self._methods:
            hint = _MODIFIES_HINT if name in _MODIFIES else _OPEN_CLASS
            fails = fails and name in _MODIFIES
            self._not_callable(f"the method {shown(name)}", node, name, hint, fails=fails)

    def _not_callable(
        self, what: str, node: nodes.Node, at: str, hint: str = _OPEN_CLASS, *, fails: bool = False
    ) -> None:
        severity: Severity = "error" if fails else "warning"  # an app may open a class
        message = f"prompts cannot call {what}"
        self._find(severity, "not-callable", message, node.lineno, at=at, hint=hint)

    def _format_string(self, node: nodes.Const) -> None:
        try:
            for text in _texts([node]):
                for _offset, (name, *_) in fields.located_fields(text):
                    self._private([fields.private_part(name) or ""], node, "_")
        except ValueError:
            return  # its braces are wrong, which a call reports

    def _filter(self, node: nodes.Filter, place: _Place) -> None:
        self._known("filter", node, self._environment.filters, place)
        if node.name in ("d", "default") and type(node.node) is nodes.Name:
            self.defaulted.add(node.node.name)
        given = list(_texts(node.args))
        if node.name == "attr":
            self._private(given[:1], node, "_")
        elif node.name == "map" and given[:1] == ["attr"]:
            self._private(given[1:2], node, "_")
        paths = [*_texts(keyword.value for keyword in node.kwargs if keyword.key == "attribute")]
        if node.name in _BY_ATTRIBUTE:
            paths += given[:1]
        for path in paths:
            self._private(path.replace(",", ".").split("."), node)

    def _test(self, node: nodes.Test, place: _Place) -> None:
        self._known("test", node, self._environment.tests, place)
        if node.name in ("defined", "undefined") and type(node.node) is nodes.Name:
            self.defaulted.add(node.node.name)

    def _known(self, what: str, node: Any, known: Iterable[str], place: _Place) -> None:
        self._keywords(node)
        if node.name not in known:
            near = nearest(node.name, known)
            excluded = self._environment.excluded_filters if what == "filter" else {}
            self._find(
                "warning" if place.is_soft else "error",
                f"unknown-{what}",
                f"no {what} named {shown(node.name)}",
                node.lineno,
                at=node.name,
                hint=excluded.get(node.name) or (f"Did you mean {near!r}?" if near else None),
            )

    def _keywords(self, node: Any) -> None:
        names = [keyword.key for keyword in node.kwargs]
        if _has_twice(names):
            self._syntax("a keyword argument is repeated", node)
        for name in names:
            if name.startswith("__") or name in _RESERVED:
                self._unsafe(f"the argument {shown(name)} is not for prompts", node, name)


def _inner_scopes(body: Iterable[nodes.Node]) -> Iterator[nodes.Node]:
    for node in body:
        if isinstance(node, _SCOPES):
            yield node
        elif isinstance(node, nodes.If):
            yield from _inner_scopes(node.iter_child_nodes())


def _texts(given: Iterable[nodes.Node]) -> Iterator[str]:
    for node in given:
        if type(node) is nodes.Const and isinstance(node.value, str):
            yield node.value


def _has_twice(names: list[str]) -> bool:
    folded = {unicodedata.normalize("NFKC", name) for name in names}  # as Python does
    return len(folded) < len(names)


_CHECKS: dict[type, Callable[[Inspection, Any, _Place], None]] = {
    **dict.fromkeys(_REFERENCES, Inspection._reference),
    nodes.Assign: Inspection._assign,
    nodes.Block: Inspection._block,
    nodes.Call: Inspection._call,
    nodes.CallBlock: Inspection._macro,
    nodes.Filter: Inspection._filter,
    nodes.Getattr: Inspection._getattr,
    nodes.Getitem: Inspection._getitem,
    nodes.If: Inspection._if,
    nodes.Macro: Inspection._macro,
    nodes.Name: Inspection._name,
    nodes.Test: Inspection._test,
}
