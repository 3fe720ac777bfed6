"""The job that all do. Imported by the producers and the workers of every library."""

from __future__ import annotations

import os

REDIS = "unix://" + os.environ["REDIS_SOCKET"]
NOTES = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)  # shared by processes that a worker forks
LENGTH = 62  # characters of an argument, whose first eight are the job's number


def note(argument: str) -> None:
    """The work: nine bytes of a file, by which jobs are counted and told apart."""
    os.write(NOTES, argument[:8].encode() + b"\n")


def argument(number: int) -> str:
    return f"{number:08}".ljust(LENGTH, ".")
