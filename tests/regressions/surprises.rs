//! What users of etcd's watch took for bugs: what libwatch says in each case.

use libwatch::{CreateRequest, ErrorCode, Op, RangeRequest, Store, StreamOptions, TxnRequest};

use crate::common::*;
use crate::told::*;

/// etcd 7.2, 7.3: also #13131
#[test]
fn etcd_10681_a_previous_value_is_absent_only_where_there_was_none_and_at_the_compaction() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let stream = stream(&store);
        // Committed before the compaction, delivered after it: here etcd loses the value.
        let live = stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, 0) }).unwrap();
        for value in ["1", "2", "3", "4"] {
            put(&store, "a", value);
        }
        settle_tailer(&store);
        store.compact(4, true).unwrap();
        let past = stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, 4) }).unwrap();
        let responses = settle(&stream);
        let expected = ["4 put a=3", "5 put a=4 [3@4]"];
        assert_eq!(lines_of(&responses, past), expected);
        let told = lines_of(&responses, live);
        match endings(&responses, live)[..] {
            // It was told that it came too late, or had everything above the compaction.
            [legal] => assert!(legal == 4 && told.len() < 3),
            [] => {
                assert_eq!(told[told.len() - 1], expected[1]);
                assert_eq!(revisions(&responses, live), all(2, 5));
            }
            _ => panic!("it ended twice"),
        }
    });
}

fn settle_tailer(store: &Store) {
    settle(&stream(store));
}

/// etcd 3.1, 3.3: also #7362
#[test]
fn etcd_11496_zero_is_now_and_one_is_the_beginning() {
    watched(|| {
        let store = memory();
        let last = puts(&store, "a", 5);
        let stream = stream(&store);
        let [now, beginning] = [0, 1].map(|start| stream.create(&watch(ALL, start)).unwrap());
        let next = put(&store, "a", "x");
        assert_eq!(next, last + 1);
        let responses = settle(&stream);
        assert_eq!(revisions(&responses, now), [next]);
        assert_eq!(revisions(&responses, beginning), all(2, next));
    });
}

/// etcd 2.1
#[test]
fn etcd_18053_an_empty_key_alone_is_not_everything() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let alone = stream.create(&watch((b"", b""), 0)).unwrap();
        let every = stream.create(&watch((b"", b"\0"), 0)).unwrap();
        put(&store, "a", "x");
        put(&store, b"\0", "x");
        let responses = settle(&stream);
        assert_eq!(revisions(&responses, alone), [3]);
        assert_eq!(revisions(&responses, every), [2, 3]);
    });
}

/// etcd 8.12, 8.16
#[test]
fn etcd_13661_catching_up_merges_transactions_unless_the_stream_forbids() {
    watched(|| {
        let store = memory();
        for _ in 0..10 {
            put_all(&store, &["a", "b"]);
        }
        for (batch_revisions, lengths) in [(0, vec![20]), (4, vec![8, 8, 4]), (1, vec![2; 10])] {
            let stream = store.stream(&StreamOptions { batch_revisions, batch_bytes: 0 }).unwrap();
            stream.create(&watch(ALL, 2)).unwrap();
            let responses = settle(&stream);
            assert_eq!(responses.iter().map(|response| response.len()).collect::<Vec<_>>(), lengths);
        }
    });
}

/// etcd 3.12: the header is the store's revision, the start is the resume revision
#[test]
fn etcd_20243_a_created_response_says_where_the_watch_begins() {
    watched(|| {
        let store = memory();
        puts(&store, "a", 5);
        let stream = stream(&store);
        for (start, begins) in [(0, 7), (1, 1), (3, 3), (6, 6), (7, 7), (50, 50)] {
            let request = CreateRequest { created_notify: true, ..watch((b"quiet", b""), start) };
            stream.create(&request).unwrap();
            let created = take(&stream);
            assert!(created.is_created());
            assert_eq!((created.revision(), created.resume_revision()), (6, begins));
        }
    });
}

/// etcd 3.13, 4.1
#[test]
fn apisix_13777_history_follows_the_created_response_and_progress_ends_it() {
    watched(|| {
        let store = memory();
        let last = puts(&store, "a", 3000);
        let stream = stream(&store);
        let request = CreateRequest { created_notify: true, ..watch(ALL, 2) };
        let id = stream.create(&request).unwrap();
        let responses = settle(&stream);
        assert!(responses[0].is_created() && responses[0].revision() == last);
        assert!(responses[1..].iter().all(|response| !response.is_created()));
        assert_eq!(revisions(&responses, id), all(2, last));
    });
}

/// etcd 14.2
#[test]
fn etcd_13871_a_negative_revision_in_a_transaction_is_compacted() {
    let store = memory();
    put(&store, "a", "1");
    let read = |revision| RangeRequest { key: b"a", revision, ..Default::default() };
    for revision in [-1, i64::MIN] {
        assert_eq!(store.range(&read(revision)).unwrap().count(), 1, "outside it is the newest");
        let success = vec![Op::Range(read(revision))];
        let code = refused(store.txn(&TxnRequest { success, ..Default::default() }));
        assert_eq!(code, ErrorCode::Compacted);
    }
    let success = vec![Op::Range(read(3))];
    assert_eq!(refused(store.txn(&TxnRequest { success, ..Default::default() })), ErrorCode::FutureRevision);
    assert_eq!(store.revision(), 2);
}

/// etcd 3.2, 12.5: also #16028; a store that went back in time waits, and says where it is
#[test]
fn etcd_14303_a_watch_beyond_an_old_backup_can_see_that_it_waits() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        puts(&store, "a", 10);
        let backup = crash_image(&folder);
        let resume = puts(&store, "a", 100) + 1;
        store.close().unwrap();
        let store = Store::open(backup.path(), &tiny()).unwrap();
        let stream = stream(&store);
        let id = stream.create(&CreateRequest { created_notify: true, ..watch(ALL, resume) }).unwrap();
        let created = take(&stream);
        assert_eq!(created.resume_revision(), resume);
        assert!(created.revision() + 1 < resume, "the header tells that the start is in the future");
        assert_eq!(store.stats().unwrap().oldest_watch_revision, resume);
        puts(&store, "a", 50);
        assert!(settle(&stream).is_empty());
        while store.revision() < resume + 3 {
            put(&store, "a", "x");
        }
        assert_eq!(revisions(&settle(&stream), id), all(resume, resume + 3));
    });
}

/// etcd 9.5: also kvdb#55 and m3#2984
#[test]
fn gazette_472_every_end_of_a_watch_says_so() {
    watched(|| {
        let store = memory();
        puts(&store, "a", 5);
        let (stream, heard) = hear(&store, &StreamOptions::default(), |_| libwatch::Answer::Taken);
        let asked = stream.create(&watch(ALL, 0)).unwrap();
        let compacted = {
            store.compact(4, false).unwrap();
            stream.create(&watch(ALL, 2)).unwrap()
        };
        let closed = stream.create(&watch(ALL, 0)).unwrap();
        stream.cancel(asked).unwrap();
        let polled = common_stream(&store);
        store.close().unwrap();
        let mut ends: Vec<_> = heard
            .iter()
            .filter(|(response, _)| response.is_canceled())
            .map(|(response, _)| (response.watch_id(), response.cancel_code()))
            .collect();
        ends.sort_unstable_by_key(|end| end.0);
        let expected =
            [(asked, None), (compacted, Some(ErrorCode::Compacted)), (closed, Some(ErrorCode::Closed))];
        let mut expected = expected.to_vec();
        expected.sort_unstable_by_key(|end| end.0);
        assert_eq!(ends, expected);
        assert_eq!(refused(polled.next(None)), ErrorCode::Closed);
    });
}

fn common_stream(store: &Store) -> libwatch::Stream {
    stream(store)
}
