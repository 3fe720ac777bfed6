"""A script that fails in the middle, as on a key of a wrong type, leaves each job where somebody finds it."""

import json

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from v1 import insert, reserve, send, settle

from presque.redis.keys import PARTITION_KEYS, QUEUE_KEYS

# What is not planted: the bodies themselves, and what belongs to workers and to an old form.
QUEUE = sorted(QUEUE_KEYS - {"jobs"})
PARTITION = sorted(
    name for name in PARTITION_KEYS if "worker" not in name and not name.startswith(("old", "last_seen"))
)
JOBS = 3


class Spoiled:
    """A key that is a text for a while, and then again what it was."""

    def __init__(self, redis, key):
        self._command, self._key = redis.command, key

    def __enter__(self):
        self._was = self._command("EXISTS", self._key)
        if self._was:
            self._command("RENAME", self._key, "{saved}")
        self._command("SET", self._key, "spoiled")

    def __exit__(self, *_):
        self._command("DEL", self._key)
        if self._was:
            self._command("RENAME", "{saved}", self._key)


async def fetch(client, _):
    return await client.get("/q/foo"), True


async def lease(client, _):
    return await send(client, "queues/foo/reservations", {}), False


async def ack(client, job):
    return await settle(client, "ack", job), True


async def nack(client, job):
    return await settle(client, "nack", job, error="no", delay=0), False


async def kill(client, job):
    return await settle(client, "nack", job, final=True), False


async def release(client, job):
    return await settle(client, "release", job), False


async def revive(client, _):
    return await send(client, "queues/foo/retry-dead", {"all": True}), False


async def run_out(client, _):
    """What takes next meets a job whose lease has run out."""
    return await lease(client, None)


LEASED = (ack, nack, kill, release)


async def in_states(client):
    found = (await client.get("/v1/queues/foo")).json
    return sum(found[state] for state in ("ready", "delayed", "leased", "dead"))


@pytest.mark.parametrize("verb", [fetch, lease, *LEASED, revive, run_out], ids=lambda verb: verb.__name__)
@pytest.mark.parametrize("name", [*QUEUE, *PARTITION])
@awaiting
async def test_a_job_is_in_one_state_after_a_script_that_failed(client, redis, name, verb):
    settings = {"backoff": {"first": 0}, "max_attempts": 9}
    await client.request("PATCH", "/v1/queues/foo", json.dumps(settings).encode(), Content_Type="application/json")
    for n in range(JOBS):
        await insert(client, n, unique=f"u{n}")
    length = 0.001 if verb is run_out else 60
    (job,) = [None] if verb in (fetch, lease) else await reserve(client, lease=length)
    if verb is revive:
        await settle(client, "nack", job, final=True)
    key = f"presque:{{0}}:foo:{name}" if name in QUEUE else f"presque:{{0}}/{name}"
    with Spoiled(redis, key):
        answer, may_end = await verb(client, job)
    assert answer.status in (200, 204, 404, 503), answer.body

    async def each_in_one():
        return await in_states(client) == redis.command("HLEN", "presque:{0}:foo:jobs")

    await eventually(each_in_one, f"{verb.__name__} over {name}: {answer.status}")
    assert await in_states(client) in ((JOBS - 1, JOBS) if may_end else (JOBS,))
