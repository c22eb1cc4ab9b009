//! What went wrong with progress notifications in etcd: a progress that overtakes events, one that never
//! comes, and one that hides others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use libwatch::{
    Answer, CreateRequest, ErrorCode, Response, Store, Stream, StreamOptions, WATCH_ID_NONE, limits,
};

use crate::common::*;
use crate::told::*;

fn ticking() -> Store {
    memory_with(|options| options.progress_interval_ms = limits::PROGRESS_INTERVAL_MS_MIN)
}

/// The next response that is a progress, with what came before it.
fn until_progress(stream: &Stream) -> (Vec<Response>, Response) {
    let mut before = Vec::new();
    loop {
        let response = take(stream);
        if response.is_progress() {
            return (before, response);
        }
        before.push(response);
    }
}

/// etcd 12.1, 12.4, 17 Bookmarkable
#[test]
fn etcd_15220_a_requested_progress_does_not_overtake_events() {
    watched(|| {
        let store = memory();
        let stream = store.stream(&StreamOptions { batch_revisions: 5, batch_bytes: 0 }).unwrap();
        let ids = [(&b"a"[..], &b""[..]), (b"a", b"b"), ALL].map(|r| stream.create(&watch(r, 0)).unwrap());
        let done = Arc::new(AtomicBool::new(false));
        let asking = {
            let (stream, done) = (stream.clone(), done.clone());
            std::thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    match stream.request_progress() {
                        Ok(()) => {}
                        Err(error) => assert_eq!(error.code(), ErrorCode::Limit),
                    }
                    std::thread::yield_now();
                }
            })
        };
        let writing = {
            let store = store.clone();
            std::thread::spawn(move || puts(&store, "a", 10_000))
        };
        let (mut next, mut progress) = ([2; 3], 0);
        while progress < 10_001 {
            let response = take(&stream);
            if response.is_progress() {
                assert_eq!(response.watch_id(), WATCH_ID_NONE);
                assert!(response.revision() >= progress, "progress fell");
                progress = response.revision();
                assert!(next.iter().all(|next| *next == progress + 1), "progress {progress}, but {next:?}");
                continue;
            }
            let watch = ids.iter().position(|id| *id == response.watch_id()).unwrap();
            for event in response.events() {
                assert_eq!(event.kv.mod_revision, next[watch]);
                next[watch] += 1;
            }
        }
        done.store(true, Ordering::SeqCst);
        asking.join().unwrap();
        writing.join().unwrap();
    });
}

/// etcd 12.4: neither does a periodic one
#[test]
fn etcd_15220_a_periodic_progress_does_not_overtake_events() {
    watched(|| {
        let store = ticking();
        let stream = stream(&store);
        stream.create(&CreateRequest { progress_notify: true, ..watch(ALL, 0) }).unwrap();
        let (go, gone) = channel();
        let writing = {
            let store = store.clone();
            std::thread::spawn(move || gone.iter().for_each(|()| _ = puts(&store, "a", 200)))
        };
        let (mut next, mut told) = (2, 0);
        while told < 8 {
            let response = take(&stream);
            for event in response.events() {
                assert_eq!(event.kv.mod_revision, next);
                next += 1;
            }
            if response.is_progress() {
                assert_eq!(next, response.revision() + 1, "what comes next is not above it");
                told += 1;
                if told % 2 == 0 {
                    go.send(()).unwrap();
                }
            }
        }
        drop(go);
        writing.join().unwrap();
    });
}

/// etcd 12.5: every request has its answer, also for a quiet key
#[test]
fn etcd_17557_a_request_on_a_quiet_key_is_answered() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch((b"quiet", b""), 0)).unwrap();
        for _ in 0..50 {
            let last = puts(&store, "other", 3);
            stream.request_progress().unwrap();
            let answer = take(&stream);
            assert!(answer.is_progress() && answer.revision() >= last);
        }
        // One that waits is answered as well when nothing matches what comes.
        let waiting = {
            let stream = stream.clone();
            std::thread::spawn(move || take(&stream))
        };
        puts(&store, "other", 3);
        stream.request_progress().unwrap();
        assert!(waiting.join().unwrap().is_progress());
    });
}

/// etcd 12.2: a progress does not count as activity
#[test]
fn etcd_5878_a_progress_does_not_hold_back_the_next_one() {
    watched(|| {
        let store = ticking();
        let stream = stream(&store);
        let quiet = CreateRequest { progress_notify: true, ..watch((b"quiet", b""), 0) };
        let first = stream.create(&quiet).unwrap();
        assert_eq!(take(&stream).watch_id(), first);
        // One that was never notified before shows where the next tick is.
        let second = stream.create(&quiet).unwrap();
        for _ in 0..3 {
            let one = take(&stream);
            put(&store, "other", "x");
            let other = take(&stream);
            let mut ids = [one.watch_id(), other.watch_id()];
            ids.sort_unstable();
            assert_eq!(ids, [first, second]);
            assert_eq!(one.revision(), other.revision(), "they are not of the same tick");
        }
        // A request is answered in between and changes nothing.
        stream.request_progress().unwrap();
        let ids: Vec<i64> = (0..3).map(|_| take(&stream).watch_id()).collect();
        assert_eq!(ids[0], WATCH_ID_NONE);
        assert!(ids.contains(&first) && ids.contains(&second));
    });
}

/// etcd 12.1: a response is one thing
#[test]
fn etcd_6549_only_progress_is_progress() {
    watched(|| {
        let store = ticking();
        puts(&store, "a", 3);
        let (stream, heard) = hear(&store, &StreamOptions::default(), |response| {
            let refuse = response.events().any(|event| event.kv.key == b"refused");
            if refuse { Answer::Cancel(ErrorCode::NoMemory) } else { Answer::Taken }
        });
        let create = |range, start| {
            let request =
                CreateRequest { created_notify: true, progress_notify: true, ..watch(range, start) };
            stream.create(&request).unwrap()
        };
        store.compact(3, true).unwrap();
        create(ALL, 2);
        let canceled = create(ALL, 0);
        stream.cancel(canceled).unwrap();
        create((b"refused", b""), 0);
        put(&store, "refused", "x");
        create((b"quiet", b""), 0);
        stream.request_progress().unwrap();
        let mut seen = Vec::new();
        let mut periodic = false;
        while !periodic {
            let (response, _) = heard.recv().unwrap();
            periodic = response.is_progress() && response.watch_id() != WATCH_ID_NONE;
            seen.push(response);
        }
        store.close().unwrap();
        seen.extend(heard.iter().map(|(response, _)| response));
        let mut kinds = [0; 4];
        for response in &seen {
            let is =
                [response.is_created(), response.is_canceled(), response.is_progress(), !response.is_empty()];
            assert_eq!(is.iter().filter(|is| **is).count(), 1, "{is:?}");
            kinds[is.iter().position(|is| *is).unwrap()] += 1;
        }
        // Four created; ended by compaction, by request, by the callback, by the end of the store.
        assert_eq!(kinds[..2], [4, 4]);
        assert!(kinds[2] >= 2 && kinds[3] == 1, "{kinds:?}");
    });
}

/// etcd 12.5, 10.10: a request is answered beside watches on the future, dead ones and slow ones
#[test]
fn a_future_a_dead_and_a_slow_watch_do_not_silence_progress() {
    watched(|| {
        let store = memory();
        puts(&store, "a", 20);
        store.compact(10, true).unwrap();
        let stream = stream(&store);
        stream.create(&watch(ALL, 1000)).unwrap();
        let dead = stream.create(&watch(ALL, 5)).unwrap();
        let slow = stream.create(&watch(ALL, 10)).unwrap();
        puts(&store, "a", FLOOD);
        stream.request_progress().unwrap();
        let (before, answer) = until_progress(&stream);
        assert_eq!(endings(&before, dead), [10]);
        assert_eq!(revisions(&before, slow), all(10, answer.revision()));
        assert_eq!(answer.revision(), store.revision());
    });
}

/// etcd 12.3, 17 Bookmarkable
#[test]
fn etcd_20229_a_watch_on_the_future_hears_no_progress_below_its_start() {
    watched(|| {
        let store = ticking();
        puts(&store, "a", 5);
        let stream = stream(&store);
        let future = CreateRequest { progress_notify: true, ..watch(ALL, 12) };
        let future = stream.create(&future).unwrap();
        let now = stream.create(&CreateRequest { progress_notify: true, ..watch((b"b", b""), 0) }).unwrap();
        let mut ticks = 0;
        while ticks < 3 {
            let response = take(&stream);
            assert_eq!(
                (response.watch_id(), response.is_progress()),
                (now, true),
                "at {}",
                response.revision()
            );
            ticks += 1;
        }
        // One revision before its start is still too early.
        assert_eq!(puts(&store, "a", 5), 11);
        assert_eq!(take(&stream).watch_id(), now);
        assert_eq!(puts(&store, "a", 1), 12);
        let mut progress = None;
        while progress.is_none() {
            let response = take(&stream);
            if response.watch_id() == future {
                progress = response.is_progress().then(|| response.revision());
                assert!(progress.is_some() || revisions(&[response], future) == [12]);
            }
        }
        assert_eq!(progress, Some(12));
    });
}
