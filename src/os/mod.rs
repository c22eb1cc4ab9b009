//! The operating system behind small seams, so that a test can stand in for it: files and directories
//! ([`file`], [`real`], [`memory`]), mappings ([`region`]), threads, wake-ups and the fork detector. Lowest
//! layer: it knows nothing of records or revisions.

pub mod file;
pub mod fork;
pub mod memory;
pub mod prefetch;
pub mod real;
pub mod region;
pub mod thread;
pub mod view;
pub mod wake;
