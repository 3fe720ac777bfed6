"""The memory that clients take together: input that is not answered yet, and answers that they do not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from presque.http.request import Client

SMALL = 4096  # bytes; what is not longer is not counted, so that counting costs nearly nothing


class Buffers:
    """Counts the bytes of all clients, up to `most` bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0  # bytes
        self._held: dict[Client, int] = {}

    def hold(self, client: Client, count: int) -> int:
        """A client takes so many bytes now, instead of those before. Returns what is counted."""
        if count <= SMALL:
            count = 0
        self.used += count - self._held.pop(client, 0)
        if count:
            self._held[client] = count
        return count

    def have_room(self, held: int, counted: int) -> bool:
        """Whether a client may take `held` bytes, of which `counted` are counted already. A client alone always may:
        each request and answer has a limit of its own.
        """
        others = self.used - counted
        return not others or others + held <= self.most
