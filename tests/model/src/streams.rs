//! The streams of the model: ids, requests for progress, and which watch a response is of.

use std::collections::VecDeque;

use crate::answer::{Answer, ErrorCode, Event, Response, What};
use crate::model::Checked;
use crate::ops::State;
use crate::program::{Consumer, Setup, StreamSetup};
use crate::watch::{End, Rules, Watch, hold};

/// A request for progress that waits.
struct Request {
    revision: i64,
    /// How many watches there were; younger ones are not part of it.
    watches: usize,
}

struct Stream {
    setup: StreamSetup,
    next_id: i64,
    requests: VecDeque<Request>,
    /// A callback may be refusing events.
    refusing: bool,
    /// The watch whose parts are being given.
    parts_of: Option<usize>,
}

/// All streams of a store.
pub(crate) struct Streams {
    streams: Vec<Stream>,
    /// In the order of their creation, ended ones too.
    watches: Vec<Watch>,
    fragment_bytes: u64,
    compactions: Vec<i64>,
    closing: bool,
}

impl Streams {
    pub(crate) fn new(setup: &Setup) -> Self {
        let stream = |setup: &StreamSetup| Stream {
            setup: setup.clone(),
            next_id: 1,
            requests: VecDeque::new(),
            refusing: false,
            parts_of: None,
        };
        let fragment_bytes = match setup.fragment_bytes {
            0 => libwatch::limits::FRAGMENT_BYTES_DEFAULT,
            some => some,
        };
        Self {
            streams: setup.streams.iter().map(stream).collect(),
            watches: Vec::new(),
            fragment_bytes,
            compactions: Vec::new(),
            closing: false,
        }
    }

    fn of(&self, stream: usize) -> impl DoubleEndedIterator<Item = &Watch> {
        self.watches.iter().filter(move |watch| watch.stream == stream)
    }

    pub(crate) fn live_ids(&self, stream: usize) -> Vec<i64> {
        self.of(stream).filter(|watch| watch.is_live()).map(|watch| watch.id).collect()
    }

    pub(crate) fn ended_ids(&self, stream: usize) -> Vec<i64> {
        self.of(stream).rev().filter(|watch| !watch.is_live()).map(|watch| watch.id).collect()
    }

    fn live(&mut self, stream: usize, id: i64) -> Option<&mut Watch> {
        self.watches.iter_mut().find(|watch| watch.stream == stream && watch.id == id && watch.is_live())
    }

    /// Whether an id is taken. Where a compaction may have ended its watch, the subject's answer decides.
    fn is_taken(&mut self, stream: usize, id: i64, given: Option<&Answer>) -> bool {
        let chosen = given == Some(&Answer::Watch { watch_id: id });
        let Some(watch) = self.live(stream, id) else { return false };
        if chosen && !watch.losable.is_empty() {
            watch.end = Some(End::Lost);
            return false;
        }
        true
    }

    /// Enters a watch and chooses its id (etcd 3.8, 3.9).
    pub(crate) fn create(
        &mut self,
        mut watch: Watch,
        asked: i64,
        given: Option<&Answer>,
    ) -> Result<i64, ErrorCode> {
        let stream = watch.stream;
        watch.id = asked;
        if asked == 0 {
            let mut id = self.streams[stream].next_id;
            while self.is_taken(stream, id, given) {
                id += 1;
            }
            self.streams[stream].next_id = id + 1;
            watch.id = id;
        } else if self.is_taken(stream, asked, given) {
            return Err(ErrorCode::DuplicateWatchId);
        }
        watch.settled &= !self.streams[stream].refusing;
        self.watches.push(watch);
        Ok(self.watches.last().map_or(0, |watch| watch.id))
    }

    pub(crate) fn cancel(
        &mut self,
        state: &State,
        stream: usize,
        id: i64,
        given: Option<&Answer>,
    ) -> Result<(), ErrorCode> {
        let gone = given == Some(&Answer::Refused(ErrorCode::WatchNotFound));
        let watch = self.live(stream, id).ok_or(ErrorCode::WatchNotFound)?;
        if gone && !watch.losable.is_empty() {
            watch.end = Some(End::Lost);
            return Err(ErrorCode::WatchNotFound);
        }
        watch.end = Some(End::Asked);
        watch.upto = state.revision;
        Ok(())
    }

    pub(crate) fn request_progress(&mut self, state: &State, stream: usize) {
        let request = Request { revision: state.revision, watches: self.watches.len() };
        self.streams[stream].requests.push_back(request);
    }

    pub(crate) fn refuse(&mut self, stream: usize) {
        if self.streams[stream].setup.consumer != Consumer::Callback {
            return;
        }
        self.streams[stream].refusing = true;
        self.watches
            .iter_mut()
            .filter(|watch| watch.stream == stream)
            .for_each(|watch| watch.settled = false);
    }

    pub(crate) fn compacted(&mut self, state: &State) {
        self.compactions.push(state.compact_revision);
        self.watches.iter_mut().for_each(|watch| watch.compacted(state));
    }

    pub(crate) fn deliver(&mut self, state: &State, stream: usize, response: &Response) -> Checked {
        let rules = Rules {
            state,
            setup: &self.streams[stream].setup,
            fragment_bytes: self.fragment_bytes,
            compactions: &self.compactions,
            closing: self.closing,
        };
        let checked = if response.watch_id == -1 {
            let request = self.streams[stream].requests.front();
            let older = request.map_or(0, |request| request.watches);
            let watches = self.watches[..older].iter_mut().filter(|watch| watch.stream == stream);
            let checked = answer_progress(&rules, request, watches, response);
            self.streams[stream].requests.pop_front();
            checked
        } else {
            let found =
                self.watches.iter_mut().enumerate().find(|(_, watch)| {
                    watch.stream == stream && watch.id == response.watch_id && !watch.done
                });
            let Some((index, watch)) = found else {
                return Err(format!("stream {stream}: {response:?}\nis of no watch"));
            };
            let whole = self.streams[stream].parts_of.is_none_or(|other| other == index);
            let checked = hold(whole || self.streams[stream].refusing, || "it comes between parts".into())
                .and_then(|()| watch.deliver(&rules, response));
            self.streams[stream].parts_of = response.fragment.then_some(index);
            checked
        };
        checked.map_err(|how| format!("stream {stream}: {response:?}\n{how}"))
    }

    pub(crate) fn drained(&mut self, state: &State) -> Checked {
        for (number, stream) in self.streams.iter_mut().enumerate() {
            let waiting = stream.requests.len();
            hold(waiting == 0, || {
                format!("stream {number}: {waiting} requests for progress have no answer")
            })?;
            stream.refusing = false;
        }
        for watch in &mut self.watches {
            watch.drained(state)?;
            watch.settled = true;
            watch.reached(watch.start.max(state.revision + 1));
        }
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        self.closing = true;
        self.watches
            .iter_mut()
            .filter(|watch| watch.is_live())
            .for_each(|watch| watch.end = Some(End::Closed));
    }

    pub(crate) fn closed(&self) -> Checked {
        let callback = |watch: &&Watch| self.streams[watch.stream].setup.consumer == Consumer::Callback;
        self.watches.iter().filter(callback).try_for_each(|watch| {
            hold(watch.done, || format!("stream {}, watch {}: no final response", watch.stream, watch.id))
        })
    }

    /// Whether a compaction ended a watch with this id (its id is free in libwatch, taken in etcd).
    pub(crate) fn was_compacted(&self, stream: usize, id: i64) -> bool {
        self.of(stream).any(|watch| {
            watch.id == id && (watch.compacted || matches!(watch.end, Some(End::Born(_) | End::Lost)))
        })
    }

    pub(crate) fn missing(&self, state: &State, stream: usize, id: i64) -> Vec<Event> {
        let watch = self.of(stream).find(|watch| watch.id == id && !watch.done);
        watch.map_or_else(Vec::new, |watch| watch.to_come(state).map(|(_, event)| event.clone()).collect())
    }
}

/// The answer to a request speaks for every watch that was there when it was asked and has started (etcd 12.5).
fn answer_progress<'w>(
    rules: &Rules<'_>,
    request: Option<&Request>,
    watches: impl Iterator<Item = &'w mut Watch>,
    response: &Response,
) -> Checked {
    let request = request.ok_or("nobody asked")?;
    hold(response.what == What::Progress, || "a response of no watch that is no progress".into())?;
    let upto = response.revision;
    hold((request.revision..=rules.state.revision).contains(&upto), || {
        format!("asked at {}, the store is at {}", request.revision, rules.state.revision)
    })?;
    for watch in watches.filter(|watch| !watch.done && watch.starts_at <= upto) {
        watch.progress(rules, response)?;
    }
    Ok(())
}
