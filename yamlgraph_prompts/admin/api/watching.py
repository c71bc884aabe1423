"""Health, metrics and events. Health needs no token, its details do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from yamlgraph_prompts.admin.api.feed import EventStream
from yamlgraph_prompts.admin.bodies import Alive, FindingBody, LastPublication, LayerHealth, Ready
from yamlgraph_prompts.admin.context import Admin, Viewer, answers
from yamlgraph_prompts.admin.security.gate import sender
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.metrics import CONTENT_TYPE

LastEvent = Annotated[
    str | None, Header(max_length=40, description="The number of the last event received")
]

_Answers = dict[int | str, dict[str, Any]]

_TEXT: _Answers = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
_EVENT = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string"},
        "data": {"type": "string", "description": "A JSON object"},
        "retry": {"type": "integer"},
    },
}
_EVENTS: _Answers = {200: {"content": {"text/event-stream": {"schema": _EVENT}}}}
_NOT_READY: _Answers = {
    503: {
        "description": "There is no live release",
        "content": {
            "application/json": {
                "schema": {
                    "anyOf": [
                        {"$ref": "#/components/schemas/Ready"},
                        {"$ref": "#/components/schemas/Problem"},
                    ]
                }
            }
        },
    }
}


def watching(admin: Admin, doors: Sequence[Any]) -> APIRouter:
    """The routes for operation; `doors` are the ways to send a token."""
    routes = APIRouter()
    prompts = admin.prompts

    @routes.get("/health/live", responses=answers(), tags=["health"])
    async def live() -> Alive:
        """The process answers."""
        return Alive()

    @routes.get("/health/ready", responses={**answers(), **_NOT_READY}, tags=["health"])
    async def ready(request: Request, response: Response) -> Ready:
        """Whether there is a live release, also when it is the last good one."""
        if prompts.health.release is None:
            await admin.checkups.do(_start, admin)
        answer = readiness(admin, in_detail=sender(request.scope) is not None)
        if answer.status != "ready":
            response.status_code = 503
        return answer

    @routes.get(
        "/metrics",
        responses={**answers(), **_TEXT},
        response_class=Response,
        dependencies=doors,
        tags=["health"],
    )
    async def metrics(caller: Viewer) -> Response:
        """What is counted, for Prometheus."""
        text = await admin.checkups.do(admin.metrics.exposed)
        return Response(text, media_type=CONTENT_TYPE)

    @routes.get(
        "/events",
        responses={**answers(), **_EVENTS},
        response_class=StreamingResponse,
        dependencies=doors,
        tags=["health"],
    )
    async def events(caller: Viewer, last_event_id: LastEvent = None) -> EventStream:
        """Publications, rejections and trouble as they happen; ends now and then: come back."""
        after = int(last_event_id) if last_event_id and last_event_id.isdecimal() else None
        return EventStream(admin.feed.listen(after))

    return routes


def _start(admin: Admin) -> None:
    # If it cannot start, the answer contains that.
    with suppress(PromptsError):
        admin.prompts.release  # noqa: B018 - the first look starts it


def readiness(admin: Admin, *, in_detail: bool) -> Ready:
    health, now = admin.prompts.health, time.time()
    status: Literal["ready", "not-ready"] = "ready" if health.release is not None else "not-ready"
    if not in_detail:
        return Ready(status=status)
    last = health.last
    return Ready(
        status=status,
        environment=admin.prompts.environment,
        release=health.release,
        live_since_s=health.live_since_s,
        held=health.held,
        degraded=list(health.degraded),
        layers=[
            LayerHealth(
                url=layer.url,
                age_s=None if layer.seen_s is None else max(0.0, now - layer.seen_s),
                trouble=layer.trouble,
                writable=layer.writable,
            )
            for layer in health.layers
        ],
        last=None
        if last is None or health.last_at_s is None
        else LastPublication(
            status=last.status,
            at_s=health.last_at_s,
            reason=last.reason,
            findings=[FindingBody.of(finding) for finding in last.findings],
        ),
        store_trouble=health.store_trouble,
        stale_runs=health.stale_runs,
        following=health.following,
    )
