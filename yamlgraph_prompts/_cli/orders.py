"""`push | promote | rollback | activate | follow`: change which release is live, and say what came
of it. In a bucket for all its readers, else for the processes that share this machine's store.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from yamlgraph_prompts._cli.channels import channel, message, person, urls_in
from yamlgraph_prompts._cli.check import building
from yamlgraph_prompts._cli.selection import Selection, one_selection, split
from yamlgraph_prompts._cli.terminal import (
    finding_lines,
    note,
    paint,
    say,
    say_json,
    tell_problem,
)
from yamlgraph_prompts._files.disk import append
from yamlgraph_prompts._text.escaping import printable
from yamlgraph_prompts.errors import (
    PromptsError,
    PromptsRejected,
    PushRefused,
    ReleaseNotFound,
)
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.registry.folder import from_reserve
from yamlgraph_prompts.registry.store import AUDIT_FILE

if TYPE_CHECKING:
    from yamlgraph_prompts._model.entry import Entry
    from yamlgraph_prompts._model.release import Outcome, Release
    from yamlgraph_prompts.live_prompts import LivePrompts
    from yamlgraph_prompts.registry.channel import Channel, Pushed
    from yamlgraph_prompts.registry.ports import Releases

TAKEN_WITHIN_S, GIVEN_UP_AFTER_S = 3.0, 10.0
NOBODY_SERVES_IT = 2


# In a registry that its readers share


def push(arguments: Any) -> int:
    """Check prompts, then publish them; 1 where they are refused."""
    urls, others = urls_in(arguments.words)
    there = channel(arguments, urls)
    graphs, folders = split(others)
    arguments.layers = [*((folder, False) for folder in folders), *(arguments.layers or ())]
    if not arguments.layers and not one_selection(arguments, graphs).layers:
        raise PromptsError(
            "push needs prompts, and only a graph was named.",
            hint="Name the folder of the prompts too, for example: yamlgraph-prompts push prompts/ "
            f"{' '.join(graphs)} {there.url}",
        )
    order = {"message": message(arguments), "who": person(arguments)}
    # Read before the prompts: a push in the meantime must count as a conflict.
    live = there.current()
    selection = one_selection(arguments, graphs)
    before = _released(there.registry, live.release if live else None)
    candidate = selection.candidate(strict=arguments.strict, before=before)
    findings = list(dict.fromkeys(candidate.findings))
    if not candidate.refused:
        findings += building(candidate)
    if not arguments.json:
        for line in finding_lines(findings):
            note(line)
    if any(finding.severity == "error" for finding in findings):
        if arguments.json:
            say_json({"status": "rejected", "findings": [asdict(one) for one in findings]})
        else:
            note(paint("✗ Rejected: nothing was published.", "bold", "red"))
        return 1
    if not candidate.release.prompts:
        raise PromptsError(
            f"There are no prompts in {selection.shown}, so nothing was published.",
            hint="Prompts end in .yaml or .yaml.j2.",
        )
    act = partial(there.push, candidate.release, **order, after=live)
    return _published(there, arguments, act, findings)


def promote(arguments: Any) -> int:
    """Make live in one environment what is live in another; 1 where that is refused."""
    urls, others = urls_in(arguments.words)
    there = channel(arguments, urls)
    if len(others) > 1:
        raise PromptsError(
            f"promote takes one bucket and at most one release, not {' '.join(others)}.",
            hint="Without a release it takes the live one.",
        )
    from yamlgraph_prompts.registry.channel import Channel

    source = Channel(urls[0], environment=arguments.source)
    order = {"message": message(arguments), "who": person(arguments)}

    def act() -> Pushed:
        chosen = source.find(others[0]) if others else None
        return there.promote(source, **order, release_id=chosen)

    return _published(there, arguments, act)


def rollback(arguments: Any) -> int:
    """Make live again what was live before; 1 where that is refused."""
    urls, others = urls_in(arguments.words)
    if not urls:
        if arguments.to:
            raise PromptsError(
                "--to is for the history of a bucket, and no bucket was named.",
                hint="Name the bucket, such as s3://acme-prompts/app. For the store: activate ID.",
            )
        return _held(arguments, others, lambda prompts, _: prompts.rollback())
    if others:
        raise PromptsError(
            f"rollback of a bucket takes no further arguments, not {' '.join(others)}.",
            hint="The releases of a bucket were checked when they were pushed.",
        )
    there = channel(arguments, urls)
    order = {"message": message(arguments), "who": person(arguments)}

    def act() -> Pushed:
        to = None if arguments.to is None else there.find(arguments.to)
        return there.rollback(**order, to=to)

    return _published(there, arguments, act)


def _published(
    there: Channel, arguments: Any, act: Callable[[], Pushed], findings: Sequence[Finding] = ()
) -> int:
    """Do it and say what came of it; 1 where it was refused."""
    try:
        pushed = act()
    except PushRefused as problem:
        if not arguments.json:
            tell_problem(problem)
            return 1
        winner = cast("Entry | None", problem.winner)
        refusal = {"winner": winner.facts() if winner else None, "changed": problem.changed}
        say_json({"status": "refused", "why": str(problem), **refusal})
        return 1
    entry = pushed.entry
    changes = _changes(there.registry, pushed.before, entry.release)
    if arguments.json:
        facts = {
            "status": "published" if pushed.published else "unchanged",
            "environment": there.environment,
            "bucket": there.url,
            "entry": entry.facts(),
            "repaired": pushed.repaired,
            **changes,
            "findings": [asdict(finding) for finding in findings],
        }
        say_json(facts)
        return 0
    already = "" if pushed.published else " already"
    where = f"for {there.environment} in {there.url} (number {entry.number})"
    say(paint(f"✓ {entry.release[:12]} is live{already} {where}.", "green"))
    _say_changes(changes, entry.release)
    if pushed.repaired:
        why = "because its push was interrupted or its pack was damaged"
        say(f"  Readers could not see it, {why}. Now they can.")
    return 0


# In this machine's store


def activate(arguments: Any) -> int:
    """Make a kept release live and hold it; 1 where that is refused, 2 where no process runs."""
    return _held(arguments, arguments.words, lambda prompts, ids: prompts.activate(ids[0]))


def follow(arguments: Any) -> int:
    """End a hold; 1 where what the layers hold is refused."""
    return _held(arguments, arguments.words, lambda prompts, _: prompts.follow())


def _held(
    arguments: Any, words: Sequence[str], act: Callable[[LivePrompts, Sequence[str]], Outcome]
) -> int:
    urls, words = urls_in(words)
    command = arguments.command
    if urls:
        raise PromptsError(
            f"{command} works on the store of one machine, not on a bucket.",
            hint="For every reader of the bucket: rollback URL --to ID. For this machine: "
            f"{command} -l URL.",
        )
    graphs, ids = split(words)
    wanted = 1 if command == "activate" else 0
    if len(ids) != wanted:
        to_one = command == "rollback" and len(ids) == 1
        raise PromptsError(
            f"{command} takes {'one release id' if wanted else 'only graphs'}, "
            f"not {' '.join(ids) or 'none'}.",
            hint=f"To activate a certain release: yamlgraph-prompts activate {ids[0]}."
            if to_one
            else "yamlgraph-prompts releases lists the ids.",
        )
    selection = one_selection(arguments, graphs)
    selection.takes_orders()
    before = selection.store.current()
    try:
        prompts = selection.live(as_stored=True)
    except PromptsRejected as problem:
        return _not_even_live(selection, arguments, cast("Outcome", problem.outcome))
    with prompts:
        try:
            outcome = act(prompts, ids)
        except ReleaseNotFound as problem:
            where = f"{selection.shown} ({selection.environment}) in {selection.store.folder}"
            problem.hint = f"{problem.hint or ''} Searched: {where}.".strip()
            raise
        taken, workers = prompts.reach(TAKEN_WITHIN_S)
        if taken == 1 < workers:
            # Before it is given up, a busy process has more time.
            taken, workers = prompts.reach(GIVEN_UP_AFTER_S)
    # This process serves it too, but is about to end.
    taken, workers = taken - 1, workers - 1
    ordered, refused = outcome.release, outcome.status == "rejected"
    if workers and not taken and not refused and command != "follow":
        outcome, refused = _undo(selection, before, outcome), True
    changes = _changes(selection.store.registry, before, ordered.id if ordered else None)
    _audit(selection, arguments, outcome.status, changes["before"], ordered)
    code = int(refused)
    if command != "follow" and not refused and not workers:
        code = NOBODY_SERVES_IT
    if arguments.json:
        _say_outcome(selection, outcome, **changes, workers=workers, taken=taken)
        return code
    _say_findings(selection, outcome)
    if not refused and outcome.release is not None:
        held = "" if command == "follow" else f" and held for {selection.environment}"
        say(paint(f"✓ {outcome.release.id[:12]} is live{held}.", "green"))
        _say_changes(changes, outcome.release.id)
    if command == "follow":
        say("  The layers are followed again.")
    elif not refused:
        again = _follow_command(arguments, selection)
        say(f"  Changes are checked but not published until you run: {again}")
    if not refused or command == "follow":
        say(f"  Applies to every process that shares the store {selection.store.folder}")
        say(f"  On this machine: {_reached(taken, workers)}")
    return code


def _undo(selection: Selection, before: Entry | None, outcome: Outcome) -> Outcome:
    """Put back what was live, as no process can serve what was ordered; says what became of it."""
    store, ordered = selection.store, outcome.release
    name = ordered.id[:12] if ordered else ""
    message = f"No process on this machine could serve {name}; its log says why."
    current = store.current()
    if before is not None and current is not None and current.number == before.number + 1:
        again = replace(before, why=f"{name} could not be served", at_s=time.time(), push="")
        with suppress(PushRefused):
            store.registry.append(store.environment, again, after=current)
    finding = Finding("error", "not-served", message)
    return replace(outcome, status="rejected", findings=(*outcome.findings, finding))


def _audit(
    selection: Selection,
    arguments: Any,
    status: str,
    before: str | None,
    after: Release | None,
) -> None:
    """Add a line to the audit log, as the admin API does."""
    line = {
        "at_s": time.time(),
        "who": printable(person(arguments)),
        "role": "operator",
        "address": "command line",
        "action": arguments.command,
        "status": status,
        "before": before,
        "after": after.id if after else None,
        "message": arguments.message and printable(arguments.message),
    }
    data = f"\n{json.dumps(line)}\n".encode()
    if (folder := selection.store.folder) is None:
        return
    try:
        from_reserve(folder, lambda: append(folder / AUDIT_FILE, data, sync=False))
    except OSError as problem:
        note(f"The audit log could not be written: {problem.strerror}.")


def _not_even_live(selection: Selection, arguments: Any, outcome: Outcome) -> int:
    """What is live cannot be loaded here with these graphs; nothing was changed."""
    if arguments.json:
        return _say_outcome(selection, outcome)
    _say_findings(selection, outcome, ", and nothing was changed")
    if selection.graphs and selection.layers:
        say("  To do it without checking the graph, run the command without the graph.")
    return 1


def _say_findings(selection: Selection, outcome: Outcome, more: str = "") -> None:
    for line in finding_lines(outcome.findings):
        say(line)
    if outcome.status == "rejected":
        current = selection.store.current()
        name = current.release[:12] if current else "the live release"
        say(paint(f"✗ Rejected: {name} stays live{more}.", "bold", "red"))


def _say_outcome(selection: Selection, outcome: Outcome, **more: Any) -> int:
    current = selection.store.current()
    facts = {
        "status": outcome.status,
        "release": current.release if current else None,
        "held": current is not None and current.held,
        "store": str(selection.store.folder),
        **more,
        "findings": [asdict(finding) for finding in outcome.findings],
    }
    say_json(facts)
    return int(outcome.status == "rejected")


def _reached(taken: int, workers: int) -> str:
    if not workers:
        return "no process follows changes; the next one that starts will serve it"
    return f"{taken} of {workers} running processes serve it now"


def _follow_command(arguments: Any, selection: Selection) -> str:
    """The command that ends the hold, whole: who needs it is in a hurry."""
    words: list[str] = ["yamlgraph-prompts", "follow", *map(str, selection.graphs)]
    for url, optional in arguments.layers or ():
        words += ["--optional-layer" if optional else "-l", url]
    for option, value in (("-e", arguments.environment), ("--store", arguments.store)):
        words += [option, value] if value else []
    return shlex.join(words)


# What both say


def _released(registry: Releases, release_id: str | None) -> Release | None:
    """A release; None where there is no id, or where it cannot be read."""
    try:
        return registry.get(release_id) if release_id else None
    except PromptsError as problem:
        note(f"{problem.message} The changes since then are unknown.")
        return None


def _changes(registry: Releases, before: Entry | None, after: str | None) -> dict[str, Any]:
    release_id = before.release if before else None
    old = _released(registry, release_id)
    new = _released(registry, after) if old else None
    diff = old.diff(new) if old and new else None
    return {
        "before": release_id,
        "added": diff.added if diff else (),
        "removed": diff.removed if diff else (),
        "changed": diff.changed if diff else (),
    }


def _say_changes(changes: dict[str, Any], after: str) -> None:
    before = changes["before"]
    if before not in (None, after):
        say(f"  {before[:12]} → {after[:12]}")
    for what in ("added", "changed", "removed"):
        if names := changes[what]:
            more = f" and {len(names) - 10} more" if names[10:] else ""
            say(paint(f"  {what:<7}  {', '.join(names[:10])}{more}"))
