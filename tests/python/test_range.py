"""Ranges: what a range returns, and RangeResult as a sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

import libwatch


@pytest.fixture
def filled(store: libwatch.Store) -> libwatch.Store:
    """Revisions 2 to 6: a, b, c, b again, ab."""
    for key, value in ((b"a", b"3"), (b"b", b"1"), (b"c", b"2"), (b"b", b"4"), (b"ab", b"5")):
        store.put(key, value)
    return store


def keys(result: libwatch.RangeResult) -> list[bytes]:
    return [kv.key for kv in result]


def test_what_key_and_range_end_mean(filled: libwatch.Store) -> None:
    assert keys(filled.range(b"a")) == [b"a"]
    assert keys(filled.range(b"a", b"b")) == [b"a", b"ab"]
    assert keys(filled.range(b"b", b"\0")) == [b"b", b"c"]
    assert keys(filled.range(b"a", prefix=True)) == [b"a", b"ab"]
    assert keys(filled.range(b"", prefix=True)) == [b"a", b"ab", b"b", b"c"]
    assert keys(filled.range(b"c", b"a")) == []
    assert keys(filled.range("a", "b")) == [b"a", b"ab"]


def test_prefix_end() -> None:
    assert libwatch.prefix_end(b"a") == b"b"
    assert libwatch.prefix_end("a/") == b"a0"
    assert libwatch.prefix_end(b"a\xff") == b"b"
    assert libwatch.prefix_end(b"\xff\xff") == b"\0"
    assert libwatch.prefix_end(b"") == b"\0"


def test_limit_and_count(filled: libwatch.Store) -> None:
    result = filled.range(b"\0", b"\0", limit=2)
    assert (keys(result), result.count, result.more, result.revision) == ([b"a", b"ab"], 4, True, 6)
    result = filled.range(b"\0", b"\0", limit=4)
    assert (len(result), result.more) == (4, False)
    result = filled.range(b"\0", b"\0", count_only=True)
    assert (keys(result), result.count, result.more) == ([], 4, False)


def test_keys_only(filled: libwatch.Store) -> None:
    result = filled.range(b"\0", b"\0", keys_only=True)
    assert [(kv.key, kv.value) for kv in result] == [(b"a", b""), (b"ab", b""), (b"b", b""), (b"c", b"")]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("key", [b"a", b"ab", b"b", b"c"]),
        ("create", [b"a", b"b", b"c", b"ab"]),
        ("mod", [b"a", b"c", b"b", b"ab"]),
        ("value", [b"c", b"a", b"b", b"ab"]),
    ],
)
def test_sort(filled: libwatch.Store, sort: libwatch.SortTarget, expected: list[bytes]) -> None:
    assert keys(filled.range(b"\0", b"\0", sort=sort)) == expected
    assert keys(filled.range(b"\0", b"\0", sort=sort, descending=True)) == expected[::-1]


def test_sort_by_version(filled: libwatch.Store) -> None:
    assert filled.range(b"\0", b"\0", sort="version", descending=True)[0].key == b"b"


def test_an_older_revision(filled: libwatch.Store) -> None:
    result = filled.range(b"\0", b"\0", revision=3)
    assert ([kv.value for kv in result], result.revision) == ([b"3", b"1"], 6)


def test_bounds_on_revisions(filled: libwatch.Store) -> None:
    assert keys(filled.range(b"\0", b"\0", min_mod_revision=5)) == [b"ab", b"b"]
    assert keys(filled.range(b"\0", b"\0", max_mod_revision=4)) == [b"a", b"c"]
    assert keys(filled.range(b"\0", b"\0", min_create_revision=4)) == [b"ab", b"c"]
    assert keys(filled.range(b"\0", b"\0", max_create_revision=3)) == [b"a", b"b"]
    assert filled.range(b"\0", b"\0", max_create_revision=3).count == 4


def test_a_result_is_a_sequence(filled: libwatch.Store) -> None:
    result = filled.range(b"\0", b"\0")
    kvs = list(result)
    assert isinstance(result, Sequence)
    assert len(result) == 4
    assert [result[i] for i in range(-4, 4)] == kvs + kvs
    assert result[1:3] == kvs[1:3]
    assert result[::-2] == kvs[::-2]
    assert result[10:] == []
    assert list(reversed(result)) == kvs[::-1]
    assert kvs[2] in result
    assert b"b" not in result
    assert result.index(kvs[2]) == 2
    assert result.index(kvs[2], -2) == 2
    for wrong in (4, -5, 2**62):
        with pytest.raises(IndexError):
            result[wrong]
    with pytest.raises(ValueError, match="not in"):
        result.index(kvs[2], 0, 2)
    with pytest.raises(TypeError):
        result["a"]  # type: ignore[call-overload]
    assert not filled.range(b"none")


def test_pairs_are_equal_by_content(filled: libwatch.Store) -> None:
    one, two = filled.get(b"a"), filled.range(b"a")[0]
    assert one == two
    assert hash(one) == hash(two)
    assert len({one, two}) == 1
    assert one != filled.get(b"b")
    assert one != b"a"
    filled.put(b"a", b"3")
    assert one != filled.get(b"a")


def test_pairs_are_immutable(filled: libwatch.Store) -> None:
    kv = filled.get(b"a")
    assert kv is not None
    assert kv.key is kv.key
    with pytest.raises(AttributeError):
        kv.value = b""  # type: ignore[misc]


@pytest.mark.parametrize(
    ("attempt", "names"),
    [
        (lambda store: store.range(b"a", limit=-1), "limit"),
        (lambda store: store.range(b"a", b"b", prefix=True), "prefix"),
        (lambda store: store.delete(b"a", b"b", prefix=True), "prefix"),
        (lambda store: store.watch(b"a", b"b", prefix=True), "prefix"),
        (lambda store: store.range(b"a", sort="size"), "size"),
    ],
)
def test_contradictions_are_refused(
    memory: libwatch.Store, attempt: Callable[[libwatch.Store], object], names: str
) -> None:
    with pytest.raises(libwatch.InvalidArgumentError, match=names):
        attempt(memory)
