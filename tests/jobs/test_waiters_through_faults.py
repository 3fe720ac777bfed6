"""Consumers who wait while something goes wrong under them: each is answered, and a daemon that ends ends soon."""

import signal
import time

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

JOB = b'{"key":"value"}'
AWAY = 2.5  # seconds


def begin(coroutine):
    return Deferred.fromCoroutine(coroutine)


async def waiters(daemon, count):
    async def all_there():
        return len(daemon.waiting) == count

    await eventually(all_there, f"{count} waiters")


@pytest.mark.parametrize("how", ["stopped", "killed"])
@pytest.mark.parametrize("count", [1, 3])
@awaiting
async def test_who_waits_last_is_answered_when_redis_goes_away_and_the_daemon_stops_soon(
    processes, redises, how, count
):
    redis = redises()
    daemon = processes("--redis", redis.url)
    client = Client(await daemon.listening)
    began = time.monotonic()
    waiting = [begin(client.get("/q/foo?wait=3")) for _ in range(count)]

    async def subscribed():
        return redis.command("PUBSUB", "CHANNELS", "*")

    await eventually(subscribed, "the subscription")
    await deferLater(reactor, 0.2)
    redis.signal(signal.SIGSTOP) if how == "stopped" else redis.kill()
    await deferLater(reactor, AWAY)
    redis.signal(signal.SIGCONT) if how == "stopped" else redis.start()
    for answer in await gatherResults(waiting):
        assert answer.status in (404, 503)
    assert time.monotonic() - began < 8

    async def works():
        return (await client.post("/q/foo", JOB)).status == 201

    await eventually(works, "the store")
    assert (await client.get("/q/foo?wait=3")).body == JOB
    assert "Traceback" not in daemon.log
    await client.close()
    began = time.monotonic()
    await daemon.stop()
    assert time.monotonic() - began < 5


@awaiting
async def test_who_still_looks_into_several_queues_when_the_daemon_stops_is_answered(redis):
    daemon = daemon_on(redis.url)
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    await client.get("/status/")
    redis.signal(signal.SIGSTOP)
    began = time.monotonic()
    waiting = begin(client.post("/v1/queues/foo,bar,baz/reservations", b'{"wait":50}'))

    async def looks():
        return any(connection.owed for connection in daemon.store.topology.connections) and daemon.site.busy

    await eventually(looks, "the look")
    assert len(daemon.waiting) == 0
    stopping = daemon.stopService()
    await deferLater(reactor, 0.1)
    redis.signal(signal.SIGCONT)
    assert (await waiting).json == {"jobs": []}
    await client.close()
    await stopping
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("path", ["/q/foo?wait=40", "/qb/foo?wait=40&batch_size=3"])
@awaiting
async def test_keys_of_a_wrong_type_are_told_to_who_waits_logged_once_and_forgotten(redis, failures, path):
    redis.command("FLUSHALL")
    daemon = daemon_on(redis.url)  # of its own: what another test has met is not logged again
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    waiting = [begin(client.get(path)) for _ in range(3)]
    await waiters(daemon, 3)
    redis.command("SET", "presque:{0}:foo:ready", "spoiled")
    began = time.monotonic()
    for answer in await gatherResults(waiting):
        assert answer.status == 503
        assert answer.body == b'{"error":"the store did not answer, it may or may not have been done"}'
    for _ in range(3):
        assert (await client.get("/q/foo?wait=5")).status == 503
        assert (await client.post("/v1/queues/foo,bar/reservations", b'{"wait":5}')).status == 503
    assert time.monotonic() - began < 6
    redis.command("DEL", "presque:{0}:foo:ready")
    kinds = [str(failure) for failure in failures]
    assert len(kinds) == len(set(kinds)) in (1, 2, 3), kinds  # by each way of taking
    again = begin(client.get("/q/foo?wait=40"))
    await waiters(daemon, 1)
    assert (await client.post("/q/foo", JOB)).status == 201
    assert (await again).body == JOB
    await client.close()
    await daemon.stopService()
