"""One client's connection: requests in order, deadlines, and refusals that need no route."""

from __future__ import annotations

from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from zope.interface import implementer

from presque.errors import Overloaded
from presque.http.arrival import Arrival
from presque.http.buffers import SMALL
from presque.http.client_name import client_name
from presque.http.head import HeadTooLarge, Malformed, TooLarge
from presque.http.parser import Parser
from presque.http.request_id import FIELD, request_id
from presque.http.target import in_origin_form, routed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

    from presque.http.request import Request
    from presque.http.shared import Shared

IDLE = 75  # seconds that a connection may stay open between requests; proxies close after 60
AHEAD = 1 << 14  # bytes that a client may pipeline before we stop reading
LOOK = 0.03  # interval between checks that the client reads, as a fraction of the time that it may take no byte
EXCESS_PATIENCE = 2.0  # seconds that a client in excess has for the head of a request
LINGER = 2.0  # seconds that a refused client may continue to send, so that it can read why
NO_STORE = b"Cache-Control: no-store\r\n"  # a cache that keeps the answer to a GET hands a job out twice
CLOSE = b"Connection: close\r\n"
RETRY_AFTER = (b"Retry-After", b"1")  # seconds
OVERLOADED = "a limit of this daemon is reached, nothing was done: %s"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_heads: dict[tuple[int, bytes, bytes, bool], bytes] = {}


@implementer(IHalfCloseableProtocol, IPushProducer)
class Connection(Protocol):
    """One client's connection. Requests are answered one at a time; pipelined ones wait, beyond AHEAD in the kernel."""

    transport: Any

    def __init__(self, site: Shared, address: str = "", excess: str = "") -> None:
        self.site = site
        self.address = address  # of the client; empty for a Unix socket
        self._excess = excess  # the limit of connections that this one exceeds
        self._counted = 0  # bytes that it takes, as presque.http.buffers counts them
        self.request_timeout = site.request_timeout
        self.answering: Request | None = None
        self.finished = False  # the last answer is written: further input is discarded (RFC 9112, 9.6)
        self.lost = False
        self._ended = False  # the client has closed its half
        self._is_full = False  # the client reads more slowly than we write
        self._is_reading = False  # `_read` is further up in the call stack
        self._is_deaf = False  # the transport is paused
        self._more: IDelayedCall | None = None  # continues to read in the next turn of the reactor
        self._idle_look: IDelayedCall | None = None  # the next check whether the connection was idle for too long
        self._idle_since = 0.0
        self._deadline: IDelayedCall | None = None  # to send a whole request, or to read the answer
        self._taken = 0  # bytes of the stream that the client had taken when it last took any,
        self._taken_at = 0.0  # and when that was

    def connectionMade(self) -> None:
        """A client has connected."""
        self._parser = Parser(self, self.site.max_body)
        self.arrival = Arrival(self.transport, self._before_the_end)
        self.transport.registerProducer(self, True)
        if hasattr(self.transport, "setTcpNoDelay"):  # not a Unix socket's
            self.transport.setTcpNoDelay(True)
        self._idle_since = self.site.clock.seconds()
        self._idle_look = self.site.clock.callLater(IDLE, self._look_whether_idle)
        if self._excess:
            self._after(EXCESS_PATIENCE, self._too_slow)
            if self.site.guests.exceed(self):
                self.site.limits.refuse(self._excess)

    @property
    def is_busy(self) -> bool:
        """Whether a request has begun to arrive and is not answered yet."""
        return self.answering is not None or self._parser.request is not None or len(self._parser) > 0

    @cached_property
    def client_name(self) -> str | None:
        """The name in the certificate that the client has shown, else None. Known once a request has arrived."""
        return client_name(self.transport)

    @property
    def peer(self) -> str:
        """The client's IP address; "" if it has none, on a Unix socket."""
        return str(getattr(self.transport.getPeer(), "host", ""))

    # Input.

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self.finished:
            return
        self._parser.feed(data)
        if not self._has_to_wait():
            self._read()
        if self._counted or self._parser.size > SMALL:
            self._count()
        if len(self._parser) > AHEAD and self._has_to_wait():
            self._hear(False)

    def _count(self) -> None:
        """Count the bytes that this client takes."""
        held = self._parser.size
        if self.answering is not None:
            held += len(self.answering.body)
        if self._is_full:
            held += self.arrival.unsent
        self._counted = self.site.buffers.hold(self, 0 if self.lost else held)

    def _has_room(self, held: int) -> bool:
        """Whether this client may take so many bytes in place of those that are counted."""
        return held <= SMALL or self.site.buffers.have_room(held, self._counted)

    def check_room(self, count: int) -> None:
        """Raise Overloaded if there may be no room for an answer of so many bytes."""
        if not self._has_room(self._counted + count):
            raise Overloaded("buffered")

    def _overload(self, limit: str) -> None:
        """Refuse a request for now, because of this limit."""
        self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, OVERLOADED % limit, limit=limit)

    def _has_to_wait(self) -> bool:
        """Whether input must wait before it is parsed."""
        return self.answering is not None or self._more is not None or self._is_full

    def _hear(self, wanted: bool) -> None:
        """Resume or pause the transport's reading."""
        if self._is_deaf is not wanted or self.lost or self._ended:
            return
        self._is_deaf = not wanted
        if wanted:
            self.transport.resumeProducing()
        else:
            self.transport.pauseProducing()

    def _read(self) -> None:
        """Read a request and have it answered. Input behind it waits for the answer. If the answer came at once, the
        input waits for the next turn of the reactor, so that other clients get their turns.
        """
        self._is_reading = True
        try:
            request = self._parser.request or self._read_head()
            if request is not None and self._parser.read_body(request):
                self._answer(request)
            elif request is not None or len(self._parser):
                self._wait_for_the_rest()
            elif self._ended and not self.finished:
                self.loseConnection()
        except Malformed:
            self.refuse(HTTPStatus.BAD_REQUEST, "bad request")
        except HeadTooLarge:
            self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "request head is too large", limit="head")
        except TooLarge:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request body is too large", limit="body")
        finally:
            self._is_reading = False

    def _read_head(self) -> Request | None:
        """The next request; None if its head is incomplete or was refused. Raises Malformed, HeadTooLarge, TooLarge."""
        site = self.site
        request = self._parser.read_head()
        if request is None:
            return None
        head = request.head
        if self._excess:
            if not site.is_vital(self._path):
                self._overload(self._excess)
                return None
            request.close()
        why = site.door.refusal(request)
        if why is None and site.judge is not None:
            why = site.judge(request)
        if why is not None:
            self.refuse(*why)
            return None
        if head.length > site.max_body:
            raise TooLarge
        is_new = request.version == b"HTTP/1.1"
        if not is_new:
            request.is_last = True
        elif head.closes:
            request.close()
        if head.expects and is_new:
            self.arrival.write(CONTINUE)
        return request

    def _wait_for_the_rest(self) -> None:
        """A request has begun: the deadline for all of it counts from its first byte."""
        if self._ended:
            self.refuse(HTTPStatus.BAD_REQUEST, "bad request")  # the rest will never arrive
            return
        if not self._has_room(self._parser.size) and not self.site.settles(self._path):
            self._overload("buffered")
            return
        self._hear(True)
        if self._deadline is None:
            self._after(self.request_timeout, self._too_slow)

    def _too_slow(self) -> None:
        if self.answering is None:
            self.refuse(HTTPStatus.REQUEST_TIMEOUT, "request took too long", limit="request-time")

    def _answer(self, request: Request) -> None:
        is_large = len(request.body) > SMALL
        if is_large and not self._has_room(len(request.body) + self._parser.size) and not self.site.settles(self._path):
            self._overload("buffered")
            return
        self.answering = request
        if is_large:
            self._count()
        site = self.site
        request.began = site.clock.seconds()
        if self._deadline is not None and not self._is_full:  # else it is the deadline for reading the answer
            self._stop_deadline()
        if site.deliveries.awaits(self):
            site.deliveries.look_at(self)  # a client that asks again has most likely read the previous answer
        if site.stopping and not request.is_last:
            request.close()
        site.answer(request)
        if self._ended and self.waiting is not None:
            self._close()  # as readConnectionLost does if the client waits already

    @property
    def waiting(self) -> Request | None:
        """The request that waits for a job, if one does."""
        request = self.answering
        if request is None or request.delivery is None or not request.delivery.is_waiting:
            return None
        return request

    def _go_on(self) -> None:
        """Read the input that has arrived meanwhile."""
        more, self._more = self._more, None
        if more is not None and more.active():  # called before the timer fired
            more.cancel()
        if self.lost or self.finished or self.answering is not None or self._is_full:
            return
        if len(self._parser) <= AHEAD:
            self._hear(True)
        self._read()

    # Output.

    def respond(self, request: Request, body: bytes) -> None:
        """Send a complete answer with this body, in one piece."""
        if request.is_answered:
            raise RuntimeError("a request is answered once")
        if len(body) > SMALL:
            if request.delivery is not None:
                request.delivery.composed()
            if not self._has_room(self._counted + len(body)) and self._may_drop(request):
                body = self._drop(request)
        request.is_answered = True
        now = self.site.clock.seconds()
        self.site.meter.answered(request, now)
        if self.site.access is not None:
            self.site.access.answered(request, len(body))
        data, delivery = self._message(request, body), request.delivery
        if delivery is None:
            self.arrival.write(data)
        else:
            delivery.written(self.arrival.write(data, delivery.has_jobs))
        self.answering = None
        if self._counted:
            self._count()
        if request.is_last:
            self.loseConnection()
            self.site.changed()
            return
        if self.site.stopping:  # it was in flight before
            self.site.changed()
        self._idle_since = now
        if self._idle_look is None:
            self._idle_look = self.site.clock.callLater(IDLE, self._look_whether_idle)
        if len(self._parser) or self._is_deaf or self._ended:
            if self._is_reading:
                self._more = self.site.clock.callLater(0, self._go_on)
            else:
                self._go_on()

    def _message(self, request: Request, body: bytes) -> bytes:
        """The answer as it is sent."""
        head = _head(request.code, request.content_type, request.version, not request.is_last)
        fields = (
            b"".join([b"%b: %b\r\n" % field for field in request.answer_headers]) if request.answer_headers else b""
        )
        if request.has_id:
            fields += FIELD % request.id
        if request.code != 204:
            fields += b"Content-Length: %d\r\n" % len(body)
        return b"%b%b%b\r\n%b" % (head, self.site.date(), fields, b"" if request.method == b"HEAD" else body)

    def _may_drop(self, request: Request) -> bool:
        """Whether an answer may be replaced by a refusal: nothing was done, or what was done can be undone."""
        undoes = request.delivery is not None or request.method in (b"GET", b"HEAD")
        return undoes and not self.site.is_vital(self._path)

    def _drop(self, request: Request) -> bytes:
        """Replace an answer for which there is no room. Its jobs go back. Returns the body of the refusal."""
        self.site.limits.refuse("buffered")
        if request.delivery is not None:
            request.delivery.left()
            request.delivery = None
        request.code, request.answer_headers = HTTPStatus.SERVICE_UNAVAILABLE, [RETRY_AFTER]
        if request.is_last:
            request.set_header(b"Connection", b"close")
        body, request.content_type = self.site.explain(self._path, request.code, OVERLOADED % "buffered", request.id)
        return body

    @property
    def _path(self) -> bytes:
        """The path of the request that was read last, as used for routing."""
        return routed(in_origin_form(self._parser.line[1].partition(b"?")[0]))

    def refuse(
        self, status: int, message: str, headers: Sequence[tuple[bytes, bytes]] = (), *, limit: str = ""
    ) -> None:
        """Answer without a route, and close; `limit` is the limit that was reached, if any. Further input is read and
        discarded for a moment: closing with unread bytes would reset the connection, and the client would never see the
        answer.
        """
        if self.finished:
            return
        if limit:
            self.site.limits.refuse(limit)
        method, _ = self._parser.line
        self.site.meter.refused(method, status)
        its_id = request_id(None) if self._parser.request is None else self._parser.request.id
        body, content_type = self.site.explain(self._path, status, message, its_id)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers = (*headers, RETRY_AFTER)
        head = _head(status, content_type, b"HTTP/1.1", False)
        head += b"".join([b"%b: %b\r\n" % field for field in headers])
        head += FIELD % its_id + b"Content-Length: %d\r\n%b\r\n" % (len(body), CLOSE)
        if self.site.access is not None:
            self.site.access.refused(method, status, len(body), its_id)
        self.arrival.write(head if method == b"HEAD" else head + body)
        self._finish(True)

    # Deadlines.

    def _after(self, seconds: float, function: Callable[[], object]) -> None:
        """Set the deadline: call `function` in so many seconds, unless the deadline is stopped or replaced."""
        self._stop_deadline()
        self._deadline = self.site.clock.callLater(seconds, self._expired, function)

    def _expired(self, function: Callable[[], object]) -> None:
        self._deadline = None
        function()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _look_whether_idle(self) -> None:
        """Close an idle connection. One timer that checks for recent requests costs less than a timer per request."""
        self._idle_look = None
        if self.finished:
            return
        now = self.site.clock.seconds()
        if self.is_busy or self._is_taking():
            self._idle_since = now
        left = self._idle_since + IDLE - now
        if left > 0:
            self._idle_look = self.site.clock.callLater(left, self._look_whether_idle)
        else:  # without an answer or a log line
            self.site.limits.refuse("idle", is_logged=False)
            self.loseConnection()

    def _is_taking(self) -> bool:
        """Whether the client is still taking an answer."""
        if self.site.deliveries.awaits(self):
            return True
        before, self._taken = self._taken, self.arrival.until()
        return before < self._taken < self.arrival.written

    def pauseProducing(self) -> None:
        """The client reads more slowly than we write: stop answering, and cut it off once it has taken no byte for too
        long.
        """
        self._is_full = True
        self._count()
        self._hear(False)
        self._watch()

    def resumeProducing(self) -> None:
        """The client reads again."""
        self._is_full = False
        self._count()
        self._stop_deadline()
        self._go_on()
        if self.answering is not None and len(self._parser) <= AHEAD:
            self._hear(True)

    def stopProducing(self) -> None:
        """The transport needs no more data."""

    def _watch(self) -> None:
        self._taken, self._taken_at = self.arrival.until(), self.site.clock.seconds()
        self._look_later()

    def _look_later(self) -> None:
        self._after(self.request_timeout * LOOK, self._look_whether_it_reads)

    def _look_whether_it_reads(self) -> None:
        if self._takes_nothing_for(self.request_timeout, self.request_timeout):
            self.cut_off()
        else:
            self._look_later()

    def _takes_nothing_for(self, patience: float, linger: float) -> bool:
        """Whether the client has taken no byte for `patience` seconds, or `linger` seconds once it has taken all."""
        taken, now = self.arrival.until(), self.site.clock.seconds()
        if taken > self._taken:
            self._taken, self._taken_at = taken, now
        return now - self._taken_at >= (patience if taken < self.arrival.written else linger)

    # The end.

    def cut_off(self) -> None:
        """End the connection of a client that does not read."""
        self.site.limits.refuse("unread-answer")
        self.abort()

    def abort(self) -> None:
        """End the connection at once."""
        self.transport.abortConnection()

    def loseConnection(self) -> None:
        """Close our side once everything written has arrived. While a delivery is not known to have arrived, close only
        our half, or nothing where that is impossible (TLS): a closed socket cannot tell what has arrived.
        """
        if not self.finished:
            self._finish(False)

    def _finish(self, is_sending: bool) -> None:
        """The last answer is written. If the client `is_sending`, its input is read and discarded for a moment: closing
        with unread bytes would reset the connection, and the client would never see the answer.
        """
        is_sending = is_sending or len(self._parser) > 0 or self._is_deaf
        self.finished = True
        self._parser.end()
        self._count()
        self._hear(True)  # the only way to learn that the client leaves
        if self.arrival.is_plain and (is_sending or self.site.deliveries.awaits(self)):
            self.transport.unregisterProducer()  # else Twisted asks for more data instead of closing
            self.transport.loseWriteConnection()
        elif not self.site.deliveries.awaits(self):
            self._close()
        self._taken, self._taken_at = self.arrival.until(), self.site.clock.seconds()
        self._look_at_the_end_later()

    def _close(self) -> None:
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _look_at_the_end_later(self) -> None:
        self._after(min(LINGER, self.request_timeout * LOOK), self._look_at_the_end)

    def _look_at_the_end(self) -> None:
        """End the connection, whatever the client does or fails to do, for example to answer a close_notify."""
        if self._takes_nothing_for(self.request_timeout, LINGER):
            self.abort()
        else:
            self._look_at_the_end_later()

    def settled(self) -> None:
        """No delivery is awaited any more: close the connection now if that was pending."""
        if self.finished and not self.lost:
            self._close()

    def writeConnectionLost(self) -> None:
        """Our half is closed: everything written has been sent."""

    def readConnectionLost(self) -> None:
        """The client has closed its half. Either it has left and answers what we send with a reset, or it has no more
        requests (`nc -N`) and still reads. So its requests are answered, unless it waits for a job.
        """
        deliveries = self.site.deliveries
        self._ended = True
        deliveries.look_at(self)
        if self.waiting is not None or (self.finished and not deliveries.awaits(self)):
            self._close()
        elif not self._has_to_wait():
            self._go_on()

    def _before_the_end(self) -> None:
        """The socket is about to be closed: bytes that have not reached the client by now never will."""
        self.site.deliveries.look_at(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self.lost = True
        self.site.connections.discard(self)
        if self._excess:
            self.site.guests.end_excess(self)
        else:
            self.site.guests.leave(self.address)
        self.site.changed()
        self._stop_deadline()
        for call in (self._idle_look, self._more):
            if call is not None and call.active():
                call.cancel()
        self._parser.end()
        self._count()
        request, self.answering = self.answering, None
        if request is not None:
            self.site.meter.clients_gone += 1
            request.left()
            if self.site.access is not None and not request.is_answered:
                self.site.access.left(request)
        self.site.deliveries.look_at(self)  # deliveries written since then


def _head(status: int, content_type: bytes, version: bytes, is_kept: bool) -> bytes:
    """The first lines of an answer, cached because few combinations occur."""
    key = (status, content_type, version, is_kept)
    head = _heads.get(key)
    if head is None:
        kept = b"Keep-Alive: timeout=%d\r\n" % IDLE if is_kept else b""
        line = b"%b %d %b\r\nServer: presque\r\n" % (version, status, HTTPStatus(status).phrase.encode())
        head = _heads[key] = b"%bContent-Type: %b\r\n%b%b" % (line, content_type, NO_STORE, kept)
    return head
