//! How watches end: at the caller's wish or by a compaction, with exactly one last response.

mod common;

use common::*;
use libwatch::{CreateRequest, ErrorCode, Response, Store, Stream, StreamOptions};

fn is_canceled_by_compaction(response: &Response, compacted: i64) -> bool {
    response.is_canceled()
        && !response.is_created()
        && response.is_empty()
        && response.cancel_code() == Some(ErrorCode::Compacted)
        && !response.cancel_reason().is_empty()
        && response.compact_revision() == compacted
}

#[test]
fn a_cancel_is_answered_once_and_nothing_follows() {
    // etcd 9.1, 9.2
    watched(|| {
        let store = memory();
        put(&store, "a", "1");
        let stream = stream(&store);
        let id = stream.create(&CreateRequest { watch_data: 4, ..watch(ALL, 0) }).unwrap();
        let other = stream.create(&watch(ALL, 0)).unwrap();
        stream.cancel(id).unwrap();
        put(&store, "a", "2");
        let responses = settle(&stream);
        let of_it: Vec<&Response> = responses.iter().filter(|response| response.watch_id() == id).collect();
        assert_eq!(of_it.len(), 1);
        let last = of_it[0];
        assert!(last.is_canceled() && !last.is_created() && !last.is_progress() && last.is_empty());
        assert_eq!((last.cancel_code(), last.cancel_reason(), last.compact_revision()), (None, "", 0));
        assert_eq!((last.watch_data(), last.resume_revision()), (4, 3));
        assert_eq!(lines_of(&responses, other), ["3 put a=2"]);
    });
}

#[test]
fn only_a_live_watch_can_be_canceled() {
    // libwatch answers what etcd ignores (etcd 9.2)
    watched(|| {
        let store = memory();
        let (stream, other) = (stream(&store), stream(&store));
        let id = stream.create(&watch(ALL, 0)).unwrap();
        for absent in [0, -1, id + 1, i64::MAX, i64::MIN] {
            assert_eq!(refused(stream.cancel(absent)), ErrorCode::WatchNotFound);
        }
        assert_eq!(refused(other.cancel(id)), ErrorCode::WatchNotFound, "ids belong to their stream");
        stream.cancel(id).unwrap();
        assert_eq!(refused(stream.cancel(id)), ErrorCode::WatchNotFound);
        assert_eq!(settle(&stream).len(), 1, "a refused cancel gives no response");
        assert_eq!(refused(stream.cancel(id)), ErrorCode::WatchNotFound);
    });
}

/// etcd 4.1, 9.3, 17 Resumable
#[test]
fn created_comes_before_canceled_and_the_resume_point_loses_nothing() {
    watched(|| {
        let store = memory();
        (2..=50).for_each(|i| _ = put(&store, "a", i.to_string()));
        for start in [0, 1, 20] {
            for read in 0..3 {
                let stream = store.stream(&StreamOptions { batch_revisions: 7, batch_bytes: 0 }).unwrap();
                let request = CreateRequest { created_notify: true, ..watch(ALL, start) };
                let id = stream.create(&request).unwrap();
                let first = put(&store, "a", "live");
                let mut responses: Vec<Response> = (0..read).map(|_| take(&stream)).collect();
                stream.cancel(id).unwrap();
                responses.extend(settle(&stream));
                assert!(responses[0].is_created());
                let last = responses.last().unwrap();
                assert!(last.is_canceled());
                assert_eq!(responses.iter().filter(|response| response.is_canceled()).count(), 1);
                let begin = if start == 0 { first } else { start.max(2) };
                let told =
                    responses.iter().flat_map(|r| r.events().map(|e| e.kv.mod_revision).collect::<Vec<_>>());
                let expected: Vec<i64> = (begin..last.resume_revision()).collect();
                assert_eq!(told.collect::<Vec<_>>(), expected, "start {start}, {read} read");
            }
        }
    });
}

#[test]
fn a_consumer_that_waits_is_woken_by_a_cancel() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let id = stream.create(&watch(ALL, 0)).unwrap();
        let consumer = {
            let stream = stream.clone();
            std::thread::spawn(move || take(&stream).is_canceled())
        };
        stream.cancel(id).unwrap();
        assert!(consumer.join().unwrap());
    });
}

#[test]
fn canceled_watches_are_gone_from_the_statistics() {
    // etcd #6134
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        (0..500).for_each(|i| _ = stream.create(&watch((b"a", b""), i % 3)).unwrap());
        assert_eq!(store.stats().unwrap().watch_count, 500);
        (1..=500).for_each(|id| stream.cancel(id).unwrap());
        let stats = store.stats().unwrap();
        assert_eq!((stats.watch_count, stats.watch_synced_count, stats.watch_unsynced_count), (0, 0, 0));
        assert_eq!(settle(&stream).iter().filter(|response| response.is_canceled()).count(), 500);
    });
}

#[test]
fn a_start_below_the_compaction_is_created_and_canceled_at_once() {
    // etcd 3.5 with libwatch's difference: the revision is the current one
    watched(|| {
        let store = memory();
        (0..9).for_each(|_| _ = put(&store, "a", "1"));
        store.compact(5, false).unwrap();
        let stream = stream(&store);
        let request = CreateRequest { created_notify: true, watch_data: 6, ..watch(ALL, 4) };
        let id = stream.create(&request).unwrap();
        let (created, canceled) = (take(&stream), take(&stream));
        assert!(created.is_created() && !created.is_canceled() && created.revision() == 10);
        assert!(is_canceled_by_compaction(&canceled, 5));
        assert_eq!((canceled.watch_id(), canceled.watch_data(), canceled.revision()), (id, 6, 10));
        assert!(drain(&stream).is_empty(), "one last response");
        assert_eq!(refused(stream.cancel(id)), ErrorCode::WatchNotFound, "it has ended");
        assert_eq!(store.stats().unwrap().watch_count, 0);
    });
}

#[test]
fn a_start_at_the_compaction_is_legal() {
    // etcd 3.6
    watched(|| {
        for physical in [false, true] {
            let store = memory();
            (2..=9).for_each(|i| _ = put(&store, "a", i.to_string()));
            store.compact(5, physical).unwrap();
            let stream = stream(&store);
            for start in 1..=4 {
                stream.create(&watch(ALL, start)).unwrap();
                assert!(is_canceled_by_compaction(&take(&stream), 5), "start {start}");
            }
            for start in 5..=9 {
                let id = stream.create(&watch(ALL, start)).unwrap();
                let expected: Vec<String> = (start..=9).map(|i| format!("{i} put a={i}")).collect();
                assert_eq!(lines_of(&settle(&stream), id), expected);
            }
        }
    });
}

#[test]
fn a_watch_that_has_not_read_its_history_is_canceled_by_a_compaction() {
    // etcd 3.7, 10.6
    watched(|| {
        for physical in [false, true] {
            let store = memory();
            (0..9).for_each(|_| _ = put(&store, "a", "1"));
            let stream = stream(&store);
            let old = stream.create(&CreateRequest { created_notify: true, ..watch(ALL, 2) }).unwrap();
            let edge = stream.create(&watch(ALL, 6)).unwrap();
            store.compact(6, physical).unwrap();
            let responses = settle(&stream);
            assert!(responses[0].is_created());
            let canceled: Vec<&Response> =
                responses.iter().filter(|response| response.is_canceled()).collect();
            assert_eq!(canceled.len(), 1);
            assert!(is_canceled_by_compaction(canceled[0], 6));
            assert_eq!((canceled[0].watch_id(), canceled[0].resume_revision()), (old, 2));
            assert!(lines_of(&responses, old).is_empty(), "no partial delivery");
            assert_eq!(lines_of(&responses, edge).len(), 5);
        }
    });
}

/// etcd 10.5, 10.11
#[test]
fn watches_on_the_present_and_future_do_not_mind_a_compaction() {
    // etcd 10.5
    watched(|| {
        for physical in [false, true] {
            let store = memory_with(|options| options.segment_bytes = tiny().segment_bytes);
            let stream = stream(&store);
            let live = stream.create(&watch(ALL, 0)).unwrap();
            let future = stream.create(&watch(ALL, 2003)).unwrap();
            (0..1000).for_each(|_| _ = put(&store, "a", vec![b'x'; 100]));
            settle(&stream);
            (0..1000).for_each(|_| _ = put(&store, "a", vec![b'x'; 100]));
            let responses = settle(&stream);
            assert_eq!(lines_of(&responses, live).len(), 1000);
            store.compact(2001, physical).unwrap();
            put(&store, "b", "1");
            put(&store, "b", "2");
            let responses = settle(&stream);
            assert_eq!(lines_of(&responses, live), ["2002 put b=1", "2003 put b=2"]);
            assert_eq!(lines_of(&responses, future), ["2003 put b=2"]);
        }
    });
}

#[test]
fn a_quiet_watch_stays_live_although_nobody_read_what_a_compaction_dropped() {
    // etcd 10.5
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let stream = stream(&store);
        stream.create(&watch((b"quiet", b""), 0)).unwrap();
        for _ in 0..3 {
            (0..5000).for_each(|_| _ = put(&store, "busy", vec![b'x'; 50]));
            store.compact(store.revision(), true).unwrap();
        }
        let revision = put(&store, "quiet", "1");
        assert_eq!(
            settle(&stream).iter().flat_map(lines).collect::<Vec<_>>(),
            [format!("{revision} put quiet=1")]
        );
    });
}

/// Reads on until the watch ends; the last response, and the revisions before it.
fn read_to_the_end(stream: &Stream) -> (Response, Vec<i64>) {
    let mut told = Vec::new();
    loop {
        let response = take(stream);
        if response.is_canceled() {
            return (response, told);
        }
        told.extend(response.events().map(|event| event.kv.mod_revision));
    }
}

#[test]
fn a_slow_watch_gets_a_prefix_and_then_the_compaction_never_a_gap() {
    // etcd 10.6, #17529
    watched(|| {
        for physical in [false, true] {
            for read_before in [0, 1, 5] {
                let folder = folder();
                let store = Store::open(folder.path(), &tiny()).unwrap();
                let options = StreamOptions { batch_revisions: 100, batch_bytes: 0 };
                let stream = store.stream(&options).unwrap();
                let id = stream.create(&watch(ALL, 1)).unwrap();
                (0..10_000).for_each(|i| _ = put(&store, "a", i.to_string()));
                let mut told: Vec<i64> = Vec::new();
                for _ in 0..read_before {
                    told.extend(take(&stream).events().map(|event| event.kv.mod_revision));
                }
                store.compact(9_000, physical).unwrap();
                let (last, rest) = read_to_the_end(&stream);
                told.extend(rest);
                assert!(is_canceled_by_compaction(&last, 9_000));
                let expected: Vec<i64> = (2..last.resume_revision().max(2)).collect();
                assert_eq!(told, expected, "physical {physical}, {read_before} read before");
                assert!(drain(&stream).is_empty());
                assert_eq!(refused(stream.cancel(id)), ErrorCode::WatchNotFound);
                stream.create(&watch(ALL, last.compact_revision())).unwrap();
                assert_eq!(take_lines(&stream, 1_002).len(), 1_002, "it may go on from the compaction");
            }
        }
    });
}

#[test]
fn a_live_watch_whose_consumer_sleeps_through_a_compaction_is_told() {
    watched(|| {
        for physical in [false, true] {
            let folder = folder();
            let store = Store::open(folder.path(), &tiny()).unwrap();
            let stream = stream(&store);
            stream.create(&watch(ALL, 0)).unwrap();
            (0..20_000).for_each(|i| _ = put(&store, "a", i.to_string()));
            store.compact(19_000, physical).unwrap();
            let (last, told) = read_to_the_end(&stream);
            assert!(is_canceled_by_compaction(&last, 19_000));
            let expected: Vec<i64> = (2..last.resume_revision().max(2)).collect();
            assert_eq!(told, expected, "physical {physical}");
        }
    });
}

#[test]
fn many_watches_behind_a_compaction_are_each_canceled_once() {
    // etcd 10.9, #22294
    watched(|| {
        let store = memory();
        (0..20).for_each(|_| _ = put(&store, "a", "1"));
        let stream = stream(&store);
        (0..2000).for_each(|i| _ = stream.create(&watch(ALL, 1 + i % 20)).unwrap());
        store.compact(11, false).unwrap();
        let responses = settle(&stream);
        let mut canceled: Vec<i64> =
            responses.iter().filter(|r| r.is_canceled()).map(|r| r.watch_id()).collect();
        canceled.sort_unstable();
        let expected: Vec<i64> = (1..=2000).filter(|id| 1 + (id - 1) % 20 < 11).collect();
        assert_eq!(canceled, expected);
        put(&store, "b", "1");
        assert_eq!(settle(&stream).iter().filter(|response| !response.is_empty()).count(), 1000);
    });
}

/// etcd 9.4
#[test]
fn the_chosen_id_of_a_watch_that_a_compaction_canceled_is_free() {
    // etcd 3.9 keeps it occupied
    watched(|| {
        let store = memory();
        (0..5).for_each(|_| _ = put(&store, "a", "1"));
        store.compact(6, false).unwrap();
        let stream = stream(&store);
        let chosen = |start| CreateRequest { watch_id: 7, ..watch(ALL, start) };
        stream.create(&chosen(2)).unwrap();
        assert_eq!(refused(stream.cancel(7)), ErrorCode::WatchNotFound);
        assert_eq!(stream.create(&chosen(6)).unwrap(), 7);
        let responses = settle(&stream);
        assert!(is_canceled_by_compaction(&responses[0], 6));
        assert_eq!(lines_of(&responses, 7), ["6 put a=1"]);
    });
}
