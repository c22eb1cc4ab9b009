"""Threads: the GIL is free while a call waits, calls from many threads agree, and Ctrl-C gets through."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import libwatch
from libwatch import compare, op
from support import SECONDS, Thread, run_child, take, until_busy


def test_writers_and_followers_agree(store: libwatch.Store) -> None:
    """Four writers, four followers of three kinds: each follower sees each revision once, in order."""
    count = 4 * 200

    def follow() -> list[int]:
        seen: list[int] = []
        with store.watch(b"k", prefix=True, start_revision=2) as watch:
            while len(seen) < count:
                seen.extend(event.mod_revision for event in take(watch))
        return seen

    def write(key: str) -> None:
        for _ in range(200):
            store.put(key, b"")

    called: list[int] = []
    complete = threading.Event()

    def callback(response: libwatch.WatchResponse) -> None:
        called.extend(event.mod_revision for event in response)
        if len(called) == count:
            complete.set()

    with store.watch(b"k", prefix=True, callback=callback):
        followers = [Thread(follow) for _ in range(3)]
        writers = [Thread(partial(write, f"k{number}")) for number in range(4)]
        for writer in writers:
            writer.result()
        for follower in followers:
            assert follower.result() == list(range(2, count + 2))
        assert complete.wait(SECONDS)
    assert called == list(range(2, count + 2))


def test_compare_and_swap_from_many_threads(store: libwatch.Store) -> None:
    def increment() -> None:
        done = 0
        while done < 50:
            kv = store.get(b"n")
            number = int(kv.value) if kv else 0
            done += store.txn(
                compare=[compare.mod_revision(b"n") == (kv.mod_revision if kv else 0)],
                success=[op.put(b"n", str(number + 1))],
            ).succeeded

    for worker in [Thread(increment) for _ in range(4)]:
        worker.result()
    kv = store.get(b"n")
    assert kv is not None
    assert kv.value == b"200"


@pytest.mark.parametrize(
    "wait",
    [
        lambda watch, stream: watch.next(SECONDS),
        lambda watch, stream: next(watch),
        lambda watch, stream: next(watch.events()),
        lambda watch, stream: stream.next(SECONDS),
        lambda watch, stream: stream.next_batch(3, SECONDS),
        lambda watch, stream: next(stream),
    ],
)
def test_waiting_lets_other_threads_run(
    store: libwatch.Store, wait: Callable[[libwatch.Watch, libwatch.WatchStream], object]
) -> None:
    """The writer is a Python thread: it could not write if the wait held the GIL."""
    with store.watch(b"a") as watch, store.watch_stream() as stream:
        stream.create(b"a")
        writer = Thread(lambda: store.put(b"a", b""))
        assert wait(watch, stream)
        writer.result()


def test_results_can_be_used_from_other_threads(store: libwatch.Store) -> None:
    for i in range(100):
        store.put(b"k%03d" % i, b"%d" % i)
    result = store.range(b"k", prefix=True)

    def read() -> list[bytes]:
        return [kv.value for kv in result]

    for reader in [Thread(read) for _ in range(4)]:
        assert reader.result() == [b"%d" % i for i in range(100)]


def test_an_iterator_shared_by_threads_gives_each_pair_once(store: libwatch.Store) -> None:
    for i in range(500):
        store.put(b"k%03d" % i, b"")
    shared = iter(store.range(b"k", prefix=True))
    parts = [Thread(lambda: [kv.key for kv in shared]) for _ in range(4)]
    found: list[bytes] = []
    for part in parts:
        keys = part.result()
        assert isinstance(keys, list)
        found.extend(keys)
    assert sorted(found) == [b"k%03d" % i for i in range(500)]


class Alarm(Exception):
    """What the signal's handler raises."""


@pytest.fixture
def alarm() -> Iterator[Callable[[], None]]:
    """Sends the main thread a signal whose handler raises; it is raised before that thread goes on."""

    def handler(number: int, frame: object) -> None:
        raise Alarm

    previous = signal.signal(signal.SIGUSR1, handler)
    main = threading.main_thread().ident
    assert main is not None
    yield lambda: signal.pthread_kill(main, signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, previous)


@pytest.mark.parametrize(
    "wait",
    [
        lambda watch, stream: watch.next(),
        lambda watch, stream: next(watch),
        lambda watch, stream: watch.next(SECONDS),
        lambda watch, stream: stream.next(),
        lambda watch, stream: stream.next_batch(5),
        lambda watch, stream: next(stream),
    ],
)
def test_a_signal_ends_a_wait(
    memory: libwatch.Store,
    alarm: Callable[[], None],
    wait: Callable[[libwatch.Watch, libwatch.WatchStream], object],
) -> None:
    with memory.watch(b"a") as watch, memory.watch_stream() as stream:
        stream.create(b"a")

        def helper() -> None:
            until_busy(watch, stream)
            alarm()

        with pytest.raises(Alarm):
            sender = Thread(helper)
            while True:
                try:
                    wait(watch, stream)
                except libwatch.BusyError:
                    continue
        sender.result()
        memory.put(b"a", b"")
        assert len(take(watch)) == 1
        assert len(take(stream)) == 1


def test_signals_lose_and_reorder_nothing(memory: libwatch.Store, alarm: Callable[[], None]) -> None:
    """A signal and a response reach the waiting thread at the same time: it gets both."""
    count = 500
    turn = threading.Semaphore(0)

    def work() -> None:
        for i in range(count):
            assert turn.acquire(timeout=SECONDS)
            alarm()
            memory.txn(success=[op.put(b"a", b"%d" % i), op.put(b"b", b"%d" % i)])

    with memory.watch_stream(batch_revisions=1) as stream:
        stream.create(b"a")
        stream.create(b"b")
        worker = Thread(work)
        seen: list[tuple[bytes, bytes]] = []
        turns = alarms = 0
        while len(seen) < 2 * count:
            try:
                if len(seen) == 2 * turns:
                    turns += 1
                    turn.release()
                for response in stream.next_batch(1 + turns % 3, SECONDS):
                    seen.extend((event.key, event.value) for event in response)
            except Alarm:
                alarms += 1
        worker.result()
    assert alarms == count
    for key in (b"a", b"b"):
        assert [value for k, value in seen if k == key] == [b"%d" % i for i in range(count)]


def test_a_signal_among_fragments_tears_nothing(memory: libwatch.Store, alarm: Callable[[], None]) -> None:
    count = 15
    turn = threading.Semaphore(0)

    def work() -> None:
        for _ in range(count):
            assert turn.acquire(timeout=SECONDS)
            alarm()
            memory.txn(success=[op.put(b"a%d" % i, bytes(1 << 20)) for i in range(5)])

    with memory.watch(b"a", prefix=True, fragment=True) as watch:
        worker = Thread(work)
        lengths: list[int] = []
        turns = alarms = 0
        while len(lengths) < count:
            try:
                if len(lengths) == turns:
                    turns += 1
                    turn.release()
                lengths.append(len(take(watch)))
            except Alarm:
                alarms += 1
        worker.result()
        assert watch.resume_revision == count + 2
    assert (alarms, lengths) == (count, [5] * count)


def test_ctrl_c_ends_a_wait() -> None:
    output = run_child(
        """
        import os, signal, threading, time, libwatch
        # A program started in the background may have been told to ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        store = libwatch.open(None)
        watch = store.watch("a")
        def send():
            busy = False
            while not busy:
                time.sleep(0.001)
                try:
                    watch.next(0)
                except libwatch.BusyError:
                    busy = True
            os.kill(os.getpid(), signal.SIGINT)
        sender = threading.Thread(target=send)
        try:
            sender.start()
            while True:
                try:
                    watch.next()
                except libwatch.BusyError:
                    pass
        except KeyboardInterrupt:
            print("interrupted")
        sender.join()
        store.put("a", "1")
        print(len(watch.next(60)))
        """
    )
    assert output.split() == ["interrupted", "1"]


def test_opening_and_closing_from_many_threads(tmp_path: Path) -> None:
    def cycle() -> int:
        opened = 0
        while opened < 3:
            try:
                with libwatch.open(tmp_path / "store", durability="none", segment_bytes=1 << 16) as store:
                    store.put(b"a", b"")
                    opened += 1
            except libwatch.LockedError:
                pass
        return opened

    assert [cycler.result() for cycler in [Thread(cycle) for _ in range(3)]] == [3, 3, 3]
    with libwatch.open(tmp_path / "store") as store:
        assert store.revision == 10
