//! Runs random programs against a real etcd and against libwatch, and reports the first difference with a minimal
//! program. ETCD_DIFF_SECONDS and ETCD_DIFF_STEPS say how long (10,000 steps), LIBWATCH_SEED which programs.
//!
//! Reading order: `diff` (one program), `apart` (what is not compared), `etcd` (the other side), `search`.
#![allow(missing_docs, reason = "a program, and messages that mirror etcd's")]

mod apart;
mod client;
mod convert;
mod diff;
mod etcd;
#[cfg(test)]
mod planted;
mod search;
mod seen;
mod server;
mod wire;

use std::process::ExitCode;

use libwatch_model::hunt;
use libwatch_model::subject::Libwatch;

use crate::search::{Bounds, search};

/// Why there is nothing to compare with.
#[derive(Clone, Debug)]
pub enum Failure {
    /// etcd does not start here.
    Setup(String),
    /// etcd does what this program does not understand.
    Etcd(String),
}

fn main() -> ExitCode {
    let seed = hunt::seed();
    let seconds = hunt::setting("ETCD_DIFF_SECONDS");
    let steps = hunt::setting("ETCD_DIFF_STEPS").or(if seconds.is_none() { Some(10_000) } else { None });
    println!("etcd-diff: LIBWATCH_SEED={seed}");
    match search(&apart::profile(), seed, Bounds { seconds, steps }, |program| Libwatch::new(&program.setup))
    {
        Ok(sum) => {
            println!("etcd-diff: {} steps refused alike, {} watches compacted", sum.refused, sum.compacted);
            println!(
                "etcd-diff: {} programs, {} steps, {} events, no difference (seed {seed})",
                sum.programs, sum.steps, sum.events
            );
            ExitCode::SUCCESS
        }
        Err(found) => {
            println!("etcd-diff: a difference (seed {seed})\n{found}");
            ExitCode::FAILURE
        }
    }
}
