//! Every bound and default, with its unit. Exceeding one is `ErrorCode::Limit`, before anything is changed.

/// Longest key, in bytes; the shortest is 1.
pub const KEY_BYTES_MAX: usize = 64 * 1024 - 1;
/// Longest value, in bytes; a value may be empty.
pub const VALUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Operations in one list of a transaction unless [`crate::StoreOptions::txn_ops_max`] says otherwise.
pub const TXN_OPS_MAX_DEFAULT: u32 = 128;
/// The most that [`crate::StoreOptions::txn_ops_max`] may allow.
pub const TXN_OPS_MAX: u32 = 65_535;
/// Depth of nested transactions.
pub const TXN_DEPTH_MAX: u32 = 32;
/// Bytes of one transaction in the log, keys, values and headers together.
pub const TXN_BYTES_MAX: u64 = 1 << 30;
/// Default size of a segment file, in bytes.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;
/// Smallest segment, in bytes.
pub const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Largest segment, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Default threshold of fragmentation, in bytes of keys and values: etcd's request limit plus its overhead.
pub const FRAGMENT_BYTES_DEFAULT: u64 = 2 << 20;
/// Default time between two syncs in [`crate::Durability::Interval`], in milliseconds.
pub const SYNC_INTERVAL_MS_DEFAULT: u32 = 10;
/// Default time between two periodic progress notifications, in milliseconds (etcd: 10 minutes).
pub const PROGRESS_INTERVAL_MS_DEFAULT: u32 = 600_000;
/// Shortest time between two periodic progress notifications, in milliseconds (etcd: 100).
pub const PROGRESS_INTERVAL_MS_MIN: u32 = 100;
/// Most revisions in one response unless [`crate::StreamOptions::batch_revisions`] says otherwise (etcd: 1000).
pub const BATCH_REVISIONS_DEFAULT: u32 = 1000;
/// Bytes of keys and values after which a response is cut, at a revision's end.
pub const BATCH_BYTES_DEFAULT: u64 = 1 << 20;
/// Default number of threads that may run callbacks.
pub const DISPATCH_THREADS_DEFAULT: u32 = 2;
/// The most that [`crate::StoreOptions::dispatch_threads`] may ask for.
pub const DISPATCH_THREADS_MAX: u32 = 256;
/// Watches on one stream.
pub const WATCHES_PER_STREAM_MAX: usize = 1 << 24;
/// Requests for progress of one stream that wait for their answer at the same time.
pub const PROGRESS_REQUESTS_MAX: usize = 1024;
/// Matches that wait in one stream's ring before its watches fall behind and are refilled from the log.
pub const RING_ENTRIES_MAX: usize = 4096;
/// Revisions that come at least between two automatic compactions by number.
pub const AUTO_COMPACTION_STEP_MIN: i64 = 100;
/// Shortest period of automatic compaction, in milliseconds.
pub const AUTO_COMPACTION_PERIOD_MS_MIN: u64 = 100;
/// Longest period of automatic compaction, in milliseconds: ten years.
pub const AUTO_COMPACTION_PERIOD_MS_MAX: u64 = 10 * 365 * 24 * 3_600_000;
/// The last revision; a store that reached it refuses writes.
pub const REVISION_MAX: i64 = 1 << 62;

const _: () =
    assert!(SEGMENT_BYTES_MIN <= SEGMENT_BYTES_DEFAULT && SEGMENT_BYTES_DEFAULT <= SEGMENT_BYTES_MAX);
const _: () = assert!((KEY_BYTES_MAX + VALUE_BYTES_MAX) as u64 <= TXN_BYTES_MAX / 2);
const _: () = assert!(TXN_OPS_MAX_DEFAULT <= TXN_OPS_MAX);
