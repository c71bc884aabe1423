"""What goes in and out of the routes of versions as JSON. Shapes only."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from yamlgraph_prompts._model.release import Status
from yamlgraph_prompts._model.version import Version
from yamlgraph_prompts.admin.bodies import (
    LINE_PATTERN,
    MAX_NAME,
    NAME_PATTERN,
    Body,
    FindingBody,
    Use,
)


class VersionLine(BaseModel):
    """A version of a prompt. It never changes."""

    number: int
    sha256: str
    at_s: float = Field(description="When it was made, in seconds since the epoch")
    who: str
    message: str
    metadata: dict[str, Any]
    parent: str = Field(description="What it was made from, as `name@number`")
    active: list[str] = Field(description="The environments in which it is active")

    @classmethod
    def of(cls, version: Version, **more: Any) -> Self:
        facts = {name: getattr(version, name) for name in VersionLine.model_fields}
        return cls(**{**facts, **more, "active": list(version.active)})


class VersionPage(BaseModel):
    """The versions of a prompt, newest first."""

    name: str
    total: int
    versions: list[VersionLine]
    uses: list[Use]


class VersionBody(VersionLine):
    """A version with its text."""

    name: str
    text: str | None = Field(description="The YAML file; null once it was purged")


class VersionAsked(Body):
    """A version to make."""

    name: Annotated[str, Field(max_length=MAX_NAME, pattern=NAME_PATTERN)]
    content: str | dict[str, Any] = Field(description="Its YAML text, or its content as an object")
    is_active: bool = Field(False, description="Whether to activate it in this environment")
    metadata: dict[str, Any] = Field({}, description="What else to note")
    message: str = ""
    parent: str = Field("", description="What it was made from, as `name@number`")


class PromotionAsked(Body):
    """What to promote to this environment."""

    source: Annotated[str, Field(alias="from", max_length=100)]
    names: list[Annotated[str, Field(max_length=MAX_NAME)]] | None = Field(
        None, max_length=10_000, description="Only these prompts; null: all"
    )
    message: Annotated[str, Field(max_length=500, pattern=LINE_PATTERN)] = ""
    dry_run: bool = Field(False, description="Only say what would change")


class Promoted(BaseModel):
    """One prompt of a promotion: the active version before and after; null: none."""

    name: str
    before: int | None
    after: int | None
    uses: list[Use]


class Promotion(BaseModel):
    """The result of a promotion."""

    status: Status
    changes: list[Promoted]
    release: str | None
    findings: list[FindingBody]
