"""Fixtures: one Redis and one daemon a module, emptied before each test."""

from __future__ import annotations

import pytest
import pytest_twisted
from certificates import Issued
from logs import exception, logged
from programs import Redis
from servers import Client, DaemonProcess, daemon_on, port_of
from twisted.internet.defer import maybeDeferred

pytest.register_assert_rewrite("chance", "compare", "model", "run", "stored")  # what test_model.py is made of


@pytest.fixture(scope="module")
def redis():
    server = Redis()
    yield server
    server.remove()


@pytest_twisted.async_yield_fixture(scope="module")
async def shared_daemon(redis):
    daemon = daemon_on(redis.url)
    daemon.startService()
    await daemon.started
    yield daemon
    await maybeDeferred(daemon.stopService)


@pytest_twisted.async_yield_fixture()
async def daemon(redis, shared_daemon):
    redis.command("FLUSHALL")
    yield shared_daemon


@pytest_twisted.async_yield_fixture()
async def client(daemon):
    client = Client(port_of(daemon))
    yield client
    await client.close()


@pytest_twisted.async_yield_fixture()
async def processes():
    """Starts daemons outside this process, `processes(*flags)`, and ends those that still run after the test."""
    started = []

    def start(*flags, **options):
        started.append(DaemonProcess(*flags, **options))
        return started[-1]

    yield start
    for process in started:
        if not process.has_ended:
            await process.kill()


@pytest.fixture
def redises():
    """Starts Redis servers, `redises(*options)`, and removes them after the test."""
    started = []

    def start(*options, **more):
        started.append(Redis(*options, **more))
        return started[-1]

    yield start
    for server in started:
        server.remove()


@pytest.fixture
def failures():
    """The exceptions that are logged during the test."""
    with logged(exception) as found:
        yield found


@pytest.fixture
def certificate(tmp_path):
    """A file with a key and a certificate of its own."""
    return Issued("localhost").write(tmp_path / "both.pem")
