//! A record is one transaction or one mark of the log itself: a header, the changes in sub order, one
//! checksum over all of it that also depends on the segment and the offset, so a record that lies in the
//! wrong place is not valid.

use super::change::{Change, NewChange, u32_at, u64_at};
use super::position::Position;
use super::segment::Segment;
use std::sync::Arc;

/// Bytes of the header.
pub const RECORD_HEADER: usize = 32;
/// The smallest record that consumes a revision: header, change header, a key of one byte, padded.
pub const RECORD_MIN: u64 = 88;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A transaction; the only kind that readers see.
    Txn = 1,
    /// Everything below a revision was compacted. Does not consume a revision.
    Compact = 2,
    /// The last record of a full segment.
    Seal = 3,
    /// The writer left in order.
    Close = 4,
    /// Revisions were skipped, because the ones between may have been seen before a crash.
    Epoch = 5,
    /// One live key in the base.
    Base = 6,
    /// The first record of a segment: what came before it.
    Start = 7,
}

impl RecordKind {
    fn from_byte(byte: u8) -> Option<Self> {
        const ALL: [RecordKind; 7] = [
            RecordKind::Txn,
            RecordKind::Compact,
            RecordKind::Seal,
            RecordKind::Close,
            RecordKind::Epoch,
            RecordKind::Base,
            RecordKind::Start,
        ];
        ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Bytes behind the header, for the kinds that carry no changes.
    fn payload_len(self) -> Option<usize> {
        match self {
            Self::Txn | Self::Base => None,
            Self::Seal => Some(0),
            Self::Compact | Self::Close | Self::Start => Some(8),
            Self::Epoch => Some(16),
        }
    }
}

/// The checksum of the record at `offset`: CRC32C over salt, offset / 8, length, and the record from its
/// revision on.
#[inline]
pub(super) fn checksum(salt_crc: u32, offset: u64, record: &[u8]) -> u32 {
    let place = (offset / 8) << 32 | record.len() as u64;
    let seeded = crc32c::crc32c_append(salt_crc, &place.to_le_bytes());
    crc32c::crc32c_append(seeded, record.get(8..).unwrap_or_default())
}

/// What a record's header says.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordHeader {
    pub kind: RecordKind,
    pub revision: i64,
    pub durable: Position,
    pub change_count: u32,
}

impl RecordHeader {
    /// Fills in the header of `record` except its length word, and returns the checksum.
    #[inline]
    pub fn encode(&self, record: &mut [u8], salt_crc: u32, offset: u64) -> u32 {
        if let Some(head) = record.first_chunk_mut::<RECORD_HEADER>() {
            head[8..16].copy_from_slice(&self.revision.to_le_bytes());
            head[16..24].copy_from_slice(&self.durable.to_bits().to_le_bytes());
            head[24..28].copy_from_slice(&self.change_count.to_le_bytes());
            head[28..32].copy_from_slice(&[self.kind as u8, 0, 0, 0]);
        }
        let crc = checksum(salt_crc, offset, record);
        if let Some(word) = record.get_mut(4..8) {
            word.copy_from_slice(&crc.to_le_bytes());
        }
        crc
    }
}

/// Writes the changes behind the header of `record`, which has exactly their length.
#[inline]
pub(super) fn encode_changes(record: &mut [u8], changes: &[NewChange<'_>]) {
    let mut at = RECORD_HEADER;
    for change in changes {
        let len = change.encoded_len() as usize;
        if let Some(out) = record.get_mut(at..at + len) {
            change.encode(out, at as u64);
        }
        at += len;
    }
}

/// Length of the record that begins with `bytes`, if it is one that could be written; 0 is no record.
#[inline]
pub(super) fn plausible_len(bytes: &[u8]) -> Option<u64> {
    let head = bytes.first_chunk::<RECORD_HEADER>()?;
    let len = u64::from(u32_at(head, 0));
    (len >= RECORD_HEADER as u64 && len % 8 == 0).then_some(len)
}

/// Checks everything about the record that fills `record`: checksum, kind, structure.
pub(super) fn verify(record: &[u8], salt_crc: u32, offset: u64) -> Option<RecordHeader> {
    let header = decode_header(record)?;
    if checksum(salt_crc, offset, record) != u32_at(record, 4) {
        return None;
    }
    if let Some(len) = header.kind.payload_len() {
        return (header.change_count == 0 && record.len() == RECORD_HEADER + len).then_some(header);
    }
    let mut at = RECORD_HEADER as u64;
    for _ in 0..header.change_count {
        let change = Change::decode(record, at, 0, 0)?;
        if !change.is_well_formed(at) {
            return None;
        }
        at += change.encoded_len();
    }
    (header.change_count > 0 && at == record.len() as u64).then_some(header)
}

/// The header fields without their checksum being verified; `None` if they cannot be those of a record.
pub(super) fn decode_header(record: &[u8]) -> Option<RecordHeader> {
    let head = record.first_chunk::<RECORD_HEADER>()?;
    let kind = RecordKind::from_byte(head[28]).filter(|_| head[29..32] == [0; 3])?;
    Some(RecordHeader {
        kind,
        revision: u64_at(head, 8) as i64,
        durable: Position::from_bits(u64_at(head, 16)),
        change_count: u32_at(head, 24),
    })
}

/// A record of the log, borrowed from its segment.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    segment: &'a Arc<Segment>,
    bytes: &'a [u8],
    offset: u64,
    end: u64,
}

impl<'a> Record<'a> {
    /// The record at `offset` below the segment's end; `None` at the end.
    #[inline]
    pub(super) fn at(segment: &'a Arc<Segment>, offset: u64) -> Option<Self> {
        let bytes = segment.all_bytes();
        let rest = bytes.get(usize::try_from(offset).ok()?..)?;
        let len = plausible_len(rest).filter(|len| *len <= rest.len() as u64)?;
        Some(Self { segment, bytes, offset, end: offset + len })
    }

    #[inline]
    fn head(&self) -> &'a [u8] {
        &self.bytes[self.offset as usize..self.offset as usize + RECORD_HEADER]
    }

    /// Revision of the transaction; of other kinds, the current revision when they were written.
    #[inline]
    pub fn revision(&self) -> i64 {
        u64_at(self.head(), 8) as i64
    }

    /// What the record is.
    #[inline]
    pub fn kind(&self) -> RecordKind {
        RecordKind::from_byte(self.head()[28]).unwrap_or(RecordKind::Seal)
    }

    #[inline]
    pub(super) fn is_txn(&self) -> bool {
        self.head()[28] == RecordKind::Txn as u8
    }

    #[inline]
    pub(super) fn is_seal(&self) -> bool {
        self.head()[28] == RecordKind::Seal as u8
    }

    /// Number of changes.
    #[inline]
    pub fn change_count(&self) -> u32 {
        u32_at(self.head(), 24)
    }

    /// The changes in sub order.
    #[inline]
    pub fn changes(&self) -> Changes<'a> {
        let next = self.offset + RECORD_HEADER as u64;
        Changes { record: *self, next, left: self.change_count() }
    }

    /// Offset of the byte behind the record.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The segment that holds it.
    #[inline]
    pub fn segment(&self) -> &'a Arc<Segment> {
        self.segment
    }

    /// The two numbers behind the header of a mark, 0 where it has fewer.
    pub(super) fn payload(&self) -> (u64, u64) {
        let payload = &self.bytes[self.offset as usize + RECORD_HEADER..self.end as usize];
        let word = |at: usize| if payload.len() >= at + 8 { u64_at(payload, at) } else { 0 };
        (word(0), word(8))
    }
}

/// The changes of one record in sub order.
#[derive(Clone)]
pub struct Changes<'a> {
    record: Record<'a>,
    next: u64,
    left: u32,
}

impl<'a> Iterator for Changes<'a> {
    type Item = Change<'a>;

    #[inline]
    fn next(&mut self) -> Option<Change<'a>> {
        if self.left == 0 || self.next >= self.record.end {
            return None;
        }
        let change =
            Change::decode(self.record.bytes, self.next, self.record.offset, self.record.segment.seq())?;
        self.left -= 1;
        self.next += change.encoded_len();
        Some(change)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left as usize))
    }
}
