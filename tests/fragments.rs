//! Fragments: a large response in parts, for the watches that asked for it.

mod common;

use std::sync::mpsc::channel;

use common::*;
use libwatch::{Answer, CreateRequest, Op, PutRequest, Response, Store, StreamOptions, TxnRequest};

/// Fragments begin at 1000 bytes of keys and values.
fn store() -> Store {
    memory_with(|options| options.fragment_bytes = 1000)
}

/// One transaction with keys a, b, c... and values of these sizes.
fn put_sizes(store: &Store, sizes: &[usize]) -> i64 {
    let zeros = vec![b'0'; 10_000];
    let keys: Vec<[u8; 1]> = (0..sizes.len() as u8).map(|i| [b'a' + i]).collect();
    let success = keys
        .iter()
        .zip(sizes)
        .map(|(key, size)| Op::Put(PutRequest { key, value: &zeros[..*size], ..Default::default() }));
    store.txn(&TxnRequest { success: success.collect(), ..Default::default() }).unwrap().revision()
}

fn shape(responses: &[Response]) -> Vec<(usize, bool)> {
    responses.iter().map(|response| (response.len(), response.is_fragment())).collect()
}

/// What a watch with `fragment` gets for one transaction: sizes and flags, live and from history alike.
fn fragments_of(sizes: &[usize]) -> Vec<(usize, bool)> {
    let store = store();
    let live = stream(&store);
    live.create(&CreateRequest { fragment: true, ..watch(ALL, 0) }).unwrap();
    put_sizes(&store, sizes);
    let past = stream(&store);
    past.create(&CreateRequest { fragment: true, ..watch(ALL, 1) }).unwrap();
    let shapes = [shape(&settle(&live)), shape(&settle(&past))];
    assert_eq!(shapes[0], shapes[1]);
    shapes[0].clone()
}

#[test]
fn a_response_is_cut_when_it_reaches_the_threshold_and_has_two_events() {
    // etcd 13.1, 13.2; each key is one byte
    watched(|| {
        assert_eq!(fragments_of(&[100, 100]), [(2, false)]);
        assert_eq!(fragments_of(&[498, 499]), [(2, false)], "999 bytes are below the threshold");
        assert_eq!(fragments_of(&[499, 499]), [(1, true), (1, false)], "1000 bytes are not");
        assert_eq!(fragments_of(&[5000]), [(1, false)], "a single event is never cut");
        assert_eq!(fragments_of(&[300, 300, 300, 300]), [(3, true), (1, false)]);
        assert_eq!(fragments_of(&[5000, 1, 1, 5000, 1]), [(1, true), (2, true), (1, true), (1, false)]);
    });
}

/// etcd 13.5
#[test]
fn only_the_watch_that_asked_gets_fragments() {
    // etcd 13.1
    watched(|| {
        let store = store();
        let stream = stream(&store);
        let asking = stream.create(&CreateRequest { fragment: true, ..watch(ALL, 0) }).unwrap();
        let silent = stream.create(&watch(ALL, 0)).unwrap();
        put_sizes(&store, &[600, 600, 600]);
        let responses = settle(&stream);
        let of = |id| {
            let own: Vec<Response> = responses.iter().filter(|r| r.watch_id() == id).cloned().collect();
            shape(&own)
        };
        assert_eq!(of(asking), [(1, true), (1, true), (1, false)]);
        assert_eq!(of(silent), [(3, false)]);
    });
}

#[test]
fn fragments_are_neighbours_and_only_the_last_one_can_be_resumed_from() {
    // etcd 13.2, 13.4
    watched(|| {
        let store = store();
        let stream = stream(&store);
        let request = CreateRequest { fragment: true, watch_data: 3, prev_kv: true, ..watch(ALL, 0) };
        let ids = [stream.create(&request).unwrap(), stream.create(&request).unwrap()];
        put_sizes(&store, &[400, 400]);
        put_sizes(&store, &[600, 600, 600]);
        put_sizes(&store, &[10, 10]);
        let responses = settle(&stream);
        let mut open: Option<i64> = None;
        for response in &responses {
            assert!(open.is_none_or(|id| id == response.watch_id()), "another watch between fragments");
            open = response.is_fragment().then_some(response.watch_id());
            assert_eq!(response.resume_revision() == 0, response.is_fragment());
            assert_eq!((response.watch_data(), response.revision()), (3, 4));
        }
        assert_eq!(open, None, "the last fragment is missing");
        let reference = common::stream(&store);
        reference.create(&CreateRequest { prev_kv: true, ..watch(ALL, 1) }).unwrap();
        let whole: Vec<String> = settle(&reference).iter().flat_map(lines).collect();
        for id in ids {
            assert_eq!(lines_of(&responses, id), whole, "joined fragments are the whole");
            let last = responses.iter().rfind(|response| response.watch_id() == id).unwrap();
            assert_eq!(last.resume_revision(), 5);
        }
    });
}

#[test]
fn previous_values_count_towards_the_threshold() {
    watched(|| {
        let store = store();
        put_sizes(&store, &[900, 900]);
        let stream = stream(&store);
        let with = stream.create(&CreateRequest { fragment: true, prev_kv: true, ..watch(ALL, 0) }).unwrap();
        let without = stream.create(&CreateRequest { fragment: true, ..watch(ALL, 0) }).unwrap();
        put_sizes(&store, &[10, 10]);
        let responses = settle(&stream);
        let count = |id| responses.iter().filter(|response| response.watch_id() == id).count();
        assert_eq!((count(with), count(without)), (2, 1));
    });
}

#[test]
fn a_refused_fragment_is_offered_again_and_those_before_it_are_not() {
    watched(|| {
        let store = store();
        let (sender, received) = channel();
        let mut calls = 0;
        let callback = Box::new(move |response: &Response| {
            let keys: String = response.events().map(|event| text(event.kv.key)).collect();
            calls += 1;
            let answer = if [2, 3, 5].contains(&calls) { Answer::Again } else { Answer::Taken };
            sender.send((keys, response.is_fragment(), response.resume_revision(), answer)).unwrap();
            answer
        });
        let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
        stream.create(&CreateRequest { fragment: true, ..watch(ALL, 0) }).unwrap();
        put_sizes(&store, &[700, 700, 700]);
        let told: Vec<_> = (0..6).map(|_| received.recv().unwrap()).collect();
        let (taken, again) = (Answer::Taken, Answer::Again);
        let expected = [
            ("a", true, 0, taken),
            ("b", true, 0, again),
            ("b", true, 0, again),
            ("b", true, 0, taken),
            ("c", false, 3, again),
            ("c", false, 3, taken),
        ];
        assert_eq!(
            told,
            expected.map(|(keys, fragment, resume, answer)| (keys.to_string(), fragment, resume, answer))
        );
        put_sizes(&store, &[1]);
        assert_eq!(received.recv().unwrap().0, "a", "the watch goes on");
    });
}

#[test]
fn a_watch_canceled_between_fragments_resumes_before_them() {
    watched(|| {
        let store = store();
        let (sender, received) = channel();
        let callback = Box::new(move |response: &Response| {
            sender.send(response.clone()).unwrap();
            let cancel = response.is_fragment();
            if cancel { Answer::Cancel(libwatch::ErrorCode::NoMemory) } else { Answer::Taken }
        });
        let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
        stream.create(&CreateRequest { fragment: true, ..watch(ALL, 0) }).unwrap();
        put_sizes(&store, &[700, 700, 700]);
        let (first, last) = (received.recv().unwrap(), received.recv().unwrap());
        assert!(first.is_fragment() && last.is_canceled(), "no fragment follows the cancel");
        assert_eq!(last.resume_revision(), 2, "the revision was not delivered whole");
    });
}
