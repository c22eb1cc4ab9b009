//! The watch cache of etcd: lists, watches and what they are refused.

mod matrix;
mod store;

use std::time::{Duration, Instant};

use crate::common::*;
use libwatch::{
    CreateRequest, DeleteRangeRequest, ErrorCode, Op, PutRequest, RangeRequest, Response, Store, Stream,
    StreamOptions, TxnRequest, WATCH_ID_NONE, limits, prefix_end,
};

/// Commits one transaction: "+/a=1 -/b" puts and deletes. The answer is its revision and what a watch is told.
fn commit(store: &Store, changes: &str) -> (i64, Vec<String>) {
    let op = |change: &str| match change.split_at(1) {
        ("+", pair) => {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (key, value) = (key.as_bytes().to_vec(), value.as_bytes().to_vec());
            Change { key, value: Some(value) }
        }
        (_, key) => Change { key: key.as_bytes().to_vec(), value: None },
    };
    let changes: Vec<Change> = changes.split_whitespace().map(op).collect();
    let ops = changes.iter().map(|change| match &change.value {
        Some(value) => Op::Put(PutRequest { key: &change.key, value, ..Default::default() }),
        None => Op::DeleteRange(DeleteRangeRequest { key: &change.key, ..Default::default() }),
    });
    let revision =
        store.txn(&TxnRequest { success: ops.collect(), ..Default::default() }).unwrap().revision();
    let told = changes.iter().map(|change| match &change.value {
        Some(value) => format!("{revision} put {}={}", text(&change.key), text(value)),
        None => format!("{revision} delete {}", text(&change.key)),
    });
    (revision, told.collect())
}

struct Change {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

/// The events of all responses, each of which must begin behind the revision that the one before ended with.
fn atomic_lines(responses: &[Response]) -> Vec<String> {
    let mut last = 0;
    for response in responses.iter().filter(|response| !response.is_empty()) {
        assert!(response.event(0).kv.mod_revision > last, "a revision in two responses, or going back");
        last = response.event(response.len() - 1).kv.mod_revision;
    }
    responses.iter().flat_map(lines).collect()
}

/// etcd 17 Atomic, Ordered, Unique; etcd 8.12: eight shapes of batches, each read when it was written, and all of it
/// read later in responses of one, two, three and all revisions.
#[test]
fn batches_of_every_shape_arrive_in_order_and_never_split_a_revision() {
    watched(|| {
        let shapes: [&[&[&str]]; 8] = [
            &[&["+/a"]],
            &[&["+/a +/b"]],
            &[&["+/a +/b", "+/c"]],
            &[&["+/x", "+/y -/x"]],
            &[&["+/a +/b", "+/c", "+/d +/e", "+/f", "+/g +/h", "+/i +/j"]],
            &[&["+/a +/b"], &["+/c"], &["+/d +/e"], &["+/f"], &["+/g +/h"], &["+/i +/j"]],
            &[&["+/a +/b", "+/c"], &["+/d +/e", "+/f"], &["+/g +/h"], &["+/i +/j"]],
            &[&["+/a +/b", "+/c", "+/d +/e"], &["+/f", "+/g +/h", "+/i +/j"]],
        ];
        for shape in shapes {
            let store = memory();
            let stream = stream(&store);
            stream.create(&watch((b"", b"\0"), 0)).unwrap();
            let mut all = Vec::new();
            for batch in shape {
                let sent: Vec<String> = batch.iter().flat_map(|changes| commit(&store, changes).1).collect();
                assert_eq!(lines(&take(&stream)), sent, "what waits is one response");
                all.extend(sent);
            }
            assert!(settle(&stream).is_empty());
            for batch_revisions in 0..=3 {
                let later = store.stream(&StreamOptions { batch_revisions, batch_bytes: 0 }).unwrap();
                later.create(&watch((b"", b"\0"), 1)).unwrap();
                assert_eq!(atomic_lines(&settle(&later)), all);
            }
        }
    });
}

/// etcd 2.1, 2.2, 2.4: etcd's 21 ranges. A cache refuses what lies outside its prefix; a store has none, so only
/// empty and reversed ranges are refused, and every other one matches what it says.
#[test]
fn of_21_ranges_the_empty_and_reversed_are_refused_and_the_others_match_their_keys() {
    const ALL_KEYS: &str = "/a /aa /b /foo /foo/a /foo/bar /fop /z";
    let from = |_: &str| vec![0];
    let prefix = |key: &str| prefix_end(key.as_bytes());
    let to = |end: &str| end.as_bytes().to_vec();
    let cases = [
        ("/a", to(""), Some("/a")),
        ("/foo/a", to(""), Some("/foo/a")),
        ("/z", to(""), Some("/z")),
        ("/a", to("/b"), Some("/a /aa")),
        ("/a", to("/b"), Some("/a /aa")),
        ("/foo", to("/foo/a"), Some("/foo")),
        ("/b", to("/a"), None),
        ("/foo", to("/foo"), None),
        ("/a", to("/foo"), Some("/a /aa /b")),
        ("/a", to("/z"), Some("/a /aa /b /foo /foo/a /foo/bar /fop")),
        ("/foo", to("/z"), Some("/foo /foo/a /foo/bar /fop")),
        ("", prefix(""), Some(ALL_KEYS)),
        ("", prefix(""), Some(ALL_KEYS)),
        ("/foo", prefix("/foo"), Some("/foo /foo/a /foo/bar")),
        ("/foo/bar", prefix("/foo/bar"), Some("/foo/bar")),
        ("/a", prefix("/a"), Some("/a /aa")),
        ("/fop", prefix("/fop"), Some("/fop")),
        ("/a", from("/a"), Some(ALL_KEYS)),
        ("/foo", from("/foo"), Some("/foo /foo/a /foo/bar /fop /z")),
        ("/a", from("/a"), Some(ALL_KEYS)),
        ("/fop", from("/fop"), Some("/fop /z")),
    ];
    watched(move || {
        for (key, range_end, expected) in cases {
            let store = memory();
            let stream = stream(&store);
            let created = stream.create(&watch((key.as_bytes(), &range_end), 0));
            let Some(expected) = expected else {
                assert_eq!(refused(created), ErrorCode::EmptyRange, "[{key}, {})", text(&range_end));
                continue;
            };
            created.unwrap();
            ALL_KEYS.split(' ').for_each(|key| _ = put(&store, key, ""));
            let told: Vec<String> = settle(&stream)
                .iter()
                .flat_map(|response| response.events().map(|event| text(event.kv.key)).collect::<Vec<_>>())
                .collect();
            assert_eq!(told.join(" "), expected, "[{key}, {})", text(&range_end));
        }
    });
}

/// etcd 2.4, 3.10: where etcd's cache answers with a canceled item, the call fails; and nothing else happens.
#[test]
fn a_refused_watch_is_an_error_that_says_why_and_no_response() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch((b"/bar", b""), 0)).unwrap();
        let error = stream.create(&watch((b"/foo", b"/bar"), 0)).expect_err("the range is reversed");
        assert_eq!(error.code(), ErrorCode::EmptyRange);
        assert!(error.message().contains("range"), "{error}");
        assert!(settle(&stream).is_empty());
        assert_eq!(store.stats().unwrap().watch_count, 1);
        put(&store, "/bar", "1");
        assert_eq!(lines(&take(&stream)), ["2 put /bar=1"]);
    });
}

fn list(store: &Store, revision: i64) -> libwatch::RangeResult {
    let request = RangeRequest { key: ALL.0, range_end: ALL.1, revision, ..Default::default() };
    store.range(&request).unwrap()
}

fn listed(result: &libwatch::RangeResult) -> Vec<String> {
    result.iter().map(|kv| format!("{}={}@{}", text(kv.key), text(kv.value), kv.mod_revision)).collect()
}

/// etcd 3.5, 10.2, 14.3: the reaction to a compaction that etcd asks of its users, with the list of revision 5
/// staying what it was.
#[test]
fn after_a_compaction_a_new_list_and_a_watch_behind_it_go_on() {
    watched(|| {
        let store = memory();
        commit(&store, "+pad"); // 2
        commit(&store, "+bar=old_bar"); // 3
        commit(&store, "-pad"); // 4
        commit(&store, "+foo=old_value"); // 5
        let first = list(&store, 0);
        assert_eq!((first.revision(), listed(&first).join(" ")), (5, "bar=old_bar@3 foo=old_value@5".into()));
        let stream = stream(&store);
        stream.create(&watch(ALL, first.revision() + 1)).unwrap();
        while store.revision() < 16 {
            commit(&store, "+pad");
        }
        commit(&store, "-bar -pad"); // 17
        commit(&store, "+baz=new_baz"); // 18
        commit(&store, "+foo=unseen"); // 19
        commit(&store, "+foo=new_value"); // 20
        // Behind the compaction like a watch that was away: it starts where the first list ended.
        stream.cancel(1).unwrap();
        store.compact(10, true).unwrap();
        let late = stream.create(&watch(ALL, first.revision() + 1)).unwrap();
        let responses = settle(&stream);
        let last = responses.iter().find(|response| response.watch_id() == late).unwrap();
        assert!(last.is_canceled() && last.compact_revision() == 10 && last.revision() == 20);
        assert_eq!(listed(&first).join(" "), "bar=old_bar@3 foo=old_value@5", "an answer stays what it was");
        let second = list(&store, 0);
        assert_eq!(
            (second.revision(), listed(&second).join(" ")),
            (20, "baz=new_baz@18 foo=new_value@20".into())
        );
        stream.create(&watch(ALL, second.revision() + 1)).unwrap();
        let (revision, told) = commit(&store, "+foo=next");
        assert_eq!((revision, lines(&take(&stream))), (21, told));
    });
}

/// etcd 12.2: an event is as good as a progress; the next one comes a whole interval later and names its revision.
#[test]
fn an_event_puts_the_next_progress_off() {
    watched(|| {
        let store = memory_with(|options| options.progress_interval_ms = 1);
        (0..4).for_each(|_| _ = put(&store, "/a", ""));
        let stream = stream(&store);
        stream.create(&CreateRequest { progress_notify: true, ..watch(ALL, 0) }).unwrap();
        assert!(take(&stream).is_progress());
        // Well into the interval: were the event not counted, the next notification would be too early.
        let middle = Duration::from_millis(u64::from(limits::PROGRESS_INTERVAL_MS_MIN) * 6 / 10);
        assert!(stream.next(Some(middle)).unwrap().is_none_or(|response| response.is_progress()));
        assert_eq!(put(&store, "/b", ""), 6);
        let event =
            std::iter::repeat_with(|| take(&stream)).find(|response| !response.is_progress()).unwrap();
        let begin = Instant::now();
        assert_eq!(lines(&event), ["6 put /b="]);
        let progress = take(&stream);
        assert!(progress.is_progress() && progress.revision() == 6);
        assert!(begin.elapsed() >= Duration::from_millis(limits::PROGRESS_INTERVAL_MS_MIN.into()));
    });
}

/// etcd 3.5: the answer to a compaction says what was compacted and where the store is.
#[test]
fn the_end_by_a_compaction_names_it_and_the_current_revision() {
    watched(|| {
        let store = memory();
        (0..9).for_each(|_| _ = put(&store, "k", ""));
        store.compact(7, false).unwrap();
        let stream = stream(&store);
        stream.create(&watch((b"k", b""), 6)).unwrap();
        let last = take(&stream);
        assert!(last.is_canceled());
        assert_eq!((last.compact_revision(), last.revision()), (7, 10));
        assert_eq!(last.cancel_code(), Some(ErrorCode::Compacted));
    });
}

/// A store at revision 10 whose periodic notifications come as often as they may.
fn ticking_at_10() -> Store {
    let store = memory_with(|options| options.progress_interval_ms = 1);
    (0..9).for_each(|_| _ = put(&store, "k", ""));
    store
}

/// etcd 12.1, 12.2, 12.3
#[test]
fn progress_reaches_every_watch_that_asked_and_a_lagging_one_behind_its_events() {
    watched(|| {
        let store = ticking_at_10();
        let stream = store.stream(&StreamOptions { batch_revisions: 1, batch_bytes: 0 }).unwrap();
        let asking = |start| CreateRequest { progress_notify: true, ..watch((b"k", b""), start) };
        let active = [stream.create(&asking(0)).unwrap(), stream.create(&asking(0)).unwrap()];
        let silent = stream.create(&watch((b"k", b""), 0)).unwrap();
        let lagging = stream.create(&asking(5)).unwrap();
        let mut told = Vec::new();
        let mut notified = Vec::new();
        until(|| {
            let response = take(&stream);
            assert_ne!(response.watch_id(), silent);
            if response.is_progress() {
                assert_eq!(response.revision(), 10);
                assert!(response.watch_id() != lagging || told.len() == 6, "progress before its events");
                notified.push(response.watch_id());
            }
            told.extend(response.events().map(|event| event.kv.mod_revision));
            active.iter().chain([&lagging]).all(|id| notified.contains(id))
        });
        assert_eq!(told, (5..=10).collect::<Vec<_>>());
    });
}

/// etcd 12.5: where etcd sends nothing, to an empty store and to watches that lag, the answer comes in time.
#[test]
fn a_request_for_progress_is_answered_on_its_own_stream_alone() {
    watched(|| {
        let (empty, store) = (memory(), ticking_at_10());
        let ask = |stream: &Stream| {
            stream.request_progress().unwrap();
            take(stream)
        };
        let of_empty = stream(&empty);
        of_empty.create(&watch(ALL, 0)).unwrap();
        assert_eq!(ask(&of_empty).revision(), 1);
        let (target, other, lagging) = (stream(&store), stream(&store), stream(&store));
        target.create(&watch(ALL, 0)).unwrap();
        other.create(&watch(ALL, 0)).unwrap();
        lagging.create(&watch(ALL, 5)).unwrap();
        let answer = ask(&target);
        assert!(answer.is_progress() && answer.is_empty());
        assert_eq!((answer.watch_id(), answer.revision()), (WATCH_ID_NONE, 10));
        assert!(drain(&other).is_empty() && drain(&target).is_empty());
        assert_eq!(ask(&lagging).len(), 6, "its events first");
        assert_eq!(take(&lagging).revision(), 10);
    });
}

/// etcd 8.12, 8.16: keys in each revision, and the sizes of responses to who sleeps meanwhile, with and without
/// room for more than one revision.
#[test]
fn what_waits_for_a_slow_consumer_is_one_response_unless_it_wants_less() {
    watched(|| {
        let groups: [&[&str]; 4] =
            [&["+a +b", "+a +b +c"], &["+a +b +c"], &["+a", "+a", "+a"], &["+a +b", "+c", "+a +b"]];
        for group in groups {
            let store = memory();
            let wide = stream(&store);
            let narrow = store.stream(&StreamOptions { batch_revisions: 1, batch_bytes: 0 }).unwrap();
            [&wide, &narrow].iter().for_each(|stream| _ = stream.create(&watch(ALL, 0)).unwrap());
            let told: Vec<Vec<String>> = group.iter().map(|changes| commit(&store, changes).1).collect();
            let sizes = |stream| settle(stream).iter().map(lines).collect::<Vec<_>>();
            assert_eq!(sizes(&wide), [told.concat()]);
            assert_eq!(sizes(&narrow), told);
            assert!(settle(&wide).is_empty() && settle(&narrow).is_empty(), "nothing is left to bring");
        }
    });
}

/// etcd 9.8, 8.3: consumers that wait are woken all together, by a change and by the end.
#[test]
fn every_consumer_that_waits_is_woken_be_it_1_or_16_or_128() {
    watched(|| {
        for count in [1, 16, 128] {
            let store = memory();
            let streams: Vec<Stream> = (0..count).map(|_| stream(&store)).collect();
            streams.iter().for_each(|stream| _ = stream.create(&watch(ALL, 0)).unwrap());
            std::thread::scope(|scope| {
                let told: Vec<_> =
                    streams.iter().map(|stream| scope.spawn(|| lines(&take(stream)))).collect();
                put(&store, "a", "1");
                told.into_iter().for_each(|told| assert_eq!(told.join().unwrap(), ["2 put a=1"]));
                let ended: Vec<_> =
                    streams.iter().map(|stream| scope.spawn(|| refused(stream.next(None)))).collect();
                store.close().unwrap();
                ended.into_iter().for_each(|code| assert_eq!(code.join().unwrap(), ErrorCode::Closed));
            });
        }
    });
}

/// etcd 8.1, 14.2: what waits until a cache has caught up in etcd. Here a revision can be read when its event
/// has come, `sync` waits for the disk, and who waits with a timeout is told that it passed.
#[test]
fn a_revision_that_was_waited_for_can_be_read() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        while put(&store, "a", "x") < 10 {}
        for revision in [10, 5, 0] {
            assert!(store.sync(revision, None).unwrap().unwrap() >= revision, "it is there already");
        }
        assert_eq!((store.durable_revision(), store.sync(0, Some(Duration::ZERO)).unwrap()), (10, Some(10)));
        let stream = stream(&store);
        stream.create(&watch(ALL, 15)).unwrap();
        assert!(stream.next(Some(Duration::from_millis(1))).unwrap().is_none(), "the timeout passed");
        assert_eq!(refused(store.sync(15, None)), ErrorCode::FutureRevision);
        assert_eq!(refused(store.get(b"a", 15)), ErrorCode::FutureRevision);
        let waiting = {
            let store = store.clone();
            std::thread::spawn(move || {
                assert_eq!(lines(&take(&stream)), ["15 put a=caught up"]);
                (get(&store, "a", 15), store.sync(15, None).unwrap())
            })
        };
        while put(&store, "a", "x") < 14 {}
        put(&store, "a", "caught up");
        assert_eq!(waiting.join().unwrap(), (Some("caught up".into()), Some(15)));
    });
}
