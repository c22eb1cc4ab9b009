//! Watches against a whole etcd: compaction at a delete, restarts, load by readers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::common::*;
use libwatch::{CreateRequest, ErrorCode, RangeRequest, Response, Store, Stream};

/// How often in a row a watch is told something while readers list everything.
const ROUNDS: usize = 10;

/// Ends the readers also where an assertion fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Ten readers list 5 MB again and again and stop only when the watch has been told everything: a watch that
/// they hold up would wait for ever. etcd holds its delay against a clock.
fn told_while_readers_list(progress_interval_ms: u32, mut round: impl FnMut(&Store, &Stream)) {
    let store = memory_with(|options| options.progress_interval_ms = progress_interval_ms);
    let value = vec![b'x'; 50_000];
    (0..100).for_each(|i| _ = put(&store, format!("data/{i:03}"), &value));
    let stream = stream(&store);
    let told = AtomicBool::new(false);
    let lists: Vec<AtomicU64> = (0..10).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for listed in &lists {
            let (store, told) = (&store, &told);
            scope.spawn(move || {
                while !told.load(Ordering::Acquire) {
                    let all = RangeRequest { key: ALL.0, range_end: ALL.1, ..Default::default() };
                    let bytes: usize =
                        store.range(&all).unwrap().iter().map(|kv| kv.value.to_vec().len()).sum();
                    assert!(bytes >= 5_000_000);
                    listed.fetch_add(1, Ordering::Release);
                }
            });
        }
        let _stop = Stop(&told);
        until(|| lists.iter().all(|listed| listed.load(Ordering::Acquire) > 0));
        (0..ROUNDS).for_each(|_| round(&store, &stream));
    });
}

/// etcd 12.2, 1.13: periodic progress goes on while readers list everything.
#[test]
fn periodic_progress_comes_while_readers_list_everything() {
    watched(|| {
        let mut begun = false;
        told_while_readers_list(1, |_, stream| {
            if !std::mem::replace(&mut begun, true) {
                stream.create(&CreateRequest { progress_notify: true, ..watch((b"key", b""), 0) }).unwrap();
            }
            let response = take(stream);
            assert!(response.is_progress() && response.revision() == 101);
        });
    });
}

/// etcd 12.5, 1.13
#[test]
fn requested_progress_comes_while_readers_list_everything() {
    watched(|| {
        let mut begun = false;
        told_while_readers_list(0, |_, stream| {
            if !std::mem::replace(&mut begun, true) {
                stream.create(&watch((b"key", b""), 0)).unwrap();
            }
            stream.request_progress().unwrap();
            let response = take(stream);
            assert!(response.is_progress() && response.revision() == 101);
        });
    });
}

/// etcd 8.1, 1.13
#[test]
fn events_come_while_readers_list_everything() {
    watched(|| {
        let mut begun = false;
        told_while_readers_list(0, |store, stream| {
            if !std::mem::replace(&mut begun, true) {
                stream.create(&watch((b"key", b""), 0)).unwrap();
            }
            let revision = put(store, "key", "value");
            assert_eq!(lines(&take(stream)), [format!("{revision} put key=value")]);
        });
    });
}

/// etcd 3.6, 10.3: #18089 dropped the delete.
#[test]
fn a_watch_from_a_compacted_delete_is_told_the_delete_and_the_put_behind_it() {
    watched(|| {
        for physical in [true, false] {
            let store = memory();
            for value in ["v2", "v3", "v4"] {
                put(&store, "k", value);
            }
            assert_eq!(delete(&store, "k"), 5);
            put(&store, "k", "v6");
            store.compact(5, physical).unwrap();
            let stream = stream(&store);
            stream.create(&watch((b"k", b""), 5)).unwrap();
            assert_eq!(lines(&take(&stream)), ["5 delete k", "6 put k=v6"]);
            assert!(settle(&stream).is_empty());
        }
    });
}

const CHANGES: usize = 100;
const STEP: usize = 7;

/// A hundred changes of one key; every seventh is handed over with its revision and then compacted.
fn change_and_compact(store: &Store, delete_at_step: bool, compactions: &SyncSender<i64>) -> Vec<String> {
    let mut changes = Vec::new();
    compactions.send(1).unwrap();
    for i in 1..=CHANGES {
        let step = i % STEP == 0;
        let revision = match step && delete_at_step {
            true => delete(store, "foo"),
            false => put(store, "foo", i.to_string()),
        };
        changes.push(match step && delete_at_step {
            true => format!("{revision} delete foo"),
            false => format!("{revision} put foo={i}"),
        });
        if step {
            compactions.send(revision).unwrap();
            store.compact(revision, true).unwrap();
        }
    }
    changes
}

/// For each compaction a new watch from its revision, until it has been told seven new changes.
fn follow_from_compactions(store: &Store, compactions: &Receiver<i64>) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for start in compactions {
        let stream = stream(store);
        stream.create(&watch((b"foo", b""), start)).unwrap();
        let before = told.len();
        let mut repeats_last = before > 0;
        while told.len() < before + STEP && told.len() < CHANGES {
            let response = take(&stream);
            if response.is_empty() {
                assert_eq!(response.cancel_code(), Some(ErrorCode::Compacted));
                break;
            }
            for line in lines(&response) {
                if std::mem::take(&mut repeats_last) {
                    assert_eq!(line, told[before - 1], "a watch from a compaction begins with what was last");
                } else {
                    told.push(line);
                }
            }
        }
    }
    told
}

fn nothing_is_missed_from_compaction_to_compaction(delete_at_step: bool) {
    let folder = folder();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    let (compactions, compacted) = sync_channel(0);
    let writer = {
        let store = store.clone();
        std::thread::spawn(move || change_and_compact(&store, delete_at_step, &compactions))
    };
    let told = follow_from_compactions(&store, &compacted);
    let changes = writer.join().unwrap();
    assert_eq!(changes.len(), CHANGES);
    assert_eq!(told, changes);
}

/// etcd 3.6, 10.3, 10.4
#[test]
fn watches_from_one_compacted_delete_to_the_next_miss_nothing() {
    watched(|| nothing_is_missed_from_compaction_to_compaction(true));
}

/// etcd 3.6, 10.4
#[test]
fn watches_from_one_compacted_put_to_the_next_miss_nothing() {
    watched(|| nothing_is_missed_from_compaction_to_compaction(false));
}

/// What a watch of the first key from `start` is told, as the only response.
fn told_of_first_key(store: &Store, start: i64) -> Response {
    let stream = stream(store);
    stream.create(&watch((b"/key-0", b""), start)).unwrap();
    let response = take(&stream);
    assert!(settle(&stream).is_empty());
    response
}

/// etcd 10.2, 10.3, 11.1: #19179 forgot a key with nothing left but its delete. The crash is a copy of the
/// files between the compaction's record and the end of its work.
#[test]
fn a_delete_at_a_compaction_that_a_crash_interrupted_is_told_after_opening_again() {
    watched(|| {
        for physical in [false, true] {
            let original = folder();
            let store = Store::open(original.path(), &tiny()).unwrap();
            (0..5).for_each(|i| _ = put(&store, format!("/key-{i}"), i.to_string()));
            let revision = delete(&store, "/key-0");
            assert_eq!(revision, 7);
            let expected = ["7 delete /key-0"];
            assert_eq!(lines(&told_of_first_key(&store, revision)), expected);
            store.compact(revision, physical).unwrap();
            let image = crash_image(&original);
            for _ in 0..2 {
                let again = Store::open(image.path(), &tiny()).unwrap();
                assert_eq!(again.compact_revision(), revision);
                assert_eq!(lines(&told_of_first_key(&again, revision)), expected);
                let below = told_of_first_key(&again, revision - 1);
                assert_eq!((below.cancel_code(), below.compact_revision()), (Some(ErrorCode::Compacted), 7));
            }
        }
    });
}
