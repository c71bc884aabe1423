"""Versions of prompts in a database: listed, made, compared, activated, promoted."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response

from yamlgraph_prompts._check import untrusted
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.release import Prompt, Release, ReleaseDiff
from yamlgraph_prompts._model.version import purged
from yamlgraph_prompts._publishing.drafts import Draft
from yamlgraph_prompts.admin.api.changing import (
    WRITTEN,
    Match,
    Message,
    NoneMatch,
    conditions_of,
    status_of,
)
from yamlgraph_prompts.admin.api.conditions import Conditions
from yamlgraph_prompts.admin.api.reading import FromWorker, Limit, Offset, diff_body
from yamlgraph_prompts.admin.api.texts import JSON_TYPE, need_json, unfit
from yamlgraph_prompts.admin.api.writing import Wish, uses, waiting, write
from yamlgraph_prompts.admin.bodies import (
    MAX_NAME,
    NAME_PATTERN,
    Change,
    DiffBody,
    FindingBody,
    reserved,
)
from yamlgraph_prompts.admin.context import (
    Admin,
    AnyName,
    Author,
    Caller,
    NewName,
    Operator,
    Viewer,
    answers,
)
from yamlgraph_prompts.admin.problems import Refusal
from yamlgraph_prompts.admin.version_bodies import (
    Promoted,
    Promotion,
    PromotionAsked,
    VersionAsked,
    VersionBody,
    VersionLine,
    VersionPage,
)
from yamlgraph_prompts.errors import PromptsError, ReleaseNotFound
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.registry.ports import Registry, Versions

Number = Annotated[int, Path(ge=1, le=999_999_999, description="A version's number")]

_VERSION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON_TYPE: {
                "schema": VersionAsked.model_json_schema(
                    ref_template="#/components/schemas/{model}"
                )
            }
        },
    }
}


def versions(admin: Admin, kept: Versions) -> APIRouter:
    """The routes about versions. They come before those that take any name."""
    routes = APIRouter(tags=["versions"])
    do, change = admin.desk.do, admin.changes.do

    @routes.get("/prompts/{name:path}/versions", responses=answers(404))
    async def list_versions(
        caller: Viewer, name: AnyName, limit: Limit = 100, offset: Offset = 0
    ) -> VersionPage:
        """The versions of a prompt, newest first, and where each is active."""

        def listed() -> VersionPage:
            found = kept.versions(name)
            if not found:
                raise admin.prompts.release.not_found(name)
            lines = [VersionLine.of(one) for one in found[offset : offset + limit]]
            return VersionPage(name=name, total=len(found), versions=lines, uses=uses(admin, name))

        return await do(listed)

    @routes.get("/prompts/{name:path}/versions/{number}", responses=answers(404))
    async def get_version(caller: Viewer, name: AnyName, number: Number) -> VersionBody:
        """One version with its text."""

        def shown() -> VersionBody:
            found = kept.version(name, number)
            text = None if found.data is None else found.data.decode("utf-8", "replace")
            return VersionBody.of(found, name=name, text=text)

        return await do(shown)

    @routes.get(
        "/prompts/{name:path}/versions/{before}/diff/{after}",
        response_model=DiffBody,
        responses=answers(404),
    )
    async def diff_versions(
        caller: Viewer, name: AnyName, before: Number, after: Number
    ) -> Response:
        """What changes when the version `after` follows `before`."""

        def compared() -> bytes:
            diff = version_diff(kept, name, before, after)
            return diff_body(diff, f"{name}@{before}", f"{name}@{after}")

        return FromWorker(await admin.trials.do(compared))

    @routes.post(
        "/prompts",
        status_code=201,
        responses={**answers(400, 408, 409, 412, 413, 415), **WRITTEN},
        openapi_extra=_VERSION_BODY,
    )
    async def create_version(caller: Author, request: Request, response: Response) -> Change:
        """Make a version, which is kept whatever its findings are; active only if asked for."""
        need_json(request.headers.get("content-type"))
        made = await change(_create, admin, kept, caller, await request.body())
        response.status_code = 201 if made.status != "rejected" else 202
        response.headers["ETag"] = f'"{made.sha256}"'
        return made

    @routes.put(
        "/prompts/{name:path}/activate/{number}",
        responses={**answers(400, 404, 408, 409, 412, 413), **WRITTEN},
    )
    async def activate_version(
        caller: Author,
        name: NewName,
        number: Number,
        request: Request,
        response: Response,
        message: Message = None,
        if_match: Match = None,
        if_none_match: NoneMatch = None,
    ) -> Change:
        """Make a version active in this environment, once it is checked with all graphs."""

        def act() -> Change:
            data = _data(kept, name, number)
            wish = Wish(name, data, conditions_of(request), message, activates=True)
            return write(admin, caller, wish)

        made = await change(act)
        response.status_code = status_of(made)
        response.headers["ETag"] = f'"{made.sha256}"'
        return made

    @routes.post("/promote", responses=answers(400, 404, 408, 409, 413))
    async def promote(caller: Operator, asked: PromotionAsked) -> Promotion:
        """Make active here what is active in another environment, in one entry."""
        return await admin.commands.do(_promote, admin, caller, asked)

    return routes


def version_diff(kept: Versions, name: str, before: int, after: int) -> ReleaseDiff:
    """The difference of two versions of a prompt."""
    old, new = (Release.of([Prompt(name, _data(kept, name, number))]) for number in (before, after))
    return old.diff(new)


def promotion(admin: Admin, source: str) -> tuple[Entry, Release, Release]:
    """The last entry of another environment, what is active here, and what is active there."""
    assert admin.bucket is not None
    registry: Registry = admin.bucket.registry
    there = registry.current(source)
    if there is None:
        known = admin.versions.environments() if admin.versions else []
        text = f"Nothing is active in {source!r}."
        raise Refusal(404, "no-such-environment", text, hint=f"There are: {', '.join(known)}.")
    here = registry.current(admin.prompts.environment)
    now = registry.get(here.release) if here else Release.of([])
    return there, now, registry.get(there.release)


def _data(kept: Versions, name: str, number: int) -> bytes:
    data = kept.version(name, number).data
    if data is None:
        raise purged(name, number)
    return data


def _create(admin: Admin, kept: Versions, caller: Caller, body: bytes) -> Change:
    try:
        asked, data = untrusted.read_version(body)
    except untrusted.Unfit as problem:
        raise unfit(str(problem)) from None
    name, message = asked["name"], asked.get("message", "")
    if len(name) > MAX_NAME or not re.fullmatch(NAME_PATTERN, name):
        raise unfit("body.name (string_pattern_mismatch)")
    if reserved(name):
        raise unfit("body.name: the API has a route that ends so.")
    said = {"metadata": asked.get("metadata"), "parent": asked.get("parent", "")[:MAX_NAME]}
    version = kept.create(name, data, who=caller.who.name, message=message, **said)
    facts = {"prompt": name, "after": version.sha256, "message": message[:500] or None}
    admin.audit.add(caller.who, caller.address, "create", "stored", late=True, **facts)
    if asked.get("is_active") and admin.may_activate(caller.who):
        return write(admin, caller, Wish(name, data, Conditions(), message[:500], activates=True))
    findings: tuple[Finding, ...] = ()
    with (
        admin.looking,
        suppress(PromptsError),
    ):  # it is kept all the same, also where a layer cannot be read
        findings = admin.prompts.try_changes([Draft(name, data, admin.write_to or 0)])[1]
    return waiting(admin, version, findings=findings)


def _promote(admin: Admin, caller: Caller, asked: PromotionAsked) -> Promotion:
    kept, prompts, environment = admin.versions, admin.prompts, admin.prompts.environment
    assert kept is not None
    try:
        promoted, now, there = promotion(admin, asked.source)
    except ReleaseNotFound as problem:
        raise Refusal(409, "lost-race", problem.message, hint=problem.hint) from problem
    diff = now.diff(there)
    unknown = [name for name in asked.names or () if name not in there and name not in now]
    if unknown:
        raise there.not_found(unknown[0])
    names = [name for name in diff.names if asked.names is None or name in asked.names]
    before, after = kept.active(environment), kept.active(asked.source)
    if admin.bucket and admin.bucket.registry.current(asked.source) != promoted:
        # What is checked is what becomes active.
        text = f"{asked.source} was changed meanwhile; nothing was promoted."
        raise Refusal(409, "lost-race", text, hint="Look at what would change, and try again.")
    changes = [
        Promoted(name=name, before=before.get(name), after=after.get(name), uses=uses(admin, name))
        for name in names
    ]
    drafts = [
        Draft(name, there[name].data if name in there else None, admin.write_to or 0)
        for name in names
    ]
    with admin.looking:
        release, findings = prompts.try_changes(drafts)
    shown = [FindingBody.of(finding) for finding in findings]
    if any(finding.severity == "error" for finding in findings):
        text = "The check rejected it; nothing was promoted."
        raise Refusal(422, "rejected", text, findings=findings)
    if asked.dry_run or not names:
        return Promotion(status="unchanged", changes=changes, release=release.id, findings=shown)
    facts = {"before": now.id, "release": release.id, "message": asked.message or None}
    add = admin.audit.add
    add(caller.who, caller.address, "promote", "begun", late=True, **facts)
    kept.activate(
        environment,
        {name: after.get(name) for name in names},
        who=caller.who.name,
        why=f"promote from {asked.source}",
        message=asked.message,
        replaces={name: now[name].sha256 if name in now else None for name in names},
    )
    reason = f"promote from {asked.source} by {caller.who.name}"
    outcome = prompts.publish(reason, who=caller.who.name, message=asked.message)
    add(caller.who, caller.address, "promote", outcome.status, late=True, **facts)
    return Promotion(
        status=outcome.status,
        changes=changes,
        release=outcome.release.id if outcome.release else None,
        findings=[FindingBody.of(finding) for finding in outcome.findings],
    )
