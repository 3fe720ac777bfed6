"""Rows 17 and 18: bodies that are too long, or not as long as they say; clients that are too slow."""

from __future__ import annotations

ROWS = {}
