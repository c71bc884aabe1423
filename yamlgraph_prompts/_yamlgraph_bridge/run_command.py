"""YAMLGraph's own `graph run` command on a live graph. For one call in a process of its own."""

from __future__ import annotations

import functools
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yamlgraph_prompts._yamlgraph_bridge import adopt
from yamlgraph_prompts.errors import UnsupportedYamlgraph

if TYPE_CHECKING:
    from yamlgraph_prompts._yamlgraph_bridge.graph import YamlGraph
    from yamlgraph_prompts.live_prompts import LivePrompts


def run_parser(prog: str) -> ArgumentParser:
    """YAMLGraph's own parser of `graph run`, under another name."""
    from yamlgraph.cli import create_parser

    parser: ArgumentParser = create_parser()
    for command in ("graph", "run"):
        choices: Any = parser._subparsers and parser._subparsers._group_actions[0].choices
        if not choices or command not in choices:
            raise UnsupportedYamlgraph("This yamlgraph has no command `graph run`.")
        parser = choices[command]
    parser.prog = prog
    parser.usage = None
    return parser


@contextmanager
def overrides(arguments: Namespace) -> Iterator[None]:
    """While this lasts, the graph is read with the arguments' provider, model and tools."""
    adopt.install()
    from yamlgraph.compile import graph_loader

    options = _overrides(arguments)
    root = Path(arguments.graph_path).resolve()
    original = graph_loader.load_graph_config

    @functools.wraps(original)
    def load_graph_config(path: str | Path, *args: Any, **kwargs: Any) -> Any:
        if options and not args and not kwargs and Path(path).resolve() == root:
            kwargs = options
        return original(path, *args, **kwargs)

    with _replaced(graph_loader, "load_graph_config", load_graph_config):
        yield


def run_graph(
    arguments: Namespace, prompts: LivePrompts, graph: YamlGraph, release: str = "live"
) -> int:
    """Run the graph as YAMLGraph's command would, on a release; its exit code."""
    from yamlgraph.cli.graph_commands import cmd_graph_run
    from yamlgraph.compile import graph_loader

    live = prompts.live(graph, marks=graph.marks)
    compiled = live.compile

    def compile_on(*args: Any, **kwargs: Any) -> Any:
        return compiled(*args, **kwargs).on(release)

    root = Path(arguments.graph_path).resolve()
    original = graph_loader.compile_graph

    @functools.wraps(original)
    def compile_graph(config: Any) -> Any:
        # The live graph's own builds call this too.
        if adopt._under_way.get() is None and config.source_path == root:
            return live
        return original(config)

    try:
        with (
            _replaced(graph_loader, "compile_graph", compile_graph),
            _replaced(live, "compile", live.compile if release == "live" else compile_on),
        ):
            cmd_graph_run(arguments)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


def _overrides(arguments: Namespace) -> dict[str, Any]:
    options = {
        "provider_override": getattr(arguments, "provider", None),
        "model_override": getattr(arguments, "model", None),
    }
    if bindings := getattr(arguments, "tool_bindings", None):
        from yamlgraph.tools.tool_slots import ToolSlotBindingError, parse_tool_bindings

        # The command itself reports a malformed one, before it runs anything.
        with suppress(ToolSlotBindingError):
            options["tool_bindings"] = parse_tool_bindings(bindings)
    return {name: value for name, value in options.items() if value}


@contextmanager
def _replaced(module: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, original)
