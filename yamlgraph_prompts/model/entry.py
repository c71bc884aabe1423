"""One line of a registry's history: which release became live, when, by whom and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

LIMIT_MESSAGE = 4_000
LIMIT_WHO = 400

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

    Args:
        number: Its place in the history, from 1, without gaps. A registry sets it.
        arms: The releases that became live; today always one.
        held: Whether the layers are not followed.
        rollout: The state of a rollout; None where there is none.
        who: Who made it live.
        why: What for, as a word for machines: ``"push"``, ``"rollback"``, ``"file change"``.
        message: What for, in that person's words.
        at_s: When, in seconds since the epoch, by the writer's clock.
        previous: The release of the entry before; None for the first.
        prompts: How many prompts the release has; None where that is not known.
        push: A word that no two entries share; empty where the registry needs none.

    Example:
        >>> Entry.of("ab12", why="push", who="Ada").release
        'ab12'
    """

    number: int
    arms: tuple[Arm, ...]
    held: bool = False
    rollout: Mapping[str, Any] | None = None
    who: str = ""
    why: str = ""
    message: str = ""
    at_s: float = 0.0
    previous: str | None = None
    prompts: int | None = None
    push: str = ""

    @classmethod
    def of(cls, release: str, **facts: Any) -> Entry:
        """An entry with one release, for a registry to number."""
        return cls(number=facts.pop("number", 0), arms=(Arm(release),), **facts)

    @property
    def release(self) -> str:
        """The release of the first arm."""
        return self.arms[0].release

    def after(self, last: Entry | None) -> Entry:
        """This entry as the one that follows `last`."""
        return replace(
            self,
            number=last.number + 1 if last else 1,
            previous=last.release if last else None,
        )

    def facts(self) -> dict[str, Any]:
        """The entry as plain data, as the registries store it and the command prints it."""
        facts: dict[str, Any] = {
            "number": self.number,
            "release": self.release,
            "previous": self.previous,
            "at_s": self.at_s,
            "who": self.who,
            "message": self.message,
            "why": self.why,
            "prompts": self.prompts,
            "push": self.push,
        }
        # Left out where they say nothing, so that older versions read what they know.
        if self.held:
            facts["held"] = True
        if self.arms != (Arm(self.release),):
            facts["arms"] = [[arm.release, arm.share] for arm in self.arms]
        if self.rollout is not None:
            facts["rollout"] = dict(self.rollout)
        return facts

    @classmethod
    def of_facts(cls, facts: Any) -> Entry:
        """The entry that `facts` describe. Fields that are not known are ignored.

        Raises:
            ValueError: They describe none.
        """
        if not isinstance(facts, dict):
            raise ValueError("An entry is an object.")
        known = {name: facts.get(name, default) for name, (_, default) in _FIELDS.items()}
        for name, (kinds, _) in _FIELDS.items():
            value = known[name]
            if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
                raise ValueError(f"{name} is missing or of the wrong kind.")
        release, arms = known.pop("release"), known.pop("arms")
        entry = cls(arms=_arms(release, arms), **known)
        if (
            entry.number < 1
            or not 0 <= entry.at_s < _LIMIT_TIME_S
            or len(entry.message) > LIMIT_MESSAGE
            or len(entry.who) > LIMIT_WHO
        ):
            raise ValueError("A field is out of its bounds.")
        return entry


def _arms(release: str, arms: list[Any] | None) -> tuple[Arm, ...]:
    if arms is None:
        return (Arm(release),)
    try:
        read = tuple(Arm(str(name), float(share)) for name, share in arms)
    except (TypeError, ValueError) as problem:
        raise ValueError("arms is of the wrong kind.") from problem
    if not read or read[0].release != release:
        raise ValueError("The first arm is another release.")
    return read


# name → (its types, what it is when left out); `...` fits no type, so it cannot be left out.
_FIELDS: Mapping[str, tuple[Any, Any]] = {
    "number": (int, ...),
    "release": (str, ...),
    "previous": ((str, type(None)), ...),
    "at_s": ((int, float), ...),
    "who": (str, ...),
    "message": (str, ...),
    "why": (str, ...),
    "prompts": ((int, type(None)), None),
    "push": (str, ""),
    "held": (bool, False),
    "arms": ((list, type(None)), None),
    "rollout": ((dict, type(None)), None),
}
