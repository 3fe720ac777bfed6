"""The counters of a queue: every job that was inserted is there, or is counted where it ended."""

import random

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from v1 import insert, reserve, send, settle

ENDS = ("delivered", "acked", "expired", "deleted")
STATES = ("ready", "delayed", "leased", "dead")
COUNTERS = ("inserted", *ENDS, "died", "failed")


async def counters(client, queue="foo"):
    """The counters that are not 0, after a look that none is lost."""
    seen = (await client.get(f"/v1/queues/{queue}")).json
    assert seen["inserted"] == sum(seen[name] for name in (*ENDS, *STATES))
    return {name: seen[name] for name in COUNTERS if seen[name]}


async def become(client, **wanted):
    """Wait until the counters of foo are these, as those of deliveries are once they have arrived."""

    async def there():
        return await counters(client) == wanted

    await eventually(there, str(wanted))


async def listed(client):
    """How many jobs the lists have."""
    pages = {state: (await client.get(f"/v1/queues/foo/jobs?state={state}&limit=1000")).json for state in STATES}
    return {state: len(page["jobs"]) for state, page in pages.items()}


async def in_each_state(client):
    """A job in each state: foo:1 dead, foo:2 leased, foo:3 delayed, foo:4 ready. Returns that which is leased."""
    await insert(client, "dead", max_attempts=1)
    for job in await reserve(client):
        await settle(client, "nack", job)
    await insert(client, "leased")
    (leased,) = await reserve(client)
    await insert(client, "delayed", delay=60)
    await insert(client, "ready")
    return leased


@awaiting
async def test_a_new_queue_has_counted_nothing(client):
    await client.request("PATCH", "/v1/queues/foo", b"{}")
    assert await counters(client) == {}
    assert set(COUNTERS) < set((await client.get("/v1/queues/foo")).json)
    assert set(COUNTERS) < set((await client.get("/v1/queues")).json["queues"][0])


@awaiting
async def test_every_insertion_is_counted_once(client):
    await insert(client, 1, 2, 3)
    await insert(client, 4, delay=60)
    await insert(client, 5, priority=9, headers={"a": "b"}, expires_in=600, unique="k")
    await send(client, "queues/foo/jobs", {"payload": 5, "unique": "k"})
    await send(client, "queues/foo/jobs", {"payload": 6, "colour": 1})
    await client.post("/q/foo", b"{}")
    await client.post("/qb/foo", b'{"jobs":[{},{}]}')
    for _ in range(2):
        await client.post("/v1/queues/foo/jobs", b'{"payload":1}', Idempotency_Key="k")
    assert await counters(client) == {"inserted": 9}


@awaiting
async def test_what_is_fetched_for_good_is_delivered_and_what_is_put_back_failed(client):
    await insert(client, {"n": 1}, {"n": 2}, {"n": 3})
    await insert(client, {"n": 4}, priority=9)
    await insert(client, {"n": 5}, expires_in=600)
    assert (await client.get("/q/foo")).status == 200
    assert len((await client.get("/qb/foo?batch_size=2")).json) == 2
    await become(client, inserted=5, delivered=3)
    await client.get("/qb/foo")
    await become(client, inserted=5, delivered=5)
    await client.put("/q/foo", b"{}")
    await become(client, inserted=6, delivered=5, failed=1)


@awaiting
async def test_what_is_kept_for_a_worker_is_acked_when_it_comes_again(client):
    await client.request("PATCH", "/v1/queues/foo", b'{"redeliver_after":600}')
    await insert(client, 1, 2)
    await client.get("/q/foo?worker_id=w")
    await client.get("/q/foo?worker_id=w")
    seen = await counters(client)
    assert seen["inserted"] == 2
    assert seen.get("acked", 0) + seen.get("delivered", 0) == 1


@awaiting
async def test_leases_end_acked_failed_and_dead(client):
    await insert(client, *range(4), max_attempts=2)
    first, second, third, fourth = await reserve(client, max=4)
    await settle(client, "ack", first)
    await settle(client, "ack", first)
    await settle(client, "release", second)
    await settle(client, "nack", third, delay=600)
    await settle(client, "nack", third, delay=600)
    await settle(client, "nack", fourth, final=True)
    assert await counters(client) == {"inserted": 4, "acked": 1, "failed": 2, "died": 1}
    await send(client, "queues/foo/retry-dead", {"all": True})
    assert await counters(client) == {"inserted": 4, "acked": 1, "failed": 2, "died": 1}


@awaiting
async def test_a_lease_that_runs_out_failed_and_may_be_a_death(client):
    await insert(client, 1, max_attempts=1)
    await reserve(client, lease=0.05)
    await become(client, inserted=1, failed=1, died=1)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@awaiting
async def test_a_job_that_is_deleted_in_any_state_is_counted(client, n):
    await in_each_state(client)
    for _ in range(2):
        await client.delete(f"/v1/jobs/foo:{n}")
    assert await counters(client) == {"inserted": 4, "deleted": 1, "failed": 1, "died": 1}


@pytest.mark.parametrize("state", [*STATES, "all"])
@awaiting
async def test_jobs_that_are_purged_are_deleted(client, state):
    await in_each_state(client)
    purged = (await send(client, "queues/foo/purge", {"state": state})).json["purged"]
    assert await counters(client) == {"inserted": 4, "deleted": purged, "failed": 1, "died": 1}


@awaiting
async def test_the_dead_that_are_forgotten_are_deleted(client):
    await client.request("PATCH", "/v1/queues/foo", b'{"dead_keep":{"count":2}}')
    await insert(client, *range(5), max_attempts=1)
    for job in await reserve(client, max=5):
        await settle(client, "nack", job)
    await become(client, inserted=5, failed=5, died=5, deleted=3)


@awaiting
async def test_what_expires_is_counted_apart_and_as_a_death_with_the_setting(client):
    await insert(client, 1, 2, expires_in=0.05)
    await become(client, inserted=2, expired=2)
    await client.request("PATCH", "/v1/queues/foo", b'{"expired":"dead"}')
    await insert(client, 3, expires_in=0.05)
    await become(client, inserted=3, expired=2, died=1)
    await send(client, "queues/foo/purge", {"state": "dead"})
    await become(client, inserted=3, expired=2, died=1, deleted=1)


@awaiting
async def test_the_counters_end_with_their_queue(client):
    await in_each_state(client)
    await client.delete("/v1/queues/foo")
    await insert(client, 1)
    assert await counters(client) == {"inserted": 1}


@awaiting
async def test_the_counters_of_2010_are_as_they_were(client):
    await insert(client, 1, 2, max_attempts=1)
    (job,) = await reserve(client)
    await settle(client, "nack", job)
    await client.get("/q/foo")
    await client.put("/q/foo", b"{}")
    seen = (await client.get("/j/foo")).json
    assert seen == {"queue_name": "foo", "job_count": 1, "job_failed": 2, "job_processed": 2}


@awaiting
async def test_whatever_happens_no_job_is_uncounted(client):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    held = []

    async def put():
        options = chance.choice([{}, {"priority": chance.randrange(10)}, {"delay": 0.01}, {"expires_in": 0.02}])
        await insert(client, *range(chance.randrange(1, 4)), **options, max_attempts=chance.randrange(1, 3))

    async def lease():
        held.extend(await reserve(client, max=3, lease=chance.choice([0.02, 60])))

    async def end():
        if held:
            await settle(client, chance.choice(["ack", "nack", "release"]), held.pop(chance.randrange(len(held))))

    async def fetch():
        await client.get("/qb/foo?batch_size=2")

    async def delete():
        await client.delete(f"/v1/jobs/foo:{chance.randrange(1, 80)}")

    async def run():
        await send(client, f"jobs/foo:{chance.randrange(1, 80)}/run-now")

    async def change():
        change = chance.choice([b'{"priority":9}', b'{"delay":0.01}', b'{"expires_at":1}', b'{"expires_at":null}'])
        await client.request("PATCH", f"/v1/jobs/foo:{chance.randrange(1, 80)}", change)

    async def tidy():
        body = chance.choice([{"state": "dead"}, {"state": "ready", "match": {"older_than": 0.1}}])
        await send(client, "queues/foo/purge", body)
        await send(client, "queues/foo/retry-dead", {"limit": 2})

    async def choose():
        await client.request("PATCH", "/v1/queues/foo", b'{"expired":"%b"}' % chance.choice([b"drop", b"dead"]))

    await put()
    for _ in range(200):
        await chance.choice([put, put, put, lease, end, fetch, delete, run, change, tidy, choose])()

        async def counted():
            seen = (await client.get("/v1/queues/foo")).json
            whole = seen["inserted"] == sum(seen[name] for name in (*ENDS, *STATES))
            return whole and {state: seen[state] for state in STATES} == await listed(client)

        await eventually(counted, "the end of what is held, and lists of as many as are counted")
