"""`yamlgraph-prompts diff`: the difference between two releases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from yamlgraph_prompts.cli.places import LAYERS, one_place, split
from yamlgraph_prompts.cli.published import bucket, buckets, released_as
from yamlgraph_prompts.cli.terminal import paint, say, say_json
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.model.release import Release

_STYLES = {"+++": "bold", "---": "bold", "@@": "cyan", "+": "green", "-": "red"}


def run(arguments: Any) -> int:
    """Print the difference; 1 if there is one, as diff(1)."""
    urls, others = buckets(arguments.words)
    graphs, names = split(others)
    if len(names) != 2:
        raise PromptsError(
            f"diff needs two releases, and {len(names)} were named.",
            hint="Name ids, 'live', or 'layers' for what the layers contain now.",
        )
    before, after = map(_finder(arguments, urls, graphs, names), names)
    diff = before.diff(after)
    if arguments.json:
        say_json(
            {
                "before": before.id,
                "after": after.id,
                "added": diff.added,
                "removed": diff.removed,
                "changed": diff.changed,
                "diff": str(diff),
            }
        )
    else:
        for line in str(diff).splitlines():
            say(_line(line))
    return 1 if diff else 0


def _finder(
    arguments: Any, urls: Sequence[str], graphs: Sequence[str], names: Sequence[str]
) -> Callable[[str], Release]:
    if not urls:
        return one_place(arguments, graphs, reading=True).release
    there = bucket(arguments, urls)
    here = one_place(arguments, graphs, reading=True) if LAYERS in names else None
    return lambda word: here.release(word) if here and word == LAYERS else released_as(there, word)


def _line(line: str) -> str:
    style = next((style for start, style in _STYLES.items() if line.startswith(start)), None)
    line = line.expandtabs()
    return paint(line, style) if style else line
