"""Callbacks run on Python threads of ours, one for each stream, that take responses as any consumer does.

No thread of the core ever enters the interpreter. The threads are daemons; at exit every open stream is
closed and running callbacks get a moment to return.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from typing import TYPE_CHECKING, Final

from libwatch import _libwatch
from libwatch.errors import ClosedError, WatchNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from libwatch._libwatch import WatchResponse, WatchStream

EXIT_SECONDS: Final = 1.0
"""How long the interpreter's exit waits for running callbacks."""

_threads: Final[set[threading.Thread]] = set()


def start(
    stream: WatchStream,
    callback: Callable[[WatchResponse], object],
    responses: Iterable[WatchResponse] | None = None,
    watch_id: int | None = None,
) -> threading.Thread:
    """Starts the thread of a callback.

    Args:
        stream: where the responses come from, and where a watch whose callback failed is cancelled.
        callback: gets them, one at a time.
        responses: what it gets where that is not the raw stream.
        watch_id: the only watch of the stream, if it has only one for ever.
    """
    arguments = (stream, callback, stream if responses is None else responses, watch_id)
    thread = threading.Thread(target=_run, args=arguments, name="libwatch-callback", daemon=True)
    thread.start()
    return thread


def _run(
    stream: WatchStream,
    callback: Callable[[WatchResponse], object],
    responses: Iterable[WatchResponse],
    only: int | None,
) -> None:
    _threads.add(threading.current_thread())
    failed: set[int] = set()
    try:
        for response in responses:
            watch_id = response.watch_id if only is None else only
            if response.canceled or watch_id not in failed:
                failed.discard(watch_id)
                try:
                    callback(response)
                except BaseException as error:
                    _libwatch.write_unraisable(error, callback)
                    if not response.canceled:
                        failed.add(watch_id)
                        with contextlib.suppress(ClosedError, WatchNotFoundError):
                            stream.cancel(watch_id)
            # While nothing happens, what was given out last must not stay pinned.
            del response
    except BaseException as error:
        _libwatch.write_unraisable(error, callback)
    finally:
        stream.close()
        _threads.discard(threading.current_thread())


def join(*threads: threading.Thread) -> None:
    """Waits for callback threads to end, except from one of them: they could wait for each other."""
    if threading.current_thread() in _threads:
        return
    for thread in threads:
        thread.join()


@atexit.register
def _at_exit() -> None:
    _libwatch.close_streams()
    deadline = time.monotonic() + EXIT_SECONDS
    for thread in list(_threads):
        thread.join(max(0.0, deadline - time.monotonic()))
