//! The keys in byte order, as slot numbers in chunks. Built beside the put path (D6): new keys wait outside
//! and are merged when somebody reads a range. Knows nothing of the log: whoever calls gives the key of a slot.

use std::cmp::Ordering;

const CHUNK_MAX: usize = 1024;

/// Slots sorted by their keys.
#[derive(Default)]
pub struct Ordered {
    chunks: Vec<Vec<u32>>,
}

/// A place between two slots, from which reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    chunk: usize,
    index: usize,
}

impl Ordered {
    /// Merges `fresh` slots, whose keys are not in the view yet.
    pub fn merge<'k>(&mut self, mut fresh: Vec<u32>, key_of: &impl Fn(u32) -> &'k [u8]) {
        if self.chunks.is_empty() || fresh.len() > CHUNK_MAX {
            fresh.sort_unstable_by(|a, b| key_of(*a).cmp(key_of(*b)));
            self.rebuild(&fresh, key_of);
        } else {
            for slot in fresh {
                self.insert(slot, key_of);
            }
        }
    }

    /// Takes the slots out for which `gone` holds.
    pub fn remove(&mut self, gone: impl Fn(u32) -> bool) {
        for chunk in &mut self.chunks {
            chunk.retain(|slot| !gone(*slot));
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
    }

    /// The first place whose key is at or above `key`.
    pub fn lower_bound<'k>(&self, key: &[u8], key_of: &impl Fn(u32) -> &'k [u8]) -> Place {
        let chunk = self.chunks.partition_point(|chunk| last_is_below(chunk, key, key_of));
        let index =
            self.chunks.get(chunk).map_or(0, |slots| slots.partition_point(|slot| key_of(*slot) < key));
        Place { chunk, index }
    }

    /// The slots from `place` on, in key order.
    pub fn iter_from(&self, place: Place) -> impl Iterator<Item = u32> + '_ {
        let first = self.chunks.get(place.chunk).map_or(&[][..], |chunk| &chunk[place.index..]);
        let rest = self.chunks.get(place.chunk + 1..).unwrap_or(&[]);
        first.iter().copied().chain(rest.iter().flatten().copied())
    }

    fn insert<'k>(&mut self, slot: u32, key_of: &impl Fn(u32) -> &'k [u8]) {
        let key = key_of(slot);
        let at = self.chunks.partition_point(|chunk| last_is_below(chunk, key, key_of));
        let at = at.min(self.chunks.len() - 1);
        let chunk = &mut self.chunks[at];
        let index = chunk.partition_point(|other| key_of(*other) < key);
        chunk.insert(index, slot);
        if chunk.len() > CHUNK_MAX {
            let upper = chunk.split_off(CHUNK_MAX / 2);
            self.chunks.insert(at + 1, upper);
        }
    }

    fn rebuild<'k>(&mut self, fresh: &[u32], key_of: &impl Fn(u32) -> &'k [u8]) {
        let old: Vec<u32> = std::mem::take(&mut self.chunks).into_iter().flatten().collect();
        let mut merged = Vec::with_capacity(old.len() + fresh.len());
        let (mut old, mut fresh) = (old.into_iter().peekable(), fresh.iter().copied().peekable());
        while let (Some(&a), Some(&b)) = (old.peek(), fresh.peek()) {
            let next = match key_of(a).cmp(key_of(b)) {
                Ordering::Less => old.next(),
                _ => fresh.next(),
            };
            merged.extend(next);
        }
        merged.extend(old);
        merged.extend(fresh);
        self.chunks = merged.chunks(CHUNK_MAX / 2).map(<[u32]>::to_vec).collect();
    }
}

fn last_is_below<'k>(chunk: &[u32], key: &[u8], key_of: &impl Fn(u32) -> &'k [u8]) -> bool {
    chunk.last().is_some_and(|slot| key_of(*slot) < key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reads_like_a_sorted_set(
            batches in prop::collection::vec(prop::collection::vec(any::<u16>(), 0..3000), 1..6),
            probe in any::<u16>(),
            removed in any::<u8>(),
        ) {
            let mut keys: Vec<Vec<u8>> = Vec::new();
            let mut model = std::collections::BTreeSet::new();
            let mut ordered = Ordered::default();
            for batch in batches {
                let start = keys.len() as u32;
                for number in batch {
                    if model.insert(number.to_be_bytes().to_vec()) {
                        keys.push(number.to_be_bytes().to_vec());
                    }
                }
                let fresh = (start..keys.len() as u32).collect();
                ordered.merge(fresh, &|slot| keys[slot as usize].as_slice());
            }
            let key_of = |slot: u32| keys[slot as usize].as_slice();
            ordered.remove(|slot| key_of(slot)[1] == removed);
            model.retain(|key| key[1] != removed);
            let from = probe.to_be_bytes();
            let place = ordered.lower_bound(&from, &key_of);
            let read: Vec<&[u8]> = ordered.iter_from(place).map(key_of).collect();
            let expected: Vec<&[u8]> = model.range(from.to_vec()..).map(Vec::as_slice).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
