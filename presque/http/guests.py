"""How many connections there may be, together and from one address, and which exceed that.

A connection in excess is accepted all the same, on one of a few places kept for this: its request is answered if it is
about the daemon's health, and refused otherwise. When these places are taken too, the oldest of them is cut off. So
whoever holds all connections cannot hide the daemon's health.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from presque.http.request import Client

EXCESS = 32  # places for connections in excess
RESERVED = 64  # descriptors that are not for connections: those in excess, Redis, files, the log
NAME, NAME_EACH = "connections", "connections-per-address"  # of the limits


class Guests:
    """Counts connections: up to `most`, and up to `most_each` from one address (0: any number)."""

    def __init__(self, most: int, most_each: int) -> None:
        self.most = most
        self.most_each = most_each
        self.count = 0  # of connections that are not in excess
        self._by_address: dict[str, int] = {}
        self._in_excess: dict[Client, None] = {}  # in order of arrival

    @property
    def largest(self) -> int:
        """The number of connections of the address that has most; 0 if they are not counted."""
        return max(self._by_address.values(), default=0)

    def admit(self, address: str) -> str:
        """Count a connection from an address (empty: a Unix socket). Returns an empty text, or the limit that it
        exceeds; then it is not counted.
        """
        if self.count >= self.most:
            return NAME
        if self.most_each and address:
            if self._by_address.get(address, 0) >= self.most_each:
                return NAME_EACH
            self._by_address[address] = self._by_address.get(address, 0) + 1
        self.count += 1
        return ""

    def leave(self, address: str) -> None:
        """A connection that was counted has ended."""
        self.count -= 1
        if address in self._by_address:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def exceed(self, client: Client) -> bool:
        """A connection in excess has been made: it takes a place. Returns whether it was that of the oldest one, which
        has been cut off.
        """
        self._in_excess[client] = None
        if len(self._in_excess) > EXCESS:
            oldest = next(iter(self._in_excess))
            del self._in_excess[oldest]
            oldest.abort()
            return True
        return False

    def end_excess(self, client: Client) -> None:
        """A connection in excess has ended."""
        self._in_excess.pop(client, None)
