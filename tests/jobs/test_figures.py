"""What is counted in the store, and the figures of queues that are made of it."""

import pytest
from pytest_twisted import ensureDeferred as awaiting

from presque.background.publication import Publication
from presque.jobs.counters import BOUNDS, BUCKETS
from presque.jobs.figures import NOTHING, QueueFigures, QueuesFigures
from presque.jobs.jobs import Jobs
from presque.jobs.leases import Leases
from presque.jobs.processes import Processes
from presque.jobs.queue_list import QueueList
from presque.jobs.queues import NewJob, Queues
from presque.jobs.scale import scale
from presque.jobs.store_facts import store_facts
from presque.metrics import Meter, readable

Q = "presque:{0}:foo:q"


class Figures:
    """The parts that these tests drive, on an empty store."""

    def __init__(self, store, redis):
        redis("FLUSHALL")
        self.redis = redis
        self.queues, self.jobs = Queues(store, "n"), Jobs(store)
        self.leases = Leases(store, lambda: 0.5, lambda: "t")
        self.read = QueuesFigures(store, QueueList(store, self.queues), "*")

    async def buckets(self, name):
        """The buckets of the queue foo that have anything."""
        times = (await self.read.of("foo")).times(name)
        return {bucket: count for bucket, count in zip(BUCKETS, times.buckets, strict=True) if count}

    def age(self, number, seconds):
        """Have a job been inserted so many seconds ago."""
        key = "presque:{0}:foo:jobs"
        record, now = self.redis("HGET", key, number), self.redis("TIME")
        at = int(now[0]) * 1000 + int(now[1]) // 1000 - round(seconds * 1000)
        self.redis("HSET", key, number, b"%013d" % at + record[13:])


@pytest.fixture
def figures(store, session):
    return Figures(store, session)


@awaiting
async def test_a_wait_is_counted_in_the_bucket_that_it_falls_into(figures):
    waits = [0.5, 2.0, 100.0, 4000.0]
    await figures.queues.push("foo", [b"{}"] * len(waits))
    for number, wait in enumerate(waits, 1):
        figures.age(number, wait)
    assert len((await figures.queues.take("foo", 3)).numbers) == 3  # several in one script, and then one
    assert len((await figures.queues.take("foo")).numbers) == 1
    expected = {next((n for n, bound in enumerate(BOUNDS, 1) if wait <= bound), BUCKETS[-1]): 1 for wait in waits}
    assert await figures.buckets("wait") == expected
    total = (await figures.read.of("foo")).times("wait").total
    assert sum(waits) <= total < sum(waits) + 60


@awaiting
async def test_a_job_waits_from_when_it_came_due_and_not_at_all_when_it_was_put_back(figures):
    await figures.queues.insert("foo", [NewJob(b"{}", due=1.0)])  # due long before it was inserted
    taken = await figures.queues.take("foo")
    assert (await figures.read.of("foo")).times("wait").total < 60
    await figures.queues.give_back(taken)
    await figures.queues.take("foo")
    assert (await figures.read.of("foo")).times("wait").count == 1


@awaiting
async def test_a_run_lasts_from_hand_out_to_acknowledgement(figures):
    await figures.queues.push("foo", [b"{}"] * 3)
    leased = await figures.leases.reserve("foo", 1)
    earlier = leased.receipt[:-13] + b"%013d" % (int(leased.receipt[-13:]) - 2000)
    figures.redis("HSET", "presque:{0}:foo:live", 1, b"-" + earlier)
    await figures.leases.ack("foo", b"1", earlier)
    assert await figures.buckets("run") == {6: 1}  # up to 3 s
    of_old_release = await figures.leases.reserve("foo", 1)
    figures.redis("HSET", "presque:{0}:foo:live", 2, b"-ltoken")  # which says no time
    await figures.leases.ack("foo", of_old_release.numbers[0], b"ltoken")
    found = await figures.read.of("foo")
    assert (found.times("run").count, found.counters["acked"]) == (1, 2)


@awaiting
async def test_the_times_of_a_deleted_queue_stay_counted_in_the_whole(figures):
    for queue in ("foo", "bar"):
        await figures.queues.push(queue, [b"{}"])
        leased = await figures.leases.reserve(queue, 1)
        await figures.leases.ack(queue, leased.numbers[0], leased.receipt)
    await figures.queues.delete("bar")
    await figures.queues.push("bar", [b"{}"])
    found = await figures.read.of_all()
    assert (found.wait.count, found.run.count) == (2, 2)
    assert found.named["bar"].times("wait").count == 0


@awaiting
async def test_a_queue_of_an_earlier_release_counts_from_zero(figures):
    figures.redis("HSET", Q, "n", 5, "base", 2, "acked", 1, "failed", 4)
    figures.redis("ZADD", "presque:{0}/queues", 0, "foo")
    counters = (await figures.read.of("foo")).counters
    assert (counters["inserted"], counters["acked"], counters["failed"]) == (3, 1, 4)
    assert (counters["released"], counters["failed_lease"]) == (0, 0)


@awaiting
async def test_figures_agree_with_the_counts_of_the_queue(figures):
    await figures.queues.insert(
        "foo", [NewJob(b"{}"), NewJob(b"{}", priority=9), NewJob(b"{}", due=4e9), NewJob(b"{}")]
    )
    await figures.queues.insert("foo", [NewJob(b"{}", due=1.0, priority=1), NewJob(b"{}")])
    await figures.jobs.cancel("foo", b"4")  # a hole
    await figures.queues.take("foo")
    await figures.leases.reserve("foo", 1)
    counts, found = await figures.queues.counts("foo"), await figures.read.of("foo")
    names = ("ready", "delayed", "leased", "dead")
    assert [getattr(found, name) for name in names] == [getattr(counts, name) for name in names]
    assert abs(found.oldest - counts.oldest) < 5
    assert await figures.read.of("none") == NOTHING


@awaiting
async def test_the_facts_of_a_busy_queue_stay_a_compact_hash(figures):
    """A hash of more than 512 fields, or with one of more than 64 bytes, takes Redis several times as long."""
    figures.redis("HSET", Q, *[part for name in NOTHING.counters for part in (name, 2**53)])
    await figures.queues.push("foo", [b"{}"] * 3)
    await figures.queues.configure("foo", {"max_length": 10, "lease": 5, "backoff.first": 1, "redeliver_after": 9})
    assert figures.redis("OBJECT", "ENCODING", Q) in (b"ziplist", b"listpack")


@awaiting
async def test_a_key_of_a_wrong_type_spoils_the_figures_of_its_own_queue_alone(figures):
    for queue in ("foo", "bar"):
        await figures.queues.push(queue, [b"{}"])
    figures.redis("DEL", "presque:{0}:bar:jobs")
    figures.redis("SET", "presque:{0}:bar:jobs", "of another program")
    found = await figures.read.of_all()
    assert {name: each.ready for name, each in found.named.items()} == {"foo": 1, "bar": 0}


@awaiting
async def test_what_redis_says_of_itself_is_read_if_it_may_be(store, session):
    facts = await store_facts(store)
    assert (facts.memory > 0, facts.memory_limit, facts.is_writable) == (True, 0, True)
    session("CONFIG", "SET", "maxmemory", 1)
    assert not (await store_facts(store)).is_writable
    session("CONFIG", "SET", "maxmemory", 0)
    session("ACL", "SETUSER", "default", "-info")
    try:
        assert await store_facts(store) == (0, 0, True, 0)
    finally:
        session("ACL", "SETUSER", "default", "+info")


@awaiting
async def test_what_a_process_says_counts_for_a_while(store, session):
    session("FLUSHALL")
    processes, heard = Processes(store), []
    for name in ("old", "new"):
        publication = Publication(processes, name, Meter(name, ()))
        publication.heard = heard.append
        assert await publication.run_once() == 1
        if name == "old":
            session("ZADD", "presque:{0}/processes", "XX", 1, "old")
    assert [set(each) for each in heard] == [{"old"}, {"new"}]
    assert {each.name for each in readable(await processes.all()).values()} == {"new"}
    assert session("HKEYS", "presque:{0}/process_figures") == [b"new"]
    for key in ("processes", "process_figures"):
        assert 0 < session("PTTL", f"presque:{{0}}/{key}") <= 60_000
    session("CONFIG", "SET", "maxmemory", 1)
    try:
        assert await publication.run_once() == 1  # a full store is when it matters
    finally:
        session("CONFIG", "SET", "maxmemory", 0)
    session("HSET", "presque:{0}/process_figures", "new", b"\xff garbage")
    assert readable(await processes.all()) == {}


def queue(**figures):
    counters = {**NOTHING.counters, **figures.pop("counters", {})}
    return QueueFigures(**{**vars(NOTHING), **figures, "counters": counters})


@pytest.mark.parametrize(
    ("found", "waiting", "target", "drain", "desired"),
    [
        (NOTHING, 0, 30, 0, 0),
        (queue(ready=60), 0, 30, 60, 2),  # a second each while nothing is known
        (queue(ready=1), 0, 30, 1, 1),
        (queue(ready=100, leased=4, counters={"run": 20_000, "run5": 10}), 1, 10, 40, 21),  # 2 s each
        (queue(ready=100, leased=2, paused=1), 0, 1, 50, 2),
        (queue(leased=3), 0, 3600, 0, 1),
    ],
)
def test_the_workers_that_a_queue_needs(found, waiting, target, drain, desired):
    needed = scale(found, waiting, target)
    assert (needed.drain_seconds, needed.desired_workers) == (drain, desired)
    assert None not in needed
