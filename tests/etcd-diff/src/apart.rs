//! Where etcd 3.4 is known to go another way, and what is done so that it does not count as a difference. This is
//! the whole list; everything else must be equal.
//!
//! | etcd | here |
//! |---|---|
//! | loses a delete exactly at a compaction's revision (etcd 10.3, mended later) | `is_compared`: no such compaction |
//! | takes some overlaps of a put and a delete in one transaction (design decision) | `is_compared`: no such txn |
//! | takes a watch that starts below 0 (etcd 3.4, mended later) | `is_compared`: no such watch |
//! | takes a read at -1 in a transaction before the first compaction (etcd 14.2) | `is_compared`: no such txn |
//! | answers a request for progress at once, whatever is on its way (etcd 12.9, mended later) | not generated |
//! | knows only leases that were granted | not generated |
//! | sorts by something other than the key after cutting off at the limit if no order is given | `as_asked` |
//! | checks all puts of a transaction before its reads, and not in their order (etcd 14.11, until 3.5) | `leveled` |
//! | leaves the revision of a nested transaction's answer at 0 | `leveled` |
//! | sorts more than 12 pairs with an unstable sort, so equal ones come in any order | `leveled` |
//! | numbers watches from 0 | `Etcd::skip_id_zero` |
//! | keeps the id of a watch that a compaction ended until it is cancelled | `Etcd::note` cancels it |
//! | does not answer a cancel of an unknown id | `Etcd::cancel` finds out |
//! | tells watches of the past up to 100 ms later | `Etcd::settle` waits |

use libwatch_model::answer::{Answer, ErrorCode, OpAnswer, Pair, RangeAnswer};
use libwatch_model::call::{Call, Op, Range, SortOrder, SortTarget, Step, Txn};
use libwatch_model::generate::Profile;
use libwatch_model::model::Model;
use libwatch_model::program::Now;

/// Up to so many pairs Go sorts by insertion, which keeps equal ones in their order.
const STABLE: i64 = 12;

/// What programs are made of. libwatch's kinds of stores and consumers vary although etcd has but one of each.
pub fn profile() -> Profile {
    Profile { files: true, consumers: true, fragments: true, ..Profile::etcd() }
}

/// Whether a step means the same on both sides.
pub fn is_compared(profile: &Profile, model: &Model, call: &Call) -> bool {
    match call {
        Step::Watch { request, .. } => request.start_revision >= 0,
        Step::Cancel { .. } => true,
        Step::Txn(txn) if model.compact_revision() < 0 && reads_at_minus_one(txn) => false,
        _ => profile.allows(model, call),
    }
}

fn reads_at_minus_one(txn: &Txn) -> bool {
    any_op(txn, |op| matches!(op, Op::Range(range) if range.revision == -1))
}

/// The range as etcd must be asked to sort before it cuts off: with the order that none stands for (etcd 14.6).
pub fn as_asked(range: &Range) -> Range {
    let mut asked = range.clone();
    if range.sort_target != SortTarget::Key && range.sort_order == SortOrder::None {
        asked.sort_order = SortOrder::Ascend;
    }
    asked
}

/// An answer without what is nobody's promise.
pub fn leveled(call: &Call, answer: Answer) -> Answer {
    match (call, answer) {
        (Step::Range(range), Answer::Range(mut answer)) => {
            level_range(range, &mut answer);
            Answer::Range(answer)
        }
        (Step::Txn(txn), Answer::Txn(mut answer)) => {
            level_txn(txn, answer.succeeded, &mut answer.results);
            Answer::Txn(answer)
        }
        (Step::Txn(txn), Answer::Refused(code)) if READ_OR_PUT.contains(&code) && may_fail_twice(txn) => {
            Answer::Refused(READ_OR_PUT[0])
        }
        (_, answer) => answer,
    }
}

/// Refusals of a put that ignores its value, and of a read of a revision.
const READ_OR_PUT: [ErrorCode; 3] = [ErrorCode::KeyNotFound, ErrorCode::FutureRevision, ErrorCode::Compacted];

fn any_op(txn: &Txn, is: fn(&Op) -> bool) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::Txn(nested) => any_op(nested, is),
        op => is(op),
    })
}

fn may_fail_twice(txn: &Txn) -> bool {
    any_op(txn, |op| matches!(op, Op::Put(put) if put.ignore_value || put.ignore_lease))
        && any_op(txn, |op| matches!(op, Op::Range(range) if range.revision != 0))
}

fn level_txn(txn: &Txn, succeeded: bool, results: &mut [OpAnswer]) {
    let ops = if succeeded { &txn.success } else { &txn.failure };
    for (op, result) in ops.iter().zip(results) {
        match (op, result) {
            (Op::Range(range), OpAnswer::Range(answer)) => level_range(range, answer),
            (Op::Txn(nested), OpAnswer::Txn(answer)) => {
                answer.revision = 0;
                level_txn(nested, answer.succeeded, &mut answer.results);
            }
            _ => {}
        }
    }
}

fn level_range(range: &Range, answer: &mut RangeAnswer) {
    if answer.count <= STABLE || range.sort_target == SortTarget::Key {
        return;
    }
    for kv in &mut answer.kvs {
        let Pair { create_revision, mod_revision, version, value, .. } = std::mem::take(kv);
        *kv = match range.sort_target {
            SortTarget::Key => Pair::default(),
            SortTarget::Version => Pair { version, ..Pair::default() },
            SortTarget::Create => Pair { create_revision, ..Pair::default() },
            SortTarget::Mod => Pair { mod_revision, ..Pair::default() },
            SortTarget::Value => Pair { value, ..Pair::default() },
        };
    }
}
