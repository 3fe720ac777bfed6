"""Over TLS too a job ends when it has reached its consumer, and goes back when the consumer has left before."""

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred as awaiting
from servers import Raw, daemon_on, eventually, port_of
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import CertificateOptions

GET = b"GET /qb/foo?batch_size=8 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest_twisted.async_yield_fixture()
async def daemon(redis, certificate):
    redis.command("FLUSHALL")
    daemon = daemon_on(redis.url, listen=f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}")
    daemon.startService()
    await daemon.started
    yield daemon
    await maybeDeferred(daemon.stopService)


async def connection_to(daemon):
    endpoint = HostnameEndpoint(reactor, "127.0.0.1", port_of(daemon))
    return await connectProtocol(wrapClientTLS(CertificateOptions(), endpoint), Raw())


async def insert(daemon, count, size):
    jobs = [b'{"text":"' + b"x" * size + b'"}'] * count
    await daemon.queues.push("foo", jobs)


async def left(redis, **counts):
    async def there():
        return all(redis.command("ZCARD", f"presque:{{0}}:foo:{name}") == count for name, count in counts.items())

    await eventually(there, str(counts))


@pytest.mark.parametrize("size", [10, 100_000])
@awaiting
async def test_jobs_that_arrived_are_gone_and_the_connection_goes_on(daemon, redis, size):
    connection = await connection_to(daemon)
    for _ in range(2):
        await insert(daemon, 8, size)
        connection.received = b""
        connection.transport.write(GET)
        await connection.until(b'x\\"}"]')
        await left(redis, leased=0, front=0)
        assert redis.command("HLEN", "presque:{0}:foo:jobs") == 0
    connection.transport.loseConnection()


@awaiting
async def test_jobs_whose_client_left_without_reading_them_go_back(daemon, redis):
    await insert(daemon, 8, 1_000_000)
    connection = await connection_to(daemon)
    connection.transport.write(b"GET /status/ HTTP/1.1\r\nHost: x\r\n\r\n")
    await connection.until(b'"size"')  # the handshake is over
    connection.transport.pauseProducing()
    connection.transport.write(GET)
    await left(redis, leased=8)
    connection.transport.abortConnection()
    await left(redis, leased=0, front=8)
    assert redis.command("HLEN", "presque:{0}:foo:jobs") == 8


@awaiting
async def test_a_client_that_closes_as_soon_as_it_has_read_keeps_its_jobs(daemon, redis):
    """As curl does: it says so in TLS and closes at once."""
    for turn in range(20):
        await insert(daemon, 8, 10)
        connection = await connection_to(daemon)
        connection.transport.write(GET)
        await connection.until(b'x\\"}"]')
        connection.transport.loseConnection()
        await left(redis, leased=0, front=0)
        assert redis.command("HLEN", "presque:{0}:foo:jobs") == 0, turn


@awaiting
async def test_a_client_that_closes_after_its_answer_keeps_its_jobs(daemon, redis):
    await insert(daemon, 8, 10)
    connection = await connection_to(daemon)
    connection.transport.write(GET.replace(b"Host", b"Connection: close\r\nHost"))
    assert (await connection.end()).endswith(b'x\\"}"]')
    await left(redis, leased=0, front=0)
    assert redis.command("HLEN", "presque:{0}:foo:jobs") == 0
