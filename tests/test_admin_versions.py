"""The admin API over a database: versions are made, compared, activated and promoted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.admin_client import TOKENS, Client
from tests.files import write
from yamlgraph_prompts import LivePrompts, load_and_compile
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.registry import open_registry
from yamlgraph_prompts.registry.sql import SqlRegistry

GRAPH = """\
name: hello
state: {name: str}
nodes:
  hello: {type: llm, prompt: greeting, variables: {name: "{state.name}"}, state_key: said}
edges:
  - {from: START, to: hello}
  - {from: hello, to: END}
"""


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One kind will do: tests/test_versions.py has both."""
    return f"sqlite:///{tmp_path}/prompts.db"


@pytest.fixture
def registry(database_url: str) -> SqlRegistry:
    made = open_registry(database_url)
    assert isinstance(made, SqlRegistry)
    for name, texts in {"greeting": ("Hi {name}", "Ho {name}"), "a/b": ("x", "y")}.items():
        for text in texts:
            made.create(name, f"user: {text}\n".encode(), who="Ada", message=text)
    made.activate("production", {"greeting": 1, "a/b": 1}, who="Ada")
    made.activate("staging", {"greeting": 2, "a/b": 1}, who="Ada", message="try it")
    return made


@pytest.fixture
def prompts(registry: SqlRegistry, database_url: str, tmp_path: Path) -> Iterator[LivePrompts]:
    write(tmp_path, {"graph.yaml": GRAPH})
    with LivePrompts(
        database_url, environment="production", store=tmp_path / "store", watch=False
    ) as made:
        load_and_compile(str(tmp_path / "graph.yaml"), prompts=made)
        yield made


@pytest.fixture
def operator(prompts: LivePrompts) -> Client:
    return Client(admin_app(prompts, TOKENS))


@pytest.fixture
def author(operator: Client) -> Client:
    return Client(operator.app, "author")


def post(client: Client, path: str, **body: Any) -> Any:
    return client.post(path, json=body)


def test_versions_are_listed_with_where_they_are_active(operator: Client) -> None:
    page = operator.get("/prompts/greeting/versions").json
    assert [(one["number"], one["active"]) for one in page["versions"]] == [
        (2, ["staging"]), (1, ["production"]),
    ]  # fmt: skip
    assert page["versions"][0] | {"at_s": 0} == {
        "number": 2, "sha256": page["versions"][0]["sha256"], "at_s": 0, "who": "Ada",
        "message": "Ho {name}", "metadata": {}, "parent": "greeting@1", "active": ["staging"],
    }  # fmt: skip
    assert [use["node"] for use in page["uses"]] == ["hello"]
    assert operator.get("/prompts/a/b/versions?limit=1&offset=1").json["versions"][0]["number"] == 1
    assert operator.get("/prompts/a/b/versions/2").json["text"] == "user: y\n"
    for path in ("/prompts/none/versions", "/prompts/greeting/versions/9"):
        assert operator.get(path).status == 404, path


def test_two_versions_are_compared(operator: Client) -> None:
    answer = operator.get("/prompts/greeting/versions/1/diff/2").json
    assert answer["changed"] == ["greeting"]
    assert "-user: Hi {name}\n+user: Ho {name}\n" in answer["diffs"][0]["diff"]
    assert operator.get("/prompts/greeting/versions/1/diff/3").status == 404


def test_a_version_is_made_without_being_active(operator: Client, registry: SqlRegistry) -> None:
    answer = post(
        operator, "/prompts", name="greeting", content="user: Hey {name}\n", message="shorter",
        metadata={"ticket": "A-1"},
    )  # fmt: skip
    assert (answer.status, answer.json["status"], answer.json["version"]) == (201, "stored", 3)
    made = registry.version("greeting", 3)
    assert (made.message, made.metadata, made.active) == ("shorter", {"ticket": "A-1"}, ())
    assert registry.active("production")["greeting"] == 1
    again = post(operator, "/prompts", name="greeting", content="user: Hey {name}\n")
    assert again.json["version"] == 3
    new = post(operator, "/prompts", name="new", content={"user": "As an object"}, is_active=True)
    assert (new.status, new.json["status"], new.json["version"]) == (201, "published", 1)
    assert registry.active("production")["new"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"name": "greeting"},
        {"content": "user: x"},
        {"name": "../x", "content": "user: x"},
        {"name": "a/versions", "content": "user: x"},
        {"name": "a/activate/3", "content": "user: x"},
        {"name": "greeting", "content": "user: x", "more": 1},
        {"name": "greeting", "content": "user: x", "is_active": 1},
        {"name": "greeting", "content": 7},
        {"name": "greeting", "content": "user: x", "metadata": {"x": "y" * 20_000}},
    ],
)
def test_what_is_no_version_is_refused(operator: Client, body: dict[str, Any]) -> None:
    answer = post(operator, "/prompts", **body)
    assert answer.status == 422, answer.body
    assert operator.get("/prompts/greeting/versions").json["total"] == 2


def test_an_activation_is_live_at_once_and_says_who_uses_it(
    operator: Client, registry: SqlRegistry, prompts: LivePrompts
) -> None:
    answer = operator.put("/prompts/greeting/activate/2?message=at+last")
    assert (answer.status, answer.json["status"], answer.json["version"]) == (200, "published", 2)
    assert [use["node"] for use in answer.json["uses"]] == ["hello"]
    assert prompts["greeting"].user == "Ho {name}"
    entry = registry.current("production")
    assert entry is not None
    assert (entry.why, entry.message, entry.number) == ("activate", "at last", 2)
    assert prompts.publish().status == "unchanged"
    assert operator.put("/prompts/greeting/activate/9").code == "no-such-version"


def test_a_version_that_breaks_a_graph_is_kept_and_cannot_be_activated(
    operator: Client, registry: SqlRegistry, prompts: LivePrompts
) -> None:
    made = post(operator, "/prompts", name="greeting", content="user: Hi {surname}\n")
    assert made.json["version"] == 3
    assert any("surname" in one["message"] for one in made.json["findings"])
    assert "cannot be activated" in made.json["hint"]
    answer = operator.put("/prompts/greeting/activate/3")
    assert (answer.status, answer.code) == (422, "rejected")
    assert any("surname" in one["message"] for one in answer.json["findings"])
    assert registry.active("production")["greeting"] == 1
    assert prompts["greeting"].user == "Hi {name}"


def test_two_who_meet_hear_of_each_other(operator: Client, registry: SqlRegistry) -> None:
    seen = {"if-match": f'"{registry.version("greeting", 1).sha256}"'}
    registry.create("greeting", b"user: Yo {name}\n", who="Grace")
    registry.activate("production", {"greeting": 3}, who="Grace", message="mine")
    answer = operator.put("/prompts/greeting/activate/2", headers=seen)
    assert (answer.status, answer.json["current"]["text"]) == (412, "user: Yo {name}\n")
    assert registry.active("production")["greeting"] == 3


def test_a_put_is_a_version_and_its_activation(
    operator: Client, registry: SqlRegistry, prompts: LivePrompts
) -> None:
    answer = operator.put("/prompts/greeting?message=why", "user: Hey {name}\n")
    assert (answer.json["status"], answer.json["version"]) == ("published", 3)
    back = operator.put("/prompts/greeting", "user: Hi {name}\n")
    assert (back.json["status"], back.json["version"]) == ("published", 1)
    gone = operator.delete("/prompts/a/b")
    assert (gone.status, gone.json["version"]) == (200, None)
    assert registry.active("production") == {"greeting": 1}
    assert [one.entry.why for one in registry.activations("a/b", "production")] == [
        "delete", "activate",
    ]  # fmt: skip
    refused = operator.put("/prompts/greeting", "user: {{ x\n")
    assert refused.status == 422
    assert [one.number for one in registry.versions("greeting")] == [3, 2, 1]
    for path in ("/prompts/x/versions", "/prompts/x/versions/1/diff/2"):
        answer = operator.put(path, "user: x\n")
        assert (answer.status, answer.code, answer.headers["allow"]) == (405, "name", "GET")
    assert operator.get("/prompts/x/activate/1").headers["allow"] == "PUT"


def test_an_author_activates_only_where_a_setting_lets_them(
    author: Client, registry: SqlRegistry, prompts: LivePrompts
) -> None:
    answer = author.put("/prompts/greeting", "user: Hey {name}\n")
    assert (answer.status, answer.json["status"], answer.json["version"]) == (202, "stored", 3)
    assert "activate/3" in answer.json["hint"]
    assert author.put("/prompts/greeting/activate/2").code == "role"
    assert author.delete("/prompts/a/b").code == "role"
    made = post(author, "/prompts", name="greeting", content="user: So {name}\n", is_active=True)
    assert (made.status, made.json["status"]) == (201, "stored")
    assert post(author, "/promote", **{"from": "staging"}).status == 403
    assert registry.active("production") == {"greeting": 1, "a/b": 1}
    free = Client(admin_app(prompts, TOKENS, authors_activate=["production"]), "author")
    assert free.put("/prompts/greeting/activate/2").json["status"] == "published"


def test_a_promotion_shows_what_would_change_and_then_does_it(
    operator: Client, registry: SqlRegistry, prompts: LivePrompts
) -> None:
    asked = {"from": "staging", "message": "ready"}
    looked = post(operator, "/promote", **asked, dry_run=True).json
    assert [(one["name"], one["before"], one["after"]) for one in looked["changes"]] == [
        ("greeting", 1, 2)
    ]
    assert registry.active("production")["greeting"] == 1
    done = post(operator, "/promote", **asked).json
    assert (done["status"], done["release"]) == ("published", prompts.release.id)
    entry = registry.current("production")
    assert entry is not None
    assert (entry.why, entry.message) == ("promote from staging", "ready")
    assert prompts["greeting"].user == "Ho {name}"
    assert post(operator, "/promote", **asked).json["status"] == "unchanged"


def test_a_promotion_is_checked_and_takes_what_is_named(
    operator: Client, registry: SqlRegistry
) -> None:
    registry.create("greeting", b"user: Hi {surname}\n", who="Ada")
    registry.activate("staging", {"greeting": 3, "a/b": 2}, who="Ada")
    answer = post(operator, "/promote", **{"from": "staging"})
    assert (answer.status, answer.code) == (422, "rejected")
    assert registry.active("production") == {"greeting": 1, "a/b": 1}
    assert post(operator, "/promote", **{"from": "staging", "names": ["a/b"]}).status == 200
    assert registry.active("production") == {"greeting": 1, "a/b": 2}
    assert post(operator, "/promote", **{"from": "nowhere"}).code == "no-such-environment"
    assert post(operator, "/promote", **{"from": "staging", "names": ["x"]}).status == 404


def test_what_changes_between_a_promotions_check_and_its_end_is_not_promoted(
    operator: Client, registry: SqlRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    active = SqlRegistry.active
    registry.create("greeting", b"user: Hi {surname}\n", who="Ada")

    def overtaken(self: SqlRegistry, environment: str) -> Any:
        registry.activate("staging", {"greeting": 3}, who="Grace")
        return active(self, environment)

    monkeypatch.setattr(SqlRegistry, "active", overtaken)
    answer = post(operator, "/promote", **{"from": "staging"})
    assert (answer.status, answer.code) == (409, "lost-race")
    assert active(registry, "production")["greeting"] == 1


def test_a_rollback_is_a_new_entry_for_all(
    operator: Client, registry: SqlRegistry, prompts: LivePrompts
) -> None:
    operator.put("/prompts/greeting/activate/2")
    answer = operator.post("/rollback?message=oops")
    assert answer.json["status"] == "published"
    entry = registry.current("production")
    assert entry is not None
    assert (entry.number, entry.why) == (3, "rollback")
    assert registry.active("production")["greeting"] == 1


def test_the_audit_log_has_every_change(operator: Client, author: Client) -> None:
    author.put("/prompts/greeting", "user: Hey {name}\n")
    post(author, "/prompts", name="greeting", content="user: So {name}\n")
    operator.put("/prompts/greeting/activate/2")
    post(operator, "/promote", **{"from": "staging"})
    lines = [(one["action"], one["status"]) for one in operator.get("/audit").json["lines"]]
    assert ("put", "stored") in lines
    assert ("create", "stored") in lines
    assert ("activate", "published") in lines


def test_other_layers_have_no_such_routes(tmp_path: Path) -> None:
    write(tmp_path / "prompts", {"a/versions.yaml": "user: x\n"})
    with LivePrompts(tmp_path / "prompts", environment="test", store=tmp_path / "s") as made:
        client = Client(admin_app(made, TOKENS))
        assert client.get("/prompts/a/versions").json["text"] == "user: x\n"
        assert post(client, "/promote", **{"from": "x"}).status == 404
