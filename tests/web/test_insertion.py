"""`POST /v1/queues/{q}/jobs`: what goes in, what is refused, and that it is done once or not at all."""

import json
import time

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import port_of, raw
from twisted.internet.defer import Deferred, gatherResults

JOB = b'{"payload":{"key":"value"}}'
JOBS = "/v1/queues/foo/jobs"


def is_problem(answer, status, slug, title=None, detail=None):
    """Assert that this is that problem, complete as RFC 9457 has it; its JSON."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert list(answer.json)[:4] == ["type", "title", "status", "detail"]
    assert (answer.json["type"], answer.json["status"]) == (f"/problems/{slug}", status)
    assert title in (None, answer.json["title"])
    assert detail in (None, answer.json["detail"])
    assert "location" not in answer.headers
    return answer.json


async def insert(client, body, queue="foo", **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post(f"/v1/queues/{queue}/jobs", content, **headers)


async def ready(client, queue="foo"):
    """How many jobs of a queue are ready."""
    return (await client.get(f"/status/{queue}")).json["size"]


def redis_now(redis):
    seconds, micros = redis.command("TIME")
    return int(seconds) + int(micros) / 1e6


@awaiting
async def test_a_job_is_answered_201_with_its_id_its_state_and_where_it_is(client):
    answer = await insert(client, JOB)
    assert (answer.status, answer.body) == (201, b'{"id":"foo:1","state":"ready"}')
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["location"] == "/v1/jobs/foo:1"
    assert (await client.get(answer.headers["location"])).json["payload"] == {"key": "value"}


@awaiting
async def test_the_location_of_any_good_name_leads_to_the_job(client):
    for name in ("a:b._-@", "0", "x" * 128, "a:ready"):
        answer = await insert(client, JOB, name)
        assert answer.headers["location"] == f"/v1/jobs/{answer.json['id']}"
        assert (await client.get(answer.headers["location"])).json["queue"] == name


@awaiting
async def test_a_batch_is_answered_with_ids_and_states_in_its_order(client):
    batch = {"jobs": [{"payload": 1}, {"payload": 2, "delay": 60}, {"payload": 3}]}
    answer = await insert(client, batch)
    assert answer.status == 201
    assert answer.json == {
        "jobs": [
            {"id": "foo:1", "state": "ready"},
            {"id": "foo:2", "state": "delayed"},
            {"id": "foo:3", "state": "ready"},
        ]
    }
    assert [(await client.get("/q/foo")).body for _ in range(2)] == [b"1", b"3"]


@awaiting
async def test_a_batch_of_one_is_answered_as_a_batch(client):
    answer = await insert(client, b'{"jobs":[{"payload":1}]}')
    assert answer.json == {"jobs": [{"id": "foo:1", "state": "ready"}]}


@awaiting
async def test_a_thousand_jobs_go_in_at_once_and_one_more_does_not(client):
    most = {"jobs": [{"payload": n} for n in range(1000)]}
    assert len((await insert(client, most)).json["jobs"]) == 1000
    most["jobs"].append({"payload": 0})
    wrong = is_problem(await insert(client, most), 400, "bad-request")
    assert "jobs" in wrong["detail"]
    assert await ready(client) == 1000


@awaiting
async def test_an_empty_batch_is_refused(client):
    is_problem(await insert(client, b'{"jobs":[]}'), 400, "bad-request")
    assert (await client.get("/v1/queues/foo")).status == 404


@awaiting
async def test_a_delay_counts_from_now_by_the_clock_of_redis(client, redis):
    before = redis_now(redis)
    answer = await insert(client, {"payload": 1, "delay": 100.5})
    after = redis_now(redis)
    assert answer.json["state"] == "delayed"
    job = (await client.get("/v1/jobs/foo:1")).json
    assert before - 0.001 <= job["due_at"] - 100.5 <= after
    assert job["state"] == "delayed"
    assert job["due_at"] - job["created_at"] == pytest.approx(100.5, abs=0.001)


@awaiting
async def test_a_delayed_job_is_handed_out_when_it_is_due_and_not_before(client):
    began = time.time()
    await insert(client, {"payload": 1, "delay": 0.2})
    assert (await client.get("/q/foo")).status == 404
    assert (await client.get("/q/foo?wait=10")).body == b"1"
    assert 0.19 <= time.time() - began < 5


@awaiting
async def test_no_delay_is_no_delay(client):
    await insert(client, {"jobs": [{"payload": 1}, {"payload": 2, "delay": 0}, {"payload": 3, "delay": None}]})
    assert [(await client.get("/q/foo")).body for _ in range(3)] == [b"1", b"2", b"3"]


@awaiting
async def test_run_at_is_an_epoch_and_a_past_one_is_at_once(client):
    at = round(time.time() + 1000, 3)
    assert (await insert(client, {"payload": 1, "run_at": at})).json["state"] == "delayed"
    assert (await client.get("/v1/jobs/foo:1")).json["due_at"] == pytest.approx(at, abs=0.0015)
    assert (await insert(client, {"payload": 2, "run_at": 1})).json["state"] == "ready"
    assert (await client.get("/q/foo")).body == b"2"


@awaiting
async def test_delay_and_run_at_exclude_each_other(client):
    for body in ({"payload": 1, "delay": 1, "run_at": 1}, {"jobs": [{"payload": 1, "delay": 1, "run_at": 1}]}):
        wrong = is_problem(await insert(client, body), 400, "bad-request", "Bad request")
        assert "delay" in wrong["detail"]
        assert "run_at" in wrong["detail"]


@awaiting
async def test_a_unique_key_refuses_a_second_job_and_names_the_first(client):
    assert (await insert(client, {"payload": 1, "unique": "k"})).status == 201
    answer = await insert(client, {"payload": 2, "unique": "k"})
    title = "Duplicate job"
    wrong = is_problem(answer, 409, "duplicate", title, "job already exists")
    assert wrong["existing"] == "foo:1"
    assert (await insert(client, {"payload": 2, "unique": "k"}, "bar")).status == 201
    assert (await insert(client, {"payload": 2, "unique": "other"})).status == 201


@awaiting
async def test_a_unique_key_counts_while_its_job_is_delayed_and_is_free_once_it_was_taken(client):
    await insert(client, {"payload": 1, "unique": "k", "delay": 0.05})
    assert (await insert(client, {"payload": 2, "unique": "k"})).json["existing"] == "foo:1"
    assert (await client.get("/q/foo?wait=10")).body == b"1"
    assert (await insert(client, {"payload": 2, "unique": "k"})).status == 201


@awaiting
async def test_a_batch_may_not_use_a_unique_key_twice(client):
    batch = {"jobs": [{"payload": 1, "unique": "k"}, {"payload": 2, "unique": "k"}]}
    assert "existing" not in is_problem(await insert(client, batch), 409, "duplicate")
    assert await ready(client) == 0
    assert (await insert(client, {"payload": 3, "unique": "k"})).status == 201


@awaiting
async def test_a_batch_with_one_taken_unique_key_inserts_nothing(client):
    await insert(client, {"payload": 1, "unique": "k"})
    batch = {"jobs": [{"payload": 2}, {"payload": 3, "unique": "free"}, {"payload": 4, "unique": "k"}]}
    assert is_problem(await insert(client, batch), 409, "duplicate")["existing"] == "foo:1"
    assert await ready(client) == 1
    assert (await insert(client, {"payload": 3, "unique": "free"})).status == 201


@awaiting
async def test_of_many_with_one_unique_key_at_once_one_goes_in(client):
    sent = [Deferred.fromCoroutine(insert(client, {"payload": n, "unique": "k"})) for n in range(20)]
    assert sorted(answer.status for answer in await gatherResults(sent)) == [201] + [409] * 19


@awaiting
async def test_a_job_may_have_its_own_most_attempts(client):
    await insert(client, {"jobs": [{"payload": 1, "max_attempts": 2}, {"payload": 2}]})
    assert (await client.get("/v1/jobs/foo:1")).json["max_attempts"] == 2
    assert (await client.get("/v1/jobs/foo:2")).json["max_attempts"] == 5


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ('"priority":10', "priority"),
        ('"colour":2', "colour"),
        ('"worker_id":"w"', "worker_id"),
        ('"delay":"1"', "delay"),
        ('"delay":-1', "delay"),
        ('"delay":1e99', "delay"),
        ('"delay":true', "delay"),
        ('"run_at":"now"', "run_at"),
        ('"run_at":-1', "run_at"),
        ('"run_at":1700000000000', "run_at"),
        ('"unique":1', "unique"),
        ('"unique":""', "unique"),
        (f'"unique":"{"x" * 1025}"', "unique"),
        ('"max_attempts":0', "max_attempts"),
        ('"max_attempts":1.5', "max_attempts"),
        ('"max_attempts":"3"', "max_attempts"),
        ('"max_attempts":99999999999999999999999999', "max_attempts"),
    ],
)
@awaiting
async def test_a_wrong_field_is_named_and_nothing_is_inserted(client, fields, named):
    for body in ('{"payload":1,%s}', '{"jobs":[{"payload":0},{"payload":1,%s}]}'):
        answer = await insert(client, (body % fields).encode())
        wrong = is_problem(answer, 400, "bad-request", "Bad request")
        assert named in wrong["detail"]
    assert (await client.get("/v1/queues/foo")).status == 404


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"null",
        b"{}",
        b'{"payload":}',
        b'{"payload":007}',
        b'{"payload":NaN}',
        b'{"payload":1.}',
        b'{"payload":"\xff"}',
        b'{"payload":"\xed\xa0\x80"}',
        b'{"payload":"a\nb"}',
        b'{"payload":1}x',
        b'\xef\xbb\xbf{"payload":1}',
        '{"payload":1}'.encode("utf-16"),
        b'{"payload":' + b"[" * 100_000,
        b'{"payload":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"jobs":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"jobs":null}',
        b'{"jobs":{}}',
        b'{"jobs":[1]}',
        b'{"jobs":[{}]}',
        b'{"jobs":[{"payload":1},{"delay":1}]}',
        b'{"jobs":[{"payload":1}],"payload":2}',
        b'{"jobs":[{"payload":1}],"delay":2}',
    ],
    ids=lambda body: repr(body[:24]) + str(len(body)),
)
@awaiting
async def test_what_is_no_insertion_is_refused(client, redis, body):
    is_problem(await insert(client, body), 400, "bad-request")
    assert redis.command("KEYS", "presque:{*") == []


PAYLOADS = [
    b"1.50",
    b"-0",
    b"1e999",
    b"123456789012345678901234567890",
    b"null",
    b"true",
    b'""',
    b'"text"',
    b'"\\u00e9 \xc3\xa9 \\/ \\" \\\\ \\n \xf0\x9f\x98\x80"',
    b'"\\ud83d\\ude00"',
    b"[]",
    b"[1,\t2 , [3.0]\r\n]",
    b'{ "b" : 1,\n "a":[ ], "b":2 }',
    b'{"payload":{"payload":"}"},"jobs":[1]}',
    b'"</script>&\x7f"',
    b"[" * 100 + b"]" * 100,
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: repr(payload[:20]))
@awaiting
async def test_a_payload_comes_back_byte_for_byte_everywhere(client, payload):
    for body in (b'{"payload": %b\n}', b'{"max_attempts":3,"payload":%b ,"delay":0}', b'{"jobs":[ {"payload": %b } ]}'):
        assert (await insert(client, body % payload)).status == 201
    for place in ("/v1/jobs/foo:1", "/v1/queues/foo/jobs?limit=1"):
        assert b'"payload":' + payload + b',"' in (await client.get(place)).body
    reserved = await client.post("/v1/queues/foo/reservations", b"{}")
    assert b'"payload":' + payload + b',"headers":{},"receipt":' in reserved.body
    assert (await client.get("/q/foo")).body == payload
    assert [text.encode() for text in (await client.get("/qb/foo")).json] == [payload]


@awaiting
async def test_a_large_payload_comes_back_whole(client):
    payload = b'"' + b"x" * 1_000_000 + b'"'
    assert (await insert(client, b'{"payload":' + payload + b"}")).status == 201
    assert (await client.get("/q/foo")).body == payload


@awaiting
async def test_a_body_over_the_limit_is_a_problem_too(client):
    answer = await insert(client, b'{"payload":"' + b"x" * 1_100_000 + b'"}')
    is_problem(answer, 413, "too-large", "Request too large")


@awaiting
async def test_a_full_queue_refuses_on_every_route_of_insertion(client):
    await client.request("PATCH", "/v1/queues/foo", b'{"max_length":3}')
    assert (await insert(client, {"jobs": [{"payload": 1}, {"payload": 2, "delay": 60}]})).status == 201
    title = "Queue is full"
    answer = await insert(client, {"jobs": [{"payload": 3}, {"payload": 4}]})
    is_problem(answer, 429, "queue-full", title, "queue is full")
    assert await ready(client) == 1
    assert (await client.post("/q/foo", b"{}")).status == 201
    is_problem(await insert(client, JOB), 429, "queue-full")
    for answer in (
        await client.post("/q/foo", b"{}"),
        await client.put("/q/foo", b"{}"),
        await client.post("/qb/foo", b'{"jobs":[{}]}'),
    ):
        assert (answer.status, answer.body) == (429, b'{"error":"queue is full"}')
    assert (await client.get("/j/foo")).json["job_failed"] == 0
    await client.get("/q/foo")
    assert (await insert(client, JOB)).status == 201
    assert (await insert(client, JOB, "bar")).status == 201


@awaiting
async def test_the_same_key_and_body_is_answered_the_same_and_inserts_nothing(client):
    for body in (JOB, b'{"jobs":[{"payload":1},{"payload":2,"delay":60}]}'):
        key = str(len(body))
        first = await insert(client, body, Idempotency_Key=key)
        assert first.status == 201
        size = await ready(client)
        for _ in range(3):
            again = await insert(client, body, Idempotency_Key=key)
            assert (again.status, again.body) == (201, first.body)
            assert again.headers.get("location") == first.headers.get("location")
        assert await ready(client) == size


@awaiting
async def test_the_same_key_is_answered_the_same_after_the_job_was_taken_and_while_its_unique_key_waits(client):
    body = {"payload": 1, "unique": "k"}
    await insert(client, body, Idempotency_Key="a")
    assert (await insert(client, body, Idempotency_Key="a")).json["id"] == "foo:1"
    assert (await insert(client, body, Idempotency_Key="b")).status == 409
    await client.get("/q/foo")
    assert (await insert(client, body, Idempotency_Key="a")).json["id"] == "foo:1"
    assert await ready(client) == 0


@awaiting
async def test_the_same_key_with_another_body_is_a_mismatch(client):
    await insert(client, JOB, Idempotency_Key="k")
    answer = await insert(client, b'{"payload":2}', Idempotency_Key="k")
    title = "Idempotency key reused"
    is_problem(answer, 422, "idempotency-mismatch", title, "another request was made with this idempotency key")
    assert await ready(client) == 1


@awaiting
async def test_a_key_belongs_to_its_queue(client):
    for queue in ("foo", "bar", "foo:a"):
        assert (await insert(client, JOB, queue, Idempotency_Key="a")).status == 201
        assert await ready(client, queue) == 1


@awaiting
async def test_many_requests_with_one_key_at_once_insert_one_job(client):
    sent = [Deferred.fromCoroutine(insert(client, JOB, Idempotency_Key="k")) for _ in range(30)]
    answers = await gatherResults(sent)
    assert {(answer.status, answer.body) for answer in answers} == {(201, b'{"id":"foo:1","state":"ready"}')}
    assert await ready(client) == 1


@awaiting
async def test_a_refused_insertion_does_not_use_its_key_up(client):
    await insert(client, {"payload": 1, "unique": "k"})
    body = {"payload": 2, "unique": "k"}
    assert (await insert(client, body, Idempotency_Key="a")).status == 409
    assert (await client.get("/q/foo")).body == b"1"
    assert (await insert(client, body, Idempotency_Key="a")).status == 201


@awaiting
async def test_a_key_is_kept_for_a_day(client, redis):
    await insert(client, JOB, Idempotency_Key="k")
    (remembered,) = redis.command("KEYS", "*/idempotency/*")
    assert 86_390 < int(redis.command("TTL", remembered)) <= 86_400


@awaiting
async def test_a_key_may_be_any_255_bytes_and_no_more(client):
    for key in ("x" * 255, "a b", '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "foo/bar:{}*"):
        assert (await insert(client, JOB, Idempotency_Key=key)).status == 201
        assert (await insert(client, b"%b " % JOB, Idempotency_Key=key)).status == 422
    answer = await insert(client, JOB, Idempotency_Key="x" * 256)
    wrong = is_problem(answer, 400, "bad-request", "Bad request")
    assert "Idempotency-Key" in wrong["detail"]
    assert await ready(client) == 4


@awaiting
async def test_a_bad_name_is_a_problem(client):
    answer = await insert(client, JOB, ".foo")
    is_problem(answer, 400, "invalid-name", "Invalid queue name", "invalid queue name")


@pytest.mark.parametrize("path", ["q/foo", "qb/foo", "v1/queues/foo/jobs"])
@awaiting
async def test_two_idempotency_keys_are_a_mistake(daemon, client, path):
    body = {"q/foo": b"{}", "qb/foo": b'{"jobs":[{}]}'}.get(path, b'{"payload":1}')
    head = f"POST /{path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    keys = "Idempotency-Key: one\r\nIdempotency-Key: two\r\nConnection: close\r\n\r\n"
    received = await raw(port_of(daemon), head.encode() + keys.encode() + body)
    assert received.startswith(b"HTTP/1.1 400 ")
    assert b"Idempotency-Key must be given once" in received
    assert (await client.get("/status/")).json["queues"] == []
