"""The waiters alone, with a clock, queues and publications in memory: who is served, when is looked, who is told."""

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock

from presque.errors import InvalidName, OutcomeUnknown, QueuePaused, StoreUnavailable
from presque.jobs.events import Events
from presque.jobs.queues import Taken
from presque.jobs.waiters import LAST_TRIES, POLL, POLLED, Waiters


class Queues:
    """Queues whose jobs are numbers; a take is answered at once, or when a test says so."""

    daemon = b"here"

    def __init__(self):
        self.ready, self.paused, self.takes, self.passed_on, self.held_up, self.wrong = {}, set(), [], [], None, None

    def channel(self, queue):
        if queue.startswith("."):
            raise InvalidName
        return b"c:" + queue.encode()

    def wake_another(self, channel):
        self.passed_on.append(channel)
        return succeed(1)

    def take(self, queue, daemon):
        self.takes.append((queue, daemon))
        if self.held_up is not None:
            return self.held_up.addCallback(lambda _: self._taken(queue))
        return fail(self.wrong) if self.wrong else self._taken(queue)

    def _taken(self, queue):
        if queue in self.paused:
            return fail(QueuePaused())
        jobs = self.ready.get(queue, [])
        numbers = (jobs.pop(0),) if jobs else ()
        return succeed(Taken(queue, "", b"r", numbers, (b"{}",) * len(numbers), "deliver"))


class Source:
    """What subscribes at Redis."""

    def __init__(self):
        self.channels = set()

    def subscribe(self, channel):
        self.channels.add(channel)

    def unsubscribe(self, channel):
        self.channels.remove(channel)


class Answers(list):
    """What a consumer was told, and the Deferred by which it waits."""

    waiting = None


class Bench:
    def __init__(self):
        self.clock, self.queues, self.source, self.returned = Clock(), Queues(), Source(), []
        self.waiters = Waiters(self.queues, Events(self.source), self.clock, self.returned.append)

    def wait(self, *queues, patience=30):
        answers = Answers()
        answers.waiting = self.waiters.take(queues, self.queues.take, patience).addBoth(answers.append)
        return answers


@pytest.fixture
def bench():
    return Bench()


def numbers(answers):
    return [answer.numbers for answer in answers]


def test_a_consumer_that_does_not_wait_is_answered_by_one_take(bench):
    assert numbers(bench.wait("foo", patience=0)) == [()]
    assert bench.queues.takes == [("foo", b"")]
    assert bench.source.channels == set()


def test_whoever_waits_first_is_served_first(bench):
    first, second = bench.wait("foo"), bench.wait("foo")
    assert (first, second, len(bench.waiters)) == ([], [], 2)
    bench.queues.ready["foo"] = [1]
    bench.source.told(b"c:foo")
    assert (numbers(first), second) == ([(1,)], [])
    bench.queues.ready["foo"] = [2]
    bench.source.told(b"c:foo")
    assert numbers(second) == [(2,)]
    assert (len(bench.waiters), bench.source.channels) == (0, set())


def test_one_wake_up_serves_as_many_as_there_are_jobs(bench):
    waiting = [bench.wait("foo") for _ in range(5)]
    bench.queues.ready["foo"] = [1, 2, 3]
    bench.source.told(b"c:foo")
    assert [numbers(each) for each in waiting] == [[(1,)], [(2,)], [(3,)], [], []]


def test_a_take_that_finds_nothing_says_which_daemon_is_to_be_woken(bench):
    bench.wait("foo")
    assert bench.queues.takes == [("foo", b"here")]


def test_the_first_of_several_queues_that_has_a_job_gives_it(bench):
    bench.queues.ready["b"] = [1]
    assert numbers(bench.wait("a", "b", "c")) == [(1,)]
    waiting = bench.wait("a", "b", "c")
    bench.queues.ready["c"] = [2]
    bench.source.told(b"c:c")
    assert numbers(waiting) == [(2,)]
    assert bench.source.channels == set()


def test_patience_ends_with_a_last_look(bench):
    waiting = bench.wait("foo", patience=5)
    bench.clock.advance(4.9)
    assert waiting == []
    bench.queues.ready["foo"] = [1]
    bench.clock.advance(0.1)
    assert numbers(waiting) == [(1,)]
    assert bench.clock.getDelayedCalls() == []


def test_a_stopped_queue_is_waited_for_and_told_at_the_end(bench):
    bench.queues.paused.add("foo")
    waiting = bench.wait("foo", patience=5)
    bench.clock.advance(5)
    assert [type(each.value) for each in waiting] == [QueuePaused]


def test_what_was_not_heard_is_found_by_looking_now_and_then(bench):
    waiting = bench.wait("foo")
    bench.queues.ready["foo"] = [1]
    bench.clock.pump([0.02] * int(1.2 * POLL / 0.02))
    assert numbers(waiting) == [(1,)]
    assert bench.clock.getDelayedCalls() == []


def test_however_many_queues_are_waited_on_a_turn_looks_at_a_few(bench):
    for n in range(50):
        bench.wait(f"q{n}")
    bench.clock.advance(POLL + 0.1)
    before = len(bench.queues.takes)
    bench.clock.advance(0.02)
    assert len(bench.queues.takes) - before == POLLED
    bench.clock.pump([0.02] * 10)
    assert {queue for queue, _ in bench.queues.takes[50:]} == {f"q{n}" for n in range(50)}


def test_a_consumer_that_leaves_while_it_waits_leaves_nothing_behind(bench):
    waiting = bench.wait("foo")
    waiting.waiting.cancel()
    assert [type(each.value) for each in waiting] == [CancelledError]
    assert (len(bench.waiters), bench.source.channels, bench.clock.getDelayedCalls()) == (0, set(), [])


def test_a_job_that_was_on_its_way_to_a_consumer_that_left_goes_back(bench):
    bench.queues.held_up = held_up = Deferred()
    waiting, other = bench.wait("foo"), bench.wait("foo")
    waiting.waiting.cancel()
    bench.queues.held_up, bench.queues.ready["foo"] = None, [1, 2]
    held_up.callback(None)
    assert [taken.numbers for taken in bench.returned] == [(1,)]
    assert numbers(other) == [(2,)]


def test_a_wake_up_for_nobody_is_passed_on(bench):
    bench.source.told(b"c:foo")
    assert bench.queues.passed_on == [b"c:foo"]


def test_a_wake_up_whose_consumer_left_meanwhile_is_passed_on(bench):
    bench.queues.held_up = held_up = Deferred()
    waiting = bench.wait("foo")
    bench.source.told(b"c:foo")
    waiting.waiting.cancel()
    bench.queues.held_up = None
    held_up.callback(None)
    assert bench.queues.passed_on == [b"c:foo"]


def test_when_the_store_goes_away_all_who_wait_are_told(bench):
    waiting = [bench.wait("foo") for _ in range(3)]
    bench.queues.wrong = StoreUnavailable()
    bench.source.told(b"c:foo")
    assert [type(each[0].value) for each in waiting] == [StoreUnavailable] * 3
    assert (len(bench.waiters), bench.clock.getDelayedCalls()) == (0, [])


def test_what_nobody_expects_is_told_as_unknown_and_logged_once(bench, failures):
    bench.queues.wrong = KeyError("odd")
    waiting = [bench.wait("foo") for _ in range(3)]
    assert [type(each[0].value) for each in waiting] == [OutcomeUnknown] * 3
    assert [type(each) for each in failures] == [KeyError]


def test_a_bad_name_is_refused_before_anything_is_taken(bench):
    with pytest.raises(InvalidName):
        bench.waiters.take(["foo", ".bar"], bench.queues.take, 30)
    assert bench.queues.takes == []


def test_when_the_daemon_stops_everybody_is_answered_and_nobody_waits_any_more(bench):
    waiting = [bench.wait("foo"), bench.wait("foo", "bar"), bench.wait("bar")]
    bench.queues.ready["bar"] = [1]
    bench.waiters.stop()
    assert sorted(len(each[0].numbers) for each in waiting) == [0, 0, 1]
    assert numbers(bench.wait("foo")) == [()]
    assert (len(bench.waiters), bench.clock.getDelayedCalls()) == (0, [])


def test_a_consumer_that_comes_while_the_daemon_stops_and_leaves_before_its_answer_takes_no_job(bench):
    bench.waiters.stop()
    bench.queues.held_up, bench.queues.ready["foo"] = Deferred(), [1]
    waiting = bench.wait("foo")
    waiting.waiting.cancel()
    bench.queues.held_up.callback(None)
    assert [type(each.value) for each in waiting] == [CancelledError]
    assert [taken.numbers for taken in bench.returned] == [(1,)]


def test_however_many_give_up_together_their_last_tries_are_bounded(bench):
    waiting = [bench.wait(f"q{n}") for n in range(3 * LAST_TRIES)]
    before = len(bench.queues.takes)
    bench.queues.held_up = Deferred()
    bench.waiters.stop()
    assert len(bench.queues.takes) - before == LAST_TRIES
    bench.queues.held_up.callback(None)
    assert all(numbers(each) == [()] for each in waiting)
    assert len(bench.queues.takes) - before == 3 * LAST_TRIES


def test_thousands_give_up_at_once_while_the_store_is_away(bench):
    waiting = [bench.wait("foo", patience=5) for _ in range(5000)]
    bench.queues.wrong = StoreUnavailable()
    bench.clock.advance(5)
    assert all(type(each[0].value) is StoreUnavailable for each in waiting)
    assert (len(bench.waiters), bench.clock.getDelayedCalls()) == (0, [])
