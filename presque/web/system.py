"""What `GET /v1/system` tells, from the parts that know it. Each is asked when a request comes; none asks Redis."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Limit(Protocol):
    """A limit of this process: how much there may be at most, and how much there is, each None where that has no
    meaning; and how often something was refused because of it.
    """

    name: str
    most: float | None
    refused: int

    @property
    def used(self) -> float | None:
        """How much there is."""


@dataclass
class System:
    """`uptime` is seconds, `processes` how many serve, `redis` what Redis said last (by the names of its INFO), and
    `certificate_end` epoch seconds.
    """

    uptime: Callable[[], float]
    processes: int
    redis: Callable[[], Mapping[str, str]]
    limits: Iterable[Limit] = field(default_factory=list)
    certificate_end: Callable[[], float | None] = lambda: None
