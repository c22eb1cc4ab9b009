"""What users of etcd's Go client rely on, in the words of this one: a watch is an iterator instead of a
channel, leaving its block or cancelling it is cancelling the context."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import libwatch
from libwatch import op
from support import Thread, summary, take, take_events

MIB = 1 << 20


def settled(watch: libwatch.Watch) -> list[libwatch.Event]:
    """The events up to now, behind a request for progress as a barrier."""
    watch.request_progress()
    events: list[libwatch.Event] = []
    while not (response := take(watch)).is_progress_notify or response.watch_id != -1:
        events.extend(response)
    return events


def consuming(watch: libwatch.Watch) -> Thread:
    """A thread that takes until the watch ends; the revisions of the events."""
    return Thread(lambda: [event.mod_revision for event in watch.events()])


def test_watches_of_keys_and_of_a_prefix_get_their_rounds(store: libwatch.Store) -> None:
    """etcd 2.2, etcd 17 Ordered, Filter"""
    keys = (b"foo", b"bar", b"baz")
    watches = {key: store.watch(key) for key in keys}
    with store.watch(b"b", prefix=True) as prefix:
        for round_ in range(4):
            for key in keys:
                store.put(key, key + b"-%d" % round_)
        for key, watch in watches.items():
            values = [event.value for event in settled(watch)]
            assert values == [key + b"-%d" % round_ for round_ in range(4)]
        both = [key + b"-%d" % round_ for round_ in range(4) for key in (b"bar", b"baz")]
        assert [event.value for event in settled(prefix)] == both


def test_a_range_gets_each_of_its_keys(store: libwatch.Store) -> None:
    """etcd 2.2"""
    with store.watch(b"a", b"c") as watch:
        for key in (b"a", b"b", b"bar"):
            store.put(key, key)
            assert summary(take_events(watch, 1)) == [("PUT", key, key, store.revision)]


@pytest.mark.parametrize("start_revision", [0, 1])
def test_a_watch_cancelled_at_once_gives_nothing(store: libwatch.Store, start_revision: int) -> None:
    """etcd 9.1, 9.2"""
    store.put(b"a", b"a")
    watch = store.watch(b"a", start_revision=start_revision)
    watch.cancel()
    assert list(watch) == []


def test_a_task_cancelled_before_it_ran_leaves_no_watch(memory: libwatch.Store) -> None:
    """etcd 9.1"""

    async def main() -> None:
        async def follow() -> None:
            async with memory.watch(b"a", start_revision=1) as watch:
                await anext(watch)

        memory.put(b"a", b"a")
        task = asyncio.create_task(follow())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert memory.stats()["watch_count"] == 0

    asyncio.run(main())


def test_a_cancel_before_any_event_ends_who_waits(store: libwatch.Store) -> None:
    """etcd 9.1, 9.2"""
    watch = store.watch(b"a")
    consumer = consuming(watch)
    watch.cancel()
    assert consumer.result() == []
    assert store.stats()["watch_count"] == 0


def test_a_task_cancelled_before_any_event_leaves_no_watch(memory: libwatch.Store) -> None:
    """etcd 9.1"""

    async def main() -> None:
        waits = asyncio.Event()

        async def follow() -> None:
            async with memory.watch(b"a") as watch:
                waits.set()
                await anext(watch)

        task = asyncio.create_task(follow())
        await waits.wait()
        assert memory.stats()["watch_count"] == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert memory.stats()["watch_count"] == 0

    asyncio.run(main())


def test_a_cancel_after_a_put_lets_at_most_that_put_through(store: libwatch.Store) -> None:
    """etcd 9.2, 9.3"""
    for _ in range(50):
        watch = store.watch(b"a")
        consumer = consuming(watch)
        revision = store.put(b"a", b"a").revision
        watch.cancel()
        assert consumer.result() in ([], [revision])
        store.put(b"a", b"b")
        assert list(watch) == []


def test_a_compacted_start_raises_first_and_ever_after(store: libwatch.Store) -> None:
    """etcd 3.5, 9.2"""
    for _ in range(5):
        store.put(b"foo", b"bar")
    assert store.revision == 6
    store.compact(4)
    watch = store.watch(b"foo", start_revision=2)
    for _ in range(2):
        with pytest.raises(libwatch.CompactedError) as compacted:
            take(watch)
        assert compacted.value.compact_revision == 4
        store.put(b"foo", b"bar")
    assert store.stats()["watch_count"] == 0


@pytest.mark.parametrize("read", range(6))
def test_a_watch_resumed_across_a_compaction_has_no_hole_or_raises(tmp_path: Path, read: int) -> None:
    """etcd 3.6, 10.6, etcd 17 Resumable"""
    seen: list[int] = []
    with libwatch.open(tmp_path / "store") as store, store.watch(b"a", start_revision=1) as watch:
        for _ in range(5):
            store.put(b"a", b"a")
        events = watch.events()
        seen.extend(next(events).mod_revision for _ in range(read))
        resume = watch.resume_revision
        assert resume == (2 + read if read else 1)
        store.compact(3)
    with libwatch.open(tmp_path / "store") as store, store.watch(b"a", start_revision=resume) as watch:
        if resume < 3:
            with pytest.raises(libwatch.CompactedError) as compacted:
                take(watch)
            assert compacted.value.compact_revision == 3
        else:
            seen.extend(event.mod_revision for event in settled(watch))
            assert len(seen) == 5
    assert seen == list(range(2, 2 + len(seen)))


def test_idle_watches_get_progress_and_then_their_event() -> None:
    """etcd 12.1, 12.2"""
    with libwatch.open(None, progress_interval=0.2) as store:
        with store.watch(b"foo", prefix=True, progress_notify=True) as watch:
            first = take(watch)
            assert (first.is_progress_notify, len(first), first.revision) == (True, 0, 1)
            store.put(b"foox", b"bar")
            while (response := take(watch)).is_progress_notify:
                pass
            assert (response.revision, summary(response)) == (2, [("PUT", b"foox", b"bar", 2)])
        with store.watch(b"foo", progress_notify=True) as watch:
            store.put(b"foox", b"baz")
            while (response := take(watch)).revision < 3:
                assert (response.is_progress_notify, len(response)) == (True, 0)
            assert (response.is_progress_notify, len(response), response.revision) == (True, 0, 3)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_requested_progress_names_a_revision_that_nobody_watches(store: libwatch.Store, count: int) -> None:
    """etcd 12.5"""
    watches = [store.watch(b"/", prefix=True) for _ in range(count)]
    store.put(b"/a", b"1")
    for watch in watches:
        assert summary(take_events(watch, 1)) == [("PUT", b"/a", b"1", 2)]
    store.put(b"x", b"1")
    for watch in watches:
        watch.request_progress()
        response = take(watch)
        assert (response.is_progress_notify, len(response), response.revision) == (True, 0, 3)
    with store.watch_stream() as stream:
        stream.request_progress()
        response = take(stream)
        assert (response.is_progress_notify, response.watch_id, response.revision) == (True, -1, 3)


def test_events_tell_creating_changing_and_deleting_apart(store: libwatch.Store) -> None:
    """etcd 5.2, 5.3"""
    with store.watch(b"/", prefix=True) as watch:
        store.put(b"/toDelete", b"foo")
        store.put(b"/toDelete", b"bar")
        store.delete(b"/toDelete")
        store.put(b"/toExpire", b"foo", lease=1)
        store.delete(b"/toExpire")
        events = take_events(watch, 5)
    kinds = [(event.key, event.type, event.is_create, event.is_modify, event.kv.lease) for event in events]
    assert kinds == [
        (b"/toDelete", "PUT", True, False, 0),
        (b"/toDelete", "PUT", False, True, 0),
        (b"/toDelete", "DELETE", False, False, 0),
        (b"/toExpire", "PUT", True, False, 1),
        (b"/toExpire", "DELETE", False, False, 0),
    ]


def test_one_watch_leaves_puts_out_and_another_deletes(store: libwatch.Store) -> None:
    """etcd 6.1, 6.2"""
    with (
        store.watch(b"a", filters=["noput"]) as deletes,
        store.watch(b"a", filters=["nodelete"]) as puts,
    ):
        store.put(b"a", b"abc")
        store.delete(b"a")
        assert summary(settled(deletes)) == [("DELETE", b"a", b"", 3)]
        assert summary(settled(puts)) == [("PUT", b"a", b"abc", 2)]


def test_the_five_of_ten_watches_that_asked_get_the_value_before(store: libwatch.Store) -> None:
    """etcd 7.1, 7.2, etcd 17 Unique"""
    store.put(b"foo", b"bar0")
    watches = [store.watch(b"foo", prev_kv=i % 2 == 0) for i in range(10)]
    for i in range(1, 11):
        store.put(b"foo", b"bar%d" % i)
    for i, watch in enumerate(watches):
        events = settled(watch)
        assert [event.value for event in events] == [b"bar%d" % i for i in range(1, 11)]
        before = [event.prev_kv and event.prev_kv.value for event in events]
        assert before == ([b"bar%d" % i for i in range(10)] if i % 2 == 0 else [None] * 10)


def test_cancelling_ten_watches_lowers_the_count_by_ten(store: libwatch.Store) -> None:
    """etcd 9.1"""
    watches = [store.watch(b"a") for _ in range(10)]
    assert store.stats()["watch_count"] == 10
    for watch in watches:
        watch.cancel()
    assert store.stats()["watch_count"] == 0


def test_a_thousand_watches_left_at_once_leave_the_one_that_was_kept(memory: libwatch.Store) -> None:
    """etcd 9.1"""
    with memory.watch(b"foo") as kept:
        for _ in range(1000):
            with memory.watch(b"foo"):
                pass
        stats = memory.stats()
        assert (stats["watch_count"], stats["stream_count"]) == (1, 1)
        memory.put(b"foo", b"bar")
        assert summary(settled(kept)) == [("PUT", b"foo", b"bar", 2)]


def test_watches_that_come_and_go_do_not_end_each_other(memory: libwatch.Store) -> None:
    """etcd 3.10, 9.2: a hundred cycles, ten at a time."""

    async def main() -> None:
        free = asyncio.Semaphore(10)

        async def cycle() -> bytes:
            async with free, memory.watch(b"abc", start_revision=1) as watch:
                response = await anext(watch)
                (event,) = response
                return event.value

        memory.put(b"abc", b"def")
        async with memory.watch(b"abc", start_revision=1) as kept:
            assert await asyncio.gather(*(cycle() for _ in range(100))) == [b"def"] * 100
            assert memory.stats()["watch_count"] == 1
            assert len(await anext(kept)) == 1

    asyncio.run(main())


def test_a_cancel_and_then_a_close_end_iteration_without_an_error(memory: libwatch.Store) -> None:
    """etcd 9.2, 9.8"""
    for close_store in (False, True):
        watch = memory.watch(b"a")
        consumer = consuming(watch)
        watch.cancel()
        if close_store:
            memory.close()
        assert consumer.result() == []
        assert list(watch) == []


def test_cancelling_and_closing_twice_is_quiet(store: libwatch.Store) -> None:
    """etcd 9.5"""
    watch = store.watch(b"a")
    for _ in range(2):
        watch.cancel()
        assert list(watch) == []
    for _ in range(2):
        store.close()
        watch.cancel()


def test_watching_a_closed_store_raises_and_does_not_hang(store: libwatch.Store) -> None:
    """etcd 9.8"""
    store.close()
    with pytest.raises(libwatch.ClosedError):
        store.watch(b"a")
    with pytest.raises(libwatch.ClosedError):
        store.watch_stream()
    store.close()


def test_a_negative_start_is_refused_and_0_and_1_on_an_empty_store_wait(store: libwatch.Store) -> None:
    """etcd 3.1, 3.3, 3.4"""
    with pytest.raises(libwatch.InvalidArgumentError, match="start_revision"):
        store.watch(b"a", start_revision=-1)
    for start_revision in (0, 1):
        with store.watch(b"a", start_revision=start_revision) as watch:
            assert settled(watch) == []


@pytest.mark.parametrize("fragment", [False, True])
def test_ten_mebibytes_are_ten_events_with_and_without_fragments(fragment: bool) -> None:
    """etcd 13.1, 13.3: of one transaction in one response, and of ten puts in whole responses."""
    with libwatch.open(None, fragment_bytes=MIB + MIB // 2) as store:
        keys = [b"foo%d" % i for i in range(10)]
        store.txn(success=[op.put(key, bytes(MIB)) for key in keys])
        with store.watch(b"foo", prefix=True, start_revision=1, fragment=fragment) as watch:
            response = take(watch)
            assert [event.key for event in response] == keys
            assert (response.fragment, watch.resume_revision) == (False, 3)
            for key in keys:
                store.put(key, bytes(MIB))
            seen: list[bytes] = []
            while len(seen) < 10:
                response = take(watch)
                assert not response.fragment
                seen.extend(event.key for event in response)
            assert seen == keys
