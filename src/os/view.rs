//! A directory through which nothing can be changed: what looks at a store without being its writer cannot do
//! harm, not even by mistake.

use super::file::{Dir, File, Filesystem, Lock};
use super::region::Mapping;
use std::io;
use std::sync::Arc;

/// Another directory, for reading only.
pub struct View {
    dir: Arc<dyn Dir>,
    is_locked: bool,
}

struct FileView(Arc<dyn File>);

/// Stands for a lock that somebody else holds for the whole life of this one.
struct Borrowed;

impl Lock for Borrowed {}

impl View {
    /// A view that takes the directory's lock when asked to.
    pub fn new(dir: Arc<dyn Dir>) -> Arc<Self> {
        Arc::new(Self { dir, is_locked: false })
    }

    /// A view for whoever holds the directory's lock already.
    pub fn of_locked(dir: Arc<dyn Dir>) -> Arc<Self> {
        Arc::new(Self { dir, is_locked: true })
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::Error::from_raw_os_error(libc::EROFS))
}

impl Dir for View {
    fn describe(&self) -> String {
        self.dir.describe()
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>> {
        if write { refused() } else { Ok(Arc::new(FileView(self.dir.open(name, false)?))) }
    }

    fn create(&self, _: &str) -> io::Result<Arc<dyn File>> {
        refused()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.dir.list()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn lock(&self, name: &str, create: bool) -> io::Result<Box<dyn Lock>> {
        match (self.is_locked, create) {
            (true, _) => Ok(Box::new(Borrowed)),
            (false, true) => refused(),
            (false, false) => self.dir.lock(name, false),
        }
    }

    fn filesystem(&self) -> io::Result<Filesystem> {
        self.dir.filesystem()
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        self.dir.boot_id()
    }

    fn random(&self, out: &mut [u8]) -> io::Result<()> {
        self.dir.random(out)
    }
}

impl File for FileView {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        refused()
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn extend_sparse(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }

    fn map_read(&self, len: u64) -> io::Result<Arc<Mapping>> {
        self.0.map_read(len)
    }

    fn map_write(&self, _: u64) -> io::Result<Arc<Mapping>> {
        refused()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memory::MemDir;

    /// etcd 1.1: nor does looking at revisions change them.
    #[test]
    fn a_view_reads_and_refuses_every_change() {
        let dir = MemDir::new();
        let file = dir.create("name").unwrap();
        file.allocate(4096).unwrap();
        file.write_at(b"bytes", 0).unwrap();
        let view = View::new(dir.clone());
        assert_eq!(view.list().unwrap(), ["name"]);
        assert!(view.open("name", true).is_err() && view.create("new").is_err());
        assert!(view.remove("name").is_err() && view.rename("name", "new").is_err());
        assert!(view.sync().is_err() && view.lock("LOCK", true).is_err());
        assert!(View::of_locked(dir.clone()).lock("LOCK", false).is_ok());
        let seen = view.open("name", false).unwrap();
        assert!(seen.write_at(b"other", 0).is_err() && seen.allocate(8192).is_err());
        assert!(seen.extend_sparse(8192).is_err() && seen.sync_data().is_err());
        assert!(seen.map_write(4096).is_err());
        let mut bytes = [0; 5];
        seen.read_at(&mut bytes, 0).unwrap();
        assert_eq!((&bytes, seen.len().unwrap()), (b"bytes", 4096));
        assert_eq!(seen.map_read(4096).unwrap().len(), 4096);
    }
}
