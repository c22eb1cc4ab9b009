//! Who may outlive whom: handles, streams, responses and descriptors, through closing in any order.

mod common;

use std::sync::mpsc::channel;
use std::time::Duration;

use common::*;
use libwatch::{
    DeleteRangeRequest, ErrorCode, PutRequest, RangeRequest, Store, Stream, StreamOptions, TxnRequest,
};

/// Whether a poll of the stream's descriptor would say "readable": the count of an eventfd is not 0.
fn readable(stream: &Stream) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", stream.fd().unwrap())).unwrap();
    let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:")).expect("it is an eventfd");
    u64::from_str_radix(count.trim(), 16).unwrap() > 0
}

/// S 19.6
#[test]
fn every_call_on_a_closed_store_answers_closed() {
    watched(|| {
        let store = memory();
        put(&store, "a", "1");
        store.close().unwrap();
        assert!(store.is_closed());
        let closed = [
            refused(store.put(&PutRequest { key: b"a", ..Default::default() })),
            refused(store.get(b"a", 0)),
            refused(store.range(&RangeRequest { key: b"a", ..Default::default() })),
            refused(store.delete_range(&DeleteRangeRequest { key: b"a", ..Default::default() })),
            refused(store.txn(&TxnRequest::default())),
            refused(store.compact(2, true)),
            refused(store.sync(0, None)),
            refused(store.stats()),
            refused(store.stream(&StreamOptions::default())),
        ];
        assert_eq!(closed, [ErrorCode::Closed; 9]);
        store.close().unwrap();
        assert_eq!((store.revision(), store.compact_revision(), store.durable_revision()), (2, -1, 2));
    });
}

/// S 19.6
#[test]
fn closing_through_one_handle_closes_all_and_dropping_the_last_closes_too() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let other = store.clone();
        drop(store);
        put(&other, "a", "1");
        let third = other.clone();
        other.close().unwrap();
        assert!(third.is_closed());
        let again = Store::open(folder.path(), &tiny()).unwrap();
        let stream = stream(&again);
        stream.create(&watch(ALL, 0)).unwrap();
        drop(again);
        assert_eq!(refused(stream.next(None)), ErrorCode::Closed);
        drop(Store::open(folder.path(), &tiny()).unwrap());
    });
}

/// etcd 9.5
#[test]
fn every_call_on_a_stream_that_ended_answers_closed() {
    watched(|| {
        let ends: [fn(&Store, &Stream); 3] =
            [|_, stream| stream.shutdown(), |_, stream| stream.close(), |store, _| store.close().unwrap()];
        for end in ends {
            let store = memory();
            let stream = stream(&store);
            let id = stream.create(&watch(ALL, 0)).unwrap();
            put(&store, "a", "1");
            end(&store, &stream);
            let closed = [
                refused(stream.create(&watch(ALL, 0))),
                refused(stream.cancel(id)),
                refused(stream.request_progress()),
                refused(stream.next(None)),
                refused(stream.next_batch(3, Some(Duration::ZERO))),
            ];
            assert_eq!(closed, [ErrorCode::Closed; 5]);
            stream.shutdown();
            stream.close();
        }
    });
}

/// etcd 9.8
#[test]
fn a_consumer_that_waits_is_woken_when_its_stream_or_store_ends() {
    watched(|| {
        let ends: [fn(&Store, &Stream); 3] =
            [|_, stream| stream.shutdown(), |_, stream| stream.close(), |store, _| store.close().unwrap()];
        for end in ends {
            let store = memory();
            let streams: Vec<Stream> = (0..3).map(|_| stream(&store)).collect();
            let consumers: Vec<_> = streams
                .iter()
                .map(|stream| {
                    stream.create(&watch(ALL, 0)).unwrap();
                    let stream = stream.clone();
                    std::thread::spawn(move || refused(stream.next(None)))
                })
                .collect();
            streams.iter().for_each(|stream| end(&store, stream));
            for consumer in consumers {
                assert_eq!(consumer.join().unwrap(), ErrorCode::Closed);
            }
        }
    });
}

#[test]
fn one_stream_may_end_without_the_others() {
    watched(|| {
        let store = memory();
        let (one, other) = (stream(&store), stream(&store));
        one.create(&watch(ALL, 0)).unwrap();
        other.create(&watch(ALL, 0)).unwrap();
        let clone = one.clone();
        drop(one);
        put(&store, "a", "1");
        assert_eq!(lines(&take(&clone)), ["2 put a=1"], "a handle of it is left");
        drop(clone);
        assert_eq!((store.stats().unwrap().stream_count, store.stats().unwrap().watch_count), (1, 1));
        put(&store, "a", "2");
        assert_eq!(take_lines(&other, 2), ["2 put a=1", "3 put a=2"]);
    });
}

#[test]
fn the_turn_to_wait_for_the_writer_passes_to_others() {
    watched(|| {
        let store = memory();
        let (told, heard) = channel();
        let streams: Vec<Stream> = (0..6).map(|_| stream(&store)).collect();
        let consumers: Vec<_> = streams
            .iter()
            .enumerate()
            .map(|(i, stream)| {
                stream.create(&watch(ALL, 0)).unwrap();
                let (stream, told) = (stream.clone(), told.clone());
                std::thread::spawn(move || {
                    while let Ok(response) = stream.next(None) {
                        response.iter().flat_map(|r| r.events()).for_each(|_| told.send(i).unwrap());
                    }
                })
            })
            .collect();
        for (ended, stream) in streams.iter().enumerate() {
            for _ in 0..20 {
                put(&store, "a", "1");
                for _ in ended..6 {
                    assert!(heard.recv().unwrap() >= ended);
                }
            }
            stream.shutdown();
        }
        consumers.into_iter().for_each(|consumer| consumer.join().unwrap());
    });
}

/// S 19.5
#[test]
fn answers_and_responses_outlive_stream_and_store() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        (0..500).for_each(|i| _ = put(&store, format!("{i:03}"), "v".repeat(500)));
        let stream = stream(&store);
        stream.create(&watch(ALL, 2)).unwrap();
        let responses = settle(&stream);
        let range = RangeRequest { key: ALL.0, range_end: ALL.1, ..Default::default() };
        let read = store.range(&range).unwrap();
        let delete = DeleteRangeRequest { key: ALL.0, range_end: ALL.1, prev_kv: true };
        let deleted = store.delete_range(&delete).unwrap();
        store.compact(store.revision(), true).unwrap();
        drop(stream);
        store.close().unwrap();
        drop(store);
        drop(folder);
        let value = "v".repeat(500);
        let elsewhere = std::thread::spawn(move || {
            assert_eq!((read.len(), deleted.prev_kv_count()), (500, 500));
            assert!(read.iter().all(|kv| text(kv.value) == value));
            assert!((0..500).all(|i| text(deleted.prev_kv(i).value) == value));
            let events: usize = responses.iter().map(|response| response.len()).sum();
            assert_eq!(events, 500);
            assert!(responses.iter().flat_map(|r| r.events()).all(|event| text(event.kv.value) == value));
        });
        elsewhere.join().unwrap();
    });
}

/// S 19.2
#[test]
fn the_descriptor_is_readable_exactly_while_a_response_is_queued() {
    watched(|| {
        let store = memory();
        let stream = store.stream(&StreamOptions { batch_revisions: 1, batch_bytes: 0 }).unwrap();
        stream.create(&watch((b"a", b""), 0)).unwrap();
        assert_eq!(stream.fd().unwrap(), stream.fd().unwrap());
        assert!(!readable(&stream));
        for round in 0..20 {
            put(&store, "b", "1");
            put(&store, "a", round.to_string());
            until(|| readable(&stream));
            assert_eq!(take(&stream).len(), 1);
            assert!(!readable(&stream), "nothing is queued");
        }
        (0..3).for_each(|i| _ = put(&store, "a", i.to_string()));
        until(|| readable(&stream));
        for left in (0..3).rev() {
            take(&stream);
            assert_eq!(readable(&stream), left > 0);
        }
        assert!(drain(&stream).is_empty() && !readable(&stream));
    });
}

/// etcd 9.5, S 19.2
#[test]
fn a_stream_that_ended_gives_no_new_descriptor_and_keeps_the_old_one_readable() {
    watched(|| {
        let store = memory();
        let (polled, other) = (stream(&store), stream(&store));
        polled.fd().unwrap();
        polled.close();
        assert!(readable(&polled));
        store.close().unwrap();
        assert_eq!(refused(other.fd()), ErrorCode::Closed);
    });
}

/// S 19.2
#[test]
fn the_descriptor_tells_of_every_kind_of_response_and_of_the_end() {
    watched(|| {
        let store = memory();
        put(&store, "a", "1");
        let stream = stream(&store);
        let created = libwatch::CreateRequest { created_notify: true, ..watch((b"b", b""), 0) };
        let id = stream.create(&created).unwrap();
        until(|| readable(&stream));
        assert!(take(&stream).is_created() && !readable(&stream));
        stream.request_progress().unwrap();
        until(|| readable(&stream));
        assert!(take(&stream).is_progress() && !readable(&stream));
        stream.cancel(id).unwrap();
        until(|| readable(&stream));
        assert!(take(&stream).is_canceled() && !readable(&stream));
        stream.create(&watch(ALL, 1)).unwrap();
        until(|| readable(&stream));
        assert!(take(&stream).len() == 1 && !readable(&stream));
        stream.shutdown();
        until(|| readable(&stream));
        assert_eq!(refused(stream.next(None)), ErrorCode::Closed);
        assert!(readable(&stream), "an ended stream stays readable");
    });
}

#[test]
fn the_descriptor_tells_of_periodic_progress_and_of_the_end_of_the_store() {
    watched(|| {
        let store = memory_with(|options| options.progress_interval_ms = 100);
        let stream = stream(&store);
        let notify = libwatch::CreateRequest { progress_notify: true, ..watch(ALL, 0) };
        stream.create(&notify).unwrap();
        stream.fd().unwrap();
        until(|| readable(&stream));
        assert!(take(&stream).is_progress());
        store.close().unwrap();
        until(|| readable(&stream));
        assert_eq!(refused(stream.next(None)), ErrorCode::Closed);
    });
}

#[test]
fn stores_and_streams_come_and_go_many_times() {
    watched(|| {
        for i in 0..50 {
            let store = memory();
            let callback = Box::new(|_: &libwatch::Response| libwatch::Answer::Taken);
            let called = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
            called.create(&watch(ALL, 0)).unwrap();
            let polled = stream(&store);
            polled.create(&watch(ALL, 0)).unwrap();
            polled.fd().unwrap();
            put(&store, "a", "1");
            match i % 3 {
                0 => store.close().unwrap(),
                1 => drop(polled),
                _ => assert_eq!(take(&polled).len(), 1),
            }
        }
    });
}
