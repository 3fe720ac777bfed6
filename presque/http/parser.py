"""One connection's bytes, taken apart: a message at a time, so that what follows it is not looked at before it was
answered. The first line is ours to read: methods that llhttp does not know are for the routes to answer. The headers
(presque.http.head) and a body in chunks are llhttp's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpRequestParser

from presque.http.head import CHUNKED, Malformed, TooLarge, check_target, read_headers
from presque.http.request import Request

if TYPE_CHECKING:
    from presque.http.request import Client

LONGEST_LINE = 1 << 14  # bytes of a request line
LONGEST_HEADERS = 1 << 14  # bytes of all headers together
FRAMING = 1 << 16  # bytes beside its data, in chunk extensions and trailers, that a body may have,
FRAMING_EACH = 8  # and so many more for each byte of data: a body in chunks of one byte has five

_END = b"\r\n\r\n"
# A token, and what is visible (RFC 9110, 5.6.2; RFC 9112, 3).
_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) (HTTP/1\.[01])\r\n")


class Parser:
    """Takes a connection's bytes apart. `request` is the one whose head is complete and whose body is not yet."""

    def __init__(self, connection: Client, most: int) -> None:
        self.request: Request | None = None
        self.line = (b"", b"")  # method and target of what is being read, once they are known
        self._version = b""
        self._connection = connection
        self._most = most  # bytes of a body
        self._kept = b""  # bytes that were not looked at
        self._searched = 0  # how many of them have no end of a head
        self._has_skipped = False  # an empty line before what is kept
        self._body = bytearray()  # what has come of a body that comes in pieces
        self._left = 0  # bytes of the body that have not come, where its length was said
        self._chunks: Any = None  # llhttp, for a body in chunks
        self._fed = 0  # bytes that it was given
        self._is_complete = False

    def __len__(self) -> int:
        """How many bytes are kept for later."""
        return len(self._kept)

    def end(self) -> None:
        """Nothing more will be read: let go of what has come, and of llhttp, which holds us as we hold it."""
        self._kept = b""
        self._body = bytearray()
        self.request = self._chunks = None

    def feed(self, data: bytes) -> None:
        """Bytes have come."""
        self._kept = self._kept + data if self._kept else data

    def read_head(self) -> Request | None:
        """The next request, its head complete; None while it is not. Raises Malformed, and TooLarge for a body of more
        bytes than 64 bits can say.
        """
        self.line = (b"", b"")
        if self._kept.startswith(b"\r\n"):  # some clients end a body with a line too many (RFC 9112, 2.2)
            self._skip_empty_line()
        kept = self._kept
        end = kept.find(_END, self._searched)
        if end < 0:
            self._searched = max(0, len(kept) - len(_END) + 1)
            self._check_begun(kept)
            return None
        end += len(_END)
        start = self._read_line(kept)
        if end - start > LONGEST_HEADERS:
            raise Malformed
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
        """Note the method, the target and the version of a request line. Returns where the headers begin."""
        found = _LINE.match(kept)
        if found is None or found.end() - 2 > LONGEST_LINE:
            raise Malformed
        method, target, self._version = found.groups()
        self.line = (method, target)
        if target[0] != 47:  # '/'
            check_target(target)
        return found.end()

    def _check_begun(self, kept: bytes) -> None:
        """Refuse a head that is too long already, or whose first line is none."""
        line_end = kept.find(b"\n")
        if line_end < 0:
            if len(kept) > LONGEST_LINE or (kept not in (b"", b"\r") and not 32 < kept[0] < 127):
                raise Malformed
            return
        if len(kept) - self._read_line(kept) > LONGEST_HEADERS:
            raise Malformed

    def read_body(self, request: Request) -> bool:
        """Take what has come of the body of `request`, whose head was read; whether it is complete. Raises Malformed
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
        """Give llhttp what has come of a body in chunks; whether it has come to its end. The end is an empty line:
        beyond the next one nothing is looked at, and one that has come in part is kept until it has come whole.
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

    # What llhttp calls.

    def on_body(self, data: bytes) -> None:
        """A part of a body in chunks."""
        self._body += data

    def on_message_complete(self) -> None:
        """The body is complete."""
        self._is_complete = True
        if self.request is not None and not self._chunks.should_keep_alive():  # a trailer has said so
            self.request.close()
