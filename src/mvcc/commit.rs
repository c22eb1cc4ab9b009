//! Group commit: of all threads that wait for durability at one moment, one writes and syncs for all.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::publish::Publication;
use super::{Mvcc, lock};
use crate::error::{Error, ErrorCode, Result};
use crate::options::Durability;

/// Who syncs, and how far.
pub(super) struct Commits {
    state: Mutex<State>,
    changed: Condvar,
    durable: AtomicI64,
    syncs: AtomicU64,
}

struct State {
    syncing: bool,
    closed: bool,
    failed: Option<Error>,
}

impl Commits {
    pub(super) fn new(durable: i64) -> Self {
        Self {
            state: Mutex::new(State { syncing: false, closed: false, failed: None }),
            changed: Condvar::new(),
            durable: AtomicI64::new(durable),
            syncs: AtomicU64::new(0),
        }
    }

    pub(super) fn durable(&self) -> i64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// The log is closed; if that went well everything up to `revision` is on disk and may be seen.
    pub(super) fn close(&self, revision: i64, ok: bool, publication: &Publication) {
        let mut state = lock(&self.state);
        state.closed = true;
        if ok {
            self.durable.fetch_max(revision, Ordering::AcqRel);
        }
        if ok && revision > publication.revision() {
            publication.publish(revision);
        }
        self.changed.notify_all();
    }
}

impl Mvcc {
    /// Waits until everything up to `revision` is on disk: syncs, or waits for whoever is syncing. `false` if
    /// the deadline passed first.
    pub(super) fn wait_durable(&self, revision: i64, deadline: Option<Instant>) -> Result<bool> {
        let commits = &self.commits;
        let mut state = lock(&commits.state);
        loop {
            if commits.durable() >= revision {
                return Ok(true);
            }
            if let Some(error) = &state.failed {
                let message = format!("an earlier sync failed, reopen the store: {error}");
                return Err(Error::new(ErrorCode::Poisoned, message));
            }
            if state.closed {
                return Err(Error::new(ErrorCode::Closed, "the store was closed before the sync"));
            }
            if !state.syncing {
                state.syncing = true;
                drop(state);
                let outcome = self.sync_once();
                state = lock(&commits.state);
                state.syncing = false;
                let first_failure = outcome.clone().err().filter(|_| state.failed.is_none());
                match outcome {
                    Ok(upto) => self.synced(upto),
                    Err(error) => state.failed = Some(error),
                }
                commits.changed.notify_all();
                match first_failure {
                    Some(error) => return Err(error),
                    None => continue,
                }
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return Ok(false),
                Some(left) => {
                    let waited = commits.changed.wait_timeout(state, left);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
                None => state = commits.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Syncs everything appended so far, whatever others are doing.
    pub(super) fn sync_now(&self) -> Result<()> {
        let upto = self.sync_once()?;
        let _state = lock(&self.commits.state);
        self.synced(upto);
        self.commits.changed.notify_all();
        Ok(())
    }

    /// Everything up to `upto` is on disk. The caller holds the commits' lock, so that revisions only rise.
    fn synced(&self, upto: i64) {
        self.commits.durable.fetch_max(upto, Ordering::AcqRel);
        if self.options.durability == Durability::Commit && upto > self.publication.revision() {
            self.publication.publish(upto);
        }
    }

    /// One write and one sync of everything appended so far; the answer is the revision reached.
    fn sync_once(&self) -> Result<i64> {
        let (job, upto) = {
            let mut writer = lock(&self.writer);
            if writer.closed {
                return Ok(writer.revision.min(self.commits.durable()));
            }
            (writer.appender.flush_job(), writer.revision)
        };
        job.run()?;
        self.commits.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(upto)
    }

    /// Waits until everything up to `revision` (0: up to now) is on disk. `None` if `timeout` passed first.
    pub fn sync(&self, revision: i64, timeout: Option<Duration>) -> Result<Option<i64>> {
        self.check_open()?;
        let current = self.revision();
        if revision < 0 {
            return Err(Error::new(ErrorCode::InvalidArgument, format!("revision {revision} is negative")));
        }
        if revision > current {
            return Err(Error::future_revision(revision, current));
        }
        let revision = if revision == 0 { current } else { revision };
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if self.read_only {
            return Ok(Some(self.durable_revision()));
        }
        Ok(self.wait_durable(revision, deadline)?.then(|| self.durable_revision()))
    }
}
