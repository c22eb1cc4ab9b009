//! What the integration tests share: a watchdog, stores in temporary folders, and requests and answers in
//! short forms that read well in an assertion.
#![allow(dead_code)] // each test binary uses a part of it

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use libwatch::{
    CreateRequest, DeleteRangeRequest, Durability, ErrorCode, Event, EventType, KeyValue, PutRequest,
    RangeRequest, Response, Result, Store, StoreOptions, Stream, StreamOptions, WATCH_ID_NONE,
};
use tempfile::TempDir;

/// How long a test may take before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Key and range end of the whole keyspace.
pub const ALL: (&[u8], &[u8]) = (b"\0", b"\0");

/// Runs a test on a thread of its own and fails it when it hangs; the process goes on.
pub fn watched(test: impl FnOnce() + Send + 'static) {
    let (alive, ended) = channel::<()>();
    let thread = std::thread::spawn(move || {
        let _alive = alive;
        test();
    });
    match ended.recv_timeout(PATIENCE) {
        Err(RecvTimeoutError::Timeout) => panic!("the test hangs"),
        _ => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}

/// Waits for what becomes true without a notification; the watchdog ends what never does.
pub fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}

/// A store in memory.
pub fn memory() -> Store {
    Store::open_in_memory(&StoreOptions::default()).unwrap()
}

/// A store in memory with options.
pub fn memory_with(change: impl FnOnce(&mut StoreOptions)) -> Store {
    let mut options = StoreOptions::default();
    change(&mut options);
    Store::open_in_memory(&options).unwrap()
}

/// The smallest segments, without syncs.
pub fn tiny() -> StoreOptions {
    StoreOptions {
        segment_bytes: libwatch::limits::SEGMENT_BYTES_MIN,
        durability: Durability::None,
        ..StoreOptions::default()
    }
}

/// Default options in a durability mode.
pub fn mode(durability: Durability) -> StoreOptions {
    StoreOptions { durability, ..StoreOptions::default() }
}

/// A folder that is removed with its owner.
pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Copies every file of an open store: what a crash at this moment would leave behind.
pub fn crash_image(of: &TempDir) -> TempDir {
    let image = folder();
    for entry in std::fs::read_dir(of.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), image.path().join(entry.file_name())).unwrap();
        }
    }
    image
}

/// The code of a call that must fail.
pub fn refused<T>(result: Result<T>) -> ErrorCode {
    match result {
        Ok(_) => panic!("the call was accepted"),
        Err(error) => error.code(),
    }
}

/// Puts and answers the revision.
pub fn put(store: &Store, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> i64 {
    let request = PutRequest { key: key.as_ref(), value: value.as_ref(), ..PutRequest::default() };
    store.put(&request).unwrap().revision()
}

/// Deletes one key and answers the revision.
pub fn delete(store: &Store, key: impl AsRef<[u8]>) -> i64 {
    let request = DeleteRangeRequest { key: key.as_ref(), ..DeleteRangeRequest::default() };
    store.delete_range(&request).unwrap().revision()
}

/// The value of a key at a revision, 0 for now.
pub fn get(store: &Store, key: impl AsRef<[u8]>, revision: i64) -> Option<String> {
    let result = store.get(key.as_ref(), revision).unwrap();
    (!result.is_empty()).then(|| text(result.kv(0).value))
}

/// The keys of a range, joined by spaces.
pub fn keys(store: &Store, request: &RangeRequest<'_>) -> String {
    let result = store.range(request).unwrap();
    result.iter().map(|kv| text(kv.key)).collect::<Vec<_>>().join(" ")
}

/// Bytes as text, escaped where they are none.
pub fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hexadecimal digits as bytes.
pub fn unhex(digits: &str) -> Vec<u8> {
    assert!(digits.len().is_multiple_of(2), "{digits} has an odd number of digits");
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

/// A stream to be polled.
pub fn stream(store: &Store) -> Stream {
    store.stream(&StreamOptions::default()).unwrap()
}

/// A request to watch `range` from `start` on.
pub fn watch<'a>(range: (&'a [u8], &'a [u8]), start_revision: i64) -> CreateRequest<'a> {
    CreateRequest { key: range.0, range_end: range.1, start_revision, ..CreateRequest::default() }
}

/// The next response, waited for.
pub fn take(stream: &Stream) -> Response {
    stream.next(None).unwrap().expect("without a timeout there is a response")
}

/// What can be had without waiting.
pub fn drain(stream: &Stream) -> Vec<Response> {
    std::iter::from_fn(|| stream.next(Some(Duration::ZERO)).unwrap()).collect()
}

/// Everything up to now, behind a request for progress as a barrier.
pub fn settle(stream: &Stream) -> Vec<Response> {
    stream.request_progress().unwrap();
    let mut responses = Vec::new();
    loop {
        let response = take(stream);
        if response.is_progress() && response.watch_id() == WATCH_ID_NONE {
            return responses;
        }
        responses.push(response);
    }
}

/// An event in one line: revision, kind, key, value, and in brackets the value before.
pub fn line(event: &Event<'_>) -> String {
    let (revision, key) = (event.kv.mod_revision, text(event.kv.key));
    let mut line = match event.event_type {
        EventType::Put => format!("{revision} put {key}={}", text(event.kv.value)),
        EventType::Delete => format!("{revision} delete {key}"),
    };
    if let Some(prev) = event.prev_kv {
        line += &format!(" [{}@{}]", text(prev.value), prev.mod_revision);
    }
    line
}

/// The events of a response, in lines.
pub fn lines(response: &Response) -> Vec<String> {
    response.events().map(|event| line(&event)).collect()
}

/// The events of all responses of one watch, in lines.
pub fn lines_of(responses: &[Response], watch_id: i64) -> Vec<String> {
    responses.iter().filter(|response| response.watch_id() == watch_id).flat_map(lines).collect()
}

/// Takes responses until `count` events came, in lines.
pub fn take_lines(stream: &Stream, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(lines(&take(stream)));
    }
    all
}

/// A pair with its numbers: key, value, create revision, mod revision, version, lease.
pub fn pair(kv: &KeyValue<'_>) -> (String, String, i64, i64, i64, i64) {
    (text(kv.key), text(kv.value), kv.create_revision, kv.mod_revision, kv.version, kv.lease)
}

/// A small generator of numbers that look random and repeat with their seed.
pub struct Random(u64);

impl Random {
    /// Different seeds give different series.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}
