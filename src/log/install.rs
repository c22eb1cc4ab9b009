//! The physical half of compaction: a base takes the place of old segments. The switch of the manifest is the
//! commit point; before it the old state rules and the new files are leftovers, after it the old files are.
//! Nothing that a reader may have mapped is changed: files are unlinked or replaced by name.

use super::base::{BaseDraft, BaseWriter, Turn};
use super::header::{FileHeader, HEADER_BYTES, Naming, PAGE, file_name, segment_name};
use super::prepare::Blueprint;
use super::record::{Record, RecordKind};
use super::segment::{Segment, SegmentInfo};
use super::shared::Log;
use super::table::SegmentTable;
use crate::error::{Error, ErrorCode, Result};
use crate::os::region::Region;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Log {
    /// Begins a base that holds the live keys at `base_revision`. One at a time: `InvalidState` else.
    pub fn base_writer(self: &Arc<Self>, base_revision: i64) -> Result<BaseWriter> {
        self.check_writable()?;
        let turn = Turn::take(&self.base_turn)?;
        let table = self.table();
        Ok(BaseWriter::new(Arc::clone(self), base_revision, table.base_end(), turn))
    }

    /// Makes `draft` the base and lets the log begin at `first_kept_revision`: segments wholly below it are
    /// dropped, and the first kept one is rewritten without its front if at least half of it is below. The
    /// active segment stays as it is; [`super::Appender::roll`] first if it shall count. Flushes, then blocks
    /// for the disk. If it fails before the commit point nothing has changed; if the commit itself fails the
    /// log is poisoned.
    pub fn install_base(
        self: &Arc<Self>,
        mut draft: BaseDraft,
        first_kept_revision: i64,
    ) -> Result<Arc<SegmentTable>> {
        self.check_writable()?;
        // What the base says must not be newer than what the log can prove after a power loss.
        self.flush_job().run()?;
        let before = self.table();
        if first_kept_revision < before.first_revision || draft.base_revision < before.base_revision {
            return Err(Error::new(ErrorCode::InvalidArgument, "a base does not go back"));
        }
        let keep_from = first_kept(&before, first_kept_revision);
        let first_seq = before.segments[keep_from].seq();
        let base_first = draft.parts.first().map_or(before.base_end(), |part| part.seq());
        draft.keep = true;
        self.update_manifest(|next| {
            next.first_seq = first_seq;
            next.base_first = base_first;
            next.base_count = draft.parts.len() as u32;
            next.base_revision = draft.base_revision;
            next.first_revision = first_kept_revision;
            next.compact_revision = next.compact_revision.max(self.compact_revision.load(Ordering::Acquire));
        })
        .inspect_err(|_| self.poison())?;
        self.change_table(|table| {
            table.segments.retain(|segment| segment.seq() >= first_seq);
            table.base = draft.parts.clone();
            table.base_first = base_first;
            table.base_revision = draft.base_revision;
            table.first_revision = first_kept_revision;
        });
        let gone = before.segments[..keep_from].iter().chain(&before.base);
        self.note_former(gone.clone());
        for segment in gone {
            // What cannot be removed now is removed by the next opening.
            let _ = self.dir().remove(&file_name(segment.seq()));
        }
        drop(before);
        // Rewriting only saves space; the files are right without it.
        let _ = self.rewrite_first(draft.rewritten.take(), first_kept_revision);
        let _ = self.dir().sync();
        Ok(self.table())
    }

    /// Bytes of the log that [`Log::install_base`] with this argument would give back. The bases are not
    /// counted: the old one goes, but one that is about as large takes its place.
    pub fn reclaimable_bytes(&self, first_kept_revision: i64) -> u64 {
        let table = self.table();
        let Some(keep_from) =
            table.segments.len().checked_sub(1).map(|_| first_kept(&table, first_kept_revision))
        else {
            return 0;
        };
        let dropped: u64 = table.segments[..keep_from].iter().map(|segment| segment.stored_bytes()).sum();
        let front = rewrite_from(&table, first_kept_revision).map_or(0, |(segment, from)| {
            segment
                .stored_bytes()
                .saturating_sub(segment.end().next_multiple_of(HEADER_BYTES) - from + HEADER_BYTES)
        });
        dropped + front
    }

    /// The long part of the rewriting that [`Log::install_base`] with this revision will do, so that whoever
    /// holds a lock around that call holds it for less.
    pub(super) fn rewrite_ahead(&self, first_kept_revision: i64) -> Option<Rewritten> {
        let (old, from) = rewrite_from(&self.table(), first_kept_revision)?;
        self.write_rewritten(&old, from).ok()
    }

    fn rewrite_first(&self, ahead: Option<Rewritten>, first_kept_revision: i64) -> Result<()> {
        let Some((old, from)) = rewrite_from(&self.table(), first_kept_revision) else { return Ok(()) };
        let fits = |new: &Rewritten| new.segment.seq() == old.seq() && new.segment.info().data_start == from;
        let new = match ahead.filter(fits) {
            Some(new) => new,
            None => self.write_rewritten(&old, from)?,
        };
        let name = segment_name(old.seq());
        self.dir().rename(&new.temporary, &name).doing("rename", &name)?;
        self.replace_segment(Arc::clone(&new.segment));
        Ok(())
    }

    /// Writes the records from `from` on to a new file, at the same offsets.
    fn write_rewritten(&self, old: &Arc<Segment>, from: u64) -> Result<Rewritten> {
        let name = &segment_name(old.seq());
        let temporary = &format!("{name}.tmp");
        let mut page = vec![0; PAGE];
        self.dir().open(name, false).and_then(|file| file.read_at(&mut page, 0)).doing("read", name)?;
        let header = FileHeader::decode(&page).map_err(|error| error.into_error(name))?;
        let end = old.end();
        let first = Record::at(old, from).ok_or_else(|| Error::new(ErrorCode::Corrupt, name))?;
        let header = FileHeader {
            file_len: end.next_multiple_of(HEADER_BYTES),
            data_start: from,
            generation: self.blueprint.generation.load(Ordering::Acquire),
            revision: match first.kind() {
                RecordKind::Txn => first.revision() - 1,
                RecordKind::Epoch => first.payload().0 as i64,
                _ => first.revision(),
            },
            ..header
        };
        let _ = self.dir().remove(temporary);
        let file = self.dir().create(temporary).doing("create", temporary)?;
        let cleanup = Cleanup { blueprint: Arc::clone(&self.blueprint), name: temporary.clone() };
        file.extend_sparse(header.file_len).doing("make room in", temporary)?;
        for at in (from..end).step_by(1 << 20) {
            let piece = old.bytes(at, (end - at).min(1 << 20)).unwrap_or_default();
            file.write_at(piece, at).doing("write", temporary)?;
        }
        file.write_at(&header.encode(), 0).doing("write", temporary)?;
        file.sync_data().doing("sync", temporary)?;
        let (region, _) = Region::new(file.map_read(header.file_len).doing("map", temporary)?, end);
        let info = SegmentInfo { len: header.file_len, data_start: from, ..*old.info() };
        let (segment, mut sampler) = Segment::new(info, region, header.revision + 1);
        let mut at = from;
        while let Some(record) = Record::at(&segment, at) {
            sampler.note(at);
            at = record.end();
        }
        Ok(Rewritten { segment, temporary: temporary.clone(), _cleanup: cleanup })
    }
}

/// A segment without its front, under a temporary name.
pub(super) struct Rewritten {
    segment: Arc<Segment>,
    temporary: String,
    _cleanup: Cleanup,
}

/// Removes a temporary file that was not put to use; after a rename there is nothing to remove.
struct Cleanup {
    blueprint: Arc<Blueprint>,
    name: String,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = self.blueprint.dir.remove(&self.name);
    }
}

/// Index of the first segment that is kept: the last one that begins at or below the revision.
fn first_kept(table: &SegmentTable, first_kept_revision: i64) -> usize {
    let after = table.segments.partition_point(|segment| segment.first_revision() <= first_kept_revision);
    after.saturating_sub(1)
}

/// The segment whose front is worth giving back, and where its kept records begin.
fn rewrite_from(table: &SegmentTable, first_kept_revision: i64) -> Option<(Arc<Segment>, u64)> {
    let index = first_kept(table, first_kept_revision);
    if index + 1 >= table.segments.len() {
        return None;
    }
    let segment = &table.segments[index];
    let (start, end, from) = (segment.info().data_start, segment.end(), segment.locate(first_kept_revision));
    let worth_it = from - start >= (end - start) / 2 && from < end && from > start;
    worth_it.then(|| (Arc::clone(segment), from))
}
