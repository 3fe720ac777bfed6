"""What lies between a daemon and its Redis: it delays, swallows, or answers in Redis' place."""

from collections import deque

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol


class Link:
    """A port that passes everything on to the Redis at a Unix socket, `delay` seconds later each way. Connections that
    have said what `is_dumb` is true of pass on nothing more.
    """

    def __init__(self, path, delay=0.0):
        self.path, self.delay, self.connections = path, delay, []
        self.is_dumb = lambda connection: False

    async def open(self):
        factory = Factory.forProtocol(_Near)
        factory.noisy, factory.link = False, self
        self.port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
        self.url = f"redis://127.0.0.1:{self.port.getHost().port}"
        return self

    async def close(self):
        await maybeDeferred(self.port.stopListening)
        for connection in self.connections:
            connection.transport.abortConnection()

    def lag(self, connection, data, queue):
        """Pass `data` on to the transport of `connection()`, in order, when its time has come."""
        queue.append(data)

        def due():
            now, other = queue.popleft(), connection()
            if other is not None:
                other.write(now)

        reactor.callLater(self.delay, due)


class _Near(Protocol):
    """The daemon's side."""

    def connectionMade(self):
        self.said, self.far, self.waiting, self.there, self.back = b"", None, [], deque(), deque()
        self.link = self.factory.link
        self.link.connections.append(self)
        factory = Factory.forProtocol(_Far)
        factory.noisy, factory.near = False, self
        UNIXClientEndpoint(reactor, self.link.path).connect(factory).addCallbacks(self.reached, self.unreached)

    def reached(self, far):
        self.far = far
        waiting, self.waiting = self.waiting, []
        for data in waiting:
            self.link.lag(lambda: self.far.transport, data, self.there)

    def unreached(self, failure):
        self.transport.abortConnection()

    def dataReceived(self, data):
        self.said += data
        if self.link.is_dumb(self):
            return
        if self.far is None:
            self.waiting.append(data)
        else:
            self.link.lag(lambda: self.far.transport, data, self.there)

    def connectionLost(self, reason):
        if self.far is not None:
            self.far.transport.loseConnection()


class _Far(Protocol):
    """Redis' side."""

    def dataReceived(self, data):
        near = self.factory.near
        if not near.link.is_dumb(near):
            near.link.lag(lambda: near.transport, data, near.back)

    def connectionLost(self, reason):
        self.factory.near.transport.loseConnection()


class Closer(Protocol):
    """A Redis that lets in and closes at once; its factory counts."""

    def connectionMade(self):
        self.factory.accepted += 1
        self.transport.loseConnection()
