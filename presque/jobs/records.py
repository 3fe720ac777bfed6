"""A job's record as Redis keeps it, and its options: see `jobs` and `live` in presque.redis.keys."""

from __future__ import annotations

import msgspec

from presque.redis.units import milliseconds, seconds

PAYLOAD_AT = 14  # bytes before the payload in a record without options
WITHOUT_OPTIONS = b"-d"  # their marks
DEFAULT_PRIORITY = 5


class Options(msgspec.Struct):
    """The options of a job; names of later releases are left out. `expires` is epoch ms, `unique` a MessagePack string
    of any bytes.
    """

    unique: msgspec.Raw = msgspec.Raw()
    limit: int | None = None
    priority: int = DEFAULT_PRIORITY
    expires: int | None = None
    headers: dict[str, str] = {}

    @property
    def uniq(self) -> bytes:
        """The uniq key, empty if there is none."""
        packed = bytes(self.unique)
        if not packed:
            return b""
        return packed[{0xD9: 2, 0xDA: 3, 0xDB: 5}.get(packed[0], 1) :]  # without the type and the length


class Live(msgspec.Struct):
    """What is kept of a job that is leased or has failed: the number of failed attempts, the last of them (number,
    epoch ms, error), and the worker that holds its lease, if its name is known.
    """

    attempts: int = 0
    failures: list[tuple[int, float, str]] = []
    worker: str = ""


_NO_OPTIONS, _NOT_LIVE = Options(), Live()
_decode_options = msgspec.msgpack.Decoder(Options).decode
_decode_live = msgspec.msgpack.Decoder(Live).decode
_encode = msgspec.msgpack.Encoder().encode


def payload_of(record: bytes) -> bytes:
    """The payload in a record."""
    if record[PAYLOAD_AT - 1] in WITHOUT_OPTIONS:
        return record[PAYLOAD_AT:]
    return record[PAYLOAD_AT + 2 + int.from_bytes(record[PAYLOAD_AT : PAYLOAD_AT + 2]) :]


def created_at(record: bytes) -> float:
    """When the job was inserted (epoch seconds)."""
    return seconds(int(record[: PAYLOAD_AT - 1]))


def options_of(record: bytes) -> Options:
    """The options in a record."""
    if record[PAYLOAD_AT - 1] in WITHOUT_OPTIONS:
        return _NO_OPTIONS
    begin = PAYLOAD_AT + 2
    return _decode_options(record[begin : begin + int.from_bytes(record[PAYLOAD_AT:begin])])


def live_of(text: bytes) -> Live:
    """What `live` has of a job, from its text there."""
    packed = text.partition(b" ")[2]
    return _decode_live(packed) if packed else _NOT_LIVE


def _string(text: bytes) -> msgspec.Raw:
    """A MessagePack string of any bytes; the binary type is unknown to Redis' Lua."""
    length = len(text)
    if length < 32:
        return msgspec.Raw(bytes([0xA0 | length]) + text)
    return msgspec.Raw(b"\xda" + length.to_bytes(2) + text)


def packed_options(
    uniq: bytes = b"",
    max_attempts: int | None = None,
    priority: int | None = None,
    expires: float | None = None,
    expires_in: float | None = None,
    headers: dict[str, str] | None = None,
) -> bytes:
    """Options as `insert.lua` takes them; empty if there are none. `expires` is epoch seconds, `expires_in` seconds
    from now.
    """
    options = {
        "unique": _string(uniq) if uniq else None,
        "limit": max_attempts,
        "priority": None if priority == DEFAULT_PRIORITY else priority,
        "expires": None if expires is None else int(milliseconds(max(0, expires))),
        "expires_in": None if expires_in is None else int(milliseconds(expires_in)),
        "headers": headers or None,
    }
    there = {name: value for name, value in options.items() if value is not None}
    return _encode(there) if there else b""
