"""The admin app: puts the parts together. Mount it, or run it alone."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from yamlgraph_prompts._check import untrusted
from yamlgraph_prompts.admin.api.changing import changing, note_refusal
from yamlgraph_prompts.admin.api.feed import Feed
from yamlgraph_prompts.admin.api.reading import reading
from yamlgraph_prompts.admin.api.versions import versions
from yamlgraph_prompts.admin.api.watching import watching
from yamlgraph_prompts.admin.audit import Audit
from yamlgraph_prompts.admin.context import Admin
from yamlgraph_prompts.admin.desk import Desk
from yamlgraph_prompts.admin.last_live import LastLive
from yamlgraph_prompts.admin.page.routes import page, signing
from yamlgraph_prompts.admin.problems import add_handlers
from yamlgraph_prompts.admin.security.auth import VARIABLE, Attempts, Role, Tokens
from yamlgraph_prompts.admin.security.gate import Access, ByToken, Gate, Limits, OnLoopback
from yamlgraph_prompts.admin.security.sessions import Sessions
from yamlgraph_prompts.live_prompts import LivePrompts
from yamlgraph_prompts.metrics import Metrics
from yamlgraph_prompts.registry import keeps_releases
from yamlgraph_prompts.sources.layers import AnyLayer, as_layer

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.channel import Channel

logger = logging.getLogger("yamlgraph_prompts")

AUTHORS_ACTIVATE = ("development", "staging")
_ABOUT = """\
Read, change, check, activate and roll back prompts. Every error has the same body.
The name of a prompt may contain slashes."""


def admin_app(
    prompts: LivePrompts,
    tokens: Mapping[str, Role] | str | os.PathLike[str] | None = None,
    *,
    write_to: AnyLayer | None = None,
    header: str = "X-API-Key",
    limits: Limits | None = None,
    metrics: Metrics | None = None,
    authors_activate: Iterable[str] = AUTHORS_ACTIVATE,
) -> FastAPI:
    """The admin API as an ASGI app: ``app.mount("/admin", admin_app(prompts, tokens=...))``.

    Starlette does not run the lifespan of a mounted app: pass `lifespan` to the outer app.

    Args:
        prompts: The prompts to administer.
        tokens: Token → ``"viewer"``, ``"author"`` or ``"operator"``; or a file with a line
            ``<SHA-256> <role> [<name> [<until>]]`` for each token, which is read again when it
            changes. None: the lines in ``YAMLGRAPH_PROMPTS_TOKENS``. Without any token the API
            stays closed.
        write_to: The layer of `prompts` that changes are written to; default: the first one.
        header: A header that may contain a token, in addition to ``Authorization: Bearer``.
        limits: The limits of a request.
        metrics: The metrics to use; created by default.
        authors_activate: The environments in which an author may activate versions, where they are
            in a database; in others that takes an operator, and what an author saves waits.

    Raises:
        ValueError: `prompts` has no such layer, or a role is unknown.

    Example:
        >>> from yamlgraph_prompts import LivePrompts
        >>> with LivePrompts({"greeting": "user: Hi {name}"}, environment="x") as prompts:
        ...     admin_app(prompts, tokens={"a-long-random-token": "author"}).title
        'yamlgraph-prompts'
    """
    limits = limits or Limits()
    attempts = Attempts(limits.failures, limits.failures_s)
    if not isinstance(prompts, LivePrompts):
        raise TypeError(f"admin_app takes a LivePrompts first, not a {type(prompts).__name__}.")
    known = Tokens(tokens)
    if not known.count:
        logger.warning(
            "There is no valid token, so the admin API refuses every request: "
            "pass tokens=, or set %s.",
            VARIABLE,
        )
    sessions = Sessions(known, lambda: prompts.store_folder)
    access = ByToken(known, header, attempts, sessions)
    return _app(prompts, access, write_to, header, limits, metrics, authors_activate)


def open_app(prompts: LivePrompts, *, write_to: AnyLayer | None = None) -> FastAPI:
    """The same without tokens, for local users: serve it on loopback only."""
    return _app(prompts, OnLoopback(), write_to, "X-API-Key", Limits(), None)


def lifespan(prompts: LivePrompts) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    """Start and stop `prompts` with an app: ``FastAPI(lifespan=lifespan(prompts))``.

    In a lifespan of your own: ``async with lifespan(prompts)(app): yield``.

    Args:
        prompts: Started, so that the first request finds a live release; closed at the end.

    Raises:
        PromptsError: On entering: there is nothing to serve, also no last good release.
    """

    @asynccontextmanager
    async def living(_: Any) -> AsyncIterator[None]:
        await anyio.to_thread.run_sync(lambda: prompts.release)
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(prompts.close)

    return living


def _app(
    prompts: LivePrompts,
    access: Access,
    write_to: AnyLayer | None,
    header: str,
    limits: Limits,
    metrics: Metrics | None,
    authors_activate: Iterable[str] = AUTHORS_ACTIVATE,
) -> FastAPI:
    from yamlgraph_prompts import __version__

    number = _layer(prompts, write_to)
    untrusted.pool.resize(limits.trials)
    bucket = None if number is None else _bucket(prompts, number, limits.work_s / 4)
    admin = Admin(
        prompts=prompts,
        write_to=number,
        bucket=bucket,
        audit=Audit(lambda: prompts.store_folder),
        last_live=LastLive(prompts, bucket),
        desk=Desk(limits.threads, limits.work_s),
        trials=Desk(limits.trials, limits.work_s),
        changes=Desk(limits.threads, limits.work_s),
        commands=Desk(limits.threads, limits.work_s),
        checkups=Desk(limits.threads, limits.work_s),
        looking=Lock(),
        feed=Feed(limits.listeners),
        metrics=metrics or _counting(prompts),
        authors_activate=frozenset(authors_activate),
    )
    prompts.observe(admin.feed)
    admin.metrics.syncing(prompts.environment, lambda: prompts.health.layers)
    app = FastAPI(
        title="yamlgraph-prompts",
        version=__version__,
        description=_ABOUT,
        lifespan=lifespan(prompts),
        redirect_slashes=False,
        # FastAPI's own load scripts from another host; the page's router has one without any.
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
    )
    add_handlers(app, partial(note_refusal, admin))
    doors = [
        Security(HTTPBearer(auto_error=False, scheme_name="bearer")),
        Security(APIKeyHeader(name=header, auto_error=False, scheme_name="key")),
    ]
    app.include_router(watching(admin, doors))
    if admin.versions is not None:
        app.include_router(versions(admin, admin.versions), dependencies=doors)
    app.include_router(reading(admin), dependencies=doors)
    app.include_router(changing(admin), dependencies=doors)
    app.include_router(signing(admin, access))
    app.include_router(page(admin, access))
    app.add_middleware(Gate, access=access, limits=limits, count=admin.count)
    app.state.admin = admin
    return app


def _counting(prompts: LivePrompts) -> Metrics:
    metrics = Metrics()
    health = prompts.health
    if health.release is not None:
        # Not `prompts.release`: that is a use, and would start threads before a server forks.
        release = prompts.find(health.release)
        metrics.serving(prompts.environment, release, health)
    prompts.observe(metrics)
    return metrics


def _bucket(prompts: LivePrompts, number: int, timeout_s: float) -> Channel | None:
    url = prompts.layers[number].text
    if not keeps_releases(url):
        return None
    # Imported when used: most apps have no bucket, and its client takes a while to load.
    from yamlgraph_prompts.registry.channel import Channel

    # One request calls it up to three times, and must end in time even if it does not answer.
    return Channel(url, environment=prompts.environment, timeout_s=timeout_s)


def _layer(prompts: LivePrompts, write_to: AnyLayer | None) -> int | None:
    if write_to is None:
        return 0 if prompts.layers else None
    wanted = as_layer(write_to)
    for number, layer in enumerate(prompts.layers):
        if layer.url == wanted.url or layer.at(prompts.environment) == wanted.text:
            return number
    have = ", ".join(layer.text for layer in prompts.layers) or "none"
    raise ValueError(f"write_to={wanted.text!r} is not one of the layers: {have}.")
