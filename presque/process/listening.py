"""Listening sockets: opened by us, inherited from our parent, or held for other processes that accept connections."""

from __future__ import annotations

import os
import re
import socket
import sys
from math import log2
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, execute, maybeDeferred
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from zope.interface import implementer

from twisted import __version__ as version

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory

MODE = "660"  # default mode of a Unix socket: any user who may open it can take jobs
BACKLOG = 1024  # connections that may wait to be accepted, by default
HESITATION = 0.0005  # seconds to leave a new connection to other processes, per doubling of our own connections
MOST_HESITATIONS = 64.0  # in a row
HESITATIONS = 50.0  # a second, in the long run
SHARE = 8  # accept up to this fraction (1/SHARE) of the number of our connections in a row
AT_ONCE = 100  # connections accepted in a row from an unshared socket, as in Twisted
UNSENT = 1 << 17  # bytes that the kernel buffers beyond what the client is ready for; by default megabytes
SHARED = "shared-"  # prefix of the name of an inherited socket that several processes share

_log = Logger()


def server_endpoint(reactor: Any, text: str) -> Any:
    """The server endpoint that `text` describes. Raises what Twisted's parsers raise."""
    # Twisted's default backlog is 50, too few when many workers connect at once.
    if text.startswith(("tcp", "unix:")) and not _says(text, "backlog"):
        text += f":backlog={BACKLOG}"
    if text.startswith("unix:") and not _says(text, "mode"):
        text += f":mode={MODE}"
    endpoint = serverFromString(reactor, text)
    if isinstance(endpoint, AdoptedStreamServerEndpoint):
        return _Inherited(reactor, endpoint.fileno, f":name={SHARED}" in text)
    return endpoint


def is_local(endpoint: Any) -> bool:
    """Whether `endpoint` is an inherited Unix socket, whatever its description says."""
    return isinstance(endpoint, _Inherited) and endpoint.family == socket.AF_UNIX


def _says(endpoint: str, name: str) -> bool:
    """Whether an endpoint's description has this parameter. A colon in an address is written `\\:`."""
    return re.search(rf"(?<!\\):{name}=", endpoint) is not None


def notice_vanished(port: Any, seconds: float) -> None:
    """Have the kernel end connections after `seconds` without a sign of the client, which acknowledges neither our data
    nor keepalive probes. Accepted sockets inherit these options from the listening one.
    """
    listening = getattr(port, "socket", None)
    if sys.platform != "linux" or listening is None or listening.family == socket.AF_UNIX:
        return
    silent = max(1, int(seconds / 2))  # the kernel takes whole seconds here
    between = max(1, int(seconds / 4))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, silent)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, between)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, max(1, int((seconds - silent) / between)))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


async def close(ports: Iterable[Any]) -> None:
    """Stop listening. A port that cannot be closed keeps no other open: the file of a Unix socket may be gone."""
    for port in ports:
        try:
            await maybeDeferred(port.stopListening)
        except FileNotFoundError:
            pass
        except Exception:
            _log.failure("{port} could not be closed", port=str(port))


async def hold(endpoint: Any) -> Any:
    """Listen on `endpoint` without accepting: connections wait for a process that inherits the socket. Returns the
    Twisted port. Stopping it closes only our descriptor: the socket lives until the last process closes it.
    """
    _check_twisted()
    port = await endpoint.listen(_Nobody())
    port.stopReading()
    port._shouldShutdown = False
    return port


def _check_twisted() -> None:
    """Raise RuntimeError unless this Twisted has the private attributes that control how its ports start and stop: a
    shared socket would be shut down for all processes. Twisted has no public API for that.
    """
    if not hasattr(tcp.Port, "_shouldShutdown") or not hasattr(tcp.Port, "_preexistingSocket"):
        raise RuntimeError(f"this presque does not know Twisted {version}: it cannot inherit or share sockets")


class _Nobody(Factory):
    noisy = False

    def logPrefix(self) -> str:
        """Our name in Twisted's log lines."""
        return "presque"

    def buildProtocol(self, addr: object) -> None:
        """Accept no connection."""


@implementer(IStreamServerEndpoint)
class _Inherited:
    """An inherited listening socket, which belongs to the process that opened it. Twisted's own endpoint would reset
    the mode and backlog of a Unix socket and, when it stops, remove its file and shut it down for all processes.
    """

    def __init__(self, reactor: Any, descriptor: int, shared: bool) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._shared = shared

    @property
    def family(self) -> int:
        """The real family of the socket."""
        with socket.socket(fileno=os.dup(self._descriptor)) as listening:
            return listening.family

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Start accepting. Fires with the port."""
        return execute(self._listen, factory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        _check_twisted()
        listening = _Listening(fileno=self._descriptor)  # detects the real family
        listening.set_inheritable(False)
        listening.setblocking(False)
        if listening.family == socket.AF_UNIX:
            port: _Sparing = _UNIXPort(listening.getsockname(), factory, reactor=self._reactor)
        else:
            port = _Sparing(0, factory, 0, listening.getsockname()[0], self._reactor)
        port._preexistingSocket = listening
        port.shared = self._shared
        port.startListening()
        return port


class _Listening(socket.socket):
    def listen(self, backlog: int = 0) -> None:
        """Do nothing: it listens already, with the backlog that its opener chose."""


class _Sparing(tcp.Port):
    """A port that, if its socket is `shared`, hesitates longer the more connections it has, so that the process with
    the fewest accepts first. Otherwise the process that wakes first would accept nearly all of them, whether they come
    at once or one by one. `connections` of the factory are its current ones.
    """

    reactor: Any
    factory: Any
    shared = False
    _shouldShutdown = False
    _hesitating: IDelayedCall | None = None
    _credit = MOST_HESITATIONS  # how often we may hesitate, as of `_counted_at`
    _counted_at = 0.0

    @property
    def numberAccepts(self) -> int:
        """How many connections to accept in a row."""
        return 1 + len(self.factory.connections) // SHARE if self.shared else AT_ONCE

    @numberAccepts.setter
    def numberAccepts(self, wanted: int) -> None:
        """Ignore Twisted's adjustment to the number of new connections."""

    def doRead(self) -> None:
        """Connections wait to be accepted."""
        delay = HESITATION * log2(1 + len(self.factory.connections)) if self._may_hesitate() else 0
        if delay:
            self.stopReading()
            self._hesitating = self.reactor.callLater(delay, self._take)
        else:
            super().doRead()

    def _may_hesitate(self) -> bool:
        """Limit hesitation, so that clients with a new connection per request do not wait; they need no balancing."""
        now = self.reactor.seconds()
        self._credit = min(MOST_HESITATIONS, self._credit + (now - self._counted_at) * HESITATIONS)
        self._counted_at = now
        if not self.shared or self._credit < 1:
            return False
        self._credit -= 1
        return True

    def _take(self) -> None:
        self._hesitating = None
        super().doRead()
        self.startReading()

    def loseConnection(self, *reason: Any) -> Any:
        """Stop accepting."""
        if self._hesitating is not None:
            self._hesitating.cancel()
            self._hesitating = None
        return super().loseConnection(*reason)

    stopListening = loseConnection


class _UNIXPort(_Sparing, unix.Port):
    _bindPath = property(lambda self: b"\0", lambda self, path: None)  # the socket's file is not ours to remove
