"""A bucket's list: its pages, and the channels in it. Sends no request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_plus

from yamlgraph_prompts.sources.s3.bounds import NoProgress, TooMuch

RELEASES = ".releases/"

LIMIT_PAGE_BYTES = 4 << 20  # 1,000 keys of 1,024 bytes, each quoted
LIMIT_IDLE_PAGES = 16  # a bucket full of deletion markers lists some empty pages
LIMIT_MARKS = 100_000  # of elements and attributes; a page of 1,000 keys has about 30,000
LIMIT_KEY = 1_024  # as S3's own
LIMIT_ETAG = 256
LIMIT_TOKEN = 8_192
LIMIT_SIZE = 1 << 50

_OF_CHANNEL = re.compile(rf"{re.escape(RELEASES)}(.+)/(?:current|log/([0-9]{{20}})\.json)")
# A long namespace is repeated in the name of every element below it.
_LONG_ATTRIBUTE = re.compile(rb"""=\s*(?:"[^"]{200}|'[^']{200})""")


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a list: the key without the prefix, the ETag without quotes."""

    key: str
    etag: str
    size: int


@dataclass(frozen=True, slots=True)
class ListPage:
    """One page: its lines, the folders before a delimiter, and the next page's token."""

    listed: list[Listed]
    folders: list[str]
    token: str | None


class CutOff(Exception):
    """An answer that is no list, or has no token for the next page."""


def all_pages(ask: Callable[[str | None], ListPage], limit: int) -> Iterator[ListPage]:
    """Every page of a list, if they bring something new and are at most `limit`."""
    token: str | None = None
    tokens: set[str] = set()
    names: set[str] = set()
    idle = 0
    for _ in range(limit):
        page = ask(token)
        yield page
        token = page.token
        if token is None:
            return
        before = len(names)
        names.update((one.key for one in page.listed), page.folders)
        idle = 0 if len(names) > before else idle + 1
        if token in tokens or idle > LIMIT_IDLE_PAGES:
            raise NoProgress("its list is cut off or endless, its pages bring nothing new")
        tokens.add(token)
    raise TooMuch(f"its list has more than {limit:,} pages")


def read_page(data: bytes, prefix: str) -> ListPage | None:
    """The page in a body that `refuse_bomb` let pass; None if it is none."""
    from xml.etree import ElementTree

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
                decoded(line.findtext(f"{space}Key", "")).removeprefix(prefix),
                line.findtext(f"{space}ETag", "").strip('"'),
                int(line.findtext(f"{space}Size", "0")),
            )
            for line in page.findall(f"{space}Contents")
        ]
    except ValueError:
        return None
    folders = [
        decoded(name.text or "").removeprefix(prefix)
        for name in page.findall(f"{space}CommonPrefixes/{space}Prefix")
    ]
    if page.findtext(f"{space}IsTruncated") != "true":
        return _plausible(listed, folders, None)
    token = page.findtext(f"{space}NextContinuationToken")
    return _plausible(listed, folders, token) if token else None


def refuse_bomb(data: bytes) -> None:
    """Raise `TooMuch` for a document that a parser would make much larger than it is."""
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


def channels(listing: Iterable[Listed]) -> dict[str, int]:
    """Each channel with a history below the prefix → the number of its last entry, 0 for none."""
    found: dict[str, int] = {}
    for one in listing:
        if match := _OF_CHANNEL.fullmatch(one.key):
            channel, number = match.groups()
            found[channel] = max(found.get(channel, 0), int(number or 0))
    return found
