"""Without tokens nothing listens where other machines could connect, unless that is said."""

import socket

import pytest
from pids import insert
from pytest_twisted import ensureDeferred as awaiting
from servers import LOOPBACK, PATIENCE, eventually
from token_files import TokenFile, bearer
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from presque.process.exposure import exposed
from presque.service import make_service
from presque.settings import SettingError, settings


@pytest.mark.parametrize(
    "endpoint",
    [
        LOOPBACK,
        "tcp:0:interface=127.0.0.2",
        "tcp:port=0:backlog=5:interface=localhost",
        r"tcp:0:interface=\:\:1",
        r"tcp6:0:interface=\:\:1",
        r"tcp6:0:interface=\:\:ffff\:127.0.0.1",
        "haproxy:tcp:0:interface=127.0.0.1",
        "unix:/run/presque.sock:mode=666",
    ],
)
def test_loopback_and_unix_sockets_are_open_to_nobody_else(endpoint):
    assert exposed(endpoint) == ""


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("tcp:0", "all addresses"),
        ("tcp:0:interface=", "all addresses"),
        ("tcp:0:interface=0.0.0.0", "0.0.0.0"),
        ("tcp:0:interface=10.0.0.1", "10.0.0.1"),
        (r"tcp:0:interface=\:\:", "::"),
        ("tcp:0:interface=0", "0"),
        ("tcp:0:interface=127.1", "127.1"),  # the system may read it otherwise than we do
        ("tcp:0:interface=example.org", "example.org"),
        ("tcp:0:interface=localhost.example.org", "localhost.example.org"),
        ("tcp6:0", "::"),
        (r"tcp6:0:interface=2001\:db8\:\:1", "2001:db8::1"),
        (r"tcp6:0:interface=\:\:ffff\:10.0.0.1", "::ffff:10.0.0.1"),
        ("haproxy:tcp:0", "all addresses"),
        ("stdio:", "an unknown address"),
        ("haproxy:stdio:", "an unknown address"),
    ],
)
def test_all_else_is_refused_with_its_address(endpoint, address):
    assert exposed(endpoint) == address
    with pytest.raises(SettingError) as refused:
        make_service(settings({"listen": f"{LOOPBACK} {endpoint}", "redis": "redis://127.0.0.1:1"}, {}), reactor)
    assert str(refused.value).startswith(f"--listen {endpoint} is open to other machines ({address}): ")


def test_a_tls_endpoint_is_judged_too(certificate):
    assert exposed(f"ssl:0:privateKey={certificate}") == "all addresses"
    assert exposed(f"ssl:0:privateKey={certificate}:interface=127.0.0.1") == ""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_it_is_allowed_when_that_is_said_or_with_tokens(tmp_path, processes):
    file = TokenFile(tmp_path / "tokens")
    file.add("a", "read:*")
    flags = {"listen": "tcp:0", "redis": "redis://127.0.0.1:1", "processes": processes}
    make_service(settings({**flags, "insecure": "yes"}, {}), reactor)
    make_service(settings({**flags, "tokens": str(file.path)}, {}), reactor)


@pytest.mark.parametrize(("family", "address", "count"), [("INET6", "::", "1"), ("INET", "0.0.0.0", "2")])
@awaiting
async def test_a_socket_of_systemd_is_judged_by_its_address(processes, redises, family, address, count):
    """With several processes by the supervisor, before it starts one."""
    with socket.socket(getattr(socket, f"AF_{family}")) as opened:
        opened.bind((address, 0))
        opened.listen(16)
        listen = f"systemd:domain={family}:index=0"
        flags = ("--redis", "redis://127.0.0.1:1", "--processes", count)
        daemon = processes(*flags, listen=listen, inherits=[opened])
        daemon.listening.addErrback(lambda failure: None)
        assert await daemon.end() == 2
        assert daemon.log.splitlines() == [
            f"presque: --listen {listen} is open to other machines ({address}): add --tokens FILE, or --insecure if "
            "something else controls who may connect"
        ]
        if count == "1":
            return
        flags = ("--redis", redises().url, "--processes", count)
        allowed = processes(*flags, "--insecure", listen=listen, inherits=[opened])
        assert b" 201 " in await deferToThread(insert, ("127.0.0.1", opened.getsockname()[1]))
        await allowed.stop()


@awaiting
async def test_a_client_of_a_unix_socket_needs_a_token_too(processes, redises, tmp_path):
    file, path = TokenFile(tmp_path / "tokens"), tmp_path / "presque.sock"
    good, bound = file.add("a", "read:*"), file.add("b", "read:*", "from=127.0.0.0/8")
    daemon = processes("--redis", redises().url, "--tokens", str(file.path), listen=f"{LOOPBACK} unix:{path}")

    async def is_there():
        return path.exists()

    await eventually(is_there, daemon.log)

    def ask(text):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(str(path))
            said = f"GET /v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {bearer(text)}\r\n\r\n"
            client.sendall(said.encode())
            return int(client.makefile("rb").readline().split()[1])

    assert await deferToThread(ask, good) == 200
    assert await deferToThread(ask, bound) == 401
    assert {await deferToThread(ask, bound) for _ in range(30)} <= {401, 429}  # they are limited as one address
    assert await deferToThread(ask, good) == 200
