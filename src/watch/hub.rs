//! The engine of one store: it follows the log and hands each change to the streams whose watches match (D3).
//! Whoever needs events runs it: a waiting consumer, or a thread of a pool. It never holds up the writer.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use super::matcher::Matcher;
use super::pool::Pool;
use super::state::{End, Phase};
use super::stream::Stream;
use crate::key_range::KeyRange;
use crate::log::{ChangeOp, Cursor, Position};
use crate::mvcc::{Mvcc, lock};
use crate::os::wake::EventCount;

/// Records matched before the streams get what was found.
const SLICE_RECORDS: usize = 512;

/// See the module.
pub struct Hub {
    pub(super) mvcc: Arc<Mvcc>,
    engine: Mutex<Engine>,
    /// Everything up to this revision is in the rings, or its watches are behind.
    matched: AtomicI64,
    pub(super) streams: Mutex<Vec<Weak<Stream>>>,
    pub(super) callbacks: Pool,
    pub(super) descriptors: Pool,
    leading: AtomicBool,
    followers: Mutex<Vec<Arc<EventCount>>>,
    follower_count: AtomicUsize,
    pub(super) delivered: AtomicU64,
    pub(super) records_read: AtomicU64,
    closing: AtomicBool,
}

/// What the tailer works with.
pub(super) struct Engine {
    matcher: Matcher<u32>,
    watches: Vec<Option<(Arc<Stream>, u32)>>,
    free: Vec<u32>,
    cursor: Option<Cursor>,
    pub(super) matched: i64,
    found: Vec<Found>,
    /// Streams with watches that were sent behind and do not know it yet.
    sent_behind: Vec<Arc<Stream>>,
}

struct Found {
    number: u32,
    revision: i64,
    at: Position,
    op: ChangeOp,
}

/// How many watches are in which state.
#[derive(Clone, Copy, Debug, Default)]
pub struct WatchCounts {
    /// Open streams.
    pub streams: u64,
    /// Live watches.
    pub watches: u64,
    /// Those that wait for the next change.
    pub synced: u64,
    /// Those that read the log.
    pub unsynced: u64,
    /// Those whose callback answered "not now".
    pub victims: u64,
    /// The next revision of the watch that is furthest behind; 0 if there is none.
    pub oldest_revision: i64,
}

impl Hub {
    /// The engine of a store that was just opened.
    pub fn new(mvcc: Arc<Mvcc>) -> Arc<Self> {
        let revision = mvcc.revision();
        let threads = mvcc.options().dispatch_threads as usize;
        let engine = Engine {
            matcher: Matcher::new(),
            watches: Vec::new(),
            free: Vec::new(),
            cursor: None,
            matched: revision,
            found: Vec::new(),
            sent_behind: Vec::new(),
        };
        let hub = Arc::new_cyclic(|hub: &Weak<Self>| Self {
            mvcc,
            engine: Mutex::new(engine),
            matched: AtomicI64::new(revision),
            streams: Mutex::default(),
            callbacks: Pool::new(hub.clone(), super::pool::CALLBACKS, threads),
            descriptors: Pool::new(hub.clone(), "watch-fd", 1),
            leading: AtomicBool::new(false),
            followers: Mutex::default(),
            follower_count: AtomicUsize::new(0),
            delivered: AtomicU64::new(0),
            records_read: AtomicU64::new(0),
            closing: AtomicBool::new(false),
        });
        // Before files go: what is in them is matched, so that a watch which none of it concerns stays live.
        // After: the cursor holds files, and a stream that nobody reads must not keep them.
        let weak = Arc::downgrade(&hub);
        hub.mvcc.on_reclaim(Box::new(move || {
            if let Some(hub) = weak.upgrade() {
                hub.tail();
                hub.engine().cursor = None;
            }
        }));
        hub
    }

    /// Everything up to the answer is in the rings, or its watches are behind.
    pub(super) fn matched(&self) -> i64 {
        self.matched.load(Ordering::Acquire)
    }

    pub(super) fn has_unmatched(&self) -> bool {
        self.mvcc.revision() > self.matched()
    }

    /// The engine, for registering a watch or for rejoining the present.
    pub(super) fn engine(&self) -> std::sync::MutexGuard<'_, Engine> {
        lock(&self.engine)
    }

    /// Matches everything published when it is called; a fast writer cannot keep the caller. Slices are bounded, so
    /// registering never waits long.
    pub(super) fn tail(&self) {
        let goal = self.mvcc.revision();
        while self.matched() < goal {
            let mut engine = self.engine();
            let upto = self.mvcc.revision();
            if engine.matched >= upto {
                continue;
            }
            let records = engine.slice(&self.mvcc, upto);
            self.count_read(records);
            let touched = engine.hand_out();
            self.matched.store(engine.matched, Ordering::Release);
            drop(engine);
            for stream in touched {
                stream.wake();
            }
        }
    }

    /// Waits for a new revision, for `wake`, or for the deadline; `ready` is asked once the caller is announced.
    /// One waiter of the store, the leader, waits for the writer; the others wait for their stream or to lead.
    pub(super) fn wait(
        &self,
        wake: &Arc<EventCount>,
        is_leader: &AtomicBool,
        deadline: Option<Instant>,
        ready: impl Fn() -> bool,
    ) {
        let leads = self.leading.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let done = || ready() || self.has_unmatched();
        if leads {
            is_leader.store(true, Ordering::SeqCst);
            let event = self.mvcc.publication.changed();
            let ticket = event.prepare();
            if done() {
                event.cancel(ticket);
            } else {
                event.wait(ticket, deadline);
            }
            is_leader.store(false, Ordering::SeqCst);
            self.leading.store(false, Ordering::SeqCst);
            return;
        }
        lock(&self.followers).push(wake.clone());
        self.follower_count.fetch_add(1, Ordering::SeqCst);
        let ticket = wake.prepare();
        if done() || !self.leading.load(Ordering::SeqCst) {
            wake.cancel(ticket);
        } else {
            wake.wait(ticket, deadline);
        }
        let mut followers = lock(&self.followers);
        if let Some(at) = followers.iter().position(|other| Arc::ptr_eq(other, wake)) {
            followers.swap_remove(at);
        }
        self.follower_count.fetch_sub(1, Ordering::SeqCst);
    }

    /// Called by a consumer that leaves with something to do: if nobody waits for the writer now, one of those
    /// who wait for less takes over.
    pub(super) fn pass_on(&self) {
        if self.follower_count.load(Ordering::SeqCst) > 0 && !self.leading.load(Ordering::SeqCst) {
            let next = lock(&self.followers).last().cloned();
            if let Some(next) = next {
                next.notify_one();
            }
        }
    }

    pub(super) fn register(&self, stream: &Arc<Stream>) {
        let mut streams = lock(&self.streams);
        if streams.len() == streams.capacity() {
            streams.retain(|stream| stream.strong_count() > 0);
        }
        streams.push(Arc::downgrade(stream));
    }

    fn open_streams(&self) -> Vec<Arc<Stream>> {
        lock(&self.streams).iter().filter_map(Weak::upgrade).collect()
    }

    /// Ends every stream, with final responses where callbacks take them, and the threads.
    pub fn close(&self) {
        let closes_already = self.closing.swap(true, Ordering::SeqCst);
        let streams = self.open_streams();
        if closes_already && streams.iter().any(|stream| stream.is_calling_back()) {
            // The first caller waits for this callback, which must not wait for that of the first caller.
            return;
        }
        for stream in &streams {
            stream.end(End::StoreClosed);
        }
        for stream in &streams {
            stream.finish_callbacks();
        }
        self.callbacks.stop();
        self.descriptors.stop();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Events handed to consumers.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }

    pub(super) fn count_read(&self, records: usize) {
        self.records_read.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// Records of the log that were read for watches.
    pub fn records_read(&self) -> u64 {
        self.records_read.load(Ordering::Relaxed)
    }

    /// How many watches are in which state.
    pub fn counts(&self) -> WatchCounts {
        let mut counts = WatchCounts::default();
        let matched = self.matched();
        for stream in self.open_streams() {
            let shared = stream.shared();
            if shared.end.is_some() {
                continue;
            }
            counts.streams += 1;
            let queued = !shared.ring.is_empty();
            for watch in shared.watches() {
                counts.watches += 1;
                let mut next = watch.next_revision;
                match (watch.pause, watch.phase) {
                    (Some(_), _) => counts.victims += 1,
                    (None, Phase::Behind { .. }) => counts.unsynced += 1,
                    (None, Phase::Live { .. }) => {
                        counts.synced += 1;
                        if !queued {
                            next = next.max(matched + 1);
                        }
                    }
                }
                let oldest = counts.oldest_revision;
                counts.oldest_revision = if oldest == 0 { next } else { oldest.min(next) };
            }
        }
        counts
    }
}

impl Engine {
    /// Enters a watch; the answer is its number.
    pub(super) fn insert(&mut self, range: KeyRange<'_>, stream: Arc<Stream>, place: u32) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.watches.push(None);
            (self.watches.len() - 1) as u32
        });
        self.watches[number as usize] = Some((stream, place));
        self.matcher.insert(range, number);
        number
    }

    /// Nobody watched, so nothing up to `revision` concerns anyone.
    pub(super) fn skip_if_idle(&mut self, hub: &Hub, revision: i64) {
        if self.matcher.is_empty() && self.matched < revision {
            self.cursor = None;
            self.matched = revision;
            hub.matched.store(revision, Ordering::Release);
        }
    }

    /// Takes a watch out.
    pub(super) fn remove(&mut self, range: KeyRange<'_>, number: u32) {
        if self.watches.get_mut(number as usize).and_then(Option::take).is_some() {
            self.matcher.remove(range, number);
            self.free.push(number);
        }
    }

    /// Matches records up to `upto`, a bounded number; answers how many.
    fn slice(&mut self, mvcc: &Mvcc, upto: i64) -> usize {
        if self.matcher.is_empty() {
            self.cursor = None;
            self.matched = upto;
            return 0;
        }
        if let Some(mut cursor) = self.cursor.take() {
            let records = self.match_records(&mut cursor, upto);
            if records > 0 {
                self.cursor = Some(cursor);
                return records;
            }
        }
        // The snapshot of the cursor has no more: there is a newer segment, or no record up to here.
        let table = mvcc.log.table();
        if self.matched + 1 < table.first_revision() {
            self.send_behind();
            self.matched = table.first_revision() - 1;
        }
        if let Some(mut cursor) = Cursor::at_revision(table, self.matched + 1) {
            let records = self.match_records(&mut cursor, upto);
            if records > 0 {
                self.cursor = Some(cursor);
                return records;
            }
        }
        self.matched = upto;
        0
    }

    fn match_records(&mut self, cursor: &mut Cursor, upto: i64) -> usize {
        let mut records = 0;
        while records < SLICE_RECORDS {
            let Some(record) = cursor.next(upto) else { break };
            let revision = record.revision();
            for change in record.changes() {
                let (at, op, found) = (change.position(), change.op(), &mut self.found);
                self.matcher.for_each(change.key(), |number| found.push(Found { number, revision, at, op }));
            }
            self.matched = revision;
            records += 1;
        }
        records
    }

    /// Compaction was faster than every consumer: each live watch reads on by itself from where the tailer
    /// stood, and so is told that history is gone.
    fn send_behind(&mut self) {
        for (stream, place) in self.watches.iter().flatten() {
            stream.shared().send_behind(*place, self.matched + 1);
            if !self.sent_behind.last().is_some_and(|last| Arc::ptr_eq(last, stream)) {
                self.sent_behind.push(stream.clone());
            }
        }
    }

    /// Gives what was found to the streams; the answer are those that have something new.
    fn hand_out(&mut self) -> Vec<Arc<Stream>> {
        let mut touched = std::mem::take(&mut self.sent_behind);
        let mut found = std::mem::take(&mut self.found);
        let mut rest = found.as_slice();
        while let Some(first) = rest.first() {
            let Some((stream, _)) = &self.watches[first.number as usize] else {
                rest = &rest[1..];
                continue;
            };
            let mut shared = stream.shared();
            let mut any = false;
            while let Some(next) = rest.first() {
                match &self.watches[next.number as usize] {
                    Some((other, place)) if Arc::ptr_eq(other, stream) => {
                        any |= shared.offer(*place, next.revision, next.at, next.op);
                        rest = &rest[1..];
                    }
                    _ => break,
                }
            }
            drop(shared);
            if any && !touched.last().is_some_and(|last| Arc::ptr_eq(last, stream)) {
                touched.push(stream.clone());
            }
        }
        found.clear();
        self.found = found;
        touched
    }
}

/// Why a watch that starts at `start` cannot, if history no longer reaches back so far.
pub(super) fn check_start(mvcc: &Mvcc, start: i64) -> std::result::Result<(), i64> {
    let legal = mvcc.legal_start(start);
    if legal > start { Err(legal) } else { Ok(()) }
}
