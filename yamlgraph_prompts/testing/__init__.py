"""The contract that every source keeps, as pytest classes for the authors of sources. Needs pytest.

Subclass one in a file of tests, and override what it says. See docs/sources.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

import pytest

from yamlgraph_prompts.errors import LayerError, LayerNotFound, LayerUnavailable, Stale
from yamlgraph_prompts.sources import Change, Source, Writable
from yamlgraph_prompts.testing.web_server import Fault, WebServer

__all__ = ["Fault", "RemoteSourceContract", "SourceContract", "WebServer"]

T = TypeVar("T")
Files = Mapping[str, bytes]


class SourceContract:
    """What every source promises. Override the fixtures `source` and `fill`.

    Attributes:
        can_be_gone: False: the place of this source is always there.
        deadline_s: Seconds within which a reading ends, whatever happens.
    """

    can_be_gone = True
    deadline_s = 10.0

    @pytest.fixture
    def source(self) -> Iterator[Source]:
        """The source under test. Nothing was read from it yet."""
        raise NotImplementedError

    @pytest.fixture
    def fill(self) -> Callable[[Files | None], object]:
        """Makes the source's place hold exactly these files; None: takes the place away."""
        raise NotImplementedError

    def test_it_is_a_source(self, source: Source, fill: Any) -> None:
        assert isinstance(source, Source)
        assert isinstance(source.url, str)

    def test_an_empty_place_has_no_files_and_no_findings(self, source: Source, fill: Any) -> None:
        fill({})
        snapshot = source.read()
        assert (dict(snapshot.files), snapshot.findings) == ({}, ())

    def test_files_come_back_byte_for_byte(self, source: Source, fill: Any) -> None:
        files = {
            "a.yaml": b"user: \xff\x00",
            "deep/er/b.yaml.j2": b"",
            "deep/part.j2": "ü\r\n".encode(),
            "a b/ü+&=%25#;@.yaml": b"user: x",
        }
        fill(files)
        assert dict(source.read().files) == files

    def test_the_version_moves_with_every_change_only(self, source: Source, fill: Any) -> None:
        versions = []
        for files in (
            {},
            {"a.yaml": b"user: x"},
            {"a.yaml": b"user: y"},
            {"a.yaml": b"user: y", "b.yaml": b"user: y"},
            {"a.yaml": b"user: y", "n/b.yaml": b"user: y"},
            {"a.yaml": b"user: yn", "b.yaml": b"user: y"},
        ):
            fill(files)
            snapshot = source.read()
            assert dict(snapshot.files) == files
            assert source.read().version == snapshot.version
            versions.append(snapshot.version)
        assert len(set(versions)) == len(versions)

    def test_a_snapshot_does_not_change_afterwards(self, source: Source, fill: Any) -> None:
        fill({"a.yaml": b"user: x"})
        snapshot = source.read()
        fill({"a.yaml": b"user: y"})
        source.read()
        assert dict(snapshot.files) == {"a.yaml": b"user: x"}

    def test_nothing_there_is_an_error_that_names_the_layer(
        self, source: Source, fill: Any
    ) -> None:
        if not self.can_be_gone:
            return
        for text in (b"user: x", b"user: y"):
            fill({"a.yaml": text})
            assert dict(source.read().files) == {"a.yaml": text}
            fill(None)
            with pytest.raises(LayerNotFound) as caught:
                source.read()
            assert caught.value.layer == source.url

    def test_changes_bring_what_is_new_and_end(self, source: Source, fill: Any) -> None:
        if hasattr(source, "refresh_s"):
            source.refresh_s = 0.01
        fill({"a.yaml": b"user: x"})
        source.read()
        stop, found = threading.Event(), threading.Event()

        def follow() -> None:
            while not stop.is_set():
                # What is half there while it is filled is no news yet.
                with suppress(LayerError):
                    for news in source.changes(stop):
                        snapshot = source.read() if news is None else news
                        if dict(snapshot.files) == {"a.yaml": b"user: y"}:
                            found.set()

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        fill({"a.yaml": b"user: y"})
        try:
            assert found.wait(self.deadline_s), "`changes` did not bring the change"
        finally:
            stop.set()
        thread.join(self.deadline_s)
        assert not thread.is_alive(), "`changes` does not end when `stop` is set"

    def test_a_change_replaces_only_what_it_was_made_on(self, source: Source, fill: Any) -> None:
        if not isinstance(source, Writable):
            return
        fill({"a.yaml": b"user: x"})
        source.read()
        source.write(Change("a.yaml", b"user: y", replaces=b"user: x"))
        source.write(Change("n/b.yaml", b"user: y", replaces=None))
        now = {"a.yaml": b"user: y", "n/b.yaml": b"user: y"}
        assert dict(source.read().files) == now
        for stale in (
            Change("a.yaml", b"user: z", replaces=b"user: x"),
            Change("a.yaml", b"user: z", replaces=None),
            Change("a.yaml", None, replaces=b"user: x"),
            Change("c.yaml", b"user: z", replaces=b"user: x"),
        ):
            with pytest.raises(Stale) as caught:
                source.write(stale)
            assert caught.value.layer == source.url
        assert dict(source.read().files) == now
        source.write(Change("n/b.yaml", None, replaces=b"user: y"))
        assert dict(source.read().files) == {"a.yaml": b"user: y"}

    def test_it_can_be_closed_twice(self, source: Source, fill: Any) -> None:
        source.close()
        source.close()


class RemoteSourceContract(SourceContract):
    """What a source over HTTP promises besides. Override `open` and `answers`.

    Attributes:
        deadline_s: The deadline of a reading of the source that `open` gives, in seconds.
        slack_s: Seconds that a reading may take longer, for a machine that does other things too.
        limit_bytes: The most bytes that one reading may take from a server.
        has_digests: False: the place has no digests, so a wrong file cannot be detected.
        is_conditional: False: the place says no ETags.
    """

    deadline_s = 2.0
    slack_s = 3.0
    limit_bytes = 96 << 20
    has_digests = True
    is_conditional = True

    def open(self, origin: str) -> Source:
        """A source that reads from a server, such as ``http://127.0.0.1:8000``."""
        raise NotImplementedError

    def answers(self, files: Files) -> Files:
        """What a server answers where these files are: each path on it → the body."""
        raise NotImplementedError

    @pytest.fixture
    def server(self) -> Iterator[WebServer]:
        """The server that the source reads from."""
        server = WebServer()
        yield server
        server.close()

    @pytest.fixture
    def source(self, server: WebServer) -> Iterator[Source]:
        source = self.open(server.origin)
        yield source
        source.close()

    @pytest.fixture
    def fill(self, server: WebServer) -> Callable[[Files | None], object]:
        def fill(files: Files | None) -> None:
            server.answers = {} if files is None else self.answers(files)

        return fill

    def refuses(self, source: Source) -> LayerUnavailable:
        """The error that reading ends with, in time and of the right kind."""
        problem = self._ended(source.read)
        assert isinstance(problem, LayerUnavailable), f"not a LayerUnavailable: {problem!r}"
        assert problem.layer == source.url, "the error does not name the layer"
        assert source.url in problem.message, "the error's text does not name the layer"
        return problem

    def _ended(self, act: Callable[[], T]) -> T | Exception:
        ended: list[T | Exception] = []

        def run() -> None:
            try:
                ended.append(act())
            except Exception as problem:  # noqa: BLE001 - handed to the test
                ended.append(problem)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self.deadline_s + self.slack_s)
        assert ended, f"a reading takes longer than its {self.deadline_s} s"
        return ended[0]

    def test_what_has_not_changed_is_not_sent_again(
        self, source: Source, fill: Any, server: WebServer
    ) -> None:
        if not self.is_conditional:
            return
        fill({"a.yaml": b"user: x", "b.yaml": b"user: x"})
        before = source.read()
        server.asked.clear()
        assert source.read().version == before.version
        assert {status for _, status, _ in server.asked} == {304}, "If-None-Match is not sent"

    @pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503])
    def test_an_error_of_the_server_is_not_an_empty_place(
        self, source: Source, fill: Any, server: WebServer, status: int
    ) -> None:
        fill({"a.yaml": b"user: x"})
        server.faults["*"] = Fault("status", status)
        self.refuses(source)
        server.faults.clear()
        assert dict(source.read().files) == {"a.yaml": b"user: x"}

    def test_what_failed_halfway_is_read_again(
        self, source: Source, fill: Any, server: WebServer
    ) -> None:
        old, new = {"a.yaml": b"user: x"}, {"a.yaml": b"user: y", "b.yaml": b"user: z"}
        for path in self.answers(new):
            fill(old)
            source.read()
            fill(new)
            server.faults = {path: Fault("status")}
            self.refuses(source)
            server.faults = {}
            assert dict(source.read().files) == new, "the ETag is kept before the files are in"

    @pytest.mark.parametrize("kind", ["silence", "slow head", "slow body", "cut", "garbage"])
    def test_a_server_that_does_not_answer_as_it_should_is_unavailable_in_time(
        self, source: Source, fill: Any, server: WebServer, kind: str
    ) -> None:
        fill({"a.yaml": b"user: x"})
        for path in server.answers:
            server.faults = {path: Fault(kind)}
            self.refuses(source)
        server.faults = {}
        assert dict(source.read().files) == {"a.yaml": b"user: x"}

    def test_nobody_at_the_port_is_unavailable(self, server: WebServer) -> None:
        source = self.open(server.origin)
        server.close()
        self.refuses(source)

    def test_an_answer_that_is_too_large_is_not_taken(
        self, source: Source, fill: Any, server: WebServer
    ) -> None:
        fill({"a.yaml": b"user: x"})
        for path in server.answers:
            server.sent_bytes, server.faults = 0, {path: Fault("flood")}
            self.refuses(source)
            assert server.sent_bytes <= self.limit_bytes, "there is no limit of size"

    def test_a_file_that_is_not_what_its_digest_says_is_not_taken(
        self, source: Source, fill: Any, server: WebServer
    ) -> None:
        if not self.has_digests:
            return
        fill({"a.yaml": b"user: 12345678"})
        for path, body in self.answers({"a.yaml": b"user: 12345678"}).items():
            if b"12345678" in body:
                server.faults = {path: Fault("body", body=body.replace(b"12345678", b"87654321"))}
                self.refuses(source)

    def test_no_other_host_is_asked(self, source: Source, fill: Any, server: WebServer) -> None:
        fill({"a.yaml": b"user: x"})
        other = WebServer()
        other.answers = server.answers
        try:
            for path in server.answers:
                for place in (f"{other.origin}{path}", f"//{other.origin[7:]}{path}"):
                    server.faults = {path: Fault("status", 302, place)}
                    ended = self._ended(source.read)
                    assert not other.asked, "a redirect to another host is followed"
                    assert isinstance(ended, LayerUnavailable)
        finally:
            other.close()

    def test_plain_http_goes_to_this_machine_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import socket

        looked_up: list[object] = []

        def refuse(host: object, *_: object, **__: object) -> None:
            looked_up.append(host)
            raise socket.gaierror("no network in this test")

        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        for origin in ("http://prompts.acme.invalid", "http://10.0.0.1:8000"):
            with pytest.raises(LayerError, match="http"):
                self.open(origin).read()
        assert not looked_up, "plain http is tried on the network"

    def test_its_threads_do_not_keep_the_process_alive(
        self, source: Source, fill: Any, server: WebServer
    ) -> None:
        fill({f"{number}.yaml": b"user: x%d" % number for number in range(20)})
        source.read()
        assert not server.strangers, "threads that are no daemons keep the process from ending"
