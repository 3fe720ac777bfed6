"""Behind real proxies: each job comes once, each acknowledgement is taken, and whoever leaves gets nothing for ever."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path

import pytest
import pytest_twisted
from proxies import KEEPS, proxy_command
from pytest_twisted import ensureDeferred as awaiting
from servers import PATIENCE, daemon_on, eventually, port_of
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread

JOBS, CLIENTS = 64, 16
HEADERS = {"Content-Type": "application/json"}

CASES = {
    "haproxy": ("haproxy", ""),
    "haproxy that keeps no connection": ("haproxy", "option httpclose"),
    "haproxy that closes to the server": ("haproxy", "option http-server-close"),
    "haproxy that shares connections": ("haproxy", "http-reuse always"),
    "nginx": ("nginx", ""),
    "nginx that keeps connections": ("nginx", KEEPS),
    "nginx without buffers": ("nginx", "proxy_buffering off;"),
}
PLACES = ["plain", "TLS before the proxy", "TLS behind the proxy"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Proxy:
    """A proxy of its own process in front of a port."""

    def __init__(self, kind, options, target, folder, certificate, place):
        self.port, self.is_tls = free_port(), place == "TLS before the proxy"
        certificate = certificate if self.is_tls else None
        is_far_tls = place == "TLS behind the proxy"
        command = proxy_command(
            kind, folder, self.port, target, options, certificate=certificate, is_far_tls=is_far_tls
        )
        self.log = (folder / "proxy.log").open("wb")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)

    def connection(self):
        if self.is_tls:
            return HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=ssl._create_unverified_context())
        return HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def wait(self):
        ends = time.monotonic() + PATIENCE
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                assert self.process.poll() is None, Path(self.log.name).read_text()
                assert time.monotonic() < ends

    def end(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


class Consumers:
    """Consumers at the same time, each with a connection that it keeps, or a new one for each request."""

    def __init__(self, proxy, keeps):
        self.proxy, self.keeps = proxy, keeps
        self.seen, self.acks, self.lock = [], [], threading.Lock()

    def run(self, modern):
        with ThreadPoolExecutor(CLIENTS) as pool:
            for done in [pool.submit(self._consume, modern) for _ in range(CLIENTS)]:
                done.result()

    def _consume(self, modern):
        connection = self.proxy.connection()

        def ask(method, path, body=None):
            nonlocal connection
            connection.request(method, path, body and json.dumps(body), HEADERS)
            answer = connection.getresponse()
            text = answer.read()
            if not self.keeps:
                connection.close()
                connection = self.proxy.connection()
            return answer.status, json.loads(text or b"null")

        while True:
            if modern:
                _, said = ask("POST", "/v1/queues/foo/reservations", {"max": 1, "lease": 600})
                found = [job["payload"]["n"] for job in said["jobs"]]
                for job in said["jobs"]:
                    status, _ = ask("POST", f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]})
                    self.acks.append(status)
            else:
                status, said = ask("GET", "/q/foo")
                found = [said["n"]] if status == 200 else []
            if not found:
                connection.close()
                return
            with self.lock:
                self.seen += found


@pytest_twisted.async_yield_fixture()
async def behind(redis, tmp_path, certificate):
    """`behind(case, place)`: a daemon, and a proxy in front of it."""
    redis.command("FLUSHALL")
    started = []

    async def start(case, place="plain"):
        kind, options = CASES[case]
        if not shutil.which(kind):
            if os.environ.get("CI"):
                pytest.fail(f"{kind} is not installed")
            pytest.skip(f"{kind} is not installed")
        endpoint = f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}"
        flags = {"listen": endpoint} if place == "TLS behind the proxy" else {}
        daemon = daemon_on(redis.url, **flags)
        daemon.startService()
        await daemon.started
        proxy = Proxy(kind, options, port_of(daemon), tmp_path, certificate, place)
        started.extend((daemon, proxy))
        await deferToThread(proxy.wait)
        return daemon, proxy

    yield start
    if started:
        started[1].end()
        await maybeDeferred(started[0].stopService)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", CASES)
@awaiting
async def test_each_job_comes_once_and_each_ack_is_taken(behind, redis, case, place):
    daemon, proxy = await behind(case, place)
    for keeps in (False, True):
        for modern in (False, True):
            await daemon.queues.push("foo", [b'{"n":%d}' % n for n in range(JOBS)])
            consumers = Consumers(proxy, keeps)
            await deferToThread(consumers.run, modern)
            assert sorted(consumers.seen) == list(range(JOBS)), (keeps, modern)
            assert set(consumers.acks) == ({204} if modern else set())

            async def gone():
                return not redis.taken("foo")

            await eventually(gone, "the end of all jobs")


@pytest.mark.parametrize("case", ["haproxy", "nginx"])
@awaiting
async def test_a_job_for_a_long_poll_that_was_given_up_comes_back_with_its_lease(behind, case):
    """HAProxy keeps its side open when the client has left, and takes the job: it is lost to nobody under /v1."""
    daemon, proxy = await behind(case)

    def give_up():
        connection = proxy.connection()
        connection.request("POST", "/v1/queues/foo/reservations", '{"wait":30,"lease":1}', HEADERS)
        connection.sock.settimeout(0.2)
        with pytest.raises((OSError, HTTPException)):
            connection.getresponse()
        connection.close()

    await deferToThread(give_up)
    await daemon.queues.push("foo", [b'{"n":1}'])

    def reserve():
        connection = proxy.connection()
        connection.request("POST", "/v1/queues/foo/reservations", '{"wait":15}', HEADERS)
        jobs = json.loads(connection.getresponse().read())["jobs"]
        connection.close()
        return [job["payload"] for job in jobs]

    assert await deferToThread(reserve) == [{"n": 1}]
