//! An owned key that lies in place when it is short, so that comparing it follows no pointer.

use std::ops::Deref;

/// The longest key in place: with it and its tag a key takes 40 bytes.
const IN_PLACE: usize = 38;

/// Bytes. Ordered and compared as the slice they are.
#[derive(Clone, Debug)]
pub enum ShortKey {
    /// The first `len` of `bytes`.
    InPlace {
        /// How many bytes count.
        len: u8,
        /// The key, filled up with zeros.
        bytes: [u8; IN_PLACE],
    },
    /// A longer key.
    Apart(Box<[u8]>),
}

impl From<&[u8]> for ShortKey {
    fn from(key: &[u8]) -> Self {
        let mut bytes = [0; IN_PLACE];
        match bytes.get_mut(..key.len()) {
            Some(place) => {
                place.copy_from_slice(key);
                Self::InPlace { len: key.len() as u8, bytes }
            }
            None => Self::Apart(key.into()),
        }
    }
}

impl Default for ShortKey {
    fn default() -> Self {
        Self::InPlace { len: 0, bytes: [0; IN_PLACE] }
    }
}

impl Deref for ShortKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::InPlace { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Self::Apart(key) => key,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_at_every_length() {
        assert_eq!(size_of::<ShortKey>(), 40);
        assert!(ShortKey::default().is_empty());
        let bytes = (0..=200).collect::<Vec<u8>>();
        for len in 0..=bytes.len() {
            let key = ShortKey::from(&bytes[..len]);
            assert_eq!(*key, bytes[..len]);
            assert_eq!(matches!(key, ShortKey::Apart(_)), len > IN_PLACE);
        }
    }
}
