"""Load by blocking sockets and threads: an HTTP client that tells what was refused from what may have been done."""

from __future__ import annotations

import contextlib
import ctypes
import json
import re
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>
PATIENCE = 30.0  # seconds that rows and benchmarks wait for what must come


class Refused(Exception):
    """Nothing was done: there was no connection, or a 503 that says so."""


class Lost(Exception):
    """The connection was lost after the request: perhaps it was done."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """HTTP/1.1 over one connection that is kept. It repeats nothing by itself."""

    def __init__(self, port: int, timeout: float = 30.0) -> None:
        self.port, self.timeout = port, timeout
        self.socket: socket.socket | None = None
        self.left = b""

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket, self.left = None, b""

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """One request. Raises Refused or Lost; a 503 that may have been done is Lost too."""
        reply = self.ask_plainly(method, path, body, **headers)
        if reply.status == 503:
            raise Lost(reply.body) if b"may or may not" in reply.body else Refused(reply.body)
        return reply

    def ask_plainly(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """As `ask`, but a 503 is an answer like any other."""
        if self.socket is None:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port), self.timeout)
            except OSError as error:
                raise Refused(str(error)) from error
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.sendall(encoded(method, path, body, **headers))
            return self._reply()
        except OSError as error:
            self.close()
            raise Lost(str(error)) from error

    def _reply(self) -> Reply:
        assert self.socket is not None
        data = self.left
        while (found := whole(data)) is None:
            if not (more := self.socket.recv(262144)):
                raise OSError("closed")
            data += more
        reply, self.left = found
        return reply

    def post(self, path: str, value: Any = None, **headers: str) -> Reply:
        return self.ask("POST", path, json.dumps(value or {}, separators=(",", ":")).encode(), **headers)


def encoded(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def whole(data: bytes) -> tuple[Reply, bytes] | None:
    """The first whole answer in `data` and what follows it; None while it is not whole."""
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return None
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    size = int(length[1]) if length else 0
    if len(rest) < size:
        return None
    return Reply(int(head[9:12]), rest[:size]), rest[size:]


def deafen(client: socket.socket) -> None:
    """Make a client's kernel drop all that comes, as a machine does that has vanished without a word."""
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET 0: keep no byte of a packet
    client.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(code)))


def together(tasks: Iterable[Callable[[], Any]]) -> list[Any]:
    """Run each in a thread; all results, or the first failure once all have ended."""
    tasks = list(tasks)
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]


def until(check: Callable[[], Any], seconds: float = PATIENCE, what: str = "") -> float:
    """Wait until `check()` is true; how many seconds that took. A Refused or Lost is not yet true."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(Refused, Lost):
            if check():
                return time.monotonic() - began
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"it never came: {what}")
        time.sleep(0.005)


def insist(ask: Callable[[], Reply], good: tuple[int, ...], seconds: float = 60.0) -> tuple[Reply, int]:
    """Repeat what may be repeated until it is answered so; the answer, and how many tries it took."""
    tries = 0
    ends = time.monotonic() + seconds
    while True:
        tries += 1
        with contextlib.suppress(Refused, Lost):
            if (reply := ask()).status in good:
                return reply, tries
            raise AssertionError(f"{reply.status} {reply.body[:300]!r}")
        if time.monotonic() > ends:
            raise TimeoutError("never answered")
        time.sleep(0.02)


def works(port: int, queue: str = "probe", seconds: float = PATIENCE) -> float:
    """Seconds until an insertion is accepted."""
    client = Client(port)
    return until(lambda: client.post(f"/q/{queue}", {"probe": 1}).status == 201, seconds, "an insertion")


def percentile(values: list[float], part: float) -> float:
    """The value below which `part` (0 to 1) of them lie."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * part))], 4) if ordered else 0.0
