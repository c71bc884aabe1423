"""The jobs on text that came over the admin API or stands in a layer; they run in a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, cast

import yaml

from yamlgraph_prompts._check.facts import file_facts
from yamlgraph_prompts._check.prompts import examine_prompt
from yamlgraph_prompts._isolation.worker import Answer
from yamlgraph_prompts._text.diff import Effort, side_by_side, unified
from yamlgraph_prompts._yaml_file import parse_prompt
from yamlgraph_prompts._yaml_file.ignores import ignores_in
from yamlgraph_prompts.errors import PromptRenderError
from yamlgraph_prompts.templates.template import PromptTemplate

MAX_DEPTH = 50
MAX_DRAFTS = 1_000
MAX_NAME = 250


class _Unfit(Exception):
    """The request's content is not valid; the message has place and reason, never the content."""


# -- previews --------------------------------------------------------------------------------------


def preview(request: tuple[str, bytes | None, bytes | Mapping[str, Any]]) -> Iterator[Answer]:
    name, data, body = request
    try:
        if isinstance(body, bytes):
            body = _shaped(body, {"variables": dict, "text": (str, dict, type(None))})
        text, variables = body.get("text"), body.get("variables", {})
        if text is not None:
            data = _file(text)
    except _Unfit as problem:
        yield {"unfit": str(problem)}, b""
        return
    if data is None:
        yield {"missing": True}, b""
        return
    findings = examine_prompt(data) if text is not None else ()
    silent = ignores_in(data) if findings else ()
    shown = [
        asdict(finding.at(prompt=name))
        for finding in findings
        if finding.severity == "error" or not any(one.covers(finding) for one in silent)
    ]
    if any(finding.severity == "error" for finding in findings):
        yield {"rejected": shown}, b""
        return
    template = PromptTemplate(parse_prompt(data).content, prompt=name)
    try:
        system, user = template.rendered(variables, state=variables.get("state"))
        messages = [{"role": "system", "content": system}] if system is not None else []
        answer = {
            "messages": [*messages, {"role": "human", "content": user}],
            "variables": sorted(template.variables),
            "findings": shown,
        }
    except PromptRenderError as problem:
        needed = sorted(template.variables - variables.keys())
        yield {"failed": problem.message, "hint": problem.hint, "needed": needed}, b""
        return
    yield {}, _json(answer)


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half a character
        return json.dumps(value).encode()


# -- drafts ----------------------------------------------------------------------------------------


def drafts(body: bytes) -> Iterator[Answer]:
    """Each draft with its file and the file's facts; `strict` first."""
    try:
        content = _shaped(body, {"prompts": dict, "strict": bool})
        texts = content.get("prompts", {})
        if len(texts) > MAX_DRAFTS:
            raise _Unfit("body.prompts (too_long)")
        yield {"strict": content.get("strict", False)}, b""
        for name, text in texts.items():
            if name.rpartition("/")[2].partition(".")[0] == "vars":
                raise _Unfit("body.prompts: vars are no prompts.")
            if len(name) > MAX_NAME:
                raise _Unfit("body.prompts (string_too_long)")
            if not isinstance(text, str | dict | None):
                raise _Unfit("body.prompts (type_error)")
            data = None if text is None else _file(text)
            facts = None if data is None else file_facts(data)
            yield {"name": name, "facts": facts}, data or b""
    except _Unfit as problem:
        yield {"unfit": str(problem)}, b""


def version(body: bytes) -> Iterator[Answer]:
    """A version's file, and the facts about it."""
    fields = {"name": str, "content": (str, dict), "is_active": bool, "message": str}
    try:
        asked = _shaped(body, {**fields, "metadata": dict, "parent": str})
        if missing := [name for name in ("name", "content") if name not in asked]:
            raise _Unfit(f"body.{missing[0]} (missing)")
        if _depth(asked.get("metadata", {})) > MAX_DEPTH:
            raise _Unfit("body.metadata (too_deep)")
        data = _file(asked.pop("content"))
    except _Unfit as problem:
        yield {"unfit": str(problem)}, b""
    else:
        yield asked, data


def examine(files: Sequence[bytes]) -> Iterator[Answer]:
    for data in files:
        yield file_facts(data), b""


def as_yaml(body: bytes) -> Iterator[Answer]:
    """A prompt's content as a JSON text → its file."""
    try:
        content = _parsed(body)
        if not isinstance(content, dict):
            raise _Unfit("As JSON a prompt is an object.")
        data = _file(content)
    except _Unfit as problem:
        yield {"unfit": str(problem)}, b""
    else:
        yield {}, data


# -- diffs -----------------------------------------------------------------------------------------


def diff(request: tuple[str, Sequence[tuple[str, tuple[str, str, str, str]]]]) -> Iterator[Answer]:
    """The differences of all texts, for one effort."""
    form, pairs = request
    effort = Effort()
    if form == "unified":
        yield {}, _json([{"name": name, "diff": unified(*texts, effort)} for name, texts in pairs])
        return
    for name, (old, new, *_) in pairs:
        rows = side_by_side(old, new, effort)
        yield {"name": name, "rows": [asdict(row) for row in rows]}, b""


# -- JSON and YAML ---------------------------------------------------------------------------------


def _shaped(body: bytes, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with some of these fields, each of its type."""
    value = _parsed(body)
    if not isinstance(value, dict):
        raise _Unfit("body (model_type)")
    for name, item in value.items():
        if name not in fields:
            raise _Unfit("body: a field is not known (extra_forbidden)")
        if not isinstance(item, fields[name]):
            raise _Unfit(f"body.{name} (type_error)")
    return value


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise _Unfit("The body is no JSON.") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        # Readers differ on which of them counts.
        raise _Unfit("An object in the body has the same key twice.")
    return mapping


def _no_number(_: str) -> Any:
    raise _Unfit("NaN and Infinity are no JSON.")


def _file(text: str | dict[str, Any]) -> bytes:
    """The prompt file of a text or an object."""
    try:
        return (text if isinstance(text, str) else _yaml(text)).encode()
    except UnicodeEncodeError:
        raise _Unfit("The text holds half a character (a surrogate).") from None


def _yaml(content: dict[str, Any]) -> str:
    if _depth(content) > MAX_DEPTH:
        raise _Unfit(f"The object is nested more than {MAX_DEPTH} deep.")

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    file: str = yaml.dump(
        content, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=1 << 20
    )
    return file


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
