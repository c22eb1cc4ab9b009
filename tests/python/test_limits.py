"""Every bound a Python caller can reach: it works at the bound, and one past it is refused by name and
changes nothing. Cases that tests/limits.rs has too have the same names here, in the same order."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import libwatch
from libwatch import compare, op
from support import take

KEY_BYTES_MAX = 65535
VALUE_BYTES_MAX = 64 << 20
TXN_OPS_MAX = 128
TXN_DEPTH_MAX = 32
SEGMENT_BYTES_MIN = 64 << 10
PROGRESS_REQUESTS_MAX = 1024


NUMBERS = ("revision", "compact_revision", "key_count", "watch_count", "put_total", "delete_total")


def numbers(store: libwatch.Store) -> list[int]:
    stats = store.stats()
    return [stats[name] for name in NUMBERS]


def limited(
    store: libwatch.Store, words: str, call: Callable[..., object], *given: Any, **named: Any
) -> None:
    """The call is past a bound, says so with these words, and changes nothing."""
    before = numbers(store)
    with pytest.raises(libwatch.LimitError, match=re.escape(words)):
        call(*given, **named)
    assert numbers(store) == before


def puts(count: int) -> list[libwatch.Op]:
    return [op.put(b"%d" % i, b"") for i in range(count)]


def test_a_key_has_1_to_65535_bytes(store: libwatch.Store) -> None:
    """etcd 14.1, 14.11"""
    store.put(b"k", b"short")
    store.put(b"k" * KEY_BYTES_MAX, b"")
    kv = store.get(b"k" * KEY_BYTES_MAX)
    assert kv is not None
    assert len(kv.key) == KEY_BYTES_MAX
    long = b"k" * (KEY_BYTES_MAX + 1)
    words = "the key has 65536 bytes"
    limited(store, words, store.put, long, b"")
    limited(store, words, store.get, long)
    limited(store, words, store.delete, long)
    limited(store, words, store.txn, success=[op.put(b"x", b""), op.put(long, b"")])
    limited(store, words, store.txn, compare=[compare.version(long) == 0])
    assert store.txn(compare=[compare.version(long[1:]) == 1])
    assert store.delete(long[1:]).deleted == 1


def test_a_range_end_has_up_to_65535_bytes(memory: libwatch.Store) -> None:
    """etcd 2.2, 14.11"""
    memory.put(b"a", b"1")
    end = b"z" * (KEY_BYTES_MAX + 1)
    limited(memory, "the range_end has 65536 bytes", memory.range, b"a", end)
    limited(memory, "the range_end has 65536 bytes", memory.delete, b"a", end)
    assert len(memory.range(b"a", end[1:])) == 1
    assert memory.delete(b"a", end[1:]).deleted == 1


def test_a_watch_takes_the_longest_key_and_range_end(memory: libwatch.Store) -> None:
    """etcd 2.2, 3.10"""
    long = b"k" * (KEY_BYTES_MAX + 1)
    with memory.watch_stream() as stream:
        limited(memory, "the key has 65536 bytes", stream.create, long)
        limited(memory, "the range_end has 65536 bytes", stream.create, b"a", long)
        limited(memory, "the key has 65536 bytes", memory.watch, long)
        stream.create(long[1:])
        stream.create(b"a", long[1:])
        memory.put(long[1:], b"x")  # is not in the range that it ends
        memory.put(long[2:], b"y")
        responses = [take(stream), take(stream)]
        told = {response.watch_id: [event.value for event in response] for response in responses}
        assert told == {1: [b"x"], 2: [b"y"]}


def test_a_value_has_up_to_64_mib(memory: libwatch.Store) -> None:
    """etcd 5.1, 14.11"""
    value = bytes(VALUE_BYTES_MAX + 1)
    limited(memory, "the value has 67108865 bytes", memory.put, b"a", value)
    limited(memory, "the value has 67108865 bytes", memory.put, b"a", memoryview(value))
    memory.put(b"a", memoryview(value)[1:])
    kv = memory.get(b"a")
    assert kv is not None
    assert kv.value_view == memoryview(value)[1:]


def test_a_list_of_a_transaction_has_up_to_128_entries(store: libwatch.Store) -> None:
    """etcd 14.12"""
    operations = puts(TXN_OPS_MAX + 1)
    conditions = [compare.version(b"a") == 0] * (TXN_OPS_MAX + 1)
    limited(store, "129 entries in one list", store.txn, compare=conditions)
    limited(store, "129 entries in one list", store.txn, success=operations)
    limited(store, "129 entries in one list", store.txn, failure=operations)
    result = store.txn(compare=conditions[1:], success=operations[1:], failure=operations[1:])
    assert len(result.results) == TXN_OPS_MAX
    assert store.revision == 2


def test_the_lists_of_nested_transactions_share_the_bound(memory: libwatch.Store) -> None:
    """etcd 14.12"""
    limited(memory, "127 of 128 are left", memory.txn, success=[op.txn(success=puts(TXN_OPS_MAX))])
    assert memory.txn(success=[op.txn(success=puts(TXN_OPS_MAX - 1))]).revision == 2


def test_the_bound_on_operations_can_be_moved_and_is_bounded_itself() -> None:
    """etcd 14.12"""
    with libwatch.open(None, txn_ops_max=2) as store:
        limited(store, "2 of 2 are left", store.txn, success=puts(3))
        assert store.txn(success=puts(2)).revision == 2
    with libwatch.open(None, txn_ops_max=65535) as store:
        operations = puts(65536)
        limited(store, "65535 of 65535 are left", store.txn, success=operations)
        assert store.txn(success=operations[1:]).revision == 2
        assert store.range(b"\0", b"\0", count_only=True).count == 65535


def test_transactions_nest_32_deep(memory: libwatch.Store) -> None:
    """etcd 14.12"""
    nested = op.put(b"deep", b"")
    for _ in range(1, TXN_DEPTH_MAX):
        nested = op.txn(success=[nested])
    deeper = op.txn(success=[nested])
    limited(memory, "deeper than 32", memory.txn, success=[deeper])
    limited(memory, "deeper than 32", lambda: op.txn(success=[op.txn(success=[deeper])]))
    assert memory.txn(success=[nested]).revision == 2


def test_a_transaction_has_up_to_1_gib(memory: libwatch.Store) -> None:
    """etcd 14.11: 16 values of 64 MiB, and 16 keys"""
    value = bytes(VALUE_BYTES_MAX)
    operations = [op.put(b"%d" % i, value) for i in range(16)]
    limited(memory, "1073741824", memory.txn, success=operations)
    assert memory.put(b"a", b"1").revision == 2


def test_numbers_are_64_bits(memory: libwatch.Store) -> None:
    """etcd 1.7"""
    memory.put(b"a", b"", lease=2**63 - 1)
    kv = memory.get(b"a")
    assert kv is not None
    assert kv.lease == 2**63 - 1
    with pytest.raises(OverflowError):
        memory.put(b"a", b"", lease=2**63)
    with pytest.raises(OverflowError):
        memory.get(b"a", revision=-(2**63) - 1)
    with pytest.raises(TypeError):
        memory.get(b"a", revision=1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"durability": "always"}, libwatch.InvalidArgumentError),
        ({"sync_interval": 0.0}, libwatch.InvalidArgumentError),
        ({"sync_interval": -1.0}, libwatch.InvalidArgumentError),
        ({"sync_interval": float("nan")}, libwatch.InvalidArgumentError),
        ({"progress_interval": float("nan")}, libwatch.InvalidArgumentError),
        ({"progress_interval": float("inf")}, libwatch.LimitError),
        ({"progress_interval": 1e9}, libwatch.LimitError),
        ({"segment_bytes": -1}, libwatch.InvalidArgumentError),
        ({"segment_bytes": 0}, libwatch.InvalidArgumentError),
        ({"segment_bytes": SEGMENT_BYTES_MIN - 1}, libwatch.LimitError),
        ({"segment_bytes": (1 << 30) + 1}, libwatch.LimitError),
        ({"segment_bytes": 2**63 - 1}, libwatch.LimitError),
        ({"txn_ops_max": 0}, libwatch.InvalidArgumentError),
        ({"txn_ops_max": 65536}, libwatch.LimitError),
        ({"txn_ops_max": 2**32 + 1}, libwatch.LimitError),
        ({"fragment_bytes": 0}, libwatch.InvalidArgumentError),
    ],
)
def test_options_out_of_their_bounds_are_refused_by_name(
    tmp_path: Path, options: dict[str, object], error: type[Exception]
) -> None:
    """etcd 14.11, in the opening of a store"""
    with pytest.raises(error, match=next(iter(options))):
        libwatch.open(tmp_path / "store", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "store").exists()


def test_the_smallest_segment(tmp_path: Path) -> None:
    """etcd 1.2: how the log is cut is not seen"""
    with libwatch.open(tmp_path / "store", segment_bytes=SEGMENT_BYTES_MIN, durability="none") as store:
        for i in range(200):
            store.put(b"%d" % i, bytes(1000))
        store.put(b"large", bytes(10 * SEGMENT_BYTES_MIN))
        assert store.range(b"\0", b"\0", count_only=True).count == 201


@pytest.mark.parametrize("options", [{"batch_revisions": 0}, {"batch_bytes": -1}])
def test_options_of_a_stream(memory: libwatch.Store, options: dict[str, int]) -> None:
    """etcd 8.12"""
    with pytest.raises(libwatch.InvalidArgumentError, match=next(iter(options))):
        memory.watch_stream(**options)  # type: ignore[arg-type]


def test_a_batch_ends_after_its_revisions(memory: libwatch.Store) -> None:
    """etcd 8.12"""
    for _ in range(10):
        memory.put(b"a", b"")
    with memory.watch_stream(batch_revisions=4) as stream:
        stream.create(b"a", start_revision=1)
        lengths: list[int] = []
        while sum(lengths) < 10:
            response = stream.next(60)
            assert response is not None
            lengths.append(len(response))
        assert max(lengths) <= 4


def test_a_batch_ends_after_its_bytes(memory: libwatch.Store) -> None:
    """etcd 8.12"""
    for _ in range(10):
        memory.put(b"a", bytes(1000))
    with memory.watch_stream(batch_bytes=2500) as stream:
        stream.create(b"a", start_revision=1)
        lengths: list[int] = []
        while sum(lengths) < 10:
            response = stream.next(60)
            assert response is not None
            lengths.append(len(response))
        assert max(lengths) <= 3


@pytest.mark.parametrize(
    "wait",
    [lambda stream, timeout: stream.next(timeout), lambda stream, timeout: stream.next_batch(1, timeout)],
)
def test_timeouts(memory: libwatch.Store, wait: Callable[[libwatch.WatchStream, object], object]) -> None:
    """etcd 8.1"""
    with memory.watch_stream() as stream:
        assert not wait(stream, 0)
        assert not wait(stream, -5)
        assert not wait(stream, 0.001)
        with pytest.raises(libwatch.InvalidArgumentError, match="timeout"):
            wait(stream, float("nan"))
        with pytest.raises(TypeError):
            wait(stream, "1")


def test_the_size_of_a_batch(memory: libwatch.Store) -> None:
    """etcd 8.16"""
    with memory.watch_stream() as stream:
        for wrong in (0, -1):
            with pytest.raises(libwatch.InvalidArgumentError, match="max"):
                stream.next_batch(wrong, 0)


def test_up_to_1024_requests_for_progress_wait(memory: libwatch.Store) -> None:
    """etcd 12.5"""
    with memory.watch_stream() as stream:
        for _ in range(PROGRESS_REQUESTS_MAX):
            stream.request_progress()
        limited(memory, "1024 requests for progress", stream.request_progress)
        assert all(take(stream).is_progress_notify for _ in range(PROGRESS_REQUESTS_MAX))
        stream.request_progress()
        assert take(stream).is_progress_notify


def test_the_highest_numbers_are_legal_for_a_watch(memory: libwatch.Store) -> None:
    """etcd 3.2, 3.9"""
    highest = 2**63 - 1
    with memory.watch_stream() as stream:
        assert stream.create(b"a", watch_id=highest) == highest
        assert stream.create(b"a", start_revision=highest, created_notify=True) == 1
        memory.put(b"a", b"1")
        created, response = take(stream), take(stream)
        assert (created.watch_id, created.created, created.resume_revision) == (1, True, highest)
        assert (response.watch_id, len(response)) == (highest, 1)
        assert stream.next(0) is None


def test_fragment_bytes_is_the_threshold_of_fragments() -> None:
    """etcd 13.1, 13.2"""
    with libwatch.open(None, fragment_bytes=1000) as store, store.watch_stream() as stream:
        stream.create(b"k", fragment=True, prefix=True)
        store.txn(success=[op.put(b"k%d" % i, bytes(400)) for i in range(4)])
        parts = [stream.next(timeout=30) for _ in range(2)]
        assert [len(part) for part in parts if part is not None] == [2, 2]
    with pytest.raises(libwatch.InvalidArgumentError, match="fragment_bytes"):
        libwatch.open(None, fragment_bytes=-1)
