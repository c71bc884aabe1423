"""An error that YAMLGraph raised for a graph file → findings with places in it and hints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from yamlgraph_prompts._text.spelling import did_you_mean
from yamlgraph_prompts._yaml_file import PromptFile, parse_prompt
from yamlgraph_prompts.findings import Finding

Keys = tuple[str | int, ...]
Place = tuple[int, int] | None

_MOST = 20
_MOST_WORDS = 5  # of a message, that are looked for in the file
_MOST_BYTES = 4 << 20
_SHAPES: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
    ("nodes", dict, "a mapping of names to nodes"),
    ("edges", list, "a list of edges"),
    ("state", (dict, list), "a mapping of keys to types"),
    ("tools", dict, "a mapping of names to tools"),
)
# Errors of the code, not of the graph.
_INTERNAL = (AttributeError, TypeError, KeyError, IndexError, RecursionError)
_ENUM = re.compile(r"<\w+\.\w+: ('[^']*')>")
_UNKNOWN = re.compile("not found|unknown|must be one of", re.IGNORECASE)
_QUOTED = re.compile(r"'([^']+)'|\"([^\"]+)\"")


def error_findings(
    file: str, data: bytes, problem: Exception, *, code: str = "graph"
) -> tuple[Finding, ...]:
    """Why YAMLGraph cannot load or build a graph file."""
    # Of any other file the error has the name, and an error of Python code has no number.
    if isinstance(problem, FileNotFoundError) and problem.errno and problem.filename is None:
        gone = "the working directory of this process no longer exists, and YAMLGraph needs one"
        hint = "Restart it in a folder that is not removed with a release."
        return (_finding(code, gone, file, None, hint),)
    mark = getattr(problem, "problem_mark", None)
    if mark is not None:
        text = str(getattr(problem, "problem", None) or problem)
        causes: list[tuple[str, Place]] = [(text, (mark.line + 1, mark.column + 1))]
        graph = PromptFile({})
    else:
        graph = parse_prompt(data, limit_bytes=_MOST_BYTES)
        causes = list(islice(_causes(graph, problem), _MOST))
    return tuple(
        _finding(code, message, file, place, _what_was_meant(graph, message))
        for message, place in causes
    )


def missing_child(file: str, data: bytes, child: Path) -> Finding:
    """The finding for a child's file that is not there, where its parent names it."""
    graph = parse_prompt(data, limit_bytes=_MOST_BYTES)
    named = [
        path
        for path, value in _scalars(graph.content, ())
        if isinstance(value, str) and child == (Path(file).resolve().parent / value).resolve()
    ]
    place = graph.position(*named[0]) if named else None
    message = f"the graph {child.name} does not exist: {child}"
    hint = "Create the file, or correct its path, which is relative to the folder of this graph."
    return _finding("graph", message, file, place, hint)


def _finding(code: str, message: str, file: str, place: Place, hint: str | None) -> Finding:
    line, column = place or (None, None)
    return Finding(
        "error", code, message, file=file, line=line, column=column, hint=hint, graph=file
    )


def _causes(graph: PromptFile, problem: Exception) -> Iterator[tuple[str, Place]]:
    errors = _validation_errors(problem)
    if errors is not None:
        for error in errors:
            path = tuple(error["loc"])
            where = ".".join(map(str, path)) or "the graph"
            words = _text(error["msg"]).removeprefix("Value error, ")
            yield f"{where}: {words}", _nearest(graph, path) or _named_place(graph, words) or (1, 1)
        return
    wrong = list(_wrong_shapes(graph))
    if wrong:
        yield from wrong
        return
    text = _text(problem.args[0] if isinstance(problem, KeyError) and problem.args else problem)
    place = _named_place(graph, text)
    if isinstance(problem, _INTERNAL) and " not found" not in text:
        text = f"YAMLGraph stops at it with {type(problem).__name__}: {text}"
    yield text or type(problem).__name__, place


def _validation_errors(problem: BaseException | None) -> Iterable[Mapping[str, Any]] | None:
    """Pydantic's errors, which YAMLGraph raises as the text of another error."""
    for _ in range(5):
        if problem is None:
            return None
        errors = getattr(problem, "errors", None)
        if callable(errors):
            return errors(include_url=False)  # type: ignore[no-any-return]
        problem = problem.__cause__ or problem.__context__
    return None


def _wrong_shapes(graph: PromptFile) -> Iterator[tuple[str, Place]]:
    for key, shape, words in _SHAPES:
        value = graph.content.get(key)
        if value is not None and not isinstance(value, shape):
            yield f"`{key}:` must be {words}, but is {_kind(value)}", graph.key_position(key)
    nodes = graph.content.get("nodes")
    for name, node in nodes.items() if isinstance(nodes, dict) else ():
        if not isinstance(node, dict):
            place = graph.key_position("nodes", name)
            yield f"nodes.{name}: a node must be a mapping, but is {_kind(node)}", place


def _kind(value: Any) -> str:
    kinds = {dict: "a mapping", list: "a list", str: "a text", bool: "true or false"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else "nothing")


def _nearest(graph: PromptFile, path: Keys) -> Place:
    """The place of what `path` names, or of what should have it."""
    for end in range(len(path), 0, -1):
        place = graph.key_position(*path[:end])
        if place is not None:
            return place
    return None


def _named_place(graph: PromptFile, text: str) -> Place:
    """Where the first word that the text quotes stands in the file, if it is there once."""
    for quoted in islice(_QUOTED.finditer(text), _MOST_WORDS):
        one, other = quoted.groups()
        found = [path for path, value in _scalars(graph.content, ()) if value == (one or other)]
        if found:
            return graph.position(*found[0]) if len(found) == 1 else None
    return None


def _what_was_meant(graph: PromptFile, message: str) -> str | None:
    """What was meant by the word that a message quotes, or by a key that is not permitted."""
    where, _, words = message.partition(": ")
    if words.startswith("Extra inputs"):
        wrong, known = where.rpartition(".")[2], _node_keys()
    elif not _UNKNOWN.search(message):
        return None
    else:
        quoted = [one or other for one, other in _QUOTED.findall(message)]
        # The names of nodes are what edges name; what a message lists besides is what there is.
        words_there = _words(graph)
        wrong = next((word for word in quoted if word in words_there), None) or ""
        nodes = graph.content.get("nodes")
        known = (*(nodes if isinstance(nodes, dict) else ()), *quoted)
    return did_you_mean(wrong, map(str, known))


def _node_keys() -> tuple[str, ...]:
    try:
        from yamlgraph.models.node_schema import NodeConfig
    except ImportError:
        return ()
    fields = NodeConfig.model_fields.items()
    return tuple(field.alias or name for name, field in fields)


def _words(graph: PromptFile) -> set[Any]:
    return {value for _, value in _scalars(graph.content, ()) if isinstance(value, str)}


def _scalars(value: Any, path: Keys) -> Iterator[tuple[Keys, Any]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _scalars(below, (*path, key))
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _scalars(below, (*path, number))
    else:
        yield path, value


def _text(problem: Any) -> str:
    lines = [line.strip() for line in str(problem).strip().splitlines()]
    return _ENUM.sub(r"\1", " ".join(lines[:3]))[:1000]
