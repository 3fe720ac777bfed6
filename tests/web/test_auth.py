"""Who may do what: with --tokens each request needs a token whose scopes allow it, before its body is read."""

import json
import re
import time

import pytest
import pytest_twisted
from logs import logged
from programs import ROOT
from pytest_twisted import ensureDeferred as awaiting
from servers import Client, daemon_on, eventually, port_of, raw, raw_connection
from token_files import TokenFile, basic, bearer
from twisted.internet.defer import maybeDeferred
from twisted.logger import LogLevel, eventAsText

from presque.http.routes import ANY, OPEN, Routes
from presque.http.table import Table
from presque.tokens.scopes import SCOPES
from presque.tokens.text import new_token
from presque.web import auth
from presque.web.answers import error
from presque.web.app import admit, explain
from presque.web.wrong_tokens import AT_ONCE

# Routes that name no queue, and leave out what the token does not allow.
LISTS = {"/", "/status", "/status/", "/w", "/w/", "/v1/queues", "/v1/schedules", "/v1/settlements", "/v1/extensions"}
# Routes that any token may use: they tell nothing of a queue and do nothing to one.
FOR_ANY = {"/v1", "/v1/me", "/openapi.json", "/problems/<slug>", "/qb/<queue>"}
FOR_ANY |= {f"/{name}{end}" for name in ("q", "qb", "j", "control", "w") for end in ("", "/")}
VALUES = {"queue": "mail", "queues": "mail,mail.b", "job_id": "mail:1", "name": "s", "slug": "lease-lost"}
OTHERS = {**VALUES, "queue": "other", "queues": "mail,other", "job_id": "other:1"}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return TokenFile(tmp_path_factory.mktemp("tokens") / "tokens")


@pytest.fixture(scope="module")
def texts(file):
    """The tokens, by name."""
    texts = {verb: file.add(verb, f"{verb}:mail*") for verb in SCOPES}
    texts |= {
        f"not-{verb}": file.add(f"not-{verb}", *(f"{each}:*" for each in SCOPES if each != verb)) for verb in SCOPES
    }
    texts["all"] = file.add("all", *(f"{verb}:*" for verb in SCOPES))
    texts["elsewhere"] = file.add("elsewhere", "read:*", "from=10.0.0.0/8,2001:db8::/32")
    texts["here"] = file.add("here", "read:*", "from=127.0.0.0/8")
    texts["ends"] = file.add("ends", "read:*", "expires=2100-01-01")
    return texts


@pytest_twisted.async_yield_fixture(scope="module")
async def guarded(redis, file, texts):
    """A daemon that wants tokens."""
    daemon = daemon_on(redis.url, tokens=str(file.path))
    daemon.startService()
    await daemon.started
    yield daemon
    await maybeDeferred(daemon.stopService)


@pytest_twisted.async_yield_fixture()
async def client(redis, guarded):
    redis.command("FLUSHALL")
    guarded.judge.wrong_tokens.__init__(guarded.judge.wrong_tokens._seconds)  # none was wrong yet
    client = Client(port_of(guarded))
    yield client
    await client.close()


@pytest.fixture
def ask(client, texts):
    """`ask(token, method, path, body)`: the answer to a request with the token of this name."""

    async def request(name, method, path, body=None):
        headers = {"Content_Type": "application/json"} if body is not None else {}
        data = json.dumps(body).encode() if body is not None else None
        return await client.request(method, path, data, Authorization=bearer(texts[name]), **headers)

    return request


def filled(path, values):
    return re.sub(r"<(\w+)>", lambda found: values[found[1]], path)


def head(method, path, authorization="", more=""):
    said = f"Authorization: {authorization}\r\n" if authorization else ""
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{said}{more}\r\n".encode()


async def status_of(daemon, *words):
    return int((await raw(port_of(daemon), head(*words))).split()[1])


def refused(received, modern):
    """The status and the message or slug of a refusal, which must have the form of its route."""
    first, _, body = received.partition(b"\r\n\r\n")
    said = json.loads(body)
    kind = b"application/problem+json" if modern else b"application/json"
    assert b"\r\nContent-Type: %b\r\n" % kind in first
    if modern:
        assert set(said) == {"type", "title", "status", "detail", "request_id"}
        assert said["status"] == int(first.split()[1])
        return said["status"], said["type"]
    return int(first.split()[1]), said


def test_every_route_has_a_scope_and_names_its_queues(guarded):
    """A route without a decision cannot be declared; one that names no queue is known here."""
    with pytest.raises(TypeError, match="scope"):
        Routes().at("GET", "/x", summary="No scope.")
    for route in guarded.routes.listed:
        verb, _, pattern = route.scope.partition(":")
        assert verb in (*SCOPES, ANY, OPEN), route.path
        assert pattern in ("", "*"), route.path
        named = {"queue", "queues", "job_id"} & set(route.variables)
        if route.scope == OPEN:
            assert route.path.startswith("/health/"), route.path
        elif route.scope == ANY:
            assert route.path in FOR_ANY, route.path
        elif not named and not pattern:
            assert route.path in LISTS, route.path
        if route.scope != OPEN and route.method in ("POST", "PUT", "PATCH", "DELETE"):
            assert verb != "read", route.path


@awaiting
async def test_no_route_answers_without_a_token_and_none_asks_for_the_body(guarded, client):
    """Unknown paths and methods too: nobody learns what there is."""
    asked = [(route.method, filled(route.path, VALUES)) for route in guarded.routes.listed if route.scope != OPEN]
    asked += [("GET", "/nothing"), ("GET", "/v1/nothing"), ("BREW", "/q/mail"), ("OPTIONS", "/q/mail"), ("GET", "//q")]
    for method, path in asked:
        modern = path.startswith("/v1/") or path == "/v1"
        more = "Expect: 100-continue\r\nContent-Length: 10\r\n"
        received = await raw(port_of(guarded), head(method, path, more=more))
        assert received.startswith(b"HTTP/1.1 401 Unauthorized\r\n"), (method, path, received)
        assert b'\r\nWWW-Authenticate: Bearer realm="presque", Basic realm="presque"\r\n' in received
        assert b"\r\nConnection: close\r\n" in received
        expected = "/problems/unauthorized" if modern else {"error": "unauthorized"}
        assert refused(received, modern) == (401, expected), (method, path)
    assert await status_of(guarded, "OPTIONS", "*") == 401
    assert await status_of(guarded, "HEAD", "/v1") == 401


@awaiting
async def test_every_route_needs_its_scope_on_every_queue_that_it_names(guarded, client, texts):
    walked = 0
    for route in guarded.routes.listed:
        if route.scope in (ANY, OPEN):
            continue
        verb, _, pattern = route.scope.partition(":")
        modern = route.path.startswith("/v1/")
        forbidden = (403, "/problems/forbidden" if modern else {"error": "forbidden"})
        good, without = bearer(texts[verb]), bearer(texts[f"not-{verb}"])
        path = filled(route.path, VALUES)
        more = "Expect: 100-continue\r\nContent-Length: 10\r\n"
        received = await raw(port_of(guarded), head(route.method, path, without, more))
        assert refused(received, modern) == forbidden, (route.method, path)
        if {"queue", "queues", "job_id"} & set(route.variables):
            other = await raw(port_of(guarded), head(route.method, filled(route.path, OTHERS), good, more))
            assert refused(other, modern) == forbidden, (route.method, path)
        if pattern:
            assert await status_of(guarded, route.method, path, good) == 403, (route.method, path)
            good = bearer(texts["all"])
        assert await status_of(guarded, route.method, path, good) not in (401, 403, 429), (route.method, path)
        walked += 1
    assert walked > 40


@awaiting
async def test_any_token_may_use_what_concerns_no_queue(guarded, client, texts):
    for route in guarded.routes.listed:
        if route.scope == ANY:
            assert await status_of(guarded, route.method, filled(route.path, OTHERS), bearer(texts["read"])) in (
                200,
                400,
                404,
            )
    assert await status_of(guarded, "GET", "/nothing", bearer(texts["read"])) == 404
    assert await status_of(guarded, "BREW", "/q/mail", bearer(texts["read"])) == 405
    assert await status_of(guarded, "OPTIONS", "/q/other", bearer(texts["read"])) == 204


@awaiting
async def test_health_needs_no_token_whether_there_is_such_a_route_or_not(guarded, client):
    assert await status_of(guarded, "GET", "/health/nothing") == 404
    assert await status_of(guarded, "GET", "/health") == 401
    assert await status_of(guarded, "GET", "/health/../q/mail") == 404
    assert await status_of(guarded, "GET", "/%68ealth/%2e%2e/q/mail") == 404
    assert await status_of(guarded, "GET", "http://x/v1") == 401


@awaiting
async def test_a_route_that_needs_no_token_is_told_of_no_queue(guarded, client, texts, monkeypatch):
    routes = Routes()

    @routes.at("GET", "/health/list", summary="Lists.", scope=OPEN)
    def open_list(request):
        return b"%d %d" % (auth.may(request, "read", "mail"), auth.is_restricted(request, "read"))

    table = Table(routes, admit, explain, error)
    monkeypatch.setattr(guarded.judge, "_find", table.route)
    monkeypatch.setattr(guarded.site, "answer", table.answer)
    for said in ("", bearer(texts["all"]), bearer("x")):
        assert (await raw(port_of(guarded), head("GET", "/health/list", said))).endswith(b"\r\n\r\n0 1")


@awaiting
async def test_a_queue_named_otherwise_is_the_same_queue(guarded, client, texts):
    """What is judged is what the route gets: decoded once, from the path and the query."""
    good = bearer(texts["read"])
    for path in ("/status/%6Dail", "http://x/j/mail", "/w?queue_name=mail", "/w?queue_name=%6dail", "/w/?queue_name="):
        assert await status_of(guarded, "GET", path, good) == 200, path
    for path in (
        "/status/%6Fther",
        "http://x/j/other",
        "/w?queue_name=other",
        "/w?queue_name=%6fther",
        "/w?queue_name=mail&queue_name=other",
        "/w?queue_name=other&queue_name=mail",
        "/w?worker_id=w&queue_name=other",
        "/v1/jobs/mail:1:other:1",
        "/v1/jobs/other:mail:1",
        "/v1/jobs/1",
        "/status/a%2Fmail",
        "/status/%ff",
        "/w?queue_name=%ff",
        "/w?queue_name=%ED%A0%80",
    ):
        expected = 404 if path.endswith("mail:1:other:1") else 403
        assert await status_of(guarded, "GET", path, good) == expected, path
    for path in (
        "/v1/queues/mail,mail.b/reservations",
        "/v1/queues/mail,other/reservations",
        "/v1/queues/,mail/reservations",
    ):
        expected = 200 if path == "/v1/queues/mail,mail.b/reservations" else 403
        assert await status_of(guarded, "POST", path, bearer(texts["consume"])) == expected, path


@awaiting
async def test_an_invalid_name_is_an_invalid_name_for_who_may_use_all_queues(guarded, client, texts):
    for path in ("/status/.a", "/status/%2F", f"/status/{'a' * 129}", f"/status/{'a' * 5000}"):
        assert await status_of(guarded, "GET", path, bearer(texts["all"])) == 400, path
        assert await status_of(guarded, "GET", path, bearer(texts["read"])) == 403, path


@awaiting
async def test_a_token_comes_as_bearer_or_as_the_password_of_basic(guarded, client, texts):
    text = texts["read"]
    other = new_token()
    good = [bearer(text), f"bearer {text}", f"BEARER   {text}", basic(text), basic(text, ""), basic(text, "ä")]
    wrong = [
        text,
        f"Token {text}",
        f"Bearer {text} x",
        f"Bearer {text}, Bearer {text}",
        f"Bearer{text}",
        "Bearer",
        "Bearer ",
        bearer(other),
        basic(other),
        bearer(text[:-1]),
        bearer(text.lower()),
        basic("", text),
        "Basic =",
        "Basic " + "A" * 2000,
        f"Basic {text}",
        bearer("ä"),
    ]
    for said in good:
        assert await status_of(guarded, "GET", "/v1/me", said) == 200, said
    for said in wrong:
        guarded.judge.wrong_tokens.__init__(guarded.judge.wrong_tokens._seconds)
        assert await status_of(guarded, "GET", "/v1/me", said) == 401, said


@awaiting
async def test_two_tokens_in_one_request_are_none(guarded, client, texts):
    for first, second in (("read", "all"), ("all", "read"), ("all", "all")):
        twice = f"{bearer(texts[first])}\r\nAuthorization: {bearer(texts[second])}"
        for _ in range(2):  # remembered or not
            assert await status_of(guarded, "GET", "/v1/me", twice) == 401
        assert await status_of(guarded, "GET", "/v1/me", bearer(texts["all"])) == 200


@awaiting
async def test_a_refusal_ends_the_connection_and_what_was_pipelined(guarded, client, texts, redis):
    job = "POST /q/other HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    request = f"{job}Authorization: {bearer(texts['produce'])}\r\n\r\n{{}}"
    allowed = f"{job}Authorization: {bearer(texts['all'])}\r\n\r\n{{}}"
    received = await raw(port_of(guarded), (request + allowed).encode())
    assert received.count(b"HTTP/1.1 ") == received.count(b"HTTP/1.1 403 ") == 1
    received = await raw(port_of(guarded), (allowed + request + allowed).encode())
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"201", b"403"]
    assert redis.command("LLEN", "presque:{0}:other:ready") == 1


@awaiting
async def test_a_token_says_who_it_is(ask, guarded, daemon, texts):
    assert (await ask("read", "GET", "/v1/me")).json == {"name": "read", "scopes": ["read:mail*"], "expires_at": None}
    assert (await ask("ends", "GET", "/v1/me")).json["expires_at"] == 4102444800
    assert (await ask("read", "GET", "/v1/me?x=1")).status == 400
    free = Client(port_of(daemon))
    everything = {"name": None, "scopes": [f"{verb}:*" for verb in SCOPES], "expires_at": None}
    assert (await free.get("/v1/me")).json == everything
    assert (await free.get("/v1/me", Authorization=bearer(texts["read"]))).json == everything
    await free.close()


@awaiting
async def test_a_token_ends_at_its_time_also_when_it_is_remembered(ask, guarded, monkeypatch):
    now = 4102444800 - 0.001
    monkeypatch.setattr(guarded.judge, "now", lambda: now)
    assert (await ask("ends", "GET", "/v1/me")).status == 200
    now = 4102444800
    with logged(lambda event: eventAsText(event) if auth.EXPIRED in str(event) else None) as lines:
        for _ in range(3):
            answer = await ask("ends", "GET", "/v1/me")
            assert (answer.status, answer.json["detail"]) == (401, auth.EXPIRED)
    (line,) = lines  # one for the administrator
    assert line.endswith("ends: the token has expired; it came from 127.0.0.1")
    assert (await ask("read", "GET", "/v1/me")).status == 200


@awaiting
async def test_a_token_is_refused_from_where_it_may_not_come(ask, guarded, monkeypatch):
    assert (await ask("here", "GET", "/v1/me")).status == 200
    answer = await ask("elsewhere", "GET", "/v1/me")
    assert (answer.status, answer.json["detail"]) == (401, auth.ELSEWHERE)


@awaiting
async def test_with_tokens_a_host_may_have_any_name(guarded, client, texts):
    """A page whose name was pointed here has no token."""
    said = "GET /v1/me HTTP/1.1\r\nHost: jobs.example.org\r\nConnection: close\r\n"
    said += f"Authorization: {bearer(texts['all'])}\r\n"
    assert b" 200 OK" in await raw(port_of(guarded), f"{said}\r\n".encode())
    assert b" 400 " in await raw(port_of(guarded), f"{said}Host: x\r\n\r\n".encode())
    assert b" 403 " in await raw(port_of(guarded), f"{said}Sec-Fetch-Site: cross-site\r\n\r\n".encode())


async def fill(ask):
    for queue in ("mail", "mail.b", "other"):
        await ask("all", "POST", f"/q/{queue}", {"n": 1})
        await ask("all", "POST", f"/w/{queue}?worker_id=w-{queue}")
        await ask("all", "PUT", f"/v1/queues/{queue}/schedules/s", {"every": 60, "job": {"payload": 1}})
    await ask("all", "POST", "/w/other?worker_id=w-mail")
    assert (await ask("all", "GET", "/q/other?worker_id=w-other")).status == 200
    assert (await ask("all", "GET", "/q/mail?worker_id=w-mail")).status == 200


@awaiting
async def test_lists_show_what_the_token_may_read(ask):
    await fill(ask)
    assert (await ask("read", "GET", "/status/")).json == {"queues": ["mail", "mail.b"], "size": 2}
    assert (await ask("all", "GET", "/status")).json == {"queues": ["mail", "mail.b", "other"], "size": 3}
    page = (await ask("read", "GET", "/v1/queues")).json
    assert ([each["name"] for each in page["queues"]], page["next"]) == (["mail", "mail.b"], None)
    page = (await ask("read", "GET", "/v1/queues?limit=1")).json
    assert ([each["name"] for each in page["queues"]], page["next"]) == (["mail"], "mail")
    page = (await ask("read", "GET", "/v1/queues?limit=1&cursor=mail")).json
    assert ([each["name"] for each in page["queues"]], page["next"]) == (["mail.b"], None)
    schedules = (await ask("read", "GET", "/v1/schedules")).json["schedules"]
    assert [each["queue"] for each in schedules] == ["mail.b", "mail"]
    assert len((await ask("all", "GET", "/v1/schedules")).json["schedules"]) == 3
    shown = (await ask("read", "GET", "/")).body
    assert (b">mail.b<" in shown, b">other<" in shown, b"<p>2 queues</p>" in shown) == (True, False, True)


@awaiting
async def test_workers_are_those_of_queues_that_the_token_may_read(ask):
    await fill(ask)
    everything = (await ask("all", "GET", "/w/")).json
    assert (everything["workers_list"], everything["processed"]) == (["w-mail", "w-mail.b", "w-other"], 2)
    shown = (await ask("read", "GET", "/w/")).json
    assert (shown["workers_list"], shown["processed"], shown["failed"]) == (["w-mail", "w-mail.b"], 1, 0)
    assert [worker["queues"] for worker in shown["workers"]] == [["mail"], ["mail.b"]]
    assert (await ask("read", "GET", "/w/?worker_id=w-mail")).json["queues"] == ["mail"]
    assert (await ask("all", "GET", "/w/?worker_id=w-mail")).json["queues"] == ["mail", "other"]
    assert (await ask("read", "GET", "/w/?worker_id=w-other")).status == 404


@awaiting
async def test_a_page_of_what_may_be_read_is_found_behind_many_others_and_its_cursor_names_no_other(ask, redis):
    names = [b"a%05d" % number for number in range(2500)] + [b"n%05d" % number for number in range(10)]
    redis.command("ZADD", "presque:{0}/queues", *(part for name in names for part in (b"0", name)))
    for queue in ("mail", "mail-b", "o"):
        assert (await ask("all", "POST", f"/q/{queue}", {})).status == 201
    pages = [(await ask("read", "GET", f"/v1/queues?limit=1{more}")).json for more in ("", "&cursor=mail")]
    assert [([each["name"] for each in page["queues"]], page["next"]) for page in pages] == [
        (["mail"], "mail"),
        (["mail-b"], None),
    ]


@awaiting
async def test_a_page_of_schedules_is_found_in_the_same_way(ask, monkeypatch):
    monkeypatch.setattr("presque.web.readable.SCHEDULES", 2)
    schedule = {"every": 60, "job": {"payload": 1}}
    for queue in ("a", "b", "c", "mail", "n"):
        for name in ("one", "two", "three") if queue != "n" else ("one",):
            assert (await ask("all", "PUT", f"/v1/queues/{queue}/schedules/{name}", schedule)).status == 201
    found, cursor = [], ""
    for _ in range(3):
        page = (await ask("read", "GET", f"/v1/schedules?limit=1&cursor={cursor}")).json
        found += [(f"{each['queue']}/{each['name']}", page["next"]) for each in page["schedules"]]
        cursor = page["next"]
    assert found == [("mail/one", "mail/one"), ("mail/three", "mail/three"), ("mail/two", None)]
    assert len((await ask("read", "GET", "/v1/schedules")).json["schedules"]) == 3


@awaiting
async def test_each_of_several_settlements_is_judged_alone(ask):
    for queue in ("mail", "other"):
        await ask("all", "POST", f"/v1/queues/{queue}/jobs", {"payload": 1})
    leased = [
        job
        for queue in ("mail", "other")
        for job in (await ask("all", "POST", f"/v1/queues/{queue}/reservations", {"lease": 60})).json["jobs"]
    ]
    jobs = [{"id": job["id"], "receipt": job["receipt"]} for job in leased]
    results = (await ask("consume", "POST", "/v1/extensions", {"jobs": jobs, "lease": 50})).json["results"]
    assert [result["result"] for result in results] == ["extended", "bad-request"]
    settlements = [{**job, "outcome": "ack"} for job in [*jobs, {"id": "other:99", "receipt": "x"}]]
    results = (await ask("consume", "POST", "/v1/settlements", {"settlements": settlements})).json["results"]
    assert [result["result"] for result in results] == ["acked", "bad-request", "bad-request"]
    assert results[1] == {"id": "other:1", "result": "bad-request", "detail": results[2]["detail"]}
    assert results[1]["detail"].startswith("forbidden: ")
    assert (await ask("all", "GET", "/v1/jobs/other:1")).json["state"] == "leased"
    results = (await ask("all", "POST", "/v1/settlements", {"settlements": settlements})).json["results"]
    assert [result["result"] for result in results] == ["acked", "acked", "not-found"]


@awaiting
async def test_a_job_goes_in_and_comes_out_with_two_tokens(ask):
    assert (await ask("produce", "POST", "/v1/queues/mail/jobs", {"payload": 1})).status == 201
    assert (await ask("produce", "POST", "/v1/queues/mail/reservations", {})).status == 403
    (job,) = (await ask("consume", "POST", "/v1/queues/mail/reservations", {})).json["jobs"]
    assert (await ask("produce", "POST", f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]})).status == 403
    assert (await ask("consume", "POST", f"/v1/jobs/{job['id']}/ack", {"receipt": job["receipt"]})).status == 204


@awaiting
async def test_wrong_tokens_are_slowed_and_right_ones_from_the_same_address_never(ask, client, guarded, texts):
    wrong = bearer(new_token())
    with logged(lambda event: event["log_format"] if "wrong tokens" in event.get("log_format", "") else None) as lines:
        began = time.monotonic()
        statuses = [(await client.get("/v1/me", Authorization=wrong)).status for _ in range(3 * AT_ONCE)]
        took = time.monotonic() - began
        allowed = statuses.count(401)
        assert AT_ONCE <= allowed <= AT_ONCE + took + 1
        assert allowed + statuses.count(429) == len(statuses)
        answer = await client.get("/q/mail", Authorization=wrong)
        if answer.status == 429:
            assert answer.json == {"error": "too many wrong tokens"}
        for _ in range(50):
            assert (await ask("read", "GET", "/v1/me")).status == 200
        assert (await client.get("/v1/me")).status == 401  # none is no guess
    assert len(lines) <= 1
    assert guarded.judge.wrong_tokens.count == 3 * AT_ONCE + 1


@awaiting
async def test_a_429_says_when_and_is_a_problem(client, guarded, monkeypatch):
    monkeypatch.setattr(guarded.judge.wrong_tokens, "_seconds", lambda: 1000.0)
    for _ in range(AT_ONCE):
        assert (await client.get("/v1/me", Authorization=bearer(new_token()))).status == 401
    answer = await client.get("/v1/me", Authorization=bearer(new_token()))
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert answer.json["type"] == "/problems/overloaded"
    monkeypatch.setattr(guarded.judge.wrong_tokens, "_seconds", lambda: 1001.0)
    assert (await client.get("/v1/me", Authorization=bearer(new_token()))).status == 401
    assert (await client.get("/v1/me", Authorization=bearer(new_token()))).status == 429


@awaiting
async def test_the_file_is_read_again_whole_or_not_at_all(ask, client, guarded, file, texts):
    def note(event):
        text = event.get("log_format", "")
        return (event["log_level"], eventAsText(event)) if text.startswith("SIGHUP") else None

    with logged(note) as lines:
        fresh = file.add("fresh", "read:*")
        assert (await client.get("/v1/me", Authorization=bearer(fresh))).status == 401
        guarded._reload()
        assert (await client.get("/v1/me", Authorization=bearer(fresh))).status == 200
        assert (await ask("read", "GET", "/v1/me")).status == 200
        file.lines.pop("fresh")
        file.write("half a line\n")
        guarded._reload()
        assert (await client.get("/v1/me", Authorization=bearer(fresh))).status == 200
        file.write()
        file.path.chmod(0o644)
        guarded._reload()
        assert (await client.get("/v1/me", Authorization=bearer(fresh))).status == 200
        file.path.chmod(0o600)
        guarded._reload()
        assert (await client.get("/v1/me", Authorization=bearer(fresh))).status == 401
        assert (await ask("read", "GET", "/v1/me")).status == 200
    levels = [level for level, _ in lines]
    assert levels == [LogLevel.info, LogLevel.error, LogLevel.error, LogLevel.info]
    assert "tokens: 1 new, 0 gone, 0 changed" in lines[0][1]
    assert f"{file.path}: line {len(texts) + 1}: after the name comes" in lines[1][1]
    assert "mode 644 lets others in" in lines[2][1]
    assert "tokens: 0 new, 1 gone, 0 changed" in lines[3][1]


@awaiting
async def test_a_client_that_waits_with_a_token_that_is_gone_gets_no_job(ask, guarded, file, texts):
    """Others go on to wait, those too whose token has got other scopes that allow it."""
    gone, line = file.add("gone", "consume:mail*"), file.lines["consume"]
    guarded._reload()
    waiting = {}
    for name, text in (("gone", gone), ("consume", texts["consume"])):
        waiting[name] = await raw_connection(port_of(guarded))
        waiting[name].transport.write(head("GET", "/q/mail?wait=30", bearer(text)))

    async def both_wait():
        return sum(connection.waiting is not None for connection in guarded.site.connections) == 2

    await eventually(both_wait, "both wait")
    file.lines["consume"] = f"{line} consume:other"
    file.remove("gone")
    guarded._reload()
    assert await waiting["gone"].end() == b""
    assert (await ask("all", "POST", "/q/mail", {"n": 1})).status == 201
    assert (await waiting["consume"].end()).endswith(b'{"n": 1}')
    file.lines["consume"] = line
    file.write()
    guarded._reload()


@awaiting
async def test_headers_are_remembered_within_bounds(client, guarded, texts, monkeypatch):
    monkeypatch.setattr(auth, "REMEMBERED", 8)
    for number in range(40):
        assert (await client.get("/v1/me", Authorization=basic(texts["read"], str(number)))).status == 200
        assert (await client.get("/v1/me", Authorization=bearer(f"presque_{number}"))).status in (401, 429)
        assert 1 <= len(guarded.judge._remembered) <= 8
        assert (await client.get(f"/status/mail{number}", Authorization=bearer(texts["read"]))).status == 200
        assert 1 <= len(guarded.judge._admitted) <= 8


@awaiting
async def test_the_scopes_in_the_manual_are_those_of_the_routes(guarded):
    """Without second paths, and routes that only say that they need a name, or that there is no such thing."""
    manual = (ROOT / "docs" / "tokens.md").read_text()
    rows = re.findall(r"^\| `?(produce|consume|read|read:\*|manage|any)`? \| (.+) \|$", manual, re.MULTILINE)
    told = {(scope, route) for scope, cell in rows for route in re.findall(r"`([A-Z]+ /[^`]*)`", cell)}
    there = {
        (route.scope, f"{route.method} {route.path}")
        for route in guarded.routes.listed
        if route.answers and not route.is_alias and route.scope != OPEN
    }
    assert told == there


@awaiting
async def test_a_token_from_elsewhere_than_the_header_is_judged_like_one(client, guarded, monkeypatch):
    """As that of a cookie: it needs the scope, and the header goes before it."""
    found = guarded.judge.tokens.by_name["produce"]
    monkeypatch.setattr(guarded.judge, "sessions", lambda request: found if b"cookie" in request.headers else None)
    assert (await client.get("/v1/me", Cookie="x")).json["name"] == "produce"
    assert (await client.get("/v1/queues", Cookie="x")).status == 403
    assert (await client.get("/v1/me")).status == 401
    assert (await client.get("/v1/me", Cookie="x", Authorization=bearer("x"))).status == 401


@awaiting
async def test_no_line_of_the_log_has_a_token_not_even_a_traceback(client, guarded, file, texts, monkeypatch):
    routes, secrets = Routes(), [texts["all"], new_token(), basic(texts["all"]), file.add("gone", "read:*")]

    @routes.at("GET", "/v1/fails", summary="Fails.", scope=ANY)
    async def fails(request):
        """Fails with the header in a local variable."""
        header = request.headers[b"authorization"]
        raise ZeroDivisionError(len(header))

    found = []

    def note(event):
        found.append(eventAsText(event) + repr(sorted(event.items(), key=str)))

    table = Table(routes, admit, explain, error)
    with logged(note):
        for text in secrets:
            said = text if text.startswith("Basic") else bearer(text)
            for path in ("/v1/me", "/q/mail", "/status", "/v1/queues/a,b/reservations", "/%ff", "/nothing"):
                await client.get(path, Authorization=said)
            monkeypatch.setattr(guarded.judge, "_find", table.route)
            monkeypatch.setattr(guarded.site, "answer", table.answer)
            await client.get("/v1/fails", Authorization=said)
            monkeypatch.undo()
            await raw(port_of(guarded), head("GET", "/v1/me", said, "Content-Length: x\r\n"))
            await raw(port_of(guarded), head("GET", "/v1/me", f"{said}\x01"))
        file.lines.pop("gone")
        for wrong in (
            secrets[0],
            f"{secrets[0]} sha256:x",
            f"a {secrets[0]}",
            f"a sha256:{'0' * 64} read:* {secrets[0]}",
        ):
            file.write(f"{wrong}\n")
            guarded._reload()
        file.write()
        guarded._reload()
    assert any("ZeroDivisionError" in line for line in found)
    assert sum("the tokens stay as they were" in line for line in found) == 4
    for line in found:
        for secret in secrets:
            assert secret not in line
            assert secret.removeprefix("presque_")[:20] not in line
            assert secret.removeprefix("Basic ")[:20] not in line
