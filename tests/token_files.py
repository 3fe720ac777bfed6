"""Files of tokens, and what a request with a token has in its head."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

from presque.tokens.text import digest_of, new_token

if TYPE_CHECKING:
    from pathlib import Path


class TokenFile:
    """A file of tokens, written anew at each change, in one step."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[str, str] = {}  # name -> line

    def add(self, name: str, *words: str) -> str:
        """Add a token with these scopes and limits; its text."""
        text = new_token()
        self.lines[name] = " ".join([name, f"sha256:{digest_of(text.encode())}", *words])
        self.write()
        return text

    def remove(self, name: str) -> None:
        del self.lines[name]
        self.write()

    def write(self, more: str = "") -> None:
        new = self.path.with_suffix(".new")
        new.touch(0o600)
        new.write_text("".join(f"{line}\n" for line in self.lines.values()) + more)
        new.replace(self.path)


def bearer(text: str) -> str:
    return f"Bearer {text}"


def basic(text: str, user: str = "anybody") -> str:
    return "Basic " + b64encode(f"{user}:{text}".encode()).decode()
