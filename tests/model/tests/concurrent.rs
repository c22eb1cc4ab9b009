//! Writers, compactor, makers of watches and consumers of every kind at once, in rounds on fresh stores.
//! LIBWATCH_MODEL_SECONDS (3) is how long, LIBWATCH_SEED repeats the choices of a run.

#[path = "../../oracle/mod.rs"]
mod oracle;
mod rounds;

use std::time::Duration;

use libwatch_model::hunt::{seed, setting};
use rounds::{Round, Size, rounds};

/// etcd 17: all guarantees; 1.1 to 1.13, 10.2, 14.9 to 14.13 for every answer
#[test]
fn answers_fit_one_order_and_every_watch_gets_what_was_written() {
    let (seed, seconds) = (seed(), setting("LIBWATCH_MODEL_SECONDS").unwrap_or(3));
    println!("LIBWATCH_SEED={seed}");
    let sum = rounds(seed, Duration::from_secs(seconds), Size { calls: 3000, watches: 1 });
    println!("concurrent: {sum:?}");
    assert!(sum.events > sum.revisions && sum.calls > sum.revisions);
}
