//! The operations: short forms for the common case, full forms that take a request and give a result.

use libwatch::{DeleteRangeRequest, OpResult, PutRequest};

use crate::guard;
use crate::ptr::{Out, bytes, invalid};
use crate::request::{
    self, watch_delete_range_request, watch_put_request, watch_range_request, watch_txn_request,
};
use crate::result::{give, watch_result};
use crate::store::{enter, watch_store};
use crate::types::{watch_bytes, watch_status};

/// Writes into buf the range_end that makes prefix a prefix range, and points *range_end there. buf has
/// room for prefix.len bytes, at least 1; it may be the prefix's own memory. A prefix that is empty or of
/// 0xff bytes alone gives "\0": every key from key on.
/// Own: *range_end points into buf. Thr: any. Blk: no. Err: INVALID_ARGUMENT
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_prefix_end(
    prefix: watch_bytes,
    buf: *mut u8,
    buf_len: usize,
    range_end: *mut watch_bytes,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about bytes.
        let prefix = unsafe { bytes(prefix, "prefix") }?;
        // SAFETY: the header's promise about results.
        let place = unsafe { Out::new(range_end, "range_end") }?;
        // SAFETY: the header's promise about results.
        let room = unsafe { Out::new(buf, "buf") }?;
        let needed = prefix.len().max(1);
        if buf_len < needed {
            return Err(invalid(format!("buf_len is {buf_len}; this prefix needs {needed}")));
        }
        let end = libwatch::prefix_end(prefix);
        for (index, byte) in end.iter().enumerate() {
            // SAFETY: the end is no longer than `needed`.
            unsafe { room.set_at(index, *byte) };
        }
        place.set(watch_bytes { data: buf, len: end.len() });
        Ok(())
    })
}

/// Sets key to value, without a lease. revision may be NULL; it gets the revision of this put.
/// Thr: any. Blk: the writer lock and, with DURABILITY_COMMIT, the sync.
/// Err: EMPTY_KEY LIMIT INVALID_ARGUMENT READ_ONLY NO_SPACE IO POISONED CLOSED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_put(
    store: *mut watch_store,
    key: watch_bytes,
    value: watch_bytes,
    revision: *mut i64,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let store = unsafe { enter(store) }?;
        // SAFETY: the header's promise about bytes.
        let key = unsafe { bytes(key, "key") }?;
        // SAFETY: the header's promise about bytes.
        let value = unsafe { bytes(value, "value") }?;
        let result = store.put(&PutRequest { key, value, ..PutRequest::default() })?;
        // SAFETY: the header's promise about results.
        if let Some(place) = unsafe { Out::optional(revision) } {
            place.set(result.revision());
        }
        Ok(())
    })
}

/// Deletes key, or every key of the range. deleted and revision may be NULL. A delete that meets no key
/// makes no revision; *revision is then the newest there is.
/// Thr: any. Blk: as watch_store_put. Err: EMPTY_KEY LIMIT INVALID_ARGUMENT READ_ONLY NO_SPACE IO POISONED
/// CLOSED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_delete(
    store: *mut watch_store,
    key: watch_bytes,
    range_end: watch_bytes,
    deleted: *mut i64,
    revision: *mut i64,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let store = unsafe { enter(store) }?;
        // SAFETY: the header's promise about bytes.
        let key = unsafe { bytes(key, "key") }?;
        // SAFETY: the header's promise about bytes.
        let range_end = unsafe { bytes(range_end, "range_end") }?;
        let result = store.delete_range(&DeleteRangeRequest { key, range_end, prev_kv: false })?;
        // SAFETY: the header's promise about results.
        if let Some(place) = unsafe { Out::optional(deleted) } {
            place.set(result.deleted());
        }
        // SAFETY: the header's promise about results.
        if let Some(place) = unsafe { Out::optional(revision) } {
            place.set(result.revision());
        }
        Ok(())
    })
}

/// Reads key at a revision (0 = now). An absent key is WATCH_OK with kv_count 0.
/// Own: *result is the caller's, release it; set only on WATCH_OK; result may be NULL where it is not
/// wanted.
/// Thr: any. Blk: no. Err: EMPTY_KEY LIMIT COMPACTED FUTURE_REVISION INVALID_ARGUMENT CORRUPT CLOSED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_get(
    store: *mut watch_store,
    key: watch_bytes,
    revision: i64,
    result: *mut *const watch_result,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let store = unsafe { enter(store) }?;
        // SAFETY: the header's promise about bytes.
        let key = unsafe { bytes(key, "key") }?;
        let found = store.get(key, revision)?;
        // SAFETY: the header's promise about results.
        give(OpResult::Range(found), unsafe { Out::optional(result) });
        Ok(())
    })
}

/// Puts with every option of the request.
/// Own, Thr: as watch_store_get. Blk: as watch_store_put.
/// Err: as watch_store_put, and KEY_NOT_FOUND UNSUPPORTED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_put_with(
    store: *mut watch_store,
    request: *const watch_put_request,
    result: *mut *const watch_result,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let store = unsafe { enter(store) }?;
        // SAFETY: the header's promise about requests.
        let done = store.put(&unsafe { request::put(request) }?)?;
        // SAFETY: the header's promise about results.
        give(OpResult::Put(done), unsafe { Out::optional(result) });
        Ok(())
    })
}

/// Reads the keys of a range at one revision. A range whose end is not above its key is empty.
/// Own, Thr, Blk: as watch_store_get.
/// Err: EMPTY_KEY LIMIT COMPACTED FUTURE_REVISION INVALID_ARGUMENT UNSUPPORTED CORRUPT CLOSED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_range(
    store: *mut watch_store,
    request: *const watch_range_request,
    result: *mut *const watch_result,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let store = unsafe { enter(store) }?;
        // SAFETY: the header's promise about requests.
        let found = store.range(&unsafe { request::range(request) }?)?;
        // SAFETY: the header's promise about results.
        give(OpResult::Range(found), unsafe { Out::optional(result) });
        Ok(())
    })
}

/// Deletes with every option of the request.
/// Own, Thr: as watch_store_get. Blk: as watch_store_put.
/// Err: as watch_store_delete, and UNSUPPORTED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_delete_with(
    store: *mut watch_store,
    request: *const watch_delete_range_request,
    result: *mut *const watch_result,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let store = unsafe { enter(store) }?;
        // SAFETY: the header's promise about requests.
        let done = store.delete_range(&unsafe { request::delete_range(request) }?)?;
        // SAFETY: the header's promise about results.
        give(OpResult::DeleteRange(done), unsafe { Out::optional(result) });
        Ok(())
    })
}

/// Runs a transaction: if all compares hold the success list, otherwise the failure list. What it changes
/// gets one revision; if any operation is refused nothing is changed.
/// Own, Thr: as watch_store_get. Blk: as watch_store_put.
/// Err: as watch_store_put and watch_store_range, and DUPLICATE_KEY KEY_NOT_FOUND UNSUPPORTED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_txn(
    store: *mut watch_store,
    request: *const watch_txn_request,
    result: *mut *const watch_result,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let store = unsafe { enter(store) }?;
        // SAFETY: the header's promise about requests and what they point to.
        let done = store.txn(&unsafe { request::txn(request) }?)?;
        // SAFETY: the header's promise about results.
        give(OpResult::Txn(done), unsafe { Out::optional(result) });
        Ok(())
    })
}
