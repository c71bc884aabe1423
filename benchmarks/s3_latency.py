"""A line that is `delay_s` long: whatever the server says arrives that much later.

Ours because nginx cannot wait by itself, and a kernel's netem needs rights that few have. It reads
no HTTP: one delay for each answer however many bytes it has, pipelined, and none for connecting.
"""

from __future__ import annotations

import asyncio
from collections import deque


class _Side(asyncio.Protocol):
    """One end of a connection; what it hears it hands on to the other end."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None
        self.waiting: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        while self.waiting:
            transport.write(self.waiting.popleft())

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.waiting.append(data)
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, self.other.send)
        else:
            self.other.send()

    def send(self) -> None:
        if self.transport is not None and self.waiting and not self.transport.is_closing():
            self.transport.write(self.waiting.popleft())

    def connection_lost(self, _: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


async def _serve(listen: int, target: int, delay_s: float) -> None:
    loop = asyncio.get_running_loop()

    class Front(_Side):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            back = _Side(delay_s)
            self.other, back.other = back, self
            self.dialling = loop.create_task(
                loop.create_connection(lambda: back, "127.0.0.1", target)
            )

    server = await loop.create_server(lambda: Front(0.0), "127.0.0.1", listen, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


def serve(listen: int, target: int, delay_s: float) -> None:
    asyncio.run(_serve(listen, target, delay_s))
