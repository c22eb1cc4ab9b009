//! Watch streams: many watches, one ordered series of responses, taken by one consumer or given to a
//! callback.

use std::ffi::{c_int, c_void};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, OnceLock, TryLockError};
use std::time::Duration;

use libwatch::{Answer, CreateRequest, Error, ErrorCode, Response, Result, Stream, StreamOptions};

use crate::foreign::{UserData, watch_destroy_fn};
use crate::guard;
use crate::handle::{Handle, Inside, Pool, Slot};
use crate::ptr::{Out, bytes, handle, invalid};
use crate::response::{Shelf, watch_response};
use crate::sized::{self, Known, check_flags, request};
use crate::status::watch_status_number;
use crate::store::{self, watch_store};
use crate::types::{watch_bytes, watch_status};

/// handle: many watches, one ordered series of responses
pub struct watch_stream {
    _opaque: [u8; 0],
}

/// What a stream's slot holds.
pub(crate) struct Content {
    /// Set right after the slot was opened, because a callback needs the handle before the core has its
    /// stream.
    core: OnceLock<Stream>,
    /// Held by the consumer for the length of a call.
    consumer: Mutex<Shelf>,
    /// user_data of a stream in poll mode; in callback mode it belongs to the callback.
    idle_data: Mutex<Option<UserData>>,
}

impl Handle for watch_stream {
    type Content = Content;
    const NAME: &'static str = "stream";
    const MAGIC: u64 = u64::from_ne_bytes(*b"w_stream");
    const STRIPES: usize = 1;

    fn pool() -> &'static Pool<Self> {
        static POOL: Pool<watch_stream> = Pool::new();
        &POOL
    }
}

/// Takes one response of a callback stream; it is borrowed until the function returns. Runs on a thread of
/// the library, one call at a time per stream, with no lock held: it may call every watch_* function, also
/// close its own stream or the store. It must not unwind or longjmp.
/// Answer WATCH_OK: taken. WATCH_AGAIN: not now: the same events are offered again after a short pause,
/// and only this watch is held back. A negative status: cancel this watch with that status.
pub type watch_response_fn = Option<
    unsafe extern "C-unwind" fn(
        user_data: *mut c_void,
        stream: *mut watch_stream,
        response: *const watch_response,
    ) -> watch_status,
>;

/// request: how to open a stream
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_stream_options {
    pub size: usize,
    /// most revisions in one response; 0 = 1000
    pub batch_revisions: u32,
    /// none known yet
    pub flags: u32,
    /// a response is cut before it grows past this; a revision is never split; 0 = 1 MiB
    pub batch_bytes: u64,
    /// NULL = poll mode; set = callback mode. Never both.
    pub on_response: watch_response_fn,
    pub user_data: *mut c_void,
    pub destroy: watch_destroy_fn,
}
request!(watch_stream_options { batch_revisions, flags, batch_bytes, on_response, user_data, destroy });

/// watch_create_request.flags
#[repr(u32)]
pub enum watch_create_flag {
    /// each event carries the pair as it was before
    WATCH_CREATE_PREV_KV = 1 << 0,
    /// a PROGRESS response from time to time while there are no events
    WATCH_CREATE_PROGRESS_NOTIFY = 1 << 1,
    /// large responses come in parts, marked FRAGMENT but for the last
    WATCH_CREATE_FRAGMENT = 1 << 2,
    /// a CREATED response before anything else
    WATCH_CREATE_CREATED_NOTIFY = 1 << 3,
}

/// watch_create_request.filters
#[repr(u32)]
pub enum watch_filter {
    /// leave out puts
    WATCH_FILTER_NOPUT = 1 << 0,
    /// leave out deletes
    WATCH_FILTER_NODELETE = 1 << 1,
}

/// request: a watch
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_create_request {
    pub size: usize,
    pub key: watch_bytes,
    pub range_end: watch_bytes,
    /// 0 = from now; history is replayed from here on, inclusive
    pub start_revision: i64,
    /// WATCH_ID_AUTO, or one not in use on this stream
    pub watch_id: i64,
    /// WATCH_CREATE_*
    pub flags: u32,
    /// WATCH_FILTER_*
    pub filters: u32,
    /// handed back in each response of this watch
    pub watch_data: *mut c_void,
}
request!(watch_create_request { key, range_end, start_revision, watch_id, flags, filters, watch_data });

#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<watch_stream_options>() == 48 && offset_of!(watch_stream_options, on_response) == 24);
    assert!(size_of::<watch_create_request>() == 72 && offset_of!(watch_create_request, flags) == 56);
};

/// The C function of a callback stream with what it needs.
struct Callback {
    function:
        unsafe extern "C-unwind" fn(*mut c_void, *mut watch_stream, *const watch_response) -> watch_status,
    data: UserData,
    stream: &'static Slot<watch_stream>,
    shelf: Shelf,
}

impl Callback {
    fn offer(&mut self, response: &Response) -> Answer {
        let offered = panic::catch_unwind(AssertUnwindSafe(|| self.call(response)));
        offered.unwrap_or(Answer::Cancel(ErrorCode::Panic))
    }

    fn call(&mut self, response: &Response) -> Answer {
        // Inside for as long as the function runs, so that its handle outlives a close by the function
        // itself.
        let Ok(inside) = self.stream.enter() else { return Answer::Taken };
        inside.core.wait();
        let seen = self.shelf.lend(response.clone());
        let handle = std::ptr::from_ref(self.stream).cast_mut().cast();
        // SAFETY: the caller gave this function for this pointer; the response is lent until take_back.
        let status = unsafe { (self.function)(self.data.pointer(), handle, seen) };
        self.shelf.take_back();
        answer_of(status)
    }
}

fn answer_of(status: watch_status) -> Answer {
    const OK: watch_status = watch_status_number::WATCH_OK as watch_status;
    const AGAIN: watch_status = watch_status_number::WATCH_AGAIN as watch_status;
    match status {
        OK => Answer::Taken,
        AGAIN => Answer::Again,
        other => Answer::Cancel(ErrorCode::from_number(other).unwrap_or(ErrorCode::InvalidArgument)),
    }
}

/// Enters a stream for the length of one call.
///
/// # Safety
/// A `stream` that is not NULL was handed out by `watch_stream_open`.
unsafe fn enter(stream: *const watch_stream) -> Result<Inside<watch_stream>> {
    // SAFETY: the caller's promise.
    unsafe { handle(stream) }
}

impl Content {
    /// The stream of the core; a callback that is faster than the opening call waits for it here.
    fn core(&self) -> &Stream {
        self.core.wait()
    }
}

/// Opens a stream. NULL options = all zero: poll mode, every default.
/// Own: *stream is the caller's until close; it is set only on WATCH_OK, and a callback may have run
/// before. user_data goes to the library, also when the call fails. Thr: any. Blk: no.
/// Err: INVALID_ARGUMENT UNSUPPORTED NO_MEMORY CLOSED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_stream_open(
    store: *mut watch_store,
    options: *const watch_stream_options,
    stream: *mut *mut watch_stream,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about requests.
        let Known { request: given, complete } = unsafe { sized::read_or_default(options) }?;
        // First of all: whatever is wrong below, destroy runs.
        let data = UserData::new(given.user_data, given.destroy);
        complete?;
        // SAFETY: the header's promise about results.
        let place = unsafe { Out::new(stream, "stream") }?;
        // SAFETY: the header's promise about handles.
        let store = unsafe { store::enter(store) }?;
        check_flags("watch_stream_options.flags", given.flags, 0)?;
        let options =
            StreamOptions { batch_revisions: given.batch_revisions, batch_bytes: given.batch_bytes };
        let content =
            Content { core: OnceLock::new(), consumer: Mutex::default(), idle_data: Mutex::new(None) };
        let slot = watch_stream::pool().open(content);
        let inside = slot.enter()?;
        let opened = match given.on_response {
            Some(function) => {
                let mut callback = Callback { function, data, stream: slot, shelf: Shelf::default() };
                store.stream_with_callback(&options, Box::new(move |response| callback.offer(response)))
            }
            None => store.stream(&options).inspect(|_| {
                inside.idle_data.lock().map(|mut idle| *idle = Some(data)).unwrap_or_default();
            }),
        };
        let core = opened.inspect_err(|_| inside.shut())?;
        inside.core.get_or_init(|| core);
        place.set(std::ptr::from_ref(slot).cast_mut().cast());
        Ok(())
    })
}

/// Creates a watch; *watch_id gets its number (watch_id may be NULL). A refusal is a status, never a
/// response. A key of length 0 stands for the key "\0"; with range_end "\0" that is every key.
/// Thr: any thread, also from a callback of the same stream. Blk: no.
/// Err: COMPACTED only as a response. EMPTY_RANGE DUPLICATE_WATCH_ID INVALID_ARGUMENT UNSUPPORTED LIMIT
/// CLOSED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_stream_create(
    stream: *mut watch_stream,
    request: *const watch_create_request,
    watch_id: *mut i64,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let stream = unsafe { enter(stream) }?;
        // SAFETY: the header's promise about requests.
        let given = unsafe { sized::read(request) }?;
        // SAFETY: the header's promise about bytes.
        let id = stream.core().create(&unsafe { create_of(&given) }?)?;
        // SAFETY: the header's promise about results.
        if let Some(place) = unsafe { Out::optional(watch_id) } {
            place.set(id);
        }
        Ok(())
    })
}

/// # Safety
/// The spans of the request can be read for the length of the call.
unsafe fn create_of<'a>(given: &watch_create_request) -> Result<CreateRequest<'a>> {
    use watch_create_flag::*;
    use watch_filter::*;
    let all = WATCH_CREATE_PREV_KV as u32
        | WATCH_CREATE_PROGRESS_NOTIFY as u32
        | WATCH_CREATE_FRAGMENT as u32
        | WATCH_CREATE_CREATED_NOTIFY as u32;
    check_flags("watch_create_request.flags", given.flags, all)?;
    let filters = WATCH_FILTER_NOPUT as u32 | WATCH_FILTER_NODELETE as u32;
    check_flags("watch_create_request.filters", given.filters, filters)?;
    let has = |flag: watch_create_flag| given.flags & flag as u32 != 0;
    Ok(CreateRequest {
        // SAFETY: the caller's promise.
        key: unsafe { bytes(given.key, "watch_create_request.key") }?,
        // SAFETY: the caller's promise.
        range_end: unsafe { bytes(given.range_end, "watch_create_request.range_end") }?,
        start_revision: given.start_revision,
        watch_id: given.watch_id,
        prev_kv: has(WATCH_CREATE_PREV_KV),
        progress_notify: has(WATCH_CREATE_PROGRESS_NOTIFY),
        fragment: has(WATCH_CREATE_FRAGMENT),
        created_notify: has(WATCH_CREATE_CREATED_NOTIFY),
        filter_noput: given.filters & WATCH_FILTER_NOPUT as u32 != 0,
        filter_nodelete: given.filters & WATCH_FILTER_NODELETE as u32 != 0,
        watch_data: given.watch_data.expose_provenance(),
    })
}

/// Cancels a watch. Responses that are already queued still come, then one CANCELED; after it nothing of
/// this watch_id follows and the id is free.
/// Thr: any thread, also from a callback of the same stream. Blk: no. Err: WATCH_NOT_FOUND CLOSED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_stream_cancel(stream: *mut watch_stream, watch_id: i64) -> watch_status {
    // SAFETY: the header's promise about handles.
    guard::call(|| unsafe { enter(stream) }?.core().cancel(watch_id))
}

/// Asks for one PROGRESS response with WATCH_ID_NONE; it comes as soon as every watch of the stream has
/// caught up. Watches that wait for a future revision are not waited for.
/// Thr: any thread, also from a callback of the same stream. Blk: no. Err: LIMIT CLOSED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_stream_request_progress(stream: *mut watch_stream) -> watch_status {
    // SAFETY: the header's promise about handles.
    guard::call(|| unsafe { enter(stream) }?.core().request_progress())
}

/// Poll mode: takes the next response. timeout_ms: 0 = do not wait, negative = no limit.
/// Own: *response is borrowed until the next call of next, next_batch or close on this stream; retain to
/// keep. It is NULL on WATCH_AGAIN. Thr: one consumer at a time, a second gets BUSY. Blk: up to
/// timeout_ms.
/// Err: AGAIN (nothing within the timeout) CLOSED BUSY INVALID_STATE (a callback stream) INVALID_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_stream_next(
    stream: *mut watch_stream,
    timeout_ms: i64,
    response: *mut *const watch_response,
) -> watch_status {
    guard::news(|| {
        // SAFETY: the header's promise about handles.
        let stream = unsafe { enter(stream) }?;
        // SAFETY: the header's promise about results.
        let place = unsafe { Out::new(response, "response") }?;
        stream.consume(|shelf| match stream.core().next(timeout_of(timeout_ms))? {
            Some(response) => {
                place.set(shelf.lend(response));
                Ok(watch_status_number::WATCH_OK as watch_status)
            }
            None => {
                place.set(std::ptr::null());
                Ok(watch_status_number::WATCH_AGAIN as watch_status)
            }
        })
    })
}

/// Most responses of one call; more room is not an error.
const BATCH_MAX: usize = 1 << 16;

/// Poll mode: waits for the first response and takes with it what is ready, up to capacity.
/// Own: responses[0..*count] as with watch_stream_next. Thr, Blk, Err: as watch_stream_next; *count is 0
/// on WATCH_AGAIN, and a capacity of 0 is INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_stream_next_batch(
    stream: *mut watch_stream,
    timeout_ms: i64,
    responses: *mut *const watch_response,
    capacity: usize,
    count: *mut usize,
) -> watch_status {
    guard::news(|| {
        // SAFETY: the header's promise about handles.
        let stream = unsafe { enter(stream) }?;
        // SAFETY: the header's promise about results.
        let array = unsafe { Out::new(responses, "responses") }?;
        // SAFETY: the header's promise about results.
        let place = unsafe { Out::new(count, "count") }?;
        if capacity == 0 {
            return Err(invalid("capacity is 0".into()));
        }
        stream.consume(|shelf| {
            let taken = stream.core().next_batch(capacity.min(BATCH_MAX), timeout_of(timeout_ms))?;
            place.set(taken.len());
            let status = if taken.is_empty() {
                watch_status_number::WATCH_AGAIN
            } else {
                watch_status_number::WATCH_OK
            };
            for (index, response) in taken.into_iter().take(capacity).enumerate() {
                // SAFETY: the header's promise: the array has `capacity` places.
                unsafe { array.set_at(index, shelf.lend(response)) };
            }
            Ok(status as watch_status)
        })
    })
}

impl Content {
    /// Runs one call of the one consumer; what it had borrowed before ends first.
    fn consume(&self, take: impl FnOnce(&mut Shelf) -> Result<watch_status>) -> Result<watch_status> {
        let mut shelf = match self.consumer.try_lock() {
            Ok(shelf) => shelf,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(ErrorCode::Busy, "another call is taking responses of this stream"));
            }
        };
        shelf.take_back();
        take(&mut shelf)
    }
}

fn timeout_of(timeout_ms: i64) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}

/// A file descriptor for poll, epoll and event loops: readable exactly while a response is queued or the
/// stream has ended. Made on first use. Only poll it: do not read, write or close it.
/// Own: the stream's, until close. -1 on failure and where WATCH_FEATURE_FD is missing. Thr: any. Blk: no.
/// Err (watch_last_error_info): INVALID_STATE (a callback stream) CLOSED IO
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_stream_fd(stream: *mut watch_stream) -> c_int {
    // SAFETY: the header's promise about handles.
    guard::value(-1, || unsafe { enter(stream) }?.core().fd())
}

/// Wakes the consumer with CLOSED, stops the callbacks. Idempotent.
/// Thr: any. Blk: no. Err: CLOSED (the handle was closed) INVALID_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_stream_shutdown(stream: *mut watch_stream) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        unsafe { enter(stream) }?.core().shutdown();
        Ok(())
    })
}

/// Shuts down, waits for a running callback, runs destroy, frees. From inside the stream's own callback it
/// returns at once and the rest happens when the callback returns. No other thread may be in a call on
/// this stream (use shutdown first). NULL is fine.
/// Own: stream and what was borrowed from it are gone for the caller. Thr: any. Blk: the running callback
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_stream_close(stream: *mut watch_stream) {
    guard::value((), || {
        if stream.is_null() {
            return Ok(());
        }
        // SAFETY: the header's promise about handles.
        let stream = unsafe { enter(stream) }?;
        stream.core().close();
        stream.shut();
        Ok(())
    });
}
