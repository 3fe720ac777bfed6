"""Fixtures: the store alone, without a daemon that would move jobs by itself."""

import pytest
import pytest_twisted
from servers import eventually
from twisted.internet import reactor

from presque.jobs import queues
from presque.jobs.policy import lua_parts
from presque.redis.scripts import load
from presque.redis.store import Store
from presque.redis.url import endpoint_for, parse_redis_url


@pytest_twisted.async_yield_fixture(scope="module")
async def store(redis):
    url = parse_redis_url(redis.url)
    store = Store(reactor, url, endpoint_for(reactor, url), 1, load(lua_parts()))
    store.start()

    async def is_up():
        return store.is_up

    await eventually(is_up, "Redis")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queues, "_HOLD", b"600000")  # ms: no hold runs out by itself
        yield store
    await store.stop()


@pytest.fixture(scope="module")
def session(redis):
    return redis.session()
