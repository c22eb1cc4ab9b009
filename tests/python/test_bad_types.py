"""What only Python can get wrong: values of another type, numbers that have no 64 bits, odd buffers, and
objects whose store, stream or watch has ended. Each is told by name and changes nothing."""

from __future__ import annotations

import array
import asyncio
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import libwatch
import scene as scenes
from libwatch import compare, op
from scene import COMPACTED, CURRENT, LIVE, Scene
from support import SECONDS

NO_BYTES: list[Any] = [1, 1.5, None, True, ["a"], object(), {"a": 1}, range(3)]
NO_INTEGER: list[Any] = [1.0, "1", None, b"1", math.nan, [1]]
NO_BOOL: list[Any] = [1, 0, None, "no", 0.0]
BEYOND: list[Any] = [2**63, -(2**63) - 1, 2**64, 10**30]


@pytest.fixture
def s() -> Iterator[Scene]:
    with scenes.scene() as scene:
        yield scene


@pytest.mark.parametrize("wrong", NO_BYTES, ids=repr)
def test_keys_and_values_are_bytes_buffers_or_str(s: Scene, wrong: Any) -> None:
    """etcd 14.11"""
    kind = type(wrong).__name__
    words = f"expected bytes, a buffer or str, not '{kind}'"
    calls: list[Callable[[], object]] = [
        lambda: s.store.put(wrong, b"v"),
        lambda: s.store.put(b"k", wrong),
        lambda: s.store.get(wrong),
        lambda: s.store.range(wrong, b"z"),
        lambda: s.store.delete(wrong),
        lambda: s.store.watch(wrong),
        lambda: s.stream.create(wrong),
        lambda: libwatch.prefix_end(wrong),
        lambda: op.put(wrong, b""),
        lambda: op.delete(wrong),
        lambda: op.get(wrong),
        lambda: compare.version(wrong) == 0,
        lambda: compare.value(b"k") == wrong,
    ]
    if wrong is not None:
        calls += [lambda: s.store.range(b"a", wrong), lambda: s.store.delete(b"a", wrong)]
    for call in calls:
        s.refused(TypeError, words, call)


@pytest.mark.parametrize(
    ("wrong", "error"), [(n, TypeError) for n in NO_INTEGER] + [(n, OverflowError) for n in BEYOND]
)
def test_numbers_are_integers_of_64_bits(s: Scene, wrong: Any, error: type[Exception]) -> None:
    """etcd 14.11; the error's note names the argument"""
    s.refused(error, "'revision'", s.store.get, b"a", revision=wrong)
    s.refused(error, "'lease'", s.store.put, b"a", b"", lease=wrong)
    s.refused(error, "'limit'", s.store.range, b"a", limit=wrong)
    s.refused(error, "'max_create_revision'", s.store.range, b"a", max_create_revision=wrong)
    s.refused(error, "'revision'", s.store.compact, wrong)
    s.refused(error, "'revision'", s.store.sync, wrong)
    s.refused(error, "'start_revision'", s.store.watch, b"a", start_revision=wrong)
    s.refused(error, "'watch_id'", s.stream.create, b"a", watch_id=wrong)
    s.refused(error, "'watch_id'", s.stream.cancel, wrong)
    s.refused(error, "'max'", s.stream.next_batch, wrong)
    s.refused(error, "'batch_bytes'", s.store.watch_stream, batch_bytes=wrong)
    words = "interpreted as an integer" if error is TypeError else "int too large"
    s.refused(error, words, lambda: compare.mod_revision(b"a") == wrong)
    s.refused(error, words, op.get, b"a", revision=wrong)
    if wrong is not None:
        s.refused(error, "'segment_bytes'", libwatch.open, None, segment_bytes=wrong)


def test_a_bool_is_an_integer_as_everywhere_in_python(s: Scene) -> None:
    """etcd 14.2: True is revision 1, which is compacted, and False is now"""
    s.refused(libwatch.CompactedError, "revision 1 ", s.store.get, b"a", revision=True)
    assert s.unchanged(s.store.get, b"a", revision=False).value == b"3"
    s.refused(libwatch.WatchNotFoundError, "watch id 1 ", s.stream.cancel, True)


@pytest.mark.parametrize("wrong", NO_BOOL, ids=repr)
def test_flags_are_bools(s: Scene, wrong: Any) -> None:
    """etcd 14.11: a 0 or a name in the place of a flag is a mistake"""
    s.refused(TypeError, "'prev_kv'", s.store.put, b"a", b"", prev_kv=wrong)
    s.refused(TypeError, "'ignore_value'", s.store.put, b"a", b"", ignore_value=wrong)
    s.refused(TypeError, "'prefix'", s.store.delete, b"a", prefix=wrong)
    s.refused(TypeError, "'keys_only'", s.store.range, b"a", keys_only=wrong)
    s.refused(TypeError, "'physical'", s.store.compact, CURRENT, physical=wrong)
    s.refused(TypeError, "'fragment'", s.stream.create, b"a", fragment=wrong)
    s.refused(TypeError, "'create'", libwatch.open, None, create=wrong)


def test_times_are_numbers(s: Scene) -> None:
    """etcd 8.1"""
    wrong: Any
    for wrong in ("1", b"1", [], 1j):
        s.refused(TypeError, "'timeout'", s.stream.next, wrong)
        s.refused(TypeError, "'timeout'", s.store.sync, timeout=wrong)
        s.refused(TypeError, "'sync_interval'", libwatch.open, None, sync_interval=wrong)
    s.refused(libwatch.InvalidArgumentError, "timeout", s.stream.next, math.nan)
    s.refused(libwatch.InvalidArgumentError, "timeout", s.store.sync, timeout=math.nan)
    s.refused(OverflowError, "'timeout'", s.stream.next, 10**400)


def test_names_lists_and_functions_are_what_they_are(s: Scene) -> None:
    """etcd 6.1, 14.11"""
    wrong: Any
    for wrong in (None, 1, b"key", ["key"]):
        s.refused(TypeError, "'sort'", s.store.range, b"a", sort=wrong)
        s.refused(TypeError, "'durability'", libwatch.open, None, durability=wrong)
    s.refused(TypeError, "filters is a list of names", s.stream.create, b"a", filters="noput")
    for wrong in ([1], [None], [b"noput"]):
        s.refused(TypeError, "is not an instance of 'str'", s.stream.create, b"a", filters=wrong)
    s.refused(TypeError, "not iterable", s.stream.create, b"a", filters=1)
    for wrong in (1, "print", b"", []):
        s.refused(TypeError, "callback: expected something callable", s.store.watch, b"a", callback=wrong)
        s.refused(TypeError, "callback: expected something callable", s.store.watch_stream, callback=wrong)
    for wrong in (1, 1.5, [], object()):
        s.refused(TypeError, "path", libwatch.open, wrong)


def test_parts_of_a_transaction_are_made_by_op_and_compare(s: Scene) -> None:
    """etcd 14.9, 14.11"""
    put, holds = op.put(b"x", b""), compare.version(b"a") == 2
    wrong: Any
    for wrong in ([True], [put], [compare.version(b"a")], [None], ["a"]):
        s.refused(TypeError, "compare: expected what libwatch.compare makes", s.store.txn, compare=wrong)
    for wrong in ([True], [put, holds], [None], [(b"k", b"v")]):
        s.refused(TypeError, "success: expected what libwatch.op makes", s.store.txn, success=wrong)
        s.refused(TypeError, "failure: expected what libwatch.op makes", s.store.txn, failure=wrong)
    for wrong in (put, 1, True):
        s.refused(TypeError, "not iterable", s.store.txn, success=wrong)
    s.refused(TypeError, "half a condition", lambda: bool(compare.version(b"a")))
    s.refused(TypeError, "no truth value", lambda: bool(holds))

    def parts() -> Iterator[libwatch.Op]:
        yield put
        raise ZeroDivisionError("in the middle")

    s.refused(ZeroDivisionError, "in the middle", s.store.txn, success=parts())


def test_text_that_is_no_utf_8_is_refused(s: Scene) -> None:
    """etcd 14.11"""
    s.refused(UnicodeEncodeError, "'key'", s.store.put, "\udc80", b"")
    s.refused(UnicodeEncodeError, "'value'", s.store.put, "k", "\ud800")
    s.refused(UnicodeEncodeError, "surrogates", op.put, "\udc80", b"")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (bytearray(b"b1"), b"b1"),
        (memoryview(b"b2"), b"b2"),
        (memoryview(b"_b_3_")[1::2], b"b3"),
        (memoryview(b"4b")[::-1], b"b4"),
        (memoryview(bytearray(range(6))).cast("B", (2, 3)), bytes(range(6))),
        (array.array("H", [0x6262, 0x3535]), b"bb55"),
        (memoryview(b""), b""),
        ("b\u00e4", b"b\xc3\xa4"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_any_buffer_is_copied_in_its_own_order(s: Scene, given: Any, meant: bytes) -> None:
    """etcd 5.1: also where its bytes do not stand side by side, or are changed after the call"""
    key = given if meant else b"empty"
    s.store.put(key, given)
    if isinstance(given, bytearray | array.array):
        given[0] = 0
    kv = s.store.get(meant or b"empty")
    assert kv is not None
    assert kv.value == meant
    for stream in (s.stream, s.witness):
        assert scenes.events(stream) == [(CURRENT + 1, "PUT", meant or b"empty", meant)]


def test_a_buffer_that_was_released_is_refused(s: Scene) -> None:
    """etcd 14.11"""
    view = memoryview(bytearray(b"key"))
    view.release()
    s.refused(TypeError, "'memoryview'", s.store.put, view, b"")


def test_iterators_of_what_has_ended_end(s: Scene) -> None:
    """etcd 9.2, 9.5"""
    with s.store.watch(b"a", start_revision=COMPACTED) as watch:
        whole, single = iter(watch), watch.events()
        assert next(single).value == b"3"
        watch.cancel()
        watch.cancel()
    for ended in (whole, single, watch.events(), iter(watch)):
        assert list(ended) == []
    s.refused(libwatch.ClosedError, "closed", watch.next)
    s.refused(libwatch.ClosedError, "the stream is closed", watch.request_progress)
    pairs = iter(s.store.range(b"\0", b"\0"))
    assert [kv.key for kv in pairs] == [b"a", b"b", b"c"]
    assert list(pairs) == []


def test_asynchronous_iterators_of_what_has_ended_end(s: Scene) -> None:
    """etcd 9.5, 9.8"""

    async def gather(watch: libwatch.Watch, stream: libwatch.WatchStream) -> list[object]:
        return [
            *[event async for event in watch.aevents()],
            *[response async for response in watch],
            *[response async for response in stream],
        ]

    with libwatch.open(None) as store:
        watch, stream = store.watch(b"a"), store.watch_stream()
        stream.create(b"a")
    assert asyncio.run(asyncio.wait_for(gather(watch, stream), SECONDS)) == []
    ended, closed = s.store.watch(b"a"), s.store.watch_stream()
    ended.cancel()
    closed.close()
    assert asyncio.run(asyncio.wait_for(gather(ended, closed), SECONDS)) == []


def test_watches_of_different_streams_are_strangers(s: Scene) -> None:
    """etcd 3.9: ids belong to a stream"""
    with s.store.watch_stream() as other:
        assert other.create(b"q", watch_id=LIVE) == LIVE
        s.refused(libwatch.WatchNotFoundError, "watch id 1 ", other.cancel, 1)
        other.cancel(LIVE)
        s.refused(libwatch.WatchNotFoundError, "watch id 7 ", other.cancel, LIVE)
