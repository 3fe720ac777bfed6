"""Why a job is where it is, from the facts in the store."""

import pytest
from pytest_twisted import ensureDeferred as awaiting
from v1 import insert, look, reserve, send, settle


async def why(client, n=1):
    return (await look(client, f"foo:{n}"))["why"]


async def code(client, n=1):
    told = await why(client, n)
    assert told["text"]
    assert ("before" in told) == (told["code"] in ("waiting-turn", "paused"))
    return told["code"]


@awaiting
async def test_a_delayed_job_waits_for_its_time(client):
    await insert(client, 1, delay=600)
    assert await code(client) == "delayed"


@awaiting
async def test_a_job_between_two_tries_waits_after_its_error(client):
    await insert(client, 1)
    (job,) = await reserve(client)
    await settle(client, "nack", job, error="mailbox is full")
    assert await code(client) == "backing-off"
    assert "mailbox is full" in (await why(client))["text"]


@awaiting
async def test_a_leased_job_is_a_workers(client):
    await insert(client, 1, 2)
    await reserve(client, worker_id="w 1")
    await reserve(client)
    assert await code(client) == await code(client, 2) == "leased"
    assert "w 1" in (await why(client))["text"]


@awaiting
async def test_a_dead_job_died_of_something(client):
    await insert(client, 1, max_attempts=1)
    (job,) = await reserve(client)
    await settle(client, "nack", job, error="mailbox is full")
    assert await code(client) == "dead"
    assert "mailbox is full" in (await why(client))["text"]


@awaiting
async def test_a_ready_job_of_a_stopped_queue_waits_for_it(client):
    await insert(client, 1)
    await send(client, "queues/foo/pause")
    assert await code(client) == "paused"
    await send(client, "queues/foo/resume")
    assert await code(client) == "waiting-turn"


@awaiting
async def test_a_ready_job_knows_how_many_are_before_it(client):
    await insert(client, *range(10))
    assert [(await why(client, n))["before"] for n in (1, 2, 10)] == [0, 1, 9]
    await client.delete("/v1/jobs/foo:5")
    assert [(await why(client, n))["before"] for n in (4, 6, 10)] == [3, 4, 8]
    await insert(client, "high", priority=9)
    await insert(client, "low", priority=1)
    await insert(client, "lower", priority=0)
    assert [(await why(client, n))["before"] for n in (11, 1, 10, 12, 13)] == [0, 1, 9, 10, 11]
    for job in await reserve(client, max=3):
        await settle(client, "release", job)
    assert [(await why(client, n))["before"] for n in (11, 1, 2, 3, 10)] == [0, 1, 2, 3, 9]


@pytest.mark.parametrize("state", ["ready", "delayed", "leased", "dead"])
@awaiting
async def test_a_list_tells_no_reasons(client, state):
    await insert(client, 1, max_attempts=1, **({"delay": 60} if state == "delayed" else {}))
    for job in await reserve(client) if state in ("leased", "dead") else []:
        await settle(client, "nack", job) if state == "dead" else None
    (job,) = (await client.get(f"/v1/queues/foo/jobs?state={state}")).json["jobs"]
    seen = await look(client, "foo:1")
    assert "why" not in job
    assert {**job, "why": seen["why"]} == seen


@awaiting
async def test_any_error_text_can_be_a_reason(client):
    await insert(client, 1)
    (job,) = await reserve(client)
    body = b'{"receipt":"%b","error":"\\udce9 \\u0000 \\" \xe2\x98\x83"}' % job["receipt"].encode()
    await client.post("/v1/jobs/foo:1/nack", body)
    assert await code(client) == "backing-off"
