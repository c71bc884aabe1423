"""The page's own paths, and the way to its sign-in. Relative links, so that any mount will do."""

from __future__ import annotations

from urllib.parse import quote, unquote

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

HOME = "/"
PAGE = "/page/"
SIGN_IN = "/page/sign-in"
SIGN_OUT = "/page/sign-out"
STATIC = "/page/static/"

# A link from elsewhere comes without the cookie (SameSite=Strict); the page reloads itself with it.
_AGAIN = "<!doctype html><title>One moment</title><meta http-equiv=refresh content=0>"


def is_page(path: str) -> bool:
    """Whether this path below the root is one of the page's views."""
    return path == HOME or path.startswith(PAGE)


def asks_for_html(scope: Scope, headers: Headers) -> bool:
    """Whether a browser shows this answer as a page."""
    return scope["method"] in ("GET", "HEAD") and "text/html" in headers.get("accept", "")


def to_sign_in(scope: Scope, headers: Headers) -> Response:
    """The answer to a browser without a session: the sign-in."""
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return HTMLResponse(_AGAIN)
    here = _raw(scope).removeprefix("/")
    if scope["query_string"]:
        here += "?" + scope["query_string"].decode("latin-1")
    return RedirectResponse(f"{up(scope)}{SIGN_IN[1:]}?next={quote(here)}", status_code=303)


def up(scope: Scope) -> str:
    """The relative way from this request's path to the app's root, as a browser sees both."""
    return "../" * (_raw(scope).count("/") - 1) or "./"


def _raw(scope: Scope) -> str:
    """The path below the root as the browser has it: a slash may be written as %2F."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    path: str = raw.decode("latin-1").partition("?")[0]
    root = unquote(scope.get("root_path", ""))
    return "/" + "/".join(path.split("/")[root.count("/") + 1 :])
