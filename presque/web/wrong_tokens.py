"""The limit of wrong tokens: some at once, then one a second from each address. Right tokens are not asked here.

The tokens themselves need no such limit, they cannot be guessed. It tells a client that goes on with a token that has
ended, or a scanner, to slow down.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_network
from typing import TYPE_CHECKING

from presque.tokens.file import address_of

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 10  # wrong tokens
A_SECOND = 1.0  # further ones, in the long run
MOST = 4096  # addresses that are remembered; beyond, those that were quiet for longest are forgotten
NETWORK = 64  # bits of an IPv6 address that one client has to itself


class WrongTokens:
    """Counts wrong tokens by address, by the clock `seconds`."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # address -> how many are left, and when
        self._told: set[str] = set()  # addresses over the limit that were told of
        self.count = 0  # wrong tokens, whatever was answered

    def wait(self, address: str) -> float:
        """Count a wrong token from an IP address, or "" for a Unix socket. Returns 0, or if it is one too many, the
        seconds until the next one is allowed.
        """
        self.count += 1
        key, now = _key(address), self._seconds()
        left, at = self._left.get(key, (float(AT_ONCE), now))
        left = min(AT_ONCE, left + (now - at) * A_SECOND)
        is_allowed = left >= 1
        self._left[key] = (left - is_allowed, now)
        self._left.move_to_end(key)
        if left >= AT_ONCE:
            self._told.discard(key)
        if len(self._left) > MOST:
            forgotten, _ = self._left.popitem(last=False)
            self._told.discard(forgotten)
        return 0.0 if is_allowed else (1 - left) / A_SECOND

    def is_news(self, address: str) -> bool:
        """Whether this address has not been over the limit lately. Notes that it was told of."""
        key = _key(address)
        if key in self._told:
            return False
        self._told.add(key)
        return True


def _key(address: str) -> str:
    found = address_of(address)
    if isinstance(found, IPv6Address):
        return str(ip_network((int(found), NETWORK), strict=False))
    return str(found or "")
