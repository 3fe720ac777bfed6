"""Long lists, read from every partition page by page and merged, so that no script and no turn of the reactor is long.

A page begins after the last row of the one before: what is there all the time is read exactly once, whatever else comes
and goes meanwhile.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

T = TypeVar("T")


async def merged(streams: Iterable[AsyncIterator[tuple[bytes, T]]]) -> AsyncIterator[tuple[bytes, list[T]]]:
    """What comes out of several streams, each in the order of its keys: each key once, with what every stream has."""
    heap: list[tuple[bytes, int, T, AsyncIterator[tuple[bytes, T]]]] = []
    for number, stream in enumerate(streams):
        async for key, value in stream:
            heap.append((key, number, value, stream))
            break
    heapify(heap)
    current, values = b"", list[T]()
    while heap:
        key, number, value, stream = heap[0]
        if values and key != current:
            yield current, values
            values = []
        current = key
        values.append(value)
        try:
            following = await anext(stream)
            heapreplace(heap, (following[0], number, following[1], stream))
        except StopAsyncIteration:
            heappop(heap)
    if values:
        yield current, values
