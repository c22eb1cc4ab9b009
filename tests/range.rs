//! Reads of ranges, with every option.

mod common;

use std::collections::BTreeMap;

use common::*;
use libwatch::{DeleteRangeRequest, ErrorCode, RangeRequest, SortOrder, SortTarget, Store, prefix_end};

fn range<'a>(key: &'a [u8], range_end: &'a [u8]) -> RangeRequest<'a> {
    RangeRequest { key, range_end, ..RangeRequest::default() }
}

/// a to e, with versions, values and revisions in other orders than the keys.
fn five() -> Store {
    let store = memory();
    for (key, value) in [("e", "1"), ("b", "5"), ("a", "3"), ("d", "2"), ("c", "4"), ("a", "3"), ("a", "3")] {
        put(&store, key, value);
    }
    put(&store, "e", "1");
    store
}

#[test]
fn key_and_range_end_say_what_is_read() {
    // etcd 2.2, 14.1
    let store = memory();
    for key in ["a", "aa", "ab", "b", "ba", "c"] {
        put(&store, key, "x");
    }
    assert_eq!(keys(&store, &range(b"a", b"")), "a");
    assert_eq!(keys(&store, &range(b"aaa", b"")), "");
    assert_eq!(keys(&store, &range(b"a", &prefix_end(b"a"))), "a aa ab");
    assert_eq!(keys(&store, &range(b"aa", b"ba")), "aa ab b");
    assert_eq!(keys(&store, &range(b"ab", b"\0")), "ab b ba c");
    assert_eq!(keys(&store, &range(b"\0", b"\0")), "a aa ab b ba c");
    assert_eq!(keys(&store, &range(b"d", b"\0")), "");
}

#[test]
fn a_reversed_or_empty_range_reads_nothing() {
    // etcd 14.1
    let store = five();
    for end in [b"b".as_slice(), b"a"] {
        let result = store.range(&range(b"b", end)).unwrap();
        assert_eq!((result.len(), result.count(), result.more()), (0, 0, false));
    }
}

#[test]
fn a_range_without_a_key_is_refused() {
    // etcd 14.1
    let store = five();
    assert_eq!(refused(store.range(&range(b"", b"\0"))), ErrorCode::EmptyKey);
    assert_eq!(refused(store.get(b"", 0)), ErrorCode::EmptyKey);
    assert_eq!(refused(store.delete_range(&DeleteRangeRequest::default())), ErrorCode::EmptyKey);
}

#[test]
fn a_limit_cuts_and_says_so_and_does_not_change_the_count() {
    // etcd 14.4
    let store = five();
    let limited = |limit| {
        let result = store.range(&RangeRequest { limit, ..range(b"a", b"f") }).unwrap();
        let read: String = result.iter().map(|kv| text(kv.key)).collect();
        (read, result.count(), result.more())
    };
    assert_eq!(limited(0), ("abcde".into(), 5, false));
    assert_eq!(limited(-1), ("abcde".into(), 5, false));
    assert_eq!(limited(2), ("ab".into(), 5, true));
    assert_eq!(limited(5), ("abcde".into(), 5, false));
    assert_eq!(limited(i64::MAX), ("abcde".into(), 5, false));
}

#[test]
fn count_only_answers_the_count_alone() {
    // etcd 14.4
    let store = five();
    let result = store.range(&RangeRequest { count_only: true, limit: 2, ..range(b"a", b"f") }).unwrap();
    assert_eq!((result.len(), result.count(), result.more()), (0, 5, false));
}

#[test]
fn keys_only_leaves_the_values_out() {
    // etcd 14.6
    let store = five();
    let result = store.range(&RangeRequest { keys_only: true, ..range(b"a", b"f") }).unwrap();
    assert_eq!(result.len(), 5);
    assert!(result.iter().all(|kv| kv.value.is_empty() && kv.mod_revision > 1 && kv.version > 0));
    let by_value = RangeRequest { keys_only: true, sort_target: SortTarget::Value, ..range(b"a", b"f") };
    assert_eq!(keys(&store, &by_value), "e d a c b", "values sort although they are left out");
}

#[test]
fn bounds_on_revisions_are_inclusive_and_do_not_change_the_count() {
    // etcd 14.5; created at: e2 b3 a4 d5 c6; modified at: b3 d5 c6 a8 e9
    let store = five();
    let all = range(b"a", b"f");
    assert_eq!(keys(&store, &RangeRequest { min_mod_revision: 6, ..all.clone() }), "a c e");
    assert_eq!(keys(&store, &RangeRequest { max_mod_revision: 6, ..all.clone() }), "b c d");
    assert_eq!(keys(&store, &RangeRequest { min_create_revision: 4, ..all.clone() }), "a c d");
    assert_eq!(keys(&store, &RangeRequest { max_create_revision: 4, ..all.clone() }), "a b e");
    let between = RangeRequest { min_mod_revision: 5, max_mod_revision: 8, max_create_revision: 5, ..all };
    let result = store.range(&between).unwrap();
    assert_eq!(keys(&store, &between), "a d");
    assert_eq!((result.count(), result.more()), (5, false));
    assert_eq!(store.range(&RangeRequest { count_only: true, ..between }).unwrap().count(), 5);
}

#[test]
fn bounds_come_first_then_the_order_then_the_limit() {
    // etcd 14.5
    let store = five();
    let request =
        RangeRequest { min_mod_revision: 5, sort_order: SortOrder::Descend, limit: 2, ..range(b"a", b"f") };
    assert_eq!(keys(&store, &request), "e d");
    assert!(store.range(&request).unwrap().more());
    assert_eq!(keys(&store, &RangeRequest { limit: 4, ..request.clone() }), "e d c a");
    assert!(
        !store.range(&RangeRequest { limit: 4, ..request }).unwrap().more(),
        "nothing more within the bounds"
    );
}

#[test]
fn every_target_sorts_in_every_order() {
    // etcd 14.6; versions: a3 e2, b c d 1
    let store = five();
    let sorted = |sort_target, sort_order| {
        keys(&store, &RangeRequest { sort_target, sort_order, ..range(b"a", b"f") })
    };
    for order in [SortOrder::None, SortOrder::Ascend] {
        assert_eq!(sorted(SortTarget::Key, order), "a b c d e");
        assert_eq!(sorted(SortTarget::Create, order), "e b a d c");
        assert_eq!(sorted(SortTarget::Mod, order), "b d c a e");
        assert_eq!(sorted(SortTarget::Value, order), "e d a c b");
        assert!(sorted(SortTarget::Version, order).ends_with("e a"));
    }
    assert_eq!(sorted(SortTarget::Key, SortOrder::Descend), "e d c b a");
    assert_eq!(sorted(SortTarget::Create, SortOrder::Descend), "c d a b e");
    assert_eq!(sorted(SortTarget::Mod, SortOrder::Descend), "e a c d b");
    assert_eq!(sorted(SortTarget::Value, SortOrder::Descend), "b c a d e");
    assert!(sorted(SortTarget::Version, SortOrder::Descend).starts_with("a e"));
}

#[test]
fn a_range_at_an_older_revision_reads_the_state_of_then() {
    // etcd 14.2, 14.3
    let store = five();
    delete(&store, "c");
    let at = |revision| RangeRequest { revision, ..range(b"a", b"f") };
    assert_eq!(keys(&store, &at(1)), "");
    assert_eq!(keys(&store, &at(4)), "a b e");
    assert_eq!(keys(&store, &at(9)), "a b c d e");
    assert_eq!(keys(&store, &at(10)), "a b d e");
    assert_eq!(keys(&store, &at(0)), "a b d e");
    let old = store.range(&at(4)).unwrap();
    assert_eq!((old.revision(), old.count()), (10, 3));
    assert_eq!(old.iter().map(|kv| kv.mod_revision).collect::<Vec<_>>(), [4, 3, 2]);
    assert_eq!(refused(store.range(&at(11))), ErrorCode::FutureRevision);
    assert_eq!(keys(&store, &at(-1)), "a b d e", "less than zero is now (etcd 14.2)");
}

#[test]
fn a_range_below_the_compaction_is_refused_and_at_it_is_not() {
    // etcd 10.4, 14.2
    let store = five();
    store.compact(6, false).unwrap();
    let at = |revision| RangeRequest { revision, ..range(b"a", b"f") };
    let error = store.range(&at(5)).err().expect("it is compacted");
    assert_eq!((error.code(), error.compact_revision()), (ErrorCode::Compacted, 6));
    assert_eq!(keys(&store, &at(6)), "a b c d e");
}

#[test]
fn every_range_at_every_revision_agrees_with_a_model() {
    let store = memory();
    let mut random = Random::new(1);
    let mut now: BTreeMap<Vec<u8>, (String, i64, i64)> = BTreeMap::new();
    let mut history = vec![now.clone(), now.clone()];
    for i in 0..3000 {
        // Long shared prefixes and many keys: the ordered index is read in more than one chunk.
        let key = format!("key/{:04}", random.below(1500)).into_bytes();
        if random.below(4) == 0 {
            if now.remove(&key).is_some() {
                history.push(now.clone());
            }
            delete(&store, &key);
        } else {
            let revision = put(&store, &key, i.to_string());
            let (created, version) = now.get(&key).map_or((revision, 1), |old| (old.1, old.2 + 1));
            now.insert(key, (i.to_string(), created, version));
            history.push(now.clone());
        }
        assert_eq!(store.revision() as usize, history.len() - 1);
    }
    for _ in 0..300 {
        let revision = 1 + random.below(history.len() as u64 - 1) as i64;
        let mut ends: Vec<Vec<u8>> =
            (0..2).map(|_| format!("key/{:04}", random.below(1500)).into_bytes()).collect();
        ends.sort();
        let (from, to) = (ends[0].as_slice(), ends[1].as_slice());
        let result = store.range(&RangeRequest { revision, ..range(from, to) }).unwrap();
        let pairs = result.iter().map(|kv| (text(kv.key), text(kv.value), kv.create_revision, kv.version));
        let read: Vec<_> = pairs.collect();
        let then = history[revision as usize].range(from.to_vec()..to.to_vec());
        let model: Vec<_> = then.map(|(key, kv)| (text(key), kv.0.clone(), kv.1, kv.2)).collect();
        assert_eq!(read, model, "{} to {} at {revision}", text(from), text(to));
        assert_eq!(result.count() as usize, model.len());
    }
    let whole = store.range(&RangeRequest { revision: 1000, ..range(ALL.0, ALL.1) }).unwrap();
    assert_eq!(whole.len(), history[1000].len());
}
