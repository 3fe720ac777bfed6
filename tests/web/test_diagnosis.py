"""Why nothing runs in a queue, from the facts in the store; or that all is well."""

import json
import time

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from v1 import insert, is_problem, look, reserve, send, settle

Q = "presque:{0}:foo:q"
HOUR = 3_600_000  # ms


async def diagnose(client, queue="foo"):
    """The texts by code."""
    answer = await client.get(f"/v1/queues/{queue}/diagnosis")
    assert answer.status == 200, answer.body
    found = {reason["code"]: reason["text"] for reason in answer.json}
    assert len(found) == len(answer.json) > 0
    assert all(found.values())
    return found


def asked_before(redis, ms):
    """Have the last request for jobs been so long ago."""
    redis.command("HSET", Q, "asked", int(time.time() * 1000) - ms)


@awaiting
async def test_an_unknown_queue_has_none(client):
    is_problem(await client.get("/v1/queues/foo/diagnosis"), 404, "not-found")
    await reserve(client)
    is_problem(await client.get("/v1/queues/foo/diagnosis"), 404, "not-found")


@awaiting
async def test_an_empty_queue_is_well(client):
    await send(client, "queues/foo/pause")
    await send(client, "queues/foo/resume")
    assert list(await diagnose(client)) == ["ok"]


@awaiting
async def test_a_queue_that_nobody_ever_asked_has_no_consumer(client):
    await insert(client, 1, 2)
    assert await diagnose(client) == {"no-consumer": "2 ready jobs wait: nobody has asked for jobs yet"}


@pytest.mark.parametrize("ask", ["/q/foo", "/qb/foo", "/q/foo?wait=0.1"])
@awaiting
async def test_whoever_asks_is_a_consumer_whether_he_finds_something_or_not(client, redis, ask):
    await insert(client, 1)
    assert (await client.get(ask)).status == 200
    assert (await client.get(ask)).status == 404
    await insert(client, 2)
    assert list(await diagnose(client)) == ["ok"]

    async def is_silent():  # once the job has been delivered
        asked_before(redis, 100_000)
        return (await diagnose(client)).get("no-consumer")

    assert "since" in await eventually(is_silent, "nobody asks")
    assert (await client.get(ask)).status == 200
    await insert(client, 3)
    assert list(await diagnose(client)) == ["ok"]


@awaiting
async def test_that_somebody_asks_is_noted_once_a_minute_and_q_stays_small(client, redis):
    await insert(client, *range(10))
    await reserve(client)
    noted = redis.command("HGET", Q, "asked")
    for _ in range(5):
        await client.get("/q/foo")
        await reserve(client)
    assert redis.command("HGET", Q, "asked") == noted
    asked_before(redis, 61_000)
    await send(client, "queues/foo/pause")
    await client.get("/q/foo")
    assert redis.command("HGET", Q, "asked") >= noted
    assert redis.command("OBJECT", "ENCODING", Q) in (b"listpack", b"ziplist")


@awaiting
async def test_who_is_busy_with_a_job_is_a_consumer(client, redis):
    await insert(client, 1, 2)
    await reserve(client)
    asked_before(redis, HOUR)
    assert list(await diagnose(client)) == ["ok"]


@awaiting
async def test_a_stopped_queue_is_paused_and_that_alone(client):
    await insert(client, 1)
    await send(client, "queues/foo/pause")
    assert list(await diagnose(client)) == ["paused"]


@awaiting
async def test_a_queue_that_refuses_insertions_says_why(client):
    await insert(client, 1, 2)
    await client.request("PATCH", "/v1/queues/foo", b'{"accepting":false,"max_length":2}')
    assert list(await diagnose(client)) == ["not-accepting", "full", "no-consumer"]
    assert "2 jobs of 2" in (await diagnose(client))["full"]
    await client.request("PATCH", "/v1/queues/foo", b'{"accepting":true,"max_length":3}')
    assert list(await diagnose(client)) == ["no-consumer"]


@awaiting
async def test_jobs_that_wait_for_their_time_or_for_their_next_try(client):
    await insert(client, 1, delay=600)
    found = await diagnose(client)
    assert list(found) == ["delayed"]
    assert "UTC" in found["delayed"]
    await insert(client, 2)
    (job,) = await reserve(client)
    await settle(client, "nack", job, error="mailbox is full\nsecond line", delay=60)
    found = await diagnose(client)
    assert list(found) == ["backing-off"]
    assert found["backing-off"].endswith("after: mailbox is full")


@awaiting
async def test_jobs_with_a_worker(client):
    await insert(client, 1)
    await reserve(client, worker_id="w 1")
    found = await diagnose(client)
    assert list(found) == ["leased"]
    assert "w 1" in found["leased"]


@awaiting
async def test_jobs_that_wait_their_turn(client, redis):
    await insert(client, 1, 2)
    await reserve(client)
    record = redis.command("HGET", "presque:{0}:foo:jobs", 2)
    redis.command("HSET", "presque:{0}:foo:jobs", 2, b"%013d" % (int(record[:13]) - 300_000) + record[13:])
    found = await diagnose(client)
    assert list(found) == ["waiting-turn"]
    assert "for 300 s" in found["waiting-turn"]


@awaiting
async def test_dead_jobs_and_what_the_last_died_of(client):
    await insert(client, 1, 2, max_attempts=1)
    for job, error in zip(await reserve(client, max=2), ("first", "mailbox is full"), strict=True):
        await settle(client, "nack", job, error=error)
    found = await diagnose(client)
    assert list(found) == ["dead"]
    assert found["dead"].startswith("2 jobs are dead")


@awaiting
async def test_leases_that_ran_out_within_an_hour(client, redis):
    await insert(client, 1, 2)
    for job in await reserve(client, max=2):
        await client.post(f"/v1/jobs/{job['id']}/extend", b'{"receipt":"%b","lease":0.001}' % job["receipt"].encode())

    async def ran_out():
        return (await diagnose(client)).get("lease-run-outs", "").startswith("2 leases have run out")

    await eventually(ran_out, "both leases run out")
    time, *counts = map(int, redis.command("HGET", Q, "run_outs").split())
    for minutes, count in ((40, 2), (60, 0)):
        redis.command("HSET", Q, "run_outs", " ".join(map(str, [time - minutes // 10, *counts])))
        assert ("lease-run-outs" in await diagnose(client)) == bool(count)
    redis.command("HSET", Q, "run_outs", f"{time - 3} 999999 1 1 1 1 1")
    await reserve(client, max=2, lease=0.001)
    await eventually(lambda: _is_counted(redis, time), "another one")
    assert len(redis.command("HGET", Q, "run_outs")) < 64


async def _is_counted(redis, time):
    now, *counts = map(int, redis.command("HGET", Q, "run_outs").split())
    return now >= time and sum(counts[:2]) == 2 and 999_999 in counts


@awaiting
async def test_any_error_text_can_be_a_reason(client):
    await insert(client, 1)
    (job,) = await reserve(client)
    error = '<script>"\\ \u2603\u202e\0' + "x" * 5000
    body = {"receipt": job["receipt"], "error": error, "final": True}
    await client.post("/v1/jobs/foo:1/nack", json.dumps(body).encode())
    found = await diagnose(client)
    assert '<script>"\\ \u2603\u202e\0xxx' in found["dead"]
    assert len(found["dead"]) < 500


@awaiting
async def test_a_job_that_nobody_asks_for_says_so_after_a_while(client, redis):
    await insert(client, 1, 2)
    why = (await look(client, "foo:2"))["why"]
    assert (why["code"], why["before"]) == ("waiting-turn", 1)
    for number in (1, 2):
        record = redis.command("HGET", "presque:{0}:foo:jobs", number)
        redis.command("HSET", "presque:{0}:foo:jobs", number, b"%013d" % (int(record[:13]) - 11_000) + record[13:])
    why = (await look(client, "foo:2"))["why"]
    assert why == {"code": "no-consumer", "text": "nobody has asked for jobs yet", "before": 1}
    await client.get("/q/foo")
    assert (await look(client, "foo:2"))["why"]["code"] == "waiting-turn"

    async def is_silent():
        asked_before(redis, 100_000)
        return (await look(client, "foo:2"))["why"]["code"] == "no-consumer"

    await eventually(is_silent, "the first job has been delivered")
    await send(client, "queues/foo/pause")
    assert (await look(client, "foo:2"))["why"]["code"] == "paused"
