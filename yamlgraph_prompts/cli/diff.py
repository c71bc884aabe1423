"""`yamlgraph-prompts diff`: what differs between two releases."""

from __future__ import annotations

from typing import Any

from yamlgraph_prompts.cli.places import one_place, split
from yamlgraph_prompts.cli.terminal import paint, say, say_json
from yamlgraph_prompts.errors import PromptsError

_STYLES = {"+++": "bold", "---": "bold", "@@": "cyan", "+": "green", "-": "red"}


def run(arguments: Any) -> int:
    """Print the difference; 1 where there is one, as diff(1)."""
    graphs, said = split(arguments.words)
    if len(said) != 2:
        raise PromptsError(
            f"Two releases make a difference; {len(said)} were named.",
            hint="Name ids, 'live', or 'layers' for what the layers hold now.",
        )
    place = one_place(arguments, graphs)
    before, after = (place.release(word) for word in said)
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


def _line(line: str) -> str:
    style = next((style for start, style in _STYLES.items() if line.startswith(start)), None)
    return paint(line, style) if style else paint(line)
