//! A store with a past and two watches. Around every call that is refused its state is held against itself, and
//! at the end both watches must go on as if nothing had been.

use libwatch::{
    CreateRequest, DeleteRangeRequest, Error, ErrorCode, Op, PutRequest, RangeRequest, Result, Store,
    StreamOptions, TxnRequest,
};

use crate::common::*;

/// The compaction of a scene, and its newest revision.
pub const COMPACTED: i64 = 4;
pub const CURRENT: i64 = 7;
/// The id of the watch on the stream that a case works with.
pub const LIVE: i64 = 7;
/// Numbers that no revision has.
pub const NEGATIVE: [i64; 2] = [-1, i64::MIN];
pub const FUTURE: [i64; 2] = [CURRENT + 1, i64::MAX];

pub struct Scene {
    pub store: Store,
    pub stream: libwatch::Stream,
    witness: libwatch::Stream,
}

/// Everything a caller can see of a store.
#[derive(Debug, PartialEq)]
struct State {
    numbers: [i64; 2],
    counts: [u64; 5],
    pairs: Vec<(String, String, i64, i64, i64, i64)>,
}

fn state(store: &Store) -> State {
    let stats = store.stats().unwrap();
    let all = store.range(&RangeRequest { key: ALL.0, range_end: ALL.1, ..Default::default() }).unwrap();
    State {
        numbers: [store.revision(), store.compact_revision()],
        counts: [stats.watch_count, stats.stream_count, stats.key_count, stats.put_total, stats.delete_total],
        pairs: all.iter().map(|kv| pair(&kv)).collect(),
    }
}

/// Runs a case on a fresh scene, with a watchdog.
pub fn scene(case: impl FnOnce(&Scene) + Send + 'static) {
    watched(|| {
        let scene = Scene::new(memory());
        case(&scene);
        scene.goes_on();
    });
}

impl Scene {
    fn new(store: Store) -> Self {
        put(&store, "a", "1");
        put(&store, "b", "2");
        store.put(&PutRequest { key: b"a", value: b"3", lease: 9, ..Default::default() }).unwrap();
        put(&store, "gone", "x");
        delete(&store, "gone");
        assert_eq!(put(&store, "c", ""), CURRENT);
        store.compact(COMPACTED, false).unwrap();
        let (stream, witness) = (stream(&store), stream(&store));
        stream.create(&CreateRequest { watch_id: LIVE, ..watch(ALL, 0) }).unwrap();
        witness.create(&watch(ALL, 0)).unwrap();
        Self { store, stream, witness }
    }

    /// The call fails with this code and a line that has these words, and changes nothing.
    pub fn refuses<T>(&self, code: ErrorCode, words: &[&str], call: impl FnOnce() -> Result<T>) -> Error {
        let before = state(&self.store);
        let refusal = error(call());
        assert_eq!(refusal.code(), code, "{refusal}");
        words.iter().for_each(|word| assert!(refusal.message().contains(word), "{word:?}: {refusal}"));
        assert_eq!(state(&self.store), before, "{refusal}");
        refusal
    }

    /// The call is accepted and changes nothing all the same.
    pub fn unchanged<T>(&self, call: impl FnOnce() -> Result<T>) -> T {
        let before = state(&self.store);
        let answer = call().unwrap();
        assert_eq!(state(&self.store), before);
        answer
    }

    pub fn txn(&self, success: Vec<Op<'_>>) -> Result<libwatch::TxnResult> {
        self.store.txn(&TxnRequest { success, ..Default::default() })
    }

    /// What the other watch was told since the last look.
    pub fn take_witness(&self) -> Vec<String> {
        lines_of(&settle(&self.witness), 1)
    }

    /// The next put comes to both watches and is all that comes.
    fn goes_on(&self) {
        let line = format!("{} put z=end", put(&self.store, "z", "end"));
        for (stream, id) in [(&self.stream, LIVE), (&self.witness, 1)] {
            let responses = settle(stream);
            assert_eq!(responses.len(), 1, "nothing else was told");
            assert_eq!(lines_of(&responses, id), [line.as_str()]);
        }
    }
}

/// The error of a call that must fail: one line, without a full stop.
pub fn error<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("the call was accepted"),
        Err(error) => {
            let line = error.message();
            assert!(!line.is_empty() && !line.contains('\n') && !line.ends_with('.'), "{line:?} is no line");
            assert_eq!(error.to_string(), line);
            error
        }
    }
}

pub fn put_of<'a>(key: &'a [u8], value: &'a [u8]) -> PutRequest<'a> {
    PutRequest { key, value, ..Default::default() }
}

pub fn delete_of<'a>(key: &'a [u8], range_end: &'a [u8]) -> DeleteRangeRequest<'a> {
    DeleteRangeRequest { key, range_end, prev_kv: true }
}

pub fn range_of<'a>(key: &'a [u8], range_end: &'a [u8]) -> RangeRequest<'a> {
    RangeRequest { key, range_end, ..Default::default() }
}

pub fn op_put<'a>(key: &'a [u8], value: &'a [u8]) -> Op<'a> {
    Op::Put(PutRequest { key, value, ..Default::default() })
}

pub fn op_delete<'a>(key: &'a [u8], range_end: &'a [u8]) -> Op<'a> {
    Op::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false })
}

pub fn op_get(key: &[u8], revision: i64) -> Op<'_> {
    Op::Range(RangeRequest { key, revision, ..Default::default() })
}

/// A transaction inside, with these operations in its branch of success.
pub fn op_txn(success: Vec<Op<'_>>) -> Op<'_> {
    Op::Txn(TxnRequest { success, ..Default::default() })
}

/// A stream whose responses go to a callback that takes them all.
pub fn callback_stream(store: &Store) -> libwatch::Stream {
    let taken = Box::new(|_: &libwatch::Response| libwatch::Answer::Taken);
    store.stream_with_callback(&StreamOptions::default(), taken).unwrap()
}
