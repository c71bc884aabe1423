"""Shared fixtures: a model server, copies of the test graphs, a clean environment for each test."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import kept_workers, warm
from tests.databases import (  # noqa: F401 - fixtures
    database_url,
    postgres_server,
    postgres_url,
)
from tests.graphs.catalog import FOLDER
from tests.model_server import ModelServer
from tests.s3_servers import (  # noqa: F401 - fixtures: one server of each kind for all tests
    moto,
    moto_url,
    rclone,
    rclone_folder,
    rclone_url,
    s3,
    scripted_server,
    swift,
    swift_url,
)
from yamlgraph_prompts._isolation import pool
from yamlgraph_prompts.registry import folder as places

ROOT = Path(__file__).parent.parent
settings.register_profile("default", max_examples=300, deadline=None)
settings.register_profile("few", max_examples=60, deadline=None)
settings.load_profile("default")
_KEYS = ("_API_KEY", "_API_TOKEN", "_AI_ENDPOINT")
_PREFIXES = ("YAMLGRAPH_", "LANGSMITH_", "LANGCHAIN_", "LMSTUDIO_", "AWS_")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the fuzzer of tests/security runs, and from which seed."""
    parser.addoption("--fuzz-seconds", type=float, default=60.0, help="0 leaves the fuzzer out")
    parser.addoption("--fuzz-seed", type=int, default=1)


def pytest_configure(config: pytest.Config) -> None:
    """Let through the warnings of other packages that no test can avoid."""
    # langchain-openai streams an answer that has a schema: openai's `parsed` field is typed None.
    config.addinivalue_line(
        "filterwarnings", "ignore:Pydantic serializer warnings:UserWarning:pydantic.main"
    )


# Module → the tests that one worker of pytest-xdist runs, since they share what is slow to start.
# A module that is not named here is spread over all workers, test by test.
_GROUPS = {
    **dict.fromkeys(
        [
            *("test_sources", "test_s3_source", "test_s3_outage", "test_s3_credentials"),
            *("test_bucket", "test_admin_bucket", "test_cli_push", "test_registry"),
        ],
        "servers of S3",
    ),
    **dict.fromkeys(["test_page_browser", "test_page_accessibility"], "browser"),
    "test_admin_workers": "uvicorn",
    "test_drop_in": "YAMLGraph in a process of its own",
    "test_fastapi_app": "uvicorn of the example",
    "test_langgraph_dev": "langgraph dev",
    "test_pack": "pack",
    "test_render": "renderer",
    "test_reviewing": "planted repository",
    "test_server_clients_http": "langgraph dev for clients",
    "test_source_contract": "mistaken sources",
    "test_template_corpus": "Jinja's own tests",
}
# Modules that `make check` leaves out, beside tests/security and what is marked `slow` itself.
_SLOW = {
    *("test_admin", "test_admin_bucket", "test_admin_openapi", "test_admin_page"),
    *("test_admin_security", "test_admin_workers", "test_bucket", "test_cli", "test_cli_push"),
    *("test_demo", "test_docs", "test_drop_in", "test_examples", "test_fastapi_app"),
    *("test_faults", "test_forks", "test_isolation", "test_langgraph_dev", "test_linear_checks"),
    *("test_metrics", "test_page_accessibility", "test_sandbox"),
    *("test_page_browser", "test_pytest_plugin", "test_render", "test_s3_credentials"),
    *("test_s3_outage", "test_s3_source", "test_sources", "test_store", "test_template_corpus"),
    *("test_database_faults", "test_odd_places", "test_store_places", "test_store_versions"),
    *("test_untrusted", "test_yamlgraph_alone"),
}


def _is_slow(path: Path) -> bool:
    return path.stem in _SLOW or path.parent.name == "security"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import what is left out: each worker would."""
    return True if "not slow" in config.option.markexpr and _is_slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow."""
    for item in items:
        if _is_slow(item.path):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Spread the tests over the workers, groups first."""
    # The groups of `--dist loadgroup` get lost with pytest 9.2 and pytest-xdist 3.8.
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = Path(nodeid.partition("::")[0]).stem
            return _GROUPS.get(module, nodeid)

    return Scheduling(config, log)


def wait_until(predicate: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Return as soon as `predicate()` is true; AssertionError when it is not in time.

    Args:
        predicate: Asked every 10 ms.
        timeout_s: How long to ask, in seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not predicate():
        assert time.monotonic() < deadline, f"{predicate} is still false after {timeout_s} s"
        time.sleep(0.01)


def run_in(
    cwd: Path, script: str, *, env: dict[str, str] | None = None, timeout_s: float = 60.0
) -> str:
    """Run a Python script in a process of its own in `cwd`, LangGraph imported; its output.

    Args:
        cwd: The working directory, from which YAMLGraph takes its default prompts folder.
        script: Python source.
        env: Further environment variables.
        timeout_s: Its time, in seconds.
    """
    code, out, errors = warm.run(
        script, cwd, {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}, timeout_s
    )
    assert code == 0, errors
    return out


@pytest.fixture(scope="session", autouse=True)
def _cheap_disk_and_workers() -> Iterator[None]:
    """No test needs to survive a power cut: what is synced, and when, they note by themselves."""
    with pytest.MonkeyPatch.context() as patch, kept_workers.kept_workers(), warm.ended():
        # 6 ms on a quiet disk, and an admin app's test has dozens.
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def own_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes start and end as they do outside the tests."""
    monkeypatch.setattr(pool, "_Worker", kept_workers._Worker)
    monkeypatch.setattr(pool, "_end_all", kept_workers._end_all)


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees the developer's settings, store or keys, nor another test's live objects."""
    for name in list(os.environ):
        if name == "ENVIRONMENT" or name.startswith(_PREFIXES) or name.endswith(_KEYS):
            monkeypatch.delenv(name)
    store = tmp_path.with_name(f"{tmp_path.name}-store")
    store.mkdir(mode=0o700)
    monkeypatch.setenv("YAMLGRAPH_PROMPTS_STORE", str(store))
    # A stand-in for a store outlives the process.
    monkeypatch.setattr(places, "_temporary_bases", lambda: iter([store]))
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    yield
    _close_shared()
    shutil.rmtree(store, ignore_errors=True)
    if cache := sys.modules.get("yamlgraph.graph_cache"):
        cache.clear_cache()


def _close_shared() -> None:
    # Only where a test has imported it: most tests need no LangGraph.
    if module := sys.modules.get("yamlgraph_prompts.live_prompts"):
        for prompts in list(module._all):
            prompts.close()


@pytest.fixture
def no_network_env(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection through a proxy, or a call of a model that was not set up, fails at once."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    monkeypatch.setenv("PROVIDER", "lmstudio")
    monkeypatch.setenv("LMSTUDIO_BASE_URL", "http://127.0.0.1:9/v1")


@pytest.fixture(scope="session")
def _one_model_server() -> Iterator[ModelServer]:
    """One server and one URL for all tests, so that YAMLGraph's cached clients stay good."""
    with ModelServer() as server:
        yield server
        _close_clients()


def _close_clients() -> None:
    factory = sys.modules.get("yamlgraph.utils.llm_factory")
    if factory is None:
        return
    from yamlgraph.utils.bridge import run_coro_sync_safe

    for llm in factory._llm_cache.values():
        llm.root_client.close()
        run_coro_sync_safe(llm.root_async_client.close())
    factory.clear_cache()


@pytest.fixture
def model_server(
    _one_model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModelServer]:
    """The model that YAMLGraph calls in this test; it starts with nothing recorded or scripted."""
    monkeypatch.setenv("PROVIDER", "lmstudio")
    monkeypatch.setenv("LMSTUDIO_BASE_URL", _one_model_server.url)
    monkeypatch.setenv("OPENAI_BASE_URL", _one_model_server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "dummy")
    _one_model_server.reset()
    yield _one_model_server
    _one_model_server.reset()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """`stand_in(folder)`: everything is as in a process that was started in that folder."""

    def stand_in(folder: Path) -> None:
        import yamlgraph.config
        import yamlgraph.utils.prompts

        monkeypatch.chdir(folder)
        monkeypatch.setattr(yamlgraph.config, "WORKING_DIR", folder)
        monkeypatch.setattr(yamlgraph.config, "PROMPTS_DIR", folder / "prompts")
        monkeypatch.setattr(yamlgraph.utils.prompts, "PROMPTS_DIR", folder / "prompts")

    return stand_in


@pytest.fixture
def graph_folder(tmp_path: Path, stand_in: Callable[[Path], None]) -> Callable[..., Path]:
    """`graph_folder("chain")`: a copy of tests/graphs/chain to edit; the test then stands in it.

    `graph_folder("chain", enter=False)` leaves the working directory alone.
    """

    def copy(name: str, *, enter: bool = True) -> Path:
        folder = tmp_path / name
        shutil.copytree(FOLDER / name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        if enter:
            stand_in(folder)
        return folder

    return copy
