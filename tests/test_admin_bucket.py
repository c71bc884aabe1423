"""Writes through the admin API to a bucket: a new release through its log, never a loose file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.admin_client import TOKENS, Client
from tests.s3_servers import Shop
from yamlgraph_prompts import LivePrompts
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.admin import admin_app
from yamlgraph_prompts.admin.security.gate import Limits
from yamlgraph_prompts.errors import LayerUnavailable
from yamlgraph_prompts.registry.channel import Channel
from yamlgraph_prompts.sources.s3.objects import Objects


def release(**texts: str) -> Release:
    return Release.of(Prompt(name, f"user: {text}\n".encode()) for name, text in texts.items())


@pytest.fixture
def bucket(moto: Shop) -> Channel:
    made = Channel(moto.url(), environment="test")
    made.push(release(greeting="Hi", farewell="Bye"), message="first", who="ada")
    return made


@pytest.fixture
def prompts(moto: Shop, bucket: Channel, tmp_path: Path) -> Iterator[LivePrompts]:
    with LivePrompts(moto.url(), environment="test", store=tmp_path / "store", watch=False) as made:
        yield made


def test_a_put_is_a_new_release_in_the_buckets_history(
    prompts: LivePrompts, bucket: Channel
) -> None:
    client = Client(admin_app(prompts, TOKENS))
    assert client.get("/prompts/greeting").json["locked"] is None
    answer = client.put("/prompts/greeting?message=shorter", "user: Ho\n")
    assert (answer.status, answer.json["status"]) == (200, "published"), answer
    live = bucket.current()
    assert live is not None
    assert (live.release, live.message) == (prompts.release.id, "shorter")
    assert live.who.startswith("token ")
    assert bucket.get(live.release)["greeting"].user == "Ho"
    assert prompts.publish().status == "unchanged"
    assert client.delete("/prompts/farewell").json["status"] == "published"
    assert [entry.number for entry in list(bucket.history())] == [3, 2, 1]


def test_a_bad_put_reaches_no_bucket(prompts: LivePrompts, bucket: Channel) -> None:
    answer = Client(admin_app(prompts, TOKENS)).put("/prompts/greeting", "user: {{ x\n")
    assert (answer.status, answer.code) == (422, "rejected")
    assert len(list(bucket.history())) == 1


def test_who_was_overtaken_in_the_bucket_changes_nothing(
    prompts: LivePrompts, bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = Channel.push

    def overtaken(self: Channel, made: Release, **facts: Any) -> Any:
        monkeypatch.setattr(Channel, "push", push)
        bucket.push(release(greeting="First", farewell="Bye"), message="quick", who="bob")
        return push(self, made, **facts)

    monkeypatch.setattr(Channel, "push", overtaken)
    answer = Client(admin_app(prompts, TOKENS)).put("/prompts/greeting", "user: Second\n")
    assert (answer.status, answer.code) == (409, "lost-race")
    assert prompts["greeting"].user == "Hi"
    live = bucket.current()
    assert live is not None
    assert live.who == "bob"


@pytest.fixture
def elsewhere(moto: Shop, bucket: Channel, tmp_path: Path) -> Iterator[LivePrompts]:
    """The prompts of another host."""
    store = tmp_path / "another hosts store"
    with LivePrompts(moto.url(), environment="test", store=store, watch=False) as made:
        yield made


def test_a_roll_back_reaches_every_reader_of_the_bucket_and_holds_here(
    prompts: LivePrompts, elsewhere: LivePrompts, bucket: Channel
) -> None:
    client = Client(admin_app(prompts, TOKENS))
    first = prompts.release.id
    client.put("/prompts/greeting", "user: Rude\n")
    elsewhere.publish()
    rude = elsewhere.release.id
    assert elsewhere["greeting"].user == "Rude"
    told = client.post("/rollback?message=too+rude").json
    assert (told["release"], told["held"]) == (first, True)
    assert told["reach"]["bucket"] == bucket.url
    assert bucket.url in told["reach"]["message"]
    live = bucket.current()
    assert live is not None
    assert (live.release, live.message) == (first, "too rude")
    elsewhere.publish()
    assert elsewhere.release.id == first
    # A poll undoes it nowhere; the earlier one comes back by its id, for everybody.
    assert (prompts.publish().release, elsewhere.publish().status) == (prompts.release, "unchanged")
    client.post(f"/releases/{rude[:12]}/activate")
    elsewhere.publish()
    assert (prompts.release.id, elsewhere.release.id) == (rude, rude)


def test_a_host_that_never_had_the_earlier_release_can_go_back_to_it(
    elsewhere: LivePrompts, bucket: Channel, moto: Shop, tmp_path: Path
) -> None:
    bucket.push(release(greeting="Rude", farewell="Bye"), message="oops", who="bob")
    with LivePrompts(
        moto.url(), environment="test", store=tmp_path / "fresh", watch=False
    ) as fresh:
        assert Client(admin_app(fresh, TOKENS)).post("/rollback").json["status"] == "published"
        assert fresh["greeting"].user == "Hi"
    elsewhere.publish()
    assert elsewhere["greeting"].user == "Hi"


def test_where_the_bucket_cannot_be_written_an_activation_holds_here_and_says_so(
    prompts: LivePrompts, bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(admin_app(prompts, TOKENS))
    first = prompts.release.id
    client.put("/prompts/greeting", "user: Rude\n")

    def denied(*_: Any, **__: Any) -> Any:
        raise LayerUnavailable("Access denied.", layer=bucket.url)

    monkeypatch.setattr(Channel, "rollback", denied)
    answer = client.post(f"/releases/{first}/activate")
    assert (answer.status, answer.json["held"], prompts.release.id) == (200, True, first)
    reach = answer.json["reach"]
    assert (reach["bucket"], reach["trouble"]) == (None, "Access denied.")
    assert "Not beyond: Access denied." in reach["message"]


def test_while_the_bucket_says_nothing_a_roll_back_holds_here_in_time(
    prompts: LivePrompts, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(admin_app(prompts, TOKENS, limits=Limits(work_s=4.0)))
    first = prompts.release.id
    assert client.put("/prompts/greeting", "user: Rude\n").status == 200
    ended = threading.Event()

    def silent(*_: object) -> None:
        ended.wait(30)
        raise LayerUnavailable("Nobody asks any more.", layer="x")

    monkeypatch.setattr(Objects, "get", silent)
    told = client.post("/rollback")
    ended.set()
    assert (told.status, told.json.get("release"), told.json.get("held")) == (200, first, True)
    assert "did not answer within 1 s" in told.json["reach"]["trouble"]
    assert (prompts.release.id, prompts.held) == (first, True)


def test_a_release_of_several_layers_reaches_only_who_shares_the_store(
    moto: Shop, bucket: Channel, tmp_path: Path
) -> None:
    (tmp_path / "over").mkdir()
    (tmp_path / "over/own.yaml").write_text("user: own\n")
    layers = (moto.url(), tmp_path / "over")
    with LivePrompts(*layers, environment="test", store=tmp_path / "s", watch=False) as prompts:
        client = Client(admin_app(prompts, TOKENS))
        first = prompts.release.id
        client.put("/prompts/greeting", "user: Ho\n")
        reach = client.post(f"/releases/{first}/activate").json["reach"]
    assert reach["bucket"] is None
    assert "several layers" in reach["trouble"]


def test_a_write_under_a_hold_says_that_other_readers_of_the_bucket_take_it(
    prompts: LivePrompts, elsewhere: LivePrompts
) -> None:
    client = Client(admin_app(prompts, TOKENS))
    client.post(f"/releases/{prompts.release.id}/activate")
    told = client.put("/prompts/greeting", "user: Ho\n").json
    assert told["status"] == "held"
    assert "Other readers of s3://" in told["message"]
    elsewhere.publish()
    assert (prompts["greeting"].user, elsewhere["greeting"].user) == ("Hi", "Ho")


def test_metrics_count_what_the_bucket_is_asked(prompts: LivePrompts, moto: Shop) -> None:
    client = Client(admin_app(prompts, TOKENS))

    def told(name: str) -> float:
        start = f"yamlgraph_prompts_sync_{name}_total{{"
        lines = client.get("/metrics").text.splitlines()
        (line,) = [line for line in lines if line.startswith(start)]
        assert 'environment="test"' in line
        assert f'layer="{prompts.release.layers[0].url}"' in line
        return float(line.split()[-1])

    requests, received = told("requests"), told("received_bytes")
    assert requests >= 2
    assert received > 0
    client.post("/reload")
    assert told("requests") > requests


def test_loose_files_in_a_bucket_are_only_read(moto: Shop, tmp_path: Path) -> None:
    moto.put("greeting.yaml", "user: Hi\n")
    with LivePrompts(
        moto.url(), environment="test", store=tmp_path / "store", watch=False
    ) as prompts:
        answer = Client(admin_app(prompts, TOKENS)).put("/prompts/greeting", "user: Ho\n")
        assert (answer.status, answer.code) == (403, "read-only")
        assert "Loose files" in answer.json["message"]
        assert (
            moto.client.get_object(Bucket=moto.bucket, Key="prompts/greeting.yaml")["Body"].read()
            == b"user: Hi\n"
        )


def test_a_host_that_never_had_a_removed_prompt_knows_where_its_data_went(
    moto: Shop, prompts: LivePrompts, tmp_path: Path
) -> None:
    operator = Client(admin_app(prompts, TOKENS))
    author = Client(operator.app, role="author")
    sent = "user: Bye\nprovider: openai\n"
    assert operator.put("/prompts/farewell", sent).status == 200
    assert author.delete("/prompts/farewell").status == 200
    with LivePrompts(
        moto.url(), environment="test", store=tmp_path / "elsewhere", watch=False
    ) as elsewhere:
        author = Client(admin_app(elsewhere, TOKENS), role="author")
        assert author.put("/prompts/farewell", "user: Bye\n").code == "destination"
        assert author.put("/prompts/farewell", sent).json["status"] == "published"
        assert author.put("/prompts/fresh", "user: x\n").json["status"] == "published"
