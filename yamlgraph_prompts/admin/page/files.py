"""The page's styles and scripts: read once, served compressed and for ever, under their digest."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.responses import Response

# gzip is there for text that is sent; below this the headers weigh more.
SMALL = 600
_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is sent.

    Args:
        kind: Its media type.
        packed: Its content, compressed with gzip.
    """

    kind: str
    packed: bytes


@cache
def _all() -> dict[str, File]:
    folder = files("yamlgraph_prompts.admin.page") / "static"
    return dict(_of(one) for one in sorted(folder.iterdir(), key=lambda one: one.name))


def _of(one: Traversable) -> tuple[str, File]:
    packed = gzip.compress(one.read_bytes(), 9, mtime=0)
    return one.name, File(_TYPES[one.name.rpartition(".")[2]], packed)


@cache
def digest() -> str:
    """Changes with any of the files; scripts name each other relatively, so it is one for all."""
    whole = sha256()
    for name, file in _all().items():
        whole.update(f"{name} {len(file.packed)} ".encode())
        whole.update(file.packed)
    return whole.hexdigest()[:12]


def static(name: str, accepts: str) -> Response | None:
    """The answer with a file; None: there is none of this name."""
    file = _all().get(name)
    if file is None:
        return None
    headers = {**_FOR_EVER, "Vary": "Accept-Encoding"}
    if not takes_gzip(accepts):
        return Response(gzip.decompress(file.packed), headers=headers, media_type=file.kind)
    headers["Content-Encoding"] = "gzip"
    return Response(file.packed, headers=headers, media_type=file.kind)


def takes_gzip(accepts: str) -> bool:
    """Whether an ``Accept-Encoding`` allows gzip."""
    for item in accepts.lower().split(","):
        coding, _, weight = item.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
