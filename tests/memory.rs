//! What watches keep in memory, counted by the allocator: a slow watch is a position and not a queue, what was
//! delivered is let go, and a put does not know how many watch.
#![allow(unsafe_code)] // the allocator

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::*;
use libwatch::{CreateRequest, Durability, PutRequest, Store, StoreOptions, Stream, StreamOptions, limits};

/// The system's allocator with a count of what is in use.
struct Counting;

static BYTES: AtomicI64 = AtomicI64::new(0);
thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    BYTES.fetch_add(bytes, Ordering::SeqCst);
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + u64::from(bytes > 0)));
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller keeps to the contract of this function, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above; the memory came from there.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One measurement at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bytes() -> i64 {
    BYTES.load(Ordering::SeqCst)
}

/// A store in files, whose log is no memory of ours, and no thread of its own.
fn store(folder: &tempfile::TempDir) -> Store {
    let durability = Durability::None;
    Store::open(folder.path(), &StoreOptions { durability, ..StoreOptions::default() }).unwrap()
}

/// Writes `count` revisions of one key, and has the tailer offer them to all watches.
fn write(store: &Store, probe: &Stream, count: usize) {
    for i in 0..count {
        put(store, "a", "some value");
        if i % 1000 == 999 {
            settle(probe);
        }
    }
    settle(probe);
}

/// What happens to come from the test itself or the standard library.
const SLACK: i64 = 16 << 10;

/// etcd 8.8, #16839, #2658: a slow watch costs a position
#[test]
fn etcd_16839_a_stopped_consumer_keeps_no_more_however_far_it_falls_behind() {
    let _alone = alone();
    watched(|| {
        let folder = folder();
        let store = store(&folder);
        let probe = stream(&store);
        let stopped: Vec<Stream> = (0..10).map(|_| stream(&store)).collect();
        for stream in &stopped {
            stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, 0) }).unwrap();
            stream.create(&watch((b"a", b""), 0)).unwrap();
        }
        // Their rings are full from here on.
        write(&store, &probe, limits::RING_ENTRIES_MAX + 100);
        let full = bytes();
        write(&store, &probe, 100_000);
        let kept = bytes() - full;
        assert!(kept < SLACK, "10 streams keep {kept} bytes more for 100,000 revisions");
        assert_eq!(store.stats().unwrap().watch_unsynced_count, 20);
        // The position is good: nothing is missing.
        let mut next = [2; 2];
        while next != [store.revision() + 1; 2] {
            let response = take(&stopped[0]);
            for event in response.events() {
                let next = &mut next[response.watch_id() as usize - 1];
                assert_eq!(event.kv.mod_revision, *next);
                *next += 1;
            }
        }
    });
}

/// etcd 8.8, #17563: what catching up took is given back
#[test]
fn etcd_17563_nothing_of_a_catch_up_is_kept_when_it_is_over() {
    let _alone = alone();
    watched(|| {
        let folder = folder();
        let store = store(&folder);
        let stream = store.stream(&StreamOptions { batch_revisions: 100, batch_bytes: 0 }).unwrap();
        settle(&stream);
        (0..100_000).for_each(|_| _ = put(&store, "a", "some value"));
        let before = bytes();
        for round in 0..5 {
            let ids: Vec<i64> = (0..20).map(|_| stream.create(&watch(ALL, 50_000)).unwrap()).collect();
            let responses = settle(&stream);
            assert_eq!(responses.iter().map(libwatch::Response::len).sum::<usize>(), 20 * 50_002);
            drop(responses);
            ids.iter().for_each(|id| stream.cancel(*id).unwrap());
            settle(&stream);
            let kept = bytes() - before;
            // The queue of responses and the tables of watches keep the room that they had, once.
            assert!(kept < 1 << 20, "round {round}: {kept} bytes are kept");
        }
    });
}

/// etcd 8.3: #18109, #19064: a put does not know who watches
#[test]
fn etcd_18109_a_put_allocates_the_same_for_no_watch_and_for_ten_thousand() {
    let _alone = alone();
    watched(|| {
        let folder = folder();
        let store = store(&folder);
        let measured = || {
            let before = ALLOCATIONS.get();
            for _ in 0..500 {
                store.put(&PutRequest { key: b"a", value: b"some value", ..Default::default() }).unwrap();
            }
            ALLOCATIONS.get() - before
        };
        measured();
        let stream = stream(&store);
        let mut counts = vec![measured()];
        for watches in [1, 9_999] {
            for i in 0..watches {
                let key = format!("{i}");
                let range: (&[u8], &[u8]) = if i % 3 == 0 { ALL } else { (key.as_bytes(), b"") };
                stream.create(&watch(range, 0)).unwrap();
            }
            counts.push(measured());
        }
        assert_eq!(counts, [counts[0]; 3]);
        assert!(counts[0] <= 500 * 8, "{} allocations for 500 puts", counts[0]);
    });
}

/// etcd 8.8: #11906: an idle stream holds no buffer
#[test]
fn etcd_11906_an_idle_stream_and_an_idle_watch_are_small() {
    let _alone = alone();
    watched(|| {
        let store = memory();
        let before = bytes();
        let streams: Vec<Stream> = (0..200).map(|_| stream(&store)).collect();
        let each = (bytes() - before) / 200;
        assert!(each < 2048, "{each} bytes for a stream");
        // Also after it was busy once.
        for stream in &streams[..20] {
            stream.create(&watch(ALL, 0)).unwrap();
        }
        (0..5000).for_each(|_| _ = put(&store, "a", "x"));
        let log = store.stats().unwrap().log_bytes as i64;
        for stream in &streams[..20] {
            settle(stream);
        }
        let watches = bytes();
        for i in 0..20_000 {
            streams[30].create(&watch((format!("{i:06}").as_bytes(), b""), 0)).unwrap();
        }
        let each = (bytes() - watches) / 20_000;
        assert!(each < 700, "{each} bytes for a watch");
        let idle = (watches - before - log) / 200;
        assert!(idle < 4096, "{idle} bytes for a stream that was busy once");
    });
}
