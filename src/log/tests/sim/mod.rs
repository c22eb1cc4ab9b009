//! The crash harness: a simulated filesystem with a cache and a medium of its own, random workloads on the log, and
//! the power cut, the disk made to fail or a bit turned at every place. Each test prints what it tried in one line.
//!
//! How much is tried is said by the environment: `LIBWATCH_SIM_STATES`, `LIBWATCH_SIM_RECOVERIES`,
//! `LIBWATCH_SIM_ERRORS`, `LIBWATCH_SIM_FLIPS` (a number, or `all`), on `LIBWATCH_SIM_THREADS` threads. A failure
//! names its seed; `LIBWATCH_SIM_SEED` with that number runs this one again.

mod crash;
mod dir;
mod disk;
mod errors;
mod flips;
mod story;
mod workload;

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

/// A number from the environment.
fn knob(name: &str, otherwise: u64) -> u64 {
    let said = std::env::var(format!("LIBWATCH_SIM_{name}")).ok();
    said.map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// Runs `one` with a seed after the other until `enough` cases were counted, and says how many those were.
fn campaign(what: &str, enough: u64, one: impl Fn(u64, &AtomicU64) -> Result<(), String> + Sync) {
    let begun = Instant::now();
    let (count, next, stop) = (AtomicU64::new(0), AtomicU64::new(1), AtomicBool::new(false));
    let chosen = knob("SEED", 0);
    let worker = || {
        crate::os::thread::refusal::set(true);
        while !stop.load(Ordering::Relaxed) && count.load(Ordering::Relaxed) < enough {
            let seed = if chosen > 0 { chosen } else { next.fetch_add(1, Ordering::Relaxed) };
            if let Err(why) = one(seed, &count) {
                stop.store(true, Ordering::Relaxed);
                panic!("{what}: LIBWATCH_SIM_SEED={seed}: {why}");
            }
            if chosen > 0 {
                break;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..knob("THREADS", 1) {
            scope.spawn(worker);
        }
    });
    let (count, seconds) = (count.into_inner(), begun.elapsed().as_secs_f64());
    let rate = count as f64 / seconds.max(0.001);
    say(&format!("{count} {what}: 0 violations ({seconds:.1} s, {rate:.0}/s)"));
}

/// One line, also where the output of a test is captured.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "sim: {line}");
}
