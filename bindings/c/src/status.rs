//! Statuses: their numbers, their words, and the last failure of the calling thread. The numbers are those of
//! libwatch::ErrorCode; tests/header.rs compares them with the header.

use std::ffi::{CString, c_char};
use std::sync::LazyLock;

use libwatch::ErrorCode;

use crate::guard;
use crate::sized::{self, request};
use crate::types::watch_status;

/// The numbers of watch_status.
#[expect(dead_code, reason = "a number of the header; failures come with the number of their ErrorCode")]
#[repr(i32)]
pub enum watch_status_number {
    WATCH_OK = 0,
    /// nothing was ready within the timeout; answered by a callback: not now
    WATCH_AGAIN = 1,
    /// the call itself was wrong
    ///
    /// an argument has a value that no call accepts
    WATCH_ERR_INVALID_ARGUMENT = -1,
    /// e.g. next on a callback stream
    WATCH_ERR_INVALID_STATE = -2,
    /// unknown flag, or a newer request member was set
    WATCH_ERR_UNSUPPORTED = -3,
    /// header and library do not fit together
    WATCH_ERR_ABI_MISMATCH = -4,
    /// the store or stream was closed
    WATCH_ERR_CLOSED = -5,
    /// a second consumer on one stream
    WATCH_ERR_BUSY = -6,
    /// a bound from docs/limits was exceeded
    WATCH_ERR_LIMIT = -7,
    /// outcomes etcd defines
    ///
    /// the revision is below the compaction
    WATCH_ERR_COMPACTED = -20,
    /// the revision has not been written yet
    WATCH_ERR_FUTURE_REVISION = -21,
    /// the key is empty
    WATCH_ERR_EMPTY_KEY = -22,
    /// range_end is not above key
    WATCH_ERR_EMPTY_RANGE = -23,
    /// IGNORE_VALUE or IGNORE_LEASE on a key that does not exist
    WATCH_ERR_KEY_NOT_FOUND = -24,
    /// one transaction would change a key twice
    WATCH_ERR_DUPLICATE_KEY = -25,
    /// the chosen watch_id is in use on this stream
    WATCH_ERR_DUPLICATE_WATCH_ID = -26,
    /// no live watch of this stream has this id
    WATCH_ERR_WATCH_NOT_FOUND = -27,
    /// the storage
    ///
    /// the operating system refused; see os_error
    WATCH_ERR_IO = -40,
    /// the disk or quota is full; nothing was changed
    WATCH_ERR_NO_SPACE = -41,
    /// bytes on disk are not what was written
    WATCH_ERR_CORRUPT = -42,
    /// another opener holds the store
    WATCH_ERR_LOCKED = -43,
    /// the store was opened read-only
    WATCH_ERR_READ_ONLY = -44,
    /// the files are of another format version
    WATCH_ERR_FORMAT = -45,
    /// an earlier write or sync failed; reopen the store
    WATCH_ERR_POISONED = -46,
    /// a filesystem on which mmap or locks cannot be trusted
    WATCH_ERR_FILESYSTEM = -47,
    /// the process
    ///
    /// the system has no memory for this call
    WATCH_ERR_NO_MEMORY = -60,
    /// an internal error was contained; the message says where
    WATCH_ERR_PANIC = -61,
    /// the handle was opened before a fork(); open again in the child
    WATCH_ERR_FORKED = -62,
}

/// request (filled in by the library)
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_error_info {
    pub size: usize,
    pub status: watch_status,
    /// errno, or 0
    pub os_error: i32,
    /// for COMPACTED: the oldest revision that can be asked for; else 0
    pub compact_revision: i64,
    /// for FUTURE_REVISION: the newest revision; else 0
    pub current_revision: i64,
    /// one line, NUL-terminated, never NULL; until this thread's next failure
    pub message: *const c_char,
}
request!(watch_error_info { status, os_error, compact_revision, current_revision, message });

/// Number, name and sentence of each status, as C strings.
type Row = (watch_status, CString, CString);

static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let done = [
        (watch_status_number::WATCH_OK as i32, "WATCH_OK", "done"),
        (watch_status_number::WATCH_AGAIN as i32, "WATCH_AGAIN", "nothing was ready within the timeout"),
    ];
    let failed = ErrorCode::TABLE.iter().map(|(code, name, sentence)| (code.number(), *name, *sentence));
    let text = |text: &str| CString::new(text).unwrap_or_default();
    done.into_iter().chain(failed).map(|(number, name, words)| (number, text(name), text(words))).collect()
});

fn row(status: watch_status) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.0 == status)
}

/// The name of a status, such as "WATCH_ERR_COMPACTED"; "WATCH_ERR_UNKNOWN" for a number without a name.
/// Own: static, never NULL. Thr: any. Blk: no
#[unsafe(no_mangle)]
pub extern "C" fn watch_status_name(status: watch_status) -> *const c_char {
    guard::value(c"WATCH_ERR_UNKNOWN", || Ok(row(status).map_or(c"WATCH_ERR_UNKNOWN", |row| &row.1))).as_ptr()
}

/// One general sentence about a status; watch_last_error has the line about the call that failed.
/// Own: static, never NULL. Thr: any. Blk: no
#[unsafe(no_mangle)]
pub extern "C" fn watch_status_message(status: watch_status) -> *const c_char {
    guard::value(c"unknown status", || Ok(row(status).map_or(c"unknown status", |row| &row.2))).as_ptr()
}

/// The message of this thread's last failure: one line that names the thing, "" if nothing failed yet. A
/// call that succeeds leaves it alone, so look at it only after a negative status.
/// Own: until this thread's next failure; never NULL. Thr: any. Blk: no
#[unsafe(no_mangle)]
pub extern "C" fn watch_last_error() -> *const c_char {
    guard::last_failure(guard::Failure::message)
}

/// Fills in what is known about this thread's last failure; status is WATCH_OK if nothing failed yet.
/// Own: info->message as watch_last_error. Thr: any. Blk: no. Err: INVALID_ARGUMENT UNSUPPORTED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_last_error_info(info: *mut watch_error_info) -> watch_status {
    guard::call(|| {
        let answer = guard::last_failure(|failure| watch_error_info {
            size: 0,
            status: failure.status,
            os_error: failure.os_error,
            compact_revision: failure.compact_revision,
            current_revision: failure.current_revision,
            message: failure.message(),
        });
        // SAFETY: the header's promise about requests.
        unsafe { sized::fill(info, &answer) }
    })
}
