"""What the tests run on beside `programs.py`: daemons in this process and under this reactor, and clients in it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from programs import LISTENS, presque_command, presque_environ
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from presque.service import Daemon, make_service
from presque.settings import settings

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

LOOPBACK = "tcp:0:interface=127.0.0.1"
PATIENCE = 20.0  # seconds that a test waits for what must come
# What systemd does for a service with sockets: sd_listen_fds(3).
ACTIVATION = "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[1], sys.argv[1:])"


def tool(name: str) -> str:
    """The path of a program that a test needs. Without it the test is skipped, and fails where CI is set."""
    if found := shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin"):
        return found
    missing = f"{name} is not installed"
    return pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


def daemon_on(redis_url: str, **flags: str) -> Daemon:
    """A daemon in this process; `started` fires once it listens. It publishes no figures: tests look at whether
    anything in the store has changed.
    """
    flags = {name.replace("_", "-"): value for name, value in flags.items()}
    daemon = make_service(settings({"listen": LOOPBACK, "redis": redis_url, **flags}, {}), reactor)
    daemon.parts = [part for part in daemon.parts if part.name != "publication"]
    return daemon


def port_of(daemon: Daemon) -> int:
    return daemon.ports[0].getHost().port


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@implementer(IAgentEndpointFactory)
class Loopback:
    """Connects to an address, without the look-up in a thread that a host's name would take."""

    def endpointForURI(self, uri: URI) -> TCP4ClientEndpoint:
        return TCP4ClientEndpoint(reactor, "127.0.0.1", uri.port, timeout=5)


class Client:
    """Speaks HTTP through treq. It never repeats a request by itself, as Twisted's client otherwise does."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._pool = HTTPConnectionPool(reactor)
        self._pool.retryAutomatically = False
        self._treq = HTTPClient(Agent.usingEndpointFactory(reactor, Loopback(), self._pool))

    async def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        url = f"http://127.0.0.1:{self.port}{path}"
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self._treq.request(method, url, data=body, headers=names, timeout=PATIENCE)
        found = {
            name.decode().lower(): b",".join(value).decode() for name, value in response.headers.getAllRawHeaders()
        }
        return Answer(response.code, await response.content(), found)

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.request("GET", path, **headers)

    async def delete(self, path: str, **headers: str) -> Answer:
        return await self.request("DELETE", path, **headers)

    async def post(
        self, path: str, body: bytes = b"", content_type: str = "application/json", **headers: str
    ) -> Answer:
        return await self.request("POST", path, body, Content_Type=content_type, **headers)

    async def put(self, path: str, body: bytes = b"", **headers: str) -> Answer:
        return await self.request("PUT", path, body, Content_Type="application/json", **headers)

    def close(self) -> Deferred[None]:
        return self._pool.closeCachedConnections()


class Raw(Protocol):
    """A connection on which bytes are sent and received as they are."""

    def __init__(self) -> None:
        self.received = b""
        self.closed = Deferred()
        self.is_closed = False
        self._waiting: list[tuple[bytes, Deferred[bytes]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for wanted, found in list(self._waiting):
            if wanted in self.received:
                self._waiting.remove((wanted, found))
                found.callback(self.received)

    def connectionLost(self, reason: Any) -> None:
        self.is_closed = True
        self.closed.callback(None)

    def until(self, wanted: bytes) -> Deferred[bytes]:
        """Fires with all that came, once `wanted` has."""
        found: Deferred[bytes] = Deferred()
        self._waiting.append((wanted, found))
        self.dataReceived(b"")
        return found.addTimeout(PATIENCE, reactor)

    def end(self) -> Deferred[bytes]:
        """Fires with all that came, once the server has closed."""
        return self.closed.addTimeout(PATIENCE, reactor).addCallback(lambda _: self.received)


def raw_connection(port: int) -> Deferred[Raw]:
    return connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Raw())


async def raw(port: int, data: bytes, until: bytes = b"") -> bytes:
    """Send `data` on a new connection; all that comes, until the server closes, or `until` came."""
    connection = await raw_connection(port)
    connection.transport.write(data)
    received = await (connection.until(until) if until else connection.end())
    connection.transport.abortConnection()
    return received


async def departed(connection: Raw, port: int) -> None:
    """Return once the daemon at `port` has noticed that this client has closed: it has answered another one since."""
    await connection.end()
    await raw(port, b"GET /openapi.json HTTP/1.0\r\nHost: x\r\n\r\n")


async def eventually(check: Any, what: str = "") -> Any:
    """Wait until `check()`, an async function, returns something true; that."""
    ends = reactor.seconds() + PATIENCE
    while not (found := await check()):
        assert reactor.seconds() < ends, f"it never came: {what}"
        await deferLater(reactor, 0.01)
    return found


class DaemonProcess(ProcessProtocol):
    """`twistd presque` as a process of its own."""

    def __init__(
        self,
        *flags: str,
        environ: dict[str, str] | None = None,
        listen: str = LOOPBACK,
        inherits: Sequence[socket.socket] = (),
    ) -> None:
        self.log = ""
        self.port = 0
        self.listening: Deferred[int] = Deferred()
        self.has_ended = False
        self._waiting: list[Deferred[int]] = []  # fire when it has ended
        self.status: int | None = None  # None also after a signal
        command = presque_command(*(["--listen", listen] if listen else []), *flags)
        variables = presque_environ(environ=environ)
        descriptors = {0: "w", 1: "r", 2: "r"}
        if inherits:
            variables |= {"LISTEN_FDS": str(len(inherits)), "LISTEN_FDNAMES": ":".join("unknown" for _ in inherits)}
            command = [sys.executable, "-c", ACTIVATION, *command]
            descriptors |= {3 + index: listening.fileno() for index, listening in enumerate(inherits)}
        reactor.spawnProcess(self, command[0], command, env=variables, path=tempfile.gettempdir(), childFDs=descriptors)

    def outReceived(self, data: bytes) -> None:
        self.log += data.decode(errors="replace")
        found = LISTENS.search(self.log)
        if found and not self.port:
            self.port = int(found[1])
            self.listening.callback(self.port)

    errReceived = outReceived

    def processEnded(self, reason: Any) -> None:
        self.status = reason.value.exitCode
        if not self.port:
            self.listening.errback(AssertionError(f"the daemon ended before it listened:\n{self.log}"))
        self.has_ended = True
        for waiting in self._waiting:
            waiting.callback(self.status)

    def stop(self, number: int = signal.SIGTERM) -> Deferred[int]:
        """Send a signal; fires once it has ended."""
        if not self.has_ended:
            with contextlib.suppress(ProcessExitedAlready):  # what it wrote is still being read
                self.transport.signalProcess(number)
        return self.end()

    def kill(self) -> Any:
        return self.stop(signal.SIGKILL)

    def end(self) -> Deferred[int]:
        """Fires with its status once it has ended by itself."""
        if self.has_ended:
            return succeed(self.status)
        ended: Deferred[int] = Deferred()
        self._waiting.append(ended)
        return ended.addTimeout(PATIENCE, reactor)

    @property
    def pid(self) -> int:
        return self.transport.pid
