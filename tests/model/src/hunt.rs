//! Looks for programs on which a subject and the model part, until a time is over, and makes what it finds small.
//! Each program has its own seed, so that the seed of a failure gives that program at once.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::drive::{Failure, Subject, Sum, run};
use crate::generate::Profile;
use crate::program::Program;

/// A program that shows a fault, as small as it could be made.
#[derive(Debug)]
pub struct Found {
    pub seed: u64,
    pub program: Program,
    pub how: String,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LIBWATCH_SEED={}\n{}\n{}", self.seed, self.program, self.how)
    }
}

/// A number from the environment.
///
/// # Panics
/// If it is none.
pub fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// LIBWATCH_SEED, or what the clock says.
pub fn seed() -> u64 {
    let clock = || std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64 >> 8);
    setting("LIBWATCH_SEED").unwrap_or_else(clock)
}

/// The source of chance that a seed stands for.
pub fn chance(seed: u64) -> TestRunner {
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 4000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Programs that run beside each other; they wait more than they work.
const THREADS: u64 = 8;

/// How often a smaller program may pass before it counts as right: threads of the library are not repeatable.
const TRIES: usize = 4;

/// A program that takes longer hangs; the driver's own patience is shorter.
const PATIENCE: Duration = Duration::from_secs(120);

/// Says which program hangs and ends the process: a call that never returns cannot be taken back.
fn watch_over(begun: &[Mutex<(u64, Instant)>], running: &AtomicU64) {
    while running.load(Ordering::Acquire) > 0 {
        std::thread::sleep(Duration::from_millis(50));
        for (seed, since) in begun.iter().map(|begun| *lock(begun)) {
            if since.elapsed() > PATIENCE {
                println!("a call hangs; LIBWATCH_SEED={seed} repeats it");
                std::process::exit(1);
            }
        }
    }
}

/// Runs programs of the profile, at least one, until `time` is over.
///
/// # Errors
/// The first program on which subject and model part.
pub fn hunt<S: Subject>(
    profile: &Profile,
    seed: u64,
    time: Duration,
    subject: impl Fn(&Program) -> S + Sync,
) -> Result<Sum, Box<Found>> {
    let end = Instant::now() + time;
    let (next, found) = (AtomicU64::new(0), Mutex::new(None));
    let tries = if profile.consumers { TRIES } else { 1 };
    let running = AtomicU64::new(THREADS);
    let begun: Vec<_> = (0..THREADS).map(|_| Mutex::new((seed, Instant::now()))).collect();
    let one_thread = |thread: usize| {
        let programs = profile.program();
        let subject = |seed: u64, program: &Program| {
            *lock(&begun[thread]) = (seed, Instant::now());
            subject(program)
        };
        let mut sum = Sum::default();
        while lock(&found).is_none() {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > 0 && Instant::now() >= end {
                break;
            }
            match one(&programs, tries, seed.wrapping_add(number), &subject) {
                Ok(part) => sum += part,
                Err(one) => _ = lock(&found).get_or_insert(one),
            }
        }
        // Not counted as hanging any more, however long the others take.
        *lock(&begun[thread]) = (seed, Instant::now() + time + 100 * PATIENCE);
        running.fetch_sub(1, Ordering::AcqRel);
        sum
    };
    let one_thread = &one_thread;
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        scope.spawn(|| watch_over(&begun, &running));
        let threads: Vec<_> =
            (0..THREADS as usize).map(|thread| scope.spawn(move || one_thread(thread))).collect();
        for thread in threads {
            sum += thread.join().expect("a hunter does not panic");
        }
    });
    let found = lock(&found).take();
    found.map_or(Ok(sum), Err)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the program that a seed stands for.
fn one<S: Subject>(
    programs: &impl Strategy<Value = Program>,
    tries: usize,
    seed: u64,
    subject: &impl Fn(u64, &Program) -> S,
) -> Result<Sum, Box<Found>> {
    let mut chance = chance(seed);
    let tree = programs.new_tree(&mut chance).expect("a program");
    let sum = std::cell::Cell::new(Sum::default());
    let last = std::cell::RefCell::new(None);
    let outcome = chance.run_one(tree, |program| {
        let tries = if last.borrow().is_some() { tries } else { 1 };
        for _ in 0..tries {
            match run(&program, &mut subject(seed, &program)) {
                Ok(came_to) => sum.set(came_to),
                Err(failure) => {
                    let text = failure.to_string();
                    last.replace(Some((program, failure)));
                    return Err(TestCaseError::fail(text));
                }
            }
        }
        Ok(())
    });
    match outcome {
        Ok(_) => Ok(sum.get()),
        Err(TestError::Fail(reason, program)) => {
            // The last failure is that of the smallest program, unless it panicked.
            let same = last.take().filter(|(other, _): &(Program, Failure)| *other == program);
            let how = same.map_or_else(|| reason.to_string(), |(_, failure)| failure.to_string());
            Err(Box::new(Found { seed, program, how }))
        }
        Err(TestError::Abort(reason)) => {
            Err(Box::new(Found { seed, program: Program::default(), how: reason.to_string() }))
        }
    }
}
