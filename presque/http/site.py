"""The factory that makes connections."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory
from zope.interface import implementer

from presque.http.connection import Connection
from presque.http.shared import Shared


@implementer(IProtocolNegotiationFactory)
class Site(Shared, Factory):
    """Makes a Connection for each client."""

    noisy = False

    def logPrefix(self) -> str:
        """Our name in Twisted's log lines."""
        return "presque"

    def buildProtocol(self, addr: Any) -> Connection:
        """A connection, recorded so that a stopping daemon can wait for it."""
        address = getattr(addr, "host", "")  # a Unix socket has none
        connection = Connection(self, address, self.guests.admit(address))
        self.connections.add(connection)
        return connection

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1, and 1.0 for clients that offer nothing else (`curl -0`)."""
        return [b"http/1.1", b"http/1.0"]
