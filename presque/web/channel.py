"""One client's connection: its deadlines, refusals before there is a route, and whether what was sent has arrived."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.web import http
from zope.interface import implementer

from presque.web.answers import error_body, raw_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from presque.web.site import Site

LINGER = 2.0  # seconds that a refused client may go on sending, so that it can read why
BYTES_ACKED = 120  # <linux/tcp.h>: where tcpi_bytes_acked is in struct tcp_info, 8 bytes; tcpi_state is its first byte
TCP_CLOSE = 7  # <net/tcp_states.h>: reset, or closed by both sides
SIOCOUTQ = 0x5411  # <linux/sockios.h>: bytes in the send queue that the peer has not acknowledged (unix(7): not read)


@implementer(IHalfCloseableProtocol)
class Channel(http.HTTPChannel):
    """One client's connection."""

    factory: Site
    site: Site
    transport: Any
    refused = False  # we have answered with a refusal and read no more
    lost = False
    _written = 0  # bytes, since the connection began
    _acked_before: int | None = None  # bytes that had been acknowledged then; None where one cannot know
    _closing = False  # we have begun to close, and wait until what was written has arrived
    _begun = False  # bytes of a request have come, and not all of it
    _idle_look: IDelayedCall | None = None  # when to look whether the connection is idle for too long
    _idle_since = 0.0
    _deadline: IDelayedCall | None = None  # for all of a request, or for reading what we sent

    def connectionMade(self) -> None:
        """Note what stays the same as long as the connection does; Twisted asks for it at each request."""
        super().connectionMade()
        self._is_plain = not hasattr(self.transport, "transport")  # no TLS between us and the socket
        self._handle = _socket(self.transport)
        if not self._is_plain:  # TLS cannot be half closed; with a descriptor of our own we can look after the end
            self._handle = self._handle.dup()
        self._acked_before = _acknowledged(self._handle)
        self._host, self._peer = self.transport.getHost(), self.transport.getPeer()

    def setTimeout(self, period: int | None) -> int | None:
        """From now on the connection may be idle for `period` seconds; None, as while a request is answered, for ever.
        Returns what was said before. Twisted asks for a new timer, and ends it, at each request; here one looks.
        """
        before, self.timeOut = self.timeOut, period
        self.resetTimeout()
        if period is not None and self._idle_look is None:
            self._idle_look = self.callLater(period, self._look_whether_idle)
        return before

    def resetTimeout(self) -> None:
        """The connection is not idle."""
        self._idle_since = self.factory.clock.seconds()

    def _look_whether_idle(self) -> None:
        self._idle_look = None
        if self.timeOut is None:
            return  # a request is being answered; what is said after that looks again
        left = self.timeOut - (self.factory.clock.seconds() - self._idle_since)
        if left <= 0:
            self.timeoutConnection()
        else:
            self._idle_look = self.callLater(left, self._look_whether_idle)

    def getHost(self) -> Any:
        """Our address."""
        return self._host

    def getPeer(self) -> Any:
        """The client's address."""
        return self._peer

    def write(self, data: bytes) -> None:
        """Write to the client: what the kernel takes at once, without a turn of the reactor; the rest as usual."""
        self._written += len(data)
        transport = self.transport
        # As in _on_its_way: Twisted's two buffers.
        if self._is_plain and transport.connected and not (transport.dataBuffer or transport._tempDataBuffer):
            try:
                sent = self._handle.send(data)
            except OSError:  # it takes nothing now; or the client has left, and the transport finds that by itself
                sent = 0
            data = data[sent:]
        if data:
            transport.write(data)

    def writeSequence(self, iovec: list[bytes]) -> None:
        """As `write`."""
        self.write(b"".join(iovec))

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client; the time for a whole request runs from its first byte."""
        if self.refused:
            return
        self._begun = True
        super().dataReceived(data)
        if self._begun and not self._handlingRequest and self._deadline is None and not self.refused and not self.lost:
            self._after(self.factory.request_timeout, self._too_slow)

    def allContentReceived(self) -> None:
        """A request is complete."""
        self._begun = False
        if not self._waitingForTransport:  # else it is the time in which the client has to read
            self._stop_deadline()
        if self.factory.handoff.awaits(self):
            self.factory.handoff.look_at(self)  # who asks again has most likely read the answer before
        if not self.refused:
            super().allContentReceived()

    def headerReceived(self, line: bytes) -> bool:
        """A header is complete."""
        try:
            return bool(super().headerReceived(line))
        except ValueError:  # Python reads no number of more than 4,300 digits
            self.refuse(http.BAD_REQUEST, "bad request")
            return False

    def lineReceived(self, line: bytes) -> None:
        """A line of a request's head; of no interest once the request was refused."""
        if not self.refused:
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line of a request's head is longer than 16 KiB."""
        self.refuse(http.BAD_REQUEST, "bad request")

    def rawDataReceived(self, data: bytes) -> None:
        """Part of a request's body; of no interest once the request was refused."""
        if not self.refused:
            super().rawDataReceived(data)

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Whether the connection may serve another request: not while we stop."""
        if self.factory.stopping:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def _after(self, seconds: float, function: Callable[[], object]) -> None:
        """Call `function` unless something else happens first."""
        self._stop_deadline()
        self._deadline = self.callLater(seconds, lambda: self._expired(function))

    def _expired(self, function: Callable[[], object]) -> None:
        self._deadline = None
        function()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        if not self._handlingRequest:
            self.refuse(http.REQUEST_TIMEOUT, "request took too long")

    def pauseProducing(self) -> None:
        """The client does not read: it has as long as for a request before it is cut off."""
        super().pauseProducing()
        self._after(self.factory.request_timeout, self.transport.abortConnection)

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._stop_deadline()
        super().resumeProducing()

    def refuse(self, status: int, message: str) -> None:
        """Answer without a route, and close. What the client still sends is read and thrown away for a moment: closing
        with unread bytes would reset the connection, and the client would never see the answer.
        """
        if self.refused:
            return
        self.refused = True
        self._stop_deadline()
        self.setTimeout(None)
        path = getattr(self, "_path", b"")  # there is none before the first line has come
        self.write(raw_answer(status, *error_body(path, status, message)))
        if self._is_plain:
            self.transport.loseWriteConnection()
            self._after(LINGER, self.transport.abortConnection)
        else:
            self.loseConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Twisted calls this for what is not HTTP; its own answer has no body."""
        self.refuse(http.BAD_REQUEST, "bad request")

    def _send100Continue(self) -> None:
        """Twisted calls this even for a request that we have refused by its headers."""
        if not self.refused:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def timeoutConnection(self) -> None:
        """An idle connection is closed without a word, in the log either."""
        self.loseConnection()
        self._after(LINGER, self.transport.abortConnection)

    def mark(self) -> int:
        """The place in the stream to the client where what was written until now ends."""
        if self.lost:
            return 0
        if self._is_plain and self._acked_before is not None:
            return self._acked_before + self._written
        return (_acknowledged(self._handle) or 0) + _on_its_way(self.transport)

    def reached(self, mark: int | None) -> bool | None:
        """Whether the stream has reached the client up to `mark`: True once its kernel has acknowledged that, False
        when the connection is lost or was reset, None while that is not known, as it is while there is no mark.
        """
        if self.lost:
            return False
        if self._acked_before is None:
            if self._handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return False
            return (mark is not None and _on_its_way(self.transport) == 0) or None
        info = self._handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8)
        if info[0] == TCP_CLOSE and self._handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return False
        return (mark is not None and int.from_bytes(info[BYTES_ACKED:], sys.byteorder) >= mark) or None

    def loseConnection(self) -> None:
        """Close from our side. While a delivery is not known to have arrived only our half is closed, or nothing where
        that cannot be done (TLS): a closed socket could not tell any more.
        """
        if not self.factory.handoff.awaits(self):
            super().loseConnection()
        elif not self._closing:
            if self._is_plain:
                self.transport.loseWriteConnection()
            self._after(self.factory.request_timeout, self.transport.abortConnection)
        self._closing = True

    def settled(self) -> None:
        """Nothing is awaited any more: close now what was to be closed."""
        if self._closing and not self.lost:
            super().loseConnection()

    def writeConnectionLost(self) -> None:
        """We have closed our side: what was written is out."""

    def readConnectionLost(self) -> None:
        """The client has closed its side. Either it has left, and what we send now is answered with a reset; or it only
        has no more to ask (`nc -N`), and still reads. So what is being answered is answered, unless it waits.
        """
        handoff = self.factory.handoff
        self.persistent = False
        handoff.look_at(self)
        if handoff.waits(self):
            super().loseConnection()
        elif not self.requests:
            self.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, and with it whatever had not reached the client."""
        if not self._is_plain:
            if not reason.check(ConnectionLost, ConnectionAborted):  # closed in order: what was acknowledged was read
                self.factory.handoff.look_at(self)
            self._handle.close()
        self.lost = True
        self.factory.channels.discard(self)
        self._stop_deadline()
        super().connectionLost(reason)
        if self._idle_look is not None:
            self._idle_look.cancel()
            self._idle_look = None
        self.factory.handoff.look_at(self)


def _socket(transport: Any) -> Any:
    return getattr(transport, "transport", transport).getHandle()  # below TLS


def _acknowledged(handle: socket.socket) -> int | None:
    """How many bytes the client has acknowledged since the connection began; None where one cannot know."""
    if sys.platform != "linux" or handle.family == socket.AF_UNIX:
        return None
    info = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8)
    return int.from_bytes(info[BYTES_ACKED:], sys.byteorder)


def _on_its_way(transport: Any) -> int:
    """How many bytes were written and are not acknowledged."""
    handle = _socket(transport)
    raw = getattr(transport, "transport", transport)
    # Twisted has no public word for what it has not given to the kernel yet; these are its two buffers.
    ours = len(raw.dataBuffer) - raw.offset + raw._tempDataLen
    if sys.platform != "linux":
        return ours
    (kernels,) = struct.unpack("i", fcntl.ioctl(handle, SIOCOUTQ, b"\0\0\0\0"))
    return int(ours + kernels)
