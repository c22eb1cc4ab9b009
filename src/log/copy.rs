//! A consistent copy of a log in another directory: what the log held at one revision, as a store of its own
//! that was closed in order. Places stay as they are, so positions stay valid; identity, salts and with them
//! all checksums are new, so no file of the one store can pass for a file of the other. Each record is verified
//! before it gets its new checksum.
//!
//! The source goes on meanwhile: bytes below a segment's end never change, and the table in hand keeps the
//! files that a compaction drops.

use super::header::{FileHeader, HEADER_BYTES, Naming, corrupt, file_name};
use super::manifest::{Manifest, ManifestFile};
use super::position::Position;
use super::record::{RECORD_HEADER, Record, RecordHeader, RecordKind, checksum, plausible_len, verify};
use super::segment::Segment;
use super::shared::Log;
use super::table::SegmentTable;
use crate::error::Result;
use crate::limits::REVISION_MAX;
use crate::options::Durability;
use crate::os::file::{Dir, File};
use crate::sync::lock;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const PIECE: u64 = 1 << 20;
/// Room for a SEAL and a CLOSE, twice: the CLOSE of the copy, and what its next writer needs to leave the file.
const ROOM_BYTES: u64 = 2 * (RECORD_HEADER as u64 * 2 + 8);
/// The writer of a copy goes on at the next multiple of this, far from what the source may have reached since:
/// 5 years away at 100,000 revisions a second.
const FORK_BITS: u32 = 44;

/// What a copy holds.
#[derive(Clone, Copy, Debug)]
pub struct Copied {
    /// The revision of its last record.
    pub revision: i64,
    /// The revision at which its first writer goes on.
    pub floor: i64,
    /// Bytes of log and base.
    pub bytes: u64,
}

/// The revision at which the writer of a copy made at `revision` goes on.
pub fn floor_of(revision: i64) -> i64 {
    let fork = ((revision >> FORK_BITS) + 1).saturating_mul(1 << FORK_BITS);
    if fork < REVISION_MAX { fork } else { revision }
}

impl Log {
    /// Writes what the log holds at `revision`, which readers see already, to a directory without store.
    /// `done` is told the bytes so far. On an error the directory holds no store.
    pub fn copy_to(
        &self,
        table: &SegmentTable,
        revision: i64,
        to: &dyn Dir,
        done: &mut dyn FnMut(u64),
    ) -> Result<Copied> {
        let mut random = [0; 24];
        to.random(&mut random).doing("draw the identity of", &to.describe())?;
        let mut copy = Copy { to, uuid: super::header::array_at(&random, 0), done, bytes: 0 };
        // The log ends in the last segment that had a record at the revision.
        let begins = |segment: &&Arc<Segment>| {
            Record::at(segment, segment.info().data_start).is_some_and(|first| first.revision() <= revision)
        };
        let used = table.segments.iter().take_while(begins).count().max(1);
        let now = lock(&self.manifest).now().clone();
        for part in &table.base {
            copy.base_part(part, table.base_revision)?;
        }
        let mut before = (0, revision);
        for (i, segment) in table.segments[..used].iter().enumerate() {
            let end = (i + 1 == used).then_some(Ending { revision, session: now.session });
            before = copy.segment(segment, before.0, end)?;
        }
        let revision = before.1;
        let compacted = self.compact_revision.load(Ordering::Acquire).min(revision);
        let manifest = Manifest {
            generation: 1,
            uuid: copy.uuid,
            hash_seed: super::change::u64_at(&random, 16),
            session: now.session,
            boot_id: [0; 16],
            durability: Durability::Commit,
            first_seq: table.segments.first().map_or(1, |first| first.seq()),
            base_first: table.base_first,
            base_count: table.base.len() as u32,
            base_revision: table.base_revision,
            first_revision: table.first_revision,
            compact_revision: compacted,
            floor: floor_of(revision),
            segment_bytes: now.segment_bytes,
        };
        let copied = Copied { revision, floor: manifest.floor, bytes: copy.bytes };
        drop(to.lock("LOCK", true).doing("make the lock of", &to.describe())?);
        to.sync().doing("sync", &to.describe())?;
        ManifestFile::create(to, manifest)?;
        Ok(copied)
    }
}

/// How the last segment of the copy ends: behind this revision, with a CLOSE of this session.
#[derive(Clone, Copy)]
struct Ending {
    revision: i64,
    session: u64,
}

struct Copy<'a> {
    to: &'a dyn Dir,
    uuid: [u8; 16],
    done: &'a mut dyn FnMut(u64),
    bytes: u64,
}

impl Copy<'_> {
    /// Copies a segment that follows one whose last record had the checksum `before`. Answers checksum and
    /// revision of its own last record.
    fn segment(&mut self, from: &Arc<Segment>, before: u32, end: Option<Ending>) -> Result<(u32, i64)> {
        let info = *from.info();
        let name = file_name(info.seq);
        let stop = end.map_or(from.end(), |end| from.locate(end.revision.saturating_add(1)));
        let len = match end {
            Some(_) => info.len.max((stop + ROOM_BYTES).next_multiple_of(HEADER_BYTES)),
            None => info.len,
        };
        let mut out = Out::create(self, info.seq, info.data_start)?;
        // The last one will be written through a mapping, which needs its room; the others never are again.
        let made = if end.is_some() { out.file.allocate(len) } else { out.file.extend_sparse(len) };
        made.doing("make room in", &name)?;
        let mut at = info.data_start;
        let mut last = (before, from.first_revision() - 1);
        let mut loaded = at;
        let mut any = false;
        while at < stop {
            load(from, &name, &mut loaded, at + RECORD_HEADER as u64)?;
            let record = Record::at(from, at).ok_or_else(|| corrupt(&name, at, "no record is here"))?;
            load(from, &name, &mut loaded, record.end())?;
            let bytes = from.bytes(at, record.end() - at).unwrap_or_default();
            let header = verify(bytes, info.salt_crc, at)
                .ok_or_else(|| corrupt(&name, at, "the record is not valid any more"))?;
            if end.is_some() && header.kind == RecordKind::Seal {
                break;
            }
            let copy = out.push(bytes);
            if header.kind == RecordKind::Start && info.seq > 1 {
                copy[RECORD_HEADER..RECORD_HEADER + 4].copy_from_slice(&before.to_le_bytes());
            }
            last = (out.seal_record(at), header.revision);
            at = record.end();
            any = true;
            self.bytes += bytes.len() as u64;
            (self.done)(self.bytes);
        }
        if let Some(end) = end.filter(|_| any) {
            out.close(at, last.1, end.session);
        }
        let header = FileHeader {
            file_len: len,
            revision: if from.is_rewritten() { from.first_revision() - 1 } else { 0 },
            ..out.header(self.uuid)
        };
        out.finish(&header)?;
        Ok(last)
    }

    fn base_part(&mut self, from: &Arc<Segment>, base_revision: i64) -> Result<()> {
        let info = *from.info();
        let name = file_name(info.seq);
        let (index_at, count) = info.index.unwrap_or((info.data_start, 0));
        let mut out = Out::create(self, info.seq, info.data_start)?;
        out.file.extend_sparse(info.len).doing("make room in", &name)?;
        let mut loaded = 0;
        let mut at = info.data_start;
        while at < index_at {
            load(from, &name, &mut loaded, at + RECORD_HEADER as u64)?;
            let rest = from.bytes(at, index_at - at).unwrap_or_default();
            let len = plausible_len(rest).filter(|len| *len <= rest.len() as u64);
            let len = len.ok_or_else(|| corrupt(&name, at, "an entry does not fit"))?;
            load(from, &name, &mut loaded, at + len)?;
            let bytes = &rest[..len as usize];
            verify(bytes, info.salt_crc, at)
                .filter(|header| header.kind == RecordKind::Base)
                .ok_or_else(|| corrupt(&name, at, "an entry is not valid"))?;
            out.push(bytes);
            out.seal_record(at);
            at += len;
            self.bytes += len;
            (self.done)(self.bytes);
        }
        load(from, &name, &mut loaded, info.len)?;
        let index = from.bytes(index_at, u64::from(count) * 4).unwrap_or_default();
        out.push(index);
        let header = FileHeader {
            file_len: info.len,
            revision: base_revision,
            index_at,
            index_count: count,
            index_crc: crc32c::crc32c(index),
            ..out.header(self.uuid)
        };
        out.finish(&header)
    }
}

/// Has the system read up to `to`, and a piece ahead: a failing disk shall give an error and not a signal.
fn load(from: &Segment, name: &str, loaded: &mut u64, to: u64) -> Result<()> {
    if to <= *loaded {
        return Ok(());
    }
    let begin = std::mem::replace(loaded, to.saturating_add(PIECE).min(from.end().max(to)));
    from.region().load(begin, *loaded - begin).doing("read", name)
}

/// A file of the copy.
struct Out {
    seq: u32,
    file: Arc<dyn File>,
    name: String,
    salt: [u8; 16],
    salt_crc: u32,
    data_start: u64,
    buffer: Vec<u8>,
    /// Where the last record pushed begins in the buffer.
    record: usize,
    /// Offset of the first byte of the buffer.
    flushed: u64,
    failed: Option<std::io::Error>,
}

impl Out {
    fn create(copy: &Copy<'_>, seq: u32, data_start: u64) -> Result<Self> {
        let name = file_name(seq);
        let file = copy.to.create(&name).doing("create", &name)?;
        let mut salt = [0; 16];
        copy.to.random(&mut salt).doing("draw the salt of", &name)?;
        let salt_crc = crc32c::crc32c(&salt);
        let (buffer, record, failed) = (Vec::new(), 0, None);
        Ok(Self { seq, file, name, salt, salt_crc, data_start, buffer, record, flushed: data_start, failed })
    }

    fn header(&self, uuid: [u8; 16]) -> FileHeader {
        FileHeader {
            uuid,
            salt: self.salt,
            seq: self.seq,
            file_len: 0,
            data_start: self.data_start,
            generation: 1,
            revision: 0,
            index_at: 0,
            index_count: 0,
            index_crc: 0,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> &mut [u8] {
        if self.buffer.len() as u64 >= PIECE {
            self.flush();
        }
        self.record = self.buffer.len();
        self.buffer.extend_from_slice(bytes);
        &mut self.buffer[self.record..]
    }

    /// Gives the last record, which lies at `at`, the checksum of its new file.
    fn seal_record(&mut self, at: u64) -> u32 {
        let record = &mut self.buffer[self.record..];
        let crc = checksum(self.salt_crc, at, record);
        record[4..8].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    fn close(&mut self, at: u64, revision: i64, session: u64) {
        let mut record = [0; RECORD_HEADER + 8];
        let len = record.len() as u32;
        record[..4].copy_from_slice(&len.to_le_bytes());
        record[RECORD_HEADER..].copy_from_slice(&session.to_le_bytes());
        let durable = Position::new(self.seq, at);
        let header = RecordHeader { kind: RecordKind::Close, revision, durable, change_count: 0 };
        header.encode(&mut record, self.salt_crc, at);
        self.push(&record);
    }

    fn flush(&mut self) {
        if self.failed.is_none() {
            self.failed = self.file.write_at(&self.buffer, self.flushed).err();
        }
        self.flushed += self.buffer.len() as u64;
        self.buffer.clear();
    }

    fn finish(mut self, header: &FileHeader) -> Result<()> {
        self.flush();
        if let Some(error) = self.failed.take() {
            return Err(error).doing("write", &self.name);
        }
        self.file.write_at(&header.encode(), 0).doing("write", &self.name)?;
        self.file.sync_data().doing("sync", &self.name)
    }
}
