//! One stream of watches: ids, ranges, filters, cancels, progress.

use std::collections::HashSet;

use libwatch::{
    CreateRequest, DeleteRangeRequest, ErrorCode, EventType, PutRequest, Response, WATCH_ID_NONE,
};

use crate::common::*;

const NOTHING: [&str; 0] = [];

/// etcd 3.8, 9.2: a stream never chooses an id twice, and every response says which watch it is for
#[test]
fn a_stream_never_repeats_an_id_whether_its_watches_began_now_or_in_history() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let mut seen = HashSet::new();
        let mut one_event = |key: &[u8], start: i64, write: bool| {
            let id = stream.create(&watch((key, b""), start)).unwrap();
            assert!(seen.insert(id), "id {id} was chosen twice");
            if write {
                put(&store, key, "bar");
            }
            let response = take(&stream);
            assert_eq!((response.watch_id(), response.len()), (id, 1));
            stream.cancel(id).unwrap();
            let last = take(&stream);
            assert!(last.is_canceled() && last.watch_id() == id);
        };
        (0..10).for_each(|_| one_event(b"foo", 0, true));
        put(&store, "foo2", "bar");
        (0..10).for_each(|_| one_event(b"foo2", 1, false));
        assert_eq!(seen.len(), 20);
    });
}

/// etcd 3.8, 3.9
#[test]
fn a_chosen_id_is_taken_once_and_the_stream_chooses_around_it() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let create = |watch_id| stream.create(&CreateRequest { watch_id, ..watch((b"foo", b""), 0) });
        assert_eq!(create(1).unwrap(), 1);
        assert_eq!(refused(create(1)), ErrorCode::DuplicateWatchId);
        assert_eq!((create(0).unwrap(), create(0).unwrap()), (2, 3));
        put(&store, "foo", "bar");
        let mut told: Vec<i64> = settle(&stream).iter().map(Response::watch_id).collect();
        told.sort_unstable();
        assert_eq!(told, [1, 2, 3], "the refused one is no watch");
    });
}

/// etcd 2.2, 3.1, 3.3
#[test]
fn a_watch_on_a_range_sees_the_keys_inside_it_now_and_in_history() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let mut seen = HashSet::new();
        let mut one_event = |range: (&[u8], &[u8]), start: i64, key: &str, write: bool| {
            let id = stream.create(&watch(range, start)).unwrap();
            assert!(seen.insert(id), "id {id} was chosen twice");
            if write {
                put(&store, key, "bar");
            }
            let response = take(&stream);
            assert_eq!((response.watch_id(), response.len()), (id, 1));
            assert_eq!(text(response.event(0).kv.key), key);
            stream.cancel(id).unwrap();
            assert!(take(&stream).is_canceled());
        };
        (0..10).for_each(|_| one_event((b"foo", b"fop"), 0, "foobar", true));
        put(&store, "foo1bar", "bar");
        (0..5).for_each(|_| one_event((b"foo1", b"foo2"), 1, "foo1bar", false));
        assert_eq!(seen.len(), 15);
    });
}

/// etcd 5.1: what a watch was given is its own
#[test]
fn two_watches_of_one_key_get_events_that_do_not_depend_on_each_other() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let ids = [(); 2].map(|()| stream.create(&watch((b"foo", b""), 0)).unwrap());
        put(&store, "foo", "bar");
        let (first, second) = (take(&stream), take(&stream));
        assert_eq!(HashSet::from([first.watch_id(), second.watch_id()]), HashSet::from(ids));
        assert_eq!((lines(&first), lines(&second)), (vec!["2 put foo=bar".into()], lines(&first)));
        let copy = second.clone();
        drop((first, second));
        stream.close();
        store.close().unwrap();
        assert_eq!(pair(&copy.event(0).kv), ("foo".into(), "bar".into(), 2, 2, 1, 0));
    });
}

/// etcd 2.2, 2.4, 3.8
#[test]
fn a_range_without_keys_is_refused_and_takes_no_id() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        assert_eq!(refused(stream.create(&watch((b"foa", b"foa"), 0))), ErrorCode::EmptyRange);
        assert_eq!(refused(stream.create(&watch((b"fob", b"foa"), 0))), ErrorCode::EmptyRange);
        assert_eq!(stream.create(&watch((b"foo", b"\0"), 0)).unwrap(), 1, "from a key on is a range");
        put(&store, "zoo", "1");
        assert_eq!(settle(&stream).iter().flat_map(lines).collect::<Vec<_>>(), ["2 put zoo=1"]);
    });
}

/// etcd 3.10
#[test]
fn the_first_watch_of_a_stream_gets_its_event_although_the_second_was_refused() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let alive = stream.create(&CreateRequest { created_notify: true, ..watch((b"k1", b""), 1) }).unwrap();
        assert!(take(&stream).is_created());
        assert_eq!(refused(stream.create(&watch((b"non-allowed", b"a"), 1))), ErrorCode::EmptyRange);
        let taken = CreateRequest { watch_id: alive, ..watch((b"k2", b""), 1) };
        assert_eq!(refused(stream.create(&taken)), ErrorCode::DuplicateWatchId);
        put(&store, "k1", "val");
        let response = take(&stream);
        assert_eq!((response.watch_id(), lines(&response)), (alive, vec!["2 put k1=val".into()]));
        assert!(settle(&stream).is_empty());
    });
}

/// etcd 1.9, 1.10, 5.2, 8.12
#[test]
fn deleting_a_range_is_one_response_with_its_keys_in_order() {
    watched(|| {
        let store = memory();
        (0..3).for_each(|i| _ = put(&store, format!("foo_{i}"), "bar"));
        let stream = stream(&store);
        let range: (&[u8], &[u8]) = (b"foo", b"foo_99");
        stream.create(&watch(range, 0)).unwrap();
        let request = DeleteRangeRequest { key: range.0, range_end: range.1, prev_kv: false };
        assert_eq!(store.delete_range(&request).unwrap().deleted(), 3);
        let response = take(&stream);
        assert!(response.events().all(|event| event.event_type == EventType::Delete));
        let deleted: Vec<_> = response.events().map(|event| pair(&event.kv)).collect();
        let bare = |key: &str| (key.to_string(), String::new(), 0, 5, 0, 0);
        assert_eq!(deleted, [bare("foo_0"), bare("foo_1"), bare("foo_2")]);
        assert!(settle(&stream).is_empty(), "one response holds them all");
    });
}

/// etcd 9.1
#[test]
fn a_watch_is_canceled_by_its_id_once() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let id = stream.create(&watch((b"foo", b""), 0)).unwrap();
        stream.cancel(id).unwrap();
        assert_eq!(refused(stream.cancel(id)), ErrorCode::WatchNotFound);
        assert_eq!(refused(stream.cancel(id + 1)), ErrorCode::WatchNotFound);
        let stats = store.stats().unwrap();
        assert_eq!((stats.watch_count, stats.watch_synced_count, stats.watch_unsynced_count), (0, 0, 0));
        put(&store, "foo", "bar");
        assert_eq!(settle(&stream).len(), 1, "the response that ends it");
    });
}

/// etcd 9.3, 12.5: a request is for a stream, so what cannot be named is a watch that ended
#[test]
fn progress_never_names_a_watch_that_ended() {
    watched(|| {
        let store = memory_with(|options| options.progress_interval_ms = 1);
        put(&store, "foo", "bar");
        let stream = stream(&store);
        let asking = |key| CreateRequest { progress_notify: true, ..watch((key, b""), 0) };
        let ended = stream.create(&asking(b"foo")).unwrap();
        stream.cancel(ended).unwrap();
        assert!(take(&stream).is_canceled());
        stream.request_progress().unwrap();
        let answer = take(&stream);
        assert!(answer.is_progress() && answer.watch_id() == WATCH_ID_NONE);
        let live = stream.create(&asking(b"bar")).unwrap();
        for _ in 0..3 {
            assert_eq!(take(&stream).watch_id(), live, "periodic notifications are for who is there");
        }
    });
}

/// What a request for progress is answered with when one watch waits from `start` on, before and after it has
/// read its history: whether it counts as behind at first, and the two answers.
fn asked_twice(start: i64) -> (u64, [(i64, i64); 2]) {
    let store = memory();
    put(&store, "foo", "bar");
    let stream = stream(&store);
    stream.create(&watch((b"bad", b""), start)).unwrap();
    let behind = store.stats().unwrap().watch_unsynced_count;
    let answers = [(); 2].map(|()| {
        stream.request_progress().unwrap();
        let answer = take(&stream);
        assert!(answer.is_progress() && answer.is_empty());
        assert_eq!(store.stats().unwrap().watch_unsynced_count, 0, "it has read everything by now");
        (answer.watch_id(), answer.revision())
    });
    assert!(drain(&stream).is_empty(), "one answer for each request");
    (behind, answers)
}

/// etcd 12.1, 12.5: a request made while a watch is behind waits for it instead of being dropped, and a watch on
/// the future does not hold it up
#[test]
fn progress_on_a_quiet_key_is_answered_wherever_its_watch_begins() {
    watched(|| {
        for (start, behind) in [(0, 0), (1, 1), (2, 1), (3, 0), (4, 0)] {
            assert_eq!(asked_twice(start), (behind, [(WATCH_ID_NONE, 2); 2]), "start {start}");
        }
    });
}

/// etcd 12.5
#[test]
fn progress_of_a_whole_stream_comes_after_history_was_read_and_has_no_watch_id() {
    watched(|| {
        let store = memory();
        put(&store, "foo", "bar");
        let stream = stream(&store);
        stream.create(&watch((b"bad", b""), 1)).unwrap();
        stream.request_progress().unwrap();
        assert_eq!(store.stats().unwrap().watch_unsynced_count, 1, "nothing is answered in advance");
        let answer = take(&stream);
        assert_eq!((answer.watch_id(), answer.revision(), answer.len()), (-1, 2, 0));
        assert!(answer.is_progress() && !answer.is_created() && !answer.is_canceled());
        assert_eq!(store.stats().unwrap().watch_unsynced_count, 0);
        assert!(drain(&stream).is_empty());
    });
}

/// etcd 6.1, 6.2
#[test]
fn a_watch_that_leaves_puts_out_says_nothing_until_a_delete() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&CreateRequest { filter_noput: true, ..watch((b"foo", b""), 0) }).unwrap();
        put(&store, "foo", "bar");
        assert_eq!(settle(&stream).iter().flat_map(lines).collect::<Vec<_>>(), NOTHING);
        delete(&store, "foo");
        let response = take(&stream);
        assert_eq!(lines(&response), ["3 delete foo"]);
    });
}

/// etcd 1.7, 5.1, 5.2: leases are the host's, which deletes what has expired
#[test]
fn a_key_whose_lease_ran_out_is_seen_put_and_then_deleted_once() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch((b"foo", b""), 1)).unwrap();
        let request = PutRequest { key: b"foo", value: b"bar", lease: 7, ..Default::default() };
        store.put(&request).unwrap();
        let first = take(&stream);
        assert_eq!(pair(&first.event(0).kv), ("foo".into(), "bar".into(), 2, 2, 1, 7));
        let expired = store.get(b"foo", 0).unwrap();
        assert_eq!(expired.kv(0).lease, 7);
        delete(&store, expired.kv(0).key);
        delete(&store, expired.kv(0).key);
        let responses = settle(&stream);
        assert_eq!(responses.iter().flat_map(lines).collect::<Vec<_>>(), ["3 delete foo"]);
    });
}
