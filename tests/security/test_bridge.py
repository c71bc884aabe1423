"""Nothing that comes from a folder of prompts reaches YAMLGraph's own renderer, which runs code."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.files import write
from tests.model_server import ModelServer
from yamlgraph_prompts import PromptsError, load_and_compile

CODE = "{{ cycler.__init__.__globals__.os.popen('touch stolen').read() }}stolen-text"
_BINARY = base64.b64encode(CODE.encode()).decode()
GRAPH = """\
name: attacked
prompts_relative: true
prompts_dir: prompts
state: {name: str}
nodes:
  greet:
    type: NODE
    prompt: hello
    variables: {name: "{state.name}"}
    state_key: greeting
edges:
  - {from: START, to: greet}
  - {from: greet, to: END}
"""
ITEMS = {
    "a list": f'[["{CODE}"]]',
    "a list of lists": f'[[["{CODE}"]]]',
    "a list beside a text": f'["Be kind.", ["{CODE}"]]',
    "a list with an anchor": f'[&a ["{CODE}"], *a]',
    "bytes": f"[!!binary {_BINARY}]",
    "a set": f'[!!set {{"{CODE}"}}]',
    "a set in blocks": f'\n  - !!set\n    ? "{CODE}"',
    "an ordered mapping": f'[!!omap [x: "{CODE}"]]',
    "pairs": f'[!!pairs [x: "{CODE}"]]',
    "a mapping": f'[{{text: "{CODE}"}}]',
    "a mapping whose key is code": f'[{{"{CODE}": content}}]',
    "a mapping in a mapping": f'[{{content: {{text: "{CODE}"}}}}]',
    "a list as content": f'[{{content: ["{CODE}"]}}]',
    "bytes as content": f"[{{content: !!binary {_BINARY}}}]",
    "a set as content": f'[{{content: !!set {{"{CODE}"}}}}]',
    "a text that is merged in": f'[{{<<: {{content: ["{CODE}"]}}}}]',
    "a list whose repr is code": (
        '[["{{", "cycler.__init__.__globals__.os.popen(\'touch stolen\')", "}}"]]'
    ),
    "the text itself": f'["{CODE}"]',
    "the text as content": f'[{{content: "{CODE}"}}]',
}
WHOLE = {
    "bytes": f"!!binary {_BINARY}",
    "a set": f'!!set {{"{CODE}"}}',
    "an ordered mapping": f'!!omap [x: "{CODE}"]',
    "a mapping": f'{{content: "{CODE}"}}',
    "the text itself": f'"{CODE}"',
}
PROMPTS = {
    **{f"system: {name}": f"system: {item}\nuser: go\n" for name, item in ITEMS.items()},
    **{f"segments: {name}": f"system_segments: {item}\nuser: go\n" for name, item in ITEMS.items()},
    **{f"system is {name}": f"system: {whole}\nuser: go\n" for name, whole in WHOLE.items()},
    **{f"user is {name}": f"system: hi\nuser: {whole}\n" for name, whole in WHOLE.items()},
    "user is a list": f'user: ["{CODE}"]\n',
}
# As with YAMLGraph alone, a segment without content is empty.
EMPTY = {
    PROMPTS[f"{place}: {name}"]
    for place in ("system", "segments")
    for name in ("a mapping", "a mapping whose key is code")
}


def _run(folder: Path, **options: Any) -> object:
    try:
        return load_and_compile(folder / "graph.yaml", **options).compile().invoke({"name": "Ada"})
    except PromptsError as error:
        return error


@pytest.mark.parametrize("layered", [False, True], ids=["the graph's own prompts", "a layer"])
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
def test_no_form_of_an_item_runs_code(
    prompt: str,
    layered: bool,
    tmp_path: Path,
    model_server: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"graph.yaml": GRAPH.replace("NODE", "llm"), "prompts/hello.yaml": prompt})
    result = _run(tmp_path, **({"prompts_dir": [tmp_path / "prompts"]} if layered else {}))
    assert not (tmp_path / "stolen").exists()
    assert not any("stolen-text" in request.text for request in model_server.requests)
    is_refused = isinstance(result, PromptsError) or "PromptRenderError" in str(result)
    assert is_refused or prompt in EMPTY
    assert sorted(path.name for path in tmp_path.iterdir()) == ["graph.yaml", "prompts"]
