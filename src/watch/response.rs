//! One delivery of a stream. Event responses are built from positions: whole revisions in order, the bytes
//! pinned where they lie in the log.

use std::borrow::Cow;
use std::sync::Arc;

use crate::error::ErrorCode;
use crate::index::chain;
use crate::log::{Change, ChangeOp, PinSet, Pinned, SegmentTable};
use crate::mvcc::key_value;
use crate::types::{Event, EventType};

/// The watch id of a response that concerns no single watch: the answer to a request for progress.
pub const WATCH_ID_NONE: i64 = -1;

/// One delivery of a stream. Immutable, usable from any thread, and independent of the life of stream and store.
#[derive(Clone)]
pub struct Response {
    pub(super) watch_id: i64,
    pub(super) revision: i64,
    pub(super) resume_revision: i64,
    pub(super) compact_revision: i64,
    pub(super) kind: Kind,
    pub(super) cancel_code: Option<ErrorCode>,
    pub(super) cancel_reason: Cow<'static, str>,
    pub(super) watch_data: usize,
    pub(super) fragment: bool,
    /// It goes on with a response of which parts were taken.
    pub(super) continues: bool,
    /// Of the watch; ids may be used again.
    pub(super) birth: u64,
    body: Arc<Body>,
    from: usize,
    to: usize,
}

/// What a response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Events,
    Created,
    Canceled,
    Progress,
}

#[derive(Default)]
struct Body {
    pins: PinSet,
    events: Vec<(Pinned, Option<Pinned>)>,
}

impl Response {
    /// A response without events.
    pub(super) fn control(kind: Kind, watch_id: i64, revision: i64, resume_revision: i64) -> Self {
        Self {
            watch_id,
            revision,
            resume_revision,
            compact_revision: 0,
            kind,
            cancel_code: None,
            cancel_reason: Cow::Borrowed(""),
            watch_data: 0,
            fragment: false,
            continues: false,
            birth: 0,
            body: Arc::default(),
            from: 0,
            to: 0,
        }
    }

    /// The watch; [`WATCH_ID_NONE`] for the answer to a request for progress.
    pub fn watch_id(&self) -> i64 {
        self.watch_id
    }

    /// The store's revision, as in etcd's header. It is no point to resume from (etcd 8.14).
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The start revision that continues exactly after this response; 0 on a fragment that others follow.
    pub fn resume_revision(&self) -> i64 {
        self.resume_revision
    }

    /// The oldest legal start where the watch was canceled by a compaction, else 0.
    pub fn compact_revision(&self) -> i64 {
        self.compact_revision
    }

    /// The first response of a watch that asked for it.
    pub fn is_created(&self) -> bool {
        self.kind == Kind::Created
    }

    /// The last response of this watch.
    pub fn is_canceled(&self) -> bool {
        self.kind == Kind::Canceled
    }

    /// No events; everything up to [`Response::revision`] has been delivered (etcd 12.1).
    pub fn is_progress(&self) -> bool {
        self.kind == Kind::Progress
    }

    /// More of the same response follows (etcd 13.2).
    pub fn is_fragment(&self) -> bool {
        self.fragment
    }

    /// Why the watch was canceled; `None` if the user asked, and where it was not canceled.
    pub fn cancel_code(&self) -> Option<ErrorCode> {
        self.cancel_code
    }

    /// One line beside [`Response::cancel_code`], else empty.
    pub fn cancel_reason(&self) -> &str {
        &self.cancel_reason
    }

    /// From the create request.
    pub fn watch_data(&self) -> usize {
        self.watch_data
    }

    /// Number of events.
    pub fn len(&self) -> usize {
        self.to - self.from
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The event at `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Response::len`].
    pub fn event(&self, i: usize) -> Event<'_> {
        let (at, prev) = self.body.events[self.from..self.to][i];
        let change = self.body.pins.change(at);
        let event_type = match change.op() {
            ChangeOp::Put => EventType::Put,
            ChangeOp::Delete => EventType::Delete,
        };
        let prev_kv = prev.map(|prev| key_value(&self.body.pins.change(prev)));
        Event { event_type, kv: key_value(&change), prev_kv }
    }

    /// The events: whole revisions only, in order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event<'_>> {
        (0..self.len()).map(|i| self.event(i))
    }

    /// Bytes of keys and values that event `i` carries.
    fn event_bytes(&self, i: usize) -> u64 {
        let event = self.event(i);
        let prev = event.prev_kv.map_or(0, |kv| kv.key.len() + kv.value.len());
        (event.kv.key.len() + event.kv.value.len() + prev) as u64
    }

    /// The parts of this response that stay below `threshold` bytes, at least one event each (etcd 13.1, 13.2).
    pub(super) fn fragments(self, threshold: u64) -> Vec<Response> {
        let total: u64 = (0..self.len()).map(|i| self.event_bytes(i)).sum();
        if total < threshold || self.len() < 2 {
            return vec![self];
        }
        let mut parts = Vec::new();
        let (mut begin, mut bytes) = (0, 0);
        for i in 0..self.len() {
            let next = self.event_bytes(i);
            if i > begin && bytes + next >= threshold {
                parts.push(self.part(begin, i, true));
                (begin, bytes) = (i, 0);
            }
            bytes += next;
        }
        parts.push(self.part(begin, self.len(), false));
        parts
    }

    fn part(&self, begin: usize, end: usize, fragment: bool) -> Response {
        let mut part = self.clone();
        part.from = self.from + begin;
        part.to = self.from + end;
        part.fragment = fragment;
        part.continues |= begin > 0;
        if fragment {
            part.resume_revision = 0;
        }
        part
    }

    /// Where the events of this response stand in the watch: the revision of the first, how many of that revision
    /// came before it, and the last revision of the whole response that it may be a part of.
    pub(super) fn position(&self) -> (i64, usize, i64) {
        let revision_at = |i: usize| self.body.pins.change(self.body.events[i].0).mod_revision();
        let first = revision_at(self.from);
        let before = (0..self.from).rev().take_while(|i| revision_at(*i) == first).count();
        (first, before, revision_at(self.body.events.len() - 1))
    }

    /// Leaves out the first `count` events: they were taken before.
    pub(super) fn skip(&mut self, count: usize) {
        self.from = (self.from + count).min(self.to);
    }
}

/// Collects the events of one response.
pub(super) struct Builder<'t> {
    table: &'t SegmentTable,
    compact_revision: i64,
    prev_kv: bool,
    body: Body,
}

impl<'t> Builder<'t> {
    pub(super) fn new(table: &'t SegmentTable, compact_revision: i64, prev_kv: bool) -> Self {
        Self { table, compact_revision, prev_kv, body: Body::default() }
    }

    /// Adds the change at a position; `false` if a compaction has taken it.
    pub(super) fn push(&mut self, at: crate::log::Position) -> bool {
        let Some(pinned) = self.body.pins.pin(self.table, at) else { return false };
        let prev = if self.prev_kv { self.prev(at) } else { None };
        self.body.events.push((pinned, prev));
        true
    }

    /// The state of the key before the change; it is gone for the revision at the compaction (etcd 7.3).
    fn prev(&mut self, at: crate::log::Position) -> Option<Pinned> {
        let change: Change<'_> = self.table.change(at)?;
        if change.mod_revision() <= self.compact_revision {
            return None;
        }
        let prev = chain::resolve(self.table, change.prev(), change.key()).ok().flatten()?;
        if prev.op() == ChangeOp::Delete {
            return None;
        }
        self.body.pins.pin(self.table, prev.position())
    }

    pub(super) fn finish(self, watch_id: i64, revision: i64, resume_revision: i64) -> Response {
        let to = self.body.events.len();
        let body = Arc::new(self.body);
        Response { body, to, ..Response::control(Kind::Events, watch_id, revision, resume_revision) }
    }
}
