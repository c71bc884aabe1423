"""Runs hostile templates in a child process that can be killed, and measures each."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.security import objects
from tests.security.objects import words

ROOT = Path(__file__).parent.parent.parent
MEBI = 1024 * 1024
GRACE_S = 5.0  # above a render's own limit of 5 s, on a busy machine
RENDER_S = 5.0
MEMORY = 64 * MEBI  # above the text that results
HOLD_S = 0.05
_ADDRESS_SPACE = 1024 * MEBI  # above what the child has when it starts
_SHOWN = 4_000
_CHILD = "import sys; from tests.security.guarded import main; main(int(sys.argv[1]))"
# Stands for a template that does all that none may do, to test the harness itself.
PROBE = "probe: l func"


@dataclass(frozen=True)
class Case:
    """One template and what it is given.

    Args:
        name: What the attack is.
        template: The text of one message, or a prompt's mapping.
        extra: Further variables, as plain data.
    """

    name: str
    template: str | Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What came of a case.

    Args:
        outcome: ``text``, ``refused`` (`PromptRenderError`), ``raised`` (another exception),
            ``killed`` (it did not end in time) or ``died`` (the process ended by itself).
        text: The text, or the error's; cut after some thousand characters.
        length: The whole length.
        cause: The exceptions that a refusal came of.
        seconds: Wall time.
        cpu_s: Time on a processor.
        hold_s: The longest time on a processor in which no other thread ran.
        memory: The most bytes held above those at the start.
        size: Bytes of the resulting texts.
        changed: Names of variables that were changed.
        calls: Methods of the app's objects that ran.
        events: What Python's audit saw: files, processes, sockets and the like.
        files: What lies in the working directory afterwards.
    """

    outcome: str
    text: str = ""
    length: int = 0
    cause: tuple[str, ...] = ()
    seconds: float = 0.0
    cpu_s: float = 0.0
    hold_s: float = 0.0
    memory: int = 0
    size: int = 0
    changed: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def excess(self) -> int:
        """Bytes held above the text that results."""
        return self.memory - self.size


class Child:
    """The child process; started when first needed, and again after it was killed."""

    def __init__(self, timeout_s: float = RENDER_S + GRACE_S) -> None:
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._folder = TemporaryDirectory()
        self.starts = 0

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._folder.cleanup()

    def run(self, case: Case) -> Result:
        """Run one case; a child that does not answer in time is killed."""
        pipe = self._pipe or self._start()
        try:
            pipe.send(case)
            if not pipe.poll(self._timeout_s):
                self._stop()
                return Result("killed", seconds=self._timeout_s)
            result: Result = pipe.recv()
        except (EOFError, OSError):
            code = self._process.wait() if self._process else None
            self._stop()
            return Result("died", text=f"exit code {code}")
        return result

    def measure(self, case: Case, *, noise: float = 2.0) -> Result:
        """Run a case; one that seems to break a limit of time is run again, twice at most.

        The machine is shared: only what happens each time is the template's own doing.
        """
        result = self.run(case)
        for _ in range(2):
            if result.hold_s <= HOLD_S * noise or result.outcome in ("killed", "died"):
                break
            result = min(result, self.run(case), key=lambda one: one.hold_s)
        return result

    def _start(self) -> Connection:
        ours, theirs = Pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(theirs.fileno())],
            cwd=self._folder.name,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            pass_fds=[theirs.fileno()],
            stdout=subprocess.DEVNULL,
        )
        theirs.close()
        self._pipe = ours
        self.starts += 1
        if not ours.poll(60):
            self._stop()
            raise TimeoutError("The child process did not start within 60 s.")
        ours.recv()
        return ours

    def _stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        if self._pipe:
            self._pipe.close()
        self._process = self._pipe = None


# -- in the child ------------------------------------------------------------------------------


class _Heartbeat(threading.Thread):
    """Beats every 2 ms, and keeps the most processor time that passed between two beats."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.worst = self._last = 0.0

    def reset(self) -> None:
        self._last = time.process_time()
        self.worst = 0.0

    def run(self) -> None:
        while True:
            self.beat()
            time.sleep(0.002)

    def beat(self) -> None:
        now = time.process_time()
        self.worst = max(self.worst, now - self._last)
        self._last = now


# Audit events that a render causes by compiling and importing.
_HARMLESS_EVENTS = frozenset(
    words(
        "compile exec import marshal.loads object.__getattr__ sys._getframe "
        "sys._getframemodulename code.__new__ gc.get_objects gc.get_referents os.listdir "
        "os.scandir array.__new__ _thread.start_new_thread _thread.start_joinable_thread "
        "function.__new__ builtins.id sys.unraisablehook"
    )
)


class _Audit:
    def __init__(self) -> None:
        self.events: list[str] | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.events is None or event in _HARMLESS_EVENTS:
            return
        if event == "open":
            path, mode, _flags = args
            if isinstance(path, int) or path == os.devnull:
                return  # a worker of the package is started: its pipes, and no standard error
            if str(path).endswith((".py", ".pyc")) and mode in (None, "r", "rb"):
                return
        if event == "open" and (type(args[0]) is int or args[0] == os.devnull):
            return  # the pipes of a worker
        if event == "object.__setattr__" and "yamlgraph_prompts" in str(args[0]):
            return  # a frozen dataclass of the package
        if event == "subprocess.Popen" and "yamlgraph_prompts" in str(args[1]):
            return  # a worker of the package
        if event == "object.__setattr__" and "yamlgraph_prompts." in str(args[0]):
            return  # a frozen fact of the package is made
        self.events.append(f"{event} {args[:1]}"[:200])


def _memory(key: str) -> int:
    """Bytes that the kernel has under this key; the most so far where it has no such file."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(key.encode()):
                return int(line.split()[1]) * 1024
    return 0


def _reset_peak() -> None:
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as refs:
        refs.write("5")


_causes: list[str] = []


def _watch_causes() -> None:
    from yamlgraph_prompts.errors import PromptRenderError

    original = PromptRenderError.__init__

    def noted(self: Any, *args: Any, **kwargs: Any) -> None:
        error = sys.exc_info()[1]
        while error is not None:
            _causes.append(type(error).__name__)
            error = error.__context__
        original(self, *args, **kwargs)

    PromptRenderError.__init__ = noted  # type: ignore[method-assign]


def _render(template: str | Mapping[str, Any], values: dict[str, Any]) -> list[Any]:
    from yamlgraph_prompts.templates.template import MessageTemplate, PromptTemplate

    if template == PROBE:
        return [_misbehave(**values)]
    state = dict(values)
    if isinstance(template, str):
        return [MessageTemplate(template, prompt="p").render(values, state)]
    made = PromptTemplate(template, prompt="p").messages(values, state=state)
    return [message.content for message in made]


def _misbehave(l: list[int], func: Callable[[], str]) -> str:  # noqa: E741
    l.append(1)
    func()
    Path("probe").write_text("x")
    del [b"x" * (128 * MEBI)][0]
    return str((9 ** (9**6) * 9 ** (9**6)) % 7)


def _run(case: Case, heartbeat: _Heartbeat, audit: _Audit) -> Result:
    from yamlgraph_prompts.errors import PromptRenderError

    words = case.template if isinstance(case.template, str) else repr(case.template)
    values = {**objects.for_text(words), **case.extra}
    before = {name: objects.snapshot(value) for name, value in values.items()}
    gc.collect()
    objects.CALLS.clear()
    _causes.clear()
    _reset_peak()
    held = _memory("VmRSS")
    events: list[str] = []
    outcome, text, size = "text", "", 0
    heartbeat.reset()
    cpu, wall = time.process_time(), time.perf_counter()
    audit.events = events
    try:
        parts = _render(case.template, values)
    except PromptRenderError as error:
        outcome, text = "refused", str(error)
    except BaseException as error:  # noqa: BLE001 - anything else is a fault of the sandbox
        outcome, text = "raised", f"{type(error).__name__}: {error}"
    else:
        text = "\n".join(part if isinstance(part, str) else repr(part) for part in parts)
        size = sum(map(sys.getsizeof, parts))
    audit.events = None
    seconds, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
    heartbeat.beat()
    memory = _memory("VmHWM") - held
    calls = tuple(f"{name} x{count}" for name, count in sorted(objects.CALLS.items()))
    changed = tuple(n for n, value in values.items() if objects.snapshot(value) != before[n])
    return Result(
        outcome,
        text=text[:_SHOWN],
        length=len(text),
        cause=tuple(_causes),
        seconds=seconds,
        cpu_s=cpu_s,
        hold_s=heartbeat.worst,
        memory=max(0, memory),
        size=size,
        changed=changed,
        calls=calls,
        events=tuple(events),
        files=tuple(os.listdir()),
    )


_WARM_UP = (
    "{{ x|upper|sort|join }}{% for i in [1] %}{{ loop.index }}{% endfor %}{{ '%s' % 1 }}",
    "{x:>3}",
    "{% macro m() %}{{ x|tojson|wordwrap|title }}{% endmacro %}{{ m() }}{{ y_ }}",
)


def main(descriptor: int) -> None:
    """Take cases until the pipe is closed."""
    pipe = Connection(descriptor)
    _watch_causes()
    heartbeat, audit = _Heartbeat(), _Audit()
    heartbeat.start()
    for text in _WARM_UP:
        _run(Case("warm up", text, {"x": "a"}), heartbeat, audit)
    for name, factory in objects.FACTORIES.items():
        if not re.search("big|long|many|equal|huge|deep|wide|colliding|blank", name):
            objects.snapshot(factory())
    limit = _memory("VmSize") + _ADDRESS_SPACE
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    gc.freeze()
    pipe.send("ready")
    while True:
        try:
            case = pipe.recv()
        except EOFError:
            return
        pipe.send(_run(case, heartbeat, audit))


def copy_of_4_mib_s() -> float:
    """The time of one copy of a text of 4 MiB, the best of ten."""
    text = "x" * (4 * MEBI)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        _ = text + "y"
        times.append(time.perf_counter() - start)
    return min(times)
