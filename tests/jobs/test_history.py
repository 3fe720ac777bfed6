"""What has happened to queues, as the sampler notes it: once a minute, by whoever comes first."""

import msgspec
import pytest
from pytest_twisted import ensureDeferred as awaiting
from twisted.internet.defer import ensureDeferred, gatherResults

from presque.background.sampler import Sampler
from presque.errors import UnknownQueue
from presque.jobs import history as module
from presque.jobs.history import MINUTES, TENS, History
from presque.jobs.leases import Leases, Settlement
from presque.jobs.queues import Queues
from presque.redis.keys import QUEUE_KEYS, queue_key

COUNTED = ("inserted", "ended", "failed", "died")
LEVELS = ("ready", "delayed", "leased", "dead")


@pytest.fixture
def queues(store, session):
    session("FLUSHALL")
    return Queues(store, "n")


@pytest.fixture
def leases(store):
    return Leases(store, lambda: 0.5, lambda: "receipt")


class Times:
    """The histories of a store in which minutes pass at will: what is stored then is about earlier ones."""

    def __init__(self, store, session):
        self.history, self.session = History(store), session
        self.sampler = Sampler(self.history)

    def shift(self, key, minutes):
        """Move the rows of a history back; those of ten minutes by whole ones."""
        flat = self.session("HGETALL", key)
        rows = {
            int(field): msgspec.msgpack.decode(row)
            for field, row in zip(flat[::2], flat[1::2], strict=True)
            if field != b"last"
        }
        if rows:
            self.session("HDEL", key, *rows)
        for field, (at, *rest) in rows.items():
            time = at - minutes if field < MINUTES else at - minutes // 10
            place = time % MINUTES if field < MINUTES else MINUTES + time % TENS
            self.session("HSET", key, place, msgspec.msgpack.encode([time, *rest]))

    async def pass_minutes(self, minutes=1):
        """Let minutes pass, and the sampler come after them."""
        for key in self.session("KEYS", "*history"):
            self.shift(key, minutes)
        if self.session("EXISTS", "presque:{0}/sampling"):
            self.session("HINCRBY", "presque:{0}/sampling", "minute", -minutes)
        self.sampler._sampled.clear()
        await self.sampler.run_once()

    async def begin(self):
        """Have the sampler see that there is nothing yet."""
        await self.sampler.run_once()
        self.sampler._sampled.clear()


@pytest.fixture
def times(store, session, queues):
    return Times(store, session)


def counted(rows):
    """What was counted, of the rows that have anything."""
    return [found for row in rows if any(found := tuple(getattr(row, name) for name in COUNTED))]


def levels(row):
    return tuple(getattr(row, name) for name in LEVELS)


@awaiting
async def test_each_minute_has_what_was_counted_in_it_and_what_was_so_at_its_end(times, queues, leases):
    await times.begin()
    await queues.push("foo", [b"{}"] * 5)
    await times.sampler.run_once()
    jobs = await leases.reserve("foo", 3)
    settlements = [
        Settlement(number, jobs.receipt, outcome, None, "no")
        for number, outcome in zip(jobs.numbers, ("ack", "nack", "final"), strict=True)
    ]
    await leases.settle("foo", settlements)
    await queues.deliver([await queues.take("foo", 1)])
    await times.pass_minutes()
    for past in (await times.history.of("foo"), (await times.history.of_all())[0]):
        assert (len(past.minutes), len(past.tens)) == (60, 144)
        assert counted(past.minutes) == [(5, 0, 0, 0), (0, 2, 2, 1)]
        assert levels(past.minutes[-1]) == levels(past.tens[-1]) == (1, 1, 0, 1)
        assert sum(row.inserted for row in past.tens) == 5
        assert [row.at - past.minutes[0].at for row in past.minutes] == list(range(0, 3600, 60))
        assert {row.at % 600 for row in past.tens} == {0}


@awaiting
async def test_a_minute_without_change_is_not_written_and_yet_told(times, queues, session):
    await times.begin()
    await queues.push("foo", [b"{}"] * 2)
    await times.sampler.run_once()
    before = session("HLEN", "presque:{0}:foo:history")
    await times.pass_minutes(20)
    assert session("HLEN", "presque:{0}:foo:history") == before
    past = await times.history.of("foo")
    assert counted(past.minutes) == [(2, 0, 0, 0)]
    first = next(n for n, row in enumerate(past.minutes) if row.ready)
    assert all(levels(row) == (2, 0, 0, 0) for row in past.minutes[first:])
    assert all(levels(row) == (0, 0, 0, 0) and row.oldest is None for row in past.minutes[:first])
    ages = [row.oldest for row in past.minutes[first:]]
    assert ages == list(range(ages[0], ages[0] + 60 * len(ages), 60))
    assert len(ages) > 19


@awaiting
async def test_what_was_before_the_last_hour_is_told_from_the_last_day_and_older_rows_go(times, queues):
    await times.begin()
    await queues.push("foo", [b"{}"])
    await times.sampler.run_once()
    await times.pass_minutes(120)
    past = await times.history.of("foo")
    assert counted(past.minutes) == []
    assert {levels(row) for row in past.minutes} == {(1, 0, 0, 0)}
    assert counted(past.tens) == [(1, 0, 0, 0)]
    await times.pass_minutes(2 * 1440)
    past = await times.history.of("foo")
    assert counted([*past.minutes, *past.tens]) == []
    assert {levels(row) for row in past.tens} == {(1, 0, 0, 0)}


@awaiting
async def test_ten_minutes_are_summed_up(times, queues):
    await times.begin()
    for _ in range(3):
        await queues.push("foo", [b"{}"])
        await times.pass_minutes(0)
        await times.pass_minutes(10)
    assert counted((await times.history.of("foo")).tens) == [(1, 0, 0, 0)] * 3
    for _ in range(2):
        await queues.push("foo", [b"{}"])
        times.session("HINCRBY", "presque:{0}/sampling", "minute", -1)
        await Sampler(times.history).run_once()
    assert sum(row.inserted for row in (await times.history.of("foo")).tens) == 5


@awaiting
async def test_however_many_daemons_sample_each_row_is_written_once(times, queues, monkeypatch):
    monkeypatch.setattr(module, "SAMPLED", 2)
    await times.begin()
    for number in range(9):
        await queues.push(f"q{number}", [b"{}"] * number)
    others = [Sampler(times.history) for _ in range(5)]
    await gatherResults([ensureDeferred(each.run_once()) for each in (times.sampler, *others)])
    for number in range(1, 9):
        assert (await times.history.of(f"q{number}")).minutes[-1].ready == number
    past, missing = await times.history.of_all()
    assert missing == []
    assert levels(past.minutes[-1]) == (36, 0, 0, 0)
    assert counted(past.minutes) == [(36, 0, 0, 0)]


@awaiting
async def test_a_daemon_goes_on_where_another_one_was_killed(times, queues, monkeypatch):
    monkeypatch.setattr(module, "SAMPLED", 2)
    for number in range(5):
        await queues.push(f"q{number}", [b"{}"])
    await Sampler(times.history).run_once()
    for number in range(5):
        await queues.push(f"q{number}", [b"{}"])
    times.session("HINCRBY", "presque:{0}/sampling", "minute", -1)
    assert (await times.history.sample(0, False))[0], "there is more to do"
    await Sampler(times.history).run_once()
    for number in range(5):
        assert counted((await times.history.of(f"q{number}")).minutes) == [(1, 0, 0, 0)]
    assert counted((await times.history.of_all())[0].minutes) == [(5, 0, 0, 0)]


@awaiting
async def test_what_happened_before_a_store_was_sampled_at_all_is_not_counted_in_one_minute(times, queues):
    await queues.push("foo", [b"{}"] * 100)
    await times.pass_minutes(0)
    past = await times.history.of("foo")
    assert (counted(past.minutes), levels(past.minutes[-1])) == ([], (100, 0, 0, 0))
    await queues.push("foo", [b"{}"])
    await queues.push("new", [b"{}"] * 3)
    await times.pass_minutes()
    assert counted((await times.history.of("foo")).minutes) == [(1, 0, 0, 0)]
    assert counted((await times.history.of("new")).minutes) == [(3, 0, 0, 0)]


@awaiting
async def test_a_queue_with_a_spoilt_key_stops_no_other(times, queues, session):
    await times.begin()
    for name in ("a", "b", "c", "d"):
        await queues.push(name, [b"{}"])
    session("DEL", "presque:{0}:b:jobs")
    session("SET", "presque:{0}:b:jobs", "spoilt")
    session("SET", "presque:{0}:c:history", "spoilt")
    await times.sampler.run_once()
    for name in ("a", "d"):
        assert counted((await times.history.of(name)).minutes) == [(1, 0, 0, 0)]


@awaiting
async def test_a_full_redis_is_sampled_too(times, queues, session):
    await times.begin()
    await queues.push("foo", [b"{}"])
    session("CONFIG", "SET", "maxmemory", "1")
    try:
        await times.sampler.run_once()
    finally:
        session("CONFIG", "SET", "maxmemory", "0")
    assert counted((await times.history.of("foo")).minutes) == [(1, 0, 0, 0)]


@awaiting
async def test_a_deleted_queue_leaves_no_history(times, queues, session):
    await times.begin()
    await queues.push("foo", [b"{}"])
    await times.sampler.run_once()
    await queues.delete("foo")
    assert not session("EXISTS", *(queue_key(name, "foo", 1) for name in QUEUE_KEYS))
    with pytest.raises(UnknownQueue):
        await times.history.of("foo")
    await queues.push("foo", [b"{}"] * 2)
    await times.pass_minutes()
    assert counted((await times.history.of("foo")).minutes) == [(2, 0, 0, 0)]
    assert levels((await times.history.of_all())[0].minutes[-1]) == (2, 0, 0, 0)


@awaiting
async def test_an_empty_store_is_not_written_to(times, session):
    for _ in range(3):
        await times.sampler.run_once()
    assert session("KEYS", "*") == []


@awaiting
async def test_a_history_stays_small(times, queues, session):
    """Also with numbers that no queue has: a million jobs a second, a thousand million waiting."""
    await queues.push("foo", [b"{}"])
    await times.pass_minutes(0)
    (last,) = {row for row in session("HVALS", "presque:{0}:foo:history") if row[:1] == b"\x99"}
    assert len(last) <= 64
    busy = [10**9, 36 * 10**6, 36 * 10**6, 10**6, 10**5, 10**6, 10**5, 10**5, 10**4, 10**5]
    for place in range(MINUTES + TENS):
        session("HSET", "presque:{0}:foo:history", place, msgspec.msgpack.encode(busy))
    assert session("OBJECT", "ENCODING", "presque:{0}:foo:history") in (b"listpack", b"ziplist")
    assert session("MEMORY", "USAGE", "presque:{0}:foo:history") <= 10 * 1024 + 2048
    usual = [29_929_083, 60_000, 59_000, 600, 60, 5000, 50, 200, 300, 20]
    for place in range(MINUTES + TENS):
        session("HSET", "presque:{0}:foo:history", place, msgspec.msgpack.encode(usual))
    assert session("MEMORY", "USAGE", "presque:{0}:foo:history") <= 10_000
