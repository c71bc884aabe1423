"""The admin API: reading, previewing, checking and writing prompts, and which release is live."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from opentelemetry import trace

from tests.admin_client import TOKENS, Client
from tests.conftest import wait_until
from tests.files import Heard, says, write
from yamlgraph_prompts import Layer, LivePrompts, live_graph, load_and_compile
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.live_prompts import LivePrompts as Core
from yamlgraph_prompts.sources import Change
from yamlgraph_prompts.sources.directory import DirectorySource

GREETING = "system: Be kind.\nuser: Hi {name}\n"
GRAPH = """\
name: letter
state: {name: str}
nodes:
  greet: {type: llm, prompt: greeting, state_key: greeting}
edges:
  - {from: START, to: greet}
  - {from: greet, to: END}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(
        tmp_path,
        {
            "over/farewell.yaml": "user: Bye {name}\n",
            "base/greeting.yaml": GREETING,
            "base/made.yaml.j2": "user: Hello from {{ environment }}\n",
        },
    )


@pytest.fixture
def prompts(folder: Path) -> Iterator[LivePrompts]:
    layers = (folder / "over", folder / "base")
    with LivePrompts(*layers, environment="test", store=folder / "store", watch=False) as made:
        yield made


@pytest.fixture
def client(prompts: LivePrompts) -> Client:
    return Client(admin_app(prompts, TOKENS))


def only(folder: Path, files: dict[str, str], **more: Any) -> LivePrompts:
    """Prompts of one layer, not followed."""
    write(folder / "only", files)
    return LivePrompts(
        folder / "only", environment="test", store=folder / "store", watch=False, **more
    )


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# -- reading ---------------------------------------------------------------------------------------


def test_the_list_says_each_prompts_layer_and_digest(client: Client, prompts: LivePrompts) -> None:
    page = client.get("/prompts").json
    assert page["release"] == prompts.release.id
    assert [one["name"] for one in page["prompts"]] == ["farewell", "greeting", "made"]
    assert page["prompts"][1]["layer"].endswith("/base")
    assert page["prompts"][1]["sha256"] == prompts["greeting"].sha256


def test_the_list_can_be_searched_and_paged(client: Client) -> None:
    page = client.get("/prompts?search=E&limit=1&offset=1").json
    assert (page["total"], [one["name"] for one in page["prompts"]]) == (3, ["greeting"])


def test_a_prompt_says_its_text_and_its_variables(client: Client, prompts: LivePrompts) -> None:
    answer = client.get("/prompts/greeting")
    shown = answer.json
    assert (shown["text"], shown["system"], shown["user"]) == (GREETING, "Be kind.", "Hi {name}")
    assert shown["variables"] == ["name"]
    assert shown["locked"] is None
    assert answer.headers["etag"] == f'"{prompts["greeting"].sha256}"'


def test_a_prompt_says_which_graphs_and_nodes_use_it(tmp_path: Path) -> None:
    graph = write(tmp_path, {"graph.yaml": GRAPH}) / "graph.yaml"
    with only(tmp_path, {"greeting.yaml": GREETING}) as prompts:
        app = load_and_compile(graph, prompts=prompts)
        uses = Client(admin_app(prompts, TOKENS)).get("/prompts/greeting").json["uses"]
        assert [(use["node"], use["kind"]) for use in uses] == [("greet", "llm")]
        assert uses[0]["graph"].endswith("graph.yaml")
        del app


def test_a_prompt_that_is_not_there_is_404_and_near_names_are_told(client: Client) -> None:
    answer = client.get("/prompts/greting")
    assert (answer.status, answer.code) == (404, "no-such-prompt")
    assert "greeting" in answer.json["hint"]


def test_what_the_layers_hold_can_be_read_when_it_is_not_live(client: Client, folder: Path) -> None:
    write(folder, {"base/greeting.yaml": "user: Broken {name\n"})
    assert client.get("/prompts/greeting").json["text"] == GREETING
    shown = client.get("/prompts/greeting?release=layers").json
    assert (shown["text"], shown["variables"]) != (GREETING, ["name"])
    assert shown["text"] == "user: Broken {name\n"


def test_a_kept_release_can_be_read_by_the_beginning_of_its_id(
    client: Client, prompts: LivePrompts
) -> None:
    first = prompts.release.id
    client.put("/prompts/farewell", "user: Ciao {name}\n")
    assert client.get(f"/prompts/farewell?release={first[:12]}").json["user"] == "Bye {name}"
    shown = client.get(f"/releases/{first[:12]}").json
    assert (shown["id"], shown["live"]) == (first, False)
    assert [one["name"] for one in shown["prompts"]] == ["farewell", "greeting", "made"]


def test_the_history_is_newest_first_and_says_who(client: Client, prompts: LivePrompts) -> None:
    client.put("/prompts/farewell", "user: Ciao {name}\n")
    newest, oldest = client.get("/releases").json["releases"]
    assert (newest["live"], oldest["live"]) == (True, False)
    assert newest["reason"].startswith("put by token ")
    assert newest["who"].startswith("token ")
    assert oldest["who"].startswith("process ")
    client.put("/prompts/farewell?message=warmer", "user: Dear {name}\n")
    client.post("/rollback?message=too-warm")
    client.post("/follow?message=better-now")
    client.post("/reload?message=look")
    history = list(prompts._store.history())
    assert [entry.message for entry in history] == ["better-now", "too-warm", "warmer", "", ""]
    assert all(entry.who.startswith("token ") for entry in history[:-1])


def test_a_record_carries_what_a_json_formatter_shows(
    client: Client, prompts: LivePrompts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="yamlgraph_prompts")
    context = trace.SpanContext(0xAB, 0xCD, is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)):
        named = client.put(
            "/prompts/farewell", "user: Ciao {name}\n", headers={"x-request-id": "abc-1"}
        )
    assert named.headers["x-request-id"] == "abc-1"
    forged = client.post("/rollback", headers={"x-request-id": "a b\tc"})
    given = forged.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{16}", given)
    published, put, rolled, order = [vars(record) for record in caplog.records]
    assert (published["environment"], published["outcome"]) == ("test", "published")
    assert published["reason"].startswith("put by token ")
    assert (put["action"], put["prompt"], put["outcome"]) == ("put", "farewell", "published")
    for record in (published, put):
        assert record["request_id"] == "abc-1"
        assert record["trace_id"] == f"{0xAB:032x}"
    assert (rolled["release"], rolled["reason"]) == (prompts.release.id, "rollback")
    assert (order["action"], order["after"]) == ("rollback", prompts.release.id)
    for record in (rolled, order):
        assert record["request_id"] == given
        assert "trace_id" not in record


def test_a_diff_names_what_differs_and_shows_it(client: Client, prompts: LivePrompts) -> None:
    first = prompts.release.id
    client.put("/prompts/farewell", "user: Ciao {name}\n")
    client.put("/prompts/new/one", "user: Here\n")
    told = client.get(f"/releases/{first}/diff/live").json
    assert (told["added"], told["changed"], told["removed"]) == (["new/one"], ["farewell"], [])
    assert "+user: Ciao {name}" in told["diffs"][0]["diff"]


@pytest.mark.parametrize(
    "path", ["/releases/abc", "/releases/abc/diff/live", "/releases/live/diff/x"]
)
def test_a_release_that_is_not_kept_is_404(client: Client, path: str) -> None:
    answer = client.get(path)
    assert (answer.status, answer.code) == (404, "no-such-release")


# -- trying ----------------------------------------------------------------------------------------


def test_a_preview_shows_the_messages_as_the_model_gets_them(client: Client) -> None:
    told = client.post("/preview/greeting", json={"variables": {"name": "Ada"}}).json
    assert [(one["role"], one["content"]) for one in told["messages"]] == [
        ("system", "Be kind."),
        ("human", "Hi Ada"),
    ]


@pytest.mark.parametrize("text", ["user: 'Oh {{ name }}'", {"user": "Oh {{ name }}"}])
def test_a_preview_of_unsaved_text_stores_nothing(
    client: Client, folder: Path, prompts: LivePrompts, text: Any
) -> None:
    before = snapshot(folder)
    told = client.post("/preview/brand/new", json={"variables": {"name": "Ada"}, "text": text})
    assert told.json["messages"][0]["content"] == "Oh Ada"
    assert (snapshot(folder), "brand/new" in prompts.release) == (before, False)


def test_a_preview_that_cannot_be_rendered_says_why_and_not_with_what(client: Client) -> None:
    answer = client.post("/preview/greeting", json={"variables": {"other": "hush-hush"}})
    assert (answer.status, answer.code) == (422, "render")
    assert "name" in answer.json["message"]
    assert "hush" not in answer.text


def test_a_preview_runs_no_code(client: Client) -> None:
    text = "user: \"{{ cycler.__init__.__globals__.os.popen('id').read() }}\""
    answer = client.post("/preview/x", json={"text": text})
    assert (answer.status, answer.code) == (422, "rejected")
    assert answer.json["findings"][0]["code"] == "unsafe-template"


def test_a_check_tells_the_findings_of_drafts_and_stores_nothing(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    before = snapshot(folder)
    told = client.post("/check", json={"prompts": {"farewell": "user: '{{ name | uper }}'"}}).json
    assert (told["ok"], told["findings"][0]["code"]) == (False, "unknown-filter")
    assert told["findings"][0]["line"] == 1
    assert client.post("/check", json={}).json["ok"]
    assert (snapshot(folder), len(prompts.releases())) == (before, 1)


def test_a_check_can_leave_a_prompt_away(tmp_path: Path) -> None:
    graph = write(tmp_path, {"graph.yaml": GRAPH}) / "graph.yaml"
    with only(tmp_path, {"greeting.yaml": GREETING, "b.yaml": "user: b"}) as prompts:
        app = load_and_compile(graph, prompts=prompts)
        told = Client(admin_app(prompts, TOKENS)).post(
            "/check", json={"prompts": {"greeting": None}}
        )
        assert "missing-prompt" in [one["code"] for one in told.json["findings"]]
        del app


# -- writing ---------------------------------------------------------------------------------------


def test_a_put_is_live_when_the_answer_comes(client: Client, prompts: LivePrompts) -> None:
    answer = client.put("/prompts/farewell", "user: Ciao {name}\n")
    assert (answer.status, answer.json["status"]) == (200, "published")
    assert prompts["farewell"].user == "Ciao {name}"
    assert answer.headers["etag"] == f'"{prompts["farewell"].sha256}"'
    assert client.get("/prompts/farewell").headers["etag"] == answer.headers["etag"]


def test_the_next_run_answers_with_what_was_put(tmp_path: Path) -> None:
    with only(tmp_path, {"a.yaml": "user: old"}) as prompts:
        app = live_graph(says("a"), prompts=prompts).compile()
        Client(admin_app(prompts, TOKENS)).put("/prompts/a", "user: new\n")
        assert app.invoke({})["said"] == ["new"]


def test_the_last_prompt_may_be_deleted_and_the_answer_names_the_empty_release(
    tmp_path: Path,
) -> None:
    with only(tmp_path, {"a.yaml": "user: old"}) as prompts:
        answer = Client(admin_app(prompts, TOKENS)).delete("/prompts/a")
        assert (answer.status, answer.json["status"]) == (200, "published")
        assert len(prompts.release) == 0
        assert answer.json["release"] == prompts.release.id
        assert prompts.publish().status == "unchanged"


def test_a_json_object_is_written_as_yaml_that_people_can_read(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    content = {"system": "Be kind.\nBe ärlich: yes\n", "user": "{name}: no", "off": "no"}
    assert client.put("/prompts/farewell", json=content).status == 200
    text = (folder / "over/farewell.yaml").read_text()
    assert yaml.safe_load(text) == content
    assert text.startswith("system: |\n  Be kind.\n  Be ärlich: yes\n")


def test_a_write_of_a_lower_layers_prompt_goes_to_the_written_layer(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    client.put("/prompts/greeting", "user: Over {name}\n")
    assert (folder / "base/greeting.yaml").read_text() == GREETING
    assert prompts["greeting"].layer.endswith("/over")
    assert client.delete("/prompts/greeting").json["status"] == "published"
    assert prompts["greeting"].user == "Hi {name}"


def test_a_stale_write_is_412_and_shows_what_is_there(client: Client, folder: Path) -> None:
    etag = client.get("/prompts/farewell").headers["etag"]
    assert (
        client.put("/prompts/farewell", "user: One {name}", headers={"if-match": etag}).status
        == 200
    )
    answer = client.put("/prompts/farewell", "user: Two {name}", headers={"if-match": etag})
    assert (answer.status, answer.code) == (412, "stale")
    assert answer.json["current"]["text"] == "user: One {name}"
    assert (folder / "over/farewell.yaml").read_text() == "user: One {name}"


def test_a_write_over_somebody_elses_edit_on_disk_is_stale(client: Client, folder: Path) -> None:
    etag = client.get("/prompts/farewell").headers["etag"]
    write(folder, {"over/farewell.yaml": "user: By hand {name}\n"})
    answer = client.put("/prompts/farewell", "user: Two {name}", headers={"if-match": etag})
    assert (answer.status, answer.json["current"]["text"]) == (412, "user: By hand {name}\n")


def test_a_write_over_an_edit_that_came_after_the_check_is_stale(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = DirectorySource.write

    def late(source: DirectorySource, change: Change) -> None:
        write(folder, {"over/farewell.yaml": "user: By hand {name}\n"})
        real(source, change)

    monkeypatch.setattr(DirectorySource, "write", late)
    answer = client.put("/prompts/farewell", "user: Two {name}")
    assert (answer.status, answer.code) == (412, "stale")
    assert (folder / "over/farewell.yaml").read_text() == "user: By hand {name}\n"


def test_of_many_writes_on_one_digest_only_one_wins(client: Client) -> None:
    etag = client.get("/prompts/farewell").headers["etag"]

    def put(number: int) -> int:
        text = f"user: {number} {{name}}\n"
        return client.put("/prompts/farewell", text, headers={"if-match": etag}).status

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(put, range(8))) == [200] + [412] * 7


def test_a_new_prompt_can_be_asked_for_only_where_there_is_none(client: Client) -> None:
    headers = {"if-none-match": "*"}
    assert client.put("/prompts/farewell", "user: x", headers=headers).code == "exists"
    assert client.put("/prompts/brand/new", "user: x", headers=headers).status == 200
    assert client.put("/prompts/other", "user: x", headers={"if-match": '"0"'}).status == 412


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("user: Hi {name\n", "format-braces"),
        ("user: 'Hi\n", "yaml-syntax"),
        ("user: '{{ name.__class__ }}'\n", "unsafe-template"),
        (b"user: \xff\n", "not-utf8"),
        ("- a list\n", "not-a-mapping"),
        ("user: " + "x" * (1 << 20), "too-large"),
        ("", "not-a-mapping"),
    ],
)
def test_a_bad_prompt_is_422_with_findings_and_nothing_changes(
    client: Client, folder: Path, prompts: LivePrompts, text: str | bytes, code: str
) -> None:
    before, live = snapshot(folder / "over"), prompts.release.id
    answer = client.put("/prompts/farewell", text)
    assert (answer.status, answer.code) == (422, "rejected")
    assert code in [finding["code"] for finding in answer.json["findings"]]
    assert (snapshot(folder / "over"), prompts.release.id) == (before, live)
    assert prompts.health.degraded == ()


def test_a_write_that_breaks_a_graph_is_refused(tmp_path: Path) -> None:
    graph = write(tmp_path, {"graph.yaml": GRAPH}) / "graph.yaml"
    with only(tmp_path, {"greeting.yaml": GREETING, "b.yaml": "user: b"}) as prompts:
        app = load_and_compile(graph, prompts=prompts)
        answer = Client(admin_app(prompts, TOKENS)).delete("/prompts/greeting")
        assert (answer.status, answer.code) == (422, "rejected")
        assert "missing-prompt" in [one["code"] for one in answer.json["findings"]]
        assert (tmp_path / "only/greeting.yaml").exists()
        del app


def test_a_write_that_a_graph_cannot_be_built_on_is_refused_and_not_written(tmp_path: Path) -> None:
    def build(release: Any) -> Any:
        if "boom" in release["a"].user:
            raise RuntimeError("no such luck")
        return says("a")(release)

    with only(tmp_path, {"a.yaml": "user: fine"}) as prompts:
        app = live_graph(build, prompts=prompts).compile()
        answer = Client(admin_app(prompts, TOKENS)).put("/prompts/a", "user: boom")
        assert (answer.status, answer.json["findings"][-1]["code"]) == (422, "compile")
        assert (tmp_path / "only/a.yaml").read_text() == "user: fine"
        assert app.invoke({})["said"] == ["fine"]


def test_a_write_is_refused_where_a_higher_layer_would_hide_it(
    folder: Path, prompts: LivePrompts
) -> None:
    client = Client(admin_app(prompts, TOKENS, write_to=folder / "base"))
    answer = client.put("/prompts/farewell", "user: x {name}")
    assert (answer.status, answer.code) == (409, "hidden")
    assert "over" in client.get("/prompts/farewell").json["locked"]
    assert client.put("/prompts/greeting", "user: x {name}").status == 200
    assert (folder / "base/greeting.yaml").read_text() == "user: x {name}"


def test_a_write_is_refused_where_a_template_makes_the_prompt(client: Client, folder: Path) -> None:
    for answer in (client.put("/prompts/made", "user: x"), client.delete("/prompts/made")):
        assert (answer.status, answer.code) == (409, "made-by-template")
    assert "made.yaml.j2" in client.get("/prompts/made").json["locked"]


def test_a_delete_removes_only_what_is_in_the_written_layer(client: Client, folder: Path) -> None:
    assert client.delete("/prompts/greeting").code == "other-layer"
    assert client.delete("/prompts/nobody").status == 404
    assert client.delete("/prompts/farewell").json["sha256"] is None
    assert not (folder / "over/farewell.yaml").exists()
    assert client.get("/prompts/farewell").status == 404


def test_a_prompt_with_an_odd_name_is_only_read(client: Client, folder: Path) -> None:
    write(folder, {"over/gr\u00fc\u00dfe an alle.yaml": "user: x\n"})
    client.post("/reload")
    path = "/prompts/gr%c3%bc%c3%9fe%20an%20alle"
    assert "ASCII" in client.get(path).json["locked"]
    assert client.put(path, "user: y").status == 422


def test_a_graph_is_no_prompt(client: Client, folder: Path) -> None:
    answer = client.put("/prompts/sneaky", "nodes: {}\nedges: []\nuser: x\n")
    assert (answer.status, answer.code) == (422, "no-prompt")
    assert not (folder / "over/sneaky.yaml").exists()


@pytest.mark.parametrize("name", ["vars", "a/vars.test", "a.yaml", "a.yaml.j2", "b/x.j2", "c.yml"])
def test_names_that_mean_something_else_are_refused(client: Client, name: str) -> None:
    answer = client.put(f"/prompts/{name}", "user: x")
    assert (answer.status, answer.code) == (422, "name")


def test_a_mapping_is_only_read() -> None:
    with LivePrompts({"a": "user: x"}, environment="test") as prompts:
        client = Client(admin_app(prompts, TOKENS))
        answer = client.put("/prompts/a", "user: y")
        assert (answer.status, answer.code) == (403, "read-only")
        assert "read-only" in client.get("/prompts/a").json["locked"]
        (line,) = client.get("/audit").json["lines"]
        assert (line["status"], line["code"], line["prompt"]) == ("refused", "read-only", "a")


def test_a_graphs_own_prompts_are_only_read(
    tmp_path: Path, stand_in: Callable[[Path], None]
) -> None:
    write(tmp_path, {"graph.yaml": GRAPH, "prompts/greeting.yaml": GREETING})
    stand_in(tmp_path)
    graph = load_and_compile("graph.yaml", watch=False).compile()
    client = Client(admin_app(graph.prompts, TOKENS))
    assert client.get("/prompts/greeting").json["uses"][0]["node"] == "greet"
    answer = client.put("/prompts/greeting", "user: y {name}")
    assert (answer.status, answer.code) == (403, "read-only")
    assert "No layer" in client.get("/prompts/greeting").json["locked"]


def test_a_folder_that_cannot_be_written_is_403_with_the_reason(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    before = snapshot(folder / "over")
    with monkeypatch.context() as patch:
        patch.setattr("yamlgraph_prompts.sources.writing._as_before", refuse)
        answer = client.put("/prompts/farewell", "user: x {name}")
    assert (answer.status, answer.code) == (403, "read-only")
    assert "Permission denied" in answer.json["message"]
    assert snapshot(folder / "over") == before
    assert client.get("/audit").json["lines"][0]["status"] == "failed"


def test_a_full_disk_is_503_and_nothing_changes(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    before = snapshot(folder / "over")
    with monkeypatch.context() as patch:
        patch.setattr("yamlgraph_prompts.sources.writing._as_before", full)
        answer = client.put("/prompts/farewell", "user: x {name}")
    assert (answer.status, answer.code) == (503, "layer")
    assert "No space left" in answer.json["message"]
    assert snapshot(folder / "over") == before
    assert client.get("/audit").json["lines"][0]["status"] == "failed"
    assert client.put("/prompts/farewell", "user: x {name}").status == 200


def test_a_config_map_is_only_read(client: Client, folder: Path) -> None:
    write(folder, {"over/..v1/x": ""})
    (folder / "over/..data").symlink_to("..v1")
    answer = client.put("/prompts/farewell", "user: x {name}")
    assert (answer.status, answer.code) == (403, "read-only")
    assert "ConfigMap" in answer.json["message"]


def test_a_file_keeps_its_mode_and_its_owner_and_a_link_stays_a_link(
    client: Client, folder: Path
) -> None:
    real = folder / "over/real.yaml"
    real.write_text("user: old {name}\n")
    (folder / "over/farewell.yaml").unlink()
    (folder / "over/farewell.yaml").symlink_to("real.yaml")
    real.chmod(0o640)
    before = real.stat()
    assert client.put("/prompts/farewell", "user: new {name}\n").status == 200
    after = real.stat()
    assert real.read_text() == "user: new {name}\n"
    assert (folder / "over/farewell.yaml").is_symlink()
    assert (stat.S_IMODE(after.st_mode), after.st_uid, after.st_gid) == (
        0o640,
        before.st_uid,
        before.st_gid,
    )


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="Linux says which file it is")
def test_the_line_in_the_log_and_the_file_are_on_disk_before_they_count(
    client: Client, folder: Path, prompts: LivePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prompts.release
    done: list[tuple[str, str]] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(fd: int) -> None:
        done.append(("fsync", Path(os.readlink(f"/proc/self/fd/{fd}")).name))
        real_fsync(fd)

    def replace(old: Any, new: Any, **folders: int) -> None:
        done.append((Path(old).name, Path(new).name))
        real_replace(old, new, **folders)

    monkeypatch.setattr("os.fsync", fsync)
    monkeypatch.setattr("os.replace", replace)
    assert client.put("/prompts/farewell", "user: Ciao {name}\n").status == 200
    (renamed,) = [step for step in done if step[1] == "farewell.yaml"]
    before, after = done[: done.index(renamed)], done[done.index(renamed) :]
    assert ("fsync", "audit.jsonl") in before
    assert ("fsync", renamed[0]) in before
    assert ("fsync", "over") in after


def test_no_write_leaves_the_layer(client: Client, folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / "over/out").symlink_to(outside, target_is_directory=True)
    answer = client.put("/prompts/out/x", "user: x")
    assert answer.status in (403, 422)
    assert list(outside.iterdir()) == []


def test_the_same_text_again_changes_nothing(client: Client, folder: Path) -> None:
    before = (folder / "over/farewell.yaml").stat()
    answer = client.put("/prompts/farewell", "user: Bye {name}\n")
    assert (answer.status, answer.json["status"]) == (200, "unchanged")
    assert (folder / "over/farewell.yaml").stat() == before


def test_a_write_mends_what_is_broken_on_disk(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    write(folder, {"over/farewell.yaml": "user: {{{\n"})
    assert prompts.publish().status == "rejected"
    assert client.get("/health/ready").json["degraded"] == ["rejected-candidate"]
    assert client.put("/prompts/farewell", "user: Bye {name}\n").json["status"] == "unchanged"
    assert (folder / "over/farewell.yaml").read_text() == "user: Bye {name}\n"
    assert client.get("/health/ready").json["degraded"] == []


def test_two_prompts_broken_on_disk_are_mended_one_after_the_other(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    live = prompts.release.id
    write(folder, {"over/farewell.yaml": "user: {{{\n", "over/other.yaml": "user: 'x\n"})
    first = client.put("/prompts/farewell", "user: Ciao {name}\n")
    assert (first.status, first.json["status"]) == (202, "rejected")
    assert "other" in first.json["message"]
    assert "farewell" not in first.json["message"]
    assert "Fix" in first.json["hint"]
    assert {found["prompt"] for found in first.json["findings"]} == {"other"}
    assert (folder / "over/farewell.yaml").read_text() == "user: Ciao {name}\n"
    assert prompts.release.id == live
    assert client.get("/audit").json["lines"][0]["status"] == "written"
    second = client.put("/prompts/other", "user: x\n")
    assert (second.status, second.json["status"], second.json["message"]) == (
        200,
        "published",
        None,
    )
    assert prompts["farewell"].user == "Ciao {name}"


def test_a_broken_prompt_can_be_removed_while_another_is_broken(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    write(folder, {"over/new.yaml": "user: {{{\n", "over/other.yaml": "user: 'x\n"})
    answer = client.delete("/prompts/new")
    assert (answer.status, answer.json["status"]) == (202, "rejected")
    assert not (folder / "over/new.yaml").exists()
    assert "new" not in prompts.release


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("farewell", "user: still {broken\n"),  # keeps an error of its own
        ("third", "user: Fine {name}\n"),  # mends nothing
        ("third", "user: 'x\n"),  # adds one
    ],
)
def test_a_write_that_mends_nothing_is_refused_while_others_are_broken(
    client: Client, folder: Path, name: str, text: str
) -> None:
    write(folder, {"over/farewell.yaml": "user: {{{\n", "over/other.yaml": "user: 'x\n"})
    before = snapshot(folder / "over")
    answer = client.put(f"/prompts/{name}", text)
    assert (answer.status, answer.code) == (422, "rejected")
    assert snapshot(folder / "over") == before
    if "Fine" in text:
        assert "First fix what is broken in the layers: " in answer.json["hint"]


def test_of_two_prompts_that_a_graph_misses_one_can_be_written(tmp_path: Path) -> None:
    two = GRAPH.replace("greet}", "greet, to_be: x}").replace(", to_be: x", "")
    two = two.replace("edges:", "  part: {type: llm, prompt: parting, state_key: p}\nedges:")
    two = two.replace("to: END", "to: part").replace(
        "  - {from: greet, to: part}", "  - {from: greet, to: part}\n  - {from: part, to: END}"
    )
    graph = write(tmp_path, {"graph.yaml": two}) / "graph.yaml"
    texts = {"greeting.yaml": GREETING, "parting.yaml": "user: Bye {name}\n"}
    with only(tmp_path, {**texts, "b.yaml": "user: b"}) as prompts:
        app = load_and_compile(graph, prompts=prompts)
        for name in texts:
            (tmp_path / "only" / name).unlink()
        client = Client(admin_app(prompts, TOKENS))
        answer = client.put("/prompts/greeting", GREETING)
        assert (answer.status, "parting" in answer.json["message"]) == (202, True)
        assert client.put("/prompts/parting", texts["parting.yaml"]).status == 200
        del app


def test_the_watcher_finds_nothing_new_in_what_was_put(folder: Path) -> None:
    heard = Heard()
    with LivePrompts(
        folder / "over", environment="test", store=folder / "store", hooks=[heard]
    ) as prompts:
        assert prompts.release
        wait_until(lambda: any(o.reason == "first look" for o in heard.outcomes()))
        Client(admin_app(prompts, TOKENS)).put("/prompts/farewell", "user: Ciao {name}\n")
        wait_until(lambda: heard.outcomes()[-1].reason in ("file change", "another process"))
        assert [o.reason for o in heard.outcomes("published")][1:] == [
            o.reason for o in heard.outcomes("published") if o.reason.startswith("put by")
        ]


def test_where_the_store_fails_in_between_the_file_is_as_it_was(
    client: Client, folder: Path, prompts: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yamlgraph_prompts.errors import StoreError

    def full(*_: Any, **__: Any) -> None:
        raise StoreError("The disk is full.")

    monkeypatch.setattr(prompts._store, "make_live", full)
    answer = client.put("/prompts/farewell", "user: Ciao {name}\n")
    assert (answer.status, answer.code) == (503, "store")
    assert (folder / "over/farewell.yaml").read_text() == "user: Bye {name}\n"
    assert prompts["farewell"].user == "Bye {name}"


def test_where_the_store_fails_under_a_hold_the_file_is_as_it_was(
    client: Client, folder: Path, prompts: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yamlgraph_prompts.errors import StoreError

    def full(*_: Any, **__: Any) -> None:
        raise StoreError("The disk is full.")

    prompts.activate(prompts.release.id)
    monkeypatch.setattr(prompts._store, "put", full)
    answer = client.put("/prompts/farewell", "user: Ciao {name}\n")
    assert (answer.status, answer.code) == (503, "store")
    assert (folder / "over/farewell.yaml").read_text() == "user: Bye {name}\n"


# -- releases --------------------------------------------------------------------------------------


def test_a_roll_back_holds_and_a_file_event_does_not_undo_it(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    first = prompts.release.id
    client.put("/prompts/farewell", "user: Ciao {name}\n")
    answer = client.post("/rollback").json
    assert (answer["release"], answer["held"], answer["status"]) == (first, True, "published")
    write(folder, {"over/farewell.yaml": "user: News {name}\n"})
    assert client.post("/reload").json["status"] == "held"
    assert prompts.release.id == first
    assert client.get("/health/ready").json["degraded"] == ["hold"]
    followed = client.post("/follow").json
    assert (followed["status"], followed["held"]) == ("published", False)
    assert prompts["farewell"].user == "News {name}"


def test_an_activation_names_its_reach(client: Client, folder: Path, prompts: LivePrompts) -> None:
    first = prompts.release.id
    client.put("/prompts/farewell", "user: Ciao {name}\n")
    reach = client.post(f"/releases/{first[:10]}/activate").json["reach"]
    assert reach["store"].startswith(str(folder / "store"))
    assert (reach["workers"], reach["taken"]) == (1, 1)


def test_a_write_under_a_hold_is_kept_and_not_live(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    client.put("/prompts/farewell", "user: Ciao {name}\n")
    client.post("/rollback")
    answer = client.put("/prompts/farewell", "user: Later {name}\n")
    assert (answer.status, answer.json["status"], answer.json["held"]) == (200, "held", True)
    assert prompts.release.id[:12] in answer.json["message"]
    assert "POST /follow" in answer.json["hint"]
    assert prompts["farewell"].user == "Bye {name}"
    assert (folder / "over/farewell.yaml").read_text() == "user: Later {name}\n"
    client.post("/follow")
    assert prompts["farewell"].user == "Later {name}"


def test_there_must_be_something_to_go_back_to(client: Client) -> None:
    answer = client.post("/rollback")
    assert (answer.status, answer.code) == (409, "nothing-earlier")


def test_a_release_that_does_not_fit_todays_graphs_is_refused(tmp_path: Path) -> None:
    graph = write(tmp_path, {"graph.yaml": GRAPH}) / "graph.yaml"
    with only(tmp_path, {"other.yaml": "user: x"}) as prompts:
        client = Client(admin_app(prompts, TOKENS))
        first = prompts.release.id
        client.put("/prompts/greeting", GREETING)
        app = load_and_compile(graph, prompts=prompts)
        answer = client.post(f"/releases/{first}/activate")
        assert (answer.status, answer.code) == (422, "rejected")
        assert "greeting" in prompts.release
        del app


def test_a_reload_takes_what_is_there(client: Client, folder: Path, prompts: LivePrompts) -> None:
    write(folder, {"over/farewell.yaml": "user: News {name}\n"})
    assert client.post("/reload").json["status"] == "published"
    write(folder, {"over/farewell.yaml": "user: Hi {name\n"})
    answer = client.post("/reload")
    assert (answer.status, answer.code) == (422, "rejected")


# -- the audit log ---------------------------------------------------------------------------------


def test_the_audit_log_says_who_what_when_from_where_and_why(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    before = prompts["farewell"].sha256
    client.put("/prompts/farewell?message=shorter", "user: Ciao {name}\n")
    done, begun = client.get("/audit").json["lines"]
    assert (begun["status"], done["status"]) == ("begun", "published")
    assert (done["action"], done["prompt"], done["message"]) == ("put", "farewell", "shorter")
    assert (done["before"], done["after"]) == (before, prompts["farewell"].sha256)
    assert (done["address"], done["role"], done["who"][:6]) == ("192.0.2.7", "operator", "token ")
    client.post("/rollback?message=oops")
    assert client.get("/audit").json["lines"][0]["action"] == "rollback"
    assert len(client.get("/audit?prompt=farewell").json["lines"]) == 2
    assert len(client.get("/audit?limit=1").json["lines"]) == 1


def test_what_was_refused_stands_in_the_audit_log_with_who_and_why(
    client: Client, folder: Path
) -> None:
    author = Client(client.app, role="author")
    stale = {"if-match": '"0"'}
    asked = [
        (author.post("/rollback?message=my-reason"), "rollback", "role", None),
        (author.put("/prompts/farewell", "user: x\nmodel: m\n"), "put", "destination", "farewell"),
        (client.put("/prompts/made", "user: x"), "put", "made-by-template", "made"),
        (client.delete("/prompts/greeting"), "delete", "other-layer", "greeting"),
        (client.put("/prompts/farewell", "user: x", headers=stale), "put", "stale", "farewell"),
        (client.put("/prompts/farewell", "user: {my-text"), "put", "rejected", "farewell"),
        (client.put("/prompts/vars", "user: x"), "put", "name", "vars"),
        (client.put("/prompts/a%20b", "user: x"), "put", "invalid", "a b"),
        (client.post("/releases/abc/activate"), "activate", "no-such-release", None),
        (client.post("/rollback"), "rollback", "nothing-earlier", None),
    ]
    for number, (answer, action, code, prompt) in enumerate(asked):
        assert answer.code == code
        lines = client.get("/audit").json["lines"]
        told = [line for line in reversed(lines) if line["status"] == "refused"][number]
        assert (told["action"], told["code"], told["prompt"]) == (action, code, prompt)
        assert told["address"] == "192.0.2.7"
        assert told["role"] == ("author" if number < 2 else "operator")
    kept = next((folder / "store").rglob("audit.jsonl")).read_text()
    assert "my-text" not in kept
    assert "the-" not in kept


def test_who_is_not_known_and_who_only_looks_leave_no_line(client: Client) -> None:
    Client(client.app, role=None).put("/prompts/farewell", "user: x")
    client.put("/prompts/farewell", "user: x", headers={"authorization": "Bearer wrong"})
    client.get("/prompts/nobody")
    client.post("/preview/farewell", json={"text": 7})
    assert client.get("/audit").json["lines"] == []


def test_refusals_do_not_fill_the_disk_and_what_is_left_out_is_counted(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = Client(client.app, role="viewer")
    for _ in range(50):
        assert viewer.delete("/prompts/farewell").status == 403
    assert len(client.get("/audit").json["lines"]) == 20
    # Somebody else's are not left out for that.
    assert Client(client.app, role="author").post("/follow").status == 403
    assert client.get("/audit").json["lines"][0]["role"] == "author"
    monkeypatch.setattr("yamlgraph_prompts.admin.audit.REFUSALS_S", 0.0)
    client.app.state.admin.audit._refused.clear()
    viewer.delete("/prompts/farewell")
    monkeypatch.setattr("yamlgraph_prompts.admin.audit.REFUSALS_UP_TO_BYTES", 0)
    for _ in range(3):
        viewer.delete("/prompts/farewell")
    monkeypatch.setattr("yamlgraph_prompts.admin.audit.REFUSALS_UP_TO_BYTES", 1 << 20)
    viewer.delete("/prompts/farewell")
    assert client.get("/audit").json["lines"][0]["left_out"] == 3
    assert len(client.get("/audit").json["lines"]) == 23


def test_the_audit_log_survives_restarts_and_a_torn_line(folder: Path) -> None:
    def once(text: str) -> list[Any]:
        with LivePrompts(
            folder / "over", environment="test", store=folder / "store", watch=False
        ) as prompts:
            client = Client(admin_app(prompts, TOKENS))
            assert client.put("/prompts/farewell", text).status == 200
            lines: list[Any] = client.get("/audit").json["lines"]
            return lines

    assert len(once("user: One {name}")) == 2
    log = next((folder / "store").rglob("audit.jsonl"))
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    with log.open("ab") as file:
        file.write(b'{"at_s": 1, "who"')
    assert len(once("user: Two {name}")) == 4
    lines = [line for line in log.read_bytes().splitlines() if line.strip()]
    assert len([json.loads(line) for line in lines if line.endswith(b"}")]) == 4


def test_without_its_line_in_the_audit_log_nothing_is_written(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    client.put("/prompts/farewell", "user: One {name}")
    log = next((folder / "store").rglob("audit.jsonl"))
    log.unlink()
    log.mkdir()
    answer = client.put("/prompts/farewell", "user: Two {name}")
    assert (answer.status, answer.code) == (503, "store")
    assert (folder / "over/farewell.yaml").read_text() == "user: One {name}"


def test_where_its_line_does_not_reach_the_disk_nothing_is_written(
    client: Client, folder: Path, prompts: LivePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prompts.release
    real = os.fsync

    def full(fd: int) -> None:
        if os.fstat(fd).st_ino == next((folder / "store").rglob("audit.jsonl")).stat().st_ino:
            raise OSError(28, "No space left on device")
        real(fd)

    monkeypatch.setattr("os.fsync", full)
    answer = client.put("/prompts/farewell", "user: Two {name}")
    assert (answer.status, answer.code) == (503, "store")
    assert (folder / "over/farewell.yaml").read_text() == "user: Bye {name}\n"
    assert prompts["farewell"].user == "Bye {name}"
    assert client.post("/rollback").status in (409, 503)
    assert client.get("/audit").json["lines"][-1]["status"] == "begun"


# -- health ----------------------------------------------------------------------------------------


def test_health_is_open_and_says_nothing_more_without_a_token(client: Client) -> None:
    nobody = Client(client.app, role=None)
    assert nobody.get("/health/live").json == {"status": "alive"}
    told = nobody.get("/health/ready")
    assert told.status == 200
    assert {key: value for key, value in told.json.items() if value is not None} == {
        "status": "ready"
    }


def test_ready_tells_the_age_of_every_layer_and_what_is_wrong(
    client: Client, folder: Path, prompts: LivePrompts
) -> None:
    told = client.get("/health/ready").json
    assert told["release"] == prompts.release.id
    assert [0 <= layer["age_s"] < 60 for layer in told["layers"]] == [True, True]
    (folder / "base").rename(folder / "gone")
    prompts.publish()
    told = client.get("/health/ready").json
    assert set(told["degraded"]) == {"stale-layer"}
    assert "does not exist" in told["layers"][1]["trouble"]
    assert told["last"]["status"] == "rejected"
    (folder / "gone").rename(folder / "base")
    prompts.publish()
    assert client.get("/health/ready").json["degraded"] == []


def test_not_ready_without_a_live_release_and_ready_on_the_last_good_one(folder: Path) -> None:
    def made() -> LivePrompts:
        return LivePrompts(folder / "over", environment="test", store=folder / "store", watch=False)

    text = (folder / "over/farewell.yaml").read_text()
    write(folder, {"over/farewell.yaml": "user: Hi {name\n"})
    with pytest.raises(Exception, match="format-braces"), made() as prompts:
        pass
    prompts = made()
    nobody = Client(admin_app(prompts, TOKENS), role=None)
    answer = nobody.get("/health/ready")
    assert (answer.status, answer.json["status"]) == (503, "not-ready")
    write(folder, {"over/farewell.yaml": text})
    assert nobody.get("/health/ready").status == 200
    prompts.close()
    write(folder, {"over/farewell.yaml": "user: Hi {name\n"})
    with made() as prompts:
        assert Client(admin_app(prompts, TOKENS)).get("/health/ready").status == 200


def test_a_watcher_that_had_to_be_started_again_is_told(client: Client, prompts: Core) -> None:
    prompts._report.watcher_trouble("watcher-died", "The watcher has died and was started again.")
    assert client.get("/health/ready").json["degraded"] == ["watcher-restarted"]


def test_metrics_count_what_the_api_does(client: Client) -> None:
    client.put("/prompts/farewell", "user: Ciao {name}\n")
    client.post("/rollback")
    text = client.get("/metrics").text
    assert 'yamlgraph_prompts_held{environment="test"} 1.0' in text
    assert 'outcome="published"} ' in text


# -- where it stands -------------------------------------------------------------------------------


def test_it_can_be_mounted_anywhere(prompts: LivePrompts) -> None:
    from fastapi import FastAPI

    outer = FastAPI()
    outer.mount("/ops/admin", admin_app(prompts, TOKENS))
    client = Client(outer)
    assert client.get("/ops/admin/prompts/farewell").json["name"] == "farewell"
    assert client.put("/ops/admin/prompts/a/b", "user: x").status == 200
    nobody = Client(outer, role=None)
    assert nobody.get("/ops/admin/health/live").status == 200
    assert nobody.get("/ops/admin/prompts").status == 401


def test_writes_go_to_a_layer_that_exists(folder: Path, prompts: LivePrompts) -> None:
    with pytest.raises(ValueError, match="not one of the layers"):
        admin_app(prompts, TOKENS, write_to=folder / "elsewhere")
    with LivePrompts(
        Layer(f"{folder}/{{environment}}", optional=True), environment="new", watch=False
    ) as fresh:
        client = Client(admin_app(fresh, TOKENS, write_to=f"{folder}/{{environment}}"))
        assert client.put("/prompts/deep/er/a", "user: x").status == 200
        assert (folder / "new/deep/er/a.yaml").read_text() == "user: x"


@pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.nightly)])
def test_many_starts_and_stops_leave_no_thread(folder: Path, times: int) -> None:
    import asyncio

    from fastapi import FastAPI

    from yamlgraph_prompts.admin import lifespan

    async def once() -> None:
        prompts = LivePrompts(folder / "over", environment="test", store=folder / "store")
        app = FastAPI(lifespan=lifespan(prompts))
        app.mount("/admin", admin_app(prompts, TOKENS))
        async with app.router.lifespan_context(app):
            answer = await Client(app).asend("GET", "/admin/prompts")
            assert answer.status == 200
        assert prompts.closed

    asyncio.run(once())
    before = set(threading.enumerate())
    for _ in range(times):
        asyncio.run(once())
    wait_until(lambda: not set(threading.enumerate()) - before)


def test_the_app_run_alone_closes_its_prompts(prompts: LivePrompts) -> None:
    import asyncio

    app = admin_app(prompts, TOKENS)

    async def live() -> None:
        async with app.router.lifespan_context(app):
            assert prompts.health.release

    asyncio.run(live())
    assert prompts.closed
    answer = Client(app).post("/reload")
    assert (answer.status, answer.code) == (503, "unavailable")


def test_without_the_extra_the_pip_command_is_told(
    run_without: Callable[[str], str],
) -> None:
    assert "pip install 'yamlgraph-prompts[admin]'" in run_without("fastapi")
    assert "pip install 'yamlgraph-prompts[admin]'" in run_without("prometheus_client")


@pytest.fixture
def run_without(tmp_path: Path) -> Callable[[str], str]:
    from tests.conftest import run_in

    def run(module: str) -> str:
        script = (
            f"import sys; sys.modules[{module!r}] = None\n"
            "from yamlgraph_prompts.errors import MissingExtra\n"
            "try:\n    import yamlgraph_prompts.admin\n"
            "except MissingExtra as problem:\n    print(problem)"
        )
        return run_in(tmp_path, script)

    return run
