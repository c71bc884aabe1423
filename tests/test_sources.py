"""Every source keeps the same promises; then what is special about folders and mappings."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sys
import types
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.files import write
from tests.s3_servers import Shop as Bucket
from tests.s3_servers import credentials
from tests.test_bucket import unpacked
from yamlgraph_prompts import sources
from yamlgraph_prompts._files.regular_file import (
    LIMIT_FILE_BYTES,
    SpecialFile,
    TooLarge,
    read_regular,
)
from yamlgraph_prompts._model.pack import encode_pack
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.errors import (
    LayerNotFound,
    LayerUnavailable,
    MissingExtra,
    UnknownScheme,
)
from yamlgraph_prompts.sources import Snapshot, Source, open_source, schemes
from yamlgraph_prompts.sources.directory import DirectorySource
from yamlgraph_prompts.sources.memory import MemorySource
from yamlgraph_prompts.sources.polling import poll
from yamlgraph_prompts.sources.s3 import S3Source
from yamlgraph_prompts.sources.s3.bounds import Bounds
from yamlgraph_prompts.testing import RemoteSourceContract, SourceContract

as_root = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


class ShopSource:
    """What a third party would write."""

    shelves: Mapping[str, dict[str, bytes]] = {}
    refresh_s = 30.0

    def __init__(self, url: str) -> None:
        self.url = url

    def read(self) -> Snapshot:
        try:
            return Snapshot.of(dict(self.shelves[self.url]))
        except KeyError:
            raise LayerNotFound(f"Nothing is at {self.url}.", layer=self.url) from None

    def changes(self, stop: Event) -> Iterator[None]:
        return poll(stop, self.refresh_s)

    def folders(self) -> list[str]:
        begin = self.url.rstrip("/") + "/"
        return sorted({u[len(begin) :].split("/")[0] for u in self.shelves if u.startswith(begin)})

    def close(self) -> None:
        pass


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, bytes]]]:
    """The scheme shop:// as an installed package would add it."""
    module = types.ModuleType("shop_source")
    module.ShopSource = ShopSource  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop_source", module)
    entry = EntryPoint("shop", "shop_source:ShopSource", sources.ENTRY_POINTS)
    monkeypatch.setattr(
        schemes, "entry_points", lambda *, group: EntryPoints([entry]).select(group=group)
    )
    shelves: dict[str, dict[str, bytes]] = {}
    monkeypatch.setattr(ShopSource, "shelves", shelves)
    return shelves


# The contract: every source, third parties' too, keeps these promises.


class OurContract(SourceContract):
    """Ours say the same version for the same content, on every machine."""

    def test_the_version_comes_back_with_the_content(self, source: Source, fill: Any) -> None:
        versions = []
        for text in (b"user: x", b"user: y", b"user: x"):
            fill({"a.yaml": text})
            versions.append(source.read().version)
        assert versions[0] == versions[2] != versions[1]


class TestDirectory(OurContract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "a folder"

    @pytest.fixture
    def source(self, folder: Path) -> Source:
        return open_source(str(folder))

    @pytest.fixture
    def fill(self, folder: Path) -> Any:
        def fill(files: Mapping[str, bytes] | None) -> None:
            shutil.rmtree(folder, ignore_errors=True)
            if files is not None:
                folder.mkdir()
                write(folder, files)

        return fill


class TestFileUrl(TestDirectory):
    @pytest.fixture
    def source(self, folder: Path) -> Source:
        return open_source(folder.as_uri())


class TestMemory(OurContract):
    can_be_gone = False

    @pytest.fixture
    def prompts(self) -> dict[str, bytes]:
        return {}

    @pytest.fixture
    def source(self, prompts: dict[str, bytes]) -> Source:
        return MemorySource(prompts)

    @pytest.fixture
    def fill(self, prompts: dict[str, bytes]) -> Any:
        def fill(files: Mapping[str, bytes]) -> None:
            prompts.clear()
            prompts.update(files)

        return fill


class TestThirdParty(OurContract):
    @pytest.fixture
    def source(self, shop: dict[str, Any]) -> Source:
        return open_source("shop://acme/prompts")

    @pytest.fixture
    def fill(self, shop: dict[str, Any]) -> Any:
        def fill(files: Mapping[str, bytes] | None) -> None:
            shop.clear()
            if files is not None:
                shop["shop://acme/prompts"] = dict(files)

        return fill


class InBucket(OurContract):
    @pytest.fixture
    def bucket(self) -> Bucket:
        raise NotImplementedError

    @pytest.fixture
    def source(self, bucket: Bucket) -> Iterator[Source]:
        source = open_source(bucket.url())
        yield source
        source.close()

    @pytest.fixture
    def fill(self, bucket: Bucket) -> Any:
        def fill(files: Mapping[str, bytes] | None) -> None:
            bucket.clear()
            if files is not None:
                bucket.put("README.md", b"")  # an empty prefix is not there at all
                for path, data in files.items():
                    bucket.put(path, data)

        return fill


class TestMoto(InBucket):
    @pytest.fixture
    def bucket(self, moto: Bucket) -> Bucket:
        return moto


class TestRclone(InBucket):
    @pytest.fixture
    def bucket(self, rclone: Bucket) -> Bucket:
        return rclone


class TestSwift(InBucket):
    @pytest.fixture
    def bucket(self, swift: Bucket) -> Bucket:
        return swift


class TestPublishedInS3(RemoteSourceContract):
    """A published release; its server lists nothing, and a pack holds all files."""

    deadline_s = 8.0
    can_be_gone = False
    # A release holds prompts only; an endpoint of one's own may be plain http.
    test_files_come_back_byte_for_byte = None
    test_an_empty_place_has_no_files_and_no_findings = None
    test_plain_http_goes_to_this_machine_only = None

    @pytest.fixture(autouse=True)
    def keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        credentials(monkeypatch)

    def open(self, origin: str) -> Source:
        bounds = Bounds(seconds=self.deadline_s, patience_s=2.0)
        url = f"s3://acme/prompts?endpoint={origin}"
        return S3Source(url, channel="x", unpack=unpacked, bounds=bounds)

    def answers(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        release = Release.of(
            [Prompt(path.removesuffix(".yaml"), data, "x", path) for path, data in files.items()],
            environment="x",
        )
        at = "/acme/prompts/.releases/"
        pointer = json.dumps({"number": 1, "release": release.id}).encode()
        return {f"{at}x/current": pointer, f"{at}packs/{release.id}.pack": encode_pack(release)}


# Opening by URL


def test_an_unknown_scheme_lists_the_known_ones(shop: object) -> None:
    with pytest.raises(UnknownScheme, match="gopher") as caught:
        open_source("gopher://prompts")
    assert "file://" in str(caught.value)
    assert "shop://" in str(caught.value)
    assert "a path" in str(caught.value)


def test_a_missing_extra_says_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sources._SCHEMES, "cloud", ("no_such_module_at_all:CloudSource", "cloud"))
    with pytest.raises(MissingExtra, match=r"pip install 'yamlgraph-prompts\[cloud\]'"):
        open_source("cloud://bucket/prompts")


def test_a_relative_path_is_relative_to_the_base(tmp_path: Path) -> None:
    write(tmp_path, {"conf/prompts/a.yaml": "user: x"})
    assert list(open_source("prompts", base=tmp_path / "conf").read().files) == ["a.yaml"]


def test_a_file_url_may_hold_escaped_characters(tmp_path: Path) -> None:
    write(tmp_path / "with space", {"a.yaml": "user: x"})
    assert list(open_source(f"file://{tmp_path}/with%20space").read().files) == ["a.yaml"]


def test_a_file_url_with_a_host_is_refused_instead_of_read_elsewhere() -> None:
    with pytest.raises(LayerUnavailable, match="prompts"):
        open_source("file://prompts/staging").read()


def test_the_same_content_has_the_same_version_everywhere(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "user: x"})
    assert (
        open_source(str(tmp_path)).read().version == MemorySource({"a": "user: x"}).read().version
    )


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1), st.binary()),
    st.dictionaries(st.text(min_size=1), st.binary()),
)
def test_contents_that_differ_have_versions_that_differ(
    one: dict[str, bytes], other: dict[str, bytes]
) -> None:
    assert (Snapshot.of(one).version == Snapshot.of(other).version) == (one == other)


# Folders


def read(folder: Path) -> Snapshot:
    return DirectorySource(str(folder)).read()


def codes(content: Snapshot) -> list[str]:
    return [finding.code for finding in content.findings]


def test_only_yaml_and_j2_files_are_read(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "", "b.yaml.j2": "", "c.j2": "", "README.md": "", "d.json": ""})
    assert sorted(read(tmp_path).files) == ["a.yaml", "b.yaml.j2", "c.j2"]


def test_files_and_folders_that_begin_with_a_dot_are_not_looked_at(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "", "..data/b.yaml": "", ".git/c.yaml": "", "n/.d.yaml": ""})
    (tmp_path / ".e.yaml").write_text("user: x")
    assert list(read(tmp_path).files) == ["a.yaml"]
    assert DirectorySource(str(tmp_path)).folders() == ["n"]


def test_a_yml_file_is_a_warning_that_says_the_new_name(tmp_path: Path) -> None:
    write(tmp_path, {"greeting.yml": "user: x"})
    (finding,) = read(tmp_path).findings
    assert (finding.severity, finding.code) == ("warning", "ignored-file")
    assert "greeting.yaml" in str(finding.hint)


def test_a_link_out_of_the_layer_is_an_error_and_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, {"outside/secret.yaml": "user: x", "layer/a.yaml": "user: x"})
    (tmp_path / "layer/file.yaml").symlink_to(tmp_path / "outside/secret.yaml")
    (tmp_path / "layer/folder").symlink_to("../outside")
    (tmp_path / "layer/passwd.yaml").symlink_to("/etc/passwd")
    content = read(tmp_path / "layer")
    assert list(content.files) == ["a.yaml"]
    assert codes(content) == ["escaping-link"] * 3


def test_a_folder_whose_name_begins_like_the_layers_is_outside(tmp_path: Path) -> None:
    write(tmp_path, {"layer/a.yaml": "", "layer-secret/b.yaml": ""})
    (tmp_path / "layer/b.yaml").symlink_to("../layer-secret/b.yaml")
    assert codes(read(tmp_path / "layer")) == ["escaping-link"]


def test_links_within_the_layer_are_followed(tmp_path: Path) -> None:
    write(tmp_path, {"n/a.yaml": "user: x"})
    (tmp_path / "same.yaml").symlink_to("n/a.yaml")
    (tmp_path / "other").symlink_to("n")
    content = read(tmp_path)
    assert sorted(content.files) == ["n/a.yaml", "other/a.yaml", "same.yaml"]
    assert content.findings == ()


def test_a_layer_that_is_itself_a_link_is_read(tmp_path: Path) -> None:
    write(tmp_path, {"v1/a.yaml": "user: x"})
    (tmp_path / "current").symlink_to("v1")
    assert list(read(tmp_path / "current").files) == ["a.yaml"]


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    write(tmp_path, {"n/a.yaml": "user: x"})
    (tmp_path / "n/up").symlink_to("..")
    (tmp_path / "me.yaml").symlink_to("me.yaml")
    content = read(tmp_path)
    assert list(content.files) == ["n/a.yaml"]
    assert "up" not in codes(content)
    assert len(content.findings) == 1


def test_links_that_multiply_are_refused_in_bounded_time(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"d{number}").mkdir()
        for name in ("x", "y"):
            (tmp_path / f"d{number}/{name}").symlink_to(f"../d{number + 1}")
    (tmp_path / "d40").mkdir()
    assert codes(read(tmp_path)) == ["too-large"]


def test_folders_may_be_as_deep_as_the_system_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a.yaml": "user: x"})
    monkeypatch.chdir(tmp_path)
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    assert list(read(tmp_path).files) == ["a.yaml"]
    for _ in range(1500):
        os.chdir("..")
        os.rmdir("d")


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("gone.yaml")
    (finding,) = read(tmp_path).findings
    assert (finding.severity, finding.code) == ("error", "unreadable")


def test_pipes_sockets_and_devices_are_told_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path)
        server.bind("socket.yaml")
        os.chdir(here)
    (tmp_path / "folder.yaml").mkdir()
    content = read(tmp_path)
    assert codes(content) == ["special-file", "special-file"]
    assert dict(content.files) == {}


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="needs /proc")
def test_nothing_of_proc_can_be_read_through_a_layer(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("/proc/self/environ")
    (tmp_path / "b").symlink_to("/proc/self")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    content = read(tmp_path)
    assert dict(content.files) == {}
    assert codes(content) == ["escaping-link"] * 3


def test_a_file_that_became_a_link_after_it_was_found_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = write(tmp_path / "layer", {"a.yaml": "user: x"})
    write(tmp_path, {"secret.yaml": "user: secret"})
    from yamlgraph_prompts.sources import directory

    def swapped(path: str, **options: Any) -> bytes:
        os.unlink(layer / "a.yaml")
        (layer / "a.yaml").symlink_to(tmp_path / "secret.yaml")
        return read_regular(path, **options)

    monkeypatch.setattr(directory, "read_regular", swapped)
    content = read(layer)
    assert dict(content.files) == {}
    assert set(codes(content)) <= {"special-file", "escaping-link"}
    assert content.findings


def test_a_file_that_is_too_large_is_told_with_its_size(tmp_path: Path) -> None:
    write(
        tmp_path, {"big.yaml": b"x" * (LIMIT_FILE_BYTES + 1), "fits.yaml": b"x" * LIMIT_FILE_BYTES}
    )
    content = read(tmp_path)
    assert list(content.files) == ["fits.yaml"]
    (finding,) = content.findings
    assert (finding.code, finding.prompt) == ("too-large", "big")
    assert str(LIMIT_FILE_BYTES + 1) in finding.message


def test_a_folder_that_is_too_large_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("yamlgraph_prompts.sources.directory.LIMIT_BYTES", 10)
    write(tmp_path, {"a.yaml": b"12345678", "b.yaml": b"12345678"})
    assert codes(read(tmp_path)) == ["too-large"]


@as_root
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "user: x"})
    (tmp_path / "a.yaml").chmod(0)
    assert codes(read(tmp_path)) == ["unreadable"]


def test_a_disk_error_is_told_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"a.yaml": "user: x", "b.yaml": "user: y"})

    def broken(path: str, **options: Any) -> bytes:
        if path.endswith("a.yaml"):
            raise OSError(5, "Input/output error")
        return read_regular(path, **options)

    monkeypatch.setattr("yamlgraph_prompts.sources.directory.read_regular", broken)
    content = read(tmp_path)
    (finding,) = content.findings
    assert (finding.code, finding.prompt) == ("unreadable", "a")
    assert "Input/output error" in finding.message
    assert list(content.files) == ["b.yaml"]


def test_a_name_that_is_not_utf8_is_told_in_printable_words(tmp_path: Path) -> None:
    write(tmp_path, {"a.yaml": "user: x"})
    with open(os.fsencode(tmp_path) + b"/caf\xe9.yaml", "w") as file:
        file.write("user: x")
    content = read(tmp_path)
    assert list(content.files) == ["a.yaml"]
    (finding,) = content.findings
    assert finding.severity == "error"
    assert str(finding).encode()


def test_a_file_in_place_of_the_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "prompts").write_text("no folder")
    with pytest.raises(LayerUnavailable, match="not a folder"):
        read(tmp_path / "prompts")


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LayerNotFound, match="does not exist") as caught:
        read(tmp_path / "prompts")
    assert "optional=True" in str(caught.value)


def test_a_folder_that_is_swapped_while_it_is_read_is_read_again_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path, {"v1/a.yaml": "one", "v1/b.yaml": "one", "v2/a.yaml": "two", "v2/b.yaml": "two"}
    )
    current = tmp_path / "current"
    current.symlink_to("v1")
    reads = []

    def swapping(path: str, **options: Any) -> bytes:
        data = read_regular(path, **options)
        reads.append(path)
        if len(reads) == 1:
            (tmp_path / "new").symlink_to("v2")
            os.replace(tmp_path / "new", current)
        return data

    monkeypatch.setattr("yamlgraph_prompts.sources.directory.read_regular", swapping)
    assert set(read(current).files.values()) == {b"two"}


def test_a_configmap_that_is_swapped_while_it_is_read_is_read_again_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path,
        {"..1/a.yaml": "one", "..1/b.yaml": "one", "..2/a.yaml": "two", "..2/b.yaml": "two"},
    )
    (tmp_path / "..data").symlink_to("..1")
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    reads = []

    def swapping(path: str, **options: Any) -> bytes:
        data = read_regular(path, **options)
        reads.append(path)
        if len(reads) == 1:
            (tmp_path / "..new").symlink_to("..2")
            os.replace(tmp_path / "..new", tmp_path / "..data")
        return data

    monkeypatch.setattr("yamlgraph_prompts.sources.directory.read_regular", swapping)
    assert set(read(tmp_path).files.values()) == {b"two"}


@pytest.mark.parametrize("way", ["configmap further down", "folder renamed", "folder within"])
def test_a_part_that_is_swapped_while_the_layer_is_read_is_read_again_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    layer = tmp_path / "layer"
    if way == "configmap further down":
        old, new = layer / "team/..1", layer / "team/..2"
    else:
        old = layer / "team" if way == "folder within" else layer
        new = tmp_path / "new"
    for edition, text in ((old, "one"), (new, "two")):
        write(edition, dict.fromkeys(("a.yaml", "b.yaml", "deep/c.yaml"), text))
    if way == "configmap further down":
        (layer / "team/..data").symlink_to("..1")
        for name in ("a.yaml", "b.yaml", "deep"):
            (layer / "team" / name).symlink_to(f"..data/{name}")
    reads = []

    def swapping(path: str, **options: Any) -> bytes:
        data = read_regular(path, **options)
        reads.append(path)
        if len(reads) == 1 and way == "configmap further down":
            (tmp_path / "link").symlink_to("..2")
            os.replace(tmp_path / "link", layer / "team/..data")
        elif len(reads) == 1:
            os.rename(old, tmp_path / "old")
            os.rename(new, old)
        return data

    monkeypatch.setattr("yamlgraph_prompts.sources.directory.read_regular", swapping)
    files = read(layer).files
    assert (len(files), set(files.values())) == (3, {b"two"})


def test_a_folder_that_never_stands_still_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(1000))

    def standing(root: Path) -> tuple[int]:
        (tmp_path / "a.yaml").write_text(f"user: {(tick := next(ticks))}")
        return (tick,)

    monkeypatch.setattr("yamlgraph_prompts.sources.directory.standing", standing)
    with pytest.raises(LayerUnavailable, match="faster"):
        read(tmp_path)


# Ordinary files


def test_a_file_that_grows_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 10)
    real = os.fstat

    def early(handle: int) -> os.stat_result:
        found = list(real(handle))
        found[6] = 3
        return os.stat_result(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fstat", early)
        assert read_regular(path) == b"x" * 10
        with pytest.raises(TooLarge):
            read_regular(path, limit_bytes=5)


def test_a_folder_is_no_ordinary_file(tmp_path: Path) -> None:
    with pytest.raises(SpecialFile):
        read_regular(tmp_path)


# Mappings


def test_a_mapping_may_hold_text_bytes_or_content() -> None:
    files = (
        MemorySource({"a": "user: x", "b": b"user: y", "n/c": {"user": "ü", "system": "s"}})
        .read()
        .files
    )
    assert files["a.yaml"] == b"user: x"
    assert files["b.yaml"] == b"user: y"
    assert files["n/c.yaml"].decode() == "user: ü\nsystem: s\n"


def test_a_name_with_a_suffix_is_the_path_of_such_a_file() -> None:
    files = (
        MemorySource({"a.yaml": "", "b.yaml.j2": "", "vars.yaml": "", "part.j2": ""}).read().files
    )
    assert sorted(files) == ["a.yaml", "b.yaml.j2", "part.j2", "vars.yaml"]


def test_reading_touches_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "open", None)
    monkeypatch.setattr(os, "scandir", None)
    source = MemorySource({"a": "user: x"})
    assert hashlib.sha256(source.read().files["a.yaml"]).hexdigest()
    assert source.watched() == ()
