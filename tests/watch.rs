//! What a watch delivers: which keys, from which revision on, and what is in an event.

mod common;

use common::*;
use libwatch::{
    CreateRequest, DeleteRangeRequest, ErrorCode, Op, PutRequest, Store, StreamOptions, TxnRequest,
    prefix_end,
};

/// What a watch over `range` got, with all of `keys` put once.
fn matched(range: (&[u8], &[u8]), keys: &[&str]) -> Vec<String> {
    let store = memory();
    let stream = stream(&store);
    stream.create(&watch(range, 0)).unwrap();
    keys.iter().for_each(|key| _ = put(&store, key, ""));
    settle(&stream)
        .iter()
        .flat_map(|r| r.events().map(|event| text(event.kv.key)).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_watch_matches_its_key_or_range_and_nothing_else() {
    // etcd 2.2, 2.6
    watched(|| {
        let keys = ["a", "aa", "ab", "b", "ba", "c", "\u{ff}"];
        assert_eq!(matched((b"a", b""), &keys), ["a"]);
        assert_eq!(matched((b"aaa", b""), &keys), [""; 0]);
        assert_eq!(matched((b"a", &prefix_end(b"a")), &keys), ["a", "aa", "ab"]);
        assert_eq!(matched((b"aa", b"ba"), &keys), ["aa", "ab", "b"]);
        assert_eq!(matched((b"ab", b"\0"), &keys), ["ab", "b", "ba", "c", "\\xc3\\xbf"]);
        assert_eq!(matched(ALL, &keys).len(), keys.len());
        assert_eq!(matched((b"", b"\0"), &keys).len(), keys.len(), "an empty key and end are everything");
    });
}

#[test]
fn an_empty_key_without_range_end_is_the_key_of_one_zero_byte() {
    // etcd 2.1
    watched(|| assert_eq!(matched((b"", b""), &["a", "\0", "\0\0"]), ["\\x00"]));
}

#[test]
fn a_start_of_0_means_from_now_on() {
    // etcd 3.1, #11496
    watched(|| {
        let store = memory();
        put(&store, "a", "before");
        let stream = stream(&store);
        let id = stream.create(&CreateRequest { created_notify: true, ..watch(ALL, 0) }).unwrap();
        put(&store, "a", "after");
        let responses = settle(&stream);
        assert!(responses[0].is_created());
        assert_eq!(
            (responses[0].resume_revision(), lines_of(&responses, id)),
            (3, vec!["3 put a=after".into()])
        );
    });
}

#[test]
fn a_start_in_the_past_replays_from_there_inclusive_and_goes_on() {
    // etcd 3.3
    watched(|| {
        let store = memory();
        for i in 2..=4 {
            put(&store, "a", i.to_string());
        }
        let stream = stream(&store);
        for (start, first) in [(1, 2), (2, 2), (3, 3), (4, 4)] {
            let id = stream.create(&watch((b"a", b""), start)).unwrap();
            let expected: Vec<String> = (first..=4).map(|i| format!("{i} put a={i}")).collect();
            assert_eq!(lines_of(&settle(&stream), id), expected, "start {start}");
        }
        put(&store, "a", "5");
        let responses = settle(&stream);
        (1..=4).for_each(|id| assert_eq!(lines_of(&responses, id), ["5 put a=5"]));
    });
}

/// etcd 3.2, 8.2
#[test]
fn a_start_in_the_future_delivers_nothing_before_it() {
    // etcd 3.2, #20221
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let soon = stream.create(&watch((b"a", b""), 4)).unwrap();
        let next = stream.create(&watch((b"a", b""), 2)).unwrap();
        for i in 2..=5 {
            put(&store, "a", i.to_string());
        }
        let responses = settle(&stream);
        assert_eq!(lines_of(&responses, soon), ["4 put a=4", "5 put a=5"]);
        assert_eq!(lines_of(&responses, next).len(), 4);
    });
}

#[test]
fn filters_leave_events_out_and_the_watch_moves_on() {
    // etcd 6.1, 6.2
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        for start in [0, 1] {
            let both = CreateRequest { filter_noput: true, filter_nodelete: true, ..watch(ALL, start) };
            let ids = [
                stream.create(&CreateRequest { filter_noput: true, ..watch(ALL, start) }).unwrap(),
                stream.create(&CreateRequest { filter_nodelete: true, ..watch(ALL, start) }).unwrap(),
                stream.create(&both).unwrap(),
            ];
            if start == 0 {
                put(&store, "a", "1");
                delete(&store, "a");
                put(&store, "a", "2");
            }
            let responses = settle(&stream);
            assert_eq!(lines_of(&responses, ids[0]), ["3 delete a"]);
            assert_eq!(lines_of(&responses, ids[1]), ["2 put a=1", "4 put a=2"]);
            assert_eq!(lines_of(&responses, ids[2]), [""; 0]);
            assert!(responses.iter().all(|response| !response.is_empty()), "no empty responses");
        }
    });
}

/// etcd 6.3
#[test]
fn what_filters_leave_out_does_not_fill_a_response() {
    watched(|| {
        let store = memory();
        for i in 0..20 {
            put(&store, "a", "");
            if i % 5 == 4 {
                delete(&store, "a");
            }
        }
        let options = StreamOptions { batch_revisions: 4, ..StreamOptions::default() };
        let stream = store.stream(&options).unwrap();
        stream.create(&CreateRequest { filter_noput: true, ..watch((b"a", b""), 1) }).unwrap();
        let deletes = ["7 delete a", "13 delete a", "19 delete a", "25 delete a"];
        assert_eq!(lines(&take(&stream)), deletes);
    });
}

/// etcd 5.4
#[test]
fn what_one_watch_asked_for_is_not_seen_by_another() {
    watched(|| {
        let store = memory();
        put(&store, "a", "1");
        let stream = stream(&store);
        let bare = stream.create(&watch((b"a", b""), 0)).unwrap();
        let full = stream.create(&CreateRequest { prev_kv: true, ..watch((b"a", b""), 0) }).unwrap();
        put(&store, "a", "2");
        let responses = settle(&stream);
        assert_eq!(lines_of(&responses, bare), ["3 put a=2"]);
        assert_eq!(lines_of(&responses, full), ["3 put a=2 [1@2]"]);
    });
}

#[test]
fn events_carry_the_whole_pair_and_deletes_only_key_and_revision() {
    // etcd 5.1, 5.2, 5.3
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch(ALL, 0)).unwrap();
        store.put(&PutRequest { key: b"a", value: b"1", lease: 8, ..Default::default() }).unwrap();
        store.put(&PutRequest { key: b"a", lease: 9, ..Default::default() }).unwrap();
        delete(&store, "a");
        put(&store, "a", "2");
        for stream in [stream, {
            let stream = common::stream(&store);
            stream.create(&watch(ALL, 1)).unwrap();
            stream
        }] {
            let responses = settle(&stream);
            let events: Vec<_> = responses.iter().flat_map(|response| response.events()).collect();
            let pairs: Vec<_> = events.iter().map(|event| pair(&event.kv)).collect();
            assert_eq!(pairs[0], ("a".into(), "1".into(), 2, 2, 1, 8));
            assert_eq!(pairs[1], ("a".into(), "".into(), 2, 3, 2, 9));
            assert_eq!(pairs[2], ("a".into(), "".into(), 0, 4, 0, 0));
            assert_eq!(pairs[3], ("a".into(), "2".into(), 5, 5, 1, 0));
            let kinds: Vec<_> = events.iter().map(|event| (event.is_create(), event.is_modify())).collect();
            assert_eq!(kinds, [(true, false), (false, true), (false, false), (true, false)]);
        }
    });
}

#[test]
fn prev_kv_is_the_pair_before_and_absent_where_there_was_none() {
    // etcd 7.2, 7.4
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let asking = stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, 0) }).unwrap();
        let silent = stream.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "1");
        put(&store, "a", "2");
        delete(&store, "a");
        put(&store, "a", "3");
        let past = stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, 1) }).unwrap();
        let responses = settle(&stream);
        let expected = ["2 put a=1", "3 put a=2 [1@2]", "4 delete a [2@3]", "5 put a=3"];
        assert_eq!(lines_of(&responses, asking), expected);
        assert_eq!(lines_of(&responses, past), expected);
        assert_eq!(lines_of(&responses, silent), ["2 put a=1", "3 put a=2", "4 delete a", "5 put a=3"]);
    });
}

#[test]
fn prev_kv_is_absent_for_the_revision_at_the_compaction_only() {
    // etcd 7.3
    watched(|| {
        for physical in [false, true] {
            let store = memory();
            for i in 1..=4 {
                put(&store, "a", i.to_string());
                put(&store, "b", i.to_string());
            }
            store.compact(4, physical).unwrap();
            let stream = stream(&store);
            stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, 4) }).unwrap();
            let expected = ["4 put a=2", "5 put b=2 [1@3]", "6 put a=3 [2@4]", "7 put b=3 [2@5]"];
            assert_eq!(take_lines(&stream, 6)[..4], expected, "physical: {physical}");
        }
    });
}

/// etcd 1.1, 8.1, 8.12
#[test]
fn a_transaction_arrives_whole_and_in_the_order_of_its_operations() {
    // etcd 1.10, 17 Atomic
    watched(|| {
        let store = memory();
        ["d1", "d3", "d2"].iter().for_each(|key| _ = put(&store, key, "x"));
        let stream = stream(&store);
        let live = stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, 0) }).unwrap();
        let op_put = |key: &'static [u8]| Op::Put(PutRequest { key, value: b"v", ..Default::default() });
        let delete = DeleteRangeRequest { key: b"d", range_end: b"e", prev_kv: false };
        let nested = TxnRequest { success: vec![op_put(b"m")], ..Default::default() };
        let success = vec![op_put(b"z"), Op::DeleteRange(delete), Op::Txn(nested), op_put(b"a")];
        store.txn(&TxnRequest { success, ..Default::default() }).unwrap();
        let past = stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, 5) }).unwrap();
        let expected = [
            "5 put z=v",
            "5 delete d1 [x@2]",
            "5 delete d2 [x@4]",
            "5 delete d3 [x@3]",
            "5 put m=v",
            "5 put a=v",
        ];
        for response in settle(&stream) {
            assert!([live, past].contains(&response.watch_id()));
            assert_eq!(lines(&response), expected, "one response holds the whole revision");
        }
    });
}

#[test]
fn ids_are_chosen_from_1_on_and_never_twice() {
    // etcd 3.8; libwatch begins at 1
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let create = |watch_id| stream.create(&CreateRequest { watch_id, ..watch(ALL, 0) });
        assert_eq!((create(0).unwrap(), create(0).unwrap()), (1, 2));
        stream.cancel(2).unwrap();
        stream.cancel(1).unwrap();
        assert_eq!(create(0).unwrap(), 3, "canceled ids are not chosen again");
        assert_eq!((create(4).unwrap(), create(77).unwrap()), (4, 77));
        assert_eq!(create(0).unwrap(), 5, "ids in use are passed over");
        assert_eq!(refused(create(77)), ErrorCode::DuplicateWatchId);
        assert_eq!(refused(create(3)), ErrorCode::DuplicateWatchId);
        stream.cancel(77).unwrap();
        assert_eq!(create(77).unwrap(), 77, "a chosen id may be chosen again when it is free (etcd 3.9)");
        assert_eq!(common::stream(&store).create(&watch(ALL, 0)).unwrap(), 1, "each stream has its own ids");
    });
}

/// etcd 9.3
#[test]
fn an_id_that_is_used_again_gets_nothing_of_its_former_watch() {
    // etcd 9.3
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let create =
            |key| stream.create(&CreateRequest { watch_id: 9, watch_data: 1, ..watch((key, b""), 0) });
        create(b"a").unwrap();
        put(&store, "a", "1");
        stream.cancel(9).unwrap();
        create(b"b").unwrap();
        put(&store, "a", "2");
        put(&store, "b", "3");
        let responses = settle(&stream);
        let canceled = responses.iter().position(|response| response.is_canceled()).unwrap();
        assert_eq!(responses[canceled + 1..].iter().flat_map(lines).collect::<Vec<_>>(), ["4 put b=3"]);
    });
}

/// etcd 3.12, 3.13, 4.1
#[test]
fn a_created_notification_comes_first_and_once() {
    // etcd 4.1
    watched(|| {
        let store = memory();
        for i in 0..10 {
            put(&store, "a", i.to_string());
        }
        let stream = stream(&store);
        for start in [0, 1, 5, 11, 12, 100] {
            let request = CreateRequest { created_notify: true, watch_data: 3, ..watch(ALL, start) };
            let id = stream.create(&request).unwrap();
            let responses = settle(&stream);
            let created = &responses[0];
            assert!(created.is_created() && !created.is_canceled() && !created.is_progress());
            assert_eq!((created.watch_id(), created.watch_data(), created.len()), (id, 3, 0));
            assert_eq!(created.resume_revision(), if start == 0 { 12 } else { start });
            assert_eq!((created.revision(), created.cancel_code()), (11, None));
            assert!(responses[1..].iter().all(|response| !response.is_created()));
            stream.cancel(id).unwrap();
            settle(&stream);
        }
        stream.create(&watch(ALL, 0)).unwrap();
        assert!(settle(&stream).is_empty(), "only who asked is told");
    });
}

#[test]
fn a_response_names_its_watch_its_data_and_where_to_resume() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let id = stream.create(&CreateRequest { watch_data: 0xdead, ..watch((b"a", b""), 0) }).unwrap();
        put(&store, "a", "1");
        let response = take(&stream);
        assert_eq!((response.watch_id(), response.watch_data()), (id, 0xdead));
        assert_eq!((response.revision(), response.resume_revision()), (2, 3));
        assert_eq!((response.compact_revision(), response.cancel_reason()), (0, ""));
        let flags = [
            response.is_created(),
            response.is_canceled(),
            response.is_progress(),
            response.is_fragment(),
            response.is_empty(),
        ];
        assert_eq!(flags, [false; 5]);
    });
}

/// etcd 8.4
#[test]
fn every_event_can_be_read_at_its_revision_when_it_arrives() {
    // etcd 8.4
    watched(|| {
        let folder = folder();
        for store in [memory(), Store::open(folder.path(), &tiny()).unwrap()] {
            let writer = {
                let store = store.clone();
                std::thread::spawn(move || {
                    for i in 0..2000 {
                        put(&store, format!("{}", i % 7), i.to_string());
                    }
                })
            };
            let stream = stream(&store);
            stream.create(&watch(ALL, 1)).unwrap();
            let mut seen = 0;
            while seen < 2000 {
                let response = take(&stream);
                for event in response.events() {
                    assert_eq!(event.kv.mod_revision, seen + 2, "no gap and no repetition");
                    assert!(store.revision() >= event.kv.mod_revision && response.revision() >= seen + 2);
                    let read = store.get(event.kv.key, event.kv.mod_revision).unwrap();
                    assert_eq!(read.kv(0), event.kv);
                    seen += 1;
                }
            }
            writer.join().unwrap();
        }
    });
}

#[test]
fn a_response_holds_whole_revisions_up_to_the_bounds_of_the_stream() {
    // etcd 8.12
    watched(|| {
        let store = memory();
        for i in 0..10 {
            let ops = ["a", "b", "c"].map(|key| {
                Op::Put(PutRequest { key: key.as_bytes(), value: &[b'x'; 100], ..Default::default() })
            });
            assert_eq!(
                store.txn(&TxnRequest { success: ops.to_vec(), ..Default::default() }).unwrap().revision(),
                i + 2
            );
        }
        let sizes = |batch_revisions, batch_bytes| -> Vec<usize> {
            let stream = store.stream(&StreamOptions { batch_revisions, batch_bytes }).unwrap();
            stream.create(&watch(ALL, 1)).unwrap();
            let responses = settle(&stream);
            let mut next = 2;
            for response in &responses {
                assert_eq!(response.event(0).kv.mod_revision, next, "a revision is never split");
                next = response.event(response.len() - 1).kv.mod_revision + 1;
                assert_eq!(response.resume_revision(), next);
            }
            responses.iter().map(|response| response.len()).collect()
        };
        assert_eq!(sizes(0, 0), [30]);
        assert_eq!(sizes(1, 0), [3; 10]);
        assert_eq!(sizes(4, 0), [12, 12, 6]);
        assert_eq!(sizes(0, 1), [3; 10], "a bound is reached by whole revisions");
        assert_eq!(sizes(0, 304), [6; 5], "303 bytes are below the bound, 606 are not");
        assert_eq!(sizes(2, 10_000), [6; 5]);
    });
}

#[test]
fn live_responses_keep_to_the_bounds_as_well() {
    // etcd 8.12
    watched(|| {
        let store = memory();
        let stream = store.stream(&StreamOptions { batch_revisions: 3, batch_bytes: 0 }).unwrap();
        stream.create(&watch(ALL, 0)).unwrap();
        (0..10).for_each(|i| _ = put(&store, "a", i.to_string()));
        let sizes: Vec<usize> = settle(&stream).iter().map(|response| response.len()).collect();
        assert_eq!(sizes, [3, 3, 3, 1]);
    });
}
