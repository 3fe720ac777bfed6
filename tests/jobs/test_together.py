"""Requests of several clients in one turn of the reactor: one script serves them all, and each gets what it would get
alone.
"""

import os
import random

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from stored import Stored
from twisted.internet.defer import DeferredList

from presque.errors import LeaseLost, NotAccepting, OutcomeUnknown, QueueFull, QueuePaused, UnknownJob
from presque.jobs.leases import Leases, Settlement
from presque.jobs.queues import NewJob, Queues
from presque.redis.connection import Connection


class Clients:
    """Producers, consumers and workers, whose requests arrive in the same turn."""

    def __init__(self, store, session):
        self.queues, self.session = Queues(store, "n"), session
        tokens = iter(f"t{n}" for n in range(1_000_000))
        self.leases = Leases(store, lambda: 0.5, lambda: next(tokens))

    def scripts(self):
        """How many scripts Redis has run."""
        lines = self.session("INFO", "commandstats").decode().splitlines()
        found = [line for line in lines if line.startswith("cmdstat_evalsha:")]
        return int(found[0].split("calls=")[1].split(",")[0]) if found else 0

    async def together(self, *asked):
        """What comes of requests that were all made before this; errors by their class."""
        found = await DeferredList(asked, consumeErrors=True)
        return [result if is_result else type(result.value) for is_result, result in found]

    async def push(self, *payloads, queue="foo"):
        pushed = await self.together(*[self.queues.push(queue, [payload]) for payload in payloads])
        return [each[0] if isinstance(each, list) else each for each in pushed]

    async def take(self, consumers, queue="foo"):
        return await self.together(*[self.queues.take(queue) for _ in range(consumers)])

    async def reserve(self, workers, queue="foo", lease=None):
        return await self.together(*[self.leases.reserve(queue, 1, lease) for _ in range(workers)])

    async def ack(self, *jobs, queue="foo"):
        return await self.together(*[self.leases.ack(queue, number, receipt) for number, receipt in jobs])


@pytest.fixture
def clients(store, session):
    session("FLUSHALL")
    yield Clients(store, session)
    stored = Stored(session)
    stored.check(stored.queues())


@awaiting
async def test_two_scripts_carry_out_ten_requests_of_a_kind(clients):
    """The first is sent at once, the others together; deliveries, which may wait, are one."""
    payloads = [b"%d" % n for n in range(20)]
    before = clients.scripts()
    assert await clients.push(*payloads[:10]) == [f"foo:{n}" for n in range(1, 11)]
    taken = await clients.take(10)
    assert [each.payloads for each in taken] == [(payload,) for payload in payloads[:10]]
    assert await clients.queues.deliver(taken) == 10
    await clients.push(*payloads[10:])
    leased = await clients.reserve(10)
    assert [each.payloads for each in leased] == [(payload,) for payload in payloads[10:]]
    assert len({each.receipt for each in leased}) == 10
    assert await clients.ack(*[(each.numbers[0], each.receipt) for each in leased]) == [None] * 10
    assert clients.scripts() - before <= 2 + 2 + 1 + 2 + 2 + 2
    counts = await clients.queues.counts("foo")
    assert (counts.inserted, counts.delivered, counts.acked, counts.processed) == (20, 10, 10, 20)
    assert clients.session("HLEN", "presque:{0}:foo:jobs") == 0


@awaiting
async def test_when_there_are_not_enough_jobs_the_first_consumers_get_them(clients):
    await clients.push(b"1", b"2")
    taken = await clients.take(5)
    assert [each.payloads for each in taken] == [(b"1",), (b"2",), (), (), ()]
    await clients.push(b"3")
    leased = await clients.reserve(3)
    assert [each.payloads for each in leased] == [(b"3",), (), ()]
    assert [len(each.receipt) > 1 for each in leased] == [True] * 3


@awaiting
async def test_each_take_ends_by_itself(clients):
    """One is delivered, one given back, one runs out; with a job that has options among them."""
    await clients.push(b"1", b"2")
    await clients.queues.insert("foo", [NewJob(b"3", uniq=b"u", headers={"a": "b"})])
    first, second, third = await clients.take(3)
    assert len({first.hold, second.hold, third.hold}) == 3
    assert await clients.queues.deliver([first]) == 1
    assert await clients.queues.give_back(second) == 1
    assert await clients.queues.deliver([first, second]) == 0
    clients.session("ZADD", "presque:{0}:foo:held", "XX", 1, third.hold)
    assert await clients.queues.move("foo") == 1
    assert await clients.queues.deliver([third]) == 0
    again = await clients.take(2)
    assert [each.payloads for each in again] == [(b"2",), (b"3",)]


@awaiting
async def test_each_lease_has_its_own_receipt_and_attempts(clients):
    """Also where jobs have failed before or have options."""
    await clients.queues.insert("foo", [NewJob(b"1"), NewJob(b"2", max_attempts=7)])
    for attempt in (1, 2):
        first, second = await clients.reserve(2, lease=60)
        assert (first.attempts, second.attempts) == ((attempt,), (attempt,))
        assert (first.max_attempts, second.max_attempts) == ((5,), (7,))
        assert first.receipt != second.receipt
        assert await clients.ack((b"1", second.receipt), (b"2", first.receipt)) == [LeaseLost, LeaseLost]
        for each in (first, second):
            (settled,) = await clients.leases.settle("foo", [Settlement(each.numbers[0], each.receipt, "nack", 0)])
            assert settled.became == "delayed"
        assert await clients.queues.move("foo") == 2


@awaiting
async def test_priorities_and_expiry_decide_the_same_for_several(clients):
    jobs = [NewJob(b"plain"), NewJob(b"low", priority=1), NewJob(b"high", priority=9), NewJob(b"gone", expires=1)]
    await clients.queues.insert("foo", jobs)
    taken = await clients.take(5)
    assert [each.payloads for each in taken] == [(b"high",), (b"plain",), (b"low",), (), ()]


@awaiting
async def test_acks_of_one_turn_are_each_judged_by_themselves(clients):
    await clients.push(b"1", b"2")
    first, second = await clients.reserve(2)
    jobs = [(b"1", first.receipt), (b"1", b"lother"), (b"9", b"l"), (b"2", second.receipt), (b"1", first.receipt)]
    assert await clients.ack(*jobs) == [None, LeaseLost, UnknownJob, None, None]
    assert await clients.ack((b"1", first.receipt), (b"2", b"l")) == [None, LeaseLost]
    assert (await clients.queues.counts("foo")).acked == 2


@awaiting
async def test_a_queue_with_too_little_room_takes_the_first(clients):
    """And a queue that accepts nothing refuses all."""
    await clients.queues.configure("foo", {"max_length": 3})
    assert await clients.push(b"1", b"2", b"3", b"4", b"5") == ["foo:1", "foo:2", "foo:3", QueueFull, QueueFull]
    assert await clients.push(b"6") == [QueueFull]
    await clients.queues.configure("foo", {"accepting": False})
    assert await clients.push(b"7", b"8") == [NotAccepting, NotAccepting]


@awaiting
async def test_a_stopped_queue_hands_out_nothing_to_anyone(clients):
    await clients.push(b"1", b"2")
    await clients.queues.pause("foo")
    assert await clients.take(2) == [QueuePaused, QueuePaused]
    assert [each.numbers for each in await clients.reserve(2)] == [(), ()]


@awaiting
async def test_a_key_of_a_wrong_type_fails_all_and_moves_nothing(clients):
    await clients.push(b"1", b"2")
    clients.session("SET", "presque:{0}:foo:held", "a text")
    clients.session("SET", "presque:{0}:foo:leased", "a text")
    assert await clients.take(2) == [OutcomeUnknown, OutcomeUnknown]
    assert await clients.reserve(2) == [OutcomeUnknown, OutcomeUnknown]
    assert clients.session("LRANGE", "presque:{0}:foo:ready", 0, -1) == [b"1", b"2"]
    clients.session("DEL", "presque:{0}:foo:held", "presque:{0}:foo:leased")


@awaiting
async def test_jobs_too_large_for_one_script_reach_their_consumers_nevertheless(clients):
    """One script takes about 8 MiB; what is left is asked for again."""
    await clients.queues.push("foo", [b'"%b"' % (b"x" * 1_000_000)] * 20)
    taken = await clients.take(22)
    assert [len(each.numbers) for each in taken] == [1] * 20 + [0] * 2


@awaiting
async def test_jobs_that_were_taken_before_a_failure_are_still_handed_out(clients, store, monkeypatch):
    """The script for the rest fails: only the consumers without a job hear of it."""
    await clients.push(b"1", b"2", b"3")
    run, calls = Connection.run, []

    def run_once(self, script, *args):
        if script.name in ("take", "reserve"):
            calls.append(script.name)
            if len(calls) == 3:  # after the first consumer's, and the others'
                self.transport.loseConnection()
        return run(self, script, *args)

    monkeypatch.setattr(Connection, "run", run_once)
    *taken, last = await clients.take(4)
    assert [each.payloads for each in taken] == [(b"1",), (b"2",), (b"3",)]
    assert last is OutcomeUnknown

    async def is_up():
        return store.is_up

    await eventually(is_up, "the next connection")


@awaiting
async def test_what_several_get_together_is_what_they_get_one_after_the_other(clients):
    """Random turns on one queue together and on another apart, with the same jobs, end in the same state."""
    seed = int(os.environ.get("TOGETHER_SEED", random.randrange(10**9)))
    chance, held, leased = random.Random(seed), {"foo": [], "bar": []}, {"foo": [], "bar": []}

    def options():
        some = {"priority": chance.choice([None, 1, 9]), "max_attempts": chance.choice([None, 3])}
        return {**some, "expires": chance.choice([None, None, 1])}

    async def turn(kind, count, queue, is_together):
        own = clients
        if kind == "push":
            asked = [lambda n=n: own.queues.push(queue, [b"%d" % n]) for n in range(count)]
        elif kind == "take":
            asked = [lambda: own.queues.take(queue)] * count
        elif kind == "reserve":
            asked = [lambda: own.leases.reserve(queue, 1, 60)] * count
        else:
            some, leased[queue] = leased[queue][:count], leased[queue][count:]
            asked = [lambda job=job: own.leases.ack(queue, *job) for job in some]
        if is_together:
            found = await own.together(*[each() for each in asked])
        else:
            found = [(await own.together(each()))[0] for each in asked]
        if kind == "take":
            held[queue] += [each for each in found if each.numbers]
        if kind == "reserve":
            leased[queue] += [(each.numbers[0], each.receipt) for each in found if each.numbers]
        if kind in ("take", "reserve"):
            return [(each.numbers, each.payloads) for each in found]
        return [len(each) if isinstance(each, list) else each for each in found]

    for step in range(60):
        kind, count = chance.choice(["push", "push", "take", "reserve", "ack", "insert", "back"]), chance.randint(1, 9)
        if kind == "insert":
            jobs = [NewJob(b"%d" % n, **options()) for n in range(count)]
            await clients.queues.insert("foo", jobs)
            await clients.queues.insert("bar", jobs)
        elif kind == "back":
            for queue in ("foo", "bar"):
                for taken in held[queue][::2]:
                    assert await clients.queues.give_back(taken) == 1
                held[queue] = held[queue][1::2]
        else:
            found = [await turn(kind, count, queue, queue == "foo") for queue in ("foo", "bar")]
            assert found[0] == found[1], f"TOGETHER_SEED={seed}, step {step}: {kind} {count}"
    counts = [await clients.queues.counts(queue) for queue in ("foo", "bar")]
    assert [(c.ready, c.leased, c.processed, c.acked, c.expired) for c in counts[:1]] == [
        (c.ready, c.leased, c.processed, c.acked, c.expired) for c in counts[1:]
    ], f"TOGETHER_SEED={seed}"
