"""The process that renders ``.yaml.j2`` files: reads requests, writes one answer per template.

It imports neither langgraph nor yamlgraph, reads no files, and ends when its input ends.
"""

from __future__ import annotations

import json
import os
import pickle
import posixpath
import sys
import time
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, BinaryIO

from jinja2 import StrictUndefined, Template
from jinja2.exceptions import TemplateNotFound, TemplateSyntaxError, UndefinedError
from jinja2.loaders import BaseLoader

from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.sandbox import GuardedEnvironment
from yamlgraph_prompts.sandbox.budget import Budget, LimitReached, Limits, using
from yamlgraph_prompts.sandbox.explanation import explain, syntax_hint
from yamlgraph_prompts.sandbox.inspection import Inspection
from yamlgraph_prompts.sandbox.views import view

_MEMORY = 1024 * 1024 * 1024  # bytes above what the process starts with
_LEAST_S = 0.2  # what each template may take, however many there are
_CODES = {
    "characters": "j2-output",
    "iterations": "j2-timeout",
    "memory": "j2-output",
    "seconds": "j2-timeout",
}
SUPER = "super:"


def send(stream: BinaryIO, data: bytes) -> None:
    """Write one message: its length in four bytes, then its bytes."""
    rest = memoryview(len(data).to_bytes(4, "big") + data)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


def receive(stream: BinaryIO) -> bytes | None:
    """Read one message; None when the other side is gone."""
    head = _exactly(stream, 4)
    return _exactly(stream, int.from_bytes(head, "big")) if head is not None else None


def _exactly(stream: BinaryIO, length: int) -> bytes | None:
    chunks = []
    while length:
        chunk = stream.read(min(length, 1 << 20))
        if not chunk:
            return None
        chunks.append(chunk)
        length -= len(chunk)
    return b"".join(chunks)


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


def render_all(request: Mapping[str, Any], answer: Any) -> None:
    """Render the request's templates one after the other.

    Args:
        request: ``names``, ``files``, ``variables``, ``environment`` and ``seconds``.
        answer: Called with each fact as soon as it is known: what runs, an output, a finding.
    """
    deadline = time.monotonic() + request["seconds"]
    files, variables = request["files"], request["variables"]
    context = {name: value for name, value in variables.items() if isinstance(name, str)}
    context["environment"] = request["environment"]
    loader = _Files(files)
    jinja = _Environment(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        loader=loader,
        cache_size=-1,
        auto_reload=False,
    )
    for name in request["names"]:
        answer({"running": name})
        left = deadline - time.monotonic()
        with using(Budget(Limits(seconds=max(_LEAST_S, left / 2)))):
            outcome = _render(jinja, name, context)
        if isinstance(outcome, str):
            answer({"name": name, "text": outcome})
        else:
            answer({"name": name, "findings": [_plain(finding) for finding in outcome]})


def _render(
    jinja: GuardedEnvironment, name: str, context: Mapping[str, Any]
) -> str | list[Finding]:
    try:
        seen = {name: view(value) for name, value in context.items()}
        text: str = jinja.get_template(name).render(seen)
        text.encode()
    except _Wrong as wrong:
        return wrong.findings
    except Exception as error:  # noqa: BLE001 - whatever a template does, the others go on
        return [_finding(error, name, jinja, context)]
    return text


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
    if isinstance(error, RecursionError) and f"{SUPER}{name}" in files:
        below = f"{SUPER}{name}"
        return at(
            "j2-error", f'Where the file of that name in a layer below is meant, say "{below}".'
        )
    if isinstance(error, UnicodeEncodeError):
        return Finding("error", "j2-error", "Its text holds half of a character.", file=name)
    return at("j2-error")


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        key: getattr(finding, key)
        for key in ("severity", "code", "message", "file", "line", "column", "hint")
    }


def _bound_memory() -> None:
    try:
        import resource

        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + _MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    except (ImportError, OSError, ValueError):  # not Linux; the budgets still hold
        return


def main() -> None:
    """Answer requests until the input ends."""
    source: BinaryIO = os.fdopen(os.dup(0), "rb", buffering=0)
    target: BinaryIO = os.fdopen(os.dup(1), "wb", buffering=0)
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - nothing else may reach the pipe
    _bound_memory()

    def answer(fact: Mapping[str, Any]) -> None:
        send(target, json.dumps(fact).encode())

    answer({"ready": os.getpid()})
    while (data := receive(source)) is not None:
        try:
            render_all(pickle.loads(data), answer)  # from our own parent, through our own pipe
        except BrokenPipeError:
            return
        answer({"done": True})
