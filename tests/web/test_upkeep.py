"""Jobs looked up and cancelled, queues described, set, stopped, purged and retried; one data model for all."""

import json
import signal

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually, port_of, raw, raw_connection
from twisted.internet.defer import Deferred
from v1 import insert, is_problem, look, reserve, send, settle

KEYS = "presque:{0}:foo:"
DEFAULTS = {
    "lease": 60,
    "max_attempts": 5,
    "max_length": None,
    "max_bytes": None,
    "redeliver_after": None,
    "accepting": True,
    "expired": "drop",
    "backoff": {"first": 5, "factor": 2, "max": 3600},
    "dead_keep": {"count": 10000, "age": 1209600},
}


async def patch(client, queue="foo", **settings):
    return await client.request("PATCH", f"/v1/queues/{queue}", json.dumps(settings).encode())


async def counts(client, queue="foo"):
    """How many jobs are ready, delayed, leased, dead."""
    view = (await client.get(f"/v1/queues/{queue}")).json
    return tuple(view[state] for state in ("ready", "delayed", "leased", "dead"))


async def kill(client, *payloads):
    """Insert jobs that die; their ids."""
    ids = await insert(client, *payloads, max_attempts=1)
    for job in await reserve(client, max=len(payloads)):
        await settle(client, "nack", job, error="dead")
    return ids


async def become(client, *wanted):
    """Wait until the counts of foo are these."""

    async def there():
        return await counts(client) == wanted

    await eventually(there, f"counts {wanted}")


async def in_every_state(client):
    """A job in each state: foo:1 dead, foo:2 leased, foo:3 delayed, foo:4 ready. Returns that which is leased."""
    await kill(client, "dead")
    await insert(client, "leased", unique="l")
    (leased,) = await reserve(client)
    await insert(client, "delayed", unique="d", delay=60)
    await insert(client, "ready", unique="r")
    assert await counts(client) == (1, 1, 1, 1)
    return leased


# Jobs


@awaiting
async def test_a_job_tells_what_is_known_of_it_in_every_state(client):
    leased = await in_every_state(client)
    always = {"id", "queue", "state", "payload", "headers", "priority", "attempts", "max_attempts", "created_at", "why"}
    dead, held, delayed, ready = [await look(client, f"foo:{n}") for n in (1, 2, 3, 4)]
    assert set(dead) == always | {"died_at", "last_error", "history"}
    assert set(held) == always | {"lease_expires_at", "unique"}
    assert set(delayed) == always | {"due_at", "unique"}
    assert set(ready) == always | {"unique"}
    for job, state in ((dead, "dead"), (held, "leased"), (delayed, "delayed"), (ready, "ready")):
        assert (job["state"], job["payload"], job["queue"]) == (state, state, "foo")
    assert (dead["attempts"], dead["max_attempts"], dead["last_error"]) == (1, 1, "dead")
    assert held["lease_expires_at"] == leased["lease_expires_at"]
    assert held["created_at"] == leased["created_at"]
    assert "receipt" not in held
    assert delayed["due_at"] - delayed["created_at"] == pytest.approx(60, abs=0.01)


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@awaiting
async def test_a_job_is_deleted_whatever_its_state(client, redis, n):
    leased = await in_every_state(client)
    answer = await client.delete(f"/v1/jobs/foo:{n}")
    assert (answer.status, answer.body) == (204, b"")
    assert await counts(client) == tuple(int(each != n) for each in (4, 3, 2, 1))
    is_problem(await client.get(f"/v1/jobs/foo:{n}"), 404, "not-found")
    is_problem(await client.delete(f"/v1/jobs/foo:{n}"), 404, "not-found")
    assert (await settle(client, "ack", leased)).status == (404 if n == 2 else 204)
    number = str(n).encode()
    assert number not in redis.command("HKEYS", f"{KEYS}jobs") + redis.command("HKEYS", f"{KEYS}live")
    assert number not in redis.command("HVALS", f"{KEYS}uniq")
    for key in ("leased", "dead", "delayed", "front", "behind", "expiring"):
        assert n not in map(int, redis.command("ZRANGE", KEYS + key, 0, -1))
    for unique in {1: "", 2: "l", 3: "d", 4: "r"}[n]:
        assert (await send(client, "queues/foo/jobs", {"payload": 1, "unique": unique})).status == 201


@pytest.mark.parametrize(
    "job_id", ["foo:2", "bar:1", "foo", "foo:", ":1", "foo:x", "foo:1:1", "foo:-1", "1", "foo:%31x"]
)
@awaiting
async def test_a_job_that_is_not_there_is_not_found(client, job_id):
    await insert(client, 1)
    for answer in (await client.get(f"/v1/jobs/{job_id}"), await client.delete(f"/v1/jobs/{job_id}")):
        assert is_problem(answer, 404, "not-found") == "unknown job"
    assert await counts(client) == (1, 0, 0, 0)


@awaiting
async def test_jobs_are_listed_by_state(client):
    await in_every_state(client)
    for state in ("ready", "delayed", "leased", "dead"):
        answer = await client.get(f"/v1/queues/foo/jobs?state={state}")
        (job,) = answer.json["jobs"]
        seen = await look(client, job["id"])
        assert {**job, "why": seen["why"]} == seen
        assert (job["state"], answer.json["next"]) == (state, None)
    assert (await client.get("/v1/queues/foo/jobs")).json["jobs"][0]["state"] == "ready"
    for queue in ("foo", "nope"):
        await client.delete(f"/v1/queues/{queue}")
        is_problem(await client.get(f"/v1/queues/{queue}/jobs"), 404, "not-found")


@pytest.mark.parametrize("state", ["ready", "delayed", "leased", "dead"])
@awaiting
async def test_a_listing_goes_from_page_to_page(client, state):
    ids = await insert(client, *range(25), max_attempts=1, **({"delay": 60} if state == "delayed" else {}))
    jobs = await reserve(client, max=100) if state in ("leased", "dead") else []
    for job in jobs if state == "dead" else []:
        await settle(client, "nack", job)
    found, sizes, cursor = [], [], ""
    while cursor is not None:
        page = (await client.get(f"/v1/queues/foo/jobs?state={state}&limit=10&cursor={cursor}")).json
        found += [job["id"] for job in page["jobs"]]
        sizes.append(len(page["jobs"]))
        cursor = page["next"]
    assert (sorted(found), sizes) == (sorted(ids), [10, 10, 5])
    assert state not in ("ready", "delayed") or found == ids


@awaiting
async def test_the_listing_of_ready_jobs_is_the_order_in_which_they_are_taken(client):
    await insert(client, *range(5))
    for job in await reserve(client, max=2):
        await settle(client, "release", job)
    listed = [job["id"] for job in (await client.get("/v1/queues/foo/jobs?limit=4")).json["jobs"]]
    assert listed == [job["id"] for job in await reserve(client, max=4)]


@pytest.mark.parametrize(
    "query", ["state=eaten", "limit=0", "limit=1001", "limit=x", "limit=-1", "cursor=x", "cursor=-1"]
)
@awaiting
async def test_a_wrong_page_is_refused_by_name(client, query):
    await insert(client, 1)
    detail = is_problem(await client.get(f"/v1/queues/foo/jobs?{query}"), 400, "bad-request")
    assert query.partition("=")[0] in detail


# Queues


@awaiting
async def test_a_queue_is_described_in_numbers(client):
    await in_every_state(client)
    await insert(client, 1, 2)
    answer = await client.get("/v1/queues/foo")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    age = answer.json["oldest_ready_age"]
    assert 0 <= age < 10
    expected = {"name": "foo", "policy": "open", "ready": 3, "delayed": 1, "leased": 1, "dead": 1}
    expected |= {"inserted": 6, "delivered": 0, "acked": 0, "processed": 2, "failed": 1, "died": 1}
    expected |= {"expired": 0, "deleted": 0, "oldest_ready_age": age, "settings": DEFAULTS}
    assert answer.json == expected


@awaiting
async def test_the_age_of_the_oldest_ready_job_grows_until_it_is_taken(client):
    await insert(client, 1)

    async def older():
        return (await client.get("/v1/queues/foo")).json["oldest_ready_age"] > 0.1

    await eventually(older)
    await insert(client, 2)
    assert await older()
    await reserve(client)
    assert not await older()
    await reserve(client)
    assert (await client.get("/v1/queues/foo")).json["oldest_ready_age"] is None


@awaiting
async def test_an_unknown_queue_is_not_found_and_a_bad_name_is_refused(client):
    assert is_problem(await client.get("/v1/queues/foo"), 404, "not-found") == "unknown queue"
    is_problem(await client.get("/v1/queues/.foo"), 400, "invalid-name")
    assert (await client.get("/v1/queues")).json == {"queues": [], "next": None}


@awaiting
async def test_queues_are_listed_by_name_from_page_to_page(client):
    names = [f"q{n:02}" for n in range(25)]
    for name in reversed(names):
        await insert(client, 1, queue=name)
    found, cursor = [], ""
    while cursor is not None:
        page = (await client.get(f"/v1/queues?limit=10&cursor={cursor}")).json
        assert len(page["queues"]) == min(10, 25 - len(found))
        found += page["queues"]
        cursor = page["next"]
    assert [view["name"] for view in found] == names
    view = (await client.get("/v1/queues/q07")).json
    assert set(view) == set(found[7])
    assert found[7]["ready"] == 1
    for limit in ("0", "x", "1001"):
        assert "limit" in is_problem(await client.get(f"/v1/queues?limit={limit}"), 400, "bad-request")


@awaiting
async def test_every_setting_can_be_set_alone_and_null_puts_its_default_back(client):
    values = {"lease": 1.5, "max_attempts": 7, "max_length": 9, "redeliver_after": 0.25}
    groups = {"backoff": {"first": 0.5, "factor": 1.5, "max": 60}, "dead_keep": {"count": 3, "age": 3600}}
    expected = json.loads(json.dumps(DEFAULTS))
    for name, value in values.items():
        answer = await patch(client, **{name: value})
        expected[name] = value
        assert (answer.status, answer.json["name"], answer.json["settings"]) == (200, "foo", expected)
    for group, members in groups.items():
        for name, value in members.items():
            expected[group][name] = value
            assert (await patch(client, **{group: {name: value}})).json["settings"] == expected
    assert (await client.get("/v1/queues/foo")).json["settings"] == expected
    assert (await patch(client)).json["settings"] == expected
    for group, members in groups.items():
        for name in list(members)[:2]:
            expected[group][name] = DEFAULTS[group][name]
            assert (await patch(client, **{group: {name: None}})).json["settings"] == expected
    assert (await patch(client, **dict.fromkeys(values))).json["settings"] == {
        **DEFAULTS,
        **{group: expected[group] for group in groups},
    }
    assert (await patch(client, backoff=None, dead_keep=None)).json["settings"] == DEFAULTS


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"lease":0}', "lease"),
        (b'{"lease":"60"}', "lease"),
        (b'{"max_attempts":0}', "max_attempts"),
        (b'{"max_attempts":1.5}', "max_attempts"),
        (b'{"max_length":0}', "max_length"),
        (b'{"max_length":true}', "max_length"),
        (b'{"max_length":' + b"9" * 400 + b"}", "max_length"),
        (b'{"redeliver_after":0}', "redeliver_after"),
        (b'{"backoff":5}', "backoff"),
        (b'{"backoff":{"first":-1}}', "first"),
        (b'{"backoff":{"factor":0.5}}', "factor"),
        (b'{"backoff":{"max":1e99}}', "max"),
        (b'{"backoff":{"jitter":1}}', "jitter"),
        (b'{"dead_keep":{"count":-1}}', "count"),
        (b'{"dead_keep":{"age":"x"}}', "age"),
        (b'{"dead_keep":[]}', "dead_keep"),
        (b'{"colour":1}', "colour"),
        (b"[]", "object"),
        (b"", "JSON"),
    ],
    ids=lambda value: repr(value[:32]),
)
@awaiting
async def test_a_wrong_setting_is_refused_by_name_and_nothing_is_set(client, body, named):
    await insert(client, 1)
    assert named in is_problem(await client.request("PATCH", "/v1/queues/foo", body), 400, "bad-request")
    assert (await client.get("/v1/queues/foo")).json["settings"] == DEFAULTS


@pytest.mark.parametrize("most", [2**31, 2**63, 2**64, 10**30])
@awaiting
async def test_a_very_large_max_length_is_no_trouble(client, most):
    answer = await patch(client, max_length=most)
    assert answer.status in (200, 400)
    assert (await send(client, "queues/foo/jobs", {"payload": 1})).status == 201


@awaiting
async def test_settings_begin_a_queue_and_end_with_it(client):
    assert (await patch(client, lease=5)).status == 200
    assert (await client.get("/status/")).json["queues"] == ["foo"]
    assert (await client.delete("/v1/queues/foo")).status == 204
    await insert(client, 1)
    assert (await client.get("/v1/queues/foo")).json["settings"] == DEFAULTS


@awaiting
async def test_a_paused_queue_is_closed_for_both_interfaces_until_it_is_resumed(client):
    await insert(client, 1)
    for _ in range(2):
        answer = await send(client, "queues/foo/pause")
        assert (answer.status, answer.body) == (204, b"")
    assert (await client.get("/v1/queues/foo")).json["policy"] == "closed"
    assert (await client.get("/control/foo")).json["status"] == "0"
    assert (await client.get("/q/foo")).body == b'{"error":"queue is closed"}'
    assert await reserve(client) == []
    await insert(client, 2)
    assert (await send(client, "queues/foo/resume")).status == 204
    assert (await client.get("/v1/queues/foo")).json["policy"] == "open"
    assert [job["payload"] for job in await reserve(client, max=5)] == [1, 2]


@awaiting
async def test_a_lease_outlives_a_pause(client):
    await insert(client, 1)
    (job,) = await reserve(client)
    await send(client, "queues/foo/pause")
    assert (await settle(client, "extend", job, lease=30)).status == 200
    assert (await settle(client, "ack", job)).status == 204


@pytest.mark.parametrize(
    ("state", "left"),
    [
        ("ready", (0, 1, 1, 1)),
        ("delayed", (1, 0, 1, 1)),
        ("leased", (1, 1, 0, 1)),
        ("dead", (1, 1, 1, 0)),
        ("all", (0, 0, 0, 0)),
    ],
)
@awaiting
async def test_a_queue_is_purged_by_state_and_stays(client, redis, state, left):
    leased = await in_every_state(client)
    answer = await send(client, "queues/foo/purge", {"state": state})
    assert (answer.status, answer.json) == (200, {"purged": 4 - sum(left)})
    assert await counts(client) == left
    assert redis.command("HLEN", f"{KEYS}jobs") == sum(left)
    for unique, of in (("r", "ready"), ("d", "delayed")):
        again = await send(client, "queues/foo/jobs", {"payload": 1, "unique": unique})
        assert again.status == (201 if state in (of, "all") else 409)
    assert (await settle(client, "ack", leased)).status == (404 if state in ("leased", "all") else 204)


@awaiting
async def test_a_purge_takes_thousands_and_released_jobs_too(client):
    for _ in range(3):
        await insert(client, *range(1000))
    for job in await reserve(client, max=5):
        await settle(client, "release", job)
    assert (await send(client, "queues/foo/purge", {"state": "ready"})).json == {"purged": 3000}
    assert await counts(client) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b'{"state":null}', b'{"state":"every"}', b'{"state":1}', b'{"states":"ready"}', b"[]", b"x"],
)
@awaiting
async def test_a_wrong_purge_is_refused_and_deletes_nothing(client, body):
    await insert(client, 1)
    is_problem(await client.post("/v1/queues/foo/purge", body), 400, "bad-request")
    is_problem(await client.post("/v1/queues/foo/purge?state=dead", body), 400, "bad-request")
    assert await counts(client) == (1, 0, 0, 0)


@awaiting
async def test_a_deleted_queue_leaves_nothing(client, redis):
    await in_every_state(client)
    await patch(client, lease=5)
    await send(client, "queues/foo/pause")
    answer = await client.delete("/v1/queues/foo")
    assert (answer.status, answer.body) == (204, b"")
    is_problem(await client.delete("/v1/queues/foo"), 404, "not-found")
    is_problem(await client.get("/v1/queues/foo"), 404, "not-found")
    left = {b"presque:{0}/floor", b"presque:{0}/timings"}  # numbers are never used again, and histograms never fall
    assert set(redis.command("KEYS", "presque:{*")) == left
    assert await insert(client, 1) == ["foo:5"]


# The dead


@awaiting
async def test_the_dead_are_retried_by_their_ids_with_all_their_attempts(client):
    first, second, third = await kill(client, 1, 2, 3)
    await insert(client, "waiting")
    answer = await send(client, "queues/foo/retry-dead", {"ids": [third, first, "foo:99", "bar:2", "foo:4"]})
    assert (answer.status, answer.body) == (200, b'{"moved":2,"not_found":["foo:99","bar:2","foo:4"]}')
    assert await counts(client) == (3, 0, 0, 1)
    assert (await look(client, second))["state"] == "dead"
    job = await look(client, first)
    assert (job["state"], job["attempts"], job["last_error"]) == ("ready", 0, "dead")
    assert [(each["payload"], each["attempt"]) for each in await reserve(client, max=9)] == [
        (1, 1),
        (3, 1),
        ("waiting", 1),
    ]
    assert (await send(client, "queues/foo/retry-dead", {"ids": [first, first]})).json == {
        "moved": 0,
        "not_found": [first],
    }


@awaiting
async def test_the_longest_dead_are_retried_first_up_to_a_limit(client):
    for n in range(5):
        await kill(client, n)
    assert (await send(client, "queues/foo/retry-dead", {"limit": 3})).json == {"moved": 3, "not_found": []}
    assert await counts(client) == (3, 0, 0, 2)
    assert sorted(job["payload"] for job in await reserve(client, max=9))[0] == 0
    assert (await send(client, "queues/foo/retry-dead", {"limit": 1000})).json["moved"] == 2


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"ids":[],"limit":1}',
        b'{"limit":0}',
        b'{"limit":1001}',
        b'{"ids":[1]}',
        b'{"all":false}',
        b'{"all":true,"limit":1}',
        b"",
    ],
)
@awaiting
async def test_a_wrong_retry_is_refused(client, body):
    await kill(client, 1)
    is_problem(await client.post("/v1/queues/foo/retry-dead", body), 400, "bad-request")
    assert await counts(client) == (0, 0, 0, 1)


@awaiting
async def test_of_the_dead_the_last_ones_are_kept(client, redis):
    await patch(client, dead_keep={"count": 2})
    ids = []
    for n in range(4):
        ids += await kill(client, n)
    assert await counts(client) == (0, 0, 0, 2)
    assert [(await client.get(f"/v1/jobs/{each}")).status for each in ids] == [404, 404, 200, 200]
    assert redis.command("HLEN", f"{KEYS}jobs") == 2


@awaiting
async def test_however_many_die_at_once_or_are_too_many_only_so_many_are_kept(client, redis):
    """A script trims a bounded number, and the mover comes again until all is done."""
    await insert(client, *range(450), max_attempts=1)
    jobs = [job for _ in range(4) for job in await reserve(client, max=100)]
    said = [{"id": job["id"], "receipt": job["receipt"], "outcome": "nack"} for job in jobs]
    assert (await send(client, "settlements", {"settlements": said})).status == 200
    assert await counts(client) == (50, 0, 0, 400)
    await patch(client, dead_keep={"count": 3})
    await become(client, 50, 0, 0, 3)
    await reserve(client, max=50, lease=0.05)
    await become(client, 0, 0, 0, 3)
    assert redis.command("HLEN", f"{KEYS}jobs") == 3


@awaiting
async def test_a_purge_of_all_finds_what_comes_due_meanwhile(daemon, client, monkeypatch):
    await insert(client, 1, delay=0.2)
    ask, asked = daemon.store.on_queue, []

    async def purge(*args):
        purged = await ask("purge", *args)
        asked.append(args)
        if len(asked) == 1:
            await become(client, 1, 0, 0, 0)
        return purged

    def slow(verb, *args, **options):
        return Deferred.fromCoroutine(purge(*args)) if verb == "purge" else ask(verb, *args, **options)

    monkeypatch.setattr(daemon.store, "on_queue", slow)
    assert (await send(client, "queues/foo/purge", {"state": "all"})).json == {"purged": 1}
    assert await counts(client) == (0, 0, 0, 0)


@awaiting
async def test_none_of_the_dead_may_be_kept(client, redis):
    await patch(client, dead_keep={"count": 0})
    await insert(client, 1, max_attempts=1)
    (job,) = await reserve(client)
    assert (await settle(client, "nack", job)).json == {"state": "dead"}
    is_problem(await client.get("/v1/jobs/foo:1"), 404, "not-found")
    assert set(redis.command("HKEYS", f"{KEYS}live")) <= {b"deaths"}  # to be told by the mover
    assert redis.command("HLEN", f"{KEYS}jobs") == 0


@awaiting
async def test_the_dead_are_forgotten_after_their_time(client, redis):
    await patch(client, dead_keep={"age": 0.05})
    await kill(client, 1)
    await become(client, 0, 0, 0, 0)
    assert redis.command("KEYS", f"{KEYS}jobs") == []


@pytest.mark.parametrize("keep", [{"age": 0.05}, {"count": 0}])
@awaiting
async def test_a_new_setting_is_true_of_those_who_are_dead_already(client, keep):
    await kill(client, 1)
    await patch(client, dead_keep=keep)
    await become(client, 0, 0, 0, 0)


# One data model


@awaiting
async def test_a_job_of_2010_is_looked_up_reserved_and_acked(client):
    body = b'{"n":1.50, "a":"\xc3\xa9"}'
    await client.post("/q/foo?uniq=k", body)
    assert b'"payload":' + body in (await client.get("/v1/jobs/foo:1")).body
    assert (await look(client, "foo:1"))["unique"] == "k"
    assert await counts(client) == (1, 0, 0, 0)
    (job,) = await reserve(client)
    assert (await client.get("/q/foo")).status == 404
    assert (await client.post("/q/foo?uniq=k", body)).status == 201
    assert (await settle(client, "ack", job)).status == 204
    assert (await client.delete("/v1/jobs/foo:2")).status == 204
    assert (await client.get("/q/foo")).status == 404


@awaiting
async def test_a_job_of_v1_comes_out_of_the_routes_of_2010(client):
    await insert(client, {"a": 1}, 2, "three")
    await insert(client, 4, delay=60)
    assert (await client.get("/status/foo?with_desc=1")).json["jobs"] == ['{"a": 1}', "2", '"three"']
    assert (await client.get("/q/foo")).body == b'{"a": 1}'
    assert (await client.get("/qb/foo")).json == ["2", '"three"']
    assert (await client.get("/q/foo")).status == 404


@awaiting
async def test_a_taken_job_of_2010_is_gone_for_v1_too(client):
    await client.post("/q/foo", b"{}")
    await client.get("/q/foo")

    async def gone():
        return (await client.get("/v1/jobs/foo:1")).status == 404

    await eventually(gone)
    assert (await client.get("/v1/queues/foo")).json["processed"] == 1


@awaiting
async def test_unique_and_uniq_are_one(client):
    await client.post("/q/foo?uniq=k", b"{}")
    answer = await send(client, "queues/foo/jobs", {"payload": 1, "unique": "k"})
    assert (answer.status, answer.json["existing"]) == (409, "foo:1")
    await insert(client, 1, unique="\u2603")
    answer = await client.post("/q/foo?uniq=%E2%98%83", b"{}")
    assert (answer.status, answer.body) == (400, b'{"error":"job already exists"}')


@awaiting
async def test_a_uniq_key_of_any_bytes_does_no_harm_to_a_look(client):
    await client.post("/q/foo?uniq=%ff%00", b"{}")
    assert (await client.get("/v1/jobs/foo:1")).status == 200
    assert (await client.get("/v1/queues/foo/jobs")).json["jobs"][0]["id"] == "foo:1"


# redeliver_after


async def fetch(client, worker="w1", queue="foo"):
    return await client.get(f"/q/{queue}?worker_id={worker}")


@awaiting
async def test_a_fetch_keeps_a_lease_in_its_workers_name_and_the_next_one_acks(client):
    await patch(client, redeliver_after=60)
    for n in range(3):
        await client.post("/q/foo", b'{"n":%d}' % n)
    assert (await fetch(client)).body == b'{"n":0}'
    assert await counts(client) == (2, 0, 1, 0)
    assert (await look(client, "foo:1"))["state"] == "leased"
    assert (await fetch(client, "w2")).body == b'{"n":1}'
    assert await counts(client) == (1, 0, 2, 0)
    assert (await fetch(client)).body == b'{"n":2}'
    assert (await client.get("/v1/jobs/foo:1")).status == 404
    assert await counts(client) == (0, 0, 2, 0)
    assert (await fetch(client)).body == b'{"error":"no job"}'
    assert await counts(client) == (0, 0, 1, 0)
    assert (await look(client, "foo:2"))["state"] == "leased"


@awaiting
async def test_a_batch_is_kept_and_acked_as_a_whole(client):
    await patch(client, redeliver_after=60)
    await insert(client, *range(5))
    assert len((await client.get("/qb/foo?worker_id=w1&batch_size=3")).json) == 3
    assert await counts(client) == (2, 0, 3, 0)
    assert (await client.get("/qb/foo?batch_size=3", X_presque_workerid="w1")).json == ["3", "4"]
    assert await counts(client) == (0, 0, 2, 0)


@awaiting
async def test_a_put_acks_and_a_refused_one_does_not(client):
    await patch(client, redeliver_after=60)
    await client.post("/q/foo", b'{"n":1}')
    await fetch(client)
    assert (await client.put("/q/foo?worker_id=w1", b"[]")).status == 400
    assert await counts(client) == (0, 0, 1, 0)
    assert (await client.put("/q/foo?worker_id=w1", b'{"n":1}')).status == 201
    assert await counts(client) == (1, 0, 0, 0)
    assert (await client.get("/v1/jobs/foo:1")).status == 404


@awaiting
async def test_a_worker_that_leaves_its_queue_acks(client):
    await patch(client, redeliver_after=60)
    await insert(client, 1)
    await fetch(client)
    assert (await client.delete("/w/bar?worker_id=w1")).status == 204
    assert await counts(client) == (0, 0, 1, 0)
    assert (await client.delete("/w/foo?worker_id=w1")).status == 204
    assert await counts(client) == (0, 0, 0, 0)
    assert (await client.get("/v1/jobs/foo:1")).status == 404


@awaiting
async def test_a_fetch_from_another_queue_acks_nothing_here(client):
    await patch(client, redeliver_after=60)
    await insert(client, 1)
    await fetch(client)
    await fetch(client, queue="bar")
    assert await counts(client) == (0, 0, 1, 0)


@awaiting
async def test_a_fetch_from_a_stopped_queue_acks_too(client):
    await patch(client, redeliver_after=60)
    await insert(client, 1)
    await fetch(client)
    await send(client, "queues/foo/pause")
    assert (await fetch(client)).body == b'{"error":"queue is closed"}'
    assert await counts(client) == (0, 0, 0, 0)


@awaiting
async def test_the_job_of_a_silent_worker_is_handed_out_again(client):
    await patch(client, redeliver_after=0.05)
    await insert(client, 1, 2)
    assert (await fetch(client)).body == b"1"

    async def again():
        return (await look(client, "foo:1"))["state"] == "ready"

    await eventually(again, "the job")
    assert (await look(client, "foo:1"))["attempts"] == 1
    assert (await fetch(client, "w2")).body == b"1"


@awaiting
async def test_a_worker_that_was_silent_too_long_does_not_ack_what_another_has_now(client):
    await patch(client, redeliver_after=0.05, backoff={"first": 0})
    await insert(client, 1)
    await fetch(client)
    assert (await client.get("/q/foo?wait=10&worker_id=w2")).body == b"1"
    await patch(client, redeliver_after=60)
    await client.get("/qb/foo?worker_id=w3&wait=10")
    await fetch(client)
    assert await counts(client) == (0, 0, 1, 0)


@awaiting
async def test_without_a_worker_or_without_the_setting_a_fetch_is_for_good(client):
    await patch(client, redeliver_after=0.05)
    await insert(client, 1)
    assert (await client.get("/q/foo")).body == b"1"
    await become(client, 0, 0, 0, 0)
    await insert(client, 2, queue="bar")
    assert (await fetch(client, queue="bar")).body == b"2"

    async def gone():
        return await counts(client, "bar") == (0, 0, 0, 0)

    await eventually(gone)


@awaiting
async def test_the_bytes_on_the_wire_are_the_same_with_redeliver_after(daemon, client):
    answers = []
    for queue in ("foo", "bar"):
        if queue == "bar":
            await patch(client, "bar", redeliver_after=60)
        await client.post(f"/q/{queue}", b'{"n":1.50}')
        await client.post(f"/q/{queue}", b'{"n":2}')
        for path in (f"/q/{queue}", f"/qb/{queue}", f"/q/{queue}"):
            request = f"GET {path}?worker_id=w1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
            lines = (await raw(port_of(daemon), request)).split(b"\r\n")
            answers.append([line for line in lines if not line.startswith(b"Date:")])
    assert answers[:3] == answers[3:]


async def hang_up(daemon, redis, client, then=None):
    """A fetch in the name of w1 whose client leaves before Redis has answered; `then` is asked meanwhile."""
    connection = await raw_connection(port_of(daemon))
    redis.signal(signal.SIGSTOP)
    connection.transport.write(b"GET /q/foo?worker_id=w1 HTTP/1.1\r\nHost: x\r\n\r\n")

    async def asked():
        return daemon.site.busy

    await eventually(asked, "the request")
    connection.transport.abortConnection()

    async def left():
        return not daemon.site.busy

    await eventually(left, "the departure")
    following = Deferred.fromCoroutine(then(client)) if then else None
    if following:
        await eventually(asked, "the next request")
    redis.signal(signal.SIGCONT)
    return await following if following else None


@awaiting
async def test_the_job_of_a_client_that_hangs_up_is_put_back(daemon, client, redis):
    await patch(client, redeliver_after=60)
    await insert(client, 1, 2)
    await hang_up(daemon, redis, client)
    await become(client, 2, 0, 0, 0)
    assert (await look(client, "foo:1"))["attempts"] == 0
    assert (await client.get("/j/foo")).json["job_processed"] == 0
    assert (await fetch(client)).body == b"1"


@awaiting
async def test_a_worker_that_hangs_up_and_asks_again_does_not_ack_what_it_never_got(daemon, client, redis):
    await patch(client, redeliver_after=60)
    await insert(client, 1, 2)
    answer = await hang_up(daemon, redis, client, fetch)
    assert answer.status == 200
    seen = {answer.body}

    async def all_seen():
        seen.add((await fetch(client, "w2")).body)
        return {b"1", b"2"} <= seen or b'{"error":"no job"}' in seen

    await eventually(all_seen)
    assert {b"1", b"2"} <= seen, "a job was lost"


@awaiting
async def test_jobs_kept_for_a_worker_outlive_its_reservations(daemon, client, redis):
    """A reservation in the same worker's name that never arrives gives back what was reserved and nothing else."""
    await patch(client, redeliver_after=60)
    await insert(client, 1, 2, 3)
    await fetch(client)
    connection = await raw_connection(port_of(daemon))
    redis.signal(signal.SIGSTOP)
    request = b"POST /v1/queues/foo/reservations?worker_id=w1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    connection.transport.write(request)

    async def asked():
        return daemon.site.busy

    await eventually(asked, "the request")
    connection.transport.abortConnection()

    async def left():
        return not daemon.site.busy

    await eventually(left, "the departure")
    redis.signal(signal.SIGCONT)
    await become(client, 2, 0, 1, 0)
    assert (await fetch(client)).body == b"2"
    assert await counts(client) == (1, 0, 1, 0)
