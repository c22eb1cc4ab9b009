//! The single writer: puts, deletes and transactions become records, then index entries, then a revision.
//!
//! In the modes `none` and `interval` a revision is published under the writer lock. In mode `commit` it is
//! published by whoever syncs it: all transactions that wait at that moment share one write and one sync, and
//! nobody is answered, not even for a transaction that changed nothing, before what it saw is on disk (D2).

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::check;
use super::result::{DeleteRangeResult, OpResult, PutResult, TxnResult};
use super::txn::{Draft, Txn};
use super::{Mvcc, lock};
use crate::error::{Error, ErrorCode, Result};
use crate::limits;
use crate::log::{Appender, ChangeOp, NewChange, Position, SegmentTable};
use crate::options::Durability;
use crate::request::{DeleteRangeRequest, PutRequest, TxnRequest};
use crate::types::KeyValue;

/// What the holder of the writer lock works with.
pub(super) struct Writer {
    pub(super) appender: Appender,
    /// The newest revision in the log; in mode `commit` it may not be published yet.
    pub(super) revision: i64,
    /// Knows every position in the index.
    pub(super) table: Arc<SegmentTable>,
    /// Where the changes of the last record are.
    pub(super) positions: Vec<Position>,
    pub(super) closed: bool,
}

/// A change of a transaction before it is in the log.
pub(super) struct Pending<'a> {
    pub(super) op: ChangeOp,
    pub(super) key: Cow<'a, [u8]>,
    pub(super) value: Cow<'a, [u8]>,
    pub(super) create_revision: i64,
    pub(super) version: i64,
    pub(super) lease: i64,
    pub(super) prev: Position,
    pub(super) skip: Position,
    pub(super) depth: u32,
    pub(super) hash: u32,
    pub(super) slot: Option<u32>,
}

impl Pending<'_> {
    pub(super) fn key_value(&self, mod_revision: i64) -> KeyValue<'_> {
        KeyValue {
            key: &self.key,
            value: &self.value,
            create_revision: self.create_revision,
            mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    fn as_new(&self) -> NewChange<'_> {
        NewChange {
            op: self.op,
            key: &self.key,
            value: &self.value,
            create_revision: self.create_revision,
            version: self.version,
            lease: self.lease,
            prev: self.prev,
            skip: self.skip,
            depth: self.depth,
        }
    }
}

impl Mvcc {
    /// Writes one key (etcd 1.6, 14.7).
    pub fn put(&self, request: &PutRequest<'_>) -> Result<PutResult> {
        check::check_put(request)?;
        let mut writer = self.writer()?;
        let mut txn = Txn::new(self, &writer);
        txn.check_put(request)?;
        let draft = txn.put(request)?;
        let pending = std::mem::take(&mut txn.pending);
        let seen = self.append(&mut writer, &pending)?;
        drop(writer);
        self.put_total.fetch_add(1, Ordering::Relaxed);
        self.settle(seen)?;
        match draft {
            Draft::Put { revision, prev } => Ok(PutResult { revision, prev }),
            _ => unreachable!("a put drafts a put"),
        }
    }

    /// Deletes one key or a range (etcd 1.10, 14.8).
    pub fn delete_range(&self, request: &DeleteRangeRequest<'_>) -> Result<DeleteRangeResult> {
        check::check_range(request.key, request.range_end)?;
        let mut writer = self.writer()?;
        let mut txn = Txn::new(self, &writer);
        let result = txn.delete_range(request)?;
        let pending = std::mem::take(&mut txn.pending);
        let seen = self.append(&mut writer, &pending)?;
        drop(writer);
        self.delete_total.fetch_add(result.deleted as u64, Ordering::Relaxed);
        self.settle(seen)?;
        Ok(result)
    }

    /// Runs a transaction (etcd 14.9-14.13).
    pub fn txn(&self, request: &TxnRequest<'_>) -> Result<TxnResult> {
        check::check_txn(request, self.options.txn_ops_max)?;
        let mut writer = self.writer()?;
        let mut txn = Txn::new(self, &writer);
        let draft = txn.run(request)?;
        let pending = std::mem::take(&mut txn.pending);
        let seen = self.append(&mut writer, &pending)?;
        let result = draft.finish(&writer);
        drop(writer);
        let deletes = pending.iter().filter(|change| change.op == ChangeOp::Delete).count() as u64;
        self.delete_total.fetch_add(deletes, Ordering::Relaxed);
        self.put_total.fetch_add(pending.len() as u64 - deletes, Ordering::Relaxed);
        self.txn_total.fetch_add(1, Ordering::Relaxed);
        self.settle(seen)?;
        match result {
            OpResult::Txn(result) => Ok(result),
            _ => unreachable!("a transaction drafts a transaction"),
        }
    }

    /// The writer lock, if the store takes writes.
    pub(super) fn writer(&self) -> Result<MutexGuard<'_, Writer>> {
        self.check_open()?;
        if self.read_only {
            return Err(Error::new(ErrorCode::ReadOnly, "the store is open read-only"));
        }
        let writer = lock(&self.writer);
        if writer.closed {
            return Err(Error::new(ErrorCode::Closed, "the store is closed"));
        }
        Ok(writer)
    }

    /// Makes the changes one record and enters them into the index. The answer is the revision that the
    /// transaction saw or made.
    fn append(&self, writer: &mut Writer, pending: &[Pending<'_>]) -> Result<i64> {
        if pending.is_empty() {
            return Ok(writer.revision);
        }
        let revision = writer.revision + 1;
        if revision > limits::REVISION_MAX {
            return Err(Error::new(ErrorCode::Limit, "the store has reached its last revision"));
        }
        self.index.check_room(pending.len())?;
        writer.positions.clear();
        match pending {
            [single] => writer.appender.append_txn(revision, &[single.as_new()], &mut writer.positions)?,
            many => {
                let changes: Vec<NewChange<'_>> = many.iter().map(Pending::as_new).collect();
                writer.appender.append_txn(revision, &changes, &mut writer.positions)?;
            }
        }
        writer.revision = revision;
        self.refresh(writer);
        for (change, at) in pending.iter().zip(&writer.positions) {
            match change.slot {
                Some(slot) => self.index.set(slot, *at),
                None => self.index.insert(change.hash, *at),
            }
        }
        if self.options.durability != Durability::Commit {
            self.publication.store(revision);
        }
        Ok(revision)
    }

    /// Takes a newer snapshot of the segments if the last record went into a new one.
    fn refresh(&self, writer: &mut Writer) {
        let newest = writer.table.segments().last().map_or(0, |segment| segment.seq());
        if writer.positions.last().is_some_and(|at| at.seq() > newest) {
            writer.table = self.log.table();
        }
    }

    /// What stands between a transaction and its answer, once the writer lock is free.
    fn settle(&self, revision: i64) -> Result<()> {
        self.auto.reached(revision);
        match self.options.durability {
            Durability::Commit => self.wait_durable(revision, None).map(|_| ()),
            Durability::Interval => {
                self.publication.notify();
                self.syncer.nudge();
                Ok(())
            }
            Durability::None => {
                self.publication.notify();
                Ok(())
            }
        }
    }
}
