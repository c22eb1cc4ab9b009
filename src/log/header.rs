//! The first page of every segment and base part: which store and place the file belongs to, and where its
//! records lie. It is written and synced once, before the first record; what is known only later stands in
//! the first record instead.

use super::change::{u32_at, u64_at};
use super::position::BASE_BIT;
use crate::error::{Error, ErrorCode, Result};

/// Bytes in front of the records of every file.
pub const HEADER_BYTES: u64 = 4096;
/// Version of the format: another major number cannot be read.
pub const FORMAT_MAJOR: u16 = 1;
/// Version of the format: another minor number can be read.
pub const FORMAT_MINOR: u16 = 0;
pub(super) const PAGE: usize = HEADER_BYTES as usize;
const MAGIC: &[u8; 8] = b"libwSEG\n";
const KIND_LOG: u32 = 1;
const KIND_BASE: u32 = 2;
const CRC_AT: usize = PAGE - 4;

/// The decoded page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub uuid: [u8; 16],
    pub salt: [u8; 16],
    pub seq: u32,
    pub file_len: u64,
    /// Where the records begin. Above `HEADER_BYTES` only in a rewritten segment.
    pub data_start: u64,
    /// Generation of the manifest when the file was made.
    pub generation: u64,
    /// Of a rewritten segment: the revision before its first record. Of a base part: the revision of the
    /// base.
    pub revision: i64,
    /// Of a base part: where the sorted offsets begin, their number and their checksum.
    pub index_at: u64,
    pub index_count: u32,
    pub index_crc: u32,
}

impl FileHeader {
    pub fn salt_crc(&self) -> u32 {
        crc32c::crc32c(&self.salt)
    }

    pub fn is_base(&self) -> bool {
        self.seq & BASE_BIT != 0
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(8, &FORMAT_MAJOR.to_le_bytes());
        put(10, &FORMAT_MINOR.to_le_bytes());
        put(12, &if self.is_base() { KIND_BASE } else { KIND_LOG }.to_le_bytes());
        put(16, &self.uuid);
        put(32, &self.salt);
        put(48, &self.seq.to_le_bytes());
        put(56, &self.file_len.to_le_bytes());
        put(64, &self.data_start.to_le_bytes());
        put(72, &self.generation.to_le_bytes());
        put(80, &self.revision.to_le_bytes());
        put(88, &self.index_at.to_le_bytes());
        put(96, &self.index_count.to_le_bytes());
        put(100, &self.index_crc.to_le_bytes());
        seal_page(&mut page);
        page
    }

    /// The header in `page`; the error says what is wrong with it, `Format` if another version wrote it.
    pub fn decode(page: &[u8]) -> std::result::Result<Self, PageError> {
        open_page(page, MAGIC)?;
        let header = Self {
            uuid: array_at(page, 16),
            salt: array_at(page, 32),
            seq: u32_at(page, 48),
            file_len: u64_at(page, 56),
            data_start: u64_at(page, 64),
            generation: u64_at(page, 72),
            revision: u64_at(page, 80) as i64,
            index_at: u64_at(page, 88),
            index_count: u32_at(page, 96),
            index_crc: u32_at(page, 100),
        };
        let kind = if header.is_base() { KIND_BASE } else { KIND_LOG };
        let starts_inside = (HEADER_BYTES..=header.file_len).contains(&header.data_start);
        let index_end = header.index_at.saturating_add(u64::from(header.index_count) * 4);
        let index_fits =
            !header.is_base() || header.index_at >= header.data_start && index_end <= header.file_len;
        if u32_at(page, 12) != kind || !starts_inside || !header.data_start.is_multiple_of(8) || !index_fits {
            return Err(PageError::Corrupt("the header contradicts itself"));
        }
        Ok(header)
    }
}

/// Why a page cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PageError {
    /// Written by another version of the format.
    Format(u16),
    Corrupt(&'static str),
}

impl PageError {
    pub fn into_error(self, place: &str) -> Error {
        match self {
            Self::Format(major) => Error::new(
                ErrorCode::Format,
                format!("{place}, offset 8: it has format {major}; this library reads format {FORMAT_MAJOR}"),
            ),
            Self::Corrupt(why) => corrupt(place, 0, why),
        }
    }
}

/// Puts the checksum into the last word of a page.
pub(super) fn seal_page(page: &mut [u8]) {
    let crc = crc32c::crc32c(&page[..CRC_AT]);
    page[CRC_AT..PAGE].copy_from_slice(&crc.to_le_bytes());
}

/// Checks magic, version and checksum of a page, in this order.
pub(super) fn open_page(page: &[u8], magic: &[u8; 8]) -> std::result::Result<(), PageError> {
    if page.len() != PAGE || page[..8] != magic[..] {
        return Err(PageError::Corrupt("the magic number is missing"));
    }
    let major = u16::from_le_bytes([page[8], page[9]]);
    let intact = crc32c::crc32c(&page[..CRC_AT]) == u32_at(page, CRC_AT);
    match (major == FORMAT_MAJOR, intact) {
        (true, true) => Ok(()),
        // The place of the checksum is part of the version, so an unknown version is reported as such.
        (false, _) => Err(PageError::Format(major)),
        (true, false) => Err(PageError::Corrupt("the checksum of the page is wrong")),
    }
}

pub(super) fn array_at(bytes: &[u8], at: usize) -> [u8; 16] {
    let mut array = [0; 16];
    array.copy_from_slice(&bytes[at..at + 16]);
    array
}

pub(super) fn segment_name(seq: u32) -> String {
    format!("seg-{seq:016x}.lws")
}

pub(super) fn base_name(seq: u32) -> String {
    format!("base-{seq:08x}.lws")
}

pub(super) fn file_name(seq: u32) -> String {
    if seq & BASE_BIT == 0 { segment_name(seq) } else { base_name(seq) }
}

/// What a name in the directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Segment(u32),
    Base(u32),
    /// Set aside by a recovery.
    Torn(u32),
    Leftover,
    Other,
}

pub(super) fn parse_name(name: &str) -> Name {
    let number = |prefix: &str| {
        let digits = name.strip_prefix(prefix)?.strip_suffix(".lws")?;
        u32::from_str_radix(digits, 16).ok()
    };
    let ours = ["seg-", "base-", "torn-", "MANIFEST"].iter().any(|prefix| name.starts_with(prefix));
    if let Some(number) = number("torn-").filter(|number| super::torn::torn_name(*number) == name) {
        return Name::Torn(number);
    }
    match (number("seg-"), number("base-")) {
        (Some(seq), _) if segment_name(seq) == name && seq & BASE_BIT == 0 && seq > 0 => Name::Segment(seq),
        (_, Some(seq)) if base_name(seq) == name && seq & BASE_BIT != 0 => Name::Base(seq),
        _ if ours && name.ends_with(".tmp") => Name::Leftover,
        _ => Name::Other,
    }
}

/// The error for bytes that are not what was written.
pub(super) fn corrupt(name: &str, offset: u64, why: &str) -> Error {
    Error::new(ErrorCode::Corrupt, format!("{name}, offset {offset}: {why}"))
}

/// Turns what the system answered into an error that names the file.
pub(super) trait Naming<T> {
    fn doing(self, what: &str, name: &str) -> Result<T>;
}

impl<T> Naming<T> for std::io::Result<T> {
    fn doing(self, what: &str, name: &str) -> Result<T> {
        self.map_err(|error| Error::io(format_args!("{what} {name}"), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(seq: u32) -> FileHeader {
        FileHeader {
            uuid: [1; 16],
            salt: [2; 16],
            seq,
            file_len: 1 << 20,
            data_start: 8192,
            generation: 5,
            revision: -7,
            index_at: 1 << 19,
            index_count: 100,
            index_crc: 9,
        }
    }

    #[test]
    fn every_field_comes_back_and_every_bit_counts() {
        for seq in [3, BASE_BIT | 3] {
            let page = header(seq).encode();
            assert_eq!(FileHeader::decode(&page), Ok(header(seq)));
            for bit in [0, 65, 200, 400, 700, 8 * 2000, 8 * PAGE - 1] {
                let mut bad = page.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(FileHeader::decode(&bad).is_err(), "bit {bit}");
            }
        }
        let mut newer = header(3).encode();
        newer[8] = 2;
        assert_eq!(FileHeader::decode(&newer), Err(PageError::Format(2)));
    }

    #[test]
    fn names_lead_back_to_numbers() {
        assert_eq!(parse_name(&segment_name(255)), Name::Segment(255));
        assert_eq!(parse_name("seg-00000000000000ff.lws"), Name::Segment(255));
        assert_eq!(parse_name(&base_name(BASE_BIT | 1)), Name::Base(BASE_BIT | 1));
        assert_eq!(parse_name("base-80000001.lws.tmp"), Name::Leftover);
        assert_eq!(parse_name("torn-0000000a.lws"), Name::Torn(10));
        assert_eq!(parse_name("torn-0000000a.lws.tmp"), Name::Leftover);
        for other in
            ["LOCK", "seg-ff.lws", "seg-0000000000000000.lws", "base-00000001.lws", "x.tmp", "MANIFEST"]
        {
            assert_eq!(parse_name(other), Name::Other, "{other}");
        }
    }
}
