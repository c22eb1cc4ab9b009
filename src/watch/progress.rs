//! Progress: periodic notifications for watches that asked for them, and answers to requests. Both say that
//! everything up to a revision has been delivered, so they are made only when nothing else is left to say.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::consumer::Consumer;
use super::response::{Kind, Response, WATCH_ID_NONE};
use super::state::{Phase, Shared};
use super::stream::Stream;

/// When the next periodic notifications of a stream are due.
pub(super) struct Ticker {
    interval: Duration,
    due: Option<Instant>,
}

impl Ticker {
    /// The interval is drawn once for each stream, up to a tenth longer, so that streams do not fire together
    /// (etcd 12.2).
    pub(super) fn new(interval_ms: u32) -> Self {
        let jitter_ms = RandomState::new().hash_one(interval_ms) % (u64::from(interval_ms) / 10 + 1);
        Self { interval: Duration::from_millis(u64::from(interval_ms) + jitter_ms), due: None }
    }
}

impl Consumer {
    /// When the consumer must look again although nothing happened: the next tick, or the end of a pause.
    pub(super) fn wake_at(&mut self, stream: &Stream) -> Option<Instant> {
        let shared = stream.shared();
        if shared.notify_count == 0 {
            self.ticker.due = None;
        } else if self.ticker.due.is_none() {
            self.ticker.due = Instant::now().checked_add(self.ticker.interval);
        }
        let pauses = || shared.watches().filter_map(|watch| watch.pause).map(|pause| pause.until).min();
        let pause = if shared.behind_count > 0 { pauses() } else { None };
        [self.ticker.due, pause].into_iter().flatten().min()
    }
}

/// Everything up to the answer has been delivered to every watch that has started, and nothing above it to any;
/// `None` while some are further than others.
fn delivered(shared: &Shared, matched: i64) -> Option<i64> {
    let (mut upto, mut given) = (matched, i64::MIN);
    for watch in shared.watches().filter(|watch| watch.spec.starts_at <= matched) {
        if let Phase::Behind { from } = watch.phase {
            upto = upto.min(from - 1);
        }
        // Between the parts of a response there is no place for it.
        let partly = watch.pause.is_some_and(|pause| pause.partly);
        given = given.max(watch.next_revision - i64::from(!partly));
    }
    (given <= upto).then_some(upto)
}

/// Whether a request for progress could be answered now.
pub(super) fn can_answer(shared: &Shared, matched: i64) -> bool {
    let Some(least) = shared.progress_requests.front() else { return false };
    shared.ring.is_empty() && delivered(shared, matched).is_some_and(|upto| upto >= *least)
}

/// Queues what is due. Everything the ring held up to `matched` has been handed out.
pub(super) fn answer(consumer: &mut Consumer, shared: &mut Shared, matched: i64) {
    if shared.end.is_some() || !shared.controls.is_empty() {
        return;
    }
    while let Some(least) = shared.progress_requests.front().copied() {
        let Some(upto) = delivered(shared, matched).filter(|upto| *upto >= least) else { break };
        shared.progress_requests.pop_front();
        for watch in shared.places.iter_mut().flatten().filter(|watch| watch.spec.starts_at <= upto) {
            watch.next_revision = watch.next_revision.max(upto + 1);
        }
        consumer.ready.push_back(Response::control(Kind::Progress, WATCH_ID_NONE, upto, upto + 1));
    }
    // Most streams notify nobody; they need not ask for the time.
    let Some(due) = consumer.ticker.due else { return };
    let now = Instant::now();
    if due > now {
        return;
    }
    consumer.ticker.due = now.checked_add(consumer.ticker.interval);
    for watch in shared.places.iter_mut().flatten() {
        let started = matches!(watch.phase, Phase::Live { .. })
            && watch.spec.starts_at <= matched
            && watch.next_revision <= matched + 1;
        let idle = !std::mem::take(&mut watch.active);
        if watch.spec.progress_notify && started && idle {
            watch.next_revision = watch.next_revision.max(matched + 1);
            let mut response = Response::control(Kind::Progress, watch.spec.id, matched, matched + 1);
            response.watch_data = watch.spec.data;
            response.birth = watch.birth;
            consumer.ready.push_back(response);
        }
    }
}
