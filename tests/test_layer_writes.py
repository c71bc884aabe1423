"""Two processes that write one file of a layer never overrule each other in silence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest

from tests.files import write
from yamlgraph_prompts import LivePrompts, Stale, sources
from yamlgraph_prompts._publishing.drafts import Draft
from yamlgraph_prompts.sources import Change, Snapshot
from yamlgraph_prompts.sources.directory import DirectorySource
from yamlgraph_prompts.sources.polling import poll

ROOT = Path(__file__).parent.parent


class SharedSource:
    """A place of several hosts: remote, and writable."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._folder = DirectorySource(url.removeprefix("shared://"))

    def read(self) -> Snapshot:
        return self._folder.read()

    def changes(self, stop: Event) -> Iterator[None]:
        return poll(stop, 60.0)

    def write(self, change: Change) -> None:
        self._folder.write(change)

    def close(self) -> None:
        pass


COUNTS = """
import sys
from yamlgraph_prompts import Stale
from yamlgraph_prompts.sources import Change
from yamlgraph_prompts.sources.directory import DirectorySource
source, done, stale = DirectorySource(sys.argv[1]), 0, 0
while done < 100:
    before = source.read().files["a.yaml"]
    try:
        source.write(Change("a.yaml", b"%d" % (int(before) + 1), replaces=before))
        done += 1
    except Stale:
        stale += 1
print(stale)
"""


def test_no_change_of_two_processes_is_lost(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "0"})
    with ExitStack() as ends:
        both = [
            ends.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", COUNTS, str(tmp_path)], stdout=subprocess.PIPE
                )
            )
            for _ in range(2)
        ]
        assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / "a.yaml").read_text() == "200"


HOST = """
import sys
from tests.test_layer_writes import host
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts._publishing.drafts import Draft
with host(sys.argv[1], sys.argv[2]) as prompts:
    try:
        with prompts.change(Draft("a", b"user: theirs")) as change:
            print("tried", flush=True)
            sys.stdin.readline()
            change.commit()
    except PromptsError as problem:
        print(type(problem).__name__, prompts["a"].user, flush=True)
"""


def host(layer: str, store: str) -> LivePrompts:
    sources._SCHEMES["shared"] = ("tests.test_layer_writes:SharedSource", None)
    return LivePrompts(f"shared://{layer}", environment="x", store=store, watch=False)


@pytest.mark.slow
def test_two_hosts_that_change_one_prompt_of_one_remote_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "_SCHEMES", dict(sources._SCHEMES))
    layer = write(tmp_path / "layer", {"a.yaml": "user: before"})
    command = [sys.executable, "-c", HOST, str(layer), str(tmp_path / "other host")]
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as other,
        host(str(layer), str(tmp_path / "this host")) as prompts,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == "tried\n"
        with prompts.change(Draft("a", b"user: mine")) as change:
            assert change.commit().status == "published"
        said, _ = other.communicate("go\n", timeout=60)
        assert said == "Stale before\n"
        assert (layer / "a.yaml").read_text() == "user: mine"
        (layer / "a.yaml").write_text("user: by hand")
        with prompts.change(Draft("a", b"user: mine too")) as change:
            (layer / "a.yaml").write_text("user: by another hand")
            with pytest.raises(Stale, match=r"a\.yaml was changed meanwhile"):
                change.commit()
        assert (layer / "a.yaml").read_text() == "user: by another hand"
        assert prompts["a"].user == "mine"


def test_what_a_refused_store_takes_back_is_not_taken_from_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = write(tmp_path / "layer", {"a.yaml": "user: before"})
    with LivePrompts(layer, store=tmp_path / "store", watch=False) as prompts:
        assert prompts["a"].user == "before"

        def fails(*_: object, **__: object) -> None:
            (layer / "a.yaml").write_text("user: theirs")
            from yamlgraph_prompts.errors import StoreError

            raise StoreError("The disk is full.")

        monkeypatch.setattr(prompts._store, "make_live", fails)
        with prompts.change(Draft("a", b"user: mine")) as change:
            assert change.commit().status == "rejected"
    assert (layer / "a.yaml").read_text() == "user: theirs"
