"""How long one operation of a template can hold the interpreter lock, at the largest input it admits.

Every method and filter is tried on texts and lists of several kinds, largest first. The bar is the
larger of 50 ms and ten copies of a text of 4 Mi characters, measured in the same run.
"""

from __future__ import annotations

import argparse
import re
import threading
import time
from collections.abc import Callable
from typing import Any

from yamlgraph_prompts.errors import PromptRenderError
from yamlgraph_prompts.sandbox.access import METHODS
from yamlgraph_prompts.sandbox.filters import FILTERS, TESTS
from yamlgraph_prompts.template import MessageTemplate

MEBI = 1024 * 1024
_SOUGHT = re.compile(r"\bs\b")
BAR_MS = 50.0
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
        ("markup", "text"),
        ("list", "list"),
        ("mapping", "mapping"),
    ):
        subject = "(x|safe)" if kind == "markup" else "x"
        for name in METHODS[kind]:
            call = f"{subject}.{name}({ARGUMENTS.get(name, '')})"
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="texts of 64 Ki characters at most")
    parser.add_argument("--verbose", action="store_true", help="the slow ones as they come")
    parser.add_argument("--only", default="", help="operations whose name has this in it")
    arguments = parser.parse_args()
    most = 65_536 if arguments.quick else 4 * MEBI
    source = "x" * (4 * MEBI)
    started = time.thread_time()
    for _ in range(10):
        source.encode()
    ten = (time.thread_time() - started) * 1000
    bar = max(BAR_MS, ten)
    rows, runs = [], 0
    for what, text, sort in templates():
        if arguments.only not in what:
            continue
        makers = {"text": TEXTS, "list": LISTS, "mapping": MAPPINGS}[sort]
        for kind, make in makers.items():
            needles = NEEDLES if sort == "text" and _SOUGHT.search(text) else {"": None}
            for needle, cut in needles.items():
                size = most if sort == "text" else most // 8
                while size >= 64:
                    value = make(size)
                    other = make(size)
                    values = {"x": value, "y": other, "s": cut(value) if cut else "zq"}
                    seconds = one(text, values)
                    runs += 1
                    if seconds is not None:
                        break
                    size //= 2
                else:
                    continue
                if seconds * 1000 > bar / 2:
                    seconds = min(hold(text, values) for _ in range(3))
                if arguments.verbose and seconds * 1000 > bar / 2:
                    print(f"{what} {kind} {needle} {size:,}: {seconds * 1000:.1f} ms", flush=True)
                rows.append((seconds * 1000, what, f"{kind} {needle}", size))
    rows.sort(reverse=True)
    print(
        f"{len(rows)} operations at their largest input ({runs} renders); ten copies of 4 Mi: {ten:.1f} ms"
    )
    for milliseconds, what, kind, size in rows[:15]:
        print(f"  {what:24} {kind:18} {size:>9,}  {milliseconds:7.1f} ms")
    worst = rows[0][0] if rows else 0.0
    print(f"longest hold of the lock: {worst:.1f} ms, {worst / bar:.2f}x of the bar ({bar:.0f} ms)")


if __name__ == "__main__":
    main()
