"""A prompt's text as it came over HTTP → the bytes of its YAML file. Writes nothing."""

from __future__ import annotations

import json
from typing import Any, cast

from yamlgraph_prompts.admin.problems import Refusal

YAML_TYPES = (
    "application/yaml",
    "application/x-yaml",
    "text/yaml",
    "text/x-yaml",
    "text/plain",
)
JSON_TYPE = "application/json"
MAX_DEPTH = 50


def of_body(content_type: str | None, body: bytes) -> bytes:
    """The file that a PUT means.

    Raises:
        Refusal: The body's type is not known, or it is not what the type says.
    """
    kind = (content_type or "").partition(";")[0].strip().lower()
    if kind in YAML_TYPES:
        return body
    if kind != JSON_TYPE:
        raise Refusal(
            415,
            "content-type",
            "A prompt is sent as YAML or as a JSON object.",
            hint=f"Set Content-Type to {YAML_TYPES[0]} or {JSON_TYPE}.",
        )
    try:
        content = json.loads(body, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Refusal(422, "invalid", "The body is no JSON.") from None
    if not isinstance(content, dict):
        raise Refusal(
            422,
            "invalid",
            "As JSON a prompt is an object.",
            hint='For example {"system": "Be kind.", "user": "Hi {name}"}',
        )
    return of_text(content)


def of_text(text: str | dict[str, Any]) -> bytes:
    """The file that a text or an object means.

    Raises:
        Refusal: It cannot be written as a file.
    """
    try:
        return (text if isinstance(text, str) else _yaml(text)).encode()
    except UnicodeEncodeError:
        raise Refusal(422, "invalid", "The text holds half a character (a surrogate).") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # Readers differ on which of them counts.
        raise Refusal(422, "invalid", "An object in the body has the same key twice.")
    return found


def _no_number(_: str) -> Any:
    raise Refusal(422, "invalid", "NaN and Infinity are no JSON.")


def _yaml(content: dict[str, Any]) -> str:
    import yaml

    if _depth(content) > MAX_DEPTH:
        raise Refusal(422, "invalid", f"The object is nested more than {MAX_DEPTH} deep.")

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1 << 20)


def _depth(content: object) -> int:
    depth, level = 0, [cast(Any, content)]
    while level and depth <= MAX_DEPTH:
        depth += 1
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    return depth
