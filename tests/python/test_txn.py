"""Transactions: compares, operations, nesting and refusals."""

from __future__ import annotations

import pytest

import libwatch
from libwatch import compare, op
from support import summary, take_events


def test_a_transaction_is_one_revision(store: libwatch.Store) -> None:
    with store.watch(b"\0", b"\0") as watch:
        result = store.txn(success=[op.put(b"a", b"1"), op.put(b"b", b"2")])
        assert (result.revision, result.succeeded, bool(result)) == (2, True, True)
        assert summary(take_events(watch, 2)) == [("PUT", b"a", b"1", 2), ("PUT", b"b", b"2", 2)]


def test_the_compares_choose_the_branch(store: libwatch.Store) -> None:
    def locked() -> libwatch.TxnResult:
        return store.txn(
            compare=[compare.version(b"lock") == 0],
            success=[op.put(b"lock", b"mine")],
            failure=[op.get(b"lock")],
        )

    assert locked()
    result = locked()
    assert not result
    (found,) = result.results
    assert isinstance(found, libwatch.RangeResult)
    assert found[0].value == b"mine"
    assert (result.revision, store.revision) == (2, 2)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (compare.version(b"a") == 2, True),
        (compare.version(b"a") != 2, False),
        (compare.version(b"a") > 1, True),
        (compare.version(b"a") < 2, False),
        (compare.create_revision(b"a") == 2, True),
        (compare.mod_revision(b"a") == 3, True),
        (compare.value(b"a") == b"two", True),
        (compare.value("a") == "two", True),
        (compare.value(b"a") > b"tw", True),
        (compare.lease(b"a") == 9, True),
        (2 == compare.version(b"a"), True),  # noqa: SIM300
        (1 < compare.version(b"a"), True),  # noqa: SIM300
        (compare.version(b"none") == 0, True),
        (compare.mod_revision(b"none") == 0, True),
        (compare.value(b"none") == b"", False),
        (compare.value(b"none") != b"x", False),
        (compare.version(b"a", prefix=True) > 0, True),
        (compare.version(b"a", b"c") == 2, False),
        (compare.version(b"x", b"z") == 0, True),
    ],
)
def test_compares(memory: libwatch.Store, condition: libwatch.Compare, holds: bool) -> None:
    memory.put(b"a", b"one")
    memory.put(b"a", b"two", lease=9)
    memory.put(b"b", b"three")
    assert memory.txn(compare=[condition]).succeeded is holds


def test_every_operation_has_its_result(store: libwatch.Store) -> None:
    store.put(b"b", b"old")
    result = store.txn(
        success=[
            op.put(b"a", b"1", prev_kv=True),
            op.range(b"\0", b"\0", sort="mod", descending=True),
            op.delete(b"b", prev_kv=True),
            op.txn(compare=[compare.version(b"b") == 1], success=[op.get(b"a")]),
        ]
    )
    put, ranged, deleted, nested = result.results
    assert isinstance(put, libwatch.PutResult)
    assert (put.revision, put.prev_kv) == (3, None)
    assert isinstance(ranged, libwatch.RangeResult)
    assert [kv.key for kv in ranged] == [b"a", b"b"]
    assert isinstance(deleted, libwatch.DeleteResult)
    assert [kv.value for kv in deleted.prev_kvs] == [b"old"]
    assert isinstance(nested, libwatch.TxnResult)
    assert nested.succeeded
    (inner,) = nested.results
    assert isinstance(inner, libwatch.RangeResult)
    assert inner[0].value == b"1"
    assert repr(result) == "<TxnResult succeeded=True, revision=3, 4 results>"


def test_a_transaction_without_effect_takes_no_revision(store: libwatch.Store) -> None:
    assert store.txn().revision == 1
    assert store.txn(success=[op.delete(b"a"), op.get(b"a")]).revision == 1
    assert store.revision == 1


def test_a_key_changes_once(store: libwatch.Store) -> None:
    for operations in (
        [op.put(b"a", b"1"), op.put(b"a", b"2")],
        [op.put(b"ab", b"1"), op.delete(b"a", prefix=True)],
        [op.put(b"a", b"1"), op.txn(success=[op.put(b"a", b"2")])],
    ):
        with pytest.raises(libwatch.DuplicateKeyError):
            store.txn(success=operations)
    assert store.revision == 1


def test_a_failed_operation_changes_nothing(store: libwatch.Store) -> None:
    with pytest.raises(libwatch.FutureRevisionError):
        store.txn(success=[op.put(b"a", b"1"), op.get(b"b", revision=99)])
    assert store.get(b"a") is None
    with pytest.raises(libwatch.KeyNotFoundError):
        store.txn(success=[op.put(b"a", b"", ignore_value=True)])
    assert store.revision == 1


def test_parts_can_be_used_again(store: libwatch.Store) -> None:
    write = op.put(b"a", b"1")
    condition = compare.version(b"a") < 2
    assert [store.txn(compare=[condition], success=[write]).succeeded for _ in range(3)] == [
        True,
        True,
        False,
    ]


def test_parts_come_from_any_iterable(store: libwatch.Store) -> None:
    store.txn(success=(op.put(bytes([byte]), b"") for byte in range(1, 5)))
    assert len(store.range(b"\0", b"\0")) == 4


def test_misuse_of_compare_is_refused(memory: libwatch.Store) -> None:
    with pytest.raises(TypeError, match="txn"):
        bool(compare.version(b"a") == 0)
    with pytest.raises(TypeError, match="half a condition"):
        bool(compare.version(b"a"))
    with pytest.raises(TypeError):
        0 < compare.version(b"a") < 5  # noqa: B015
    with pytest.raises(TypeError):
        compare.version(b"a") == b"0"  # noqa: B015
    with pytest.raises(TypeError):
        compare.value(b"a") == 0  # noqa: B015
    with pytest.raises(TypeError):
        compare.version(b"a") >= 0  # type: ignore[operator]  # noqa: B015
    with pytest.raises(TypeError):
        hash(compare.version(b"a"))
    with pytest.raises(TypeError, match=r"compare: expected what libwatch\.compare makes, not 'Operand'"):
        memory.txn(compare=[compare.version(b"a")])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"compare: .* not 'bool'"):
        memory.txn(compare=[True])  # type: ignore[list-item]


def test_misuse_of_op_is_refused(memory: libwatch.Store) -> None:
    with pytest.raises(TypeError, match=r"success: .* not 'bytes'"):
        memory.txn(success=[b"a"])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        memory.txn(success=op.put(b"a", b"1"))  # type: ignore[arg-type]
    with pytest.raises(libwatch.InvalidArgumentError, match="limit"):
        op.range(b"a", limit=-1)
    with pytest.raises(libwatch.InvalidArgumentError, match="sort"):
        op.range(b"a", sort="size")  # type: ignore[arg-type]
    with pytest.raises(libwatch.InvalidArgumentError, match="prefix"):
        op.delete(b"a", b"b", prefix=True)


def test_repr_of_parts() -> None:
    assert repr(compare.value(b"a", b"b") != "x") == "<Compare value(b'a', b'b') != b'x'>"
    assert repr(compare.version(b"a")) == "<Operand version(b'a')>"
    assert repr(op.put("a", "b")) == "<Op put(b'a', b'b')>"
    assert repr(op.range("a", prefix=True)) == "<Op range(b'a', b'b')>"
    assert repr(op.delete("a")) == "<Op delete(b'a')>"
    assert repr(op.txn(success=[op.get("a")])) == "<Op txn of 0 compares, 1 and 0 operations>"
