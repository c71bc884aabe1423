"""Makes YAMLGraph's calls on a release's folder cheap and safe: parsed and compiled once.

Acts only on prompts that come from such a folder; every other call goes through untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from yamlgraph_prompts._model.output_models import output_model
from yamlgraph_prompts._model.release import Prompt
from yamlgraph_prompts._yamlgraph_bridge.known import wrap
from yamlgraph_prompts.errors import PromptNotFound, PromptRenderError, ReleaseNotFound
from yamlgraph_prompts.templates.template import Text, missing_variables

# The beginning of the name of every folder that YAMLGraph reads for us.
VIEW = "yamlgraph-prompts-view-"


class Folder:
    """A folder of one release, and the prompts in it by the name that a graph uses."""

    def __init__(self, path: Path, view: str, prompts: Mapping[str, Prompt]) -> None:
        self.path = path
        self.view = view
        self.prompts = prompts


_folders: WeakValueDictionary[str, Folder] = WeakValueDictionary()


def serve(path: Path, view: str, prompts: Mapping[str, Prompt]) -> Folder:
    """Answer YAMLGraph's reads from `path` with `prompts` for as long as the answer is kept."""
    install()
    return _folders.setdefault(str(path), Folder(path, view, prompts))


def install() -> None:
    """Wrap the functions that load and fill in a prompt, once."""
    for module, name, ours in (
        ("yamlgraph.utils.prompts", "resolve_prompt_path", _resolve_prompt_path),
        ("yamlgraph.utils.prompts", "load_prompt", _load_prompt),
        ("yamlgraph.executor_base", "load_prompt", _load_prompt),
        ("yamlgraph.tools.agent", "load_prompt", _load_prompt),
        ("yamlgraph.node_factory.copilot_node", "load_prompt", _load_prompt),
        ("yamlgraph.executor_base", "format_prompt", _format_prompt),
        ("yamlgraph.tools.agent", "format_prompt", _format_prompt),
        ("yamlgraph.node_factory.copilot_runtime", "format_prompt", _format_prompt),
        ("yamlgraph.executor_base", "validate_variables", _validate_variables),
        ("yamlgraph.executor_base", "_reject_unrenderable_message", _reject_unrenderable),
        ("yamlgraph.schema_loader", "load_schema_from_yaml", _load_schema),
    ):
        wrap(module, name, ours)


# Each takes the function that it replaces, then that function's own parameters.


class NotInRelease(PromptNotFound, FileNotFoundError):
    """A missing prompt, as an error on which YAMLGraph goes on building the graph."""


def _resolve_prompt_path(
    original: Callable[..., Any],
    prompt_name: str,
    prompts_dir: Any = None,
    *args: Any,
    **named: Any,
) -> Any:
    folder = None if prompts_dir is None else _folder(str(prompts_dir))
    if folder is not None and prompt_name not in folder.prompts:
        # Elsewhere YAMLGraph would find what is in no release and was not checked.
        raise NotInRelease(
            f"This run's release has no prompt {prompt_name!r}.",
            name=prompt_name,
            hint="Where the graph's file asks for it since the run began: start the thread "
            'anew with a fresh input, or let such runs take the live release: pin="none".',
        )
    if folder is not None and not folder.path.is_dir():
        return folder.path / f"{prompt_name}.yaml"
    return original(prompt_name, prompts_dir, *args, **named)


def _load_prompt(
    original: Callable[..., Any],
    prompt_name: str,
    prompts_dir: Any = None,
    *args: Any,
    **named: Any,
) -> Any:
    folder = None if prompts_dir is None else _folder(str(prompts_dir))
    prompt = None if folder is None else folder.prompts.get(prompt_name)
    if prompt is None:
        return original(prompt_name, prompts_dir, *args, **named)
    return prompt.template.loaded()


def _format_prompt(
    original: Callable[..., Any], template: str, variables: Any, state: Any = None
) -> Any:
    if type(template) is Text:
        return template.template.render(variables, state, template.budget)
    if type(template) is not str:  # YAMLGraph's own texts are plain
        raise PromptRenderError("A message of a prompt must be text.")
    return original(template, variables, state=state)


def _validate_variables(
    original: Callable[..., Any], template: str, provided: Any, prompt_name: str
) -> None:
    if type(template) is not Text:
        original(template, provided, prompt_name)
    elif missing := template.template.variables.difference(provided):
        raise missing_variables(prompt_name, missing)


def _reject_unrenderable(original: Callable[..., Any], template: str, prompt_name: str) -> None:
    if type(template) is not Text:
        original(template, prompt_name)
    elif template.template.fill is None:
        template.template.refuse_braces()


def _load_schema(original: Callable[..., Any], yaml_path: Any) -> Any:
    prompt = _find(str(yaml_path))
    return original(yaml_path) if prompt is None else output_model(prompt)


def _folder(path: str) -> Folder | None:
    folder = _folders.get(path)
    if folder is None and VIEW in path:
        # Reading the file instead would go past the sandbox, or find nothing and fall back.
        raise ReleaseNotFound(
            "The release of this run is no longer in memory: its graph was removed during the run.",
            release_id=path.partition(VIEW)[2][:12],
        )
    return folder


def _find(path: str) -> Prompt | None:
    if VIEW not in path:
        return None
    for name, folder in tuple(_folders.items()):
        if path.startswith(name + "/"):
            return folder.prompts.get(path[len(name) + 1 : -len(".yaml")])
    return None
