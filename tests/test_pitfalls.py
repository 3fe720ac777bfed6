"""What Twisted, Klein, txredisapi and Redis really do, where presque relies on it or guards against it."""

import inspect
from pathlib import Path

import pytest
import txredisapi
from klein import Klein
from logs import logged
from pytest_twisted import ensureDeferred as awaiting
from servers import eventually, port_of, raw_connection
from twisted.application.service import Service
from twisted.internet import reactor, task
from twisted.internet.abstract import FileDescriptor

from presque.http.routes import ANY, Routes
from presque.jobs.policy import lua_parts
from presque.redis.connection import Connection
from presque.redis.scripts import load

SCRIPTS = load(lua_parts())

JOB = b'{"key":"value"}'


def test_txredisapi_turns_bytes_into_numbers_unless_told_not_to():
    assert txredisapi.RedisProtocol().tryConvertData(b"007") == 7
    assert txredisapi.RedisProtocol(charset=None, convertNumbers=False).tryConvertData(b"007") == b"007"


@awaiting
async def test_redis_answers_in_bytes_whatever_they_look_like(daemon):
    (connection, *_) = daemon.store.topology.connections
    for value in (b"123", b"007", b"1.50", b"QUEUED", b"\xff\x00"):
        await connection.execute_command("SET", "x", value)
        assert await connection.execute_command("GET", "x") == value


def test_hiredis_is_what_parses_replies():
    assert issubclass(Connection, txredisapi.HiredisProtocol)


def test_the_pool_has_neither_password_nor_database_for_then_it_would_give_up(daemon):
    assert daemon.store.topology.commands.password is None
    assert daemon.store.topology.commands.dbid is None
    assert "stopTrying" in inspect.getsource(txredisapi.BaseRedisProtocol.connectionMade)


@awaiting
async def test_too_many_unanswered_commands_are_refused_and_not_sent(client, monkeypatch):
    monkeypatch.setattr("presque.redis.store.MOST_WAITING", 0)
    assert (await client.post("/q/foo", JOB)).status == 503
    monkeypatch.undo()
    assert (await client.get("/status/foo")).json["size"] == 0


@awaiting
async def test_evalsha_of_an_unknown_script_runs_nothing_and_is_repeated_whole(daemon, client, redis):
    redis.command("SCRIPT", "FLUSH")
    assert (await client.post("/q/foo", JOB)).status == 201
    assert redis.command("LLEN", "presque:{0}:foo:ready") == 1
    assert redis.command("SCRIPT", "EXISTS", SCRIPTS["push"].digest) == [1]


def test_klein_replaces_an_endpoint_of_the_same_name_without_a_word():
    app = Klein()
    app.route("/a", endpoint="same")(lambda request: b"a")
    app.route("/b", endpoint="same")(lambda request: b"b")
    assert len(app.endpoints) == 1
    routes = Routes()
    routes.at("GET", "/c", summary="Says c.", scope=ANY)(lambda request: b"c")
    with pytest.raises(ValueError, match="two routes GET /c"):
        routes.at("GET", "/c", summary="Says c.", scope=ANY)(lambda request: b"again")


def test_every_route_takes_one_method_alone(daemon):
    for rule in daemon.routes.app.url_map.iter_rules():
        assert rule.methods in ({"GET", "HEAD"}, {"GET"}, {"POST"}, {"PUT"}, {"PATCH"}, {"DELETE"}), rule


def test_twisted_has_no_public_word_for_everything_was_sent():
    """`presque.http.arrival` looks at these two."""
    descriptor = FileDescriptor(reactor)
    assert descriptor.dataBuffer == b""
    assert descriptor._tempDataBuffer == []


@awaiting
async def test_no_access_log_is_written(daemon, client):
    with logged(dict) as events:
        await client.post("/q/foo", JOB)
        await client.get("/q/foo")
        await client.get("/nope")
    assert [event for event in events if "HTTP" in str(event.get("log_text", "")) or "GET" in str(event)] == []


def test_the_accept_backlog_is_not_twisteds_fifty(daemon):
    assert daemon.ports[0].backlog == 1024


def test_a_looping_call_stops_after_a_failure_so_the_loop_must_not_fail():
    clock = task.Clock()
    call = task.LoopingCall(lambda: 1 / 0)
    call.clock = clock
    failures = []
    call.start(1).addErrback(failures.append)
    clock.pump([1, 1])
    assert len(failures) == 1
    assert not call.running


def test_a_service_collection_waits_for_nobody_so_one_service_does_the_wiring(daemon):
    assert isinstance(daemon, Service)
    assert not hasattr(daemon, "addService")


@awaiting
async def test_a_client_that_left_does_not_make_an_insertion_fail(daemon, client):
    """Klein cancels the handler; the script has been sent and runs all the same."""
    connection = await raw_connection(port_of(daemon))
    request = b"POST /q/foo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    connection.transport.write(request)
    connection.transport.loseConnection()

    async def inserted():
        return (await client.get("/status/foo")).json["size"] == 1

    await eventually(inserted, "the job")


def test_scripts_use_no_clock_but_redis_own_and_no_forbidden_command():
    for name, script in SCRIPTS.items():
        source = script.source.decode()
        assert ("redis.call('TIME')" in source) == (name != "deliver")  # which is right whenever it comes
        for word in ("os.", "cjson", "'KEYS'", "'EXPIRE'", "math.random", "redis.replicate_commands"):
            assert word not in source, (script.name, word)


def test_the_lua_files_are_all_there():
    folder = Path(__file__).parent.parent / "presque" / "redis" / "lua"
    assert {path.stem for path in folder.glob("*.lua")} == set(SCRIPTS)
