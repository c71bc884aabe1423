"""Takes out the warnings that comments in prompts silence, and warns of those that silence none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts._text.spelling import did_you_mean
from yamlgraph_prompts._yaml_file.ignores import MARK, Ignore
from yamlgraph_prompts.findings import Finding, bounded, shown

# Whether there is such a warning depends on the graphs that use the prompt.
_OF_GRAPHS = ("missing-variable", "missing-user", "own-prompt", "unused-prompt")


def heard(
    findings: Iterable[Finding],
    release: Release,
    ignores_of: Callable[[Prompt], Sequence[Ignore]],
    in_use: Collection[str],
) -> list[Finding]:
    """The findings that are left; `in_use`: the prompts of which all uses are known."""
    by_prompt: dict[str | None, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_prompt[finding.prompt].append(finding)
    for name, prompt in release.prompts.items():
        if MARK in prompt.data and (ignores := ignores_of(prompt)):
            by_prompt[name] = list(_of_prompt(by_prompt[name], prompt, ignores, name in in_use))
    return [finding for some in by_prompt.values() for finding in some]


def _of_prompt(
    findings: Sequence[Finding], prompt: Prompt, ignores: Sequence[Ignore], is_in_use: bool
) -> Iterator[Finding]:
    needed: set[tuple[int, str]] = set()
    for finding in findings:
        covering = [one for one in ignores if one.covers(finding)]
        if finding.file not in (None, prompt.file):
            covering = []
        needed.update((one.line, finding.code) for one in covering)
        if finding.severity == "error" or not covering:
            yield finding
    if not any(finding.severity == "error" for finding in findings):  # else not all are known
        known = {*_OF_GRAPHS, *(finding.code for finding in findings)}
        unknown = () if is_in_use else _OF_GRAPHS
        unused = (
            Finding(
                "warning",
                "unused-ignore",
                f"{shown(code)} is ignored, and there is no such warning",
                prompt=prompt.name,
                file=prompt.file or None,
                line=one.line,
                column=one.column,
                hint=did_you_mean(code, known)
                or "Delete it, or write it above the line it is for.",
            )
            for one in ignores
            for code in one.codes
            if (one.line, code) not in needed and code not in unknown
            if "unused-ignore" not in one.codes
        )
        yield from bounded(unused)
