"""What the bridge relies on in yamlgraph, and the refusal where that is not so."""

from __future__ import annotations

import functools
import inspect
import os
import threading
from collections.abc import Callable, MutableMapping
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from yamlgraph_prompts.errors import MissingExtra, UnsupportedYamlgraph

SUPPORTED = "0.6.0 to 0.6.x"
REQUIREMENT = "yamlgraph>=0.6.0,<0.7"

# Which prompts a graph means and how their bucket is reached: neither names a file or a command.
_SETTINGS = frozenset(
    {"ENVIRONMENT", "YAMLGRAPH_PROMPTS_ENVIRONMENT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    | {"AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION"}
    | {"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"}
)

_RESOLVE = ("prompt_name", "prompts_dir", "graph_path", "prompts_relative")

# module, function → the names of its first parameters
_EXPECTED: dict[tuple[str, str], tuple[str, ...]] = {
    ("yamlgraph.compile.graph_loader", "load_graph_config"): ("path",),
    ("yamlgraph.compile.graph_loader", "compile_graph"): ("config",),
    ("yamlgraph.compile.graph_loader", "get_checkpointer_for_graph"): ("config",),
    ("yamlgraph.compile.graph_loader", "load_python_function"): ("config",),
    ("yamlgraph.tools.python_tool", "build_write_data_file_tool"): ("name", "config", "graph_root"),
    ("yamlgraph.utils.prompts", "resolve_prompt_path"): _RESOLVE,
    ("yamlgraph.utils.prompts", "load_prompt"): _RESOLVE,
    ("yamlgraph.executor_base", "load_prompt"): _RESOLVE,
    ("yamlgraph.executor_base", "format_prompt"): ("template", "variables", "state"),
    ("yamlgraph.executor_base", "validate_variables"): ("template", "provided", "prompt_name"),
    ("yamlgraph.executor_base", "_reject_unrenderable_message"): ("template", "prompt_name"),
    ("yamlgraph.tools.agent", "load_prompt"): _RESOLVE,
    ("yamlgraph.tools.agent", "format_prompt"): ("template", "variables", "state"),
    ("yamlgraph.node_factory.copilot_node", "load_prompt"): _RESOLVE,
    ("yamlgraph.node_factory.copilot_runtime", "format_prompt"): ("template", "variables", "state"),
    ("yamlgraph.schema_loader", "load_schema_from_yaml"): ("yaml_path",),
    ("yamlgraph.schema_loader", "build_pydantic_model"): ("schema",),
    ("yamlgraph.schema_loader", "build_pydantic_model_from_json_schema"): ("schema", "model_name"),
}


_wrapping = threading.Lock()
_wrapped: set[tuple[str, str]] = set()


def wrap(module: str, name: str, ours: Callable[..., Any]) -> None:
    """Have a function of yamlgraph call `ours` with itself and its arguments; done once."""
    with _wrapping:
        if (module, name) in _wrapped:
            return
        home = import_module(module)
        original = getattr(home, name)

        # Not a function: each would cost a call more.
        setattr(home, name, functools.wraps(original)(functools.partial(ours, original)))
        _wrapped.add((module, name))


@cache
def supported() -> str:
    """The installed yamlgraph's version, after checking that it is one that the bridge knows."""
    try:
        installed = version("yamlgraph")
    except PackageNotFoundError:
        text = "Loading a YAMLGraph graph needs yamlgraph."
        hint = "Install it with: pip install 'yamlgraph-prompts[yamlgraph]'"
        raise MissingExtra(text, hint=hint) from None
    for (module, name), parameters in _EXPECTED.items():
        if _first_parameters(module, name, len(parameters)) != parameters:
            raise UnsupportedYamlgraph(
                f"yamlgraph {installed} does not have {module}.{name}"
                f"({', '.join(parameters)}) as this version of yamlgraph-prompts expects.",
                hint=f"It works with yamlgraph {SUPPORTED}: pip install --upgrade '{REQUIREMENT}'",
            )
    return installed


def import_for_reading() -> None:
    """Import yamlgraph; of the `.env` file that it loads only settings that can run nothing.

    Where nothing of a graph is built, such a file may be part of the change that is looked at.
    """
    try:
        dotenv: Any = import_module("dotenv")
    except ImportError:
        return
    load = dotenv.load_dotenv
    dotenv.load_dotenv = _load_settings
    try:
        supported()
    finally:
        dotenv.load_dotenv = load


def _load_settings(path: Any = None, *_: Any, **__: Any) -> bool:
    from dotenv import dotenv_values

    values = dotenv_values(path)
    for name in _SETTINGS & values.keys():
        os.environ.setdefault(name, values[name] or "")
    return bool(values)


def _first_parameters(module: str, name: str, count: int) -> tuple[str, ...] | None:
    try:
        function: Any = getattr(import_module(module), name)
        return tuple(inspect.signature(function).parameters)[:count]
    except (ImportError, AttributeError, TypeError, ValueError):
        return None


def graph_cache() -> MutableMapping[str, Any]:
    """YAMLGraph's own cache of compiled graphs, by path."""
    from yamlgraph.graph_cache import GRAPH_CACHE

    cache: MutableMapping[str, Any] = GRAPH_CACHE
    return cache
