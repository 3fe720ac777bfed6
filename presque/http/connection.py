"""One client's connection: its deadlines, and refusals before there is a route."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.web import http
from zope.interface import implementer

from presque.http.arrival import NEVER, Arrival
from presque.http.target import in_origin_form, routed
from presque.web.answers import error_body, raw_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from presque.http.site import Site

PATIENCE = (
    0.92  # of the time that a client may take no byte: we end it before the kernel does (TCP_USER_TIMEOUT), which
)
LOOK = 0.03  # would not tell the client; and how often we look meanwhile
LINGER = 2.0  # seconds that a refused client may go on sending, so that it can read why

_TRANSFER_ENCODING = re.compile(rb"(?i)transfer-encoding[ \t]*:")
_CHUNKED = re.compile(rb"(?i)[ \t]*chunked[ \t]*")


@implementer(IHalfCloseableProtocol)
class Channel(http.HTTPChannel):
    """One client's connection."""

    factory: Site
    site: Site
    transport: Any
    refused = False  # we have answered with a refusal and read no more
    lost = False
    mark = NEVER  # the place in the stream to the client where what was written last ends
    _closing = False  # we have begun to close, and wait until what was written has arrived
    _begun = False  # bytes of a request have come, and not all of it
    _idle_look: IDelayedCall | None = None  # when to look whether the connection is idle for too long
    _idle_since = 0.0
    _deadline: IDelayedCall | None = None  # for all of a request, or for reading what we sent
    _taken = 0  # how much of what we wrote the client had taken when it was last seen to take any, and when that was
    _taken_at = 0.0

    def connectionMade(self) -> None:
        """Note what stays the same as long as the connection does; Twisted asks for it at each request."""
        super().connectionMade()
        self.arrival = Arrival(self.transport, self._before_the_end)
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
        """Write to the client."""
        self.mark = self.arrival.write(data)

    def writeSequence(self, iovec: list[bytes]) -> None:
        """As `write`."""
        self.write(b"".join(iovec))

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client; the time for a whole request runs from its first byte."""
        if self.refused:
            return
        super().dataReceived(data)
        self._begun = self._begun or bool(self._buffer)
        if self._begun and not self._handlingRequest and self._deadline is None and not self.refused and not self.lost:
            self._after(self.factory.request_timeout, self._too_slow)

    def allContentReceived(self) -> None:
        """A request is complete."""
        if self.refused:
            return
        self._begun = False
        if not self._waitingForTransport:  # else it is the time in which the client has to read
            self._stop_deadline()
        if self.factory.handoff.awaits(self):
            self.factory.handoff.look_at(self)  # who asks again has most likely read the answer before
        super().allContentReceived()

    def headerReceived(self, line: bytes) -> bool:
        """A header is complete. Twisted takes `Transfer-Encoding: identity`, and one in HTTP/1.0, which leave open how
        long the request is (RFC 9112, 6.1).
        """
        if line[:1] in b"Tt" and not self._is_framed_by(line):
            self._respondToBadRequestAndDisconnect()
            return False
        try:
            return bool(super().headerReceived(line))
        except ValueError:  # Python reads no number of more than 4,300 digits
            self.refuse(http.BAD_REQUEST, "bad request")
            return False

    def _is_framed_by(self, line: bytes) -> bool:
        if not _TRANSFER_ENCODING.match(line):
            return True
        return self._version != b"HTTP/1.0" and _CHUNKED.fullmatch(line.partition(b":")[2]) is not None

    def requestDone(self, request: Any) -> None:
        """An answer is complete. What the client has sent behind that request waits: while it does not read, until it
        does; else until others had their turn. (Twisted answers whatever has come, and keeps the answers.)
        """
        more = self._buffer or any(self._dataBuffer)
        answered_at_once = self._busyReceiving
        self.paused = bool(more and (answered_at_once or self._waitingForTransport))
        super().requestDone(request)
        if self.paused and self.persistent:
            self._networkProducer.pauseProducing()
            if not self._waitingForTransport:
                self.callLater(0, self._go_on)

    def _go_on(self) -> None:
        """Take what has been waiting."""
        if self.paused and not self.lost and not self._waitingForTransport:
            self.paused = False
            self._networkProducer.resumeProducing()
            self.dataReceived(b"")

    def lineReceived(self, line: bytes) -> None:
        """A line of a request's head; of no interest once the request was refused. One that goes on in a second line
        is refused: what stands before us may have read two where Twisted reads one (RFC 9112, 5.2).
        """
        if self.refused:
            return
        self._begun = True
        if line[:1] in (b" ", b"\t"):
            self._respondToBadRequestAndDisconnect()
        else:
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
        """The client reads more slowly than we write: it is cut off once it has taken no byte for too long."""
        super().pauseProducing()
        self._watch()

    def _watch(self) -> None:
        self._taken, self._taken_at = self.arrival.until(), self.factory.clock.seconds()
        self._look_later()

    def _look_later(self) -> None:
        self._after(self.factory.request_timeout * LOOK, self._look_whether_it_reads)

    def _look_whether_it_reads(self) -> None:
        taken, now = self.arrival.until(), self.factory.clock.seconds()
        if taken > self._taken:
            self._taken, self._taken_at = taken, now
        if now - self._taken_at >= self.factory.request_timeout * PATIENCE:
            self.transport.abortConnection()
        else:
            self._look_later()

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._stop_deadline()
        super().resumeProducing()
        self._go_on()

    def refuse(self, status: int, message: str) -> None:
        """Answer without a route, and close. What the client still sends is read and thrown away for a moment: closing
        with unread bytes would reset the connection, and the client would never see the answer.
        """
        if self.refused:
            return
        self.refused = True
        self._stop_deadline()
        self.setTimeout(None)
        path, method = (
            getattr(self, "_path", b""),
            getattr(self, "_command", b""),
        )  # none before the first line has come
        body, content_type = error_body(routed(in_origin_form(path.partition(b"?")[0])), status, message)
        self.write(raw_answer(status, body, content_type, method != b"HEAD"))
        if self.arrival.is_plain:
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

    def give_up(self) -> None:
        """The client does not take what was written: cut it off."""
        self.transport.abortConnection()

    def loseConnection(self) -> None:
        """Close from our side. While a delivery is not known to have arrived only our half is closed, or nothing where
        that cannot be done (TLS): a closed socket could not tell any more.
        """
        if not self.factory.handoff.awaits(self):
            super().loseConnection()
        elif not self._closing:
            if self.arrival.is_plain:
                self.transport.loseWriteConnection()
            self._watch()
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
        elif self.refused or not self.requests:
            self.loseConnection()

    def _before_the_end(self) -> None:
        """The socket is about to be closed: what has not reached the client by now never will."""
        self.factory.handoff.look_at(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.lost = True
        self.factory.channels.discard(self)
        self._stop_deadline()
        super().connectionLost(reason)
        if self._idle_look is not None:
            self._idle_look.cancel()
            self._idle_look = None
        self.factory.handoff.look_at(self)  # at what was written since
