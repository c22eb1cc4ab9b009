//! Short forms that the regressions share: what a watch was told, and histories to be told about.

use std::sync::mpsc::{Receiver, Sender, channel};

use libwatch::{
    Answer, ErrorCode, Op, PutRequest, Response, Store, Stream, StreamOptions, TxnRequest, limits,
};

use crate::common::*;

/// More matches than the ring of a stream holds.
pub const FLOOD: i64 = limits::RING_ENTRIES_MAX as i64 + 500;

/// Puts `count` times and answers the last revision.
pub fn puts(store: &Store, key: &str, count: i64) -> i64 {
    (0..count).fold(store.revision(), |_, _| put(store, key, "x"))
}

/// Puts keys in one transaction and answers its revision.
pub fn put_all(store: &Store, keys: &[&str]) -> i64 {
    let put = |key: &&str| Op::Put(PutRequest { key: key.as_bytes().to_vec().leak(), ..Default::default() });
    store
        .txn(&TxnRequest { success: keys.iter().map(put).collect(), ..Default::default() })
        .unwrap()
        .revision()
}

/// The revisions of the events that one watch was given.
pub fn revisions(responses: &[Response], watch_id: i64) -> Vec<i64> {
    let own = responses.iter().filter(|response| response.watch_id() == watch_id);
    own.flat_map(|response| response.events().map(|event| event.kv.mod_revision)).collect()
}

/// Everything from `from` to `to`.
pub fn all(from: i64, to: i64) -> Vec<i64> {
    (from..=to).collect()
}

/// The final responses of one watch: its compact revision where a compaction ended it, else 0.
pub fn endings(responses: &[Response], watch_id: i64) -> Vec<i64> {
    let finals =
        responses.iter().filter(|response| response.watch_id() == watch_id && response.is_canceled());
    finals
        .map(|last| {
            assert!(last.is_empty() && !last.is_created() && !last.is_progress());
            assert_eq!(last.cancel_code() == Some(ErrorCode::Compacted), last.compact_revision() != 0);
            assert!(last.revision() > 0, "a final response without the store's revision");
            last.compact_revision()
        })
        .collect()
}

/// A callback stream that hands over what it was given, and answers what `answer` says.
pub fn hear(
    store: &Store,
    options: &StreamOptions,
    mut answer: impl FnMut(&Response) -> Answer + Send + 'static,
) -> (Stream, Receiver<(Response, Answer)>) {
    let (sender, received) = channel();
    let callback = Box::new(move |response: &Response| {
        let answer = answer(response);
        let _ = sender.send((response.clone(), answer));
        answer
    });
    (store.stream_with_callback(options, callback).unwrap(), received)
}

/// A callback stream that stops in front of its first response with events, until told to go on.
pub fn blocked(store: &Store, options: &StreamOptions) -> (Stream, Receiver<(Response, Answer)>, Gate) {
    let ((enter, entered), (go, gate)) = (channel(), channel::<()>());
    let mut waits = true;
    let (stream, received) = hear(store, options, move |response| {
        if waits && !response.is_empty() {
            enter.send(()).unwrap();
            let _ = gate.recv();
            waits = false;
        }
        Answer::Taken
    });
    (stream, received, Gate { entered, go })
}

/// The two ends of a callback that waits.
pub struct Gate {
    entered: Receiver<()>,
    go: Sender<()>,
}

impl Gate {
    /// Waits until the callback is inside.
    pub fn entered(&self) {
        self.entered.recv().unwrap();
    }

    /// Lets it go on.
    pub fn open(self) {
        self.go.send(()).unwrap();
    }
}
