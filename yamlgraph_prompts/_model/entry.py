"""One line of a registry's history: which release became live, when, by whom and why."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

LIMIT_MESSAGE = 4_000
LIMIT_WHO = 400
LIMIT_WHY = 500
UNDOING_WITHIN_S = 600.0

# In the year 5138; no calendar goes much further.
_LIMIT_TIME_S = 1e11


@dataclass(frozen=True, slots=True)
class Arm:
    """A release and its share of new runs, from 0 to 1."""

    release: str
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of an environment's history; never changed, only followed by another.

    Example:
        >>> Entry.of("ab12", why="push", who="Ada").release
        'ab12'
    """

    number: int  # its place in the history, from 1, without gaps; a registry sets it
    arms: tuple[Arm, ...]  # the releases that became live; today always one
    held: bool = False  # whether the layers are not followed
    rollout: Mapping[str, Any] | None = None  # the state of a rollout
    who: str = ""
    why: str = ""  # a code: "push", "rollback", "file change"
    message: str = ""  # the reason, written by a person
    at_s: float = 0.0  # since the epoch, by the writer's clock
    previous: str | None = None  # the release of the entry before
    prompts: int | None = None  # how many the release has, if known
    push: str = ""  # unique to the entry; empty where the registry needs none

    @classmethod
    def of(cls, release: str, **facts: Any) -> Entry:
        """An entry with one release, for a registry to number."""
        return cls(number=facts.pop("number", 0), arms=(Arm(release),), **facts)

    @classmethod
    def now(cls, release: str, *, who: str, why: str, message: str, **facts: Any) -> Entry:
        """As `of`, an entry of this moment; texts that are too long are cut."""
        who, why, message = who[:LIMIT_WHO], why[:LIMIT_WHY], message[:LIMIT_MESSAGE]
        return cls.of(release, who=who, why=why, message=message, at_s=time.time(), **facts)

    @property
    def release(self) -> str:
        """The release of the first arm."""
        return self.arms[0].release

    @property
    def cause(self) -> str:
        """Why it was added, and by whom."""
        return self.why if not self.who or self.who in self.why else f"{self.why} by {self.who}"

    def undone_by(self, release_id: str) -> str | None:
        """What to say of a change to `release_id`, where this is a rollback from it just now."""
        ago_s = time.time() - self.at_s
        if self.why != "rollback" or self.previous != release_id or ago_s > UNDOING_WITHIN_S:
            return None
        return (
            f"{self.who} rolled back from {release_id[:12]} {ago_s / 60:.0f} minutes ago: "
            "this makes it live again."
        )

    def after(self, last: Entry | None) -> Entry:
        """This entry as the one that follows `last`."""
        return replace(
            self, number=last.number + 1 if last else 1, previous=last.release if last else None
        )

    def facts(self) -> dict[str, Any]:
        """The entry as plain data, as the registries store it and the command prints it."""
        facts = {name: getattr(self, name) for name in ("number", "release", *_KINDS)}
        # Left out where they are empty, so that older versions read what they know.
        for name in ("held", "rollout"):
            if not facts[name]:
                del facts[name]
        if self.arms != (Arm(self.release),):
            facts["arms"] = [[arm.release, arm.share] for arm in self.arms]
        return facts

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Entry:
        """The entry that `facts` describe. Fields that are not known are ignored."""
        try:
            values = {"prompts": None, "push": "", "held": False, "rollout": None, **facts}
            known = {name: values[name] for name in _KINDS}
            arms = [Arm(name, float(share)) for name, share in facts.get("arms", ())]
            entry = cls(facts["number"], tuple(arms) or (Arm(facts["release"]),), **known)
        except (LookupError, TypeError, ValueError, AttributeError) as problem:
            raise ValueError("This is no entry.") from problem
        right = all(type(known[name]) in kinds for name, kinds in _KINDS.items())
        if (
            not right
            or type(entry.number) is not int
            or entry.number < 1
            or entry.release != facts["release"]
            or any(type(arm.release) is not str for arm in entry.arms)
            or not 0 <= entry.at_s < _LIMIT_TIME_S
            or len(entry.message) > LIMIT_MESSAGE
            or len(entry.who) > LIMIT_WHO
        ):
            raise ValueError("A field of the entry is not what it should be.")
        return entry


_NONE = type(None)
_KINDS: Mapping[str, tuple[type, ...]] = {
    "previous": (str, _NONE),
    "at_s": (float, int),
    "who": (str,),
    "message": (str,),
    "why": (str,),
    "prompts": (int, _NONE),
    "push": (str,),
    "held": (bool,),
    "rollout": (dict, _NONE),
}
