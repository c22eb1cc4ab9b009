//! Transactions: compares, branches, what operations see, and what is refused before anything changes.

mod common;

use CompareResult::{Equal, Greater, Less, NotEqual};
use common::*;
use libwatch::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, ErrorCode, Op, OpResult, PutRequest,
    RangeRequest, Store, TxnRequest, TxnResult,
};

fn op_put<'a>(key: &'a str, value: &'a str) -> Op<'a> {
    Op::Put(PutRequest { key: key.as_bytes(), value: value.as_bytes(), prev_kv: true, ..Default::default() })
}

fn op_delete<'a>(key: &'a str, range_end: &'a str) -> Op<'a> {
    let (key, range_end) = (key.as_bytes(), range_end.as_bytes());
    Op::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: true })
}

fn op_range<'a>(key: &'a str, range_end: &'a str, revision: i64) -> Op<'a> {
    let (key, range_end) = (key.as_bytes(), range_end.as_bytes());
    Op::Range(RangeRequest { key, range_end, revision, ..Default::default() })
}

fn op_txn<'a>(compare: Vec<Compare<'a>>, success: Vec<Op<'a>>, failure: Vec<Op<'a>>) -> Op<'a> {
    Op::Txn(TxnRequest { compare, success, failure })
}

fn compare<'a>(key: &'a str, target: CompareTarget<'a>, result: CompareResult) -> Compare<'a> {
    Compare { key: key.as_bytes(), range_end: b"", target, result }
}

fn run(store: &Store, success: Vec<Op<'_>>) -> TxnResult {
    store.txn(&TxnRequest { success, ..Default::default() }).unwrap()
}

fn code(store: &Store, success: Vec<Op<'_>>) -> ErrorCode {
    refused(store.txn(&TxnRequest { success, ..Default::default() }))
}

fn holds(store: &Store, compare: Vec<Compare<'_>>) -> bool {
    store.txn(&TxnRequest { compare, ..Default::default() }).unwrap().succeeded()
}

/// What an operation answered, in one line.
fn told(result: &OpResult) -> String {
    match result {
        OpResult::Put(put) => {
            let prev = put.prev_kv().map_or(String::new(), |kv| format!(" was {}", text(kv.value)));
            format!("put @{}{prev}", put.revision())
        }
        OpResult::Range(range) => {
            let pairs: Vec<String> =
                range.iter().map(|kv| format!("{}={}", text(kv.key), text(kv.value))).collect();
            format!("range @{} {}", range.revision(), pairs.join(" "))
        }
        OpResult::DeleteRange(delete) => {
            let prev: Vec<String> =
                (0..delete.prev_kv_count()).map(|i| text(delete.prev_kv(i).key)).collect();
            format!("delete @{} {} {}", delete.revision(), delete.deleted(), prev.join(" "))
        }
        OpResult::Txn(txn) => {
            let inner: Vec<String> = txn.results().iter().map(told).collect();
            format!("txn @{} {} ({})", txn.revision(), txn.succeeded(), inner.join(", "))
        }
    }
}

fn all_told(result: &TxnResult) -> Vec<String> {
    result.results().iter().map(told).collect()
}

#[test]
fn a_transaction_is_one_revision_however_many_keys_it_changes() {
    // etcd 1.1, 1.2, 14.13
    let store = memory();
    let result = run(&store, vec![op_put("a", "1"), op_put("b", "2"), op_put("c", "3")]);
    assert_eq!((result.revision(), result.succeeded(), store.revision()), (2, true, 2));
    assert_eq!(all_told(&result), ["put @2", "put @2", "put @2"]);
    let all = store.range(&RangeRequest { key: ALL.0, range_end: ALL.1, ..Default::default() }).unwrap();
    assert!(all.iter().all(|kv| (kv.create_revision, kv.mod_revision, kv.version) == (2, 2, 1)));
}

#[test]
fn a_transaction_without_effect_takes_no_revision() {
    // etcd 1.3, 14.13
    let store = memory();
    put(&store, "a", "1");
    let empty = store.txn(&TxnRequest::default()).unwrap();
    assert_eq!((empty.revision(), empty.succeeded(), empty.results().len()), (2, true, 0));
    let reads = run(&store, vec![op_range("a", "", 0), op_delete("x", "")]);
    assert_eq!(all_told(&reads), ["range @2 a=1", "delete @2 0 "]);
    assert_eq!((reads.revision(), store.revision()), (2, 2));
}

#[test]
fn the_branch_follows_the_compares() {
    // etcd 14.9
    let store = memory();
    put(&store, "a", "1");
    let request = |number| TxnRequest {
        compare: vec![compare("a", CompareTarget::Version(number), Equal)],
        success: vec![op_put("won", "1")],
        failure: vec![op_put("lost", "1"), op_range("a", "", 0)],
    };
    let won = store.txn(&request(1)).unwrap();
    assert_eq!((won.succeeded(), won.results().len()), (true, 1));
    let lost = store.txn(&request(2)).unwrap();
    assert_eq!((lost.succeeded(), lost.results().len()), (false, 2));
    assert_eq!((get(&store, "won", 0), get(&store, "won", 4)), (Some("1".into()), Some("1".into())));
    assert_eq!((get(&store, "lost", 3), get(&store, "lost", 4)), (None, Some("1".into())));
}

#[test]
fn every_target_compares_every_way() {
    // etcd 14.9; a: create 2, mod 4, version 3, lease 7, value "m"
    let store = memory();
    for _ in 0..3 {
        store.put(&PutRequest { key: b"a", value: b"m", lease: 7, ..Default::default() }).unwrap();
    }
    type Target = fn(i64) -> CompareTarget<'static>;
    let numbers: [(Target, i64); 4] = [
        (CompareTarget::Version, 3),
        (CompareTarget::Create, 2),
        (CompareTarget::Mod, 4),
        (CompareTarget::Lease, 7),
    ];
    for (target, is) in numbers {
        for (given, holding) in
            [(is - 1, [NotEqual, Greater]), (is, [Equal, Equal]), (is + 1, [NotEqual, Less])]
        {
            for result in [Equal, NotEqual, Greater, Less] {
                let held = holds(&store, vec![compare("a", target(given), result)]);
                assert_eq!(held, holding.contains(&result), "{:?} {result:?}", target(given));
            }
        }
    }
    for (given, holding) in [(b"l", [NotEqual, Greater]), (b"m", [Equal, Equal]), (b"n", [NotEqual, Less])] {
        for result in [Equal, NotEqual, Greater, Less] {
            let held = holds(&store, vec![compare("a", CompareTarget::Value(given), result)]);
            assert_eq!(held, holding.contains(&result), "{} {result:?}", text(given));
        }
    }
}

#[test]
fn an_absent_key_compares_as_zeros_and_never_by_value() {
    // etcd 14.9
    let store = memory();
    put(&store, "gone", "v");
    delete(&store, "gone");
    for key in ["never", "gone"] {
        for target in
            [CompareTarget::Version, CompareTarget::Create, CompareTarget::Mod, CompareTarget::Lease]
        {
            assert!(holds(&store, vec![compare(key, target(0), Equal)]));
            assert!(holds(&store, vec![compare(key, target(1), Less)]));
            assert!(!holds(&store, vec![compare(key, target(0), NotEqual)]));
        }
        for result in [Equal, NotEqual, Greater, Less] {
            assert!(!holds(&store, vec![compare(key, CompareTarget::Value(b"v"), result)]));
        }
    }
}

#[test]
fn all_compares_must_hold_and_all_keys_of_a_range() {
    // etcd 14.9
    let store = memory();
    put(&store, "a", "1");
    put(&store, "b", "1");
    put(&store, "b", "1");
    let version = |key, range_end, number, result| {
        vec![Compare { key, range_end, target: CompareTarget::Version(number), result }]
    };
    assert!(holds(&store, version(b"a", b"c", 0, Greater)));
    assert!(!holds(&store, version(b"a", b"c", 1, Equal)), "b has version 2");
    assert!(!holds(&store, version(b"a", b"\0", 1, Greater)), "a has version 1");
    assert!(holds(&store, version(b"x", b"z", 0, Equal)), "an empty range is an absent key");
    assert!(!holds(&store, version(b"x", b"z", 0, Greater)));
    let yes = || compare("a", CompareTarget::Version(1), Equal);
    let no = || compare("a", CompareTarget::Version(9), Equal);
    assert!(holds(&store, vec![yes(), yes()]));
    assert!(!holds(&store, vec![yes(), no()]));
    assert!(!holds(&store, vec![no(), yes()]));
}

#[test]
fn operations_see_what_earlier_ones_of_the_transaction_did() {
    // etcd 1.4, 1.5, 14.3
    let store = memory();
    put(&store, "a", "old");
    put(&store, "m", "old");
    put(&store, "z", "old");
    let result = run(
        &store,
        vec![
            op_range("a", "\0", 0),
            op_put("a", "new"),
            op_put("b", "new"),
            op_range("a", "\0", 0),
            op_delete("m", "n"),
            op_delete("m", ""),
            op_range("a", "\0", 0),
            op_range("b", "", 0),
            op_range("m", "", 0),
        ],
    );
    let expected = [
        "range @4 a=old m=old z=old",
        "put @5 was old",
        "put @5",
        "range @5 a=new b=new m=old z=old",
        "delete @5 1 m",
        "delete @5 0 ",
        "range @5 a=new b=new z=old",
        "range @5 b=new",
        "range @5 ",
    ];
    assert_eq!(all_told(&result), expected);
    let OpResult::Range(read) = &result.results()[3] else { panic!("a range answers a range") };
    assert_eq!(pair(&read.kv(0)), ("a".into(), "new".into(), 2, 5, 2, 0));
    assert_eq!(pair(&read.kv(1)), ("b".into(), "new".into(), 5, 5, 1, 0));
    assert_eq!((read.count(), read.more()), (4, false));
}

#[test]
fn a_limited_or_sorted_read_counts_own_changes_in() {
    // etcd 1.5, 14.4
    let store = memory();
    put(&store, "b", "9");
    put(&store, "d", "7");
    let request = |limit, sort_order| {
        let sort_target = libwatch::SortTarget::Value;
        let (key, range_end): (&[u8], &[u8]) = (b"a", b"\0");
        Op::Range(RangeRequest { key, range_end, limit, sort_target, sort_order, ..Default::default() })
    };
    let descending = libwatch::SortOrder::Descend;
    let plain = Op::Range(RangeRequest { key: b"a", range_end: b"\0", limit: 3, ..Default::default() });
    let result = run(
        &store,
        vec![
            op_put("a", "8"),
            op_put("c", "6"),
            request(3, descending),
            request(0, Default::default()),
            plain,
        ],
    );
    let told = all_told(&result);
    assert_eq!(told[2..], ["range @4 b=9 a=8 d=7", "range @4 c=6 d=7 a=8 b=9", "range @4 a=8 b=9 c=6"]);
    let OpResult::Range(cut) = &result.results()[2] else { panic!("a range answers a range") };
    assert_eq!((cut.count(), cut.more()), (4, true));
}

#[test]
fn a_read_at_a_revision_sees_that_revision_and_not_the_transaction() {
    // etcd 14.2
    let store = memory();
    put(&store, "a", "1");
    put(&store, "a", "2");
    let result = run(&store, vec![op_put("a", "3"), op_range("a", "", 2), op_range("a", "", 3)]);
    assert_eq!(all_told(&result), ["put @4 was 2", "range @4 a=1", "range @4 a=2"]);
    assert_eq!(code(&store, vec![op_put("a", "4"), op_range("a", "", 5)]), ErrorCode::FutureRevision);
    assert_eq!(code(&store, vec![op_range("a", "", -1)]), ErrorCode::Compacted);
    store.compact(3, false).unwrap();
    assert_eq!(code(&store, vec![op_range("a", "", 2)]), ErrorCode::Compacted);
    assert_eq!(all_told(&run(&store, vec![op_range("a", "", 3)])), ["range @4 a=2"]);
}

#[test]
fn nested_compares_see_the_state_before_the_outermost_transaction() {
    // etcd 14.10
    let store = memory();
    let absent = || vec![compare("a", CompareTarget::Version(0), Equal)];
    let inner = op_txn(absent(), vec![op_put("was-absent", "1")], vec![op_put("was-present", "1")]);
    let deeper = op_txn(absent(), vec![op_txn(absent(), vec![op_range("a", "", 0)], vec![])], vec![]);
    let result = run(&store, vec![op_put("a", "1"), inner, deeper]);
    let expected = ["put @2", "txn @2 true (put @2)", "txn @2 true (txn @2 true (range @2 a=1))"];
    assert_eq!(all_told(&result), expected);
    assert_eq!((result.revision(), store.revision()), (2, 2));
    assert_eq!(get(&store, "was-present", 0), None);
}

#[test]
fn a_nested_failure_branch_runs_and_the_rest_goes_on() {
    // etcd 14.10
    let store = memory();
    let never = vec![compare("a", CompareTarget::Version(9), Equal)];
    let inner = op_txn(never, vec![op_put("x", "1")], vec![op_put("y", "1"), op_delete("a", "")]);
    put(&store, "a", "1");
    let result = run(&store, vec![inner, op_put("z", "1"), op_range("a", "\0", 0)]);
    let expected = ["txn @3 false (put @3, delete @3 1 a)", "put @3", "range @3 y=1 z=1"];
    assert_eq!(all_told(&result), expected);
}

#[test]
fn what_is_refused_changes_nothing() {
    // etcd 14.11
    let store = memory();
    put(&store, "a", "1");
    let missing = Op::Put(PutRequest { key: b"none", ignore_value: true, ..Default::default() });
    let both = Op::Put(PutRequest { key: b"a", value: b"v", ignore_value: true, ..Default::default() });
    assert_eq!(code(&store, vec![op_put("b", "1"), missing.clone()]), ErrorCode::KeyNotFound);
    assert_eq!(
        code(&store, vec![op_put("b", "1"), op_txn(vec![], vec![missing], vec![])]),
        ErrorCode::KeyNotFound
    );
    assert_eq!(code(&store, vec![op_put("b", "1"), both]), ErrorCode::InvalidArgument);
    assert_eq!(code(&store, vec![op_put("b", "1"), op_range("a", "", 99)]), ErrorCode::FutureRevision);
    assert_eq!(code(&store, vec![op_put("b", "1"), op_put("", "1")]), ErrorCode::EmptyKey);
    assert_eq!(code(&store, vec![op_put("b", "1"), op_put("b", "2")]), ErrorCode::DuplicateKey);
    assert_eq!((store.revision(), get(&store, "b", 0)), (2, None));
    let elsewhere =
        TxnRequest { compare: vec![], success: vec![op_put("b", "1")], failure: vec![op_range("a", "", 99)] };
    assert!(store.txn(&elsewhere).is_ok(), "only the chosen path is checked (etcd 14.10)");
}

#[test]
fn no_key_changes_twice_in_one_transaction() {
    // etcd 1.11, 14.12
    let store = memory();
    let branch = |ops| op_txn(vec![], ops, vec![]);
    let other = |ops| op_txn(vec![], vec![], ops);
    let twice: Vec<Vec<Op<'_>>> = vec![
        vec![op_put("a", "1"), op_delete("a", "")],
        vec![op_delete("a", "c"), op_put("b", "1")],
        vec![op_put("b", "1"), op_delete("a", "\0")],
        vec![op_put("a", "1"), branch(vec![op_put("a", "2")])],
        vec![branch(vec![op_put("a", "1")]), other(vec![op_put("a", "2")])],
        vec![branch(vec![op_delete("a", "\0")]), op_put("x", "1")],
    ];
    for ops in twice {
        assert_eq!(code(&store, ops.clone()), ErrorCode::DuplicateKey, "{ops:?}");
        let unreached = TxnRequest { failure: ops, ..Default::default() };
        assert_eq!(refused(store.txn(&unreached)), ErrorCode::DuplicateKey, "also on the other branch");
    }
    let once: Vec<Vec<Op<'_>>> = vec![
        vec![op_delete("a", "c"), op_delete("b", "d")],
        vec![op_delete("a", "b"), op_put("b", "1")],
        vec![op_delete("c", "a"), op_put("b", "1")],
        vec![op_txn(vec![], vec![op_put("a", "1")], vec![op_put("a", "2")])],
        vec![op_range("a", "\0", 0), op_put("a", "1"), op_range("a", "", 0)],
    ];
    for ops in once {
        run(&store, ops);
    }
}

#[test]
fn a_counter_moved_by_compare_and_swap_loses_no_step() {
    watched(|| {
        let store = memory();
        put(&store, "n", "0");
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let store = store.clone();
                std::thread::spawn(move || (0..100).for_each(|_| count_up(&store)))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(get(&store, "n", 0).as_deref(), Some("400"));
        assert_eq!(store.revision(), 402, "failed attempts take no revision");
    });
}

fn count_up(store: &Store) {
    loop {
        let seen = store.get(b"n", 0).unwrap();
        let next = (text(seen.kv(0).value).parse::<u32>().unwrap() + 1).to_string();
        let request = TxnRequest {
            compare: vec![compare("n", CompareTarget::Mod(seen.kv(0).mod_revision), Equal)],
            success: vec![op_put("n", &next)],
            failure: vec![],
        };
        if store.txn(&request).unwrap().succeeded() {
            return;
        }
    }
}
