"""One connection's bytes, taken apart by llhttp: a message at a time, so that what follows it is not looked at before
it was answered.

We split off each head, and look at its first line ourselves: llhttp knows methods of other protocols, and those that we
do not know are for the routes to answer. All else is llhttp's to judge, in its strict mode: names and values, what a
head says of the body's length, and the body's framing (RFC 9112, 6).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from presque.http.request import Request

if TYPE_CHECKING:
    from presque.http.request import Client

LONGEST_LINE = 1 << 14  # bytes of a request line
LONGEST_HEADERS = 1 << 14  # bytes of all headers together
MOST_HEADERS = 500
LONGEST_NUMBER = 100  # digits of a length; what matters are 20
FRAMING = 1 << 16  # bytes beside its data, in chunk extensions and trailers, that a body may have,
FRAMING_EACH = 8  # and so many more for each byte of data: a body in chunks of one byte has five

METHODS = frozenset([b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])  # read by llhttp as they are
FRAMED = (b"content-length", b"transfer-encoding")  # headers that say how long a body is

_END = b"\r\n\r\n"
# A token, and what is visible (RFC 9110, 5.6.2; RFC 9112, 3). llhttp skips line feeds before a method, and takes a
# target that ends in one for HTTP/0.9.
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) (HTTP/1\.[01])")


class Malformed(Exception):
    """What has come is not HTTP."""


class TooLarge(Exception):
    """The body is longer than it may be."""


class Parser:
    """Takes a connection's bytes apart. `request` is the one whose head is complete and whose body is not yet."""

    def __init__(self, connection: Client, most: int) -> None:
        self.request: Request | None = None
        self.keeps_alive = True  # llhttp would read another request behind the last
        self.line = (b"", b"")  # method and target of what is being read, once they are known
        self._connection = connection
        self._most = most  # bytes of a body
        self._kept = b""  # bytes that were not looked at
        self._searched = 0  # how many of them have no end of a head
        self._has_skipped = False  # an empty line before what is kept
        self._body: bytes | bytearray = b""
        self._parser: Any = HttpRequestParser(self)

    def __len__(self) -> int:
        """How many bytes are kept for later."""
        return len(self._kept)

    def end(self) -> None:
        """Nothing more will be read: let go of what has come, and of llhttp, which holds us as we hold it."""
        self._kept = self._body = b""
        self.request = self._parser = None

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        self._kept = self._kept + data if self._kept else data

    def read_head(self) -> Request | None:
        """The next request, its head complete; None while it is not. Raises Malformed, and TooLarge for a body of more
        bytes than 64 bits can say.
        """
        self.line = (b"", b"")
        if self._kept.startswith(b"\r\n"):  # some clients end a body with a line too many (RFC 9112, 2.2)
            if self._has_skipped:
                raise Malformed
            self._kept, self._searched, self._has_skipped = self._kept[2:], 0, True
            if self._kept.startswith(b"\r\n"):
                raise Malformed
        kept = self._kept
        end = kept.find(_END, self._searched)
        if end < 0:
            self._searched = max(0, len(kept) - len(_END) + 1)
            self._check_begun(kept)
            return None
        end += len(_END)
        head, self._kept, self._searched = kept[:end], kept[end:], 0
        line_end = head.index(b"\r\n")
        method, target, version = self._split(head[:line_end])
        if end - line_end > LONGEST_HEADERS:
            raise Malformed
        self.request = request = Request(self._connection, method, target, version)
        self._headers = self._fed = 0
        self._body, self._has_skipped = b"", False
        self.is_complete = False
        self._read(request, head)
        self._check_framing(request)
        return request

    def _split(self, line: bytes) -> tuple[bytes, bytes, bytes]:
        """The method, the target and the version of a request line."""
        found = _LINE.fullmatch(line)
        if found is None or len(line) > LONGEST_LINE:
            raise Malformed
        method, target, version = found.groups()
        self.line = (method, target)
        return method, target, version

    def _check_begun(self, kept: bytes) -> None:
        """Refuse a head that is too long already, or whose first line is none."""
        line_end = kept.find(b"\n")
        if line_end < 0:
            if len(kept) > LONGEST_LINE or (kept not in (b"", b"\r") and not 32 < kept[0] < 127):
                raise Malformed
            return
        if kept[line_end - 1 : line_end] != b"\r":
            raise Malformed
        self._split(kept[: line_end - 1])
        if len(kept) - line_end > LONGEST_HEADERS:
            raise Malformed

    def _read(self, request: Request, head: bytes) -> None:
        if request.method not in METHODS:
            head = b"POST" + head[len(request.method) :]
        try:
            self._parser.feed_data(head)
        except HttpParserUpgrade:
            self._ignore_upgrade(request)
        except HttpParserError as wrong:
            raise (TooLarge if "overflow" in str(wrong) else Malformed) from None

    def _ignore_upgrade(self, request: Request) -> None:
        """The client offers another protocol, and we go on with this one (RFC 9110, 7.8). llhttp stops there, before
        the body; a new one reads that.
        """
        self._parser = HttpRequestParser(self)
        self.is_complete = False
        framing = b"".join(b"%b: %b\r\n" % (name, request.headers[name]) for name in FRAMED if name in request.headers)
        self.request = None  # its headers are known
        try:
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
        except HttpParserError:
            raise Malformed from None
        self.request = request

    def _check_framing(self, request: Request) -> None:
        """What llhttp takes and we do not: a transfer coding before `chunked`, one in HTTP/1.0 (RFC 9112, 6.1), and
        lengths beyond the limit.
        """
        headers = request.headers
        coding = headers.get(b"transfer-encoding")
        if coding is not None and (
            request.version != b"HTTP/1.1" or coding.lower() != b"chunked" or b"transfer-encoding" in request.repeated
        ):
            raise Malformed
        self._is_chunked = coding is not None
        length = headers.get(b"content-length", b"0")  # digits, as llhttp has seen
        if len(length) > LONGEST_NUMBER:
            raise Malformed
        self.length = int(length)

    def read_body(self, request: Request) -> bool:
        """Take what has come of the body of `request`, whose head was read; whether it is complete. Raises Malformed
        and TooLarge.
        """
        kept, at, end = memoryview(self._kept), 0, len(self._kept)
        try:
            while not self.is_complete and at < end:
                if self._is_chunked:
                    # The end of a chunked body is an empty line: beyond the next one nothing is looked at, and one
                    # that has come in part is kept until it has come whole.
                    found = self._kept.find(_END, at)
                    until = found + len(_END) if found >= 0 else end - len(_END) + 1
                    if until <= at:
                        break
                else:
                    until = min(end, at + self.length - len(self._body))
                self._fed += until - at
                self._parser.feed_data(kept[at:until])
                at = until
                if len(self._body) > self._most:
                    raise TooLarge
                if self._fed > FRAMING + (1 + FRAMING_EACH) * len(self._body):
                    raise Malformed
        except HttpParserError:
            raise Malformed from None
        self._kept = self._kept[at:]
        if self.is_complete:
            request.body = bytes(self._body)
            self.request = None
        return self.is_complete

    # What llhttp calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is complete; or a trailer, which nothing here reads."""
        if self.request is not None and not self._fed:
            self._headers += 1
            if self._headers > MOST_HEADERS:
                raise Malformed
            self.request.add_header(name.lower(), value.strip(b" \t"))

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if not self._body:
            self._body = data
        elif isinstance(self._body, bytearray):
            self._body += data
        else:
            self._body = bytearray(self._body) + data

    def on_message_complete(self) -> None:
        """The request is complete."""
        self.is_complete = True
        self.keeps_alive = self._parser.should_keep_alive()
