"""The store alone, on a real Redis: which keys a script gets, how its reply comes back, and what it fails with."""

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually
from twisted.internet import reactor
from twisted.internet.defer import gatherResults

from presque.errors import InvalidName, StoreUnavailable
from presque.jobs.policy import lua_parts
from presque.redis import keys, store
from presque.redis.scripts import load
from presque.redis.store import NO_LIMIT, Store
from presque.redis.url import endpoint_for, parse_redis_url

PARTITIONS = 3
JOB = b'{"key":"value"}'


@pytest_twisted.async_yield_fixture()
async def made(redis):
    """A store of three partitions that is connected."""
    redis.command("FLUSHALL")
    url = parse_redis_url(redis.url)
    found = Store(reactor, url, endpoint_for(reactor, url), PARTITIONS, load(lua_parts()))
    found.start()

    async def up():
        return found.is_up

    await eventually(up, "the connection")
    yield found
    await found.stop()


def names_in_each():
    """A queue's name in each partition."""
    found = {}
    for n in range(100):
        found.setdefault(keys.partition_of(f"q{n}", PARTITIONS), f"q{n}")
    return [found[partition] for partition in range(PARTITIONS)]


@awaiting
async def test_a_script_gets_the_keys_of_its_queue_and_its_reply_comes_back(made, redis):
    for partition, name in enumerate(names_in_each()):
        assert await made.on_queue("push", name, JOB, JOB) == 1
        assert redis.command("LLEN", f"presque:{{{partition}}}:{name}:ready") == 2


@awaiting
async def test_a_key_of_a_single_call_stands_in_for_the_last(made, redis):
    key = keys.idempotency_key("foo", b"once", PARTITIONS)
    args = (b"print", b"60000", b"", b"", JOB)
    first = await made.on_queue("insert", "foo", *args, key=key)
    assert await made.on_queue("insert", "foo", *args, key=key) == first
    assert redis.command("EXISTS", key) == 1
    assert await made.on_queue("insert", "foo", b"", *args[1:]) != first


@pytest.mark.parametrize("name", ["", ".foo", "a b", "a/b", "x" * 129, "\u00e9"])
def test_a_name_that_no_queue_can_have_is_refused_each_time(made, name):
    for _ in range(2):
        with pytest.raises(InvalidName):
            made.on_queue("push", name, JOB)


@awaiting
async def test_what_comes_too_late_is_not_done_and_without_a_limit_it_is(made, redis):
    with pytest.raises(StoreUnavailable):
        await made.on_queue("push", "foo", JOB, until=b"1")
    assert redis.command("KEYS", "*:foo:*") == []
    assert await made.on_queue("push", "foo", JOB, until=NO_LIMIT) == 1


@awaiting
async def test_replies_come_in_the_order_of_what_was_asked(made):
    asked = [made.on_queue("push", name, JOB) for name in names_in_each() * 100]
    assert await gatherResults(asked) == [1 + n // PARTITIONS for n in range(100 * PARTITIONS)]


@awaiting
async def test_a_connection_owes_a_bounded_number_of_replies(made, monkeypatch):
    monkeypatch.setattr(store, "MOST_WAITING", 5)
    asked = [made.on_queue("push", "foo", JOB) for _ in range(5)]
    with pytest.raises(StoreUnavailable):
        await made.on_queue("push", "foo", JOB)
    assert await gatherResults(asked) == [1, 2, 3, 4, 5]


@awaiting
async def test_every_partition_is_asked_and_those_without_an_answer_are_named(made, redis):
    for name in names_in_each():
        await made.on_queue("push", name, JOB)
    assert await made.everywhere("size") == [1, 1, 1]
    redis.command("SET", "presque:{1}/queues", "no set")
    replies, missing = await made.where_there_is_an_answer("size")
    assert (replies, missing) == ({0: 1, 2: 1}, [1])


@awaiting
async def test_scripts_that_redis_has_forgotten_are_sent_again(made, redis):
    redis.command("SCRIPT", "FLUSH")
    assert await made.on_queue("push", "foo", JOB) == 1


@awaiting
async def test_without_a_connection_nothing_is_done_at_once_and_the_time_is_ours(made, redis):
    before = made.now()
    await made.stop()
    assert not made.is_up
    with pytest.raises(StoreUnavailable):
        await made.on_queue("push", "foo", JOB)
    assert abs(made.now() - before) < 60
