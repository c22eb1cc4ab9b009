//! The store as its users hold it: opening, the operations, streams and closing. No algorithm lives here.

use std::os::fd::RawFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::mvcc::{DeleteRangeResult, Mvcc, PutResult, RangeResult, TxnResult};
use crate::options::{StoreOptions, StreamOptions};
use crate::os::file::Dir;
use crate::os::memory::MemDir;
use crate::os::real::RealDir;
use crate::report;
use crate::request::{CreateRequest, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest};
use crate::watch::{self, Hub, Response, ResponseFn};

/// An open store. Cheap to clone; every call may come from any thread. Dropping the last handle closes it.
///
/// ```
/// use libwatch::{CreateRequest, PutRequest, Store, StoreOptions, StreamOptions};
///
/// let store = Store::open_in_memory(&StoreOptions::default())?;
/// let stream = store.stream(&StreamOptions::default())?;
/// stream.create(&CreateRequest { key: b"/app/", range_end: b"/app0", ..Default::default() })?;
/// store.put(&PutRequest { key: b"/app/mode", value: b"fast", ..Default::default() })?;
/// let response = stream.next(None)?.expect("without a timeout there is a response");
/// assert_eq!(response.event(0).kv.value, b"fast");
/// # Ok::<(), libwatch::Error>(())
/// ```
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    mvcc: Arc<Mvcc>,
    hub: Arc<Hub>,
}

impl Inner {
    fn close(&self) -> Result<()> {
        if self.mvcc.is_forked() {
            return Ok(());
        }
        self.hub.close();
        self.mvcc.close()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.mvcc.is_forked() {
            // Threads and locks of the parent are not here to be taken down: a bounded leak in the child.
            std::mem::forget((self.mvcc.clone(), self.hub.clone()));
            return;
        }
        let _ = self.close();
    }
}

impl Store {
    /// Opens the store in the directory `path`, which belongs to it alone. Blocks for recovery.
    ///
    /// # Errors
    /// `Locked` if it is open elsewhere, in this process or another; `Corrupt`, `Format`, `Filesystem`, `Io`,
    /// `NoSpace`; `Limit` for an option out of its bounds.
    pub fn open(path: impl AsRef<Path>, options: &StoreOptions) -> Result<Store> {
        let options = options.checked()?;
        let dir = RealDir::open(path.as_ref(), options.create && !options.read_only)
            .map_err(|error| Error::io(format_args!("open the store {}", path.as_ref().display()), &error))?;
        Self::open_in(Arc::new(dir), options)
    }

    /// A store without files; everything else is the same. It is gone when it is closed.
    ///
    /// # Errors
    /// `Limit` for an option out of its bounds, `NoMemory`.
    pub fn open_in_memory(options: &StoreOptions) -> Result<Store> {
        let options = options.checked()?;
        Self::open_in(MemDir::new(), options)
    }

    fn open_in(dir: Arc<dyn Dir>, options: StoreOptions) -> Result<Store> {
        let mvcc = Mvcc::open(dir, options)?;
        report::say(report::LOG_INFO, format_args!("store opened at revision {}", mvcc.revision()));
        let hub = Hub::new(mvcc.clone());
        Ok(Store { inner: Arc::new(Inner { mvcc, hub }) })
    }

    /// Ends every stream, syncs and gives the lock back. Consumers in `next` get `Closed`; each watch of a callback
    /// stream gets a last response with `Closed`, then the callback is dropped. Blocks for running callbacks,
    /// that of the calling thread aside. Results and responses stay valid. A second call does nothing.
    ///
    /// # Errors
    /// `Io`, `NoSpace` or `Poisoned` if the last sync failed; the store is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }

    /// For what is built on stores.
    pub(crate) fn mvcc(&self) -> &Mvcc {
        &self.inner.mvcc
    }

    /// Whether the store was closed.
    pub fn is_closed(&self) -> bool {
        self.inner.mvcc.is_closed()
    }

    /// The newest revision that is visible; 1 for an empty store. Never blocks.
    pub fn revision(&self) -> i64 {
        self.inner.mvcc.revision()
    }

    /// The revision of the last compaction; -1 before the first. Never blocks.
    pub fn compact_revision(&self) -> i64 {
        self.inner.mvcc.compact_revision()
    }

    /// Everything up to this revision is on disk. Never blocks.
    pub fn durable_revision(&self) -> i64 {
        self.inner.mvcc.durable_revision()
    }

    /// Waits until everything up to `revision` (0: up to now) is on disk; answers the durable revision, or `None`
    /// if `timeout` passed first (`None`: no limit).
    ///
    /// # Errors
    /// `FutureRevision`, `InvalidArgument` for a negative revision, `Io`, `NoSpace`, `Poisoned`, `Closed`.
    pub fn sync(&self, revision: i64, timeout: Option<Duration>) -> Result<Option<i64>> {
        self.inner.mvcc.sync(revision, timeout)
    }

    /// Writes one key. Blocks for the writer lock and, with [`crate::Durability::Commit`], for the sync.
    ///
    /// # Errors
    /// `EmptyKey`, `Limit`, `InvalidArgument`, `KeyNotFound` (`ignore_value`, `ignore_lease`), `ReadOnly`,
    /// `NoSpace`, `Io`, `Poisoned`, `Closed`.
    pub fn put(&self, request: &PutRequest<'_>) -> Result<PutResult> {
        self.inner.mvcc.put(request)
    }

    /// One key at `revision`, 0 for now: no pair or one.
    ///
    /// # Errors
    /// As [`Store::range`].
    pub fn get(&self, key: &[u8], revision: i64) -> Result<RangeResult> {
        self.inner.mvcc.get(key, revision)
    }

    /// Reads a key or a range, now or at an older revision. Never waits for writers.
    ///
    /// # Errors
    /// `EmptyKey`, `Limit`, `Compacted`, `FutureRevision`, `Closed`.
    pub fn range(&self, request: &RangeRequest<'_>) -> Result<RangeResult> {
        self.inner.mvcc.range(request)
    }

    /// Deletes a key or a range. Blocks as [`Store::put`].
    ///
    /// # Errors
    /// `EmptyKey`, `Limit`, `ReadOnly`, `NoSpace`, `Io`, `Poisoned`, `Closed`.
    pub fn delete_range(&self, request: &DeleteRangeRequest<'_>) -> Result<DeleteRangeResult> {
        self.inner.mvcc.delete_range(request)
    }

    /// Runs a transaction: one revision, or none if it changes nothing. Blocks as [`Store::put`].
    ///
    /// # Errors
    /// Those of its operations, and `DuplicateKey` if it would change a key twice. Nothing is changed then.
    pub fn txn(&self, request: &TxnRequest<'_>) -> Result<TxnResult> {
        self.inner.mvcc.txn(request)
    }

    /// Forgets the history before `revision`: durable when it returns, reads and watches below fail from then on.
    /// With `physical` it also waits for the space to be given back.
    ///
    /// # Errors
    /// `Compacted` if that was done already, `FutureRevision`, `ReadOnly`, `NoSpace`, `Io`, `Poisoned`, `Closed`.
    pub fn compact(&self, revision: i64, physical: bool) -> Result<()> {
        self.inner.mvcc.compact(revision, physical)
    }

    /// Opens a stream whose responses are taken with [`Stream::next`].
    ///
    /// # Errors
    /// `Closed`.
    pub fn stream(&self, options: &StreamOptions) -> Result<Stream> {
        Stream::open(&self.inner.hub, options, None)
    }

    /// Opens a stream whose responses go to a callback, on threads of the library.
    ///
    /// # Errors
    /// `Closed`, `Io` if the system gives no thread; the callback is dropped then.
    pub fn stream_with_callback(&self, options: &StreamOptions, on_response: ResponseFn) -> Result<Stream> {
        Stream::open(&self.inner.hub, options, Some(on_response))
    }

    /// Numbers for operators. Walks over all watches.
    ///
    /// # Errors
    /// `Closed`.
    pub fn stats(&self) -> Result<StoreStats> {
        let (mvcc, hub) = (&self.inner.mvcc, &self.inner.hub);
        mvcc.check_open()?;
        let (counts, totals) = (hub.counts(), mvcc.totals());
        Ok(StoreStats {
            revision: mvcc.revision(),
            compact_revision: mvcc.compact_revision(),
            durable_revision: mvcc.durable_revision(),
            oldest_watch_revision: counts.oldest_revision,
            key_count: mvcc.key_count() as u64,
            log_bytes: mvcc.log.log_bytes(),
            pinned_bytes: mvcc.log.pinned_bytes(),
            stream_count: counts.streams,
            watch_count: counts.watches,
            watch_synced_count: counts.synced,
            watch_unsynced_count: counts.unsynced,
            watch_victim_count: counts.victims,
            put_total: totals.puts,
            delete_total: totals.deletes,
            txn_total: totals.txns,
            sync_total: totals.syncs,
            event_delivered_total: hub.delivered(),
            record_read_total: hub.records_read(),
        })
    }
}

/// Numbers for operators, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// The newest visible revision.
    pub revision: i64,
    /// The last compaction, or -1.
    pub compact_revision: i64,
    /// Everything up to here is on disk.
    pub durable_revision: i64,
    /// The next revision of the watch that is furthest behind; 0 if there is none.
    pub oldest_watch_revision: i64,
    /// Keys in the index: those that exist, and deleted ones whose history is kept.
    pub key_count: u64,
    /// Bytes of log and base on disk.
    pub log_bytes: u64,
    /// Bytes dropped by compaction that a result or response still holds.
    pub pinned_bytes: u64,
    /// Open streams.
    pub stream_count: u64,
    /// Live watches.
    pub watch_count: u64,
    /// Watches that wait for the next change.
    pub watch_synced_count: u64,
    /// Watches that read the log.
    pub watch_unsynced_count: u64,
    /// Watches whose callback answered "not now".
    pub watch_victim_count: u64,
    /// Puts committed since opening.
    pub put_total: u64,
    /// Keys deleted since opening.
    pub delete_total: u64,
    /// Transactions committed since opening.
    pub txn_total: u64,
    /// Syncs of the log since opening.
    pub sync_total: u64,
    /// Events handed to consumers since opening.
    pub event_delivered_total: u64,
    /// Records of the log read for watches since opening: once for all live watches together, and again for those
    /// that catch up.
    pub record_read_total: u64,
}

/// Many watches, one ordered series of responses. Cheap to clone; every call may come from any thread, `next` from
/// one at a time. Dropping the last handle closes it.
#[derive(Clone)]
pub struct Stream {
    inner: Arc<StreamInner>,
}

struct StreamInner(Arc<watch::Stream>);

impl Drop for StreamInner {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Stream {
    fn open(hub: &Arc<Hub>, options: &StreamOptions, callback: Option<ResponseFn>) -> Result<Stream> {
        let stream = watch::Stream::open(hub, options, callback)?;
        Ok(Stream { inner: Arc::new(StreamInner(stream)) })
    }

    /// Creates a watch and answers its id. May be called from callbacks. A start below the compaction is no error:
    /// the watch is canceled at once by a response.
    ///
    /// # Errors
    /// `EmptyRange`, `DuplicateWatchId`, `InvalidArgument` (negative start or id), `Limit`, `Closed`.
    pub fn create(&self, request: &CreateRequest<'_>) -> Result<i64> {
        self.inner.0.create(request)
    }

    /// Ends a watch. What was queued before is delivered, then one canceled response, then nothing of this watch.
    ///
    /// # Errors
    /// `WatchNotFound`, `Closed`.
    pub fn cancel(&self, watch_id: i64) -> Result<()> {
        self.inner.0.cancel(watch_id)
    }

    /// Asks for one progress response with id [`watch::WATCH_ID_NONE`], given as soon as every watch of the stream
    /// (those waiting for a future revision aside) has been delivered everything up to now.
    ///
    /// # Errors
    /// `Limit` if too many requests wait, `Closed`.
    pub fn request_progress(&self) -> Result<()> {
        self.inner.0.request_progress()
    }

    /// The next response. Waits up to `timeout`, `None` without limit; answers `None` if it passed. While a watch
    /// reads old history, that says nothing about what is still to come: a progress request does.
    ///
    /// # Errors
    /// `Closed`, `Busy` if another thread is inside, `InvalidState` on a callback stream.
    pub fn next(&self, timeout: Option<Duration>) -> Result<Option<Response>> {
        self.inner.0.next(timeout)
    }

    /// Waits as [`Stream::next`] for the first response, then takes what is ready, up to `max` in all.
    ///
    /// # Errors
    /// As [`Stream::next`]; `InvalidArgument` for a `max` of 0.
    pub fn next_batch(&self, max: usize, timeout: Option<Duration>) -> Result<Vec<Response>> {
        self.inner.0.next_batch(max, timeout)
    }

    /// A descriptor that is readable exactly while a response is queued or the stream has ended. Made on first use
    /// and owned by the stream: only poll it.
    ///
    /// # Errors
    /// `InvalidState` on a callback stream, `Io` if the system has no descriptor or thread.
    pub fn fd(&self) -> Result<RawFd> {
        self.inner.0.fd()
    }

    /// Wakes the consumer with `Closed` and stops the callbacks. Never waits for them.
    pub fn shutdown(&self) {
        self.inner.0.shutdown();
    }

    /// Shuts down, waits for a running callback and drops it. From inside the stream's own callback it returns at
    /// once, and the rest happens when the callback returns. Two callbacks that close each other's streams wait
    /// for each other for ever: use [`Stream::shutdown`] there.
    pub fn close(&self) {
        self.inner.0.close();
    }
}
