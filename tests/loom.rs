//! Every schedule of the concurrent core that a bounded number of preemptions allows:
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom`. A lost wake-up shows as a deadlock, which loom
//! reports; what nothing orders is read with relaxed loads, for which loom tries every value they may return.
#![cfg(loom)]

use libwatch::loom_api::{EventCount, Publication, Ring};
use loom::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex, MutexGuard};
use loom::thread;

fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("loom does not poison")
}

fn wait_until(event: &EventCount, condition: impl Fn() -> bool) {
    loop {
        let ticket = event.prepare();
        if condition() {
            return event.cancel(ticket);
        }
        event.wait(ticket, None);
    }
}

/// One or two waiters for a flag that one notifier sets. The flag itself orders nothing.
fn flag_reaches(waiters: usize, preemptions: usize, notify: fn(&EventCount)) {
    explore(preemptions, move || {
        let shared = Arc::new((EventCount::new(), AtomicBool::new(false)));
        let waiters = (0..waiters).map(|_| {
            let shared = shared.clone();
            thread::spawn(move || wait_until(&shared.0, || shared.1.load(Ordering::Relaxed)))
        });
        let waiters = waiters.collect::<Vec<_>>();
        shared.1.store(true, Ordering::Relaxed);
        notify(&shared.0);
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn notify_all_reaches_every_waiter() {
    flag_reaches(1, 5, EventCount::notify_all);
    flag_reaches(2, 3, EventCount::notify_all);
}

#[test]
fn notify_one_reaches_a_waiter() {
    flag_reaches(1, 5, EventCount::notify_one);
}

#[test]
fn each_notify_one_reaches_another_waiter() {
    explore(2, || {
        let shared = Arc::new((EventCount::new(), AtomicUsize::new(0)));
        let take = |permits: &AtomicUsize| {
            let less = |count: usize| count.checked_sub(1);
            permits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        };
        let waiters = [(); 2].map(|()| {
            let shared = shared.clone();
            thread::spawn(move || wait_until(&shared.0, || take(&shared.1)))
        });
        for _ in 0..2 {
            shared.1.fetch_add(1, Ordering::Relaxed);
            shared.0.notify_one();
        }
        for waiter in waiters {
            waiter.join().unwrap();
        }
    });
}

#[test]
fn notifications_of_two_threads_and_a_cancelled_ticket_leave_nobody_asleep() {
    explore(3, || {
        let shared = Arc::new((EventCount::new(), AtomicUsize::new(0)));
        let waiter = {
            let shared = shared.clone();
            thread::spawn(move || wait_until(&shared.0, || shared.1.load(Ordering::Relaxed) == 2))
        };
        let other = {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.1.fetch_add(1, Ordering::Relaxed);
                shared.0.notify_one();
            })
        };
        shared.0.cancel(shared.0.prepare());
        shared.1.fetch_add(1, Ordering::Relaxed);
        shared.0.notify_all();
        waiter.join().unwrap();
        other.join().unwrap();
    });
}

/// A log and an index that only the publication orders: a relaxed load may return any older value.
struct Log {
    records: [(AtomicI64, AtomicI64); 2],
    publication: Publication,
}

impl Log {
    fn new() -> Self {
        let record = || (AtomicI64::new(0), AtomicI64::new(0));
        Self { records: [record(), record()], publication: Publication::new(0) }
    }

    fn write(&self, revision: i64) {
        let (bytes, entry) = &self.records[revision as usize - 1];
        bytes.store(revision, Ordering::Relaxed);
        entry.store(revision, Ordering::Relaxed);
        self.publication.publish(revision);
    }

    fn check_up_to(&self, current: i64) {
        for (revision, (bytes, entry)) in (1..=current).zip(&self.records) {
            assert_eq!(bytes.load(Ordering::Relaxed), revision);
            assert_eq!(entry.load(Ordering::Relaxed), revision);
        }
    }
}

#[test]
fn a_published_revision_can_be_read_whole() {
    explore(3, || {
        let log = Arc::new(Log::new());
        let readers = [1, 2].map(|revision| {
            let log = log.clone();
            thread::spawn(move || {
                log.check_up_to(log.publication.revision());
                let current = log.publication.wait_for(revision, None);
                assert!(current >= revision);
                log.check_up_to(current);
            })
        });
        log.write(1);
        log.write(2);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

/// Revisions of the ring's model; each changes two keys of the watch.
const REVISIONS: i64 = 3;
const CHANGES: i64 = 2;

#[derive(Clone, Copy)]
enum Phase {
    /// From the ring, from this revision on.
    Live(i64),
    /// From the log, from this revision on.
    Behind(i64),
}

/// The parts of the watch engine that decide where a watch gets its events from.
struct Engine {
    publication: Publication,
    /// Up to here the tailer has offered everything. Guards the step from behind to live.
    matched: Mutex<i64>,
    stream: Mutex<(Ring<(i64, i64)>, Phase)>,
    event: EventCount,
}

impl Engine {
    fn new(capacity: usize) -> Self {
        let stream = Mutex::new((Ring::new(capacity), Phase::Live(1)));
        Self { publication: Publication::new(0), matched: Mutex::new(0), stream, event: EventCount::new() }
    }

    /// The tailer, until everything was matched.
    fn tail(&self) {
        let mut done = 0;
        while done < REVISIONS {
            self.publication.wait_for(done + 1, None);
            let mut matched = lock(&self.matched);
            let upto = self.publication.revision();
            let mut stream = lock(&self.stream);
            for revision in *matched + 1..=upto {
                for change in 0..CHANGES {
                    if let Phase::Live(from) = stream.1
                        && revision >= from
                        && stream.0.push((revision, change)).is_err()
                    {
                        stream.1 = Phase::Behind(revision);
                    }
                }
            }
            *matched = upto;
            done = upto;
            drop(stream);
            drop(matched);
            self.event.notify_all();
        }
    }

    /// The consumer, until it was given everything. Answers what it was given and how often it fell behind.
    fn consume(&self) -> (Vec<(i64, i64)>, usize) {
        let (mut given, mut drained, mut falls) = (Vec::new(), Vec::new(), 0);
        while given.len() < (REVISIONS * CHANGES) as usize {
            let phase = {
                let mut stream = lock(&self.stream);
                stream.0.drain_into(&mut drained);
                stream.1
            };
            // The ring may hold the beginning of the revision at which the watch fell behind.
            let in_ring = |revision: i64| !matches!(phase, Phase::Behind(from) if revision >= from);
            given.extend(drained.drain(..).filter(|&(revision, _)| in_ring(revision)));
            match phase {
                Phase::Behind(from) => {
                    falls += 1;
                    let upto = self.publication.revision();
                    given.extend(
                        (from..=upto).flat_map(|revision| (0..CHANGES).map(move |change| (revision, change))),
                    );
                    let matched = lock(&self.matched);
                    lock(&self.stream).1 =
                        if upto >= *matched { Phase::Live(upto + 1) } else { Phase::Behind(upto + 1) };
                }
                Phase::Live(_) if given.len() < (REVISIONS * CHANGES) as usize => {
                    wait_until(&self.event, || {
                        let stream = lock(&self.stream);
                        !stream.0.is_empty() || matches!(stream.1, Phase::Behind(_))
                    })
                }
                Phase::Live(_) => {}
            }
        }
        (given, falls)
    }
}

/// Runs writer, tailer and consumer. Answers whether the watch was behind in one schedule and never in
/// another.
fn every_event_comes_once(capacity: usize, preemptions: usize) -> (bool, bool) {
    use std::sync::atomic::AtomicBool;
    let seen = std::sync::Arc::new((AtomicBool::new(false), AtomicBool::new(false)));
    let outcome = seen.clone();
    explore(preemptions, move || {
        let engine = Arc::new(Engine::new(capacity));
        let tailer = {
            let engine = engine.clone();
            thread::spawn(move || engine.tail())
        };
        let consumer = {
            let engine = engine.clone();
            thread::spawn(move || engine.consume())
        };
        for revision in 1..=REVISIONS {
            engine.publication.publish(revision);
        }
        tailer.join().unwrap();
        let (given, falls) = consumer.join().unwrap();
        let wanted = (1..=REVISIONS).flat_map(|revision| (0..CHANGES).map(move |change| (revision, change)));
        assert!(given.into_iter().eq(wanted));
        let which = if falls > 0 { &outcome.0 } else { &outcome.1 };
        which.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let seen = [&seen.0, &seen.1].map(|which| which.load(std::sync::atomic::Ordering::Relaxed));
    (seen[0], seen[1])
}

#[test]
fn a_watch_that_falls_behind_gets_every_event_once_and_in_order() {
    // The ring overflows inside a revision, and at once; both ends of the race must have been tried.
    assert_eq!(every_event_comes_once(3, 2), (true, true));
    assert_eq!(every_event_comes_once(1, 2), (true, false));
}
