"""Rows 4 to 10: Redis away, stopped, full, forgetful, torn, or cut off in the middle of a reply."""

from __future__ import annotations

import json
import shutil
import signal
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import hiredis

from presque.process.private_redis.unfinished import cut_unfinished
from tests.load import PATIENCE, Client, Lost, Refused, insist, percentile, together, until, works
from tests.programs import Redis, redis_program
from tests.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from tests.acceptance.bench import Bench
    from tests.acceptance.proxy import Proxy
    from tests.load import Reply

NORMAL = 3.0  # seconds from Redis' return to normal answers
LATEST = 3.2  # seconds: presque's limit of 2, its beat of 0.5 twice, and some for a machine that is shared


def disorder(redis: Redis) -> tuple[int, list[str]]:
    """How many jobs there are, and what is wrong with a queue: see tests/stored.py."""
    stored, jobs, wrong = Stored(redis.session()), 0, []
    for queue in stored.queues():
        found = stored.of(queue)
        jobs += len(found.jobs)
        try:
            found.check()
        except AssertionError as error:
            wrong.append(f"{queue}: {error}".splitlines()[0])
    return jobs, wrong


def busy_life(client: Client, turns: int, chance: Random) -> None:
    """A bit of everything that writes, on the queues a and b."""
    client.ask("PATCH", "/v1/queues/b", b'{"max_attempts":2}')
    for turn in range(turns):
        body = "x" * chance.randint(0, 200)
        client.post(f"/q/a?uniq={turn % 7}", {"n": turn, "text": body})
        client.post(f"/q/a?delayed={time.time() + chance.choice([0.05, 500])}", {"n": turn})
        client.post("/qb/a", {"jobs": [{"n": n} for n in range(3)]})
        client.ask("GET", "/qb/a?batch_size=2")
        jobs = [{"payload": {"n": n}, "delay": n % 2} for n in range(3)]
        jobs.append({"payload": {"n": turn}, "priority": turn % 10, "expires_in": chance.choice([0.1, 500])})
        inserted = client.post("/v1/queues/b/jobs", {"jobs": jobs}, Idempotency_Key=f"k{turn}").json["jobs"]
        client.ask("PATCH", f"/v1/jobs/{inserted[0]['id']}", b'{"priority":%d}' % (turn % 10))
        client.ask("DELETE" if turn % 3 else "GET", f"/v1/jobs/{inserted[2]['id']}")
        for job in client.post("/v1/queues/b/reservations", {"max": 3, "lease": 0.5}).json["jobs"]:
            what = chance.choice(["ack", "nack", "release", "extend"])
            client.post(f"/v1/jobs/{job['id']}/{what}", {"receipt": job["receipt"]})


def torn_file(bench: Bench, figures: dict[str, Any]) -> bool:
    """torn file: bytes cut off a copied append-only file; it starts, twice, and every queue is in order."""
    redis = bench.redis("--aof-load-truncated", "yes", "--auto-aof-rewrite-percentage", "0")
    busy_life(Client(bench.daemon(redis.url).port), bench.size(400, 150), bench.chance)
    redis.kill()
    bench.daemons[0].kill()
    cuts, began, fewest, failed, changed = bench.size(200, 20), time.monotonic(), 10**9, 0, 0
    wrong: list[str] = []
    for _ in range(cuts):
        folder = bench.folder()
        cut = bench.chance.randint(1, 4096)
        path = copied_file(redis.folder, folder)
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.truncate(size - cut)
        cut_unfinished(folder, redis_program())  # as before each start of a private Redis
        try:
            torn = Redis("--aof-load-truncated", "yes", folder=folder)
        except RuntimeError:
            failed += 1
            continue
        try:
            jobs, found = disorder(torn)
            torn.command("EVAL", "redis.call('SET', 'more', 'is written behind')", 0)
            torn.kill()
            torn.start()
            again, found_again = disorder(torn)
            fewest, wrong, changed = min(fewest, jobs), wrong + found + found_again, changed + (jobs != again)
        finally:
            torn.kill()
            shutil.rmtree(folder)
    figures.update(
        cuts=cuts, file_bytes=size, fewest_jobs=fewest, failed_starts=failed, changed=changed, wrong=len(wrong)
    )
    figures["examples"] = wrong[:3]
    figures["seconds_of_cuts"] = round(time.monotonic() - began, 1)
    return failed == 0 and changed == 0 and not wrong and fewest > 0


def copied_file(source: Path, target: Path) -> Path:
    """Copy the append-only file, or from Redis 7 on its folder; the file that was written last."""
    if (source / "appendonlydir").is_dir():
        shutil.copytree(source / "appendonlydir", target / "appendonlydir")
        return max((target / "appendonlydir").glob("*.incr.aof"))
    return type(target)(shutil.copy(source / "appendonly.aof", target))


class Cuts:
    """Clients whose every insertion, reservation and ack is carried out once without an answer, then said again."""

    def __init__(self, port: int, proxy: Proxy, count: int) -> None:
        self.port, self.proxy, self.count = port, proxy, count
        self.ids: list[str] = []
        self.leases: list[dict[str, str]] = []
        self.tries = 0
        self.lock = threading.Lock()

    def cut(self, mark: str, ask: Callable[[], Reply], good: int) -> Reply:
        """Say it until it is answered; the first reply to what contains the mark does not come."""
        self.proxy.marks.add(mark.encode())
        reply, tried = insist(ask, (good,))
        with self.lock:
            self.tries += tried
        return reply

    def insert(self, part: int) -> None:
        client = Client(self.port)
        for n in range(part, self.count, 4):
            key = f"insertion-{n:06}."
            value = {"payload": {"n": n}}
            say = partial(client.post, "/v1/queues/bench/jobs", value, Idempotency_Key=key)
            self.ids.append(self.cut(key, say, 201).json["id"])

    def reserve(self, part: int) -> None:
        """By one client: what is cut with another's reply would be leased to nobody for long."""
        client = Client(self.port)
        for n in range(self.count if part == 0 else 0):
            worker = f"reserver-{n:06}."

            def ask(worker: str = worker) -> Reply:
                asked = {"lease": 0.3 if worker.encode() in self.proxy.marks else 900, "worker_id": worker}
                reply = client.post("/v1/queues/bench/reservations", asked)
                if not reply.json["jobs"]:
                    raise Refused  # all are leased to those whose reply was cut: their leases run out
                return reply

            self.leases.extend(self.cut(worker, ask, 200).json["jobs"])

    def ack(self, part: int) -> None:
        client = Client(self.port)
        for lease in self.leases[part::4]:
            say = partial(client.post, f"/v1/jobs/{lease['id']}/ack", {"receipt": lease["receipt"]})
            self.cut(lease["receipt"][1:], say, 204)
            insist(say, (204,))  # once more, and nothing is cut


def reply_cut(bench: Bench, figures: dict[str, Any]) -> bool:
    """reply cut: the first reply to each insertion, reservation, ack is cut; exactly so many jobs, acks repeatable."""
    count = bench.size(1_000, 30)
    redis = bench.redis()
    proxy = bench.proxy(redis)
    port = bench.daemon(proxy.url).port
    Client(port).ask("PATCH", "/v1/queues/bench", b'{"max_attempts":1000}')
    cuts = Cuts(port, proxy, count)
    for task in (cuts.insert, cuts.reserve, cuts.ack):
        name, replies, connections, cuts.tries = task.__name__, proxy.replies, proxy.cuts, 0
        together([partial(task, part) for part in range(4)])
        figures[f"{name}_replies_cut"], figures[f"{name}_tries"] = proxy.replies - replies, cuts.tries
        figures[f"{name}_connections_cut"] = proxy.cuts - connections
        if task == cuts.insert:
            figures["jobs"] = redis.command("HLEN", "presque:{0}:bench:jobs")
            figures["numbers_used"] = int(redis.command("HGET", "presque:{0}:bench:q", "n"))
    figures["distinct_ids"] = len(set(cuts.ids))
    figures["distinct_reserved"] = len({job["id"] for job in cuts.leases})
    figures["jobs_after_acks"] = redis.command("HLEN", "presque:{0}:bench:jobs")
    figures["processed"] = int(redis.command("HGET", "presque:{0}:bench:q", "out"))
    exact = ["jobs", "numbers_used", "distinct_ids", "distinct_reserved"]
    exact += [f"{name}_replies_cut" for name in ("insert", "reserve", "ack")]
    cut = all(figures[f"{name}_connections_cut"] for name in ("insert", "reserve", "ack"))
    return cut and all(figures[name] == count for name in exact) and figures["jobs_after_acks"] == 0


def redis_stopped(bench: Bench, figures: dict[str, Any]) -> bool:
    """Redis stopped: SIGSTOP under load; no answer later than its limit, normal at most 3 s after."""
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    times: list[tuple[float, float, int]] = []  # asked at, took, status
    done = threading.Event()

    def load(n: int) -> None:
        client = Client(port)
        while not done.is_set():
            began = time.monotonic()
            reply = client.ask_plainly(*(("POST", "/q/bench", b"{}") if n % 2 else ("GET", "/q/bench")))
            times.append((began, time.monotonic() - began, reply.status))
            time.sleep(0.005)

    def stop() -> None:
        try:
            for seconds in (0.5, 2, 10) if not bench.short else (4,):
                time.sleep(1)
                redis.signal(signal.SIGSTOP)
                stopped = time.monotonic()
                time.sleep(seconds)
                answered = sum(at > stopped and status == 503 for at, _, status in list(times))
                redis.signal(signal.SIGCONT)
                resumed = time.monotonic()
                time.sleep(NORMAL + 1 if not bench.short else 1)
                if seconds > LATEST:
                    figures["answered_while_stopped"] = answered
                bad = [at for at, took, status in times if at > resumed and (status >= 500 or took > 0.5)]
                figures[f"normal_after_{seconds}_s"] = round(max(bad, default=resumed) - resumed, 2)
        finally:
            done.set()

    together([*(partial(load, n) for n in range(8)), stop])
    works(port)
    figures["requests"], figures["latest_answer_s"] = len(times), round(max(took for _, took, _ in times), 3)
    statuses = Counter(str(status) for _, _, status in times)
    figures["statuses"] = dict(statuses)
    soon = all(bench.within(value, NORMAL) for name, value in figures.items() if name.startswith("normal_after"))
    known = not set(statuses) - {"200", "201", "404", "503"} and statuses["201"]
    told = bool(known) and figures["answered_while_stopped"] > 0
    return told and soon and bench.within(figures["latest_answer_s"], LATEST)


def redis_away(bench: Bench, figures: dict[str, Any]) -> bool:
    """Redis away: 503 within 100 ms (p99), back at most 2 s after, nothing carried out late."""
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    works(port)
    took: list[float] = []
    refused: set[int] = set()
    other = Counter[str]()
    seconds = bench.size(60, 2)
    redis.kill()
    ends = time.monotonic() + seconds

    def load(part: int) -> None:
        client = Client(port)
        n = part
        while time.monotonic() < ends:
            n += 8
            began = time.monotonic()
            try:
                reply = client.ask("POST", "/q/bench", b'{"n":%d}' % n)
                other[str(reply.status)] += 1
            except Refused:
                refused.add(n)
            except Lost:
                other["unknown"] += 1
            took.append(time.monotonic() - began)
            time.sleep(0.02)

    together([partial(load, part) for part in range(8)])
    redis.start()
    figures["back_after_s"] = round(works(port), 3)
    time.sleep(1)
    figures.update(requests=len(took), refused=len(refused), others=dict(other), p99_ms=percentile(took, 0.99) * 1000)
    bodies = redis.command("HVALS", "presque:{0}:bench:jobs")
    figures["carried_out_late"] = len(bodies)
    soon = bench.within(figures["back_after_s"], 2) and bench.within(figures["p99_ms"], 100)
    return soon and bool(refused) and not bodies and not other


class Handshakes:
    """A Redis that lets nobody in, in one way after another, for some seconds each."""

    def __init__(self, bench: Bench, figures: dict[str, Any]) -> None:
        users = bench.folder() / "users"
        users.write_text("user default on nopass ~* &* +@all\nuser queue on >secret ~* &* +@all\n")
        self.redis = bench.redis("--aclfile", str(users))
        self.admin = self.redis.session()
        self.proxy = bench.proxy(self.redis)
        self.port = bench.daemon(self.proxy.url.replace("unix://", "unix://queue:secret@")).port
        self.lasts = bench.size(10, 1)  # seconds
        self.chance, self.figures = bench.chance, figures
        works(self.port)

    def spoil(self, name: str, mend: Callable[[], Any]) -> None:
        """Wait until the daemon refuses, let that last, mend it, and note how long until it works."""
        until(lambda: Client(self.port).ask_plainly("POST", "/q/bench", b"{}").status == 503, PATIENCE, name)
        time.sleep(self.lasts)
        mend()
        self.figures[f"{name}_s"] = round(works(self.port), 3)

    def close_in_auth(self) -> None:
        self.proxy.mode = "close"
        self.proxy.drop_all()
        self.spoil("closed_in_auth", lambda: setattr(self.proxy, "mode", ""))

    def too_many_clients(self) -> None:
        self.admin("CONFIG", "SET", "maxclients", "1")
        self.proxy.drop_all()
        self.spoil("maxclients", lambda: self.admin("CONFIG", "SET", "maxclients", "1000"))

    def replica(self) -> None:
        self.admin("REPLICAOF", "127.0.0.1", "1")
        self.spoil("replica", lambda: self.admin("REPLICAOF", "NO", "ONE"))

    def loading(self) -> None:
        for n in range(2000):
            self.admin("SET", f"filler:{n}", self.chance.randbytes(5000))
        self.admin("BGREWRITEAOF")
        until(lambda: b"aof_rewrite_in_progress:0" in self.admin("INFO", "persistence"), 20, "the rewriting")
        self.redis.kill()
        self.redis.start("--key-load-delay", str(self.lasts * 500), wait=False)
        saw = until(self.says_loading, PATIENCE, "LOADING")
        until(lambda: not self.says_loading(), 60, "the end of loading")
        self.figures["loading_s"], self.figures["loading_after_s"] = round(works(self.port), 3), round(saw, 3)

    def says_loading(self) -> bool:
        try:
            self.redis.command("PING")
        except hiredis.ReplyError as error:
            return "LOADING" in str(error)
        except OSError:
            pass
        return False


def bad_handshakes(bench: Bench, figures: dict[str, Any]) -> bool:
    """bad handshakes: closed during AUTH, maxclients, LOADING, a replica; heals at most 2 s after, no traceback."""
    handshakes = Handshakes(bench, figures)
    for name in ("close_in_auth", "too_many_clients", "replica", "loading"):
        getattr(handshakes, name)()
    healed = [figures[f"{name}_s"] for name in ("closed_in_auth", "maxclients", "replica", "loading")]
    return all(bench.within(seconds, 2) for seconds in healed) and not bench.tracebacks()


def scripts_flushed(bench: Bench, figures: dict[str, Any]) -> bool:
    """scripts flushed: SCRIPT FLUSH every 50 ms; no error seen by a client."""
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    ends = time.monotonic() + bench.size(60, 2)
    statuses: dict[str, Counter[str]] = {word: Counter() for word in ("post", "get", "insert", "reserve", "ack")}

    def load(part: int) -> None:
        client = Client(port)

        def ask(word: str, method: str, path: str, body: bytes | None = None) -> Reply:
            reply = client.ask_plainly(method, path, body)
            statuses[word][str(reply.status)] += 1
            return reply

        while time.monotonic() < ends:
            ask("post", "POST", "/q/a", b"{}")
            ask("get", "GET", "/q/a")
            ask("insert", "POST", "/v1/queues/b/jobs", b'{"payload":1}')
            for job in ask("reserve", "POST", "/v1/queues/b/reservations", b'{"max":5}').json.get("jobs", []):
                ask("ack", "POST", f"/v1/jobs/{job['id']}/ack", b'{"receipt":"%b"}' % job["receipt"].encode())

    flushes = 0

    def flush() -> None:
        nonlocal flushes
        ask = redis.session()
        while time.monotonic() < ends:
            ask("SCRIPT", "FLUSH")
            flushes += 1
            time.sleep(0.05)

    together([*(partial(load, part) for part in range(8)), flush])
    figures.update(flushes=flushes, statuses={word: dict(each) for word, each in statuses.items()})
    good = {"post": {"201"}, "get": {"200", "404"}, "insert": {"201"}, "reserve": {"200"}, "ack": {"204"}}
    return flushes > 1 and all(each and set(each) <= good[word] for word, each in statuses.items())


class Full:
    """What is said to a queue on a Redis that is full, and how it is answered."""

    BODY = b'{"payload":"%b"}' % (b"x" * 5000)

    def __init__(self, port: int) -> None:
        self.client = Client(port)
        words = ("insert", "reserve", "extend", "nack", "release", "ack", "fetch")
        self.statuses: dict[str, Counter[int]] = {word: Counter() for word in words}

    def say(self, word: str, method: str, path: str, value: Any = None) -> Reply:
        reply = self.client.ask_plainly(method, path, None if value is None else json.dumps(value).encode())
        self.statuses[word][reply.status] += 1
        return reply

    def insert(self) -> Reply:
        reply = self.client.ask_plainly("POST", "/v1/queues/bench/jobs", self.BODY)
        self.statuses["insert"][reply.status] += 1
        return reply

    def reserve(self, most: int) -> list[dict[str, Any]]:
        asked = {"max": most, "lease": 60, "worker_id": "w"}
        jobs: list[dict[str, Any]] = self.say("reserve", "POST", "/v1/queues/bench/reservations", asked).json["jobs"]
        return jobs

    def work(self) -> None:
        """All that workers do, while it is full."""
        for turn in range(50):
            for job in self.reserve(1):
                at, receipt = f"/v1/jobs/{job['id']}", {"receipt": job["receipt"]}
                self.insert()
                self.say("extend", "POST", f"{at}/extend", {**receipt, "lease": 90})
                if turn % 2:
                    self.say("nack", "POST", f"{at}/nack", {**receipt, "error": "full", "delay": 0})
                else:
                    self.say("release", "POST", f"{at}/release", receipt)

    def drain(self) -> None:
        while jobs := self.reserve(100):
            for job in jobs:
                self.say("ack", "POST", f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]})
            self.say("fetch", "GET", "/q/bench")


NOTICED = 2.0  # seconds within which a daemon notices that Redis has room again


def used_memory(redis: Redis) -> int:
    """Bytes."""
    return int(redis.command("INFO", "memory").split(b"used_memory:")[1].split()[0])


def memory_full(bench: Bench, figures: dict[str, Any]) -> bool:
    """memory full: insertions are refused, workers' verbs all work, insertions again once drained."""
    redis = bench.redis("--maxmemory-policy", "noeviction")
    admin = redis.session()
    port = bench.daemon(redis.url).port
    works(port, "warm")
    full = Full(port)
    full.client.ask("PATCH", "/v1/queues/bench", b'{"max_attempts":1000}')
    admin("CONFIG", "SET", "maxmemory", used_memory(redis) + bench.size(40, 6) * 1_000_000)
    while (reply := full.insert()).status == 201:
        pass
    admin("CONFIG", "SET", "maxmemory", used_memory(redis) - 100_000)  # so that no command is too small to be refused
    figures["inserted"], figures["refusal"] = full.statuses["insert"][201], reply.json.get("type", "")
    full.work()
    inserted = full.statuses["insert"][201]
    figures["accepted_while_full"] = inserted - figures["inserted"]
    full.drain()
    statuses = full.statuses
    figures["statuses"] = {word: {str(status): n for status, n in each.items()} for word, each in statuses.items()}
    ends = time.monotonic() + NOTICED
    while (status := full.insert().status) != 201 and time.monotonic() < ends:
        time.sleep(0.05)
    figures["inserted_again"] = status
    out = statuses["ack"][204] + statuses["fetch"][200]
    good = {"reserve": {200}, "extend": {200}, "nack": {200}, "release": {204}, "ack": {204}, "fetch": {200, 404}}
    worked = all(statuses[word] and set(statuses[word]) <= expected for word, expected in good.items())
    refused = figures["refusal"] == "/problems/store-full" and not figures["accepted_while_full"]
    return worked and refused and figures["inserted_again"] == 201 and out == inserted


ROWS = {
    4: torn_file,
    5: reply_cut,
    6: redis_stopped,
    7: redis_away,
    8: bad_handshakes,
    9: scripts_flushed,
    10: memory_full,
}
