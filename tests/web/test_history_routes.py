"""The history of a queue and of all: `/v1/queues/<queue>/history`, `/v1/history`. What is in it: tests/jobs."""

from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, port_of
from twisted.internet.defer import maybeDeferred
from v1 import insert, is_problem, reserve, settle

from presque.background.sampler import Sampler
from presque.redis.keys import partition_of

ROW = {"at", "inserted", "ended", "failed", "died", "ready", "delayed", "leased", "dead", "oldest_ready_age"}


async def sampled(daemon):
    """Have all that there is sampled, as if it were a minute later."""
    for key in (f"presque:{{{partition}}}/sampling" for partition in range(daemon.store.partitions)):
        await daemon.store.topology.connection(0).execute_command("HINCRBY", key, "minute", -1)
    await Sampler(daemon.history).run_once()


@awaiting
async def test_a_queue_has_rows_of_minutes_and_of_ten_minutes(daemon, client):
    await insert(client, 0, queue="other")
    await sampled(daemon)
    await insert(client, 1, 2, 3)
    (job,) = await reserve(client)
    await settle(client, "ack", job)
    await sampled(daemon)
    answer = await client.get("/v1/queues/foo/history")
    assert (answer.status, set(answer.json)) == (200, {"minutes", "ten_minutes"})
    minutes, tens = answer.json["minutes"], answer.json["ten_minutes"]
    assert (len(minutes), len(tens)) == (60, 144)
    assert all(set(row) == ROW for row in [*minutes, *tens])
    assert (minutes[-1]["inserted"], minutes[-1]["ended"], minutes[-1]["ready"]) == (3, 1, 2)
    assert minutes[-1]["oldest_ready_age"] >= 0
    assert minutes[0]["oldest_ready_age"] is None
    every = (await client.get("/v1/history")).json
    assert (every["minutes"][-1]["inserted"], every["minutes"][-1]["ready"]) == (3, 3)


@awaiting
async def test_an_unknown_queue_has_none_and_a_store_without_queues_an_empty_one(client):
    is_problem(await client.get("/v1/queues/foo/history"), 404, "not-found")
    is_problem(await client.get("/v1/queues/foo/history?since=1"), 400, "bad-request")
    answer = await client.get("/v1/history")
    assert answer.status == 200
    assert {row["ready"] for row in answer.json["minutes"]} == {0}


@awaiting
async def test_partitions_that_are_missing_are_named_and_the_others_told(redises):
    redis = redises()
    daemon = daemon_on(redis.url, partitions="4")
    daemon.startService()
    await daemon.started
    client = Client(port_of(daemon))
    try:
        names = [f"q{number}" for number in range(12)]
        for name in names:
            await insert(client, 1, queue=name)
        await sampled(daemon)
        redis.command("DEL", "presque:{2}/all_history")
        redis.command("SET", "presque:{2}/all_history", "spoilt")
        answer = await client.get("/v1/history")
        assert (answer.status, answer.json["missing_partitions"]) == (200, [2])
        there = sum(partition_of(name, 4) != 2 for name in names)
        assert answer.json["minutes"][-1]["ready"] == there
    finally:
        await client.close()
        await maybeDeferred(daemon.stopService)
