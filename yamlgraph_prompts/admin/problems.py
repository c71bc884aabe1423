"""The one error body, and which error of the core becomes which status. Never shows a traceback."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from yamlgraph_prompts import errors
from yamlgraph_prompts._text.escaping import escaped
from yamlgraph_prompts.admin.bodies import Current, FindingBody, Problem, reserved
from yamlgraph_prompts.findings import Finding

logger = logging.getLogger("yamlgraph_prompts")

_STATUS: tuple[tuple[type[errors.PromptsError], int, str], ...] = (
    (errors.LayerReadOnly, 403, "read-only"),
    (errors.Stale, 412, "stale"),
    (errors.PromptNotFound, 404, "no-such-prompt"),
    (errors.ReleaseNotFound, 404, "no-such-release"),
    (errors.VersionNotFound, 404, "no-such-version"),
    (errors.VersionRefused, 422, "invalid"),
    (errors.PushRefused, 409, "lost-race"),
    (errors.PromptRenderError, 422, "render"),
    (errors.PromptsRejected, 503, "nothing-live"),
    (errors.LayerError, 503, "layer"),
    (errors.StoreError, 503, "store"),
    (errors.WorkerDied, 503, "worker-died"),
    (errors.WorkerUnavailable, 503, "no-worker"),
    (errors.WorkStopped, 422, "too-costly"),
    (errors.PromptsError, 503, "unavailable"),
)

# Of every answer; a view of the page brings a policy of its own.
SECURITY_HEADERS = {
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
_CODES = {400: "bad-request", 404: "no-such-path", 405: "method", 413: "too-large"}


class Refusal(Exception):
    """An error answer. `noted`: it is in the audit log already."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str | None = None,
        findings: Iterable[Finding] = (),
        current: Current | None = None,
        headers: Mapping[str, str] | None = None,
        noted: bool = False,
    ) -> None:
        super().__init__(message)
        message = escaped(message)
        self.status = status
        self.noted = noted
        self.headers = dict(headers or {})
        self.body = Problem(
            code=code,
            message=message,
            hint=hint and escaped(hint),
            findings=[FindingBody.of(finding) for finding in findings],
            current=current,
        )

    def response(self) -> JSONResponse:
        return JSONResponse(
            self.body.model_dump(mode="json"),
            status_code=self.status,
            headers={**SECURITY_HEADERS, **self.headers},
        )

    @property
    def reason(self) -> str:
        """Its label in metrics: one of a few values."""
        unsafe = any(finding.code.startswith("unsafe") for finding in self.body.findings)
        return "unsafe-template" if unsafe else self.body.code


def of_core(problem: errors.PromptsError, *, noted: bool = False) -> Refusal:
    """What an error of the core is over HTTP."""
    status, code = next((s, c) for kind, s, c in _STATUS if isinstance(problem, kind))
    findings = problem.outcome.findings if isinstance(problem, errors.PromptsRejected) else ()
    return Refusal(status, code, problem.message, hint=problem.hint, findings=findings, noted=noted)


def add_handlers(app: FastAPI, note: Callable[[Request, Refusal], Awaitable[None]]) -> None:
    """Give every error of `app` the one body; `note` is called with refusals of known users."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, problem: Refusal) -> JSONResponse:
        await note(request, problem)
        return problem.response()

    @app.exception_handler(errors.PromptsError)
    async def core(request: Request, problem: errors.PromptsError) -> JSONResponse:
        return await refused(request, of_core(problem))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, problem: RequestValidationError) -> JSONResponse:
        # Where and why, never what was sent: it may be a prompt's text or a variable's value.
        places = [
            f"{'.'.join(str(part)[:80] for part in error['loc'])} ({error['type']})"
            for error in problem.errors()[:10]
        ]
        text = f"This request is invalid: {', '.join(places)}."
        refusal = Refusal(422, "invalid", text, hint="See /docs for the expected format.")
        return await refused(request, refusal)

    @app.exception_handler(HTTPException)
    async def http(request: Request, problem: HTTPException) -> JSONResponse:
        code, headers = _CODES.get(problem.status_code, "http"), dict(problem.headers or {})
        if problem.status_code == 405:
            headers["Allow"] = ", ".join(sorted(_methods(app, request)))
        refusal = Refusal(problem.status_code, code, f"{problem.detail}.", headers=headers)
        return await refused(request, refusal)

    @app.exception_handler(Exception)
    async def internal(_: Request, problem: Exception) -> JSONResponse:
        logger.error("The admin API failed: %s", type(problem).__name__)
        return Refusal(500, "internal", "Internal error; see the log for the cause.").response()


def _methods(app: FastAPI, request: Request) -> set[str]:
    """What a path takes: several routes may share one, and they may be nested."""
    scope = dict(request.scope)
    if app.state.admin.versions is not None and (method := reserved(scope["path"])):
        return {method}
    return {
        method
        for method in _METHODS
        for route in app.routes
        if route.matches({**scope, "method": method})[0] is Match.FULL
    }
