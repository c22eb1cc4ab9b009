//! Layer 3: where things are. The newest position of each key by hash and in byte order, the versions of a key,
//! and the boundary structure for ranges. Positions only; what they mean is decided above.

pub mod boundaries;
pub mod chain;
pub mod keys;
pub mod ordered;

pub use chain::Stale;
pub use keys::{KeyIndex, Slot};
