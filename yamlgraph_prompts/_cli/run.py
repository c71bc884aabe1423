"""`yamlgraph-prompts run`: YAMLGraph's `graph run` with all its options, on the live release."""

from __future__ import annotations

import sys
from typing import Any

from yamlgraph_prompts._cli.channels import versions_in
from yamlgraph_prompts._cli.selection import one_selection
from yamlgraph_prompts._cli.terminal import note, paint, say_lines
from yamlgraph_prompts.errors import PromptsError


def run(arguments: Any) -> int:
    """Run the graph once; YAMLGraph's exit code."""
    from yamlgraph_prompts._yamlgraph_bridge.known import supported

    supported()
    from yamlgraph_prompts._yamlgraph_bridge.run_command import overrides, run_graph, run_parser

    parser = run_parser("yamlgraph-prompts run")
    if arguments.help:
        say_lines(arguments.usage())
        say_lines("The options of YAMLGraph's own command work too:\n")
        say_lines(parser.format_help())
        return 0
    options, unknown = parser.parse_known_args(arguments.rest)
    if unknown:
        if options.export and not any(word.startswith("-") for word in unknown):
            # As in all other commands.
            text = f"{' '.join(unknown)} is not expected: here -e is YAMLGraph's own --export."
            raise PromptsError(text, hint=f"Use --environment {unknown[0]}.")
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    selection = one_selection(arguments, [options.graph_path])
    tried = {name: number for name, number in versions_in(arguments.tried).items() if number}
    with overrides(options), selection.live() as prompts:
        if tried:
            release = prompts.candidate(tried)
            text = f"release {release.id[:12]} with {', '.join(arguments.tried)}, not live"
            note(paint(text, "dim", stream=sys.stderr))
            return run_graph(options, prompts, selection.attached[0], release.id)
        held = ", held" if prompts.held else ""
        where = f"environment {selection.environment} · {selection.shown}"
        text = f"release {prompts.release.id[:12]}{held} · {where}"
        note(paint(text, "dim", stream=sys.stderr))
        return run_graph(options, prompts, selection.attached[0])
