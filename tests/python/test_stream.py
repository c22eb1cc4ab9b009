"""WatchStream: many watches, one queue, the raw responses."""

from __future__ import annotations

import gc
import os
import select
import time
from collections.abc import AsyncIterator, Iterator

import pytest

import libwatch
from libwatch import op
from support import SECONDS, Thread, take, until_busy, waiting


# etcd 3.8, 3.9
def test_ids_are_chosen_or_given(store: libwatch.Store) -> None:
    with store.watch_stream() as stream:
        assert stream.create(b"a") == 1
        assert stream.create(b"a", watch_id=7) == 7
        assert stream.create(b"a") == 2
        with pytest.raises(libwatch.DuplicateWatchIdError):
            stream.create(b"a", watch_id=7)
        with pytest.raises(libwatch.InvalidArgumentError):
            stream.create(b"a", watch_id=-1)


def test_each_watch_gets_its_events(store: libwatch.Store) -> None:
    with store.watch_stream() as stream:
        ids = {stream.create(b"a"): b"a", stream.create(b"b"): b"b", stream.create(b"a", prefix=True): b"a"}
        store.put(b"a", b"")
        store.put(b"b", b"")
        seen: dict[int, list[bytes]] = {watch_id: [] for watch_id in ids}
        while sum(map(len, seen.values())) < 3:
            response = take(stream)
            seen[response.watch_id].extend(event.key for event in response)
        assert seen == {watch_id: [key] for watch_id, key in ids.items()}


# etcd 15.5
def test_created_comes_first(store: libwatch.Store) -> None:
    store.put(b"a", b"")
    with store.watch_stream() as stream:
        watch_id = stream.create(b"a", start_revision=1, created_notify=True)
        created = take(stream)
        assert (created.created, created.watch_id, created.revision) == (True, watch_id, 2)
        assert (len(created), created.resume_revision) == (0, 1)
        assert len(take(stream)) == 1
        later = stream.create(b"a", created_notify=True)
        created = take(stream)
        assert (created.created, created.watch_id, created.resume_revision) == (True, later, 3)


# etcd 9.2
def test_canceled_comes_last(store: libwatch.Store) -> None:
    with store.watch_stream() as stream:
        watch_id = stream.create(b"a")
        stream.cancel(watch_id)
        store.put(b"a", b"")
        last = take(stream)
        assert (last.canceled, last.watch_id, last.cancel_reason) == (True, watch_id, "")
        assert (last.cancel_code, last.compact_revision) == (0, 0)
        assert stream.next(0) is None
        for wrong in (watch_id, 99, 0, -1):
            with pytest.raises(libwatch.WatchNotFoundError):
                stream.cancel(wrong)


# etcd 10.5, 10.6
def test_compaction_cancels_one_watch_only(store: libwatch.Store) -> None:
    for _ in range(5):
        store.put(b"a", b"")
    store.compact(4)
    with store.watch_stream() as stream:
        dead = stream.create(b"a", start_revision=2)
        live = stream.create(b"a", start_revision=4)
        responses = [take(stream), take(stream)]
        by_id = {response.watch_id: response for response in responses}
        assert by_id[dead].canceled
        assert by_id[dead].compact_revision == 4
        assert by_id[dead].cancel_code == libwatch.CompactedError.code
        assert "compacted" in by_id[dead].cancel_reason
        assert by_id[dead].revision == 6
        assert [event.mod_revision for event in by_id[live]] == [4, 5, 6]


# etcd 13.2
def test_fragments_are_given_as_they_come(memory: libwatch.Store) -> None:
    memory.txn(success=[op.put(b"a%d" % i, bytes(1 << 20)) for i in range(5)])
    with memory.watch_stream() as stream:
        stream.create(b"a", prefix=True, start_revision=1, fragment=True)
        parts = [take(stream)]
        while parts[-1].fragment:
            parts.append(take(stream))
        assert len(parts) > 1
        assert [part.resume_revision for part in parts] == [0] * (len(parts) - 1) + [3]
        assert [event.key for part in parts for event in part] == [b"a%d" % i for i in range(5)]


# etcd 13.5
def test_without_fragment_a_revision_is_one_response(memory: libwatch.Store) -> None:
    memory.txn(success=[op.put(b"a%d" % i, bytes(1 << 20)) for i in range(5)])
    with memory.watch_stream() as stream:
        stream.create(b"a", prefix=True, start_revision=1)
        assert len(take(stream)) == 5


def test_next_batch(store: libwatch.Store) -> None:
    with store.watch_stream() as stream:
        assert stream.next_batch(10, 0) == []
        for _ in range(5):
            stream.create(b"a")
        store.put(b"a", b"")
        seen: list[int] = []
        while len(seen) < 5:
            batch = stream.next_batch(2, SECONDS)
            assert 1 <= len(batch) <= 2
            seen.extend(response.watch_id for response in batch)
        assert sorted(seen) == [1, 2, 3, 4, 5]
        assert stream.next_batch(10, 0) == []


def test_progress_covers_all_watches(store: libwatch.Store) -> None:
    with store.watch_stream() as stream:
        stream.create(b"a", start_revision=1)
        stream.create(b"b", start_revision=1)
        stream.create(b"c", start_revision=100)
        store.put(b"a", b"")
        store.put(b"b", b"")
        stream.request_progress()
        events = 0
        while not (response := take(stream)).is_progress_notify:
            events += len(response)
        assert (events, response.watch_id, response.revision) == (2, -1, 3)


def test_the_descriptor_tells_when_to_look(store: libwatch.Store) -> None:
    with store.watch_stream() as stream:
        stream.create(b"a")
        descriptor = stream.fileno()
        assert descriptor == stream.fileno()
        assert not select.select([stream], [], [], 0)[0]
        store.put(b"a", b"")
        assert select.select([stream], [], [], SECONDS)[0]
        assert len(take(stream)) == 1
        assert stream.next(0) is None
        assert not select.select([stream], [], [], 0)[0]
        stream.create(b"a", start_revision=1)
        assert select.select([stream], [], [], SECONDS)[0]
        stream.close()
        assert select.select([descriptor], [], [], SECONDS)[0]


def test_the_descriptor_does_not_leave_the_process(store: libwatch.Store) -> None:
    with store.watch_stream() as stream:
        assert not os.get_inheritable(stream.fileno())


def test_close_ends_iteration(store: libwatch.Store) -> None:
    stream = store.watch_stream()
    stream.create(b"a")
    consumer = Thread(lambda: list(stream))
    stream.close()
    stream.close()
    assert consumer.result() == []
    for attempt in (
        lambda: stream.next(0),
        lambda: stream.next_batch(1, 0),
        lambda: stream.create(b"a"),
        lambda: stream.cancel(1),
        stream.request_progress,
    ):
        with pytest.raises(libwatch.ClosedError):
            attempt()
    assert list(stream) == []
    assert store.stats()["stream_count"] == 0


def test_store_close_ends_iteration(store: libwatch.Store) -> None:
    stream = store.watch_stream()
    stream.create(b"a")
    consumer = Thread(lambda: list(stream))
    store.close()
    assert consumer.result() == []
    stream.close()


def test_dropping_a_stream_closes_it(store: libwatch.Store) -> None:
    stream = store.watch_stream()
    stream.create(b"a")
    stream.fileno()
    del stream
    gc.collect()
    assert (store.stats()["stream_count"], store.stats()["watch_count"]) == (0, 0)


def test_a_second_consumer_is_refused(memory: libwatch.Store) -> None:
    """The first one keeps its place over all the slices of its wait."""
    stream = memory.watch_stream()
    stream.create(b"a")
    consumer = waiting(lambda: stream.next(SECONDS))
    until_busy(stream)
    for _ in range(1000):
        with pytest.raises(libwatch.BusyError):
            stream.next(0)
        time.sleep(0.0002)
    memory.put(b"a", b"1")
    response = consumer.result()
    assert isinstance(response, libwatch.WatchResponse)
    assert len(response) == 1
    stream.close()


def test_responses_of_a_slow_consumer_are_kept(memory: libwatch.Store) -> None:
    with memory.watch_stream() as stream:
        stream.create(b"a")
        for i in range(20_000):
            memory.put(b"a", b"%d" % i)
        seen = 0
        while seen < 20_000:
            for event in take(stream):
                assert event.value == b"%d" % seen
                seen += 1


def test_a_stream_is_both_kinds_of_iterator(memory: libwatch.Store) -> None:
    with memory.watch_stream() as stream:
        assert isinstance(stream, Iterator)
        assert isinstance(stream, AsyncIterator)
        assert repr(stream) == "<WatchStream>"


def test_repr_of_responses(memory: libwatch.Store) -> None:
    with memory.watch_stream() as stream:
        stream.create(b"a", created_notify=True)
        assert repr(take(stream)) == (
            "<WatchResponse watch_id=1 revision=1 created=True resume_revision=2, 0 events>"
        )
        memory.put(b"a", b"")
        assert repr(take(stream)) == "<WatchResponse watch_id=1 revision=2 resume_revision=3, 1 events>"
