"""The exceptions of libwatch. Each class has `code`, the number of the C status of the same name.

An error whose number has no class of its own is a `StorageError` if its number is one of the storage's (-40
to -59), otherwise a `WatchError`; `code` tells which it is.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "BusyError",
    "ClosedError",
    "CompactedError",
    "CorruptError",
    "DuplicateKeyError",
    "DuplicateWatchIdError",
    "EmptyKeyError",
    "EmptyRangeError",
    "FutureRevisionError",
    "InvalidArgumentError",
    "KeyNotFoundError",
    "LimitError",
    "LockedError",
    "PoisonedError",
    "StorageError",
    "WatchError",
    "WatchNotFoundError",
]

INVALID_STATE: Final = -2


class WatchError(Exception):
    """Base of all, and the class of errors without one of their own (-61: an internal error was contained,
    -62: the handle was opened before a fork)."""

    code: int = 0


class InvalidArgumentError(WatchError, ValueError):
    """An argument has a value that no call accepts."""

    code = -1


class ClosedError(WatchError):
    """The store or the stream is closed."""

    code = -5


class BusyError(WatchError):
    """Somebody else waits on the same stream; one consumer at a time."""

    code = -6


class LimitError(WatchError, ValueError):
    """A documented bound was exceeded; nothing was changed."""

    code = -7


class CompactedError(WatchError):
    """The revision was compacted. Read the present state, then watch from its revision on."""

    code = -20
    compact_revision: int
    """The oldest revision that can still be asked for."""

    def __init__(self, message: str = "", compact_revision: int = 0) -> None:
        super().__init__(message)
        self.compact_revision = compact_revision


class FutureRevisionError(WatchError):
    """The revision has not been written yet."""

    code = -21
    current_revision: int
    """The store's revision at that moment."""

    def __init__(self, message: str = "", current_revision: int = 0) -> None:
        super().__init__(message)
        self.current_revision = current_revision


class EmptyKeyError(WatchError, ValueError):
    """The key is empty."""

    code = -22


class EmptyRangeError(WatchError, ValueError):
    """`range_end` is not above `key`."""

    code = -23


class KeyNotFoundError(WatchError, LookupError):
    """`ignore_value` on a key that does not exist."""

    code = -24


class DuplicateKeyError(WatchError):
    """One transaction would change a key twice."""

    code = -25


class DuplicateWatchIdError(WatchError):
    """The chosen watch id is in use on this stream."""

    code = -26


class WatchNotFoundError(WatchError, LookupError):
    """No live watch has this id on this stream."""

    code = -27


class StorageError(WatchError, OSError):
    """The storage failed or refused. `errno` is set where the system gave one, else None."""

    code = -40

    def __str__(self) -> str:
        return str(self.strerror if self.strerror is not None else OSError.__str__(self))


class CorruptError(StorageError):
    """Bytes on disk are not what was written."""

    code = -42


class LockedError(StorageError):
    """Another opener, in this process or another, has the store."""

    code = -43


class PoisonedError(StorageError):
    """An earlier write or sync failed; open the store again."""

    code = -46


_CLASSES: Final[dict[int, type[WatchError]]] = {
    kind.code: kind
    for kind in (
        InvalidArgumentError,
        ClosedError,
        BusyError,
        LimitError,
        CompactedError,
        FutureRevisionError,
        EmptyKeyError,
        EmptyRangeError,
        KeyNotFoundError,
        DuplicateKeyError,
        DuplicateWatchIdError,
        WatchNotFoundError,
        StorageError,
        CorruptError,
        LockedError,
        PoisonedError,
    )
}
_STORAGE_CODES: Final = range(-59, -39)


def error_from_code(code: int, message: str, os_error: int = 0, revision: int = 0) -> WatchError:
    """The exception for a C status number.

    Args:
        code: the number.
        message: one line for a person.
        os_error: errno, or 0.
        revision: for compacted the oldest revision, for future revision the current one.
    """
    kind = _CLASSES.get(code, StorageError if code in _STORAGE_CODES else WatchError)
    error: WatchError
    if issubclass(kind, CompactedError | FutureRevisionError):
        error = kind(message, revision)
    elif issubclass(kind, StorageError) and os_error:
        error = kind(os_error, message)
    else:
        error = kind(message)
    if error.code != code:
        error.code = code
    return error
