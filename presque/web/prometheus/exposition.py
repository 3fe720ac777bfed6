"""Collects all figures, and renders them in Prometheus' text format, a few at a time: five thousand lines take 80 ms,
and other requests have their turns in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater

from presque.errors import StoreError
from presque.web.prometheus.families import COUNTER, FAMILIES
from presque.web.prometheus.samples import OTHER, Collected, waiting_consumers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

    from presque.jobs.figures import QueuesFigures
    from presque.jobs.store_facts import StoreFacts
    from presque.metrics import Figures
    from presque.web.all_processes import AllProcesses
    from presque.web.prometheus.families import Family
    from presque.web.prometheus.samples import Sample

AT_ONCE = 50  # samples rendered in a turn of the reactor


class Few(Collector):
    """Collects the few samples that are rendered next: the whole of a small metric, or a part of one."""

    def __init__(self) -> None:
        self.metric = Metric("nothing", "", "untyped")

    def collect(self) -> Iterator[Metric]:
        """The metric, with those samples."""
        yield self.metric


class Exposition:
    """All figures of the store and its processes, in text."""

    def __init__(
        self,
        facts: Callable[[], Awaitable[StoreFacts]],
        queues: QueuesFigures,
        processes: AllProcesses,
        clock: IReactorTime,
    ) -> None:
        self._facts = facts
        self._queues = queues
        self._processes = processes
        self._clock = clock
        self._few = Few()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._few)
        self._waiting: list[Deferred[bytes]] | None = None  # those who asked while the text is being made

    def text(self) -> Deferred[bytes]:
        """The text. Who asks while it is being made gets the same."""
        asked: Deferred[bytes] = Deferred()
        if self._waiting is not None:
            self._waiting.append(asked)
            return asked
        self._waiting = [asked]
        ensureDeferred(self._make()).addCallbacks(self._made, self._failed)
        return asked

    def _made(self, text: bytes) -> None:
        waiting, self._waiting = self._waiting or [], None
        for each in waiting:
            each.callback(text)

    def _failed(self, failure: Failure) -> None:
        waiting, self._waiting = self._waiting or [], None
        for each in waiting:
            each.errback(failure)

    async def _make(self) -> bytes:
        collected = await self._collect()
        pieces = []
        for family in FAMILIES:
            samples = collected.samples.get(family.name, [])
            for first in range(0, max(1, len(samples)), AT_ONCE):
                piece = self._rendered(family, samples[first : first + AT_ONCE])
                pieces.append(piece if first == 0 else piece.split(b"\n", 2)[2])  # HELP and TYPE only once
                if len(samples) > first + AT_ONCE:
                    await deferLater(self._clock, 0)
            await deferLater(self._clock, 0)
        return b"".join(pieces)

    def _rendered(self, family: Family, samples: list[Sample]) -> bytes:
        name = family.name.removesuffix("_total") if family.kind == COUNTER else family.name
        metric = self._few.metric = Metric(name, family.meaning, family.kind)
        for sample in samples:
            metric.add_sample(*sample)
        return generate_latest(self._registry)

    async def _collect(self) -> Collected:
        """All samples. While the store is away, or a part of it, those of this process alone."""
        collected = Collected()
        try:
            facts = await self._facts()
            processes = await self._processes.figures()
            found = await self._queues.of_all()
        except StoreError:
            processes = self._processes.ours()
            collected.add("presque_store_up", 0)
        else:
            collected.add("presque_store_up", 1)
            waiting = waiting_consumers(processes.values(), found.named)
            for number, (queue, figures) in enumerate(found.named.items()):
                collected.add_queue(queue, figures, waiting[queue])
                if number % 10 == 0:
                    await deferLater(self._clock, 0)
            if found.others.queues:
                collected.add_queue(OTHER, found.others, waiting[OTHER])
            collected.add_store(facts, found)
        for name, said in _by_name(processes).items():
            collected.add_process(name, said)
        return collected


def _by_name(processes: dict[str, Figures]) -> dict[str, Any]:
    """The processes by the name that is shown; by name and id where two have the same, as in containers."""
    found: dict[str, Figures] = {}
    for process, said in sorted(processes.items()):
        found[said.name if said.name and said.name not in found else f"{said.name}:{process}"] = said
    return found
