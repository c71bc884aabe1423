"""`yamlgraph-prompts init`: the settings of a project, from the graphs and prompts that it has.

Writes new files only; never changes one that is there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yamlgraph_prompts._cli.config import OWN_FILE
from yamlgraph_prompts._cli.projects import graphs_below
from yamlgraph_prompts._cli.terminal import paint, say
from yamlgraph_prompts.errors import PromptsError
from yamlgraph_prompts.sources.layers import PLACEHOLDER

FIRST_PROMPT = "user: Hello {name}.\n"
_SHARED = ("base", "common", "default", "shared")

Layers = list[tuple[str, bool]]  # URL, and whether it is optional


def run(arguments: Any) -> int:
    """Write the project's file, and a first prompt where there is none."""
    if arguments.config is not None:
        raise PromptsError(
            f"{arguments.config.file} has the settings of this project.",
            hint="Edit it. The command line reference explains each setting.",
        )
    here = Path()
    graphs = graphs_below(here)
    layers, files = _layout(here, graphs)
    files = {OWN_FILE: _settings(graphs, layers), **files}
    for name, text in files.items():
        if not arguments.dry_run:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            with Path(name).open("x", encoding="utf-8") as file:
                file.write(text)
        say(paint(f"{'would write' if arguments.dry_run else '✓ wrote'} {name}", "green"))
        for line in text.splitlines():
            say(f"    {line}")
    say("Next:")
    say("  1. Correct the layers and graphs, if they are not those of the app.")
    say("  2. yamlgraph-prompts check")
    say(f"  3. In the app: {_call(graphs, layers)}")
    return 0


def _layout(here: Path, graphs: Sequence[Path]) -> tuple[Layers, dict[str, str]]:
    """The layers, and the files to write for them."""
    folders = {own for graph in graphs for own in _own(here, graph)} or {here / "prompts"}
    if len(folders) > 1 or None in folders:
        return [], {}  # the graphs say where their prompts are
    (folder,) = folders
    assert folder is not None
    if not folder.is_dir():
        layers = [(f"{folder}/{PLACEHOLDER}", True), (f"{folder}/base", False)]
        return layers, {f"{folder}/base/greeting.yaml": FIRST_PROMPT}
    inside = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    shared = next((name for name in _SHARED if name in inside), None)
    if shared and not any(folder.glob("*.yaml")):
        # The folders beside it are the environments.
        return [(f"{folder}/{PLACEHOLDER}", len(inside) == 1), (f"{folder}/{shared}", False)], {}
    return [(f"environments/{PLACEHOLDER}", True), (str(folder), False)], {}


def _own(here: Path, graph: Path) -> list[Path | None]:
    """The folder that YAMLGraph reads a graph's prompts from; None: it names layers itself."""
    from yamlgraph_prompts._yamlgraph_bridge import peek

    settings = peek(graph)
    own = settings.prompts_dir
    if isinstance(own, tuple) or (own and (PLACEHOLDER in own or "://" in own)):
        return [None]
    return [graph.parent / (own or "") if settings.prompts_relative else here / (own or "prompts")]


def _settings(graphs: Sequence[Path], layers: Layers) -> str:
    lines = ["# For the command yamlgraph-prompts only. Paths are relative to this file."]
    if layers:
        lines += ["# Where prompts come from, the highest priority first.", "layers = ["]
        lines += [f"    {_item(url, optional)}," for url, optional in layers]
        lines += ["]"]
    else:
        lines += ["# There are no layers: each graph has its own prompts."]
    lines += ["graphs = [", *(f"    {_text(str(graph))}," for graph in graphs), "]"]
    if layers:
        lines += ["# Unless -e, YAMLGRAPH_PROMPTS_ENVIRONMENT or ENVIRONMENT names another one."]
        lines += ['environment = "development"']
    return "\n".join(lines) + "\n"


def _item(url: str, optional: bool) -> str:
    return f"{{url = {_text(url)}, optional = true}}" if optional else _text(url)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _call(graphs: Sequence[Path], layers: Layers) -> str:
    shown = [f"Layer({_text(url)}, optional=True)" if may else _text(url) for url, may in layers]
    if not graphs:
        return f"LivePrompts({', '.join(shown)})"
    more = f", [{', '.join(shown)}]" if shown else ""
    return f"load_and_compile({_text(str(graphs[0]))}{more})"
