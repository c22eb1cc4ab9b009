//! What the tailer, the callers of a stream and its consumer share: the watches of one stream, its ring and
//! what is to be said beside events. Plain data behind one lock that is held for a few steps at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::ring::Ring;
use crate::error::{Error, ErrorCode, Result};
use crate::key_range::{KeyRange, OwnedKeyRange};
use crate::limits;
use crate::log::{ChangeOp, Position};

/// What was asked for, fixed for the life of a watch.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) id: i64,
    range: OwnedKeyRange,
    pub(super) prev_kv: bool,
    pub(super) progress_notify: bool,
    pub(super) fragment: bool,
    pub(super) filter_noput: bool,
    pub(super) filter_nodelete: bool,
    pub(super) data: usize,
    /// No progress before the store has reached this revision (etcd 12.3).
    pub(super) starts_at: i64,
}

impl Spec {
    pub(super) fn new(id: i64, range: KeyRange<'_>, request: &crate::request::CreateRequest<'_>) -> Self {
        Self {
            id,
            range: range.to_owned(),
            prev_kv: request.prev_kv,
            progress_notify: request.progress_notify,
            fragment: request.fragment,
            filter_noput: request.filter_noput,
            filter_nodelete: request.filter_nodelete,
            data: request.watch_data,
            starts_at: request.start_revision,
        }
    }

    pub(super) fn range(&self) -> KeyRange<'_> {
        self.range.as_ref()
    }

    /// Whether the filters let a change pass (etcd 6.1).
    pub(super) fn wants(&self, op: ChangeOp) -> bool {
        match op {
            ChangeOp::Put => !self.filter_noput,
            ChangeOp::Delete => !self.filter_nodelete,
        }
    }
}

/// Where a watch gets its events from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// From the ring, those at or above `min_revision` (etcd's synced; a future start waits here too).
    Live { min_revision: i64 },
    /// From the log, from `from` on (etcd's unsynced).
    Behind { from: i64 },
}

/// A consumer answered "not now" (etcd's victim): nothing is offered before `until`; then the same events again,
/// those up to `last`, without the first `skip`, which it had taken as fragments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
    pub(super) last: i64,
    pub(super) skip: usize,
    /// Parts of the response were taken, so it is not over.
    pub(super) partly: bool,
}

/// One live watch.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) spec: Arc<Spec>,
    /// Tells the watch from an earlier one in the same place.
    pub(super) birth: u64,
    /// Its number in the hub.
    pub(super) number: u32,
    pub(super) phase: Phase,
    pub(super) pause: Option<Pause>,
    /// What it was given so far ends below this revision.
    pub(super) next_revision: i64,
    /// It got events since the last tick, so the next one passes it by (etcd 12.2).
    pub(super) active: bool,
}

/// A match on its way to the consumer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) place: u32,
    pub(super) birth: u64,
    pub(super) revision: i64,
    pub(super) at: Position,
}

/// A response that is not made of events.
#[derive(Debug)]
pub(super) enum Control {
    Created {
        spec: Arc<Spec>,
        birth: u64,
        resume_revision: i64,
    },
    Canceled {
        spec: Arc<Spec>,
        birth: u64,
        resume_revision: i64,
        code: Option<ErrorCode>,
        compact_revision: i64,
    },
}

/// Why a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its owner shut it down.
    Shutdown,
    /// The store was closed; callbacks still get the final responses.
    StoreClosed,
}

/// See the module.
pub(super) struct Shared {
    pub(super) places: Vec<Option<Watch>>,
    free: Vec<u32>,
    ids: HashMap<i64, u32>,
    next_id: i64,
    births: u64,
    pub(super) ring: Ring<Entry>,
    pub(super) controls: VecDeque<Control>,
    /// Watches that are not live.
    pub(super) behind_count: usize,
    /// Watches with `progress_notify`.
    pub(super) notify_count: usize,
    /// Requests for progress, each with the revision it must reach.
    pub(super) progress_requests: VecDeque<i64>,
    pub(super) end: Option<End>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            ids: HashMap::new(),
            next_id: 1,
            births: 0,
            ring: Ring::new(limits::RING_ENTRIES_MAX),
            controls: VecDeque::new(),
            behind_count: 0,
            notify_count: 0,
            progress_requests: VecDeque::new(),
            end: None,
        }
    }

    /// The id a new watch gets: the one asked for, or the next that was never assigned and is not in use
    /// (etcd 3.8, 3.9).
    pub(super) fn choose_id(&mut self, asked: i64) -> Result<i64> {
        if self.ids.len() >= limits::WATCHES_PER_STREAM_MAX {
            let message = format!("the stream has {} watches, the limit", self.ids.len());
            return Err(Error::new(ErrorCode::Limit, message));
        }
        if asked != 0 {
            if self.ids.contains_key(&asked) {
                let message = format!("watch id {asked} is in use on this stream");
                return Err(Error::new(ErrorCode::DuplicateWatchId, message));
            }
            return Ok(asked);
        }
        while self.ids.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    /// Gives a watch its place. Answers place and birth.
    pub(super) fn insert(&mut self, spec: Arc<Spec>, phase: Phase, next_revision: i64) -> (u32, u64) {
        self.births += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            (self.places.len() - 1) as u32
        });
        self.ids.insert(spec.id, place);
        self.behind_count += usize::from(matches!(phase, Phase::Behind { .. }));
        self.notify_count += usize::from(spec.progress_notify);
        let birth = self.births;
        let watch = Watch { spec, birth, number: 0, phase, pause: None, next_revision, active: false };
        self.places[place as usize] = Some(watch);
        (place, birth)
    }

    /// Takes a watch out; its place and id are free.
    pub(super) fn remove(&mut self, place: u32) -> Option<Watch> {
        let watch = self.places.get_mut(place as usize)?.take()?;
        self.ids.remove(&watch.spec.id);
        self.free.push(place);
        self.behind_count -= usize::from(matches!(watch.phase, Phase::Behind { .. }));
        self.notify_count -= usize::from(watch.spec.progress_notify);
        Some(watch)
    }

    pub(super) fn place_of(&self, id: i64) -> Option<u32> {
        self.ids.get(&id).copied()
    }

    pub(super) fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.places.iter().flatten()
    }

    /// The watch in a place, if it is still the one that was meant.
    pub(super) fn watch(&mut self, place: u32, birth: u64) -> Option<&mut Watch> {
        self.places.get_mut(place as usize)?.as_mut().filter(|watch| watch.birth == birth)
    }

    pub(super) fn set_phase(&mut self, place: u32, phase: Phase) {
        if let Some(Some(watch)) = self.places.get_mut(place as usize) {
            self.behind_count -= usize::from(matches!(watch.phase, Phase::Behind { .. }));
            self.behind_count += usize::from(matches!(phase, Phase::Behind { .. }));
            watch.phase = phase;
        }
    }

    /// What the watch was given ends below `from` after all. Whoever ends it now, and that may be someone else than
    /// the caller, finds it behind and says so. `false` if it has ended.
    pub(super) fn put_back(&mut self, place: u32, birth: u64, from: i64) -> bool {
        let Some(watch) = self.watch(place, birth) else { return false };
        watch.next_revision = from;
        self.set_phase(place, Phase::Behind { from });
        true
    }

    /// Takes a match from the tailer. A full ring sends the watch behind, from this revision on: what the ring
    /// holds of the same revision is passed over by the consumer, so that a revision is never split.
    pub(super) fn offer(&mut self, place: u32, revision: i64, at: Position, op: ChangeOp) -> bool {
        let Some(Some(watch)) = self.places.get(place as usize) else { return false };
        let Phase::Live { min_revision } = watch.phase else { return false };
        if revision < min_revision || !watch.spec.wants(op) {
            return false;
        }
        let entry = Entry { place, birth: watch.birth, revision, at };
        if self.ring.push(entry).is_err() {
            self.set_phase(place, Phase::Behind { from: revision });
        }
        true
    }

    /// What was on its way to a watch that was canceled meanwhile did not arrive: it goes on at `from`.
    pub(super) fn lower_canceled(&mut self, birth: u64, from: i64) {
        for control in &mut self.controls {
            if let Control::Canceled { birth: canceled, resume_revision, .. } = control
                && *canceled == birth
            {
                *resume_revision = (*resume_revision).min(from);
            }
        }
    }

    /// The tailer passed over revisions from `from` on that this watch may want.
    pub(super) fn send_behind(&mut self, place: u32, from: i64) {
        let Some(Some(watch)) = self.places.get(place as usize) else { return };
        if let Phase::Live { min_revision } = watch.phase {
            self.set_phase(place, Phase::Behind { from: from.max(min_revision) });
        }
    }
}
