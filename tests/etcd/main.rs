//! etcd's own cases for watch and MVCC, told anew through the public API: one module for each file of the
//! inventory. docs/etcd-tests.md maps every line of it to a test here or elsewhere.

#[path = "../common/mod.rs"]
mod common;

mod cache;
mod client_watch;
mod common_watch;
mod e2e_watch;
mod fragments;
mod key_index;
mod kv;
mod kvstore;
mod kvstore_compaction;
mod v3_kv;
mod v3_watch;
mod watchable_store;
mod watcher;
