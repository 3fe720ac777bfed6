"""The target of a request, normalized for routing."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes, unquote_to_bytes

_PLAIN = re.compile(rb"[A-Za-z0-9._:@~!$&'()*+,;=-]*")
_PLAIN_PATH = re.compile(rb"[A-Za-z0-9._:@~!$&'()*+,;=/-]*")
_ABSOLUTE = re.compile(rb"(?i)https?://([^/?#]*)")


def authority(target: bytes) -> bytes | None:
    """The host in a target such as `http://host/path`; None if there is none."""
    found = _ABSOLUTE.match(target)
    return found[1] if found else None


def in_origin_form(target: bytes) -> bytes:
    """The path of a target such as `http://host/path`, which clients send to a proxy (RFC 9112, 3.2.2)."""
    if target.startswith(b"/"):
        return target
    found = _ABSOLUTE.match(target)
    if not found:
        return target
    rest = target[found.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def segments_of(path: bytes) -> list[bytes]:
    """The segments of a path, each decoded if that gives plain characters; else percent-encoded ASCII that no route and
    no name accepts.
    """
    segments = path[1:].split(b"/")
    return segments if _PLAIN_PATH.fullmatch(path) else [_plain(segment) for segment in segments]


def routed(path: bytes) -> bytes:
    """A path, normalized for routing."""
    return b"/" + b"/".join(segments_of(path)) if path.startswith(b"/") else path


def _plain(segment: bytes) -> bytes:
    if _PLAIN.fullmatch(segment):
        return segment
    decoded = unquote_to_bytes(segment)
    return decoded if _PLAIN.fullmatch(decoded) else quote_from_bytes(decoded, safe="").encode() or segment
