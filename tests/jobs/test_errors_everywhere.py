"""Whatever what is awaited raises, at any place: who waits is answered, each part goes on, and the log has it once."""

import gc
from itertools import product

import pytest
import txredisapi
from logs import exception, logged
from twisted.internet.defer import fail, succeed
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure

from presque.background.loop import Loop
from presque.background.mover import Mover
from presque.errors import PresqueError
from presque.http.deliveries import Deliveries
from presque.jobs.events import Events
from presque.jobs.queues import Taken
from presque.jobs.waiters import Waiters

ERRORS = [RuntimeError, txredisapi.ResponseError, MemoryError]
WAYS = ["raised", "failed at once", "failed later"]


class Fake:
    """Queues in this process, whose `fails_at`-th call fails in some way; the others are answered as Redis would."""

    daemon, partitions = b"d", 3

    def __init__(self, clock, error, way, fails_at):
        self.clock, self.error, self.way, self.fails_at = clock, error, way, fails_at
        self.calls = 0
        self.ready, self.settled, self.returned, self.moved = {}, [], [], []
        self.due_queues = {0: ["a"], 1: ["b", "c"], 2: ["d"]}

    def _call(self, do, *args):
        self.calls += 1
        if self.calls != self.fails_at:
            return succeed(None).addCallback(lambda _: do(*args))
        if self.way == "raised":
            raise self.error
        if self.way == "failed at once":
            return fail(self.error)
        return deferLater(self.clock, 0.2, lambda: Failure(self.error))

    def channel(self, queue):
        return queue.encode()

    def take(self, queue, daemon):
        return self._call(lambda: taken(queue, *self.ready.pop(queue, [])))

    def wake_another(self, channel):
        return self._call(lambda: 1)

    def deliver(self, several):
        return self._call(self.settled.extend, several)

    keep = deliver

    def give_back(self, taken):
        return self._call(self.returned.append, taken)

    def hold(self, taken):
        return self._call(lambda: 1)

    def due(self, partition, most):
        return self._call(lambda: list(self.due_queues[partition]))

    def move(self, queue):
        def do():
            for names in self.due_queues.values():
                if queue in names:
                    names.remove(queue)
                    self.moved.append(queue)
            return 1

        return self._call(do)


def taken(queue, *numbers, on_arrival="deliver"):
    return Taken(queue, "w", b"r", numbers, (b"{}",) * len(numbers), on_arrival)


class Listener:
    """Nothing is heard but what a test says."""

    def subscribe(self, channel):
        pass

    unsubscribe = subscribe


def everywhere(scenario):
    """Run `scenario(clock, fake)` once whole, then with each of its calls failing in each way. Each time one failure
    is logged.
    """
    whole = Fake(Clock(), None, "", 0)
    scenario(whole.clock, whole)
    assert whole.calls >= 3
    for kind, way, place in product(ERRORS, WAYS, range(1, whole.calls + 1)):
        error = kind("odd")
        fake = Fake(Clock(), error, way, place)
        with logged(exception) as found:
            scenario(fake.clock, fake)
        assert fake.calls >= place
        assert found == [error], f"call {place}, {error!r} {way}: {found}"


def unhandled(event):
    return event if "Unhandled" in str(event.get("log_format")) or "Unhandled" in str(event.get("why")) else None


@pytest.fixture(autouse=True)
def no_failure_is_forgotten():
    """A Deferred that nobody looks after is told when it is collected."""
    gc.collect()
    with logged(unhandled) as forgotten:
        yield
        gc.collect()
    assert forgotten == []


def pass_time(clock, seconds):
    clock.pump([0.05] * round(seconds / 0.05))


def ended(deferred):
    """What a waiting consumer was told."""
    results = []
    deferred.addBoth(results.append)
    assert results, "it was never answered"
    assert not isinstance(results[0], Failure) or results[0].check(PresqueError), results
    return results[0]


def wait_in_many_ways(clock, fake):
    listener, back = Listener(), []
    waiting = Waiters(fake, Events(listener), clock, back.append)
    consumers = [waiting.take(queues, fake.take, 3) for queues in (["a"], ["a"], ["b", "a"], ["b"])]
    left = waiting.take(["c"], fake.take, 3)
    left.addErrback(lambda failure: None)
    pass_time(clock, 0.5)
    left.cancel()
    fake.ready = {"a": [1], "b": [2]}
    listener.heard(b"a")
    listener.told(b"b")
    listener.told(b"nobody waits here")
    pass_time(clock, 1)
    stopping = waiting.take(["x", "y"], fake.take, 3)
    fake.ready["x"] = [3]
    listener.told(b"x")
    pass_time(clock, 6)
    for each in [*consumers, stopping]:
        ended(each)
    assert len(waiting) == 0
    before, fake.ready = fake.calls, {}
    later = waiting.take(["a"], fake.take, 3)
    pass_time(clock, 0.5)
    fake.ready["a"] = [4]
    listener.heard(b"a")
    pass_time(clock, 0.5)
    told = ended(later)
    assert fake.fails_at > before or told.numbers == (4,)
    assert clock.getDelayedCalls() == []


def test_whatever_a_look_raises_each_waiting_consumer_is_answered():
    everywhere(wait_in_many_ways)


def test_whatever_a_look_raises_who_waits_when_the_daemon_stops_is_answered():
    def stop_meanwhile(clock, fake):
        listener = Listener()
        waiting = Waiters(fake, Events(listener), clock, lambda taken: None)
        consumers = [waiting.take(queues, fake.take, 30) for queues in (["a"], ["a", "b"], ["c"])]
        waiting.stop()
        pass_time(clock, 1)
        for each in consumers:
            ended(each)
        assert clock.getDelayedCalls() == []

    everywhere(stop_meanwhile)


class Channel:
    """A client's connection, which takes what it is sent when a test says so."""

    request_timeout = 60.0

    def __init__(self):
        self.arrival = self.connection = self
        self.has_reached, self.bytes = None, 0

    def reached(self, mark):
        return self.has_reached

    def until(self):
        self.bytes += 1
        return self.bytes

    def settled(self):
        pass


def deliver_in_many_ways(clock, fake):
    deliveries = Deliveries(fake, clock)
    fates = {"deliver": True, "keep": True, "given back": False, "late": None}
    channels, jobs = {}, {}
    for number, fate in enumerate(fates):
        jobs[fate] = taken("foo", number, on_arrival="keep" if fate == "keep" else "deliver")
        channels[fate] = Channel()
        deliveries.deliver(channels[fate], succeed(jobs[fate]), False, lambda taken: b"{}").addErrback(lambda _: None)
        channels[fate].delivery.written(0)
    clock.advance(0.001)
    for fate, reached in fates.items():
        channels[fate].has_reached = reached
    for channel in channels.values():
        deliveries.look_at(channel)
    pass_time(clock, 70)  # long enough for a hold
    channels["late"].has_reached = True
    pass_time(clock, 3)
    assert deliveries.pending == 0
    assert {each.numbers for each in fake.settled} == {(0,), (1,), (3,)}
    assert {each.numbers for each in fake.returned} == {(2,)}
    assert clock.getDelayedCalls() == []


def test_whatever_settling_raises_each_job_is_settled_or_given_back():
    everywhere(deliver_in_many_ways)


def test_whatever_moving_raises_each_queue_is_moved():
    def move(clock, fake):
        loop = Loop("mover", Mover(fake).run_once, 1.0, 1000, clock)
        loop.start()
        pass_time(clock, 4)
        assert sorted(fake.moved) == ["a", "b", "c", "d"]
        stopped = loop.stop()
        assert stopped.called

    everywhere(move)


def test_nothing_is_polled_where_nobody_waits():
    clock = Clock()
    fake = Fake(clock, None, "", 0)
    waiting = Waiters(fake, Events(Listener()), clock, lambda taken: None)
    for way in ("has a job", "has left"):
        waiter = waiting.take(["a"], fake.take, 60)
        pass_time(clock, 5)
        assert clock.getDelayedCalls()
        if way == "has a job":
            fake.ready["a"] = [1]
            pass_time(clock, 5)
        else:
            waiter.addErrback(lambda failure: None).cancel()
        assert clock.getDelayedCalls() == []


def test_a_look_that_fails_again_and_again_is_logged_once():
    clock = Clock()
    fake = Fake(clock, RuntimeError("always"), "failed at once", 0)

    def take(queue, daemon):
        return fail(RuntimeError("always"))

    waiting = Waiters(fake, Events(Listener()), clock, lambda taken: None)
    with logged(exception) as found:
        for _ in range(20):
            waiters = [waiting.take(queues, take, 3) for queues in (["a"], ["a", "b"])]
            pass_time(clock, 1)
            for each in waiters:
                assert isinstance(ended(each), Failure)
    assert len(found) == 1
