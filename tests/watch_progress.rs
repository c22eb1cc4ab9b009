//! Progress: everything up to its revision has been delivered. On request it is answered once, and in time.

mod common;

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::*;
use libwatch::{Answer, CreateRequest, Response, Store, StreamOptions, WATCH_ID_NONE, limits};

/// A store whose periodic notifications come as often as they may.
fn ticking() -> Store {
    memory_with(|options| options.progress_interval_ms = 1)
}

fn is_bare_progress(response: &Response) -> bool {
    response.is_progress()
        && response.is_empty()
        && !response.is_created()
        && !response.is_canceled()
        && !response.is_fragment()
        && response.resume_revision() == response.revision() + 1
        && response.compact_revision() == 0
}

#[test]
fn a_request_is_answered_with_the_current_revision() {
    // etcd 12.1, 12.5
    watched(|| {
        let store = memory();
        put(&store, "a", "1");
        let stream = stream(&store);
        stream.create(&watch((b"b", b""), 0)).unwrap();
        stream.request_progress().unwrap();
        let response = take(&stream);
        assert!(is_bare_progress(&response));
        assert_eq!((response.watch_id(), response.revision(), response.watch_data()), (WATCH_ID_NONE, 2, 0));
        assert!(drain(&stream).is_empty(), "one request, one answer");
    });
}

/// etcd 4.5
#[test]
fn an_answer_comes_after_the_created_responses_of_the_watches_it_speaks_of() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        put(&store, "a", "1");
        let created = |start| CreateRequest { created_notify: true, ..watch(ALL, start) };
        for start in [0, 1, 100] {
            stream.create(&created(start)).unwrap();
        }
        stream.request_progress().unwrap();
        put(&store, "a", "2");
        let mut seen = 0;
        loop {
            let response = take(&stream);
            seen += usize::from(response.is_created());
            if response.watch_id() == WATCH_ID_NONE {
                break;
            }
        }
        assert_eq!(seen, 3);
    });
}

/// etcd 12.5
#[test]
fn a_request_is_answered_although_events_never_pause() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch((b"a", b""), 0)).unwrap();
        let asked = put(&store, "a", "");
        stream.request_progress().unwrap();
        let mut last = 0;
        for _ in 0..10 {
            put(&store, "a", "");
            let response = take(&stream);
            if response.is_progress() {
                assert!(response.revision() >= asked.max(last));
                return;
            }
            last = response.event(response.len() - 1).kv.mod_revision;
        }
        panic!("ten responses and no progress among them");
    });
}

/// etcd 12.5
#[test]
fn a_callback_stream_answers_although_what_came_last_concerns_none_of_its_watches() {
    watched(|| {
        let store = memory_with(|options| *options = tiny());
        put(&store, "a", "");
        for _ in 0..1_500 {
            let (told, heard) = channel();
            let answer = move |response: &Response| {
                if response.is_progress() {
                    told.send(response.revision()).unwrap();
                }
                Answer::Taken
            };
            let stream = store.stream_with_callback(&StreamOptions::default(), Box::new(answer)).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| (0..4).for_each(|_| assert!(put(&store, "b", "") > 0)));
                for _ in 0..3 {
                    stream.create(&watch((b"a", b""), 1)).unwrap();
                    stream.request_progress().unwrap();
                }
            });
            (0..3).for_each(|_| assert!(heard.recv().unwrap() > 0));
        }
    });
}

/// etcd 6.3
#[test]
fn filtered_events_do_not_put_off_a_notification() {
    watched(|| {
        let store = ticking();
        let stream = stream(&store);
        let deaf = CreateRequest { progress_notify: true, filter_noput: true, ..watch((b"a", b""), 0) };
        stream.create(&deaf).unwrap();
        let mut last = 0;
        for _ in 0..3 {
            put(&store, "a", "");
            let response = take(&stream);
            assert!(is_bare_progress(&response));
            assert!(response.revision() > last, "the same tick notified twice");
            last = response.revision();
        }
    });
}

/// etcd 12.2
#[test]
fn an_idle_watch_is_notified_although_its_stream_is_busy() {
    watched(|| {
        let store = ticking();
        let stream = stream(&store);
        stream.create(&watch((b"busy", b""), 0)).unwrap();
        let idle =
            stream.create(&CreateRequest { progress_notify: true, ..watch((b"idle", b""), 0) }).unwrap();
        until(|| {
            put(&store, "busy", "");
            let response = take(&stream);
            response.is_progress() && response.watch_id() == idle
        });
    });
}

#[test]
fn a_request_without_watches_is_answered() {
    // etcd 12.5 answers nothing here
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.request_progress().unwrap();
        let response = take(&stream);
        assert!(is_bare_progress(&response) && response.revision() == 1);
    });
}

#[test]
fn every_request_is_answered_once() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch(ALL, 0)).unwrap();
        for _ in 0..5 {
            stream.request_progress().unwrap();
        }
        put(&store, "a", "1");
        for _ in 0..3 {
            stream.request_progress().unwrap();
        }
        let responses: Vec<Response> = (0..9).map(|_| take(&stream)).collect();
        assert_eq!(responses.iter().filter(|response| response.is_progress()).count(), 8);
        assert_eq!(responses.iter().map(|response| response.len()).sum::<usize>(), 1);
        assert!(drain(&stream).is_empty());
    });
}

#[test]
fn a_watch_on_the_future_does_not_silence_progress() {
    // etcd is silent here
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch(ALL, 100)).unwrap();
        put(&store, "a", "1");
        stream.request_progress().unwrap();
        assert_eq!(take(&stream).revision(), 2);
    });
}

#[test]
fn progress_comes_behind_all_history_of_a_watch_that_is_behind() {
    // etcd 12.5 drops the request; 17 Bookmarkable
    watched(|| {
        let store = memory();
        for i in 0..5000 {
            put(&store, "a", i.to_string());
        }
        let stream = store.stream(&StreamOptions { batch_revisions: 10, batch_bytes: 0 }).unwrap();
        stream.create(&watch(ALL, 1)).unwrap();
        stream.request_progress().unwrap();
        let mut events = 0;
        loop {
            let response = take(&stream);
            if response.is_progress() {
                assert!(is_bare_progress(&response) && response.revision() == 5001);
                break;
            }
            events += response.len();
        }
        assert_eq!(events, 5000);
    });
}

#[test]
fn progress_comes_behind_live_events_that_wait() {
    // etcd 12.4, #15220
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch(ALL, 0)).unwrap();
        for _ in 0..100 {
            let revision = put(&store, "a", "1");
            stream.request_progress().unwrap();
            let event = take(&stream);
            assert_eq!((event.len(), event.event(0).kv.mod_revision), (1, revision));
            assert_eq!(take(&stream).revision(), revision);
        }
    });
}

#[test]
fn progress_is_a_bookmark_while_others_write() {
    // etcd 12.8, 17 Bookmarkable
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch((b"a", b""), 1)).unwrap();
        let writer = {
            let store = store.clone();
            std::thread::spawn(move || {
                for i in 0..10_000 {
                    put(&store, if i % 3 == 0 { "a" } else { "b" }, "x");
                }
            })
        };
        let (mut events, mut bookmarks) = (Vec::new(), 0);
        let mut bookmark = 0;
        while bookmark < 10_001 {
            stream.request_progress().unwrap();
            bookmarks += 1;
            loop {
                let response = take(&stream);
                for event in response.events() {
                    assert!(event.kv.mod_revision > bookmark, "an event below its bookmark");
                    events.push(event.kv.mod_revision);
                }
                if response.is_progress() {
                    assert!(response.revision() >= bookmark, "progress went back");
                    bookmark = response.revision();
                    let expected = (2..=bookmark).step_by(3).count();
                    assert_eq!(events.len(), expected, "not everything up to {bookmark} was delivered");
                    break;
                }
            }
        }
        assert!(bookmarks > 0);
        writer.join().unwrap();
    });
}

#[test]
fn progress_waits_for_a_watch_whose_callback_said_not_now() {
    watched(|| {
        let store = memory();
        let (told, heard) = channel();
        let mut refusals = 3;
        let callback = Box::new(move |response: &Response| {
            if !response.is_empty() && refusals > 0 {
                refusals -= 1;
                return Answer::Again;
            }
            told.send((response.is_progress(), response.revision())).unwrap();
            Answer::Taken
        });
        let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
        stream.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "1");
        stream.request_progress().unwrap();
        assert_eq!([heard.recv().unwrap(), heard.recv().unwrap()], [(false, 2), (true, 2)]);
    });
}

#[test]
fn canceling_the_watch_that_is_behind_lets_progress_through() {
    // etcd 10.10
    watched(|| {
        let store = memory();
        (0..100).for_each(|_| _ = put(&store, "a", "1"));
        let stream = stream(&store);
        let id = stream.create(&watch(ALL, 1)).unwrap();
        stream.request_progress().unwrap();
        stream.cancel(id).unwrap();
        assert!(take(&stream).is_canceled());
        assert!(is_bare_progress(&take(&stream)));
    });
}

#[test]
fn an_idle_watch_that_asked_is_notified_periodically_and_no_other() {
    // etcd 12.1, 12.2, #5878; the interval is at least 100 ms
    watched(|| {
        let store = ticking();
        put(&store, "b", "1");
        let stream = stream(&store);
        let begin = Instant::now();
        let asking = CreateRequest { progress_notify: true, watch_data: 5, ..watch((b"a", b""), 0) };
        let id = stream.create(&asking).unwrap();
        stream.create(&watch((b"a", b""), 0)).unwrap();
        for i in 1..=4 {
            let response = take(&stream);
            assert!(is_bare_progress(&response));
            assert_eq!((response.watch_id(), response.watch_data(), response.revision()), (id, 5, 2));
            let least = Duration::from_millis(u64::from(limits::PROGRESS_INTERVAL_MS_MIN));
            assert!(begin.elapsed() >= least * i, "notification {i} after {:?}", begin.elapsed());
        }
    });
}

#[test]
fn a_watch_that_got_events_is_passed_over_by_the_next_notification() {
    // etcd 12.2
    watched(|| {
        let store = ticking();
        let stream = stream(&store);
        stream.create(&CreateRequest { progress_notify: true, ..watch(ALL, 0) }).unwrap();
        let begin = Instant::now();
        put(&store, "a", "1");
        let mut seen = 0;
        loop {
            let response = take(&stream);
            seen += response.len();
            if response.is_progress() && response.revision() == 2 {
                break;
            }
        }
        assert_eq!(seen, 1, "the event came before the progress that covers it");
        assert!(begin.elapsed() >= Duration::from_millis(u64::from(limits::PROGRESS_INTERVAL_MS_MIN)));
    });
}

#[test]
fn a_watch_on_the_future_is_not_notified_before_its_start() {
    // etcd 12.3, #20229
    watched(|| {
        let store = ticking();
        let stream = stream(&store);
        let notify = |start| CreateRequest { progress_notify: true, ..watch((b"a", b""), start) };
        let future = stream.create(&notify(3)).unwrap();
        let now = stream.create(&notify(0)).unwrap();
        for _ in 0..3 {
            assert_eq!(take(&stream).watch_id(), now);
        }
        put(&store, "b", "1");
        put(&store, "b", "2");
        loop {
            let response = take(&stream);
            if response.watch_id() == future {
                assert!(is_bare_progress(&response) && response.revision() == 3);
                return;
            }
        }
    });
}

#[test]
fn notifications_pass_filters_and_move_the_resume_point() {
    // etcd 6.4
    watched(|| {
        let store = ticking();
        let stream = stream(&store);
        let request = CreateRequest {
            progress_notify: true,
            filter_noput: true,
            filter_nodelete: true,
            ..watch(ALL, 0)
        };
        stream.create(&request).unwrap();
        put(&store, "a", "1");
        until(|| {
            let response = take(&stream);
            assert!(is_bare_progress(&response));
            response.revision() == 2 && response.resume_revision() == 3
        });
    });
}

#[test]
fn callback_streams_are_notified_as_well() {
    watched(|| {
        let store = ticking();
        let (told, heard) = channel();
        let callback = Box::new(move |response: &Response| {
            let _ = told.send((is_bare_progress(response), response.watch_id()));
            Answer::Taken
        });
        let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
        let id = stream.create(&CreateRequest { progress_notify: true, ..watch(ALL, 0) }).unwrap();
        for _ in 0..3 {
            assert_eq!(heard.recv().unwrap(), (true, id));
        }
        stream.request_progress().unwrap();
        until(|| heard.recv().unwrap() == (true, WATCH_ID_NONE));
    });
}
