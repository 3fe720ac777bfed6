"""What a later release has written, this one keeps: unknown names come through whatever becomes of a job."""

import msgspec
import pytest
from pytest_twisted import ensureDeferred as awaiting
from stored import Live, Record, Stored

from presque.jobs.jobs import Jobs
from presque.jobs.leases import Leases, Settlement
from presque.jobs.queues import NewJob, Queues
from presque.jobs.workers import Workers

Q, JOBS, LIVE = ("presque:{0}:foo:" + name for name in ("q", "jobs", "live"))
OPTIONS = {"group": "g\0", "batch": 7, "weights": [1, 2.5, "three"], "nested": {"yes": True, "empty": ""}}
FACTS = {"progress": {"done": 3, "of": 9}, "log": ["a", "b"]}


class Life:
    """One job, and all that can become of it."""

    def __init__(self, store, redis):
        self.redis = redis
        self.queues, self.jobs, self.workers = Queues(store, "n"), Jobs(store), Workers(store)
        self.leases = Leases(store, lambda: 0.5, lambda: "t")
        self.taken = None

    async def insert(self, **options):
        await self.queues.insert("foo", [NewJob(b'{"n":1}', **options)])

    async def reserve(self):
        self.taken = await self.leases.reserve("foo", 1, None, "w")
        assert self.taken.numbers == (b"1",)

    async def take(self):
        self.taken = await self.queues.take("foo", 1, "w")
        assert self.taken.numbers == (b"1",)

    async def give_back(self):
        assert await self.queues.give_back(self.taken) == 1

    async def keep(self):
        await self.queues.configure("foo", {"redeliver_after": 600})
        await self.take()
        assert await self.queues.keep([self.taken]) == 1

    async def restart(self):
        await self.workers.register("foo", "w")

    async def settle(self, outcome, delay=None):
        said = Settlement(b"1", self.taken.receipt, outcome, delay, "no")
        (settled,) = await self.leases.settle("foo", [said])
        assert settled.became in ("delayed", "dead", "released")

    async def extend(self):
        (extended,) = await self.leases.extend("foo", [(b"1", self.taken.receipt)], 60)
        assert extended.became == "extended"

    async def come(self, key, member):
        """The time of that comes, and the mover."""
        self.redis("ZADD", f"presque:{{0}}:foo:{key}", "XX", 1, member)
        self.redis("ZADD", "presque:{0}/due", 1, "foo")
        self.redis("HSET", Q, "at", 1)
        await self.queues.move("foo")

    async def run_out(self):
        await self.come("leased", "1")

    async def hold_runs_out(self):
        await self.come("held", self.redis("ZRANGE", "presque:{0}:foo:held", 0, 0)[0])

    async def come_due(self):
        await self.come("delayed", f"{1:016}")

    async def expire(self):
        await self.queues.configure("foo", {"expired": "dead"})
        await self.jobs.change("foo", b"1", expires=1.0)
        await self.queues.move("foo")

    async def retry(self):
        assert await self.jobs.retry_dead("foo") == (1, [])

    async def run_now(self):
        await self.jobs.run_now("foo", b"1")

    async def change(self, **changes):
        await self.jobs.change("foo", b"1", **changes)

    async def configure(self, **changes):
        await self.queues.configure("foo", changes)


# What happens to a job, one after the other.
LIVES = {
    "given back": [("take",), ("give_back",), ("reserve",), ("give_back",)],
    "nacked": [("reserve",), ("settle", "nack", 3600), ("come_due",), ("reserve",), ("settle", "nack", 0)],
    "released": [("reserve",), ("extend",), ("settle", "release"), ("reserve",), ("settle", "release", 3600)],
    "dead and redriven": [("reserve",), ("settle", "final"), ("retry",), ("reserve",), ("settle", "final")],
    "run now": [("reserve",), ("settle", "final"), ("run_now",), ("change", {"delay": 60}), ("run_now",)],
    "run out": [("reserve",), ("run_out",), ("reserve",), ("run_out",), ("come_due",), ("take",), ("hold_runs_out",)],
    "kept": [("keep",), ("restart",), ("keep",), ("hold_runs_out",)],
    "changed": [("change", {"due": 4e9}), ("change", {"priority": 9, "due": 1.0}), ("change", {"priority": 5})],
    "changed after a failure": [("reserve",), ("settle", "nack", 60), ("change", {"priority": 0, "expires": 5e9})],
    "expired": [("expire",), ("configure", {"expired": None}), ("retry",)],
}


@pytest.mark.parametrize("options", [{}, {"uniq": b"k", "priority": 2, "headers": {"a": "b"}, "expires": 5e9}], ids=str)
@pytest.mark.parametrize("life", LIVES.values(), ids=LIVES)
@awaiting
async def test_names_of_a_later_release_are_kept(store, session, life, options):
    session("FLUSHALL")
    one = Life(store, session)
    await one.insert(**options)
    session("HSET", Q, "slots", "3", "partition", "odd \0")
    record = Record.of(session("HGET", JOBS, 1))
    record.mark, record.options = ("x" if record.mark in "-x" else "X"), {**record.options, **OPTIONS}
    session("HSET", JOBS, 1, record.stored())
    is_live = False
    for verb, *args in life:
        if args and isinstance(args[0], dict):
            await getattr(one, verb)(**args[0])
        else:
            await getattr(one, verb)(*args)
        found = Stored(session).of("foo")
        found.check()
        assert found.jobs[1].options.items() >= OPTIONS.items(), verb
        assert found.jobs[1].payload == b'{"n":1}'
        assert (found.q["slots"], found.q["partition"]) == ("3", "odd \0")
        if is_live:
            assert found.live[1].facts.items() >= FACTS.items(), verb
        elif 1 in found.live:
            is_live = True
            live = found.live[1]
            packed = msgspec.msgpack.encode({**live.facts, **FACTS})
            session("HSET", LIVE, 1, b"%b%b %b" % (live.mark.encode(), live.receipt, packed))
            assert Live.of(session("HGET", LIVE, 1)).facts == {**live.facts, **FACTS}
    assert (await one.jobs.look_up("foo", b"1")).payload == b'{"n":1}'
    assert is_live or "change" in life[0]
