//! Requests of the operations, and how each becomes a request of the core. Bytes are borrowed for the call.

use std::ffi::c_void;

use libwatch::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, Error, ErrorCode, Op, PutRequest,
    RangeRequest, Result, SortOrder, SortTarget, TxnRequest, limits,
};

use crate::ptr::{bytes, element, invalid};
use crate::sized::{self, check_flags, request};
use crate::types::watch_bytes;

/// The value that stands for a number of a C enumeration; a number without one is refused by name.
macro_rules! by_number {
    ($given:expr, $name:literal, $enum:ident { $($number:ident => $value:expr),* $(,)? }) => {{
        let given: u32 = $given;
        $(if given == $enum::$number as u32 { Ok($value) } else)* {
            Err($crate::ptr::invalid(format!(concat!($name, " is {}"), given)))
        }
    }};
}
pub(crate) use by_number;

/// request: a put
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_put_request {
    pub size: usize,
    /// 1 to 65,535 bytes
    pub key: watch_bytes,
    /// up to 64 MiB; may be empty
    pub value: watch_bytes,
    /// carried, never interpreted
    pub lease: i64,
    /// WATCH_PUT_*
    pub flags: u32,
}
request!(watch_put_request { key, value, lease, flags });

/// Flags of a put.
#[repr(u32)]
pub enum watch_put_flag {
    /// the result carries the pair as it was before
    WATCH_PUT_PREV_KV = 1 << 0,
    /// keep the value; value must be empty and the key must exist
    WATCH_PUT_IGNORE_VALUE = 1 << 1,
    /// keep the lease; lease must be 0 and the key must exist
    WATCH_PUT_IGNORE_LEASE = 1 << 2,
}

/// request: a read of one key or a range
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_range_request {
    pub size: usize,
    pub key: watch_bytes,
    pub range_end: watch_bytes,
    /// 0 = now
    pub revision: i64,
    /// most keys to return; 0 = none
    pub limit: i64,
    /// leave out keys last changed before; 0 = no bound, here and below
    pub min_mod_revision: i64,
    /// leave out keys last changed after
    pub max_mod_revision: i64,
    /// leave out keys created before
    pub min_create_revision: i64,
    /// leave out keys created after
    pub max_create_revision: i64,
    /// WATCH_SORT_*
    pub sort_target: u32,
    /// WATCH_ORDER_*
    pub sort_order: u32,
    /// WATCH_RANGE_*
    pub flags: u32,
}
request!(watch_range_request {
    key,
    range_end,
    revision,
    limit,
    min_mod_revision,
    max_mod_revision,
    min_create_revision,
    max_create_revision,
    sort_target,
    sort_order,
    flags,
});

/// Flags of a range.
#[repr(u32)]
pub enum watch_range_flag {
    /// values come back empty
    WATCH_RANGE_KEYS_ONLY = 1 << 0,
    /// only count comes back
    WATCH_RANGE_COUNT_ONLY = 1 << 1,
}

/// What a range is sorted by.
#[repr(u32)]
pub enum watch_sort_target {
    WATCH_SORT_KEY = 0,
    WATCH_SORT_VERSION = 1,
    WATCH_SORT_CREATE = 2,
    WATCH_SORT_MOD = 3,
    WATCH_SORT_VALUE = 4,
}

/// Which way a range is sorted. NONE: by key, and another target than the key ascending.
#[repr(u32)]
pub enum watch_sort_order {
    WATCH_ORDER_NONE = 0,
    WATCH_ORDER_ASCEND = 1,
    WATCH_ORDER_DESCEND = 2,
}

/// request: a delete of one key or a range
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_delete_range_request {
    pub size: usize,
    pub key: watch_bytes,
    pub range_end: watch_bytes,
    /// WATCH_DELETE_*
    pub flags: u32,
}
request!(watch_delete_range_request { key, range_end, flags });

/// Flags of a delete.
#[repr(u32)]
pub enum watch_delete_flag {
    /// the result carries the pairs as they were before
    WATCH_DELETE_PREV_KV = 1 << 0,
}

/// What a compare looks at. An absent key has 0 everywhere and no value: no compare of VALUE holds for it.
#[repr(u32)]
pub enum watch_compare_target {
    WATCH_COMPARE_VERSION = 0,
    WATCH_COMPARE_CREATE = 1,
    WATCH_COMPARE_MOD = 2,
    WATCH_COMPARE_VALUE = 3,
    WATCH_COMPARE_LEASE = 4,
}

/// How the stored must relate to the given.
#[repr(u32)]
pub enum watch_compare_result {
    WATCH_EQUAL = 0,
    WATCH_GREATER = 1,
    WATCH_LESS = 2,
    WATCH_NOT_EQUAL = 3,
}

/// element: one condition of a transaction; with a range_end every key of the range must pass
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_compare {
    /// WATCH_COMPARE_*
    pub target: u32,
    /// WATCH_EQUAL ...
    pub result: u32,
    pub key: watch_bytes,
    pub range_end: watch_bytes,
    /// COMPARE_VALUE
    pub value: watch_bytes,
    /// every other target
    pub number: i64,
    pub reserved: u64,
}

/// Kinds of operations.
#[repr(u32)]
pub enum watch_op_type {
    WATCH_OP_PUT = 1,
    WATCH_OP_RANGE = 2,
    WATCH_OP_DELETE_RANGE = 3,
    WATCH_OP_TXN = 4,
}

/// What the pointer of an operation points to.
#[repr(C)]
#[derive(Clone, Copy)]
pub union watch_op_request {
    pub put: *const watch_put_request,
    pub range: *const watch_range_request,
    pub delete_range: *const watch_delete_range_request,
    pub txn: *const watch_txn_request,
}

/// element: a type and a pointer, so requests can grow without it
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_op {
    /// WATCH_OP_*
    pub r#type: u32,
    pub reserved: u32,
    pub request: watch_op_request,
}

/// request: if all compares hold, success runs, otherwise failure; as one revision, or not at all
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_txn_request {
    pub size: usize,
    pub compare: *const watch_compare,
    pub compare_count: usize,
    pub success: *const watch_op,
    /// up to txn_ops_max of the store, for each list
    pub success_count: usize,
    pub failure: *const watch_op,
    pub failure_count: usize,
}
request!(watch_txn_request { compare, compare_count, success, success_count, failure, failure_count });

#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::{offset_of, size_of};
    assert!(size_of::<watch_put_request>() == 56 && size_of::<watch_range_request>() == 104);
    assert!(size_of::<watch_delete_range_request>() == 48 && size_of::<watch_txn_request>() == 56);
    assert!(size_of::<watch_compare>() == 72 && offset_of!(watch_compare, key) == 8);
    assert!(offset_of!(watch_compare, number) == 56 && offset_of!(watch_compare, reserved) == 64);
    assert!(size_of::<watch_op>() == 16 && offset_of!(watch_op, request) == 8);
};

/// Operations and compares of one transaction with all those inside it. It bounds the work that a few
/// pointers which point to one another can ask for.
const TXN_ELEMENTS_MAX: usize = 1 << 18;

/// # Safety
/// A `request` that is not NULL begins with its size; it and its spans can be read for the length of the
/// call.
pub(crate) unsafe fn put<'a>(request: *const watch_put_request) -> Result<PutRequest<'a>> {
    // SAFETY: the caller's promise.
    let request = unsafe { sized::read(request) }?;
    let all = watch_put_flag::WATCH_PUT_PREV_KV as u32
        | watch_put_flag::WATCH_PUT_IGNORE_VALUE as u32
        | watch_put_flag::WATCH_PUT_IGNORE_LEASE as u32;
    check_flags("watch_put_request.flags", request.flags, all)?;
    let has = |flag: watch_put_flag| request.flags & flag as u32 != 0;
    Ok(PutRequest {
        // SAFETY: the caller's promise.
        key: unsafe { bytes(request.key, "watch_put_request.key") }?,
        // SAFETY: the caller's promise.
        value: unsafe { bytes(request.value, "watch_put_request.value") }?,
        lease: request.lease,
        prev_kv: has(watch_put_flag::WATCH_PUT_PREV_KV),
        ignore_value: has(watch_put_flag::WATCH_PUT_IGNORE_VALUE),
        ignore_lease: has(watch_put_flag::WATCH_PUT_IGNORE_LEASE),
    })
}

/// # Safety
/// As for `put`.
pub(crate) unsafe fn range<'a>(request: *const watch_range_request) -> Result<RangeRequest<'a>> {
    // SAFETY: the caller's promise.
    let request = unsafe { sized::read(request) }?;
    let all =
        watch_range_flag::WATCH_RANGE_KEYS_ONLY as u32 | watch_range_flag::WATCH_RANGE_COUNT_ONLY as u32;
    check_flags("watch_range_request.flags", request.flags, all)?;
    Ok(RangeRequest {
        // SAFETY: the caller's promise.
        key: unsafe { bytes(request.key, "watch_range_request.key") }?,
        // SAFETY: the caller's promise.
        range_end: unsafe { bytes(request.range_end, "watch_range_request.range_end") }?,
        revision: request.revision,
        limit: request.limit,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
        sort_target: sort_target(request.sort_target)?,
        sort_order: sort_order(request.sort_order)?,
        keys_only: request.flags & watch_range_flag::WATCH_RANGE_KEYS_ONLY as u32 != 0,
        count_only: request.flags & watch_range_flag::WATCH_RANGE_COUNT_ONLY as u32 != 0,
    })
}

/// # Safety
/// As for `put`.
pub(crate) unsafe fn delete_range<'a>(
    request: *const watch_delete_range_request,
) -> Result<DeleteRangeRequest<'a>> {
    // SAFETY: the caller's promise.
    let request = unsafe { sized::read(request) }?;
    let all = watch_delete_flag::WATCH_DELETE_PREV_KV as u32;
    check_flags("watch_delete_range_request.flags", request.flags, all)?;
    Ok(DeleteRangeRequest {
        // SAFETY: the caller's promise.
        key: unsafe { bytes(request.key, "watch_delete_range_request.key") }?,
        // SAFETY: the caller's promise.
        range_end: unsafe { bytes(request.range_end, "watch_delete_range_request.range_end") }?,
        prev_kv: request.flags & all != 0,
    })
}

/// # Safety
/// As for `put`, and the same for its arrays and what they point to.
pub(crate) unsafe fn txn<'a>(request: *const watch_txn_request) -> Result<TxnRequest<'a>> {
    let mut left = TXN_ELEMENTS_MAX;
    // SAFETY: the caller's promise.
    unsafe { txn_at_depth(request, 1, &mut left) }
}

/// # Safety
/// As for `txn`.
unsafe fn txn_at_depth<'a>(
    request: *const watch_txn_request,
    depth: u32,
    left: &mut usize,
) -> Result<TxnRequest<'a>> {
    // SAFETY: the caller's promise.
    let request = unsafe { sized::read(request) }?;
    if depth > limits::TXN_DEPTH_MAX {
        let line = format!("transactions are nested deeper than {}", limits::TXN_DEPTH_MAX);
        return Err(Error::new(ErrorCode::Limit, line));
    }
    check_array("compare", request.compare, request.compare_count, left)?;
    let mut compare = Vec::with_capacity(request.compare_count);
    for index in 0..request.compare_count {
        // SAFETY: the array is not NULL; the rest is the caller's promise.
        let given = unsafe { element(request.compare, index) };
        // SAFETY: the caller's promise.
        compare.push(unsafe { compare_of(&given) }?);
    }
    // SAFETY: the caller's promise.
    let success = unsafe { ops("success", request.success, request.success_count, depth, left) }?;
    // SAFETY: the caller's promise.
    let failure = unsafe { ops("failure", request.failure, request.failure_count, depth, left) }?;
    Ok(TxnRequest { compare, success, failure })
}

/// # Safety
/// As for `txn`.
unsafe fn ops<'a>(
    list: &str,
    array: *const watch_op,
    count: usize,
    depth: u32,
    left: &mut usize,
) -> Result<Vec<Op<'a>>> {
    check_array(list, array, count, left)?;
    let mut ops = Vec::with_capacity(count);
    for index in 0..count {
        // SAFETY: the array is not NULL; the rest is the caller's promise.
        let op = unsafe { element(array, index) };
        // SAFETY: the caller's promise.
        ops.push(unsafe { op_of(&op, depth, left) }?);
    }
    Ok(ops)
}

fn check_array<T>(list: &str, array: *const T, count: usize, left: &mut usize) -> Result<()> {
    if count > 0 && array.is_null() {
        return Err(invalid(format!("watch_txn_request.{list} is NULL and {list}_count is {count}")));
    }
    match left.checked_sub(count) {
        Some(rest) if count <= limits::TXN_OPS_MAX as usize => *left = rest,
        _ => {
            let line =
                format!("watch_txn_request.{list}_count is {count}, more than one transaction may hold");
            return Err(Error::new(ErrorCode::Limit, line));
        }
    }
    Ok(())
}

/// # Safety
/// As for `txn`.
unsafe fn op_of<'a>(op: &watch_op, depth: u32, left: &mut usize) -> Result<Op<'a>> {
    check_reserved("watch_op", op.reserved.into())?;
    // SAFETY: every member of the union is a pointer; the type says below what it points to.
    let request = unsafe { op.request.put }.cast::<c_void>();
    // SAFETY: the request has the type that the operation says, by the caller's promise; so in each arm.
    by_number!(op.r#type, "watch_op.type", watch_op_type {
        // SAFETY: see above.
        WATCH_OP_PUT => Op::Put(unsafe { put(request.cast()) }?),
        // SAFETY: see above.
        WATCH_OP_RANGE => Op::Range(unsafe { range(request.cast()) }?),
        // SAFETY: see above.
        WATCH_OP_DELETE_RANGE => Op::DeleteRange(unsafe { delete_range(request.cast()) }?),
        // SAFETY: see above.
        WATCH_OP_TXN => Op::Txn(unsafe { txn_at_depth(request.cast(), depth + 1, left) }?),
    })
}

/// # Safety
/// The spans of the compare can be read for the length of the call.
unsafe fn compare_of<'a>(given: &watch_compare) -> Result<Compare<'a>> {
    check_reserved("watch_compare", given.reserved)?;
    let target = by_number!(given.target, "watch_compare.target", watch_compare_target {
        WATCH_COMPARE_VERSION => CompareTarget::Version(given.number),
        WATCH_COMPARE_CREATE => CompareTarget::Create(given.number),
        WATCH_COMPARE_MOD => CompareTarget::Mod(given.number),
        // SAFETY: the caller's promise.
        WATCH_COMPARE_VALUE => CompareTarget::Value(unsafe { bytes(given.value, "watch_compare.value") }?),
        WATCH_COMPARE_LEASE => CompareTarget::Lease(given.number),
    })?;
    let result = by_number!(given.result, "watch_compare.result", watch_compare_result {
        WATCH_EQUAL => CompareResult::Equal,
        WATCH_GREATER => CompareResult::Greater,
        WATCH_LESS => CompareResult::Less,
        WATCH_NOT_EQUAL => CompareResult::NotEqual,
    })?;
    Ok(Compare {
        // SAFETY: the caller's promise.
        key: unsafe { bytes(given.key, "watch_compare.key") }?,
        // SAFETY: the caller's promise.
        range_end: unsafe { bytes(given.range_end, "watch_compare.range_end") }?,
        target,
        result,
    })
}

fn check_reserved(element: &str, reserved: u64) -> Result<()> {
    if reserved == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Unsupported, format!("{element}.reserved is not 0")))
}

fn sort_target(number: u32) -> Result<SortTarget> {
    by_number!(number, "watch_range_request.sort_target", watch_sort_target {
        WATCH_SORT_KEY => SortTarget::Key,
        WATCH_SORT_VERSION => SortTarget::Version,
        WATCH_SORT_CREATE => SortTarget::Create,
        WATCH_SORT_MOD => SortTarget::Mod,
        WATCH_SORT_VALUE => SortTarget::Value,
    })
}

fn sort_order(number: u32) -> Result<SortOrder> {
    by_number!(number, "watch_range_request.sort_order", watch_sort_order {
        WATCH_ORDER_NONE => SortOrder::None,
        WATCH_ORDER_ASCEND => SortOrder::Ascend,
        WATCH_ORDER_DESCEND => SortOrder::Descend,
    })
}
