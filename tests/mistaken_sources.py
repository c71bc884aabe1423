"""Sources with one mistake each, under the contract: test_source_contract.py runs this file."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from yamlgraph_prompts.errors import LayerNotFound, LayerUnavailable
from yamlgraph_prompts.sources import Snapshot, http
from yamlgraph_prompts.sources.http import HttpSource
from yamlgraph_prompts.sources.http_index import INDEX, index_of
from yamlgraph_prompts.testing import RemoteSourceContract


class TakesNotFoundForEmpty(HttpSource):
    def read(self) -> Snapshot:
        try:
            return super().read()
        except LayerNotFound:
            return Snapshot.of({})


class SaysAVersionOfItsOwn(HttpSource):
    def read(self) -> Snapshot:
        return replace(super().read(), version="1")


class NamesNoLayer(HttpSource):
    def read(self) -> Snapshot:
        try:
            return super().read()
        except LayerNotFound:
            raise
        except LayerUnavailable as problem:
            raise LayerUnavailable(problem.message, layer="") from None


class VerifiesNothing(HttpSource):
    def _fetch(self, reading: Any, entries: Any) -> str:
        wanted = {http._Request(one.url, one.size): one for one in entries}
        for answer in self._asked(reading, list(wanted)):
            self._data[wanted[answer.request].sha256] = answer.data
        return ""


class KeepsTheTagTooEarly(HttpSource):
    def _index(self, reading: Any, etag: Any) -> Any:
        answer = super()._index(reading, etag)
        if answer.status == 200:
            self._etag = answer.etag
        return answer


class SendsNoCondition(HttpSource):
    def _index(self, reading: Any, etag: Any) -> Any:
        return super()._index(reading, "")


class WaitsForEver(HttpSource):
    def __init__(self, url: str, deadline_s: float) -> None:
        super().__init__(url, deadline_s=3600.0)


class WaitsForEveryByte(WaitsForEver):
    """A timeout of each single read bounds nothing."""

    def read(self) -> Snapshot:
        with patch.object(http, "IDLE_S", 0.5):
            return super().read()


class FollowsRedirects(HttpSource):
    def _index(self, reading: Any, etag: Any) -> Any:
        request = http._Request(INDEX, http.LIMIT_INDEX_BYTES)
        try:
            with urllib.request.urlopen(self.url + INDEX, timeout=0.5) as answer:
                return http._Answer(request, 200, answer.read(1 << 20), "", "")
        except urllib.error.HTTPError as problem:
            problem.close()
            raise LayerUnavailable(f"{self.url}: {problem}", layer=self.url) from None


class TrustsAnyNetwork(HttpSource):
    def __init__(self, url: str, deadline_s: float) -> None:
        with patch.object(http, "_is_loopback", lambda host: True):
            super().__init__(url, deadline_s=deadline_s)


class LetsErrorsThrough(FollowsRedirects):
    """What `urlopen` raises is no error of a layer."""


class ReadsAnySize(HttpSource):
    def __init__(self, url: str, deadline_s: float) -> None:
        super().__init__(url, deadline_s=30.0)

    def read(self) -> Snapshot:
        with patch.object(http, "LIMIT_INDEX_BYTES", 1 << 40):
            return super().read()


class QuotesNothing(HttpSource):
    def _fetch(self, reading: Any, entries: Any) -> str:
        return super()._fetch(reading, [replace(one, url=one.path) for one in entries])


class ReadsInAPool(HttpSource):
    def read(self) -> Snapshot:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(super().read).result()


@dataclass(frozen=True)
class Mistake:
    """A source, the test of the contract that catches it, and what that says."""

    source: type[HttpSource]
    test: str
    says: str


MISTAKES = {
    "404 taken for empty": Mistake(
        TakesNotFoundForEmpty,
        "test_nothing_there_is_an_error_that_names_the_layer",
        "DID NOT RAISE",
    ),
    "a version that is not the content's": Mistake(
        SaysAVersionOfItsOwn, "test_the_version_moves_with_every_change_only", "1 == 6"
    ),
    "an error that does not name the layer": Mistake(
        NamesNoLayer,
        "test_an_error_of_the_server_is_not_an_empty_place[500]",
        "does not name the layer",
    ),
    "a digest that is not verified": Mistake(
        VerifiesNothing,
        "test_a_file_that_is_not_what_its_digest_says_is_not_taken",
        "not a LayerUnavailable",
    ),
    "an ETag that is kept before the files are in": Mistake(
        KeepsTheTagTooEarly,
        "test_what_failed_halfway_is_read_again",
        "the ETag is kept before the files are in",
    ),
    "no If-None-Match": Mistake(
        SendsNoCondition, "test_what_has_not_changed_is_not_sent_again", "If-None-Match is not sent"
    ),
    "no timeout": Mistake(
        WaitsForEver,
        "test_a_server_that_does_not_answer_as_it_should_is_unavailable_in_time[silence]",
        "takes longer than",
    ),
    "a trickling body": Mistake(
        WaitsForEveryByte,
        "test_a_server_that_does_not_answer_as_it_should_is_unavailable_in_time[slow body]",
        "takes longer than",
    ),
    "a redirect to another host": Mistake(
        FollowsRedirects, "test_no_other_host_is_asked", "a redirect to another host is followed"
    ),
    "plain http": Mistake(
        TrustsAnyNetwork, "test_plain_http_goes_to_this_machine_only", "plain http is tried"
    ),
    "a raw URLError": Mistake(
        LetsErrorsThrough,
        "test_nobody_at_the_port_is_unavailable",
        "not a LayerUnavailable: URLError",
    ),
    "no limit of size": Mistake(
        ReadsAnySize, "test_an_answer_that_is_too_large_is_not_taken", "there is no limit of size"
    ),
    "a path that is not quoted": Mistake(
        QuotesNothing, "test_files_come_back_byte_for_byte", "LayerUnavailable"
    ),
    "a thread that keeps the process alive": Mistake(
        ReadsInAPool, "test_its_threads_do_not_keep_the_process_alive", "ThreadPoolExecutor"
    ),
}


def _contract(source: type[HttpSource]) -> type[RemoteSourceContract]:
    class Contract(RemoteSourceContract):
        deadline_s = 1.0
        slack_s = 30.0 if source is ReadsAnySize else 2.0

        def open(self, origin: str) -> HttpSource:
            return source(f"{origin}/prompts", deadline_s=self.deadline_s)

        def answers(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
            below = {f"/prompts/{path}": data for path, data in files.items()}
            return {"/prompts/index.json": index_of(files), **below}

    return Contract


for _mistake in MISTAKES.values():
    globals()[f"Test{_mistake.source.__name__}"] = _contract(_mistake.source)
