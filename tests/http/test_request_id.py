"""The id of a request: the client's or ours, in the answer, in problems and in the log."""

import re

import pytest
from load import encoded
from logs import logged
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, port_of, raw, raw_connection
from twisted.internet.defer import maybeDeferred

OURS = r"[0-9a-f]{12}-[0-9a-f]+"


@pytest.mark.parametrize("said", ["a", "x" * 128, "A-Z.a_z~0:9/+=@", "00-0af7651916cd43dd8448eb211c80319c-01"])
@awaiting
async def test_an_id_that_the_client_sends_comes_back_with_every_answer(client, said):
    for method, path, body in (
        ("POST", "/q/foo", b"{}"),
        ("GET", "/q/foo", None),
        ("GET", "/q/foo", None),
        ("GET", "/v1", None),
        ("GET", "/nope", None),
        ("PUT", "/v1", b""),
        ("OPTIONS", "/v1", None),
        ("GET", "/health/live", None),
    ):
        answer = await client.request(method, path, body, Content_Type="application/json", X_Request_Id=said)
        assert answer.headers["x-request-id"] == said, (method, path)
    problem = await client.get("/v1/jobs/foo:99", X_Request_Id=said)
    assert problem.json["request_id"] == problem.headers["x-request-id"] == said


@pytest.mark.parametrize("said", ["x" * 129, "a b", 'a"b', "<script>", "é", "a,b", " "])
@awaiting
async def test_an_id_that_could_do_harm_is_replaced_by_one_of_ours(client, said):
    answer = await client.get("/v1/jobs/foo:99", X_Request_Id=said)
    assert re.fullmatch(OURS, answer.headers["x-request-id"])
    assert answer.json["request_id"] == answer.headers["x-request-id"]


@awaiting
async def test_without_one_errors_under_v1_have_an_id_of_ours_and_other_answers_none(client):
    assert "x-request-id" not in (await client.get("/v1")).headers
    assert "x-request-id" not in (await client.get("/q/foo")).headers
    found = {(await client.get("/v1/nope")).headers["x-request-id"] for _ in range(3)}
    assert len(found) == 3
    assert all(re.fullmatch(OURS, each) for each in found)


@awaiting
async def test_a_refusal_without_a_route_has_an_id_too(daemon):
    answer = await raw(port_of(daemon), b"GET /v1/queues HTTP/1.1\r\nX-Request-Id: mine\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nX-Request-Id: mine\r\n" in answer
    assert answer.endswith(b'"request_id":"mine"}')
    answer = await raw(port_of(daemon), b"GET /v1/queues HTTP/1.1\r\nHost : x\r\n\r\n")
    made = re.search(rb"\r\nX-Request-Id: (\S+)\r\n", answer)[1]
    assert answer.endswith(b'"request_id":"%b"}' % made)


@awaiting
async def test_a_failure_of_ours_is_logged_with_the_id_that_the_client_gets(daemon, client, monkeypatch):
    monkeypatch.setattr(daemon.queue_list, "names", lambda **_: 1 / 0)
    with logged(lambda event: event.get("request")) as found:
        answer = await client.get("/")
    assert (answer.status, found) == (500, [answer.headers["x-request-id"]])


def line_of(event):
    names = ("method", "path", "status", "bytes", "request")
    return tuple(event[name] for name in names) if event.get("log_namespace", "").endswith("Access") else None


@awaiting
async def test_the_access_log_has_a_line_a_request_without_its_query_and_its_body(redis):
    redis.command("FLUSHALL")
    daemon = daemon_on(redis.url, access_log="on")
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    try:
        with logged(line_of) as found, logged(lambda event: event.get("seconds")) as seconds:
            await client.post("/q/foo?uniq=c4nary", b'{"c4nary":1}', X_Request_Id="one")
            await client.get("/q/foo?worker_id=c4nary", X_Request_Id="two")
            made = (await client.get("/v1/queues/c4nary?x=1")).headers["x-request-id"]
            await client.get("/c4nary", X_Request_Id="four")
            await raw(daemon.ports[0].getHost().port, b"GET /c4nary HTTP/1.1\r\n\r\n")
            waiting = await raw_connection(port_of(daemon))
            waiting.transport.write(encoded("GET", "/q/foo?wait=30", X_Request_Id="six"))
            await client.get("/health/live", X_Request_Id="seven")
            waiting.transport.loseConnection()
            await waiting.end()
            await client.get("/health/live", X_Request_Id="eight")
    finally:
        await client.close()
        await maybeDeferred(daemon.stopService)
    found = [each if each[-1] in IDS or each[-1] == made else (*each[:-1], "made") for each in found]
    assert found[:5] == [
        ("POST", "/q/<queue>", 201, 0, "one"),
        ("GET", "/q/<queue>", 200, 12, "two"),
        ("GET", "/v1/queues/<queue>", 400, found[2][3], made),
        ("GET", "-", 404, 21, "four"),
        ("GET", "-", 400, found[4][3], "made"),
    ]
    assert set(found[5:]) == {
        ("GET", "/q/<queue>", "left", 0, "six"),
        ("GET", "/health/live", 200, 13, "seven"),
        ("GET", "/health/live", 200, 13, "eight"),
    }
    assert all(0 <= each < 60 for each in seconds)


IDS = ("one", "two", "four", "six", "seven", "eight")
