"""The compiled half of package libwatch. Import from `libwatch`.

Keys and values go in as bytes, any buffer, or str (encoded as UTF-8) and come out as bytes. Unless a method
says otherwise it may be called from any thread at any time, and it runs without the GIL where it can wait
or lock. Every method of an object that was opened before a fork raises WatchError with code -62 in the child.
"""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Never, Self, final, overload

from libwatch._types import BytesLike, Durability, EventType, Filter, SortTarget
from libwatch.watch import Watch

__version__: str
abi_version: int

def open(
    path: str | PathLike[str] | None,
    *,
    create: bool = True,
    read_only: bool = False,
    durability: Durability = "commit",
    sync_interval: float = 0.01,
    progress_interval: float = 600.0,
    segment_bytes: int | None = None,
    fragment_bytes: int | None = None,
    txn_ops_max: int | None = None,
    auto_compaction_revisions: int | None = None,
    auto_compaction_period: float | None = None,
) -> Store:
    """Opens a store. Waits for recovery.

    Args:
        path: a folder that belongs to the store alone; None for a store in memory, without files.
        create: make the store if it does not exist.
        read_only: refuse every write; the store must exist.
        durability: what a write has survived when it returns, and when readers and watches may see it.
            "commit": power loss; concurrent writes share a sync. "interval": a crash of this process, and
            power loss after `sync_interval`. "none": a crash of this process.
        sync_interval: seconds between two syncs with durability "interval".
        progress_interval: seconds between periodic progress notifications, at least 0.1.
        segment_bytes: size of one file of the log, 65536 to 2**30; None: 64 MiB.
        fragment_bytes: keys and values of a response after which a watch with `fragment` gets it in parts;
            None: 2 MiB.
        txn_ops_max: operations in one list of a transaction, to 65535; None: 128.
        auto_compaction_revisions: compact without being asked, so that at least so many revisions are kept,
            and at most a tenth or 100 more; None: do not.
        auto_compaction_period: the same by age: keep what is younger than so many seconds, at least 0.1. Only
            one of the two.

    Raises:
        LockedError: the store is open elsewhere, in this process or another.
        CorruptError: the files are not what was written.
        StorageError: the system refused (`errno`), another format version (code -45), or a filesystem that
            cannot be trusted with a store (-47).
        InvalidArgumentError, LimitError
    """

def prefix_end(prefix: BytesLike, /) -> bytes:
    """The `range_end` of the range that holds every key starting with `prefix`. The empty prefix, and one
    of 0xff bytes alone, give b"\\0": every key from `key` on."""

@final
class KeyValue:
    """A key with the state it had at one revision. Immutable; equal if all its members are.

    `key` and `value` copy once, on first use. The `_view` forms never copy: they are read-only and keep the
    log segment mapped for as long as they, or anything sliced from them, live, also after the store was
    closed or the segment's file dropped by a compaction.
    """

    @property
    def key(self) -> bytes: ...
    @property
    def value(self) -> bytes:
        """Empty where only keys were asked for, and in DELETE events."""
    @property
    def key_view(self) -> memoryview: ...
    @property
    def value_view(self) -> memoryview: ...
    @property
    def create_revision(self) -> int:
        """The revision that created the key; 0 in DELETE events."""
    @property
    def mod_revision(self) -> int:
        """The revision of this change."""
    @property
    def version(self) -> int:
        """The number of puts since the key was created; 0 in DELETE events."""
    @property
    def lease(self) -> int:
        """The number given with the put; carried, never interpreted."""
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Event:
    """One change of one key. Immutable; equal if all its members are."""

    __match_args__ = ("type", "kv", "prev_kv")
    @property
    def type(self) -> EventType: ...
    @property
    def kv(self) -> KeyValue:
        """The key after the change. A DELETE sets only its key and mod_revision."""
    @property
    def prev_kv(self) -> KeyValue | None:
        """The key before the change; None unless asked for, for a key's first version, and for the revision
        at the compaction itself."""
    @property
    def is_create(self) -> bool:
        """A PUT that brought the key into being."""
    @property
    def is_modify(self) -> bool:
        """A PUT that changed an existing key."""
    # Short for those of kv.
    @property
    def key(self) -> bytes: ...
    @property
    def value(self) -> bytes: ...
    @property
    def mod_revision(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class RangeResult(Sequence[KeyValue]):
    """The pairs a range found, as a sequence. They stay valid after the store was closed."""

    @property
    def revision(self) -> int:
        """The store's revision when it was read, not the one asked for."""
    @property
    def count(self) -> int:  # type: ignore[override]  # etcd's name wins over Sequence.count
        """The keys in the range, whatever the limit and the bounds on revisions."""
    @property
    def more(self) -> bool:
        """Whether the limit cut the answer."""
    @overload
    def __getitem__(self, index: int, /) -> KeyValue: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[KeyValue]: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[KeyValue]: ...
    def __reversed__(self) -> Iterator[KeyValue]: ...
    def __contains__(self, value: object, /) -> bool: ...
    def index(self, value: object, start: int = 0, stop: int | None = None) -> int: ...

@final
class PutResult:
    @property
    def revision(self) -> int:
        """The revision of the put."""
    @property
    def prev_kv(self) -> KeyValue | None:
        """The key as it was before, if that was asked for and it existed."""

@final
class DeleteResult:
    @property
    def revision(self) -> int:
        """The revision of the delete, or the store's if nothing was deleted."""
    @property
    def deleted(self) -> int:
        """The number of keys deleted."""
    @property
    def prev_kvs(self) -> list[KeyValue]:
        """The keys as they were before, in key order, if asked for."""

@final
class TxnResult:
    """True if the compares held."""

    @property
    def revision(self) -> int:
        """The revision of the transaction, or the store's if it changed nothing."""
    @property
    def succeeded(self) -> bool:
        """Whether the compares held."""
    @property
    def results(self) -> list[PutResult | RangeResult | DeleteResult | TxnResult]:
        """One for each operation of the branch that ran, in order."""
    def __bool__(self) -> bool: ...

@final
class BackupReport:
    """What a copy of a store holds."""

    @property
    def revision(self) -> int:
        """The copy has everything up to this revision."""
    @property
    def fork_revision(self) -> int:
        """Where the copy is once it was opened for writing; its next write has the revision after it."""
    @property
    def bytes(self) -> int:
        """Bytes of log and base."""

@final
class VerifyReport:
    """What a sound store holds."""

    @property
    def revision(self) -> int: ...
    @property
    def compact_revision(self) -> int:
        """-1 before the first compaction."""
    @property
    def closed(self) -> bool:
        """The last writer closed the store; False after a crash, which a sound store survives."""
    @property
    def key_count(self) -> int:
        """Keys that exist now."""
    @property
    def base_key_count(self) -> int:
        """Keys in the base: what compaction kept of the past."""
    @property
    def transaction_count(self) -> int:
        """Transactions in the log."""
    @property
    def change_count(self) -> int:
        """Their changes."""
    @property
    def bytes(self) -> int:
        """Bytes of log and base."""
    @property
    def torn_bytes(self) -> int:
        """Bytes behind the last record: a crash left them, and the next writer clears them."""
    @property
    def segment_count(self) -> int: ...
    @property
    def base_part_count(self) -> int: ...
    @property
    def manifest_copies(self) -> int:
        """Intact copies of the manifest, of four."""

def verify(path: str | PathLike[str]) -> VerifyReport:
    """Checks the closed store in the folder `path`: every checksum, every number that follows from others,
    and that an index built anew agrees. Changes nothing.

    Raises:
        CorruptError: it is damaged; the message names file and offset.
        LockedError: it is open.
        StorageError: it is not there, cannot be read, or has another format version (code -45).
    """

@final
class Compare:
    """One condition of a transaction. Made by `libwatch.compare`; immutable; has no truth value."""

    def __bool__(self) -> Never: ...

@final
class Op:
    """One operation of a transaction. Made by `libwatch.op`; immutable."""

@final
class Store:
    """An open store. Thread-safe; every call that can wait releases the GIL; there is no global state.

    It is closed by `close()`, at the end of `with`, or when the last reference to it and to its watches and
    streams goes. Results and responses stay valid after that.

    Raised by every method after `close()`: ClosedError. Raised by every write: StorageError (code -44 where
    the store is read-only, -41 where the disk is full), PoisonedError after a failed write or sync.
    """

    @property
    def revision(self) -> int:
        """The newest visible revision; 1 for an empty store. Never waits; works after close."""
    @property
    def compact_revision(self) -> int:
        """The revision of the last compaction; -1 before the first. Never waits; works after close."""
    @property
    def durable_revision(self) -> int:
        """Everything up to this revision is on disk. Never waits; works after close."""
    def put(
        self,
        key: BytesLike,
        value: BytesLike,
        *,
        prev_kv: bool = False,
        ignore_value: bool = False,
        lease: int = 0,
    ) -> PutResult:
        """Writes a key. Waits for the writer before it and, with durability "commit", for the sync.

        Args:
            key: 1 to 65535 bytes.
            value: up to 64 MiB.
            prev_kv: return the key as it was before.
            ignore_value: keep the value; `value` must be empty and the key must exist.
            lease: a number kept with the key.

        Raises EmptyKeyError, LimitError, InvalidArgumentError, KeyNotFoundError.
        """
    def get(self, key: BytesLike, *, revision: int = 0) -> KeyValue | None:
        """One key at a revision (0: now), or None. Never waits for writers. Raises EmptyKeyError,
        CompactedError, FutureRevisionError."""
    def range(
        self,
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
    ) -> RangeResult:
        """Reads a key or a range. Never waits for writers.

        Args:
            key: the first key.
            range_end: the first key that is out; b"\\0": every key from `key` on; None: only `key`.
            prefix: every key that starts with `key`; excludes `range_end`.
            revision: read at this revision; 0: now.
            limit: most keys to return; 0: all.
            keys_only: leave the values empty.
            count_only: return only the count.
            sort: what to sort by.
            descending: largest first.
            min_mod_revision, max_mod_revision, min_create_revision, max_create_revision: leave out keys
                outside, both ends inclusive; 0: no bound. `count` does not follow them.

        Raises:
            EmptyKeyError, CompactedError, FutureRevisionError
            InvalidArgumentError: a negative limit, an unknown sort, or `range_end` beside `prefix`.
        """
    def delete(
        self,
        key: BytesLike,
        range_end: BytesLike | None = None,
        *,
        prefix: bool = False,
        prev_kv: bool = False,
    ) -> DeleteResult:
        """Deletes a key or a range, as one revision; waits like `put`. Nothing there is no error. Raises
        EmptyKeyError, InvalidArgumentError."""
    def txn(
        self,
        *,
        compare: Iterable[Compare] = (),
        success: Iterable[Op] = (),
        failure: Iterable[Op] = (),
    ) -> TxnResult:
        """If all of `compare` hold, runs `success`, otherwise `failure`: as one revision, or none if nothing
        changes. Waits like `put`.

        Raises, and then nothing is changed:
            DuplicateKeyError: it would change a key twice.
            LimitError: more than 128 operations in a list, nested deeper than 32, or over 1 GiB.
        """
    def compact(self, revision: int, *, physical: bool = False) -> None:
        """Forgets the history before `revision`: durable on return; reads and watches below raise
        CompactedError from then on. With `physical` it also waits for the space to be given back.

        Raises CompactedError if that was done, FutureRevisionError if it was not written yet.
        """
    def backup(self, path: str | PathLike[str]) -> BackupReport:
        """Copies the store as it is now to a store of its own in the new folder `path`, while reads, writes
        and watches go on. The copy is checked before it gets its name; after an exception nothing is at
        `path`.

        The copy is a fork: so that no revision ever names two things, its first writer goes on at
        `fork_revision`, far above this store. To move a store rather than fork it, close it and copy the
        folder.

        Raises StorageError (with `errno` EEXIST if there is something at `path`), CorruptError, ClosedError.
        """
    def sync(self, revision: int = 0, *, timeout: float | None = None) -> int:
        """Waits until everything up to `revision` (0: now) is on disk, and returns the durable revision.

        Raises:
            TimeoutError: the built-in one; `timeout` seconds passed while another thread was syncing.
            FutureRevisionError: not written yet.
        """
    def watch(
        self,
        key: BytesLike,
        range_end: BytesLike | None = None,
        *,
        prefix: bool = False,
        start_revision: int = 0,
        prev_kv: bool = False,
        progress_notify: bool = False,
        fragment: bool = False,
        filters: Iterable[Filter] = (),
        callback: Callable[[WatchResponse], object] | None = None,
    ) -> Watch:
        """Watches a key or a range, on a stream of its own. Does not wait; wrong arguments raise here.

        Args:
            key, range_end, prefix: as in `range`. An empty key without prefix is the key b"\\0".
            start_revision: replay history from this revision on, inclusive; 0: from now on. A start that was
                compacted raises CompactedError where the first response is taken.
            prev_kv: give each event the key as it was before.
            progress_notify: give a response without events from time to time while nothing happens.
            fragment: let the store hand large responses over in parts; they are joined again.
            filters: leave out "noput" or "nodelete".
            callback: called with each response, one at a time, on a daemon thread of libwatch: events,
                progress, and at last one with `canceled`. An exception in it goes to sys.unraisablehook and
                cancels the watch. The watch goes on, also without references to it, until it is cancelled.
        """
    def watch_stream(
        self,
        *,
        batch_revisions: int = 1000,
        batch_bytes: int = 1 << 20,
        callback: Callable[[WatchResponse], object] | None = None,
    ) -> WatchStream:
        """Opens a stream for many watches.

        Args:
            batch_revisions: most revisions in one response.
            batch_bytes: keys and values after which a response is cut, at a revision's end.
            callback: called with each raw response, as in `watch`; an exception in it cancels the watch the
                response is of.
        """
    def stats(self) -> dict[str, int]:
        """Numbers for operators, named as in `watch_store_stats` of watch.h. Walks over all watches."""
    def close(self) -> None:
        """Ends the streams, syncs, gives the lock back, and waits for running callbacks unless called from
        one. Idempotent.

        Raises:
            StorageError: the last sync failed; the store is closed all the same.
        """
    @property
    def closed(self) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...
    def __reduce__(self) -> Never:
        """A store cannot be pickled: open it again in the other process."""

@final
class WatchResponse:
    """One delivery: whole revisions, in order. len() and iteration are over the events; always true.

    Independent of the life of stream and store: its events stay valid.
    """

    @property
    def watch_id(self) -> int:
        """-1 for the answer to `request_progress`."""
    @property
    def revision(self) -> int:
        """The store's revision, as in etcd's header; NOT a point to resume from."""
    @property
    def resume_revision(self) -> int:
        """The `start_revision` that continues exactly after this; 0 on a fragment that others follow and
        on the last response that a callback gets when its store is closed."""
    @property
    def compact_revision(self) -> int:
        """The oldest legal start where the watch was cancelled by a compaction, else 0."""
    @property
    def created(self) -> bool:
        """The first response of a watch that asked for it."""
    @property
    def canceled(self) -> bool:
        """The last response of this watch id."""
    @property
    def cancel_reason(self) -> str:
        """One line; empty if the user asked, and where the watch was not cancelled."""
    @property
    def cancel_code(self) -> int:
        """The number beside `cancel_reason`, that of the exception class (-20 compacted); else 0."""
    @property
    def is_progress_notify(self) -> bool:
        """No events; everything up to `revision` was delivered."""
    @property
    def fragment(self) -> bool:
        """More of the same response follows; only on a WatchStream."""
    @property
    def events(self) -> Sequence[Event]: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def __iter__(self) -> Iterator[Event]: ...

@final
class WatchStream(Iterator[WatchResponse], AsyncIterator[WatchResponse]):
    """Many watches, one queue; the raw responses (created, canceled, progress, fragments). Never raises for
    the end of a single watch.

    One consumer at a time, thread or task, else BusyError; everything else from any thread. With a callback
    the methods that take raise WatchError with code -2. A stream holds its store open. Without a callback
    it ends when the last reference to it goes.
    """

    def create(
        self,
        key: BytesLike,
        range_end: BytesLike | None = None,
        *,
        prefix: bool = False,
        watch_id: int = 0,
        start_revision: int = 0,
        prev_kv: bool = False,
        progress_notify: bool = False,
        fragment: bool = False,
        created_notify: bool = False,
        filters: Iterable[Filter] = (),
    ) -> int:
        """Adds a watch and returns its id; the arguments are those of `Store.watch`, and:

            watch_id: a positive id that is not in use on this stream; 0: the stream chooses.
            fragment: large responses come in parts, all but the last with `fragment`.
            created_notify: give a response with `created` before anything else.

        Raises EmptyRangeError, DuplicateWatchIdError, InvalidArgumentError, LimitError, ClosedError.
        """
    def cancel(self, watch_id: int) -> None:
        """Ends a watch; after its response with `canceled` nothing of it follows. Raises WatchNotFoundError,
        ClosedError."""
    def request_progress(self) -> None:
        """Asks for one response with `is_progress_notify` and watch id -1, given as soon as every watch of
        the stream was delivered everything up to now. Does not wait. Raises LimitError, ClosedError."""
    def next(self, timeout: float | None = None) -> WatchResponse | None:
        """Waits for the next response; None if `timeout` seconds passed first. 0 or less does not wait, None
        waits without limit; Ctrl-C ends the wait. Raises BusyError, and ClosedError where the stream or its
        store is closed; at the interpreter's exit every stream is."""
    def next_batch(self, max: int, timeout: float | None = None) -> list[WatchResponse]:
        """Waits like `next` for the first response, then takes what is ready, up to `max` in all. Empty if
        the timeout passed first."""
    def fileno(self) -> int:
        """A descriptor that is readable exactly while a response is queued or the stream has ended. Only poll
        it; it belongs to the stream."""
    def close(self) -> None:
        """Ends the stream; its consumer gets ClosedError, or StopIteration. Idempotent. With a callback it
        also waits for a running one, unless it is called from one."""
    def __next__(self) -> WatchResponse: ...
    def __anext__(self) -> Coroutine[Any, Any, WatchResponse]: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...
    def _consumer(self) -> Consumer: ...

# For the Python half of the package.

@final
class Consumer:
    def poll(self) -> WatchResponse | None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None, /
    ) -> None: ...

def close_streams() -> None: ...
def error_codes() -> list[tuple[int, str]]: ...
def make_compare(
    target: str, relation: str, key: BytesLike, range_end: BytesLike | None, prefix: bool, operand: object
) -> Compare: ...
def op_delete(key: BytesLike, range_end: BytesLike | None, prefix: bool, prev_kv: bool) -> Op: ...
def op_put(key: BytesLike, value: BytesLike, prev_kv: bool, ignore_value: bool, lease: int) -> Op: ...
def op_range(
    key: BytesLike,
    range_end: BytesLike | None,
    prefix: bool,
    numbers: tuple[int, int, int, int, int, int],
    sort: str,
    descending: bool,
    keys_only: bool,
    count_only: bool,
) -> Op: ...
def op_txn(compare: Iterable[Compare], success: Iterable[Op], failure: Iterable[Op]) -> Op: ...
def rest_of(response: WatchResponse, count: int) -> WatchResponse: ...
def write_unraisable(error: BaseException, source: object) -> None: ...
