"""The fixture that users' own tests get, as a user's pytest run would load it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def pytest_of_a_user(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_theirs.py").write_text(source)
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import pytest; sys.exit(pytest.main())"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={
            "PATH": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "-q -p no:cacheprovider -p yamlgraph_prompts.pytest_plugin",
            "HOME": str(folder / "home"),
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_users_test_gets_prompts_in_memory_and_from_folders(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts" / "staging"
    prompts.mkdir(parents=True)
    (prompts / "greeting.yaml").write_text("user: Hi {name} of staging\n")
    done = pytest_of_a_user(
        tmp_path,
        """
made = []

def test_in_memory(live_prompts):
    prompts = live_prompts({"greeting": "user: Hi {name}"})
    made.append(prompts)
    assert prompts["greeting"].messages(name="Ada")[0].content == "Hi Ada"

def test_from_a_folder(live_prompts):
    assert made[0].closed
    prompts = live_prompts("prompts/{environment}", environment="staging")
    assert prompts["greeting"].user == "Hi {name} of staging"
    assert [kept.reason for kept in prompts.releases()] == ["start"]

def test_no_release_of_another_test_is_seen(live_prompts):
    prompts = live_prompts("prompts/{environment}", environment="staging")
    assert prompts["greeting"].user
    assert len(prompts.releases()) == 1
""",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    assert not (tmp_path / "home").exists()


def test_bad_prompts_fail_the_test_that_asks_for_them(tmp_path: Path) -> None:
    done = pytest_of_a_user(
        tmp_path,
        """
def test_them(live_prompts):
    live_prompts({"greeting": "user: 'not closed"}).release
""",
    )
    assert done.returncode == 1
    assert "yaml-syntax" in done.stdout


def test_loading_the_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys, yamlgraph_prompts.pytest_plugin\n"
        "names = 'yaml jinja2 langgraph langchain_core watchdog boto3 yamlgraph'.split()\n"
        "print([name for name in names if name in sys.modules])"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.check_output(command, cwd=tmp_path, text=True) == "[]\n"


def test_every_run_of_pytest_finds_the_plugin() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {
        "yamlgraph_prompts": "yamlgraph_prompts.pytest_plugin"
    }


@pytest.mark.parametrize("watch", [True, False])
def test_changes_are_followed_only_when_asked(tmp_path: Path, watch: bool) -> None:
    done = pytest_of_a_user(
        tmp_path,
        f"""
import threading

def test_it(live_prompts, tmp_path):
    (tmp_path / "greeting.yaml").write_text("user: Hi")
    before = threading.active_count()
    live_prompts(tmp_path, **{{"watch": True}} if {watch} else {{}}).release
    assert (threading.active_count() > before) is {watch}
""",
    )
    assert done.returncode == 0, done.stdout + done.stderr
