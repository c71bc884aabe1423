"""Remote layers are followed by their own news, one thread each."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.conftest import wait_until
from tests.files import Heard
from yamlgraph_prompts import LayerUnavailable, LivePrompts, sources
from yamlgraph_prompts.sources import Snapshot

News = Snapshot | Exception | str | None


class PushSource:
    """Brings what a test puts into `news`; ``"end"`` ends a subscription."""

    news: SimpleQueue[News]
    text = "one"
    reads = 0
    subscriptions = 0
    refresh_s = 30.0

    def __init__(self, url: str) -> None:
        self.url = url

    def read(self) -> Snapshot:
        type(self).reads += 1
        return snapshot(self.text)

    def changes(self, stop: threading.Event) -> Iterator[Snapshot | None]:
        type(self).subscriptions += 1
        while not stop.is_set():
            news = self.news.get()
            if news == "end":
                return
            if isinstance(news, Exception):
                raise news
            assert not isinstance(news, str)
            yield news

    def close(self) -> None:
        pass


def snapshot(text: str) -> Snapshot:
    return Snapshot({"a.yaml": f"user: {text}".encode()}, version=text)


@pytest.fixture
def pushed(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[PushSource]]:
    class Source(PushSource):
        news = SimpleQueue()

    monkeypatch.setattr(sources, "_SCHEMES", {"push": ("tests.test_remote_layers:made", None)})
    monkeypatch.setitem(globals(), "made", Source)
    yield Source
    Source.news.put("end")


def followed(store: Path, source: type[PushSource], **options: object) -> LivePrompts:
    made = {"environment": "x", "store": store, "refresh_s": 0.05, **options}
    prompts = LivePrompts("push://acme", **made)  # type: ignore[arg-type]
    assert prompts["a"].user == "one"
    wait_until(lambda: source.subscriptions == 1)
    return prompts


def test_news_that_brings_its_content_is_published_without_asking_again(
    pushed: type[PushSource], tmp_path: Path
) -> None:
    heard = Heard()
    with followed(tmp_path, pushed, hooks=[heard]) as prompts:
        before = pushed.reads
        pushed.news.put(snapshot("two"))
        wait_until(lambda: prompts["a"].user == "two")
        pushed.news.put(snapshot("two"))
        pushed.news.put(snapshot("three"))
        wait_until(lambda: prompts["a"].user == "three")
        assert pushed.reads == before
        assert prompts.release.layers[0].version == "three"
        # Hooks are called once it is live.
        wait_until(lambda: len(heard.outcomes("published")) == 3)
        assert [one.trigger.value for one in heard.outcomes("published")][1:] == ["poll", "poll"]


def test_news_without_content_makes_the_layer_be_read(
    pushed: type[PushSource], tmp_path: Path
) -> None:
    with followed(tmp_path, pushed) as prompts:
        pushed.text = "two"
        pushed.news.put(None)
        wait_until(lambda: prompts["a"].user == "two")


def test_a_subscription_that_ends_is_begun_anew_after_a_reading(
    pushed: type[PushSource], tmp_path: Path
) -> None:
    with followed(tmp_path, pushed) as prompts:
        pushed.text = "two"
        pushed.news.put("end")
        wait_until(lambda: pushed.subscriptions == 2)
        wait_until(lambda: prompts["a"].user == "two")
        pushed.news.put(snapshot("three"))
        wait_until(lambda: prompts["a"].user == "three")


@pytest.mark.parametrize("problem", [LayerUnavailable("gone", layer="push://acme"), ValueError()])
def test_a_subscription_that_fails_is_told_and_begun_anew(
    pushed: type[PushSource], tmp_path: Path, problem: Exception
) -> None:
    heard = Heard()
    with followed(tmp_path, pushed, hooks=[heard]) as prompts:
        pushed.news.put(problem)
        wait_until(lambda: pushed.subscriptions == 2)
        assert len(heard.of("layer-unavailable")) == isinstance(problem, LayerUnavailable)
        pushed.news.put(snapshot("two"))
        wait_until(lambda: prompts["a"].user == "two")
