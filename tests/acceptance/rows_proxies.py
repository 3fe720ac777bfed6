"""Rows 22 and 23: what stands between presque and its consumers, and how consumers end their connections."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import subprocess
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.load import Client, encoded, together, until, whole
from tests.proxies import KEEPS, proxy_command

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.bench import Bench

CLIENTS = 16  # at a time
PAUSES = (0.0, 0.001, 0.003, 0.006, 0.012, 0.02)  # seconds after which a client that has read all ends its connection
ENDINGS = ("close", "reset", "close_notify")

PROXIES = {
    "haproxy": ("haproxy", ""),
    "haproxy httpclose": ("haproxy", "option httpclose"),
    "haproxy http-server-close": ("haproxy", "option http-server-close"),
    "nginx": ("nginx", ""),
    "nginx keep-alive": ("nginx", KEEPS),
    "nginx no buffering": ("nginx", "proxy_buffering off;"),
}


def proxy(bench: Bench, name: str, target: int) -> int:
    """Start that proxy in front of a port; its own port."""
    kind, options = PROXIES[name]
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    command = proxy_command(kind, bench.folder(), port, target, options)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    bench.callback(process.wait)
    bench.callback(process.terminate)
    until(lambda: _answers(port), what=name)
    return port


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


class Tally:
    """What consumers have received, and what their acknowledgements were answered."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.seen: list[int] = []
        self.acks: list[int] = []

    def wrong(self, modern: bool) -> int:
        counts = Counter(self.seen)
        missing = self.jobs - len(counts)
        refused = sum(status != 204 for status in self.acks) + (len(self.acks) != len(self.seen) if modern else 0)
        return missing + len(self.seen) - len(counts) + refused


def behind_proxies(bench: Bench, figures: dict[str, Any]) -> bool:
    """behind proxies: real HAProxy and nginx, new and kept connections; each job once, every ack 204."""
    jobs = bench.size(300, 48)
    target = bench.daemon(bench.redis().url).port
    direct = Client(target)
    for name in PROXIES:
        port = proxy(bench, name, target)
        wrong = 0
        for keeps in (False,) if "httpclose" in name else (False, True):  # which closes to the client too
            for modern in (False, True):
                direct.post("/v1/queues/bench/jobs", {"jobs": [{"payload": {"n": n}} for n in range(jobs)]})
                tally = Tally(jobs)
                together([partial(_consume, port, keeps, modern, tally)] * CLIENTS)
                wrong += tally.wrong(modern)
        figures[name] = {"wrong": wrong, "given_up_s": round(_given_up(port, direct), 1)}
    return not any(each["wrong"] for each in figures.values())


def _consume(port: int, keeps: bool, modern: bool, tally: Tally) -> None:
    client = Client(port)
    found = True
    while found:
        numbers = []
        if modern:
            leased = client.post("/v1/queues/bench/reservations", {"max": 1, "lease": 600}).json["jobs"]
            for job in leased:
                numbers.append(job["payload"]["n"])
                if not keeps:
                    client.close()
                tally.acks.append(client.post(f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]}).status)
        else:
            reply = client.ask("GET", "/q/bench")
            numbers = [reply.json["n"]] if reply.status == 200 else []
        if not keeps:
            client.close()
        tally.seen += numbers
        found = bool(numbers)
    client.close()


def _given_up(port: int, direct: Client) -> float:
    """Seconds until a job comes again that came for a long poll that its client has given up; its lease is 1 s."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(encoded("POST", "/v1/queues/left/reservations", b'{"wait":20,"lease":1}'))
        time.sleep(0.1)
    time.sleep(0.1)
    direct.post("/v1/queues/left/jobs", {"payload": 1})

    def acknowledged() -> bool:
        jobs = direct.post("/v1/queues/left/reservations", {"wait": 5}).json["jobs"]
        return (
            bool(jobs) and direct.post(f"/v1/jobs/{jobs[0]['id']}/ack", {"receipt": jobs[0]["receipt"]}).status == 204
        )

    return until(acknowledged, 20, "the job of a long poll that was given up")


def resets(bench: Bench, figures: dict[str, Any]) -> bool:
    """resets and TLS: clients that read all and then leave, plain and TLS; each job once, every ack 204."""
    jobs = bench.size(300, 18)
    redis, certificate = bench.redis(), _certificate(bench.folder())
    tls = f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}"
    direct = Client(bench.daemon(redis.url).port)
    secure = bench.daemon(redis.url, "--listen", tls).ports[-1]
    for name, port in (("plain", direct.port), ("TLS", secure)):
        for ending in ENDINGS if name == "TLS" else ENDINGS[:2]:
            for modern in (False, True):
                direct.post("/v1/queues/bench/jobs", {"jobs": [{"payload": {"n": n}} for n in range(jobs)]})
                tally, left = Tally(jobs), list(range(2 * jobs))
                together([partial(_leave, port, name == "TLS", ending, modern, tally, left, direct.port)] * 4)
                figures[f"{name}, {ending}, {'reserve' if modern else 'fetch'}: wrong"] = tally.wrong(modern)
    return not any(figures.values())


def _leave(port: int, tls: bool, ending: str, modern: bool, tally: Tally, left: list[int], direct: int) -> None:
    """Take jobs, each on a connection of its own that ends as asked, until there is none."""
    client = Client(direct)
    while left:
        pause = PAUSES[left.pop() % len(PAUSES)]
        status, said = _take(port, tls, ending, modern, pause)
        jobs = said["jobs"] if modern else []
        tally.seen += [job["payload"]["n"] for job in jobs] if modern else [said["n"]] if status == 200 else []
        for job in jobs:
            tally.acks.append(client.post(f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]}).status)
        if (not jobs and status != 200) or (modern and not jobs):
            return


def _take(port: int, tls: bool, ending: str, modern: bool, pause: float) -> tuple[int, Any]:
    ask = encoded("GET", "/q/bench")
    if modern:
        ask = encoded("POST", "/v1/queues/bench/reservations", b'{"max":1,"lease":600}')
    client = socket.create_connection(("127.0.0.1", port), 30)
    if tls:
        context = ssl._create_unverified_context()
        client = context.wrap_socket(client, suppress_ragged_eofs=True)
    client.sendall(ask)
    received = b""
    while (found := whole(received)) is None:
        received += client.recv(65536)
    time.sleep(pause)
    if ending == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if ending == "close_notify" and isinstance(client, ssl.SSLSocket):
        client.unwrap().close()
    client.close()
    return found[0].status, json.loads(found[0].body)


def _certificate(folder: Path) -> Path:
    path = folder / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*command, "-keyout", folder / "key", "-out", folder / "cert"], check=True, capture_output=True)
    path.write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return path


ROWS = {22: behind_proxies, 23: resets}
