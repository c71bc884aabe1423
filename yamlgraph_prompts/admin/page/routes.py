"""The page's routes: HTML for people, behind the same gate as the API, and not in its OpenAPI."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import parse_qs, quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from yamlgraph_prompts.admin.context import Admin, Viewer
from yamlgraph_prompts.admin.desk import Desk
from yamlgraph_prompts.admin.page import files, views
from yamlgraph_prompts.admin.page.changes import Changes
from yamlgraph_prompts.admin.page.html import Visit, html
from yamlgraph_prompts.admin.problems import Refusal, of_core
from yamlgraph_prompts.admin.security import paths
from yamlgraph_prompts.admin.security.auth import Who
from yamlgraph_prompts.admin.security.gate import Access, ByToken
from yamlgraph_prompts.admin.security.sessions import LASTS_S
from yamlgraph_prompts.errors import PromptsError

FORM_BYTES = 16 << 10
_NEXT = re.compile(r"((page/|\?)[^\\\s]*)?")


def page(admin: Admin, access: Access) -> APIRouter:
    """The views, and signing in and out where `access` is by token."""
    routes = APIRouter(include_in_schema=False)
    changes = Changes(admin.prompts)

    async def show(
        request: Request,
        who: Who,
        view: str,
        find: Callable[[], dict[str, Any]],
        *,
        desk: Desk = admin.desk,
    ) -> Response:
        visit = _visit(request, access, who, admin)

        def rendered() -> Response:
            try:
                return html(visit, view, find())
            except (PromptsError, Refusal) as problem:
                refusal = problem if isinstance(problem, Refusal) else of_core(problem)
            admin.count(refusal)
            return html(visit, "problem.html", {"problem": refusal.body}, status=refusal.status)

        return await desk.do(rendered)

    @routes.get("/")
    async def prompts_view(request: Request, caller: Viewer, search: str = "") -> Response:
        find = partial(views.listed, admin, changes, search[:200])
        return await show(request, caller.who, "list.html", find)

    @routes.get("/page/prompts/{name:path}")
    async def prompt_view(request: Request, caller: Viewer, name: str, new: str = "") -> Response:
        find = partial(views.edited, admin, changes, caller.who, name, new=new == "1")
        return await show(request, caller.who, "editor.html", find)

    @routes.get("/page/new")
    async def new_view(request: Request, caller: Viewer, name: str = "") -> Response:
        name = name.strip().strip("/")
        if name:
            return _to(request, f"page/prompts/{quote(name)}?new=1")
        return await show(request, caller.who, "new.html", lambda: views.fresh(admin, caller.who))

    @routes.get("/page/releases")
    async def releases_view(request: Request, caller: Viewer) -> Response:
        return await show(
            request, caller.who, "releases.html", partial(views.releases, admin, caller.who)
        )

    @routes.get("/page/releases/{before}/diff/{after}")
    async def diff_view(
        request: Request, caller: Viewer, before: str, after: str, do: str = ""
    ) -> Response:
        if not caller.who.may("operator"):
            do = ""
        find = partial(views.compared, admin, before, after, do)
        return await show(request, caller.who, "diff.html", find, desk=admin.trials)

    @routes.get("/page/versions/{before}/{after}/{name:path}")
    async def versions_view(
        request: Request, caller: Viewer, before: str, after: str, name: str, do: str = ""
    ) -> Response:
        do = "version" if do and admin.may_activate(caller.who) and caller.who.may("author") else ""
        find = partial(views.versions_compared, admin, name, before, after, do)
        return await show(request, caller.who, "diff.html", find, desk=admin.trials)

    @routes.get("/page/promote/{source:path}")
    async def promote_view(request: Request, caller: Viewer, source: str) -> Response:
        do = "promote" if caller.who.may("operator") else ""
        find = partial(views.promoted, admin, source, do)
        return await show(request, caller.who, "diff.html", find, desk=admin.trials)

    @routes.get("/page/compare")
    async def compare_view(request: Request, caller: Viewer, a: str = "", b: str = "") -> Response:
        before, after = quote(a or "live", safe=""), quote(b or "live", safe="")
        return _to(request, f"page/releases/{before}/diff/{after}")

    @routes.get("/page/audit")
    async def audit_view(request: Request, caller: Viewer, prompt: str = "") -> Response:
        find = partial(views.log, admin, prompt or None)
        return await show(request, caller.who, "log.html", find)

    @routes.get("/page/graphs")
    async def graphs_view(request: Request, caller: Viewer) -> Response:
        return await show(request, caller.who, "graphs.html", lambda: views.graphs(admin))

    @routes.get("/page/graphs/{number}")
    async def graph_view(request: Request, caller: Viewer, number: str) -> Response:
        # Python refuses to read a number of thousands of digits.
        is_number = number.isascii() and number.isdigit() and len(number) < 9
        find = partial(views.pictured, admin, int(number) if is_number else -1)
        return await show(request, caller.who, "graph.html", find)

    @routes.get("/docs")
    async def docs_view(request: Request, caller: Viewer) -> Response:
        find = partial(views.documented, request.app.openapi())
        return await show(request, caller.who, "docs.html", find)

    @routes.get(paths.STATIC + "{digest}/{name}")
    async def static(request: Request, digest: str, name: str) -> Response:
        found = files.static(name, request.headers.get("accept-encoding", ""))
        if found is None or digest != files.digest():
            raise Refusal(404, "no-such-path", "There is no such file.")
        return found

    @routes.get("/page/{path:path}")
    async def nothing_view(request: Request, caller: Viewer, path: str) -> Response:
        def find() -> dict[str, Any]:
            raise Refusal(404, "no-such-path", "There is no such page.")

        return await show(request, caller.who, "problem.html", find)

    return routes


def signing(admin: Admin, access: Access) -> APIRouter:
    """Signing in and out."""
    routes = APIRouter(include_in_schema=False)
    do = admin.desk.do

    @routes.get(paths.SIGN_IN)
    async def sign_in_view(request: Request, next: str = "") -> Response:  # noqa: A002
        if not isinstance(access, ByToken) or access.session(request.headers) is not None:
            return _to(request, _safe(next))
        return await do(html, _visit(request, access, None, admin), "sign-in.html", {"next": next})

    @routes.post(paths.SIGN_IN)
    async def sign_in(request: Request) -> Response:
        if not isinstance(access, ByToken):
            return _to(request, "")
        form = _form(await request.body())
        visit = _visit(request, access, None, admin)
        try:
            token = form.get("token", "").strip()
            session = await do(access.sign_in, request.scope, request.headers, token)
        except (PromptsError, Refusal) as problem:
            refusal = problem if isinstance(problem, Refusal) else of_core(problem)
        else:
            answer = _to(request, _safe(form.get("next", "")))
            _set_cookie(request, answer, access.sessions.cookie, session.value, int(LASTS_S))
            return answer
        admin.count(refusal)
        facts = {"next": form.get("next", ""), "problem": refusal.body}
        answer = await do(html, visit, "sign-in.html", facts, status=refusal.status)
        if "Retry-After" in refusal.headers:
            answer.headers["Retry-After"] = refusal.headers["Retry-After"]
        return answer

    @routes.post(paths.SIGN_OUT)
    async def sign_out(request: Request, caller: Viewer) -> Response:
        answer = _to(request, paths.SIGN_IN[1:])
        session = isinstance(access, ByToken) and access.session(request.headers)
        if session and isinstance(access, ByToken):
            shown = _form(await request.body()).get("csrf", "")
            if not hmac.compare_digest(shown.encode(), session.csrf.encode()):
                raise Refusal(403, "csrf", "This form is not from here.", hint="Load it again.")
            await do(access.sessions.end, session)
            _set_cookie(request, answer, access.sessions.cookie, "", 0)
        return answer

    return routes


def _visit(request: Request, access: Access, who: Who | None, admin: Admin) -> Visit:
    session = access.session(request.headers) if isinstance(access, ByToken) else None
    return Visit(
        up=paths.up(request.scope),
        path=request.scope["path"],
        who=who,
        csrf=session.csrf if session else "",
        signed_in=session is not None,
        environment=admin.prompts.environment,
        seen=_seen(admin) if who else "",
        accepts=request.headers.get("accept-encoding", ""),
    )


def _seen(admin: Admin) -> str:
    health = admin.prompts.health
    held = "true" if health.held else "false"
    return " ".join([health.release or "", held, _number(health.last_at_s)])


def _number(value: float | None) -> str:
    """As JavaScript writes it."""
    return "" if value is None else repr(value).removesuffix(".0")


def _to(request: Request, path: str) -> Response:
    """Go to a path below the root; a relative one, as only the browser knows the whole."""
    return RedirectResponse(paths.up(request.scope) + path, status_code=303)


def _safe(path: str) -> str:
    return path if _NEXT.fullmatch(path) else ""


def _form(body: bytes) -> dict[str, str]:
    if len(body) > FORM_BYTES:
        raise Refusal(413, "too-large", f"A form may have {FORM_BYTES} bytes.")
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
    except ValueError:
        return {}
    return {name: values[0] for name, values in fields.items()}


def _set_cookie(request: Request, answer: Response, name: str, value: str, lasts_s: int) -> None:
    answer.set_cookie(
        name,
        value,
        max_age=lasts_s,
        path=quote(request.scope.get("root_path", "")) or "/",
        secure=request.scope["scheme"] == "https",
        httponly=True,
        samesite="strict",
    )
