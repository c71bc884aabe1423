"""`yamlgraph-prompts serve`: the page and the admin API. Without tokens on loopback only."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._cli.selection import one_selection, split
from yamlgraph_prompts._cli.terminal import note
from yamlgraph_prompts.errors import MissingExtra, PromptsError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from yamlgraph_prompts.admin.security.auth import Tokens
    from yamlgraph_prompts.live_prompts import LivePrompts

# Seconds that open responses have when the server is stopped.
STOP_S = 3


def run(arguments: Any) -> int:
    """Serve until the process is stopped."""
    graphs, words = split(arguments.words)
    if words:
        text = f"serve takes only graphs, not {' '.join(words)}."
        hint = f"A folder of prompts is a layer: serve {' '.join(['-l', words[0], *graphs])}"
        raise PromptsError(text, hint=hint)
    selection = one_selection(arguments, graphs)
    try:
        import uvicorn
    except ImportError as problem:
        raise MissingExtra(
            "serve needs uvicorn.", hint="Install it with: pip install 'yamlgraph-prompts[admin]'"
        ) from problem
    is_open = not _has_tokens(arguments)
    if is_open and not _is_loopback(arguments.host):
        text = f"Without tokens, serve does not listen on {arguments.host}: anyone could use it."
        raise PromptsError(text, hint="Use --tokens, or omit --host.")
    tokens = None if is_open else _tokens(arguments)  # before anything is published
    with _listen(arguments.host, arguments.port) as sock, selection.live(watch=True) as prompts:
        config = uvicorn.Config(
            _app(prompts, arguments, is_open=is_open),
            # To the handler of `hear_log`.
            log_config=None,
            log_level="info",
            timeout_graceful_shutdown=STOP_S,
            server_header=False,
            # By default uvicorn trusts every process of this machine.
            proxy_headers=bool(arguments.proxy),
            forwarded_allow_ips=_networks(arguments.proxy),
        )
        note(f"release {prompts.release.id[:12]} · environment {selection.environment}")
        note(f"{_url(sock)}/{' · open to every local user' if is_open else ''}")
        note(f"{_url(sock)}/docs · the API")
        if tokens is not None and not tokens.count:
            note("There is no valid token yet, so every request gets 401: see serve --help.")
        uvicorn.Server(config).run([sock])
    return 0


def _app(prompts: LivePrompts, arguments: Any, *, is_open: bool) -> FastAPI:
    from yamlgraph_prompts.admin import admin_app
    from yamlgraph_prompts.admin.app import open_app

    try:
        if is_open:
            return open_app(prompts, write_to=arguments.write_to)
        return admin_app(prompts, arguments.tokens, write_to=arguments.write_to)
    except ValueError as problem:
        raise PromptsError(str(problem)) from problem


def _tokens(arguments: Any) -> Tokens:
    from yamlgraph_prompts.admin.security.auth import Tokens

    try:
        return Tokens(arguments.tokens)
    except ValueError as problem:
        raise PromptsError(str(problem)) from problem


def _has_tokens(arguments: Any) -> bool:
    from yamlgraph_prompts.admin.security.auth import VARIABLE

    return bool(arguments.tokens or os.environ.get(VARIABLE, "").strip())


def _networks(addresses: list[str]) -> list[str]:
    try:
        return [str(ip_network(address)) for address in addresses]
    except ValueError as problem:
        raise PromptsError(
            f"--proxy: {problem}.", hint="For example --proxy 10.0.0.7, or --proxy 10.0.0.0/24."
        ) from problem


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except (OSError, OverflowError) as problem:
        sock.close()
        text = f"Cannot listen on {host}:{port}: {problem}."
        raise PromptsError(text, hint="Use another --port.") from problem
    return sock


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
