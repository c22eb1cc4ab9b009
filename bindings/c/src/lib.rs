//! The C library. Each function checks its arguments, makes one call of the core and hands back the result;
//! what a call means is decided in the core. The committed header include/watch.h is generated from this
//! crate.
//!
//! Layers, each uses only what stands before it: types, guard, handle, ptr, sized, foreign; then status,
//! version, log, request, result, response; then store, ops, stream, tools.
#![allow(non_camel_case_types, reason = "the names are those of the C header")]

mod foreign;
mod guard;
mod handle;
mod log;
mod ops;
mod ptr;
mod request;
mod response;
mod result;
mod sized;
mod status;
mod store;
mod stream;
mod tools;
mod types;
mod version;
