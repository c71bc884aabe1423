"""Operators, formats and Python's own methods, each bounded before it runs.

Nothing here decides what may be read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sized
from string import Formatter
from types import BuiltinMethodType, MethodType
from typing import Any

from yamlgraph_prompts.sandbox.budget import (
    CONTAINERS,
    MAX_BITS,
    Budget,
    Refused,
    check_bits,
    current,
)

_SLOW = 1_000_000_000  # steps of an algorithm that is quadratic
_LINE_ENDS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
_BLANKS = " \t\n\r\v\f"
_NUMBERS = re.compile(r"\d+")
_SIZES = r"[#0\- +]*(\*|\d+)?(?:\.(\*|\d+)?)?"
_PRINTF = re.compile("%" + _SIZES)
_KEYED_PRINTF = re.compile(r"[%)]" + _SIZES)  # the name in %(name)d is not looked for: linear
_LOOK = 32  # iterations: the clock is looked at
_MANY_BITS = 1_000
_LONG_TEXT = 1_000
_LONG_NUMBER = 10_000  # bytes
_QUADRATIC = frozenset({"idna", "punycode"})  # codecs


# -- before something runs ---------------------------------------------------------------------


def check_width(budget: Budget, width: Any) -> None:
    """A field of this width, a repetition of this many."""
    if isinstance(width, int):
        budget.room(abs(width))
        budget.produce(abs(width))


def check_spec(budget: Budget, spec: str) -> None:
    """A format spec, such as ``>10.3f``: no number in it may be a size that is refused."""
    for number in _NUMBERS.findall(spec):
        if len(number) > 9:
            raise budget.too_long()
        check_width(budget, int(number))


def check_printf(budget: Budget, text: Any, values: Any) -> None:
    """``text % values``, where the text says the widths, or the values do (``%*d``)."""
    budget.measure(values)
    stars = False
    if isinstance(text, (bytes, bytearray)):
        text = text.decode("latin-1")
    pattern = _KEYED_PRINTF if "%(" in text else _PRINTF
    for width, precision in pattern.findall(text):
        for size in (width, precision):
            if size == "*":
                stars = True
            elif size:
                check_spec(budget, size)
    if stars:
        for value in values if isinstance(values, tuple) else (values,):
            check_width(budget, value)


def check_replace(budget: Budget, text: Any, old: Any = "", new: Any = "", count: Any = -1) -> None:
    times = text.count(old) if old else len(text) + 1
    if isinstance(count, int) and count >= 0:
        times = min(times, count)
    budget.room(len(text) + times * max(0, len(new) - len(old)))


def check_tags(budget: Budget, text: str) -> None:
    """Taking tags out of a text is quadratic."""
    if text.count("<") * len(text) > _SLOW:
        raise budget.too_long()


def lines(text: str) -> int:
    return 1 + sum(text.count(end) for end in _LINE_ENDS)


def _repeat(budget: Budget, value: Any, times: int) -> None:
    if isinstance(value, (str, bytes, bytearray)):
        budget.room(len(value) * max(0, times))
    elif isinstance(value, (list, tuple)):
        budget.spend(len(value) * max(0, times))


def binop(budget: Budget, operator: str, left: Any, right: Any) -> None:
    """Refuse an operation whose result would be too large, before it is made."""
    budget.tick()
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() > _MANY_BITS:
            budget.spend(_LOOK)
        if operator == "**" and right > 0:
            if left.bit_length() * min(right, 2**32) > MAX_BITS:
                raise Refused("It makes a number that is too large.")
        elif operator == "*":
            check_bits(left, right)
    elif operator == "*":
        if isinstance(right, int):
            _repeat(budget, left, right)
        elif isinstance(left, int):
            _repeat(budget, right, left)
    elif operator == "%":
        if isinstance(left, (str, bytes, bytearray)):
            check_printf(budget, left, right)
    elif operator == "+":
        if isinstance(left, (str, bytes)) and isinstance(right, (str, bytes)):
            budget.room(len(left) + len(right))
        elif isinstance(left, (list, tuple)):
            budget.spend((len(left) + len(right)) >> 4 if isinstance(right, Sized) else 1)


def made(budget: Budget, value: Any) -> Any:
    """Count what was made."""
    if isinstance(value, str):
        budget.text(value)
    elif isinstance(value, (bytes, bytearray)):
        budget.produce(len(value))
    elif isinstance(value, CONTAINERS) and isinstance(value, Sized):
        budget.spend(len(value) >> 4)
    return value


# -- methods of Python's own types ------------------------------------------------------------


def _pieces(budget: Budget, text: Any, separator: Any = None, *_: Any, **named: Any) -> None:
    separator = named.get("sep", separator)
    if separator:
        budget.spend(text.count(separator))
    elif len(text) > 1_000:
        blanks = _BLANKS if isinstance(text, str) else _BLANKS.encode()
        budget.spend(sum(text.count(blanks[i : i + 1]) for i in range(len(blanks))))


def _joined(budget: Budget, separator: Any, parts: Any = (), *_: Any) -> None:
    if isinstance(parts, Collection) and isinstance(parts, CONTAINERS):
        length = sum(len(part) for part in parts if isinstance(part, Sized))
        budget.room(length + len(separator) * len(parts))


def _translated(budget: Budget, text: Any, table: Any = (), *_: Any) -> None:
    if isinstance(table, dict):
        widest = max((len(v) for v in table.values() if isinstance(v, str)), default=1)
        budget.room(len(text) * widest)


def _widened(budget: Budget, text: Any, width: Any = 0, *_: Any) -> None:
    check_width(budget, width)


def _expanded(budget: Budget, text: Any, tabsize: Any = 8, *_: Any, **named: Any) -> None:
    tabsize = named.get("tabsize", tabsize)
    tabs = text.count("\t" if isinstance(text, str) else b"\t")
    if tabs and isinstance(tabsize, int):
        budget.room(tabs * max(0, tabsize))


def _replaced(budget: Budget, text: Any, *given: Any, **named: Any) -> None:
    check_replace(budget, text, *given, **named)


def _bytes_of(budget: Budget, number: int, length: Any = 1, *_: Any, **named: Any) -> None:
    check_width(budget, named.get("length", length))


def _lines_of(budget: Budget, text: Any, *_: Any, **named: Any) -> None:
    if len(text) > 1_000 and isinstance(text, str):
        budget.spend(lines(text))


def _tags(budget: Budget, text: Any, *_: Any) -> None:
    check_tags(budget, text)


def _coded(budget: Budget, text: Any, encoding: Any = "", *_: Any, **named: Any) -> None:
    encoding = named.get("encoding", encoding)
    if len(text) > _LONG_TEXT and str(encoding).lower() in _QUADRATIC:
        raise budget.too_long()


_TEXT_METHODS: dict[str, Callable[..., None]] = {
    "center": _widened,
    "decode": _coded,
    "encode": _coded,
    "expandtabs": _expanded,
    "join": _joined,
    "ljust": _widened,
    "replace": _replaced,
    "rjust": _widened,
    "rsplit": _pieces,
    "split": _pieces,
    "splitlines": _lines_of,
    "striptags": _tags,
    "translate": _translated,
    "zfill": _widened,
}


def method(
    budget: Budget, bound: BuiltinMethodType | MethodType, args: tuple[Any, ...], named: Any
) -> None:
    """Refuse a call of a built-in type's method whose result would be too large."""
    owner, name = bound.__self__, bound.__name__
    if isinstance(owner, (str, bytes, bytearray)):
        check = _TEXT_METHODS.get(name)
        if check is not None:
            check(budget, owner, *args, **named)
    elif isinstance(owner, int) and name == "to_bytes":
        _bytes_of(budget, owner, *args, **named)
    elif name == "from_bytes" and args and isinstance(args[0], Sized):
        if len(args[0]) > _LONG_NUMBER:
            raise Refused("It makes a number that is too large.")
    elif name == "fromkeys" and args and isinstance(args[0], Sized):
        budget.spend(len(args[0]))


class BoundedFormatter(Formatter):
    """`str.format` whose fields, widths and precisions are bounded; says nothing of names."""

    def format_field(self, value: Any, format_spec: str) -> Any:
        budget = current()
        if format_spec:
            check_spec(budget, format_spec)
        else:
            budget.measure(value)
        return made(budget, super().format_field(value, format_spec))

    def convert_field(self, value: Any, conversion: Any) -> Any:
        if conversion is not None:
            current().measure(value)
        return super().convert_field(value, conversion)
