//! A random program: how the store is set up, and steps that stay meaningful when others are taken away,
//! because they name revisions by their distance and watches by their place among the living.

use std::fmt;

pub use libwatch::Durability;

use crate::call::{Call, Step};

/// A revision of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Exactly(i64),
    /// So far from the current revision, never below 1.
    Current(i64),
    /// So far from the compaction's revision, never below 1.
    Compaction(i64),
}

impl Default for At {
    fn default() -> Self {
        At::Exactly(0)
    }
}

impl At {
    pub fn resolve(self, current: i64, compact_revision: i64) -> i64 {
        match self {
            At::Exactly(number) => number,
            At::Current(distance) => (current + distance).max(1),
            At::Compaction(distance) => (compact_revision + distance).max(1),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Exactly(number) => write!(f, "{number}"),
            At::Current(distance) => write!(f, "current{distance:+}"),
            At::Compaction(distance) => write!(f, "compaction{distance:+}"),
        }
    }
}

/// A watch id of a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Id {
    /// 0.
    #[default]
    Auto,
    /// That of a live watch of the stream, counted around; 1000 if there is none.
    Live(usize),
    /// That of a watch of the stream that has ended, counted around from the last one; 1001 if there is none.
    Ended(usize),
    Exactly(i64),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Auto => write!(f, "auto"),
            Id::Live(number) => write!(f, "live({number})"),
            Id::Ended(number) => write!(f, "ended({number})"),
            Id::Exactly(number) => write!(f, "{number}"),
        }
    }
}

/// A step of a program.
pub type Abstract = Step<At, Id>;

/// What a program knows when a step is resolved.
pub trait Now {
    fn revision(&self) -> i64;
    fn compact_revision(&self) -> i64;
    /// The ids of the live watches of a stream, oldest first.
    fn live_ids(&self, stream: usize) -> Vec<i64>;
    /// The ids of the ended watches of a stream, the last one first.
    fn ended_ids(&self, stream: usize) -> Vec<i64>;
}

impl Abstract {
    /// The step with every number known.
    pub fn resolve(&self, now: &impl Now) -> Call {
        let pick = |ids: Vec<i64>, number: usize, none: i64| {
            if ids.is_empty() { none } else { ids[number % ids.len()] }
        };
        let (current, compacted) = (now.revision(), now.compact_revision());
        self.map(
            |at| at.resolve(current, compacted),
            |stream, id| match *id {
                Id::Auto => 0,
                Id::Live(number) => pick(now.live_ids(stream), number, 1000),
                Id::Ended(number) => pick(now.ended_ids(stream), number, 1001),
                Id::Exactly(number) => number,
            },
        )
    }
}

/// Who takes the responses of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consumer {
    #[default]
    Poll,
    Descriptor,
    Callback,
}

/// A stream; 0 is the library's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamSetup {
    pub consumer: Consumer,
    pub batch_revisions: u32,
    pub batch_bytes: u64,
}

/// A store and its streams; 0 is the library's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// In a folder with the smallest segments; else in memory.
    pub files: bool,
    pub durability: Durability,
    pub fragment_bytes: u64,
    pub txn_ops_max: u32,
    pub streams: Vec<StreamSetup>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    pub setup: Setup,
    pub steps: Vec<Abstract>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Setup { files, durability, fragment_bytes, txn_ops_max, streams } = &self.setup;
        let place = if *files { "in files" } else { "in memory" };
        writeln!(f, "store {place}, {durability:?}, fragments {fragment_bytes}, txn ops {txn_ops_max}")?;
        for (number, StreamSetup { consumer, batch_revisions, batch_bytes }) in streams.iter().enumerate() {
            writeln!(
                f,
                "stream {number}: {consumer:?}, batches {batch_revisions} revisions {batch_bytes} bytes"
            )?;
        }
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{number:3}  {step}")?;
        }
        Ok(())
    }
}
