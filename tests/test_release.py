"""A release is its prompts' names and bytes, and nothing else."""

from __future__ import annotations

import dataclasses
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yamlgraph_prompts._model.graph import GraphFacts, GraphFile, OwnPrompt, PromptUse
from yamlgraph_prompts._model.release import LayerVersion, Prompt, Release
from yamlgraph_prompts.errors import PromptNotFound
from yamlgraph_prompts.registry.store import Store

names = st.text(string.ascii_lowercase + "/_é", min_size=1, max_size=12)
prompts = st.dictionaries(names, st.binary(max_size=30), max_size=6)
words = st.text(max_size=8)


def release_of(files: dict[str, bytes], **facts: str) -> Release:
    return Release.of([Prompt(name, data, **facts) for name, data in files.items()])


@given(prompts, st.randoms(), words, words, words)
def test_the_id_depends_on_names_and_bytes_alone(
    files: dict[str, bytes], random: object, layer: str, file: str, environment: str
) -> None:
    shuffled = list(files.items())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = Release.of(
        [Prompt(name, data, layer=layer, file=file) for name, data in shuffled],
        environment=environment,
        layers=[LayerVersion(layer, file)],
    )
    assert other.id == release_of(files).id


@given(prompts, prompts)
def test_ids_are_equal_exactly_when_the_diff_is_empty(
    mine: dict[str, bytes], theirs: dict[str, bytes]
) -> None:
    before, after = release_of(mine), release_of(theirs)
    diff = before.diff(after)
    assert (before.id == after.id) == (mine == theirs) == (not diff)
    assert set(diff.added) == theirs.keys() - mine.keys()
    assert set(diff.removed) == mine.keys() - theirs.keys()
    assert set(diff.changed) == {n for n in mine.keys() & theirs.keys() if mine[n] != theirs[n]}


@given(prompts, prompts)
def test_a_diff_read_backwards_swaps_what_was_added_and_removed(
    mine: dict[str, bytes], theirs: dict[str, bytes]
) -> None:
    before, after = release_of(mine), release_of(theirs)
    there, back = before.diff(after), after.diff(before)
    assert there.added == back.removed
    assert there.removed == back.added
    assert set(there.changed) == set(back.changed)


def test_the_same_bytes_under_another_name_are_another_release() -> None:
    assert release_of({"a": b"user: x"}).id != release_of({"b": b"user: x"}).id
    assert release_of({"ab": b"", "c": b""}).id != release_of({"a": b"", "bc": b""}).id


def test_the_id_is_the_same_on_every_machine() -> None:
    known = "663527b469f2a2781c9187ccaf139e1188bba162231aaedbfdf125dab28a7e0c"
    assert release_of({"greeting": b"user: Hi {name}\n", "a/b": b""}).id == known


def test_a_name_that_no_encoding_knows_still_has_an_id() -> None:
    assert release_of({"caf\udce9": b"user: x"}).id != release_of({"caf\udce8": b"user: x"}).id


@settings(max_examples=30, deadline=None)
@given(files=prompts)
def test_a_stored_release_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    release = Release.of(
        [
            Prompt(name, data, layer="prompts/x", file=f"prompts/x/{name}.yaml")
            for name, data in files.items()
        ],
        environment="staging",
        layers=[LayerVersion("prompts/x", "v1")],
    )
    with Store(tmp_path_factory.mktemp("kept") / "store") as store:
        store.put(release)
        assert store.get(release.id) == release
    memory = Store(None)
    memory.put(release)
    assert memory.get(release.id) == release


def test_a_release_cannot_be_changed() -> None:
    release = release_of({"a": b"user: x"})
    with pytest.raises(TypeError):
        release.prompts["b"] = Prompt("b", b"")  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        release.environment = "x"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        release["a"].data = b""  # type: ignore[misc]
    with pytest.raises(TypeError):
        release["a"].content["user"] = "y"  # type: ignore[index]


def test_one_prompt_is_one_prompt_in_words() -> None:
    assert " of 1 prompt, " in repr(Release.of([Prompt("a", b"")]))
    assert " of 2 prompts, " in repr(Release.of([Prompt("a", b""), Prompt("b", b"")]))


def test_a_missing_prompt_names_every_layer_and_the_nearest_names() -> None:
    release = Release.of(
        [Prompt("greeting", b"")],
        environment="staging",
        layers=[LayerVersion("prompts/staging", "1"), LayerVersion("prompts/base/", "1")],
    )
    with pytest.raises(PromptNotFound) as caught:
        release["greting"]
    assert caught.value.tried == ("prompts/staging/greting.yaml", "prompts/base/greting.yaml")
    assert "'greeting'" in str(caught.value)
    assert "'staging'" in str(caught.value)
    assert isinstance(caught.value, LookupError)


def test_a_diff_reads_as_a_unified_diff_of_the_files() -> None:
    before = release_of({"a": b"user: one\n", "gone": b"user: x\n"})
    after = release_of({"a": b"user: two\n", "new": b"user: y\n"})
    text = str(before.diff(after))
    assert "-user: one\n+user: two\n" in text
    assert f"--- a.yaml ({before.id[:12]})\n+++ a.yaml ({after.id[:12]})\n" in text
    assert "+++ /dev/null" in text
    assert "--- /dev/null" in text


def test_a_diff_of_bytes_that_are_no_text_is_shown_all_the_same() -> None:
    assert "-user: \ufffd" in str(release_of({"a": b"user: \xff"}).diff(release_of({})))


def test_a_prompt_joins_its_segments_and_keeps_its_raw_content() -> None:
    prompt = Prompt(
        "p", b"system_segments:\n  - {content: one}\n  - {content: two}\nuser: hi {name}\nx: 1\n"
    )
    assert prompt.system == "one\ntwo"
    assert prompt.user == "hi {name}"
    assert prompt.content["x"] == 1
    assert Prompt("none", b"x: 1").system == Prompt("none", b"x: 1").user == ""


def facts(*, own: bytes = b"user: own", sha256: str = "1", bundled: bool = False) -> GraphFacts:
    file = GraphFile(
        key="",
        file="graph.yaml",
        sha256=sha256,
        uses=(PromptUse("n", "llm", "a", None),),
        own={"a": OwnPrompt(own, "prompts/a.yaml")},
    )
    return GraphFacts("graph.yaml", (file,), bundled=bundled)


def test_the_graph_revision_moves_with_the_graph_and_with_its_own_prompts() -> None:
    nothing = release_of({})
    revision = facts().revision(nothing)
    assert facts(sha256="2").revision(nothing) != revision
    assert facts(own=b"user: other").revision(nothing) != revision
    assert facts().revision(release_of({"b": b"user: x"})) == revision


def test_the_graph_revision_stays_when_a_layer_has_the_prompt() -> None:
    covered = release_of({"a": b"user: layer"})
    assert facts(own=b"1").revision(covered) == facts(own=b"2").revision(covered)
    assert facts().revision(covered) == facts().revision(release_of({"a": b"user: newer"}))


def test_a_graph_gets_the_layers_prompt_before_its_own() -> None:
    asked = facts()
    taken = asked.prompt(asked.files[0], "a", release_of({"a": b"user: layer"}))
    assert taken is not None
    assert taken.user == "layer"
    own = asked.prompt(asked.files[0], "a", release_of({}))
    assert own is not None
    assert (own.user, own.layer) == ("own", "graph:graph.yaml")
    assert asked.prompt(asked.files[0], "b", release_of({})) is None


def test_a_bundled_child_has_names_of_its_own(tmp_path: Path) -> None:
    child = GraphFile(key="child/graph", file="child/graph.yaml", sha256="1")
    assert child.own_name("same") == "child/graph:same"
    assert GraphFile(key="", file="graph.yaml", sha256="1").own_name("same") == "same"


def test_a_release_without_prompts_is_a_release() -> None:
    assert Release.of([])
    assert len(Release.of([])) == 0
