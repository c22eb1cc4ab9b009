//! Sixty-four writers and sixty-four watches of every kind at once, in rounds on fresh stores until
//! LIBWATCH_STRESS_SECONDS (5) have passed. The writers note what they wrote; after each round the oracle holds
//! every watch against it, event for event. LIBWATCH_STRESS_SEED repeats a run's choices.

mod oracle;
mod stress {
    pub mod consume;
    pub mod dice;
    pub mod write;
}

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use libwatch::{Durability, ErrorCode, Store, StoreOptions};
use oracle::{Change, Log, check};
use stress::consume::{Taker, run_stream};
use stress::dice::Dice;

const WRITERS: usize = 64;

/// One store while it is written and watched.
struct Round {
    store: Store,
    /// Writes there are to be in all.
    quota: i64,
    left: AtomicI64,
    /// The last revision, once all writers are through; 0 before.
    last_revision: AtomicI64,
}

impl Round {
    /// Until the store has reached a revision or the writers are through; the watchdog ends what never does.
    fn until(&self, revision: i64) {
        while self.store.revision() < revision && self.last() == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    fn last(&self) -> i64 {
        self.last_revision.load(Ordering::SeqCst)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    rounds: u64,
    revisions: u64,
    events: u64,
    compacted: u64,
}

fn seconds() -> u64 {
    std::env::var("LIBWATCH_STRESS_SECONDS").map_or(5, |text| text.parse().expect("a number of seconds"))
}

fn seed() -> u64 {
    let clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64);
    std::env::var("LIBWATCH_STRESS_SEED").map_or_else(|_| clock(), |text| text.parse().expect("a number"))
}

/// Runs rounds until the time is over, one test of this file after the other, and fails instead of hanging.
fn rounds(name: &'static str, seconds: u64, round: impl Fn(u64, u64) -> Sum + Send + 'static) -> Sum {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let seed = seed();
    println!("{name}: LIBWATCH_STRESS_SEED={seed}");
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        let (end, mut sum) = (Instant::now() + Duration::from_secs(seconds), Sum::default());
        while sum.rounds == 0 || Instant::now() < end {
            let part = round(seed.wrapping_add(sum.rounds), sum.rounds);
            sum.rounds += 1;
            sum.revisions += part.revisions;
            sum.events += part.events;
            sum.compacted += part.compacted;
        }
        let _ = done.send(());
        sum
    });
    if ended.recv_timeout(Duration::from_secs(seconds + 180)) == Err(RecvTimeoutError::Timeout) {
        panic!("{name} hangs");
    }
    let sum = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    println!("{name}: {sum:?}");
    sum
}

/// Compacts now and then until the writers are through.
fn compact(round: &Round, mut dice: Dice) {
    while round.last() == 0 {
        round.until(round.store.revision() + round.quota / 12);
        let (low, current) = (round.store.compact_revision().max(1), round.store.revision());
        let to = current - dice.below(((current - low) as u64 / 2).max(1)) as i64;
        match round.store.compact(to, dice.one_in(2)) {
            Ok(()) => assert!(round.store.compact_revision() >= to),
            Err(error) => assert_eq!(error.code(), ErrorCode::Compacted, "{error}"),
        }
    }
}

/// One round; every watch is judged.
fn run(store: Store, quota: i64, compacts: bool, seed: u64) -> Sum {
    let round =
        Arc::new(Round { store, quota, left: AtomicI64::new(quota), last_revision: AtomicI64::new(0) });
    let mut dice = Dice::new(seed);
    let mut streams = Vec::new();
    for (taker, watches, count) in [
        (Taker::Next, 4, 5),
        (Taker::Batch, 4, 3),
        (Taker::Slow, 2, 4),
        (Taker::Descriptor, 2, 4),
        (Taker::Callback, 2, 8),
    ] {
        for _ in 0..count {
            let (round, dice) = (round.clone(), dice.fork());
            streams.push(std::thread::spawn(move || run_stream(&round, taker, watches, dice)));
        }
    }
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let (round, dice) = (round.clone(), dice.fork());
        writers.push(std::thread::spawn(move || stress::write::run(&round, number, dice)));
    }
    let compactor = compacts.then(|| {
        let (round, dice) = (round.clone(), dice.fork());
        std::thread::spawn(move || compact(&round, dice))
    });
    let mut writes: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
    for writer in writers {
        for (revision, changes) in writer.join().unwrap() {
            assert!(writes.insert(revision, changes).is_none(), "revision {revision} was given out twice");
        }
    }
    let last = round.store.revision();
    assert!(writes.keys().copied().eq(2..=last), "revisions have gaps");
    round.last_revision.store(last, Ordering::SeqCst);
    compactor.into_iter().for_each(|thread| thread.join().unwrap());
    let running: Vec<_> = streams.into_iter().map(|thread| thread.join().unwrap()).collect();
    // Ends the watches that are left, which are those of callbacks.
    round.store.close().unwrap();
    let log = Log::new(&writes);
    let mut sum = Sum { revisions: writes.len() as u64, ..Sum::default() };
    let mut watches = 0;
    for stream in running {
        for watch in stream.finish() {
            match check(&log, &watch) {
                Ok(events) => sum.events += events,
                Err(broken) => panic!("seed {seed}: {broken:?}\nof {}", stress::consume::describe(&watch)),
            }
            watches += 1;
            sum.compacted += u64::from(stress::consume::ended_by(&watch) == Some(ErrorCode::Compacted));
        }
    }
    assert_eq!(watches, 64);
    sum
}

fn options(durability: Durability) -> StoreOptions {
    StoreOptions {
        durability,
        segment_bytes: libwatch::limits::SEGMENT_BYTES_MIN,
        fragment_bytes: 400,
        progress_interval_ms: libwatch::limits::PROGRESS_INTERVAL_MS_MIN,
        dispatch_threads: 3,
        ..StoreOptions::default()
    }
}

#[test]
fn every_watch_gets_what_was_written() {
    let sum = rounds("in memory", seconds(), |seed, number| {
        let store = Store::open_in_memory(&options(Durability::None)).unwrap();
        run(store, 6000, number % 2 == 1, seed)
    });
    assert!(sum.events > sum.revisions);
}

#[test]
fn group_commit_under_watches() {
    let sum = rounds("commit", (seconds() / 4).max(1), |seed, number| {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), &options(Durability::Commit)).unwrap();
        let sum = run(store.clone(), 2500, number % 2 == 1, seed);
        assert_eq!(store.durable_revision(), store.revision());
        sum
    });
    assert!(sum.events > sum.revisions);
}
