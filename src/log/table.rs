//! An immutable picture of which files there are: the log segments in order and the parts of the base.
//! Whoever holds a table holds all of its files; a newer one is made when a segment is added, replaced or
//! dropped.

use super::change::Change;
use super::position::{BASE_BIT, Position};
use super::segment::Segment;
use std::sync::Arc;

/// See the module. Shared as `Arc<SegmentTable>`; reading it takes no lock.
#[derive(Clone, Debug, Default)]
pub struct SegmentTable {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) base: Vec<Arc<Segment>>,
    /// Number of the first part, or of the next one while there is none; 0 before the first base.
    pub(super) base_first: u32,
    pub(super) first_revision: i64,
    pub(super) base_revision: i64,
}

impl SegmentTable {
    /// The change at a position. `None` for [`Position::NONE`], for a file that was dropped, and for a place
    /// where no change can lie.
    #[inline]
    pub fn change(&self, at: Position) -> Option<Change<'_>> {
        self.segment(at.seq())?.change(at.offset())
    }

    /// The log segment or base part with this number.
    #[inline]
    pub fn segment(&self, seq: u32) -> Option<&Arc<Segment>> {
        let list = if seq & BASE_BIT == 0 { &self.segments } else { &self.base };
        let first = list.first()?.seq();
        list.get(seq.checked_sub(first)? as usize)
    }

    /// The log segments in order; the last one is the active one.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The parts of the base in key order.
    pub fn base_parts(&self) -> &[Arc<Segment>] {
        &self.base
    }

    /// One more than the highest number that a base part has or had: numbers are never given twice, because
    /// pointers to dropped parts remain.
    pub fn base_end(&self) -> u32 {
        self.base_first.max(BASE_BIT | 1) + self.base.len() as u32
    }

    /// The first revision that the log keeps; below it there is only the base. Log segments may hold older
    /// records, which do not count as kept.
    pub fn first_revision(&self) -> i64 {
        self.first_revision
    }

    /// The base holds, for each key that lives at this revision, its newest change up to it. 0 without a
    /// base.
    pub fn base_revision(&self) -> i64 {
        self.base_revision
    }

    /// The base's change of a key.
    pub fn base_lookup(&self, key: &[u8]) -> Option<Position> {
        let starts_before = |part: &Arc<Segment>| part.entry(0).is_some_and(|first| first.key() <= key);
        let part = self.base.partition_point(starts_before).checked_sub(1)?;
        self.base[part].entry_of(key)
    }

    #[cfg(test)]
    /// All changes of the base in key order.
    pub fn base_entries(&self) -> impl Iterator<Item = Change<'_>> {
        self.base.iter().flat_map(|part| (0..part.entry_count()).filter_map(|i| part.entry(i)))
    }

    /// Bytes of all files.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.segments.iter().chain(&self.base).map(|segment| segment.stored_bytes()).sum()
    }
}
