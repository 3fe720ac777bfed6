"""How much of the data written to a client's connection has reached the client.

"Reached" means that the client's kernel has acknowledged the bytes; what happens to the connection afterwards, a reset
or a close without close_notify, changes nothing. On a Unix socket it means that the client has read them. Where neither
can be known, bytes count as reached once they were handed to our own kernel.
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

NEVER = sys.maxsize  # a position in the stream that is never reached: its bytes were not written

_BYTES_ACKED = 120  # <linux/tcp.h>: offset of tcpi_bytes_acked (8 bytes) in tcp_info; tcpi_state is the first byte
_TCP_CLOSE = 7  # <net/tcp_states.h>: reset, given up, or closed by both sides
_SIOCOUTQ = 0x5411  # <linux/sockios.h>: bytes in the send queue; on a Unix socket, bytes that the peer has not read


class Arrival:
    """How much was written to one connection, and how much of it has arrived. Bytes are counted at the socket, that is,
    below TLS. `closing` is called just before the socket is closed, the last moment at which it can be asked.
    """

    def __init__(self, transport: Any, closing: Callable[[], object]) -> None:
        self.written = 0  # bytes, since this object was created
        self.ended = False  # bytes that have not arrived by now never will
        self._transport = transport
        self._raw = _below(transport)
        self._closing = closing
        self._handle = self._raw.getHandle()
        self.is_plain = self._raw is transport  # no layer such as TLS between us and the socket
        self._is_local = self._handle.family == socket.AF_UNIX
        self._is_torn = False  # a Unix socket whose peer has closed without reading everything
        self._arrived = 0
        self._acknowledged_before = 0
        self._is_told = sys.platform == "linux" and not self._is_local  # the kernel reports acknowledged bytes
        if self._is_told:
            self._acknowledged_before = self._ask()
        self._write_raw = self._raw.write
        if not self.is_plain:
            self._raw.write = self._send
        # Twisted reports the end of a connection only after its socket is closed.
        self._raw.connectionLost = self._connection_lost

    def write(self, data: bytes, hurries: bool = False) -> int:
        """Write to the client. Returns the position in the stream where `data` ends, or NEVER if it was not accepted.
        With `hurries`, the client's kernel acknowledges it soon.
        """
        # On an active connection a kernel delays an acknowledgement by up to 40 ms, to send it along with data, and a
        # reset within that time discards it. A second segment since the last acknowledgement is acknowledged as soon
        # as it was read.
        if hurries and self.written and len(data) > 1 and self._has_all():
            self._write(data[:-1])
            data = data[-1:]
        if self.is_plain:
            self._send(data)
            return self.written
        return self._write(data)

    def _has_all(self) -> bool:
        """Whether everything has arrived; asks the kernel only if that is not known already."""
        return self._arrived == self.written or self.until() == self.written

    def _write(self, data: bytes) -> int:
        if self.is_plain:
            self._send(data)
            return self.written
        before = self.written
        if isinstance(self._transport, TLSMemoryBIOProtocol):
            # Twisted's buffered TLS writes wait for the next turn of the reactor, to be sent together. We write in one
            # piece, and need to know its encrypted length now.
            TLSMemoryBIOProtocol.write(self._transport, data)
        else:
            self._transport.write(data)
        return self.written if self.written - before >= len(data) else NEVER

    def _send(self, data: bytes) -> None:
        """Send what the kernel accepts at once, without a turn of the reactor; write the rest as usual."""
        self.written += len(data)
        raw = self._raw
        if raw.connected and unsent(raw) == 0:
            try:
                sent = self._handle.send(data)
            except OSError:  # the kernel accepts nothing now, or the client has left, as the transport will find out
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self._write_raw(data)

    @property
    def unsent(self) -> int:
        """How many bytes the kernel has not accepted yet; 0 if Twisted does not tell."""
        return unsent(self._raw) or 0

    def until(self) -> int:
        """How many bytes of the stream have arrived."""
        if self.ended:
            return self._arrived
        if self._is_told:
            self._arrived = self._ask() - self._acknowledged_before
        elif not self._is_torn:
            arrived = self.written - self.on_its_way()
            # In this order: when a peer closes, the error is set before its unread data is discarded.
            if self._is_local and self._handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self._is_torn = True
            else:
                self._arrived = max(arrived, self._arrived)
        return self._arrived

    def reached(self, mark: int) -> bool | None:
        """Whether the stream has reached the client up to position `mark`; None while that is not known."""
        if self.until() >= mark:
            return True
        return False if self.ended or self._is_torn else None

    def _ask(self) -> int:
        info = self._handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED + 8)
        if info[0] == _TCP_CLOSE:
            self.ended = True
        return int.from_bytes(info[_BYTES_ACKED:], sys.byteorder)

    def on_its_way(self) -> int:
        """How many bytes were written and are not known to have reached the client."""
        ours = unsent(self._raw)
        if ours is None:
            return self.written - self._arrived  # the rest is not known to have arrived
        if sys.platform != "linux":
            return ours
        (unread,) = struct.unpack("i", fcntl.ioctl(self._handle, _SIOCOUTQ, b"\0\0\0\0"))
        return ours + int(unread)

    def _connection_lost(self, reason: Failure) -> None:
        """The connection has ended, and its socket is not closed yet."""
        del self._raw.connectionLost
        if self._is_local and reason.check(ConnectionLost):
            self._is_torn = True  # the error was reported already and would not be reported again
        self.until()
        self.ended = True
        try:
            self._closing()
        finally:
            self._raw.connectionLost(reason)


def is_known() -> bool:
    """Whether this Twisted tells how much data it has not given to the kernel yet; it has no public API for that."""
    names = vars(FileDescriptor(object()))  # type: ignore[arg-type]  # any reactor will do
    return {"dataBuffer", "offset", "_tempDataLen"} <= {*names, *dir(FileDescriptor)}


def unsent(raw: Any) -> int | None:
    """How many bytes a Twisted transport has not given to the kernel yet; None if it does not tell."""
    return len(raw.dataBuffer) - raw.offset + int(raw._tempDataLen) if _IS_KNOWN else None


_IS_KNOWN = is_known()


def _below(transport: Any) -> Any:
    """The socket's own transport, below TLS and whatever else wraps it."""
    while hasattr(transport, "transport"):
        transport = transport.transport
    return transport
