//! Puts, deletes and reads of one key, and which revisions they take.

mod common;

use common::*;
use libwatch::{DeleteRangeRequest, ErrorCode, PutRequest};

#[test]
fn an_empty_store_is_at_revision_1_and_was_never_compacted() {
    // etcd 0, 1.2
    let store = memory();
    assert_eq!((store.revision(), store.compact_revision()), (1, -1));
    assert!(store.get(b"a", 0).unwrap().is_empty());
    assert_eq!(store.get(b"a", 0).unwrap().revision(), 1);
}

#[test]
fn each_change_takes_the_next_revision() {
    // etcd 1.2, 1.4
    let store = memory();
    assert_eq!(put(&store, "a", "1"), 2);
    assert_eq!(put(&store, "b", "1"), 3);
    assert_eq!(put(&store, "a", "1"), 4, "the same value again is a change");
    assert_eq!(delete(&store, "a"), 5);
    assert_eq!(store.revision(), 5);
}

#[test]
fn a_delete_that_finds_nothing_takes_no_revision() {
    // etcd 1.3, 1.4, 14.8
    let store = memory();
    put(&store, "a", "1");
    let result =
        store.delete_range(&DeleteRangeRequest { key: b"b", prev_kv: true, ..Default::default() }).unwrap();
    assert_eq!((result.revision(), result.deleted(), result.prev_kv_count()), (2, 0, 0));
    delete(&store, "a");
    assert_eq!(delete(&store, "a"), 3, "a deleted key is not there to be deleted");
    assert_eq!(store.revision(), 3);
}

#[test]
fn versions_count_the_puts_since_the_key_was_created() {
    // etcd 1.6
    let store = memory();
    for _ in 0..3 {
        put(&store, "a", "x");
    }
    assert_eq!(pair(&store.get(b"a", 0).unwrap().kv(0)), ("a".into(), "x".into(), 2, 4, 3, 0));
    delete(&store, "a");
    put(&store, "a", "y");
    assert_eq!(pair(&store.get(b"a", 0).unwrap().kv(0)), ("a".into(), "y".into(), 6, 6, 1, 0));
}

#[test]
fn a_put_stores_the_lease_it_was_given() {
    // etcd 1.7
    let store = memory();
    for lease in [7, i64::MAX, i64::MIN, 0] {
        store.put(&PutRequest { key: b"a", lease, ..Default::default() }).unwrap();
        assert_eq!(store.get(b"a", 0).unwrap().kv(0).lease, lease);
    }
}

#[test]
fn a_put_answers_the_key_as_it_was_if_asked() {
    // etcd 14.7
    let store = memory();
    let asking = |value| PutRequest { key: b"a", value, prev_kv: true, lease: 9, ..Default::default() };
    assert!(store.put(&asking(b"1")).unwrap().prev_kv().is_none());
    let second = store.put(&asking(b"2")).unwrap();
    assert_eq!(pair(&second.prev_kv().unwrap()), ("a".into(), "1".into(), 2, 2, 1, 9));
    assert!(store.put(&PutRequest { prev_kv: false, ..asking(b"3") }).unwrap().prev_kv().is_none());
    delete(&store, "a");
    assert!(store.put(&asking(b"4")).unwrap().prev_kv().is_none(), "a deleted key was not there");
}

#[test]
fn ignore_value_and_ignore_lease_keep_what_is_there() {
    // etcd 14.7
    let store = memory();
    store.put(&PutRequest { key: b"a", value: b"v", lease: 5, ..Default::default() }).unwrap();
    let keep_value = PutRequest { key: b"a", lease: 6, ignore_value: true, ..Default::default() };
    assert!(store.put(&keep_value).unwrap().prev_kv().is_none(), "it does not imply prev_kv");
    assert_eq!(pair(&store.get(b"a", 0).unwrap().kv(0)), ("a".into(), "v".into(), 2, 3, 2, 6));
    let keep_lease = PutRequest { key: b"a", value: b"w", ignore_lease: true, ..Default::default() };
    store.put(&keep_lease).unwrap();
    assert_eq!(pair(&store.get(b"a", 0).unwrap().kv(0)), ("a".into(), "w".into(), 2, 4, 3, 6));
    let keep_both = PutRequest { key: b"a", ignore_value: true, ignore_lease: true, ..Default::default() };
    store.put(&keep_both).unwrap();
    assert_eq!(pair(&store.get(b"a", 0).unwrap().kv(0)), ("a".into(), "w".into(), 2, 5, 4, 6));
}

#[test]
fn ignore_value_and_ignore_lease_want_a_key_that_exists() {
    // etcd 14.7
    let store = memory();
    put(&store, "gone", "v");
    delete(&store, "gone");
    for key in [b"never".as_slice(), b"gone"] {
        let value = PutRequest { key, ignore_value: true, ..Default::default() };
        assert_eq!(refused(store.put(&value)), ErrorCode::KeyNotFound);
        let lease = PutRequest { key, ignore_lease: true, ..Default::default() };
        assert_eq!(refused(store.put(&lease)), ErrorCode::KeyNotFound);
    }
    assert_eq!(store.revision(), 3, "a refused put takes no revision");
}

#[test]
fn a_deleted_range_is_answered_in_key_order() {
    // etcd 1.10, 14.8
    let store = memory();
    for key in ["c", "a", "b", "d"] {
        put(&store, key, key.to_uppercase());
    }
    let request = DeleteRangeRequest { key: b"a", range_end: b"d", prev_kv: true };
    let result = store.delete_range(&request).unwrap();
    assert_eq!((result.revision(), result.deleted()), (6, 3));
    let values: Vec<String> = (0..result.prev_kv_count()).map(|i| text(result.prev_kv(i).value)).collect();
    assert_eq!(values, ["A", "B", "C"]);
    assert_eq!(get(&store, "d", 0).as_deref(), Some("D"));
    let silent = store.delete_range(&DeleteRangeRequest { key: b"d", ..Default::default() }).unwrap();
    assert_eq!((silent.deleted(), silent.prev_kv_count()), (1, 0), "previous pairs only if asked for");
}

#[test]
fn deleting_from_a_key_on_and_deleting_everything_reach_the_end() {
    // etcd 2.2, 14.8
    let store = memory();
    for key in [b"\0".as_slice(), b"a", b"b", b"\xff\xff"] {
        put(&store, key, "x");
    }
    let from =
        store.delete_range(&DeleteRangeRequest { key: b"b", range_end: b"\0", prev_kv: false }).unwrap();
    assert_eq!(from.deleted(), 2);
    let all =
        store.delete_range(&DeleteRangeRequest { key: ALL.0, range_end: ALL.1, prev_kv: false }).unwrap();
    assert_eq!(all.deleted(), 2);
    let reversed =
        store.delete_range(&DeleteRangeRequest { key: b"b", range_end: b"a", prev_kv: false }).unwrap();
    assert_eq!((reversed.deleted(), reversed.revision()), (0, store.revision()));
}

#[test]
fn an_older_revision_reads_what_was_there_then() {
    // etcd 1.12, 14.2
    let store = memory();
    put(&store, "a", "1");
    put(&store, "other", "x");
    put(&store, "a", "2");
    delete(&store, "a");
    put(&store, "a", "3");
    let seen: Vec<_> = (1..=6).map(|revision| get(&store, "a", revision)).collect();
    let expected = [None, Some("1"), Some("1"), Some("2"), None, Some("3")];
    assert_eq!(seen, expected.map(|value| value.map(str::to_string)));
    assert_eq!(store.get(b"a", 2).unwrap().revision(), 6, "the header is the store's revision (etcd 14.3)");
}

#[test]
fn a_key_with_many_versions_reads_right_at_every_revision() {
    let store = memory();
    for i in 0..3000 {
        put(&store, "hot", i.to_string());
    }
    for i in 0..3000 {
        assert_eq!(get(&store, "hot", i + 2), Some(i.to_string()));
    }
}

#[test]
fn a_future_revision_cannot_be_read() {
    // etcd 14.2
    let store = memory();
    put(&store, "a", "1");
    let error = store.get(b"a", 3).err().expect("it is in the future");
    assert_eq!((error.code(), error.current_revision()), (ErrorCode::FutureRevision, 2));
    assert_eq!(get(&store, "a", -5).as_deref(), Some("1"), "zero and less mean now");
}

#[test]
fn keys_and_values_are_any_bytes() {
    let store = memory();
    let all: Vec<u8> = (0..=255).collect();
    for byte in 0..=255u8 {
        put(&store, [byte], [byte, 0, byte]);
    }
    put(&store, &all, &all);
    put(&store, "empty", "");
    assert_eq!(store.get(&all, 0).unwrap().kv(0).value, all);
    assert_eq!(get(&store, "empty", 0).as_deref(), Some(""));
    for byte in 0..=255u8 {
        assert_eq!(store.get(&[byte], 0).unwrap().kv(0).value, [byte, 0, byte]);
    }
}

#[test]
fn concurrent_writers_each_get_revisions_of_their_own() {
    // etcd 1.13
    watched(|| {
        let store = memory();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let store = store.clone();
                std::thread::spawn(move || {
                    (0..500).map(|i| put(&store, format!("{writer}"), i.to_string())).collect::<Vec<i64>>()
                })
            })
            .collect();
        let mut all: Vec<i64> = Vec::new();
        for writer in writers {
            let own = writer.join().unwrap();
            assert!(own.is_sorted(), "revisions of one writer rise");
            all.extend(own);
        }
        all.sort_unstable();
        assert_eq!(all, (2..2002).collect::<Vec<i64>>());
        for writer in 0..4 {
            let result = store.get(format!("{writer}").as_bytes(), 0).unwrap();
            assert_eq!((text(result.kv(0).value), result.kv(0).version), ("499".into(), 500));
        }
    });
}

#[test]
fn a_reader_sees_whole_revisions_while_others_write() {
    // etcd 1.13
    watched(|| {
        let store = memory();
        let writer = {
            let store = store.clone();
            std::thread::spawn(move || (0..5000).for_each(|i| _ = put(&store, "a", i.to_string())))
        };
        while store.revision() < 5001 {
            let seen = store.get(b"a", 0).unwrap();
            if seen.is_empty() {
                assert_eq!(seen.revision(), 1);
                continue;
            }
            assert_eq!(text(seen.kv(0).value), (seen.revision() - 2).to_string());
        }
        writer.join().unwrap();
    });
}

#[test]
fn statistics_count_what_happened() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch((b"a", b""), 0)).unwrap();
        stream.create(&watch((b"a", b""), 1)).unwrap();
        put(&store, "a", "1");
        put(&store, "b", "1");
        delete(&store, "b");
        store.txn(&libwatch::TxnRequest::default()).unwrap();
        settle(&stream);
        let stats = store.stats().unwrap();
        assert_eq!((stats.revision, stats.compact_revision), (4, -1));
        assert_eq!((stats.put_total, stats.delete_total, stats.txn_total), (2, 1, 1));
        assert_eq!((stats.stream_count, stats.watch_count), (1, 2));
        assert_eq!(
            (stats.watch_synced_count, stats.watch_unsynced_count, stats.watch_victim_count),
            (2, 0, 0)
        );
        assert_eq!((stats.event_delivered_total, stats.oldest_watch_revision), (2, 5));
        assert_eq!(stats.record_read_total, 4, "three live ones, and one again for the watch from the past");
        assert_eq!(stats.key_count, 2, "a deleted key counts while its history is kept");
        assert!(stats.log_bytes > 0);
        assert_eq!(stats.pinned_bytes, 0);
    });
}

#[test]
fn two_stores_in_memory_know_nothing_of_each_other() {
    let (one, other) = (memory(), memory());
    put(&one, "a", "1");
    assert_eq!(other.revision(), 1);
    assert!(get(&other, "a", 0).is_none());
}
