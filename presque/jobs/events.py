"""Publications, told to everybody in this daemon who listens for them.

Scripts publish on a queue's channel that it may have a job. Any number of listeners may want to hear that: consumers
that wait, and whatever else follows a queue. Redis is asked for a channel once, as long as one of them wants it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable


class Listener(Protocol):
    """What hears of a channel."""

    def heard(self, channel: bytes) -> None:
        """Something may have happened there: a subscription has begun, or begun anew."""

    def told(self, channel: bytes) -> None:
        """Something was published there."""


class Source(Protocol):
    """What subscribes at Redis: presque.redis.listener."""

    heard: Callable[[bytes], None]
    told: Callable[[bytes], None]

    def subscribe(self, channel: bytes) -> None:
        """Hear a channel from now on."""

    def unsubscribe(self, channel: bytes) -> None:
        """Hear it no longer."""


class Events:
    """All listeners of one daemon, by channel."""

    _log = Logger()

    def __init__(self, source: Source) -> None:
        self._source = source
        self._listeners: dict[bytes, tuple[Listener, ...]] = {}
        self.unclaimed: Callable[[bytes], object] = lambda channel: None  # told of what nobody listens for any more
        source.heard, source.told = self._heard, self._told

    def subscribe(self, channel: bytes, listener: Listener) -> None:
        """Tell `listener` of a channel from now on."""
        before = self._listeners.get(channel, ())
        self._listeners[channel] = (*before, listener)
        if not before:
            self._source.subscribe(channel)

    def unsubscribe(self, channel: bytes, listener: Listener) -> None:
        """Tell it no longer."""
        left = tuple(each for each in self._listeners.get(channel, ()) if each is not listener)
        if left:
            self._listeners[channel] = left
        elif self._listeners.pop(channel, None) is not None:
            self._source.unsubscribe(channel)

    def _heard(self, channel: bytes) -> None:
        for listener in self._listeners.get(channel, ()):
            self._tell(listener.heard, channel)

    def _told(self, channel: bytes) -> None:
        listeners = self._listeners.get(channel)
        if listeners is None:
            self._tell(self.unclaimed, channel)
            return
        for listener in listeners:
            self._tell(listener.told, channel)

    def _tell(self, tell: Callable[[bytes], object], channel: bytes) -> None:
        """One that fails keeps it from no other."""
        try:
            tell(channel)
        except Exception:
            self._log.failure("a listener of {channel} failed", channel=channel.decode(errors="replace"))
