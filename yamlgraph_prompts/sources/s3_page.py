"""One page of a bucket's listing, read from its XML. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote_plus


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing. The ETag has no quotes."""

    key: str
    etag: str
    size: int


def read_page(data: bytes) -> tuple[list[Listed], str | None] | None:
    """Its lines and where the next page begins; None for what is no such page."""
    from xml.etree import ElementTree

    if b"<!DOCTYPE" in data:
        return None
    try:
        page = ElementTree.fromstring(data)
    except ElementTree.ParseError:
        return None
    if not page.tag.endswith("ListBucketResult"):
        return None
    space = page.tag[: -len("ListBucketResult")]
    decoded = unquote_plus if page.findtext(f"{space}EncodingType") == "url" else str
    listed = [
        Listed(
            decoded(line.findtext(f"{space}Key", "")),
            line.findtext(f"{space}ETag", "").strip('"'),
            int(line.findtext(f"{space}Size", "0")),
        )
        for line in page.iter(f"{space}Contents")
    ]
    if page.findtext(f"{space}IsTruncated") != "true":
        return listed, None
    token = page.findtext(f"{space}NextContinuationToken")
    return (listed, token) if token else None
