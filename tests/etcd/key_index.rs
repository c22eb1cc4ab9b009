//! What a compaction keeps of one key's history.

use libwatch::{ErrorCode, Op, PutRequest, Store, TxnRequest};

use crate::common::*;

const LAST: i64 = 17;
/// The key's records in three lives, each ended by a delete.
const HISTORY: [(i64, bool); 9] = [
    (2, true),
    (4, true),
    (6, false),
    (8, true),
    (10, true),
    (12, false),
    (14, true),
    (15, true),
    (16, false),
];

/// A key with that history; another key fills the revisions between, and precedes it in revision 15.
fn three_lives(store: &Store) {
    for revision in 2..=LAST {
        let told = match HISTORY.iter().find(|record| record.0 == revision) {
            Some((15, _)) => {
                let puts = ["other", "foo"].map(|key| {
                    Op::Put(PutRequest { key: key.as_bytes(), value: b"15", ..Default::default() })
                });
                let request = TxnRequest { success: puts.to_vec(), ..Default::default() };
                store.txn(&request).unwrap().revision()
            }
            Some((_, true)) => put(store, "foo", revision.to_string()),
            Some((_, false)) => delete(store, "foo"),
            None => put(store, "other", "x"),
        };
        assert_eq!(told, revision);
    }
}

/// The last record at or below a revision, if it is a put.
fn value_at(revision: i64) -> Option<String> {
    let last = HISTORY.iter().rfind(|record| record.0 <= revision)?;
    last.1.then(|| last.0.to_string())
}

/// Reads and watches everything that a compaction at `compacted` must have kept.
fn keeps_what_it_must(store: &Store, compacted: i64, physical: bool) {
    let case = format!("compacted at {compacted}, physical: {physical}");
    for revision in 1..=LAST {
        if revision < compacted {
            assert_eq!(refused(store.get(b"foo", revision)), ErrorCode::Compacted, "{case}");
        } else {
            assert_eq!(get(store, "foo", revision), value_at(revision), "{case}, read at {revision}");
        }
    }
    let stream = stream(store);
    let id = stream.create(&watch((b"foo", b""), compacted)).unwrap();
    let kept = HISTORY.iter().filter(|record| record.0 >= compacted).map(|(at, is_put)| match is_put {
        true => format!("{at} put foo={at}"),
        false => format!("{at} delete foo"),
    });
    assert_eq!(lines_of(&settle(&stream), id), kept.collect::<Vec<_>>(), "{case}");
    let keys = if physical && compacted == LAST { 1 } else { 2 };
    assert_eq!(store.stats().unwrap().key_count, keys, "{case}: the key leaves with its last record");
}

/// etcd 1.12, 10.3, 10.4
#[test]
fn compacting_step_by_step_keeps_exactly_the_records_that_are_needed() {
    watched(|| {
        for physical in [false, true] {
            let store = memory();
            three_lives(&store);
            for compacted in 1..=LAST {
                store.compact(compacted, physical).unwrap();
                keeps_what_it_must(&store, compacted, physical);
            }
        }
    });
}

/// etcd 1.12, 10.3, 10.4
#[test]
fn compacting_over_deletes_keeps_exactly_the_records_that_are_needed() {
    watched(|| {
        for physical in [false, true] {
            let store = memory();
            three_lives(&store);
            let is_delete = |revision: &i64| HISTORY.contains(&(*revision, false));
            for compacted in (1..=LAST).filter(|revision| !is_delete(revision)) {
                store.compact(compacted, physical).unwrap();
                keeps_what_it_must(&store, compacted, physical);
            }
        }
    });
}

/// etcd 1.12, 10.3, 10.4
#[test]
fn compacting_once_at_any_revision_keeps_exactly_the_records_that_are_needed() {
    watched(|| {
        for physical in [false, true] {
            for compacted in 1..=LAST {
                let store = memory();
                three_lives(&store);
                store.compact(compacted, physical).unwrap();
                keeps_what_it_must(&store, compacted, physical);
            }
        }
    });
}

/// etcd 10.3, 10.4, 11.1
#[test]
fn what_a_compaction_kept_is_still_there_after_reopening() {
    watched(|| {
        for (compacted, physical) in [(6, false), (6, true), (7, true), (12, true), (15, false), (16, true)] {
            let folder = folder();
            let store = Store::open(folder.path(), &tiny()).unwrap();
            three_lives(&store);
            store.compact(compacted, physical).unwrap();
            store.close().unwrap();
            let store = Store::open(folder.path(), &tiny()).unwrap();
            keeps_what_it_must(&store, compacted, physical);
        }
    });
}

/// etcd 1.6, 1.12, 10.3, 10.4, 11.1
#[test]
fn a_key_of_which_only_its_delete_is_left_stays_deleted_and_can_live_again() {
    watched(|| {
        for physical in [false, true] {
            let folder = folder();
            let store = Store::open(folder.path(), &tiny()).unwrap();
            put(&store, "foo", "old");
            (3..16).for_each(|_| _ = put(&store, "other", "x"));
            assert_eq!(delete(&store, "foo"), 16);
            store.compact(16, physical).unwrap();
            store.close().unwrap();
            let store = Store::open(folder.path(), &tiny()).unwrap();
            assert_eq!(get(&store, "foo", 16), None);
            assert_eq!((put(&store, "foo", "17"), put(&store, "foo", "18")), (17, 18));
            (19..=20).for_each(|_| _ = put(&store, "other", "x"));
            let told = |start| {
                let stream = stream(&store);
                stream.create(&watch((b"foo", b""), start)).unwrap();
                let responses = settle(&stream);
                let compacted = responses.iter().map(|response| response.compact_revision()).max();
                (compacted, responses.iter().flat_map(lines).collect::<Vec<_>>())
            };
            let lives = ["16 delete foo", "17 put foo=17", "18 put foo=18"].map(String::from);
            assert_eq!(told(16), (Some(0), lives.to_vec()), "the compaction kept the delete at 16");
            let read: Vec<_> = (16..=20).map(|revision| get(&store, "foo", revision)).collect();
            assert_eq!(
                read,
                [None, Some("17"), Some("18"), Some("18"), Some("18")].map(|v| v.map(String::from))
            );
            assert_eq!(store.get(b"foo", 0).unwrap().kv(0).create_revision, 17);
            store.compact(17, physical).unwrap();
            assert_eq!(told(17), (Some(0), lives[1..].to_vec()));
            assert_eq!(told(16), (Some(17), Vec::new()), "the next one dropped it");
        }
    });
}

/// etcd 1.12: without later puts it is never found again, whatever is read
#[test]
fn a_deleted_key_is_not_found_at_any_later_revision_and_leaves_the_index() {
    let folder = folder();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    put(&store, "foo", "old");
    (3..16).for_each(|_| _ = put(&store, "other", "x"));
    delete(&store, "foo");
    store.compact(16, true).unwrap();
    store.close().unwrap();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    (17..=20).for_each(|_| _ = put(&store, "other", "x"));
    assert!((16..=20).all(|revision| get(&store, "foo", revision).is_none()));
    assert_eq!(store.stats().unwrap().key_count, 2, "its delete is kept at 16");
    store.compact(17, true).unwrap();
    assert_eq!((get(&store, "foo", 17), store.stats().unwrap().key_count), (None, 1));
}
