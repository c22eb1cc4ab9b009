//! A hint that bytes will be read soon. It never faults and never changes what a program computes.
#![allow(unsafe_code)]

/// Asks the processor for the cache line `offset` bytes into `bytes`; nothing happens past their end.
#[inline(always)]
pub fn prefetch(bytes: &[u8], offset: usize) {
    if offset >= bytes.len() {
        return;
    }
    let line = bytes[offset..].as_ptr();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no architectural effect, and the address lies inside a live slice.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a prefetch has no architectural effect, and the address lies inside a live slice.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) line, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = line;
}
