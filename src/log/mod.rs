//! The log: the truth and the queue. Records of committed transactions in segment files, one writer that
//! appends, any number of readers that look at the same bytes, recovery, and the base that compaction leaves
//! behind.
//!
//! [`Log`] is what is shared, [`Appender`] the single writer's half, [`SegmentTable`] a reader's picture.
//! Above a position nothing is copied: a [`Change`] points into the mapped file.

mod appender;
mod base;
mod change;
pub mod copy;
mod cursor;
mod flush;
mod header;
mod install;
pub mod load;
mod manifest;
mod open;
mod pin;
mod position;
mod prepare;
mod record;
mod recover;
mod segment;
mod shared;
mod table;
mod torn;
pub mod verify;

pub use appender::Appender;
pub use base::BaseWriter;
pub use change::{Change, ChangeOp, NewChange};
pub use cursor::Cursor;
pub use open::{OpenReport, OpenVisitor};
pub use pin::{PinSet, Pinned};
pub use position::{BASE_BIT, Position};
pub use record::Record;
pub use shared::{Log, LogOptions};
pub use table::SegmentTable;

#[cfg(test)]
pub(crate) mod tests;
