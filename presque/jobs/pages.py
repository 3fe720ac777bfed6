"""Long lists, read from every partition page by page and merged, so that no script and no turn of the reactor is long.

A page begins after the last row of the previous one: a row that exists all the time is read exactly once, whatever
else is added or removed meanwhile.
"""

from __future__ import annotations

from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import ensureDeferred, gatherResults

from presque.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

T = TypeVar("T")

AT_ONCE = 256  # streams that are started together


async def answering(
    number: int, stream: AsyncIterator[tuple[bytes, T]], missing: list[int]
) -> AsyncIterator[tuple[bytes, T]]:
    """A stream from partition `number`. When the partition does not answer, end, and add its number to `missing`."""
    try:
        async for each in stream:
            yield each
    except StoreError:
        missing.append(number)


async def _begun(
    number: int, stream: AsyncIterator[tuple[bytes, T]]
) -> tuple[bytes, int, T, AsyncIterator[tuple[bytes, T]]] | None:
    async for key, value in stream:
        return key, number, value, stream
    return None


async def merged(streams: Iterable[AsyncIterator[tuple[bytes, T]]]) -> AsyncIterator[tuple[bytes, list[T]]]:
    """Merge streams that are sorted by key: yields each key once, with its values from all streams."""
    heap: list[tuple[bytes, int, T, AsyncIterator[tuple[bytes, T]]]] = []
    numbered = list(enumerate(streams))
    for first in range(0, len(numbered), AT_ONCE):
        some = [ensureDeferred(_begun(number, stream)) for number, stream in numbered[first : first + AT_ONCE]]
        heap += [each for each in await gatherResults(some, consumeErrors=True) if each is not None]
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
