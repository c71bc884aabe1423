"""Published releases in a bucket: who wins, what a killed pusher leaves, what is never believed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.s3_servers import Shop
from tests.scripted_server import Asked, Handler, ScriptedS3, cut_in_its_head
from yamlgraph_prompts._model.entry import Entry
from yamlgraph_prompts._model.pack import decode_pack
from yamlgraph_prompts._model.release import Prompt, Release
from yamlgraph_prompts.errors import (
    InvalidEnvironment,
    LayerUnavailable,
    PromptsError,
    PushRefused,
    ReleaseNotFound,
    StoreCorrupted,
)
from yamlgraph_prompts.registry.channel import Channel, Pushed
from yamlgraph_prompts.registry.s3 import S3Registry
from yamlgraph_prompts.registry.s3_log import S3Log
from yamlgraph_prompts.sources import open_source
from yamlgraph_prompts.sources.s3 import S3Source
from yamlgraph_prompts.sources.s3.client import connection
from yamlgraph_prompts.sources.s3.location import Location
from yamlgraph_prompts.sources.s3.objects import Objects


def release(text: str, **others: str) -> Release:
    texts = {"greeting": text, "farewell": "Bye", **others}
    return Release.of(Prompt(name, f"user: {said}\n".encode()) for name, said in texts.items())


def push(bucket: Channel, text: str, **kwargs: Any) -> Pushed:
    return bucket.push(release(text), message=f"say {text}", who="Ada", **kwargs)


def unpacked(data: bytes, release_id: str) -> dict[str, bytes]:
    made = decode_pack(data, release_id, "the bucket")
    return {name: prompt.data for name, prompt in made.prompts.items()}


def log_of(bucket: Channel) -> S3Log:
    return registry_of(bucket)._log(bucket.environment)


def objects_of(bucket: Channel) -> Objects:
    return registry_of(bucket)._objects


def registry_of(bucket: Channel) -> S3Registry:
    assert isinstance(bucket.registry, S3Registry)
    return bucket.registry


class Shelf:
    """The raw objects below a URL, past everything that is tested."""

    def __init__(self, url: str) -> None:
        place = Location.parse(url)
        self._at = {"Bucket": place.bucket}
        self._prefix = f"{place.prefix}.releases/"
        self._client = connection(place).client

    def keys(self) -> list[str]:
        page = self._client.list_objects_v2(**self._at, Prefix=self._prefix)
        return [found["Key"].removeprefix(self._prefix) for found in page.get("Contents", ())]

    def get(self, key: str) -> bytes:
        data: bytes = self._client.get_object(**self._at, Key=self._prefix + key)["Body"].read()
        return data

    def put(self, key: str, data: bytes) -> None:
        self._client.put_object(**self._at, Key=self._prefix + key, Body=data)

    def delete(self, key: str) -> None:
        self._client.delete_object(**self._at, Key=self._prefix + key)


@pytest.fixture
def url(moto: Shop, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", moto.endpoint)
    return f"s3://{moto.bucket}/app"


@pytest.fixture
def careless(rclone: Shop) -> str:
    """Below a bucket whose server ignores conditions."""
    return rclone.url("app")


@pytest.fixture
def bucket(url: str) -> Channel:
    return Channel(url, environment="production")


@pytest.fixture
def shelf(url: str) -> Shelf:
    return Shelf(url)


# What is where


def test_a_push_writes_one_pack_one_log_entry_and_the_hint(bucket: Channel, shelf: Shelf) -> None:
    made = release("Hi")
    pushed = bucket.push(made, message=" A kinder greeting ", who="Ada")
    log = "production/log/00000000000000000001.json"
    assert set(shelf.keys()) == {
        f"packs/{made.id}.pack",
        log,
        "production/current",
        "production/probe",
    }
    assert decode_pack(shelf.get(f"packs/{made.id}.pack"), made.id, "there").id == made.id
    entry = json.loads(shelf.get(log))
    assert entry.pop("at_s") == pytest.approx(time.time(), abs=60)
    assert entry.pop("push")
    assert entry == {
        "number": 1,
        "release": made.id,
        "previous": None,
        "who": "Ada",
        "message": "A kinder greeting",
        "why": "push",
        "prompts": 2,
    }
    hint = json.loads(shelf.get("production/current"))
    assert (hint["number"], hint["release"]) == (1, made.id)
    assert hint["at_s"] == pushed.entry.at_s


def test_the_history_tells_newest_first_who_did_what_and_why(bucket: Channel) -> None:
    first, second = push(bucket, "a"), push(bucket, "b")
    bucket.rollback(message="b was rude", who="Grace")
    told = [(e.number, e.who, e.why, e.message) for e in list(bucket.history())]
    assert told == [
        (3, "Grace", "rollback", "b was rude"),
        (2, "Ada", "push", "say b"),
        (1, "Ada", "push", "say a"),
    ]
    assert [e.release for e in islice(bucket.history(), 2)] == [
        first.entry.release,
        second.entry.release,
    ]
    assert second.before == first.entry
    assert second.entry.previous == first.entry.release


def test_what_was_pushed_comes_back_byte_for_byte(bucket: Channel) -> None:
    made = release("Grüße", **{"a/b/c": "{x}"})
    bucket.push(made, message="m", who="w")
    back = bucket.get(bucket.find(made.id[:8]))
    assert {name: p.data for name, p in back.prompts.items()} == {
        name: p.data for name, p in made.prompts.items()
    }


def test_pushing_what_is_live_already_adds_nothing_to_the_history(bucket: Channel) -> None:
    assert push(bucket, "a").published
    again = push(bucket, "a")
    assert not again.published
    assert not again.repaired
    assert [e.number for e in list(bucket.history())] == [1]


def test_environments_have_histories_of_their_own_and_share_the_packs(
    url: str, shelf: Shelf
) -> None:
    for name in ("staging", "production"):
        push(Channel(url, environment=name), "a")
    assert [Channel(url, environment=n).current().number for n in ("staging", "production")] == [
        1,
        1,
    ]  # type: ignore[union-attr]
    assert len([key for key in shelf.keys() if key.startswith("packs/")]) == 1  # noqa: SIM118


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_an_environment_with_an_impossible_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidEnvironment):
        Channel("s3://acme/app", environment=name)


@pytest.mark.parametrize(
    ("message", "who"), [("", "Ada"), (" \n", "Ada"), ("m", ""), ("x" * 4001, "Ada")]
)
def test_a_push_needs_a_message_and_somebody(bucket: Channel, message: str, who: str) -> None:
    with pytest.raises(PromptsError, match=r"A push needs a (message|who)"):
        bucket.push(release("a"), message=message, who=who)
    assert bucket.current() is None


@pytest.mark.parametrize("name", ["../up", "/root", "a//b", "a\\b", "a\nb", "Greeting"])
def test_a_name_that_readers_would_refuse_is_not_pushed(bucket: Channel, name: str) -> None:
    with pytest.raises(PromptsError, match="cannot be the name of a file"):
        bucket.push(release("a", **{name: "x"}), message="m", who="w")
    assert bucket.current() is None


@pytest.mark.parametrize(
    ("name", "text"),
    [("vars", "x"), ("a/vars.production", "x"), ("flow", "x\nnodes: {}\nedges: []")],
)
def test_what_readers_would_not_take_for_a_prompt_is_not_pushed(
    bucket: Channel, name: str, text: str
) -> None:
    with pytest.raises(PromptsError, match=f"'{name}.yaml'") as caught:
        bucket.push(release("a", **{name: text}), message="m", who="w")
    assert "greeting" not in str(caught.value)
    assert bucket.current() is None


# Several pushers


def test_who_pushes_on_something_outdated_is_told_who_was_first_and_what_changed(
    bucket: Channel,
) -> None:
    seen = push(bucket, "a").entry
    bucket.push(release("b", extra="new"), message="hurry", who="Grace")
    with pytest.raises(PushRefused) as caught:
        push(bucket, "c", after=seen)
    assert caught.value.winner == bucket.current()
    assert caught.value.changed == ("extra", "greeting")
    assert "Grace was first" in str(caught.value)
    assert "'hurry'" in str(caught.value)
    assert "extra, greeting" in str(caught.value)


def test_who_saw_nothing_and_is_not_the_first_any_more_is_told(bucket: Channel) -> None:
    bucket.push(release("b"), message="hurry", who="Grace")
    with pytest.raises(PushRefused, match="Grace was first") as caught:
        push(bucket, "c", after=None)
    assert caught.value.changed == ("farewell", "greeting")


def test_the_loser_of_a_race_for_one_number_publishes_nothing(
    bucket: Channel, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(bucket, "a")
    rival = Channel(url, environment="production")
    put = bucket.registry.put

    def overtaken(made: Release) -> bool:
        push(rival, "rival")
        return put(made)

    monkeypatch.setattr(bucket.registry, "put", overtaken)
    with pytest.raises(PushRefused) as caught:
        push(bucket, "mine")
    assert caught.value.changed == ("greeting",)
    live = bucket.current()
    assert live is not None
    assert (live.number, live.release) == (2, release("rival").id)
    assert not bucket.behind()


def test_losing_to_somebody_with_the_same_release_is_no_loss(
    bucket: Channel, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = Channel(url, environment="production")
    monkeypatch.setattr(bucket.registry, "put", lambda made: push(rival, "same"))
    pushed = push(bucket, "same")
    assert not pushed.published
    assert [e.number for e in list(bucket.history())] == [1]


def test_sixteen_racing_pushers_each_win_one_number_or_are_told(url: str) -> None:
    won: list[Entry] = []
    told: list[PushRefused] = []

    def work(number: int) -> None:
        mine = Channel(url, environment="production")
        for _ in range(16):
            try:
                won.append(push(mine, f"by {number}").entry)
                return
            except PushRefused as problem:
                told.append(problem)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    log = list(Channel(url, environment="production").history())
    assert [e.number for e in log] == list(range(16, 0, -1))
    assert sorted(log, key=lambda e: e.number) == sorted(won, key=lambda e: e.number)
    assert [e.previous for e in log] == [*(e.release for e in log[1:]), None]
    assert told, "nobody raced"
    assert all(problem.winner in log for problem in told)
    assert not Channel(url, environment="production").behind()


def test_racing_processes_win_no_number_twice(url: str) -> None:
    code = (
        "import sys\n"
        "from yamlgraph_prompts.registry.channel import Channel\n"
        "from yamlgraph_prompts.errors import PushRefused\n"
        "from yamlgraph_prompts._model.release import Prompt, Release\n"
        "made = Release.of([Prompt('greeting', sys.argv[2].encode())])\n"
        "b = Channel(sys.argv[1], environment='production')\n"
        "b.current(), sys.stdin.readline()\n"
        "try: print(b.push(made, message='m', who='w').entry.number)\n"
        "except PushRefused: print('told')\n"
    )
    pushers = [
        subprocess.Popen(
            [sys.executable, "-c", code, url, f"by {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(3)
    ]
    answers = []
    for pusher in pushers:
        assert pusher.stdin is not None
        pusher.stdin.write("go\n")
        pusher.stdin.flush()
    for pusher in pushers:
        answers.append(pusher.communicate(timeout=60)[0].strip())
    numbers = sorted(int(answer) for answer in answers if answer != "told")
    assert len(answers) == 3
    assert all(answers)
    assert numbers == list(range(1, len(numbers) + 1))
    assert [e.number for e in list(Channel(url, environment="production").history())] == numbers[
        ::-1
    ]


def test_who_is_overwritten_by_a_server_that_lets_two_win_is_told(
    bucket: Channel, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = push(bucket, "a").entry
    mine, real = release("mine"), S3Log.append
    rival = bucket.push(release("rival"), message="hurry", who="Grace").entry
    shelf.put("production/current", json.dumps(before.facts()).encode())
    overwritten = shelf.get("production/log/00000000000000000002.json")
    shelf.delete("production/log/00000000000000000002.json")

    def both(self: S3Log, entry: Entry, *, conditional: bool) -> bool:
        won = real(self, entry, conditional=conditional)
        shelf.put("production/log/00000000000000000002.json", overwritten)
        return won

    monkeypatch.setattr(S3Log, "append", both)
    with pytest.raises(PushRefused, match="Grace was first") as caught:
        bucket.push(mine, message="m", who="Ada")
    assert caught.value.winner == rival
    assert log_of(bucket).pointed() == (2, rival.release)


def test_an_answer_that_got_lost_is_not_taken_for_another_pusher(
    bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = Objects._put

    def twice(self: Objects, key: str, data: bytes, **condition: str) -> None:
        once(self, key, data, **condition)
        if "/log/" in key:
            once(self, key, data, **condition)

    monkeypatch.setattr(Objects, "_put", twice)
    assert push(bucket, "a").published
    assert [e.number for e in list(bucket.history())] == [1]


def test_a_push_whose_end_is_not_known_says_how_to_find_out(
    bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ReadTimeoutError

    once = Objects._put

    def deaf(self: Objects, key: str, data: bytes, **condition: str) -> None:
        once(self, key, data, **condition)
        if "/log/" in key:
            raise ReadTimeoutError(endpoint_url="http://there")

    monkeypatch.setattr(Objects, "_put", deaf)
    with pytest.raises(LayerUnavailable, match=r"not known.*yamlgraph-prompts releases s3://"):
        push(bucket, "a")
    monkeypatch.undo()


def test_a_push_that_is_cut_off_after_its_entry_was_written_says_how_to_find_out(
    bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise LayerUnavailable("The connection was cut.", layer="x", hint="Try again.")

    monkeypatch.setattr(S3Log, "point", cut)
    with pytest.raises(LayerUnavailable, match=r"not known.*yamlgraph-prompts releases s3://"):
        push(bucket, "a")
    assert bucket.current() is not None


# The hint


def test_a_hint_that_a_slow_pusher_moved_back_is_moved_on_again(
    bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = push(bucket, "a").entry, push(bucket, "b").entry
    real, answers = S3Log.pointed, iter([(0, "")])
    # It looked before the other one wrote, and writes afterwards.
    monkeypatch.setattr(S3Log, "pointed", lambda self: next(answers, None) or real(self))
    written: list[bytes] = []
    put = Objects.put
    monkeypatch.setattr(
        Objects, "put", lambda self, key, data: (written.append(data), put(self, key, data))[1]
    )
    log_of(bucket).point(first)
    assert [json.loads(data)["number"] for data in written] == [1, 2]
    assert real(log_of(bucket)) == (2, second.release)


def test_a_slow_pusher_does_not_move_the_hint_back_where_it_sees_it_further_on(
    bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = push(bucket, "a").entry, push(bucket, "b").entry
    written: list[str] = []
    monkeypatch.setattr(Objects, "put", lambda self, key, data: written.append(key))
    log_of(bucket).point(first)
    assert not written
    assert log_of(bucket).pointed() == (2, second.release)


@pytest.mark.parametrize(
    "hint",
    [
        None,
        b"",
        b"no json",
        b"[1]",
        b'{"number": 1}',
        b'{"number": 99, "release": "x", "at_s": 0}',
        b'{"number": -1, "release": "x", "at_s": 0}',
        b'{"number": 1' + b"0" * 40 + b', "release": "x"}',
    ],
)
def test_the_log_counts_whatever_the_hint_says(
    bucket: Channel, shelf: Shelf, hint: bytes | None
) -> None:
    push(bucket, "a")
    live = push(bucket, "b").entry
    shelf.delete("production/current")
    if hint is not None:
        shelf.put("production/current", hint)
    assert bucket.current() == live
    assert bucket.behind()
    assert bucket.repair()
    assert not bucket.behind()
    assert not bucket.repair()
    assert push(bucket, "c").entry.number == 3


def test_foreign_objects_in_the_log_are_not_counted(bucket: Channel, shelf: Shelf) -> None:
    push(bucket, "a")
    for key in ("notes.txt", "7.json", "00000000000000000009.json.bak", ""):
        shelf.put(f"production/log/{key}", b"?")
    assert push(bucket, "b").entry.number == 2


@pytest.mark.parametrize("entry", [b"", b"{}", b"[]", b'{"number": 2}', b"[" * 5000])
def test_an_entry_that_is_none_of_ours_stops_a_push_by_name(
    bucket: Channel, shelf: Shelf, entry: bytes
) -> None:
    push(bucket, "a")
    shelf.put("production/log/00000000000000000002.json", entry)
    with pytest.raises(LayerUnavailable, match=r"log/0{19}2\.json is no entry"):
        push(bucket, "b")
    assert log_of(bucket).pointed()[0] == 1


def test_an_entry_that_is_too_large_is_not_read(bucket: Channel, shelf: Shelf) -> None:
    shelf.put("production/log/00000000000000000001.json", b" " * 100_000)
    with pytest.raises(LayerUnavailable, match="larger than it may be"):
        bucket.current()


def test_a_log_of_several_pages_is_found_to_its_end(s3: ScriptedS3) -> None:
    bucket = Channel(s3.url(), environment="production")
    push(bucket, "a")
    log = "prompts/.releases/production/log/"
    entry = json.loads(s3.objects[f"{log}{1:020d}.json"])
    del s3.objects["prompts/.releases/production/current"]
    for number in (*range(990, 1004), *range(2, 12)):
        s3.objects[f"{log}{number:020d}.json"] = json.dumps({**entry, "number": number}).encode()
    s3.page_size = 5
    s3.fetched()
    live = bucket.current()
    assert live is not None
    assert live.number == 1003
    assert s3.fetched().count("") == 5


# Killed


class Killed(BaseException):
    """Nothing that any `except Exception` catches."""


@contextmanager
def killed_after(call_number: int) -> Iterator[list[str]]:
    """The pusher dies when this call of S3 has been answered, which is before the next one."""
    made: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(Objects, name)

        def call(self: Objects, *args: Any, **kwargs: Any) -> Any:
            made.append(f"{name} {args[0]}")
            result = real(self, *args, **kwargs)
            if len(made) == call_number:
                raise Killed
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("get", "put", "put_new", "keys"):
            patch.setattr(Objects, name, counted(name))
        with suppress(Killed):
            yield made


CALLS_OF_A_PUSH = [
    "get production/current",
    "get production/log/00000000000000000001.json",
    "keys production/log/",
    "put_new packs/",
    "put_new production/probe",
    "put_new production/log/00000000000000000002.json",
    "get production/current",
    "put production/current",
    "keys production/log/",
    "get production/log/00000000000000000002.json",
]


def test_a_push_makes_these_calls_in_this_order(bucket: Channel) -> None:
    push(bucket, "old")
    with killed_after(0) as calls:
        push(bucket, "new")
    assert [call[: len(known)] for call, known in zip(calls, CALLS_OF_A_PUSH, strict=True)] == (
        CALLS_OF_A_PUSH
    )


@pytest.mark.parametrize("call_number", range(1, len(CALLS_OF_A_PUSH) + 1))
def test_killed_between_any_two_calls_it_leaves_the_old_or_the_new_and_the_next_push_repairs(
    bucket: Channel, call_number: int
) -> None:
    old, new = push(bucket, "old").entry.release, release("new").id
    with killed_after(call_number) as calls:
        push(bucket, "new")
    assert len(calls) == call_number
    live = bucket.current()
    assert live is not None
    assert live.release == (new if call_number >= 6 else old)
    number, seen = log_of(bucket).pointed()
    assert seen == (new if call_number >= 8 else old)
    assert bucket.get(seen).id == seen
    behind = bucket.behind()
    assert behind == (number < live.number)
    again = push(bucket, "new")
    assert (again.entry.number, again.entry.release) == (2, new)
    assert again.repaired == behind
    assert not bucket.behind()
    assert [e.number for e in list(bucket.history())] == [2, 1]


@pytest.mark.parametrize("call_number", [6, 7])
def test_another_pusher_repairs_what_a_killed_one_left_too(
    bucket: Channel, call_number: int
) -> None:
    push(bucket, "old")
    with killed_after(call_number):
        push(bucket, "new")
    assert bucket.behind()
    assert push(bucket, "third").entry.number == 3
    assert log_of(bucket).pointed() == (3, release("third").id)


def test_a_pusher_that_is_really_killed_leaves_the_old_or_the_new(
    bucket: Channel, url: str
) -> None:
    push(bucket, "old")
    code = (
        "import os, signal, sys; from tests.test_bucket import Channel, Objects, push\n"
        "Objects.put = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "push(Channel(sys.argv[1], environment='production'), 'new')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, url], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -9
    assert log_of(bucket).pointed() == (1, release("old").id)
    assert bucket.behind()
    assert push(bucket, "new").repaired
    assert log_of(bucket).pointed() == (2, release("new").id)


# Packs


def test_a_damaged_pack_is_refused_and_the_next_push_of_it_mends_it(
    bucket: Channel, shelf: Shelf
) -> None:
    first = push(bucket, "a").entry.release
    push(bucket, "b")
    good = shelf.get(f"packs/{first}.pack")
    for bad in (good[:-1], good.replace(b"user: a", b"user: z"), b"", b"hello"):
        shelf.put(f"packs/{first}.pack", bad)
        with pytest.raises(StoreCorrupted, match=f"{first}.pack is damaged"):
            bucket.get(first)
    with pytest.raises(StoreCorrupted):
        bucket.rollback(message="m", who="w")
    live = bucket.current()
    assert live is not None
    assert live.number == 2
    assert push(bucket, "a").published
    assert bucket.get(first).id == first


@pytest.mark.parametrize("cut", [True, False])
def test_pushing_what_is_live_mends_its_pack_so_that_readers_see_it_again(
    bucket: Channel, shelf: Shelf, url: str, cut: bool
) -> None:
    live = push(bucket, "a").entry
    key = f"packs/{live.release}.pack"
    if cut:
        shelf.put(key, shelf.get(key)[:-3])
    else:
        shelf.delete(key)
    source = S3Source(url, channel="production", unpack=unpacked)
    with pytest.raises(LayerUnavailable, match=r"[Pp]ush (the|a) release again"):
        source.read()
    again = push(bucket, "a")
    assert (again.entry, again.published, again.repaired) == (live, False, True)
    assert source.read().version == live.release
    assert not push(bucket, "a").repaired


def test_a_pack_under_another_name_is_refused(bucket: Channel, shelf: Shelf) -> None:
    first, second = push(bucket, "a").entry.release, push(bucket, "b").entry.release
    shelf.put(f"packs/{first}.pack", shelf.get(f"packs/{second}.pack"))
    with pytest.raises(StoreCorrupted, match="another release's"):
        bucket.get(first)


@pytest.mark.parametrize("word", ["", "zzz", "../production/current", "packs", "f" * 64])
def test_a_release_that_is_not_there_is_an_error_that_says_where_to_look(
    bucket: Channel, word: str
) -> None:
    push(bucket, "a")
    for ask in (bucket.find, bucket.get):
        with pytest.raises(ReleaseNotFound, match="yamlgraph-prompts releases s3://"):
            ask(word)


def test_the_command_in_a_hint_asks_the_same_server(careless: str) -> None:
    with pytest.raises(ReleaseNotFound) as caught:
        Channel(careless, environment="production").find("zzz")
    assert f"releases '{careless}' -e production" in str(caught.value.hint)


def test_the_beginning_of_an_id_must_mean_one_release(bucket: Channel) -> None:
    made: dict[str, str] = {}
    number = 0
    while True:
        one = release(f"r{number}")
        number += 1
        if (twin := made.get(one.id[0])) is not None:
            break
        made[one.id[0]] = f"r{number - 1}"
    push(bucket, twin)
    push(bucket, f"r{number - 1}")
    with pytest.raises(ReleaseNotFound, match="Several releases") as caught:
        bucket.find(one.id[0])
    assert one.id[:12] in str(caught.value)
    assert bucket.find(one.id) == one.id
    assert bucket.find(one.id[:40].upper()) == one.id


# Promotion and rollback


@pytest.mark.parametrize("below", ["", "/{environment}", "/{environment}/prompts?region=us-east-1"])
def test_a_promotion_makes_the_same_bytes_live_elsewhere(url: str, below: str) -> None:
    staging = Channel(url + below, environment="staging")
    production = Channel(url + below, environment="production")
    made = push(staging, "a").entry
    pushed = production.promote(staging, message="works", who="Grace")
    assert (pushed.entry.release, pushed.entry.why) == (made.release, "promote from staging")
    assert (pushed.entry.number, pushed.entry.who) == (1, "Grace")
    assert production.get(made.release).id == made.release
    assert staging.current() == made
    assert not production.promote(staging, message="works", who="Grace").published


def test_an_earlier_release_can_be_promoted_by_its_id(url: str) -> None:
    staging, production = (Channel(url, environment=n) for n in ("staging", "production"))
    earlier = push(staging, "a").entry.release
    push(staging, "b")
    pushed = production.promote(staging, message="m", who="w", release_id=earlier)
    assert pushed.entry.release == earlier


def test_nothing_can_be_promoted_from_where_nothing_is(url: str) -> None:
    production = Channel(url, environment="production")
    with pytest.raises(ReleaseNotFound, match="Nothing is published for stagin "):
        production.promote(Channel(url, environment="stagin"), message="m", who="w")
    assert production.current() is None


def test_a_rollback_takes_the_release_before_or_the_one_that_is_named(bucket: Channel) -> None:
    first, second, third = (push(bucket, text).entry for text in "abc")
    back = bucket.rollback(message="c is bad", who="Ada")
    assert (back.entry.number, back.entry.release) == (4, second.release)
    assert back.before == third
    back = bucket.rollback(message="b too", who="Ada", to=first.release)
    assert (back.entry.number, back.entry.release) == (5, first.release)


def test_there_is_no_rollback_from_the_first_release(bucket: Channel) -> None:
    for _ in range(2):
        with pytest.raises(ReleaseNotFound, match="no release before the live one"):
            bucket.rollback(message="m", who="w")
        push(bucket, "a")


# Readers


def test_a_reader_sees_whole_releases_in_their_order_while_two_pushers_push(url: str) -> None:
    def whole(text: str) -> Release:
        return release(text, **{f"p{number}": text for number in range(20)})

    def texts(reader: S3Source) -> set[str]:
        files = reader.read().files
        return {data.decode() for path, data in files.items() if path != "farewell.yaml"}

    first = Channel(url, environment="production")
    first.push(whole("0 x"), message="m", who="w")
    begun = time.monotonic()
    seen: list[str] = []

    def goes_on() -> bool:
        took = time.monotonic() - begun
        return took < 3 or (len(set(seen)) < 4 and took < 60)

    def pusher(name: str) -> int:
        mine, pushed = Channel(url, environment="production"), 0
        while goes_on():
            with suppress(PushRefused):
                live = mine.current()
                assert live is not None
                mine.push(whole(f"{live.number} {name}"), message="m", who=name, after=live)
                pushed += 1
        return pushed

    reader = open_source(url, channel="production", unpack=unpacked)
    assert isinstance(reader, S3Source)
    with ThreadPoolExecutor(2) as pool:
        pushers = [pool.submit(pusher, name) for name in "ab"]
        while goes_on():
            found = texts(reader)
            assert len(found) == 1, f"a mixture of {sorted(found)}"
            seen += found
        assert sum(future.result() for future in pushers) > 3
    assert len(set(seen)) > 3
    live = first.current()
    assert live is not None
    assert texts(reader) == {first.get(live.release)["p0"].data.decode()}
    reader.close()


def test_a_reader_that_is_started_or_asked_between_any_two_steps_finds_one_release(
    bucket: Channel, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(bucket, "old")
    kept = open_source(url, channel="production", unpack=unpacked)
    found: list[bytes] = []

    def look() -> None:
        fresh = open_source(url, channel="production", unpack=unpacked)
        for reader in (kept, fresh):
            found.append(reader.read().files["greeting.yaml"])
        fresh.close()

    for name in ("put", "put_new"):
        real = getattr(Objects, name)

        def watched(self: Objects, *args: Any, real: Any = real) -> Any:
            look()
            result = real(self, *args)
            look()
            return result

        monkeypatch.setattr(Objects, name, watched)
    push(bucket, "new")
    kept.close()
    # Eight looks at four writes, twice; only the last write, of the hint, changes anything.
    assert found == [b"user: old\n"] * 14 + [b"user: new\n"] * 2


# Servers


def test_a_server_that_ignores_the_condition_is_found_and_needs_a_single_writer(
    careless: str,
) -> None:
    bucket = Channel(careless, environment="production")
    with pytest.raises(PushRefused, match=r"ignores If-None-Match.*--single-writer"):
        push(bucket, "a")
    assert bucket.current() is None
    bucket = Channel(careless, environment="production", single_writer=True)
    assert push(bucket, "a").published
    assert push(bucket, "b").entry.number == 2
    assert not push(bucket, "b").published
    assert bucket.rollback(message="m", who="w").entry.number == 3
    assert [e.number for e in list(bucket.history())] == [3, 2, 1]
    assert not bucket.behind()


def test_a_single_writer_overwrites_no_entry_that_is_there(
    careless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, rival = (
        Channel(careless, environment="production", single_writer=True) for _ in range(2)
    )
    monkeypatch.setattr(bucket.registry, "put", lambda made: push(rival, "rival"))
    with pytest.raises(PushRefused, match="was first"):
        push(bucket, "mine")
    assert [e.release for e in list(bucket.history())] == [release("rival").id]


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented")])
def test_a_server_that_does_not_know_the_condition_needs_a_single_writer(
    bucket: Channel, url: str, monkeypatch: pytest.MonkeyPatch, status: int, code: str
) -> None:
    from botocore.exceptions import ClientError

    real = Objects._put

    def strict(self: Objects, key: str, data: bytes, **condition: str) -> None:
        if condition:
            answer: Any = {
                "Error": {"Code": code},
                "ResponseMetadata": {"HTTPStatusCode": status},
            }
            raise ClientError(answer, "PutObject")
        real(self, key, data)

    monkeypatch.setattr(Objects, "_put", strict)
    with pytest.raises(PushRefused, match="--single-writer"):
        push(bucket, "a")
    bucket = Channel(url, environment="production", single_writer=True)
    assert push(bucket, "a").published
    assert push(bucket, "b").entry.number == 2


def test_two_writers_under_way_at_once_are_asked_to_try_again(
    bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    real = Objects._put
    conflicts = iter(range(2))

    def busy(self: Objects, key: str, data: bytes, **condition: str) -> None:
        if "/log/" in key and next(conflicts, None) is not None:
            answer: Any = {
                "Error": {"Code": "ConditionalRequestConflict"},
                "ResponseMetadata": {"HTTPStatusCode": 409},
            }
            raise ClientError(answer, "PutObject")
        real(self, key, data, **condition)

    monkeypatch.setattr(Objects, "_put", busy)
    assert push(bucket, "a").published


def test_a_bucket_that_is_not_there_is_said_in_words(url: str) -> None:
    with pytest.raises(LayerUnavailable, match="there is no such bucket"):
        push(Channel("s3://not-there/app", environment="production"), "a")


def test_what_may_not_be_written_says_which_permissions_a_push_needs(
    bucket: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    def denied(*_: Any, **__: Any) -> None:
        answer: Any = {
            "Error": {"Code": "AccessDenied"},
            "ResponseMetadata": {"HTTPStatusCode": 403},
        }
        raise ClientError(answer, "PutObject")

    monkeypatch.setattr(Objects, "_put", denied)
    with pytest.raises(LayerUnavailable, match=r"\.pack: access is denied.*PutObject"):
        push(bucket, "a")


def test_a_list_of_the_history_whose_rest_cannot_be_had_is_said(s3: ScriptedS3) -> None:
    bucket = Channel(s3.url(), environment="production")
    push(bucket, "a")
    cut_off = b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"

    def without_a_token(handler: Handler, asked: Asked) -> bool:
        if asked.lists:
            handler.answer(200, cut_off, {})
        return asked.lists

    s3.fault = without_a_token
    with pytest.raises(LayerUnavailable, match="list is cut off"):
        bucket.current()


def test_a_history_whose_answers_are_cut_is_taken_neither_for_damaged_nor_for_empty(
    s3: ScriptedS3,
) -> None:
    there = Channel(s3.url(), environment="production")
    assert there.current() is None
    entry = Entry.of(
        "ab12", number=1, who="Ada", message="first", why="push", prompts=3, push="f00"
    )
    s3.objects["prompts/.releases/production/log/00000000000000000001.json"] = json.dumps(
        entry.facts()
    ).encode()
    assert there.current() == entry
    for lists in (True, False):
        s3.fault = lambda handler, asked: (
            asked.lists == lists and cut_in_its_head(handler, asked)  # noqa: B023
        )
        with pytest.raises(LayerUnavailable, match="the connection was cut"):
            there.current()


def test_a_server_that_never_answers_ends_the_call_in_time(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(LayerUnavailable, match=r"did not answer within 0\.3 s"):
            Channel(url, environment="production", timeout_s=0.3).current()
        assert time.monotonic() - started < 5.0
        threads = [t for t in threading.enumerate() if t.name == "yamlgraph-prompts-ask"]
        assert threads
        assert all(thread.daemon for thread in threads)
