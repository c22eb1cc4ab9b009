"""Watch: one watch on a stream of its own, for `for`, `async for` and callbacks alike.

It adds to its stream, which joins fragments: an end that nobody asked for raises, `resume_revision` follows
what was taken, and events can be taken one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Self, final

from libwatch import _aio, _callbacks, _libwatch
from libwatch.errors import (
    INVALID_STATE,
    ClosedError,
    WatchError,
    WatchNotFoundError,
    error_from_code,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from libwatch._libwatch import Event, WatchResponse, WatchStream

__all__ = ["Watch"]


@final
class Watch(Iterator["WatchResponse"], AsyncIterator["WatchResponse"]):
    """One watch, made by `Store.watch`.

    Taking: `for response in watch`, `async for response in watch`, `next(timeout)`, or events one by one with
    `events()` and `aevents()`; all may be mixed and nothing is lost or repeated between them. Each response
    holds whole revisions, in order, and fragments are joined. Iteration ends after `cancel()` or
    `Store.close()`; any other end raises, at every further attempt, what ended the watch (`CompactedError`,
    ...).

    With a callback the watch takes its responses itself, and the methods that take raise a WatchError.

    Threads: any, but one consumer at a time, else BusyError. Waiting releases the GIL and Ctrl-C ends it; the
    await forms use the event loop and no thread, and a cancelled await loses nothing.

    Life: leaving `with` or `async with` cancels the watch and gives its queue up. A watch holds its store
    open. A watch without a callback ends when the last reference to it goes; one with a callback goes on
    until it is cancelled, its store is closed, or the interpreter exits.
    """

    def __init__(
        self,
        stream: WatchStream,
        watch_id: int,
        callback: Callable[[WatchResponse], object] | None = None,
    ) -> None:
        self.watch_id = watch_id
        self._stream = stream
        # What events() left of a response: it, and how many events were taken.
        self._rest: tuple[WatchResponse, int] | None = None
        self._ended = False
        # The created response is the first of all; it tells the revision from which the watch delivers.
        created = stream.next()
        self._resume_revision = 0 if created is None else created.resume_revision
        self._thread: threading.Thread | None = None
        if callback is not None:
            self._thread = _callbacks.start(stream, callback, self._for_callback(), watch_id)

    @property
    def resume_revision(self) -> int:
        """The `start_revision` for a new watch that continues exactly after the last response taken here,
        also after a restart of the program; before the first response it is the revision the watch starts
        from. Within `events()` it repeats the revision in hand if only a part of its events was taken."""
        return self._resume_revision

    def next(self, timeout: float | None = None) -> WatchResponse | None:
        """Waits for the next response.

        Args:
            timeout: seconds; 0 or less does not wait, None waits without limit.

        Returns:
            The response, or None if the timeout passed first.

        Raises:
            ClosedError: the watch was cancelled, or its stream or store closed; every response before that
                was given out.
            CompactedError: history that the watch still needed was compacted.
            BusyError: another thread or task waits on this watch.
        """
        if (rest := self._take_rest()) is not None:
            return rest
        response = self._stream.next(timeout)
        return None if response is None else self._accept(response)

    def __next__(self) -> WatchResponse:
        try:
            while (response := self.next()) is None:
                pass
        except ClosedError:
            raise StopIteration from None
        return response

    async def __anext__(self) -> WatchResponse:
        if (rest := self._take_rest()) is not None:
            return rest
        try:
            return self._accept(await _aio.take(self._stream))
        except ClosedError:
            raise StopAsyncIteration from None

    def events(self) -> Iterator[Event]:
        """The events of all responses, one by one; waits like `for` and ends like it. An abandoned iterator
        loses nothing: the next call, or the next response taken, continues with the event after the last."""
        for response in self:
            yield from self._walk(response)
            # While nothing happens, what was given out last must not stay pinned.
            del response

    async def aevents(self) -> AsyncIterator[Event]:
        """`events()` for `async for`."""
        async for response in self:
            for event in self._walk(response):
                yield event
                del event
            del response

    def request_progress(self) -> None:
        """Asks for a response without events (`is_progress_notify`) that comes as soon as everything up to
        now was delivered. Does not wait.

        Raises:
            ClosedError: the watch has ended.
            LimitError: too many requests wait for their answer.
        """
        self._stream.request_progress()

    def cancel(self) -> None:
        """Ends the watch; a second call does nothing. Any thread, also from the callback. What was queued
        before is still given out, then iteration ends; a callback gets one last response with `canceled`."""
        with contextlib.suppress(ClosedError, WatchNotFoundError):
            self._stream.cancel(self.watch_id)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
        /,
    ) -> None:
        self.cancel()
        self._give_up()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
        /,
    ) -> None:
        self.cancel()
        if self._thread is None:
            self._give_up()
        else:
            # A callback may take its time; the loop goes on meanwhile.
            await asyncio.to_thread(self._give_up)

    def __repr__(self) -> str:
        state = " ended" if self._ended else ""
        return f"<Watch id={self.watch_id} resume_revision={self._resume_revision}{state}>"

    def _give_up(self) -> None:
        if self._thread is not None:
            _callbacks.join(self._thread)
        else:
            self._stream.close()

    def _take_rest(self) -> WatchResponse | None:
        """The rest of a response of which events() took a part."""
        if self._thread is not None:
            raise error_from_code(INVALID_STATE, "the responses of this watch go to its callback")
        if self._rest is None:
            return None
        response, taken = self._rest
        rest = _libwatch.rest_of(response, taken)
        self._rest = None
        self._resume_revision = response.resume_revision
        return rest

    def _accept(self, response: WatchResponse) -> WatchResponse:
        """Takes in what the stream gave; raises for the last response, which the stream repeats."""
        if response.canceled:
            self._ended = True
            self._resume_revision = max(self._resume_revision, response.resume_revision)
            self._stream.close()
            raise _end_of(response)
        self._resume_revision = response.resume_revision
        return response

    def _walk(self, response: WatchResponse) -> Iterator[Event]:
        """The events of a response; what is left of it is kept on the watch while one of them is out."""
        events = response.events
        for taken, event in enumerate(events, start=1):
            if taken == len(events):
                self._rest, self._resume_revision = None, response.resume_revision
                yield event
                return
            rest = (response, taken)
            self._rest, self._resume_revision = rest, events[taken].mod_revision
            yield event
            if self._rest is not rest:
                return

    def _for_callback(self) -> Iterator[WatchResponse]:
        """What the callback gets: the same, and the last response in the place of an exception."""
        for response in self._stream:
            try:
                self._accept(response)
            except WatchError:
                yield response
                return
            yield response
            # While nothing happens, what was given out last must not stay pinned.
            del response


def _end_of(last: WatchResponse) -> WatchError:
    """Why a watch ended, as an exception; a new one each time, as each collects its traceback."""
    if last.cancel_code == 0:
        return ClosedError("the watch was cancelled")
    reason = last.cancel_reason
    if last.compact_revision:
        reason = f"{reason}; the oldest is {last.compact_revision}"
    return error_from_code(last.cancel_code, reason, revision=last.compact_revision)
