"""The headers of a request, parsed. llhttp validates them in its strict mode: names, values and the length of the body
(RFC 9112, 5 and 6).

A client sends nearly the same headers with each request, so accepted blocks of headers are cached.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_HEADERS = 100
LONGEST_NUMBER = 100  # digits of a length; 64 bits take up to 20
LONGEST_REMEMBERED = 1024  # bytes of a block of headers
REMEMBERED = 1024  # blocks of headers

CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

CONNECTION = (b"connection", b"proxy-connection")  # may ask to close the connection

# Headers in which a browser tells which site's page has sent a request.
TELL_TALE = frozenset([b"sec-fetch-site", b"origin", b"referer"])


class Malformed(Exception):
    """The input is not valid HTTP."""


class HeadTooLarge(Exception):
    """The request line and the headers are longer, or more, than allowed."""


class TooLarge(Exception):
    """The body is longer than allowed."""


class Head(NamedTuple):
    """The headers of a request, with names in lower case. Requests with the same headers share it."""

    headers: Mapping[bytes, bytes]  # name -> value, the last one if repeated
    repeated: Mapping[bytes, Sequence[bytes]]  # name -> all values, of repeated headers only
    length: int  # bytes of the body, 0 if it comes in chunks
    is_chunked: bool
    closes: bool  # the client wants the connection closed after the answer
    expects: bool  # the client waits for `100 Continue` before it sends the body
    is_plain: bool  # one Host, no repeated header, and no header of TELL_TALE


class _Headers:
    """Receives headers from llhttp."""

    def __init__(self) -> None:
        self.found: dict[bytes, bytes] = {}
        self.repeated: dict[bytes, list[bytes]] = {}
        self._count = 0
        self.are_too_many = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is complete."""
        self._count += 1
        if self._count > MOST_HEADERS:
            self.are_too_many = True
            raise HeadTooLarge  # which llhttp replaces
        name, value = name.lower(), value.strip(b" \t")
        if name in self.found:
            self.repeated.setdefault(name, [self.found[name]]).append(value)
        self.found[name] = value


def read_headers(version: bytes, block: bytes) -> Head:
    """Parse `block`, headers and the empty line after them, of a request of this HTTP version. Raises Malformed,
    HeadTooLarge, and TooLarge for a body length that exceeds 64 bits.
    """
    return _remembered(version, block) if len(block) <= LONGEST_REMEMBERED else _read(version, block)


def check_target(target: bytes) -> None:
    """Raise Malformed unless `target` has one of the forms of RFC 9112, 3.2 for requests other than CONNECT."""
    try:
        HttpRequestParser(_Headers()).feed_data(b"POST %b HTTP/1.1\r\n\r\n" % target)
    except HttpParserError:
        raise Malformed from None


def _read(version: bytes, block: bytes) -> Head:
    said = _Headers()
    parser: Any = HttpRequestParser(said)
    try:
        # llhttp treats methods of other protocols specially, so it always gets POST.
        parser.feed_data(b"POST / %b\r\n%b" % (version, block))
    except HttpParserUpgrade:
        pass  # the client offers another protocol; we continue with HTTP (RFC 9110, 7.8)
    except HttpParserError as wrong:
        if said.are_too_many:
            raise HeadTooLarge from None
        raise (TooLarge if "overflow" in str(wrong) else Malformed) from None
    headers, repeated = said.found, said.repeated
    _check_coding(version, said)
    length = headers.get(b"content-length", b"0")  # digits, as llhttp has checked
    if len(length) > LONGEST_NUMBER:
        raise Malformed
    connection = [value for name in CONNECTION for value in repeated.get(name) or [headers.get(name, b"")]]
    options = b",".join(connection).lower().split(b",")
    return Head(
        headers,
        repeated,
        int(length),
        is_chunked=b"transfer-encoding" in headers,
        closes=b"close" in map(bytes.strip, options),
        expects=headers.get(b"expect", b"").lower() == b"100-continue",
        is_plain=b"host" in headers and not repeated and not TELL_TALE & headers.keys(),
    )


def _check_coding(version: bytes, said: _Headers) -> None:
    """Refuse what llhttp accepts: a transfer coding before `chunked`, and any in HTTP/1.0 (RFC 9112, 6.1)."""
    coding = said.found.get(b"transfer-encoding")
    if coding is not None and (
        version != b"HTTP/1.1" or coding.lower() != b"chunked" or b"transfer-encoding" in said.repeated
    ):
        raise Malformed


_remembered = lru_cache(maxsize=REMEMBERED)(_read)
