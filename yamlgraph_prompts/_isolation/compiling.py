"""Compiles a Jinja text in a worker, so that `compile()` does not hold the app's interpreter lock.

That worker never renders anything, so its code is as good as what the app would compile.
"""

from __future__ import annotations

import marshal
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from types import CodeType

from yamlgraph_prompts._isolation import worker
from yamlgraph_prompts._isolation.pool import Pool
from yamlgraph_prompts._isolation.worker import Answer
from yamlgraph_prompts._sandbox.examination import examination
from yamlgraph_prompts._sandbox.jinja import GuardedEnvironment
from yamlgraph_prompts.errors import WorkerDied, WorkerUnavailable, WorkStopped
from yamlgraph_prompts.findings import Finding

_SECONDS = 10.0
_environment = cache(GuardedEnvironment)


@dataclass(frozen=True, slots=True)
class Compiled:
    """One Jinja text, compiled."""

    findings: tuple[Finding, ...]  # lines and columns count from 1 in the text
    variables: frozenset[str]  # the names that it needs
    names: frozenset[str]  # all names that it looks up outside, Jinja's own too
    code: CodeType | None  # for `jinja2.Template.from_code`; None where a finding is an error


def compile_text(text: str) -> Compiled:
    """Compile a Jinja text in a worker process; here, where no worker can be started."""
    try:
        if worker.is_worker:
            raise WorkerUnavailable("A worker process cannot start another one.")
        try:
            facts, body = _pool.answer("compile", text, seconds=_SECONDS)
        except WorkerDied:  # killed from outside, not because of the text
            facts, body = _pool.answer("compile", text, seconds=_SECONDS)
    except WorkerUnavailable:
        ((facts, body),) = compile_job(text)
    except WorkStopped as problem:
        message = f"this text cannot be compiled: {problem.message}"
        finding = Finding("error", "unsafe-template", message)
        return Compiled((finding,), frozenset(), frozenset(), None)
    return Compiled(
        tuple(Finding(**finding) for finding in facts["findings"]),
        frozenset(facts["variables"]),
        frozenset(facts["names"]),
        marshal.loads(body) if body else None,
    )


def compile_job(text: str) -> Iterator[Answer]:
    """The job itself."""
    jinja = _environment()
    found, body = examination(text, jinja), b""
    findings = [*found.findings]
    if not any(finding.severity == "error" for finding in findings):
        try:
            body = marshal.dumps(jinja.compile(text))
        except (SyntaxError, RecursionError, ValueError) as error:  # Python refuses it
            message = f"this text cannot be compiled ({type(error).__name__})"
            findings.append(Finding("error", "template-syntax", message))
    facts = {
        "findings": [asdict(finding) for finding in findings],
        "variables": sorted(found.variables),
        "names": sorted(found.names),
    }
    yield facts, body


# Apart from the workers that render: a template that changes one must not decide what runs here.
_pool = Pool(["compile"], memory_bytes=512 << 20)
