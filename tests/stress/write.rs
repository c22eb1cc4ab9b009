//! A writer: puts, deletes and transactions over a few hundred keys, with notes of what became which revision.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use libwatch::{DeleteRangeRequest, Op, OpResult, PutRequest, TxnRequest, prefix_end};

use super::dice::Dice;
use crate::Round;
use crate::oracle::Change;

pub const PREFIXES: [&[u8]; 4] = [b"/a/", b"/ab/", b"/b/", b"c"];

/// A key of a few hundred.
pub fn key(dice: &mut Dice) -> Vec<u8> {
    let mut key = dice.pick(&PREFIXES).to_vec();
    key.extend(format!("{:02}", dice.below(80)).bytes());
    key
}

fn value(dice: &mut Dice, writer: usize) -> Vec<u8> {
    let mut value = format!("{writer}.{:x}.", dice.roll()).into_bytes();
    value.resize(value.len() + dice.below(60) as usize, b'v');
    value
}

fn removed(key: &[u8]) -> Change {
    Change { put: false, key: key.to_vec(), value: Vec::new(), lease: 0 }
}

fn written(dice: &mut Dice, writer: usize, key: Vec<u8>) -> Change {
    Change { put: true, value: value(dice, writer), key, lease: dice.below(3) as i64 }
}

fn put_of(change: &Change) -> PutRequest<'_> {
    PutRequest { key: &change.key, value: &change.value, lease: change.lease, ..PutRequest::default() }
}

/// Writes until the round's quota is used up.
pub fn run(round: &Round, writer: usize, mut dice: Dice) -> Vec<(i64, Vec<Change>)> {
    let mut notes = Vec::new();
    while round.left.fetch_sub(1, Ordering::Relaxed) > 0 {
        match dice.below(20) {
            0..12 => {
                let key = key(&mut dice);
                let change = written(&mut dice, writer, key);
                let result = round.store.put(&put_of(&change)).unwrap();
                notes.push((result.revision(), vec![change]));
            }
            12..15 => delete(round, &key(&mut dice), b"", &mut notes),
            15 => {
                let prefix = key(&mut dice);
                let prefix = &prefix[..prefix.len() - 1];
                delete(round, prefix, &prefix_end(prefix), &mut notes);
            }
            _ => transact(round, writer, &mut dice, &mut notes),
        }
        assert!(
            notes.last().is_none_or(|note| note.0 <= round.store.revision()),
            "answered before it is visible"
        );
    }
    notes
}

fn delete(round: &Round, key: &[u8], range_end: &[u8], notes: &mut Vec<(i64, Vec<Change>)>) {
    let request = DeleteRangeRequest { key, range_end, prev_kv: true };
    let result = round.store.delete_range(&request).unwrap();
    assert_eq!(result.deleted(), result.prev_kv_count() as i64);
    if result.deleted() > 0 {
        let keys = (0..result.prev_kv_count()).map(|i| removed(result.prev_kv(i).key));
        notes.push((result.revision(), keys.collect()));
    }
}

fn transact(round: &Round, writer: usize, dice: &mut Dice, notes: &mut Vec<(i64, Vec<Change>)>) {
    let keys: BTreeSet<Vec<u8>> = (0..2 + dice.below(4)).map(|_| key(dice)).collect();
    let mut changes: Vec<Change> = keys
        .into_iter()
        .map(|key| if dice.one_in(4) { removed(&key) } else { written(dice, writer, key) })
        .collect();
    if dice.one_in(2) {
        changes.reverse();
    }
    let ops = changes.iter().map(|change| match change.put {
        true => Op::Put(put_of(change)),
        false => Op::DeleteRange(DeleteRangeRequest { key: &change.key, ..DeleteRangeRequest::default() }),
    });
    let request = TxnRequest { success: ops.collect(), ..TxnRequest::default() };
    let result = round.store.txn(&request).unwrap();
    let mut happened = result.results().iter().map(|result| match result {
        OpResult::DeleteRange(result) => result.deleted() > 0,
        _ => true,
    });
    drop(request);
    changes.retain(|_| happened.next() == Some(true));
    if !changes.is_empty() {
        notes.push((result.revision(), changes));
    }
}
