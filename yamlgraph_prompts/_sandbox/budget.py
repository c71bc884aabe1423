"""What all the messages of one prompt may use together: text, memory, steps and render time."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from sys import getsizeof
from time import monotonic
from typing import Any, Literal

from jinja2.exceptions import SecurityError

_LOOK_EVERY = 64  # steps between two looks at the clock
_PIECES = 4_096
_MAX_CALLS = 150  # of macros, blocks and loops in one another
_MAX_HOLD = 250_000  # steps of one operation: it holds the interpreter lock all the while
MAX_BITS = 16_384  # of one whole number; Python prints no longer one either


class Refused(SecurityError):
    """Something that a template may not do. Its text never holds a value."""


class LimitReached(Refused):
    """A prompt used up what it may use; `kind` says of what."""

    def __init__(
        self, kind: Literal["characters", "iterations", "memory", "seconds"], text: str
    ) -> None:
        super().__init__(text)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Limits:
    """What all the messages of one prompt may use together."""

    characters: int = 4 * 1024 * 1024  # of their texts
    iterations: int = 1_000_000  # steps: a round of a loop, or about 100 ns of other work
    seconds: float = 5.0  # of rendering
    memory: int = 40 * 1024 * 1024  # bytes that are made on the way, whether kept or not


class Budget:
    """What is left of one prompt's `Limits`. The clock runs only within `using` and `swap`."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.characters = limits.characters  # of the result
        self._memory = limits.memory
        self._left = limits.iterations
        self._look_at = limits.iterations - _LOOK_EVERY
        self._seconds = limits.seconds
        self._deadline = 0.0
        self._calls = 0
        # (id of one of the app's objects, what of it) → the object, and that: its text, ...
        self.known: dict[tuple[int, Any], tuple[Any, Any]] = {}

    # -- steps

    def tick(self) -> None:
        """Count one step."""
        self._left -= 1
        if self._left < self._look_at:
            self._look()

    def spend(self, steps: int) -> None:
        """Count the steps of one operation, before it runs."""
        if steps < 0:
            raise Refused("A size is negative.")
        if steps > _MAX_HOLD:
            raise LimitReached("iterations", "It is too much for one operation.")
        self._left -= steps
        if self._left < self._look_at:
            self._look()

    def scan(self, text: str, rate: int, wide: int = 0) -> None:
        """Count a look at each character of a text, before it is taken.

        `rate` is the cost of 128 characters, in steps; `wide` that of characters beyond ASCII,
        where it differs.
        """
        self.spend(1 + (len(text) * (rate if not wide or text.isascii() else wide) >> 7))

    def rounds(self, count: int) -> None:
        """Count all rounds of a loop, before it begins."""
        self._left -= count
        self._look()

    def _look(self) -> None:
        if self._left < 0:
            raise LimitReached("iterations", f"It took more than {self.limits.iterations:,} steps.")
        if monotonic() > self._deadline:
            raise LimitReached("seconds", f"It took longer than {self.limits.seconds:g} s.")
        self._look_at = self._left - _LOOK_EVERY

    def enter(self) -> None:
        """Count a call that runs; `leave` ends it."""
        self._calls += 1
        if self._calls > _MAX_CALLS:
            raise Refused(f"Its macros or loops call each other more than {_MAX_CALLS} deep.")

    def leave(self) -> None:
        self._calls -= 1

    # -- text and memory

    def room(self, characters: int) -> None:
        """Refuse to make a single text of this length."""
        if characters > self.limits.characters:
            raise self.too_long()

    def made(self, text: str) -> str:
        """Count a text that was made on the way."""
        if len(text) > self.limits.characters:
            raise self.too_long()
        self.keep(getsizeof(text))
        return text

    def keep(self, size: int) -> None:
        """Count memory, in bytes."""
        self._memory -= size
        if self._memory < 0:
            raise LimitReached("memory", "It makes too many or too long texts on the way.")

    def elements(self, count: int) -> None:
        """Count the elements of a list that is about to be made."""
        self.spend(count >> 1)
        self.keep(count << 4)

    def pieces(self, text: str, count: int) -> None:
        """Count the texts that a text is about to be taken apart into."""
        self.elements(count)
        self.keep(len(text) + 50 * count)

    def join(self, pieces: Iterable[str], most: int | None = None) -> str:
        """The pieces as one text, refused as soon as it is too long."""
        most = self.limits.characters if most is None else most
        pieces, text = iter(pieces), ""
        # In chunks, since many short texts take more room than one long one.
        while chunk := list(islice(pieces, _PIECES)):
            if len(text) + sum(map(len, chunk)) > most:
                raise self.too_long()
            text += "".join(chunk)
            if len(chunk) < _PIECES:
                break
        return text

    def too_long(self) -> LimitReached:
        return LimitReached(
            "characters", f"Its text is longer than {self.limits.characters:,} characters."
        )


def check_bits(bits: int) -> None:
    """Refuse to make a whole number of so many bits."""
    if bits > MAX_BITS:
        raise Refused("It makes a number that is too large.")


class _Active(threading.local):
    budget: Budget | None = None


_active = _Active()


def current() -> Budget:
    """The budget of the render that this thread is in."""
    budget = _active.budget
    if budget is None:
        raise Refused("Templates are rendered within a budget only.")
    return budget


@contextmanager
def using(budget: Budget) -> Iterator[Budget]:
    """Make `budget` this thread's for the length of the block."""
    before = swap(budget)
    try:
        yield budget
    finally:
        swap(before)


def swap(budget: Budget | None) -> Budget | None:
    """Make `budget` this thread's; returns the one before. For the path where a block costs."""
    before = _active.budget
    now = monotonic()
    if before is not None:
        before._seconds = before._deadline - now
    if budget is not None:
        budget._deadline = now + budget._seconds
    _active.budget = budget
    return before
