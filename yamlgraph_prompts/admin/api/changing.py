"""Changes prompts, and which release is live. Every change is in the audit log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from yamlgraph_prompts._model.release import Outcome
from yamlgraph_prompts.admin.api.conditions import Conditions
from yamlgraph_prompts.admin.api.texts import JSON_TYPE, YAML_TYPES, of_body
from yamlgraph_prompts.admin.api.writing import Wish, not_reserved, rejected, write
from yamlgraph_prompts.admin.bodies import (
    LINE_PATTERN,
    MAX_NAME,
    Activation,
    Change,
    FindingBody,
    Reach,
)
from yamlgraph_prompts.admin.context import Admin, Author, Caller, NewName, Operator, answers
from yamlgraph_prompts.admin.problems import Refusal
from yamlgraph_prompts.admin.security.gate import address, sender
from yamlgraph_prompts.errors import PromptsError, ReleaseNotFound
from yamlgraph_prompts.findings import printable
from yamlgraph_prompts.registry import keeps_releases

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.channel import Channel

# How long an activation waits for the other workers, in seconds.
TAKEN_WITHIN_S = 1.0
# The routes that the audit log records; `put_prompt` is "put" there, `delete_prompt` "delete".
_ACTIONS = frozenset(
    {"put", "delete", "reload", "activate", "rollback", "follow"}
    | {"create_version", "activate_version", "promote"}
)

Message = Annotated[
    str | None, Query(max_length=500, pattern=LINE_PATTERN, description="Why, for the audit log")
]
Match = Annotated[
    str | None, Header(description="The digest of the prompt that you edited, in quotes")
]
NoneMatch = Annotated[str | None, Header(description="`*`: only if there is no such prompt")]


Order = dict[str, str]  # who asks for a change and the message, for the history

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{kind: {"schema": {"type": "string"}} for kind in YAML_TYPES},
            JSON_TYPE: {"schema": {"type": "object"}},
        },
    }
}


WRITTEN: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "Written, but not live: until other errors are fixed (`status` is "
        "`rejected`), or until an operator activates the version (`stored`); see `message`",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Change"}}},
    }
}


def changing(admin: Admin) -> APIRouter:
    """The routes that change something."""
    routes = APIRouter()
    do, command = admin.changes.do, admin.commands.do
    prompts = admin.prompts

    @routes.put(
        "/prompts/{name:path}",
        responses={**answers(400, 408, 409, 412, 413, 415), **WRITTEN},
        openapi_extra=_BODY,
        tags=["prompts"],
    )
    async def put_prompt(
        caller: Author,
        name: NewName,
        request: Request,
        response: Response,
        message: Message = None,
        if_match: Match = None,
        if_none_match: NoneMatch = None,
    ) -> Change:
        """Write a prompt and publish it; checked with all graphs before anything is written."""
        not_reserved(admin, name)
        # In a thread: a JSON object becomes YAML in a worker process.
        data = await do(of_body, request.headers.get("content-type"), await request.body())
        wish = Wish(name, data, conditions_of(request), message)
        change = await do(write, admin, caller, wish)
        response.status_code = status_of(change)
        response.headers["ETag"] = f'"{change.sha256}"'
        return change

    @routes.delete(
        "/prompts/{name:path}",
        responses={**answers(400, 404, 408, 409, 412, 413), **WRITTEN},
        tags=["prompts"],
    )
    async def delete_prompt(
        caller: Author,
        name: NewName,
        request: Request,
        response: Response,
        message: Message = None,
        if_match: Match = None,
    ) -> Change:
        """Remove a prompt; a lower layer's takes its place, where there is one."""
        not_reserved(admin, name)
        conditions = Conditions(match=conditions_of(request).match)
        change = await do(write, admin, caller, Wish(name, None, conditions, message))
        response.status_code = status_of(change)
        return change

    @routes.post("/reload", responses=answers(400, 408, 413), tags=["releases"])
    async def reload(caller: Author, message: Message = None) -> Activation:
        """Look at the layers now."""

        def act(order: Order) -> Outcome:
            return prompts.publish(f"reload by {caller.who.name}", **order)

        return await do(_act, admin, caller, "reload", message, act)

    @routes.post(
        "/releases/{release_id}/activate", responses=answers(400, 404, 408, 413), tags=["releases"]
    )
    async def activate(caller: Operator, release_id: str, message: Message = None) -> Activation:
        """Make a kept release live and hold it, for all who share the store or read the bucket."""

        def act(order: Order) -> Outcome:
            return prompts.activate(release_id, reason=f"activate by {caller.who.name}", **order)

        return await command(_act, admin, caller, "activate", message, act)

    @routes.post("/rollback", responses=answers(400, 408, 409, 413), tags=["releases"])
    async def rollback(caller: Operator, message: Message = None) -> Activation:
        """Activate the release that was live before this one."""

        def act(order: Order) -> Outcome:
            before = _before_in_bucket(admin)
            try:
                if before is not None:
                    return prompts.activate(before, reason="rollback", **order)
                return prompts.rollback(**order)
            except ReleaseNotFound as problem:
                raise Refusal(409, "nothing-earlier", problem.message) from problem

        return await command(_act, admin, caller, "rollback", message, act)

    @routes.post("/follow", responses=answers(400, 408, 413), tags=["releases"])
    async def follow(caller: Operator, message: Message = None) -> Activation:
        """End a hold: publish the current content of the layers, and follow them again."""
        return await command(
            _act, admin, caller, "follow", message, lambda order: prompts.follow(**order)
        )

    return routes


async def note_refusal(admin: Admin, request: Request, refusal: Refusal) -> None:
    """Count a refusal; where a known client was refused a change, the audit log has it too."""
    admin.count(refusal)
    who = sender(request.scope)
    action = getattr(request.scope.get("route"), "name", "").removesuffix("_prompt")
    if who is None or action not in _ACTIONS or refusal.noted or not 400 <= refusal.status < 500:
        return
    name = request.path_params.get("name")
    with suppress(PromptsError, Refusal):
        await admin.desk.do(
            admin.audit.refused,
            who,
            address(request.scope),
            action,
            refusal.body.code,
            prompt=None if name is None else name[:MAX_NAME],
        )


def conditions_of(request: Request) -> Conditions:
    headers = request.headers
    return Conditions.of(headers.getlist("if-match"), headers.getlist("if-none-match"))


def status_of(change: Change) -> int:
    """The status code of a write: 202 where it is not live."""
    return 202 if change.status in ("rejected", "stored") else 200


def _act(
    admin: Admin, caller: Caller, action: str, message: str | None, act: Callable[[Order], Outcome]
) -> Activation:
    prompts = admin.prompts
    before = prompts.release.id
    # Going back must work whatever the disk does: these lines may come later.
    add = partial(admin.audit.add, caller.who, caller.address, action, late=True)
    add("begun", before=before, message=message)
    outcome = act({"who": caller.who.name, "message": message or ""})
    live = outcome.release.id if outcome.release else None
    facts: dict[str, Any] = {
        "before": before,
        "after": live,
        "release": outcome.candidate,
        "message": message,
    }
    add(outcome.status, **facts)
    # A follow ends the hold, whatever the layers hold.
    if outcome.status == "rejected" and action != "follow":
        raise rejected(outcome)
    bucket, trouble = None, None
    if action in ("activate", "rollback"):
        bucket, trouble = _activate_in_bucket(admin, caller, live, message or f"{action} over HTTP")
    taken, workers = prompts.reach(0.0 if action == "reload" else TAKEN_WITHIN_S)
    return Activation(
        status=outcome.status,
        release=live,
        held=prompts.held,
        findings=[FindingBody.of(finding) for finding in outcome.findings],
        elapsed_s=outcome.elapsed_s,
        reach=_reach(prompts.store_folder, taken, workers, bucket, trouble),
    )


def _shared_bucket(admin: Admin) -> Channel | None:
    """The channel, if it is the only layer, so that its releases are the prompts' own."""
    return admin.bucket if len(admin.prompts.layers) == 1 else None


def _before_in_bucket(admin: Admin) -> str | None:
    bucket, prompts = _shared_bucket(admin), admin.prompts
    if bucket is None:
        return None
    from yamlgraph_prompts.admin.api.publishing import going_back

    return going_back(bucket, prompts.release.id)


def _activate_in_bucket(
    admin: Admin, caller: Caller, live: str | None, message: str
) -> tuple[str | None, str | None]:
    """The channel in which the release became live too, or why it did not."""
    bucket = _shared_bucket(admin)
    if bucket is None or live is None:
        buckets = [one.url for one in admin.prompts.health.layers if keeps_releases(one.url)]
        several = (
            f"this release consists of several layers, and {buckets[0]} is only one of them."
            if buckets
            else None
        )
        return None, several
    from yamlgraph_prompts.admin.api.publishing import activate

    trouble = activate(bucket, live, caller.who.name, message)
    return (bucket.url, None) if trouble is None else (None, trouble)


def _reach(
    folder: Path | None, taken: int, workers: int, bucket: str | None, trouble: str | None
) -> Reach:
    text = "This process only."
    if folder is not None:
        text = (
            f"Every process that shares the store {printable(folder)}: "
            f"{taken} of the {workers} on this host serve it by now."
        )
    if bucket is not None:
        text += f" And every reader of {bucket}, with its next look."
    if trouble is not None:
        text += f" Not beyond: {trouble}"
    return Reach(
        message=text,
        store=str(folder) if folder else None,
        workers=workers,
        taken=taken,
        bucket=bucket,
        trouble=trouble,
    )
