//! One change of one key inside a record: a fixed header, then the lease if there is one, key, value and
//! padding. [`Change`] is a view that decodes a field when it is asked for; it never panics on foreign bytes,
//! because its constructor has checked that all parts lie inside the slice.

use super::position::Position;
use super::record::RECORD_HEADER;

/// Bytes of the fixed header.
pub const CHANGE_HEADER: usize = 48;
const FLAG_LEASE: u8 = 1;

/// What happened to the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ChangeOp {
    /// A put.
    Put = 0,
    /// A delete.
    Delete = 1,
}

/// A change to be appended. Lengths are checked against [`crate::limits`] by the append.
#[derive(Clone, Copy, Debug)]
pub struct NewChange<'a> {
    /// Put or delete.
    pub op: ChangeOp,
    /// 1 to [`crate::limits::KEY_BYTES_MAX`] bytes.
    pub key: &'a [u8],
    /// At most [`crate::limits::VALUE_BYTES_MAX`] bytes.
    pub value: &'a [u8],
    /// As in [`crate::KeyValue`].
    pub create_revision: i64,
    /// As in [`crate::KeyValue`].
    pub version: i64,
    /// 0: none.
    pub lease: i64,
    /// The key's change before this one.
    pub prev: Position,
    /// A change of the key further back, for long jumps.
    pub skip: Position,
    /// Changes of the key before this one; the layer above decides when it starts again.
    pub depth: u32,
}

impl NewChange<'_> {
    /// Bytes in the log, a multiple of 8.
    #[inline]
    pub fn encoded_len(&self) -> u64 {
        encoded_len(self.key.len(), self.value.len(), self.lease != 0)
    }

    /// Writes the change into `out`, which has exactly `encoded_len` bytes. `back` is its distance to the
    /// record's header.
    #[inline]
    pub(super) fn encode(&self, out: &mut [u8], back: u64) {
        let Some((head, body)) = out.split_first_chunk_mut::<CHANGE_HEADER>() else { return };
        let flags = if self.lease != 0 { FLAG_LEASE } else { 0 };
        head[0..2].copy_from_slice(&(self.key.len() as u16).to_le_bytes());
        head[2] = self.op as u8;
        head[3] = flags;
        head[4..8].copy_from_slice(&(self.value.len() as u32).to_le_bytes());
        head[8..12].copy_from_slice(&((back / 8) as u32).to_le_bytes());
        head[12..16].copy_from_slice(&self.depth.to_le_bytes());
        head[16..24].copy_from_slice(&self.create_revision.to_le_bytes());
        head[24..32].copy_from_slice(&self.version.to_le_bytes());
        head[32..40].copy_from_slice(&self.prev.to_bits().to_le_bytes());
        head[40..48].copy_from_slice(&self.skip.to_bits().to_le_bytes());
        let body = match body.split_first_chunk_mut::<8>() {
            Some((lease, rest)) if flags == FLAG_LEASE => {
                *lease = self.lease.to_le_bytes();
                rest
            }
            _ => body,
        };
        // The padding lies in the last word; it is cleared before the bytes that may share the word.
        if let Some(word) = body.last_chunk_mut::<8>() {
            *word = [0; 8];
        }
        let (key, rest) = body.split_at_mut(self.key.len().min(body.len()));
        key.copy_from_slice(&self.key[..key.len()]);
        let value = self.value.len().min(rest.len());
        rest[..value].copy_from_slice(&self.value[..value]);
    }
}

#[inline]
fn encoded_len(key: usize, value: usize, lease: bool) -> u64 {
    let lease = if lease { 8 } else { 0 };
    ((CHANGE_HEADER + lease + key + value) as u64).next_multiple_of(8)
}

/// A change in the log, borrowed from the segment that holds it.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    record: &'a [u8; RECORD_HEADER],
    head: &'a [u8; CHANGE_HEADER],
    body: &'a [u8],
    position: Position,
}

impl<'a> Change<'a> {
    /// The change at `offset` of `bytes`, which begin at the file's first byte. `None` if no change can lie
    /// there.
    #[inline]
    pub(super) fn decode(bytes: &'a [u8], offset: u64, floor: u64, seq: u32) -> Option<Self> {
        let at = usize::try_from(offset).ok()?;
        let (head, rest) = bytes.get(at..)?.split_first_chunk::<CHANGE_HEADER>()?;
        let back = u64::from(u32_at(head, 8)) * 8;
        let record =
            offset.checked_sub(back).filter(|record| *record >= floor && back >= RECORD_HEADER as u64)?;
        let record = bytes.get(record as usize..)?.first_chunk::<RECORD_HEADER>()?;
        let change = Self { record, head, body: rest, position: Position::new(seq, offset) };
        let body = rest.get(..change.body_len())?;
        Some(Self { body, ..change })
    }

    #[inline]
    fn body_len(&self) -> usize {
        self.lease_len() + self.key_len() + u32_at(self.head, 4) as usize
    }

    #[inline]
    fn lease_len(&self) -> usize {
        if self.head[3] & FLAG_LEASE != 0 { 8 } else { 0 }
    }

    #[inline]
    fn key_len(&self) -> usize {
        usize::from(u16::from_le_bytes([self.head[0], self.head[1]]))
    }

    /// Put or delete.
    #[inline]
    pub fn op(&self) -> ChangeOp {
        if self.head[2] == ChangeOp::Delete as u8 { ChangeOp::Delete } else { ChangeOp::Put }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &'a [u8] {
        let at = self.lease_len();
        &self.body[at..at + self.key_len()]
    }

    /// The value; empty for a delete.
    #[inline]
    pub fn value(&self) -> &'a [u8] {
        &self.body[self.lease_len() + self.key_len()..]
    }

    /// Revision of the transaction that made the change.
    #[inline]
    pub fn mod_revision(&self) -> i64 {
        u64_at(self.record, 8) as i64
    }

    /// Revision of the put that created the key.
    #[inline]
    pub fn create_revision(&self) -> i64 {
        u64_at(self.head, 16) as i64
    }

    /// Puts since the key was created.
    #[inline]
    pub fn version(&self) -> i64 {
        u64_at(self.head, 24) as i64
    }

    /// 0: none.
    #[inline]
    pub fn lease(&self) -> i64 {
        if self.lease_len() == 0 { 0 } else { u64_at(self.body, 0) as i64 }
    }

    /// The key's change before this one, which compaction may have dropped.
    #[inline]
    pub fn prev(&self) -> Position {
        Position::from_bits(u64_at(self.head, 32))
    }

    /// A change of the key further back, which compaction may have dropped.
    #[inline]
    pub fn skip(&self) -> Position {
        Position::from_bits(u64_at(self.head, 40))
    }

    /// As given to the append.
    #[inline]
    pub fn depth(&self) -> u32 {
        u32_at(self.head, 12)
    }

    /// Where this change lies.
    #[inline]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Bytes in the log, a multiple of 8.
    #[inline]
    pub fn encoded_len(&self) -> u64 {
        ((CHANGE_HEADER + self.body.len()) as u64).next_multiple_of(8)
    }

    /// Whether the fields that no accessor returns are as an append writes them, at this distance from the
    /// record.
    pub(super) fn is_well_formed(&self, back: u64) -> bool {
        let lease_given = self.head[3] == 0 || self.lease() != 0;
        u64::from(u32_at(self.head, 8)) * 8 == back
            && self.head[2] <= ChangeOp::Delete as u8
            && self.head[3] <= FLAG_LEASE
            && lease_given
            && self.key_len() > 0
    }
}

#[inline]
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

#[inline]
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A put without history.
    pub fn put<'a>(key: &'a [u8], value: &'a [u8], revision: i64) -> NewChange<'a> {
        NewChange {
            op: ChangeOp::Put,
            key,
            value,
            create_revision: revision,
            version: 1,
            lease: 0,
            prev: Position::NONE,
            skip: Position::NONE,
            depth: 0,
        }
    }

    #[test]
    fn every_field_comes_back() {
        for lease in [0, -5] {
            for (key, value) in
                [(&b"k"[..], &b""[..]), (b"12345678", b"x"), (b"abc", b"defgh"), (b"1234567", b"89")]
            {
                let new = NewChange {
                    op: ChangeOp::Delete,
                    key,
                    value,
                    create_revision: i64::MIN,
                    version: 7,
                    lease,
                    prev: Position::new(3, 4096),
                    skip: Position::new(2, 8192),
                    depth: 9,
                };
                let mut bytes = vec![0xee; RECORD_HEADER + new.encoded_len() as usize];
                bytes[8..16].copy_from_slice(&77u64.to_le_bytes());
                new.encode(&mut bytes[RECORD_HEADER..], RECORD_HEADER as u64);
                let change = Change::decode(&bytes, RECORD_HEADER as u64, 0, 5).unwrap();
                assert!(change.is_well_formed(RECORD_HEADER as u64));
                assert_eq!((change.key(), change.value(), change.lease()), (key, value, lease));
                assert_eq!((change.op(), change.version(), change.depth()), (ChangeOp::Delete, 7, 9));
                assert_eq!((change.mod_revision(), change.create_revision()), (77, i64::MIN));
                assert_eq!((change.prev(), change.skip()), (new.prev, new.skip));
                assert_eq!(change.position(), Position::new(5, 32));
                assert_eq!(change.encoded_len(), new.encoded_len());
                let used =
                    RECORD_HEADER + CHANGE_HEADER + key.len() + value.len() + if lease == 0 { 0 } else { 8 };
                assert!(bytes[used..].iter().all(|byte| *byte == 0));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_read_outside() {
        let mut bytes = vec![0; 256];
        for seed in 0..20_000u32 {
            for (i, byte) in bytes.iter_mut().enumerate() {
                *byte = (seed.wrapping_mul(2_654_435_761).wrapping_add(i as u32 * 40_503) >> 13) as u8;
            }
            bytes[40..48].copy_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0]);
            let offset = u64::from(seed % 64) * 8;
            if let Some(change) = Change::decode(&bytes, offset, 0, 1) {
                let all = change.key().len() + change.value().len();
                assert!(all <= bytes.len() && change.mod_revision() | change.lease() != 1 << 63);
            }
        }
        assert!(Change::decode(&bytes, u64::MAX, 0, 1).is_none());
    }
}
