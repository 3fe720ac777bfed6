"""SIGTERM under load: what was accepted is answered, and the daemon ends in time."""

import signal
import socket
import time

import pytest
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, eventually, raw_connection
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.testing import MemoryReactorClock
from twisted.internet.threads import deferToThread

from presque.process.root import Root

JOB = b'{"key":"value"}'


@awaiting
async def test_no_accepted_request_is_cut_and_no_job_is_lost_when_the_daemon_stops(processes, redises):
    redis = redises()
    acknowledged = 0
    for _ in range(5):
        daemon = processes("--redis", redis.url)
        port = await daemon.listening
        stopped, answered = [], []

        async def produce(connection, daemon=daemon, stopped=stopped, answered=answered):
            """Insert over one connection until the daemon says that it closes it; every request gets its answer."""
            nonlocal acknowledged
            head = b"POST /q/foo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
            while True:
                connection.received = b""
                connection.transport.write(head)
                answer = await connection.until(b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 201 "), answer
                acknowledged += 1
                answered.append(1)
                if b"Connection: close" in answer:
                    await connection.end()
                    return

        connections = await gatherResults([raw_connection(port) for _ in range(8)])
        producing = [Deferred.fromCoroutine(produce(connection)) for connection in connections]

        async def under_load(answered=answered):
            return len(answered) > 50

        await eventually(under_load, "some answers")
        began = time.monotonic()
        daemon.transport.signalProcess(signal.SIGTERM)
        await gatherResults(producing)
        await daemon.end()
        assert time.monotonic() - began < 5
        assert "Traceback" not in daemon.log, daemon.log
    assert redis.command("LLEN", "presque:{0}:foo:ready") == acknowledged


@awaiting
async def test_an_idle_connection_does_not_hold_the_daemon_up(processes, redises):
    daemon = processes("--redis", redises().url)
    client = Client(await daemon.listening)
    await client.post("/q/foo", JOB)
    connection = await raw_connection(daemon.port)
    began = time.monotonic()
    await daemon.stop()
    assert time.monotonic() - began < 5
    await connection.end()
    await client.close()


@awaiting
async def test_what_was_taken_and_not_delivered_is_given_back(processes, redises):
    redis = redises()
    daemon = processes("--redis", redis.url)
    client = Client(await daemon.listening)
    for _ in range(12):
        assert (await client.post("/q/foo", b'{"t":"' + b"x" * 900_000 + b'"}')).status == 201
    await client.close()
    connection = await raw_connection(daemon.port)
    connection.transport.pauseProducing()
    connection.transport.write(b"GET /qb/foo?batch_size=9 HTTP/1.1\r\nHost: x\r\n\r\n")

    async def taken():
        return len(redis.taken("foo")) == 9

    await eventually(taken, "the take")
    stopping = daemon.stop()
    connection.transport.abortConnection()
    await stopping
    assert redis.command("ZCARD", "presque:{0}:foo:front") == 9
    assert redis.command("LLEN", "presque:{0}:foo:ready") == 3


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["one process", "several"])
@awaiting
async def test_several_signals_in_a_row_stop_it_once(processes, redises, flags):
    redis = redises()
    for order in ("TERM TERM", "INT TERM TERM", "TERM HUP INT TERM"):
        daemon = processes("--redis", redis.url, *flags)
        await daemon.listening
        for name in order.split():
            daemon.transport.signalProcess(name)
        await daemon.stop()
        assert "Server Shut Down" in daemon.log
        assert "Traceback" not in daemon.log, order


class SignalledReactor(MemoryReactorClock):
    """Its handler of SIGTERM does as Twisted's, which stops the reactor in the next turn."""

    def __init__(self):
        super().__init__()
        self.running, self.stops, self.log = True, 0, []

    def callFromThread(self, function, *args):
        self.callLater(0, function, *args)

    def stop(self):
        assert self.running, "twisted raises ReactorNotRunning"
        self.running, self.stops = False, self.stops + 1


class Program(Root):
    """A subclass ends the program as the service and the supervisor do."""

    def must_end(self):
        self._end("it must")


@pytest.mark.parametrize("order", ["signal, end", "end, signal", "signal, signal, end", "end, end, signal"])
def test_a_program_that_ends_by_itself_while_a_signal_comes_stops_once(order, monkeypatch):
    monkeypatch.setattr("atexit.register", lambda *_: None)
    reactor = SignalledReactor()
    program = Program(reactor)
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGTERM, lambda *_: reactor.callFromThread(reactor.stop))
        program.running = True
        program.hear_signals()
        for hook, *_ in reactor.whenRunningHooks:
            hook()
        for event in order.split(", "):
            signal.raise_signal(signal.SIGTERM) if event == "signal" else program.must_end()
        reactor.advance(1)
        assert reactor.stops == 1
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT, signal.SIGHUP), before, strict=True):
            signal.signal(number, handler)


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["one process", "several"])
@awaiting
async def test_a_unix_socket_whose_file_is_gone_keeps_nobody_from_stopping_in_order(
    processes, redises, tmp_path, flags
):
    redis, path = redises(), tmp_path / "presque.sock"
    daemon = processes("--redis", redis.url, *flags, listen=f"unix:{path}")
    daemon.listening.addErrback(lambda _: None)  # there is no port

    async def listens():
        return path.exists()

    await eventually(listens, "the socket")
    waiting = deferToThread(ask_and_read, path, b"GET /q/foo?wait=30 HTTP/1.1\r\nHost: x\r\n\r\n")

    async def waits():
        return redis.command("EXISTS", "presque:{0}:foo:waiting") == 1

    await eventually(waits, "the consumer")
    path.unlink()
    await daemon.stop()
    assert (await waiting).startswith(b"HTTP/1.1 404 ")
    assert "Traceback" not in daemon.log, daemon.log


def ask_and_read(path, request):
    """Everything that comes back until the connection ends."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))
