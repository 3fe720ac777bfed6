"""Many clients in one process, over raw sockets: each asks again as soon as it is answered.

A client is a generator that yields requests as bytes and is sent the reply to each. So little is done between two
requests that a server in Python is busy long before its clients are.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.load import PATIENCE, encoded, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from tests.load import Reply

    Client = Generator[bytes, Reply, None]

SOME = 250  # connections that are opened before the server is given time to accept them


@dataclass
class Outcome:
    """What a crowd has seen."""

    seconds: float = 0.0
    answers: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)  # seconds
    cpu: float = 0.0  # of a core, that the clients themselves used

    @property
    def wrong(self) -> int:
        """Answers that were not 2xx."""
        return sum(count for status, count in self.statuses.items() if not 200 <= status < 300)


@dataclass(eq=False)
class _Connection:
    socket: socket.socket
    client: Client
    asked_at: float = 0.0
    left: bytes = b""


def crowd(port: int, clients: Iterable[Client], seconds: float) -> Outcome:
    """Run the clients, a connection each, until all have ended or the time is over. What is then still on its way is
    waited for, and not counted. A client learns that its time is over by being closed.
    """
    outcome = Outcome()
    with selectors.DefaultSelector() as selector:
        connections = [_Connection(connect(port), client) for client in clients]
        began, used = time.monotonic(), time.process_time()
        for each in connections:
            selector.register(each.socket, selectors.EVENT_READ, each)
            _ask(each, next(each.client))
        ends = began + seconds
        while selector.get_map() and time.monotonic() < ends:
            for key, _ in selector.select(max(0.0, ends - time.monotonic())):
                if not _answered(key.data, outcome):
                    selector.unregister(key.data.socket)
        outcome.seconds = time.monotonic() - began
        outcome.cpu = (time.process_time() - used) / outcome.seconds
        _let_finish(selector)
    for each in connections:
        each.client.close()
        each.socket.close()
    return outcome


def _ask(connection: _Connection, request: bytes) -> None:
    connection.asked_at = time.perf_counter()
    connection.socket.sendall(request)


def _answered(connection: _Connection, outcome: Outcome) -> bool:
    """Take what has come; whether the client goes on."""
    if not (data := connection.socket.recv(1 << 20)):
        raise OSError("the server closed a connection")
    connection.left += data
    if (found := whole(connection.left)) is None:
        return True
    reply, connection.left = found
    outcome.answers += 1
    outcome.statuses[reply.status] += 1
    outcome.latencies.append(time.perf_counter() - connection.asked_at)
    try:
        _ask(connection, connection.client.send(reply))
    except StopIteration:
        return False
    return True


def _let_finish(selector: selectors.BaseSelector) -> None:
    ends = time.monotonic() + PATIENCE
    while selector.get_map() and time.monotonic() < ends:
        for key, _ in selector.select(0.5):
            data = key.data.socket.recv(1 << 20)
            key.data.left += data
            if not data or whole(key.data.left) is not None:
                selector.unregister(key.data.socket)


def connect(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def wait_on(port: int, queues: list[str]) -> list[socket.socket]:
    """A connection for each of `queues`, which waits there for a job, up to a minute. The caller closes them."""
    waiters: list[socket.socket] = []
    for queue in queues:
        waiters.append(connect(port))
        waiters[-1].sendall(encoded("GET", f"/q/{queue}?wait=60"))
        if len(waiters) % SOME == 0:
            crowd(port, [same(encoded("GET", "/control/somewhere"), Counter(), 1)], PATIENCE)
    return waiters


def same(request: bytes, tally: Counter[str], most: int | None = None, jobs: int = 1) -> Client:
    """Sends one request again and again; counts in `tally` the jobs that it was about, where it went well."""
    while most is None or most > 0:
        reply = yield request
        tally["jobs"] += jobs * (200 <= reply.status < 300)
        most = None if most is None else most - 1


def each(requests: Iterable[bytes]) -> Client:
    """Sends each of `requests` once; several clients may share them."""
    for request in requests:  # noqa: UP028  # `yield from` would hand on replies, and close what others share
        yield request


def reserve_and_ack(
    queue: str, at_once: int, tally: Counter[str], note: Callable[[bytes], None] | None = None
) -> Client:
    """Leases jobs and acknowledges them, in turn. All jobs of one reservation have the same receipt."""
    reserve = encoded("POST", f"/v1/queues/{queue}/reservations", b'{"max":%d}' % at_once)
    while True:
        reserved = yield reserve
        ids = re.findall(rb'"id":"([^"]+)"', reserved.body)
        if not ids:
            tally["empty"] += 1
            continue
        receipt = re.search(rb'"receipt":"([^"]+)"', reserved.body)
        assert receipt
        end = b'","receipt":"%b","outcome":"ack"}' % receipt[1]
        body = b'{"settlements":[' + b",".join([b'{"id":"' + job_id + end for job_id in ids]) + b"]}"
        settled = yield encoded("POST", "/v1/settlements", body)
        acked = settled.body.count(b'"acked"')
        tally["jobs"] += acked
        tally["refused"] += len(ids) - acked


def reserve_and_ack_one(queue: str, tally: Counter[str]) -> Client:
    """Leases a job and acknowledges it, in two requests, again and again."""
    reserve = encoded("POST", f"/v1/queues/{queue}/reservations", b"{}")
    while True:
        reserved = yield reserve
        found = re.search(rb'"id":"([^"]+)"', reserved.body), re.search(rb'"receipt":"([^"]+)"', reserved.body)
        if not (found[0] and found[1]):
            tally["empty"] += 1
            continue
        acked = yield encoded("POST", f"/v1/jobs/{found[0][1].decode()}/ack", b'{"receipt":"%b"}' % found[1][1])
        tally["jobs"] += acked.status == 204
