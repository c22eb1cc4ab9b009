//! Bugs that our own watch engine once had, at the ends of things (etcd 18): descriptors, timers, closing, and what
//! callbacks do from inside.
#![allow(unsafe_code)] // poll(2)

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use libwatch::{Answer, CreateRequest, ErrorCode, Response, Store, Stream, StreamOptions, limits};

use crate::common::*;
use crate::told::*;

const NOW: Option<Duration> = Some(Duration::ZERO);
const KEY: (&[u8], &[u8]) = (b"a", b"");

/// A store that is made and closed quickly.
fn small() -> Store {
    memory_with(|options| options.segment_bytes = limits::SEGMENT_BYTES_MIN)
}

fn readable(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives on this stack.
    unsafe { libc::poll(&mut poll, 1, 0) == 1 }
}

/// S 19.2: the thread of the descriptor makes the response that a caller of `next` waits for
#[test]
fn a_caller_inside_next_is_woken_although_the_descriptor_was_first() {
    watched(|| {
        let store = memory();
        let streams: Vec<Stream> = (0..3).map(|_| stream(&store)).collect();
        streams.iter().for_each(|stream| _ = stream.create(&watch(ALL, 0)).unwrap());
        streams.iter().for_each(|stream| _ = stream.fd().unwrap());
        let (told, tells) = channel();
        let threads: Vec<_> = streams
            .iter()
            .map(|stream| {
                let (stream, told) = (stream.clone(), told.clone());
                std::thread::spawn(move || {
                    while let Ok(Some(response)) = stream.next(None) {
                        told.send(response.event(0).kv.mod_revision).unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..2000 {
            // The next change comes only when all have this one.
            let revision = put(&store, "a", "x");
            for _ in 0..3 {
                assert_eq!(tells.recv().unwrap(), revision);
            }
        }
        store.close().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// etcd 9.5: readable at its end, also against a consumer that clears it just then
#[test]
fn the_descriptor_of_a_stream_that_ended_stays_readable() {
    watched(|| {
        let store = memory();
        for round in 0..400 {
            let stream = stream(&store);
            stream.create(&watch(ALL, 0)).unwrap();
            let fd = stream.fd().unwrap();
            let consuming = {
                let stream = stream.clone();
                std::thread::spawn(move || while stream.next_batch(8, NOW).is_ok() {})
            };
            put(&store, "a", "x");
            if round % 2 == 0 {
                stream.close()
            } else {
                stream.shutdown()
            }
            consuming.join().unwrap();
            for _ in 0..3 {
                assert!(readable(fd), "not readable after the end");
                assert_eq!(refused(stream.next(NOW)), ErrorCode::Closed);
            }
        }
    });
}

/// etcd 12.2: whoever sleeps knows the time when the thread that knew it went into a callback
#[test]
fn a_stream_is_notified_while_the_callback_of_another_one_blocks() {
    watched(|| {
        let store = memory_with(|options| {
            options.dispatch_threads = 2;
            options.progress_interval_ms = limits::PROGRESS_INTERVAL_MS_MIN;
        });
        let (quiet, heard) = hear(&store, &StreamOptions::default(), |_| Answer::Taken);
        quiet.create(&CreateRequest { progress_notify: true, ..watch((b"quiet", b""), 0) }).unwrap();
        for _ in 0..5 {
            assert!(heard.recv().unwrap().0.is_progress());
            let (busy, _responses, gate) = blocked(&store, &StreamOptions::default());
            busy.create(&watch(ALL, 0)).unwrap();
            put(&store, "a", "x");
            gate.entered();
            for _ in 0..2 {
                assert!(heard.recv().unwrap().0.is_progress());
            }
            gate.open();
            busy.close();
        }
    });
}

/// etcd 9.5: a stream that is opened while the store closes ends with it
#[test]
fn a_stream_that_is_opened_while_the_store_closes_is_no_orphan() {
    watched(|| {
        for round in 0..400 {
            let store = small();
            let start = Arc::new(Barrier::new(2));
            let dropped = Arc::new(());
            let opening = {
                let (store, start, alive) = (store.clone(), start.clone(), dropped.clone());
                std::thread::spawn(move || {
                    start.wait();
                    loop {
                        let stream = if round % 2 == 0 {
                            store.stream(&StreamOptions::default())
                        } else {
                            let alive = alive.clone();
                            let callback = Box::new(move |_: &Response| {
                                let _ = &alive;
                                Answer::Taken
                            });
                            store.stream_with_callback(&StreamOptions::default(), callback)
                        };
                        let Ok(stream) = stream else { return };
                        let created = stream.create(&watch(ALL, 0));
                        if round % 2 == 0 && created.is_ok() && store.is_closed() {
                            // Nothing but the end of the store can wake this one.
                            assert_eq!(refused(stream.next(None)), ErrorCode::Closed);
                        }
                    }
                })
            };
            start.wait();
            (0..round % 40).for_each(|_| std::hint::spin_loop());
            store.close().unwrap();
            opening.join().unwrap();
            until(|| Arc::strong_count(&dropped) == 1);
        }
    });
}

/// S 19.3
#[test]
fn two_callbacks_may_close_the_store_at_the_same_time() {
    watched(|| {
        for _ in 0..60 {
            let store = small();
            let both = Arc::new(Barrier::new(2));
            let ends = Arc::new(AtomicUsize::new(0));
            let streams = [0, 1].map(|_| {
                let (inside, both, ends) = (store.clone(), both.clone(), ends.clone());
                let mut first = true;
                let (stream, heard) = hear(&store, &StreamOptions::default(), move |response| {
                    if !response.is_empty() && std::mem::take(&mut first) {
                        both.wait();
                        inside.close().unwrap();
                    }
                    ends.fetch_add(usize::from(response.is_canceled()), Ordering::SeqCst);
                    Answer::Taken
                });
                stream.create(&watch(ALL, 0)).unwrap();
                (stream, heard)
            });
            put(&store, "a", "x");
            for (_stream, heard) in streams {
                // Ends when the callback is dropped.
                let last = heard.iter().last().unwrap().0;
                assert_eq!(last.cancel_code(), Some(ErrorCode::Closed));
            }
            assert_eq!(ends.load(Ordering::SeqCst), 2);
            assert!(store.is_closed());
        }
    });
}

/// etcd 9.2: the answer to a created response is heard
#[test]
fn a_callback_may_cancel_a_watch_when_it_hears_that_it_was_created() {
    watched(|| {
        let store = memory();
        puts(&store, "a", 10);
        store.compact(5, true).unwrap();
        let (stream, heard) = hear(&store, &StreamOptions::default(), |response| {
            if response.is_created() { Answer::Cancel(ErrorCode::NoMemory) } else { Answer::Taken }
        });
        for (start, code, resume) in
            [(0, ErrorCode::NoMemory, 12), (7, ErrorCode::NoMemory, 7), (3, ErrorCode::Compacted, 3)]
        {
            let request = CreateRequest { created_notify: true, ..watch(ALL, start) };
            let id = stream.create(&request).unwrap();
            assert!(heard.recv().unwrap().0.is_created());
            let (last, _) = heard.recv().unwrap();
            assert!(last.is_canceled() && last.watch_id() == id);
            assert_eq!((last.cancel_code(), last.resume_revision()), (Some(code), resume));
            assert_eq!(refused(stream.cancel(id)), ErrorCode::WatchNotFound);
        }
        // One end each: the next thing said is the answer to this.
        stream.request_progress().unwrap();
        assert!(heard.recv().unwrap().0.is_progress());
        assert_eq!(store.stats().unwrap().watch_count, 0);
    });
}

/// S 19.4: a fast writer cannot keep a caller that has a timeout
#[test]
fn a_caller_comes_back_although_the_writer_is_faster_than_matching() {
    watched(|| {
        let store = memory();
        let crowd = stream(&store);
        (0..5000).for_each(|_| _ = crowd.create(&watch(ALL, 0)).unwrap());
        let stream = stream(&store);
        let back = Arc::new(AtomicBool::new(false));
        let start = Arc::new(Barrier::new(2));
        let writing = {
            let (store, back, start) = (store.clone(), back.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                // An end, for the memory of a machine on which the caller does not come back.
                for _ in 0..2_000_000 {
                    if back.load(Ordering::SeqCst) {
                        return;
                    }
                    put(&store, "a", "x");
                }
            })
        };
        start.wait();
        assert!(stream.next(NOW).unwrap().is_none());
        back.store(true, Ordering::SeqCst);
        writing.join().unwrap();
    });
}

/// etcd 9.3, 17 Resumable: what was refused was not delivered, whoever canceled meanwhile
#[test]
fn a_watch_canceled_inside_its_callback_resumes_with_what_was_refused_there() {
    watched(|| {
        let answers = [Answer::Again, Answer::Taken, Answer::Cancel(ErrorCode::NoMemory)];
        // A scan reads response by response, a key's chain is read at once.
        for (answer, range) in answers.into_iter().flat_map(|answer| [(answer, ALL), (answer, KEY)]) {
            let store = memory();
            puts(&store, "a", 5);
            let (give, given) = channel::<Stream>();
            let mut own: Option<Stream> = None;
            let options = StreamOptions { batch_revisions: 2, batch_bytes: 0 };
            let (stream, heard) = hear(&store, &options, move |response| {
                if response.is_empty() || own.is_some() {
                    return Answer::Taken;
                }
                let stream = own.insert(given.recv().unwrap());
                stream.cancel(response.watch_id()).unwrap();
                answer
            });
            stream.create(&watch(range, 3)).unwrap();
            give.send(stream.clone()).unwrap();
            let mut taken = Vec::new();
            let last = loop {
                let (response, answer) = heard.recv().unwrap();
                if response.is_canceled() {
                    break response;
                }
                if answer == Answer::Taken || matches!(answer, Answer::Cancel(_)) {
                    taken.extend(revisions(&[response], 1));
                }
            };
            let next = taken.last().map_or(3, |last| last + 1);
            assert_eq!(taken, all(3, next - 1), "{answer:?}");
            assert_eq!(last.resume_revision(), next, "{answer:?}");
            store.close().unwrap();
        }
    });
}
