"""`yamlgraph-prompts releases | diff | export`: look at the releases of a store or a registry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from itertools import dropwhile, islice
from pathlib import Path
from typing import Any

from yamlgraph_prompts._cli.channels import channel, releases_by_word, urls_in
from yamlgraph_prompts._cli.selection import LAYERS, environment_set, one_selection, split
from yamlgraph_prompts._cli.terminal import note, paint, say, say_json, say_table
from yamlgraph_prompts._model.release import Release
from yamlgraph_prompts.errors import PromptsError, ReleaseNotFound

NOTHING_THERE = 2
SHOWN = 20
LIMIT_SHOWN = 10_000
_STYLES = {"+++": "bold", "---": "bold", "@@": "cyan", "+": "green", "-": "red"}


def releases(arguments: Any) -> int:
    """List what is kept, newest first."""
    urls, words = urls_in(arguments.words)
    if urls:
        if words:
            text = f"releases of a registry takes no further arguments, not {' '.join(words)}."
            hint = "The releases of a bucket were checked when they were pushed."
            raise PromptsError(text, hint=hint)
        return _published(arguments, urls)
    if arguments.at:
        raise PromptsError("--at is for the history of a registry, and none was named.")
    return _stored(arguments, words)


def _published(arguments: Any, urls: Sequence[str]) -> int:
    there = channel(arguments, urls)
    limit = LIMIT_SHOWN if arguments.all else SHOWN
    at_s = _moment(arguments.at) if arguments.at else math.inf
    entries = list(islice(dropwhile(lambda entry: entry.at_s > at_s, there.history()), limit))
    behind = there.behind()
    if arguments.json:
        lines = [{**entry.facts(), "live": at == 0} for at, entry in enumerate(entries)]
        facts = {"registry": there.url, "environment": there.environment, "behind": behind}
        say_json({**facts, "releases": lines})
        return 0 if entries else NOTHING_THERE
    if not entries and arguments.at and there.current():
        text = f"Nothing was live for {there.environment} in {there.url} at {local_time(at_s)}."
        raise ReleaseNotFound(text, release_id="live")
    if not entries:
        raise there.nothing_published()
    mark = "live then" if arguments.at else "live"
    rows = [("", "release", "since", "who", "prompts", "why", "message", "")]
    for at, entry in enumerate(entries):
        who, why, text = short_name(entry.who), *map(first_line, (entry.why, entry.message))
        first = (str(entry.number), entry.release[:12], local_time(entry.at_s), who)
        rows.append((*first, str(entry.prompts), why, text[:72], "" if at else mark))
    say_table(rows)
    if len(entries) == SHOWN and entries[-1].number > 1 and not arguments.all:
        note(f"Older ones are shown with --all ({entries[-1].number - 1} more).")
    if behind:
        note(
            "Readers do not see the last one yet: its push is in progress or was interrupted. "
            "If it was interrupted, push it again."
        )
    return 0


def _stored(arguments: Any, words: Sequence[str]) -> int:
    graphs, others = split(words)
    if others:
        text = f"releases takes only graphs, not {' '.join(others)}."
        raise PromptsError(text, hint="yamlgraph-prompts releases lists the ids.")
    selection = one_selection(arguments, graphs)
    current = selection.store.current()
    held = current is not None and current.held
    kept = selection.store.releases()
    if arguments.json:
        facts = [{**asdict(release), "held": release.live and held} for release in kept]
        say_json({"store": str(selection.store.folder), "releases": facts})
        return 0 if kept else NOTHING_THERE
    if not kept:
        raise selection.nothing_kept()
    rows = [("release", "live since", "who", "why", "prompts", "message", "")]
    for release in kept:
        mark = ("live, held" if held else "live") if release.live else ""
        why, text = map(first_line, (release.reason, release.message))
        who = short_name(release.who)
        first = (release.id[:12], local_time(release.at_s), who, why, str(release.prompts))
        rows.append((*first, text[:72], mark))
    say_table(rows)
    return 0


def diff(arguments: Any) -> int:
    """Print what differs between two releases; 1 where something does, as diff(1)."""
    urls, others = urls_in(arguments.words)
    graphs, words = split(others)
    if len(words) != 2:
        text = f"diff needs two releases, and {len(words)} were named."
        hint = "Name ids, 'live', or 'layers' for what the layers contain now."
        raise PromptsError(text, hint=hint)
    before, after = map(releases_by_word(arguments, urls, graphs, words), words)
    found = before.diff(after)
    if arguments.json:
        say_json(
            {
                "before": before.id,
                "after": after.id,
                "added": found.added,
                "removed": found.removed,
                "changed": found.changed,
                "diff": str(found),
            }
        )
    else:
        for line in str(found).splitlines():
            style = next((style for start, style in _STYLES.items() if line.startswith(start)), "")
            line = line.expandtabs()
            say(paint(line, style) if style else line)
    return 1 if found else 0


def export(arguments: Any) -> int:
    """Write a release as a folder of ordinary prompt files."""
    from yamlgraph_prompts.registry.checkouts import check_out

    urls, others = urls_in(arguments.words)
    graphs, words = split(others)
    if len(words) != 1:
        text = f"export takes one folder to write to, not {' '.join(words) or 'none'}."
        hint = "For example: yamlgraph-prompts export s3://acme-prompts/app prompts/"
        raise PromptsError(text, hint=hint)
    target = Path(words[0])
    if target.exists() or target.is_symlink():
        raise PromptsError(f"{target} is there already.", hint="Name a folder that is not.")
    if urls or graphs or arguments.layers or arguments.release == LAYERS:
        release = releases_by_word(arguments, urls, graphs, ())(arguments.release)
    else:
        release = _release_in_folder(arguments)
    # A prompt that a template made is exported as what the template made of it.
    files = {f"{name}.yaml": prompt.data for name, prompt in release.prompts.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    check_out(target, files, private=False)
    if arguments.json:
        facts = {"release": release.id, "environment": release.environment, "target": str(target)}
        say_json({**facts, "prompts": sorted(release.prompts)})
    else:
        many = "" if len(release) == 1 else "s"
        say(paint(f"✓ {len(release)} prompt{many} of {release.id[:12]} in {target}", "green"))
    return 0


def _release_in_folder(arguments: Any) -> Release:
    """A release of the store in `--store`, though its layers are not named."""
    from yamlgraph_prompts.registry.channel import Channel
    from yamlgraph_prompts.registry.local import LocalRegistry

    if not arguments.store:
        text = "Which releases? Neither a registry, nor a graph, a layer or a store was named."
        hint = "For example: yamlgraph-prompts export --store FOLDER prompts/"
        raise PromptsError(text, hint=hint)
    root = Path(arguments.store)
    environment, _ = environment_set(arguments)
    stores = [root, *sorted(root.glob(f"{environment}-*"))]
    stores = [folder for folder in stores if (folder / "packs").is_dir()]
    if len(stores) != 1:
        raise PromptsError(
            f"{root} has {len(stores) or 'no'} stores for {environment}.",
            hint=f"Name one of them: {', '.join(map(str, stores))}." if stores else None,
        )
    registry = LocalRegistry(stores[0])
    return Channel(registry.url, environment=environment, registry=registry).named(
        arguments.release
    )


def local_time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        hint = "Write it as '2026-11-24 14:00', or with a time zone as 2026-11-24T14:00:00Z."
        raise PromptsError(f"{text!r} is no time.", hint=hint) from None


def short_name(who: str) -> str:
    """Who, for a table: without the address behind a name; JSON has it."""
    return first_line(who).partition(" <")[0]


def first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
