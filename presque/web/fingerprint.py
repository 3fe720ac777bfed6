"""Fingerprints distinguish different requests with the same idempotency key."""

from __future__ import annotations

from hashlib import blake2b


def fingerprint(content: bytes) -> bytes:
    """A hash of `content`, 32 hexadecimal digits. The store keeps it for a day, through upgrades, so the algorithm must
    not change between releases.
    """
    return blake2b(content, digest_size=16).hexdigest().encode()
