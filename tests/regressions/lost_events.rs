//! Events that etcd lost, repeated or misplaced. Where etcd needed a restored snapshot for it, here the
//! store is reopened, or the watch falls behind and joins again: the ways in which a libwatch watch changes its place.

use libwatch::{Answer, CreateRequest, ErrorCode, Store, StreamOptions, limits};

use crate::common::*;
use crate::told::*;

/// etcd 10.6, 17 Reliable: events or a cancel, never neither
#[test]
fn etcd_17529_a_full_stream_at_a_compaction_leaves_no_hole() {
    watched(|| {
        for physical in [false, true] {
            let folder = folder();
            let store = Store::open(folder.path(), &tiny()).unwrap();
            let stream = stream(&store);
            let slow = stream.create(&watch((b"a", b""), 0)).unwrap();
            let other = stream.create(&watch((b"b", b""), 0)).unwrap();
            // Nobody reads: the ring is full of the one watch when the other one falls behind.
            put(&store, "a", "first");
            puts(&store, "b", FLOOD);
            settle_writer(&store);
            let last = puts(&store, "a", FLOOD);
            let compacted = last - 100;
            store.compact(compacted, physical).unwrap();
            puts(&store, "a", 5);
            let responses = settle(&stream);
            for (id, first, end) in [(slow, FLOOD + 3, last + 5), (other, 3, FLOOD + 2)] {
                let mut given = revisions(&responses, id);
                if id == slow && given.first() == Some(&2) {
                    given.remove(0);
                }
                match endings(&responses, id)[..] {
                    [] => assert_eq!(given, all(first, end), "watch {id} lives on over a hole"),
                    [legal] => {
                        assert_eq!(legal, compacted);
                        assert_eq!(given, all(first, first + given.len() as i64 - 1));
                    }
                    _ => panic!("watch {id} ended twice"),
                }
            }
        }
    });
}

/// A consumer of its own, so that the tailer has seen everything so far.
fn settle_writer(store: &Store) {
    let probe = stream(store);
    settle(&probe);
}

/// etcd 3.6, 10.3, 10.4
#[test]
fn etcd_18089_a_delete_at_the_compaction_reaches_a_watch_from_there() {
    watched(|| {
        for physical in [false, true] {
            let folder = folder();
            let store = Store::open(folder.path(), &tiny()).unwrap();
            put(&store, "a", "1");
            put(&store, "b", "1");
            let deleted = delete(&store, "a");
            put(&store, "b", "2");
            store.compact(deleted, physical).unwrap();
            for range in [(&b"a"[..], &b""[..]), (b"a", b"b"), ALL] {
                let stream = stream(&store);
                let id = stream.create(&watch(range, deleted)).unwrap();
                let told = lines_of(&settle(&stream), id);
                assert_eq!(told[0], format!("{deleted} delete a"), "{told:?}");
            }
        }
    });
}

/// etcd 10.3, 11.1, 11.3
#[test]
fn etcd_19179_a_key_that_is_only_a_tombstone_survives_restarts_and_its_compaction_resumed() {
    watched(|| {
        let folder = folder();
        let open = |path: &std::path::Path| Store::open(path, &tiny()).unwrap();
        let store = open(folder.path());
        put(&store, "a", "1");
        put(&store, "keep", "1");
        let deleted = delete(&store, "a");
        let from_there = |store: &Store, range, start| {
            let stream = stream(store);
            let id = stream.create(&watch(range, start)).unwrap();
            lines_of(&settle(&stream), id)
        };
        let expected = [format!("{deleted} delete a")];
        store.compact(deleted, true).unwrap();
        // Its only record is the tombstone now. Each opening builds the index anew.
        let image = crash_image(&folder);
        store.close().unwrap();
        for path in [folder.path(), image.path()] {
            for _ in 0..2 {
                let store = open(path);
                for range in [(&b"a"[..], &b""[..]), ALL] {
                    assert_eq!(from_there(&store, range, deleted), expected);
                }
                store.close().unwrap();
            }
            let store = open(path);
            let later = put(&store, "keep", "2");
            store.compact(later, true).unwrap();
            assert_eq!(store.stats().unwrap().key_count, 1, "the next compaction drops it");
            assert_eq!(refused(store.get(b"a", deleted)), ErrorCode::Compacted);
            put(&store, "a", "again");
            let kv = store.get(b"a", 0).unwrap();
            assert_eq!((kv.kv(0).version, kv.kv(0).create_revision), (1, later + 1));
            store.close().unwrap();
        }
    });
}

/// etcd 8.2, 8.3, 17 Unique
#[test]
fn etcd_15271_a_watch_that_changes_its_place_does_not_repeat_what_it_was_given_live() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let stream = store.stream(&StreamOptions { batch_revisions: 100, batch_bytes: 0 }).unwrap();
        let id = stream.create(&watch(ALL, 0)).unwrap();
        let mut given = Vec::new();
        for _ in 0..3 {
            // Live, one by one, then overtaken, then live again.
            for _ in 0..10 {
                put(&store, "a", "x");
                given.extend(revisions(&[take(&stream)], id));
            }
            puts(&store, "a", FLOOD);
            given.extend(revisions(&settle(&stream), id));
        }
        assert_eq!(given, all(2, store.revision()));
    });
}

/// etcd 3.2, 17 Resumable: a start is a lower bound
#[test]
fn etcd_20221_a_watch_on_the_future_stays_there_across_a_reopening_and_a_full_ring() {
    watched(|| {
        let folder = folder();
        for again in 0..2 {
            let store = Store::open(folder.path(), &tiny()).unwrap();
            puts(&store, "a", 10);
            let stream = stream(&store);
            let noise = stream.create(&watch((b"b", b""), 0)).unwrap();
            let start = store.revision() + FLOOD + 100;
            let ids: Vec<i64> = [(&b"a"[..], &b""[..]), (b"a", b"b"), ALL]
                .map(|range| stream.create(&watch(range, start)).unwrap())
                .to_vec();
            // Among watches that catch up, with the ring full when the start is reached.
            let past = stream.create(&watch((b"a", b""), 2)).unwrap();
            puts(&store, "b", FLOOD);
            settle_writer(&store);
            let last = puts(&store, "a", 200);
            let responses = settle(&stream);
            for id in ids {
                assert_eq!(revisions(&responses, id), all(start, last), "opened {again}: watch {id}");
            }
            assert_eq!(revisions(&responses, noise).len() as i64, FLOOD);
            assert_eq!(revisions(&responses, past).len() as i64, (again + 1) * 10 + (again + 1) * 200);
            store.close().unwrap();
        }
    });
}

/// etcd 3.4, 17 Reliable
#[test]
fn etcd_20693_a_negative_start_is_refused_and_the_watches_beside_it_miss_nothing() {
    watched(|| {
        let store = memory();
        let last = puts(&store, "a", 3000);
        let stream = store.stream(&StreamOptions { batch_revisions: 100, batch_bytes: 0 }).unwrap();
        let before = stream.create(&watch(ALL, 1)).unwrap();
        for start in [-1, -2, i64::MIN] {
            assert_eq!(refused(stream.create(&watch(ALL, start))), ErrorCode::InvalidArgument);
        }
        take(&stream);
        assert_eq!(refused(stream.create(&watch((b"a", b""), -1))), ErrorCode::InvalidArgument);
        let after = stream.create(&watch((b"a", b""), 2)).unwrap();
        let responses = settle(&stream);
        assert_eq!(revisions(&responses, before), all(102, last));
        assert_eq!(revisions(&responses, after), all(2, last));
        assert_eq!(store.stats().unwrap().watch_count, 2, "the refused ones left something behind");
    });
}

/// etcd 2.6, 8.13, 17 Reliable: also #9086
#[test]
fn etcd_8411_watches_of_every_kind_that_fell_behind_are_found_by_the_next_change() {
    watched(|| {
        let folder = folder();
        let mut opened = 1;
        for _ in 0..2 {
            let store = Store::open(folder.path(), &tiny()).unwrap();
            let stream = stream(&store);
            let ranges = [(&b"k"[..], &b""[..]), (b"k", b"l"), (b"a", b"kz"), (b"k", b"\0"), ALL];
            let create = |start| ranges.map(|range| stream.create(&watch(range, start)).unwrap());
            let ids = [create(0), create(store.revision()), create(opened + 1)].concat();
            puts(&store, "k", FLOOD);
            settle(&stream);
            assert_eq!(store.stats().unwrap().watch_synced_count, ids.len() as u64);
            let next = put(&store, "k", "live");
            let responses = settle(&stream);
            for id in &ids {
                assert_eq!(revisions(&responses, *id), [next], "watch {id}");
            }
            opened = next;
            store.close().unwrap();
        }
    });
}

/// etcd 3.2
#[test]
fn etcd_9775_the_farthest_future_is_a_legal_start() {
    watched(|| {
        let folder = folder();
        for _ in 0..2 {
            let store = Store::open(folder.path(), &tiny()).unwrap();
            let stream = stream(&store);
            for start in [i64::MAX, i64::MAX - 1, i64::MAX - 2, limits::REVISION_MAX] {
                let request = CreateRequest { created_notify: true, ..watch(ALL, start) };
                let id = stream.create(&request).unwrap();
                assert_eq!(take(&stream).resume_revision(), start);
                puts(&store, "a", FLOOD);
                store.compact(store.revision(), true).unwrap();
                assert_eq!(settle(&stream).len(), 0);
                stream.cancel(id).unwrap();
                let last = take(&stream);
                assert!(last.is_canceled() && last.watch_id() == id);
                assert_eq!(last.resume_revision(), start);
            }
            store.close().unwrap();
        }
    });
}

/// etcd 1.10, 17 Unique
#[test]
fn etcd_17247_each_change_of_a_transaction_comes_once() {
    watched(|| {
        let store = memory();
        let live = stream(&store);
        let live_id = live.create(&watch(ALL, 0)).unwrap();
        let keys: Vec<String> = (0..100).map(|i| format!("{i:03}")).collect();
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        for _ in 0..20 {
            put_all(&store, &names);
        }
        let past = stream(&store);
        let past_id = past.create(&watch(ALL, 2)).unwrap();
        for (stream, id) in [(live, live_id), (past, past_id)] {
            let responses = settle(&stream);
            let told = responses.iter().filter(|response| response.watch_id() == id);
            let events: Vec<(i64, String)> = told
                .flat_map(|response| {
                    response
                        .events()
                        .map(|event| (event.kv.mod_revision, text(event.kv.key)))
                        .collect::<Vec<_>>()
                })
                .collect();
            let expected: Vec<(i64, String)> =
                (2..22).flat_map(|revision| keys.iter().map(move |key| (revision, key.clone()))).collect();
            assert_eq!(events, expected);
        }
    });
}

/// etcd 12.1, 15.3, 17 Resumable
#[test]
fn etcd_15248_resuming_from_a_progress_repeats_nothing() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let id = stream.create(&watch(ALL, 0)).unwrap();
        puts(&store, "a", 5);
        assert_eq!(revisions(&settle(&stream), id), all(2, 6));
        stream.request_progress().unwrap();
        let progress = take(&stream);
        assert_eq!((progress.revision(), progress.resume_revision()), (6, 7));
        let resumed = common_stream(&store);
        let again = resumed.create(&watch(ALL, progress.resume_revision())).unwrap();
        assert_eq!(revisions(&settle(&resumed), again), []);
        put(&store, "a", "next");
        assert_eq!(revisions(&settle(&resumed), again), [7]);
        assert_eq!(revisions(&settle(&stream), id), [7]);
    });
}

fn common_stream(store: &Store) -> libwatch::Stream {
    stream(store)
}

/// etcd 3.1, 3.12, 15.3: what was created now resumes there, whatever was written since
#[test]
fn etcd_4564_a_watch_from_now_on_knows_where_it_began() {
    watched(|| {
        let store = memory();
        for written in [0, 1, 7] {
            let stream = stream(&store);
            let now = store.revision();
            let id = stream.create(&CreateRequest { created_notify: true, ..watch(ALL, 0) }).unwrap();
            // The header of the created response is later than the watch.
            puts(&store, "a", written);
            let created = take(&stream);
            assert!(created.is_created());
            assert_eq!(created.resume_revision(), now + 1);
            assert!(created.revision() >= now);
            stream.close();
            let stream = common_stream(&store);
            stream.create(&CreateRequest { watch_id: id, ..watch(ALL, created.resume_revision()) }).unwrap();
            assert_eq!(revisions(&settle(&stream), id), all(now + 1, now + written));
        }
    });
}

/// etcd 3.2, 3.12
#[test]
fn jetcd_946_a_future_start_is_not_overwritten_by_the_moment_of_creation() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let id = stream.create(&CreateRequest { created_notify: true, ..watch(ALL, 9) }).unwrap();
        assert_eq!(take(&stream).resume_revision(), 9);
        puts(&store, "a", 3);
        assert!(settle(&stream).is_empty());
        stream.cancel(id).unwrap();
        let resume = take(&stream).resume_revision();
        assert_eq!(resume, 9, "still where it was to begin");
        let again = stream.create(&watch(ALL, resume)).unwrap();
        let last = puts(&store, "a", 10);
        assert_eq!(revisions(&settle(&stream), again), all(9, last));
    });
}

/// etcd 11.1, 11.2: also #6567
#[test]
fn etcd_17780_revisions_go_on_after_a_crash_around_a_compaction_of_trailing_tombstones() {
    watched(|| {
        for physical in [false, true] {
            let folder = folder();
            let store = Store::open(folder.path(), &tiny()).unwrap();
            for i in 0..50 {
                put(&store, format!("{i}"), "x");
            }
            for i in 0..50 {
                delete(&store, format!("{i}"));
            }
            let last = store.revision();
            let images = [crash_image(&folder), {
                store.compact(last, physical).unwrap();
                crash_image(&folder)
            }];
            for image in &images {
                for _ in 0..2 {
                    let store = Store::open(image.path(), &tiny()).unwrap();
                    assert!(store.revision() >= last, "the revision fell to {}", store.revision());
                    if store.compact_revision() < last {
                        store.compact(last, true).unwrap();
                    }
                    store.close().unwrap();
                }
                let store = Store::open(image.path(), &tiny()).unwrap();
                let stream = stream(&store);
                let id = stream.create(&watch(ALL, last + 1)).unwrap();
                let next = put(&store, "new", "x");
                assert!(next > last, "revision {next} was given out twice");
                assert_eq!(lines_of(&settle(&stream), id), [format!("{next} put new=x")]);
            }
        }
    });
}

/// etcd 8.6, 17 Unique
#[test]
fn etcd_5459_what_was_refused_comes_once_more_and_what_was_taken_does_not() {
    watched(|| {
        let store = memory();
        puts(&store, "a", 40);
        let mut turn = 0;
        let options = StreamOptions { batch_revisions: 7, batch_bytes: 0 };
        let (stream, heard) = hear(&store, &options, move |_| {
            turn += 1;
            if turn % 2 == 1 { Answer::Again } else { Answer::Taken }
        });
        stream.create(&watch(ALL, 2)).unwrap();
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        let mut live = 0;
        while taken.len() < 50 {
            let (response, answer) = heard.recv().unwrap();
            let own = revisions(&[response], 1);
            if answer == Answer::Again {
                refused = own;
                continue;
            }
            assert_eq!(own, refused, "other events were offered than were refused");
            taken.extend(own);
            if taken.len() >= 40 && live < 10 {
                live += 1;
                put(&store, "a", "live");
            }
        }
        assert_eq!(taken, all(2, 51));
    });
}

/// etcd 2.6, 8.13
#[test]
fn etcd_4191_a_prefix_that_has_caught_up_is_live() {
    watched(|| {
        let store = memory();
        for i in 0..300 {
            put(&store, format!("p/{i}"), "x");
            put(&store, format!("q/{i}"), "x");
        }
        let stream = stream(&store);
        let id = stream.create(&watch((b"p/", b"p0"), 2)).unwrap();
        assert_eq!(revisions(&settle(&stream), id).len(), 300);
        let stats = store.stats().unwrap();
        assert_eq!((stats.watch_synced_count, stats.watch_unsynced_count), (1, 0));
        let read = stats.record_read_total;
        let live = put(&store, "p/0", "live");
        assert_eq!(revisions(&settle(&stream), id), [live]);
        assert_eq!(store.stats().unwrap().record_read_total, read + 1, "it still reads history");
    });
}

/// etcd 8.14, 17 Atomic and Resumable
#[test]
fn gazette_337_the_header_of_events_is_no_place_to_resume_from_and_the_resume_revision_is() {
    watched(|| {
        let store = memory();
        for _ in 0..10 {
            put_all(&store, &["a", "b", "c"]);
        }
        let options = StreamOptions { batch_revisions: 3, batch_bytes: 0 };
        let mut from = 2;
        while from <= 11 {
            let stream = store.stream(&options).unwrap();
            let id = stream.create(&watch(ALL, from)).unwrap();
            let response = take(&stream);
            let own = revisions(std::slice::from_ref(&response), id);
            let end = (from + 2).min(11);
            let expected: Vec<i64> = (from..=end).flat_map(|revision| [revision; 3]).collect();
            assert_eq!(own, expected);
            assert_eq!(response.revision(), 11, "the header is where the store is");
            assert_eq!(response.resume_revision(), end + 1);
            from = response.resume_revision();
        }
        assert_eq!(from, 12);
    });
}
