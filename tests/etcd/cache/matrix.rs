//! Watches and reads of every kind over one exact history.

use std::time::{Duration, Instant};

use super::{atomic_lines, commit, listed};
use crate::common::*;
use libwatch::{
    CreateRequest, ErrorCode, RangeRequest, SortOrder, SortTarget, Store, StoreOptions, StreamOptions,
    limits, prefix_end,
};

const PAST: [&str; 9] = [
    "+/foo/a=1",
    "+/foo/b=2",
    "-/foo/a",
    "+/foo/a=3 -/foo/b",
    "+/foo/c=x",
    "+/foo/bar=y",
    "+/foo/baz=z",
    "+/foo/yoo=1",
    "+/zoo=1",
];
const FUTURE: [&str; 2] = ["+/foo/future=42", "+/foo/tx1=a -/foo/future +/foo/tx2=b"];

/// The events of revisions 2 to 12, in order.
const EVENTS: [&str; 14] = [
    "2 put /foo/a=1",
    "3 put /foo/b=2",
    "4 delete /foo/a",
    "5 put /foo/a=3",
    "5 delete /foo/b",
    "6 put /foo/c=x",
    "7 put /foo/bar=y",
    "8 put /foo/baz=z",
    "9 put /foo/yoo=1",
    "10 put /zoo=1",
    "11 put /foo/future=42",
    "12 put /foo/tx1=a",
    "12 delete /foo/future",
    "12 put /foo/tx2=b",
];

enum End {
    Single,
    To(&'static str),
    Prefix,
    FromKey,
}

fn range_end(key: &str, end: &End) -> Vec<u8> {
    match end {
        End::Single => Vec::new(),
        End::To(end) => end.as_bytes().to_vec(),
        End::Prefix => prefix_end(key.as_bytes()),
        End::FromKey => vec![0],
    }
}

/// Key, end, start, and which of the events must come.
fn watches() -> [(&'static str, End, i64, Vec<usize>); 18] {
    let all = || (0..14).collect();
    [
        ("/foo/c", End::Single, 2, vec![5]),
        ("/doesnotexist", End::Single, 2, vec![]),
        ("", End::To(""), 2, vec![]),
        ("/foo/a", End::To("/foo/b"), 2, vec![0, 2, 3]),
        ("/foo/b", End::Prefix, 2, vec![1, 4, 6, 7]),
        ("/doesnotexist", End::Prefix, 2, vec![]),
        ("", End::Prefix, 2, all()),
        ("/foo/b", End::FromKey, 2, vec![1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
        ("", End::FromKey, 2, all()),
        ("/doesnotexist", End::FromKey, 2, all()),
        ("/foo/a", End::Single, 4, vec![2, 3]),
        ("/foo/a", End::Single, 6, vec![]),
        ("/foo", End::Prefix, 5, vec![3, 4, 5, 6, 7, 8, 10, 11, 12, 13]),
        ("/foo", End::Prefix, 10, vec![10, 11, 12, 13]),
        ("/foo/a", End::To("/foo/c"), 4, vec![2, 3, 4, 6, 7]),
        ("/foo", End::Prefix, 0, vec![10, 11, 12, 13]),
        ("/foo", End::Prefix, 11, vec![10, 11, 12, 13]),
        ("/foo", End::Prefix, 12, vec![11, 12, 13]),
    ]
}

/// Eighteen watches, all on one stream or each on its own, with these bounds, read to the end of the past
/// before the future is written or not.
fn the_matrix_holds(store: &Store, options: &StreamOptions, shared: bool, read_before: bool) {
    PAST.iter().for_each(|changes| _ = commit(store, changes));
    assert_eq!(store.revision(), 10);
    let one = store.stream(options).unwrap();
    let opened: Vec<_> = watches()
        .into_iter()
        .map(|(key, end, start, expected)| {
            let stream = if shared { one.clone() } else { store.stream(options).unwrap() };
            let range_end = range_end(key, &end);
            let id = stream.create(&watch((key.as_bytes(), &range_end), start)).unwrap();
            (stream, id, expected)
        })
        .collect();
    let mut told = vec![Vec::new(); opened.len()];
    let read = |told: &mut Vec<Vec<_>>| {
        let of_one = settle(&one);
        for ((stream, id, _), told) in opened.iter().zip(told) {
            let own = if shared { of_one.clone() } else { settle(stream) };
            told.extend(own.into_iter().filter(|response| response.watch_id() == *id));
        }
    };
    if read_before {
        read(&mut told);
    }
    FUTURE.iter().for_each(|changes| _ = commit(store, changes));
    assert_eq!(store.revision(), 12);
    read(&mut told);
    for (at, ((_, _, expected), told)) in opened.iter().zip(&told).enumerate() {
        let expected: Vec<&str> = expected.iter().map(|event| EVENTS[*event]).collect();
        assert_eq!(atomic_lines(told), expected, "watch {at}");
    }
}

/// etcd 2.1, 2.2, 3.1, 3.2, 3.3, etcd 17 Ordered, Atomic and Reliable: on a store in memory and in files, with and
/// without bounds, on one stream and on eighteen.
#[test]
fn eighteen_watches_over_one_history_are_each_told_exactly_their_events() {
    watched(|| {
        for batch_revisions in [0, 1, 3] {
            let options = StreamOptions { batch_revisions, batch_bytes: 0 };
            for (shared, read_before) in [(false, false), (false, true), (true, false), (true, true)] {
                the_matrix_holds(&memory(), &options, shared, read_before);
                let folder = folder();
                let store = Store::open(folder.path(), &tiny()).unwrap();
                the_matrix_holds(&store, &options, shared, read_before);
            }
        }
    });
}

/// Key, end, revision (`LATEST` and `NEXT` name the current one and the one behind it), and the keys with value
/// and revision, or none where the revision is in the future.
type Read = (&'static str, End, i64, Option<&'static str>);
const LATEST: i64 = -1;
const NEXT: i64 = -2;

fn reads() -> [Read; 18] {
    [
        ("/foo/a", End::Single, 0, Some("/foo/a=a3@8")),
        ("/foo/a", End::Single, 2, Some("/foo/a=a1@2")),
        ("/foo/a", End::Single, 7, Some("/foo/a=a2@7")),
        ("/foo/a", End::Single, LATEST, Some("/foo/a=a3@8")),
        ("/foo/a", End::Single, NEXT, None),
        ("/doesnotexist", End::Single, 0, Some("")),
        ("/doesnotexist", End::Single, 4, Some("")),
        ("/doesnotexist", End::Single, NEXT, None),
        ("/foo", End::Prefix, 0, Some("/foo/a=a3@8 /foo/b=b2@7 /foo/c=c1@4")),
        ("/foo", End::Prefix, 5, Some("/foo/a=a1@2 /foo/b=b1@3 /foo/c=c1@4 /foo/d=d1@5")),
        ("/foo/b", End::Prefix, 4, Some("/foo/b=b1@3")),
        ("/foo/b", End::Prefix, 7, Some("/foo/b=b2@7")),
        ("/foo", End::Prefix, NEXT, None),
        ("/foo/a", End::To("/foo/c"), 0, Some("/foo/a=a3@8 /foo/b=b2@7")),
        ("/foo/a", End::To("/foo/d"), 5, Some("/foo/a=a1@2 /foo/b=b1@3 /foo/c=c1@4")),
        ("/foo/a", End::To("/foo/c"), NEXT, None),
        ("/foo/b", End::FromKey, 0, Some("/foo/b=b2@7 /foo/c=c1@4")),
        ("/foo/b", End::FromKey, 7, Some("/foo/b=b2@7 /foo/c=c1@4")),
    ]
}

/// Reads with the options given; the revision of an answer is always the store's.
fn read_is(store: &Store, key: &str, end: &End, revision: i64, expected: Option<&str>) {
    let range_end = range_end(key, end);
    let revision = match revision {
        LATEST => store.revision(),
        NEXT => store.revision() + 1,
        revision => revision,
    };
    let request = RangeRequest { key: key.as_bytes(), range_end: &range_end, revision, ..Default::default() };
    let result = store.range(&request);
    let Some(expected) = expected else {
        assert_eq!(refused(result), ErrorCode::FutureRevision);
        return;
    };
    let result = result.unwrap();
    assert_eq!(listed(&result).join(" "), expected, "{key} at {revision}");
    assert_eq!(result.revision(), store.revision());
}

/// etcd 1.12, 14.2, 14.3: etcd asks twice, with and without a quorum, which is the same read here; and with a
/// cache made before, between and after the changes, which is a store opened again at these moments.
#[test]
fn reads_of_every_kind_now_and_then_find_the_state_and_name_the_current_revision() {
    let history = [
        "+/foo/a=a1",
        "+/foo/b=b1",
        "+/foo/c=c1",
        "+/foo/d=d1",
        "-/foo/d",
        "+/foo/a=a2 +/foo/b=b2",
        "+/foo/a=a3",
    ];
    for reopened_after in [0, 2, 7] {
        let folder = folder();
        let mut store = Store::open(folder.path(), &tiny()).unwrap();
        for (at, changes) in history.iter().enumerate() {
            if at == reopened_after {
                store.close().unwrap();
                store = Store::open(folder.path(), &tiny()).unwrap();
            }
            commit(&store, changes);
        }
        if reopened_after == history.len() {
            store.close().unwrap();
            store = Store::open(folder.path(), &tiny()).unwrap();
        }
        assert_eq!(store.revision(), 8);
        let mut random = Random::new(1);
        for (key, end, revision, expected) in reads() {
            (0..3 + random.below(3)).for_each(|i| _ = put(&store, format!("/bar/{i}"), "v"));
            read_is(&store, key, &end, revision, expected);
        }
        read_is(&store, "/foo/b", &End::FromKey, NEXT, None);
    }
}

/// etcd 14.2, 14.3: fourteen reads below one prefix while other keys move the revision.
#[test]
fn reads_below_a_prefix_are_not_disturbed_by_revisions_of_other_keys() {
    let store = memory();
    assert_eq!(put(&store, "/foo/a", "val1"), 2);
    (0..5).for_each(|i| _ = put(&store, format!("/bar/x{i}"), i.to_string()));
    let latest = put(&store, "/foo/a", "val2");
    assert_eq!(latest, 8);
    let (now, before) = (Some("/foo/a=val2@8"), Some("/foo/a=val1@2"));
    let cases = [
        ("/foo/a", End::Single, 0, now),
        ("/foo/a", End::Single, LATEST, now),
        ("/foo", End::Prefix, 0, now),
        ("/foo", End::Prefix, LATEST, now),
        ("/foo/a", End::To("/foo/b"), 0, now),
        ("/foo/a", End::To("/foo/z"), LATEST, now),
        ("/foo/a", End::Single, latest, now),
        ("/foo", End::Prefix, latest, now),
        ("/foo/a", End::To("/foo/z"), latest, now),
        ("/foo/a", End::Single, 3, before),
        ("/foo/a", End::Single, 7, before),
        ("/foo", End::Prefix, 7, before),
    ];
    for (key, end, revision, expected) in cases {
        (0..4).for_each(|i| _ = put(&store, format!("/bar/{i}"), "v"));
        read_is(&store, key, &end, revision, expected);
    }
    let kv = store.get(b"/foo/a", 0).unwrap();
    assert_eq!(pair(&kv.kv(0)), ("/foo/a".into(), "val2".into(), 2, 8, 2, 0));
    let kv = store.get(b"/foo/a", 3).unwrap();
    assert_eq!(pair(&kv.kv(0)), ("/foo/a".into(), "val1".into(), 2, 2, 1, 0));
}

/// etcd 3.12, 6.1, 7.1, 13.1: what etcd's cache refuses to watch with.
#[test]
fn the_options_that_a_cache_refuses_for_a_watch_all_work() {
    watched(|| {
        let store = memory_with(|options| options.fragment_bytes = 8);
        commit(&store, "+foo=old");
        let base = watch((b"foo", b"\0"), 0);
        let told = |request: CreateRequest<'_>| {
            let stream = stream(&store);
            stream.create(&request).unwrap();
            commit(&store, "+foo=1 +fox=2");
            commit(&store, "-foo -fox");
            let responses = settle(&stream);
            let kinds: Vec<(usize, bool)> =
                responses.iter().map(|response| (response.len(), response.is_created())).collect();
            let first = responses.iter().flat_map(lines).next().unwrap();
            commit(&store, "+foo=old");
            (kinds, first.split_once(' ').unwrap().1.to_string())
        };
        let (one, put, delete) = (vec![(4, false)], "put foo=1".to_string(), "delete foo".to_string());
        assert_eq!(told(base.clone()), (one.clone(), put.clone()));
        let with_prev = told(CreateRequest { prev_kv: true, ..base.clone() });
        assert_eq!(with_prev, (one, format!("{put} [old@5]")));
        let fragments = told(CreateRequest { fragment: true, ..base.clone() });
        assert_eq!(fragments, (vec![(1, false), (2, false), (1, false)], put.clone()));
        let created = told(CreateRequest { created_notify: true, ..base.clone() });
        assert_eq!(created, (vec![(0, true), (4, false)], put.clone()));
        let noput = told(CreateRequest { filter_noput: true, ..base.clone() });
        assert_eq!(noput, (vec![(2, false)], delete));
        let nodelete = told(CreateRequest { filter_nodelete: true, ..base });
        assert_eq!(nodelete, (vec![(2, false)], put));
    });
}

/// etcd 14.4, 14.5, 14.6: what etcd's cache refuses to read with.
#[test]
fn the_options_that_a_cache_refuses_for_a_read_all_work() {
    let store = memory();
    ["+a", "+b", "+c", "+a", "+d"].iter().for_each(|changes| _ = commit(&store, changes));
    let base = RangeRequest { key: b"a", range_end: b"\0", ..Default::default() };
    let count = store.range(&RangeRequest { count_only: true, ..base.clone() }).unwrap();
    assert_eq!((count.count(), count.len()), (4, 0));
    let limited = store.range(&RangeRequest { limit: 1, ..base.clone() }).unwrap();
    assert_eq!((limited.len(), limited.more()), (1, true));
    let sorted = RangeRequest { sort_target: SortTarget::Mod, sort_order: SortOrder::Ascend, ..base.clone() };
    assert_eq!(keys(&store, &sorted), "b c a d");
    assert_eq!(keys(&store, &RangeRequest { min_mod_revision: 4, ..base.clone() }), "a c d");
    assert_eq!(keys(&store, &RangeRequest { max_mod_revision: 4, ..base.clone() }), "b c");
    assert_eq!(keys(&store, &RangeRequest { min_create_revision: 3, ..base.clone() }), "b c d");
    assert_eq!(keys(&store, &RangeRequest { max_create_revision: 3, ..base }), "a b");
}

/// etcd 12.1, 12.5: requested progress passes writes outside the prefix, and follows those inside.
#[test]
fn requested_progress_of_a_prefix_passes_writes_outside_of_it_and_follows_those_inside() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch((b"/foo", b"/fop"), 0)).unwrap();
        (0..5).for_each(|i| _ = put(&store, format!("/bar/out-{i}"), "v"));
        stream.request_progress().unwrap();
        let progress = take(&stream);
        assert!(progress.is_progress() && progress.is_empty() && progress.revision() == 6);
        (0..3).for_each(|i| _ = put(&store, format!("/foo/key-{i}"), "v"));
        stream.request_progress().unwrap();
        assert_eq!(take(&stream).len(), 3);
        let progress = take(&stream);
        assert!(progress.is_progress() && progress.is_empty() && progress.revision() == 9);
        assert!(drain(&stream).is_empty());
    });
}

/// etcd 12.2: idle with and without asking, and busy: nothing of what is written is lost to progress.
#[test]
fn periodic_progress_comes_to_the_idle_who_asked_and_does_not_disturb_the_busy() {
    watched(|| {
        let store = memory_with(|options: &mut StoreOptions| options.progress_interval_ms = 200);
        let (asking, silent) = (stream(&store), stream(&store));
        asking.create(&CreateRequest { progress_notify: true, ..watch((b"/foo", b"/fop"), 0) }).unwrap();
        silent.create(&watch((b"/foo", b"/fop"), 0)).unwrap();
        put(&store, "/foo/a", "1");
        let mut next = std::iter::repeat_with(|| take(&asking));
        assert_eq!(lines(&next.find(|response| !response.is_progress()).unwrap()), ["2 put /foo/a=1"]);
        let idle_since = Instant::now();
        let progress = next.next().unwrap();
        assert!(progress.is_progress() && progress.revision() == 2);
        assert!(idle_since.elapsed() >= Duration::from_millis(limits::PROGRESS_INTERVAL_MS_MIN.into()));
        assert_eq!(settle(&silent).iter().map(lines).collect::<Vec<_>>(), [["2 put /foo/a=1"]]);
        for i in 0..10 {
            let revision = put(&store, format!("/foo/stream-{i}"), i.to_string());
            let response = next.find(|response| !response.is_progress()).unwrap();
            assert_eq!(lines(&response), [format!("{revision} put /foo/stream-{i}={i}")]);
        }
        assert!(settle(&asking).iter().all(|response| response.is_progress()));
    });
}
