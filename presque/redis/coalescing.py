"""Calls that are made in one turn of the reactor, and differ in one argument, become one script call.

A script costs Redis some 25 µs, most of it the same for one job and for ten; so do its lines in the append-only file.
Under load a turn of the reactor brings requests of many clients. Nothing waits for others: what one turn has brought is
sent at its end, together with everything else that is to be written. A timer for the end of the turn costs more than
it saves where calls come one by one: there a call is sent at once if no other is unanswered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twisted.internet.defer import Deferred, DeferredList, fail, maybeDeferred

from presque.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

Shared = TypeVar("Shared")  # what calls have in common that are carried out together; hashable
Own = TypeVar("Own")  # the argument of each
Result = TypeVar("Result")

MOST_TOGETHER = 64  # calls; Redis serves nobody else meanwhile
MOST_WAITING = 10_000  # unanswered calls
MOST_BYTES = 262_144  # of their arguments: a larger one delays the others


class Coalesced(Generic[Shared, Own, Result]):
    """Collects calls until the end of the turn. `run(shared, own)` carries out one or several. It fires with their
    results, in order, of which those that are exceptions make their call fail. They may be only the first, at least
    one: then the others are carried out again. Or it fails, and all of them do.

    A call fails with Overloaded while MOST_WAITING others are unanswered.
    """

    def __init__(
        self, clock: IReactorTime, run: Callable[[Shared, Sequence[Own]], Deferred[list[Result | Exception]]]
    ) -> None:
        self._clock = clock
        self._run = run
        self._collected: dict[Shared, _Group[Own, Result]] = {}
        self._unanswered = 0
        self._come_together = False  # whether the calls that were sent last came in one turn

    def call(self, shared: Shared, own: Own, size: int = 0) -> Deferred[Result]:
        """Fires with the result for `own`, whose size is given in bytes."""
        if self._unanswered >= MOST_WAITING:
            return fail(Overloaded("commands"))
        self._unanswered += 1
        if self._unanswered == 1 and not self._come_together:
            return self._send_alone(shared, own)
        group = self._collected.get(shared)
        if group is None:
            if not self._collected:
                self._clock.callLater(0, self._end_turn)
            group = self._collected[shared] = _Group()
        called = group.add(own)
        group.size += size
        if len(group.own) >= MOST_TOGETHER or group.size >= MOST_BYTES:
            self._collected[shared] = _Group()  # stays, so that there is one turn's end
            self._send(shared, group)
        return called

    def _send_alone(self, shared: Shared, own: Own) -> Deferred[Result]:
        group: _Group[Own, Result] = _Group()
        called = group.add(own)
        self._send(shared, group)
        return called

    def _end_turn(self) -> None:
        collected, self._collected = self._collected, {}
        for shared, group in collected.items():
            if group.own:
                self._send(shared, group)

    def _send(self, shared: Shared, group: _Group[Own, Result]) -> None:
        self._come_together = len(group.own) > 1
        maybeDeferred(self._run, shared, group.own).addCallbacks(
            self._answer, self._fail, callbackArgs=(shared, group), errbackArgs=(group,)
        )

    def _answer(self, results: list[Result | Exception], shared: Shared, group: _Group[Own, Result]) -> None:
        answered, rest = group.split(len(results))
        self._unanswered -= len(answered)
        if rest.own:
            self._send(shared, rest)  # before those that are answered ask for more
        for called, result in zip(answered, results, strict=True):
            if isinstance(result, Exception):
                called.errback(result)
            else:
                called.callback(result)

    def _fail(self, why: Failure, group: _Group[Own, Result]) -> None:
        self._unanswered -= len(group.called)
        for called in group.called:
            called.errback(why.value)


class _Group(Generic[Own, Result]):
    """Calls that are carried out together."""

    __slots__ = ("called", "own", "size")

    def __init__(self) -> None:
        self.own: list[Own] = []
        self.called: list[Deferred[Result]] = []
        self.size = 0

    def add(self, own: Own) -> Deferred[Result]:
        self.own.append(own)
        called: Deferred[Result] = Deferred()
        self.called.append(called)
        return called

    def split(self, count: int) -> tuple[list[Deferred[Result]], _Group[Own, Result]]:
        """The Deferreds of the first `count` calls, and the others."""
        rest: _Group[Own, Result] = _Group()
        rest.own, rest.called = self.own[count:], self.called[count:]
        return self.called[:count], rest


def settled(asked: Sequence[Deferred[Result]]) -> Deferred[list[Result | Exception]]:
    """Fires with the result of each, or the exception with which it failed. Never fails."""

    def outcomes(found: list[tuple[bool, Any]]) -> list[Result | Exception]:
        return [result if is_result else result.value for is_result, result in found]

    return DeferredList(asked, consumeErrors=True).addCallback(outcomes)
