//! What the library has to say beside results: one line at a time to a sink that the host chose. Without a sink,
//! which is the default, nothing is said anywhere.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Something failed.
pub const LOG_ERROR: u32 = 1;
/// Something is not as it should be, and was dealt with.
pub const LOG_WARN: u32 = 2;
/// Something worth knowing happened.
pub const LOG_INFO: u32 = 3;
/// Details.
pub const LOG_DEBUG: u32 = 4;

/// Takes a level and a line, on whatever thread has something to say. It must not call back into the library.
pub type LogSink = Box<dyn Fn(u32, &str) + Send + Sync>;

static LEVEL_MAX: AtomicU32 = AtomicU32::new(0);
static SINK: RwLock<Option<Arc<LogSink>>> = RwLock::new(None);

/// Sends lines up to `level_max` to `sink`, for the whole process; `None` is silence. The sink before is dropped
/// when its last call has returned.
pub fn set_log(level_max: u32, sink: Option<LogSink>) {
    let level = if sink.is_some() { level_max } else { 0 };
    let before = {
        let mut current = SINK.write().unwrap_or_else(PoisonError::into_inner);
        LEVEL_MAX.store(level, Ordering::Release);
        std::mem::replace(&mut *current, sink.map(Arc::new))
    };
    drop(before);
}

/// Says a line.
pub(crate) fn say(level: u32, line: fmt::Arguments<'_>) {
    if level > LEVEL_MAX.load(Ordering::Acquire) {
        return;
    }
    let sink = SINK.read().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(sink) = sink {
        sink(level, &line.to_string());
    }
}
