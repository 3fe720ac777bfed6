"""Which jobs a request for many is about: those whose last error says something, or that are old enough."""

import pytest
from pytest_twisted import ensureDeferred as awaiting

from presque.jobs.jobs import Jobs, Match
from presque.jobs.leases import Leases, Settlement
from presque.jobs.queues import Queues


@pytest.mark.parametrize("state", ["delayed", "dead"])
@awaiting
async def test_a_job_is_matched_by_its_last_error_alone(store, session, state):
    session("FLUSHALL")
    queues, jobs = Queues(store, "n"), Jobs(store)
    tokens = iter("abcdefgh")
    leases = Leases(store, lambda: 0.5, lambda: next(tokens))
    await queues.push("foo", [b"1", b"2"])
    for errors, delay in ((("first", "[first]%"), 0.0), (("second", "second too"), 60.0)):
        taken = await leases.reserve("foo", 2)
        outcome = "final" if state == "dead" and delay else "nack"
        pairs = zip(taken.numbers, errors, strict=True)
        said = [Settlement(number, taken.receipt, outcome, delay, error) for number, error in pairs]
        await leases.settle("foo", said)

    async def found(match):
        return [job.job_id for job in (await jobs.list_jobs("foo", state, "", 9, match))[0]]

    assert await found(Match("second")) == ["foo:1", "foo:2"]
    assert await found(Match("d too")) == ["foo:2"]
    assert await found(Match("first")) == await found(Match("second", 60)) == await found(Match("s.cond")) == []
    assert await jobs.purge("foo", [state], Match("first")) == 0
    assert await jobs.purge("foo", [state], Match("too")) == 1
