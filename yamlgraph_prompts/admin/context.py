"""The parts of one admin app, and what its routes share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Path, Request

from yamlgraph_prompts.admin.api.feed import Feed
from yamlgraph_prompts.admin.audit import Audit
from yamlgraph_prompts.admin.bodies import MAX_NAME, NAME_PATTERN, Problem
from yamlgraph_prompts.admin.desk import Desk
from yamlgraph_prompts.admin.last_live import LastLive
from yamlgraph_prompts.admin.problems import Refusal
from yamlgraph_prompts.admin.security.auth import Role, Who
from yamlgraph_prompts.admin.security.gate import address, sender, unknown
from yamlgraph_prompts.live_prompts import LivePrompts
from yamlgraph_prompts.metrics import Metrics
from yamlgraph_prompts.registry.ports import Versions

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.channel import Channel


@dataclass(frozen=True)
class Admin:
    """The parts of one admin app."""

    prompts: LivePrompts
    write_to: int | None  # the layer that is written to, counted from the highest
    # Where that layer's releases are published; None for another kind of layer.
    bucket: Channel | None
    audit: Audit
    last_live: LastLive  # the last destinations of prompts that are not live any more
    desk: Desk  # runs reads
    trials: Desk  # runs previews, checks and diffs, which wait for a worker process
    changes: Desk  # runs changes of prompts
    commands: Desk  # runs activations and rollbacks: neither readers nor authors keep it busy
    checkups: Desk  # runs health checks
    # Held by the one request that reads the layers now, so that a publication waits for one only.
    looking: Lock
    feed: Feed  # the listeners to events
    metrics: Metrics
    # The environments in which authors may activate versions in a database.
    authors_activate: frozenset[str]

    @property
    def versions(self) -> Versions | None:
        """The versions of the layer that is written to; None where it is no database."""
        registry = self.bucket.registry if self.bucket else None
        return registry if isinstance(registry, Versions) else None

    def may_activate(self, who: Who) -> bool:
        """Whether they may make a version of a prompt active."""
        authors_may = self.versions is None or self.prompts.environment in self.authors_activate
        return who.may("operator") or authors_may

    def count(self, refusal: Refusal) -> None:
        """Count a refusal in the metrics."""
        self.metrics.refused(self.prompts.environment, refusal.reason)


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, and their address."""

    who: Who
    address: str


def _needs(role: Role) -> Callable[[Request], Awaitable[Caller]]:
    async def caller(request: Request) -> Caller:
        who = sender(request.scope)
        if who is None:
            raise unknown("A token is needed.")
        if not who.may(role):
            text = f"This needs the role {role}; yours is {who.role}."
            hint = "Ask a person with that role."
            raise Refusal(403, "role", text, hint=hint)
        return Caller(who, address(request.scope))

    return caller


Viewer = Annotated[Caller, Depends(_needs("viewer"))]
Author = Annotated[Caller, Depends(_needs("author"))]
Operator = Annotated[Caller, Depends(_needs("operator"))]

AnyName = Annotated[str, Path(min_length=1, max_length=2000, description="A prompt's name")]
NewName = Annotated[
    str,
    Path(
        max_length=MAX_NAME,
        pattern=NAME_PATTERN,
        description="A prompt's name: ASCII letters, digits, `_`, `-` and `.`, folders with `/`",
    ),
]

_PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}

_WORDS = {
    400: "The request is broken",
    401: "No token, or an unknown one",
    403: "The role does not allow it, or the layer cannot be written",
    404: "Not found",
    408: "The body arrived too slowly",
    409: "The current state does not allow it",
    412: "The prompt was changed in the meantime",
    413: "The body is too large",
    414: "The path is too long",
    415: "The type of the body is not supported",
    421: "The Host header does not name this server",
    422: "Findings reject it, or the request does not fit",
    429: "Too many wrong tokens came from this address",
    431: "The headers are too large",
    500: "Internal error",
    503: "Temporarily not possible, because of a layer, the store or a time limit",
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route may answer with, for the OpenAPI document."""
    always = (401, 403, 414, 421, 422, 429, 431, 500, 503)
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": _WORDS[status], "content": _PROBLEM}
        for status in sorted({*always, *statuses})
    }
    # One by its model, so that the document has it; a model for each costs 100 ms at the start.
    responses[422] = {"description": _WORDS[422], "model": Problem}
    return responses
