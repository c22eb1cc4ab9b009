//! Callback streams: one call at a time, "not now" for one watch only, everything may be called from
//! inside, and the callback is dropped exactly once.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};

use common::*;
use libwatch::{Answer, CreateRequest, ErrorCode, Response, ResponseFn, Store, Stream, StreamOptions};

/// What a callback saw, in one line.
fn told(response: &Response) -> String {
    let id = response.watch_id();
    match () {
        () if response.is_created() => format!("{id} created"),
        () if response.is_canceled() => format!("{id} canceled {:?}", response.cancel_code()),
        () if response.is_progress() => format!("{id} progress"),
        () => format!("{id}: {}", lines(response).join(", ")),
    }
}

/// Sends when it is dropped, and counts how often.
struct Dropped(Sender<()>, Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
        let _ = self.0.send(());
    }
}

/// A stream whose callback sends what it is told and answers what `answer` says.
struct Heard {
    stream: Stream,
    lines: Receiver<String>,
    dropped: Receiver<()>,
    drops: Arc<AtomicUsize>,
}

fn hear(store: &Store, mut answer: impl FnMut(&Response) -> Answer + Send + 'static) -> Heard {
    let ((line, lines), (drop, dropped)) = (channel(), channel());
    let drops = Arc::new(AtomicUsize::new(0));
    let guard = Dropped(drop, drops.clone());
    let callback: ResponseFn = Box::new(move |response| {
        let _alive = &guard;
        let _ = line.send(told(response));
        answer(response)
    });
    let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
    Heard { stream, lines, dropped, drops }
}

impl Heard {
    fn next(&self) -> String {
        self.lines.recv().expect("the callback was dropped")
    }

    /// The callback is gone: what else it was told, and that it was dropped once.
    fn ended(self) -> Vec<String> {
        self.dropped.recv().unwrap();
        let rest = self.lines.iter().collect();
        drop(self.stream);
        assert_eq!(self.drops.load(Ordering::SeqCst), 1);
        rest
    }
}

#[test]
fn a_callback_gets_what_a_consumer_would_get() {
    watched(|| {
        let store = memory();
        put(&store, "a", "1");
        let heard = hear(&store, |_| Answer::Taken);
        let past = CreateRequest { created_notify: true, prev_kv: true, ..watch((b"a", b""), 1) };
        let id = heard.stream.create(&past).unwrap();
        assert_eq!([heard.next(), heard.next()], ["1 created", "1: 2 put a=1"]);
        put(&store, "a", "2");
        assert_eq!(heard.next(), "1: 3 put a=2 [1@2]");
        heard.stream.cancel(id).unwrap();
        assert_eq!(heard.next(), "1 canceled None");
        put(&store, "a", "3");
        heard.stream.request_progress().unwrap();
        assert_eq!(heard.next(), "-1 progress");
    });
}

/// S 19.3
#[test]
fn calls_of_one_stream_never_overlap_and_stay_in_order() {
    watched(|| {
        let store = memory_with(|options| options.dispatch_threads = 8);
        let inside = Arc::new(AtomicUsize::new(0));
        let streams: Vec<(Stream, Receiver<i64>)> = (0..4)
            .map(|_| {
                let (inside, (sender, receiver)) = (inside.clone(), channel());
                let mine = AtomicUsize::new(0);
                let callback: ResponseFn = Box::new(move |response| {
                    inside.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(mine.fetch_add(1, Ordering::SeqCst), 0, "two calls at once");
                    response.events().for_each(|event| sender.send(event.kv.mod_revision).unwrap());
                    mine.fetch_sub(1, Ordering::SeqCst);
                    Answer::Taken
                });
                let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
                stream.create(&watch(ALL, 0)).unwrap();
                (stream, receiver)
            })
            .collect();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let store = store.clone();
                std::thread::spawn(move || (0..1000).for_each(|_| _ = put(&store, "a", "1")))
            })
            .collect();
        for (_, revisions) in &streams {
            (2..=2001).for_each(|revision| assert_eq!(revisions.recv().unwrap(), revision));
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert!(inside.load(Ordering::SeqCst) > 0);
    });
}

/// etcd 8.6
#[test]
fn not_now_offers_the_same_events_again_and_then_goes_on() {
    // etcd 8.6
    watched(|| {
        let store = memory();
        let mut refusals = 3;
        let heard = hear(&store, move |response| {
            if !response.is_empty() && refusals > 0 {
                refusals -= 1;
                return Answer::Again;
            }
            Answer::Taken
        });
        heard.stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, 0) }).unwrap();
        put(&store, "a", "1");
        for _ in 0..4 {
            assert_eq!(heard.next(), "1: 2 put a=1");
        }
        put(&store, "a", "2");
        assert_eq!(heard.next(), "1: 3 put a=2 [1@2]");
    });
}

#[test]
fn not_now_repeats_the_same_events_although_more_were_written() {
    // etcd 8.6, 8.8
    watched(|| {
        let store = memory();
        let (enter, entered) = channel();
        let (go, gate) = channel::<Answer>();
        let heard = hear(&store, move |_| {
            enter.send(()).unwrap();
            gate.recv().unwrap()
        });
        heard.stream.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "1");
        entered.recv().unwrap();
        assert_eq!(heard.next(), "1: 2 put a=1");
        put(&store, "a", "2");
        put(&store, "a", "3");
        go.send(Answer::Again).unwrap();
        assert_eq!(heard.next(), "1: 2 put a=1", "the same events, not more");
        assert_eq!(store.stats().unwrap().event_delivered_total, 0);
        go.send(Answer::Taken).unwrap();
        go.send(Answer::Taken).unwrap();
        go.send(Answer::Taken).unwrap();
        let mut rest = heard.next();
        if !rest.contains("4 put a=3") {
            rest += &format!(" / {}", heard.next());
        }
        assert!(
            ["1: 3 put a=2, 4 put a=3", "1: 3 put a=2 / 1: 4 put a=3"].contains(&rest.as_str()),
            "{rest}"
        );
    });
}

/// etcd 3.9, 9.3
#[test]
fn a_late_refusal_does_not_touch_a_later_watch_of_the_same_id() {
    watched(|| {
        let store = memory();
        (0..20).for_each(|_| assert!(put(&store, "a", "") > 0));
        let (entered, wait_entered) = channel();
        let (go, wait_go) = channel::<()>();
        let (told, heard) = channel();
        let answer = move |response: &Response| {
            if response.is_canceled() {
                told.send((response.watch_id(), response.resume_revision())).unwrap();
                return Answer::Taken;
            }
            entered.send(()).unwrap();
            wait_go.recv().unwrap();
            Answer::Again
        };
        let stream = store.stream_with_callback(&StreamOptions::default(), Box::new(answer)).unwrap();
        let third = |start| CreateRequest { watch_id: 3, ..watch((b"a", b""), start) };
        stream.create(&third(12)).unwrap();
        wait_entered.recv().unwrap();
        stream.cancel(3).unwrap();
        stream.create(&third(0)).unwrap();
        stream.cancel(3).unwrap();
        go.send(()).unwrap();
        assert_eq!([heard.recv().unwrap(), heard.recv().unwrap()], [(3, 12), (3, 22)]);
    });
}

/// etcd 8.6
#[test]
fn not_now_holds_back_one_watch_and_no_other() {
    // libwatch's difference: etcd's stream is held back as one
    watched(|| {
        let store = memory();
        let (open, gate) = channel::<()>();
        let mut is_open = false;
        let heard = hear(&store, move |response| {
            is_open = is_open || gate.try_recv().is_ok();
            if response.watch_id() == 1 && !is_open { Answer::Again } else { Answer::Taken }
        });
        heard.stream.create(&watch((b"slow", b""), 0)).unwrap();
        heard.stream.create(&watch((b"fast", b""), 0)).unwrap();
        put(&store, "slow", "1");
        until(|| store.stats().unwrap().watch_victim_count == 1);
        let fast = |i: usize| {
            put(&store, "fast", i.to_string());
            until(|| {
                let line = heard.next();
                assert!(line.starts_with("2:") || line == "1: 2 put slow=1", "{line}");
                line.starts_with("2:")
            });
        };
        (0..50).for_each(fast);
        put(&store, "slow", "2");
        open.send(()).unwrap();
        until(|| heard.next().contains("put slow=2"));
        until(|| store.stats().unwrap().watch_victim_count == 0);
    });
}

#[test]
fn not_now_for_a_response_without_events_is_taken() {
    watched(|| {
        let store = memory();
        let heard = hear(&store, |_| Answer::Again);
        let id = heard.stream.create(&CreateRequest { created_notify: true, ..watch(ALL, 0) }).unwrap();
        heard.stream.request_progress().unwrap();
        heard.stream.cancel(id).unwrap();
        let mut lines = [heard.next(), heard.next(), heard.next()];
        lines.sort();
        assert_eq!(lines, ["-1 progress", "1 canceled None", "1 created"]);
    });
}

#[test]
fn a_watch_that_is_held_back_can_be_canceled_and_resumes_with_what_it_refused() {
    watched(|| {
        let store = memory();
        let (resume, resumes) = channel();
        let heard = hear(&store, move |response| {
            if response.is_canceled() {
                resume.send(response.resume_revision()).unwrap();
            }
            Answer::Again
        });
        let id = heard.stream.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "1");
        assert_eq!([heard.next(), heard.next()], ["1: 2 put a=1", "1: 2 put a=1"]);
        heard.stream.cancel(id).unwrap();
        until(|| heard.next() == "1 canceled None");
        assert_eq!(resumes.recv().unwrap(), 2);
    });
}

#[test]
fn a_held_back_watch_that_a_compaction_overtakes_is_canceled() {
    // etcd 10.6
    watched(|| {
        let store = memory();
        let heard = hear(&store, |_| Answer::Again);
        heard.stream.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "1");
        assert_eq!(heard.next(), "1: 2 put a=1");
        put(&store, "a", "2");
        store.compact(3, true).unwrap();
        until(|| heard.next() == "1 canceled Some(Compacted)");
    });
}

#[test]
fn a_callback_may_cancel_its_watch_with_a_code() {
    watched(|| {
        let store = memory();
        let heard = hear(&store, |response| match response.watch_id() {
            1 if !response.is_empty() => Answer::Cancel(ErrorCode::NoMemory),
            _ => Answer::Taken,
        });
        heard.stream.create(&watch((b"a", b""), 0)).unwrap();
        heard.stream.create(&watch((b"b", b""), 0)).unwrap();
        put(&store, "a", "1");
        assert_eq!([heard.next(), heard.next()], ["1: 2 put a=1", "1 canceled Some(NoMemory)"]);
        put(&store, "a", "2");
        put(&store, "b", "3");
        assert_eq!(heard.next(), "2: 4 put b=3");
        assert_eq!(refused(heard.stream.cancel(1)), ErrorCode::WatchNotFound);
    });
}

/// S 19.3
#[test]
fn a_panicking_callback_cancels_its_watch_and_the_stream_goes_on() {
    watched(|| {
        let store = memory();
        let heard = hear(&store, |response| {
            assert!(response.watch_id() != 1 || response.is_canceled(), "on purpose");
            Answer::Taken
        });
        heard.stream.create(&watch((b"a", b""), 0)).unwrap();
        heard.stream.create(&watch((b"b", b""), 0)).unwrap();
        put(&store, "a", "1");
        assert_eq!([heard.next(), heard.next()], ["1: 2 put a=1", "1 canceled Some(Panic)"]);
        put(&store, "b", "2");
        assert_eq!(heard.next(), "2: 3 put b=2");
        heard.stream.close();
        assert!(heard.ended().is_empty());
    });
}

/// A callback that can reach its own stream and the store.
fn reaching(store: &Store, act: impl Fn(&Stream, &Store, &Response) + Send + 'static) -> Heard {
    let own: Arc<OnceLock<Stream>> = Arc::default();
    let (held, held_store) = (own.clone(), store.clone());
    let heard = hear(store, move |response| {
        act(held.wait(), &held_store, response);
        Answer::Taken
    });
    assert!(own.set(heard.stream.clone()).is_ok());
    heard
}

/// S 19.3
#[test]
fn everything_may_be_called_from_inside_a_callback() {
    watched(|| {
        let store = memory();
        let heard = reaching(&store, |stream, store, response| {
            if response.watch_id() != 1 || response.is_empty() {
                return;
            }
            let revision = response.event(0).kv.mod_revision;
            put(store, "b", revision.to_string());
            assert_eq!(get(store, "a", revision).as_deref(), Some("1"));
            let id = stream.create(&watch((b"b", b""), revision)).unwrap();
            assert_eq!(id, 2);
            stream.request_progress().unwrap();
            stream.cancel(1).unwrap();
            store.stats().unwrap();
            store.compact(revision, true).unwrap();
            assert_eq!(refused(stream.next(None)), ErrorCode::InvalidState);
            let other = store.stream(&StreamOptions::default()).unwrap();
            other.create(&watch(ALL, 0)).unwrap();
            other.close();
        });
        heard.stream.create(&watch((b"a", b""), 0)).unwrap();
        put(&store, "a", "1");
        let mut lines: Vec<String> = (0..4).map(|_| heard.next()).collect();
        lines[1..].sort();
        assert_eq!(lines, ["1: 2 put a=1", "-1 progress", "1 canceled None", "2: 3 put b=2"]);
    });
}

#[test]
fn a_stream_may_be_shut_down_from_its_own_callback() {
    watched(|| {
        let store = memory();
        let heard = reaching(&store, |stream, _, _| stream.shutdown());
        heard.stream.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "1");
        assert_eq!(heard.next(), "1: 2 put a=1");
        until(|| heard.stream.create(&watch(ALL, 0)).is_err());
        assert_eq!(refused(heard.stream.create(&watch(ALL, 0))), ErrorCode::Closed);
        put(&store, "a", "2");
        heard.stream.close();
        heard.dropped.recv().unwrap();
        assert!(heard.lines.try_recv().is_err(), "nothing after the shutdown");
    });
}

#[test]
fn a_stream_may_be_closed_from_its_own_callback_which_is_dropped_when_it_returns() {
    watched(|| {
        let store = memory();
        let heard = reaching(&store, |stream, _, _| {
            stream.close();
            assert_eq!(refused(stream.create(&watch(ALL, 0))), ErrorCode::Closed);
        });
        heard.stream.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "1");
        assert_eq!(heard.next(), "1: 2 put a=1");
        assert!(heard.ended().is_empty());
    });
}

#[test]
fn the_store_may_be_closed_from_a_callback() {
    watched(|| {
        let store = memory();
        let quiet = hear(&store, |_| Answer::Taken);
        quiet.stream.create(&watch((b"other", b""), 0)).unwrap();
        let heard = reaching(&store, |_, store, response| {
            if !response.is_canceled() {
                store.close().unwrap();
                assert!(store.is_closed());
            }
        });
        heard.stream.create(&watch(ALL, 0)).unwrap();
        heard.stream.create(&watch((b"b", b""), 0)).unwrap();
        put(&store, "a", "1");
        assert_eq!(heard.next(), "1: 2 put a=1");
        let mut last = heard.ended();
        last.sort();
        assert_eq!(last, ["1 canceled Some(Closed)", "2 canceled Some(Closed)"]);
        assert_eq!(quiet.ended(), ["1 canceled Some(Closed)"]);
    });
}

/// etcd 9.8
#[test]
fn closing_the_store_tells_every_watch_and_drops_the_callback() {
    watched(|| {
        let store = memory();
        let heard = hear(&store, |_| Answer::Taken);
        (0..3).for_each(|_| _ = heard.stream.create(&watch(ALL, 0)).unwrap());
        store.close().unwrap();
        assert_eq!(heard.drops.load(Ordering::SeqCst), 1, "it is gone when close returns");
        let mut last = heard.ended();
        last.sort();
        assert_eq!(last, ["1 canceled Some(Closed)", "2 canceled Some(Closed)", "3 canceled Some(Closed)"]);
    });
}

#[test]
fn closing_waits_for_the_call_that_is_running() {
    watched(|| {
        let store = memory();
        let ((enter, entered), (go, gate)) = (channel(), channel::<()>());
        let left = Arc::new(AtomicUsize::new(0));
        let leaving = left.clone();
        let heard = hear(&store, move |_| {
            enter.send(()).unwrap();
            gate.recv().unwrap();
            leaving.fetch_add(1, Ordering::SeqCst);
            Answer::Taken
        });
        heard.stream.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "1");
        entered.recv().unwrap();
        heard.stream.shutdown();
        let closer = {
            let (stream, left) = (heard.stream.clone(), left.clone());
            std::thread::spawn(move || {
                stream.close();
                left.load(Ordering::SeqCst)
            })
        };
        go.send(()).unwrap();
        assert_eq!(closer.join().unwrap(), 1, "close returned while the callback was running");
        assert_eq!(heard.drops.load(Ordering::SeqCst), 1);
    });
}

/// S 19.3
#[test]
fn a_callback_is_dropped_once_however_its_stream_ends() {
    watched(|| {
        let ways: [fn(&Store, Stream); 5] = [
            |_, stream| stream.close(),
            |_, stream| drop(stream),
            |store, _stream| store.close().unwrap(),
            |_, stream| {
                stream.shutdown();
                stream.shutdown();
                stream.close();
                stream.close();
            },
            |store, stream| {
                stream.close();
                store.close().unwrap();
            },
        ];
        for way in ways {
            let store = memory();
            let ((sender, dropped), drops) = (channel(), Arc::new(AtomicUsize::new(0)));
            let guard = Dropped(sender, drops.clone());
            let callback: ResponseFn = Box::new(move |_| {
                let _alive = &guard;
                Answer::Taken
            });
            let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
            stream.create(&watch(ALL, 0)).unwrap();
            put(&store, "a", "1");
            way(&store, stream);
            dropped.recv().unwrap();
            drop(store);
            assert_eq!(drops.load(Ordering::SeqCst), 1);
        }
    });
}

#[test]
fn a_callback_is_dropped_when_no_stream_is_made_for_it() {
    watched(|| {
        let store = memory();
        store.close().unwrap();
        let ((sender, dropped), drops) = (channel(), Arc::new(AtomicUsize::new(0)));
        let guard = Dropped(sender, drops.clone());
        let callback: ResponseFn = Box::new(move |_| {
            let _alive = &guard;
            Answer::Taken
        });
        let refusal = store.stream_with_callback(&StreamOptions::default(), callback);
        assert_eq!(refused(refusal), ErrorCode::Closed);
        dropped.recv().unwrap();
        assert_eq!(drops.load(Ordering::SeqCst), 1);
    });
}
