//! Mapped memory with a growing end. A [`Region`] lends bytes below its end, which never change again; its
//! one [`RegionWriter`] alone touches bytes at or above the end and alone moves the end up. That split is
//! what makes shared slices into a mapping sound while the mapping is still being written.
//!
//! A file mapping adds one rule that the log layer keeps: nothing but that writer changes mapped bytes of the
//! file, no matter through which descriptor or process.
#![allow(unsafe_code)]

use memmap2::{MmapOptions, MmapRaw};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const PAGE: u64 = 4096;
/// Mappings of at least this size ask for huge pages, which make first stores several times cheaper.
const HUGE_PAGE: u64 = 2 << 20;

/// Owns mapped pages; the last owner unmaps them.
pub struct Mapping {
    raw: MmapRaw,
    writable: bool,
    /// Stays writable for ever, because it is also the file that calls write to.
    is_file: bool,
}

impl Mapping {
    /// Zeroed private memory, not tied to a file.
    pub fn anonymous(len: u64) -> io::Result<Arc<Self>> {
        let raw: MmapRaw = MmapOptions::new().len(to_usize(len)?).map_anon()?.into();
        if len >= HUGE_PAGE {
            // SAFETY: advice about a whole mapping that was just made; a kernel that cannot follow it is as
            // well.
            unsafe { libc::madvise(raw.as_mut_ptr().cast(), raw.len(), libc::MADV_HUGEPAGE) };
        }
        Ok(Arc::new(Self { raw, writable: true, is_file: false }))
    }

    /// Zeroed memory that is a file by itself: sealing one view of it does not keep later writes out.
    #[cfg(test)]
    pub fn memory_file(len: u64) -> io::Result<Arc<Self>> {
        let raw = MmapOptions::new().len(to_usize(len)?).map_anon()?.into();
        Ok(Arc::new(Self { raw, writable: true, is_file: true }))
    }

    /// The first `len` bytes of a file, which must be at least that long.
    pub fn of_file(file: &std::fs::File, len: u64, writable: bool) -> io::Result<Arc<Self>> {
        let mut options = MmapOptions::new();
        options.len(to_usize(len)?);
        let raw = if writable { options.map_raw(file)? } else { options.map_raw_read_only(file)? };
        Ok(Arc::new(Self { raw, writable, is_file: false }))
    }

    /// Bytes, at least one.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        self.raw.len() as u64
    }

    /// Copies bytes out.
    ///
    /// # Safety
    /// Nobody writes these bytes at the same time.
    pub unsafe fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.check(offset, out.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        // SAFETY: the range was checked; the caller excludes writers; `out` is not part of the mapping.
        unsafe {
            let from = self.raw.as_ptr().add(offset as usize);
            std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), out.len());
        }
        Ok(())
    }

    /// Copies bytes in.
    ///
    /// # Safety
    /// No slice lent from these bytes is alive, and nobody else reads or writes them at the same time.
    pub unsafe fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check(offset, bytes.len() as u64).ok_or(io::ErrorKind::UnexpectedEof)?;
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        // SAFETY: the range was checked and is writable; the caller excludes everyone else. Bytes that are
        // lent from this very place are there already.
        unsafe {
            let to = self.raw.as_mut_ptr().add(offset as usize);
            if !std::ptr::eq(to, bytes.as_ptr()) {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
            }
        }
        Ok(())
    }

    fn check(&self, offset: u64, len: u64) -> Option<()> {
        (offset.checked_add(len)? <= self.len()).then_some(())
    }

    /// Makes the pages of a range present, writable ones for stores: what would be a signal at an access is
    /// an error here. Kernels before 5.14 cannot; for them this does nothing.
    fn populate(&self, offset: u64, len: u64, write: bool) -> io::Result<()> {
        let start = offset / PAGE * PAGE;
        let end = offset.saturating_add(len).min(self.len()).next_multiple_of(PAGE);
        if start >= end || write && !self.writable {
            return Ok(());
        }
        let advice = if write { libc::MADV_POPULATE_WRITE } else { libc::MADV_POPULATE_READ };
        loop {
            // SAFETY: start and end lie inside the mapping; populating changes no byte.
            let failed = unsafe {
                let at = self.raw.as_mut_ptr().add(start as usize);
                libc::madvise(at.cast(), (end - start) as usize, advice)
            };
            if failed == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => {}
                Some(libc::EINVAL) => return Ok(()),
                // The kernel's word for "an access would raise SIGBUS": no room for a store, no data for a
                // load.
                Some(libc::EFAULT) => {
                    return Err(io::Error::from_raw_os_error(if write { libc::ENOSPC } else { libc::EIO }));
                }
                _ => return Err(error),
            }
        }
    }

    fn protect(&self) {
        if self.writable && !self.is_file {
            // SAFETY: taking the write permission away from a whole mapping that this object owns. If the
            // kernel refuses, the mapping stays writable, which is no worse than before.
            unsafe { libc::mprotect(self.raw.as_mut_ptr().cast(), self.raw.len(), libc::PROT_READ) };
        }
    }
}

fn to_usize(len: u64) -> io::Result<usize> {
    usize::try_from(len).ok().filter(|len| *len > 0).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The shared, readable side of a mapping: bytes below `end`.
pub struct Region {
    base: *const u8,
    end: AtomicU64,
    map: Arc<Mapping>,
}

// SAFETY: the pointer is into the mapping that `map` keeps alive; bytes below `end` are immutable and `end`
// is atomic.
unsafe impl Send for Region {}
// SAFETY: as for Send.
unsafe impl Sync for Region {}

impl Region {
    /// A region whose bytes below `end` are final, and the one writer of the rest.
    pub fn new(map: Arc<Mapping>, end: u64) -> (Self, RegionWriter) {
        let end = end.min(map.len());
        let base = map.raw.as_mut_ptr();
        let writer = RegionWriter { base, end, map: Arc::clone(&map) };
        (Self { base, end: AtomicU64::new(end), map }, writer)
    }

    /// The published end; everything below it is complete and visible to the caller.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// Bytes below the end; `None` if the range passes it.
    #[inline]
    pub fn bytes(&self, offset: u64, len: u64) -> Option<&[u8]> {
        if offset.checked_add(len)? > self.end() {
            return None;
        }
        // SAFETY: the range lies below `end`, hence inside the mapping, and nobody writes there any more.
        Some(unsafe { std::slice::from_raw_parts(self.base.add(offset as usize), len as usize) })
    }

    /// Reads a range from the disk ahead of its use; `EIO` if that fails.
    pub fn load(&self, offset: u64, len: u64) -> io::Result<()> {
        self.map.populate(offset, len, false)
    }

    /// All bytes from `offset` to the end; `None` if it lies beyond.
    #[inline]
    pub fn bytes_from(&self, offset: u64) -> Option<&[u8]> {
        let end = self.end();
        if offset > end {
            return None;
        }
        // SAFETY: as in `bytes`.
        Some(unsafe { std::slice::from_raw_parts(self.base.add(offset as usize), (end - offset) as usize) })
    }
}

/// The writing side of a region. There is one per region and it cannot be cloned.
pub struct RegionWriter {
    base: *mut u8,
    end: u64,
    map: Arc<Mapping>,
}

// SAFETY: the writer is the only one that touches the bytes above the end, from whichever thread owns it.
unsafe impl Send for RegionWriter {}
// SAFETY: shared use only reads bytes that nobody writes while the borrow lasts.
unsafe impl Sync for RegionWriter {}

impl RegionWriter {
    /// Unpublished bytes to be filled in; `None` if the range begins below the end, passes the mapping, or
    /// the mapping is read-only.
    #[inline]
    pub fn window(&mut self, offset: u64, len: u64) -> Option<&mut [u8]> {
        if offset < self.end || offset.checked_add(len)? > self.map.len() || !self.map.writable {
            return None;
        }
        // SAFETY: the range lies inside a writable mapping and at or above the published end, where only this
        // writer, borrowed mutably here, may look.
        Some(unsafe { std::slice::from_raw_parts_mut(self.base.add(offset as usize), len as usize) })
    }

    /// Unpublished bytes as they are in the mapping.
    #[inline]
    pub fn peek(&self, offset: u64, len: u64) -> Option<&[u8]> {
        if offset < self.end || offset.checked_add(len)? > self.map.len() {
            return None;
        }
        // SAFETY: inside the mapping and above the end, where only this writer, borrowed here, could write.
        Some(unsafe { std::slice::from_raw_parts(self.base.add(offset as usize), len as usize) })
    }

    /// Stores the word at `offset`, which makes the record there complete for whoever maps the file.
    #[inline]
    pub fn store_word(&mut self, offset: u64, word: u32) {
        let inside = offset >= self.end && offset + 4 <= self.map.len();
        if !inside || !offset.is_multiple_of(4) || !self.map.writable {
            return;
        }
        // SAFETY: aligned, inside a writable mapping and above the published end. The store is atomic because
        // another process may be polling this word.
        let word_at = unsafe { AtomicU32::from_ptr(self.base.add(offset as usize).cast()) };
        word_at.store(word.to_le(), Ordering::Release);
    }

    /// Makes everything below `end` readable through `region`, which must be the one this writer was made
    /// with.
    #[inline]
    pub fn publish(&mut self, region: &Region, end: u64) {
        if std::ptr::eq(region.base, self.base) && end > self.end && end <= self.map.len() {
            self.end = end;
            region.end.store(end, Ordering::Release);
        }
    }

    /// Prepares a range for stores; `ENOSPC` if the filesystem has no room for it.
    pub fn populate(&mut self, offset: u64, len: u64) -> io::Result<()> {
        self.map.populate(offset, len, true)
    }

    /// Ends writing: the mapping is read-only from here on.
    pub fn seal(self) {
        self.map.protect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_published_bytes_can_be_read_and_only_the_others_written() {
        let (region, mut writer) = Region::new(Mapping::anonymous(8192).unwrap(), 16);
        assert!(region.bytes(0, 16).is_some());
        assert!(region.bytes(0, 17).is_none());
        assert!(region.bytes(u64::MAX, 2).is_none());
        assert!(writer.window(15, 1).is_none());
        assert!(writer.window(8190, 3).is_none());
        writer.window(16, 8).unwrap().copy_from_slice(b"abcdefgh");
        writer.store_word(16, 7);
        assert!(region.bytes(16, 8).is_none());
        writer.publish(&region, 24);
        assert_eq!(region.bytes(16, 8).unwrap(), b"\x07\0\0\0efgh");
        assert_eq!(region.bytes_from(20).unwrap(), b"efgh");
        assert!(writer.window(16, 8).is_none());
        assert!(writer.peek(16, 8).is_none());
        writer.populate(0, 8192).unwrap();
        region.load(4096, u64::MAX).unwrap();
        writer.seal();
        assert_eq!(region.end(), 24);
    }

    #[test]
    fn a_writer_cannot_publish_in_a_foreign_region() {
        let (_one, mut writer) = Region::new(Mapping::anonymous(4096).unwrap(), 0);
        let (other, _) = Region::new(Mapping::anonymous(4096).unwrap(), 0);
        writer.publish(&other, 8);
        assert_eq!(other.end(), 0);
    }
}
