//! What one does with a store as a whole: check it, copy it, repair it, write it out and read it back. Each is a
//! function here, a verb of the command `watchctl`, and, where programs need it, a call of the C library and of the
//! Python package.

mod backup;
mod dump;
mod load;
mod repair;
mod verify;

pub use backup::{BackupReport, backup};
pub use dump::{DumpChange, DumpItem, dump};
pub use load::Loader;
pub use repair::{RepairReport, repair};
pub use verify::{Damage, VerifyReport, verify};

/// How far long work is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, as far as is known; `done` may pass it a little.
    pub total: u64,
}

/// Is told now and then how far the work is, on the thread that asked for it.
pub type ProgressFn<'a> = &'a mut dyn FnMut(Progress);

/// Bytes between two calls of a [`ProgressFn`].
const STEP_BYTES: u64 = 1 << 20;

/// Thins out reports to one for each step.
struct Steps<'a> {
    progress: ProgressFn<'a>,
    total: u64,
    before: u64,
    next: u64,
}

impl<'a> Steps<'a> {
    fn new(total: u64, progress: ProgressFn<'a>) -> Self {
        Self { progress, total, before: 0, next: 0 }
    }

    /// Bytes of this phase that are done.
    fn done(&mut self, done: u64) {
        let done = self.before + done;
        if done >= self.next {
            self.next = done + STEP_BYTES;
            (self.progress)(Progress { done, total: self.total });
        }
    }

    /// Begins another phase, counted from 0 again.
    fn phase(&mut self, before: u64) {
        self.before = before;
    }

    fn finish(&mut self) {
        (self.progress)(Progress { done: self.total, total: self.total });
    }
}
