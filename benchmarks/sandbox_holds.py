# ruff: noqa: E501 - a table
"""How long one operation of a template can hold the interpreter lock, at the largest input it admits.

Every method and filter is tried on texts and lists of several kinds, largest first. The bar is the
larger of 50 ms and ten copies of a text of 4 Mi characters, measured in the same run.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from itertools import product
from typing import Any

from benchmarks.measure import Row, duration, is_quick, show
from yamlgraph_prompts._sandbox.access import METHODS
from yamlgraph_prompts._sandbox.filters import FILTERS
from yamlgraph_prompts._sandbox.functions import TESTS
from yamlgraph_prompts.errors import PromptRenderError
from yamlgraph_prompts.templates.template import MessageTemplate

MEBI = 1024 * 1024
_SOUGHT = re.compile(r"\bs\b")
BAR_S = 0.05
TEXTS: dict[str, Callable[[int], Any]] = {
    "ascii": lambda n: "a" * n,
    "words": lambda n: "ab " * (n // 3),
    "accents": lambda n: "é" * n,
    "wide": lambda n: "Ǆ" * n,
    "astral": lambda n: "\U0001d400" * n,
    "blanks": lambda n: "\u2003a" * (n // 2),
    "tags": lambda n: "<a>" * (n // 3),
    "entities": lambda n: "&#1;" * (n // 4),
    "brackets": lambda n: ")" * (n - 1) + "x",
    "hyphens": lambda n: "a-" * (n // 2),
    "lines": lambda n: "a\n" * (n // 2),
    "digits": lambda n: "9" * n,
    "percent": lambda n: "%s" * (n // 2),
}
LISTS: dict[str, Callable[[int], Any]] = {
    "numbers": lambda n: list(range(n, 0, -1)),
    "equal texts": lambda n: ["a" * 1_000] * (n // 100),
    "near texts": lambda n: [f"{'a' * 200}{i}" for i in range(n // 200)],
    "collisions": lambda n: [i * (2**61 - 1) for i in range(n // 16)],
    "lists": lambda n: [[i] for i in range(n // 4)],
}
MAPPINGS: dict[str, Callable[[int], Any]] = {
    "mapping": lambda n: {f"k{i}": i for i in range(n // 4)},
}
ARGUMENTS = {
    "center": "9", "ljust": "9", "rjust": "9", "zfill": "9", "count": "s", "find": "s", "index": "s",
    "partition": "s", "rfind": "s", "rindex": "s", "rpartition": "s", "split": "s", "rsplit": "s, 3",
    "startswith": "s", "endswith": "s", "removeprefix": "s", "removesuffix": "s", "strip": "s",
    "lstrip": "s", "rstrip": "s", "replace": "s, 'xy'", "join": "['a', 'b', 'c']", "translate": "{97: 'xyz'}",
    "format": "1", "format_map": "{}", "get": "'k1'", "batch": "3", "slice": "3", "map": "'string'",
    "groupby": "0", "attr": "'x'", "selectattr": "'x'", "rejectattr": "'x'", "wordwrap": "40",
    "truncate": "99999999", "round": "3", "difference": "x", "intersection": "x", "union": "x",
    "isdisjoint": "x", "issubset": "x", "issuperset": "x", "symmetric_difference": "x", "indent": "2",
    "divisibleby": "3", "sameas": "x", "in": "x", "eq": "y", "==": "y", "!=": "y", "<": "y", "<=": "y",
    ">": "y", ">=": "y", "equalto": "y", "ge": "y", "gt": "y", "greaterthan": "y", "le": "y", "lt": "y",
    "lessthan": "y", "ne": "y",
}  # fmt: skip
NEEDLES = {
    "short": lambda text: "zq",
    "half": lambda text: text[: len(text) // 2] + "b",
    "own": lambda text: text[:1] * (len(text) // 3) + "b",
}


def templates() -> list[tuple[str, str, str]]:
    """(what, template, whether it takes a text, a list or a mapping)."""
    found = []
    for kind, sort in (
        ("text", "text"),
        ("list", "list"),
        ("mapping", "mapping"),
    ):
        for name in METHODS[kind]:
            call = f"x.{name}({ARGUMENTS.get(name, '')})"
            found.append((f"{kind}.{name}", f"{{% set r = {call} %}}", sort))
    for name in FILTERS:
        call = f"x|{name}({ARGUMENTS[name]})" if name in ARGUMENTS else f"x|{name}"
        for sort in ("text", "list", "mapping"):
            found.append((f"|{name}", f"{{% set r = ({call}) is defined %}}", sort))
    for name in TESTS:
        call = f"x is {name}({ARGUMENTS[name]})" if name in ARGUMENTS else f"x is {name}"
        for sort in ("text", "list"):
            found.append((f"is {name}", f"{{% set r = {call} %}}", sort))
    for call in (
        "x ~ y",
        "x + y",
        "x * 2",
        "x == y",
        "x < y",
        "s in x",
        "x % y",
        "x[::-1]",
        "x[1:]",
    ):
        for sort in ("text", "list"):
            found.append((call, f"{{% set r = {call} %}}", sort))
    found.append(("printed", "{{ x }}", "list"))
    found.append(("printed", "{{ x }}", "mapping"))
    found.append(("loop", "{% for i in x %}{% endfor %}", "list"))
    return found


class Heartbeat(threading.Thread):
    """The longest time that it could not run: how long others held the lock, and the machine's noise."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.longest = 0.0
        self.stopped = False

    def run(self) -> None:
        last = time.perf_counter()
        while not self.stopped:
            time.sleep(0.0005)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now


def one(text: str, values: dict[str, Any]) -> float | None:
    """Seconds of processor time of one render; None where the input is refused as too much."""
    template = MessageTemplate(text)
    started = time.thread_time()
    try:
        template.render(values)
    except PromptRenderError as error:
        if any(word in str(error) for word in ("too ", "longer than", "more than", "too many")):
            return None
    return time.thread_time() - started


def hold(text: str, values: dict[str, Any]) -> float:
    """Seconds of the longest hold of the lock in one render."""
    beat = Heartbeat()
    beat.start()
    time.sleep(0.02)
    beat.longest = 0.0
    one(text, values)
    longest = beat.longest
    beat.stopped = True
    beat.join()
    return longest


def main() -> None:
    quick = is_quick(__doc__)
    largest = 16_384 if quick else 4 * MEBI
    started = time.thread_time()
    for _ in range(10):
        ("x" * (4 * MEBI)).encode()
    bar_s = max(BAR_S, time.thread_time() - started)
    worst: dict[str, tuple[float, str]] = {}  # operation → seconds, on what
    for what, text, sort in templates()[:: 9 if quick else 1]:
        makers = {"text": TEXTS, "list": LISTS, "mapping": MAPPINGS}[sort]
        needles = NEEDLES if sort == "text" and _SOUGHT.search(text) else {"": lambda _: "zq"}
        for (kind, make), (needle, cut) in product(makers.items(), needles.items()):
            seconds, size = at_its_largest(text, make, cut, largest >> (0 if sort == "text" else 4))
            if seconds > worst.get(what, (-1.0, ""))[0]:
                worst[what] = seconds, f"{kind} {needle}".strip() + f", {size:,}"
    ranked = sorted(worst.items(), key=lambda found: -found[1][0])
    rows = [
        Row(f"{what} ({on})", duration(seconds), bar=f"≤ {duration(bar_s)}", met=seconds <= bar_s)
        for what, (seconds, on) in ranked[:15]
    ]
    show(f"The longest holds of the lock, of {len(worst)} operations", rows)


def at_its_largest(
    text: str, make: Callable[[int], Any], cut: Callable[[Any], str], size: int
) -> tuple[float, int]:
    """Seconds of the longest hold at the largest size that is admitted, and that size."""
    while size >= 64:
        value = make(size)
        values = {"x": value, "y": make(size), "s": cut(value)}
        seconds = one(text, values)
        if seconds is not None:
            # All of the work is more than its longest hold: look closer only where that is long.
            if seconds > BAR_S / 2:
                seconds = min(hold(text, values) for _ in range(3))
            return seconds, size
        size //= 2
    return 0.0, 0


if __name__ == "__main__":
    main()
