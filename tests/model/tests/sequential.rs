//! Random programs, one call after the other: every answer and every response of libwatch is held against the
//! model. LIBWATCH_MODEL_SECONDS (3) is how long, LIBWATCH_SEED repeats a run.

use std::time::Duration;

use libwatch_model::generate::Profile;
use libwatch_model::hunt::{hunt, seed, setting};
use libwatch_model::subject::Libwatch;

fn hold(name: &str, profile: &Profile) {
    let (seed, seconds) = (seed(), setting("LIBWATCH_MODEL_SECONDS").unwrap_or(3));
    println!("{name}: LIBWATCH_SEED={seed}");
    let time = Duration::from_secs(seconds) / 2;
    match hunt(profile, seed, time, |program| Libwatch::new(&program.setup)) {
        Ok(sum) => println!("{name}: {sum:?}"),
        Err(found) => panic!("{name}: {found}"),
    }
}

/// etcd 1.1 to 7.4, 8.12 to 8.16, 9.1 to 9.8, 10.1 to 10.6, 11.1, 12.1 to 12.8, 13.1 to 13.4, 14.1 to 14.13
#[test]
fn libwatch_answers_and_delivers_as_the_model_says() {
    hold("programs", &Profile::libwatch());
}

/// etcd 3.3, 8.3, 8.8, 10.6: many watches read the log together
#[test]
fn a_crowd_of_watches_is_served_as_the_model_says() {
    hold("crowd", &Profile::crowd());
}
