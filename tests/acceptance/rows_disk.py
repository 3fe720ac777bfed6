"""Rows 25 and 26: the disk of the private Redis is full, and its files are broken or another engine's."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis

from presque.process.private_redis.engine import candidates, engine_of
from tests.load import PATIENCE, Client, Lost, Refused, together, until
from tests.programs import Daemon

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.bench import Bench

MB = 1_000_000
PRODUCERS = 32
ENDS_WITHIN = 40.0  # seconds that a daemon has to end


class Disk:
    """A file system of its own, in memory: it takes root, as mount(8) does."""

    def __init__(self, bench: Bench, size: int) -> None:
        self.path = bench.folder()
        options = f"size={size},mode=0700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "presque-bench", self.path], check=True)
        bench.callback(subprocess.run, ["umount", "--lazy", self.path], check=False)
        self.data = self.path / "data"
        self.ballast = self.path / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Take all the room but `leave` bytes, as fast as it goes."""
        with contextlib.suppress(OSError), self.ballast.open("ab", buffering=0) as file:
            while (free := shutil.disk_usage(self.path).free) > leave:
                file.write(b"\0" * min(MB, free - leave))

    def release(self) -> None:
        self.ballast.unlink(missing_ok=True)


class Producers:
    """Clients that insert until they are told to end, and know what was answered 201."""

    def __init__(self, port: int, size: int, base: int = 0) -> None:
        self.port, self.size, self.base = port, size, base
        self.acknowledged: set[int] = set()
        self.unknown: set[int] = set()
        self.answers: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.done = threading.Event()

    def produce(self, part: int) -> None:
        client, text, n = Client(self.port), "x" * self.size, self.base + part
        while not self.done.is_set():
            n += PRODUCERS
            try:
                reply = client.ask_plainly("POST", "/q/bench", b'{"n":%d,"x":"%b"}' % (n, text.encode()))
            except Refused:
                time.sleep(0.01)
                continue
            except Lost:
                with self.lock:
                    self.unknown.add(n)
                continue
            with self.lock:
                self.answers[str(reply.status) if reply.status == 201 else said(reply.body)] += 1
                if reply.status == 201:
                    self.acknowledged.add(n)
                elif b"may or may not" in reply.body:
                    self.unknown.add(n)
            if reply.status != 201:
                time.sleep(0.002)

    def run(self, meanwhile: Callable[[], Any]) -> None:
        """Produce while that runs."""

        def end() -> None:
            try:
                meanwhile()
            finally:
                self.done.set()

        together([*(partial(self.produce, part) for part in range(PRODUCERS)), end])


def said(body: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError):
        return str(json.loads(body)["error"])
    return body[:80].decode(errors="replace")


def drain(port: int) -> list[int]:
    """The numbers of all jobs that there are."""
    found: list[int] = []
    client = Client(port)
    ends = time.monotonic() + PATIENCE
    while time.monotonic() < ends:
        try:
            reply = client.ask("GET", "/qb/bench?batch_size=1000")
        except Refused:  # nothing was done: on a busy machine Redis may need more time than there is
            time.sleep(0.05)
            continue
        if reply.status != 200:
            return found
        found += [json.loads(text)["n"] for text in reply.json]
    raise TimeoutError("the queue is not empty")


def command_on(path: Path, *words: str) -> None:
    """Run one command on the Redis whose socket that is."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(hiredis.pack_command(words))
        connection.recv(65536)


def redis_of(data: Path) -> int:
    """The pid of the server that serves this folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"unixsocket:{data}".encode() in (process / "cmdline").read_bytes():
                return int(process.name)
    return 0


def ended(daemon: Daemon, seconds: float = ENDS_WITHIN) -> int:
    if daemon.process is None:
        raise RuntimeError("it does not run")
    status = daemon.process.wait(seconds)
    daemon.process = None
    return status


def daemon_on(bench: Bench, data: Path, *flags: str) -> Daemon:
    daemon = Daemon.private(bench.folder(), data, *flags)
    bench.callback(daemon.kill)
    bench.daemons.append(daemon)
    return daemon


def full_in(bench: Bench, size: int, floor: int, stop: str) -> dict[str, Any]:
    """Fill a disk by insertions, then end one of them in that way, make room, and count."""
    disk = Disk(bench, size)
    daemon = daemon_on(bench, disk.data, "--min-free", str(floor))
    producers = Producers(daemon.port, 4000)
    if bench.short and size > 50 * MB:
        disk.fill(floor + 8 * MB)  # so that it does not take long

    def meanwhile() -> None:
        until(lambda: producers.answers["the store is full, nothing was done"] > 500, 120, "store-full")
        if stop == "SIGTERM":
            daemon.signal(signal.SIGTERM)
        elif stop == "SIGKILL of Redis":
            killed = redis_of(disk.data)
            os.kill(killed, signal.SIGKILL)
            until(lambda: redis_of(disk.data) not in (0, killed), 30, "another Redis")
            until(lambda: Client(daemon.port).ask("GET", "/j/bench").status == 200, 30, "answers")
        else:
            daemon.kill()

    producers.run(meanwhile)
    if stop == "SIGTERM":
        ended(daemon)
    elif daemon.process is not None:
        daemon.kill()
    until(lambda: redis_of(disk.data) == 0, 30, "the end of Redis")
    disk.release()
    daemon.start()
    return {
        **counted(producers, drain(daemon.port)),
        "refused": producers.answers["the store is full, nothing was done"],
    }


def counted(producers: Producers, found: list[int]) -> dict[str, Any]:
    known = producers.acknowledged
    return {
        "acknowledged": len(known),
        "lost": len(known - set(found)),
        "twice": len(found) - len(set(found)),
        "unexpected": len(set(found) - known - producers.unknown),
    }


def filled_by_another(bench: Bench) -> dict[str, Any]:
    """Another program fills the disk in a moment; SIGTERM; then there is room again."""
    disk = Disk(bench, 48 * MB)
    daemon = daemon_on(bench, disk.data, "--min-free", str(4 * MB))
    producers = Producers(daemon.port, 4000)

    def meanwhile() -> None:
        until(lambda: producers.answers["201"] > 500, 60, "jobs")
        disk.fill()
        until(lambda: re.search("JOBS ARE AT STAKE|DISK NEARLY FULL", daemon.log), 60, "the log's word")
        process = daemon.process
        if process is None:
            raise RuntimeError("it has ended")
        process.send_signal(signal.SIGTERM)
        # It waits when bytes that were answered are not written; where it saw the floor in time there are none.
        until(lambda: "presque waits to stop" in daemon.log or process.poll() is not None, 60, "the wait or the end")
        disk.release()

    producers.run(meanwhile)
    ended(daemon)
    daemon.start()
    return {**counted(producers, drain(daemon.port)), "at_stake": "JOBS ARE AT STAKE" in daemon.log}


def disk_full(bench: Bench, figures: dict[str, Any]) -> bool:
    """disk full: insertions are refused below the floor; nothing answered 201 is lost, however it ends then."""
    stops = ("SIGTERM", "SIGKILL of Redis", "SIGKILL of the daemon")
    held = True
    for name, size, floor in (("200 MB", 200 * MB, 67_108_864), ("16 MB", 16 * MB, 4 * MB)):
        for stop in stops[: 1 if bench.short and size > 50 * MB else None]:
            found = full_in(bench, size, floor, stop)
            figures[f"{name}, {stop}"] = found
            held = held and found["refused"] > 0 and sound(found)
    for round_ in range(bench.size(5, 1)):
        found = filled_by_another(bench)
        figures[f"filled by another, {round_ + 1}"] = found
        held = held and sound(found)
    return held


def sound(found: dict[str, Any]) -> bool:
    return found["acknowledged"] > 0 and not (found["lost"] or found["twice"] or found["unexpected"])


class Broken:
    """A folder that a daemon wrote, copies of it that are broken, and what becomes of them."""

    JOBS = 40

    def __init__(self, bench: Bench, program: str, figures: dict[str, Any]) -> None:
        self.bench, self.program = bench, program
        self.figures: dict[str, str] = {}
        figures[str(engine_of(program))] = self.figures
        self.origin = bench.folder() / "data"
        daemon = daemon_on(bench, self.origin, "--redis-server", program)
        client = Client(daemon.port)
        for n in range(self.JOBS):
            client.post("/q/bench", {"n": n})
        if daemon.process is not None:
            daemon.process.send_signal(signal.SIGTERM)
        ended(daemon)
        self.wrong: list[str] = []

    def copy(self) -> Path:
        folder = self.bench.folder() / "data"
        shutil.copytree(self.origin, folder, ignore=shutil.ignore_patterns("*.sock", "lock"))
        return folder

    @staticmethod
    def last(folder: Path) -> Path:
        increments = sorted((folder / "appendonlydir").glob("*.incr.aof"))
        return increments[-1] if increments else folder / "appendonly.aof"

    def is_valid(self, file: Path) -> bool:
        """Whether the server's own check finds nothing wrong, as where the file was cut between two commands."""
        command = ["bash", "-c", 'exec -a redis-check-aof "$0" "$1"', self.program, str(file)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def see(self, name: str, folder: Path, at_least: int, remedy: str = "", *flags: str) -> None:
        """Start on it: whole, with so many jobs, or ended with one line in which `remedy` stands. What was lost is
        said, unless nobody can know it.
        """
        is_valid = self.is_valid(self.last(folder)) if self.last(folder).is_file() else False
        log = self.bench.folder()
        try:
            daemon = Daemon.private(log, folder, *(flags or ("--redis-server", self.program)))
        except RuntimeError:
            text = (log / "daemon.log").read_text()
            lines = re.findall(r"presque ends: (.+)", text)
            self.figures[name] = "refused in one line" if len(lines) == 1 else f"{len(lines)} lines"
            good = len(lines) == 1 and "Traceback" not in text and re.search(remedy or "$^", lines[0])
            self.judge(name, bool(good), text)
            return
        self.bench.callback(daemon.kill)
        found = len(drain(daemon.port))
        daemon.kill()
        self.figures[name] = f"{found} of {self.JOBS}"
        said = found == self.JOBS or is_valid or re.search(r"\bw(as|ere) cut off", daemon.log)
        self.judge(name, at_least <= found and bool(said), daemon.log)

    def judge(self, name: str, good: bool, log: str) -> None:
        if not good:
            self.wrong.append(name)
            self.figures[name] += f" (WRONG) {log[-600:]}"


def broken_files(bench: Bench, figures: dict[str, Any]) -> bool:
    """broken files: starts whole, or ends in one line that names the remedy; never empty in silence."""
    programs = {str(engine_of(program)): program for program in reversed([*candidates()])}
    held = True
    for program in list(programs.values())[: bench.size(len(programs), 1)]:
        broken = Broken(bench, program, figures)
        never = broken.JOBS + 1  # jobs that cannot be there: it has to refuse
        for size in (1, 4096, 70_000):
            with broken.last(folder := broken.copy()).open("ab") as file:
                file.write(bytes(size))
            broken.see(f"{size} zeros", folder, broken.JOBS)
        with broken.last(folder := broken.copy()).open("ab") as file:
            file.write(bench.chance.randbytes(200))
        broken.see("garbage", folder, never, "redis-check-aof")
        whole = broken.last(broken.origin).stat().st_size
        for _ in range(bench.size(40, 3)):
            os.truncate(
                broken.last(folder := broken.copy()), cut := bench.chance.randrange(max(1, whole - 15_000), whole)
            )
            broken.see(f"cut at {cut}", folder, 0, "store|damaged")
        os.truncate(broken.last(folder := broken.copy()), 0)
        broken.see("cut to nothing", folder, never, "store")
        strange(broken, never)
        held = held and not broken.wrong
        if broken.wrong:
            figures[f"wrong with {program}"] = broken.wrong
    return held


def strange(broken: Broken, never: int) -> None:
    """What is another's, or not there."""
    for engine in ("Redis 99.0.1", "Valkey 99.0.1", "Other 1.0"):
        note = (folder := broken.copy()) / "engine"
        name, version = engine.split()
        note.write_text(json.dumps({**json.loads(note.read_text()), "engine": name, "version": version, "program": ""}))
        broken.see(f"written by {engine}", folder, never, re.escape(engine))
    (folder := broken.copy()).joinpath("engine").unlink()
    broken.see("without a note", folder, broken.JOBS)
    for path in [*(folder := broken.copy()).glob("appendonly*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    broken.see("without its files", folder, never, "engine$")
    daemon = daemon_on(broken.bench, folder := broken.copy(), "--redis-server", broken.program)
    command_on(folder / "redis.sock", "HSET", "presque:store", "model", "99")
    if daemon.process is not None:
        daemon.process.send_signal(signal.SIGTERM)
    ended(daemon)
    broken.see("of data model 99", folder, never, "99.*later presque")
    (folder := broken.copy()).joinpath("redis.sock").mkdir()
    broken.see("redis.sock a folder", folder, never, "redis.sock is a folder")
    odd = (folder := broken.copy()).parent / 'a\nb "c\\d é'
    folder.rename(odd)
    broken.see("a path with a newline", odd, broken.JOBS)


ROWS = {25: disk_full, 26: broken_files}
