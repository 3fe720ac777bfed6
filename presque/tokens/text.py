"""The text of a token: `presque_`, 43 random characters, and a check of 6.

43 characters of 62 are 256 random bits, so the file may keep a plain SHA-256: there is nothing to guess. The check is
the CRC-32 of everything before it in 6 such digits, by which a typing mistake is noticed before anything is looked up,
and by which scanners of source code recognise a real token. It guards against mistakes only: anybody can compute it.
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from string import ascii_letters, digits
from zlib import crc32

PREFIX = "presque_"
ALPHABET = digits + ascii_letters
RANDOM = 43  # random characters
CHECK = 6  # characters of the check: 62 ** 6 is more than 2 ** 32

_FORM = re.compile(rb"presque_[0-9A-Za-z]{%d}" % (RANDOM + CHECK))


def new_token() -> str:
    """A new token."""
    text = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(RANDOM))
    return text + check_of(text)


def check_of(text: str) -> str:
    """The check that follows this prefix and these random characters."""
    number, check = crc32(text.encode()), ""
    for _ in range(CHECK):
        number, digit = divmod(number, len(ALPHABET))
        check = ALPHABET[digit] + check
    return check


def is_token(text: bytes) -> bool:
    """Whether this has the form of a token, with the right check."""
    if not _FORM.fullmatch(text):
        return False
    return check_of(text[:-CHECK].decode()) == text[-CHECK:].decode()


def looks_like_token(text: str) -> bool:
    """Whether this may be a token, or most of one, which must not be shown."""
    return PREFIX in text.lower()


def digest_of(text: bytes) -> str:
    """The SHA-256 of a token, by which the file knows it: 64 hexadecimal digits."""
    return sha256(text).hexdigest()
