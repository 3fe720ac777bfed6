"""A daemon's processes from outside: who they are, who has accepted a connection, and how to reach one of them."""

import os
import re
import signal
import socket
from pathlib import Path

from proc import children, lives, words
from servers import PATIENCE, eventually, raw_connection

INSERT = b"POST /q/foo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


def family(parent):
    """The children of process `parent` that live: pid -> its command line."""
    found = {}
    for pid in children(parent):
        try:
            found[pid] = words(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return {pid: line for pid, line in found.items() if lives(pid)}


def servers_of(daemon):
    """The pids of the processes that serve, sorted; `daemon` is their supervisor."""
    return sorted(pid for pid, line in family(daemon.pid).items() if b"presque" in line and b"redis" not in line)


async def listening(daemon, times=2):
    """The pids of its processes, once `times` of them have said that they listen since it began."""

    async def all_listen():
        assert daemon.status is None, daemon.log
        return len(re.findall(r"\] \[.*presque listens on", daemon.log)) >= times

    await eventually(all_listen, daemon.log)
    return servers_of(daemon)


def owners(port, pids):
    """Which of `pids` has accepted which connection to `port`: the client's port -> pid, None while nobody has."""
    sockets = {}
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets[os.readlink(descriptor)] = pid
            except FileNotFoundError:
                continue
    found = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_, inode = line.split()[:10]
        if int(local.split(":")[1], 16) == port and state == "01":
            found[int(remote.split(":")[1], 16)] = sockets.get(f"socket:[{inode}]")
    return found


def port_of(connection):
    return connection.transport.getHost().port


async def accepted(port, pids, connections):
    """How many of `connections` each of `pids` has, once all are accepted."""

    async def by_pid():
        found = owners(port, pids)
        theirs = [found.get(port_of(connection)) for connection in connections]
        return None if None in theirs else {pid: theirs.count(pid) for pid in pids}

    return await eventually(by_pid, "that all are accepted")


async def connection_to(port, wanted, others):
    """A connection that process `wanted` has accepted: `others` sleep meanwhile."""
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    connection = await raw_connection(port)
    await accepted(port, [wanted], [connection])
    for pid in others:
        os.kill(pid, signal.SIGCONT)
    return connection


async def ask(connection, method, path, body=b""):
    """The body of the answer to one request over `connection`."""
    connection.received = b""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.transport.write(head.encode() + body)
    received = await connection.until(b"\r\n\r\n")
    length = int((re.search(rb"Content-Length: (\d+)", received) or [0, 0])[1])

    async def whole():
        return len(connection.received.partition(b"\r\n\r\n")[2]) >= length

    await eventually(whole, "the body")
    return connection.received.partition(b"\r\n\r\n")[2]


def insert(address):
    """What a server at `address` answers to an insertion, up to the end of its head."""
    family_of = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family_of) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(address)
        connection.sendall(INSERT)
        received = b""
        while b"\r\n\r\n" not in received:
            data = connection.recv(65536)
            assert data, "it was closed without an answer"
            received += data
        return received
