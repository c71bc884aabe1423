"""A prompt's text as it came over HTTP → the bytes of its YAML file. Writes nothing."""

from __future__ import annotations

from yamlgraph_prompts._check.untrusted import Unfit, as_yaml
from yamlgraph_prompts.admin.problems import Refusal

YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain")
JSON_TYPE = "application/json"


def of_body(content_type: str | None, body: bytes) -> bytes:
    """The file that a PUT means; JSON becomes YAML in a worker process."""
    kind = _media_type(content_type)
    if kind in YAML_TYPES:
        return body
    if kind != JSON_TYPE:
        text = "A prompt must be sent as YAML or as a JSON object."
        hint = f"Set Content-Type to {YAML_TYPES[0]} or {JSON_TYPE}."
        raise Refusal(415, "content-type", text, hint=hint)
    try:
        return as_yaml(body)
    except Unfit as problem:
        raise unfit(str(problem)) from None


def need_json(content_type: str | None) -> None:
    """Refuse a body that is not JSON."""
    if _media_type(content_type) != JSON_TYPE:
        text, hint = "This request needs a JSON body.", f"Set Content-Type to {JSON_TYPE}."
        raise Refusal(415, "content-type", text, hint=hint)


def unfit(why: str) -> Refusal:
    """The answer to an invalid request; `why` never contains its values."""
    return Refusal(
        422, "invalid", f"This request is invalid: {why}", hint="See /docs for the expected format."
    )


def _media_type(content_type: str | None) -> str:
    return (content_type or "").partition(";")[0].strip().lower()
