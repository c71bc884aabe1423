"""Layers and an environment → the prompts of one release, with where each came from. No I/O."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal
from unicodedata import normalize

from yamlgraph_prompts._model.release import Prompt
from yamlgraph_prompts._text.spelling import nearest
from yamlgraph_prompts.errors import InvalidEnvironment, LayerError
from yamlgraph_prompts.findings import Finding, bounded
from yamlgraph_prompts.sources.layer_files import prompt_name

logger = logging.getLogger("yamlgraph_prompts")

PLACEHOLDER = "{environment}"
DEFAULT_ENVIRONMENT = "development"

_FIRST_FOLDER = 3  # in a URL that is split at its slashes

_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_IN_BRACES = re.compile(r"(?<!\{)\{++\s*+(\w++)\s*+\}++")
_COPY = re.compile(
    r"(?i:conflicted copy|[._](?:sync-)?conflict-\d|\(sfconflict )|_(?:BACKUP|BASE|LOCAL|REMOTE)_\d"
)
_VARS = re.compile(r"vars(\.[^/]+)?\.yaml")
_GRAPH_NODES = re.compile(rb"^nodes[ \t]*:", re.M)
_GRAPH_EDGES = re.compile(rb"^edges[ \t]*:", re.M)


@dataclass(frozen=True)
class Layer:
    """One place that prompts come from.

    Args:
        url: A path, a URL, or a mapping of prompts; a path or URL may contain ``{environment}``.
        optional: Whether the layer may be missing.
        allow_empty: Whether a layer that had prompts may have none any more; an optional one may.
        links: ``"inside"``: a link that leads out of a local folder is an error.
            ``"follow"``: links may lead into `roots` too, as those of Bazel and Nix do.
        separator: What stands for ``/`` in the names of its files, such as ``"__"`` in the keys of
            a Kubernetes ConfigMap. Such a layer is only read.
        roots: The folders that links may lead into. What is in them is served: trust its writers.

    Raises:
        ValueError: `links` is neither of them, or ``"follow"`` has no roots, or the other has some.

    Example:
        >>> Layer("prompts/{environment}").at("staging")
        'prompts/staging'
    """

    url: str | os.PathLike[str] | Mapping[str, Any]
    optional: bool = False
    allow_empty: bool = False
    links: Literal["inside", "follow"] = "inside"
    roots: tuple[str | os.PathLike[str], ...] = ()
    separator: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.roots, (str, os.PathLike)):
            object.__setattr__(self, "roots", (self.roots,))
        object.__setattr__(self, "roots", tuple(self.roots))
        if self.links not in ("inside", "follow") or (self.links == "follow") != bool(self.roots):
            raise ValueError(
                "A layer's links are 'inside', or 'follow' with the roots that they may lead into, "
                "as in Layer('prompts', links='follow', roots=['/nix/store']); "
                f"not {self.links!r} with {self.roots!r}."
            )

    @property
    def text(self) -> str:
        """The URL as text; ``"memory:"`` for a mapping."""
        return "memory:" if isinstance(self.url, Mapping) else os.fspath(self.url)

    @property
    def uses_environment(self) -> bool:
        """Whether the URL contains ``{environment}``."""
        return PLACEHOLDER in self.text

    def at(self, environment: str) -> str:
        """The URL for one environment."""
        return self.text.replace(PLACEHOLDER, environment)


AnyLayer = Layer | str | os.PathLike[str] | Mapping[str, Any]


def as_layer(layer: AnyLayer) -> Layer:
    """Any value that users may pass for a layer, as a `Layer`."""
    result = layer if isinstance(layer, Layer) else Layer(layer)
    if isinstance(result.url, Mapping):
        odd = next((name for name in result.url if not isinstance(name, str)), None)
        if odd is not None:
            text = f"A prompt's name must be a text, and {odd!r} is none."
            raise LayerError(text, layer="memory:")
        return result
    if not isinstance(result.url, (str, os.PathLike)):
        raise TypeError(
            "A layer is a path, a URL, a mapping of prompts or a Layer, and "
            f"a {type(result.url).__name__} is none of them: "
            "give several layers one after the other, as in LivePrompts('local', 'base')."
        )
    text = result.text
    if not text.strip() or "\0" in text:
        hint = "Is it from a variable that is not set? For the working directory say '.'."
        raise LayerError(f"The layer {text!r} names no place.", layer=text, hint=hint)
    for match in _IN_BRACES.finditer(text):
        braces, word = match[0], match[1].lower()
        near = word in ("env", "environment") or nearest(word, ["environment"])
        if braces != PLACEHOLDER and near:
            hint = f"Did you mean {PLACEHOLDER}?"
            raise LayerError(f"The layer {text!r} has {braces} in it.", layer=text, hint=hint)
    return result


def environment_name(argument: str | None, *, needed: bool = True) -> tuple[str, bool]:
    """The environment, and whether it was set explicitly; `needed`: a layer's URL contains it.

    The argument counts first, then ``YAMLGRAPH_PROMPTS_ENVIRONMENT``, then ``ENVIRONMENT``, then
    ``development``.
    """
    for origin, name in (
        ("environment=", argument),
        ("YAMLGRAPH_PROMPTS_ENVIRONMENT", os.environ.get("YAMLGRAPH_PROMPTS_ENVIRONMENT")),
        ("ENVIRONMENT", os.environ.get("ENVIRONMENT")),
    ):
        if name is None or (name == "" and argument is None):
            continue
        if not isinstance(name, str) or not _ENVIRONMENT.fullmatch(name):
            if origin == "ENVIRONMENT" and not needed:
                text = "ENVIRONMENT=%r is ignored: it is no name for one, and no layer uses it."
                logger.warning(text, name)
                break
            text = f"{name!r} (from {origin}) cannot be the name of an environment."
            hint = "Letters, digits, '.', '_' and '-', beginning with a letter or a digit."
            raise InvalidEnvironment(text, hint=hint)
        return name, True
    return DEFAULT_ENVIRONMENT, False


def near(environment: str, others: Iterable[str]) -> str | None:
    """Which of the others a misspelt environment may mean; ``prod`` means ``production``."""
    others = list(others)
    found = get_close_matches(environment, others, n=1)
    found += [name for name in others if environment and name.startswith(environment)]
    return found[0] if found else None


def composed(name: str) -> str:
    """The name in composed Unicode (NFC), in which equal letters are equal characters."""
    return name if name.isascii() else normalize("NFC", name)


def environments_pattern(url: str) -> tuple[str, re.Pattern[str]] | None:
    """The place whose folders are the environments, and what an environment's folder looks like.

    Example:
        >>> place, pattern = environments_pattern("conf/app-{environment}/prompts")
        >>> place, pattern.fullmatch("app-staging")["environment"]
        ('conf', 'staging')
    """
    if PLACEHOLDER not in url:
        return None
    parts = url.split("/")
    index = next(i for i, part in enumerate(parts) if PLACEHOLDER in part)
    if "://" in url and index < _FIRST_FOLDER:
        # For example in a bucket's name: other buckets cannot be listed.
        return None
    before, _, after = parts[index].partition(PLACEHOLDER)
    name = f"(?P<environment>{_ENVIRONMENT.pattern})"
    place = "/".join(parts[:index]) or ("/" if url.startswith("/") else ".")
    return place, re.compile(
        re.escape(before) + name + re.escape(after).replace(r"\{environment\}", ".*")
    )


@dataclass(frozen=True)
class LayerContent:
    """What one layer held when it was read."""

    url: str
    version: str
    files: Mapping[str, bytes]
    findings: tuple[Finding, ...] = ()
    separator: str | None = None  # what stands for "/" in the names of its files

    def known_as(self, path: str) -> str:
        """The path by which graphs and templates know a file."""
        path = path.replace(self.separator, "/") if self.separator else path
        return composed(path)

    def shown(self, path: str) -> str:
        """A file's path, for people to read."""
        return path if self.url == "memory:" else f"{self.url.rstrip('/')}/{path}"

    @property
    def has_prompts(self) -> bool:
        """Whether one of its files is a prompt by its name."""
        return any(
            path.endswith((".yaml", ".yaml.j2")) and not _VARS.fullmatch(path.rpartition("/")[2])
            for path in self.files
        )


@dataclass(frozen=True)
class Template:
    """A ``.yaml.j2`` that won its name: it becomes the prompt `name` when it is rendered."""

    name: str
    path: str
    layer: str
    shown: str
    text: str


@dataclass(frozen=True)
class Resolved:
    """The winners: ready prompts, templates that still have to be rendered, and what they need."""

    prompts: Mapping[str, Prompt]
    templates: Mapping[str, Template]
    parts: Mapping[str, str]  # path → text of all that a template can include, import or extend
    variables: Mapping[str, Any]  # the layers' vars, merged by top-level key
    findings: tuple[Finding, ...] = ()
    graphs: tuple[str, ...] = ()  # files that are graphs, and so no prompts


def resolve(
    layers: Sequence[LayerContent], environment: str, known: Mapping[str, Prompt] | None = None
) -> Resolved:
    """The prompts of these layers; the first layer with a name wins.

    An unchanged prompt is taken from `known`: it may be parsed and compiled already.
    """
    known = known or {}
    prompts: dict[str, Prompt] = {}
    templates: dict[str, Template] = {}
    parts: dict[str, str] = {}
    findings: list[Finding] = []
    graphs: list[str] = []
    for layer in layers:
        findings += layer.findings
        paths: dict[str, str] = {}
        for stored, data in layer.files.items():
            same = known.get(stored[:-5])
            if (
                same and same.data is data and same.layer == layer.url and not layer.separator
                and same.file.endswith(stored) and same.name not in templates
            ):  # fmt: skip
                # The common case, for which not even its names are made.
                prompts.setdefault(same.name, same)
                continue
            path, shown = layer.known_as(stored), layer.shown(stored)
            same = known.get(path.removesuffix(".yaml"))
            if same and (same.data, same.layer, same.file) == (data, layer.url, shown):
                if same.name not in prompts and same.name not in templates:
                    prompts[same.name] = same
                continue
            if not _encodable(path):
                findings.append(_unreadable_name(layer.url, path))
                continue
            if _COPY.search(path):
                findings.append(_conflict_copy(shown))
                continue
            if (other := paths.setdefault(path, shown)) != shown:
                findings.append(_same_name(path, other, shown))
                continue
            if path.endswith(".j2"):
                text = _text(data, path, shown, findings)
                if text is None:
                    continue
                key = path
                while key in parts:
                    # What a higher layer's file of this very name may extend.
                    key = f"super:{key}"
                parts[key] = text
                name = path.removesuffix(".yaml.j2")
                if path.endswith(".yaml.j2") and name not in prompts and name not in templates:
                    templates[name] = Template(name, path, layer.url, shown, text)
                if path.endswith(".yaml.j2") and stored.removesuffix(".j2") in layer.files:
                    findings.append(_twins(name, shown))
            elif path.endswith(".yaml") and not _VARS.fullmatch(path.rpartition("/")[2]):
                name = path.removesuffix(".yaml")
                if _is_graph(data):
                    graphs.append(shown)
                elif name not in prompts and name not in templates:
                    prompts[name] = Prompt(name, data, layer=layer.url, file=shown)
    variables = _variables(layers, environment, findings)
    return Resolved(prompts, templates, parts, variables, tuple(findings), tuple(graphs))


def _encodable(path: str) -> bool:
    return path.isascii() or not any("\ud800" <= char <= "\udfff" for char in path)


def _unreadable_name(url: str, path: str) -> Finding:
    shown = path.encode("utf-8", "backslashreplace").decode()
    text = "This file's name is not UTF-8."
    hint = "Rename the file."
    return Finding("error", "escaping-name", text, file=f"{url}/{shown}", hint=hint)


def _conflict_copy(shown: str) -> Finding:
    text = "This is a copy that a tool made of a file in conflict: it is not read."
    hint = "Take over what you need of it, and delete it."
    return Finding("warning", "conflict-copy", text, file=shown, hint=hint)


def _same_name(path: str, other: str, shown: str) -> Finding:
    text = f"This name is also that of another file, {other!a}: here it is {shown!a}."
    hint = "They differ only in how Unicode composes letters (NFC, NFD), or in `/`. Delete one."
    return Finding("error", "twin-files", text, prompt=prompt_name(path), file=shown, hint=hint)


def _is_graph(data: bytes) -> bool:
    # Every file of every layer comes by here; most do not even have the words.
    if b"nodes" not in data or b"edges" not in data:
        return False
    return bool(_GRAPH_NODES.search(data) and _GRAPH_EDGES.search(data))


def _text(data: bytes, path: str, shown: str, findings: list[Finding]) -> str | None:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        at, prompt = problem.start, prompt_name(path)
        message = f"This file is not UTF-8: byte {at} is 0x{data[at]:02x}."
        line = data.count(b"\n", 0, at) + 1
        findings.append(Finding("error", "not-utf8", message, prompt=prompt, file=shown, line=line))
        return None


def _twins(name: str, shown: str) -> Finding:
    text = f"{name}.yaml and {name}.yaml.j2 stand side by side, so it is not clear which is meant."
    hint = "Keep one of them."
    return Finding("error", "twin-files", text, prompt=name, file=shown, hint=hint)


def _variables(
    layers: Sequence[LayerContent], environment: str, findings: list[Finding]
) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    # Lowest first, so that whatever counts more is written over it.
    for layer in reversed(layers):
        for path in ("vars.yaml", f"vars.{environment}.yaml"):
            if path in layer.files:
                merged.update(_vars_file(layer, path, findings))
    return merged


def _vars_file(layer: LayerContent, path: str, findings: list[Finding]) -> Mapping[str, Any]:
    from yamlgraph_prompts._yaml_file import PromptFile, parse_yaml
    from yamlgraph_prompts._yaml_file.surprises import in_values

    shown = layer.shown(path)
    value, problems = parse_yaml(layer.files[path])
    findings += [problem.at(file=shown) for problem in problems]
    if any(problem.severity == "error" for problem in problems) or value is None:
        return {}
    if not isinstance(value, dict):
        text, hint = (
            "A vars file must be a mapping of names to values.",
            "For example: company: Acme",
        )
        findings.append(Finding("error", "vars", text, file=shown, line=1, hint=hint))
        return {}
    found = bounded(in_values(PromptFile(value, problems, layer.files[path])))
    findings += [finding.at(file=shown) for finding in found]
    return {name: one for name, one in value.items() if isinstance(name, str)}
