"""Opening and closing, single keys, compaction, sync and numbers."""

from __future__ import annotations

import gc
import pickle
import weakref
from pathlib import Path

import pytest

import libwatch
from support import Thread


def test_an_empty_store_is_at_revision_1(store: libwatch.Store) -> None:
    assert (store.revision, store.compact_revision) == (1, -1)
    assert store.get(b"a") is None


def test_put_and_get(store: libwatch.Store) -> None:
    assert store.put(b"a", b"1").revision == 2
    assert store.put(b"a", b"2", lease=7).revision == 3
    kv = store.get(b"a")
    assert kv is not None
    assert (kv.key, kv.value) == (b"a", b"2")
    assert (kv.create_revision, kv.mod_revision, kv.version, kv.lease) == (2, 3, 2, 7)
    assert store.revision == 3


def test_get_at_a_revision(store: libwatch.Store) -> None:
    store.put(b"a", b"1")
    store.put(b"a", b"2")
    store.delete(b"a")
    kvs = [store.get(b"a", revision=revision) for revision in (2, 3, 4)]
    assert [kv and kv.value for kv in kvs] == [b"1", b"2", None]


def test_a_version_restarts_after_a_delete(store: libwatch.Store) -> None:
    store.put(b"a", b"")
    store.put(b"a", b"")
    store.delete(b"a")
    store.put(b"a", b"")
    kv = store.get(b"a")
    assert kv is not None
    assert (kv.create_revision, kv.version) == (5, 1)


def test_put_answers_the_previous_pair(store: libwatch.Store) -> None:
    assert store.put(b"a", b"1", prev_kv=True).prev_kv is None
    assert store.put(b"a", b"2").prev_kv is None
    previous = store.put(b"a", b"3", prev_kv=True).prev_kv
    assert previous is not None
    assert (previous.value, previous.mod_revision) == (b"2", 3)


def test_put_can_keep_the_value(store: libwatch.Store) -> None:
    store.put(b"a", b"1")
    store.put(b"a", b"", ignore_value=True, lease=3)
    kv = store.get(b"a")
    assert kv is not None
    assert (kv.value, kv.lease) == (b"1", 3)
    with pytest.raises(libwatch.KeyNotFoundError):
        store.put(b"b", b"", ignore_value=True)
    with pytest.raises(libwatch.InvalidArgumentError):
        store.put(b"a", b"x", ignore_value=True)
    assert store.revision == 3


def test_delete_answers_what_it_deleted(store: libwatch.Store) -> None:
    for key in (b"a", b"ab", b"b"):
        store.put(key, key)
    result = store.delete(b"a", prefix=True, prev_kv=True)
    assert (result.revision, result.deleted) == (5, 2)
    assert [kv.value for kv in result.prev_kvs] == [b"a", b"ab"]
    again = store.delete(b"a", prefix=True, prev_kv=True)
    assert (again.revision, again.deleted, again.prev_kvs) == (5, 0, [])
    assert store.delete(b"b").prev_kvs == []


@pytest.mark.parametrize("key", [b"k\xc3\xa4", bytearray(b"k\xc3\xa4"), memoryview(b"k\xc3\xa4"), "k\u00e4"])
def test_keys_and_values_are_bytes_buffers_or_str(
    store: libwatch.Store, key: bytes | bytearray | memoryview | str
) -> None:
    store.put(key, key)
    kv = store.get(key)
    assert kv is not None
    assert (kv.key, kv.value) == (b"k\xc3\xa4", b"k\xc3\xa4")
    assert store.delete(key).deleted == 1


def test_a_strided_buffer_is_read_in_its_order(store: libwatch.Store) -> None:
    store.put(b"a", memoryview(b"abcdef")[::2])
    kv = store.get(b"a")
    assert kv is not None
    assert kv.value == b"ace"


def test_a_buffer_can_change_after_the_call(store: libwatch.Store) -> None:
    value = bytearray(b"before")
    store.put(b"a", value)
    value[:] = b"after."
    kv = store.get(b"a")
    assert kv is not None
    assert kv.value == b"before"


@pytest.mark.parametrize("wrong", [[97], (97,), 97, None, 1.5, {97}])
def test_other_types_are_refused(memory: libwatch.Store, wrong: object) -> None:
    with pytest.raises(TypeError, match="bytes"):
        memory.put(wrong, b"")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bytes"):
        memory.put(b"a", wrong)  # type: ignore[arg-type]
    assert memory.revision == 1


def test_a_str_that_is_no_utf8_is_refused(memory: libwatch.Store) -> None:
    with pytest.raises(UnicodeEncodeError):
        memory.put("\ud800", b"")


def test_an_empty_key_is_refused(store: libwatch.Store) -> None:
    with pytest.raises(libwatch.EmptyKeyError):
        store.put(b"", b"")
    with pytest.raises(libwatch.EmptyKeyError):
        store.get(b"")
    with pytest.raises(libwatch.EmptyKeyError):
        store.range(b"")
    with pytest.raises(libwatch.EmptyKeyError):
        store.delete(b"")


def test_compact(store: libwatch.Store) -> None:
    for value in (b"1", b"2", b"3"):
        store.put(b"a", value)
    store.compact(3)
    assert store.compact_revision == 3
    with pytest.raises(libwatch.CompactedError) as compacted:
        store.get(b"a", revision=2)
    assert compacted.value.compact_revision == 3
    kv = store.get(b"a", revision=3)
    assert kv is not None
    assert kv.value == b"2"
    with pytest.raises(libwatch.CompactedError):
        store.compact(3)
    store.compact(4, physical=True)


def test_a_future_revision_is_refused(store: libwatch.Store) -> None:
    store.put(b"a", b"")
    for attempt in (
        lambda: store.get(b"a", revision=3),
        lambda: store.range(b"a", revision=3),
        lambda: store.compact(3),
        lambda: store.sync(3),
    ):
        with pytest.raises(libwatch.FutureRevisionError) as future:
            attempt()
        assert future.value.current_revision == 2


def test_sync_answers_the_durable_revision(tmp_path: Path) -> None:
    with libwatch.open(tmp_path / "store", durability="none") as store:
        store.put(b"a", b"")
        assert store.sync() == 2
        assert store.durable_revision == 2
        store.put(b"a", b"")
        assert store.sync(2, timeout=0) == 2
        assert store.sync(3, timeout=60) == 3


def test_a_put_in_mode_commit_is_durable(tmp_path: Path) -> None:
    with libwatch.open(tmp_path / "store") as store:
        store.put(b"a", b"")
        assert store.durable_revision == 2


@pytest.mark.parametrize("durability", ["none", "interval", "commit"])
def test_a_store_comes_back(tmp_path: Path, durability: libwatch.Durability) -> None:
    path = tmp_path / "store"
    with libwatch.open(path, durability=durability) as store:
        store.put(b"a", b"1")
        store.put(b"a", b"2")
        store.delete(b"a")
        store.put(b"b", b"3")
    with libwatch.open(str(path), create=False) as store:
        assert store.revision == 5
        assert store.get(b"a") is None
        old = store.get(b"a", revision=3)
        assert old is not None
        assert old.value == b"2"
        assert [kv.key for kv in store.range(b"\0", b"\0")] == [b"b"]


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(libwatch.StorageError) as missing:
        libwatch.open(tmp_path / "none", create=False)
    assert isinstance(missing.value, OSError)
    assert not (tmp_path / "none").exists()


def test_a_second_opener_is_refused(tmp_path: Path) -> None:
    with libwatch.open(tmp_path / "store"), pytest.raises(libwatch.LockedError):
        libwatch.open(tmp_path / "store")
    libwatch.open(tmp_path / "store").close()


def test_read_only(tmp_path: Path) -> None:
    with libwatch.open(tmp_path / "store") as store:
        store.put(b"a", b"1")
    with libwatch.open(tmp_path / "store", read_only=True) as store:
        assert store.get(b"a") is not None
        for attempt in (
            lambda: store.put(b"a", b"2"),
            lambda: store.delete(b"a"),
            lambda: store.compact(2),
        ):
            with pytest.raises(libwatch.StorageError) as refused:
                attempt()
            assert refused.value.code == -44
        assert store.revision == 2


def test_close_is_final_and_idempotent(store: libwatch.Store) -> None:
    store.put(b"a", b"1")
    states = [store.closed]
    for _ in range(2):
        store.close()
        states.append(store.closed)
    assert states == [False, True, True]
    for attempt in (
        lambda: store.put(b"a", b""),
        lambda: store.get(b"a"),
        lambda: store.range(b"a"),
        lambda: store.delete(b"a"),
        store.txn,
        lambda: store.compact(2),
        store.sync,
        lambda: store.watch(b"a"),
        store.watch_stream,
        store.stats,
    ):
        with pytest.raises(libwatch.ClosedError):
            attempt()
    assert store.revision == 2
    assert "closed=True" in repr(store)


def test_the_last_reference_closes(tmp_path: Path) -> None:
    store = libwatch.open(tmp_path / "store")
    gone = weakref.ref(store)
    del store
    gc.collect()
    assert gone() is None
    libwatch.open(tmp_path / "store").close()


def test_a_watch_holds_its_store_open(tmp_path: Path) -> None:
    watch = libwatch.open(tmp_path / "store").watch(b"a")
    with pytest.raises(libwatch.LockedError):
        libwatch.open(tmp_path / "store")
    assert watch.next(0) is None
    del watch
    gc.collect()
    libwatch.open(tmp_path / "store").close()


def test_close_while_others_work(store: libwatch.Store) -> None:
    def work() -> None:
        with pytest.raises(libwatch.ClosedError):
            while True:
                store.put(b"a", b"x")
                store.get(b"a")

    workers = [Thread(work) for _ in range(3)]
    while store.revision < 50:
        store.put(b"b", b"")
    store.close()
    for worker in workers:
        worker.result()


def test_stats(store: libwatch.Store) -> None:
    store.put(b"a", b"")
    store.put(b"b", b"")
    store.delete(b"b")
    with store.watch(b"a") as watch:
        stats = store.stats()
        assert watch.watch_id == 1
    assert stats["revision"] == 4
    assert stats["put_total"] == 2
    assert stats["delete_total"] == 1
    assert (stats["stream_count"], stats["watch_count"]) == (1, 1)
    assert all(isinstance(number, int) for number in stats.values())


def test_a_store_is_not_pickled(memory: libwatch.Store) -> None:
    with pytest.raises(TypeError, match="open it again"):
        pickle.dumps(memory)


def test_repr(tmp_path: Path) -> None:
    with libwatch.open(tmp_path / "store") as store:
        assert repr(store) == f"<Store '{tmp_path / 'store'}' revision=1 closed=False>"
        store.put(b"a", b"x" * 100)
        kv = store.get(b"a")
        assert repr(kv).startswith("KeyValue(key=b'a', value=<100 bytes b'xxx")
        assert repr(store.put(b"a", b"1")) == "PutResult(revision=3, prev_kv=None)"
        assert repr(store.get(b"a")) == (
            "KeyValue(key=b'a', value=b'1', create_revision=2, mod_revision=3, version=2, lease=0)"
        )
        assert repr(store.delete(b"b")) == "<DeleteResult deleted=0, revision=3, 0 prev_kvs>"
        assert repr(store.range(b"a")) == "<RangeResult of 1 of 1 keys, revision=3, more=False>"
    with libwatch.open(None) as memory:
        assert repr(memory) == "<Store in memory revision=1 closed=False>"
