"""The log: its forms, its levels, the journal's priorities, how often a fault is told, and what is never in it."""

import json
import os
import re
import signal
import subprocess

import pytest
from load import until
from programs import ROOT, presque_command, presque_environ
from pytest_twisted import ensureDeferred as awaiting
from servers import LOOPBACK, PATIENCE, Client, eventually
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger, LogLevel

from presque.process.log import Log

CANARY = "c4naryc4nary"


class Sheet:
    """What was written."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data

    def flush(self):
        pass

    @property
    def lines(self):
        return self.data.decode().splitlines()


@pytest.fixture
def sheet():
    return Sheet()


def log_on(sheet, form="text", level="info", environ=None):
    """A log on that sheet, its clock, and a logger of ours that writes into it."""
    clock = Clock()
    log = Log(form, level, clock)
    log.open(sheet, environ or {})
    return log, clock, Logger("presque.test", observer=log)


def test_only_what_reaches_the_level_is_written_and_the_level_may_change(sheet):
    log, _, logger = log_on(sheet, level="warn")
    for level in LogLevel.iterconstants():
        logger.emit(level, "{word}", word=level.name)
    log.set_level("debug")
    logger.debug("now")
    assert [line.rpartition(" ")[2] for line in sheet.lines] == ["warn", "error", "critical", "now"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} \[presque\.test#warn\] warn", sheet.lines[0])


def test_a_json_line_has_time_level_logger_message_and_fields_whatever_they_are(sheet):
    _, _, logger = log_on(sheet, "json")
    logger.warn("two\nlines {a}", a=1, b=float("nan"), c=object, d=None, e="\udce9", logger="mine", time="mine")
    try:
        raise ZeroDivisionError("bo\nom")
    except ZeroDivisionError:
        logger.failure("it {verb}", verb="failed")
    Logger("twisted.test", observer=logger.observer).info("theirs", secret=1)
    one, two, three = [json.loads(line, parse_constant=int) for line in sheet.lines]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", one.pop("time"))
    assert one.pop("c").startswith("<class")
    expected = {"level": "warn", "logger": "presque.test", "message": "two\nlines 1", "pid": os.getpid()}
    assert one == expected | {"a": 1, "b": "nan", "d": None, "e": "\udce9"}
    assert (two["level"], two["message"], two["error"]) == ("critical", "it failed", "bo\nom")
    assert "ZeroDivisionError" in two["traceback"]
    assert set(three) == {"time", "level", "logger", "message", "pid"}


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_fault_that_repeats_is_told_once_a_second_with_the_number_of_those_left_out(sheet, form):
    log, clock, logger = log_on(sheet, form)
    for n in range(100):
        logger.error("cannot {n}", n=n)
        logger.info("info {n}", n=n)
    logger.error("another fault")
    told = [line for line in sheet.lines if "info" not in line]
    assert len(told) == 2
    clock.advance(1)
    assert "cannot 99 (and 98 more like this, left out)" in sheet.lines[-1]
    logger.error("cannot {n}", n=100)
    clock.advance(1)
    assert "cannot 100" in sheet.lines[-1]
    assert "left out" not in sheet.lines[-1]
    clock.advance(1)
    logger.error("cannot {n}", n=101)  # at once, as long after the last
    assert "cannot 101" in sheet.lines[-1]
    logger.error("cannot {n}", n=102)
    log.flush()
    assert "cannot 102" in sheet.lines[-1]
    clock.advance(1)
    clock.advance(1)
    assert clock.getDelayedCalls() == []
    assert sum("info" in line for line in sheet.lines) == 100


def full(data):
    raise OSError("no space left")


def test_a_full_disk_or_a_reader_that_has_gone_does_not_stop_us(sheet):
    _, _, logger = log_on(sheet)
    sheet.write = full
    logger.info("lost")
    del sheet.write
    logger.info("kept")
    assert len(sheet.lines) == 1


def test_in_the_journal_each_line_has_its_priority_and_no_time(tmp_path):
    with (tmp_path / "journal").open("w+b") as out:
        status = os.fstat(out.fileno())
        stream = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        for form in ("text", "json"):
            _, _, logger = log_on(out, form, "debug", stream)
            for level in LogLevel.iterconstants():
                logger.emit(level, f"{level.name}")
            try:
                raise ZeroDivisionError
            except ZeroDivisionError:
                logger.failure("boom")
        _, _, logger = log_on(out, environ={"JOURNAL_STREAM": "1:1"})  # of another stream
        logger.info("elsewhere")
    *lines, last = (tmp_path / "journal").read_text().splitlines()
    assert lines[:5] == [
        "<7>[presque.test#debug] debug",
        "<6>[presque.test#info] info",
        "<4>[presque.test#warn] warn",
        "<3>[presque.test#error] error",
        "<2>[presque.test#critical] critical",
    ]
    assert all(re.match(r"<[2-7]>\S|<2> ", line) for line in lines)
    assert sum(line.startswith("<2>") for line in lines[5:-5]) > 3  # each line of the traceback
    assert [json.loads(line[3:])["level"] for line in lines[-6:-1]] == [
        "debug",
        "info",
        "warn",
        "error",
        "critical",
    ]
    assert re.match(r"\d{4}-", last)


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["one process", "several"])
@awaiting
async def test_every_line_of_a_daemon_is_json_and_a_first_start_has_no_fault(processes, tmp_path, flags):
    daemon = processes("--data-dir", str(tmp_path / "data"), "--log-format", "json", "--access-log", *flags)
    client = Client(await daemon.listening)
    assert (await client.post("/q/foo", b"{}", X_Request_Id="mine")).status == 201
    await client.close()
    await daemon.stop()
    lines = [json.loads(line) for line in daemon.log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    assert {line["level"] for line in lines} == {"info"}
    (access,) = [line for line in lines if line["logger"] == "presque.http.access.Access"]
    told = {name: access[name] for name in ("method", "path", "status", "bytes", "request")}
    assert told == {"method": "POST", "path": "/q/<queue>", "status": 201, "bytes": 0, "request": "mine"}
    assert lines[-1]["message"] == "Server Shut Down."


@pytest.mark.parametrize("flags", [(), ("--processes", "2")], ids=["one process", "several"])
@awaiting
async def test_the_level_is_read_again_from_the_file_at_sighup(processes, redises, tmp_path, flags):
    file = tmp_path / "presque.toml"
    file.write_text('log-level = "info"')
    daemon = processes("--redis", redises().url, "--config", str(file), "--access-log", *flags)
    client = Client(await daemon.listening)

    async def reload(text, expected):
        file.write_text(text)
        daemon.transport.signalProcess("HUP")

        async def said():
            return expected in daemon.log

        await eventually(said, expected)

    await client.get("/v1", X_Request_Id="one")
    await reload('log-level = "warn"', "SIGHUP: log level warn (before: info)")
    await client.get("/v1", X_Request_Id="two")
    await reload('log-level = "wran"', "log-level must be debug or info or warn")
    await reload('log-level = "info"', "SIGHUP: log level info (before: warn)")
    await client.close()
    await daemon.stop()
    assert "request one" in daemon.log
    assert "request two" not in daemon.log
    assert "nothing has changed" in daemon.log
    assert "Traceback" not in daemon.log


@awaiting
async def test_no_line_has_a_payload_a_token_or_the_password_of_redis_at_any_level(redises, processes):
    redis = redises()
    redis.command("ACL", "SETUSER", "presque", "on", f">{CANARY}", "~*", "&*", "+@all")
    url = redis.url.replace("unix://", f"unix://presque:{CANARY}@")
    daemon = processes("--redis", url, "--log-level", "debug", "--access-log", "--processes", "2")
    client = Client(await daemon.listening)
    for path, body in (
        (f"/q/foo?uniq={CANARY}", f'{{"a":"{CANARY}"}}'),
        ("/q/foo", f'{{"{CANARY}'),
        ("/v1/queues/foo/jobs", f'{{"payload":"{CANARY}","max_attempts":1}}'),
        ("/v1/queues/foo/jobs", f'{{"{CANARY}":1}}'),
        (f"/v1/queues/foo/jobs?{CANARY}=1", f'{{"payload":"{CANARY}"}}'),
        (f"/v1/{CANARY}", ""),
        ("/v1/queues/foo/reservations", '{"max":10,"lease":0.01}'),
    ):
        headers = {"Authorization": f"Bearer {CANARY}", "Cookie": CANARY, "X_Request_Id": f"{CANARY} x"}
        await client.post(path, body.encode(), **headers)
    await client.get(f"/q/foo?worker_id={CANARY}", Authorization=f"Basic {CANARY}")
    redis.command("ACL", "SETUSER", "presque", "resetpass", ">other")
    redis.command("CLIENT", "KILL", "USER", "presque")

    async def refused():
        return (await client.get("/health/ready")).json["checks"]["store"].startswith("Redis refuses the user")

    await eventually(refused, "the refusal")
    await client.close()
    await daemon.stop()
    assert CANARY not in daemon.log
    assert "cannot use" in daemon.log


def test_twistd_s_own_logger_is_used_if_it_is_named(tmp_path, redises):
    (tmp_path / "mine.py").write_text("import os\ndef observer():\n    return lambda event: os.write(1, b'mine\\n')\n")
    command = presque_command("--redis", redises().url, "--listen", LOOPBACK, "--log-format", "json")
    command[command.index("presque") : command.index("presque")] = ["--logger", "mine.observer"]
    environ = presque_environ() | {"PYTHONPATH": f"{ROOT}:{tmp_path}", "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        line = process.stdout.readline()
        process.terminate()
    assert b"mine" in line
    assert b"level" not in line


@awaiting
async def test_a_log_file_of_twistd_has_our_lines(tmp_path, redises):
    flags = ["--redis", redises().url, "--listen", LOOPBACK, "--log-format", "json"]
    command = presque_command(*flags)
    command[command.index("presque") : command.index("presque")] = ["--logfile", str(tmp_path / "presque.log")]
    process = subprocess.Popen(command, env=presque_environ(), cwd=tmp_path)

    def lines():
        path = tmp_path / "presque.log"
        whole = path.read_text().rpartition("\n")[0] if path.exists() else ""
        return [json.loads(line) for line in whole.splitlines()]

    try:
        await deferToThread(until, lambda: any("listens on" in line["message"] for line in lines()))
        process.send_signal(signal.SIGUSR1)
        await deferToThread(until, (tmp_path / "presque.log.1").exists)
    finally:
        process.terminate()
        await deferToThread(process.wait, PATIENCE)
    assert lines()[-1]["message"] == "Server Shut Down."
