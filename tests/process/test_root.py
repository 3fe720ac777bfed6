"""The root of a process alone, on a reactor in memory: its parts start in order, stop in the other, and wait for what
is said instead of looking again and again.
"""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock

from presque.process.root import Root


class Reactor(MemoryReactorClock):
    """It runs what it is asked to run once it runs."""

    def __init__(self):
        super().__init__()
        self.running, self.stops = True, 0

    def callWhenRunning(self, function, *args):
        function(*args)

    def stop(self):
        self.stops += 1


class Program(Root):
    """A process whose parts say what they do."""

    def __init__(self):
        super().__init__(Reactor())
        self.clock, self.said, self.conditions = self._reactor, [], {}

    def add(self, name, starting=None, stopping=None):
        def start():
            self.said.append(f"start {name}")
            return starting() if callable(starting) else starting

        def stop():
            self.said.append(f"stop {name}")
            return stopping() if callable(stopping) else stopping

        self.register(name, start, stop)

    def add_waiting(self, name, patience=10.0):
        """A part that waits, when it starts and when it stops, until a test says that it may go on."""
        self.conditions[name] = False

        async def wait():
            await self._until(lambda: self.conditions[name], patience)

        self.add(name, wait, wait)

    def wait_for(self, name):
        """Fires once that may go on."""
        self.conditions[name] = False
        return Deferred.fromCoroutine(self._until(lambda: self.conditions[name], 10))

    def may_go_on(self, name):
        self.conditions[name] = True
        self.changed()
        self.clock.advance(0)


@pytest.fixture
def program(monkeypatch):
    monkeypatch.setattr("atexit.register", lambda *_: None)
    return Program()


def broken():
    raise ZeroDivisionError("boom")


def test_parts_start_in_their_order_and_stop_in_the_other(program):
    for name in "abc":
        program.add(name)
    program.startService()
    assert program.started.called
    stopped = program.stopService()
    assert stopped.called
    assert program.said == ["start a", "start b", "start c", "stop c", "stop b", "stop a"]


def test_a_part_is_waited_for_before_the_next_one_starts_and_stops(program):
    starting, stopping = Deferred(), Deferred()
    program.add("a", starting)
    program.add("b", None, stopping)
    program.startService()
    assert program.said == ["start a"]
    starting.callback(None)
    assert program.said == ["start a", "start b"]
    stopped = program.stopService()
    assert (program.said[2:], stopped.called) == (["stop b"], False)
    stopping.callback(None)
    assert (program.said[2:], stopped.called) == (["stop b", "stop a"], True)


def test_a_part_that_fails_to_stop_keeps_no_other_from_it_and_is_logged(program, failures):
    program.add("a")
    program.add("b", None, broken)
    program.startService()
    assert program.stopService().called
    assert program.said[2:] == ["stop b", "stop a"]
    assert [type(each) for each in failures] == [ZeroDivisionError]


def test_a_part_that_fails_to_start_ends_the_program_and_what_has_begun_is_stopped(program):
    program.add("a")
    program.add("b", broken)
    program.add("c")
    program.startService()
    assert program.clock.stops == 1
    assert program.stopService().called
    assert program.said == ["start a", "start b", "stop b", "stop a"]


def test_what_is_waited_for_is_seen_when_something_has_changed_and_not_before(program):
    program.add_waiting("a")
    program.add("b")
    program.startService()
    program.conditions["a"] = True
    program.clock.advance(1)
    assert program.said == ["start a"]
    program.changed()
    assert program.said == ["start a"]  # not within what has happened
    program.clock.advance(0)
    assert program.said == ["start a", "start b"]
    assert program.clock.getDelayedCalls() == []


def test_a_change_that_is_not_what_is_waited_for_goes_on_waiting_until_the_time_is_over(program):
    program.add_waiting("a", patience=5)
    program.add("b")
    program.startService()
    for _ in range(4):
        program.changed()
        program.clock.advance(1)
    assert program.said == ["start a"]
    program.clock.advance(1)
    program.clock.advance(0)
    assert program.said == ["start a", "start b"]
    assert program.clock.getDelayedCalls() == []


def test_who_stops_while_it_starts_begins_nothing_more_and_stops_what_has_begun(program):
    program.add_waiting("a", patience=60)
    program.add("b")
    program.startService()
    stopped = program.stopService()
    program.clock.advance(0)
    assert program.said == ["start a", "stop a"]
    program.may_go_on("a")
    assert stopped.called
    assert program.said == ["start a", "stop a"]
    assert program.clock.getDelayedCalls() == []


def test_two_who_wait_at_once_are_both_told(program):
    waits = [program.wait_for(name) for name in "ab"]
    program.may_go_on("b")
    assert [each.called for each in waits] == [False, True]
    program.may_go_on("a")
    assert [each.called for each in waits] == [True, True]
    assert program.clock.getDelayedCalls() == []
