"""Connections whose every byte is charged to the exchange under way; see `bounds`."""

from __future__ import annotations

import io
import socket
import sys
from http.client import HTTPConnection, HTTPSConnection
from typing import Any

from yamlgraph_prompts.sources.bounds import Meter


class MeteredSocket:
    """A connected socket that reads and writes no longer and no more than its meter allows.

    Args:
        connected: The socket, plain or with TLS.
        meter: The meter of the connection that uses it.
    """

    def __init__(self, connected: socket.socket, meter: Meter) -> None:
        self._socket = connected
        self._meter = meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, seconds: float | None) -> None:
        """Seconds to wait for the next byte, as long as the meter allows as much."""
        self._meter.read_s = seconds
        self._socket.settimeout(seconds)

    def sendall(self, data: Any) -> None:
        """As a socket's."""
        self._socket.settimeout(self._meter.wait_s())
        self._socket.sendall(data)
        self._meter.sent(memoryview(data).nbytes)

    def makefile(self, mode: str = "r", buffering: int = -1) -> io.RawIOBase | io.BufferedReader:
        """A file to read from; `mode` is ``"rb"``, as all HTTP clients ask for it."""
        raw = _Incoming(self._socket, self._meter)
        return raw if buffering == 0 else io.BufferedReader(raw)


class _Incoming(io.RawIOBase):
    def __init__(self, connected: socket.socket, meter: Meter) -> None:
        self._socket = connected
        # Keeps the socket open when its connection lets go of it before the answer has been read.
        self._hold = connected.makefile("rb", buffering=0)
        self._meter = meter

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        self._socket.settimeout(self._meter.wait_s())
        try:
            count = self._socket.recv_into(into)
        except TimeoutError:
            # Either the next byte does not come, or the whole takes too long.
            self._meter.wait_s()
            raise
        self._meter.received(count)
        return count

    def close(self) -> None:
        self._hold.close()
        super().close()


class Metered:
    """Makes a class of connections metered, `http.client`'s and those built on them."""

    limit_bytes = sys.maxsize
    sock: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.meter = Meter(self.limit_bytes)

    def connect(self) -> None:
        """Connect, and meter what comes from then on."""
        super().connect()  # type: ignore[misc]
        if not isinstance(self.sock, MeteredSocket):
            self.sock = MeteredSocket(self.sock, self.meter)

    def putrequest(self, *args: Any, **kwargs: Any) -> Any:
        """Begin an exchange."""
        self.meter.begin()
        return super().putrequest(*args, **kwargs)  # type: ignore[misc]

    def getresponse(self) -> Any:
        """The answer, whose head has come."""
        response = super().getresponse()  # type: ignore[misc]
        self.meter.body(response.status)
        return response


class MeteredHTTP(Metered, HTTPConnection):
    """A metered connection."""


class MeteredHTTPS(Metered, HTTPSConnection):
    """A metered connection with TLS."""
