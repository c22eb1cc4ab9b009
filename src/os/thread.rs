//! Threads of the library: named, with every signal blocked, so that the host's handlers run on its own threads.
//! Joining from the thread itself is a no-op, since the last owner of a store may be one of its threads.
#![allow(unsafe_code)]

use std::io;
use std::thread::{Builder, JoinHandle};

/// A running thread.
pub struct Thread(JoinHandle<()>);

/// Starts a thread.
pub fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<Thread> {
    #[cfg(test)]
    if refusal::is_on() {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    let _mask = BlockSignals::new();
    Builder::new().name(name.into()).spawn(body).map(Thread)
}

impl Thread {
    /// Waits for the thread to end, unless it is the calling one. A panic in it has been contained already.
    pub fn join(self) {
        if !self.is_current() {
            let _ = self.0.join();
        }
    }

    /// Whether the caller is this thread.
    pub fn is_current(&self) -> bool {
        self.0.thread().id() == std::thread::current().id()
    }
}

/// Blocks all signals in the calling thread, whose mask a new thread inherits, until it is dropped.
struct BlockSignals(libc::sigset_t);

impl BlockSignals {
    fn new() -> Self {
        // SAFETY: both sets live on this stack and are filled in by the calls that get them.
        unsafe {
            let mut all = std::mem::zeroed();
            let mut before = std::mem::zeroed();
            libc::sigfillset(&mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
            Self(before)
        }
    }
}

impl Drop for BlockSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled in by pthread_sigmask in `new`.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.0, std::ptr::null_mut());
        }
    }
}

/// Lets no thread start from the calling one, so that a test is the same each time.
#[cfg(test)]
pub mod refusal {
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<bool> = const { Cell::new(false) };
    }

    pub fn is_on() -> bool {
        ON.get()
    }

    pub fn set(on: bool) {
        ON.set(on);
    }
}
