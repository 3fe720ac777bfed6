"""Sockets that systemd has opened: served by one process or several, and left as they were."""

import socket

import pytest
from pids import insert, listening
from pytest_twisted import ensureDeferred as awaiting
from twisted.internet import tcp
from twisted.internet.threads import deferToThread

from presque.process.listening import hold

KINDS = {"INET": ("127.0.0.1", 0), "INET6": ("::1", 0), "UNIX": None}


@pytest.fixture
def opened(tmp_path):
    """Opens a listening socket of that kind as systemd would, `opened(kind)`."""
    sockets = []

    def open_one(kind):
        sockets.append(socket.socket(getattr(socket, f"AF_{kind}")))
        sockets[-1].bind(KINDS[kind] or str(tmp_path / "activated.sock"))
        sockets[-1].listen(128)
        return sockets[-1]

    yield open_one
    for listening_socket in sockets:
        listening_socket.close()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
@awaiting
async def test_sockets_that_systemd_has_opened_are_served_and_outlive_the_daemon(
    processes, redises, opened, kind, count
):
    redis, listening_socket = redises(), opened(kind)
    flags = ("--redis", redis.url, "--processes", str(count))
    early = deferToThread(insert, listening_socket.getsockname())  # it waits in the queue of the socket
    for inserted in (2, 4):
        daemon = processes(*flags, listen=f"systemd:domain={kind}:index=0", inherits=[listening_socket])
        daemon.listening.addErrback(lambda failure: None)
        assert b" 201 " in await early
        assert b" 201 " in await deferToThread(insert, listening_socket.getsockname())
        if count > 1:
            await listening(daemon)
        await daemon.stop()
        assert "Traceback" not in daemon.log, daemon.log
        assert redis.command("LLEN", "presque:{0}:foo:ready") == inserted
        early = deferToThread(insert, listening_socket.getsockname())
    daemon = processes(*flags, listen=f"systemd:domain={kind}:index=0", inherits=[listening_socket])
    daemon.listening.addErrback(lambda failure: None)
    assert b" 201 " in await early


@awaiting
async def test_a_socket_is_found_by_its_name_too_and_its_kind_by_looking(processes, redises, opened):
    sockets = [opened("INET"), opened("INET6")]  # ListenStream=5000 makes an INET6 one, whatever one expects
    daemon = processes("--redis", redises().url, listen="systemd:domain=INET:index=1", inherits=sockets)
    await daemon.listening
    assert b" 201 " in await deferToThread(insert, sockets[1].getsockname())
    named = processes("--redis", redises().url, listen="systemd:domain=INET:name=unknown", inherits=sockets[:1])
    await named.listening
    assert b" 201 " in await deferToThread(insert, sockets[0].getsockname())


@awaiting
async def test_sockets_are_not_shared_by_a_twisted_whose_ports_end_otherwise(monkeypatch):
    monkeypatch.delattr(tcp.Port, "_preexistingSocket")
    with pytest.raises(RuntimeError, match="this presque does not know Twisted"):
        await hold(None)
