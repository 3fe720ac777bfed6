"""Row 24: the wall clock of presque, of Redis or of both is set back and forward, under load and idle."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.clocks import Wall
from tests.load import PATIENCE, Client, Lost, Refused, together, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.bench import Bench
    from tests.load import Reply

STEP = 600.0  # seconds
PLACES = ("presque", "Redis", "both")  # whose clock is stepped
STEPS = (-STEP, STEP, STEP, -STEP)  # one after another
WAIT = 2.0  # seconds that a consumer waits
LIMIT = 2.0  # seconds that a client has for its request
LATE = 1.0  # seconds after its time at which an answer has to be there
ANSWERED = 8.0  # seconds after which a client takes an answer for one that never comes
REFUSED = 1.0  # seconds after a step in which there may be answers 503
HELD = 2.0  # seconds after an answer in which presque may not have recorded yet that it arrived
SYNCED = 3.0  # seconds in which Redis' file is synced at least once


class Deployment:
    """A daemon and its Redis, of which one or both have a clock that can be stepped."""

    def __init__(self, bench: Bench, place: str) -> None:
        self.bench, self.place = bench, place
        self.clock = Wall(bench.folder())
        self.redis_steps = place != "presque"
        flags = ("--request-timeout", str(LIMIT))
        environ = self.clock.environ
        if place == "both":  # one machine, and its syncs are those of presque
            data = bench.folder() / "data"
            self.daemon = bench.daemon("", "--data-dir", str(data), *flags, environ=environ)
        else:
            redis = bench.redis(environ=environ if place == "Redis" else None)
            self.daemon = bench.daemon(redis.url, *flags, environ=environ if place == "presque" else None)
        self.port = self.daemon.port

    def redis_now(self) -> float:
        return time.time() + (self.clock.shift if self.redis_steps else 0)


class Take(NamedTuple):
    """A job that came: its number, when it was asked for, and when it was there and settled."""

    number: int
    asked: float
    settled: float


class Requests:
    """What is asked in one phase, and when it was refused."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.refused: list[float] = []  # when
        self.silent: list[str] = []  # what was never answered

    def ask(self, client: Client, method: str, path: str, value: Any = None) -> Reply | None:
        """An answer; None after a 503 or a connection that was lost, which are noted."""
        try:
            return client.ask(method, path, None if value is None else json.dumps(value).encode())
        except Refused:
            self.refused.append(time.monotonic())
        except Lost as error:
            if isinstance(error.args[0], bytes):  # a 503 that says so
                self.refused.append(time.monotonic())
            else:
                self.silent.append(f"{method} {path}: {error}")
        time.sleep(0.01)
        return None

    def insist(self, client: Client, method: str, path: str, value: Any = None) -> Reply:
        """Ask until there is an answer other than 503."""
        ends = time.monotonic() + ANSWERED
        while (reply := self.ask(client, method, path, value)) is None:
            if time.monotonic() > ends:
                raise TimeoutError(f"{method} {path} is never answered")
        return reply


class Load(Requests):
    """Producers and consumers of a queue on the old routes and of one under /v1, and all that they saw."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__(port)
        self.old, self.modern = f"/q/{name}", f"/v1/queues/{name}.v1"
        self.inserted: set[int] = set()
        self.tried: set[int] = set()
        self.takes: list[Take] = []
        self.done = threading.Event()
        self.ends = float("inf")
        self._tasks = [partial(self._produce, part) for part in range(4)]
        self._tasks += [partial(self._consume, part) for part in range(4)] + [self._reserve] * 2
        self._thread = threading.Thread(target=together, args=(self._tasks,))

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Produce no more, and consume what there is, and what comes back."""
        self.ends = time.monotonic() + ANSWERED
        self.done.set()
        self._thread.join()
        if self.silent:
            return
        client = Client(self.port, ANSWERED)
        queues = (self.old.replace("/q/", "/v1/queues/"), self.modern)
        until(lambda: not sum(self._drain(client, queue) for queue in queues), 2 * ANSWERED, "the end of all jobs")

    def _drain(self, client: Client, queue: str) -> int:
        """Take what is there; how many jobs are left."""
        if queue == self.modern:
            self._reserve_once(client, wait=0)
        else:
            self._fetch(client, self.old)
        counts = self.insist(client, "GET", queue)
        return sum(counts.json.get(state, 0) for state in ("ready", "delayed", "leased")) if counts.status == 200 else 0

    def _produce(self, part: int) -> None:
        client, number = Client(self.port, ANSWERED), part
        while not self.done.is_set():
            number += 4
            self.tried.add(number)
            job = {"n": number}
            path, value = (self.old, job) if part < 3 else (f"{self.modern}/jobs", {"payload": job})
            reply = self.ask(client, "POST", path, value)
            if reply is not None and reply.status == 201:
                self.inserted.add(number)
            time.sleep(0.004)

    def _goes_on(self, found: bool) -> bool:
        """Whether a consumer asks again: to the last job, but not for ever where jobs come again and again."""
        return not self.done.is_set() or (found and time.monotonic() < self.ends)

    def _consume(self, part: int) -> None:
        client, found = Client(self.port, ANSWERED), True
        while self._goes_on(found):
            found = self._fetch(client, self.old + ("?wait=1" if part % 2 else ""))
            time.sleep(0.002)

    def _fetch(self, client: Client, path: str) -> bool:
        asked = time.monotonic()
        reply = self.ask(client, "GET", path)
        if reply is not None and reply.status == 200:
            self.takes.append(Take(reply.json["n"], asked, time.monotonic() + HELD))
        return reply is not None and reply.status == 200

    def _reserve(self) -> None:
        client, found = Client(self.port, ANSWERED), True
        while self._goes_on(found):
            found = self._reserve_once(client, wait=1)

    def _reserve_once(self, client: Client, wait: int) -> bool:
        asked = time.monotonic()
        reply = self.ask(client, "POST", f"{self.modern}/reservations", {"max": 5, "wait": wait})
        jobs = reply.json["jobs"] if reply is not None else []
        for job in jobs:
            self.insist(client, "POST", f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]})
            self.takes.append(Take(job["payload"]["n"], asked, time.monotonic()))
        return bool(jobs)

    def counted(self, stepped: float, ran_out: bool) -> dict[str, Any]:
        """The accounting. Where the time of leases has `ran_out` at the step, those that were held then are excused."""
        times = Counter(take.number for take in self.takes)
        held = {take.number for take in self.takes if ran_out and take.asked <= stepped <= take.settled}
        twice = {number for number, count in times.items() if count > 1}
        return {
            "inserted": len(self.inserted),
            "lost": len(self.inserted - set(times)),
            "twice": len(twice - held),
            "excused": len(twice & held),
            "unexpected": len(set(times) - self.tried),
        }


class Phase(Requests):
    """A step of the clock, and those who wait for something meanwhile."""

    def __init__(self, deployment: Deployment, step: float, name: str) -> None:
        super().__init__(deployment.port)
        self.deployment, self.step, self.name = deployment, step, name
        self.stepped = 0.0
        self.late: dict[str, float] = {}  # seconds after its time
        self._has_stepped = threading.Event()

    def run(self) -> None:
        self._syncs = self.deployment.clock.syncs
        together([self._step, self._waits, self._waits_for_a_job, self._dribbles, *self._afterwards()])
        if self.deployment.place == "both":
            self.late["synced"] = 0.0 if self.deployment.clock.syncs > self._syncs else SYNCED

    def _step(self) -> None:
        time.sleep(0.3)
        self._syncs = self.deployment.clock.syncs
        self.deployment.clock.step(self.step)
        self.stepped = time.monotonic()
        self._has_stepped.set()
        client = Client(self.port, ANSWERED)
        while time.monotonic() < self.stepped + SYNCED:  # so that there is something to sync
            self.insist(client, "POST", f"/q/{self.name}.some", {})
            time.sleep(0.05)

    def _waits(self) -> None:
        """Whoever waits since before the step for a job that does not come."""
        began = time.monotonic()
        reply = self.ask(Client(self.port, WAIT + ANSWERED), "GET", f"/q/{self.name}.none?wait={WAIT}")
        self.note("waited", time.monotonic() - began, WAIT, reply is None or reply.status == 404)

    def _waits_for_a_job(self) -> None:
        """Whoever waits since before the step for a job that comes after it."""
        came: list[float] = []

        def wait() -> None:
            client, ends = Client(self.port, ANSWERED), time.monotonic() + ANSWERED
            while not came and time.monotonic() < ends:
                reply = self.ask(client, "GET", f"/q/{self.name}.one?wait={WAIT}")
                if reply is not None and reply.status == 200:
                    came.append(time.monotonic())

        def insert() -> None:
            self._has_stepped.wait()
            time.sleep(0.1)
            self.insist(Client(self.port, ANSWERED), "POST", f"/q/{self.name}.one", {})
            inserted.append(time.monotonic())

        inserted: list[float] = []
        together([wait, insert])
        self.note("woken", came[0] - inserted[0] if came else PATIENCE, 0.0, True)

    def _dribbles(self) -> None:
        """Whoever has begun a request before the step and does not end it."""
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), LIMIT + ANSWERED) as client:
            client.sendall(b"POST /q/dribble HTTP/1.1\r\nHost: local")
            try:
                while client.recv(65536):
                    pass
            except OSError:
                pass
        self.note("cut", time.monotonic() - began, LIMIT, True)

    def _afterwards(self) -> list[Callable[[], None]]:
        """What is begun after the step: a job delayed by a duration, by a time, and a lease."""

        def delay(client: Client) -> None:
            self.insist(client, "POST", f"/v1/queues/{self.name}.in/jobs", {"payload": {}, "delay": 1})
            self._comes(client, f"/q/{self.name}.in?wait=5", "delayed")

        def due(client: Client) -> None:
            began, at = time.monotonic(), self.deployment.redis_now() + 1
            self.insist(client, "POST", f"/q/{self.name}.at?delayed={at:.3f}", {})
            self._comes(client, f"/q/{self.name}.at?wait=5", "due", began)

        def lease(client: Client) -> None:
            path, asked = f"/v1/queues/{self.name}.leased", {"lease": 1}
            self.insist(client, "POST", f"{path}/jobs", {"payload": {}})
            while not self.insist(client, "POST", f"{path}/reservations", asked).json["jobs"]:
                pass  # what was reserved for an answer 503
            self._comes(client, f"/q/{self.name}.leased?wait=5", "lease")

        def later(task: Callable[[Client], None]) -> None:
            self._has_stepped.wait()
            task(Client(self.port, ANSWERED))

        return [partial(later, task) for task in (delay, due, lease)]

    def _comes(self, client: Client, path: str, name: str, began: float = 0.0) -> None:
        began = began or time.monotonic()
        reply = self.insist(client, "GET", path)
        self.note(name, time.monotonic() - began, 1.0, reply.status == 200)

    def note(self, name: str, took: float, expected: float, right: bool) -> None:
        """How much later than expected it was; what came too early, or not at all, is as bad as never."""
        early = took < expected - 0.15
        self.late[name] = round(took - expected, 2) if right and not early else PATIENCE


def phase(bench: Bench, deployment: Deployment, step: float, number: int, loaded: bool) -> tuple[bool, dict[str, Any]]:
    """Step the clock once; whether all that has to hold held, and the figures."""
    name = f"p{number}"
    load = Load(deployment.port, f"{name}.load")
    looked = Phase(deployment, step, name)
    if loaded:
        load.start()
        time.sleep(bench.size(2, 1))
    try:
        looked.run()
    finally:
        if loaded:
            load.end()
    counted = load.counted(looked.stepped, ran_out=deployment.redis_steps and step > 0)
    refused = [at for at in load.refused + looked.refused if at > looked.stepped]
    lasted = round(max(refused, default=looked.stepped) - looked.stepped, 2)
    silent = len(load.silent + looked.silent)
    found = {**(counted if loaded else {}), "late_s": looked.late, "refused": len(refused), "refused_for_s": lasted}
    in_time = all(bench.within(late, LATE) for late in looked.late.values()) and PATIENCE not in looked.late.values()
    sound = not silent and not (counted["lost"] or counted["twice"] or counted["unexpected"])
    if silent:
        found["silent"] = (load.silent + looked.silent)[:3]
    return sound and in_time and bench.within(lasted, REFUSED) and bool(load.inserted) == loaded, found


def stepped_at(bench: Bench, place: str, figures: dict[str, Any]) -> bool:
    """All steps of the clocks at one place."""
    deployment = Deployment(bench, place)
    held = True
    kinds = [(step, loaded) for loaded in (True, False) for step in STEPS]
    for number, (step, loaded) in enumerate(kinds if not bench.short else [(-STEP, True), (STEP, True)]):
        try:
            good, found = phase(bench, deployment, step, number, loaded)
        except (TimeoutError, Lost) as error:
            good, found = False, {"error": str(error)}
        name = f"{place} {deployment.clock.shift:+.0f} by {step:+.0f}, {'load' if loaded else 'idle'}"
        figures[name if good else f"{name} (WRONG)"] = found
        held = held and good
        if "error" in found:  # it stands still: so it would all the time
            break
    return held


def clock_steps(bench: Bench, figures: dict[str, Any]) -> bool:
    """clock steps: -600 s and +600 s of presque, Redis, both, load and idle; lost, duplicated 0, waits end."""
    tasks = [partial(stepped_at, bench, place, figures) for place in PLACES]
    return all(together(tasks) if bench.short else [task() for task in tasks])


ROWS = {24: clock_steps}
