//! The base: the live keys at one revision, sorted, in files of at most 1 GiB. Each entry is a record of its
//! own with the same layout as a change in the log, followed at the end of the file by the sorted offsets, so
//! a lookup is a binary search in the mapping and costs no memory per key.

use super::change::{Change, NewChange, u32_at};
use super::header::{FileHeader, HEADER_BYTES, Naming, PAGE, base_name, corrupt};
use super::install::Rewritten;
use super::position::{BASE_BIT, Position};
use super::prepare::Blueprint;
use super::record::{RECORD_HEADER, RecordHeader, RecordKind, encode_changes, plausible_len, verify};
use super::segment::{Segment, SegmentInfo};
use super::shared::Log;
use crate::error::{Error, ErrorCode, Result};
use crate::os::file::{Dir, File};
use crate::os::region::Region;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A part ends before the entry that would make its file longer.
const PART_BYTES: u64 = 1 << 30;
const BUFFER_BYTES: usize = 1 << 20;

/// There is one base being made at a time: the numbers of its parts follow each other.
pub(super) struct Turn(Arc<AtomicBool>);

impl Turn {
    pub fn take(flag: &Arc<AtomicBool>) -> Result<Self> {
        if flag.swap(true, Ordering::AcqRel) {
            return Err(Error::new(ErrorCode::InvalidState, "another base is being written"));
        }
        Ok(Self(Arc::clone(flag)))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Writes a base. Its files are removed again unless the draft is installed.
pub struct BaseWriter {
    draft: BaseDraft,
    part: Option<PartWriter>,
    next_seq: u32,
    part_bytes: u64,
    last_key: Vec<u8>,
}

/// A complete, verified base on disk that no manifest names yet.
pub struct BaseDraft {
    log: Arc<Log>,
    pub(super) base_revision: i64,
    pub(super) parts: Vec<Arc<Segment>>,
    pub(super) rewritten: Option<Rewritten>,
    /// Once a manifest may name the files they are not ours to remove.
    pub(super) keep: bool,
    /// Numbers of the files that were begun.
    begun: Vec<u32>,
    _turn: Turn,
}

impl Drop for BaseDraft {
    fn drop(&mut self) {
        if !self.keep {
            for seq in &self.begun {
                // What cannot be removed now is removed by the next opening.
                let _ = self.log.dir().remove(&temporary_name(*seq));
                let _ = self.log.dir().remove(&base_name(*seq));
            }
        }
    }
}

impl std::fmt::Debug for BaseDraft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "base at revision {} in {} parts", self.base_revision, self.parts.len())
    }
}

fn temporary_name(seq: u32) -> String {
    format!("{}.tmp", base_name(seq))
}

impl BaseWriter {
    pub(super) fn new(log: Arc<Log>, base_revision: i64, next_seq: u32, turn: Turn) -> Self {
        let draft = BaseDraft {
            log,
            base_revision,
            parts: Vec::new(),
            rewritten: None,
            keep: false,
            begun: Vec::new(),
            _turn: turn,
        };
        Self { draft, part: None, next_seq, part_bytes: PART_BYTES, last_key: Vec::new() }
    }

    #[cfg(test)]
    pub(super) fn set_part_bytes(&mut self, part_bytes: u64) {
        self.part_bytes = part_bytes;
    }

    /// Adds the newest change of a live key; keys ascend. Its history ends here: `prev` and `skip` become
    /// [`Position::NONE`]. Returns where it will be found once the base is installed. Blocks for the disk.
    pub fn push(&mut self, change: Change<'_>) -> Result<Position> {
        if change.key() <= self.last_key.as_slice() {
            return Err(Error::new(ErrorCode::InvalidArgument, "the keys of a base ascend"));
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(change.key());
        let entry = NewChange {
            op: change.op(),
            key: change.key(),
            value: change.value(),
            create_revision: change.create_revision(),
            version: change.version(),
            lease: change.lease(),
            prev: Position::NONE,
            skip: Position::NONE,
            depth: change.depth(),
        };
        let len = RECORD_HEADER as u64 + entry.encoded_len();
        if self.part.as_ref().is_some_and(|part| part.len_with(len) > self.part_bytes) {
            self.finish_part()?;
        }
        let part = match &mut self.part {
            Some(part) => part,
            empty => {
                let seq = self.next_seq | BASE_BIT;
                self.draft.begun.push(seq);
                self.next_seq = seq + 1;
                empty.insert(PartWriter::create(&self.draft.log.blueprint, seq)?)
            }
        };
        part.push(&entry, change.mod_revision(), len)
    }

    fn finish_part(&mut self) -> Result<()> {
        if let Some(part) = self.part.take() {
            let segment = part.finish(&self.draft.log.blueprint, self.draft.base_revision)?;
            self.draft.parts.push(segment);
        }
        Ok(())
    }

    /// Syncs, reads everything back and gives the files their names; also copies what will be kept of the
    /// segment that is rewritten if the log begins at the revision after the base's. Blocks for the disk.
    pub fn finish(mut self) -> Result<BaseDraft> {
        self.finish_part()?;
        let dir = &*self.draft.log.blueprint.dir;
        for part in &self.draft.parts {
            let name = base_name(part.seq());
            dir.rename(&temporary_name(part.seq()), &name).doing("rename", &name)?;
        }
        dir.sync().doing("sync the directory of", "the base")?;
        self.draft.rewritten = self.draft.log.rewrite_ahead(self.draft.base_revision + 1);
        Ok(self.draft)
    }
}

/// One file being written.
struct PartWriter {
    seq: u32,
    file: Arc<dyn File>,
    salt: [u8; 16],
    salt_crc: u32,
    buffer: Vec<u8>,
    /// Offset of the first byte of the buffer.
    flushed: u64,
    index: Vec<u32>,
}

impl PartWriter {
    fn create(blueprint: &Blueprint, seq: u32) -> Result<Self> {
        let name = temporary_name(seq);
        // A leftover of an attempt that could not clean up after itself.
        let _ = blueprint.dir.remove(&name);
        let file = blueprint.dir.create(&name).doing("create", &name)?;
        let mut salt = [0; 16];
        blueprint.dir.random(&mut salt).doing("draw the salt of", &name)?;
        let salt_crc = crc32c::crc32c(&salt);
        Ok(Self { seq, file, salt, salt_crc, buffer: Vec::new(), flushed: HEADER_BYTES, index: Vec::new() })
    }

    fn offset(&self) -> u64 {
        self.flushed + self.buffer.len() as u64
    }

    fn len_with(&self, len: u64) -> u64 {
        self.offset() + len + (self.index.len() as u64 + 1) * 4
    }

    fn push(&mut self, entry: &NewChange<'_>, revision: i64, len: u64) -> Result<Position> {
        let (offset, start) = (self.offset(), self.buffer.len());
        self.buffer.resize(start + len as usize, 0);
        let record = &mut self.buffer[start..];
        record[..4].copy_from_slice(&(len as u32).to_le_bytes());
        encode_changes(record, std::slice::from_ref(entry));
        let header =
            RecordHeader { kind: RecordKind::Base, revision, durable: Position::NONE, change_count: 1 };
        header.encode(record, self.salt_crc, offset);
        let at = Position::new(self.seq, offset + RECORD_HEADER as u64);
        self.index.push((at.offset() / 8) as u32);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(at)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write_at(&self.buffer, self.flushed).doing("write", &temporary_name(self.seq))?;
        self.flushed = self.offset();
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self, blueprint: &Blueprint, base_revision: i64) -> Result<Arc<Segment>> {
        let name = temporary_name(self.seq);
        let index_at = self.offset();
        for offset in &self.index {
            self.buffer.extend_from_slice(&offset.to_le_bytes());
        }
        let index_crc = crc32c::crc32c(&self.buffer[self.buffer.len() - self.index.len() * 4..]);
        self.buffer.resize(self.buffer.len().next_multiple_of(8), 0);
        self.flush()?;
        let header = FileHeader {
            uuid: blueprint.uuid,
            salt: self.salt,
            seq: self.seq,
            file_len: self.offset(),
            data_start: HEADER_BYTES,
            generation: blueprint.generation.load(Ordering::Acquire),
            revision: base_revision,
            index_at,
            index_count: self.index.len() as u32,
            index_crc,
        };
        self.file.write_at(&header.encode(), 0).doing("write", &name)?;
        self.file.sync_data().doing("sync", &name)?;
        let segment = map_part(&*self.file, &name, &header)?;
        let mut last = Vec::new();
        check_part(&segment, &name, header.index_crc, &mut last, &mut |_| Ok(()))?;
        Ok(segment)
    }
}

/// Opens a part that a manifest names.
pub(super) fn open_part(dir: &dyn Dir, uuid: &[u8; 16], seq: u32) -> Result<(Arc<Segment>, FileHeader)> {
    let name = base_name(seq);
    let file = match dir.open(&name, false) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::new(ErrorCode::Corrupt, format!("{name} is missing")));
        }
        opened => opened.doing("open", &name)?,
    };
    let mut page = vec![0; PAGE];
    file.read_at(&mut page, 0).doing("read", &name)?;
    let header = FileHeader::decode(&page).map_err(|error| error.into_error(&name))?;
    if header.uuid != *uuid || header.seq != seq {
        return Err(corrupt(&name, 0, "the file belongs to another store or place"));
    }
    if file.len().doing("read the length of", &name)? != header.file_len {
        return Err(corrupt(&name, 0, "the file does not have the length of its header"));
    }
    Ok((map_part(&*file, &name, &header)?, header))
}

fn map_part(file: &dyn File, name: &str, header: &FileHeader) -> Result<Arc<Segment>> {
    let map = file.map_read(header.file_len).doing("map", name)?;
    let (region, _) = Region::new(map, header.file_len);
    let info = SegmentInfo {
        seq: header.seq,
        len: header.file_len,
        data_start: header.data_start,
        salt_crc: header.salt_crc(),
        index: Some((header.index_at, header.index_count)),
    };
    Ok(Segment::new(info, region, 0).0)
}

/// Verifies every byte of a part. `last_key` is the last key before it, and its own last key after the call.
pub(super) fn check_part(
    part: &Segment,
    name: &str,
    index_crc: u32,
    last_key: &mut Vec<u8>,
    visit: &mut dyn FnMut(Change<'_>) -> Result<()>,
) -> Result<()> {
    let info = part.info();
    // Loaded before it is touched, because a failing disk shall give an error and not a signal.
    part.region().load(0, info.len).doing("read", name)?;
    let (index_at, count) = info.index.unwrap_or((info.data_start, 0));
    let index = part.bytes(index_at, u64::from(count) * 4).unwrap_or_default();
    if crc32c::crc32c(index) != index_crc {
        return Err(corrupt(name, index_at, "the checksum of the index is wrong"));
    }
    let mut at = info.data_start;
    for word in index.chunks_exact(4) {
        let fail = |why: &str| corrupt(name, at, why);
        let rest = part.bytes(at, index_at - at).unwrap_or_default();
        let record = plausible_len(rest).and_then(|len| rest.get(..len as usize));
        let record = record.ok_or_else(|| fail("an entry does not fit"))?;
        let header = verify(record, info.salt_crc, at).ok_or_else(|| fail("an entry is not valid"))?;
        let place = at + RECORD_HEADER as u64;
        let single = header.kind == RecordKind::Base && header.change_count == 1;
        if !single || u64::from(u32_at(word, 0)) * 8 != place {
            return Err(fail("the index does not lead to the entry"));
        }
        let change = part.change(place).ok_or_else(|| fail("an entry does not fit"))?;
        if change.key() <= last_key.as_slice() {
            return Err(fail("the keys do not ascend"));
        }
        last_key.clear();
        last_key.extend_from_slice(change.key());
        visit(change)?;
        at += record.len() as u64;
    }
    if at != index_at { Err(corrupt(name, at, "there are bytes that no entry covers")) } else { Ok(()) }
}
