//! A compaction that comes while many watches of one key read the past along its chain: each watch is given
//! everything or is told from where on it has nothing.

mod common;

use common::{delete, memory_with, put, stream, take, tiny, until, watched};
use libwatch::{CreateRequest, Store, Stream, WATCH_ID_NONE};

const REVISIONS: i64 = 3000;
/// Every so many revisions the key is deleted, and only that is watched: much to walk, little to deliver.
const DELETES: i64 = 50;
const WATCHES: usize = 800;

fn written() -> Store {
    let store = memory_with(|options| *options = tiny());
    for revision in 2..=REVISIONS {
        match revision % DELETES {
            0 => delete(&store, "k"),
            _ => put(&store, "k", [b'v'; 200]),
        };
    }
    store
}

fn behind(store: &Store) -> Stream {
    let stream = stream(store);
    for watch_data in 0..WATCHES {
        let (key, start_revision, filter_noput): (&[u8], _, _) = (b"k", 2, true);
        let request = CreateRequest { key, start_revision, filter_noput, watch_data, ..Default::default() };
        stream.create(&request).unwrap();
    }
    stream.request_progress().unwrap();
    stream
}

/// etcd 10.6, 17 Reliable, Resumable
#[test]
fn a_compaction_amid_a_catch_up_along_chains_loses_nothing_silently() {
    watched(|| (0..8).for_each(compact_amid));
}

fn compact_amid(round: u64) {
    let store = written();
    let stream = behind(&store);
    let compactor = {
        let store = store.clone();
        std::thread::spawn(move || {
            // Whenever it comes, nothing may be lost.
            let part = round * WATCHES as u64 / 8;
            until(|| store.stats().unwrap().record_read_total >= part * REVISIONS as u64);
            store.compact(REVISIONS / 2, true).unwrap();
        })
    };
    // The next delete of each watch.
    let mut next = [DELETES; WATCHES];
    loop {
        let response = take(&stream);
        if response.watch_id() == WATCH_ID_NONE {
            break;
        }
        let next = &mut next[response.watch_data()];
        for event in response.events() {
            assert_eq!(event.kv.mod_revision, *next, "round {round}: events are missing");
            *next += DELETES;
        }
        assert!(response.resume_revision() <= *next, "round {round}: {:?}", response.cancel_code());
        if response.is_canceled() {
            *next = i64::MAX;
        }
    }
    let last = REVISIONS / DELETES * DELETES;
    assert!(next.iter().all(|next| *next > last), "round {round}: a watch goes on with a hole");
    compactor.join().unwrap();
}
