"""How late timers are."""

from twisted.internet.task import Clock

from presque.background.reactor_lag import TICK, WINDOW, ReactorLag


class LateClock(Clock):
    """A clock that is set forward while something holds up the reactor."""

    def hold_up(self, seconds):
        self.rightNow += seconds


def test_the_largest_lateness_is_told_for_a_while_and_then_forgotten():
    clock = LateClock()
    lag = ReactorLag(clock)
    lag.start()
    clock.pump([TICK] * 3)
    assert lag.seconds < 0.001
    clock.hold_up(0.5)
    clock.advance(TICK)
    assert 0.5 <= lag.seconds < 0.5 + TICK
    clock.pump([TICK] * WINDOW)
    assert lag.seconds >= 0.5  # a scrape in between sees it
    clock.pump([TICK] * 2 * WINDOW)
    assert lag.seconds < 0.001
    lag.stop()
    assert clock.getDelayedCalls() == []
