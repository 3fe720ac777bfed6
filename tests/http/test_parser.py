"""Bytes become requests: whole or not at all, the same however they come, and never a byte of the next one."""

import random

import pytest

from presque.http.head import MOST_HEADERS, HeadTooLarge, Malformed, TooLarge
from presque.http.parser import LONGEST_HEAD, Parser

MOST = 1000  # bytes of a body
HOST = b"Host: x\r\n"
JOB = b'{"key":"value"}'
PLAIN = b"POST /q/foo HTTP/1.1\r\n" + HOST + b"Content-Length: 15\r\n\r\n" + JOB
CHUNKED = b"POST /q/foo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /status/ HTTP/1.1\r\nHost: x\r\nX: 1\r\nx:  2\t\r\nEmpty:\r\n\r\n",
    PLAIN,
    b"PUT /q/foo HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
    CHUNKED + b'f\r\n{"key":"value"}\r\n0\r\n\r\n',
    CHUNKED + b"".join(b"1\r\n%c\r\n" % each for each in JOB) + b"0\r\n\r\n",
    CHUNKED + b'F;ext="a b"\r\n{"key":"value"}\r\n0\r\nTrailer: x\r\nHost: evil\r\n\r\n',
    CHUNKED + b"8\r\n\r\n\r\n\r\n\r\n\r\n0\r\n\r\n",  # a body of empty lines
    b"BREW /q/foo HTTP/1.1\r\n" + HOST + b"Content-Length: 15\r\n\r\n" + JOB,
    b"DESCRIBE /q/foo HTTP/1.1\r\n" + HOST + b"Content-Length: 15\r\n\r\n" + JOB,
    b"PRI * HTTP/1.1\r\n" + HOST + b"\r\n",
    PLAIN.replace(HOST, HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    CHUNKED.replace(HOST, HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n") + b'f\r\n{"key":"value"}\r\n0\r\n\r\n',
    b"BREW /q/foo HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
]
BODIES = {4: JOB, 6: JOB, 7: JOB, 8: JOB, 9: b"\r\n" * 4, 10: JOB, 11: JOB, 13: JOB, 14: JOB, 15: b"{}"}


def read(parser):
    """The next request, if it is whole: its line, headers, and body."""
    request = parser.request or parser.read_head()
    if request is None or not parser.read_body(request):
        return None
    headers = {name: request.values(name) for name in request.headers}
    return request.method, request.target, request.version, headers, request.body


def read_all(pieces):
    """All requests in some pieces; the last is the exception that ended it."""
    parser, found = Parser(None, MOST), []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (request := read(parser)) is not None:
                found.append(request)
    except (HeadTooLarge, Malformed, TooLarge) as wrong:
        found.append(type(wrong))
    return found


def pieces_of(chance, data):
    cuts = sorted(chance.sample(range(len(data) + 1), min(len(data), chance.choice([1, 2, 5, len(data)]))))
    return [data[first:last] for first, last in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@pytest.mark.parametrize("number", range(len(WHOLE)))
def test_a_request_is_read_whole(number):
    ((method, target, _, headers, body),) = read_all([WHOLE[number]])
    line = WHOLE[number].lstrip().split(b"\r\n")[0].split(b" ")
    assert [method, target] == line[:2]
    assert body == BODIES.get(number, b"")
    assert b"trailer" not in headers
    assert headers.get(b"host", [b"x"])[0] == b"x"


def test_headers_of_one_name_are_kept_in_their_order():
    ((*_, headers, _),) = read_all([WHOLE[3]])
    assert headers[b"x"] == [b"1", b"2"]
    assert headers[b"empty"] == [b""]


def test_what_follows_a_request_is_not_looked_at():
    for first in WHOLE:
        parser = Parser(None, MOST)
        parser.feed(first + b"\0 what comes next")
        assert read(parser) is not None
        assert len(parser) == len(b"\0 what comes next"), first
        with pytest.raises(Malformed):
            read(parser)


def test_requests_are_the_same_however_their_bytes_come():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(2000):
        data = b"".join(chance.choices(WHOLE, k=chance.randint(1, 4)))
        whole = read_all([data])
        assert read_all(pieces_of(chance, data)) == whole
        if chance.random() < 0.7:
            at = chance.randrange(len(data))
            data = data[:at] + chance.choice([b"\0", b"\r\n", b" ", b"\n", b"", b"9", b"\xff"]) + data[at + 1 :]
            assert read_all(pieces_of(chance, data)) == read_all([data]), data


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\r\n\r\n",
        b"\x16\x03\x01",  # TLS
        b"GET /\r\n",
        b"GET / HTTP/1.1\n",
        b"GET  / HTTP/1.1\r\n",
        b"GET / HTTP/1.1 \r\n",
        b"GET / HTTP/1.2\r\n",
        b"GET / HTTP/2.0\r\n",
        b"GET / http/1.1\r\n",
        b"GET / RTSP/1.0\r\n",
        b"G\0T / HTTP/1.1\r\n\r\n",
        b"CONNECT localhost:5000 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b"GET /\xe9 HTTP/1.1\r\n\r\n",
        b"BREW /\xe9 HTTP/1.1\r\n\r\n",
        b"GET /\x7f HTTP/1.1\r\n\r\n",
        b"GET /a\nb HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT l\ncalhost:5000 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a\rb HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n\tfolded\r\n\r\n",
        b"GET / HTTP/1.1\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nA\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
        PLAIN.replace(b": 15", b": 15, 15"),
        PLAIN.replace(b": 15", b": +15"),
        PLAIN.replace(b": 15", b": -15"),
        PLAIN.replace(b": 15", b": 0xf"),
        PLAIN.replace(b": 15", b": 1 5"),
        PLAIN.replace(b": 15", b":"),
        PLAIN.replace(HOST, b"Content-Length: 15\r\n"),
        PLAIN.replace(HOST, b"Transfer-Encoding: chunked\r\n"),
        CHUNKED.replace(HOST, b"Content-Length: 5\r\n") + b"0\r\n\r\n",
        CHUNKED.replace(HOST, b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
        CHUNKED.replace(b": chunked", b": identity") + b"0\r\n\r\n",
        CHUNKED.replace(HOST, b"Transfer-Encoding: gzip\r\n") + b"0\r\n\r\n",
        CHUNKED.replace(HOST, b"Transfer-Encoding: identity\r\n") + b"0\r\n\r\n",
        PLAIN.replace(b": 15", b": " + b"0" * 5000 + b"15"),
        CHUNKED.replace(b": chunked", b": gzip, chunked") + b"0\r\n\r\n",
        CHUNKED.replace(b": chunked", b": chunked, gzip") + b"0\r\n\r\n",
        CHUNKED.replace(b": chunked", b": xchunked") + b"0\r\n\r\n",
        CHUNKED.replace(b": chunked", b" : chunked") + b"0\r\n\r\n",
        CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n",
        CHUNKED + b"x\r\n\r\n\r\n",
        CHUNKED + b"-1\r\n\r\n\r\n",
        CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
        CHUNKED + b"1 \r\na\r\n0\r\n\r\n",
        CHUNKED + b"1\na\n0\n\n\r\n\r\n",
        CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
        CHUNKED + b"F" * 17 + b"\r\n\r\n\r\n",
        CHUNKED + b"0\r\nA : b\r\n\r\n",
        CHUNKED + b"1;" + b"x" * 70_000 + b"\r\na\r\n0\r\n\r\n",
        CHUNKED + b"0\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
    ],
)
def test_what_is_not_http_is_refused_however_it_comes(data):
    assert read_all([data]) == [Malformed]
    assert read_all([data[at : at + 1] for at in range(len(data))]) == [Malformed]


@pytest.mark.parametrize(
    "data",
    [
        b"GET /" + b"a" * LONGEST_HEAD,
        b"GET /" + b"a" * LONGEST_HEAD + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: " + b"a" * LONGEST_HEAD,
        b"GET / HTTP/1.1\r\nA: " + b"a" * (LONGEST_HEAD - 20) + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * (MOST_HEADERS + 1) + b"\r\n",
    ],
)
def test_a_head_that_is_too_long_is_refused_however_it_comes(data):
    assert read_all([data]) == [HeadTooLarge]
    assert read_all([data[at : at + 1] for at in range(len(data))]) == [HeadTooLarge]


@pytest.mark.parametrize(
    "data",
    [
        CHUNKED + b"3e9\r\n" + b"x" * (MOST + 1) + b"\r\n0\r\n\r\n",
        CHUNKED + b"1\r\nx\r\n" * (MOST + 1) + b"0\r\n\r\n",
    ],
)
def test_a_body_that_grows_too_long_is_refused(data):
    assert read_all([data]) == [TooLarge]
    assert read_all([data[at : at + 7] for at in range(0, len(data), 7)]) == [TooLarge]


def test_a_length_beyond_all_measure_is_too_large():
    assert read_all([PLAIN.replace(b": 15", b": " + b"9" * 5000)]) == [TooLarge]


def test_a_body_of_the_greatest_length_is_taken_in_chunks_of_a_byte_too():
    for body in (b"3e8\r\n" + b"x" * MOST + b"\r\n", b"1\r\nx\r\n" * MOST):
        ((*_, taken),) = read_all([CHUNKED + body + b"0\r\n\r\n"])
        assert taken == b"x" * MOST


def test_a_head_of_the_greatest_length_is_taken():
    line = b"GET / HTTP/1.1\r\n"
    headers = b"a:b\r\n" * (MOST_HEADERS - 1)
    headers += b"c:" + b"d" * (LONGEST_HEAD - len(line) - len(headers) - len(b"c:\r\n\r\n")) + b"\r\n\r\n"
    assert len(line + headers) == LONGEST_HEAD
    assert len(read_all([line + headers])) == 1
    assert read_all([line + headers]) == read_all([line, headers])


def test_what_has_ended_keeps_nothing():
    parser = Parser(None, MOST)
    parser.feed(PLAIN[:-1])
    assert read(parser) is None
    parser.end()
    assert (len(parser), parser.request) == (0, None)
