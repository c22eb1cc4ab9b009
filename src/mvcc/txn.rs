//! One transaction from its request to its answer. Compares and checks look at the state before it; then the
//! operations run in order over that state and the transaction's own changes; the changes become one record.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::read::{Item, Selection};
use super::result::{DeleteRangeResult, Kvs, OpResult, PutResult, RangeResult, TxnResult};
use super::write::{Pending, Writer};
use super::{Mvcc, result};
use crate::error::{Error, ErrorCode, Result};
use crate::index::chain;
use crate::key_range::KeyRange;
use crate::log::{ChangeOp, Position};
use crate::request::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, Op, PutRequest, RangeRequest, TxnRequest,
};
use crate::types::KeyValue;

const KNOWN: &str = "the writer's snapshot knows every position in the index";

/// A transaction while it runs, under the writer lock.
pub(super) struct Txn<'a, 'm> {
    mvcc: &'m Mvcc,
    writer: &'m Writer,
    begin: i64,
    pub(super) pending: Vec<Pending<'a>>,
    /// Own changes by key, kept up to date only for operations that read: see `overlay`.
    by_key: BTreeMap<Vec<u8>, usize>,
}

/// Which branch each transaction of a tree takes, decided before anything runs (etcd 14.10).
struct Path {
    succeeded: bool,
    nested: Vec<Path>,
}

/// The answer of one operation while positions of the transaction's own changes are not known yet.
pub(super) enum Draft {
    Put { revision: i64, prev: Kvs },
    Range { revision: i64, count: i64, more: bool, kvs: Kvs, items: Vec<Item> },
    DeleteRange(DeleteRangeResult),
    Txn { revision: i64, succeeded: bool, drafts: Vec<Draft> },
}

impl<'a, 'm> Txn<'a, 'm> {
    pub(super) fn new(mvcc: &'m Mvcc, writer: &'m Writer) -> Self {
        Self { mvcc, writer, begin: writer.revision, pending: Vec::new(), by_key: BTreeMap::new() }
    }

    /// Decides the branches, checks every operation on them, then runs them.
    pub(super) fn run(&mut self, request: &TxnRequest<'a>) -> Result<Draft> {
        let path = self.decide(request)?;
        self.check(request, &path)?;
        self.execute(request, &path)
    }

    fn decide(&self, request: &TxnRequest<'a>) -> Result<Path> {
        let mut succeeded = true;
        for compare in &request.compare {
            succeeded = succeeded && self.holds(compare)?;
        }
        let mut nested = Vec::new();
        for op in branch(request, succeeded) {
            if let Op::Txn(inner) = op {
                nested.push(self.decide(inner)?);
            }
        }
        Ok(Path { succeeded, nested })
    }

    fn holds(&self, compare: &Compare<'_>) -> Result<bool> {
        let range = KeyRange::new(compare.key, compare.range_end);
        let (mut any, mut all) = (false, true);
        self.mvcc.each_live(range, self.begin, |_, change| {
            any = true;
            all = all && compare_holds(compare, Some(&result::key_value(change)));
        })?;
        Ok(if any { all } else { compare_holds(compare, None) })
    }

    /// What can fail, fails here, before the first change (etcd 14.11).
    fn check(&self, request: &TxnRequest<'a>, path: &Path) -> Result<()> {
        let mut nested = path.nested.iter();
        for op in branch(request, path.succeeded) {
            match op {
                Op::Put(put) => self.check_put(put)?,
                Op::Range(range) => {
                    self.mvcc.read_revision(range, self.begin, true)?;
                }
                Op::DeleteRange(_) => {}
                Op::Txn(inner) => self.check(inner, nested.next().expect("one path for each nested txn"))?,
            }
        }
        Ok(())
    }

    /// `ignore_value` and `ignore_lease` want an existing key (etcd 14.7).
    pub(super) fn check_put(&self, put: &PutRequest<'_>) -> Result<()> {
        if !put.ignore_value && !put.ignore_lease {
            return Ok(());
        }
        let mut exists = false;
        self.mvcc.each_live(KeyRange::new(put.key, b""), self.begin, |_, _| exists = true)?;
        if exists {
            return Ok(());
        }
        let shown = put.key[..put.key.len().min(64)].escape_ascii();
        let message = format!("ignore_value or ignore_lease is set, but key \"{shown}\" does not exist");
        Err(Error::new(ErrorCode::KeyNotFound, message))
    }

    fn execute(&mut self, request: &TxnRequest<'a>, path: &Path) -> Result<Draft> {
        let ops = if path.succeeded { &request.success } else { &request.failure };
        let mut nested = path.nested.iter();
        let mut drafts = Vec::with_capacity(ops.len());
        for op in ops {
            drafts.push(match op {
                Op::Put(put) => self.put(put)?,
                Op::Range(range) => self.range(range)?,
                Op::DeleteRange(delete) => Draft::DeleteRange(self.delete_range(delete)?),
                Op::Txn(inner) => {
                    self.execute(inner, nested.next().expect("one path for each nested txn"))?
                }
            });
        }
        Ok(Draft::Txn { revision: self.revision(), succeeded: path.succeeded, drafts })
    }

    /// The revision that a reader inside the transaction sees (etcd 1.5).
    fn revision(&self) -> i64 {
        self.begin + i64::from(!self.pending.is_empty())
    }

    pub(super) fn put(&mut self, put: &PutRequest<'a>) -> Result<Draft> {
        let mut prev = Kvs::new(false);
        let hash = self.mvcc.index.hash(put.key);
        let (slot, newest) = self.newest(hash, put.key);
        let table = &*self.writer.table;
        let before = chain::resolve(table, newest, put.key).expect(KNOWN);
        let live = before.filter(|change| change.op() == ChangeOp::Put);
        if put.prev_kv
            && let Some(live) = &live
            && let Some(pinned) = prev.pin(table, live.position())
        {
            prev.push(pinned);
        }
        let (skip, depth) = chain::link(table, before.as_ref());
        let kept = live.as_ref();
        let value = match kept.filter(|_| put.ignore_value) {
            Some(live) => Cow::Owned(live.value().to_vec()),
            None => Cow::Borrowed(put.value),
        };
        let lease = kept.filter(|_| put.ignore_lease).map_or(put.lease, |live| live.lease());
        self.pending.push(Pending {
            op: ChangeOp::Put,
            key: Cow::Borrowed(put.key),
            value,
            create_revision: kept.map_or(self.begin + 1, |live| live.create_revision()),
            version: kept.map_or(1, |live| live.version() + 1),
            lease,
            prev: newest,
            skip,
            depth,
            hash,
            slot,
        });
        Ok(Draft::Put { revision: self.begin + 1, prev })
    }

    pub(super) fn delete_range(&mut self, delete: &DeleteRangeRequest<'a>) -> Result<DeleteRangeResult> {
        let range = KeyRange::new(delete.key, delete.range_end);
        self.overlay();
        let mut prev = Kvs::new(false);
        let mut doomed: Vec<(Vec<u8>, Position)> = Vec::new();
        let (mvcc, by_key) = (self.mvcc, &self.by_key);
        mvcc.each_live(range, self.begin, |table, change| {
            if by_key.contains_key(change.key()) {
                return;
            }
            if delete.prev_kv
                && let Some(pinned) = prev.pin(table, change.position())
            {
                prev.push(pinned);
            }
            doomed.push((change.key().to_vec(), change.position()));
        })?;
        let deleted = doomed.len() as i64;
        for (key, at) in doomed {
            let hash = self.mvcc.index.hash(&key);
            let (slot, newest) = self.newest(hash, &key);
            let table = &*self.writer.table;
            let before = table.change(at);
            let (skip, depth) = chain::link(table, before.as_ref());
            self.pending.push(Pending {
                op: ChangeOp::Delete,
                key: Cow::Owned(key),
                value: Cow::Borrowed(&[]),
                create_revision: 0,
                version: 0,
                lease: 0,
                prev: newest,
                skip,
                depth,
                hash,
                slot,
            });
        }
        Ok(DeleteRangeResult { revision: self.revision(), deleted, prev })
    }

    fn range(&mut self, request: &RangeRequest<'a>) -> Result<Draft> {
        let revision = self.mvcc.read_revision(request, self.begin, true)?;
        if request.revision == 0 {
            self.overlay();
        }
        let own_applies = request.revision == 0;
        let range = KeyRange::new(request.key, request.range_end);
        let own = if own_applies { self.own_puts(range) } else { Vec::new() };
        let mut own = own.into_iter().peekable();
        let mut selection = Selection::new(request);
        let mut kvs = Kvs::new(request.keys_only);
        let (pending, by_key) = (&self.pending, &self.by_key);
        let own_kv = |i: usize| pending[i].key_value(self.begin + 1);
        self.mvcc.each_live(range, revision, |table, change| {
            while let Some(i) = own.next_if(|i| *pending[*i].key < *change.key()) {
                selection.offer(&own_kv(i), || Some(Item::Own(i)));
            }
            if own_applies && by_key.contains_key(change.key()) {
                return;
            }
            let logged = || kvs.pin(table, change.position()).map(Item::Logged);
            selection.offer(&result::key_value(change), logged);
        })?;
        for i in own {
            selection.offer(&own_kv(i), || Some(Item::Own(i)));
        }
        let (items, count, more) = selection.finish_by(|item| match item {
            Item::Logged(pinned) => result::key_value(&kvs.change(*pinned)),
            Item::Own(i) => own_kv(*i),
        });
        Ok(Draft::Range { revision: self.revision(), count, more, kvs, items })
    }

    /// Own puts within the range, in key order, those aside that replace a key of the store: they take its place.
    fn own_puts(&self, range: KeyRange<'_>) -> Vec<usize> {
        let puts = |i: &usize| self.pending[*i].op == ChangeOp::Put;
        if range.is_single() {
            return self.by_key.get(range.key).copied().filter(puts).into_iter().collect();
        }
        if range.is_empty() {
            return Vec::new();
        }
        let end = if range.is_from_key() { Bound::Unbounded } else { Bound::Excluded(range.range_end) };
        self.by_key
            .range::<[u8], _>((Bound::Included(range.key), end))
            .map(|(_, i)| *i)
            .filter(puts)
            .collect()
    }

    /// Brings `by_key` up to date. A transaction of puts alone never pays for it.
    fn overlay(&mut self) {
        for i in self.by_key.len()..self.pending.len() {
            self.by_key.insert(self.pending[i].key.to_vec(), i);
        }
    }

    fn newest(&self, hash: u32, key: &[u8]) -> (Option<u32>, Position) {
        let found = self.mvcc.index.find(&self.writer.table, hash, key).expect(KNOWN);
        found.map_or((None, Position::NONE), |(slot, at)| (Some(slot), at))
    }
}

impl Draft {
    /// The final answer, once the positions of the transaction's own changes are known.
    pub(super) fn finish(self, writer: &Writer) -> OpResult {
        match self {
            Draft::Put { revision, prev } => OpResult::Put(PutResult { revision, prev }),
            Draft::DeleteRange(result) => OpResult::DeleteRange(result),
            Draft::Range { revision, count, more, mut kvs, items } => {
                for item in items {
                    let pinned = match item {
                        Item::Logged(pinned) => Some(pinned),
                        Item::Own(i) => kvs.pin(&writer.table, writer.positions[i]),
                    };
                    pinned.into_iter().for_each(|pinned| kvs.push(pinned));
                }
                OpResult::Range(RangeResult { revision, count, more, kvs })
            }
            Draft::Txn { revision, succeeded, drafts } => {
                let results = drafts.into_iter().map(|draft| draft.finish(writer)).collect();
                OpResult::Txn(TxnResult { revision, succeeded, results })
            }
        }
    }
}

fn branch<'r, 'a>(request: &'r TxnRequest<'a>, succeeded: bool) -> &'r [Op<'a>] {
    if succeeded { &request.success } else { &request.failure }
}

fn compare_holds(compare: &Compare<'_>, kv: Option<&KeyValue<'_>>) -> bool {
    let order = match (compare.target, kv) {
        (CompareTarget::Value(_), None) => return false,
        (CompareTarget::Value(value), Some(kv)) => kv.value.cmp(value),
        (CompareTarget::Version(number), kv) => kv.map_or(0, |kv| kv.version).cmp(&number),
        (CompareTarget::Create(number), kv) => kv.map_or(0, |kv| kv.create_revision).cmp(&number),
        (CompareTarget::Mod(number), kv) => kv.map_or(0, |kv| kv.mod_revision).cmp(&number),
        (CompareTarget::Lease(number), kv) => kv.map_or(0, |kv| kv.lease).cmp(&number),
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
