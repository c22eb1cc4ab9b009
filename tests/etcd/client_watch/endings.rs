//! How a watch of a client ends: canceled before, while and after something came, compacted, closed.

use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use super::A;
use crate::common::*;
use libwatch::{Answer, CreateRequest, ErrorCode, Response, Store, Stream, StreamOptions};

/// A consumer on a thread of its own that reads until its watch ends; the revisions of the events before.
fn consume(stream: &Stream) -> std::thread::JoinHandle<Vec<i64>> {
    let stream = stream.clone();
    std::thread::spawn(move || {
        let mut told = Vec::new();
        loop {
            let response = take(&stream);
            if response.is_canceled() {
                assert_eq!((response.cancel_code(), response.cancel_reason()), (None, ""));
                return told;
            }
            told.extend(response.events().map(|event| event.kv.mod_revision));
        }
    })
}

/// etcd 9.1, 9.2
#[test]
fn a_watch_that_is_canceled_at_once_is_told_nothing_but_that() {
    watched(|| {
        let store = memory();
        put(&store, "a", "a");
        for start in [0, 1] {
            let stream = stream(&store);
            let id = stream.create(&watch(A, start)).unwrap();
            stream.cancel(id).unwrap();
            let responses = settle(&stream);
            assert!(responses.len() == 1 && responses[0].is_canceled());
        }
    });
}

/// etcd 9.1, 9.2
#[test]
fn a_consumer_that_waits_for_the_first_event_ends_with_a_cancel() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let id = stream.create(&watch(A, 0)).unwrap();
        let consumer = consume(&stream);
        stream.cancel(id).unwrap();
        assert!(consumer.join().unwrap().is_empty());
    });
}

/// etcd 9.2, 9.3
#[test]
fn a_cancel_behind_a_put_lets_at_most_that_put_through() {
    watched(|| {
        let store = memory();
        for _ in 0..100 {
            let stream = stream(&store);
            let id = stream.create(&watch(A, 0)).unwrap();
            let consumer = consume(&stream);
            let revision = put(&store, "a", "a");
            stream.cancel(id).unwrap();
            let told = consumer.join().unwrap();
            assert!(told.is_empty() || told == [revision], "{told:?}");
            put(&store, "a", "b");
            assert!(settle(&stream).is_empty());
        }
    });
}

/// etcd 3.5, 9.2
#[test]
fn a_watch_from_below_a_compaction_is_told_its_revision_first_and_then_nothing() {
    watched(|| {
        let store = memory();
        (0..5).for_each(|_| _ = put(&store, "foo", "bar"));
        store.compact(4, false).unwrap();
        let stream = stream(&store);
        let id = stream.create(&watch((b"foo", b""), 2)).unwrap();
        let first = take(&stream);
        assert!(first.is_canceled() && first.is_empty());
        assert_eq!((first.cancel_code(), first.compact_revision()), (Some(ErrorCode::Compacted), 4));
        put(&store, "foo", "bar");
        assert!(settle(&stream).is_empty());
        assert_eq!(refused(stream.cancel(id)), ErrorCode::WatchNotFound);
    });
}

/// etcd 3.6, 10.6, etcd 17 Resumable: etcd stops a server under the watch; here the store is opened again, after
/// none to five of the five puts were read.
#[test]
fn a_watch_resumed_across_a_compaction_has_no_hole_or_is_told() {
    watched(|| {
        for read in 0..=5 {
            let folder = folder();
            let store = Store::open(folder.path(), &tiny()).unwrap();
            let options = StreamOptions { batch_revisions: 1, batch_bytes: 0 };
            let first = store.stream(&options).unwrap();
            first.create(&watch(A, 1)).unwrap();
            (0..5).for_each(|_| _ = put(&store, "a", "a"));
            let mut told = Vec::new();
            let mut resume = 1;
            for response in (0..read).map(|_| take(&first)) {
                told.extend(response.events().map(|event| event.kv.mod_revision));
                resume = response.resume_revision();
            }
            store.compact(3, true).unwrap();
            store.close().unwrap();
            let store = Store::open(folder.path(), &tiny()).unwrap();
            let again = stream(&store);
            again.create(&watch(A, resume)).unwrap();
            let responses = settle(&again);
            let ended = responses.last().filter(|response| response.is_canceled());
            for response in &responses {
                told.extend(response.events().map(|event| event.kv.mod_revision));
            }
            match resume < 3 {
                true => assert_eq!(ended.map(Response::compact_revision), Some(3)),
                false => assert!(ended.is_none() && told.len() == 5),
            }
            assert_eq!(told, (2..2 + told.len() as i64).collect::<Vec<_>>(), "{read} read");
        }
    });
}

/// etcd 9.1: every canceled watch leaves the counts, and its stream too once it is dropped.
#[test]
fn canceling_ten_watches_on_ten_streams_lowers_the_count_by_ten() {
    watched(|| {
        let store = memory();
        let count = || store.stats().unwrap().watch_count;
        let streams: Vec<(Stream, i64)> = (0..10)
            .map(|_| {
                let stream = stream(&store);
                let id = stream.create(&watch(A, 0)).unwrap();
                (stream, id)
            })
            .collect();
        assert_eq!(count(), 10);
        for (at, (stream, id)) in streams.iter().enumerate() {
            stream.cancel(*id).unwrap();
            assert_eq!(count(), 9 - at as u64);
        }
        drop(streams);
        assert_eq!(store.stats().unwrap().stream_count, 0);
    });
}

/// Where the responses of each watch go, by its data, and those of which nobody is left to hear.
#[derive(Default)]
struct Inbox {
    owners: HashMap<usize, Sender<Response>>,
    strays: Vec<Response>,
}

/// A stream that hands each response to whoever owns its watch.
fn shared_stream(store: &Store) -> (Stream, Arc<Mutex<Inbox>>) {
    let inbox = Arc::new(Mutex::new(Inbox::default()));
    let shared = inbox.clone();
    let callback = Box::new(move |response: &Response| {
        let mut inbox = shared.lock().unwrap();
        match inbox.owners.get(&response.watch_data()) {
            Some(owner) => owner.send(response.clone()).unwrap(),
            None => inbox.strays.push(response.clone()),
        }
        Answer::Taken
    });
    (store.stream_with_callback(&StreamOptions::default(), callback).unwrap(), inbox)
}

/// Creates a watch, is told something, cancels, is told that, and listens no more.
fn one_cycle(stream: &Stream, inbox: &Mutex<Inbox>, name: usize) {
    let (sender, told) = channel();
    inbox.lock().unwrap().owners.insert(name, sender);
    let id = stream.create(&CreateRequest { watch_data: name, ..watch((b"abc", b""), 1) }).unwrap();
    let first = told.recv().unwrap();
    assert_eq!((first.watch_id(), first.is_canceled(), first.len()), (id, false, 1));
    stream.cancel(id).unwrap();
    assert!(told.recv().unwrap().is_canceled());
    inbox.lock().unwrap().owners.remove(&name);
    assert!(told.try_recv().is_err(), "nothing follows");
}

/// etcd 3.10, 9.2: a hundred cycles over five streams, two at a time on each.
#[test]
fn watches_that_come_and_go_on_shared_streams_do_not_end_each_other() {
    watched(|| {
        let store = memory();
        put(&store, "abc", "def");
        let shared: Vec<_> = (0..5).map(|_| shared_stream(&store)).collect();
        std::thread::scope(|scope| {
            for worker in 0..10 {
                let (stream, inbox) = &shared[worker % 5];
                scope.spawn(move || (0..10).for_each(|i| one_cycle(stream, inbox, worker * 10 + i)));
            }
        });
        assert_eq!(store.stats().unwrap().watch_count, 0);
        put(&store, "abc", "ghi");
        for (stream, inbox) in shared {
            stream.close();
            assert!(inbox.lock().unwrap().strays.is_empty(), "something followed the end of a watch");
        }
    });
}

/// etcd 9.2, 9.8
#[test]
fn a_cancel_and_then_a_close_end_a_watch_once_and_without_an_error() {
    watched(|| {
        for _ in 0..20 {
            let store = memory();
            let (sender, told) = channel();
            let callback = Box::new(move |response: &Response| {
                sender.send((response.is_canceled(), response.cancel_code())).unwrap();
                Answer::Taken
            });
            let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
            let id = stream.create(&watch(A, 0)).unwrap();
            stream.cancel(id).unwrap();
            store.close().unwrap();
            stream.close();
            assert_eq!(told.iter().collect::<Vec<_>>(), [(true, None)]);
        }
    });
}

/// etcd 9.5
#[test]
fn a_canceled_watch_and_its_stream_close_quietly() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let id = stream.create(&watch(A, 0)).unwrap();
        stream.cancel(id).unwrap();
        stream.close();
        stream.close();
        assert_eq!(refused(stream.next(None)), ErrorCode::Closed);
        store.close().unwrap();
        store.close().unwrap();
    });
}

/// etcd 9.5, 9.8: a watch on what was closed is an error at once.
#[test]
fn nothing_can_be_watched_after_the_close_and_closing_again_is_fine() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        store.close().unwrap();
        assert_eq!(refused(stream.create(&watch(A, 0))), ErrorCode::Closed);
        assert_eq!(refused(store.stream(&StreamOptions::default())), ErrorCode::Closed);
        store.close().unwrap();
    });
}

/// etcd 9.1, 9.8
#[test]
fn two_thousand_watches_end_cleanly_with_cancels_beside_the_close() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let ids: Vec<i64> = (0..2000).map(|i| stream.create(&watch(A, i % 3)).unwrap()).collect();
        let canceler = {
            let stream = stream.clone();
            std::thread::spawn(move || ids.into_iter().map(|id| stream.cancel(id)).find_map(Result::err))
        };
        let consumer = {
            let stream = stream.clone();
            std::thread::spawn(move || {
                loop {
                    if let Err(error) = stream.next(None) {
                        return error.code();
                    }
                }
            })
        };
        until(|| put(&store, "a", "x") >= 50);
        store.close().unwrap();
        assert_eq!(consumer.join().unwrap(), ErrorCode::Closed);
        let error = canceler.join().unwrap();
        assert!(error.is_none_or(|error| error.code() == ErrorCode::Closed));
        assert_eq!(refused(stream.next(None)), ErrorCode::Closed);
    });
}
