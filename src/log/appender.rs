//! The single writer's half of the log. A record is encoded straight into the mapping or image of the active
//! segment, its length word is stored last, and then the end of the segment moves over it. Whatever can fail
//! without having changed anything (limits, room) is done before; a failure after that poisons the log.

use super::change::NewChange;
use super::flush::{FlushJob, Tail};
use super::header::{HEADER_BYTES, Naming, segment_name};
use super::position::{BASE_BIT, Position};
use super::prepare::Prepared;
use super::record::{RECORD_HEADER, RecordHeader, RecordKind, encode_changes};
use super::segment::{Sampler, Segment, SegmentInfo};
use super::shared::{Log, Mode};
use crate::error::{Error, ErrorCode, Result};
use crate::limits;
use crate::os::file::File;
use crate::os::region::{Mapping, Region, RegionWriter};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Room that stays free for a SEAL.
const SEAL_BYTES: u64 = RECORD_HEADER as u64;
/// Room that stays free for a CLOSE.
const CLOSE_BYTES: u64 = RECORD_HEADER as u64 + 8;
const START_BYTES: u64 = RECORD_HEADER as u64 + 8;
/// Pages are prepared for stores in steps of this many bytes.
const POPULATE_BYTES: u64 = 1 << 20;

/// See the module. There is one per log; it moves between threads but is not shared.
pub struct Appender {
    log: Arc<Log>,
    /// `None` in a read-only log and after `close`.
    active: Option<Active>,
    revision: i64,
    session: u64,
    /// The last record is a CLOSE of this session.
    closed: bool,
}

/// The active segment as the writer sees it.
pub(super) struct Active {
    pub tail: Arc<Tail>,
    pub file: Option<Arc<dyn File>>,
    pub writer: RegionWriter,
    pub sampler: Sampler,
    pub end: u64,
    pub last_crc: u32,
    populated: u64,
    asked_ahead: bool,
    /// Records that end at or below go the short way.
    easy_end: u64,
}

impl Active {
    pub fn new(
        tail: Arc<Tail>,
        through: Option<Arc<dyn File>>,
        parts: (RegionWriter, Sampler),
        last_crc: u32,
    ) -> Self {
        let end = tail.segment.end();
        let (writer, sampler) = parts;
        let (populated, easy_end, asked_ahead) = (end, 0, false);
        Self { tail, file: through, writer, sampler, end, last_crc, populated, asked_ahead, easy_end }
    }

    fn segment(&self) -> &Arc<Segment> {
        &self.tail.segment
    }

    /// Prepares pages up to `end` and some more.
    fn populate(&mut self, end: u64) -> Result<()> {
        if end > self.populated {
            let len = self.segment().len();
            let to = end.max(self.populated.saturating_add(POPULATE_BYTES)).min(len);
            let done = self.writer.populate(self.populated, to - self.populated);
            done.doing("make room in", &segment_name(self.tail.segment.seq()))?;
            self.populated = to;
        }
        Ok(())
    }
}

/// One record to be written.
struct NewRecord<'a> {
    kind: RecordKind,
    revision: i64,
    changes: &'a [NewChange<'a>],
    payload: &'a [u64],
    len: u64,
}

impl<'a> NewRecord<'a> {
    fn mark(kind: RecordKind, revision: i64, payload: &'a [u64]) -> Self {
        Self { kind, revision, changes: &[], payload, len: (RECORD_HEADER + payload.len() * 8) as u64 }
    }

    #[inline]
    fn encode(&self, window: &mut [u8], durable: Position, salt_crc: u32, offset: u64) -> u32 {
        encode_changes(window, self.changes);
        for (word, value) in window[RECORD_HEADER..].chunks_exact_mut(8).zip(self.payload) {
            word.copy_from_slice(&value.to_le_bytes());
        }
        let change_count = self.changes.len() as u32;
        let header = RecordHeader { kind: self.kind, revision: self.revision, durable, change_count };
        header.encode(window, salt_crc, offset)
    }
}

impl Appender {
    pub(super) fn new(
        log: Arc<Log>,
        active: Option<Active>,
        revision: i64,
        session: u64,
        closed: bool,
    ) -> Self {
        Self { log, active, revision, session, closed }
    }

    /// Appends a transaction with the next revision and puts the position of each change behind those in
    /// `positions`. `Limit`, `EmptyKey`, `NoSpace`, `NoMemory` and `Io` leave everything as it was;
    /// `Poisoned` means that an earlier write or sync failed. Visible to readers of the segment at once; what
    /// a revision is visible from is the caller's matter. Blocks for the disk only where a new segment is
    /// needed, and in write-through mode.
    #[inline]
    pub fn append_txn(
        &mut self,
        revision: i64,
        changes: &[NewChange<'_>],
        positions: &mut Vec<Position>,
    ) -> Result<()> {
        let mut len = RECORD_HEADER as u64;
        for change in changes {
            check_change(change)?;
            len += change.encoded_len();
        }
        if len > limits::TXN_BYTES_MAX || changes.len() > u32::MAX as usize {
            return Err(limit("transaction", len, limits::TXN_BYTES_MAX));
        }
        if revision != self.revision + 1 || revision > limits::REVISION_MAX || changes.is_empty() {
            return Err(self.refuse(revision, changes.is_empty()));
        }
        let record = NewRecord { kind: RecordKind::Txn, revision, changes, payload: &[], len };
        let at = self.append(&record)?;
        let mut offset = at.offset() + RECORD_HEADER as u64;
        for change in changes {
            positions.push(Position::new(at.seq(), offset));
            offset += change.encoded_len();
        }
        Ok(())
    }

    #[cold]
    fn refuse(&self, revision: i64, empty: bool) -> Error {
        if empty {
            return Error::new(ErrorCode::InvalidArgument, "a transaction without changes is not appended");
        }
        if revision > limits::REVISION_MAX {
            return limit("revision", revision as u64, limits::REVISION_MAX as u64);
        }
        let message = format!("revision {revision} does not follow revision {}", self.revision);
        Error::new(ErrorCode::InvalidArgument, message)
    }

    /// Notes that everything below `compact_revision` may be dropped; `revision` is the current one.
    /// Errors as for [`Appender::append_txn`].
    pub fn append_compact(&mut self, revision: i64, compact_revision: i64) -> Result<()> {
        if revision != self.revision {
            return Err(self.refuse(revision, false));
        }
        self.append(&NewRecord::mark(RecordKind::Compact, revision, &[compact_revision as u64]))?;
        self.log.compact_revision.fetch_max(compact_revision, Ordering::AcqRel);
        Ok(())
    }

    /// Skips to `new_first`, which becomes the current revision.
    pub(super) fn append_epoch(&mut self, new_first: i64) -> Result<()> {
        let payload = [self.revision as u64, new_first as u64];
        self.append(&NewRecord::mark(RecordKind::Epoch, new_first, &payload))?;
        self.revision = new_first;
        Ok(())
    }

    /// Seals the active segment although it is not full; nothing if it has no transaction yet.
    /// Errors as for [`Appender::append_txn`].
    pub fn roll(&mut self) -> Result<()> {
        self.log.check_writable()?;
        let Some(active) = &self.active else { return Err(self.gone()) };
        if active.end <= active.segment().info().data_start + START_BYTES {
            return Ok(());
        }
        self.roll_for(0)
    }

    #[cfg(test)]
    /// The end of the log: the position behind the last record.
    pub fn end(&self) -> Position {
        self.active
            .as_ref()
            .map_or(Position::NONE, |active| Position::new(active.segment().seq(), active.end))
    }

    #[cfg(test)]
    /// Revision of the last transaction, or that to which the log jumped.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Everything appended so far that is not yet durable.
    pub fn flush_job(&mut self) -> FlushJob {
        self.log.flush_job()
    }

    /// Flushes, notes that the writer left in order, syncs that, and lets the next opener in, whatever
    /// happens. Blocks for the disk. The second call does nothing.
    pub fn close(&mut self) -> Result<()> {
        if self.active.is_none() {
            self.log.release();
            return Ok(());
        }
        let result = self.close_active();
        self.active = None;
        self.log.release();
        result
    }

    fn close_active(&mut self) -> Result<()> {
        self.log.check_poison()?;
        self.log.flush_job().run()?;
        if self.closed {
            return Ok(());
        }
        let session = [self.session];
        match self.append(&NewRecord::mark(RecordKind::Close, self.revision, &session)) {
            // The mark only spares the next opening some work.
            Err(error) if error.code() == ErrorCode::NoSpace => return Ok(()),
            appended => appended?,
        };
        self.log.flush_job().run()
    }

    /// Why there is no active segment.
    #[cold]
    fn gone(&self) -> Error {
        let closed = || Error::new(ErrorCode::Closed, "the log is closed");
        self.log.check_writable().err().unwrap_or_else(closed)
    }

    #[inline]
    fn append(&mut self, record: &NewRecord<'_>) -> Result<Position> {
        self.log.check_poison()?;
        let fits = |active: &Active| active.end + record.len <= active.easy_end;
        if !self.active.as_ref().is_some_and(fits) {
            self.make_room(record)?;
        }
        let Some(active) = &mut self.active else { return Err(self.gone()) };
        let at = write(&self.log, active, record)?;
        self.closed = record.kind == RecordKind::Close;
        if record.kind == RecordKind::Txn {
            self.revision = record.revision;
        }
        Ok(at)
    }

    #[cold]
    fn make_room(&mut self, record: &NewRecord<'_>) -> Result<()> {
        self.log.check_writable()?;
        let kept = SEAL_BYTES + if record.kind == RecordKind::Close { 0 } else { CLOSE_BYTES };
        let Some(active) = &self.active else { return Err(self.gone()) };
        if active.end + record.len + kept > active.segment().len() {
            self.roll_for(record.len)?;
        }
        let Some(active) = &mut self.active else { return Err(self.gone()) };
        active.populate(active.end + record.len)?;
        let len = active.segment().len();
        let half = len / 2;
        if !active.asked_ahead && active.end + record.len > half && !self.log.is_memory() {
            active.asked_ahead = true;
            self.log.preparer.request(active.segment().seq() + 1);
        }
        let ahead = if active.asked_ahead || self.log.is_memory() { len } else { half };
        active.easy_end = (len - SEAL_BYTES - CLOSE_BYTES).min(active.populated).min(ahead);
        Ok(())
    }

    /// Goes to the next segment, which has room for a record of `len` bytes. Nothing has changed if it fails
    /// before the SEAL.
    fn roll_for(&mut self, len: u64) -> Result<()> {
        let Some(active) = &mut self.active else { return Err(self.gone()) };
        let seq = active.segment().seq() + 1;
        if seq & BASE_BIT != 0 {
            return Err(limit("segment number", seq.into(), (BASE_BIT - 1).into()));
        }
        let needed = HEADER_BYTES + START_BYTES + len + CLOSE_BYTES + SEAL_BYTES;
        let prepared = self.log.preparer.take(seq, needed.next_multiple_of(HEADER_BYTES))?;
        let mut next = match activate(&self.log, &prepared, self.revision) {
            Ok(next) => next,
            Err(error) => {
                self.log.preparer.put_back(prepared);
                return Err(error);
            }
        };
        let seal = NewRecord::mark(RecordKind::Seal, self.revision, &[]);
        if let Err(error) = write(&self.log, active, &seal) {
            self.log.preparer.put_back(prepared);
            return Err(error);
        }
        next.last_crc = active.last_crc;
        start(&self.log, &mut next, self.revision).inspect_err(|_| self.log.poison())?;
        active.tail.seal();
        let tail = Arc::clone(&next.tail);
        let sealed = std::mem::replace(active, next);
        sealed.writer.seal();
        self.log.add_segment(tail);
        Ok(())
    }

    /// Writes the first record of a segment that has none yet, as found after a crash or made with the store.
    pub(super) fn start(&mut self) -> Result<()> {
        let Some(active) = &mut self.active else { return Err(self.gone()) };
        active.populate(active.end + START_BYTES)?;
        start(&self.log, active, self.revision)
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        if self.active.take().is_some() {
            self.log.release();
        }
    }
}

/// Maps an empty segment for writing.
fn activate(log: &Log, prepared: &Prepared, revision: i64) -> Result<Active> {
    let header = &prepared.header;
    let (len, name) = (header.file_len, segment_name(header.seq));
    let map = match log.mode {
        Mode::Mapped => prepared.file.map_write(len),
        Mode::Staged | Mode::Through => Mapping::anonymous(len),
    };
    let (region, writer) = Region::new(map.doing("map", &name)?, header.data_start);
    let info = SegmentInfo {
        seq: header.seq,
        len,
        data_start: header.data_start,
        salt_crc: header.salt_crc(),
        index: None,
    };
    let (segment, sampler) = Segment::new(info, region, revision + 1);
    let staged = log.mode == Mode::Staged;
    let tail = Tail::new(segment, Arc::clone(&prepared.file), staged, header.data_start, 0);
    let through = (log.mode == Mode::Through).then(|| Arc::clone(&prepared.file));
    let mut active = Active::new(tail, through, (writer, sampler), 0);
    active.populate(header.data_start + START_BYTES)?;
    Ok(active)
}

/// The first record of a segment: what came before it.
fn start(log: &Log, active: &mut Active, revision: i64) -> Result<()> {
    let before = u64::from(active.last_crc) | u64::from(active.segment().seq() - 1) << 32;
    active.segment().set_first_revision(revision + 1);
    write(log, active, &NewRecord::mark(RecordKind::Start, revision, &[before])).map(drop)
}

/// Writes a record for which there is room.
#[inline]
fn write(log: &Log, active: &mut Active, record: &NewRecord<'_>) -> Result<Position> {
    let (offset, len) = (active.end, record.len);
    let (salt_crc, seq) = (active.segment().info().salt_crc, active.segment().seq());
    let Some(window) = active.writer.window(offset, len) else {
        return Err(Error::new(ErrorCode::Io, format!("{}: no room at {offset}", segment_name(seq))));
    };
    let crc = record.encode(window, log.durable(), salt_crc, offset);
    if let Some(file) = &active.file {
        window[..4].copy_from_slice(&(len as u32).to_le_bytes());
        if let Err(error) = file.write_at(window, offset) {
            let error = Error::io(format_args!("write {}", segment_name(seq)), &error);
            if error.code() != ErrorCode::NoSpace {
                log.poison();
            }
            return Err(error);
        }
    }
    active.sampler.note(offset);
    active.writer.store_word(offset, len as u32);
    active.writer.publish(active.tail.segment.region(), offset + len);
    active.end = offset + len;
    active.last_crc = crc;
    Ok(Position::new(seq, offset))
}

#[inline]
fn check_change(change: &NewChange<'_>) -> Result<()> {
    if change.key.is_empty() {
        return Err(Error::new(ErrorCode::EmptyKey, "the key is empty"));
    }
    if change.key.len() > limits::KEY_BYTES_MAX {
        return Err(limit("key", change.key.len() as u64, limits::KEY_BYTES_MAX as u64));
    }
    if change.value.len() > limits::VALUE_BYTES_MAX {
        return Err(limit("value", change.value.len() as u64, limits::VALUE_BYTES_MAX as u64));
    }
    Ok(())
}

#[cold]
fn limit(what: &str, size: u64, max: u64) -> Error {
    Error::new(ErrorCode::Limit, format!("{what} of {size} is over the limit of {max}"))
}
