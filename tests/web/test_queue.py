"""`/q/<queue>`, row by row."""

import time
from urllib.parse import quote

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually, port_of, raw

JOB = b'{"key":"value"}'


@awaiting
async def test_a_posted_job_is_answered_201_with_nothing(client):
    answer = await client.post("/q/foo", JOB)
    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["content-type"] == "application/json"


@awaiting
async def test_a_job_comes_back_byte_for_byte_and_once(client):
    for job in (
        b'{"n":1.50, "a":"\xc3\xa9"}',
        b'{"a":"\\u00e9"}',
        b'{"x":123456789012345678901234567890}',
        b' {\n"b" : 1 , "a":[ ] }\r\n',
        b'{"b":1,"a":2,"b":3}',
        b"{}",
        b'{"e":1e999}',
    ):
        assert (await client.post("/q/foo", job)).status == 201
        answer = await client.get("/q/foo")
        assert (answer.status, answer.body) == (200, job)
        assert answer.headers["content-type"] == "application/json"
        assert (await client.get("/q/foo")).status == 404


@awaiting
async def test_an_empty_queue_has_no_job(client):
    answer = await client.get("/q/foo")
    assert (answer.status, answer.body) == (404, b'{"error":"no job"}')


@awaiting
async def test_jobs_come_first_in_first_out(client):
    for n in range(20):
        await client.post("/q/foo", b'{"n":%d}' % n)
    assert [(await client.get("/q/foo")).json["n"] for _ in range(20)] == list(range(20))


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/json;charset=UTF-8", "Application/JSON"]
)
@awaiting
async def test_content_type_may_have_parameters(client, content_type):
    assert (await client.post("/q/foo", JOB, content_type)).status == 201


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("headers", [{}, {"Content_Type": "text/plain"}, {"Content_Type": "application/jsonp"}])
@awaiting
async def test_another_content_type_is_refused(client, method, headers):
    answer = await client.request(method, "/q/foo", JOB, **headers)
    assert (answer.status, answer.body) == (400, b'{"error":"content-type must be set to application/json"}')


@pytest.mark.parametrize("method", ["POST", "PUT"])
@awaiting
async def test_an_empty_body_is_refused(client, method):
    answer = await client.request(method, "/q/foo", b"", Content_Type="application/json")
    assert (answer.status, answer.body) == (400, b'{"error":"job is missing"}')


NOT_OBJECTS = [
    b"[]",
    b'"text"',
    b"1",
    b"null",
    b"{",
    b'{"a":1}x',
    b'{"a":}',
    b'{"n":007}',
    b'{"n":NaN}',
    b'{"a":"\xff"}',
    b'{"a":"\xed\xa0\x80"}',
    b'{"a":1}'.decode().encode("utf-16"),
    b'\xef\xbb\xbf{"a":1}',
    b'{"a":' + b"[" * 100_000,
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b" ",
]


@pytest.mark.parametrize("body", NOT_OBJECTS, ids=lambda body: repr(body[:20]))
@awaiting
async def test_what_is_not_a_json_object_is_refused(client, body):
    answer = await client.post("/q/foo", body)
    assert (answer.status, answer.body) == (400, b'{"error":"job must be a valid JSON object"}')


@awaiting
async def test_a_delayed_job_is_not_handed_out_before_its_time(client):
    due = time.time() + 0.6
    assert (await client.post(f"/q/foo?delayed={due}", JOB)).status == 201
    assert (await client.get("/q/foo")).status == 404

    async def fetched():
        answer = await client.get("/q/foo")
        return answer if answer.status == 200 else None

    answer = await eventually(fetched, "the delayed job")
    assert time.time() >= due
    assert answer.body == JOB


@awaiting
async def test_a_job_delayed_until_a_past_time_is_handed_out_at_once(client):
    assert (await client.post("/q/foo?delayed=1", JOB)).status == 201
    assert (await client.get("/q/foo")).body == JOB


@awaiting
async def test_jobs_that_came_due_go_before_waiting_ones_earliest_due_first(client):
    await client.post("/q/foo", b'{"n":"waiting"}')
    now = time.time()
    for due in (now - 10, now - 30, now - 20):
        await client.post(f"/q/foo?delayed={due:.3f}", b'{"n":%d}' % (now - due))
    assert [(await client.get("/q/foo")).json["n"] for _ in range(4)] == [30, 20, 10, "waiting"]


@pytest.mark.parametrize("delayed", ["soon", "nan", "inf", "1e400", "0x10", "12,5", "1700000000000", "\u0663"])
@awaiting
async def test_delayed_must_be_a_date(client, delayed):
    answer = await client.post(f"/q/foo?delayed={quote(delayed)}", JOB)
    assert (answer.status, answer.body) == (400, b'{"error":"delayed must be a date in epoch"}')


@awaiting
async def test_a_uniq_key_refuses_a_second_job_while_the_first_waits(client):
    assert (await client.post("/q/foo?uniq=k", JOB)).status == 201
    answer = await client.post("/q/foo?uniq=k", b'{"other":1}')
    assert (answer.status, answer.body) == (400, b'{"error":"job already exists"}')
    assert (await client.post("/q/foo?uniq=k2", JOB)).status == 201
    assert (await client.post("/q/bar?uniq=k", JOB)).status == 201
    assert (await client.get("/status/foo")).json["size"] == 2


@awaiting
async def test_a_uniq_key_counts_while_the_job_is_delayed(client):
    assert (await client.post(f"/q/foo?uniq=k&delayed={time.time() + 60}", JOB)).status == 201
    assert (await client.post("/q/foo?uniq=k", JOB)).status == 400


@awaiting
async def test_a_uniq_key_is_free_again_once_the_job_was_fetched(client):
    await client.post("/q/foo?uniq=k", JOB)
    assert (await client.get("/q/foo")).status == 200
    assert (await client.post("/q/foo?uniq=k", JOB)).status == 201


@awaiting
async def test_a_uniq_key_is_free_again_once_the_queue_was_purged(client):
    await client.post("/q/foo?uniq=k", JOB)
    assert (await client.delete("/q/foo")).status == 204
    assert (await client.post("/q/foo?uniq=k", JOB)).status == 201


@awaiting
async def test_uniq_keys_may_be_any_bytes(client):
    for key in ("%00", "%ff%fe", "a%20b", "%E2%98%83", "x" * 2000):
        assert (await client.post(f"/q/foo?uniq={key}", JOB)).status == 201
        assert (await client.post(f"/q/foo?uniq={key}", JOB)).status == 400


@awaiting
async def test_put_inserts_and_counts_a_failure(client):
    await client.post("/w/foo?worker_id=w1")
    answer = await client.put("/q/foo?worker_id=w1", JOB)
    assert (answer.status, answer.body) == (201, b"")
    assert (await client.get("/j/foo")).json["job_failed"] == 1
    assert (await client.get("/w/?worker_id=w1")).json["failed"] == "1"
    assert (await client.get("/q/foo")).body == JOB


@awaiting
async def test_put_takes_delayed_and_uniq_and_a_refused_one_counts_nothing(client):
    assert (await client.put(f"/q/foo?uniq=k&delayed={time.time() + 60}", JOB)).status == 201
    answer = await client.put("/q/foo?uniq=k", JOB)
    assert (answer.status, answer.body) == (400, b'{"error":"job already exists"}')
    assert (await client.put("/q/foo?delayed=x", JOB)).status == 400
    assert (await client.get("/j/foo")).json == {
        "queue_name": "foo",
        "job_count": 0,
        "job_failed": 1,
        "job_processed": 0,
    }


@awaiting
async def test_delete_leaves_nothing_of_the_queue(client, redis):
    await client.post("/q/foo?uniq=k", JOB)
    await client.post(f"/q/foo?delayed={time.time() + 60}", JOB)
    await client.put("/q/foo", JOB)
    await client.get("/q/foo")
    await client.post("/control/foo", b'{"status":"stop"}')
    answer = await client.delete("/q/foo")
    assert (answer.status, answer.body) == (204, b"")
    assert (await client.get("/status/")).json == {"queues": [], "size": 0}
    assert (await client.get("/control/foo")).json["status"] == "1"
    assert (await client.get("/j/foo")).json["job_processed"] == 0
    left = {b"presque:{0}/floor", b"presque:{0}/timings"}  # numbers are never used again, and histograms never fall
    assert set(redis.command("KEYS", "presque:{*")) == left


@awaiting
async def test_ids_are_never_used_again(client):
    for n in range(1, 4):
        await client.post("/q/foo", JOB)
        assert [job["id"] for job in (await client.get("/v1/queues/foo/jobs")).json["jobs"]] == [f"foo:{n}"]
        await client.delete("/q/foo")


@awaiting
async def test_a_stopped_queue_takes_insertions_and_hands_nothing_out(client):
    await client.post("/control/foo", b'{"status":"stop"}')
    assert (await client.post("/q/foo", JOB)).status == 201
    for path in ("/q/foo", "/qb/foo"):
        answer = await client.get(path)
        assert (answer.status, answer.body) == (404, b'{"error":"queue is closed"}')
    await client.post("/control/foo", b'{"status":"start"}')
    assert (await client.get("/q/foo")).body == JOB


@awaiting
async def test_a_fetch_counts_on_queue_and_worker(client):
    await client.post("/w/foo?worker_id=w1")
    for _ in range(3):
        await client.post("/q/foo", JOB)
    await client.get("/q/foo", X_presque_workerid="w1")
    await client.get("/q/foo?worker_id=w1")
    await client.get("/q/foo")
    await client.get("/q/foo", X_presque_workerid="w1")
    assert (await client.get("/j/foo")).json["job_processed"] == 3
    assert (await client.get("/w/?worker_id=w1")).json["processed"] == "2"


@awaiting
async def test_the_header_names_the_worker_before_the_query_does(client):
    await client.post("/q/foo", JOB)
    for worker in ("query", "header"):
        await client.post(f"/w/foo?worker_id={worker}")
    await client.get("/q/foo?worker_id=query", X_presque_workerid="header")
    assert [each["processed"] for each in (await client.get("/w/")).json["workers"]] == ["1", "0"]


@pytest.mark.parametrize("worker", ["a" * 257, "%00", "a%0Ab", "%ff"])
@awaiting
async def test_an_impossible_worker_id_is_refused_and_no_job_is_taken(client, worker):
    await client.post("/q/foo", JOB)
    answer = await client.get(f"/q/foo?worker_id={worker}")
    assert (answer.status, answer.body) == (400, b'{"error":"invalid worker_id"}')
    assert (await client.get("/q/foo")).status == 200


@awaiting
async def test_chunked_bodies_are_jobs_too(daemon, client):
    request = b"POST /q/foo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await raw(port_of(daemon), request + b'4\r\n{"a"\r\n3;x=y\r\n:1}\r\n0\r\n\r\n', until=b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert (await client.get("/q/foo")).body == b'{"a":1}'


SURROGATES = [
    rb'{"a":"caf\udce9"}',
    rb'{"a\udce9":1}',
    rb'{"a":{"\ud800":["\uD800\uDBFF"]}}',
    rb'{"a":"\udc00\ud800x~0!dc00"}',
    rb'{"a":"\ud83d\ude00\ude00\\ud800"}',
]


@pytest.mark.parametrize("job", SURROGATES)
@awaiting
async def test_a_lone_surrogate_as_an_escape_comes_back_byte_for_byte(client, job):
    assert (await client.post("/q/foo", job)).status == 201
    body = b'{"jobs":[{"n":1} , ' + job + b",{}]}"
    assert (await client.request("POST", "/qb/foo", body, Content_Type="application/json")).status == 201
    body = b'{"payload": ' + job + b"}"
    assert (await client.request("POST", "/v1/queues/foo/jobs", body, Content_Type="application/json")).status == 201
    jobs = (await client.get("/status/foo?with_desc=1")).json["jobs"]
    assert [text.encode() for text in jobs] == [job, b'{"n":1}', job, b"{}", job]
    assert (await client.get("/q/foo")).body == job
    assert [text.encode() for text in (await client.get("/qb/foo")).json] == [b'{"n":1}', job, b"{}", job]


@pytest.mark.parametrize(
    "job",
    [
        rb'{"a":"\ud800","n":007}',
        rb'{"a":"\ud800\q"}',
        rb'{"a":\ud800}',
        b'{"a":"\\ud800\xed\xa0\x80"}',
        rb'["\ud800"]',
    ],
)
@awaiting
async def test_what_else_is_wrong_beside_a_lone_surrogate_is_still_refused(client, job):
    answer = await client.post("/q/foo", job)
    assert (answer.status, answer.body) == (400, b'{"error":"job must be a valid JSON object"}')


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [("POST", "/q/foo", b'{"n":1}'), ("PUT", "/q/foo", b'{"n":1}'), ("POST", "/qb/foo", b'{"jobs":[{"n":1}]}')],
)
@awaiting
async def test_an_insertion_that_is_repeated_with_its_idempotency_key_is_made_once(client, method, path, body):
    def ask(body, key="k"):
        return client.request(method, path, body, Content_Type="application/json", Idempotency_Key=key)

    for _ in range(3):
        answer = await ask(body)
        assert (answer.status, answer.body) == (201, b"")
    assert (await client.get("/j/foo")).json["job_count"] == 1
    assert (await client.get("/j/foo")).json["job_failed"] == (method == "PUT")
    answer = await ask(body.replace(b"1", b"2"))
    message = b'{"error":"another request was made with this idempotency key"}'
    assert (answer.status, answer.body) == (422, message)
    for key in ("", "x" * 256):
        assert (await ask(body, key)).status == 400
    assert (await ask(body, "x" * 255)).status == 201
    assert (await client.get("/j/foo")).json["job_count"] == 2


@awaiting
async def test_an_empty_delayed_counts_as_none(client):
    assert (await client.post("/q/foo?delayed=", JOB)).status == 201
    assert (await client.get("/q/foo")).body == JOB
