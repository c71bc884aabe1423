"""Random templates keep within time, memory and the interpreter lock, and do nothing but render."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_NAMESPACE, DEFAULT_TESTS

from tests.conftest import ROOT
from tests.security.fuzzer import Grammar, fault_of, minimised
from tests.security.guarded import MEMORY, PROBE, Case, Child, Result
from tests.security.objects import words
from yamlgraph_prompts._sandbox.filters import EXCLUDED_FILTERS

_GRACE_S = 60.0  # for the start, the template under way and making a finding shorter


@pytest.mark.slow
@pytest.mark.timeout(0)  # it takes as long as it is asked to
def test_the_fuzzer_finds_nothing(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds, report = request.config.getoption("--fuzz-seconds"), tmp_path / "report.json"
    if not seconds:
        pytest.skip("--fuzz-seconds 0")
    command = [sys.executable, "-m", "tests.security.fuzzer", "--seconds", str(seconds)]
    command += ["--seed", str(request.config.getoption("--fuzz-seed")), "--report", str(report)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds + _GRACE_S,
        check=False,
    )
    with capsys.disabled():
        print(f"\n{done.stdout.strip()}")
    assert done.returncode == 0, done.stdout
    assert json.loads(report.read_text())["findings"] == []


def test_the_grammar_reaches_every_filter_test_global_and_statement() -> None:
    grammar = Grammar(Random(1))
    reached = set().union(*(grammar.template().operations for _ in range(8_000)))
    wanted = {
        *(f"filter {name}" for name in set(DEFAULT_FILTERS) - set(EXCLUDED_FILTERS)),
        *(f"test {name}" for name in DEFAULT_TESTS),
        *(f"global {name}" for name in DEFAULT_NAMESPACE),
        *(f"operator {sign}" for sign in words("+ - * / // % ** ~ == < in")),
        *(f"text method {name}" for name in dir(str) if not name.startswith("_")),
        *(f"statement {name}" for name, _make in Grammar._STATEMENTS),
        "statement field",
    }
    assert wanted <= reached


def test_the_same_seed_gives_the_same_templates() -> None:
    first, second = Grammar(Random(5)), Grammar(Random(5))
    assert [first.template() for _ in range(50)] == [second.template() for _ in range(50)]


def test_a_template_that_misbehaves_is_a_finding() -> None:
    with Child() as child:
        assert fault_of(child.run(Case("good", "{{ user.name }}")), 1.0) is None
        assert fault_of(child.run(Case("bad", PROBE)), 1e9) is not None


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        (Result("killed"), "it killed"),
        (Result("raised", text="KeyError"), "it raised"),
        (Result("refused", cause=("MemoryError",)), "memory"),
        (Result("text", cpu_s=7.0), "time"),
        (Result("text", hold_s=0.2), "hold"),
        (Result("text", memory=MEMORY + 101, size=100), "memory"),
        (Result("text", length=4_194_305), "length"),
        (Result("text", changed=("l",)), "effects"),
        (Result("text", events=("open",)), "effects"),
        (Result("text", files=("stolen",)), "effects"),
        (Result("text", calls=("User.greet x1",)), "call"),
        (Result("refused", text="SECRET-9d1f"), "secret"),
        (Result("text", text="SECRET-private"), "secret"),
    ],
)
def test_each_limit_is_looked_at(result: Result, fault: str) -> None:
    assert (fault_of(result, 0.1) or "").startswith(fault)


def test_a_result_within_all_limits_is_no_finding() -> None:
    good = Result("text", text="SECRET-9d1f", memory=MEMORY, calls=("HostileObject.__str__ x1",))
    assert fault_of(good, 0.1) is None


def test_a_finding_is_made_shorter() -> None:
    text = "{{ 1 }}{% if user %}{{ 'a' * 10 }} and more{% endif %}{{ big|upper }}"
    assert minimised(text, lambda shorter: "big" in shorter) == "big"
