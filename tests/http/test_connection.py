"""A connection alone, with a clock and a transport in memory: what it reads, when it answers, and how it ends."""

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from presque.http.connection import AHEAD, IDLE, LINGER
from presque.http.door import Door
from presque.http.site import Site

GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"
TIMEOUT = 20.0  # seconds of a request


class Transport:
    """What a connection does to its transport."""

    def __init__(self):
        self.written, self.reads, self.writes, self.open, self.aborted = b"", True, True, True, False

    def registerProducer(self, producer, streaming):
        pass

    def unregisterProducer(self):
        pass

    def pauseProducing(self):
        self.reads = False

    def resumeProducing(self):
        self.reads = True

    def loseWriteConnection(self):
        self.writes = False

    def loseConnection(self):
        self.open = False

    def abortConnection(self):
        self.open, self.aborted = False, True


class Arrival:
    """Everything that is written has arrived, unless the client takes nothing."""

    is_plain = True

    def __init__(self, transport, closing):
        self.transport, self.taken, self.takes, self.written = transport, 0, True, 0

    def write(self, data, hurries=False):
        assert self.transport.open
        self.transport.written += data
        self.written += len(data)
        return self.written

    def until(self):
        if self.takes:
            self.taken = self.written
        return self.taken


class Delivery:
    """A client that waits for a job."""

    is_waiting, has_left = True, False

    def left(self):
        self.has_left = True


class Deliveries:
    """No answer has jobs."""

    def __init__(self):
        self.awaited = set()

    def awaits(self, connection):
        return connection in self.awaited

    def look_at(self, connection):
        pass


class Bench:
    """A connection, and the requests that it has asked: those of /later are answered when a test says so."""

    def __init__(self):
        self.clock, self.asked, self.deliveries = Clock(), [], Deliveries()
        self.site = Site(self.answer, self.explain, self.deliveries, Door(()), 1 << 20, TIMEOUT, self.clock)
        self.connection = self.site.buildProtocol(None)
        self.transport = self.connection.transport = Transport()
        self.connection.connectionMade()

    def answer(self, request):
        self.asked.append(request)
        if request.target != b"/later":
            request.respond(b"<%b>" % request.target[1:])

    def explain(self, path, status, message, request_id):
        return b"<%d>" % status, b"text/plain"

    def send(self, data):
        assert self.transport.reads, "nobody reads"
        self.connection.dataReceived(data)

    def answers(self):
        """The bodies that were written since this was asked last."""
        parts = self.transport.written.split(b"<")[1:]
        self.transport.written = b""
        return [part.partition(b">")[0].decode() for part in parts]

    def leave(self):
        self.transport.open = False
        self.connection.connectionLost(Failure(ConnectionDone()))
        assert self.clock.getDelayedCalls() == []
        assert self.site.connections == set()


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.setattr("presque.http.connection.Arrival", Arrival)
    found = Bench()
    yield found
    if found.connection in found.site.connections:
        found.leave()


def test_what_comes_behind_a_request_is_answered_in_a_later_turn(bench):
    bench.send(GET % b"1" + GET % b"2" + GET % b"3" + b"GET /4")
    assert bench.answers() == ["1"]
    bench.clock.advance(0)
    assert bench.answers() == ["2", "3"]
    bench.send(b" HTTP/1.1\r\nHost: x\r\n\r\n")
    bench.clock.advance(0)
    assert bench.answers() == ["4"]


def test_what_comes_behind_an_unanswered_request_waits_and_too_much_is_not_read(bench):
    bench.send(GET % b"later")
    many = AHEAD // len(GET % b"1") + 1
    for _ in range(many):
        bench.send(GET % b"1")
    assert not bench.transport.reads
    assert (len(bench.asked), bench.answers()) == (1, [])
    bench.asked[0].respond(b"<0>")
    for _ in range(many + 1):
        bench.clock.advance(0)
    assert bench.answers() == ["0"] + ["1"] * many
    assert bench.transport.reads


def test_a_long_body_behind_an_unanswered_request_is_read_in_the_end(bench):
    bench.send(GET % b"later")
    body = b"x" * (4 * AHEAD)
    bench.send(b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[: 2 * AHEAD])
    assert not bench.transport.reads
    bench.asked[0].respond(b"<0>")
    bench.clock.advance(0)
    bench.send(body[2 * AHEAD :])
    assert bench.answers() == ["0", "post"]
    assert bench.asked[1].body == body


@pytest.mark.parametrize(
    "rest", [b"G", b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"]
)
@pytest.mark.parametrize("before", [b"", GET % b"1"])
def test_the_time_for_a_request_begins_with_its_first_byte_and_bytes_do_not_prolong_it(bench, before, rest):
    bench.send(before + rest[:1])
    bench.clock.advance(0)
    bench.answers()
    bench.clock.advance(TIMEOUT - 1)
    bench.send(rest[1:] or b"E")
    assert bench.answers() == []
    bench.clock.advance(1)
    assert bench.answers() == ["408"]
    assert not bench.transport.writes
    bench.send(b"more")
    bench.clock.advance(LINGER)
    assert bench.transport.aborted


def test_an_idle_connection_is_closed_and_one_that_is_in_use_is_not(bench):
    for _ in range(5):
        bench.clock.advance(IDLE - 1)
        bench.send(GET % b"1")
    bench.clock.advance(IDLE - 1)
    assert bench.transport.open
    bench.clock.advance(1)
    assert not bench.transport.open


def test_a_connection_whose_request_is_being_answered_is_not_idle(bench):
    bench.send(GET % b"later")
    bench.clock.pump([IDLE] * 5)
    assert bench.transport.open
    bench.asked[0].respond(b"<0>")
    bench.clock.advance(IDLE)
    assert not bench.transport.open


def test_a_client_that_closes_its_half_is_answered_all_that_it_asked(bench):
    bench.send(GET % b"later" + GET % b"1" + GET % b"2")
    bench.connection.readConnectionLost()
    assert bench.transport.open
    bench.asked[0].respond(b"<0>")
    for _ in range(3):
        bench.clock.advance(0)
    assert bench.answers() == ["0", "1", "2"]
    assert not bench.transport.open


def test_a_client_that_closes_its_half_in_a_request_is_refused_at_once(bench):
    bench.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
    bench.connection.readConnectionLost()
    assert bench.answers() == ["400"]


def test_a_waiting_client_that_closes_its_half_has_left(bench):
    bench.send(GET % b"later")
    bench.asked[0].delivery = Delivery()
    bench.connection.readConnectionLost()
    assert not bench.transport.open


def test_a_request_is_told_that_its_client_has_left_and_answers_nobody(bench):
    bench.send(GET % b"later")
    delivery = bench.asked[0].delivery = Delivery()
    bench.leave()
    assert delivery.has_left
    bench.asked[0].respond(b"<0>")
    assert bench.answers() == []


def test_a_client_that_does_not_read_is_answered_no_further_and_cut_off(bench):
    bench.send(GET % b"1" + GET % b"2")
    bench.connection.arrival.takes = False
    bench.connection.pauseProducing()
    bench.clock.advance(0)
    assert bench.answers() == ["1"]
    assert not bench.transport.reads
    bench.clock.pump([TIMEOUT / 50] * 49)
    assert bench.transport.open
    bench.clock.pump([TIMEOUT / 50] * 3)
    assert bench.transport.aborted


def test_a_client_that_reads_slowly_is_not_cut_off_and_answered_when_it_has_read(bench):
    bench.send(GET % b"1" + GET % b"2")
    bench.connection.pauseProducing()
    for _ in range(100):
        bench.connection.arrival.write(b".")
        bench.clock.pump([TIMEOUT / 10] * 5)
    assert bench.transport.open
    bench.connection.resumeProducing()
    assert bench.answers() == ["1", "2"]
    assert bench.transport.reads


@pytest.mark.parametrize(
    ("head", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: disclose\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: TE, Close\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: keep-alive\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_a_connection_closes_when_its_client_wants_it(bench, head, closes):
    bench.send(head + b"\r\n")
    written = bench.transport.written
    assert bench.transport.open is not closes
    bench.connection.dataReceived(GET % b"2")
    assert (b"Connection: close" in written) is (closes and b"HTTP/1.1" in head)
    assert (b"Keep-Alive: timeout=75" in written) is not closes
    bench.clock.advance(0)
    assert len(bench.asked) == (1 if closes else 2)


def test_a_stopping_daemon_closes_after_the_answer(bench):
    bench.send(GET % b"later")
    bench.site.stopping = True
    bench.asked[0].respond(b"<0>")
    bench.send(GET % b"1")
    assert b"Connection: close" in bench.transport.written
    assert not bench.transport.open


def test_a_request_that_has_begun_is_waited_for(bench):
    assert bench.site.busy == 0
    for begun in (b"P", b"OST /1 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", b"{"):
        bench.send(begun)
        assert bench.site.busy == 1
    bench.site.stopping = True
    bench.send(b"}")
    assert (bench.answers(), bench.site.busy) == (["1"], 0)


def test_a_client_that_expects_it_is_told_to_continue_unless_it_is_refused(bench):
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: %d\r\n\r\n"
    bench.send(head % 2)
    assert bench.transport.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    bench.send(b"{}")
    bench.answers()
    bench.send(head % (2 << 20))
    assert b"100" not in bench.transport.written
    assert bench.answers() == ["413"]


def test_a_head_request_is_answered_without_a_body_and_refused_without_one(bench):
    bench.send(b"HEAD /1 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert bench.transport.written.endswith(b"Content-Length: 3\r\n\r\n")
    bench.send(b"HEAD / HTTP/1.1\r\n\r\n")
    assert bench.transport.written.endswith(b"Content-Length: 5\r\nConnection: close\r\n\r\n")


def test_while_a_delivery_is_awaited_only_our_half_is_closed_and_all_once_it_is_settled(bench):
    bench.deliveries.awaited.add(bench.connection)
    bench.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert (bench.transport.open, bench.transport.writes) == (True, False)
    bench.connection.settled()
    assert not bench.transport.open


HEADS_OF_LAST = [
    b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close, upgrade\r\nUpgrade: x\r\n\r\n",
    b"GET /1 HTTP/1.1\r\nHost: x\r\nProxy-Connection: close\r\n\r\n",
    b"POST /1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nConnection: close\r\n\r\n",
    b"X\r\n\r\n",
]


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("last", HEADS_OF_LAST)
def test_nothing_is_done_behind_the_last_answer_and_the_connection_ends_whatever_the_client_does(
    bench, last, is_plain, awaited
):
    bench.connection.arrival.is_plain = is_plain
    if awaited:
        bench.deliveries.awaited.add(bench.connection)
    bench.send(last + GET % b"2")
    asked = len(bench.asked)
    assert len(bench.answers()) == 1
    bench.connection.dataReceived(b"\r\n" + GET % b"3")
    for _ in range(30):
        bench.clock.advance(0.2)
        bench.connection.dataReceived(GET % b"4")
    assert len(bench.asked) == asked
    assert bench.answers() == []
    assert bench.transport.aborted


@pytest.mark.parametrize("is_plain", [True, False])
@pytest.mark.parametrize("last", [b"X\r\n\r\n", HEADS_OF_LAST[0]])
def test_a_connection_that_was_not_read_is_read_once_it_is_to_end(bench, is_plain, last):
    bench.connection.arrival.is_plain = is_plain
    bench.send(GET % b"later" + last + b"z" * 2 * AHEAD)
    assert not bench.transport.reads
    bench.asked[0].respond(b"<0>")
    bench.clock.advance(0)
    assert bench.transport.reads
    bench.clock.pump([0.5] * 6)
    assert bench.transport.aborted


def test_a_client_that_closes_its_half_behind_a_line_too_many_is_not_waited_for(bench):
    bench.send(GET % b"later" + b"\r\n")
    bench.connection.readConnectionLost()
    bench.asked[0].respond(b"<0>")
    bench.clock.advance(0)
    assert not bench.transport.open


def test_a_client_that_has_closed_its_half_before_it_waits_has_left(bench):
    def wait(request):
        bench.asked.append(request)
        if len(bench.asked) > 1:
            request.delivery = Delivery()

    bench.site.answer = wait
    bench.send(GET % b"later" + GET % b"wait")
    bench.connection.readConnectionLost()
    bench.asked[0].respond(b"<0>")
    bench.clock.advance(0)
    assert (len(bench.asked), bench.transport.open) == (2, False)


def test_a_client_that_takes_a_long_answer_slowly_is_not_idle(bench):
    bench.send(GET % b"1")
    arrival = bench.connection.arrival
    arrival.takes, arrival.written = False, 1000
    for arrival.taken in range(100, 600, 100):
        bench.clock.advance(IDLE)
    assert bench.transport.open
    bench.clock.pump([IDLE] * 2)
    assert not bench.transport.open


def test_a_request_is_answered_once(bench):
    bench.send(GET % b"1")
    with pytest.raises(RuntimeError):
        bench.asked[0].respond(b"again")
