"""Previews, checks and diffs of text that is not trusted, in worker processes and nowhere else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from yamlgraph_prompts._check.facts import FileFacts, KnownFacts
from yamlgraph_prompts._isolation.pool import Answer, Pool
from yamlgraph_prompts._model.release import ReleaseDiff
from yamlgraph_prompts._text.diff import too_different
from yamlgraph_prompts.errors import WorkStopped

SECONDS = 5.0
DIFF_CHARACTERS = 4 << 20  # of the texts that are compared for one answer

pool = Pool(["preview", "examine", "drafts", "version", "yaml", "diff"], processes=2, nice=10)
"""The worker processes of previews, checks and diffs, of which there are two."""

Known = Mapping[str, FileFacts]


class Unfit(Exception):
    """The request's content is not valid; the message has the place and the reason."""


@dataclass
class Drafts:
    """Drafts that were sent to be checked."""

    files: dict[str, bytes | None] = field(default_factory=dict)  # None: to remove the prompt
    known: dict[str, FileFacts] = field(default_factory=dict)  # by the files' SHA-256
    strict: bool = False  # whether warnings of some kinds are errors


def preview(name: str, data: bytes | None, request: bytes | Mapping[str, Any]) -> Answer:
    return pool.answer("preview", (name, data, request), seconds=SECONDS)


def read_drafts(body: bytes) -> Drafts:
    """The drafts that a JSON text holds, each examined."""
    drafts = Drafts()

    def take(facts: Mapping[str, Any], data: bytes) -> None:
        if "unfit" in facts:
            raise Unfit(facts["unfit"])
        if "strict" in facts:
            drafts.strict = facts["strict"]
            return
        drafts.files[facts["name"]] = None if facts["facts"] is None else data
        if facts["facts"] is not None:
            drafts.known[sha256(data).hexdigest()] = KnownFacts(facts["facts"])

    pool.run("drafts", body, take, seconds=SECONDS)
    return drafts


def examined(files: Iterable[bytes | None]) -> Known:
    """The facts of each file, by its SHA-256 digest."""
    known = [data for data in files if data is not None]
    facts: list[FileFacts] = []
    if known:
        pool.run("examine", known, lambda one, _: facts.append(KnownFacts(one)), seconds=SECONDS)
    return {sha256(data).hexdigest(): one for data, one in zip(known, facts, strict=True)}


def as_yaml(body: bytes) -> bytes:
    """The file of a prompt whose content was sent as JSON."""
    facts, data = pool.answer("yaml", body, seconds=SECONDS)
    if "unfit" in facts:
        raise Unfit(facts["unfit"])
    return data


def read_version(body: bytes) -> tuple[Mapping[str, Any], bytes]:
    """What a JSON text says of a version, and the version's file."""
    facts, data = pool.answer("version", body, seconds=SECONDS)
    if "unfit" in facts:
        raise Unfit(facts["unfit"])
    return facts, data


def unified(diff: ReleaseDiff) -> bytes:
    """Each prompt's name and unified diff, as a JSON text; a statement for those too different."""
    pairs, rest = _pairs(diff, diff.names)
    body = b"[]"
    try:
        _, body = pool.answer("diff", ("unified", pairs), seconds=SECONDS)
    except WorkStopped:
        rest = {**{name: _statement(texts) for name, texts in pairs}, **rest}
    more = [{"name": name, "diff": f"@@ {statement} @@\n"} for name, statement in rest.items()]
    parts = [part for part in (body[1:-1], json.dumps(more)[1:-1].encode()) if part]
    return b"[" + b",".join(parts) + b"]"


def side_by_side(diff: ReleaseDiff, names: Iterable[str]) -> dict[str, list[Any]]:
    """Each prompt's name → rows; see `text.diff.Row`."""
    pairs, rest = _pairs(diff, names)
    rows: dict[str, list[Any]] = {}

    def take(facts: Mapping[str, Any], _: bytes) -> None:
        rows[facts["name"]] = facts["rows"]

    with suppress(WorkStopped):
        pool.run("diff", ("rows", pairs), take, seconds=SECONDS)
    rest = {**{name: _statement(texts) for name, texts in pairs if name not in rows}, **rest}
    for name, statement in rest.items():
        rows[name] = [{"kind": "too-different", "text": f"{statement}."}]
    return rows


Texts = tuple[str, str, str, str]


def _pairs(
    diff: ReleaseDiff, names: Iterable[str]
) -> tuple[list[tuple[str, Texts]], dict[str, str]]:
    """The texts to compare, and a statement for each pair that is too long for that."""
    left = DIFF_CHARACTERS
    pairs: list[tuple[str, Texts]] = []
    rest: dict[str, str] = {}
    for name in names:
        texts = diff.texts(name)
        left -= len(texts[0]) + len(texts[1])
        if left < 0:
            rest[name] = _statement(texts)
        else:
            pairs.append((name, texts))
    return pairs, rest


def _statement(texts: Texts) -> str:
    return too_different(len(texts[0].splitlines()), len(texts[1].splitlines()))
