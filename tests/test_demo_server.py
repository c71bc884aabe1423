"""The echo model answers as a model would: with text, with what a schema asks for, with a tool."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.conftest import run_in
from yamlgraph_prompts.demo_server import EchoModel


class Kind(Enum):
    BUG = "bug"
    WISH = "wish"


class Part(BaseModel):
    name: str
    tags: list[str]


class Triage(BaseModel):
    summary: str
    kind: Kind
    sure: float
    count: int
    urgent: bool
    note: str | None
    level: Literal["low", "high"]
    part: Part


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_schema_gets_an_answer_that_fits(method: Any) -> None:
    with EchoModel() as server:
        model = ChatOpenAI(model="any", base_url=server.url, api_key="none")
        found = model.with_structured_output(Triage, method=method).invoke("It broke.")
    assert found == Triage(
        summary="It broke.",
        kind=Kind.BUG,
        sure=0,
        count=0,
        urgent=False,
        note="It broke.",
        level="low",
        part=Part(name="It broke.", tags=[]),
    )


def test_a_graph_with_a_schema_answers_offline(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "p.yaml").write_text(
        "user: 'Sort {text}'\nschema: {name: T, fields: {what: {type: str, description: it}}}\n"
    )
    (tmp_path / "graph.yaml").write_text(
        "name: g\nversion: '1.0'\nprompts_dir: prompts\nprompts_relative: true\n"
        "state: {text: str, out: any}\n"
        "nodes:\n  n: {type: llm, prompt: p, variables: {text: '{state.text}'}, state_key: out}\n"
        "edges: [{from: START, to: n}, {from: n, to: END}]\n"
    )
    out = run_in(
        tmp_path,
        "import os\n"
        "from yamlgraph_prompts.demo_server import EchoModel\n"
        "with EchoModel() as model:\n"
        "    os.environ.update(PROVIDER='lmstudio', LMSTUDIO_BASE_URL=model.url)\n"
        "    from yamlgraph_prompts import load_and_compile\n"
        "    app = load_and_compile('graph.yaml', watch=False).compile()\n"
        "    print(app.invoke({'text': 'this'})['out'])\n",
    )
    assert out.strip().endswith("{'what': 'Sort this'}")
