"""The certificate that is served, and its renewal while connections come and go."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from time import time
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from presque.process.tls import Unusable, make_context, read_authorities, read_identity
from presque.settings import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from presque.process.tls import Identity
    from presque.settings import Settings

LOOK_EVERY = 2.0  # seconds; a renewed file is taken up at the second look at which it is the same
WARN_BEFORE = 7 * 86400.0  # seconds before the certificate expires
WARN_EVERY = 86400.0  # seconds


@implementer(IOpenSSLServerConnectionCreator)
class Certificate:
    """Serves the key and the certificates of `path`, and takes up renewed ones for new connections. If `authorities` is
    a file, a client must have a certificate that one in it has signed. Raises SettingError if they cannot be served.

    What cannot be used changes nothing: the certificate before it is served on, and one line says why.
    """

    _log = Logger()

    def __init__(self, path: Path, authorities: Path | None, now: Callable[[], float] = time) -> None:
        self._path = path
        self._authorities = authorities
        self._now = now  # epoch seconds
        self._complaint = ""  # why the files that are there are not served
        self._warned_at = 0.0
        self._seen = self._served = self._look()
        try:
            self._identity, self._context = self._load()
        except Unusable as wrong:
            raise SettingError(str(wrong)) from None

    @property
    def not_after(self) -> float:
        """When the certificate that is served expires, in epoch seconds."""
        return self._identity.not_after

    def wrap(self, factory: Any) -> TLSMemoryBIOFactory:
        """A factory that speaks TLS and has `factory` make the protocols above it."""
        return _Over(self, False, factory)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        """TLS for a new connection, by the context of this moment."""
        return SSL.Connection(self._context, None)

    async def look(self) -> int:
        """Take up renewed files once they have stopped changing. Returns how many times the context was replaced."""
        found = self._look()
        is_steady, self._seen = found == self._seen, found
        replaced = is_steady and found != self._served and self._renew(found)
        self._warn()
        return int(replaced)

    def reload(self) -> None:
        """Take up the files as they are now, and log what came of it."""
        self._complaint = ""
        self._renew(self._look())

    def _look(self) -> tuple[tuple[int, ...] | None, ...]:
        """What changes when a file is written, replaced or removed."""
        return tuple(_marks(path) for path in (self._path, self._authorities) if path is not None)

    def _load(self) -> tuple[Identity, SSL.Context]:
        identity = _named("--tls-certificate", read_identity, self._path)
        authorities = _named("--tls-client-ca", read_authorities, self._authorities) if self._authorities else ()
        return identity, _named("--tls-certificate", lambda path: make_context(identity, authorities), self._path)

    def _renew(self, found: tuple[tuple[int, ...] | None, ...]) -> bool:
        try:
            identity, context = self._load()
            self._check_dates(identity)
        except Unusable as wrong:
            if str(wrong) != self._complaint:
                self._complaint = str(wrong)
                self._log.error("TLS: the certificate before is served on: {why}", why=self._complaint)
            return False
        self._identity, self._context, self._served = identity, context, found
        self._complaint, self._warned_at = "", 0.0
        self._log.info("TLS: new connections get the certificate that expires at {end}", end=_date(identity.not_after))
        return True

    def _check_dates(self, identity: Identity) -> None:
        """A certificate that every client would refuse is no renewal, unless it is the one that is served already."""
        if identity.chain[0] == self._identity.chain[0]:
            return
        if identity.not_after <= self._now():
            raise Unusable(f"--tls-certificate {self._path} has expired at {_date(identity.not_after)}")
        if identity.not_before > self._now():
            raise Unusable(f"--tls-certificate {self._path} is not valid before {_date(identity.not_before)}")

    def _warn(self) -> None:
        """Say once a day that the certificate expires soon, or has expired."""
        now, ends = self._now(), self.not_after
        if ends - now < WARN_BEFORE and now - self._warned_at >= WARN_EVERY:
            self._warned_at = now
            how = "has expired" if ends <= now else "expires"
            self._log.warn("TLS: the certificate {how} at {end}: renew it", how=how, end=_date(ends))


class _Over(TLSMemoryBIOFactory):
    """TLS around a factory. `connections` are the current ones of that factory, see presque.process.listening."""

    @property
    def connections(self) -> Any:
        """The current connections."""
        return self.wrappedFactory.connections


def certificate_of(settings: Settings) -> Certificate | None:
    """The certificate that the settings name, if any. Raises SettingError."""
    return Certificate(settings.tls_certificate, settings.tls_client_ca) if settings.tls_certificate else None


def _named(flag: str, read: Callable[[Path], Any], path: Path) -> Any:
    """What `read(path)` returns. Raises Unusable, whose message begins with the setting and the file."""
    try:
        return read(path)
    except Unusable as wrong:
        raise Unusable(f"{flag} {path} {wrong}") from None


def _marks(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
