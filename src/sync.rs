//! The one door to shared memory and threads: std's own, or loom's when the model checker schedules them
//! (`--cfg loom`). Concurrent code takes these names from here and nowhere else.

#[allow(unused_imports, reason = "offers the whole set, so that new code does not go round it")]
#[cfg(not(loom))]
pub use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread,
};

#[allow(unused_imports, reason = "offers the whole set, so that new code does not go round it")]
#[cfg(loom)]
pub use loom::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
    },
    thread,
};

use std::sync::PoisonError;

/// Locks, whatever a panic left behind: a contained panic of one caller must not take the others down, so
/// whoever changes what a mutex guards keeps it valid at every step.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on `condvar` with the lock given up meanwhile; may return without a reason. As forgiving as
/// [`lock`].
pub fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_poisoned_mutex_still_opens() {
        let mutex = Arc::new(Mutex::new(1));
        let other = Arc::clone(&mutex);
        let outcome = thread::spawn(move || {
            let _guard = lock(&other);
            std::panic::resume_unwind(Box::new(()));
        })
        .join();
        assert!(outcome.is_err() && mutex.is_poisoned());
        *lock(&mutex) += 1;
        assert_eq!(*lock(&mutex), 2);
    }
}
