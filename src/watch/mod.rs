//! Layer 5: the watch engine. One tailer per store follows the log, matches each change against all watches once
//! and puts (watch, position) pairs into the rings of the streams. Consumers turn them into responses; watches
//! whose ring is full, or that start in the past, read the log themselves until they have caught up.
//!
//! Locks, in the order in which they are taken: a stream's consumer, the hub's engine, a stream's shared part.
//! No callback runs with any of them held.

mod catchup;
mod consumer;
mod dispatch;
mod hub;
pub mod matcher;
mod pool;
mod progress;
mod response;
pub mod ring;
mod state;
mod stream;
#[cfg(test)]
mod tests;

pub use dispatch::{Answer, ResponseFn};
pub use hub::Hub;
pub use response::{Response, WATCH_ID_NONE};
pub use stream::Stream;
