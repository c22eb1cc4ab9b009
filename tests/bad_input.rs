//! What callers get wrong is answered with a code and a line that names the thing, and disturbs nothing else. The
//! same cases, by the same names and in the same order, are in tests/c, tests/cpp and tests/python.

mod common;
#[path = "bad_input/files.rs"]
mod files;
#[path = "bad_input/scene.rs"]
mod scene;

use std::sync::mpsc::channel;
use std::time::Duration;

use common::*;
use libwatch::{
    Compare, CompareResult, CompareTarget, CreateRequest, ErrorCode, PutRequest, RangeRequest, Store,
    TxnRequest,
};
use scene::*;

// ---- keys and ranges ----

/// etcd 14.1, 14.11
#[test]
fn an_empty_key_is_refused() {
    scene(|s| {
        let refuses = |call: &dyn Fn() -> libwatch::Result<()>| {
            s.refuses(ErrorCode::EmptyKey, &["key"], call);
        };
        refuses(&|| s.store.put(&put_of(b"", b"v")).map(drop));
        refuses(&|| s.store.get(b"", 0).map(drop));
        refuses(&|| s.store.range(&range_of(b"", b"z")).map(drop));
        refuses(&|| s.store.delete_range(&delete_of(b"", b"\0")).map(drop));
        refuses(&|| s.txn(vec![op_put(b"x", b""), op_put(b"", b"")]).map(drop));
        refuses(&|| s.txn(vec![op_put(b"x", b""), op_delete(b"", b"z")]).map(drop));
        refuses(&|| s.txn(vec![op_put(b"x", b""), op_txn(vec![op_get(b"", 0)])]).map(drop));
        let target = CompareTarget::Version(0);
        let compare = vec![Compare { key: b"", range_end: b"", target, result: CompareResult::Equal }];
        refuses(&|| s.store.txn(&TxnRequest { compare: compare.clone(), ..Default::default() }).map(drop));
    });
}

/// etcd 2.4, 3.10
#[test]
fn an_empty_watch_range_is_refused() {
    scene(|s| {
        for (key, end) in [(&b"b"[..], &b"a"[..]), (b"b", b"b"), (b"b\0", b"b"), (b"\0\0", b"\0\0")] {
            let request = CreateRequest { created_notify: true, ..watch((key, end), 0) };
            s.refuses(ErrorCode::EmptyRange, &["range_end", "key"], || s.stream.create(&request));
        }
    });
}

/// etcd 2.4, 14.1, 1.3
#[test]
fn a_reversed_range_reads_and_deletes_nothing() {
    scene(|s| {
        for (key, end) in [(b"z", b"a"), (b"b", b"b")] {
            assert_eq!(s.unchanged(|| s.store.range(&range_of(key, end))).count(), 0);
            let deleted = s.unchanged(|| s.store.delete_range(&delete_of(key, end)));
            assert_eq!((deleted.deleted(), deleted.revision(), deleted.prev_kv_count()), (0, CURRENT, 0));
            s.unchanged(|| s.txn(vec![op_delete(key, end)]));
        }
    });
}

// ---- revisions ----

/// etcd 14.2
#[test]
fn a_negative_revision_reads_now_but_not_in_a_transaction() {
    scene(|s| {
        for revision in NEGATIVE {
            let found = s.unchanged(|| s.store.get(b"a", revision));
            assert_eq!((found.kv(0).value, found.revision()), (&b"3"[..], CURRENT));
            let words = [&revision.to_string()[..], "compacted"];
            s.refuses(ErrorCode::Compacted, &words, || {
                s.txn(vec![op_put(b"x", b""), op_get(b"a", revision)])
            });
        }
    });
}

/// etcd 14.2, 14.11
#[test]
fn a_future_revision_cannot_be_read() {
    scene(|s| {
        for revision in FUTURE {
            let words = [&revision.to_string()[..], &CURRENT.to_string()];
            let refuses = |call: &dyn Fn() -> libwatch::Result<()>| {
                let refusal = s.refuses(ErrorCode::FutureRevision, &words, call);
                assert_eq!((refusal.current_revision(), refusal.compact_revision()), (CURRENT, 0));
            };
            refuses(&|| s.store.get(b"a", revision).map(drop));
            refuses(&|| s.store.range(&RangeRequest { revision, ..range_of(b"x", b"a") }).map(drop));
            refuses(&|| s.txn(vec![op_put(b"x", b""), op_get(b"a", revision)]).map(drop));
        }
    });
}

/// etcd 14.2, 10.2, 10.4
#[test]
fn a_compacted_revision_cannot_be_read() {
    scene(|s| {
        for revision in [1, COMPACTED - 1] {
            let words = [&revision.to_string()[..], &COMPACTED.to_string()];
            let refuses = |call: &dyn Fn() -> libwatch::Result<()>| {
                let refusal = s.refuses(ErrorCode::Compacted, &words, call);
                assert_eq!((refusal.current_revision(), refusal.compact_revision()), (0, COMPACTED));
            };
            refuses(&|| s.store.get(b"a", revision).map(drop));
            refuses(&|| s.store.range(&RangeRequest { revision, ..range_of(b"x", b"a") }).map(drop));
            refuses(&|| s.txn(vec![op_put(b"x", b""), op_get(b"a", revision)]).map(drop));
        }
        assert_eq!(s.unchanged(|| s.store.get(b"a", COMPACTED)).kv(0).value, b"3");
    });
}

/// etcd 3.4, 3.10
#[test]
fn a_negative_start_is_refused() {
    scene(|s| {
        for start in NEGATIVE {
            let request = CreateRequest { created_notify: true, ..watch(ALL, start) };
            let words = ["start_revision", &start.to_string()];
            s.refuses(ErrorCode::InvalidArgument, &words, || s.stream.create(&request));
        }
    });
}

/// etcd 3.2, #9775: a start may lie as far ahead as numbers go
#[test]
fn a_start_in_the_far_future_waits() {
    scene(|s| {
        for start in [CURRENT + 2, i64::MAX - 1, i64::MAX] {
            let id = s.stream.create(&watch(ALL, start)).unwrap();
            assert!(settle(&s.stream).is_empty());
            s.stream.cancel(id).unwrap();
            let responses = settle(&s.stream);
            assert_eq!((responses.len(), responses[0].resume_revision()), (1, start));
        }
    });
}

// ---- watch ids ----

/// etcd 3.4, 3.10
#[test]
fn a_negative_watch_id_is_refused() {
    scene(|s| {
        for watch_id in NEGATIVE {
            let request = CreateRequest { watch_id, created_notify: true, ..watch(ALL, 0) };
            let words = ["watch_id", &watch_id.to_string()];
            s.refuses(ErrorCode::InvalidArgument, &words, || s.stream.create(&request));
        }
    });
}

/// etcd 3.9, 3.10, #14296
#[test]
fn a_watch_id_in_use_is_refused() {
    scene(|s| {
        let request = CreateRequest { watch_id: LIVE, created_notify: true, ..watch((b"q", b""), 1) };
        s.refuses(ErrorCode::DuplicateWatchId, &["watch id 7"], || s.stream.create(&request));
    });
}

/// etcd 9.1
#[test]
fn a_watch_id_that_is_not_live_cannot_be_canceled() {
    scene(|s| {
        let ended = s.stream.create(&watch(ALL, 0)).unwrap();
        s.stream.cancel(ended).unwrap();
        assert!(settle(&s.stream)[0].is_canceled());
        for id in [ended, LIVE + 1, 0, -1, i64::MIN, i64::MAX] {
            let words = [&format!("watch id {id} ")[..]];
            s.refuses(ErrorCode::WatchNotFound, &words, || s.stream.cancel(id));
        }
    });
}

// ---- compaction and sync ----

/// etcd 10.1
#[test]
fn compaction_of_the_past_is_refused() {
    scene(|s| {
        for revision in [COMPACTED, COMPACTED - 1, 0, -1, i64::MIN] {
            let words = [&revision.to_string()[..], &COMPACTED.to_string()];
            let refusal = s.refuses(ErrorCode::Compacted, &words, || s.store.compact(revision, true));
            assert_eq!(refusal.compact_revision(), COMPACTED);
        }
    });
}

/// etcd 10.1, 10.5
#[test]
fn compaction_of_the_present_is_accepted_once() {
    scene(|s| {
        s.store.compact(CURRENT, false).unwrap();
        assert_eq!((s.store.compact_revision(), s.store.revision()), (CURRENT, CURRENT));
        assert_eq!(keys(&s.store, &range_of(b"\0", b"\0")), "a b c");
        s.refuses(ErrorCode::Compacted, &["7"], || s.store.compact(CURRENT, false));
    });
}

/// etcd 10.1
#[test]
fn compaction_of_the_future_is_refused() {
    scene(|s| {
        for revision in FUTURE {
            let words = [&revision.to_string()[..], &CURRENT.to_string()];
            let refusal = s.refuses(ErrorCode::FutureRevision, &words, || s.store.compact(revision, true));
            assert_eq!(refusal.current_revision(), CURRENT);
        }
    });
}

/// etcd 8.1: what was not written cannot be waited for
#[test]
fn a_revision_that_was_never_written_cannot_be_synced() {
    scene(|s| {
        for revision in NEGATIVE {
            let words = ["revision", &revision.to_string()];
            s.refuses(ErrorCode::InvalidArgument, &words, || s.store.sync(revision, None));
        }
        for revision in FUTURE {
            let words = [&revision.to_string()[..], &CURRENT.to_string()];
            s.refuses(ErrorCode::FutureRevision, &words, || s.store.sync(revision, Some(Duration::MAX)));
        }
        assert!(s.unchanged(|| s.store.sync(0, Some(Duration::MAX))) >= Some(CURRENT));
    });
}

/// etcd 14.4, 14.5
#[test]
fn limits_and_bounds_of_a_range_may_be_any_number() {
    scene(|s| {
        let count = |change: &dyn Fn(&mut RangeRequest<'_>)| {
            let mut request = range_of(b"a", b"z");
            change(&mut request);
            let found = s.unchanged(|| s.store.range(&request));
            assert_eq!((found.count(), found.more()), (3, false));
            found.len()
        };
        for low in NEGATIVE {
            assert_eq!(count(&|r| r.limit = low), 3, "no limit");
            assert_eq!(count(&|r| (r.min_mod_revision, r.min_create_revision) = (low, low)), 3);
            assert_eq!(count(&|r| r.max_mod_revision = low), 0);
            assert_eq!(count(&|r| r.max_create_revision = low), 0);
        }
        assert_eq!(count(&|r| r.limit = i64::MAX), 3);
        assert_eq!(count(&|r| (r.max_mod_revision, r.max_create_revision) = (i64::MAX, i64::MAX)), 3);
        assert_eq!(count(&|r| r.min_mod_revision = i64::MAX), 0);
        assert_eq!(count(&|r| r.min_create_revision = i64::MAX), 0);
    });
}

// ---- transactions and puts ----

/// etcd 14.12, 14.11
#[test]
fn a_key_that_is_put_twice_is_refused() {
    scene(|s| {
        let refuses = |ops| s.refuses(ErrorCode::DuplicateKey, &["\"x\\n\""], || s.txn(ops));
        refuses(vec![op_put(b"x\n", b"1"), op_put(b"y", b""), op_put(b"x\n", b"2")]);
        refuses(vec![op_put(b"x\n", b"1"), op_txn(vec![op_put(b"x\n", b"2")])]);
    });
}

/// etcd 14.12, 14.11
#[test]
fn a_put_under_a_delete_is_refused() {
    scene(|s| {
        for (key, end) in [(&b"b"[..], &b""[..]), (b"a", b"c"), (b"a", b"\0"), (b"\0", b"\0")] {
            let refuses = |ops| s.refuses(ErrorCode::DuplicateKey, &["\"b\""], || s.txn(ops));
            refuses(vec![op_put(b"b", b"1"), op_delete(key, end)]);
            refuses(vec![op_delete(key, end), op_txn(vec![op_put(b"b", b"1")])]);
        }
    });
}

/// etcd 14.12, 1.11
#[test]
fn overlapping_deletes_are_accepted() {
    scene(|s| {
        let result =
            s.txn(vec![op_delete(b"a", b"c"), op_delete(b"b", b"\0"), op_delete(b"a", b"")]).unwrap();
        assert_eq!((result.revision(), s.store.stats().unwrap().delete_total), (CURRENT + 1, 4));
        assert_eq!(keys(&s.store, &range_of(b"\0", b"\0")), "");
        let told = ["8 delete a", "8 delete b", "8 delete c"];
        assert_eq!(lines_of(&settle(&s.stream), LIVE), told);
        assert_eq!(s.take_witness(), told);
    });
}

/// etcd 14.7, 14.11
#[test]
fn values_and_leases_are_not_given_beside_what_ignores_them() {
    scene(|s| {
        let value = PutRequest { ignore_value: true, ..put_of(b"a", b"2") };
        s.refuses(ErrorCode::InvalidArgument, &["ignore_value"], || s.store.put(&value));
        let lease = PutRequest { ignore_lease: true, lease: 2, ..put_of(b"a", b"2") };
        s.refuses(ErrorCode::InvalidArgument, &["ignore_lease"], || s.store.put(&lease));
        let ops = vec![op_put(b"x", b""), libwatch::Op::Put(value)];
        s.refuses(ErrorCode::InvalidArgument, &["ignore_value"], || s.txn(ops));
    });
}

/// etcd 14.7, 14.11
#[test]
fn an_absent_key_has_nothing_to_keep() {
    scene(|s| {
        let value = PutRequest { ignore_value: true, ..put_of(b"who\n", b"") };
        s.refuses(ErrorCode::KeyNotFound, &["\"who\\n\""], || s.store.put(&value));
        let lease = PutRequest { ignore_lease: true, ..put_of(b"gone", b"") };
        s.refuses(ErrorCode::KeyNotFound, &["\"gone\""], || s.store.put(&lease));
        let ops = vec![op_put(b"who\n", b""), libwatch::Op::Put(value)];
        s.refuses(ErrorCode::DuplicateKey, &["\"who\\n\""], || s.txn(ops));
        let ops = vec![op_put(b"x", b""), libwatch::Op::Put(lease)];
        s.refuses(ErrorCode::KeyNotFound, &["\"gone\""], || s.txn(ops));
    });
}

/// etcd 14.12
#[test]
fn a_long_key_in_an_error_is_cut() {
    scene(|s| {
        let key = vec![0xff; 60_000];
        let twice = vec![op_put(&key, b""), op_put(&key, b"")];
        let refusal = s.refuses(ErrorCode::DuplicateKey, &["\\xff"], || s.txn(twice));
        assert!(refusal.message().len() < 500);
        let absent = PutRequest { ignore_value: true, ..put_of(&key, b"") };
        let refusal = s.refuses(ErrorCode::KeyNotFound, &["\\xff"], || s.store.put(&absent));
        assert!(refusal.message().len() < 500);
    });
}

// ---- streams ----

/// etcd 8.16: a batch is one response or more
#[test]
fn a_batch_of_nothing_is_refused() {
    scene(|s| _ = s.refuses(ErrorCode::InvalidArgument, &["0"], || s.stream.next_batch(0, None)));
}

/// etcd 8.1: who waits as long as numbers go is woken all the same
#[test]
fn a_wait_may_be_as_long_as_numbers_go() {
    scene(|s| {
        put(&s.store, "a", "4");
        assert_eq!(lines(&s.stream.next(Some(Duration::MAX)).unwrap().unwrap()), ["8 put a=4"]);
        let (began, waits) = channel();
        let stream = s.stream.clone();
        let consumer = std::thread::spawn(move || {
            began.send(()).unwrap();
            stream.next_batch(usize::MAX, Some(Duration::MAX)).unwrap()
        });
        waits.recv().unwrap();
        put(&s.store, "a", "5");
        assert_eq!(lines(&consumer.join().unwrap()[0]), ["9 put a=5"]);
        assert_eq!(s.take_witness(), ["8 put a=4", "9 put a=5"]);
    });
}

/// etcd 9.5: next, next_batch and fd belong to streams without a callback
#[test]
fn a_callback_stream_has_no_consumer_and_no_descriptor() {
    scene(|s| {
        let stream = callback_stream(&s.store);
        s.refuses(ErrorCode::InvalidState, &["callback"], || stream.next(None));
        s.refuses(ErrorCode::InvalidState, &["callback"], || stream.next_batch(1, Some(Duration::ZERO)));
        s.refuses(ErrorCode::InvalidState, &["callback"], || stream.fd());
    });
}

/// etcd 4.2: responses of a stream have one order because one consumer takes them
#[test]
fn a_second_consumer_is_told_that_the_stream_is_busy() {
    scene(|s| {
        let stream = s.stream.clone();
        let consumer = std::thread::spawn(move || {
            loop {
                match stream.next(None) {
                    Err(error) => assert_eq!(error.code(), ErrorCode::Busy, "the other one tries"),
                    Ok(response) => return lines(&response.expect("it waits without a timeout")),
                }
            }
        });
        until(|| match s.stream.next(Some(Duration::ZERO)) {
            Ok(None) => false,
            Ok(Some(_)) => panic!("nothing was written"),
            Err(error) => error.code() == ErrorCode::Busy && error.message().contains("stream"),
        });
        put(&s.store, "a", "4");
        assert_eq!(consumer.join().unwrap(), ["8 put a=4"]);
        assert!(s.stream.next(Some(Duration::ZERO)).unwrap().is_none(), "the turn was given back");
        assert_eq!(s.take_witness(), ["8 put a=4"]);
    });
}

// ---- closed handles ----

/// etcd 9.5, 9.1
#[test]
fn a_closed_stream_answers_closed() {
    scene(|s| {
        let stream = stream(&s.store);
        stream.create(&watch(ALL, 1)).unwrap();
        stream.close();
        stream.close();
        stream.shutdown();
        let refuses = |call: &dyn Fn() -> libwatch::Result<()>| {
            s.refuses(ErrorCode::Closed, &["stream is closed"], call);
        };
        refuses(&|| stream.create(&watch(ALL, 0)).map(drop));
        refuses(&|| stream.cancel(1));
        refuses(&|| stream.request_progress());
        refuses(&|| stream.next(None).map(drop));
        refuses(&|| stream.next_batch(9, None).map(drop));
    });
}

fn refuses_everything(store: &Store) {
    let refuses = |call: &dyn Fn() -> libwatch::Result<()>| {
        let refusal = error(call());
        assert_eq!(refusal.code(), ErrorCode::Closed);
        assert_eq!(refusal.message(), "the store is closed");
    };
    refuses(&|| store.put(&put_of(b"a", b"9")).map(drop));
    refuses(&|| store.get(b"a", 0).map(drop));
    refuses(&|| store.range(&range_of(b"a", b"z")).map(drop));
    refuses(&|| store.delete_range(&delete_of(b"a", b"z")).map(drop));
    refuses(&|| store.txn(&TxnRequest::default()).map(drop));
    refuses(&|| store.compact(CURRENT, false));
    refuses(&|| store.sync(0, None).map(drop));
    refuses(&|| store.stream(&Default::default()).map(drop));
    refuses(&|| store.stats().map(drop));
}

/// etcd 9.8, 11.5
#[test]
fn a_closed_store_answers_closed() {
    watched(|| {
        let store = memory();
        put(&store, "a", "1");
        let stream = stream(&store);
        stream.create(&watch(ALL, 0)).unwrap();
        store.close().unwrap();
        refuses_everything(&store);
        for closed in [stream.create(&watch(ALL, 0)).map(drop), stream.cancel(1), stream.request_progress()] {
            assert_eq!(error(closed).code(), ErrorCode::Closed);
        }
        assert_eq!(error(stream.next(None)).code(), ErrorCode::Closed);
        assert_eq!((store.revision(), store.compact_revision(), store.is_closed()), (2, -1, true));
    });
}

/// etcd 9.5
#[test]
fn closing_twice_does_nothing() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        put(&store, "a", "1");
        let other = store.clone();
        store.close().unwrap();
        store.close().unwrap();
        other.close().unwrap();
        let again = Store::open(folder.path(), &tiny()).unwrap();
        other.close().unwrap();
        assert_eq!(put(&again, "a", "2"), 3, "a late close is no business of the next one");
    });
}

/// etcd 5.1: what was given stays as it was given
#[test]
fn results_stay_valid_after_the_store_closed() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        put(&store, "a", "1");
        let stream = stream(&store);
        stream.create(&watch(ALL, 1)).unwrap();
        let (found, response) = (store.get(b"a", 0).unwrap(), take(&stream));
        store.close().unwrap();
        drop((store, stream, folder));
        assert_eq!(pair(&found.kv(0)), ("a".into(), "1".into(), 2, 2, 1, 0));
        assert_eq!(lines(&response), ["2 put a=1"]);
    });
}
