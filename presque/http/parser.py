"""Parses one connection's bytes, one message at a time, so that a message is not parsed before the previous one was
answered. The request line is parsed here, because routes must answer methods that llhttp does not know. llhttp parses
the headers (presque.http.head) and chunked bodies.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpRequestParser

from presque.http.head import CHUNKED, HeadTooLarge, Malformed, TooLarge, check_target, read_headers
from presque.http.request import Request

if TYPE_CHECKING:
    from presque.http.request import Client

LONGEST_HEAD = 1 << 14  # bytes of a request line and all headers together
FRAMING = 1 << 16  # bytes that a chunked body may have besides its data, in chunk extensions and trailers,
FRAMING_EACH = 8  # and as many more per byte of data: a body in chunks of one byte has five

_END = b"\r\n\r\n"
# A token, and visible characters (RFC 9110, 5.6.2; RFC 9112, 3).
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) (HTTP/1\.[01])\r\n")


class Parser:
    """Parses a connection's bytes. `request` has a complete head and an incomplete body; None between requests."""

    def __init__(self, connection: Client, most: int) -> None:
        self.request: Request | None = None
        self.line = (b"", b"")  # method and target of the request being read, once known
        self._version = b""
        self._connection = connection
        self._most = most  # bytes of a body
        self._kept = b""  # bytes not parsed yet
        self._searched = 0  # how many of them contain no end of a head
        self._has_skipped = False  # an empty line before the request line was skipped
        self._body = bytearray()  # the pieces of a body that have arrived
        self._left = 0  # bytes of a body with a declared length that have not arrived
        self._chunks: Any = None  # llhttp, for a body in chunks
        self._fed = 0  # bytes that it was fed
        self._is_complete = False

    def __len__(self) -> int:
        """How many bytes wait to be parsed."""
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes of input that it holds: not parsed yet, or a part of a body."""
        return len(self._kept) + len(self._body)

    def end(self) -> None:
        """Nothing more will be read: release the input, and llhttp, with which we form a reference cycle."""
        self._kept = b""
        self._body = bytearray()
        self.request = self._chunks = None

    def feed(self, data: bytes) -> None:
        """Add input."""
        self._kept = self._kept + data if self._kept else data

    def read_head(self) -> Request | None:
        """The next request once its head is complete, None before. Raises Malformed, HeadTooLarge, and TooLarge for a
        body length of more than 64 bits.
        """
        self.line = (b"", b"")
        if self._kept.startswith(b"\r\n"):  # some clients send an extra line after a body (RFC 9112, 2.2)
            self._skip_empty_line()
        kept = self._kept
        end = kept.find(_END, self._searched)
        if end < 0:
            self._searched = max(0, len(kept) - len(_END) + 1)
            self._check_begun(kept)
            return None
        end += len(_END)
        start = self._read_line(kept)
        if end > LONGEST_HEAD:
            raise HeadTooLarge
        head = read_headers(self._version, kept[start:end])
        self._kept, self._searched, self._has_skipped = kept[end:], 0, False
        self.request = request = Request(self._connection, *self.line, self._version, head)
        self._left = head.length
        if head.is_chunked:
            self._chunks, self._fed, self._is_complete = HttpRequestParser(self), 0, False
            self._chunks.feed_data(CHUNKED)
        return request

    def _skip_empty_line(self) -> None:
        if self._has_skipped or self._kept.startswith(b"\r\n", 2):
            raise Malformed
        self._kept, self._searched, self._has_skipped = self._kept[2:], 0, True

    def _read_line(self, kept: bytes) -> int:
        """Parse the method, the target and the version of a request line. Returns where the headers begin."""
        found = _LINE.match(kept)
        if found is None:
            raise Malformed
        method, target, self._version = found.groups()
        self.line = (method, target)
        if target[0] != 47:  # '/'
            check_target(target)
        return found.end()

    def _check_begun(self, kept: bytes) -> None:
        """Refuse an incomplete head that is too long already, or whose first line is not a request line."""
        if kept.find(b"\n") >= 0:
            self._read_line(kept)
        elif kept not in (b"", b"\r") and not 32 < kept[0] < 127:
            raise Malformed
        if len(kept) > LONGEST_HEAD:
            raise HeadTooLarge

    def read_body(self, request: Request) -> bool:
        """Read the input that belongs to the body of `request`. Returns whether the body is complete. Raises Malformed
        and TooLarge.
        """
        if self._chunks is not None:
            if not self._read_chunks():
                return False
            request.body, self._chunks = bytes(self._body), None
        elif self._left > self._most:
            raise TooLarge
        elif self._left:
            some, self._kept = self._kept[: self._left], self._kept[self._left :]
            self._left -= len(some)
            if not self._left and not self._body:
                request.body = some
            else:
                self._body += some
                if self._left:
                    return False
                request.body = bytes(self._body)
        if self._body:
            self._body = bytearray()
        self.request = None
        return True

    def _read_chunks(self) -> bool:
        """Feed llhttp with a chunked body. Returns whether the body has ended. It ends with an empty line: input beyond
        the next one is not fed, and a partial one is kept until it is complete.
        """
        kept, at, end = memoryview(self._kept), 0, len(self._kept)
        try:
            while not self._is_complete and at < end:
                found = self._kept.find(_END, at)
                until = found + len(_END) if found >= 0 else end - len(_END) + 1
                if until <= at:
                    break
                self._fed += until - at
                self._chunks.feed_data(kept[at:until])
                at = until
                if len(self._body) > self._most:
                    raise TooLarge
                if self._fed > FRAMING + (1 + FRAMING_EACH) * len(self._body):
                    raise Malformed
        except HttpParserError:
            raise Malformed from None
        self._kept = self._kept[at:]
        return self._is_complete

    # Called by llhttp.

    def on_body(self, data: bytes) -> None:
        """A part of a chunked body."""
        self._body += data

    def on_message_complete(self) -> None:
        """The body is complete."""
        self._is_complete = True
        if self.request is not None and not self._chunks.should_keep_alive():  # a trailer says so
            self.request.close()
