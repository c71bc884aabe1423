"""`yamlgraph-prompts push | promote`: check the prompts, then make them live in a bucket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts.cli.check import building
from yamlgraph_prompts.cli.places import one_place, split
from yamlgraph_prompts.cli.published import (
    attempt,
    bucket,
    buckets,
    message,
    person,
    released,
)
from yamlgraph_prompts.cli.terminal import finding_lines, note, paint, say_json
from yamlgraph_prompts.errors import PromptsError

if TYPE_CHECKING:
    from yamlgraph_prompts.findings import Finding
    from yamlgraph_prompts.registry.bucket import Bucket, Pushed


def run(arguments: Any) -> int:
    """Push or promote; 1 where it is refused."""
    urls, others = buckets(arguments.words)
    place = bucket(arguments, urls)
    if arguments.command == "promote":
        return _promote(arguments, place, urls[0], others)
    return _push(arguments, place, others)


def _push(arguments: Any, place: Bucket, others: Sequence[str]) -> int:
    graphs, folders = split(others)
    arguments.layers = [*((folder, False) for folder in folders), *(arguments.layers or ())]
    if not arguments.layers and not one_place(arguments, graphs).layers:
        raise PromptsError(
            "push needs prompts, and only a graph was named.",
            hint="Name the folder of the prompts too, for example: yamlgraph-prompts push prompts/ "
            f"{' '.join(graphs)} {place.url}",
        )
    entry = {"message": message(arguments), "who": person(arguments)}
    # Read before the prompts: a push in the meantime must count as a conflict.
    live = place.current()
    source = one_place(arguments, graphs)
    candidate = source.candidate(strict=arguments.strict, before=released(place, live))
    findings = list(dict.fromkeys(candidate.findings))
    if not candidate.refused:
        findings += building(candidate)
    if not arguments.json:
        for line in finding_lines(findings):
            note(line)
    if any(finding.severity == "error" for finding in findings):
        return _refused(arguments, findings)
    if not candidate.release.prompts:
        raise PromptsError(
            f"There are no prompts in {source.shown}, so nothing was published.",
            hint="Prompts end in .yaml or .yaml.j2.",
        )

    def push() -> Pushed:
        return place.push(
            candidate.release, **entry, single_writer=arguments.single_writer, after=live
        )

    return attempt(place, arguments, push, findings)


def _refused(arguments: Any, findings: Sequence[Finding]) -> int:
    if arguments.json:
        from dataclasses import asdict

        facts = [asdict(finding) for finding in findings]
        say_json({"status": "rejected", "findings": facts})
    else:
        note(paint("✗ Rejected: nothing was published.", "bold", "red"))
    return 1


def _promote(arguments: Any, place: Bucket, url: str, others: Sequence[str]) -> int:
    if len(others) > 1:
        raise PromptsError(
            f"promote takes one bucket and at most one release, not {' '.join(others)}.",
            hint="Without a release it takes the live one.",
        )
    from yamlgraph_prompts.registry.bucket import Bucket

    there = Bucket(url, environment=arguments.source)
    entry = {"message": message(arguments), "who": person(arguments)}

    def promote() -> Pushed:
        chosen = there.find(others[0]) if others else None
        return place.promote(
            arguments.source, **entry, release_id=chosen, single_writer=arguments.single_writer
        )

    return attempt(place, arguments, promote)
