//! A directory in memory, for stores without files and for tests. Every file is one anonymous mapping, which
//! readers share; unlinking a file leaves it to whoever has it mapped. The directory outlives the store that
//! uses it, so a test can open it again.
#![allow(unsafe_code)]

use super::file::{Dir, File, Filesystem, Lock};
use super::region::Mapping;
use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// See the module. Made with [`MemDir::new`] and shared by `Arc`.
pub struct MemDir {
    files: Mutex<HashMap<String, Arc<MemFile>>>,
    locked: Arc<AtomicBool>,
    room: Arc<AtomicU64>,
    /// Makes the memory of a file.
    allocate: Allocate,
}

type Allocate = fn(u64) -> io::Result<Arc<Mapping>>;

impl MemDir {
    /// An empty directory without a bound.
    pub fn new() -> Arc<Self> {
        Self::with_room(u64::MAX)
    }

    /// An empty directory that answers `ENOSPC` once `room` bytes have been allocated. Removing does not give
    /// room back, since readers may still hold the file.
    pub fn with_room(room: u64) -> Arc<Self> {
        let room = Arc::new(AtomicU64::new(room));
        Arc::new(Self { files: Mutex::default(), locked: Arc::default(), room, allocate: Mapping::anonymous })
    }

    /// Like files of a disk: what one opener sealed can be written by the next one.
    #[cfg(test)]
    pub fn like_a_disk() -> Arc<Self> {
        let room = Arc::new(AtomicU64::new(u64::MAX));
        Arc::new(Self {
            files: Mutex::default(),
            locked: Arc::default(),
            room,
            allocate: Mapping::memory_file,
        })
    }

    /// Sets how many more bytes can be allocated.
    #[cfg(test)]
    pub fn set_room(&self, room: u64) {
        self.room.store(room, Ordering::Relaxed);
    }

    fn files(&self) -> MutexGuard<'_, HashMap<String, Arc<MemFile>>> {
        self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

struct MemLock(Arc<AtomicBool>);

impl Lock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Dir for MemDir {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<Arc<dyn File>> {
        match self.files().get(name) {
            Some(file) => Ok(Arc::clone(file) as Arc<dyn File>),
            None => Err(io::Error::from_raw_os_error(libc::ENOENT)),
        }
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut files = self.files();
        if files.contains_key(name) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        let (room, allocate) = (Arc::clone(&self.room), self.allocate);
        let file = Arc::new(MemFile { state: Mutex::default(), room, allocate });
        files.insert(name.into(), Arc::clone(&file));
        Ok(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.files().remove(name);
        removed.map(drop).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))?;
        files.insert(to.into(), file);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.files().keys().cloned().collect())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _name: &str, _create: bool) -> io::Result<Box<dyn Lock>> {
        if self.locked.swap(true, Ordering::Acquire) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock(Arc::clone(&self.locked))))
    }

    fn filesystem(&self) -> io::Result<Filesystem> {
        Ok(Filesystem::Memory)
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        Ok([0; 16])
    }

    fn random(&self, out: &mut [u8]) -> io::Result<()> {
        super::real::random(out)
    }
}

/// One file: a mapping that may be larger than the file, so that small appends do not copy it each time.
struct MemFile {
    state: Mutex<MemState>,
    room: Arc<AtomicU64>,
    allocate: Allocate,
}

#[derive(Default)]
struct MemState {
    map: Option<Arc<Mapping>>,
    len: u64,
}

impl MemFile {
    fn state(&self) -> MutexGuard<'_, MemState> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn grow(&self, state: &mut MemState, len: u64) -> io::Result<()> {
        let capacity = state.map.as_ref().map_or(0, |map| map.len());
        if len > capacity {
            let take = |room: u64| (room == u64::MAX).then_some(room).or(room.checked_sub(len - state.len));
            if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
                return Err(io::Error::from_raw_os_error(libc::ENOSPC));
            }
            let wanted = if state.len == 0 { len } else { len.max(capacity.saturating_mul(2)) };
            let map = (self.allocate)(wanted.next_multiple_of(4096))?;
            copy(state, &map)?;
            state.map = Some(map);
        }
        state.len = state.len.max(len);
        Ok(())
    }
}

/// Copies the bytes of a file into its larger mapping, piece by piece; pages of zeros stay untouched.
fn copy(state: &MemState, to: &Mapping) -> io::Result<()> {
    let Some(from) = &state.map else { return Ok(()) };
    let mut piece = [0; 4096];
    for at in (0..state.len).step_by(piece.len()) {
        let bytes = &mut piece[..(state.len - at).min(4096) as usize];
        // SAFETY: a file only grows before it is mapped by anyone, under its lock.
        unsafe { from.read(at, bytes)? };
        if bytes.iter().any(|byte| *byte != 0) {
            // SAFETY: the new mapping is not shared yet.
            unsafe { to.write(at, bytes)? };
        }
    }
    Ok(())
}

impl File for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().len)
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > state.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &state.map {
            // SAFETY: the log reads a file with calls only while nobody appends to its mapping.
            Some(map) => unsafe { map.read(offset, out) },
            None => Ok(()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        self.grow(&mut state, end)?;
        match &state.map {
            // SAFETY: the log writes with calls only what lies above every published end of the file's
            // mappings.
            Some(map) => unsafe { map.write(offset, bytes) },
            None => Ok(()),
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.grow(&mut self.state(), len)
    }

    fn extend_sparse(&self, len: u64) -> io::Result<()> {
        self.grow(&mut self.state(), len)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn map_read(&self, len: u64) -> io::Result<Arc<Mapping>> {
        let state = self.state();
        match &state.map {
            Some(map) if len <= state.len => Ok(Arc::clone(map)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn map_write(&self, len: u64) -> io::Result<Arc<Mapping>> {
        self.map_read(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_live_as_long_as_someone_holds_them() {
        let dir = MemDir::new();
        let file = dir.create("a").unwrap();
        assert_eq!(dir.create("a").err().unwrap().raw_os_error(), Some(libc::EEXIST));
        file.write_at(b"one", 4095).unwrap();
        file.write_at(b"two", 9000).unwrap();
        dir.rename("a", "b").unwrap();
        assert!(dir.open("a", false).is_err());
        dir.remove("b").unwrap();
        let mut out = [0; 3];
        file.read_at(&mut out, 4095).unwrap();
        assert_eq!((&out, file.len().unwrap()), (b"one", 9003));
        assert!(file.read_at(&mut out, 9001).is_err());
        assert!(dir.list().unwrap().is_empty());
    }

    #[test]
    fn room_is_bounded_and_the_lock_has_one_holder() {
        let dir = MemDir::with_room(8192);
        let file = dir.create("a").unwrap();
        file.allocate(8192).unwrap();
        let full = dir.create("b").unwrap().allocate(1).unwrap_err();
        assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
        let held = dir.lock("LOCK", true).unwrap();
        assert_eq!(dir.lock("LOCK", true).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(dir.lock("LOCK", true).is_ok());
    }
}
