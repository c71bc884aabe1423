"""The Jinja environment that every template runs in, build-time and run-time alike.

Nothing is evaluated while it compiles, templates reach only what `views` shows and `operations`,
`methods` and `filters` list, and each step is counted. It reads no files: a loader is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Environment, nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import TemplateSyntaxError
from jinja2.lexer import TokenStream
from jinja2.parser import Parser
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.utils import Joiner, missing

from yamlgraph_prompts._sandbox.access import (
    METHOD_NAMES,
    METHODS,
    BoundMethod,
    item,
    member,
    withheld,
)
from yamlgraph_prompts._sandbox.budget import Refused, current
from yamlgraph_prompts._sandbox.filters import EXCLUDED_FILTERS, FILTERS
from yamlgraph_prompts._sandbox.functions import GLOBALS, TESTS, Function
from yamlgraph_prompts._sandbox.operations import (
    CONTAINERS,
    SIZED,
    calculate,
    check_number,
    compare,
    describe,
    hashed,
    show,
)
from yamlgraph_prompts._sandbox.printing import View
from yamlgraph_prompts._sandbox.views import MappingView, ObjectView, SequenceView, is_withheld, own

_MAX_TOKENS = 60_000  # about 240 KB of nothing but Jinja: a second to compile
_MAX_BRACKETS = 60  # in brackets
_MAX_NAME = 200
_SHORT = 4_096  # characters of a text whose tree is remembered
_MAPPING = METHODS["mapping"]
_BY_KEY = frozenset({MappingView, SequenceView})
_VIEWS = _BY_KEY | {ObjectView}
_CALL = 10  # steps that a call takes as long as
_CALLED = frozenset({BlockReference, BoundMethod, Function, Joiner, LoopContext, Macro})


class _Generator(CodeGenerator):
    """Jinja's compiler, but every operation goes through the environment, and none runs yet."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._loops: dict[int, int] = {}  # id of what a loop goes over → steps of a round

    def write_commons(self) -> None:
        super().write_commons()
        self.writeline("show, compare = environment.show, environment.compare")

    def visit(self, node: nodes.Node, *args: Any, **named: Any) -> Any:
        weight = self._loops.get(id(node))
        if weight is None:
            return super().visit(node, *args, **named)
        self.write("environment.each(")
        super().visit(node, *args, **named)
        self.write(f", {weight})")
        return None

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        self._loops[id(node.iter)] = 1 + (sum(1 for _ in node.find_all(nodes.Node)) >> 4)
        super().visit_For(node, frame)

    def macro_def(self, macro_ref: Any, frame: Frame) -> None:
        self.write("environment.built(")
        super().macro_def(macro_ref, frame)
        self.write(")")

    def buffer(self, frame: Frame) -> None:
        frame.buffer = self.temporary_identifier()
        self.writeline(f"{frame.buffer} = environment.buffer()")

    def _make_finalize(self) -> Any:
        return self._FinalizeInfo(None, "show(")  # no constant is evaluated

    def _output_child_pre(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        if isinstance(node, nodes.Name):
            name = frame.symbols.ref(node.name)
            self.write(f"({name} if {name}.__class__ is str else ")
            self.write(f"str({name}) if {name}.__class__ is int else show(")
        else:
            self.write("(text if (text := ")

    def _output_child_post(self, node: nodes.Expr, frame: Frame, finalize: Any) -> None:
        self.write("))" if isinstance(node, nodes.Name) else ").__class__ is str else show(text))")

    def _write(self, frame: Frame, *parts: str | nodes.Node | None) -> None:
        """Write texts as they are, and nodes as the code that they become."""
        for part in parts:
            if isinstance(part, nodes.Node):
                self.visit(part, frame)
            else:
                self.write(str(part))

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        parts = [written for part in node.nodes for written in (part, ", ")]
        self._write(frame, "environment.join_values((", *parts, "))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        first, *others = node.ops
        if not others:
            self._write(frame, f"compare({first.op!r}, ", node.expr, ", ", first.expr, ")")
            return
        self._write(frame, "environment.compared(", node.expr)
        for operand in node.ops:
            self._write(frame, f", {operand.op!r}, lambda: ", operand.expr)
        self.write(")")

    def visit_Neg(self, node: nodes.UnaryExpr, frame: Frame) -> None:
        if isinstance(node.node, nodes.Const) and type(node.node.value) in (int, float):
            self._write(frame, "(-", node.node, ")")  # such as the index of the last one
        else:
            super().visit_Neg(node, frame)

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._built(super().visit_List, node, frame)

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        if node.ctx == "load":
            self._built(super().visit_Tuple, node, frame)
        else:
            super().visit_Tuple(node, frame)

    def _built(self, visit: Callable[..., None], node: Any, frame: Frame) -> None:
        self.write("environment.built(")
        visit(node, frame)
        self.write(")")

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self.write("environment.built(environment.mapping((")
        for pair in node.items:
            self._write(frame, "(", pair.key, ", ", pair.value, "), ")
        self.write(")))")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        part = node.arg
        if not isinstance(part, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        bounds = part.start, ", ", part.stop, ", ", part.step
        self._write(frame, "environment.cut(", node.node, ", slice(", *bounds, "))")


class _Parser(Parser):
    def parse_autoescape(self) -> NoReturn:
        self.fail(
            "{% autoescape %} is for HTML, and a prompt is plain text: remove it, and write "
            "{{ name | e }} where a text is to be escaped"
        )


def _counted(tokens: Iterable[tuple[int, str, str]]) -> Iterator[tuple[int, str, str]]:
    depth = 0
    for number, token in enumerate(tokens):
        if number > _MAX_TOKENS:
            raise TemplateSyntaxError(f"it has more than {_MAX_TOKENS:,} words of Jinja", token[0])
        if token[1] == "name" and len(token[2]) > _MAX_NAME:
            # Python brings names to a normal form, which is quadratic in their accents.
            raise TemplateSyntaxError(f"a name has more than {_MAX_NAME} characters", token[0])
        if token[1] == "operator":
            depth += (token[2] in "([{") - (token[2] in ")]}")
            if depth > _MAX_BRACKETS:
                raise TemplateSyntaxError("it nests too deeply", token[0])
        yield token


class _Buffer(list[str]):
    """The pieces of a macro's or a block's text, each counted as a short text of its own."""

    def append(self, piece: str) -> None:
        current().keep(64)
        super().append(piece)

    def extend(self, pieces: Iterable[str]) -> None:
        before = len(self)
        super().extend(pieces)
        current().keep(64 * (len(self) - before))


class _Context(Context):
    """The names of one render. No template changes the `eval_ctx`, so that all share one."""

    def __init__(
        self, environment: Any, parent: dict[str, Any], name: Any, blocks: Any, **named: Any
    ) -> None:
        self.environment, self.parent, self.name = environment, parent, name
        self.vars, self.exported_vars = {}, set()
        self.globals_keys = set(named.get("globals") or ())
        self.eval_ctx = environment.eval_ctx
        self.blocks = {key: [block] for key, block in blocks.items()} if blocks else {}


class GuardedEnvironment(Environment):
    """Jinja whose templates do only what this package lists.

    They must be rendered within `budget.using`, with values that `views.view` gives.
    """

    code_generator_class = _Generator
    context_class = _Context
    sandboxed = True  # so calls and operators come to this object
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})
    intercepted_unops = frozenset({"+", "-"})
    methods = METHOD_NAMES  # that a template may call, whatever they belong to
    excluded_filters = EXCLUDED_FILTERS

    def __init__(self, **options: Any) -> None:
        options = {"cache_size": -1, "auto_reload": False} | options
        super().__init__(optimized=False, **options)
        # What the check has parsed is compiled for the first run.
        self._parsed = lru_cache(maxsize=8)(lambda *source: _Parser(self, *source).parse())
        self.filters = dict(FILTERS)
        self.tests = dict(TESTS)
        self.globals = dict(GLOBALS)
        self.eval_ctx = nodes.EvalContext(self)

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        tokens = _counted(self.lexer.tokeniter(source, name, filename, state))
        return TokenStream(self.lexer.wrap(tokens, name, filename), name, filename)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        if len(source) > _SHORT:
            return _Parser(self, source, name, filename).parse()
        return self._parsed(source, name, filename)

    def handle_exception(self, source: str | None = None) -> NoReturn:
        raise

    # -- what compiled templates call

    show = staticmethod(show)
    buffer = _Buffer
    compare = staticmethod(compare)

    def each(self, value: Any, weight: int = 1) -> Any:
        """What a loop goes over, after charging all its rounds."""
        if isinstance(value, SIZED):
            current().rounds(len(value) * weight)  # type: ignore[arg-type]
        elif isinstance(value, View) and not isinstance(value, ObjectView):
            raise TypeError(f"{describe(value)!r} object is not iterable")
        return value

    def concat(self, pieces: Iterable[str]) -> str:
        budget = current()
        return budget.made(budget.join(pieces))

    def join_values(self, values: tuple[Any, ...]) -> str:
        budget, texts = current(), [show(value) for value in values]
        budget.room(sum(map(len, texts)))
        return budget.made("".join(texts))

    def built(self, value: Any) -> Any:
        """A list, dictionary or macro that a template makes."""
        budget = current()
        budget.tick()
        budget.keep(200 + 96 * len(value) if isinstance(value, CONTAINERS) else 600)  # type: ignore[arg-type]
        return value

    def mapping(self, pairs: tuple[tuple[Any, Any], ...]) -> dict[Any, Any]:
        hashed(current(), [key for key, _value in pairs], len(pairs))
        return {own(key): value for key, value in pairs}

    def compared(self, left: Any, *rest: Any) -> Any:
        """``left < a <= b``: each operand is evaluated when it is needed, once."""
        for position in range(0, len(rest), 2):
            right = rest[position + 1]()
            result = compare(rest[position], left, right)
            if not result:
                break
            left = right
        return result

    def cut(self, obj: Any, part: slice) -> Any:
        budget = current()
        obj = own(obj)
        if isinstance(obj, str):
            return budget.made(obj[part])
        if isinstance(obj, (list, tuple, range, Undefined)):
            budget.elements(0 if isinstance(obj, (range, Undefined)) else len(obj))
            return obj[part]
        raise TypeError(f"{describe(obj)!r} object is not subscriptable")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        return calculate(operator, left, right)

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        return check_number(-arg if operator == "-" else +arg)

    # -- attributes and items

    def getattr(self, obj: Any, attribute: str) -> Any:
        value = missing
        if type(obj) in _VIEWS and attribute not in _MAPPING and attribute[0] != "_":
            current().tick()
            value = obj.item(attribute)
        if value is missing:
            value = member(obj, attribute)
        if value is missing:
            value = item(obj, attribute)
        return self._undefined(obj, attribute) if value is missing else value

    def getitem(self, obj: Any, argument: Any) -> Any:
        value, kind = missing, type(argument)
        if type(obj) in _BY_KEY and (kind is int or (kind is str and argument[:1] != "_")):
            current().tick()
            value = obj.item(argument)
        if value is missing:
            value = item(obj, argument)
        if value is missing and isinstance(argument, str):
            value = member(obj, argument)
        return self._undefined(obj, argument) if value is missing else value

    def attribute(self, obj: Any, name: Any) -> Any:
        """What the filter `attr` gives: an attribute, never an item."""
        value = member(obj, str(name))
        return self._undefined(obj, name) if value is missing else value

    def _undefined(self, obj: Any, name: Any) -> Undefined:
        owner = describe(obj)
        if isinstance(name, str):
            if is_withheld(obj, name):
                raise withheld(obj, name)
            why = f"{owner + ' object'!r} has no attribute {name[:_MAX_NAME]!r}"
        else:
            is_short = isinstance(name, int) and name.bit_length() <= 64
            name = repr(name) if is_short else describe(name)
            why = f"{owner} object has no element {name}"
        budget = current()
        budget.tick()
        budget.keep(100)
        return self.undefined(budget.made(why), name=name)

    # -- calls

    def call(__self, __context: Context, __obj: Any, *args: Any, **named: Any) -> Any:
        named.pop("_loop_vars", None)
        named.pop("_block_vars", None)
        kind = type(__obj)
        budget = current()
        if kind not in _CALLED:
            if isinstance(__obj, Undefined):
                return __obj(*args, **named)  # its own refusal
            raise Refused(f"A {describe(__obj)!r} object is not to be called by prompts.")
        budget.spend(_CALL + (len(args) + 4 * len(named) >> 1))
        budget.keep(96 * (len(args) + len(named)))
        if kind is BoundMethod:
            return __obj(*args, **named)
        budget.keep(256)
        if kind is LoopContext and args and __obj._recurse:
            # Each round runs the loop's body: it is counted by the size of its code.
            weight = 1 + (len(__obj._recurse.__code__.co_code) >> 7)
            args = (__self.each(args[0], weight), *args[1:])
        budget.enter()
        result = __context.call(__obj, *args, **named)
        budget.leave()
        return result
