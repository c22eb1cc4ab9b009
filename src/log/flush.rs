//! From appended to durable. A [`Tail`] is what is left to do for one segment; a [`FlushJob`] takes all tails
//! as they are at one moment and works through them in the order of the log, so a segment is durable before
//! the first byte of the next one is written by a flush.

use super::header::{Naming, segment_name};
use super::position::Position;
use super::segment::Segment;
use super::shared::Log;
use crate::error::Result;
use crate::os::file::File;
use crate::os::region::Region;
use crate::sync::{Mutex, lock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A segment with bytes that are not known to be durable.
pub(super) struct Tail {
    pub segment: Arc<Segment>,
    /// Closed when a segment that needs no more writes is sealed, so that an unsynced store does not collect
    /// descriptors; a flush opens it again.
    file: Mutex<Option<Arc<dyn File>>>,
    /// The bytes are in an anonymous image and a flush has to write them.
    staged: bool,
    sealed: AtomicBool,
    /// The table has a mapping of the file in the place of the image.
    is_mapped: AtomicBool,
    /// Everything below was written by a flush.
    written: AtomicU64,
    /// Bytes found at the opening are written once more before they are synced: after a failed sync the cache
    /// may call pages clean that the disk never got.
    found: u64,
}

impl Tail {
    pub fn new(
        segment: Arc<Segment>,
        file: Arc<dyn File>,
        staged: bool,
        written: u64,
        found: u64,
    ) -> Arc<Self> {
        let written = AtomicU64::new(written);
        let file = Mutex::new(Some(file));
        Arc::new(Self {
            segment,
            file,
            staged,
            sealed: AtomicBool::new(false),
            is_mapped: AtomicBool::new(false),
            written,
            found,
        })
    }

    pub fn file(&self, log: &Log) -> Result<Arc<dyn File>> {
        if let Some(file) = &*lock(&self.file) {
            return Ok(Arc::clone(file));
        }
        let name = segment_name(self.segment.seq());
        log.dir().open(&name, true).doing("open", &name)
    }

    pub fn seal(&self) {
        if !self.staged {
            *lock(&self.file) = None;
        }
        self.sealed.store(true, Ordering::Release);
    }

    pub fn end(&self) -> Position {
        Position::new(self.segment.seq(), self.segment.end())
    }

    fn flush(&self, log: &Log, upto: u64) -> Result<()> {
        if log.is_memory() {
            return Ok(());
        }
        let name = || segment_name(self.segment.seq());
        let file = self.file(log)?;
        let from = self.written.load(Ordering::Acquire);
        let until = if self.staged { upto } else { upto.min(self.found) };
        if from < until
            && let Some(bytes) = self.segment.bytes(from, until - from)
        {
            file.write_at(bytes, from).doing("write", &name())?;
            self.written.store(until, Ordering::Release);
        }
        file.sync_data().doing("sync", &name())
    }

    /// Whether readers are still given the image of a segment that is complete.
    pub fn needs_mapping(&self) -> bool {
        self.staged && self.sealed.load(Ordering::Acquire) && !self.is_mapped.load(Ordering::Acquire)
    }

    /// Puts a mapping of the flushed file in the place of the image. The image serves as well if that fails,
    /// so it is only tried again with the next flush.
    fn give_up_image(&self, log: &Log) {
        let map = self.file(log).ok().and_then(|file| file.map_read(self.segment.len()).ok());
        if let Some(map) = map {
            let (region, _) = Region::new(map, self.segment.end());
            log.replace_segment(self.segment.remapped(region));
            self.is_mapped.store(true, Ordering::Release);
        }
    }
}

/// Makes durable what had been appended when it was made. Runs on any thread, holds no lock of the writer.
pub struct FlushJob {
    log: Arc<Log>,
    parts: Vec<(Arc<Tail>, u64)>,
    end: Position,
}

impl FlushJob {
    pub(super) fn new(log: Arc<Log>, parts: Vec<(Arc<Tail>, u64)>, end: Position) -> Self {
        Self { log, parts, end }
    }

    /// Whether everything it was made for is durable already.
    pub fn is_empty(&self) -> bool {
        self.log.durable() >= self.end
    }

    #[cfg(test)]
    /// What [`Log::durable`] is at least after a successful [`FlushJob::run`].
    pub fn end(&self) -> Position {
        self.end
    }

    /// Writes and syncs; blocks for the disk. Jobs that overlap run one after the other, and the later one
    /// finds its work done. After any failure the log is poisoned: what is durable can only be told by
    /// opening it again.
    pub fn run(&self) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let _turn = lock(self.log.flush_turn());
        if self.is_empty() {
            return Ok(());
        }
        self.log.check_poison()?;
        for (tail, upto) in &self.parts {
            let to = Position::new(tail.segment.seq(), *upto);
            if self.log.durable() < to {
                tail.flush(&self.log, *upto).inspect_err(|_| self.log.poison())?;
                self.log.set_durable(to);
            }
            if tail.needs_mapping() && *upto == tail.segment.end() {
                tail.give_up_image(&self.log);
            }
        }
        self.log.prune_tails();
        Ok(())
    }
}
