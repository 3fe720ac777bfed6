"""Calls of one turn become one: what is collected, when it is carried out, and what each call gets."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from presque.errors import OutcomeUnknown, StoreUnavailable
from presque.redis import coalescing
from presque.redis.coalescing import MOST_BYTES, MOST_TOGETHER, Coalesced


class Run:
    """What was carried out, and the answers to come."""

    def __init__(self):
        self.clock, self.carried_out, self.answers = Clock(), [], []
        self.coalesced = Coalesced(self.clock, self.run)

    def run(self, shared, own):
        if shared == "impossible":
            raise ValueError(shared)
        self.carried_out.append((shared, list(own)))
        answer = Deferred()
        self.answers.append(answer)
        return answer

    def be_busy(self):
        """Have an unanswered call, so that others are collected."""
        self.call("busy", 0)
        self.carried_out.clear()
        self.answers.clear()

    def call(self, shared, own, size=0):
        got = []
        self.coalesced.call(shared, own, size).addBoth(got.append)
        return got

    def end_turn(self):
        self.clock.advance(0)


def test_calls_of_one_turn_that_share_an_argument_are_carried_out_together():
    """In their order, at the end of the turn and not before; those of the next turn are apart."""
    run = Run()
    run.be_busy()
    first, second, other = run.call("q", 1), run.call("q", 2), run.call("r", 3)
    assert run.carried_out == []
    run.end_turn()
    next_one = run.call("q", 4)
    run.end_turn()
    assert run.carried_out == [("q", [1, 2]), ("r", [3]), ("q", [4])]
    for answer, results in zip(run.answers, (["a", "b"], ["c"], ["d"]), strict=True):
        answer.callback(results)
    assert [first, second, other, next_one] == [["a"], ["b"], ["c"], ["d"]]


def test_a_call_that_nobody_is_before_is_carried_out_at_once():
    """There is nothing to wait for; the next ones are collected until it is answered."""
    run = Run()
    first = run.call("q", 1)
    assert run.carried_out == [("q", [1])]
    second, third = run.call("q", 2), run.call("q", 3)
    run.end_turn()
    assert run.carried_out[1:] == [("q", [2, 3])]
    run.answers[0].callback(["a"])
    run.answers[1].callback(["b", "c"])
    assert [first, second, third] == [["a"], ["b"], ["c"]]
    fourth = run.call("q", 4)
    assert run.carried_out[2:] == []  # calls come together now
    run.end_turn()
    run.answers[2].callback(["d"])
    assert fourth == ["d"]
    run.call("q", 5)
    assert run.carried_out[3:] == [("q", [5])]  # and one by one again


def test_a_result_that_is_an_exception_fails_its_own_call_alone():
    run = Run()
    run.be_busy()
    first, second = run.call("q", 1), run.call("q", 2)
    run.end_turn()
    run.answers[0].callback([KeyError("first"), "b"])
    assert first[0].check(KeyError)
    assert second == ["b"]


def test_a_failure_fails_all_calls_that_were_carried_out_together():
    run = Run()
    run.be_busy()
    calls = [run.call("q", 1), run.call("q", 2)]
    run.end_turn()
    run.answers[0].errback(OutcomeUnknown())
    assert [call[0].check(OutcomeUnknown) for call in calls] == [OutcomeUnknown, OutcomeUnknown]


def test_calls_that_cannot_be_carried_out_do_not_keep_others_from_it():
    run = Run()
    run.be_busy()
    impossible, other = run.call("impossible", 1), run.call("q", 2)
    run.end_turn()
    assert impossible[0].check(ValueError)
    run.answers[0].callback(["b"])
    assert other == ["b"]


@pytest.mark.parametrize(("size", "calls"), [(0, MOST_TOGETHER), (MOST_BYTES // 2, 2)])
def test_enough_calls_are_carried_out_before_the_end_of_the_turn(size, calls):
    """Because Redis serves no one else meanwhile."""
    run = Run()
    run.be_busy()
    for own in range(calls):
        assert run.carried_out == []
        run.call("q", own, size)
    assert run.carried_out == [("q", [*range(calls)])]
    run.end_turn()
    assert len(run.carried_out) == 1
    run.call("q", calls)
    run.end_turn()
    assert run.carried_out[1:] == [("q", [calls])]


def test_more_calls_than_may_wait_are_refused(monkeypatch):
    """Until some are answered, or have failed."""
    monkeypatch.setattr(coalescing, "MOST_WAITING", 3)
    run = Run()
    run.be_busy()
    run.call("q", 1)
    run.call("impossible", 2)
    assert run.call("q", 3)[0].check(StoreUnavailable)
    run.end_turn()
    accepted = run.call("q", 4)
    assert run.call("q", 5)[0].check(StoreUnavailable)
    run.end_turn()
    run.answers[0].callback(["a"])
    run.answers[1].callback(["d"])
    assert accepted == ["d"]
    assert run.call("q", 6) == []


def test_calls_that_got_no_result_are_carried_out_again():
    """Those that have theirs do not wait for the others, and hold when those fail."""
    run = Run()
    run.be_busy()
    calls = [run.call("q", own) for own in (1, 2, 3, 4)]
    run.end_turn()
    run.answers[0].callback(["a", KeyError("b")])
    assert calls[0] == ["a"]
    assert calls[1][0].check(KeyError)
    assert calls[2:] == [[], []]
    assert run.carried_out[1:] == [("q", [3, 4])]
    run.answers[1].callback(["c"])
    assert calls[2] == ["c"]
    run.answers[2].errback(OutcomeUnknown())
    assert calls[3][0].check(OutcomeUnknown)
    assert run.carried_out[2:] == [("q", [4])]
