"""The figures of all processes of a store: ours as they are now, the others' as they published them last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from presque.metrics import readable

if TYPE_CHECKING:
    from presque.jobs.processes import Processes
    from presque.metrics import Figures, Meter


class AllProcesses:
    """The figures of all processes. `process` is our id among them."""

    def __init__(self, processes: Processes, process: str, meter: Meter) -> None:
        self._processes = processes
        self._process = process
        self._meter = meter
        self._waiting: dict[str, dict[str, int]] = {}  # process -> queue -> consumers, as last heard

    def heard(self, said: dict[str, bytes]) -> None:
        """Take what processes have published."""
        self._waiting = {process: each.waiting for process, each in readable(said).items() if process != self._process}

    def waiting(self, queue: str) -> int:
        """How many consumers wait on a queue: here now, and at other processes up to ten seconds ago."""
        elsewhere = sum(each.get(queue, 0) for each in self._waiting.values())
        return self._meter.waiting().get(queue, 0) + elsewhere

    def ours(self) -> dict[str, Figures]:
        """Our figures alone, for a time when the store is away."""
        return {self._process: self._meter.figures()}

    async def figures(self) -> dict[str, Figures]:
        """The figures of each, by id. Errors are those of `presque.jobs.queues`."""
        return readable(await self._processes.all()) | self.ours()
