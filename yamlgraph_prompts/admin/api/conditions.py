"""`If-Match` and `If-None-Match` as sets of digests. Parsed before a write takes any lock."""

from __future__ import annotations

from dataclasses import dataclass

from yamlgraph_prompts.admin.problems import Refusal

LIMIT_CHARS = 4096
ANY = "*"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What must hold of a prompt for a write to go on. None: that header was not sent."""

    match: frozenset[str] | None = None  # one of these digests; `ANY`: any prompt
    none_match: frozenset[str] | None = None  # none of these digests; `ANY`: no prompt

    @classmethod
    def of(cls, if_match: list[str], if_none_match: list[str]) -> Conditions:
        """The conditions of a request; a header that is sent in several lines is one list."""
        return cls(_digests(if_match, weak=False), _digests(if_none_match, weak=True))


def _digests(lines: list[str], *, weak: bool) -> frozenset[str] | None:
    """The entity tags of a header; `weak`: weak ones count too."""
    if sum(map(len, lines)) > LIMIT_CHARS:
        raise Refusal(
            431, "headers-too-large", f"A condition may have at most {LIMIT_CHARS} characters."
        )
    tags = [tag.strip() for line in lines for tag in line.split(",")]
    tags = [tag.removeprefix("W/") for tag in tags if weak or not tag.startswith("W/")]
    return frozenset(tag.removeprefix('"').removesuffix('"') for tag in tags) if lines else None
