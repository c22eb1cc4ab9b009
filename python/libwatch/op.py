"""Operations of a transaction: what `Store.txn` does as one revision.

The arguments are those of the Store method of the same name and are checked when the operation is made.
Values are not copied if they are bytes. Nothing here touches a store, blocks, or depends on a thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from libwatch import _libwatch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from libwatch._libwatch import Compare, Op
    from libwatch._types import BytesLike, SortTarget

__all__ = ["delete", "get", "put", "range", "txn"]


def put(
    key: BytesLike,
    value: BytesLike,
    *,
    prev_kv: bool = False,
    ignore_value: bool = False,
    lease: int = 0,
) -> Op:
    """Writes a key; its result is a PutResult."""
    return _libwatch.op_put(key, value, prev_kv, ignore_value, lease)


def delete(
    key: BytesLike,
    range_end: BytesLike | None = None,
    *,
    prefix: bool = False,
    prev_kv: bool = False,
) -> Op:
    """Deletes a key or a range; its result is a DeleteResult."""
    return _libwatch.op_delete(key, range_end, prefix, prev_kv)


def range(
    key: BytesLike,
    range_end: BytesLike | None = None,
    *,
    prefix: bool = False,
    revision: int = 0,
    limit: int = 0,
    keys_only: bool = False,
    count_only: bool = False,
    sort: SortTarget = "key",
    descending: bool = False,
    min_mod_revision: int = 0,
    max_mod_revision: int = 0,
    min_create_revision: int = 0,
    max_create_revision: int = 0,
) -> Op:
    """Reads a key or a range and sees what earlier operations of the transaction wrote; its result is a
    RangeResult. Here a negative revision is refused as compacted."""
    bounds = (min_mod_revision, max_mod_revision, min_create_revision, max_create_revision)
    return _libwatch.op_range(
        key, range_end, prefix, (revision, limit, *bounds), sort, descending, keys_only, count_only
    )


def get(key: BytesLike, *, revision: int = 0) -> Op:
    """Reads one key; its result is a RangeResult with the key or with nothing."""
    return range(key, revision=revision)


def txn(
    *,
    compare: Iterable[Compare] = (),
    success: Iterable[Op] = (),
    failure: Iterable[Op] = (),
) -> Op:
    """A transaction inside; its compares see the state before the outermost one began. Its result is a
    TxnResult."""
    return _libwatch.op_txn(compare, success, failure)
