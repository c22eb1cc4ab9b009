//! What writer, readers and compaction share: the current table, how far the log is durable, whether it is
//! poisoned, the manifest and the lock of the directory. Reading needs the table only; everything else is for
//! the layers that write. No lock here is held while a user's code runs.

use super::flush::{FlushJob, Tail};
use super::manifest::{Manifest, ManifestFile};
use super::position::Position;
use super::prepare::{Blueprint, Preparer};
use super::segment::Segment;
use super::table::SegmentTable;
use crate::error::{Error, ErrorCode, Result};
use crate::options::Durability;
use crate::os::file::{Dir, Filesystem, Lock};
use crate::sync::{Mutex, lock};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// How a log is opened.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Bytes of a new segment file.
    pub segment_bytes: u64,
    /// Decides how records are appended and what a power loss may take.
    pub durability: Durability,
    /// Make the store if the directory has none.
    pub create: bool,
    /// Change no file.
    pub read_only: bool,
}

/// The way from the writer to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Stores into a shared mapping of the file; a flush only syncs.
    Mapped,
    /// Stores into an image; a flush writes and syncs.
    Staged,
    /// Stores into an image and writes each record at once; a flush only syncs.
    Through,
}

impl Mode {
    pub fn choose(filesystem: Filesystem, durability: Durability) -> Self {
        match (filesystem, durability) {
            (Filesystem::Memory, _) => Self::Mapped,
            (_, Durability::Commit) => Self::Staged,
            (Filesystem::InPlace, _) => Self::Mapped,
            _ => Self::Through,
        }
    }
}

/// See the module. Shared by `Arc`; every method may be called from any thread.
pub struct Log {
    pub(super) blueprint: Arc<Blueprint>,
    pub(super) preparer: Preparer,
    pub(super) mode: Mode,
    pub(super) is_memory: bool,
    pub(super) read_only: bool,
    pub(super) table: Mutex<Arc<SegmentTable>>,
    /// Segments with bytes that may not be durable, oldest first; the last one is the active one.
    pub(super) tails: Mutex<Vec<Arc<Tail>>>,
    pub(super) durable: AtomicU64,
    pub(super) poisoned: AtomicBool,
    pub(super) flush_turn: Mutex<()>,
    pub(super) manifest: Mutex<ManifestFile>,
    pub(super) compact_revision: AtomicI64,
    /// Segments that are no longer in the table, some of them because another mapping took their place.
    pub(super) former: Mutex<Vec<Weak<Segment>>>,
    pub(super) base_turn: Arc<AtomicBool>,
    pub(super) lock: Mutex<Option<Box<dyn Lock>>>,
}

impl Log {
    /// The files as they are now.
    pub fn table(&self) -> Arc<SegmentTable> {
        Arc::clone(&lock(&self.table))
    }

    /// Bytes of the files of log and base, without those that compaction dropped.
    pub fn log_bytes(&self) -> u64 {
        self.table().stored_bytes()
    }

    /// Bytes that compaction dropped and somebody still holds.
    pub fn pinned_bytes(&self) -> u64 {
        let table = self.table();
        let is_gone = |old: &Arc<Segment>| {
            table.segment(old.seq()).is_none_or(|now| now.stored_bytes() != old.stored_bytes())
        };
        let mut former = lock(&self.former);
        former.retain(|segment| segment.strong_count() > 0);
        let held = former.iter().filter_map(Weak::upgrade).filter(is_gone);
        held.map(|segment| segment.stored_bytes()).sum()
    }

    /// The end of what survives a power loss, as a position behind the last such record.
    pub fn durable(&self) -> Position {
        Position::from_bits(self.durable.load(Ordering::Acquire))
    }

    /// Whether a write or sync failed, so that nothing can be appended any more.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Everything appended so far that is not yet durable. Unlike [`super::Appender::flush_job`] it needs no
    /// writer, and covers at least what had been appended before the call.
    pub fn flush_job(self: &Arc<Self>) -> FlushJob {
        let durable = self.durable();
        let tails = lock(&self.tails);
        let parts: Vec<_> = tails.iter().map(|tail| (Arc::clone(tail), tail.segment.end())).collect();
        drop(tails);
        let end = parts.last().map_or(durable, |(tail, upto)| Position::new(tail.segment.seq(), *upto));
        FlushJob::new(Arc::clone(self), parts, end)
    }

    pub(super) fn dir(&self) -> &dyn Dir {
        &*self.blueprint.dir
    }

    pub(super) fn is_memory(&self) -> bool {
        self.is_memory
    }

    pub(super) fn flush_turn(&self) -> &Mutex<()> {
        &self.flush_turn
    }

    pub(super) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    #[inline]
    pub(super) fn check_poison(&self) -> Result<()> {
        if self.is_poisoned() { Err(poisoned()) } else { Ok(()) }
    }

    pub(super) fn set_durable(&self, to: Position) {
        self.durable.fetch_max(to.to_bits(), Ordering::AcqRel);
    }

    /// Lets go of the segments that need no flush any more; the active one stays.
    pub(super) fn prune_tails(&self) {
        let durable = self.durable();
        let mut tails = lock(&self.tails);
        let active = tails.pop();
        tails.retain(|tail| tail.end() > durable || tail.needs_mapping());
        tails.extend(active);
    }

    /// Whether the log may still change files: it is the holder of the lock.
    pub(super) fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::new(ErrorCode::ReadOnly, "the store was opened read-only"));
        }
        if lock(&self.lock).is_none() {
            return Err(Error::new(ErrorCode::Closed, "the log is closed"));
        }
        self.check_poison()
    }

    pub(super) fn change_table<R>(&self, change: impl FnOnce(&mut SegmentTable) -> R) -> R {
        let mut table = lock(&self.table);
        let mut next = SegmentTable::clone(&table);
        let result = change(&mut next);
        *table = Arc::new(next);
        result
    }

    pub(super) fn add_segment(&self, tail: Arc<Tail>) {
        self.change_table(|table| table.segments.push(Arc::clone(&tail.segment)));
        lock(&self.tails).push(tail);
    }

    pub(super) fn replace_segment(&self, segment: Arc<Segment>) {
        let old = self.change_table(|table| {
            let slot = table.segments.iter_mut().find(|old| old.seq() == segment.seq())?;
            Some(std::mem::replace(slot, segment))
        });
        self.note_former(old.iter());
    }

    pub(super) fn note_former<'a>(&self, segments: impl Iterator<Item = &'a Arc<Segment>>) {
        let mut former = lock(&self.former);
        former.retain(|segment| segment.strong_count() > 0);
        former.extend(segments.map(Arc::downgrade));
    }

    pub(super) fn update_manifest(&self, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        let mut file = lock(&self.manifest);
        let mut next = file.now().clone();
        change(&mut next);
        file.update(next)?;
        self.blueprint.generation.store(file.now().generation, Ordering::Release);
        Ok(())
    }

    /// Lets the next opener in. Readers keep what they hold.
    pub(super) fn release(&self) {
        self.preparer.stop();
        lock(&self.lock).take();
    }
}

pub(super) fn poisoned() -> Error {
    Error::new(ErrorCode::Poisoned, "an earlier write or sync failed; reopen the store")
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "log in {}, durable to {:?}", self.dir().describe(), self.durable())
    }
}
