//! libwatch as a subject: a store in memory or in a folder, and streams that are polled, watched through their
//! descriptor, or have a callback that may be slow or refuse.
#![allow(unsafe_code)] // poll(2)

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use libwatch::{Store, StoreOptions, Stream, StreamOptions};
use tempfile::TempDir;

use crate::answer::{Answer, Response, What};
use crate::call::{Call, Create, Step};
use crate::convert;
use crate::drive::Subject;
use crate::program::{Consumer, Setup, StreamSetup};

/// After so long without a response that is due, the stream counts as hung.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a callback is waited for that may have nothing to do.
const GLANCE: Duration = Duration::from_millis(2);

/// What a callback does, and what it was given.
#[derive(Default)]
struct Valve {
    open: bool,
    /// Responses that may pass although it is not open.
    permits: usize,
    /// Responses of events to refuse.
    refusals: usize,
    given: VecDeque<Response>,
}

type Shared = Arc<(Mutex<Valve>, Condvar)>;

fn lock(shared: &Shared) -> MutexGuard<'_, Valve> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Taker {
    Poll,
    Descriptor(RawFd),
    Callback(Shared),
}

struct Consumed {
    stream: Stream,
    taker: Taker,
    given: VecDeque<Response>,
    /// Requests for progress that have no answer yet.
    requests: usize,
}

/// A store of libwatch.
pub struct Libwatch {
    setup: Setup,
    folder: Option<TempDir>,
    store: Store,
    streams: Vec<Consumed>,
    /// What streams gave before they were closed.
    given: Vec<(usize, Response)>,
    breach: Option<String>,
}

impl Libwatch {
    /// A new store.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new(setup: &Setup) -> Self {
        let folder = setup.files.then(|| tempfile::tempdir().expect("a temporary folder"));
        let store = open(setup, folder.as_ref());
        let streams = streams(&store, setup);
        Self { setup: setup.clone(), folder, store, streams, given: Vec::new(), breach: None }
    }

    fn reopen(&mut self) -> Answer {
        for consumed in &mut self.streams {
            consumed.open_valve();
        }
        if let Err(error) = self.store.close() {
            return Answer::Refused(error.code());
        }
        for (number, consumed) in self.streams.iter_mut().enumerate() {
            self.given.extend(consumed.gather().map(|response| (number, response)));
        }
        self.store = open(&self.setup, self.folder.as_ref());
        self.streams = streams(&self.store, &self.setup);
        Answer::Reopened { revision: self.store.revision(), compact_revision: self.store.compact_revision() }
    }

    fn watch(&mut self, stream: usize, watch_id: i64, request: &Create) -> Answer {
        let request = convert::create_request(request, watch_id, 0);
        let created = self.streams[stream].stream.create(&request);
        created.map_or_else(|error| Answer::Refused(error.code()), |watch_id| Answer::Watch { watch_id })
    }

    fn done(&mut self, result: Result<(), String>) -> Answer {
        self.breach = self.breach.take().or(result.err());
        Answer::Done
    }
}

fn open(setup: &Setup, folder: Option<&TempDir>) -> Store {
    let options = StoreOptions {
        durability: setup.durability,
        segment_bytes: libwatch::limits::SEGMENT_BYTES_MIN,
        fragment_bytes: setup.fragment_bytes,
        txn_ops_max: setup.txn_ops_max,
        dispatch_threads: setup.streams.len() as u32 + 1,
        ..StoreOptions::default()
    };
    let opened = match folder {
        Some(folder) => Store::open(folder.path(), &options),
        None => Store::open_in_memory(&options),
    };
    opened.expect("the store opens")
}

fn streams(store: &Store, setup: &Setup) -> Vec<Consumed> {
    setup.streams.iter().map(|setup| Consumed::new(store, setup)).collect()
}

impl Subject for Libwatch {
    fn call(&mut self, call: &Call) -> Answer {
        match call {
            Step::Watch { stream, watch_id, request } => self.watch(*stream, *watch_id, request),
            Step::Cancel { stream, watch_id } => match self.streams[*stream].stream.cancel(*watch_id) {
                Ok(()) => Answer::Done,
                Err(error) => Answer::Refused(error.code()),
            },
            Step::RequestProgress { stream } => {
                let result = self.streams[*stream].request_progress();
                self.done(result)
            }
            Step::Take { stream, responses } => {
                let result = self.streams[*stream].take(*responses);
                self.done(result)
            }
            Step::Refuse { stream, responses } => {
                if let Taker::Callback(shared) = &self.streams[*stream].taker {
                    lock(shared).refusals += responses;
                }
                Answer::Done
            }
            Step::Drain => {
                let drain = |(number, stream): (usize, &mut Consumed)| {
                    stream.drain().map_err(|how| format!("stream {number}: {how}"))
                };
                let result = self.streams.iter_mut().enumerate().try_for_each(drain);
                self.done(result)
            }
            Step::Reopen => self.reopen(),
            _ => convert::call(&self.store, call),
        }
    }

    fn responses(&mut self) -> Result<Vec<(usize, Response)>, String> {
        let mut all = std::mem::take(&mut self.given);
        for (number, consumed) in self.streams.iter_mut().enumerate() {
            all.extend(consumed.gather().map(|response| (number, response)));
        }
        self.breach.take().map_or(Ok(all), Err)
    }
}

impl Consumed {
    fn new(store: &Store, setup: &StreamSetup) -> Self {
        let options =
            StreamOptions { batch_revisions: setup.batch_revisions, batch_bytes: setup.batch_bytes };
        let polled = || store.stream(&options).expect("a stream");
        let (stream, taker) = match setup.consumer {
            Consumer::Poll => (polled(), Taker::Poll),
            Consumer::Descriptor => {
                let stream = polled();
                let fd = stream.fd().expect("a descriptor");
                (stream, Taker::Descriptor(fd))
            }
            Consumer::Callback => {
                let shared = Shared::default();
                let valve = shared.clone();
                let callback = Box::new(move |response: &libwatch::Response| answer(&valve, response));
                let stream = store.stream_with_callback(&options, callback).expect("a stream");
                (stream, Taker::Callback(shared))
            }
        };
        Self { stream, taker, given: VecDeque::new(), requests: 0 }
    }

    fn note(&mut self, response: Response) {
        if response.watch_id == -1 {
            self.requests = self.requests.saturating_sub(1);
        }
        self.given.push_back(response);
    }

    fn collect(&mut self) {
        if let Taker::Callback(shared) = &self.taker {
            let some = std::mem::take(&mut lock(shared).given);
            some.into_iter().for_each(|response| self.note(response));
        }
    }

    fn gather(&mut self) -> impl Iterator<Item = Response> + use<> {
        self.collect();
        std::mem::take(&mut self.given).into_iter()
    }

    fn request_progress(&mut self) -> Result<(), String> {
        self.collect();
        self.requests += 1;
        self.stream.request_progress().map_err(|error| error.to_string())
    }

    /// The next response if there is one now; a descriptor must know.
    fn next(&mut self, patience: Duration) -> Result<Option<Response>, String> {
        let timeout = match self.taker {
            Taker::Descriptor(fd) if !is_readable(fd, patience) => return Ok(None),
            Taker::Descriptor(_) => Duration::ZERO,
            _ => patience,
        };
        let next = self.stream.next(Some(timeout)).map_err(|error| error.to_string())?;
        if next.is_none() && matches!(self.taker, Taker::Descriptor(_)) {
            return Err("the descriptor is readable, but nothing is there".into());
        }
        Ok(next.as_ref().map(convert::response))
    }

    fn take(&mut self, responses: usize) -> Result<(), String> {
        if let Taker::Callback(shared) = &self.taker {
            let mut valve = lock(shared);
            valve.permits += responses;
            shared.1.notify_all();
            let glance = shared.1.wait_timeout_while(valve, GLANCE, |valve| valve.permits > 0);
            drop(glance);
            return Ok(());
        }
        for _ in 0..responses {
            let Some(response) = self.next(Duration::ZERO)? else { break };
            self.note(response);
        }
        Ok(())
    }

    fn open_valve(&mut self) {
        if let Taker::Callback(shared) = &self.taker {
            let mut valve = lock(shared);
            (valve.open, valve.refusals) = (true, 0);
            shared.1.notify_all();
        }
    }

    /// Takes everything, behind a request for progress of its own whose answer is nobody else's business.
    fn drain(&mut self) -> Result<(), String> {
        self.open_valve();
        self.request_progress()?;
        let deadline = Instant::now() + PATIENCE;
        while self.requests > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("it hangs; {} requests for progress wait", self.requests));
            }
            if let Taker::Callback(shared) = &self.taker {
                let valve = lock(shared);
                drop(shared.1.wait_timeout_while(valve, left, |valve| valve.given.is_empty()));
                self.collect();
            } else if let Some(response) = self.next(left)? {
                self.note(response);
            }
        }
        if let Taker::Callback(shared) = &self.taker {
            let mut valve = lock(shared);
            (valve.open, valve.permits) = (false, 0);
        }
        let own = self.given.pop_back();
        match own {
            Some(Response { watch_id: -1, what: What::Progress, .. }) => Ok(()),
            other => Err(format!("{other:?} comes after the answer to the last request")),
        }
    }
}

impl Drop for Libwatch {
    fn drop(&mut self) {
        self.streams.iter_mut().for_each(Consumed::open_valve);
        let _ = self.store.close();
    }
}

/// The callback: waits until it may take a response, then takes or refuses it.
fn answer(shared: &Shared, response: &libwatch::Response) -> libwatch::Answer {
    let mut valve = lock(shared);
    while !valve.open && valve.permits == 0 {
        valve = shared.1.wait(valve).unwrap_or_else(PoisonError::into_inner);
    }
    if valve.refusals > 0 && !response.is_empty() {
        valve.refusals -= 1;
        return libwatch::Answer::Again;
    }
    valve.permits = valve.permits.saturating_sub(1);
    valve.given.push_back(convert::response(response));
    shared.1.notify_all();
    libwatch::Answer::Taken
}

fn is_readable(fd: RawFd, patience: Duration) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives on this stack.
    unsafe { libc::poll(&mut poll, 1, patience.as_millis() as i32) > 0 }
}
