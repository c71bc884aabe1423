"""One walk over a Jinja template's tree: what is wrong with it, and which names it needs.

It finds all that compiling would refuse, but generates no code and evaluates nothing.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any

from jinja2 import nodes
from jinja2.compiler import find_undeclared
from jinja2.exceptions import TemplateSyntaxError

from yamlgraph_prompts import fields
from yamlgraph_prompts.findings import Finding, Severity
from yamlgraph_prompts.sandbox import GuardedEnvironment

_MAX_STATEMENTS = 50  # blocks in blocks
_MAX_LOOPS = 18  # Python allows 20 in one function
_MAX_EXPRESSION = 90  # parentheses in parentheses, as Python will see them
_MAX_BRANCHES = 500  # of one {% if %}
_MAX_BLOCKS = 200
_MAX_CONSTANT = 10_000_000
_INTERNAL = frozenset(
    "ag_code ag_frame cr_code cr_frame f_builtins f_code f_globals f_locals func_code "
    "func_globals gi_code gi_frame tb_frame".split()
)
_SIZED = frozenset("batch center expandtabs indent ljust rjust slice zfill".split())
_BY_ATTRIBUTE = frozenset("groupby rejectattr selectattr".split())
_REFERENCES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
_RESERVED = frozenset({"_loop_vars", "_block_vars"})
_LINE_END = re.compile(r"\r\n|\r|\n")


class _Names:
    """The names that one function or loop of the compiled template knows (Jinja's `Symbols`)."""

    __slots__ = ("known", "parent", "stores")

    def __init__(self, parent: _Names | None) -> None:
        self.parent = parent
        self.known: dict[str, bool] = {}  # name → whether it is looked up outside
        self.stores: set[str] = set()

    def copy(self) -> _Names:
        other = _Names(self.parent)
        other.known, other.stores = self.known.copy(), self.stores.copy()
        return other

    def has(self, name: str) -> bool:
        scope: _Names | None = self
        while scope is not None:
            if name in scope.known:
                return True
            scope = scope.parent
        return False

    def load(self, name: str) -> None:
        if not self.has(name):
            self.known[name] = True

    def store(self, name: str) -> None:
        self.stores.add(name)
        self.known.setdefault(name, False)

    def declare(self, name: str) -> None:
        self.stores.add(name)
        self.known[name] = False

    def merge(self, branches: Iterable[_Names]) -> None:
        branches = list(branches)
        new = set().union(*(branch.stores for branch in branches)) - self.stores
        for branch in branches:
            self.known.update(branch.known)
            self.stores |= branch.stores
        for name in new:
            self.known[name] = self.parent is None or not self.parent.has(name)


class Inspection:
    """What one Jinja text says about itself.

    Args:
        text: The template.
        environment: The guarded environment that it will be compiled in.
        included: Whether ``{% include %}`` and its like may stand in it.

    Attributes:
        findings: What is wrong; lines count from 1 in `text`.
        undeclared: The names that are looked up in what it is rendered with.
        assigned: The names that ``{% set %}`` assigns somewhere.
        tree: Jinja's tree; None if it does not parse.
    """

    def __init__(
        self, text: str, environment: GuardedEnvironment, *, included: bool = False
    ) -> None:
        self._text = text
        self._environment = environment
        self._included = included
        self._found: dict[Finding, None] = {}
        self._lines: list[str] | None = None
        self._later: list[tuple[Callable[..., None], Any, _Names | None, int]] = []
        self.undeclared: set[str] = set()
        self.assigned: set[str] = set()
        self.tree: nodes.Template | None = None
        try:
            self.tree = environment._parse(text, None, None)
        except TemplateSyntaxError as error:
            self._find("error", "template-syntax", error.message or "syntax error", error.lineno)
        except RecursionError:
            self._find("error", "template-syntax", "it nests too deeply", None)
        except (ValueError, OverflowError):
            self._find("error", "template-syntax", "it holds a number that is too large", None)
        else:
            self._walk(self.tree)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(self._found)

    # -- findings

    def _find(
        self,
        severity: Severity,
        code: str,
        message: str,
        line: int | None,
        *,
        at: str | None = None,
        hint: str | None = None,
    ) -> None:
        column = self._column(line, at) if at and line else None
        self._found[Finding(severity, code, message, line=line, column=column, hint=hint)] = None

    def _column(self, line: int, word: str) -> int | None:
        if self._lines is None:
            self._lines = _LINE_END.split(self._text)
        if line > len(self._lines) or self._lines[line - 1].count(word) != 1:
            return None
        return self._lines[line - 1].index(word) + 1

    def _syntax(self, message: str, node: nodes.Node, at: str | None = None) -> None:
        self._find("error", "template-syntax", message, node.lineno, at=at)

    def _unsafe(self, message: str, node: nodes.Node, at: str | None = None) -> None:
        self._find("error", "unsafe-template", message, node.lineno, at=at)

    # -- statements

    def _walk(self, tree: nodes.Template) -> None:
        root = _Names(None)
        self._blocks: dict[str, nodes.Block] = {}
        self._body(tree.body, root, 0, 0, False)
        self._close(root)
        while self._later:
            visit, node, names, depth = self._later.pop()
            visit(node, names, depth)

    def _close(self, names: _Names) -> None:
        outside = self._environment.globals
        self.undeclared.update(n for n, asked in names.known.items() if asked and n not in outside)

    def _body(
        self, body: Iterable[nodes.Node], names: _Names, depth: int, loops: int, soft: bool
    ) -> None:
        for node in body:
            self._statement(node, names, depth, loops, soft)

    def _statement(
        self, node: Any, names: _Names, depth: int, loops: int, soft: bool
    ) -> None:
        if depth > _MAX_STATEMENTS:
            self._syntax(f"it nests blocks more than {_MAX_STATEMENTS} deep", node)
            return
        kind = type(node)
        if kind is nodes.Output:
            for part in node.nodes:
                if type(part) is not nodes.TemplateData:
                    self._expression(part, names, soft)
        elif kind is nodes.If:
            self._if(node, names, depth, loops)
        elif kind is nodes.For:
            self._expression(node.iter, names, soft)
            self._inner(self._for, node, names, depth, 0 if node.recursive else loops + 1)
        elif kind is nodes.Assign:
            self._expression(node.node, names, soft)
            self._target(node.target, names)
            if type(node.target) is nodes.Name:
                self.assigned.add(node.target.name)
        elif kind is nodes.AssignBlock:
            self._target(node.target, names)
            self._inner(self._set_block, node, names, depth, loops)
        elif kind is nodes.Macro:
            names.store(node.name)
            self._inner(self._macro, node, names, depth, 0)
        elif kind is nodes.CallBlock:
            self._expression(node.call, names, soft)
            self._inner(self._macro, node, names, depth, 0)
        elif kind is nodes.FilterBlock:
            self._expression(node.filter, names, soft)
            self._inner(self._filter_block, node, names, depth, loops)
        elif kind is nodes.With:
            for value in node.values:
                self._expression(value, names, soft)
            self._inner(self._with, node, names, depth, loops)
        elif kind is nodes.Block:
            self._block(node, depth)
        elif kind is nodes.Scope:
            self._inner(self._scope, node, names, depth, loops)
        elif kind is nodes.ScopedEvalContextModifier:
            for option in node.options:
                if type(option.value) is not nodes.Const:
                    self._unsafe("autoescape needs true or false", node)
            self._body(node.body, names, depth, loops, soft)
        elif isinstance(node, _REFERENCES):
            self._reference(node, names, depth, soft)
        else:
            self._expression(node, names, soft)

    def _inner(
        self, visit: Callable[..., None], node: Any, names: _Names, depth: int, loops: int
    ) -> None:
        # After the outer names are complete: an inner scope sees all of them.
        def later(node: Any, names: _Names, depth: int) -> None:
            visit(node, names, depth, loops)

        self._later.append((later, node, names, depth + 1))

    def _if(self, node: nodes.If, names: _Names, depth: int, loops: int) -> None:
        if len(node.elif_) > _MAX_BRANCHES:
            self._syntax(f"an if of more than {_MAX_BRANCHES} branches", node)
            return
        self._expression(node.test, names, True)
        branches = []
        for branch in (node.body, node.elif_, node.else_):
            inner = names.copy()
            self._body(branch, inner, depth + (branch is not node.elif_), loops, True)
            branches.append(inner)
        names.merge(branches)

    def _for(self, node: nodes.For, outer: _Names, depth: int, loops: int) -> None:
        if loops > _MAX_LOOPS:
            self._syntax(f"it nests loops more than {_MAX_LOOPS} deep", node)
            return
        if any(_stores_loop(part) for part in (node.target, *node.body, *node.else_)):
            self._syntax("Can't assign to special loop variable in for-loop target", node)
        names = _Names(outer)
        names.declare("loop")
        self._target(node.target, names, parameter=True)
        self._body(node.body, names, depth, loops, False)
        self._close(names)
        if node.test is not None:
            names = _Names(outer)
            self._target(node.target, names, parameter=True)
            self._expression(node.test, names, False)
            self._close(names)
        if node.else_:
            names = _Names(outer)
            self._body(node.else_, names, depth, loops, False)
            self._close(names)

    def _set_block(
        self, node: nodes.AssignBlock, outer: _Names, depth: int, loops: int
    ) -> None:
        names = _Names(outer)
        self._body(node.body, names, depth, loops, False)
        if node.filter is not None:
            for name in node.filter.find_all(nodes.Name):
                if not names.has(name.name):
                    self._syntax(
                        f"the filter of a set block cannot use {name.name!r} here", name, name.name
                    )
            self._expression(node.filter, _Names(names), False)
        self._close(names)

    def _macro(self, node: Any, outer: _Names, depth: int, loops: int) -> None:
        names = _Names(outer)
        arguments = [argument.name for argument in node.args]
        if len(set(map(_folded, arguments))) < len(arguments):
            self._syntax("two parameters have the same name", node)
        for argument in node.args:
            names.declare(argument.name)
        for default in node.defaults:
            self._expression(default, names, False)
        special = find_undeclared(node.body, ("caller", "kwargs", "varargs"))
        if "caller" in special and "caller" in arguments:
            if arguments.index("caller") < len(arguments) - len(node.defaults):
                self._syntax("the parameter 'caller' of a macro needs a default", node)
        self._body(node.body, names, depth, loops, False)
        for name in special:
            names.declare(name)
        self._close(names)

    def _filter_block(
        self, node: nodes.FilterBlock, outer: _Names, depth: int, loops: int
    ) -> None:
        names = _Names(outer)
        self._body(node.body, names, depth, loops, False)
        self._expression(node.filter, names, False)
        self._close(names)

    def _with(self, node: nodes.With, outer: _Names, depth: int, loops: int) -> None:
        names = _Names(outer)
        for target in node.targets:
            self._target(target, names)
        self._body(node.body, names, depth, loops, False)
        self._close(names)

    def _scope(self, node: nodes.Scope, outer: _Names, depth: int, loops: int) -> None:
        names = _Names(outer)
        self._body(node.body, names, depth, loops, False)
        self._close(names)

    def _block(self, node: nodes.Block, depth: int) -> None:
        if node.name in self._blocks:
            self._syntax(f"block {node.name!r} defined twice", node, node.name)
            return
        if len(self._blocks) >= _MAX_BLOCKS:
            self._syntax(f"it has more than {_MAX_BLOCKS} blocks", node)
            return
        self._blocks[node.name] = node
        self._later.append((self._block_body, node, None, depth + 1))

    def _block_body(self, node: nodes.Block, _outer: None, depth: int) -> None:
        names = _Names(None)
        for name in find_undeclared(node.body, ("self", "super")):
            names.declare(name)
        self._body(node.body, names, depth, 0, False)
        self._close(names)

    def _reference(self, node: Any, names: _Names, depth: int, soft: bool) -> None:
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
        if type(node) is nodes.Extends and (depth or soft):
            self._syntax("cannot use extend from a non top-level scope", node)
        self._expression(node.template, names, soft)
        if type(node) is nodes.Import:
            names.store(node.target)
        elif type(node) is nodes.FromImport:
            for name in node.names:
                names.store(name[1] if isinstance(name, tuple) else name)

    def _target(self, target: Any, names: _Names, *, parameter: bool = False) -> None:
        kind = type(target)
        if kind is nodes.Name:
            if parameter or target.ctx == "param":
                names.declare(target.name)
            else:
                names.store(target.name)
        elif kind is nodes.NSRef:
            names.load(target.name)
        else:
            for item in target.iter_child_nodes():
                self._target(item, names, parameter=parameter)

    # -- expressions

    def _expression(self, root: Any, names: _Names, soft: bool) -> None:
        todo = [(root, 2, soft)]
        while todo:
            node, depth, soft = todo.pop()
            kind = type(node)
            if kind is nodes.Name:
                names.load(node.name)
                continue
            if kind is nodes.Const:
                continue
            if depth > _MAX_EXPRESSION:
                self._syntax("an expression nests too deeply", node)
                return
            check = _CHECKS.get(kind)
            if check is not None:
                check(self, node, soft)
            if kind is nodes.CondExpr:
                soft = True
            depth += 2 if kind in _WIDE else 1
            for field in node.fields:
                value = getattr(node, field)
                if isinstance(value, nodes.Node):
                    todo.append((value, depth, soft))
                elif type(value) is list:
                    todo.extend((item, depth, soft) for item in value)

    def _getattr(self, node: nodes.Getattr, soft: bool) -> None:
        self._name(node.attr, node, item=True)

    def _getitem(self, node: nodes.Getitem, soft: bool) -> None:
        if type(node.arg) is nodes.Const and isinstance(node.arg.value, str):
            if node.arg.value.startswith("__") or node.arg.value in _INTERNAL:
                self._name(node.arg.value, node, item=True)

    def _name(self, name: str, node: nodes.Node, *, item: bool) -> None:
        if name.startswith("__") or name in _INTERNAL or (name.startswith("_") and not item):
            self._unsafe(f"the attribute {name!r} is not for prompts", node, name)
        elif name.startswith("_"):
            self._find(
                "warning",
                "unsafe-template",
                f"{name!r} is refused unless it is a key of a mapping",
                node.lineno,
                at=name,
            )

    def _call(self, node: nodes.Call, soft: bool) -> None:
        self._keywords(node)
        if type(node.node) is nodes.Getattr:
            owner = node.node.node
            if node.node.attr in _SIZED:
                self._sizes(node)
            if node.node.attr.startswith("format") and type(owner) is nodes.Const:
                self._format_string(owner)

    def _format_string(self, node: nodes.Const) -> None:
        if isinstance(node.value, str):
            try:
                for name, _spec, _conversion in fields.fields(node.value):
                    if part := fields.private_part(name):
                        self._unsafe(f"the attribute {part!r} is not for prompts", node, part)
            except (ValueError, RecursionError):
                return

    def _filter(self, node: nodes.Filter, soft: bool) -> None:
        known = self._environment.filters
        if node.name not in known:
            self._unknown("filter", node, known, soft)
            return
        self._keywords(node)
        if node.name in _SIZED:
            self._sizes(node)
        if node.name == "attr":
            for name in _texts(node.args[:1]):
                self._name(name, node, item=False)
        elif node.name in _BY_ATTRIBUTE:
            self._path(node.args[:1], node)
        self._path([k.value for k in node.kwargs if k.key == "attribute"], node)
        if node.name in ("map", "select", "reject", "selectattr", "rejectattr"):
            self._applied(node, soft)

    def _applied(self, node: nodes.Filter, soft: bool) -> None:
        given = list(_texts(node.args[:1]))
        if node.name == "map" and given == ["attr"]:
            for name in _texts(node.args[1:2]):
                self._name(name, node, item=False)
        if node.name == "map" and given and given[0] in _SIZED:
            self._sizes(node)

    def _path(self, given: list[nodes.Expr], node: nodes.Node) -> None:
        for path in _texts(given):
            for name in re.split(r"[.,]", path):
                if name.startswith("__") or name in _INTERNAL:
                    self._name(name, node, item=True)

    def _test(self, node: nodes.Test, soft: bool) -> None:
        if node.name not in self._environment.tests:
            self._unknown("test", node, self._environment.tests, soft)
        self._keywords(node)

    def _unknown(self, what: str, node: Any, known: Iterable[str], soft: bool) -> None:
        near = get_close_matches(node.name, known, n=1)
        self._find(
            "warning" if soft else "error",  # Jinja refuses it only where it is reached
            f"unknown-{what}",
            f"no {what} named {node.name!r}",
            node.lineno,
            at=node.name,
            hint=f"Did you mean {near[0]!r}?" if near else None,
        )

    def _keywords(self, node: Any) -> None:
        keys = [keyword.key for keyword in node.kwargs]
        if len(keys) > 1 and len(set(map(_folded, keys))) < len(keys):
            self._syntax("a keyword argument is repeated", node)
        for key in keys:
            if key.startswith("__") or key in _RESERVED:
                self._unsafe(f"the argument {key!r} is not for prompts", node, key)

    def _sizes(self, node: Any) -> None:
        values = [*node.args, *(keyword.value for keyword in node.kwargs)]
        for value in values:
            if type(value) is nodes.Const and isinstance(value.value, int):
                self._size(value.value, node)

    def _size(self, size: int, node: nodes.Node) -> None:
        if size > _MAX_CONSTANT:
            self._unsafe(f"it makes a text of {size:,} characters", node)

    def _mul(self, node: nodes.Mul, soft: bool) -> None:
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if type(one) is nodes.Const and type(one.value) is int:
                if type(other) is nodes.Const and isinstance(other.value, str):
                    self._size(one.value * len(other.value), node)
                elif type(other) in (nodes.List, nodes.Tuple):
                    self._size(one.value, node)

    def _pow(self, node: nodes.Pow, soft: bool) -> None:
        left, right = node.left, node.right
        if type(left) is nodes.Const and type(right) is nodes.Const:
            if isinstance(left.value, int) and isinstance(right.value, int):
                if left.value.bit_length() * right.value > 1_000_000:
                    self._unsafe("it makes a number that is too large", node)


def _texts(given: Iterable[nodes.Node]) -> Iterable[str]:
    for node in given:
        if type(node) is nodes.Const and isinstance(node.value, str):
            yield node.value


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name)  # as Python does


def _stores_loop(node: nodes.Node) -> bool:
    if type(node) is nodes.Name:
        return node.ctx == "store" and node.name == "loop"
    return any(n.ctx == "store" and n.name == "loop" for n in node.find_all(nodes.Name))


_WIDE = frozenset({nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict, nodes.Slice})
_CHECKS: dict[type, Callable[[Inspection, Any, bool], None]] = {
    nodes.Call: Inspection._call,
    nodes.Filter: Inspection._filter,
    nodes.Getattr: Inspection._getattr,
    nodes.Getitem: Inspection._getitem,
    nodes.Mul: Inspection._mul,
    nodes.Pow: Inspection._pow,
    nodes.Test: Inspection._test,
}
