"""Versions of prompts in a database: made once, active by a pointer, followed by every replica."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.graph import START, StateGraph

from yamlgraph_prompts import LivePrompts, Prompt, Release, live_graph
from yamlgraph_prompts._model.version import parse_version
from yamlgraph_prompts.errors import (
    Conflict,
    LayerError,
    LayerNotFound,
    LayerReadOnly,
    LayerUnavailable,
    PromptsError,
    PromptsRejected,
    VersionNotFound,
)
from yamlgraph_prompts.registry import open_registry
from yamlgraph_prompts.registry.channel import Channel
from yamlgraph_prompts.registry.ports import Versions
from yamlgraph_prompts.registry.sql import SqlRegistry
from yamlgraph_prompts.sources import open_source
from yamlgraph_prompts.sources.sql import schema
from yamlgraph_prompts.sources.sql.database import Session, redacted

WITHIN_S = 10.0


@pytest.fixture
def registry(database_url: str) -> SqlRegistry:
    opened = open_registry(database_url)
    assert isinstance(opened, SqlRegistry)
    assert isinstance(opened, Versions)
    return opened


def make(registry: SqlRegistry, name: str, *texts: str) -> None:
    for text in texts:
        registry.create(name, f"user: v{text}\n".encode(), who="Ada")


def eventually(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.005)


# Versions


def test_versions_are_numbered_by_name_and_keep_what_was_said(registry: SqlRegistry) -> None:
    first = registry.create(
        "a/b", b"user: x\n# \xff", who="Ada", message="Grüße\0", metadata={"ticket": [1, None]}
    )
    second = registry.create("a/b", b"user: y", who="Grace")
    assert (first.number, second.number, second.parent) == (1, 2, "a/b@1")
    assert registry.create("c", b"user: x", who="Ada").number == 1
    kept = registry.version("a/b", 1)
    assert kept == first
    assert kept.data == b"user: x\n# \xff"
    assert (kept.who, kept.message, kept.metadata) == ("Ada", "Grüße\0", {"ticket": [1, None]})
    assert [one.number for one in registry.versions("a/b")] == [2, 1]
    assert registry.versions("none") == []


def test_the_same_content_is_the_same_version_also_when_many_make_it_at_once(
    registry: SqlRegistry, database_url: str
) -> None:
    make(registry, "a", "first")

    def create(number: int) -> int:
        mine = open_registry(database_url)
        assert isinstance(mine, SqlRegistry)
        return mine.create("a", f"user: {number % 3}".encode(), who="x").number

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(create, range(24)))
    assert set(numbers) == {2, 3, 4}
    assert len({(number, at % 3) for at, number in enumerate(numbers)}) == 3
    assert [one.number for one in registry.versions("a")] == [4, 3, 2, 1]


@pytest.mark.parametrize(
    "name", ["", "../x", "a//b", "/etc/passwd", "a\0b", "a\nb", "\ud800", ".", ".a/b", "a/.b"]
)
def test_what_cannot_be_a_name_is_refused(registry: SqlRegistry, name: str) -> None:
    with pytest.raises(PromptsError, match="cannot be the name"):
        registry.create(name, b"user: x", who="Ada")
    assert registry.versions(name.replace("\0", "").encode("utf-8", "replace").decode()) == []


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.text("ab'\"%;-?\\é☃ ", min_size=1, max_size=12).filter(lambda s: "\\" not in s),
    data=st.binary(max_size=200),
    who=st.text(max_size=20),
)
def test_names_and_contents_are_data(
    registry: SqlRegistry, name: str, data: bytes, who: str
) -> None:
    made = registry.create(name, data, who=who)
    assert registry.version(name, made.number).data == data
    entry = registry.activate("production", {name: made.number}, who=who)
    assert registry.current("production") == entry
    assert registry.get(entry.release)[name].data == data


def test_limits_are_said(registry: SqlRegistry) -> None:
    with pytest.raises(PromptsError, match="1 MiB"):
        registry.create("a", b"x" * ((1 << 20) + 1), who="Ada")
    with pytest.raises(PromptsError, match="Metadata"):
        registry.create("a", b"x", who="Ada", metadata={"x": "y" * 20_000})
    assert registry.create("a", b"x" * (1 << 20), who="Ada").number == 1


# Pointers


def test_several_become_active_in_one_entry(registry: SqlRegistry) -> None:
    make(registry, "a", "1", "2")
    make(registry, "b", "1")
    entry = registry.activate("production", {"a": 2, "b": 1}, who="Ada", message="both")
    assert (entry.number, entry.who, entry.why, entry.prompts) == (1, "Ada", "activate", 2)
    assert registry.active("production") == {"a": 2, "b": 1}
    assert registry.active("staging") == {}
    assert {n: p.user for n, p in registry.get(entry.release).prompts.items()} == {
        "a": "v2", "b": "v1",
    }  # fmt: skip
    assert registry.versions("a")[0].active == ("production",)
    again = registry.activate("production", {"a": 2}, who="Grace")
    assert again == entry


def test_none_takes_a_prompt_out_and_its_versions_stay(registry: SqlRegistry) -> None:
    make(registry, "a", "1")
    make(registry, "b", "1")
    registry.activate("production", {"a": 1, "b": 1}, who="Ada")
    entry = registry.activate("production", {"a": None}, who="Ada", why="delete")
    assert registry.active("production") == {"b": 1}
    assert "a" not in registry.get(entry.release)
    assert [one.number for one in registry.versions("a")] == [1]
    registry.activate("production", {"a": 1}, who="Ada", why="restore")
    assert [(one.old, one.new, one.entry.why) for one in registry.activations("a")] == [
        (None, 1, "restore"), (1, None, "delete"), (None, 1, "activate"),
    ]  # fmt: skip


def test_who_replaces_what_is_no_longer_active_hears_who_was_first(registry: SqlRegistry) -> None:
    make(registry, "a", "1", "2", "3")
    make(registry, "b", "1", "2")
    registry.activate("production", {"a": 1, "b": 1}, who="Ada")
    seen = registry.versions("a")[-1].sha256
    first = registry.activate("production", {"a": 2}, who="Grace", message="hurry")
    # Another prompt's change is none of this one's.
    registry.activate("production", {"b": 2}, who="Alan")
    with pytest.raises(Conflict, match="Grace was first") as caught:
        registry.activate("production", {"a": 3}, who="Ada", replaces={"a": seen})
    assert caught.value.winner == first
    with pytest.raises(Conflict):
        registry.activate("production", {"a": 3}, who="Ada", replaces={"a": None})
    assert registry.active("production") == {"a": 2, "b": 2}


def test_a_version_that_is_not_there_changes_nothing(registry: SqlRegistry) -> None:
    make(registry, "a", "1")
    with pytest.raises(VersionNotFound, match="no version 9 of prompt 'a'"):
        registry.activate("production", {"a": 9}, who="Ada")
    with pytest.raises(VersionNotFound):
        registry.version("a", 2)
    assert registry.current("production") is None


def test_writers_at_once_lose_nothing(registry: SqlRegistry, database_url: str) -> None:
    def work(writer: int) -> None:
        mine = open_registry(database_url)
        assert isinstance(mine, SqlRegistry)
        for number in range(5):
            made = mine.create(f"p{writer % 4}", f"user: {writer} {number}".encode(), who="x")
            mine.activate("production", {made.name: made.number}, who=str(writer))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    for name in ("p0", "p1", "p2", "p3"):
        assert [one.number for one in registry.versions(name)] == list(range(10, 0, -1))
    assert [entry.number for entry in registry.history("production")] == list(range(40, 0, -1))
    assert len(registry.active("production")) == 4


@pytest.mark.parametrize(
    ("word", "version"),
    [("a/b@3", ("a/b", 3)), ("a@b@1", ("a@b", 1)), ("a", None), ("a@", None), ("@1", None),
     ("a@0", None), ("a@-1", None), ("a@²", None), ("a@1000000000", None)],
)  # fmt: skip
def test_a_version_is_spelled_with_an_at_sign(word: str, version: tuple[str, int] | None) -> None:
    assert parse_version(word) == version


def test_a_misspelt_environment_is_told_which_there_are(registry: SqlRegistry) -> None:
    make(registry, "a", "1")
    registry.activate("production", {"a": 1}, who="Ada")
    for word, hint in (("produktion", "Did you mean 'production'"), ("xyz", "There are: prod")):
        problem = Channel(registry.url, environment=word, registry=registry).nothing_published()
        assert hint in str(problem)


def test_a_version_that_came_with_a_release_is_whose_who_pushed_it(registry: SqlRegistry) -> None:
    channel = Channel(registry.url, environment="production", registry=registry)
    channel.push(Release.of([Prompt("a", b"user: x")]), message="All of it", who="Ada")
    channel.push(Release.of([Prompt("a", b"user: y")]), message="More", who="Grace")
    channel.rollback(message="Oops", who="Alan")
    assert [(one.number, one.who, one.message) for one in registry.versions("a")] == [
        (2, "Grace", "More"), (1, "Ada", "All of it"),
    ]  # fmt: skip
    assert registry.version("a", 1).who == "Ada"


# As a layer


def test_a_replica_follows_what_another_process_activates(
    registry: SqlRegistry, database_url: str
) -> None:
    make(registry, "a", "1", "2", "3")
    make(registry, "b", "x")
    registry.activate("production", {"a": 1, "b": 1}, who="Ada")
    with LivePrompts(database_url, environment="production") as prompts:
        assert prompts["a"].user == "v1"
        registry.activate("production", {"a": 2}, who="Ada")
        eventually(lambda: prompts["a"].user == "v2")
        registry.activate("production", {"a": 3, "b": None}, who="Ada")
        eventually(lambda: prompts["a"].user == "v3")
        assert "b" not in prompts
        registry.activate("staging", {"a": 1}, who="Ada")
        time.sleep(0.2)
        assert prompts["a"].user == "v3"


def test_what_has_not_changed_is_not_read_again(registry: SqlRegistry, database_url: str) -> None:
    make(registry, "a", "1", "2")
    make(registry, "b", "x")
    registry.activate("production", {"a": 1, "b": 1}, who="Ada")
    source = open_source(database_url, channel="production", unpack=lambda data, id_: {})
    first = source.read()
    assert source.read() is first
    registry.activate("production", {"a": 2}, who="Ada")
    second = source.read()
    assert second.files == {"a.yaml": b"user: v2\n", "b.yaml": b"user: vx\n"}
    assert second.files["b.yaml"] is first.files["b.yaml"]
    source.close()


@pytest.mark.parametrize("lost", ["prompts_release", "prompts_active", "prompts_version"])
def test_a_release_of_which_something_is_gone_is_not_an_empty_layer(
    registry: SqlRegistry, database_url: str, lost: str
) -> None:
    make(registry, "a", "1")
    make(registry, "b", "1")
    registry.activate("production", {"a": 1, "b": 1}, who="Ada")

    def lose(session: Session) -> None:
        session.run("DELETE FROM prompts_active")
        if lost == "prompts_version":
            session.run("DELETE FROM prompts_version WHERE name = 'a'")
        elif lost == "prompts_release":
            session.run("DELETE FROM prompts_release")

    registry._database.write(lose)
    source = open_source(database_url, channel="production", unpack=lambda data, id_: {})
    if lost == "prompts_active":
        assert len(source.read().files) == 2
    else:
        with pytest.raises(LayerUnavailable, match="a part of it is gone"):
            source.read()
    source.close()


def test_nothing_active_is_an_error_that_lists_the_environments(
    registry: SqlRegistry, database_url: str
) -> None:
    source = open_source(database_url, channel="prod", unpack=lambda data, id_: {})
    with pytest.raises(LayerNotFound, match="It holds no prompts yet"):
        source.read()
    make(registry, "a", "1")
    registry.activate("production", {"a": 1}, who="Ada")
    with pytest.raises(LayerNotFound, match="There are: production") as caught:
        source.read()
    assert caught.value.available == ("production",)


def test_a_history_that_goes_back_is_reported_and_not_followed(
    registry: SqlRegistry, database_url: str
) -> None:
    make(registry, "a", "1", "2")
    registry.activate("production", {"a": 1}, who="Ada")
    registry.activate("production", {"a": 2}, who="Ada")
    source = open_source(database_url, channel="production", unpack=lambda data, id_: {})
    source.read()

    def restore(session: object) -> None:
        run = session.run  # type: ignore[attr-defined]
        run("UPDATE prompts_active SET number = 1, entry = 1")
        run("DELETE FROM prompts_change WHERE entry = 2")
        run("DELETE FROM prompts_entry WHERE number = 2")

    registry._database.write(restore)
    with pytest.raises(LayerUnavailable, match="went back from 2 to 1"):
        source.read()
    source.close()


def test_a_candidate_is_tried_before_anybody_gets_it(
    registry: SqlRegistry, database_url: str
) -> None:
    make(registry, "a", "1", "2")
    registry.activate("production", {"a": 1}, who="Ada")

    def build(release: Release) -> StateGraph[dict[str, str]]:
        graph = StateGraph(dict[str, str])
        graph.add_node("say", lambda _: {"said": release["a"].user})
        graph.add_edge(START, "say")
        return graph

    with LivePrompts(database_url, environment="production") as prompts:
        app = live_graph(build, prompts=prompts).compile()
        tried = prompts.candidate({"a": 2})
        assert tried["a"].user == "v2"
        assert app.on(tried.id).invoke({})["said"] == "v2"
        assert app.invoke({})["said"] == "v1"
        assert prompts.candidate({"a": "user: other\n"})["a"].user == "other"
        with pytest.raises(VersionNotFound):
            prompts.candidate({"a": 9})
        with pytest.raises(PromptsRejected):
            prompts.candidate({"a": "user: {{ x\n"})
        assert prompts.release.id != tried.id
    with LivePrompts({"a": "user: x"}) as memory, pytest.raises(LayerError, match="numbered"):
        memory.candidate({"a": 2})


# The schema


def test_a_schema_that_is_ahead_is_read_and_not_written(registry: SqlRegistry) -> None:
    make(registry, "a", "1")
    registry._database.write(lambda session: session.run("UPDATE prompts_schema SET version = 99"))
    assert registry.version("a", 1).number == 1
    with pytest.raises(LayerReadOnly, match="ahead: 99"):
        make(registry, "a", "2")


def test_a_schema_that_is_behind_is_brought_up_to_date_once(
    registry: SqlRegistry, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(registry, "a", "1")
    more = (*schema.MIGRATIONS, ("CREATE TABLE prompts_later (x TEXT)",))
    monkeypatch.setattr("yamlgraph_prompts.sources.sql.database.MIGRATIONS", more)
    monkeypatch.setattr("yamlgraph_prompts.sources.sql.database.CURRENT", len(more))
    assert registry.version("a", 1).number == 1
    others = [open_registry(database_url) for _ in range(4)]
    start = threading.Barrier(4)

    def migrate(one: object) -> int:
        start.wait()
        assert isinstance(one, SqlRegistry)
        return one.create("a", b"user: 2", who="x").number

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(migrate, others)) == {2}
    assert registry._database.schema() == len(more)


# URLs


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:pw@h:1/db?sslmode=x", "postgresql://ada@h:1/db"),
        ("postgresql://ada:p@w@h/db", "postgresql://ada@h/db"),
        ("postgresql://h/db?password=pw", "postgresql://h/db"),
        ("postgresql:///db", "postgresql:///db"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    "url", ["sqlite://host/a.db", "sqlite:///", "sqlite:///a/", "sqlite:///a?x=y"]
)
def test_a_url_that_names_no_file_says_so(url: str) -> None:
    with pytest.raises(LayerUnavailable, match="names no SQLite file"):
        open_registry(url)


def test_reading_makes_no_file(tmp_path: Path) -> None:
    registry = open_registry(f"sqlite:///{tmp_path}/none.db")
    assert registry.current("production") is None
    assert list(registry.ids()) == []
    assert not list(tmp_path.iterdir())
