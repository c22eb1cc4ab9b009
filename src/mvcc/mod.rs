//! Layer 4: the multi-version store. One writer turns requests into records; readers see the newest published
//! revision or any older one down to the compaction. Watches are not known here: whoever waits for new
//! revisions waits on the publication.

mod auto;
mod check;
mod commit;
mod compact;
pub mod publish;
mod read;
mod result;
mod syncer;
mod txn;
mod write;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use result::key_value;
pub use result::{DeleteRangeResult, OpResult, PutResult, RangeResult, TxnResult};

use crate::error::{Error, ErrorCode, Result};
use crate::index::KeyIndex;
use crate::log::{Change, Log, LogOptions, OpenReport, OpenVisitor, Record, SegmentTable};
use crate::options::{Durability, StoreOptions};
use crate::os::file::Dir;
use crate::os::fork;
use crate::report::{self, LOG_INFO, LOG_WARN};
use crate::request::RangeRequest;
use auto::AutoCompactor;
use commit::Commits;
use compact::Compactor;
use publish::Publication;
use syncer::Syncer;
use write::Writer;

/// The multi-version store over one log. See the module.
pub struct Mvcc {
    pub(crate) log: Arc<Log>,
    pub(crate) index: KeyIndex,
    pub(crate) publication: Publication,
    options: StoreOptions,
    read_only: bool,
    writer: Mutex<Writer>,
    commits: Commits,
    syncer: Syncer,
    compactor: Compactor,
    auto: AutoCompactor,
    /// See [`Mvcc::on_reclaim`].
    on_reclaim: OnceLock<Box<dyn Fn() + Send + Sync>>,
    compact_revision: AtomicI64,
    /// Revisions that a crash took: those strictly between the two of a pair were never given out again (D9).
    jumps: Vec<(i64, i64)>,
    /// Held shared by every read; the swap at the end of a compaction takes it alone.
    gate: RwLock<()>,
    closed: AtomicBool,
    born: u64,
    put_total: AtomicU64,
    delete_total: AtomicU64,
    txn_total: AtomicU64,
}

/// Counters for the statistics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Puts committed, those of transactions among them.
    pub puts: u64,
    /// Keys deleted.
    pub deletes: u64,
    /// Transactions committed.
    pub txns: u64,
    /// Syncs of the log.
    pub syncs: u64,
}

/// Builds the index while the log is read at open.
struct Indexer(KeyIndex);

impl Indexer {
    fn enter(&self, table: &SegmentTable, change: &Change<'_>) {
        let index = &self.0;
        let hash = index.hash(change.key());
        match index.find(table, hash, change.key()) {
            Ok(Some((slot, _))) => index.set(slot, change.position()),
            _ => index.insert(hash, change.position()),
        }
    }
}

impl OpenVisitor for Indexer {
    fn base(&mut self, table: &SegmentTable, change: Change<'_>) -> Result<()> {
        self.enter(table, &change);
        Ok(())
    }

    fn record(&mut self, table: &SegmentTable, record: &Record<'_>) -> Result<()> {
        record.changes().for_each(|change| self.enter(table, &change));
        Ok(())
    }
}

impl Mvcc {
    /// Opens the store in `dir`: recovers the log and builds the index from it.
    pub fn open(dir: Arc<dyn Dir>, options: StoreOptions) -> Result<Arc<Self>> {
        let log_options = LogOptions {
            segment_bytes: options.segment_bytes,
            durability: options.durability,
            create: options.create,
            read_only: options.read_only,
        };
        let mut indexer = Indexer(KeyIndex::new(RandomState::new().hash_one(0)));
        let (log, appender, report) = Log::open(dir, &log_options, &mut indexer)?;
        let writer = Writer {
            appender,
            revision: report.last_revision,
            table: log.table(),
            positions: Vec::new(),
            closed: false,
        };
        say_what_was_found(&report);
        // After a crash the kernel may still owe the disk what it recovered, unless opening has just synced it.
        let synced = report.clean || options.durability == Durability::Commit;
        let durable = if synced { report.last_revision } else { 1 };
        let store = Arc::new_cyclic(|weak| Self {
            log,
            index: indexer.0,
            publication: Publication::new(report.last_revision),
            read_only: options.read_only,
            writer: Mutex::new(writer),
            commits: Commits::new(durable),
            syncer: Syncer::new(weak.clone(), options.sync_interval_ms),
            compactor: Compactor::new(weak.clone()),
            auto: AutoCompactor::new(weak.clone()),
            on_reclaim: OnceLock::new(),
            compact_revision: AtomicI64::new(report.compact_revision),
            jumps: report.jumps,
            gate: RwLock::new(()),
            closed: AtomicBool::new(false),
            born: fork::generation(),
            put_total: AtomicU64::new(0),
            delete_total: AtomicU64::new(0),
            txn_total: AtomicU64::new(0),
            options,
        });
        store.start_auto_compaction();
        if !store.read_only {
            // A crash may have come before space was given back (etcd 11.1).
            store.reclaim_if_worth();
        }
        Ok(store)
    }

    /// The newest revision that readers and watches may see; 1 for an empty store (etcd 1.2).
    pub fn revision(&self) -> i64 {
        self.publication.revision()
    }

    /// The compaction's revision, -1 before the first (etcd 10.1).
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision.load(Ordering::Acquire)
    }

    /// The first legal revision at or after `start` for a watch: above it where a compaction or a crash took
    /// the revisions from `start` on.
    pub fn legal_start(&self, start: i64) -> i64 {
        let jumped = self.jumps.iter().find(|(last, first)| *last + 1 < start && start < *first);
        jumped.map_or(start, |jump| jump.1).max(self.compact_revision())
    }

    /// The revision a range reads at: not below the compaction, and none that a crash took.
    fn read_revision(&self, request: &RangeRequest<'_>, current: i64, in_txn: bool) -> Result<i64> {
        let revision = check::read_revision(request, self.compact_revision(), current, in_txn)?;
        match self.jumps.iter().find(|(last, first)| *last < revision && revision < *first) {
            Some((_, first)) => Err(Error::compacted(revision, *first)),
            None => Ok(revision),
        }
    }

    /// Everything up to this revision is on disk.
    pub fn durable_revision(&self) -> i64 {
        self.commits.durable()
    }

    /// Has `hook` called, with no lock that a reader needs held, before and after a compaction drops files. Only
    /// the first hook counts.
    pub fn on_reclaim(&self, hook: Box<dyn Fn() + Send + Sync>) {
        let _ = self.on_reclaim.set(hook);
    }

    fn announce_reclaim(&self) {
        if let Some(hook) = self.on_reclaim.get() {
            hook();
        }
    }

    /// Options, with defaults filled in.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    /// Keys in the index.
    pub fn key_count(&self) -> usize {
        self.index.len()
    }

    /// Counters for the statistics.
    pub fn totals(&self) -> Totals {
        Totals {
            puts: self.put_total.load(Ordering::Relaxed),
            deletes: self.delete_total.load(Ordering::Relaxed),
            txns: self.txn_total.load(Ordering::Relaxed),
            syncs: self.commits.syncs(),
        }
    }

    /// Refuses calls on a closed store and on one that came through a fork.
    pub fn check_open(&self) -> Result<()> {
        if self.born != fork::generation() {
            let message = "the store was opened before a fork; open it again in the child";
            return Err(Error::new(ErrorCode::Forked, message));
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorCode::Closed, "the store is closed"));
        }
        Ok(())
    }

    /// Whether the store was closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the process forked since the store was opened.
    pub fn is_forked(&self) -> bool {
        self.born != fork::generation()
    }

    /// Ends the background work, syncs and closes the log. Whoever calls again gets the first answer's `Ok`.
    pub fn close(&self) -> Result<()> {
        if self.is_forked() || self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.auto.stop();
        self.syncer.stop();
        self.compactor.stop();
        let mut writer = lock(&self.writer);
        writer.closed = true;
        let staged = writer.revision;
        let result = writer.appender.close();
        drop(writer);
        self.commits.close(staged, result.is_ok(), &self.publication);
        self.publication.notify();
        result
    }

    pub(crate) fn gate_shared(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn gate_alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Mvcc {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// A store that was not closed is opened without a question, but not without a word.
fn say_what_was_found(found: &OpenReport) {
    if found.torn_bytes > 0 {
        report::say(LOG_WARN, format_args!("cleared {} torn bytes at the end of the log", found.torn_bytes));
    }
    if !found.clean {
        report::say(
            LOG_INFO,
            format_args!("recovered to revision {}; it was not closed", found.last_revision),
        );
    }
    for (last, first) in &found.jumps {
        report::say(LOG_INFO, format_args!("revisions between {last} and {first} may have been lost"));
    }
}

/// A contained panic must not take the store along: data behind a poisoned lock is changed in steps that are
/// each complete.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
