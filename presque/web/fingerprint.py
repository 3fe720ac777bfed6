"""What distinguishes a request from another one with the same idempotency key."""

from __future__ import annotations

from hashlib import blake2b


def fingerprint(content: bytes) -> bytes:
    """32 hexadecimal digits that stand for `content`. The store keeps them for a day, through upgrades, so they never
    change from one release to the next.
    """
    return blake2b(content, digest_size=16).hexdigest().encode()
