//! Looks for a program on which libwatch and etcd part, with several etcds at once, and makes what it finds small.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libwatch_model::drive::Subject;
use libwatch_model::generate::Profile;
use libwatch_model::program::Program;
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use crate::Failure;
use crate::diff::{Sum, Trouble, run};

/// etcd mostly waits, for its disk and its clock: so many at once for each processor.
const ETCDS: usize = 3;

/// How long to look. Without a bound it ends with the first program.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub seconds: Option<u64>,
    pub steps: Option<u64>,
}

/// A program that shows a difference, as small as it could be made.
#[derive(Debug)]
pub struct Found {
    /// The seed that begins with this program.
    pub seed: u64,
    pub program: Program,
    pub trouble: Trouble,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LIBWATCH_SEED={} begins with it\n{}\n{}", self.seed, self.program, self.trouble)
    }
}

impl Found {
    /// Takes one more step away: some can go only after others were made smaller, and proptest does not look again.
    fn loses_a_step(&mut self, run: impl Fn(&Program) -> Result<Sum, Trouble>) -> bool {
        for number in 0..self.program.steps.len() {
            let mut program = self.program.clone();
            program.steps.remove(number);
            if let Err(trouble) = run(&program) {
                (self.program, self.trouble) = (program, trouble);
                return true;
            }
        }
        false
    }
}

/// Runs programs until a bound is reached.
///
/// # Errors
/// The first program with a difference, or that etcd cannot be had.
pub fn search<S: Subject>(
    profile: &Profile,
    seed: u64,
    bounds: Bounds,
    subject: impl Fn(&Program) -> S + Sync,
) -> Result<Sum, Box<Found>> {
    let end = bounds.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (number, steps, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let outcome = Mutex::new(Ok(Sum::default()));
    let work = || {
        let programs = profile.program();
        while !over.load(Ordering::Relaxed) {
            let seed = seed.wrapping_add(number.fetch_add(1, Ordering::Relaxed));
            let one = one(&programs, profile, seed, &subject, &over);
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            let done = one.as_ref().map_or(0, |sum| sum.steps);
            let done = done + steps.fetch_add(done, Ordering::Relaxed);
            match (&mut *outcome, one) {
                (Ok(all), Ok(sum)) => *all += sum,
                (outcome @ Ok(_), Err(found)) => *outcome = Err(found),
                (Err(_), _) => {}
            }
            let late = end.is_some_and(|end| Instant::now() >= end);
            let enough = bounds.steps.is_some_and(|bound| done >= bound);
            let unbounded = end.is_none() && bounds.steps.is_none();
            over.fetch_or(late || enough || unbounded || outcome.is_err(), Ordering::Relaxed);
        }
    };
    let unbounded = bounds.seconds.is_none() && bounds.steps.is_none();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let workers = if unbounded { 1 } else { processors * ETCDS };
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn chance(seed: u64) -> TestRunner {
    let config = Config {
        failure_persistence: None,
        max_shrink_iters: 2000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// Runs the program that a seed stands for. The others stop while a difference is made smaller.
fn one<S: Subject>(
    programs: &impl Strategy<Value = Program>,
    profile: &Profile,
    seed: u64,
    subject: &impl Fn(&Program) -> S,
    over: &AtomicBool,
) -> Result<Sum, Box<Found>> {
    let mut chance = chance(seed);
    let failed = |text: String| Trouble::Failed(Failure::Setup(text));
    let no_program = |reason: String| Found { seed, program: Program::default(), trouble: failed(reason) };
    let tree = programs.new_tree(&mut chance).map_err(|reason| Box::new(no_program(reason.to_string())))?;
    let sum = Cell::new(Sum::default());
    let last = RefCell::new(None);
    let outcome = chance.run_one(tree, |program| match run(&program, profile, &mut subject(&program)) {
        Ok(came_to) => {
            sum.set(came_to);
            Ok(())
        }
        Err(trouble) => {
            over.store(true, Ordering::Relaxed);
            let text = trouble.to_string();
            last.replace(Some((program, trouble)));
            Err(TestCaseError::fail(text))
        }
    });
    match outcome {
        Ok(_) => Ok(sum.get()),
        Err(TestError::Fail(reason, program)) => {
            // The last trouble is that of the smallest program, unless that panicked.
            let same = last.take().filter(|(other, _): &(Program, Trouble)| *other == program);
            let trouble = same.map_or_else(|| failed(reason.to_string()), |(_, trouble)| trouble);
            let mut found = Found { seed, program, trouble };
            while found.loses_a_step(|program| run(program, profile, &mut subject(program))) {}
            Err(Box::new(found))
        }
        Err(TestError::Abort(reason)) => Err(Box::new(no_program(reason.to_string()))),
    }
}
