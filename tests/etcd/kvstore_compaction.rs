//! Compaction of the store's records.

use libwatch::{ErrorCode, RangeRequest, Store};

use crate::common::*;

/// Key, mod revision and version of all there is at a revision.
fn state(store: &Store, revision: i64) -> Vec<(String, i64, i64)> {
    let request = RangeRequest { key: ALL.0, range_end: ALL.1, revision, ..Default::default() };
    store.range(&request).unwrap().iter().map(|kv| (text(kv.key), kv.mod_revision, kv.version)).collect()
}

/// etcd 10.2, 10.3, 10.4: records 2, 3 and 4 of one key, of three keys, and with a delete among them
#[test]
fn a_compaction_keeps_the_newest_record_of_each_key_and_everything_above_it() {
    watched(|| {
        let histories = [["a", "a", "a"], ["a", "b", "c"], ["a", "-a", "b"], ["a", "b", "-a"]];
        for history in histories {
            for compacted in 2..=4 {
                for physical in [false, true] {
                    let store = memory();
                    for step in history {
                        match step.strip_prefix('-') {
                            Some(key) => delete(&store, key),
                            None => put(&store, step, "x"),
                        };
                    }
                    let expected: Vec<_> = (compacted..=4).map(|at| state(&store, at)).collect();
                    store.compact(compacted, physical).unwrap();
                    let case = format!("{history:?} compacted at {compacted}, physical: {physical}");
                    assert_eq!(store.compact_revision(), compacted, "{case}");
                    let kept: Vec<_> = (compacted..=4).map(|at| state(&store, at)).collect();
                    assert_eq!(kept, expected, "{case}");
                    assert_eq!(refused(store.get(b"a", compacted - 1)), ErrorCode::Compacted, "{case}");
                    let stream = stream(&store);
                    stream.create(&watch(ALL, compacted)).unwrap();
                    let told: Vec<i64> = settle(&stream)
                        .iter()
                        .flat_map(|r| r.events().map(|e| e.kv.mod_revision).collect::<Vec<_>>())
                        .collect();
                    assert!(told.into_iter().eq(compacted..=4), "{case}");
                }
            }
        }
    });
}

/// etcd 11.1, 11.2
#[test]
fn a_store_whose_every_record_was_compacted_away_keeps_its_revision() {
    for physical in [false, true] {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        for i in 1..=3 {
            put(&store, "foo", format!("bar{i}"));
        }
        assert_eq!(delete(&store, "foo"), 5);
        store.compact(5, physical).unwrap();
        store.close().unwrap();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        assert_eq!(store.revision(), 5);
        assert!(store.get(b"foo", 0).unwrap().is_empty());
        assert!(state(&store, 0).is_empty());
        assert_eq!(put(&store, "foo", "again"), 6);
    }
}
