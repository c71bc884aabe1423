"""Build-time templates, rendered in a process that can be killed."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from yamlgraph_prompts.templates.render import J2Renderer, RenderResult

pytestmark = pytest.mark.usefixtures("own_workers")


@pytest.fixture(scope="module")
def renderer() -> Iterator[J2Renderer]:
    with J2Renderer() as renderer:
        yield renderer


def wait_until(predicate: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def render(
    renderer: J2Renderer,
    text: str,
    parts: Mapping[str, str] | None = None,
    **variables: Any,
) -> RenderResult:
    return renderer.render("staging", variables, {"a.yaml.j2": text}, parts)


def worker_pid(renderer: J2Renderer) -> int:
    (pid,) = renderer._pool.pids
    return pid


# -- what it gives -----------------------------------------------------------------------------


def test_environment_and_vars_are_the_context(renderer: J2Renderer) -> None:
    result = render(renderer, "user: {{ environment }} {{ tone }}\n", tone="kind")
    assert result == RenderResult({"a.yaml.j2": b"user: staging kind\n"})


def test_values_that_json_does_not_know_arrive_as_they_are(renderer: J2Renderer) -> None:
    result = render(
        renderer, "{{ day.year }} {{ n[1] }}", day=datetime.date(2025, 1, 2), n={1: "x"}
    )
    assert result.outputs == {"a.yaml.j2": b"2025 x"}


def test_run_time_placeholders_stay_in_raw_blocks(renderer: J2Renderer) -> None:
    result = render(renderer, "user: {% raw %}{{ name }}{% endraw %} {name}")
    assert result.outputs == {"a.yaml.j2": b"user: {{ name }} {name}"}


def test_a_higher_template_extends_a_lower_layers_part(renderer: J2Renderer) -> None:
    base = "system: {% block system %}base{% endblock %}\nuser: {% block user %}hi{% endblock %}\n"
    result = render(
        renderer,
        "{% extends 'base.j2' %}{% block user %}{{ super() }} {{ tone }}{% endblock %}",
        {"base.j2": base},
        tone="kind",
    )
    assert result.outputs == {"a.yaml.j2": b"system: base\nuser: hi kind\n"}


def test_a_template_may_extend_another_under_a_condition(renderer: J2Renderer) -> None:
    text = "{% if long %}{% extends 'base.j2' %}{% endif %}{% block user %}hi{% endblock %}"
    for is_long, expected in ((True, b"user: hi"), (False, b"hi")):
        result = render(
            renderer, text, {"base.j2": "user: {% block user %}{% endblock %}"}, long=is_long
        )
        assert result.outputs == {"a.yaml.j2": expected}


def test_a_template_extends_the_lower_file_of_its_own_name(renderer: J2Renderer) -> None:
    parts = {
        "super:a.yaml.j2": "{% extends 'super:a.yaml.j2' %}"
        "{% block x %}2{{ super() }}{% endblock %}",
        "super:super:a.yaml.j2": "[{% block x %}1{% endblock %}]",
    }
    result = render(
        renderer, "{% extends 'super:a.yaml.j2' %}{% block x %}3{{ super() }}{% endblock %}", parts
    )
    assert result.outputs == {"a.yaml.j2": b"[321]"}


def test_includes_and_imports_resolve_from_the_root_and_relative_to_the_file(
    renderer: J2Renderer,
) -> None:
    parts = {
        "shared/rules.j2": "{% include './tail.j2' %}{% include '../top.j2' %}",
        "shared/tail.j2": "tail ",
        "shared/macros.j2": "{% macro bold(x) %}*{{ x }}*{% endmacro %}",
        "top.j2": "top",
    }
    text = (
        "{% include 'shared/rules.j2' %} {% import 'shared/macros.j2' as m %}{{ m.bold('x') }}"
        "{% from './shared/macros.j2' import bold %}{{ bold('y') }}"
    )
    assert render(renderer, text, parts).outputs == {"a.yaml.j2": b"tail top *x**y*"}


def test_a_template_can_include_another_template(renderer: J2Renderer) -> None:
    result = renderer.render(
        None, {"n": 1}, {"a.yaml.j2": "{% include 'b.yaml.j2' %}!", "b.yaml.j2": "b{{ n }}"}
    )
    assert result.outputs == {"a.yaml.j2": b"b1!", "b.yaml.j2": b"b1"}


# -- what it says ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "parts", "code", "file", "line", "words"),
    [
        ("a\n{{ tome }}", {}, "j2-undefined", "a.yaml.j2", 2, "Did you mean 'tone'?"),
        ("a\n{{ who }}", {}, "j2-undefined", "a.yaml.j2", 2, "Set it in vars.yaml."),
        ("a\n{{ tone.x }}", {}, "j2-undefined", "a.yaml.j2", 2, "no attribute 'x'"),
        ("\n\n{% include 'p.j2' %}", {"p.j2": "x\n{{ y }}"}, "j2-undefined", "p.j2", 2, "'y'"),
        ("a\n{% if %}", {}, "j2-syntax", "a.yaml.j2", 2, "Expected an expression"),
        ("{% include 'p.j2' %}", {"p.j2": "\n\n{% if x %}"}, "j2-syntax", "p.j2", 3, "endif"),
        ("a\n{{ tone | uper }}", {}, "j2-syntax", "a.yaml.j2", 2, "Did you mean 'upper'?"),
        ("{{ f(a=1, a=2) }}", {}, "j2-syntax", "a.yaml.j2", 1, "repeated"),
        ("x\n{% include 'q.j2' %}", {"p.j2": ""}, "j2-error", "a.yaml.j2", 2, "'p.j2'?"),
        ("x\n{% include '../p.j2' %}", {"p.j2": ""}, "j2-error", "a.yaml.j2", 2, "no template"),
        ("{% include '/etc/passwd' %}", {}, "j2-error", "a.yaml.j2", 1, "no template"),
        ("\n{{ tone.__class__ }}", {}, "j2-error", "a.yaml.j2", 2, "__class__"),
        ("\n{{ tone['__cl' ~ 'ass__'] }}", {}, "j2-error", "a.yaml.j2", 2, "not for prompts"),
        ("{{ 1 + tone }}", {}, "j2-error", "a.yaml.j2", 1, "nsupported operand"),
        ("{% include 'a.yaml.j2' %}", {}, "j2-error", "a.yaml.j2", 1, "too deeply"),
        ("{{ 'x' * 11000000 }}", {}, "j2-output", "a.yaml.j2", 1, "longer than"),
        ("\n{{ 'x' * (11 * 10**6) }}", {}, "j2-output", "a.yaml.j2", 2, "longer than"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}\n{% endfor %}{% endfor %}", {},
         "j2-timeout", "a.yaml.j2", 1, "steps"),
        ("{{ '\\ud800' }}", {}, "j2-error", "a.yaml.j2", None, "character"),
    ],
)  # fmt: skip
def test_a_failure_names_its_file_and_line(
    renderer: J2Renderer,
    text: str,
    parts: Mapping[str, str],
    code: str,
    file: str,
    line: int | None,
    words: str,
) -> None:
    result = render(renderer, text, parts, tone="kind")
    assert not result.outputs
    (finding,) = result.findings
    assert (finding.code, finding.file, finding.line) == (code, file, line)
    assert words in str(finding)


def test_one_bad_template_does_not_stop_the_others(renderer: J2Renderer) -> None:
    templates = {
        "a": "{% if %}",
        "b": "{{ x }}",
        "c": "fine",
        "d": "{{ 'x' * (10**9) }}",
        "e": "ok",
    }
    result = renderer.render(None, {}, templates)
    assert result.outputs == {"c": b"fine", "e": b"ok"}
    assert [(f.file, f.code) for f in result.findings] == [
        ("a", "j2-syntax"),
        ("b", "j2-undefined"),
        ("d", "j2-output"),
    ]


def test_a_template_that_counts_its_time_leaves_some_to_the_others(renderer: J2Renderer) -> None:
    slow = "{% for a in range(9999) %}{{ ('a ' * 9999)|wordcount }}{% endfor %}"
    result = renderer.render(None, {}, {"a": slow, "b": "fine"}, timeout_s=0.6)
    assert result.outputs == {"b": b"fine"}
    assert [(f.file, f.code) for f in result.findings] == [("a", "j2-timeout")]


# -- the process -------------------------------------------------------------------------------


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[J2Renderer]:
    """A renderer whose process stops answering in the middle of any template named ``stuck``."""
    from yamlgraph_prompts._isolation import pool as module

    start = (
        "import json, sys, time; path, *facts = json.loads(sys.argv[1])\n"
        "sys.path[:] = path\n"
        "from yamlgraph_prompts.templates import render_job as job\n"
        "from yamlgraph_prompts._isolation.worker import main\n"
        "inner = job._render\n"
        "def _render(jinja, name, context):\n"
        "    if name == 'stuck': time.sleep(60)\n"
        "    if name == 'dies': import os; os._exit(9)\n"
        "    return inner(jinja, name, context)\n"
        "job._render = _render\n"
        "main(*facts)"
    )
    monkeypatch.setattr(module, "_START", start)
    with J2Renderer() as renderer:
        yield renderer


def test_a_template_that_does_not_end_is_killed_and_named(stuck: J2Renderer) -> None:
    templates = {"a": "1", "stuck": "2", "b": "3"}
    started = time.monotonic()
    result = stuck.render(None, {}, templates, timeout_s=0.2)
    assert time.monotonic() - started < 5
    assert result.outputs == {"a": b"1"}
    assert [(f.file, f.code) for f in result.findings] == [
        ("stuck", "j2-timeout"),
        ("b", "j2-timeout"),
    ]
    assert stuck.render(None, {}, {"a": "again"}).outputs == {"a": b"again"}


def test_a_template_whose_process_dies_does_not_stop_the_others(stuck: J2Renderer) -> None:
    result = stuck.render(None, {}, {"a": "1", "dies": "2", "b": "3"})
    assert result.outputs == {"a": b"1", "b": b"3"}
    assert [(f.file, f.code) for f in result.findings] == [("dies", "j2-error")]


def test_the_process_is_kept_for_the_next_time(renderer: J2Renderer) -> None:
    render(renderer, "1")
    first = worker_pid(renderer)
    render(renderer, "2")
    assert worker_pid(renderer) == first


def test_a_process_that_was_killed_in_between_is_replaced(renderer: J2Renderer) -> None:
    render(renderer, "1")
    first = worker_pid(renderer)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_running(first))
    assert render(renderer, "2").outputs == {"a.yaml.j2": b"2"}
    assert worker_pid(renderer) != first


def test_close_leaves_no_process_descriptor_or_thread() -> None:
    with J2Renderer() as warm:
        render(warm, "1")
    before, threads = set(os.listdir("/proc/self/fd")), threading.active_count()
    renderer = J2Renderer()
    render(renderer, "1")
    pid = worker_pid(renderer)
    renderer.close()
    assert not is_running(pid)
    assert set(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == threads
    renderer.close()


def test_a_renderer_that_is_dropped_ends_its_process() -> None:
    renderer = J2Renderer()
    render(renderer, "1")
    pid = worker_pid(renderer)
    del renderer
    wait_until(lambda: not is_running(pid))


def test_a_closed_renderer_starts_again() -> None:
    renderer = J2Renderer()
    renderer.close()
    assert render(renderer, "1").outputs == {"a.yaml.j2": b"1"}
    renderer.close()


def test_nothing_to_render_starts_no_process() -> None:
    renderer = J2Renderer()
    assert renderer.render("x", {}, {}) == RenderResult({})
    assert renderer._pool.pids == []
    renderer.close()


def test_many_threads_share_one_renderer(renderer: J2Renderer) -> None:
    results: dict[int, Any] = {}

    def work(number: int) -> None:
        results[number] = render(renderer, "{{ n }}", n=number).outputs["a.yaml.j2"]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: str(number).encode() for number in range(8)}


PARENT = """
import os, sys
from yamlgraph_prompts.templates.render import J2Renderer
renderer = J2Renderer()
renderer.render(None, {}, {"a": "1"})
"""


def python(code: str) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen(
        [sys.executable, "-c", PARENT + code], env=env, stdout=subprocess.PIPE, text=True
    )


def test_the_process_dies_with_its_parent() -> None:
    with python("print(*renderer._pool.pids, flush=True); sys.stdin.read()") as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    wait_until(lambda: not is_running(pid))


def test_a_forked_child_has_its_own_process_and_leaves_the_parents_alone() -> None:
    code = """
pids = renderer._pool.pids
child = os.fork()
if not child:
    assert renderer._pool.pids == []
    assert renderer.render(None, {}, {"a": "2"}).outputs == {"a": b"2"}
    assert renderer._pool.pids != pids
    renderer.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert renderer.render(None, {}, {"a": "3"}).outputs == {"a": b"3"}
assert renderer._pool.pids == pids
renderer.close()
print("fine")
"""
    with python(code) as parent:
        assert parent.communicate(timeout=60)[0] == "fine\n"


def test_the_process_knows_neither_langgraph_nor_the_apps_secrets(
    renderer: J2Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "1")
    with J2Renderer() as fresh:
        render(fresh, "1")
        pid = worker_pid(fresh)
        assert b"A_SECRET" not in Path(f"/proc/{pid}/environ").read_bytes()
        loaded = Path(f"/proc/{pid}/maps").read_text()
        assert "pydantic" not in loaded
        limits = Path(f"/proc/{pid}/limits").read_text()
        bound = next(line for line in limits.splitlines() if line.startswith("Max address space"))
        assert "unlimited" not in bound


def test_values_that_cannot_be_handed_over_are_a_finding(renderer: J2Renderer) -> None:
    result = render(renderer, "1", f=lambda: 1)
    assert [f.code for f in result.findings] == ["j2-error"]
    assert render(renderer, "1").outputs == {"a.yaml.j2": b"1"}
