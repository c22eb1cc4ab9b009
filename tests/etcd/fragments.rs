//! Responses in fragments.

use crate::common::*;
use libwatch::{CreateRequest, Op, PutRequest, Response, Store, StreamOptions, TxnRequest};

const MIB: usize = 1 << 20;

/// A store whose fragments begin at `limit` bytes of keys and values.
fn limited(limit: usize) -> Store {
    memory_with(|options| options.fragment_bytes = limit as u64)
}

/// No bound of the stream's own on the bytes of a response.
const NO_BOUND: StreamOptions = StreamOptions { batch_revisions: 0, batch_bytes: u64::MAX };

/// Distinct keys of exactly `size` bytes.
fn sized_keys(size: usize, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{i:0size$}")).collect()
}

fn put_in_one(store: &Store, keys: &[String], value: &[u8]) {
    let ops = keys.iter().map(|key| Op::Put(PutRequest { key: key.as_bytes(), value, ..Default::default() }));
    store.txn(&TxnRequest { success: ops.collect(), ..Default::default() }).unwrap();
}

/// What a watch with fragments is told of `count` events of `size` bytes, in one revision or in one each,
/// read after they were written or replayed; the sizes of the parts.
fn parts_of(size: usize, count: usize, limit: usize, one_revision: bool, replayed: bool) -> Vec<usize> {
    let store = limited(limit);
    let stream = store.stream(&NO_BOUND).unwrap();
    let ask = |start| stream.create(&CreateRequest { fragment: true, ..watch(ALL, start) }).unwrap();
    if !replayed {
        ask(0);
    }
    let keys = sized_keys(size, count);
    if one_revision {
        put_in_one(&store, &keys, b"");
    } else {
        keys.iter().for_each(|key| _ = put(&store, key, ""));
    }
    if replayed {
        ask(1);
    }
    let responses = settle(&stream);
    let (last, others) = responses.split_last().expect("there is at least one part");
    assert!(!last.is_fragment() && others.iter().all(Response::is_fragment));
    let told: Vec<String> = responses
        .iter()
        .flat_map(|part| part.events().map(|event| text(event.kv.key)).collect::<Vec<_>>())
        .collect();
    assert_eq!(told, keys, "the parts joined are the whole");
    responses.iter().map(Response::len).collect()
}

/// etcd 13.1, 13.2: etcd's table of event size, number of events and threshold; sizes are keys and values
/// here, so the last row is cut after three events instead of two.
#[test]
fn the_number_of_parts_follows_from_sizes_and_threshold() {
    watched(|| {
        let table: [(usize, usize, usize, &[usize]); 6] = [
            (100, 100, i32::MAX as usize, &[100]),
            (10, 2, 50, &[2]),
            (1024, 1, 1, &[1]),
            (11, 5, 20, &[1; 5]),
            (15, 5, 10, &[1; 5]),
            (10, 4, 35, &[3, 1]),
        ];
        for (size, count, limit, expected) in table {
            for (one_revision, replayed) in [(true, false), (true, true), (false, false), (false, true)] {
                let parts = parts_of(size, count, limit, one_revision, replayed);
                assert_eq!(parts, expected, "{count} events of {size} bytes, threshold {limit}");
            }
        }
    });
}

/// etcd 13.2: all but the flag and the resume point is the same in each part as in the whole response.
#[test]
fn every_part_carries_the_members_of_the_whole_response() {
    watched(|| {
        let store = limited(20);
        let (cut, uncut) = (stream(&store), stream(&store));
        let request = CreateRequest { watch_id: 7, watch_data: 0xbeef, ..watch(ALL, 0) };
        cut.create(&CreateRequest { fragment: true, ..request.clone() }).unwrap();
        uncut.create(&request).unwrap();
        put_in_one(&store, &sized_keys(11, 5), b"");
        let whole = take(&uncut);
        let parts = settle(&cut);
        assert_eq!((whole.len(), parts.len()), (5, 5));
        let members = |response: &Response| {
            let flags = [response.is_created(), response.is_canceled(), response.is_progress()];
            let numbers = [response.watch_id(), response.revision(), response.compact_revision()];
            (
                flags,
                numbers,
                response.watch_data(),
                response.cancel_code(),
                response.cancel_reason().to_string(),
            )
        };
        for part in &parts {
            assert_eq!(members(part), members(&whole));
        }
        let resumes: Vec<i64> = parts.iter().map(Response::resume_revision).collect();
        assert_eq!(resumes, [0, 0, 0, 0, whole.resume_revision()]);
    });
}

/// Ten puts of 1 MiB below foo, and what a watch on the prefix from 1 is told.
fn ten_mebibytes(stream_options: &StreamOptions, fragment: bool) -> Vec<Response> {
    let store = limited(MIB + MIB / 2);
    let value = vec![b'a'; MIB];
    (0..10).for_each(|i| _ = put(&store, format!("foo{i}"), &value));
    let stream = store.stream(stream_options).unwrap();
    stream.create(&CreateRequest { fragment, ..watch((b"foo", b"fop"), 1) }).unwrap();
    let responses = settle(&stream);
    let told = responses
        .iter()
        .flat_map(|part| part.events().map(|event| event.kv.mod_revision).collect::<Vec<_>>());
    assert_eq!(told.collect::<Vec<_>>(), (2..=11).collect::<Vec<_>>());
    assert!(responses.iter().all(|part| part.events().all(|event| event.kv.value == value)));
    responses
}

fn shape(responses: &[Response]) -> Vec<(usize, bool)> {
    responses.iter().map(|response| (response.len(), response.is_fragment())).collect()
}

/// etcd 13.1, 8.12: nothing but the bounds of the stream cuts what a watch without fragments is told.
#[test]
fn without_fragments_ten_mebibytes_are_one_response_unless_the_stream_has_a_bound() {
    watched(|| {
        assert_eq!(shape(&ten_mebibytes(&NO_BOUND, false)), [(10, false)]);
        assert_eq!(shape(&ten_mebibytes(&StreamOptions::default(), false)), [(1, false); 10]);
    });
}

/// etcd 13.1, 13.2, 13.4: what etcd's client joins again; each part stays below the threshold of 1.5 MiB.
#[test]
fn with_fragments_ten_mebibytes_come_in_parts_below_the_threshold() {
    watched(|| {
        let mut expected = [(1, true); 10];
        expected[9].1 = false;
        assert_eq!(shape(&ten_mebibytes(&NO_BOUND, true)), expected);
        assert_eq!(shape(&ten_mebibytes(&StreamOptions::default(), true)), [(1, false); 10]);
    });
}
