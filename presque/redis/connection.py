"""The connection to Redis. Apart from the listener, this is the only module that imports txredisapi.

Guarantees, whatever Redis or the network do:

- bytes go in and bytes come out; nothing is decoded or converted to a number;
- a command is sent at once on a connection that has completed its handshake; without one, StoreUnavailable at once;
- nothing runs late: each script gets a deadline (by the Redis clock) and refuses to run after it. If that clock was
  stepped meanwhile, its time is read and the script sent again, within the same time limit;
- a connection that stops answering is dropped after TIME_LIMIT; everything sent on it is then OutcomeUnknown;
- a script that Redis has forgotten is sent again in full, once: NOSCRIPT means that nothing ran;
- an unexpected error, for example from a key of a wrong type, is logged once, and the call is OutcomeUnknown.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any

import hiredis
import txredisapi
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks
from twisted.logger import Logger
from twisted.python.failure import Failure

from presque.errors import OutcomeUnknown, StoreFull, StoreUnavailable, StoreUnfit
from presque.redis.url import tls_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from twisted.internet.interfaces import IReactorTime

    from presque.redis.scripts import Script, Scripts
    from presque.redis.url import RedisURL

TIME_LIMIT = 2.0  # seconds in which Redis must answer
QUIET = 60.0  # seconds after which a repeated unexpected error is logged again
STEP = 1.0  # seconds; when the Redis clock moves by more against ours, it was stepped

# First words of errors after which the connection is useless, because this server cannot serve us for now.
_LEAVE = frozenset(["READONLY", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "LOADING"])
_UNAVAILABLE = _LEAVE | {"BUSY", "MISCONF", "TRYAGAIN", "NOREPLICAS", "NOPERM"}

_INNER_ERROR = re.compile(r"@user_script: \d+: -([A-Z]+) ")

Reply = Any  # bytes, int, None, or a list of these
Timings = dict[str, list[float]]  # script -> how many replies, and how long they took (seconds), round trip included


def bulk(value: bytes) -> bytes:
    """`value` as a Redis bulk string, a part of a command."""
    return b"$%d\r\n%b\r\n" % (len(value), value)


class Call:
    """A script on its way to Redis. It must refuse to run after `until` (epoch ms, by the Redis clock), or if that is
    None, after its `deadline`.
    """

    __slots__ = ("answered", "args", "count", "names", "script", "sent_at", "until")

    def __init__(
        self, script: Script, names: bytes, count: int, args: bytes, until: bytes | None, sent_at: float
    ) -> None:
        self.script = script
        self.names = names  # its keys, and the arguments that always follow them, encoded
        self.count = count  # parts of the command
        self.args = args
        self.until = until
        self.sent_at = sent_at  # seconds, by our clock
        self.answered: Deferred[Reply] = Deferred()

    @property
    def deadline(self) -> float:
        """When it has taken too long (seconds, by our clock)."""
        return self.sent_at + TIME_LIMIT


class Replies:
    """The calls that wait for replies on a connection, in the order of their commands: scripts, and Deferreds of
    commands of txredisapi. It replaces txredisapi's queue, which shifts all entries at each reply, and searches them
    when a command is cancelled.
    """

    def __init__(self, failed: Callable[[Call, Exception], None]) -> None:
        self.waiting: deque[Call | Deferred[Reply]] = deque()
        self.now = 0.0  # seconds, by our clock, when replies arrived last
        self._failed = failed  # called with scripts whose reply is an error
        self.timings: Timings = {}

    def get(self) -> Deferred[Reply]:
        """Fires with the reply to the command being sent."""
        reply: Deferred[Reply] = Deferred()
        self.waiting.append(reply)
        return reply

    def put(self, reply: Reply) -> None:
        """The next reply has arrived."""
        waiter = self.waiting.popleft()
        if not isinstance(waiter, Call):
            waiter.callback(reply)
        elif isinstance(reply, Exception):
            self._failed(waiter, reply)
        else:
            timing = self.timings[waiter.script.name]
            timing[0] += 1
            timing[1] += self.now - waiter.sent_at
            waiter.answered.callback(reply)


class Connection(txredisapi.RedisProtocol):  # type: ignore[misc]  # txredisapi has no types
    """One connection. It joins the pool once Redis has accepted us, is a master, and has loaded the scripts."""

    factory: ConnectionFactory
    _log = Logger()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.replyQueue = Replies(self._failed)
        self._parser = hiredis.Reader(protocolError=txredisapi.InvalidData, replyError=txredisapi.ResponseError)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Take replies as they are; txredisapi would search them for numbers, text and transactions."""
        self._parser.feed(data)
        replies = self.replyQueue
        replies.now = self.factory.clock.seconds()
        while (reply := self._parser.gets()) is not False:
            if not replies.waiting:  # an unrequested reply: replies can no longer be assigned to commands
                self.transport.abortConnection()
                return
            replies.put(reply)

    def connectionMade(self) -> None:
        """Perform the handshake before the connection may be used; on failure just drop it, and it is retried."""
        if hasattr(self.transport, "setTcpNoDelay"):
            self.transport.setTcpNoDelay(True)
            self.transport.setTcpKeepAlive(True)
        self.ended: Deferred[bool] = Deferred()  # fires when the connection is lost, with whether it was useful
        self.replyQueue.timings = self.factory.timings
        self.asked_at: float | None = None
        self.offset: float | None = None  # the Redis clock minus ours, seconds, once known
        self._refused_as_late: list[Call] = []
        self._of_use = False
        self._refused_over_tls = ""  # why there is no TLS with this server
        self._clock = self.factory.clock
        self._overdue = self._clock.callLater(TIME_LIMIT, self.transport.abortConnection)
        greeted: Deferred[None] = self._shake_hands()
        greeted.addBoth(self._greeted)

    @inlineCallbacks
    def _shake_hands(self) -> Generator[Deferred[Any], Any, None]:
        """Send everything together, because Redis may be far away; the checks follow once it has accepted us."""
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

    def wait_longer(self) -> None:
        """Give the handshake TIME_LIMIT from now on: a check that takes long calls this as long as Redis answers."""
        if self._overdue.active():
            self._overdue.reset(TIME_LIMIT)

    def _greeted(self, result: object) -> None:
        if self._overdue.active():
            self._overdue.cancel()
        if isinstance(result, Failure):
            why = self._refused_over_tls
            self.factory.refused(Failure(StoreUnavailable(why)) if why else result)
            self.transport.abortConnection()
        else:
            self._of_use = True
            txredisapi.RedisProtocol.connectionMade(self)
            self.factory.greeted()

    def connectionLost(self, why: Failure) -> None:
        """The connection is lost: tell the waiting calls, and the service that reconnects."""
        self._refused_over_tls = tls_refusal(why.value)
        super().connectionLost(why)
        self.ended.callback(self._of_use)

    def ask_time(self) -> Deferred[None]:
        """Ask Redis for its time, which updates `offset` and proves that it answers."""
        self.asked_at = self._clock.seconds()
        asked: Deferred[Any] = self.execute_command("TIME")
        return asked.addCallback(self._told_time)

    def _told_time(self, time: list[bytes]) -> None:
        self.asked_at = None
        before, self.offset = self.offset, int(time[0]) + int(time[1]) / 1e6 - self._clock.seconds()
        if before is not None and self.offset - before > STEP:
            self.factory.stepped(self.offset - before)

    def beat(self) -> None:
        """Drop the connection when an answer is overdue, else ask again."""
        if self.asked_at is None:
            self.ask_time().addErrback(lambda failure: None)  # lost: a new connection will be made
        elif self._clock.seconds() - self.asked_at > TIME_LIMIT:
            self._log.warn("Redis has not answered for {limit} s: dropping the connection", limit=TIME_LIMIT)
            self.transport.abortConnection()

    @property
    def owed(self) -> int:
        """How many replies are outstanding."""
        return len(self.replyQueue.waiting)

    def run(self, script: Script, names: bytes, count: int, args: bytes, until: bytes | None) -> Deferred[Reply]:
        """Send a script. `names` are its keys and `args` the arguments after the deadline, both encoded; `count` is how
        many they are together. The deadline is `until` (epoch ms), or TIME_LIMIT from now. Fires with the reply.
        """
        call = Call(script, names, 4 + count, args, until, self._clock.seconds())
        self._send(call, script.head)
        return call.answered

    def _send(self, call: Call, head: bytes) -> None:
        until = call.until or b"%d" % ((call.deadline + (self.offset or 0.0)) * 1000)
        self.transport.write(
            b"*%d\r\n%b%b$%d\r\n%b\r\n%b" % (call.count, head, call.names, len(until), until, call.args)
        )
        self.replyQueue.waiting.append(call)

    def _failed(self, call: Call, error: Exception) -> None:
        """A script was refused, or the connection is lost. If the script did not run, resend it while time is left."""
        word = word_of(error)
        if word == "NOSCRIPT" and self.connected:
            script = call.script
            self._send(call, b"$4\r\nEVAL\r\n%b%b" % (bulk(script.source), bulk(b"%d" % len(script.keys))))
        elif word == "LATE" and call.until is None and self.connected and self._clock.seconds() < call.deadline:
            self._ask_time_for(call)
        else:
            call.answered.errback(self._meant(word, error))

    def _ask_time_for(self, call: Call) -> None:
        """Time is left, so the Redis clock was stepped: ask for its time, once for all refused scripts."""
        self._refused_as_late.append(call)
        if len(self._refused_as_late) == 1:
            self.ask_time().addBoth(self._told_again)

    def _told_again(self, result: object) -> None:
        refused, self._refused_as_late = self._refused_as_late, []
        for call in refused:
            if isinstance(result, Failure):
                call.answered.errback(StoreUnavailable())  # the script did not run
            else:
                self._send(call, call.script.head)

    def _meant(self, word: str, error: Exception) -> Exception:
        """The exception for the caller that corresponds to an error of Redis."""
        if isinstance(error, txredisapi.ConnectionError):
            return OutcomeUnknown()
        if word == "OOM" or (word == "MISCONF" and "No space left" in str(error)):
            return StoreFull()
        if word == "LATE":
            return StoreUnavailable()
        if word in _LEAVE:
            self.transport.abortConnection()
        if word in _UNAVAILABLE:
            return StoreUnavailable(str(error))
        self.factory.puzzled(error)
        return OutcomeUnknown()


def gather(asked: Iterable[Deferred[Any]]) -> Deferred[list[Any]]:
    """Fires with all results, in order; fails with the first failure."""

    def first(failure: Any) -> Failure:
        cause: Failure = failure.value.subFailure
        return cause

    return gatherResults(list(asked), consumeErrors=True).addErrback(first)


def word_of(error: Exception) -> str:
    """The error code, the first word of an error; inside a script, Redis 6.2 puts it after other text."""
    inner = _INNER_ERROR.search(str(error))
    return inner[1] if inner else str(error).partition(" ")[0]


class ConnectionFactory(txredisapi.RedisFactory):  # type: ignore[misc]  # txredisapi has no types
    """Makes the connection to one Redis, and remembers why there is none."""

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
        check: Callable[[Connection], Deferred[None]],
    ) -> None:
        # Without password and database, after whose failure txredisapi would give up for good. We send them ourselves.
        super().__init__(str(url), None, 1, isLazy=True, charset=None, convertNumbers=False)
        self.clock = clock
        self.url = url
        self.scripts = scripts
        self.check = check
        self.timings: Timings = {name: [0, 0.0] for name in scripts}
        self.connections_made = 0  # how often a connection was established
        self.trouble = ""  # why there is no connection, as last observed
        self._told: set[str] = set()  # reasons logged since the last connection
        self.was_up = False
        self._puzzles: dict[str, float] = {}  # unexpected errors -> when each last occurred
        self.on_unfit: Callable[[StoreUnfit], None] = lambda reason: None  # called when this Redis can never be used
        self.stepped: Callable[[float], None] = lambda seconds: None  # called when the Redis clock was set forward
        self.changed: Callable[[], object] = lambda: None  # called when a connection is established or lost

    @property
    def connection(self) -> Connection | None:
        """The connection, once Redis has accepted us."""
        return self.pool[0] if self.pool else None

    def script_seconds(self) -> dict[str, tuple[int, float]]:
        """How often each script was answered, and how long that took in all (seconds), round trips included."""
        return {name: (int(count), seconds) for name, (count, seconds) in self.timings.items() if count}

    def addConnection(self, conn: Connection) -> None:
        """A connection is usable from now on."""
        super().addConnection(conn)
        self.connections_made += 1
        self.changed()

    def delConnection(self, conn: Connection) -> None:
        """A usable connection is lost."""
        super().delConnection(conn)
        self.changed()

    def refused(self, failure: Failure) -> None:
        """Redis did not accept us: remember why, and log each reason once."""
        reason = failure.value
        if isinstance(reason, StoreUnfit):
            self.on_unfit(reason)
        self.trouble = f"{type(reason).__name__}: {reason}"
        if self.trouble not in self._told:  # reasons may alternate
            self._told.add(self.trouble)
            tell = self._log.warn if self.was_up else self._log.info  # Redis may still be starting
            tell("cannot use {url}, retrying: {trouble}", url=str(self.url), trouble=self.trouble)

    def puzzled(self, error: Exception) -> None:
        """Log an unexpected error of Redis, but not again while it keeps recurring."""
        now, text = self.clock.seconds(), str(error)
        self._puzzles = {each: at for each, at in self._puzzles.items() if now - at < QUIET}
        if text not in self._puzzles:
            self._log.failure("a script failed in Redis and may have been carried out in part", Failure(error))
        self._puzzles[text] = now

    def greeted(self) -> None:
        """Redis has accepted us."""
        self.was_up = True
        self._told.clear()
        if self.trouble:
            self.trouble = ""
            self._log.info("{url} is available again", url=str(self.url))
