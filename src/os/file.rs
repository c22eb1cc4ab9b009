//! The seam to files: everything the log does to storage goes through [`Dir`] and [`File`], so a simulated
//! filesystem can cut the power at any write. Names are plain file names inside one directory.
//!
//! The contract that recovery relies on: bytes that were written are on disk once `sync_data` of the file
//! returned, a name once `sync` of its directory returned; before that any part of them may be missing after
//! a power loss.

use super::region::Mapping;
use std::io;
use std::sync::Arc;

/// What a filesystem does when allocated bytes are overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filesystem {
    /// Overwrites stay in place, so a store into a mapping of allocated space cannot run out of room.
    InPlace,
    /// May need new space for an overwrite, or is not known to be of the first kind: only written with calls.
    CopyOnWrite,
    /// Memory of this process; nothing survives it and nothing needs to be flushed.
    Memory,
    /// Network and the like: mappings or locks cannot be trusted.
    Untrusted,
}

/// Held as long as the store is open; dropping it releases the lock.
pub trait Lock: Send + Sync {}

/// One directory. Calls block on the disk; every method may be called from any thread.
pub trait Dir: Send + Sync {
    /// The place in words, for error messages.
    fn describe(&self) -> String;
    /// Opens an existing file; with `write` for writing too.
    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>>;
    /// Makes a new empty file; `AlreadyExists` if the name is taken.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;
    /// Removes the name; whoever has the file open or mapped keeps it.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Renames, replacing `to` in one step.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// The names in the directory, in no particular order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes the names as they are now survive a power loss.
    fn sync(&self) -> io::Result<()>;
    /// Takes the lock file for this opener alone, making it if `create`; `WouldBlock` if another holds it,
    /// in this process or elsewhere.
    fn lock(&self, name: &str, create: bool) -> io::Result<Box<dyn Lock>>;
    /// What kind of filesystem this is.
    fn filesystem(&self) -> io::Result<Filesystem>;
    /// Changes with every start of the machine, and only then.
    fn boot_id(&self) -> io::Result<[u8; 16]>;
    /// Fills `out` with unpredictable bytes.
    fn random(&self, out: &mut [u8]) -> io::Result<()>;
}

/// One open file. Reads and writes are complete or an error.
#[allow(clippy::len_without_is_empty)]
pub trait File: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Reads exactly `out.len()` bytes; `UnexpectedEof` if the file ends before.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all bytes in one call as far as the system takes them, growing the file if needed.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Grows an empty file to `len` zero bytes with room reserved for all of them.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Grows an empty file to `len` zero bytes without reserving room: parts never written take no space.
    fn extend_sparse(&self, len: u64) -> io::Result<()>;
    /// Makes everything written so far survive a power loss, through mappings too.
    fn sync_data(&self) -> io::Result<()>;
    /// Maps the first `len` bytes for reading.
    fn map_read(&self, len: u64) -> io::Result<Arc<Mapping>>;
    /// Maps the first `len` bytes, shared with the file, for writing.
    fn map_write(&self, len: u64) -> io::Result<Arc<Mapping>>;
}
