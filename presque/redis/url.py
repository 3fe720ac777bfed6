"""Redis URLs: `redis://`, `rediss://` and `unix://`, with user, password and database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote, unquote, urlsplit

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.ssl import optionsForClientTLS

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint

CONNECT_TIMEOUT = 2  # seconds


@dataclass(frozen=True)
class RedisURL:
    """The address of a Redis, and the user to log in as. `str` and `repr` never contain the password."""

    scheme: str
    host: str
    port: int
    path: str
    database: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        where = self.path if self.scheme == "unix" else f"{self.host}:{self.port}"
        return f"{self.scheme}://{where} (database {self.database})"

    def in_full(self) -> str:
        """The complete URL, including the password, as `parse_redis_url` reads it."""
        user = quote(self.user or "", safe="")
        whom = "" if self.password is None else f"{user}:{quote(self.password, safe='')}@"
        if self.scheme == "unix":
            return f"unix://{whom}{quote(self.path)}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{whom}{host}:{self.port}/{self.database}"


def parse_redis_url(text: str) -> RedisURL:
    """Parse a Redis URL.

        redis://[[user]:password@]host[:port][/database]
        rediss://…                                         the same over TLS; the certificate is checked
        unix://[[user]:password@]/path/to/socket[?db=database]

    Raises ValueError, whose message never repeats `text`, because it may contain a password.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError("is not a URL") from None
    user = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if user and password is None:
        raise ValueError("names a user but no password")
    if parts.scheme == "unix":
        query = parse_qs(parts.query, keep_blank_values=True)
        if not parts.path.startswith("/") or parts.hostname or set(query) - {"db"} or parts.fragment:
            raise ValueError("must be unix:///path/to/socket, optionally with ?db=N")
        database = query.get("db", ["0"])[-1]
        return RedisURL("unix", "", 0, unquote(parts.path), _database(database), user, password)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be redis://host:port/database, rediss://… or unix:///path")
    try:
        port = 6379 if parts.port is None else parts.port
    except ValueError:
        raise ValueError("has a port that is not a number from 1 to 65535") from None
    if port == 0:
        raise ValueError("has a port that is not a number from 1 to 65535")
    database = parts.path.strip("/") or "0"
    return RedisURL(parts.scheme, parts.hostname, port, "", _database(database), user, password)


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError("has a database that is not a number")
    return int(text)


def endpoint_for(reactor: object, url: RedisURL) -> IStreamClientEndpoint:
    """The endpoint that connects to `url`. Over TLS the certificate is checked against the system's authorities."""
    if url.scheme == "unix":
        return UNIXClientEndpoint(reactor, url.path, timeout=CONNECT_TIMEOUT)
    plain = HostnameEndpoint(reactor, url.host, url.port, timeout=CONNECT_TIMEOUT)
    if url.scheme == "redis":
        return plain
    return wrapClientTLS(optionsForClientTLS(url.host), plain)


def tls_refusal(reason: BaseException | None) -> str:
    """Why a connection that ended for this reason had no TLS; empty if that is not why it ended."""
    if isinstance(reason, VerificationError):
        return "TLS: its certificate is for another name"
    if not isinstance(reason, SSL.Error):
        return ""
    said = ", ".join(str(error[-1]) for error in (reason.args[0] if reason.args else ()))
    if "certificate verify failed" in said:
        return "TLS: its certificate has expired, is not valid yet, or is not signed by an authority of this system"
    return f"TLS: {said or 'it failed'}"
