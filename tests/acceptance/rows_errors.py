"""Row 28: errors that nobody expects. Consumers are answered in time all the same, and everything goes on by itself."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.acceptance.rows_disk import redis_of
from tests.load import PATIENCE, Client, Lost, Refused, together, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.bench import Bench
    from tests.programs import Daemon

PLANTED = 3.0  # seconds that a key has another type
EXHAUSTED = 10.0  # seconds without a free descriptor
STOPPED = 3.0  # seconds that Redis is stopped
LATE = 1.0  # seconds after the end of its wait at which a consumer has its answer
UNANSWERED = 3.2  # the same while Redis is silent: presque's limit of 2, its beat of 0.5 twice, and some
GOES_ON = 5.0  # seconds after the cause until all works again
# A queue's keys: each is planted in a queue of its own, all at the same time.
QUEUE_KEYS = ("ready", "q", "front", "held", "jobs", "delayed", "leased", "live", "uniq", "expiring", "waiting", "dead")
# A partition's keys, one after another: they are everybody's.
SHARED_KEYS = (
    "due",
    "queues",
    "floor",
    "last_seen",
    "queues_of",
    "worker_processed",
)
ASIDE = "bench:aside"


class Waiters:
    """Consumers that wait on queues, and how late each was answered."""

    def __init__(self, port: int, queues: list[str], waits: tuple[float, ...]) -> None:
        self.port = port
        self.statuses: Counter[str] = Counter()
        self.latest = -PATIENCE  # seconds after the end of its wait
        self.woken = 0
        self.tasks = [partial(self.wait, queue, seconds) for queue in queues for seconds in waits]
        self.tasks += [partial(self.wait, queue, seconds, modern=True) for queue in queues for seconds in waits[1:]]

    def wait(self, queue: str, seconds: float, modern: bool = False) -> None:
        client, began = Client(self.port, seconds + PATIENCE), time.monotonic()
        body = b'{"wait":%g}' % seconds
        ask = ("POST", f"/v1/queues/{queue}/reservations", body) if modern else ("GET", f"/q/{queue}?wait={seconds}")
        try:
            reply = client.ask_plainly(*ask)
            self.statuses[str(reply.status)] += 1
            self.woken += b'"probe"' in reply.body
        except (Refused, Lost) as error:  # a connection that was cut is an answer too, and an untimely one is not
            self.statuses[f"{type(error).__name__}: {error}"] += 1
        self.latest = max(self.latest, time.monotonic() - began - seconds)
        client.close()

    def figures(self) -> dict[str, Any]:
        return {"waiters": len(self.tasks), "latest_s": round(self.latest, 2), "statuses": dict(self.statuses)}


def goes_on(port: int, queue: str) -> float:
    """Seconds until every verb works on that queue, waiting consumers are woken, and the mover moves."""
    client = Client(port, 5.0)

    def once() -> bool:
        path = f"/v1/queues/{queue}"
        for job in client.post(f"{path}/reservations", {"max": 100}).json["jobs"]:  # what is left of before
            client.post(f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]})
        worker = client.post(f"/w/{queue}?worker_id=probe").status == 201
        inserted = client.post(f"{path}/jobs", {"payload": {"probe": 1}, "delay": 0.2}).status == 201
        jobs = client.post(f"{path}/reservations", {"wait": 1}).json["jobs"]
        acked = [client.post(f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]}).status for job in jobs]
        listed = queue in client.ask("GET", "/status/").json["queues"]
        return worker and inserted and acked == [204] and listed and fetched(client, port, queue)

    def tried() -> bool:
        try:
            return once()
        except (KeyError, ValueError, TypeError):  # what came was an error's body
            return False

    return until(tried, PATIENCE, f"all verbs on {queue}")


def fetched(client: Client, port: int, queue: str) -> bool:
    """Whether a job that is inserted comes to a consumer that waits."""
    waiter = Waiters(port, [queue], (2.0,))
    together([waiter.tasks[0], lambda: time.sleep(0.05) or client.post(f"/q/{queue}", {"probe": 1})])
    return waiter.woken == 1


class Trial:
    """One kind of error, with consumers that wait before it, through it and after it."""

    def __init__(self, bench: Bench, daemon: Daemon, queues: list[str], lasts: float, late: float = LATE) -> None:
        self.bench, self.daemon, self.queues, self.lasts, self.late = bench, daemon, queues, lasts, late

    def run(self, cause: Callable[[], Any], mend: Callable[[], Any]) -> tuple[bool, dict[str, Any]]:
        """Let it happen for `lasts` seconds; whether all held, and the figures."""
        logged = self.daemon.log.count("Traceback (most recent")
        waiters = Waiters(self.daemon.port, self.queues, (self.lasts * 0.5, self.lasts, self.lasts + 2))
        found: dict[str, Any] = {}

        def happen() -> None:
            time.sleep(0.3)  # by then they wait
            cause()
            time.sleep(self.lasts)
            mend()
            try:
                together([partial(self._go_on, queue, found) for queue in self.queues])
            except TimeoutError as error:
                found["goes_on_s"], found["error"] = PATIENCE, str(error)

        together([*waiters.tasks, happen])
        found = {**waiters.figures(), **found}
        found["tracebacks"] = self.daemon.log.count("Traceback (most recent") - logged
        answered = self.bench.within(waiters.latest, self.late) and waiters.latest < PATIENCE
        return answered and self.bench.within(found["goes_on_s"], GOES_ON) and "error" not in found, found

    def _go_on(self, queue: str, found: dict[str, Any]) -> None:
        took = round(goes_on(self.daemon.port, queue), 2)
        found["goes_on_s"] = max(took, found.get("goes_on_s", 0.0))


class Trials:
    """All kinds of errors, and the figures of each."""

    def __init__(self, bench: Bench, figures: dict[str, Any]) -> None:
        self.bench, self.figures, self.held = bench, figures, True
        self.redis = bench.redis()
        self.daemon = bench.daemon(self.redis.url)
        self.count = 0

    def queues(self, count: int) -> list[str]:
        self.count += 1
        return [f"t{self.count}.{number}" for number in range(count)]

    def note(self, name: str, result: tuple[bool, dict[str, Any]]) -> None:
        good, found = result
        self.figures[name if good else f"{name} (WRONG)"] = found
        self.held = self.held and good

    def plant(self, name: str, keys: list[str], queues: list[str], lasts: float) -> None:
        """Give keys another type for some seconds; what was there comes back afterwards."""
        session = self.redis.session()

        def plant() -> None:
            for key in keys:
                session("EVAL", PLANT, 2, key, f"{ASIDE}:{key}")

        def pull() -> None:
            for key in keys:
                session("EVAL", PULL, 2, key, f"{ASIDE}:{key}")

        self.note(name, Trial(self.bench, self.daemon, queues, lasts).run(plant, pull))

    def keys_of_another_type(self) -> None:
        lasts = self.bench.size(int(PLANTED), 1)
        names = QUEUE_KEYS[:: self.bench.size(1, 3)]
        queues = self.queues(len(names))
        keys = [f"presque:{{0}}:{queue}:{name}" for queue, name in zip(queues, names, strict=True)]
        self.plant(f"keys of queues ({', '.join(names)})", keys, queues, lasts)
        for shared in SHARED_KEYS[: self.bench.size(len(SHARED_KEYS), 2)]:
            self.plant(f"key {shared}", [f"presque:{{0}}/{shared}"], self.queues(2), lasts)

    def subscriber_killed(self) -> None:
        """The subscribing connection is closed again and again."""
        session = self.redis.session()

        def kill() -> None:
            for _ in range(5):
                session("CLIENT", "KILL", "TYPE", "pubsub")
                time.sleep(0.1)

        trial = Trial(self.bench, self.daemon, self.queues(3), 1)
        self.note("subscribing connection killed", trial.run(kill, kill))

    def redis_stopped(self) -> None:
        trial = Trial(self.bench, self.daemon, self.queues(3), STOPPED, UNANSWERED)
        stop, go_on = (partial(self.redis.signal, number) for number in (signal.SIGSTOP, signal.SIGCONT))
        self.note("Redis stopped", trial.run(stop, go_on))

    def redis_killed(self) -> None:
        trial = Trial(self.bench, self.daemon, self.queues(3), self.bench.size(int(STOPPED), 1), UNANSWERED)
        self.note("Redis killed", trial.run(self.redis.kill, self.redis.start))

    def exhausted(self) -> None:
        """No descriptor is free: alone, while connections to Redis are lost, and while a private Redis is killed."""
        session = self.redis.session()

        def lose_connections() -> None:
            session("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            session("CLIENT", "KILL", "TYPE", "pubsub")

        data = self.bench.folder() / "data"
        private = self.bench.daemon("", "--data-dir", str(data))
        self.exhaust("", self.daemon, lambda: None, LATE)
        self.exhaust(", connections lost", self.daemon, lose_connections, UNANSWERED)
        kill = partial(lambda: os.kill(redis_of(data), signal.SIGKILL))
        self.exhaust(", private Redis killed", private, kill, UNANSWERED)

    def exhaust(self, name: str, daemon: Daemon, meanwhile: Callable[[], Any], late: float) -> None:
        if daemon.process is None:
            raise RuntimeError("it does not run")
        pid = daemon.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)

        def lower() -> None:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
            meanwhile()

        def restore() -> None:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))

        trial = Trial(self.bench, daemon, self.queues(3), self.bench.size(int(EXHAUSTED), 2), late)
        self.note(f"descriptors exhausted{name}", trial.run(lower, restore))


# KEYS: the key, where to put it aside.
PLANT = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('RENAME', KEYS[1], KEYS[2]) end {}".format(
    "redis.call(redis.call('TYPE', KEYS[2]).ok == 'string' and 'RPUSH' or 'SET', KEYS[1], 'x') return 1"
)
PULL = (
    "redis.call('DEL', KEYS[1]) if redis.call('EXISTS', KEYS[2]) == 1 then redis.call('RENAME', KEYS[2], KEYS[1]) end"
)


def unexpected_errors(bench: Bench, figures: dict[str, Any]) -> bool:
    """unexpected errors: odd keys, no descriptors, Redis stopped; every waiter answered, all goes on by itself."""
    trials = Trials(bench, figures)
    trials.keys_of_another_type()
    trials.subscriber_killed()
    trials.redis_stopped()
    trials.redis_killed()
    trials.exhausted()
    return trials.held


ROWS = {28: unexpected_errors}
