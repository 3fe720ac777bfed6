"""Decodes JSON bodies, in this module alone, and explains what is wrong with one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from presque.web import surrogates
from presque.web.bad_request import BadRequest

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

FAILURES = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # all exceptions of decoding

# Type -> its decoder, which takes longer to make than to use on a small body.
_decoder: Callable[[Any], Any] = lru_cache(maxsize=None)(msgspec.json.Decoder)


class Object(msgspec.Struct, gc=False):
    """Any JSON object. Its members are checked, not kept."""


def decode(content: bytes, kind: type[T], wrong: str = "", *, by_msgspec: bool = False) -> T:
    """Decode JSON in UTF-8 as a `kind`; nested `msgspec.Raw`s are slices of `content`. Lone surrogates in text become
    U+FFFD. Nesting is limited by the interpreter's stack, at some hundreds of levels.

    Raises BadRequest, whose message is `wrong`, or else an explanation.

    With `by_msgspec` only the rules of msgspec apply, as always for `/control` and `/w`: it refuses lone surrogates,
    and does not check the encoding of text that `kind` leaves undecoded.
    """
    decoder: msgspec.json.Decoder[T] = _decoder(kind)
    try:
        if by_msgspec:
            return decoder.decode(content)
        if not content.isascii():
            content.decode()
        try:
            return decoder.decode(content)
        except msgspec.DecodeError:
            if not surrogates.has_lone(content):
                raise
            return surrogates.decode(content, decoder)
    except FAILURES as failure:
        raise BadRequest(wrong or _explain(failure)) from None


def _explain(failure: Exception) -> str:
    if isinstance(failure, msgspec.ValidationError):
        return str(failure)
    if isinstance(failure, RecursionError):
        return "the body is nested too deeply"
    return f"the body is not JSON in UTF-8: {failure}"
