"""The Pydantic models of prompts' inline schemas, as YAMLGraph builds them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from yamlgraph_prompts.errors import MissingExtra


class Prompt(Protocol):
    """What is needed of a `release.Prompt`."""

    @property
    def name(self) -> str: ...

    @property
    def data(self) -> bytes: ...

    @property
    def content(self) -> Mapping[str, Any]: ...


_models: WeakKeyDictionary[Prompt, Any] = WeakKeyDictionary()


def output_model(prompt: Prompt) -> Any:
    """The model of a prompt's `schema` or `output_schema`; None without one."""
    if b"schema" not in prompt.data and b"\\" not in prompt.data:
        return None  # a key can hide only behind an escape
    if prompt not in _models:
        _models[prompt] = _built(prompt)
    return _models[prompt]


def _built(prompt: Prompt) -> Any:
    content = prompt.content
    if "schema" not in content and "output_schema" not in content:
        return None
    try:
        from yamlgraph import schema_loader
    except ImportError as problem:
        text = "A schema in a prompt needs yamlgraph."
        hint = "Install it with: pip install 'yamlgraph-prompts[yamlgraph]'"
        raise MissingExtra(text, hint=hint) from problem
    # YAMLGraph's builders change the mapping that they are given.
    if "schema" in content:
        return schema_loader.build_pydantic_model(copy.deepcopy(content["schema"]))
    # The prompt of a child graph is named `child:name` in a release.
    words = prompt.name.replace(":", "/").rpartition("/")[2].split("_")
    return schema_loader.build_pydantic_model_from_json_schema(
        copy.deepcopy(content["output_schema"]), "".join(map(str.title, words)) + "Output"
    )
