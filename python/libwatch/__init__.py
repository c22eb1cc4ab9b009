"""etcd's watch without a server: an embedded revision log with a watch engine.

    import libwatch

    with libwatch.open("state") as store:
        store.put("/jobs/1", b"queued")
        with store.watch("/jobs/", prefix=True, start_revision=1) as watch:
            for event in watch.events():
                print(event.type, event.key, event.value)

Keys and values go in as bytes, any buffer, or str (encoded as UTF-8) and come out as bytes. Every call may
come from any thread, and a call that can wait lets other Python threads run meanwhile. Errors are the
classes below `WatchError`; each has `code`, the number of the C status of the same name. Times are seconds,
sizes bytes.
"""

from collections.abc import Sequence

from libwatch import compare, op
from libwatch._libwatch import (
    BackupReport,
    Compare,
    DeleteResult,
    Event,
    KeyValue,
    Op,
    PutResult,
    RangeResult,
    Store,
    TxnResult,
    VerifyReport,
    WatchResponse,
    WatchStream,
    __version__,
    abi_version,
    open,
    prefix_end,
    verify,
)
from libwatch._types import BytesLike, Durability, EventType, Filter, SortTarget
from libwatch.errors import (
    BusyError,
    ClosedError,
    CompactedError,
    CorruptError,
    DuplicateKeyError,
    DuplicateWatchIdError,
    EmptyKeyError,
    EmptyRangeError,
    FutureRevisionError,
    InvalidArgumentError,
    KeyNotFoundError,
    LimitError,
    LockedError,
    PoisonedError,
    StorageError,
    WatchError,
    WatchNotFoundError,
)
from libwatch.watch import Watch

Sequence.register(RangeResult)

__all__ = [
    "BackupReport",
    "BusyError",
    "BytesLike",
    "ClosedError",
    "CompactedError",
    "Compare",
    "CorruptError",
    "DeleteResult",
    "DuplicateKeyError",
    "DuplicateWatchIdError",
    "Durability",
    "EmptyKeyError",
    "EmptyRangeError",
    "Event",
    "EventType",
    "Filter",
    "FutureRevisionError",
    "InvalidArgumentError",
    "KeyNotFoundError",
    "KeyValue",
    "LimitError",
    "LockedError",
    "Op",
    "PoisonedError",
    "PutResult",
    "RangeResult",
    "SortTarget",
    "StorageError",
    "Store",
    "TxnResult",
    "VerifyReport",
    "Watch",
    "WatchError",
    "WatchNotFoundError",
    "WatchResponse",
    "WatchStream",
    "__version__",
    "abi_version",
    "compare",
    "op",
    "open",
    "prefix_end",
    "verify",
]
