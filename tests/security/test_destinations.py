"""Who may write prompts decides nothing about where data goes, in whatever order they write."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yamlgraph

from tests.admin_client import TOKENS, Client
from tests.files import write
from yamlgraph_prompts import LivePrompts, load_and_compile
from yamlgraph_prompts._publishing.destinations import DEFAULT, KEYS, destination
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.registry.store import Store

FILES = {
    "prompts/a.yaml": "user: a\n",
    "prompts/b.yaml": "user: b\nprovider: openai\nmodel: m\n",
    "prompts/only_model.yaml": "user: c\nmodel: m\n",
    "prompts/made.yaml.j2": "user: {{ text }}\nprovider: openai\n",
    "prompts/vars.yaml": "text: hello\n",
}
B, PLAIN = "user: bee\nprovider: openai\nmodel: m\n", "user: x\n"
Step = tuple[Any, ...]

A, O = "author", "operator"  # noqa: E741
PUT, DELETE, ACT = "put", "delete", "act"
HOLD: list[Step] = [(O, PUT, "z", PLAIN), (O, ACT, "rollback")]
FLUSH: list[Step] = [(A, PUT, "a", f"user: text {number}\n") for number in range(8)]


def refused(*steps: Step) -> Any:
    return (*steps, "destination")


def allowed(*steps: Step) -> Any:
    return (*steps, None)


SEQUENCES: dict[str, Any] = {
    # What is live.
    "a provider is added": refused((A, PUT, "a", "user: a\nprovider: evil\n")),
    "a model is added": refused((A, PUT, "a", "user: a\nmodel: evil\n")),
    "both are removed": refused((A, PUT, "b", PLAIN)),
    "the model alone is removed": refused((A, PUT, "b", "user: b\nprovider: openai\n")),
    "the provider alone is removed": refused((A, PUT, "b", "user: b\nmodel: m\n")),
    "another spelling of the provider": refused((A, PUT, "b", B.replace("openai", "OpenAI"))),
    "they are swapped": refused((A, PUT, "b", "user: b\nprovider: m\nmodel: openai\n")),
    "the key is escaped": refused((A, PUT, "a", 'user: a\n"\\x70rovider": evil\n')),
    "a merge key brings it": refused((A, PUT, "a", "x: &x {model: evil}\n<<: *x\nuser: a\n")),
    "a key that is there twice": refused((A, PUT, "b", f"{B}model: evil\n")),
    "as JSON": refused((A, PUT, "a", {"user": "a", "provider": "evil"})),
    "the same is kept": allowed((A, PUT, "b", B)),
    "an empty one is none": allowed((A, PUT, "a", "user: a\nprovider: ''\nmodel:\n")),
    "an operator changes it": allowed((O, PUT, "b", PLAIN)),
    "an author keeps what an operator set": allowed(
        (O, PUT, "b", PLAIN), (A, PUT, "b", "user: y\n")
    ),
    "an author goes back behind an operator": refused((O, PUT, "b", PLAIN), (A, PUT, "b", B)),
    # What was last live.
    "removed, then written without": refused((A, DELETE, "b"), (A, PUT, "b", PLAIN)),
    "removed, then written with another": refused(
        (A, DELETE, "b"), (A, PUT, "b", B.replace("openai", "evil"))
    ),
    "removed, then written again": allowed((A, DELETE, "b"), (A, PUT, "b", B)),
    "removed twice": refused(
        (A, DELETE, "b"), (A, PUT, "b", B), (A, DELETE, "b"), (A, PUT, "b", PLAIN)
    ),
    "removed, others written, then written without": refused(
        (A, DELETE, "b"), (A, PUT, "n", PLAIN), (A, PUT, "a", PLAIN), (A, PUT, "b", PLAIN)
    ),
    "removed, and every kept release that had it as well": refused(
        (A, DELETE, "b"), *FLUSH, (A, PUT, "b", PLAIN)
    ),
    "removed and flushed, then written again": allowed((A, DELETE, "b"), *FLUSH, (A, PUT, "b", B)),
    "a plain one is removed and given a provider": refused(
        (A, DELETE, "a"), (A, PUT, "a", "user: a\nprovider: evil\n")
    ),
    "a plain one is removed and written again": allowed((A, DELETE, "a"), (A, PUT, "a", PLAIN)),
    "the last one counts, not the one before": refused(
        (O, PUT, "b", PLAIN), (A, DELETE, "b"), (A, PUT, "b", B)
    ),
    "the last one counts, and it was none": allowed(
        (O, PUT, "b", PLAIN), (A, DELETE, "b"), (A, PUT, "b", PLAIN)
    ),
    "an operator removes it": refused((O, DELETE, "b"), (A, PUT, "b", PLAIN)),
    "an operator removes and writes it": allowed(
        (O, DELETE, "b"), (O, PUT, "b", PLAIN), (A, PUT, "b", "user: y\n")
    ),
    "only a model, removed and written": refused(
        (A, DELETE, "only_model"), (A, PUT, "only_model", PLAIN)
    ),
    # New names.
    "a new name with a provider": refused((A, PUT, "n", "user: x\nprovider: openai\n")),
    "a new name with the model of another": refused((A, PUT, "n", B)),
    "a new name without": allowed((A, PUT, "n", PLAIN)),
    "renamed by writing and removing": refused((A, DELETE, "b"), (A, PUT, "b2", B)),
    "two steps": refused((A, PUT, "n", PLAIN), (A, PUT, "n", B)),
    "in a folder": refused((A, PUT, "f/n", B)),
    # While a release is held.
    "removed under a hold, then written without": refused(
        *HOLD, (A, DELETE, "b"), (A, PUT, "b", PLAIN)
    ),
    "removed under a hold, followed, then written without": refused(
        *HOLD, (A, DELETE, "b"), (O, ACT, "follow"), (A, PUT, "b", PLAIN)
    ),
    "changed under a hold": refused(*HOLD, (A, PUT, "b", PLAIN)),
    "new under a hold": refused(*HOLD, (A, PUT, "n", B)),
    "an operator's draft under a hold is stripped": refused(
        *HOLD, (O, PUT, "n", B), (A, PUT, "n", PLAIN)
    ),
    "an operator's draft under a hold is kept": allowed(
        *HOLD, (O, PUT, "n", B), (A, PUT, "n", B.replace("bee", "bumble"))
    ),
    "an operator's draft under a hold is removed and stripped": refused(
        *HOLD, (O, PUT, "n", B), (A, DELETE, "n"), (A, PUT, "n", PLAIN)
    ),
    "an operator's change under a hold is kept": allowed(
        *HOLD, (O, PUT, "b", PLAIN), (A, PUT, "b", "user: y\n")
    ),
    "gone with a rollback, then written": refused(
        (O, PUT, "n", B), (O, ACT, "rollback"), (A, DELETE, "n"), (A, PUT, "n", PLAIN)
    ),
    "gone with a rollback and a flush": refused(
        (O, PUT, "n", B), (O, ACT, "rollback"), (A, DELETE, "n"), *FLUSH, (A, PUT, "n", PLAIN)
    ),
    # Reload makes nobody an operator.
    "removed, reloaded, written": refused(
        (A, DELETE, "b"), (A, ACT, "reload"), (A, PUT, "b", PLAIN)
    ),
    # Other files.
    "a file that is broken in between": refused(
        ("disk", "prompts/b.yaml", "user: 'open\n"), (A, PUT, "b", PLAIN)
    ),
    "a file that is a graph in between": refused(
        ("disk", "prompts/b.yaml", "nodes: {}\nedges: []\n"), (A, PUT, "b", PLAIN)
    ),
    "a file that somebody removed": refused(("disk", "prompts/b.yaml", None), (A, PUT, "b", PLAIN)),
    "a file that somebody removed and reloaded": refused(
        ("disk", "prompts/b.yaml", None), (A, ACT, "reload"), (A, PUT, "b", PLAIN)
    ),
    "a file that somebody gave a provider, not live yet": allowed(
        ("disk", "prompts/a.yaml", "user: a\nprovider: local\n"),
        (A, PUT, "a", "user: aa\nprovider: local\n"),
    ),
    "the change of somebody else is not the author's": allowed(
        ("disk", "prompts/a.yaml", "user: a\nprovider: local\n"), (A, PUT, "n", PLAIN)
    ),
}  # fmt: skip


@contextmanager
def serving(folder: Path, *layers: Any, **more: Any) -> Iterator[tuple[LivePrompts, Any]]:
    facts = {"environment": "test", "store": folder / "store", "watch": False, **more}
    with LivePrompts(*(layers or (folder / "prompts",)), **facts) as prompts:
        yield prompts, admin_app(prompts, TOKENS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # Few, so that a few publications are enough to have an old release removed.
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "keep", 4)
    monkeypatch.setitem(Store.__init__.__kwdefaults__, "keep_used_s", 0.0)
    return write(tmp_path, FILES)


def take(app: Any, folder: Path, step: Step) -> Any:
    role, *rest = step
    if role == "disk":
        path, text = rest
        if text is None:
            (folder / path).unlink()
        else:
            (folder / path).write_text(text)
        return None
    client = Client(app, role=role)
    match rest:
        case ["put", name, dict() as content]:
            return client.put(f"/prompts/{name}", json=content)
        case ["put", name, text]:
            return client.put(f"/prompts/{name}", text)
        case ["delete", name]:
            return client.delete(f"/prompts/{name}")
        case ["act", path]:
            return client.post(f"/{path}")
    raise AssertionError(step)


def assert_sequence(app: Any, folder: Path, sequence: Any) -> None:
    *before, last, code = sequence
    for step in before:
        answer = take(app, folder, step)
        assert answer is None or answer.status == 200, (step, answer)
    answer = take(app, folder, last)
    assert (answer.json.get("code"), answer.status) == (code, 403 if code else 200), answer


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_an_author_changes_no_destination_whatever_the_sequence(
    folder: Path, sequence: str
) -> None:
    with serving(folder) as (_, app):
        assert_sequence(app, folder, SEQUENCES[sequence])


@pytest.mark.parametrize(
    "sequence",
    [
        "both are removed",
        "removed, then written without",
        "a new name with a provider",
        "changed under a hold",
        "an operator's draft under a hold is stripped",
    ],
)
def test_an_operator_may_do_what_an_author_may_not(folder: Path, sequence: str) -> None:
    *before, last, _ = SEQUENCES[sequence]
    with serving(folder) as (_, app):
        assert_sequence(app, folder, (*before, (O, *last[1:]), None))


def test_what_was_live_is_known_after_a_restart(folder: Path) -> None:
    with serving(folder) as (_, app):
        assert Client(app, role="author").delete("/prompts/b").status == 200
    with serving(folder) as (_, app):
        author = Client(app, role="author")
        assert author.put("/prompts/b", PLAIN).code == "destination"
        assert author.put("/prompts/b", B).status == 200


def test_another_process_that_shares_the_store_knows_it_too(folder: Path) -> None:
    with serving(folder) as (_, one), serving(folder) as (_, other):
        assert Client(one, role="author").delete("/prompts/b").status == 200
        assert Client(other, role="author").put("/prompts/b", PLAIN).code == "destination"


def test_removals_that_cannot_be_read_are_not_forgotten(folder: Path) -> None:
    with serving(folder) as (prompts, app):
        assert prompts.store_folder is not None
        (prompts.store_folder / "destinations.json").write_text("{not json")
        answer = Client(app, role="author").put("/prompts/n", PLAIN)
        assert (answer.status, answer.code) == (503, "store")
        assert not (folder / "prompts/n.yaml").exists()
        assert Client(app).put("/prompts/n", PLAIN).status == 200


@pytest.mark.parametrize(
    "name",
    ["vars", "vars.test", "VARS", "f/vars", "made.yaml", "a.yaml", "a.yml", "x.j2", "X.YAML"],
)
def test_an_author_writes_no_file_that_is_no_prompt(folder: Path, name: str) -> None:
    with serving(folder) as (_, app):
        answer = Client(app, role="author").put(f"/prompts/{name}", "provider: evil\nuser: x\n")
        assert (answer.status, answer.code) == (422, "name")


def test_what_a_template_makes_is_not_written_or_removed(folder: Path) -> None:
    with serving(folder) as (_, app):
        author = Client(app, role="author")
        assert author.put("/prompts/made", PLAIN).code == "made-by-template"
        assert author.delete("/prompts/made").code == "made-by-template"


def test_a_name_that_a_template_made_keeps_its_destination(folder: Path) -> None:
    with serving(folder) as (_, app):
        (folder / "prompts/made.yaml.j2").unlink()
        author = Client(app, role="author")
        assert author.put("/prompts/made", PLAIN).code == "destination"
        assert author.post("/reload").status == 200
        assert author.put("/prompts/made", PLAIN).code == "destination"
        assert author.put("/prompts/made", "user: y\nprovider: openai\n").status == 200


# -- layers ----------------------------------------------------------------------------------------


@pytest.fixture
def two(folder: Path) -> Iterator[tuple[Path, Any]]:
    (folder / "over").mkdir()
    with serving(folder, folder / "over", folder / "prompts") as (_, app):
        yield folder, app


LAYERED = {
    "a layer that wins brings another one": refused((A, PUT, "b", PLAIN)),
    "a layer that wins brings the same": allowed((A, PUT, "b", B)),
    "the one below comes back with another": refused((O, PUT, "b", PLAIN), (A, DELETE, "b")),
    "the one below comes back with the same": allowed((A, PUT, "b", B), (A, DELETE, "b")),
    "the one below is changed meanwhile": refused(
        (A, PUT, "b", B), ("disk", "prompts/b.yaml", PLAIN), (A, DELETE, "b")
    ),
    "above what a template makes": ((A, PUT, "made", PLAIN), "made-by-template"),
}


@pytest.mark.parametrize("sequence", LAYERED)
def test_a_layer_that_wins_is_no_way_round(two: tuple[Path, Any], sequence: str) -> None:
    folder, app = two
    *before, last, code = LAYERED[sequence]
    for step in before:
        answer = take(app, folder, step)
        assert answer is None or answer.status == 200, (step, answer)
    assert take(app, folder, last).json.get("code") == code


# -- graphs ----------------------------------------------------------------------------------------

OPENAI = "user: x\nprovider: openai\n"
GRAPH = """\
name: parent
nodes:
  ask: {type: llm, prompt: own, state_key: answer}
  sub: {type: subgraph, graph: child/graph.yaml, input_mapping: {}, output_mapping: {}}
edges:
  - {from: START, to: ask}
  - {from: ask, to: sub}
  - {from: sub, to: END}
"""
CHILD = """\
name: child
prompts_relative: true
prompts_dir: prompts
nodes:
  ask: {type: llm, prompt: own, state_key: answer}
edges:
  - {from: START, to: ask}
  - {from: ask, to: END}
"""


@pytest.mark.parametrize(
    ("of_parent", "of_child", "written", "code"),
    [
        (OPENAI, OPENAI, PLAIN, "destination"),
        (OPENAI, OPENAI, "user: y\nprovider: openai\n", None),
        # No text of one layer keeps both.
        (PLAIN, OPENAI, PLAIN, "destination"),
        (PLAIN, OPENAI, "user: y\nprovider: openai\n", "destination"),
        (PLAIN, PLAIN, "user: y\n", None),
    ],
)  # fmt: skip
def test_a_graphs_own_prompts_and_its_childs_keep_their_destinations(
    tmp_path: Path, of_parent: str, of_child: str, written: str, code: str | None
) -> None:
    files = {
        "graph.yaml": f"prompts_relative: true\nprompts_dir: prompts\n{GRAPH}",
        "prompts/own.yaml": of_parent,
        "child/graph.yaml": CHILD,
        "child/prompts/own.yaml": of_child,
        "layer/other.yaml": PLAIN,
    }
    folder = write(tmp_path, files)
    with LivePrompts(
        folder / "layer", environment="test", store=folder / "store", watch=False
    ) as prompts:
        load_and_compile(folder / "graph.yaml", prompts=prompts).compile()
        author, operator = (Client(admin_app(prompts, TOKENS), role=r) for r in (A, O))
        answer = author.put("/prompts/own", written)
        assert answer.json.get("code") == code, answer
        assert operator.put("/prompts/own", written).status == 200
        # And back to the graph's own.
        same = {of_parent, of_child} == {written} or destination(of_parent.encode()) == destination(
            of_child.encode()
        ) == destination(written.encode())
        answer = author.delete("/prompts/own")
        assert answer.json.get("code") == (None if same else "destination"), answer


def test_a_text_that_is_broken_on_purpose_takes_no_destination_away(folder: Path) -> None:
    # One that no graph uses may be broken: that is a warning.
    write(folder, {"graph.yaml": GRAPH.partition("  sub:")[0].replace("prompt: own", "prompt: a")})
    with (folder / "graph.yaml").open("a") as graph:
        graph.write("edges:\n  - {from: START, to: ask}\n  - {from: ask, to: END}\n")
    with serving(folder) as (prompts, app):
        load_and_compile(folder / "graph.yaml", prompts=prompts).compile()
        author = Client(app, role="author")
        assert author.put("/prompts/b", "user: 'open\n").code == "destination"
        assert author.put("/prompts/n", "user: 'open\n").status == 200
        (folder / "prompts/b.yaml").write_text("user: 'open\n")
        # Whoever broke it, another prompt can be written, and this one keeps where it went.
        assert author.put("/prompts/a", "user: aa\n").status == 200
        assert prompts.release["b"].data == b"user: 'open\n"
        assert author.put("/prompts/b", PLAIN).code == "destination"
        assert author.put("/prompts/b", B).status == 200


# -- what decides ----------------------------------------------------------------------------------


def test_yamlgraph_reads_no_other_key_that_decides_where_data_goes() -> None:
    read: set[str] = set()
    for path in Path(yamlgraph.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="prompt_config"), attr="get"),
                    args=[ast.Constant(value=str() as key), *_],
                ):
                    read.add(key)
                case ast.Subscript(
                    value=ast.Name(id="prompt_config"), slice=ast.Constant(value=str() as key)
                ):
                    read.add(key)
    texts = {"system", "system_segments", "user", "template", "schema"}
    # The batch API of yamlgraph calls its own arguments by that name, too.
    arguments = {"prompt_name", "variables", "output_model"}
    assert read - texts - arguments - {"temperature"} == set(KEYS)


@pytest.mark.parametrize(
    ("text", "goes"),
    [
        ("user: x", DEFAULT),
        ("user: x\nprovider: null\nmodel: ''", DEFAULT),
        ("user: x\nprovider: p", ("p", None)),
        ("user: x\nmodel: 7", (None, "7")),
        ("user: 'x", None),
        ("- x", None),
        ("", None),
    ],
)
def test_what_cannot_be_read_goes_nowhere(text: str, goes: Any) -> None:
    assert destination(text.encode()) == goes
