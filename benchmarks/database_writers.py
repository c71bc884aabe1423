"""8 processes that each make 200 versions and activate them at once, all for the same 8 prompts.

A watcher reads beside them, in one transaction each time: one version of each prompt is active, and
together they are the release that the last entry names.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.databases import ENVIRONMENT, both, deadlocks
from benchmarks.measure import Row, duration, is_quick, show, workplace

WRITERS, VERSIONS, PROMPTS = 8, 200, 8

_WRITER = """
import sys
from yamlgraph_prompts.registry.sql import SqlRegistry
url, environment, writer, count, prompts = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
registry = SqlRegistry(url)
registry.active(environment)
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    name = f"p{(writer + number) % prompts}"
    made = registry.create(name, b"user: %d of %d" % (number, writer), who=str(writer))
    registry.activate(environment, {name: made.number}, who=str(writer))
"""


def write(url: str, writers: int, versions: int) -> Row:
    from yamlgraph_prompts.registry.sql import SqlRegistry

    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, url, ENVIRONMENT, str(n), str(versions), str(PROMPTS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment,
        )
        for n in range(writers)
    ]  # fmt: skip
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    began = perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    looks = wrong = 0
    with closing(SqlRegistry(url)) as registry:
        while any(process.poll() is None for process in processes):
            looks += 1
            wrong += not is_whole(registry)
        took = perf_counter() - began
        errors = [process.communicate()[1] for process in processes]
        failed = sum(process.returncode != 0 for process in processes)
        wrong += not is_whole(registry)
        numbers = [[one.number for one in registry.versions(f"p{n}")][::-1] for n in range(PROMPTS)]
        entries = [entry.number for entry in registry.history(ENVIRONMENT)][::-1]
    made = writers * versions
    is_kept = sum(map(len, numbers)) == made == len(entries)
    has_gaps = any(each != list(range(1, len(each) + 1)) for each in [*numbers, entries])
    locked = sum("database is locked" in text for text in errors)
    dead = deadlocks(url) if url.startswith("postgresql") else 0
    kind = url.partition(":")[0]
    return Row(
        f"{made:,} versions made and active, {writers} writers, {kind}",
        f"{duration(took / made)} each",
        "",
        f"{failed} failed, {locked} locked, {dead} deadlocks, {wrong} of {looks:,} looks wrong",
        "none lost, no gaps",
        is_kept and not (failed or locked or dead or wrong or has_gaps),
    )


def is_whole(registry: Any) -> bool:
    """Whether what is active is the release that the last entry names."""
    from yamlgraph_prompts._model.release import Release

    def look(session: Any) -> bool:
        head = registry._last(session, ENVIRONMENT)
        rows = session.rows(
            "SELECT a.name, v.sha256 FROM prompts_active a JOIN prompts_version v ON "
            "v.name = a.name AND v.number = a.number WHERE a.environment = ?",
            ENVIRONMENT,
        )
        if len(dict(rows)) != len(rows):
            return False
        return head is None or Release.id_of(dict(rows)) == head.release

    return bool(registry._database.read(look, True))


def main() -> None:
    quick = is_quick(__doc__)
    with workplace() as folder, both(folder) as urls:
        size = (2, 3) if quick else (WRITERS, VERSIONS)
        show("Many writers at once", [write(url, *size) for url in urls.values()])


if __name__ == "__main__":
    main()
