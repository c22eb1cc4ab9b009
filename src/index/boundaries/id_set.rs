//! A set of ids that is nearly always small: up to `N` ids lie in place, more are a sorted vector, and many a
//! tree, so that adding and taking out stay cheap when everyone watches the same key.

use std::collections::BTreeSet;

/// The longest vector.
const FEW: usize = 256;

/// The set. Walked in ascending order.
#[derive(Clone, Debug, Default)]
pub enum IdSet<I, const N: usize> {
    /// Nothing.
    #[default]
    Empty,
    /// The first `len` of `ids`, ascending.
    InPlace {
        /// How many count, at least one.
        len: u8,
        /// The ids; what does not count is any id.
        ids: [I; N],
    },
    /// Ascending.
    Few(Vec<I>),
    /// More than a vector takes, until half of it are left.
    #[expect(clippy::box_collection, reason = "keeps the set at two words, of which there are many")]
    Many(Box<BTreeSet<I>>),
}

impl<I: Copy + Ord, const N: usize> IdSet<I, N> {
    /// Adds `id`, which may be in already.
    pub fn insert(&mut self, id: I) {
        match self {
            Self::Empty => *self = Self::InPlace { len: 1, ids: [id; N] },
            Self::InPlace { len, ids } => {
                let used = usize::from(*len);
                let Err(at) = ids[..used].binary_search(&id) else { return };
                if used < N {
                    ids.copy_within(at..used, at + 1);
                    ids[at] = id;
                    *len += 1;
                } else {
                    let mut longer = Vec::with_capacity(2 * N);
                    longer.extend_from_slice(ids);
                    longer.insert(at, id);
                    *self = Self::Few(longer);
                }
            }
            Self::Few(ids) => {
                if let Err(at) = ids.binary_search(&id) {
                    ids.insert(at, id);
                }
                if ids.len() > FEW {
                    *self = Self::Many(Box::new(ids.drain(..).collect()));
                }
            }
            Self::Many(ids) => {
                ids.insert(id);
            }
        }
    }

    /// Takes `id` out and says whether it was in.
    pub fn remove(&mut self, id: I) -> bool {
        match self {
            Self::Empty => return false,
            Self::InPlace { len, ids } => {
                let used = usize::from(*len);
                let Ok(at) = ids[..used].binary_search(&id) else { return false };
                ids.copy_within(at + 1..used, at);
                *len -= 1;
                if *len == 0 {
                    *self = Self::Empty;
                }
            }
            Self::Few(ids) => {
                let Ok(at) = ids.binary_search(&id) else { return false };
                ids.remove(at);
                if ids.len() <= N / 2 + 1 {
                    *self = Self::of(std::mem::take(ids));
                }
            }
            Self::Many(ids) => {
                if !ids.remove(&id) {
                    return false;
                }
                if ids.len() <= FEW / 2 {
                    *self = Self::of(ids.iter().copied().collect());
                }
            }
        }
        true
    }

    /// Calls `f` with each id.
    pub fn for_each(&self, f: impl FnMut(I)) {
        match self {
            Self::Many(ids) => ids.iter().copied().for_each(f),
            _ => self.slice().iter().copied().for_each(f),
        }
    }

    /// Whether `id` is in.
    pub fn contains(&self, id: I) -> bool {
        match self {
            Self::Many(ids) => ids.contains(&id),
            _ => self.slice().binary_search(&id).is_ok(),
        }
    }

    /// Whether there is no id.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }

    /// The ids that are in both sets.
    pub fn common(&self, other: &Self) -> Self {
        self.filtered(|id| other.contains(id))
    }

    /// The ids that are in this set only.
    pub fn without(&self, other: &Self) -> Self {
        self.filtered(|id| !other.contains(id))
    }

    /// The ids, unless they are a tree.
    fn slice(&self) -> &[I] {
        match self {
            Self::Empty | Self::Many(_) => &[],
            Self::InPlace { len, ids } => &ids[..usize::from(*len)],
            Self::Few(ids) => ids,
        }
    }

    fn filtered(&self, keep: impl Fn(I) -> bool) -> Self {
        let mut kept = Vec::new();
        self.for_each(|id| {
            if keep(id) {
                kept.push(id);
            }
        });
        Self::of(kept)
    }

    /// The set of ascending ids.
    fn of(mut kept: Vec<I>) -> Self {
        let Some(&first) = kept.first() else { return Self::Empty };
        if kept.len() > FEW {
            return Self::Many(Box::new(kept.into_iter().collect()));
        }
        let mut ids = [first; N];
        match ids.get_mut(..kept.len()) {
            Some(place) => {
                place.copy_from_slice(&kept);
                Self::InPlace { len: kept.len() as u8, ids }
            }
            None => {
                kept.shrink_to_fit();
                Self::Few(kept)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<const N: usize>(set: &IdSet<u32, N>) -> Vec<u32> {
        let mut ids = Vec::new();
        set.for_each(|id| ids.push(id));
        ids
    }

    fn try_every_size<const N: usize>() {
        let (mut set, mut plain) = (IdSet::<u32, N>::default(), BTreeSet::new());
        let numbers = (0..2 * FEW as u32).map(|i| i * 7919 % 1021);
        for id in numbers.clone().chain(numbers.clone()) {
            set.insert(id);
            plain.insert(id);
            assert!(set.contains(id) && !set.is_empty());
            assert!(ids(&set).iter().eq(&plain));
            assert_eq!(matches!(set, IdSet::InPlace { .. }), plain.len() <= N);
        }
        assert!(matches!(set, IdSet::Many(_)));
        for id in numbers {
            assert!(set.remove(id) && !set.remove(id) && !set.contains(id));
            plain.remove(&id);
            assert!(ids(&set).iter().eq(&plain));
            assert_eq!(set.is_empty(), plain.is_empty());
        }
    }

    #[test]
    fn a_set_is_the_same_at_every_size() {
        try_every_size::<1>();
        try_every_size::<6>();
        assert_eq!((size_of::<IdSet<u32, 1>>(), size_of::<IdSet<u32, 6>>()), (24, 32));
    }

    #[test]
    fn common_and_without_split_a_set() {
        for (a, b) in [(0..0, 0..9), (0..1, 0..1), (0..5, 3..9), (0..900, 100..800), (0..900, 5..6)] {
            let (mut left, mut right) = (IdSet::<u32, 6>::default(), IdSet::default());
            a.clone().for_each(|id: u32| left.insert(id));
            b.clone().for_each(|id: u32| right.insert(id));
            assert_eq!(ids(&left.common(&right)), a.clone().filter(|id| b.contains(id)).collect::<Vec<_>>());
            assert_eq!(ids(&left.without(&right)), a.filter(|id| !b.contains(id)).collect::<Vec<_>>());
        }
    }
}
