//! A stream's matches on their way to the consumer: a bounded queue of (watch, position) pairs (D4). Plain
//! data; the owner locks it. A stream that is idle pays for a few entries only, however long its queue once
//! was.

/// The ring is full; the entry was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// What an empty ring may keep allocated, in entries.
const KEPT: usize = 64;

/// First in, first out, up to `capacity` entries.
#[derive(Debug)]
pub struct Ring<T> {
    entries: Vec<T>,
    capacity: usize,
}

impl<T> Ring<T> {
    /// An empty ring. Memory is taken as entries come.
    pub fn new(capacity: usize) -> Self {
        Self { entries: Vec::new(), capacity }
    }

    /// Adds the youngest entry.
    pub fn push(&mut self, entry: T) -> Result<(), Full> {
        if self.entries.len() >= self.capacity {
            return Err(Full);
        }
        if self.entries.len() == self.entries.capacity() {
            let more = self.entries.len().clamp(4, 4096).min(self.capacity - self.entries.len());
            self.entries.reserve_exact(more);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Moves every entry, oldest first, to the end of `out`.
    pub fn drain_into(&mut self, out: &mut Vec<T>) {
        out.append(&mut self.entries);
        self.entries.shrink_to(KEPT);
    }

    /// Moves entries, oldest first, to the end of `out` up to the first for which `take` does not hold; it
    /// must not hold for any younger one either.
    pub fn drain_while(&mut self, out: &mut Vec<T>, take: impl FnMut(&T) -> bool) {
        let count = self.entries.partition_point(take);
        if count == self.entries.len() {
            self.drain_into(out);
        } else {
            out.extend(self.entries.drain(..count));
        }
    }

    /// How many entries wait.
    #[cfg(any(test, loom))]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_in_order_and_after_what_is_there() {
        let mut ring = Ring::new(3);
        ring.push(1).unwrap();
        ring.push(2).unwrap();
        let mut out = vec![0];
        ring.drain_into(&mut out);
        ring.push(3).unwrap();
        ring.drain_into(&mut out);
        assert_eq!(out, [0, 1, 2, 3]);
        assert!(ring.is_empty());
    }

    #[test]
    fn draining_may_stop_in_between() {
        let mut ring = Ring::new(4);
        (1..=4).for_each(|entry| ring.push(entry).unwrap());
        let mut out = Vec::new();
        ring.drain_while(&mut out, |entry| *entry < 3);
        assert_eq!((out.as_slice(), ring.len()), ([1, 2].as_slice(), 2));
        ring.drain_while(&mut out, |entry| *entry < 3);
        assert_eq!(out, [1, 2]);
        ring.drain_while(&mut out, |_| true);
        assert_eq!(out, [1, 2, 3, 4]);
        assert!(ring.is_empty());
    }

    #[test]
    fn the_bound_holds_and_draining_makes_room() {
        for capacity in [0, 1, 2, 63, 64, 65, 5000] {
            let mut ring = Ring::new(capacity);
            let mut out = Vec::new();
            for _ in 0..2 {
                assert!((0..capacity).all(|i| ring.push(i) == Ok(())));
                assert_eq!(ring.push(capacity), Err(Full));
                assert_eq!(ring.len(), capacity);
                assert!(ring.entries.capacity() <= capacity);
                out.clear();
                ring.drain_into(&mut out);
                assert_eq!(out, (0..capacity).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn memory_of_a_burst_is_given_back() {
        let mut ring = Ring::new(100_000);
        assert_eq!(ring.entries.capacity(), 0);
        for i in 0..100_000 {
            ring.push(i).unwrap();
        }
        ring.drain_into(&mut Vec::new());
        assert!(ring.entries.capacity() <= KEPT);
    }
}
