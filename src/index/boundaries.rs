//! Which ranges hold a key, for half-open ranges that are neither one key nor a prefix.
//!
//! The ends of all ranges cut the keyspace into segments, kept in a B+ tree. A range is noted at the highest
//! nodes that lie wholly inside it, so a lookup walks one path down and reports what it meets: O(log n +
//! hits). A range that spans everything costs a few notes per level, not one per segment.
//!
//! Invariant: for each segment and each range over it, exactly one node on the way from the root to the
//! segment notes the range. Splits move notes up and merges move them down, nothing else does.

pub mod id_set;
pub mod short_key;

use id_set::IdSet;
use short_key::ShortKey;

/// The ids over one part. Six take no more room than a vector and its tag.
type Ids<I> = IdSet<I, 6>;

/// Children per node: a node with more is split, and one with fewer than the minimum is merged with a
/// neighbour if both fill half a node. The tests make tall trees of few ranges.
const CHILDREN_MAX: usize = if cfg!(test) { 8 } else { 64 };
const CHILDREN_MIN: usize = CHILDREN_MAX / 4;

/// Ranges by their boundaries. An id is in at most once.
#[derive(Debug)]
pub struct Boundaries<I> {
    root: Inner<I>,
    len: usize,
}

/// A part of the keyspace: from `key` to the key of whatever follows at the same level.
#[derive(Debug)]
struct Node<I> {
    key: ShortKey,
    ids: Ids<I>,
    /// None: a segment.
    inner: Option<Box<Inner<I>>>,
    /// Of a segment: how many ranges begin or end at its key.
    ends: u32,
}

/// The children of a node in the order of their keys. The first child's key is that of the node, so it is
/// never compared; of the others, `prefix` is what all keys have in common and `heads` the eight bytes after
/// it, as big-endian numbers. A search reads these, and the keys themselves only among equal heads.
#[derive(Debug)]
struct Inner<I> {
    prefix: ShortKey,
    heads: Vec<u64>,
    children: Vec<Node<I>>,
}

impl<I: Copy + Ord> Boundaries<I> {
    /// No ranges. Allocates next to nothing.
    pub fn new() -> Self {
        let everything = Node { key: ShortKey::default(), ids: Ids::default(), inner: None, ends: 0 };
        Self { root: Inner::of(vec![everything]), len: 0 }
    }

    /// Adds the range from `start` up to but without `end`; no end: every key from `start` on. It must not be
    /// empty and the id not be in.
    pub fn insert(&mut self, start: &[u8], end: Option<&[u8]>, id: I) {
        for key in [Some(start), end].into_iter().flatten() {
            self.root.add_boundary(key);
            if self.root.children.len() > CHILDREN_MAX {
                self.grow();
            }
        }
        self.root.note(start, end, end.is_none(), id);
        self.len += 1;
    }

    /// Takes out the range that was added with this id. False: the id is not in the range.
    pub fn remove(&mut self, start: &[u8], end: Option<&[u8]>, id: I) -> bool {
        if !self.root.forget(start, end, id) {
            return false;
        }
        for key in [Some(start), end].into_iter().flatten() {
            self.root.drop_boundary(key);
            self.shrink();
        }
        self.len -= 1;
        true
    }

    /// Calls `f` with the id of each range that holds `key`, in no particular order.
    pub fn for_each(&self, key: &[u8], mut f: impl FnMut(I)) {
        let mut inner = &self.root;
        loop {
            let child = &inner.children[inner.find(key)];
            child.ids.for_each(&mut f);
            match &child.inner {
                Some(deeper) => inner = deeper,
                None => return,
            }
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn grow(&mut self) {
        let all = std::mem::replace(&mut self.root, Inner::of(Vec::new()));
        let node =
            Node { key: ShortKey::default(), ids: Ids::default(), inner: Some(Box::new(all)), ends: 0 };
        self.root = Inner::of(vec![node]);
        self.root.split(0);
    }

    fn shrink(&mut self) {
        while let [only] = &mut self.root.children[..]
            && let Some(mut inner) = only.inner.take()
        {
            inner.note_below(&std::mem::take(&mut only.ids));
            self.root = *inner;
        }
    }
}

impl<I: Copy + Ord> Default for Boundaries<I> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Copy + Ord> Inner<I> {
    fn of(children: Vec<Node<I>>) -> Self {
        let mut inner = Self { prefix: ShortKey::default(), heads: Vec::new(), children };
        inner.index();
        inner
    }

    /// Derives `prefix` and `heads` from the children.
    fn index(&mut self) {
        self.heads.clear();
        let Some((first, last)) = self.children.get(1).zip(self.children.last()) else {
            self.prefix = ShortKey::default();
            return;
        };
        self.prefix = first.key[..common(&first.key, &last.key)].into();
        self.heads.extend(self.children[1..].iter().map(|child| head(&child.key, self.prefix.len())));
    }

    /// Derives them again after the key of the child at `at` has changed or come in. It is not the first.
    fn index_one(&mut self, at: usize, is_new: bool) {
        let key = &self.children[at].key;
        if self.heads.is_empty() || !key.starts_with(&self.prefix) {
            return self.index();
        }
        let head = head(key, self.prefix.len());
        match is_new {
            true => self.heads.insert(at - 1, head),
            false => self.heads[at - 1] = head,
        }
    }

    /// The child that holds `key`: the last one whose key is not above it.
    fn find(&self, key: &[u8]) -> usize {
        let shared = self.prefix.len();
        match key[..shared.min(key.len())].cmp(&*self.prefix) {
            std::cmp::Ordering::Less => return 0,
            std::cmp::Ordering::Greater => return self.children.len() - 1,
            std::cmp::Ordering::Equal => {}
        }
        let wanted = head(key, shared);
        let upto = self.heads.partition_point(|&head| head <= wanted);
        if upto == 0 || self.heads[upto - 1] != wanted {
            return upto;
        }
        let below = self.heads[..upto].partition_point(|&head| head < wanted);
        below + self.children[below + 1..=upto].partition_point(|child| *child.key <= *key)
    }

    /// The last child with a key below `end`.
    fn find_below(&self, end: Option<&[u8]>) -> usize {
        let Some(end) = end else { return self.children.len() - 1 };
        let at = self.find(end);
        if at > 0 && *self.children[at].key == *end { at - 1 } else { at }
    }

    fn add_boundary(&mut self, key: &[u8]) {
        let at = self.find(key);
        let child = &mut self.children[at];
        if let Some(deeper) = &mut child.inner {
            deeper.add_boundary(key);
            if deeper.children.len() > CHILDREN_MAX {
                self.split(at);
            }
        } else if *child.key == *key {
            child.ends += 1;
        } else {
            let segment = Node { key: key.into(), ids: child.ids.clone(), inner: None, ends: 1 };
            if self.children.len() == self.children.capacity() {
                self.children.reserve_exact(8);
            }
            self.children.insert(at + 1, segment);
            self.index_one(at + 1, true);
        }
    }

    /// Takes one range's end off the boundary; an unused one goes and its segment joins the one before, over
    /// which lie the same ranges.
    fn drop_boundary(&mut self, key: &[u8]) {
        let at = self.find(key);
        let child = &mut self.children[at];
        let Some(deeper) = &mut child.inner else {
            child.ends = child.ends.saturating_sub(1);
            if child.ends == 0 && *child.key == *key && !key.is_empty() {
                self.take(at);
            }
            return;
        };
        deeper.drop_boundary(key);
        let count = deeper.children.len();
        if count == 0 {
            self.take(at);
            return;
        }
        if *deeper.children[0].key != *child.key {
            child.key = deeper.children[0].key.clone();
            if at > 0 {
                self.index_one(at, false);
            }
        }
        if count < CHILDREN_MIN {
            self.merge_around(at);
        }
    }

    fn take(&mut self, at: usize) -> Node<I> {
        if !self.heads.is_empty() {
            self.heads.remove(at.max(1) - 1);
        }
        self.children.remove(at)
    }

    fn split(&mut self, at: usize) {
        let child = &mut self.children[at];
        let Some(left) = &mut child.inner else { return };
        let children = left.children.split_off(left.children.len() / 2);
        left.children.shrink_to_fit();
        left.index();
        let key = children[0].key.clone();
        let right = Some(Box::new(Inner::of(children)));
        let mut right = Node { key, ids: child.ids.clone(), inner: right, ends: 0 };
        child.note_here();
        right.note_here();
        self.children.insert(at + 1, right);
        self.index_one(at + 1, true);
    }

    /// Joins the small child at `at` with the neighbour before or after it if both together leave room.
    fn merge_around(&mut self, at: usize) {
        let left = match at {
            _ if self.fits_with_next(at) => at,
            1.. if self.fits_with_next(at - 1) => at - 1,
            _ => return,
        };
        let mut gone = self.take(left + 1);
        let kept = &mut self.children[left];
        let (Some(from), Some(to)) = (&mut gone.inner, &mut kept.inner) else { return };
        let both = kept.ids.common(&gone.ids);
        to.note_below(&kept.ids.without(&both));
        from.note_below(&gone.ids.without(&both));
        kept.ids = both;
        to.children.append(&mut from.children);
        to.index();
    }

    fn fits_with_next(&self, at: usize) -> bool {
        let pair = self.children.get(at..at + 2).unwrap_or_default();
        let counts = pair.iter().filter_map(|node| node.inner.as_ref()).map(|inner| inner.children.len());
        pair.len() == 2 && counts.sum::<usize>() <= CHILDREN_MAX / 2
    }

    /// Notes a range whose ends are boundaries at the highest children inside it. `to_end`: it goes on to the
    /// end of this node or past it.
    fn note(&mut self, start: &[u8], end: Option<&[u8]>, to_end: bool, id: I) {
        let (first, last) = (self.find(start), self.find_below(end));
        for at in first..=last {
            let next = self.children.get(at + 1);
            let to_end = at < last || next.map_or(to_end, |next| Some(&*next.key) == end);
            let child = &mut self.children[at];
            let from_start = at > first || *child.key >= *start;
            match &mut child.inner {
                Some(deeper) if !(from_start && to_end) => deeper.note(start, end, to_end, id),
                _ => child.ids.insert(id),
            }
        }
    }

    fn forget(&mut self, start: &[u8], end: Option<&[u8]>, id: I) -> bool {
        let (first, last) = (self.find(start), self.find_below(end));
        let mut found = false;
        for child in self.children.get_mut(first..=last).unwrap_or_default() {
            let deeper = child.inner.as_mut();
            found |= child.ids.remove(id) || deeper.is_some_and(|deeper| deeper.forget(start, end, id));
        }
        found
    }

    fn note_below(&mut self, ids: &Ids<I>) {
        for child in &mut self.children {
            ids.for_each(|id| child.ids.insert(id));
        }
    }
}

impl<I: Copy + Ord> Node<I> {
    /// Takes over what all children note.
    fn note_here(&mut self) {
        let children = self.inner.as_mut().map_or(&mut [][..], |inner| &mut inner.children);
        let Some((first, others)) = children.split_first_mut() else { return };
        let mut shared = first.ids.clone();
        for other in &*others {
            if shared.is_empty() {
                return;
            }
            shared = shared.common(&other.ids);
        }
        for child in std::iter::once(first).chain(others) {
            child.ids = child.ids.without(&shared);
        }
        shared.for_each(|id| self.ids.insert(id));
    }
}

/// How many first bytes two keys share.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The eight bytes of `key` from `at` on as a number that orders like them; a short key is filled up with
/// zeros.
fn head(key: &[u8], at: usize) -> u64 {
    let rest = &key[at.min(key.len())..];
    match rest.first_chunk() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => rest.iter().rev().fold(0, |head, &byte| head >> 8 | u64::from(byte) << 56),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Range = (Vec<u8>, Option<Vec<u8>>);

    /// Numbers that look random and are the same in every run.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self, below: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % below
        }

        fn key(&mut self) -> Vec<u8> {
            let start: &[u8] = [b"".as_slice(), b"/app/", b"/app/configuration/"][self.next(3) as usize];
            let rest = (0..self.next(12)).map(|_| b"\0ab\xff"[self.next(4) as usize]).collect::<Vec<_>>();
            [start, &rest].concat()
        }

        fn range(&mut self) -> Range {
            loop {
                let (start, end) = (self.key(), self.key());
                if self.next(8) == 0 {
                    return (start, None);
                }
                if start < end {
                    return (start, Some(end));
                }
            }
        }
    }

    fn hits(tree: &Boundaries<u32>, key: &[u8]) -> Vec<u32> {
        let mut hits = Vec::new();
        tree.for_each(key, |id| hits.push(id));
        hits.sort_unstable();
        hits
    }

    fn expected(ranges: &[(u32, Range)], key: &[u8]) -> Vec<u32> {
        let holds = |(start, end): &Range| key >= &start[..] && end.as_ref().is_none_or(|end| key < &end[..]);
        let mut hits = ranges.iter().filter(|(_, range)| holds(range)).map(|(id, _)| *id).collect::<Vec<_>>();
        hits.sort_unstable();
        hits
    }

    /// Checks what the fields promise below `inner`, which begins at `key`. Answers height and number of
    /// notes.
    fn check(inner: &Inner<u32>, key: &[u8]) -> (usize, usize) {
        assert_eq!(*inner.children[0].key, *key);
        assert!(inner.children.is_sorted_by(|a, b| *a.key < *b.key));
        assert!(inner.children.len() <= CHILDREN_MAX);
        assert_eq!(inner.heads.len() + 1, inner.children.len());
        for (child, known) in inner.children[1..].iter().zip(&inner.heads) {
            assert!(child.key.starts_with(&inner.prefix));
            assert_eq!(*known, head(&child.key, inner.prefix.len()));
        }
        let below = inner.children.iter().map(|child| {
            let mut notes = 0;
            child.ids.for_each(|_| notes += 1);
            let (height, more) = match &child.inner {
                Some(deeper) => check(deeper, &child.key),
                None => (0, 0),
            };
            assert!(height > 0 || child.ends > 0 || child.key.is_empty());
            (height, notes + more)
        });
        let below = below.collect::<Vec<_>>();
        assert!(below.iter().all(|child| child.0 == below[0].0));
        (below[0].0 + 1, below.iter().map(|child| child.1).sum())
    }

    #[test]
    fn finds_what_a_scan_of_all_ranges_finds() {
        let mut numbers = Numbers(88172645463325252);
        let mut tree = Boundaries::new();
        let mut ranges: Vec<(u32, Range)> = Vec::new();
        let mut tallest = 0;
        for step in 0..6000 {
            // Fills up, drains, fills up again.
            let growing = step / 1500 % 2 == 0;
            if ranges.is_empty() || (numbers.next(10) < 8) == growing {
                let range = numbers.range();
                tree.insert(&range.0, range.1.as_deref(), step);
                ranges.push((step, range));
            } else {
                let (id, (start, end)) = ranges.swap_remove(numbers.next(ranges.len() as u64) as usize);
                assert!(tree.remove(&start, end.as_deref(), id));
                assert!(!tree.remove(&start, end.as_deref(), id));
            }
            assert_eq!((tree.len, tree.is_empty()), (ranges.len(), ranges.is_empty()));
            let key = numbers.key();
            assert_eq!(hits(&tree, &key), expected(&ranges, &key));
            if step % 16 == 0 {
                tallest = tallest.max(check(&tree.root, b"").0);
            }
            if step % 500 == 0 {
                for key in ranges.iter().flat_map(|(_, range)| [Some(&range.0), range.1.as_ref()]).flatten() {
                    assert_eq!(hits(&tree, key), expected(&ranges, key));
                }
            }
        }
        assert!(tallest >= 3, "only {tallest} levels were tried");
        for (id, (start, end)) in ranges {
            assert!(tree.remove(&start, end.as_deref(), id));
        }
        assert_eq!((tree.root.children.len(), check(&tree.root, b"")), (1, (1, 0)));
    }

    #[test]
    fn ranges_inside_one_another_cost_a_few_notes_each() {
        let mut tree = Boundaries::new();
        let number = |i: u32| i.to_be_bytes();
        let count = 2000;
        for id in 0..count {
            tree.insert(&number(count - id), Some(&number(count + 1 + id)), id);
        }
        let (height, notes) = check(&tree.root, b"");
        assert!(notes <= count as usize * height * 2 * CHILDREN_MAX, "{notes} notes at height {height}");
        assert_eq!(hits(&tree, &number(count)).len(), count as usize);
        assert_eq!(hits(&tree, &number(1)), [count - 1]);
        for id in 0..count {
            assert!(tree.remove(&number(count - id), Some(&number(count + 1 + id)), id));
        }
        assert_eq!(check(&tree.root, b""), (1, 0));
    }

    #[test]
    fn heads_order_like_keys() {
        let keys: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0b", b"abcdefgh", b"b"];
        assert!(keys.is_sorted_by_key(|key| head(key, 0)));
        assert_eq!(head(b"xab", 1), head(b"ab\0\0\0\0\0\0\0", 0));
        assert_eq!(head(b"x", 5), 0);
    }
}
