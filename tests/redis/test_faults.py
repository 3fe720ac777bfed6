"""Redis away, stopped, killed, full, forgetful or not the master: an error at once, nothing lost, nothing late."""

import re
import signal
import time

import pytest
import pytest_twisted
from programs import Redis
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall

from presque.errors import StoreUnavailable
from presque.redis.connection import TIME_LIMIT
from presque.redis.store import BEAT

JOB = b'{"key":"value"}'


@pytest.fixture
def redis():
    """One for each test: these tests are not good to it."""
    server = Redis()
    yield server
    server.remove()


@pytest_twisted.async_yield_fixture()
async def daemon(redis):
    daemon = daemon_on(redis.url)
    daemon.startService()
    await daemon.started
    yield daemon
    await daemon.stopService()


async def works(client):
    """Wait until insertions are accepted again; returns how many seconds that took."""
    began = time.monotonic()

    async def accepted():
        answer = await client.post("/q/probe", JOB)
        assert answer.status in (201, 503)
        return answer.status == 201

    await eventually(accepted, "the store")
    return time.monotonic() - began


@awaiting
async def test_without_redis_every_route_says_so_at_once(daemon, client, redis):
    await client.post("/q/foo", JOB)
    redis.kill()

    async def noticed():
        return not daemon.store.is_up

    await eventually(noticed, "the loss")
    requests = [
        ("POST", "/q/foo", JOB),
        ("PUT", "/q/foo", JOB),
        ("GET", "/q/foo", None),
        ("GET", "/q/foo?wait=5", None),
        ("DELETE", "/q/foo", None),
        ("POST", "/qb/foo", b'{"jobs":[{}]}'),
        ("GET", "/qb/foo", None),
        ("GET", "/status/", None),
        ("GET", "/status/foo?with_desc=1", None),
        ("GET", "/j/foo", None),
        ("GET", "/control/foo", None),
        ("POST", "/control/foo", b'{"status":"stop"}'),
        ("POST", "/w/foo?worker_id=w", None),
        ("DELETE", "/w/foo?worker_id=w", None),
        ("GET", "/w/", None),
        ("GET", "/w/?worker_id=w", None),
        ("GET", "/w/?queue_name=foo", None),
        ("GET", "/", None),
    ]
    for method, path, body in requests:
        began = time.monotonic()
        answer = await client.request(method, path, body, Content_Type="application/json")
        assert time.monotonic() - began < 0.5, path
        assert answer.status == 503, path
        assert answer.body == b'{"error":"the store is not available, nothing was done"}'
        assert answer.headers["retry-after"] == "1"
    redis.start()
    assert await works(client) < 2
    assert (await client.get("/j/foo")).json["job_count"] == 1
    assert (await client.get("/control/foo")).json["status"] == "1"
    assert (await client.get("/w/")).json["workers_list"] == []


@awaiting
async def test_what_redis_was_too_slow_for_is_refused_and_never_carried_out_late(daemon, client, redis):
    redis.signal(signal.SIGSTOP)
    began = time.monotonic()
    asked = [Deferred.fromCoroutine(client.post("/q/foo", JOB)) for _ in range(20)]
    answers = await gatherResults(asked)
    assert {answer.status for answer in answers} == {503}
    assert answers[0].body == b'{"error":"the store did not answer, it may or may not have been done"}'
    took = time.monotonic() - began  # by what was asked last before it hung, perhaps one beat earlier
    assert TIME_LIMIT - BEAT <= took < TIME_LIMIT + 1.5
    began = time.monotonic()
    assert (await client.post("/q/foo", JOB)).status == 503
    assert time.monotonic() - began < 0.5
    redis.signal(signal.SIGCONT)
    assert await works(client) < 3
    assert (await client.get("/status/foo")).json["size"] == 0


@awaiting
async def test_a_script_that_comes_too_late_refuses(daemon, client):
    late = daemon.store.on_queue("push", "foo", JOB, until=b"1")
    with pytest.raises(StoreUnavailable):
        await late
    assert (await client.get("/status/")).json["size"] == 0


@awaiting
async def test_settling_waits_for_redis_to_come_back(daemon, client, redis):
    await client.post("/q/foo", JOB)
    taken = await daemon.queues.take("foo")
    redis.kill()
    daemon.deliveries.settle(taken)

    async def noticed():
        return not daemon.store.is_up

    await eventually(noticed, "the loss")
    redis.start()

    async def ended():
        return redis.command("KEYS", "presque:{0}:foo:*") == [b"presque:{0}:foo:q"]

    await eventually(ended, "the end of the job")


@awaiting
async def test_forgotten_scripts_are_sent_again_without_anybody_noticing(daemon, client, redis):
    flushing = LoopingCall(redis.command, "SCRIPT", "FLUSH")
    flushing.start(0.05)
    try:
        for n in range(0, 300, 10):
            inserted = [client.post("/q/foo", b'{"n":%d}' % m) for m in range(n, n + 10)]
            answers = await gatherResults([Deferred.fromCoroutine(each) for each in inserted])
            assert {answer.status for answer in answers} == {201}
        seen = set()
        while (answer := await client.get("/q/foo")).status == 200:
            seen.add(answer.json["n"])
    finally:
        flushing.stop()
    assert answer.body == b'{"error":"no job"}'
    assert seen == set(range(300))


@pytest.mark.parametrize("fsync", ["no", "always"])
@awaiting
async def test_jobs_survive_the_death_of_redis(daemon, client, redis, fsync):
    """As the private server runs it. Not with `everysec`: while its fsync runs, Redis answers before it writes."""
    redis.command("CONFIG", "SET", "appendfsync", fsync)
    redis.options += ("--appendfsync", fsync)
    acknowledged, tried, number = set(), set(), 0

    async def insert(n, answered):
        tried.add(n)
        status = (await client.post("/q/foo", b'{"n":%d}' % n)).status
        assert status in (201, 503)
        answered.append(n)
        if status == 201:
            acknowledged.add(n)

    for _ in range(3):
        answered = []
        asked = [Deferred.fromCoroutine(insert(number + n, answered)) for n in range(100)]
        number += 100

        async def some_are_in(answered=answered):
            return len(answered) >= 30

        await eventually(some_are_in, "the first answers")
        redis.kill()
        await gatherResults(asked)
        redis.start()
        await works(client)
    delivered = []
    while redis.command("HLEN", "presque:{0}:foo:jobs"):
        answer = await client.get("/q/foo")
        if answer.status == 200:
            delivered.append(answer.json["n"])
    assert acknowledged
    assert acknowledged - set(delivered) == set(), "lost"
    assert set(delivered) - tried == set(), "unexpected"
    assert len(delivered) == len(set(delivered)), "duplicated"


@awaiting
async def test_a_full_redis_refuses_insertions_and_lets_workers_go_on(daemon, client, redis):
    await client.post("/w/foo?worker_id=w1", b"")
    for n in range(3):
        await client.post("/q/foo", b'{"n":%d}' % n)
    await client.post(f"/q/foo?delayed={time.time() + 0.1}", b'{"n":"delayed"}')
    redis.command("CONFIG", "SET", "maxmemory", "1")
    inserts = [(client.post, "/q/foo", JOB), (client.put, "/q/foo", JOB), (client.post, "/qb/bar", b'{"jobs":[{}]}')]
    for insert, path, body in inserts:
        answer = await insert(path, body)
        assert (answer.status, answer.body) == (503, b'{"error":"the store is full, nothing was done"}')
        assert answer.headers["retry-after"] == "1"
    taken = await daemon.queues.take("foo", worker="w1")
    assert await daemon.queues.hold(taken) == 1
    assert await daemon.queues.give_back(taken) == 1

    async def due():
        return (await client.get("/status/foo")).json["size"] == 4

    await eventually(due, "the delayed job")
    seen = [(await client.get("/q/foo", X_presque_workerid="w1")).json["n"] for _ in range(4)]
    assert seen == [0, "delayed", 1, 2]
    assert (await client.get("/q/foo", X_presque_workerid="w2")).body == b'{"error":"no job"}'
    assert (await client.delete("/w/foo?worker_id=w1")).status == 204
    assert (await client.post("/w/foo?worker_id=w3", b"")).status == 201
    assert (await client.request("PATCH", "/v1/queues/foo", b'{"dead_keep":{"count":1}}')).status == 200
    assert (await client.post("/control/foo", b'{"status":"stop"}')).status == 200
    assert (await client.post("/control/foo", b'{"status":"start"}')).status == 200
    redis.command("CONFIG", "SET", "maxmemory", "0")
    assert (await client.post("/q/foo", JOB)).status == 201
    assert (await client.get("/q/foo")).body == JOB


@awaiting
async def test_a_replica_is_not_used_until_it_is_a_master_again(daemon, client, redis):
    redis.command("REPLICAOF", "127.0.0.1", "1")

    async def refused():
        return (await client.post("/q/foo", JOB)).status == 503

    await eventually(refused, "the refusal")
    redis.command("REPLICAOF", "NO", "ONE")
    assert await works(client) < 2.5
    assert "slave" in daemon.store.topology.commands.trouble or daemon.store.topology.commands.trouble == ""


@awaiting
async def test_a_redis_that_does_not_let_us_in_is_tried_until_it_does(daemon, client, redis):
    admin = redis.session()
    admin("CONFIG", "SET", "requirepass", "secret")
    for connection in list(daemon.store.topology.connections):
        connection.transport.abortConnection()

    async def refused():
        return (await client.post("/q/foo", JOB)).status == 503

    await eventually(refused, "the refusal")

    async def told():
        return "NOAUTH" in daemon.store.topology.commands.trouble

    await eventually(told, "the reason")
    admin("CONFIG", "SET", "requirepass", "")
    assert await works(client) < 2.5


@awaiting
async def test_user_password_and_database_are_used(redis, redises):
    other = redises()
    other.command("ACL", "SETUSER", "queue", "on", ">s:e/c", "~presque*", "resetchannels", "&presque*", "+@all")
    daemon = daemon_on(f"unix://queue:s%3Ae%2Fc@{other.socket}?db=3")
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    assert (await client.post("/q/foo", JOB)).status == 201
    assert b"keys=" in other.command("INFO", "keyspace")
    assert b"db3:" in other.command("INFO", "keyspace")
    waiting = Deferred.fromCoroutine(client.get("/q/bar?wait=10"))
    assert (await client.post("/q/bar", JOB)).status == 201
    assert (await waiting).body == JOB
    await client.close()
    await daemon.stopService()


@awaiting
async def test_an_error_of_redis_in_the_middle_of_a_handshake_heals(daemon, client, redis):
    admin = redis.session()
    admin("CONFIG", "SET", "maxclients", "1")
    for connection in list(daemon.store.topology.connections):
        connection.transport.abortConnection()

    async def refused():
        return (await client.post("/q/foo", JOB)).status == 503

    await eventually(refused, "the refusal")

    admin("CONFIG", "SET", "maxclients", "1000")
    assert await works(client) < 2.5


@awaiting
async def test_a_redis_that_refuses_us_does_not_fill_the_log(processes, redis):
    admin = redis.session()
    admin("CONFIG", "SET", "requirepass", "secret")
    process = processes("--redis", redis.url.replace("unix://", "unix://:wrong@"))
    process.listening.addErrback(lambda failure: None)

    async def tried_often():
        return int(re.search(rb"total_connections_received:(\d+)", admin("INFO", "stats"))[1]) > 15

    await eventually(tried_often, "the refusals")
    assert "WRONGPASS" in process.log or "invalid password" in process.log
    assert len(process.log.splitlines()) < 30, process.log
    assert "wrong@" not in process.log
