//! A reference model of the store in plain maps and vectors, random programs, and a driver that holds a subject
//! (libwatch, or anything that answers the same calls) against the model, step by step.
//!
//! Reading order: `call` (what is asked), `program` (what is generated), `answer` (what is said), `model` and
//! `watch` (what must be said), `generate`, `drive`, `subject`.
#![allow(missing_docs, reason = "fields and variants mirror libwatch's and are explained there")]

pub mod answer;
pub mod call;
pub mod convert;
pub mod drive;
pub mod generate;
pub mod hunt;
pub mod model;
mod ops;
pub mod program;
mod show;
mod streams;
pub mod subject;
mod watch;
