"""The table of routes finds what Klein's own matcher finds, and a broken route harms nobody else."""

import random
import re

import pytest
from klein import Klein
from pytest_twisted import ensureDeferred as awaiting
from servers import port_of, raw
from werkzeug.exceptions import HTTPException

from presque.errors import UnknownQueue
from presque.http.routes import ANY, Routes
from presque.http.table import Table
from presque.web.answers import error
from presque.web.app import admit, explain

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
WORDS = (
    "q",
    "qb",
    "j",
    "w",
    "status",
    "control",
    "v1",
    "queues",
    "jobs",
    "ack",
    "reservations",
    "run-now",
    "foo",
    "foo:1",
    "",
    "%2F",
)


def found_by_klein(app: Klein, method, path):
    """The endpoint and the variables that Klein's matcher finds, None where it finds none."""
    try:
        return app.url_map.bind("presque").match(path, method)
    except HTTPException:
        return None


def test_the_table_and_kleins_matcher_find_the_same_for_every_path(daemon):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    paths = {re.sub(r"<\w+>", name, rule.rule) for rule in daemon.routes.app.url_map.iter_rules() for name in WORDS}
    paths |= {"/" + "/".join(chance.choices(WORDS, k=chance.randint(0, 6))) for _ in range(3000)}
    matched = 0
    for path in sorted(paths):
        for method in METHODS:
            expected = found_by_klein(daemon.routes.app, method, path)
            found = daemon.table.find(method.encode(), path[1:].encode().split(b"/"))
            if "//" not in path:  # those are refused before they are routed
                assert (found is None) == (expected is None), (method, path)
            if found and expected:
                matched += 1
                route, values = found
                assert route is daemon.routes.by_endpoint[expected[0]], (method, path)
                assert values == list(expected[1].values()), (method, path)
    assert matched > 100


@pytest.mark.parametrize("body", [b"", b"{}"])
@awaiting
async def test_a_route_that_fails_in_an_unknown_way_is_a_500_without_its_words(daemon, failures, body, monkeypatch):
    routes = Routes()

    @routes.at("POST", "/fails", summary="Fails.", scope=ANY)
    def fails(request):
        """Fails at once."""
        raise ZeroDivisionError("secret")

    @routes.at("PUT", "/fails", summary="Fails.", scope=ANY)
    async def fails_later(request):
        """Fails in its coroutine."""
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(daemon.site, "answer", Table(routes, admit, explain, error).answer)
    for method in (b"POST", b"PUT"):
        head = b"%b /fails HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (method, len(body))
        received = await raw(port_of(daemon), head + body)
        assert received.startswith(b"HTTP/1.1 500 ")
        assert received.endswith(b'{"error":"internal error"}')
        assert b"secret" not in received
    assert [type(failure) for failure in failures] == [ZeroDivisionError] * 2


@awaiting
async def test_an_answer_that_cannot_be_written_ends_the_connection_and_is_logged(daemon, failures, monkeypatch):
    routes = Routes()

    @routes.at("GET", "/fails", summary="Fails.", scope=ANY)
    async def fails(request):
        """Answers nothing."""

    monkeypatch.setattr(daemon.site, "answer", Table(routes, admit, explain, error).answer)
    assert await raw(port_of(daemon), b"GET /fails HTTP/1.1\r\nHost: x\r\n\r\n") == b""
    assert len(failures) == 1


@awaiting
async def test_a_request_is_admitted_to_its_route_before_the_route_is_called(daemon, failures, monkeypatch):
    """Between finding and calling there is one step, which knows the whole route."""
    routes, called, asked = Routes(), [], []

    @routes.at("GET", "/a/<name>", summary="Says its name.", name="sayName", scope=ANY)
    def say(request, name):
        called.append(name)
        return name.encode()

    def admit_good(request, route):
        asked.append((route.name, request.route is route))
        if request.path == b"/a/bad":
            raise UnknownQueue

    monkeypatch.setattr(daemon.site, "answer", Table(routes, admit_good, explain, error).answer)
    for name, status in ((b"good", b"200"), (b"bad", b"404")):
        received = await raw(port_of(daemon), b"GET /a/%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % name)
        assert received.startswith(b"HTTP/1.1 %b " % status)
    assert called == ["good"]
    assert asked == [("sayName", True)] * 2
    assert failures == []
