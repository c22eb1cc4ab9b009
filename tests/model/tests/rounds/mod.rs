//! Rounds: writers that run generated programs, a compactor, and streams whose watches are made and canceled
//! meanwhile, taken slowly or refused. In the end the model repeats every call in the order of revisions and must
//! come to the same answers; what it then knows as history is what the oracle holds every watch against.

mod churn;
#[path = "../../../stress/consume.rs"]
pub mod consume;
#[path = "../../../stress/dice.rs"]
pub mod dice;
pub mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use consume::{Taker, run_stream};
use dice::Dice;
use libwatch::{Durability, ErrorCode, Store, StoreOptions};
use libwatch_model::answer::Answer;
use libwatch_model::call::Call;
use libwatch_model::model::Model;
use libwatch_model::program::Setup;

use crate::oracle::{Change, Log, check};

/// One store while it is written and watched.
pub struct Round {
    pub store: Store,
    /// Calls there are to be in all.
    pub quota: i64,
    left: AtomicI64,
    /// The last revision, once all writers are through; 0 before.
    last_revision: AtomicI64,
}

impl Round {
    /// Until the store has reached a revision or the writers are through; the watchdog ends what never does.
    pub fn until(&self, revision: i64) {
        while self.store.revision() < revision && self.last() == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    pub fn last(&self) -> i64 {
        self.last_revision.load(Ordering::SeqCst)
    }
}

/// What rounds came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    pub rounds: u64,
    /// Calls whose answers the model confirmed.
    pub calls: u64,
    pub revisions: u64,
    pub watches: u64,
    /// Events that the oracle found right.
    pub events: u64,
    /// Watches that a compaction ended.
    pub compacted: u64,
    /// Time spent judging.
    pub judged: Duration,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.rounds += other.rounds;
        self.calls += other.calls;
        self.revisions += other.revisions;
        self.watches += other.watches;
        self.events += other.events;
        self.compacted += other.compacted;
        self.judged += other.judged;
    }
}

/// How large a round is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Calls of all writers together.
    pub calls: i64,
    /// Watches, in multiples of about sixty.
    pub watches: usize,
}

/// Runs rounds until the time is over; fails instead of hanging.
///
/// # Panics
/// If something was wrong, naming the seed of the round.
pub fn rounds(seed: u64, time: Duration, size: Size) -> Sum {
    let (alive, ended) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let (_alive, end, mut sum) = (alive, Instant::now() + time, Sum::default());
        while sum.rounds == 0 || Instant::now() < end {
            sum += round(seed.wrapping_add(sum.rounds), size);
        }
        sum
    });
    if ended.recv_timeout(time + Duration::from_secs(180)) == Err(RecvTimeoutError::Timeout) {
        panic!("LIBWATCH_SEED={seed}: a round hangs");
    }
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn options(dice: &mut Dice) -> StoreOptions {
    StoreOptions {
        durability: dice.pick(&[
            Durability::None,
            Durability::None,
            Durability::Interval,
            Durability::Commit,
        ]),
        segment_bytes: libwatch::limits::SEGMENT_BYTES_MIN,
        fragment_bytes: dice.pick(&[60, 400, 4000]),
        progress_interval_ms: libwatch::limits::PROGRESS_INTERVAL_MS_MIN,
        dispatch_threads: 2 + dice.below(2) as u32,
        ..StoreOptions::default()
    }
}

/// One round; every answer and every watch is judged.
fn round(seed: u64, size: Size) -> Sum {
    let mut dice = Dice::new(seed);
    let options = options(&mut dice);
    let folder = dice.one_in(3).then(|| tempfile::tempdir().expect("a temporary folder"));
    let store = match &folder {
        Some(folder) => Store::open(folder.path(), &options),
        None => Store::open_in_memory(&options),
    };
    let store = store.expect("the store opens");
    let quota = if options.durability == Durability::Commit { size.calls / 4 } else { size.calls };
    let (left, last_revision) = (AtomicI64::new(quota), AtomicI64::new(0));
    let round = Arc::new(Round { store, quota, left, last_revision });
    let mut streams = Vec::new();
    for (taker, watches, count) in [
        (Taker::Next, 4, 3),
        (Taker::Batch, 6, 2),
        (Taker::Slow, 3, 2),
        (Taker::Descriptor, 3, 2),
        (Taker::Callback, 5, 4),
    ] {
        for _ in 0..count {
            let (round, dice, watches) = (round.clone(), dice.fork(), watches * size.watches);
            streams.push(std::thread::spawn(move || run_stream(&round, taker, watches, dice)));
        }
    }
    let compacts = !dice.one_in(3);
    let compactor = compacts.then(|| {
        let (round, dice) = (round.clone(), dice.fork());
        std::thread::spawn(move || compact(&round, dice))
    });
    let churns: Vec<_> = (0..2)
        .map(|_| {
            let (round, dice) = (round.clone(), dice.fork());
            std::thread::spawn(move || churn::run(&round, dice))
        })
        .collect();
    let notes = write_all(&round, &mut dice);
    round.last_revision.store(round.store.revision(), Ordering::SeqCst);
    compactor.into_iter().for_each(|thread| thread.join().expect("the compactor"));
    let running: Vec<_> = streams.into_iter().map(|thread| thread.join().expect("a stream")).collect();
    let mut watches: Vec<_> = churns.into_iter().flat_map(|thread| thread.join().expect("a churn")).collect();
    let last = round.store.revision();
    // Ends the watches that are left, which are those of callbacks.
    round.store.close().expect("the store closes");
    watches.extend(running.into_iter().flat_map(consume::Running::finish));
    judge(seed, last, &notes, watches)
}

fn write_all(round: &Arc<Round>, dice: &mut Dice) -> Vec<(Call, Answer)> {
    let (apart, count) = (dice.one_in(2), 2 + dice.below(10));
    let writers: Vec<_> = (0..count)
        .map(|number| {
            let (round, mut program) = (round.clone(), write::program(150, dice));
            if apart {
                program.iter_mut().for_each(|step| step.move_below(format!("w{number}/").as_bytes()));
            }
            std::thread::spawn(move || write::run(&round, &program))
        })
        .collect();
    writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect()
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

/// The calls in the order of their revisions: what changes the store first, then what saw it like that.
fn repeat(seed: u64, last: i64, notes: &[(Call, Answer)]) -> Model {
    let mut order: Vec<&(Call, Answer)> = notes.iter().collect();
    order.sort_by_key(|(_, answer)| (answer.revision(), !answer.changes()));
    let mut model = Model::new(&Setup::default());
    for (call, answer) in order {
        if let Err(how) = model.check(call, answer) {
            panic!("LIBWATCH_SEED={seed}: {call}\n{how}");
        }
    }
    let made = model.history().last().map_or(1, |event| event.kv.mod_revision);
    assert_eq!(made, last, "LIBWATCH_SEED={seed}: revisions that nobody made");
    model
}

fn judge(seed: u64, last: i64, notes: &[(Call, Answer)], watches: Vec<crate::oracle::Watch>) -> Sum {
    let began = Instant::now();
    let model = repeat(seed, last, notes);
    let mut writes: BTreeMap<i64, Vec<Change>> = BTreeMap::new();
    for event in model.history() {
        writes.entry(event.kv.mod_revision).or_default().push(Change {
            put: event.put,
            key: event.kv.key.to_vec(),
            value: event.kv.value.to_vec(),
            lease: event.kv.lease,
        });
    }
    let log = Log::new(&writes);
    let (calls, revisions) = (notes.len() as u64, writes.len() as u64);
    let mut sum = Sum { rounds: 1, calls, revisions, watches: watches.len() as u64, ..Sum::default() };
    for watch in watches {
        match check(&log, &watch) {
            Ok(events) => sum.events += events,
            Err(broken) => panic!("LIBWATCH_SEED={seed}: {broken:?}\nof {}", consume::describe(&watch)),
        }
        sum.compacted += u64::from(consume::ended_by(&watch) == Some(ErrorCode::Compacted));
    }
    sum.judged = began.elapsed();
    sum
}
