"""Publications are told to everybody who listens, and Redis is asked for a channel as long as anybody does."""

import pytest

from presque.jobs.events import Events


class Source:
    """What subscribes at Redis."""

    def __init__(self):
        self.asked = []

    def subscribe(self, channel):
        self.asked.append(("subscribe", channel))

    def unsubscribe(self, channel):
        self.asked.append(("unsubscribe", channel))


class Listener:
    def __init__(self, fails=False):
        self.said, self.fails = [], fails

    def heard(self, channel):
        self.said.append(("heard", channel))
        if self.fails:
            raise RuntimeError("boom")

    def told(self, channel):
        self.said.append(("told", channel))
        if self.fails:
            raise RuntimeError("boom")


@pytest.fixture
def source():
    return Source()


def test_a_channel_is_asked_for_once_and_given_up_with_its_last_listener(source):
    events, first, second = Events(source), Listener(), Listener()
    events.subscribe(b"a", first)
    events.subscribe(b"a", second)
    events.unsubscribe(b"a", first)
    assert source.asked == [("subscribe", b"a")]
    events.unsubscribe(b"a", second)
    events.unsubscribe(b"a", second)
    assert source.asked == [("subscribe", b"a"), ("unsubscribe", b"a")]


def test_every_listener_of_a_channel_is_told_and_no_other(source):
    events, first, second, other = Events(source), Listener(), Listener(), Listener()
    for channel, listener in ((b"a", first), (b"a", second), (b"b", other)):
        events.subscribe(channel, listener)
    source.told(b"a")
    source.heard(b"a")
    assert first.said == second.said == [("told", b"a"), ("heard", b"a")]
    assert other.said == []


def test_what_nobody_listens_for_any_more_is_told_as_unclaimed_and_a_mere_look_is_not(source):
    events, unclaimed = Events(source), []
    events.unclaimed = unclaimed.append
    source.heard(b"a")
    source.told(b"a")
    assert unclaimed == [b"a"]


def test_a_listener_that_fails_keeps_it_from_no_other_and_is_logged(source, failures):
    events, broken, whole = Events(source), Listener(fails=True), Listener()
    events.subscribe(b"a", broken)
    events.subscribe(b"a", whole)
    source.told(b"a")
    assert whole.said == [("told", b"a")]
    assert [type(each) for each in failures] == [RuntimeError]


def test_a_listener_may_leave_while_it_is_told(source):
    events = Events(source)

    class Leaver(Listener):
        def told(self, channel):
            super().told(channel)
            events.unsubscribe(channel, self)

    leaver, other = Leaver(), Listener()
    events.subscribe(b"a", leaver)
    events.subscribe(b"a", other)
    source.told(b"a")
    source.told(b"a")
    assert (leaver.said, other.said) == ([("told", b"a")], [("told", b"a")] * 2)
