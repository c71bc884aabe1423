"""``.yaml.j2`` files, rendered when a release is built, in a process that can be killed.

Knows no layers and no YAML: names and texts in, bytes and findings out.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yamlgraph_prompts.findings import Finding
from yamlgraph_prompts.render_worker import receive, send

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from yamlgraph_prompts.render_worker import main; main()"
)
_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "SYSTEMROOT")
_START_S = 30.0  # for a process to start; a cold disk is slow
_GRACE_S = 0.5  # what the worker may take on top, to say itself what took too long
_END_S = 1.0


@dataclass(frozen=True, slots=True)
class RenderResult:
    """What became of a set of templates.

    Args:
        outputs: Template name → what it rendered to, for those that did.
        findings: Why the others did not; each names its file, and the line where it is known.
    """

    outputs: Mapping[str, bytes]
    findings: tuple[Finding, ...] = ()


class _Worker:
    """One rendering process."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, json.dumps(_path())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
            start_new_session=True,
        )
        with self.killed_after(_START_S):
            ready = self.read()
        if ready is None:
            self.end()
            raise OSError("the process that renders templates did not start")

    def killed_after(self, seconds: float) -> _Killer:
        return _Killer(self.process, seconds)

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        send(self.process.stdin, data)  # type: ignore[arg-type]

    def read(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        data = receive(self.process.stdout)  # type: ignore[arg-type]
        fact: dict[str, Any] | None = None if data is None else json.loads(data)
        return fact

    def end(self) -> None:
        if self.pid != os.getpid():
            return
        self._close_pipes()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def forget(self) -> None:
        """Let go of it in a forked child, whose parent goes on using it."""
        self._close_pipes()
        self.process.returncode = 0

    def _close_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class _Killer:
    """Kills a process unless the block ends in time."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.fired = False
        self._process = process
        self._timer = threading.Timer(seconds, self._fire)
        self._timer.daemon = True

    def _fire(self) -> None:
        self.fired = True
        self._process.kill()

    def __enter__(self) -> _Killer:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._timer.join()


def _path() -> list[str]:
    import jinja2
    import markupsafe

    homes = [str(Path(module).parent.parent) for module in (__file__, jinja2.__file__)]
    homes.append(str(Path(markupsafe.__file__).parent.parent))
    return list(dict.fromkeys([*(entry for entry in sys.path if entry), *homes]))


@dataclass
class _Job:
    """One call of `render`: what is still to do, and what is known already."""

    names: list[str]
    files: Mapping[str, str]
    variables: Mapping[str, Any]
    environment: str | None
    outputs: dict[str, bytes] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    running: str | None = None

    def request(self, seconds: float) -> bytes:
        return pickle.dumps(
            {
                "names": self.names,
                "files": dict(self.files),
                "variables": dict(self.variables),
                "environment": self.environment,
                "seconds": seconds,
            }
        )

    def take(self, fact: Mapping[str, Any]) -> None:
        if "running" in fact:
            self.running = fact["running"]
            return
        self.names.remove(fact["name"])
        if "text" in fact:
            self.outputs[fact["name"]] = fact["text"].encode()
        else:
            self.findings.extend(Finding(**finding) for finding in fact["findings"])

    def fail(self, code: str, message: str) -> None:
        name = self.running if self.running in self.names else self.names[0]
        assert name is not None
        self.names.remove(name)
        self.findings.append(Finding("error", code, message, file=name))


class J2Renderer:
    """Renders build-time templates in one process of its own, which is kept for the next time.

    Thread-safe. The process starts with the first `render`, is killed when a template takes too
    long, ends when this process does, and is not shared with a forked child.

    Example:
        >>> with J2Renderer() as renderer:
        ...     result = renderer.render("staging", {"tone": "kind"}, {"hi.yaml.j2": "{{ tone }}"})
        >>> result.outputs
        {'hi.yaml.j2': b'kind'}
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        _renderers.add(self)

    def __enter__(self) -> J2Renderer:
        return self

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
        """Render every template.

        Args:
            environment: What ``{{ environment }}`` is.
            variables: The other names that the templates know.
            templates: File name → text of each template, such as ``"hi.yaml.j2"``.
            parts: File name → text of all that ``{% include %}``, ``{% import %}`` and
                ``{% extends %}`` find, with the templates. A name that begins with ``./`` or
                ``../`` is relative to the file that names it. A key ``"super:hi.yaml.j2"`` is
                what a template of that very name may extend: the file of a lower layer.
            timeout_s: How long all of it may take, in seconds.

        Returns:
            What they rendered to, and why the others did not. One that fails does not keep the
            others from being rendered; one that does not end takes the time of those after it.
        """
        job = _Job(list(templates), {**(parts or {}), **templates}, variables, environment)
        deadline: float | None = None
        with self._lock:
            while job.names:
                try:
                    worker = self._started()
                    now = time.monotonic()
                    deadline = deadline or now + timeout_s
                    self._run(worker, job, deadline - now)
                except (OSError, pickle.PicklingError, TypeError, AttributeError) as error:
                    self._stop()
                    return _not_rendered(job, type(error).__name__)
        return RenderResult(job.outputs, tuple(job.findings))

    def close(self) -> None:
        """End the process. A later `render` starts one anew."""
        with self._lock:
            self._stop()

    def _run(self, worker: _Worker, job: _Job, seconds: float) -> None:
        request = job.request(seconds)
        with worker.killed_after(max(0.0, seconds) + _GRACE_S) as killer:
            fact: dict[str, Any] | None = None
            try:
                worker.write(request)
                while (fact := worker.read()) is not None and "done" not in fact:
                    job.take(fact)
            except BrokenPipeError:
                fact = None
        if fact is not None:
            return
        self._stop()
        if not killer.fired:
            job.fail("j2-error", "The process that rendered it died: it took too much memory.")
            return
        job.fail("j2-timeout", "It took too long to render.")
        while job.names:
            job.fail("j2-timeout", "It was not rendered: another template took all the time.")

    def _started(self) -> _Worker:
        if self._worker is not None and self._worker.process.poll() is not None:
            self._stop()
        if self._worker is None:
            self._worker = _Worker()
            self._last = weakref.finalize(self, self._worker.end)
        return self._worker

    def _stop(self) -> None:
        if self._worker is not None:
            self._worker = None
            self._last()

    def _forget(self) -> None:
        """After a fork, in the child: the process and the lock are the parent's."""
        self._lock = threading.Lock()
        if self._worker is not None:
            self._last.detach()
            self._worker.forget()
            self._worker = None


def _not_rendered(job: _Job, why: str) -> RenderResult:
    for name in job.names:
        job.findings.append(
            Finding("error", "j2-error", f"It could not be rendered ({why}).", file=name)
        )
    return RenderResult(job.outputs, tuple(job.findings))


_renderers: weakref.WeakSet[J2Renderer] = weakref.WeakSet()


def _forget_all() -> None:
    for renderer in list(_renderers):
        renderer._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
