//! Notices a `fork`: the child counts one generation further than its parent, so a handle can tell that it
//! was opened before. The child also closes the lock descriptors it inherited, because an open file
//! description lock lives until its last copy is closed and would otherwise outlive a killed parent.
#![allow(unsafe_code)]

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU64, Ordering};

static GENERATION: AtomicU64 = AtomicU64::new(0);
static DESCRIPTORS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
static REGISTER: Once = Once::new();

const FREE: i32 = -1;

/// One descriptor to close in a child; slots are reused and never freed, so the handler may walk them at any
/// time.
struct Slot {
    fd: AtomicI32,
    next: AtomicPtr<Slot>,
}

/// Forks between the first call in an ancestor and now. Never blocks.
pub fn generation() -> u64 {
    REGISTER.call_once(|| {
        // SAFETY: the handler only stores to atomics and calls close, both allowed in a forked child.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    GENERATION.load(Ordering::Relaxed)
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    let mut at = DESCRIPTORS.load(Ordering::Acquire);
    while !at.is_null() {
        // SAFETY: slots are leaked boxes that are only ever linked in, so every reachable one is live.
        let slot = unsafe { &*at };
        let fd = slot.fd.swap(FREE, Ordering::AcqRel);
        if fd != FREE {
            // SAFETY: the swap took the only claim on this descriptor.
            unsafe { libc::close(fd) };
        }
        at = slot.next.load(Ordering::Acquire);
    }
}

/// A descriptor that a forked child closes at once. Dropping it closes it in the process that owns it.
pub struct ParentOnly(&'static Slot);

impl ParentOnly {
    /// Takes the descriptor.
    pub fn new(fd: OwnedFd) -> Self {
        generation();
        let fd = fd.into_raw_fd();
        let mut at = DESCRIPTORS.load(Ordering::Acquire);
        while !at.is_null() {
            // SAFETY: as in `in_child`.
            let slot: &'static Slot = unsafe { &*at };
            if slot.fd.compare_exchange(FREE, fd, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return Self(slot);
            }
            at = slot.next.load(Ordering::Acquire);
        }
        let slot: &'static Slot =
            Box::leak(Box::new(Slot { fd: AtomicI32::new(fd), next: AtomicPtr::new(ptr::null_mut()) }));
        let new = ptr::from_ref(slot).cast_mut();
        let mut head = DESCRIPTORS.load(Ordering::Acquire);
        loop {
            slot.next.store(head, Ordering::Relaxed);
            match DESCRIPTORS.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Self(slot),
                Err(now) => head = now,
            }
        }
    }

    /// The descriptor, or -1 in a forked child.
    pub fn raw(&self) -> i32 {
        self.0.fd.load(Ordering::Acquire)
    }
}

impl Drop for ParentOnly {
    fn drop(&mut self) {
        let fd = self.0.fd.swap(FREE, Ordering::AcqRel);
        if fd != FREE {
            // SAFETY: the swap took the only claim on this descriptor, which `new` got as an owned one.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_child_counts_one_further_and_closes_the_descriptor() {
        let before = generation();
        let guard = ParentOnly::new(File::open("/dev/null").unwrap().into());
        // SAFETY: the child only reads atomics and leaves with _exit.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let good = generation() == before + 1 && guard.raw() == FREE;
            // SAFETY: ends the child without running anything of the test harness.
            unsafe { libc::_exit(if good { 0 } else { 1 }) };
        }
        let mut status = -1;
        // SAFETY: waits for the child made above.
        unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!(status, 0);
        assert_eq!(generation(), before);
        assert!(guard.raw() >= 0);
    }
}
