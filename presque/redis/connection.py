"""The connection to Redis. The only module that imports txredisapi.

What holds here, whatever Redis or the network do:

- bytes go in and bytes come out, nothing is decoded or taken for a number;
- a command is sent at once on a connection that has shaken hands; where there is none, StoreUnavailable at once;
- nothing runs late: each script is told until when it may run (by Redis' own clock) and refuses after that. Where that
  clock was stepped meanwhile, it is asked for its time and the script sent again, within the same time limit;
- a connection that stops answering is dropped after TIME_LIMIT, whatever was sent on it is then OutcomeUnknown;
- a script that Redis has forgotten is sent again whole, once: NOSCRIPT means that nothing ran;
- an error that nobody expects, as from a key of a wrong type, is logged once, and what was asked is OutcomeUnknown.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

import hiredis
import txredisapi
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from presque.errors import OutcomeUnknown, StoreFull, StoreUnavailable, StoreUnfit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from twisted.internet.interfaces import IAddress, IReactorTime

    from presque.redis.scripts import Script, Scripts
    from presque.redis.url import RedisURL

TIME_LIMIT = 2.0  # seconds in which Redis has to answer
QUIET = 60.0  # seconds without an unexpected error until the same is logged again
STEP = 1.0  # seconds by which Redis' clock must move against ours for it to have been stepped

# The first words of those errors after which the connection is of no use: this server will not do our work for now.
_LEAVE = frozenset(["READONLY", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "LOADING"])
_UNAVAILABLE = _LEAVE | {"BUSY", "MISCONF", "TRYAGAIN", "NOREPLICAS", "NOPERM"}

_INNER_ERROR = re.compile(r"@user_script: \d+: -([A-Z]+) ")

Reply = Any  # bytes, int, None, or a list of these: what Redis answered


def bulk(value: bytes) -> bytes:
    """`value` as a part of a Redis command."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


class Replies:
    """Who waits for the replies on a connection, in the order of their commands. It stands in for txredisapi's queue,
    which moves all who wait at each reply, and looks for one of them when a command is cancelled.
    """

    def __init__(self) -> None:
        self.waiting: deque[Deferred[Reply]] = deque()

    def get(self) -> Deferred[Reply]:
        """Fires with the reply to the command that is sent now."""
        reply: Deferred[Reply] = Deferred()
        self.waiting.append(reply)
        return reply

    def put(self, reply: Reply) -> None:
        """The next reply has come."""
        self.waiting.popleft().callback(reply)


class Connection(txredisapi.RedisProtocol):  # type: ignore[misc]  # txredisapi has no types
    """One connection. It joins the pool once Redis has let us in, is a master, and knows the scripts."""

    factory: ConnectionFactory
    _log = Logger()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.replyQueue = Replies()
        self._parser = hiredis.Reader(protocolError=txredisapi.InvalidData, replyError=txredisapi.ResponseError)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Take replies as they are: txredisapi looks for numbers, texts and transactions in them."""
        self._parser.feed(data)
        while (reply := self._parser.gets()) is not False:
            if not self.replyQueue.waiting:  # nobody has asked: it cannot be told any more what belongs to what
                self.transport.abortConnection()
                return
            self.replyQueue.put(reply)

    def connectionMade(self) -> None:
        """Shake hands before anybody else may use the connection; on failure only drop it: it is tried again."""
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self.ended: Deferred[bool] = Deferred()  # fires when it is lost, with whether it was of use
        self.asked_at: float | None = None
        self.offset: float | None = None  # Redis' clock less ours, seconds, once it is known
        self._refused_as_late: list[Deferred[None]] = []
        self._of_use = False
        self._clock = self.factory.clock
        overdue = self._clock.callLater(TIME_LIMIT, self.transport.abortConnection)
        greeted: Deferred[None] = self._shake_hands()
        greeted.addBoth(self._greeted, overdue)

    @inlineCallbacks
    def _shake_hands(self) -> Generator[Deferred[Any], Any, None]:
        """Everything is sent together, for a Redis that is far away; the checks follow when it has let us in."""
        url = self.factory.url
        asked = []
        if url.password is not None:
            asked.append(self.execute_command("AUTH", *([url.user] if url.user else []), url.password))
        if url.database:
            asked.append(self.execute_command("SELECT", url.database))
        asked.append(self.execute_command("ROLE"))
        asked += [self.execute_command("SCRIPT", "LOAD", script.source) for script in self.factory.scripts.values()]
        asked.append(self.ask_time())
        role, *_ = (yield gather(asked))[len(asked) - len(self.factory.scripts) - 2 :]
        if role[0] != b"master":
            raise StoreUnavailable(f"it is a {role[0].decode()}")
        yield self.factory.check(self)

    def _greeted(self, result: object, overdue: Any) -> None:
        if overdue.active():
            overdue.cancel()
        if isinstance(result, Failure):
            self.factory.refused(result)
            self.transport.abortConnection()
        else:
            self._of_use = True
            txredisapi.RedisProtocol.connectionMade(self)
            self.factory.greeted()

    def connectionLost(self, why: Failure) -> None:
        """The connection is gone: who waits for a reply learns it, and who keeps us connected."""
        super().connectionLost(why)
        self.ended.callback(self._of_use)

    def ask_time(self) -> Deferred[None]:
        """Ask Redis for its time: keeps `offset` and shows that it answers."""
        self.asked_at = self._clock.seconds()
        asked: Deferred[Any] = self.execute_command("TIME")
        return asked.addCallback(self._told_time)

    def _told_time(self, time: list[bytes]) -> None:
        self.asked_at = None
        before, self.offset = self.offset, int(time[0]) + int(time[1]) / 1e6 - self._clock.seconds()
        if before is not None and self.offset - before > STEP:
            self.factory.stepped(self.offset - before)

    def _ask_time_again(self) -> Deferred[None]:
        """Fires when Redis has told its time after now; those who ask at once share the question."""
        told: Deferred[None] = Deferred()
        self._refused_as_late.append(told)
        if len(self._refused_as_late) == 1:
            self.ask_time().addBoth(self._told_again)
        return told

    def _told_again(self, result: object) -> None:
        waiting, self._refused_as_late = self._refused_as_late, []
        for told in waiting:
            if isinstance(result, Failure):
                told.errback(StoreUnavailable())  # what was refused did not run
            else:
                told.callback(None)

    def beat(self) -> None:
        """Drop the connection when it owes us an answer for too long, else ask again."""
        if self.asked_at is None:
            self.ask_time().addErrback(lambda failure: None)  # lost: it is connected again
        elif self._clock.seconds() - self.asked_at > TIME_LIMIT:
            self._log.warn("Redis has not answered for {limit} s: dropping the connection", limit=TIME_LIMIT)
            self.transport.abortConnection()

    def run(self, script: Script, names: bytes, args: Iterable[bytes], until: bytes | None) -> Deferred[Reply]:
        """Send one script; `names` are its keys, encoded, and `until` the moment (epoch ms) from which it must refuse;
        without one that is TIME_LIMIT from now.
        """
        parts = [b"$%d\r\n%b\r\n" % (len(arg), arg) for arg in args]
        count, tail = 4 + len(script.keys) + len(parts), b"".join(parts)
        if until is not None:
            return self._send(script, count, b"%b$%d\r\n%b\r\n%b" % (names, len(until), until, tail))
        deadline = self._clock.seconds() + TIME_LIMIT
        sent = self._send_until(deadline, script, count, names, tail)
        return sent.addErrback(self._late, deadline, script, count, names, tail)

    def _send_until(self, deadline: float, script: Script, count: int, names: bytes, tail: bytes) -> Deferred[Reply]:
        until = b"%d" % ((deadline + (self.offset or 0.0)) * 1000)
        return self._send(script, count, b"%b$%d\r\n%b\r\n%b" % (names, len(until), until, tail))

    def _late(self, failure: Failure, deadline: float, *call: Any) -> Failure | Deferred[Reply]:
        """It was refused as late and did not run: while there is time, Redis' clock was stepped, so send it again."""
        if not failure.check(Late) or self._clock.seconds() >= deadline or not self.connected:
            return failure
        sent = self._ask_time_again().addCallback(lambda _: self._send_until(deadline, *call))
        return sent.addErrback(self._late, deadline, *call)

    def _send(self, script: Script, count: int, tail: bytes) -> Deferred[Reply]:
        self.transport.write(b"*%d\r\n%b%b" % (count, script.head, tail))
        answered: Deferred[Reply] = self.replyQueue.get()
        return answered.addCallback(self._interpret, script, count, tail)

    def _interpret(self, reply: Reply, script: Script, count: int, tail: bytes) -> Reply:
        if not isinstance(reply, Exception):
            return reply
        if _word(reply) == "NOSCRIPT" and self.connected:
            numkeys = b"%d" % len(script.keys)
            head = b"*%d\r\n$4\r\nEVAL\r\n%b%b" % (count, bulk(script.source), bulk(numkeys))
            self.transport.write(head + tail)
            return self.replyQueue.get().addCallback(self._raise_error)
        return self._raise_error(reply)

    def _raise_error(self, reply: Reply) -> Reply:
        if not isinstance(reply, Exception):
            return reply
        if isinstance(reply, txredisapi.ConnectionError):
            raise OutcomeUnknown
        word = _word(reply)
        if word == "OOM" or (word == "MISCONF" and "No space left" in str(reply)):
            raise StoreFull
        if word == "LATE":
            raise Late
        if word in _LEAVE:
            self.transport.abortConnection()
        if word in _UNAVAILABLE:
            raise StoreUnavailable(str(reply))
        self.factory.puzzled(reply)
        raise OutcomeUnknown


class Late(StoreUnavailable):
    """The script was refused because its time was over: nothing was done."""


def gather(asked: Iterable[Deferred[Any]]) -> Deferred[list[Any]]:
    """All results, in order; or, once one has failed, the first failure as it is."""

    def first(failure: Any) -> Failure:
        cause: Failure = failure.value.subFailure
        return cause

    return gatherResults(list(asked), consumeErrors=True).addErrback(first)


def _word(error: Exception) -> str:
    """The word by which Redis tells its errors apart; 6.2 puts that of a command inside a script behind others."""
    inner = _INNER_ERROR.search(str(error))
    return inner[1] if inner else str(error).partition(" ")[0]


class ConnectionFactory(txredisapi.RedisFactory):  # type: ignore[misc]  # txredisapi has no types
    """Keeps `size` connections to one Redis, and the reason why there are none."""

    protocol = Connection
    initialDelay = 0.05  # seconds
    maxDelay = 1.0  # seconds
    factor = 2

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        url: RedisURL,
        scripts: Scripts,
        size: int,
        check: Callable[[Connection], Deferred[None]],
    ) -> None:
        # Neither password nor database: on their failure txredisapi would stop trying for good. We send them ourselves.
        super().__init__(str(url), None, size, isLazy=True, charset=None, convertNumbers=False)
        self.clock = clock
        self.url = url
        self.scripts = scripts
        self.check = check
        self.trouble = ""  # why there is no connection, as it was found last
        self._told: set[str] = set()  # such reasons that are in the log, since there was a connection
        self.was_up = False
        self._puzzles: dict[str, float] = {}  # errors that nobody expected -> when the last such came
        self.on_unfit: Callable[[StoreUnfit], None] = lambda reason: None  # called when it can never be used
        self.stepped: Callable[[float], None] = lambda seconds: None  # called when Redis' clock was set forward

    def refused(self, failure: Failure) -> None:
        """Note why Redis did not let us in, once a reason."""
        reason = failure.value
        if isinstance(reason, StoreUnfit):
            self.on_unfit(reason)
        self.trouble = f"{type(reason).__name__}: {reason}"
        if self.trouble not in self._told:  # they may come in turn
            self._told.add(self.trouble)
            tell = self._log.warn if self.was_up else self._log.info  # it may only be starting
            tell("cannot use {url} for now: {trouble}", url=str(self.url), trouble=self.trouble)

    def puzzled(self, error: Exception) -> None:
        """Log an error of Redis' that nobody expects, once as long as it comes again and again, among others too."""
        now, text = self.clock.seconds(), str(error)
        self._puzzles = {each: at for each, at in self._puzzles.items() if now - at < QUIET}
        if text not in self._puzzles:
            self._log.failure("Redis refused a script, which may have been carried out in part", Failure(error))
        self._puzzles[text] = now

    def greeted(self) -> None:
        """Note that Redis has let us in."""
        self.was_up = True
        self._told.clear()
        if self.trouble:
            self.trouble = ""
            self._log.info("{url} is back", url=str(self.url))


class Listener(txredisapi.SubscriberProtocol):  # type: ignore[misc]  # txredisapi has no types
    """The one connection that hears publications. After a reconnect it subscribes again to what is wanted."""

    factory: ListenerFactory
    _log = Logger()

    def connectionMade(self) -> None:
        """Let us in, then ask for every channel that somebody waits on."""
        self.ended: Deferred[bool] = Deferred()  # fires when it is lost, with whether it was of use
        self._of_use = False
        self._asked_at: float | None = None  # when we have asked for a sign of life that has not come
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
        """Drop the connection when it gives no sign of life for too long, else ask for one."""
        now = self.factory.clock.seconds()
        if self._asked_at is None:
            self._asked_at = now
            self.transport.write(_command(b"PING"))
        elif now - self._asked_at > TIME_LIMIT:
            self._log.warn("the subscribing connection has been silent for {limit} s: dropping it", limit=TIME_LIMIT)
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Forget the connection; another one is made."""
        if self.factory.listener is self:
            self.factory.listener = None
        super().connectionLost(reason)
        self.ended.callback(self._of_use)

    def replyReceived(self, reply: Reply) -> None:
        """Pass on what was published, and that a subscription has begun: both may mean a job."""
        self._asked_at = None
        if isinstance(reply, list):
            self._of_use = True
            if reply[0] == b"message":
                self.factory.told(reply[1])
            elif reply[0] == b"subscribe":
                self.factory.heard(reply[1])
        elif self.replyQueue.waiting:  # AUTH is answered
            self.replyQueue.put(reply)
        elif isinstance(reply, Exception) and _word(reply) != "NOPERM":  # else we poll
            self.transport.abortConnection()
        else:
            self._of_use = True


class ListenerFactory(Factory):
    """Makes the Listener. `channels` are those that somebody waits on now."""

    noisy = False

    def __init__(self, clock: IReactorTime, url: RedisURL) -> None:
        self.clock = clock
        self.url = url
        self.channels: set[bytes] = set()
        self.listener: Listener | None = None
        self.heard: Callable[[bytes], None] = lambda channel: None
        self.told: Callable[[bytes], None] = lambda channel: None

    def buildProtocol(self, addr: IAddress | None) -> Listener:
        """A Listener that speaks bytes."""
        listener = Listener(charset=None, convertNumbers=False)
        listener.factory = self
        return listener

    def subscribe(self, channel: bytes) -> None:
        """Hear `channel` from now on."""
        self.channels.add(channel)
        if self.listener is not None:
            self.listener.transport.write(_command(b"SUBSCRIBE", channel))

    def unsubscribe(self, channel: bytes) -> None:
        """Hear `channel` no longer."""
        self.channels.discard(channel)
        if self.listener is not None:
            self.listener.transport.write(_command(b"UNSUBSCRIBE", channel))


def _command(*parts: bytes) -> bytes:
    return b"*%d\r\n%b" % (len(parts), b"".join(bulk(part) for part in parts))
