"""Watch: order, resuming, fragments, endings, and what mixing its forms of taking gives."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import libwatch
from libwatch import op
from support import Thread, summary, take, take_events, until_busy, waiting


def fill(store: libwatch.Store, count: int) -> None:
    """One revision for each, from the next on."""
    for i in range(count):
        store.put(b"a", b"%d" % i)


# etcd 3.1
def test_a_watch_sees_what_follows(store: libwatch.Store) -> None:
    store.put(b"a", b"before")
    with store.watch(b"a") as watch:
        assert watch.next(0) is None
        store.put(b"a", b"1")
        store.put(b"b", b"2")
        store.delete(b"a")
        assert summary(take_events(watch, 2)) == [("PUT", b"a", b"1", 3), ("DELETE", b"a", b"", 5)]
        assert watch.next(0) is None


# etcd 3.3
def test_a_watch_replays_history(store: libwatch.Store) -> None:
    fill(store, 5)
    with store.watch(b"a", start_revision=3) as watch:
        store.put(b"a", b"live")
        events = take_events(watch, 5)
    assert [event.mod_revision for event in events] == [3, 4, 5, 6, 7]
    assert events[-1].value == b"live"


# etcd 3.2
def test_a_watch_can_start_in_the_future(store: libwatch.Store) -> None:
    with store.watch(b"a", start_revision=4) as watch:
        assert watch.resume_revision == 4
        fill(store, 3)
        assert [event.mod_revision for event in take_events(watch, 1)] == [4]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"key": b"a"}, [b"a"]),
        ({"key": b"a", "range_end": b"b"}, [b"a", b"ab"]),
        ({"key": b"a", "prefix": True}, [b"a", b"ab"]),
        ({"key": "b", "range_end": b"\0"}, [b"b", b"c"]),
        ({"key": b"", "prefix": True}, [b"a", b"ab", b"b", b"c"]),
    ],
)
def test_what_a_watch_covers(
    store: libwatch.Store, arguments: dict[str, object], expected: list[bytes]
) -> None:
    with store.watch(**arguments) as watch:  # type: ignore[arg-type]
        for key in (b"a", b"ab", b"b", b"c"):
            store.put(key, b"")
        assert [event.key for event in take_events(watch, len(expected))] == expected
        assert watch.next(0) is None


# etcd 6.1
def test_filters(store: libwatch.Store) -> None:
    with (
        store.watch(b"a", filters=["noput"]) as deletes,
        store.watch(b"a", filters=("nodelete",)) as puts,
        store.watch(b"a", filters={"noput", "nodelete"}) as none,
    ):
        store.put(b"a", b"")
        store.delete(b"a")
        assert [event.type for event in take_events(deletes, 1)] == ["DELETE"]
        assert [event.type for event in take_events(puts, 1)] == ["PUT"]
        for watch in (deletes, puts, none):
            assert watch.next(0) is None


# etcd 7.1
def test_prev_kv(store: libwatch.Store) -> None:
    with store.watch(b"a", prev_kv=True) as watch:
        store.put(b"a", b"1")
        store.put(b"a", b"2")
        store.delete(b"a")
        events = take_events(watch, 3)
    assert [event.prev_kv and event.prev_kv.value for event in events] == [None, b"1", b"2"]
    assert [(event.is_create, event.is_modify) for event in events] == [
        (True, False),
        (False, True),
        (False, False),
    ]


def test_events_match_by_class(store: libwatch.Store) -> None:
    store.put(b"a", b"1")
    store.delete(b"a")
    seen: list[object] = []
    with store.watch(b"a", start_revision=2, prev_kv=True) as watch:
        for event in take_events(watch, 2):
            match event:
                case libwatch.Event("PUT", kv):
                    seen.append(kv.value)
                case libwatch.Event("DELETE", kv, prev_kv) if prev_kv is not None:
                    seen.append((kv.key, prev_kv.value))
    assert seen == [b"1", (b"a", b"1")]


def test_events_are_equal_by_content(store: libwatch.Store) -> None:
    store.put(b"a", b"1")
    with store.watch(b"a", start_revision=2) as one, store.watch(b"a", start_revision=2) as two:
        (first,), (second,) = take(one), take(two)
    assert first == second
    assert len({first, second}) == 1
    assert first.kv == store.get(b"a")
    assert first != first.kv
    store.put(b"a", b"2")
    with store.watch(b"a", start_revision=3) as three:
        (other,) = take(three)
    assert first != other
    assert repr(first) == (
        "Event(type='PUT', kv=KeyValue(key=b'a', value=b'1', create_revision=2, mod_revision=2, "
        "version=1, lease=0), prev_kv=None)"
    )


# etcd 8.12
def test_a_transaction_is_never_split(store: libwatch.Store) -> None:
    with store.watch(b"k", prefix=True) as watch:
        for round_ in range(20):
            store.txn(success=[op.put(b"k%d" % i, b"%d" % round_) for i in range(10)])
        seen: list[int] = []
        while len(seen) < 200:
            response = take(watch)
            revisions = [event.mod_revision for event in response]
            assert all(revisions.count(revision) == 10 for revision in revisions)
            seen.extend(revisions)
    assert seen == sorted(seen)


# etcd 15.3
def test_resume_revision_continues_exactly(store: libwatch.Store) -> None:
    """Stop after any number of responses, start anew from resume_revision: every event once, in order."""
    fill(store, 40)
    for stop_after in range(5):
        seen: list[int] = []
        start = 1
        while len(seen) < 40:
            with store.watch(b"a", start_revision=start) as watch:
                assert watch.resume_revision == start
                for _ in range(stop_after + 1):
                    if len(seen) < 40:
                        response = take(watch)
                        seen.extend(event.mod_revision for event in response)
                        assert watch.resume_revision == response.resume_revision == seen[-1] + 1
                start = watch.resume_revision
        assert seen == list(range(2, 42))


# etcd 15.3
def test_resume_revision_before_the_first_response(store: libwatch.Store) -> None:
    fill(store, 3)
    with store.watch(b"a") as watch:
        assert watch.resume_revision == 5
        start = watch.resume_revision
    store.put(b"a", b"missed")
    with store.watch(b"a", start_revision=start) as watch:
        assert summary(take_events(watch, 1)) == [("PUT", b"a", b"missed", 5)]


# etcd 11.5, 15.3
def test_resume_after_a_restart(tmp_path: Path) -> None:
    with libwatch.open(tmp_path / "store") as store, store.watch(b"a") as watch:
        store.put(b"a", b"1")
        take(watch)
        start = watch.resume_revision
        store.put(b"a", b"2")
    with libwatch.open(tmp_path / "store") as store:
        store.put(b"a", b"3")
        with store.watch(b"a", start_revision=start) as watch:
            assert [event.value for event in take_events(watch, 2)] == [b"2", b"3"]


def test_events_repeats_a_revision_that_was_not_taken_whole(store: libwatch.Store) -> None:
    store.txn(success=[op.put(b"a", b""), op.put(b"b", b""), op.put(b"c", b"")])
    store.put(b"a", b"")
    with store.watch(b"\0", b"\0", start_revision=1) as watch:
        resumes = []
        events = watch.events()
        for _ in range(4):
            event = next(events)
            resumes.append((event.key, event.mod_revision, watch.resume_revision))
    assert resumes == [(b"a", 2, 2), (b"b", 2, 2), (b"c", 2, 3), (b"a", 3, 4)]


def test_forms_of_taking_can_be_mixed(store: libwatch.Store) -> None:
    """Whatever is abandoned in the middle, each event comes once and in order."""
    chance = random.Random(7)
    fill(store, 300)
    seen: list[int] = []
    with store.watch(b"a", start_revision=1) as watch:
        older: list[Iterator[libwatch.Event]] = []
        while len(seen) < 300:
            form = chance.randrange(4)
            if form == 0:
                seen.extend(event.mod_revision for event in take(watch))
            elif form == 1 and older:
                seen.append(next(chance.choice(older)).mod_revision)
            elif form == 2:
                seen.append(next(watch.events()).mod_revision)
            else:
                older.append(watch.events())
    assert seen == list(range(2, 302))


# etcd 13.3, 15.12
def test_fragments_are_joined(memory: libwatch.Store) -> None:
    megabyte = bytes(1 << 20)
    memory.txn(success=[op.put(b"a%d" % i, megabyte) for i in range(5)])
    with memory.watch(b"a", prefix=True, start_revision=1, fragment=True) as watch:
        response = take(watch)
        assert len(response) == 5
        assert not response.fragment
        assert response.resume_revision == watch.resume_revision == 3
        assert [event.key for event in response.events] == [b"a%d" % i for i in range(5)]
        assert response.events[3].value == megabyte
        assert [len(event.value) for event in response] == [1 << 20] * 5


def test_fragments_survive_a_timeout_between_them(memory: libwatch.Store) -> None:
    memory.txn(success=[op.put(b"a%d" % i, bytes(1 << 20)) for i in range(5)])
    with memory.watch(b"a", prefix=True, start_revision=1, fragment=True) as watch:
        response = None
        while response is None:
            response = watch.next(0)
        assert len(response) == 5


# etcd 15.6
def test_compaction_raises(store: libwatch.Store) -> None:
    fill(store, 10)
    store.compact(6)
    watch = store.watch(b"a", start_revision=3)
    for _ in range(2):
        with pytest.raises(libwatch.CompactedError) as compacted:
            watch.next(60)
        assert compacted.value.compact_revision == 6
        assert compacted.value.code == -20
    with pytest.raises(libwatch.CompactedError):
        list(watch)
    with pytest.raises(libwatch.CompactedError):
        list(watch.events())
    watch.cancel()
    with store.watch(b"a", start_revision=compacted.value.compact_revision) as watch:
        assert [event.mod_revision for event in take_events(watch, 6)] == list(range(6, 12))


# etcd 10.6, 17 Reliable
def test_compaction_never_leaves_a_gap(store: libwatch.Store) -> None:
    """A watch that is behind gets a prefix of the events and then the error, or all of them."""
    fill(store, 3000)
    with store.watch(b"a", start_revision=1) as watch:
        seen = [event.mod_revision for event in take(watch)]
        store.compact(2990)
        fill(store, 1)
        try:
            while len(seen) < 3001:
                seen.extend(event.mod_revision for event in take(watch))
        except libwatch.CompactedError as compacted:
            ended: libwatch.CompactedError | None = compacted
        else:
            ended = None
        if ended is not None:
            assert (ended.compact_revision, watch.resume_revision < 2990) == (2990, True)
    assert seen == list(range(2, 2 + len(seen)))


def test_a_watch_that_has_caught_up_does_not_mind_compaction(store: libwatch.Store) -> None:
    with store.watch(b"a") as watch:
        fill(store, 5)
        take_events(watch, 5)
        store.compact(6)
        fill(store, 1)
        assert [event.mod_revision for event in take_events(watch, 1)] == [7]


# etcd 7.3
def test_prev_kv_at_the_compaction(store: libwatch.Store) -> None:
    fill(store, 5)
    store.compact(4)
    with store.watch(b"a", start_revision=4, prev_kv=True) as watch:
        events = take_events(watch, 3)
    assert [event.prev_kv and event.prev_kv.mod_revision for event in events] == [None, 4, 5]


# etcd 15.8
def test_cancel_ends_iteration(store: libwatch.Store) -> None:
    watch = store.watch(b"a")
    watch.cancel()
    watch.cancel()
    assert list(watch) == []
    assert list(watch.events()) == []
    with pytest.raises(libwatch.ClosedError, match="cancelled"):
        watch.next(0)
    assert store.stats()["watch_count"] == 0


def test_cancel_wakes_a_consumer(store: libwatch.Store) -> None:
    watch = store.watch(b"a")
    consumer = Thread(lambda: [event.value for event in watch.events()])
    store.put(b"a", b"1")
    while watch.resume_revision < 3:
        assert store.revision == 2
    watch.cancel()
    assert consumer.result() == [b"1"]


# etcd 15.8
def test_store_close_ends_iteration(store: libwatch.Store) -> None:
    watch = store.watch(b"a")
    consumer = Thread(lambda: list(watch))
    store.close()
    assert consumer.result() == []
    with pytest.raises(libwatch.ClosedError):
        watch.next(0)
    watch.cancel()


def test_leaving_the_block_cancels(store: libwatch.Store) -> None:
    with store.watch(b"a") as watch:
        assert store.stats()["watch_count"] == 1
    assert (store.stats()["watch_count"], store.stats()["stream_count"]) == (0, 0)
    assert list(watch) == []


def test_dropping_a_watch_cancels_it(store: libwatch.Store) -> None:
    watch = store.watch(b"a")
    del watch
    assert (store.stats()["watch_count"], store.stats()["stream_count"]) == (0, 0)


# etcd 12.5
def test_progress_on_request(store: libwatch.Store) -> None:
    store.put(b"b", b"")
    with store.watch(b"a") as watch:
        watch.request_progress()
        response = take(watch)
        assert response.is_progress_notify
        assert (response.revision, len(response), response.watch_id) == (2, 0, -1)
        assert watch.resume_revision == response.resume_revision == 3
        assert bool(response)


# etcd 12.4
def test_progress_comes_after_the_events_before_it(store: libwatch.Store) -> None:
    with store.watch(b"a", start_revision=1) as watch:
        fill(store, 50)
        watch.request_progress()
        seen = 0
        while not (response := take(watch)).is_progress_notify:
            seen += len(response)
        assert (seen, response.revision) == (50, 51)


# etcd 12.2
def test_periodic_progress() -> None:
    with (
        libwatch.open(None, progress_interval=0.1) as store,
        store.watch(b"a", progress_notify=True) as watch,
        store.watch(b"a") as other,
    ):
        store.put(b"b", b"")
        responses = [take(watch) for _ in range(3)]
        assert all(response.is_progress_notify for response in responses)
        assert watch.resume_revision == 3
        assert other.next(0) is None


# etcd 3.4
def test_a_negative_start_is_refused(store: libwatch.Store) -> None:
    with pytest.raises(libwatch.InvalidArgumentError, match="start_revision"):
        store.watch(b"a", start_revision=-1)
    assert store.stats()["stream_count"] == 0


def test_misuse_is_refused_where_it_happens(memory: libwatch.Store) -> None:
    with pytest.raises(libwatch.EmptyRangeError):
        memory.watch(b"b", b"a")
    with pytest.raises(libwatch.InvalidArgumentError, match="nopud"):
        memory.watch(b"a", filters=["nopud"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="filters"):
        memory.watch(b"a", filters="noput")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="callback"):
        memory.watch(b"a", callback=5)  # type: ignore[arg-type]
    assert memory.stats()["watch_count"] == 0


def test_a_watch_is_both_kinds_of_iterator(memory: libwatch.Store) -> None:
    with memory.watch(b"a") as watch:
        assert isinstance(watch, Iterator)
        assert isinstance(watch, AsyncIterator)
        assert repr(watch) == "<Watch id=1 resume_revision=2>"
    list(watch)
    assert "resume_revision" in repr(watch)


# S 19.4
def test_a_second_consumer_is_refused(memory: libwatch.Store) -> None:
    watch = memory.watch(b"a")
    consumer = waiting(lambda: list(watch))
    until_busy(watch)
    for _ in range(100):
        with pytest.raises(libwatch.BusyError):
            watch.next(0)
    watch.cancel()
    assert consumer.result() == []
