"""What is installed is what constraints*.txt say, and the night says what breaks without them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import yamlgraph_prompts
from tests import suite
from tests.conftest import ROOT

PINS = re.compile(r"[a-z0-9.-]+==[A-Za-z0-9.+!]+( ; [a-z_0-9 .<>=!'()]+)?", re.IGNORECASE)
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
FILES = ("constraints.txt", "constraints-schemathesis.txt", "constraints-lowest.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def group(name: str) -> Iterator[str]:
    for entry in PROJECT["dependency-groups"][name]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from group(entry["include-group"])


def users() -> list[str]:
    project = PROJECT["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["yamlgraph"]]


INSTALLED = {
    "constraints.txt": [*users(), *group("test"), *group("lint"), *group("docs")],
    "constraints-schemathesis.txt": list(group("schemathesis")),
    "constraints-lowest.txt": [*users(), *group("lowest")],
}


def test_users_are_given_ranges_and_no_pins() -> None:
    assert not any("==" in requirement for requirement in users())


@pytest.mark.parametrize("file", FILES)
def test_constraints_are_names_and_versions_and_nothing_else(file: str) -> None:
    lines = (ROOT / file).read_text().splitlines()
    assert len(lines) > 20
    assert [line for line in lines if not PINS.fullmatch(line)] == []


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("file", FILES)
def test_everything_that_is_installed_has_one_version_on_every_python(
    file: str, python: str
) -> None:
    here = {"python_version": python, "python_full_version": f"{python}.1"}
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / file).read_text().splitlines():
        pin = Requirement(line)
        if pin.marker is None or pin.marker.evaluate(here):
            pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    assert [name for name, found in pins.items() if len(found) > 1] == []
    for text in INSTALLED[file]:
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate(here):
            (pin,) = pins[canonicalize_name(wanted.name)]
            assert wanted.specifier.contains(str(pin.specifier).removeprefix("=="), True)


def installs(*arguments: str) -> list[str]:
    """The commands of `make` that install something, without running any."""
    lines = subprocess.run(
        ["make", "--dry-run", "--always-make", f"PYTHON={sys.executable}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.replace("\\\n", " ")
    return [line for line in lines.splitlines() if " -m pip " in line]


@pytest.mark.parametrize(
    "target", ["check", "test", "lint", "docs", "demo", "bench", ".venv/lowest/ready"]
)
def test_make_installs_from_the_constraints(target: str) -> None:
    commands = installs(target)
    assert len(commands) >= 2
    assert all("--constraint constraints" in command for command in commands)
    # What builds this package is installed too, apart from the rest.
    built = [command for command in commands if "--editable" in command]
    assert built
    assert all("--build-constraint constraints" in command for command in built)


def test_the_night_installs_the_newest() -> None:
    commands = installs("test", "PINNED=", "VENV=.venv/newest")
    assert len(commands) >= 3
    assert not any("constraint" in command for command in commands)


def test_ci_installs_nothing_by_itself() -> None:
    assert not re.search(r"\bpip\b", (ROOT / ".ci/run").read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def metadata(built: Path) -> Message:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(wheel.read(name).decode())


def test_the_sdist_and_the_wheel_hold_the_licences(built: Path, metadata: Message) -> None:
    files = metadata.get_all("License-File")
    assert metadata["License-Expression"] == "MIT"
    assert files == PROJECT["project"]["license-files"]
    (path,), (archive,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(path) as wheel, tarfile.open(archive) as sdist:
        (info,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
        for file in files:
            text = (ROOT / file).read_bytes()
            assert wheel.read(f"{info}/licenses/{file}") == text
            member = sdist.extractfile(f"{info.removesuffix('.dist-info')}/{file}")
            assert member is not None
            assert member.read() == text
    assert "the yamlgraph-prompts authors" in (ROOT / "LICENSE").read_text()


def test_the_readme_has_no_link_that_a_package_index_cannot_follow(metadata: Message) -> None:
    readme = metadata.get_payload()
    assert isinstance(readme, str)
    targets = re.findall(r"\]\(([^)\s]+)|^\[[^]]+\]: (\S+)|(?:href|src)=\"([^\"]+)", readme, re.M)
    links = ["".join(groups) for groups in targets]
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_metadata_says_which_version_it_is_and_which_pythons_are_tested(
    metadata: Message,
) -> None:
    assert metadata["Version"] == yamlgraph_prompts.__version__
    assert metadata["Requires-Python"] == "<3.15,>=3.11"
    classifiers = metadata.get_all("Classifier", [])
    for python in PYTHONS:
        assert f"Programming Language :: Python :: {python}" in classifiers
    assert not [one for one in classifiers if one.startswith("License ::")]


@pytest.fixture(scope="module")
def nightly() -> ModuleType:
    loader = SourceFileLoader("nightly", str(ROOT / ".ci/nightly"))
    spec = spec_from_loader("nightly", loader)
    assert spec is not None
    module = sys.modules["nightly"] = module_from_spec(spec)
    loader.exec_module(module)
    return module


def step(nightly: ModuleType, name: str, script: str, after: str | None = None) -> Any:
    return nightly.Step(name, (sys.executable, "-c", script), after)


def test_a_good_night_is_0(
    nightly: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = nightly.run([step(nightly, "suite", "print('fine')")], tmp_path)
    assert nightly.report(done, [], tmp_path) == 0
    told = capsys.readouterr().out
    assert "good      suite" in told
    assert "none" in told
    assert "1 of 1 steps are good" in told


def test_a_bad_night_is_1_and_says_what_broke_and_what_moved(
    nightly: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "print('noise\\nFAILED tests/test_x.py::test_y - boom\\nmore'); raise SystemExit(1)"
    todo = [
        step(nightly, "suite (CPython 3.11)", script),
        step(nightly, "lint", "print('runs all the same')"),
        step(nightly, "fuzzer", "", after="suite (CPython 3.11)"),
        nightly.Step("benchmarks", ("no-such-command-anywhere",)),
    ]
    changes = list(nightly.moved("pyyaml==6.0.3\n", [("PyYAML", "6.0.4"), ("brand_new", "1")]))
    assert nightly.report(nightly.run(todo, tmp_path), changes, tmp_path) == 1
    told = capsys.readouterr().out
    assert "pyyaml 6.0.3 → 6.0.4" in told
    assert "brand-new 1 is new" in told
    assert "BROKEN    suite (CPython 3.11)" in told
    assert "FAILED tests/test_x.py::test_y - boom" in told
    assert "noise" not in told.partition("steps:")[2]
    assert "good      lint" in told
    assert "left out  fuzzer, since suite (CPython 3.11) failed" in told
    assert "BROKEN    benchmarks" in told
    assert "1 of 4 steps are good" in told


def test_a_night_that_did_nothing_is_a_bad_one(nightly: ModuleType, tmp_path: Path) -> None:
    assert nightly.report({}, [], tmp_path) == 1


def test_what_has_a_version_for_each_python_has_not_moved(nightly: ModuleType) -> None:
    pins = "networkx==3.6.1 ; python_full_version < '3.12'\nnetworkx==3.7\n"
    packages = [("networkx", "3.6.1"), ("pip", "99"), ("yamlgraph-prompts", "0.1.0")]
    assert list(nightly.moved(pins, packages)) == []


def test_the_night_runs_the_suite_and_the_fuzzer_on_the_newest(nightly: ModuleType) -> None:
    todo = list(nightly.steps(nightly.VENV, "CPython 3.11", "python3.11"))
    assert "PINNED=" in todo[0].command
    assert all(step.after == todo[0].name for step in todo[1:])
    commands = [" ".join(step.command) for step in todo]
    assert any(command.endswith("-m pytest -q") for command in commands)
    assert any("security/test_fuzzer.py --fuzz-seconds 600" in command for command in commands)
    other = nightly.steps(Path(".venv/newest-3.12"), "CPython 3.12", "python3.12")
    assert [step.name for step in other] == ["install (CPython 3.12)", "suite (CPython 3.12)"]


def test_every_module_with_tests_that_run_alone_is_run_by_make_test() -> None:
    marked = [p for p in (ROOT / "tests").rglob("*.py") if "pytest.mark.alone" in p.read_text()]
    modules = {path.relative_to(ROOT).as_posix() for path in marked} - {"tests/test_building.py"}
    assert modules == set(suite.ALONE)


@pytest.mark.parametrize(
    ("given", "codes", "ends", "runs"),
    [
        ([], [0, 0], 0, [[], [*suite.ALONE]]),
        (["--quick"], [0], 0, [[]]),
        (["-k", "word"], [5, 0], 0, [["-k", "word"], ["-k", "word", *suite.ALONE]]),
        (["-k", "word"], [0, 5], 0, [["-k", "word"], ["-k", "word", *suite.ALONE]]),
        (["-k", "word"], [5, 5], 5, [["-k", "word"], ["-k", "word", *suite.ALONE]]),
        (["-x"], [1], 1, [["-x"]]),
        (["tests"], [0, 1], 1, [["tests"], [*suite.ALONE]]),
        (["tests/security"], [0], 0, [["tests/security"]]),
        (["tests/test_watch.py::test_x"], [5, 0], 0, [["tests/test_watch.py::test_x"]] * 2),
    ],
    ids=str,
)
def test_make_test_runs_what_was_asked_for(
    given: list[str],
    codes: list[int],
    ends: int,
    runs: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ROOT)
    done: list[list[str]] = []
    left = iter(codes)

    def run(marks: str, *arguments: str) -> int:
        done.append([word for word in arguments if word not in suite._PARALLEL])
        return next(left)

    monkeypatch.setattr(suite, "_run", run)
    assert suite.main(*given) == ends
    assert done == runs
    assert list(left) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such a folder")
@pytest.mark.parametrize(
    ("free_bytes", "is_noexec", "is_used"),
    [(4 << 30, False, True), (64 << 20, False, False), (4 << 30, True, False)],
    ids=["room", "no room", "noexec"],
)
def test_temporary_files_are_in_memory_where_that_has_room(
    free_bytes: int, is_noexec: bool, is_used: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = os.ST_NOEXEC if is_noexec else 0
    facts = SimpleNamespace(f_bavail=free_bytes >> 12, f_frsize=1 << 12, f_flag=flags)
    monkeypatch.setattr(os, "statvfs", lambda path: facts)
    monkeypatch.setattr(suite, "_IN_MEMORY", str(tmp_path))
    monkeypatch.delenv("TMPDIR", raising=False)
    assert (suite._temporary() == str(tmp_path)) == is_used
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert suite._temporary() == tempfile.gettempdir()
