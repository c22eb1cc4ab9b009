//! What the cache keeps: reads of its state, changes to it, replacing it, and the window of its history.

use super::{commit, list, listed};
use crate::common::*;
use libwatch::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, ErrorCode, Op, PutRequest, RangeRequest,
    Store, TxnRequest,
};

/// etcd 2.2, 14.1: the first state is etcd's "not ready", which an open store never is.
#[test]
fn nine_reads_of_a_state_find_what_their_range_says() {
    let abc = "+/b=2 +/a=1 +/c=3";
    let cases = [
        ("", "a", "", ""),
        (abc, "/b", "", "/b=2@2"),
        (abc, "/zzz", "", ""),
        ("+/a=1 +/b=2 +/c=3 +/d=4", "/b", "/d", "/b=2@2 /c=3@2"),
        ("+/a=1 +/aa=2 +/ab=3 +/b=4", "/a", "/b", "/a=1@2 /aa=2@2 /ab=3@2"),
        ("+/a=1 +/b=2", "/a", "/a", ""),
        ("+/a=1 +/z=9", "/z", "/a", ""),
        ("+/a=1 +/b=2 +/c=3 +/d=4", "/b", "\0", "/b=2@2 /c=3@2 /d=4@2"),
        ("+/a=1 +/b=2", "/zzz", "\0", ""),
    ];
    for (state, key, range_end, expected) in cases {
        let store = memory();
        let (revision, _) = commit(&store, state);
        let request =
            RangeRequest { key: key.as_bytes(), range_end: range_end.as_bytes(), ..Default::default() };
        let result = store.range(&request).unwrap();
        assert_eq!(listed(&result).join(" "), expected, "[{key}, {range_end})");
        assert_eq!(result.revision(), revision);
    }
}

/// Applies the events of a watch from the beginning to nothing: what a cache does.
fn replayed(store: &Store) -> Vec<String> {
    let stream = stream(store);
    stream.create(&watch(ALL, 1)).unwrap();
    let mut state = std::collections::BTreeMap::new();
    for response in settle(&stream) {
        for event in response.events() {
            match event.event_type {
                libwatch::EventType::Put => {
                    state.insert(text(event.kv.key), (text(event.kv.value), event.kv.mod_revision));
                }
                libwatch::EventType::Delete => {
                    assert!(state.remove(&text(event.kv.key)).is_some(), "a delete of what was not there");
                }
            }
        }
    }
    state.into_iter().map(|(key, (value, revision))| format!("{key}={value}@{revision}")).collect()
}

/// etcd 1.3, 1.4, 1.6, 14.8: nine series of changes. Deleting what is not there is an error of etcd's cache; a
/// store takes no revision for it and makes no event.
#[test]
fn changes_one_after_the_other_give_the_state_and_the_events_lead_to_it() {
    watched(|| {
        let gap = "+gap";
        let cases: [(&str, &[&str], &str, i64); 9] = [
            ("+/k=v1", &["+/k=v2"], "/k=v2@3", 3),
            ("+/a=A1", &["+/a=A2", "+/b=B1", "+/c=C1"], "/a=A2@3 /b=B1@4 /c=C1@5", 5),
            ("+/a=A1", &[gap, gap, gap, gap, "+/a=A2"], "/a=A2@7 gap=@6", 7),
            ("+/a=A1 +/b=B1", &[gap, gap, "+/a=A2", gap, "+/b=B2"], "/a=A2@5 /b=B2@7 gap=@6", 7),
            ("+/a=A1", &["+/a=A2 +/b=B1 +/c=C1", "+/b=B2", "-/c +/a=A3", "+/b=B3"], "/a=A3@5 /b=B3@6", 6),
            ("+/a=X", &["-/a"], "", 3),
            ("+/p=X", &["-/zzz"], "/p=X@2", 2),
            ("+/p=X", &["-/zzz +/r=Y"], "/p=X@2 /r=Y@3", 3),
            ("+/p=X", &["-/p", "-/p"], "", 3),
        ];
        for (initial, changes, expected, revision) in cases {
            let store = memory();
            commit(&store, initial);
            changes.iter().for_each(|change| _ = commit(&store, change));
            assert_eq!(listed(&list(&store, 0)).join(" "), expected, "{changes:?}");
            assert_eq!(store.revision(), revision);
            assert_eq!(replayed(&store).join(" "), expected);
        }
    });
}

/// etcd 14.9, 1.3: two stale batches. A change cannot name its revision; that it is based on an old one is a
/// compare that does not hold.
#[test]
fn a_change_based_on_an_old_revision_changes_nothing() {
    let store = memory();
    put(&store, "/x", "0");
    put(&store, "/x", "1");
    let op_put = |key| Op::Put(PutRequest { key, value: b"2", ..Default::default() });
    let delete = Op::DeleteRange(DeleteRangeRequest { key: b"/x", ..Default::default() });
    for success in [vec![op_put(b"/x")], vec![delete, op_put(b"/y")]] {
        let compare = vec![Compare {
            key: b"/x",
            range_end: b"",
            target: CompareTarget::Mod(2),
            result: CompareResult::Equal,
        }];
        let result = store.txn(&TxnRequest { compare, success, failure: vec![] }).unwrap();
        assert_eq!((result.succeeded(), result.revision()), (false, 3));
        assert_eq!(listed(&list(&store, 0)), ["/x=1@3"]);
    }
}

/// etcd 1.2, 11.1: etcd's cache is filled anew from a list; here a store is opened anew.
#[test]
fn a_store_that_is_opened_has_its_own_state_and_nothing_else() {
    let (one, other) = (folder(), folder());
    let (first, second) =
        (Store::open(one.path(), &tiny()).unwrap(), Store::open(other.path(), &tiny()).unwrap());
    commit(&first, "+/a=1 +/b=2");
    while commit(&second, "+/c=3").0 < 15 {}
    first.close().unwrap();
    second.close().unwrap();
    let replaced = Store::open(other.path(), &tiny()).unwrap();
    assert_eq!((listed(&list(&replaced, 0)), replaced.revision()), (vec!["/c=3@15".into()], 15));
    commit(&replaced, "-/c");
    replaced.close().unwrap();
    let emptied = Store::open(other.path(), &tiny()).unwrap();
    assert_eq!((list(&emptied, 0).len(), emptied.revision()), (0, 16));
    let fresh = memory();
    assert_eq!((list(&fresh, 0).len(), fresh.revision()), (0, 1));
}

/// etcd 1.12, 14.2, 14.3
#[test]
fn a_read_at_5_is_the_same_after_a_put_and_a_delete_at_6() {
    for (change, now) in [("+/k=v2", &["/k=v2@6"][..]), ("-/k", &[])] {
        let store = memory();
        while commit(&store, "+/k=v1").0 < 5 {}
        let before = list(&store, 5);
        assert_eq!(commit(&store, change).0, 6);
        for read in [&before, &list(&store, 5)] {
            assert_eq!(listed(read), ["/k=v1@5"]);
        }
        assert_eq!(list(&store, 5).revision(), 6);
        assert_eq!(listed(&list(&store, 6)), now);
        assert_eq!(listed(&list(&store, 0)), now);
    }
}

/// Which of the revisions of `k` each start gives: those from it on, or the compaction.
fn window_is(store: &Store, revisions: &[i64], compacted: i64) {
    for start in 1..=store.revision() + 1 {
        let stream = stream(store);
        stream.create(&watch((b"k", b""), start)).unwrap();
        let responses = settle(&stream);
        if start < compacted {
            assert_eq!(responses[0].cancel_code(), Some(ErrorCode::Compacted), "start {start}");
            assert_eq!((responses.len(), responses[0].compact_revision()), (1, compacted));
            continue;
        }
        let told: Vec<i64> = responses
            .iter()
            .flat_map(|response| response.events().map(|event| event.kv.mod_revision).collect::<Vec<_>>())
            .collect();
        let expected: Vec<i64> = revisions.iter().copied().filter(|revision| *revision >= start).collect();
        assert_eq!(told, expected, "start {start}, compacted {compacted}");
    }
}

/// etcd 3.6, 10.2, 10.4, 11.1: sparse and neighbouring revisions; below the compaction nothing, from it on all.
#[test]
fn the_window_of_history_reaches_from_the_compaction_to_now_also_after_opening_again() {
    watched(|| {
        let folder = folder();
        let mut store = Store::open(folder.path(), &tiny()).unwrap();
        let mut revisions = Vec::new();
        window_is(&store, &revisions, -1);
        for at in [2, 3, 4, 8, 16, 17] {
            while store.revision() < at - 1 {
                put(&store, "other", "");
            }
            revisions.push(put(&store, "k", ""));
            assert_eq!(revisions.last(), Some(&at));
        }
        for compacted in [-1, 3, 5, 8, 9, 17] {
            if compacted > 0 {
                store.compact(compacted, true).unwrap();
            }
            window_is(&store, &revisions, compacted);
            store.close().unwrap();
            store = Store::open(folder.path(), &tiny()).unwrap();
            assert_eq!((store.compact_revision(), store.revision()), (compacted, 17));
            window_is(&store, &revisions, compacted);
            assert_eq!(store.txn(&TxnRequest::default()).unwrap().revision(), 17, "nothing is no revision");
        }
        revisions.push(put(&store, "k", ""));
        window_is(&store, &revisions, 17);
    });
}

/// etcd 3.6, 10.6: a window of ten revisions, and one on its way. A watch that has read nothing lives with 9, 10
/// and 11 events; with 12 the first one is gone, and it is told instead of given a part.
#[test]
fn a_watch_that_lags_behind_the_window_is_told_and_one_at_its_edge_misses_nothing() {
    watched(|| {
        for events in 9..=12 {
            let store = memory();
            (0..events).for_each(|i| _ = put(&store, format!("/test/{i}"), i.to_string()));
            let stream = stream(&store);
            stream.create(&watch((b"/test/", b"/test0"), 2)).unwrap();
            // What the window still holds begins with the eleventh revision from the end.
            store.compact(store.revision() - 10, true).unwrap();
            let responses = settle(&stream);
            let told: usize = responses.iter().map(|response| response.len()).sum();
            let ended = responses.last().unwrap().is_canceled();
            assert_eq!((told, ended), if events < 12 { (events as usize, false) } else { (0, true) });
        }
    });
}
