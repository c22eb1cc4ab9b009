//! Waking sleepers: [`EventCount`] for threads of this process, [`EventFd`] for whoever has an event loop.
//!
//! Invariant of the unsafe code: a system call gets the address of a word that the borrowed `EventCount`
//! owns, structures that live on the stack of the call, and a descriptor that the `EventFd` owns.
//!
//! Invariant of the protocol: a waiter announces itself before it looks at the condition for the last time, a
//! notifier changes the condition before it looks for waiters, and a SeqCst fence stands between the two
//! steps on both sides. So one of them sees the other, and no wake-up is lost.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Instant;

use crate::error::{Error, Result};
use crate::sync::{AtomicU32, Ordering, fence};

/// Set in the word as long as somebody announced itself since the last `notify_all`.
const ARMED: u32 = 1;
/// One step of the sequence number, which fills the rest of the word.
const STEP: u32 = 2;

/// Threads that wait for a condition that lives elsewhere. Notifying costs a fence and a load when nobody
/// waits.
///
/// ```text
/// waiter:   loop { let ticket = event.prepare();
///                  if condition() { event.cancel(ticket); break }
///                  if !event.wait(ticket, deadline) { break /* too late */ } }
/// notifier: make_condition_true(); event.notify_all();
/// ```
#[derive(Debug, Default)]
pub struct EventCount {
    word: AtomicU32,
    waiters: AtomicU32,
    #[cfg(loom)]
    queue: model::Queue,
}

/// A waiter's announcement. It goes into [`EventCount::wait`] or [`EventCount::cancel`] of the same event;
/// one that is dropped costs every later `notify_one` a system call, and loses nothing.
#[derive(Debug)]
#[must_use]
pub struct Ticket(u32);

impl EventCount {
    /// An event that nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces a waiter. Look at the condition after this, then wait or cancel.
    pub fn prepare(&self) -> Ticket {
        self.waiters.fetch_add(1, Ordering::Relaxed);
        let word = self.word.fetch_or(ARMED, Ordering::Acquire);
        fence(Ordering::SeqCst);
        Ticket(word | ARMED)
    }

    /// Sleeps until a notification that came after the ticket; it may return without one. False: the deadline
    /// passed first. No deadline: for ever.
    pub fn wait(&self, ticket: Ticket, deadline: Option<Instant>) -> bool {
        let notified = self.sleep(ticket.0, deadline) || self.is_past(ticket.0);
        self.waiters.fetch_sub(1, Ordering::Relaxed);
        notified
    }

    /// Takes the announcement back.
    pub fn cancel(&self, ticket: Ticket) {
        let Ticket(_) = ticket;
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }

    /// Wakes at least one waiter if there is any. Call it after the condition has been made true.
    pub fn notify_one(&self) {
        fence(Ordering::SeqCst);
        if self.word.load(Ordering::Relaxed) & ARMED == 0 || self.waiters.load(Ordering::Relaxed) == 0 {
            return;
        }
        self.word.fetch_add(STEP, Ordering::Release);
        self.wake(1);
    }

    /// Wakes every waiter. Call it after the condition has been made true. Costs no system call while those
    /// woken before are still on their way.
    pub fn notify_all(&self) {
        fence(Ordering::SeqCst);
        let word = self.word.load(Ordering::Relaxed);
        if word & ARMED != 0 {
            self.disarm(word);
        }
    }

    #[cold]
    fn disarm(&self, mut word: u32) {
        while word & ARMED != 0 {
            let next = word.wrapping_add(STEP) & !ARMED;
            match self.word.compare_exchange_weak(word, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return self.wake(i32::MAX),
                Err(now) => word = now,
            }
        }
    }

    fn is_past(&self, word: u32) -> bool {
        self.word.load(Ordering::Acquire) != word
    }
}

#[cfg(not(loom))]
impl EventCount {
    /// Sleeps while the word is `word`; false when the deadline passed. The sequence number comes round after
    /// 2^31 notifications; a waiter that is held up for exactly so many sleeps until the next one.
    fn sleep(&self, word: u32, deadline: Option<Instant>) -> bool {
        let until = deadline.map(monotonic);
        let until = until.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        while !self.is_past(word) {
            // SAFETY: the word and the time are borrowed for the call; the kernel reads both and keeps
            // neither.
            let answer = unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    self.word.as_ptr(),
                    libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
                    word,
                    until,
                    std::ptr::null::<u32>(),
                    libc::FUTEX_BITSET_MATCH_ANY,
                )
            };
            let errno = if answer == 0 { 0 } else { last_errno() };
            if errno == libc::ETIMEDOUT {
                return false;
            }
            // A sandbox may forbid the call; then this is a slow poll instead of a sleep.
            if errno != 0 && errno != libc::EAGAIN && errno != libc::EINTR {
                std::thread::sleep(std::time::Duration::from_millis(1));
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return false;
                }
            }
        }
        true
    }

    fn wake(&self, count: i32) {
        // SAFETY: the kernel uses the address of the word as a name and reads nothing through it.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                count,
            );
        }
    }
}

/// `deadline` on the kernel's monotonic clock, which `Instant` does not show.
#[cfg(not(loom))]
fn monotonic(deadline: Instant) -> libc::timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec into `now`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    let nanos = now.tv_nsec + i64::from(left.subsec_nanos());
    let seconds = i64::try_from(left.as_secs()).unwrap_or(i64::MAX);
    libc::timespec {
        tv_sec: now.tv_sec.saturating_add(seconds).saturating_add(nanos / 1_000_000_000),
        tv_nsec: nanos % 1_000_000_000,
    }
}

/// The futex as the model checker can run it: comparing and queueing are one step under a lock, as in the
/// kernel.
#[cfg(loom)]
mod model {
    use super::{EventCount, Instant};
    use crate::sync::{Condvar, Mutex, lock, wait};

    #[derive(Debug, Default)]
    pub struct Queue {
        bucket: Mutex<()>,
        sleepers: Condvar,
    }

    impl EventCount {
        pub(super) fn sleep(&self, word: u32, _deadline: Option<Instant>) -> bool {
            let mut bucket = lock(&self.queue.bucket);
            while !self.is_past(word) {
                bucket = wait(&self.queue.sleepers, bucket);
            }
            true
        }

        pub(super) fn wake(&self, count: i32) {
            let _bucket = lock(&self.queue.bucket);
            match count {
                1 => self.queue.sleepers.notify_one(),
                _ => self.queue.sleepers.notify_all(),
            }
        }
    }
}

/// An eventfd(2) for `poll` and its kin: readable from [`raise`](Self::raise) to [`clear`](Self::clear).
/// Never one of the three standard descriptors, closed on `exec` and on drop.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    /// A descriptor that is not readable yet.
    pub fn new() -> Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        let mut fd = owned(fd)?;
        if fd.as_raw_fd() < 3 {
            // SAFETY: takes no pointers; the descriptor is open.
            fd = owned(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) })?;
        }
        Ok(Self(fd))
    }

    /// Makes it readable. Raising twice is raising once.
    pub fn raise(&self) -> Result<()> {
        let one = 1u64;
        // SAFETY: the kernel reads eight bytes of `one`.
        let written = unsafe { libc::write(self.as_raw_fd(), (&raw const one).cast(), 8) };
        // EAGAIN is a counter that is full, so readable.
        if written == 8 || last_errno() == libc::EAGAIN { Ok(()) } else { Err(failed("raise an eventfd")) }
    }

    /// Makes it not readable and says whether it was. Look for work after this, not before.
    pub fn clear(&self) -> Result<bool> {
        let mut count = 0u64;
        // SAFETY: the kernel writes eight bytes into `count`.
        let read = unsafe { libc::read(self.as_raw_fd(), (&raw mut count).cast(), 8) };
        match read {
            8 => Ok(true),
            _ if last_errno() == libc::EAGAIN => Ok(false),
            _ => Err(failed("clear an eventfd")),
        }
    }
}

impl AsRawFd for EventFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

fn owned(fd: RawFd) -> Result<OwnedFd> {
    if fd < 0 {
        return Err(failed("create an eventfd"));
    }
    // SAFETY: the kernel has just given out this descriptor and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn failed(doing: &str) -> Error {
    Error::io(doing, &std::io::Error::last_os_error())
}

fn last_errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// Runs `body` beside the test, so that a lost wake-up fails the test instead of hanging it.
    fn spawn(body: impl FnOnce() + Send + 'static) -> Receiver<()> {
        let (done, finished) = channel();
        thread::spawn(move || {
            body();
            let _ = done.send(());
        });
        finished
    }

    fn wait_until(event: &EventCount, condition: impl Fn() -> bool) {
        loop {
            let ticket = event.prepare();
            if condition() {
                return event.cancel(ticket);
            }
            event.wait(ticket, None);
        }
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        let event = EventCount::new();
        let start = Instant::now();
        let deadline = start + Duration::from_millis(20);
        assert!(!event.wait(event.prepare(), Some(deadline)));
        assert!(Instant::now() >= deadline);
        assert!(!event.wait(event.prepare(), Some(start)));
        assert_eq!(event.waiters.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_notification_after_the_ticket_is_not_slept_through() {
        let event = EventCount::new();
        for notify in [EventCount::notify_one, EventCount::notify_all] {
            let ticket = event.prepare();
            notify(&event);
            assert!(event.wait(ticket, None));
        }
        event.cancel(event.prepare());
        assert_eq!(event.waiters.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn notifying_nobody_changes_nothing() {
        let event = EventCount::new();
        let word = || event.word.load(Ordering::Relaxed);
        event.notify_all();
        event.notify_one();
        assert_eq!(word(), 0);
        event.cancel(event.prepare());
        event.notify_one();
        assert_eq!(word(), ARMED);
        event.notify_all();
        event.notify_all();
        assert_eq!(word(), STEP);
    }

    #[test]
    fn two_threads_hand_a_number_back_and_forth() {
        let shared = Arc::new((EventCount::new(), AtomicUsize::new(0)));
        let finished = [0, 1].map(|side| {
            let shared = Arc::clone(&shared);
            spawn(move || {
                let (event, turn) = &*shared;
                for round in 0..5000 {
                    wait_until(event, || turn.load(Ordering::Relaxed) == 2 * round + side);
                    turn.fetch_add(1, Ordering::Relaxed);
                    if round % 2 == 0 { event.notify_all() } else { event.notify_one() }
                }
            })
        });
        for finished in finished {
            finished.recv_timeout(PATIENCE).expect("a wake-up was lost");
        }
    }

    #[test]
    fn every_permit_finds_its_waiter() {
        let shared = Arc::new((EventCount::new(), AtomicUsize::new(0)));
        let take = |permits: &AtomicUsize| {
            let less = |count: usize| count.checked_sub(1);
            permits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
        };
        let finished = [(); 4].map(|()| {
            let shared = Arc::clone(&shared);
            spawn(move || (0..2000).for_each(|_| wait_until(&shared.0, || take(&shared.1))))
        });
        for _ in 0..8000 {
            shared.1.fetch_add(1, Ordering::Relaxed);
            shared.0.notify_one();
        }
        for finished in finished {
            finished.recv_timeout(PATIENCE).expect("a wake-up was lost");
        }
    }

    #[test]
    fn an_eventfd_is_readable_from_raise_to_clear() {
        let fd = EventFd::new().unwrap();
        let readable = || {
            let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one pollfd that lives on this stack.
            unsafe { libc::poll(&mut poll, 1, 0) == 1 }
        };
        assert!(fd.as_raw_fd() >= 3 && !readable());
        assert_eq!(fd.clear(), Ok(false));
        fd.raise().unwrap();
        fd.raise().unwrap();
        assert!(readable());
        assert_eq!(fd.clear(), Ok(true));
        assert!(!readable());
    }

    #[test]
    fn an_eventfd_is_closed_on_exec_and_stays_raised_when_full() {
        let fd = EventFd::new().unwrap();
        let full = u64::MAX - 1;
        // SAFETY: takes no pointers, then eight bytes of `full`.
        unsafe {
            assert_eq!(libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
            assert_eq!(libc::write(fd.as_raw_fd(), (&raw const full).cast(), 8), 8);
        }
        fd.raise().unwrap();
        assert_eq!(fd.clear(), Ok(true));
    }
}
