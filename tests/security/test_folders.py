"""Who may write in a layer's folder reads and changes nothing outside it, whatever is swapped."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.files import write
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts.errors import (
    LayerError,
    LayerNotFound,
    LayerReadOnly,
    LayerUnavailable,
    PromptsRejected,
)
from yamlgraph_prompts.sources import Change, Snapshot
from yamlgraph_prompts.sources.directory import DirectorySource

SECRET = b"user: secret"
NAMES = ("b.yaml.j2", "part.j2", "vars.yaml", "sub/x.yaml", "sub/part.j2", "sub/d/y.yaml")


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A layer; beside it lies a folder of the same names in which everything is secret."""
    write(tmp_path / "outside", dict.fromkeys((*NAMES, "x.yaml", "d/y.yaml", "y.yaml"), SECRET))
    return fresh(tmp_path / "layer")


def fresh(layer: Path) -> Path:
    """The same folder with the same files, whatever was done to it."""
    moved = layer.parent / "moved"
    if moved.is_dir() and not (layer.is_dir() and not layer.is_symlink()):
        layer.unlink(missing_ok=True)
        moved.rename(layer)
    remove(moved)
    layer.mkdir(exist_ok=True)
    for path in layer.iterdir():
        remove(path)
    os.makedirs(layer / "sub/d")
    for name in NAMES:
        (layer / name).write_bytes(b"user: mine")
    (layer / "linked.yaml").symlink_to("sub/x.yaml")
    (layer / "linked").symlink_to("sub/d")
    return layer


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def read(folder: Path) -> Snapshot:
    return DirectorySource(str(folder)).read()


def codes(content: Snapshot) -> list[str]:
    return [finding.code for finding in content.findings]


# A swap before each single call to the system

PATHS = (
    *("open", "scandir", "listdir", "stat", "lstat", "readlink", "mkdir", "replace", "rename"),
    "unlink",
)
DESCRIPTORS = ("fsync", "dup", "dup2", "read", "write", "fstat", "fchmod")
MINE, NEW = b"user: mine", b"user: new"
ACTS: dict[str, Change] = {
    "change": Change("sub/x.yaml", NEW, MINE),
    "change through a link": Change("linked.yaml", NEW, MINE),
    "create": Change("sub/new.yaml", NEW, None),
    "create in new folders": Change("sub/d/e/f/new.yaml", NEW, None),
    "create through a link": Change("linked/new.yaml", NEW, None),
    "delete": Change("sub/x.yaml", None, MINE),
    "delete through a link": Change("linked/y.yaml", None, MINE),
}
# What is moved away, and where the link leads that takes its place; None: a pipe; "": nothing.
SWAPS: dict[str, tuple[str, str | None]] = {
    "folder, absolute link": ("sub", "{outside}"),
    "folder, relative link": ("sub", "../outside"),
    "folder, link by way of a link": ("sub", "linked/../../outside"),
    "folder, link up": ("sub", ".."),
    "folder, pipe": ("sub", None),
    "folder, nothing": ("sub", ""),
    "folder in a folder": ("sub/d", "../../outside"),
    "folder that is made": ("sub/d/e", "../../../outside"),
    "file, link": ("sub/x.yaml", "../../outside/x.yaml"),
    "file, pipe": ("sub/x.yaml", None),
    "file, nothing": ("sub/x.yaml", ""),
    "file, missing place outside": ("sub/new.yaml", "../../outside/new.yaml"),
    "link to a folder": ("linked", "../outside"),
    "link to a file": ("linked.yaml", "../outside/x.yaml"),
    "vars": ("vars.yaml", "../outside/vars.yaml"),
    "part": ("part.j2", "../outside/part.j2"),
    "template": ("b.yaml.j2", "../outside/b.yaml.j2"),
}
each_swap = pytest.mark.parametrize(("path", "target"), SWAPS.values(), ids=SWAPS)


class Swapper:
    """Swaps what lies at a path for a link, a pipe or nothing, and back."""

    def __init__(self, layer: Path, path: str, target: str | None) -> None:
        self._path, self._moved = layer / path, layer.parent / "moved"
        self._target = target and target.format(outside=layer.parent / "outside")

    def swap(self) -> None:
        with suppress(OSError):
            os.rename(self._path, self._moved)
        with suppress(OSError):
            if self._target is None:
                os.mkfifo(self._path)
            elif self._target:
                os.symlink(self._target, self._path)

    def back(self) -> None:
        with suppress(OSError):
            if self._moved.exists():
                with suppress(FileNotFoundError):
                    os.unlink(self._path)
                os.rename(self._moved, self._path)


@contextmanager
def hooked(hook: Callable[[int], None], calls: tuple[str, ...] = PATHS) -> Iterator[list[int]]:
    """Calls `hook` with the number of each call to the system before it is made."""
    count, busy = [0], [False]

    def wrapped(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if not busy[0]:
                busy[0] = True
                count[0] += 1
                try:
                    hook(count[0] - 1)
                finally:
                    busy[0] = False
            return real(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        for name in calls:
            patch.setattr(os, name, wrapped(getattr(os, name)))
        yield count


def at_each_call(
    layer: Path, path: str, target: str | None, act: Callable[[DirectorySource], object]
) -> int:
    """Does `act` again and again, with a swap before another call each time.

    Returns how often.
    """
    source = DirectorySource(str(layer))
    source.read()
    rounds = 0
    for lasts in (10**9, 1):
        number = 0
        while True:
            swapper = Swapper(fresh(layer), path, target)

            def hook(
                call: int, at: int = number, lasts: int = lasts, by: Swapper = swapper
            ) -> None:
                if call == at:
                    by.swap()
                elif call == at + lasts:
                    by.back()

            with hooked(hook) as count:
                act(source)
            rounds += 1
            if count[0] <= number:
                break
            number += 1
    return rounds


@each_swap
def test_no_swap_at_any_call_makes_a_reading_leak(
    layer: Path, path: str, target: str | None
) -> None:
    def act(source: DirectorySource) -> None:
        with suppress(LayerUnavailable):
            assert SECRET not in source.read().files.values()

    assert at_each_call(layer, path, target, act) > 100


WRITES = [name for name, swap in SWAPS.items() if swap[0].startswith(("sub", "linked"))]


@pytest.mark.parametrize(
    ("act", "path", "target"),
    [
        # In each run every third pair: every act, and every swap with two acts.
        pytest.param(
            *(act, *SWAPS[swap]),
            id=f"{act}-{swap}",
            marks=[pytest.mark.nightly] if (number + row) % 3 else [],
        )
        for row, act in enumerate(ACTS)
        for number, swap in enumerate(WRITES)
    ],
)
def test_no_swap_at_any_call_makes_a_write_land_outside(
    layer: Path, act: str, path: str, target: str | None
) -> None:
    outside = layer.parent / "outside"
    before = snapshot(outside)

    def write(source: DirectorySource) -> None:
        with suppress(LayerError):
            source.write(ACTS[act])
        assert snapshot(outside) == before

    assert at_each_call(layer, path, target, write) > 10


@pytest.mark.parametrize(
    ("act", "target"),
    [
        # In each run every third pair: every act, and every target with two acts.
        pytest.param(act, target, marks=[pytest.mark.nightly] if (number + row) % 3 else [])
        for row, act in enumerate(ACTS)
        for number, target in enumerate(["{outside}", "outside", "outside/missing"])
    ],
)
def test_no_swap_of_the_layer_itself_makes_a_write_land_elsewhere(
    layer: Path, act: str, target: str
) -> None:
    test_no_swap_at_any_call_makes_a_write_land_outside(layer, act, "", target)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux lists descriptors")
@pytest.mark.parametrize("act", ["read", *ACTS])
def test_a_call_that_fails_leaves_no_descriptor_open_and_no_half_file(
    layer: Path, act: str
) -> None:
    source, number = DirectorySource(str(layer)), 0
    source.read()
    while True:
        fresh(layer)
        before = len(os.listdir("/proc/self/fd"))

        def fail(call: int, at: int = number) -> None:
            if call == at:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        with hooked(fail, PATHS + DESCRIPTORS) as count, suppress(LayerError, OSError):
            if act == "read":
                source.read()
            else:
                source.write(ACTS[act])
        assert len(os.listdir("/proc/self/fd")) == before
        contents = {data for data in snapshot(layer).values() if data is not None}
        assert contents <= {b"user: mine", b"user: new"}
        if count[0] <= number:
            break
        number += 1
    assert number > 10


# A process that swaps as fast as it can

RACER = """
import os, signal, sys
from contextlib import suppress
layer, path, target = sys.argv[1:]
real, link, aside = f"{layer}/{path}", f"{layer}/.link", f"{layer}/.aside"
os.symlink(target, link)
ends = []
signal.signal(signal.SIGTERM, lambda *_: ends.append(True))
print("ready", flush=True)
rounds = made = 0
def move(one, other):
    global made
    try:
        os.rename(one, other)
    except OSError:
        # A write made a folder there, or removed the file.
        made += 1
        with suppress(OSError):
            os.rename(other, f"{layer}/.made{made}")
while not ends:
    if not os.path.lexists(link):
        os.symlink(target, link)
    move(real, aside)
    move(link, real)
    move(real, link)
    move(aside, real)
    rounds += 1
print(rounds)
"""


@contextmanager
def raced(layer: Path, path: str, target: Path) -> Iterator[None]:
    arguments = [sys.executable, "-c", RACER, str(layer), path, str(target)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.terminate()
            rounds = process.stdout.read()
    assert int(rounds) > 10


@pytest.mark.parametrize(
    ("path", "target"), [("sub", ""), ("sub/d", "d"), ("sub/x.yaml", "x.yaml"), ("linked", "")]
)
@pytest.mark.parametrize("rounds", [50, pytest.param(300, marks=pytest.mark.nightly)])
def test_nothing_leaks_and_nothing_lands_outside_while_a_process_swaps(
    layer: Path, path: str, target: str, rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    outside, source = layer.parent / "outside", DirectorySource(str(layer))
    before = snapshot(outside)
    with raced(layer, path, outside / target):
        for _ in range(rounds):
            with suppress(LayerUnavailable):
                assert SECRET not in source.read().files.values()
            for act, was in product(ACTS.values(), (MINE, NEW, None)):
                with suppress(LayerError):
                    source.write(replace(act, replaces=was))
    assert snapshot(outside) == before


# Links and special files


def test_a_link_that_leads_out_and_in_again_and_one_by_the_layers_own_path_are_read(
    layer: Path,
) -> None:
    alias = layer.parent / "alias"
    alias.symlink_to("layer")
    (layer / "1.yaml").symlink_to("../layer/sub/x.yaml")
    (layer / "2.yaml").symlink_to(layer / "sub/x.yaml")
    (layer / "3.yaml").symlink_to(alias / "sub/../sub/x.yaml")
    (layer / "sub/4.yaml").symlink_to("../linked/../x.yaml")
    (layer / "5.yaml").symlink_to("../alias/linked/y.yaml")
    content = read(alias)
    assert content.findings == ()
    names = {"1.yaml", "2.yaml", "3.yaml", "sub/4.yaml", "5.yaml"}
    assert {content.files.get(name) for name in names} == {b"user: mine"}


@pytest.mark.parametrize(
    "target",
    [
        *("../outside/x.yaml", "{outside}/x.yaml", "sub/../../outside/x.yaml", "/", "..", "../no"),
        *("linked/../../../outside", "/etc/passwd", "../../../../../../../../../../../etc/passwd"),
        *("{layer}/../outside/x.yaml", "{layer}-other/x.yaml", "../layer/../outside/x.yaml"),
        *("/proc/self/cwd/x.yaml", "/proc/self/root/etc/passwd", "/dev/stdin"),
    ],
)
def test_a_link_that_leads_out_is_an_error_however_it_is_written(layer: Path, target: str) -> None:
    link = target.format(layer=layer, outside=layer.parent / "outside")
    before = sorted(read(layer).files)
    (layer / "out.yaml").symlink_to(link)
    (layer / "way.yaml").symlink_to("out.yaml")
    content, outside = read(layer), snapshot(layer.parent / "outside")
    assert (sorted(content.files), codes(content)) == (before, ["escaping-link"] * 2)
    for path in ("out.yaml", "way.yaml", "out.yaml/new.yaml", "way.yaml/a/new.yaml"):
        with pytest.raises(LayerReadOnly):
            DirectorySource(str(layer)).write(Change(path, NEW, None))
    assert snapshot(layer.parent / "outside") == outside


def test_forty_links_in_a_row_are_followed_and_more_are_an_error(layer: Path) -> None:
    (layer / ".1").symlink_to("sub/x.yaml")
    for number in range(2, 41):
        (layer / f".{number}").symlink_to(f".{number - 1}")
    (layer / "fits.yaml").symlink_to(".39")
    (layer / "more.yaml").symlink_to(".40")
    content = read(layer)
    assert content.files["fits.yaml"] == b"user: mine"
    (finding,) = content.findings
    assert (finding.code, finding.prompt) == ("unreadable", "more")


@pytest.mark.parametrize(
    "targets", [("me.yaml",), ("b", "me.yaml"), ("b/c", "."), ("../layer/b", "me.yaml")]
)
def test_links_in_a_circle_end(layer: Path, targets: tuple[str, ...]) -> None:
    for name, target in zip(("me.yaml", "b"), targets, strict=False):
        (layer / name).symlink_to(target)
    assert "me.yaml" not in read(layer).files
    with suppress(LayerReadOnly):
        DirectorySource(str(layer)).write(Change("me.yaml/x.yaml", NEW, None))


@pytest.mark.parametrize(
    "bomb", ["a/../" * 800, "sub/../" * 500, "{layer}/../layer/" * 20, "x/" * 2000, "./" * 2000]
)
def test_links_that_take_long_to_follow_end_at_a_bounded_number_of_steps(
    layer: Path, bomb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yamlgraph_prompts.sources.root.LIMIT_STEPS", 3000)
    calls = [0]
    (layer / "a").mkdir()
    for number in range(50):
        link = (bomb.format(layer=layer) + "sub/x.yaml")[-4000:].lstrip(".").lstrip("/")
        (layer / f"{number}.yaml").symlink_to(link)
    with hooked(lambda call: calls.__setitem__(0, call)):
        read(layer)
    assert calls[0] < 3000 * 8


def test_a_change_through_a_link_keeps_the_link_and_a_removal_removes_only_it(layer: Path) -> None:
    source = DirectorySource(str(layer))
    source.write(Change("linked.yaml", NEW, MINE))
    assert (layer / "linked.yaml").is_symlink()
    assert (layer / "sub/x.yaml").read_bytes() == b"user: new"
    source.write(Change("linked.yaml", None, NEW))
    assert not (layer / "linked.yaml").is_symlink()
    assert (layer / "sub/x.yaml").read_bytes() == b"user: new"


def test_a_removal_below_a_file_removes_nothing(layer: Path) -> None:
    before = snapshot(layer)
    for path in ("sub/x.yaml/part.j2", "linked.yaml/vars.yaml", "vars.yaml/vars.yaml"):
        with pytest.raises(LayerReadOnly):
            DirectorySource(str(layer)).write(Change(path, None, None))
    assert snapshot(layer) == before


@pytest.mark.parametrize(
    "path",
    [
        *("../outside/x.yaml", "/etc/x.yaml", "sub/../../x.yaml", "a//b.yaml", "", ".", ".."),
        *("a/.", "a/", "sub", "sub/d", "a\0b.yaml", "x" * 300 + ".yaml"),
        "d/" * 600 + "x.yaml",
    ],
)
def test_a_path_that_names_no_file_of_the_layer_is_refused(layer: Path, path: str) -> None:
    before = snapshot(layer.parent)
    for data in (b"user: new", None):
        with pytest.raises(LayerReadOnly) as caught:
            DirectorySource(str(layer)).write(Change(path, data, None))
        assert str(caught.value).isprintable()
    after = snapshot(layer.parent)
    assert {name: after[name] for name in before} == before
    assert not any(name.endswith("x.yaml") for name in after.keys() - before.keys())


def test_a_write_keeps_no_bit_that_lets_a_file_run_as_another_user(layer: Path) -> None:
    (layer / "sub/x.yaml").chmod(0o6755)
    DirectorySource(str(layer)).write(Change("sub/x.yaml", NEW, MINE))
    assert stat.S_IMODE((layer / "sub/x.yaml").stat().st_mode) == 0o755


def test_a_layer_that_is_not_there_yet_is_made_and_then_kept_to(tmp_path: Path) -> None:
    source = DirectorySource(str(tmp_path / "a/layer"))
    with pytest.raises(LayerNotFound):
        source.read()
    source.write(Change("n/a.yaml", b"user: x", None))
    assert source.read().files == {"n/a.yaml": b"user: x"}
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(LayerReadOnly, match="No such file"):
        source.write(Change("n/a.yaml", b"user: y", b"user: x"))
    assert not (tmp_path / "a").exists()


# Names and depth

CONTROLS = ("\n", "\r", "\t", "\x1b[2J", "\x7f", "\x85", "\x9b31m", "\u2028", "\u202e", "\u2066")


@pytest.mark.parametrize("control", [*CONTROLS, os.fsdecode(b"\xe9"), os.fsdecode(b"\xc3")])
@pytest.mark.parametrize(
    "path", ["{}.yaml", "a{}b.j2", "{}/a.yaml", "{}.yml", "vars.{}.yaml", "{}"]
)
def test_a_name_with_control_characters_is_escaped_wherever_it_is_shown(
    tmp_path: Path, control: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = path.format(control)
    target = write(tmp_path / "layer", {"ok.yaml": "user: x"}) / name
    target.parent.mkdir(exist_ok=True)
    if path == "{}":
        target.symlink_to("..")
    else:
        target.write_text("user: x")
    content = read(tmp_path / "layer")
    assert list(content.files) == ["ok.yaml"]
    code = {"{}.yml": "ignored-file", "{}": "escaping-link"}.get(path, "escaping-name")
    assert codes(content) == [code]
    for finding in content.findings:
        assert f"{finding}{finding.prompt}".isprintable()
        assert str(finding).isascii()
    try:
        LivePrompts(tmp_path / "layer", watch=False).publish()
        lines = caplog.text.splitlines()
    except PromptsRejected as problem:
        lines = [*caplog.text.splitlines(), *str(problem).split("\n")]
    assert all(line.isprintable() for line in lines)
    with suppress(LayerReadOnly):
        DirectorySource(str(tmp_path / "layer")).write(Change(f"{name}/x", b"", None))
        pytest.fail(f"{name!a} was written")


@pytest.mark.parametrize("name", ["caf\xe9", "\u540d\u524d", "a b", "a\xa0b", "\U0001f600", "'\""])
def test_a_name_in_any_language_is_read(tmp_path: Path, name: str) -> None:
    layer = write(tmp_path, {f"{name}/{name}.yaml": "user: x"})
    assert (list(read(layer).files), read(layer).findings) == ([f"{name}/{name}.yaml"], ())


def test_the_longest_name_is_read(tmp_path: Path) -> None:
    name = "x" * 250 + ".yaml"
    assert list(read(write(tmp_path / "layer", {"a/b.yaml": ""})).files) == ["a/b.yaml"]
    (tmp_path / "layer" / name).write_text("user: x")
    assert name in read(tmp_path / "layer").files


@pytest.mark.parametrize("part", ["d", "x" * 250])
def test_folders_nested_without_end_are_one_finding(tmp_path: Path, part: str) -> None:
    layer = write(tmp_path / "layer", {"a.yaml": "user: x", "n/b.yaml": "user: x"})
    folder = os.open(layer / "n", os.O_RDONLY)
    for _ in range(600 if part == "d" else 100):
        os.mkdir(part, dir_fd=folder)
        deeper = os.open(part, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = deeper
    os.close(folder)
    content = read(layer)
    assert sorted(content.files) == ["a.yaml", "n/b.yaml"]
    (finding,) = content.findings
    assert (finding.severity, finding.code) == ("error", "too-deep")
    assert "1,024 bytes" in finding.message
    with pytest.raises(PromptsRejected, match="too-deep") as caught:
        LivePrompts(layer, watch=False).publish()
    assert len(str(caught.value)) < 500
    # Python 3.11 removes a tree by recursion.
    subprocess.run(["rm", "-rf", str(layer)], check=True)


@pytest.mark.parametrize(("kind", "limit"), [("yaml", "LIMIT_ENTRIES"), ("txt", "LIMIT_LOOKS")])
def test_a_folder_of_too_many_files_is_not_listed_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limit: str
) -> None:
    layer = write(tmp_path, {f"{number}.{kind}": "" for number in range(50)})
    monkeypatch.setattr(f"yamlgraph_prompts.sources.directory.{limit}", 10)
    assert codes(read(layer)) == ["too-large"]
