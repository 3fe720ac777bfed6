"""Rows 4 to 10: Redis away, stopped, full, forgetful, torn, or cut off in the middle of a reply."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.load import Client, Lost, Redis, Refused, insist, percentile, together, until, works

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.load import Bench, Reply

NORMAL = 3.0  # seconds from Redis' return to normal answers
LATEST = 3.2  # seconds: presque's limit of 2, its beat of 0.5 twice, and some for a machine that is shared
PLACES = ("ready", "front", "delayed", "leased", "dead")


def torn_places(redis: Redis) -> int:
    """How many jobs have no body, or are in no place or in several; bodies without a job count too."""
    ask = redis.session()
    wrong = 0
    for key in ask("KEYS", "presque:*:jobs"):
        queue = key.removesuffix(b"jobs")
        bodies = {int(number) for number in ask("HKEYS", key)}
        held: Counter[int] = Counter()
        for place in PLACES:
            command = "LRANGE" if place == "ready" else "ZRANGE"
            held.update(map(int, ask(command, queue + place.encode(), 0, -1)))
        wrong += sum(count > 1 for count in held.values()) + len(set(held) ^ bodies)
    for key in ask("KEYS", "presque:*"):
        queue, _, name = key.rpartition(b":")
        if name.decode() in PLACES and not ask("EXISTS", queue + b":jobs"):
            wrong += 1
    return wrong


def torn_file(bench: Bench, figures: dict[str, Any]) -> bool:
    """torn file: bytes cut off a copied append-only file; it starts, and every id has a body and one place."""
    redis = bench.redis("--aof-load-truncated", "yes", "--auto-aof-rewrite-percentage", "0")
    port = bench.daemon(redis.url).port
    client = Client(port)
    client.ask("PATCH", "/v1/queues/b", b'{"max_attempts":2}')
    for turn in range(bench.size(400, 150)):
        body = "x" * bench.chance.randint(0, 200)
        with contextlib.suppress(Refused):
            client.post(f"/q/a?uniq={turn % 7}", {"n": turn, "text": body})
            client.post(f"/q/a?delayed={time.time() + bench.chance.choice([0.05, 500])}", {"n": turn})
            client.post("/qb/a", {"jobs": [{"n": n} for n in range(3)]})
            client.ask("GET", "/qb/a?batch_size=2")
            jobs = [{"payload": {"n": n}, "delay": n % 2} for n in range(4)]
            client.post("/v1/queues/b/jobs", {"jobs": jobs}, Idempotency_Key=f"k{turn}")
            for job in client.post("/v1/queues/b/reservations", {"max": 3, "lease": 0.5}).json["jobs"]:
                what = bench.chance.choice(["ack", "nack", "release", "extend"])
                client.post(f"/v1/jobs/{job['id']}/{what}", {"receipt": job["receipt"]})
    redis.signal(signal.SIGKILL)
    redis.kill()
    bench.daemons[0].kill()
    cuts, began, wrong, failed = bench.size(200, 20), time.monotonic(), 0, 0
    for _ in range(cuts):
        folder = bench.folder()
        cut = bench.chance.randint(1, 4096)
        path = copied_file(redis.folder, folder)
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.truncate(size - cut)
        try:
            torn = Redis(folder, "--aof-load-truncated", "yes")
        except RuntimeError:
            failed += 1
            continue
        try:
            wrong += torn_places(torn)
        finally:
            torn.kill()
            shutil.rmtree(folder)
    figures.update(cuts=cuts, file_bytes=size, failed_starts=failed, misplaced=wrong)
    figures["seconds_of_cuts"] = round(time.monotonic() - began, 1)
    return failed == 0 and wrong == 0


def copied_file(source: Path, target: Path) -> Path:
    """Copy the append-only file, or from Redis 7 on its folder; the file that was written last."""
    if (source / "appendonlydir").is_dir():
        shutil.copytree(source / "appendonlydir", target / "appendonlydir")
        return max((target / "appendonlydir").glob("*.incr.aof"))
    return type(target)(shutil.copy(source / "appendonly.aof", target))


def reply_cut(bench: Bench, figures: dict[str, Any]) -> bool:
    """reply cut: the first reply to each insertion, reservation, ack is cut; exactly so many jobs, acks repeatable."""
    count = bench.size(1_000, 60)
    redis = bench.redis()
    proxy = bench.proxy(redis)
    port = bench.daemon(proxy.url).port
    Client(port).ask("PATCH", "/v1/queues/bench", b'{"max_attempts":1000}')
    tries: Counter[str] = Counter()
    lock = threading.Lock()

    def cut(what: str, mark: str, ask: Any, good: int) -> Reply:
        proxy.marks.add(mark.encode())
        reply, tried = insist(ask, (good,))
        with lock:
            tries[what] += tried
        return reply

    def insert(part: int) -> None:
        client = Client(port)
        for n in range(part, count, 4):
            key = f"insertion-{n:06}."
            value = {"payload": {"n": n}}
            say = partial(client.post, "/v1/queues/bench/jobs", value, Idempotency_Key=key)
            ids.append(cut("insert", key, say, 201).json["id"])

    def reserve(part: int) -> None:
        """By one client: what is cut with another's reply would be leased to nobody for long."""
        client = Client(port)
        for n in range(count if part == 0 else 0):
            worker = f"reserver-{n:06}."

            def ask(worker: str = worker) -> Reply:
                asked = {"lease": 0.3 if worker.encode() in proxy.marks else 900, "worker_id": worker}
                reply = client.post("/v1/queues/bench/reservations", asked)
                if not reply.json["jobs"]:
                    raise Refused  # all are leased to those whose reply was cut: their leases run out
                return reply

            leases.extend(cut("reserve", worker, ask, 200).json["jobs"])

    def acknowledge(part: int) -> None:
        client = Client(port)
        for lease in leases[part::4]:
            say = partial(client.post, f"/v1/jobs/{lease['id']}/ack", {"receipt": lease["receipt"]})
            cut("ack", lease["receipt"][1:], say, 204)
            insist(say, (204,))  # once more, and nothing is cut

    ids: list[str] = []
    leases: list[dict[str, str]] = []
    for name, task in (("insert", insert), ("reserve", reserve), ("ack", acknowledge)):
        began, connections = proxy.replies, proxy.cuts
        together([partial(task, part) for part in range(4)])
        figures[f"{name}_replies_cut"], figures[f"{name}_tries"] = proxy.replies - began, tries[name]
        figures[f"{name}_connections_cut"] = proxy.cuts - connections
        if name == "insert":
            figures["jobs"] = redis.command("HLEN", "presque:{0}:bench:jobs")
            figures["numbers_used"] = int(redis.command("GET", "presque:{0}/last_id"))
    figures["distinct_ids"], figures["distinct_reserved"] = len(set(ids)), len({job["id"] for job in leases})
    figures["jobs_after_acks"] = redis.command("HLEN", "presque:{0}:bench:jobs")
    figures["processed"] = int(redis.command("HGET", "presque:{0}/processed", "bench"))
    exact = (figures[name] == count for name in ("jobs", "numbers_used", "distinct_ids", "distinct_reserved"))
    return (
        all(exact)
        and figures["jobs_after_acks"] == 0
        and all(figures[f"{name}_replies_cut"] == count for name in ("insert", "reserve", "ack"))
    )


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
            for seconds in (0.5, 2, 10) if not bench.short else (0.5, 2.5):
                time.sleep(1)
                redis.signal(signal.SIGSTOP)
                time.sleep(seconds)
                redis.signal(signal.SIGCONT)
                resumed = time.monotonic()
                time.sleep(NORMAL + 1)
                bad = [at for at, took, status in times if at > resumed and (status >= 500 or took > 0.5)]
                figures[f"normal_after_{seconds}_s"] = round(max(bad, default=resumed) - resumed, 2)
        finally:
            done.set()

    together([*(partial(load, n) for n in range(8)), stop])
    figures["requests"], figures["latest_answer_s"] = len(times), round(max(took for _, took, _ in times), 3)
    figures["statuses"] = {str(status): n for status, n in Counter(status for _, _, status in times).items()}
    soon = all(value <= NORMAL for name, value in figures.items() if name.startswith("normal_after"))
    return soon and figures["latest_answer_s"] <= LATEST and not set(figures["statuses"]) - {"200", "201", "404", "503"}


def redis_away(bench: Bench, figures: dict[str, Any]) -> bool:
    """Redis away: 503 within 100 ms (p99), back at most 2 s after, nothing carried out late."""
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    works(port)
    took: list[float] = []
    refused: set[int] = set()
    other = Counter[str]()
    seconds = bench.size(60, 3)
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
    return figures["back_after_s"] <= 2 and figures["p99_ms"] <= 100 and not bodies and not other


def bad_handshakes(bench: Bench, figures: dict[str, Any]) -> bool:
    """bad handshakes: closed during AUTH, maxclients, LOADING, a replica; heals at most 2 s after, no traceback."""
    users = bench.folder() / "users"
    users.write_text("user default on nopass ~* &* +@all\nuser queue on >secret ~* &* +@all\n")
    redis = bench.redis("--aclfile", str(users))
    admin = redis.session()
    proxy = bench.proxy(redis)
    port = bench.daemon(proxy.url.replace("unix://", "unix://queue:secret@")).port
    works(port)
    lasts = bench.size(10, 2)

    def refuses() -> bool:
        return Client(port).ask_plainly("POST", "/q/bench", b"{}").status == 503

    proxy.mode = "close"
    proxy.drop_all()
    until(refuses, 10, "closed during AUTH")
    time.sleep(lasts)
    proxy.mode = ""
    figures["closed_in_auth_s"] = round(works(port), 3)

    admin("CONFIG", "SET", "maxclients", "1")
    proxy.drop_all()
    until(refuses, 10, "maxclients")
    time.sleep(lasts)
    admin("CONFIG", "SET", "maxclients", "1000")
    figures["maxclients_s"] = round(works(port), 3)

    admin("REPLICAOF", "127.0.0.1", "1")
    until(refuses, 10, "a replica")
    time.sleep(lasts)
    admin("REPLICAOF", "NO", "ONE")
    figures["replica_s"] = round(works(port), 3)

    for n in range(2000):
        admin("SET", f"filler:{n}", "x" * 100)
    admin("BGREWRITEAOF")
    until(lambda: b"aof_rewrite_in_progress:0" in admin("INFO", "persistence"), 20, "the rewriting")
    redis.kill()
    redis.start("--key-load-delay", str(lasts * 500), wait=False)
    saw = False
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        try:
            redis.command("PING")
            break
        except OSError:
            pass
        except Exception as error:
            saw = saw or "LOADING" in str(error)
        time.sleep(0.01)
    figures["loading_s"], figures["loading_seen"] = round(works(port), 3), saw
    return saw and all(value <= 2 for name, value in figures.items() if name.endswith("_s")) and not bench.tracebacks()


def scripts_flushed(bench: Bench, figures: dict[str, Any]) -> bool:
    """scripts flushed: SCRIPT FLUSH every 50 ms; no error seen by a client."""
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    ends = time.monotonic() + bench.size(60, 4)
    statuses: Counter[str] = Counter()

    def load(part: int) -> None:
        client = Client(port)
        while time.monotonic() < ends:
            jobs = client.ask_plainly("POST", "/v1/queues/b/reservations", b'{"max":5}').json.get("jobs", [])
            asks = [("POST", "/q/a", b"{}"), ("GET", "/q/a", None), ("POST", "/v1/queues/b/jobs", b'{"payload":1}')]
            asks += [
                ("POST", f"/v1/jobs/{job['id']}/ack", b'{"receipt":"%b"}' % job["receipt"].encode()) for job in jobs
            ]
            for ask in asks:
                statuses[str(client.ask_plainly(*ask).status)] += 1

    flushes = 0

    def flush() -> None:
        nonlocal flushes
        ask = redis.session()
        while time.monotonic() < ends:
            ask("SCRIPT", "FLUSH")
            flushes += 1
            time.sleep(0.05)

    together([*(partial(load, part) for part in range(8)), flush])
    figures.update(flushes=flushes, statuses=dict(statuses))
    return not set(statuses) - {"200", "201", "204", "404"}


def memory_full(bench: Bench, figures: dict[str, Any]) -> bool:
    """memory full: insertions are refused, reserve, ack, nack and extend work, insertions again once drained."""
    redis = bench.redis("--maxmemory-policy", "noeviction")
    admin = redis.session()
    port = bench.daemon(redis.url).port
    client = Client(port)
    works(port, "warm")
    client.ask("PATCH", "/v1/queues/bench", b'{"max_attempts":1000}')
    used = int(admin("INFO", "memory").split(b"used_memory:")[1].split()[0])
    admin("CONFIG", "SET", "maxmemory", used + bench.size(40, 6) * 1_000_000)
    body = b'{"payload":"%b"}' % (b"x" * 5000)
    inserted = 0
    while (reply := client.ask_plainly("POST", "/v1/queues/bench/jobs", body)).status == 201:
        inserted += 1
    figures["inserted"], figures["refusal"] = inserted, reply.json.get("type", "")
    statuses: dict[str, Counter[int]] = {word: Counter() for word in ("reserve", "extend", "nack", "ack", "insert")}

    def say(word: str, path: str, value: dict[str, Any]) -> Reply:
        reply = client.ask_plainly("POST", path, json.dumps(value).encode())
        statuses[word][reply.status] += 1
        return reply

    for _ in range(50):  # while it is full
        for job in say("reserve", "/v1/queues/bench/reservations", {"max": 1, "lease": 60}).json["jobs"]:
            at, receipt = f"/v1/jobs/{job['id']}", {"receipt": job["receipt"]}
            say("insert", "/v1/queues/bench/jobs", {"payload": "x" * 5000})
            say("extend", f"{at}/extend", {**receipt, "lease": 90})
            say("nack", f"{at}/nack", {**receipt, "error": "full", "delay": 0})
    refused = statuses["insert"].copy()
    acked = 0
    while jobs := say("reserve", "/v1/queues/bench/reservations", {"max": 100, "lease": 60}).json["jobs"]:
        for job in jobs:
            acked += say("ack", f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]}).status == 204
    again = client.ask_plainly("POST", "/v1/queues/bench/jobs", body).status
    figures["statuses"] = {word: {str(status): n for status, n in each.items()} for word, each in statuses.items()}
    figures.update(acked=acked, inserted_again=again)
    worked = all(set(statuses[word]) <= {200, 204} for word in ("reserve", "extend", "nack", "ack"))
    late = refused[201]  # a little memory was freed by what was said before
    figures["insertions_accepted_while_full"] = late
    return worked and again == 201 and figures["refusal"] == "/problems/store-full" and acked == inserted + late


ROWS = {
    4: torn_file,
    5: reply_cut,
    6: redis_stopped,
    7: redis_away,
    8: bad_handshakes,
    9: scripts_flushed,
    10: memory_full,
}
