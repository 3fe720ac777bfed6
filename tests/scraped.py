"""What `/metrics` says, read as Prometheus reads it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

ENDED = ("acked", "delivered", "deleted", "expired")


class Scraped:
    """An answer of `/metrics`: its samples by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]
        self.lines = text.count("\n")

    def value(self, name: str, **labels: str) -> float:
        """The only sample of that name with these labels, and perhaps others."""
        (found,) = self.values(name, **labels)
        return found

    def values(self, name: str, **labels: str) -> list[float]:
        wanted = labels.items()
        return [each.value for each in self.samples if each.name == name and wanted <= each.labels.items()]

    def label(self, name: str, of: str) -> set[str]:
        """The values of a label of that sample."""
        return {each.labels[of] for each in self.samples if each.name == name}

    def missing(self, queue: str) -> float:
        """How many of the jobs that were inserted into a queue are not accounted for."""
        there = sum(self.values("presque_queue_jobs", queue=queue))
        ended = sum(self.value(f"presque_queue_{how}_total", queue=queue) for how in ENDED)
        return self.value("presque_queue_inserted_total", queue=queue) - ended - there
