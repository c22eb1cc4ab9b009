//! Every bound: what is at it is taken, what is one past it is refused by name and changes nothing. The same cases
//! are in tests/c, tests/cpp and tests/python.

mod common;

use common::*;
use libwatch::{
    Compare, CompareResult, CompareTarget, CreateRequest, DeleteRangeRequest, ErrorCode, Op, PutRequest,
    RangeRequest, Result, Store, StoreOptions, TxnRequest, limits,
};

/// What a refused call must leave as it was.
fn numbers(store: &Store) -> [u64; 6] {
    let stats = store.stats().unwrap();
    let totals = [stats.put_total, stats.delete_total, stats.txn_total];
    [stats.revision as u64, stats.key_count, stats.watch_count, totals[0], totals[1], totals[2]]
}

/// The call is past a bound, says so with these words, and changes nothing.
fn limited<T>(store: &Store, words: &str, call: impl FnOnce() -> Result<T>) {
    let before = numbers(store);
    let refusal = call().map(drop).expect_err(words);
    assert_eq!(refusal.code(), ErrorCode::Limit, "{refusal}");
    assert!(refusal.message().contains(words), "{refusal} against {words}");
    assert_eq!(numbers(store), before, "{refusal}");
}

fn op_put(key: &[u8]) -> Op<'_> {
    Op::Put(PutRequest { key, ..Default::default() })
}

/// etcd 14.1, S 19.8
/// etcd 14.1, 14.11
#[test]
fn a_key_has_1_to_65535_bytes() {
    assert_eq!(limits::KEY_BYTES_MAX, 65_535);
    let folder = folder();
    for store in [memory(), Store::open(folder.path(), &tiny()).unwrap()] {
        let key = vec![b'k'; limits::KEY_BYTES_MAX + 1];
        let (longest, too_long) = (&key[1..], &key[..]);
        assert_eq!(put(&store, b"k", "short"), 2);
        assert_eq!(put(&store, longest, "long"), 3);
        assert_eq!(get(&store, b"k", 0).as_deref(), Some("short"));
        assert_eq!(get(&store, longest, 0).as_deref(), Some("long"));
        let (words, key) = ("the key has 65536 bytes", too_long);
        limited(&store, words, || store.put(&PutRequest { key, ..Default::default() }));
        limited(&store, words, || store.get(key, 0));
        limited(&store, words, || store.delete_range(&DeleteRangeRequest { key, ..Default::default() }));
        let txn = TxnRequest { success: vec![op_put(b"x"), op_put(key)], ..Default::default() };
        limited(&store, words, || store.txn(&txn));
        let target = CompareTarget::Version(0);
        let compare = vec![Compare { key, range_end: b"", target, result: CompareResult::Equal }];
        limited(&store, words, || store.txn(&TxnRequest { compare, ..Default::default() }));
        assert_eq!(refused(store.get(b"", 0)), ErrorCode::EmptyKey);
        assert_eq!((store.revision(), get(&store, "x", 0)), (3, None));
        assert_eq!(delete(&store, longest), 4);
    }
}

/// etcd 2.2, 14.11
#[test]
fn a_range_end_has_up_to_65535_bytes() {
    let store = memory();
    put(&store, "a", "1");
    let end = vec![b'z'; limits::KEY_BYTES_MAX + 1];
    let range = |range_end| RangeRequest { key: b"a", range_end, ..Default::default() };
    assert_eq!(store.range(&range(&end[1..])).unwrap().len(), 1);
    limited(&store, "the range_end has 65536 bytes", || store.range(&range(&end)));
    let delete = |range_end| DeleteRangeRequest { key: b"a", range_end, prev_kv: false };
    limited(&store, "the range_end has 65536 bytes", || store.delete_range(&delete(&end)));
    assert_eq!(store.delete_range(&delete(&end[1..])).unwrap().deleted(), 1);
}

/// etcd 2.2, 3.10
#[test]
fn a_watch_takes_the_longest_key_and_range_end() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let long = vec![b'k'; limits::KEY_BYTES_MAX + 1];
        limited(&store, "the key has 65536 bytes", || stream.create(&watch((&long, b""), 0)));
        limited(&store, "the range_end has 65536 bytes", || stream.create(&watch((b"a", &long), 0)));
        stream.create(&watch((&long[1..], b""), 0)).unwrap();
        stream.create(&watch((b"a", &long[1..]), 0)).unwrap();
        put(&store, &long[1..], "x");
        put(&store, &long[2..], "y");
        let responses = settle(&stream);
        assert_eq!(lines_of(&responses, 1).len(), 1, "the longest key matches itself");
        assert_eq!(lines_of(&responses, 2).len(), 1, "the end is not in the range");
    });
}

/// S 19.8
/// etcd 5.1, 14.11
#[test]
fn a_value_has_up_to_64_mib() {
    assert_eq!(limits::VALUE_BYTES_MAX, 64 << 20);
    watched(|| {
        let folder = folder();
        for store in [memory(), Store::open(folder.path(), &tiny()).unwrap()] {
            let mut value = vec![7u8; limits::VALUE_BYTES_MAX + 1];
            let too_long = PutRequest { key: b"a", value: &value, ..Default::default() };
            limited(&store, "the value has 67108865 bytes", || store.put(&too_long));
            assert_eq!(store.revision(), 1);
            value.pop();
            value[limits::VALUE_BYTES_MAX - 1] = 9;
            assert_eq!(put(&store, "a", &value), 2);
            assert_eq!(put(&store, "b", ""), 3);
            assert!(store.get(b"a", 0).unwrap().kv(0).value == value, "the value came back changed");
            assert_eq!(get(&store, "b", 0).as_deref(), Some(""));
        }
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let seen = store.get(b"a", 0).unwrap();
        let bytes = seen.kv(0).value;
        assert_eq!((bytes.len(), bytes[0], bytes[bytes.len() - 1]), (limits::VALUE_BYTES_MAX, 7, 9));
    });
}

/// etcd 14.12
#[test]
fn a_list_of_a_transaction_has_up_to_128_entries() {
    assert_eq!(limits::TXN_OPS_MAX_DEFAULT, 128);
    let store = memory();
    let keys: Vec<String> = (0..129).map(|i| i.to_string()).collect();
    let ops = |count: usize| keys[..count].iter().map(|key| op_put(key.as_bytes())).collect::<Vec<_>>();
    let one = Compare {
        key: b"a",
        range_end: b"",
        target: CompareTarget::Version(0),
        result: CompareResult::Equal,
    };
    let full = TxnRequest { compare: vec![one.clone(); 128], success: ops(128), failure: ops(128) };
    assert_eq!(store.txn(&full).unwrap().results().len(), 128);
    for request in [
        TxnRequest { compare: vec![one; 129], ..Default::default() },
        TxnRequest { success: ops(129), ..Default::default() },
        TxnRequest { failure: ops(129), ..Default::default() },
    ] {
        limited(&store, "129 entries in one list", || store.txn(&request));
    }
    assert_eq!(store.revision(), 2);
}

/// etcd 14.12
#[test]
fn the_lists_of_nested_transactions_share_the_bound() {
    let store = memory();
    let keys: Vec<String> = (0..128).map(|i| i.to_string()).collect();
    let nested = |count: usize| {
        let success = keys[..count].iter().map(|key| op_put(key.as_bytes())).collect();
        let inner = Op::Txn(TxnRequest { success, ..Default::default() });
        TxnRequest { success: vec![inner], ..Default::default() }
    };
    assert!(store.txn(&nested(127)).is_ok());
    limited(&store, "127 of 128 are left", || store.txn(&nested(128)));
}

/// etcd 14.12
#[test]
fn the_bound_on_operations_can_be_moved_and_is_bounded_itself() {
    let store = memory_with(|options| options.txn_ops_max = 2);
    let txn = |ops| TxnRequest { success: ops, ..Default::default() };
    assert!(store.txn(&txn(vec![op_put(b"a"), op_put(b"b")])).is_ok());
    limited(&store, "2 of 2 are left", || store.txn(&txn(vec![op_put(b"a"), op_put(b"b"), op_put(b"c")])));
    let most = StoreOptions { txn_ops_max: limits::TXN_OPS_MAX, ..Default::default() };
    let store = Store::open_in_memory(&most).unwrap();
    let keys: Vec<String> = (0..limits::TXN_OPS_MAX).map(|i| i.to_string()).collect();
    let result = store.txn(&txn(keys.iter().map(|key| op_put(key.as_bytes())).collect())).unwrap();
    assert_eq!((result.revision(), result.results().len()), (2, keys.len()));
    let all = RangeRequest { key: ALL.0, range_end: ALL.1, count_only: true, ..Default::default() };
    assert_eq!(store.range(&all).unwrap().count(), keys.len() as i64);
}

/// etcd 14.12
#[test]
fn transactions_nest_32_deep() {
    assert_eq!(limits::TXN_DEPTH_MAX, 32);
    let store = memory();
    let mut txn = TxnRequest { success: vec![op_put(b"deep")], ..Default::default() };
    for _ in 1..32 {
        txn = TxnRequest { success: vec![Op::Txn(txn)], ..Default::default() };
    }
    assert_eq!(store.txn(&txn).unwrap().revision(), 2);
    let deeper = TxnRequest { success: vec![Op::Txn(txn)], ..Default::default() };
    limited(&store, "deeper than 32", || store.txn(&deeper));
    assert_eq!(store.revision(), 2);
}

/// S 19.8
/// etcd 14.11: 16 values of 64 MiB, and 16 keys
#[test]
fn a_transaction_has_up_to_1_gib() {
    let store = memory();
    let value = vec![0; limits::VALUE_BYTES_MAX];
    let keys: Vec<String> = (0..16).map(|i| i.to_string()).collect();
    let put = |key| Op::Put(PutRequest { key, value: &value, ..Default::default() });
    let success = keys.iter().map(|key| put(key.as_bytes())).collect();
    let request = TxnRequest { success, ..Default::default() };
    limited(&store, "1073741824", || store.txn(&request));
    assert_eq!(store.revision(), 1);
    assert_eq!(common::put(&store, "a", "1"), 2, "the store goes on");
}

/// S 19.8
/// etcd 14.11, in the opening of a store
#[test]
fn options_out_of_their_bounds_are_refused_by_name() {
    type Change = fn(&mut StoreOptions);
    let open = |change: Change| {
        let mut options = StoreOptions::default();
        change(&mut options);
        Store::open_in_memory(&options).map(drop)
    };
    let bad: [(Change, &str); 4] = [
        (|o| o.segment_bytes = limits::SEGMENT_BYTES_MIN - 1, "segment_bytes"),
        (|o| o.segment_bytes = limits::SEGMENT_BYTES_MAX + 1, "segment_bytes"),
        (|o| o.txn_ops_max = limits::TXN_OPS_MAX + 1, "txn_ops_max"),
        (|o| o.dispatch_threads = limits::DISPATCH_THREADS_MAX + 1, "dispatch_threads"),
    ];
    for (change, name) in bad {
        let error = open(change).expect_err("it is out of its bounds");
        assert_eq!(error.code(), ErrorCode::Limit);
        assert!(error.message().contains(name), "{error}");
    }
    let good: [Change; 4] = [
        |o| o.segment_bytes = limits::SEGMENT_BYTES_MIN,
        |o| o.segment_bytes = 0,
        |o| o.txn_ops_max = limits::TXN_OPS_MAX,
        |o| o.dispatch_threads = limits::DISPATCH_THREADS_MAX,
    ];
    for change in good {
        open(change).unwrap();
    }
}

/// etcd 12.5
#[test]
fn up_to_1024_requests_for_progress_wait() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        for _ in 0..limits::PROGRESS_REQUESTS_MAX {
            stream.request_progress().unwrap();
        }
        limited(&store, "1024 requests for progress", || stream.request_progress());
        for _ in 0..limits::PROGRESS_REQUESTS_MAX {
            assert!(take(&stream).is_progress());
        }
        stream.request_progress().unwrap();
        assert!(take(&stream).is_progress());
    });
}

/// etcd 3.2, 3.9
#[test]
fn the_highest_numbers_are_legal_for_a_watch() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let request = CreateRequest { watch_id: i64::MAX, watch_data: usize::MAX, ..watch(ALL, 0) };
        assert_eq!(stream.create(&request).unwrap(), i64::MAX);
        let far = CreateRequest { created_notify: true, ..watch(ALL, i64::MAX) };
        assert_eq!(stream.create(&far).unwrap(), 1);
        put(&store, "a", "1");
        let responses = settle(&stream);
        let told: Vec<i64> = responses.iter().map(|response| response.watch_id()).collect();
        assert_eq!(told, [1, i64::MAX]);
        assert_eq!(responses[0].resume_revision(), i64::MAX);
        assert_eq!((responses[1].watch_data(), responses[1].len()), (usize::MAX, 1));
    });
}
