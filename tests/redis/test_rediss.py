"""`rediss://`: Redis behind TLS is used if its certificate is good, and refused otherwise."""

import pytest
import pytest_twisted
from certificates import ONE_DAY, Issued
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, eventually
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import DefaultOpenSSLContextFactory


class Side(Protocol):
    """One side of a connection through the proxy; what it gets goes to the other."""

    def __init__(self, other=None):
        self.other, self.early = other, []

    def dataReceived(self, data):
        if self.other is None:
            self.early.append(data)
        else:
            self.other.transport.write(data)

    def connectionLost(self, reason):
        if self.other is not None:
            self.other.transport.loseConnection()


class Client2Redis(Side):
    """The side of the client, which speaks TLS."""

    def connectionMade(self):
        connected = connectProtocol(UNIXClientEndpoint(reactor, self.factory.path), Side(self))
        connected.addCallback(self.goes_on)

    def goes_on(self, other):
        self.other = other
        other.transport.writeSequence(self.early)


class Plain(Protocol):
    """What Redis answers to what is not its protocol."""

    def dataReceived(self, data):
        self.transport.write(b"-ERR Protocol error\r\n")


@pytest_twisted.async_yield_fixture()
async def behind_tls(redis, tmp_path):
    """Puts TLS with this certificate before the Redis, `behind_tls(issued)`; its port."""
    ports = []

    def start(issued):
        path = str(issued.write(tmp_path / "redis.pem"))
        factory = Factory.forProtocol(Client2Redis)
        factory.noisy, factory.path = False, redis.socket
        ports.append(reactor.listenSSL(0, factory, DefaultOpenSSLContextFactory(path, path), interface="127.0.0.1"))
        return ports[-1].getHost().port

    yield start
    for port in ports:
        await port.stopListening()


@pytest.fixture
def authority(tmp_path):
    made = Issued("Authority", is_authority=True)
    made.write(tmp_path / "ca.pem", made.pem)
    return made


@awaiting
async def test_a_redis_whose_certificate_is_good_is_used(processes, behind_tls, authority, tmp_path):
    port = behind_tls(Issued("localhost", authority))
    daemon = processes("--redis", f"rediss://localhost:{port}", environ={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    client = Client(await daemon.listening)
    assert (await client.post("/q/foo", b"{}")).status == 201
    assert (await client.get("/q/foo")).body == b"{}"
    await client.close()


NOT_TRUSTED = "TLS: its certificate has expired, is not valid yet, or is not signed by an authority of this system"
BAD = {
    "another name": ({"host": "other.example"}, True, "TLS: its certificate is for another name"),
    "expired": ({"begins": -2 * ONE_DAY, "ends": -ONE_DAY}, True, NOT_TRUSTED),
    "not valid yet": ({"begins": ONE_DAY}, True, NOT_TRUSTED),
    "of an unknown authority": ({}, False, NOT_TRUSTED),
}


@awaiting
async def test_a_redis_that_does_not_speak_tls_is_refused(processes, authority, tmp_path):
    port = reactor.listenTCP(0, Factory.forProtocol(Plain), interface="127.0.0.1")
    try:
        daemon = processes("--redis", f"rediss://localhost:{port.getHost().port}")
        daemon.listening.addErrback(lambda failure: None)

        async def refused():
            return "retrying: StoreUnavailable: TLS: wrong version number" in daemon.log

        await eventually(refused, "why it is not used")
        await daemon.kill()
    finally:
        await port.stopListening()


@pytest.mark.parametrize("bad", BAD)
@awaiting
async def test_a_redis_whose_certificate_is_bad_is_refused(processes, redis, behind_tls, authority, tmp_path, bad):
    redis.command("FLUSHALL")
    how, is_known, words = BAD[bad]
    port = behind_tls(Issued("localhost", authority if is_known else Issued("Unknown", is_authority=True), **how))
    daemon = processes("--redis", f"rediss://localhost:{port}", environ={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})
    daemon.listening.addErrback(lambda failure: None)

    async def refused():
        return "cannot use" in daemon.log

    await eventually(refused, "why it is not used")
    await daemon.stop()
    assert words in daemon.log
    assert redis.command("DBSIZE") == 0
