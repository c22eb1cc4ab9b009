"""Conditions of a transaction.

Each function names something stored; comparing it with `==`, `!=`, `<` or `>` makes the condition:

    store.txn(compare=[version(b"k") == 0, value(b"m") != b"x"], success=[...])

Without `range_end` and `prefix` the condition is about one key. With one of them it holds if every key in the
range passes, and a range without keys counts as one absent key. An absent key has version, revisions and
lease 0; a condition on its value never holds, not even `!=`. Nothing here touches a store, blocks, or
depends on a thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Never, TypeVar

from libwatch import _libwatch

if TYPE_CHECKING:
    from libwatch._libwatch import Compare
    from libwatch._types import BytesLike

__all__ = ["Operand", "create_revision", "lease", "mod_revision", "value", "version"]

T = TypeVar("T")


class Operand(Generic[T]):
    """One side of a condition; compare it to make the condition. It has no other use."""

    __slots__ = ("_key", "_prefix", "_range_end", "_target")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, target: str, key: BytesLike, range_end: BytesLike | None, prefix: bool) -> None:
        self._target = target
        self._key = key
        self._range_end = range_end
        self._prefix = prefix

    def _compare(self, relation: str, operand: T) -> Compare:
        return _libwatch.make_compare(
            self._target, relation, self._key, self._range_end, self._prefix, operand
        )

    def __eq__(self, operand: T) -> Compare:  # type: ignore[override]
        return self._compare("==", operand)

    def __ne__(self, operand: T) -> Compare:  # type: ignore[override]
        return self._compare("!=", operand)

    def __lt__(self, operand: T) -> Compare:
        return self._compare("<", operand)

    def __gt__(self, operand: T) -> Compare:
        return self._compare(">", operand)

    def __bool__(self) -> Never:
        raise TypeError(f"{self!r} is half a condition: compare it with ==, !=, < or >")

    def __repr__(self) -> str:
        return f"<Operand {self._target}({self._key!r})>"


def version(key: BytesLike, range_end: BytesLike | None = None, *, prefix: bool = False) -> Operand[int]:
    """The number of puts since the key was created; 0 where it is absent."""
    return Operand("version", key, range_end, prefix)


def create_revision(
    key: BytesLike, range_end: BytesLike | None = None, *, prefix: bool = False
) -> Operand[int]:
    """The revision that created the key; 0 where it is absent."""
    return Operand("create_revision", key, range_end, prefix)


def mod_revision(key: BytesLike, range_end: BytesLike | None = None, *, prefix: bool = False) -> Operand[int]:
    """The revision that last changed the key; 0 where it is absent."""
    return Operand("mod_revision", key, range_end, prefix)


def value(key: BytesLike, range_end: BytesLike | None = None, *, prefix: bool = False) -> Operand[BytesLike]:
    """The value, compared as bytes."""
    return Operand("value", key, range_end, prefix)


def lease(key: BytesLike, range_end: BytesLike | None = None, *, prefix: bool = False) -> Operand[int]:
    """The lease number the key was put with; 0 for none."""
    return Operand("lease", key, range_end, prefix)
