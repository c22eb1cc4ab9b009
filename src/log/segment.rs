//! One file of the log or of the base, as readers see it. Bytes below its end are complete and never change;
//! they leave this layer only as borrows of a segment that somebody holds by `Arc`, which is what a pin is.
//! The last owner unmaps the file, whether it still has a name or not.

use super::change::{Change, u32_at};
use super::position::Position;
use super::record::Record;
use crate::os::region::Region;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

/// Distance of the samples that `locate` starts from.
const SAMPLE_BYTES: u64 = 16 * 1024;

/// What a segment is, apart from its bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentInfo {
    pub seq: u32,
    /// Length of the file.
    pub len: u64,
    /// Where its records begin; the bytes between the header and this offset are a hole after a rewrite.
    pub data_start: u64,
    pub salt_crc: u32,
    /// Of a base part: where its sorted offsets begin, and how many there are.
    pub index: Option<(u64, u32)>,
}

/// See the module.
pub struct Segment {
    info: SegmentInfo,
    region: Region,
    first_revision: AtomicI64,
    samples: Arc<Samples>,
}

/// For each 16 KiB of the file the first record that begins there or later, as offset / 8; 0 is not known
/// yet. Filled in by the one writer, in order, before the record is published.
struct Samples(Box<[AtomicU32]>);

/// The writing side of the samples.
pub(super) struct Sampler {
    samples: Arc<Samples>,
    next: usize,
    next_offset: u64,
}

impl Sampler {
    /// Notes that a record begins at `offset`; offsets come in ascending order.
    #[inline]
    pub fn note(&mut self, offset: u64) {
        if offset >= self.next_offset {
            self.fill(offset);
        }
    }

    #[cold]
    fn fill(&mut self, offset: u64) {
        let last = (offset / SAMPLE_BYTES) as usize;
        while let Some(slot) = self.samples.0.get(self.next).filter(|_| self.next <= last) {
            slot.store((offset / 8) as u32, Ordering::Release);
            self.next += 1;
        }
        self.next_offset = self.next as u64 * SAMPLE_BYTES;
    }
}

impl Segment {
    pub(super) fn new(info: SegmentInfo, region: Region, first_revision: i64) -> (Arc<Self>, Sampler) {
        let slots = if info.index.is_some() { 0 } else { info.len.div_ceil(SAMPLE_BYTES) };
        let samples = Arc::new(Samples((0..slots).map(|_| AtomicU32::new(0)).collect()));
        let sampler = Sampler { samples: Arc::clone(&samples), next: 0, next_offset: 0 };
        (Arc::new(Self { info, region, first_revision: AtomicI64::new(first_revision), samples }), sampler)
    }

    /// The same records behind another mapping of the same bytes.
    pub(super) fn remapped(&self, region: Region) -> Arc<Self> {
        let first_revision = AtomicI64::new(self.first_revision());
        Arc::new(Self { info: self.info, region, first_revision, samples: Arc::clone(&self.samples) })
    }

    /// Number of the segment, with [`super::BASE_BIT`] in parts of the base.
    #[inline]
    pub fn seq(&self) -> u32 {
        self.info.seq
    }

    /// The lowest revision that can be in the segment: its transactions have this revision or a higher one.
    /// Of a base part, 0.
    #[inline]
    pub fn first_revision(&self) -> i64 {
        self.first_revision.load(Ordering::Acquire)
    }

    pub(super) fn set_first_revision(&self, revision: i64) {
        self.first_revision.store(revision, Ordering::Release);
    }

    /// Bytes of the file, holes included.
    #[allow(clippy::len_without_is_empty)] // the header is always there
    pub fn len(&self) -> u64 {
        self.info.len
    }

    /// Whether compaction took the front of the records away.
    pub(super) fn is_rewritten(&self) -> bool {
        self.info.data_start > super::header::HEADER_BYTES
    }

    /// Bytes of the file without the hole that a rewrite leaves in front.
    pub fn stored_bytes(&self) -> u64 {
        self.info.len - self.info.data_start.saturating_sub(super::header::HEADER_BYTES)
    }

    /// End of the bytes that are complete, as an offset in the file.
    #[inline]
    pub fn end(&self) -> u64 {
        self.region.end()
    }

    /// Bytes below the end; `None` if the range passes it.
    #[inline]
    pub fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        self.region.bytes(offset, len)
    }

    #[inline]
    pub(super) fn all_bytes(&self) -> &[u8] {
        self.region.bytes_from(0).unwrap_or_default()
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    pub(super) fn info(&self) -> &SegmentInfo {
        &self.info
    }

    /// The change whose header lies at `offset`; `None` if no change can lie there.
    #[inline]
    pub fn change(&self, offset: u64) -> Option<Change<'_>> {
        Change::decode(self.all_bytes(), offset, self.info.data_start, self.info.seq)
    }

    /// Offset of the first record whose revision is at least `revision`; the end if there is none.
    pub fn locate(self: &Arc<Self>, revision: i64) -> u64 {
        let slots = &self.samples.0;
        let is_before = |slot: &AtomicU32| match slot.load(Ordering::Acquire) {
            0 => false,
            at => Record::at(self, u64::from(at) * 8).is_some_and(|record| record.revision() < revision),
        };
        let after = slots.partition_point(is_before);
        let sampled = after.checked_sub(1).map(|i| u64::from(slots[i].load(Ordering::Acquire)) * 8);
        let mut at = sampled.unwrap_or(self.info.data_start);
        while let Some(record) = Record::at(self, at).filter(|record| record.revision() < revision) {
            at = record.end();
        }
        at
    }

    /// Entries of a base part.
    pub(super) fn entry_count(&self) -> u32 {
        self.info.index.map_or(0, |(_, count)| count)
    }

    /// The entry number `i` of a base part, in key order.
    #[inline]
    pub(super) fn entry(&self, i: u32) -> Option<Change<'_>> {
        let (index, count) = self.info.index?;
        if i >= count {
            return None;
        }
        let offset = u32_at(self.bytes(index + u64::from(i) * 4, 4)?, 0);
        self.change(u64::from(offset) * 8)
    }

    /// The entry of a base part that has this key.
    pub(super) fn entry_of(&self, key: &[u8]) -> Option<Position> {
        let (mut low, mut high) = (0, self.entry_count());
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle)?;
            match entry.key().cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(entry.position()),
            }
        }
        None
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "segment {:x} [{:#x}..{:#x})", self.seq(), self.info.data_start, self.end())
    }
}
