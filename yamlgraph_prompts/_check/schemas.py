"""Inline `schema:` and `output_schema:` blocks that YAMLGraph could not build a model from.

Follows the rules of yamlgraph 0.6's `schema_loader`; builds nothing and imports nothing of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from yamlgraph_prompts.findings import Severity, shown

Path = tuple[str | int, ...]

_TYPES = ("str", "int", "float", "bool", "dict", "Any")
_JSON_TYPES = ("string", "integer", "number", "boolean", "array", "object")
_MAX_FIELDS = 1_000  # nested ones too
_MAX_DEPTH = 10  # of objects in objects
_MAX_PATTERNS = 20  # each takes up to 0.1 s to compile
_MAX_PATTERN = 200  # characters
_LIST = re.compile(r"list\[(\w+)\]")
_DICT = re.compile(r"dict\[(\w+),\s*(\w+)\]")


class Trouble(NamedTuple):
    """One thing that is wrong, and the path of keys to where it stands."""

    path: Path
    message: str
    hint: str | None = None
    severity: Severity = "error"
    code: str = "schema"


def schema_troubles(content: Mapping[str, Any]) -> Iterator[Trouble]:
    """What is wrong with a prompt's inline schemas."""
    key = "schema" if "schema" in content else "output_schema"
    if problem := _beyond_bounds(content.get(key)):
        hint = "Split it into schemas of several prompts."
        yield Trouble((key,), f"`{key}` has {problem}", hint, code="too-large")
    elif "schema" in content:
        yield from _native(content["schema"])
        if "output_schema" in content:
            message = "`output_schema` is not read: the prompt has a `schema` too"
            yield Trouble(("output_schema",), message, "Keep one of them.", "warning")
    elif "output_schema" in content:
        yield from _json_schema(content["output_schema"], ("output_schema",))


def _beyond_bounds(schema: Any) -> str | None:
    """Why a model of this schema would take too long to build."""
    fields = patterns = 0
    todo = [(schema, 0)]
    while todo:
        spec, depth = todo.pop()
        if not isinstance(spec, dict):
            continue
        constraints = spec.get("constraints")
        pattern = constraints.get("pattern") if isinstance(constraints, dict) else None
        if isinstance(pattern, str):
            patterns += 1
            if len(pattern) > _MAX_PATTERN:
                return f"a pattern of more than {_MAX_PATTERN} characters"
        todo.append((spec.get("items"), depth))
        for inner in (spec.get("fields"), spec.get("properties")):
            if isinstance(inner, dict):
                fields += len(inner)
                todo.extend((field, depth + 1) for field in inner.values())
        if fields > _MAX_FIELDS:
            return f"more than {_MAX_FIELDS:,} fields"
        if depth > _MAX_DEPTH:
            return f"objects that nest more than {_MAX_DEPTH} deep"
        if patterns > _MAX_PATTERNS:
            return f"more than {_MAX_PATTERNS} patterns"
    return None


def _native(schema: Any) -> Iterator[Trouble]:
    if not isinstance(schema, dict):
        hint = "Write `name: ...` and `fields: ...` below it."
        yield Trouble(("schema",), "`schema` must be a mapping with `name` and `fields`", hint)
        return
    for key, kind, word in (("name", str, "text"), ("fields", dict, "a mapping")):
        if key not in schema:
            yield Trouble(("schema",), f"`schema` has no `{key}`", f"Add `{key}: ...` to it.")
        elif not isinstance(schema[key], kind):
            yield Trouble(("schema", key), f"the schema's `{key}` must be {word}")
    fields = schema.get("fields")
    for name, field in fields.items() if isinstance(fields, dict) else ():
        yield from _native_field(name, field, ("schema", "fields", name))


def _native_field(name: Any, field: Any, path: Path) -> Iterator[Trouble]:
    yield from _field_name(name, path)
    if not isinstance(field, dict):
        message = f"the field {shown(name)} must be a mapping"
        yield Trouble(path, message, "Write `type: str` below it.")
        return
    if "type" not in field:
        message = f"the field {shown(name)} has no `type`"
        yield Trouble(path, message, "Add `type: str`, or another.")
    elif not _is_type(field["type"]):
        message = f"the field {shown(name)} has the unknown type {shown(field['type'])}"
        hint = f"Types: {', '.join(_TYPES)}, list[T], dict[K, V]."
        yield Trouble((*path, "type"), message, hint)
    constraints = field.get("constraints")
    if constraints and not isinstance(constraints, dict):
        message = f"the `constraints` of the field {shown(name)} must be a mapping"
        yield Trouble((*path, "constraints"), message, "For example `{ge: 0, le: 1}`.")


def _is_type(name: Any) -> bool:
    if not isinstance(name, str):
        return False
    if name in _TYPES:
        return True
    match = _LIST.match(name) or _DICT.match(name)
    return match is not None and all(part in _TYPES for part in match.groups())


def _json_schema(schema: Any, path: Path) -> Iterator[Trouble]:
    if not isinstance(schema, dict) or schema.get("type") != "object":
        hint = "Write `type: object` and `properties: ...` below it."
        yield Trouble(path, "`output_schema` must have `type: object`", hint)
        return
    properties = schema.get("properties", {})
    if not isinstance(properties, dict):
        yield Trouble((*path, "properties"), "`properties` must be a mapping")
        return
    required = schema.get("required", [])
    if isinstance(required, list):
        yield from _required(required, properties, (*path, "required"))
    else:
        severity: Severity = "warning" if isinstance(required, str | dict) else "error"
        message = "`required` must be a list of field names"
        yield Trouble((*path, "required"), message, "For example `[title, score]`.", severity)
    for name, field in properties.items():
        yield from _property(name, field, (*path, "properties", name))


def _required(required: list[Any], properties: Any, path: Path) -> Iterator[Trouble]:
    for at, name in enumerate(required):
        if isinstance(name, list | dict):
            yield Trouble((*path, at), "`required` must be a list of field names")
        elif name not in properties:
            message = f"`required` names {shown(name)}, which is not among the properties"
            yield Trouble((*path, at), message, None, "warning")


def _property(name: Any, field: Any, path: Path) -> Iterator[Trouble]:
    yield from _field_name(name, path)
    if not isinstance(field, dict):
        message = f"the property {shown(name)} must be a mapping"
        yield Trouble(path, message, "Write `type: string`.")
        return
    yield from _json_type(name, field, path)
    yield from _enum(field, path)
    if field.get("type") == "array":
        items = field.get("items", {})
        if not isinstance(items, dict):
            yield Trouble((*path, "items"), f"the `items` of {shown(name)} must be a mapping")
            return
        yield from _json_type(name, items, (*path, "items"))
        yield from _enum(items, (*path, "items"))
        yield from _nested(items, (*path, "items"))
    elif "enum" not in field:
        yield from _nested(field, path)


def _json_type(name: Any, spec: Mapping[str, Any], path: Path) -> Iterator[Trouble]:
    kind = spec.get("type", "string")
    if kind in _JSON_TYPES:
        return
    hint = f"Types: {', '.join(_JSON_TYPES)}."
    message = f"the property {shown(name)} has the unknown type {shown(kind)}"
    # A list cannot be looked up in YAMLGraph's table of types; anything else is not found there.
    if isinstance(kind, list | dict):
        yield Trouble((*path, "type"), message, hint)
    else:
        yield Trouble((*path, "type"), f"{message} and is read as text", hint, "warning")


def _enum(spec: Mapping[str, Any], path: Path) -> Iterator[Trouble]:
    """Items of a text's `enum` that YAML reads as another value, such as `no`."""
    values, kind = spec.get("enum"), spec.get("type")
    for at, value in enumerate(values if isinstance(values, list) else ()):
        is_odd = not isinstance(value, str) if kind == "string" else isinstance(value, bool)
        if is_odd and kind in ("string", None):
            message = f"an item of `enum` is {shown(value)}, not text"
            yield Trouble((*path, "enum", at), message, "Put it in quotes.", "warning")


def _nested(spec: Mapping[str, Any], path: Path) -> Iterator[Trouble]:
    if spec.get("type") == "object" and spec.get("properties"):
        yield from _json_schema(spec, path)


def _field_name(name: Any, path: Path) -> Iterator[Trouble]:
    if not isinstance(name, str):
        yield Trouble(path, f"the field name {shown(name)} is not text", "Put it in quotes.")
    elif name.startswith("_"):
        message = f"the field {shown(name)} is not asked for: its name begins with an underscore"
        yield Trouble(path, message, "Rename it.", "warning")
