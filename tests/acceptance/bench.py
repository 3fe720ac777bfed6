"""What a row runs on: programs that end with it, chance that its seed repeats, and limits of time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from tests.acceptance.proxy import Proxy
from tests.programs import Programs

if TYPE_CHECKING:
    from tests.programs import Redis

SLACK = 10  # in a short run a time limit is so many times as long


class Bench(Programs):
    """All that a row starts."""

    def __init__(self, short: bool, seed: int) -> None:
        super().__init__(short)
        self.seed = seed
        self.chance = random.Random(seed)

    def within(self, measured: float, limit: float) -> bool:
        """Whether a time was short enough. Counts are held alike in both forms; a time limit is held as it stands in
        the long form alone, for the short one runs among other tests, on machines that are busy.
        """
        return measured <= limit * (SLACK if self.short else 1)

    def proxy(self, redis: Redis) -> Proxy:
        proxy = Proxy(self.folder(), redis)
        self.callback(proxy.end)
        return proxy
