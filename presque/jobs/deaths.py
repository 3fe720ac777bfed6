"""What the log says of jobs that died: a line each, however they died, from the daemon whose mover came first."""

from __future__ import annotations

from twisted.logger import Logger

from presque.errors import one_line

_log = Logger()


def tell(queue: str, noted: bytes) -> None:
    """Log the deaths that a script has noted: see `deaths` in presque.redis.keys."""
    for line in noted.decode(errors="replace").split("\n"):
        number, attempts, why = line.split(" ", 2)
        _log.warn(
            "job {id} is dead after {attempts} failed attempts: {error}",
            queue=queue,
            id=f"{queue}:{number}",
            attempts=int(attempts),
            error=one_line(why) or "no reason was given",
            log_every=True,
        )
