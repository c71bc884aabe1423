"""`kill -9` at random moments of activations; and a crash of the server, which SQLite has not.

Afterwards everything that was answered is there, what is active is the release that the last entry
names, and the next activation works.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.database_writers import is_whole
from benchmarks.databases import ENVIRONMENT
from benchmarks.measure import Row, is_quick, show, workplace

KILLS, CRASHES = 100, 20


def work(url: str, answers: int) -> None:
    """Make and activate versions until it is killed; say what was answered."""
    from yamlgraph_prompts.registry.sql import SqlRegistry

    registry = SqlRegistry(url)
    for number in range(1_000_000):
        content = b"user: %d of %d" % (number, os.getpid())
        made = registry.create(f"p{number % 3}", content, who="x")
        os.write(answers, b"%s@%d\n" % (made.name.encode(), made.number))
        entry = registry.activate(ENVIRONMENT, {made.name: made.number}, who="x")
        os.write(answers, b"#%d\n" % entry.number)


def killed(url: str, after_s: float, server: Any = None) -> list[str]:
    """What a worker had answers for when it, or its server, was killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            work(url, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as answers:
        first = answers.readline()
        time.sleep(after_s)
        if server is not None:
            server.stop("SIGQUIT")
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if server is not None:
            server.start()
        return [first.strip(), *filter(None, answers.read().split("\n"))]


def missing(url: str, answered: list[str]) -> int:
    """How much of it is gone, or half done."""
    from yamlgraph_prompts.registry.sql import SqlRegistry

    with closing(SqlRegistry(url)) as registry:
        numbers = {entry.number for entry in registry.history(ENVIRONMENT)}
        names = (f"p{n}" for n in range(3))
        versions = {f"{name}@{one.number}" for name in names for one in registry.versions(name)}
        lost = sum(
            int(word[1:]) not in numbers if word.startswith("#") else word not in versions
            for word in answered
        )
        has_gaps = numbers != set(range(1, len(numbers) + 1))
        whole = is_whole(registry)
        made = registry.create("after", os.urandom(8).hex().encode(), who="x")
        entry = registry.activate(ENVIRONMENT, {"after": made.number}, who="x")
        return lost + has_gaps + (not whole) + (entry.number != len(numbers) + 1)


def kills(what: str, url: str, count: int, server: Any = None) -> Row:
    random = Random(1)
    answered = wrong = 0
    for _ in range(count):
        words = killed(url, random.random() * 0.06, server)
        answered += len(words)
        wrong += missing(url, words)
    seen = f"{answered:,} answers, {wrong} lost or half done"
    return Row(f"{count} × {what}", "", "", seen, "0", wrong == 0)


def main() -> None:
    quick = is_quick(__doc__)
    count, crashes = (2, 1) if quick else (KILLS, CRASHES)
    from tests.databases import running

    with workplace() as folder, running(fsync="on", synchronous_commit="on") as server:
        place = Path(folder) / "prompts.db"
        rows = [
            kills("kill -9 of a writer, SQLite", f"sqlite:///{place}", count),
            kills("kill -9 of a writer, PostgreSQL", server.url(), count),
            kills("crash of the server, PostgreSQL", server.url(), crashes, server),
        ]
        show("Killed in the middle of activations", rows)


if __name__ == "__main__":
    main()
