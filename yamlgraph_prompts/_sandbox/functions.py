"""Every test (``is ...``) and global function that a template may use, each charged."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from jinja2.defaults import DEFAULT_TESTS  # type: ignore[attr-defined]
from jinja2.runtime import Context
from jinja2.utils import Cycler, Joiner, Namespace, generate_lorem_ipsum, pass_context

from yamlgraph_prompts._sandbox.budget import Refused, current
from yamlgraph_prompts._sandbox.filters import bound
from yamlgraph_prompts._sandbox.methods import call
from yamlgraph_prompts._sandbox.operations import (
    CONTAINERS,
    calculate,
    compare,
    hashed,
    listed,
    soft,
)
from yamlgraph_prompts._sandbox.printing import View
from yamlgraph_prompts._sandbox.views import ObjectView, own

_MAX_RANGE = 100_000  # as Jinja's own sandbox has it
_MAX_WORDS = 50_000
JINJA_TESTS: Final[dict[str, Any]] = DEFAULT_TESTS

# -- tests -------------------------------------------------------------------------------------

_COMPARING = {
    **dict.fromkeys(("==", "eq", "equalto"), "eq"),
    **dict.fromkeys(("!=", "ne"), "ne"),
    **dict.fromkeys((">", "gt", "greaterthan"), "gt"),
    **dict.fromkeys((">=", "ge"), "gteq"),
    **dict.fromkeys(("<", "lt", "lessthan"), "lt"),
    **dict.fromkeys(("<=", "le"), "lteq"),
    "in": "in",
}


def _test(function: Any) -> Callable[..., Any]:
    run = bound(function)

    @pass_context  # so Jinja cannot run it while it compiles
    def test(context: Context, value: Any, *args: Any) -> Any:
        current().tick()
        return run(context, value, *args)

    return test


def _divisible(value: Any, num: Any) -> bool:
    if isinstance(value, str):  # `%` would format it
        raise TypeError("not all arguments converted during string formatting")
    return bool(calculate("%", value, num) == 0)


def _sameas(value: Any, other: Any) -> bool:
    return value is other or (
        isinstance(value, View) and isinstance(other, View) and value.raw is other.raw
    )


def _iterable(value: Any) -> bool:
    if isinstance(value, View) and not isinstance(value, CONTAINERS):
        return isinstance(value, ObjectView) and value.shape.is_model
    return bool(JINJA_TESTS["iterable"](value))


_PLAIN = (
    "boolean callable defined escaped false filter float integer mapping none number sequence "
    "string test true undefined"
)
TESTS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _test(partial(compare, sign)) for name, sign in _COMPARING.items()},
    **{name: _test(JINJA_TESTS[name]) for name in _PLAIN.split()},
    "divisibleby": _test(_divisible),
    "even": _test(lambda value: _divisible(value, 2)),
    "iterable": _test(_iterable),
    "lower": _test(lambda value: call(soft(value), "islower")),
    "odd": _test(lambda value: not _divisible(value, 2)),
    "sameas": _test(_sameas),
    "upper": _test(lambda value: call(soft(value), "isupper")),
}


# -- global functions --------------------------------------------------------------------------


class Function:
    """A global function. It has no attributes that a template can read."""

    __slots__ = ("name", "run")

    def __init__(self, name: str, run: Callable[..., Any]) -> None:
        self.name = name
        self.run = run

    def __call__(self, /, *args: Any, **named: Any) -> Any:
        current().keep(256)
        return self.run(*args, **named)

    def __repr__(self) -> str:
        return f"<function {self.name!r}>"


def _range(*bounds: Any) -> range:
    numbers = range(*bounds)
    if len(numbers) > _MAX_RANGE:
        raise Refused(f"A range has at most {_MAX_RANGE:,} numbers.")
    return numbers


def _dict(*pairs: Any, **named: Any) -> dict[Any, Any]:
    given = []
    for pair in pairs:
        items = own(pair)
        if not isinstance(items, dict):
            items = [listed(item) for item in listed(items)]
        keys = items if isinstance(items, dict) else [item[0] for item in items if item]
        hashed(current(), keys, len(items))
        given.append(items)
    current().elements(4 * len(named))
    return dict(*given, **named)


def _lipsum(n: Any = 5, html: Any = True, min: Any = 20, max: Any = 100) -> str:  # noqa: A002
    if not all(isinstance(number, int) and number >= 0 for number in (n, min, max)):
        raise Refused("A size is negative, or no whole number.")
    if n * max > _MAX_WORDS:
        raise current().too_long()
    current().spend(8 * n * max)
    return current().made(str(generate_lorem_ipsum(n, html, min, max)))


GLOBALS: Final[dict[str, Function]] = {
    "cycler": Function("cycler", Cycler),
    "dict": Function("dict", _dict),
    "joiner": Function("joiner", Joiner),
    "lipsum": Function("lipsum", _lipsum),
    "namespace": Function("namespace", lambda *args, **named: Namespace(_dict(*args, **named))),
    "range": Function("range", _range),
}
