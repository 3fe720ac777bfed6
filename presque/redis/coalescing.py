"""Calls that are made in one turn of the reactor, and differ in one argument, become one script call.

A script costs Redis some 25 µs, most of it the same for one job and for ten; so do its lines in the append-only file.
Under load a turn of the reactor brings requests of many clients. Nothing waits for others: what one turn has brought is
sent at its end, together with everything else that is to be written.
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
    """Collects calls until the end of the turn. `run(shared, own)` carries out one or several; it fires with their
    results, in order, of which those that are exceptions make their call fail; or it fails, and all of them do.

    A call fails with Overloaded while MOST_WAITING others are unanswered.
    """

    def __init__(
        self, clock: IReactorTime, run: Callable[[Shared, Sequence[Own]], Deferred[list[Result | Exception]]]
    ) -> None:
        self._clock = clock
        self._run = run
        self._collected: dict[Shared, _Group[Own, Result]] = {}
        self._unanswered = 0

    def call(self, shared: Shared, own: Own, size: int = 0) -> Deferred[Result]:
        """Fires with the result for `own`, whose size is given in bytes."""
        if self._unanswered >= MOST_WAITING:
            return fail(Overloaded("commands"))
        self._unanswered += 1
        group = self._collected.get(shared)
        if group is None:
            if not self._collected:
                self._clock.callLater(0, self._end_turn)
            group = self._collected[shared] = _Group()
        called: Deferred[Result] = Deferred()
        group.own.append(own)
        group.called.append(called)
        group.size += size
        if len(group.own) >= MOST_TOGETHER or group.size >= MOST_BYTES:
            self._collected[shared] = _Group()  # stays, so that there is one turn's end
            self._send(shared, group)
        return called

    def _end_turn(self) -> None:
        collected, self._collected = self._collected, {}
        for shared, group in collected.items():
            if group.own:
                self._send(shared, group)

    def _send(self, shared: Shared, group: _Group[Own, Result]) -> None:
        maybeDeferred(self._run, shared, group.own).addBoth(self._answered, group).addCallbacks(
            group.answer, group.fail
        )

    def _answered(self, results: list[Result | Exception], group: _Group[Own, Result]) -> list[Result | Exception]:
        self._unanswered -= len(group.own)
        return results


class _Group(Generic[Own, Result]):
    """Calls that are carried out together."""

    __slots__ = ("called", "own", "size")

    def __init__(self) -> None:
        self.own: list[Own] = []
        self.called: list[Deferred[Result]] = []
        self.size = 0

    def answer(self, results: list[Result | Exception]) -> None:
        for called, result in zip(self.called, results, strict=True):
            if isinstance(result, Exception):
                called.errback(result)
            else:
                called.callback(result)

    def fail(self, why: Failure) -> None:
        for called in self.called:
            called.errback(why.value)


def error_of(failure: Failure) -> Exception:
    """The exception of a failure."""
    error = failure.value
    if not isinstance(error, Exception):
        failure.raiseException()
    return error


def and_then(
    results: list[Result | Exception], rest: Deferred[list[Result | Exception]], count: int
) -> Deferred[list[Result | Exception]]:
    """Fires with these results and those of the rest, which are `count`. If the rest fails, these hold nevertheless."""

    def failed(why: Failure) -> list[Result | Exception]:
        return [error_of(why)] * count

    return rest.addErrback(failed).addCallback(lambda others: results + others)


def settled(asked: Sequence[Deferred[Result]]) -> Deferred[list[Result | Exception]]:
    """Fires with the result of each, or the exception with which it failed. Never fails."""

    def outcomes(found: list[tuple[bool, Any]]) -> list[Result | Exception]:
        return [result if is_result else error_of(result) for is_result, result in found]

    return DeferredList(asked, consumeErrors=True).addCallback(outcomes)
