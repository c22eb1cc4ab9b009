//! Which watches want a key. Each kind of range has the structure that answers for it fastest: single keys
//! and prefixes a hash table (one probe per distinct prefix length), all other ranges their boundaries (D3).
//! Knows ids and ranges only.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::index::boundaries::Boundaries;
use crate::index::boundaries::id_set::IdSet;
use crate::index::boundaries::short_key::ShortKey;
use crate::key_range::KeyRange;

/// Ranges, each with the id of its watch. An id is in at most once.
#[derive(Debug)]
pub struct Matcher<I> {
    singles: Names<I>,
    prefixes: Names<I>,
    /// The lengths of the prefixes, ascending, each with how many different prefixes have it.
    lengths: Vec<(usize, usize)>,
    others: Boundaries<I>,
    len: usize,
}

/// What a range is to the matcher.
enum Kind<'a> {
    Single(&'a [u8]),
    Prefix(&'a [u8]),
    Other(&'a [u8], Option<&'a [u8]>),
    Empty,
}

impl<'a> Kind<'a> {
    fn of(range: KeyRange<'a>) -> Self {
        let KeyRange { key, range_end } = range;
        if range.is_single() {
            Self::Single(key)
        } else if range.is_from_key() {
            match key {
                // No key is empty, so these are every key.
                [] | [0] => Self::Prefix(&[]),
                _ => Self::Other(key, None),
            }
        } else if range.is_empty() {
            Self::Empty
        } else {
            range.as_prefix().map_or(Self::Other(key, Some(range_end)), Self::Prefix)
        }
    }
}

impl<I: Copy + Ord> Matcher<I> {
    /// No ranges. Allocates next to nothing.
    pub fn new() -> Self {
        let hasher = RandomState::default();
        Self {
            singles: Names::new(hasher.clone()),
            prefixes: Names::new(hasher),
            lengths: Vec::new(),
            others: Boundaries::new(),
            len: 0,
        }
    }

    /// Adds a range under an id that is not in. False: the range is empty, so there is nothing to match.
    pub fn insert(&mut self, range: KeyRange<'_>, id: I) -> bool {
        match Kind::of(range) {
            Kind::Single(key) => {
                self.singles.insert(key, id);
            }
            Kind::Prefix(prefix) => {
                if self.prefixes.insert(prefix, id) {
                    match self.lengths.binary_search_by_key(&prefix.len(), |length| length.0) {
                        Ok(at) => self.lengths[at].1 += 1,
                        Err(at) => self.lengths.insert(at, (prefix.len(), 1)),
                    }
                }
            }
            Kind::Other(start, end) => self.others.insert(start, end, id),
            Kind::Empty => return false,
        }
        self.len += 1;
        true
    }

    /// Takes out the range that was added with this id. False: the id is not in with this range.
    pub fn remove(&mut self, range: KeyRange<'_>, id: I) -> bool {
        let found = match Kind::of(range) {
            Kind::Single(key) => self.singles.remove(key, id) != Removed::Nothing,
            Kind::Prefix(prefix) => {
                let removed = self.prefixes.remove(prefix, id);
                if removed == Removed::Name
                    && let Ok(at) = self.lengths.binary_search_by_key(&prefix.len(), |length| length.0)
                {
                    self.lengths[at].1 -= 1;
                    if self.lengths[at].1 == 0 {
                        self.lengths.remove(at);
                    }
                }
                removed != Removed::Nothing
            }
            Kind::Other(start, end) => self.others.remove(start, end, id),
            Kind::Empty => false,
        };
        self.len -= usize::from(found);
        found
    }

    /// Calls `f` once with the id of each range that holds `key`, in no particular order. The empty key is in
    /// none.
    pub fn for_each(&self, key: &[u8], mut f: impl FnMut(I)) {
        if key.is_empty() {
            return;
        }
        if let Some(ids) = self.singles.get(key) {
            ids.for_each(&mut f);
        }
        for &(length, _) in &self.lengths {
            let Some(prefix) = key.get(..length) else { break };
            if let Some(ids) = self.prefixes.get(prefix) {
                ids.for_each(&mut f);
            }
        }
        if !self.others.is_empty() {
            self.others.for_each(key, f);
        }
    }

    /// How many ranges are in.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none is in.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl<I: Copy + Ord> Default for Matcher<I> {
    fn default() -> Self {
        Self::new()
    }
}

/// The ids of one name. One takes no more room than a vector.
type Ids<I> = IdSet<I, 1>;

/// Ids by name (a key or a prefix). The names lie close together, each once; the table has their places. It
/// keeps 32 bits of each hash, so growing reads no name.
#[derive(Debug)]
struct Names<I> {
    hasher: RandomState,
    table: HashTable<Place>,
    entries: Vec<Entry<I>>,
}

#[derive(Debug)]
struct Place {
    tag: u32,
    entry: u32,
}

#[derive(Debug)]
struct Entry<I> {
    name: ShortKey,
    ids: Ids<I>,
}

/// What a removal took out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Removed {
    Nothing,
    Id,
    /// The id, and with it the name, which nobody else has.
    Name,
}

impl<I: Copy + Ord> Names<I> {
    fn new(hasher: RandomState) -> Self {
        Self { hasher, table: HashTable::new(), entries: Vec::new() }
    }

    fn tag(&self, name: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        hasher.finish() as u32
    }

    fn find(&self, tag: u32, name: &[u8]) -> Option<usize> {
        let is_it = |place: &Place| place.tag == tag && *self.entries[place.entry as usize].name == *name;
        Some(self.table.find(spread(tag), is_it)?.entry as usize)
    }

    fn get(&self, name: &[u8]) -> Option<&Ids<I>> {
        if self.entries.is_empty() {
            return None;
        }
        Some(&self.entries[self.find(self.tag(name), name)?].ids)
    }

    /// True: the name is new.
    fn insert(&mut self, name: &[u8], id: I) -> bool {
        let tag = self.tag(name);
        if let Some(at) = self.find(tag, name) {
            self.entries[at].ids.insert(id);
            return false;
        }
        let place = Place { tag, entry: self.entries.len() as u32 };
        self.table.insert_unique(spread(tag), place, |place| spread(place.tag));
        let mut ids = Ids::default();
        ids.insert(id);
        self.entries.push(Entry { name: name.into(), ids });
        true
    }

    fn remove(&mut self, name: &[u8], id: I) -> Removed {
        let tag = self.tag(name);
        let Some(at) = self.find(tag, name) else { return Removed::Nothing };
        let ids = &mut self.entries[at].ids;
        if !ids.remove(id) {
            return Removed::Nothing;
        }
        if !ids.is_empty() {
            return Removed::Id;
        }
        if let Ok(place) = self.table.find_entry(spread(tag), |place| place.entry as usize == at) {
            place.remove();
        }
        self.entries.swap_remove(at);
        if let Some(moved) = self.entries.get(at) {
            let (tag, from) = (self.tag(&moved.name), self.entries.len());
            if let Some(place) = self.table.find_mut(spread(tag), |place| place.entry as usize == from) {
                place.entry = at as u32;
            }
        }
        self.give_back();
        Removed::Name
    }

    fn give_back(&mut self) {
        let len = self.entries.len();
        if len < self.entries.capacity() / 4 {
            self.entries.shrink_to(len * 2);
            self.table.shrink_to(len * 2, |place| spread(place.tag));
        }
    }
}

/// The table wants its hash in the lowest and the highest bits.
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key_range::{OwnedKeyRange, prefix_end};
    use crate::limits::KEY_BYTES_MAX;

    fn hits<I: Copy + Ord>(matcher: &Matcher<I>, key: &[u8]) -> Vec<I> {
        let mut hits = Vec::new();
        matcher.for_each(key, |id| hits.push(id));
        hits.sort_unstable();
        hits
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(0), Just(1), Just(b'a'), Just(b'b'), Just(0xff)];
        prop::collection::vec(byte, 1..6)
    }

    fn range() -> impl Strategy<Value = OwnedKeyRange> {
        let ends = prop_oneof![
            key().prop_map(|key| (key, vec![])),
            prop::collection::vec(any::<bool>(), 0..4).prop_map(|bits| {
                let prefix = bits.iter().map(|&bit| if bit { 0xff } else { b'a' }).collect::<Vec<_>>();
                let end = prefix_end(&prefix);
                (prefix, end)
            }),
            key().prop_map(|key| {
                let end = prefix_end(&key);
                (key, end)
            }),
            key().prop_map(|key| (key, vec![0])),
            Just((vec![0], vec![0])),
            (key(), key()),
        ];
        ends.prop_map(|(key, end)| KeyRange::new(&key, &end).to_owned())
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(OwnedKeyRange),
        Remove(prop::sample::Index),
        Look(Vec<u8>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => range().prop_map(Step::Insert),
            3 => any::<prop::sample::Index>().prop_map(Step::Remove),
            2 => key().prop_map(Step::Look),
        ]
    }

    proptest! {
        #[test]
        fn matches_what_a_linear_scan_matches(steps in prop::collection::vec(step(), 1..200)) {
            let mut matcher = Matcher::new();
            let mut plain: Vec<(OwnedKeyRange, u32)> = Vec::new();
            let scan = |plain: &[(OwnedKeyRange, u32)], key: &[u8]| {
                let holding = plain.iter().filter(|(range, _)| range.as_ref().contains(key));
                holding.map(|(_, id)| *id).collect::<std::collections::BTreeSet<_>>()
            };
            for (id, step) in (0..).zip(steps) {
                match step {
                    Step::Insert(range) => {
                        let taken = matcher.insert(range.as_ref(), id);
                        prop_assert_eq!(taken, !range.as_ref().is_empty());
                        prop_assert!(!matcher.remove(range.as_ref(), id + 1_000_000));
                        if taken {
                            plain.push((range, id));
                        }
                    }
                    Step::Remove(index) if !plain.is_empty() => {
                        let (range, id) = plain.swap_remove(index.index(plain.len()));
                        prop_assert!(matcher.remove(range.as_ref(), id));
                        prop_assert!(!matcher.remove(range.as_ref(), id));
                    }
                    Step::Remove(_) => prop_assert!(matcher.is_empty()),
                    Step::Look(key) => prop_assert!(hits(&matcher, &key).iter().eq(&scan(&plain, &key))),
                }
                prop_assert_eq!(matcher.len(), plain.len());
            }
            let ends = plain.iter().flat_map(|(range, _)| [range.as_ref().key, range.as_ref().range_end]);
            for key in ends.filter(|key| !key.is_empty()) {
                prop_assert!(hits(&matcher, key).iter().eq(&scan(&plain, key)));
            }
        }
    }

    #[test]
    fn every_key_is_a_prefix_of_no_length() {
        let mut matcher = Matcher::new();
        for (id, range) in [(1, KeyRange::new(b"", b"\0")), (2, KeyRange::new(b"\0", b"\0"))] {
            assert!(matcher.insert(range, id));
        }
        assert_eq!(matcher.lengths, [(0, 1)]);
        assert!(matcher.others.is_empty());
        assert_eq!(hits(&matcher, b"\0"), [1, 2]);
        assert_eq!(hits(&matcher, b"\xff"), [1, 2]);
        assert_eq!(hits(&matcher, b""), []);
    }

    #[test]
    fn lengths_live_as_long_as_their_prefixes() {
        let mut matcher = Matcher::new();
        let ranges: [&[u8]; 4] = [b"/a", b"/b", b"/b", b"/abc"];
        for (id, prefix) in (0u64..).zip(ranges) {
            matcher.insert(KeyRange::new(prefix, &prefix_end(prefix)), id);
        }
        assert_eq!(matcher.lengths, [(2, 2), (4, 1)]);
        for (id, prefix) in (0..).zip(ranges) {
            assert!(matcher.remove(KeyRange::new(prefix, &prefix_end(prefix)), id));
        }
        assert_eq!((matcher.lengths.len(), matcher.len()), (0, 0));
    }

    #[test]
    fn the_longest_key_and_many_ids_of_one_key_work() {
        let mut matcher = Matcher::new();
        let longest = vec![0xff; KEY_BYTES_MAX];
        matcher.insert(KeyRange::new(&longest, b""), 0u32);
        matcher.insert(KeyRange::new(&longest[1..], &prefix_end(&longest[1..])), 1);
        matcher.insert(KeyRange::new(b"a", &longest), 2);
        assert_eq!(hits(&matcher, &longest), [0, 1]);
        assert_eq!(hits(&matcher, &longest[1..]), [1, 2]);
        for id in 10..5000 {
            matcher.insert(KeyRange::new(b"k", b""), id);
        }
        assert!(hits(&matcher, b"k").into_iter().eq([2].into_iter().chain(10..5000)));
        for id in 10..5000 {
            assert!(matcher.remove(KeyRange::new(b"k", b""), id));
        }
        assert_eq!(hits(&matcher, b"k"), [2]);
    }

    #[test]
    fn memory_is_given_back() {
        let mut matcher = Matcher::new();
        let key = |id: u32| id.to_be_bytes();
        for id in 0..10_000 {
            matcher.insert(KeyRange::new(&key(id), b""), id);
        }
        for id in 0..9_990 {
            assert!(matcher.remove(KeyRange::new(&key(id), b""), id));
        }
        assert!(matcher.singles.entries.capacity() < 100 && matcher.singles.table.capacity() < 100);
        assert!((0..10_000).all(|id| hits(&matcher, &key(id)).len() == usize::from(id >= 9_990)));
    }
}
