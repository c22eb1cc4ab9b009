//! Keeps the files of chosen changes alive, so that a response or result outlives the table it was made from.
//! A pin costs a comparison when it lies in the same file as the last one.

use super::change::Change;
use super::position::Position;
use super::segment::Segment;
use super::table::SegmentTable;
use std::sync::Arc;

/// A growing set of files and the changes pinned in them. The default one keeps nothing and has no memory.
#[derive(Debug, Default)]
pub struct PinSet {
    segments: Vec<Arc<Segment>>,
    last: u32,
}

/// A change kept by the [`PinSet`] that returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned {
    segment: u32,
    offset8: u32,
}

impl PinSet {
    /// Keeps the file of the change at `at`; `None` if the table has no change there.
    #[inline]
    pub fn pin(&mut self, table: &SegmentTable, at: Position) -> Option<Pinned> {
        let offset = at.offset();
        match self.segments.get(self.last as usize) {
            Some(segment) if segment.seq() == at.seq() && segment.change(offset).is_some() => {}
            _ => self.last = self.find(table, at)?,
        }
        Some(Pinned { segment: self.last, offset8: (offset / 8) as u32 })
    }

    #[cold]
    fn find(&mut self, table: &SegmentTable, at: Position) -> Option<u32> {
        let holds =
            |segment: &Arc<Segment>| segment.seq() == at.seq() && segment.change(at.offset()).is_some();
        if let Some(found) = self.segments.iter().rposition(holds) {
            return Some(found as u32);
        }
        let segment = table.segment(at.seq()).filter(|segment| holds(segment))?;
        self.segments.push(Arc::clone(segment));
        Some(self.segments.len() as u32 - 1)
    }

    /// The pinned change.
    ///
    /// # Panics
    /// If `at` came from another set.
    #[inline]
    pub fn change(&self, at: Pinned) -> Change<'_> {
        let change = self.segments.get(at.segment as usize).and_then(|s| s.change(u64::from(at.offset8) * 8));
        change.expect("a pin is used with the set it came from")
    }
}
