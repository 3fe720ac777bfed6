"""A delivery alone, with a clock and a connection in memory: in every order of what may happen, each job is settled
once if it has reached its client, and else goes back once.
"""

import gc
import weakref
from itertools import permutations, product

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock

from presque.errors import QueuePaused, StoreUnavailable
from presque.http.arrival import NEVER
from presque.http.deliveries import ASKED, EMPTY, GIVEN_BACK, REACHED, STALE, WRITTEN, Deliveries
from presque.jobs.queues import HOLD, Taken

TIMEOUT = 20.0  # seconds that a client may take no byte
JOB = Taken("foo", "ann", b"h1", (b"1",), (b"{}",), "deliver")
NONE = Taken("foo", "ann", b"h1", (), (), "deliver")


class Redis:
    """The queues, as far as deliveries know them: each job's end, unless Redis is away."""

    def __init__(self, clock):
        self.clock, self.is_away, self.ends, self.held_at = clock, False, [], None

    def _do(self, verb, taken):
        if self.is_away:
            return fail(StoreUnavailable())
        self.ends += [(verb, each.numbers) for each in taken]
        return succeed(len(taken))

    def deliver(self, taken):
        return self._do("deliver", taken)

    def keep(self, taken):
        return self._do("keep", taken)

    def give_back(self, taken):
        return self._do("give back", [taken])

    def hold(self, taken):
        if self.is_away:
            return fail(StoreUnavailable())
        self.held_at = self.clock.seconds()
        return succeed(1)


class Arrival:
    """What has become of what was written."""

    def __init__(self):
        self.bytes, self.has_arrived, self.is_torn = 0, False, False

    def until(self):
        return self.bytes

    def reached(self, mark):
        if self.has_arrived and mark != NEVER:
            return True
        return False if self.is_torn else None


class Bench:
    """One request that takes jobs, and its client. It is its own connection."""

    request_timeout = TIMEOUT

    def __init__(self, waits=False, on_arrival="deliver"):
        self.clock, self.arrival, self.delivery = Clock(), Arrival(), None
        self.redis = Redis(self.clock)
        self.deliveries = Deliveries(self.redis, self.clock)
        self.connection, self.taken = self, Taken("foo", "ann", b"h1", (b"1",), (b"{}",), on_arrival)
        self.has_left, self.answers, self.is_closed, self.was_taken = False, [], False, False
        self.taking = Deferred()
        answered = self.deliveries.deliver(self, self.taking, waits, lambda taken: b"%d" % len(taken.numbers))
        answered.addCallbacks(self._respond, self._refuse)

    def _respond(self, body):
        if not self.has_left:
            self.answers.append(body)
            self.delivery.written(100)

    def _refuse(self, failure):
        failure.trap(StoreUnavailable, QueuePaused, CancelledError)
        if not self.has_left:
            self.answers.append(type(failure.value))

    def abort(self):
        self.arrival.is_torn = True
        self.deliveries.look_at(self)

    cut_off = abort

    def settled(self):
        self.is_closed = True

    # What may happen.

    def jobs(self):
        if not self.taking.called:
            self.redis.held_at, self.was_taken = self.clock.seconds(), True
            self.taking.callback(self.taken)

    def nothing(self):
        if not self.taking.called:
            self.taking.callback(NONE)

    def refusal(self):
        if not self.taking.called:
            self.taking.errback(QueuePaused())

    def arrives(self):
        if self.delivery.state == WRITTEN and not self.arrival.is_torn:
            self.arrival.has_arrived = True

    def leaves(self):
        if not self.answers and not self.has_left:
            self.has_left = True
            self.delivery.left()
        self.arrival.is_torn = True
        self.deliveries.look_at(self)

    def redis_goes(self):
        self.redis.is_away = True

    def redis_returns(self):
        self.redis.is_away = False

    def time(self):
        for _ in range(8):  # longer than a hold
            self.clock.advance(0.75)
            is_on_its_way = self.delivery.state == WRITTEN and self.taken.on_arrival != "nothing"
            if is_on_its_way and not self.redis.is_away and not self.arrival.has_arrived:
                assert self.clock.seconds() - self.redis.held_at < HOLD

    def end(self):
        """Whatever has happened: the client leaves, Redis answers, and there is time."""
        self.leaves()
        self.redis_returns()
        self.nothing()
        self.clock.pump([0.05] * 20)
        assert self.deliveries.pending == 0
        assert self.clock.getDelayedCalls() == []
        return [verb for verb, _ in self.redis.ends]


EVENTS = ("jobs", "arrives", "leaves", "redis_goes", "redis_returns", "time")
SETTLED = {"deliver": ["deliver"], "keep": ["keep"], "nothing": []}


@pytest.mark.parametrize("on_arrival", SETTLED)
@pytest.mark.parametrize("waits", [False, True])
def test_in_every_order_a_job_is_settled_once_if_it_has_arrived_and_else_goes_back_once(waits, on_arrival):
    ends = set()
    for count in (0, 1, 2, 3, len(EVENTS)):
        for order in permutations(EVENTS, count):
            bench = Bench(waits, on_arrival)
            for event in order:
                getattr(bench, event)()
            became = bench.end()
            goes_back = ["give back"] if bench.was_taken else []
            assert became == (SETTLED[on_arrival] if bench.arrival.has_arrived else goes_back), order
            ends.add(bench.delivery.state)
    assert ends == {EMPTY, REACHED, GIVEN_BACK}


@pytest.mark.parametrize(("answer", "other"), [*product(["nothing", "refusal"], ["leaves", "time", "redis_goes"])])
def test_without_a_job_there_is_nothing_to_settle_in_whatever_order(answer, other):
    for order in permutations([answer, other]):
        bench = Bench()
        for event in order:
            getattr(bench, event)()
        assert bench.end() == []
        assert bench.delivery.state == EMPTY


def test_a_waiting_client_that_leaves_is_asked_for_no_more():
    bench = Bench(waits=True)
    assert bench.delivery.is_waiting
    bench.leaves()
    assert not bench.delivery.is_waiting
    assert (bench.deliveries.pending, bench.answers) == (0, [])


def test_a_client_that_leaves_without_waiting_gives_back_what_comes_for_it():
    bench = Bench()
    bench.leaves()
    assert bench.deliveries.pending == 1
    bench.jobs()
    assert bench.redis.ends == [("give back", (b"1",))]


def test_an_answer_that_comes_too_late_is_not_given():
    """The client may have given up by now, and the hold may have run out."""
    bench = Bench()
    bench.clock.advance(STALE + 0.1)
    bench.jobs()
    assert bench.answers == [StoreUnavailable]
    assert bench.end() == ["give back"]


def test_a_client_that_has_waited_for_long_is_given_its_job():
    bench = Bench(waits=True)
    bench.clock.advance(STALE + 30)
    bench.jobs()
    assert bench.answers == [b"1"]
    bench.arrives()
    assert bench.end() == ["deliver"]


def test_a_client_that_takes_no_byte_is_cut_off_and_one_that_takes_some_is_not():
    bench = Bench()
    bench.jobs()
    for _ in range(5):
        bench.clock.pump([0.05] * int(0.8 * TIMEOUT / 0.05))
        bench.arrival.bytes += 1
    assert bench.delivery.state == WRITTEN
    bench.clock.pump([0.05] * int(1.1 * TIMEOUT / 0.05))
    assert (bench.delivery.state, bench.arrival.is_torn) == (GIVEN_BACK, True)
    assert bench.end() == ["give back"]


def test_the_connection_is_told_when_nothing_is_awaited_any_more():
    bench = Bench()
    bench.jobs()
    assert bench.deliveries.awaits(bench)
    bench.clock.advance(1)
    assert not bench.is_closed
    bench.arrives()
    bench.clock.advance(1)
    assert bench.is_closed
    assert not bench.deliveries.awaits(bench)


def test_an_answer_whose_bytes_were_not_taken_goes_back_when_the_connection_ends():
    bench = Bench()
    bench.jobs()
    bench.delivery.mark = NEVER
    bench.arrives()
    assert bench.end() == ["give back"]


def test_what_has_arrived_is_settled_together():
    clock = Clock()
    redis, asked = Redis(clock), []
    deliveries = Deliveries(redis, clock)
    redis.deliver = lambda taken: asked.append(len(taken)) or succeed(len(taken))
    for _ in range(1001):
        deliveries.settle(JOB)
    clock.pump([0.05] * 3)
    assert asked == [1000, 1]
    assert deliveries.pending == 0


def test_a_delivery_is_asked_before_all_else():
    assert Bench().delivery.state == ASKED


class Request:
    """As much of a request as a delivery needs; it is composed into its answer, and so refers to its delivery."""

    def __init__(self):
        self.connection, self.delivery = None, None

    def compose(self, taken):
        return b"%d" % len(taken.numbers)


@pytest.mark.parametrize("taken", [JOB, NONE])
def test_an_answered_request_is_freed_without_the_garbage_collector(taken):
    clock, taking, request = Clock(), Deferred(), Request()
    freed = weakref.ref(request)
    Deliveries(Redis(clock), clock).deliver(request, taking, False, request.compose)
    gc.disable()
    try:
        taking.callback(taken)
        del request
        assert freed() is None
    finally:
        gc.enable()
