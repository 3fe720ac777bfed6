"""Over TLS too a job ends when it has reached its consumer, and goes back when the consumer has left before."""

import signal
import socket
import ssl
import struct
import time

import pytest
import pytest_twisted
from pytest_twisted import ensureDeferred as awaiting
from servers import Raw, daemon_on, eventually, port_of
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import CertificateOptions
from twisted.internet.threads import deferToThread

from presque.http.arrival import NEVER

GET = b"GET /qb/foo?batch_size=8 HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(params=["ssl:", "--tls-certificate"])
def listening(request, certificate):
    """The two ways to TLS: an endpoint of Twisted's own, and our certificate over a plain one."""
    if request.param == "ssl:":
        return {"listen": f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}"}
    return {"tls_certificate": str(certificate)}


@pytest_twisted.async_yield_fixture()
async def daemon(redis, listening):
    redis.command("FLUSHALL")
    daemon = daemon_on(redis.url, **listening)
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


async def left(redis, held, front=0):
    """Wait until so many jobs of foo are held, and so many stand in front."""

    async def there():
        return (len(redis.taken("foo")), redis.command("ZCARD", "presque:{0}:foo:front")) == (held, front)

    await eventually(there, f"{held} held and {front} in front")


@pytest.mark.parametrize("size", [10, 100_000])
@awaiting
async def test_jobs_that_arrived_are_gone_and_the_connection_goes_on(daemon, redis, size):
    connection = await connection_to(daemon)
    for _ in range(2):
        await insert(daemon, 8, size)
        connection.received = b""
        connection.transport.write(GET)
        await connection.until(b'x\\"}"]')
        await left(redis, held=0)
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
    await left(redis, held=8)
    connection.transport.abortConnection()
    await left(redis, held=0, front=8)
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
        await left(redis, held=0)
        assert redis.command("HLEN", "presque:{0}:foo:jobs") == 0, turn


@awaiting
async def test_a_client_that_closes_after_its_answer_keeps_its_jobs(daemon, redis):
    await insert(daemon, 8, 10)
    connection = await connection_to(daemon)
    connection.transport.write(GET.replace(b"Host", b"Connection: close\r\nHost"))
    assert (await connection.end()).endswith(b'x\\"}"]')
    await left(redis, held=0)
    assert redis.command("HLEN", "presque:{0}:foo:jobs") == 0


def read_and_leave(port, how, pause):
    """Fetch one job and end the connection; its body."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = context.wrap_socket(socket.create_connection(("127.0.0.1", port), 20))
    client.sendall(b"GET /q/foo HTTP/1.1\r\nHost: x\r\n\r\n")
    received = b""
    while not received.endswith(b"}"):
        received += client.recv(65536)
    time.sleep(pause)  # in a thread: the moment itself is what is tried
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "close_notify":
        client.unwrap()
    client.close()  # without close_notify, as Python does
    return received.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("pause", [0, 0.003, 0.02])
@pytest.mark.parametrize("how", ["close", "reset", "close_notify"])
@awaiting
async def test_a_job_that_was_read_comes_once_however_its_client_leaves(daemon, redis, how, pause):
    wanted = [b'{"n":%d}' % n for n in range(12)]
    await daemon.queues.push("foo", wanted)
    found = [await deferToThread(read_and_leave, port_of(daemon), how, pause) for _ in wanted]
    assert found == wanted
    await left(redis, held=0)
    assert redis.command("HLEN", "presque:{0}:foo:jobs") == 0


@awaiting
async def test_a_client_that_ends_tls_while_its_job_is_taken_has_not_received_it(daemon, redis):
    """What is written after that is thrown away, and has not arrived because nothing is on its way."""
    await insert(daemon, 1, 10)
    connection = await connection_to(daemon)
    connection.transport.write(b"GET /status/ HTTP/1.1\r\nHost: x\r\n\r\n")
    await connection.until(b'"size"')  # the handshake is over
    redis.signal(signal.SIGSTOP)
    connection.transport.write(GET)

    async def asked():
        return daemon.site.busy

    await eventually(asked, "the request")
    (channel,) = daemon.site.connections
    channel.transport._lostTLSConnection = True  # as after the client's close_notify
    redis.signal(signal.SIGCONT)

    async def answered():
        return daemon.deliveries.written

    (delivery,) = await eventually(answered, "the answer")
    assert delivery.mark == NEVER
    connection.transport.abortConnection()
    await left(redis, held=0, front=1)


@pytest.mark.parametrize("offered", [None, ["http/1.0"], ["h2", "http/1.1"]])
@awaiting
async def test_a_client_may_offer_either_version_of_http(daemon, offered):
    await insert(daemon, 1, 10)

    def ask():
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if offered:
            context.set_alpn_protocols(offered)
        with (
            socket.create_connection(("127.0.0.1", port_of(daemon)), 20) as plain,
            context.wrap_socket(plain) as connection,
        ):
            connection.sendall(b"GET /q/foo HTTP/1.0\r\nHost: x\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(65536), b""))

    assert b" 200 OK" in (await deferToThread(ask)).partition(b"\r\n")[0]
