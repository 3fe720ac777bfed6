"""Publications, passed on to all listeners in this daemon.

Scripts publish on a queue's channel that it may have a job. Any number of listeners may follow a channel: waiting
consumers, and whatever else follows a queue. The daemon is subscribed once, as long as one of them wants the channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable


class Listener(Protocol):
    """Follows a channel."""

    def heard(self, channel: bytes) -> None:
        """A subscription has started or restarted: something may have happened on the channel before."""

    def told(self, channel: bytes) -> None:
        """Something was published on the channel."""


class Source(Protocol):
    """Subscribes at Redis: presque.redis.listener."""

    heard: Callable[[bytes], None]
    told: Callable[[bytes], None]

    def subscribe(self, channel: bytes) -> None:
        """Receive a channel from now on."""

    def unsubscribe(self, channel: bytes) -> None:
        """Stop receiving it."""


class Events:
    """All listeners of one daemon, by channel."""

    _log = Logger()

    def __init__(self, source: Source) -> None:
        self._source = source
        self._listeners: dict[bytes, tuple[Listener, ...]] = {}
        self.unclaimed: Callable[[bytes], object] = lambda channel: None  # called for publications without a listener
        source.heard, source.told = self._heard, self._told

    def subscribe(self, channel: bytes, listener: Listener) -> None:
        """Notify `listener` of a channel from now on."""
        before = self._listeners.get(channel, ())
        self._listeners[channel] = (*before, listener)
        if not before:
            self._source.subscribe(channel)

    def unsubscribe(self, channel: bytes, listener: Listener) -> None:
        """Stop notifying `listener`."""
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
        """Call a listener. One that fails does not affect the others."""
        try:
            tell(channel)
        except Exception:
            self._log.failure("a listener of {channel} failed", channel=channel.decode(errors="replace"))
