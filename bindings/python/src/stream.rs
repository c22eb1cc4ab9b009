//! WatchStream: many watches, one queue. A wait runs detached, in slices, so that Ctrl-C gets through; what a
//! slice took is kept if the signal's handler raises.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use libwatch::{CreateRequest, ErrorCode, Response, StreamOptions};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::convert::{self, Data, Filters, Span};
use crate::errors::{Failure, Handle, detached, refuse};
use crate::response::WatchResponse;

/// Longest wait without a look at the signals.
const SLICE: Duration = Duration::from_millis(50);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a stream is to the Python object in hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// The caller consumes.
    Poll,
    /// A callback consumes; the caller only adds and ends watches.
    Front,
    /// What the callback's thread consumes from.
    Back,
}

/// A stream with what the binding keeps beside it. Its locks are taken only while attached and for an instant.
struct Shared {
    stream: libwatch::Stream,
    /// A store stays open while it is watched.
    store: libwatch::Store,
    consumer: AtomicBool,
    put_back: Mutex<VecDeque<Response>>,
    /// The stream was closed itself, not its store.
    closed: AtomicBool,
    /// For a stream that has only one watch for ever.
    single: Option<Mutex<Single>>,
    /// For callbacks: the watches that have not said their last word.
    live: Mutex<BTreeMap<i64, i64>>,
}

/// What a stream of one watch does for it: fragments are joined, and its last word is said whenever asked, so
/// that a signal between taking a response and acting on it neither tears one nor lets the next wait be in vain.
#[derive(Default)]
struct Single {
    fragments: Vec<WatchResponse>,
    last: Option<WatchResponse>,
}

impl Single {
    fn take_in(&mut self, response: WatchResponse) -> Option<WatchResponse> {
        if response.fragment() {
            self.fragments.push(response);
            return None;
        }
        if response.canceled() {
            self.last = Some(response.again());
        }
        if self.fragments.is_empty() {
            return Some(response);
        }
        Some(response.joined(std::mem::take(&mut self.fragments)))
    }
}

/// The right to consume, for as long as one call waits.
struct Claim<'a>(&'a AtomicBool);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Shared {
    fn claim(&self) -> Result<Claim<'_>, Failure> {
        if self.consumer.swap(true, Ordering::AcqRel) {
            return Err(refuse(ErrorCode::Busy, "another consumer is using this stream"));
        }
        Ok(Claim(&self.consumer))
    }

    /// Up to `max` responses; none if the deadline passed. A thread of ours gets no signals and waits in one go.
    fn take(
        &self,
        py: Python<'_>,
        max: usize,
        deadline: Option<Instant>,
        ours: bool,
    ) -> Result<Vec<Response>, Failure> {
        if ours {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            return detached(py, || self.stream.next_batch(max, left));
        }
        let mut taken: Vec<Response> = {
            let mut put_back = lock(&self.put_back);
            let count = put_back.len().min(max);
            put_back.drain(..count).collect()
        };
        if !taken.is_empty() {
            return Ok(taken);
        }
        loop {
            let left = deadline.map_or(SLICE, |at| at.saturating_duration_since(Instant::now()).min(SLICE));
            taken = detached(py, || self.stream.next_batch(max, Some(left)))?;
            if let Err(interrupt) = py.check_signals() {
                lock(&self.put_back).extend(taken);
                return Err(interrupt.into());
            }
            if !taken.is_empty() || deadline.is_some_and(|at| Instant::now() >= at) {
                return Ok(taken);
            }
        }
    }

    fn count(&self, watch_id: i64, change: i64) {
        let mut live = lock(&self.live);
        let count = live.entry(watch_id).or_default();
        *count += change;
        if *count == 0 {
            live.remove(&watch_id);
        }
    }

    /// The last words of watches that the closing of the store left without.
    fn farewell(&self) -> Option<WatchResponse> {
        if self.closed.load(Ordering::Acquire) {
            return None;
        }
        let (watch_id, _) = lock(&self.live).pop_first()?;
        Some(WatchResponse::farewell(watch_id, self.store.revision()))
    }
}

/// Every stream of this process that may be open, so that none keeps a thread at exit.
static STREAMS: Mutex<Vec<(u32, Weak<Handle<Shared>>)>> = Mutex::new(Vec::new());

fn register(shared: &Arc<Handle<Shared>>) {
    let mut streams = lock(&STREAMS);
    if streams.len() == streams.capacity() {
        streams.retain(|(_, stream)| stream.strong_count() > 0);
    }
    streams.push((std::process::id(), Arc::downgrade(shared)));
}

/// Ends every open stream; those of a parent process are left alone.
#[pyfunction]
pub fn close_streams(py: Python<'_>) {
    let streams = std::mem::take(&mut *lock(&STREAMS));
    for stream in streams.iter().filter(|row| row.0 == std::process::id()).filter_map(|row| row.1.upgrade()) {
        stream.closed.store(true, Ordering::Release);
        let _ = detached(py, || {
            stream.stream.shutdown();
            Ok(())
        });
    }
}

/// Many watches, one queue.
#[pyclass(frozen, module = "libwatch", weakref)]
pub struct WatchStream {
    shared: Arc<Handle<Shared>>,
    role: Role,
    thread: PyOnceLock<Py<PyAny>>,
}

/// The arguments of a watch, for `WatchStream.create` and `Store.watch` alike.
pub struct WatchArguments {
    pub span: Span,
    pub watch_id: i64,
    pub start_revision: i64,
    pub prev_kv: bool,
    pub progress_notify: bool,
    pub fragment: bool,
    pub created_notify: bool,
    pub filters: Filters,
}

impl WatchStream {
    pub fn open(
        py: Python<'_>,
        store: &libwatch::Store,
        options: &StreamOptions,
        callback: bool,
        single: bool,
    ) -> Result<Self, Failure> {
        let stream = detached(py, || store.stream(options))?;
        let shared = Arc::new(Handle::new(Shared {
            stream,
            store: store.clone(),
            consumer: AtomicBool::new(false),
            put_back: Mutex::default(),
            closed: AtomicBool::new(false),
            single: single.then(Mutex::default),
            live: Mutex::default(),
        }));
        register(&shared);
        Ok(Self::of(shared, if callback { Role::Back } else { Role::Poll }))
    }

    fn of(shared: Arc<Handle<Shared>>, role: Role) -> Self {
        Self { shared, role, thread: PyOnceLock::new() }
    }

    /// The caller's side of a stream that a callback consumes on `thread`.
    pub fn front(&self, py: Python<'_>, thread: Py<PyAny>) -> Self {
        let front = Self::of(self.shared.clone(), Role::Front);
        let _ = front.thread.set(py, thread);
        front
    }

    pub fn create_watch(&self, py: Python<'_>, arguments: &WatchArguments) -> Result<i64, Failure> {
        let request = CreateRequest {
            key: &arguments.span.key,
            range_end: &arguments.span.range_end,
            start_revision: arguments.start_revision,
            watch_id: arguments.watch_id,
            prev_kv: arguments.prev_kv,
            progress_notify: arguments.progress_notify,
            fragment: arguments.fragment,
            created_notify: arguments.created_notify,
            filter_noput: arguments.filters.noput,
            filter_nodelete: arguments.filters.nodelete,
            watch_data: 0,
        };
        let watch_id = detached(py, || self.shared.stream.create(&request))?;
        if self.role != Role::Poll {
            self.shared.count(watch_id, 1);
        }
        Ok(watch_id)
    }

    fn take(&self, py: Python<'_>, max: usize, timeout: Option<f64>) -> Result<Vec<WatchResponse>, Failure> {
        let timeout = convert::timeout(timeout)?;
        if self.role == Role::Front {
            let message = "the responses of this stream go to its callback";
            return Err(refuse(ErrorCode::InvalidState, message));
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let _claim = self.shared.claim()?;
        self.take_claimed(py, max, deadline)
    }

    fn take_claimed(
        &self,
        py: Python<'_>,
        max: usize,
        deadline: Option<Instant>,
    ) -> Result<Vec<WatchResponse>, Failure> {
        let Some(single) = &self.shared.single else { return self.take_raw(py, max, deadline) };
        if let Some(last) = &lock(single).last {
            return Ok(vec![last.again()]);
        }
        loop {
            let Some(response) = self.take_raw(py, 1, deadline)?.pop() else { return Ok(Vec::new()) };
            if let Some(whole) = lock(single).take_in(response) {
                return Ok(vec![whole]);
            }
        }
    }

    fn take_raw(
        &self,
        py: Python<'_>,
        max: usize,
        deadline: Option<Instant>,
    ) -> Result<Vec<WatchResponse>, Failure> {
        let taken = match self.shared.take(py, max, deadline, self.role == Role::Back) {
            Err(failure) if failure.is_closed() && self.role == Role::Back => {
                return self.shared.farewell().map(|last| vec![last]).ok_or(failure);
            }
            taken => taken?,
        };
        let responses: Vec<_> = taken.into_iter().map(WatchResponse::new).collect();
        if self.role == Role::Back {
            for last in responses.iter().filter(|response| response.canceled()) {
                self.shared.count(last.watch_id(), -1);
            }
        }
        Ok(responses)
    }
}

#[pymethods]
impl WatchStream {
    #[pyo3(signature = (key, range_end=None, *, prefix=false, watch_id=0, start_revision=0, prev_kv=false,
        progress_notify=false, fragment=false, created_notify=false, filters=None),
        text_signature = "($self, key, range_end=None, *, prefix=False, watch_id=0, start_revision=0, \
        prev_kv=False, progress_notify=False, fragment=False, created_notify=False, filters=())")]
    #[expect(clippy::too_many_arguments, reason = "Python callers name them")]
    fn create(
        &self,
        py: Python<'_>,
        key: Data<'_>,
        range_end: Option<Data<'_>>,
        prefix: bool,
        watch_id: i64,
        start_revision: i64,
        prev_kv: bool,
        progress_notify: bool,
        fragment: bool,
        created_notify: bool,
        filters: Option<Bound<'_, PyAny>>,
    ) -> Result<i64, Failure> {
        let arguments = WatchArguments {
            span: Span::new(&key, range_end.as_ref(), prefix)?,
            watch_id,
            start_revision,
            prev_kv,
            progress_notify,
            fragment,
            created_notify,
            filters: Filters::new(filters.as_ref())?,
        };
        self.create_watch(py, &arguments)
    }

    fn cancel(&self, py: Python<'_>, watch_id: i64) -> Result<(), Failure> {
        detached(py, || self.shared.stream.cancel(watch_id))
    }

    fn request_progress(&self, py: Python<'_>) -> Result<(), Failure> {
        detached(py, || self.shared.stream.request_progress())
    }

    #[pyo3(signature = (timeout=None))]
    fn next(&self, py: Python<'_>, timeout: Option<f64>) -> Result<Option<WatchResponse>, Failure> {
        Ok(self.take(py, 1, timeout)?.pop())
    }

    #[pyo3(signature = (max, timeout=None))]
    fn next_batch(
        &self,
        py: Python<'_>,
        max: i64,
        timeout: Option<f64>,
    ) -> Result<Vec<WatchResponse>, Failure> {
        self.take(py, convert::positive("max", max)?, timeout)
    }

    fn fileno(&self, py: Python<'_>) -> Result<RawFd, Failure> {
        detached(py, || self.shared.stream.fd())
    }

    /// Ends the stream. With a callback it also waits for a running one, unless it is called from one.
    fn close(&self, py: Python<'_>) -> Result<(), Failure> {
        self.shared.closed.store(true, Ordering::Release);
        detached(py, || {
            self.shared.stream.close();
            Ok(())
        })?;
        if let Some(thread) = self.thread.get(py) {
            join(py, &PyTuple::new(py, [thread])?)?;
        }
        Ok(())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> Result<(), Failure> {
        let _ = (exc_type, exc, tb);
        self.close(py)
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> Result<Option<WatchResponse>, Failure> {
        match self.next(py, None) {
            Err(failure) if failure.is_closed() => Ok(None),
            answer => answer,
        }
    }

    fn __aiter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __anext__<'py>(slf: Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        static ANEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        ANEXT.import(slf.py(), "libwatch._aio", "next_of_stream")?.call1((slf,))
    }

    /// For `_aio`.
    fn _consumer(slf: Py<Self>) -> Consumer {
        Consumer { stream: slf, entered: AtomicBool::new(false) }
    }

    fn __repr__(&self) -> String {
        let kind = if self.role == Role::Poll { "" } else { " with a callback" };
        format!("<WatchStream{kind}>")
    }
}

/// The right to consume over several calls, as a context manager that no signal can leave half entered.
#[pyclass(frozen, module = "libwatch")]
pub struct Consumer {
    stream: Py<WatchStream>,
    entered: AtomicBool,
}

#[pymethods]
impl Consumer {
    fn __enter__(slf: Py<Self>) -> Result<Py<Self>, Failure> {
        let consumer = slf.get();
        std::mem::forget(consumer.stream.get().shared.claim()?);
        consumer.entered.store(true, Ordering::Release);
        Ok(slf)
    }

    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __exit__(&self, exc_type: &Bound<'_, PyAny>, exc: &Bound<'_, PyAny>, tb: &Bound<'_, PyAny>) {
        let _ = (exc_type, exc, tb);
        if self.entered.swap(false, Ordering::AcqRel) {
            drop(Claim(&self.stream.get().shared.consumer));
        }
    }

    /// What is ready.
    fn poll(&self, py: Python<'_>) -> Result<Option<WatchResponse>, Failure> {
        Ok(self.stream.get().take_claimed(py, 1, Some(Instant::now()))?.pop())
    }
}

/// Waits for callback threads to end, except from one of them.
pub fn join(py: Python<'_>, threads: &Bound<'_, PyTuple>) -> PyResult<()> {
    static JOIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    JOIN.import(py, "libwatch._callbacks", "join")?.call1(threads)?;
    Ok(())
}
