"""Facts → HTML, escaped, compressed, under a policy that runs no script but the page's own."""

from __future__ import annotations

import gzip
import time
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from yamlgraph_prompts._text.escaping import printable
from yamlgraph_prompts.admin.page import files, words
from yamlgraph_prompts.admin.security.auth import Who

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a view."""

    up: str  # the relative way to the app's root
    path: str  # the requested path
    who: Who | None  # None: not signed in
    csrf: str  # the token for requests that change something
    signed_in: bool  # whether there is a session to end
    environment: str
    seen: str  # what was live, whether held, and when something was last tried
    accepts: str  # the `Accept-Encoding` of the request

    def may(self, role: Any) -> bool:
        return self.who is not None and self.who.may(role)

    @property
    def static(self) -> str:
        """Where the styles and scripts are."""
        return f"{self.up}page/static/{files.digest()}/"


def html(visit: Visit, view: str, facts: dict[str, Any], *, status: int = 200) -> Response:
    text = _templates().get_template(view).render(facts, visit=visit).encode()
    headers = {
        "Content-Security-Policy": POLICY,
        "Cross-Origin-Opener-Policy": "same-origin",
        "X-Frame-Options": "DENY",
        "Vary": "Accept-Encoding, Cookie",
    }
    if len(text) > files.SMALL and files.takes_gzip(visit.accepts):
        text = gzip.compress(text, 5, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return HTMLResponse(text, status_code=status, headers=headers)


def _visible(value: Any) -> Any:
    """Escape invisible characters; ``|e`` in a template leaves them to scripts and forms."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return printable(value, limit=None, keep="\n\r\t")
    return value


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("yamlgraph_prompts.admin.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_visible,
    )
    templates.filters.update(
        path=lambda name: quote(name, safe="/"),
        ago=lambda at_s: words.age(time.time() - at_s),
        age=words.age,
        iso=words.iso,
        day=words.day,
        short=words.short,
        reason=words.reason,
        action=lambda key: words.ACTIONS.get(key, key),
        status=lambda key: words.STATUSES.get(key, key),
        degraded=lambda key: words.DEGRADED.get(key, key),
        place=words.place,
    )
    templates.globals.update(count=words.count)
    return templates
