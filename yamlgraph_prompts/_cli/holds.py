"""`rollback | activate | follow` for the processes that share this machine's store.

Appends an entry to its history, waits until a process serves it, and takes it back if none can.
"""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._cli import channels
from yamlgraph_prompts._cli.check import building
from yamlgraph_prompts._cli.selection import Selection, one_selection, split
from yamlgraph_prompts._cli.terminal import finding_lines, note, paint, say, say_json
from yamlgraph_prompts._files.disk import append
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._publishing.lookup import find
from yamlgraph_prompts._text.escaping import printable
from yamlgraph_prompts.errors import LayerError, PromptsError, PushRefused, ReleaseNotFound
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.registry.folder import from_reserve
from yamlgraph_prompts.registry.ports import Replica
from yamlgraph_prompts.registry.replicas import HostReplicas
from yamlgraph_prompts.registry.store import AUDIT_FILE

if TYPE_CHECKING:
    from yamlgraph_prompts._model.release import Release
    from yamlgraph_prompts.registry.store import Store

TAKEN_WITHIN_S, GIVEN_UP_AFTER_S, FOUND_WITHIN_S = 3.0, 10.0, 5.0
NOBODY_SERVES_IT = 2


def order(arguments: Any) -> int:
    """Roll back, activate or follow; 1 where that is refused, 2 where no process serves it."""
    selection, ids = _selected(arguments)
    store, before = selection.store, selection.store.current()
    ends_hold = arguments.command == "follow"
    # Whatever fails here has changed nothing yet.
    release, findings = _ordered(selection, before, arguments.command, ids)
    is_refused = any(finding.severity == "error" for finding in findings)
    target = None if is_refused or release is None else release.id
    if is_refused and ends_hold and before is not None:
        target = before.release  # the hold ends all the same
    status, taken, workers = "rejected" if is_refused else "unchanged", 0, 0
    if target is not None:
        if before is not None and (before.release, before.held) == (target, not ends_hold):
            entry = before
        else:
            channels.warn_if_undoing(arguments, before, target)
            if release is not None and not is_refused and store.facts(target) is None:
                store.put(release)
            entry = Entry.now(
                target,
                held=not ends_hold,
                who=channels.person(arguments),
                why=arguments.command,
                message=arguments.message or "",
            )
            entry = store.registry.append(store.environment, entry, after=before)
            status = "rejected" if is_refused else "published"
        taken, workers = _wait(selection, before, entry)
        if workers and not taken and not is_refused:
            _take_back(selection, before, entry)
            text = f"No process on this machine could serve {target[:12]}; its log says why."
            findings, status = (*findings, Finding("error", "not-served", text)), "rejected"
    changes = channels.changes_between(store.registry, before, target)
    facts = {"status": status, "before": changes["before"], "after": release and release.id}
    _audit(selection, arguments, **facts)
    if arguments.json:
        current = store.current()
        live = current.release if current else None
        held = current is not None and current.held
        shown = {"status": status, "release": live, "held": held, "store": str(store.folder)}
        reached = {"workers": workers, "taken": taken}
        found = [asdict(finding) for finding in findings]
        say_json({**shown, **changes, **reached, "findings": found})
    else:
        for line in finding_lines(findings):
            say(line)
        if status == "rejected":
            _say_refused(selection, is_untouched=target is None)
        elif release is not None:
            more = "" if ends_hold else f" and held for {selection.environment}"
            say(paint(f"✓ {release.id[:12]} is live{more}.", "green"))
            channels.say_changes(changes, release.id)
        if ends_hold:
            say("  The layers are followed again.")
        elif status != "rejected":
            again = _follow_command(arguments, selection)
            say(f"  Changes are checked but not published until you run: {again}")
        if ends_hold or status != "rejected":
            say(f"  Applies to every process that shares the store {store.folder}")
            reach = f"{taken} of {workers} running processes serve it now"
            unserved = "no process follows changes; the next one that starts will serve it"
            say(f"  On this machine: {reach if workers else unserved}")
    if status == "rejected":
        return 1
    return 0 if ends_hold or workers else NOBODY_SERVES_IT


def _selected(arguments: Any) -> tuple[Selection, list[str]]:
    """The store that a call means, and the ids in it."""
    urls, words = channels.urls_in(arguments.words)
    command = arguments.command
    if urls:
        text = f"{command} works on the store of one machine, not on a registry."
        raise PromptsError(text, hint=f"For this machine: {command} -l URL.")
    graphs, ids = split(words)
    wanted = 1 if command == "activate" else 0
    if len(ids) != wanted:
        hint = "yamlgraph-prompts releases lists the ids."
        if command == "rollback" and len(ids) == 1:
            hint = f"To activate a certain release: yamlgraph-prompts activate {ids[0]}."
        what = "one release id" if wanted else "only graphs"
        raise PromptsError(f"{command} takes {what}, not {' '.join(ids) or 'none'}.", hint=hint)
    selection = one_selection(arguments, graphs)
    selection.takes_orders()
    return selection, ids


def _ordered(
    selection: Selection, before: Entry | None, command: str, ids: Sequence[str]
) -> tuple[Release | None, tuple[Finding, ...]]:
    """The release that an order makes live, and what the check has to say; changes nothing."""
    store = selection.store
    old = channels.released(store.registry, before.release if before else None)
    if command == "follow":
        try:
            candidate = selection.candidate(before=old)
        except LayerError as problem:
            text, url = problem.message, problem.layer
            return None, (Finding("error", "layer", text, file=url, hint=problem.hint),)
    else:
        try:
            if command == "activate":
                release = find(ids[0], store, selection.readers, FOUND_WITHIN_S)
            else:
                release = store.get(_earlier(store, before))
        except ReleaseNotFound as problem:
            where = f"{selection.shown} ({selection.environment}) in {store.folder}"
            problem.hint = f"{problem.hint or ''} Searched: {where}.".strip()
            raise
        if not selection.graphs:
            # It was checked with the graphs of the process that kept it.
            return release, ()
        candidate = selection.kept(release, old)
    return candidate.release, (*candidate.findings, *building(candidate))


def _earlier(store: Store, before: Entry | None) -> str:
    earlier = store.previous(before.release) if before else None
    if earlier is None:
        lost = "" if before else " The history of this store is lost."
        text = f"There is no earlier release to roll back to.{lost}"
        hint = "yamlgraph-prompts releases lists what is kept, activate ID makes it live."
        raise ReleaseNotFound(text, release_id=before.release if before else "live", hint=hint)
    return earlier


def _wait(selection: Selection, before: Entry | None, entry: Entry) -> tuple[int, int]:
    """How many processes of this machine serve what `entry` says, and how many there are."""
    store = selection.store
    replicas = HostReplicas(lambda: (store.folder or Path()) / "workers")
    wanted = Replica(store.environment, entry.release, entry.held)
    try:
        taken, workers = replicas.reached(wanted, TAKEN_WITHIN_S)
        if workers and not taken:
            # Before it is given up, a busy process has more time.
            taken, workers = replicas.reached(wanted, GIVEN_UP_AFTER_S)
    except KeyboardInterrupt:
        _take_back(selection, before, entry)
        note("Interrupted: the order is taken back.")
        raise
    return taken, workers


def _take_back(selection: Selection, before: Entry | None, entry: Entry) -> None:
    """Put back what was live before an order that no process serves; a hold that ended stays so."""
    if before is None or entry == before:
        return
    why = f"{entry.release[:12]} could not be served"
    again = replace(before, held=before.held and entry.held, why=why, push="")
    with suppress(PushRefused):
        selection.store.registry.append(selection.store.environment, again, after=entry)


def _say_refused(selection: Selection, *, is_untouched: bool) -> None:
    current = selection.store.current()
    name = current.release[:12] if current else "the live release"
    more = ", and nothing was changed" if is_untouched else ""
    say(paint(f"✗ Rejected: {name} stays live{more}.", "bold", "red"))
    if is_untouched and selection.graphs and selection.layers:
        say("  To do it without checking the graph, run the command without the graph.")


def _audit(selection: Selection, arguments: Any, **facts: str | None) -> None:
    """Add a line to the audit log, as the admin API does."""
    line = {
        "at_s": time.time(),
        "who": printable(channels.person(arguments)),
        "role": "operator",
        "address": "command line",
        "action": arguments.command,
        **facts,
        "message": arguments.message and printable(arguments.message),
    }
    data = f"\n{json.dumps(line)}\n".encode()
    if (folder := selection.store.folder) is None:
        return
    try:
        from_reserve(folder, lambda: append(folder / AUDIT_FILE, data, sync=False))
    except OSError as problem:
        note(f"The audit log could not be written: {problem.strerror}.")


def _follow_command(arguments: Any, selection: Selection) -> str:
    """The command that ends the hold, whole: who needs it is in a hurry."""
    words: list[str] = ["yamlgraph-prompts", "follow", *map(str, selection.graphs)]
    for url, optional in () if arguments.rooted else arguments.layers or ():
        words += ["--optional-layer" if optional else "-l", url]
    for option, value in (("-e", arguments.environment), ("--store", arguments.store)):
        words += [option, value] if value else []
    return shlex.join(words)
