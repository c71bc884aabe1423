"""The store where its place is not what it should be: volumes, small containers, full disks."""

from __future__ import annotations

import json
import logging
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.conftest import ROOT, run_in, wait_until
from tests.files import Heard, codes, says, write
from tests.test_store import fill, mount, publish, small_disk  # noqa: F401 - a fixture
from yamlgraph_prompts import LivePrompts, live_graph
from yamlgraph_prompts.registry import folder as places
from yamlgraph_prompts.registry.store import Store

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may change owners"
)
USER, GROUP = 12345, 2000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    monkeypatch.setattr(places, "_temporary_bases", lambda: iter([tmp_path / "tmp"]))
    return tmp_path / "store"


@pytest.fixture
def prompts_folder(tmp_path: Path) -> Path:
    return write(tmp_path / "prompts", {"a.yaml": "user: one"})


AS_USER = """
import logging, os, sys
from yamlgraph_prompts import LivePrompts

def start(store):
    with LivePrompts({prompts!r}, environment="x", store=store, watch=False) as prompts:
        print(prompts["a"].user, prompts.store_folder, prompts.health.degraded)

# What is imported when used may not be readable later.
start({warm!r})
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
os.setgroups({groups!r}); os.setgid({uid}); os.setuid({uid})
start({store!r})
"""


def start_as_user(prompts: Path, store: Path, *, uid: int = USER, groups: tuple[int, ...]) -> str:
    """Start in a process of another user, on a store; its output and its log."""
    facts = {"prompts": str(prompts), "store": str(store), "warm": str(prompts.parent / "warm")}
    return run_in(ROOT, AS_USER.format(**facts, uid=uid, groups=list(groups)))


# Volumes


def with_fs_group(volume: Path) -> None:
    """What the kubelet does at each mount of a volume with an fsGroup."""
    for path in (volume, *volume.rglob("*")):
        os.chown(path, -1, GROUP)
        more = 0o2770 if path.is_dir() else 0o660
        path.chmod(stat.S_IMODE(path.stat().st_mode) | more)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, with prompts in it."""
    with TemporaryDirectory(prefix="places") as place:
        Path(place).chmod(0o755)
        write(Path(place) / "prompts", {"a.yaml": "user: one"})
        yield Path(place)


def test_a_volume_with_an_fs_group_is_taken_at_each_start_and_put_right(open_folder: Path) -> None:
    prompts_folder, volume = open_folder / "prompts", open_folder / "volume"
    volume.mkdir()
    with_fs_group(volume)
    assert "WARNING" not in start_as_user(prompts_folder, volume, groups=(GROUP,))
    with_fs_group(volume)
    told = start_as_user(prompts_folder, volume, groups=(GROUP,))
    assert f"one {volume}" in told
    assert told.count("WARNING") == 1
    assert "fsGroup" in told
    assert "()" in told
    (store,) = volume.iterdir()
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    assert "WARNING" not in start_as_user(prompts_folder, volume, groups=(GROUP,))


def test_a_second_pod_on_the_volume_freezes_nobody(
    folder: Path, prompts_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with LivePrompts(prompts_folder, store=folder, watch=False) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        assert app.invoke({})["said"] == ["one"]
        for number in range(3):
            (made,) = folder.iterdir()
            os.chown(made, -1, os.getegid())
            made.chmod(0o2770)
            write(prompts_folder, {"a.yaml": f"user: text {number}"})
            assert prompts.publish().status == "published"
            assert app.invoke({})["said"] == [f"text {number}"]
            assert prompts.store_folder == made
        assert prompts.rollback().status == "published"
        assert prompts.health.degraded == ("hold",)
    assert caplog.text.count("fsGroup") == 1


def test_a_mode_that_cannot_be_changed_is_said_once_and_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    folder.chmod(0o770)
    monkeypatch.setattr(
        os, "chmod", lambda *_, **__: (_ for _ in ()).throw(PermissionError(1, "no"))
    )
    with Store(folder) as store:
        for text in ("one", "two", "three"):
            publish(store, text)
        assert (store.folder, store.trouble) == (folder, None)
    assert caplog.text.count("its mode is 770") == 1


def foreign(folder: Path) -> None:
    os.chown(folder, USER, USER)


def open_to_all(folder: Path) -> None:
    folder.chmod(0o777)


def open_to_a_strange_group(folder: Path) -> None:
    os.chown(folder, -1, 54321)
    folder.chmod(0o770)


def a_link(folder: Path) -> None:
    folder.rename(folder.with_name("real"))
    folder.symlink_to("real")


def a_file(folder: Path) -> None:
    folder.rename(folder.with_name("real"))
    folder.write_text("in the way")


untrusted = pytest.mark.parametrize(
    "change", [foreign, open_to_all, open_to_a_strange_group, a_link, a_file]
)


@untrusted
def test_a_folder_that_cannot_be_trusted_is_replaced_by_a_private_one(
    change: Callable[[Path], None], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Store(folder) as store:
        publish(store, "planted", held=True)
    change(folder)
    with Store(folder) as store:
        assert store.retreated
        assert store.last_good() is None
        made = publish(store, "served")
        assert store.folder is not None
        assert store.folder.is_relative_to(folder.parent / "tmp")
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
        assert str(store.folder) in (store.trouble or "")
        assert str(folder) in (store.trouble or "")
        with Store(folder) as second:
            assert second.last_good() == made
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


@untrusted
def test_a_folder_that_is_changed_while_it_is_used_freezes_nobody(
    change: Callable[[Path], None],
    folder: Path,
    prompts_folder: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with LivePrompts(prompts_folder, store=folder, watch=False) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        (made,) = folder.iterdir()
        change(made)
        for text in ("two", "three"):
            write(prompts_folder, {"a.yaml": f"user: {text}"})
            assert prompts.publish().status == "published"
            assert app.invoke({})["said"] == [text]
        assert prompts.rollback().status == "published"
        assert app.invoke({})["said"] == ["two"]
        assert prompts.health.degraded == ("hold", "store-trouble")
        assert prompts.store_folder != made
    assert caplog.text.count("are kept in") == 1


def test_another_users_stand_in_is_not_taken(folder: Path) -> None:
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    with Store(folder) as store:
        usual = store.folder
    assert usual is not None
    os.chown(usual, USER, USER)
    with Store(folder) as store:
        assert store.folder != usual
        publish(store, "served")


# Containers


HARD = """
import ctypes, os, resource
libc = ctypes.CDLL(None, use_errno=True)
def mount(source, target, flags):
    if libc.mount(source, target, None, flags, None):
        print("cannot mount", ctypes.get_errno()); raise SystemExit
if libc.unshare(0x00020000):
    print("cannot mount"); raise SystemExit
MS_BIND, MS_RDONLY, MS_REMOUNT, MS_PRIVATE, MS_REC = 4096, 1, 32, 1 << 18, 16384
mount(b"none", b"/", MS_REC | MS_PRIVATE)
for place in (b"/", *{places}):
    mount(place, place, MS_BIND)
    mount(place, place, MS_BIND | MS_REMOUNT | MS_RDONLY)
os.chdir("/")
os.environ.update(HOME="/nonexistent")
os.environ.pop("YAMLGRAPH_PROMPTS_STORE", None)
os.environ.pop("TMPDIR", None)
"""
LOGGED = "import logging; logging.basicConfig(format='%(levelname)s %(message)s')\n"
SERVE = """
from yamlgraph_prompts import LivePrompts
with LivePrompts({folder!r}, watch=False) as prompts:
    print(prompts["a"].user, prompts.store_folder, prompts.health.degraded)
    print(prompts.publish().status, prompts.reach(0.1), len(prompts.releases()))
"""


def hardened(script: str, *more: str) -> str:
    """Run a script where the root and these folders are read-only."""
    places = [place.encode() for place in more if Path(place).is_dir()]
    done = subprocess.run(
        [sys.executable, "-c", HARD.format(places=places) + LOGGED + script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "cannot mount" in done.stdout:
        pytest.skip("no mounts of one's own here")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_read_only_container_without_a_temporary_folder_serves_from_memory(
    prompts_folder: Path,
) -> None:
    everywhere = ("/tmp", "/var/tmp", "/usr/tmp", "/dev/shm", "/root", "/work")
    told = hardened(SERVE.format(folder=str(prompts_folder)), *everywhere)
    assert "one None ('store-trouble',)" in told
    assert "unchanged" in told
    assert "WARNING" in told
    assert "in memory" in told
    assert "Traceback" not in told


def test_a_read_only_container_uses_the_shared_memory_that_it_has(prompts_folder: Path) -> None:
    told = hardened(SERVE.format(folder=str(prompts_folder)), "/tmp", "/var/tmp", "/usr/tmp")
    assert "one /dev/shm/yamlgraph-prompts-0-" in told
    assert "ERROR" in told
    # A stand-in outlives its processes.
    shutil.rmtree(next(word for word in told.split() if word.startswith("/dev/shm/")))


@pytest.fixture
def no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_temporary_bases", lambda: iter(()))


@pytest.mark.usefixtures("no_place")
def test_a_store_that_can_only_be_read_is_read_where_only_memory_can_be_written(
    small_disk: Path,  # noqa: F811
) -> None:
    with Store(small_disk / "store") as before:
        old = publish(before, "old", held=True)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with Store(small_disk / "store") as store:
        assert store.folder is None
        assert (store.get(old.id), store.last_good()) == (old, old)
        assert getattr(store.current(), "held", False)
        assert store.facts(old.id) is None or store.facts(old.id)
        new = publish(store, "new")
        assert store.last_good() == new
        assert store.previous(new.id) == old.id
        assert {line.id for line in store.releases()} == {old.id, new.id}
        assert set(store.digests(old.id)) == {"greeting"}


def test_a_graph_that_needs_no_folder_runs_from_memory(
    folder: Path, prompts_folder: Path, no_place: None, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("in the way")
    heard = Heard()
    with LivePrompts(prompts_folder, store=folder, watch=False, hooks=[heard]) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        write(prompts_folder, {"a.yaml": "user: two"})
        assert prompts.publish().status == "published"
        assert app.invoke({})["said"] == ["two"]
        assert prompts.rollback().status == "published"
        assert app.invoke({})["said"] == ["one"]
        assert "store-trouble" in prompts.health.degraded
    assert heard.of("store-trouble")
    assert [record.levelname for record in caplog.records if "in memory" in record.message] == [
        "WARNING"
    ]


# Several workers


def test_workers_whose_store_cannot_be_written_share_one(
    folder: Path, prompts_folder: Path
) -> None:
    folder.write_text("in the way")
    options = {"store": folder, "refresh_s": 0.1}
    with (
        LivePrompts(prompts_folder, **options) as one,  # type: ignore[arg-type]
        LivePrompts(prompts_folder, **options) as two,  # type: ignore[arg-type]
    ):
        assert (one["a"].user, two["a"].user) == ("one", "one")
        write(prompts_folder, {"a.yaml": "user: two"})
        assert {one.publish().status, two.publish().status} <= {"published", "unchanged"}
        assert one.rollback().status == "published"
        assert one.reach(5.0) == (2, 2)
        assert (one["a"].user, two["a"].user) == ("one", "one")


def test_the_command_reaches_the_workers_of_a_store_that_cannot_be_written(
    folder: Path, prompts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from yamlgraph_prompts._cli import main

    folder.write_text("in the way")
    order = ["rollback", "-l", str(prompts_folder), "-e", "x", "--store", str(folder)]
    assert main(order) == 2
    assert "No process would notice" in capsys.readouterr().err
    with LivePrompts(prompts_folder, environment="x", store=folder, refresh_s=0.1) as prompts:
        write(prompts_folder, {"a.yaml": "user: two"})
        prompts.publish()
        assert prompts["a"].user == "two"
        assert main(order) == 0
        assert "1 of 1 running processes" in capsys.readouterr().out
        assert (prompts["a"].user, prompts.held) == ("one", True)


@untrusted
def test_workers_whose_folder_is_changed_while_they_use_it_share_a_new_one(
    change: Callable[[Path], None], folder: Path, prompts_folder: Path
) -> None:
    options: dict[str, Any] = {"store": folder, "refresh_s": 0.2}
    with (
        LivePrompts(prompts_folder, **options) as one,
        LivePrompts(prompts_folder, **options) as two,
    ):
        assert (one["a"].user, two["a"].user) == ("one", "one")
        (made,) = folder.iterdir()
        change(made)
        write(prompts_folder, {"a.yaml": "user: two"})
        wait_until(lambda: (one["a"].user, two["a"].user) == ("two", "two"))
        write(prompts_folder, {"a.yaml": "user: three"})
        wait_until(lambda: (one["a"].user, two["a"].user) == ("three", "three"))
        assert one.rollback().status == "published"
        wait_until(lambda: one.reach() == (2, 2))
        assert (one["a"].user, two["a"].user) == ("two", "two")
        assert one.store_folder == two.store_folder != made


# Full disks


def test_going_back_works_on_a_full_disk_in_a_process_and_after_a_restart(
    tmp_path: Path, prompts_folder: Path
) -> None:
    disk = tmp_path / "disk"
    mount(disk, "size=4m,mode=0700")
    try:
        with LivePrompts(prompts_folder, store=disk / "s", watch=False) as prompts:
            app = live_graph(says("a"), prompts=prompts).compile()
            write(prompts_folder, {"a.yaml": "user: two"})
            prompts.publish()
            fill(disk)
            for text in ("one", "two", "one"):
                assert prompts.rollback().status == "published"
                assert app.invoke({})["said"] == [text]
            write(prompts_folder, {"a.yaml": "user: three"})
            outcome = prompts.follow()
            assert (outcome.status, codes(outcome)) == ("rejected", ["store"])
            assert prompts.rollback().status == "published"
        with LivePrompts(prompts_folder, store=disk / "s", watch=False) as prompts:
            assert (prompts["a"].user, prompts.held) == ("two", True)
            assert prompts.rollback().status == "published"
            assert prompts["a"].user == "one"
            assert "store-trouble" in prompts.health.degraded
            (disk / "filler").unlink()
            assert prompts.follow().status == "published"
            assert (prompts["a"].user, prompts.health.degraded) == ("three", ())
            (reserve,) = disk.rglob("reserve")
            assert reserve.stat().st_size > 100_000
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_the_command_rolls_running_processes_back_on_a_full_disk(
    tmp_path: Path, prompts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from yamlgraph_prompts._cli import main

    disk = tmp_path / "disk"
    mount(disk, "size=4m,mode=0700")
    try:
        arguments = ["-l", str(prompts_folder), "-e", "x", "--store", str(disk / "s")]
        with LivePrompts(prompts_folder, environment="x", store=disk / "s", watch=False) as prompts:
            write(prompts_folder, {"a.yaml": "user: two"})
            prompts.publish()
        fill(disk)
        # It starts on the full disk.
        with LivePrompts(
            prompts_folder, environment="x", store=disk / "s", refresh_s=0.1
        ) as prompts:
            assert prompts["a"].user == "two"
            assert main(["rollback", *arguments]) == 0
            assert "1 of 1 running processes" in capsys.readouterr().out
            assert (prompts["a"].user, prompts.held) == ("one", True)
            (audit,) = disk.rglob("audit.jsonl")
            assert "rollback" in audit.read_text()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_an_audit_line_that_cannot_be_written_is_said_and_written_later(
    folder: Path, prompts_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tests.admin_client import TOKENS, Client
    from yamlgraph_prompts.admin import admin_app

    with LivePrompts(prompts_folder, store=folder, watch=False) as prompts:
        write(prompts_folder, {"a.yaml": "user: two"})
        prompts.publish()
        client = Client(admin_app(prompts, TOKENS), "operator")
        (made,) = folder.iterdir()
        (made / "audit.jsonl").mkdir()
        assert client.post("/rollback?message=at+night").status == 200
        assert prompts["a"].user == "one"
        assert "audit" in caplog.text
        assert next(r.levelname for r in caplog.records if "audit" in r.message) == "ERROR"
        (made / "audit.jsonl").rmdir()
        assert client.post("/follow").status == 200
        lines = (made / "audit.jsonl").read_text().split("\n")
        facts = [json.loads(line) for line in lines if line]
        assert [(fact["action"], fact["status"]) for fact in facts] == [
            ("rollback", "begun"),
            ("rollback", "published"),
            ("follow", "begun"),
            ("follow", "published"),
        ]


def test_nothing_of_this_is_logged_where_all_is_well(
    folder: Path, prompts_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with LivePrompts(prompts_folder, store=folder, environment="x", watch=False) as prompts:
        assert prompts.health.degraded == ()
    assert not caplog.records
