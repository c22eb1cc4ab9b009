//! What a transaction must satisfy before anything runs: sizes, and that no key changes twice in one revision.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::error::{Error, ErrorCode, Result};
use crate::key_range::{KeyRange, check_key};
use crate::limits;
use crate::request::{Op, PutRequest, RangeRequest, TxnRequest};

/// Refuses a put that can never be right.
pub fn check_put(put: &PutRequest<'_>) -> Result<()> {
    check_key(put.key)?;
    if put.value.len() > limits::VALUE_BYTES_MAX {
        let message =
            format!("the value has {} bytes, the limit is {}", put.value.len(), limits::VALUE_BYTES_MAX);
        return Err(Error::new(ErrorCode::Limit, message));
    }
    if put.ignore_value && !put.value.is_empty() {
        return Err(Error::new(ErrorCode::InvalidArgument, "a value is given together with ignore_value"));
    }
    if put.ignore_lease && put.lease != 0 {
        return Err(Error::new(ErrorCode::InvalidArgument, "a lease is given together with ignore_lease"));
    }
    Ok(())
}

/// Refuses the key and end of a range or delete; a reversed range is fine and matches nothing (etcd 14.1).
pub fn check_range(key: &[u8], range_end: &[u8]) -> Result<()> {
    check_key(key)?;
    if range_end.len() > limits::KEY_BYTES_MAX {
        let message =
            format!("the range_end has {} bytes, the limit is {}", range_end.len(), limits::KEY_BYTES_MAX);
        return Err(Error::new(ErrorCode::Limit, message));
    }
    Ok(())
}

/// The revision a range reads at, given what can be read.
pub fn read_revision(request: &RangeRequest<'_>, compact: i64, current: i64, in_txn: bool) -> Result<i64> {
    let revision = request.revision;
    if revision == 0 || (revision < 0 && !in_txn) {
        return Ok(current);
    }
    if revision > current {
        return Err(Error::future_revision(revision, current));
    }
    if revision < compact || revision < 0 {
        return Err(Error::compacted(revision, compact));
    }
    Ok(revision)
}

/// Refuses a transaction with a bad operation, too many of them, or two changes of one key (etcd 14.12).
pub fn check_txn(txn: &TxnRequest<'_>, ops_max: u32) -> Result<()> {
    check_sizes(txn, i64::from(ops_max), i64::from(ops_max), 1)?;
    check_changes(&txn.success)?;
    check_changes(&txn.failure)?;
    Ok(())
}

fn check_sizes(txn: &TxnRequest<'_>, ops_left: i64, ops_max: i64, depth: u32) -> Result<()> {
    let longest = txn.compare.len().max(txn.success.len()).max(txn.failure.len()) as i64;
    if longest > ops_left {
        let message =
            format!("the transaction has {longest} entries in one list, {ops_left} of {ops_max} are left");
        return Err(Error::new(ErrorCode::Limit, message));
    }
    if depth > limits::TXN_DEPTH_MAX {
        let message = format!("transactions are nested deeper than {}", limits::TXN_DEPTH_MAX);
        return Err(Error::new(ErrorCode::Limit, message));
    }
    for compare in &txn.compare {
        check_range(compare.key, compare.range_end)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Put(put) => check_put(put)?,
            Op::Range(range) => check_range(range.key, range.range_end)?,
            Op::DeleteRange(delete) => check_range(delete.key, delete.range_end)?,
            Op::Txn(nested) => check_sizes(nested, ops_left - longest, ops_max, depth + 1)?,
        }
    }
    Ok(())
}

/// The keys that a list of operations may put, each with the number of the operation, and its deletes.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeMap<&'a [u8], usize>,
    deletes: Vec<(KeyRange<'a>, usize)>,
}

/// Two operations of one list must not put the same key, nor one put what another deletes. The two branches
/// of one nested transaction exclude each other, so they may; deletes may overlap.
fn check_changes<'a>(ops: &'a [Op<'a>]) -> Result<Changes<'a>> {
    let mut all = Changes::default();
    for (number, op) in ops.iter().enumerate() {
        match op {
            Op::Put(put) => add_put(&mut all, put.key, number)?,
            Op::DeleteRange(delete) => {
                all.deletes.push((KeyRange::new(delete.key, delete.range_end), number));
            }
            Op::Range(_) => {}
            Op::Txn(nested) => {
                for branch in [check_changes(&nested.success)?, check_changes(&nested.failure)?] {
                    for key in branch.puts.into_keys() {
                        add_put(&mut all, key, number)?;
                    }
                    all.deletes.extend(branch.deletes.into_iter().map(|(range, _)| (range, number)));
                }
            }
        }
    }
    for (range, number) in &all.deletes {
        if let Some(key) = put_by_another(&all.puts, *range, *number) {
            return Err(duplicate(key));
        }
    }
    Ok(all)
}

fn add_put<'a>(all: &mut Changes<'a>, key: &'a [u8], number: usize) -> Result<()> {
    match all.puts.insert(key, number) {
        Some(earlier) if earlier != number => Err(duplicate(key)),
        _ => Ok(()),
    }
}

fn put_by_another<'a>(
    puts: &BTreeMap<&'a [u8], usize>,
    range: KeyRange<'_>,
    number: usize,
) -> Option<&'a [u8]> {
    if range.is_single() {
        return puts.get_key_value(range.key).filter(|(_, by)| **by != number).map(|(key, _)| *key);
    }
    if range.is_empty() {
        return None;
    }
    let end = if range.is_from_key() { Bound::Unbounded } else { Bound::Excluded(range.range_end) };
    let mut within = puts.range::<[u8], _>((Bound::Included(range.key), end));
    within.find(|(_, by)| **by != number).map(|(key, _)| *key)
}

fn duplicate(key: &[u8]) -> Error {
    let shown = key[..key.len().min(64)].escape_ascii();
    Error::new(ErrorCode::DuplicateKey, format!("the transaction changes key \"{shown}\" twice"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::DeleteRangeRequest;

    fn put(key: &'static [u8]) -> Op<'static> {
        Op::Put(PutRequest { key, ..PutRequest::default() })
    }

    fn delete(key: &'static [u8], range_end: &'static [u8]) -> Op<'static> {
        Op::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv: false })
    }

    fn nested(success: Vec<Op<'static>>, failure: Vec<Op<'static>>) -> Op<'static> {
        Op::Txn(TxnRequest { compare: vec![], success, failure })
    }

    fn code(success: Vec<Op<'static>>) -> Option<ErrorCode> {
        let txn = TxnRequest { success, ..TxnRequest::default() };
        check_txn(&txn, 128).err().map(|error| error.code())
    }

    #[test]
    fn a_key_changes_once() {
        let twice = Some(ErrorCode::DuplicateKey);
        assert_eq!(code(vec![put(b"a"), put(b"b")]), None);
        assert_eq!(code(vec![put(b"a"), put(b"a")]), twice);
        assert_eq!(code(vec![put(b"a"), delete(b"a", b"")]), twice);
        assert_eq!(code(vec![delete(b"a", b"c"), put(b"b")]), twice);
        assert_eq!(code(vec![delete(b"a", b"\0"), put(b"b")]), twice);
        assert_eq!(code(vec![delete(b"a", b"b"), put(b"b")]), None);
        assert_eq!(code(vec![delete(b"c", b"a"), put(b"b")]), None);
        assert_eq!(code(vec![delete(b"a", b"c"), delete(b"b", b"d")]), None);
    }

    #[test]
    fn branches_of_one_nested_transaction_exclude_each_other() {
        let twice = Some(ErrorCode::DuplicateKey);
        assert_eq!(code(vec![nested(vec![put(b"a")], vec![put(b"a")])]), None);
        assert_eq!(code(vec![nested(vec![put(b"a")], vec![delete(b"a", b"\0")])]), None);
        assert_eq!(code(vec![nested(vec![put(b"a")], vec![]), put(b"a")]), twice);
        assert_eq!(code(vec![nested(vec![put(b"a")], vec![]), nested(vec![], vec![put(b"a")])]), twice);
        assert_eq!(
            code(vec![nested(vec![put(b"a")], vec![]), nested(vec![delete(b"a", b"")], vec![])]),
            twice
        );
    }

    #[test]
    fn lists_shrink_with_nesting() {
        let txn = |ops: usize| TxnRequest { success: vec![delete(b"a", b""); ops], ..TxnRequest::default() };
        assert!(check_txn(&txn(128), 128).is_ok());
        assert_eq!(check_txn(&txn(129), 128).unwrap_err().code(), ErrorCode::Limit);
        let outer = |inner: usize| TxnRequest { success: vec![Op::Txn(txn(inner))], ..TxnRequest::default() };
        assert!(check_txn(&outer(127), 128).is_ok());
        assert_eq!(check_txn(&outer(128), 128).unwrap_err().code(), ErrorCode::Limit);
    }

    #[test]
    fn nesting_ends_at_its_limit() {
        let mut txn = TxnRequest::default();
        for _ in 1..limits::TXN_DEPTH_MAX {
            txn = TxnRequest { success: vec![Op::Txn(txn)], ..TxnRequest::default() };
        }
        assert!(check_txn(&txn, 128).is_ok());
        let deeper = TxnRequest { success: vec![Op::Txn(txn)], ..TxnRequest::default() };
        assert_eq!(check_txn(&deeper, 128).unwrap_err().code(), ErrorCode::Limit);
    }
}
