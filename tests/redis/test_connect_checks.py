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


@pytest.mark.parametrize(
    ("store", "model"),
    [
        (("SADD", "presque:{0}/queues", "foo"), "1"),
        (("HSET", "presque:store", "model", "1"), "1"),
        (("HSET", "presque:store", "model", "4"), "4"),
        (("HSET", "presque:store", "model", "x y"), "x y"),
    ],
)
@awaiting
async def test_a_store_of_another_data_model_is_not_touched(processes, redises, store, model):
    redis = redises("--appendfsync", "always")
    redis.command(*store)
    before = redis.command("KEYS", "*")
    daemon = processes("--redis", redis.url)
    with pytest.raises(AssertionError, match="ended before it listened"):
        await daemon.listening
    await daemon.end()
    assert daemon.status == 1
    said = f"presque ends: this store has data model {model}, this presque reads and writes 3"
    assert [line for line in daemon.log.splitlines() if said in line]
    assert "Traceback" not in daemon.log
    assert redis.command("KEYS", "*") == before


@awaiting
async def test_a_store_of_data_model_2_with_other_partitions_is_not_touched(processes, redises):
    redis = redises()
    redis.command("HSET", "presque:store", "partitions", "4", "model", "2")
    redis.command("SET", "presque:{3}/last_id", "7")
    daemon = processes("--redis", redis.url, "--partitions", "3")
    with pytest.raises(AssertionError, match="ended before it listened"):
        await daemon.listening
    assert "--partitions is 3, but this store was made with 4: start presque with that number" in daemon.log
    assert redis.command("HGETALL", "presque:store") == [b"partitions", b"4", b"model", b"2"]


@awaiting
async def test_a_store_of_data_model_2_whose_record_is_gone_is_converted(processes, redises):
    redis = redises()
    redis.command("SET", "presque:{1}/last_id", "7")
    daemon = processes("--redis", redis.url, "--partitions", "3")
    await daemon.listening
    assert "converted this store to data model 3" in daemon.log
    assert redis.command("KEYS", "presque:{*}/last_id") == []
    assert redis.command("GET", "presque:{1}/floor") == b"7"


@awaiting
async def test_a_new_store_notes_its_data_model(processes, redises):
    redis = redises()
    for _ in range(2):
        daemon = processes("--redis", redis.url, "--partitions", "16384")
        await daemon.listening

        async def noted():
            return redis.command("HGET", "presque:store", "model")

        # A daemon whose Redis is not ready within ten seconds listens all the same.
        assert await eventually(noted, "the note of the data model") == b"3"
        await daemon.stop()
