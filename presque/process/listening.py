"""Listening sockets: opened by us, inherited from who started us, or held for others who take the connections."""

from __future__ import annotations

import re
import socket
import sys
from math import log2
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory
from zope.interface import implementer

from twisted import __version__ as version

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IListeningPort, IProtocolFactory

MODE = "660"  # of a Unix socket's file, unless the endpoint says which: whoever opens it takes jobs
BACKLOG = 1024  # connections that may wait to be accepted, unless the endpoint says how many
HESITATION = 0.0005  # seconds to leave a connection to others for, each time that the number of ours has doubled
MOST_HESITATIONS = 64.0  # in a row
HESITATIONS = 50.0  # a second, in the long run
SHARE = 8  # of as many connections as we have, one part of so many is taken in a row
AT_ONCE = 100  # connections that are taken in a row from a socket that is ours alone, as Twisted does
UNSENT = 1 << 17  # bytes that the kernel takes for a client beyond what the client is ready for; it took megabytes
SHARED = "shared-"  # begins the name of an inherited socket from which several processes take connections


def server_endpoint(reactor: Any, text: str) -> Any:
    """The server endpoint that `text` describes. Raises what Twisted's parsers do."""
    # Twisted lets 50 connections wait to be accepted, too few when many workers come at once.
    if text.startswith(("tcp", "unix:")) and not _says(text, "backlog"):
        text += f":backlog={BACKLOG}"
    if text.startswith("unix:") and not _says(text, "mode"):
        text += f":mode={MODE}"
    endpoint = serverFromString(reactor, text)
    if isinstance(endpoint, AdoptedStreamServerEndpoint):
        return _Inherited(reactor, endpoint.fileno, f":name={SHARED}" in text)
    return endpoint


def _says(endpoint: str, name: str) -> bool:
    """Whether an endpoint's description has this parameter. A colon of an address is written `\\:`."""
    return re.search(rf"(?<!\\):{name}=", endpoint) is not None


def notice_vanished(port: Any, seconds: float) -> None:
    """Have the kernel end connections whose client has not been heard of for so long: one that acknowledges nothing of
    what we send, or of what the kernel asks while nothing is sent. Accepted sockets inherit it from the listening one.
    """
    listening = getattr(port, "socket", None)
    if sys.platform != "linux" or listening is None or listening.family == socket.AF_UNIX:
        return
    silent = max(1, int(seconds / 2))  # the kernel counts in whole seconds here
    between = max(1, int(seconds / 4))
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, silent)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, between)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, max(1, int((seconds - silent) / between)))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)


async def hold(endpoint: Any) -> Any:
    """Listen on `endpoint` and accept nothing: who comes waits until a process that inherits the socket takes him. The
    Twisted port. It closes our descriptor alone when it stops: the socket lives until the last process closes it.
    """
    _check_twisted()
    port = await endpoint.listen(_Nobody())
    port.stopReading()
    port._shouldShutdown = False
    return port


def _check_twisted() -> None:
    """Twisted has no public words for how its ports begin and end. Raise RuntimeError where these are not its words:
    a shared socket would be shut down for everybody.
    """
    if not hasattr(tcp.Port, "_shouldShutdown") or not hasattr(tcp.Port, "_preexistingSocket"):
        raise RuntimeError(f"Twisted {version} is not known to this presque: it cannot inherit or share sockets")


class _Nobody(Factory):
    noisy = False

    def logPrefix(self) -> str:
        """Who we are in Twisted's log lines."""
        return "presque"

    def buildProtocol(self, addr: object) -> None:
        """No connection is ours."""


@implementer(IStreamServerEndpoint)
class _Inherited:
    """A listening socket that we were started with, and that belongs to whoever opened it. Twisted's own endpoint would
    set a Unix socket's mode and backlog anew and, when it stops, remove its file and shut it down for everybody.
    """

    def __init__(self, reactor: Any, descriptor: int, shared: bool) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._shared = shared

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Begin to accept. Fires with the port."""
        return execute(self._listen, factory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        _check_twisted()
        listening = _Listening(fileno=self._descriptor)  # with the family that it really has
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
        """It listens already, with the backlog that whoever opened it has chosen."""


class _Sparing(tcp.Port):
    """A port that, while its socket is `shared`, hesitates the longer the more connections it has, so that the process
    with the fewest is the first to take one. Without that whoever wakes first takes nearly all of them, when they come
    at once and when they come one by one. The factory says in `connections` which connections it has.
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
        """How many connections to take in a row."""
        return 1 + len(self.factory.connections) // SHARE if self.shared else AT_ONCE

    @numberAccepts.setter
    def numberAccepts(self, wanted: int) -> None:
        """Twisted wants more the more come."""

    def doRead(self) -> None:
        """Somebody waits to be accepted."""
        delay = HESITATION * log2(1 + len(self.factory.connections)) if self._may_hesitate() else 0
        if delay:
            self.stopReading()
            self._hesitating = self.reactor.callLater(delay, self._take)
        else:
            super().doRead()

    def _may_hesitate(self) -> bool:
        """Clients who come anew for each request are not kept waiting for long, and need not be spread: they leave."""
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
        """Take no more."""
        if self._hesitating is not None:
            self._hesitating.cancel()
            self._hesitating = None
        return super().loseConnection(*reason)

    stopListening = loseConnection


class _UNIXPort(_Sparing, unix.Port):
    _bindPath = property(lambda self: b"\0", lambda self, path: None)  # there is no file for us to care for
