//! The elements and the status type: what is passed by value or stored in arrays. Their layout is frozen
//! within one WATCH_ABI_VERSION; the assertions below hold it.

use std::mem::{offset_of, size_of};
use std::ptr;

use libwatch::{Event, EventType, KeyValue};

/// The answer of nearly every call: 0 done; > 0 done, with news; < 0 failed. Numbers are never reused.
pub type watch_status = i32;

/// element: borrowed, not NUL-terminated; data may be NULL if len is 0
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_bytes {
    pub data: *const u8,
    pub len: usize,
}

/// element: one key as it was at one revision; 64 bytes on 64-bit targets
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_kv {
    pub key: watch_bytes,
    pub value: watch_bytes,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    /// carried, never interpreted
    pub lease: i64,
}

/// Kinds of events.
#[repr(u32)]
pub enum watch_event_type {
    WATCH_EVENT_PUT = 0,
    WATCH_EVENT_DELETE = 1,
}

/// element: one change of one key; 80 bytes on 64-bit targets
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_event {
    /// DELETE: only key and mod_revision are set
    pub kv: watch_kv,
    /// NULL unless asked for and still available
    pub prev_kv: *const watch_kv,
    /// WATCH_EVENT_*
    pub r#type: u32,
    pub reserved: u32,
}

impl watch_bytes {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), len: bytes.len() }
    }
}

impl watch_kv {
    pub(crate) fn of(kv: &KeyValue<'_>) -> Self {
        Self {
            key: watch_bytes::of(kv.key),
            value: watch_bytes::of(kv.value),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            lease: kv.lease,
        }
    }
}

impl watch_event {
    /// The event without its previous pair, whose place is not known yet.
    pub(crate) fn of(event: &Event<'_>) -> Self {
        let event_type = match event.event_type {
            EventType::Put => watch_event_type::WATCH_EVENT_PUT,
            EventType::Delete => watch_event_type::WATCH_EVENT_DELETE,
        };
        Self { kv: watch_kv::of(&event.kv), prev_kv: ptr::null(), r#type: event_type as u32, reserved: 0 }
    }
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    assert!(size_of::<watch_bytes>() == 16 && offset_of!(watch_bytes, len) == 8);
    assert!(size_of::<watch_kv>() == 64 && offset_of!(watch_kv, value) == 16);
    assert!(offset_of!(watch_kv, create_revision) == 32 && offset_of!(watch_kv, mod_revision) == 40);
    assert!(offset_of!(watch_kv, version) == 48 && offset_of!(watch_kv, lease) == 56);
    assert!(size_of::<watch_event>() == 80 && offset_of!(watch_event, prev_kv) == 64);
    assert!(offset_of!(watch_event, r#type) == 72 && offset_of!(watch_event, reserved) == 76);
};
