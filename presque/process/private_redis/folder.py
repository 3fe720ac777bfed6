"""The private server's folder: exclusively ours while we hold its lock, with a record of its last writer.

The file `engine` in it names the engine, version and program that last wrote it, and the id of its store, which is in
the store as well. So no program is started on files that it cannot read, and a lost store is noticed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from presque.errors import StoreUnfit
from presque.process.private_redis.aof import cut_zeros, has_files, writer_of
from presque.process.private_redis.engine import Engine, choose, version_of
from presque.process.private_redis.unfinished import cut_unfinished

NOTE = "engine"
LONGEST_SOCKET = 100  # bytes; the kernel accepts up to 107 for the path of a Unix socket
BEGIN_ANEW = "restore it from a backup, or to start with an empty store remove"


class Mended(NamedTuple):
    """What was cut off the end of a file."""

    path: Path
    zeros: int  # bytes
    unfinished: int  # bytes of a transaction


class Folder:
    """A data folder at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock: int | None = None  # descriptor
        self.store_id = ""  # as recorded
        self._socket_folder: str | None = None
        self.socket = str(path / "redis.sock")
        if len(os.fsencode(self.socket)) > LONGEST_SOCKET or not (self.socket.isascii() and self.socket.isprintable()):
            self._socket_folder = tempfile.mkdtemp(prefix="presque-")
            self.socket = str(Path(self._socket_folder) / "redis.sock")

    def __str__(self) -> str:
        return str(self.path)

    def take(self) -> bool:
        """Try to lock the folder. Returns whether that succeeded. Raises StoreUnfit when the folder cannot be used."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as wrong:
            raise self._unusable(wrong) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        os.truncate(lock, 0)
        os.write(lock, b"%d\n" % os.getpid())
        self.lock = lock
        return True

    def _unusable(self, wrong: OSError) -> StoreUnfit:
        what = f"{wrong.strerror}: {wrong.filename}" if wrong.filename else str(wrong)
        return StoreUnfit(
            f"the data folder {self.path} cannot be used ({what}): fix that, or name another with --data-dir"
        )

    def holder(self) -> str:
        """The process id in the lock file, or "unknown"."""
        return (self.path / "lock").read_text(errors="replace").strip() or "unknown"

    def engine(self, chosen: str) -> Engine:
        """The engine to start on the folder, after a check of its files. Raises StoreUnfit, with the remedy."""
        try:
            noted = self._noted()
            found = writer_of(self.path)
            if (self.path / "redis.sock").is_dir():
                raise StoreUnfit(f"{self.path / 'redis.sock'} is a folder, but must be a socket: move it away")
            if self.store_id and not has_files(self.path):
                raise self._empty("but its files are missing")
        except OSError as wrong:
            raise self._unusable(wrong) from None
        newest = self._last(noted, found) if noted and found else noted or found
        return choose(newest, chosen, self.path)

    def _last(self, noted: Engine, found: Engine) -> Engine:
        """The last writer: only the files tell of an engine that ran without us, or of a restored backup."""
        if noted.reads(found) or found.or_another:
            return found if found.reads(noted) and not noted.reads(found) else noted
        if found.reads(noted):
            return found
        raise StoreUnfit(
            f"{self.path / NOTE} says that {noted} wrote {self.path} last, but {found} wrote its files: if they "
            f"are from a backup, remove {self.path / NOTE}"
        )

    def mend(self, engine: Engine) -> Mended:
        """Repair what a power cut or the death of Redis left: see `cut_zeros` and `cut_unfinished`."""
        try:
            path, zeros = cut_zeros(self.path)
            return Mended(path, zeros, cut_unfinished(self.path, engine.program))
        except OSError as wrong:
            raise self._unusable(wrong) from None

    def _empty(self, how: str) -> StoreUnfit:
        note = self.path / NOTE
        return StoreUnfit(f"{self.path} kept a store (id {self.store_id}), {how}: {BEGIN_ANEW} {note}")

    def check_store(self, store_id: str, keys: int) -> None:
        """Raise StoreUnfit when the recorded store came up empty."""
        if self.store_id and not store_id and keys == 0:
            raise self._empty("but comes up empty")

    def _noted(self) -> Engine | None:
        path = self.path / NOTE
        try:
            note = json.loads(path.read_bytes())
            self.store_id = str(note.get("store", ""))
            return Engine(str(note["engine"]), version_of(note["version"]), str(note["program"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StoreUnfit(
                f"{path}, which records the engine that wrote {self.path}, cannot be read: remove it, and name that "
                "engine with --redis-server"
            ) from None

    def note(self, engine: Engine, store_id: str) -> None:
        """Record the engine that uses the folder from now on, atomically."""
        value = {"engine": engine.name, "version": engine.number, "program": engine.program, "store": store_id}
        new = self.path / f"{NOTE}.new"
        with new.open("w") as file:
            json.dump(value, file)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.path / NOTE)
        self.store_id = store_id

    def leave(self) -> None:
        """Unlock the folder."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
