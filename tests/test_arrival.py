"""A run that begins while a saved file is being published waits a moment for it, and no longer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.files import says, write
from tests.test_watch import replace
from yamlgraph_prompts import LivePrompts, live_graph
from yamlgraph_prompts._following import arrival
from yamlgraph_prompts._following.arrival import Arrival


def follows(prompts: LivePrompts) -> bool:
    looking = any(t.name == "yamlgraph-prompts-look" for t in threading.enumerate())
    watches = prompts._following._watches or ()
    return not looking and all(watch.mode == "events" for watch in watches)


class Slow:
    """A live graph on a folder, whose every publication stops at a check until it may go on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "a.yaml"
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.slow = False
        self.events: list[str] = []
        self.prompts = LivePrompts(folder, checks=[self._check], hooks=[self._hook])
        self.app = live_graph(says("a"), prompts=self.prompts).compile()
        assert self.said() == ["one"]
        wait_until(lambda: follows(self.prompts))

    def _check(self, *_: Any) -> list[Any]:
        if self.slow:
            self.reached.set()
            assert self.go_on.wait(60)
        return []

    def _hook(self, event: Any) -> None:
        if event.kind == "stale-run":
            self.events.append(event.kind)

    def save(self, text: str) -> None:
        """Save, and come back while it is being published."""
        self.slow = True
        self.path.write_text(f"user: {text}")
        assert self.reached.wait(10)

    def said(self) -> list[str]:
        return list(self.app.invoke({})["said"])


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    made = Slow(write(tmp_path / "prompts", {"a.yaml": "user: one"}))
    with made.prompts:
        yield made
        made.go_on.set()


def test_a_run_that_begins_while_a_save_is_published_gets_the_new_prompts(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "MOST_S", 30.0)
    slow.save("two")
    heard: list[str] = []
    run = threading.Thread(target=lambda: heard.extend(slow.said()))
    run.start()
    run.join(0.2)
    assert run.is_alive()
    slow.go_on.set()
    run.join(10)
    assert heard == ["two"]


async def test_so_does_one_on_an_event_loop_which_is_not_blocked(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "MOST_S", 30.0)
    slow.save("two")

    run = asyncio.create_task(slow.app.ainvoke({}))
    stream = asyncio.create_task(_first(slow.app))
    await asyncio.sleep(0.1)
    assert not run.done()
    assert not stream.done()
    slow.go_on.set()
    assert [*(await run)["said"], *(await stream)] == ["two", "two"]


async def _first(app: Any) -> list[str]:
    async for values in app.astream({}, stream_mode="values"):
        if values.get("said"):
            return list(values["said"])
    return []


async def test_the_first_run_after_an_idle_time_has_what_was_saved_in_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "prompts", {"a.yaml": "user: one"})
    with LivePrompts(folder) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        (folder / "a.yaml").write_text("user: two")
        assert (await app.ainvoke({}))["said"] == ["two"]


def test_a_second_run_that_begins_during_the_first_has_it_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "MOST_S", 30.0)
    folder = write(tmp_path / "prompts", {"a.yaml": "user: one"})
    heard: list[str] = []
    waiting: list[threading.Thread] = []

    def check(*_: Any) -> list[Any]:
        if waiting:
            run = waiting.pop()
            run.start()
            run.join(0.3)
            assert run.is_alive()
        return []

    with LivePrompts(folder, checks=[check]) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        second = threading.Thread(target=lambda: heard.extend(app.invoke({})["said"]))
        waiting.append(second)
        (folder / "a.yaml").write_text("user: two")
        assert app.invoke({})["said"] == ["two"]
        second.join(10)
    assert heard == ["two"]


def test_a_run_waits_for_the_bound_at_most_and_is_counted(slow: Slow) -> None:
    slow.save("two")
    assert slow.said() == ["one"]
    assert not slow.go_on.is_set()
    assert slow.prompts.health.stale_runs == 1
    assert slow.events == ["stale-run"]


def test_a_run_that_did_not_get_its_change_in_time_does_not_spoil_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "prompts", {"a.yaml": "user: one"}) / "a.yaml"
    with LivePrompts(path.parent) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        app.invoke({})
        wait_until(lambda: follows(prompts))
        monkeypatch.setattr(arrival, "MOST_S", 0.01)
        path.write_text("user: two")
        app.invoke({})
        monkeypatch.setattr(arrival, "MOST_S", 30.0)
        path.write_text("user: three")
        assert app.invoke({})["said"] == ["three"]


def test_no_run_waits_for_the_hooks_once_the_release_is_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "MOST_S", 30.0)
    folder = write(tmp_path / "prompts", {"a.yaml": "user: one"})
    reached, go_on = threading.Event(), threading.Event()

    def hook(event: Any) -> None:
        if event.kind == "publication" and event.outcome.reason == "file change":
            reached.set()
            assert go_on.wait(60)

    with LivePrompts(folder, hooks=[hook]) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        app.invoke({})
        wait_until(lambda: follows(prompts))
        replace(folder / "a.yaml", "user: two")
        assert reached.wait(10)
        started = time.monotonic()
        assert app.invoke({})["said"] == ["two"]
        assert time.monotonic() - started < 5.0
        go_on.set()


async def test_on_an_event_loop_a_sync_run_waits_and_nothing_else_does(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "MOST_S", 30.0)
    slow.save("two")
    started = time.monotonic()
    assert slow.app.nodes
    slow.app.with_config({"tags": ["x"]})
    assert slow.app.get_graph().nodes
    assert time.monotonic() - started < 5.0
    threading.Timer(0.1, slow.go_on.set).start()
    assert slow.said() == ["two"]


def test_a_hook_that_runs_the_graph_does_not_wait_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "MOST_S", 30.0)
    folder = write(tmp_path / "prompts", {"a.yaml": "user: one"})
    heard: list[str] = []

    def hook(event: Any) -> None:
        if event.kind == "publication" and event.outcome.reason == "file change":
            heard.extend(app.invoke({})["said"])

    with LivePrompts(folder, hooks=[hook]) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        app.invoke({})
        wait_until(lambda: follows(prompts))
        (folder / "a.yaml").write_text("user: two")
        wait_until(lambda: heard == ["two"])


def test_what_was_announced_and_never_came_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "MOST_S", 0.05)
    coming = Arrival()
    coming.announced()
    coming.wait()
    began = time.monotonic()
    for _ in range(1_000):
        coming.wait()
    assert time.monotonic() - began < 1.0


def test_an_exception_lets_everybody_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "MOST_S", 30.0)
    coming = Arrival()
    coming.announced()
    waiting = threading.Thread(target=coming.wait)
    waiting.start()
    with pytest.raises(RuntimeError), coming.taken():
        raise RuntimeError
    waiting.join(10)
    assert not waiting.is_alive()
