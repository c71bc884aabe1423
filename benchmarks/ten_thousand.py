"""10,000 prompts of 2 KB, half of them Jinja: first load, restart, one change, and memory.

The measure of all times is what the least work by hand takes: reading the files, `CSafeLoader`
and `Environment.parse`. Each is done in an interpreter of its own that has LangGraph imported.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    Row,
    Times,
    compared,
    interleaved,
    is_quick,
    plain,
    run_apart,
    show,
    workplace,
)

FIRST, RESTART, CHANGE, MEMORY_MB = 1.8, 0.3, 0.15, 120.0

_BEGIN = """
import json, os, sys, time
from pathlib import Path
import langgraph.graph, jinja2, yaml
def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
base, folder = resident(), Path(sys.argv[1])
"""
_BY_HAND = """
started = time.perf_counter()
environment = jinja2.Environment()
for path in folder.glob("*/*.yaml"):
    content = yaml.load(path.read_bytes(), yaml.CSafeLoader)
    for text in content.values():
        if "{{" in text or "{%" in text:
            environment.parse(text)
print(json.dumps({"load": time.perf_counter() - started}))
"""
_OURS = """
started = time.perf_counter()
from yamlgraph_prompts import LivePrompts
prompts = LivePrompts(folder, store=sys.argv[2], watch=False)
count = len(prompts.release)
took = {"load": time.perf_counter() - started, "memory": resident() - base, "count": count}
path = folder / "a000" / "p00001.yaml"
text = path.read_text()
beside = path.with_name(".new")
beside.write_text(text.replace("Edition", "Edition again", 1))
changes = []
for _ in range(3):
    os.replace(beside, path)
    started = time.perf_counter()
    outcome = prompts.publish()
    changes.append(time.perf_counter() - started)
    assert outcome.status == "published", outcome
    beside.write_text(path.read_text().replace("Edition", "Edition again", 1))
beside.write_text(text)
os.replace(beside, path)
prompts.publish()
took["change"] = sorted(changes)[1]
took["memory after"] = resident() - base
prompts.close()
print(json.dumps(took))
"""


def write(folder: Path, count: int) -> None:
    """Prompts of 2 KB, a hundred in a folder."""
    line = "Keep to what is asked, name your sources, and say so when you do not know it all.\n"
    for number in range(count):
        place = folder / f"a{number // 100:03d}"
        place.mkdir(parents=True, exist_ok=True)
        if number % 2:
            system = "{% if tone %}Be {{ tone }}.{% endif %}\n"
            system += "{% for rule in rules %}- {{ rule }}\n{% endfor %}"
            user = "Tell {{ name }} of {{ topic|upper }}.\n"
        else:
            system, user = "Be {tone}.\n", "Tell {name} of {topic}.\n"
        system = f"Edition {number}.\n{system}{line * 21}"
        text = f"system: |\n{_indented(system)}user: |\n{_indented(user)}"
        (place / f"p{number:05d}.yaml").write_text(text)


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())


def run(script: str, *arguments: Path, cache: Path | None) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(
        run_apart(_BEGIN + script, *map(str, arguments), cache=cache)
    )
    return answer


def main() -> None:
    quick = is_quick(__doc__)
    count = 40 if quick else 10_000
    changes: list[float] = []
    memory: dict[str, list[float]] = {"first load": [], "restart": []}
    with workplace() as folder:
        write(folder / "prompts", count)
        cache = None if quick else folder / "cache"

        def ours(kind: str) -> float:
            if kind == "first load":
                shutil.rmtree(folder / "store", ignore_errors=True)
            took = run(_OURS, folder / "prompts", folder / "store", cache=cache)
            assert took["count"] == count
            changes.append(took["change"])
            memory[kind].append(max(took["memory"], took["memory after"]))
            return float(took["load"])

        def both() -> float:
            first.append(ours("first load"))
            return ours("restart")

        def by_hand() -> float:
            return float(run(_BY_HAND, folder / "prompts", cache=cache)["load"])

        first: list[float] = []
        warm_up = 0 if quick else 1
        times = interleaved(1 if quick else 3, {"hand": by_hand, "restart": both}, warm_up=warm_up)
    hand = times["hand"]
    rows = [
        plain("read, CSafeLoader, Environment.parse by hand", hand),
        compared("first load and check", Times(tuple(first[warm_up:])), hand, FIRST),
        compared("restart on an unchanged store", times["restart"], hand, RESTART),
        compared("one changed file published", Times(tuple(changes[2 * warm_up :])), hand, CHANGE),
    ]
    for kind, figures in memory.items():
        most = max(figures)
        rows.append(
            Row(
                f"memory over LangGraph's, after {kind} and changes",
                f"{most:.0f} MB",
                bar=f"≤ {MEMORY_MB:g} MB",
                met=most <= MEMORY_MB,
            )
        )
    show(f"{count:,} prompts of 2 KB, half of them Jinja", rows)


if __name__ == "__main__":
    main()
