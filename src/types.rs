//! The words of the data model: key-value pairs and events as borrowed views of the mapped log.

/// A key with the state it had at one revision. The bytes borrow from the result or response they came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The key, 1 to [`crate::limits::KEY_BYTES_MAX`] bytes.
    pub key: &'a [u8],
    /// The value; empty where only keys were asked for and in delete events.
    pub value: &'a [u8],
    /// Revision of the put that created the key, 0 in delete events.
    pub create_revision: i64,
    /// Revision of this change.
    pub mod_revision: i64,
    /// Number of puts since the key was created, 0 in delete events.
    pub version: i64,
    /// Carried, never interpreted.
    pub lease: i64,
}

/// What an event says about its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EventType {
    /// The key was written.
    Put = 0,
    /// The key was deleted.
    Delete = 1,
}

/// One change of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Put or delete.
    pub event_type: EventType,
    /// The key after the change; a delete sets only `key` and `mod_revision` (etcd 5.2).
    pub kv: KeyValue<'a>,
    /// The key before the change, if it was asked for and is still available (etcd 7.2, 7.3).
    pub prev_kv: Option<KeyValue<'a>>,
}

impl Event<'_> {
    /// A put that brought the key into being.
    pub fn is_create(&self) -> bool {
        self.event_type == EventType::Put && self.kv.create_revision == self.kv.mod_revision
    }

    /// A put that changed an existing key.
    pub fn is_modify(&self) -> bool {
        self.event_type == EventType::Put && self.kv.create_revision != self.kv.mod_revision
    }
}
