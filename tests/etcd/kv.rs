//! Reads, writes, transactions and compactions of the multi-version store.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use libwatch::{
    DeleteRangeRequest, ErrorCode, Op, OpResult, PutRequest, RangeRequest, RangeResult, Result, Store,
    TxnRequest, TxnResult,
};

use crate::common::*;

/// The same operation as a call of its own, or as the one operation of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Alone,
    Txn,
}
use Way::{Alone, Txn};

const WAYS: [Way; 2] = [Alone, Txn];

/// What a range answered.
#[derive(Debug)]
struct Found {
    pairs: Vec<(String, String, i64, i64, i64, i64)>,
    count: i64,
    more: bool,
    revision: i64,
}

impl Found {
    fn of(result: &RangeResult) -> Self {
        Self {
            pairs: result.iter().map(|kv| pair(&kv)).collect(),
            count: result.count(),
            more: result.more(),
            revision: result.revision(),
        }
    }

    fn keys(&self) -> String {
        self.pairs.iter().map(|pair| pair.0.as_str()).collect::<Vec<_>>().join(" ")
    }
}

fn txn(store: &Store, op: Op<'_>) -> Result<TxnResult> {
    store.txn(&TxnRequest { success: vec![op], ..Default::default() })
}

impl Way {
    fn range(self, store: &Store, request: RangeRequest<'_>) -> Result<Found> {
        if self == Alone {
            return store.range(&request).map(|result| Found::of(&result));
        }
        let result = txn(store, Op::Range(request))?;
        let [OpResult::Range(result)] = result.results() else { panic!("a range answers a range") };
        Ok(Found::of(result))
    }

    /// The revision of the answer.
    fn put(self, store: &Store, key: &str, value: &str, lease: i64) -> i64 {
        let request =
            PutRequest { key: key.as_bytes(), value: value.as_bytes(), lease, ..Default::default() };
        if self == Alone {
            return store.put(&request).unwrap().revision();
        }
        let result = txn(store, Op::Put(request)).unwrap();
        let [OpResult::Put(put)] = result.results() else { panic!("a put answers a put") };
        assert_eq!(put.revision(), result.revision());
        put.revision()
    }

    /// How many were deleted, and the revision of the answer.
    fn delete(self, store: &Store, key: &str, range_end: &str) -> (i64, i64) {
        let (key, range_end) = (key.as_bytes(), range_end.as_bytes());
        let request = DeleteRangeRequest { key, range_end, prev_kv: false };
        if self == Alone {
            let result = store.delete_range(&request).unwrap();
            return (result.deleted(), result.revision());
        }
        let result = txn(store, Op::DeleteRange(request)).unwrap();
        let [OpResult::DeleteRange(delete)] = result.results() else { panic!("a delete answers a delete") };
        assert_eq!(delete.revision(), result.revision());
        (delete.deleted(), delete.revision())
    }
}

/// foo, foo1 and foo2 in revisions 2, 3 and 4, with leases 1, 2 and 3.
fn three() -> Store {
    let store = memory();
    for (i, key) in ["foo", "foo1", "foo2"].into_iter().enumerate() {
        assert_eq!(Alone.put(&store, key, &format!("bar{i}"), i as i64 + 1), i as i64 + 2);
    }
    store
}

fn range<'a>(key: &'a str, range_end: &'a str) -> RangeRequest<'a> {
    RangeRequest { key: key.as_bytes(), range_end: range_end.as_bytes(), ..Default::default() }
}

/// etcd 2.2, 14.1, 14.3; an empty key is refused, so the beginning is the key of one zero byte
#[test]
fn a_range_reads_its_keys_and_answers_the_current_revision() {
    let store = three();
    for way in WAYS {
        for (key, end, expected) in [
            ("doo", "foo", ""),
            ("foo", "foo", ""),
            ("doo", "", ""),
            ("foo", "foo3", "foo foo1 foo2"),
            ("foo", "foo1", "foo"),
            ("foo", "", "foo"),
            ("\0", "\0", "foo foo1 foo2"),
        ] {
            let result = way.range(&store, range(key, end)).unwrap();
            assert_eq!((result.keys().as_str(), result.revision), (expected, 4), "{way:?} {key} {end}");
        }
        assert_eq!(refused(way.range(&store, range("", "\0"))), ErrorCode::EmptyKey);
        let first = way.range(&store, range("foo", "")).unwrap();
        assert_eq!(first.pairs[0], ("foo".into(), "bar0".into(), 2, 2, 1, 1));
    }
}

/// etcd 14.2, 14.3; in a transaction a negative revision is compacted
#[test]
fn a_range_at_a_revision_reads_what_was_there_then() {
    let store = three();
    for way in WAYS {
        for (revision, count) in [(-1, 3), (0, 3), (2, 1), (3, 2), (4, 3)] {
            let result = way.range(&store, RangeRequest { revision, ..range("foo", "foo3") });
            if (way, revision) == (Txn, -1) {
                assert_eq!(refused(result), ErrorCode::Compacted);
                continue;
            }
            let result = result.unwrap();
            assert_eq!((result.pairs.len(), result.revision), (count, 4), "{way:?} at {revision}");
        }
    }
}

/// etcd 14.2
#[test]
fn a_range_below_the_compaction_or_above_now_is_refused() {
    let store = three();
    store.compact(4, false).unwrap();
    for way in WAYS {
        for (revision, expected) in [
            (-1, if way == Txn { Some(ErrorCode::Compacted) } else { None }),
            (0, None),
            (1, Some(ErrorCode::Compacted)),
            (2, Some(ErrorCode::Compacted)),
            (4, None),
            (5, Some(ErrorCode::FutureRevision)),
            (100, Some(ErrorCode::FutureRevision)),
        ] {
            let result = way.range(&store, RangeRequest { revision, ..range("foo", "foo3") });
            assert_eq!(result.err().map(|error| error.code()), expected, "{way:?} at {revision}");
        }
    }
}

/// etcd 14.4
#[test]
fn a_limit_bounds_the_pairs_and_not_the_count() {
    let store = three();
    for way in WAYS {
        for (limit, length) in [(-1, 3), (0, 3), (1, 1), (2, 2), (3, 3), (100, 3)] {
            let result = way.range(&store, RangeRequest { limit, ..range("foo", "foo3") }).unwrap();
            assert_eq!((result.pairs.len(), result.count), (length, 3), "{way:?} limit {limit}");
            assert_eq!((result.more, result.revision), (length < 3, 4));
        }
    }
}

/// etcd 1.2, 1.6, 1.7
#[test]
fn putting_a_key_again_moves_its_revision_and_version() {
    for way in WAYS {
        let store = memory();
        for i in 1..=10 {
            assert_eq!(way.put(&store, "foo", "bar", i), i + 1);
            let found = way.range(&store, range("foo", "")).unwrap();
            assert_eq!(found.pairs, [("foo".into(), "bar".into(), 2, i + 1, i, i)], "{way:?}");
        }
    }
}

/// etcd 1.3, 1.4, 14.8
#[test]
fn a_delete_takes_a_revision_if_it_deletes_something() {
    for way in WAYS {
        for (key, end, expected) in [
            ("foo", "", (1, 5)),
            ("foo", "foo1", (1, 5)),
            ("foo", "foo2", (2, 5)),
            ("foo", "foo3", (3, 5)),
            ("foo3", "foo8", (0, 4)),
            ("foo3", "", (0, 4)),
        ] {
            let store = three();
            assert_eq!(way.delete(&store, key, end), expected, "{way:?} {key} {end}");
            assert_eq!(store.revision(), expected.1);
        }
    }
}

/// etcd 1.3
#[test]
fn deleting_again_deletes_nothing() {
    for way in WAYS {
        let store = memory();
        way.put(&store, "foo", "bar", 0);
        assert_eq!(way.delete(&store, "foo", ""), (1, 3));
        (0..10).for_each(|_| assert_eq!(way.delete(&store, "foo", ""), (0, 3), "{way:?}"));
    }
}

/// etcd 1.7
#[test]
fn a_key_may_be_put_twice_with_one_lease() {
    for way in WAYS {
        let store = memory();
        let revisions = [way.put(&store, "foo", "bar", 1), way.put(&store, "foo", "bar", 1)];
        assert_eq!(revisions, [2, 3]);
        let found = way.range(&store, range("foo", "")).unwrap();
        assert_eq!(found.pairs, [("foo".into(), "bar".into(), 2, 3, 2, 1)], "{way:?}");
    }
}

/// etcd 1.2, 1.6, 1.12
#[test]
fn puts_and_deletes_in_turn_count_up_by_one() {
    let store = memory();
    for i in 1..=10 {
        assert_eq!(put(&store, "foo", "bar"), 2 * i);
        let found = store.get(b"foo", 2 * i).unwrap();
        assert_eq!(pair(&found.kv(0)), ("foo".into(), "bar".into(), 2 * i, 2 * i, 1, 0));
        assert_eq!(Alone.delete(&store, "foo", ""), (1, 2 * i + 1));
        let gone = store.get(b"foo", 2 * i + 1).unwrap();
        assert_eq!((gone.len(), gone.revision()), (0, 2 * i + 1));
    }
}

/// etcd 1.1, 1.13: a transaction cannot be held open, so what is shown is that nobody gets into one
#[test]
fn other_writes_come_before_or_after_a_transaction() {
    watched(|| {
        let store = memory();
        let keys: Vec<String> = (0..100).map(|i| format!("txn-{i:02}")).collect();
        let transact = || {
            let put =
                |key: &'_ String| PutRequest { key: key.clone().into_bytes().leak(), ..Default::default() };
            let success = keys.iter().map(|key| Op::Put(put(key))).collect();
            store.txn(&TxnRequest { success, ..Default::default() }).unwrap().revision()
        };
        thread::scope(|scope| {
            scope.spawn(|| (0..50).for_each(|_| _ = put(&store, "single", "x")));
            scope.spawn(|| (0..50).for_each(|_| _ = delete(&store, "single")));
            (0..50).for_each(|_| _ = transact());
        });
        let stream = stream(&store);
        stream.create(&watch(ALL, 1)).unwrap();
        let mut by_revision = std::collections::BTreeMap::<i64, Vec<String>>::new();
        for response in settle(&stream) {
            for event in response.events() {
                by_revision.entry(event.kv.mod_revision).or_default().push(text(event.kv.key));
            }
        }
        assert!(by_revision.keys().copied().eq(2..=store.revision()));
        let (whole, single): (Vec<_>, Vec<_>) = by_revision.values().partition(|changed| changed.len() > 1);
        assert_eq!(whole.len(), 50);
        assert!(whole.into_iter().all(|changed| *changed == keys), "a transaction is whole");
        assert!(single.into_iter().all(|changed| changed == &["single"]));
    });
}

/// etcd 1.13
#[test]
fn a_range_is_answered_while_a_transaction_runs() {
    watched(|| {
        let store = memory_with(|options| options.txn_ops_max = libwatch::limits::TXN_OPS_MAX);
        let keys: Vec<String> = (0..20_000).map(|i| format!("{i:05}")).collect();
        // Below zero while a transaction runs that began at that revision.
        let (running, seen) = (AtomicI64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !seen.load(Ordering::SeqCst) {
                    let puts =
                        keys.iter().map(|key| PutRequest { key: key.as_bytes(), ..Default::default() });
                    let request = TxnRequest { success: puts.map(Op::Put).collect(), ..Default::default() };
                    running.store(-store.revision(), Ordering::SeqCst);
                    store.txn(&request).unwrap();
                    running.store(0, Ordering::SeqCst);
                }
            });
            let (mut inside, mut of) = (0, 0);
            while inside < 3 {
                let before = running.load(Ordering::SeqCst);
                let result = store.range(&range("00000", "00010")).unwrap();
                let answered = before < 0 && running.load(Ordering::SeqCst) == before;
                if answered && result.revision() == -before {
                    inside = if of == before { inside + 1 } else { 1 };
                    of = before;
                }
            }
            seen.store(true, Ordering::SeqCst);
        });
    });
}

/// etcd 1.2, 1.5: a key changes once in a revision, so the put and the delete are two transactions
#[test]
fn a_transaction_reads_its_own_put_and_its_own_delete() {
    let store = memory();
    for base in (1..20).step_by(2) {
        let put = Op::Put(PutRequest { key: b"foo", value: b"bar", ..Default::default() });
        let delete = Op::DeleteRange(DeleteRangeRequest { key: b"foo", ..Default::default() });
        let read = || Op::Range(range("foo", ""));
        let run = |success| store.txn(&TxnRequest { success, ..Default::default() });
        assert_eq!(refused(run(vec![put.clone(), delete.clone()])), ErrorCode::DuplicateKey);
        let written = run(vec![put, read()]).unwrap();
        let [OpResult::Put(put), OpResult::Range(found)] = written.results() else { panic!("{base}") };
        assert_eq!((put.revision(), found.revision()), (base + 1, base + 1));
        assert_eq!(pair(&found.kv(0)), ("foo".into(), "bar".into(), base + 1, base + 1, 1, 0));
        let deleted = run(vec![delete, read()]).unwrap();
        let [OpResult::DeleteRange(one), OpResult::Range(gone)] = deleted.results() else { panic!("{base}") };
        assert_eq!((one.deleted(), one.revision()), (1, base + 2));
        assert_eq!((gone.len(), gone.revision(), store.revision()), (0, base + 2, base + 2));
    }
}

/// etcd 10.3
#[test]
fn a_compaction_keeps_what_the_next_revision_needs() {
    let store = memory();
    put(&store, "foo", "bar0");
    put(&store, "foo", "bar1");
    delete(&store, "foo");
    put(&store, "foo", "bar2");
    let expected = [
        Some(("foo".into(), "bar0".into(), 2, 2, 1, 0)),
        Some(("foo".into(), "bar1".into(), 2, 3, 2, 0)),
        None,
        Some(("foo".into(), "bar2".into(), 5, 5, 1, 0)),
    ];
    for (compacted, expected) in (1..=4).zip(expected) {
        store.compact(compacted, true).unwrap();
        let found = store.get(b"foo", compacted + 1).unwrap();
        assert_eq!(found.iter().next().map(|kv| pair(&kv)), expected, "compacted at {compacted}");
    }
}

/// etcd 10.1
#[test]
fn a_compaction_is_accepted_upwards_and_up_to_now() {
    let store = three();
    let steps = [0, 1, 1, 4, 5, 100].map(|at| store.compact(at, false).map_err(|error| error.code()));
    let (compacted, future) = (Err(ErrorCode::Compacted), Err(ErrorCode::FutureRevision));
    assert_eq!(steps, [Ok(()), Ok(()), compacted, Ok(()), future, future]);
}

/// All that reads and a watch from the beginning can tell.
fn digest(store: &Store) -> Vec<String> {
    let mut all: Vec<String> = (1..=store.revision())
        .flat_map(|revision| {
            let result = store.range(&RangeRequest { revision, ..range("\0", "\0") }).unwrap();
            result.iter().map(|kv| format!("{revision} {:?}", pair(&kv))).collect::<Vec<_>>()
        })
        .collect();
    let stream = stream(store);
    stream.create(&watch(ALL, 1)).unwrap();
    all.extend(settle(&stream).iter().flat_map(lines));
    all
}

/// etcd 1.1
#[test]
fn the_same_writes_make_the_same_store() {
    watched(|| {
        let make = || {
            let store = memory();
            (0..10).for_each(|i| _ = put(&store, format!("foo{i}"), format!("bar{i}")));
            digest(&store)
        };
        let first = make();
        assert_eq!(first.len(), 55 + 10);
        assert!((0..2).all(|_| make() == first));
    });
}

/// What a range over everything answers at revisions 0 to 9.
fn at_every_revision(store: &Store) -> Vec<std::result::Result<Vec<String>, ErrorCode>> {
    let at = |revision| {
        let result = store.range(&RangeRequest { revision, ..range("\0", "\0") });
        let told = |result: RangeResult| result.iter().map(|kv| format!("{:?}", pair(&kv))).collect();
        result.map(told).map_err(|error| error.code())
    };
    (0..10).map(at).collect()
}

/// etcd 10.3, 11.1
#[test]
fn every_revision_reads_the_same_after_reopening() {
    let histories: [fn(&Store); 4] = [
        |store| {
            for (i, key) in ["foo", "foo1", "foo2", "foo", "foo1"].into_iter().enumerate() {
                Alone.put(store, key, &format!("bar{i}"), i as i64 + 1);
            }
        },
        |store| {
            put(store, "foo", "bar0");
            delete(store, "foo");
            put(store, "foo", "bar1");
        },
        |store| {
            put(store, "foo", "bar0");
            put(store, "foo", "bar1");
            store.compact(1, true).unwrap();
        },
        |store| {
            (1..=5).for_each(|i| _ = put(store, format!("foo{i}"), format!("bar{i}")));
            let deleted = delete(store, "foo1");
            store.compact(deleted, true).unwrap();
        },
    ];
    for (i, write) in histories.into_iter().enumerate() {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        write(&store);
        let before = (at_every_revision(&store), store.stats().unwrap().key_count, store.revision());
        assert!(before.0[0].as_ref().is_ok_and(|keys| !keys.is_empty()));
        store.close().unwrap();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let after = (at_every_revision(&store), store.stats().unwrap().key_count, store.revision());
        assert_eq!(after, before, "history {i}");
    }
}

/// etcd 11.1: a copy of the files of an open store is a snapshot
#[test]
fn a_copy_of_the_files_is_a_store_with_the_same_keys_and_revision() {
    let original = folder();
    let store = Store::open(original.path(), &tiny()).unwrap();
    (1..=3).for_each(|i| _ = put(&store, format!("foo{i}"), format!("bar{i}")));
    let image = crash_image(&original);
    let copy = Store::open(image.path(), &tiny()).unwrap();
    let found = copy.range(&range("\0", "\0")).unwrap();
    let pairs: Vec<_> = found.iter().map(|kv| pair(&kv)).collect();
    let written = |i: i64| (format!("foo{i}"), format!("bar{i}"), i + 1, i + 1, 1, 0);
    assert_eq!((pairs, found.revision()), (vec![written(1), written(2), written(3)], 4));
    put(&copy, "foo4", "only in the copy");
    assert_eq!((store.revision(), get(&store, "foo4", 0)), (4, None));
}

/// etcd 1.6, 1.7, 3.1, 3.3, 5.1
#[test]
fn watches_see_the_whole_pair_live_and_from_history() {
    watched(|| {
        let store = memory();
        let live = stream(&store);
        let id = live.create(&watch((b"foo", b"fop"), 0)).unwrap();
        let event = |stream: &libwatch::Stream, id| {
            let response = take(stream);
            assert_eq!((response.watch_id(), response.len()), (id, 1));
            pair(&response.event(0).kv)
        };
        Alone.put(&store, "foo", "bar", 1);
        assert_eq!(event(&live, id), ("foo".into(), "bar".into(), 2, 2, 1, 1));
        Alone.put(&store, "foo1", "bar1", 2);
        assert_eq!(event(&live, id), ("foo1".into(), "bar1".into(), 3, 3, 1, 2));
        let late = stream(&store);
        let id = late.create(&watch((b"foo1", b"foo2"), 3)).unwrap();
        assert_eq!(event(&late, id), ("foo1".into(), "bar1".into(), 3, 3, 1, 2));
        Alone.put(&store, "foo1", "bar11", 3);
        assert_eq!(event(&late, id), ("foo1".into(), "bar11".into(), 3, 4, 2, 3));
        assert!(settle(&late).is_empty());
    });
}
