"""The error for wrong parameters or a wrong body."""

from __future__ import annotations

from presque.errors import PresqueError


class BadRequest(PresqueError):
    """The request is wrong; the message says how."""
