"""The index by which a web server's files are a layer: written for a folder, and parsed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from yamlgraph_prompts._files.disk import replace
from yamlgraph_prompts.errors import LayerUnavailable
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources.directory import DirectorySource
from yamlgraph_prompts.sources.layer_files import escapes, sort_out

INDEX = "index.json"
VERSION = 1
LIMIT_ENTRIES = 30_000

_DIGEST = re.compile(r"[0-9a-f]{64}")
_RELATIVE = re.compile(r"[\w.~%!$&'()*+,;=:@/-]+", re.ASCII)


def write_index(folder: str | os.PathLike[str]) -> Path:
    """Writes ``index.json`` for a folder of prompts, so that a web server can serve it as a layer.

    Raises:
        LayerError: The folder cannot be read, or holds files that a layer may not have.
    """
    path = Path(folder)
    snapshot = DirectorySource(str(path)).read()
    for finding in snapshot.findings:
        if finding.severity == "error":
            raise LayerUnavailable(str(finding), layer=str(path))
    replace(path / INDEX, index_of(snapshot.files), 0o644)
    return path / INDEX


def index_of(files: Mapping[str, bytes]) -> bytes:
    """The index of these files, path → bytes.

    Example:
        >>> print(index_of({"a.yaml": b"user: x"}).decode())  # doctest: +ELLIPSIS
        {
         "version": 1,
         "files": {
          "a.yaml": {
           "sha256": "...",
           "size": 7
          }
         }
        }
    """
    listed = {
        path: {"sha256": sha256(data).hexdigest(), "size": len(data)}
        for path, data in sorted(files.items())
    }
    return json.dumps({"version": VERSION, "files": listed}, indent=1).encode()


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an index: its path within the layer, its URL below it, its digest and its size."""

    path: str
    url: str
    sha256: str
    size: int


def entries_of(index: bytes, url: str) -> tuple[list[Entry], tuple[Finding, ...]]:
    """The files of an index that are to be read, and the findings about the others."""
    try:
        document = json.loads(index)
        if document["version"] != VERSION:
            raise ValueError(f"its version is not {VERSION}")
        if len(document["files"]) > LIMIT_ENTRIES:
            raise ValueError(f"it lists more than {LIMIT_ENTRIES:,} files")
        entries = {path: _entry(path, facts) for path, facts in document["files"].items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as problem:
        why = str(problem) if type(problem) is ValueError else "it does not have the right form"
        text = f"{url}{INDEX} is no index of prompts: {why}."
        hint = "Write it with write_index."
        raise LayerUnavailable(text, layer=url, hint=hint) from None
    wanted, findings = sort_out(entries, url)
    return list(wanted.values()), findings


def _entry(path: str, facts: Mapping[str, Any]) -> Entry:
    digest, size = facts["sha256"], facts["size"]
    url = facts["url"] if "url" in facts else quote(path, errors="replace")
    if not _DIGEST.fullmatch(digest) or type(size) is not int or size < 0:
        raise TypeError
    if "url" in facts and (not _RELATIVE.fullmatch(url) or escapes(unquote(url))):
        raise ValueError("a file's url leads elsewhere")
    return Entry(path, url, digest, size)
