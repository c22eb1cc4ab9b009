//! Every bug of etcd's watch that can exist inside one process, as a situation in which it would show: one test for
//! each, named after its number. `engine` and `engine_ends` do the same for the bugs that our own engine once had.

#[path = "../common/mod.rs"]
mod common;

mod cost;
mod engine;
mod engine_ends;
mod lifecycle;
mod lost_events;
mod progress;
mod surprises;
mod told;
