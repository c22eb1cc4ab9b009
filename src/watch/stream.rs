//! One stream: many watches, one ordered series of responses. What callers do from any thread is here; how the
//! consumer gets its responses is in `consumer`, how callbacks run in `dispatch`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use super::consumer::Consumer;
use super::dispatch::{Callback, ResponseFn};
use super::hub::{self, Hub};
use super::state::{Control, End, Phase, Shared, Spec, Watch};
use crate::error::{Error, ErrorCode, Result};
use crate::key_range::KeyRange;
use crate::limits;
use crate::mvcc::lock;
use crate::options::StreamOptions;
use crate::os::wake::{EventCount, EventFd};
use crate::request::CreateRequest;

/// See the module.
pub struct Stream {
    pub(super) hub: Arc<Hub>,
    pub(super) options: StreamOptions,
    shared: Mutex<Shared>,
    pub(super) consumer: Mutex<Consumer>,
    /// A caller is inside `next`.
    pub(super) consuming: AtomicBool,
    pub(super) event: Arc<EventCount>,
    /// The caller inside `next` waits for the writer, on behalf of all.
    pub(super) leads: AtomicBool,
    pub(super) fd: OnceLock<EventFd>,
    pub(super) callback: Option<Callback>,
    /// It stands in the queue of a pool.
    pub(super) scheduled: AtomicBool,
}

impl Stream {
    /// A stream without watches; with a callback, responses go there.
    pub fn open(hub: &Arc<Hub>, options: &StreamOptions, callback: Option<ResponseFn>) -> Result<Arc<Self>> {
        hub.mvcc.check_open()?;
        let stream = Arc::new(Self {
            hub: hub.clone(),
            options: options.checked(),
            shared: Mutex::new(Shared::new()),
            consumer: Mutex::new(Consumer::new(hub.mvcc.options().progress_interval_ms)),
            consuming: AtomicBool::new(false),
            event: Arc::new(EventCount::new()),
            leads: AtomicBool::new(false),
            fd: OnceLock::new(),
            callback: callback.map(Callback::new),
            scheduled: AtomicBool::new(false),
        });
        if stream.callback.is_some() {
            hub.callbacks.start()?;
        }
        hub.register(&stream);
        if hub.is_closing() {
            // Perhaps registered too late for the store's close to see it.
            stream.close();
            return Err(Error::new(ErrorCode::Closed, "the store is closed"));
        }
        Ok(stream)
    }

    pub(super) fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.hub.mvcc.is_forked() {
            return self.hub.mvcc.check_open();
        }
        match self.shared().end {
            Some(End::Shutdown) => Err(Error::new(ErrorCode::Closed, "the stream is closed")),
            Some(End::StoreClosed) => Err(Error::new(ErrorCode::Closed, "the store is closed")),
            None => Ok(()),
        }
    }

    /// Creates a watch; the answer is its id (etcd 3.1-3.9).
    pub fn create(self: &Arc<Self>, request: &CreateRequest<'_>) -> Result<i64> {
        let range = check_create(request)?;
        self.check_open()?;
        let mut engine = self.hub.engine();
        let mut shared = self.shared();
        if shared.end.is_some() {
            return Err(Error::new(ErrorCode::Closed, "the stream is closed"));
        }
        let id = shared.choose_id(request.watch_id)?;
        let spec = Arc::new(Spec::new(id, range, request));
        let current = self.hub.mvcc.revision();
        engine.skip_if_idle(&self.hub, current);
        let next = if request.start_revision == 0 { current + 1 } else { request.start_revision };
        let lost = if next > current { Ok(()) } else { hub::check_start(&self.hub.mvcc, next) };
        let created = |spec: &Arc<Spec>, birth| {
            let (spec, resume_revision) = (spec.clone(), next);
            request.created_notify.then_some(Control::Created { spec, birth, resume_revision })
        };
        if let Err(legal) = lost {
            shared.controls.extend(created(&spec, 0));
            shared.controls.push_back(Control::Canceled {
                spec,
                birth: 0,
                resume_revision: next,
                code: Some(ErrorCode::Compacted),
                compact_revision: legal,
            });
        } else {
            let phase = match next > current {
                true => Phase::Live { min_revision: next },
                false => Phase::Behind { from: next },
            };
            let (place, birth) = shared.insert(spec.clone(), phase, next);
            shared.controls.extend(created(&spec, birth));
            let number = engine.insert(range, self.clone(), place);
            if let Some(Some(watch)) = shared.places.get_mut(place as usize) {
                watch.number = number;
            }
        }
        drop(shared);
        drop(engine);
        self.wake();
        Ok(id)
    }

    /// Ends a watch at the caller's wish; a last response says so (etcd 9.1, 9.2).
    pub fn cancel(self: &Arc<Self>, watch_id: i64) -> Result<()> {
        self.check_open()?;
        let mut engine = self.hub.engine();
        let mut shared = self.shared();
        let Some(place) = shared.place_of(watch_id) else {
            if shared.end.is_some() {
                // A close that came between took every watch with it.
                return Err(Error::new(ErrorCode::Closed, "the stream is closed"));
            }
            let message = format!("watch id {watch_id} is not live on this stream");
            return Err(Error::new(ErrorCode::WatchNotFound, message));
        };
        if let Some(watch) = shared.remove(place) {
            engine.remove(watch.spec.range(), watch.number);
            let matched = self.hub.matched();
            let resume_revision = resume_of(&watch, shared.ring.is_empty(), matched);
            shared.controls.push_back(Control::Canceled {
                spec: watch.spec,
                birth: watch.birth,
                resume_revision,
                code: None,
                compact_revision: 0,
            });
        }
        drop(shared);
        drop(engine);
        self.wake();
        Ok(())
    }

    /// Ends a watch for a reason of its own.
    pub(super) fn cancel_for(&self, place: u32, birth: u64, code: ErrorCode, compact_revision: i64) {
        let mut engine = self.hub.engine();
        let mut shared = self.shared();
        if shared.watch(place, birth).is_none() {
            return;
        }
        if let Some(watch) = shared.remove(place) {
            engine.remove(watch.spec.range(), watch.number);
            shared.controls.push_back(Control::Canceled {
                resume_revision: watch.next_revision,
                birth: watch.birth,
                spec: watch.spec,
                code: Some(code),
                compact_revision,
            });
        }
    }

    /// Asks for one progress response, given as soon as every watch that has started was delivered everything
    /// up to now (etcd 12.5, answered later instead of dropped).
    pub fn request_progress(self: &Arc<Self>) -> Result<()> {
        self.check_open()?;
        let mut shared = self.shared();
        if shared.progress_requests.len() >= limits::PROGRESS_REQUESTS_MAX {
            let message = format!("{} requests for progress wait already", limits::PROGRESS_REQUESTS_MAX);
            return Err(Error::new(ErrorCode::Limit, message));
        }
        shared.progress_requests.push_back(self.hub.mvcc.revision());
        drop(shared);
        self.wake();
        Ok(())
    }

    /// Something is there for the consumer.
    pub(super) fn wake(self: &Arc<Self>) {
        self.wake_caller();
        if self.callback.is_some() {
            self.hub.callbacks.schedule(self);
        } else if self.fd.get().is_some() {
            self.hub.descriptors.schedule(self);
        }
    }

    /// Wakes the caller inside `next`, wherever it waits.
    pub(super) fn wake_caller(&self) {
        self.event.notify_all();
        if self.leads.load(Ordering::SeqCst) {
            self.hub.mvcc.publication.notify();
        }
    }

    /// Wakes the consumer with `Closed` and stops the callbacks. Never waits for them.
    pub fn shutdown(self: &Arc<Self>) {
        self.end(End::Shutdown);
    }

    pub(super) fn end(self: &Arc<Self>, end: End) {
        let mut engine = self.hub.engine();
        let mut shared = self.shared();
        if shared.end.is_some() {
            return;
        }
        shared.end = Some(end);
        let places: Vec<u32> =
            (0..shared.places.len() as u32).filter(|i| shared.places[*i as usize].is_some()).collect();
        if end == End::Shutdown {
            shared.controls.clear();
        }
        for place in places {
            let Some(watch) = shared.remove(place) else { continue };
            engine.remove(watch.spec.range(), watch.number);
            if end == End::StoreClosed && self.callback.is_some() {
                let resume_revision = resume_of(&watch, shared.ring.is_empty(), self.hub.matched());
                shared.controls.push_back(Control::Canceled {
                    resume_revision,
                    birth: watch.birth,
                    spec: watch.spec,
                    code: Some(ErrorCode::Closed),
                    compact_revision: 0,
                });
            }
        }
        drop(shared);
        drop(engine);
        if let Some(fd) = self.fd.get() {
            // A consumer that did not see the end yet may clear the descriptor; not any more once it has let go.
            let _consumer = lock(&self.consumer);
            let _ = fd.raise();
        }
        self.wake();
    }
}

/// What a watch has certainly been given ends below the answer. For a live watch with nothing in the ring that
/// is everything matched.
pub(super) fn resume_of(watch: &Watch, ring_is_empty: bool, matched: i64) -> i64 {
    match watch.phase {
        Phase::Live { .. } if ring_is_empty => watch.next_revision.max(matched + 1),
        _ => watch.next_revision,
    }
}

fn check_create<'a>(request: &CreateRequest<'a>) -> Result<KeyRange<'a>> {
    let key = if request.key.is_empty() { b"\0" } else { request.key };
    for (name, bytes) in [("key", key), ("range_end", request.range_end)] {
        if bytes.len() > limits::KEY_BYTES_MAX {
            let message =
                format!("the {name} has {} bytes, the limit is {}", bytes.len(), limits::KEY_BYTES_MAX);
            return Err(Error::new(ErrorCode::Limit, message));
        }
    }
    let range = KeyRange::new(key, request.range_end);
    if range.is_empty() {
        return Err(Error::new(
            ErrorCode::EmptyRange,
            "range_end is not above key: the watch range is empty",
        ));
    }
    for (name, number) in [("start_revision", request.start_revision), ("watch_id", request.watch_id)] {
        if number < 0 {
            return Err(Error::new(ErrorCode::InvalidArgument, format!("{name} {number} is negative")));
        }
    }
    Ok(range)
}
