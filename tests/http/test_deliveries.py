"""A fetched job is kept until its bytes have reached the client: never lost, whoever goes away."""

import contextlib
import json
import random
import signal
import socket
import stat
import struct
import time
from types import SimpleNamespace

import pytest
import pytest_twisted
from load import deafen
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, departed, eventually, port_of, raw, raw_connection
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from txredisapi import ResponseError

from presque.errors import StoreUnavailable
from presque.http.arrival import Arrival
from presque.jobs.queues import HOLD

JOB = b'{"key":"value"}'
GET = b"GET /q/foo HTTP/1.1\r\nHost: x\r\n\r\n"


async def leased(redis, count):
    """Wait until `count` jobs of foo are held."""

    async def held():
        return len(redis.taken("foo")) == count

    await eventually(held, f"{count} held jobs")


async def gone(redis):
    """Wait until no trace of a job of foo is left but in its counts."""

    async def no_keys():
        return redis.command("KEYS", "presque:{0}:foo:*") == [b"presque:{0}:foo:q"]

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
    await client.post("/w/foo?worker_id=w1")
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
    await departed(connection, port_of(daemon))
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
        return not redis.taken("foo") and not daemon.site.busy

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
        return daemon.deliveries.pending

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
    redis.command("ZADD", "presque:{0}:foo:held", 1, taken.hold)
    assert await daemon.queues.hold(taken) == 1
    seconds, _ = redis.command("TIME")
    left = int(redis.command("ZSCORE", "presque:{0}:foo:held", taken.hold)) - int(seconds) * 1000
    assert (HOLD - 1) * 1000 < left <= (HOLD + 1) * 1000
    redis.command("ZADD", "presque:{0}:foo:held", 1, taken.hold)
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
    """Ask for a job and leave at a random moment. Returns the job if the client's kernel had it by then."""
    received = b""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(GET)
        await deferLater(reactor, chance.uniform(0, 0.02))
        if chance.random() < 0.5:
            deafen(client)  # what comes from now on is not acknowledged
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leave with a reset
        else:
            client.shutdown(socket.SHUT_RDWR)  # as above, and what has come can still be read
        with contextlib.suppress(BlockingIOError):  # nothing has come
            received = client.recv(65536, socket.MSG_DONTWAIT)
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
    """Who asks again has most likely read the answer before; this client has not."""
    for _ in range(8):
        await client.post("/q/foo", b'{"text":"' + b"x" * 1_000_000 + b'"}')
    connection = await raw_connection(port_of(daemon))
    connection.transport.pauseProducing()
    status = GET.replace(b"/q/foo", b"/status/")
    connection.transport.write(GET.replace(b"/q/foo", b"/qb/foo?batch_size=8") + status)
    await leased(redis, 8)

    async def written():
        return daemon.deliveries.pending and not any(each.answering for each in daemon.site.connections)

    await eventually(written, "the answer")
    connection.transport.abortConnection()

    async def put_back():
        return (await client.get("/status/foo")).json["size"] == 8

    await eventually(put_back, "the jobs")


@awaiting
async def test_the_place_where_an_answer_ends_is_the_kernels_whatever_was_written_before_it(daemon, client):
    """A mark too early would end a job that has not arrived, one too late would hold it for ever."""
    connection = await raw_connection(port_of(daemon))
    ask_first = b"POST /q/foo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    large = b'{"text":"' + b"x" * 100_000 + b'"}'
    asked = [
        (ask_first + b"Content-Length: %d\r\n\r\n" % len(JOB), JOB, b"201 Created"),
        (b"POST /q/foo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(large), large, b"content-type must be"),
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
        (channel,) = (each for each in daemon.site.connections if each.transport.getPeer() == ours)
        arrival = channel.arrival
        assert arrival.written == arrival.until() + arrival.on_its_way(), head
    connection.transport.loseConnection()


def whole_answer(client):
    """Read one answer; its body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    (length,) = (int(line.split()[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += client.recv(65536)
    return body


def read_and_leave(port, reset, pause, jobs):
    """Fetch so many jobs on one connection, and end it so many seconds after the last was read."""
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        found = []
        for _ in range(jobs):
            client.sendall(GET)
            found.append(whole_answer(client))
        time.sleep(pause)  # in a thread: the moment itself is what is tried
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return found


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("pause", [0, 0.003, 0.02])
@pytest.mark.parametrize("reset", [True, False])
@awaiting
async def test_a_job_that_was_read_comes_once_however_its_client_leaves(daemon, client, redis, reset, pause, jobs):
    """HAProxy resets the connections that it does not keep, as soon as it has read the answer."""
    wanted = [b'{"n":%d}' % n for n in range(30)]
    await daemon.queues.push("foo", wanted)
    found = []
    for _ in range(30 // jobs):
        found += await deferToThread(read_and_leave, port_of(daemon), reset, pause, jobs)
    assert found == wanted
    await gone(redis)


@awaiting
async def test_a_lease_that_was_read_before_a_reset_can_be_acknowledged(daemon, client):
    def reserve():
        with socket.create_connection(("127.0.0.1", port_of(daemon)), 20) as connection:
            connection.sendall(b"POST /v1/queues/foo/reservations HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            body = whole_answer(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return json.loads(body)["jobs"][0]

    await daemon.queues.push("foo", [JOB] * 20)
    for _ in range(20):
        job = await deferToThread(reserve)
        said = json.dumps({"receipt": job["receipt"]}).encode()
        assert (await client.post(f"/v1/jobs/{job['id']}/ack", said)).status == 204
    assert (await client.get("/status/foo")).json["size"] == 0


@pytest_twisted.async_yield_fixture()
async def hasty(redis):
    """A daemon whose clients have a second."""
    redis.command("FLUSHALL")
    daemon = daemon_on(redis.url, request_timeout="1")
    daemon.startService()
    await daemon.started
    yield daemon
    await maybeDeferred(daemon.stopService)


RESERVE = b"POST /v1/queues/foo/reservations HTTP/1.1\r\nHost: x\r\nContent-Length: 23\r\n\r\n"
RESERVE += b'{"wait":30,"lease":600}'


@pytest.mark.parametrize("request_", [GET.replace(b"foo", b"foo?wait=30"), RESERVE])
@awaiting
async def test_a_job_for_a_client_that_vanished_without_a_word_comes_back_in_time(hasty, redis, request_):
    with socket.create_connection(("127.0.0.1", port_of(hasty))) as client:
        client.sendall(request_)

        async def waits():
            return hasty.deliveries.asked

        await eventually(waits, "the client")
        deafen(client)
        began = reactor.seconds()
        await hasty.queues.push("foo", [JOB])
        await leased(redis, 1)

        async def back():
            return (await hasty.queues.counts("foo")).ready

        await eventually(back, "the job")
        assert 0.5 < reactor.seconds() - began < 10
        assert (await hasty.queues.counts("foo")).processed == 0

        async def forgotten():
            return not hasty.site.connections

        await eventually(forgotten, "the end of the connection")


@awaiting
async def test_a_waiting_client_that_vanished_without_a_word_is_noticed_before_there_is_a_job(hasty, redis):
    with socket.create_connection(("127.0.0.1", port_of(hasty))) as client:
        client.sendall(GET.replace(b"foo", b"foo?wait=50"))

        async def waits():
            return hasty.deliveries.asked

        async def forgotten():
            return not hasty.deliveries.asked and not hasty.site.connections

        await eventually(waits, "the client")
        deafen(client)
        await eventually(forgotten, "the end of the wait")


@awaiting
async def test_a_client_that_takes_its_answer_slowly_is_not_cut_off(hasty, redis):
    """No byte for so long is what counts, not how long the whole takes."""
    await hasty.queues.push("foo", [b'{"text":"' + b"x" * 400_000 + b'"}'])
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port_of(hasty)))
        client.sendall(GET)
        client.setblocking(False)
        received, began = 0, reactor.seconds()
        while received < 400_000:
            await deferLater(reactor, 0.02)  # a slow reader: what is tried
            with contextlib.suppress(BlockingIOError):
                received += len(client.recv(4096))
        assert reactor.seconds() - began > 1
    await gone(redis)


def raising(wrong, times, how):
    """A function that fails so often, at once or later, before it does what `how` does."""
    left = [times]

    def call(*args):
        if left[0]:
            left[0] -= 1
            if left[0] % 2:
                raise wrong
            return fail(wrong)
        return how(*args)

    return call


UNEXPECTED = [RuntimeError("boom"), ResponseError("WRONGTYPE Operation against a key"), KeyError("x"), OSError(24, "x")]


@pytest.mark.parametrize("wrong", UNEXPECTED, ids=lambda wrong: type(wrong).__name__)
@awaiting
async def test_a_settlement_that_fails_unexpectedly_is_made_again(daemon, client, redis, monkeypatch, failures, wrong):
    await daemon.queues.push("foo", [JOB])
    monkeypatch.setattr(daemon.queues, "deliver", raising(wrong, 3, daemon.queues.deliver))
    assert (await client.get("/q/foo")).body == JOB
    await gone(redis)
    assert failures == [wrong]  # once
    await nothing_pending(daemon)


@pytest.mark.parametrize("wrong", [*UNEXPECTED, StoreUnavailable()], ids=lambda wrong: type(wrong).__name__)
@pytest.mark.parametrize("lease", [True, False])
@awaiting
async def test_jobs_that_cannot_be_given_back_now_are_given_back_later(
    daemon, client, redis, monkeypatch, failures, wrong, lease
):
    await daemon.queues.push("foo", [b'{"text":"' + b"x" * 1_000_000 + b'"}'] * 8)
    monkeypatch.setattr(daemon.queues, "give_back", raising(wrong, 3, daemon.queues.give_back))
    connection = await raw_connection(port_of(daemon))
    connection.transport.pauseProducing()
    reserve = RESERVE.replace(b'{"wait":30,"lease":600}', b'{"max":8,  "lease":600}')
    connection.transport.write(reserve if lease else GET.replace(b"/q/foo", b"/qb/foo?batch_size=8"))
    await leased(redis, 8)

    async def written():
        return daemon.deliveries.written

    await eventually(written, "the answer")
    connection.transport.abortConnection()

    async def put_back():
        return (await client.get("/status/foo")).json["size"] == 8

    await eventually(put_back, "the jobs")
    assert failures == ([] if isinstance(wrong, StoreUnavailable) else [wrong])
    await nothing_pending(daemon)


@awaiting
async def test_a_connection_that_cannot_be_asked_gives_its_jobs_back_and_holds_up_no_other(
    daemon, client, redis, monkeypatch, failures
):
    wrong = OSError(9, "Bad file descriptor")
    await daemon.queues.push("foo", [JOB])
    monkeypatch.setattr(Arrival, "until", raising(wrong, 2, Arrival.until))
    assert (await client.get("/q/foo")).body == JOB

    async def back():
        return (await client.get("/status/foo")).json["size"] == 1

    await eventually(back, "the job")
    monkeypatch.undo()
    assert (await client.get("/q/foo")).body == JOB
    await gone(redis)
    assert failures == [wrong]
    await nothing_pending(daemon)


@awaiting
async def test_jobs_of_which_no_answer_can_be_made_go_back(daemon, client, failures):
    await daemon.queues.push("foo", [JOB])
    wrong, request = RuntimeError("boom"), SimpleNamespace(connection=object())
    answered = daemon.deliveries.deliver(request, daemon.queues.take("foo"), False, raising(wrong, 2, bytes))
    with pytest.raises(RuntimeError):
        await answered
    await nothing_pending(daemon)
    assert (await client.get("/status/foo")).json["size"] == 1


async def nothing_pending(daemon):
    async def settled():
        return not daemon.deliveries.pending

    await eventually(settled, "the end of all deliveries")


@pytest_twisted.async_yield_fixture()
async def local(redis, tmp_path):
    """A daemon on a Unix socket, and the socket's path."""
    redis.command("FLUSHALL")
    path = tmp_path / "presque.sock"
    daemon = daemon_on(redis.url, listen=f"unix:{path}")
    daemon.startService()
    await daemon.started
    yield daemon, path
    await maybeDeferred(daemon.stopService)


@awaiting
async def test_on_a_unix_socket_a_job_that_was_read_is_delivered(local, redis):
    daemon, path = local
    await daemon.queues.push("foo", [b'{"n":%d}' % n for n in range(20)])

    def fetch():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(GET)
            return whole_answer(client)

    assert [await deferToThread(fetch) for _ in range(20)] == [b'{"n":%d}' % n for n in range(20)]
    await gone(redis)


@awaiting
async def test_on_a_unix_socket_a_job_that_was_not_read_goes_back(local, redis):
    daemon, path = local
    for _ in range(20):
        await daemon.queues.push("foo", [JOB])
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(GET)

            async def written():
                return daemon.deliveries.written

            await eventually(written, "the answer")  # whole, and in our kernel: nobody has read it

        async def back():
            counts = await daemon.queues.counts("foo")
            return counts.ready == 1 and counts.processed == 0

        await eventually(back, "the job")
        await daemon.jobs.purge("foo")


@pytest.mark.parametrize(("said", "mode"), [("", 0o660), (":mode=600", 0o600), (":backlog=5:mode=0666", 0o666)])
@pytest.mark.parametrize("count", ["1", "2"])
@awaiting
async def test_only_owner_and_group_may_open_a_unix_socket_unless_its_endpoint_says_so(
    redis, tmp_path, said, mode, count
):
    path = tmp_path / "presque.sock"
    daemon = daemon_on(redis.url, listen=f"unix:{path}{said}", processes=count)
    daemon.startService()

    async def there():
        return path.exists() and stat.S_IMODE(path.stat().st_mode) == mode

    await eventually(there, "the socket")
    await maybeDeferred(daemon.stopService)


@awaiting
async def test_by_a_twisted_that_does_not_tell_what_it_has_a_job_is_delivered_over_tcp(
    daemon, client, redis, monkeypatch
):
    monkeypatch.setattr("presque.http.arrival.unsent", lambda raw: None)
    await daemon.queues.push("foo", [JOB] * 3)
    for _ in range(3):
        assert (await client.get("/q/foo")).body == JOB
    await gone(redis)


@awaiting
async def test_by_a_twisted_that_does_not_tell_what_it_has_a_job_over_a_unix_socket_comes_again(
    local, redis, monkeypatch
):
    monkeypatch.setattr("presque.http.arrival.unsent", lambda raw: None)
    daemon, path = local
    await daemon.queues.push("foo", [JOB])

    def fetch():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(GET)
            return whole_answer(client)

    for _ in range(2):
        assert await deferToThread(fetch) == JOB

        async def back():
            return (await daemon.queues.counts("foo")).ready == 1

        await eventually(back, "the job")
