//! The reference store: what each call must answer, and what each watch must be given. It runs beside a subject:
//! the subject does a call, the model checks the answer and goes the same way where the rules leave a choice.
//!
//! Left open by the rules, and so only bounded: how events are grouped into responses, header revisions, and
//! whether a watch that a compaction overtook was still served from what had been matched for it before.

use crate::answer::{Answer, ErrorCode, Event, Pair, Response};
use crate::call::{Call, Create, Range, Step};
use crate::ops::State;
use crate::program::{Consumer, Now, Setup};
use crate::streams::Streams;
use crate::watch::Watch;

/// Why a subject is wrong.
pub type Checked = Result<(), String>;

pub struct Model {
    setup: Setup,
    state: State,
    streams: Streams,
}

fn refused<T>(result: Result<T, ErrorCode>, answer: impl FnOnce(T) -> Answer) -> Answer {
    result.map_or_else(Answer::Refused, answer)
}

impl Model {
    /// An empty store (etcd 1.2).
    pub fn new(setup: &Setup) -> Self {
        let ops_max = match setup.txn_ops_max {
            0 => libwatch::limits::TXN_OPS_MAX_DEFAULT,
            some => some,
        };
        Self { setup: setup.clone(), state: State::new(ops_max.into()), streams: Streams::new(setup) }
    }

    /// Every event there was, oldest first, with what was before.
    pub fn history(&self) -> &[Event] {
        &self.state.history
    }

    /// What a range must answer; for looking at the model without a subject.
    pub fn range(&self, range: &Range) -> Answer {
        refused(self.state.range(range), Answer::Range)
    }

    /// Does a call as the rules have it, without a subject.
    pub fn apply(&mut self, call: &Call) -> Answer {
        self.predict(call, None)
    }

    /// Does a call and holds the subject's answer against the rules.
    pub fn check(&mut self, call: &Call, given: &Answer) -> Checked {
        let expected = self.predict(call, Some(given));
        if expected == *given { Ok(()) } else { Err(format!("answered {given:?}\nexpected {expected:?}")) }
    }

    /// Holds a response of the subject against the rules, in the order of its stream.
    pub fn deliver(&mut self, stream: usize, response: &Response) -> Checked {
        self.streams.deliver(&self.state, stream, response)
    }

    /// The subject says that everything was taken: nothing may be missing.
    pub fn drained(&mut self) -> Checked {
        self.streams.drained(&self.state)
    }

    /// The store is being closed: callback streams get final responses (etcd 9.8), then comes `Reopen`.
    pub fn close(&mut self) {
        self.streams.close();
    }

    /// Every callback stream has been given its final responses.
    pub fn closed(&self) -> Checked {
        self.streams.closed()
    }

    /// The events that a live watch has not been given yet, of the oldest such watch with the id.
    pub fn missing(&self, stream: usize, watch_id: i64) -> Vec<Event> {
        self.streams.missing(&self.state, stream, watch_id)
    }

    fn predict(&mut self, call: &Call, given: Option<&Answer>) -> Answer {
        let state = &mut self.state;
        match call {
            Step::Put(put) => refused(state.put(put), Answer::Put),
            Step::Range(range) => refused(state.range(range), Answer::Range),
            Step::DeleteRange(delete) => refused(state.delete_range(delete), Answer::DeleteRange),
            Step::Txn(txn) => refused(state.txn(txn), Answer::Txn),
            Step::Compact { revision, .. } => {
                let answer = refused(state.compact(*revision), |()| Answer::Done);
                if answer == Answer::Done {
                    self.streams.compacted(&self.state);
                }
                answer
            }
            Step::Watch { stream, watch_id, request } => {
                let asked = Self::check_create(request, *watch_id);
                let watch = asked.map(|()| Watch::new(&self.state, *stream, request));
                let created = watch.and_then(|watch| self.streams.create(watch, *watch_id, given));
                refused(created, |watch_id| Answer::Watch { watch_id })
            }
            Step::Cancel { stream, watch_id } => {
                let canceled = self.streams.cancel(&self.state, *stream, *watch_id, given);
                refused(canceled, |()| Answer::Done)
            }
            Step::RequestProgress { stream } => {
                self.streams.request_progress(&self.state, *stream);
                Answer::Done
            }
            Step::Refuse { stream, .. } => {
                self.streams.refuse(*stream);
                Answer::Done
            }
            Step::Take { .. } | Step::Drain => Answer::Done,
            Step::Reopen => {
                self.streams = Streams::new(&self.setup);
                let State { revision, compact_revision, .. } = self.state;
                Answer::Reopened { revision, compact_revision }
            }
        }
    }

    /// What no create may ask for (etcd 2.4, 3.4).
    fn check_create(request: &Create, watch_id: i64) -> Result<(), ErrorCode> {
        let key: &[u8] = if request.key.is_empty() { b"\0" } else { &request.key };
        let end: &[u8] = &request.range_end;
        if !end.is_empty() && end != b"\0" && end <= key {
            return Err(ErrorCode::EmptyRange);
        }
        if request.start_revision < 0 || watch_id < 0 {
            return Err(ErrorCode::InvalidArgument);
        }
        Ok(())
    }

    /// Whether something was deleted at a revision.
    pub fn deletes_at(&self, revision: i64) -> bool {
        self.history().iter().any(|event| event.kv.mod_revision == revision && !event.put)
    }

    /// Whether a compaction ended a watch that had this id.
    pub fn was_compacted(&self, stream: usize, watch_id: i64) -> bool {
        self.streams.was_compacted(stream, watch_id)
    }

    /// Whether a stream has a callback.
    pub fn is_callback(&self, stream: usize) -> bool {
        self.setup.streams[stream].consumer == Consumer::Callback
    }
}

impl Now for Model {
    fn revision(&self) -> i64 {
        self.state.revision
    }

    fn compact_revision(&self) -> i64 {
        self.state.compact_revision
    }

    fn live_ids(&self, stream: usize) -> Vec<i64> {
        self.streams.live_ids(stream)
    }

    fn ended_ids(&self, stream: usize) -> Vec<i64> {
        self.streams.ended_ids(stream)
    }
}

impl Event {
    /// Bytes that count for batches.
    pub(crate) fn bytes(&self) -> u64 {
        pair_bytes(&self.kv)
    }

    /// Bytes that count for fragments: what is before counts as well.
    pub(crate) fn bytes_with_prev(&self) -> u64 {
        self.bytes() + self.prev_kv.as_ref().map_or(0, pair_bytes)
    }
}

fn pair_bytes(kv: &Pair) -> u64 {
    (kv.key.len() + kv.value.len()) as u64
}
