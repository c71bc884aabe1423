"""What may stand in a Jinja expression: each is looked at as the template is walked over.

It evaluates nothing: a size is judged only where it is written as a constant.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from jinja2 import nodes

from yamlgraph_prompts.findings import BoundedFindings, Finding, Severity, shown
from yamlgraph_prompts.sandbox import fields
from yamlgraph_prompts.sandbox.budget import MAX_BITS
from yamlgraph_prompts.sandbox.jinja import GuardedEnvironment
from yamlgraph_prompts.sandbox.positions import word_columns
from yamlgraph_prompts.sandbox.views import opened_methods
from yamlgraph_prompts.spelling import nearest

_MAX_EXPRESSION = 90  # parentheses in parentheses, as Python will see them
_MAX_CONSTANT = 10_000_000
_INTERNAL = frozenset(
    [
        "ag_code",
        "ag_frame",
        "cr_code",
        "cr_frame",
        "f_builtins",
        "f_code",
        "f_globals",
        "f_locals",
        "func_code",
        "func_globals",
        "gi_code",
        "gi_frame",
        "tb_frame",
    ]
)
_SIZED = frozenset(["batch", "center", "expandtabs", "indent", "ljust", "rjust", "slice", "zfill"])
_BY_ATTRIBUTE = frozenset(["groupby", "rejectattr", "selectattr"])
_RESERVED = frozenset({"_loop_vars", "_block_vars"})
_OWN_METHODS = frozenset({"caller", "loop", "self", "super"})  # what Jinja itself makes


class Loads(Protocol):
    """What is told of every name that an expression reads."""

    def load(self, name: str) -> None: ...


class Expressions:
    """Walks over expressions and keeps what it finds.

    Args:
        text: The template.
        environment: The guarded environment that it will be compiled in.
    """

    def __init__(self, text: str, environment: GuardedEnvironment) -> None:
        self._text = text
        self._environment = environment
        self._methods = environment.methods | opened_methods()  # that a template may call
        self._found = BoundedFindings()
        self._words: dict[Finding, str] = {}
        self._called: dict[str, nodes.Node] = {}
        self._modules = {*_OWN_METHODS}

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong, with columns where the word in question stands once in its line."""
        wanted = {(finding.line or 0, word) for finding, word in self._words.items()}
        columns = word_columns(self._text, wanted)
        return tuple(
            finding.at(column=columns.get((finding.line or 0, self._words[finding])))
            if finding in self._words
            else finding
            for finding in self._found
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
    ) -> None:
        finding = Finding(severity, code, message, line=line, hint=hint)
        if self._found.add(finding) and at:
            self._words[finding] = at

    def _syntax(self, message: str, node: nodes.Node, at: str | None = None) -> None:
        self._find("error", "template-syntax", message, node.lineno, at=at)

    def _unsafe(self, message: str, node: nodes.Node, at: str | None = None) -> None:
        self._find("error", "unsafe-template", message, node.lineno, at=at)

    def _expression(self, root: Any, names: Loads, soft: bool) -> None:
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
        for name in _texts([node.arg]):
            if name.startswith("__") or name in _INTERNAL:
                self._name(name, node, item=True)

    def _name(self, name: str, node: nodes.Node, *, item: bool) -> None:
        if name.startswith("__") or name in _INTERNAL or (name.startswith("_") and not item):
            self._unsafe(f"the attribute {shown(name)} is not for prompts", node, name)
        elif name.startswith("_"):
            self._find(
                "warning",
                "unsafe-template",
                f"{shown(name)} is refused unless it is a key of a mapping",
                node.lineno,
                at=name,
            )

    def _call(self, node: nodes.Call, soft: bool) -> None:
        self._keywords(node)
        self._callable(node.node)
        if type(node.node) is nodes.Getattr:
            owner = node.node.node
            if node.node.attr in _SIZED:
                self._sizes(node)
            if node.node.attr.startswith("format") and type(owner) is nodes.Const:
                self._format_string(owner)

    def _callable(self, called: nodes.Expr) -> None:
        if type(called) is nodes.Name:
            self._called.setdefault(called.name, called)
        elif type(called) is nodes.Getattr:
            owner = called.node.name if type(called.node) is nodes.Name else ""
            if owner not in self._modules and called.attr not in self._methods:
                self._not_callable(f"the method {shown(called.attr)}", called, called.attr)
        elif type(called) is nodes.Getitem:
            for name in _texts([called.arg]):
                if name not in self._methods:
                    self._not_callable(f"the method {shown(name)}", called, name)

    def _not_callable(self, what: str, node: nodes.Node, at: str) -> None:
        self._find(
            "warning",  # an app may open a class
            "not-callable",
            f"prompts cannot call {what}",
            node.lineno,
            at=at,
            hint="Pass its result as a variable, or open its class in the app: `templates.allow`.",
        )

    def _format_string(self, node: nodes.Const) -> None:
        if isinstance(node.value, str):
            try:
                for name, _spec, _conversion in fields.fields(node.value):
                    if part := fields.private_part(name):
                        message = f"the attribute {shown(part)} is not for prompts"
                        self._unsafe(message, node, part)
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
            for name in path.replace(",", ".").split("."):
                if name.startswith("__") or name in _INTERNAL:
                    self._name(name, node, item=True)

    def _test(self, node: nodes.Test, soft: bool) -> None:
        if node.name not in self._environment.tests:
            self._unknown("test", node, self._environment.tests, soft)
        self._keywords(node)

    def _unknown(self, what: str, node: Any, known: Iterable[str], soft: bool) -> None:
        near = nearest(node.name, known)
        excluded = self._environment.excluded_filters if what == "filter" else {}
        hint = excluded.get(node.name) or (f"Did you mean {near!r}?" if near else None)
        self._find(
            "warning" if soft else "error",  # Jinja refuses it only where it is reached
            f"unknown-{what}",
            f"no {what} named {shown(node.name)}",
            node.lineno,
            at=node.name,
            hint=hint,
        )

    def _keywords(self, node: Any) -> None:
        keys = [keyword.key for keyword in node.kwargs]
        if len(keys) > 1 and len(set(map(folded, keys))) < len(keys):
            self._syntax("a keyword argument is repeated", node)
        for key in keys:
            if key.startswith("__") or key in _RESERVED:
                self._unsafe(f"the argument {shown(key)} is not for prompts", node, key)

    def _sizes(self, node: Any) -> None:
        values = [*node.args, *(keyword.value for keyword in node.kwargs)]
        for value in values:
            if type(value) is nodes.Const and isinstance(value.value, int):
                self._size(value.value, node)

    def _size(self, size: int, node: nodes.Node) -> None:
        if size > _MAX_CONSTANT:
            # A number in hexadecimal may be too long to be written out.
            length = f"{size:,}" if size.bit_length() < 64 else "too many"
            self._unsafe(f"it makes a text of {length} characters", node)

    def _mul(self, node: nodes.Mul, soft: bool) -> None:
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if type(one) is nodes.Const and type(one.value) is int:
                if type(other) is nodes.Const and isinstance(other.value, str):
                    self._size(one.value * len(other.value), node)
                elif type(other) in (nodes.List, nodes.Tuple):
                    self._size(one.value, node)

    def _pow(self, node: nodes.Pow, soft: bool) -> None:
        base, power = (
            side.value if type(side) is nodes.Const else 0 for side in (node.left, node.right)
        )
        if (
            isinstance(base, int)
            and isinstance(power, int)
            and base.bit_length() * power > MAX_BITS
        ):
            self._unsafe("it makes a number that is too large", node)


def _texts(given: Iterable[nodes.Node]) -> Iterable[str]:
    for node in given:
        if type(node) is nodes.Const and isinstance(node.value, str):
            yield node.value


def folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name)  # as Python does


_WIDE = frozenset({nodes.Concat, nodes.List, nodes.Tuple, nodes.Dict, nodes.Slice})
_CHECKS: dict[type, Callable[[Expressions, Any, bool], None]] = {
    nodes.Call: Expressions._call,
    nodes.Filter: Expressions._filter,
    nodes.Getattr: Expressions._getattr,
    nodes.Getitem: Expressions._getitem,
    nodes.Mul: Expressions._mul,
    nodes.Pow: Expressions._pow,
    nodes.Test: Expressions._test,
}
