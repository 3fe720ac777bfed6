"""Types shared by bodies and parameters. Durations are seconds and times epoch seconds, both with decimals."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from presque.jobs.policy import MAX_ATTEMPTS, SHORTEST_LEASE
from presque.web import limits

LONGEST = 315360000  # seconds: ten years
Seconds = Annotated[float, Meta(ge=0, le=LONGEST)]
Lease = Annotated[float, Meta(ge=SHORTEST_LEASE, le=limits.LEASE)]
Epoch = Annotated[float, Meta(ge=0, le=253402300800)]  # the year 10000
Attempts = Annotated[int, Meta(ge=1, le=MAX_ATTEMPTS)]
Priority = Annotated[int, Meta(ge=0, le=9)]
Headers = Annotated[dict[str, str], Meta(max_length=limits.HEADERS)]
ErrorPart = Annotated[str, Meta(min_length=1, max_length=limits.ERROR)]
UniqueKey = Annotated[str, Meta(min_length=1, max_length=1024)]
WorkerId = Annotated[str, Meta(min_length=1, max_length=256)]
Receipt = Annotated[str, Meta(min_length=1, max_length=256)]
