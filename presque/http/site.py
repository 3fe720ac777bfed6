"""The site: a request made safe before it is routed, and the limits that every client meets."""

from __future__ import annotations

from functools import lru_cache
from http import HTTPStatus
from io import BytesIO
from time import time
from typing import TYPE_CHECKING, Any

from twisted.web import http, server
from twisted.web.http import NO_CONTENT  # its module looks for deprecated names at each look into it
from twisted.web.resource import Resource

from presque.http.connection import Channel
from presque.http.target import in_origin_form, segments_of
from presque.web.answers import JSON, NO_STORE, answer, error

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from presque.http.deliveries import Handoff
    from presque.http.door import Door
    from presque.http.table import Dispatch

IDLE = 75  # seconds that a connection may stay open between requests; proxies close after 60


class Request(server.Request):
    """One request: its body is kept in memory up to the limit, and its path is made safe before routing."""

    channel: Channel
    content: Any
    content_type = JSON
    when_left: Callable[[], object] | None = None  # called when the client leaves before it was answered

    def gotLength(self, length: int | None) -> None:
        """The headers are complete: refuse what does not come in by them, and a body that says it is too long."""
        self.content = BytesIO()
        channel = self.channel
        if channel.refused:
            return
        why = channel.factory.door.refusal(channel._command, channel._path, channel._version, self.requestHeaders)
        if why is not None:
            channel.refuse(why.status, why.message)
        elif length is not None and length > channel.factory.max_body:
            channel.refuse(http.REQUEST_ENTITY_TOO_LARGE, "request body is too large")

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a part of the body, unless it grows too long without having said so."""
        if self.channel is None or self.channel.refused:
            return
        if self.content.tell() + len(data) > self.channel.factory.max_body:
            self.content = BytesIO()
            self.channel.refuse(http.REQUEST_ENTITY_TOO_LARGE, "request body is too large")
        else:
            self.content.write(data)

    def parseCookies(self) -> None:
        """Nothing here reads a cookie."""

    def getRequestHostname(self) -> bytes:
        """Nothing here depends on what a client says that we are called."""
        return b"presque"

    def process(self) -> None:
        """Have the request answered, with a path that is plain ASCII, or refuse it."""
        path = in_origin_form(self.path)
        segments = segments_of(path)
        self.path = b"/" + b"/".join(segments) if path.startswith(b"/") else path  # as it is routed
        if path == b"*" and self.method == b"OPTIONS":
            self._end(answer(self, NO_CONTENT, b""))
        elif not path.startswith(b"/") or not self.method.isupper():
            self._end(error(self, http.BAD_REQUEST, "bad request"))
        elif b"//" in path:
            self._end(error(self, http.NOT_FOUND, "not found"))
        else:
            self.channel.factory.dispatch.answer(self, segments)

    def _end(self, body: bytes) -> None:
        self.write(body)
        self.finish()

    def write(self, data: bytes) -> None:
        """Send the whole answer, `data` being its body, in one piece."""
        if self.startedWriting:
            raise RuntimeError("an answer is written once")
        self.startedWriting = 1
        channel = self.channel
        is_old = self.clientproto == b"HTTP/1.0"
        head = [_head(self.code, self.content_type, is_old, channel.persistent), channel.factory.date()]
        for name, values in self.responseHeaders.getAllRawHeaders():
            head += [b"%b: %b\r\n" % (name, value) for value in values]
        if self.code != NO_CONTENT:
            head.append(b"Content-Length: %d\r\n" % len(data))
        head.append(b"\r\n")
        if self.method != b"HEAD":
            head.append(data)
        channel.write(b"".join(head))

    def connectionLost(self, reason: Failure) -> None:
        """The client has left before it was answered."""
        super().connectionLost(reason)
        if self.when_left is not None:
            self.when_left()


@lru_cache(maxsize=256)
def _head(status: int, content_type: bytes, is_old: bool, is_kept: bool) -> bytes:
    """The first lines of an answer, which are the same each time."""
    line = b"HTTP/1.%d %d %b" % (not is_old, status, HTTPStatus(status).phrase.encode())
    kept = b"Keep-Alive: timeout=%d\r\n" % IDLE if is_kept else b""
    return b"%b\r\nServer: presque\r\nContent-Type: %b\r\n%b%b" % (line, content_type, NO_STORE, kept)


class Site(server.Site):
    """Makes a Channel for each client."""

    protocol = Channel  # type: ignore[assignment]  # without Twisted's switch to HTTP/2
    requestFactory = Request

    def __init__(
        self,
        dispatch: Dispatch,
        handoff: Handoff,
        door: Door,
        max_body: int,
        request_timeout: float,
        reactor: IReactorTime,
    ) -> None:
        super().__init__(Resource(), timeout=IDLE, reactor=reactor, parsePOSTFormSubmission=False)
        self.dispatch = dispatch
        self.handoff = handoff
        self.door = door
        self.max_body = max_body
        self.request_timeout = request_timeout
        self.channels: set[Channel] = set()
        self.stopping = False  # each connection is closed after its next answer
        self.clock = reactor
        self._date = b""  # the header, as it is during the second `_dated`
        self._dated = 0

    def buildProtocol(self, addr: Any) -> Channel:  # type: ignore[override]  # as above
        """A Channel, noted so that a stopping daemon can wait for it."""
        channel: Channel = super().buildProtocol(addr)
        self.channels.add(channel)
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1, and 1.0 for a client that offers nothing else (`curl -0`)."""
        return [b"http/1.1", b"http/1.0"]

    def log(self, request: http.Request) -> None:
        """No access log: a proxy in front writes a better one."""

    def date(self) -> bytes:
        """The Date header of an answer that is sent now."""
        if (second := int(time())) != self._dated:  # by the wall clock, which is for people
            self._dated, self._date = second, b"Date: %b\r\n" % http.datetimeToString(second)
        return self._date

    @property
    def busy(self) -> int:
        """How many requests are being answered."""
        return sum(len(channel.requests) for channel in self.channels)
