"""Priorities and expiry, with nobody who moves anything; and what one job costs in a long queue."""

import random
import re
import statistics

import pytest
from pytest_twisted import ensureDeferred as awaiting
from stored import Stored
from twisted.internet.defer import gatherResults

from presque.jobs.jobs import Jobs
from presque.jobs.leases import Leases
from presque.jobs.queues import NewJob, Queues

LONG = [100_000, pytest.param(1_000_000, marks=pytest.mark.rows)]  # jobs in a long queue
EVALSHA = rb"cmdstat_evalsha:calls=(\d+),usec=(\d+)"
CHEAP = 100  # microseconds of Redis, with a machine to itself
SLACK = 5  # times as long where it is shared


class Verbs:
    """What a producer and a consumer call."""

    def __init__(self, store, redis):
        redis("FLUSHALL", "ASYNC")
        self.redis = redis
        self.queues, self.jobs = Queues(store, "n"), Jobs(store)
        tokens = iter(range(10**6))
        self.leases = Leases(store, lambda: 0.5, lambda: f"t{next(tokens)}")

    async def fill(self, count):
        for _ in range(count // 1000):
            await self.queues.push("foo", [b"{}"] * 1000)

    def now(self):
        """Epoch seconds, by Redis' clock."""
        seconds, micros = self.redis("TIME")
        return int(seconds) + int(micros) / 1e6

    async def cost(self, calls):
        """The median of what each of these calls costs Redis, in microseconds."""
        took = []
        for call in calls:
            self.redis("CONFIG", "RESETSTAT")
            await call()
            calls_made, usec = re.search(EVALSHA, self.redis("INFO", "commandstats")).groups()
            took.append(int(usec) / int(calls_made))
        return statistics.median(took)


@pytest.fixture
def verbs(store, session):
    return Verbs(store, session)


@pytest.mark.parametrize("count", LONG)
@awaiting
async def test_a_job_of_the_highest_priority_is_next_however_many_wait(verbs, count):
    await verbs.fill(count)
    await verbs.queues.insert("foo", [NewJob(b"{}", priority=priority) for priority in (8, 9, 0)])
    assert (await verbs.jobs.look_up("foo", b"%d" % (count + 2))).why.before == 0
    assert (await verbs.jobs.look_up("foo", b"%d" % (count + 3))).why.before == count + 2
    assert (await verbs.queues.take("foo")).numbers == (b"%d" % (count + 2),)
    assert (await verbs.leases.reserve("foo", 2)).numbers == (b"%d" % (count + 1), b"1")


@pytest.mark.parametrize("count", LONG)
@awaiting
async def test_what_concerns_one_job_is_cheap_in_a_long_queue(verbs, count):
    """Deleted and looked up at any place, with a priority changed and changed back."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    await verbs.fill(count)
    numbers = [b"%d" % number for number in random.Random(seed).sample(range(2, count + 1), 400)]
    costs = {
        "cancel": await verbs.cost([lambda n=n: verbs.jobs.cancel("foo", n) for n in numbers[:200]]),
        "change": await verbs.cost([lambda n=n: verbs.jobs.change("foo", n, priority=9) for n in numbers[200:]]),
        "back": await verbs.cost([lambda n=n: verbs.jobs.change("foo", n, priority=5) for n in numbers[200:]]),
    }
    print(costs)
    assert costs["cancel"] < CHEAP * SLACK, costs
    assert costs["change"] < 2 * CHEAP * SLACK, costs
    assert costs["back"] < 10 * CHEAP * SLACK, costs  # into the middle of a list
    first, _ = await verbs.jobs.list_jobs("foo", "ready", "", 1)
    assert [job.job_id for job in first] == ["foo:1"]
    assert (await verbs.jobs.look_up("foo", numbers[-1])).why.before < int(numbers[-1])
    assert (await verbs.queues.counts("foo")).ready == count - 200


@awaiting
async def test_holes_in_a_long_queue_are_skipped_in_bounded_steps(verbs):
    """Ten thousand deleted jobs before the only one that is left."""
    await verbs.fill(11_000)
    await verbs.queues.push("foo", [b'{"last":1}'])
    for last in range(11_000, 0, -500):
        await gatherResults([verbs.jobs.cancel("foo", b"%d" % number) for number in range(last, last - 500, -1)])
    found = Stored(verbs.redis).of("foo")
    found.check()
    assert len(found.jobs) == 1
    taken = ()
    for _ in range(20):
        taken = taken or (await verbs.queues.take("foo")).payloads
        await verbs.queues.move("foo")
    assert taken == (b'{"last":1}',)
    Stored(verbs.redis).of("foo").check()


PLACES = {
    "ready": {},
    "in front": {"priority": 9},
    "behind": {"priority": 0},
    "due": {"due": 1.0},
    "due with a priority": {"due": 1.0, "priority": 3},
}


@pytest.mark.parametrize("setting", ["drop", "dead"])
@pytest.mark.parametrize("options", PLACES.values(), ids=PLACES)
@awaiting
async def test_no_expired_job_is_handed_out_though_nobody_moves_anything(verbs, options, setting):
    """Jobs that expire one after the other, taken and reserved one after the other: none after its time."""
    await verbs.queues.configure("foo", {"expired": setting})
    begins, count = verbs.now(), 300
    expires = [begins + n / 500 for n in range(count)]
    await verbs.queues.insert("foo", [NewJob(b"%d" % n, expires=expires[n], **options) for n in range(count)])
    taken, asked = [], 0
    while verbs.now() < expires[-1] + 0.1:
        before, asked = verbs.now(), asked + 1
        several = [await verbs.queues.take("foo", 1), await verbs.leases.reserve("foo", 1)]
        for payload in [payload for each in several for payload in each.payloads]:
            taken.append(int(payload))
            assert expires[taken[-1]] > before - 0.002, "it was handed out after its time"
        if several[1].numbers:  # and one that comes back is not handed out after its time either
            await verbs.queues.give_back(several[1])
            taken.pop()
    await verbs.queues.take("foo", 1)
    counts = await verbs.queues.counts("foo")
    assert asked > 3
    assert (counts.ready, counts.delayed) == (0, 0)
    assert (counts.expired, counts.dead) == ((count - len(taken), 0), (0, count - len(taken)))[setting == "dead"]
    assert counts.dead == counts.died
    Stored(verbs.redis).of("foo").check()


@awaiting
async def test_a_lease_is_not_touched_by_an_expiry_and_its_job_is_not_tried_again(verbs):
    await verbs.queues.insert("foo", [NewJob(b"{}", expires=verbs.now() + 0.2), NewJob(b"{}", expires=4e9)])
    taken = await verbs.leases.reserve("foo", 2)
    while verbs.now() < taken.created_at[0] + 0.3:
        await verbs.queues.move("foo")
    assert (await verbs.queues.counts("foo")).leased == 2
    assert await verbs.queues.give_back(taken) == 2
    assert (await verbs.leases.reserve("foo", 2)).numbers == (b"2",)
    assert (await verbs.queues.counts("foo")).expired == 1
