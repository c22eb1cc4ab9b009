"""Every bound a Python caller can reach: it works at the bound, and one past it changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import libwatch
from libwatch import op

KEY_BYTES_MAX = 65535
VALUE_BYTES_MAX = 64 << 20
TXN_OPS_MAX = 128
TXN_DEPTH_MAX = 32
SEGMENT_BYTES_MIN = 64 << 10


def test_key_bytes(store: libwatch.Store) -> None:
    store.put(b"k" * KEY_BYTES_MAX, b"")
    kv = store.get(b"k" * KEY_BYTES_MAX)
    assert kv is not None
    assert len(kv.key) == KEY_BYTES_MAX
    long = b"k" * (KEY_BYTES_MAX + 1)
    for attempt in (
        lambda: store.put(long, b""),
        lambda: store.get(long),
        lambda: store.delete(long),
        lambda: store.watch(long),
        lambda: store.txn(success=[op.put(long, b"")]),
    ):
        with pytest.raises(libwatch.LimitError, match="65536"):
            attempt()
    assert store.revision == 2


def test_value_bytes(store: libwatch.Store) -> None:
    store.put(b"a", bytes(VALUE_BYTES_MAX))
    kv = store.get(b"a")
    assert kv is not None
    assert len(kv.value_view) == VALUE_BYTES_MAX
    with pytest.raises(libwatch.LimitError):
        store.put(b"a", bytes(VALUE_BYTES_MAX + 1))
    assert store.revision == 2


def test_txn_ops(store: libwatch.Store) -> None:
    operations = [op.put(b"%d" % i, b"") for i in range(TXN_OPS_MAX + 1)]
    store.txn(success=operations[1:])
    with pytest.raises(libwatch.LimitError):
        store.txn(success=operations)
    with pytest.raises(libwatch.LimitError):
        store.txn(failure=operations)
    assert store.revision == 2


def test_txn_depth(store: libwatch.Store) -> None:
    nested = op.put(b"a", b"")
    accepted = 0
    with pytest.raises(libwatch.LimitError):
        while accepted <= 2 * TXN_DEPTH_MAX:
            nested = op.txn(success=[nested])
            store.txn(success=[nested])
            accepted += 1
    assert TXN_DEPTH_MAX - 2 <= accepted <= TXN_DEPTH_MAX
    assert store.revision == 1 + accepted


def test_numbers_are_64_bits(memory: libwatch.Store) -> None:
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
    ],
)
def test_options_of_a_store(tmp_path: Path, options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(options))):
        libwatch.open(tmp_path / "store", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "store").exists()


def test_the_smallest_segment(tmp_path: Path) -> None:
    with libwatch.open(tmp_path / "store", segment_bytes=SEGMENT_BYTES_MIN, durability="none") as store:
        for i in range(200):
            store.put(b"%d" % i, bytes(1000))
        store.put(b"large", bytes(10 * SEGMENT_BYTES_MIN))
        assert store.range(b"\0", b"\0", count_only=True).count == 201


@pytest.mark.parametrize("options", [{"batch_revisions": 0}, {"batch_bytes": -1}])
def test_options_of_a_stream(memory: libwatch.Store, options: dict[str, int]) -> None:
    with pytest.raises(libwatch.InvalidArgumentError, match=next(iter(options))):
        memory.watch_stream(**options)  # type: ignore[arg-type]


def test_a_batch_ends_after_its_revisions(memory: libwatch.Store) -> None:
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
    with memory.watch_stream() as stream:
        assert not wait(stream, 0)
        assert not wait(stream, -5)
        assert not wait(stream, 0.001)
        with pytest.raises(libwatch.InvalidArgumentError, match="timeout"):
            wait(stream, float("nan"))
        with pytest.raises(TypeError):
            wait(stream, "1")


def test_the_size_of_a_batch(memory: libwatch.Store) -> None:
    with memory.watch_stream() as stream:
        for wrong in (0, -1):
            with pytest.raises(libwatch.InvalidArgumentError, match="max"):
                stream.next_batch(wrong, 0)


def test_requests_for_progress(memory: libwatch.Store) -> None:
    with memory.watch_stream() as stream:
        stream.create(b"a")
        with pytest.raises(libwatch.LimitError):
            for _ in range(100_000):
                stream.request_progress()


def test_txn_ops_max_is_an_option_with_bounds() -> None:
    with libwatch.open(None, txn_ops_max=65535) as store:
        assert store.txn(success=[op.put(b"%d" % i, b"") for i in range(1000)]).revision == 2
    with libwatch.open(None, txn_ops_max=2) as store:
        store.txn(success=[op.put(b"a", b""), op.put(b"b", b"")])
        with pytest.raises(libwatch.LimitError):
            store.txn(success=[op.put(b"%d" % i, b"") for i in range(3)])
        assert store.revision == 2
    with pytest.raises(libwatch.LimitError, match="txn_ops_max"):
        libwatch.open(None, txn_ops_max=65536)
    with pytest.raises(libwatch.InvalidArgumentError, match="txn_ops_max"):
        libwatch.open(None, txn_ops_max=0)


def test_fragment_bytes_is_the_threshold_of_fragments() -> None:
    with libwatch.open(None, fragment_bytes=1000) as store, store.watch_stream() as stream:
        stream.create(b"k", fragment=True, prefix=True)
        store.txn(success=[op.put(b"k%d" % i, bytes(400)) for i in range(4)])
        parts = [stream.next(timeout=30) for _ in range(2)]
        assert [len(part) for part in parts if part is not None] == [2, 2]
    with pytest.raises(libwatch.InvalidArgumentError, match="fragment_bytes"):
        libwatch.open(None, fragment_bytes=-1)
