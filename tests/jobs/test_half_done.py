"""A script that fails in the middle, on a key of a wrong type or a full memory, leaves each job where it is found."""

import contextlib

import pytest
from pytest_twisted import ensureDeferred as awaiting
from stored import Stored

from presque.errors import PresqueError, StoreFull, WrongState
from presque.jobs.jobs import Jobs
from presque.jobs.leases import Leases, Settlement
from presque.jobs.queues import NewJob, Queues
from presque.jobs.workers import Workers
from presque.redis.keys import PARTITION_KEYS, QUEUE_KEYS

QUEUE = sorted(QUEUE_KEYS)
PARTITION = sorted(name for name in PARTITION_KEYS if not name.startswith(("old_", "schedule")))
PAST, FUTURE = 1.0, 4e9  # epoch seconds


class Spoiled:
    """A key that is a text for a while, and then again what it was, unless somebody has deleted or replaced it."""

    def __init__(self, redis, key):
        self._redis, self._key = redis, key

    def __enter__(self):
        self._was = self._redis("EXISTS", self._key)
        if self._was:
            self._redis("RENAME", self._key, "{saved}")
        self._redis("SET", self._key, "spoiled")

    def __exit__(self, *_):
        spoiled = [key for key in self._redis("KEYS", "*") if self._redis("TYPE", key) == b"string"]
        spoiled = [key for key in spoiled if self._redis("GET", key) == b"spoiled"]  # renamed, perhaps
        for key in spoiled:
            self._redis("DEL", key)
        if self._was and self._key.encode() in spoiled:
            self._redis("RENAME", "{saved}", self._key)
        self._redis("DEL", "{saved}")


class World:
    """A queue with jobs in every state and place, and verbs on it. `ends` are the numbers of jobs that may be gone."""

    def __init__(self, store, redis):
        self.redis = redis
        self.queues, self.jobs, self.workers = Queues(store, "n"), Jobs(store), Workers(store)
        tokens = iter(range(100))
        self.leases = Leases(store, lambda: 0.5, lambda: f"t{next(tokens)}")
        self.ends = set()
        self.expired = 0

    async def fill(self, is_due):
        """Jobs in every place, of each kind one that is plain and one with options. If something `is_due`, there are
        some that came due, ran out and expired.
        """
        await self.queues.configure("foo", {"redeliver_after": 600, "backoff.first": 0, "max_attempts": 3})
        await self.workers.register("foo", "w")
        plain = [NewJob(b"{}"), NewJob(b"{}", uniq=b"u", headers={"a": "b"}, expires=FUTURE)]
        names = ("kept", "held", "late", "leased", "run_out", "dead", "put_back")
        await self.queues.insert("foo", [*plain, *[each for _ in names[1:] for each in map(without_uniq, plain)]])
        for name in names:
            await self._take(name)
        await self.queues.insert("foo", [*plain[:1], without_uniq(plain[1]), NewJob(b"{}")])  # in ready
        self.ready = self._last(3)
        await self.jobs.cancel("foo", self.ready[1])  # a hole
        await self.queues.insert("foo", [NewJob(b"{}", uniq=b"9", priority=9), NewJob(b"{}", uniq=b"1", priority=1)])
        await self.queues.insert("foo", [NewJob(b"{}", due=FUTURE), NewJob(b"{}", due=FUTURE, priority=2, uniq=b"d")])
        self.delayed = self._last(2)
        if is_due:
            await self.queues.insert("foo", [NewJob(b"{}", due=FUTURE), NewJob(b"{}", expires=PAST)])
            came_due, self.expired = self._last(2)
            self._set("delayed", 1, b"%016d" % int(came_due))
            self._set("leased", 1, *self.run_out.numbers)
            self._set("held", 1, self.late.hold)
        Stored(self.redis).of("foo").check()

    async def _take(self, name):
        """Take two jobs, and do with them what the name says."""
        if name in ("held", "late", "kept"):
            taken = await self.queues.take("foo", 2, "w" if name == "kept" else "")
        else:
            taken = await self.leases.reserve("foo", 2)
        assert len(taken.numbers) == 2
        setattr(self, name, taken)
        if name == "kept":
            await self.queues.keep([taken])
        elif name == "dead":
            await self.settle("final", taken)
        elif name == "put_back":
            await self.queues.give_back(taken)

    def _last(self, count):
        n = int(self.redis("HGET", "presque:{0}:foo:q", "n"))
        return [b"%d" % number for number in range(n - count + 1, n + 1)]

    def _set(self, key, at, *members):
        for member in members:
            assert self.redis("ZADD", f"presque:{{0}}:foo:{key}", "XX", "CH", at, member) == 1
        self.redis("ZADD", "presque:{0}/due", at, "foo")
        self.redis("HSET", "presque:{0}:foo:q", "at", at)

    async def settle(self, outcome, taken=None, delay=None):
        taken = taken or self.leased
        said = [Settlement(number, taken.receipt, outcome, delay, "no") for number in taken.numbers]
        await self.leases.settle("foo", said)

    def may_end(self, *numbers):
        self.ends |= {int(number) for number in numbers}

    # The verbs

    async def push(self):
        await self.queues.push("foo", [b"{}", b"{}"])

    async def insert(self):
        jobs = [NewJob(b"{}", uniq=b"new", priority=3, expires=FUTURE), NewJob(b"{}", due=FUTURE, uniq=b"new2")]
        await self.queues.insert("foo", [*jobs, NewJob(b"{}", headers={"a": "b"}), NewJob(b"{}")])

    async def fail(self):
        self.may_end(*self.kept.numbers)
        await self.queues.fail("foo", b"{}", worker="w")

    async def take(self):
        self.may_end(self.expired)
        assert (await self.queues.take("foo", 100)).numbers

    async def take_again(self):
        self.may_end(self.expired, *self.kept.numbers)
        await self.queues.take("foo", 1, "w")

    async def reserve(self):
        self.may_end(self.expired)
        assert (await self.leases.reserve("foo", 100, None, "w", b"key")).numbers

    async def move(self):
        self.may_end(self.expired)
        await self.queues.move("foo")

    async def deliver(self):
        self.may_end(*self.held.numbers)
        await self.queues.deliver([self.held])

    async def keep(self):
        await self.queues.keep([self.held])

    async def hold(self):
        await self.queues.hold(self.held)

    async def give_back(self):
        await self.queues.give_back(self.held)

    async def give_lease_back(self):
        await self.queues.give_back(self.leased)

    async def ack(self):
        self.may_end(*self.leased.numbers)
        await self.settle("ack")

    async def nack(self):
        await self.settle("nack", delay=0)

    async def kill(self):
        await self.settle("final")

    async def release(self):
        await self.settle("release")

    async def release_later(self):
        await self.settle("release", delay=60)

    async def extend(self):
        await self.leases.extend("foo", [(number, self.leased.receipt) for number in self.leased.numbers], 600)

    async def register(self):
        await self.workers.register("foo", "w")

    async def unregister(self):
        self.may_end(*self.kept.numbers)
        await self.workers.unregister("foo", "w")

    async def cancel(self):
        some = [self.ready[2], *self.delayed, self.dead.numbers[1], self.leased.numbers[1], self.held.numbers[1]]
        self.may_end(*some, *self.put_back.numbers)
        for number in self.ends.copy():
            try:
                await self.jobs.cancel("foo", b"%d" % number)
            except PresqueError:
                continue

    async def purge(self):
        self.may_end(*range(1, 100))
        await self.jobs.purge("foo")

    async def retry_dead(self):
        await self.jobs.retry_dead("foo")

    async def retry_some(self):
        await self.jobs.retry_dead("foo", [self.dead.numbers[1], b"99"])

    async def run_now(self):
        for number in (*self.delayed, self.dead.numbers[1]):
            try:
                await self.jobs.run_now("foo", number)
            except PresqueError:
                continue

    async def change(self):
        changes = [{"due": FUTURE}, {"priority": 9}, {"priority": 0, "expires": FUTURE}, {"due": PAST}, {"priority": 5}]
        for number in (self.ready[0], *self.put_back.numbers, *self.delayed):
            for change in changes:
                try:
                    await self.jobs.change("foo", number, **change)
                except WrongState:
                    raise
                except PresqueError:
                    continue

    async def configure(self):
        await self.queues.configure("foo", {"max_attempts": 7})

    async def pause(self):
        await self.queues.pause("foo")

    async def read(self):
        """What only reads moves what is due."""
        self.may_end(self.expired)
        for state in ("ready", "delayed", "leased", "dead"):
            try:
                await self.jobs.list_jobs("foo", state, "", 100)
            except PresqueError:
                continue
        await self.queues.peek("foo")

    async def take_one(self):
        self.may_end(self.expired)
        await self.queues.take("foo", 1)


VERBS = [name for name in vars(World) if not name.startswith("_") and name not in ("fill", "settle", "may_end")]


def without_uniq(job):
    return NewJob(job.payload, headers=job.headers, expires=job.expires)


# Verbs that do another thing where nothing is due.
CALM = ("take", "take_one", "take_again", "reserve", "move", "read")
WAYS = [(verb, True) for verb in VERBS] + [(verb, False) for verb in CALM]


@pytest.mark.parametrize(("verb", "is_due"), WAYS)
@pytest.mark.parametrize("name", [*QUEUE, *PARTITION])
@awaiting
async def test_a_job_is_in_one_state_after_a_script_that_failed(store, session, name, verb, is_due):
    session("FLUSHALL")
    world = World(store, session)
    await world.fill(is_due)
    before = Stored(session).of("foo").jobs
    key = f"presque:{{0}}:foo:{name}" if name in QUEUE else f"presque:{{0}}/{name}"
    with Spoiled(session, key), contextlib.suppress(PresqueError):
        await getattr(world, verb)()
    found = Stored(session).of("foo")
    assert set(before) - set(found.jobs) <= world.ends, "nothing is lost"
    found.check()


# What must be done though memory is full: it frees some, or gives a job to its worker or back.
NEVER_REFUSED = {"ack", "nack", "kill", "release", "release_later", "extend", "deliver", "keep", "hold", "give_back"}


@pytest.mark.parametrize(("verb", "is_due"), WAYS)
@awaiting
async def test_a_job_is_in_one_state_after_a_script_that_a_full_memory_cut_short(store, session, verb, is_due):
    session("FLUSHALL")
    world = World(store, session)
    await world.fill(is_due)
    before = Stored(session).of("foo").jobs
    session("CONFIG", "SET", "maxmemory", 1)
    was_refused = False
    try:
        await getattr(world, verb)()
    except StoreFull:
        was_refused = True
    finally:
        session("CONFIG", "SET", "maxmemory", 0)
    assert not (was_refused and verb in NEVER_REFUSED)
    assert was_refused or verb not in ("push", "insert", "fail")
    found = Stored(session).of("foo")
    assert set(before) - set(found.jobs) <= world.ends, "nothing is lost"
    found.check()
