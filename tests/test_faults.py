"""Whatever breaks in a publication, the last good release stays live, and it is told."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT, run_in, wait_until
from tests.files import Heard, codes, says, write
from yamlgraph_prompts import (
    LivePrompts,
    PromptsError,
    PromptsRejected,
    StoreError,
    live_graph,
    load_and_compile,
)

BAD = "user: '{{ unclosed'"


def quiet(*layers: Any, **options: Any) -> LivePrompts:
    return LivePrompts(*layers, watch=False, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "prompts", {"a.yaml": "user: one"})


def packs() -> list[Path]:
    return sorted(Path(os.environ["YAMLGRAPH_PROMPTS_STORE"]).rglob("*.pack"))


# Killed

KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.files import says, write
from yamlgraph_prompts import LivePrompts, live_graph
folder = Path({folder!r})
CALLS = ("open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "utime", "close")

def doomed(number):
    prompts = LivePrompts(folder, watch=False)
    app = live_graph(says("a"), prompts=prompts).compile()
    assert app.invoke({{}})["said"] == ["one"], app.invoke({{}})
    write(folder, {{"a.yaml": "user: two"}})
    count = 0
    for name in CALLS:
        def call(*args, real=getattr(os, name), **options):
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **options)
        setattr(os, name, call)
    prompts.publish()
    assert app.invoke({{}})["said"] == ["two"]
    os._exit(0)

def fork(act, *args):
    child = os.fork()
    if child == 0:
        try:
            act(*args)
            os._exit(0)
        except BaseException as problem:
            print(repr(problem), flush=True)
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def restart():
    write(folder, {{"a.yaml": {bad!r}}})
    with LivePrompts(folder, watch=False) as prompts:
        assert prompts["a"].user in ("one", "two"), prompts["a"].user
        print(prompts["a"].user, end=" ", flush=True)
        assert sum(kept.live for kept in prompts.releases()) == 1
        write(folder, {{"a.yaml": "user: one"}})
        assert prompts.publish().status in ("published", "unchanged")
        assert prompts["a"].user == "one"

with LivePrompts({{"a": "user: a"}}) as prompts:  # imports here, and not in every child
    live_graph(says("a"), prompts=prompts).compile().invoke({{}})
assert fork(restart) == 1  # nothing good yet
write(folder, {{"a.yaml": "user: one"}})
assert fork(restart_good := lambda: LivePrompts(folder, watch=False).release) == 0
for number in range(1, 300):
    write(folder, {{"a.yaml": "user: one"}})
    code = fork(doomed, number)
    assert fork(restart) == 0, number
    if code == 0:
        break
    assert code == -9, (number, code)
print("steps", number)
"""


def test_killed_between_any_two_calls_of_a_publication_the_last_good_release_is_live(
    folder: Path, tmp_path: Path
) -> None:
    out = run_in(
        tmp_path,
        KILLED.format(root=str(ROOT), folder=str(folder), bad=BAD),
        timeout_s=100,
    )
    assert int(out.split()[-1]) > 10
    assert {"one", "two"} <= set(out.split())


STEPS = ["put", "make", "make_live", "sweep"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_in_an_unforeseen_way_leaves_what_is_live(
    folder: Path, step: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with quiet(folder) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        owner = prompts._store if step in ("put", "make_live") else prompts._builds
        real = getattr(owner, step)

        def failing(*args: Any, **options: Any) -> None:
            if when == "after":
                real(*args, **options)
            raise MemoryError("unforeseen")

        write(folder, {"a.yaml": "user: two"})
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, failing)
            try:
                status = prompts.publish().status
            except MemoryError:
                status = "raised"
        assert app.invoke({})["said"] == [prompts["a"].user]
        assert prompts["a"].user == ("one" if step != "sweep" else "two")
        assert status in ("raised", "rejected")
        assert prompts.publish().status in ("published", "unchanged")
        assert app.invoke({})["said"] == ["two"]


# A disk that is full or read-only


def full(*args: Any, **options: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_on_a_full_disk_serving_goes_on_and_the_refusal_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    with quiet(folder, hooks=[heard]) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        write(folder, {"a.yaml": "user: two"})
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            for _ in range(3):
                outcome = prompts.publish()
                assert (outcome.status, codes(outcome)) == ("rejected", ["store"])
            assert "No space left" in outcome.errors[0].message
            assert app.invoke({}) == {"said": ["one"]}
            with pytest.raises(PromptsError):
                prompts.activate("feed")
        assert prompts.publish().status == "published"
        assert app.invoke({}) == {"said": ["two"]}
    assert heard.of("store-trouble")


def test_what_a_full_disk_refused_is_live_once_there_is_room_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    with LivePrompts(folder, refresh_s=0.1, hooks=[heard]) as prompts:
        assert prompts["a"].user == "one"
        wait_until(lambda: prompts.health.following)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            write(folder, {"a.yaml": "user: two"})
            wait_until(lambda: heard.of("store-trouble"))
        # Nothing in the layers tells that there is room.
        wait_until(lambda: prompts["a"].user == "two")


def test_on_a_full_disk_a_hold_can_neither_begin_nor_end_in_silence(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with quiet(folder) as prompts:
        first = prompts.release.id
        write(folder, {"a.yaml": "user: two"})
        prompts.publish()
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            assert prompts.activate(first).status == "rejected"
        assert not prompts.held
        assert prompts["a"].user == "two"
        assert prompts.activate(first).status == "published"
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            outcome = prompts.follow()
            assert outcome.status == "rejected"
            assert "store" in codes(outcome)
        assert prompts.held
        assert prompts["a"].user == "one"
        assert prompts.follow().status == "published"
        assert prompts["a"].user == "two"


def test_the_first_start_on_a_full_disk_serves_from_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Heard()
    monkeypatch.setattr(os, "write", full)
    with quiet(folder, hooks=[heard]) as prompts:
        assert prompts["a"].user == "one"
        assert live_graph(says("a"), prompts=prompts).compile().invoke({}) == {"said": ["one"]}
    assert heard.of("store-trouble")
    assert "No space left" in caplog.text


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """`read_only()` makes the store's disk one that cannot be written."""
    store = os.environ["YAMLGRAPH_PROMPTS_STORE"]
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def make() -> None:
        def refuse(name: str, real: Any) -> Any:
            def call(path: Any, *args: Any, **options: Any) -> Any:
                inside = isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(store)
                if inside and (name != "open" or args[0] & writing):
                    raise OSError(errno.EROFS, "Read-only file system")
                return real(path, *args, **options)

            return call

        for name in ("open", "mkdir", "replace", "rename", "unlink", "utime"):
            monkeypatch.setattr(os, name, refuse(name, getattr(os, name)))

    return make


def test_a_read_only_store_still_gives_the_last_good_release(
    folder: Path, read_only: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    with quiet(folder) as prompts:
        good = prompts.release.id
    read_only()
    write(folder, {"a.yaml": BAD})
    with quiet(folder) as prompts:
        assert prompts.release.id == good
        write(folder, {"a.yaml": "user: two"})
        assert prompts.publish().status == "published"
        assert prompts["a"].user == "two"
    assert "Read-only" in caplog.text


def test_a_store_that_becomes_read_only_refuses_news_and_serving_goes_on(
    folder: Path, read_only: Callable[[], None]
) -> None:
    with quiet(folder) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        read_only()
        write(folder, {"a.yaml": "user: two"})
        outcome = prompts.publish()
        assert (outcome.status, codes(outcome)) == ("rejected", ["store"])
        assert app.invoke({}) == {"said": ["one"]}


def test_a_store_whose_folder_is_cleared_is_made_anew(folder: Path) -> None:
    import shutil

    with quiet(folder) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        shutil.rmtree(os.environ["YAMLGRAPH_PROMPTS_STORE"])
        write(folder, {"a.yaml": "user: two"})
        assert prompts.publish().status == "published"
        assert app.invoke({}) == {"said": ["two"]}


# A damaged store


def damaged(pack: Path, how: str) -> None:
    data = bytearray(pack.read_bytes())
    if how == "truncated":
        del data[len(data) // 2 :]
    elif how == "emptied":
        data.clear()
    else:
        data[-3] ^= 0x10
    pack.chmod(0o600)
    pack.write_bytes(data)


each_damage = pytest.mark.parametrize("how", ["truncated", "bit flipped", "emptied"])


@each_damage
def test_a_damaged_release_is_never_served_and_an_earlier_good_one_is(
    folder: Path, how: str
) -> None:
    with quiet(folder) as prompts:
        first = prompts.release.id
        write(folder, {"a.yaml": "user: two"})
        prompts.publish()
        second = prompts.release.id
    (pack,) = [path for path in packs() if path.stem == second]
    damaged(pack, how)
    write(folder, {"a.yaml": BAD})
    with quiet(folder) as prompts:
        assert prompts.release.id == first
        assert prompts["a"].user == "one"
        with pytest.raises(StoreError):
            prompts.activate(second)
        assert prompts.release.id == first
        write(folder, {"a.yaml": "user: two"})
        assert prompts.publish().status == "published"
        assert prompts.activate(second).status in ("published", "unchanged")


@each_damage
def test_where_every_release_is_damaged_nothing_is_served(folder: Path, how: str) -> None:
    with quiet(folder):
        pass
    for pack in packs():
        damaged(pack, how)
    write(folder, {"a.yaml": BAD})
    with pytest.raises(PromptsRejected):
        quiet(folder).publish()
    write(folder, {"a.yaml": "user: one"})
    assert quiet(folder).publish().status == "published"


def test_a_held_release_that_is_damaged_is_told_and_not_served(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with quiet(folder) as prompts:
        held = prompts.release.id
        prompts.activate(held)
    (pack,) = packs()
    damaged(pack, "bit flipped")
    write(folder, {"a.yaml": "user: two"})
    heard = Heard()
    with quiet(folder, hooks=[heard]) as prompts:
        assert prompts["a"].user == "two"
        write(folder, {"a.yaml": "user: three"})
        assert prompts.publish().status == "published"
        # Whoever wants it to end says so: elsewhere it may be whole.
        assert getattr(prompts._store.current(), "held", None) is True
        prompts.follow()
        assert getattr(prompts._store.current(), "held", None) is False
    assert [event.release for event in heard.of("store-trouble")] == [held]
    assert "held, but cannot be served" in caplog.text


# Many


def test_of_two_hundred_broken_files_all_are_listed_and_nothing_changes(folder: Path) -> None:
    with quiet(folder) as prompts:
        before = prompts.release
        write(folder, {f"n/p{number}.yaml": BAD for number in range(200)})
        outcome = prompts.publish()
        assert outcome.status == "rejected"
        assert {error.prompt for error in outcome.errors} == {f"n/p{n}" for n in range(200)}
        assert prompts.release is before


PUBLISHER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.files import write
from yamlgraph_prompts import LivePrompts
folder, me = Path({folder!r}), sys.argv[1]
statuses = set()
with LivePrompts(folder, watch=False) as prompts:
    ends = time.monotonic() + 1
    number = 0
    while time.monotonic() < ends:
        number += 1
        write(folder, {{"a.yaml": f"user: {{me}} {{number}}"}})
        outcome = prompts.publish()
        statuses.add(outcome.status)
        assert prompts["a"].user.split()[0] in ("x", "y", "one"), prompts["a"].user
        for kept in prompts.releases()[:3]:
            assert prompts.find(kept.id).id == kept.id
print(sorted(statuses), number > 5)
"""


def test_two_processes_share_a_store_and_publish_at_the_same_time(folder: Path) -> None:
    script = PUBLISHER.format(root=str(ROOT), folder=str(folder))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, name],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("x", "y")
    ]
    for process in running:
        out, problems = process.communicate(timeout=60)
        assert process.returncode == 0, problems
        assert "rejected" not in out
        assert out.endswith("True\n")
    with quiet(folder) as prompts:
        assert prompts["a"].user.split()[0] in ("x", "y")


def test_publications_compilations_and_closing_at_once_do_no_harm(folder: Path) -> None:
    problems: list[BaseException] = []
    for _ in range(3):
        prompts = quiet(folder)
        prompts.release  # noqa: B018
        stop = threading.Event()

        def again(act: Callable[[], object], stop: threading.Event = stop) -> None:
            while not stop.is_set():
                try:
                    act()
                except PromptsError:
                    return
                except BaseException as problem:  # noqa: BLE001
                    problems.append(problem)
                    return

        count = iter(range(10_000))

        def publish(prompts: LivePrompts = prompts, count: Iterator[int] = count) -> None:
            write(folder, {"a.yaml": f"user: text {next(count)}"})
            prompts.publish()

        def compiled(prompts: LivePrompts = prompts) -> None:
            live_graph(says("a"), prompts=prompts).compile().invoke({})

        threads = [threading.Thread(target=again, args=(act,)) for act in (publish, compiled)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        prompts.close()
        stop.set()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    assert problems == []


# Fuzz: nothing but PromptsError, and never a hang

fuzzed = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
tokens = st.lists(
    st.sampled_from(
        [
            *("user: ", "system: ", "system_segments:", "\n", "  ", "- ", "[", "]", "{", "}"),
            *("'", '"', "&a ", "*a", "<<: ", "!!python/object:os.system ", "!!binary ", "? "),
            *("|\n", ">\n", "#", "{{ x }}", "{% if x %}", "{% endif %}", "{x.y[0]}", "{x!r:>{w}}"),
            *(
                "schema: ",
                "fields: ",
                "output_schema: ",
                "type: ",
                "object",
                "\t",
                "\x00",
                "\ufeff",
            ),
            *("\u2028", "1e999", "0x", '"\\ud800"', "2001-01-01", "nodes:", "edges:", "~"),
            *("provider: ", "content: ", "---\n"),
        ]
    ),
    max_size=25,
).map(lambda parts: "".join(parts).encode("utf-8", "surrogatepass"))
rubbish = st.one_of(st.binary(max_size=200), tokens)


def used(prompts: LivePrompts) -> None:
    for prompt in prompts.release.prompts.values():
        try:
            str(prompt), prompt.system, prompt.user, sorted(prompt.variables)
            prompt.messages(**dict.fromkeys(prompt.variables, "v"))
        except PromptsError:
            continue


@fuzzed
@given(st.dictionaries(st.sampled_from(["a.yaml", "b.yaml", "n/c.yaml"]), rubbish, min_size=1))
@example({"a.yaml": b"user: " + b"[" * 50_000})
@example({"a.yaml": b"a: &a [x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nuser: *c"})
@example({"a.yaml": b"user: &a [*a]"})
@example({"a.yaml": b"? {a: b}\n: user\n"})
@example({"a.yaml": b"user: 2001-99-99"})
@example({"a.yaml": b'user: "\\ud800"'})
@example({"a.yaml": b'"\\ud800": x\nuser: x'})
@example({"a.yaml": b"schema: &a {fields: *a}\nuser: x"})
def test_any_bytes_as_prompts_raise_nothing_but_prompts_errors(files: dict[str, bytes]) -> None:
    with suppress(PromptsError), LivePrompts(files) as prompts:
        used(prompts)


@settings(fuzzed, max_examples=30)
@given(rubbish, rubbish)
@example(b"x: &a [*a]", b"user: {{ x }}")
@example(b'x: "\\ud800"', b"user: {{ x }}")
@example(b"x: 2001-01-01\ny: !!binary aGk=\nz: !!set {a, b}", b"user: {{ x }} {{ y }} {{ z }}")
@example(b"environment: mine\nself: x\nloop: x", b"user: {{ environment }} {{ self }}")
@example(b"x: " + b"9" * 5000, b"user: '{{ x }}'")
def test_any_bytes_as_vars_and_templates_raise_nothing_but_prompts_errors(
    variables: bytes, template: bytes
) -> None:
    files = {"vars.yaml": variables, "a.yaml.j2": template}
    with suppress(PromptsError), LivePrompts(files) as prompts:
        used(prompts)


GRAPH = b"""name: g
state: {name: str}
data_files: {d: data.yaml}
tools: {t: {type: graph, path: other.yaml}}
nodes:
  n: {type: llm, prompt: a, state_key: x, variables: {name: "{state.name}"}}
  s: {type: subgraph, graph: child.yaml, input_mapping: {x: y}}
  m: {type: map, over: "{state.l}", as: i, node: {type: llm, prompt: a, state_key: y}, collect: z}
edges: [{from: START, to: n}, {from: n, to: END}]
"""


@settings(fuzzed, max_examples=80)
@given(st.data())
def test_any_bytes_as_a_graph_raise_nothing_but_prompts_errors(
    tmp_path: Path, data: st.DataObject
) -> None:
    if data.draw(st.booleans()):
        begin = data.draw(st.integers(0, len(GRAPH)))
        end = data.draw(st.integers(begin, min(len(GRAPH), begin + 40)))
        graph = GRAPH[:begin] + data.draw(rubbish) + GRAPH[end:]
    else:
        graph = data.draw(rubbish)
    graphs_are_safe(tmp_path, graph)


@pytest.mark.parametrize(
    "graph",
    [
        b"",
        b"[" * 50_000,
        GRAPH,
        GRAPH.replace(b"prompt: a", b'prompt: "a\\0b"'),
        GRAPH.replace(b"prompt: a", b'prompt: "\\ud800"'),
        GRAPH.replace(b"prompt: a", b"prompt: " + b"x" * 5000),
        GRAPH.replace(b"prompt: a", b"prompt: /etc/passwd"),
        GRAPH.replace(b"prompt: a", b"prompt: ''"),
        GRAPH.replace(b"child.yaml", b'"\\0"'),
        GRAPH.replace(b"child.yaml", b"graph.yaml"),
        GRAPH.replace(b"child.yaml", b"/dev/zero"),
        GRAPH.replace(b"data.yaml", b'"\\0"'),
        GRAPH.replace(b"data.yaml", b"'*.yaml'"),
        GRAPH.replace(b"data.yaml", b"'/**'"),
        GRAPH.replace(b"other.yaml", b"[1]"),
        b"prompts_dir: '{environment}\\0'\n" + GRAPH,
        b"prompts_dir: nowhere://x\n" + GRAPH,
        b"nodes: {n: 1, m: [], 3: {}}\nedges: [1, null]\nname: x",
        b"nodes: &a {n: *a}\nedges: []\nname: x",
        b"name: x\nnodes: {n: {type: nothing}}\nedges: [{from: START, to: n}]",
    ],
)
def test_odd_graphs_raise_nothing_but_prompts_errors(tmp_path: Path, graph: bytes) -> None:
    graphs_are_safe(tmp_path, graph)


def graphs_are_safe(folder: Path, graph: bytes) -> None:
    write(folder, {"graph.yaml": graph, "over/a.yaml": "user: hi {name}"})
    with suppress(PromptsError):
        app = load_and_compile(folder / "graph.yaml", folder / "over", watch=False).compile()
        assert app.prompts.publish().status == "unchanged"
        app.prompts.close()
    # The same as an edit of a graph that runs.
    write(folder, {"live.yaml": SMALL})
    app = load_and_compile(folder / "live.yaml", folder / "over", watch=False).compile()
    write(folder, {"live.yaml": graph})
    outcome = app.prompts.publish()
    assert outcome.status in ("published", "rejected", "unchanged")
    assert app.prompts._following._fingerprint()
    assert all(str(finding) for finding in outcome.findings)
    app.prompts.close()


SMALL = b"""name: small
state: {name: str}
nodes: {n: {type: llm, prompt: a, state_key: x}}
edges: [{from: START, to: n}, {from: n, to: END}]
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("fails", [False, True])
def test_runs_take_a_release_before_its_history_is_durable_and_give_it_back_if_that_fails(
    folder: Path, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def fsync(fd: int) -> None:
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".jsonl"):
            said.extend(app.invoke({})["said"])
            if fails:
                raise OSError(errno.EIO, "broken")

    with quiet(folder) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        write(folder, {"a.yaml": "user: two"})
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            outcome = prompts.publish()
        assert said == ["two"]
        assert outcome.status == ("rejected" if fails else "published")
        assert app.invoke({})["said"] == ["one" if fails else "two"]
        entry = prompts._store.current()
        assert entry is not None
        assert entry.release == prompts.release.id
