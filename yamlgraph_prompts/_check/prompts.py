"""What is wrong with one prompt file by itself: its YAML, its shape, its templates, its schema.

Depends on nothing but the file's bytes. Knows no graphs, releases or layers.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from yaml.nodes import ScalarNode

from yamlgraph_prompts._check.schemas import schema_troubles
from yamlgraph_prompts._sandbox.positions import Positions
from yamlgraph_prompts._text.escaping import invisible
from yamlgraph_prompts._text.spelling import did_you_mean
from yamlgraph_prompts._yaml_file import PromptFile, parse_prompt
from yamlgraph_prompts._yaml_file.surprises import in_text
from yamlgraph_prompts.findings import Finding, FurtherFindings, Severity, bounded
from yamlgraph_prompts.templates.template import MessageTemplate, examine

Path = tuple[str | int, ...]
Position = tuple[int, int] | None

_KEYS = (
    *("system", "user", "system_segments", "schema", "output_schema"),
    *("provider", "model", "temperature", "metadata"),
)
_SEGMENT_KEYS = ("content", "cache")
_MAX_ITEMS = 1_000  # of `system` or `system_segments`
_IN_BRACES = re.compile(r"\{[^{}]*+")
_NAME = re.compile(r"(?<![\w.])\w++")
_IN_QUOTES = "Put the value in quotes, or write it as a block under `|`."

# The steps of one check look at the same prompt, one after the other.
read_prompt = lru_cache(maxsize=1)(parse_prompt)


class Need(NamedTuple):
    """One message of a prompt and the variables that it needs."""

    path: Path
    dialect: str
    variables: frozenset[str]
    optional: frozenset[str] = frozenset()  # that the message itself can do without


def examine_prompt(data: bytes) -> tuple[Finding, ...]:
    """Everything that is wrong with a prompt file by itself."""
    file = read_prompt(data)
    if not file.content and any(finding.severity == "error" for finding in file.findings):
        return file.findings
    found = [*file.findings, *_size(file)]
    if not any(finding.code == "too-large" for finding in found):
        found += bounded(chain(_shape(file), _templates(file), _surprises(file), _schema(file)))
    return bounded(sorted(found, key=place_order)) if found else ()


def place_order(finding: Finding) -> tuple[bool, int, int]:
    """Sorts a file's findings; the notes of how many further ones there are come last."""
    is_note = isinstance(finding, FurtherFindings)
    return is_note, finding.line or 0, finding.column or 0


def _size(file: PromptFile) -> Iterator[Finding]:
    for key in ("system", "system_segments"):
        items = file.content.get(key)
        if isinstance(items, list) and len(items) > _MAX_ITEMS:
            message = f"`{key}` has {len(items):,} items; the limit is {_MAX_ITEMS:,}"
            hint = "Join neighbouring texts."
            yield finding_at(file, (key,), "error", "too-large", message, hint, key=True)


def messages(content: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """The texts that YAMLGraph renders, with the path of keys to each."""
    segments, system = content.get("system_segments"), content.get("system")
    for key, items in (("system_segments", segments), ("system", system)):
        for at, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, str):
                yield (key, at), item
            elif isinstance(item, dict) and isinstance(item.get("content"), str):
                yield (key, at, "content"), item["content"]
    if isinstance(system, str):
        yield ("system",), system
    if isinstance(content.get("user"), str):
        yield ("user",), content["user"]


def needs(content: Mapping[str, Any]) -> tuple[Need, ...]:
    """The variables that each message needs; path ``()``: what an agent sends without `user`."""
    found = [] if "user" in content else [Need((), "format", frozenset({"input"}))]
    templates: dict[str, MessageTemplate] = {}  # aliases repeat a text
    for path, text in messages(content):
        template = templates.setdefault(text, MessageTemplate(text))
        if template.variables:
            found.append(Need(path, template.dialect, template.variables, template.optional))
    return tuple(found)


def variable_positions(
    file: PromptFile, path: Path, variables: Collection[str]
) -> dict[str, Position]:
    """The line and column in the file where a message first names each of these variables."""
    text = dict(messages(file.content)).get(path, "")
    first: dict[str, int] = {}
    for braces in _IN_BRACES.finditer(text):
        for name in _NAME.finditer(text, braces.start(), braces.end()):
            if name[0] in variables:
                first.setdefault(name[0], name.start())
    positions = Positions(text)
    return {
        name: file.text_position(path, *positions.at(first[name]))
        if name in first
        else file.position(*path)
        for name in variables
    }


def finding_at(
    file: PromptFile,
    path: Path,
    severity: Severity,
    code: str,
    message: str,
    hint: str | None = None,
    *,
    key: bool = False,
) -> Finding:
    """A finding at the value (or the key) that stands at a path."""
    line, column = (file.key_position(*path) if key else file.position(*path)) or (None, None)
    return Finding(severity, code, message, line=line, column=column, hint=hint)


def _templates(file: PromptFile) -> Iterator[Finding]:
    examined: dict[str, tuple[Finding, ...]] = {}  # aliases repeat a text
    for path, text in messages(file.content):
        if "{" not in text and "}" not in text:
            continue
        if text not in examined:
            examined[text] = examine(text)
        for finding in examined[text]:
            if isinstance(finding, FurtherFindings):
                yield finding
                continue
            position = file.text_position(path, finding.line or 1, finding.column)
            line, column = position or (None, None)
            yield finding.at(line=line, column=column if finding.column else None)


def _surprises(file: PromptFile) -> Iterator[Finding]:
    for node in dict.fromkeys(file.node(path) for path, _ in messages(file.content)):
        if isinstance(node, ScalarNode):
            yield from in_text(file, node, comments=True)


def _schema(file: PromptFile) -> Iterator[Finding]:
    for path, message, hint, severity, code in schema_troubles(file.content):
        yield finding_at(file, path, severity, code, message, hint, key=True)


def _shape(file: PromptFile) -> Iterator[Finding]:
    content = file.content
    if "messages" in content and "system" not in content and "user" not in content:
        message = "uses 'messages:' role list; YAMLGraph prompts use top-level keys"
        hint = "Write the texts under top-level 'system:' and 'user:'."
        yield finding_at(file, ("messages",), "error", "messages-list", message, hint, key=True)
    elif "user" not in content:
        hint = "Add `user: ...`; only agent and copilot nodes need none."
        yield Finding("warning", "missing-user", "the prompt has no `user`", hint=hint)
    elif not isinstance(content["user"], str):
        yield _not_text(file, ("user",), content["user"])
    if content.get("system") and "system_segments" in content:
        path: Path = ("system_segments",)
        message = "Cannot specify both 'system' and 'system_segments' fields"
        hint = "Keep one of them."
        yield finding_at(file, path, "error", "system-conflict", message, hint, key=True)
    yield from _system(file, content.get("system"))
    if "system_segments" in content:
        yield from _segments(file, content["system_segments"])
    yield from _settings(file)
    yield from _unread(file, (), content, _KEYS)


def _unread(
    file: PromptFile, path: Path, mapping: Mapping[Any, Any], known: tuple[str, ...]
) -> Iterator[Finding]:
    for key in mapping:
        if key not in known and (hint := did_you_mean(str(key), known)):
            message = f"the key {key!r} is not read"
            if hidden := invisible(str(key)):
                message += f": it has an invisible character, {hidden[1]}"
            yield finding_at(file, (*path, key), "warning", "shape", message, hint, key=True)


def _system(file: PromptFile, system: Any) -> Iterator[Finding]:
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        yield _not_text(file, ("system",), system)
        return
    for at, item in enumerate(system):
        if isinstance(item, dict):
            yield from _segment(file, ("system", at), item)
        elif not isinstance(item, str):
            # YAMLGraph alone writes it out and renders what comes of that.
            message = f"an item must be text or a mapping with `content`, not {_kind(item)}"
            yield finding_at(file, ("system", at), "error", "shape", message, _IN_QUOTES)


def _segments(file: PromptFile, segments: Any) -> Iterator[Finding]:
    hint = "Write `- content: ...` for each segment."
    if not isinstance(segments, list):
        message = f"`system_segments` must be a list, not {_kind(segments)}"
        yield finding_at(file, ("system_segments",), "error", "shape", message, hint)
        return
    for at, segment in enumerate(segments):
        if isinstance(segment, dict):
            yield from _segment(file, ("system_segments", at), segment)
        else:
            message = f"a segment must be a mapping with `content`, not {_kind(segment)}"
            yield finding_at(file, ("system_segments", at), "error", "shape", message, hint)


def _segment(file: PromptFile, path: Path, segment: Mapping[Any, Any]) -> Iterator[Finding]:
    yield from _unread(file, path, segment, _SEGMENT_KEYS)
    if "content" not in segment:
        if len(segment) == 1 and None in segment.values():
            yield _not_text(file, path, segment)
        else:
            message = "the segment has no `content`, so nothing of it is sent"
            yield finding_at(file, path, "error", "shape", message, "Add `content: ...`.")
    elif not isinstance(segment["content"], str | None):
        yield _not_text(file, (*path, "content"), segment["content"])
    if not isinstance(segment.get("cache", False), bool):
        message = f"`cache` must be true or false, not {_kind(segment['cache'])}"
        yield finding_at(file, (*path, "cache"), "error", "shape", message)


def has_foreign_items(content: Mapping[str, Any]) -> bool:
    """Whether `system` holds what is neither text nor a mapping with a text."""
    system = content.get("system")
    for item in system if isinstance(system, list) else ():
        is_segment = isinstance(item, dict) and isinstance(item.get("content"), str | None)
        if not is_segment and not isinstance(item, str):
            return True
    return False


def _settings(file: PromptFile) -> Iterator[Finding]:
    for key in ("provider", "model"):
        value = file.content.get(key)
        if value is not None and not isinstance(value, str):
            message = f"`{key}` must be text, not {_kind(value)}"
            hint = "Put it in quotes."
            if isinstance(value, dict | list):
                hint = f"Write its name behind the colon, as in `{key}: name`."
            yield finding_at(file, (key,), "error", "shape", message, hint)
    value = file.content.get("temperature")
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        message = f"`temperature` must be a number, not {_kind(value)}"
        yield finding_at(file, ("temperature",), "error", "shape", message, "For example 0.7.")


def _not_text(file: PromptFile, path: Path, value: Any) -> Finding:
    name = "this" if isinstance(path[-1], int) else f"`{path[-1]}`"
    message = f"{name} must be text, not {_kind(value)}"
    hint = _IN_QUOTES
    if value is None:
        hint = "Write the text after the colon, or below it under `|`."
    elif isinstance(value, dict) and None in value.values():
        hint = f"`{{` at the start of a value begins a YAML mapping. {_IN_QUOTES}"
    elif isinstance(value, list):
        hint = f"`- ` or `[` at the start of a value begins a YAML list. {_IN_QUOTES}"
    return finding_at(file, path, "error", "shape", message, hint)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the value {str(value).lower()}"
    if isinstance(value, int | float):
        return "a number"
    name = type(value).__name__
    return {"dict": "a mapping", "str": "text"}.get(name, f"a {name}")
