"""`push | promote | rollback`: change which release is live, and say what came of it. In a bucket
for all its readers; a rollback without one is for the processes that share this machine's store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._cli.channels import (
    changes_between,
    channel,
    message,
    person,
    released,
    say_changes,
    urls_in,
    warn_if_undoing,
)
from yamlgraph_prompts._cli.check import building
from yamlgraph_prompts._cli.holds import order as order_here
from yamlgraph_prompts._cli.selection import one_selection, split
from yamlgraph_prompts._cli.terminal import finding_lines, note, paint, say, say_json, tell_problem
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts.errors import PromptsError, PushRefused
from yamlgraph_prompts.findings import Finding

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.channel import Channel, Pushed


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
    before = released(there.registry, live.release if live else None)
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
    warn_if_undoing(arguments, live, candidate.release.id)
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
        return order_here(arguments)
    if others:
        raise PromptsError(
            f"rollback of a bucket takes no further arguments, not {' '.join(others)}.",
            hint="The releases of a bucket were checked when they were pushed.",
        )
    there = channel(arguments, urls)
    order = {"message": message(arguments), "who": person(arguments)}

    to = None if arguments.to is None else there.find(arguments.to)
    live = there.current()
    warn_if_undoing(arguments, live, to or (live.previous if live else None))
    return _published(there, arguments, partial(there.rollback, **order, to=to))


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
        winner = problem.winner if isinstance(problem.winner, Entry) else None
        refusal = {"winner": winner.facts() if winner else None, "changed": problem.changed}
        say_json({"status": "refused", "why": str(problem), **refusal})
        return 1
    entry = pushed.entry
    changes = changes_between(there.registry, pushed.before, entry.release)
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
    say_changes(changes, entry.release)
    if pushed.repaired:
        why = "because its push was interrupted or its pack was damaged"
        say(f"  Readers could not see it, {why}. Now they can.")
    return 0
