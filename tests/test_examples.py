"""Every example does what its README says, offline, started as its README says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT, wait_until
from tests.example_apps import copy_of, save, settings
from tests.model_server import ModelServer
from yamlgraph_prompts._cli import main

EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir())


def log_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


@contextmanager
def talking(folder: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`python main.py`, to be talked with line by line."""
    with (
        log_of(folder).open("w") as log,
        subprocess.Popen(
            [sys.executable, "main.py"],
            cwd=folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def ask(process: subprocess.Popen[str], line: str) -> str:
    assert process.stdin
    assert process.stdout
    process.stdin.write(f"{line}\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


def hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def leave(process: subprocess.Popen[str]) -> int:
    assert process.stdin
    process.stdin.close()
    return process.wait(20)


def test_the_quickstart_takes_an_edit_without_a_restart_and_refuses_a_mistake(
    tmp_path: Path, model_server: ModelServer
) -> None:
    folder = copy_of("quickstart", tmp_path)
    with talking(folder, settings(tmp_path, model_server.url)) as process:
        assert hear(process) == "Whom shall we write to?"
        assert ask(process, "Ada") == "echo: Write a letter that begins with: echo: Greet Ada."
        save(folder / "prompts/letter.yaml", 'user: "Three cheers: {greeting}"\n')
        wait_until(lambda: ask(process, "Ada") == "echo: Three cheers: echo: Greet Ada.")
        save(folder / "prompts/letter.yaml", 'user: "Four cheers: {greeting}\n')
        save(folder / "prompts/greeting.yaml", 'user: "Salute {name}."\n')
        wait_until(lambda: "letter.yaml:1:7" in log_of(folder).read_text())
        assert ask(process, "Grace") == "echo: Three cheers: echo: Greet Grace."
        save(folder / "prompts/letter.yaml", 'user: "Four cheers: {greeting}"\n')
        wait_until(lambda: ask(process, "Ada") == "echo: Four cheers: echo: Salute Ada.")
        assert leave(process) == 0


def test_the_quickstart_is_yamlgraphs_own_program_but_for_one_import(
    tmp_path: Path, model_server: ModelServer
) -> None:
    folder = copy_of("quickstart", tmp_path)
    main = folder / "main.py"
    changed = main.read_text()
    own = re.sub(
        r"from yamlgraph_prompts import .*", "from yamlgraph import load_and_compile", changed
    )
    assert own != changed
    main.write_text(own)
    with talking(folder, settings(tmp_path, model_server.url)) as process:
        assert hear(process) == "Whom shall we write to?"
        assert ask(process, "Ada") == "echo: Write a letter that begins with: echo: Greet Ada."


def test_the_readmes_ways_to_reach_a_local_model_work(
    tmp_path: Path, model_server: ModelServer
) -> None:
    folder = copy_of("quickstart", tmp_path)
    env = settings(tmp_path)
    del env["PROVIDER"], env["LMSTUDIO_BASE_URL"]
    ways = re.findall("^export (.*http.*)$", (ROOT / "examples/README.md").read_text(), re.M)
    assert len(ways) == 2
    for way in ways:
        local = re.sub(r"http\S+", model_server.url, way)
        named = dict(word.split("=", 1) for word in local.split())
        with talking(folder, {**env, **named}) as process:
            hear(process)
            assert "Greet Ada." in ask(process, "Ada"), log_of(folder).read_text()


def test_the_environments_say_what_the_readme_prints(tmp_path: Path) -> None:
    folder = copy_of("environments", tmp_path)
    done = subprocess.run(
        [sys.executable, "main.py"],
        cwd=folder,
        env=settings(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (printed,) = re.findall(r"```\n(development\n.*?)```", (folder / "README.md").read_text(), re.S)
    assert done.stdout == printed


def test_plain_langgraph_names_the_release_of_each_answer(tmp_path: Path) -> None:
    folder = copy_of("plain_langgraph", tmp_path)
    with talking(folder, settings(tmp_path)) as process:
        assert hear(process) == "Who is there?"
        first = ask(process, "Ada")
        assert re.fullmatch(r"Say hello to Ada\. \(release [0-9a-f]{12}\)", first)
        save(folder / "prompts/greeting.yaml", 'user: "Hail {name}!"\n')
        wait_until(lambda: ask(process, "Ada").startswith("Hail Ada!"))
        hailed = ask(process, "Ada")
        assert hailed.split()[-1] != first.split()[-1]
        save(folder / "prompts/greeting.yaml", "user: 'Hail {name}!\n")
        wait_until(lambda: "greeting.yaml:1:7" in log_of(folder).read_text())
        assert ask(process, "Ada") == hailed
        assert leave(process) == 0


def test_a_users_own_tests_pass(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "yamlgraph_prompts.pytest_plugin"],
        cwd=copy_of("user_test", tmp_path),
        # The plugin is named, so that this holds where the package is not installed.
        env={
            **settings(tmp_path),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": f"--basetemp {tmp_path / 'theirs'}",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_each_example_has_a_readme_with_the_command_that_runs_it(example: str) -> None:
    folder = ROOT / "examples" / example
    text = (folder / "README.md").read_text()
    assert f"cd examples/{example}\n" in text
    assert f"[{example}]({example})" in (ROOT / "examples/README.md").read_text()
    for name in re.findall(r"^(?:python|uvicorn) (\w+)", text, re.M):
        assert (folder / f"{name}.py").is_file()


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_prompts_of_each_example_pass_the_strict_check(
    example: str,
    tmp_path: Path,
    stand_in: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = copy_of(example, tmp_path)
    stand_in(folder)
    for name, value in settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    graphs = sorted(path.name for path in folder.glob("*.yaml"))
    layers = ["prompts"]
    if example == "environments":
        layers = ["prompts/{environment}", "prompts/base"]
    words = ["check", "--strict", *graphs, "--environment", "production"]
    words += [word for layer in layers for word in ("--layer", layer)]
    assert main(words) == 0, capsys.readouterr()
