"""One walk over a Jinja template's tree: what is wrong with it, and which names it needs.

It finds all that compiling would refuse, but generates no code and evaluates nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2 import nodes
from jinja2.compiler import find_undeclared
from jinja2.exceptions import TemplateSyntaxError

from yamlgraph_prompts.findings import shown
from yamlgraph_prompts.sandbox.explanation import syntax_hint
from yamlgraph_prompts.sandbox.expressions import Expressions, folded
from yamlgraph_prompts.sandbox.jinja import GuardedEnvironment

_MAX_STATEMENTS = 50  # blocks in blocks
_MAX_LOOPS = 18  # Python allows 20 in one function
_MAX_BRANCHES = 500  # of one {% if %}
_MAX_BLOCKS = 200
_MAX_MESSAGE = 500
_MAX_COPIED = 50_000  # names that blocks and includes are handed, all together
_REFERENCES = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


class Names:
    """The names that one function or loop of the compiled template knows (Jinja's `Symbols`).

    Args:
        parent: The names of the function or loop around it.
        before: For a branch of an ``{% if %}``: the names that are known where it begins.
    """

    __slots__ = ("_seen", "before", "known", "order", "parent", "stores")

    def __init__(self, parent: Names | None, before: Names | None = None) -> None:
        self.parent = parent
        self.before = before
        self.known: dict[str, bool] = {}  # name → whether it is looked up outside
        self.order: dict[str, int] = {}
        self.stores: set[str] = set()
        self._seen = len(before.order) if before else 0

    def branch(self) -> Names:
        return Names(self.parent, self)

    def has(self, name: str) -> bool:
        scope: Names | None = self
        seen = len(self.order)
        while scope is not None:
            if scope.order.get(name, seen) < seen:
                return True
            # Of what stands before a branch, only what was known where it begins.
            seen = scope._seen if scope.before else len(scope.parent.order) if scope.parent else 0
            scope = scope.before or scope.parent
        return False

    def load(self, name: str) -> None:
        if not self.has(name):
            self._know(name, True)

    def store(self, name: str) -> None:
        self.stores.add(name)
        if not any(name in names.known for names in self._branches()):
            self._know(name, False)

    def declare(self, name: str) -> None:
        self.stores.add(name)
        self._know(name, False)

    def merge(self, branches: list[Names]) -> None:
        for branch in branches:
            for name, asked in branch.known.items():
                self._know(name, asked)
            for name in branch.stores:
                if not any(name in names.stores for names in self._branches()):
                    self._know(name, self.parent is None or not self.parent.has(name))
        self.stores.update(*(branch.stores for branch in branches))

    def _know(self, name: str, asked: bool) -> None:
        self.known[name] = asked
        self.order.setdefault(name, len(self.order))

    def _branches(self) -> Iterator[Names]:
        names: Names | None = self
        while names is not None:
            yield names
            names = names.before


class Inspection(Expressions):
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
        super().__init__(text, environment)
        self._included = included
        self._copies = 0
        self._stored = 0
        self._later: list[tuple[Callable[..., None], Any, Names | None, int]] = []
        self.undeclared: set[str] = set()
        self.assigned: set[str] = set()
        self.tree: nodes.Template | None = None
        try:
            self.tree = environment._parse(text, None, None)
        except TemplateSyntaxError as error:
            message = (error.message or "syntax error")[:_MAX_MESSAGE]
            hint = syntax_hint(message)
            self._find("error", "template-syntax", message, error.lineno, hint=hint)
        except RecursionError:
            self._find("error", "template-syntax", "it nests too deeply", None)
        except (ValueError, OverflowError):
            self._find("error", "template-syntax", "it holds a number that is too large", None)
        else:
            self._walk_bounded(self.tree)

    # -- statements

    def _walk_bounded(self, tree: nodes.Template) -> None:
        try:
            self._walk(tree)
        except RecursionError:
            self._syntax("an expression nests too deeply", tree)

    def _walk(self, tree: nodes.Template) -> None:
        root = Names(None)
        self._blocks: dict[str, nodes.Block] = {}
        self._body(tree.body, root, 0, 0, False)
        self._close(root)
        while self._later:
            visit, node, names, depth = self._later.pop()
            visit(node, names, depth)
        for name in (self._called.keys() & self.undeclared) - self.assigned:
            self._not_callable(f"the variable {shown(name)}", self._called[name], name)
        if self._copies * self._stored > _MAX_COPIED:
            self._syntax("it hands too many names to its blocks and includes", tree)

    def _close(self, names: Names) -> None:
        outside = self._environment.globals
        self.undeclared.update(n for n, asked in names.known.items() if asked and n not in outside)

    def _body(
        self, body: Iterable[nodes.Node], names: Names, depth: int, loops: int, soft: bool
    ) -> None:
        for node in body:
            self._statement(node, names, depth, loops, soft)

    def _statement(self, node: Any, names: Names, depth: int, loops: int, soft: bool) -> None:
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
        elif isinstance(node, _REFERENCES):
            self._reference(node, names, depth, soft)
        else:
            self._expression(node, names, soft)

    def _inner(
        self, visit: Callable[..., None], node: Any, names: Names, depth: int, loops: int
    ) -> None:
        # After the outer names are complete: an inner scope sees all of them.
        def later(node: Any, names: Names, depth: int) -> None:
            visit(node, names, depth, loops)

        self._later.append((later, node, names, depth + 1))

    def _if(self, node: nodes.If, names: Names, depth: int, loops: int) -> None:
        if len(node.elif_) > _MAX_BRANCHES:
            self._syntax(f"an if of more than {_MAX_BRANCHES} branches", node)
            return
        self._expression(node.test, names, True)
        branches = []
        for branch in (node.body, node.elif_, node.else_):
            inner = names.branch()
            self._body(branch, inner, depth + (branch is not node.elif_), loops, True)
            branches.append(inner)
        names.merge(branches)

    def _for(self, node: nodes.For, outer: Names, depth: int, loops: int) -> None:
        if loops > _MAX_LOOPS:
            self._syntax(f"it nests loops more than {_MAX_LOOPS} deep", node)
            return
        if any(_stores_loop(part) for part in (node.target, *node.body, *node.else_)):
            self._syntax("Can't assign to special loop variable in for-loop target", node)
        names = Names(outer)
        names.declare("loop")
        self._target(node.target, names, parameter=True)
        self._body(node.body, names, depth, loops, False)
        self._close(names)
        if node.test is not None:
            names = Names(outer)
            self._target(node.target, names, parameter=True)
            self._expression(node.test, names, False)
            self._close(names)
        if node.else_:
            names = Names(outer)
            self._body(node.else_, names, depth, loops, False)
            self._close(names)

    def _set_block(self, node: nodes.AssignBlock, outer: Names, depth: int, loops: int) -> None:
        names = Names(outer)
        self._body(node.body, names, depth, loops, False)
        if node.filter is not None:
            for name in node.filter.find_all(nodes.Name):
                if not names.has(name.name):
                    self._syntax(
                        f"the filter of a set block cannot use {shown(name.name)} here",
                        name,
                        name.name,
                    )
            self._expression(node.filter, Names(names), False)
        self._close(names)

    def _macro(self, node: Any, outer: Names, depth: int, loops: int) -> None:
        names = Names(outer)
        arguments = [argument.name for argument in node.args]
        if len(set(map(folded, arguments))) < len(arguments):
            self._syntax("two parameters have the same name", node)
        for argument in node.args:
            names.declare(argument.name)
        for default in node.defaults:
            self._expression(default, names, False)
        special = find_undeclared(node.body, ("caller", "kwargs", "varargs"))
        required = arguments[: len(arguments) - len(node.defaults)]
        if "caller" in special and "caller" in required:
            self._syntax("the parameter 'caller' of a macro needs a default", node)
        self._body(node.body, names, depth, loops, False)
        for name in special:
            names.declare(name)
        self._close(names)

    def _filter_block(self, node: nodes.FilterBlock, outer: Names, depth: int, loops: int) -> None:
        names = Names(outer)
        self._body(node.body, names, depth, loops, False)
        self._expression(node.filter, names, False)
        self._close(names)

    def _with(self, node: nodes.With, outer: Names, depth: int, loops: int) -> None:
        names = Names(outer)
        for target in node.targets:
            self._target(target, names)
        self._body(node.body, names, depth, loops, False)
        self._close(names)

    def _scope(self, node: nodes.Scope, outer: Names, depth: int, loops: int) -> None:
        names = Names(outer)
        self._body(node.body, names, depth, loops, False)
        self._close(names)

    def _block(self, node: nodes.Block, depth: int) -> None:
        if node.name in self._blocks:
            self._syntax(f"block {shown(node.name)} defined twice", node, node.name)
            return
        if len(self._blocks) >= _MAX_BLOCKS:
            self._syntax(f"it has more than {_MAX_BLOCKS} blocks", node)
            return
        self._blocks[node.name] = node
        self._copies += node.scoped
        self._later.append((self._block_body, node, None, depth + 1))

    def _block_body(self, node: nodes.Block, _outer: None, depth: int) -> None:
        names = Names(None)
        for name in find_undeclared(node.body, ("self", "super")):
            names.declare(name)
        self._body(node.body, names, depth, 0, False)
        self._close(names)

    def _reference(self, node: Any, names: Names, depth: int, soft: bool) -> None:
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
        if type(node) is nodes.Extends and (depth or soft):
            self._syntax("cannot use extend from a non top-level scope", node)
        self._expression(node.template, names, soft)
        if type(node) is nodes.Import:
            names.store(node.target)
            self._modules.add(node.target)
        elif type(node) is nodes.FromImport:
            for name in node.names:
                names.store(name[1] if isinstance(name, tuple) else name)

    def _target(self, target: Any, names: Names, *, parameter: bool = False) -> None:
        kind = type(target)
        if kind is nodes.Name:
            self._stored += 1
            if parameter or target.ctx == "param":
                names.declare(target.name)
            else:
                names.store(target.name)
        elif kind is nodes.NSRef:
            names.load(target.name)
        else:
            for item in target.iter_child_nodes():
                self._target(item, names, parameter=parameter)


def _stores_loop(node: nodes.Node) -> bool:
    if type(node) is nodes.Name:
        return node.ctx == "store" and node.name == "loop"
    return any(n.ctx == "store" and n.name == "loop" for n in node.find_all(nodes.Name))
