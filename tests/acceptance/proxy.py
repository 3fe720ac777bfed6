"""Between a daemon and its Redis: it lets a command through and cuts the reply, or hangs up."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from tests.programs import Redis


class Proxy:
    """Between daemon and Redis, on a Unix socket. It lets a command through that contains a marked text, and instead of
    the reply cuts the connection; each mark counts once. In `mode` close it hangs up on the first bytes.
    """

    def __init__(self, folder: Path, redis: Redis) -> None:
        self.path = str(folder / "proxy.sock")
        self.url = f"unix://{self.path}"
        self.target = redis.socket
        self.marks: set[bytes] = set()
        self.cuts = 0  # connections
        self.replies = 0  # to marked commands
        self.mode = ""
        self._ended = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen(64)
        self._selector.register(self._server, selectors.EVENT_READ)
        self._pairs: dict[socket.socket, tuple[socket.socket, bool]] = {}
        self._doomed: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.is_set():
            for key, _ in self._selector.select(0.1):
                source: Any = key.fileobj
                try:
                    self._accept() if source is self._server else self._pass(source)
                except OSError:
                    self._drop(source)

    def _accept(self) -> None:
        near, _ = self._server.accept()
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(self.target)
        except OSError:
            near.close()
            return
        for one, other, of_daemon in ((near, far, True), (far, near, False)):
            self._pairs[one] = (other, of_daemon)
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, source: socket.socket) -> None:
        if source not in self._pairs:
            return
        other, of_daemon = self._pairs[source]
        data = source.recv(1 << 20)
        if not data or (self.mode == "close" and of_daemon):
            self._drop(source)
            return
        if of_daemon:
            for mark in [mark for mark in list(self.marks) if mark in data]:
                self.marks.discard(mark)
                self.replies += 1
                self._doomed.add(other)
        elif source in self._doomed:
            self.cuts += 1
            self._drop(source)
            return
        other.sendall(data)

    def _drop(self, one: socket.socket) -> None:
        if one in self._pairs:
            other, _ = self._pairs.pop(one)
            self._pairs.pop(other, None)
            for each in (one, other):
                self._doomed.discard(each)
                self._selector.unregister(each)
                each.close()

    def drop_all(self) -> None:
        """Shut every connection; the thread finds them closed."""
        for each in list(self._pairs):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        for each in list(self._pairs):
            each.close()
        self._server.close()
