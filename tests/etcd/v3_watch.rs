//! The watch protocol, watch by watch.

mod progress;

use std::sync::Barrier;
use std::sync::mpsc::channel;

use crate::common::*;
use libwatch::{
    CreateRequest, ErrorCode, Op, PutRequest, Response, Store, Stream, StreamOptions, TxnRequest,
};

const FOO: (&[u8], &[u8]) = (b"foo", b"");
const FOO_PREFIX: (&[u8], &[u8]) = (b"foo", b"fop");

/// Creates a watch and answers its id and its created response.
fn create(stream: &Stream, request: &CreateRequest<'_>) -> (i64, Response) {
    let id = stream.create(&CreateRequest { created_notify: true, ..request.clone() }).unwrap();
    let created = take(stream);
    assert!(created.is_created() && !created.is_canceled() && created.is_empty());
    assert_eq!(created.watch_id(), id);
    (id, created)
}

/// Create revision, mod revision and version of each event.
fn numbers(response: &Response) -> Vec<(i64, i64, i64)> {
    response
        .events()
        .map(|event| (event.kv.create_revision, event.kv.mod_revision, event.kv.version))
        .collect()
}

fn put_all(store: &Store, keys: &[&str]) -> i64 {
    let ops = keys
        .iter()
        .map(|key| Op::Put(PutRequest { key: key.as_bytes(), value: b"bar", ..Default::default() }));
    store.txn(&TxnRequest { success: ops.collect(), ..Default::default() }).unwrap().revision()
}

/// etcd 3.1, 2.2, 3.12: seven watches from now on, the puts, and for each put the revision and version that
/// the watch is told.
#[test]
fn a_watch_from_now_is_told_each_matching_put_in_a_response_of_its_own() {
    watched(|| {
        type Case = ((&'static [u8], &'static [u8]), &'static [&'static str], &'static [Option<(i64, i64)>]);
        let cases: [Case; 7] = [
            (FOO, &["foo"], &[Some((2, 1))]),
            (FOO, &["helloworld"], &[None]),
            (FOO_PREFIX, &["fooLong"], &[Some((2, 1))]),
            (FOO_PREFIX, &["helloworld"], &[None]),
            ((b"", b"\0"), &["fooLong"], &[Some((2, 1))]),
            (FOO, &["foo", "foo", "foo"], &[Some((2, 1)), Some((3, 2)), Some((4, 3))]),
            (FOO_PREFIX, &["foo", "foo", "foo"], &[Some((2, 1)), Some((3, 2)), Some((4, 3))]),
        ];
        for (range, puts, expected) in cases {
            let store = memory();
            let stream = stream(&store);
            let (id, created) = create(&stream, &watch(range, 0));
            assert_eq!((created.revision(), created.resume_revision()), (1, 2));
            for (key, expected) in puts.iter().zip(expected) {
                put(&store, key, "bar");
                let told: Vec<_> = settle(&stream)
                    .iter()
                    .map(|response| {
                        assert_eq!((response.watch_id(), response.len()), (id, 1));
                        let kv = response.event(0).kv;
                        assert_eq!((text(kv.key), text(kv.value)), (key.to_string(), "bar".into()));
                        (response.revision(), kv.version)
                    })
                    .collect();
                assert_eq!(told, Vec::from_iter(*expected), "{} put on {}", key, text(range.0));
            }
            assert!(settle(&stream).is_empty());
        }
    });
}

/// etcd 3.2
#[test]
fn a_watch_from_revision_10_is_first_told_revision_10() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let (id, created) = create(&stream, &watch(FOO, 10));
        assert_eq!((created.revision(), created.resume_revision()), (1, 10));
        while put(&store, "foo", "bar") < 9 {}
        assert!(settle(&stream).is_empty());
        assert_eq!(put(&store, "foo", "bar"), 10);
        let response = take(&stream);
        assert_eq!((response.watch_id(), response.revision()), (id, 10));
        assert_eq!(numbers(&response), [(2, 10, 9)]);
        assert!(settle(&stream).is_empty());
    });
}

/// etcd 2.2, 2.4: a refused range is an error of the call and takes no id.
#[test]
fn an_empty_or_reversed_range_is_refused_and_one_from_a_key_on_is_not() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        for end in ["a", "b"] {
            assert_eq!(refused(stream.create(&watch((b"b", end.as_bytes()), 1))), ErrorCode::EmptyRange);
        }
        assert_eq!(refused(stream.create(&watch((b"a", b"a"), 1))), ErrorCode::EmptyRange);
        assert!(settle(&stream).is_empty(), "a refusal is no response");
        let (id, _) = create(&stream, &watch((b"foo", b"\0"), 1));
        assert_eq!(id, 1);
        put(&store, "fox", "1");
        assert_eq!(lines(&take(&stream)), ["2 put fox=1"]);
    });
}

fn cancel_ends_a_watch_from(start: i64) {
    let store = memory();
    let stream = stream(&store);
    let (id, _) = create(&stream, &watch(FOO, start));
    stream.cancel(id).unwrap();
    let canceled = take(&stream);
    assert!(canceled.is_canceled() && !canceled.is_created() && canceled.is_empty());
    assert_eq!((canceled.watch_id(), canceled.revision(), canceled.cancel_code()), (id, 1, None));
    put(&store, "foo", "bar");
    assert!(settle(&stream).is_empty());
}

/// etcd 9.1, 9.2
#[test]
fn a_live_watch_that_was_canceled_is_told_so_and_nothing_else() {
    watched(|| cancel_ends_a_watch_from(0));
}

/// etcd 9.1, 9.2
#[test]
fn a_watch_of_the_past_that_was_canceled_is_told_so_and_nothing_else() {
    watched(|| cancel_ends_a_watch_from(1));
}

/// etcd 3.1, 3.12, etcd 17 Reliable: the created response says exactly where the events begin.
#[test]
fn watches_made_among_concurrent_puts_begin_where_their_created_response_says() {
    watched(|| {
        for _ in 0..10 {
            let store = memory();
            let stream = stream(&store);
            let begin = Barrier::new(32);
            let mut count = 0;
            std::thread::scope(|scope| {
                for _ in 0..31 {
                    scope.spawn(|| {
                        begin.wait();
                        put(&store, "foo", "bar");
                    });
                }
                begin.wait();
                while count < 5 || (store.revision() < 32 && count < 1000) {
                    stream.create(&CreateRequest { created_notify: true, ..watch(FOO_PREFIX, 0) }).unwrap();
                    count += 1;
                }
            });
            assert_eq!(store.revision(), 32);
            let mut next = vec![0; count + 1];
            for response in settle(&stream) {
                let next = &mut next[response.watch_id() as usize];
                if response.is_created() {
                    assert_eq!(*next, 0, "created once");
                    *next = response.resume_revision();
                }
                for event in response.events() {
                    assert_eq!(event.kv.mod_revision, *next);
                    *next += 1;
                }
            }
            assert_eq!(next[1..], vec![33; count]);
            assert!(settle(&stream).is_empty());
        }
    });
}

/// etcd 5.1
#[test]
fn an_empty_value_is_a_put_and_no_delete() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch(FOO, 0)).unwrap();
        put(&store, "foo", "");
        let response = take(&stream);
        assert_eq!(lines(&response), ["2 put foo="]);
        assert_eq!(pair(&response.event(0).kv), ("foo".into(), "".into(), 2, 2, 1, 0));
    });
}

fn five_watches_of_one_stream_from(start: i64) {
    let store = memory();
    let stream = stream(&store);
    let mut ids: Vec<i64> = (0..4).map(|_| stream.create(&watch(FOO, start)).unwrap()).collect();
    let wide = stream.create(&watch((b"fo", b"fp"), start)).unwrap();
    ids.push(wide);
    put(&store, "foo", "bar");
    let responses = settle(&stream);
    assert_eq!(responses.len(), 5);
    ids.iter().for_each(|id| assert_eq!(lines_of(&responses, *id), ["2 put foo=bar"]));
    put(&store, "fo", "bar");
    let responses = settle(&stream);
    assert_eq!(responses.len(), 1);
    assert_eq!(lines_of(&responses, wide), ["3 put fo=bar"]);
    assert!(settle(&stream).is_empty());
}

/// etcd 2.2, 3.1
#[test]
fn five_live_watches_of_one_stream_are_each_told_what_they_match() {
    watched(|| five_watches_of_one_stream_from(0));
}

/// etcd 2.2, 3.3
#[test]
fn five_watches_of_the_past_of_one_stream_are_each_told_what_they_match() {
    watched(|| five_watches_of_one_stream_from(1));
}

fn three_puts_of_one_transaction_from(start: i64) {
    let store = memory();
    let stream = stream(&store);
    stream.create(&watch(FOO_PREFIX, start)).unwrap();
    assert_eq!(put_all(&store, &["foo0", "foo1", "foo2"]), 2);
    let responses = settle(&stream);
    assert_eq!(responses.len(), 1, "a revision is not split");
    assert_eq!(lines(&responses[0]), ["2 put foo0=bar", "2 put foo1=bar", "2 put foo2=bar"]);
    assert_eq!(numbers(&responses[0]), [(2, 2, 1); 3]);
    assert!(settle(&stream).is_empty());
}

/// etcd 1.1, etcd 17 Atomic
#[test]
fn a_live_watch_is_told_a_transaction_of_three_puts_at_once() {
    watched(|| three_puts_of_one_transaction_from(0));
}

/// etcd 1.1, 3.3, etcd 17 Atomic
#[test]
fn a_watch_of_the_past_is_told_a_transaction_of_three_puts_at_once() {
    watched(|| three_puts_of_one_transaction_from(1));
}

/// etcd 1.6, 3.3
#[test]
fn puts_before_and_after_a_watch_of_the_past_was_created_come_in_order() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        ["foo0", "foo1"].iter().for_each(|key| _ = put(&store, key, "bar"));
        stream.create(&watch(FOO_PREFIX, 1)).unwrap();
        ["foo0", "foo1"].iter().for_each(|key| _ = put(&store, key, "bar"));
        let responses = settle(&stream);
        let told: Vec<_> = responses.iter().flat_map(numbers).collect();
        assert_eq!(told, [(2, 2, 1), (3, 3, 1), (2, 4, 2), (3, 5, 2)]);
        let keys: Vec<_> = responses.iter().flat_map(lines).collect();
        assert_eq!(keys, ["2 put foo0=bar", "3 put foo1=bar", "4 put foo0=bar", "5 put foo1=bar"]);
        assert!(settle(&stream).is_empty());
    });
}

fn five_streams_from(start: i64) {
    let store = memory();
    let streams: Vec<Stream> = (0..5).map(|_| stream(&store)).collect();
    for stream in &streams {
        assert_eq!(stream.create(&watch(FOO, start)).unwrap(), 1, "each stream has its own ids");
    }
    put(&store, "foo", "bar");
    for stream in &streams {
        let responses = settle(stream);
        assert_eq!((responses.len(), responses[0].watch_id()), (1, 1));
        assert_eq!(lines(&responses[0]), ["2 put foo=bar"]);
        assert!(settle(stream).is_empty());
    }
}

/// etcd 3.8, 3.9: the first id is 1 where etcd's is 0.
#[test]
fn five_streams_with_a_live_watch_each_are_each_told() {
    watched(|| five_streams_from(0));
}

/// etcd 3.3, 3.8, 3.9
#[test]
fn five_streams_with_a_watch_of_the_past_each_are_each_told() {
    watched(|| five_streams_from(1));
}

/// etcd 9.8: etcd's case cuts a connection; here the store is closed.
#[test]
fn a_hundred_streams_made_while_the_store_closes_all_end() {
    watched(|| {
        let store = memory();
        let begin = Barrier::new(101);
        std::thread::scope(|scope| {
            let ends: Vec<_> = (0..100)
                .map(|_| {
                    scope.spawn(|| {
                        begin.wait();
                        let stream = match store.stream(&StreamOptions::default()) {
                            Ok(stream) => stream,
                            Err(error) => return error.code(),
                        };
                        match stream.create(&watch(FOO, 0)) {
                            Ok(_) => refused(stream.next(None)),
                            Err(error) => error.code(),
                        }
                    })
                })
                .collect();
            begin.wait();
            store.close().unwrap();
            ends.into_iter().for_each(|end| assert_eq!(end.join().unwrap(), ErrorCode::Closed));
        });
    });
}

/// etcd 6.1, 6.2
#[test]
fn a_watch_that_leaves_puts_out_is_told_the_delete() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&CreateRequest { filter_noput: true, ..watch(FOO, 0) }).unwrap();
        put(&store, "foo", "bar");
        assert!(settle(&stream).is_empty());
        delete(&store, "foo");
        let response = take(&stream);
        assert_eq!(lines(&response), ["3 delete foo"]);
        assert_eq!(pair(&response.event(0).kv), ("foo".into(), "".into(), 0, 3, 0, 0));
    });
}

/// etcd 7.1
#[test]
fn a_prefix_watch_with_prev_kv_is_told_the_first_value_with_the_second() {
    watched(|| {
        for (key, range) in [("foo", FOO_PREFIX), ("/abc", (&b"/abc"[..], &b"/abd"[..]))] {
            let store = memory();
            put(&store, key, "first");
            let stream = stream(&store);
            stream.create(&CreateRequest { prev_kv: true, ..watch(range, 0) }).unwrap();
            put(&store, key, "second");
            let response = take(&stream);
            assert_eq!(lines(&response), [format!("3 put {key}=second [first@2]")]);
            let prev = response.event(0).prev_kv.unwrap();
            assert_eq!(pair(&prev), (key.into(), "first".into(), 2, 2, 1, 0));
        }
    });
}

/// etcd 9.1, 9.2
#[test]
fn a_thousand_watches_canceled_at_once_leave_the_one_that_was_kept() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let kept = stream.create(&watch(FOO, 0)).unwrap();
        for _ in 0..1000 {
            let id = stream.create(&watch(FOO, 0)).unwrap();
            stream.cancel(id).unwrap();
        }
        assert_eq!(store.stats().unwrap().watch_count, 1);
        put(&store, "foo", "bar");
        let responses = settle(&stream);
        assert_eq!(responses.iter().filter(|response| response.is_canceled()).count(), 1000);
        assert_eq!(lines_of(&responses, kept), ["2 put foo=bar"]);
        assert_eq!(responses.len(), 1001);
    });
}

/// etcd 9.1, 9.5: #19577 counted such a watch down twice.
#[test]
fn a_cancel_beside_the_close_of_its_stream_leaves_no_watch_and_counts_none_twice() {
    watched(|| {
        let store = memory();
        let (hand_over, handed_over) = channel::<Stream>();
        let store_of_other = store.clone();
        let closer = std::thread::spawn(move || {
            for stream in handed_over {
                stream.close();
                assert!(store_of_other.stats().unwrap().watch_count <= 1);
            }
        });
        for _ in 0..1000 {
            let stream = stream(&store);
            let id = stream.create(&watch(FOO, 0)).unwrap();
            hand_over.send(stream.clone()).unwrap();
            if let Err(error) = stream.cancel(id) {
                assert_eq!(error.code(), ErrorCode::Closed);
            }
        }
        drop(hand_over);
        closer.join().unwrap();
        let stats = store.stats().unwrap();
        assert_eq!((stats.watch_count, stats.stream_count), (0, 0));
    });
}
