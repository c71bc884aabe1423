"""``.yaml.j2`` files, rendered when a release is built, in a process that can be killed.

Knows no layers and no YAML: names and texts in, bytes and findings out.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from yamlgraph_prompts._isolation import Pool
from yamlgraph_prompts.errors import WorkerUnavailable, WorkStopped
from yamlgraph_prompts.findings import Finding

MEMORY_BYTES = 1 << 30  # what the process may use above what it starts with


@dataclass(frozen=True, slots=True)
class RenderResult:
    """The outputs of templates by name, and findings for the files that could not be rendered."""

    outputs: Mapping[str, bytes]
    findings: tuple[Finding, ...] = ()


@dataclass
class _Job:
    """One call of `render`: what is still to do, and the results so far."""

    names: list[str]
    files: Mapping[str, str]
    variables: Mapping[str, Any]
    environment: str | None
    outputs: dict[str, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    running: str | None = None

    def request(self, seconds: float) -> dict[str, Any]:
        return {
            "names": self.names,
            "files": dict(self.files),
            "variables": dict(self.variables),
            "environment": self.environment,
            "seconds": seconds,
        }

    def take(self, fact: Mapping[str, Any], text: bytes) -> None:
        if "running" in fact:
            self.running = fact["running"]
            return
        self.names.remove(fact["name"])
        if "text" in fact:
            self.outputs[fact["name"]] = text
        else:
            self.findings.extend(Finding(**finding) for finding in fact["findings"])

    def stopped(self, problem: WorkStopped) -> None:
        if problem.why != "time":
            self.fail("j2-error", f"It could not be rendered. {problem.message}")
            return
        self.fail("j2-timeout", "It took too long to render.")
        self.fail_all("j2-timeout", "It was not rendered: another template took all the time.")

    def fail_all(self, code: str, message: str) -> None:
        while self.names:
            self.fail(code, message)

    def fail(self, code: str, message: str) -> None:
        name = self.running if self.running in self.names else self.names[0]
        assert name is not None
        self.names.remove(name)
        self.findings.append(Finding("error", code, message, file=name))


class J2Renderer(AbstractContextManager["J2Renderer"]):
    """Renders templates in a process of its own, which is kept for the next time. Thread-safe."""

    def __init__(self) -> None:
        self._pool = Pool(["render"], memory_bytes=MEMORY_BYTES, answer_bytes=128 << 20)

    def __exit__(self, *_: object) -> None:
        self.close()

    def render(
        self,
        environment: str | None,
        variables: Mapping[str, Any],
        templates: Mapping[str, str],
        parts: Mapping[str, str] | None = None,
        timeout_s: float = 5.0,
    ) -> RenderResult:
        """Render every template, in `timeout_s` seconds; one that fails does not stop the others.

        `parts` are the further files that templates may include, import or extend; a name
        ``super:x`` is the file ``x`` of a lower layer.
        """
        job = _Job(list(templates), {**(parts or {}), **templates}, variables, environment)
        deadline: float | None = None
        while job.names:
            now = time.monotonic()
            # The start of the process does not count.
            seconds = timeout_s if deadline is None else max(0.0, deadline - now)
            try:
                self._pool.run("render", job.request(seconds), job.take, seconds=seconds)
            except WorkStopped as problem:
                deadline = deadline or now + timeout_s
                job.stopped(problem)
            except WorkerUnavailable as problem:
                job.fail_all("j2-error", f"It could not be rendered. {problem}")
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                job.fail_all("j2-error", f"It could not be rendered ({type(error).__name__}).")
        return RenderResult(job.outputs, tuple(job.findings))

    def close(self) -> None:
        """End the process. A later `render` starts one anew."""
        self._pool.close()
