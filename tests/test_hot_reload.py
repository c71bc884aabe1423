"""Real files, the real watch: one save is one publication, and the next run has it."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.files import Heard, says, write
from yamlgraph_prompts import LiveGraph, LivePrompts, live_graph, load_and_compile
from yamlgraph_prompts._following.watch import file_events
from yamlgraph_prompts._model.trigger import Trigger
from yamlgraph_prompts.sources import directory

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs inotify"),
]

SOON_S = 20.0


class Live:
    """A live graph on a folder, and what it published."""

    def __init__(self, *layers: Any, names: tuple[str, ...] = ("a",), **options: Any) -> None:
        self.heard = Heard()
        self.prompts = LivePrompts(*layers, hooks=[self.heard], **options)
        self.app: LiveGraph = live_graph(says(*names), prompts=self.prompts).compile()
        self.said()
        wait_until(self.ready)

    def ready(self) -> bool:
        """Whether the watch is armed and the first look is over."""
        watches = self.prompts._following._watches or ()
        looking = any(t.name == "yamlgraph-prompts-look" for t in threading.enumerate())
        return not looking and all(watch.mode == "events" for watch in watches)

    def said(self) -> list[str]:
        return list(self.app.invoke({})["said"])

    @property
    def published(self) -> int:
        return len(self.heard.outcomes("published")) - 1

    def until(self, *texts: str) -> None:
        wait_until(lambda: self.said() == list(texts), SOON_S)


def ours() -> int:
    return sum(t.name.startswith("yamlgraph-prompts") for t in threading.enumerate())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "prompts", {"a.yaml": "user: one"})


@pytest.fixture
def live(folder: Path) -> Iterator[Live]:
    made = Live(folder)
    yield made
    made.prompts.close()


def plain(file: Path, text: str) -> None:
    file.write_text(text)


def renamed(file: Path, text: str) -> None:
    beside = file.with_name(f"{file.name}.tmp")
    beside.write_text(text)
    os.replace(beside, file)


def vim(file: Path, text: str) -> None:
    probe = file.with_name("4913")
    probe.touch()
    probe.unlink()
    swap = file.with_name(f".{file.name}.swp")
    swap.write_text("swap")
    backup = file.with_name(f"{file.name}~")
    os.rename(file, backup)
    with file.open("w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    backup.unlink()
    swap.unlink()


def vs_code(file: Path, text: str) -> None:
    handle = os.open(file, os.O_WRONLY)
    os.ftruncate(handle, 0)
    os.write(handle, text.encode())
    os.close(handle)


def in_pieces(file: Path, text: str) -> None:
    with file.open("w") as handle:
        for letter in text:
            handle.write(letter)
            handle.flush()
            time.sleep(0.002)


@pytest.mark.parametrize("save", [plain, renamed, vim, vs_code, in_pieces])
def test_one_save_is_one_publication(
    live: Live, folder: Path, save: Callable[[Path, str], None]
) -> None:
    for number, text in enumerate(("two", "three", "four"), 1):
        save(folder / "a.yaml", f"user: {text}")
        live.until(text)
        wait_until(lambda: live.published >= number)  # noqa: B023
        time.sleep(0.15)
        assert live.published == number
    assert live.heard.outcomes("rejected") == []
    assert {outcome.reason for outcome in live.heard.outcomes("published")[1:]} == {"file change"}


def test_a_save_reaches_the_next_run_fast(live: Live, folder: Path) -> None:
    took = []
    for number in range(10):
        started = time.monotonic()
        renamed(folder / "a.yaml", f"user: text {number}")
        while live.said() != [f"text {number}"]:
            assert time.monotonic() - started < SOON_S
        took.append(time.monotonic() - started)
    assert sorted(took)[5] < 0.5


def test_a_half_written_file_never_goes_live(folder: Path) -> None:
    write(folder, {"a.yaml": "user: aaaa"})
    live = Live(folder)
    seen: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.update(live.said())

    reader = threading.Thread(target=watch)
    reader.start()
    for letter in "bcd":
        with (folder / "a.yaml").open("w") as handle:
            for piece in ("us", "er: ", letter, letter, letter, letter):
                handle.write(piece)
                handle.flush()
                time.sleep(0.04)
        wait_until(lambda: letter * 4 in seen, SOON_S)  # noqa: B023
    stop.set()
    reader.join()
    live.prompts.close()
    assert seen == {"aaaa", "bbbb", "cccc", "dddd"}
    assert live.heard.outcomes("rejected") == []


@pytest.mark.parametrize("mode", ["events", "polling"])
def test_what_another_process_read_of_a_half_written_file_goes_live_nowhere_else(
    mode: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    if mode == "polling":
        monkeypatch.setenv("YAMLGRAPH_PROMPTS_WATCH", "poll")
    one = LivePrompts(folder, store=store)
    one.follow_changes()
    wait_until(lambda: {watch.mode for watch in one._following._watches or ()} == {mode})
    with (folder / "a.yaml").open("w") as handle:
        handle.write("user: half")
        handle.flush()
        another = LivePrompts(folder, store=store, watch=False)
        assert another["a"].user == "half"
        one._pointed(Trigger.POLL)
        assert one["a"].user == "one"
        held = another.activate(another.release.id)
        assert held.status == "published"
        one._pointed(Trigger.POLL)
        assert one["a"].user == "half", "what somebody holds is served at once"
        another.follow()
        handle.write(" and half")
    wait_until(lambda: one["a"].user == "half and half", 10.0)
    one.close()
    another.close()


def test_bad_then_good_again_reloads(live: Live, folder: Path) -> None:
    for text in ("two", "three"):
        renamed(folder / "a.yaml", "user: '{{ unclosed'")
        wait_until(lambda: live.heard.outcomes()[-1].status == "rejected", SOON_S)
        renamed(folder / "a.yaml", f"user: {text}")
        live.until(text)


def test_new_and_removed_prompts_are_seen(folder: Path) -> None:
    write(folder, {"b.yaml": "user: b"})
    live = Live(folder)
    write(folder, {"deep/er/c.yaml": "user: c"})
    wait_until(lambda: "deep/er/c" in live.prompts.release, SOON_S)
    (folder / "b.yaml").unlink()
    wait_until(lambda: "b" not in live.prompts.release, SOON_S)
    os.rename(folder / "deep", folder / "deeper")
    wait_until(lambda: "deeper/er/c" in live.prompts.release, SOON_S)
    shutil.rmtree(folder / "deeper")
    wait_until(lambda: list(live.prompts.release) == ["a"], SOON_S)
    live.prompts.close()


def test_every_swap_of_a_configmap_is_seen(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    write(mount, {"..2001/a.yaml": "user: one"})
    (mount / "..data").symlink_to("..2001")
    (mount / "a.yaml").symlink_to("..data/a.yaml")
    live = Live(mount)
    for number in range(2, 6):
        write(mount, {f"..200{number}/a.yaml": f"user: text {number}"})
        (mount / "..data_tmp").symlink_to(f"..200{number}")
        os.replace(mount / "..data_tmp", mount / "..data")
        shutil.rmtree(mount / f"..200{number - 1}")
        live.until(f"text {number}")
    wait_until(lambda: live.published == 4)
    live.prompts.close()


def test_every_swap_of_git_syncs_link_is_seen(tmp_path: Path) -> None:
    root = tmp_path / "git"
    write(root, {"worktrees/1/prompts/a.yaml": "user: one"})
    (root / "current").symlink_to("worktrees/1")
    live = Live(root / "current/prompts")
    for number in range(2, 7):
        write(root, {f"worktrees/{number}/prompts/a.yaml": f"user: text {number}"})
        (root / "tmp-link").symlink_to(f"worktrees/{number}")
        os.replace(root / "tmp-link", root / "current")
        shutil.rmtree(root / f"worktrees/{number - 1}")
        live.until(f"text {number}")
    live.prompts.close()


@pytest.mark.parametrize("link", ["..data", "a.yaml", "whole"])
def test_a_link_that_leads_nowhere_for_a_quarter_of_a_second_is_no_error(
    tmp_path: Path, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "SWAP_S", 10.0)  # of a busy machine
    write(tmp_path, {"mount/..v1/a.yaml": "user: one", "mount/..v2/a.yaml": "user: two"})
    mount, whole = tmp_path / "mount", tmp_path / "whole"
    (mount / "..data").symlink_to("..v1")
    (mount / "a.yaml").symlink_to("..data/a.yaml")
    whole.symlink_to("mount")
    swapped = whole if link == "whole" else mount / link
    target = os.readlink(swapped)
    heard = Heard()
    with LivePrompts(whole, store=tmp_path / "store", hooks=[heard]) as prompts:
        assert prompts["a"].user == "one"
        time.sleep(0.3)
        for _ in range(2):
            swapped.unlink()
            swapped.symlink_to("..gone")
            time.sleep(0.25)
            swapped.unlink()
            swapped.symlink_to(target)
            time.sleep(0.3)
        (mount / "..data").unlink()
        (mount / "..data").symlink_to("..v2")
        wait_until(lambda: prompts["a"].user == "two", SOON_S)
        assert heard.outcomes("rejected") == []
        # A link that stays so is an error as ever, and only its first look takes longer.
        monkeypatch.setattr(directory, "SWAP_S", 1.0)
        (mount / "a.yaml").unlink()
        (mount / "a.yaml").symlink_to("..gone")
        wait_until(lambda: heard.outcomes("rejected"), SOON_S)
        before = time.monotonic()
        assert prompts.publish().status == "rejected"
        assert time.monotonic() - before < 0.9
    assert "points to nothing" in str(heard.outcomes("rejected")[0].findings)
    assert heard.of("layer-unavailable") == []


def test_a_folder_that_is_removed_and_made_again_is_followed(live: Live, folder: Path) -> None:
    for number in range(3):
        shutil.rmtree(folder)
        wait_until(lambda: live.heard.outcomes()[-1].status == "rejected", SOON_S)
        assert live.said()
        write(folder, {"a.yaml": f"user: text {number}"})
        live.until(f"text {number}")
    assert live.heard.of("layer-unavailable")
    assert live.heard.of("layer-recovered")


def test_five_hundred_files_at_once_are_at_most_two_publications(live: Live, folder: Path) -> None:
    write(folder, {f"n/p{number}.yaml": f"user: text {number}" for number in range(500)})
    wait_until(lambda: len(live.prompts.release) == 501, SOON_S)
    time.sleep(0.3)
    assert live.published <= 2


def test_vars_and_parts_publish_like_prompts(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "p",
        {
            "a.yaml.j2": 'user: {{ x }} {% include "n/sign.j2" %}',
            "n/sign.j2": "s",
            "vars.yaml": "x: v",
        },
    )
    live = Live(folder)
    for path, text, said in (
        ("vars.yaml", "x: w", "w s"),
        ("n/sign.j2", "t", "w t"),
        ("vars.development.yaml", "x: dev", "dev t"),
        ("a.yaml.j2", "user: plain {{ x }}", "plain dev"),
    ):
        write(folder, {path: text})
        live.until(said)
    live.prompts.close()


def test_what_changed_between_the_load_and_the_first_run_is_seen(folder: Path) -> None:
    app = live_graph(says("a"), folder).compile()
    renamed(folder / "a.yaml", "user: two")
    app.invoke({})
    wait_until(lambda: app.invoke({}) == {"said": ["two"]}, SOON_S)


def test_watching_can_be_switched_off(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_WATCH", "0")
    before = ours()
    app = live_graph(says("a"), folder).compile()
    assert app.invoke({}) == {"said": ["one"]}
    renamed(folder / "a.yaml", "user: two")
    time.sleep(0.3)
    assert app.invoke({}) == {"said": ["one"]}
    assert ours() <= before
    app.prompts.publish()
    assert app.invoke({}) == {"said": ["two"]}


def test_changes_are_found_by_polling_where_there_are_no_events(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_WATCH", "poll")
    heard = Heard()
    with LivePrompts(folder, refresh_s=0.05, hooks=[heard]) as prompts:
        assert prompts["a"].user == "one"
        wait_until(lambda: heard.of("watcher-polling"), SOON_S)
        for text in ("two", "three"):
            before = os.stat(folder / "a.yaml")
            renamed(folder / "a.yaml", f"user: {text}")
            os.utime(folder / "a.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
            wait_until(lambda: prompts["a"].user == text, SOON_S)  # noqa: B023
        # The layers and the store are watched each by itself; one line says it of both.
        wait_until(lambda: all(w.mode == "polling" for w in prompts._following._watches), SOON_S)
        assert len(prompts._following._watches) == 2
    assert caplog.text.count("watcher-polling") == 1


def test_health_says_polling_only_as_long_as_there_are_no_events(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more() -> None:
        raise OSError(24, "inotify instance limit reached")

    with monkeypatch.context() as patch:
        patch.setattr(file_events, "make_observer", no_more)
        prompts = LivePrompts(folder, refresh_s=0.1)
        assert prompts["a"].user == "one"
        wait_until(lambda: prompts.health.degraded == ("polling",), SOON_S)
    wait_until(lambda: prompts.health.degraded == (), SOON_S)
    prompts.close()


# Graphs of YAMLGraph


def revisions(app: LiveGraph) -> set[str]:
    return set(app.prompts._engine.live.candidate.state.graphs.values())


def test_a_saved_graph_a_child_and_their_own_prompts_are_seen(
    graph_folder: Callable[..., Path], model_server: Any
) -> None:
    folder = graph_folder("subgraphs")
    app = load_and_compile("graph.yaml").compile()
    app.invoke({"topic": "t"})
    watches = app.prompts._following
    wait_until(lambda: all(watch.mode == "events" for watch in watches._watches or ()), SOON_S)
    for path in ("graph.yaml", "deeper/graph.yaml", "invoked/graph.yaml"):
        before = revisions(app)
        renamed(folder / path, (folder / path).read_text() + "# note\n")
        wait_until(lambda: revisions(app) != before, SOON_S)  # noqa: B023
    release = app.release.id
    renamed(folder / "deeper/texts/same.yaml", "user: 'changed {{ topic }}'")
    wait_until(lambda: app.release.id != release, SOON_S)
    model_server.clear()
    app.invoke({"topic": "t"})
    assert any("changed" in request.text for request in model_server.requests)


@pytest.mark.parametrize("path", ["graph.yaml", "deeper/graph.yaml", "invoked/graph.yaml"])
def test_a_graph_file_that_was_broken_and_is_mended_is_seen(
    graph_folder: Callable[..., Path], path: str, model_server: Any
) -> None:
    folder = graph_folder("subgraphs")
    heard = Heard()
    with LivePrompts(hooks=[heard]) as prompts:
        app = load_and_compile("graph.yaml", prompts=prompts).compile()
        app.invoke({"topic": "t"})
        wait_until(lambda: any(o.reason == "first look" for o in heard.outcomes()), SOON_S)
        text = (folder / path).read_text()
        for note in ("one", "two"):
            before = revisions(app)
            renamed(folder / path, "nodes: [")
            wait_until(lambda: heard.outcomes()[-1].status == "rejected", SOON_S)
            assert revisions(app) == before
            renamed(folder / path, f"{text}# {note}\n")
            wait_until(lambda: revisions(app) != before, SOON_S)  # noqa: B023


def test_a_prompt_that_appears_in_a_better_place_is_seen(
    tmp_path: Path, stand_in: Callable[[Path], None]
) -> None:
    graph = """
name: g
prompts_relative: true
nodes: {n: {type: llm, prompt: a, state_key: x}}
edges: [{from: START, to: n}, {from: n, to: END}]
"""
    write(tmp_path, {"flows/graph.yaml": graph, "prompts/a.yaml": "user: the default place"})
    stand_in(tmp_path)
    app = load_and_compile("flows/graph.yaml").compile()
    assert app.release["a"].user == "the default place"
    write(tmp_path, {"flows/a.yaml": "user: beside the graph"})
    wait_until(lambda: app.release["a"].user == "beside the graph", SOON_S)
    (tmp_path / "flows/a.yaml").unlink()
    wait_until(lambda: app.release["a"].user == "the default place", SOON_S)


# Processes


def test_closing_ends_every_thread_and_closes_every_descriptor(folder: Path) -> None:
    Live(folder).prompts.close()
    descriptors = len(os.listdir("/proc/self/fd"))
    threads = threading.active_count()
    for _ in range(5):
        live = Live(folder)
        live.prompts.close()
        live.prompts.close()
    wait_until(lambda: threading.active_count() <= threads)
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_closing_during_a_burst_of_changes_is_safe(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(5):
        live = Live(folder)
        for part in range(20):
            renamed(folder / "a.yaml", f"user: text {number} {part}")
        live.prompts.close()
        assert live.said()
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


# A run in the next line


@pytest.mark.parametrize("hogs", [0, pytest.param(os.cpu_count(), marks=pytest.mark.nightly)])
def test_a_run_in_the_line_after_a_write_has_the_new_text(folder: Path, hogs: int) -> None:
    def invoke(app: Any) -> str:
        return str(app.invoke({})["said"][0])

    async def ainvoke(app: Any) -> str:
        return str((await app.ainvoke({}))["said"][0])

    async def in_a_notebook(app: Any) -> str:
        return invoke(app)

    path, live = folder / "a.yaml", Live(folder)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(hogs)]
    try:
        for run in (invoke, ainvoke, in_a_notebook):
            for save in (plain, renamed):
                before, old = live.prompts.health.stale_runs, 0
                for number in range(50):
                    text = f"{run.__name__} {save.__name__} {number}"
                    save(path, f"user: {text}")
                    said = run(live.app)
                    old += (said if isinstance(said, str) else asyncio.run(said)) != text
                assert old <= 1
                assert live.prompts.health.stale_runs - before >= old
    finally:
        live.prompts.close()
        for hog in busy:
            hog.kill()
            hog.wait()
