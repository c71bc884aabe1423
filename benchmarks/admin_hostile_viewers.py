"""An operator's rollback while viewers ask for hostile previews, checks and diffs at full rate.

The control, without the viewers, is interleaved with it. Server and viewers run in processes of
their own; the viewers' is nice, as what they cost is not the server's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from time import perf_counter

import httpx

from benchmarks.measure import Row, Times, duration, is_quick, show, workplace

SECONDS, BLOCKS, EVERY_S, VIEWERS = 30.0, 6, 0.1, 16
MORE_S, GROWTH_BYTES, KEPT_BYTES = 0.1, 300 << 20, 100 << 20
TOKENS = {"the-viewers-token": "viewer", "the-operators-token": "operator"}

_SERVER = """
import json, socket, sys
import uvicorn
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts.admin import admin_app
prompts = LivePrompts("prompts", environment="bench", store="store")
app = admin_app(prompts, json.loads(sys.argv[1]))
listening = socket.socket()
listening.bind(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening])
"""

_VIEWERS = """
import asyncio, json, os, sys
from collections import Counter
import httpx
os.nice(19)
url, viewers, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
asked = json.load(sys.stdin)
seen = Counter()

async def view(http, number):
    while True:
        number += 1
        method, path, body = asked[number % len(asked)]
        try:
            answer = await http.request(method, path, json=body)
            seen[f"{path.split('/')[1]} {answer.status_code}"] += 1
        except httpx.HTTPError as problem:
            seen[type(problem).__name__] += 1

async def main():
    headers = {"authorization": "Bearer the-viewers-token"}
    limits = httpx.Limits(max_connections=viewers)
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=60, limits=limits, trust_env=False
    ) as http:
        tasks = [asyncio.create_task(view(http, number)) for number in range(viewers)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

asyncio.run(main())
print(json.dumps(seen))
"""

Asked = list[tuple[str, str, object]]


def hostile() -> Asked:
    """What the viewers ask for, again and again."""
    long = "user: '" + "{a} " * 15_000 + "'"
    fields = "user: '" + "".join(f"{{a.__{number}}}" for number in range(60_000)) + "'"
    filters = "user: '" + "".join(f"{{{{ a | f{number} }}}}" for number in range(20_000)) + "'"
    lines = "user: |\n" + "  {% if a %}\n" * 5_000
    texts = [
        "user: \"{{ ('x' * 9000000).join('y' * 5000) }}\"",
        'user: "{{ lipsum(n=-1, max=10**15) }}"',
        "user: \"{{ ('x' * 4000000) ~ ('y' * 1000) }}\"",
        "user: '{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}'",
        "user: \"{{ ('ab' * 400000 ~ 'c').rfind('ab' * 200000 ~ 'd') }}\"",
        "user: \"{{ ('a ' * 100000) | wordwrap(1) }}\"",
        'user: "{{ 9 ** (9 ** 9) }}"',
        long,
        fields,
        filters,
        lines,
        "a: " * 300_000,
        "[" * 300_000,
    ]
    asked: Asked = []
    for text in texts:
        asked.append(("POST", "/preview/a", {"variables": {"a": "x"}, "text": text}))
        asked.append(("POST", "/check", {"prompts": {"a": text, "b": text[:100_000]}}))
        asked.append(("GET", "/releases/live/diff/{other}", None))
        asked.append(("GET", "/page/releases/live/diff/{other}", None))
    nested = {"user": "x", "more": [[]] * 100_000}
    asked.append(("POST", "/preview/a", {"text": nested}))
    asked.append(("POST", "/check", {"prompts": {"c": nested}}))
    asked.append(("GET", "/prompts?release=layers", None))
    return asked


def texts() -> tuple[str, str]:
    """Two texts that are slow to compare: many lines of few kinds."""
    numbers = Random(1)
    old, new = ("".join(f"  {numbers.randrange(150)}\n" for _ in range(20_000)) for _ in range(2))
    return f"user: |\n{old}", f"user: |\n{new}"


class Server:
    """The admin app behind a real server, and how much memory it and its workers have."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SERVER, json.dumps(TOKENS)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.most = 0
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)

    def memory(self) -> int:
        """What it and its workers have, in bytes; what they share counts once."""
        pids = [self.process.pid]
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == self.process.pid:
                    pids.append(int(stat.parent.name))
        return sum(map(_size, pids))

    def _look(self) -> None:
        while not self._stop.wait(0.1):
            self.most = max(self.most, self.memory())

    def __enter__(self) -> Server:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._watch.join()
        self.process.terminate()
        self.process.wait()


def _size(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def rollbacks(http: httpx.Client, seconds: float, refused: Counter[int]) -> list[float]:
    """How long each rollback took."""
    taken, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        started = perf_counter()
        answer = http.post("/rollback")
        taken.append(perf_counter() - started)
        if answer.status_code != 200:
            refused[answer.status_code] += 1
        time.sleep(EVERY_S)
    return taken


def main() -> None:
    seconds, blocks = (4.0, 2) if is_quick(__doc__) else (SECONDS, BLOCKS)
    with workplace() as folder:
        old, new = texts()
        (folder / "prompts").mkdir()
        (folder / "prompts/a.yaml").write_text("user: Hi {a}\n")
        (folder / "prompts/slow.yaml").write_text(old)
        headers = {"authorization": "Bearer the-operators-token"}
        with (
            Server() as server,
            httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False) as http,
        ):
            before = _wait(http)
            kind = {"content-type": "application/yaml"}
            http.put("/prompts/slow", content=new, headers=kind).raise_for_status()
            measure(server, http, before, seconds, blocks)


def measure(server: Server, http: httpx.Client, other: str, seconds: float, blocks: int) -> None:
    refused: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    asked = json.dumps([(m, path.replace("{other}", other), b) for m, path, b in hostile()])
    rollbacks(http, 1.0, refused)
    start = server.memory()
    server.most = 0
    control: list[float] = []
    attacked: list[float] = []
    for _ in range(blocks):
        control += rollbacks(http, seconds / blocks, refused)
        viewers = subprocess.Popen(
            [sys.executable, "-c", _VIEWERS, server.url, str(VIEWERS), str(seconds / blocks + 1)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert viewers.stdin is not None
        viewers.stdin.write(asked)
        viewers.stdin.close()
        time.sleep(1.0)
        attacked += rollbacks(http, seconds / blocks, refused)
        assert viewers.stdout is not None
        seen.update(json.loads(viewers.stdout.read()))
        viewers.wait()
    grown = server.most - start
    time.sleep(2.0)
    kept = server.memory() - start
    more = Times(tuple(attacked)).p95 - Times(tuple(control)).p95
    show(
        f"{VIEWERS} viewers at full rate for {seconds:g} s, a rollback every {EVERY_S:g} s",
        [
            _line("a rollback, no viewers", control),
            _line("a rollback, with them", attacked),
            Row("more at p95", duration(more), bar=f"≤ {duration(MORE_S)}", met=more <= MORE_S),
            *(Row(f"the viewers: {what}", str(times)) for what, times in sorted(seen.items())),
            Row("rollbacks refused", str(refused.total()), bar="0", met=not refused),
            Row(
                "memory of app and workers, more at most",
                f"{grown >> 20} MB",
                bar=f"≤ {GROWTH_BYTES >> 20} MB",
                met=grown <= GROWTH_BYTES,
            ),
            Row(
                "and two seconds after",
                f"{kept >> 20} MB",
                bar=f"≤ {KEPT_BYTES >> 20} MB",
                met=kept <= KEPT_BYTES,
            ),
        ],
    )


def _wait(http: httpx.Client) -> str:
    """The live release, once the server answers."""
    for _ in range(300):
        with suppress(httpx.HTTPError):
            answer = http.get("/releases/live")
            if answer.status_code == 200:
                return str(answer.json()["id"])
        time.sleep(0.1)
    raise RuntimeError("the server does not answer")


def _line(what: str, seconds: list[float]) -> Row:
    times = Times(tuple(seconds))
    return Row(what, duration(times.median), duration(times.p95))


if __name__ == "__main__":
    main()
