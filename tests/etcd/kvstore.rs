//! The store under its index: revisions, restores, concurrent readers.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use libwatch::{DeleteRangeRequest, ErrorCode, Op, PutRequest, RangeRequest, RangeResult, Store, TxnRequest};

use crate::common::*;

type Pair = (String, String, i64, i64, i64, i64);

fn everything(store: &Store, revision: i64) -> RangeResult {
    let request = RangeRequest { key: ALL.0, range_end: ALL.1, revision, ..Default::default() };
    store.range(&request).unwrap()
}

/// The whole state at a revision.
fn state(store: &Store, revision: i64) -> Vec<Pair> {
    everything(store, revision).iter().map(|kv| pair(&kv)).collect()
}

/// Puts one key through a transaction.
fn put_in_txn(store: &Store, key: &str, value: &str) -> i64 {
    let put = PutRequest { key: key.as_bytes(), value: value.as_bytes(), ..Default::default() };
    store.txn(&TxnRequest { success: vec![Op::Put(put)], ..Default::default() }).unwrap().revision()
}

/// etcd 1.2
#[test]
fn the_revision_after_the_nth_put_is_n_plus_one() {
    let store = memory();
    for i in 1..=3 {
        put(&store, "foo", "bar");
        assert_eq!(store.revision(), i + 1);
    }
}

/// etcd 1.2, 1.6, 1.7
#[test]
fn a_put_writes_revisions_version_and_lease() {
    let store = memory();
    for (version, lease) in [(1, 1), (2, 1), (3, 2)] {
        store.put(&PutRequest { key: b"foo", value: b"bar", lease, ..Default::default() }).unwrap();
        let written = pair(&store.get(b"foo", 0).unwrap().kv(0));
        assert_eq!(written, ("foo".into(), "bar".into(), 2, version + 1, version, lease));
        assert_eq!(store.revision(), version + 1, "the revision advances by one");
    }
}

/// etcd 14.3, 14.4
#[test]
fn a_read_with_a_limit_answers_one_pair_and_changes_nothing() {
    let store = memory();
    put(&store, "foo", "bar");
    put(&store, "goo", "bar");
    let request = RangeRequest { key: b"foo", range_end: b"goo\0", limit: 1, ..Default::default() };
    for _ in 0..2 {
        let result = store.range(&request).unwrap();
        assert_eq!((result.len(), result.revision(), result.more()), (1, 3, true));
        assert_eq!(pair(&result.kv(0)), ("foo".into(), "bar".into(), 2, 2, 1, 0));
        assert_eq!(store.revision(), 3);
    }
}

/// etcd 1.4, 1.8, 5.2
#[test]
fn a_delete_leaves_a_record_of_the_key_and_the_revision() {
    watched(|| {
        let store = memory();
        store.put(&PutRequest { key: b"foo", value: b"bar", lease: 1, ..Default::default() }).unwrap();
        let request = DeleteRangeRequest { key: b"foo", range_end: b"goo", prev_kv: true };
        let result = store.delete_range(&request).unwrap();
        assert_eq!((result.deleted(), result.revision(), store.revision()), (1, 3, 3));
        assert_eq!(result.prev_kv(0).mod_revision, 2, "it looked at the revision before");
        let stream = stream(&store);
        stream.create(&watch(ALL, 3)).unwrap();
        let response = take(&stream);
        assert_eq!(pair(&response.event(0).kv), ("foo".into(), "".into(), 0, 3, 0, 0));
    });
}

/// etcd 10.2, 10.3: it is on disk when the call returns, and what is not kept is gone after a physical one
#[test]
fn a_compaction_is_recorded_and_then_drops_what_it_does_not_keep() {
    let original = folder();
    let store = Store::open(original.path(), &tiny()).unwrap();
    put(&store, "key", vec![b'1'; 200_000]);
    put(&store, "key", vec![b'2'; 200_000]);
    let before = store.stats().unwrap().log_bytes;
    store.compact(3, false).unwrap();
    let image = Store::open(crash_image(&original).path(), &tiny()).unwrap();
    assert_eq!((image.compact_revision(), image.revision()), (3, 3));
    put(&store, "key", "3");
    store.compact(4, true).unwrap();
    let after = store.stats().unwrap().log_bytes;
    assert!(after + 100_000 <= before, "{before} bytes became {after}");
    assert_eq!(get(&store, "key", 4).as_deref(), Some("3"));
}

/// etcd 10.4, 11.1
#[test]
fn a_reopened_store_knows_its_compaction_its_revision_and_what_was_deleted() {
    let folder = folder();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    put(&store, "other", "1");
    put(&store, "foo", "bar");
    put(&store, "other", "2");
    delete(&store, "foo");
    store.compact(3, true).unwrap();
    store.close().unwrap();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    assert_eq!((store.compact_revision(), store.revision()), (3, 5));
    let seen: Vec<Option<String>> = (3..=5).map(|revision| get(&store, "foo", revision)).collect();
    assert_eq!(seen, [Some("bar".into()), Some("bar".into()), None]);
    put(&store, "foo", "again");
    assert_eq!(pair(&store.get(b"foo", 0).unwrap().kv(0)), ("foo".into(), "again".into(), 6, 6, 1, 0));
}

/// etcd 11.1
#[test]
fn a_reopened_store_has_exactly_the_keys_that_were_not_deleted() {
    let mut random = Random::new(20);
    for round in 0..10 {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let mut live = BTreeMap::new();
        for i in 0..20 {
            let key = format!("foo-{i}");
            put(&store, &key, "bar");
            live.insert(key, "bar".to_string());
        }
        for i in 0..40 {
            let key = format!("foo-{}", random.below(20));
            if random.below(2) == 0 {
                delete(&store, &key);
                live.remove(&key);
            } else {
                put(&store, &key, i.to_string());
                live.insert(key, i.to_string());
            }
        }
        drop(store);
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let found = state(&store, 0).into_iter().map(|kv| (kv.0, kv.1));
        assert!(found.eq(live), "round {round}");
    }
}

/// etcd 10.2: by a crash and by a clean close; the next physical compaction gives the space back
#[test]
fn a_compaction_that_was_accepted_but_not_carried_out_holds_after_a_restart() {
    for crashed in [false, true] {
        let original = folder();
        let store = Store::open(original.path(), &tiny()).unwrap();
        let value = |i: u8| vec![b'0' + i; 200_000];
        (1..=3).for_each(|i| assert_eq!(put(&store, "foo", value(i)), i64::from(i) + 1));
        store.compact(3, false).unwrap();
        let at = if crashed { crash_image(&original) } else { original };
        drop(store);
        let store = Store::open(at.path(), &tiny()).unwrap();
        assert_eq!(store.compact_revision(), 3);
        assert_eq!(refused(store.get(b"foo", 2)), ErrorCode::Compacted);
        assert!(store.get(b"foo", 3).unwrap().kv(0).value == value(2));
        let (before, now) = (store.stats().unwrap().log_bytes, put(&store, "foo", value(4)));
        store.compact(now, true).unwrap();
        assert!(store.stats().unwrap().log_bytes < before, "crashed: {crashed}");
        assert!(store.get(b"foo", 0).unwrap().kv(0).value == value(4));
    }
}

/// etcd 10.4: what a revision holds does not depend on the compactions below it
#[test]
fn a_revision_reads_the_same_while_compactions_run_up_to_it() {
    const LAST: i64 = 10_000;
    watched(|| {
        let store = memory_with(|options| options.segment_bytes = tiny().segment_bytes);
        for i in 2..=LAST {
            put(&store, format!("foo-{}", i % 100), i.to_string());
        }
        let expected = state(&store, LAST);
        assert_eq!(expected.len(), 100);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        assert!(state(&store, LAST) == expected, "revision {LAST} changed");
                    }
                });
            }
            (LAST - 100..=LAST).for_each(|revision| store.compact(revision, revision % 2 == 0).unwrap());
            done.store(true, Ordering::Release);
        });
        assert!(state(&store, LAST) == expected);
    });
}

/// etcd 10.4, 14.2
#[test]
fn a_state_can_be_taken_from_the_compaction_up_to_now() {
    let store = memory();
    (0..10).for_each(|_| _ = put(&store, "foo", "bar"));
    store.compact(6, false).unwrap();
    let at = |revision| {
        let request = RangeRequest { key: ALL.0, range_end: ALL.1, revision, ..Default::default() };
        store.range(&request).map(|result| result.len()).map_err(|error| error.code())
    };
    assert_eq!(at(12), Err(ErrorCode::FutureRevision));
    assert_eq!(at(5), Err(ErrorCode::Compacted));
    assert_eq!((at(6), at(11)), (Ok(1), Ok(1)));
}

/// etcd 14.2
#[test]
fn revision_zero_is_the_current_one() {
    let store = memory();
    for i in 0..10 {
        put(&store, format!("foo-{i}"), "bar");
        delete(&store, format!("foo-{}", i / 2));
        assert_eq!(state(&store, 0), state(&store, store.revision()));
    }
}

/// etcd 1.2, 14.13
#[test]
fn a_hundred_transactions_of_one_put_take_a_hundred_revisions() {
    let store = memory();
    let revisions = (0..100).map(|i| put_in_txn(&store, "foo", &i.to_string()));
    assert!(revisions.eq(2..=101));
}

/// etcd 1.13
#[test]
fn an_answer_that_is_still_read_neither_stops_a_writer_nor_sees_it() {
    watched(|| {
        let store = memory();
        put(&store, "foo", "bar");
        let before = everything(&store, 0);
        let mut reading = before.iter();
        let writer = {
            let store = store.clone();
            thread::spawn(move || put(&store, "foo", "newBar"))
        };
        assert_eq!(writer.join().unwrap(), 3, "the writer waited for nobody");
        let after = everything(&store, 0);
        assert_eq!(pair(&after.kv(0)), ("foo".into(), "newBar".into(), 2, 3, 2, 0));
        let seen = reading.next().map(|kv| pair(&kv));
        assert_eq!(seen, Some(("foo".into(), "bar".into(), 2, 2, 1, 0)));
    });
}

/// Writes 1 to 10 of 20 keys in one transaction; what was written, by revision.
fn write_some(store: &Store, random: &mut Random, token: usize) -> (i64, BTreeMap<String, String>) {
    let written: BTreeMap<String, String> = (0..1 + random.below(10))
        .map(|i| (format!("key-{:02}", random.below(20)), format!("{token}/{i}")))
        .collect();
    let put = |(key, value): (&'_ String, &'_ String)| (key.clone(), value.clone());
    let pairs: Vec<(String, String)> = written.iter().map(put).collect();
    let success = pairs
        .iter()
        .map(|(key, value)| PutRequest { key: key.as_bytes(), value: value.as_bytes(), ..Default::default() })
        .map(Op::Put)
        .collect();
    let revision = store.txn(&TxnRequest { success, ..Default::default() }).unwrap().revision();
    (revision, written)
}

/// etcd 1.1, 1.13
#[test]
fn a_hundred_readers_among_a_hundred_writers_see_exactly_what_was_committed() {
    watched(|| {
        let store = memory();
        let (committed, read) = (Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for i in 0..100 {
                let (store, committed, read) = (&store, &committed, &read);
                scope.spawn(move || {
                    let (revision, written) = write_some(store, &mut Random::new(i as u64), i);
                    let before = committed.lock().unwrap().insert(revision, written);
                    assert!(before.is_none(), "revision {revision} was given out twice");
                });
                scope.spawn(move || {
                    let result = everything(store, 0);
                    assert!(store.revision() >= result.revision());
                    read.lock().unwrap().push(result);
                });
            }
        });
        let committed = committed.into_inner().unwrap();
        assert!(committed.keys().copied().eq(2..=101));
        for result in read.into_inner().unwrap() {
            let mut expected = BTreeMap::new();
            for (_, written) in committed.range(..=result.revision()) {
                expected.extend(written.clone());
            }
            let seen: BTreeMap<String, String> =
                result.iter().map(|kv| (text(kv.key), text(kv.value))).collect();
            assert_eq!(seen, expected, "at {}", result.revision());
        }
    });
}
