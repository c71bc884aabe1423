"""Reads: prompts, releases, diffs, previews and checks. Changes nothing."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from yamlgraph_prompts._check import untrusted
from yamlgraph_prompts._model.graph import PromptUse
from yamlgraph_prompts._model.release import Prompt, Release, ReleaseDiff
from yamlgraph_prompts._publishing.drafts import Draft
from yamlgraph_prompts.admin import bodies
from yamlgraph_prompts.admin.api.texts import JSON_TYPE, need_json, unfit
from yamlgraph_prompts.admin.api.writing import locked, not_reserved
from yamlgraph_prompts.admin.context import Admin, AnyName, Viewer, answers
from yamlgraph_prompts.admin.problems import Refusal
from yamlgraph_prompts.errors import PromptRenderError, PromptsError
from yamlgraph_prompts.findings import Finding

LIVE, LAYERS = "live", "layers"
SMALL_BYTES, MAX_LARGE = 256 << 10, 4

Which = Annotated[
    str,
    Query(
        max_length=64,
        description="`live`, `layers` (their current content), or (the beginning of) an id",
    ),
]
Search = Annotated[str, Query(max_length=200, description="Only names that contain this")]
Limit = Annotated[int, Query(ge=1, le=10_000)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Lines = Annotated[int, Query(ge=1, le=1000)]
OneName = Annotated[str | None, Query(max_length=2000, description="Only lines about this prompt")]
Uses = dict[str, list[tuple[str, PromptUse]]]


class FromWorker(Response):
    """JSON from a worker. Few large answers are sent at once: slow clients keep them in memory."""

    media_type = JSON_TYPE
    sending = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; refuse where too many large ones are under way."""
        if len(self.body) <= SMALL_BYTES:
            await super().__call__(scope, receive, send)
            return
        if FromWorker.sending >= MAX_LARGE:
            text = "Too many large responses are in progress."
            hint = "Try again in a moment."
            raise Refusal(503, "busy", text, hint=hint, headers={"Retry-After": "1"})
        FromWorker.sending += 1
        try:
            await super().__call__(scope, receive, send)
        finally:
            FromWorker.sending -= 1


def reading(admin: Admin) -> APIRouter:
    """The routes that change nothing."""
    routes = APIRouter(responses=answers())
    do, prompts = admin.desk.do, admin.prompts

    @routes.get("/prompts", responses=answers(404), tags=["prompts"])
    async def list_prompts(
        caller: Viewer,
        search: Search = "",
        limit: Limit = 1000,
        offset: Offset = 0,
        release: Which = LIVE,
    ) -> bodies.PromptPage:
        """The prompts of a release, by name."""

        def listed() -> bodies.PromptPage:
            found = release_of(admin, release)
            names = [name for name in found if search.casefold() in name.casefold()]
            uses = prompts.uses()
            lines = [_line(found[name], uses) for name in names[offset : offset + limit]]
            return bodies.PromptPage(release=found.id, total=len(names), prompts=lines)

        return await do(listed)

    @routes.get("/prompts/{name:path}", responses=answers(404), tags=["prompts"])
    async def get_prompt(
        caller: Viewer, name: AnyName, response: Response, release: Which = LIVE
    ) -> bodies.PromptBody:
        """One prompt; the answer's ETag is what `If-Match` wants."""

        def shown() -> bodies.PromptBody:
            not_reserved(admin, name)
            found = release_of(admin, release)
            return prompt_body(admin, found, found[name])

        body = await do(shown)
        response.headers["ETag"] = f'"{body.sha256}"'
        return body

    @routes.post(
        "/preview/{name:path}",
        response_model=bodies.Preview,
        responses=answers(400, 404, 408, 413, 415),
        openapi_extra=_body(bodies.PreviewAsked),
        tags=["prompts"],
    )
    async def preview(caller: Viewer, name: AnyName, request: Request) -> Response:
        """The messages that the model would get; nothing is stored."""
        need_json(request.headers.get("content-type"))
        body = await admin.trials.do(_preview, admin, name, await request.body())
        return FromWorker(body)

    @routes.post(
        "/check",
        responses=answers(400, 408, 413, 415),
        openapi_extra=_body(bodies.CheckAsked),
        tags=["prompts"],
    )
    async def check(caller: Viewer, request: Request) -> bodies.Checked:
        """Check the layers with these drafts; nothing is stored."""

        def checked(body: bytes) -> bodies.Checked:
            try:
                sent = untrusted.read_drafts(body)
            except untrusted.Unfit as problem:
                raise unfit(str(problem)) from None
            if sent.files and admin.write_to is None:
                raise Refusal(
                    403, "read-only", "There is no layer that a draft could be written to."
                )
            drafts = [Draft(name, data, admin.write_to or 0) for name, data in sent.files.items()]
            with admin.looking:
                release, findings = prompts.try_changes(
                    drafts, strict=sent.strict, known=sent.known
                )
            return bodies.Checked(
                ok=not any(finding.severity == "error" for finding in findings),
                release=release.id,
                findings=[bodies.FindingBody.of(finding) for finding in findings],
            )

        need_json(request.headers.get("content-type"))
        return await admin.trials.do(checked, await request.body())

    @routes.get("/releases", tags=["releases"])
    async def list_releases(caller: Viewer) -> bodies.ReleaseList:
        """The releases that are kept, newest first."""

        def listed() -> bodies.ReleaseList:
            held = prompts.held
            lines = [
                bodies.ReleaseLine(**asdict(release), held=release.live and held)
                for release in prompts.releases()
            ]
            return bodies.ReleaseList(releases=lines)

        return await do(listed)

    @routes.get(
        "/releases/{before}/diff/{after}",
        response_model=bodies.DiffBody,
        responses=answers(404),
        tags=["releases"],
    )
    async def diff(caller: Viewer, before: str, after: str) -> Response:
        """What changes when `after` follows `before`; each is an id, `live` or `layers`."""

        def compared() -> bytes:
            diff = release_of(admin, before).diff(release_of(admin, after))
            return diff_body(diff, diff.before.id, diff.after.id)

        return FromWorker(await admin.trials.do(compared))

    @routes.get("/releases/{release_id}", responses=answers(404), tags=["releases"])
    async def get_release(caller: Viewer, release_id: str) -> bodies.ReleaseBody:
        """One release; its id, the beginning of it, `live` or `layers`."""

        def shown() -> bodies.ReleaseBody:
            found = release_of(admin, release_id)
            return bodies.ReleaseBody(
                id=found.id,
                environment=found.environment,
                live=found.id == prompts.release.id,
                layers=[
                    bodies.ReleaseLayer(url=one.url, version=one.version) for one in found.layers
                ],
                prompts=[bodies.ReleasePrompt.of(prompt) for prompt in found.prompts.values()],
            )

        return await do(shown)

    @routes.get("/audit", tags=["audit"])
    async def audit(caller: Viewer, limit: Lines = 100, prompt: OneName = None) -> bodies.AuditPage:
        """Who changed what, newest first."""
        return bodies.AuditPage(lines=await do(admin.audit.newest, limit, prompt))

    return routes


def diff_body(diff: ReleaseDiff, before: str, after: str) -> bytes:
    """The JSON of a `DiffBody`; the differences come from a worker."""
    kinds = {"added": diff.added, "removed": diff.removed, "changed": diff.changed}
    head = json.dumps({"before": before, "after": after, **kinds}).encode()[:-1]
    return head + b', "diffs": ' + untrusted.unified(diff) + b"}"


def release_of(admin: Admin, which: str) -> Release:
    if which == LIVE:
        return admin.prompts.release
    if which == LAYERS:
        with admin.looking:
            return admin.prompts.check()[0]
    return admin.prompts.find(which)


def _line(prompt: Prompt, uses: Uses) -> bodies.PromptLine:
    return bodies.PromptLine(
        name=prompt.name,
        layer=prompt.layer,
        file=prompt.file,
        sha256=prompt.sha256,
        uses=[bodies.Use.of(graph, use) for graph, use in uses.get(prompt.name, ())],
    )


def prompt_body(admin: Admin, release: Release, prompt: Prompt) -> bodies.PromptBody:
    facts: dict[str, Any] = {}
    # A broken prompt is live if no graph uses it: then only its text can be shown.
    with suppress(PromptsError):
        facts = {
            "system": prompt.system,
            "user": prompt.user,
            "variables": sorted(prompt.variables),
        }
    return bodies.PromptBody(
        **_line(prompt, admin.prompts.uses()).model_dump(),
        **facts,
        release=release.id,
        text=prompt.data.decode("utf-8", "replace"),
        locked=locked(admin, prompt),
    )


def _preview(admin: Admin, name: str, request: bytes) -> bytes:
    prompt = admin.prompts.release.prompts.get(name)
    facts, body = untrusted.preview(name, prompt.data if prompt else None, request)
    if "unfit" in facts:
        raise unfit(facts["unfit"])
    if "missing" in facts:
        raise admin.prompts.release.not_found(name)
    if "rejected" in facts:
        findings = [Finding(**finding) for finding in facts["rejected"]]
        raise Refusal(422, "rejected", "This text cannot be rendered.", findings=findings)
    if "failed" in facts:
        raise PromptRenderError(facts["failed"], prompt=name, hint=facts["hint"])
    return body


def _body(model: type[BaseModel]) -> dict[str, Any]:
    """A JSON body that is read in a worker process: the app only documents its shape."""
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    return {"requestBody": {"required": True, "content": {JSON_TYPE: {"schema": schema}}}}
