//! Compaction: which revisions it takes, what it keeps, that space comes back, and that it survives
//! reopening.

mod common;

use std::collections::BTreeMap;

use common::*;
use libwatch::{DeleteRangeRequest, ErrorCode, RangeRequest, Store, StoreOptions};

/// `rounds` puts of each of `keys` keys; big enough to fill many small segments.
fn churn(store: &Store, keys: usize, rounds: usize) {
    for round in 0..rounds {
        for key in 0..keys {
            put(store, format!("key-{key:03}"), format!("{round}-{}", "v".repeat(200)));
        }
    }
}

fn log_bytes(store: &Store) -> u64 {
    store.stats().unwrap().log_bytes
}

#[test]
fn a_compaction_is_above_the_last_one_and_not_above_now() {
    // etcd 10.1
    let store = memory();
    put(&store, "a", "1");
    let error = store.compact(-1, false).expect_err("it is below every revision");
    assert_eq!((error.code(), error.compact_revision()), (ErrorCode::Compacted, 0));
    assert!(!error.message().contains("oldest"), "{error}");
    store.compact(0, false).unwrap();
    assert_eq!(refused(store.compact(0, false)), ErrorCode::Compacted);
    let error = store.compact(3, false).expect_err("it is in the future");
    assert_eq!((error.code(), error.current_revision()), (ErrorCode::FutureRevision, 2));
    store.compact(2, false).unwrap();
    let error = store.compact(2, true).expect_err("it was done");
    assert_eq!((error.code(), error.compact_revision()), (ErrorCode::Compacted, 2));
    assert_eq!(refused(store.compact(1, false)), ErrorCode::Compacted);
    assert_eq!((store.revision(), store.compact_revision()), (2, 2), "a compaction takes no revision");
}

#[test]
fn reads_below_a_compaction_fail_and_at_it_work() {
    // etcd 10.2, 10.4
    for physical in [false, true] {
        let store = memory();
        for i in 1..=5 {
            put(&store, "a", i.to_string());
        }
        store.compact(4, physical).unwrap();
        let error = store.get(b"a", 3).err().expect("it is compacted");
        assert_eq!((error.code(), error.compact_revision()), (ErrorCode::Compacted, 4));
        assert_eq!(refused(store.get(b"absent", 3)), ErrorCode::Compacted);
        let seen: Vec<_> = (4..=6).map(|revision| get(&store, "a", revision).unwrap()).collect();
        assert_eq!(seen, ["3", "4", "5"]);
    }
}

#[test]
fn a_compaction_keeps_the_state_at_its_revision() {
    // etcd 10.3
    for physical in [false, true] {
        let store = memory();
        put(&store, "old", "1"); // 2
        put(&store, "gone", "1"); // 3
        delete(&store, "gone"); // 4
        put(&store, "edge", "1"); // 5
        put(&store, "new", "1"); // 6
        delete(&store, "edge"); // 7
        put(&store, "later", "1"); // 8
        delete(&store, "old"); // 9
        store.compact(7, physical).unwrap();
        let at = |revision| {
            let request = RangeRequest { key: ALL.0, range_end: ALL.1, revision, ..Default::default() };
            keys(&store, &request)
        };
        assert_eq!([at(7), at(8), at(9)], ["new old", "later new old", "later new"]);
        let old = store.get(b"old", 8).unwrap();
        assert_eq!(pair(&old.kv(0)), ("old".into(), "1".into(), 2, 2, 1, 0));
    }
}

#[test]
fn a_delete_at_the_compaction_is_kept_for_watches_also_across_reopening() {
    // etcd 10.3, #18089 and #19179
    watched(|| {
        for physical in [false, true] {
            let folder = folder();
            let mut store = Store::open(folder.path(), &tiny()).unwrap();
            put(&store, "a", "1");
            put(&store, "b", "1");
            delete(&store, "a");
            store.compact(4, physical).unwrap();
            for round in 0..3 {
                if round > 0 {
                    store.close().unwrap();
                    store = Store::open(folder.path(), &tiny()).unwrap();
                }
                let stream = stream(&store);
                stream.create(&watch(ALL, 4)).unwrap();
                assert_eq!(take_lines(&stream, 1), ["4 delete a"]);
            }
        }
    });
}

/// etcd 10.12
#[test]
fn a_physical_compaction_gives_space_back() {
    watched(|| {
        let folder = folder();
        for store in [
            Store::open(folder.path(), &tiny()).unwrap(),
            memory_with(|options| options.segment_bytes = tiny().segment_bytes),
        ] {
            churn(&store, 20, 200);
            let before = log_bytes(&store);
            assert!(before >= 800_000, "4000 values of 200 bytes take {before} bytes");
            store.compact(store.revision(), true).unwrap();
            let after = log_bytes(&store);
            assert!(after <= 200_000, "20 keys are left, in {after} bytes");
            assert_eq!(store.get(b"key-007", 0).unwrap().kv(0).version, 200);
        }
        let sizes =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        assert!(sizes.sum::<u64>() <= 400_000, "the files are gone");
    });
}

/// etcd 10.2
#[test]
fn a_compaction_that_does_not_wait_gives_space_back_later() {
    watched(|| {
        let store = memory_with(|options| options.segment_bytes = tiny().segment_bytes);
        churn(&store, 20, 200);
        let before = log_bytes(&store);
        store.compact(store.revision(), false).unwrap();
        until(|| log_bytes(&store) < before / 4);
    });
}

/// etcd 10.4
#[test]
fn a_base_after_an_empty_one_is_not_taken_for_an_older_one() {
    watched(|| {
        let folder = folder();
        let mut store = Store::open(folder.path(), &tiny()).unwrap();
        for key in ["A", "a", "z"] {
            put(&store, key, "");
        }
        store.compact(4, true).unwrap();
        // From here on versions of "a" point into the first base.
        put(&store, "a", "5");
        let all = DeleteRangeRequest { key: ALL.0, range_end: ALL.1, prev_kv: false };
        assert_eq!(store.delete_range(&all).unwrap().deleted(), 3);
        put(&store, "a", "7");
        store.compact(7, true).unwrap();
        store.close().unwrap();
        store = Store::open(folder.path(), &tiny()).unwrap();
        // Where the first base had "a", the next one has the middle of a value.
        put(&store, "A", "x".repeat(4000));
        put(&store, "a", "9");
        put(&store, "a", "10");
        store.compact(9, true).unwrap();
        assert_eq!(get(&store, "a", 9).as_deref(), Some("9"));
        assert_eq!(get(&store, "a", 0).as_deref(), Some("10"));
        let stream = stream(&store);
        stream.create(&watch((b"a", b""), 9)).unwrap();
        assert_eq!(take_lines(&stream, 2), ["9 put a=9", "10 put a=10"]);
    });
}

/// etcd 11.1
#[test]
fn a_compaction_that_gave_no_space_back_before_the_end_does_so_after_opening() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        churn(&store, 20, 200);
        store.close().unwrap();
        // With large segments there is too little to give back.
        let large = StoreOptions { segment_bytes: 64 << 20, ..tiny() };
        let store = Store::open(folder.path(), &large).unwrap();
        store.compact(store.revision(), false).unwrap();
        let before = log_bytes(&store);
        store.close().unwrap();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        until(|| log_bytes(&store) < before / 4);
    });
}

#[test]
fn a_store_that_is_compacted_again_and_again_does_not_grow() {
    watched(|| {
        let folder = folder();
        let mut store = Store::open(folder.path(), &tiny()).unwrap();
        for round in 0..10 {
            churn(&store, 20, 50);
            store.compact(store.revision(), true).unwrap();
            assert!(log_bytes(&store) <= 200_000, "{} bytes after round {round}", log_bytes(&store));
            if round % 3 == 2 {
                store.close().unwrap();
                store = Store::open(folder.path(), &tiny()).unwrap();
            }
            let result = store.get(b"key-019", 0).unwrap();
            assert_eq!((result.kv(0).version, result.kv(0).create_revision), (50 * (round + 1), 21));
        }
    });
}

/// etcd 10.2, 11.1
#[test]
fn a_compaction_survives_reopening() {
    // etcd 10.2, 11.1
    for physical in [false, true] {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        churn(&store, 5, 100);
        store.compact(300, physical).unwrap();
        store.close().unwrap();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        assert_eq!((store.revision(), store.compact_revision()), (501, 300));
        assert_eq!(refused(store.get(b"key-000", 299)), ErrorCode::Compacted);
        assert_eq!(refused(store.compact(300, false)), ErrorCode::Compacted);
        assert!(get(&store, "key-000", 300).unwrap().starts_with("59-"));
        store.compact(301, true).unwrap();
    }
}

/// etcd 10.2, 11.1
#[test]
fn a_compaction_survives_a_crash() {
    // etcd 10.2: it is on disk before the call returns
    for physical in [false, true] {
        let original = folder();
        let store = Store::open(original.path(), &tiny()).unwrap();
        churn(&store, 5, 100);
        store.compact(300, physical).unwrap();
        let image = crash_image(&original);
        let store = Store::open(image.path(), &tiny()).unwrap();
        assert_eq!(store.compact_revision(), 300);
        assert_eq!(refused(store.get(b"key-000", 299)), ErrorCode::Compacted);
        assert!(get(&store, "key-000", 0).unwrap().starts_with("99-"));
    }
}

/// etcd 11.2
#[test]
fn the_revision_does_not_go_back_when_everything_was_compacted_away() {
    // etcd 11.1, 11.2, #6567 and #17780
    let folder = folder();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    churn(&store, 10, 10);
    store.delete_range(&DeleteRangeRequest { key: ALL.0, range_end: ALL.1, prev_kv: false }).unwrap();
    delete(&store, "nothing");
    store.compact(102, true).unwrap();
    store.close().unwrap();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    assert_eq!((store.revision(), store.compact_revision()), (102, 102));
    assert_eq!(put(&store, "a", "1"), 103);
    store.compact(103, true).unwrap();
    store.close().unwrap();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    assert_eq!(store.revision(), 103);
    assert_eq!(store.stats().unwrap().key_count, 1, "deleted keys left the index");
}

/// etcd 1.6, 11.3
#[test]
fn a_key_is_created_anew_after_its_deletion_was_compacted_away() {
    // etcd 1.6, 10.3
    for physical in [false, true] {
        let store = memory();
        put(&store, "a", "1");
        put(&store, "a", "2");
        delete(&store, "a");
        put(&store, "b", "1");
        store.compact(5, physical).unwrap();
        assert_eq!(get(&store, "a", 0), None);
        put(&store, "a", "3");
        assert_eq!(pair(&store.get(b"a", 0).unwrap().kv(0)), ("a".into(), "3".into(), 6, 6, 1, 0));
        assert_eq!(get(&store, "a", 5), None);
    }
}

/// S 19.5
#[test]
fn answers_stay_valid_while_compaction_drops_what_they_point_into() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        churn(&store, 20, 1);
        let stream = stream(&store);
        stream.create(&watch(ALL, 2)).unwrap();
        let response = take(&stream);
        let read = store.get(b"key-003", 0).unwrap();
        churn(&store, 20, 100);
        store.compact(store.revision(), true).unwrap();
        let value = format!("0-{}", "v".repeat(200));
        assert_eq!(text(read.kv(0).value), value);
        assert!(store.stats().unwrap().pinned_bytes > 0, "dropped bytes that are held are counted");
        assert_eq!(response.len(), 20);
        assert!(response.events().all(|event| text(event.kv.value) == value));
        drop((read, response));
        until(|| store.stats().unwrap().pinned_bytes == 0);
    });
}

#[test]
fn every_revision_from_the_compaction_on_agrees_with_a_model() {
    // etcd 10.3, 10.4
    let folder = folder();
    let mut store = Store::open(folder.path(), &tiny()).unwrap();
    let mut random = Random::new(7);
    let mut now: BTreeMap<String, (String, i64, i64)> = BTreeMap::new();
    let mut history = vec![now.clone(), now.clone()];
    for round in 0..12 {
        for i in 0..400 {
            let key = format!("key/{:03}", random.below(150));
            if random.below(3) == 0 {
                if now.remove(&key).is_some() {
                    history.push(now.clone());
                }
                delete(&store, &key);
            } else {
                let value = format!("{round}/{i}/{}", "x".repeat(random.below(300) as usize));
                let revision = put(&store, &key, &value);
                let (created, version) = now.get(&key).map_or((revision, 1), |old| (old.1, old.2 + 1));
                now.insert(key, (value, created, version));
                history.push(now.clone());
            }
        }
        let (low, high) = (store.compact_revision().max(0) + 1, store.revision());
        let at = low + random.below((high - low + 1) as u64) as i64;
        store.compact(at, round % 3 != 0).unwrap();
        if round % 4 == 3 {
            store.close().unwrap();
            store = Store::open(folder.path(), &tiny()).unwrap();
        }
        assert_eq!(store.revision() as usize, history.len() - 1);
        for revision in (at..=store.revision()).step_by(7) {
            let request = RangeRequest { key: ALL.0, range_end: ALL.1, revision, ..Default::default() };
            let result = store.range(&request).unwrap();
            let read =
                result.iter().map(|kv| (text(kv.key), (text(kv.value), kv.create_revision, kv.version)));
            let read: BTreeMap<_, _> = read.collect();
            assert!(read == history[revision as usize], "revision {revision} after compaction {at}");
        }
    }
}

#[test]
fn readers_and_writers_go_on_while_compactions_run() {
    watched(|| {
        let store = memory_with(|options| options.segment_bytes = tiny().segment_bytes);
        let writer = {
            let store = store.clone();
            std::thread::spawn(move || churn(&store, 20, 300))
        };
        let compactor = {
            let store = store.clone();
            std::thread::spawn(move || {
                let mut compactions = 0;
                while store.revision() < 6001 {
                    let revision = store.revision();
                    if revision > store.compact_revision() + 200 {
                        store.compact(revision, true).unwrap();
                        compactions += 1;
                    }
                    std::thread::yield_now();
                }
                compactions
            })
        };
        let mut last = 0;
        while store.revision() < 6001 {
            let result = store.get(b"key-010", 0).unwrap();
            if !result.is_empty() {
                let version = result.kv(0).version;
                assert!(version >= last, "a key went back in time");
                assert!(text(result.kv(0).value).starts_with(&format!("{}-", version - 1)));
                last = version;
            }
        }
        writer.join().unwrap();
        assert!(compactor.join().unwrap() > 0, "nothing was compacted meanwhile");
        assert_eq!(store.get(b"key-010", 0).unwrap().kv(0).version, 300);
    });
}
