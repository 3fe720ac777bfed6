"""The headers of a job: what they may be, where they are seen, and the trace of an insertion among them."""

import json

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import port_of, raw
from v1 import insert, is_problem, look, reserve, send, settle

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
GOOD = [
    {},
    {"tenant": "acme"},
    {"Content-Type": "text/plain; charset=utf-8", "content-type": "other", "x.y_Z-0": ""},
    {"a": 'caf\u00e9 \u2603 \U0001f600 "quoted" \\ \n \0'},
    {"payload": "1", "receipt": "x", "headers": "{}"},
    {f"n{n}": str(n) for n in range(16)},
    {"a": "x" * 1023},
    {"n" * 1024: ""},
    {"a": "\u2603" * 341},
    {"a": "\ufffd"},
]


async def put(client, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.post("/v1/queues/foo/jobs", content, **headers)


async def headers_of(client, n=1):
    return (await look(client, f"foo:{n}"))["headers"]


@pytest.mark.parametrize("headers", GOOD, ids=lambda headers: str(headers)[:30])
@awaiting
async def test_headers_come_back_wherever_their_job_is_seen(client, headers):
    await insert(client, 1, headers=headers, max_attempts=2)
    await insert(client, 2, headers=headers, delay=60)
    assert await headers_of(client, 1) == await headers_of(client, 2) == headers
    for state in ("ready", "delayed"):
        (job,) = (await client.get(f"/v1/queues/foo/jobs?state={state}")).json["jobs"]
        assert job["headers"] == headers
    for attempt in (1, 2):
        (job,) = await reserve(client)
        assert (job["headers"], job["attempt"]) == (headers, attempt)
        assert (await headers_of(client)) == headers
        await settle(client, "nack", job, delay=0)
    assert (await look(client, "foo:1"))["state"] == "dead"
    assert await headers_of(client) == headers


@awaiting
async def test_headers_leave_the_payload_as_it_was(client):
    body = b'{"headers":{"a":"1"},"payload":{"z":1.50, "a":[ ]}}'
    assert (await put(client, body)).status == 201
    answer = await client.post("/v1/queues/foo/reservations", b"{}")
    assert b'"payload":{"z":1.50, "a":[ ]},"headers":{"a":"1"},"receipt":' in answer.body


@awaiting
async def test_a_job_without_headers_has_none_and_not_null(client):
    await put(client, b'{"payload":1}')
    await put(client, b'{"payload":2,"headers":null}')
    await client.post("/q/foo", b'{"n":3}')
    for n in (1, 2, 3):
        assert await headers_of(client, n) == {}
    assert [job["headers"] for job in await reserve(client, max=3)] == [{}, {}, {}]


@awaiting
async def test_headers_change_nothing_on_the_old_routes(client):
    await insert(client, {"n": 1}, {"n": 2}, headers={"a": "b"})
    assert (await client.get("/status/foo?with_desc=1")).json["jobs"] == ['{"n": 1}', '{"n": 2}']
    assert (await client.get("/q/foo")).body == b'{"n": 1}'
    assert (await client.get("/qb/foo")).json == ['{"n": 2}']


@awaiting
async def test_jobs_of_a_batch_have_each_their_own_headers(client):
    jobs = [{"payload": n, "headers": {"n": str(n)}} if n % 2 else {"payload": n} for n in range(6)]
    await put(client, {"jobs": jobs})
    told = [(job["payload"], job["headers"]) for job in await reserve(client, max=6)]
    assert told == [(n, {"n": str(n)} if n % 2 else {}) for n in range(6)]


@pytest.mark.parametrize(
    "headers",
    [
        "1",
        '"a"',
        "[]",
        '[["a","b"]]',
        '{"a":1}',
        '{"a":null}',
        '{"a":["b"]}',
        '{"a":{}}',
        '{"a":true}',
        '{"":"x"}',
        '{"a b":"x"}',
        '{"a:b":"x"}',
        '{"caf\u00e9":"x"}',
        '{"a\\n":"x"}',
        '{"a\\u0000":"x"}',
        '{"a":"x","\\ud800":"x"}',
        '{"a":"x\\ud800"}',
        json.dumps({f"n{n}": "" for n in range(17)}),
        json.dumps({"a": "x" * 1024}),
        json.dumps({"a": "\u2603" * 342}),
        json.dumps({"a" * 513: "", "b": "x" * 511}),
    ],
    ids=lambda text: text[:20],
)
@awaiting
async def test_wrong_headers_are_refused_by_name_and_nothing_is_inserted(client, headers):
    for body in ('{"payload":1,"headers":%s}', '{"jobs":[{"payload":1},{"payload":2,"headers":%s}]}'):
        answer = await put(client, (body % headers).encode())
        assert "headers" in is_problem(answer, 400, "bad-request")
    assert (await client.get("/v1/queues/foo")).status == 404


@awaiting
async def test_a_lone_surrogate_in_a_payload_is_no_matter_to_headers(client):
    payload = b'"caf\\udce9"'
    assert (await put(client, b'{"payload":' + payload + b',"headers":{"a":"\xc3\xa9"}}')).status == 201
    answer = await client.post("/v1/queues/foo/reservations", b"{}")
    assert b'"payload":' + payload + b',"headers":{"a":"\xc3\xa9"},' in answer.body


@awaiting
async def test_of_a_header_that_is_there_twice_the_last_value_counts(client):
    await put(client, b'{"payload":1,"headers":{"a":"1","b":"2","a":"3"}}')
    assert await headers_of(client) == {"a": "3", "b": "2"}


@awaiting
async def test_the_interface_tells_how_many_headers_a_job_may_have(client):
    about = (await client.get("/v1")).json
    assert about["limits"]["headers"] == 16
    assert {"headers", "priority", "expiry", "match", "run-now"} <= set(about["features"])


# The trace


@awaiting
async def test_a_valid_traceparent_is_kept_among_the_headers_of_each_job_that_has_none(client):
    mine = "00-" + "a" * 32 + "-" + "b" * 16 + "-00"
    jobs = [
        {"payload": 1},
        {"payload": 2, "headers": {"a": "b"}},
        {"payload": 3, "headers": {"traceparent": mine}},
        {"payload": 4, "headers": {"TraceParent": "anything"}},
    ]
    await put(client, {"jobs": jobs}, traceparent=TRACE)
    await put(client, {"payload": 5}, Traceparent=TRACE)
    told = [job["headers"] for job in await reserve(client, max=5)]
    assert told == [
        {"traceparent": TRACE},
        {"a": "b", "traceparent": TRACE},
        {"traceparent": mine},
        {"TraceParent": "anything"},
        {"traceparent": TRACE},
    ]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "x",
        TRACE[:-1],
        TRACE + "0",
        TRACE + "-00",
        TRACE + " x",
        TRACE.upper(),
        TRACE.replace("-", "_"),
        "01" + TRACE[2:],
        "ff" + TRACE[2:],
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e473g-{'1' * 16}-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'1' * 16}-0x",
    ],
)
@awaiting
async def test_an_invalid_traceparent_is_ignored(client, value):
    assert (await put(client, {"payload": 1}, traceparent=value)).status == 201
    assert await headers_of(client) == {}


@awaiting
async def test_of_two_traceparents_none_is_kept(daemon, client):
    body = b'{"payload":1}'
    head = f"POST /v1/queues/foo/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    line = f"traceparent: {TRACE}\r\n"
    for n, lines in ((1, line), (2, line * 2)):
        received = await raw(port_of(daemon), f"{head}{lines}\r\n".encode() + body)
        assert received.startswith(b"HTTP/1.1 201 ")
        assert await headers_of(client, n) == ({"traceparent": TRACE} if n == 1 else {})


@awaiting
async def test_a_traceparent_for_which_there_is_no_room_is_left_out(client):
    """It counts toward the limits, and never makes an insertion fail."""
    room = 1024 - len("traceparent") - len(TRACE)
    sizes = [({f"n{n}": "" for n in range(15)}, True), ({f"n{n}": "" for n in range(16)}, False)]
    sizes += [({"a": "x" * (room - 1)}, True), ({"a": "x" * room}, False)]
    for n, (headers, fits) in enumerate(sizes, 1):
        assert (await put(client, {"payload": 1, "headers": headers}, traceparent=TRACE)).status == 201
        assert await headers_of(client, n) == headers | ({"traceparent": TRACE} if fits else {})


@awaiting
async def test_an_insertion_is_repeated_whatever_its_trace(client):
    first = await put(client, {"payload": 1}, traceparent=TRACE, Idempotency_Key="k")
    again = await put(client, {"payload": 1}, traceparent=TRACE.replace("4", "5"), Idempotency_Key="k")
    assert (again.status, again.body) == (201, first.body)
    assert await headers_of(client) == {"traceparent": TRACE}


@awaiting
async def test_the_old_routes_know_no_trace(client):
    await client.post("/q/foo", b"{}", traceparent=TRACE)
    await client.post("/qb/foo", b'{"jobs":[{}]}', traceparent=TRACE)
    await client.put("/q/foo", b"{}", traceparent=TRACE)
    for n in (1, 2, 3):
        assert await headers_of(client, n) == {}


@awaiting
async def test_a_reservation_with_a_key_is_repeated_with_its_headers(client):
    await insert(client, 1, 2, headers={"a": "b"})
    answers = [await client.post("/v1/queues/foo/reservations", b'{"max":2}', Idempotency_Key="k") for _ in range(2)]
    assert [[job["headers"] for job in answer.json["jobs"]] for answer in answers] == [[{"a": "b"}] * 2] * 2


@awaiting
async def test_a_redrive_keeps_the_headers(client):
    (job_id,) = await insert(client, 1, headers={"a": "b"}, max_attempts=1)
    (job,) = await reserve(client)
    await settle(client, "nack", job)
    await send(client, "queues/foo/retry-dead", {"all": True})
    (job,) = await reserve(client)
    assert (job["id"], job["headers"]) == (job_id, {"a": "b"})
