"""Publishes what this process counts of itself, so that whichever process is asked can tell of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from presque.jobs.processes import Processes
    from presque.metrics import Meter

PUBLISH = 5.0  # seconds between two publications


class Publication:
    """Publishes the figures of a `meter` as those of `process`, an id among all processes of the store. `heard` is
    called with what each process says, by id.
    """

    def __init__(self, processes: Processes, process: str, meter: Meter) -> None:
        self._processes = processes
        self._process = process
        self._meter = meter
        self.heard: Callable[[dict[str, bytes]], object] = lambda said: None
        self._encode = msgspec.msgpack.Encoder().encode

    async def run_once(self) -> int:
        """Publish them once. Returns 1."""
        self.heard(await self._processes.publish(self._process, self._encode(self._meter.figures())))
        return 1
