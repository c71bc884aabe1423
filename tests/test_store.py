"""The store: what was good stays good through crashes, full disks, damage and other processes."""

from __future__ import annotations

import errno
import gc
import logging
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from yamlgraph_prompts._files import disk
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.pack import ReleaseFacts
from yamlgraph_prompts._model.release import LayerVersion, Prompt, Release
from yamlgraph_prompts.errors import ReleaseNotFound, StoreCorrupted, StoreError
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.registry import journal
from yamlgraph_prompts.registry.store import Store

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may change owners"
)
any_fixture = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


# As version 0.1 wrote them, for release("a"), release("b") and release("c").
OLDER_LOG = b"""\
{"sum": "d5f3f0deada25be1", "release": "21044635b6026db351efec1b66fa78a26940bfd22fd0bc4f3889bb87523\
35105", "held": false, "reason": "start", "at_s": 1700000000.5, "serial": 1}
{"sum": "84182953640681e1", "release": "ef7f6a2181807c7ccaa44435248042c64a5db73f02c006f69134e158c3b\
46dba", "held": false, "reason": "file change", "at_s": 1700000001.5, "serial": 2}
"""
OLDER_POINTER = b"""\
{"sum": "c8ce00fbcc5997c6", "release": "3c1a094544ef0e341b15d7a84049c0ebbd97929922fe283fe0254930b91\
39efd", "held": true, "reason": "rollback", "at_s": 1700000002.5, "serial": 3}
"""


def release(text: str, size: int = 0) -> Release:
    data = f"user: {text}\n".encode().ljust(size, b"#")
    return Release.of(
        [Prompt("greeting", data, "file:///p", "p/greeting.yaml")],
        environment="staging",
        layers=[LayerVersion("file:///p", "v")],
    )


def publish(store: Store, text: str, **kwargs: Any) -> Release:
    made = release(text)
    store.put(made)
    store.make_live(made.id, reason="test", **kwargs)
    return made


def changes(store: Store) -> list[Entry]:
    return list(store.history())[::-1]


def pack_of(store: Store, made: Release) -> Path:
    return store.folder / "packs" / f"{made.id}.pack"


def journal_of(store: Store) -> Path:
    return store.folder / "log-default.jsonl"


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/dev/fd"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with Store(folder) as opened:
        yield opened


# What is kept, and what is live


def test_a_release_is_there_after_a_restart_and_so_is_what_was_live(folder: Path) -> None:
    with Store(folder) as before:
        made = publish(before, "hello", held=True)
    with Store(folder) as after:
        assert after.get(made.id) == made
        assert after.last_good() == made
        pointer = after.current()
    assert pointer is not None
    assert (pointer.release, pointer.held, pointer.why) == (made.id, True, "test")


def test_a_stored_release_is_not_live_until_it_is_made_so(store: Store) -> None:
    store.put(release("candidate"))
    assert store.current() is None
    assert store.last_good() is None
    assert [line.live for line in store.releases()] == [False]


def test_the_serial_grows_by_one_at_each_change(store: Store) -> None:
    serials = []
    for text in ("a", "b", "a"):
        publish(store, text)
        pointer = store.current()
        assert pointer is not None
        serials.append(pointer.number)
    assert serials == [1, 2, 3]


def test_what_is_not_stored_cannot_be_read_or_made_live(store: Store) -> None:
    for release_id in ("0" * 64, "", "../../etc/passwd", "A" * 64):
        with pytest.raises(ReleaseNotFound):
            store.get(release_id)
        with pytest.raises(ReleaseNotFound):
            store.make_live(release_id, reason="test")
        assert store.facts(release_id) is None
    assert store.current() is None


def test_a_restart_knows_what_was_examined(store: Store) -> None:
    made = release("hello")
    warning = Finding("warning", "unused-prompt", "nobody uses it", prompt="greeting")
    store.put(made, ReleaseFacts.of([warning], ["ab" * 32], "3"))
    facts = store.facts(made.id)
    assert facts is not None
    assert (facts.check_version, facts.findings) == ("3", (warning,))
    assert facts.clean == {"ab" * 32}


def test_the_same_release_is_written_once_and_again_when_it_was_examined_anew(
    store: Store,
) -> None:
    made = release("hello")
    store.put(made, ReleaseFacts.of(check_version="1"))
    inode = pack_of(store, made).stat().st_ino
    store.put(made, ReleaseFacts.of(check_version="1"))
    assert pack_of(store, made).stat().st_ino == inode
    store.put(made, ReleaseFacts.of(check_version="2"))
    facts = store.facts(made.id)
    assert facts is not None
    assert facts.check_version == "2"


def test_a_rollback_goes_to_what_was_live_before(store: Store) -> None:
    first, second = publish(store, "first"), publish(store, "second")
    assert store.previous(second.id) == first.id
    store.make_live(second.id, reason="follow")
    assert store.previous(second.id) == first.id
    assert store.previous(first.id) is None
    assert store.previous("0" * 64) is None
    publish(store, "first")
    assert store.previous(first.id) == second.id


def test_releases_are_listed_newest_first(store: Store) -> None:
    first, second = publish(store, "first"), publish(store, "second")
    store.make_live(first.id, reason="rollback")
    lines = store.releases()
    assert [(line.id, line.live, line.reason) for line in lines] == [
        (first.id, True, "rollback"),
        (second.id, False, "test"),
    ]
    assert (lines[0].environment, lines[0].prompts) == ("staging", 1)


def test_releases_are_listed_newest_first_though_the_clock_was_set_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [publish(store, "first"), publish(store, "second")]
    day_before = time.time() - 86400
    monkeypatch.setattr(time, "time", lambda: day_before)
    made += [publish(store, "third"), publish(store, "fourth")]
    assert [line.id for line in store.releases()] == [one.id for one in reversed(made)]


def test_a_release_is_found_by_the_beginning_of_its_id(store: Store) -> None:
    with pytest.raises(ReleaseNotFound, match="Nothing is stored yet"):
        store.find("ab")
    made = [publish(store, f"{number}") for number in range(20)]
    assert store.find(made[0].id[:20].upper()) == made[0].id
    first = [one.id[0] for one in made]
    twice = next(letter for letter in first if first.count(letter) > 1)
    with pytest.raises(ReleaseNotFound, match="Give more of the id"):
        store.find(twice)
    with pytest.raises(ReleaseNotFound, match="Stored are"):
        store.find("")


def test_default_names_the_folder_by_environment_and_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(environment: str, *layers: str, root: Path | None = None) -> Path:
        with Store.default(environment, layers, root) as opened:
            return opened.folder

    one = name("production", "s3://a", root=tmp_path / "given")
    assert one.parent == tmp_path / "given"
    assert one.name.startswith("production-")
    assert len(one.name) == len("production-") + 12
    assert name("production", "s3://b", root=tmp_path / "given") != one
    assert name("staging", "s3://a", root=tmp_path / "given") != one
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_STORE", str(tmp_path / "named"))
    assert name("production", "s3://a") == tmp_path / "named" / one.name
    monkeypatch.delenv("YAMLGRAPH_PROMPTS_STORE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert name("production", "s3://a") == tmp_path / "cache" / "yamlgraph-prompts" / one.name


def test_no_folder_means_no_disk_until_a_view_is_needed(tmp_path: Path) -> None:
    place = Path(os.environ["YAMLGRAPH_PROMPTS_STORE"])
    with Store(None) as unkept:
        assert unkept.current() is None
        assert unkept.releases() == []
        made = publish(unkept, "hello")
        assert unkept.last_good() == made
        assert not any(place.iterdir())
        assert unkept.view("v", {"a.yaml": b"x"}).is_relative_to(place)
    assert not any(place.iterdir())


# What goes


def test_the_newest_releases_and_the_used_ones_are_kept(folder: Path) -> None:
    with Store(folder, keep=2, keep_used_s=1000.0) as store:
        used, forgotten = publish(store, "used"), publish(store, "forgotten")
        store.get(used.id)
        store.get(forgotten.id)
        long_ago = time.time() - 2000.0
        os.utime(pack_of(store, forgotten).with_suffix(".used"), (long_ago, long_ago))
        for text in ("a", "b", "c"):
            publish(store, text)
        store.sweep()
        kept = {line.id for line in store.releases()}
    assert kept == {used.id, release("b").id, release("c").id}


def test_the_live_release_and_the_one_before_it_are_kept_however_old(folder: Path) -> None:
    with Store(folder, keep=1) as store:
        before, live = publish(store, "before"), publish(store, "live")
        for made, age_s in ((before, 2_000), (live, 1_000)):
            os.utime(pack_of(store, made), (time.time() - age_s,) * 2)
        for text in ("candidate 1", "candidate 2"):
            store.put(release(text))
        store.sweep()
        kept = {line.id for line in store.releases()}
    assert {before.id, live.id} < kept
    assert len(kept) == 3


def test_a_thousand_publications_leave_a_bounded_folder_and_no_descriptor(folder: Path) -> None:
    with Store(folder) as store:
        publish(store, "warm")
        before = descriptors()
        for number in range(1_100):
            publish(store, f"{number}")
            store.view(f"view{number}", {"greeting.yaml": b"user: hi"})
            store.drop_views([f"view{number}"])
        assert descriptors() <= before + 1  # the lock of this process's views
        assert len(list((folder / "packs").iterdir())) <= 50 + 12 + 2
        assert len(list((folder / "views").glob("*/view*"))) == 1
        assert (folder / "log-default.jsonl").stat().st_size <= journal.MAX_BYTES
        assert store.last_good() == release("1099")
        assert store.previous(release("1099").id) == release("1098").id
    assert descriptors() <= before


def test_leftovers_of_killed_writers_are_swept_at_the_start(folder: Path) -> None:
    with Store(folder) as store:
        publish(store, "hello")
    for place in (folder, folder / "packs"):
        (place / f"{disk.TEMPORARY}1-dead").write_bytes(b"half")
    (folder / "views" / "1-dead" / "v").mkdir(parents=True)
    with Store(folder) as store:
        assert not list(folder.rglob("*dead*"))
        assert store.last_good() == release("hello")


# Damage


def test_a_damaged_pack_is_never_served_and_the_one_before_it_is(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = publish(store, "good"), publish(store, "bad")
    whole = pack_of(store, bad).read_bytes()
    for length in range(0, len(whole), 97):
        pack_of(store, bad).write_bytes(whole[:length])
        with pytest.raises(StoreCorrupted):
            store.get(bad.id)
        with pytest.raises(StoreCorrupted):
            store.make_live(bad.id, reason="test")
        assert store.facts(bad.id) is None
        assert store.last_good() == good
    assert bad.id[:12] in caplog.text
    store.put(bad)
    assert store.last_good() == bad


@any_fixture
@given(at=st.integers(0, 1 << 20))
def test_a_flipped_bit_is_found_and_the_next_put_rebuilds(folder: Path, at: int) -> None:
    with Store(folder) as store:
        good, bad = publish(store, "good"), publish(store, "bad")
        damaged = bytearray(pack_of(store, bad).read_bytes())
        damaged[at // 8 % len(damaged)] ^= 1 << at % 8
        pack_of(store, bad).write_bytes(damaged)
        assert store.last_good() == good
        store.put(bad)
        assert store.last_good() == bad


@any_fixture
@given(garbage=st.binary(max_size=300), in_place=st.booleans())
def test_with_garbage_for_the_last_line_it_is_still_known_what_is_live_and_held(
    folder: Path, garbage: bytes, in_place: bool
) -> None:
    with Store(folder) as store:
        publish(store, "before")
        made = publish(store, "live")
        log = journal_of(store)
        whole = log.read_bytes()
        start = whole.rindex(b"\n{") + 1
        end = whole[start + len(garbage) + 1 :] if in_place else b""
        log.write_bytes(whole[:start] + garbage + end)
        pointer = store.current()
        assert pointer is not None
        assert pointer.release == made.id
        assert store.last_good() == made
        serial = changes(store)[-1].number
        publish(store, "next")
        pointer = store.current()
        assert pointer is not None
        assert pointer.number == serial + 1


def test_one_flipped_bit_in_the_history_changes_nothing_that_is_live(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    before = publish(store, "before")
    made = publish(store, "live")
    log = journal_of(store)
    whole = log.read_bytes()
    for bit in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        log.write_bytes(damaged)
        os.utime(log, ns=(bit, bit))
        assert [change.release for change in changes(store)] == [before.id, made.id]
        pointer = store.current()
        assert pointer is not None, damaged
        assert pointer.release == made.id
    assert "damaged" in caplog.text


@any_fixture
@given(garbage=st.binary(max_size=300))
def test_a_garbage_history_costs_only_the_history(folder: Path, garbage: bytes) -> None:
    with Store(folder) as store:
        first = publish(store, "first")
        journal_of(store).write_bytes(garbage)
        assert store.current() is None
        assert store.get(first.id) == first
        second = publish(store, "second")
        assert store.last_good() == second
        assert len(store.releases()) == 2


@pytest.mark.parametrize(("cut", "lost"), [(1, 0), (20, 0), (400, 1)])
def test_a_torn_last_line_costs_nothing_and_a_torn_entry_only_itself(
    store: Store, cut: int, lost: int
) -> None:
    made = [publish(store, text) for text in ("a", "b")][: 2 - lost]
    log = journal_of(store)
    log.write_bytes(log.read_bytes()[:-cut])
    made.append(publish(store, "c"))
    assert [change.release for change in changes(store)] == [one.id for one in made]


def test_what_a_link_or_a_fifo_says_is_not_believed(store: Store, tmp_path: Path) -> None:
    publish(store, "live")
    log = journal_of(store)
    log.rename(tmp_path / "elsewhere")
    log.symlink_to(tmp_path / "elsewhere")
    assert store.current() is None
    log.unlink()
    os.mkfifo(log)
    assert store.current() is None
    made = publish(store, "next")
    assert store.last_good() == made


def test_a_folder_that_an_older_version_wrote_is_taken_over(folder: Path) -> None:
    with Store(folder) as store:
        made = [release(text) for text in ("a", "b", "c")]
        for one in made:
            store.put(one)
    (folder / "history.jsonl").write_bytes(OLDER_LOG)
    # The last change is only in the pointer: its writer was killed.
    (folder / "live.json").write_bytes(OLDER_POINTER)
    with Store(folder) as store:
        live = store.current()
        assert live is not None
        assert (live.number, live.release, live.held, live.why) == (3, made[2].id, True, "rollback")
        assert [entry.release for entry in changes(store)] == [one.id for one in made]
        assert store.last_good() == made[2]
        publish(store, "d")
        numbers = [(entry.number, entry.why) for entry in changes(store)]
        assert numbers == [(1, "start"), (2, "file change"), (3, "rollback"), (4, "test")]
    assert not [path for path in folder.iterdir() if path.name in ("live.json", "history.jsonl")]


def test_a_store_that_was_cleared_while_in_use_works_on(store: Store) -> None:
    publish(store, "before")
    disk.remove_tree(store.folder)
    assert store.current() is None
    made = publish(store, "after")
    assert store.last_good() == made
    assert (store.view("v", {"a.yaml": b"x"}) / "a.yaml").read_bytes() == b"x"


# Killed

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from yamlgraph_prompts.registry import journal
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.registry.store import Store

base, copy, scenario = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
CALLS = ("open", "write", "fsync", "replace", "rename", "link", "mkdir", "unlink", "utime",
         "ftruncate")
os.fsync = lambda descriptor: None  # what is killed loses nothing that the kernel has


def release(text):
    return Release.of([Prompt("greeting", f"user: {text}".encode() * 50)])


def publish(store, text):
    store.put(release(text))
    store.view("v", {"greeting.yaml": b"x"})
    store.make_live(release(text).id, reason="test")


def kill_at(step, half):
    left = step

    def wrap(name):
        real = getattr(os, name)

        def call(*args, **kwargs):
            nonlocal left
            left -= 1
            if left < 0:
                if half and name == "write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(os, name, call)

    for name in CALLS:
        wrap(name)


if scenario != "first":
    with Store(base) as store:
        for text in ("older", "old"):
            publish(store, text)
        if scenario == "retiring":
            for text in "abcdef":
                store.put(release(text))
if scenario == "compacting":
    journal.MAX_BYTES = 2000
allowed = {release("new").id} | ({None} if scenario == "first" else {release("old").id})
keep = 2 if scenario == "retiring" else 50
seen, step, half = set(), 0, False
while True:
    shutil.rmtree(copy, ignore_errors=True)
    if base.exists():
        shutil.copytree(base, copy)
    pid = os.fork()
    if pid == 0:
        kill_at(step, half)
        publish(Store(copy, keep=keep), "new")
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    with Store(copy, keep=keep) as store:
        good = store.last_good()
        live = good.id if good else None
        pointer = store.current()
        assert live in allowed, (step, live)
        assert live == (pointer.release if pointer else None), (step, pointer)
        assert all(store.get(line.id).id == line.id for line in store.releases()), step
        assert scenario == "first" or store.previous(release("old").id) == release("older").id, step
        publish(store, "third")
        assert store.last_good().id == release("third").id, step
        assert store.previous(release("third").id) == live, step
        left = [path for path in copy.rglob(".tmp-*")]
        assert not left, (step, left)
        assert len(list((copy / "views").iterdir())) == 1, step
    seen.add(live)
    if os.waitstatus_to_exitcode(status) == 0:
        break
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, (step, status)
    step, half = (step + 1, False) if half else (step, True)
assert seen == allowed, seen
print(step)
"""


@needs_fork
@pytest.mark.parametrize("scenario", ["first", "second", "retiring", "compacting"])
def test_killed_between_any_two_steps_the_old_or_the_new_release_is_live_and_whole(
    tmp_path: Path, scenario: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "base"), str(tmp_path / "copy"), scenario],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_a_pack_is_durable_before_the_entry_and_its_name_before_the_call_returns(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(store, "before")
    steps: list[str] = []
    real_fsync, real_replace, real_write = os.fsync, os.replace, os.write

    def name(fd: int) -> str:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        return path.suffix or path.name

    def fsync(fd: int) -> None:
        real_fsync(fd)
        steps.append(f"synced {name(fd)}")

    def replace(old: Path, new: Path) -> None:
        steps.append(f"rename {new.suffix}")
        real_replace(old, new)

    def write(fd: int, data: bytes) -> int:
        if name(fd) == ".jsonl":
            steps.append("write .jsonl")
        return real_write(fd, data)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "write", write)
    publish(store, "hello")
    assert steps.index("synced .pack") < steps.index("write .jsonl")
    assert sorted(steps) == sorted(
        ["rename .pack", "synced .pack", "write .jsonl", "synced .jsonl", "synced packs"]
    )


# Disks that are full, read-only or somebody else's


def mount(folder: Path, options: str) -> None:
    """Mount a small file system of its own at `folder`."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"cannot mount a file system: {error}")
    if done.returncode:
        pytest.skip(f"cannot mount a file system: {done.stderr.strip()}")


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk_folder = tmp_path / "small"
    mount(disk_folder, "size=128k,mode=0700")
    yield disk_folder
    subprocess.run(["umount", str(disk_folder)], check=True)


def fill(folder: Path) -> Path:
    path = folder / "filler"
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    with suppress(OSError):
        while os.write(file, b"x" * 4096):
            pass
    os.close(file)
    assert shutil.disk_usage(folder).free == 0
    return path


def test_a_full_disk_refuses_a_release_and_leaves_all_as_it_was(small_disk: Path) -> None:
    with Store(small_disk / "store") as store:
        made = publish(store, "good")
        before = sorted(small_disk.rglob("*"))
        filler = fill(small_disk)
        with pytest.raises(StoreError, match="Free some space") as caught:
            store.put(release("large", size=64 << 10))
        assert caught.value.errno == errno.ENOSPC
        assert store.trouble is not None
        # There is room in the reserve and in a block that the history has begun.
        with suppress(StoreError):
            for _ in range(1000):
                store.make_live(made.id, reason="test")
        entries = len(changes(store))
        with pytest.raises(StoreError, match="Free some space"):
            store.make_live(made.id, reason="test")
        assert 10 < len(changes(store)) == entries < 1000
        assert not store.view("v", {"a.yaml": b"x"}).is_relative_to(small_disk)
        assert store.last_good() == made
        filler.unlink()
        assert [p for p in sorted(small_disk.rglob("*")) if "views" not in p.parts] == before
        publish(store, "next")
        assert store.trouble is None


def test_a_store_on_a_disk_that_is_full_at_the_start_still_serves_the_last_good(
    small_disk: Path,
) -> None:
    with Store(small_disk / "store") as before:
        made = publish(before, "good")
    fill(small_disk)
    with Store(small_disk / "store") as store:
        assert store.retreated is None
        assert "is full" in (store.trouble or "")
        assert store.last_good() == made
        store.make_live(made.id, reason="rollback", held=True)
    with Store(small_disk / "store") as store:
        assert getattr(store.current(), "held", False)


def test_a_read_only_store_is_read_and_a_temporary_folder_written(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = small_disk / "store"
    with Store(folder) as before:
        old = publish(before, "old", held=True)
    remount(small_disk, "ro")
    with Store(folder) as store:
        assert store.retreated
        assert store.trouble is not None
        assert "Read-only" in store.trouble
        assert "YAMLGRAPH_PROMPTS_STORE" in caplog.text
        assert store.last_good() == old
        new = publish(store, "new")
        assert store.last_good() == new
        assert store.get(old.id) == old
        assert store.previous(new.id) == old.id
        assert {line.id for line in store.releases()} == {old.id, new.id}
        pointer = store.current()
        assert pointer is not None
        assert pointer.number == 2
        assert folder / "log-default.jsonl" in store.changed_paths()
        written = store.folder
        assert written != folder
        store.make_live(old.id, reason="rollback")
        assert store.last_good() == old
        with Store(folder) as second:
            assert second.folder == written
            assert second.last_good() == old


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_whatever_fails_while_writing_what_was_live_still_is(
    store: Store, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    made = publish(store, "good")
    store.put(release("next"))
    store.make_live(made.id, reason="test")

    def content() -> dict[Path, bytes]:
        files = [p for p in store.folder.rglob("*") if p.is_file() and p.name != "reserve"]
        return {path: path.read_bytes() for path in files}

    files = content()

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(StoreError) as caught:
            publish(store, "bad")
        assert (caught.value.errno, caught.value.hint is None) == (code, False)
        if call != "replace":  # an entry is appended to what is there
            with pytest.raises(StoreError):
                store.make_live(release("next").id, reason="test")
        assert store.last_good() == made
    assert content() == files
    publish(store, "bad")
    assert store.last_good() == release("bad")


@pytest.mark.parametrize("written", [0, 1, 300, 500])
def test_an_entry_that_could_be_written_only_in_part_is_cut_off_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    made = [publish(store, "a")]
    store.put(release("b"))
    whole = journal_of(store).read_bytes()
    real = os.write

    def full(fd: int, data: bytes) -> int:
        if written:
            real(fd, bytes(data)[:written])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(StoreError, match="Free some space"):
            store.make_live(release("b").id, reason="test")
    assert journal_of(store).read_bytes() == whole
    made.append(publish(store, "c"))
    assert [change.release for change in changes(store)] == [one.id for one in made]


def test_a_folder_that_cannot_be_made_is_replaced_by_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    with Store(tmp_path / "file" / "store") as store:
        assert store.retreated
        assert store.last_good() is None
        made = publish(store, "hello")
        assert store.last_good() == made
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    monkeypatch.delenv("YAMLGRAPH_PROMPTS_STORE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with Store.default("staging", []) as homeless:
        assert homeless.retreated
        publish(homeless, "hello")


def test_the_store_is_private(store: Store, folder: Path) -> None:
    publish(store, "hello")
    view = store.view("v", {"a/b.yaml": b"x"})
    for path in (folder, *folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    assert stat.S_IMODE((view / "a/b.yaml").stat().st_mode) == 0o400


# Views


def test_a_view_is_a_folder_of_ordinary_files_and_is_reused(store: Store) -> None:
    files = {"greeting.yaml": b"user: hi", "router/classify.yaml": b"user: which"}
    view = store.view("abc", files)
    assert {str(p.relative_to(view)): p.read_bytes() for p in view.rglob("*.yaml")} == files
    inode = view.stat().st_ino
    assert store.view("abc", files) == view
    assert view.stat().st_ino == inode


def test_a_view_that_was_damaged_is_made_anew_beside(store: Store) -> None:
    view = store.view("abc", {"a.yaml": b"x", "b.yaml": b"y"})
    (view / "b.yaml").unlink()
    assert (store.view("abc", {"a.yaml": b"x", "b.yaml": b"y"}) / "b.yaml").read_bytes() == b"y"


def test_only_the_views_that_are_kept_stay(store: Store) -> None:
    kept, dropped = store.view("kept", {"a.yaml": b"x"}), store.view("old", {"a.yaml": b"x"})
    store.drop_views(["kept"])
    assert (kept.exists(), dropped.exists()) == (True, False)
    store.close()
    assert not kept.exists()


@pytest.mark.parametrize(
    "name", ["../a.yaml", "/a.yaml", "a//b.yaml", "./a.yaml", "a/../../b", "", "a\0b"]
)
def test_a_view_holds_no_file_outside_itself(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot hold"):
        store.view("abc", {"good.yaml": b"x", name: b"x"})
    assert not list(store.folder.rglob("*.yaml"))


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "a" * 300])
def test_a_view_is_named_plainly(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="cannot be named"):
        store.view(name, {})


def test_files_that_cannot_stand_side_by_side_are_an_error(store: Store) -> None:
    with pytest.raises(StoreError):
        store.view("abc", {"a": b"x", "a/b": b"y"})


# Several processes and threads


class Child:
    """A process that runs `script` with `store` open on `folder`, line by line on demand."""

    def __init__(self, folder: Path, script: str) -> None:
        head = (
            "import sys, os, time\nfrom pathlib import Path\n"
            "from yamlgraph_prompts._model.release import Prompt, Release\n"
            "from yamlgraph_prompts.registry.store import Store\n"
            f"store = Store(Path({str(folder)!r}))\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", head + script],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 30)
        assert ready, "the child said nothing"
        return self.process.stdout.readline().strip()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=30)


def test_another_processs_change_is_seen_at_once(store: Store, folder: Path) -> None:
    script = (
        "for text in sys.stdin:\n"
        "    made = Release.of([Prompt('greeting', text.encode())])\n"
        "    store.put(made); store.make_live(made.id, reason='child')\n"
        "    print(made.id, flush=True)\n"
    )
    publish(store, "mine")
    pointer = store.current()
    with Child(folder, script) as child:
        for _ in range(5):
            assert child.process.stdin is not None
            child.process.stdin.write("user: theirs\n")
            child.process.stdin.flush()
            theirs = child.line()
            pointer = store.current()
            assert pointer is not None
            assert (pointer.release, pointer.why) == (theirs, "child")
            mine = publish(store, "mine")
            pointer = store.current()
            assert pointer is not None
            assert pointer.release == mine.id
    assert pointer is not None
    assert pointer.number == 11


def test_writers_in_several_processes_lose_no_change(folder: Path) -> None:
    script = (
        "for number in range(25):\n"
        "    made = Release.of([Prompt('greeting', f'{os.getpid()} {number}'.encode())])\n"
        "    store.put(made); store.make_live(made.id, reason='child')\n"
        "    assert store.last_good() is not None\n"
        "print('done', flush=True)\n"
    )
    with Store(folder) as store, Child(folder, script) as one, Child(folder, script) as two:
        assert (one.line(), two.line()) == ("done", "done")
        known = changes(store)
        assert [change.number for change in known] == list(range(1, 51))
        assert len({change.release for change in known}) == 50
        assert known[-1] == store.current()


def test_the_lock_of_a_killed_process_is_free_and_a_living_ones_is_not(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "with store.lock():\n    print('locked', flush=True)\n    time.sleep(100)\n"
    with Child(folder, script) as child:
        assert child.line() == "locked"
        with pytest.raises(StoreError, match="Another process"), store.lock(timeout_s=0.05):
            pass
        child.process.kill()
        child.process.wait(30)
        made = publish(store, "mine")
    assert store.last_good() == made


def test_the_lock_keeps_threads_out_and_lets_its_holder_write(store: Store) -> None:
    said: list[str] = []

    def try_it() -> None:
        try:
            with store.lock(timeout_s=0.05):
                said.append("entered")
        except StoreError:
            said.append("refused")

    with store.lock():
        publish(store, "hello")
        thread = threading.Thread(target=try_it)
        thread.start()
        thread.join()
    try_it()
    assert said == ["refused", "entered"]


def test_views_of_a_living_process_stay_and_of_a_dead_one_go(store: Store, folder: Path) -> None:
    script = "print(store.view('v', {'a.yaml': b'x'}), flush=True)\ntime.sleep(100)\n"
    with Child(folder, script) as child:
        view = Path(child.line())
        mine = store.view("v", {"a.yaml": b"x"})
        with Store(folder):
            assert (view / "a.yaml").exists()
        child.process.send_signal(signal.SIGKILL)
        child.process.wait(30)
        with Store(folder):
            assert not view.exists()
        assert (mine / "a.yaml").exists()


def test_readers_beside_a_writer_see_only_whole_releases(store: Store, folder: Path) -> None:
    made = {one.id: one for one in (release(str(number)) for number in range(40))}
    publish(store, "0")
    stop, wrong, seen = threading.Event(), [], set()

    def read() -> None:
        with Store(folder) as other:
            while not stop.is_set():
                pointer, good = other.current(), other.last_good()
                if not isinstance(pointer, Entry) or good is None or good != made[good.id]:
                    wrong.append((pointer, good))
                seen.add(good.id if good else None)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(40):
        publish(store, str(number))
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(seen) > 1


FORKED = """
import os, sys, threading
from pathlib import Path
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.registry.store import Store

folder = Path(sys.argv[1])


def publish(store, text):
    made = Release.of([Prompt("greeting", text.encode())])
    store.put(made)
    store.make_live(made.id, reason="test")
    return made.id


store = Store(folder)
publish(store, "parent")
shared = store.view("shared", {"a.yaml": b"x"})
entered, leave = threading.Event(), threading.Event()


def hold():
    with store.lock():
        entered.set()
        leave.wait()


holder = threading.Thread(target=hold)
holder.start()
entered.wait()
to_child, go = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    assert store.view("shared", {"a.yaml": b"x"}) == shared
    os.read(go[0], 1)
    publish(store, "child")
    own = store.view("own", {"a.yaml": b"y"})
    assert own.parent != shared.parent
    os.write(to_child[1], str(own).encode())
    os.read(go[0], 1)
    assert (shared / "a.yaml").read_bytes() == b"x"
    store.close()
    assert not own.exists()
    os._exit(0)
# A child that was forked while the lock was held keeps nobody out.
leave.set()
holder.join()
publish(store, "after the fork")
later = store.view("later", {"a.yaml": b"z"})
assert later.parent != shared.parent
os.write(go[1], b"1")
own = Path(os.read(to_child[0], 1000).decode())
# The child may still read what both have, and the parent must not sweep what the child made.
store.drop_views(["later"])
store.sweep()
Store(folder).close()
assert (shared / "a.yaml").exists() and (own / "a.yaml").exists() and later.exists()
os.write(go[1], b"1")
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
store.sweep()
assert not shared.exists() and not own.exists() and later.exists()
assert store.current().number == 3
store.close()
print("done")
"""


@needs_fork
def test_after_a_fork_both_sides_read_what_they_had_and_write_their_own(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr


def test_a_store_that_is_forgotten_leaves_no_descriptor_and_no_view(folder: Path) -> None:
    before = descriptors()
    store = Store(folder)
    view = store.view("v", {"a.yaml": b"x"})
    del store
    assert descriptors() == before
    assert not view.exists()


def test_no_prompt_text_reaches_the_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    publish(store, "good")
    made = publish(store, "a secret text")
    pack_of(store, made).write_bytes(pack_of(store, made).read_bytes()[:-1])
    store.last_good()
    store.put(made)
    assert caplog.records
    assert "secret" not in caplog.text
