//! etcd's watch without a server: a multi-version key-value store on an append-only revision log, and a watch
//! engine that replays history from any revision and then follows the present.
//!
//! Start at [`Store`]. Errors carry an [`ErrorCode`], whose numbers are those of the C library.

// Layer 0: words and bounds.
pub mod error;
pub mod key_range;
pub mod limits;
pub mod options;
pub mod report;
pub mod request;
mod sync;
pub mod types;

// Layers 1 to 6, each of which uses only those above it in this list.
mod index;
mod log;
mod mvcc;
mod os;
mod store;
mod watch;

// What is built on all of them.
pub mod tools;

pub use error::{Error, ErrorCode, Result};
pub use key_range::{KeyRange, OwnedKeyRange, prefix_end};
pub use mvcc::{DeleteRangeResult, OpResult, PutResult, RangeResult, TxnResult};
pub use options::{AutoCompaction, Durability, StoreOptions, StreamOptions};
pub use report::{LogSink, set_log};
pub use request::{
    Compare, CompareResult, CompareTarget, CreateRequest, DeleteRangeRequest, Op, PutRequest, RangeRequest,
    SortOrder, SortTarget, TxnRequest,
};
pub use store::{Store, StoreStats, Stream};
pub use types::{Event, EventType, KeyValue};
pub use watch::{Answer, Response, ResponseFn, WATCH_ID_NONE};

/// What the model checker looks at: see tests/loom.rs.
#[cfg(loom)]
#[doc(hidden)]
#[allow(missing_docs)]
pub mod loom_api {
    pub use crate::mvcc::publish::Publication;
    pub use crate::os::wake::EventCount;
    pub use crate::watch::ring::Ring;
}
