"""What is wrong with a request, in its parameters or its body."""

from __future__ import annotations

from presque.errors import PresqueError


class BadRequest(PresqueError):
    """A request that is wrong; the text says how."""
