"""Rows 19, 20 and 21: whatever is sent, nothing breaks, changes or meets; and the model."""

from __future__ import annotations

import json
import os
import re
import socket
import string
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from benchmarks.load import ROOT, Client, encoded, together
from presque import keys

if TYPE_CHECKING:
    from benchmarks.load import Bench

JOB = b'{"key":"value"}'
READS = ("/status/", "/status/foo", "/status/foo?with_desc=1", "/j/foo", "/control/foo", "/w/", "/w/?worker_id=w1")
READS += ("/w/?queue_name=foo", "/v1/queues", "/v1/queues/foo", "/v1/queues/foo/jobs?state=ready&limit=5", "/nope")
READS += ("/v1/jobs/foo:1", "/", "/metrics", "/health/live", "/openapi.json")
REQUESTS = [encoded(method, path) for path in READS for method in ("GET", "HEAD", "OPTIONS")]
REQUESTS += [encoded(method, path, JOB) for path in ("/q/foo", "/qb/foo", "/w/foo") for method in ("POST", "PUT")]
REQUESTS += [encoded("GET", "/q/foo"), encoded("GET", "/qb/foo?batch_size=2"), encoded("DELETE", "/q/foo")]
REQUESTS += [
    encoded("POST", "/v1/queues/foo/jobs", b'{"payload":{"n":1},"delay":1.5}', Idempotency_Key="k"),
    encoded("POST", "/v1/queues/foo,bar/reservations", b'{"max":2,"lease":1,"worker_id":"w"}'),
    encoded("POST", "/v1/jobs/foo:1/ack", b'{"receipt":"x"}'),
    encoded("POST", "/v1/settlements", b'{"settlements":[{"id":"foo:1","receipt":"x","outcome":"nack"}]}'),
    encoded("PATCH", "/v1/queues/foo", b'{"lease":5,"backoff":{"first":1}}'),
    encoded("POST", "/control/foo", b'{"status":"start"}'),
    encoded("POST", "/q/foo?delayed=1e3&uniq=k", JOB, X_presque_workerid="w1"),
    b"POST /q/foo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"f\r\n" + JOB + b"\r\n0\r\n\r\n",
]
JUNK = [
    b"\x00",
    b"\r\n",
    b"%2F",
    b"%00",
    b"\xff",
    b"{",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b":",
    b";",
    b" ",
    b"?",
]
JUNK += [b"\xed\xa0\x80", b"//", b"..", b"&", b"=", b"Content-Length: 5\r\n", b"nan", b"null", b'"', b"%", b"+", b"\t"]


def mutated(chance: Random, data: bytes, breaks: bool = True) -> bytes:
    """Some bytes deleted, repeated, changed or put in; without `breaks` no end of a line."""
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(data))
        to = at + chance.randint(1, 8)
        way = chance.randrange(4)
        if way == 0:
            data = data[:at] + data[to:]
        elif way == 1:
            data = data[:to] + data[at:]
        elif way == 2:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        else:
            data = data[:at] + chance.choice(JUNK) + data[at:]
    return data if breaks else data.translate(None, b"\r\n")


def send(port: int, data: bytes) -> bytes:
    """Send all that, say that there is no more, and return all that comes."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while more := connection.recv(262144):
                received += more
        except OSError:
            pass
    return received


def fuzz(bench: Bench, figures: dict[str, Any]) -> bool:
    """raw fuzz: mutated requests; no 500, no traceback, no state changed by GET (other than taking) or HEAD."""
    total, reads = bench.size(180_000, 4_000), bench.size(20_000, 800)
    redis = bench.redis("--appendfsync", "no")
    daemon = bench.daemon(redis.url, "--request-timeout", "2")
    statuses: Counter[str] = Counter()
    bad: list[str] = []

    def note(data: bytes, received: bytes) -> None:
        for status in re.findall(rb"(?m)^HTTP/1\.[01] (\d{3}) ", received):
            statuses[status.decode()] += 1
            if status[:1] == b"5" and status not in (b"501", b"505"):
                bad.append(repr(data[:600]))

    def attack(seed: int) -> None:
        chance = Random(seed)
        for _ in range(total // 8 // 4):
            data = b"".join(mutated(chance, chance.choice(REQUESTS)) for _ in range(4))
            note(data, send(daemon.port, data))

    together([partial(attack, bench.chance.randrange(2**32)) for _ in range(8)])
    figures["requests"], figures["statuses"] = total + reads, statuses
    client = Client(daemon.port)
    client.ask("DELETE", "/q/foo")
    client.ask("DELETE", "/q/bar")
    for n in range(3):
        client.ask("POST", "/q/foo", b'{"n":%d}' % n, X_presque_workerid="w1")
    time.sleep(2.5)  # leases and delays of the first part end
    changed = []
    before = redis.command("DEBUG", "DIGEST")
    for _ in range(reads):
        chance = bench.chance
        if chance.random() < 0.5:
            line = b"GET /" + mutated(chance, chance.choice(READS).encode()[1:], breaks=False)
            line = re.sub(rb"(?i)^GET (/|\.|%2e|%2f|http:)*(q|%71|%51)", b"GET /x", line)  # that would take
        else:
            line = b"HEAD /" + mutated(chance, chance.choice(["q/foo", "qb/foo", *READS]).encode()[1:], breaks=False)
        data = line + b" HTTP/1.1\r\nHost: x\r\nX-presque-workerid: w2\r\n\r\n"
        note(data, send(daemon.port, data))
        if (after := redis.command("DEBUG", "DIGEST")) != before:
            changed.append(repr(data[:300]))
            before = after
    figures["server_errors"], figures["changed_by_reading"] = len(bad), len(changed)
    figures["examples"] = bad[:3] + changed[:3]
    figures["unhandled"] = daemon.log.count("Unhandled")
    alive = client.ask("POST", "/q/foo", JOB).status == 201
    return alive and not (bad or changed or bench.tracebacks() or figures["unhandled"])


def generated(chance: Random, depth: int = 0) -> str:
    """A JSON text as clients write them, or nearly one."""
    kind = chance.randrange(9 if depth < 5 else 6)
    space = chance.choice(["", "", " ", "\n", "\t "])
    if kind == 0:
        return chance.choice(["true", "false", "null", "NaN", "-Infinity", "007", "1.50", "-0", "1e999", "1E+2", "- 1"])
    if kind == 1:
        return str(chance.randint(-(10 ** chance.randint(1, 40)), 10 ** chance.randint(1, 40)))
    if kind == 2:
        return repr(chance.uniform(-1e9, 1e9))
    if kind < 6:
        text = "".join(chr(chance.choice([chance.randrange(32, 127), chance.randrange(0xD7FF)])) for _ in range(5))
        extra = chance.choice(["", "\\ud800", "\\ud83d\\ude00", "\\u0000", "\\/", "\U0001f600", "\\x", "\x01"])
        return json.dumps(text, ensure_ascii=chance.random() < 0.5)[:-1] + extra + '"'
    if kind == 6:
        return "[" + f"{space},".join(generated(chance, depth + 1) for _ in range(chance.randrange(4))) + "]"
    pairs = [f'"{chance.choice("abé")}"{space}:{generated(chance, depth + 1)}' for _ in range(chance.randrange(4))]
    return "{" + f",{space}".join(pairs) + "}"


def payload(chance: Random) -> bytes:
    """A body: mostly an object, some with any bytes in it, some very deep."""
    luck = chance.random()
    if luck < 0.1:
        return chance.randbytes(chance.randint(1, 60))
    if luck < 0.13:
        deep = chance.choice([10, 500, 1100, 5000])
        return b'{"a":' + b"[" * deep + b"]" * deep + b"}"
    body = ('{"k":' + generated(chance) + chance.choice(["}", " }", "}\n"])).encode("utf-8", "surrogatepass")
    return mutated(chance, body) or b"{" if luck < 0.4 else body


def payloads(bench: Bench, figures: dict[str, Any]) -> bool:
    """payloads and names: generated bodies come back byte-identical or are a 4xx; no two names share a key."""
    total, pairs = bench.size(20_000, 1_000), bench.size(10_000, 2_000)
    redis = bench.redis()
    port = bench.daemon(redis.url).port
    statuses: Counter[str] = Counter()
    wrong: list[str] = []

    def exchange(part: int, seed: int) -> None:
        chance, client = Random(seed), Client(port)
        for n in range(total // 4):
            body = payload(chance)
            modern = n % 2 == 1
            path, sent = f"/q/p{part}", body
            if modern:
                path, sent = f"/v1/queues/p{part}/jobs", b'{"payload":' + body + b"}"
            status = client.ask("POST", path, sent).status
            statuses[f"{'v1' if modern else '2010'} {status}"] += 1
            came = client.ask("GET", f"/q/p{part}")
            wanted = body.strip(b" \t\r\n") if modern else body  # what is around a value is not the value
            if status == 201 and came.body.strip(b" \t\r\n" if modern else b"") != wanted:
                wrong.append(f"{body[:200]!r} came back as {came.body[:200]!r}")
            elif (status != 201 and came.status != 404) or not (status == 201 or 400 <= status < 500):
                wrong.append(f"{body[:200]!r}: {status}, then {came.status}")

    together([partial(exchange, part, bench.chance.randrange(2**32)) for part in range(4)])
    shared = 0
    letters = string.ascii_letters + string.digits + "._:@-"
    suffixes = sorted(keys.QUEUE_KEYS | keys.PARTITION_KEYS)
    for _ in range(pairs):
        one = bench.chance.choice("aQ0_") + "".join(bench.chance.choices(letters, k=bench.chance.randint(0, 8)))
        other = one + bench.chance.choice([":", "", ":0:", "."]) + bench.chance.choice(suffixes)
        for name in (one, other):
            keys.check_name(name)
        both = [{keys.queue_key(key, name, 1) for key in keys.QUEUE_KEYS} for name in (one, other)]
        shared += bool(both[0] & both[1])
    figures.update(bodies=total, statuses=dict(statuses), wrong=len(wrong), examples=wrong[:3], pairs=pairs)
    figures["shared_keys"] = shared
    return not wrong and not shared and not bench.tracebacks()


def model(bench: Bench, figures: dict[str, Any]) -> bool:
    """model: a stateful property test of every verb; no difference from the model."""
    figures["runs"] = bench.size(2000, 20)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/test_model.py"]
    variables = {**os.environ, "MODEL_RUNS": str(figures["runs"])}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=3600, check=False)
    figures["said"] = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
    return done.returncode == 0


ROWS = {19: fuzz, 20: payloads, 21: model}
