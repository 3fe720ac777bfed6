"""A fetched job is kept until its bytes have reached the client: never lost, whoever goes away."""

import contextlib
import json
import random
import signal
import socket
import struct

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, eventually, port_of, raw, raw_connection
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from presque.queues import HOLD
from presque.web.channel import _acknowledged, _on_its_way

JOB = b'{"key":"value"}'
GET = b"GET /q/foo HTTP/1.1\r\nHost: x\r\n\r\n"


async def leased(redis, count):
    """Wait until `count` jobs of foo are held."""

    async def held():
        return redis.command("ZCARD", "presque:{0}:foo:leased") == count

    await eventually(held, f"{count} held jobs")


async def gone(redis):
    """Wait until no trace of a job of foo is left."""

    async def no_keys():
        return redis.command("KEYS", "presque:{0}:foo:*") == []

    await eventually(no_keys, "the end of the job")


@awaiting
async def test_a_delivered_job_leaves_redis(client, redis):
    await client.post("/q/foo?uniq=k", JOB)
    await client.get("/q/foo")
    await gone(redis)


@pytest.mark.parametrize(
    "request_", [GET.replace(b"1.1", b"1.0"), GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")]
)
@awaiting
async def test_a_connection_that_closes_after_its_answer_has_delivered(daemon, client, redis, request_):
    await client.post("/q/foo", JOB)
    assert (await raw(port_of(daemon), request_)).endswith(JOB)
    await gone(redis)
    assert (await client.get("/j/foo")).json["job_processed"] == 1


@awaiting
async def test_pipelined_fetches_deliver_one_job_each(daemon, client, redis):
    await client.post("/q/foo", b'{"n":1}')
    await client.post("/q/foo", b'{"n":2}')
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(GET + GET)
    received = await connection.until(b'{"n":2}')
    assert received.index(b'{"n":1}') < received.index(b'{"n":2}')
    await gone(redis)


@pytest.mark.parametrize("leave", ["abortConnection", "loseConnection"])
@awaiting
async def test_a_client_that_leaves_before_its_answer_gets_the_job_put_back_at_the_front(daemon, client, redis, leave):
    await client.post("/q/foo?uniq=k", b'{"n":1}')
    await client.post("/q/foo", b'{"n":2}')
    connection = await raw_connection(port_of(daemon))
    redis.signal(signal.SIGSTOP)
    connection.transport.write(GET.replace(b"foo", b"foo?worker_id=w1"))
    site = daemon.site

    async def asked():
        return site.busy

    await eventually(asked, "the request")
    getattr(connection.transport, leave)()

    async def left():
        return not any(channel.requests and channel.persistent for channel in site.channels)

    await eventually(left, "the client's departure")
    redis.signal(signal.SIGCONT)

    async def put_back():
        return (await client.get("/status/foo")).json["size"] == 2

    await eventually(put_back, "the job")
    assert (await client.get("/j/foo")).json["job_processed"] == 0
    assert (await client.get("/w/?worker_id=w1")).json["processed"] == "0"
    assert (await client.post("/q/foo?uniq=k", JOB)).status == 400
    assert [(await client.get("/q/foo")).json["n"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@awaiting
async def test_a_client_that_has_only_no_more_to_ask_gets_its_answer(daemon, client, redis, version):
    """`nc -N` closes its side once it has sent the request."""
    await client.post("/q/foo", JOB)
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(GET.replace(b"1.1", version))
    connection.transport.loseWriteConnection()
    assert (await connection.end()).endswith(JOB)
    await gone(redis)
    assert (await client.get("/j/foo")).json["job_processed"] == 1


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@awaiting
async def test_clients_that_close_at_once_lose_nothing(daemon, client, redis, version):
    for n in range(100):
        await client.post("/q/foo", b'{"n":%d}' % n)
    for _ in range(100):
        connection = await raw_connection(port_of(daemon))
        connection.transport.write(GET.replace(b"1.1", version))
        connection.transport.loseConnection()

    async def all_back():
        return not redis.command("EXISTS", "presque:{0}:foo:leased") and not daemon.site.busy

    await eventually(all_back, "the jobs")
    seen = []
    while (answer := await client.get("/q/foo")).status == 200:
        seen.append(answer.json["n"])
    assert sorted(seen) == list(range(100))


@awaiting
async def test_an_answer_that_is_never_read_goes_back_when_its_client_does(daemon, client, redis):
    large = b'{"text":"' + b"x" * 1_000_000 + b'"}'
    for _ in range(8):
        await client.post("/q/foo", large)
    connection = await raw_connection(port_of(daemon))
    connection.transport.pauseProducing()
    connection.transport.write(GET.replace(b"/q/foo", b"/qb/foo?batch_size=8"))
    await leased(redis, 8)

    async def written():
        return daemon.handoff.pending

    await eventually(written, "the answer")
    connection.transport.abortConnection()

    async def put_back():
        return (await client.get("/status/foo")).json["size"] == 8

    await eventually(put_back, "the jobs")
    assert (await client.get("/q/foo")).body == large


@awaiting
async def test_a_batch_is_put_back_in_its_order(daemon, client, redis):
    for n in range(30):
        await client.post("/q/foo", b'{"n":%d}' % n)
    first = await daemon.queues.take("foo", 10)
    second = await daemon.queues.take("foo", 10)
    await daemon.queues.give_back(second)
    await daemon.queues.give_back(first)
    answer = await client.get("/qb/foo?batch_size=30")
    assert [json.loads(text)["n"] for text in answer.json] == list(range(30))


@awaiting
async def test_only_whoever_holds_a_job_can_end_it_or_put_it_back(daemon, client, redis):
    await client.post("/q/foo", JOB)
    first = await daemon.queues.take("foo")
    assert await daemon.queues.give_back(first) == 1
    second = await daemon.queues.take("foo")
    assert await daemon.queues.deliver([first]) == 0
    assert await daemon.queues.give_back(first) == 0
    assert await daemon.queues.hold(first) == 0
    assert await daemon.queues.deliver([second]) == 1
    assert await daemon.queues.deliver([second]) == 0
    await gone(redis)


@awaiting
async def test_a_hold_can_be_extended_and_runs_out(daemon, client, redis):
    await client.post("/q/foo?uniq=k", JOB)
    taken = await daemon.queues.take("foo")
    redis.command("ZADD", "presque:{0}:foo:leased", 1, taken.numbers[0])
    assert await daemon.queues.hold(taken) == 1
    seconds, _ = redis.command("TIME")
    left = int(redis.command("ZSCORE", "presque:{0}:foo:leased", taken.numbers[0])) - int(seconds) * 1000
    assert (HOLD - 1) * 1000 < left <= (HOLD + 1) * 1000
    redis.command("ZADD", "presque:{0}:foo:leased", 1, taken.numbers[0])
    assert await daemon.queues.move("foo") == 1
    assert (await client.post("/q/foo?uniq=k", JOB)).status == 400
    assert await daemon.queues.deliver([taken]) == 0
    assert (await client.get("/q/foo")).body == JOB


@awaiting
async def test_a_put_back_job_does_not_take_its_uniq_key_from_another(daemon, client, redis):
    await client.post("/q/foo?uniq=k", b'{"n":1}')
    taken = await daemon.queues.take("foo")
    await client.post("/q/foo?uniq=k", b'{"n":2}')
    await daemon.queues.give_back(taken)
    assert (await client.get("/q/foo")).json == {"n": 1}
    assert (await client.post("/q/foo?uniq=k", JOB)).status == 400
    assert (await client.get("/q/foo")).json == {"n": 2}
    assert (await client.post("/q/foo?uniq=k", JOB)).status == 201


@awaiting
async def test_a_job_taken_by_a_daemon_that_was_killed_is_handed_out_again(processes, redises):
    redis = redises()
    killed = processes("--redis", redis.url)
    client = Client(await killed.listening)
    await client.post("/q/foo", JOB)
    await client.close()
    connection = await raw_connection(killed.port)
    redis.signal(signal.SIGSTOP)
    connection.transport.write(GET)
    for _ in range(2):  # what came before these, which need no Redis, has been asked for when they are answered
        await raw(killed.port, b"GET /nope HTTP/1.0\r\n\r\n")
    await killed.kill()
    redis.signal(signal.SIGCONT)
    await leased(redis, 1)
    other = processes("--redis", redis.url)
    client = Client(await other.listening)

    async def again():
        answer = await client.get("/q/foo")
        return answer.body if answer.status == 200 else None

    assert await eventually(again, "the job") == JOB
    await client.close()


async def take_and_vanish(port, chance):
    """Ask for a job and leave at a random moment. Returns the job if it had come until then."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(GET)
        await deferLater(reactor, chance.uniform(0, 0.02))
        received = b""
        with contextlib.suppress(BlockingIOError):  # nothing has come
            received = client.recv(65536, socket.MSG_DONTWAIT)
        if chance.random() < 0.5:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leave with a reset
    head, _, body = received.partition(b"\r\n\r\n")
    return body if head.startswith(b"HTTP/1.1 200") else b""


@awaiting
async def test_clients_that_vanish_at_random_moments_lose_nothing(daemon, client, redis):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    jobs = [b'{"n":%d}' % n for n in range(400)]
    for job in jobs:
        await client.post("/q/foo", job)
    seen = []
    for _ in range(20):
        seen += await gatherResults(
            [Deferred.fromCoroutine(take_and_vanish(port_of(daemon), chance)) for _ in range(20)]
        )

    async def drained():
        answer = await client.get("/qb/foo?batch_size=1000")
        seen.extend(text.encode() for text in answer.json if answer.status == 200)
        return redis.command("HLEN", "presque:{0}:foo:jobs") == 0

    await eventually(drained, "the rest")
    delivered = [job for job in seen if job]
    assert set(jobs) - set(delivered) == set(), f"seed {seed}"
    assert len(set(delivered)) == len(jobs)


@awaiting
async def test_an_answer_with_another_request_behind_it_has_not_arrived_before_it_was_sent(daemon, client, redis):
    """The next request of a pipeline is read while the answer before it is still being written."""
    for _ in range(8):
        await client.post("/q/foo", b'{"text":"' + b"x" * 1_000_000 + b'"}')
    connection = await raw_connection(port_of(daemon))
    connection.transport.pauseProducing()
    status = GET.replace(b"/q/foo", b"/status/")
    connection.transport.write(GET.replace(b"/q/foo", b"/qb/foo?batch_size=8") + status)
    await leased(redis, 8)

    async def both_answered():
        return not daemon.site.busy

    await eventually(both_answered, "the answers")
    connection.transport.abortConnection()

    async def put_back():
        return (await client.get("/status/foo")).json["size"] == 8

    await eventually(put_back, "the jobs")


@awaiting
async def test_the_place_where_an_answer_ends_is_the_kernels_whatever_was_written_before_it(daemon, client):
    """A mark too early would end a job that has not arrived, one too late would hold it for ever."""
    connection = await raw_connection(port_of(daemon))
    ask_first = b"POST /q/foo HTTP/1.1\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    large = b'{"text":"' + b"x" * 100_000 + b'"}'
    asked = [
        (ask_first + b"Content-Length: %d\r\n\r\n" % len(JOB), JOB, b"201 Created"),
        (b"POST /q/foo HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(large), large, b"content-type must be"),
        (GET.replace(b"/q/foo", b"/status/foo"), b"", b'"open"}'),
        (GET.replace(b"GET /q", b"OPTIONS /q"), b"", b"Allow"),
        (GET.replace(b"/q/foo", b"/openapi.json"), b"", b'"components"'),
        (GET, b"", JOB),
    ]
    ours = connection.transport.getHost()
    for head, body, answer in asked:
        connection.received = b""
        connection.transport.write(head + body)
        await connection.until(answer)
        (channel,) = (each for each in daemon.site.channels if each.getPeer() == ours)
        assert channel.mark() == _acknowledged(channel._handle) + _on_its_way(channel.transport), head
    connection.transport.loseConnection()
