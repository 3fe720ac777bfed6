"""Hosts in HTTP: a name or an address, and an optional port."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

ANY = "*"  # allows any host
LONGEST = 262  # bytes: a DNS name and a port; nothing longer is cached

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?))(?::(\d{0,5}))?")


class Host(NamedTuple):
    """A host in lower case, and its port if given. `is_address`: it is an IP address."""

    name: str
    port: int | None
    is_address: bool

    @property
    def is_local(self) -> bool:
        """Whether no other site's page can have this host: an address, a name without a dot, or below `localhost`."""
        name = self.name.removesuffix(".")
        return self.is_address or "." not in self.name or name == "localhost" or name.endswith(".localhost")


def parse_host(text: bytes) -> Host | None:
    """The host that `Host: text` names; None when it is not a host."""
    return _parse_host(text) if len(text) <= LONGEST else None


@lru_cache(maxsize=1024)
def _parse_host(text: bytes) -> Host | None:
    found = _HOST.fullmatch(text.decode("latin-1"))
    if not found:
        return None
    port = int(found[3]) if found[3] else None
    if port is not None and port > 65535:
        return None
    try:
        if found[1]:
            return Host(str(IPv6Address(found[1])), port, True)
        return Host(str(IPv4Address(found[2].removesuffix("."))), port, True)
    except ValueError:
        return None if found[1] else Host(found[2].lower(), port, False)
