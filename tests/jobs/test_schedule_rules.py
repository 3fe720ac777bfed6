"""What becomes of a time that has come, and of those that were missed; the calls of the store, one by one."""

import contextlib
import random
from itertools import pairwise

import pytest
from pytest_twisted import ensureDeferred as awaiting

from presque.errors import InvalidSchedule, LaterSchedule, StoreError, StoreFull, UnknownSchedule
from presque.jobs.queues import NewJob
from presque.jobs.times import GRACE, MOST_MADE_UP, Definition, Step, after, check, pending, plan
from presque.redis.keys import PARTITION_KEYS, QUEUE_KEYS

MINUTE = Definition(cron="* * * * *")
NOW = 1795729500.0  # a whole minute
DAY = 86400.0


@pytest.mark.parametrize(
    ("definition", "at", "now", "steps"),
    [
        # In time, or a little late.
        ({}, NOW, NOW + 0.1, [(True, NOW + 60)]),
        ({"misfire": "skip"}, NOW, NOW + 0.1, [(True, NOW + 60)]),
        ({"misfire": "all"}, NOW, NOW + 0.1, [(True, NOW + 60)]),
        # Several have come.
        ({}, NOW - 180, NOW + 1, [(True, NOW + 60)]),
        ({"misfire": "all"}, NOW - 120, NOW + 1, [(True, NOW - 60), (True, NOW), (True, NOW + 60)]),
        # Of a minute's times the last one is never too late.
        ({"misfire": "skip"}, NOW - 180, NOW + 1, [(True, NOW + 60)]),
        # One that is late.
        ({"cron": "0 0 1 1 *", "misfire": "skip"}, 1767225600.0, 1767225600.0 + GRACE, [(True, 1798761600.0)]),
        ({"cron": "0 0 1 1 *", "misfire": "skip"}, 1767225600.0, 1767225601.0 + GRACE, [(False, 1798761600.0)]),
        ({"cron": "0 0 1 1 *", "misfire": "once"}, 1767225600.0, 1767225601.0 + GRACE, [(True, 1798761600.0)]),
        ({"cron": "0 0 1 1 *", "misfire": "all"}, 1767225600.0, 1767225601.0 + GRACE, [(True, 1798761600.0)]),
        ({"every": 3600, "misfire": "skip"}, NOW - 2 * DAY, NOW + 1800, [(False, NOW + 3600)]),
        ({"every": 3600, "misfire": "skip"}, NOW - 2 * DAY, NOW + 30, [(True, NOW + 3600)]),
        ({"every": 3600}, NOW - 2 * DAY, NOW + 1800, [(True, NOW + 3600)]),
        # The clock was set back: it counts as in time.
        ({}, NOW, NOW, [(True, NOW + 60)]),
    ],
)
def test_what_becomes_of_a_time(definition, at, now, steps):
    if "cron" not in definition and "every" not in definition:
        definition = {"cron": "* * * * *", **definition}
    assert plan(Definition(**definition), at, now) == [Step(*step) for step in steps]


@pytest.mark.parametrize(
    "definition", [{"cron": "* * * * *"}, {"every": 60}, {"every": 1.5}, {"cron": "*/7 3-9 * * *"}]
)
def test_of_all_missed_times_the_last_hundred_are_made_up(definition):
    definition = Definition(**definition, misfire="all")
    at = after(definition, NOW - 3 * DAY)
    steps = plan(definition, at, NOW + 1)
    assert len(steps) == MOST_MADE_UP
    assert all(step.fires for step in steps)
    times = [step.following for step in steps]
    assert times[-1] > NOW + 1 >= times[-2]
    assert all(after(definition, a, at) == b for a, b in pairwise(times))
    every = [at]
    while every[-1] <= NOW + 1:
        every.append(after(definition, every[-1], at))
    assert times == every[-MOST_MADE_UP:]


def test_pending_times_are_those_of_a_walk():
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(100):
        zone = chance.choice(["UTC", "Europe/Berlin", "Australia/Lord_Howe"])
        cron = chance.choice(["* * * * *", "0 * * * *", "30 2 * * *", "*/5 1-3 1 * *", "0 0 29 2 *", "0 0 * * 1"])
        definition = Definition(cron=cron, timezone=zone)
        at = after(definition, NOW - chance.random() * 10 ** chance.randint(2, 8))
        if at is None or at > NOW:
            continue
        now = min(NOW, at + chance.random() * 10 ** chance.randint(1, 6))
        walk = [at]
        while (following := after(definition, walk[-1])) <= now:
            walk.append(following)
        limit = chance.choice([1, 3, 100])
        assert pending(definition, at, now, limit) == walk[-limit:]


def test_intervals_do_not_drift():
    definition, at = Definition(every=0.1 * 11), NOW + 0.123
    for n in range(1, 10_000):
        at = after(definition, at + random.random(), at)
        assert at == pytest.approx(NOW + 0.123 + n * 1.1, abs=1e-6)


@pytest.mark.parametrize(
    "definition",
    [
        {},
        {"cron": "* * * * *", "every": 1},
        {"cron": "0 0 31 2 *"},
        {"every": 0.5},
        {"every": 1e308},
        {"every": float("nan")},
        {"every": float("inf")},
        {"every": 60, "timezone": "Nowhere"},
    ],
)
def test_what_can_be_no_schedule(definition):
    with pytest.raises(InvalidSchedule):
        check(Definition(**definition))


@pytest.fixture
def schedules(daemon):
    """Without the loop that fires them."""
    daemon.loops["schedules"].stop()
    yield daemon.schedules
    daemon.loops["schedules"].start()


async def come(redis, schedules, name="s", ago=0.0, job=None, **fields):
    """Make a schedule whose time came so many seconds ago, as it is then read."""
    await schedules.put("foo", name, Definition(**{"every": 60, **fields}), job or NewJob(b'"%b"' % name.encode()))
    seconds, microseconds = redis.command("TIME")
    at = int(seconds) * 1000 + int(microseconds) // 1000 - round(ago * 1000)
    redis.command("ZADD", "presque:{0}/schedule_due", at, f"foo/{name}")
    return next(each for each in await schedules.due(0, 0, 1000) if each.name == name)


async def inserted(daemon, queue="foo"):
    return (await daemon.queues.counts(queue)).inserted


@awaiting
async def test_a_time_that_two_have_read_fires_once(daemon, redis, schedules):
    due = await come(redis, schedules)
    first, second = schedules.fire(due), schedules.fire(due)
    assert [await first, await second] == [1, 0]
    assert await inserted(daemon) == 1
    assert (await schedules.get("foo", "s")).next_at == pytest.approx(due.at + 60, abs=1e-4)


@awaiting
async def test_a_schedule_that_was_changed_or_deleted_meanwhile_does_not_fire(daemon, redis, schedules):
    due = await come(redis, schedules)
    await schedules.put("foo", "s", Definition(every=60, overlap="skip"), NewJob(b"1"))
    assert await schedules.fire(due) == 0
    (again,) = await schedules.due(0, 0, 10)
    assert again.at == due.at  # it has still come, and fires as it is now
    await schedules.put("foo", "s", Definition(every=60, overlap="skip", paused=True), NewJob(b"1"))
    assert await schedules.fire(again) == 0
    due = await come(redis, schedules, "t")
    await schedules.delete("foo", "t")
    assert await schedules.fire(due) == 0
    with pytest.raises(UnknownSchedule):
        await schedules.get("foo", "t")
    assert await inserted(daemon) == 0


@awaiting
async def test_a_change_of_the_job_alone_is_what_fires(daemon, redis, schedules):
    due = await come(redis, schedules)
    await schedules.put("foo", "s", Definition(every=60), NewJob(b'"new"'))
    assert await schedules.fire(due) == 1
    _, payloads = await daemon.queues.peek("foo")
    assert payloads == [b'"new"']


@awaiting
async def test_missed_times_are_made_up_one_by_one(daemon, redis, schedules):
    due = await come(redis, schedules, ago=250 * 60 + 1, misfire="all")
    assert await schedules.fire(due) == 100
    assert await inserted(daemon) == 100
    assert await schedules.due(0, 0, 10) == []


@awaiting
async def test_a_skipped_time_is_counted_with_its_reason(daemon, redis, schedules):
    due = await come(redis, schedules, ago=3600 * 3 + 61, every=3600, misfire="skip")
    assert await schedules.fire(due) == 1
    schedule = await schedules.get("foo", "s")
    assert (schedule.state.skipped, schedule.state.why, schedule.state.fired) == (1, "missed", 0)
    assert schedule.next_at == pytest.approx(due.at + 3600 * 4, abs=1e-3)
    assert await inserted(daemon) == 0


@awaiting
async def test_a_full_redis_leaves_the_time_for_later(daemon, redis, schedules):
    due = await come(redis, schedules)
    overlapping = await come(redis, schedules, "t", ago=DAY / 2 + 61, every=DAY, misfire="skip")
    redis.command("CONFIG", "SET", "maxmemory", "1")
    try:
        before = redis.command("HGETALL", "presque:{0}/schedules")
        for each in (due, overlapping):
            with pytest.raises(StoreFull):
                await schedules.fire(each)
        assert redis.command("HGETALL", "presque:{0}/schedules") == before
        assert await inserted(daemon) == 0
    finally:
        redis.command("CONFIG", "SET", "maxmemory", "0")
    assert [await schedules.fire(each) for each in (due, overlapping)] == [1, 1]
    assert await inserted(daemon) == 1


KEYS = sorted(f":foo:{name}" for name in QUEUE_KEYS) + sorted(f"/{name}" for name in PARTITION_KEYS)


@pytest.mark.parametrize("exists", [False, True], ids=["new queue", "queue"])
@pytest.mark.parametrize("key", KEYS)
@awaiting
async def test_a_script_that_fails_on_a_key_of_a_wrong_type_neither_loses_a_time_nor_fires_it_twice(
    daemon, redis, schedules, key, exists
):
    job = NewJob(b"1", uniq=b"k", priority=9, expires_in=60)
    if exists:
        await daemon.queues.insert("foo", [NewJob(b"1", delay=60, expires_in=60)])
    due = await come(redis, schedules, job=job)
    key = f"presque:{{0}}{key}"
    was = redis.command("DUMP", key)
    redis.command("DEL", key)
    redis.command("SET", key, "spoiled")
    with contextlib.suppress(StoreError):
        await schedules.fire(due)
    redis.command("DEL", key)
    if was is not None:
        redis.command("RESTORE", key, 0, was)
    for again in await schedules.due(0, 0, 10):
        await schedules.fire(again)
    assert (await schedules.get("foo", "s")).state.fired == 1
    assert redis.command("HLEN", "presque:{0}:foo:jobs") == 1 + exists


@awaiting
async def test_one_that_a_later_release_made_is_not_fired(redis, schedules):
    due = await come(redis, schedules)
    for packed in (b"\x82\xa5every\x3c\xa5novel\x01", b"", b"\xc1", b"\x80", b"\x81\xa5every\xa1x"):
        with pytest.raises(LaterSchedule):
            await schedules.fire(due._replace(packed=packed))
    with pytest.raises(LaterSchedule):
        await schedules.fire(due._replace(packed=b"\x82\xa4cron\xa9* * * * *\xa8timezone\xa4Mars"))
