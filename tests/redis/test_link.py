"""The link to Redis: far, dumb, closed or refused. It is noticed, tried again without haste, and heals by itself."""

import re
import time

import pytest
import pytest_twisted
from links import Closer, Link
from logs import logged
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import formatEvent

from presque.jobs.policy import lua_parts
from presque.redis.connection import TIME_LIMIT
from presque.redis.scripts import load
from presque.redis.store import BEAT

SCRIPTS = load(lua_parts())

JOB = b'{"key":"value"}'
WATCHED = 3.0  # seconds in which connections are counted


@pytest_twisted.async_yield_fixture()
async def links(redises):
    """Opens links to a Redis of their own, `await links(delay)`."""
    opened = []

    async def open_link(delay=0.0):
        opened.append(await Link(redises().socket, delay).open())
        return opened[-1]

    yield open_link
    for link in opened:
        await link.close()


@pytest_twisted.async_yield_fixture()
async def daemons():
    """Starts daemons in this process, `daemons(url)`."""
    started = []

    def start(url, **flags):
        started.append(daemon_on(url, **flags))
        started[-1].startService()
        return started[-1]

    yield start
    for daemon in started:
        await daemon.stopService()


@pytest.fixture
def said():
    """The lines that are logged during the test."""
    with logged(formatEvent) as lines:
        yield lines


async def works(client):
    """Wait until insertions are accepted again; returns how many seconds that took."""
    began = time.monotonic()

    async def accepted():
        return (await client.post("/q/probe", JOB)).status == 201

    await eventually(accepted, "the store")
    return time.monotonic() - began


async def waits(daemon, count):
    async def there():
        return len(daemon.waiting) == count

    await eventually(there, f"{count} waiters")


@awaiting
async def test_a_subscribing_connection_gone_dumb_is_noticed_and_consumers_are_woken_again(
    links, daemons, monkeypatch, said
):
    monkeypatch.setattr("presque.jobs.waiters.POLL", 600.0)
    link = await links()
    daemon = daemons(link.url)
    await daemon.started
    client = Client(port_of(daemon))

    async def listens():
        return [each for each in link.connections if b"EVALSHA" not in each.said and b"SCRIPT" not in each.said]

    (listening,) = await eventually(listens, "the subscribing connection")
    waiting = Deferred.fromCoroutine(client.get("/q/foo?wait=50"))
    await waits(daemon, 1)
    await client.get("/q/other")
    link.is_dumb = lambda connection: connection is listening
    began = time.monotonic()
    assert (await client.post("/q/foo", JOB)).status == 201
    assert (await waiting).body == JOB
    assert time.monotonic() - began < 2 * BEAT + TIME_LIMIT + 1
    again = Deferred.fromCoroutine(client.get("/q/foo?wait=50"))
    await waits(daemon, 1)
    began = time.monotonic()
    assert (await client.post("/q/foo", JOB)).status == 201
    assert (await again).body == JOB
    assert time.monotonic() - began < 0.5
    assert len([line for line in said if "has been silent" in line]) == 1
    await client.close()


async def connected(redis):
    return int(re.search(rb"total_connections_received:(\d+)", redis("INFO", "stats"))[1])


def refuse(word):
    """How a Redis is made to refuse us, and to let us in again."""
    return {
        "a password": (("CONFIG", "SET", "requirepass", "secret"), ("CONFIG", "SET", "requirepass", "")),
        "too many clients": (("CONFIG", "SET", "maxclients", "1"), ("CONFIG", "SET", "maxclients", "1000")),
        "a user without rights": (
            ("ACL", "SETUSER", "default", "on", "nopass", "-@all", "+auth"),
            ("ACL", "SETUSER", "default", "on", "nopass", "+@all"),
        ),
    }[word]


@pytest.mark.parametrize("word", ["a password", "too many clients", "a user without rights"])
@awaiting
async def test_a_redis_that_refuses_is_not_asked_in_haste_is_named_once_and_heals(redises, daemons, said, word):
    redis = redises()
    redis.command("ACL", "SETUSER", "admin", "on", "nopass", "~*", "&*", "+@all")
    admin = redis.session()
    admin("AUTH", "admin", "any")
    daemon = daemons(redis.url)
    await daemon.started
    client = Client(port_of(daemon))
    refused, let_in = refuse(word)
    admin(*refused)
    for connection in [*daemon.store.topology.connections, daemon.store.topology.listener.listener]:
        connection.transport.abortConnection()

    async def is_refused():
        return (await client.post("/q/foo", JOB)).status == 503

    await eventually(is_refused, "the refusal")
    before = await connected(admin)
    await deferLater(reactor, WATCHED)
    assert await connected(admin) - before <= 2 * (WATCHED / 0.3 + 5)
    told = [line for line in said if line and "cannot use" in line]
    assert len(told) == len(set(told)) <= 2, told
    assert daemon.store.topology.commands.trouble
    admin(*let_in)
    assert await works(client) < 2.5
    assert not [line for line in said if line and "Traceback" in line]
    await client.close()


@awaiting
async def test_a_redis_that_accepts_and_closes_is_not_asked_in_haste_and_is_named_once(redises, daemons, said):
    closing = Factory.forProtocol(Closer)
    closing.noisy, closing.accepted = False, 0
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(closing)
    number = port.getHost().port
    daemon = daemons(f"redis://127.0.0.1:{number}")
    await deferLater(reactor, WATCHED)
    assert 4 <= closing.accepted <= 2 * (WATCHED / 0.3 + 5)
    told = [line for line in said if line and "cannot use" in line]
    assert len(told) == len(set(told)) <= 2, told
    assert told
    await maybeDeferred(port.stopListening)
    redises("--port", str(number), "--bind", "127.0.0.1")
    began = time.monotonic()
    await daemon.started
    assert time.monotonic() - began < 2.5


@awaiting
async def test_a_redis_150_ms_away_is_used_within_three_seconds(links, daemons):
    link = await links(0.075)
    began = time.monotonic()
    daemon = daemons(link.url)
    await daemon.started
    assert time.monotonic() - began < 3
    client = Client(port_of(daemon))
    began = time.monotonic()
    assert (await client.post("/q/foo", JOB)).status == 201
    assert (await client.get("/q/foo")).body == JOB
    assert time.monotonic() - began < 1
    await client.close()


@awaiting
async def test_each_connection_shakes_hands_once(redises, daemons):
    redis = redises()
    for count in (1, 2):
        daemon = daemons(redis.url)
        await daemon.started
        for _ in range(3):  # beats come and go
            await deferLater(reactor, BEAT)
        loaded = re.search(r"cmdstat_script(?:\|load)?:calls=(\d+)", redis.command("INFO", "commandstats").decode())
        assert int(loaded[1]) == count * len(SCRIPTS)
