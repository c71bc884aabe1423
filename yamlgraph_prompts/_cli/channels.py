"""What the commands share about registries that are named by URL, and who orders what for."""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._cli.selection import LAYERS, one_selection
from yamlgraph_prompts._cli.terminal import note
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.registry import is_registry, open_registry
from yamlgraph_prompts.sources.layers import environment_name

if TYPE_CHECKING:
    from yamlgraph_prompts._model.release import Release
    from yamlgraph_prompts.registry.channel import Channel

GIT_TIMEOUT_S = 5.0


def urls_in(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(registries' URLs, other words) among what was given."""
    urls = [word for word in words if "://" in word]
    for url in urls:
        if not is_registry(url):
            open_registry(url)  # says which URLs there are
    return urls, [word for word in words if word not in urls]


def channel(arguments: Any, urls: Sequence[str]) -> Channel:
    """The environment and registry that a call means."""
    from yamlgraph_prompts.registry.channel import Channel

    if len(urls) != 1:
        raise PromptsError(
            f"{arguments.command} needs one bucket, and {len(urls)} were named.",
            hint=f"For example: yamlgraph-prompts {arguments.command} "
            f"{'prompts/ ' if arguments.command == 'push' else ''}s3://acme-prompts/app",
        )
    name, is_explicit = environment_name(arguments.environment)
    if not is_explicit:
        note(f"No environment is set, so {name!r} is used. Set it with --environment.")
    options: dict[str, Any] = {}
    if getattr(arguments, "single_writer", False):
        options["single_writer"] = True
    return Channel(urls[0], environment=name, **options)


def releases_by_word(
    arguments: Any, urls: Sequence[str], graphs: Sequence[str], words: Sequence[str]
) -> Callable[[str], Release]:
    """Gives the release that a word names: an id, the beginning of one, `live`, or `layers`."""
    if not urls:
        return one_selection(arguments, graphs, reading=True).release
    there = channel(arguments, urls)
    here = one_selection(arguments, graphs, reading=True) if LAYERS in words else None
    return lambda word: here.release(word) if here and word == LAYERS else there.named(word)


def message(arguments: Any) -> str:
    """What the change is for; asked where somebody sits at a terminal."""
    if arguments.message:
        return str(arguments.message)
    if sys.stdin.isatty():
        note("What is the reason for this change? (For the history.)")
        return input("> ")
    raise PromptsError(
        f"{arguments.command} needs a message for the history.", hint="Give it with --message."
    )


def person(arguments: Any) -> str:
    """Who does it: `--who`, else git's user, else the operating system's."""
    if arguments.who:
        return str(arguments.who)
    name, mail = _git("user.name"), _git("user.email")
    if name and mail:
        return f"{name} <{mail}>"
    try:
        return name or mail or getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _git(setting: str) -> str:
    try:
        done = subprocess.run(
            ["git", "config", "--get", setting],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired, ValueError):
        return ""
    return done.stdout.strip()
