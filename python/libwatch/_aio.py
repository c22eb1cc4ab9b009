"""Waiting for a stream inside asyncio, without a thread.

A wait registers the stream's descriptor with the loop and takes nothing until the loop says it is readable;
so a cancelled wait loses nothing. Works with any loop that has `add_reader`, uvloop included.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from libwatch.errors import ClosedError

if TYPE_CHECKING:
    from libwatch._libwatch import WatchResponse, WatchStream

IMMEDIATE_MAX: Final = 64
"""Responses taken without waiting before the other tasks of the loop get their turn."""


class _Turns:
    """Counts responses taken without waiting, over all streams; the count need not be exact."""

    immediate: int = 0


async def _readable(stream: WatchStream) -> None:
    loop = asyncio.get_running_loop()
    descriptor = stream.fileno()
    readable = loop.create_future()

    def wake() -> None:
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(descriptor, wake)
    try:
        await readable
    finally:
        if not loop.is_closed():
            loop.remove_reader(descriptor)


async def take(stream: WatchStream) -> WatchResponse:
    """The next response of a stream.

    Raises:
        BusyError: somebody else waits on this stream.
        ClosedError: the stream or its store is closed.
    """
    if _Turns.immediate >= IMMEDIATE_MAX:
        _Turns.immediate = 0
        await asyncio.sleep(0)
    response = stream.next(0)
    if response is not None:
        _Turns.immediate += 1
        return response
    with stream._consumer() as consumer:
        while (response := consumer.poll()) is None:
            _Turns.immediate = 0
            await _readable(stream)
        return response


async def next_of_stream(stream: WatchStream) -> WatchResponse:
    """`WatchStream.__anext__`."""
    try:
        return await take(stream)
    except ClosedError:
        raise StopAsyncIteration from None
