"""What one render may use: characters, iterations and seconds. Counts; never renders anything."""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal

from jinja2.exceptions import SecurityError
from jinja2.utils import Namespace

# What a template can build, and what holds its own repr's length in itself.
CONTAINERS: tuple[type, ...] = (
    list,
    tuple,
    dict,
    set,
    frozenset,
    deque,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
    Namespace,
)
PLAIN = frozenset({str, int, float, bool, type(None)})

_LOOK_EVERY = 32  # iterations between two looks at the clock
_INTERMEDIATE = 6  # how much more than its output a render may produce on the way
_MAX_DEPTH = 100  # of lists in lists that a template builds
_MAX_CALLS = 150  # of macros and loops that call each other
MAX_BITS = 100_000  # of one whole number


class Refused(SecurityError):
    """Something that a template may not do. Its text never holds a value."""


class LimitReached(Refused):
    """A render used up what it may use; `kind` says of what."""

    def __init__(self, kind: Literal["characters", "iterations", "seconds"], text: str) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Limits:
    """What one render may use.

    Args:
        characters: The longest text that it may give.
        iterations: How often its loops and macros may run, all together.
        seconds: How long it may take, in seconds.

    Example:
        >>> Limits().characters
        10485760
    """

    characters: int = 10 * 1024 * 1024
    iterations: int = 1_000_000
    seconds: float = 5.0


class Budget:
    """What is left of one render's `Limits`."""

    __slots__ = (
        "_calls",
        "_characters",
        "_deadline",
        "_distinct",
        "_left",
        "_look_at",
        "_weights",
        "limits",
    )

    def __init__(self, limits: Limits) -> None:
        self.renew(limits)

    def renew(self, limits: Limits) -> None:
        """Begin anew, for another render by the same templates."""
        self.limits = limits
        self._characters = limits.characters * _INTERMEDIATE
        self._left = limits.iterations
        self._look_at = limits.iterations - _LOOK_EVERY
        self._deadline = monotonic() + limits.seconds
        self._weights: dict[int, tuple[int, int, Any]] = {}
        self._distinct = 0
        self._calls = 0

    def tick(self) -> None:
        """Count one iteration."""
        self._left -= 1
        if self._left < self._look_at:
            self._look()

    def spend(self, iterations: int) -> None:
        """Count `iterations` at once."""
        self._left -= iterations
        if self._left < self._look_at:
            self._look()

    def _look(self) -> None:
        if self._left < 0:
            raise LimitReached(
                "iterations", f"It took more than {self.limits.iterations:,} iterations."
            )
        if monotonic() > self._deadline:
            raise LimitReached("seconds", f"It took longer than {self.limits.seconds:g} s.")
        self._look_at = self._left - _LOOK_EVERY

    def produce(self, characters: int) -> None:
        """Count characters of intermediate text, before they are made."""
        self._characters -= characters
        if self._characters < 0:
            raise self.too_long()

    def room(self, characters: int) -> None:
        """Refuse a single text of this length."""
        if characters > self.limits.characters:
            raise self.too_long()

    def text(self, text: str) -> None:
        """Count a text that was made."""
        self.produce(len(text) if text.isascii() else 4 * len(text))

    def too_long(self) -> LimitReached:
        return LimitReached(
            "characters", f"Its text is longer than {self.limits.characters:,} characters."
        )

    def join(self, pieces: Iterable[str]) -> str:
        """The pieces as one text, refused before it is made if it is too long."""
        parts = pieces if type(pieces) is list else list(pieces)
        length = sum(map(len, parts))
        self.room(length)
        self.produce(length)
        return "".join(parts)

    def measure(self, value: Any) -> None:
        """Refuse a value whose text would be too long, without making the text."""
        if type(value) in PLAIN or not isinstance(value, CONTAINERS):
            return
        length, limit = 0, self.limits.characters
        todo = [value]
        while todo:
            item = todo.pop()
            if type(item) is str:
                length += len(item) + 2
            elif isinstance(item, CONTAINERS):
                parts = _parts(item)
                length += 2 + 2 * len(parts)
                if length <= limit:
                    todo.extend(parts)
            else:
                length += 2
            if length > limit:
                raise self.too_long()
        self.produce(length)

    def weigh(self, value: Any) -> None:
        """Refuse lists of lists whose elements, counted wherever they appear, are too many.

        ``{% set x = [x, x] %}``, forty times, is small in memory and endless to compare or print.
        """
        if isinstance(value, CONTAINERS):
            weight, depth = self._weigh(value)
            if depth > _MAX_DEPTH:
                raise Refused(f"It nests lists more than {_MAX_DEPTH} deep.")
            if weight > self.limits.iterations and weight > 16 * self._distinct:
                raise LimitReached(
                    "iterations", "It nests lists so that they hold too many elements."
                )

    def _weigh(self, value: Any) -> tuple[int, int]:
        known = self._weights.get(id(value))
        if known is not None:
            return known[0], known[1]
        parts = _parts(value)
        weight, depth = len(parts), 1
        if any(issubclass(kind, CONTAINERS) for kind in set(map(type, parts))):
            for part in parts:
                if isinstance(part, CONTAINERS):
                    inner_weight, inner_depth = self._weigh(part)
                    weight += inner_weight
                    depth = max(depth, inner_depth + 1)
        self._distinct += len(parts)
        self.spend(len(parts) >> 4)
        if isinstance(value, Namespace):  # it changes later
            self.spend(_LOOK_EVERY)
        else:
            self._weights[id(value)] = weight, depth, value
        return weight, depth

    def enter(self) -> None:
        """Count a call that runs; `leave` ends it."""
        self._calls += 1
        if self._calls > _MAX_CALLS:
            raise Refused(f"Its macros or loops call each other more than {_MAX_CALLS} deep.")

    def leave(self) -> None:
        self._calls -= 1


def _parts(value: Any) -> Collection[Any]:
    if isinstance(value, Namespace):
        value = object.__getattribute__(value, "_Namespace__attrs")
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    return value  # type: ignore[no-any-return]


def check_bits(*numbers: int) -> None:
    """Refuse to make a whole number of more bits than these have together."""
    if sum(number.bit_length() for number in numbers) > MAX_BITS:
        raise Refused("It makes a number that is too large.")


class _Active(threading.local):
    budget: Budget | None = None


_active = _Active()
_UNLIMITED = Limits(characters=sys.maxsize // 16)


def current() -> Budget:
    """The budget of the render that this thread is in."""
    return _active.budget or Budget(_UNLIMITED)


@contextmanager
def using(budget: Budget) -> Iterator[Budget]:
    """Make `budget` this thread's for the length of the block."""
    before = _active.budget
    _active.budget = budget
    try:
        yield budget
    finally:
        _active.budget = before


def swap(budget: Budget | None) -> Budget | None:
    """Make `budget` this thread's; returns the one before. For the path where a block costs."""
    before = _active.budget
    _active.budget = budget
    return before
