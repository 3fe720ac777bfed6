"""A Redis that may lose jobs is named in the log, once; one that does not is used without a word."""

import pytest
from pytest_twisted import ensureDeferred as awaiting


@pytest.mark.parametrize(
    ("options", "warning"),
    [
        (("--appendfsync", "always"), None),
        (("--appendfsync", "no"), None),
        (("--appendfsync", "everysec"), "answers before it writes while it syncs each second"),
        (("--appendonly", "no"), "keeps nothing when it stops"),
        (("--appendonly", "no", "--save", "60", "1"), "only keeps snapshots when it stops"),
        (("--appendfsync", "always", "--maxmemory-policy", "allkeys-lru"), "may evict them"),
    ],
)
@awaiting
async def test_a_redis_that_may_lose_jobs_is_warned_of(processes, redises, options, warning):
    daemon = processes("--redis", redises(*options).url)
    await daemon.listening
    warnings = [line for line in daemon.log.splitlines() if "JOBS MAY BE LOST" in line]
    assert len(warnings) == (warning is not None)
    assert warning is None or warning in warnings[0]
