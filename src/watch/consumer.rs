//! The consumer's side of a stream: turns what the ring holds, what the log holds for watches that are behind,
//! and what is to be said beside events, into responses in order. One thread at a time; the thread that called
//! `next`, or one of a pool.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::progress::Ticker;
use super::response::{Builder, Kind, Response};
use super::state::{Control, End, Entry, Phase, Shared, Spec};
use super::stream::Stream;
use super::{catchup, progress};
use crate::error::{Error, ErrorCode, Result};
use crate::mvcc::lock;
use crate::os::wake::EventFd;

/// What belongs to whoever consumes.
pub(super) struct Consumer {
    /// Responses in order, made but not handed out.
    pub(super) ready: VecDeque<Response>,
    drained: Vec<Entry>,
    pub(super) ticker: Ticker,
    /// Where the next group of watches that read the log begins.
    turn: usize,
    /// Everything the ring held up to this revision has been taken out.
    drained_upto: i64,
    /// How often in a row they had to wait because the ring held something.
    passed_over: usize,
}

/// See [`Consumer::fill`].
const PASS_OVER_MAX: usize = 4;

/// What an attempt to make responses came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// There is at least one.
    Ready,
    /// None yet, but there is more to read.
    More,
    /// There is nothing to say.
    Nothing,
}

/// Events of one watch, to become one or more responses.
pub(super) struct Batch {
    pub(super) place: u32,
    pub(super) birth: u64,
    pub(super) spec: Arc<Spec>,
    pub(super) entries: Vec<(i64, crate::log::Position)>,
    /// The start revision that continues after the last entry.
    pub(super) resume_revision: i64,
    /// Events at the front that were taken before.
    pub(super) skip: usize,
    /// Parts before those events were taken.
    pub(super) partly: bool,
}

impl Consumer {
    pub(super) fn new(progress_interval_ms: u32) -> Self {
        Self {
            ready: VecDeque::new(),
            drained: Vec::new(),
            ticker: Ticker::new(progress_interval_ms),
            turn: 0,
            drained_upto: 0,
            passed_over: 0,
        }
    }

    /// Makes at least one response if there is anything to say; a bounded piece of work. What the ring holds goes
    /// first, but it cannot keep those who read the log from their turn for ever. Called when `ready` is empty.
    pub(super) fn fill(&mut self, stream: &Arc<Stream>) -> Fill {
        let matched = stream.hub.matched();
        let readers = self.take_ring(stream, matched);
        let mut outcome = catchup::Outcome::Done;
        if self.ready.is_empty() || self.passed_over >= PASS_OVER_MAX {
            self.passed_over = 0;
            outcome = catchup::advance(self, stream, readers);
        } else {
            self.passed_over += 1;
        }
        if self.ready.is_empty() && outcome == catchup::Outcome::Done {
            progress::answer(self, &mut stream.shared(), matched);
        }
        match outcome {
            _ if !self.ready.is_empty() => Fill::Ready,
            catchup::Outcome::More => Fill::More,
            catchup::Outcome::Done => Fill::Nothing,
        }
    }

    /// Makes responses until there is one or nothing is left to read.
    fn fill_fully(&mut self, stream: &Arc<Stream>) {
        while self.ready.is_empty() && self.fill(stream) == Fill::More {}
    }

    pub(super) fn take_controls(&mut self, stream: &Stream) {
        self.take_controls_of(stream, &mut stream.shared());
    }

    fn take_controls_of(&mut self, stream: &Stream, shared: &mut Shared) {
        if shared.controls.is_empty() {
            return;
        }
        let current = stream.hub.mvcc.revision();
        while let Some(control) = shared.controls.pop_front() {
            self.ready.push_back(match control {
                Control::Created { spec, birth, resume_revision } => {
                    let mut response = Response::control(Kind::Created, spec.id, current, resume_revision);
                    response.watch_data = spec.data;
                    response.birth = birth;
                    response
                }
                Control::Canceled { spec, birth, resume_revision, code, compact_revision } => {
                    let mut response = Response::control(Kind::Canceled, spec.id, current, resume_revision);
                    response.watch_data = spec.data;
                    response.birth = birth;
                    response.compact_revision = compact_revision;
                    response.cancel_code = code;
                    response.cancel_reason = code.map_or(Cow::Borrowed(""), |code| code.sentence().into());
                    response
                }
            });
        }
    }

    /// Takes what is to be said beside events, then empties the ring up to `matched`, above which a revision may
    /// still be incomplete, into responses, one or more for each watch. Answers which watches read the log from
    /// where. All of it is found under one lock, so that for each watch the order is right.
    fn take_ring(&mut self, stream: &Stream, matched: i64) -> Vec<catchup::Reader> {
        let mut batches: Vec<Batch> = Vec::new();
        let readers;
        {
            let mut shared = stream.shared();
            self.take_controls_of(stream, &mut shared);
            // Before newer events, which may never pause. What was drained has been taken or refused.
            progress::answer(self, &mut shared, self.drained_upto);
            self.drained_upto = matched;
            readers = catchup::collect(&mut self.turn, &shared, matched);
            if shared.ring.is_empty() {
                return readers;
            }
            self.drained.clear();
            shared.ring.drain_while(&mut self.drained, |entry| entry.revision <= matched);
            // Where the batch of a place is, while its entries are gathered.
            let mut batch_of = std::collections::HashMap::new();
            for entry in self.drained.drain(..) {
                let Some(watch) = shared.watch(entry.place, entry.birth) else { continue };
                let read_again = matches!(watch.phase, Phase::Behind { from } if entry.revision >= from);
                if read_again || entry.revision < watch.next_revision {
                    continue;
                }
                let at = *batch_of.entry(entry.place).or_insert_with(|| {
                    batches.push(Batch {
                        place: entry.place,
                        birth: entry.birth,
                        spec: watch.spec.clone(),
                        entries: Vec::new(),
                        resume_revision: 0,
                        skip: 0,
                        partly: false,
                    });
                    batches.len() - 1
                });
                batches[at].entries.push((entry.revision, entry.at));
                batches[at].resume_revision = entry.revision + 1;
                watch.active = true;
            }
            for batch in &batches {
                if let Some(watch) = shared.watch(batch.place, batch.birth) {
                    watch.next_revision = batch.resume_revision;
                }
            }
        }
        for batch in batches {
            self.emit(stream, batch);
        }
        self.take_controls(stream);
        readers
    }

    /// Cuts a batch into responses at the ends of revisions and queues them.
    pub(super) fn emit(&mut self, stream: &Stream, batch: Batch) {
        let mut rest = batch.entries.as_slice();
        let (mut skip, mut partly) = (batch.skip, batch.partly);
        while let Some(first) = rest.first() {
            let table = stream.hub.mvcc.log.table();
            let compacted = stream.hub.mvcc.compact_revision();
            let mut builder = Builder::new(&table, compacted, batch.spec.prev_kv);
            let (mut taken, mut revisions, mut bytes, mut revision) = (0, 0, 0, i64::MIN);
            let mut lost = None;
            for (number, at) in rest {
                if *number != revision {
                    let full =
                        revisions >= stream.options.batch_revisions || bytes >= stream.options.batch_bytes;
                    if full {
                        break;
                    }
                    revisions += 1;
                    revision = *number;
                }
                if !builder.push(*at) {
                    lost = Some(*number);
                    break;
                }
                bytes +=
                    table.change(*at).map_or(0, |change| (change.key().len() + change.value().len()) as u64);
                taken += 1;
            }
            if let Some(lost) = lost {
                // A compaction dropped the segment under a consumer that was slow: it is behind, and is told so.
                let whole = rest[..taken].iter().filter(|(number, _)| *number < lost).count();
                if whole < taken || taken == 0 {
                    let legal = stream.hub.mvcc.legal_start(lost);
                    self.lose(stream, &batch, first.0.min(lost), legal);
                    return;
                }
            }
            let after = rest.get(taken).map_or(batch.resume_revision, |_| rest[taken - 1].0 + 1);
            let mut response = builder.finish(batch.spec.id, stream.hub.mvcc.revision(), after);
            response.watch_data = batch.spec.data;
            response.birth = batch.birth;
            response.skip(std::mem::take(&mut skip));
            response.continues = std::mem::take(&mut partly);
            rest = &rest[taken..];
            if batch.spec.fragment {
                self.ready.extend(response.fragments(stream.hub.mvcc.options().fragment_bytes));
            } else {
                self.ready.push_back(response);
            }
        }
    }

    fn lose(&mut self, stream: &Stream, batch: &Batch, first: i64, legal: i64) {
        {
            let mut shared = stream.shared();
            if !shared.put_back(batch.place, batch.birth, first) {
                return shared.lower_canceled(batch.birth, first);
            }
        }
        stream.cancel_for(batch.place, batch.birth, ErrorCode::Compacted, legal);
    }

    /// Makes the descriptor say whether something is queued.
    pub(super) fn signal(&self, fd: &EventFd, ended: bool) {
        // Neither fails on a descriptor of ours: the counter stays at 0 or 1.
        let _ = if ended || !self.ready.is_empty() { fd.raise() } else { fd.clear().map(drop) };
    }
}

/// Marks a caller inside `next`; dropped when it leaves.
struct Turn<'s>(&'s Stream);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.consuming.store(false, Ordering::Release);
        self.0.hub.pass_on();
    }
}

impl Stream {
    /// The next response, waiting for it until the timeout; `None` timeout is no limit, `None` answer is a
    /// timeout that passed.
    pub fn next(self: &Arc<Self>, timeout: Option<Duration>) -> Result<Option<Response>> {
        let mut responses = Vec::new();
        self.take(1, timeout, &mut responses)?;
        Ok(responses.pop())
    }

    /// Waits as `next` for the first response, then takes what is ready, up to `max` in all.
    pub fn next_batch(self: &Arc<Self>, max: usize, timeout: Option<Duration>) -> Result<Vec<Response>> {
        if max == 0 {
            return Err(Error::new(ErrorCode::InvalidArgument, "a batch of 0 responses was asked for"));
        }
        let mut responses = Vec::new();
        self.take(max, timeout, &mut responses)?;
        Ok(responses)
    }

    fn take(
        self: &Arc<Self>,
        max: usize,
        timeout: Option<Duration>,
        responses: &mut Vec<Response>,
    ) -> Result<()> {
        if self.callback.is_some() {
            let message = "the stream has a callback; next is for streams without";
            return Err(Error::new(ErrorCode::InvalidState, message));
        }
        self.check_open()?;
        if self.consuming.swap(true, Ordering::AcqRel) {
            return Err(Error::new(ErrorCode::Busy, "another consumer is inside this stream"));
        }
        let _turn = Turn(self);
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            self.check_open()?;
            self.hub.tail();
            let (filled, wake_at, is_drained) = {
                let mut consumer = lock(&self.consumer);
                let mut filled = Fill::Ready;
                while responses.len() < max && filled == Fill::Ready {
                    match consumer.ready.pop_front() {
                        Some(response) => responses.push(response),
                        None => filled = consumer.fill(self),
                    }
                }
                if let Some(fd) = self.fd.get() {
                    consumer.fill_fully(self);
                    consumer.signal(fd, self.shared().end.is_some());
                }
                (filled, consumer.wake_at(self), consumer.ready.is_empty())
            };
            if is_drained && wake_at.is_some() && self.fd.get().is_some() {
                // Whoever polls the descriptor is not here when the time comes.
                self.hub.descriptors.schedule(self);
            }
            if !responses.is_empty() {
                self.count_delivered(responses);
                return Ok(());
            }
            self.check_open()?;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(());
            }
            if filled == Fill::More {
                self.hub.pass_on();
                continue;
            }
            let until = [deadline, wake_at].into_iter().flatten().min();
            self.hub.wait(&self.event, &self.leads, until, || self.has_something());
        }
    }

    fn count_delivered(&self, responses: &[Response]) {
        let events: usize = responses.iter().map(Response::len).sum();
        self.hub.delivered.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Whether a consumer has something to look at.
    pub(super) fn has_something(&self) -> bool {
        let ready = self.consumer.try_lock().is_ok_and(|consumer| !consumer.ready.is_empty());
        let shared = self.shared();
        let catches_up = || {
            let now = Instant::now();
            let waits = |watch: &super::state::Watch| watch.pause.is_some_and(|pause| pause.until > now);
            let behind = |watch: &super::state::Watch| matches!(watch.phase, Phase::Behind { .. });
            shared.behind_count > 0 && shared.watches().any(|watch| behind(watch) && !waits(watch))
        };
        ready
            || shared.end.is_some()
            || !shared.ring.is_empty()
            || !shared.controls.is_empty()
            || progress::can_answer(&shared, self.hub.matched())
            || catches_up()
    }

    /// A request for progress could not be answered because the consumer had read further than the tailer. The
    /// tailer wakes only streams that it has something for, so who ran this one must come again.
    pub(super) fn awaits_tailer(&self) -> bool {
        let shared = self.shared();
        let waits = shared.end.is_none() && !shared.progress_requests.is_empty();
        waits && (self.hub.has_unmatched() || progress::can_answer(&shared, self.hub.matched()))
    }

    /// The descriptor that is readable exactly while a response is queued or the stream has ended.
    pub fn fd(self: &Arc<Self>) -> Result<std::os::fd::RawFd> {
        use std::os::fd::AsRawFd;
        if self.hub.mvcc.is_forked() {
            self.hub.mvcc.check_open()?;
        }
        if self.callback.is_some() {
            let message = "the stream has a callback; its descriptor would never be readable";
            return Err(Error::new(ErrorCode::InvalidState, message));
        }
        if let Some(fd) = self.fd.get() {
            return Ok(fd.as_raw_fd());
        }
        self.check_open()?;
        let fd = EventFd::new()?;
        self.hub.descriptors.start()?;
        let fd = self.fd.get_or_init(|| fd);
        lock(&self.consumer).signal(fd, self.shared().end.is_some());
        self.hub.descriptors.schedule(self);
        Ok(fd.as_raw_fd())
    }

    /// Run by a pool: makes a response if there is none, and the descriptor say so. The answer is when to come
    /// again.
    pub(super) fn prepare(self: &Arc<Self>) -> Option<Instant> {
        let mut consumer = lock(&self.consumer);
        let ended = self.shared().end.is_some();
        if !ended {
            consumer.fill_fully(self);
        }
        if let Some(fd) = self.fd.get() {
            consumer.signal(fd, ended);
        }
        if !consumer.ready.is_empty() || ended {
            self.wake_caller();
            return None;
        }
        if self.awaits_tailer() {
            return Some(Instant::now());
        }
        consumer.wake_at(self)
    }

    pub(super) fn ends_with_store(&self) -> bool {
        self.shared().end == Some(End::StoreClosed)
    }
}
