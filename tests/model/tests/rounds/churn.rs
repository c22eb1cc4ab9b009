//! Watches that come and go on one polled stream, with a handful of ids that are used again and again. What each
//! of them was given goes to the oracle.

use std::time::Duration;

use libwatch::{CreateRequest, ErrorCode, Response, Stream, StreamOptions, WATCH_ID_NONE, prefix_end};

use super::Round;
use super::dice::Dice;
use super::write::{PREFIXES, key};
use crate::oracle::{Given, Watch};

/// Watches of one round; the oracle looks through the log for each.
const WATCHES: usize = 400;
/// Ids that are asked for.
const IDS: u64 = 5;

struct Churn<'r> {
    round: &'r Round,
    stream: Stream,
    /// In the order of their creation, which is their `watch_data`.
    watches: Vec<Watch>,
    /// The id of each watch whose end is not known.
    live: Vec<(i64, usize)>,
    finals: usize,
}

/// Makes and cancels watches until the writers are through.
pub fn run(round: &Round, mut dice: Dice) -> Vec<Watch> {
    let options = StreamOptions { batch_revisions: dice.pick(&[0, 1, 5]), batch_bytes: 0 };
    let stream = round.store.stream(&options).expect("a stream");
    let (watches, live) = (Vec::new(), Vec::new());
    let mut churn = Churn { round, stream, watches, live, finals: 0 };
    while round.last() == 0 {
        // In step with the writers, so that the watches are spread over the round.
        round.until(churn.watches.len() as i64 * round.quota / (2 * WATCHES as i64));
        match dice.below(6) {
            0 if churn.watches.len() < WATCHES => churn.create(&mut dice),
            1 => churn.cancel(&mut dice),
            _ => churn.take(1 + dice.below(4) as usize),
        }
    }
    churn.finish();
    churn.watches
}

impl Churn<'_> {
    fn create(&mut self, dice: &mut Dice) {
        let key = key(dice);
        let prefix = dice.pick(&PREFIXES);
        let (key, range_end) = match dice.below(3) {
            0 => (key, Vec::new()),
            1 => (prefix.to_vec(), prefix_end(prefix)),
            _ => (vec![0], vec![0]),
        };
        let current = self.round.store.revision();
        let start_revision = match dice.below(4) {
            0 => 0,
            1 => 1 + dice.below(current as u64) as i64,
            2 => (current - dice.below(40) as i64).max(1),
            _ => current + dice.below(20) as i64,
        };
        let request = CreateRequest {
            key: &key,
            range_end: &range_end,
            start_revision,
            watch_id: 1 + dice.below(IDS) as i64,
            prev_kv: dice.one_in(2),
            fragment: dice.one_in(3),
            created_notify: dice.one_in(2),
            filter_nodelete: dice.one_in(8),
            watch_data: self.watches.len(),
            ..CreateRequest::default()
        };
        match self.stream.create(&request) {
            Ok(id) => self.live.push((id, self.watches.len())),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::DuplicateWatchId, "{error}");
                assert!(self.live.iter().any(|(id, _)| *id == request.watch_id), "{error}");
                return;
            }
        }
        let now = (current + 1, self.round.store.revision() + 1);
        self.watches.push(Watch {
            start: if start_revision == 0 { now } else { (start_revision, start_revision) },
            prev_kv: request.prev_kv,
            filter_nodelete: request.filter_nodelete,
            created_notify: request.created_notify,
            key,
            range_end,
            ..Watch::default()
        });
    }

    /// Cancels a watch; only one that a compaction may have ended is not found.
    fn cancel(&mut self, dice: &mut Dice) {
        if self.live.is_empty() {
            return;
        }
        let (id, _) = self.live[dice.below(self.live.len() as u64) as usize];
        match self.stream.cancel(id) {
            // Only the last one with the id can have been live.
            Ok(()) => self.live.retain(|(other, _)| *other != id),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::WatchNotFound, "{error}");
                assert!(self.round.store.compact_revision() > 0, "{error}, and nothing was compacted");
            }
        }
    }

    fn take(&mut self, responses: usize) {
        let some = self.stream.next_batch(responses, Some(Duration::ZERO)).expect("responses");
        some.iter().for_each(|response| self.note(response));
    }

    fn note(&mut self, response: &Response) {
        if response.watch_id() == WATCH_ID_NONE {
            return;
        }
        let number = response.watch_data();
        self.watches[number].given.push(Given::of(response, &self.round.store));
        if response.is_canceled() {
            self.finals += 1;
            self.live.retain(|(_, other)| *other != number);
        }
    }

    /// Gives those that are left everything, then ends them.
    fn finish(&mut self) {
        for (_, number) in &self.live {
            self.watches[*number].reaches = self.round.last();
        }
        self.stream.request_progress().expect("progress");
        loop {
            let response = self.stream.next(None).expect("a response").expect("there is no timeout");
            if response.watch_id() == WATCH_ID_NONE {
                break;
            }
            self.note(&response);
        }
        for (id, _) in self.live.clone() {
            self.stream.cancel(id).expect("a watch that has everything is live");
        }
        while self.finals < self.watches.len() {
            let response = self.stream.next(None).expect("a response").expect("there is no timeout");
            self.note(&response);
        }
    }
}
