"""The door: which hosts a request may name, and which sites' pages may send it. Decided by the head alone.

A page whose name was pointed at our address (DNS rebinding) sends that name as `Host`, with a dot in it; the names of
proxies on the same machine and of containers have no dot. Requests from another site's page are recognised by
`Sec-Fetch-Site`, or in browsers that do not send it, by `Origin` and `Referer`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

from presque.http.hosts import ANY, LONGEST, parse_host
from presque.http.target import authority, in_origin_form

if TYPE_CHECKING:
    from collections.abc import Sequence

    from presque.http.request import Request

OURS = (b"none", b"same-origin")  # accepted values of Sec-Fetch-Site

_SITE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#\s]+)(?:[/?#]\S*)?")
_PORTS = {"http": 80, "https": 443}


class Refusal(NamedTuple):
    """Why a request is refused, and further headers of the answer."""

    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


BAD_HOST = Refusal(HTTPStatus.BAD_REQUEST, "Host is missing or malformed")
NOT_ALLOWED = Refusal(HTTPStatus.MISDIRECTED_REQUEST, "host not allowed: see --host")
ANOTHER_SITE = Refusal(HTTPStatus.FORBIDDEN, "forbidden")


class Door:
    """Accepts requests, or tells why not. `hosts` are names that are allowed besides the local ones."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._any = ANY in hosts
        self._hosts = frozenset(hosts)
        self._judge = lru_cache(maxsize=256)(self._judge_anew)  # nearly all requests are for the same host

    def refusal(self, request: Request) -> Refusal | None:
        """Why a request whose head is complete is refused; None when it is accepted."""
        target = request.target
        if request.head.is_plain and target.startswith(b"/"):
            return self._check(request.headers[b"host"])
        named = request.values(b"host")
        if len(named) > 1 or not (named or request.version == b"HTTP/1.0"):
            return BAD_HOST
        if not target.startswith(b"/") and (in_target := authority(target)) is not None:
            named = [*named, in_target]
        for text in named:
            if (why := self._check(text)) is not None:
                return why
        if not self._is_of_another_site(named[0] if named else b"", request):
            return None
        is_page = request.method in (b"GET", b"HEAD") and in_origin_form(target).partition(b"?")[0] == b"/"
        return None if is_page else ANOTHER_SITE

    def _check(self, text: bytes) -> Refusal | None:
        return self._judge(text) if len(text) <= LONGEST else BAD_HOST

    def _judge_anew(self, text: bytes) -> Refusal | None:
        host = parse_host(text)
        if host is None:
            return BAD_HOST
        is_allowed = host.is_local or self._any or host.name.removesuffix(".") in self._hosts
        return None if is_allowed else NOT_ALLOWED

    @staticmethod
    def _is_of_another_site(host: bytes, request: Request) -> bool:
        if said := request.values(b"sec-fetch-site"):
            return any(each.strip().lower() not in OURS for text in said for each in text.split(b","))
        origins, referers = request.values(b"origin"), request.values(b"referer")
        return any(_is_another(text, host) for text in (*origins, *filter(None, referers)))


def _is_another(site: bytes, host: bytes) -> bool:
    """Whether `site`, an origin or a URL, is on another host or port than `host`."""
    found, ours = _SITE.fullmatch(site.decode("latin-1")), parse_host(host)
    theirs = parse_host(found[2].encode("latin-1")) if found else None
    if found is None or ours is None or theirs is None:
        return True
    default = _PORTS.get(found[1].lower())
    return (theirs.name, theirs.port or default) != (ours.name, ours.port or default)
