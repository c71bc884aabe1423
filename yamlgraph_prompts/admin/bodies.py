"""What goes in and out of the admin API as JSON. Shapes only."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from yamlgraph_prompts._model.graph import PromptUse
from yamlgraph_prompts._model.release import Prompt, Status
from yamlgraph_prompts.findings import Finding, printable

MAX_NAME = 250
NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
# What the routes of versions end in, after a prompt's name, and the method that they take.
_RESERVED = {
    "GET": re.compile(r"(^|/)versions(/[0-9]+(/diff/[0-9]+)?)?$"),
    "PUT": re.compile(r"(^|/)activate/[0-9]+$"),
}
LINE_PATTERN = r"^[^\x00-\x1f\x7f]*$"


def reserved(name: str) -> str | None:
    """The method of the route of versions that a prompt's name would hide."""
    return next((method for method, end in _RESERVED.items() if end.search(name)), None)


class Body(BaseModel):
    """A request: unknown keys are errors, and so is a number for a boolean."""

    model_config = ConfigDict(extra="forbid", strict=True)


class FindingBody(BaseModel):
    """One thing that the check found."""

    severity: Literal["error", "warning"]
    code: str
    message: str
    prompt: str | None = None
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None
    graph: str | None = None

    @classmethod
    def of(cls, finding: Finding) -> Self:
        facts = asdict(finding)
        for name in ("message", "prompt", "file", "hint", "graph"):
            facts[name] = facts[name] and printable(facts[name])
        return cls(**facts)


class Current(BaseModel):
    """A prompt as the layers have it now."""

    sha256: str
    text: str
    layer: str


class Problem(BaseModel):
    """Every error has this body."""

    code: str = Field(description="A stable code for the error")
    message: str
    hint: str | None = None
    findings: list[FindingBody] = []
    current: Current | None = Field(None, description="With 412: the current prompt")


class Use(BaseModel):
    """A place that uses a prompt."""

    graph: str
    node: str
    kind: str
    line: int | None = None

    @classmethod
    def of(cls, graph: str, use: PromptUse) -> Self:
        return cls(graph=graph, node=use.node, kind=use.kind, line=use.line)


class PromptLine(BaseModel):
    """A prompt in a list."""

    name: str
    layer: str
    file: str
    sha256: str
    uses: list[Use]


class PromptPage(BaseModel):
    """Some of a release's prompts, by name."""

    release: str
    total: int
    prompts: list[PromptLine]


class PromptBody(PromptLine):
    """A prompt."""

    release: str
    text: str = Field(description="The YAML file")
    system: str | None = None
    user: str | None = None
    variables: list[str] | None = None
    locked: str | None = Field(None, description="Why it cannot be changed here; null if it can")


class Change(BaseModel):
    """The result of a write."""

    status: Status | Literal["stored"] = Field(description="`stored`: a version that is not active")
    message: str | None = Field(
        None, description="Why it is written but not live; null if it is live"
    )
    hint: str | None = Field(None, description="What to do to make it live")
    name: str
    sha256: str | None
    release: str | None
    held: bool
    findings: list[FindingBody]
    elapsed_s: float
    version: int | None = Field(description="In a database, the number of the version")
    uses: list[Use] = Field(description="Who uses the prompt")


class Reach(BaseModel):
    """Whom an activation reaches: everyone who shares the store, and who reads the bucket."""

    message: str = Field(description="The same in words")
    store: str | None = Field(description="The store folder; null if only this process uses it")
    workers: int = Field(description="Running processes of this host that share the store")
    taken: int = Field(description="How many of them serve the release now")
    bucket: str | None = Field(
        None, description="The bucket that it was also published to, for all its readers"
    )
    trouble: str | None = Field(None, description="Why the readers of the bucket do not get it")


class Activation(BaseModel):
    """The result of a reload, an activation, a rollback or a follow."""

    status: Status
    release: str | None
    held: bool
    findings: list[FindingBody]
    elapsed_s: float
    reach: Reach


class ReleaseLine(BaseModel):
    """A release in the history."""

    id: str
    environment: str | None
    at_s: float = Field(description="When it last became live, in seconds since the epoch")
    reason: str
    live: bool
    held: bool
    prompts: int
    who: str = Field(description="Who made it live; a process if it was not asked for")
    message: str = Field(description="What for")


class ReleaseList(BaseModel):
    """The releases that are kept, newest first."""

    releases: list[ReleaseLine]


class ReleasePrompt(BaseModel):
    """A prompt of a release."""

    name: str
    sha256: str
    layer: str

    @classmethod
    def of(cls, prompt: Prompt) -> Self:
        return cls(name=prompt.name, sha256=prompt.sha256, layer=prompt.layer)


class ReleaseLayer(BaseModel):
    """A layer that a release was made from."""

    url: str
    version: str


class ReleaseBody(BaseModel):
    """A release."""

    id: str
    environment: str | None
    live: bool
    layers: list[ReleaseLayer]
    prompts: list[ReleasePrompt]


class PromptDiff(BaseModel):
    """One prompt's change."""

    name: str
    diff: str = Field(description="A unified diff")


class DiffBody(BaseModel):
    """What changes when `after` follows `before`."""

    before: str
    after: str
    added: list[str]
    removed: list[str]
    changed: list[str]
    diffs: list[PromptDiff]


PromptText = Annotated[
    str | dict[str, Any], Field(description="A prompt's YAML text, or its content as an object")
]


class PreviewAsked(Body):
    """What to render."""

    variables: dict[str, Any] = {}
    text: PromptText | None = Field(None, description="Unsaved text; default: the live text")


class MessageBody(BaseModel):
    """A message as the model gets it."""

    role: str
    content: Any


class Preview(BaseModel):
    """A rendered prompt."""

    messages: list[MessageBody]
    variables: list[str]
    findings: list[FindingBody]


class CheckAsked(Body):
    """Which drafts to check."""

    prompts: dict[Annotated[str, Field(max_length=MAX_NAME)], PromptText | None] = Field(
        {}, max_length=1000, description="Name → text, or null to check its removal"
    )
    strict: bool = False


class Checked(BaseModel):
    """The result of a check of the layers with drafts."""

    ok: bool
    release: str
    findings: list[FindingBody]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class LayerHealth(BaseModel):
    """The state of a layer."""

    url: str
    age_s: float | None = Field(description="Seconds since it was last read successfully")
    trouble: str | None
    writable: bool


class LastPublication(BaseModel):
    """The result of the last publication."""

    status: Status
    at_s: float
    reason: str
    findings: list[FindingBody]


class Ready(BaseModel):
    """Whether there is a live release; the rest is only for those who have a token."""

    status: Literal["ready", "not-ready"]
    environment: str | None = None
    release: str | None = None
    live_since_s: float | None = None
    held: bool | None = None
    degraded: list[str] | None = None
    layers: list[LayerHealth] | None = None
    last: LastPublication | None = None
    store_trouble: str | None = None
    stale_runs: int | None = None
    following: bool | None = None


class AuditLine(BaseModel):
    """Who did what, when, from where."""

    at_s: float
    who: str
    role: str
    address: str
    action: str
    status: str = Field(description="`begun`, then the result; `written`: not live; or `refused`")
    code: str | None = Field(None, description="Why it was refused: the `code` of the error")
    left_out: int | None = Field(
        None, description="How many refused attempts before this one were not logged"
    )
    prompt: str | None = None
    before: str | None = Field(None, description="The digest before; of a release, its id")
    after: str | None = None
    release: str | None = None
    message: str | None = None


class AuditPage(BaseModel):
    """The newest lines of the audit log, newest first."""

    lines: list[AuditLine]
