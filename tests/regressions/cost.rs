//! What watches must not cost, as counters and hand-shakes: records read for each event, nobody held up,
//! responses of bounded size. Memory is counted in a test binary of its own.

use std::sync::mpsc::channel;

use libwatch::{Answer, CreateRequest, PutRequest, Response, Store, StreamOptions};

use crate::common::*;
use crate::told::*;

fn records_read(store: &Store) -> u64 {
    store.stats().unwrap().record_read_total
}

/// etcd 8.10: also #4567; etcd reads the rest of history again for every thousand revisions
#[test]
fn etcd_22264_catching_up_reads_each_record_once() {
    watched(|| {
        let store = memory();
        let last = puts(&store, "a", 60_000);
        for (batch_revisions, batch_bytes) in [(0, 0), (100, 0), (7, 0), (0, 50)] {
            let stream = store.stream(&StreamOptions { batch_revisions, batch_bytes }).unwrap();
            settle(&stream);
            let before = records_read(&store);
            let id = stream.create(&watch(ALL, 2)).unwrap();
            let mut next = 2;
            while next <= last {
                for revision in revisions(&[take(&stream)], id) {
                    assert_eq!(revision, next);
                    next += 1;
                }
            }
            let read = records_read(&store) - before;
            assert!(
                read <= 60_000 + 60_000 / 10,
                "{read} records for 60000 events, {batch_revisions} a batch"
            );
        }
    });
}

/// etcd 8.10: a key costs its own changes, not the history between them
#[test]
fn etcd_22264_a_key_that_changed_rarely_is_not_looked_for_in_all_of_history() {
    watched(|| {
        let store = memory();
        let mut expected = Vec::new();
        for _ in 0..20 {
            expected.push(put(&store, "rare", "x"));
            puts(&store, "often", 2000);
        }
        let stream = stream(&store);
        settle(&stream);
        let before = records_read(&store);
        for range in [(&b"rare"[..], &b""[..]), (b"r", b"s")] {
            let id = stream.create(&watch(range, 2)).unwrap();
            assert_eq!(revisions(&settle(&stream), id), expected);
        }
        let read = records_read(&store) - before;
        assert!(read <= 200, "{read} records were read for 2 x 20 events");
    });
}

/// etcd 8.10: what nobody watched is read for nobody
#[test]
fn etcd_22264_the_first_watch_does_not_read_what_nobody_watched() {
    watched(|| {
        let store = memory();
        puts(&store, "a", 20_000);
        let stream = stream(&store);
        for _ in 0..2 {
            let id = stream.create(&watch(ALL, 0)).unwrap();
            let live = put(&store, "a", "live");
            assert_eq!(revisions(&settle(&stream), id), [live]);
            stream.cancel(id).unwrap();
            assert!(take(&stream).is_canceled());
            puts(&store, "a", 20_000);
        }
        let read = records_read(&store);
        assert!(read <= 20, "{read} records for two events");
    });
}

/// etcd 8.3: live, a record is read once for all watches; also #19064
#[test]
fn etcd_18109_a_change_is_read_once_for_all_watches() {
    watched(|| {
        let store = memory();
        let streams: Vec<_> = (0..5).map(|_| stream(&store)).collect();
        for stream in &streams {
            for i in 0..200 {
                stream.create(&watch((format!("{i}").as_bytes(), b""), 0)).unwrap();
                stream.create(&watch(ALL, 0)).unwrap();
            }
        }
        let before = records_read(&store);
        let puts = 10;
        for _ in 0..puts {
            put(&store, "7", "x");
            // One entry for each of 201 watches fits the rings while they are emptied.
            streams.iter().for_each(|stream| assert_eq!(settle(stream).len(), 201));
        }
        assert_eq!(records_read(&store) - before, puts);
    });
}

/// etcd 8.3
#[test]
fn etcd_22264_writers_and_other_watches_go_on_in_the_middle_of_a_catch_up() {
    watched(|| {
        let store = memory();
        let last = puts(&store, "a", 30_000);
        let options = StreamOptions { batch_revisions: 10, batch_bytes: 0 };
        let (far, heard, gate) = blocked(&store, &options);
        let id = far.create(&watch(ALL, 2)).unwrap();
        gate.entered();
        assert_eq!(store.stats().unwrap().event_delivered_total, 0, "it has all its way to go");
        // Each of these would wait for ever behind a lock that catching up holds.
        let live = stream(&store);
        let live_id = live.create(&watch(ALL, 0)).unwrap();
        let end = puts(&store, "a", 100);
        assert_eq!(revisions(&settle(&live), live_id), all(last + 1, end));
        live.cancel(live_id).unwrap();
        let more = far.create(&watch((b"b", b""), 0)).unwrap();
        far.cancel(more).unwrap();
        far.request_progress().unwrap();
        store.compact(last / 2, false).unwrap();
        assert_eq!(store.stats().unwrap().watch_count, 1);
        gate.open();
        let mut responses = Vec::new();
        let over = |response: &Response| response.is_progress() || response.compact_revision() > 0;
        while !responses.last().is_some_and(over) {
            responses.push(heard.recv().unwrap().0);
        }
        let given = revisions(&responses, id);
        assert_eq!(given, all(2, given.len() as i64 + 1));
        if endings(&responses, id).is_empty() {
            assert_eq!(given.last(), Some(&end));
        }
    });
}

/// etcd 8.3: one stream's blocked callback is nobody else's
#[test]
fn etcd_18109_a_callback_that_blocks_holds_up_neither_writer_nor_compaction_nor_other_callbacks() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let (stopped, heard, gate) = blocked(&store, &StreamOptions::default());
        let id = stopped.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "x");
        gate.entered();
        let (other, other_heard) = hear(&store, &StreamOptions::default(), |_| Answer::Taken);
        other.create(&watch(ALL, 0)).unwrap();
        for _ in 0..100 {
            let revision = put(&store, "a", "x");
            assert_eq!(revisions(&[other_heard.recv().unwrap().0], 1), [revision]);
        }
        let last = puts(&store, "a", FLOOD);
        store.compact(50, true).unwrap();
        stopped.cancel(id).unwrap();
        assert_eq!(
            store.range(&libwatch::RangeRequest { key: b"a", ..Default::default() }).unwrap().revision(),
            last
        );
        gate.open();
        let mut responses = vec![heard.recv().unwrap().0];
        while !responses[responses.len() - 1].is_canceled() {
            responses.push(heard.recv().unwrap().0);
        }
        let given = revisions(&responses, id);
        assert_eq!(given, all(2, given.len() as i64 + 1));
    });
}

/// S 19.5: bytes of the log are pinned by whoever has them
#[test]
fn etcd_13505_events_stay_readable_when_their_file_is_gone() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let stream = stream(&store);
        stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, 0) }).unwrap();
        let value = |i: usize| format!("{i:05}").repeat(100);
        let mut kept = Vec::new();
        for i in 0..400 {
            put(&store, "a", value(i));
            kept.push(take(&stream));
        }
        store.compact(store.revision(), true).unwrap();
        assert!(store.stats().unwrap().pinned_bytes > 0, "nothing was dropped: no test");
        let holds = |kept: &[Response]| {
            for (i, response) in kept.iter().enumerate() {
                assert_eq!(response.event(0).kv.value, value(i).as_bytes());
                let prev = response.event(0).prev_kv.map(|prev| text(prev.value));
                assert_eq!(prev, i.checked_sub(1).map(value));
            }
        };
        holds(&kept);
        store.close().unwrap();
        drop((stream, store, folder));
        holds(&kept);
    });
}

/// etcd 8.12, 13.5: also #9294, #19441, #18965, #18975
#[test]
fn etcd_8188_catching_up_is_cut_by_bytes_and_a_large_revision_by_fragments() {
    watched(|| {
        let store = memory_with(|options| {
            options.fragment_bytes = 10_000;
            options.txn_ops_max = 1000;
        });
        let value = [b'x'; 1000];
        for _ in 0..100 {
            store.put(&PutRequest { key: b"a", value: &value, ..Default::default() }).unwrap();
        }
        let keys: Vec<String> = (0..1000).map(|i| format!("{i:0100}")).collect();
        put_all(&store, &keys.iter().map(String::as_str).collect::<Vec<_>>());
        let bytes = |response: &Response| -> usize {
            response.events().map(|event| event.kv.key.len() + event.kv.value.len()).sum()
        };
        let stream = store.stream(&StreamOptions { batch_revisions: 0, batch_bytes: 8000 }).unwrap();
        let id = stream.create(&CreateRequest { fragment: true, ..watch(ALL, 2) }).unwrap();
        let responses = settle(&stream);
        assert!(responses.iter().all(|response| bytes(response) <= 10_000));
        assert!(responses.len() >= 10 + 10, "{} responses", responses.len());
        let expected = [all(2, 101), vec![102; 1000]].concat();
        assert_eq!(revisions(&responses, id), expected);
        // Also for a watch whose responses are not split: cut at the end of the revision that goes over it.
        stream.cancel(id).unwrap();
        settle(&stream);
        for range in [(&b"a"[..], &b""[..]), (b"a", b"b")] {
            let whole = stream.create(&watch(range, 2)).unwrap();
            let responses = settle(&stream);
            assert_eq!(revisions(&responses, whole), all(2, 101));
            assert!(responses.iter().all(|response| bytes(response) < 8000 + 1001));
        }
    });
}

/// etcd 8.8: also gardener#152; what is not taken stays in the log
#[test]
fn etcd_21203_a_consumer_that_takes_nothing_has_no_queue_that_grows() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch(ALL, 0)).unwrap();
        let (enter, entered) = channel();
        let (go, gate) = channel::<()>();
        let mut first = true;
        let (called, heard) = hear(&store, &StreamOptions::default(), move |_| {
            if std::mem::take(&mut first) {
                enter.send(()).unwrap();
                let _ = gate.recv();
            }
            Answer::Taken
        });
        called.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "x");
        entered.recv().unwrap();
        let last = puts(&store, "a", 3 * FLOOD);
        settle(&common_stream(&store));
        let stats = store.stats().unwrap();
        assert_eq!(stats.watch_unsynced_count, 2, "both are positions in the log by now");
        assert!(stats.oldest_watch_revision <= FLOOD);
        go.send(()).unwrap();
        let mut next = 2;
        while next <= last {
            for revision in revisions(&[heard.recv().unwrap().0], 1) {
                assert_eq!(revision, next);
                next += 1;
            }
        }
        assert_eq!(revisions(&settle(&stream), 1), all(2, last));
    });
}

fn common_stream(store: &Store) -> libwatch::Stream {
    stream(store)
}
