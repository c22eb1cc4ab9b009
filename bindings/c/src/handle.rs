//! What stands behind an opaque pointer. A slot is memory that is never given back: closing empties it, and
//! it waits in a pool to be used again. So a call that comes too late, or from inside the handle's own
//! callback, finds a word that says "closed" instead of foreign memory, and the last call to leave drops the
//! content.
//!
//! `state` is a generation and a phase: open -> closing (nobody may enter) -> vacant (nobody is inside).

use std::cell::{Cell, UnsafeCell};
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

use libwatch::{Error, ErrorCode, Result};

/// An opaque type of the header.
pub(crate) trait Handle: Sized + 'static {
    type Content: Send + Sync + 'static;
    const NAME: &'static str;
    /// First word of each slot of this type.
    const MAGIC: u64;
    /// Counters over which concurrent callers spread; a power of two.
    const STRIPES: usize;
    fn pool() -> &'static Pool<Self>;
}

const VACANT: u64 = 0;
const OPEN: u64 = 1;
const CLOSING: u64 = 2;
const PHASE: u64 = 3;
const GENERATION: u64 = 4;

/// Slots that wait before the oldest is used again, so that a late call meets its own closed slot.
const QUARANTINE: usize = 64;

#[repr(align(64))]
struct Stripe(AtomicU64);

/// The memory behind a handle.
#[repr(C)]
pub(crate) struct Slot<H: Handle> {
    magic: u64,
    state: AtomicU64,
    inside: Box<[Stripe]>,
    content: UnsafeCell<Option<H::Content>>,
}

// SAFETY: content is written only in the phase vacant by the one thread that took the slot from the pool, and
// taken only by the one thread that moved the slot from closing to vacant, when nobody is inside.
unsafe impl<H: Handle> Sync for Slot<H> {}

/// The closed slots of one type.
pub(crate) struct Pool<H: Handle> {
    vacant: Mutex<VecDeque<&'static Slot<H>>>,
    kind: PhantomData<H>,
}

impl<H: Handle> Pool<H> {
    pub(crate) const fn new() -> Self {
        Self { vacant: Mutex::new(VecDeque::new()), kind: PhantomData }
    }

    /// An open slot that holds `content`.
    pub(crate) fn open(&self, content: H::Content) -> &'static Slot<H> {
        let slot = self.take().unwrap_or_else(|| Box::leak(Box::new(Slot::vacant())));
        // SAFETY: the slot is vacant and only this thread has it; see the implementation of Sync.
        unsafe { *slot.content.get() = Some(content) };
        let generation = (slot.state.load(SeqCst) & !PHASE) + GENERATION;
        slot.state.store(generation | OPEN, SeqCst);
        slot
    }

    fn take(&self) -> Option<&'static Slot<H>> {
        let mut vacant = self.vacant.lock().unwrap_or_else(PoisonError::into_inner);
        if vacant.len() > QUARANTINE { vacant.pop_front() } else { None }
    }

    fn give(&self, slot: &'static Slot<H>) {
        self.vacant.lock().unwrap_or_else(PoisonError::into_inner).push_back(slot);
    }
}

impl<H: Handle> Slot<H> {
    fn vacant() -> Self {
        let inside = (0..H::STRIPES).map(|_| Stripe(AtomicU64::new(0))).collect();
        Self { magic: H::MAGIC, state: AtomicU64::new(VACANT), inside, content: UnsafeCell::new(None) }
    }

    /// Whether this memory is a slot of type `H` at all.
    pub(crate) fn has_magic(&self) -> bool {
        self.magic == H::MAGIC
    }

    /// Enters for the length of one call. The content stays until the last one inside has left.
    pub(crate) fn enter(&'static self) -> Result<Inside<H>> {
        let stripe = &self.inside[stripe_of_this_thread() & (self.inside.len() - 1)];
        stripe.0.fetch_add(1, SeqCst);
        let inside = Inside { slot: self, stripe };
        if self.state.load(SeqCst) & PHASE == OPEN {
            return Ok(inside);
        }
        Err(Error::new(ErrorCode::Closed, format!("this {} was closed", H::NAME)))
    }

    /// Lets nobody in from now on. The content goes when the last one inside leaves.
    fn shut(&self) {
        let state = self.state.load(SeqCst);
        if state & PHASE == OPEN {
            // When another thread was faster the slot is shut all the same.
            let _ = self.state.compare_exchange(state, (state & !PHASE) | CLOSING, SeqCst, SeqCst);
        }
    }

    fn vacate_if_left(&'static self) {
        let state = self.state.load(SeqCst);
        // In the phase closing a counter that is zero stays zero for those who saw the slot open.
        if state & PHASE != CLOSING || self.inside.iter().any(|stripe| stripe.0.load(SeqCst) != 0) {
            return;
        }
        let vacant = (state & !PHASE) | VACANT;
        // The generation in the word keeps a thread that slept here from emptying a later content.
        if self.state.compare_exchange(state, vacant, SeqCst, SeqCst).is_ok() {
            // SAFETY: nobody is inside, nobody can enter, and only one thread makes this exchange.
            let content = unsafe { &mut *self.content.get() }.take();
            drop(content);
            H::pool().give(self);
        }
    }
}

/// A call that is inside a handle.
pub(crate) struct Inside<H: Handle> {
    slot: &'static Slot<H>,
    stripe: &'static Stripe,
}

impl<H: Handle> Inside<H> {
    /// Closes the handle for everyone else; its content goes when the last call has left.
    pub(crate) fn shut(&self) {
        self.slot.shut();
    }
}

impl<H: Handle> Deref for Inside<H> {
    type Target = H::Content;

    fn deref(&self) -> &H::Content {
        // SAFETY: this call was counted before it saw the slot open, so the content is not taken before it
        // leaves.
        let content = unsafe { &*self.slot.content.get() };
        content.as_ref().expect("an open slot has its content")
    }
}

impl<H: Handle> Drop for Inside<H> {
    fn drop(&mut self) {
        self.stripe.0.fetch_sub(1, SeqCst);
        self.slot.vacate_if_left();
    }
}

fn stripe_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: Cell<usize> = const { Cell::new(usize::MAX) });
    let mine = MINE.get();
    if mine != usize::MAX {
        return mine;
    }
    let mine = NEXT.fetch_add(1, SeqCst) & (usize::MAX >> 1);
    MINE.set(mine);
    mine
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Counter;
    static POOL: Pool<Counter> = Pool::new();

    impl Handle for Counter {
        type Content = Arc<AtomicUsize>;
        const NAME: &'static str = "counter";
        const MAGIC: u64 = 7;
        const STRIPES: usize = 4;
        fn pool() -> &'static Pool<Self> {
            &POOL
        }
    }

    #[test]
    fn the_content_goes_with_the_last_call_and_late_calls_are_told() {
        let content = Arc::new(AtomicUsize::new(0));
        let slot = POOL.open(content.clone());
        let (first, second) = (slot.enter().unwrap(), slot.enter().unwrap());
        first.shut();
        second.shut();
        assert_eq!(slot.enter().err().map(|error| error.code()), Some(ErrorCode::Closed));
        drop(first);
        assert_eq!(second.load(SeqCst), 0);
        assert_eq!(Arc::strong_count(&content), 2);
        drop(second);
        assert_eq!(Arc::strong_count(&content), 1);
        assert_eq!(slot.enter().err().map(|error| error.code()), Some(ErrorCode::Closed));
    }

    #[test]
    fn calls_from_many_threads_see_the_content_or_closed() {
        for _ in 0..200 {
            let content = Arc::new(AtomicUsize::new(0));
            let slot = POOL.open(content.clone());
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        while let Ok(inside) = slot.enter() {
                            inside.fetch_add(1, SeqCst);
                        }
                    });
                }
                slot.enter().unwrap().shut();
            });
            assert_eq!(Arc::strong_count(&content), 1);
        }
    }
}
