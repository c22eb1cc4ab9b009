//! The watch cases that etcd runs in every shape of a cluster.

use crate::common::*;
use libwatch::{Durability, Store, StreamOptions};

/// Puts, the watch that is made before them, and the events it must be told.
type Case =
    (&'static [(&'static str, &'static str)], (&'static [u8], &'static [u8]), i64, &'static [&'static str]);

/// One after the other on the same store.
const CASES: [Case; 4] = [
    (
        &[("bar", "revision_1"), ("bar", "revision_2"), ("bar", "revision_3")],
        (b"bar", b""),
        3,
        &["3 put bar=revision_2", "4 put bar=revision_3"],
    ),
    (&[("sample", "value")], (b"sample", b""), 1, &["5 put sample=value"]),
    (
        &[("foo1", "val1"), ("foo2", "val2"), ("foo3", "val3")],
        (b"foo", b"fop"),
        1,
        &["6 put foo1=val1", "7 put foo2=val2", "8 put foo3=val3"],
    ),
    (
        &[("key1", "val1"), ("key3", "val3"), ("key2", "val2")],
        (b"key", b"key3"),
        1,
        &["9 put key1=val1", "11 put key2=val2"],
    ),
];

fn all_cases_hold(store: &Store, batch_revisions: u32) {
    let options = StreamOptions { batch_revisions, batch_bytes: 0 };
    for (puts, range, start, expected) in CASES {
        let stream = store.stream(&options).unwrap();
        stream.create(&watch(range, start)).unwrap();
        puts.iter().for_each(|(key, value)| _ = put(store, key, value));
        assert_eq!(take_lines(&stream, expected.len()), expected);
        assert!(settle(&stream).is_empty());
    }
    for (_, range, start, expected) in CASES {
        let stream = store.stream(&options).unwrap();
        stream.create(&watch(range, start)).unwrap();
        let told: Vec<String> = settle(&stream).iter().flat_map(lines).collect();
        assert_eq!(told, expected, "the same when it is all in the past");
    }
}

/// etcd 2.2, 3.2, 3.3: the shapes are a store in memory, files in each durability mode, and small batches.
#[test]
fn watches_by_revision_key_prefix_and_range_are_told_the_same_in_every_kind_of_store() {
    watched(|| {
        all_cases_hold(&memory(), 0);
        all_cases_hold(&memory(), 1);
        for durability in [Durability::Commit, Durability::Interval, Durability::None] {
            let folder = folder();
            all_cases_hold(&Store::open(folder.path(), &mode(durability)).unwrap(), 0);
        }
        let folder = folder();
        all_cases_hold(&Store::open(folder.path(), &tiny()).unwrap(), 1);
    });
}
