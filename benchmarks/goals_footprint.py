"""Goals about those who wait, and about memory and CPU time."""

from __future__ import annotations

import selectors
import time
from collections import Counter
from itertools import chain, repeat
from socket import MSG_PEEK
from typing import TYPE_CHECKING

from benchmarks.bare import BODY
from benchmarks.rates import fill
from benchmarks.stage import Line, processes, quiet
from tests.crowd import connect, crowd, each, wait_on
from tests.load import PATIENCE, Client, encoded, percentile, whole
from tests.proc import allow_files, cpu_share, proportional, resident

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from benchmarks.stage import Stage
    from tests.programs import Daemon, Redis

SETTLING = 1.0  # seconds that a daemon has to come to rest
PAUSE = 0.005  # seconds between two insertions, in which the consumer comes back to wait
EVERY = 0.004  # seconds from one of the other requests to the next: a daemon that is not busy
STATES = ("ready", "delayed", "leased", "dead")


def to_waiting(stage: Stage) -> list[Line]:
    """Insertion to a waiting consumer: from sending the POST to having the job, with 100 others waiting elsewhere."""
    _, daemon = stage.pair()
    waiters = wait_on(daemon.port, [f"other-{number}" for number in range(100)])
    times, bad = deliveries(daemon.port, stage.size(2000, 200))
    bad += sum(answers(waiters).values())
    for waiter in waiters:
        waiter.close()
    p50, p99, worst = (percentile(times, part) for part in (0.5, 0.99, 1))
    return [
        Line("insertion to a waiting consumer, p50", "ms", [p50], most=2, wrong=bad, note=f"of {len(times)}"),
        Line("insertion to a waiting consumer, p99", "ms", [p99], most=10, wrong=bad, note=f"slowest {worst} ms"),
    ]


def deliveries(port: int, count: int) -> tuple[list[float], int]:
    """Milliseconds from sending an insertion until a consumer that waits has the job, and how many went wrong."""
    producer, consumer = connect(port), connect(port)
    push, take = encoded("POST", "/q/prompt", BODY), encoded("GET", "/q/prompt?wait=60")
    times, bad = [], 0
    for _ in range(count):
        consumer.sendall(take)
        time.sleep(PAUSE)
        began = time.perf_counter()
        producer.sendall(push)
        arrived = _both(producer, consumer)
        if arrived is None:
            bad += 1
            break
        times.append((arrived - began) * 1000)
    producer.close()
    consumer.close()
    return times, bad


def _both(producer: socket.socket, consumer: socket.socket) -> float | None:
    """Wait for the answers to both; when the job came, or None if something else did."""
    left = {producer: b"", consumer: b""}
    arrived = None
    with selectors.DefaultSelector() as selector:
        for each_socket in left:
            selector.register(each_socket, selectors.EVENT_READ)
        while selector.get_map():
            if not (ready := selector.select(PATIENCE)):
                return None
            for key, _ in ready:
                one: socket.socket = key.fileobj  # type: ignore[assignment]
                left[one] += one.recv(65536)
                if (found := whole(left[one])) is None:
                    continue
                selector.unregister(one)
                if one is consumer:
                    arrived = time.perf_counter()
                if found[0].status != (200 if one is consumer else 201):
                    return None
    return arrived


def answers(waiters: list[socket.socket]) -> Counter[str]:
    """The statuses that those who wait have been answered with until now; "" where they were hung up on."""
    with selectors.DefaultSelector() as selector:
        for waiter in waiters:
            selector.register(waiter, selectors.EVENT_READ, waiter)
        return Counter(key.data.recv(12, MSG_PEEK)[9:].decode() for key, _ in selector.select(0))


def many_waiting(stage: Stage) -> list[Line]:
    """10,000 waiting consumers, on 100 queues and on a queue each: the daemon's memory, and what others notice."""
    count = stage.size(10_000, 1_000)
    allow_files(count + 1000)
    return [*_with_waiting(stage, count, 100), *_with_waiting(stage, count, count)]


def _with_waiting(stage: Stage, count: int, queues: int) -> list[Line]:
    redis, daemon = stage.pair()
    samples = stage.size(1250, 400)
    alone, bad = others(daemon.port, samples)
    waiters = wait_on(daemon.port, [f"wait-{number % queues}" for number in range(count)])
    time.sleep(SETTLING)
    mine = processes(daemon)
    memory, all_told = proportional(mine), resident(mine)
    cpu, _ = cpu_share(2 * SETTLING, mine, processes(redis))
    beside, worse = others(daemon.port, samples)
    early = answers(waiters)
    Client(daemon.port).ask_plainly("POST", "/q/wait-0", BODY)
    time.sleep(SETTLING / 2)
    bad += worse + sum(early.values()) + (answers(waiters) != Counter({"200": 1}))
    for waiter in waiters:
        waiter.close()
    time.sleep(SETTLING)
    again, worse = others(daemon.port, samples)
    before, after = percentile(alone + again, 0.99), percentile(beside, 0.99)
    said = f"{count:,} wait on {queues:,} queues"
    note = f"slowest {max(alone + again):.0f} → {max(beside):.0f} ms"
    if early:
        note += f"; those who waited were answered: {dict(early)}"
    return [
        Line(f"{said}: memory of the daemon (RSS)", "MB", [all_told], most=150, note=f"PSS {memory:.0f} MB"),
        Line(f"{said}: CPU of the daemon", "% of a core", [cpu], note="with nothing else to do"),
        Line(f"{said}: p99 of others, without", "ms", [before]),
        Line(f"{said}: p99 of others, with", "ms", [after], note=note),
        Line(f"{said}: p99 of others", "× without", [after / before], most=2, below=True, wrong=bad + worse),
    ]


def others(port: int, samples: int) -> tuple[list[float], int]:
    """Milliseconds that POST and GET /q take in turn, over one connection, and how many went wrong. They are due at
    equal distances, and timed from when they were due: one that is slow makes those behind it late.
    """
    client, times, bad = Client(port), [], 0
    due = time.perf_counter()
    for number in range(samples):
        method, body, status = ("GET", None, 200) if number % 2 else ("POST", BODY, 201)
        due += EVERY
        time.sleep(max(0.0, due - time.perf_counter()))
        bad += client.ask_plainly(method, "/q/others", body).status != status
        times.append((time.perf_counter() - due) * 1000)
    client.close()
    return times, bad


def memory(stage: Stage) -> list[Line]:
    """Memory in Redis, by MEMORY USAGE of all keys of a queue: bytes a job beyond its body, by state."""
    lines = []
    for state in STATES:
        redis, daemon = stage.pair()
        # 95 % of a power of two, as a million is: a hash table's length is one.
        count = stage.size(1_000_000 if state == "ready" else 250_000, 20_000)
        before = used(redis)
        PUT[state](daemon.port, count)
        jobs = redis.command("HLEN", "presque:{0}:bench:jobs")
        keys = redis.command("KEYS", "presque:{0}:bench:*")
        of_keys = sum(redis.command("MEMORY", "USAGE", key, "SAMPLES", "0") for key in keys)
        beyond = of_keys / count - len(BODY)
        all_told = (used(redis) - before) / count - len(BODY)
        note = f"{count:,} jobs; used_memory grew by {all_told:.1f} a job beyond its body"
        goal = 100 if state == "ready" else None
        lines.append(Line(f"a {state} job", "bytes", [beyond], most=goal, wrong=abs(jobs - count), note=note))
        redis.kill()
    return lines


def used(redis: Redis) -> int:
    """Bytes that Redis has allocated, once it is at rest."""
    quiet(redis)
    time.sleep(SETTLING)
    info = redis.command("INFO", "memory").split(b"\r\n")
    return int(next(line for line in info if line.startswith(b"used_memory:")).partition(b":")[2])


def put_ready(port: int, count: int) -> None:
    fill(port, "bench", count)


def put_delayed(port: int, count: int, queue: str = "bench") -> None:
    fill(port, queue, count, f"?delayed={int(time.time()) + 86400}")


def put_leased(port: int, count: int) -> None:
    fill(port, "bench", count)
    ask = encoded("POST", "/v1/queues/bench/reservations", b'{"max":100,"lease":86400}')
    crowd(port, [each(repeat(ask, count // 400)) for _ in range(4)], 10 * PATIENCE)


def put_dead(port: int, count: int) -> None:
    client = Client(port)
    settings = b'{"max_attempts":1,"dead_keep":{"count":10000000}}'
    assert client.ask("PATCH", "/v1/queues/bench", settings).status == 200
    fill(port, "bench", count)
    for _ in range(count // 1000):
        reserved = [client.post("/v1/queues/bench/reservations", {"max": 100}).json["jobs"] for _ in range(10)]
        nacks = [
            {"id": job["id"], "receipt": job["receipt"], "outcome": "nack", "error": "it failed"}
            for job in chain.from_iterable(reserved)
        ]
        client.post("/v1/settlements", {"settlements": nacks})


PUT = {"ready": put_ready, "delayed": put_delayed, "leased": put_leased, "dead": put_dead}


def idle(stage: Stage) -> list[Line]:
    """The idle daemon: memory and CPU, new and with 100,000 queues that exist."""
    redis, daemon = stage.pair()
    count = stage.size(100_000, 2_000)
    lines = _at_rest(stage, redis, daemon, "idle")
    seen = make_queues(daemon.port, count)
    at_rest = _at_rest(stage, redis, daemon, f"idle, {count:,} queues")
    at_rest[0].most = None  # the goal is about a daemon that has done nothing yet
    at_rest[1].wrong = seen
    return lines + at_rest


def make_queues(port: int, count: int) -> int:
    """Begin so many queues, by a job in each; how many insertions went wrong."""
    requests: Iterator[bytes] = (encoded("POST", f"/q/many-{number}", BODY) for number in range(count))
    seen = crowd(port, [each(requests) for _ in range(min(32, count))], 10 * PATIENCE)
    return count - seen.statuses[201]


def _at_rest(stage: Stage, redis: Redis, daemon: Daemon, what: str) -> list[Line]:
    quiet(redis)
    time.sleep(SETTLING)
    mine, redises = processes(daemon), processes(redis)
    cpu, cpu_of_redis = cpu_share(stage.size(8, 3), mine, redises)
    return [
        Line(f"{what}: memory of the daemon (RSS)", "MB", [resident(mine)], most=60),
        Line(f"{what}: CPU of the daemon", "% of a core", [cpu], most=1, note=f"Redis {cpu_of_redis:.1f} %"),
    ]


GOALS = {"to-waiting": to_waiting, "many-waiting": many_waiting, "memory": memory, "idle": idle}
