"""Zero-copy views: they outlive whatever they came from and never change."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import time
from functools import partial
from pathlib import Path

import pytest

import libwatch
from libwatch import op
from support import SECONDS, Thread, take


def consume(watch: libwatch.Watch) -> None:
    for response in watch:
        assert len(response)
        del response


def consume_events(watch: libwatch.Watch) -> None:
    for event in watch.events():
        assert event.key
        del event


def consume_awaiting(watch: libwatch.Watch) -> None:
    async def main() -> None:
        async for event in watch.aevents():
            assert event.key
            del event

    asyncio.run(main())


CONSUMERS = {"for": consume, "events": consume_events, "await": consume_awaiting}


def content(i: int) -> bytes:
    return hashlib.sha256(b"%d" % i).digest() * 40


def test_a_view_shows_the_bytes(store: libwatch.Store) -> None:
    store.put(b"key", b"value")
    kv = store.get(b"key")
    assert kv is not None
    for view, expected in ((kv.key_view, b"key"), (kv.value_view, b"value")):
        assert isinstance(view, memoryview)
        assert (view.readonly, view.format, view.itemsize, view.ndim) == (True, "B", 1, 1)
        assert view.c_contiguous
        assert bytes(view) == expected
        assert view == expected
        assert view.tolist() == list(expected)
    with pytest.raises(TypeError):
        kv.value_view[0] = 0


def test_an_empty_value_has_a_view(store: libwatch.Store) -> None:
    store.put(b"a", b"")
    kv = store.get(b"a")
    assert kv is not None
    assert bytes(kv.value_view) == b""


def test_a_view_is_a_value(store: libwatch.Store) -> None:
    store.put(b"a", b"value")
    kv = store.get(b"a")
    assert kv is not None
    store.put(b"b", kv.value_view[1:3])
    copied = store.get(b"b")
    assert copied is not None
    assert copied.value == b"al"


def test_views_outlive_results_store_and_files(tmp_path: Path) -> None:
    """From every kind of result and from events; then everything they came from goes."""
    store = libwatch.open(tmp_path / "store", durability="none", segment_bytes=64 << 10)
    for i in range(300):
        store.put(b"k%03d" % i, content(i))
    watch = store.watch(b"k", prefix=True, start_revision=2, prev_kv=True)
    views: list[tuple[int, memoryview]] = []
    for kv in store.range(b"k", prefix=True):
        views.append((int(kv.key[1:]), kv.value_view))
    for event in take(watch):
        views.append((int(event.key[1:]), event.kv.value_view[:]))
    kv0 = store.get(b"k000")
    previous = store.put(b"k001", b"new", prev_kv=True).prev_kv
    deleted = store.delete(b"k002", prev_kv=True).prev_kvs
    txn = store.txn(success=[op.txn(success=[op.delete(b"k003", prev_kv=True)]), op.get(b"k004")])
    nested, found = txn.results
    assert kv0 is not None
    assert previous is not None
    assert isinstance(nested, libwatch.TxnResult)
    assert isinstance(found, libwatch.RangeResult)
    (inner,) = nested.results
    assert isinstance(inner, libwatch.DeleteResult)
    for i, kv in enumerate((kv0, previous, deleted[0], inner.prev_kvs[0], found[0])):
        views.append((i, kv.value_view))
        assert kv.key_view == b"k%03d" % i
    del kv, kv0, previous, deleted, txn, nested, found, inner, event
    store.compact(store.revision, physical=True)
    watch.cancel()
    store.close()
    del watch, store
    gc.collect()
    for path in sorted((tmp_path / "store").iterdir()):
        path.unlink()
    for i, view in views:
        assert view == content(i)


def test_lazy_parts_outlive_the_store(store: libwatch.Store) -> None:
    """Objects are made on demand; the demand may come after the close."""
    for i in range(20):
        store.put(b"k%02d" % i, content(i))
    ranged = store.range(b"k", prefix=True)
    deleted = store.delete(b"k05", prev_kv=True)
    result = store.txn(success=[op.get(b"k06"), op.put(b"k07", b"", prev_kv=True)])
    with store.watch(b"k", prefix=True, start_revision=2, prev_kv=True) as watch:
        response = take(watch)
    store.close()
    assert [kv.value for kv in ranged] == [content(i) for i in range(20)]
    assert deleted.prev_kvs[0].value == content(5)
    found, put = result.results
    assert isinstance(found, libwatch.RangeResult)
    assert isinstance(put, libwatch.PutResult)
    assert found[0].value == content(6)
    assert put.prev_kv is not None
    assert put.prev_kv.value == content(7)
    assert [event.value for event in response.events[:20]] == [content(i) for i in range(20)]


def test_a_view_holds_its_pair_and_nothing_else(store: libwatch.Store) -> None:
    store.put(b"a", b"value")
    kv = store.get(b"a")
    assert kv is not None
    view = kv.value_view
    assert kv.value_view is not view
    part = view[1:]
    view.release()
    del kv, view
    gc.collect()
    assert bytes(part) == b"alue"


def test_views_hold_segments_and_give_them_back(tmp_path: Path) -> None:
    with libwatch.open(tmp_path / "store", durability="none", segment_bytes=64 << 10) as store:
        for i in range(100):
            store.put(b"a", content(i))
        kv = store.get(b"a", revision=2)
        assert kv is not None
        view = kv.value_view
        del kv
        store.compact(store.revision, physical=True)
        assert store.stats()["pinned_bytes"] > 0
        assert view == content(0)
        view.release()
        del view
        gc.collect()
        assert store.stats()["pinned_bytes"] == 0


def follow(store: libwatch.Store, kind: str) -> tuple[libwatch.Watch | libwatch.WatchStream, Thread | None]:
    """Starts a consumer of one kind."""
    if kind == "callback":
        return store.watch(b"a", callback=lambda response: None), None
    if kind == "stream callback":
        stream = store.watch_stream(callback=lambda response: None)
        stream.create(b"a")
        return stream, None
    watch = store.watch(b"a")
    return watch, Thread(partial(CONSUMERS[kind], watch))


@pytest.mark.parametrize("kind", ["callback", "stream callback", *CONSUMERS])
def test_an_idle_watch_holds_nothing(tmp_path: Path, kind: str) -> None:
    """What it gave out last is free for a compaction, although nothing follows it."""
    with libwatch.open(tmp_path / "store", durability="none", segment_bytes=64 << 10) as store:
        watch, consumer = follow(store, kind)
        for i in range(100):
            store.put(b"a", content(i))
        deadline = time.monotonic() + SECONDS
        while store.stats()["oldest_watch_revision"] < 102 and time.monotonic() < deadline:
            time.sleep(0.001)
        store.compact(store.revision, physical=True)
        while store.stats()["pinned_bytes"] > 0 and time.monotonic() < deadline:
            time.sleep(0.001)
        assert store.stats()["pinned_bytes"] == 0
        assert "ended" not in repr(watch)
    if consumer is not None:
        consumer.result()


def test_a_view_is_not_writable_through_other_doors(store: libwatch.Store) -> None:
    store.put(b"a", b"value")
    kv = store.get(b"a")
    assert kv is not None
    with pytest.raises(TypeError):
        kv.value_view.cast("B")[0] = 1
    with pytest.raises((BufferError, TypeError)):
        (memoryview(kv.value_view.obj).cast("B"))[0] = 1
    assert kv.value_view.obj.__class__.__name__ == "View"


def test_events_of_joined_fragments_have_views(memory: libwatch.Store) -> None:
    memory.txn(success=[op.put(b"k%d" % i, content(i) * 1000) for i in range(4)])
    with memory.watch(b"k", prefix=True, start_revision=1, fragment=True) as watch:
        response = take(watch)
    views = [event.kv.value_view for event in response]
    del response
    memory.close()
    gc.collect()
    assert [bytes(view[:32]) for view in views] == [content(i)[:32] for i in range(4)]
