"""Work on untrusted text: in worker processes that are bounded, and nowhere else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from yamlgraph_prompts import LivePrompts, PromptsRejected
from yamlgraph_prompts._isolation import Pool, compile_text
from yamlgraph_prompts._isolation import pool as pool_module
from yamlgraph_prompts.errors import WorkerDied, WorkerUnavailable, WorkStopped

pytestmark = pytest.mark.usefixtures("own_workers")
WITH_TEST_JOBS = (
    "import json, sys; path, *facts = json.loads(sys.argv[1]); sys.path[:] = path\n"
    "from yamlgraph_prompts._isolation import worker\n"
    "worker.JOBS['test'] = 'tests.isolation_jobs:misbehave'\n"
    "worker.main(*facts)"
)


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setattr(pool_module, "_START", WITH_TEST_JOBS)
    with Pool(["test"]) as pool:
        yield pool


def ask(pool: Pool, what: str, value: Any = None, *, seconds: float = 10.0) -> dict[str, Any]:
    facts, _ = pool.answer("test", (what, value), seconds=seconds)
    return dict(facts)


def stopped(pool: Pool, what: str, value: Any = None, *, seconds: float = 10.0) -> WorkStopped:
    with pytest.raises(WorkStopped) as caught:
        ask(pool, what, value, seconds=seconds)
    return caught.value


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def children() -> set[int]:
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return found


# -- the pool --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["sleep", "spin"])
def test_a_job_that_takes_too_long_is_killed_and_the_next_one_works(pool: Pool, what: str) -> None:
    started = time.monotonic()
    assert stopped(pool, what, 60, seconds=0.3).why == "time"
    assert time.monotonic() - started < 5
    assert ask(pool, "echo", 1) == {"value": 1}


def test_a_worker_that_is_killed_in_the_middle_is_an_error_for_that_job_only(pool: Pool) -> None:
    assert stopped(pool, "kill").why == "died"
    assert ask(pool, "echo", 1) == {"value": 1}


def test_a_worker_that_was_killed_between_two_jobs_is_replaced(pool: Pool) -> None:
    pid = ask(pool, "pid")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid))
    assert ask(pool, "pid")["pid"] != pid


def test_a_job_that_wants_too_much_memory_is_stopped_and_its_worker_replaced(pool: Pool) -> None:
    pid = ask(pool, "pid")["pid"]
    assert stopped(pool, "memory", 200 << 20).why == "memory"
    assert ask(pool, "memory", 60 << 20) == {"size": 60 << 20}
    assert ask(pool, "pid")["pid"] != pid


def test_a_job_that_fails_is_an_error_with_its_kind_and_the_worker_is_kept(pool: Pool) -> None:
    pid = ask(pool, "pid")["pid"]
    problem = stopped(pool, "fail")
    assert (problem.why, "ZeroDivisionError" in problem.message) == ("failed", True)
    assert ask(pool, "pid")["pid"] == pid


def test_an_answer_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_START", WITH_TEST_JOBS)
    with Pool(["test"], answer_bytes=10_000) as pool:
        assert stopped(pool, "big", 20_000).why == "size"
        assert len(ask(pool, "big", 9000)["text"]) == 9000


def test_no_more_processes_run_than_are_allowed_and_the_others_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool_module, "_START", WITH_TEST_JOBS)
    before, answers, most = children(), [], [0]
    with Pool(["test"], processes=2) as pool:
        pool.resize(3)

        def work(number: int) -> None:
            answers.append(ask(pool, "echo", number)["value"])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            most[0] = max(most[0], len(children() - before))
        assert sorted(answers) == list(range(12))
        assert 0 < most[0] <= 3
        pool.resize(1)
        ask(pool, "echo", 1)
        ask(pool, "echo", 1)
        assert len(pool.pids) <= 2
    assert children() == before


def test_where_no_process_can_be_started_the_error_says_so(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(WorkerUnavailable, match="No worker process can be started"):
            ask(pool, "echo", 1)
    assert ask(pool, "echo", 1) == {"value": 1}


@pytest.fixture
def uwsgi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Python embedded in a program, which would say when it is started."""
    program = tmp_path / "uwsgi"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/served\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return program


@pytest.mark.parametrize("executable", ["uwsgi", "", None])
def test_where_python_is_embedded_its_interpreter_is_found(
    executable: str | None, uwsgi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if executable != "uwsgi":
        monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(pool_module, "_START", WITH_TEST_JOBS)
    with Pool(["test"]) as pool:
        assert ask(pool, "echo", 1) == {"value": 1}
    assert not uwsgi.with_name("served").exists()


def test_the_interpreter_can_be_named(uwsgi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pool_module.interpreter()
    for prefix in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, prefix, "/nowhere")
    with Pool(["yaml"]) as pool:
        with pytest.raises(WorkerUnavailable, match=r"uwsgi.*YAMLGRAPH_PROMPTS_PYTHON"):
            pool.answer("yaml", b'{"user": "Hi"}', seconds=5.0)
        monkeypatch.setenv("YAMLGRAPH_PROMPTS_PYTHON", real)
        assert pool.answer("yaml", b'{"user": "Hi"}', seconds=5.0)[1] == b"user: Hi\n"
    assert not uwsgi.with_name("served").exists()


@pytest.mark.parametrize("named", ["/bin/true", "/no/such/python"])
def test_what_was_started_in_vain_is_named(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_PYTHON", named)
    with Pool(["yaml"]) as pool, pytest.raises(WorkerUnavailable, match=named):
        pool.answer("yaml", b"{}", seconds=5.0)


def test_a_j2_file_says_what_was_started_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_PYTHON", "/bin/true")
    (tmp_path / "a.yaml.j2").write_text("user: {{ environment }}")
    expected = r"/bin/true did not start as Python.*YAMLGRAPH_PROMPTS_PYTHON"
    with pytest.raises(PromptsRejected, match=expected):
        LivePrompts(tmp_path, environment="x", watch=False).publish()


def test_another_python_is_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.implementation, "cache_tag", "cpython-399")
    with pytest.raises(WorkerUnavailable, match="is not cpython-399"):
        ask(pool, "echo", 1)


def test_a_worker_has_no_environment_no_files_and_no_heavy_modules(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("A_SECRET", "1")
    (tmp_path / "file").write_text("secret")
    facts = ask(pool, "environment")
    assert set(facts["environment"]) <= {*pool_module._ENVIRONMENT, "LC_CTYPE"}
    for module in ("langgraph", "langchain_core", "yamlgraph", "pydantic", "boto3", "fastapi"):
        assert module not in facts["modules"]
    assert "OSError" in stopped(pool, "open", str(tmp_path / "file")).message
    assert "OSError" in stopped(pool, "connect", ["127.0.0.1", 9]).message
    (pid,) = pool.pids
    files = {os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
    assert {file.split(":")[0] for file in files} <= {"pipe", "/dev/null", f"/proc/{pid}/statm"}


def test_what_a_job_prints_is_no_answer(pool: Pool) -> None:
    assert ask(pool, "print", "\x00" * 100) == {}
    assert ask(pool, "echo", 1) == {"value": 1}


PARENT = f"""
import sys
from yamlgraph_prompts._isolation import Pool, pool as module
module._START = {WITH_TEST_JOBS!r}
pool = Pool(["test"])
def ask(what, value=None): return pool.answer("test", (what, value), seconds=60)[0]
ask("echo")
"""


def python(code: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen(
        [sys.executable, "-c", PARENT + code], env=env, stdout=subprocess.PIPE, text=True
    )


def test_a_worker_dies_with_its_parent_also_in_the_middle_of_a_job() -> None:
    code = "print(*pool.pids, flush=True); ask('sleep', 0.5); ask('sleep', 60)"
    with python(code) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.kill()
    wait_until(lambda: not is_running(pid), 5.0)


def test_a_forked_child_has_workers_of_its_own_and_leaves_the_parents_alone() -> None:
    code = """
import os, threading
pids = pool.pids
busy = threading.Thread(target=ask, args=("sleep", 1.0))
busy.start()
child = os.fork()
if not child:
    assert pool.pids == []
    assert ask("echo", 2) == {"value": 2}
    assert pool.pids != pids
    pool.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
busy.join()
assert ask("echo", 3) == {"value": 3}
assert pool.pids == pids
pool.close()
print("fine")
"""
    with python(code) as parent:
        assert parent.communicate(timeout=60)[0] == "fine\n"


# -- compiling -------------------------------------------------------------------------------------


def test_a_text_is_compiled_in_a_worker_and_runs_here() -> None:
    from jinja2 import Template

    from yamlgraph_prompts._sandbox.budget import Budget, Limits, using
    from yamlgraph_prompts._sandbox.jinja import GuardedEnvironment

    text = "{% for n in names %}{{ n | upper }}! {% endfor %}{{ tone }}"
    compiled = compile_text(text)
    assert (compiled.findings, compiled.variables) == ((), {"names", "tone"})
    assert {"names", "tone", "range"} <= compiled.names
    jinja = GuardedEnvironment()
    assert compiled.code is not None
    template = Template.from_code(jinja, compiled.code, jinja.globals)
    with using(Budget(Limits())):
        assert template.render(names=["a", "b"], tone="kind") == "A! B! kind"


@pytest.mark.parametrize("text", ["{{ a | uper }}", "{% if %}", "{{ f(a=1, a=2) }}"])
def test_what_is_wrong_with_a_text_comes_back_instead_of_code(text: str) -> None:
    compiled = compile_text(text)
    assert compiled.code is None
    assert any(finding.severity == "error" for finding in compiled.findings)


def test_a_text_is_compiled_also_where_its_worker_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from yamlgraph_prompts._isolation import compiling

    answer, asked = compiling._pool.answer, []

    def killed(*arguments: Any, **more: Any) -> Any:
        asked.append(arguments)
        if len(asked) == 1:
            raise WorkerDied
        return answer(*arguments, **more)

    monkeypatch.setattr(compiling._pool, "answer", killed)
    assert compile_text("Hi {{ name }}").code is not None
    assert len(asked) == 2


def test_a_text_is_compiled_here_where_no_worker_can_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from yamlgraph_prompts._isolation import compiling

    here = compile_text("Hi {{ name }}")
    compiling._pool.close()

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert compile_text("Hi {{ name }}") == here
