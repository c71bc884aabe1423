"""`yamlgraph-prompts releases | activate | rollback | follow`: the store that workers share.

Where a bucket is named, its releases are meant (`published`).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from yamlgraph_prompts.cli import published
from yamlgraph_prompts.cli.places import Place, one_place, split
from yamlgraph_prompts.cli.published import buckets
from yamlgraph_prompts.cli.terminal import finding_lines, note, paint, say, say_json, table
from yamlgraph_prompts.errors import PromptsError, PromptsRejected, ReleaseNotFound

if TYPE_CHECKING:
    from yamlgraph_prompts.live_prompts import LivePrompts
    from yamlgraph_prompts.model.release import Outcome

TAKEN_WITHIN_S = 3.0


def run(arguments: Any) -> int:
    """List releases, or change which one is live; 1 where that is refused."""
    urls, others = buckets(arguments.words)
    if urls:
        return published.run(arguments, urls, others)
    if arguments.command == "rollback" and (arguments.to or arguments.message):
        raise PromptsError(
            "--to and --message belong to a bucket's history, and none was named.",
            hint="Name it, such as s3://acme-prompts/app; here it is: activate ID.",
        )
    graphs, words = split(arguments.words)
    wanted = 1 if arguments.command == "activate" else 0
    if len(words) != wanted:
        to_one = arguments.command == "rollback" and len(words) == 1
        raise PromptsError(
            f"{arguments.command} takes {'one release id' if wanted else 'only graphs'}, "
            f"not {' '.join(words) or 'none'}.",
            hint=f"For a certain release: yamlgraph-prompts activate {words[0]}."
            if to_one
            else "yamlgraph-prompts releases lists the ids.",
        )
    place = one_place(arguments, graphs)
    if arguments.command == "releases":
        return _list(place, arguments)
    place.takes_orders()
    try:
        prompts = place.live(as_stored=True)
    except PromptsRejected as problem:
        return _refused(place, arguments, cast("Outcome", problem.outcome))
    with prompts:
        outcome = _act(place, prompts, arguments.command, words)
        taken, workers = prompts.reach(TAKEN_WITHIN_S)
    # This process serves it too, and is about to end.
    return _told(place, arguments, outcome, taken - 1, workers - 1)


def _list(place: Place, arguments: Any) -> int:
    pointer = place.store.current()
    held = pointer is not None and pointer.held
    kept = place.store.releases()
    if arguments.json:
        facts = [{**asdict(release), "held": release.live and held} for release in kept]
        say_json({"store": str(place.store.folder), "releases": facts})
        return 0
    if not kept:
        note(str(place.nothing_kept()))
        return 0
    rows = [("release", "live since", "why", "prompts", "")]
    for release in kept:
        mark = ("live, held" if held else "live") if release.live else ""
        when = datetime.fromtimestamp(release.at_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        rows.append((release.id[:12], when, release.reason, str(release.prompts), mark))
    head, *lines = table(rows)
    say(paint(head, "dim"))
    for line, release in zip(lines, kept, strict=True):
        say(paint(line, "green") if release.live else line)
    return 0


def _act(place: Place, prompts: LivePrompts, command: str, words: list[str]) -> Outcome:
    try:
        if command == "activate":
            return prompts.activate(words[0])
        return prompts.rollback() if command == "rollback" else prompts.follow()
    except ReleaseNotFound as problem:
        looked = f"Looked at {place.shown} ({place.environment}) in {place.store.folder}."
        problem.hint = f"{problem.hint} {looked}" if problem.hint else looked
        raise


def _told(place: Place, arguments: Any, outcome: Outcome, taken: int, workers: int) -> int:
    release = outcome.release.id if outcome.release else None
    refused = outcome.status == "rejected"
    if arguments.json:
        return _as_json(place, outcome, release, workers=workers, taken=taken)
    for line in finding_lines(outcome.findings):
        say(line)
    name = release[:12] if release else "nothing"
    if refused:
        say(paint(f"✗ Refused: {name} stays live.", "bold", "red"))
    elif arguments.command != "follow":
        say(paint(f"✓ {name} is live and held for {place.environment}.", "green"))
        say(f"  News in the layers is checked, not taken, until: {_follow(arguments, place)}")
    else:
        say(paint(f"✓ {name} is live.", "green"))
    if arguments.command == "follow":
        say("  The layers are followed again.")
    if not refused or arguments.command == "follow":
        say(f"  Reach: every process that shares the store {place.store.folder}")
        say(f"  On this machine: {_reached(taken, workers)}")
    return int(refused)


def _refused(place: Place, arguments: Any, outcome: Outcome) -> int:
    """Not even what is live could be loaded here with these graphs; nothing was changed."""
    pointer = place.store.current()
    if arguments.json:
        return _as_json(place, outcome, pointer.release if pointer else None)
    for line in finding_lines(outcome.findings):
        say(line)
    name = pointer.release[:12] if pointer else "what is live"
    say(paint(f"✗ Refused: {name} stays live, and nothing was changed.", "bold", "red"))
    if place.graphs and place.layers:
        say("  Without the graph it is not checked with it, and can be done all the same.")
    return 1


def _as_json(place: Place, outcome: Outcome, release: str | None, **reach: int) -> int:
    pointer = place.store.current()
    facts = {
        "status": outcome.status,
        "release": release,
        "held": pointer is not None and pointer.held,
        "store": str(place.store.folder),
        **reach,
        "findings": [asdict(finding) for finding in outcome.findings],
    }
    say_json(facts)
    return int(outcome.status == "rejected")


def _reached(taken: int, workers: int) -> str:
    if not workers:
        return "no process that follows changes runs; the next one that starts takes it"
    return f"{taken} of {workers} that follow changes {'has' if workers == 1 else 'have'} it by now"


def _follow(arguments: Any, place: Place) -> str:
    """The command that ends the hold, whole: whoever needs it is in a hurry."""
    words: list[str] = ["yamlgraph-prompts", "follow", *map(str, place.graphs)]
    for url, optional in arguments.layers or ():
        words += ["--optional-layer" if optional else "-l", url]
    said: Sequence[tuple[str, str | None]] = (
        ("-e", arguments.environment),
        ("--store", arguments.store),
    )
    for option, value in said:
        words += [option, value] if value else []
    return shlex.join(words)
