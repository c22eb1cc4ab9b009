//! WatchResponse: one delivery of a stream, or the joined fragments of one. The events stay where the log has
//! them until somebody looks.

use libwatch::{ErrorCode, Response};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::convert::truth;
use crate::kv::Event;
use crate::view::{Change, Held, Whole};

/// What a response says beside its events.
#[derive(Clone, Default)]
struct Head {
    watch_id: i64,
    revision: i64,
    resume_revision: i64,
    compact_revision: i64,
    created: bool,
    canceled: bool,
    progress: bool,
    fragment: bool,
    cancel_code: i32,
    cancel_reason: String,
}

/// One delivery: whole revisions, in order.
#[pyclass(frozen, module = "libwatch", weakref)]
pub struct WatchResponse {
    head: Head,
    parts: Vec<Held<Whole<Response>>>,
    /// Events at the front that were taken before.
    skip: usize,
    events: PyOnceLock<Py<PyTuple>>,
}

impl WatchResponse {
    pub fn new(response: Response) -> Self {
        let head = Head {
            watch_id: response.watch_id(),
            revision: response.revision(),
            resume_revision: response.resume_revision(),
            compact_revision: response.compact_revision(),
            created: response.is_created(),
            canceled: response.is_canceled(),
            progress: response.is_progress(),
            fragment: response.is_fragment(),
            cancel_code: response.cancel_code().map_or(0, ErrorCode::number),
            cancel_reason: response.cancel_reason().to_owned(),
        };
        let parts = if response.is_empty() { Vec::new() } else { vec![Held::new(response)] };
        Self::of(head, parts, 0)
    }

    /// The last response of a watch whose store was closed under its callback.
    pub fn farewell(watch_id: i64, revision: i64) -> Self {
        let head = Head {
            watch_id,
            revision,
            canceled: true,
            cancel_code: ErrorCode::Closed.number(),
            cancel_reason: "the store is closed".to_owned(),
            ..Head::default()
        };
        Self::of(head, Vec::new(), 0)
    }

    /// The response that `fragments` and this last one are, in the order in which they came.
    pub fn joined(self, fragments: Vec<WatchResponse>) -> Self {
        let parts = fragments.into_iter().flat_map(|fragment| fragment.parts).chain(self.parts).collect();
        Self::of(self.head, parts, 0)
    }

    pub fn again(&self) -> Self {
        self.rest(0)
    }

    fn rest(&self, count: usize) -> Self {
        let skip = (self.skip + count).min(self.skip + self.__len__());
        Self::of(self.head.clone(), self.parts.clone(), skip)
    }

    fn of(head: Head, parts: Vec<Held<Whole<Response>>>, skip: usize) -> Self {
        Self { head, parts, skip, events: PyOnceLock::new() }
    }

    fn event(&self, mut i: usize) -> Option<Event> {
        i += self.skip;
        for part in &self.parts {
            let len = part.get().len();
            if i < len {
                return Some(Event::new(part.part::<Change>(|response| response.event(i))));
            }
            i -= len;
        }
        None
    }
}

#[pymethods]
impl WatchResponse {
    #[getter]
    pub fn watch_id(&self) -> i64 {
        self.head.watch_id
    }

    #[getter]
    fn revision(&self) -> i64 {
        self.head.revision
    }

    #[getter]
    fn resume_revision(&self) -> i64 {
        self.head.resume_revision
    }

    #[getter]
    fn compact_revision(&self) -> i64 {
        self.head.compact_revision
    }

    #[getter]
    fn created(&self) -> bool {
        self.head.created
    }

    #[getter]
    pub fn canceled(&self) -> bool {
        self.head.canceled
    }

    #[getter]
    fn cancel_reason(&self) -> &str {
        &self.head.cancel_reason
    }

    #[getter]
    fn cancel_code(&self) -> i32 {
        self.head.cancel_code
    }

    #[getter]
    fn is_progress_notify(&self) -> bool {
        self.head.progress
    }

    #[getter]
    pub fn fragment(&self) -> bool {
        self.head.fragment
    }

    #[getter]
    fn events(&self, py: Python<'_>) -> PyResult<&Py<PyTuple>> {
        self.events.get_or_try_init(py, || {
            let events = (0..self.__len__()).filter_map(|i| self.event(i));
            Ok(PyTuple::new(py, events.collect::<Vec<_>>())?.unbind())
        })
    }

    fn __len__(&self) -> usize {
        self.parts.iter().map(|part| part.get().len()).sum::<usize>() - self.skip
    }

    /// Also without events a response is something, so its truth does not follow its length.
    fn __bool__(&self) -> bool {
        true
    }

    fn __iter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<EventIterator>> {
        Py::new(py, EventIterator { response: slf, next: std::sync::atomic::AtomicUsize::new(0) })
    }

    fn __repr__(&self) -> String {
        let head = &self.head;
        let mut text = format!("<WatchResponse watch_id={} revision={}", head.watch_id, head.revision);
        for (name, set) in [
            ("created", head.created),
            ("canceled", head.canceled),
            ("is_progress_notify", head.progress),
            ("fragment", head.fragment),
        ] {
            if set {
                text += &format!(" {name}={}", truth(set));
            }
        }
        if !head.cancel_reason.is_empty() {
            text += &format!(" cancel_reason='{}'", head.cancel_reason);
        }
        text + &format!(" resume_revision={}, {} events>", head.resume_revision, self.__len__())
    }
}

/// Walks the events of a response.
#[pyclass(frozen, module = "libwatch")]
pub struct EventIterator {
    response: Py<WatchResponse>,
    next: std::sync::atomic::AtomicUsize,
}

#[pymethods]
impl EventIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self) -> Option<Event> {
        let i = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.response.get().event(i)
    }
}

/// What is left of a response of which `count` events were taken one by one.
#[pyfunction]
pub fn rest_of(response: Py<WatchResponse>, count: usize) -> WatchResponse {
    response.get().rest(count)
}
