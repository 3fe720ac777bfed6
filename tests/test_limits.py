"""Each limit of `docs/limits.md` is reached: the answer says so, it is counted, and one line is logged."""

import re
import signal
from contextlib import ExitStack

import msgspec
import pytest
import pytest_twisted
from logs import logged
from programs import ROOT
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, Raw, daemon_on, eventually, port_of, raw, raw_connection
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import Clock
from v1 import insert, is_problem, reserve

from presque.http.connection import IDLE
from presque.http.guests import EXCESS, Guests
from presque.http.head import MOST_HEADERS
from presque.http.parser import LONGEST_HEAD
from presque.limits import Limits
from presque.service import RESERVED

encode = msgspec.json.encode
MIB = 1 << 20
HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def lines(event):
    text = str(event.get("log_format", ""))
    return text.format(**event) if text.startswith("limit reached") else None


@pytest_twisted.async_yield_fixture()
async def serve(redis):
    """Starts a daemon with some limits, `await serve(max_waiting=1)`; the daemon and a client of it."""
    redis.command("FLUSHALL")
    with ExitStack() as stack:
        started = []

        async def start(**flags):
            daemon = daemon_on(redis.url, **{name: str(value) for name, value in flags.items()})
            started.append((daemon, Client(0)))
            daemon.startService()
            await daemon.started
            started[-1][1].port = port_of(daemon)
            daemon.lines = stack.enter_context(logged(lines))
            return started[-1]

        yield start
        for daemon, client in started:
            await client.close()
            await maybeDeferred(daemon.stopService)


def was_reached(daemon, name, times=1):
    """It was counted, and one line was logged."""
    assert daemon.limits[name].refused == times, name
    assert len(daemon.lines) == 1, daemon.lines
    assert re.match(rf"limit reached: {name}( of \d+|,|$)", daemon.lines[0])
    return True


def is_overloaded(received, name):
    """A refusal by a 503, on the old routes."""
    assert received.startswith(b"HTTP/1.1 503 "), received
    assert b"Retry-After: 1\r\n" in received
    assert received.endswith(b'{"error":"a limit of this daemon is reached, nothing was done: %b"}' % name.encode())
    return True


# Connections.


@awaiting
async def test_connections_in_excess_are_refused_and_health_is_answered_all_the_same(serve):
    daemon, _ = await serve(max_connections=3)
    held = [await raw_connection(port_of(daemon)) for _ in range(3)]

    async def accepted():
        return daemon.site.guests.count == 3

    await eventually(accepted, "the connections")
    assert is_overloaded(await raw(port_of(daemon), b"GET /q/foo HTTP/1.1\r\nHost: x\r\n\r\n"), "connections")
    assert was_reached(daemon, "connections")
    problem = await raw(port_of(daemon), b"GET /v1/queues HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b'"type":"/problems/overloaded"' in problem
    received = await raw(port_of(daemon), LIVE)
    assert b" 503 " not in received.partition(b"\r\n")[0]
    assert b"Connection: close\r\n" in received
    assert daemon.limits["connections"].used == 3
    held[0].transport.abortConnection()

    async def free():
        return daemon.site.guests.count == 2

    await eventually(free, "a place")
    received = await raw(port_of(daemon), b"GET /status/ HTTP/1.1\r\nHost: x\r\n\r\n", b"}")
    assert b"nothing was done: connections" not in received
    for each in held:
        each.transport.abortConnection()


@awaiting
async def test_silent_connections_in_excess_do_not_hide_health(serve):
    daemon, _ = await serve(max_connections=1)
    held = await gatherResults([raw_connection(port_of(daemon)) for _ in range(1 + EXCESS + 10)])

    async def cut_off():
        return sum(each.is_closed for each in held) >= 10

    await eventually(cut_off, "the oldest of them")
    assert b" 503 " not in (await raw(port_of(daemon), LIVE)).partition(b"\r\n")[0]
    assert len(daemon.site.connections) <= 1 + EXCESS
    assert daemon.limits["connections"].refused >= 10
    for each in held:
        each.transport.abortConnection()


@awaiting
async def test_one_address_has_only_its_share_of_the_connections(serve):
    daemon, _ = await serve(max_connections_per_address=2)
    held = [await raw_connection(port_of(daemon)) for _ in range(2)]
    received = await raw(port_of(daemon), b"GET /q/foo HTTP/1.1\r\nHost: x\r\n\r\n")
    assert is_overloaded(received, "connections-per-address")
    assert was_reached(daemon, "connections-per-address")
    other = TCP4ClientEndpoint(reactor, "127.0.0.1", port_of(daemon), bindAddress=("127.0.0.2", 0))
    connection = await connectProtocol(other, Raw())
    connection.transport.write(b"GET /q/foo HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await connection.until(b"no job")).startswith(b"HTTP/1.1 404 ")
    assert daemon.limits["connections-per-address"].used == 2
    for each in (*held, connection):
        each.transport.abortConnection()

    async def forgotten():
        return daemon.limits["connections-per-address"].used == 0

    await eventually(forgotten, "the end of the connections")


@awaiting
async def test_there_are_no_more_connections_than_descriptors(serve, monkeypatch):
    monkeypatch.setattr("presque.service.getrlimit", lambda which: (RESERVED + 2, 10_000))
    daemon, _ = await serve()
    assert daemon.limits["connections"].most == 2
    held = [await raw_connection(port_of(daemon)) for _ in range(2)]
    assert is_overloaded(await raw(port_of(daemon), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "connections")
    for each in held:
        each.transport.abortConnection()


def test_places_are_counted_by_address_and_freed():
    guests = Guests(3, 2)
    assert [guests.admit("a"), guests.admit("a"), guests.admit("a")] == ["", "", "connections-per-address"]
    assert [guests.admit(""), guests.admit("b")] == ["", "connections"]
    guests.leave("a")
    assert (guests.admit("b"), guests.largest, guests.count) == ("", 1, 3)
    for address in ("a", "b", ""):
        guests.leave(address)
    assert (guests.largest, guests.count) == (0, 0)


# One request.


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * LONGEST_HEAD,
        b"GET /v1/queues HTTP/1.1\r\nHost: x\r\nX: " + b"a" * LONGEST_HEAD + b"\r\n\r\n",
        b"GET /v1/queues HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * MOST_HEADERS + b"\r\n",
    ],
)
@awaiting
async def test_too_long_a_head(serve, head):
    daemon, _ = await serve()
    received = await raw(port_of(daemon), head)
    assert received.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert b"request head is too large" in received
    assert (b'"type":"/problems/too-large"' in received) == (b"/v1/" in head)
    assert was_reached(daemon, "head")


@awaiting
async def test_too_long_a_body(serve):
    daemon, client = await serve(max_body=10)
    assert (await client.post("/q/foo", b'{"a":12345}')).status == 413
    assert was_reached(daemon, "body")


@awaiting
async def test_too_slow_a_request(serve):
    daemon, _ = await serve(request_timeout=0.2)
    assert (await raw(port_of(daemon), b"GET / HTTP/1.1\r\n")).startswith(b"HTTP/1.1 408 ")
    assert was_reached(daemon, "request-time")


@awaiting
async def test_an_answer_that_is_not_read(serve):
    daemon, client = await serve(request_timeout=0.3)
    for _ in range(12):
        await client.post("/q/foo", b'{"t":"' + b"x" * (MIB - 8) + b'"}')
    connection = await raw_connection(port_of(daemon))
    connection.transport.pauseProducing()
    connection.transport.write(b"GET /qb/foo?batch_size=8 HTTP/1.1\r\nHost: x\r\n\r\n")

    async def cut_off():
        return daemon.limits["unread-answer"].refused

    await eventually(cut_off, "the end of its connection")
    assert was_reached(daemon, "unread-answer", daemon.limits["unread-answer"].refused)


@awaiting
async def test_an_idle_connection_is_counted_and_not_logged(serve, monkeypatch):
    daemon, _ = await serve()
    clock = Clock()
    monkeypatch.setattr(daemon.site, "clock", clock)
    connection = await raw_connection(port_of(daemon))

    async def accepted():
        return daemon.site.guests.count

    await eventually(accepted, "the connection")
    clock.pump([IDLE, IDLE])
    await connection.end()
    assert (daemon.limits["idle"].refused, daemon.lines) == (1, [])


# All clients together.


@pytest.mark.parametrize("chunked", [False, True])
@awaiting
async def test_unfinished_bodies_of_all_clients_are_limited_together(serve, chunked):
    daemon, client = await serve(max_buffered=4 * MIB)
    await insert(client, 1)
    (job,) = await reserve(client)
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % MIB
    begun = b"POST /q/foo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + length + b"\r\n\r\n"
    begun += (b"%x\r\n" % (MIB - 1) if chunked else b"") + b" " * (MIB - 1)
    connections = [await raw_connection(port_of(daemon)) for _ in range(10)]
    for connection in connections:
        connection.transport.write(begun)

    async def refused():
        return daemon.limits["buffered"].refused >= 6

    await eventually(refused, "the refusals")
    refusals = [each for each in connections if each.received or each.is_closed]
    for each in refusals:
        assert is_overloaded(await each.end(), "buffered")
    assert daemon.site.buffers.used <= 4 * MIB + 65536
    assert was_reached(daemon, "buffered", daemon.limits["buffered"].refused)
    # Small requests go on, and jobs are settled by large ones too.
    assert (await client.post("/q/foo", b"{}")).status == 201
    item = {"id": job["id"], "receipt": job["receipt"], "outcome": "nack", "error": "x" * (MIB // 2)}
    answer = await client.post("/v1/settlements", encode({"settlements": [item]}))
    assert answer.json["results"][0]["result"] == "delayed"
    for each in connections:
        each.transport.abortConnection()

    async def free():
        return daemon.site.buffers.used == 0

    await eventually(free, "that nothing is counted any more")
    assert (await client.post("/q/foo", b'{"t":"' + b"x" * (MIB - 8) + b'"}')).status == 201


@awaiting
async def test_bodies_of_requests_in_flight_are_counted(serve, redis):
    daemon, client = await serve(max_buffered=2 * MIB)
    redis.signal(signal.SIGSTOP)
    try:
        body = b'{"t":"' + b"x" * (MIB - 8) + b'"}'
        answers = [client.post("/q/foo", body) for _ in range(4)]

        async def counted():
            return daemon.site.buffers.used >= 2 * MIB - 65536 and daemon.limits["buffered"].refused

        pending = [ensureDeferred(each) for each in answers]
        await eventually(counted, "the bodies")
    finally:
        redis.signal(signal.SIGCONT)
    statuses = sorted([(await each).status for each in pending])
    assert set(statuses) <= {201, 503}
    assert 503 in statuses
    assert daemon.site.buffers.used == 0


@pytest.mark.parametrize("modern", [False, True])
@awaiting
async def test_unread_answers_of_all_clients_are_limited_together_and_their_jobs_go_back(serve, modern):
    daemon, client = await serve(max_buffered=30 * MIB)
    for _ in range(20):
        await client.post("/q/foo", b'{"t":"' + b"x" * (MIB - 8) + b'"}')
    asks = b"GET /qb/foo?batch_size=5 HTTP/1.1\r\nHost: x\r\n\r\n"
    asks_one = b"GET /q/foo HTTP/1.1\r\nHost: x\r\n\r\n"
    if modern:
        asks = HEAD % (b"/v1/queues/foo/reservations", 9) + b'{"max":5}'
        asks_one = HEAD % (b"/v1/queues/foo/reservations", 9) + b'{"max":1}'
    unread = [await raw_connection(port_of(daemon)) for _ in range(2)]
    for n, connection in enumerate(unread):
        connection.transport.pauseProducing()
        connection.transport.write(asks)

        async def taken(wanted=(n + 1) * 5):
            return (await daemon.queues.counts("foo")).ready == 20 - wanted

        await eventually(taken, "the take")

    async def is_full():
        return daemon.site.buffers.used > 2 * MIB  # the rest is with the kernel

    await eventually(is_full, "unread answers")
    daemon.site.buffers.most = daemon.site.buffers.used + MIB // 2
    for each in (asks, asks_one):  # several are not even taken; a single one is, and goes back
        received = await raw(port_of(daemon), each, b"}")
        assert received.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in received
        assert b"nothing was done: buffered" in received
    assert daemon.limits["buffered"].refused == 2
    assert daemon.lines[0].startswith("limit reached: buffered of ")

    async def back():
        return (await daemon.queues.counts("foo")).ready == 10

    await eventually(back, "that the jobs are there again")
    assert (await client.post("/q/bar", b"{}")).status == 201  # what is small goes on
    assert (await client.get("/q/bar")).body == b"{}"
    assert (await client.get("/openapi.json")).status == 200
    for each in unread:
        each.transport.abortConnection()

    async def free():
        return daemon.site.buffers.used == 0

    await eventually(free, "that nothing is counted any more")


# The store.


@awaiting
async def test_commands_in_flight(serve, monkeypatch):
    daemon, client = await serve()
    monkeypatch.setattr("presque.redis.coalescing.MOST_WAITING", 0)
    assert is_problem(await insert_one(client), 503, "overloaded").endswith("nothing was done: commands")
    assert was_reached(daemon, "commands")
    monkeypatch.undo()
    daemon.lines.clear()
    monkeypatch.setattr("presque.redis.store.MOST_WAITING", 0)
    answer = await client.get("/v1/queues/foo")
    assert is_problem(answer, 503, "overloaded").endswith("nothing was done: commands")
    assert answer.headers["retry-after"] == "1"
    assert daemon.limits["commands"].refused == 2


async def insert_one(client, queue="foo"):
    return await client.post(f"/v1/queues/{queue}/jobs", b'{"payload":1}')


@pytest.mark.parametrize("path", ["/q/foo?wait=5", "/qb/foo?wait=5"])
@awaiting
async def test_too_many_waiting_consumers_get_an_error_and_not_an_empty_answer(serve, path):
    daemon, client = await serve(max_waiting=2)
    waiting = [await raw_connection(port_of(daemon)) for _ in range(2)]
    for each in waiting:
        each.transport.write(b"GET /q/foo?wait=20 HTTP/1.1\r\nHost: x\r\n\r\n")

    async def wait():
        return daemon.limits["waiting"].used == 2

    await eventually(wait, "that they wait")
    answer = await client.get(path)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json == {"error": "a limit of this daemon is reached, nothing was done: waiting"}
    assert was_reached(daemon, "waiting")
    answer = await client.post("/v1/queues/foo,bar/reservations", b'{"wait":5}')
    is_problem(answer, 503, "overloaded")
    assert (await client.post("/q/bar", b'{"n":1}')).status == 201  # but who finds a job gets it
    answer = await client.post("/v1/queues/foo,bar/reservations", b'{"wait":5}')
    assert [job["payload"] for job in answer.json["jobs"]] == [{"n": 1}]
    for each in waiting:
        each.transport.abortConnection()

    async def gone():
        return daemon.limits["waiting"].used == 0

    await eventually(gone, "that nobody waits")
    assert (await client.get("/q/foo?wait=0.01")).status == 404


@awaiting
async def test_too_many_queues(serve, redis):
    daemon, client = await serve(max_queues=2)
    for name in ("a", "b"):
        assert (await client.post(f"/q/{name}", b"{}")).status == 201
    answer = await client.post("/q/c", b"{}")
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert answer.json == {"error": "there are too many queues, nothing was done"}
    assert was_reached(daemon, "queues")
    is_problem(await insert_one(client, "c"), 429, "overloaded")
    assert is_problem(await client.post("/v1/queues/c/jobs", b'{"payload":1,"delay":5}'), 429, "overloaded")
    assert not [key for key in redis.command("KEYS", "*") if b":c:" in key]
    assert (await client.post("/q/a", b"{}")).status == 201
    await client.delete("/q/a")
    assert (await client.post("/q/c", b"{}")).status == 201


@awaiting
async def test_a_queue_that_is_too_long(serve):
    daemon, client = await serve()
    await client.request("PATCH", "/v1/queues/foo", b'{"max_length":1}', Content_Type="application/json")
    assert (await insert_one(client)).status == 201
    answer = await insert_one(client)
    is_problem(answer, 429, "queue-full")
    assert answer.headers["retry-after"] == "1"
    assert was_reached(daemon, "queue-length")


@awaiting
async def test_a_queue_that_takes_too_much_memory(serve):
    daemon, client = await serve()
    await client.request("PATCH", "/v1/queues/foo", b'{"max_bytes":1000000}', Content_Type="application/json")
    body = b'{"t":"' + b"x" * 10_000 + b'"}'
    statuses = [(await client.post("/q/foo", body)).status for _ in range(130)]
    taken = statuses.count(201)
    assert statuses == [201] * taken + [429] * (130 - taken)
    assert 70 <= taken <= 110
    assert was_reached(daemon, "queue-bytes", 130 - taken)
    await client.get("/qb/foo?batch_size=50")

    async def has_room():
        return (await client.post("/q/foo", body)).status == 201

    await eventually(has_room, "room")


@pytest.mark.parametrize("share", ["90", "50.5"])
@awaiting
async def test_the_memory_of_the_store_is_nearly_full(serve, redis, share):
    daemon, client = await serve(max_store_memory=share)
    redis.command("SET", "ballast", b"x" * 20_000_000)  # so that the buffers of connections make no difference
    await insert(client, 1, 2)
    jobs = await reserve(client, max=2)
    used = int(re.search(rb"used_memory:(\d+)", redis.command("INFO", "memory"))[1])
    redis.command("CONFIG", "SET", "maxmemory", int(used / float(share) * 100 * 0.96))
    try:
        await daemon.memory.look()
        assert daemon.limits["store-memory"].used > used / 2
        answer = await insert_one(client)
        is_problem(answer, 503, "store-full")
        assert answer.headers["retry-after"] == "1"
        assert was_reached(daemon, "store-memory")
        assert (await client.post("/q/foo", b"{}")).json == {"error": "the store is full, nothing was done"}
        for job, verb in zip(jobs, ("ack", "nack"), strict=True):
            settled = await client.post(f"/v1/jobs/{job['id']}/{verb}", encode({"receipt": job["receipt"]}))
            assert settled.status in (200, 204)
    finally:
        redis.command("CONFIG", "SET", "maxmemory", 0)
    await daemon.memory.look()
    assert (await insert_one(client)).status == 201


@awaiting
async def test_a_disk_that_is_nearly_full_is_told_from_a_memory_that_is(serve, redis):
    """By `maxmemory 1` a private server refuses what takes space: presque.process.private_redis.writing."""
    daemon, client = await serve()
    redis.command("CONFIG", "SET", "maxmemory", 1)
    try:
        await daemon.memory.look()
        is_problem(await insert_one(client), 503, "store-full")
    finally:
        redis.command("CONFIG", "SET", "maxmemory", 0)
    assert was_reached(daemon, "free-disk")
    await daemon.memory.look()


# Counting and logging.


def test_one_line_a_second_tells_how_many_were_left_out():
    clock = Clock()
    limits = Limits(clock)
    limits.add("waiting", 10, "--max-waiting", lambda: 3)
    with logged(lines) as said:
        for _ in range(5):
            limits.refuse("waiting")
        clock.advance(0.5)
        limits.refuse("waiting")
        limits.refuse("other")
        clock.advance(0.6)
        limits.refuse("waiting")
        limits.refuse("waiting")
    assert said == [
        "limit reached: waiting of 10, see --max-waiting",
        "limit reached: other",
        "limit reached: waiting of 10, see --max-waiting (5 more since the last such line)",
    ]
    assert (limits["waiting"].refused, limits["waiting"].used, limits["other"].refused) == (8, 3, 1)


@awaiting
async def test_every_limit_is_in_the_table_and_the_other_way_round(serve):
    daemon, _ = await serve()
    page = (ROOT / "docs" / "limits.md").read_text()
    listed = re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE)
    assert listed == [limit.name for limit in daemon.limits]
    for limit in daemon.limits:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{limit.name}` |"))
        assert not limit.option.startswith("--") or f"`{limit.option}" in row
        assert limit.used is None or limit.used >= 0
