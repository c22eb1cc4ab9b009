//! The boundary: no panic leaves the library, each failure becomes a status, and its one line stays with the
//! thread that failed until that thread fails again.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, c_char};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use libwatch::{Error, ErrorCode, Result};

use crate::types::watch_status;

/// The last failure of a thread. `line` ends with a NUL and has no other.
pub(crate) struct Failure {
    pub(crate) status: watch_status,
    pub(crate) os_error: i32,
    pub(crate) compact_revision: i64,
    pub(crate) current_revision: i64,
    line: Vec<u8>,
}

impl Failure {
    const NONE: Failure =
        Failure { status: 0, os_error: 0, compact_revision: 0, current_revision: 0, line: Vec::new() };

    /// The line as C reads it; valid until this thread's next failure.
    pub(crate) fn message(&self) -> *const c_char {
        CStr::from_bytes_with_nul(&self.line).unwrap_or(c"").as_ptr()
    }

    fn set(&mut self, error: &Error) {
        self.status = error.code().number();
        self.os_error = error.os_error();
        self.compact_revision = error.compact_revision();
        self.current_revision = error.current_revision();
        self.line.clear();
        self.line.extend(error.message().bytes().map(|byte| if byte < b' ' { b' ' } else { byte }));
        self.line.push(0);
    }
}

thread_local! {
    static LAST: RefCell<Failure> = const { RefCell::new(Failure::NONE) };
    static PANIC_PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Reads the last failure of this thread; a thread that is ending answers as one that never failed.
pub(crate) fn last_failure<T>(read: impl Fn(&Failure) -> T) -> T {
    let found = LAST.try_with(|last| last.try_borrow().map(|failure| read(&failure)).ok()).ok().flatten();
    found.unwrap_or_else(|| read(&Failure::NONE))
}

/// Keeps the error as this thread's last failure and answers its status.
fn fail(error: &Error) -> watch_status {
    let _ = LAST.try_with(|last| last.try_borrow_mut().map(|mut failure| failure.set(error)));
    error.code().number()
}

/// Runs a call whose answer is a status.
pub(crate) fn call(body: impl FnOnce() -> Result<()>) -> watch_status {
    news(|| body().map(|()| 0))
}

/// Runs a call whose answer is a status and that may have news, such as `WATCH_AGAIN`.
pub(crate) fn news(body: impl FnOnce() -> Result<watch_status>) -> watch_status {
    contain(body).unwrap_or_else(|error| fail(&error))
}

/// Runs a call whose answer is a value; `failed` stands for a failure.
pub(crate) fn value<T>(failed: T, body: impl FnOnce() -> Result<T>) -> T {
    contain(body).unwrap_or_else(|error| {
        fail(&error);
        failed
    })
}

/// Runs `body` and turns a panic into an error of its own.
pub(crate) fn contain<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    quiet_panics();
    panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| Err(panicked(payload)))
}

fn panicked(payload: Box<dyn Any + Send>) -> Error {
    let text = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text.as_str(),
        _ => "no message",
    };
    let place = PANIC_PLACE.try_with(|place| place.take()).unwrap_or_default();
    let error = Error::new(ErrorCode::Panic, format!("panic at {place}: {text}"));
    // A payload that panics when it is dropped would leave the library.
    std::mem::forget(payload);
    error
}

/// The standard library prints each panic to stderr. In this library it is linked in and private, so the
/// hook of the host program is untouched.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
            let _ = PANIC_PLACE.try_with(|last| last.try_borrow_mut().map(|mut last| *last = place));
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn message() -> String {
        last_failure(|failure| {
            // SAFETY: message() is NUL-terminated and this thread does not fail in between.
            unsafe { CStr::from_ptr(failure.message()) }.to_str().unwrap().to_owned()
        })
    }

    #[test]
    fn a_panic_becomes_a_status_and_says_where() {
        assert_eq!(call(|| panic!("number {}", 7)), ErrorCode::Panic.number());
        assert!(message().starts_with("panic at ") && message().ends_with(": number 7"), "{}", message());
        assert!(message().contains("guard.rs:"), "{}", message());
        assert_eq!(value(-3, || panic!("a literal")), -3);
        assert!(message().ends_with(": a literal"), "{}", message());
        assert_eq!(call(|| panic::panic_any(5_u8)), ErrorCode::Panic.number());
        assert!(message().ends_with(": no message"), "{}", message());
    }

    #[test]
    fn a_panic_prints_nothing() {
        const CHILD: &str = "WATCH_TEST_PANIC_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let status = call(|| panic!("words that nobody may see"));
            eprintln!("status {status}");
            return;
        }
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "guard::tests::a_panic_prints_nothing", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&child.stderr);
        assert!(stderr.contains(&format!("status {}", ErrorCode::Panic.number())), "{stderr}");
        assert!(!stderr.contains("words that nobody") && !stderr.contains("panicked"), "{stderr}");
    }

    #[test]
    fn the_last_failure_stays_until_the_next_one_and_belongs_to_its_thread() {
        assert_eq!(call(|| Err(Error::compacted(3, 9))), ErrorCode::Compacted.number());
        assert_eq!(call(|| Ok(())), 0);
        assert_eq!(last_failure(|f| (f.status, f.compact_revision, f.current_revision)), (-20, 9, 0));
        std::thread::spawn(|| assert_eq!((last_failure(|f| f.status), message()), (0, String::new())))
            .join()
            .unwrap();
        assert_eq!(call(|| Err(Error::future_revision(12, 10))), ErrorCode::FutureRevision.number());
        assert_eq!(last_failure(|f| (f.compact_revision, f.current_revision)), (0, 10));
    }

    #[test]
    fn a_message_is_one_line_without_nul() {
        call(|| Err(Error::new(ErrorCode::Io, "a\0b\nc")));
        assert_eq!(message(), "a b c");
    }
}
