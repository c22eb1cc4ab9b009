//! A watch of the model: which events it must be given, and what each response may say.

use crate::answer::{ErrorCode, Event, Response, What};
use crate::call::{Bytes, Create};
use crate::model::Checked;
use crate::ops::{State, contains};
use crate::program::StreamSetup;

/// Why a watch ends, once that is certain; the final response may still be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Asked,
    /// Its start was below the compaction at this revision.
    Born(i64),
    /// The subject let us know that a compaction has taken it.
    Lost,
    Closed,
}

#[derive(Clone, Debug)]
pub(crate) struct Watch {
    pub(super) stream: usize,
    pub(super) id: i64,
    pub(super) key: Bytes,
    pub(super) range_end: Bytes,
    pub(super) prev_kv: bool,
    pub(super) progress_notify: bool,
    pub(super) fragment: bool,
    pub(super) filter_noput: bool,
    pub(super) filter_nodelete: bool,
    /// A created response is still due.
    pub(super) created_due: bool,
    /// No progress before this revision; 0 for a watch from now on.
    pub(super) starts_at: i64,
    /// The first revision that is for it.
    pub(super) start: i64,
    pub(super) compacted_at_birth: i64,
    /// Index of the next event of the history to look at.
    pub(super) cursor: usize,
    /// What it was given certainly ends below this revision.
    pub(super) position: i64,
    pub(super) last_revision: i64,
    /// What it was given of a response that comes in parts: whole revisions before the last, their bytes, and the
    /// bytes of the last.
    pub(super) parts: Option<Batch>,
    /// It reads no history, so only events that wait can make it lose its place.
    pub(super) settled: bool,
    /// The compactions that may have overtaken it.
    pub(super) losable: Vec<i64>,
    pub(super) end: Option<End>,
    /// Nothing above is for it.
    pub(super) upto: i64,
    pub(super) done: bool,
    /// By a compaction.
    pub(super) compacted: bool,
}

/// The size of a response.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Batch {
    revisions: u32,
    bytes_before: u64,
    bytes: u64,
    last_revision: i64,
}

impl Batch {
    fn add(&mut self, event: &Event) {
        if event.kv.mod_revision != self.last_revision {
            self.revisions += 1;
            self.last_revision = event.kv.mod_revision;
            self.bytes_before = self.bytes;
        }
        self.bytes += event.bytes();
    }
}

/// What holds for every watch of a stream.
pub(super) struct Rules<'m> {
    pub(super) state: &'m State,
    pub(super) setup: &'m StreamSetup,
    pub(super) fragment_bytes: u64,
    pub(super) compactions: &'m [i64],
    pub(super) closing: bool,
}

pub(super) fn hold(holds: bool, how: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(how()) }
}

impl Watch {
    pub(crate) fn new(state: &State, stream: usize, request: &Create) -> Self {
        let starts_at = request.start_revision;
        let start = if starts_at == 0 { state.revision + 1 } else { starts_at };
        let below = start < state.compact_revision;
        Self {
            stream,
            id: 0,
            key: if request.key.is_empty() { Bytes::from(b"\0") } else { request.key.clone() },
            range_end: request.range_end.clone(),
            prev_kv: request.prev_kv,
            progress_notify: request.progress_notify,
            fragment: request.fragment,
            filter_noput: request.filter_noput,
            filter_nodelete: request.filter_nodelete,
            created_due: request.created_notify,
            starts_at,
            start,
            compacted_at_birth: state.compact_revision,
            cursor: state.history.partition_point(|event| event.kv.mod_revision < start),
            position: start,
            last_revision: 0,
            parts: None,
            settled: start > state.revision,
            losable: Vec::new(),
            end: below.then_some(End::Born(state.compact_revision)),
            upto: if below { 0 } else { i64::MAX },
            done: false,
            compacted: false,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.end.is_none() && !self.done
    }

    fn wants(&self, event: &Event) -> bool {
        let filtered = if event.put { self.filter_noput } else { self.filter_nodelete };
        let revision = event.kv.mod_revision;
        !filtered
            && (self.start..=self.upto).contains(&revision)
            && contains(&self.key, &self.range_end, &event.kv.key)
    }

    /// The events that are still to come, with their places in the history.
    pub(super) fn to_come<'s>(&self, state: &'s State) -> impl Iterator<Item = (usize, &'s Event)> {
        let rest = state.history.iter().enumerate().skip(self.cursor);
        rest.filter(|(_, event)| self.wants(event))
    }

    fn next_revision(&self, state: &State) -> i64 {
        self.to_come(state).next().map_or(i64::MAX, |(_, event)| event.kv.mod_revision)
    }

    pub(super) fn reached(&mut self, position: i64) {
        self.position = self.position.max(position);
        self.losable.retain(|revision| *revision > self.position);
    }

    pub(super) fn compacted(&mut self, state: &State) {
        let revision = state.compact_revision;
        let needs = if self.settled { self.next_revision(state) } else { self.position };
        if self.is_live() && needs < revision && self.position < revision {
            self.losable.push(revision);
        }
    }

    pub(super) fn deliver(&mut self, rules: &Rules<'_>, response: &Response) -> Checked {
        hold(response.revision <= rules.state.revision, || "its header is in the future".into())?;
        if self.created_due {
            hold(response.what == What::Created, || "a created response must be the first".into())?;
        }
        match &response.what {
            What::Created => self.created(response),
            What::Events(events) => self.events(rules, response, events),
            What::Progress => self.progress(rules, response),
            What::Canceled { code, compact_revision } => {
                self.canceled(rules, response, *code, *compact_revision)
            }
        }
    }

    fn created(&mut self, response: &Response) -> Checked {
        hold(std::mem::take(&mut self.created_due), || "a created response that is not due".into())?;
        let start = self.start;
        hold(response.resume_revision.is_none_or(|resume| resume == start), || {
            format!("created, expected to resume at {start}")
        })
    }

    fn events(&mut self, rules: &Rules<'_>, response: &Response, events: &[Event]) -> Checked {
        hold(!events.is_empty(), || "no events".into())?;
        let joined = self.parts.is_some();
        let mut batch = self.parts.take().unwrap_or_default();
        for event in events {
            self.event(rules, event)?;
            batch.add(event);
        }
        let last = self.last_revision;
        hold(response.revision >= last, || format!("its header is below {last}"))?;
        let bytes: u64 = events.iter().map(Event::bytes_with_prev).sum();
        if self.fragment {
            let small = bytes < rules.fragment_bytes || events.len() == 1;
            hold(small, || format!("{bytes} bytes of {} events in one part", events.len()))?;
        }
        if response.fragment {
            hold(self.fragment, || "a fragment that was not asked for".into())?;
            hold(response.resume_revision.is_none_or(|resume| resume == 0), || {
                "a fragment to resume from".into()
            })?;
            self.parts = Some(batch);
            return Ok(());
        }
        let next = self.next_revision(rules.state);
        hold(next != last, || format!("revision {last} is not complete"))?;
        self.resumes_exactly(response, last + 1, next)?;
        let or = |value: u64, default: u64| if value == 0 { default } else { value };
        let revisions =
            or(rules.setup.batch_revisions.into(), libwatch::limits::BATCH_REVISIONS_DEFAULT.into());
        let bytes = or(rules.setup.batch_bytes, libwatch::limits::BATCH_BYTES_DEFAULT);
        hold(u64::from(batch.revisions) <= revisions, || format!("{} revisions at once", batch.revisions))?;
        let cut = batch.revisions < 2 || batch.bytes_before < bytes;
        hold(cut, || format!("it goes on after {} bytes; in parts: {joined}", batch.bytes_before))?;
        self.reached(response.resume_revision.unwrap_or(last + 1));
        Ok(())
    }

    fn event(&mut self, rules: &Rules<'_>, event: &Event) -> Checked {
        let Some((index, known)) = self.to_come(rules.state).next() else {
            return Err(format!("{event:?} is not expected; nothing is"));
        };
        hold(event.put == known.put && event.kv == known.kv, || format!("{event:?}\nexpected {known:?}"))?;
        let revision = known.kv.mod_revision;
        let due =
            if self.prev_kv && revision > self.compacted_at_birth { known.prev_kv.as_ref() } else { None };
        let excused = event.prev_kv.is_none() && revision <= rules.state.compact_revision;
        hold(event.prev_kv.as_ref() == due || excused, || format!("{event:?}\nexpected prev_kv {due:?}"))?;
        self.cursor = index + 1;
        self.last_revision = revision;
        Ok(())
    }

    fn resumes_exactly(&self, response: &Response, low: i64, high: i64) -> Checked {
        let low = low.max(self.position);
        hold(response.resume_revision.is_none_or(|resume| (low..=high).contains(&resume)), || {
            format!("expected to resume from {low} to {high}")
        })
    }

    /// A notification of this watch, or the answer to a request for progress of its stream.
    pub(super) fn progress(&mut self, rules: &Rules<'_>, response: &Response) -> Checked {
        let upto = response.revision;
        if response.watch_id == self.id {
            hold(self.progress_notify, || "a notification that was not asked for".into())?;
            hold(self.starts_at <= upto, || format!("progress before the start {}", self.start))?;
        }
        let next = self.next_revision(rules.state);
        hold(next > upto, || format!("progress {upto}, but watch {} misses {next}", self.id))?;
        hold(self.last_revision <= upto, || {
            format!("progress {upto}, but watch {} was given {}", self.id, self.last_revision)
        })?;
        hold(self.parts.is_none(), || format!("progress amid parts of watch {}", self.id))?;
        hold(response.resume_revision.is_none_or(|resume| resume == upto + 1), || {
            "progress that does not resume behind itself".into()
        })?;
        self.reached(upto + 1);
        Ok(())
    }

    fn canceled(
        &mut self,
        rules: &Rules<'_>,
        response: &Response,
        code: Option<ErrorCode>,
        compact_revision: i64,
    ) -> Checked {
        let next = self.next_revision(rules.state);
        // Parts that were taken may end inside a revision, which then comes again.
        let low = if self.parts.is_some() { self.last_revision } else { self.last_revision + 1 };
        match (code, self.end) {
            (None, Some(End::Asked)) | (Some(ErrorCode::Closed), Some(End::Closed)) => {
                hold(compact_revision == 0, || "a compaction without a reason".into())?;
                self.resumes_exactly(response, low, next)?;
            }
            (Some(ErrorCode::Compacted), Some(End::Born(at))) => {
                hold(compact_revision == at, || format!("expected compact_revision {at}"))?;
                self.resumes_exactly(response, self.start, self.start)?;
            }
            (Some(ErrorCode::Compacted), Some(End::Lost | End::Closed) | None)
                if !self.losable.is_empty() =>
            {
                let least = self.losable[0];
                hold(compact_revision >= least && rules.compactions.contains(&compact_revision), || {
                    format!("expected a compact_revision from {least} on")
                })?;
                self.resumes_exactly(response, low, next.min(compact_revision - 1))?;
            }
            (code, end) => return Err(format!("it ends with {code:?}; expected {end:?} of {self:?}")),
        }
        if !rules.closing && self.end == Some(End::Closed) {
            return Err("it ends with a store that is open".into());
        }
        self.done = true;
        self.compacted = code == Some(ErrorCode::Compacted);
        Ok(())
    }

    pub(super) fn drained(&self, state: &State) -> Checked {
        if self.done {
            return Ok(());
        }
        let (stream, id) = (self.stream, self.id);
        hold(!self.created_due, || format!("stream {stream}, watch {id}: no created response"))?;
        hold(self.end.is_none(), || format!("stream {stream}, watch {id}: no final response"))?;
        hold(self.parts.is_none(), || format!("stream {stream}, watch {id}: the last part is missing"))?;
        let missing = self.to_come(state).next();
        hold(missing.is_none(), || format!("stream {stream}, watch {id}: {missing:?} is missing"))
    }
}
