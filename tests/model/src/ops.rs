//! Reads and writes of the model: what is refused, what a transaction does, what a range answers. The state is
//! every version of every key there ever was.

use std::collections::BTreeMap;

use crate::answer::{DeleteAnswer, ErrorCode, Event, OpAnswer, Pair, PutAnswer, RangeAnswer, TxnAnswer};
use crate::call::{
    Bytes, Compare, CompareResult, DeleteRange, Op, Put, Range, SortOrder, SortTarget, Target, Txn,
};

/// Whether a key is in the range that `key` and `range_end` mean (etcd 2.2).
pub(crate) fn contains(key: &[u8], range_end: &[u8], candidate: &[u8]) -> bool {
    match range_end {
        [] => candidate == key,
        [0] => candidate >= key,
        end => candidate >= key && candidate < end,
    }
}

/// Everything that was ever written.
pub(crate) struct State {
    pub(crate) revision: i64,
    pub(crate) compact_revision: i64,
    pub(crate) ops_max: i64,
    /// Each key's versions, oldest first; `None` where it was deleted.
    keys: BTreeMap<Bytes, Vec<(i64, Option<Pair>)>>,
    /// Every event, oldest first, with what was before.
    pub(crate) history: Vec<Event>,
}

impl State {
    pub(crate) fn new(ops_max: i64) -> Self {
        Self { revision: 1, compact_revision: -1, ops_max, keys: BTreeMap::new(), history: Vec::new() }
    }

    /// The pairs of a range that were alive at a revision, in key order.
    fn at(&self, key: &[u8], range_end: &[u8], revision: i64) -> BTreeMap<Bytes, Pair> {
        let after = self.keys.range(Bytes::from(key)..);
        let within = after.take_while(|(candidate, _)| contains(key, range_end, candidate));
        let alive = within.filter_map(|(key, versions)| {
            let count = versions.partition_point(|(number, _)| *number <= revision);
            let newest = &versions.get(count.checked_sub(1)?)?.1;
            Some((key.clone(), newest.clone()?))
        });
        alive.collect()
    }

    pub(crate) fn put(&mut self, put: &Put) -> Result<PutAnswer, ErrorCode> {
        check_put(put)?;
        let mut running = Running::new(self);
        running.check_exists(put)?;
        let answer = running.put(put);
        let changes = running.changes;
        self.commit(changes);
        Ok(answer)
    }

    pub(crate) fn delete_range(&mut self, delete: &DeleteRange) -> Result<DeleteAnswer, ErrorCode> {
        check_key(&delete.key)?;
        let mut running = Running::new(self);
        let answer = running.delete_range(delete);
        let changes = running.changes;
        self.commit(changes);
        Ok(answer)
    }

    pub(crate) fn txn(&mut self, txn: &Txn) -> Result<TxnAnswer, ErrorCode> {
        check_txn(txn, self.ops_max, 1)?;
        changes_once(&txn.success)?;
        changes_once(&txn.failure)?;
        let mut running = Running::new(self);
        running.check(txn)?;
        let answer = running.txn(txn);
        let changes = running.changes;
        self.commit(changes);
        Ok(answer)
    }

    pub(crate) fn range(&self, range: &Range) -> Result<RangeAnswer, ErrorCode> {
        check_key(&range.key)?;
        let revision = match range.revision {
            ..=0 => self.revision,
            asked if asked > self.revision => return Err(ErrorCode::FutureRevision),
            asked if asked < self.compact_revision => return Err(ErrorCode::Compacted),
            asked => asked,
        };
        Ok(select(range, self.at(&range.key, &range.range_end, revision), self.revision))
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Result<(), ErrorCode> {
        if revision <= self.compact_revision {
            return Err(ErrorCode::Compacted);
        }
        if revision > self.revision {
            return Err(ErrorCode::FutureRevision);
        }
        self.compact_revision = revision;
        Ok(())
    }

    fn commit(&mut self, changes: Vec<Event>) {
        if changes.is_empty() {
            return;
        }
        self.revision += 1;
        for event in changes {
            let version = (self.revision, event.put.then(|| event.kv.clone()));
            self.keys.entry(event.kv.key.clone()).or_default().push(version);
            self.history.push(event);
        }
    }
}

/// Which pairs of a range are answered, and in which order (etcd 14.4-14.6).
fn select(range: &Range, alive: BTreeMap<Bytes, Pair>, revision: i64) -> RangeAnswer {
    let count = alive.len() as i64;
    if range.count_only {
        return RangeAnswer { revision, count, more: false, kvs: Vec::new() };
    }
    let at_least = |bound: i64, number: i64| bound == 0 || number >= bound;
    let at_most = |bound: i64, number: i64| bound == 0 || number <= bound;
    let mut kvs: Vec<Pair> = alive
        .into_values()
        .filter(|kv| {
            at_least(range.min_mod_revision, kv.mod_revision)
                && at_most(range.max_mod_revision, kv.mod_revision)
                && at_least(range.min_create_revision, kv.create_revision)
                && at_most(range.max_create_revision, kv.create_revision)
        })
        .collect();
    kvs.sort_by(|a, b| {
        let order = match range.sort_target {
            SortTarget::Key => a.key.cmp(&b.key),
            SortTarget::Version => a.version.cmp(&b.version),
            SortTarget::Create => a.create_revision.cmp(&b.create_revision),
            SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
            SortTarget::Value => a.value.cmp(&b.value),
        };
        if range.sort_order == SortOrder::Descend { order.reverse() } else { order }
    });
    let more = range.limit > 0 && kvs.len() as i64 > range.limit;
    if more {
        kvs.truncate(range.limit as usize);
    }
    if range.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::default());
    }
    RangeAnswer { revision, count, more, kvs }
}

fn check_key(key: &[u8]) -> Result<(), ErrorCode> {
    if key.is_empty() { Err(ErrorCode::EmptyKey) } else { Ok(()) }
}

fn check_put(put: &Put) -> Result<(), ErrorCode> {
    check_key(&put.key)?;
    let both = (put.ignore_value && !put.value.is_empty()) || (put.ignore_lease && put.lease != 0);
    if both { Err(ErrorCode::InvalidArgument) } else { Ok(()) }
}

/// What can be said of a transaction without looking at the store; `left` entries are allowed in a list.
fn check_txn(txn: &Txn, left: i64, depth: u32) -> Result<(), ErrorCode> {
    let longest = txn.compare.len().max(txn.success.len()).max(txn.failure.len()) as i64;
    if longest > left || depth > libwatch::limits::TXN_DEPTH_MAX {
        return Err(ErrorCode::Limit);
    }
    txn.compare.iter().try_for_each(|compare| check_key(&compare.key))?;
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Put(put) => check_put(put)?,
            Op::Range(range) => check_key(&range.key)?,
            Op::DeleteRange(delete) => check_key(&delete.key)?,
            Op::Txn(nested) => check_txn(nested, left - longest, depth + 1)?,
        }
    }
    Ok(())
}

/// What an operation may change: a key it puts, or a range it deletes.
#[derive(Clone)]
pub(crate) enum Mark<'t> {
    Put(&'t [u8]),
    Delete(&'t DeleteRange),
}

fn collide(a: &Mark<'_>, b: &Mark<'_>) -> bool {
    match (a, b) {
        (Mark::Put(a), Mark::Put(b)) => a == b,
        (Mark::Put(key), Mark::Delete(delete)) | (Mark::Delete(delete), Mark::Put(key)) => {
            contains(&delete.key, &delete.range_end, key)
        }
        (Mark::Delete(_), Mark::Delete(_)) => false,
    }
}

/// No two operations of a list may put the same key, or one put what another deletes (etcd 14.12).
pub(crate) fn changes_once(ops: &[Op]) -> Result<Vec<Mark<'_>>, ErrorCode> {
    let mut all: Vec<Mark<'_>> = Vec::new();
    for op in ops {
        let own = match op {
            Op::Put(put) => vec![Mark::Put(&put.key)],
            Op::DeleteRange(delete) => vec![Mark::Delete(delete)],
            Op::Range(_) => Vec::new(),
            Op::Txn(nested) => [changes_once(&nested.success)?, changes_once(&nested.failure)?].concat(),
        };
        if own.iter().any(|mark| all.iter().any(|other| collide(mark, other))) {
            return Err(ErrorCode::DuplicateKey);
        }
        all.extend(own);
    }
    Ok(all)
}

/// A transaction while it runs.
struct Running<'s> {
    state: &'s State,
    /// What it has changed, in order.
    changes: Vec<Event>,
}

impl<'s> Running<'s> {
    fn new(state: &'s State) -> Self {
        Self { state, changes: Vec::new() }
    }

    /// The revision that a reader inside sees (etcd 1.4, 1.5).
    fn revision(&self) -> i64 {
        self.state.revision + i64::from(!self.changes.is_empty())
    }

    /// The pairs of a range, own changes included.
    fn now(&self, key: &[u8], range_end: &[u8]) -> BTreeMap<Bytes, Pair> {
        let mut alive = self.state.at(key, range_end, self.state.revision);
        for event in self.changes.iter().filter(|event| contains(key, range_end, &event.kv.key)) {
            match event.put {
                true => alive.insert(event.kv.key.clone(), event.kv.clone()),
                false => alive.remove(&event.kv.key),
            };
        }
        alive
    }

    /// A compare looks at the state before the transaction (etcd 14.10).
    fn holds(&self, compare: &Compare) -> bool {
        let alive = self.state.at(&compare.key, &compare.range_end, self.state.revision);
        if alive.is_empty() {
            one_holds(compare, None)
        } else {
            alive.values().all(|kv| one_holds(compare, Some(kv)))
        }
    }

    fn branch<'t>(&self, txn: &'t Txn) -> (bool, &'t [Op]) {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        (succeeded, if succeeded { &txn.success } else { &txn.failure })
    }

    fn check_exists(&self, put: &Put) -> Result<(), ErrorCode> {
        let needs = put.ignore_value || put.ignore_lease;
        let before = self.state.at(&put.key, b"", self.state.revision);
        if needs && before.is_empty() { Err(ErrorCode::KeyNotFound) } else { Ok(()) }
    }

    /// What can fail, fails before the first change, on the chosen branches only (etcd 14.10, 14.11).
    fn check(&self, txn: &Txn) -> Result<(), ErrorCode> {
        for op in self.branch(txn).1 {
            match op {
                Op::Put(put) => self.check_exists(put)?,
                Op::Range(range) => match range.revision {
                    0 => {}
                    asked if asked > self.state.revision => return Err(ErrorCode::FutureRevision),
                    asked if asked < 0 || asked < self.state.compact_revision => {
                        return Err(ErrorCode::Compacted);
                    }
                    _ => {}
                },
                Op::DeleteRange(_) => {}
                Op::Txn(nested) => self.check(nested)?,
            }
        }
        Ok(())
    }

    fn txn(&mut self, txn: &Txn) -> TxnAnswer {
        let (succeeded, ops) = self.branch(txn);
        let results = ops
            .iter()
            .map(|op| match op {
                Op::Put(put) => OpAnswer::Put(self.put(put)),
                Op::Range(range) => OpAnswer::Range(self.range(range)),
                Op::DeleteRange(delete) => OpAnswer::DeleteRange(self.delete_range(delete)),
                Op::Txn(nested) => OpAnswer::Txn(self.txn(nested)),
            })
            .collect();
        TxnAnswer { revision: self.revision(), succeeded, results }
    }

    fn put(&mut self, put: &Put) -> PutAnswer {
        let prev = self.now(&put.key, b"").into_values().next();
        let revision = self.state.revision + 1;
        let kept = prev.clone().unwrap_or_default();
        let kv = Pair {
            key: put.key.clone(),
            value: if put.ignore_value { kept.value } else { put.value.clone() },
            create_revision: if prev.is_some() { kept.create_revision } else { revision },
            mod_revision: revision,
            version: kept.version + 1,
            lease: if put.ignore_lease { kept.lease } else { put.lease },
        };
        let answer = PutAnswer { revision, prev_kv: prev.clone().filter(|_| put.prev_kv) };
        self.changes.push(Event { put: true, kv, prev_kv: prev });
        answer
    }

    fn delete_range(&mut self, delete: &DeleteRange) -> DeleteAnswer {
        let doomed: Vec<Pair> = self.now(&delete.key, &delete.range_end).into_values().collect();
        let mod_revision = self.state.revision + 1;
        for prev in &doomed {
            let kv = Pair { key: prev.key.clone(), mod_revision, ..Pair::default() };
            self.changes.push(Event { put: false, kv, prev_kv: Some(prev.clone()) });
        }
        DeleteAnswer {
            revision: self.revision(),
            deleted: doomed.len() as i64,
            prev_kvs: if delete.prev_kv { doomed } else { Vec::new() },
        }
    }

    fn range(&self, range: &Range) -> RangeAnswer {
        let alive = match range.revision {
            0 => self.now(&range.key, &range.range_end),
            asked => self.state.at(&range.key, &range.range_end, asked),
        };
        select(range, alive, self.revision())
    }
}

/// Whether a compare holds for one pair, or for an absent key (etcd 14.9).
fn one_holds(compare: &Compare, kv: Option<&Pair>) -> bool {
    let absent = Pair::default();
    let stored = kv.unwrap_or(&absent);
    let order = match &compare.target {
        Target::Version(given) => stored.version.cmp(given),
        Target::Create(given) => stored.create_revision.cmp(given),
        Target::Mod(given) => stored.mod_revision.cmp(given),
        Target::Lease(given) => stored.lease.cmp(given),
        Target::Value(_) if kv.is_none() => return false,
        Target::Value(given) => stored.value.cmp(given),
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}
