"""Layers on mounts and in trees that are not plain folders, and processes that were stopped."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, wait_until
from tests.files import says, write
from tests.test_watch import Listener, kill_emitter, replace
from yamlgraph_prompts import Layer, LayerError, LivePrompts, live_graph
from yamlgraph_prompts._files import regular_file
from yamlgraph_prompts._following import arrival
from yamlgraph_prompts._following.arrival import Arrival
from yamlgraph_prompts._following.watch import file_events, inodes
from yamlgraph_prompts.errors import LayerUnavailable
from yamlgraph_prompts.sources import Change, directory, root
from yamlgraph_prompts.sources.directory import DirectorySource

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="as on Linux only")


def codes(content: Any) -> list[str]:
    return [finding.code for finding in content.findings]


# Inodes


@pytest.fixture
def renumbering(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file and folder has another number each time, as on some FUSE mounts."""
    numbers = itertools.count(1)
    real = regular_file.inode

    def inode(*args: Any, **options: Any) -> tuple[int, int] | None:
        return (0, next(numbers)) if real(*args, **options) else None

    for module in (regular_file, directory, root, inodes, file_events):
        monkeypatch.setattr(module, "inode", inode)


@pytest.mark.usefixtures("renumbering")
def test_a_layer_on_a_mount_that_renumbers_its_files_is_read_and_written(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "user: one", "b/c.yaml": "user: two"})
    (tmp_path / "absolute.yaml").symlink_to(tmp_path / "b/c.yaml")
    source = DirectorySource(str(tmp_path))
    content = source.read()
    assert (sorted(content.files), codes(content)) == (["a.yaml", "absolute.yaml", "b/c.yaml"], [])
    source.write(Change("a.yaml", b"user: new", b"user: one"))
    assert source.read().files["a.yaml"] == b"user: new"


@pytest.mark.usefixtures("renumbering")
def test_what_changes_at_each_read_is_not_taken_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a.yaml": "user: 0"})
    real, numbers = directory.read_regular, itertools.count(1)

    def read(*args: Any, **options: Any) -> bytes:
        (tmp_path / "a.yaml").write_text(f"user: {next(numbers)}")
        return real(*args, **options)

    monkeypatch.setattr(directory, "read_regular", read)
    with pytest.raises(LayerUnavailable, match="changes faster"):
        DirectorySource(str(tmp_path)).read()


@linux
@pytest.mark.usefixtures("renumbering")
def test_a_watch_on_such_a_mount_does_not_look_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yamlgraph_prompts._following.watch import watch

    monkeypatch.setattr(watch, "CHECK_S", 0.05)
    listener = Listener(write(tmp_path / "p", {"a.yaml": "user: one"}))
    listener.watch.start()
    time.sleep(2.0)
    before = len(listener.calls)
    time.sleep(1.0)
    assert len(listener.calls) == before
    listener.hears(lambda: replace(tmp_path / "p/a.yaml", "new"), "a.yaml", "new")
    listener.watch.close()


# Links


@pytest.fixture
def farm(tmp_path: Path) -> Path:
    """A farm of links, as Bazel's runfiles and Nix make them, and what they lead to."""
    write(tmp_path / "store", {"x1/a.yaml": "user: one", "x2/deep/b.yaml": "user: two"})
    write(tmp_path / "secret", {"s.yaml": "user: secret"})
    write(tmp_path / "farm", {"own.yaml": "user: own"})
    links = {
        "a.yaml": tmp_path / "store/x1/a.yaml",
        "deep": tmp_path / "store/x2/deep",
        "relative.yaml": Path("../store/x1/a.yaml"),
        "twice.yaml": tmp_path / "store/chain.yaml",
        "back": tmp_path / "store/back",
    }
    for name, target in links.items():
        (tmp_path / "farm" / name).symlink_to(target)
    (tmp_path / "store/chain.yaml").symlink_to("x2/../x1/a.yaml")
    (tmp_path / "store/back").symlink_to(tmp_path / "farm")
    return tmp_path / "farm"


def follow(farm: Path, *roots: Path) -> Layer:
    return Layer(farm, links="follow", roots=roots or (farm.parent / "store",))


def test_links_into_allowed_roots_are_followed(farm: Path) -> None:
    with LivePrompts(follow(farm), environment="x", watch=False) as prompts:
        assert sorted(prompts.release.prompts) == ["a", "deep/b", "own", "relative", "twice"]
        assert prompts["deep/b"].user == "two"
    assert codes(DirectorySource(str(farm)).read()) == ["escaping-link"] * 4


def test_links_that_lead_elsewhere_are_refused_all_the_same(farm: Path) -> None:
    for name, target in {
        "direct.yaml": farm.parent / "secret/s.yaml",
        "around.yaml": farm.parent / "store/../secret/s.yaml",
        "folder": farm.parent / "secret",
        "chained.yaml": farm.parent / "store/out.yaml",
    }.items():
        (farm / name).symlink_to(target)
    (farm.parent / "store/out.yaml").symlink_to("../secret/s.yaml")
    source = DirectorySource(str(farm))
    source.link_roots = (farm.parent / "store", farm.parent / "missing")
    content = source.read()
    assert "secret" not in repr(content.files)
    assert codes(content) == ["escaping-link"] * 4


def test_nothing_is_written_through_a_link_that_leads_out(farm: Path) -> None:
    source = DirectorySource(str(farm))
    source.link_roots = (farm.parent / "store",)
    source.read()
    with pytest.raises(LayerError):
        source.write(Change("a.yaml", b"user: new", b"user: one"))
    assert (farm.parent / "store/x1/a.yaml").read_text() == "user: one"


@linux
def test_a_changed_target_of_a_farm_is_live(farm: Path) -> None:
    with LivePrompts(follow(farm), environment="x") as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        assert app.invoke({})["said"] == ["one"]
        wait_until(lambda: prompts.health.following)
        replace(farm.parent / "store/x1/a.yaml", "user: new")
        wait_until(lambda: app.invoke({})["said"] == ["new"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"links": "follow"},
        {"links": "follow", "roots": ()},
        {"roots": ("/nix/store",)},
        {"links": "all", "roots": ("/nix/store",)},
    ],
)
def test_links_are_followed_only_into_named_roots(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="links='follow', roots="):
        Layer("prompts", **wrong)
    assert Layer("prompts", links="follow", roots="/nix/store").roots == ("/nix/store",)  # type: ignore[arg-type]


def test_only_local_folders_have_links_to_follow() -> None:
    with pytest.raises(LayerError, match="Only a local folder"):
        LivePrompts(Layer("s3://bucket/p", links="follow", roots=("/nix",)), environment="x")


# Large trees


def test_what_can_be_no_prompt_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "LIMIT_ENTRIES", 10)
    write(tmp_path, {f"p{number}.yaml": "user: x" for number in range(10)})
    write(tmp_path, {f"node_modules/m{number}/i.js": "" for number in range(100)})
    content = DirectorySource(str(tmp_path)).read()
    assert (len(content.files), codes(content)) == (10, [])
    write(tmp_path, {"p10.yaml": "user: x"})
    assert codes(DirectorySource(str(tmp_path)).read()) == ["too-large"]
    monkeypatch.setattr(directory, "LIMIT_ENTRIES", 30)
    monkeypatch.setattr(directory, "LIMIT_LOOKS", 150)
    assert codes(DirectorySource(str(tmp_path)).read()) == ["too-large"]


def test_docs_and_code_agree_on_the_limits_of_a_layer() -> None:
    limits = (ROOT / "docs/templates.md").read_text()
    assert f"{directory.LIMIT_ENTRIES:,} prompts, parts and links" in limits
    assert f"{directory.LIMIT_LOOKS:,} files of any kind" in limits


# Processes that were stopped


def test_a_gap_between_two_ticks_is_a_freeze_and_one_caller_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(arrival, "time", lambda: now[0])
    coming = Arrival()
    now[0] += 600
    assert not coming.late  # nothing ticks here
    coming.tick()
    assert not coming.late
    now[0] += arrival.FROZEN_S + 1
    assert coming.late
    coming.tick()  # the watching thread woke up first
    assert coming.late
    assert (coming.thawed(), coming.late, coming.thawed()) == (True, False, False)


FROZEN = """
import os, sys
from pathlib import Path
from tests.files import says
from yamlgraph_prompts import LivePrompts, live_graph
from yamlgraph_prompts._following import arrival
from yamlgraph_prompts._following.watch import watch
arrival.FROZEN_S = 1.5
watch.CHECK_S = 0.2
watch.Watch._hear = lambda *_: None  # as on a network mount
prompts = LivePrompts({folder!r}, environment="x", refresh_s=600)
app = live_graph(says("a"), prompts=prompts).compile()
print(app.invoke({{}})["said"], flush=True)
for line in sys.stdin:
    print(app.invoke({{}})["said"], prompts["a"].user, flush=True)
"""


@linux
def test_a_process_that_was_stopped_looks_before_it_runs(tmp_path: Path) -> None:
    write(tmp_path / "p", {"a.yaml": "user: one"})
    process = subprocess.Popen(
        [sys.executable, "-c", FROZEN.format(folder=str(tmp_path / "p"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "['one']\n"
            time.sleep(1.0)
            process.send_signal(19)
            write(tmp_path / "p", {"a.yaml": "user: two"})
            time.sleep(2.0)
            process.stdin.write("\n")
            process.stdin.flush()
            process.send_signal(18)
            assert process.stdout.readline() == "['two'] two\n"
        finally:
            process.kill()


def test_a_look_after_a_freeze_takes_no_longer_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yamlgraph_prompts import live_prompts

    monkeypatch.setattr(live_prompts, "LOOK_WITHIN_S", 0.2)
    with LivePrompts(write(tmp_path, {"a.yaml": "user: one"}), environment="x") as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        app.invoke({})
        monkeypatch.setattr(prompts, "_publish", lambda *_: time.sleep(3.0))
        prompts._following.arrival._frozen = True
        started = time.monotonic()
        assert app.invoke({})["said"] == ["one"]
        assert 0.15 < time.monotonic() - started < 2.5
        started = time.monotonic()
        app.invoke({})
        assert time.monotonic() - started < 1.0


# Watchers that die


@linux
def test_a_watcher_that_dies_again_and_again_is_given_up_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yamlgraph_prompts._following.watch import watch

    monkeypatch.setattr(watch, "CHECK_S", 0.05)
    listener = Listener(write(tmp_path / "p", {"a.yaml": "one"}), poll_s=0.2)
    listener.watch.start()
    for _ in range(watch.MOST_RESTARTS):
        kill_emitter()
        told = len(listener.trouble)
        wait_until(lambda told=told: len(listener.trouble) > told)
    kill_emitter()
    wait_until(lambda: listener.watch.mode == "polling")
    listener.hears(lambda: replace(tmp_path / "p/a.yaml", "new"), "a.yaml", "new")
    time.sleep(1.0)
    assert listener.watch.mode == "polling"
    told = [kind for kind, _ in listener.trouble]
    assert told == ["watcher-restarted"] * watch.MOST_RESTARTS + ["watcher-polling"]
    assert "dies again and again" in listener.trouble[-1][1]
    listener.watch.close()
