"""The Jinja environment that every template runs in, build-time and run-time alike.

Nothing is evaluated while it compiles, no private name can be reached, and what a render uses is
counted. It reads no files: a loader is handed in.
"""

from __future__ import annotations

import types
from _string import formatter_field_name_split  # type: ignore[import-not-found]
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.exceptions import TemplateSyntaxError
from jinja2.lexer import TokenStream
from jinja2.loaders import BaseLoader
from jinja2.runtime import BlockReference, Context, LoopContext, Macro, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing, pass_context
from markupsafe import EscapeFormatter, Markup

from yamlgraph_prompts.sandbox import guards
from yamlgraph_prompts.sandbox.access import check_attribute, is_refused_callable, refuse_attribute
from yamlgraph_prompts.sandbox.budget import CONTAINERS, PLAIN, Refused, current
from yamlgraph_prompts.sandbox.filters import FILTERS, TESTS, lipsum

_MAX_TOKENS = 60_000  # about 240 KB of nothing but Jinja: a second to compile
_MAX_BRACKETS = 60  # in brackets
_MAX_NAME = 200
_BOUND = (types.BuiltinMethodType, types.MethodType)
_CALL = 10  # iterations that a call takes as long as
_RECURSION = 30
_RECURSIVE = (BlockReference, LoopContext, Macro)
_DICT_NAMES = frozenset(dir(dict))


def _private(name: Any) -> bool:
    return isinstance(name, str) and str.startswith(name, "_")


class _Formatter(guards.BoundedFormatter):
    def __init__(self, env: GuardedEnvironment) -> None:
        self._env = env

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
        first, rest = formatter_field_name_split(field_name)
        obj = self.get_value(first, args, kwargs)
        for is_attribute, name in rest:
            obj = self._env.getattr(obj, name) if is_attribute else self._env.getitem(obj, name)
        return obj, first


class _EscapeFormatter(_Formatter, EscapeFormatter):
    def __init__(self, env: GuardedEnvironment, escape: Callable[[Any], Markup]) -> None:
        _Formatter.__init__(self, env)
        self.escape = escape


class _Generator(CodeGenerator):
    """Jinja's compiler, which counts every loop, macro and block, and evaluates nothing."""

    def write_commons(self) -> None:
        super().write_commons()
        self.writeline("tick = environment.ticker()")

    def enter_frame(self, frame: Frame) -> None:
        # once in each round of a loop and each run of a macro, a block, a recursive loop
        super().enter_frame(frame)
        if frame.symbols.level:
            self.writeline("tick()")

    def visit_For(self, node: nodes.For, frame: Frame) -> None:
        if node.test is not None:
            node.test = nodes.Or(_raw("tick()", node), node.test, lineno=node.test.lineno)
        super().visit_For(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:
        self.write("environment.join_values(context, (")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")

    def visit_Compare(self, node: nodes.Compare, frame: Frame) -> None:
        self.write("(tick() or ")
        super().visit_Compare(node, frame)
        self.write(")")

    def visit_List(self, node: nodes.List, frame: Frame) -> None:
        self._built(super().visit_List, node, frame, bool(node.items))

    def visit_Dict(self, node: nodes.Dict, frame: Frame) -> None:
        self._built(super().visit_Dict, node, frame, bool(node.items))

    def visit_Tuple(self, node: nodes.Tuple, frame: Frame) -> None:
        self._built(super().visit_Tuple, node, frame, node.ctx == "load" and bool(node.items))

    def _built(self, visit: Callable[..., None], node: Any, frame: Frame, counted: bool) -> None:
        if counted:
            self.write("environment.built(")
        visit(node, frame)
        if counted:
            self.write(")")

    def visit_Getitem(self, node: nodes.Getitem, frame: Frame) -> None:
        if not isinstance(node.arg, nodes.Slice):
            super().visit_Getitem(node, frame)
            return
        self.write("environment.cut(")
        self.visit(node.node, frame)
        self.write(", slice(")
        for bound in (node.arg.start, node.arg.stop, node.arg.step):
            if bound is None:
                self.write("None")
            else:
                self.visit(bound, frame)
            self.write(", ")
        self.write("))")

    def visit_EvalContextModifier(self, node: nodes.EvalContextModifier, frame: Frame) -> None:
        if not all(isinstance(option.value, nodes.Const) for option in node.options):
            self.fail("autoescape needs true or false", node.lineno)
        super().visit_EvalContextModifier(node, frame)


def _raw(source: str, node: nodes.Node) -> nodes.InternalName:
    name = object.__new__(nodes.InternalName)
    nodes.Node.__init__(name, source, lineno=node.lineno)
    return name


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


@pass_context
def _finalize(context: Context, value: Any) -> Any:
    # With @pass_context Jinja cannot call it, so it folds no constant while it compiles.
    if type(value) not in PLAIN and isinstance(value, CONTAINERS):
        current().measure(value)
    return value


class GuardedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's immutable sandbox with the guards of this package; made by `environment`."""

    code_generator_class = _Generator
    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(optimized=False, finalize=_finalize, **options)
        self.filters.clear()
        self.filters.update(FILTERS)
        self.tests.clear()
        self.tests.update(TESTS)
        self.globals["lipsum"] = lipsum
        self.formatter = _Formatter(self)

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        tokens = _counted(self.lexer.tokeniter(source, name, filename, state))
        return TokenStream(self.lexer.wrap(tokens, name, filename), name, filename)

    def handle_exception(self, source: str | None = None) -> NoReturn:
        raise

    # -- what compiled templates call

    def ticker(self) -> Callable[[], None]:
        return current().tick

    def concat(self, pieces: Iterable[str]) -> str:
        return current().join(pieces)

    def join_values(self, context: Context, values: tuple[Any, ...]) -> str:
        budget = current()
        texts = []
        for value in values:
            if type(value) is not str:
                budget.measure(value)
                if not (context.eval_ctx.autoescape and hasattr(value, "__html__")):
                    value = str(value)
            texts.append(value)
        budget.room(sum(map(len, texts)))
        if context.eval_ctx.autoescape and any(hasattr(text, "__html__") for text in texts):
            joined: str = Markup("").join(texts)
        else:
            joined = "".join(texts)
        budget.text(joined)
        return joined

    def built(self, value: Any) -> Any:
        budget = current()
        budget.spend(1 + (len(value) >> 4))
        for part in value.values() if type(value) is dict else value:
            if type(part) not in PLAIN and isinstance(part, CONTAINERS):
                budget.weigh(value)
                break
        return value

    def cut(self, obj: Any, part: slice) -> Any:
        return guards.made(current(), obj[part])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if type(left) in (float, bool) and type(right) in (int, float, bool):
            return self.binop_table[operator](left, right)
        budget = current()
        guards.binop(budget, operator, left, right)
        return guards.made(budget, self.binop_table[operator](left, right))

    # -- attributes and items

    def getattr(self, obj: Any, attribute: str) -> Any:
        kind = type(obj)
        if kind is dict and attribute not in _DICT_NAMES:
            value = obj.get(attribute, missing)
            return self.undefined(obj=obj, name=attribute) if value is missing else value
        if str.startswith(attribute, "_"):
            return self._private_item(obj, attribute)
        try:
            value = getattr(obj, attribute)
        except AttributeError:
            try:
                return obj[attribute]
            except (TypeError, LookupError, AttributeError):
                return self.undefined(obj=obj, name=attribute)
        check_attribute(obj, attribute, value)
        return self.wrap_str_format(value) or value if callable(value) else value

    def getitem(self, obj: Any, argument: Any) -> Any:
        if _private(argument):
            return self._private_item(obj, argument)
        try:
            return obj[argument]
        except (AttributeError, TypeError, LookupError):
            if isinstance(argument, str):
                try:
                    value = getattr(obj, str(argument))
                except AttributeError:
                    pass
                else:
                    check_attribute(obj, str(argument), value)
                    return self.wrap_str_format(value) or value if callable(value) else value
        return self.undefined(obj=obj, name=argument)

    def _private_item(self, obj: Any, name: str) -> Any:
        """`name` as the key of a mapping, which is data; never as an attribute."""
        if isinstance(obj, Undefined):
            return obj[name]
        if isinstance(obj, Mapping) and not str.startswith(name, "__"):
            try:
                return obj[name]
            except LookupError:
                return self.undefined(obj=obj, name=name)
        return refuse_attribute(obj, name)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        try:
            check_attribute(obj, attr, value)
        except Refused:
            return False
        return True

    # -- calls

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        if not isinstance(value, _BOUND):
            return None
        if value.__name__ not in ("format", "format_map") or not isinstance(value.__self__, str):
            return None
        text, is_map = value.__self__, value.__name__ == "format_map"
        formatter = self.formatter
        if isinstance(text, Markup):
            formatter = _EscapeFormatter(self, text.escape)

        def format(*args: Any, **kwargs: Any) -> str:  # noqa: A001
            if is_map:
                if kwargs or len(args) != 1:
                    raise TypeError("format_map() takes exactly one argument")
                kwargs, args = args[0], ()
            return type(text)(formatter.vformat(text, args, kwargs))

        return format

    def is_safe_callable(self, obj: Any) -> bool:
        return not is_refused_callable(obj) and super().is_safe_callable(obj)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if not __self.is_safe_callable(__obj):
            raise Refused(f"A {type(__obj).__name__!r} object is not to be called by prompts.")
        budget = current()
        budget.spend(_RECURSION if isinstance(__obj, _RECURSIVE) else _CALL)
        for given in args:
            if type(given) not in PLAIN:
                budget.weigh(given)
        for given in kwargs.values():
            if type(given) not in PLAIN:
                budget.weigh(given)
        if isinstance(__obj, _BOUND):
            __obj = __self.wrap_str_format(__obj) or __obj
            if isinstance(__obj, _BOUND):
                guards.method(budget, __obj, args, kwargs)
        budget.enter()
        result = __context.call(__obj, *args, **kwargs)
        budget.leave()
        return guards.made(budget, result) if type(result) not in PLAIN else result


def environment(
    *,
    undefined: type[Undefined] = Undefined,
    keep_trailing_newline: bool = False,
    loader: BaseLoader | None = None,
) -> GuardedEnvironment:
    """The guarded Jinja environment.

    Args:
        undefined: What an unknown name becomes.
        keep_trailing_newline: Whether a template's last line end is kept.
        loader: Where ``{% include %}`` and its like find templates; nowhere by default.

    Returns:
        An environment whose templates must be rendered within `budget.using`.
    """
    return GuardedEnvironment(
        undefined=undefined,
        keep_trailing_newline=keep_trailing_newline,
        loader=loader,
        cache_size=-1 if loader else 0,
        auto_reload=False,
    )
