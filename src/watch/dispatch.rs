//! Callbacks: one at a time for a stream, with no lock of ours held, so that everything may be called from inside
//! one. A callback that answers "not now" holds back its watch and no other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use super::consumer::{Consumer, Fill};
use super::response::Response;
use super::state::{End, Pause, Shared};
use super::stream::Stream;
use crate::error::ErrorCode;
use crate::mvcc::lock;

/// How long a watch whose callback answered [`Answer::Again`] is left alone (etcd retries victims after 10 ms).
const PAUSE: Duration = Duration::from_millis(10);
/// Responses given to one stream before other streams of the pool have their turn.
const TURN_RESPONSES: usize = 64;

/// What a callback says to a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Taken; go on.
    Taken,
    /// Not now: the same events are offered again after a short pause, and only this watch is held back. For a
    /// response without events this is the same as `Taken`.
    Again,
    /// Cancel this watch; its last response carries the code.
    Cancel(ErrorCode),
}

/// Takes the responses of a stream, one at a time, on a thread of the library. Dropped exactly once, after its
/// last call has returned. A panic cancels the watch with [`ErrorCode::Panic`].
pub type ResponseFn = Box<dyn FnMut(&Response) -> Answer + Send>;

/// The callback of a stream and who runs it.
pub(super) struct Callback {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Here while nobody runs it.
    function: Option<ResponseFn>,
    runner: Option<ThreadId>,
    /// Something came while it was running.
    again: bool,
    /// The stream is being closed: drop the function when it comes back.
    closing: bool,
}

impl Callback {
    pub(super) fn new(function: ResponseFn) -> Self {
        let state = State { function: Some(function), runner: None, again: false, closing: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Takes the function for a run; `None` if another thread has it or it is gone.
    fn begin(&self) -> Option<ResponseFn> {
        let mut state = lock(&self.state);
        if state.runner.is_some() {
            state.again = true;
            return None;
        }
        let function = state.function.take()?;
        state.runner = Some(std::thread::current().id());
        state.again = false;
        Some(function)
    }

    /// Gives the function back, or drops it if that was its last run. Answers whether to run again.
    fn end(&self, function: ResponseFn, last: bool) -> bool {
        let mut state = lock(&self.state);
        state.runner = None;
        let again = state.again;
        let doomed = if last || state.closing {
            Some(function)
        } else {
            state.function = Some(function);
            None
        };
        drop(state);
        let kept = doomed.is_none();
        drop(doomed);
        self.changed.notify_all();
        kept && again
    }

    fn is_closing(&self) -> bool {
        lock(&self.state).closing
    }

    /// Waits for a running callback and drops the function. From inside the callback it returns at once, and the
    /// rest happens when the callback returns.
    pub(super) fn close(&self) {
        let me = std::thread::current().id();
        let mut state = lock(&self.state);
        state.closing = true;
        while let Some(runner) = state.runner {
            if runner == me {
                return;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let function = state.function.take();
        drop(state);
        drop(function);
    }

    fn is_run_by_caller(&self) -> bool {
        lock(&self.state).runner == Some(std::thread::current().id())
    }

    fn wait_idle(&self) {
        let mut state = lock(&self.state);
        while state.runner.is_some() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Stream {
    /// Shuts down, waits for a running callback and drops it. From inside the stream's own callback it returns
    /// at once.
    pub fn close(self: &Arc<Self>) {
        if self.hub.mvcc.is_forked() {
            return;
        }
        self.shutdown();
        if let Some(callback) = &self.callback {
            callback.close();
        }
    }

    /// The store is closed: gives the callback its final responses and drops it.
    pub(super) fn finish_callbacks(self: &Arc<Self>) {
        let Some(callback) = &self.callback else { return };
        if callback.is_run_by_caller() || !self.ends_with_store() {
            return;
        }
        callback.wait_idle();
        self.run_callbacks();
        callback.wait_idle();
    }

    /// Runs the callback for what is there, a bounded number of responses. The answer is when to come again.
    pub(super) fn run_callbacks(self: &Arc<Self>) -> Option<Instant> {
        let callback = self.callback.as_ref()?;
        let mut function = callback.begin()?;
        let mut turns = 0;
        let (mut more, mut last) = (false, false);
        loop {
            let end = self.shared().end;
            if end == Some(End::Shutdown) || callback.is_closing() {
                last = true;
                break;
            }
            let (filled, response) = self.next_ready();
            if let Some(response) = response {
                let called = catch_unwind(AssertUnwindSafe(|| function(&response)));
                self.answered(&response, called.unwrap_or(Answer::Cancel(ErrorCode::Panic)));
                turns += 1;
            } else if end.is_some() && filled == Fill::Nothing {
                last = true;
                break;
            } else if filled == Fill::Nothing {
                more = self.awaits_tailer();
                break;
            }
            if turns >= TURN_RESPONSES && end.is_none() {
                more = true;
                break;
            }
        }
        let wake_at = lock(&self.consumer).wake_at(self);
        if callback.end(function, last) || more {
            self.hub.callbacks.schedule(self);
        }
        wake_at.filter(|_| !last)
    }

    fn next_ready(self: &Arc<Self>) -> (Fill, Option<Response>) {
        let mut consumer = lock(&self.consumer);
        let filled = if consumer.ready.is_empty() { consumer.fill(self) } else { Fill::Ready };
        (filled, consumer.ready.pop_front())
    }

    fn answered(self: &Arc<Self>, response: &Response, answer: Answer) {
        match answer {
            Answer::Again if !response.is_empty() => self.refused(response),
            Answer::Cancel(code) => self.cancel_by_answer(response, code),
            Answer::Taken | Answer::Again => {
                self.hub.delivered.fetch_add(response.len() as u64, std::sync::atomic::Ordering::Relaxed);
            }
        }
    }

    /// Puts the watch back to the first event that was not taken, to be offered again after a pause.
    fn refused(self: &Arc<Self>, response: &Response) {
        let (from, skip, last) = response.position();
        let mut consumer = lock(&self.consumer);
        let mut shared = self.shared();
        consumer.ready.retain(|other| other.birth != response.birth || other.is_canceled());
        if let Some(place) = shared.place_of(response.watch_id())
            && shared.put_back(place, response.birth, from)
            && let Some(watch) = shared.watch(place, response.birth)
        {
            watch.pause =
                Some(Pause { until: Instant::now() + PAUSE, last, skip, partly: response.continues });
            return;
        }
        // Canceled meanwhile: what was refused was not delivered.
        lower_canceled(&mut consumer, &mut shared, response.birth, from);
    }

    fn cancel_by_answer(self: &Arc<Self>, response: &Response, code: ErrorCode) {
        if response.is_canceled() || response.birth == 0 {
            return;
        }
        let from = match response.is_fragment() {
            true => response.position().0,
            false => response.resume_revision(),
        };
        let mut consumer = lock(&self.consumer);
        consumer.ready.retain(|other| other.birth != response.birth || other.is_canceled());
        let mut shared = self.shared();
        let place = shared.place_of(response.watch_id());
        let Some(place) = place.filter(|place| shared.put_back(*place, response.birth, from)) else {
            return lower_canceled(&mut consumer, &mut shared, response.birth, from);
        };
        drop(shared);
        drop(consumer);
        self.cancel_for(place, response.birth, code, 0);
    }

    pub(super) fn is_calling_back(&self) -> bool {
        self.callback.as_ref().is_some_and(Callback::is_run_by_caller)
    }
}

/// What was not taken was not delivered, also where the watch was canceled meanwhile.
fn lower_canceled(consumer: &mut Consumer, shared: &mut Shared, birth: u64, from: i64) {
    for canceled in &mut consumer.ready {
        if canceled.is_canceled() && canceled.birth == birth {
            canceled.resume_revision = canceled.resume_revision.min(from);
        }
    }
    shared.lower_canceled(birth, from);
}
