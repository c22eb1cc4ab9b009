//! Reads the log from its first kept segment to its end and decides what that end is. Every record is
//! verified and shown to the visitor; nothing is changed here.
//!
//! The end is where no valid record follows. Each record names the position that was durable when it was
//! written, so a valid record anywhere proves everything below that position. An end below such a proof is
//! corruption and refused; bytes after an end above all proofs are the torn tail of a crash.

use super::header::{FileHeader, HEADER_BYTES, Naming, PAGE, corrupt, segment_name};
use super::manifest::{MANIFEST, Manifest};
use super::open::OpenVisitor;
use super::position::Position;
use super::record::{
    RECORD_HEADER, RECORD_MIN, Record, RecordHeader, RecordKind, decode_header, plausible_len, verify,
};
use super::segment::{Sampler, Segment, SegmentInfo};
use super::table::SegmentTable;
use crate::error::{Error, ErrorCode, Result};
use crate::limits::REVISION_MAX;
use crate::os::file::{Dir, File};
use crate::os::region::{Region, RegionWriter};
use std::sync::Arc;

const PIECE: usize = 1 << 20;
/// The search for proofs behind a bad record gives up after checksumming this many times its bytes.
const SEARCH_FACTOR: u64 = 16;

/// A segment file as found.
pub(super) struct Part {
    pub seq: u32,
    pub len: u64,
    pub file: Arc<dyn File>,
    /// The error is kept, because a file that was never used may be broken.
    loaded: Result<Loaded>,
}

struct Loaded {
    header: FileHeader,
    segment: Arc<Segment>,
    writer: RegionWriter,
    sampler: Sampler,
}

/// What the walk found.
pub(super) struct Recovered {
    pub parts: Vec<Part>,
    pub table: SegmentTable,
    /// Index of the last part in use, and the end of its records.
    pub last_part: usize,
    pub end: u64,
    /// Behind the last byte after the end that is not zero.
    pub dirty_end: u64,
    pub last_revision: i64,
    pub last_crc: u32,
    pub compact_revision: i64,
    pub jumps: Vec<(i64, i64)>,
    pub durable: Position,
    pub clean: bool,
    pub torn_bytes: u64,
    /// Where those are: index of the part, and from where to where.
    pub torn: Vec<(usize, u64, u64)>,
    /// Revisions that may have been seen and lost: the next ones begin above this.
    pub floor: i64,
}

impl Recovered {
    /// The sampler of the last part in use, for the writer that goes on there.
    pub fn take_sampler(self) -> Option<(Arc<dyn File>, Sampler)> {
        let part = self.parts.into_iter().nth(self.last_part)?;
        Some((part.file, part.loaded.ok()?.sampler))
    }
}

impl Part {
    pub fn open(dir: &dyn Dir, seq: u32, manifest: &Manifest, write: bool) -> Result<Self> {
        let name = segment_name(seq);
        let file = dir.open(&name, write).doing("open", &name)?;
        let len = file.len().doing("read the length of", &name)?;
        let loaded = load(&*file, &name, seq, len, manifest);
        if let Err(error) = &loaded
            && !matches!(error.code(), ErrorCode::Corrupt | ErrorCode::Format)
        {
            return Err(error.clone());
        }
        Ok(Self { seq, len, file, loaded })
    }

    fn loaded(&self) -> Result<&Loaded> {
        self.loaded.as_ref().map_err(Clone::clone)
    }
}

fn load(file: &dyn File, name: &str, seq: u32, len: u64, manifest: &Manifest) -> Result<Loaded> {
    if len < HEADER_BYTES {
        return Err(corrupt(name, len, "the file ends inside its header"));
    }
    let mut page = vec![0; PAGE];
    file.read_at(&mut page, 0).doing("read", name)?;
    let header = FileHeader::decode(&page).map_err(|error| error.into_error(name))?;
    if header.uuid != manifest.uuid || header.seq != seq {
        return Err(corrupt(name, 0, "the file belongs to another store or place"));
    }
    if header.file_len != len {
        return Err(corrupt(name, len, "the file does not have the length of its header"));
    }
    if header.generation > manifest.generation {
        let why = format!("{name} was made under generation {}, newer than this", header.generation);
        return Err(Error::new(ErrorCode::Corrupt, format!("{MANIFEST}: {why}")));
    }
    let (region, writer) = Region::new(file.map_read(len).doing("map", name)?, header.data_start);
    let info =
        SegmentInfo { seq, len, data_start: header.data_start, salt_crc: header.salt_crc(), index: None };
    let (segment, sampler) = Segment::new(info, region, i64::MAX);
    Ok(Loaded { header, segment, writer, sampler })
}

/// Opens the segments from the first kept one on; the numbers in `found` are those in the directory,
/// ascending.
pub(super) fn open_parts(
    dir: &dyn Dir,
    manifest: &Manifest,
    found: &[u32],
    write: bool,
) -> Result<Vec<Part>> {
    let kept: Vec<u32> = found.iter().copied().filter(|seq| *seq >= manifest.first_seq).collect();
    let mut parts = Vec::with_capacity(kept.len());
    for (want, seq) in (manifest.first_seq..).zip(&kept) {
        if want != *seq {
            return Err(missing(want));
        }
        parts.push(Part::open(dir, *seq, manifest, write)?);
    }
    if parts.is_empty() { Err(missing(manifest.first_seq)) } else { Ok(parts) }
}

fn missing(seq: u32) -> Error {
    Error::new(ErrorCode::Corrupt, format!("{} is missing", segment_name(seq)))
}

/// The state of the walk.
struct Walk<'a> {
    manifest: &'a Manifest,
    visit: &'a mut dyn OpenVisitor,
    table: SegmentTable,
    last_revision: Option<i64>,
    last_crc: u32,
    compact_revision: i64,
    jumps: Vec<(i64, i64)>,
    durable: Position,
    /// Session of the CLOSE, if that is the last record so far.
    closed_by: Option<u64>,
}

/// Walks all parts. `table` has the base already; `rebooted` is whether the machine was started since the
/// last writer opened the store.
pub(super) fn recover(
    mut parts: Vec<Part>,
    table: SegmentTable,
    manifest: &Manifest,
    rebooted: bool,
    visit: &mut dyn OpenVisitor,
) -> Result<Recovered> {
    let mut walk = Walk {
        manifest,
        visit,
        table,
        last_revision: None,
        last_crc: 0,
        compact_revision: manifest.compact_revision,
        jumps: Vec::new(),
        durable: Position::NONE,
        closed_by: None,
    };
    walk.table.segments =
        parts.iter().filter_map(|part| part.loaded.as_ref().ok()).map(|l| Arc::clone(&l.segment)).collect();
    let mut last_part = 0;
    let end = loop {
        let (end, sealed) = walk.part(&mut parts, last_part)?;
        if !sealed {
            break end;
        }
        last_part += 1;
        if last_part == parts.len() {
            return Err(missing(parts.last().map_or(0, |part| part.seq) + 1));
        }
    };
    walk.conclude(parts, last_part, end, rebooted)
}

impl Walk<'_> {
    /// Visits the records of one part; returns where they end and whether with a SEAL.
    fn part(&mut self, parts: &mut [Part], index: usize) -> Result<(u64, bool)> {
        let part = &mut parts[index];
        let loaded = match &mut part.loaded {
            Ok(loaded) => loaded,
            Err(error) => return Err(error.clone()),
        };
        let segment = Arc::clone(&loaded.segment);
        let info = *segment.info();
        if segment.is_rewritten() {
            self.last_revision = self.last_revision.or(Some(loaded.header.revision));
            segment.set_first_revision(loaded.header.revision + 1);
        }
        let mut at = info.data_start;
        let mut loaded_to = at;
        // Bytes are loaded before they are touched, because a failing disk shall give an error and not a
        // signal.
        let mut load = |to: u64| {
            if to <= loaded_to {
                return Ok(());
            }
            let from = std::mem::replace(&mut loaded_to, to.saturating_add(PIECE as u64).min(part.len));
            segment.region().load(from, loaded_to - from).doing("read", &segment_name(info.seq))
        };
        while let Some(rest) = loaded.writer.peek(at, part.len - at) {
            load(at + rest.len().min(RECORD_HEADER) as u64)?;
            let Some(len) = plausible_len(rest).filter(|len| *len <= rest.len() as u64) else { break };
            load(at + len)?;
            let bytes = &rest[..len as usize];
            let Some(header) = verify(bytes, info.salt_crc, at) else { break };
            let crc = super::change::u32_at(bytes, 4);
            loaded.sampler.note(at);
            loaded.writer.publish(segment.region(), at + len);
            let Some(record) = Record::at(&segment, at) else { break };
            self.accept(&record, &header, at)?;
            self.last_crc = crc;
            at += len;
            if header.kind == RecordKind::Seal {
                return Ok((at, true));
            }
        }
        Ok((at, false))
    }

    /// Checks that the record follows the one before, and shows it to the visitor.
    fn accept(&mut self, record: &Record<'_>, header: &RecordHeader, at: u64) -> Result<()> {
        let segment = record.segment();
        let fail = |why: &str| Err(corrupt(&segment_name(segment.seq()), at, why));
        let (first, second) = record.payload();
        let is_first = at == segment.info().data_start && !segment.is_rewritten();
        if is_first != (header.kind == RecordKind::Start) {
            return fail("a segment begins with its START record, and nothing else is one");
        }
        if is_first {
            let before = u64::from(self.last_crc) | u64::from(segment.seq() - 1) << 32;
            if self.last_revision.is_some() && first != before {
                return fail("the segment does not follow the one before it");
            }
            self.last_revision.get_or_insert(header.revision);
            segment.set_first_revision(header.revision + 1);
        }
        let Some(last) = self.last_revision else { return fail("the records have no beginning") };
        let follows = match header.kind {
            RecordKind::Txn => header.revision == last + 1,
            RecordKind::Epoch => {
                first as i64 == last && second as i64 == header.revision && header.revision > last
            }
            RecordKind::Base => false,
            _ => header.revision == last,
        };
        if !follows || header.revision > REVISION_MAX {
            return fail("the revision does not follow the one before it");
        }
        self.durable = self.durable.max(header.durable);
        self.last_revision = Some(header.revision);
        self.closed_by = (header.kind == RecordKind::Close).then_some(first);
        match header.kind {
            RecordKind::Compact => self.compact_revision = self.compact_revision.max(first as i64),
            RecordKind::Epoch => self.jumps.push((last, header.revision)),
            RecordKind::Txn if header.revision >= self.table.first_revision => {
                return self.visit.record(&self.table, record);
            }
            _ => {}
        }
        Ok(())
    }

    /// Decides what the end at `end` of `last_part` is.
    fn conclude(self, parts: Vec<Part>, last_part: usize, end: u64, rebooted: bool) -> Result<Recovered> {
        let name = segment_name(parts[last_part].seq);
        let is_empty_store = self.manifest.first_seq == 1 && self.manifest.base_revision == 0;
        let Some(last_revision) = self.last_revision.or(is_empty_store.then_some(1)) else {
            return Err(corrupt(&name, end, "the first segment does not say which revision it begins with"));
        };
        let clean = self.closed_by == Some(self.manifest.session);
        let at_risk = self.manifest.is_relaxed() && rebooted && !clean;
        let here = Position::new(parts[last_part].seq, end);
        let mut durable = self.durable;
        let mut torn = Vec::new();
        let mut dirty_end = end;
        let mut later_use = None;
        if !clean {
            for (index, part) in parts.iter().enumerate().skip(last_part) {
                let from = if index == last_part { end } else { HEADER_BYTES };
                let dirty = last_nonzero(part, from)?;
                let proof = search(part, from, dirty, last_revision);
                durable = durable.max(proof.unwrap_or_default());
                if dirty > from {
                    torn.push((index, from, dirty));
                }
                if index == last_part {
                    dirty_end = dirty;
                } else if proof.is_some() {
                    later_use = later_use.or(Some(part.seq));
                }
            }
        }
        if here < durable {
            return Err(corrupt(&name, end, "a record that had reached the disk is not valid any more"));
        }
        if let Some(later) = later_use.filter(|_| !at_risk) {
            let why = format!("no valid record follows, but {} is in use", segment_name(later));
            return Err(corrupt(&name, end, &why));
        }
        let lost = (parts[last_part].len - end) / RECORD_MIN
            + parts[last_part + 1..].iter().map(|part| part.len / RECORD_MIN).sum::<u64>();
        let floor = if at_risk { last_revision.saturating_add(1).saturating_add_unsigned(lost) } else { 0 };
        let mut table = self.table;
        table.segments.truncate(last_part + 1);
        Ok(Recovered {
            parts,
            table,
            last_part,
            end,
            dirty_end,
            last_revision,
            last_crc: self.last_crc,
            compact_revision: self.compact_revision,
            jumps: self.jumps,
            // A CLOSE whose sync failed is in the cache of this boot only; what it names was on disk before it.
            durable: if clean && rebooted { here } else { durable },
            clean,
            torn_bytes: torn.iter().map(|(_, from, to)| to - from).sum(),
            torn,
            floor: floor.max(self.manifest.floor).min(REVISION_MAX),
        })
    }
}

/// The offset behind the last byte at or after `from` that is not zero, rounded up to 8.
fn last_nonzero(part: &Part, from: u64) -> Result<u64> {
    let name = segment_name(part.seq);
    let mut piece = vec![0; PIECE.min(part.len.saturating_sub(from) as usize)];
    let mut at = from;
    let mut end = from;
    while at < part.len {
        let len = (part.len - at).min(PIECE as u64) as usize;
        part.file.read_at(&mut piece[..len], at).doing("read", &name)?;
        // Nearly all of it is zero, so a line is looked at as a whole, which takes the processor a step or two.
        let is_used = |line: &[u8]| line.iter().fold(0, |all, byte| all | byte) != 0;
        if let Some(last) = piece[..len].chunks(64).rposition(is_used) {
            let line = &piece[last * 64..(last * 64 + 64).min(len)];
            let in_line = line.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            end = at + (last * 64 + in_line + 1) as u64;
        }
        at += len as u64;
    }
    Ok(end.next_multiple_of(8).min(part.len.max(from)))
}

/// Looks for valid records in a range, and returns the highest durable position that they name.
fn search(part: &Part, from: u64, to: u64, last_revision: i64) -> Option<Position> {
    let loaded = part.loaded().ok()?;
    let rest = loaded.writer.peek(from, part.len - from)?;
    let salt_crc = loaded.segment.info().salt_crc;
    let mut budget = (to - from) * SEARCH_FACTOR;
    let mut found: Option<Position> = None;
    let mut at = from;
    while at < to {
        let bytes = &rest[(at - from) as usize..];
        let likely = plausible_len(bytes).filter(|len| *len <= bytes.len() as u64 && *len <= budget);
        let header = decode_header(bytes).filter(|header| header.revision >= last_revision);
        let (Some(len), Some(_)) = (likely, header) else {
            at += 8;
            continue;
        };
        budget -= len;
        match verify(&bytes[..len as usize], salt_crc, at) {
            Some(header) => {
                found = found.max(Some(header.durable));
                at += len;
            }
            None => at += 8,
        }
    }
    found
}
