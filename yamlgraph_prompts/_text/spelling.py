"""What a misspelt name may have meant, in time that grows with the names' number only."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

_MAX_LENGTH = 64
_MAX_NAMES = 10_000
_SHORT = 6  # shorter names differ in one letter, or in two that changed places


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The first of `names` that differs from `name` in a letter or two; None without one.

    Example:
        >>> nearest("uper", ["lower", "upper"]), nearest("nmae", ["name"]), nearest("x", ["y"])
        ('upper', 'name', None)
    """
    length = len(name)
    if not 1 < length <= _MAX_LENGTH:
        return None
    allowed = 1 if length < _SHORT else 2
    folded = name.casefold()
    second: str | None = None
    for other in islice(names, _MAX_NAMES):
        if abs(len(other) - length) > allowed or other == name:
            continue
        edits = _edits(folded, other.casefold())
        if edits == 1 or (edits == 0 and other != name):
            return other
        if edits <= allowed and second is None:
            second = other
    return second


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """The hint with the nearest name; None without one."""
    near = nearest(name, names)
    return f"Did you mean {near!r}?" if near else None


def _edits(one: str, other: str) -> int:
    """How many neighbouring letters differ; two that changed places count as one."""
    start, shorter = 0, min(len(one), len(other))
    while start < shorter and one[start] == other[start]:
        start += 1
    end = 0
    while end < shorter - start and one[-1 - end] == other[-1 - end]:
        end += 1
    left, right = one[start : len(one) - end], other[start : len(other) - end]
    if len(left) == 2 and left == right[::-1]:
        return 1
    return max(len(left), len(right))
