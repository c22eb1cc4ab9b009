//! The moment a commit becomes visible: one number. Record bytes and index entries are written before it is
//! stored (release); whoever loads it (acquire) and sees revision R sees all that R is made of (D2).

#[cfg(any(test, loom))]
use std::time::Instant;

use crate::os::wake::EventCount;
use crate::sync::{AtomicI64, Ordering};

/// The current revision and those who wait for a higher one.
#[derive(Debug)]
pub struct Publication {
    revision: AtomicI64,
    changed: EventCount,
}

impl Publication {
    /// `revision` is published already.
    pub fn new(revision: i64) -> Self {
        Self { revision: AtomicI64::new(revision), changed: EventCount::new() }
    }

    /// Makes everything written so far visible as `revision` and wakes who waits. Only the writer calls it,
    /// with rising revisions. Costs a store, a fence and a load when nobody sleeps.
    pub fn publish(&self, revision: i64) {
        self.store(revision);
        self.notify();
    }

    /// The first half of [`Publication::publish`], for a writer that holds a lock; the second half must
    /// follow.
    pub fn store(&self, revision: i64) {
        self.revision.store(revision, Ordering::Release);
    }

    /// The second half: wakes who waits, with a system call if somebody sleeps.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// The highest revision whose every byte the caller may read.
    pub fn revision(&self) -> i64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Sleeps until `revision` is published or the deadline passes, and returns the current revision.
    #[cfg(any(test, loom))]
    pub fn wait_for(&self, revision: i64, deadline: Option<Instant>) -> i64 {
        loop {
            let current = self.revision();
            if current >= revision {
                return current;
            }
            let ticket = self.changed.prepare();
            let current = self.revision();
            if current >= revision {
                self.changed.cancel(ticket);
                return current;
            }
            if !self.changed.wait(ticket, deadline) {
                return self.revision();
            }
        }
    }

    /// What is notified at each publication, for a waiter that has other conditions as well.
    pub fn changed(&self) -> &EventCount {
        &self.changed
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn waiting_ends_at_the_revision_or_the_deadline() {
        let publication = Publication::new(5);
        assert_eq!(publication.wait_for(5, None), 5);
        assert_eq!(publication.wait_for(6, Some(Instant::now() + Duration::from_millis(5))), 5);
        publication.publish(7);
        assert_eq!(publication.wait_for(6, None), 7);
    }

    #[test]
    fn a_reader_gets_to_every_revision() {
        let publication = Arc::new(Publication::new(0));
        let written = Arc::new(Mutex::new(Vec::new()));
        let (done, finished) = channel();
        for _ in 0..2 {
            let (publication, written, done) = (Arc::clone(&publication), Arc::clone(&written), done.clone());
            thread::spawn(move || {
                let mut seen = 0;
                while seen < 20_000 {
                    let now = publication.wait_for(seen + 1, None);
                    assert!(now > seen && written.lock().unwrap().len() as i64 >= now);
                    seen = now;
                }
                done.send(()).unwrap();
            });
        }
        for revision in 1..=20_000 {
            written.lock().unwrap().push(revision);
            publication.publish(revision);
        }
        for _ in 0..2 {
            finished.recv_timeout(Duration::from_secs(60)).expect("a reader sleeps past a revision");
        }
    }
}
