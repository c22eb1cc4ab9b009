//! Threads that work for streams: one pool runs callbacks, one keeps descriptors truthful. A pool starts with its
//! first stream, grows when all its threads are inside callbacks, and sleeps when there is nothing to do.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use super::hub::Hub;
use super::stream::Stream;
use crate::error::{Error, Result};
use crate::mvcc::lock;
use crate::os::thread::{self, Thread};
use crate::os::wake::EventCount;

/// See the module.
pub(super) struct Pool {
    hub: Weak<Hub>,
    name: &'static str,
    threads_max: usize,
    state: Mutex<State>,
    event: Arc<EventCount>,
    /// One of the threads waits for the writer, on behalf of all.
    leads: AtomicBool,
    stopped: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<Stream>>,
    /// When a stream wants to be run although nothing happened, by its address.
    timers: HashMap<usize, (Instant, Weak<Stream>)>,
    threads: Vec<Thread>,
    idle: usize,
    /// Streams that were ever started here.
    streams: usize,
}

impl Pool {
    pub(super) fn new(hub: Weak<Hub>, name: &'static str, threads_max: usize) -> Self {
        Self {
            hub,
            name,
            threads_max,
            state: Mutex::default(),
            event: Arc::new(EventCount::new()),
            leads: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }

    /// Called for each new stream. The second brings a second thread, so that one can wait for the writer while
    /// the other is inside a callback.
    pub(super) fn start(&self) -> Result<()> {
        let mut state = lock(&self.state);
        state.streams += 1;
        if state.threads.len() < self.threads_max.min(2) {
            let first = state.threads.is_empty();
            if let Err(error) = self.spawn(&mut state)
                && first
            {
                return Err(Error::io(format_args!("start a {} thread", self.name), &error));
            }
        }
        Ok(())
    }

    fn spawn(&self, state: &mut State) -> std::io::Result<()> {
        if self.stopped.load(Ordering::Acquire) {
            return Ok(());
        }
        let hub = self.hub.clone();
        let runs_callbacks = self.name == CALLBACKS;
        let thread = thread::spawn(self.name, move || {
            while hub.upgrade().is_some_and(|hub| {
                let pool = if runs_callbacks { &hub.callbacks } else { &hub.descriptors };
                pool.step(&hub)
            }) {}
        })?;
        state.threads.push(thread);
        Ok(())
    }

    /// Asks for a stream to be run. Cheap if it is in the queue already.
    pub(super) fn schedule(&self, stream: &Arc<Stream>) {
        if stream.scheduled.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = lock(&self.state);
        if self.stopped.load(Ordering::SeqCst) {
            // Nobody would take it out again, and it holds the hub.
            return;
        }
        state.queue.push_back(stream.clone());
        let all_busy = state.idle == 0 && state.threads.len() < self.threads_max;
        if all_busy && !state.threads.iter().any(Thread::is_current) {
            // If the system refuses, the threads there are will come to it.
            let _ = self.spawn(&mut state);
        }
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        self.event.notify_all();
        if self.leads.load(Ordering::SeqCst)
            && let Some(hub) = self.hub.upgrade()
        {
            hub.mvcc.publication.notify();
        }
    }

    /// Ends the threads and waits for them, the calling one aside.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.wake();
        let threads = std::mem::take(&mut lock(&self.state).threads);
        threads.into_iter().for_each(Thread::join);
        // The last reference to a stream drops its callback, which is the user's code: not under the lock.
        let queue = std::mem::take(&mut lock(&self.state).queue);
        drop(queue);
        lock(&self.state).timers.clear();
    }

    /// One round of a thread; `false` to end.
    fn step(&self, hub: &Arc<Hub>) -> bool {
        if self.stopped.load(Ordering::SeqCst) {
            return false;
        }
        if let Some(stream) = self.take_next() {
            self.leave_a_spare();
            hub.pass_on();
            // A request for progress waits for the tailer, which does not wake a stream that it has no event for.
            hub.tail();
            self.run(&stream);
            return true;
        }
        hub.tail();
        lock(&self.state).idle += 1;
        let deadline = self.next_timer();
        hub.wait(&self.event, &self.leads, deadline, || {
            self.stopped.load(Ordering::SeqCst) || !lock(&self.state).queue.is_empty()
        });
        lock(&self.state).idle -= 1;
        true
    }

    /// Before a thread goes into a callback: another one should be there for the other streams.
    fn leave_a_spare(&self) {
        let mut state = lock(&self.state);
        let threads = state.threads.len();
        if state.idle == 0 && threads < self.threads_max && threads < state.streams {
            let _ = self.spawn(&mut state);
        }
    }

    fn run(&self, stream: &Arc<Stream>) {
        let again = if stream.callback.is_some() { stream.run_callbacks() } else { stream.prepare() };
        let Some(when) = again else { return };
        let mut state = lock(&self.state);
        state.timers.insert(Arc::as_ptr(stream) as usize, (when, Arc::downgrade(stream)));
        let sleepers = state.idle > 0;
        drop(state);
        if sleepers {
            // This thread may go into another callback: one of those who sleep must know the time.
            self.wake();
        }
    }

    /// The next stream to run: one in the queue, or one whose time has come.
    fn take_next(&self) -> Option<Arc<Stream>> {
        let mut state = lock(&self.state);
        if let Some(stream) = state.queue.pop_front() {
            stream.scheduled.store(false, Ordering::Release);
            return Some(stream);
        }
        if state.timers.is_empty() {
            return None;
        }
        let now = Instant::now();
        state.timers.retain(|_, (_, stream)| stream.strong_count() > 0);
        let due = state.timers.iter().find(|(_, (when, _))| *when <= now).map(|(address, _)| *address)?;
        state.timers.remove(&due)?.1.upgrade()
    }

    fn next_timer(&self) -> Option<Instant> {
        lock(&self.state).timers.values().map(|(when, _)| *when).min()
    }
}

/// The name of the pool that runs callbacks.
pub(super) const CALLBACKS: &str = "watch-callback";
