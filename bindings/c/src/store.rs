//! The store as a handle: open, close, revisions, sync, compaction, numbers.

use std::ffi::c_char;
use std::time::Duration;

use libwatch::{AutoCompaction, Durability, Error, ErrorCode, Result, Store, StoreOptions, StoreStats};

use crate::guard;
use crate::handle::{Handle, Inside, Pool};
use crate::ptr::{self, Out};
use crate::request::by_number;
use crate::sized::{self, check_flags, request};
use crate::types::watch_status;

/// handle: a store; every function may be called from any thread, also from callbacks
pub struct watch_store {
    _opaque: [u8; 0],
}

impl Handle for watch_store {
    type Content = Store;
    const NAME: &'static str = "store";
    const MAGIC: u64 = u64::from_ne_bytes(*b"wa_store");
    const STRIPES: usize = 16;

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<watch_store> = Pool::new();
        &POOL
    }
}

/// watch_store_options.flags
#[repr(u32)]
pub enum watch_open_flag {
    /// make the store if there is none
    WATCH_OPEN_CREATE = 1 << 0,
    /// refuse every write; the store must exist
    WATCH_OPEN_READ_ONLY = 1 << 1,
    /// no files: path is ignored; everything else behaves the same
    WATCH_OPEN_MEMORY = 1 << 2,
}

/// what a write has survived when it returns, and when readers and watches may see it
#[repr(u32)]
pub enum watch_durability {
    /// COMMIT
    WATCH_DURABILITY_DEFAULT = 0,
    /// any crash of this process; written back by the kernel
    WATCH_DURABILITY_NONE = 1,
    /// the same, and synced every sync_interval_ms
    WATCH_DURABILITY_INTERVAL = 2,
    /// power loss: on disk before anyone sees it; concurrent commits share a sync
    WATCH_DURABILITY_COMMIT = 3,
}

/// request: how to open a store; 0 = the default, in each member
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_store_options {
    pub size: usize,
    /// WATCH_OPEN_*
    pub flags: u32,
    /// WATCH_DURABILITY_*
    pub durability: u32,
    /// size of one file of the log; 0 = 64 MiB; 64 KiB to 1 GiB
    pub segment_bytes: u64,
    /// threshold of WATCH_CREATE_FRAGMENT; 0 = 2 MiB
    pub fragment_bytes: u64,
    /// 0 = 10
    pub sync_interval_ms: u32,
    /// of WATCH_CREATE_PROGRESS_NOTIFY; 0 = 10 minutes; at least 100
    pub progress_interval_ms: u32,
    /// most operations in one list of a transaction; 0 = 128; up to 65,535
    pub txn_ops_max: u32,
    /// threads that run response callbacks; 0 = 2; up to 256
    pub dispatch_threads: u32,
    /// compact by itself, so that at least so many revisions are kept; 0 = do not
    pub auto_compaction_revisions: i64,
    /// the same by age: keep what is younger, in ms; 0 = do not; 100 to ten years. Only one of the two
    pub auto_compaction_period_ms: u64,
}
request!(watch_store_options {
    flags,
    durability,
    segment_bytes,
    fragment_bytes,
    sync_interval_ms,
    progress_interval_ms,
    txn_ops_max,
    dispatch_threads,
    auto_compaction_revisions,
    auto_compaction_period_ms,
});

/// request (filled in by the library)
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_store_stats {
    pub size: usize,
    pub revision: i64,
    pub compact_revision: i64,
    pub durable_revision: i64,
    /// the next revision of the watch that is furthest behind; 0 if none
    pub oldest_watch_revision: i64,
    /// Keys in the index: those that exist, and deleted ones whose history is kept.
    pub key_count: u64,
    /// on disk
    pub log_bytes: u64,
    /// dropped by compaction but still held by a view
    pub pinned_bytes: u64,
    pub stream_count: u64,
    pub watch_count: u64,
    /// watches that wait for the next commit
    pub watch_synced_count: u64,
    /// watches that are catching up from the log
    pub watch_unsynced_count: u64,
    /// watches whose callback answered AGAIN
    pub watch_victim_count: u64,
    /// since the store was opened, here and below
    pub put_total: u64,
    pub delete_total: u64,
    pub txn_total: u64,
    pub sync_total: u64,
    pub event_delivered_total: u64,
    /// records read for watches: once for all live watches together, and again for those that catch up
    pub record_read_total: u64,
}
request!(watch_store_stats {
    revision,
    compact_revision,
    durable_revision,
    oldest_watch_revision,
    key_count,
    log_bytes,
    pinned_bytes,
    stream_count,
    watch_count,
    watch_synced_count,
    watch_unsynced_count,
    watch_victim_count,
    put_total,
    delete_total,
    txn_total,
    sync_total,
    event_delivered_total,
    record_read_total,
});

/// Flags of a compaction.
#[repr(u32)]
pub enum watch_compact_flag {
    /// wait until the space has been given back
    WATCH_COMPACT_PHYSICAL = 1 << 0,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<watch_store_options>() == 64 && offset_of!(watch_store_options, segment_bytes) == 16);
    assert!(offset_of!(watch_store_options, dispatch_threads) == 44);
    assert!(size_of::<watch_store_stats>() == 152);
};

/// Enters a store for the length of one call.
///
/// # Safety
/// A `store` that is not NULL was handed out by `watch_store_open`.
pub(crate) unsafe fn enter(store: *const watch_store) -> Result<Inside<watch_store>> {
    // SAFETY: the caller's promise.
    unsafe { ptr::handle(store) }
}

/// Opens the store in the directory path. NULL options = all zero: an existing store, every default.
/// Own: *store is the caller's until close; it is set only on WATCH_OK. Thr: any.
/// Blk: recovery, which reads what was written since the last checkpoint.
/// Err: INVALID_ARGUMENT UNSUPPORTED LIMIT IO NO_SPACE LOCKED CORRUPT FORMAT FILESYSTEM ABI_MISMATCH
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_open(
    path: *const c_char,
    options: *const watch_store_options,
    store: *mut *mut watch_store,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about results.
        let place = unsafe { Out::new(store, "store") }?;
        // SAFETY: the header's promise about requests.
        let given = unsafe { sized::read_or_default(options) }?.accept()?;
        let options = options_of(&given)?;
        let opened = if given.flags & watch_open_flag::WATCH_OPEN_MEMORY as u32 != 0 {
            Store::open_in_memory(&options)?
        } else {
            // SAFETY: the header's promise about strings.
            Store::open(unsafe { ptr::path(path) }?, &options)?
        };
        let slot = watch_store::pool().open(opened);
        place.set(std::ptr::from_ref(slot).cast_mut().cast());
        Ok(())
    })
}

fn options_of(given: &watch_store_options) -> Result<StoreOptions> {
    let all = watch_open_flag::WATCH_OPEN_CREATE as u32
        | watch_open_flag::WATCH_OPEN_READ_ONLY as u32
        | watch_open_flag::WATCH_OPEN_MEMORY as u32;
    check_flags("watch_store_options.flags", given.flags, all)?;
    let has = |flag: watch_open_flag| given.flags & flag as u32 != 0;
    Ok(StoreOptions {
        // A store in memory never exists before.
        create: has(watch_open_flag::WATCH_OPEN_CREATE) || has(watch_open_flag::WATCH_OPEN_MEMORY),
        read_only: has(watch_open_flag::WATCH_OPEN_READ_ONLY),
        durability: durability_of(given.durability)?,
        segment_bytes: given.segment_bytes,
        fragment_bytes: given.fragment_bytes,
        sync_interval_ms: given.sync_interval_ms,
        progress_interval_ms: given.progress_interval_ms,
        txn_ops_max: given.txn_ops_max,
        dispatch_threads: given.dispatch_threads,
        auto_compaction: auto_compaction_of(given)?,
    })
}

fn auto_compaction_of(given: &watch_store_options) -> Result<AutoCompaction> {
    match (given.auto_compaction_revisions, given.auto_compaction_period_ms) {
        (0, 0) => Ok(AutoCompaction::Off),
        (revisions, 0) => Ok(AutoCompaction::Revisions(revisions)),
        (0, ms) => Ok(AutoCompaction::Period(Duration::from_millis(ms))),
        _ => {
            let message = "auto_compaction_revisions and auto_compaction_period_ms are both set";
            Err(Error::new(ErrorCode::InvalidArgument, message))
        }
    }
}

fn durability_of(number: u32) -> Result<Durability> {
    by_number!(number, "watch_store_options.durability", watch_durability {
        WATCH_DURABILITY_DEFAULT => Durability::default(),
        WATCH_DURABILITY_NONE => Durability::None,
        WATCH_DURABILITY_INTERVAL => Durability::Interval,
        WATCH_DURABILITY_COMMIT => Durability::Commit,
    })
}

/// Ends every stream (their consumers get CLOSED), syncs, and frees the handle whatever it returns.
/// Retained results and responses stay valid: the files are unmapped after the last release. Streams stay
/// the caller's to close. A call on the store that is still running, or that comes too late, answers
/// CLOSED. NULL is fine.
/// Own: store is gone for the caller. Thr: any, also a callback: then running callbacks end after this
/// returns.
/// Blk: running writes, running callbacks, the sync. Err: CLOSED, or what the last sync answered: IO
/// NO_SPACE
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_close(store: *mut watch_store) -> watch_status {
    guard::call(|| {
        if store.is_null() {
            return Ok(());
        }
        // SAFETY: the header's promise about handles.
        let store = unsafe { enter(store) }?;
        let closed = store.close();
        store.shut();
        closed
    })
}

/// The newest revision that can be seen: 1 for an empty store, 0 for what is not an open store.
/// Thr: any. Blk: no
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_revision(store: *const watch_store) -> i64 {
    // SAFETY: the header's promise about handles.
    guard::value(0, || Ok(unsafe { enter(store) }?.revision()))
}

/// The oldest revision that can be read and watched from: -1 before the first compaction, 0 for what is
/// not an open store.
/// Thr: any. Blk: no
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_compact_revision(store: *const watch_store) -> i64 {
    // SAFETY: the header's promise about handles.
    guard::value(0, || Ok(unsafe { enter(store) }?.compact_revision()))
}

/// The newest revision that a power loss cannot take back; 0 for what is not an open store.
/// Thr: any. Blk: no
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_durable_revision(store: *const watch_store) -> i64 {
    // SAFETY: the header's promise about handles.
    guard::value(0, || Ok(unsafe { enter(store) }?.durable_revision()))
}

/// Waits until everything up to revision is on disk (0 = up to now).
/// Thr: any. Blk: yes. Err: INVALID_ARGUMENT FUTURE_REVISION CLOSED IO NO_SPACE POISONED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_sync(store: *mut watch_store, revision: i64) -> watch_status {
    // SAFETY: the header's promise about handles.
    guard::call(|| unsafe { enter(store) }?.sync(revision, None).map(|_| ()))
}

/// Forgets the history before revision: reads below it fail from now on, and watches behind it end with
/// COMPACTED. The state at revision itself stays complete. WATCH_COMPACT_PHYSICAL waits for the space to
/// be given back, which otherwise happens later.
/// Thr: any. Blk: the sync of the mark. Err: COMPACTED FUTURE_REVISION UNSUPPORTED READ_ONLY CLOSED IO
/// POISONED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_compact(
    store: *mut watch_store,
    revision: i64,
    flags: u32,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let store = unsafe { enter(store) }?;
        let physical = watch_compact_flag::WATCH_COMPACT_PHYSICAL as u32;
        check_flags("flags of watch_store_compact", flags, physical)?;
        store.compact(revision, flags & physical != 0)
    })
}

/// Fills in the numbers of a store. They are read one after the other, not at one instant.
/// Thr: any. Blk: no. Err: INVALID_ARGUMENT UNSUPPORTED CLOSED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_stats_read(
    store: *mut watch_store,
    stats: *mut watch_store_stats,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let numbers = stats_of(&unsafe { enter(store) }?.stats()?);
        // SAFETY: the header's promise about requests.
        unsafe { sized::fill(stats, &numbers) }
    })
}

fn stats_of(stats: &StoreStats) -> watch_store_stats {
    watch_store_stats {
        size: 0,
        revision: stats.revision,
        compact_revision: stats.compact_revision,
        durable_revision: stats.durable_revision,
        oldest_watch_revision: stats.oldest_watch_revision,
        key_count: stats.key_count,
        log_bytes: stats.log_bytes,
        pinned_bytes: stats.pinned_bytes,
        stream_count: stats.stream_count,
        watch_count: stats.watch_count,
        watch_synced_count: stats.watch_synced_count,
        watch_unsynced_count: stats.watch_unsynced_count,
        watch_victim_count: stats.watch_victim_count,
        put_total: stats.put_total,
        delete_total: stats.delete_total,
        txn_total: stats.txn_total,
        sync_total: stats.sync_total,
        event_delivered_total: stats.event_delivered_total,
        record_read_total: stats.record_read_total,
    }
}
