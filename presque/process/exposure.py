"""Tells which places to listen on are open to other machines, before anything listens there.

A Unix socket is open to none: who may use it is a matter of its mode. For all else, what Twisted's endpoint itself asks
of a reactor is looked at, so that there is no second reading of its description.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString
from twisted.internet.protocol import Factory

from presque.settings import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from twisted.internet.defer import Deferred

UNKNOWN = "an unknown address"
KNOWN = ("tcp:", "tcp6:", "ssl:", "tls:", "haproxy:")  # endpoints that ask a reactor for a TCP port


def check_exposure(endpoints: Iterable[str]) -> None:
    """Raise SettingError if one of these endpoints is, or may be, open to other machines."""
    for text in endpoints:
        address = exposed(text)
        if address:
            raise SettingError(
                f"--listen {text} is open to other machines ({address}): add --tokens FILE, or --insecure if something "
                "else controls who may connect"
            )


def exposed(endpoint: str) -> str:
    """The address of an endpoint that is open to other machines; "" if it is not."""
    if endpoint.startswith("unix:"):
        return ""
    if endpoint.startswith("systemd:"):
        return _exposed_socket(endpoint)
    if not endpoint.startswith(KNOWN):
        return UNKNOWN
    noting = _Noting()
    with suppress(Exception):  # what cannot be understood has not been noted
        listening: Deferred[Any] = serverFromString(noting, endpoint).listen(Factory())
        listening.addErrback(lambda failure: None)
    if not noting.interfaces:
        return UNKNOWN
    return next((interface or "all addresses" for interface in noting.interfaces if not _is_loopback(interface)), "")


def _exposed_socket(endpoint: str) -> str:
    """As `exposed`, of a socket that was passed to us and listens already."""
    found = serverFromString(None, endpoint)
    if not isinstance(found, AdoptedStreamServerEndpoint):
        return UNKNOWN
    with socket.socket(fileno=os.dup(found.fileno)) as listening:  # detects the real family
        if listening.family == socket.AF_UNIX:
            return ""
        address = str(listening.getsockname()[0])
    return "" if _is_loopback(address) else address


def _is_loopback(interface: str) -> bool:
    if interface == "localhost":
        return True
    try:
        address = ip_address(interface)
    except ValueError:  # a name may mean anything; "" means all addresses
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback


class _Noting:
    """A reactor that only notes the interfaces on which it is asked to listen."""

    def __init__(self) -> None:
        self.interfaces: list[str] = []

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> None:
        """Note the interface."""
        self.interfaces.append(interface)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = "") -> None:
        """Note the interface."""
        self.interfaces.append(interface)
