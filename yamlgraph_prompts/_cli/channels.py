"""What the commands share about registries that are named by URL, and who orders what for."""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._cli.selection import LAYERS, environment_set, one_selection
from yamlgraph_prompts._cli.terminal import note, paint, say
from yamlgraph_prompts._model.release import Prompt
from yamlgraph_prompts._model.version import parse_version
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.registry import is_registry, open_registry

if TYPE_CHECKING:
    from yamlgraph_prompts._model.entry import Entry
    from yamlgraph_prompts._model.release import Release
    from yamlgraph_prompts._model.version import Version
    from yamlgraph_prompts.registry.channel import Channel
    from yamlgraph_prompts.registry.ports import Releases

GIT_TIMEOUT_S = 5.0


def urls_in(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(registries' URLs, other words) among what was given."""
    urls = [word for word in words if "://" in word]
    for url in urls:
        if not is_registry(url):
            open_registry(url)  # says which URLs there are
    return urls, [word for word in words if word not in urls]


def one_url(arguments: Any, urls: Sequence[str]) -> str:
    """The URL of the one registry that a call names."""
    if len(urls) == 1:
        return urls[0]
    text = f"{arguments.command} needs the URL of one registry, and {len(urls)} were named."
    raise PromptsError(text, hint="Such as sqlite:///prompts.db or s3://acme-prompts/app.")


def channel(arguments: Any, urls: Sequence[str]) -> Channel:
    """The environment and registry that a call means."""
    from yamlgraph_prompts.registry.channel import Channel

    url = one_url(arguments, urls)
    name, is_explicit = environment_set(arguments)
    if not is_explicit:
        note(f"No environment is set, so {name!r} is used. Set it with --environment.")
    options: dict[str, Any] = {}
    if getattr(arguments, "single_writer", False):
        options["single_writer"] = True
    return Channel(url, environment=name, **options)


def releases_by_word(
    arguments: Any, urls: Sequence[str], graphs: Sequence[str], words: Sequence[str]
) -> Callable[[str], Release]:
    """Gives the release that a word names: an id, the beginning of one, `live`, or `layers`."""
    if not urls:
        return one_selection(arguments, graphs, reading=True).release
    there = channel(arguments, urls)
    here = one_selection(arguments, graphs, reading=True) if LAYERS in words else None
    return lambda word: here.release(word) if here and word == LAYERS else there.named(word)


def versions_in(words: Sequence[str]) -> dict[str, int | None]:
    """Name → number of each word ``name@number``; None of ``name@none``."""
    versions: dict[str, int | None] = {}
    for word in words:
        name, _, number = word.rpartition("@")
        parsed = (name, None) if name and number == "none" else parse_version(word)
        if parsed is None:
            text = f"{word!r} is no version of a prompt."
            raise PromptsError(text, hint="Write NAME@NUMBER, such as greeting@3.")
        if versions.setdefault(*parsed) != parsed[1]:
            raise PromptsError(f"Two versions of {parsed[0]!r} were named.")
    return versions


def as_prompt(version: Version, url: str) -> Prompt:
    """A version from the registry at `url` as a prompt, to check or to render it."""
    return Prompt(version.name, version.content, url, f"{url}/{version.spelled}")


def message(arguments: Any) -> str:
    """What the change is for; asked for on a terminal."""
    if arguments.message:
        return str(arguments.message)
    if arguments.command == "import":
        return "Imported"
    if sys.stdin.isatty():
        note("What is the reason for this change? (For the history.)")
        return input("> ")
    text = f"{arguments.command} needs a message for the history."
    raise PromptsError(text, hint="Give it with --message.")


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


def warn_if_undoing(arguments: Any, live: Entry | None, release_id: str | None) -> None:
    """Say that a recent rollback is about to be undone; ask a person who did not make it."""
    text = live and release_id and live.undone_by(release_id)
    if not live or not text:
        return
    note(paint(f"! {text}", "bold", "yellow", stream=sys.stderr))
    if sys.stdin.isatty() and person(arguments) != live.who:
        note("Go on? [y/N]")
        if input("> ").strip().lower() not in ("y", "yes"):
            raise PromptsError("Nothing was changed.")


def released(registry: Releases, release_id: str | None) -> Release | None:
    """A release; None where there is no id, or where it cannot be read."""
    try:
        return registry.get(release_id) if release_id else None
    except PromptsError as problem:
        note(f"{problem.message} The changes since then are unknown.")
        return None


def changes_between(registry: Releases, before: Entry | None, after: str | None) -> dict[str, Any]:
    release_id = before.release if before else None
    old = released(registry, release_id)
    new = released(registry, after) if old else None
    diff = old.diff(new) if old and new else None
    return {
        "before": release_id,
        "added": diff.added if diff else (),
        "removed": diff.removed if diff else (),
        "changed": diff.changed if diff else (),
    }


def say_changes(changes: dict[str, Any], after: str) -> None:
    before = changes["before"]
    if before not in (None, after):
        say(f"  {before[:12]} → {after[:12]}")
    for what in ("added", "changed", "removed"):
        if names := changes[what]:
            more = f" and {len(names) - 10} more" if names[10:] else ""
            say(paint(f"  {what:<7}  {', '.join(names[:10])}{more}"))
