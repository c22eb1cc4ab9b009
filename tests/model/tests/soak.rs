//! As long as asked: random programs beside the model, and rounds of writers and watches before the oracle, at the
//! same time. LIBWATCH_SOAK_SECONDS (600) is how long, LIBWATCH_SEED repeats the choices of a run. Not part of
//! the usual tests: `cargo test --release -p libwatch-model --test soak`.

#[path = "../../oracle/mod.rs"]
mod oracle;
mod rounds;

use std::time::{Duration, Instant};

use libwatch_model::drive::Sum;
use libwatch_model::generate::Profile;
use libwatch_model::hunt::{hunt, seed, setting};
use libwatch_model::subject::Libwatch;
use rounds::{Round, Size, rounds};

fn main() {
    let (seed, seconds) = (seed(), setting("LIBWATCH_SOAK_SECONDS").unwrap_or(600));
    println!("soak: {seconds} seconds, LIBWATCH_SEED={seed}");
    let (began, time) = (Instant::now(), Duration::from_secs(seconds));
    let programs = std::thread::spawn(move || {
        let mut sum = Sum::default();
        for profile in [Profile::libwatch(), Profile::crowd()] {
            let found = hunt(&profile, seed, time / 2, |program| Libwatch::new(&program.setup));
            sum += found.unwrap_or_else(|found| {
                println!("soak FAILED: {found}");
                std::process::exit(1);
            });
        }
        sum
    });
    let concurrent =
        std::thread::spawn(move || rounds(seed, time, Size { calls: 6_000, watches: 16 })).join();
    let Ok(concurrent) = concurrent else {
        println!("soak FAILED: a round, LIBWATCH_SEED={seed} or as said above");
        std::process::exit(1);
    };
    let sequential = programs.join().expect("the hunt does not panic");
    println!("soak: one after the other: {sequential:?}");
    println!("soak: at the same time: {concurrent:?}");
    println!(
        "soak: passed after {} s: {} programs of {} steps with {} events held against the model, {} rounds of \
         {} calls with {} watches and {} events held against the oracle; LIBWATCH_SEED={seed}",
        began.elapsed().as_secs(),
        sequential.programs,
        sequential.steps,
        sequential.events,
        concurrent.rounds,
        concurrent.calls,
        concurrent.watches,
        concurrent.events,
    );
}
