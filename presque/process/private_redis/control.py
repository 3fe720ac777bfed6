"""Commands from us to our private server, each on a connection of its own, since there are few."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hiredis
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory, Protocol

if TYPE_CHECKING:
    from twisted.python.failure import Failure

TIME_LIMIT = 2.0  # seconds in which it must answer


class Refused(Exception):
    """The server answered with an error; the message is its text."""


class _Question(Protocol):
    transport: Any

    def __init__(self, words: tuple[str | bytes | int, ...]) -> None:
        self._words = words
        self._reader = hiredis.Reader()
        self.answer: Deferred[Any] = Deferred()

    def connectionMade(self) -> None:
        words: Any = self._words  # hiredis accepts more than its types say
        self.transport.write(hiredis.pack_command(words))

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        if (reply := self._reader.gets()) is not False and not self.answer.called:
            if isinstance(reply, hiredis.ReplyError):
                self.answer.errback(Refused(str(reply)))
            else:
                self.answer.callback(reply)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]  # as in Twisted
        if not self.answer.called:
            self.answer.errback(reason)


class _Questions(Factory):
    noisy = False

    def __init__(self, words: tuple[str | bytes | int, ...]) -> None:
        self._words = words

    def buildProtocol(self, addr: object) -> _Question:
        return _Question(self._words)


class Control:
    """Sends commands to the server at `path`. Failures raise Twisted's connection errors or Refused."""

    def __init__(self, reactor: Any, path: str) -> None:
        self._reactor = reactor
        self._endpoint = UNIXClientEndpoint(reactor, path, timeout=TIME_LIMIT)

    async def ask(self, *words: str | bytes | int) -> Any:
        """The reply to one command, in bytes."""
        question: _Question = await self._endpoint.connect(_Questions(words))
        try:
            return await question.answer.addTimeout(TIME_LIMIT, self._reactor)
        finally:
            question.transport.abortConnection()

    async def facts(self, *sections: str) -> dict[str, str]:
        """The fields of these sections of INFO."""
        found: dict[str, str] = {}
        for section in sections:
            text = (await self.ask("INFO", section)).decode(errors="replace")
            found.update(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return found
