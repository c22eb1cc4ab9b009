//! The only file that turns a caller's pointer into a value, a slice or a reference. Every pointer is
//! checked for NULL first, and handles and views for the word that the library wrote into them.

use std::ffi::{CStr, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libwatch::{Error, ErrorCode, Result};

use crate::handle::{Handle, Inside, Slot};
use crate::types::watch_bytes;

/// The error of an argument; the line names it.
pub(crate) fn invalid(line: String) -> Error {
    Error::new(ErrorCode::InvalidArgument, line)
}

/// The bytes of a span, borrowed for the call. `data` may be NULL where `len` is 0.
///
/// # Safety
/// With `len` > 0, `data` points to `len` bytes that nobody writes during the call.
pub(crate) unsafe fn bytes<'a>(span: watch_bytes, name: &str) -> Result<&'a [u8]> {
    if span.len == 0 {
        return Ok(&[]);
    }
    if span.data.is_null() {
        return Err(invalid(format!("{name}: data is NULL and len is {}", span.len)));
    }
    if span.len > isize::MAX as usize {
        return Err(Error::new(ErrorCode::Limit, format!("{name}: len is {}", span.len)));
    }
    // SAFETY: not NULL, not longer than memory can be; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(span.data, span.len) })
}

/// Element `index` of a caller's array, copied out.
///
/// # Safety
/// `array` is not NULL and has more than `index` elements; every bit pattern is a `T`.
pub(crate) unsafe fn element<T: Copy>(array: *const T, index: usize) -> T {
    // SAFETY: the caller's promise.
    let place = unsafe { array.add(index) };
    // SAFETY: the caller's promise; a C compiler may have been told to pack, so the place may be unaligned.
    unsafe { place.read_unaligned() }
}

/// A path as the system knows it, without any encoding.
///
/// # Safety
/// A `path` that is not NULL is NUL-terminated and not written during the call.
pub(crate) unsafe fn path<'a>(path: *const c_char) -> Result<&'a Path> {
    if path.is_null() {
        return Err(invalid("path is NULL".into()));
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    let path = unsafe { CStr::from_ptr(path) };
    Ok(Path::new(OsStr::from_bytes(path.to_bytes())))
}

/// A place that the caller gave for a result; nothing is read from it.
pub(crate) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Safety
    /// A `place` that is not NULL can be written for the length of the call.
    pub(crate) unsafe fn new(place: *mut T, name: &str) -> Result<Self> {
        if place.is_null() { Err(invalid(format!("{name} is NULL"))) } else { Ok(Self(place)) }
    }

    /// A place that may be NULL: the caller does not want the result.
    ///
    /// # Safety
    /// As for `new`.
    pub(crate) unsafe fn optional(place: *mut T) -> Option<Self> {
        (!place.is_null()).then_some(Self(place))
    }

    pub(crate) fn set(&self, value: T) {
        // SAFETY: not NULL, and writable by the promise given to new() or optional().
        unsafe { self.0.write_unaligned(value) };
    }

    /// Writes element `index` of the array that starts here.
    ///
    /// # Safety
    /// The array has more than `index` elements.
    pub(crate) unsafe fn set_at(&self, index: usize, value: T) {
        // SAFETY: the caller's promise.
        let place = unsafe { self.0.add(index) };
        // SAFETY: the caller's promise.
        unsafe { place.write_unaligned(value) };
    }
}

/// Enters a handle for the length of one call.
///
/// # Safety
/// A `handle` that is not NULL was handed out by this library, be it closed by now.
pub(crate) unsafe fn handle<H: Handle>(handle: *const H) -> Result<Inside<H>> {
    let slot = handle.cast::<Slot<H>>();
    if slot.is_null() {
        return Err(invalid(format!("the {} is NULL", H::NAME)));
    }
    if !slot.is_aligned() {
        return Err(invalid(format!("the {} is not one of this library", H::NAME)));
    }
    // SAFETY: slots are never freed, so a handle of this library is one for ever; see handle.rs.
    let slot: &'static Slot<H> = unsafe { &*slot };
    if !slot.has_magic() {
        return Err(invalid(format!("the {} is not one of this library", H::NAME)));
    }
    slot.enter()
}

/// A view that the library made; the word that marks it stands behind the part that C sees.
pub(crate) trait View: Sized {
    type Seen;
    const NAME: &'static str;
    const MAGIC: u64;
    fn magic(&self) -> u64;
}

/// The whole of a view of which C holds the visible part.
///
/// # Safety
/// A `seen` that is not NULL was handed out by this library and has not been released.
pub(crate) unsafe fn view<'a, V: View>(seen: *const V::Seen) -> Result<&'a V> {
    let view = seen.cast::<V>();
    if view.is_null() {
        return Err(invalid(format!("the {} is NULL", V::NAME)));
    }
    if !view.is_aligned() {
        return Err(invalid(format!("the {} is not one of this library", V::NAME)));
    }
    // SAFETY: aligned, and alive by the caller's promise.
    let view = unsafe { &*view };
    if view.magic() != V::MAGIC {
        return Err(invalid(format!("the {} is not one of this library", V::NAME)));
    }
    Ok(view)
}
