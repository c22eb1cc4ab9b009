//! A forward walk over the transactions of the log, for replay and for following the live end. It reads bytes
//! in the order of the file and asks for them a little ahead.

use super::record::Record;
use super::segment::Segment;
use super::table::SegmentTable;
use crate::os::prefetch::prefetch;
use std::sync::Arc;

/// How far ahead of the record in hand bytes are asked for; the distance of one memory access at scan speed.
const AHEAD: usize = 1024;

/// A place between two records. Not shared between threads; makes no allocation after it was made.
pub struct Cursor {
    table: Arc<SegmentTable>,
    segment: Arc<Segment>,
    offset: u64,
    /// Revisions below it may be appended after a start at a future one, and are passed over.
    from: i64,
}

impl Cursor {
    /// In front of the first transaction whose revision is at least `revision`, which may be a future one.
    /// `None` if the log does not keep everything from there on: `revision < table.first_revision()`.
    pub fn at_revision(table: Arc<SegmentTable>, revision: i64) -> Option<Self> {
        if revision < table.first_revision() {
            return None;
        }
        let after = table.segments().partition_point(|segment| segment.first_revision() <= revision);
        let segment = Arc::clone(table.segments().get(after.saturating_sub(1))?);
        let offset = segment.locate(revision);
        Some(Self { table, segment, offset, from: revision })
    }

    /// The next transaction, if it is complete and its revision is at most `last_revision`. At the end of the
    /// last segment of its table it answers `None` until that segment grows or [`Cursor::retarget`] brings
    /// more.
    #[inline]
    pub fn next(&mut self, last_revision: i64) -> Option<Record<'_>> {
        loop {
            let record = match Record::at(&self.segment, self.offset) {
                Some(record) if !record.is_seal() => record,
                Some(_) => {
                    self.next_segment()?;
                    continue;
                }
                None => return None,
            };
            if !record.is_txn() || record.revision() < self.from {
                self.offset = record.end();
                continue;
            }
            if record.revision() > last_revision {
                return None;
            }
            let (at, end) = (self.offset, record.end());
            self.offset = end;
            // Looked up once more because the borrow of the first look ends where the cursor moves on.
            let record = Record::at(&self.segment, at)?;
            prefetch(self.segment.all_bytes(), end as usize + AHEAD);
            return Some(record);
        }
    }

    #[cold]
    fn next_segment(&mut self) -> Option<()> {
        if self.is_overtaken() {
            return None;
        }
        let next = Arc::clone(self.table.segment(self.segment.seq().checked_add(1)?)?);
        self.offset = next.info().data_start;
        self.segment = next;
        Some(())
    }

    /// Goes on with a newer table of the same log. The segment in hand is kept until its end, even if the
    /// table no longer has it, or only a part of it that the cursor has not reached.
    #[allow(dead_code)] // the present follower takes a new cursor per segment instead
    pub fn retarget(&mut self, table: Arc<SegmentTable>) {
        let covers =
            |now: &&Arc<Segment>| now.info().data_start <= self.offset && now.end() >= self.segment.end();
        if let Some(segment) = table.segment(self.segment.seq()).filter(covers) {
            self.segment = Arc::clone(segment);
        }
        self.table = table;
    }

    /// Whether a compaction dropped records that come after the segment in hand, so that the walk never goes
    /// on past it: going on would skip them silently. Start again with [`Cursor::at_revision`].
    pub fn is_overtaken(&self) -> bool {
        let next = self.segment.seq().saturating_add(1);
        let dropped = self.table.segments().first().is_some_and(|first| first.seq() > next);
        dropped || self.table.segment(next).is_some_and(|next| next.is_rewritten())
    }
}
