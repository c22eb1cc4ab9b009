//! Progress and compaction under the watch protocol.

use std::time::{Duration, Instant};

use super::FOO;
use crate::common::*;
use libwatch::{CreateRequest, ErrorCode, Response, Store, StoreOptions, limits};

/// etcd 12.1, 12.8, etcd 17 Bookmarkable
#[test]
fn a_store_that_was_opened_again_is_watched_on_from_a_progress_without_repetition() {
    watched(|| {
        let folder = folder();
        let options = StoreOptions { progress_interval_ms: 1, ..tiny() };
        let store = Store::open(folder.path(), &options).unwrap();
        let first = stream(&store);
        first.create(&CreateRequest { progress_notify: true, ..watch(FOO, 0) }).unwrap();
        put(&store, "foo", "1");
        let mut last = 0;
        let progress = loop {
            let response = take(&first);
            last = response.events().map(|event| event.kv.mod_revision).fold(last, i64::max);
            if response.is_progress() && response.revision() >= 2 {
                break response;
            }
        };
        assert_eq!((last, progress.revision(), progress.resume_revision()), (2, 2, 3));
        store.close().unwrap();
        let store = Store::open(folder.path(), &options).unwrap();
        put(&store, "foo", "2");
        for start in [progress.revision() + 1, progress.resume_revision()] {
            let again = stream(&store);
            again.create(&watch(FOO, start)).unwrap();
            assert_eq!(settle(&again).iter().flat_map(lines).collect::<Vec<_>>(), ["3 put foo=2"]);
        }
    });
}

/// etcd 12.1, 12.2
#[test]
fn of_two_idle_watches_only_the_one_that_asked_is_given_progress() {
    watched(|| {
        let store = memory_with(|options| options.progress_interval_ms = 1);
        let stream = stream(&store);
        let begin = Instant::now();
        let asked = stream.create(&CreateRequest { progress_notify: true, ..watch(FOO, 1) }).unwrap();
        stream.create(&watch(FOO, 1)).unwrap();
        for i in 1..=2 {
            let response = take(&stream);
            assert!(response.is_progress() && response.is_empty());
            assert_eq!((response.watch_id(), response.revision()), (asked, 1));
            let least = Duration::from_millis(u64::from(limits::PROGRESS_INTERVAL_MS_MIN)) * i;
            assert!(begin.elapsed() >= least, "one for each interval, not more");
        }
    });
}

/// etcd 12.5, 8.12, 8.14: the first response is cut at 1000 revisions and still names the store's revision.
#[test]
fn progress_waits_for_1001_events_and_their_responses_all_name_the_current_revision() {
    watched(|| {
        let store = memory();
        (0..1001).for_each(|_| _ = put(&store, "foo", "bar"));
        let stream = stream(&store);
        stream.create(&watch(FOO, 1)).unwrap();
        let responses = settle(&stream);
        let sizes: Vec<_> = responses.iter().map(|response| (response.len(), response.revision())).collect();
        assert_eq!(sizes, [(1000, 1002), (1, 1002)]);
        assert_eq!(responses[0].resume_revision(), 1002);
        stream.request_progress().unwrap();
        let progress = take(&stream);
        assert!(progress.is_progress() && progress.is_empty() && progress.revision() == 1002);
    });
}

/// etcd 12.5: #17557 never answered where the watched key did not change.
#[test]
fn progress_comes_although_the_watched_key_never_changes() {
    watched(|| {
        let store = memory();
        let revision = put(&store, "bar", "1");
        let stream = stream(&store);
        stream.create(&watch(FOO, revision)).unwrap();
        for _ in 0..3 {
            stream.request_progress().unwrap();
            let progress = take(&stream);
            assert!(progress.is_progress() && progress.is_empty() && progress.revision() == revision);
        }
    });
}

/// What a live watch is told whose consumer sleeps through `puts` puts and a compaction of the last one:
/// revisions without a hole, and the last response if it ended.
fn told_after_sleeping(puts: i64, physical: bool) -> (i64, Option<Response>) {
    let folder = folder();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    let stream = stream(&store);
    stream.create(&watch(FOO, 0)).unwrap();
    (0..puts).for_each(|_| _ = put(&store, "foo", "bar"));
    store.compact(1 + puts, physical).unwrap();
    let mut told = 0;
    let mut last = None;
    for response in settle(&stream) {
        assert!(last.is_none(), "nothing follows the end");
        for event in response.events() {
            assert_eq!(event.kv.mod_revision, 2 + told, "a hole or a repetition");
            told += 1;
        }
        last = response.is_canceled().then_some(response);
    }
    (told, last)
}

/// etcd 10.6, 8.8: #17529 skipped what did not fit. The buffer that overflows is etcd's of 128 responses, and
/// a tenth more than the ring holds here.
#[test]
fn a_sleeping_consumer_is_told_of_a_compaction_before_anything_is_skipped() {
    watched(|| {
        for physical in [false, true] {
            let (told, last) = told_after_sleeping(140, physical);
            assert!(told == 140 || last.is_some(), "{told} of 140, and no word about the rest");
            let puts = limits::RING_ENTRIES_MAX as i64 * 11 / 10;
            let (told, last) = told_after_sleeping(puts, physical);
            let last = last.expect("the ring does not hold all, and what is behind it was compacted");
            assert_eq!((last.cancel_code(), last.compact_revision()), (Some(ErrorCode::Compacted), 1 + puts));
            assert!(told < puts, "{told} of {puts}");
            assert_eq!(last.resume_revision(), 2 + told, "it names where it stopped");
        }
    });
}

/// etcd 3.2, 8.16: etcd's case fills the gap with a snapshot; here nobody reads meanwhile.
#[test]
fn a_watch_from_5_that_sleeps_through_15_puts_is_told_twelve_at_once() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch(FOO, 5)).unwrap();
        (0..15).for_each(|_| _ = put(&store, "foo", "bar"));
        let response = take(&stream);
        let told: Vec<i64> = response.events().map(|event| event.kv.mod_revision).collect();
        assert_eq!(told, (5..=16).collect::<Vec<_>>());
        assert!(settle(&stream).is_empty());
    });
}
