"""What is known about queues: `/status`, `/j`, `/control` and the page at `/`."""

import json
import re
import time

import pytest
from pytest_twisted import ensureDeferred as awaiting

JOB = b'{"key":"value"}'
STOP, START = b'{"status":"stop"}', b'{"status":"start"}'


def batch(*jobs):
    return b'{"jobs":[' + b",".join(jobs) + b"]}"


async def says(client, path, body):
    """Assert that `path` is answered 200, in JSON, with these very bytes."""
    answer = await client.get(path)
    assert (answer.status, answer.body) == (200, body)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/status", "/status/"])
@awaiting
async def test_status_lists_the_queues_sorted(client, path):
    await says(client, path, b'{"queues":[],"size":0}')
    for queue in ("foo", "bar", "Zoo", "a:b"):
        await client.post(f"/q/{queue}", JOB)
    await says(client, path, b'{"queues":["Zoo","a:b","bar","foo"],"size":4}')


@awaiting
async def test_status_is_the_same_whatever_its_query(client):
    await client.post("/q/foo", JOB)
    await says(client, "/status?x=1&&=%ff", b'{"queues":["foo"],"size":1}')


@awaiting
async def test_a_queue_is_listed_with_delayed_jobs_alone_and_when_it_has_run_empty(client):
    await client.post(f"/q/later?delayed={time.time() + 60}", JOB)
    await client.post("/q/empty", JOB)
    await client.get("/q/empty")
    await says(client, "/status/", b'{"queues":["empty","later"],"size":2}')


@awaiting
async def test_a_queue_is_not_listed_for_being_asked_about(client):
    for path in ("/status/foo", "/status/foo?with_desc=1", "/j/foo", "/control/foo", "/q/foo", "/qb/foo"):
        await client.get(path)
    await client.delete("/q/foo")
    await says(client, "/status/", b'{"queues":[],"size":0}')


@awaiting
async def test_the_status_of_a_queue_tells_its_ready_jobs_and_policy(client):
    await client.post("/qb/foo", batch(JOB, JOB, JOB))
    await client.post(f"/q/foo?delayed={time.time() + 60}", JOB)
    await says(client, "/status/foo", b'{"queue":"foo","size":3,"policy":"open"}')
    await client.get("/q/foo")
    await says(client, "/status/foo", b'{"queue":"foo","size":2,"policy":"open"}')


@awaiting
async def test_the_status_of_a_stopped_queue_is_closed(client):
    await client.post("/q/foo", JOB)
    await client.post("/control/foo", STOP)
    await says(client, "/status/foo", b'{"queue":"foo","size":1,"policy":"closed"}')
    await client.post("/control/foo", START)
    await says(client, "/status/foo", b'{"queue":"foo","size":1,"policy":"open"}')


@awaiting
async def test_an_unknown_queue_is_empty_and_open(client):
    await says(client, "/status/foo", b'{"queue":"foo","size":0,"policy":"open"}')
    await says(client, "/status/foo?with_desc=1", b'{"queue":"foo","size":0,"policy":"open","jobs":[]}')
    await says(client, "/j/foo", b'{"queue_name":"foo","job_count":0,"job_failed":0,"job_processed":0}')
    await says(client, "/control/foo", b'{"queue":"foo","status":"1"}')


@awaiting
async def test_a_description_holds_the_jobs_as_strings(client):
    await client.post("/q/foo", b'{"a": 1.50}')
    await client.post("/q/foo", b'{"b":"\\u00e9"}')
    body = rb'{"queue":"foo","size":2,"policy":"open","jobs":["{\"a\": 1.50}","{\"b\":\"\\u00e9\"}"]}'
    await says(client, "/status/foo?with_desc=1", body)


@awaiting
async def test_a_description_is_byte_exact_and_takes_nothing(client):
    jobs = [
        b'{"n":1.50, "a":"\xc3\xa9"}',
        b' {\n"b" : 1 , "a":[ ] }\r\n',
        b'{"b":1,"b":3}',
        b'{"s":"\xf0\x9f\x98\x80"}',
        b"{}",
    ]
    for job in jobs:
        await client.post("/q/foo", job)
    for _ in range(2):
        answer = await client.get("/status/foo?with_desc=1")
        assert [text.encode() for text in answer.json["jobs"]] == jobs
    assert [(await client.get("/q/foo")).body for _ in jobs] == jobs


@awaiting
async def test_a_description_has_the_jobs_in_the_order_in_which_they_will_be_handed_out(client):
    await client.post("/qb/foo", batch(b'{"n":4}', b'{"n":5}'))
    for n in (3, 1, 2):
        await client.post(f"/q/foo?delayed={n}", b'{"n":%d}' % n)
    await client.post(f"/q/foo?delayed={time.time() + 60}", b'{"n":"later"}')
    described = (await client.get("/status/foo?with_desc=1")).json
    assert described["size"] == 5
    assert described["jobs"] == ['{"n":1}', '{"n":2}', '{"n":3}', '{"n":4}', '{"n":5}']
    assert (await client.get("/qb/foo")).json == described["jobs"]


@awaiting
async def test_a_description_holds_the_thousand_oldest_jobs_at_most(client):
    await client.post("/qb/foo", batch(*(b'{"n":%d}' % n for n in range(5, 1100))))
    await client.post("/qb/foo?delayed=1", batch(*(b'{"n":%d}' % n for n in range(5))))
    described = (await client.get("/status/foo?with_desc=1")).json
    assert described["size"] == 1100
    assert [json.loads(job)["n"] for job in described["jobs"]] == list(range(1000))


@awaiting
async def test_a_stopped_queue_is_described_all_the_same(client):
    await client.post("/q/foo", b"{}")
    await client.post("/control/foo", STOP)
    await says(client, "/status/foo?with_desc=1", b'{"queue":"foo","size":1,"policy":"closed","jobs":["{}"]}')


@awaiting
async def test_j_tells_what_waits_failed_and_was_fetched(client):
    await client.post("/qb/foo", batch(JOB, JOB, JOB))
    await client.put("/q/foo", JOB)
    await client.post(f"/q/foo?delayed={time.time() + 60}", JOB)
    await client.get("/q/foo")
    await client.post("/q/bar", JOB)
    await says(client, "/j/foo", b'{"queue_name":"foo","job_count":3,"job_failed":1,"job_processed":1}')
    await says(client, "/j/bar", b'{"queue_name":"bar","job_count":1,"job_failed":0,"job_processed":0}')


@awaiting
async def test_control_stops_and_starts_a_queue(client):
    for body, status in ((STOP, b"0"), (STOP, b"0"), (START, b"1"), (START, b"1")):
        answer = await client.post("/control/foo", body)
        assert (answer.status, answer.body) == (200, b'{"response":"updated","queue":"foo"}')
        assert answer.headers["content-type"] == "application/json"
        await says(client, "/control/foo", b'{"queue":"foo","status":"%b"}' % status)
        await says(client, "/control/bar", b'{"queue":"bar","status":"1"}')


@pytest.mark.parametrize(
    "content_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "\xff", "a/b/c;"]
)
@awaiting
async def test_control_takes_any_content_type(client, content_type):
    headers = {} if content_type is None else {"Content_Type": content_type}
    assert (await client.request("POST", "/control/foo", STOP, **headers)).status == 200
    assert (await client.get("/control/foo")).json["status"] == "0"


@pytest.mark.parametrize(
    "body",
    [
        b' {"status" : "stop"}\n',
        b'{"x":[1],"status":"stop"}',
        b'{"status":"s\\u0074op"}',
        b'{"status":"stop","x":"\xff"}',
    ],
)
@awaiting
async def test_control_reads_json_however_it_is_written(client, body):
    assert (await client.post("/control/foo", body)).status == 200
    assert (await client.get("/control/foo")).json["status"] == "0"


@awaiting
async def test_control_without_content_is_refused(client):
    answer = await client.post("/control/foo", b"")
    assert (answer.status, answer.body) == (400, b'{"error":"content is missing"}')


@pytest.mark.parametrize(
    ("said", "what"),
    [
        (b'"pause"', "pause"),
        (b'"Stop"', "Stop"),
        (b'"stop "', "stop "),
        (b'"open"', "open"),
        (b'"\\u00e9"', "\u00e9"),
        (b'"a\\"b"', 'a"b'),
        (b"1", "1"),
        (b"0", "0"),
        (b"true", "true"),
        (b"null", "null"),
        (b"[]", "[]"),
    ],
)
@awaiting
async def test_control_names_the_status_that_it_refuses(client, said, what):
    answer = await client.post("/control/foo", b'{"status":' + said + b"}")
    assert (answer.status, answer.json) == (400, {"error": f"invalid status {what}"})
    await says(client, "/control/foo", b'{"queue":"foo","status":"1"}')
    await says(client, "/status/", b'{"queues":[],"size":0}')


@pytest.mark.parametrize(
    "body",
    [
        b"stop!",
        b"{",
        b"[]",
        b"{}",
        b"1",
        b" ",
        b'{"Status":"stop"}',
        b"status=stop",
        b'{"status":["stop"]}',
        b'{"status":{"status":"stop"}}',
        b'{"status":"stop"}x',
        b'{"status":"stop\xff"}',
        b'{"status":"\xff"}',
        b'{"status":"\\ud800"}',
        b'{"status":"start","x":"\\ud800"}',
        b'{"status":"stop',
        STOP.decode().encode("utf-16"),
        b'{"status":' + b"[" * 100_000,
        b'{"status":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"status":"' + b"x" * 100_000 + b'"}',
        b"\0" * 100,
    ],
    ids=lambda body: repr(body[:20]),
)
@awaiting
async def test_control_refuses_what_it_does_not_understand(client, body):
    await client.post("/control/foo", STOP)
    answer = await client.post("/control/foo", body)
    assert answer.status == 400
    assert list(answer.json) == ["error"]
    assert answer.json["error"].startswith("invalid status")
    assert len(answer.body) < 1000
    assert (await client.get("/control/foo")).json["status"] == "0"


def rows(page):
    """The cells of each row of the page's table."""
    found = re.findall(r"<tr>(.*?)</tr>", page.body.decode(), re.DOTALL)
    return [re.findall(r"<td[^>]*>(?:<[^>]*>)*([^<]*)", row) for row in found]


@awaiting
async def test_the_page_lists_queues_and_their_counts(client):
    await client.post("/qb/foo", batch(*[JOB] * 7))
    await client.get("/qb/foo?batch_size=4")
    await client.put("/q/foo", JOB)
    await client.put("/q/foo", JOB)
    await client.post("/qb/a.b:c@d-e_f", batch(*[JOB] * 11))
    await client.post("/control/foo", STOP)
    page = await client.get("/")
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.body.lower().startswith(b"<!doctype html>")
    by_name = {cells[0]: cells[1:] for cells in rows(page) if cells}
    assert set(by_name) == {"foo", "a.b:c@d-e_f"}
    assert {"5", "4", "2", "closed"} <= set(by_name["foo"])  # ready, fetched, failed
    assert {"11", "open"} <= set(by_name["a.b:c@d-e_f"])


@awaiting
async def test_the_page_is_there_without_queues(client):
    page = await client.get("/")
    assert page.status == 200
    assert [cells for cells in rows(page) if cells] == []


@awaiting
async def test_the_page_repeats_nothing_that_a_request_or_a_job_says(client):
    await client.post("/q/foo?uniq=<i>evil</i>", b'{"a":"<i>evil</i>"}')
    await client.post("/w/foo", b'{"worker_id":"<i>evil</i>"}')
    page = await client.get("/?q=<i>evil</i>", X_presque_workerid="<i>evil</i>", Referer="<i>evil</i>")
    assert page.status == 200
    assert b"<i>evil" not in page.body


@awaiting
async def test_the_page_answers_head_like_get_without_the_page(client):
    await client.post("/q/foo", JOB)
    page, head = await client.get("/"), await client.request("HEAD", "/")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == "text/html; charset=utf-8"
    assert head.headers["content-length"] == str(len(page.body))
