"""Priority and expiry: which job is next by either interface, and which is never handed out."""

import json
import random
import time

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of
from v1 import insert, is_problem, look, reserve, send, settle


async def view(client, queue="foo"):
    return (await client.get(f"/v1/queues/{queue}")).json


async def counts(client, queue="foo"):
    """How many jobs are ready, delayed, leased, dead."""
    seen = await view(client, queue)
    return tuple(seen[state] for state in ("ready", "delayed", "leased", "dead"))


async def order(client, queue="foo"):
    """The payloads of the ready jobs as they are handed out; they are handed out."""
    return [job["payload"] for job in await reserve(client, queue, max=100)]


async def put(client, body):
    return await client.post("/v1/queues/foo/jobs", body if isinstance(body, bytes) else json.dumps(body).encode())


async def becomes(client, **wanted):
    """Wait until the counts of foo are these."""

    async def there():
        seen = await view(client)
        return {name: seen[name] for name in wanted} == wanted

    await eventually(there, str(wanted))


# Priority


@awaiting
async def test_the_larger_priority_is_next_and_among_equal_ones_the_first(client):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    priorities = [chance.randrange(10) for _ in range(60)]
    jobs = [{"payload": n, "priority": priority} for n, priority in enumerate(priorities)]
    await put(client, {"jobs": jobs})
    assert await order(client) == sorted(range(60), key=lambda n: (-priorities[n], n))


@pytest.mark.parametrize("route", ["q", "qb", "reservations"])
@awaiting
async def test_all_routes_hand_out_by_priority_and_5_is_that_of_the_old_routes(client, route):
    await client.post("/q/foo", b'{"n":5}')
    for n in (4, 6, 0, 9):
        await insert(client, {"n": n}, priority=n)
    await insert(client, {"n": 5.5})
    await insert(client, {"n": 5.75}, priority=5)
    expected = [9, 6, 5, 5.5, 5.75, 4, 0]
    assert [json.loads(each)["n"] for each in (await client.get("/status/foo?with_desc=1")).json["jobs"]] == expected
    assert [job["payload"]["n"] for job in (await client.get("/v1/queues/foo/jobs")).json["jobs"]] == expected
    if route == "q":
        taken = [(await client.get("/q/foo")).json for _ in expected]
    elif route == "qb":
        taken = [json.loads(each) for each in (await client.get("/qb/foo")).json]
    else:
        taken = [job["payload"] for job in await reserve(client, max=10)]
    assert [each["n"] for each in taken] == expected


@awaiting
async def test_a_priority_is_seen_wherever_its_job_is(client):
    await insert(client, 1, priority=7, max_attempts=2)
    await insert(client, 2, priority=0, delay=60)
    await insert(client, 3)
    assert [(await look(client, f"foo:{n}"))["priority"] for n in (1, 2, 3)] == [7, 0, 5]
    for state, expected in (("ready", [7, 5]), ("delayed", [0])):
        listed = (await client.get(f"/v1/queues/foo/jobs?state={state}")).json["jobs"]
        assert [job["priority"] for job in listed] == expected
    for state in ("leased", "dead"):
        (job,) = await reserve(client)
        assert (await look(client, "foo:1"))["priority"] == 7
        await settle(client, "nack", job, delay=0, final=state == "dead")
        assert (await look(client, "foo:1"))["priority"] == 7


@awaiting
async def test_jobs_put_back_redriven_or_come_due_stay_within_their_priority(client):
    await insert(client, "low back", priority=2)
    (low,) = await reserve(client)
    await insert(client, "middle dead", max_attempts=1)
    (dead,) = await reserve(client)
    await settle(client, "nack", dead)
    await insert(client, "high waiting", priority=8)
    await insert(client, "middle waiting")
    await insert(client, "low waiting", priority=2)
    await insert(client, "high due", priority=8, delay=0.05)
    await becomes(client, delayed=0)
    await settle(client, "release", low)
    await send(client, "queues/foo/retry-dead", {"all": True})
    expected = ["high due", "high waiting", "middle dead", "middle waiting", "low back", "low waiting"]
    assert await order(client) == expected


@awaiting
async def test_a_job_of_priority_9_is_next_behind_many_of_5(client):
    for _ in range(5):
        await insert(client, *range(1000))
    await insert(client, "first", priority=9)
    assert [job["payload"] for job in await reserve(client)] == ["first"]
    assert (await reserve(client))[0]["payload"] == 0


@awaiting
async def test_a_unique_key_and_a_priority_go_together(client):
    await insert(client, 1, priority=9, unique="k")
    assert (await put(client, {"payload": 2, "unique": "k", "priority": 1})).json["existing"] == "foo:1"
    await reserve(client)
    assert (await put(client, {"payload": 2, "unique": "k", "priority": 1})).status == 201


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ('"priority":10', "priority"),
        ('"priority":-1', "priority"),
        ('"priority":5.5', "priority"),
        ('"priority":5.0', "priority"),
        ('"priority":"5"', "priority"),
        ('"priority":true', "priority"),
        ('"priority":[]', "priority"),
        ('"priority":1e400', "priority"),
        ('"priority":%s' % ("9" * 400), "priority"),
        ('"priority":NaN', "JSON"),
        ('"expires_in":-1', "expires_in"),
        ('"expires_in":"1"', "expires_in"),
        ('"expires_in":true', "expires_in"),
        ('"expires_in":1e99', "expires_in"),
        ('"expires_in":1e400', "expires_in"),
        ('"expires_in":%s' % ("9" * 400), "expires_in"),
        ('"expires_in":Infinity', "JSON"),
        ('"expires_at":-1', "expires_at"),
        ('"expires_at":"now"', "expires_at"),
        ('"expires_at":1700000000000', "expires_at"),
        ('"expires_at":-1e400', "expires_at"),
        ('"expires_in":1,"expires_at":1', "exclude"),
        ('"expires_in":0,"expires_at":0', "exclude"),
        ('"expires":1', "expires"),
        ('"Priority":1', "Priority"),
    ],
    ids=lambda text: text[:24],
)
@awaiting
async def test_a_wrong_field_is_named_and_nothing_is_inserted(client, fields, named):
    for body in ('{"payload":1,%s}', '{"jobs":[{"payload":0},{"payload":1,%s}]}'):
        assert named in is_problem(await put(client, (body % fields).encode()), 400, "bad-request")
    assert (await client.get("/v1/queues/foo")).status == 404


@awaiting
async def test_null_is_the_default_of_each_field(client):
    body = b'{"payload":1,"priority":null,"expires_in":null,"expires_at":null,"headers":null}'
    assert (await put(client, body)).status == 201
    job = await look(client, "foo:1")
    assert (job["priority"], job["headers"], "expires_at" in job) == (5, {}, False)


# Expiry


@awaiting
async def test_an_expiry_counts_from_the_insertion_or_is_a_time(client):
    await insert(client, 1, expires_in=100.5)
    job = await look(client, "foo:1")
    assert job["expires_at"] - job["created_at"] == pytest.approx(100.5, abs=0.0015)
    at = round(time.time() + 1000, 3)
    await insert(client, 2, expires_at=at)
    await insert(client, 3)
    assert (await look(client, "foo:2"))["expires_at"] == pytest.approx(at, abs=0.0015)
    assert "expires_at" not in await look(client, "foo:3")
    listed = (await client.get("/v1/queues/foo/jobs")).json["jobs"]
    assert [job.get("expires_at", 0) > 0 for job in listed] == [True, True, False]


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("route", ["q", "qb", "reservations"])
@awaiting
async def test_a_job_is_handed_out_before_its_time_and_never_after_it(client, route, delayed):
    until = time.time() + 0.4
    later = {"run_at": until + 0.3} if delayed else {}
    await insert(client, *range(20), expires_at=until, **later)
    await insert(client, "lasting", **later)
    await becomes(client, expired=20, ready=1)
    if route == "q":
        taken = [(await client.get("/q/foo?wait=5")).json]
    elif route == "qb":
        taken = [json.loads(each) for each in (await client.get("/qb/foo?wait=5")).json]
    else:
        taken = [job["payload"] for job in await reserve(client, max=50, wait=5)]
    assert taken == ["lasting"]
    assert (await client.get("/v1/jobs/foo:1")).status == 404


@awaiting
async def test_no_expired_job_is_handed_out_with_the_mover_off(redises):
    daemon = daemon_on(redises().url, tick="60")
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    try:
        kinds = ({}, {"priority": 9}, {"priority": 1}, {"delay": 0.01}, {"unique": "k"})
        for n, options in enumerate(kinds):
            await insert(client, "over", queue=f"q{n}", expires_in=0.05, **options)
            await insert(client, "lasting", queue=f"q{n}")
        inserted = (await client.get("/v1")).json["now"]

        async def over():
            return (await client.get("/v1")).json["now"] > inserted + 0.1

        await eventually(over, "the time")
        for n in range(len(kinds)):
            assert await order(client, f"q{n}") == ["lasting"]
    finally:
        await client.close()
        await daemon.stopService()


@awaiting
async def test_a_job_that_is_already_over_is_accepted_and_not_handed_out(client):
    for options in ({"expires_in": 0}, {"expires_at": 1}, {"expires_at": 0}):
        await insert(client, "over", **options)
    assert await reserve(client) == []
    assert (await client.get("/q/foo")).status == 404
    await becomes(client, ready=0, expired=3, inserted=3)


@awaiting
async def test_what_is_leased_is_not_touched_by_its_expiry_until_it_comes_back(client):
    await insert(client, *range(3), expires_in=0.3)
    first, second, third = await reserve(client, max=3)
    now = (await client.get("/v1")).json["now"]

    async def over():
        return (await client.get("/v1")).json["now"] > now + 0.5

    await eventually(over, "the time")
    assert await counts(client) == (0, 0, 3, 0)
    assert (await settle(client, "extend", first, lease=60)).status == 200
    assert (await settle(client, "ack", first)).status == 204
    assert (await settle(client, "nack", second, delay=0)).status == 200
    assert (await settle(client, "release", third)).status == 204
    assert await reserve(client) == []
    await becomes(client, ready=0, delayed=0, leased=0, acked=1, expired=2)


@awaiting
async def test_a_job_expires_between_two_tries(client):
    await insert(client, 1, expires_in=0.3)
    (job,) = await reserve(client)
    assert (await settle(client, "nack", job, delay=600)).json["state"] == "delayed"
    await becomes(client, delayed=0, expired=1)


@awaiting
async def test_an_expired_job_frees_its_unique_key_and_its_place(client):
    await client.request("PATCH", "/v1/queues/foo", b'{"max_length":1}')
    await insert(client, 1, unique="k", expires_in=0.1)
    is_problem(await put(client, {"payload": 2}), 429, "queue-full")
    await becomes(client, expired=1)
    assert (await put(client, {"payload": 2, "unique": "k"})).status == 201


@awaiting
async def test_with_the_setting_an_expired_job_is_dead_and_dies_again_when_it_is_retried(client):
    await client.request("PATCH", "/v1/queues/foo", b'{"expired":"dead"}')
    await insert(client, 1, expires_in=0.05, headers={"a": "b"}, priority=3)
    await becomes(client, ready=0, dead=1, died=1, expired=0)
    job = await look(client, "foo:1")
    assert (job["state"], job["attempts"], job["priority"], job["headers"]) == ("dead", 0, 3, {"a": "b"})
    assert job["died_at"] >= job["expires_at"]
    assert job["why"]["code"] == "dead"
    assert "expire" in job["why"]["text"]
    for times, (path, body) in enumerate((("queues/foo/retry-dead", {"all": True}), ("jobs/foo:1/run-now", None)), 2):
        assert (await send(client, path, body)).status == 200
        assert await reserve(client) == []
        await becomes(client, ready=0, dead=1, died=times, expired=0)
    await client.request("PATCH", "/v1/queues/foo", b'{"expired":"drop"}')
    await insert(client, 2, expires_in=0.05)
    await becomes(client, ready=0, dead=1, died=3, expired=1)


@awaiting
async def test_a_stopped_queue_lets_its_jobs_expire(client):
    await send(client, "queues/foo/pause")
    await insert(client, 1, expires_in=0.05)
    await becomes(client, ready=0, expired=1)


@pytest.mark.parametrize("value", ["delete", "", "Dead", 1, True, ["dead"]])
@awaiting
async def test_a_wrong_choice_is_refused_by_name(client, value):
    await insert(client, 1)
    answer = await client.request("PATCH", "/v1/queues/foo", json.dumps({"expired": value}).encode())
    assert "expired" in is_problem(answer, 400, "bad-request")
    assert (await view(client))["settings"]["expired"] == "drop"
