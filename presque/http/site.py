"""The factory of connections."""

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
        """Who we are in Twisted's log lines."""
        return "presque"

    def buildProtocol(self, addr: Any) -> Connection:
        """A connection, noted so that a stopping daemon can wait for it."""
        connection = Connection(self)
        self.connections.add(connection)
        return connection

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1, and 1.0 for a client that offers nothing else (`curl -0`)."""
        return [b"http/1.1", b"http/1.0"]
