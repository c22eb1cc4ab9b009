//! Results of the operations as C reads them. A result is one allocation with a count, and the results
//! inside a transaction's are parts of it: keeping a part keeps the whole.

use std::ptr;
use std::sync::Arc;

use libwatch::{OpResult, Result};

use crate::guard;
use crate::ptr::{Out, View, view};
use crate::request::watch_op_type;
use crate::types::watch_kv;

/// view: kvs point into the mapped log and are pinned until release
#[repr(C)]
pub struct watch_result {
    pub size: usize,
    /// WATCH_OP_* that made it
    pub op: u32,
    /// WATCH_RESULT_*
    pub flags: u32,
    /// store revision after the operation
    pub revision: i64,
    /// RANGE: keys in range without the limit; DELETE_RANGE: keys deleted
    pub count: i64,
    /// RANGE: the keys; PUT, DELETE_RANGE: previous values if asked for
    pub kvs: *const watch_kv,
    pub kv_count: usize,
    /// TXN: one per executed operation; part of this one
    pub results: *const *const watch_result,
    pub result_count: usize,
}

/// watch_result.flags
#[repr(u32)]
pub enum watch_result_flag {
    /// RANGE: the limit left keys out
    WATCH_RESULT_MORE = 1 << 0,
    /// TXN: the compares held
    WATCH_RESULT_SUCCEEDED = 1 << 1,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<watch_result>() == 64 && offset_of!(watch_result, revision) == 16);
    assert!(offset_of!(watch_result, kvs) == 32 && offset_of!(watch_result, results) == 48);
};

/// One result with what its pointers point to.
#[repr(C)]
pub(crate) struct Node {
    seen: watch_result,
    magic: u64,
    /// The allocation that this node is part of, as `Arc::into_raw` gave it.
    root: *const Root,
    kvs: Box<[watch_kv]>,
    parts: Box<[Node]>,
    seen_parts: Box<[*const watch_result]>,
}

/// The allocation: C's pointer to the outermost result is a pointer to this.
#[repr(C)]
struct Root {
    node: Node,
    /// Owns the pins that keep the bytes of `node` mapped.
    source: OpResult,
}

// SAFETY: immutable from the moment C gets it, and every pointer leads into the same allocation or to the
// bytes that `source`, which is Send and Sync, keeps.
unsafe impl Send for Root {}
// SAFETY: as above.
unsafe impl Sync for Root {}

const _: fn() = || {
    fn crosses_threads<T: Send + Sync>() {}
    crosses_threads::<OpResult>();
};

impl View for Node {
    type Seen = watch_result;
    const NAME: &'static str = "result";
    const MAGIC: u64 = u64::from_ne_bytes(*b"w_result");

    fn magic(&self) -> u64 {
        self.magic
    }
}

impl Node {
    fn new(op: watch_op_type, revision: i64, root: *const Root) -> Self {
        let seen = watch_result {
            size: size_of::<watch_result>(),
            op: op as u32,
            flags: 0,
            revision,
            count: 0,
            kvs: ptr::null(),
            kv_count: 0,
            results: ptr::null(),
            result_count: 0,
        };
        let (kvs, parts, seen_parts) = (Box::default(), Box::default(), Box::default());
        Self { seen, magic: Self::MAGIC, root, kvs, parts, seen_parts }
    }

    fn of(source: &OpResult, root: *const Root) -> Self {
        use watch_op_type::*;
        match source {
            OpResult::Put(put) => {
                let node = Self::new(WATCH_OP_PUT, put.revision(), root);
                node.with_kvs(put.prev_kv().iter().map(watch_kv::of).collect())
            }
            OpResult::Range(range) => {
                let mut node = Self::new(WATCH_OP_RANGE, range.revision(), root);
                node.seen.count = range.count();
                node.seen.flags = watch_result_flag::WATCH_RESULT_MORE as u32 * u32::from(range.more());
                node.with_kvs(range.iter().map(|kv| watch_kv::of(&kv)).collect())
            }
            OpResult::DeleteRange(deleted) => {
                let mut node = Self::new(WATCH_OP_DELETE_RANGE, deleted.revision(), root);
                node.seen.count = deleted.deleted();
                let before = (0..deleted.prev_kv_count()).map(|index| watch_kv::of(&deleted.prev_kv(index)));
                node.with_kvs(before.collect())
            }
            OpResult::Txn(txn) => {
                let mut node = Self::new(WATCH_OP_TXN, txn.revision(), root);
                node.seen.flags =
                    watch_result_flag::WATCH_RESULT_SUCCEEDED as u32 * u32::from(txn.succeeded());
                node.with_parts(txn.results().iter().map(|result| Self::of(result, root)).collect())
            }
        }
    }

    fn with_kvs(mut self, kvs: Box<[watch_kv]>) -> Self {
        self.kvs = kvs;
        self.seen.kv_count = self.kvs.len();
        self.seen.kvs = if self.kvs.is_empty() { ptr::null() } else { self.kvs.as_ptr() };
        self
    }

    fn with_parts(mut self, parts: Box<[Node]>) -> Self {
        self.parts = parts;
        // A node's visible part stands first, so a pointer to the node is a pointer to it; see `view`.
        self.seen_parts = self.parts.iter().map(|part| ptr::from_ref(part).cast()).collect();
        self.seen.result_count = self.seen_parts.len();
        self.seen.results = if self.seen_parts.is_empty() { ptr::null() } else { self.seen_parts.as_ptr() };
        self
    }
}

/// Hands `source` to C, which owns one count of it.
pub(crate) fn give(source: OpResult, place: Option<Out<*const watch_result>>) {
    let Some(place) = place else { return };
    let empty = Node::new(watch_op_type::WATCH_OP_PUT, 0, ptr::null());
    let mut root = Arc::new(Root { node: empty, source });
    // The source has its final address now, so what is borrowed from it stays valid.
    let node = Node::of(&root.source, Arc::as_ptr(&root));
    if let Some(unique) = Arc::get_mut(&mut root) {
        unique.node = node;
    }
    place.set(Arc::into_raw(root).cast());
}

/// Takes one more count of a result, or of the transaction's result that it is a part of, and returns it.
/// Own: the caller's, release it. Thr: any. Blk: no. NULL gives NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_result_retain(result: *const watch_result) -> *const watch_result {
    guard::value(ptr::null(), || {
        if result.is_null() {
            return Ok(result);
        }
        let root = root_of(result)?;
        // SAFETY: root came from Arc::into_raw, and the caller's own count keeps it alive.
        unsafe { Arc::increment_strong_count(root) };
        Ok(result)
    })
}

/// Gives one count of a result back; with the last one its bytes are unpinned. NULL is fine.
/// Own: result is gone for the caller. Thr: any. Blk: no
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_result_release(result: *const watch_result) {
    guard::value((), || {
        if result.is_null() {
            return Ok(());
        }
        let root = root_of(result)?;
        // SAFETY: root came from Arc::into_raw, and the caller gives up a count that it owned.
        unsafe { Arc::decrement_strong_count(root) };
        Ok(())
    });
}

fn root_of(result: *const watch_result) -> Result<*const Root> {
    // SAFETY: the header's promise: a result of this library that the caller has a count of.
    Ok(unsafe { view::<Node>(result) }?.root)
}
