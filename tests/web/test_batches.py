"""`/qb/<queue>`, row by row."""

import json
import time

import pytest
from pytest_twisted import ensureDeferred as awaiting

JOB = b'{"key":"value"}'
NO_JOB = (404, b'{"error":"no job"}')


def batch(*jobs):
    return b'{"jobs":[' + b",".join(jobs) + b"]}"


def numbered(*numbers):
    return [b'{"n":%d}' % n for n in numbers]


def numbers(answer):
    return [json.loads(text)["n"] for text in answer.json]


async def refused(client, message, body, path="/qb/foo", method="POST", **headers):
    headers = headers or {"Content_Type": "application/json"}
    answer = await client.request(method, path, body, **headers)
    assert (answer.status, answer.json) == (400, {"error": message}), body[:60]
    assert answer.headers["content-type"] == "application/json"
    assert (await client.get("/status/")).json == {"queues": [], "size": 0}


@awaiting
async def test_a_posted_batch_is_answered_201_with_nothing(client):
    answer = await client.post("/qb/foo", batch(JOB, JOB))
    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["content-type"] == "application/json"
    assert (await client.get("/status/foo")).json["size"] == 2


@awaiting
async def test_a_fetched_batch_is_an_array_of_strings_that_hold_json(client):
    await client.post("/qb/foo", batch(b'{"a":1}', b'{"b":"x\\"y"}'))
    answer = await client.get("/qb/foo")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == rb'["{\"a\":1}","{\"b\":\"x\\\"y\"}"]'
    assert [json.loads(text) for text in json.loads(answer.body)] == [{"a": 1}, {"b": 'x"y'}]


@awaiting
async def test_a_batch_is_handed_out_once(client):
    await client.post("/qb/foo", batch(JOB))
    assert (await client.get("/qb/foo")).status == 200
    answer = await client.get("/qb/foo")
    assert (answer.status, answer.body) == NO_JOB


@awaiting
async def test_each_job_is_the_very_slice_of_the_body_that_it_was(client):
    assert (await client.post("/qb/foo", rb'{"jobs":[ {"n":1.50} , {"a":"\u00e9"}]}')).status == 201
    answer = await client.get("/qb/foo")
    assert answer.body == rb'["{\"n\":1.50}","{\"a\":\"\\u00e9\"}"]'


@awaiting
async def test_jobs_of_a_batch_come_back_byte_for_byte(client):
    jobs = [
        b'{"n":1.50, "a":"\xc3\xa9"}',
        b'{\n"b" : 1 , "a":[ ] }',
        b'{"b":1,"a":2,"b":3}',
        b'{"x":123456789012345678901234567890,"e":1e999}',
        b'{"a":"]},{\\"","c":"\\\\"}',
        b"{ }",
    ]
    body = b' {"other" : [1] ,\r\n"jobs"\t: [\n' + b" ,\r\n".join(jobs) + b" ] } "
    for fetch_one in (True, False):
        assert (await client.post("/qb/foo", body)).status == 201
        if fetch_one:
            assert [(await client.get("/q/foo")).body for _ in jobs] == jobs
        else:
            assert [text.encode() for text in (await client.get("/qb/foo")).json] == jobs


@awaiting
async def test_a_job_posted_alone_is_fetched_in_a_batch(client):
    job = b'{"a": "\xe2\x98\x83"}\r\n'
    await client.post("/q/foo", job)
    assert [text.encode() for text in (await client.get("/qb/foo")).json] == [job]


@awaiting
async def test_a_batch_without_jobs_is_accepted_and_inserts_nothing(client):
    answer = await client.post("/qb/foo", b'{"jobs":[]}')
    assert (answer.status, answer.body) == (201, b"")
    answer = await client.get("/qb/foo")
    assert (answer.status, answer.body) == NO_JOB
    assert (await client.get("/status/foo")).json["size"] == 0


@awaiting
async def test_an_empty_queue_has_no_batch(client):
    answer = await client.get("/qb/foo")
    assert (answer.status, answer.body) == NO_JOB
    assert answer.headers["content-type"] == "application/json"


@awaiting
async def test_ten_jobs_are_fetched_unless_told_otherwise(client):
    await client.post("/qb/foo", batch(*numbered(*range(25))))
    assert numbers(await client.get("/qb/foo")) == list(range(10))
    assert numbers(await client.get("/qb/foo")) == list(range(10, 20))
    assert numbers(await client.get("/qb/foo")) == list(range(20, 25))


@awaiting
async def test_batch_size_says_how_many_jobs_are_fetched(client):
    await client.post("/qb/foo", batch(*numbered(*range(30))))
    assert numbers(await client.get("/qb/foo?batch_size=1")) == [0]
    assert numbers(await client.get("/qb/foo?batch_size=012")) == list(range(1, 13))
    assert numbers(await client.get("/qb/foo?batch_size=1000")) == list(range(13, 30))


@pytest.mark.parametrize("size", ["1001", "5000", "99999999999999999999"])
@awaiting
async def test_a_larger_batch_size_counts_as_1000(client, size):
    await client.post("/qb/foo", batch(*numbered(*range(1100))))
    assert numbers(await client.get(f"/qb/foo?batch_size={size}")) == list(range(1000))
    assert (await client.get("/status/foo")).json["size"] == 100


@pytest.mark.parametrize("size", ["-1", "%2B5", "ten", "1.5", "1e1", "0x10", "5%20", "%D9%A3", "%ff", "%00"])
@awaiting
async def test_an_impossible_batch_size_is_refused_and_no_job_is_taken(client, size):
    await client.post("/qb/foo", batch(JOB))
    answer = await client.get(f"/qb/foo?batch_size={size}")
    assert answer.status == 400
    assert list(answer.json) == ["error"]
    assert (await client.get("/status/foo")).json["size"] == 1


@awaiting
async def test_a_thousand_jobs_go_in_and_out_in_order(client):
    assert (await client.post("/qb/foo", batch(*numbered(*range(1000))))).status == 201
    assert (await client.get("/j/foo")).json["job_count"] == 1000
    assert numbers(await client.get("/qb/foo?batch_size=1000")) == list(range(1000))
    assert (await client.get("/j/foo")).json == {
        "queue_name": "foo",
        "job_count": 0,
        "job_failed": 0,
        "job_processed": 1000,
    }


@awaiting
async def test_ten_thousand_jobs_are_accepted_and_one_more_is_refused(client):
    await refused(client, "jobs should be at most 10000", batch(*[b"{}"] * 10_001))
    assert (await client.post("/qb/foo", batch(*[b"{}"] * 10_000))).status == 201
    assert (await client.get("/status/foo")).json["size"] == 10_000


@awaiting
async def test_batches_and_single_jobs_keep_their_common_order(client):
    await client.post("/qb/foo", batch(*numbered(0, 1)))
    await client.post("/q/foo", b'{"n":2}')
    await client.post("/qb/foo", batch(*numbered(3, 4)))
    assert numbers(await client.get("/qb/foo?batch_size=2")) == [0, 1]
    assert (await client.get("/q/foo")).json["n"] == 2
    assert numbers(await client.get("/qb/foo")) == [3, 4]


BAD_JOBS = [b"1", b"null", b'"text"', b"[]", b'{"a":}', b"{", b'{"a":"\xff"}', b"", b'{"n":NaN}']


@pytest.mark.parametrize("bad", BAD_JOBS, ids=repr)
@pytest.mark.parametrize("place", [0, 1, 2])
@awaiting
async def test_one_bad_job_refuses_the_whole_batch(client, bad, place):
    jobs = [JOB, JOB]
    jobs.insert(place, bad)
    answer = await client.post("/qb/foo", batch(*jobs))
    assert answer.status == 400
    assert list(answer.json) == ["error"]
    assert (await client.get("/status/")).json == {"queues": [], "size": 0}


@pytest.mark.parametrize("bad", [b"1", b"null", b'"text"', b"[]", b"true", b'[{"a":1}]'])
@awaiting
async def test_each_job_must_be_an_object(client, bad):
    await refused(client, "job must be a valid JSON object", batch(JOB, bad))


@pytest.mark.parametrize("jobs", [b'{"a":1}', b'"[]"', b"1", b"null", b"true", b"{}"])
@awaiting
async def test_jobs_must_be_a_list(client, jobs):
    await refused(client, "jobs should be an array of job", b'{"jobs":' + jobs + b"}")


@pytest.mark.parametrize("body", [b"{}", b'{"job":[{"a":1}]}', b'{"Jobs":[{"a":1}]}'])
@awaiting
async def test_jobs_must_be_there(client, body):
    await refused(client, "jobs should be an array of job", body)


@pytest.mark.parametrize("body", [b"{", b"[", b'{"jobs":[{}]', b'{"jobs":[{}]}x', b'{"jobs":[{}],"a":"\xff"}', b"\xff"])
@awaiting
async def test_what_is_not_json_is_refused(client, body):
    await refused(client, "job must be a valid JSON object", body)


@awaiting
async def test_a_deeply_nested_batch_is_refused(client):
    await refused(client, "job must be a valid JSON object", b'{"jobs":[' * 50_000)
    await refused(client, "job must be a valid JSON object", batch(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"))


@awaiting
async def test_an_empty_body_is_refused(client):
    await refused(client, "job is missing", b"")


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
@awaiting
async def test_another_content_type_is_refused(client, content_type):
    message = "content-type must be set to application/json"
    await refused(client, message, batch(JOB), **({"Content_Type": content_type} if content_type else {"X": "y"}))


@awaiting
async def test_content_type_may_have_parameters(client):
    assert (await client.post("/qb/foo", batch(JOB), "application/json; charset=utf-8")).status == 201


@awaiting
async def test_delayed_keeps_all_jobs_back(client):
    assert (await client.post(f"/qb/foo?delayed={time.time() + 60}", batch(JOB, JOB, JOB))).status == 201
    answer = await client.get("/qb/foo")
    assert (answer.status, answer.body) == NO_JOB
    assert (await client.get("/status/")).json == {"queues": ["foo"], "size": 1}
    assert (await client.get("/status/foo")).json["size"] == 0


@awaiting
async def test_a_batch_delayed_until_a_past_time_comes_at_once_in_order_before_waiting_jobs(client):
    await client.post("/q/foo", b'{"n":"waiting"}')
    assert (await client.post("/qb/foo?delayed=1.5", batch(*numbered(*range(12))))).status == 201
    assert numbers(await client.get("/qb/foo?batch_size=20")) == [*range(12), "waiting"]


@pytest.mark.parametrize("delayed", ["soon", "nan", "1e400"])
@awaiting
async def test_delayed_must_be_a_date(client, delayed):
    await refused(client, "delayed must be a date in epoch", batch(JOB), f"/qb/foo?delayed={delayed}")


@awaiting
async def test_a_uniq_key_means_nothing_to_a_batch(client):
    assert (await client.post("/qb/foo?uniq=k", batch(JOB, JOB))).status == 201
    assert (await client.post("/qb/foo?uniq=k", batch(JOB))).status == 201
    assert (await client.post("/q/foo?uniq=k", JOB)).status == 201
    assert (await client.get("/status/foo")).json["size"] == 4


@awaiting
async def test_a_fetched_batch_frees_the_uniq_keys_of_its_jobs(client):
    await client.post("/q/foo?uniq=k", JOB)
    assert (await client.get("/qb/foo")).status == 200
    assert (await client.post("/q/foo?uniq=k", JOB)).status == 201


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("body", [b"", batch(JOB), b"nonsense"])
@awaiting
async def test_put_and_delete_are_not_supported(client, method, body):
    await client.post("/q/foo", JOB)
    answer = await client.request(method, "/qb/foo", body)
    assert answer.status == 400
    assert answer.body == b'{"error":"%b is not supported in batch mode"}' % method.encode()
    assert (await client.get("/j/foo")).json["job_count"] == 1
    assert (await client.get("/j/foo")).json["job_failed"] == 0


@awaiting
async def test_a_batch_counts_each_of_its_jobs_on_queue_and_worker(client):
    for worker in ("w1", "w3"):
        await client.post(f"/w/foo?worker_id={worker}")
    await client.post("/qb/foo", batch(*[JOB] * 7))
    await client.get("/qb/foo?batch_size=3", X_presque_workerid="w1")
    await client.get("/qb/foo?batch_size=2&worker_id=w1")
    await client.get("/qb/foo?batch_size=1&worker_id=w2", X_presque_workerid="w3")
    await client.get("/qb/foo")
    assert (await client.get("/j/foo")).json["job_processed"] == 7
    assert (await client.get("/w/?worker_id=w1")).json["processed"] == "5"
    assert (await client.get("/w/?worker_id=w3")).json["processed"] == "1"
    assert (await client.get("/w/?worker_id=w2")).status == 404


@awaiting
async def test_a_stopped_queue_takes_batches_and_hands_none_out(client):
    await client.post("/control/foo", b'{"status":"stop"}')
    assert (await client.post("/qb/foo", batch(JOB))).status == 201
    answer = await client.get("/qb/foo")
    assert (answer.status, answer.body) == (404, b'{"error":"queue is closed"}')


@awaiting
async def test_a_batch_size_of_nothing_counts_as_the_default(client):
    for size in ("", "0", "00"):
        await client.post("/qb/foo", batch(*[JOB] * 10))
        assert len((await client.get(f"/qb/foo?batch_size={size}")).json) == 10
