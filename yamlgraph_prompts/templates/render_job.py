"""The job that renders ``.yaml.j2`` files; it runs in a worker process."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from difflib import get_close_matches
from typing import Any

from jinja2 import StrictUndefined, Template
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.loaders import BaseLoader

from yamlgraph_prompts._isolation.worker import Answer
from yamlgraph_prompts._sandbox.budget import Budget, LimitReached, Limits, using
from yamlgraph_prompts._sandbox.explanation import explain, syntax_hint
from yamlgraph_prompts._sandbox.inspection import Inspection
from yamlgraph_prompts._sandbox.jinja import GuardedEnvironment
from yamlgraph_prompts._sandbox.views import view
from yamlgraph_prompts._yaml_file import merge_conflict
from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.templates.values import value_trouble

_LEAST_S = 0.2  # what each template may take, however many there are
_CODES = {
    "characters": "j2-output",
    "iterations": "j2-timeout",
    "memory": "j2-output",
    "seconds": "j2-timeout",
}
SUPER = "super:"


class _Wrong(Exception):
    """A file that cannot be compiled; holds its findings."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(findings)
        self.findings = findings


class _Files(BaseLoader):
    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = files

    def load(self, environment: Any, name: str, globals: Any = None) -> Template:  # noqa: A002
        if name not in self.files:
            raise TemplateNotFound(name)
        if conflict := merge_conflict(self.files[name].encode()):
            raise _Wrong([conflict.at(file=name)])
        found = Inspection(self.files[name], environment, included=True)
        errors = [_as_j2(f, name) for f in found.findings if f.severity == "error"]
        if errors or found.tree is None:
            raise _Wrong(errors)
        code = environment.compile(found.tree, name, name)
        return Template.from_code(environment, code, globals)


class _Environment(GuardedEnvironment):
    def join_path(self, template: str, parent: str) -> str:
        # "super:x" in a layer's file is what the layers below have under that name
        level = parent.count(SUPER)
        if template.startswith(SUPER):
            return SUPER * level + template
        if not template.startswith(("./", "../")):
            return template
        folder = posixpath.dirname(parent.replace(SUPER, ""))
        path = posixpath.normpath(posixpath.join(folder, template))
        if path.startswith("../"):
            raise TemplateNotFound(template, f"{template!r} leads out of the layer")
        return path


def _as_j2(finding: Finding, name: str) -> Finding:
    code = "j2-error" if finding.code == "unsafe-template" else "j2-syntax"
    return finding.at(code=code, file=name)


def render_all(request: Mapping[str, Any]) -> Iterator[Answer]:
    """Render the request's templates one after the other."""
    deadline = time.monotonic() + request["seconds"]
    files, variables = request["files"], request["variables"]
    context = {name: value for name, value in variables.items() if isinstance(name, str)}
    context["environment"] = request["environment"]
    loader = _Files(files)
    jinja = _Environment(undefined=StrictUndefined, keep_trailing_newline=True, loader=loader)
    for name in request["names"]:
        yield {"running": name}, b""
        left = deadline - time.monotonic()
        with using(Budget(Limits(seconds=max(_LEAST_S, left / 2)))):
            outcome = _render(jinja, name, context)
        if isinstance(outcome, str):
            yield {"name": name, "text": True}, outcome.encode()
        else:
            yield {"name": name, "findings": [asdict(finding) for finding in outcome]}, b""


def _render(
    jinja: GuardedEnvironment, name: str, context: Mapping[str, Any]
) -> str | list[Finding]:
    def render(values: Mapping[str, Any]) -> str:
        seen = {name: view(value) for name, value in values.items()}
        text: str = jinja.get_template(name).render(seen)
        return text

    try:
        text = render(context)
        text.encode()
    except _Wrong as wrong:
        return wrong.findings
    except Exception as error:  # noqa: BLE001 - whatever a template does, the others go on
        return [_finding(error, name, jinja, context)]
    files = jinja.loader.files  # type: ignore[union-attr]
    trouble = value_trouble(text, context, render, {name: files[name], **files})
    return [trouble] if trouble else text


def _finding(
    error: Exception, name: str, jinja: GuardedEnvironment, context: Mapping[str, Any]
) -> Finding:
    files = jinja.loader.files  # type: ignore[union-attr]
    why = explain(error, "\n".join(files.values()))

    def at(code: str, hint: str | None = None) -> Finding:
        return Finding(
            "error", code, why.message, file=why.template or name, line=why.line, hint=hint
        )

    if isinstance(error, LimitReached):
        return at(_CODES[error.kind])
    if isinstance(error, UndefinedError):
        near = get_close_matches(why.name or "", [*context, *jinja.globals], n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Set it in vars.yaml."
        return at("j2-undefined", hint)
    if isinstance(error, TemplateNotFound):
        near = get_close_matches(str(error.name or ""), files, n=1)
        return at("j2-error", f"Did you mean {near[0]!r}?" if near else None)
    if isinstance(error, (TemplateSyntaxError, SyntaxError)):
        return at("j2-syntax", syntax_hint(why.message))
    if isinstance(error, RecursionError) and (below := f"{SUPER}{name}") in files:
        hint = f'Where the file of that name in a layer below is meant, say "{below}".'
        return at("j2-error", hint)
    if isinstance(error, UnicodeEncodeError):
        return Finding("error", "j2-error", "Its text holds half of a character.", file=name)
    return at("j2-error")
