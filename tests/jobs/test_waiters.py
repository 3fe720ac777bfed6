"""`GET /q/<queue>?wait=`: woken at once, first come first served, and nothing left behind."""

import gc
import re
import signal
import time

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of, raw_connection
from twisted.internet.defer import Deferred, gatherResults, succeed

from presque.jobs.leases import Leased

JOB = b'{"key":"value"}'


def begin(coroutine):
    return Deferred.fromCoroutine(coroutine)


async def waiters(daemon, count):
    """Wait until `count` consumers wait, and Redis knows of the channel."""

    async def all_there():
        return len(daemon.waiting) == count

    await eventually(all_there, f"{count} waiters")


@awaiting
async def test_a_waiting_consumer_gets_the_job_that_comes(daemon, client):
    await client.post("/w/foo?worker_id=w1")
    waiting = begin(client.get("/q/foo?wait=30", X_presque_workerid="w1"))
    await waiters(daemon, 1)
    began = time.monotonic()
    await client.post("/q/foo", JOB)
    answer = await waiting
    assert (answer.status, answer.body) == (200, JOB)
    assert time.monotonic() - began < 1
    assert (await client.get("/w/?worker_id=w1")).json["processed"] == "1"


@awaiting
async def test_a_wait_ends_with_no_job(client):
    began = time.monotonic()
    answer = await client.get("/q/foo?wait=0.2")
    assert (answer.status, answer.body) == (404, b'{"error":"no job"}')
    assert time.monotonic() - began >= 0.2


@awaiting
async def test_a_job_that_is_there_is_not_waited_for(client):
    await client.post("/q/foo", JOB)
    assert (await client.get("/q/foo?wait=30")).body == JOB


@pytest.mark.parametrize("wait", ["x", "-1", "nan", "inf", "1e3"])
@awaiting
async def test_wait_must_be_seconds(client, wait):
    answer = await client.get(f"/q/foo?wait={wait}")
    assert (answer.status, answer.body) == (400, b'{"error":"wait must be a number of seconds"}')


@awaiting
async def test_an_insertion_through_another_daemon_wakes_too(redis, daemon, client):
    other = daemon_on(redis.url)
    other.startService()
    await other.started
    waiting = begin(client.get("/q/foo?wait=30"))
    await waiters(daemon, 1)
    producer = Client(port_of(other))
    assert (await producer.post("/q/foo", JOB)).status == 201
    assert (await waiting).body == JOB
    await producer.close()
    await other.stopService()


@awaiting
async def test_a_delayed_job_coming_due_wakes(daemon, client):
    waiting = begin(client.get("/q/foo?wait=30"))
    await waiters(daemon, 1)
    due = time.time() + 0.3
    await client.post(f"/q/foo?delayed={due}", JOB)
    assert (await waiting).body == JOB
    assert due <= time.time() < due + 1


@awaiting
async def test_a_start_wakes_and_a_stopped_queue_says_so_in_the_end(daemon, client):
    await client.post("/control/foo", b'{"status":"stop"}')
    await client.post("/q/foo", JOB)
    assert (await client.get("/q/foo?wait=0.1")).body == b'{"error":"queue is closed"}'
    waiting = begin(client.get("/q/foo?wait=30"))
    await waiters(daemon, 1)
    await client.post("/control/foo", b'{"status":"start"}')
    assert (await waiting).body == JOB


@awaiting
async def test_waiters_are_served_in_the_order_in_which_they_came(daemon, client):
    waiting = []
    for n in range(10):
        waiting.append(begin(client.get("/q/foo?wait=30")))
        await waiters(daemon, n + 1)
    await client.post("/qb/foo", b'{"jobs":[' + b",".join(b'{"n":%d}' % n for n in range(10)) + b"]}")
    answers = await gatherResults(waiting)
    assert [answer.json["n"] for answer in answers] == list(range(10))


@awaiting
async def test_a_batch_can_be_waited_for(daemon, client):
    waiting = begin(client.get("/qb/foo?wait=30&batch_size=5"))
    await waiters(daemon, 1)
    await client.post("/qb/foo", b'{"jobs":[{"n":1},{"n":2}]}')
    assert (await waiting).json == ['{"n":1}', '{"n":2}']


@awaiting
async def test_an_abandoned_wait_takes_nothing_and_leaves_nothing(daemon, client, redis):
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(b"GET /q/foo?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n")
    await waiters(daemon, 1)
    connection.transport.loseConnection()
    await waiters(daemon, 0)
    await client.post("/q/foo", JOB)
    assert (await client.get("/status/foo")).json["size"] == 1

    async def forgotten():
        return redis.command("PUBSUB", "CHANNELS", "*") == []

    await eventually(forgotten, "the subscription")


@awaiting
async def test_waits_on_many_queues_cost_redis_one_connection(daemon, client, redis):
    before = len(redis.command("CLIENT", "LIST").splitlines())
    connections = await gatherResults([raw_connection(port_of(daemon)) for _ in range(200)])
    for n, connection in enumerate(connections):
        connection.transport.write(b"GET /q/q%d?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n" % n)
    await waiters(daemon, 200)
    assert len(redis.command("CLIENT", "LIST").splitlines()) == before
    for n in range(200):
        await client.post(f"/q/q{n}", b'{"n":%d}' % n)
    for n, connection in enumerate(connections):
        await connection.until(b'{"n":%d}' % n)
        connection.transport.abortConnection()


@awaiting
async def test_a_lost_subscription_is_made_again(daemon, client, redis):
    waiting = begin(client.get("/q/foo?wait=30"))
    await waiters(daemon, 1)
    redis.command("CLIENT", "KILL", "TYPE", "pubsub")

    async def subscribed():
        return redis.command("PUBSUB", "CHANNELS", "*")

    await eventually(subscribed, "the subscription")
    await client.post("/q/foo", JOB)
    assert (await waiting).body == JOB


@awaiting
async def test_what_was_not_heard_is_found_by_looking_at_one_queue_after_the_other(daemon, client, redis, monkeypatch):
    monkeypatch.setattr("presque.jobs.waiters.POLL", 0.05)
    monkeypatch.setattr("presque.jobs.waiters.POLL_TURN", 0.01)
    monkeypatch.setattr("presque.jobs.waiters.POLLED", 3)
    names = [f"q{n}" for n in range(20)]
    waiting = [begin(client.get(f"/q/{name}?wait=30")) for name in names]
    await waiters(daemon, len(names))
    for n, name in enumerate(names, 1):  # without a publication
        redis.command("HSET", f"presque:{{0}}:{name}:jobs", n, b"0000000000001-%b" % JOB)
        redis.command("RPUSH", f"presque:{{0}}:{name}:ready", n)
    assert {(await answer).body for answer in waiting} == {JOB}
    assert len(daemon.waiting) == 0


@awaiting
async def test_a_stopping_daemon_answers_those_who_wait(redis, client):
    daemon = daemon_on(redis.url)
    daemon.startService()
    await daemon.started
    consumer = Client(port_of(daemon))
    waiting = begin(consumer.get("/q/foo?wait=30"))
    await waiters(daemon, 1)
    stopping = daemon.stopService()
    assert (await waiting).body == b'{"error":"no job"}'
    await consumer.close()
    await stopping


@awaiting
async def test_a_client_that_leaves_during_the_last_look_is_no_trouble(daemon, client, redis, failures):
    await client.post("/control/foo", b'{"status":"stop"}')
    connection = await raw_connection(port_of(daemon))
    connection.transport.write(b"GET /q/foo?wait=0.2 HTTP/1.1\r\nHost: x\r\n\r\n")
    await waiters(daemon, 1)
    redis.signal(signal.SIGSTOP)
    await waiters(daemon, 0)  # its time is over, and the last look waits for Redis
    connection.transport.abortConnection()

    async def left():
        return not daemon.site.busy

    await eventually(left, "the departure")
    redis.signal(signal.SIGCONT)
    assert (await client.get("/q/foo")).status == 404
    gc.collect()
    assert failures == []


@awaiting
async def test_a_wait_of_more_than_55_seconds_counts_as_55(daemon, client, monkeypatch):
    """Proxies with a limit of 60 s do not cut it then."""
    waits = []

    def take(queues, take, seconds):
        waits.append(seconds)
        return succeed(Leased("foo", "", b"", (), (), "nothing", **dict.fromkeys(Leased.__annotations__, ())))

    monkeypatch.setattr(daemon.waiting, "take", take)
    for path in ("/q/foo?wait=56", "/q/foo?wait=55", "/q/foo?wait=86400.5", "/qb/foo?wait=60"):
        assert (await client.get(path)).status == 404
    for wait in ("56", "55", "1e9", "86400.5"):
        answer = await client.post("/v1/queues/foo/reservations", b'{"wait":%b}' % wait.encode())
        assert answer.json == {"jobs": []}
    assert waits == [55.0] * 8


def scripts_run(redis):
    """How many scripts Redis has run."""
    info = redis.command("INFO", "commandstats").decode()
    return sum(int(calls) for calls in re.findall(r"cmdstat_eval(?:sha)?:calls=(\d+)", info))


async def several(redis, count):
    """Daemons in this process, and a client of each."""
    daemons = [daemon_on(redis.url, tick="60") for _ in range(count)]
    for daemon in daemons:
        daemon.startService()
        await daemon.started
    return daemons, [Client(port_of(daemon)) for daemon in daemons]


async def registered(redis, count):
    async def all_there():
        return redis.command("ZCARD", "presque:{0}:foo:waiting") == count

    await eventually(all_there, f"{count} registered daemons")


@awaiting
async def test_a_push_wakes_one_of_several_daemons(redis, daemon):
    daemons, clients = await several(redis, 7)
    waiting = [begin(client.get("/q/foo?wait=30")) for client in clients]
    await registered(redis, 7)
    await clients[0].get("/q/other")  # behind it every subscription is known
    before = scripts_run(redis)
    await clients[0].post("/q/foo", JOB)
    assert (await first_of(waiting)).body == JOB
    assert redis.command("ZCARD", "presque:{0}:foo:waiting") >= 6
    polls = 6 * 2
    assert scripts_run(redis) - before <= 6 + polls
    for _ in range(6):
        await clients[0].post("/q/foo", JOB)
    assert {(await answer).body for answer in waiting} == {JOB}
    for client in clients:
        await client.close()
    for each in daemons:
        await each.stopService()


def first_of(deferreds):
    """What the first of them fires with; the others go on."""
    fired = Deferred()

    def pass_on(result):
        if not fired.called:
            fired.callback(result)
        return result

    for each in deferreds:
        each.addCallback(pass_on)
    return fired


@awaiting
async def test_a_daemon_that_is_gone_swallows_no_wake_up(redis, daemon, client, monkeypatch):
    monkeypatch.setattr("presque.jobs.waiters.POLL", 600.0)
    waiting = begin(client.get("/q/foo?wait=30"))
    await waiters(daemon, 1)
    await registered(redis, 1)
    for n in range(3):
        redis.command("ZADD", "presque:{0}:foo:waiting", n, f"gone{n}")
    await client.post("/q/foo", JOB)
    assert (await waiting).body == JOB


@awaiting
async def test_a_wake_up_that_finds_nobody_is_passed_on(redis, daemon, client, monkeypatch):
    monkeypatch.setattr("presque.jobs.waiters.POLL", 600.0)
    (other,), (consumer,) = await several(redis, 1)
    waiting = begin(consumer.get("/q/foo?wait=30"))
    await registered(redis, 1)
    command = redis.session()
    command("HSET", "presque:{0}:foo:jobs", 1, b"0000000000001-%b" % JOB)
    command("RPUSH", "presque:{0}:foo:ready", 1)  # without a publication
    daemon.store.topology.listener.told(daemon.queues.channel("foo"))
    assert (await waiting).body == JOB
    await consumer.close()
    await other.stopService()


@awaiting
async def test_where_nobody_waits_nothing_is_published(redis, client):
    redis.command("CONFIG", "RESETSTAT")
    await client.post("/q/foo", JOB)
    await client.get("/q/foo")
    assert b"cmdstat_publish" not in redis.command("INFO", "commandstats")
