//! Where a change lies: segment and offset in one word, valid across processes and restarts.

use std::fmt;

/// Set in the sequence number of a part of the base.
pub const BASE_BIT: u32 = 0x8000_0000;

/// The place of a change. Positions of log segments grow with the revision; those of base parts lie above
/// them all.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// No place.
    pub const NONE: Self = Self(0);

    /// The byte `offset`, a multiple of 8 below 32 GiB, of segment `seq`.
    #[inline]
    pub const fn new(seq: u32, offset: u64) -> Self {
        Self((seq as u64) << 32 | (offset / 8) & 0xffff_ffff)
    }

    /// Number of the segment or base part.
    #[inline]
    pub const fn seq(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Bytes from the beginning of the file.
    #[inline]
    pub const fn offset(self) -> u64 {
        (self.0 & 0xffff_ffff) * 8
    }

    /// Whether this is [`Position::NONE`].
    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The word that is stored.
    #[inline]
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The place of a stored word; any word is a position, though nothing may be there.
    #[inline]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:#x}", self.seq(), self.offset())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_and_order_is_that_of_the_log() {
        let last = Position::new(0x7fff_ffff, (1 << 35) - 8);
        assert_eq!((last.seq(), last.offset()), (0x7fff_ffff, (1 << 35) - 8));
        assert_eq!(Position::from_bits(last.to_bits()), last);
        assert!(Position::new(1, 4096) < Position::new(1, 4104));
        assert!(Position::new(1, 1 << 30) < Position::new(2, 4096));
        assert!(last < Position::new(BASE_BIT | 1, 0));
        assert!(Position::NONE.is_none() && !Position::new(1, 0).is_none());
    }
}
