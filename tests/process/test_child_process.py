"""A child process that is kept alive: when it comes back, what is heard of it, and how it ends."""

import errno
import os
import sys
import time

from logs import exception, logged
from proc import lives
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from twisted.internet import reactor
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from presque.process.child_process import Child, Command


class Births(Clock):
    """A reactor whose processes are born, at times that it notes, and die when the test says so."""

    def __init__(self):
        super().__init__()
        self.at = []

    def spawnProcess(self, protocol, *args, **kwargs):
        self.at.append(self.seconds())
        self.protocol = protocol

    def die(self, after):
        """The child dies `after` so many seconds, and time goes on until it is born again."""
        self.advance(after)
        self.protocol.processEnded(Failure(ProcessTerminated(signal=9)))
        (birth,) = self.getDelayedCalls()
        wait = birth.getTime() - self.seconds()
        self.advance(wait)
        assert self.at[-1] == self.seconds()
        return round(wait, 1)


def test_a_child_comes_back_later_each_time_and_at_once_when_it_had_lived_long():
    births = Births()
    Child("it", Command(("/it",), {}, {}), 1, births, lambda pid, line: None).start()
    assert [births.die(1) for _ in range(8)] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert [births.die(after) for after in (11, 1, 1)] == [0.1, 0.2, 0.4]


def test_what_comes_before_a_child_starts_again_is_done_each_time_and_holds_nothing_up():
    births, done = Births(), []
    child = Child("it", Command(("/it",), {}, {}), 1, births, lambda pid, line: None)

    def fail():
        done.append(len(births.at))
        raise ValueError("not today")

    child.before_again = fail
    with logged(exception) as failures:
        child.start()
        births.die(1)
        births.die(1)
    assert done == [1, 2]
    assert len(births.at) == 3
    assert [str(failure) for failure in failures] == ["not today"] * 2


def test_a_child_s_lines_come_whole_with_its_last_one_and_none_too_long():
    births, heard = Births(), []
    Child("it", Command(("/it",), {}, {}), 1, births, lambda pid, line: heard.append(line)).start()
    for descriptor, data in ((1, b"one\ntw"), (2, b"other\n"), (1, b"o\n"), (1, b"x" * 70_000), (1, b"\n\xff")):
        births.protocol.childDataReceived(descriptor, data)
    births.die(1)
    assert heard == ["one", "other", "two", "x" * 70_000, "", "\ufffd"]


def test_a_child_that_ends_three_times_before_it_is_ready_is_given_up_and_one_that_was_ready_is_not():
    births, given_up = Births(), []
    child = Child("it", Command(("/it",), {}, {}), 1, births, lambda pid, line: None)
    child.on_hopeless = lambda pid, how: given_up.append(how)
    child.start()

    def end(**how):
        births.protocol.processEnded(Failure(ProcessTerminated(**how)))
        for call in births.getDelayedCalls():
            births.advance(call.getTime() - births.seconds())

    for _ in range(5):
        child.is_ready()
        end(exitCode=1)
    for _ in range(5):
        end(signal=9)  # by somebody else, which says nothing about itself
    child.is_ready()
    for _ in range(4):  # one that was ready, and three that were not
        assert given_up == []
        end(exitCode=1)
    assert len(given_up) == 1
    assert births.getDelayedCalls() == []


@awaiting
async def test_a_child_that_does_not_stop_is_killed_in_the_end():
    program = "import signal as s, time; s.signal(s.SIGTERM, s.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    heard = []
    command = Command((sys.executable, "-c", program), {}, {})
    child = Child("it", command, 0.2, reactor, lambda pid, line: heard.append((pid, line)))
    child.start()

    async def is_deaf():
        return heard

    ((pid, line),) = await eventually(is_deaf, "its word")
    assert (line, lives(pid)) == ("deaf", True)
    began = time.monotonic()
    await child.stop()
    assert 0.2 <= time.monotonic() - began < 2
    assert not lives(pid)


class Exhausted:
    """Twisted's reactor, which has no descriptor left for the first `times` processes."""

    def __init__(self, times):
        self.times, self.tried = times, 0

    def __getattr__(self, name):
        return getattr(reactor, name)

    def spawnProcess(self, *args, **kwargs):
        self.tried += 1
        if self.tried <= self.times:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return reactor.spawnProcess(*args, **kwargs)


@awaiting
async def test_a_child_that_cannot_be_started_is_tried_again_until_it_can():
    heard = []
    command = Command((sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"), {}, {})
    child = Child("it", command, 5, Exhausted(times=2), lambda pid, line: heard.append((pid, line)))
    child.start()
    assert child.pid == 0

    async def is_here():
        return heard

    assert await eventually(is_here, "its word") == [(child.pid, "here")]
    pid = child.pid
    await child.stop()
    assert not lives(pid)


def test_a_child_that_could_not_be_started_is_not_once_it_was_stopped():
    births = Births()
    spawn, births.spawnProcess = births.spawnProcess, None  # calling that is a TypeError
    child = Child("it", Command(("/it",), {}, {}), 1, births, lambda pid, line: None)
    child.start()
    (again,) = births.getDelayedCalls()
    stopped = child.stop()
    assert stopped.called
    births.spawnProcess = spawn
    births.advance(again.getTime() + 10)
    assert births.at == []
