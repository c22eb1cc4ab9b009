//! Requests carry the size that their caller was compiled with. A shorter one is filled up with zeros, a
//! longer one must be zero where this library does not know it. The size is never believed further than
//! SIZE_MAX.
//!
//! A member never moves into the padding at a request's end: an older caller's size would cover it.

use std::mem::{MaybeUninit, size_of};

use libwatch::{Error, ErrorCode, Result};

use crate::ptr::invalid;

/// No request grows past this; a larger number is memory that was never set up.
const SIZE_MAX: usize = 4096;

/// # Safety The type is repr(C), its first member is `size: usize`, and every bit pattern, zero above all,
/// is a value.
pub(crate) unsafe trait Request: Copy {
    const NAME: &'static str;
    /// Where each member after `size` ends.
    const ENDS: &'static [usize];
}

/// Where a member ends that begins at `offset`; the function only says the types.
pub(crate) const fn end_of<T, M>(offset: usize, _: fn(&T) -> &M) -> usize {
    offset + size_of::<M>()
}

/// Implements [`Request`] for a struct of the header; the members stand in order.
macro_rules! request {
    ($type:ident { $($member:ident),* $(,)? }) => {
        const _: () = assert!(std::mem::offset_of!($type, size) == 0);
        // SAFETY: repr(C) structs of integers, raw pointers, spans of both and optional functions.
        unsafe impl $crate::sized::Request for $type {
            const NAME: &'static str = stringify!($type);
            const ENDS: &'static [usize] = &[$($crate::sized::end_of(
                std::mem::offset_of!($type, $member),
                |request: &$type| &request.$member,
            )),*];
        }
    };
}
pub(crate) use request;

/// What this library knows of a request, and whether it is all that was asked.
pub(crate) struct Known<T> {
    pub(crate) request: T,
    pub(crate) complete: Result<()>,
}

impl<T> Known<T> {
    pub(crate) fn accept(self) -> Result<T> {
        self.complete.map(|()| self.request)
    }
}

/// Reads a request; NULL stands for one that is all zero.
///
/// # Safety
/// A `place` that is not NULL begins with a size, and as many bytes can be read.
pub(crate) unsafe fn read_or_default<T: Request>(place: *const T) -> Result<Known<T>> {
    if place.is_null() {
        // SAFETY: zero is a value of every request.
        let request = unsafe { MaybeUninit::<T>::zeroed().assume_init() };
        return Ok(Known { request, complete: Ok(()) });
    }
    // SAFETY: the caller's promise.
    unsafe { read_known(place) }
}

/// Reads a request.
///
/// # Safety
/// As for `read_or_default`.
pub(crate) unsafe fn read<T: Request>(place: *const T) -> Result<T> {
    // SAFETY: the caller's promise.
    unsafe { read_known(place) }?.accept()
}

/// # Safety
/// As for `read_or_default`.
unsafe fn read_known<T: Request>(place: *const T) -> Result<Known<T>> {
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_request(place) }?;
    let mut request = MaybeUninit::<T>::zeroed();
    let known = size.min(size_of::<T>());
    // SAFETY: `known` bytes can be read by the caller's promise, and fit into a T.
    unsafe { std::ptr::copy_nonoverlapping(place.cast::<u8>(), request.as_mut_ptr().cast::<u8>(), known) };
    // SAFETY: every bit pattern is a value.
    let request = unsafe { request.assume_init() };
    // SAFETY: `size` bytes can be read by the caller's promise.
    let complete = unsafe { check_tail(place, size) };
    Ok(Known { request, complete })
}

/// Fills in a request that the library answers through; `size` keeps the caller's number.
///
/// # Safety
/// A `place` that is not NULL begins with a size, and as many bytes can be read and written.
pub(crate) unsafe fn fill<T: Request>(place: *mut T, value: &T) -> Result<()> {
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_request(place) }?;
    // SAFETY: the caller's promise.
    unsafe { check_tail(place, size) }?;
    let from = size_of::<usize>();
    let count = size.min(size_of::<T>()) - from;
    // SAFETY: a request begins with its size, so both have at least as many bytes.
    let source = unsafe { std::ptr::from_ref(value).cast::<u8>().add(from) };
    // SAFETY: as above.
    let target = unsafe { place.cast::<u8>().add(from) };
    // SAFETY: `count` more bytes lie in `value` and in what the caller says can be written.
    unsafe { std::ptr::copy_nonoverlapping(source, target, count) };
    Ok(())
}

/// # Safety
/// A `place` that is not NULL begins with a size.
unsafe fn size_of_request<T: Request>(place: *const T) -> Result<usize> {
    if place.is_null() {
        return Err(invalid(format!("{} is NULL", T::NAME)));
    }
    // SAFETY: not NULL, and begins with a size by the caller's promise.
    let size = unsafe { place.cast::<usize>().read_unaligned() };
    let whole = size >= size_of::<T>() || size == size_of::<usize>() || T::ENDS.contains(&size);
    if whole && size <= SIZE_MAX {
        return Ok(size);
    }
    Err(invalid(format!("{}.size is {size}; set the request up with WATCH_INIT", T::NAME)))
}

/// # Safety
/// `size` bytes can be read from `place`.
unsafe fn check_tail<T: Request>(place: *const T, size: usize) -> Result<()> {
    for index in size_of::<T>()..size {
        // SAFETY: below `size`.
        let byte = unsafe { place.cast::<u8>().add(index) };
        // SAFETY: below `size`.
        if unsafe { byte.read() } != 0 {
            let line = format!("{} has a member at byte {index} that this version does not know", T::NAME);
            return Err(Error::new(ErrorCode::Unsupported, line));
        }
    }
    Ok(())
}

/// Refuses flag bits that this version does not know.
pub(crate) fn check_flags(name: &str, flags: u32, known: u32) -> Result<()> {
    if flags & !known == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorCode::Unsupported, format!("{name}: unknown bits 0x{:x}", flags & !known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    struct Old {
        size: usize,
        number: u64,
        flags: u32,
    }
    request!(Old { number, flags });

    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct New {
        size: usize,
        number: u64,
        flags: u32,
        added: u64,
    }

    fn code_of<T>(result: Result<T>) -> Option<ErrorCode> {
        result.err().map(|error| error.code())
    }

    fn read_old(request: &New) -> Result<Old> {
        // SAFETY: every size used below is within New.
        unsafe { read(std::ptr::from_ref(request).cast::<Old>()) }
    }

    #[test]
    fn a_shorter_request_is_filled_up_with_zeros() {
        let request = New { size: 16, number: 5, flags: 9, added: 0 };
        assert_eq!(read_old(&request).unwrap(), Old { size: 16, number: 5, flags: 0 });
        assert_eq!(read_old(&New { size: 8, ..request }).unwrap(), Old { size: 8, number: 0, flags: 0 });
        assert_eq!(read_old(&New { size: 20, ..request }).unwrap().flags, 9);
    }

    #[test]
    fn a_longer_request_must_be_zero_where_it_is_unknown() {
        let mut request = New { size: size_of::<New>(), number: 5, flags: 9, added: 0 };
        assert_eq!(read_old(&request).unwrap().flags, 9);
        request.added = 1 << 40;
        assert_eq!(code_of(read_old(&request)), Some(ErrorCode::Unsupported));
    }

    #[test]
    fn a_size_that_cuts_a_member_or_cannot_be_is_refused() {
        for size in [0, 1, 7, 9, 12, 17, 21, 23, SIZE_MAX + 1, usize::MAX] {
            let request = New { size, ..New::default() };
            assert_eq!(code_of(read_old(&request)), Some(ErrorCode::InvalidArgument), "{size}");
        }
        // SAFETY: NULL may be given.
        assert_eq!(code_of(unsafe { read::<Old>(std::ptr::null()) }), Some(ErrorCode::InvalidArgument));
    }

    #[test]
    fn filling_keeps_the_size_and_stops_at_it() {
        let mut request = New { size: 16, number: 0, flags: 3, added: 0 };
        let value = Old { size: 99, number: 5, flags: 6 };
        // SAFETY: the sizes are within New.
        unsafe { fill((&raw mut request).cast::<Old>(), &value) }.unwrap();
        assert_eq!((request.size, request.number, request.flags), (16, 5, 3));
        request.size = size_of::<New>();
        request.added = 1;
        // SAFETY: the sizes are within New.
        let refused = unsafe { fill((&raw mut request).cast::<Old>(), &value) };
        assert_eq!(code_of(refused), Some(ErrorCode::Unsupported));
        assert_eq!(request.flags, 3);
    }
}
