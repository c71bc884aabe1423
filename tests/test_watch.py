"""Every kind of change is heard, once it is whole, and whatever happens to the watcher."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from yamlgraph_prompts._following.arrival import Arrival
from yamlgraph_prompts._following.watch import Watch, file_events
from yamlgraph_prompts._following.watch import burst as bursts
from yamlgraph_prompts._following.watch.burst import MOST_OPEN_S, SETTLE_S, Burst
from yamlgraph_prompts._following.watch.file_events import MOST_ENTRIES, survey
from yamlgraph_prompts._model.trigger import Trigger

pytestmark = pytest.mark.alone
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs inotify")
QUIET_S = 0.1


def wait_until(true: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def inotify_instances() -> int:
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return sum("inotify" in os.readlink(link) for link in links if os.path.islink(link))


def watch_threads() -> list[threading.Thread]:
    modules = ("watchdog", "yamlgraph_prompts")
    return [
        thread
        for thread in threading.enumerate()
        if type(thread).__module__.startswith(modules) or thread.name.startswith("yamlgraph-prompt")
    ]


class Listener:
    """Notes every call of a watch, with what the folder held at that moment."""

    def __init__(self, *paths: Path, **options: Any) -> None:
        self.calls: list[Trigger] = []
        self.trouble: list[tuple[str, str]] = []
        self.texts: list[dict[str, str]] = []
        self.at: list[float] = []
        self.paths = list(paths)
        options.setdefault("fingerprint", self.fingerprint)
        self.watch = Watch(
            self.on_change,
            paths=lambda: list(self.paths),
            on_trouble=lambda kind, message: self.trouble.append((kind, message)),
            **options,
        )

    def on_change(self, trigger: Trigger) -> None:
        self.at.append(time.monotonic())
        self.texts.append(self.read())
        self.calls.append(trigger)

    def read(self) -> dict[str, str]:
        texts: dict[str, str] = {}
        for path in self.paths:
            for file in [path, *sorted(path.glob("**/*.yaml"))]:
                if file.is_file():
                    texts[file.name] = file.read_text()
        return texts

    def fingerprint(self) -> str:
        return repr(sorted(self.read().items()))

    def saw(self, name: str, text: str) -> bool:
        return bool(self.texts) and self.texts[-1].get(name) == text

    def hears(self, change: Callable[[], object], name: str, text: str) -> None:
        """After `change` a call sees `text` in `name`."""
        change()
        wait_until(lambda: self.saw(name, text))

    def settle(self) -> int:
        """Wait until nothing more comes; how many calls there were."""
        started = time.monotonic()
        wait_until(lambda: time.monotonic() - max([started, *self.at[-1:]]) > 2.5 * QUIET_S, 20)
        return len(self.calls)


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(*paths: Path, **options: Any) -> Listener:
        listener = Listener(*paths, **options)
        listeners.append(listener)
        listener.watch.start()
        return listener

    yield start
    for listener in listeners:
        listener.watch.close()
    assert watch_threads() == []


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "a.yaml").write_text("old")
    return folder


Listen = Callable[..., Listener]


def replace(path: Path, text: str, temporary: str = ".tmp") -> None:
    beside = path.parent / temporary
    beside.write_text(text)
    os.replace(beside, path)


def swap_link(link: Path, target: str | Path) -> None:
    beside = link.parent / f"{link.name}_tmp"
    beside.symlink_to(target)
    os.replace(beside, link)


# One save, one call


def plain_write(path: Path) -> None:
    path.write_text("new")


def rename_hidden(path: Path) -> None:
    replace(path, "new")


def rename_beside(path: Path) -> None:
    replace(path, "new", temporary="a.yaml.new")


def rename_from_elsewhere(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    elsewhere.write_text("new")
    os.replace(elsewhere, path)


def as_vim(path: Path) -> None:
    probe = path.parent / "4913"
    probe.touch()
    probe.unlink()
    backup = path.with_name("a.yaml~")
    path.rename(backup)
    with path.open("w") as file:
        file.write("new")
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)
    backup.unlink()


def as_vs_code(path: Path) -> None:
    with path.open("r+") as file:
        file.truncate()
        file.write("new")


@pytest.mark.parametrize(
    "save",
    [plain_write, rename_hidden, rename_beside, rename_from_elsewhere, as_vim, as_vs_code],
)
def test_one_save_is_one_call(save: Callable[[Path], None], prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    listener.hears(lambda: save(prompts / "a.yaml"), "a.yaml", "new")
    assert listener.settle() == 1
    assert listener.calls == [Trigger.FILE_CHANGE]


@linux
@pytest.mark.skipif(shutil.which("vim") is None, reason="needs vim")
@pytest.mark.parametrize("copy", ["yes", "no", "auto"])
def test_one_save_of_the_real_vim_is_one_call(copy: str, prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    commands = ["-c", f"set backupcopy={copy}", "-c", "%s/old/new/", "-c", "wq"]
    subprocess.run(["vim", "-u", "NONE", "-es", *commands, prompts / "a.yaml"], check=True)
    wait_until(lambda: listener.saw("a.yaml", "new\n"))
    assert listener.settle() == 1


def test_a_save_of_a_single_watched_file_is_heard(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts / "a.yaml")
    listener.hears(lambda: replace(prompts / "a.yaml", "new"), "a.yaml", "new")


def test_a_file_beside_a_single_watched_file_is_not_heard(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts / "a.yaml")
    (prompts / "log.txt").write_text("noise")
    listener.hears(lambda: replace(prompts / "a.yaml", "new"), "a.yaml", "new")
    assert listener.settle() == 1


@linux
def test_back_to_back_saves_of_one_file_do_not_wait(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    started = time.monotonic()
    for number in range(20):
        listener.hears(
            lambda n=number: replace(prompts / "a.yaml", str(n), temporary="a.new"),
            "a.yaml",
            str(number),
        )
    assert time.monotonic() - started < 20 * QUIET_S / 2


@linux
def test_a_rename_is_told_within_milliseconds(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    delays = []
    for number in range(20):
        seen = len(listener.at)
        (prompts / ".tmp").write_text(str(number))
        replaced = time.monotonic()
        os.replace(prompts / ".tmp", prompts / "a.yaml")
        wait_until(lambda seen=seen: len(listener.at) > seen)
        delays.append(listener.at[seen] - replaced)
    assert sorted(delays)[10] < 0.02  # 0.5 ms on a quiet machine


def test_500_files_at_once_are_two_calls_at_most(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    for number in range(500):
        (prompts / f"{number}.yaml").write_text("new")
    wait_until(lambda: len(listener.texts[-1:] and listener.texts[-1]) == 501)
    assert listener.settle() <= 2


def test_bad_then_good_again_is_two_calls(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    listener.hears(lambda: replace(prompts / "a.yaml", "bad"), "a.yaml", "bad")
    listener.settle()
    listener.hears(lambda: replace(prompts / "a.yaml", "old"), "a.yaml", "old")
    assert listener.settle() == 2


def test_a_removed_file_is_heard(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    (prompts / "a.yaml").unlink()
    wait_until(lambda: listener.texts[-1:] == [{}])


def test_a_file_moved_away_is_heard_and_holds_nothing_up(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    (prompts / "a.yaml").rename(prompts.parent / "a.yaml")
    started = time.monotonic()
    listener.hears(lambda: replace(prompts / "b.yaml", "new"), "b.yaml", "new")
    assert time.monotonic() - started < 0.4


@pytest.mark.parametrize("name", [".hidden.yaml", "a.yaml~", ".a.yaml.swp", ".git/index"])
def test_what_nobody_reads_is_not_heard(name: str, prompts: Path, listen: Listen) -> None:
    (prompts / ".git").mkdir()
    listener = listen(prompts)
    (prompts / name).write_text("x")
    (prompts / "a.yaml").read_text()
    assert listener.settle() == 0


def test_a_touch_is_not_told_when_the_content_is_the_same(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    time.sleep(3 * QUIET_S)  # until the watch knows what is there
    (prompts / "a.yaml").chmod(0o600)
    (prompts / "empty").mkdir()
    assert listener.settle() == 0


# Nothing half-written


@linux
def test_a_slow_writer_is_waited_for(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    for name in ("a.yaml", "made.yaml"):
        with (prompts / name).open("w") as file:
            for part in ("first half, ", "second half"):
                file.write(part)
                file.flush()
                time.sleep(0.4)
        wait_until(lambda name=name: listener.saw(name, "first half, second half"))
    seen = {text for texts in listener.texts for text in texts.values()}
    assert seen <= {"old", "first half, second half"}


@linux
def test_a_file_that_stays_open_is_taken_after_a_minute_with_one_warning(
    prompts: Path,
    listen: Listen,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(bursts, "MOST_OPEN_S", 2.5)
    listener = listen(prompts, most_s=0.2)
    with (prompts / "a.yaml").open("w") as file:
        for text in ("still open", "still open, still"):
            file.seek(0)
            file.write(text)
            file.flush()
            time.sleep(1.2)
            assert listener.calls == []
        wait_until(lambda: listener.saw("a.yaml", "still open, still"))
    assert caplog.text.count("a.yaml is still being written") == 1


@linux
@pytest.mark.parametrize("pause_s", [0.02, 0.04])
def test_a_file_that_is_appended_to_in_a_loop_is_taken_whole(
    pause_s: float, prompts: Path, listen: Listen
) -> None:
    listener = listen(prompts, most_s=0.3)
    (prompts / "a.yaml").write_text("")
    for _ in range(20):
        with (prompts / "a.yaml").open("a") as file:
            file.write("line\n")
        time.sleep(pause_s)
    wait_until(lambda: listener.saw("a.yaml", "line\n" * 20))
    assert len(listener.calls) == 1


@linux
def test_a_log_that_stays_open_in_the_folder_holds_up_no_save_and_no_run(
    prompts: Path, listen: Listen
) -> None:
    arrival = Arrival()
    listener = listen(prompts, arrival=arrival)
    with (prompts / "app.log").open("a") as log:
        for _ in range(10):
            log.write("line\n")
            log.flush()
            time.sleep(0.02)
            assert arrival.coming is None
        listener.hears(lambda: replace(prompts / "a.yaml", "new"), "a.yaml", "new")
    assert listener.calls == [Trigger.FILE_CHANGE]


def test_a_graphs_data_files_are_heard_whatever_they_are_called(prompts: Path) -> None:
    heard = threading.Event()
    watch = Watch(lambda trigger: heard.set(), paths=lambda: [prompts])
    watch.start()
    try:
        (prompts / "facts.json").write_text("{}")
        assert heard.wait(5)
    finally:
        watch.close()


def test_polling_takes_no_file_that_is_written_with_pauses(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts, events=False, poll_s=0.5)
    parts = [f"part {number}, " for number in range(8)]
    with (prompts / "a.yaml").open("w") as file:
        for part in parts:
            file.write(part)
            file.flush()
            time.sleep(0.25)
    wait_until(lambda: listener.saw("a.yaml", "".join(parts)))
    assert {texts["a.yaml"] for texts in listener.texts} == {"".join(parts)}


def test_polling_takes_only_what_stays_the_same(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts, events=False, poll_s=0.02, quiet_s=0.15)
    with (prompts / "a.yaml").open("w") as file:
        for part in ("one, ", "two, ", "three, ", "four"):
            file.write(part)
            file.flush()
            time.sleep(0.05)
    wait_until(lambda: listener.saw("a.yaml", "one, two, three, four"))
    assert listener.calls == [Trigger.POLL]


# Calls


def test_on_change_never_runs_twice_at_once_and_runs_again_for_what_came_meanwhile(
    prompts: Path,
) -> None:
    running, most, calls, threads = 0, 0, 0, set()
    first, go_on = threading.Event(), threading.Event()

    def on_change(trigger: Trigger) -> None:
        nonlocal running, most, calls
        running += 1
        most = max(most, running)
        calls += 1
        threads.add(threading.current_thread())
        first.set()
        assert go_on.wait(5)
        running -= 1

    watch = Watch(on_change, paths=lambda: [prompts])
    watch.start()
    try:
        replace(prompts / "a.yaml", "1")
        assert first.wait(5)
        for number in range(5):
            replace(prompts / f"{number}.yaml", "2")
        go_on.set()
        wait_until(lambda: calls == 2)
    finally:
        go_on.set()
        watch.close()
    assert most == 1
    assert len(threads) == 1


@pytest.mark.parametrize("problem", [ValueError("a bad day"), SystemExit(1)], ids=repr)
def test_a_callback_that_raises_does_not_end_the_watch(
    problem: BaseException, prompts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def on_change(trigger: Trigger) -> None:
        calls.append(trigger)
        raise problem

    watch = Watch(on_change, paths=lambda: [prompts])
    watch.start()
    try:
        for count in (1, 2):
            replace(prompts / "a.yaml", str(count))
            wait_until(lambda count=count: len(calls) >= count)
    finally:
        watch.close()
    assert "could not be processed" in caplog.text


def test_the_watch_can_be_closed_from_its_own_callback(prompts: Path) -> None:
    closed = threading.Event()

    def on_change(trigger: Trigger) -> None:
        watch.close()
        closed.set()

    watch = Watch(on_change, paths=lambda: [prompts])
    watch.start()
    replace(prompts / "a.yaml", "new")
    assert closed.wait(5)
    wait_until(lambda: watch_threads() == [])
    assert watch.mode == "off"


# Places that come, go and change


def test_a_path_that_does_not_exist_yet_is_heard_when_it_comes(
    tmp_path: Path, listen: Listen
) -> None:
    folder = tmp_path / "not" / "yet" / "there"
    listener = listen(folder)
    folder.mkdir(parents=True)
    listener.hears(lambda: (folder / "a.yaml").write_text("1"), "a.yaml", "1")
    listener.hears(lambda: (folder / "a.yaml").write_text("2"), "a.yaml", "2")


def test_a_new_folder_with_files_is_heard(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    (prompts / "deep" / "er").mkdir(parents=True)
    listener.hears(lambda: (prompts / "deep/er/b.yaml").write_text("1"), "b.yaml", "1")
    listener.hears(lambda: (prompts / "deep/er/b.yaml").write_text("2"), "b.yaml", "2")


def test_a_folder_removed_and_made_again_is_heard_ten_times(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    for number in range(10):
        shutil.rmtree(prompts)
        prompts.mkdir()
        text = str(number)
        listener.hears(lambda t=text: (prompts / "a.yaml").write_text(t), "a.yaml", text)
    listener.settle()
    listener.hears(lambda: replace(prompts / "a.yaml", "after"), "a.yaml", "after")
    assert listener.watch.restarts == 0


def test_a_folder_replaced_by_rename_is_heard(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    for number in range(3):
        beside = prompts.with_name(f"beside{number}")
        beside.mkdir()
        (beside / "a.yaml").write_text(f"swapped {number}")
        prompts.rename(prompts.with_name(f"away{number}"))
        listener.hears(lambda b=beside: b.rename(prompts), "a.yaml", f"swapped {number}")
        text = f"saved {number}"
        listener.hears(lambda t=text: replace(prompts / "a.yaml", t), "a.yaml", text)


def test_a_folder_replaced_from_far_above_is_heard(tmp_path: Path, listen: Listen) -> None:
    for name in ("app", "next"):
        (tmp_path / name / "graphs" / "prompts").mkdir(parents=True)
        (tmp_path / name / "graphs" / "prompts" / "a.yaml").write_text(name)
    prompts = tmp_path / "app" / "graphs" / "prompts"
    listener = listen(prompts)
    (tmp_path / "app").rename(tmp_path / "before")
    listener.hears(lambda: (tmp_path / "next").rename(tmp_path / "app"), "a.yaml", "next")
    listener.hears(lambda: replace(prompts / "a.yaml", "saved"), "a.yaml", "saved")


def test_every_swap_of_git_syncs_link_is_heard(tmp_path: Path, listen: Listen) -> None:
    def checkout(number: int) -> Path:
        folder = tmp_path / ".worktrees" / str(number)
        folder.mkdir(parents=True)
        (folder / "a.yaml").write_text(f"commit {number}")
        return folder

    link = tmp_path / "current"
    link.symlink_to(checkout(0))
    listener = listen(link)
    for number in range(1, 11):
        target = checkout(number)
        listener.hears(lambda t=target: swap_link(link, t), "a.yaml", f"commit {number}")
        shutil.rmtree(tmp_path / ".worktrees" / str(number - 1))
    listener.hears(lambda: replace(link / "a.yaml", "in place"), "a.yaml", "in place")


def test_every_swap_of_a_config_map_is_one_call(tmp_path: Path, listen: Listen) -> None:
    volume = tmp_path / "volume"

    def write(number: int) -> str:
        folder = volume / f"..2024_{number}"
        folder.mkdir(parents=True)
        for name in ("a.yaml", "b.yaml"):
            (folder / name).write_text(f"version {number}")
        return folder.name

    first = write(0)
    (volume / "..data").symlink_to(first)
    for name in ("a.yaml", "b.yaml"):
        (volume / name).symlink_to(f"..data/{name}")
    listener = listen(volume)
    for number in range(1, 6):
        before = listener.settle()
        folder = write(number)
        text = f"version {number}"
        listener.hears(lambda f=folder: swap_link(volume / "..data", f), "b.yaml", text)
        shutil.rmtree(volume / f"..2024_{number - 1}")
        assert listener.settle() == before + 1


def test_the_target_of_a_file_link_edited_elsewhere_is_heard(
    prompts: Path, tmp_path: Path, listen: Listen
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "target").write_text("1")
    (prompts / "b.yaml").symlink_to(elsewhere / "target")
    listener = listen(prompts)
    for text in ("2", "3"):
        listener.hears(lambda t=text: replace(elsewhere / "target", t), "b.yaml", text)
        listener.settle()
    assert len(listener.calls) == 2


def test_what_lies_behind_a_folder_link_in_the_tree_is_heard(prompts: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    changed = threading.Event()
    watch = Watch(lambda reason: changed.set(), paths=lambda: [prompts])
    watch.start()
    try:
        (prompts / "more").symlink_to(shared, target_is_directory=True)
        assert changed.wait(5)
        for _ in range(3):
            changed.clear()
            replace(shared / "b.yaml", "new")
            assert changed.wait(5)
    finally:
        watch.close()


def test_a_link_made_later_and_a_chain_of_links_are_followed(
    tmp_path: Path, listen: Listen
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "one").symlink_to("two")
    listener = listen(tmp_path / "one")
    (tmp_path / "two").symlink_to(real)
    listener.hears(lambda: replace(real / "a.yaml", "1"), "a.yaml", "1")
    listener.hears(lambda: replace(real / "a.yaml", "2"), "a.yaml", "2")


def test_a_working_directory_that_a_deploy_removed_costs_no_events(
    prompts: Path, listen: Listen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    (tmp_path / "old").rmdir()
    listener = listen(prompts)
    assert listener.watch.mode == "events"
    # A new folder makes it look anew where to watch.
    (prompts / "more").mkdir()
    listener.hears(lambda: replace(prompts / "more/b.yaml", "new"), "b.yaml", "new")
    assert listener.watch.mode == "events"


def test_links_in_a_circle_end_the_walk(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "self").symlink_to(".")
    places = survey([tmp_path])
    assert os.path.join(tmp_path, "") in places.roots


def test_the_walk_over_a_tree_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_events, "MOST_ENTRIES", 10)
    for number in range(20):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "link").symlink_to("/nowhere/at/all")
    assert len(survey([tmp_path]).turns) < 20
    assert MOST_ENTRIES >= 10_000


def test_paths_that_a_callback_adds_are_watched(
    prompts: Path, tmp_path: Path, listen: Listen
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    listener = listen(prompts)
    listener.paths.append(more)
    listener.hears(lambda: replace(prompts / "a.yaml", "new"), "a.yaml", "new")
    listener.settle()
    listener.hears(lambda: replace(more / "b.yaml", "1"), "b.yaml", "1")


def test_rearm_watches_the_new_paths_at_once(prompts: Path, tmp_path: Path, listen: Listen) -> None:
    more = tmp_path / "more"
    more.mkdir()
    listener = listen(prompts)
    listener.paths[:] = [more]
    listener.watch.rearm()
    replace(prompts / "a.yaml", "no longer of interest")
    listener.hears(lambda: replace(more / "b.yaml", "1"), "b.yaml", "1")
    assert listener.settle() == 1


# One observer


@linux
def test_50_watches_share_one_observer(tmp_path: Path, listen: Listen) -> None:
    listeners = []
    for number in range(50):
        (tmp_path / str(number)).mkdir()
        listeners.append(listen(tmp_path / str(number)))
    assert inotify_instances() == 1
    for number, listener in enumerate(listeners):
        replace(tmp_path / str(number) / "a.yaml", "new")
        wait_until(lambda listener=listener: listener.saw("a.yaml", "new"))
    for listener in listeners[:-1]:
        listener.watch.close()
    last = listeners[-1]
    last.hears(lambda: replace(tmp_path / "49" / "a.yaml", "newer"), "a.yaml", "newer")


def test_watches_on_overlapping_paths_all_hear(prompts: Path, listen: Listen) -> None:
    listeners = [
        listen(prompts),
        listen(prompts),
        listen(prompts.parent),
        listen(prompts / "a.yaml"),
    ]
    replace(prompts / "a.yaml", "1")
    for listener in listeners:
        wait_until(lambda listener=listener: listener.saw("a.yaml", "1"))
    listeners.pop(0).watch.close()
    replace(prompts / "a.yaml", "2")
    for listener in listeners:
        wait_until(lambda listener=listener: listener.saw("a.yaml", "2"))


@linux
@pytest.mark.parametrize("starts", [200, pytest.param(1_000, marks=pytest.mark.nightly)])
def test_many_starts_leave_nothing_behind(prompts: Path, starts: int) -> None:
    watch = Watch(lambda reason: None, paths=lambda: [prompts])
    watch.start()
    watch.close()
    before = descriptors(), threading.active_count()
    for _ in range(starts):
        watch.start()
        watch.close()
    watch.close()
    assert (descriptors(), threading.active_count()) == before


def test_starting_on_10000_files_is_quick(tmp_path: Path, listen: Listen) -> None:
    for folder in range(100):
        (tmp_path / str(folder)).mkdir()
        for number in range(100):
            (tmp_path / str(folder) / f"{number}.yaml").touch()
    listen()  # so that watchdog is imported
    started = time.process_time()
    listen(tmp_path, fingerprint=lambda: "")
    assert time.process_time() - started < 1.0  # 0.1 s on a quiet machine


# When the watcher itself is in trouble


def kill_observer() -> None:
    assert file_events._shared.observer is not None
    file_events._shared.observer.stop()


def kill_emitter() -> None:
    assert file_events._shared.observer is not None
    next(iter(file_events._shared.observer.emitters)).stop()


def kill_reader() -> None:
    reader = getattr(file_events._shared.observer, "_inotify_fd", None)
    if reader is None:
        pytest.skip("this watchdog has no such thread")
    reader.stop()


@linux
@pytest.mark.parametrize("kill", [kill_observer, kill_emitter, kill_reader])
def test_a_watcher_that_dies_is_restarted_and_reported(
    kill: Callable[[], None], prompts: Path, tmp_path: Path, listen: Listen
) -> None:
    (tmp_path / "other").mkdir()
    listeners = [listen(prompts), listen(tmp_path / "other")]
    kill()
    replace(prompts / "a.yaml", "missed")
    wait_until(lambda: listeners[0].saw("a.yaml", "missed"))
    wait_until(lambda: any(Trigger.POLL in listener.calls for listener in listeners))
    for listener in listeners:
        told = ["watcher-restarted"] * listener.watch.restarts
        wait_until(lambda li=listener, told=told: [kind for kind, _ in li.trouble] == told)
        assert listener.watch.restarts <= 1
    listeners[0].hears(lambda: replace(prompts / "a.yaml", "heard"), "a.yaml", "heard")
    listeners[1].hears(lambda: replace(tmp_path / "other" / "b.yaml", "1"), "b.yaml", "1")


def test_without_inotify_the_watch_polls_and_says_so(
    prompts: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more() -> Any:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr(file_events, "make_observer", no_more)
    listener = listen(prompts, poll_s=0.1)
    assert listener.watch.mode == "polling"
    listener.hears(lambda: replace(prompts / "a.yaml", "new"), "a.yaml", "new")
    time.sleep(1.5)  # it tries again, and does not tell again
    assert [kind for kind, _ in listener.trouble] == ["watcher-polling"]
    assert "inotify instance limit reached" in listener.trouble[0][1]
    assert set(listener.calls) == {Trigger.POLL}
    monkeypatch.undo()
    wait_until(lambda: listener.watch.mode == "events")


@pytest.mark.parametrize("switch", ["argument", "variable"])
def test_events_can_be_switched_off(
    switch: str, prompts: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    if switch == "variable":
        monkeypatch.setenv("YAMLGRAPH_PROMPTS_WATCH", "poll")
    listener = listen(prompts, events=switch != "argument", poll_s=0.05)
    assert listener.watch.mode == "polling"
    listener.hears(lambda: replace(prompts / "a.yaml", "new"), "a.yaml", "new")
    listener.hears(lambda: replace(prompts / "a.yaml", "old"), "a.yaml", "old")
    assert listener.settle() == 2


def test_watching_can_be_switched_off(
    prompts: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_WATCH", "0")
    listener = listen(prompts)
    assert listener.watch.mode == "off"
    assert watch_threads() == []


def test_the_slow_poll_hears_what_events_do_not(
    prompts: Path, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "_hear", lambda self, event: None)  # as on a network file system
    listener = listen(prompts, poll_s=0.3)
    wait_until(lambda: listener.watch._seen is not None)
    listener.hears(lambda: replace(prompts / "a.yaml", "new"), "a.yaml", "new")
    listener.hears(lambda: replace(prompts / "a.yaml", "old"), "a.yaml", "old")
    listener.settle()
    assert listener.calls == [Trigger.POLL, Trigger.POLL]


def test_a_poll_after_an_event_is_not_a_second_call(prompts: Path, listen: Listen) -> None:
    listener = listen(prompts, poll_s=0.3)
    listener.hears(lambda: replace(prompts / "a.yaml", "new"), "a.yaml", "new")
    time.sleep(1.0)
    assert listener.calls == [Trigger.FILE_CHANGE]


@linux
def test_what_is_taken_back_while_it_is_taken_is_taken_back_here_too(tmp_path: Path) -> None:
    for text in ("one", "two", "three"):
        (tmp_path / text).mkdir()
        (tmp_path / text / "a.yaml").write_text(text)
    link, taken = tmp_path / "link", list[str]()
    link.symlink_to("one")

    def fingerprint() -> str:
        found = (link / "a.yaml").read_text()
        if found == "two" and not taken:
            swap_link(link, "three")
        return found

    def take(_: str) -> None:
        taken.append((link / "a.yaml").read_text())
        if taken == ["three"]:
            swap_link(link, "two")

    watch = Watch(take, paths=lambda: [link], fingerprint=fingerprint)
    watch.start()
    wait_until(lambda: watch._seen == "one")
    swap_link(link, "two")
    wait_until(lambda: taken)
    assert taken[0] == "three"
    wait_until(lambda: taken[-1] == "two")
    watch.close()


def test_a_fingerprint_that_raises_is_news_once(prompts: Path, listen: Listen) -> None:
    away = threading.Event()

    def fingerprint() -> str:
        if away.is_set():
            raise OSError("gone")
        return "here"

    listener = listen(prompts, events=False, poll_s=0.05, fingerprint=fingerprint)
    away.set()
    wait_until(lambda: listener.calls == [Trigger.POLL])
    assert listener.settle() == 1


# Forks


@linux
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("locked", [False, True])
def test_a_forked_child_hears_after_a_start(locked: bool, prompts: Path, listen: Listen) -> None:
    listener = listen(prompts)
    if locked:
        locks = [file_events._shared.lock, listener.watch._life, listener.watch._news]
        holding, done = threading.Event(), threading.Event()

        def hold() -> None:
            with locks[0], locks[1], locks[2]:
                holding.set()
                done.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        holding.wait(5)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert listener.watch.mode == "off"
            assert inotify_instances() == 0
            listener.watch.start()
            assert listener.watch.mode == "events"
            listener.hears(lambda: replace(prompts / "a.yaml", "child"), "a.yaml", "child")
            listener.watch.close()
            assert watch_threads() == []
            status = 0
        except BaseException:  # noqa: BLE001 - this process must end here
            traceback.print_exc()
        finally:
            os._exit(status)
    if locked:
        done.set()
        holder.join()
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, 9)
        time.sleep(0.01)
    assert ended[1] == 0
    wait_until(lambda: listener.saw("a.yaml", "child"))
    listener.hears(lambda: replace(prompts / "a.yaml", "parent"), "a.yaml", "parent")
    assert listener.watch.restarts == 0


# The rule itself, with a clock of its own


def test_a_renamed_file_is_due_at_once_and_one_written_in_place_when_it_is_quiet() -> None:
    burst = Burst(0.1, 2.0)
    burst.opened("a", 10.0)
    assert burst.due() == 10.0 + MOST_OPEN_S
    burst.closed("a", 13.0)
    burst.closed("a", 13.02)
    assert burst.due() == 13.02 + SETTLE_S
    assert burst.take()
    burst.opened("b", 20.0)
    burst.closed("b", 20.1)
    burst.moved("b", "a", 20.101)
    assert burst.due() == 20.101
    assert burst.take()
    burst.moved("", "a", 30.0)
    assert burst.due() == 30.0


def test_several_files_are_due_when_it_is_quiet() -> None:
    burst = Burst(0.1, 2.0)
    burst.closed("a", 10.0)
    assert burst.take()
    burst.moved("", "b", 10.05)
    assert burst.due() == pytest.approx(10.15)
    assert not burst.take()
    burst.moved("", "b", 10.5)
    assert burst.due() == 10.5


def test_a_stream_without_end_is_told_now_and_then() -> None:
    burst = Burst(0.1, 2.0)
    now = 10.0
    while now < 60.0 and burst.due() > now:
        burst.closed(f"{now}", now)
        burst.closed("another", now)
        now += 0.05
    assert now <= 12.1
    assert not burst.take()
    while now < 100.0 and burst.due() > now:
        assert burst.writing(now) == ("log" if now > 14.1 else None)
        burst.closed("log", now)
        now += 0.04
    assert now <= 12.1 + MOST_OPEN_S + 0.1
