//! The KV API: tables of ranges, deletes, puts and transactions.

use CompareResult::{Equal, Greater, Less, NotEqual};
use libwatch::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, ErrorCode, Op, OpResult, PutRequest,
    RangeRequest, SortOrder, SortTarget, Store, TxnRequest,
};

use crate::common::*;

fn range<'a>(key: &'a str, range_end: &'a str) -> RangeRequest<'a> {
    RangeRequest { key: key.as_bytes(), range_end: range_end.as_bytes(), ..Default::default() }
}

/// A store in which these keys were put, one revision each, from 2 on.
fn with(keys: &[&str]) -> Store {
    let store = memory();
    for (i, key) in keys.iter().enumerate() {
        assert_eq!(put(&store, key, "bar"), i as i64 + 2);
    }
    store
}

/// The keys, the count, and whether there were more.
fn read(store: &Store, request: &RangeRequest<'_>) -> (String, i64, bool) {
    let result = store.range(request).unwrap();
    assert_eq!(result.revision(), store.revision());
    (keys(store, request), result.count(), result.more())
}

fn is(keys: &str, count: i64, more: bool) -> (String, i64, bool) {
    (keys.to_string(), count, more)
}

fn op_put<'a>(key: &'a str, value: &'a str) -> Op<'a> {
    Op::Put(PutRequest { key: key.as_bytes(), value: value.as_bytes(), ..Default::default() })
}

fn op_delete<'a>(key: &'a str, range_end: &'a str) -> Op<'a> {
    let (key, range_end) = (key.as_bytes(), range_end.as_bytes());
    Op::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false })
}

fn run(store: &Store, success: Vec<Op<'_>>) -> Result<i64, ErrorCode> {
    let result = store.txn(&TxnRequest { success, ..Default::default() });
    result.map(|result| result.revision()).map_err(|error| error.code())
}

/// etcd 2.2, 14.1, 14.4
#[test]
fn single_keys_and_ranges_are_read_as_they_are_given() {
    let store = with(&["foo", "bar"]);
    assert_eq!(read(&store, &range("foo", "")), is("foo", 1, false));
    assert_eq!(read(&store, &range("baz", "")), is("", 0, false));
    let store = with(&["a", "b", "c", "d", "e"]);
    for (key, end, expected) in [
        ("a", "c", "a b"),
        ("b", "d", "b c"),
        ("a", "g", "a b c d e"),
        ("e", "b", ""),
        ("b", "b", ""),
        ("c", "\0", "c d e"),
        ("\0", "\0", "a b c d e"),
    ] {
        let count = expected.split_whitespace().count() as i64;
        assert_eq!(read(&store, &range(key, end)), is(expected, count, false), "{key} {end}");
    }
    assert_eq!(refused(store.range(&range("", ""))), ErrorCode::EmptyKey);
}

/// etcd 14.2, 14.4
#[test]
fn a_revision_is_read_with_the_count_of_then() {
    let store = with(&["a", "b", "c", "d", "e"]);
    for (revision, expected, count) in [(0, "a b c d e", 5), (1, "", 0), (2, "a", 1), (3, "a b", 2)] {
        let request = RangeRequest { revision, ..range("a", "z") };
        assert_eq!(read(&store, &request), is(expected, count, false), "at {revision}");
    }
    assert_eq!(
        refused(store.range(&RangeRequest { revision: 7, ..range("a", "z") })),
        ErrorCode::FutureRevision
    );
}

/// etcd 14.4
#[test]
fn a_limit_says_whether_there_is_more_and_counts_everything() {
    let store = with(&["a", "b", "c"]);
    for (limit, expected, more) in
        [(0, "a b c", false), (1, "a", true), (2, "a b", true), (3, "a b c", false), (4, "a b c", false)]
    {
        let request = RangeRequest { limit, ..range("a", "z") };
        assert_eq!(read(&store, &request), is(expected, 3, more), "limit {limit}");
    }
    let counted = RangeRequest { count_only: true, limit: 1, ..range("a", "z") };
    assert_eq!(read(&store, &counted), is("", 3, false));
}

/// etcd 14.5, 14.6; b was created in 2, a in 3, c in 4 and again changed in 6, d in 5
#[test]
fn a_sorted_range_is_cut_after_sorting() {
    let store = with(&["b", "a", "c", "d", "c"]);
    use SortOrder::{Ascend, Descend, None};
    use SortTarget::{Create, Key, Mod, Value, Version};
    for (sort_target, sort_order, limit, expected) in [
        (Key, Ascend, 1, "a"),
        (Key, Descend, 1, "d"),
        (Create, Ascend, 1, "b"),
        (Mod, Descend, 1, "c"),
        (Create, Descend, 1, "d"),
        (Version, Descend, 1, "c"),
        (Mod, None, 1, "b"),
        (Create, None, 2, "b a"),
        (Key, None, 2, "a b"),
        (Mod, Ascend, 0, "b a d c"),
        (Value, Ascend, 0, "a b c d"),
    ] {
        let request = RangeRequest { sort_target, sort_order, limit, ..range("a", "z") };
        let more = limit > 0;
        assert_eq!(read(&store, &request), is(expected, 4, more), "{sort_target:?} {sort_order:?}");
    }
}

/// etcd 14.4, 14.5
#[test]
fn bounds_on_revisions_leave_keys_out_and_not_out_of_the_count() {
    let store = with(&["rev2", "rev3", "rev4", "rev5", "rev6"]);
    for (min, max, expected) in [
        (3, 0, "rev3 rev4 rev5 rev6"),
        (0, 3, "rev2 rev3"),
        (3, 5, "rev3 rev4 rev5"),
        (4, 10, "rev4 rev5 rev6"),
        (7, 0, ""),
        (5, 3, ""),
    ] {
        let all = range("\0", "\0");
        let by_mod = RangeRequest { min_mod_revision: min, max_mod_revision: max, ..all.clone() };
        assert_eq!(read(&store, &by_mod), is(expected, 5, false), "mod {min} to {max}");
        let by_create = RangeRequest { min_create_revision: min, max_create_revision: max, ..all };
        assert_eq!(read(&store, &by_create), is(expected, 5, false), "create {min} to {max}");
    }
    put(&store, "rev2", "changed");
    let created = RangeRequest { max_create_revision: 2, min_mod_revision: 7, ..range("rev2", "rev7") };
    assert_eq!(read(&store, &created), is("rev2", 5, false), "all bounds must hold");
}

/// etcd 1.3, 1.4, 14.8
#[test]
fn a_deleted_range_says_how_many_it_deleted_and_leaves_the_rest() {
    for (key, end, deleted, rest) in [
        ("foo", "", "foo", "foo/abc fop"),
        ("foo", "fop", "foo foo/abc", "fop"),
        ("foo/", "fop", "foo/abc", "foo fop"),
        ("x", "z", "", "foo foo/abc fop"),
        ("fo", "foo", "", "foo foo/abc fop"),
        ("fop", "foo", "", "foo foo/abc fop"),
        ("foo/", "\0", "foo/abc fop", "foo"),
    ] {
        let store = with(&["foo", "foo/abc", "fop"]);
        let request = DeleteRangeRequest { key: key.as_bytes(), range_end: end.as_bytes(), prev_kv: true };
        let result = store.delete_range(&request).unwrap();
        let before: Vec<String> = (0..result.prev_kv_count()).map(|i| text(result.prev_kv(i).key)).collect();
        assert_eq!(before.join(" "), deleted, "{key} {end}");
        assert_eq!(result.deleted(), before.len() as i64);
        let revision = if before.is_empty() { 4 } else { 5 };
        assert_eq!((result.revision(), store.revision()), (revision, revision));
        assert_eq!(keys(&store, &range("\0", "\0")), rest);
    }
}

/// etcd 14.12
#[test]
fn a_transaction_that_would_change_a_key_twice_is_refused() {
    let put = || op_put("abc", "def");
    let (delete, delete_in, delete_out) =
        (|| op_delete("abc", ""), || op_delete("a", "b"), || op_delete("abb", "abc"));
    let nested = |success, failure| Op::Txn(TxnRequest { compare: vec![], success, failure });
    let cases = [
        (vec![put(), put()], false),
        (vec![put(), delete()], false),
        (vec![put(), delete_in()], false),
        (vec![delete(), delete_in(), delete()], true),
        (vec![put(), delete_out()], true),
        (vec![nested(vec![put()], vec![put()])], true),
        (vec![nested(vec![], vec![put()]), put()], false),
        (vec![nested(vec![put()], vec![]), nested(vec![delete()], vec![])], false),
        (vec![nested(vec![delete_in()], vec![delete()]), nested(vec![put()], vec![])], false),
        (vec![nested(vec![delete_in()], vec![delete()]), nested(vec![delete()], vec![])], true),
    ];
    for (i, (ops, accepted)) in cases.into_iter().enumerate() {
        let store = with(&["abc"]);
        let expected = if accepted { Ok(3) } else { Err(ErrorCode::DuplicateKey) };
        assert_eq!(run(&store, ops), expected, "case {}", i + 1);
        assert_eq!(store.revision(), if accepted { 3 } else { 2 });
    }
}

/// etcd 14.9
#[test]
fn a_compare_with_a_range_holds_if_every_key_passes() {
    let store = with(&["/a/", "/a/b", "/d/"]);
    let cases: [(&str, &str, CompareTarget<'_>, CompareResult, bool); 9] = [
        ("/a/", "/a0", CompareTarget::Create(4), Less, true),
        ("/a/", "/a0", CompareTarget::Create(2), Equal, false),
        ("/a/", "/d0", CompareTarget::Mod(1), Greater, true),
        ("/a/", "/d0", CompareTarget::Mod(2), Greater, false),
        ("/a/", "\0", CompareTarget::Value(b"bar"), Equal, true),
        ("/b/", "/c0", CompareTarget::Create(0), Equal, true),
        ("/b/", "/c0", CompareTarget::Create(0), Greater, false),
        ("/b/", "/c0", CompareTarget::Value(b"bar"), NotEqual, false),
        ("/a/", "/d0", CompareTarget::Version(2), NotEqual, true),
    ];
    for (i, (key, end, target, result, expected)) in cases.into_iter().enumerate() {
        let compare = vec![Compare { key: key.as_bytes(), range_end: end.as_bytes(), target, result }];
        let answer = store.txn(&TxnRequest { compare, ..Default::default() }).unwrap();
        assert_eq!(answer.succeeded(), expected, "case {}", i + 1);
    }
}

const DEPTH: usize = 12;

/// A transaction whose compare goes the way of `path`, with the rest of the path in that branch. The key of each
/// branch says where it is; the branches not taken would be refused if they ran.
fn along<'a>(names: &'a [[String; 2]], path: &[bool]) -> TxnRequest<'a> {
    let version = CompareTarget::Version(if path[0] { 0 } else { 1 });
    let compare = vec![Compare { key: b"absent", range_end: b"", target: version, result: Equal }];
    let mut taken = vec![op_put(&names[0][0], "taken")];
    if path.len() > 1 {
        taken.push(Op::Txn(along(&names[1..], &path[1..])));
    }
    let future = Op::Range(RangeRequest { revision: 1_000, ..range("a", "") });
    let other = vec![op_put(&names[0][1], "not taken"), future];
    let (success, failure) = if path[0] { (taken, other) } else { (other, taken) };
    TxnRequest { compare, success, failure }
}

/// etcd 1.1, 14.10
#[test]
fn nested_transactions_run_along_the_path_of_their_compares() {
    let mut random = Random::new(12);
    let names: Vec<[String; 2]> =
        (0..DEPTH).map(|i| [format!("taken-{i:02}"), format!("other-{i:02}")]).collect();
    for _ in 0..20 {
        let store = memory();
        let path: Vec<bool> = (0..DEPTH).map(|_| random.below(2) == 0).collect();
        let result = store.txn(&along(&names, &path)).unwrap();
        assert_eq!((result.revision(), store.revision()), (2, 2));
        let mut level = &result;
        for (i, went) in path.iter().enumerate() {
            assert_eq!(level.succeeded(), *went, "level {i} of {path:?}");
            assert!(matches!(&level.results()[0], OpResult::Put(put) if put.revision() == 2));
            match level.results() {
                [_, OpResult::Txn(inner)] => level = inner,
                results => assert_eq!((i, results.len()), (DEPTH - 1, 1)),
            }
        }
        let written: Vec<&str> = names.iter().map(|name| name[0].as_str()).collect();
        assert_eq!(keys(&store, &range("\0", "\0")), written.join(" "));
    }
}

/// etcd 1.3, 14.13
#[test]
fn a_transaction_answers_a_new_revision_exactly_if_it_writes() {
    let store = with(&["foo"]);
    let result = |success| store.txn(&TxnRequest { success, ..Default::default() }).unwrap();
    let get = || Op::Range(range("foo", ""));
    let only_read = result(vec![get()]);
    let OpResult::Range(found) = &only_read.results()[0] else { panic!("a range answers a range") };
    assert_eq!((only_read.revision(), found.revision(), store.revision()), (2, 2, 2));
    let written = result(vec![op_put("foo", "baz"), get()]);
    assert_eq!((written.revision(), store.revision()), (3, 3));
    let OpResult::Range(found) = &written.results()[1] else { panic!("a range answers a range") };
    assert_eq!((found.revision(), found.kv(0).mod_revision), (3, 3));
    assert_eq!(result(vec![op_delete("bar", "")]).revision(), 3, "a delete without effect");
}

/// etcd 14.7
#[test]
fn a_put_that_ignores_its_value_keeps_the_one_there_is() {
    let store = memory();
    let ignoring = |value| PutRequest { key: b"foo", value, ignore_value: true, ..Default::default() };
    let alone = |request: PutRequest<'_>| {
        store.put(&request).map(|result| result.revision()).map_err(|error| error.code())
    };
    let in_txn = |request| run(&store, vec![Op::Put(request)]);
    let now = || get(&store, "foo", 0);
    let bar = Some("bar".to_string());
    assert_eq!((alone(ignoring(b"")), now()), (Err(ErrorCode::KeyNotFound), None));
    assert_eq!((in_txn(ignoring(b"")), now()), (Err(ErrorCode::KeyNotFound), None));
    assert_eq!((alone(PutRequest { ignore_value: false, ..ignoring(b"bar") }), now()), (Ok(2), bar.clone()));
    assert_eq!((alone(ignoring(b"")), now()), (Ok(3), bar.clone()));
    assert_eq!((in_txn(ignoring(b"")), now()), (Ok(4), bar.clone()));
    assert_eq!((alone(ignoring(b"baz")), now()), (Err(ErrorCode::InvalidArgument), bar.clone()));
    assert_eq!((in_txn(ignoring(b"baz")), now()), (Err(ErrorCode::InvalidArgument), bar));
    assert_eq!(pair(&store.get(b"foo", 0).unwrap().kv(0)).4, 3, "each counts as a version");
}

/// etcd 14.7
#[test]
fn a_put_that_ignores_its_lease_keeps_the_one_there_is() {
    let store = memory();
    let request = |value, lease, ignore_lease| PutRequest {
        key: b"foo",
        value,
        lease,
        ignore_lease,
        ..Default::default()
    };
    let alone = |request: PutRequest<'_>| store.put(&request).map(|_| ()).map_err(|error| error.code());
    let in_txn = |request| run(&store, vec![Op::Put(request)]).map(|_| ());
    let now = || {
        let found = store.get(b"foo", 0).unwrap();
        found.iter().next().map(|kv| (text(kv.value), kv.lease))
    };
    let is = |value: &str| Some((value.to_string(), 123));
    assert_eq!((alone(request(b"bar", 0, true)), now()), (Err(ErrorCode::KeyNotFound), None));
    assert_eq!((alone(request(b"bar", 123, false)), now()), (Ok(()), is("bar")));
    assert_eq!((alone(request(b"zap", 0, true)), now()), (Ok(()), is("zap")));
    assert_eq!((in_txn(request(b"zip", 0, true)), now()), (Ok(()), is("zip")));
    assert_eq!((alone(request(b"no", 123, true)), now()), (Err(ErrorCode::InvalidArgument), is("zip")));
    assert_eq!((in_txn(request(b"no", 123, true)), now()), (Err(ErrorCode::InvalidArgument), is("zip")));
    assert_eq!(delete(&store, "foo"), 5);
    assert_eq!(alone(request(b"bar", 0, true)), Err(ErrorCode::KeyNotFound), "it went with its key");
}

/// etcd 10.1, 10.4, 14.2
#[test]
fn a_compaction_of_now_leaves_now_readable_and_nothing_before_it() {
    for physical in [false, true] {
        let store = with(&["foo", "foo", "foo"]);
        put(&store, "foo", "last");
        store.compact(5, physical).unwrap();
        assert_eq!(get(&store, "foo", 0).as_deref(), Some("last"));
        assert_eq!(put(&store, "foo", "next"), 6);
        let at = |revision| store.get(b"foo", revision).map(|r| text(r.kv(0).value)).map_err(|e| e.code());
        assert_eq!((at(5), at(6)), (Ok("last".into()), Ok("next".into())));
        assert_eq!((at(4), at(7)), (Err(ErrorCode::Compacted), Err(ErrorCode::FutureRevision)));
        assert_eq!(run(&store, vec![Op::Range(RangeRequest { revision: 5, ..range("foo", "") })]), Ok(6));
    }
}

/// etcd 14.2, 14.11
#[test]
fn a_transaction_with_a_range_that_cannot_be_read_writes_nothing() {
    let store = with(&["foo", "foo", "foo"]);
    let ops = |revision| {
        vec![op_put("new", "x"), Op::Range(RangeRequest { revision, ..range("foo", "") }), op_put("z", "x")]
    };
    assert_eq!(run(&store, ops(5)), Err(ErrorCode::FutureRevision));
    assert_eq!(run(&store, ops(1_000)), Err(ErrorCode::FutureRevision));
    store.compact(4, false).unwrap();
    assert_eq!(run(&store, ops(3)), Err(ErrorCode::Compacted));
    assert_eq!((store.revision(), keys(&store, &range("\0", "\0"))), (4, "foo".to_string()));
    assert_eq!(run(&store, ops(4)), Ok(5));
    assert_eq!(keys(&store, &range("\0", "\0")), "foo new z");
}

/// etcd 3.5, 9.2, 10.1
#[test]
fn a_compacted_watch_ends_with_the_compaction_and_says_nothing_more() {
    watched(|| {
        let store = memory();
        (0..10).for_each(|_| _ = put(&store, "foo", "bar"));
        store.compact(7, false).unwrap();
        assert_eq!(refused(store.compact(7, false)), ErrorCode::Compacted);
        let stream = stream(&store);
        let id = stream.create(&watch((b"foo", b""), 3)).unwrap();
        let last = take(&stream);
        assert!(last.is_canceled() && last.is_empty() && last.watch_id() == id);
        assert_eq!((last.compact_revision(), last.cancel_code()), (7, Some(ErrorCode::Compacted)));
        put(&store, "foo", "bar");
        assert!(settle(&stream).is_empty());
        assert_eq!(refused(store.compact(1000, false)), ErrorCode::FutureRevision);
    });
}
