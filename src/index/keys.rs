//! Every key with the position of its newest change: a hash table of slots beside an ordered view (D6).
//!
//! A slot holds a position and 32 bits of the key's hash; the key itself is read from the log. The writer, of
//! which there is one, changes the position of a known key under the shared lock, with one atomic store;
//! a new key takes the exclusive lock. Readers hold the shared lock for one look-up or one chunk of a range.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::chain::{self, Stale};
use super::ordered::Ordered;
use crate::error::{Error, ErrorCode, Result};
use crate::key_range::KeyRange;
use crate::log::{Position, SegmentTable};

/// A key's place in the index.
pub type Slot = u32;

/// The index of keys. See the module.
pub struct KeyIndex {
    hasher: FixedState,
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    table: HashTable<Slot>,
    positions: Vec<AtomicU64>,
    hashes: Vec<u32>,
    free: Vec<Slot>,
    ordered: Ordered,
    /// Slots that are not in the ordered view yet.
    fresh: Vec<Slot>,
}

/// One chunk of a range: positions in key order, and the key to go on from if there is more.
pub struct Chunk {
    /// The newest change of each key, which may be a delete or lie beyond the reader's revision.
    pub newest: Vec<Position>,
    /// The last key looked at; reading goes on behind it. `None` at the end of the range.
    pub resume_after: Option<Vec<u8>>,
}

impl KeyIndex {
    /// An empty index. The seed keeps chosen keys from colliding.
    pub fn new(hash_seed: u64) -> Self {
        Self { hasher: FixedState::with_seed(hash_seed), inner: RwLock::default() }
    }

    /// The hash that the other calls take.
    pub fn hash(&self, key: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key);
        (hasher.finish() >> 16) as u32
    }

    /// Number of keys, deleted ones whose history is still kept among them.
    pub fn len(&self) -> usize {
        self.read().table.len()
    }

    /// The slot and newest position of `key`.
    pub fn find(
        &self,
        table: &SegmentTable,
        hash: u32,
        key: &[u8],
    ) -> std::result::Result<Option<(Slot, Position)>, Stale> {
        self.read().find(table, hash, key)
    }

    /// Moves a known key to its newest change. Only the writer calls this.
    pub fn set(&self, slot: Slot, at: Position) {
        self.read().positions[slot as usize].store(at.to_bits(), Ordering::Release);
    }

    /// Moves a key from `old` to `new` unless the writer was faster.
    pub fn replace(&self, slot: Slot, old: Position, new: Position) {
        let inner = self.read();
        let cell = &inner.positions[slot as usize];
        let _ = cell.compare_exchange(old.to_bits(), new.to_bits(), Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether one more key fits; slots are numbered with 32 bits.
    pub fn check_room(&self, keys: usize) -> Result<()> {
        let inner = self.read();
        if inner.positions.len() - inner.free.len() + keys < u32::MAX as usize {
            return Ok(());
        }
        Err(Error::new(ErrorCode::Limit, "the store holds 2^32 - 1 keys, the limit"))
    }

    /// Adds a key that is not in the index. Only the writer calls this, after [`KeyIndex::check_room`].
    pub fn insert(&self, hash: u32, at: Position) {
        let mut inner = self.write();
        let slot = match inner.free.pop() {
            Some(slot) => {
                inner.positions[slot as usize].store(at.to_bits(), Ordering::Release);
                inner.hashes[slot as usize] = hash;
                slot
            }
            None => {
                inner.positions.push(AtomicU64::new(at.to_bits()));
                inner.hashes.push(hash);
                (inner.positions.len() - 1) as Slot
            }
        };
        let Inner { table, hashes, .. } = &mut *inner;
        table.insert_unique(spread(hash), slot, |slot| spread(hashes[*slot as usize]));
        inner.fresh.push(slot);
    }

    /// Takes out the keys whose newest change is still `at`.
    pub fn remove(&self, gone: &[(Slot, Position)]) {
        let mut inner = self.write();
        let mut removed = std::collections::HashSet::new();
        for &(slot, at) in gone {
            let index = slot as usize;
            if inner.positions[index].load(Ordering::Acquire) != at.to_bits() {
                continue;
            }
            let hash = spread(inner.hashes[index]);
            if let Ok(entry) = inner.table.find_entry(hash, |other| *other == slot) {
                entry.remove();
                removed.insert(slot);
            }
        }
        inner.ordered.remove(|slot| removed.contains(&slot));
        inner.fresh.retain(|slot| !removed.contains(slot));
        inner.free.extend(removed);
    }

    /// Up to `limit` keys of `range`, those above `after` if it is given. `table` is asked for a snapshot once
    /// the lock is held, so that it knows every position found.
    pub fn chunk<T: std::ops::Deref<Target = SegmentTable>>(
        &self,
        table: impl Fn() -> T,
        range: KeyRange<'_>,
        after: Option<&[u8]>,
        limit: usize,
    ) -> std::result::Result<Chunk, Stale> {
        let mut chunk = Chunk { newest: Vec::new(), resume_after: None };
        self.visit(table, range, after, |_, at, key| {
            if chunk.newest.len() == limit {
                return false;
            }
            chunk.newest.push(at);
            if chunk.newest.len() == limit {
                chunk.resume_after = Some(key.to_vec());
            }
            true
        })?;
        if chunk.newest.len() < limit {
            chunk.resume_after = None;
        }
        Ok(chunk)
    }

    /// Visits keys in order until `visit` answers false, under the shared lock: keep it short.
    pub fn visit<T: std::ops::Deref<Target = SegmentTable>>(
        &self,
        table: impl Fn() -> T,
        range: KeyRange<'_>,
        after: Option<&[u8]>,
        mut visit: impl FnMut(Slot, Position, &[u8]) -> bool,
    ) -> std::result::Result<(), Stale> {
        let inner = self.ordered(&table);
        let table = table();
        let stale = std::cell::Cell::new(false);
        let key_of = |slot: Slot| match table.change(inner.position(slot)) {
            Some(change) => change.key(),
            None => {
                stale.set(true);
                &[]
            }
        };
        let place = inner.ordered.lower_bound(after.unwrap_or(range.key), &key_of);
        for slot in inner.ordered.iter_from(place) {
            let at = inner.position(slot);
            let Some(change) = table.change(at) else { return Err(Stale) };
            let key = change.key();
            if after == Some(key) {
                continue;
            }
            if !range.contains(key) || !visit(slot, at, key) {
                break;
            }
        }
        if stale.get() { Err(Stale) } else { Ok(()) }
    }

    /// The shared lock with every key in the ordered view.
    fn ordered<T: std::ops::Deref<Target = SegmentTable>>(
        &self,
        table: &impl Fn() -> T,
    ) -> RwLockReadGuard<'_, Inner> {
        loop {
            let inner = self.read();
            if inner.fresh.is_empty() {
                return inner;
            }
            drop(inner);
            let mut inner = self.write();
            let table = table();
            let Inner { ordered, fresh, positions, .. } = &mut *inner;
            let key_of = |slot: Slot| {
                let at = Position::from_bits(positions[slot as usize].load(Ordering::Acquire));
                table.change(at).map_or(&[][..], |change| change.key())
            };
            ordered.merge(std::mem::take(fresh), &key_of);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn position(&self, slot: Slot) -> Position {
        Position::from_bits(self.positions[slot as usize].load(Ordering::Acquire))
    }

    fn find(
        &self,
        table: &SegmentTable,
        hash: u32,
        key: &[u8],
    ) -> std::result::Result<Option<(Slot, Position)>, Stale> {
        let mut stale = false;
        let slot = self.table.find(spread(hash), |slot| {
            self.hashes[*slot as usize] == hash
                && match chain::resolve(table, self.position(*slot), key) {
                    Ok(change) => change.is_some_and(|change| change.key() == key),
                    Err(Stale) => {
                        stale = true;
                        true
                    }
                }
        });
        if stale {
            return Err(Stale);
        }
        Ok(slot.map(|slot| (*slot, self.position(*slot))))
    }
}

/// The table takes its place from the low bits and its tag from the high ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(hash)
}
