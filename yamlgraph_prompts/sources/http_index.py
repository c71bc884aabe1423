"""Writes the index by which a web server's files are a layer."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from yamlgraph_prompts.errors import LayerUnavailable
from yamlgraph_prompts.files.disk import temporary_name, write_new
from yamlgraph_prompts.sources.directory import DirectorySource

INDEX = "index.json"
VERSION = 1


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
    beside = path / temporary_name()
    write_new(beside, index_of(snapshot.files), 0o644)
    os.replace(beside, path / INDEX)
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
