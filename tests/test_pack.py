"""One release in one file: what was written is read back, and anything else is refused."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yamlgraph_prompts._model import pack
from yamlgraph_prompts._model.pack import (
    MAGIC,
    ReleaseFacts,
    decode_pack,
    encode_pack,
    read_facts,
    read_head,
    read_pack,
)
from yamlgraph_prompts._model.release import LayerVersion, Prompt, Release
from yamlgraph_prompts.errors import StoreCorrupted, StoreError
from yamlgraph_prompts.findings import Finding

RELEASE = Release.of(
    [
        Prompt("greeting", b"user: Hi {name}\n", "file:///p", "p/greeting.yaml"),
        Prompt("router/größe", "user: Größe\n".encode(), "file:///base", "base/router/größe.yaml"),
        Prompt("empty", b"", "file:///p", "p/empty.yaml"),
    ],
    environment="staging",
    layers=[LayerVersion("file:///p", "v1"), LayerVersion("file:///base", "v2")],
)
WARNING = Finding("warning", "unused-prompt", "nobody uses it", prompt="empty", line=3, hint="Why?")
PACK = encode_pack(RELEASE, ReleaseFacts.of([WARNING], ["ab" * 32], "7"))


def stored(folder: Path, data: bytes) -> Path:
    path = folder / "x.pack"
    path.write_bytes(data)
    return path


def forged(head: dict[str, Any], index: bytes, bodies: bytes = b"") -> bytes:
    """A pack whose checksums are right and whose content is what the attacker wants."""
    whole = {
        "release": RELEASE.id,
        "environment": None,
        "layers": [],
        "prompts": 1,
        "created_s": 0.0,
        "check_version": "",
        "findings_count": 0,
        "index_sha256": sha256(index).hexdigest(),
        "index_bytes": len(index),
        "body_bytes": len(bodies),
        **head,
    }
    raw = json.dumps(whole).encode()
    prefix = struct.pack(">I32s", len(raw), sha256(raw).digest())
    return MAGIC + prefix + raw + index + bodies


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packs")


def test_what_was_written_is_read_back_whole(tmp_path: Path) -> None:
    read = read_pack(stored(tmp_path, PACK), RELEASE.id)
    assert read == RELEASE
    assert read.id == RELEASE.id
    assert list(read) == list(RELEASE)
    assert [p.sha256 for p in read.prompts.values()] == [
        sha256(p.data).hexdigest() for p in RELEASE.prompts.values()
    ]


texts = st.dictionaries(st.sampled_from("abcd"), st.binary(max_size=3), max_size=4)


@given(before=texts, after=texts, layers=st.tuples(*[st.sampled_from(["s3://a", "s3://b"])] * 2))
def test_what_is_known_of_another_release_changes_nothing(
    before: dict[str, bytes], after: dict[str, bytes], layers: tuple[str, str]
) -> None:
    def release(texts: dict[str, bytes], layer: str) -> Release:
        return Release.of(Prompt(name, data, layer) for name, data in texts.items())

    known, made = release(before, layers[0]), release(after, layers[1])
    read = decode_pack(encode_pack(made), made.id, "there", known=known.prompts)
    assert (read, read.id) == (made, made.id)
    for name, prompt in read.prompts.items():
        assert prompt.sha256 == sha256(after[name]).hexdigest()
        assert (prompt is known.prompts.get(name)) == (prompt == known.prompts.get(name))


def test_a_release_without_prompts_can_be_kept(tmp_path: Path) -> None:
    nothing = Release.of([])
    assert read_pack(stored(tmp_path, encode_pack(nothing)), nothing.id) == nothing


def test_the_facts_come_without_reading_the_bodies(tmp_path: Path) -> None:
    bodies = sum(len(p.data) for p in RELEASE.prompts.values())
    damaged_bodies = PACK[:-bodies] + b"?" * bodies
    facts = read_facts(stored(tmp_path, damaged_bodies), RELEASE.id)
    assert facts.check_version == "7"
    assert facts.clean == {"ab" * 32}
    assert facts.findings == (WARNING,)
    assert facts.findings_count == 1


def test_an_examined_release_is_clean_as_a_whole_in_few_bytes(tmp_path: Path) -> None:
    every = [p.sha256 for p in RELEASE.prompts.values()]
    data = encode_pack(RELEASE, ReleaseFacts.of(clean=every))
    assert b'"clean":"all"' in data
    assert read_facts(stored(tmp_path, data), RELEASE.id).clean == set(every)


def test_only_the_first_thousand_findings_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    data = encode_pack(RELEASE, ReleaseFacts.of([WARNING] * 1_500))
    facts = read_facts(stored(tmp_path, data), RELEASE.id)
    assert (len(facts.findings), facts.findings_count) == (1_000, 1_500)


def test_a_pack_that_was_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    for length in [*range(0, len(PACK), 97), *range(len(PACK) - 40, len(PACK))]:
        path = stored(tmp_path, PACK[:length])
        for read in (read_head, read_facts, read_pack):
            with pytest.raises(StoreCorrupted):
                read(path, RELEASE.id)


def test_a_pack_with_something_added_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreCorrupted):
        read_pack(stored(tmp_path, PACK + b"\0"), RELEASE.id)


@given(bit=st.integers(0, len(PACK) * 8 - 1))
def test_one_flipped_bit_anywhere_is_found(folder: Path, bit: int) -> None:
    damaged = bytearray(PACK)
    damaged[bit // 8] ^= 1 << bit % 8
    path = stored(folder, bytes(damaged))
    # One of a few bits of the format's number makes it a later one.
    with pytest.raises(StoreError, match=r"rebuilds|another version"):
        read_pack(path, RELEASE.id)


@given(data=st.binary(max_size=400), valid_start=st.booleans())
def test_arbitrary_bytes_are_refused_and_nothing_else_happens(
    folder: Path, data: bytes, valid_start: bool
) -> None:
    path = stored(folder, MAGIC + data if valid_start else data)
    for read in (read_head, read_facts, read_pack):
        with pytest.raises(StoreCorrupted):
            read(path, RELEASE.id)


def test_another_releases_pack_under_this_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreCorrupted, match="another release"):
        read_pack(stored(tmp_path, PACK), "0" * 64)


def test_a_body_that_does_not_make_the_id_is_refused_though_all_checksums_are_right(
    tmp_path: Path,
) -> None:
    body = b"user: {secret}"
    index = json.dumps(
        {
            "layers": ["memory:"],
            "prompts": [["greeting", len(body), sha256(body).hexdigest(), 0, ""]],
            "clean": "all",
            "findings": [],
        }
    ).encode()
    with pytest.raises(StoreCorrupted, match="not what its name says"):
        read_pack(stored(tmp_path, forged({}, index, body)), RELEASE.id)


def test_a_name_that_is_there_twice_is_refused_though_the_last_makes_the_id(
    tmp_path: Path,
) -> None:
    made = Release.of([Prompt("a", b"user: x")])
    index = index_of(["a", 1, "", 0, ""], ["a", 7, "", 0, ""])
    path = stored(tmp_path, forged({"release": made.id}, index, b"?user: x"))
    with pytest.raises(StoreCorrupted, match="makes no sense"):
        read_pack(path, made.id)


def index_of(*prompts: object, layers: object = ("m",), findings: object = ()) -> bytes:
    facts = {"layers": layers, "prompts": prompts, "clean": [], "findings": findings}
    return json.dumps(facts).encode()


HOSTILE_INDEXES = {
    "empty": b"",
    "no object": b"[]",
    "no prompts": b"{}",
    "a negative length": index_of(["a", -1, "", 0, ""]),
    "a length past the end": index_of(["a", 9, "", 0, ""]),
    "no such layer": index_of(["a", 0, "", 7, ""]),
    "a name that is no text": index_of([{}, 0, "", 0, ""]),
    "a name that is a number": index_of([1, 0, "", 0, ""]),
    "a lone surrogate": index_of(["\ud800", 0, "", 0, ""]),
    "a length that is no number": index_of(["a", "0", "", 0, ""]),
    "twice the same name": index_of(["a", 0, "", 0, ""], ["a", 0, "", 0, ""]),
    "deep": b"[" * 400_000,
    "many parts": b'{"prompts":[' + b"[]," * 1_000_000 + b"0]}",
    "a long number": b'{"prompts":' + b"9" * 100_000 + b"}",
    "a finding that is none": index_of(findings=[3]),
}


@pytest.mark.parametrize("kind", HOSTILE_INDEXES)
def test_a_hostile_index_is_refused_within_bounded_memory(tmp_path: Path, kind: str) -> None:
    path = stored(tmp_path, forged({}, HOSTILE_INDEXES[kind]))
    tracemalloc.start()
    try:
        with pytest.raises(StoreCorrupted):
            read_pack(path, RELEASE.id)
        with suppress(StoreCorrupted):
            read_facts(path, RELEASE.id)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "head",
    [
        {"index_bytes": 1 << 40},
        {"index_bytes": -1, "body_bytes": 1},
        {"body_bytes": "many"},
        {"prompts": 1 << 60},
        {"layers": 3},
        {"layers": [["one"]]},
        {"unknown": 1},
        {"release": None},
    ],
    ids=str,
)
def test_a_hostile_head_is_refused(tmp_path: Path, head: dict[str, Any]) -> None:
    with pytest.raises(StoreCorrupted):
        read_pack(stored(tmp_path, forged(head, b"{}")), RELEASE.id)


def test_a_head_of_four_gigabytes_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(StoreCorrupted, match="too large"):
        read_head(stored(tmp_path, MAGIC + b"\xff" * 36), RELEASE.id)


def test_a_release_that_is_too_large_to_be_read_is_not_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pack, "MAX_BODIES", 20)
    with pytest.raises(StoreError, match="too large to keep"):
        encode_pack(RELEASE)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="brackets"):
        encode_pack(Release.of([Prompt("[" * (pack.MAX_BRACKETS + 1), b"")]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
def test_a_fifo_or_a_link_in_a_packs_place_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StoreCorrupted, match="regular file"):
        read_pack(tmp_path / "fifo", RELEASE.id)
    (tmp_path / "link").symlink_to(stored(tmp_path, PACK))
    with pytest.raises(OSError, match="symbolic links"):
        read_pack(tmp_path / "link", RELEASE.id)
