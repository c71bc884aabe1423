"""One release in one file: magic, length and SHA-256 of the head, head, index, prompts' bytes.

The head holds the index's digest, the release's id is made from the bytes: nothing read is trusted.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from sys import intern
from types import MappingProxyType
from typing import Any

from yamlgraph_prompts._files.disk import read_file
from yamlgraph_prompts._model.release import LayerVersion, Prompt, Release
from yamlgraph_prompts.errors import StoreCorrupted, StoreError, UnsupportedStore
from yamlgraph_prompts.findings import Finding

_KIND = b"yamlgraph-prompts pack "
MAGIC = _KIND + b"1\n"
MAX_HEAD = 1 << 20
MAX_INDEX = 16 << 20
MAX_BODIES = 64 << 20
MAX_PROMPTS = 100_000
MAX_FINDINGS = 1_000
MAX_BRACKETS = 500_000
_PREFIX = struct.Struct(">I32s")
_START = len(MAGIC) + _PREFIX.size
MAX_PACK = _START + MAX_HEAD + MAX_INDEX + MAX_BODIES
_FIRST_READ = 4096
_FINDING_FIELDS = frozenset(f.name for f in fields(Finding))


@dataclass(frozen=True, slots=True)
class PackHead:
    """The facts of a pack that can be read without its index."""

    release: str
    environment: str | None
    layers: tuple[LayerVersion, ...]
    prompts: int
    created_s: float
    check_version: str
    findings_count: int
    index_sha256: str
    index_at: int
    index_bytes: int
    body_bytes: int


@dataclass(frozen=True, slots=True)
class ReleaseFacts:
    """What a check found in a release, so that the next process need not check it again."""

    findings: tuple[Finding, ...] = ()  # the first 1,000
    clean: frozenset[str] = frozenset()  # the SHA-256, in hex, of each file that it found clean
    check_version: str = ""
    findings_count: int = 0  # of all findings

    @classmethod
    def of(
        cls, findings: Sequence[Finding] = (), clean: Iterable[str] = (), check_version: str = ""
    ) -> ReleaseFacts:
        """The facts to keep of a check."""
        first = tuple(findings[:MAX_FINDINGS])
        return cls(first, frozenset(clean), check_version, len(findings))


NO_FACTS = ReleaseFacts()


def encode_pack(release: Release, facts: ReleaseFacts = NO_FACTS) -> bytes:
    """The bytes of a release's pack."""
    prompts = [(name, release.prompts[name]) for name in sorted(release.prompts)]
    layers = {url: at for at, url in enumerate(dict.fromkeys(p.layer for _, p in prompts))}
    every = {prompt.sha256 for _, prompt in prompts}
    index = _json(
        {
            "layers": list(layers),
            "prompts": [[n, len(p.data), p.sha256, layers[p.layer], p.file] for n, p in prompts],
            "clean": "all" if facts.clean == every else sorted(facts.clean),
            "findings": [asdict(finding) for finding in facts.findings],
        }
    )
    body_bytes = sum(len(prompt.data) for _, prompt in prompts)
    head = _json(
        {
            "release": release.id,
            "environment": release.environment,
            "layers": [[layer.url, layer.version] for layer in release.layers],
            "prompts": len(prompts),
            "created_s": time.time(),
            "check_version": facts.check_version,
            "findings_count": facts.findings_count,
            "index_sha256": sha256(index).hexdigest(),
            "index_bytes": len(index),
            "body_bytes": body_bytes,
        }
    )
    for what, size, limit in (
        ("bytes of prompts", body_bytes, MAX_BODIES),
        ("prompts", len(prompts), MAX_PROMPTS),
        ("bytes of names and findings", len(index), MAX_INDEX),
        ("brackets in names and findings", _brackets(index), MAX_BRACKETS),
        ("bytes of layers", len(head), MAX_HEAD),
    ):
        if size > limit:
            raise StoreError(
                f"Release {release.id[:12]} is too large to keep: {size} {what}, "
                f"and {limit} is the limit.",
                hint="Give it fewer or smaller prompts.",
            )
    prefix = _PREFIX.pack(len(head), sha256(head).digest())
    return b"".join([MAGIC, prefix, head, index, *(prompt.data for _, prompt in prompts)])


def read_head(path: Path, release_id: str) -> PackHead:
    """The head of a pack; cheap, and enough to see that the file is not cut short.

    Raises FileNotFoundError without such a pack, `StoreCorrupted` for a damaged or another one.
    """
    data, facts = read_file(path, _FIRST_READ)
    length = _head_length(data, path)
    if _START + length > len(data):
        data, facts = read_file(path, _START + length)
    return _head(data, facts.st_size, path, release_id)


def read_facts(path: Path, release_id: str) -> ReleaseFacts:
    """The facts of a pack, without its bodies. Raises as `read_head` does."""
    return _facts(*_opened_without_bodies(path, release_id), path)


def read_digests(path: Path, release_id: str) -> Mapping[str, str]:
    """Each prompt's name → its digest in the index. Raises as `read_head` does."""
    _, index = _opened_without_bodies(path, release_id)
    with _sense("index", path):
        # Most are the same in every release of whoever keeps them.
        return {intern(name): intern(digest) for name, _, digest, *_ in index["prompts"]}


def read_pack(path: Path, release_id: str) -> Release:
    """The release in a pack, every byte of it verified. Raises as `read_head` does."""
    data, facts = read_file(path, MAX_PACK)
    return decode_pack(data, release_id, path, facts.st_size)


def read_whole(
    path: Path, release_id: str, known: Mapping[str, Prompt]
) -> tuple[ReleaseFacts, Release]:
    """The results of `read_facts` and `read_pack`, of one read; see `decode_pack`."""
    data, facts = read_file(path, MAX_PACK)
    head, index = _opened(data, release_id, path, facts.st_size)
    return _facts(head, index, path), _release(data, head, index, path, known)


def decode_pack(
    data: bytes,
    release_id: str,
    path: Path | str,
    size: int | None = None,
    *,
    known: Mapping[str, Prompt] = MappingProxyType({}),
) -> Release:
    """The release in a pack's bytes, every one of them verified.

    `path` and `size` are of the file that holds the pack; prompts of `known`, another release, are
    taken as they are where they are the same byte for byte, which is faster.
    """
    head, index = _opened(data, release_id, path, len(data) if size is None else size)
    return _release(data, head, index, path, known)


def _opened_without_bodies(path: Path, release_id: str) -> tuple[PackHead, Mapping[str, Any]]:
    head = read_head(path, release_id)
    return head, _index(read_file(path, head.index_bytes, head.index_at)[0], head, path)


def _opened(
    data: bytes, release_id: str, path: Path | str, size: int
) -> tuple[PackHead, Mapping[str, Any]]:
    head = _head(data, size, path, release_id)
    return head, _index(data[head.index_at : head.index_at + head.index_bytes], head, path)


def _facts(head: PackHead, index: Mapping[str, Any], path: Path | str) -> ReleaseFacts:
    with _sense("index", path):
        clean = index["clean"]
        shas = (entry[2] for entry in index["prompts"]) if clean == "all" else clean
        findings = tuple(_finding(entry) for entry in index["findings"])
        return ReleaseFacts(findings, frozenset(shas), head.check_version, head.findings_count)


def _release(
    data: bytes,
    head: PackHead,
    index: Mapping[str, Any],
    path: Path | str,
    known: Mapping[str, Prompt],
) -> Release:
    with _sense("index", path):
        prompts = _prompts(data, head.index_at + head.index_bytes, index, known)
        release = Release(MappingProxyType(prompts), head.environment, head.layers)
        right = len(prompts) == head.prompts and release.id == head.release
    if not right:
        raise _corrupted(path, "its content is not what its name says")
    return release


def _prompts(
    data: bytes, at: int, index: Mapping[str, Any], known: Mapping[str, Prompt]
) -> dict[str, Prompt]:
    layers: list[str] = index["layers"]
    prompts: dict[str, Prompt] = {}
    for name, length, _sha256, layer, file in index["prompts"]:
        if length < 0 or name in prompts:
            raise ValueError(name)
        body = data[at : at + length]
        at += length
        prompt = known.get(name)
        if not prompt or (prompt.data, prompt.layer, prompt.file) != (body, layers[layer], file):
            # The digest is taken from the bytes, never from the index, and the id is made of these.
            prompt = Prompt(name, body, layers[layer], file)
            prompt.__dict__["sha256"] = sha256(body).hexdigest()
        prompts[name] = prompt
    if at != len(data):
        raise ValueError(at)
    return prompts


def _head_length(data: bytes, path: Path | str) -> int:
    number = data.partition(b"\n")[0].removeprefix(_KIND)
    if data.startswith(_KIND) and number.isdigit() and number > b"1":
        raise UnsupportedStore(path, f"pack {number.decode()}")
    if not data.startswith(MAGIC) or len(data) < _START:
        raise _corrupted(path, "it is not a pack")
    length: int = _PREFIX.unpack_from(data, len(MAGIC))[0]
    if length > MAX_HEAD:
        raise _corrupted(path, "its head is too large")
    return length


def _head(data: bytes, size: int, path: Path | str, release_id: str) -> PackHead:
    length = _head_length(data, path)
    raw = data[_START : _START + length]
    if sha256(raw).digest() != _PREFIX.unpack_from(data, len(MAGIC))[1]:
        raise _corrupted(path, "its head is damaged")
    with _sense("head", path):
        head = json.loads(raw)
        head["layers"] = tuple(LayerVersion(url, version) for url, version in head["layers"])
        known = PackHead(index_at=_START + length, **head)
        fits = (
            known.index_at + known.index_bytes + known.body_bytes == size
            and 0 <= known.index_bytes <= MAX_INDEX
            and 0 <= known.body_bytes <= MAX_BODIES
            and 0 <= known.prompts <= MAX_PROMPTS
        )
    if known.release != release_id:
        raise _corrupted(path, "it is another release's")
    if not fits:
        raise _corrupted(path, "it is cut short or too large")
    return known


def _index(raw: bytes, head: PackHead, path: Path | str) -> Mapping[str, Any]:
    if sha256(raw).hexdigest() != head.index_sha256:
        raise _corrupted(path, "its index is damaged")
    if _brackets(raw) > MAX_BRACKETS:
        raise _corrupted(path, "its index has too many parts")
    with _sense("index", path):
        index: Mapping[str, Any] = {**json.loads(raw)}  # only an object unpacks
    return index


def _brackets(raw: bytes) -> int:
    """An empty list swells thirtyfold when it is parsed, so their number is bounded."""
    return raw.count(b"[") + raw.count(b"{")


def _finding(entry: Mapping[str, Any]) -> Finding:
    return Finding(**{key: value for key, value in entry.items() if key in _FINDING_FIELDS})


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)


@contextmanager
def _sense(part: str, path: Path | str) -> Iterator[None]:
    """Whatever an unexpected value raises in the block, the pack is damaged."""
    try:
        yield
    except _UNREADABLE as error:
        raise _corrupted(path, f"its {part} makes no sense") from error


def _corrupted(path: Path | str, why: str) -> StoreCorrupted:
    return StoreCorrupted(
        f"The stored release {path} is damaged: {why}.",
        hint="It is not served; publishing the same prompts again rebuilds it.",
    )
