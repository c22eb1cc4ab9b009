//! Responses of a stream as C reads them. The arrays of events are built once per response and used again for
//! the next one, unless the caller has retained it.

use std::ffi::{CString, c_char, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libwatch::Response;

use crate::guard;
use crate::ptr::{View, invalid, view};
use crate::types::{watch_event, watch_kv, watch_status};

/// What a watch_id can be beside the number of a watch. Ids are per stream; assigned ones start at 1.
#[expect(dead_code, reason = "a number of the header; the core knows it by itself")]
#[repr(i32)]
pub enum watch_id_special {
    /// in a create request: the stream chooses
    WATCH_ID_AUTO = 0,
    /// in a response: no single watch is meant
    WATCH_ID_NONE = -1,
}

/// watch_response.flags; no bit set = an ordinary batch of events
#[repr(u32)]
pub enum watch_response_flag {
    /// the watch exists; sent only if asked for
    WATCH_RESPONSE_CREATED = 1 << 0,
    /// the last response of this watch_id
    WATCH_RESPONSE_CANCELED = 1 << 1,
    /// no events; everything up to revision has been delivered
    WATCH_RESPONSE_PROGRESS = 1 << 2,
    /// more of the same response follows
    WATCH_RESPONSE_FRAGMENT = 1 << 3,
}

/// view: one delivery of one watch
#[repr(C)]
pub struct watch_response {
    pub size: usize,
    /// WATCH_ID_NONE for the answer to request_progress
    pub watch_id: i64,
    /// the store's, as in etcd's header; NOT a resume point
    pub revision: i64,
    /// the start_revision that continues exactly after this; 0 on FRAGMENT
    pub resume_revision: i64,
    /// set when canceled by compaction
    pub compact_revision: i64,
    /// WATCH_RESPONSE_*
    pub flags: u32,
    /// CANCELED: OK if the user asked, COMPACTED, CLOSED, ...
    pub cancel_status: watch_status,
    /// never NULL
    pub cancel_reason: *const c_char,
    /// whole revisions only, in order
    pub events: *const watch_event,
    pub event_count: usize,
    /// from the create request
    pub watch_data: *mut c_void,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<watch_response>() == 80 && offset_of!(watch_response, flags) == 40);
    assert!(offset_of!(watch_response, cancel_status) == 44 && offset_of!(watch_response, events) == 56);
    assert!(offset_of!(watch_response, watch_data) == 72);
};

/// Events that a node keeps room for while it waits to be used again.
const SPARE_EVENTS_MAX: usize = 4096;
/// Nodes that wait to be used again.
const SPARE_NODES_MAX: usize = 16;

/// A response with what its pointers point to. It lives in an `Arc`, to which C's pointer points.
#[repr(C)]
pub(crate) struct Node {
    seen: watch_response,
    magic: u64,
    /// Counts that C has taken and not given back.
    retained: AtomicUsize,
    events: Vec<watch_event>,
    prev_kvs: Vec<watch_kv>,
    reason: CString,
    /// Owns the pins that keep the bytes of the events mapped; None while the node waits.
    source: Option<Response>,
}

// SAFETY: immutable while C can see it, and every pointer leads into the node or to the bytes that `source`,
// which is Send and Sync, keeps; watch_data is only carried.
unsafe impl Send for Node {}
// SAFETY: as above.
unsafe impl Sync for Node {}

const _: fn() = || {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<Response>();
};

impl View for Node {
    type Seen = watch_response;
    const NAME: &'static str = "response";
    const MAGIC: u64 = u64::from_ne_bytes(*b"w_respon");

    fn magic(&self) -> u64 {
        self.magic
    }
}

impl Node {
    fn empty() -> Self {
        let seen = watch_response {
            size: size_of::<watch_response>(),
            watch_id: 0,
            revision: 0,
            resume_revision: 0,
            compact_revision: 0,
            flags: 0,
            cancel_status: 0,
            cancel_reason: c"".as_ptr(),
            events: ptr::null(),
            event_count: 0,
            watch_data: ptr::null_mut(),
        };
        let (events, prev_kvs, reason) = (Vec::new(), Vec::new(), CString::default());
        let retained = AtomicUsize::new(0);
        Self { seen, magic: Self::MAGIC, retained, events, prev_kvs, reason, source: None }
    }

    /// Lets go of the pins, keeps the arrays.
    fn clear(&mut self) {
        self.events.clear();
        self.prev_kvs.clear();
        self.events.shrink_to(SPARE_EVENTS_MAX);
        self.prev_kvs.shrink_to(SPARE_EVENTS_MAX);
        self.source = None;
    }

    fn fill(&mut self, source: Response) {
        // Into its place first: what is borrowed from it must not move afterwards.
        let source = &*self.source.insert(source);
        let reason: Vec<u8> = source.cancel_reason().bytes().filter(|&byte| byte != 0).collect();
        self.reason = CString::new(reason).unwrap_or_default();
        self.seen = watch_response {
            size: size_of::<watch_response>(),
            watch_id: source.watch_id(),
            revision: source.revision(),
            resume_revision: source.resume_revision(),
            compact_revision: source.compact_revision(),
            flags: flags_of(source),
            cancel_status: source.cancel_code().map_or(0, |code| code.number()),
            cancel_reason: self.reason.as_ptr(),
            events: ptr::null(),
            event_count: source.len(),
            watch_data: ptr::with_exposed_provenance_mut(source.watch_data()),
        };
        let placeholder = ptr::NonNull::<watch_kv>::dangling().as_ptr().cast_const();
        self.events.reserve(source.len());
        for event in source.events() {
            let mut seen = watch_event::of(&event);
            if let Some(prev_kv) = &event.prev_kv {
                self.prev_kvs.push(watch_kv::of(prev_kv));
                seen.prev_kv = placeholder;
            }
            self.events.push(seen);
        }
        // Only now has the array of previous pairs its final address.
        let mut prev_kvs = self.prev_kvs.iter();
        for seen in self.events.iter_mut().filter(|seen| !seen.prev_kv.is_null()) {
            seen.prev_kv = prev_kvs.next().map_or(ptr::null(), ptr::from_ref);
        }
        if !self.events.is_empty() {
            self.seen.events = self.events.as_ptr();
        }
    }
}

fn flags_of(response: &Response) -> u32 {
    use watch_response_flag::*;
    let bit = |flag: watch_response_flag, set: bool| if set { flag as u32 } else { 0 };
    bit(WATCH_RESPONSE_CREATED, response.is_created())
        | bit(WATCH_RESPONSE_CANCELED, response.is_canceled())
        | bit(WATCH_RESPONSE_PROGRESS, response.is_progress())
        | bit(WATCH_RESPONSE_FRAGMENT, response.is_fragment())
}

/// The responses that a stream has lent to its consumer, and the nodes it can lend next.
#[derive(Default)]
pub(crate) struct Shelf {
    lent: Vec<Arc<Node>>,
    spare: Vec<Arc<Node>>,
}

impl Shelf {
    /// Ends the borrow of everything lent. What the consumer has retained stays with it.
    pub(crate) fn take_back(&mut self) {
        for mut node in self.lent.drain(..) {
            if let Some(unique) = Arc::get_mut(&mut node) {
                unique.clear();
                if self.spare.len() < SPARE_NODES_MAX {
                    self.spare.push(node);
                }
            }
        }
    }

    /// Lends a response until the next `take_back`.
    pub(crate) fn lend(&mut self, source: Response) -> *const watch_response {
        let mut node = self.spare.pop().unwrap_or_else(|| Arc::new(Node::empty()));
        // A node on the shelf has no other owner.
        if let Some(unique) = Arc::get_mut(&mut node) {
            unique.fill(source);
        }
        let seen = Arc::as_ptr(&node).cast();
        self.lent.push(node);
        seen
    }
}

/// Keeps a response, and the log segments its bytes live in, beyond its borrow: also when the stream and
/// the store are closed. Returns the response.
/// Own: the caller's, release it. Thr: any. Blk: no. NULL gives NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_response_retain(response: *const watch_response) -> *const watch_response {
    guard::value(ptr::null(), || {
        if response.is_null() {
            return Ok(response);
        }
        // SAFETY: the header's promise: a response of this library that is borrowed or retained.
        let node = unsafe { view::<Node>(response) }?;
        node.retained.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the node lives in an Arc, whose pointer C has, and is alive by the same promise.
        unsafe { Arc::increment_strong_count(response.cast::<Node>()) };
        Ok(response)
    })
}

/// Gives one retained response back. A response that was only borrowed is left alone. NULL is fine.
/// Own: response is gone for the caller. Thr: any. Blk: no
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_response_release(response: *const watch_response) {
    guard::value((), || {
        if response.is_null() {
            return Ok(());
        }
        // SAFETY: the header's promise: a response of this library that is borrowed or retained.
        let node = unsafe { view::<Node>(response) }?;
        let given_back =
            node.retained.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if given_back.is_err() {
            return Err(invalid("the response was not retained".into()));
        }
        // SAFETY: the count that a retain took.
        unsafe { Arc::decrement_strong_count(response.cast::<Node>()) };
        Ok(())
    });
}
