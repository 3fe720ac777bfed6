"""The rules of every route: what a path, a method, a name and a host may be, and how all else is answered."""

import json
import random
import re
import socket

import pytest
from logs import logged
from pytest_twisted import ensureDeferred as awaiting
from servers import Answer, daemon_on, port_of, raw
from twisted.logger import LogLevel

from presque.http.connection import IDLE
from presque.jobs.policy import lua_parts
from presque.redis import keys
from presque.redis.scripts import load

JOB = b'{"key":"value"}'
SCHEDULE = b'{"every":60,"job":{"payload":1}}'
JSON = "Content-Type: application/json\r\n"
NO_NAME = "queue name is missing"

# Every route of the daemon and the methods that it has. A new route must be entered here.
ROUTES = {
    "/": "GET HEAD",
    "/q/<queue>": "DELETE GET POST PUT",
    "/q": "DELETE GET POST PUT",
    "/q/": "DELETE GET POST PUT",
    "/qb/<queue>": "DELETE GET POST PUT",
    "/qb": "DELETE GET POST PUT",
    "/qb/": "DELETE GET POST PUT",
    "/status": "GET HEAD",
    "/status/": "GET HEAD",
    "/status/<queue>": "GET HEAD",
    "/j/<queue>": "GET HEAD",
    "/j": "GET HEAD",
    "/j/": "GET HEAD",
    "/control/<queue>": "GET HEAD POST",
    "/control": "GET HEAD POST",
    "/control/": "GET HEAD POST",
    "/w": "DELETE GET HEAD POST",
    "/w/": "DELETE GET HEAD POST",
    "/w/<queue>": "DELETE GET HEAD POST",
    "/metrics": "GET HEAD",
    "/openapi.json": "GET HEAD",
    "/health/live": "GET HEAD",
    "/health/ready": "GET HEAD",
    "/problems/<slug>": "GET HEAD",
    "/v1": "GET HEAD",
    "/v1/me": "GET HEAD",
    "/v1/queues": "GET HEAD",
    "/v1/queues/<queue>": "DELETE GET HEAD PATCH",
    "/v1/queues/<queue>/jobs": "GET HEAD POST",
    "/v1/queues/<queues>/reservations": "POST",
    "/v1/queues/<queue>/schedules/<name>": "DELETE GET HEAD PUT",
    "/v1/queues/<queue>/schedules/<name>/next": "GET HEAD",
    "/v1/queues/<queue>/schedules/<name>/run-now": "POST",
    "/v1/schedules": "GET HEAD",
    "/v1/queues/<queue>/scale": "GET HEAD",
    "/v1/queues/<queue>/diagnosis": "GET HEAD",
    "/v1/queues/<queue>/history": "GET HEAD",
    "/v1/history": "GET HEAD",
    "/v1/workers": "GET HEAD",
    "/v1/system": "GET HEAD",
    "/v1/queues/<queue>/pause": "POST",
    "/v1/queues/<queue>/resume": "POST",
    "/v1/queues/<queue>/purge": "POST",
    "/v1/queues/<queue>/retry-dead": "POST",
    "/v1/jobs/<job_id>": "DELETE GET HEAD PATCH",
    "/v1/jobs/<job_id>/ack": "POST",
    "/v1/jobs/<job_id>/nack": "POST",
    "/v1/jobs/<job_id>/release": "POST",
    "/v1/jobs/<job_id>/extend": "POST",
    "/v1/jobs/<job_id>/run-now": "POST",
    "/v1/settlements": "POST",
    "/v1/extensions": "POST",
}
TEXTS = {"/": "text/html; charset=utf-8", "/metrics": "text/plain; version=0.0.4; charset=utf-8"}
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND", "BREW"]
EVERY_ROUTE = pytest.mark.parametrize("route", ROUTES)

# Each request that names a queue, so that it succeeds with a good name.
NAMING = [
    ("POST", "/q/{}", JOB),
    ("PUT", "/q/{}", JOB),
    ("GET", "/q/{}", b""),
    ("GET", "/q/{}?wait=30", b""),
    ("DELETE", "/q/{}", b""),
    ("POST", "/qb/{}", b'{"jobs":[{}]}'),
    ("POST", "/qb/{}", b'{"jobs":[]}'),
    ("GET", "/qb/{}", b""),
    ("GET", "/status/{}", b""),
    ("GET", "/status/{}?with_desc=1", b""),
    ("GET", "/j/{}", b""),
    ("GET", "/control/{}", b""),
    ("POST", "/control/{}", b'{"status":"start"}'),
    ("POST", "/w/{}?worker_id=w", b""),
    ("DELETE", "/w/{}?worker_id=w", b""),
    ("GET", "/w/?queue_name={}", b""),
    ("GET", "/w?queue_name={}", b""),
    ("POST", "/v1/queues/{}/jobs", b'{"payload":1}'),
    ("POST", "/v1/queues/{}/jobs", b'{"jobs":[{"payload":1}]}'),
    ("POST", "/v1/queues/{}/jobs", b'{"payload":1,"priority":9,"expires_in":60,"headers":{"a":"b"}}'),
    ("GET", "/v1/queues/{}/jobs", b""),
    ("GET", "/v1/queues/{}/jobs?state=dead&error=x&older_than=1", b""),
    ("POST", "/v1/queues/{}/reservations", b""),
    ("POST", "/v1/queues/{}/reservations", b'{"wait":30}'),
    ("GET", "/v1/queues/{}", b""),
    ("PATCH", "/v1/queues/{}", b'{"lease":1}'),
    ("GET", "/v1/queues/{}/scale", b""),
    ("GET", "/v1/queues/{}/diagnosis", b""),
    ("GET", "/v1/queues/{}/history", b""),
    ("GET", "/v1/workers?queue={}", b""),
    ("POST", "/v1/queues/{}/pause", b""),
    ("POST", "/v1/queues/{}/resume", b""),
    ("POST", "/v1/queues/{}/purge", b'{"state":"all"}'),
    ("POST", "/v1/queues/{}/purge", b'{"state":"all","match":{"error":"x"}}'),
    ("POST", "/v1/queues/{}/retry-dead", b'{"limit":1}'),
    ("POST", "/v1/queues/{}/retry-dead", b'{"limit":1,"match":{"older_than":1}}'),
    ("PUT", "/v1/queues/{}/schedules/s", SCHEDULE),
    ("GET", "/v1/queues/{}/schedules/s", b""),
    ("GET", "/v1/queues/{}/schedules/s/next", b""),
    ("POST", "/v1/queues/{}/schedules/s/run-now", b""),
    ("DELETE", "/v1/queues/{}/schedules/s", b""),
    ("DELETE", "/v1/queues/{}", b""),
]
OF_A_JOB = [
    ("GET", "", b""),
    ("DELETE", "", b""),
    ("PATCH", "", b'{"priority":9}'),
    ("POST", "/run-now", b""),
    *(("POST", f"/{verb}", b'{"receipt":"x"}') for verb in ("ack", "nack", "release", "extend")),
]
# What Redis is asked beside: background work, what settles a delivery, what wakes consumers, the beat, and by the test.
BACKGROUND = {
    "publish_process",
    "due",
    "due_schedules",
    "sample",
    "INFO",
    "move",
    "deliver",
    "keep",
    "give_back",
    "SUBSCRIBE",
    "UNSUBSCRIBE",
    "PING",
    "TIME",
    "ECHO",
}
# What the list of workers of a queue asks: who is registered, about each of them, and who holds jobs.
HOLDERS = {"queue_workers", "worker", "holders"}
# The keys at which the store's record is looked for, and made again after a test's FLUSHALL.
RECORD = {
    keys.STORE.decode(),
    keys.PROBE.decode(),
    *(keys.partition_key(name, 0).decode() for name in ("queues", "old_last_id")),
}
WORDS = "a _ 9 A.b_c:d@e-f a..b a- a:ready q 0 __init__ a%2Eb %41 a%3Ab"
GOOD_NAMES = ["x" * 128, *WORDS.split()]
WORDS = r"""
    . .. .a -a :a @a a%2Fb %2F %2f%2f a%2F..%2Fb %00 a%00 a%0A %0Aa a%0D%0Ab a%20b %20a a%20 a%09 a+b a~b a* a,b a%3Bb
    a{0} % %zz a%2 %ff a%ff %80 %C0%AF %ED%A0%80 %C3%A9 %D9%A3 %EF%BC%A1 %C2%AD %E2%80%AE %F0%9F%98%80 %C4%B1 %252F a%25
    %E2%84%AA <queue> a\b a%3Fb a%23b %27 "
"""
BAD_NAMES = ["x" * 129, "x" * 4000, *WORDS.split()]
WORDS = """
    /x /Q/foo /queue /q/foo/bar /q/foo/bar/ /status/foo/bar /w/foo/bar /j/a/b /favicon.ico /. /.. /q/../q/foo /./q/foo
    /v1/ /v1/queues/ /problems /problems/
    /v1/queues/foo/ /v1/queues/foo/eat /v1/jobs /v1/jobs/ /v1/jobs/foo:1/eat /v1/x /V1/queues
    /%2e%2e/etc/passwd /%C3%A9 /% /q%2Ffoo /%20x /<queue> /index.html /v1x /q/foo/%2F /qq/foo /robots.txt /- /%ff /%00
"""
PATHS = ["/" + "a/" * 2000, *WORDS.split()]
LOCAL = "x x:80 x: X my_host a-b localhost LOCALHOST:5000 localhost. a.localhost a.b.LocalHost:1 127.0.0.1 127.0.0.1:80"
LOCAL = [*LOCAL.split(), "8.8.8.8", "10.1.2.3.", "[::1]", "[::1]:5000", "[2001:DB8::1]", "[::ffff:1.2.3.4]:80", "3"]
FOREIGN = "evil.example evil.example:5000 EVIL.example evil.example. x. localhost.evil.example 127.0.0.1.nip.io 127.1"
FOREIGN = [*FOREIGN.split(), "1.2.3.4.5", "0x7f.0.0.1", "a.localhost.b", "xlocalhost.com", "127.0.0.256", "a_b.c"]
NO_HOSTS = (
    "[::1 x:99999999 x:65536 ../.. .x.. \xff\xfe %00 http://x/ :0 : xn--\x7f xn--a.\xe9 {} x:-1 * a..b [x] [] [::1]x"
)
NO_HOSTS = [
    *NO_HOSTS.split(),
    "",
    "a b",
    "u@x",
    "u:p@x",
    "x@evil.example",
    "127.0.0.1@x",
    "x,y",
    "x, evil.example",
    "::1",
]
NO_HOSTS += ["x/", "x?y", "x#y", "x\\y", "x:80:80", "[::1%25eth0]", "[127.0.0.1]", "x;y", "x:+1", "x\ty"]


async def ask(daemon, method, target, body=b"", headers=JSON, host="Host: x\r\n"):
    """One request on a connection of its own, with the target as it stands."""
    lines = f"{method} {target} HTTP/1.1\r\n{host}Connection: close\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return answer_in(await raw(port_of(daemon), lines.encode("latin-1") + body))


def answer_in(received):
    """The one answer in the bytes that came."""
    assert received, "the connection was closed without an answer"
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Answer(int(status.split()[1]), body, headers)


def is_error(answer, status, message=None, target=""):
    """Assert that this is a refusal, in JSON, complete and alone; to a request below /v1, a problem."""
    assert answer.status == status
    assert answer.headers["content-type"] == error_type(target)
    assert answer.headers["content-length"] == str(len(answer.body))
    if is_modern(target):
        assert list(answer.json) == ["type", "title", "status", "detail", "request_id"]
        assert answer.json["request_id"] == answer.headers["x-request-id"]
        assert answer.json["type"] == "about:blank" or answer.json["type"].startswith("/problems/")
        assert answer.json["status"] == status
    else:
        assert list(answer.json) == ["error"]
    assert message in (None, answer.json["detail" if is_modern(target) else "error"])
    assert "location" not in answer.headers
    return True


def is_modern(target):
    return (target.partition("?")[0] + "/").startswith("/v1/")


def error_type(target):
    return "application/problem+json" if is_modern(target) else "application/json"


def filled(route, name="foo"):
    """A path of that route."""
    return (
        route.replace("<queue>", name)
        .replace("<queues>", name)
        .replace("<job_id>", f"{name}:1")
        .replace("<slug>", "not-found")
    )


def allowed(answer):
    return set(answer.headers["allow"].upper().split(", "))


def error_or_traceback(event):
    at_fault = event.get("log_level") in (LogLevel.error, LogLevel.critical) or event.get("isError")
    return event if at_fault or "log_failure" in event else None


@pytest.fixture
def logged_errors():
    """All that is logged as an error or with a traceback during the test."""
    with logged(error_or_traceback) as found:
        yield found


@awaiting
async def test_every_route_is_in_the_table_above(daemon):
    found = {}
    for rule in daemon.routes.app.url_map.iter_rules():
        assert rule.methods, f"{rule} takes any method"
        found.setdefault(rule.rule, set()).update(rule.methods)
    assert found == {route: set(methods.split()) for route, methods in ROUTES.items()}


@EVERY_ROUTE
@awaiting
async def test_a_wrong_method_is_405_with_allow(daemon, route):
    methods = set(ROUTES[route].split())
    for method in METHODS:
        if method not in methods:
            answer = await ask(daemon, method, filled(route), JOB)
            assert answer.status == 405
            assert answer.headers["content-type"] == error_type(route)
            assert allowed(answer) == methods | {"OPTIONS"}
            assert method == "HEAD" or is_error(answer, 405, target=route)
    assert (await ask(daemon, "GET", "/status/")).json["size"] == 0


@EVERY_ROUTE
@awaiting
async def test_options_is_204_with_allow(daemon, route):
    for target in (filled(route), f"{filled(route)}?worker_id=w"):
        answer = await ask(daemon, "OPTIONS", target)
        assert (answer.status, answer.body) == (204, b"")
        assert allowed(answer) == {*ROUTES[route].split(), "OPTIONS"}


@EVERY_ROUTE
@awaiting
async def test_every_answer_but_the_page_is_json(daemon, route):
    for method in [*METHODS, "OPTIONS"]:
        for body in (b"", b"nonsense", JOB):
            answer = await ask(daemon, method, filled(route), body, headers="")
            is_page = route in TEXTS and answer.status == 200
            expected = error_type(route) if answer.status >= 400 else "application/json"
            assert answer.headers["content-type"] == (TEXTS[route] if is_page else expected)
            assert answer.status < 500
            assert is_page or not answer.body or json.loads(answer.body) is not None


def stored(redis):
    """All that is stored, but for what the sampler writes once a minute."""
    names = sorted(redis.command("KEYS", "presque:{*"))
    return [redis.command("DUMP", name) for name in names if not re.search(rb"[/:](sampling|\w*history)$", name)]


@EVERY_ROUTE
@awaiting
async def test_head_changes_nothing_and_answers_like_get(daemon, redis, route):
    await ask(daemon, "POST", "/q/foo", JOB)
    await ask(daemon, "POST", "/w/foo?worker_id=w")
    if route in ("/v1/queues", "/v1/queues/<queue>"):  # the age of a ready job would grow between two answers
        await ask(daemon, "POST", "/v1/queues/foo/purge", b'{"state":"all"}')
    before = stored(redis)
    target = filled(route)
    head = await ask(daemon, "HEAD", f"{target}?worker_id=w")
    assert stored(redis) == before
    assert head.body == b""
    if route == "/metrics":  # which tells, among others, of this request
        assert head.status == 200
    elif "HEAD" in ROUTES[route]:
        get = await ask(daemon, "GET", f"{target}?worker_id=w")
        changing = {"date": "", "x-request-id": ""} | (
            {"content-length": ""} if route == "/v1/system" else {}
        )  # which counts seconds
        assert (head.status, {**head.headers, **changing}) == (get.status, {**get.headers, **changing})
        assert "content-length" in changing or head.headers["content-length"] == str(len(get.body))
    else:
        assert head.status == 405


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:24])
@awaiting
async def test_an_unknown_path_is_not_found_by_any_method(daemon, path):
    for method in (*METHODS, "OPTIONS"):
        answer = await ask(daemon, method, path, JOB)
        assert answer.status == 404
        assert method == "HEAD" or is_error(answer, 404, "not found", path)
        assert answer.headers["content-type"] == error_type(path)


@pytest.mark.parametrize(
    "path", ["//", "//q/foo", "/q//foo", "/q/foo//", "/status//", "//x.org/%2e%2e", "/w//", "/x//y", "///"]
)
@awaiting
async def test_a_double_slash_is_not_found_and_leads_nowhere(daemon, path):
    for method in ("GET", "POST", "PUT", "DELETE"):
        is_error(await ask(daemon, method, path, JOB), 404, "not found")
    assert (await ask(daemon, "GET", "/status/")).json["size"] == 0


@awaiting
async def test_slashes_in_a_query_are_no_path(daemon):
    assert (await ask(daemon, "POST", "/q/foo?uniq=a//b/?//", JOB)).status == 201
    assert (await ask(daemon, "GET", "/q/foo?//")).body == JOB


@pytest.mark.parametrize(("method", "target", "body"), NAMING)
@awaiting
async def test_a_good_name_is_taken_by_every_route(daemon, method, target, body):
    for name in GOOD_NAMES:
        await ask(daemon, "POST", f"/q/{name}", JOB)
        await ask(daemon, "PUT", f"/v1/queues/{name}/schedules/s", SCHEDULE)
        assert (await ask(daemon, method, target.format(name), body)).status in (200, 201, 204), name


@pytest.fixture
def commands(daemon, redis):
    """A function that tells what Redis was asked since its last call, in order: a script's name, or a command."""
    names = {script.digest.decode(): name for name, script in load(lua_parts()).items()}
    with socket.socket(socket.AF_UNIX) as monitor:
        monitor.connect(redis.socket)
        monitor.sendall(b"MONITOR\r\n")

        def asked():
            redis.command("ECHO", "so far")
            said = b""
            while b'"so far"' not in said:
                said += monitor.recv(65536)
            lines = [line for line in said.decode(errors="replace").splitlines() if " lua] " not in line]
            words = [re.findall(r'"(\S+?)"', line)[:2] for line in lines]
            return [names.get(each[-1], each[0].upper()) for each in words if each and each[-1] not in RECORD]

        yield asked


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        *NAMING,
        ("GET", "/status/", b""),
        ("GET", "/w/", b""),
        ("GET", "/w/?worker_id=w", b""),
        *((verb, f"/v1/jobs/{{}}:{number}{path}", body) for number in (1, 99) for verb, path, body in OF_A_JOB),
        ("POST", "/v1/settlements", b'{"settlements":[{"id":"{}:1","receipt":"x","outcome":"ack"}]}'),
        ("POST", "/v1/extensions", b'{"jobs":[{"id":"{}:1","receipt":"x"}]}'),
    ],
)
@awaiting
async def test_a_request_is_one_script_and_one_round_trip(daemon, commands, method, target, body):
    """But for a purge, which goes on until nothing is left, for the lists of workers, which are read in pages and have
    what is known of each, or the sums over all queues, and for what settles a delivery once it has arrived.
    """
    for path in ("/q/foo", "/w/foo?worker_id=w"):
        await ask(daemon, "POST", path, JOB)
    await ask(daemon, "PUT", "/v1/queues/foo/schedules/s", SCHEDULE)
    commands()
    await ask(daemon, method, target.format("foo"), body.replace(b"{}:", b"foo:"))
    ran = [name for name in commands() if name not in BACKGROUND]
    assert len(ran) == 1 or set(ran) == {"purge"} or ran == ["workers", "sums"] or set(ran) == HOLDERS, ran


@pytest.mark.parametrize(("method", "target", "body"), NAMING)
@awaiting
async def test_a_bad_name_is_refused_by_every_route(daemon, redis, method, target, body):
    for name in BAD_NAMES:
        if name != "a,b" or "reservations" not in target:  # which are two good names there
            answer = await ask(daemon, method, target.replace("{}", name), body)
            assert is_error(answer, 400, "invalid queue name", target), name
    assert redis.command("KEYS", "presque:{*") == []


@awaiting
async def test_a_percent_encoded_name_is_the_same_name(daemon):
    await ask(daemon, "POST", "/q/a%3A%62%2E%5f%2d%40", JOB)
    assert (await ask(daemon, "GET", "/status/")).body == b'{"queues":["a:b._-@"],"size":1}'
    assert (await ask(daemon, "GET", "/%71/a:b._-@")).body == JOB


@awaiting
async def test_names_that_look_like_keys_are_queues_of_their_own(daemon):
    names = ["a", "a:ready", "a:jobs", "a:a", "a:a:ready", "A", "a.", "a-"]
    for name in names:
        await ask(daemon, "POST", f"/q/{name}", b'{"q":"%b"}' % name.encode())
    for name in names:
        assert (await ask(daemon, "GET", f"/q/{name}")).json == {"q": name}
        assert (await ask(daemon, "GET", f"/q/{name}")).status == 404


NAMELESS = [("POST", "/w"), ("DELETE", "/w"), ("GET", "/qb"), ("POST", "/qb"), ("GET", "/j"), ("GET", "/control")]
NAMELESS += [("POST", "/control"), ("GET", "/q"), ("POST", "/q"), ("PUT", "/q"), ("DELETE", "/q")]


@pytest.mark.parametrize(("method", "path"), NAMELESS)
@pytest.mark.parametrize("slash", ["", "/", "?worker_id=w&batch_size=x", "/?worker_id=w&delayed=x"])
@awaiting
async def test_a_missing_name_is_404_on_every_route(daemon, method, path, slash):
    for body in (b"", JOB, b"nonsense"):
        is_error(await ask(daemon, method, path + slash, body), 404, NO_NAME)


@pytest.mark.parametrize("host", LOCAL)
@awaiting
async def test_a_host_that_no_page_of_another_site_can_have_is_served(daemon, host):
    assert (await ask(daemon, "POST", "/q/foo", JOB, host=f"Host: {host}\r\n")).status == 201
    assert (await ask(daemon, "GET", "/q/foo", host=f"hOST:{host} \r\n")).body == JOB
    assert (await ask(daemon, "GET", f"http://{host}/j/foo", host="Host: x\r\n")).status == 200


@pytest.mark.parametrize("host", FOREIGN)
@awaiting
async def test_any_other_host_is_refused_before_the_body(daemon, host):
    for method, target, line in (
        ("GET", "/q/foo", f"Host: {host}\r\n"),
        ("HEAD", "/", f"Host: {host}\r\n"),
        ("OPTIONS", "*", f"Host: {host}\r\n"),
        ("GET", f"http://{host}/q/foo", "Host: x\r\n"),
        ("GET", f"HTTPS://{host}?x=1", "Host: x\r\n"),
        ("GET", "http://x/q/foo", f"Host: {host}\r\n"),
    ):
        received = await raw(port_of(daemon), f"{method} {target} HTTP/1.1\r\n{line}\r\n".encode())
        assert received.startswith(b"HTTP/1.1 421 "), (target, line)
        assert b"Cache-Control: no-store\r\n" in received
        assert received.endswith(b"\r\n\r\n" if method == "HEAD" else b'{"error":"host not allowed: see --host"}')
    asking = f"POST /q/foo HTTP/1.1\r\nHost: {host}\r\nExpect: 100-continue\r\nContent-Length: 2000000\r\n{JSON}\r\n"
    assert (await raw(port_of(daemon), asking.encode())).startswith(b"HTTP/1.1 421 ")
    assert (await raw(port_of(daemon), f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode()))[9:12] == b"421"
    problem = await ask(daemon, "GET", "/v1/queues", host=f"Host: {host}\r\n")
    is_error(problem, 421, "host not allowed: see --host", "/v1/")
    assert problem.json["type"] == "about:blank"
    assert problem.json["title"] == "Misdirected Request"


@pytest.mark.parametrize("host", NO_HOSTS, ids=lambda host: repr(host))
@awaiting
async def test_what_is_no_host_is_refused(daemon, host):
    is_error(await ask(daemon, "GET", "/q/foo", host=f"Host: {host}\r\n"), 400)
    is_error(await ask(daemon, "GET", "/v1/queues", host=f"Host: {host}\r\n"), 400, target="/v1/")
    if not set(host) & set("/?# \t"):
        is_error(await ask(daemon, "GET", f"http://{host}/q/foo"), 400)


@awaiting
async def test_a_request_names_one_host(daemon):
    await ask(daemon, "POST", "/q/foo", JOB)
    for host in (
        "",
        "Host: x\r\nHost: x\r\n",
        "Host: x\r\nX: y\r\nhost: y\r\n",
        f"Host: {'a' * 5000}.b\r\nHost: x\r\n",
    ):
        is_error(await ask(daemon, "GET", "/q/foo", host=host), 400)
    received = await raw(port_of(daemon), b"GET /q/foo HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n")
    is_error(answer_in(received), 400)
    assert answer_in(await raw(port_of(daemon), b"GET /q/foo HTTP/1.0\r\n\r\n")).body == JOB


ALLOWED = [("a.example", "a.example A.Example:80 a.example. x", "b.example b.a.example"), ("*", "evil.example x", "")]


@pytest.mark.parametrize(
    ("names", "served", "refused"), [*ALLOWED, ("A.example c.example.", "a.example C.example", "d.e")]
)
@awaiting
async def test_host_is_a_setting(redis, names, served, refused):
    daemon = daemon_on(redis.url, host=names)
    daemon.startService()
    await daemon.started
    for host in served.split():
        assert (await ask(daemon, "GET", "/status/", host=f"Host: {host}\r\n")).status == 200
    for host in refused.split():
        assert (await ask(daemon, "GET", "/status/", host=f"Host: {host}\r\n")).status == 421
    assert (await ask(daemon, "GET", "/status/", host="Host: a b\r\n")).status == 400
    await daemon.stopService()


OURS = ["", "Sec-Fetch-Site: none", "sec-fetch-site: Same-Origin", "Sec-Fetch-Site: none, same-origin", "Referer: "]
OURS += [
    "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: none",
    "Origin: http://x",
    "Origin: https://X:443",
    "Origin: http://x:80",
]
OURS += ["Referer: http://x/y?z#a", "Referer: https://x", "Sec-Fetch-Site: none\r\nOrigin: http://evil.example"]
THEIRS = [
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-site",
    "Sec-Fetch-Site: ",
    "SEC-FETCH-SITE: None, Cross-Site",
]
THEIRS += [
    "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: x",
    "Origin: null",
    "Origin: ",
    "Origin: x",
]
THEIRS += [
    "Origin: http://evil.example",
    "Origin: http://x:81",
    "Origin: https://x:80",
    "Origin: http://x.evil.example",
]
THEIRS += [
    "Origin: http://x\r\nOrigin: http://y",
    "Referer: http://y/x",
    "Referer: http://x:8080/",
    "Referer: nonsense",
]
THEIRS += [
    "Origin: http://x\r\nReferer: http://y/",
    "Referer: http://x@y/",
    "Origin: http://x, http://y",
    "Referer: \xff",
]
THEIRS += ["Origin: file://", "Referer: about:blank", "Origin: http://x/../y z", "Origin: moz-extension://123"]


@pytest.mark.parametrize("said", OURS)
@awaiting
async def test_our_own_page_may_ask(daemon, said):
    lines = JSON + (said + "\r\n" if said else "")
    assert (await ask(daemon, "POST", "/q/foo", JOB, lines)).status == 201
    assert (await ask(daemon, "GET", "/q/foo", b"", lines)).body == JOB


@pytest.mark.parametrize("said", THEIRS)
@awaiting
async def test_another_sites_page_may_only_link_to_ours(daemon, said):
    await ask(daemon, "POST", "/q/foo", JOB)
    for method, target in (("GET", "/q/foo"), ("POST", "/q/foo"), ("OPTIONS", "/q/foo"), ("GET", "//"), ("POST", "/")):
        is_error(await ask(daemon, method, target, JOB, f"{said}\r\n{JSON}"), 403, "forbidden")
    problem = await ask(daemon, "GET", "http://x/%761/queues", b"", f"{said}\r\n")
    is_error(problem, 403, "forbidden", "/v1/")
    assert problem.json["type"] == "/problems/forbidden"
    asking = f"POST /q/foo HTTP/1.1\r\nHost: x\r\n{said}\r\nExpect: 100-continue\r\nContent-Length: 15\r\n{JSON}\r\n"
    assert (await raw(port_of(daemon), asking.encode("latin-1"))).startswith(b"HTTP/1.1 403 ")
    for target in ("/", "/?x=1", "http://x", "http://x/?a"):
        assert (await ask(daemon, "GET", target, b"", f"{said}\r\n")).status == 200
    assert (await ask(daemon, "GET", "/j/foo")).json["job_count"] == 1


@pytest.mark.parametrize("port", ["", ":80", ":443", ":5000", ":"])
@awaiting
async def test_a_port_that_is_not_said_is_that_of_the_origins_scheme(daemon, port):
    for scheme, default in (("http", ":80"), ("https", ":443")):
        expected = 200 if port in ("", ":", default) else 403
        lines = f"Origin: {scheme}://x\r\n"
        assert (await ask(daemon, "GET", "/status/", b"", lines, f"Host: x{port}\r\n")).status == expected
        assert (await ask(daemon, "GET", "/status/", b"", f"Origin: {scheme}://x{port}\r\n")).status == expected


@awaiting
async def test_every_answer_says_that_it_is_not_to_be_stored_and_one_on_a_kept_connection_for_how_long(daemon):
    await ask(daemon, "POST", "/q/foo", JOB)
    for method, target, status in (
        ("GET", "/", 200),
        ("HEAD", "/", 200),
        ("GET", "/q/foo", 200),
        ("GET", "/q/none", 404),
        ("GET", "/openapi.json", 200),
        ("OPTIONS", "/q/foo", 204),
        ("OPTIONS", "*", 204),
        ("BREW", "/q/foo", 405),
        ("GET", "/nope", 404),
        ("get", "/q/foo", 400),
        ("GET", "/v1/queues", 200),
        ("POST", "/v1/queues/foo/reservations", 200),
        ("GET", "ftp://x", 400),
    ):
        request = f"{method} {target} HTTP/1.1\r\nHost: x\r\n"
        kept = await raw(port_of(daemon), f"{request}\r\n".encode(), b"\r\n\r\n")
        closed = await raw(port_of(daemon), f"{request}Connection: close\r\n\r\n".encode())
        for received in (kept, closed):
            assert received[9:12] in ((b"%d" % status), b"404"), received
            assert received.count(b"\r\nCache-Control: no-store\r\n") == 1
        assert kept.count(b"\r\nKeep-Alive: timeout=75\r\n") == 1
        assert b"Keep-Alive" not in closed
    for refused in (b"hello\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a.b\r\n\r\n"):
        assert b"\r\nCache-Control: no-store\r\n" in await raw(port_of(daemon), refused)
    assert IDLE == 75


@awaiting
async def test_a_target_in_absolute_form_is_its_path(daemon):
    for origin in ("http://x", "HTTP://x:80", "https://x", "http://[::1]:5000", "http://127.0.0.1"):
        assert (await ask(daemon, "POST", f"{origin}/q/foo?uniq=http://x", JOB)).status == 201
        assert (await ask(daemon, "GET", f"{origin}/q/foo")).body == JOB
        is_error(await ask(daemon, "GET", f"{origin}/q/.foo"), 400, "invalid queue name")
        is_error(await ask(daemon, "GET", f"{origin}//q/foo"), 404, "not found")
    assert (await ask(daemon, "GET", "http://x")).headers["content-type"].startswith("text/html")


@pytest.mark.parametrize("target", ["/v1/jobs/foo:1", "/%761/jobs/foo:1", "http://x/v1/jobs/foo:1", "/v1/%6aobs/foo:1"])
@awaiting
async def test_an_error_below_v1_is_a_problem_however_the_path_is_written(daemon, target):
    is_error(await ask(daemon, "GET", target), 404, "unknown job", "/v1/")
    is_error(await ask(daemon, "BREW", target), 405, "method not allowed", "/v1/")


@pytest.mark.parametrize(
    "target", ["q/foo", "*", "ftp://x/q/foo", "x:80", "?a=/q/foo", "://x/q/foo", "http:/q/foo", "#"]
)
@awaiting
async def test_any_other_target_is_refused(daemon, target):
    for method in ("GET", "POST", "DELETE", "CONNECT"):
        is_error(await ask(daemon, method, target, JOB), 400)
    assert (await ask(daemon, "OPTIONS", "*")).status == 204


@pytest.mark.parametrize("method", ["get", "Get", "post", "delete", "options", "head", "brew"])
@awaiting
async def test_a_method_in_lower_case_is_no_method_of_ours(daemon, method):
    await ask(daemon, "POST", "/q/foo", JOB)
    answer = await ask(daemon, method, "/q/foo", JOB)
    assert answer.status in (400, 405)
    assert is_error(answer, answer.status)
    assert (await ask(daemon, "GET", "/j/foo")).json["job_count"] == 1


GET, CHUNKED = b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST /q/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
LINES = (
    b"hello|GET|GET /q/foo|GET  /q/foo HTTP/1.1|GET / HTTP/9.9|GET /q/foo HTTP/1.1 | GET / HTTP/1.1|GET / FTP/1.1|{}|\0"
)
LINES += b"|PRI * HTTP/2.0|\x16\x03\x01\x02\x00\x01\x00|*1\r\n$4\r\nPING|\r\n\r\n|G\xffT / HTTP/1.1|GET /q/f\0 HTTP/1.1"
LINES += b"|GET /q/\xff HTTP/1.1|\xff"
HEADERS = (
    b"bad header|: x|A : b| folded: b|A: b\0c|\xff\xff|Content-Length: 2\r\nContent-Length: 3|Transfer-Encoding: gzip"
)
HEADERS += (
    b"|A: b\r\n folded|A: b\r\n\tfolded|\tA: b|A: b\r\n \r\nC: d|Transfer-Encoding: identity|A: b\rC: d|A: b\nC: d"
)
HEADERS += b"|Transfer-Encoding: chunked, identity|Content-Length: 2\r\nContent-Length: 2|A\t: b|A\0: b|Host\r\n : y"
LENGTHS = b"-1|x|1.5|0x10|+1|1, 2||99999999999999999999x"
LONG = b"a" * 70_000
GARBAGE = [*LINES.split(b"|"), *(GET + line for line in HEADERS.split(b"|"))]
GARBAGE += [GET + b"Content-Length: " + length for length in LENGTHS.split(b"|")]
GARBAGE += [CHUNKED + b"Content-Length: 2", CHUNKED + b"\r\nzz", CHUNKED + b"\r\n-1", GET + b"A: b\r\n" * 5000]
GARBAGE += [LONG, b"GET /" + LONG + b" HTTP/1.1", GET + b"A: " + LONG]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:40]) + str(len(garbage)))
@awaiting
async def test_what_is_not_http_is_answered_once_in_json_and_the_connection_closed(daemon, logged_errors, garbage):
    answer = answer_in(await raw(port_of(daemon), garbage + b"\r\n\r\n"))
    assert is_error(answer, answer.status)
    assert answer.status in (400, 413, 414, 431)
    assert logged_errors == []


@awaiting
async def test_no_input_gives_a_500_or_an_error_in_the_log(daemon, logged_errors):
    chance = random.Random(2010)
    paths = [filled(route, name) for route in ROUTES for name in ("foo", *BAD_NAMES[::5])] + PATHS
    words = "0 -1 1e9 nan %ff %00 foo [] %F0%9F%98%80 a%20b & ; = %"
    words = ["", "9" * 400, *words.split()]
    names = "worker_id queue_name delayed uniq batch_size with_desc wait state limit cursor %ff"
    bodies = (
        b'{ \xff {"jobs":[{}]} {"jobs":[[]]} {"status":"stop"} {"worker_id":1e999} {} {"payload":1} {"lease":1e999}'
    )
    bodies += (
        b' {"jobs":[{"payload":1,"delay":1e-9}]} {"receipt":"x"} {"receipt":"\\u0000"} {"limit":3} {"ids":["foo:1"]}'
    )
    bodies += (
        b' {"settlements":[{"id":"foo:1","receipt":"x","outcome":"ack"}]} {"max":100,"lease":0.001} {"state":"dead"}'
    )
    bodies = [b"", JOB, b"[" * 9999, *bodies.split()]
    lines = "|Content-Type: \xff|X-presque-workerid: \xff|Cookie: \xff=;;=|Expect: x|Range: x|Accept: \xff"
    lines += "|Upgrade: h2c|X-presque-workerid: a\tb|Authorization: Basic \xff"
    lines += "|Idempotency-Key: \xff|Idempotency-Key: k"
    lines = [JSON, JSON, *(line + "\r\n" for line in lines.split("|") if line), ""]
    for _ in range(1000):
        query = "&".join(f"{chance.choice(names.split())}={chance.choice(words)}" for _ in range(chance.randrange(4)))
        target = f"{chance.choice(paths)}?{query}"
        method = chance.choice([*METHODS, "OPTIONS", "GET", "POST", "PUT", "DELETE"])
        answer = await ask(daemon, method, target, chance.choice(bodies), chance.choice(lines))
        assert 200 <= answer.status < 500, (method, target)
        expected = error_type(target) if answer.status >= 400 else "application/json"
        assert answer.headers["content-type"] == expected or (answer.status == 200 and target.split("?")[0] in TEXTS)
    assert logged_errors == []


@pytest.mark.parametrize("value", ["%ff", "%ED%A0%80", "%00", "%F0%9F%98%80", "-1", "9" * 400, "a%20b"])
@awaiting
async def test_no_parameter_of_any_route_gives_a_500(daemon, logged_errors, value):
    """Every parameter that a route says it knows, with bytes that are no text, no name and no number."""
    asked = 0
    for route in daemon.routes.listed:
        for name in route.query:
            target = re.sub(r"<\w+>", "foo:1", route.path)
            answer = await ask(daemon, route.method, f"{target}?{name}={value}", JOB)
            assert answer.status < 500, (route.method, target, name)
            asked += 1
    assert asked > 15
    assert logged_errors == []
