//! What went wrong around compaction, cancel and close in etcd: ends that come twice or never, hit the
//! wrong watch, or leave something behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use libwatch::{Answer, CreateRequest, ErrorCode, Response, Store, Stream, StreamOptions};

use crate::common::*;
use crate::told::*;

/// etcd 10.6, 10.9: exactly one final response each
#[test]
fn etcd_22294_hundreds_of_watches_behind_a_compaction_end_once_each() {
    watched(|| {
        // More than share a pass, there and here.
        for count in [511, 512, 513, 2100] {
            let store = memory();
            puts(&store, "a", 50);
            let stream = stream(&store);
            let ids: Vec<i64> = (0..count).map(|_| stream.create(&watch((b"a", b""), 2)).unwrap()).collect();
            let alive = stream.create(&watch((b"a", b""), 40)).unwrap();
            store.compact(40, true).unwrap();
            let mut responses = settle(&stream);
            puts(&store, "a", 2);
            responses.extend(settle(&stream));
            for id in &ids {
                assert_eq!(endings(&responses, *id), [40], "watch {id} of {count}");
                assert!(revisions(&responses, *id).is_empty());
            }
            assert_eq!(revisions(&responses, alive), all(40, 53));
            let stats = store.stats().unwrap();
            assert_eq!((stats.watch_count, stats.watch_synced_count), (1, 1));
        }
    });
}

/// etcd 3.5, 10.6, 15.6
#[test]
fn etcd_8231_the_end_by_a_compaction_is_marked_as_an_end() {
    watched(|| {
        let store = memory();
        puts(&store, "a", 10);
        let stream = stream(&store);
        let behind = stream.create(&watch(ALL, 2)).unwrap();
        store.compact(8, false).unwrap();
        let below = stream.create(&watch(ALL, 7)).unwrap();
        let responses = settle(&stream);
        for id in [behind, below] {
            assert_eq!(endings(&responses, id), [8]);
            let last = responses.iter().find(|response| response.watch_id() == id).unwrap();
            assert!(last.is_canceled() && !last.cancel_reason().is_empty());
            assert_eq!(last.revision(), 11);
            assert_eq!(refused(stream.cancel(id)), ErrorCode::WatchNotFound);
        }
    });
}

/// etcd 3.8, 3.10: an error concerns the call that made it; also #11708
#[test]
fn etcd_14296_a_failed_create_leaves_the_live_watches_alone() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let first = stream.create(&watch(ALL, 0)).unwrap();
        let chosen = stream.create(&CreateRequest { watch_id: 7, ..watch(ALL, 0) }).unwrap();
        let failing = [
            (watch((b"b", b"a"), 0), ErrorCode::EmptyRange),
            (watch(ALL, -5), ErrorCode::InvalidArgument),
            (CreateRequest { watch_id: first, ..watch(ALL, 0) }, ErrorCode::DuplicateWatchId),
            (CreateRequest { watch_id: chosen, ..watch(ALL, 0) }, ErrorCode::DuplicateWatchId),
            (CreateRequest { watch_id: -1, ..watch(ALL, 0) }, ErrorCode::InvalidArgument),
        ];
        for (request, code) in &failing {
            let request = CreateRequest { created_notify: true, ..request.clone() };
            assert_eq!(refused(stream.create(&request)), *code);
            let revision = put(&store, "a", "x");
            let responses = settle(&stream);
            assert_eq!(responses.len(), 2, "a failed create said something");
            for id in [first, chosen] {
                assert_eq!(revisions(&responses, id), [revision]);
            }
        }
        let next = stream.create(&watch(ALL, 0)).unwrap();
        assert_eq!(next, first + 1, "a failed create used up an id");
    });
}

/// A store that is written while streams on it come and go.
fn under_fire(rounds: usize, run: impl Fn(&Store, usize)) {
    let store = memory();
    let done = Arc::new(AtomicUsize::new(0));
    let writing = {
        let (store, done) = (store.clone(), done.clone());
        std::thread::spawn(move || {
            while done.load(Ordering::SeqCst) == 0 {
                put(&store, "a", "x");
                std::thread::yield_now();
            }
        })
    };
    (0..rounds).for_each(|round| run(&store, round));
    done.store(1, Ordering::SeqCst);
    writing.join().unwrap();
    until(|| store.stats().unwrap().stream_count == 0);
    let stats = store.stats().unwrap();
    let left =
        [stats.watch_count, stats.watch_synced_count, stats.watch_unsynced_count, stats.watch_victim_count];
    assert_eq!(left, [0; 4], "counters are off");
}

/// Cancels that may lose against the end of the stream or of the watch.
fn cancel_all(stream: &Stream, ids: &[i64]) -> usize {
    let mut canceled = 0;
    for id in ids {
        match stream.cancel(*id) {
            Ok(()) => canceled += 1,
            Err(error) => {
                assert!([ErrorCode::Closed, ErrorCode::WatchNotFound].contains(&error.code()), "{error}")
            }
        }
    }
    canceled
}

/// etcd 9.1, 9.5: nothing is delivered after the close returned
#[test]
fn etcd_8443_closing_a_stream_while_its_watches_are_canceled() {
    watched(|| {
        under_fire(150, |store, round| {
            let (closed, late) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let (seen, counts) = (closed.clone(), late.clone());
            let callback = Box::new(move |_: &Response| {
                counts.fetch_add(seen.load(Ordering::SeqCst), Ordering::SeqCst);
                Answer::Taken
            });
            let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
            let start = if round % 2 == 0 { 0 } else { 2 };
            let ids: Vec<i64> = (0..5).map(|_| stream.create(&watch(ALL, start)).unwrap()).collect();
            let canceling = {
                let stream = stream.clone();
                std::thread::spawn(move || cancel_all(&stream, &ids))
            };
            if round % 3 == 0 {
                std::thread::yield_now();
            }
            stream.close();
            closed.store(1, Ordering::SeqCst);
            canceling.join().unwrap();
            assert_eq!(late.load(Ordering::SeqCst), 0, "called after the close");
            assert_eq!(Arc::strong_count(&late), 1, "the callback is still there");
        });
    });
}

/// etcd 9.6: cancels, compactions and the close count a watch down once
#[test]
fn etcd_19577_a_cancel_that_races_the_close_of_a_compacted_watch_counts_once() {
    watched(|| {
        under_fire(150, |store, round| {
            let stream = stream(store);
            until(|| store.revision() > store.compact_revision().max(2) + 3);
            let current = store.revision();
            let start = |i: i64| if i % 2 == 0 { 0 } else { current };
            let ids: Vec<i64> = (0..6).map(|i| stream.create(&watch(ALL, start(i))).unwrap()).collect();
            let threads = [0, 1].map(|_| {
                let (stream, ids) = (stream.clone(), ids.clone());
                std::thread::spawn(move || cancel_all(&stream, &ids))
            });
            let compacting = {
                let store = store.clone();
                std::thread::spawn(move || store.compact(store.revision(), false))
            };
            if round % 2 == 0 {
                let _ = stream.next(Some(std::time::Duration::ZERO));
            }
            stream.close();
            let canceled: usize = threads.map(|thread| thread.join().unwrap()).iter().sum();
            assert!(canceled <= ids.len(), "a watch was canceled twice");
            let _ = compacting.join().unwrap();
        });
    });
}

/// etcd 9.1: a cancel needs no event to take effect; also #6134
#[test]
fn etcd_9416_a_canceled_watch_is_gone_without_an_event() {
    watched(|| {
        let store = memory();
        puts(&store, "a", 10);
        let stream = stream(&store);
        let ids = [0, 2, 5000].map(|start| stream.create(&watch((b"quiet", b""), start)).unwrap());
        assert_eq!(store.stats().unwrap().watch_count, 3);
        for (i, id) in ids.into_iter().enumerate() {
            stream.cancel(id).unwrap();
            // Nobody has taken a response, nobody has written.
            assert_eq!(store.stats().unwrap().watch_count, 2 - i as u64);
        }
        assert_eq!(store.stats().unwrap().oldest_watch_revision, 0);
        let before = store.stats().unwrap().record_read_total;
        puts(&store, "quiet", 10);
        assert_eq!(settle(&stream).len(), 3, "the final responses and nothing else");
        assert_eq!(store.stats().unwrap().record_read_total, before, "records are matched for nobody");
    });
}

/// etcd 9.5: whoever waits is woken, and nothing is left running
#[test]
fn etcd_18739_ending_a_stream_ends_everyone_who_waits_for_it() {
    watched(|| {
        let store = memory();
        for round in 0..60 {
            let stream = stream(&store);
            stream.create(&watch(ALL, 0)).unwrap();
            let waiting = {
                let stream = stream.clone();
                std::thread::spawn(move || stream.next(None).map(|_| ()))
            };
            let canceling = {
                let stream = stream.clone();
                std::thread::spawn(move || cancel_all(&stream, &[1]))
            };
            if round % 2 == 0 {
                stream.close()
            } else {
                stream.shutdown()
            }
            // Ended by the close, or by the canceled response that came before it.
            if let Err(error) = waiting.join().unwrap() {
                assert_eq!(error.code(), ErrorCode::Closed);
            }
            canceling.join().unwrap();
            assert_eq!(refused(stream.next(None)), ErrorCode::Closed);
        }
        until(|| store.stats().unwrap().stream_count == 0);
        store.close().unwrap();
    });
}

/// What the callbacks of a storm share.
struct Storm {
    store: Store,
    streams: Mutex<Vec<Stream>>,
    created: AtomicUsize,
    ended: Sender<usize>,
}

impl Storm {
    fn stream(&self, number: usize) -> Stream {
        self.streams.lock().unwrap()[number].clone()
    }

    fn create(&self, number: usize) {
        let watch_data = self.created.fetch_add(1, Ordering::SeqCst);
        let request = CreateRequest { created_notify: true, watch_data, ..watch(ALL, 0) };
        self.stream(number).create(&request).unwrap();
    }

    /// Each watch brings an event about, each event cancels on both streams, each end brings a new watch.
    fn answer(&self, own: usize, response: &Response, most: usize) {
        if response.is_created() {
            put(&self.store, "from inside", "x");
            let _ = self.stream(own).request_progress();
        } else if response.is_canceled() {
            if self.created.load(Ordering::SeqCst) < most {
                self.create(1 - own);
            }
            let _ = self.ended.send(response.watch_data());
        } else if !response.is_empty() {
            let _ = self.stream(own).cancel(response.watch_id());
            let _ = self.stream(1 - own).cancel(response.watch_id());
        }
    }
}

/// S 19.3: no circle between those who deliver and those who cancel; also #20716 and #21065
#[test]
fn etcd_18879_a_storm_of_cancels_and_creates_from_callbacks_comes_to_its_end() {
    watched(|| {
        for dispatch_threads in [1, 2, 3] {
            let store = memory_with(|options| options.dispatch_threads = dispatch_threads);
            let (ended, ends) = channel();
            let (streams, created) = (Mutex::default(), AtomicUsize::new(0));
            let storm = Arc::new(Storm { store: store.clone(), streams, created, ended });
            for own in 0..2 {
                let storm = storm.clone();
                let callback = {
                    let storm = storm.clone();
                    Box::new(move |response: &Response| {
                        storm.answer(own, response, 1500);
                        Answer::Taken
                    })
                };
                let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
                storm.streams.lock().unwrap().push(stream);
            }
            (0..40).for_each(|i| storm.create(i % 2));
            let mut counts = vec![0; 1502];
            for _ in 0..1500 {
                counts[ends.recv().unwrap()] += 1;
            }
            assert!(counts[..1500].iter().all(|count| *count == 1), "a watch ended twice");
            // And both streams still work.
            let streams = storm.streams.lock().unwrap().clone();
            for stream in &streams {
                stream.create(&CreateRequest { watch_data: 1501, ..watch((b"after", b""), 0) }).unwrap();
                put(&store, "after", "x");
                while ends.recv().unwrap() != 1501 {}
            }
            store.close().unwrap();
            // They hold the callbacks that hold them.
            storm.streams.lock().unwrap().clear();
        }
    });
}

/// etcd 8.6, 9.1, 9.6: claims of panics while watches are picked and canceled; also #21189
#[test]
fn etcd_21185_canceling_watches_while_they_catch_up_and_are_refused() {
    watched(|| {
        let store = memory();
        puts(&store, "a", 2000);
        let mut turn = 0;
        let options = StreamOptions { batch_revisions: 20, batch_bytes: 0 };
        let (stream, heard) = hear(&store, &options, move |response| {
            turn += 1;
            if turn % 3 == 0 && !response.is_empty() { Answer::Again } else { Answer::Taken }
        });
        let ids: Vec<i64> = (0..200)
            .map(|i| {
                let id = stream.create(&watch((b"a", b""), 2 + i)).unwrap();
                if i % 4 == 3 {
                    stream.cancel(id - 2).unwrap();
                }
                id
            })
            .collect();
        ids.iter().filter(|id| **id % 4 != 2).for_each(|id| stream.cancel(*id).unwrap());
        let mut ended = vec![0; 201];
        while ended.iter().sum::<i32>() < 200 {
            let (response, _) = heard.recv().unwrap();
            let id = response.watch_id() as usize;
            assert_eq!(ended[id], 0, "watch {id} after its end");
            ended[id] += i32::from(response.is_canceled());
            assert_ne!(response.cancel_code(), Some(ErrorCode::Panic));
        }
        assert_eq!(store.stats().unwrap().watch_count, 0);
    });
}

/// etcd 9.3
#[test]
fn what_waited_for_a_canceled_watch_does_not_reach_the_next_one_of_its_id() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let request = |start| CreateRequest { watch_id: 7, created_notify: true, ..watch(ALL, start) };
        // Waiting in the ring, read from the log, and too much for the ring.
        for waiting in [3, FLOOD] {
            for start in [0, 1] {
                stream.create(&request(start)).unwrap();
                puts(&store, "a", waiting);
                stream.cancel(7).unwrap();
                let now = store.revision();
                stream.create(&request(0)).unwrap();
                let live = put(&store, "a", "live");
                let responses = settle(&stream);
                let ends = responses.iter().position(Response::is_canceled).unwrap();
                assert_eq!(endings(&responses, 7).len(), 1);
                assert_eq!((now, revisions(&responses[ends..], 7)), (live - 1, vec![live]));
                stream.cancel(7).unwrap();
                assert!(take(&stream).is_canceled());
            }
        }
    });
}

/// etcd 2.2: an end of one zero byte is every key from there on, before and after any check
#[test]
fn ghsa_xg4h_6gfc_h4m8_from_a_key_on_is_never_taken_for_the_key_alone() {
    watched(|| {
        let store = memory();
        let keys = ["a", "k", "k\0", "ka", "z", "\u{7f}"];
        let live = stream(&store);
        let create = |stream: &Stream, start| {
            [(&b"k"[..], &b"\0"[..]), (b"k", b""), (b"\0", b"\0"), (b"", b"\0")]
                .map(|range| stream.create(&watch(range, start)).unwrap())
        };
        let live_ids = create(&live, 0);
        keys.iter().for_each(|key| _ = put(&store, key, "x"));
        let past = stream(&store);
        let past_ids = create(&past, 2);
        for (stream, ids) in [(live, live_ids), (past, past_ids)] {
            let responses = settle(&stream);
            let given = ids.map(|id| revisions(&responses, id));
            assert_eq!(given, [all(3, 7), vec![3], all(2, 7), all(2, 7)]);
        }
        let range = libwatch::RangeRequest { key: b"k", range_end: b"\0", ..Default::default() };
        assert_eq!(store.range(&range).unwrap().count(), 5);
    });
}
