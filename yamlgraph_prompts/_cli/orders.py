"""`push | import | promote | rollback | activate`: change what is live, and say what came of it.

In a registry for all its readers; without one, for the processes that share this machine's store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._cli.channels import (
    as_prompt,
    changes_between,
    channel,
    message,
    person,
    released,
    say_changes,
    urls_in,
    versions_in,
    warn_if_undoing,
)
from yamlgraph_prompts._cli.check import building
from yamlgraph_prompts._cli.holds import order as order_here
from yamlgraph_prompts._cli.selection import one_selection, split
from yamlgraph_prompts._cli.terminal import finding_lines, note, paint, say, say_json, tell_problem
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.errors import PromptsError, PushRefused
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sources.layers import Layer, as_layer

if TYPE_CHECKING:
    from yamlgraph_prompts.registry.channel import Channel, Pushed


def push(arguments: Any) -> int:
    """Check prompts, then publish them; 1 where they are refused."""
    urls, others = urls_in(arguments.words)
    there = channel(arguments, urls)
    graphs, folders = split(others)
    arguments.layers = [*((folder, False) for folder in folders), *(arguments.layers or ())]
    if not arguments.layers and not one_selection(arguments, graphs).layers:
        text = f"{arguments.command} needs prompts, and only a graph was named."
        raise PromptsError(text, hint="Name the folder of the prompts too, such as prompts/.")
    order = {"message": message(arguments), "who": person(arguments)}
    # Read before the prompts: a push in the meantime must count as a conflict.
    live = there.current()
    selection = one_selection(arguments, graphs)
    before = released(there.registry, live.release if live else None)
    candidate = selection.candidate(strict=arguments.strict, before=before)
    findings = list(dict.fromkeys(candidate.findings))
    if not candidate.refused:
        findings += building(candidate)
    if not candidate.refused and not candidate.release.prompts:
        text = f"There are no prompts in {selection.shown}, so nothing was published."
        raise PromptsError(text, hint="Prompts end in .yaml or .yaml.j2.")
    warn_if_undoing(arguments, live, candidate.release.id)
    act = partial(there.push, candidate.release, **order, why=arguments.command, after=live)
    return _published(there, arguments, act, findings)


def promote(arguments: Any) -> int:
    """Make live in one environment what is live in another; 1 where that is refused."""
    urls, others = urls_in(arguments.words)
    there = channel(arguments, urls)
    graphs, words = split(others)
    if len(words) > 1:
        text = f"promote takes at most one release, not {' '.join(words)}."
        raise PromptsError(text, hint="Without one, it takes the live one.")
    from yamlgraph_prompts.registry.channel import Channel

    source = Channel(urls[0], environment=arguments.source)
    order = {"message": message(arguments), "who": person(arguments)}
    chosen = source.find(words[0]) if words else None
    prompts = source.named(chosen or "live").prompts if graphs else {}
    findings = _checked(arguments, there, prompts, there.current(), graphs)
    act = partial(there.promote, source, **order, release_id=chosen)
    return _published(there, arguments, act, findings)


def rollback(arguments: Any) -> int:
    """Make live again what was live before; 1 where that is refused."""
    urls, others = urls_in(arguments.words)
    if not urls:
        if arguments.to:
            text = "--to is for the history of a registry, and none was named."
            raise PromptsError(text, hint="Name its URL. For the store: activate ID.")
        return order_here(arguments)
    graphs, words = split(others)
    if words:
        text = f"rollback of a registry takes only graphs besides, not {' '.join(words)}."
        raise PromptsError(text, hint=f"To name a release: --to {words[0]}.")
    there = channel(arguments, urls)
    order = {"message": arguments.message or "", "who": person(arguments)}

    live = there.current()
    to = there.find(arguments.to) if arguments.to is not None else live.previous if live else None
    prompts = there.get(to).prompts if graphs and to is not None else {}
    findings = _checked(arguments, there, prompts, live, graphs)
    warn_if_undoing(arguments, live, to)
    return _published(there, arguments, partial(there.rollback, **order, to=to), findings)


def activate(arguments: Any) -> int:
    """Make versions of prompts live in a database; 1 where that is refused."""
    urls, others = urls_in(arguments.words)
    graphs, words = split(others)
    if not urls:
        return order_here(arguments)
    from yamlgraph_prompts.registry.channel import Pushed

    there = channel(arguments, urls)
    registry = there.versions()
    versions = versions_in(words)
    if not versions:
        hint = "Such as greeting@3. For a whole release: rollback URL --to ID."
        raise PromptsError("activate needs versions, and none was named.", hint=hint)
    live = there.current()
    old = released(there.registry, live.release if live else None)
    before = old.prompts if old else {}
    made = [registry.version(name, number) for name, number in versions.items() if number]
    prompts = {version.name: as_prompt(version, there.url) for version in made}
    whole = {**{name: one for name, one in before.items() if name not in versions}, **prompts}
    if before and not whole and not arguments.allow_empty:
        text = "No prompt would be left, and readers refuse a layer that loses all of them."
        raise PromptsError(text, hint="If theirs has allow_empty=True: --allow-empty.")
    there.refuse_names(Release.of(whole.values()))
    # Without a graph, the other prompts are what is live already.
    findings = _checked(arguments, there, whole if graphs else prompts, live, graphs)
    order = {"message": arguments.message or "", "who": person(arguments)}
    replaces = {name: before[name].sha256 if name in before else None for name in versions}

    def act() -> Pushed:
        entry = registry.activate(
            there.environment, versions, **order, replaces=replaces if old else None
        )
        return Pushed(entry, published=entry != live, before=live)

    return _published(there, arguments, act, findings)


def _checked(
    arguments: Any,
    there: Channel,
    prompts: Mapping[str, Prompt],
    live: Entry | None,
    graphs: Sequence[str],
) -> list[Finding]:
    """What the check finds in prompts of a registry, with graphs and the layers beside it."""
    if not prompts:
        return []
    if there.given not in (url for url, _ in arguments.layers or ()):
        arguments.layers = [(there.given, False), *(arguments.layers or ())]
    selection = one_selection(arguments, graphs)
    own = Layer({name: prompt.data for name, prompt in prompts.items()})
    layers = (own if as_layer(one).text == there.given else one for one in selection.layers)
    before = released(there.registry, live.release if live else None)
    candidate = replace(selection, layers=tuple(layers)).candidate(before=before)
    findings = list(dict.fromkeys(candidate.findings))
    return findings if candidate.refused else [*findings, *building(candidate)]


def _published(
    there: Channel, arguments: Any, act: Callable[[], Pushed], findings: Sequence[Finding]
) -> int:
    """Do it if the check found no error, and say what came of it; 1 where it was refused."""
    if not arguments.json:
        for line in finding_lines(findings):
            note(line)
    if any(finding.severity == "error" for finding in findings):
        if arguments.json:
            say_json({"status": "rejected", "findings": [asdict(one) for one in findings]})
        else:
            note(paint("✗ Rejected: nothing was published.", "bold", "red"))
        return 1
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
        status = "published" if pushed.published else "unchanged"
        where = {"environment": there.environment, "registry": there.url}
        entry_facts = {"entry": entry.facts(), "repaired": pushed.repaired}
        found = [asdict(finding) for finding in findings]
        say_json({"status": status, **where, **entry_facts, **changes, "findings": found})
        return 0
    already = "" if pushed.published else " already"
    place = f"for {there.environment} in {there.url} (number {entry.number})"
    say(paint(f"✓ {entry.release[:12]} is live{already} {place}.", "green"))
    say_changes(changes, entry.release)
    if pushed.repaired:
        why = "because its push was interrupted or its pack was damaged"
        say(f"  Readers could not see it, {why}. Now they can.")
    return 0
