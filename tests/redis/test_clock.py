"""Clocks that step, the daemon's, Redis', or both: waits, delays and answers go on, and no job comes twice."""

import socket
import subprocess
import sys
import time
from email.utils import parsedate_to_datetime

import pytest
from clocks import Wall
from load import deafen
from programs import ROOT
from pytest_twisted import ensureDeferred as awaiting
from servers import PATIENCE, Client, eventually, tool
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater

from presque.service import make_service
from presque.settings import settings

JOB = b'{"key":"value"}'
LOAD = 2.0  # seconds under load after a step


@pytest.fixture
def wall(tmp_path):
    tool("cc")
    return Wall(tmp_path)


def together(*coroutines):
    return gatherResults([Deferred.fromCoroutine(each) for each in coroutines])


class Load:
    """A producer and two consumers, and what became of the jobs."""

    def __init__(self, client):
        self.client = client
        self.statuses, self.inserted, self.got = [], [], []
        self.producing = True
        self.stopped = together(self.produce(), self.consume(), self.consume())

    async def produce(self):
        while self.producing:
            number = len(self.statuses)
            status = (await self.client.post("/q/load", b'{"n":%d}' % number)).status
            self.statuses.append(status)
            if status == 201:
                self.inserted.append(number)
            await deferLater(reactor, 0.005)

    async def consume(self):
        while self.producing or len(self.got) < len(self.inserted):
            answer = await self.client.get("/q/load?wait=0.5")
            if answer.status == 200:
                self.got.append(answer.json["n"])

    async def stop(self):
        self.producing = False
        await self.stopped.addTimeout(PATIENCE, reactor)

    def check(self):
        """Each job came once, and no insertion was refused: what Redis' clock made late was sent again."""
        assert set(self.statuses) == {201}
        assert len(self.inserted) > 20
        assert sorted(self.got) == self.inserted


async def ends_in_time(client, name):
    began = time.monotonic()
    assert (await client.get(f"/q/{name}?wait=1")).status == 404
    assert 0.9 < time.monotonic() - began < 3


async def comes_when_due(client, name):
    began = time.monotonic()
    inserted = await client.post(f"/v1/queues/{name}/jobs", b'{"payload":1,"delay":1}')
    assert inserted.status == 201
    answer = await client.get(f"/q/{name}?wait=10")
    assert (answer.status, answer.body) == (200, b"1")
    assert 0.9 < time.monotonic() - began < 3.5


@pytest.mark.parametrize("whose", ["the daemon's", "Redis'", "both"])
@pytest.mark.parametrize("seconds", [-600, 600])
@awaiting
async def test_a_step_under_load_loses_nothing_repeats_nothing_and_holds_nobody_up(
    processes, redises, wall, tmp_path, whose, seconds
):
    environ = wall.environ if whose != "Redis'" else {}
    if whose == "both":
        flags = ["--data-dir", str(tmp_path / "data")]
    else:
        flags = ["--redis", redises(environ=wall.environ if whose == "Redis'" else {}).url]
    daemon = processes(*flags, environ=environ)
    client = Client(await daemon.listening)
    load = Load(client)
    waiting = Deferred.fromCoroutine(ends_in_time(client, "waited-before"))
    await client.get("/q/other?wait=0.3")
    wall.step(seconds)
    await together(ends_in_time(client, "empty"), comes_when_due(client, "due"), client.get(f"/q/x?wait={LOAD}"))
    await waiting
    await load.stop()
    load.check()
    assert "Traceback" not in daemon.log
    assert ("clock was set forward" in daemon.log) == (whose != "the daemon's" and seconds > 0)
    await client.close()


@awaiting
async def test_a_job_on_its_way_when_redis_clock_is_set_forward_is_not_handed_out_again(processes, redises, wall):
    daemon = processes("--redis", redises(environ=wall.environ).url)
    client = Client(await daemon.listening)
    await client.post("/q/foo", JOB)
    with deaf(daemon.port) as consumer:
        consumer.sendall(b"GET /q/foo HTTP/1.1\r\nHost: x\r\n\r\n")

        async def taken():
            return (await client.get("/v1/queues/foo")).json["leased"] == 1

        await eventually(taken, "the take")
        wall.step(600)
        assert (await client.get("/q/foo?wait=1.5")).status == 404
        assert (await client.get("/v1/queues/foo")).json["leased"] == 1
    await client.close()


def deaf(port):
    connection = socket.create_connection(("127.0.0.1", port))
    deafen(connection)
    return connection


@awaiting
async def test_the_date_follows_the_wall_clock(processes, redis, wall):
    daemon = processes("--redis", redis.url, environ=wall.environ)
    client = Client(await daemon.listening)
    for step in (0, -600, 1200):
        wall.step(step)
        date = parsedate_to_datetime((await client.get("/status/foo")).headers["date"]).timestamp()
        offset = {0: 0, -600: -600, 1200: 600}[step]
        assert abs(date - (time.time() + offset)) < 5
    await client.close()


GLOBAL = """
from time import monotonic
from presque.service import make_service
from presque.settings import settings
from twisted.internet import reactor
make_service(settings({"redis": "unix:///none", "listen": "tcp:0:interface=127.0.0.1", "processes": "%d"}, {}))
assert abs(reactor.seconds() - monotonic()) < 5
reactor.callLater(0, reactor.stop)
reactor.run()
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_the_global_reactor_s_time_is_monotonic(processes):
    subprocess.run([sys.executable, "-c", GLOBAL % processes], cwd=ROOT, check=True, timeout=PATIENCE)


def test_a_reactor_of_one_s_own_is_left_as_it_is():
    clock = Clock()
    make_service(settings({"redis": "unix:///none"}, {}), clock)
    assert "seconds" not in vars(clock)
