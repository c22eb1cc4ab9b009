//! Compaction without being asked, if the options say so: by number of revisions, looked at when enough of them
//! came, or by age, looked at ten times in a period. The thread starts with the first write that gives it
//! something to do, and sleeps without a timer while nothing is written.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Mvcc, lock};
use crate::error::ErrorCode;
use crate::limits;
use crate::options::AutoCompaction;
use crate::os::thread::{self, Thread};
use crate::report::{self, LOG_WARN};

/// See the module.
pub(super) struct AutoCompactor {
    /// A revision that is reason to look; `i64::MAX` while there is none, or the thread is looking.
    due: AtomicI64,
    store: Weak<Mvcc>,
    shared: Arc<Shared>,
    thread: Mutex<Option<Thread>>,
}

#[derive(Default)]
struct Shared {
    wish: Mutex<Wish>,
    changed: Condvar,
}

#[derive(Default)]
struct Wish {
    look: bool,
    stop: bool,
}

impl AutoCompactor {
    pub(super) fn new(store: Weak<Mvcc>) -> Self {
        Self { due: AtomicI64::new(i64::MAX), store, shared: Arc::default(), thread: Mutex::new(None) }
    }

    /// Says which revision the store has reached. Costs one comparison while there is nothing to do.
    #[inline]
    pub(super) fn reached(&self, revision: i64) {
        if revision >= self.due.load(Ordering::Relaxed) {
            self.look();
        }
    }

    #[cold]
    fn look(&self) {
        self.due.store(i64::MAX, Ordering::Relaxed);
        let mut thread = lock(&self.thread);
        let mut wish = lock(&self.shared.wish);
        wish.look = true;
        if thread.is_none() && !wish.stop {
            let (shared, store) = (self.shared.clone(), self.store.clone());
            match thread::spawn("watch-auto", move || run(&shared, &store)) {
                Ok(started) => *thread = Some(started),
                // The next write tries again.
                Err(_) => self.due.store(0, Ordering::Relaxed),
            }
        }
        self.shared.changed.notify_all();
    }

    /// Ends the thread and waits for it, unless it is the caller.
    pub(super) fn stop(&self) {
        lock(&self.shared.wish).stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            thread.join();
        }
    }
}

/// What was current when, oldest first.
type Samples = VecDeque<(Instant, i64)>;

fn run(shared: &Shared, store: &Weak<Mvcc>) {
    let mut samples = Samples::new();
    let mut again = None;
    loop {
        let mut wish = lock(&shared.wish);
        while !wish.stop && !wish.look {
            let Some(at) = again else {
                wish = shared.changed.wait(wish).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = Instant::saturating_duration_since(&at, Instant::now());
            if left.is_zero() {
                break;
            }
            wish = shared.changed.wait_timeout(wish, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if wish.stop {
            return;
        }
        wish.look = false;
        drop(wish);
        let Some(store) = store.upgrade() else { return };
        again = match store.options.auto_compaction {
            AutoCompaction::Off => return,
            AutoCompaction::Revisions(keep) => {
                store.keep_revisions(keep);
                None
            }
            AutoCompaction::Period(period) => store.keep_period(period, &mut samples),
        };
    }
}

impl Mvcc {
    /// Begins to keep what the options say, in a store that was just opened.
    pub(super) fn start_auto_compaction(&self) {
        let current = self.revision();
        let due = match self.options.auto_compaction {
            _ if self.read_only => return,
            AutoCompaction::Off => return,
            AutoCompaction::Revisions(keep) => self.too_many(keep),
            AutoCompaction::Period(_) if current > self.compact_revision().max(1) => current,
            AutoCompaction::Period(_) => current + 1,
        };
        self.auto.due.store(due, Ordering::Relaxed);
        self.auto.reached(current);
    }

    /// The revision at which there are more than `keep` and the step between two compactions.
    fn too_many(&self, keep: i64) -> i64 {
        let step = (keep / 10).max(limits::AUTO_COMPACTION_STEP_MIN);
        self.compact_revision().max(1).saturating_add(keep).saturating_add(step)
    }

    fn keep_revisions(&self, keep: i64) {
        self.compact_to(self.revision() - keep);
        self.auto.due.store(self.too_many(keep), Ordering::Relaxed);
    }

    /// Compacts to what was current a period ago. The answer is when to look again, if not with the next write.
    fn keep_period(&self, period: Duration, samples: &mut Samples) -> Option<Instant> {
        let (now, current) = (Instant::now(), self.revision());
        if samples.back().is_none_or(|last| last.1 < current) {
            samples.push_back((now, current));
        }
        let mut old = None;
        while let Some((at, revision)) = samples.front().copied() {
            if now.saturating_duration_since(at) < period {
                break;
            }
            old = Some(revision);
            samples.pop_front();
        }
        if let Some(revision) = old {
            self.compact_to(revision);
        }
        if samples.is_empty() {
            self.auto.due.store(current + 1, Ordering::Relaxed);
            // A write that came before may have missed it.
            if self.revision() == current {
                return None;
            }
        }
        Some(now + period / 10)
    }

    fn compact_to(&self, revision: i64) {
        if revision <= self.compact_revision().max(1) {
            return;
        }
        if let Err(error) = self.compact(revision, false)
            && !matches!(error.code(), ErrorCode::Compacted | ErrorCode::Closed)
        {
            report::say(LOG_WARN, format_args!("automatic compaction to {revision} failed: {error}"));
        }
    }
}
