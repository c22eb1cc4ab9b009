"""What several tests use: children with a watchdog, and short names for what events say."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterable

import libwatch

SECONDS = 60.0
"""A watchdog, not an expectation: what takes this long hangs."""


def run_child(script: str, *arguments: str, code: int = 0) -> str:
    """Runs a script in an interpreter of its own; answers what it printed."""
    child = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (child.returncode, child.stderr) == (code, ""), child
    return child.stdout


class Thread:
    """A thread whose exception or result reaches the test."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._result: object = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def result(self) -> object:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive(), "the thread hangs"
        if self._error is not None:
            raise self._error
        return self._result


def waiting(consume: Callable[[], object]) -> Thread:
    """A thread that becomes the consumer, also while others try for a moment."""

    def enter() -> object:
        while True:
            try:
                return consume()
            except libwatch.BusyError:
                time.sleep(0.001)

    return Thread(enter)


def until_busy(*consumables: libwatch.Watch | libwatch.WatchStream) -> None:
    """Returns when somebody waits on one of them."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for consumable in consumables:
            try:
                assert consumable.next(0) is None
            except libwatch.BusyError:
                return
        # Who tries without a pause keeps the other one out.
        time.sleep(0.001)
    raise AssertionError("nobody waits")


def summary(events: Iterable[libwatch.Event]) -> list[tuple[str, bytes, bytes, int]]:
    return [(event.type, event.key, event.value, event.mod_revision) for event in events]


def take(watch: libwatch.Watch | libwatch.WatchStream) -> libwatch.WatchResponse:
    """The next response; a test that waits in vain fails instead of hanging."""
    response = watch.next(SECONDS)
    assert response is not None, "no response came"
    return response


def take_events(watch: libwatch.Watch, count: int) -> list[libwatch.Event]:
    events: list[libwatch.Event] = []
    while len(events) < count:
        events.extend(take(watch))
    return events
