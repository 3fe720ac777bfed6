"""A long way to a Redis: TCP on loopback in front of its Unix socket, where each byte takes half of the round trip.

python -m tests.acceptance.link SOCKET SECONDS, the round trip's. It prints its port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import cast


class Way:
    """One direction of a connection: what goes in comes out `delay` seconds later, in its order."""

    def __init__(self, delay: float, opened: float) -> None:
        self._delay = delay
        self._opened = opened  # when the handshake would be over: before that nothing sets out
        self._loop = asyncio.get_running_loop()
        self._under_way: deque[tuple[float, bytes]] = deque()
        self.out: asyncio.WriteTransport | None = None

    def send(self, data: bytes) -> None:
        """Send these bytes; none of them is the end of the connection."""
        arrives = max(self._loop.time(), self._opened) + self._delay
        self._under_way.append((arrives, data))
        if len(self._under_way) == 1:
            self._loop.call_at(arrives, self._arrive)

    def _arrive(self) -> None:
        now = self._loop.time()
        while self._under_way and (self.out is None or self._under_way[0][0] <= now):
            if self.out is None:  # the other side is not connected yet
                self._loop.call_later(0.001, self._arrive)
                return
            data = self._under_way.popleft()[1]
            if data:
                self.out.write(data)
            else:
                self.out.close()
        if self._under_way:
            self._loop.call_at(self._under_way[0][0], self._arrive)


class End(asyncio.Protocol):
    """One end of the link: what it receives goes the `way` to the other."""

    def __init__(self, way: Way, back: Way) -> None:
        self.way, self.back = way, back

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.back.out = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self.way.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.way.send(b"")


class Near(End):
    """The end that the daemon connects to."""

    def __init__(self, path: str, round_trip: float) -> None:
        opened = asyncio.get_running_loop().time() + round_trip
        super().__init__(Way(round_trip / 2, opened), Way(round_trip / 2, opened))
        self._path = path
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connecting = asyncio.ensure_future(self._connect(transport))

    async def _connect(self, near: asyncio.BaseTransport) -> None:
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: End(self.back, self.way), self._path)
        except OSError:
            near.close()


async def main(path: str, round_trip: float) -> None:
    """Serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Near(path, round_trip), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
