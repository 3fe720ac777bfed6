"""Bodies too long, clients too slow: refused before they cost anything, and told why."""

import re
import socket
import ssl
from pathlib import Path

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of, raw, raw_connection
from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread

from presque.http.connection import IDLE

HEAD = b"POST /q/foo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
TOO_LARGE = b'{"error":"request body is too large"}'
MIB = 1024 * 1024


@pytest_twisted.async_yield_fixture(scope="module")
async def shared_daemon(redis):
    daemon = daemon_on(redis.url, request_timeout="0.3")
    daemon.startService()
    await daemon.started
    yield daemon
    await daemon.stopService()


def resident(process):
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096


def job_of(size):
    return b'{"t":"' + b"x" * (size - 8) + b'"}'


@awaiting
async def test_a_body_as_long_as_the_limit_is_taken(client):
    assert (await client.post("/q/foo", job_of(MIB))).status == 201
    assert (await client.get("/q/foo")).body == job_of(MIB)


@awaiting
async def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent(daemon, client):
    received = await raw(port_of(daemon), HEAD + b"Content-Length: %d\r\n\r\n" % (MIB + 1))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.endswith(TOO_LARGE)
    assert b"Content-Type: application/json\r\n" in received
    assert (await client.get("/status/")).json["size"] == 0


@awaiting
async def test_a_client_that_sends_a_long_body_all_the_same_sees_why_it_was_refused(client):
    for size in (MIB + 1, 8 * MIB):
        answer = await client.post("/q/foo", job_of(size))
        assert (answer.status, answer.body) == (413, TOO_LARGE)


@awaiting
async def test_a_client_that_asks_first_is_not_told_to_continue(daemon):
    head = HEAD + b"Expect: 100-continue\r\n"
    received = await raw(port_of(daemon), head + b"Content-Length: %d\r\n\r\n" % (MIB + 1))
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"100 Continue" not in received
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(head + b"Content-Length: 2\r\n\r\n")
    await connection.until(b"HTTP/1.1 100 Continue\r\n\r\n")
    connection.transport.write(b"{}")
    assert b"HTTP/1.1 201 " in await connection.until(b"201")
    connection.transport.abortConnection()


@awaiting
async def test_a_chunked_body_is_refused_once_it_is_too_long(daemon, client):
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(17):
        connection.transport.write(b"10000\r\n" + b" " * 65536 + b"\r\n")
    received = await connection.end()
    assert received.startswith(b"HTTP/1.1 413 ")
    assert received.endswith(TOO_LARGE)
    assert (await client.get("/status/")).json["size"] == 0


@awaiting
async def test_a_body_longer_than_it_said_is_not_a_job(daemon, client):
    received = await raw(port_of(daemon), HEAD + b'Content-Length: 2\r\n\r\n{}{"more":1}\r\n\r\n')
    assert received.startswith(b"HTTP/1.1 201 ")
    assert received.endswith(b'{"error":"bad request"}')
    assert (await client.get("/status/foo")).json["size"] == 1


@awaiting
async def test_long_bodies_leave_no_file_and_no_memory(processes, redis, tmp_path):
    process = processes("--redis", redis.url, environ={"TMPDIR": str(tmp_path)})
    port = await process.listening

    async def refuse(count):
        connections = await gatherResults([raw_connection(port) for _ in range(count)])
        for n, connection in enumerate(connections):
            length = (b"Content-Length: 900000000", b"Transfer-Encoding: chunked")[n % 2]
            connection.transport.write(HEAD + length + b"\r\n\r\n" + b"200000\r\n" + b" " * (2 * MIB))
        await gatherResults([connection.end() for connection in connections])
        assert all(connection.received.startswith(b"HTTP/1.1 413 ") for connection in connections)

    await refuse(10)
    before = resident(process)
    for _ in range(10):
        await refuse(10)
    assert list(tmp_path.iterdir()) == []
    assert resident(process) - before < 10 * MIB


@pytest.mark.parametrize(
    "begun",
    [
        b"G",
        b"GET /q/foo HTTP/1.1\r\n",
        b"GET /q/foo HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        HEAD + b"Content-Length: 100\r\n\r\n",
        HEAD + b'Content-Length: 100\r\n\r\n{"a":',
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
@awaiting
async def test_a_request_that_is_not_sent_in_time_is_answered_408(daemon, begun):
    received = await raw(port_of(daemon), begun)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"Content-Type: application/json\r\n" in received
    assert received.endswith(b'{"error":"request took too long"}')


@awaiting
async def test_the_time_for_a_request_does_not_begin_anew_with_each_byte(daemon):
    from twisted.internet.task import LoopingCall

    connection = await raw_connection(port_of(daemon))
    dribble = LoopingCall(connection.transport.write, b"X")
    dribble.start(0.05)
    received = await connection.end()
    dribble.stop()
    assert received.startswith(b"HTTP/1.1 408 ")


@awaiting
async def test_a_connection_that_was_used_and_is_idle_stays_open(daemon, client):
    connection = await raw_connection(port_of(daemon))
    for _ in range(2):
        connection.received = b""
        connection.transport.write(b"GET /status/ HTTP/1.1\r\nHost: x\r\n\r\n")
        await connection.until(b'"size":0}')
        await raw(port_of(daemon), b"GET / HTTP/1.1\r\n")  # as long as a request may take
    assert not connection.is_closed
    connection.transport.abortConnection()


@awaiting
async def test_an_idle_connection_is_closed_and_one_that_waits_for_its_answer_is_not_idle(daemon, client, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(daemon.site, "clock", clock)
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(b"GET /q/foo?wait=0.3 HTTP/1.1\r\nHost: x\r\n\r\n")

    async def waits():
        return len(daemon.waiting) == 1

    await eventually(waits, "that it waits")
    clock.pump([IDLE] * 3)
    await connection.until(b"no job")
    clock.advance(IDLE - 1)
    connection.transport.write(b"GET /status/ HTTP/1.1\r\nHost: x\r\n\r\n")
    await connection.until(b'"size":0}')
    clock.pump([IDLE] * 2)  # at the first look it has taken an answer since the one before
    await connection.end()


@awaiting
async def test_a_client_that_never_reads_is_cut_off_and_its_jobs_go_back(daemon, client):
    for _ in range(12):
        assert (await client.post("/q/foo", job_of(MIB))).status == 201
    connection = await raw_connection(port_of(daemon))
    connection.transport.pauseProducing()
    connection.transport.write(b"GET /qb/foo?batch_size=8 HTTP/1.1\r\nHost: x\r\n\r\n")

    async def put_back():
        counts = await daemon.queues.counts("foo")
        return counts.ready == 12 and counts.processed == 0 and not daemon.deliveries.pending

    async def taken():
        return (await daemon.queues.counts("foo")).leased

    await eventually(taken, "the take")
    await eventually(put_back, "the jobs")


@awaiting
async def test_a_client_that_reads_slowly_has_all_the_time_it_needs(redis):
    """Its answer takes twice as long as a client may take no byte."""
    daemon = daemon_on(redis.url, request_timeout="2")
    daemon.startService()
    await daemon.started
    try:
        client = Client(port_of(daemon))
        for _ in range(8):
            assert (await client.post("/q/foo", job_of(MIB))).status == 201
        connection = await raw_connection(port_of(daemon))
        connection.transport.write(b"GET /qb/foo?batch_size=8 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        began, rate = reactor.seconds(), 2 * MIB  # a second
        while not connection.is_closed:
            connection.transport.pauseProducing()
            ahead = len(connection.received) / rate - (reactor.seconds() - began)
            await deferLater(reactor, max(0, ahead))
            connection.transport.resumeProducing()
            await deferLater(reactor, 0)
        assert len(connection.received) > 8 * MIB
        await client.close()
    finally:
        await daemon.stopService()


def get(path):
    return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path


@pytest.mark.parametrize(
    "endpoint", ["tcp:0:interface=127.0.0.1", "ssl:0:interface=127.0.0.1:privateKey={0}:certKey={0}"]
)
@awaiting
async def test_answers_that_a_client_does_not_read_are_not_made(processes, redis, certificate, endpoint):
    process = processes("--redis", redis.url, listen=endpoint.format(certificate))
    port = await process.listening
    context = ssl._create_unverified_context()
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]

    def ask():
        """In a thread: one at a time, and the last is answered, so that the others have been looked at."""
        for n, client in enumerate(clients):
            clients[n] = context.wrap_socket(client) if endpoint.startswith("ssl") else client
            clients[n].sendall(get(b"/openapi.json"))
            assert clients[n].recv(1) == b"H"
        before = resident(process)
        for client in clients:
            client.sendall(get(b"/openapi.json") * 300)
        seen = 1
        while seen < 100 * 60_000:
            seen += len(clients[-1].recv(1 << 16))
        return resident(process) - before

    # Answered as they come, they would be 30 x 300 x 70 kB.
    assert await deferToThread(ask) < 100 * MIB
    for client in clients:
        client.close()


@awaiting
async def test_who_asks_much_at_once_is_answered_in_turn_with_others(daemon):
    many, other = await gatherResults([raw_connection(port_of(daemon)) for _ in range(2)])
    many.transport.write(get(b"/nothing") * 1500 + get(b"/"))
    for _ in range(20):
        other.received = b""
        other.transport.write(get(b"/nothing"))
        await other.until(b'{"error":"not found"}')
    assert many.received.count(b"HTTP/1.1 404") < 750
    received = await many.until(b"</html>")
    assert received.count(b"HTTP/1.1 404") == 1500
    many.transport.abortConnection()
    other.transport.abortConnection()


@awaiting
async def test_what_was_asked_at_once_is_answered_in_order_when_the_client_reads_late(daemon, client):
    """Answers at once (404), answers of Redis (201, 200), long ones, and bodies between them."""
    connection = await raw_connection(port_of(daemon))
    connection.transport.pauseProducing()
    body = b'{"n":%d}'
    for n in range(100):
        posted = body % n
        connection.transport.write(
            HEAD
            + b"Content-Length: %d\r\n\r\n" % len(posted)
            + posted
            + get(b"/nothing")
            + get(b"/openapi.json")
            + get(b"/q/foo")
        )

    async def inserted():
        return (await client.get("/nothing")).status == 404 and (await daemon.queues.counts("foo")).processed

    await eventually(inserted, "the first job")
    connection.transport.resumeProducing()
    received = await connection.until(b'{"n":99}')
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", received)]
    assert statuses == [201, 404, 200, 200] * 100
    assert [received.count(body % n) for n in range(100)] == [1] * 100
    connection.transport.abortConnection()


@pytest.mark.parametrize(("size", "batches"), [(200_000, [42, 42, 16]), (1_000_000, [9, 9, 2]), (1000, [1000, 20])])
@awaiting
async def test_one_answer_of_a_batch_is_bounded_in_bytes_and_the_rest_stays(daemon, client, size, batches):
    """It ends with the job at which 8 MiB are together."""
    for at in range(0, sum(batches), 20):
        jobs = b",".join([job_of(size)] * min(20, sum(batches) - at)) if size == 1000 else b""
        for _ in range(0 if jobs else 20):
            assert (await client.post("/q/foo", job_of(size))).status == 201
        assert not jobs or (await client.post("/qb/foo", b'{"jobs":[%b]}' % jobs)).status == 201
    for batch in batches:
        assert len((await client.get("/qb/foo?batch_size=1000")).json) == batch
    assert (await client.get("/qb/foo")).status == 404


@awaiting
async def test_max_body_is_a_setting(redis):
    daemon = daemon_on(redis.url, max_body="10")
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    assert (await client.post("/q/foo", b'{"a":1234}')).status == 201
    assert (await client.post("/q/foo", b'{"a":12345}')).status == 413
    await client.close()
    await daemon.stopService()


@awaiting
async def test_another_sites_page_cannot_take_a_job_through_a_browser(client):
    await client.post("/q/foo", b"{}")
    for site in ("cross-site", "same-site"):
        answer = await client.get("/q/foo", Sec_Fetch_Site=site)
        assert (answer.status, answer.body) == (403, b'{"error":"forbidden"}')
        assert (await client.get("/", Sec_Fetch_Site=site)).status == 200
    assert (await client.get("/q/foo", Sec_Fetch_Site="none")).status == 200


@awaiting
async def test_a_refused_client_that_stays_is_cut_off_and_forgotten_without_a_word(daemon, failures):
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(b"x\r\n\r\n")
    assert (await connection.end()).endswith(b'{"error":"bad request"}')

    async def forgotten():
        return not daemon.site.connections

    await eventually(forgotten, "the end of the connection")
    assert failures == []


@awaiting
async def test_a_refused_client_that_never_closes_is_cut_off(daemon, failures):
    before = len(daemon.site.connections)
    client = socket.create_connection(("127.0.0.1", port_of(daemon)))
    client.sendall(b"x\r\n\r\n")

    async def seen():
        return len(daemon.site.connections) > before

    async def forgotten():
        return len(daemon.site.connections) == before

    await eventually(seen, "the connection")
    await eventually(forgotten, "its end")
    client.close()
    assert failures == []


@awaiting
async def test_a_length_of_thousands_of_digits_is_refused(daemon, failures):
    received = await raw(port_of(daemon), HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")
    received = await raw(port_of(daemon), HEAD + b"Content-Length: " + b"0" * 5000 + b"2\r\n\r\n{}")
    assert received.startswith(b"HTTP/1.1 400 ")
    assert failures == []


@awaiting
async def test_small_answers_do_not_wait_for_an_acknowledgement(daemon, client):
    """An answer in two pieces would stand still for 40 ms between them (Nagle)."""
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(get(b"/nothing"))
    await connection.until(b"not found")
    assert all(each.transport.getTcpNoDelay() for each in daemon.site.connections)
    connection.transport.abortConnection()


@awaiting
async def test_what_is_remembered_of_requests_is_short(processes, redis):
    """Routes and hosts that were judged are remembered; long ones would fill the memory."""
    process = processes("--redis", redis.url)
    port = await process.listening

    def ask(head, first, last):
        for number in range(first, last):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall((head % (f"N{number:05}" + "A" * 15_000) + "Connection: close\r\n\r\n").encode())
                while client.recv(1 << 16):
                    pass
        return resident(process)

    for head in (
        "GET /%s HTTP/1.1\r\nHost: x\r\n",
        "%s / HTTP/1.1\r\nHost: x\r\n",
        "GET / HTTP/1.1\r\nHost: %s\r\n",
        "GET http://%s/q HTTP/1.1\r\nHost: x\r\n",
        "POST /q/foo HTTP/1.1\r\nHost: x\r\nOrigin: http://%s\r\n",
        "POST /q/foo HTTP/1.1\r\nHost: x\r\nReferer: http://%s/\r\n",
    ):
        before = await deferToThread(ask, head, 0, 50)
        assert await deferToThread(ask, head, 50, 1050) - before < 6 * MIB, head
