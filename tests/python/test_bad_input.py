"""What callers get wrong raises the class of its code with a line that names the thing, and disturbs nothing
else. The same cases, by the same names and in the same order, are in tests/bad_input.rs, tests/c and
tests/cpp; what only Python can get wrong is in test_bad_types.py."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import libwatch
import scene as scenes
from libwatch import compare, op
from scene import COMPACTED, CURRENT, FUTURE, HIGHEST, LIVE, LOWEST, NEGATIVE, Scene
from support import Thread, until_busy, waiting

ALL = (b"\0", b"\0")
INVALID_STATE, IO, READ_ONLY = -2, -40, -44


@pytest.fixture
def s() -> Iterator[Scene]:
    with scenes.scene() as scene:
        yield scene


def good(*rest: libwatch.Op) -> list[libwatch.Op]:
    """The operations of a transaction that begins with a good put."""
    return [op.put(b"x", b""), *rest]


# ---- keys and ranges ----


def test_an_empty_key_is_refused(s: Scene) -> None:
    """etcd 14.1, 14.11"""
    calls: list[Callable[[], object]] = [
        lambda: s.store.put(b"", b"v"),
        lambda: s.store.put("", "v"),
        lambda: s.store.get(b""),
        lambda: s.store.range(b"", b"z"),
        lambda: s.store.delete(b"", b"\0"),
        lambda: s.store.txn(success=good(op.put(b"", b""))),
        lambda: s.store.txn(success=good(op.delete(b"", b"z"))),
        lambda: s.store.txn(success=good(op.txn(success=[op.get(b"")]))),
        lambda: s.store.txn(compare=[compare.version(b"") == 0]),
    ]
    for call in calls:
        s.refused(libwatch.EmptyKeyError, "key", call)


def test_an_empty_watch_range_is_refused(s: Scene) -> None:
    """etcd 2.4, 3.10"""
    for key, end in [(b"b", b"a"), (b"b", b"b"), (b"b\0", b"b"), (b"\0\0", b"\0\0")]:
        for create in (s.stream.create, s.store.watch):
            s.refused(libwatch.EmptyRangeError, "range_end", create, key, end)


def test_a_reversed_range_reads_and_deletes_nothing(s: Scene) -> None:
    """etcd 2.4, 14.1, 1.3"""
    for key, end in [(b"z", b"a"), (b"b", b"b")]:
        assert len(s.unchanged(s.store.range, key, end)) == 0
        deleted = s.unchanged(s.store.delete, key, end, prev_kv=True)
        assert (deleted.deleted, deleted.revision, deleted.prev_kvs) == (0, CURRENT, [])
        s.unchanged(s.store.txn, success=[op.delete(key, end)])


# ---- revisions ----


def test_a_negative_revision_reads_now_but_not_in_a_transaction(s: Scene) -> None:
    """etcd 14.2"""
    for revision in NEGATIVE:
        assert s.unchanged(s.store.get, b"a", revision=revision).value == b"3"
        operations = good(op.get(b"a", revision=revision))
        s.refused(libwatch.CompactedError, f"revision {revision} ", s.store.txn, success=operations)


def refused_reads(s: Scene, error: type[libwatch.WatchError], revision: int) -> libwatch.WatchError:
    words = f"revision {revision} "
    s.refused(error, words, s.store.get, b"a", revision=revision)
    s.refused(error, words, s.store.range, b"x", b"a", revision=revision)
    operations = good(op.get(b"a", revision=revision))
    last = s.refused(error, words, s.store.txn, success=operations)
    assert isinstance(last, libwatch.WatchError)
    return last


def test_a_future_revision_cannot_be_read(s: Scene) -> None:
    """etcd 14.2, 14.11"""
    for revision in FUTURE:
        error = refused_reads(s, libwatch.FutureRevisionError, revision)
        assert isinstance(error, libwatch.FutureRevisionError)
        assert error.current_revision == CURRENT


def test_a_compacted_revision_cannot_be_read(s: Scene) -> None:
    """etcd 14.2, 10.2, 10.4"""
    for revision in (1, COMPACTED - 1):
        error = refused_reads(s, libwatch.CompactedError, revision)
        assert isinstance(error, libwatch.CompactedError)
        assert error.compact_revision == COMPACTED
    assert s.unchanged(s.store.get, b"a", revision=COMPACTED).value == b"3"


def test_a_negative_start_is_refused(s: Scene) -> None:
    """etcd 3.4, 3.10"""
    for start in NEGATIVE:
        words = f"start_revision {start}"
        s.refused(libwatch.InvalidArgumentError, words, s.stream.create, *ALL, start_revision=start)
        s.refused(libwatch.InvalidArgumentError, words, s.store.watch, *ALL, start_revision=start)


def test_a_start_in_the_far_future_waits(s: Scene) -> None:
    """etcd 3.2, #9775: a start may lie as far ahead as numbers go"""
    for start in (CURRENT + 2, HIGHEST - 1, HIGHEST):
        watch_id = s.stream.create(*ALL, start_revision=start)
        assert scenes.told(s.stream) == []
        s.stream.cancel(watch_id)
        last = s.stream.next()
        assert last is not None
        assert (last.canceled, last.resume_revision) == (True, start)


# ---- watch ids ----


def test_a_negative_watch_id_is_refused(s: Scene) -> None:
    """etcd 3.4, 3.10"""
    for number in NEGATIVE:
        words = f"watch_id {number}"
        s.refused(libwatch.InvalidArgumentError, words, s.stream.create, *ALL, watch_id=number)


def test_a_watch_id_in_use_is_refused(s: Scene) -> None:
    """etcd 3.9, 3.10, #14296"""
    error = libwatch.DuplicateWatchIdError
    s.refused(error, "watch id 7", s.stream.create, b"q", start_revision=1, watch_id=LIVE)


def test_a_watch_id_that_is_not_live_cannot_be_canceled(s: Scene) -> None:
    """etcd 9.1"""
    ended = s.stream.create(*ALL)
    s.stream.cancel(ended)
    assert scenes.told(s.stream) == [[]]
    for number in (ended, LIVE + 1, 0, -1, LOWEST, HIGHEST):
        s.refused(libwatch.WatchNotFoundError, f"watch id {number} ", s.stream.cancel, number)


# ---- compaction and sync ----


def test_compaction_of_the_past_is_refused(s: Scene) -> None:
    """etcd 10.1"""
    for past in (COMPACTED, COMPACTED - 1, 0, -1, LOWEST):
        words = f"revision {past} "
        error = s.refused(libwatch.CompactedError, words, s.store.compact, past, physical=True)
        assert error.compact_revision == COMPACTED


def test_compaction_of_the_present_is_accepted_once(s: Scene) -> None:
    """etcd 10.1, 10.5"""
    s.store.compact(CURRENT)
    assert (s.store.compact_revision, s.store.revision) == (CURRENT, CURRENT)
    assert [kv.key for kv in s.store.range(*ALL)] == [b"a", b"b", b"c"]
    s.refused(libwatch.CompactedError, "7", s.store.compact, CURRENT)


def test_compaction_of_the_future_is_refused(s: Scene) -> None:
    """etcd 10.1"""
    for revision in FUTURE:
        words = f"revision {revision} "
        error = s.refused(libwatch.FutureRevisionError, words, s.store.compact, revision)
        assert error.current_revision == CURRENT


def test_a_revision_that_was_never_written_cannot_be_synced(s: Scene) -> None:
    """etcd 8.1: what was not written cannot be waited for"""
    for revision in NEGATIVE:
        s.refused(libwatch.InvalidArgumentError, f"revision {revision}", s.store.sync, revision)
    for revision in FUTURE:
        words = f"revision {revision} "
        s.refused(libwatch.FutureRevisionError, words, s.store.sync, revision, timeout=1e300)
    assert s.unchanged(s.store.sync, timeout=1e300) >= CURRENT


def test_limits_and_bounds_of_a_range_may_be_any_number(s: Scene) -> None:
    """etcd 14.4, 14.5; a negative limit has no meaning and is refused here"""

    def count(**bounds: int) -> int:
        found = s.unchanged(s.store.range, b"a", b"z", **bounds)
        assert (found.count, found.more) == (3, False)
        return len(found)

    for low in NEGATIVE:
        s.refused(libwatch.InvalidArgumentError, f"limit {low}", s.store.range, b"a", limit=low)
        s.refused(libwatch.InvalidArgumentError, f"limit {low}", op.range, b"a", limit=low)
        assert count(min_mod_revision=low, min_create_revision=low) == 3
        assert count(max_mod_revision=low) == 0
        assert count(max_create_revision=low) == 0
    assert count(limit=HIGHEST, max_mod_revision=HIGHEST, max_create_revision=HIGHEST) == 3
    assert count(min_mod_revision=HIGHEST) == 0
    assert count(min_create_revision=HIGHEST) == 0


# ---- transactions and puts ----


def test_a_key_that_is_put_twice_is_refused(s: Scene) -> None:
    """etcd 14.12, 14.11"""
    first, second = op.put(b"x\n", b"1"), op.put(b"x\n", b"2")
    for operations in ([first, op.put(b"y", b""), second], [first, op.txn(success=[second])]):
        s.refused(libwatch.DuplicateKeyError, '"x\\n"', s.store.txn, success=operations)


def test_a_put_under_a_delete_is_refused(s: Scene) -> None:
    """etcd 14.12, 14.11"""
    put = op.put(b"b", b"1")
    for key, end in [(b"b", None), (b"a", b"c"), (b"a", b"\0"), ALL]:
        delete = op.delete(key, end)
        for operations in ([put, delete], [delete, op.txn(success=[put])]):
            s.refused(libwatch.DuplicateKeyError, '"b"', s.store.txn, success=operations)


def test_overlapping_deletes_are_accepted(s: Scene) -> None:
    """etcd 14.12, 1.11"""
    result = s.store.txn(success=[op.delete(b"a", b"c"), op.delete(b"b", b"\0"), op.delete(b"a")])
    assert (result.revision, s.store.stats()["delete_total"]) == (CURRENT + 1, 4)
    assert s.store.range(*ALL).count == 0
    gone = [(CURRENT + 1, "DELETE", key, b"") for key in (b"a", b"b", b"c")]
    assert scenes.events(s.stream) == scenes.events(s.witness) == gone


def test_values_and_leases_are_not_given_beside_what_ignores_them(s: Scene) -> None:
    """etcd 14.7, 14.11; there is no ignore_lease here"""
    error = libwatch.InvalidArgumentError
    s.refused(error, "ignore_value", s.store.put, b"a", b"2", ignore_value=True)
    lease: dict[str, Any] = {"lease": 2, "ignore_lease": True}
    s.refused(TypeError, "ignore_lease", s.store.put, b"a", b"2", **lease)
    operations = good(op.put(b"a", b"2", ignore_value=True))
    s.refused(error, "ignore_value", s.store.txn, success=operations)


def test_an_absent_key_has_nothing_to_keep(s: Scene) -> None:
    """etcd 14.7, 14.11"""
    error = libwatch.KeyNotFoundError
    s.refused(error, '"who\\n"', s.store.put, b"who\n", b"", ignore_value=True)
    s.refused(error, '"gone"', s.store.put, b"gone", b"", ignore_value=True)
    twice = [op.put(b"who\n", b""), op.put(b"who\n", b"", ignore_value=True)]
    s.refused(libwatch.DuplicateKeyError, '"who\\n"', s.store.txn, success=twice)
    operations = good(op.put(b"gone", b"", ignore_value=True))
    s.refused(error, '"gone"', s.store.txn, success=operations)


def test_a_long_key_in_an_error_is_cut(s: Scene) -> None:
    """etcd 14.12"""
    key = b"\xff" * 60_000
    put = op.put(key, b"")
    twice = s.refused(libwatch.DuplicateKeyError, "\\xff", s.store.txn, success=[put, put])
    keep = s.refused(libwatch.KeyNotFoundError, "\\xff", s.store.put, key, b"", ignore_value=True)
    assert len(str(twice)) < 500
    assert len(str(keep)) < 500


# ---- streams ----


def test_a_batch_of_nothing_is_refused(s: Scene) -> None:
    """etcd 8.16: a batch is one response or more"""
    for most in (0, -1, LOWEST):
        s.refused(libwatch.InvalidArgumentError, f"max = {most}", s.stream.next_batch, most)


def test_a_wait_may_be_as_long_as_numbers_go(s: Scene) -> None:
    """etcd 8.1: who waits as long as numbers go is woken all the same"""
    for value, timeout in ((b"4", 1e300), (b"5", float("inf")), (b"6", -1e300)):
        s.store.put(b"a", value)
        response = s.stream.next(timeout)
        assert response is not None
        assert response.events[0].value == value
    consumer = Thread(lambda: s.stream.next_batch(HIGHEST, 1e300)[0].events[0].value)
    s.store.put(b"a", b"7")
    assert consumer.result() == b"7"
    assert [event[3] for event in scenes.events(s.witness)] == [b"4", b"5", b"6", b"7"]


def test_a_callback_stream_has_no_consumer_and_no_descriptor(s: Scene) -> None:
    """etcd 9.5: what takes belongs to streams without a callback"""
    with s.store.watch_stream(callback=lambda response: None) as called:
        for call in (called.next, lambda: called.next_batch(1, 0), lambda: next(called)):
            assert s.refused(libwatch.WatchError, "callback", call).code == INVALID_STATE


def test_a_second_consumer_is_told_that_the_stream_is_busy(s: Scene) -> None:
    """etcd 4.2: responses of a stream have one order because one consumer takes them"""
    consumer = waiting(s.stream.next)
    until_busy(s.stream)
    s.refused(libwatch.BusyError, "stream", s.stream.next, 0)
    s.store.put(b"a", b"4")
    response = consumer.result()
    assert isinstance(response, libwatch.WatchResponse)
    assert [event.value for event in response] == [b"4"]
    assert s.stream.next(0) is None
    assert len(scenes.events(s.witness)) == 1


def test_unknown_filters_flags_and_numbers_are_refused(s: Scene) -> None:
    """etcd 6.1, 14.11; filters and sorts have names here, and flags are keywords"""
    error = libwatch.InvalidArgumentError
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("filter 'nope'", {"filters": ["nope"]}),
        ("filter 'NODELETE'", {"filters": ["noput", "NODELETE"]}),
        ("filter ''", {"filters": [""]}),
    ]
    for words, filters in wrong:
        s.refused(error, words, s.stream.create, *ALL, **filters)
        s.refused(error, words, s.store.watch, *ALL, **filters)
    sort: Any = "lease"
    s.refused(error, "sort 'lease'", s.store.range, *ALL, sort=sort)
    s.refused(error, "sort 'lease'", op.range, *ALL, sort=sort)
    durability: Any = "always"
    s.refused(error, "durability 'always'", libwatch.open, None, durability=durability)
    s.refused(error, "prefix", s.store.range, b"a", b"b", prefix=True)
    unknown: dict[str, Any] = {"sorted": True}
    s.refused(TypeError, "sorted", s.store.range, *ALL, **unknown)


# ---- closed handles ----


def refused_by_stream(s: Scene, closed: libwatch.WatchStream, words: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: closed.create(*ALL),
        lambda: closed.cancel(1),
        closed.request_progress,
        closed.next,
        lambda: closed.next_batch(9),
    ]
    for call in calls:
        s.refused(libwatch.ClosedError, words, call)
    with pytest.raises(StopIteration):
        next(closed)
    assert list(closed) == []


def test_a_closed_stream_answers_closed(s: Scene) -> None:
    """etcd 9.5, 9.1"""
    closed = s.store.watch_stream()
    closed.create(*ALL, start_revision=COMPACTED)
    closed.close()
    closed.close()
    refused_by_stream(s, closed, "the stream is closed")


def test_a_closed_store_answers_closed(s: Scene) -> None:
    """etcd 9.8, 11.5"""
    store = libwatch.open(None)
    store.put(b"a", b"1")
    ended, watch = store.watch_stream(), store.watch(b"a")
    ended.create(*ALL)
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.put(b"a", b"9"),
        lambda: store.get(b"a"),
        lambda: store.range(*ALL),
        lambda: store.delete(*ALL),
        store.txn,
        lambda: store.compact(CURRENT),
        store.sync,
        lambda: store.watch(b"a"),
        store.watch_stream,
        store.stats,
        watch.next,
        watch.request_progress,
    ]
    for call in calls:
        s.refused(libwatch.ClosedError, "the store is closed", call)
    refused_by_stream(s, ended, "the store is closed")
    assert list(watch.events()) == []
    assert (store.revision, store.compact_revision, store.closed) == (2, -1, True)


def test_closing_twice_does_nothing(tmp_path: Path) -> None:
    """etcd 9.5"""
    store = libwatch.open(tmp_path / "store")
    store.put(b"a", b"1")
    store.close()
    store.close()
    with libwatch.open(tmp_path / "store") as again:
        store.close()
        with store:
            pass
        assert again.put(b"a", b"2").revision == 3


def test_results_stay_valid_after_the_store_closed(tmp_path: Path) -> None:
    """etcd 5.1: what was given stays as it was given"""
    with libwatch.open(tmp_path / "store", durability="none") as store:
        store.put(b"a", b"1")
        found, pairs = store.get(b"a"), iter(store.range(*ALL))
        watch = store.watch(b"a", start_revision=1)
        response = watch.next()
    assert found is not None
    assert response is not None
    assert (found.key, found.value_view.tobytes(), found.mod_revision) == (b"a", b"1", 2)
    assert [kv.value for kv in pairs] == [event.value for event in response] == [b"1"]


# ---- folders ----


def test_a_path_that_is_no_folder_is_refused(s: Scene, tmp_path: Path) -> None:
    """etcd 11.1: only what a store wrote is restored"""
    file = tmp_path / "file"
    file.write_bytes(b"mine")
    for path in (file, file / "below"):
        assert s.refused(libwatch.StorageError, str(path), libwatch.open, path).code == IO
    for name in (f"{tmp_path}/no\0good", ""):
        assert s.refused(libwatch.StorageError, "open the store", libwatch.open, name).code == IO
    assert file.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [file]


def test_a_store_that_must_exist_is_not_made(s: Scene, tmp_path: Path) -> None:
    """etcd 11.1"""
    absent = tmp_path / "absent"
    for options in ({"create": False}, {"read_only": True}):
        error = s.refused(libwatch.StorageError, str(absent), libwatch.open, absent, **options)
        assert (error.code, error.errno) == (IO, errno.ENOENT)
    assert not absent.exists()


def test_a_store_that_is_open_is_locked(s: Scene, tmp_path: Path) -> None:
    """etcd 1.13: there is one writer"""
    with libwatch.open(tmp_path / "store") as holder:
        holder.put(b"a", b"1")
        s.refused(libwatch.LockedError, str(tmp_path / "store"), libwatch.open, tmp_path / "store")
        assert holder.put(b"a", b"2").revision == 3


def test_a_read_only_store_refuses_writes(s: Scene, tmp_path: Path) -> None:
    """etcd 11.1, 14.11"""
    with libwatch.open(tmp_path / "store") as store:
        store.put(b"a", b"1")
    with libwatch.open(tmp_path / "store", read_only=True) as reader:
        calls: list[Callable[[], object]] = [
            lambda: reader.put(b"a", b"2"),
            lambda: reader.delete(b"a"),
            lambda: reader.txn(success=[op.put(b"a", b"2")]),
            lambda: reader.compact(2),
        ]
        for call in calls:
            assert s.refused(libwatch.StorageError, "read-only", call).code == READ_ONLY
        assert (reader.revision, reader.compact_revision) == (2, -1)
        with reader.watch(b"a", start_revision=1) as watch:
            response = watch.next()
            assert response is not None
            assert [event.value for event in response] == [b"1"]


# ---- the list ----

TESTS = Path(__file__).parents[1]
LISTS = {
    "c": (["c/test_bad_input.c", "c/test_bad_state.c", "c/test_limits.c"], r"^  (?:SCENE|RUN)\((\w+)\);"),
    "rust": (["bad_input.rs", "bad_input/files.rs", "limits.rs"], r"#\[test\]\nfn (\w+)\("),
    "cpp": (["cpp/test_bad_input.cpp", "cpp/test_bad_state.cpp", "cpp/test_limits.cpp"], r"^TEST\((\w+)\)"),
    "python": (["python/test_bad_input.py", "python/test_limits.py"], r"^def test_(\w+)\("),
}
# What a language's types exclude, or what it would take too much memory to ask for.
ABSENT = {
    "rust": {"unknown_filters_flags_and_numbers_are_refused"},
    "cpp": {"a_transaction_has_up_to_1_gib"},
}
ONLY_C = {"limit_of_shared_and_circular_transactions", "limit_of_spans"}


def names(language: str) -> list[str]:
    files, pattern = LISTS[language]
    return [name for file in files for name in re.findall(pattern, (TESTS / file).read_text(), re.MULTILINE)]


@pytest.mark.parametrize("language", ["rust", "cpp", "python"])
def test_the_list_of_cases_is_the_same_in_every_language(language: str) -> None:
    """etcd 14.11 is promised to callers of all four languages alike"""
    cases = [name for name in names("c") if name not in ONLY_C]
    assert len(cases) == len(set(cases)) >= 47
    expected = [name for name in cases if name not in ABSENT.get(language, set())]
    assert [name for name in names(language) if name in cases] == expected
