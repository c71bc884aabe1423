"""The page's texts for times, reasons and actions. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

_STEPS = ((60, "second"), (60, "minute"), (24, "hour"), (30, "day"), (12, "month"), (0, "year"))

_REASONS = {
    "start": "at the start",
    "first look": "at the start",
    "last good": "the last good one, at the start",
    "as stored": "at the start",
    "attach": "a graph was added",
    "file change": "a file was saved",
    "poll": "a layer changed",
    "call": "published by the app",
    "rollback": "rolled back",
    "follow": "the layers are followed again",
    "another process": "another process did it",
    "stored": "kept, never live",
}
_BY = {
    "put": "changed by",
    "delete": "a prompt was removed by",
    "activate": "made live by",
    "reload": "looked at by",
}
ACTIONS = {
    "put": "changed",
    "delete": "removed",
    "reload": "looked at the layers",
    "activate": "made a release live",
    "rollback": "went back to a release",
    "follow": "followed the layers again",
}
STATUSES = {
    "published": "live",
    "unchanged": "nothing new",
    "held": "saved, not live: held",
    "rejected": "refused",
    "failed": "failed",
    "begun": "did not finish",
}
DEGRADED = {
    "stale-layer": "A layer cannot be read.",
    "rejected-candidate": "A change was refused.",
    "hold": "The release is held.",
    "watcher-restarted": "Watching the files had to be started again.",
    "polling": "Changed files are seen with a delay.",
    "store-trouble": "Releases cannot be kept.",
}


def short(release_id: str | None) -> str:
    return (release_id or "")[:8]


def iso(at_s: float) -> str:
    """A time for machines: a script shows it in the reader's own zone."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(at_s: float) -> str:
    """A time for people without a script."""
    at = datetime.fromtimestamp(at_s, UTC)
    return f"{at.day} {at:%b %Y, %H:%M} UTC"


def age(seconds: float) -> str:
    """How long ago something was; the page's script uses the same texts."""
    count = max(0.0, seconds)
    for size, unit in _STEPS:
        if not size or count < size:
            whole = int(count)
            if unit == "second" and whole < 5:
                return "just now"
            return f"{whole} {unit}{'' if whole == 1 else 's'} ago"
        count /= size
    raise AssertionError


def reason(text: str) -> str:
    verb, _, who = text.partition(" by ")
    if who and verb in _BY:
        return f"{_BY[verb]} {who}"
    return _REASONS.get(text, text)


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def place(url: str) -> str:
    """A layer's URL, short enough to read at a glance."""
    scheme, _, rest = url.rpartition("://")
    parts: Sequence[str] = rest.strip("/").split("/")
    tail = "/".join(parts[-2:]) if len(parts) > 2 else rest.rstrip("/")
    return f"{scheme}://{tail}" if scheme and scheme != "file" else tail
