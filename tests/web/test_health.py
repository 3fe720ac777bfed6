"""Health: each fault is seen within two seconds, by its own check and in words, and so is its end."""

import signal
import time

import pytest
import pytest_twisted
from load import encoded
from pytest_twisted import ensureDeferred as awaiting
from servers import LOOPBACK, Client, daemon_on, eventually, port_of, raw, raw_connection
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred

from presque.service import make_service
from presque.settings import settings

CHECKS = ["store", "writable", "memory", "disk", "scripts", "mover", "draining"]
IN_TIME = 2.0  # seconds
SLOW_MACHINE = 3.0  # seconds more that a busy machine may take


@pytest_twisted.async_yield_fixture()
async def serve():
    """Starts daemons in this process, `serve(settings)`, and stops them after the test; a client of each."""
    started = []

    async def start(**flags):
        names = {name.replace("_", "-"): str(value) for name, value in flags.items()}
        daemon = make_service(settings({"listen": LOOPBACK, **names}, {}), reactor)
        daemon.startService()
        await daemon.started
        started.append((daemon, Client(port_of(daemon))))
        return started[-1]

    yield start
    for daemon, client in started:
        await client.close()
        await maybeDeferred(daemon.stopService)


async def becomes(client, failing, words=""):
    """Wait until these checks fail, the first with these words, or none; fails if that takes too long."""
    began = time.monotonic()

    async def is_so():
        answer = await client.get("/health/ready")
        assert (answer.status, answer.json["ready"]) in ((200, True), (503, False))
        found = [name for name, why in answer.json["checks"].items() if why != "ok"]
        assert (answer.status == 200) == (not found)
        if not failing:
            return not found
        return set(failing) <= set(found) and words in answer.json["checks"][failing[0]]

    await eventually(is_so, f"{failing} {words}")
    took = time.monotonic() - began
    print(f"{failing or 'ready'}: {took:.2f} s")
    assert took < IN_TIME + SLOW_MACHINE


@awaiting
async def test_a_daemon_that_can_serve_is_ready_and_lives(client):
    await becomes(client, [])
    answer = await client.get("/health/ready")
    assert answer.json == {"ready": True, "checks": dict.fromkeys(CHECKS, "ok")}
    assert list(answer.json["checks"]) == CHECKS
    assert answer.headers["cache-control"] == "no-store"
    live = await client.get("/health/live")
    assert (live.status, live.json) == (200, {"live": True})


@awaiting
async def test_a_redis_that_hangs_or_dies_is_away_until_it_is_back(serve, redises):
    redis = redises()
    _, client = await serve(redis=redis.url)
    redis.signal(signal.SIGSTOP)
    await becomes(client, ["store"], "Redis")
    assert (await client.get("/health/live")).status == 200
    redis.signal(signal.SIGCONT)
    await becomes(client, [])
    redis.kill()
    await becomes(client, ["store"], "Redis")
    answer = await client.get("/health/ready")
    assert answer.headers["retry-after"] == "1"
    assert answer.json["checks"]["mover"] == "waits for the store"
    redis.start()
    await becomes(client, [])


@awaiting
async def test_a_redis_that_becomes_a_replica_is_not_writable(serve, redises):
    redis = redises()
    _, client = await serve(redis=redis.url)
    redis.command("REPLICAOF", "127.0.0.1", "1")
    await becomes(client, ["writable"], "replica")
    assert (await client.post("/q/foo", b"{}")).status == 503  # whereupon the daemon leaves it, and may not come back
    await becomes(client, ["writable"], "replica")
    redis.command("REPLICAOF", "NO", "ONE")
    await becomes(client, [])


@awaiting
async def test_a_redis_whose_memory_is_full_says_how_much_it_has(serve, redises):
    redis = redises()
    _, client = await serve(redis=redis.url)
    redis.command("CONFIG", "SET", "maxmemory", "100000")
    await becomes(client, ["memory"], "of 100000 bytes (maxmemory)")
    redis.command("CONFIG", "SET", "maxmemory", "0")
    await becomes(client, [])


@awaiting
async def test_a_redis_that_cannot_write_its_files_says_so(serve, redises, tmp_path):
    redis = redises("--appendonly", "no")
    _, client = await serve(redis=redis.url)
    redis.command("CONFIG", "SET", "save", "3600 1")
    redis.command("SET", "something", "1")
    redis.command("CONFIG", "SET", "dir", "/proc/self")
    redis.command("BGSAVE")
    await becomes(client, ["writable", "disk"], "writes")
    redis.command("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    await becomes(client, [])


@awaiting
async def test_a_disk_that_is_nearly_full_is_named_and_not_the_memory(serve, tmp_path):
    daemon, client = await serve(data_dir=tmp_path / "data")
    room = daemon.server.room
    room.floor = 1 << 62
    await becomes(client, ["disk"], "--min-free")
    room.floor = 1
    await becomes(client, [])


@awaiting
async def test_a_mover_that_fails_or_hangs_is_blocked(serve, redises, monkeypatch):
    redis = redises()
    daemon, client = await serve(redis=redis.url)
    redis.command("SET", "presque:{0}/due", "not a sorted set")
    await becomes(client, ["mover"], "the mover has not done its work for")
    redis.command("DEL", "presque:{0}/due")
    await becomes(client, [])
    hangs = Deferred()
    monkeypatch.setattr(daemon.queues, "due", lambda partition, limit: hangs)
    await becomes(client, ["mover"], "its last turn has not ended")
    monkeypatch.undo()
    hangs.callback([])
    await becomes(client, [])


@awaiting
async def test_a_user_that_may_not_load_scripts_is_told(serve, redises):
    redis = redises()
    redis.command("ACL", "SETUSER", "presque", "on", ">secret", "~*", "&*", "+@all", "-script")
    url = redis.url.replace("unix://", "unix://presque:secret@")
    daemon = daemon_on(url)

    async def told():
        return "ACL" in daemon.condition.checks()["scripts"]

    daemon.startService()
    try:
        await eventually(told, "the check")
        assert "secret" not in str(daemon.health.checks())
    finally:
        await maybeDeferred(daemon.stopService)


@awaiting
async def test_ten_thousand_calls_ask_redis_nothing(redis, daemon, client):
    def asked():
        return int(
            dict(line.split(":") for line in redis.command("INFO", "stats").decode().split()[1:] if ":" in line)[
                "total_commands_processed"
            ]
        )

    connection = await raw_connection(port_of(daemon))
    await becomes(client, [])
    before, began = asked(), reactor.seconds()
    for _ in range(100):
        connection.received = b""
        connection.transport.write(encoded("GET", "/health/ready") * 100)

        async def all_came(connection=connection):
            return connection.received.count(b'{"ready":true') == 100

        await eventually(all_came, "the answers")
    during = asked() - before
    connection.transport.abortConnection()
    assert during < 100 + 100 * (reactor.seconds() - began)  # of the background, whatever is asked


@awaiting
async def test_a_daemon_that_stops_says_so_on_kept_and_on_new_connections(serve, redises):
    redis = redises()
    daemon, _ = await serve(redis=redis.url)
    port = port_of(daemon)
    kept = [await raw_connection(port) for _ in range(2)]
    for connection in kept:
        await _asked(connection, "/health/live")
    stopping = maybeDeferred(daemon.stopService)
    new = await raw(port, encoded("GET", "/health/ready"))
    assert b" 503 " in new
    assert b'"draining":"presque is stopping' in new
    assert b"Connection: close" in new
    kept[0].received = b""
    kept[0].transport.write(encoded("GET", "/health/ready"))
    assert b'"draining":"presque is stopping' in await kept[0].end()
    assert (await raw(port, encoded("POST", "/q/foo", b"{}"))).startswith(
        b"HTTP/1.1 201 "
    )  # what is accepted is served
    began = time.monotonic()
    await stopping
    assert time.monotonic() - began < 5


async def _asked(connection, path):
    connection.transport.write(encoded("GET", path))
    await connection.until(b"}")


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
@awaiting
async def test_health_is_asked_with_get_and_head_alone(client, path):
    assert (await client.request("HEAD", path)).status == 200
    answer = await client.post(path, b"{}")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
