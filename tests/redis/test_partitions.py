"""Very many partitions, and partitions that fail: the others go on, and what is missing is named."""

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of
from twisted.internet.defer import fail

from presque.errors import StoreUnavailable
from presque.redis.keys import partition_of

JOB = b'{"key":"value"}'
FEW = 4


@pytest_twisted.async_yield_fixture()
async def started(redises):
    """Starts a daemon with a Redis of its own, `await started(partitions)`: the Redis, the daemon and a client."""
    running = []

    async def start(partitions):
        redis = redises()
        daemon = daemon_on(redis.url, partitions=str(partitions), tick="0.1")
        daemon.startService()
        await daemon.started
        running.append((daemon, Client(port_of(daemon))))
        return redis, *running[-1]

    yield start
    for daemon, client in running:
        await client.close()
        await daemon.stopService()


def named(partition, partitions=FEW):
    """A queue name of that partition."""
    return next(name for n in range(1000) if partition_of(name := f"q{n}", partitions) == partition)


async def delayed_jobs_come(redis, client, names):
    """Delayed jobs reach the front of their queues, where the mover puts them, without anybody asking."""
    for name in names:
        assert (await client.post(f"/v1/queues/{name}/jobs", b'{"payload":{},"delay":0.3}')).status == 201
    for name in names:

        async def is_ready(name=name):
            return redis.command("ZCARD", f"presque:{{{partition_of(name, FEW)}}}:{name}:front") == 1

        await eventually(is_ready, f"the job of {name}")


@pytest.mark.parametrize("partitions", [2049, pytest.param(16_384, marks=pytest.mark.rows)])
@awaiting
async def test_very_many_partitions_come_up_and_do_everything(started, partitions):
    redis, _, client = await started(partitions)
    names = [f"q{n:02}" for n in range(20)]
    for name in names:
        assert (await client.post(f"/q/{name}", JOB)).status == 201
        assert (await client.post(f"/w/{name}?worker_id=w1")).status == 201
    assert (await client.get("/status/")).json == {"queues": names, "size": 20}
    assert [each["name"] for each in (await client.get("/v1/queues")).json["queues"]] == names
    assert (await client.get("/w/")).json["workers_list"] == ["w1"]
    assert (await client.get("/")).status == 200
    for name in names:
        assert (await client.get(f"/q/{name}")).body == JOB
    assert (await client.post("/v1/queues/late/jobs", b'{"payload":{},"delay":0.3}')).status == 201
    assert (await client.get("/q/late?wait=15")).body == b"{}"
    assert redis.command("HGET", "presque:store", "partitions") == b"%d" % partitions


@awaiting
async def test_a_partition_that_fails_does_not_stop_the_mover_for_the_others_and_is_logged_once(started, failures):
    redis, _, client = await started(FEW)
    redis.command("SET", "presque:{1}/due", "spoiled")
    others = [named(partition) for partition in (0, 2, 3)]
    await delayed_jobs_come(redis, client, others)
    assert len(failures) == 1
    redis.command("DEL", "presque:{1}/due")
    await delayed_jobs_come(redis, client, [named(1)])


@awaiting
async def test_lists_answer_with_what_there_is_and_name_the_partitions_that_are_missing(started):
    redis, _, client = await started(FEW)
    names = [named(partition) for partition in range(FEW)]
    for name in names:
        assert (await client.post(f"/q/{name}", JOB)).status == 201
        assert (await client.post(f"/w/{name}?worker_id=w-{name}")).status == 201
    rest = sorted(names[:2] + names[3:])
    kept = {}
    for key in redis.command("KEYS", "presque:{2}/*"):  # its names and its workers
        kept[key] = redis.command("DUMP", key)
        redis.command("DEL", key)
        redis.command("SET", key, "spoiled")
    answer = await client.get("/status/")
    assert (answer.status, answer.json) == (200, {"queues": rest, "size": 3, "missing_partitions": [2]})
    answer = await client.get("/v1/queues")
    assert answer.status == 200
    assert ([each["name"] for each in answer.json["queues"]], answer.json["missing_partitions"]) == (rest, [2])
    answer = await client.get("/w/")
    assert (answer.status, answer.json["missing_partitions"]) == (200, [2])
    assert set(answer.json["workers_list"]) == {f"w-{name}" for name in rest}
    assert "partition 2" in (await client.get("/")).body.decode()
    for key, dump in kept.items():
        redis.command("DEL", key)
        redis.command("RESTORE", key, 0, dump)
    assert (await client.get("/status/")).json == {"queues": sorted(names), "size": 4}
    assert "missing_partitions" not in (await client.get("/v1/queues")).json
    assert "missing_partitions" not in (await client.get("/w/")).json


@awaiting
async def test_a_partition_that_goes_between_two_pages_is_named_too(started, monkeypatch):
    _, daemon, client = await started(FEW)
    monkeypatch.setattr("presque.jobs.workers.LONGEST_PAGE", 1)
    names = [name for n in range(40) if partition_of(name := f"q{n}", FEW) in (1, 2)]
    for name in names:
        assert (await client.post(f"/w/{name}?worker_id=w1")).status == 201
        assert (await client.post(f"/q/{name}", JOB)).status == 201
        assert (await client.get(f"/q/{name}")).body == JOB
    ask, pages = daemon.store.in_partition, []

    def in_partition(verb, partition, *args):
        if verb in ("worker", "sums") and partition == 2:
            pages.append(verb)
            if pages.count(verb) > 1:
                return fail(StoreUnavailable())
        return ask(verb, partition, *args)

    monkeypatch.setattr(daemon.store, "in_partition", in_partition)
    answer = await client.get("/w/?worker_id=w1")
    assert (answer.status, answer.json["missing_partitions"]) == (200, [2])
    assert {name for name in names if partition_of(name, FEW) == 1} <= set(answer.json["queues"])
    answer = await client.get("/w/")
    assert (answer.status, answer.json["missing_partitions"]) == (200, [2])
    assert set(pages) == {"worker", "sums"}
