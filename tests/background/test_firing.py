"""Schedules fire at their times: once each, through daemons, outages, stepped clocks and failing queues."""

import json
from collections import Counter

import pytest
from clocks import Wall
from logs import logged
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of, tool
from twisted.internet.defer import ensureDeferred, gatherResults, succeed
from twisted.logger import formatEvent
from v1 import reserve, send, settle

from presque.background.schedules import TOGETHER, Firing
from presque.errors import LaterSchedule, StoreUnavailable
from presque.jobs.schedules import Due

DAY = 86400
STEP = 600.0


async def put(client, name="s", queue="foo", payload=1, **fields):
    job = {"payload": payload, **fields.pop("job", {})}
    path = f"/v1/queues/{queue}/schedules/{name}"
    answer = await client.put(path, json.dumps({"job": job, **fields}).encode())
    assert answer.status in (200, 201), answer.body
    return answer.json


async def show(client, name="s", queue="foo"):
    answer = await client.get(f"/v1/queues/{queue}/schedules/{name}")
    assert answer.status == 200, answer.body
    return answer.json


async def shown(client, check, name="s", queue="foo"):
    """The schedule, once `check` of it is true."""

    async def ask():
        answer = await client.get(f"/v1/queues/{queue}/schedules/{name}")
        return answer.json if answer.status == 200 and check(answer.json) else None

    return await eventually(ask, f"what schedule {name} is to show")


def now(redis):
    seconds, microseconds = redis.command("TIME")
    return int(seconds) + int(microseconds) / 1e6


def make_due(redis, ago=0.0, name="s", queue="foo"):
    """Let its time have come so many seconds ago."""
    at = round((now(redis) - ago) * 1000)
    redis.command("ZADD", "presque:{0}/schedule_due", "XX", at, f"{queue}/{name}")


async def inserted(client, queue="foo"):
    answer = await client.get(f"/v1/queues/{queue}")
    return answer.json["inserted"] if answer.status == 200 else 0


def about_a_schedule(event):
    text = formatEvent(event)
    return text if text.startswith("schedule ") else None


@awaiting
async def test_several_daemons_fire_each_time_once(client, redis):
    others = [daemon_on(redis.url, tick="0.01") for _ in range(2)]
    for other in others:
        other.startService()
    await gatherResults([other.started for other in others])
    begun = {f"s{n}": await put(client, f"s{n}", payload=n, every=1, misfire="all") for n in range(60)}
    await shown(client, lambda view: view["fired"] >= 3, "s59")
    for name in begun:
        await put(client, name, payload=int(name[1:]), every=1, misfire="all", paused=True)
    jobs = Counter()
    while (answer := await client.get("/qb/foo?batch_size=1000")).status == 200:
        jobs.update(answer.json)
    fired = {n: (await show(client, f"s{n}"))["fired"] for n in range(60)}
    assert {int(n): count for n, count in jobs.items()} == fired
    assert min(fired.values()) >= 2
    await gatherResults([other.stopService() for other in others])


@awaiting
async def test_a_time_that_has_come_fires_at_once_and_the_next_one_follows_from_it(client, redis):
    await put(client, every=100)
    before = now(redis)
    make_due(redis)
    view = await shown(client, lambda view: view["fired"] == 1)
    assert before <= view["last_at"] <= before + 5
    assert before + 99 < view["next_at"] <= view["last_at"] + 100
    assert await inserted(client) == 1


@pytest.mark.parametrize(
    ("misfire", "jobs", "skipped"),
    [("once", 1, 0), ("skip", 0, 1), ("all", 24, 0)],
)
@awaiting
async def test_a_day_in_which_no_daemon_was_there(client, redis, misfire, jobs, skipped):
    await put(client, every=3600, misfire=misfire)
    make_due(redis, ago=DAY - 120)  # and the last of these times is two minutes too late
    view = await shown(client, lambda view: view["next_at"] > now(redis))
    assert (view["fired"], view["skipped"]) == (jobs, skipped)
    assert ("last_error" in view) == bool(skipped)
    assert await inserted(client) == jobs


@awaiting
async def test_no_more_than_a_hundred_are_made_up(client, redis):
    await put(client, every=60, misfire="all")
    make_due(redis, ago=DAY)
    await shown(client, lambda view: view["next_at"] > now(redis))
    assert await inserted(client) == 100


@awaiting
async def test_what_overlaps_is_skipped_while_the_job_hangs(client, redis):
    await put(client, every=100, overlap="skip", job={"max_attempts": 1})
    make_due(redis)
    await shown(client, lambda view: view["fired"] == 1)
    for skipped in (1, 2):  # while it is ready
        make_due(redis)
        view = await shown(client, lambda view, skipped=skipped: view["skipped"] == skipped)
        assert view["last_error"] == "the previous job is unfinished"
    (job,) = await reserve(client, lease=900)
    make_due(redis)
    await shown(client, lambda view: view["skipped"] == 3)  # while it is leased
    assert (await settle(client, "release", job, delay=900)).status == 204
    make_due(redis)
    await shown(client, lambda view: view["skipped"] == 4)  # while it is delayed
    assert (await send(client, f"jobs/{job['id']}/run-now")).status == 200
    (job,) = await reserve(client)
    assert (await settle(client, "nack", job, final=True)).json["state"] == "dead"
    make_due(redis)
    await shown(client, lambda view: view["fired"] == 2)  # the last one is dead
    (job,) = await reserve(client)
    await settle(client, "ack", job)
    make_due(redis)
    view = await shown(client, lambda view: view["fired"] == 3)
    assert view["skipped"] == 4
    assert await inserted(client) == 3


@awaiting
async def test_jobs_overlap_unless_told_otherwise(client, redis):
    await put(client, every=100)
    for count in (1, 2, 3):
        make_due(redis)
        await shown(client, lambda view, count=count: view["fired"] == count)
    assert len(await reserve(client, max=10)) == 3


@pytest.mark.parametrize(
    ("job", "settings", "error"),
    [
        ({"unique": "k"}, {}, "job already exists"),
        ({}, {"max_length": 1}, "queue is full"),
        ({}, {"accepting": False}, "queue accepts no jobs"),
    ],
)
@awaiting
async def test_what_the_queue_refuses_is_skipped_and_blocks_nothing(client, redis, job, settings, error):
    await put(client, every=100, job=job)
    assert (await send(client, "queues/foo/schedules/s/run-now")).status == 201
    await client.request("PATCH", "/v1/queues/foo", json.dumps(settings).encode(), Content_Type="application/json")
    for skipped in (1, 2):
        make_due(redis)
        view = await shown(client, lambda view, skipped=skipped: view["skipped"] == skipped)
    assert view["last_error"] == error
    assert view["next_at"] > now(redis) + 90
    assert abs(view["last_error_at"] - now(redis)) < 5
    assert await inserted(client) == 1


@awaiting
async def test_a_stopped_queue_is_filled_all_the_same(client, redis):
    await send(client, "queues/foo/pause")
    await put(client, every=100)
    make_due(redis)
    await shown(client, lambda view: view["fired"] == 1)
    assert (await client.get("/v1/queues/foo")).json["ready"] == 1


@awaiting
async def test_a_waiting_consumer_gets_the_job_at_once(client, redis):
    await put(client, every=1)
    (job,) = await reserve(client, wait=10)
    assert job["payload"] == 1


@awaiting
async def test_a_paused_schedule_does_not_fire(client, redis):
    await put(client, every=1, paused=True)
    await put(client, "t", every=1)
    await shown(client, lambda view: view["fired"] >= 2, "t")
    assert (await show(client))["fired"] == 0


@awaiting
async def test_a_queue_that_was_deleted_is_made_anew(client, redis):
    await put(client, every=100, overlap="skip")
    make_due(redis)
    await shown(client, lambda view: view["fired"] == 1)
    assert (await client.delete("/v1/queues/foo")).status == 204
    make_due(redis)
    view = await shown(client, lambda view: view["fired"] == 2)  # the job before is gone
    assert view["last_job"] == "foo:2"


@awaiting
async def test_schedules_survive_an_outage_of_redis(daemon, client, redis):
    redis.command("CONFIG", "SET", "appendfsync", "always")  # a slow fsync would let it answer before it has written
    await put(client, every=100)
    make_due(redis, ago=-1)
    redis.kill()

    async def noticed():
        return not daemon.store.is_up

    await eventually(noticed, "the loss")
    redis.start()
    await shown(client, lambda view: view["fired"] == 1)
    assert await inserted(client) == 1


@awaiting
async def test_one_queue_that_fails_blocks_no_other(client, redis, failures):
    for n in range(TOGETHER + 5):
        await put(client, "s", f"broken{n}", every=100)
        redis.command("SET", f"presque:{{0}}:broken{n}:jobs", "not a hash")
        make_due(redis, 10, "s", f"broken{n}")
    await put(client, every=100)
    make_due(redis)
    view = await shown(client, lambda view: view["fired"] == 1)
    assert view["skipped"] == 0
    for n in range(TOGETHER + 5):  # and they fire once they are well
        redis.command("DEL", f"presque:{{0}}:broken{n}:jobs")
    await shown(client, lambda view: view["fired"] == 1, "s", "broken3")
    assert await inserted(client, "broken3") == 1


@awaiting
async def test_what_a_later_release_made_is_kept_logged_once_and_blocks_no_other(client, redis):
    with logged(about_a_schedule) as told:
        for n in range(TOGETHER * 2):
            await put(client, f"l{n}", every=100)
            text = redis.command("HGET", "presque:{0}/schedules", f"foo/l{n}")
            later = text.replace(b"every", b"novel")
            redis.command("HSET", "presque:{0}/schedules", f"foo/l{n}", later)
            make_due(redis, 10, f"l{n}")
        for count in (1, 2, 3):
            await put(client, every=100)
            make_due(redis)
            await shown(client, lambda view, count=count: view["fired"] == count)
    assert len(told) == TOGETHER * 2
    assert redis.command("HGET", "presque:{0}/schedules", "foo/l0").count(b"novel") == 1
    assert redis.command("ZCARD", "presque:{0}/schedule_due") == TOGETHER * 2 + 1


class Fake:
    """Schedules of some partitions, of which the first is away."""

    partitions = 3

    def __init__(self):
        self.fired = []

    def due(self, partition, skip, limit):
        if partition == 0:
            raise StoreUnavailable
        return succeed([Due("foo", str(partition), 0, 0, b"")] if partition not in self.fired else [])

    async def fire(self, due):
        self.fired.append(int(due.name))
        return 1


@awaiting
async def test_a_partition_that_fails_blocks_no_other():
    fake = Fake()
    with pytest.raises(StoreUnavailable):
        await Firing(fake).run_once()
    assert sorted(fake.fired) == [1, 2]
    fake.partitions = 1
    with pytest.raises(StoreUnavailable):
        await Firing(fake).run_once()


@awaiting
async def test_what_cannot_be_read_is_not_looked_at_again_within_a_turn():
    class Unreadable(Fake):
        def due(self, partition, skip, limit):
            there = [Due("foo", str(n), 0, 0, b"") for n in range(TOGETHER * 3)]
            return succeed(there[skip : skip + limit])

        async def fire(self, due):
            self.fired.append(due.name)
            raise LaterSchedule

    fake = Unreadable()
    fake.partitions = 1
    with logged(about_a_schedule) as told:
        firing = Firing(fake)
        assert await firing.run_once() == 0
        assert await firing.run_once() == 0
    assert len(fake.fired) == 2 * 3 * TOGETHER
    assert len(told) == 3 * TOGETHER


@pytest.fixture
def wall(tmp_path):
    tool("cc")
    return Wall(tmp_path)


@awaiting
async def test_a_daemons_own_clock_does_not_matter(redis, wall, processes):
    redis.command("FLUSHALL")
    process = processes("--redis", redis.url, environ=wall.environ)
    client = Client(await process.listening)
    first = await put(client, every=1, misfire="all")
    for step in (STEP, -2 * STEP, STEP):
        count = (await show(client))["fired"]
        wall.step(step)
        await shown(client, lambda view, count=count: view["fired"] >= count + 2)
        made = await put(client, "t", every=100)
        assert abs(made["next_at"] - now(redis) - 100) < 5
        await client.delete("/v1/queues/foo/schedules/t")
    view = await show(client)
    assert view["fired"] == round(view["next_at"] - first["next_at"])
    assert abs(view["next_at"] - now(redis)) < 3
    await client.close()


@awaiting
async def test_the_clock_of_redis_is_stepped(wall, redises):
    """Forward it is as if those times had been missed; backwards nothing fires twice."""
    redis = redises(environ=wall.environ)
    daemon = daemon_on(redis.url)
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    begun = {name: await put(client, name, every=60, misfire=name) for name in ("once", "skip", "all")}
    wall.step(STEP + 30)
    views = {name: await shown(client, lambda view: view["fired"] or view["skipped"], name) for name in begun}

    async def caught_up():
        views["all"] = await show(client, "all")
        return views["all"]["next_at"] > now(redis)

    await eventually(caught_up, "the times that were jumped over")
    fired = {name: view["fired"] for name, view in views.items()}
    assert fired == {"once": 1, "skip": 1, "all": 10}  # of a minute's times the last is never too late
    wall.step(-STEP)

    async def begun_by_the_new_time():  # a server that looks at its clock once a turn may show the old one for a moment
        await client.delete("/v1/queues/foo/schedules/other")
        return abs((await put(client, "other", every=1))["next_at"] - now(redis)) < 5

    await eventually(begun_by_the_new_time, "a schedule that begins by the clock as it is set")
    await shown(client, lambda view: view["fired"] >= 2, "other")
    assert {name: (await show(client, name))["fired"] for name in begun} == fired
    await client.close()
    await daemon.stopService()


@awaiting
async def test_a_store_that_was_down_for_a_day(wall, redises):
    redis = redises(environ=wall.environ)
    daemon = daemon_on(redis.url)
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    for name in ("once", "skip", "all"):
        await put(client, name, name, every=3600, misfire=name)
    redis.kill()
    wall.step(DAY + 1800)
    redis.start()
    expected = {"once": (1, 0), "skip": (0, 1), "all": (24, 0)}
    for name, counts in expected.items():

        async def answers(name=name):
            answer = await client.get(f"/v1/queues/{name}/schedules/{name}")
            return answer.status == 200 and answer.json["next_at"] > now(redis) and answer.json

        view = await eventually(answers, f"what {name} is to do")
        assert (view["fired"], view["skipped"]) == counts
        assert abs(view["next_at"] - now(redis) - 1800) < 10
        assert await inserted(client, name) == counts[0]
    await client.close()
    await daemon.stopService()


@awaiting
async def test_a_thousand_that_are_due_at_once_fire_soon(client, redis, daemon):
    names = [f"s{n}" for n in range(1000)]
    for first in range(0, 1000, 50):
        await gatherResults([put_soon(client, name) for name in names[first : first + 50]])
    for name in names:
        make_due(redis, 1, name)

    async def all_fired():
        return await inserted(client) == 1000

    await eventually(all_fired, "all jobs")
    jobs = Counter()
    while (answer := await client.get("/qb/foo?batch_size=1000")).status == 200:
        jobs.update(answer.json)
    assert jobs == {f'"{name}"': 1 for name in names}


def put_soon(client, name):
    return ensureDeferred(put(client, name, payload=name, every=1000))
