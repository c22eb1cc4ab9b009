"""Callbacks: on a thread of ours, one at a time, to the last word."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable

import pytest

import libwatch
from libwatch import op
from support import SECONDS, Thread


class Collector:
    """A callback that hands what it gets to the test."""

    def __init__(self) -> None:
        self.queue: queue.Queue[libwatch.WatchResponse] = queue.Queue()

    def __call__(self, response: libwatch.WatchResponse) -> None:
        self.queue.put(response)

    def take(self) -> libwatch.WatchResponse:
        return self.queue.get(timeout=SECONDS)

    def values(self, count: int) -> list[bytes]:
        values: list[bytes] = []
        while len(values) < count:
            values.extend(event.value for event in self.take())
        return values


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[tuple[BaseException | None, object]]:
    seen: list[tuple[BaseException | None, object]] = []

    def hook(arguments: sys.UnraisableHookArgs) -> None:
        seen.append((arguments.exc_value, arguments.object))

    monkeypatch.setattr(sys, "unraisablehook", hook)
    return seen


def test_a_callback_gets_events_progress_and_the_end(store: libwatch.Store) -> None:
    store.put(b"a", b"0")
    collect = Collector()
    watch = store.watch(b"a", start_revision=1, callback=collect)
    for i in range(1, 10):
        store.put(b"a", b"%d" % i)
    assert collect.values(10) == [b"%d" % i for i in range(10)]
    assert watch.resume_revision == 12
    watch.request_progress()
    assert collect.take().is_progress_notify
    watch.cancel()
    last = collect.take()
    assert (last.canceled, last.cancel_code) == (True, 0)
    assert store.stats()["watch_count"] == 0


def test_a_callback_runs_on_a_daemon_thread_of_ours(store: libwatch.Store) -> None:
    threads: queue.Queue[threading.Thread] = queue.Queue()
    with store.watch(b"a", callback=lambda _: threads.put(threading.current_thread())):
        store.put(b"a", b"")
        thread = threads.get(timeout=SECONDS)
        assert thread.daemon
        assert thread.name == "libwatch-callback"
        assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_one_response_at_a_time(store: libwatch.Store) -> None:
    inside = 0
    seen: list[bytes] = []
    done = threading.Event()

    def callback(response: libwatch.WatchResponse) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        seen.extend(event.value for event in response)
        if len(seen) == 500:
            done.set()
        inside -= 1

    with store.watch(b"a", callback=callback):
        for i in range(500):
            store.put(b"a", b"%d" % i)
        assert done.wait(SECONDS)
    assert seen == [b"%d" % i for i in range(500)]


def test_leaving_the_block_waits_for_the_last_word(store: libwatch.Store) -> None:
    seen: list[libwatch.WatchResponse] = []
    with store.watch(b"a", callback=seen.append):
        store.put(b"a", b"")
    assert [response.canceled for response in seen].count(True) == 1
    assert seen[-1].canceled


def test_closing_the_store_is_the_last_word(store: libwatch.Store) -> None:
    seen: list[libwatch.WatchResponse] = []
    store.watch(b"a", callback=seen.append)
    store.put(b"a", b"")
    store.close()
    last = seen[-1]
    assert (last.canceled, last.cancel_code) == (True, libwatch.ClosedError.code)
    assert last.cancel_reason
    assert [response.canceled for response in seen[:-1]].count(True) == 0


def test_compaction_is_the_last_word(store: libwatch.Store) -> None:
    for _ in range(5):
        store.put(b"a", b"")
    store.compact(4)
    collect = Collector()
    store.watch(b"a", start_revision=2, callback=collect)
    last = collect.take()
    assert (last.canceled, last.compact_revision) == (True, 4)
    assert last.cancel_code == libwatch.CompactedError.code


def test_a_watch_with_a_callback_needs_no_reference(store: libwatch.Store) -> None:
    collect = Collector()
    store.watch(b"a", callback=collect)
    for i in range(5):
        store.put(b"a", b"%d" % i)
    assert collect.values(5) == [b"%d" % i for i in range(5)]


def test_an_exception_cancels_the_watch(
    store: libwatch.Store, unraisable: list[tuple[BaseException | None, object]]
) -> None:
    ends: queue.Queue[libwatch.WatchResponse] = queue.Queue()
    events: list[bytes] = []

    def callback(response: libwatch.WatchResponse) -> None:
        if response.canceled:
            ends.put(response)
            return
        events.extend(event.value for event in response)
        raise RuntimeError("not today")

    store.watch(b"a", callback=callback)
    store.put(b"a", b"1")
    assert ends.get(timeout=SECONDS).canceled
    store.put(b"a", b"2")
    assert events == [b"1"]
    ((error, source),) = unraisable
    assert isinstance(error, RuntimeError)
    assert source is callback
    assert store.stats()["watch_count"] == 0


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, libwatch.ClosedError])
def test_any_exception_is_reported(
    store: libwatch.Store,
    unraisable: list[tuple[BaseException | None, object]],
    kind: type[BaseException],
) -> None:
    def callback(response: libwatch.WatchResponse) -> None:
        raise kind("stop")

    with store.watch(b"a", callback=callback):
        store.put(b"a", b"")
    assert {type(error) for error, _ in unraisable} == {kind}
    assert store.stats()["watch_count"] == 0


def test_an_exception_ends_one_watch_of_a_stream(
    store: libwatch.Store, unraisable: list[tuple[BaseException | None, object]]
) -> None:
    collect = Collector()

    def callback(response: libwatch.WatchResponse) -> None:
        collect(response)
        if response.watch_id == 1 and not response.canceled:
            raise RuntimeError("not this one")

    with store.watch_stream(callback=callback) as stream:
        assert [stream.create(b"a"), stream.create(b"a")] == [1, 2]
        store.put(b"a", b"1")
        first = [collect.take() for _ in range(3)]
        assert sorted((response.watch_id, response.canceled) for response in first) == [
            (1, False),
            (1, True),
            (2, False),
        ]
        store.put(b"a", b"2")
        second = collect.take()
        assert (second.watch_id, second.canceled) == (2, False)
    assert len(unraisable) == 1


def test_a_stream_with_a_callback(store: libwatch.Store) -> None:
    collect = Collector()
    stream = store.watch_stream(callback=collect)
    one = stream.create(b"a", created_notify=True)
    assert collect.take().created
    store.put(b"a", b"1")
    assert collect.values(1) == [b"1"]
    stream.request_progress()
    assert collect.take().watch_id == -1
    two = stream.create(b"b")
    stream.cancel(one)
    last = collect.take()
    assert (last.watch_id, last.canceled) == (one, True)
    store.close()
    last = collect.take()
    assert (last.watch_id, last.canceled, last.cancel_code) == (two, True, -5)
    assert collect.queue.empty()
    assert repr(stream) == "<WatchStream with a callback>"


def test_closing_a_stream_stops_its_callback(store: libwatch.Store) -> None:
    collect = Collector()
    stream = store.watch_stream(callback=collect)
    stream.create(b"a")
    store.put(b"a", b"1")
    assert collect.values(1) == [b"1"]
    stream.close()
    store.put(b"a", b"2")
    assert collect.queue.empty()
    with pytest.raises(libwatch.ClosedError):
        stream.create(b"a")


def test_a_stream_with_a_callback_is_not_taken_from(memory: libwatch.Store) -> None:
    with memory.watch_stream(callback=Collector()) as stream:
        takes: list[Callable[[], object]] = [
            lambda: stream.next(0),
            lambda: stream.next_batch(1, 0),
            lambda: next(stream),
        ]
        for attempt in takes:
            with pytest.raises(libwatch.WatchError) as wrong:
                attempt()
            assert wrong.value.code == -2
    with memory.watch(b"a", callback=Collector()) as watch:
        takes = [lambda: watch.next(0), lambda: next(watch), lambda: next(watch.events())]
        for attempt in takes:
            with pytest.raises(libwatch.WatchError) as wrong:
                attempt()
            assert wrong.value.code == -2


@pytest.mark.parametrize(
    "call",
    [
        lambda store, watch: store.put(b"b", b""),
        lambda store, watch: store.get(b"a"),
        lambda store, watch: store.watch(b"b").cancel(),
        lambda store, watch: watch.cancel(),
        lambda store, watch: watch.__exit__(None, None, None),
        lambda store, watch: store.close(),
    ],
    ids=["put", "get", "watch", "cancel", "exit", "close"],
)
def test_a_callback_may_call_anything(
    store: libwatch.Store, call: Callable[[libwatch.Store, libwatch.Watch], object]
) -> None:
    returned = threading.Event()
    ready = threading.Event()
    watches: list[libwatch.Watch] = []

    def callback(response: libwatch.WatchResponse) -> None:
        if not response.canceled:
            assert ready.wait(SECONDS)
            call(store, watches[0])
            returned.set()

    watches.append(store.watch(b"a", callback=callback))
    store.put(b"a", b"")
    ready.set()
    assert returned.wait(SECONDS)


def test_callbacks_that_close_at_once(memory: libwatch.Store) -> None:
    """Every callback closes the store while the main thread does; nobody waits for another in a circle."""
    for _ in range(4):
        memory.watch(b"a", callback=lambda response: memory.close())
    memory.put(b"a", b"")
    Thread(memory.close).result()


def test_a_slow_callback_loses_nothing(memory: libwatch.Store) -> None:
    gate = threading.Event()
    seen: list[int] = []
    done = threading.Event()

    def callback(response: libwatch.WatchResponse) -> None:
        gate.wait(SECONDS)
        seen.extend(event.mod_revision for event in response)
        if len(seen) == 10_000:
            done.set()

    with memory.watch(b"a", callback=callback):
        for _ in range(10_000):
            memory.put(b"a", b"")
        gate.set()
        assert done.wait(SECONDS)
    assert seen == list(range(2, 10_002))


def test_fragments_are_joined_for_a_watch(memory: libwatch.Store) -> None:
    memory.txn(success=[op.put(b"a%d" % i, bytes(1 << 20)) for i in range(5)])
    collect = Collector()
    with memory.watch(b"a", prefix=True, start_revision=1, fragment=True, callback=collect):
        assert len(collect.take()) == 5
    raw = Collector()
    with memory.watch_stream(callback=raw) as stream:
        stream.create(b"a", prefix=True, start_revision=1, fragment=True)
        assert raw.take().fragment
