"""Reservations and what their holders do: ack, nack, release, extend, vanish, or sleep until the lease runs out."""

import json
import random
import signal

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, departed, eventually, port_of, raw_connection
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from v1 import insert, is_problem, look, reserve, send, settle

SHORT = 0.05  # seconds of a lease that is to run out
KEYS = "presque:{0}:foo:"


def begin(coroutine):
    return Deferred.fromCoroutine(coroutine)


async def one(client, queues="foo", **asked):
    (job,) = await reserve(client, queues, **asked)
    return job


async def configure(client, queue="foo", **settings):
    assert (await client.request("PATCH", f"/v1/queues/{queue}", json.dumps(settings).encode())).status == 200


async def state_of(client, job_id, state):
    """Wait until a job is in that state; the job."""

    async def there():
        job = await look(client, job_id)
        return job if job.get("state") == state else None

    return await eventually(there, f"{job_id} {state}")


async def hasten(client):
    """Make what is delayed ready now."""
    for job in (await client.get("/v1/queues/foo/jobs?state=delayed")).json["jobs"]:
        assert (await send(client, f"jobs/{job['id']}/run-now")).status == 200


def now(redis):
    seconds, micros = redis.command("TIME")
    return int(seconds) + int(micros) / 1e6


async def waiters(daemon, count):
    async def all_there():
        return len(daemon.waiting) == count

    await eventually(all_there, f"{count} waiters")


# Reserving


@awaiting
async def test_a_reservation_tells_all_that_its_holder_needs(client, redis):
    await insert(client, {"n": 1.5}, max_attempts=3)
    before = now(redis)
    answer = await client.post("/v1/queues/foo/reservations", b'{"lease":30}')
    after = now(redis)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    (job,) = answer.json["jobs"]
    fields = "id queue payload headers receipt attempt max_attempts created_at lease lease_expires_at"
    assert list(job) == fields.split()
    assert (job["id"], job["queue"], job["payload"]) == ("foo:1", "foo", {"n": 1.5})
    assert (job["attempt"], job["max_attempts"]) == (1, 3)
    assert before - 0.001 <= job["lease_expires_at"] - 30 <= after
    assert job["lease"] == 30
    assert before - 5 <= job["created_at"] <= before
    seen = await look(client, "foo:1")
    assert (seen["state"], seen["attempts"]) == ("leased", 0)
    assert seen["lease_expires_at"] == job["lease_expires_at"]


@awaiting
async def test_a_lease_is_sixty_seconds_unless_the_queue_or_the_request_says_otherwise(client, redis):
    await insert(client, 1, 2, 3)

    async def length(**asked):
        return (await one(client, **asked))["lease_expires_at"] - now(redis)

    assert 59 < await length() <= 60
    await configure(client, lease=7.5)
    assert 6.5 < await length() <= 7.5
    assert 1.5 < await length(lease=2.5) <= 2.5


@awaiting
async def test_up_to_max_jobs_come_in_their_order_under_receipts_of_their_own_reservation(client):
    await insert(client, *range(150))
    first, second = await reserve(client, max=100), await reserve(client, max=100)
    assert [job["payload"] for job in first] == list(range(100))
    assert [job["payload"] for job in second] == list(range(100, 150))
    assert not {job["receipt"] for job in first} & {job["receipt"] for job in second}
    assert await reserve(client) == []


@awaiting
async def test_without_a_body_one_job_is_reserved_and_without_jobs_the_list_is_empty(client):
    await insert(client, 1, 2)
    assert len((await client.post("/v1/queues/foo/reservations")).json["jobs"]) == 1
    await reserve(client)
    answer = await client.post("/v1/queues/foo/reservations")
    assert (answer.status, answer.body) == (200, b'{"jobs":[]}')


@awaiting
async def test_the_first_of_several_queues_that_has_jobs_wins(client):
    await insert(client, "b1", "b2", queue="b")
    await insert(client, "c1", queue="c")
    assert [job["payload"] for job in await reserve(client, "a,b,c", max=10)] == ["b1", "b2"]
    await insert(client, "a1", queue="a")
    jobs = [await one(client, "c,a") for _ in range(2)]
    assert [(job["queue"], job["id"].split(":")[0]) for job in jobs] == [("c", "c"), ("a", "a")]
    assert await reserve(client, "a,b,c") == []


@awaiting
async def test_a_stopped_queue_hands_nothing_out_and_the_next_one_does(client):
    await insert(client, 1)
    await insert(client, 2, queue="bar")
    await send(client, "queues/foo/pause")
    assert await reserve(client) == []
    assert await reserve(client, wait=0.05) == []
    assert (await one(client, "foo,bar"))["payload"] == 2
    await send(client, "queues/foo/resume")
    assert (await one(client))["payload"] == 1


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"max":0}', "max"),
        (b'{"max":101}', "max"),
        (b'{"max":"1"}', "max"),
        (b'{"lease":0}', "lease"),
        (b'{"lease":604801}', "lease"),
        (b'{"lease":"60"}', "lease"),
        (b'{"wait":-1}', "wait"),
        (b'{"worker_id":1}', "worker_id"),
        (b'{"worker_id":""}', "worker_id"),
        (b'{"worker_id":"a\\nb"}', "worker_id"),
        (b'{"worker":"w"}', "worker"),
        (b"[]", "object"),
        (b"{", "JSON"),
    ],
)
@awaiting
async def test_a_wrong_reservation_is_refused_by_name_and_takes_nothing(client, body, named):
    await insert(client, 1)
    assert named in is_problem(await client.post("/v1/queues/foo/reservations", body), 400, "bad-request")
    assert (await look(client, "foo:1"))["state"] == "ready"


@pytest.mark.parametrize("names", ["foo,", ",foo", "foo,,foo", "foo,.bar", "foo, bar", "foo;bar"])
@awaiting
async def test_one_bad_name_among_the_queues_refuses_all(client, names):
    await insert(client, 1)
    answer = await client.post(f"/v1/queues/{names.replace(' ', '%20')}/reservations")
    is_problem(answer, 400, "invalid-name")
    assert (await look(client, "foo:1"))["state"] == "ready"


@awaiting
async def test_a_reservation_counts_on_queue_and_worker(client):
    for worker in ("w1", "w2"):
        await client.post(f"/w/foo?worker_id={worker}")
    await insert(client, *range(6))
    await reserve(client, max=3, worker_id="w1")
    await reserve(client, max=2)
    await client.post("/v1/queues/foo/reservations?worker_id=w2", b'{"worker_id":"w1"}')
    assert (await client.get("/j/foo")).json["job_processed"] == 6
    assert (await client.get("/w/?worker_id=w1")).json["processed"] == "3"
    assert (await client.get("/w/?worker_id=w2")).json["processed"] == "1"
    assert (await client.get("/w/?queue_name=foo")).json["workers_list"] == ["w1", "w2"]


# Waiting


async def by_insertion(client, redis):
    await insert(client, "woken")


async def by_a_delayed_job(client, redis):
    await insert(client, "woken", delay=0.15)


async def by_a_2010_insertion(client, redis):
    await client.post("/q/foo", b'"woken"'.join([b'{"a":', b"}"]))


async def by_a_retry(client, redis):
    job = redis.held
    assert (await settle(client, "nack", job, delay=0.1)).json["state"] == "delayed"


async def by_a_release(client, redis):
    await settle(client, "release", redis.held)


async def by_a_run_out_lease(client, redis):
    await settle(client, "extend", redis.held, lease=SHORT)


async def by_a_retry_of_the_dead(client, redis):
    await settle(client, "nack", redis.held)
    assert (await send(client, "queues/foo/retry-dead", {"limit": 1})).json["moved"] == 1


HELD = {by_a_retry: 3, by_a_release: 3, by_a_run_out_lease: 3, by_a_retry_of_the_dead: 1}
WAKERS = [by_insertion, by_a_delayed_job, by_a_2010_insertion, *HELD]


@pytest.mark.parametrize("wake", WAKERS, ids=lambda wake: wake.__name__)
@pytest.mark.parametrize("queues", ["foo", "bar,foo,baz"])
@awaiting
async def test_whoever_waits_is_woken(daemon, client, redis, wake, queues):
    if wake in HELD:
        await insert(client, "woken", max_attempts=HELD[wake])
        redis.held = await one(client)
    waiting = begin(one(client, queues, wait=30))
    await waiters(daemon, 1)
    began = reactor.seconds()
    await wake(client, redis)
    job = await waiting
    assert job["payload"] in ("woken", {"a": "woken"})
    assert reactor.seconds() - began < 1.5
    await waiters(daemon, 0)


@awaiting
async def test_resuming_wakes(daemon, client):
    await insert(client, 1)
    await send(client, "queues/foo/pause")
    waiting = begin(one(client, wait=30))
    await waiters(daemon, 1)
    await send(client, "queues/foo/resume")
    assert (await waiting)["payload"] == 1


@awaiting
async def test_a_wait_ends_with_an_empty_list(daemon, client):
    began = reactor.seconds()
    assert await reserve(client, "foo,bar", wait=0.15) == []
    assert 0.15 <= reactor.seconds() - began < 5
    assert len(daemon.waiting) == 0


@awaiting
async def test_of_jobs_in_several_queues_at_once_a_waiting_consumer_gets_one_and_the_others_stay(daemon, client):
    waiting = begin(reserve(client, "a,b,c", wait=30))
    await waiters(daemon, 1)
    await gatherResults([begin(insert(client, name, queue=name)) for name in "abc"])
    (got,) = await waiting

    async def others():
        counts = [(await client.get(f"/v1/queues/{name}")).json for name in "abc"]
        return [sum(each[key] for each in counts) for key in ("ready", "leased", "processed")] == [2, 1, 1]

    await eventually(others, "the other two")
    rest = [await one(client, "a,b,c") for _ in range(2)]
    assert sorted(job["payload"] for job in (got, *rest)) == ["a", "b", "c"]
    assert {job["attempt"] for job in rest} == {1}


# Ack


@awaiting
async def test_an_acked_job_is_gone_and_acking_may_be_repeated(client, redis):
    await insert(client, 1)
    job = await one(client)
    for _ in range(3):
        answer = await settle(client, "ack", job)
        assert (answer.status, answer.body) == (204, b"")
    assert (await client.get("/v1/jobs/foo:1")).status == 404
    left = {key.decode().removeprefix(KEYS) for key in redis.command("KEYS", f"{KEYS}*")}
    assert left == {"q", "acked"}


@awaiting
async def test_a_receipt_that_was_never_given_is_refused_by_every_verb(client):
    await insert(client, 1)
    for state in ("ready", "leased"):
        job = await one(client) if state == "leased" else {}
        for verb in ("ack", "nack", "release", "extend"):
            for receipt in ("x", "l", "h", "None", "\x00", "é" * 100):
                answer = await settle(client, verb, {"id": "foo:1", "receipt": receipt})
                assert is_problem(answer, 409, "lease-lost") == "the receipt is no longer the job's"
        assert (await look(client, "foo:1"))["state"] == state
    assert (await settle(client, "ack", job)).status == 204


@awaiting
async def test_a_settled_job_takes_no_other_outcome_under_its_receipt(client):
    await configure(client, backoff={"first": 0})
    for verb in ("nack", "release"):
        await client.post("/v1/queues/foo/purge", b'{"state":"all"}')
        (job_id,) = await insert(client, 1)
        job = await one(client)
        assert (await settle(client, verb, job)).status in (200, 204)
        for again in {"ack", "nack", "release", "extend"} - {verb}:
            is_problem(await settle(client, again, job), 409, "lease-lost")
        assert (await look(client, job_id))["attempts"] == (verb == "nack")
    await settle(client, "ack", job := await one(client))
    for other in ("nack", "release"):
        is_problem(await settle(client, other, job), 409, "lease-lost")


@awaiting
async def test_a_stale_receipt_is_refused_even_after_another_worker_acked_the_job(client):
    await insert(client, 1)
    slow = await one(client, lease=SHORT)
    await state_of(client, "foo:1", "ready")
    is_problem(await settle(client, "ack", slow), 409, "lease-lost")
    quick = await one(client)
    is_problem(await settle(client, "ack", slow), 409, "lease-lost")
    assert (await settle(client, "ack", quick)).status == 204
    is_problem(await settle(client, "ack", slow), 409, "lease-lost")
    assert (await settle(client, "ack", quick)).status == 204


@awaiting
async def test_after_a_deletion_every_verb_finds_nothing(client):
    for path in ("/v1/jobs/{}", "/v1/queues/foo"):
        (job_id,) = await insert(client, 1)
        job = await one(client)
        assert (await client.delete(path.format(job_id))).status == 204
        for verb in ("ack", "nack", "release", "extend"):
            is_problem(await settle(client, verb, job), 404, "not-found")


@pytest.mark.parametrize(
    "job_id", ["foo:2", "bar:1", "foo", "foo:", ":1", "foo:x", "foo:-1", "foo:1.0", "foo:" + "9" * 99]
)
@awaiting
async def test_a_job_that_never_was_is_not_found(client, job_id):
    await insert(client, 1)
    job = {**await one(client), "id": job_id}
    for verb in ("ack", "nack", "release", "extend"):
        is_problem(await settle(client, verb, job), 404, "not-found")


@pytest.mark.parametrize("take", ["/q/foo", "/v1/queues/foo/reservations"])
@awaiting
async def test_whoever_waits_is_woken_when_a_fetch_finds_more_than_it_asked_for(redises, monkeypatch, take):
    """Jobs come due, or their leases run out, and a fetch moves them all before the mover: nobody else will tell."""
    monkeypatch.setattr("presque.jobs.waiters.POLL", 600.0)
    redis, daemon, client = await with_slow_mover(redises)

    async def has_looked():
        """Else its first look may find what is there."""
        return not any(connection.owed for connection in daemon.store.topology.connections)

    for way in ("come due", "run out"):
        if way == "run out":
            await insert(client, 1, 2)
            leased, _ = await reserve(client, max=2, lease=1)
        waiting = begin(client.get("/q/foo?wait=60"))
        await waiters(daemon, 1)
        await eventually(has_looked, "the waiter's first look")
        if way == "come due":
            await insert(client, 1, 2, delay=SHORT)
        else:
            await passed(redis, leased["lease_expires_at"])

        async def both_are_ready():
            return (await client.get("/v1/queues/foo")).json["ready"] == 2

        if way == "come due":
            await eventually(both_are_ready, "the time of both")
        answer = await client.post(take) if take.startswith("/v1") else await client.get(take)
        assert answer.status == 200
        assert (await waiting).body == b"2"
    await client.close()
    await daemon.stopService()


@pytest.mark.parametrize("verb", ["ack", "nack", "release", "extend"])
@awaiting
async def test_a_wrong_settlement_is_refused_by_name_and_changes_nothing(client, verb):
    await insert(client, 1)
    job = await one(client)
    wrong = {
        "receipt": [{}, {"receipt": 1}, {"receipt": ""}],
        "what": [{"receipt": "x", "what": 1}],
        "delay": [{"receipt": job["receipt"], "delay": -1}, {"receipt": job["receipt"], "delay": "1"}],
        "lease": [{"receipt": job["receipt"], "lease": 0}],
        "error": [{"receipt": job["receipt"], "error": 1}, {"receipt": job["receipt"], "error": []}],
        "final": [{"receipt": job["receipt"], "final": 1}],
    }
    for field, bodies in wrong.items():
        for body in bodies:
            assert field in is_problem(await send(client, "jobs/foo:1/" + verb, body), 400, "bad-request")
    is_problem(await client.post(f"/v1/jobs/foo:1/{verb}"), 400, "bad-request")
    assert (await settle(client, "ack", job)).status == 204


# Nack


@awaiting
async def test_a_nacked_job_waits_for_its_next_try(client, redis):
    await insert(client, 1)
    job = await one(client)
    before = now(redis)
    answer = await settle(client, "nack", job, error="no way: é", delay=100)
    assert (answer.status, answer.json["state"]) == (200, "delayed")
    assert before - 0.001 <= answer.json["due_at"] - 100 <= now(redis)
    seen = await look(client, "foo:1")
    assert (seen["state"], seen["due_at"]) == ("delayed", answer.json["due_at"])
    assert (seen["attempts"], seen["last_error"]) == (1, "no way: é")
    (failure,) = seen["history"]
    assert (failure["attempt"], failure["error"]) == (1, "no way: é")
    assert before - 0.001 <= failure["at"] <= now(redis)
    assert (await client.get("/j/foo")).json["job_failed"] == 1
    assert await reserve(client) == []
    await hasten(client)
    assert (await one(client))["attempt"] == 2


@awaiting
async def test_a_delay_of_nothing_is_the_next_try_at_once(client):
    await insert(client, 1)
    await settle(client, "nack", await one(client), delay=0)
    assert (await one(client))["attempt"] == 2


async def delays(client, redis, attempts):
    """The seconds for which a job waits after each of its attempts."""
    found = []
    for _ in range(attempts):
        job = await one(client)
        before = now(redis)
        answer = (await settle(client, "nack", job)).json
        found.append((answer["due_at"] - now(redis), answer["due_at"] - before))
        await hasten(client)
    return found


@awaiting
async def test_the_usual_back_off_is_five_seconds_doubling_and_the_fifth_attempt_is_the_last(client, redis):
    await insert(client, 1)
    for (least, most), usual in zip(await delays(client, redis, 4), (5, 10, 20, 40), strict=True):
        assert 0.8 * usual - 0.002 <= most
        assert least <= 1.2 * usual
    job = await one(client)
    assert (job["attempt"], job["max_attempts"]) == (5, 5)
    answer = await settle(client, "nack", job)
    assert (answer.status, answer.body) == (200, b'{"state":"dead"}')


@awaiting
async def test_the_usual_back_off_ends_at_an_hour(client, redis):
    await insert(client, 1, max_attempts=16)
    found = await delays(client, redis, 15)
    assert 0.8 * 2560 - 1 <= found[9][1] <= 1.2 * 2560 + 1
    assert all(0.8 * 3600 - 1 <= most <= 1.2 * 3600 + 1 for _, most in found[10:])


@awaiting
async def test_a_queue_has_its_own_back_off(client, redis):
    await configure(client, max_attempts=6, backoff={"first": 100, "factor": 3, "max": 500})
    await insert(client, 1)
    for (least, most), usual in zip(await delays(client, redis, 5), (100, 300, 500, 500, 500), strict=True):
        assert 0.8 * usual - 0.002 <= most
        assert least <= 1.2 * usual


@awaiting
async def test_back_off_is_spread_by_a_fifth_either_way(client, redis):
    await insert(client, *range(100))
    said = [{"id": job["id"], "receipt": job["receipt"], "outcome": "nack"} for job in await reserve(client, max=100)]
    before = now(redis)
    results = (await send(client, "settlements", {"settlements": said})).json["results"]
    waits = [each["due_at"] - before for each in results]
    assert 4 - 0.002 <= min(waits) < 4.5
    assert 5.5 < max(waits) <= 6 + now(redis) - before


@awaiting
async def test_no_number_of_attempts_breaks_the_back_off(client, failures):
    await configure(client, max_attempts=1000, backoff={"first": 0, "factor": 100, "max": 0})
    await insert(client, 1)
    for attempt in range(1, 171):
        job = await one(client)
        assert job["attempt"] == attempt
        assert (await settle(client, "nack", job)).status == 200, attempt
    assert failures == []


@awaiting
async def test_after_its_own_last_attempt_a_job_is_dead(client, redis):
    await insert(client, 1, max_attempts=2)
    await insert(client, 2, max_attempts=1)
    first, second = await reserve(client, max=2)
    assert (await settle(client, "nack", first, delay=0)).json["state"] == "delayed"
    before = now(redis)
    assert (await settle(client, "nack", second, delay=0)).json == {"state": "dead"}
    dead = await look(client, "foo:2")
    assert (dead["state"], dead["attempts"], dead["max_attempts"]) == ("dead", 1, 1)
    assert before - 0.001 <= dead["died_at"] <= now(redis)
    assert (await settle(client, "nack", await one(client), error="again")).json == {"state": "dead"}
    assert (await look(client, "foo:1"))["last_error"] == "again"
    assert await reserve(client) == []
    is_problem(await settle(client, "ack", second), 409, "lease-lost")


@awaiting
async def test_the_last_ten_failures_of_a_job_are_told(client):
    await insert(client, 1, max_attempts=50)
    for n in range(1, 14):
        await settle(client, "nack", await one(client), error=f"failure {n}", delay=0)
    job = await look(client, "foo:1")
    assert (job["attempts"], job["last_error"]) == (13, "failure 13")
    assert [(each["attempt"], each["error"]) for each in job["history"]] == [(n, f"failure {n}") for n in range(4, 14)]


@awaiting
async def test_of_a_long_error_the_beginning_is_kept(client):
    await insert(client, 1)
    await settle(client, "nack", await one(client), error="é" * 5000)
    assert (await look(client, "foo:1"))["last_error"] == "é" * 1000


@awaiting
async def test_a_unique_key_is_the_jobs_again_while_it_waits_for_its_next_try(client):
    await insert(client, 1, unique="k")
    await settle(client, "nack", await one(client), delay=60)
    assert (await send(client, "queues/foo/jobs", {"payload": 2, "unique": "k"})).json["existing"] == "foo:1"


# Release


@awaiting
async def test_a_released_job_goes_to_the_front_and_its_attempt_is_not_counted(client):
    await insert(client, 1, 2, 3)
    first, second = await reserve(client, max=2)
    for job in (second, first):
        answer = await settle(client, "release", job)
        assert (answer.status, answer.body) == (204, b"")
    jobs = await reserve(client, max=3)
    assert [(job["payload"], job["attempt"]) for job in jobs] == [(1, 1), (2, 1), (3, 1)]
    assert (await client.get("/j/foo")).json["job_failed"] == 0


@awaiting
async def test_a_released_job_may_wait(client, redis):
    await insert(client, 1)
    before = now(redis)
    assert (await settle(client, "release", await one(client), delay=50)).status == 204
    job = await look(client, "foo:1")
    assert (job["state"], job["attempts"]) == ("delayed", 0)
    assert before - 0.001 <= job["due_at"] - 50 <= now(redis)
    await hasten(client)
    assert (await one(client))["attempt"] == 1


@awaiting
async def test_a_release_does_not_forget_the_failures_before_it(client):
    await insert(client, 1)
    await settle(client, "nack", await one(client), error="first", delay=0)
    await settle(client, "release", await one(client))
    assert (await one(client))["attempt"] == 2
    assert (await look(client, "foo:1"))["last_error"] == "first"


# Extend


@awaiting
async def test_an_extended_lease_begins_anew_under_the_same_receipt(client, redis):
    await configure(client, lease=40)
    await insert(client, 1)
    job = await one(client, lease=10)
    for lease, said in ((100, {"lease": 100}), (5.5, {"lease": 5.5}), (40, {})):
        before = now(redis)
        answer = await settle(client, "extend", job, **said)
        assert (answer.status, list(answer.json)) == (200, ["lease", "lease_expires_at"])
        assert answer.json["lease"] == lease
        ends_at = answer.json["lease_expires_at"]
        assert before - 0.001 <= ends_at - lease <= now(redis)
        assert (await look(client, "foo:1"))["lease_expires_at"] == ends_at
    assert (await settle(client, "ack", job)).status == 204
    is_problem(await settle(client, "extend", job), 404, "not-found")


@awaiting
async def test_a_lease_that_is_extended_again_and_again_does_not_run_out(client):
    await insert(client, 1)
    job = await one(client, lease=2)
    ends = reactor.seconds() + 2.5

    async def worked():
        assert (await settle(client, "extend", job, lease=2)).status == 200
        return reactor.seconds() > ends

    await eventually(worked)
    assert (await settle(client, "ack", job)).status == 204


@awaiting
async def test_a_lease_that_was_shortened_runs_out_then(client):
    await insert(client, 1)
    job = await one(client, lease=600)
    await settle(client, "extend", job, lease=SHORT)
    await state_of(client, "foo:1", "ready")
    is_problem(await settle(client, "extend", job), 409, "lease-lost")


# Settlements


@awaiting
async def test_settlements_tell_of_each_job_what_became_of_it(client, redis):
    await insert(client, 1, 2, 3, 4, 5, 6)
    await insert(client, 7, 8, queue="bar", max_attempts=1)
    a, b, c, d, e, f = await reserve(client, max=6)
    g, h = await reserve(client, "bar", max=2)
    await settle(client, "ack", e)
    await client.delete(f"/v1/jobs/{f['id']}")
    said = [
        (a, {"outcome": "ack"}),
        (g, {"outcome": "nack", "error": "bad"}),
        (b, {"outcome": "release"}),
        (c, {"outcome": "nack", "delay": 60, "error": "later"}),
        (d, {"outcome": "release", "delay": 60}),
        (h, {"outcome": "ack"}),
        (e, {"outcome": "ack"}),
        (e, {"outcome": "nack"}),
        (f, {"outcome": "ack"}),
        (a, {"outcome": "ack"}),
        (b, {"outcome": "ack"}),
        ({"id": "baz:1", "receipt": "x"}, {"outcome": "ack"}),
    ]
    body = {"settlements": [{"id": job["id"], "receipt": job["receipt"], **more} for job, more in said]}
    before = now(redis)
    answer = await send(client, "settlements", body)
    assert (answer.status, list(answer.json)) == (200, ["results"])
    results = answer.json["results"]
    assert [each["id"] for each in results] == [job["id"] for job, _ in said]
    words = "acked dead released delayed released acked acked lease-lost not-found acked lease-lost not-found"
    assert [each["result"] for each in results] == words.split()
    assert [n for n, each in enumerate(results) if "due_at" in each] == [3]
    assert before - 0.001 <= results[3]["due_at"] - 60 <= now(redis)
    assert (await look(client, g["id"]))["last_error"] == "bad"
    assert (await look(client, d["id"]))["state"] == "delayed"
    assert (await one(client))["id"] == b["id"]


@awaiting
async def test_a_thousand_settlements_are_taken_and_no_more(client):
    await insert(client, *range(1000))
    said = []
    for _ in range(10):
        said += [
            {"id": job["id"], "receipt": job["receipt"], "outcome": "ack"} for job in await reserve(client, max=100)
        ]
    is_problem(await send(client, "settlements", {"settlements": [*said, said[0]]}), 400, "bad-request")
    results = (await send(client, "settlements", {"settlements": said})).json["results"]
    assert [each["result"] for each in results] == ["acked"] * 1000
    assert (await client.get("/v1/queues/foo")).json["leased"] == 0


@pytest.mark.parametrize("job_id", ["nonsense", "", ":", "foo:x", ".foo:1", "a/b:1", "é:1", "foo:" + "9" * 99])
@awaiting
async def test_an_impossible_id_among_settlements_is_not_found_and_the_others_are_settled(client, job_id):
    await insert(client, 1)
    job = await one(client)
    said = [
        {"id": job["id"], "receipt": job["receipt"], "outcome": "ack"},
        {"id": job_id, "receipt": "x", "outcome": "ack"},
    ]
    answer = await send(client, "settlements", {"settlements": said})
    assert answer.status == 200, answer.body
    assert [each["result"] for each in answer.json["results"]] == ["acked", "not-found"]


@pytest.mark.parametrize(
    "wrong",
    [{"outcome": "eat"}, {"outcome": None}, {"delay": -1}, {"lease": 1}, {"receipt": 1}, {"id": 1}, {"error": []}],
    ids=repr,
)
@awaiting
async def test_a_wrong_settlement_among_others_is_named_and_the_others_are_carried_out(client, wrong):
    await insert(client, 1)
    job = await one(client)
    good = {"id": job["id"], "receipt": job["receipt"], "outcome": "ack"}
    answer = await send(client, "settlements", {"settlements": [{**good, **wrong}, good]})
    assert answer.status == 200
    refused, acked = answer.json["results"]
    assert next(iter(wrong)) in refused.pop("detail")
    assert refused == {"id": None if "id" in wrong else "foo:1", "result": "bad-request"}
    assert acked == {"id": "foo:1", "result": "acked"}


# Running out


@awaiting
async def test_a_lease_that_runs_out_counts_as_an_attempt_and_the_job_is_first_again(client):
    await insert(client, 1, 2, unique=None)
    await one(client, lease=SHORT)
    job = await state_of(client, "foo:1", "ready")
    assert (job["attempts"], job["last_error"]) == (1, "the lease ran out")
    assert [(each["payload"], each["attempt"]) for each in await reserve(client, max=2)] == [(1, 2), (2, 1)]


@awaiting
async def test_a_job_whose_last_lease_runs_out_is_dead(client):
    await insert(client, 1, max_attempts=2)
    for attempt in (1, 2):
        assert (await one(client, lease=SHORT, wait=10))["attempt"] == attempt
    job = await state_of(client, "foo:1", "dead")
    assert [each["error"] for each in job["history"]] == ["the lease ran out"] * 2
    assert await reserve(client) == []


async def with_slow_mover(redises):
    """A client of a daemon whose mover does not turn during the test."""
    redis = redises()
    daemon = daemon_on(redis.url, tick="60")
    daemon.startService()
    await daemon.started
    return redis, daemon, Client(port_of(daemon))


async def passed(redis, moment):
    async def later():
        return now(redis) > moment

    await eventually(later)


@awaiting
async def test_taking_finds_what_has_run_out_by_itself(redises):
    redis, daemon, client = await with_slow_mover(redises)
    await insert(client, 1, max_attempts=3)
    await insert(client, 2, max_attempts=1)
    await insert(client, 3)
    await insert(client, 4, delay=SHORT)
    first, _ = await reserve(client, max=2, lease=SHORT)
    await passed(redis, first["lease_expires_at"] + SHORT)
    jobs = await reserve(client, max=10)
    assert [(job["payload"], job["attempt"]) for job in jobs] == [(1, 2), (4, 1), (3, 1)]
    assert (await look(client, "foo:2"))["state"] == "dead"
    is_problem(await settle(client, "ack", first), 409, "lease-lost")
    await client.close()
    await daemon.stopService()


@pytest.mark.parametrize("verb", ["ack", "nack", "release", "extend"])
@awaiting
async def test_a_receipt_is_stale_from_the_moment_at_which_its_lease_ends(redises, verb):
    redis, daemon, client = await with_slow_mover(redises)
    await insert(client, 1)
    job = await one(client, lease=SHORT)
    await passed(redis, job["lease_expires_at"])
    answer = await settle(client, verb, job)
    again = await reserve(client)
    await client.close()
    await daemon.stopService()
    is_problem(answer, 409, "lease-lost")
    assert [each["attempt"] for each in again] == [2]


@awaiting
async def test_of_two_holders_of_one_job_exactly_one_wins(client):
    await insert(client, *range(30), max_attempts=9)
    slow = await reserve(client, max=30, lease=SHORT)

    async def all_again():
        return (await client.get("/v1/queues/foo")).json["ready"] == 30

    await eventually(all_again, "the jobs")
    quick = {job["id"]: job for job in await reserve(client, max=30)}
    chance = random.Random(17)
    sent = []
    for job in slow:
        pair = [settle(client, "ack", job), settle(client, "ack", quick[job["id"]])]
        order = chance.choice(((0, 1), (1, 0)))
        both = {n: begin(pair[n]) for n in order}
        sent += [both[0], both[1]]
    answers = await gatherResults(sent)
    assert [answer.status for answer in answers] == [409, 204] * 30
    assert (await client.get("/v1/queues/foo")).json["leased"] == 0


@awaiting
async def test_of_many_settlements_of_one_lease_at_once_one_is_carried_out_and_all_are_answered_alike(client):
    await insert(client, 1)
    job = await one(client)
    sent = [begin(settle(client, "nack", job, delay=60)) for _ in range(20)]
    answers = await gatherResults(sent)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert (await look(client, "foo:1"))["attempts"] == 1


@awaiting
async def test_of_many_consumers_at_once_no_two_get_the_same_job(client):
    await insert(client, *range(50))
    taken = await gatherResults([begin(reserve(client, max=5)) for _ in range(20)])
    assert sorted(job["payload"] for jobs in taken for job in jobs) == list(range(50))


# Consumers that vanish


def reservation(queues="foo", **asked):
    body = json.dumps(asked).encode()
    head = f"POST /v1/queues/{queues}/reservations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def busy(daemon):
    async def asked():
        return daemon.site.busy

    await eventually(asked, "the request")


async def untouched(client, jobs, worker="w1"):
    """Assert that so many jobs come back at once, in their order, as if they had never been taken."""

    async def put_back():
        counts = (await client.get("/v1/queues/foo")).json
        return (counts["ready"], counts["leased"], counts["processed"], counts["failed"]) == (jobs, 0, 0, 0)

    began = reactor.seconds()
    await eventually(put_back, "the jobs")
    assert reactor.seconds() - began < 2
    if worker:
        assert (await client.get(f"/w/?worker_id={worker}")).json.get("processed", "0") == "0"
    rest = await reserve(client, max=100)
    assert [(int(job["id"].split(":")[1]), job["attempt"]) for job in rest] == [(n + 1, 1) for n in range(len(rest))]
    assert "history" not in await look(client, "foo:1")


@pytest.mark.parametrize("leave", ["abortConnection", "loseConnection"])
@pytest.mark.parametrize("wait", [0, 30])
@awaiting
async def test_a_consumer_that_leaves_while_redis_is_asked_took_nothing(daemon, client, redis, leave, wait):
    await insert(client, 1, 2, 3)
    connection = await raw_connection(port_of(daemon))
    redis.signal(signal.SIGSTOP)
    connection.transport.write(reservation(max=2, worker_id="w1", wait=wait))
    await busy(daemon)
    getattr(connection.transport, leave)()
    await departed(connection, port_of(daemon))
    redis.signal(signal.SIGCONT)
    await untouched(client, 3)


@awaiting
async def test_a_consumer_that_leaves_while_it_waits_takes_nothing(daemon, client, redis):
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(reservation("bar,foo", wait=30))
    await waiters(daemon, 1)
    connection.transport.loseConnection()
    await waiters(daemon, 0)
    await insert(client, 1)
    await untouched(client, 1, worker="")

    async def forgotten():
        return redis.command("PUBSUB", "CHANNELS", "*") == []

    await eventually(forgotten, "the subscriptions")


@pytest.mark.parametrize("leave", ["abortConnection", "loseConnection"])
@awaiting
async def test_a_waiting_consumer_that_leaves_while_it_is_served_took_nothing(daemon, client, redis, leave):
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(reservation("bar,foo", max=5, wait=30, worker_id="w1"))
    await waiters(daemon, 1)
    redis.signal(signal.SIGSTOP)
    inserting = begin(insert(client, 1, 2, 3))
    getattr(connection.transport, leave)()
    await waiters(daemon, 0)
    redis.signal(signal.SIGCONT)
    await inserting
    await untouched(client, 3)


@awaiting
async def test_the_next_consumer_in_the_line_gets_what_one_that_left_did_not(daemon, client, redis):
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(reservation(wait=30))
    await waiters(daemon, 1)
    waiting = begin(one(client, wait=30))
    await waiters(daemon, 2)
    other = Client(port_of(daemon))
    inserting = begin(insert(other, 1))
    connection.transport.abortConnection()
    await inserting
    job = await waiting
    assert (job["payload"], job["attempt"]) == (1, 1)
    await other.close()


@pytest.mark.parametrize("leave", ["abortConnection", "loseConnection"])
@awaiting
async def test_an_answer_that_is_never_read_gives_its_jobs_back_when_its_client_leaves(daemon, client, redis, leave):
    for _ in range(8):
        body = b'{"payload":"' + b"x" * 1_000_000 + b'"}'
        assert (await client.post("/v1/queues/foo/jobs", body)).status == 201
    connection = await raw_connection(port_of(daemon))
    connection.transport.pauseProducing()
    connection.transport.write(reservation(max=8, worker_id="w1"))

    async def written():
        return daemon.deliveries.pending and (await client.get("/v1/queues/foo")).json["leased"] == 8

    await eventually(written, "the answer")
    getattr(connection.transport, leave)()
    await untouched(client, 8)


@awaiting
async def test_a_consumer_that_has_no_more_to_ask_gets_its_jobs_and_keeps_them(daemon, client):
    await insert(client, 1)
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(reservation())
    connection.transport.loseWriteConnection()
    received = await connection.end()
    (job,) = json.loads(received.partition(b"\r\n\r\n")[2])["jobs"]
    assert (await look(client, "foo:1"))["state"] == "leased"
    assert (await settle(client, "ack", job)).status == 204


@awaiting
async def test_a_consumer_that_leaves_after_it_has_its_jobs_keeps_the_lease(daemon, client):
    await insert(client, 1)
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(reservation())
    received = await connection.until(b"}]}")

    async def arrived():
        return not daemon.deliveries.pending

    await eventually(arrived, "the delivery")
    connection.transport.abortConnection()
    await eventually(arrived)
    (job,) = json.loads(received.partition(b"\r\n\r\n")[2])["jobs"]
    assert (await look(client, "foo:1"))["state"] == "leased"
    assert (await settle(client, "ack", job)).status == 204


@awaiting
async def test_consumers_that_vanish_at_random_moments_lose_nothing(daemon, client, redis):
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    await insert(client, *range(200), max_attempts=1)

    async def vanish():
        connection = await raw_connection(port_of(daemon))
        connection.transport.write(reservation(chance.choice(("foo", "bar,foo")), max=3, wait=chance.choice((0, 5))))
        await deferLater(reactor, chance.uniform(0, 0.02))
        connection.transport.abortConnection()

    for _ in range(8):
        await gatherResults([begin(vanish()) for _ in range(20)])

    async def quiet():
        return not daemon.site.busy and not daemon.deliveries.pending

    await eventually(quiet, "the departures")
    counts = (await client.get("/v1/queues/foo")).json
    assert counts["ready"] + counts["leased"] == 200, f"seed {seed}"
    assert counts["dead"] + counts["failed"] == 0, f"seed {seed}"
    assert counts["processed"] == counts["leased"], f"seed {seed}"
    listed = []
    for state in ("ready", "leased"):
        listed += (await client.get(f"/v1/queues/foo/jobs?state={state}&limit=1000")).json["jobs"]
    assert sorted(job["payload"] for job in listed) == list(range(200)), f"seed {seed}"
    assert {job["attempts"] for job in listed} == {0}, f"seed {seed}"
