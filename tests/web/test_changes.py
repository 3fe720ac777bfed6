"""Jobs that wait are changed: run now, or later, with another priority, or until another time."""

import json
import time

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from twisted.internet.defer import Deferred
from v1 import insert, is_problem, look, reserve, send, settle


async def patch(client, job_id, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.request("PATCH", f"/v1/jobs/{job_id}", content)


async def changed(client, job_id, **body):
    """The job after a change that succeeded."""
    answer = await patch(client, job_id, body)
    assert answer.status == 200, answer.body
    assert answer.json == {**await look(client, job_id), "why": answer.json["why"]}
    return answer.json


async def run_now(client, job_id):
    return await send(client, f"jobs/{job_id}/run-now")


async def kill(client, payload, queue="foo", **options):
    (job_id,) = await insert(client, payload, queue=queue, max_attempts=1, **options)
    jobs = await reserve(client, queue, max=100)
    for job in jobs:
        await settle(client, "nack" if job["id"] == job_id else "release", job, error="broken")
    return job_id


async def order(client, queue="foo"):
    """The payloads of the ready jobs, in the order in which they are handed out; they are handed out."""
    return [job["payload"] for job in await reserve(client, queue, max=100)]


# Run now


@awaiting
async def test_a_delayed_job_runs_now_in_front_of_those_that_wait(client):
    await insert(client, "waiting")
    (delayed,) = await insert(client, "delayed", delay=600)
    answer = await run_now(client, delayed)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert (answer.json["id"], answer.json["state"]) == (delayed, "ready")
    assert "due_at" not in answer.json
    assert answer.json["why"]["code"] == "waiting-turn"
    assert (await look(client, delayed))["state"] == "ready"
    assert await order(client) == ["delayed", "waiting"]


@awaiting
async def test_a_dead_job_runs_now_with_no_attempts_counted_and_its_history(client):
    dead = await kill(client, "dead")
    await insert(client, "waiting")
    answer = await run_now(client, dead)
    assert (answer.json["state"], answer.json["attempts"], answer.json["last_error"]) == ("ready", 0, "broken")
    assert "died_at" not in answer.json
    view = (await client.get("/v1/queues/foo")).json
    assert (view["ready"], view["dead"]) == (2, 0)
    first, second = await reserve(client, max=2)
    assert (first["payload"], first["attempt"], second["payload"]) == ("dead", 1, "waiting")


@awaiting
async def test_a_job_between_two_tries_runs_now(client):
    await insert(client, 1)
    (job,) = await reserve(client)
    await settle(client, "nack", job, delay=600)
    assert (await run_now(client, "foo:1")).json["state"] == "ready"
    (again,) = await reserve(client)
    assert (again["id"], again["attempt"]) == ("foo:1", 2)


@awaiting
async def test_what_runs_now_wakes_a_consumer_that_waits(daemon, client):
    await insert(client, 1, delay=600)
    dead = await kill(client, 2)
    for job_id, payload in (("foo:1", 1), (dead, 2)):
        waiting = Deferred.fromCoroutine(reserve(client, wait=10))

        async def waits():
            return len(daemon.waiting) == 1

        await eventually(waits, "the consumer")
        began = time.monotonic()
        assert (await run_now(client, job_id)).status == 200
        (job,) = await waiting
        assert job["payload"] == payload
        assert time.monotonic() - began < 5


@awaiting
async def test_a_ready_or_leased_job_does_not_run_now(client):
    await insert(client, 1, 2)
    (job,) = await reserve(client)
    for job_id, state in (("foo:1", "leased"), ("foo:2", "ready")):
        for _ in range(2):
            is_problem(await run_now(client, job_id), 409, "wrong-state")
        assert (await look(client, job_id))["state"] == state
    assert (await settle(client, "ack", job)).status == 204


@awaiting
async def test_a_job_that_runs_now_in_a_stopped_queue_is_ready_and_waits(client):
    await insert(client, 1, delay=600)
    await send(client, "queues/foo/pause")
    answer = await run_now(client, "foo:1")
    assert (answer.json["state"], answer.json["why"]["code"]) == ("ready", "paused")
    assert await reserve(client) == []
    await send(client, "queues/foo/resume")
    assert await order(client) == [1]


@awaiting
async def test_a_job_that_runs_now_keeps_its_unique_key_until_it_is_taken(client):
    await insert(client, 1, delay=600, unique="k")
    await run_now(client, "foo:1")
    assert (await send(client, "queues/foo/jobs", {"payload": 2, "unique": "k"})).json["existing"] == "foo:1"
    await reserve(client)
    assert (await send(client, "queues/foo/jobs", {"payload": 2, "unique": "k"})).status == 201


@awaiting
async def test_a_job_keeps_its_priority_when_it_runs_now(client):
    await insert(client, "high", priority=7)
    await insert(client, "low", priority=2, delay=600)
    await insert(client, "middle")
    await run_now(client, "foo:2")
    assert await order(client) == ["high", "middle", "low"]


@pytest.mark.parametrize("job_id", ["foo:9", "bar:1", "foo", "foo:x", ":1", "foo:-1"])
@awaiting
async def test_a_job_that_is_not_there_neither_runs_nor_is_changed(client, job_id):
    await insert(client, 1, delay=600)
    is_problem(await run_now(client, job_id), 404, "not-found")
    is_problem(await patch(client, job_id, {"priority": 1}), 404, "not-found")
    assert (await look(client, "foo:1"))["state"] == "delayed"


# Changes


@awaiting
async def test_a_ready_job_is_delayed_and_a_delayed_one_is_moved(client):
    await insert(client, 1, 2)
    job = await changed(client, "foo:1", delay=600)
    assert job["state"] == "delayed"
    assert job["due_at"] - job["created_at"] == pytest.approx(600, abs=20)
    at = round(time.time() + 5000, 3)
    for _ in range(2):
        job = await changed(client, "foo:1", run_at=at)
        assert (job["state"], job["due_at"]) == ("delayed", pytest.approx(at, abs=0.0015))
    view = (await client.get("/v1/queues/foo")).json
    assert (view["ready"], view["delayed"]) == (1, 1)
    assert await order(client) == [2]


@pytest.mark.parametrize("change", [{"run_at": 1}, {"delay": 0}])
@awaiting
async def test_a_time_in_the_past_makes_a_job_ready_in_front(client, change):
    await insert(client, "waiting")
    await insert(client, "delayed", delay=600)
    for _ in range(2):
        job = await changed(client, "foo:2", **change)
        assert job["state"] == "ready"
    assert await order(client) == ["delayed", "waiting"]


@awaiting
async def test_a_delayed_job_is_handed_out_when_its_new_time_has_come(client):
    await insert(client, 1, delay=600)
    await changed(client, "foo:1", delay=0.1)
    (job,) = await reserve(client, wait=10)
    assert job["id"] == "foo:1"


@awaiting
async def test_a_job_that_was_put_off_is_not_handed_out_at_its_old_time(client):
    await insert(client, 1, delay=0.2)
    await changed(client, "foo:1", delay=600)
    await insert(client, 2, delay=0.3)
    assert [job["payload"] for job in await reserve(client, wait=10, max=9)] == [2]
    assert (await look(client, "foo:1"))["state"] == "delayed"


@awaiting
async def test_the_priority_of_a_job_that_waits_is_changed(client):
    await insert(client, *range(4))
    await insert(client, 4, delay=600)
    for n, priority in ((1, 9), (3, 9), (0, 0), (4, 5)):
        for _ in range(2):
            assert (await changed(client, f"foo:{n + 1}", priority=priority))["priority"] == priority
    await run_now(client, "foo:5")
    assert await order(client) == [1, 3, 4, 2, 0]


@awaiting
async def test_a_priority_may_go_and_come_back(client):
    await insert(client, *range(3))
    for priority in (9, 0, 5):
        assert (await changed(client, "foo:2", priority=priority))["priority"] == priority
    view = (await client.get("/v1/queues/foo")).json
    assert view["ready"] == 3
    assert sorted(await order(client)) == [0, 1, 2]


@awaiting
async def test_an_expiry_is_set_moved_and_removed(client):
    (job_id,) = await insert(client, 1)
    at = round(time.time() + 5000, 3)
    for _ in range(2):
        assert (await changed(client, job_id, expires_at=at))["expires_at"] == pytest.approx(at, abs=0.0015)
    await changed(client, job_id, priority=7)
    assert (await look(client, job_id))["expires_at"] == pytest.approx(at, abs=0.0015)
    for _ in range(2):
        assert "expires_at" not in await changed(client, job_id, expires_at=None)


@awaiting
async def test_a_job_whose_expiry_was_removed_outlives_it(client):
    await insert(client, "kept", "lost", expires_in=1)
    await changed(client, "foo:1", expires_at=None)

    async def expired():
        return (await client.get("/v1/queues/foo")).json["expired"] == 1

    await eventually(expired, "the end of the other")
    assert await order(client) == ["kept"]


@awaiting
async def test_a_job_expires_at_once_by_a_time_in_the_past(client):
    await insert(client, 1, 2)
    assert (await patch(client, "foo:1", {"expires_at": 1})).status == 200
    assert await order(client) == [2]

    async def gone():
        return (await client.get("/v1/jobs/foo:1")).status == 404

    await eventually(gone, "its end")
    view = (await client.get("/v1/queues/foo")).json
    assert (view["expired"], view["ready"]) == (1, 0)


@awaiting
async def test_all_is_changed_at_once(client):
    at, until = round(time.time() + 500, 3), round(time.time() + 5000, 3)
    await insert(client, 1)
    job = await changed(client, "foo:1", run_at=at, priority=8, expires_at=until)
    assert (job["state"], job["priority"]) == ("delayed", 8)
    assert (job["due_at"], job["expires_at"]) == (pytest.approx(at, abs=0.0015), pytest.approx(until, abs=0.0015))


@awaiting
async def test_a_change_leaves_everything_else_as_it_was(client):
    body = b'{"n":1.50, "a":"\xc3\xa9"}'
    options = b'"unique":"k","max_attempts":3,"headers":{"a":"b"},"expires_in":600,"priority":4'
    await client.post("/v1/queues/foo/jobs", b'{"payload":%b,%b}' % (body, options))
    before = await look(client, "foo:1")
    for change in ({"priority": 9}, {"priority": 4}, {"delay": 60}, {"delay": 0}):
        await changed(client, "foo:1", **change)
    after = await look(client, "foo:1")
    assert {**after, "why": 0} == {**before, "why": 0}
    assert b'"payload":' + body in (await client.get("/v1/jobs/foo:1")).body
    assert (await send(client, "queues/foo/jobs", {"payload": 2, "unique": "k"})).json["existing"] == "foo:1"


@awaiting
async def test_attempts_that_failed_are_kept_through_a_change(client):
    await insert(client, 1)
    (job,) = await reserve(client)
    await settle(client, "nack", job, error="broken", delay=600)
    job = await changed(client, "foo:1", priority=9, delay=0)
    assert (job["attempts"], job["last_error"]) == (1, "broken")
    (job,) = await reserve(client)
    assert job["attempt"] == 2


@awaiting
async def test_a_leased_or_dead_job_is_not_changed(client):
    dead = await kill(client, "dead")
    (leased,) = await insert(client, "leased")
    (job,) = await reserve(client)
    before = [await look(client, job_id) for job_id in (dead, leased)]
    for job_id in (dead, leased):
        for change in ({"priority": 9}, {"delay": 60}, {"run_at": 1}, {"expires_at": 1}, {"expires_at": None}):
            is_problem(await patch(client, job_id, change), 409, "wrong-state")
    after = [await look(client, job_id) for job_id in (dead, leased)]
    assert [{**each, "why": 0} for each in after] == [{**each, "why": 0} for each in before]
    assert (await settle(client, "ack", job)).status == 204


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "JSON"),
        (b"x", "JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"{}", "run_at"),
        (b'{"colour":1}', "colour"),
        (b'{"payload":1}', "payload"),
        (b'{"priority":1,"unique":"k"}', "unique"),
        (b'{"priority":10}', "priority"),
        (b'{"priority":-1}', "priority"),
        (b'{"priority":1.5}', "priority"),
        (b'{"priority":"1"}', "priority"),
        (b'{"priority":null}', "priority"),
        (b'{"priority":true}', "priority"),
        (b'{"priority":1e400}', "priority"),
        (b'{"priority":' + b"9" * 400 + b"}", "priority"),
        (b'{"priority":NaN}', "JSON"),
        (b'{"delay":-1}', "delay"),
        (b'{"delay":null}', "delay"),
        (b'{"delay":1e400}', "delay"),
        (b'{"delay":1e99}', "delay"),
        (b'{"run_at":"now"}', "run_at"),
        (b'{"run_at":null}', "run_at"),
        (b'{"run_at":1700000000000}', "run_at"),
        (b'{"expires_at":-1}', "expires_at"),
        (b'{"expires_at":"never"}', "expires_at"),
        (b'{"expires_at":1e400}', "expires_at"),
        (b'{"expires_in":1}', "expires_in"),
        (b'{"delay":1,"run_at":1}', "exclude"),
    ],
    ids=lambda value: repr(value[:32]),
)
@awaiting
async def test_a_wrong_change_is_refused_by_name_and_changes_nothing(client, body, named):
    await insert(client, 1, delay=600, expires_in=6000)
    before = await look(client, "foo:1")
    assert named in is_problem(await patch(client, "foo:1", body), 400, "bad-request")
    assert {**await look(client, "foo:1"), "why": 0} == {**before, "why": 0}


@awaiting
async def test_of_a_member_that_is_there_twice_the_last_value_counts(client):
    await insert(client, 1)
    answer = await patch(client, "foo:1", b'{"priority":1,"priority":8}')
    assert answer.json["priority"] == 8


@awaiting
async def test_a_parameter_of_a_change_is_refused_by_name(client):
    await insert(client, 1, delay=600)
    answer = await client.request("PATCH", "/v1/jobs/foo:1?priority=9", b'{"priority":1}')
    assert "priority" in is_problem(answer, 400, "bad-request")
    assert "force" in is_problem(await client.post("/v1/jobs/foo:1/run-now?force=1"), 400, "bad-request")
    assert (await look(client, "foo:1"))["state"] == "delayed"
