"""A Redis that may lose jobs is named in the log, once; one that does not is used without a word."""

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        (("--appendfsync", "always"), None),
        (("--appendfsync", "no"), None),
        (("--appendfsync", "everysec"), "answers before it writes while it syncs, once a second"),
        (("--appendonly", "no"), "keeps nothing when it stops"),
        (("--appendonly", "no", "--save", "60", "1"), "keeps only snapshots when it stops"),
        (("--appendfsync", "always", "--maxmemory-policy", "allkeys-lru"), "may evict jobs"),
    ],
)
@awaiting
async def test_a_redis_that_may_lose_jobs_is_warned_of(processes, redises, options, warning):
    daemon = processes("--redis", redises(*options).url)
    await daemon.listening
    warnings = [line for line in daemon.log.splitlines() if "JOBS MAY BE LOST" in line]
    assert len(warnings) == (warning is not None)
    assert warning is None or warning in warnings[0]


@pytest.mark.parametrize("store", [("SADD", "presque:{0}/queues", "foo"), ("HSET", "presque:store", "model", "3")])
@awaiting
async def test_a_store_of_another_data_model_is_not_touched(processes, redises, store):
    redis = redises("--appendfsync", "always")
    redis.command(*store)
    daemon = processes("--redis", redis.url)
    with pytest.raises(AssertionError, match="ended before it listened"):
        await daemon.listening
    await daemon.end()
    assert daemon.status == 1
    model = 1 if store[0] == "SADD" else 3
    said = f"presque ends: this store has data model {model}, this presque reads and writes 2"
    assert [line for line in daemon.log.splitlines() if said in line]
    assert "Traceback" not in daemon.log


@awaiting
async def test_a_new_store_notes_its_data_model(processes, redises):
    redis = redises()
    for _ in range(2):
        daemon = processes("--redis", redis.url, "--partitions", "16384")
        await daemon.listening

        async def noted():
            return redis.command("HGET", "presque:store", "model")

        # A daemon whose Redis is not ready within ten seconds listens all the same.
        assert await eventually(noted, "the note of the data model") == b"2"
        await daemon.stop()
