"""The page's styles and scripts: read once, served compressed and for ever, under their digest."""

from __future__ import annotations

import gzip
from functools import cache
from hashlib import sha256
from importlib.resources import files

from starlette.responses import Response

# gzip is there for text that is sent; below this the headers weigh more.
SMALL = 600
_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FOR_EVER = {"Cache-Control": "public, max-age=31536000, immutable"}


@cache
def _packed() -> dict[str, bytes]:
    """Each file's content, compressed with gzip."""
    folder = files("yamlgraph_prompts.admin.page") / "static"
    every = sorted(folder.iterdir(), key=lambda one: one.name)
    return {one.name: gzip.compress(one.read_bytes(), 9, mtime=0) for one in every}


@cache
def digest() -> str:
    """Changes with any of the files; scripts name each other relatively, so it is one for all."""
    whole = sha256()
    for name, packed in _packed().items():
        whole.update(f"{name} {len(packed)} ".encode())
        whole.update(packed)
    return whole.hexdigest()[:12]


def static(name: str, accepts: str) -> Response | None:
    """The answer with a file; None: there is none of this name."""
    packed = _packed().get(name)
    if packed is None:
        return None
    kind = _TYPES[name.rpartition(".")[2]]
    headers = {**_FOR_EVER, "Vary": "Accept-Encoding"}
    if not takes_gzip(accepts):
        return Response(gzip.decompress(packed), headers=headers, media_type=kind)
    headers["Content-Encoding"] = "gzip"
    return Response(packed, headers=headers, media_type=kind)


def takes_gzip(accepts: str) -> bool:
    """Whether an ``Accept-Encoding`` allows gzip."""
    for item in accepts.lower().split(","):
        coding, _, weight = item.partition(";")
        if coding.strip() in ("gzip", "*"):
            return weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
