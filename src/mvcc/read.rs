//! Reads at a revision. A read holds the gate, which the swap at the end of a compaction waits for, and takes
//! the index's shared lock for one key or one chunk of keys at a time, so that it never holds up a writer.

use std::sync::Arc;

use super::check;
use super::result::{Kvs, RangeResult};
use super::{Mvcc, result};
use crate::error::Result;
use crate::index::{Stale, chain};
use crate::key_range::KeyRange;
use crate::log::{Change, ChangeOp, Pinned, SegmentTable};
use crate::request::{RangeRequest, SortOrder, SortTarget};
use crate::types::KeyValue;

/// Keys looked at under one hold of the index's lock.
const CHUNK_KEYS: usize = 512;

impl Mvcc {
    /// One key at a revision, 0 for now.
    pub fn get(&self, key: &[u8], revision: i64) -> Result<RangeResult> {
        self.range(&RangeRequest { key, revision, ..RangeRequest::default() })
    }

    /// A range at a revision (etcd 14.1-14.6).
    pub fn range(&self, request: &RangeRequest<'_>) -> Result<RangeResult> {
        self.check_open()?;
        check::check_range(request.key, request.range_end)?;
        let _gate = self.gate_shared();
        let current = self.revision();
        let revision = self.read_revision(request, current, false)?;
        let range = KeyRange::new(request.key, request.range_end);
        let mut selection = Selection::new(request);
        let mut kvs = Kvs::new(request.keys_only);
        self.each_live(range, revision, |table, change| {
            selection.offer(&key_value(change), || kvs.pin(table, change.position()))
        })?;
        let (items, count, more) = selection.finish(|item| kvs.change(*item));
        items.into_iter().for_each(|item| kvs.push(item));
        Ok(RangeResult { revision: current, count, more, kvs })
    }

    /// Visits the newest put at or below `revision` of each key of the range that is alive then, in key order.
    /// The caller holds the gate or the writer lock.
    pub(super) fn each_live(
        &self,
        range: KeyRange<'_>,
        revision: i64,
        mut visit: impl FnMut(&SegmentTable, &Change<'_>),
    ) -> Result<()> {
        if range.is_single() {
            let hash = self.index.hash(range.key);
            self.fresh_table(|table| {
                let Some((_, newest)) = self.index.find(table, hash, range.key)? else { return Ok(()) };
                let change = chain::at_revision(table, newest, range.key, revision)?;
                if let Some(change) = change.filter(|change| change.op() == ChangeOp::Put) {
                    visit(table, &change);
                }
                Ok(())
            });
            return Ok(());
        }
        if range.is_empty() {
            return Ok(());
        }
        let mut after: Option<Vec<u8>> = None;
        loop {
            let chunk = self
                .fresh_table(|_| self.index.chunk(|| self.log.table(), range, after.as_deref(), CHUNK_KEYS));
            let mut done = 0;
            self.fresh_table(|table| {
                for newest in &chunk.newest[done..] {
                    let Some(first) = table.change(*newest) else { return Err(Stale) };
                    let change = chain::at_revision(table, *newest, first.key(), revision)?;
                    if let Some(change) = change.filter(|change| change.op() == ChangeOp::Put) {
                        visit(table, &change);
                    }
                    done += 1;
                }
                Ok(())
            });
            after = chunk.resume_after;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Runs `look` with a snapshot of the segments, again with a newer one as long as it is too old.
    pub(crate) fn fresh_table<T>(
        &self,
        mut look: impl FnMut(&Arc<SegmentTable>) -> std::result::Result<T, Stale>,
    ) -> T {
        loop {
            let table = self.log.table();
            if let Ok(found) = look(&table) {
                return found;
            }
        }
    }
}

fn key_value<'a>(change: &Change<'a>) -> KeyValue<'a> {
    result::key_value(change)
}

/// Gathers the answer of a range: counts all keys, keeps those within the bounds on revisions, sorts and cuts.
pub(super) struct Selection<'r, I> {
    request: &'r RangeRequest<'r>,
    items: Vec<I>,
    count: i64,
    more: bool,
    sorts: bool,
    descends: bool,
}

impl<'r, I> Selection<'r, I> {
    pub(super) fn new(request: &'r RangeRequest<'r>) -> Self {
        let sorts = request.sort_target != SortTarget::Key || request.sort_order == SortOrder::Descend;
        let descends = request.sort_order == SortOrder::Descend;
        Self { request, items: Vec::new(), count: 0, more: false, sorts, descends }
    }

    /// Takes one key of the range into account; `item` is asked for only if it may be returned.
    pub(super) fn offer(&mut self, kv: &KeyValue<'_>, item: impl FnOnce() -> Option<I>) {
        self.count += 1;
        let request = self.request;
        let within = (request.min_mod_revision == 0 || kv.mod_revision >= request.min_mod_revision)
            && (request.max_mod_revision == 0 || kv.mod_revision <= request.max_mod_revision)
            && (request.min_create_revision == 0 || kv.create_revision >= request.min_create_revision)
            && (request.max_create_revision == 0 || kv.create_revision <= request.max_create_revision);
        if request.count_only || !within {
            return;
        }
        if !self.sorts && request.limit > 0 && self.items.len() as i64 >= request.limit {
            self.more = true;
            return;
        }
        self.items.extend(item());
    }

    /// The chosen items in order, the count and whether there is more.
    pub(super) fn finish<'c>(mut self, kv: impl Fn(&I) -> Change<'c>) -> (Vec<I>, i64, bool) {
        self.sort(|item| key_value(&kv(item)));
        self.cut()
    }

    /// As [`Selection::finish`], for items that know their pair.
    pub(super) fn finish_by<'c>(mut self, kv: impl Fn(&I) -> KeyValue<'c>) -> (Vec<I>, i64, bool) {
        self.sort(kv);
        self.cut()
    }

    fn sort<'c>(&mut self, kv: impl Fn(&I) -> KeyValue<'c>) {
        if !self.sorts {
            return;
        }
        let descends = self.descends;
        let target = self.request.sort_target;
        self.items.sort_by(|a, b| {
            let (a, b) = (kv(a), kv(b));
            let order = match target {
                SortTarget::Key => a.key.cmp(b.key),
                SortTarget::Version => a.version.cmp(&b.version),
                SortTarget::Create => a.create_revision.cmp(&b.create_revision),
                SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
                SortTarget::Value => a.value.cmp(b.value),
            };
            if descends { order.reverse() } else { order }
        });
    }

    fn cut(mut self) -> (Vec<I>, i64, bool) {
        if self.request.limit > 0 && self.items.len() as i64 > self.request.limit {
            self.items.truncate(self.request.limit as usize);
            self.more = true;
        }
        (self.items, self.count, self.more)
    }
}

/// Where the pair of an item of a transaction's range lives: in the log already, or written by itself.
#[derive(Clone, Copy)]
pub(super) enum Item {
    Logged(Pinned),
    Own(usize),
}
