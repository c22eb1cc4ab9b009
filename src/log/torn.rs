//! What a crash left behind the end of the log is set aside before it is cleared: a copy in a file of its own, under
//! its final name and synced, so that a crash at any step leaves the bytes in one of the two places. The library
//! never reads such a file again but to clear once more what it names; only so many of the newest are kept.

use super::change::{u32_at, u64_at};
use super::header::{FORMAT_MAJOR, FORMAT_MINOR, Name, Naming, PAGE, array_at, open_page, seal_page};
use super::manifest::Manifest;
use super::recover::Recovered;
use crate::error::{ErrorCode, Result};
use crate::os::file::Dir;
use crate::report::{self, LOG_WARN};

/// Files that are kept.
pub(super) const FILES_MAX: usize = 4;
/// Bytes that one file takes from the log; what is above is only counted.
pub(super) const BYTES_MAX: u64 = 64 << 20;
const MAGIC: &[u8; 8] = b"libwTRN\n";
const RANGES_AT: usize = 64;
const RANGE_BYTES: usize = 32;
const RANGES_MAX: usize = (PAGE - 4 - RANGES_AT) / RANGE_BYTES;
const PIECE: u64 = 1 << 20;

/// Bytes of one segment that no valid record covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TornRange {
    pub seq: u32,
    pub from: u64,
    pub to: u64,
    /// So many of them are in the file, with this checksum.
    pub stored: u64,
    pub crc: u32,
}

/// The first page of such a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TornHeader {
    pub uuid: [u8; 16],
    /// The session that ended with the crash.
    pub session: u64,
    /// The last revision before the bytes.
    pub revision: i64,
    pub ranges: Vec<TornRange>,
}

impl TornHeader {
    fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(8, &FORMAT_MAJOR.to_le_bytes());
        put(10, &FORMAT_MINOR.to_le_bytes());
        put(12, &(self.ranges.len() as u32).to_le_bytes());
        put(16, &self.uuid);
        put(32, &self.session.to_le_bytes());
        put(40, &self.revision.to_le_bytes());
        for (i, range) in self.ranges.iter().enumerate() {
            let at = RANGES_AT + i * RANGE_BYTES;
            put(at, &range.seq.to_le_bytes());
            put(at + 4, &range.crc.to_le_bytes());
            put(at + 8, &range.from.to_le_bytes());
            put(at + 16, &(range.to - range.from).to_le_bytes());
            put(at + 24, &range.stored.to_le_bytes());
        }
        seal_page(&mut page);
        page
    }

    pub fn decode(page: &[u8]) -> Option<Self> {
        open_page(page, MAGIC).ok()?;
        let count = u32_at(page, 12) as usize;
        let range = |i: usize| {
            let at = RANGES_AT + i * RANGE_BYTES;
            let from = u64_at(page, at + 8);
            let to = from.checked_add(u64_at(page, at + 16))?;
            Some(TornRange {
                seq: u32_at(page, at),
                from,
                to,
                stored: u64_at(page, at + 24),
                crc: u32_at(page, at + 4),
            })
        };
        let ranges: Option<Vec<_>> = (0..count).map(range).take(RANGES_MAX + 1).collect();
        let ranges = ranges.filter(|ranges| ranges.len() == count && count <= RANGES_MAX)?;
        let (uuid, session) = (array_at(page, 16), u64_at(page, 32));
        Some(Self { uuid, session, revision: u64_at(page, 40) as i64, ranges })
    }
}

pub(super) fn torn_name(number: u32) -> String {
    format!("torn-{number:08x}.lws")
}

/// Numbers of the files there are, ascending.
fn numbers(names: &[(String, Name)]) -> Vec<u32> {
    let number =
        |(_, kind): &(String, Name)| if let Name::Torn(number) = kind { Some(*number) } else { None };
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Sets the torn bytes aside, unless an earlier opening did and came no further, and returns the offset up to which
/// the last segment in use is to be cleared. A full disk does not keep the store closed: then the bytes are only
/// counted.
pub(super) fn set_aside(
    dir: &dyn Dir,
    manifest: &Manifest,
    found: &Recovered,
    names: &[(String, Name)],
) -> Result<u64> {
    let numbers = numbers(names);
    let last = found.parts[found.last_part].seq;
    if let Some(before) = numbers.last().and_then(|number| earlier(dir, manifest, *number))
        && before.ranges.first().is_some_and(|range| range.seq != last || range.from == found.end)
    {
        // What was cleared then may be clear in the cache only.
        let cleared = before.ranges.iter().filter(|range| range.seq == last).map(|range| range.to).max();
        dir.sync().doing("sync", &dir.describe())?;
        return Ok(found.dirty_end.max(cleared.unwrap_or(0)).min(found.parts[found.last_part].len));
    }
    if found.torn.is_empty() {
        return Ok(found.dirty_end);
    }
    let number = numbers.last().map_or(1, |last| last.saturating_add(1));
    let name = torn_name(number);
    let temporary = format!("{name}.tmp");
    match write(dir, manifest, found, &temporary, &name) {
        Ok(()) => {
            let bytes = found.torn_bytes;
            report::say(LOG_WARN, format_args!("set {bytes} torn bytes aside in {name}"));
            let excess = (numbers.len() + 1).saturating_sub(FILES_MAX);
            for old in &numbers[..excess.min(numbers.len())] {
                dir.remove(&torn_name(*old)).doing("remove", &torn_name(*old))?;
            }
        }
        Err(error) if error.code() == ErrorCode::NoSpace => {
            let _ = dir.remove(&temporary);
            report::say(LOG_WARN, format_args!("torn bytes are not set aside: {error}"));
        }
        Err(error) => return Err(error),
    }
    Ok(found.dirty_end)
}

/// The file of an opening that found the same crash.
fn earlier(dir: &dyn Dir, manifest: &Manifest, number: u32) -> Option<TornHeader> {
    let mut page = vec![0; PAGE];
    dir.open(&torn_name(number), false).and_then(|file| file.read_at(&mut page, 0)).ok()?;
    let header = TornHeader::decode(&page)?;
    (header.uuid == manifest.uuid && header.session == manifest.session).then_some(header)
}

fn write(dir: &dyn Dir, manifest: &Manifest, found: &Recovered, temporary: &str, name: &str) -> Result<()> {
    let mut header = TornHeader {
        uuid: manifest.uuid,
        session: manifest.session,
        revision: found.last_revision,
        ranges: Vec::new(),
    };
    let file = dir.create(temporary).doing("create", temporary)?;
    let mut at = PAGE as u64;
    for (index, from, to) in found.torn.iter().take(RANGES_MAX) {
        let part = &found.parts[*index];
        let stored = (to - from).min(BYTES_MAX - (at - PAGE as u64).min(BYTES_MAX));
        let mut crc = 0;
        let mut piece = vec![0; stored.min(PIECE) as usize];
        for done in (0..stored).step_by(PIECE as usize) {
            let piece = &mut piece[..(stored - done).min(PIECE) as usize];
            part.file.read_at(piece, from + done).doing("read", &super::header::segment_name(part.seq))?;
            crc = crc32c::crc32c_append(crc, piece);
            file.write_at(piece, at + done).doing("write", temporary)?;
        }
        at += stored;
        header.ranges.push(TornRange { seq: part.seq, from: *from, to: *to, stored, crc });
    }
    file.write_at(&header.encode(), 0).doing("write", temporary)?;
    file.sync_data().doing("sync", temporary)?;
    dir.rename(temporary, name).doing("rename", name)?;
    dir.sync().doing("sync", &dir.describe())
}
