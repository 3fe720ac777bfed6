"""What serves: `/v1/system`."""

import platform

from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of
from twisted.internet.defer import maybeDeferred
from v1 import is_problem

from presque import __version__


@awaiting
async def test_it_tells_versions_processes_redis_and_limits(client):
    async def told():
        answer = await client.get("/v1/system")
        assert answer.status == 200
        return answer.json if answer.json["redis"] else None

    found = await eventually(told, "what Redis says")
    assert (found["versions"]["presque"], found["versions"]["python"]) == (__version__, platform.python_version())
    assert found["versions"]["engine"] in ("redis", "valkey")
    assert found["versions"]["engine_version"].count(".") >= 2
    assert found["redis"]["memory"] > 100_000
    assert found["redis"]["memory_limit"] is None
    assert (found["processes"], found["mover_lag"] >= 0, found["certificate_not_after"]) == (1, True, None)
    assert {"name": "body", "limit": 1048576, "used": None, "refused": 0} in found["limits"]
    assert "missing_partitions" not in found
    is_problem(await client.get("/v1/system?x=1"), 400, "bad-request")


@awaiting
async def test_a_queue_for_which_the_mover_does_not_come_is_a_lag(client, redis, daemon):
    daemon.loops["mover"].stop()
    try:
        redis.command("ZADD", "presque:{0}/due", 1000, "foo")
        assert (await client.get("/v1/system")).json["mover_lag"] > 1e9
    finally:
        daemon.loops["mover"].start()


@awaiting
async def test_it_answers_while_redis_is_away(redises):
    redis = redises()
    daemon = daemon_on(redis.url)
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    try:
        redis.kill()

        async def is_away():
            answer = await client.get("/v1/system")
            assert answer.status == 200
            return answer.json["redis"] is None and answer.json["mover_lag"] is None and answer.json

        found = await eventually(is_away, "Redis is missed")
        assert found["versions"]["presque"] == __version__
        assert found["versions"]["engine"] is None
    finally:
        await client.close()
        await maybeDeferred(daemon.stopService)
