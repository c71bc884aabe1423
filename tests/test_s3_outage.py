"""When the bucket cannot be read: bounded starts, the last good release, clear errors."""

from __future__ import annotations

import logging
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT, wait_until
from tests.files import Heard, write
from tests.s3_servers import KEY, SECRET, Shop, credentials, free_port
from tests.scripted_server import (
    Asked,
    Fault,
    Handler,
    ScriptedS3,
    cut,
    cut_in_its_head,
    refused,
    silent,
    trickling,
    trickling_head,
)
from tests.simulated_replicas import peak_and_mean, simulated
from tests.test_s3_source import publish, release
from yamlgraph_prompts import Layer
from yamlgraph_prompts.errors import LayerError, LayerUnavailable
from yamlgraph_prompts.live_prompts import LivePrompts
from yamlgraph_prompts.metrics import Metrics
from yamlgraph_prompts.sources import open_source, polling
from yamlgraph_prompts.sources import reader as fetch
from yamlgraph_prompts.sources.polling import Pace
from yamlgraph_prompts.sources.reader import LayerReader
from yamlgraph_prompts.sources.s3 import S3Source, loose
from yamlgraph_prompts.sources.s3.bounds import Bounds
from yamlgraph_prompts.sources.s3.client import forget
from yamlgraph_prompts.sources.s3.location import Location

DEADLINE_S = 1.0
SLACK_S = 6.0  # on a busy machine; less than the 10 s that one request may hang


def live(s3: ScriptedS3, store: Path | None = None, **options: object) -> LivePrompts:
    given = {"startup_deadline_s": DEADLINE_S, "watch": False, **options}
    return LivePrompts(s3.url(), environment="production", store=store, **given)  # type: ignore[arg-type]


def objects_only(fault: Fault) -> Fault:
    return lambda handler, asked: bool(asked.key.endswith(".yaml") and fault(handler, asked))


FAULTS: dict[str, tuple[Fault, str]] = {
    "the bucket is gone": (refused(404, "NoSuchBucket"), "no such bucket"),
    "the key is unknown": (refused(403, "InvalidAccessKeyId"), "does not know this access key"),
    "the secret is wrong": (refused(403, "SignatureDoesNotMatch"), "secret key is not"),
    "the token has expired": (refused(400, "ExpiredToken"), "expired"),
    "listing is not allowed": (refused(403, "AccessDenied"), "access is denied.*ListBucket"),
    "the clock is wrong": (
        refused(403, "RequestTimeTooSkewed", skew_s=3600.0),
        "clock is wrong: it is 3[56].. s behind",
    ),
    "throttled": (refused(503, "SlowDown", Retry_After="7"), "throttling|in time"),
    "broken": (refused(500, "InternalError"), "InternalError|in time"),
    "elsewhere": (
        refused(301, "PermanentRedirect", x_amz_bucket_region="us-west-2"),
        "another region|in time|more than 12 requests",
    ),
    "silent": (silent, "in time"),
    "trickling": (trickling, "larger than"),
    "trickling before the body": (trickling_head, "in time"),
    "an object is silent": (objects_only(silent), "in time"),
    "an object trickles": (objects_only(trickling), "in time"),
    "an object is cut": (objects_only(cut), "cut"),
    "every answer is cut": (cut, "cut|in time"),
    "every answer is cut in its head": (cut_in_its_head, "the connection was cut"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_start_without_anything_kept_is_one_clear_error_in_time(
    s3: ScriptedS3, name: str
) -> None:
    s3.put(a="user: x")
    s3.fault, words = FAULTS[name]
    began = time.monotonic()
    with pytest.raises(LayerError, match=words) as caught:
        live(s3).__enter__()
    assert time.monotonic() - began < DEADLINE_S + SLACK_S
    message = str(caught.value)
    for part in ("bucket acme", "prefix prompts/", s3.endpoint, f"ending in {KEY[-4:]}"):
        assert part in message
    assert caught.value.hint
    assert SECRET not in message
    assert KEY not in message


@pytest.mark.parametrize("name", FAULTS)
def test_a_start_falls_back_to_the_last_good_release_and_says_so(
    s3: ScriptedS3, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    s3.put(a="user: good")
    with live(s3, tmp_path / "store", startup_deadline_s=20.0) as before:
        good = before.release.id
    s3.fault, _ = FAULTS[name]
    heard = Heard()
    began = time.monotonic()
    with live(s3, tmp_path / "store", hooks=[heard]) as prompts:
        assert time.monotonic() - began < DEADLINE_S + SLACK_S
        assert prompts.release.id == good
        assert prompts["a"].user == "good"
    assert len(heard.of("layer-unavailable")) == 2
    assert any("last good" in r.message for r in caplog.records if r.levelno == logging.ERROR)


def test_the_error_names_bucket_prefix_endpoint_credentials_and_what_to_try(
    s3: ScriptedS3,
) -> None:
    s3.fault = refused(403, "InvalidAccessKeyId")
    with pytest.raises(LayerUnavailable) as caught:
        open_source(s3.url()).read()
    message = str(caught.value)
    for part in (
        "bucket acme",
        "prefix prompts/",
        s3.endpoint,
        f"access key ending in {KEY[-4:]} from the environment",
        "AWS_PROFILE",
    ):
        assert part in message
    assert KEY not in message
    assert SECRET not in message


def test_the_credentials_are_named_though_another_layer_gave_them_up_meanwhile(
    s3: ScriptedS3,
) -> None:
    def fault(handler: Handler, asked: Asked) -> bool:
        forget(Location.parse(s3.url()))
        return refused(403, "InvalidAccessKeyId")(handler, asked)

    s3.fault = fault
    with pytest.raises(LayerUnavailable, match=f"not know.*{s3.endpoint}.* ending in {KEY[-4:]}"):
        open_source(s3.url()).read()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (refused(403, "AccessDenied"), "access is denied"),
        (refused(403, "InvalidObjectState"), "InvalidObjectState"),
        (cut, "cut"),
    ],
)
def test_an_object_that_cannot_be_had_beside_others_is_named(
    s3: ScriptedS3, fault: Fault, words: str
) -> None:
    s3.put(a="user: x", b="user: y")
    s3.fault = lambda handler, asked: asked.key.endswith("b.yaml") and fault(handler, asked)
    with pytest.raises(LayerUnavailable, match=f"^s3://acme/prompts/b.yaml: .*{words}") as caught:
        open_source(s3.url()).read()
    assert caught.value.layer == "s3://acme/prompts/"


def test_a_layer_that_is_too_late_names_what_became_known_while_it_was_waited_for() -> None:
    known: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        known.append("credentials: a role")
        ended.wait(10)

    with pytest.raises(LayerUnavailable, match=r"in time \(credentials: a role\)"):
        fetch.within(0.3, ask, "s3://acme/", lambda: "".join(known))
    ended.set()


def test_no_credentials_at_all_is_said_and_mended_without_a_restart(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    s3.put(a="user: x")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    source = open_source(s3.url())
    with pytest.raises(LayerUnavailable, match=r"no credentials were found.*credentials: none"):
        source.read()
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    )
    assert list(source.read().files) == ["a.yaml"]


def test_a_profile_that_is_not_there_is_said(s3: ScriptedS3) -> None:
    with pytest.raises(LayerUnavailable, match=r"no such profile.*profile nobody"):
        open_source("s3://acme/prompts?profile=nobody").read()


def test_a_refused_endpoint_is_said_at_once(s3: ScriptedS3) -> None:
    url = f"s3://acme/prompts?endpoint=http://127.0.0.1:{free_port()}"
    began = time.monotonic()
    with pytest.raises(LayerUnavailable, match="refused the connection"):
        open_source(url).read()
    assert time.monotonic() - began < 4.0


def test_a_real_server_refuses_a_wrong_secret(
    rclone: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(LayerUnavailable, match="secret key is not"):
        open_source(rclone.url()).read()


def test_credentials_that_are_mended_are_taken_without_a_restart(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    s3.put(a="user: x")

    def only_known(handler: Handler, asked: Asked) -> bool:
        known = KEY in asked.headers["Authorization"]
        return not known and refused(403, "InvalidAccessKeyId")(handler, asked)

    s3.fault = only_known
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    file.write_text("[default]\naws_access_key_id = AKIDOLD\naws_secret_access_key = x\n")
    source = open_source(s3.url())
    with pytest.raises(LayerUnavailable):
        source.read()
    file.write_text(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = x\n")
    assert list(source.read().files) == ["a.yaml"]


def test_an_object_that_is_cut_once_is_fetched_again(s3: ScriptedS3) -> None:
    s3.put(a="user: x")

    def once(handler: Handler, asked: Asked) -> bool:
        if asked.lists:
            return False
        s3.fault = None
        return cut(handler, asked)

    s3.fault = once
    assert dict(open_source(s3.url()).read().files) == {"a.yaml": b"user: x"}


def test_an_optional_layer_whose_list_is_cut_is_not_taken_for_empty(
    s3: ScriptedS3, tmp_path: Path
) -> None:
    s3.put(a="user: overlay")
    write(tmp_path, {"base/a.yaml": "user: base"})
    layers = (Layer(s3.url(), optional=True), tmp_path / "base")
    with LivePrompts(*layers, watch=False, startup_deadline_s=20.0) as prompts:
        assert prompts["a"].user == "overlay"
        s3.fault = cut_in_its_head
        assert prompts.publish().status == "rejected"
        assert prompts["a"].user == "overlay"


def test_a_body_that_trickles_is_given_up_and_the_next_read_is_well(s3: ScriptedS3) -> None:
    s3.put(a="user: x")
    s3.fault = objects_only(trickling)
    source = S3Source(s3.url(), bounds=Bounds(patience_s=0.3))
    with pytest.raises(LayerUnavailable, match="bytes a second for longer than"):
        source.read()
    s3.fault = None
    assert list(source.read().files) == ["a.yaml"]


def test_what_a_failed_sync_has_fetched_is_not_fetched_again(s3: ScriptedS3) -> None:
    s3.put(**{f"p{number:02}": f"user: v{number}" for number in range(60)})

    def last(handler: Handler, asked: Asked) -> bool:
        return asked.key.endswith("p59.yaml") and refused(403, "AccessDenied")(handler, asked)

    s3.fault = last
    source = open_source(s3.url())
    with pytest.raises(LayerUnavailable):
        source.read()
    s3.fault = None
    s3.fetched()
    assert len(source.read().files) == 60
    assert len(s3.fetched()) < 40


# While it runs


def test_serving_goes_on_in_an_outage_and_recovery_needs_no_restart(s3: ScriptedS3) -> None:
    s3.put(a="user: before")
    heard = Heard()
    options = {"watch": True, "refresh_s": 0.05, "startup_deadline_s": 20.0, "hooks": [heard]}
    with live(s3, **options) as prompts:
        assert prompts["a"].user == "before"
        s3.fault = refused(503, "SlowDown")
        wait_until(lambda: heard.of("layer-unavailable"))
        assert prompts["a"].user == "before"
        assert prompts.health.layers[0].trouble
        s3.put(a="user: after")
        s3.fault = None
        wait_until(lambda: prompts["a"].user == "after")
        wait_until(lambda: heard.of("layer-recovered"))
        assert prompts.health.layers[0].trouble is None


@pytest.mark.parametrize("by_call", [False, True], ids=["seen by a poll", "seen by a call"])
def test_an_outage_without_a_change_leaves_nothing_behind(
    s3: ScriptedS3, caplog: pytest.LogCaptureFixture, by_call: bool
) -> None:
    s3.put(a="user: same")
    metrics = Metrics()
    caplog.set_level("INFO")
    options = {"watch": True, "refresh_s": 0.05, "startup_deadline_s": 20.0, "hooks": [metrics]}
    with live(s3, **options) as prompts:
        assert prompts["a"].user == "same"
        s3.fault = refused(503, "SlowDown")
        if by_call:
            assert prompts.publish().status == "rejected"
        wait_until(lambda: prompts.health.degraded == ("stale-layer",))
        bad, good = (f'last_reload_successful{{environment="production"}} {n}.0' for n in (0, 1))
        wait_until(lambda: bad in text_of(metrics))
        s3.fault = None
        wait_until(lambda: prompts.health.degraded == ())
        wait_until(lambda: prompts.health.last.status == "unchanged")
        wait_until(lambda: good in text_of(metrics))
        wait_until(lambda: "s3://acme/prompts/ can be read again." in caplog.text)


def text_of(metrics: Metrics) -> str:
    return metrics.exposed().decode()


def test_a_start_on_the_last_good_release_takes_the_news_when_the_bucket_is_back(
    s3: ScriptedS3, tmp_path: Path
) -> None:
    s3.put(a="user: before")
    live(s3, tmp_path / "store", startup_deadline_s=20.0).__enter__().close()
    s3.put(a="user: after")
    s3.fault = refused(503, "SlowDown")
    with live(s3, tmp_path / "store", watch=True, refresh_s=0.05) as prompts:
        assert prompts["a"].user == "before"
        s3.fault = None
        wait_until(lambda: prompts["a"].user == "after")


def test_a_local_layer_stays_fresh_while_the_bucket_is_away(s3: ScriptedS3, tmp_path: Path) -> None:
    s3.put(a="user: s3", b="user: s3")
    (tmp_path / "over").mkdir()
    (tmp_path / "over/a.yaml").write_text("user: local")
    layers = (str(tmp_path / "over"), s3.url())
    with LivePrompts(*layers, environment="x", refresh_s=60.0) as prompts:
        assert (prompts["a"].user, prompts["b"].user) == ("local", "s3")
        s3.fault = silent
        (tmp_path / "over/a.yaml").write_text("user: edited")
        wait_until(lambda: prompts["a"].user == "edited")
        assert prompts["b"].user == "s3"


def test_a_poll_asks_once_and_not_more_when_the_server_is_overloaded(s3: ScriptedS3) -> None:
    publish(s3, release(a="user: x"))
    reader = LayerReader(Layer(s3.url()), "production", None)
    reader.read()
    s3.fetched()
    s3.fault = refused(503, "SlowDown", Retry_After="7")
    with pytest.raises(LayerUnavailable, match="throttling") as caught:
        reader.look()
    assert caught.value.retry_after_s == 7.0
    assert len(s3.fetched()) == 1


def test_a_source_that_hangs_for_good_is_opened_anew(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "BUSY_S", 0.05)
    monkeypatch.setattr(fetch, "GIVE_UP_S", 0.0)
    s3.put(a="user: x")
    reader = LayerReader(Layer(s3.url()), "x", None)
    s3.fault = silent

    def hang() -> None:
        with suppress(LayerError):
            reader.read()

    threading.Thread(target=hang, daemon=True).start()
    wait_until(lambda: s3.asked)
    s3.fault = None
    with pytest.raises(LayerUnavailable, match="still busy"):
        reader.read()
    assert list(reader.read().files) == ["a.yaml"]


LEAVES = """
import sys, time
from yamlgraph_prompts.errors import LayerError
from yamlgraph_prompts.live_prompts import LivePrompts
from yamlgraph_prompts.metrics import Metrics
prompts = LivePrompts(sys.argv[1], environment="x", startup_deadline_s=0.5)
try:
    prompts.release
except LayerError:
    print(time.time())
"""


@pytest.mark.parametrize(
    "name",
    [
        *("silent", "an object trickles"),
        *(pytest.param(n, marks=pytest.mark.nightly) for n in ("trickling", "an object is cut")),
    ],
)
def test_the_process_ends_at_once_whatever_still_hangs(s3: ScriptedS3, name: str) -> None:
    s3.put(**{f"p{number}": "user: x" for number in range(40)})
    s3.fault, _ = FAULTS[name]
    command = [sys.executable, "-c", LEAVES, s3.url()]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert time.time() - float(done.stdout) < 0.2 + SLACK_S


def test_a_start_is_bounded_where_nobody_answers_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    credentials(monkeypatch)
    with closing(socket.socket()) as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        url = f"s3://acme/p?endpoint=http://127.0.0.1:{deaf.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(LayerUnavailable):
            LivePrompts(url, environment="x", startup_deadline_s=DEADLINE_S).__enter__()
        assert time.monotonic() - began < DEADLINE_S + SLACK_S


# A long sync


class Terminal:
    """A standard error that a person sees."""

    def __init__(self) -> None:
        self.said = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.said += text

    def flush(self) -> None:
        pass


def test_a_long_sync_shows_its_progress_on_a_terminal_and_wipes_it_off(
    s3: ScriptedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loose, "PROGRESS_AFTER_S", 0.0)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    s3.put(**{f"p{number}": "user: x" for number in range(40)})
    open_source(s3.url()).read()
    assert "s3://acme/prompts/: 0 of 40 objects" in terminal.said
    assert terminal.said.endswith("\r\x1b[K")
    terminal.said = ""
    monkeypatch.setattr(terminal, "isatty", lambda: False)
    open_source(s3.url()).read()
    assert terminal.said == ""


# When to ask: a pure function, in simulated time

REPLICAS = 1000
REFRESH_S = 30.0


def asked_by_many(fails: Callable[[float], float | bool | None], seconds: float) -> list[float]:
    rand = random.Random(7).random
    # All of them were started by one deployment, in the same second.
    return simulated([(Pace(REFRESH_S), 0.0)] * REPLICAS, seconds, fails, rand)


def test_a_thousand_replicas_do_not_poll_in_step() -> None:
    peak, mean = peak_and_mean(asked_by_many(lambda now: False, 600.0), 0.0, 600.0)
    assert mean == pytest.approx(REPLICAS / REFRESH_S, rel=0.1)
    assert peak <= 2 * mean


@pytest.mark.parametrize("outage_s", [5.0, 60.0, 240.0])
@pytest.mark.parametrize("answer", [True, 20.0], ids=["errors", "Retry-After"])
def test_nor_after_an_outage_that_all_of_them_saw(outage_s: float, answer: float | bool) -> None:
    ends = 120.0 + outage_s
    asked = asked_by_many(lambda now: answer if 120.0 <= now < ends else False, ends + 600.0)
    mean = REPLICAS / REFRESH_S
    assert peak_and_mean(asked, 0.0, ends + 600.0)[0] <= 2 * mean
    during, _ = peak_and_mean(asked, 120.0, ends)
    assert during <= 2 * mean
    _, afterwards = peak_and_mean(asked, ends + 8 * REFRESH_S, ends + 600.0)
    assert afterwards == pytest.approx(mean, rel=0.1)


def test_a_server_that_names_one_moment_for_all_is_not_asked_by_all_then() -> None:
    asked = asked_by_many(lambda now: 300.0 - now if now < 300.0 else False, 600.0)
    peak, _ = peak_and_mean(asked, 300.0, 600.0)
    assert peak <= 2 * REPLICAS / REFRESH_S


def test_errors_are_followed_by_ever_longer_waits_up_to_eight_times_the_refresh() -> None:
    pace = Pace(10.0)
    waits = []
    for _ in range(6):
        pace = pace.failed()
        waits.append((pace.next_s(lambda: 0.0), pace.next_s(lambda: 0.999)))
    assert [round(shortest / 9) * 10 for shortest, _ in waits] == [10, 20, 40, 40, 40, 40]
    assert [round(longest / 11) * 10 for _, longest in waits] == [20, 40, 80, 80, 80, 80]
    assert pace.next_s(lambda: 0.0, retry_after_s=100.0) == 100.0
    assert pace.well().next_s(lambda: 0.5) == 10.0


def test_an_outage_of_weeks_ends_like_any_other() -> None:
    pace = Pace(30.0)
    for _ in range(10_000):
        pace = pace.failed()
    assert 100.0 < pace.next_s(lambda: 0.5) <= 8 * 33.0


@pytest.mark.parametrize(
    ("said", "waits_s"),
    [
        ("7", 7.0),
        ("9" * 400, polling.LONGEST_S),
        ("Fri, 01 Jan 2100 00:00:00 GMT", polling.LONGEST_S),
        ("Mon, 01 Jan 0001 00:00:00 -2359", None),
        ("\N{SUPERSCRIPT TWO}", None),
        ("soon", None),
        ("-5", None),
    ],
)
def test_whatever_a_server_says_of_when_to_come_again_the_wait_is_bounded(
    s3: ScriptedS3, said: str, waits_s: float | None
) -> None:
    publish(s3, release(a="user: x"))
    reader = LayerReader(Layer(s3.url()), "production", None)
    reader.read()
    s3.fault = refused(503, "SlowDown", Retry_After=said)
    with pytest.raises(LayerUnavailable, match="throttling") as caught:
        reader.look()
    told_s = caught.value.retry_after_s
    at_least_s = Pace(0.001).failed().next_s(lambda: 0.0, told_s)
    assert at_least_s == pytest.approx(waits_s or 0.001, rel=0.2)
