"""One page of a bucket's listing, read from its XML. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from yamlgraph_prompts.sources.bounds import TooMuch

LIMIT_MARKS = 100_000  # of elements and attributes; a page of 1,000 keys has about 30,000
LIMIT_KEY = 1_024  # as S3's own
LIMIT_ETAG = 256
LIMIT_TOKEN = 8_192
LIMIT_SIZE = 1 << 50

# A long namespace is repeated in the name of every element below it.
_LONG_ATTRIBUTE = re.compile(rb"""=\s*(?:"[^"]{200}|'[^']{200})""")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing. The ETag has no quotes."""

    key: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page: its lines, the folders below a delimiter, and where the next page begins."""

    listed: list[Listed]
    folders: list[str]
    token: str | None

    @property
    def names(self) -> set[str]:
        """What it lists."""
        return {*(one.key for one in self.listed), *self.folders}


def read_page(data: bytes) -> ListPage | None:
    """The page in a body; None for what is no such page.

    Raises:
        TooMuch: It is made to grow when it is read.
    """
    from xml.etree import ElementTree

    refuse_bomb(data)
    try:
        # A text is read as UTF-8, whatever it declares, so nothing hides behind an encoding.
        page = ElementTree.fromstring(data.decode())
    except (ElementTree.ParseError, ValueError):
        return None
    if not page.tag.endswith("ListBucketResult"):
        return None
    space = page.tag[: -len("ListBucketResult")]
    decoded = unquote_plus if page.findtext(f"{space}EncodingType") == "url" else str
    try:
        listed = [
            Listed(
                decoded(line.findtext(f"{space}Key", "")),
                line.findtext(f"{space}ETag", "").strip('"'),
                int(line.findtext(f"{space}Size", "0")),
            )
            for line in page.findall(f"{space}Contents")
        ]
    except ValueError:
        return None
    folders = [
        decoded(name.text or "") for name in page.findall(f"{space}CommonPrefixes/{space}Prefix")
    ]
    if page.findtext(f"{space}IsTruncated") != "true":
        return _plausible(listed, folders, None)
    token = page.findtext(f"{space}NextContinuationToken")
    return _plausible(listed, folders, token) if token else None


def page_of(answer: Mapping[str, Any]) -> ListPage | None:
    """The page in what boto3 gives; None for one that does not say whether and how it goes on."""
    # boto3 takes any other document for an empty list.
    more = answer.get("IsTruncated")
    token = answer.get("NextContinuationToken") if more else None
    if more is None or (more and not token):
        return None
    listed = [
        Listed(one["Key"], one.get("ETag", "").strip('"'), one.get("Size", 0))
        for one in answer.get("Contents", ())
    ]
    folders = [one["Prefix"] for one in answer.get("CommonPrefixes", ())]
    return _plausible(listed, folders, token)


def refuse_bomb(data: bytes) -> None:
    """Refuse a document that a parser would make much larger than it is.

    Raises:
        TooMuch: It defines entities, has a long namespace, or more elements than an answer has.
    """
    if (
        b"<!DOCTYPE" in data
        or data.count(b"<") + data.count(b"=") > LIMIT_MARKS
        or _LONG_ATTRIBUTE.search(data)
    ):
        raise TooMuch("its XML has entities, long attributes or too many elements")


def _plausible(listed: list[Listed], folders: list[str], token: str | None) -> ListPage | None:
    """The page, unless no bucket can have what it lists."""
    for one in listed:
        if len(one.key) > LIMIT_KEY or len(one.etag) > LIMIT_ETAG or not 0 <= one.size < LIMIT_SIZE:
            return None
    if any(len(name) > LIMIT_KEY for name in folders) or len(token or "") > LIMIT_TOKEN:
        return None
    return ListPage(listed, folders, token)
