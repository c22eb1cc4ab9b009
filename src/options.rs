//! How a store and its streams behave. Zero means the default in every numeric option.

use std::time::Duration;

use crate::error::{Error, ErrorCode, Result};
use crate::limits;

/// What a write has survived when it returns, and when readers and watches may see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Any crash of this process; the kernel writes back when it likes.
    None,
    /// The same, and synced every [`StoreOptions::sync_interval_ms`].
    Interval,
    /// Power loss: on disk before anyone sees it. Concurrent commits share a sync.
    #[default]
    Commit,
}

/// Compaction without being asked (etcd 10.13). It forgets history, never the newest value of a key, and like
/// [`crate::Store::compact`] ends the watches that still needed what is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AutoCompaction {
    /// Only `compact` compacts.
    #[default]
    Off,
    /// Keeps at least so many revisions, and at most a tenth more, or [`limits::AUTO_COMPACTION_STEP_MIN`] more.
    Revisions(i64),
    /// Keeps at least what is younger than this, and at most a tenth of it more. What an opening finds counts as
    /// written then. At least [`limits::AUTO_COMPACTION_PERIOD_MS_MIN`].
    Period(Duration),
}

/// Options of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Make the store if it does not exist; true by default.
    pub create: bool,
    /// Refuse every write. The store must exist.
    pub read_only: bool,
    /// See [`Durability`].
    pub durability: Durability,
    /// Bytes of one segment file; 0: [`limits::SEGMENT_BYTES_DEFAULT`]. Rounded up to whole pages.
    pub segment_bytes: u64,
    /// Keys and values of one response after which a watch with `fragment` gets it in parts; 0: the default.
    pub fragment_bytes: u64,
    /// For [`Durability::Interval`]; 0: the default.
    pub sync_interval_ms: u32,
    /// Time between periodic progress notifications; 0: the default, below the minimum: the minimum.
    pub progress_interval_ms: u32,
    /// Operations in one list of a transaction; 0: the default.
    pub txn_ops_max: u32,
    /// Threads that run callbacks, started when needed; 0: the default.
    pub dispatch_threads: u32,
    /// See [`AutoCompaction`]. It runs on a thread of its own.
    pub auto_compaction: AutoCompaction,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            create: true,
            read_only: false,
            durability: Durability::Commit,
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            fragment_bytes: limits::FRAGMENT_BYTES_DEFAULT,
            sync_interval_ms: limits::SYNC_INTERVAL_MS_DEFAULT,
            progress_interval_ms: limits::PROGRESS_INTERVAL_MS_DEFAULT,
            txn_ops_max: limits::TXN_OPS_MAX_DEFAULT,
            dispatch_threads: limits::DISPATCH_THREADS_DEFAULT,
            auto_compaction: AutoCompaction::Off,
        }
    }
}

impl StoreOptions {
    /// The options with every zero replaced by its default; an option out of its bounds is `Limit`.
    pub(crate) fn checked(&self) -> Result<Self> {
        fn or(value: u64, default: u64) -> u64 {
            if value == 0 { default } else { value }
        }
        let mut options = self.clone();
        options.segment_bytes = or(self.segment_bytes, limits::SEGMENT_BYTES_DEFAULT);
        options.fragment_bytes = or(self.fragment_bytes, limits::FRAGMENT_BYTES_DEFAULT);
        options.sync_interval_ms =
            or(self.sync_interval_ms.into(), limits::SYNC_INTERVAL_MS_DEFAULT.into()) as u32;
        options.progress_interval_ms =
            or(self.progress_interval_ms.into(), limits::PROGRESS_INTERVAL_MS_DEFAULT.into()) as u32;
        options.progress_interval_ms = options.progress_interval_ms.max(limits::PROGRESS_INTERVAL_MS_MIN);
        options.txn_ops_max = or(self.txn_ops_max.into(), limits::TXN_OPS_MAX_DEFAULT.into()) as u32;
        options.dispatch_threads =
            or(self.dispatch_threads.into(), limits::DISPATCH_THREADS_DEFAULT.into()) as u32;
        let segment = limits::SEGMENT_BYTES_MIN..=limits::SEGMENT_BYTES_MAX;
        check_bound("segment_bytes", options.segment_bytes, segment.contains(&options.segment_bytes))?;
        options.segment_bytes = options.segment_bytes.next_multiple_of(4096);
        check_bound("txn_ops_max", options.txn_ops_max.into(), options.txn_ops_max <= limits::TXN_OPS_MAX)?;
        let threads = options.dispatch_threads;
        check_bound("dispatch_threads", threads.into(), threads <= limits::DISPATCH_THREADS_MAX)?;
        match options.auto_compaction {
            AutoCompaction::Off => {}
            AutoCompaction::Revisions(keep) => {
                let within = (1..=limits::REVISION_MAX).contains(&keep);
                check_bound("auto_compaction revisions", keep as u64, within)?;
            }
            AutoCompaction::Period(period) => {
                let ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
                let bounds = limits::AUTO_COMPACTION_PERIOD_MS_MIN..=limits::AUTO_COMPACTION_PERIOD_MS_MAX;
                check_bound("auto_compaction period in ms", ms, bounds.contains(&ms))?;
            }
        }
        Ok(options)
    }
}

fn check_bound(name: &str, value: u64, within: bool) -> Result<()> {
    if within {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Limit, format!("{name} = {value} is out of its bounds")))
}

/// Options of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// Most revisions in one response; 0: [`limits::BATCH_REVISIONS_DEFAULT`].
    pub batch_revisions: u32,
    /// Keys and values of one response after which it is cut, at a revision's end; 0: the default.
    pub batch_bytes: u64,
}

impl StreamOptions {
    pub(crate) fn checked(&self) -> Self {
        let batch_revisions =
            if self.batch_revisions == 0 { limits::BATCH_REVISIONS_DEFAULT } else { self.batch_revisions };
        let batch_bytes = if self.batch_bytes == 0 { limits::BATCH_BYTES_DEFAULT } else { self.batch_bytes };
        Self { batch_revisions, batch_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_has_its_bound_and_refuses_one_past_it() {
        let with = |change: &dyn Fn(&mut StoreOptions)| {
            let mut options = StoreOptions::default();
            change(&mut options);
            options.checked().map_err(|error| error.code())
        };
        assert!(with(&|o| o.segment_bytes = limits::SEGMENT_BYTES_MIN).is_ok());
        assert_eq!(with(&|o| o.segment_bytes = limits::SEGMENT_BYTES_MIN - 1), Err(ErrorCode::Limit));
        assert!(with(&|o| o.segment_bytes = limits::SEGMENT_BYTES_MAX).is_ok());
        assert_eq!(with(&|o| o.segment_bytes = limits::SEGMENT_BYTES_MAX + 1), Err(ErrorCode::Limit));
        assert!(with(&|o| o.txn_ops_max = limits::TXN_OPS_MAX).is_ok());
        assert_eq!(with(&|o| o.txn_ops_max = limits::TXN_OPS_MAX + 1), Err(ErrorCode::Limit));
        assert!(with(&|o| o.dispatch_threads = limits::DISPATCH_THREADS_MAX).is_ok());
        assert_eq!(with(&|o| o.dispatch_threads = limits::DISPATCH_THREADS_MAX + 1), Err(ErrorCode::Limit));
        let keep = |n| with(&|o| o.auto_compaction = AutoCompaction::Revisions(n)).map(drop);
        assert_eq!([keep(0), keep(-1), keep(limits::REVISION_MAX + 1)], [Err(ErrorCode::Limit); 3]);
        assert_eq!([keep(1), keep(limits::REVISION_MAX)], [Ok(()); 2]);
        let period =
            |ms| with(&|o| o.auto_compaction = AutoCompaction::Period(Duration::from_millis(ms))).map(drop);
        let (low, high) = (limits::AUTO_COMPACTION_PERIOD_MS_MIN, limits::AUTO_COMPACTION_PERIOD_MS_MAX);
        assert_eq!([period(low), period(high)], [Ok(()); 2]);
        assert_eq!([period(low - 1), period(high + 1)], [Err(ErrorCode::Limit); 2]);
        assert_eq!(with(&|o| o.segment_bytes = 65 * 1024 + 1).unwrap().segment_bytes, 68 * 1024);
    }
}
