"""The OpenAPI document tells the truth: schemathesis asks every route what the document allows."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.admin_client import TOKENS, Client, served
from tests.conftest import ROOT
from tests.files import write
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.admin.security.gate import Limits
from yamlgraph_prompts.registry import open_registry
from yamlgraph_prompts.registry.ports import Versions

# 412, 413 and 414 are said before anything looks at what else is wrong.
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "409", "412", "413", "414", "415", "422"]
"""


ROUTES = {"folder": 18, "database": 24}


@pytest.fixture(params=list(ROUTES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def prompts(kind: str, tmp_path: Path) -> Iterator[LivePrompts]:
    write(tmp_path / "prompts", {"a.yaml": "user: Hi {name}\n", "b/c.yaml": "user: b\n"})
    layer = str(tmp_path / "prompts")
    if kind == "database":
        layer = f"sqlite:///{tmp_path}/prompts.db"
        registry = open_registry(layer)
        assert isinstance(registry, Versions)
        for environment in ("test", "staging"):
            made = {n: registry.create(n, b"user: x\n", who="x").number for n in ("a", "b/c")}
            registry.activate(environment, made, who="x")
    with LivePrompts(layer, environment="test", store=tmp_path / "store", watch=False) as opened:
        yield opened


@pytest.fixture
def document(prompts: LivePrompts) -> dict[str, Any]:
    made: dict[str, Any] = Client(admin_app(prompts, TOKENS)).get("/openapi.json").json
    return made


def test_every_error_is_told_with_the_one_body(document: dict[str, Any]) -> None:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                schema = json.dumps(answer["content"])
                if status[0] != "2":
                    assert "schemas/Problem" in schema, (method, path, status)
                assert "HTTPValidationError" not in schema


def test_every_route_has_a_name_a_client_can_use_and_a_sentence(document: dict[str, Any]) -> None:
    told = [op for operations in document["paths"].values() for op in operations.values()]
    names = [operation["operationId"] for operation in told]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)
    assert all(operation["description"].endswith(".") for operation in told)


def test_what_needs_a_token_says_so(document: dict[str, Any]) -> None:
    open_ = [
        path
        for path, operations in document["paths"].items()
        for operation in operations.values()
        if "security" not in operation
    ]
    assert open_ == ["/health/live", "/health/ready"]


def test_the_document_is_the_same_under_any_root_path(prompts: LivePrompts) -> None:
    client = Client(admin_app(prompts, TOKENS), root="/ops")
    assert client.get("/openapi.json").json["servers"] == [{"url": "/ops"}]


def command() -> str | None:
    """Schemathesis, from a place of its own: it does not go together with langgraph-api."""
    own = ROOT / ".venv/schemathesis/bin/schemathesis"
    return os.environ.get("SCHEMATHESIS") or (str(own) if own.exists() else which("schemathesis"))


@pytest.mark.slow
@pytest.mark.skipif(command() is None, reason="schemathesis is not installed: make .venv/ready")
@pytest.mark.parametrize(
    ("phases", "examples"),
    [("fuzzing", 2), pytest.param("examples,coverage,fuzzing", 15, marks=pytest.mark.nightly)],
    ids=["some", "all"],
)
def test_no_route_answers_what_the_document_does_not_say(
    kind: str,
    prompts: LivePrompts,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    phases: str,
    examples: int,
) -> None:
    # Streams do not end by themselves.
    monkeypatch.setattr("yamlgraph_prompts.admin.api.feed.STREAM_S", 0.05)
    monkeypatch.setattr("yamlgraph_prompts.admin.api.changing.TAKEN_WITHIN_S", 0.0)
    app = admin_app(prompts, TOKENS, limits=Limits(failures=1_000_000))
    (tmp_path / "schemathesis.toml").write_text(CONFIG)
    with served(app) as url:
        done = subprocess.run(
            [
                str(command()),
                "run",
                f"{url}/openapi.json",
                "--header=Authorization: Bearer the-operators-token",
                # What fits the document may still be no prompt, or be refused by the check.
                "--exclude-checks=positive_data_acceptance",
                f"--phases={phases}",
                f"--max-examples={examples}",
                "--seed=1",
                "--continue-on-failure",
                "--generation-database=none",
                "--no-color",
                "--suppress-health-check=filter_too_much",
                "--warnings=off",
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    count = ROUTES[kind]
    assert f"{count} selected" in done.stdout or f"{count} / {count}" in done.stdout, done.stdout
