//! The thread of durability mode `interval`: some time after the first unsynced write it syncs, and sleeps again
//! until the next write. It starts with the first write and uses no time while nothing is written.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::{Mvcc, lock};
use crate::os::thread::{self, Thread};

/// See the module.
pub(super) struct Syncer {
    shared: Arc<Shared>,
    store: Weak<Mvcc>,
    interval: Duration,
    thread: Mutex<Option<Thread>>,
}

#[derive(Default)]
struct Shared {
    dirty: AtomicBool,
    stop: Mutex<bool>,
    changed: Condvar,
}

impl Syncer {
    pub(super) fn new(store: Weak<Mvcc>, interval_ms: u32) -> Self {
        let interval = Duration::from_millis(interval_ms.into());
        Self { shared: Arc::default(), store, interval, thread: Mutex::new(None) }
    }

    /// Says that something was written. Costs one atomic exchange while a sync is due anyway.
    pub(super) fn nudge(&self) {
        if self.shared.dirty.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut thread = lock(&self.thread);
        let stop = lock(&self.shared.stop);
        if thread.is_none() && !*stop {
            let (shared, store, interval) = (self.shared.clone(), self.store.clone(), self.interval);
            // Without a thread the next write tries again, and sync and close still work.
            match thread::spawn("watch-sync", move || run(&shared, &store, interval)) {
                Ok(started) => *thread = Some(started),
                Err(_) => self.shared.dirty.store(false, Ordering::Release),
            }
        }
        self.shared.changed.notify_all();
    }

    /// Ends the thread and waits for it, unless it is the caller.
    pub(super) fn stop(&self) {
        *lock(&self.shared.stop) = true;
        self.shared.changed.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            thread.join();
        }
    }
}

fn run(shared: &Shared, store: &Weak<Mvcc>, interval: Duration) {
    loop {
        let mut stop = lock(&shared.stop);
        while !*stop && !shared.dirty.load(Ordering::Acquire) {
            stop = shared.changed.wait(stop).unwrap_or_else(PoisonError::into_inner);
        }
        let due = Instant::now() + interval;
        while !*stop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            stop = shared.changed.wait_timeout(stop, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        if *stop {
            return;
        }
        drop(stop);
        shared.dirty.store(false, Ordering::Release);
        // A failure is latched: the next write and the next sync report it.
        match store.upgrade() {
            Some(store) => drop(store.sync(0, None)),
            None => return,
        }
    }
}
