"""A hostile or broken server ends within the bounds, with a clear error, and changes nothing."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.scripted_server import Asked, Handler, ScriptedS3, refused
from tests.security.hostile_answers import (
    FLOODS,
    LIES,
    TRICKLES,
    Hostile,
    Pieces,
    length,
    listing,
    once,
    pack_of_absurd_sizes,
    page,
    silence,
)
from tests.test_s3_source import publish, release
from yamlgraph_prompts import Layer, sources
from yamlgraph_prompts._following.remote import RemoteFollower
from yamlgraph_prompts._model.pack import MAGIC, encode_pack
from yamlgraph_prompts.errors import LayerError, LayerUnavailable
from yamlgraph_prompts.live_prompts import LivePrompts
from yamlgraph_prompts.registry.channel import Channel
from yamlgraph_prompts.sources import Snapshot
from yamlgraph_prompts.sources import reader as fetch
from yamlgraph_prompts.sources.deadline import within
from yamlgraph_prompts.sources.reader import LayerReader
from yamlgraph_prompts.sources.s3 import S3Source
from yamlgraph_prompts.sources.s3.bounds import Bounds
from yamlgraph_prompts.sources.s3.client import Connection, forget
from yamlgraph_prompts.sources.s3.location import Location

BOUNDS = Bounds(seconds=1.5, requests=150, received_bytes=256 << 10, pages=40, patience_s=0.2)
SLACK_S = 6.0  # boto3's pauses, and a machine that runs other things as well
MEMORY_BYTES = 24 << 20
POINTER = "prompts/.releases/production/current"


@dataclass
class End:
    """One kind of request: how it is made, by what, and which requests are answered badly."""

    bounded: Any
    ask: Callable[[], Any]
    hits: Callable[[Asked], bool]


def of_source(source: S3Source, hits: Callable[[Asked], bool]) -> End:
    source.read()
    return End(source._objects, source.read, hits)


def published_source(s3: ScriptedS3, bounds: Bounds = BOUNDS) -> S3Source:
    unpack = fetch._Unpacking()
    return S3Source(s3.url(), channel="production", unpack=unpack, bounds=bounds)


def pushed(s3: ScriptedS3) -> Channel:
    bucket = Channel(s3.url(), environment="production")
    bucket.push(release(a="user: good"), message="good", who="Ada")
    return bucket


def a_pointer(s3: ScriptedS3) -> End:
    publish(s3, release(a="user: good"))
    return of_source(published_source(s3, Bounds()), lambda asked: asked.key == POINTER)


def a_pack(s3: ScriptedS3) -> End:
    publish(s3, release(a="user: good"))
    end = of_source(published_source(s3, Bounds()), lambda asked: asked.key.endswith(".pack"))
    publish(s3, release(a="user: new"), number=2)
    return end


def a_list(s3: ScriptedS3) -> End:
    s3.put(a="user: good")
    return of_source(S3Source(s3.url()), lambda asked: asked.lists)


def an_object(s3: ScriptedS3) -> End:
    s3.put(a="user: good", b="user: good")
    end = of_source(S3Source(s3.url()), lambda asked: asked.key.endswith("a.yaml"))
    s3.put(a="user: new")
    return end


def the_history(s3: ScriptedS3) -> End:
    bucket = pushed(s3)
    return End(bucket.registry, lambda: list(bucket.history()), lambda asked: "/log/" in asked.key)


def a_list_of_the_history(s3: ScriptedS3) -> End:
    bucket = pushed(s3)
    return End(bucket.registry, lambda: list(bucket.history()), lambda asked: asked.lists)


def a_push(s3: ScriptedS3) -> End:
    bucket, new = pushed(s3), release(a="user: new")

    def ask() -> object:
        return bucket.push(new, message="new", who="Ada")

    return End(bucket.registry, ask, lambda asked: asked.method == "PUT")


Maker = Callable[[ScriptedS3], End]
ENDS: tuple[Maker, ...] = (a_pointer, a_pack, a_list, an_object, the_history, a_push)


def named(maker: Maker) -> str:
    return maker.__name__.replace("_", " ")


def ours() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name.startswith("yamlgraph-prompts")}


@pytest.fixture(autouse=True)
def leaves_nothing_behind(s3: ScriptedS3) -> Iterator[None]:
    """No thread that asks, and no answer that a client still listens to."""
    before = ours()
    yield
    if isinstance(s3.fault, Hostile):
        hostile = s3.fault
        wait_until(lambda: hostile.busy == 0)
    wait_until(lambda: not ours() - before)


def problem_of(
    s3: ScriptedS3, end: End, hostile: Hostile, bounds: Bounds = BOUNDS
) -> LayerError | None:
    """What a hostile answer leads to: in time, in little memory, and the next answer is taken."""
    s3.fault, end.bounded.bounds = hostile, bounds
    tracemalloc.start()
    began_s = time.monotonic()
    problem: LayerError | None = None
    try:
        end.ask()
    except LayerError as caught:
        problem = caught
    finally:
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.monotonic() - began_s < bounds.seconds + SLACK_S
    assert peak_bytes < MEMORY_BYTES
    assert hostile.asked
    wait_until(lambda: hostile.busy == 0)
    s3.fault, end.bounded.bounds = None, Bounds()
    end.ask()
    return problem


def refused_clearly(s3: ScriptedS3, end: End, hostile: Hostile, bounds: Bounds = BOUNDS) -> str:
    """The error's text; it says where and what to do."""
    problem = problem_of(s3, end, hostile, bounds)
    assert isinstance(problem, LayerUnavailable)
    text = str(problem)
    assert "s3://acme/prompts/" in text
    assert problem.hint
    assert len(text) < 1_000
    assert text.isprintable()
    return text


# One exchange


SOME_FLOODS = (
    "100 Continue without end",
    "headers without end",
    "chunk extensions without end",
    "trailers without end",
    "a body of a petabyte",
    "an error's body without end",
)


@pytest.mark.parametrize(
    ("maker", "flood"),
    [
        *itertools.product((a_list, the_history), FLOODS),
        *itertools.product((a_pointer, a_pack, an_object, a_push), SOME_FLOODS),
    ],
    ids=lambda value: value if isinstance(value, str) else named(value),
)
def test_an_answer_without_end_is_refused(s3: ScriptedS3, maker: Maker, flood: str) -> None:
    end = maker(s3)
    refused_clearly(s3, end, Hostile(lambda asked: FLOODS[flood](), end.hits))


@pytest.mark.parametrize("flood", SOME_FLOODS)
@pytest.mark.parametrize("maker", [a_list, an_object], ids=named)
def test_an_answer_without_end_is_refused_through_boto3_too(
    s3: ScriptedS3, maker: Maker, flood: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "signed", lambda *_: None)
    end = maker(s3)
    refused_clearly(s3, end, Hostile(lambda asked: FLOODS[flood](), end.hits))


@pytest.mark.parametrize("slow", TRICKLES)
@pytest.mark.parametrize("maker", [an_object, the_history], ids=named)
def test_an_answer_that_trickles_is_given_up(s3: ScriptedS3, maker: Maker, slow: str) -> None:
    end = maker(s3)
    text = refused_clearly(s3, end, Hostile(lambda asked: TRICKLES[slow](), end.hits))
    assert "bytes a second for longer than" in text


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("maker", [an_object, the_history], ids=named)
def test_an_answer_that_is_none_is_an_error(s3: ScriptedS3, maker: Maker, lie: str) -> None:
    end = maker(s3)
    refused_clearly(s3, end, Hostile(lambda asked: LIES[lie](), end.hits))


@pytest.mark.parametrize("status", [429, 500, 503, 301, 307, 400, 403])
def test_a_server_that_always_refuses_is_asked_a_few_times(s3: ScriptedS3, status: int) -> None:
    end = a_list(s3)
    body = b"<Error><Code>Odd</Code><Message>\x9b31m\nforged</Message></Error>"
    answer = b"HTTP/1.1 %d No\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
    hostile = Hostile(lambda asked: once(answer))
    refused_clearly(s3, end, hostile)
    assert hostile.asked <= 14


# Lists


PAGES: dict[str, tuple[Callable[[int], str | bytes], str]] = {
    "empty pages with a token each": (lambda at: listing(token=f"t{at}"), "nothing new"),
    "empty pages with one token": (lambda at: listing(token="t"), "nothing new"),
    "empty pages whose tokens go round": (lambda at: listing(token=f"t{at % 5}"), "nothing new"),
    "the same page with a token each": (
        lambda at: listing("prompts/a.yaml", token=f"t{at}"),
        "nothing new",
    ),
    "pages that go round": (
        lambda at: listing(f"prompts/{at % 3}.yaml", token=f"t{at}"),
        "nothing new",
    ),
    "new keys with one token": (lambda at: listing(f"prompts/{at}", token="t"), "nothing new"),
    "more pages than any bucket has": (
        lambda at: listing(f"prompts/{at}", token=f"t{at}"),
        "more than 40 pages",
    ),
    "no token for the next page": (
        lambda at: listing("prompts/a.yaml", token=""),
        "list is cut off",
    ),
    "a key of 200,000 letters": (lambda at: listing("prompts/" + "k" * 200_000), "list"),
    "a key of 1,025 letters": (lambda at: listing("k" * 1_025), "list"),
    "a token of 100,000 letters": (lambda at: listing("a", token="t" * 100_000), "list"),
    "an ETag of 100,000 letters": (lambda at: listing("a", etag="e" * 100_000), "list"),
    "a negative size": (lambda at: listing("prompts/a.yaml", size=-1), "list"),
    "a size of a yottabyte": (lambda at: listing("prompts/a.yaml", size=10**24), "list"),
    "a size of 5,000 digits": (lambda at: listing("prompts/a.yaml", size="9" * 5_000), "."),
    "entities": (
        lambda at: (
            '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
            "<ListBucketResult><IsTruncated>false</IsTruncated>&b;</ListBucketResult>"
        ),
        "XML has entities",
    ),
    "entities in another encoding": (
        lambda at: (
            '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">]>'
            "<ListBucketResult>&a;</ListBucketResult>"
        ).encode("utf-16"),
        ".",
    ),
    "a long namespace in 10,000 elements": (
        lambda at: (
            f'<ListBucketResult xmlns="{"n" * 60_000}">'
            + "".join(f"<e{number}/>" for number in range(10_000))
            + "</ListBucketResult>"
        ),
        "long attributes",
    ),
    "an element with 30,000 attributes": (
        lambda at: "<ListBucketResult " + "".join(f'a{n}="" ' for n in range(110_000)) + "/>",
        "too many elements",
    ),
    "200,000 elements": (
        lambda at: "<ListBucketResult>" + "<a/>" * 200_000 + "</ListBucketResult>",
        "too many elements",
    ),
    "elements 60,000 deep": (
        lambda at: "<a>" * 60_000 + "</a>" * 60_000,
        "too many elements",
    ),
    "elements 40,000 deep": (lambda at: "<a>" * 40_000 + "</a>" * 40_000, "."),
    "one element of 3 MiB": (
        lambda at: f"<ListBucketResult><a>{'x' * (3 << 20)}</a>",
        ".",
    ),
    "JSON": (lambda at: "[" * 100_000, "."),
    "a web page": (lambda at: "<!doctype html><html><body>Log in</body></html>", "."),
}


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("maker", [a_list, a_list_of_the_history], ids=named)
def test_a_list_that_is_none_is_refused(s3: ScriptedS3, maker: Maker, kind: str) -> None:
    end = maker(s3)
    made, words = PAGES[kind]
    answers = itertools.chain([page(made(0))], (page(made(at)) for at in itertools.count(1)))
    first = next(answers)
    hostile = Hostile(lambda asked: once(first if hostile.asked == 0 else next(answers)), end.hits)
    bounds = replace(BOUNDS, seconds=20.0, received_bytes=32 << 20, patience_s=5.0)
    text = refused_clearly(s3, end, hostile, bounds)
    assert re.search(words, text)
    assert hostile.asked <= 42


# The whole of an operation, and what comes after it


def test_all_requests_of_one_read_end_together(s3: ScriptedS3) -> None:
    s3.put(**{f"p{number:03}": "user: x" for number in range(100)})
    source = S3Source(s3.url(), bounds=replace(BOUNDS, seconds=0.5, patience_s=5.0))
    s3.fault = Hostile(lambda asked: silence(length(7)), lambda asked: not asked.lists)
    began_s = time.monotonic()
    with pytest.raises(LayerUnavailable, match=r"longer than 0\.5 s in all"):
        source.read()
    assert time.monotonic() - began_s < 0.5 + SLACK_S


def test_all_bytes_of_one_read_count_together(s3: ScriptedS3) -> None:
    s3.objects |= {f"prompts/p{number:03}.yaml": b"x" * 10_000 for number in range(100)}
    source = S3Source(s3.url(), bounds=replace(BOUNDS, seconds=20.0, patience_s=5.0))
    with pytest.raises(LayerUnavailable, match="more than 262,144 bytes in all"):
        source.read()


def test_all_requests_of_one_read_are_counted_together(s3: ScriptedS3) -> None:
    s3.put(**{f"p{number:03}": "user: x" for number in range(100)})
    source = S3Source(s3.url(), bounds=Bounds(requests=50))
    with pytest.raises(LayerUnavailable, match="more than 50 requests"):
        source.read()
    assert len(s3.fetched()) <= 50


def test_files_that_change_with_each_list_leave_no_memory_behind(s3: ScriptedS3) -> None:
    source = S3Source(s3.url())
    for turn in range(8):
        s3.objects = {f"prompts/{turn}-{at}.yaml": b"x" * 100_000 for at in range(10)}
        s3.objects[f"prompts/{turn}.yaml"] = b"x"
        s3.fault = lambda handler, asked: (
            asked.key.count("-") == 0 and not asked.lists and refused(403, "No")(handler, asked)
        )
        with pytest.raises(LayerUnavailable):
            source.read()
    assert sum(map(len, source._loose._data.values())) <= 1_000_001


def test_a_poll_of_a_server_that_is_good_and_bad_in_turn_backs_off_and_piles_up_nothing(
    s3: ScriptedS3,
) -> None:
    publish(s3, release(a="user: good"))
    reader = LayerReader(Layer(s3.url()), "production", None, refresh_s=0.01)
    reader._source = published_source(s3, replace(BOUNDS, seconds=5.0))
    reader._source.refresh_s = 0.01
    reader.read()
    before, looks, troubles = ours(), 0, []
    hostile = Hostile(lambda asked: FLOODS["trailers without end"]())

    def in_turn(handler: Handler, asked: Asked) -> bool:
        nonlocal looks
        looks += 1
        return looks % 2 == 0 and hostile(handler, asked)

    s3.fault = in_turn
    poller = RemoteFollower(reader, lambda _: None, troubles.append, lambda: None)
    poller.start()
    wait_until(lambda: looks >= 12)
    assert len(ours() - before) <= 2
    poller.close()
    wait_until(lambda: not ours() - before and hostile.busy == 0)
    assert troubles


def test_sources_that_hang_for_good_are_opened_anew_only_a_few_times(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "BUSY_S", 0.01)
    monkeypatch.setattr(fetch, "GIVE_UP_S", 0.0)
    ended = threading.Event()
    opened: list[object] = []

    class Hanging(S3Source):
        def __init__(self) -> None:
            super().__init__(s3.url())
            opened.append(self)

        def read(self) -> Snapshot:
            ended.wait(30)
            return Snapshot.of({})

    monkeypatch.setattr(sources, "open_source", lambda *_, **__: Hanging())
    reader = LayerReader(Layer(s3.url()), "x", None)
    for _ in range(20):
        with pytest.raises(LayerUnavailable):
            within(0.05, reader.read, reader.url)
    assert len(opened) <= 1 + fetch.MAX_HANGING
    assert len([one for one in ours() if one.name == "yamlgraph-prompts-ask"]) <= 5
    ended.set()


LIVE = {
    "100 Continue without end": FLOODS["100 Continue without end"],
    "trailers without end": FLOODS["trailers without end"],
    "chunk extensions without end": FLOODS["chunk extensions without end"],
    "a body, bit by bit": TRICKLES["a body, bit by bit"],
    "a pointer to what is not there": lambda: once(
        page(json.dumps({"release": "0" * 64, "number": 9}))
    ),
    "a pointer with a number of 4,000 digits": lambda: once(
        page('{"release": "' + "0" * 64 + '", "number": ' + "9" * 4_000 + "}")
    ),
    "a pointer 30,000 deep": lambda: once(page("[" * 30_000)),
    "a pointer that is a list": lambda: once(page("[]")),
    "a web page": lambda: once(page("<html>Log in</html>")),
}


@pytest.mark.parametrize("kind", LIVE)
@pytest.mark.parametrize("hit", [POINTER, ".pack"], ids=["pointer", "pack"])
def test_the_last_good_release_stays_live(
    s3: ScriptedS3, kind: str, hit: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = published_source(s3, Bounds())
    monkeypatch.setattr(sources, "open_source", lambda *_, **__: source)
    publish(s3, release(a="user: good"))
    with LivePrompts(s3.url(), environment="production", store=tmp_path, watch=False) as prompts:
        publish(s3, release(a="user: new"), number=2)
        source._objects.bounds = BOUNDS
        s3.fault = Hostile(lambda asked: LIVE[kind](), lambda asked: asked.key.endswith(hit))
        assert prompts.publish().status == "rejected"
        assert prompts["a"].user == "good"
        assert prompts.health.layers[0].trouble
        source._objects.bounds, s3.fault = Bounds(), None
        prompts.publish()
        assert prompts["a"].user == "new"


PACKS = {
    "nothing": b"",
    "a head of 4 GiB": pack_of_absurd_sizes(0xFFFFFFFF, MAGIC),
    "a head of nothing": pack_of_absurd_sizes(0, MAGIC),
    "another release": encode_pack(release(a="user: other")),
    "zeros": bytes(100_000),
}


@pytest.mark.parametrize("kind", PACKS)
def test_a_pack_that_is_not_what_its_name_says_is_refused(s3: ScriptedS3, kind: str) -> None:
    end = a_pack(s3)
    hostile = Hostile(lambda asked: once(page(PACKS[kind])), end.hits)
    assert "not what its name says" in refused_clearly(s3, end, hostile)


# Writing


EXPECTED: dict[str, Callable[[], Pieces]] = {
    "100 Continue without end": FLOODS["100 Continue without end"],
    "one 100 Continue of endless headers": FLOODS["one 100 Continue of endless headers"],
    "100 Continue, and then nothing": lambda: once(b"HTTP/1.1 100 Continue\r\n"),
    "a header line without end": FLOODS["a header line without end"],
    "a word that is no status": lambda: once(b"?" * 1_000),
    "silence": silence,
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_push_whose_body_is_never_asked_for_ends(s3: ScriptedS3, kind: str) -> None:
    end = a_push(s3)
    hostile = Hostile(lambda asked: (), lambda asked: False)
    end.bounded.bounds = replace(BOUNDS, seconds=2.0)
    s3.expected = lambda handler: hostile.write(handler, EXPECTED[kind]())
    began_s = time.monotonic()
    with pytest.raises(LayerUnavailable, match=r"s3://acme/prompts/"):
        end.ask()
    assert time.monotonic() - began_s < 2.0 + SLACK_S
    wait_until(lambda: hostile.busy == 0)
    s3.expected, end.bounded.bounds = None, Bounds()
    end.ask()


def test_a_name_that_is_always_being_written_ends_a_push(s3: ScriptedS3) -> None:
    end = a_push(s3)
    answer = b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n"
    hostile = Hostile(lambda asked: once(answer), end.hits)
    refused_clearly(s3, end, hostile, replace(BOUNDS, seconds=20.0, patience_s=5.0))
    assert hostile.asked <= 20


def test_a_history_without_a_beginning_ends(s3: ScriptedS3) -> None:
    bucket = pushed(s3)
    first = json.loads(s3.objects["prompts/.releases/production/log/00000000000000000001.json"])

    def entry(asked: Asked) -> Pieces:
        number = int(asked.key[-25:-5])
        return once(page(json.dumps({**first, "number": number})))

    last = "prompts/.releases/production/log/99999999999999999998.json"
    s3.objects[last] = b""
    bucket.registry.bounds = Bounds(requests=100)
    s3.fault = Hostile(entry, lambda asked: "/log/" in asked.key)
    with pytest.raises(LayerUnavailable, match="more than 100 requests"):
        list(bucket.history())


# Credentials


CREDENTIALS = {
    **{name: FLOODS[name] for name in SOME_FLOODS},
    "headers, bit by bit": TRICKLES["headers, bit by bit"],
}


@pytest.mark.parametrize("kind", CREDENTIALS)
@pytest.mark.parametrize("where", ["the machine's role", "the container's role", "a web identity"])
def test_a_hostile_source_of_credentials_ends(
    s3: ScriptedS3, where: str, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    if where == "the machine's role":
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", s3.endpoint)
    elif where == "the container's role":
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{s3.endpoint}/acme/x")
    else:
        (tmp_path / "token").write_text("a-token")
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reads")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"{s3.endpoint}/acme/")
    s3.fault = hostile = Hostile(lambda asked: CREDENTIALS[kind]())
    # Clients are made meanwhile, within the same bounds.
    bounds = replace(BOUNDS, seconds=6.0)
    source = S3Source(s3.url(), bounds=bounds)
    began_s = time.monotonic()
    try:
        with pytest.raises(LayerUnavailable, match=r"s3://acme/prompts/"):
            source.read()
    finally:
        forget(Location.parse(s3.url()))
    assert time.monotonic() - began_s < bounds.seconds + SLACK_S
    assert 0 < hostile.asked <= 12
