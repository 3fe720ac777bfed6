"""TLS by `--tls-certificate`: what is served and to whom, and how a renewed file is taken up among clients."""

import signal
import socket
import ssl
import threading

import pytest
import pytest_twisted
from certificates import ONE_DAY, Issued
from logs import logged
from OpenSSL import SSL
from pids import listening
from pytest_twisted import ensureDeferred as awaiting
from servers import daemon_on, eventually, port_of
from token_files import TokenFile
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.threads import deferToThread

from presque.process.certificate import Certificate
from presque.service import make_service
from presque.settings import SettingError, settings

GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PATIENCE = 20


def context_of(trusted, shown=None):
    """A client that trusts this certificate alone, and shows another."""
    context = ssl.create_default_context(cadata=trusted.pem.decode())
    if shown is not None:
        context.load_cert_chain(shown)
    return context


def untrusting():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connected(port, context):
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
    return context.wrap_socket(plain, server_hostname="localhost")


def ask(port, context, request=GET):
    """The whole answer, on a connection of its own."""
    with connected(port, context) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def status_of(port, context, request):
    """The status of the answer; whoever is refused is not cut off at once."""
    with connected(port, context) as client:
        client.sendall(request)
        return client.recv(65536).split(b" ", 2)[1]


def served_at(port):
    """The certificate that a new connection gets, after an answer over it."""
    with connected(port, untrusting()) as client:
        client.sendall(GET)
        assert client.recv(65536).startswith(b"HTTP/1.1 ")
        return client.getpeercert(binary_form=True)


def der(issued):
    return ssl.PEM_cert_to_DER_cert(issued.pem.decode())


@pytest.fixture
def issued():
    return Issued("localhost")


@pytest.fixture
def file(tmp_path, issued):
    return issued.write(tmp_path / "presque.pem")


@pytest_twisted.async_yield_fixture()
async def serving(redis, monkeypatch):
    """Starts a daemon in this process that looks at its files very often, `await serving(file, …)`."""
    monkeypatch.setattr("presque.service.LOOK_AT_CERTIFICATE", 0.02)
    started = []

    async def start(file, **flags):
        daemon = daemon_on(redis.url, tls_certificate=str(file), **flags)
        started.append(daemon)
        daemon.startService()
        await daemon.started
        return daemon

    yield start
    for daemon in started:
        await maybeDeferred(daemon.stopService)


def lines(event):
    return event["log_format"].format(**event) if str(event.get("log_format", "")).startswith("TLS: ") else None


# What is served.


@awaiting
async def test_a_client_that_verifies_is_answered(serving, file, issued):
    daemon = await serving(file)
    answer = await deferToThread(ask, port_of(daemon), context_of(issued))
    assert answer.startswith(b"HTTP/1.1 ")
    assert daemon.certificate.not_after == issued.certificate.not_valid_after_utc.timestamp()


@awaiting
async def test_the_chain_is_sent_and_the_key_may_come_first(serving, tmp_path):
    root = Issued("Root", is_authority=True)
    between = Issued("Between", root, is_authority=True)
    leaf = Issued("localhost", between)
    daemon = await serving(leaf.write(tmp_path / "chain.pem", leaf.key_pem() + leaf.pem + between.pem))
    assert (await deferToThread(ask, port_of(daemon), context_of(root))).startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"maximum_version": ssl.TLSVersion.TLSv1_1, "ciphers": "ALL:@SECLEVEL=0"}, "PROTOCOL_VERSION"),
        ({"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "AES128-SHA256"}, "HANDSHAKE_FAILURE"),
        ({"maximum_version": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE-ECDSA-AES128-SHA"}, "HANDSHAKE_FAILURE"),
    ],
)
@awaiting
async def test_old_versions_and_weak_ciphers_are_refused(serving, file, limits, said):
    daemon = await serving(file)
    context = untrusting()
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.set_ciphers(limits["ciphers"])
    context.maximum_version = limits["maximum_version"]
    with pytest.raises(ssl.SSLError, match=said):
        await deferToThread(ask, port_of(daemon), context)


@pytest.mark.parametrize(
    ("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["http/1.0"], "http/1.0"), (["h2"], None), ([], None)]
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@awaiting
async def test_both_versions_speak_http_1_1_and_do_not_compress(serving, file, version, offered, chosen):
    daemon = await serving(file)
    context = untrusting()
    context.minimum_version = context.maximum_version = version
    if offered:
        context.set_alpn_protocols(offered)

    def negotiated():
        with connected(port_of(daemon), context) as client:
            client.sendall(GET)
            assert client.recv(65536).startswith(b"HTTP/1.1 ")
            return client.selected_alpn_protocol(), client.compression(), client.cipher()[0]

    protocol, compression, cipher = await deferToThread(negotiated)
    assert (protocol, compression) == (chosen, None)
    assert "GCM" in cipher or "CHACHA20" in cipher


@awaiting
async def test_a_client_cannot_negotiate_again(serving, file):
    daemon = await serving(file)

    def renegotiate():
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        with socket.create_connection(("127.0.0.1", port_of(daemon)), PATIENCE) as plain:
            plain.settimeout(None)
            client = SSL.Connection(context, plain)
            client.set_connect_state()
            client.do_handshake()
            client.renegotiate()
            client.do_handshake()

    with pytest.raises(SSL.Error):
        await deferToThread(renegotiate)


# To whom.


@pytest.fixture
def authority():
    return Issued("Clients", is_authority=True)


@pytest.mark.parametrize(
    ("names", "known_as"), [(["billing"], "billing"), (["a", "b"], None), (["two\u202ewords"], None)]
)
@awaiting
async def test_the_name_of_a_client_is_known_by_its_certificate(
    serving, file, issued, authority, tmp_path, names, known_as
):
    ca = authority.write(tmp_path / "ca.pem", authority.pem)
    shown = Issued("", authority, names=names)
    daemon = await serving(file, tls_client_ca=str(ca))
    client_file = shown.write(tmp_path / "client.pem")
    known = []
    answer = daemon.site.answer
    daemon.site.answer = lambda request: (known.append(request.connection.client_name), answer(request))
    for _ in range(2):
        await deferToThread(ask, port_of(daemon), context_of(issued, client_file))
    assert known == [known_as] * 2


@awaiting
async def test_the_name_in_a_certificate_is_that_of_a_token(serving, file, issued, authority, tmp_path):
    """It may do what the token may; a certificate whose name no token has is none; and a header goes before it."""
    tokens = TokenFile(tmp_path / "tokens")
    mail, reader = tokens.add("mail-app", "produce:mail"), tokens.add("reader", "read:*")
    ca = authority.write(tmp_path / "ca.pem", authority.pem)
    daemon = await serving(file, tls_client_ca=str(ca), tokens=str(tokens.path))

    async def status(name, request):
        shown = Issued(name, authority).write(tmp_path / f"{name}.pem")
        return await deferToThread(status_of, port_of(daemon), context_of(issued, shown), request)

    def get(path, token=""):
        header = f"Authorization: Bearer {token}\r\n" if token else ""
        return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}Connection: close\r\n\r\n".encode()

    assert await status("mail-app", get("/v1/me")) == b"200"
    assert await status("mail-app", get("/v1/queues")) == b"403"
    assert await status("mail-app", get("/v1/queues", reader)) == b"200"
    assert await status("reader", get("/v1/queues")) == b"200"
    assert await status("reader", get("/v1/queues", mail)) == b"403"
    assert await status("stranger", get("/v1/me")) == b"401"
    assert await status("stranger", get("/health/live")) == b"200"


@awaiting
async def test_a_client_without_a_certificate_has_no_name(serving, file):
    daemon = await serving(file)
    known = []
    answer = daemon.site.answer
    daemon.site.answer = lambda request: (known.append(request.connection.client_name), answer(request))
    await deferToThread(ask, port_of(daemon), untrusting())
    assert known == [None]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("shown", ["none", "of another authority", "expired", "its own"])
@awaiting
async def test_who_shows_no_good_certificate_gets_no_connection(
    serving, file, issued, authority, tmp_path, shown, version
):
    daemon = await serving(file, tls_client_ca=str(authority.write(tmp_path / "ca.pem", authority.pem)))
    made = {
        "none": lambda: None,
        "of another authority": lambda: Issued("x", Issued("Clients", is_authority=True)),
        "expired": lambda: Issued("x", authority, begins=-2 * ONE_DAY, ends=-ONE_DAY),
        "its own": lambda: Issued("x"),
    }[shown]()
    context = context_of(issued, made and made.write(tmp_path / "client.pem"))
    context.minimum_version = context.maximum_version = version
    answered = []
    daemon.site.answer = answered.append
    with pytest.raises((ssl.SSLError, ConnectionResetError)):  # in TLS 1.3 at the first read
        await deferToThread(ask, port_of(daemon), context)
    assert answered == []


# Renewal.


@awaiting
async def test_a_renewed_file_is_served_without_a_restart_and_no_handshake_fails_meanwhile(serving, file, issued):
    daemon = await serving(file)
    port, seen, failed, over = port_of(daemon), [], [], threading.Event()

    def loop():
        while not over.is_set():
            try:
                seen.append(served_at(port))
            except Exception as wrong:
                failed.append(wrong)

    clients = [deferToThread(loop) for _ in range(4)]
    served = [issued]
    for turn in range(6):
        served.append(Issued("localhost"))
        if turn % 2:
            served[-1].write(file)
        else:  # as `cat >` does, with a moment in which it is half a file
            file.write_bytes(served[-1].both[:400])
            file.write_bytes(served[-1].both)

        async def is_served():
            return seen and seen[-1] == der(served[-1])

        await eventually(is_served, "the renewed certificate")
    over.set()
    for client in clients:
        await client
    assert failed == []
    assert {*seen} <= {der(each) for each in served}
    assert len(seen) >= len(served)


@awaiting
async def test_a_renewed_authority_is_required_of_new_connections(serving, file, issued, authority, tmp_path):
    other = Issued("Others", is_authority=True)
    ca = authority.write(tmp_path / "ca.pem", authority.pem)
    daemon = await serving(file, tls_client_ca=str(ca))
    before, after = (
        context_of(issued, Issued("x", each).write(tmp_path / f"{each.serial}.pem")) for each in (authority, other)
    )
    assert await deferToThread(ask, port_of(daemon), before)
    other.write(ca, other.pem)
    with logged(lines) as said:

        async def renewed():
            return said

        await eventually(renewed, "the other authority")
    assert await deferToThread(ask, port_of(daemon), after)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await deferToThread(ask, port_of(daemon), before)


@pytest.mark.parametrize("count", [1, 2])
@awaiting
async def test_sighup_takes_up_a_renewed_file_in_every_process(processes, redis, file, issued, count):
    daemon = processes("--redis", redis.url, "--processes", str(count), "--tls-certificate", str(file))
    port = await daemon.listening
    if count > 1:
        await listening(daemon)
    assert await deferToThread(served_at, port) == der(issued)
    renewed = Issued("localhost")
    renewed.write(file)
    daemon.transport.signalProcess(signal.SIGHUP)

    async def said():
        return daemon.log.count("TLS: new connections get the certificate") >= count

    await eventually(said, "the renewal")
    for _ in range(10):
        assert await deferToThread(served_at, port) == der(renewed)
    assert "Traceback" not in daemon.log


BAD = {
    "half a block": (lambda new: new.both[: len(new.both) // 2], "is incomplete: a block has no end"),
    "no key": (lambda new: new.pem, "has no private key"),
    "no certificate": (lambda new: new.key_pem(), "has no certificate"),
    "empty": (lambda new: b"", "has no private key"),
    "another key": (lambda new: new.pem + Issued("x").key_pem(), "does not belong to the certificate"),
    "the chain first": (
        lambda new: Issued("x").pem + new.both,
        "does not match: its certificate must be the first",
    ),
    "two keys": (lambda new: new.both + new.key_pem(), "has more than one private key"),
    "a passphrase": (lambda new: new.pem + new.key_pem(b"word"), "has a private key with a passphrase"),
    "a broken key": (
        lambda new: new.pem + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        "has a private key that cannot be read",
    ),
    "a broken certificate": (
        lambda new: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + new.both,
        "has a certificate that cannot be read",
    ),
    "too long": (lambda new: new.both + b"x" * 2**20, "is not a PEM file"),
}
LATE = {
    "expired": ({"begins": -3 * ONE_DAY, "ends": -ONE_DAY}, "has expired at "),
    "not valid yet": ({"begins": ONE_DAY, "ends": 2 * ONE_DAY}, "is not valid before "),
}


async def looked(certificate):
    """Look as often as it takes."""
    return [await certificate.look() for _ in range(5)]


@pytest.mark.parametrize("bad", BAD)
@awaiting
async def test_a_file_that_cannot_be_served_is_refused_at_start_and_changes_nothing_later(file, issued, bad):
    content, words = BAD[bad]
    new = Issued("localhost", ends=60 * ONE_DAY)
    certificate = Certificate(file, None)
    before = certificate.not_after
    new.write(file, content(new))
    with pytest.raises(SettingError, match=f"^--tls-certificate {file} .*{words}[^\n]*$"):
        make_service(settings({"tls-certificate": str(file), "redis": "redis://127.0.0.1:1"}, {}), reactor)
    with logged(lines) as said:
        assert sum(await looked(certificate)) == 0
    assert (certificate.not_after, len(said)) == (before, 1)
    assert words in said[0]
    assert "the certificate before is served on" in said[0]
    with logged(lines) as said:
        certificate.reload()
    assert words in said[0]
    new.write(file)
    with logged(lines) as said:
        assert sum(await looked(certificate)) == 1
    assert certificate.not_after > before
    assert ["new connections get" in each for each in said] == [True]


@pytest.mark.parametrize("late", LATE)
@awaiting
async def test_a_renewed_certificate_that_clients_would_refuse_changes_nothing(file, late):
    certificate = Certificate(file, None)
    before = certificate.not_after
    times, words = LATE[late]
    Issued("localhost", **times).write(file)
    with logged(lines) as said:
        assert sum(await looked(certificate)) == 0
    assert (certificate.not_after, len(said)) == (before, 1)
    assert words in said[0]


@awaiting
async def test_a_certificate_that_becomes_valid_is_taken_up_then(file):
    now = [0.0]
    certificate = Certificate(file, None, lambda: now[0])
    new = Issued("localhost", begins=ONE_DAY, ends=60 * ONE_DAY)
    now[0] = new.certificate.not_valid_before_utc.timestamp() - 1
    new.write(file)
    assert sum(await looked(certificate)) == 0
    now[0] += 2
    assert sum(await looked(certificate)) == 1


@awaiting
async def test_at_start_an_expired_certificate_is_served_and_a_line_a_day_says_so(tmp_path):
    now = [1e9]
    issued = Issued("localhost", begins=-3 * ONE_DAY, ends=-ONE_DAY)
    certificate = Certificate(issued.write(tmp_path / "old.pem"), None, lambda: now[0])
    with logged(lines) as said:
        await looked(certificate)
        now[0] = certificate.not_after - 6 * 86400
        await looked(certificate)
        now[0] += 86400
        await looked(certificate)
        now[0] = certificate.not_after + 86400
        await looked(certificate)
    assert ["has expired at" if "has expired at" in each else "expires at" for each in said] == [
        "expires at",
        "expires at",
        "has expired at",
    ]


@pytest.mark.parametrize(("mode", "is_refused"), [(0o600, False), (0o640, False), (0o644, True), (0o602, True)])
def test_a_key_that_every_user_may_read_is_refused(file, mode, is_refused):
    file.chmod(mode)
    if is_refused:
        with pytest.raises(SettingError, match=r"every user of this machine may read or change: chmod o= it$"):
            Certificate(file, None)
    else:
        Certificate(file, None)


@awaiting
async def test_a_file_that_is_gone_changes_nothing(file, issued):
    certificate = Certificate(file, None)
    file.unlink()
    with logged(lines) as said:
        await looked(certificate)
    assert len(said) == 1
    assert "cannot be read: No such file or directory" in said[0]
    issued.write(file)
    assert sum(await looked(certificate)) == 1


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"tls-client-ca": "{0}"}, "--tls-client-ca needs --tls-certificate"),
        (
            {"tls-certificate": "{0}", "listen": "unix:/tmp/x.sock"},
            "--tls-certificate is for an endpoint of tcp:, tcp6:, systemd:, and there is none",
        ),
        ({"tls-certificate": "/none.pem"}, "--tls-certificate /none.pem cannot be read: No such file or directory"),
        ({"tls-certificate": "/"}, "--tls-certificate / cannot be read: Is a directory"),
        ({"tls-certificate": "/dev/null"}, "--tls-certificate /dev/null is not a PEM file"),
        ({"tls-certificate": "{0}", "tls-client-ca": "/none"}, "--tls-client-ca /none cannot be read: .*"),
        ({"tls-certificate": "{0}", "tls-client-ca": "{1}"}, "--tls-client-ca {1} has no certificate"),
    ],
)
@pytest.mark.parametrize("count", ["1", "2"])
def test_what_cannot_be_is_refused_at_start(file, tmp_path, flags, said, count):
    empty = tmp_path / "empty.pem"
    empty.touch()
    named = {name: text.format(file, empty) for name, text in flags.items()}
    with pytest.raises(SettingError, match=f"^{said.format(file, empty)}$"):
        make_service(settings({"redis": "redis://127.0.0.1:1", "processes": count, **named}, {}), reactor)


# Sockets of systemd, and what is not TLS.


def plainly(address):
    """An answer without TLS."""
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        client.sendall(GET)
        return client.recv(65536)


@pytest.mark.parametrize("count", [1, 2])
@awaiting
async def test_a_socket_of_systemd_speaks_tls_and_a_local_one_does_not(processes, redis, file, tmp_path, count):
    with socket.socket() as network, socket.socket(socket.AF_UNIX) as local:
        network.bind(("127.0.0.1", 0))
        local.bind(str(tmp_path / "presque.sock"))
        for each in (network, local):
            each.listen(16)
        daemon = processes(
            *("--redis", redis.url, "--processes", str(count), "--tls-certificate", str(file)),
            *("--listen", "systemd:domain=INET:index=1"),
            listen="systemd:domain=INET:index=0",
            inherits=[network, local],
        )
        daemon.listening.addErrback(lambda failure: None)
        if count > 1:
            await listening(daemon)
        answer = await deferToThread(ask, network.getsockname()[1], untrusting())
        assert answer.startswith(b"HTTP/1.1 ")
        assert (await deferToThread(plainly, local.getsockname())).startswith(b"HTTP/1.1 ")
        await daemon.stop()
        assert "Traceback" not in daemon.log


@awaiting
async def test_plain_http_to_a_tls_port_ends_without_a_word(serving, file, failures):
    daemon = await serving(file)
    with pytest.raises((ConnectionResetError, AssertionError)):
        assert await deferToThread(plainly, ("127.0.0.1", port_of(daemon)))

    async def forgotten():
        return not daemon.site.connections

    await eventually(forgotten, "the end of the connection")
    assert failures == []
