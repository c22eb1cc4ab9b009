//! What users of etcd's Go client rely on.

mod endings;

use std::time::{Duration, Instant};

use crate::common::*;
use libwatch::{CreateRequest, ErrorCode, PutRequest, Store, Stream, WATCH_ID_NONE, limits};

const A: (&[u8], &[u8]) = (b"a", b"");

/// A store whose periodic notifications come as often as they may.
fn ticking() -> Store {
    memory_with(|options| options.progress_interval_ms = 1)
}

/// etcd 2.2, etcd 17 Ordered, Filter
#[test]
fn watches_on_keys_and_on_a_prefix_are_each_told_four_rounds_of_their_keys() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let keys = ["foo", "bar", "baz"];
        let ids = keys.map(|key| stream.create(&watch((key.as_bytes(), b""), 0)).unwrap());
        let prefix = stream.create(&watch((b"b", b"c"), 0)).unwrap();
        for round in 0..4 {
            keys.iter().for_each(|key| _ = put(&store, key, format!("{key}-{round}")));
        }
        let responses = settle(&stream);
        let expected = |at: usize| {
            (0..4)
                .map(|round| format!("{} put {}={}-{round}", 2 + 3 * round + at, keys[at], keys[at]))
                .collect()
        };
        let all: [Vec<String>; 3] = [expected(0), expected(1), expected(2)];
        for (id, expected) in ids.iter().zip(&all) {
            assert_eq!(&lines_of(&responses, *id), expected);
        }
        let both: Vec<String> =
            all[1].iter().zip(&all[2]).flat_map(|(bar, baz)| [bar.clone(), baz.clone()]).collect();
        assert_eq!(both.len(), 8);
        assert_eq!(lines_of(&responses, prefix), both);
        assert!(settle(&stream).is_empty());
    });
}

/// etcd 2.2
#[test]
fn a_watch_from_a_to_c_is_told_a_and_b_and_bar() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch((b"a", b"c"), 0)).unwrap();
        for key in ["a", "b", "bar"] {
            let revision = put(&store, key, key);
            assert_eq!(lines(&take(&stream)), [format!("{revision} put {key}={key}")]);
        }
    });
}

/// etcd 3.12, 3.13, etcd 17 Resumable: etcd's case cuts the connection between created and the first event; here
/// the stream is closed there.
#[test]
fn a_watch_left_behind_its_created_response_goes_on_with_all_of_its_history() {
    watched(|| {
        let store = memory();
        put(&store, "b", "2");
        put(&store, "a", "3");
        put(&store, "a", "4");
        let left = stream(&store);
        left.create(&CreateRequest { created_notify: true, ..watch(A, 1) }).unwrap();
        let created = take(&left);
        assert!(created.is_created());
        assert_eq!((created.revision(), created.resume_revision()), (4, 1));
        left.close();
        let again = stream(&store);
        again.create(&watch(A, created.resume_revision())).unwrap();
        assert_eq!(lines(&take(&again)), ["3 put a=3", "4 put a=4"]);
        assert!(settle(&again).is_empty());
    });
}

/// etcd 12.1, 12.2
#[test]
fn an_idle_prefix_watch_is_given_progress_and_then_its_event() {
    watched(|| {
        let store = ticking();
        let stream = stream(&store);
        stream.create(&CreateRequest { progress_notify: true, ..watch((b"foo", b"fop"), 0) }).unwrap();
        let first = take(&stream);
        assert!(first.is_progress() && first.is_empty() && first.revision() == 1);
        put(&store, "foox", "bar");
        let event =
            std::iter::repeat_with(|| take(&stream)).find(|response| !response.is_progress()).unwrap();
        assert_eq!((event.revision(), lines(&event)), (2, vec!["2 put foox=bar".into()]));
    });
}

/// etcd 12.1, 12.2
#[test]
fn progress_of_a_key_watch_passes_the_revision_of_another_key() {
    watched(|| {
        let store = ticking();
        let stream = stream(&store);
        stream.create(&CreateRequest { progress_notify: true, ..watch((b"foo", b""), 0) }).unwrap();
        put(&store, "foox", "bar");
        until(|| {
            let response = take(&stream);
            assert!(response.is_progress() && response.is_empty());
            response.revision() == 2
        });
    });
}

/// etcd 12.2: not before the interval that was asked for, nor its least where less was asked for.
#[test]
fn the_interval_of_progress_can_be_chosen() {
    watched(|| {
        for (asked, least) in [(200, 200), (1, limits::PROGRESS_INTERVAL_MS_MIN)] {
            let store = memory_with(|options| options.progress_interval_ms = asked);
            let stream = stream(&store);
            let begin = Instant::now();
            stream.create(&CreateRequest { progress_notify: true, ..watch(A, 0) }).unwrap();
            assert!(take(&stream).is_progress());
            assert!(begin.elapsed() >= Duration::from_millis(least.into()));
        }
    });
}

/// etcd 12.5: one answer for the stream, also where it has no watch.
#[test]
fn requested_progress_names_a_revision_that_nobody_watches_with_0_1_and_2_watches() {
    watched(|| {
        for count in 0..=2 {
            let store = memory();
            let stream = stream(&store);
            let ids: Vec<i64> = (0..count).map(|_| stream.create(&watch((b"/", b"0"), 0)).unwrap()).collect();
            put(&store, "/a", "1");
            let responses = settle(&stream);
            assert_eq!(responses.len(), count);
            ids.iter().for_each(|id| assert_eq!(lines_of(&responses, *id), ["2 put /a=1"]));
            put(&store, "x", "1");
            stream.request_progress().unwrap();
            let progress = take(&stream);
            assert!(progress.is_progress() && progress.is_empty());
            assert_eq!((progress.watch_id(), progress.revision()), (WATCH_ID_NONE, 3));
            assert!(drain(&stream).is_empty());
        }
    });
}

/// etcd 5.2, 5.3: what a lease does when it ends in etcd, the owner of the store does here.
#[test]
fn events_tell_creating_changing_and_deleting_apart() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch((b"/", b"0"), 0)).unwrap();
        put(&store, "/toDelete", "foo");
        put(&store, "/toDelete", "bar");
        delete(&store, "/toDelete");
        store.put(&PutRequest { key: b"/toExpire", value: b"foo", lease: 1, ..Default::default() }).unwrap();
        delete(&store, "/toExpire");
        let responses = settle(&stream);
        let told: Vec<_> = responses
            .iter()
            .flat_map(|response| response.events())
            .map(|event| (text(event.kv.key), event.is_create(), event.is_modify(), event.kv.lease))
            .collect();
        let expected = [
            ("/toDelete", true, false, 0),
            ("/toDelete", false, true, 0),
            ("/toDelete", false, false, 0),
            ("/toExpire", true, false, 1),
            ("/toExpire", false, false, 0),
        ];
        assert_eq!(
            told,
            expected.map(|(key, create, modify, lease)| (key.to_string(), create, modify, lease))
        );
    });
}

/// etcd 6.1, 6.2
#[test]
fn one_watch_leaves_puts_out_and_another_deletes() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let noput = stream.create(&CreateRequest { filter_noput: true, ..watch(A, 0) }).unwrap();
        let nodelete = stream.create(&CreateRequest { filter_nodelete: true, ..watch(A, 0) }).unwrap();
        put(&store, "a", "abc");
        delete(&store, "a");
        let responses = settle(&stream);
        assert_eq!(lines_of(&responses, noput), ["3 delete a"]);
        assert_eq!(lines_of(&responses, nodelete), ["2 put a=abc"]);
        assert_eq!(responses.len(), 2);
        assert!(settle(&stream).is_empty());
    });
}

/// etcd 7.1, 7.2, etcd 17 Unique: the pair before is of the watch that asked, not of the event.
#[test]
fn of_ten_streams_on_one_key_the_five_that_asked_are_told_the_value_before() {
    watched(|| {
        let store = memory();
        put(&store, "foo", "bar0");
        let streams: Vec<(Stream, bool)> = (0..10)
            .map(|i| {
                let (stream, prev_kv) = (stream(&store), i % 2 == 0);
                stream.create(&CreateRequest { prev_kv, ..watch((b"foo", b""), 0) }).unwrap();
                (stream, prev_kv)
            })
            .collect();
        (1..=10).for_each(|i| _ = put(&store, "foo", format!("bar{i}")));
        for (stream, prev_kv) in streams {
            let told: Vec<String> = settle(&stream).iter().flat_map(lines).collect();
            let expected = (1..=10).map(|i| {
                let line = format!("{} put foo=bar{i}", i + 2);
                if prev_kv { format!("{line} [bar{}@{}]", i - 1, i + 1) } else { line }
            });
            assert_eq!(told, expected.collect::<Vec<_>>());
        }
    });
}

/// etcd 3.1, 3.3, 3.4: etcd answers a negative start with the text of a compaction.
#[test]
fn a_negative_start_is_refused_and_0_and_1_on_an_empty_store_wait() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        assert_eq!(refused(stream.create(&watch(A, -1))), ErrorCode::InvalidArgument);
        for start in [0, 1] {
            stream.create(&watch(A, start)).unwrap();
            assert!(settle(&stream).is_empty());
        }
        put(&store, "a", "1");
        assert_eq!(settle(&stream).iter().flat_map(lines).collect::<Vec<_>>(), ["2 put a=1"; 2]);
    });
}

/// etcd 8.8: etcd's client writes a line to its log when a consumer was slow; here the statistics tell.
#[test]
fn a_slow_consumer_shows_in_the_statistics_until_it_has_read_everything() {
    watched(|| {
        let store = memory();
        let (slow, quick) = (stream(&store), stream(&store));
        slow.create(&watch(A, 0)).unwrap();
        quick.create(&watch(A, 0)).unwrap();
        let standing = || {
            settle(&quick);
            let stats = store.stats().unwrap();
            (stats.watch_synced_count, stats.watch_unsynced_count, stats.oldest_watch_revision)
        };
        assert_eq!(standing(), (2, 0, 2));
        put(&store, "a", "x");
        assert_eq!(standing(), (2, 0, 2), "a response waits for its consumer");
        (0..limits::RING_ENTRIES_MAX).for_each(|_| _ = put(&store, "a", "x"));
        assert_eq!(standing(), (1, 1, 2), "more than the ring holds");
        let events: usize = settle(&slow).iter().map(|response| response.len()).sum();
        assert_eq!(events, 1 + limits::RING_ENTRIES_MAX);
        assert_eq!(standing(), (2, 0, store.revision() + 1));
    });
}
