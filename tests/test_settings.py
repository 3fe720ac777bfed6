"""The settings, and how `twistd presque` refuses those that it cannot use."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from programs import ROOT
from pytest_twisted import ensureDeferred as awaiting
from servers import LOOPBACK, PATIENCE, eventually
from twisted.internet import reactor

from presque import __version__
from presque.redis.url import RedisURL, parse_redis_url
from presque.service import make_service
from presque.settings import TABLE, SettingError, as_variables, settings
from presque.tap import Options

SECRET = "S3cret"


@pytest.fixture
def file(tmp_path):
    """Writes a settings file, `file(text)`, and returns its path."""
    path = tmp_path / "presque.toml"

    def write(text):
        path.write_text(text)
        return str(path)

    return write


def refusal(flags, environ=None):
    with pytest.raises(SettingError) as refused:
        settings(flags, environ or {})
    text = str(refused.value)
    assert text
    assert "\n" not in text
    return text


def test_nothing_given_means_the_documented_defaults():
    found = settings({}, {})
    assert found.listen == ("tcp:5000:interface=127.0.0.1",)
    assert found.redis is None
    assert (found.fsync, found.tick, found.max_body) == ("everysec", 0.1, 1024 * 1024)
    assert (found.request_timeout, found.partitions, found.processes) == (20, 1, 1)


def test_the_command_line_goes_before_a_variable_that_goes_before_the_file_that_goes_before_the_default(file):
    config = file('tick = 3\nmax-body = 300\nfsync = "always"')
    found = settings({"config": config, "tick": "1"}, {"PRESQUE_TICK": "2", "PRESQUE_MAX_BODY": "200"})
    assert (found.tick, found.max_body, found.fsync, found.partitions) == (1, 200, "always", 1)


def test_a_variable_may_name_the_file_and_the_command_line_another(file, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text("tick = 4")
    environ = {"PRESQUE_CONFIG": file("tick = 3")}
    assert settings({}, environ).tick == 3
    assert settings({"config": str(other)}, environ).tick == 4


def test_variables_of_other_programs_are_left_alone():
    assert settings({}, {"PATH": "/bin", "PRESQUES": "1", "presque_tick": "9"}).tick == 0.1


EACH = [
    ("listen", "tcp:1  unix:/run/presque.sock", ("tcp:1", "unix:/run/presque.sock")),
    ("host", "", ()),
    ("host", " queue.example  *", ("queue.example", "*")),
    ("host", "Queue.Example. [::1]", ("queue.example", "::1")),
    ("redis", "redis://example:7000/3", RedisURL("redis", "example", 7000, "", 3)),
    ("redis", "", None),
    ("data-dir", "/srv/presque", Path("/srv/presque")),
    ("data-dir", "jobs", Path.cwd() / "jobs"),
    ("data-dir", "~/jobs", Path.home() / "jobs"),
    ("fsync", "always", "always"),
    ("redis-server", "valkey-server", "valkey-server"),
    ("redis-server", "bin/redis", str(Path.cwd() / "bin" / "redis")),
    ("redis-server", "~/redis", str(Path.home() / "redis")),
    ("min-free", "0", 0),
    ("min-free", "5000000000", 5_000_000_000),
    ("tick", "0.01", 0.01),
    ("tick", "60", 60),
    ("max-body", "1", 1),
    ("max-body", "536870912", 512 * 1024 * 1024),
    ("request-timeout", "0.1", 0.1),
    ("request-timeout", "3600", 3600),
    ("partitions", "16384", 16384),
    ("processes", "64", 64),
    ("worker-keep", "86400.5", 86400.5),
    ("log-format", "json", "json"),
    ("log-level", "debug", "debug"),
    ("access-log", "on", True),
    ("access-log", "0", False),
]


@pytest.mark.parametrize(("name", "text", "value"), EACH)
def test_each_setting_is_read_from_a_flag_and_from_a_variable(name, text, value):
    attribute = name.replace("-", "_")
    assert getattr(settings({name: text}, {}), attribute) == value
    assert getattr(settings({}, {f"PRESQUE_{attribute.upper()}": text}), attribute) == value


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, text, _ in EACH])
def test_the_variables_made_of_settings_give_the_same_settings(name, text):
    found = settings({name: text}, {})
    assert settings({}, as_variables(found)) == found


def test_every_setting_of_the_table_is_tried_here():
    assert {row.name for row in TABLE} == {name for name, _, _ in EACH} == {name for name, _ in REFUSED}


REFUSED = [
    ("listen", ""),
    ("host", "a..b"),
    ("host", "http://x"),
    ("host", "*.example"),
    ("host", "\xe9.example"),
    ("listen", "  "),
    ("redis", "localhost:6379"),
    ("data-dir", "~nobody-of-this-name/jobs"),
    ("fsync", "alway"),
    ("fsync", ""),
    ("redis-server", "~nobody-of-this-name/redis"),
    ("min-free", "-1"),
    ("min-free", "64M"),
    ("tick", "x"),
    ("tick", ""),
    ("tick", "0.009"),
    ("tick", "60.1"),
    ("tick", "nan"),
    ("tick", "inf"),
    ("tick", "1\n2"),
    ("max-body", "0"),
    ("max-body", "536870913"),
    ("max-body", "1.5"),
    ("max-body", "1 MB"),
    ("request-timeout", "0"),
    ("request-timeout", "3601"),
    ("partitions", "0"),
    ("partitions", "16385"),
    ("partitions", "-1"),
    ("worker-keep", "0"),
    ("log-format", "xml"),
    ("log-level", "warning"),
    ("access-log", "maybe"),
    ("processes", "0"),
    ("processes", "65"),
    ("processes", "two"),
]


@pytest.mark.parametrize(("name", "text"), REFUSED)
def test_what_a_setting_cannot_be_is_refused_by_the_name_that_was_used(name, text):
    assert refusal({name: text}).startswith(f"--{name} ")
    variable = "PRESQUE_" + name.upper().replace("-", "_")
    assert refusal({}, {variable: text}).startswith(f"{variable} ")


def test_a_refusal_shows_what_was_given_and_what_may_be():
    assert refusal({"tick": "x"}) == "--tick must be a number from 0.01 to 60 seconds, not 'x'"
    assert refusal({}, {"PRESQUE_MAX_BODY": "0"}).startswith("PRESQUE_MAX_BODY must be a whole number from 1 to ")
    assert refusal({"fsync": "alway"}) == "--fsync must be everysec or always; did you mean always?, not 'alway'"


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("PRESQUE_LISTNE", "PRESQUE_LISTEN"),
        ("PRESQUE_DATADIR", "PRESQUE_DATA_DIR"),
        ("PRESQUE_DATA-DIR", "PRESQUE_DATA_DIR"),
        ("PRESQUE_CONFG", "PRESQUE_CONFIG"),
        ("PRESQUE_tick", "PRESQUE_TICK"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_that_there_is(variable, nearest):
    assert refusal({"tick": "1"}, {variable: "1"}) == f"{variable} is not a setting; did you mean {nearest}?"


def test_a_variable_like_none_that_there_is_is_refused_without_a_guess():
    assert refusal({}, {"PRESQUE_0123456789": ""}) == "PRESQUE_0123456789 is not a setting"


@pytest.mark.parametrize(("key", "nearest"), [("listne", "listen"), ("max_bdy", "max-body"), ("Tick", "tick")])
def test_an_unknown_key_of_the_file_is_refused_with_the_nearest_that_there_is(file, key, nearest):
    config = file(f'{key} = "1"')
    assert refusal({"config": config}) == f"{config}: {key} is not a setting; did you mean {nearest}?"


def test_the_file_cannot_name_a_file(file):
    config = file('config = "other.toml"')
    assert refusal({"config": config}).startswith(f"{config}: config is not a setting")


def test_every_setting_can_stand_in_the_file_with_hyphens_or_underscores(file):
    found = settings(
        {
            "config": file(
                'listen = "tcp:1"\nredis = "redis://example"\ndata_dir = "/srv"\nfsync = "always"\ntick = 0.5\n'
                'max-body = 10\nrequest_timeout = 5\npartitions = "4"\nprocesses = 3'
            )
        },
        {},
    )
    assert found.listen == ("tcp:1",)
    assert found.redis == RedisURL("redis", "example", 6379, "", 0)
    assert (found.data_dir, found.fsync, found.tick) == (Path("/srv"), "always", 0.5)
    assert (found.max_body, found.request_timeout, found.partitions, found.processes) == (10, 5, 4, 3)


def test_the_file_may_list_several_endpoints(file):
    assert settings({"config": file('listen = ["tcp:1", "tcp:2"]')}, {}).listen == ("tcp:1", "tcp:2")
    assert settings({"config": file('host = ["a.example", "B.example"]')}, {}).host == ("a.example", "b.example")


def test_listen_and_host_may_be_given_several_times():
    options = Options()
    options.parseOptions(["--host", "a.example", "--listen", "tcp:1", "--host", "b.example", "--listen", "tcp:2"])
    assert options.given == {"host": "a.example b.example", "listen": "tcp:1 tcp:2"}


def test_a_list_is_refused_where_one_value_is_meant(file):
    config = file('tick = ["0.5"]')
    assert refusal({"config": config}).startswith(f"{config}: tick must be ")


@pytest.mark.parametrize("value", ["true", "false", "{}", "[1]", "1979-05-27"])
@pytest.mark.parametrize("key", ["tick", "listen", "redis"])
def test_a_value_of_the_file_that_is_no_text_and_no_number_is_refused(file, key, value):
    config = file(f"{key} = {value}")
    assert refusal({"config": config}) == f"{config}: {key} must be a string or a number"


@pytest.mark.parametrize("key", ["max-body", "max_body"])
def test_a_bad_value_of_the_file_is_refused_by_its_key_as_it_stands_there(file, key):
    config = file(f"{key} = 0")
    assert refusal({"config": config}).startswith(f"{config}: {key} must be a whole number")


def test_a_file_may_have_braces_in_its_name(tmp_path):
    config = tmp_path / "{tick}.toml"
    config.write_text("tick = 0")
    assert refusal({"config": str(config)}).startswith(f"{config}: tick must be a number")


@pytest.mark.parametrize("content", [b"tick", b"tick = ", b"tick = 1\ntick = 2", b"\xff = 1"])
def test_a_file_that_is_not_toml_is_refused(tmp_path, content):
    config = tmp_path / "presque.toml"
    config.write_bytes(content)
    assert refusal({"config": str(config)}).startswith(f"--config {config}: ")


def test_a_file_that_is_not_there_is_refused_by_the_name_that_was_used(tmp_path):
    config = str(tmp_path / "none.toml")
    assert refusal({"config": config}).startswith(f"--config {config}: ")
    assert refusal({}, {"PRESQUE_CONFIG": config}).startswith(f"PRESQUE_CONFIG {config}: ")


def test_a_folder_is_not_a_file(tmp_path):
    assert refusal({"config": str(tmp_path)}).startswith(f"--config {tmp_path}: ")


@pytest.fixture
def homeless(monkeypatch):
    """Nothing says where data belongs; the test says it through `homeless.setenv`."""
    for variable in [name for name in os.environ if name.startswith("PRESQUE_")]:
        monkeypatch.delenv(variable)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    return monkeypatch


def test_data_lie_in_the_home_folder_when_nothing_else_is_said(homeless):
    assert settings({}).data_dir == Path("/home/somebody/.local/state/presque")


def test_data_lie_in_the_xdg_state_folder_when_there_is_one(homeless):
    homeless.setenv("XDG_STATE_HOME", "/home/somebody/state")
    assert settings({}).data_dir == Path("/home/somebody/state/presque")


def test_data_lie_in_the_first_folder_that_systemd_gives(homeless):
    homeless.setenv("XDG_STATE_HOME", "/home/somebody/state")
    homeless.setenv("STATE_DIRECTORY", "/var/lib/presque:/var/lib/other")
    assert settings({}).data_dir == Path("/var/lib/presque")


def test_a_folder_that_is_named_goes_before_what_systemd_gives(homeless):
    homeless.setenv("STATE_DIRECTORY", "/var/lib/presque")
    assert settings({"data-dir": "/srv/a"}).data_dir == Path("/srv/a")
    homeless.setenv("PRESQUE_DATA_DIR", "/srv/b")
    assert settings({}).data_dir == Path("/srv/b")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("redis://example", RedisURL("redis", "example", 6379, "", 0)),
        ("redis://example/", RedisURL("redis", "example", 6379, "", 0)),
        ("redis://example:7000/15", RedisURL("redis", "example", 7000, "", 15)),
        ("rediss://example:7000", RedisURL("rediss", "example", 7000, "", 0)),
        ("redis://[::1]:7000", RedisURL("redis", "::1", 7000, "", 0)),
        ("redis://:word@example", RedisURL("redis", "example", 6379, "", 0, None, "word")),
        ("redis://ann:word@example/2", RedisURL("redis", "example", 6379, "", 2, "ann", "word")),
        ("redis://a%3An:%40%2F%3F%25%20@h", RedisURL("redis", "h", 6379, "", 0, "a:n", "@/?% ")),
        ("rediss://ann:p%C3%A4ss@h", RedisURL("rediss", "h", 6379, "", 0, "ann", "päss")),
        ("unix:///run/redis.sock", RedisURL("unix", "", 0, "/run/redis.sock", 0)),
        ("unix:/run/redis.sock", RedisURL("unix", "", 0, "/run/redis.sock", 0)),
        ("unix:///run/a%20b?db=3", RedisURL("unix", "", 0, "/run/a b", 3)),
        ("unix://:word@/run/redis.sock", RedisURL("unix", "", 0, "/run/redis.sock", 0, None, "word")),
        ("unix://ann:w%40rd@/run/r?db=1", RedisURL("unix", "", 0, "/run/r", 1, "ann", "w@rd")),
    ],
)
def test_a_redis_url_says_where_as_whom_and_which_database(text, url):
    assert parse_redis_url(text) == url
    assert parse_redis_url(url.in_full()) == url


@pytest.mark.parametrize(
    "text",
    [
        "example:6379",
        "http://example",
        "redis:",
        "redis://",
        "redis:///0",
        "redis://example/one",
        "redis://example/-1",
        "redis://example/0/1",
        "redis://example?db=1",
        "redis://example/0#1",
        "redis://example:port",
        "redis://example:65536",
        "redis://example:0",
        "redis://[::1",
        "redis://ann@example",
        "unix://",
        "unix:redis.sock",
        "unix:///run/redis.sock?database=1",
        "unix:///run/redis.sock?db=one",
        "unix:///run/redis.sock?db",
        "unix://run/redis.sock",
    ],
)
def test_a_url_that_says_no_such_thing_is_refused(text):
    with pytest.raises(ValueError, match=r"^(is|must|names|has) .+"):
        parse_redis_url(text)


SECRETS = [
    f"http://ann:{SECRET}@example",
    f"redis://ann:{SECRET}@example/one",
    f"redis://ann:{SECRET}@example:port",
    f"redis://ann:{SECRET}@[::1",
    f"redis://ann:{SECRET}@",
    f"redis://ann:{SECRET}@exa\u2100mple",
    f"redis://ann:a/{SECRET}@example",
    f"redis://ann:1/{SECRET}@example",
    f"redis://ann:a?{SECRET}@example",
    f"redis://ann:a#{SECRET}@example",
    f"unix://ann:{SECRET}@redis.sock",
    f"unix://ann:{SECRET}@/run/redis.sock?database=1",
    f"unix://ann:{SECRET}@/run/redis.sock?db=one",
    f"unix://ann:a/{SECRET}@/run/redis.sock",
    f"unix://ann:a?{SECRET}@/run/redis.sock",
    f"unix://ann:a#{SECRET}@/run/redis.sock",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_refused_url_does_not_show_its_password(file, text):
    config = file(f"redis = '{text}'")
    assert SECRET not in refusal({"redis": text})
    assert SECRET not in refusal({}, {"PRESQUE_REDIS": text})
    assert SECRET not in refusal({"config": config})


@pytest.mark.parametrize("where", ["redis://ann:{}@example/1", "rediss://:{}@example", "unix://ann:{}@/run/redis.sock"])
def test_a_redis_url_does_not_show_its_password(where):
    found = settings({"redis": where.format(SECRET)}, {})
    assert found.redis.password == SECRET
    assert SECRET not in f"{found.redis} {found.redis!r} {found}"


@pytest.mark.parametrize(
    "endpoint",
    [
        "5000",
        "tcp",
        "tcp:",
        "tcp:x",
        "tpc:5000",
        "tcp:5000:interfce=127.0.0.1",
        "unix:/tmp/presque.sock:mode=rw",
        "ssl:5000:privateKey=none.pem",
        "systemd:domain=INET:index=99",
    ],
)
def test_what_is_no_endpoint_is_refused_before_anything_is_started(endpoint):
    flags = {"listen": f"{LOOPBACK} {endpoint}", "redis": "redis://127.0.0.1:1"}
    with pytest.raises(SettingError, match=f"^--listen [^\n]*{re.escape(endpoint)}[^\n]*$"):
        make_service(settings(flags, {}), reactor)


def test_tls_cannot_be_shared_by_several_processes(certificate):
    endpoint = f"ssl:0:privateKey={certificate}"
    assert settings({"listen": endpoint}, {}).listen == (endpoint,)
    said = refusal({"listen": f"{LOOPBACK} {endpoint}", "processes": "2"})
    assert said == f"--processes 2 cannot share {endpoint}, only an endpoint of tcp:, tcp6:, unix:, systemd:"


def twistd(command, folder):
    """Run `<variables> twistd presque <arguments>` for what ends at once; its status and the lines that it wrote."""
    variables = dict(word.split("=", 1) for word in command.split() if word.startswith("PRESQUE_"))
    arguments = [word for word in command.split() if not word.startswith("PRESQUE_")]
    code = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; sys.exit(run())"
    ended = subprocess.run(
        [sys.executable, "-c", code, "-n", "--pidfile=", "presque", *arguments],
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "HOME": str(folder), **variables},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
    )
    return ended.returncode, ended.stdout.splitlines()


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("--lisen x", r"--lisen is not an option; did you mean --listen\?"),
        ("--tick x", "--tick must be a number from 0.01 to 60 seconds, not 'x'"),
        ("--tick", "option --tick requires argument"),
        ("listen tcp:0", r"listen is not an option; did you mean --listen\?"),
        ("-l tcp:0", "-l is not an option.*"),
        ("--config none.toml", "--config none.toml: .*No such file.*"),
        ("--listen tpc:5000", "(?=.* endpoint )--listen .*'tpc:5000'.*"),
        ("--redis localhost", "--redis must be redis://.*"),
        ("--listen systemd:domain=INET:name=x", "--listen must be .* \\(systemd passed no such socket\\), not .*"),
        ("--processes 0", "--processes must be a whole number from 1 to 64, not '0'"),
        ("--processes 2 --listen haproxy:tcp:0", "--processes 2 cannot share haproxy:tcp:0, only .*"),
        ("PRESQUE_LISTNE=tcp:0", r"PRESQUE_LISTNE is not a setting; did you mean PRESQUE_LISTEN\?"),
        ("PRESQUE_LISTEN=tpc:0", "(?=.* endpoint )PRESQUE_LISTEN .*'tpc:0'.*"),
    ],
)
def test_the_command_refuses_in_one_line_and_with_status_2(tmp_path, command, line):
    status, written = twistd(command, tmp_path)
    assert (status, len(written)) == (2, 1), "\n".join(written)
    assert re.fullmatch(f"presque: {line}", written[0]), written[0]


def test_the_help_lists_every_setting(tmp_path):
    status, written = twistd("--help", tmp_path)
    assert status == 0
    listed = set(re.findall(r"^ +(?:-\w, )?--([\w-]+)", "\n".join(written), re.MULTILINE))
    assert listed == {row.name for row in TABLE} | {"config", "help", "version"}


def test_the_version_is_told(tmp_path):
    assert twistd("--version", tmp_path) == (0, [f"presque {__version__}"])


async def log_about_redis(daemon):
    """What it has written once it said why it cannot use its Redis; it is ended then."""
    daemon.listening.addErrback(lambda failure: None)  # it ends before it listens

    async def told():
        return "cannot use" in daemon.log

    await eventually(told, "a word on Redis")
    await daemon.stop()
    return daemon.log


@awaiting
async def test_a_password_does_not_reach_the_log_while_nothing_listens_there(processes):
    log = await log_about_redis(processes("--redis", f"redis://user:{SECRET}@127.0.0.1:1/0"))
    assert "127.0.0.1:1 (database 0)" in log
    assert SECRET not in log


@awaiting
async def test_a_password_does_not_reach_the_log_when_redis_refuses_it(processes, redis):
    log = await log_about_redis(processes("--redis", f"unix://user:{SECRET}@{redis.socket}"))
    assert "WRONGPASS" in log
    assert SECRET not in log
