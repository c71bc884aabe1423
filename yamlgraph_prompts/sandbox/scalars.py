"""Texts, numbers and dates of the app's own classes, as plain ones; no code of theirs runs."""

from __future__ import annotations

import datetime as dt
import enum
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

from yamlgraph_prompts.sandbox.budget import current
from yamlgraph_prompts.sandbox.printing import mro_of, once, printed

# -- texts and numbers that print in their own way ---------------------------------------------


class Labelled:
    """A plain value whose own class prints it in its own way, such as ``class A(str, Enum)``."""

    raw: Any

    def __str__(self) -> str:
        return printed(self.raw, str)

    def __repr__(self) -> str:
        return printed(self.raw, repr)


class LabelledText(Labelled, str):
    """A text whose class has a `str` of its own."""

    def __format__(self, spec: str) -> str:
        return str.__format__(str(self), spec)


class LabelledInt(Labelled, int):
    """A whole number whose class has a `str` of its own."""


class LabelledFloat(Labelled, float):
    """A number whose class has a `str` of its own."""


def _labelled(plain_of: Callable[[Any], Any], kind: type) -> Callable[[Any], Any]:
    def make(raw: Any) -> Any:
        plain = plain_of(raw)
        if enum.Enum not in mro_of(type(raw)) and printed(raw, str) == str(plain):
            return plain
        labelled: Any = kind(plain)
        labelled.raw = raw
        return labelled

    def view(raw: Any) -> Any:
        current().tick()
        return once(raw, kind, make)

    return view


def _plain_text(raw: str) -> str:
    return current().made(str.__str__(raw))


# -- dates -------------------------------------------------------------------------------------

_PARTS: Final[dict[Any, tuple[str, ...]]] = {
    dt.date: ("year", "month", "day"),
    dt.datetime: ("year", "month", "day", "hour", "minute", "second", "microsecond"),
    dt.time: ("hour", "minute", "second", "microsecond"),
    dt.timedelta: ("days", "seconds", "microseconds"),
}


def _dated(kind: Any) -> Callable[[Any], Any]:
    def view(raw: Any) -> Any:
        parts = [getattr(kind, name).__get__(raw) for name in _PARTS[kind]]
        if kind in (dt.date, dt.timedelta):
            return kind(*parts)
        return kind(*parts, _zone(kind, raw), fold=kind.fold.__get__(raw))

    return view


_timedelta: Final = _dated(dt.timedelta)


def _zone(kind: Any, raw: Any) -> Any:
    """A zone of Python's own: one of the app's is asked once, not for each method."""
    zone = kind.tzinfo.__get__(raw)
    if zone is None or type(zone) is ZoneInfo or zone is dt.UTC:
        return zone
    offset, name = kind.utcoffset(raw), kind.tzname(raw)
    if type(zone) is dt.timezone and type(offset) is dt.timedelta and type(name) is str:
        return zone
    if offset is None:
        return None
    return dt.timezone(_timedelta(offset), "UTC" if name is None else str.__str__(name))


# Type → what makes a plain value of its instances, and of those of what derives from it.
SCALARS: Final[dict[type, Callable[[Any], Any]]] = {
    str: _labelled(_plain_text, LabelledText),
    int: _labelled(int.__pos__, LabelledInt),
    float: _labelled(float.__pos__, LabelledFloat),
    Decimal: Decimal,
    **{kind: _dated(kind) for kind in _PARTS},
}
