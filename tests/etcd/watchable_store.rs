//! The engine behind watches: catching up, batches, slow consumers, restores.

use std::sync::mpsc::channel;
use std::thread;

use libwatch::{
    Answer, CreateRequest, DeleteRangeRequest, ErrorCode, EventType, Op, PutRequest, Response, Store, Stream,
    StreamOptions, TxnRequest,
};

use crate::common::*;

const FOO: (&[u8], &[u8]) = (b"foo", b"");

/// Watches that follow the present, and watches that still have history to read.
fn synced_and_unsynced(store: &Store) -> (u64, u64) {
    let stats = store.stats().unwrap();
    (stats.watch_synced_count, stats.watch_unsynced_count)
}

fn watch_count(store: &Store) -> u64 {
    store.stats().unwrap().watch_count
}

/// A stream whose responses hold at most so many revisions.
fn stream_of(store: &Store, batch_revisions: u32) -> Stream {
    store.stream(&StreamOptions { batch_revisions, batch_bytes: 0 }).unwrap()
}

fn revisions(response: &Response) -> Vec<i64> {
    response.events().map(|event| event.kv.mod_revision).collect()
}

/// The numbers from 0 up to `count` in an order that looks random.
fn shuffled(count: usize) -> Vec<usize> {
    let mut random = Random::new(count as u64);
    let mut all: Vec<usize> = (0..count).collect();
    (1..count).rev().for_each(|i| all.swap(i, random.below(i as u64 + 1) as usize));
    all
}

/// etcd 3.1, 12.5
#[test]
fn a_watch_from_now_on_is_up_to_date_at_once() {
    watched(|| {
        let store = memory();
        put(&store, "foo", "bar");
        let stream = stream(&store);
        stream.create(&watch(FOO, 0)).unwrap();
        assert_eq!(synced_and_unsynced(&store), (1, 0));
        stream.request_progress().unwrap();
        let first = take(&stream);
        assert!(first.is_progress() && first.revision() == 2);
    });
}

/// etcd 9.1
#[test]
fn the_number_of_watches_is_moved_by_create_and_cancel_alone() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch((b"other", b""), 0)).unwrap();
        put(&store, "foo", "bar");
        assert_eq!(watch_count(&store), 1);
        let id = stream.create(&watch(FOO, 0)).unwrap();
        assert_eq!(watch_count(&store), 2);
        stream.cancel(id).unwrap();
        assert_eq!(watch_count(&store), 1);
        assert_eq!(refused(stream.cancel(id)), ErrorCode::WatchNotFound);
        assert_eq!(watch_count(&store), 1, "a second cancel takes no other away");
    });
}

/// etcd 3.5, 9.1: a watch that a compaction ended needs no cancel to be gone
#[test]
fn a_watch_below_the_compaction_is_never_counted() {
    watched(|| {
        let store = memory();
        put(&store, "foo", "1");
        put(&store, "foo", "2");
        store.compact(3, false).unwrap();
        let stream = stream(&store);
        let id = stream.create(&watch(FOO, 2)).unwrap();
        let response = take(&stream);
        assert_eq!((response.watch_id(), response.compact_revision()), (id, 3));
        for _ in 0..2 {
            assert_eq!(watch_count(&store), 0);
            assert_eq!(refused(stream.cancel(id)), ErrorCode::WatchNotFound);
        }
    });
}

/// etcd 9.1, 9.5: #19577
#[test]
fn a_cancel_and_a_close_at_once_leave_the_number_of_watches_right() {
    watched(|| {
        let store = memory();
        let keeper = stream(&store);
        keeper.create(&watch(FOO, 0)).unwrap();
        put(&store, "foo", "1");
        put(&store, "foo", "2");
        store.compact(3, false).unwrap();
        for round in 0..600 {
            let stream = stream(&store);
            let id = stream.create(&watch(FOO, [0, 2, 3][round % 3])).unwrap();
            thread::scope(|scope| {
                let other = scope.spawn(|| stream.cancel(id));
                stream.close();
                let answer = other.join().unwrap().map_err(|error| error.code());
                assert!(matches!(answer, Ok(()) | Err(ErrorCode::Closed | ErrorCode::WatchNotFound)));
            });
            let stats = store.stats().unwrap();
            assert_eq!((stats.watch_count, stats.stream_count), (1, 1), "round {round}");
        }
    });
}

/// etcd 9.2, 9.3
#[test]
fn watches_that_have_read_nothing_yet_can_all_be_canceled() {
    watched(|| {
        let store = memory();
        put(&store, "foo", "bar");
        let stream = stream(&store);
        let ids: Vec<i64> = (0..100).map(|_| stream.create(&watch(FOO, 1)).unwrap()).collect();
        assert_eq!(synced_and_unsynced(&store), (0, 100));
        ids.iter().for_each(|id| stream.cancel(*id).unwrap());
        assert_eq!(synced_and_unsynced(&store), (0, 0));
        let responses = settle(&stream);
        assert!(responses.len() == 100 && responses.iter().all(|response| response.is_canceled()));
    });
}

/// etcd 3.3
#[test]
fn a_hundred_watches_read_the_same_history_with_one_response_each() {
    watched(|| {
        let store = memory();
        put(&store, "foo", "bar");
        let stream = stream(&store);
        let mut ids: Vec<i64> = (0..100).map(|_| stream.create(&watch(FOO, 1)).unwrap()).collect();
        assert_eq!(synced_and_unsynced(&store), (0, 100));
        let responses = settle(&stream);
        assert_eq!(synced_and_unsynced(&store), (100, 0));
        let mut told: Vec<i64> = responses.iter().map(Response::watch_id).collect();
        told.sort_unstable();
        ids.sort_unstable();
        assert_eq!(told, ids);
        for response in responses {
            let event = response.event(0);
            assert_eq!((response.len(), event.event_type), (1, EventType::Put));
            assert_eq!(pair(&event.kv), ("foo".into(), "bar".into(), 2, 2, 1, 0));
        }
    });
}

/// etcd 1.10, 3.3, 3.4, 5.1, 5.2
#[test]
fn every_window_of_history_holds_exactly_its_changes() {
    watched(|| {
        let store = memory();
        for key in ["foo1", "foo2", "foo3"] {
            put(&store, key, "bar");
        }
        store.delete_range(&DeleteRangeRequest { key: b"foo1", range_end: b"foo3", prev_kv: false }).unwrap();
        let written = |key: &str, at| (key.to_string(), "bar".to_string(), at, at, 1, 0);
        let deleted = |key: &str| (key.to_string(), String::new(), 0, 5, 0, 0);
        let all =
            [written("foo1", 2), written("foo2", 3), written("foo3", 4), deleted("foo1"), deleted("foo2")];
        let stream = stream(&store);
        assert_eq!(refused(stream.create(&watch(ALL, -1))), ErrorCode::InvalidArgument);
        for min in 1..=6 {
            let id = stream.create(&watch(ALL, min)).unwrap();
            let responses = settle(&stream);
            let events = responses.iter().flat_map(|response| response.events());
            let found: Vec<_> = events.map(|event| pair(&event.kv)).collect();
            for max in min..=7 {
                let window: Vec<_> = found.iter().filter(|kv| kv.3 < max).collect();
                let expected: Vec<_> = all.iter().filter(|kv| (min..max).contains(&kv.3)).collect();
                assert_eq!(window, expected, "[{min}, {max})");
            }
            stream.cancel(id).unwrap();
            settle(&stream);
        }
        let sliding = stream_of(&store, 1);
        sliding.create(&watch(ALL, 1)).unwrap();
        let windows: Vec<Vec<i64>> = settle(&sliding).iter().map(revisions).collect();
        assert_eq!(windows, [vec![2], vec![3], vec![4], vec![5, 5]]);
    });
}

/// etcd 3.5
#[test]
fn a_watch_from_before_the_compaction_is_told_by_its_id() {
    watched(|| {
        let store = memory();
        (0..10).for_each(|_| _ = put(&store, "foo", "bar"));
        store.compact(5, false).unwrap();
        let stream = stream(&store);
        let id = stream.create(&watch(FOO, 4)).unwrap();
        let response = take(&stream);
        assert_eq!((response.watch_id(), response.compact_revision()), (id, 5));
        assert_eq!(response.cancel_code(), Some(ErrorCode::Compacted));
    });
}

/// etcd 3.5, 3.6, 10.6: #17529
#[test]
fn a_compaction_under_a_late_reader_never_leaves_a_hole() {
    watched(|| {
        for read_before in [None, Some(0), Some(1), Some(2)] {
            let store = memory();
            (0..10).for_each(|_| _ = put(&store, "foo", "bar"));
            let stream = stream_of(&store, 4);
            let mut next = [0, 1, 1, 6];
            let create =
                || [1, 1, 6].iter().for_each(|start| _ = stream.create(&watch(FOO, *start)).unwrap());
            let mut responses = Vec::new();
            if let Some(count) = read_before {
                create();
                responses.extend((0..count).map(|_| take(&stream)));
            }
            store.compact(5, false).unwrap();
            if read_before.is_none() {
                create();
            }
            responses.extend(settle(&stream));
            for response in responses {
                let next = &mut next[response.watch_id() as usize];
                if response.is_canceled() {
                    assert_eq!(response.compact_revision(), 5);
                    *next = 12;
                }
                for revision in revisions(&response) {
                    assert_eq!(revision, (*next).max(2), "a hole in watch {}", response.watch_id());
                    *next = revision + 1;
                }
            }
            assert_eq!(next[1..], [12; 3], "every watch comes to its end");
        }
    });
}

/// etcd 3.2, 8.14
#[test]
fn a_watch_on_the_future_begins_with_its_start() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch(FOO, 10)).unwrap();
        while put(&store, "foo", "bar") < 10 {}
        let response = take(&stream);
        assert_eq!((response.revision(), revisions(&response)), (10, vec![10]));
        assert!(settle(&stream).is_empty());
    });
}

/// One watch that lives through a restart: what it asks for next, and what it was told.
struct Survivor {
    next: i64,
    told: Vec<String>,
}

impl Survivor {
    fn hear(&mut self, stream: &Stream) {
        for response in settle(stream) {
            assert!(response.is_created() || !response.is_empty(), "an empty response");
            self.told.extend(lines(&response));
            self.next = response.resume_revision();
        }
    }
}

/// etcd 11.1, 11.5, 17: a watch ends with its process; the resume point carries it over
#[test]
fn watches_go_on_across_a_restart_from_where_they_were() {
    watched(|| {
        for reads_before in [false, true] {
            for reads_after in [false, true] {
                let folder = folder();
                let store = Store::open(folder.path(), &tiny()).unwrap();
                let mut survivors = Vec::new();
                let mut streams = Vec::new();
                for start in 0..5 {
                    let stream = stream(&store);
                    stream.create(&CreateRequest { created_notify: true, ..watch(FOO, start) }).unwrap();
                    let created = take(&stream);
                    survivors.push(Survivor { next: created.resume_revision(), told: Vec::new() });
                    streams.push(stream);
                }
                put(&store, "foo", "bar");
                let hear = |survivors: &mut [Survivor], streams: &[Stream]| {
                    survivors.iter_mut().zip(streams).for_each(|(survivor, stream)| survivor.hear(stream));
                };
                if reads_before {
                    hear(&mut survivors, &streams);
                }
                store.close().unwrap();
                let store = Store::open(folder.path(), &tiny()).unwrap();
                let again = survivors.iter().map(|survivor| {
                    let stream = stream(&store);
                    stream.create(&watch(FOO, survivor.next)).unwrap();
                    stream
                });
                let streams: Vec<Stream> = again.collect();
                if reads_after {
                    hear(&mut survivors, &streams);
                }
                delete(&store, "foo");
                hear(&mut survivors, &streams);
                let both = ["2 put foo=bar", "3 delete foo"];
                let expected = [&both[..], &both, &both, &both[1..], &[]];
                for (start, survivor) in survivors.iter().enumerate() {
                    assert_eq!(survivor.told, expected[start], "start {start}");
                }
            }
        }
    });
}

/// The revisions in each response of a watch from 1 on, with 12 transactions that put each of `keys`.
fn twelve_in_batches_of_four(keys: &[&str]) -> Vec<Vec<i64>> {
    let store = memory();
    for _ in 0..12 {
        let puts = keys.iter().map(|key| PutRequest { key: key.as_bytes(), ..Default::default() });
        let success = puts.map(Op::Put).collect();
        store.txn(&TxnRequest { success, ..Default::default() }).unwrap();
    }
    let stream = stream_of(&store, 4);
    stream.create(&watch((b"foo", b"fop"), 1)).unwrap();
    assert_eq!(synced_and_unsynced(&store), (0, 1));
    let responses = settle(&stream).iter().map(revisions).collect();
    assert_eq!(synced_and_unsynced(&store), (1, 0));
    responses
}

/// etcd 1.11, 8.12: a key changes once in a revision, so three events of one are three keys
#[test]
fn history_comes_in_batches_of_whole_revisions_and_the_watch_is_then_up_to_date() {
    watched(|| {
        let batches = |events: usize| -> Vec<Vec<i64>> {
            let batch = |first: i64| (first..first + 4).flat_map(|i| vec![i; events]).collect();
            [2, 6, 10].map(batch).to_vec()
        };
        assert_eq!(twelve_in_batches_of_four(&["foo1"]), batches(1));
        assert_eq!(twelve_in_batches_of_four(&["foo1", "foo2", "foo3"]), batches(3));
    });
}

/// etcd 2.2
#[test]
fn an_event_goes_to_the_watches_of_its_key() {
    watched(|| {
        let told = |watched: &[&str], written: &[&str]| -> Vec<Vec<String>> {
            let store = memory();
            let stream = stream(&store);
            let ids: Vec<i64> =
                watched.iter().map(|key| stream.create(&watch((key.as_bytes(), b""), 0)).unwrap()).collect();
            written.iter().for_each(|key| _ = put(&store, key, ""));
            let responses = settle(&stream);
            assert!(responses.iter().all(|response| ids.contains(&response.watch_id())));
            ids.iter().map(|id| lines_of(&responses, *id)).collect()
        };
        assert!(told(&[], &["k0"]).is_empty());
        assert_eq!(told(&["k0"], &["k1"]), [[""; 0]]);
        assert_eq!(told(&["k0"], &["k0"]), [["2 put k0="]]);
        assert_eq!(told(&["k0", "k1"], &["k0"]), [vec!["2 put k0="], vec![]]);
        assert_eq!(told(&["k0", "k1"], &["k0", "k1"]), [["2 put k0="], ["3 put k1="]]);
    });
}

/// A callback stream with a watch on foo from 1 that refuses every response once; it says when it has seen all
/// 64 puts, and then each progress, with the number of events it has taken.
fn refusing_stream(store: &Store, told: &std::sync::mpsc::Sender<usize>) -> Stream {
    let (mut next, mut refused_at, told) = (2, 0, told.clone());
    let callback = Box::new(move |response: &Response| {
        let Some(first) = response.events().next().map(|event| event.kv.mod_revision) else {
            told.send(next as usize - 2).unwrap();
            return Answer::Taken;
        };
        if refused_at < first {
            refused_at = first;
            return Answer::Again;
        }
        for revision in revisions(response) {
            assert_eq!(revision, next, "a gap or a repetition");
            next += 1;
        }
        if next == 66 {
            told.send(64).unwrap();
        }
        Answer::Taken
    });
    let options = StreamOptions { batch_revisions: 2, batch_bytes: 0 };
    let stream = store.stream_with_callback(&options, callback).unwrap();
    stream.create(&watch(FOO, 1)).unwrap();
    stream
}

/// etcd 4.2, 8.8, 17
#[test]
fn consumers_that_refuse_everything_once_get_every_put_in_order_and_nothing_more() {
    watched(|| {
        let store = memory();
        let (told, heard) = channel();
        let streams: Vec<Stream> = (0..256).map(|_| refusing_stream(&store, &told)).collect();
        thread::scope(|scope| (0..64).for_each(|_| _ = scope.spawn(|| put(&store, "foo", "bar"))));
        (0..256).for_each(|_| assert_eq!(heard.recv().unwrap(), 64));
        streams.iter().for_each(|stream| stream.request_progress().unwrap());
        (0..256).for_each(|_| assert_eq!(heard.recv().unwrap(), 64));
        until(|| store.stats().unwrap().event_delivered_total >= 256 * 64);
        assert_eq!(store.stats().unwrap().event_delivered_total, 256 * 64);
    });
}

/// etcd 9.1, 9.5
#[test]
fn cancels_closes_and_puts_at_once_all_come_to_an_end() {
    watched(|| {
        let store = memory();
        let streams: Vec<(Stream, Vec<i64>)> = (0..100)
            .map(|_| {
                let stream = stream(&store);
                let ids = (0..10).map(|_| stream.create(&watch(FOO, 0)).unwrap()).collect();
                (stream, ids)
            })
            .collect();
        assert_eq!(watch_count(&store), 1000);
        thread::scope(|scope| {
            scope.spawn(|| (0..100).for_each(|_| _ = put(&store, "foo", "bar")));
            for (stream, ids) in &streams {
                scope.spawn(|| {
                    for id in &ids[..5] {
                        let answer = stream.cancel(*id).map_err(|error| error.code());
                        assert!(matches!(answer, Ok(()) | Err(ErrorCode::Closed)));
                    }
                });
                scope.spawn(|| stream.close());
            }
        });
        assert_eq!((store.revision(), watch_count(&store), store.stats().unwrap().stream_count), (101, 0, 0));
        assert!(streams.iter().all(|(stream, _)| refused(stream.next(None)) == ErrorCode::Closed));
    });
}

/// etcd 3.1, 3.3: who registered in the past and who follows the present
#[test]
fn one_put_is_one_response_for_each_of_a_thousand_watches_and_nothing_more() {
    watched(|| {
        for start in [0, 1] {
            let store = memory();
            let stream = stream(&store);
            (0..1000).for_each(|_| _ = stream.create(&watch(FOO, start)).unwrap());
            put(&store, "foo", "bar");
            let responses = settle(&stream);
            assert!(responses.iter().all(|response| lines(response) == ["2 put foo=bar"]));
            let mut told: Vec<i64> = responses.iter().map(Response::watch_id).collect();
            told.sort_unstable();
            assert!(told.into_iter().eq(1..=1000), "each watch once, from {start}");
            assert!(settle(&stream).is_empty());
        }
    });
}

/// etcd 9.1, 9.2
#[test]
fn watches_canceled_in_any_order_are_gone_and_the_others_are_not() {
    watched(|| {
        const MANY: usize = 10_000;
        for start in [0, 1] {
            let store = memory();
            put(&store, "foo", "bar");
            let stream = stream(&store);
            let ids: Vec<i64> = (0..MANY).map(|_| stream.create(&watch(FOO, start)).unwrap()).collect();
            let order = shuffled(MANY);
            let (first, second) = order.split_at(MANY / 2);
            first.iter().for_each(|i| stream.cancel(ids[*i]).unwrap());
            assert_eq!(watch_count(&store), MANY as u64 / 2);
            put(&store, "foo", "more");
            let mut told: Vec<i64> =
                settle(&stream).iter().filter(|r| !r.is_empty()).map(Response::watch_id).collect();
            told.sort_unstable();
            let mut live: Vec<i64> = second.iter().map(|i| ids[*i]).collect();
            live.sort_unstable();
            assert_eq!(told, live);
            second.iter().for_each(|i| stream.cancel(ids[*i]).unwrap());
            assert_eq!((watch_count(&store), synced_and_unsynced(&store)), (0, (0, 0)));
        }
    });
}
