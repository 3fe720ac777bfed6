"""The one connection that receives publications."""

from __future__ import annotations

from typing import TYPE_CHECKING

import txredisapi
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from presque.redis.connection import TIME_LIMIT, bulk, word_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IAddress, IReactorTime
    from twisted.python.failure import Failure

    from presque.redis.connection import Reply
    from presque.redis.url import RedisURL


class Listener(txredisapi.SubscriberProtocol):  # type: ignore[misc]  # txredisapi has no types
    """The one connection that receives publications. After a reconnect it subscribes again to all wanted channels."""

    factory: ListenerFactory
    _log = Logger()

    def connectionMade(self) -> None:
        """Log in, then subscribe to every wanted channel."""
        self.ended: Deferred[bool] = Deferred()  # fires when the connection is lost, with whether it was useful
        self._of_use = False
        self._asked_at: float | None = None  # when the unanswered PING was sent
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        url = self.factory.url
        if url.password is not None:
            login = ["AUTH", *([url.user] if url.user else []), url.password]
            self.execute_command(*login).addErrback(lambda refusal: self.transport.abortConnection())
        self.factory.listener = self
        if self.factory.channels:
            self.transport.write(_command(b"SUBSCRIBE", *self.factory.channels))
            for channel in list(self.factory.channels):
                self.factory.heard(channel)
        self.beat()

    def beat(self) -> None:
        """Drop the connection when a PING was unanswered for too long, else send one."""
        now = self.factory.clock.seconds()
        if self._asked_at is None:
            self._asked_at = now
            self.transport.write(_command(b"PING"))
        elif now - self._asked_at > TIME_LIMIT:
            self._log.warn("the subscribing connection has been silent for {limit} s: dropping it", limit=TIME_LIMIT)
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Forget the connection; a new one will be made."""
        if self.factory.listener is self:
            self.factory.listener = None
        super().connectionLost(reason)
        self.ended.callback(self._of_use)

    def replyReceived(self, reply: Reply) -> None:
        """Pass on publications, and confirmations of subscriptions: both may mean a job."""
        self._asked_at = None
        if isinstance(reply, list):
            self._of_use = True
            if reply[0] == b"message":
                self.factory.told(reply[1])
            elif reply[0] == b"subscribe":
                self.factory.heard(reply[1])
        elif self.replyQueue.waiting:  # the reply to AUTH
            self.replyQueue.put(reply)
        elif isinstance(reply, Exception) and word_of(reply) != "NOPERM":  # without permission we only poll
            self.transport.abortConnection()
        else:
            self._of_use = True


class ListenerFactory(Factory):
    """Makes the Listener. `channels` are those that are wanted now."""

    noisy = False

    def __init__(self, clock: IReactorTime, url: RedisURL) -> None:
        self.clock = clock
        self.url = url
        self.channels: set[bytes] = set()
        self.listener: Listener | None = None
        self.heard: Callable[[bytes], None] = lambda channel: None
        self.told: Callable[[bytes], None] = lambda channel: None

    def buildProtocol(self, addr: IAddress | None) -> Listener:
        """A Listener that reads and writes bytes."""
        listener = Listener(charset=None, convertNumbers=False)
        listener.factory = self
        return listener

    def subscribe(self, channel: bytes) -> None:
        """Receive `channel` from now on."""
        self.channels.add(channel)
        if self.listener is not None:
            self.listener.transport.write(_command(b"SUBSCRIBE", channel))

    def unsubscribe(self, channel: bytes) -> None:
        """Stop receiving `channel`."""
        self.channels.discard(channel)
        if self.listener is not None:
            self.listener.transport.write(_command(b"UNSUBSCRIBE", channel))


def _command(*parts: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(parts), b"".join(bulk(part) for part in parts))
