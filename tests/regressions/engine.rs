//! Bugs that our own watch engine once had (etcd 18): each test brings about the order of steps that showed it, by
//! steps where it can, else by a race that is run often.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use libwatch::{Answer, CreateRequest, Response, Store, Stream, StreamOptions, limits};

use crate::common::*;
use crate::told::*;

/// A thread that writes until it is told to stop.
fn writing(store: &Store, keys: &'static [&'static str]) -> impl FnOnce() {
    let done = Arc::new(AtomicBool::new(false));
    let (store, stop) = (store.clone(), done.clone());
    let thread = std::thread::spawn(move || {
        while !stop.load(Ordering::SeqCst) {
            put_all(&store, keys);
        }
    });
    move || {
        done.store(true, Ordering::SeqCst);
        thread.join().unwrap();
    }
}

/// Streams with a watch of everything, and between them others that nobody reads and that make the hand-out long.
fn crowded(store: &Store) -> (Vec<Stream>, Vec<Stream>) {
    let open = || {
        let stream = stream(store);
        stream.create(&watch(ALL, 0)).unwrap();
        stream
    };
    let all: Vec<Stream> = (0..27).map(|_| open()).collect();
    (all.iter().step_by(9).cloned().collect(), all)
}

/// etcd 8.12, 17 Atomic: what the tailer is about to hand out is not taken half
#[test]
fn a_revision_is_not_taken_while_only_a_part_of_it_is_in_the_ring() {
    watched(|| {
        const KEYS: &[&str] = &["a", "b", "c", "d", "e", "f", "g", "h"];
        let store = memory();
        // Their matches alternate, so that each stream gets a revision in eight steps.
        let (streams, _crowd) = crowded(&store);
        let stop = writing(&store, KEYS);
        let threads: Vec<_> = streams
            .into_iter()
            .map(|stream| {
                std::thread::spawn(move || {
                    let mut next = 2;
                    while next < 6000 {
                        // A batch empties the ring again and again while others fill it.
                        let own = revisions(&stream.next_batch(1000, None).unwrap(), 1);
                        for whole in own.chunks(KEYS.len()) {
                            assert_eq!(whole, [next; 8], "a part of a revision");
                            next += 1;
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        stop();
        assert!(ended.iter().all(Result::is_ok));
    });
}

/// etcd 8.12, 17 Ordered: what the ring still holds comes before what is read from the log
#[test]
fn a_watch_that_overflows_while_it_is_read_keeps_its_order() {
    watched(|| {
        let store = memory();
        let (streams, _crowd) = crowded(&store);
        let stop = writing(&store, &["a"]);
        let threads: Vec<_> = streams
            .into_iter()
            .enumerate()
            .map(|(number, stream)| {
                let store = store.clone();
                std::thread::spawn(move || {
                    let (mut next, mut rounds) = (2, 0);
                    while next < 60_000 {
                        for revision in revisions(&stream.next_batch(1000, None).unwrap(), 1) {
                            assert_eq!(revision, next, "stream {number}");
                            next += 1;
                        }
                        rounds += 1;
                        if rounds % 8 == number {
                            // Fall behind, but only just.
                            until(|| store.revision() > next + limits::RING_ENTRIES_MAX as i64 - 200);
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = threads.into_iter().map(|thread| thread.join()).collect();
        stop();
        assert!(ended.iter().all(Result::is_ok));
    });
}

/// etcd 4.1, 9.3: created, events, canceled, whenever they come
#[test]
fn created_is_first_and_canceled_is_last_beside_a_busy_writer() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let stop = writing(&store, &["a"]);
        let driving = {
            let (store, stream) = (store.clone(), stream.clone());
            std::thread::spawn(move || {
                let mut random = Random::new(7);
                for round in 0..3000 {
                    let start = if round % 3 == 0 { store.revision().max(2) } else { 0 };
                    let request = CreateRequest { created_notify: true, ..watch((b"a", b""), start) };
                    let id = stream.create(&request).unwrap();
                    (0..random.below(300)).for_each(|_| std::hint::spin_loop());
                    stream.cancel(id).unwrap();
                }
            })
        };
        // What each watch has been told: nothing, created at, or the end.
        let mut next = vec![0; 3001];
        let mut ended = 0;
        let mut judge = |response: &Response| -> Result<usize, String> {
            let next = &mut next[response.watch_id() as usize];
            if response.is_created() {
                let fresh = std::mem::replace(next, response.resume_revision()) == 0;
                return if fresh { Ok(0) } else { Err("created after others".into()) };
            }
            if *next <= 0 {
                return Err(format!("{next}: before created or after canceled"));
            }
            for event in response.events() {
                if event.kv.mod_revision != *next {
                    return Err(format!("{} where {next} is next", event.kv.mod_revision));
                }
                *next += 1;
            }
            if response.resume_revision() < *next {
                return Err(format!("resume_revision {} at {next}", response.resume_revision()));
            }
            if response.is_canceled() {
                *next = -1;
            }
            Ok(usize::from(response.is_canceled()))
        };
        let mut wrong = Ok(());
        while ended < 3000 && wrong.is_ok() {
            wrong = judge(&take(&stream)).map(|ends| ended += ends);
        }
        stop();
        wrong.unwrap();
        driving.join().unwrap();
    });
}

/// etcd 4.1: also where nothing races
#[test]
fn created_comes_before_the_events_that_waited_with_it() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let id = stream.create(&CreateRequest { created_notify: true, ..watch(ALL, 0) }).unwrap();
        puts(&store, "a", 3);
        stream.cancel(id).unwrap();
        puts(&store, "a", 3);
        let responses = settle(&stream);
        assert!(responses[0].is_created() && responses[responses.len() - 1].is_canceled());
        let given = revisions(&responses, id);
        assert_eq!(responses[responses.len() - 1].resume_revision(), 2 + given.len() as i64);
    });
}

/// etcd 12.1, 13.3, 13.4: parts that were taken are delivered only when all are, in whatever revisions they lie
#[test]
fn progress_waits_for_the_other_parts_when_a_callback_refuses_one() {
    watched(|| {
        for refused in [2, 3, 4] {
            let store = memory_with(|options| options.fragment_bytes = 1000);
            let value = "x".repeat(700);
            let (go, gate) = channel::<()>();
            let mut calls = 0;
            let (stream, heard) = hear(&store, &StreamOptions::default(), move |response| {
                if response.is_progress() {
                    return Answer::Taken;
                }
                if calls == 0 {
                    gate.recv().unwrap();
                }
                calls += 1;
                // The first response is not counted.
                if (1 + refused..5 + refused).contains(&calls) { Answer::Again } else { Answer::Taken }
            });
            stream.create(&CreateRequest { fragment: true, ..watch(ALL, 0) }).unwrap();
            put(&store, "first", "x");
            put(&store, "a", &value);
            // It could be answered when the first part was taken.
            stream.request_progress().unwrap();
            let two = ["b", "c"].map(|key| {
                let (key, value) = (key.as_bytes(), value.as_bytes());
                libwatch::Op::Put(libwatch::PutRequest { key, value, ..Default::default() })
            });
            store.txn(&libwatch::TxnRequest { success: two.to_vec(), ..Default::default() }).unwrap();
            put(&store, "d", &value);
            go.send(()).unwrap();
            let mut taken = Vec::new();
            loop {
                let (response, answer) = heard.recv().unwrap();
                if response.is_progress() {
                    break;
                }
                if answer == Answer::Taken {
                    taken.push(response);
                }
            }
            assert_eq!(revisions(&taken, 1), [2, 3, 4, 4, 5], "part {refused} was refused");
            assert!(!taken[taken.len() - 1].is_fragment());
        }
    });
}

/// etcd 8.14, 17 Resumable: not behind a progress, whatever waits for other watches
#[test]
fn a_watch_that_is_canceled_after_a_progress_resumes_behind_it() {
    watched(|| {
        for periodic in [false, true] {
            let store =
                memory_with(|options| options.progress_interval_ms = limits::PROGRESS_INTERVAL_MS_MIN);
            let stream = stream(&store);
            let request = CreateRequest { progress_notify: periodic, ..watch((b"quiet", b""), 0) };
            let id = stream.create(&request).unwrap();
            stream.create(&watch((b"a", b""), 0)).unwrap();
            puts(&store, "other", 50);
            if !periodic {
                stream.request_progress().unwrap();
            }
            let progress = take(&stream);
            assert!(progress.is_progress());
            assert_eq!(progress.resume_revision(), 52);
            // Something for the other watch lies in the ring when this one is canceled.
            put(&store, "a", "x");
            settle(&common_stream(&store));
            stream.cancel(id).unwrap();
            let responses = settle(&stream);
            let canceled = responses.iter().find(|response| response.is_canceled()).unwrap();
            assert!(canceled.resume_revision() >= 52, "resumes at {}", canceled.resume_revision());
        }
    });
}

fn common_stream(store: &Store) -> Stream {
    stream(store)
}

/// etcd 8.14: what the consumer takes between two steps does not move a watch back either
#[test]
fn resume_revisions_of_a_watch_never_go_back() {
    watched(|| {
        let store = memory();
        let stream = store.stream(&StreamOptions { batch_revisions: 50, batch_bytes: 0 }).unwrap();
        let stop = writing(&store, &["a", "b"]);
        let mut resume = [0; 7];
        for id in 1..7 {
            stream.create(&watch((b"b", b"c"), 2 * (id % 2))).unwrap();
        }
        for _ in 0..3000 {
            let _ = stream.request_progress();
            let response = take(&stream);
            let all = 1..resume.len();
            let own = match usize::try_from(response.watch_id()) {
                Ok(id) => id..id + 1,
                Err(_) => all,
            };
            for id in own {
                assert!(response.resume_revision() >= resume[id], "watch {id}");
                resume[id] = response.resume_revision();
            }
        }
        stop();
    });
}

/// etcd 12.5: also on a callback stream, whose watch nothing matches
#[test]
fn a_callback_stream_that_gets_no_event_answers_requests_for_progress() {
    watched(|| {
        for dispatch_threads in [1, 2] {
            let store = memory_with(|options| options.dispatch_threads = dispatch_threads);
            let (stream, heard) = hear(&store, &StreamOptions::default(), |_| Answer::Taken);
            stream.create(&watch((b"quiet", b""), 0)).unwrap();
            for _ in 0..300 {
                let revision = put(&store, "other", "x");
                stream.request_progress().unwrap();
                let (answer, _) = heard.recv().unwrap();
                assert!(answer.is_progress() && answer.revision() >= revision);
            }
        }
    });
}
