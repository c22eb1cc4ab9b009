//! Every bound: what is at it is taken, what is one past it is refused and changes nothing.

mod common;

use common::*;
use libwatch::{
    Compare, CompareResult, CompareTarget, CreateRequest, DeleteRangeRequest, ErrorCode, Op, PutRequest,
    RangeRequest, Store, StoreOptions, TxnRequest, limits,
};

fn op_put(key: &[u8]) -> Op<'_> {
    Op::Put(PutRequest { key, ..Default::default() })
}

/// etcd 14.1, S 19.8
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
        for key in [too_long, b""] {
            let code = if key.is_empty() { ErrorCode::EmptyKey } else { ErrorCode::Limit };
            assert_eq!(refused(store.put(&PutRequest { key, ..Default::default() })), code);
            assert_eq!(refused(store.get(key, 0)), code);
            assert_eq!(refused(store.delete_range(&DeleteRangeRequest { key, ..Default::default() })), code);
            let txn = TxnRequest { success: vec![op_put(b"x"), op_put(key)], ..Default::default() };
            assert_eq!(refused(store.txn(&txn)), code);
            let target = CompareTarget::Version(0);
            let compare = vec![Compare { key, range_end: b"", target, result: CompareResult::Equal }];
            assert_eq!(refused(store.txn(&TxnRequest { compare, ..Default::default() })), code);
        }
        assert_eq!((store.revision(), get(&store, "x", 0)), (3, None));
        assert_eq!(delete(&store, longest), 4);
    }
}

#[test]
fn a_range_end_has_up_to_65535_bytes() {
    let store = memory();
    put(&store, "a", "1");
    let end = vec![b'z'; limits::KEY_BYTES_MAX + 1];
    let range = |range_end| RangeRequest { key: b"a", range_end, ..Default::default() };
    assert_eq!(store.range(&range(&end[1..])).unwrap().len(), 1);
    assert_eq!(refused(store.range(&range(&end))), ErrorCode::Limit);
    let delete = |range_end| DeleteRangeRequest { key: b"a", range_end, prev_kv: false };
    assert_eq!(refused(store.delete_range(&delete(&end))), ErrorCode::Limit);
    assert_eq!(store.delete_range(&delete(&end[1..])).unwrap().deleted(), 1);
}

#[test]
fn a_watch_takes_the_longest_key_and_range_end() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let long = vec![b'k'; limits::KEY_BYTES_MAX + 1];
        assert_eq!(refused(stream.create(&watch((&long, b""), 0))), ErrorCode::Limit);
        assert_eq!(refused(stream.create(&watch((b"a", &long), 0))), ErrorCode::Limit);
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
#[test]
fn a_value_has_up_to_64_mib() {
    assert_eq!(limits::VALUE_BYTES_MAX, 64 << 20);
    watched(|| {
        let folder = folder();
        for store in [memory(), Store::open(folder.path(), &tiny()).unwrap()] {
            let mut value = vec![7u8; limits::VALUE_BYTES_MAX + 1];
            let too_long = PutRequest { key: b"a", value: &value, ..Default::default() };
            assert_eq!(refused(store.put(&too_long)), ErrorCode::Limit);
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

#[test]
fn a_list_of_a_transaction_has_up_to_128_entries() {
    // etcd 14.12
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
        assert_eq!(refused(store.txn(&request)), ErrorCode::Limit);
    }
    assert_eq!(store.revision(), 2);
}

#[test]
fn the_lists_of_nested_transactions_share_the_bound() {
    // etcd 14.12
    let store = memory();
    let keys: Vec<String> = (0..128).map(|i| i.to_string()).collect();
    let nested = |count: usize| {
        let success = keys[..count].iter().map(|key| op_put(key.as_bytes())).collect();
        let inner = Op::Txn(TxnRequest { success, ..Default::default() });
        TxnRequest { success: vec![inner], ..Default::default() }
    };
    assert!(store.txn(&nested(127)).is_ok());
    assert_eq!(refused(store.txn(&nested(128))), ErrorCode::Limit);
}

#[test]
fn the_bound_on_operations_can_be_moved_and_is_bounded_itself() {
    let store = memory_with(|options| options.txn_ops_max = 2);
    let txn = |ops| TxnRequest { success: ops, ..Default::default() };
    assert!(store.txn(&txn(vec![op_put(b"a"), op_put(b"b")])).is_ok());
    assert_eq!(refused(store.txn(&txn(vec![op_put(b"a"), op_put(b"b"), op_put(b"c")]))), ErrorCode::Limit);
    let most = StoreOptions { txn_ops_max: limits::TXN_OPS_MAX, ..Default::default() };
    let store = Store::open_in_memory(&most).unwrap();
    let keys: Vec<String> = (0..limits::TXN_OPS_MAX).map(|i| i.to_string()).collect();
    let result = store.txn(&txn(keys.iter().map(|key| op_put(key.as_bytes())).collect())).unwrap();
    assert_eq!((result.revision(), result.results().len()), (2, keys.len()));
    let all = RangeRequest { key: ALL.0, range_end: ALL.1, count_only: true, ..Default::default() };
    assert_eq!(store.range(&all).unwrap().count(), keys.len() as i64);
}

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
    assert_eq!(refused(store.txn(&deeper)), ErrorCode::Limit);
    assert_eq!(store.revision(), 2);
}

/// S 19.8
#[test]
fn a_transaction_has_up_to_1_gib() {
    let store = memory();
    let value = vec![0; limits::VALUE_BYTES_MAX];
    let keys: Vec<String> = (0..16).map(|i| i.to_string()).collect();
    let put = |key| Op::Put(PutRequest { key, value: &value, ..Default::default() });
    let success = keys.iter().map(|key| put(key.as_bytes())).collect();
    let request = TxnRequest { success, ..Default::default() };
    assert_eq!(refused(store.txn(&request)), ErrorCode::Limit, "16 values of 64 MiB, and 16 keys");
    assert_eq!(store.revision(), 1);
    assert_eq!(common::put(&store, "a", "1"), 2, "the store goes on");
}

/// S 19.8
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

#[test]
fn up_to_1024_requests_for_progress_wait() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        for _ in 0..limits::PROGRESS_REQUESTS_MAX {
            stream.request_progress().unwrap();
        }
        assert_eq!(refused(stream.request_progress()), ErrorCode::Limit);
        for _ in 0..limits::PROGRESS_REQUESTS_MAX {
            assert!(take(&stream).is_progress());
        }
        stream.request_progress().unwrap();
        assert!(take(&stream).is_progress());
    });
}

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
