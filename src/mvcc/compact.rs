//! Compaction. Logical first: a record in the log, on disk before the call returns, and from then on reads below
//! it fail. Space comes back later, by a thread of its own or, if asked for, before the call returns: the state
//! just below the compaction goes to a base sorted by key, then segments below it are dropped or rewritten.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};

use super::{Mvcc, lock};
use crate::error::{Error, ErrorCode, Result};
use crate::index::{Slot, Stale, chain};
use crate::key_range::KeyRange;
use crate::log::{ChangeOp, Position};
use crate::os::thread::{self, Thread};

/// Keys moved to the base under one hold of the index's lock.
const CHUNK_KEYS: usize = 256;
const ALL_KEYS: KeyRange<'static> = KeyRange { key: b"\0", range_end: b"\0" };

/// The order of compactions, and the thread that gives space back.
pub(super) struct Compactor {
    store: Weak<Mvcc>,
    logical: Mutex<()>,
    physical: Mutex<()>,
    shared: Arc<Shared>,
    thread: Mutex<Option<Thread>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    due: Mutex<bool>,
    changed: Condvar,
}

/// What moved while the base was written.
#[derive(Default)]
struct Moves {
    /// Slot, position before, position in the base.
    moved: Vec<(Slot, Position, Position)>,
    /// Keys deleted below the compaction.
    gone: Vec<(Slot, Position)>,
}

impl Compactor {
    pub(super) fn new(store: Weak<Mvcc>) -> Self {
        let (logical, physical) = (Mutex::new(()), Mutex::new(()));
        Self { store, logical, physical, shared: Arc::default(), thread: Mutex::new(None) }
    }

    /// Ends the thread and waits for it, unless it is the caller.
    pub(super) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        *lock(&self.shared.due) = true;
        self.shared.changed.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            thread.join();
        }
        drop(lock(&self.physical));
    }

    fn schedule(&self) {
        let mut thread = lock(&self.thread);
        if self.shared.stop.load(Ordering::Acquire) {
            return;
        }
        *lock(&self.shared.due) = true;
        self.shared.changed.notify_all();
        if thread.is_none() {
            let (shared, store) = (self.shared.clone(), self.store.clone());
            // Without a thread the space comes back with the next compaction.
            *thread = thread::spawn("watch-compact", move || run(&shared, &store)).ok();
        }
    }
}

fn run(shared: &Shared, store: &Weak<Mvcc>) {
    loop {
        let mut due = lock(&shared.due);
        while !*due {
            due = shared.changed.wait(due).unwrap_or_else(PoisonError::into_inner);
        }
        *due = false;
        drop(due);
        let Some(store) = store.upgrade().filter(|_| !shared.stop.load(Ordering::Acquire)) else { return };
        // A failure leaves everything as it was; the next compaction tries again.
        let _ = store.reclaim();
    }
}

impl Mvcc {
    /// Forgets what was before `revision` (etcd 10.1, 10.2). With `physical` it returns when the space has been
    /// given back.
    pub fn compact(&self, revision: i64, physical: bool) -> Result<()> {
        let in_order = lock(&self.compactor.logical);
        let mut writer = self.writer()?;
        let compacted = self.compact_revision();
        if revision <= compacted {
            return Err(Error::compacted(revision, compacted));
        }
        let current = self.revision();
        if revision > current {
            return Err(Error::future_revision(revision, current));
        }
        let staged = writer.revision;
        writer.appender.append_compact(staged, revision)?;
        drop(writer);
        self.sync_now()?;
        self.compact_revision.store(revision, Ordering::Release);
        self.publication.notify();
        drop(in_order);
        if physical {
            return self.reclaim();
        }
        self.reclaim_if_worth();
        Ok(())
    }

    /// Has space given back in the background if that is much.
    pub(super) fn reclaim_if_worth(&self) {
        let reclaimable = self.log.reclaimable_bytes(self.compact_revision());
        if reclaimable >= self.options.segment_bytes && reclaimable >= self.log.log_bytes() / 2 {
            self.compactor.schedule();
        }
    }

    /// Gives back the space of everything below the compaction.
    fn reclaim(&self) -> Result<()> {
        let _one = lock(&self.compactor.physical);
        let compacted = self.compact_revision();
        let table = self.log.table();
        if compacted <= table.first_revision() || compacted <= table.base_revision() + 1 {
            return Ok(());
        }
        // Reads that began before the compaction was known end here; none below it begins any more.
        drop(self.gate_alone());
        {
            let mut writer = self.writer()?;
            let active_begins = writer.table.segments().last().map_or(0, |segment| segment.first_revision());
            if active_begins < compacted {
                writer.appender.roll()?;
                writer.table = self.log.table();
            }
        }
        let mut base = self.log.base_writer(compacted - 1)?;
        let mut moves = Moves::default();
        let mut after: Option<Vec<u8>> = None;
        loop {
            if self.compactor.shared.stop.load(Ordering::Acquire) {
                return Err(Error::new(ErrorCode::Closed, "the store was closed during the compaction"));
            }
            after = self.move_chunk(compacted - 1, after.as_deref(), &mut base, &mut moves)?;
            if after.is_none() {
                break;
            }
        }
        let draft = base.finish()?;
        self.announce_reclaim();
        {
            let _alone = self.gate_alone();
            let mut writer = self.writer()?;
            writer.table = self.log.install_base(draft, compacted)?;
            for (slot, old, new) in moves.moved {
                if writer.table.change(old).is_none() {
                    self.index.replace(slot, old, new);
                }
            }
            self.index.remove(&moves.gone);
        }
        self.announce_reclaim();
        Ok(())
    }

    /// Writes the state at `revision` of the next keys to the base. The answer is the last key looked at.
    fn move_chunk(
        &self,
        revision: i64,
        after: Option<&[u8]>,
        base: &mut crate::log::BaseWriter,
        moves: &mut Moves,
    ) -> Result<Option<Vec<u8>>> {
        let (keys, last) = self.fresh_table(|_| {
            let (mut keys, mut last) = (Vec::with_capacity(CHUNK_KEYS), None);
            self.index.visit(
                || self.log.table(),
                ALL_KEYS,
                after,
                |slot, at, key| {
                    keys.push((slot, at));
                    if keys.len() == CHUNK_KEYS {
                        last = Some(key.to_vec());
                    }
                    keys.len() < CHUNK_KEYS
                },
            )?;
            Ok((keys, last))
        });
        let mut outcome = Ok(());
        let mut done = 0;
        self.fresh_table(|table| {
            for &(slot, newest) in &keys[done..] {
                let Some(first) = table.change(newest) else { return Err(Stale) };
                let change = chain::at_revision(table, newest, first.key(), revision)?;
                done += 1;
                let Some(change) = change else { continue };
                if change.op() == ChangeOp::Delete {
                    if change.position() == newest {
                        moves.gone.push((slot, newest));
                    }
                    continue;
                }
                match base.push(change) {
                    Ok(at) if change.position() == newest => moves.moved.push((slot, newest, at)),
                    Ok(_) => {}
                    Err(error) => {
                        outcome = Err(error);
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        outcome.map(|()| last)
    }
}
