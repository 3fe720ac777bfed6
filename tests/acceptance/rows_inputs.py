"""Rows 19, 20 and 21: whatever is sent, nothing breaks, changes or meets; and the model."""

from __future__ import annotations

import json
import os
import re
import socket
import string
import subprocess
import sys
from collections import Counter
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from presque.redis import keys
from tests.load import Client, encoded, together
from tests.programs import ROOT

if TYPE_CHECKING:
    from tests.acceptance.bench import Bench
    from tests.programs import Daemon, Redis

JOB = b'{"key":"value"}'
READS = ("/status/", "/status/foo", "/status/foo?with_desc=1", "/j/foo", "/control/foo", "/w/", "/w/?worker_id=w1")
READS += ("/w/?queue_name=foo", "/v1/queues", "/v1/queues/foo", "/v1/queues/foo/jobs?state=ready&limit=5", "/nope")
READS += (
    "/v1/queues/foo/jobs?cursor=1",
    "/v1/jobs/foo:1",
    "/",
    "/metrics",
    "/health/live",
    "/openapi.json",
    "/v1/queues?limit=2&cursor=bar",
)
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
LAST = b"\r\n\r\n" + encoded("GET", "/status/", Connection="close")
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


STATE = """
local all, dumps = redis.call('KEYS', '*'), {}
table.sort(all)
for _, key in ipairs(all) do
  if not key:find('/process', 1, true) then -- what the daemon says of itself every few seconds
    dumps[#dumps + 1] = key .. redis.call('DUMP', key)
  end
end
return redis.sha1hex(table.concat(dumps, ' '))
"""


class Attack:
    """Requests with mutations, and how they are answered."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.statuses: Counter[str] = Counter()
        self.bad: list[str] = []  # requests that were answered 5xx
        self.changed: list[str] = []  # that changed something and should not have

    def send(self, data: bytes) -> None:
        for status in re.findall(rb"(?m)^HTTP/1\.[01] (\d{3}) ", send(self.daemon.port, data)):
            self.statuses[status.decode()] += 1
            if status[:1] == b"5" and status not in (b"501", b"505"):
                self.bad.append(repr(data[:600]))

    def write(self, seed: int, total: int) -> None:
        """Each on a connection of its own or behind a whole request, and before one that ends what it began."""
        chance = Random(seed)
        for _ in range(total):
            before = chance.choice([b"", chance.choice(REQUESTS)])
            self.send(before + mutated(chance, chance.choice(REQUESTS)) + LAST)

    def read(self, chance: Random, total: int, redis: Redis) -> None:
        """GET and HEAD, never those that take a job."""
        state = partial(redis.session(), "EVAL", STATE, 0)
        before = state()
        for _ in range(total):
            if chance.random() < 0.5:
                line = b"GET /" + mutated(chance, chance.choice(READS).encode()[1:], breaks=False)
                line = re.sub(rb"(?i)^GET (/|\.|%2e|%2f|http:)*(q|%71|%51)", b"GET /x", line)  # that would take
            else:
                path = chance.choice(["/q/foo", "/qb/foo", *READS])
                line = b"HEAD /" + mutated(chance, path.encode()[1:], breaks=False)
            data = line + b" HTTP/1.1\r\nHost: x\r\nX-presque-workerid: w2\r\n\r\n"
            self.send(data)
            if (after := state()) != before:
                self.changed.append(repr(data[:300]))
                before = after


def fuzz(bench: Bench, figures: dict[str, Any]) -> bool:
    """raw fuzz: mutated requests; no 500, no traceback, no state changed by GET (other than taking) or HEAD."""
    total, reads = bench.size(180_000, 3_000), bench.size(20_000, 1_000)
    redis = bench.redis("--appendfsync", "no")
    daemon = bench.daemon(redis.url, "--request-timeout", "1")
    attack = Attack(daemon)
    together([partial(attack.write, bench.chance.randrange(2**32), total // 8) for _ in range(8)])
    client = Client(daemon.port)
    for key in redis.command("KEYS", "presque:{*"):
        redis.command("DEL", key)  # with its leases and delays, which would change things by themselves
    for n in range(3):
        client.ask("POST", "/q/foo", b'{"n":%d}' % n, X_presque_workerid="w1")
    attack.read(bench.chance, reads, redis)
    figures["requests"], figures["statuses"] = total + reads, dict(attack.statuses)
    figures["server_errors"], figures["changed_by_reading"] = len(attack.bad), len(attack.changed)
    figures["examples"] = attack.bad[:3] + attack.changed[:3]
    figures["unhandled"] = daemon.log.count("Unhandled")
    alive = client.ask("POST", "/q/foo", JOB).status == 201
    reached = attack.statuses["200"] and attack.statuses["201"] and attack.statuses["400"]
    good = not (attack.bad or attack.changed or bench.tracebacks() or figures["unhandled"])
    return alive and bool(reached) and good


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


def exchange(port: int, part: int, seed: int, total: int, statuses: Counter[str]) -> list[str]:
    """Bodies in and out, one after another, by both interfaces in turn; what was wrong with them."""
    chance, client, wrong = Random(seed), Client(port), []
    for n in range(total):
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
    return wrong


def names_that_meet(chance: Random, pairs: int) -> int:
    """Of so many pairs of names that look alike, how many share a key."""
    shared = 0
    letters = string.ascii_letters + string.digits + "._:@-"
    suffixes = sorted(keys.QUEUE_KEYS | keys.PARTITION_KEYS)
    for _ in range(pairs):
        one = chance.choice("aQ0_") + "".join(chance.choices(letters, k=chance.randint(0, 8)))
        other = one + chance.choice([":", "", ":0:", "."]) + chance.choice(suffixes)
        for name in (one, other):
            keys.check_name(name)
        both = [{keys.queue_key(key, name, 1) for key in keys.QUEUE_KEYS} for name in (one, other)]
        shared += bool(both[0] & both[1])
    return shared


def payloads(bench: Bench, figures: dict[str, Any]) -> bool:
    """payloads and names: generated bodies come back byte-identical or are a 4xx; no two names share a key."""
    total, pairs = bench.size(20_000, 1_000), bench.size(10_000, 2_000)
    port = bench.daemon(bench.redis().url).port
    statuses: Counter[str] = Counter()
    seeds = [bench.chance.randrange(2**32) for _ in range(4)]
    parts = [partial(exchange, port, part, seed, total // 4, statuses) for part, seed in enumerate(seeds)]
    wrong = [each for found in together(parts) for each in found]
    shared = names_that_meet(bench.chance, pairs)
    figures.update(bodies=total, statuses=dict(statuses), wrong=len(wrong), examples=wrong[:3], pairs=pairs)
    figures["shared_keys"] = shared
    both = statuses["2010 201"] and statuses["v1 201"] and statuses["2010 400"] and statuses["v1 400"]
    return bool(both) and not wrong and not shared and not bench.tracebacks()


def model(bench: Bench, figures: dict[str, Any]) -> bool:
    """model: a stateful property test of every verb; no difference from the model."""
    figures["runs"] = bench.size(2000, 20)
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/jobs/test_model.py"]
    variables = {**os.environ, "MODEL_RUNS": str(figures["runs"]), "MODEL_SEED": str(bench.seed)}
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=3600, check=False)
    figures["said"] = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
    if done.returncode:
        print(done.stdout[-4000:], file=sys.stderr)
    return done.returncode == 0


ROWS = {19: fuzz, 20: payloads, 21: model}
