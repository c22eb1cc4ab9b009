//! What `key` and `range_end` mean together, in one place: a single key, a half-open range, or every key from
//! `key` on (etcd 2.2).

use crate::error::{Error, ErrorCode, Result};

/// Writes the `range_end` that makes `prefix` a prefix range (etcd 2.5). The empty prefix and a prefix of
/// `0xff` bytes alone give `"\0"`, which means every key from `key` on.
///
/// ```
/// assert_eq!(libwatch::prefix_end(b"/app/"), b"/app0");
/// assert_eq!(libwatch::prefix_end(b"\xff\xff"), b"\0");
/// ```
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    match prefix.iter().rposition(|&byte| byte < 0xff) {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end
        }
        None => vec![0],
    }
}

/// `key` and `range_end` of a request, borrowed, with their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRange<'a> {
    /// The first key.
    pub key: &'a [u8],
    /// Empty: the single key. `"\0"`: every key from `key` on. Otherwise the first key that is out.
    pub range_end: &'a [u8],
}

impl<'a> KeyRange<'a> {
    /// The range that a request with these two members means.
    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        Self { key, range_end }
    }

    /// One key and no other.
    pub fn is_single(&self) -> bool {
        self.range_end.is_empty()
    }

    /// No upper end.
    pub fn is_from_key(&self) -> bool {
        self.range_end == [0]
    }

    /// A half-open range with nothing in it.
    pub fn is_empty(&self) -> bool {
        !self.is_single() && !self.is_from_key() && self.range_end <= self.key
    }

    /// Whether `key` is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_single() {
            key == self.key
        } else {
            key >= self.key && (self.is_from_key() || key < self.range_end)
        }
    }

    /// The prefix that this range stands for, if it is exactly a prefix range; the whole keyspace is none.
    pub fn as_prefix(&self) -> Option<&'a [u8]> {
        let is_prefix = !self.is_single() && !self.is_from_key() && prefix_end(self.key) == self.range_end;
        is_prefix.then_some(self.key)
    }

    /// The range with its ends owned.
    pub fn to_owned(&self) -> OwnedKeyRange {
        OwnedKeyRange { key: self.key.into(), range_end: self.range_end.into() }
    }
}

/// A [`KeyRange`] that owns its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedKeyRange {
    key: Box<[u8]>,
    range_end: Box<[u8]>,
}

impl OwnedKeyRange {
    /// The range, borrowed.
    pub fn as_ref(&self) -> KeyRange<'_> {
        KeyRange::new(&self.key, &self.range_end)
    }
}

/// Refuses a key that the store cannot hold.
pub(crate) fn check_key(key: &[u8]) -> Result<()> {
    if key.is_empty() {
        return Err(Error::new(ErrorCode::EmptyKey, "the key is empty"));
    }
    if key.len() > crate::limits::KEY_BYTES_MAX {
        let message =
            format!("the key has {} bytes, the limit is {}", key.len(), crate::limits::KEY_BYTES_MAX);
        return Err(Error::new(ErrorCode::Limit, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// etcd 2.5
    #[test]
    fn prefix_end_increments_the_last_byte_that_can_be() {
        assert_eq!(prefix_end(b"a"), b"b");
        assert_eq!(prefix_end(b"a\xff"), b"b");
        assert_eq!(prefix_end(b"a\xfe\xff\xff"), b"a\xff");
        assert_eq!(prefix_end(b""), b"\0");
    }

    #[test]
    fn a_range_is_one_of_three_kinds() {
        let single = KeyRange::new(b"a", b"");
        assert!(single.is_single() && single.contains(b"a") && !single.contains(b"a\0"));
        let from = KeyRange::new(b"b", b"\0");
        assert!(from.is_from_key() && from.contains(b"zz") && !from.contains(b"a"));
        let between = KeyRange::new(b"a", b"c");
        assert!(between.contains(b"a") && between.contains(b"bzz") && !between.contains(b"c"));
        assert!(KeyRange::new(b"c", b"a").is_empty() && KeyRange::new(b"c", b"c").is_empty());
    }

    #[test]
    fn a_prefix_range_is_recognised() {
        assert_eq!(KeyRange::new(b"ab", b"ac").as_prefix(), Some(b"ab".as_slice()));
        assert_eq!(KeyRange::new(b"ab", b"ad").as_prefix(), None);
        assert_eq!(KeyRange::new(b"ab", b"").as_prefix(), None);
        assert_eq!(KeyRange::new(b"\0", b"\0").as_prefix(), None);
    }

    #[test]
    fn a_key_is_refused_at_zero_and_past_the_limit() {
        assert_eq!(check_key(b"").unwrap_err().code(), ErrorCode::EmptyKey);
        assert!(check_key(&vec![1; crate::limits::KEY_BYTES_MAX]).is_ok());
        assert_eq!(
            check_key(&vec![1; crate::limits::KEY_BYTES_MAX + 1]).unwrap_err().code(),
            ErrorCode::Limit
        );
    }
}
