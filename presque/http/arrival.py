"""How much of what was written to a client's connection has reached it.

"Reached" means that the client's kernel has acknowledged the bytes; what happens to the connection afterwards, a reset
or a close without a word, changes nothing. On a Unix socket there is no kernel between: the client has read them. Where
neither can be known they count once they were handed to our own kernel.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.protocols.tls import TLSMemoryBIOProtocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.python.failure import Failure

NEVER = sys.maxsize  # a place in the stream that is not reached: its bytes were not written

_BYTES_ACKED = 120  # <linux/tcp.h>: where tcpi_bytes_acked is in struct tcp_info, 8 bytes; tcpi_state is its first byte
_TCP_CLOSE = 7  # <net/tcp_states.h>: reset, given up, or closed by both sides
_SIOCOUTQ = 0x5411  # <linux/sockios.h>: bytes in the send queue; of a Unix socket, what its peer has not read


class Arrival:
    """What was written to one connection, and what of it has arrived. Bytes are counted as the socket has them, so
    below TLS. `closing` is called before the socket is closed: the last moment at which it can be asked.
    """

    def __init__(self, transport: Any, closing: Callable[[], object]) -> None:
        self.written = 0  # bytes, since we know the connection
        self.ended = False  # what has not arrived by now never will
        self._transport = transport
        self._raw = _below(transport)
        self._closing = closing
        self._handle = self._raw.getHandle()
        self.is_plain = self._raw is transport  # nothing, such as TLS, between us and the socket
        self._is_local = self._handle.family == socket.AF_UNIX
        self._is_torn = False  # a Unix socket whose peer has closed without reading all
        self._arrived = 0
        self._acknowledged_before = 0
        self._is_told = sys.platform == "linux" and not self._is_local  # the kernel tells what was acknowledged
        if self._is_told:
            self._acknowledged_before = self._ask()
        self._write_raw = self._raw.write
        if not self.is_plain:
            self._raw.write = self._send
        # Twisted tells of the end of a connection once its socket is closed.
        self._raw.connectionLost = self._connection_lost

    def write(self, data: bytes, hurries: bool = False) -> int:
        """Write to the client. Returns where in the stream `data` ends; NEVER when it was not taken. What `hurries` is
        acknowledged soon.
        """
        # On a connection in use a kernel waits up to 40 ms for something to send its acknowledgement with, and a reset
        # within that time takes it along. What comes as a second piece since the last acknowledgement is acknowledged
        # as soon as it was read.
        if hurries and self.written and len(data) > 1 and self._has_all():
            self._write(data[:-1])
            data = data[-1:]
        if self.is_plain:
            self._send(data)
            return self.written
        return self._write(data)

    def _has_all(self) -> bool:
        """Whether all has arrived; the kernel is not asked again for what it has told."""
        return self._arrived == self.written or self.until() == self.written

    def _write(self, data: bytes) -> int:
        if self.is_plain:
            self._send(data)
            return self.written
        before = self.written
        if isinstance(self._transport, TLSMemoryBIOProtocol):
            # Twisted's own writes through TLS wait for the next turn of the reactor, to be sent together: we write in
            # one piece, and want to know now what it has become.
            TLSMemoryBIOProtocol.write(self._transport, data)
        else:
            self._transport.write(data)
        return self.written if self.written - before >= len(data) else NEVER

    def _send(self, data: bytes) -> None:
        """What the kernel takes goes at once, without a turn of the reactor; the rest as usual."""
        self.written += len(data)
        raw = self._raw
        if raw.connected and unsent(raw) == 0:
            try:
                sent = self._handle.send(data)
            except OSError:  # it takes nothing now; or the client has left, and the transport finds that by itself
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self._write_raw(data)

    def until(self) -> int:
        """How much of the stream has arrived."""
        if self.ended:
            return self._arrived
        if self._is_told:
            self._arrived = self._ask() - self._acknowledged_before
        elif not self._is_torn:
            arrived = self.written - self.on_its_way()
            # In this order: a peer that closes is noted as an error before what it has not read is thrown away.
            if self._is_local and self._handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._is_torn = True
            else:
                self._arrived = max(arrived, self._arrived)
        return self._arrived

    def reached(self, mark: int) -> bool | None:
        """Whether the stream has reached the client up to `mark`; None while that is not known."""
        if self.until() >= mark:
            return True
        return False if self.ended or self._is_torn else None

    def _ask(self) -> int:
        info = self._handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
        if info[0] == _TCP_CLOSE:
            self.ended = True
        return int.from_bytes(info[_BYTES_ACKED:], sys.byteorder)

    def on_its_way(self) -> int:
        """How many bytes were written and are not known to be with the client."""
        ours = unsent(self._raw)
        if ours is None:
            return self.written - self._arrived  # nothing more is known to have arrived
        if sys.platform != "linux":
            return ours
        (unread,) = struct.unpack("i", fcntl.ioctl(self._handle, _SIOCOUTQ, b"\0\0\0\0"))
        return ours + int(unread)

    def _connection_lost(self, reason: Failure) -> None:
        """The connection is at its end, and its socket not closed yet."""
        del self._raw.connectionLost
        if self._is_local and reason.check(ConnectionLost):
            self._is_torn = True  # the error was reported already, and would not be a second time
        self.until()
        self.ended = True
        try:
            self._closing()
        finally:
            self._raw.connectionLost(reason)


def is_known() -> bool:
    """Whether this Twisted tells what it has not given to the kernel yet; it has no public word for that."""
    names = vars(FileDescriptor(object()))  # type: ignore[arg-type]  # any reactor will do
    return {"dataBuffer", "offset", "_tempDataLen"} <= {*names, *dir(FileDescriptor)}


def unsent(raw: Any) -> int | None:
    """How many bytes a transport of Twisted's has not given to the kernel yet; None where it does not tell."""
    return len(raw.dataBuffer) - raw.offset + int(raw._tempDataLen) if _IS_KNOWN else None


_IS_KNOWN = is_known()


def _below(transport: Any) -> Any:
    """The socket's own transport, below TLS and whatever else wraps it."""
    while hasattr(transport, "transport"):
        transport = transport.transport
    return transport
