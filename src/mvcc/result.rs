//! What operations answer. Results hold pins on the segments their bytes live in, so they stay valid after the
//! store was closed and after a compaction dropped the files.

use crate::log::{Change, ChangeOp, PinSet, Pinned, Position, SegmentTable};
use crate::types::KeyValue;

/// Pinned key-value pairs.
#[derive(Default)]
pub(crate) struct Kvs {
    pins: PinSet,
    items: Vec<Pinned>,
    keys_only: bool,
}

impl Kvs {
    pub(crate) fn new(keys_only: bool) -> Self {
        Self { keys_only, ..Self::default() }
    }

    pub(crate) fn pin(&mut self, table: &SegmentTable, at: Position) -> Option<Pinned> {
        self.pins.pin(table, at)
    }

    pub(crate) fn push(&mut self, item: Pinned) {
        self.items.push(item);
    }

    pub(crate) fn change(&self, item: Pinned) -> Change<'_> {
        self.pins.change(item)
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    fn get(&self, i: usize) -> KeyValue<'_> {
        let mut kv = key_value(&self.pins.change(self.items[i]));
        if self.keys_only {
            kv.value = &[];
        }
        kv
    }
}

/// The key-value pair that a change left behind; of a delete only the key and the revision (etcd 5.2).
pub(crate) fn key_value<'a>(change: &Change<'a>) -> KeyValue<'a> {
    let deleted = change.op() == ChangeOp::Delete;
    KeyValue {
        key: change.key(),
        value: if deleted { &[] } else { change.value() },
        create_revision: if deleted { 0 } else { change.create_revision() },
        mod_revision: change.mod_revision(),
        version: if deleted { 0 } else { change.version() },
        lease: if deleted { 0 } else { change.lease() },
    }
}

/// What a put answers.
pub struct PutResult {
    pub(crate) revision: i64,
    pub(crate) prev: Kvs,
}

impl PutResult {
    /// The revision of the put.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The key as it was before, if that was asked for and it existed.
    pub fn prev_kv(&self) -> Option<KeyValue<'_>> {
        (self.prev.len() > 0).then(|| self.prev.get(0))
    }
}

/// What a range answers.
pub struct RangeResult {
    pub(crate) revision: i64,
    pub(crate) count: i64,
    pub(crate) more: bool,
    pub(crate) kvs: Kvs,
}

impl RangeResult {
    /// The store's revision when it was read, not the one asked for (etcd 14.3).
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Keys in the range at the revision, whatever the limit and the bounds on revisions (etcd 14.4).
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Whether the limit cut the answer.
    pub fn more(&self) -> bool {
        self.more
    }

    /// Number of pairs returned.
    pub fn len(&self) -> usize {
        self.kvs.len()
    }

    /// Whether no pair was returned.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pair at `i`.
    ///
    /// # Panics
    /// If `i` is not below [`RangeResult::len`].
    pub fn kv(&self, i: usize) -> KeyValue<'_> {
        self.kvs.get(i)
    }

    /// The pairs, in the order asked for.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = KeyValue<'_>> {
        (0..self.len()).map(|i| self.kv(i))
    }
}

/// What a delete answers.
pub struct DeleteRangeResult {
    pub(crate) revision: i64,
    pub(crate) deleted: i64,
    pub(crate) prev: Kvs,
}

impl DeleteRangeResult {
    /// The revision of the delete, or the current one if nothing was deleted.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Number of keys deleted.
    pub fn deleted(&self) -> i64 {
        self.deleted
    }

    /// Number of previous pairs: that of the keys deleted, or 0 if they were not asked for.
    pub fn prev_kv_count(&self) -> usize {
        self.prev.len()
    }

    /// A deleted key as it was before, in key order.
    ///
    /// # Panics
    /// If `i` is not below [`DeleteRangeResult::prev_kv_count`].
    pub fn prev_kv(&self, i: usize) -> KeyValue<'_> {
        self.prev.get(i)
    }
}

/// What a transaction answers.
pub struct TxnResult {
    pub(crate) revision: i64,
    pub(crate) succeeded: bool,
    pub(crate) results: Vec<OpResult>,
}

impl TxnResult {
    /// The revision of the transaction, or the current one if it changed nothing.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Whether the compares held.
    pub fn succeeded(&self) -> bool {
        self.succeeded
    }

    /// One for each operation of the branch that ran.
    pub fn results(&self) -> &[OpResult] {
        &self.results
    }
}

/// What one operation of a transaction answers.
pub enum OpResult {
    /// Of a put.
    Put(PutResult),
    /// Of a range.
    Range(RangeResult),
    /// Of a delete.
    DeleteRange(DeleteRangeResult),
    /// Of a nested transaction.
    Txn(TxnResult),
}
