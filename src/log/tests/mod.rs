//! Tests of the log as a whole, on real directories and in memory, and the tools they share: a visitor that
//! remembers everything, a model of what was appended, and a directory that pretends to be another
//! filesystem, another boot, or to fail at a chosen operation.

mod appending;
mod compaction;
mod faults;
mod recovery;
mod refusal;
mod sim;
mod torn;

use super::base::BaseDraft;
use super::change::tests::put;
use super::open::OpenReport;
use super::record::RecordKind;
use super::*;
use crate::error::{Error, ErrorCode, Result};
use crate::options::Durability;
use crate::os::file::{Dir, File, Filesystem, Lock};
use crate::os::memory::MemDir;
use crate::os::real::RealDir;
use crate::os::region::Mapping;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

const SEGMENT: u64 = 64 << 10;

/// Keys and lengths of values.
type Changed = Vec<(Vec<u8>, usize)>;
/// A name, a directory, how to open it, and what keeps it alive.
type Way = (&'static str, Arc<dyn Dir>, Durability, Option<tempfile::TempDir>);

/// Everything an opening showed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    base: Vec<(Vec<u8>, i64)>,
    records: Vec<(i64, Changed)>,
}

impl OpenVisitor for Seen {
    fn base(&mut self, table: &SegmentTable, change: Change<'_>) -> Result<()> {
        assert_eq!(table.change(change.position()).unwrap().key(), change.key());
        self.base.push((change.key().to_vec(), change.mod_revision()));
        Ok(())
    }

    fn record(&mut self, table: &SegmentTable, record: &Record<'_>) -> Result<()> {
        assert_eq!(record.kind(), RecordKind::Txn);
        let mut changes = Vec::new();
        for change in record.changes() {
            assert_eq!(table.change(change.position()).unwrap().key(), change.key());
            assert_eq!(change.mod_revision(), record.revision());
            changes.push((change.key().to_vec(), change.value().len()));
        }
        assert_eq!(changes.len(), record.change_count() as usize);
        self.records.push((record.revision(), changes));
        Ok(())
    }
}

fn options(durability: Durability) -> LogOptions {
    LogOptions { segment_bytes: SEGMENT, durability, create: true, read_only: false }
}

struct Opened {
    log: Arc<Log>,
    appender: Appender,
    report: OpenReport,
    seen: Seen,
}

fn try_open(dir: &Arc<dyn Dir>, options: &LogOptions) -> Result<Opened> {
    let mut seen = Seen::default();
    let (log, appender, report) = Log::open(Arc::clone(dir), options, &mut seen)?;
    Ok(Opened { log, appender, report, seen })
}

fn open(dir: &Arc<dyn Dir>, durability: Durability) -> Opened {
    try_open(dir, &options(durability)).unwrap()
}

fn open_error(dir: &Arc<dyn Dir>, durability: Durability) -> Error {
    try_open(dir, &options(durability)).err().expect("the opening is refused")
}

impl Opened {
    /// Appends one transaction that puts each key with a value of `size` bytes.
    fn put(&mut self, keys: &[&str], size: usize) -> Vec<Position> {
        self.try_put(keys, size).unwrap()
    }

    fn try_put(&mut self, keys: &[&str], size: usize) -> Result<Vec<Position>> {
        let revision = self.appender.revision() + 1;
        let value: Vec<u8> = (0..size).map(|i| (i as i64 + revision) as u8).collect();
        let changes: Vec<_> = keys.iter().map(|key| put(key.as_bytes(), &value, revision)).collect();
        let mut positions = Vec::new();
        self.appender.append_txn(revision, &changes, &mut positions)?;
        Ok(positions)
    }

    /// Puts until the current revision is `last`.
    fn put_until(&mut self, last: i64, size: usize) {
        while self.appender.revision() < last {
            let key = format!("key-{:04}", self.appender.revision() % 50);
            self.put(&[&key], size);
        }
    }

    fn flush(&mut self) {
        self.appender.flush_job().run().unwrap();
    }

    /// What a cursor finds from a revision on.
    fn revisions(&self, from: i64) -> Vec<i64> {
        let mut cursor = Cursor::at_revision(self.log.table(), from).unwrap();
        let mut found = Vec::new();
        while let Some(record) = cursor.next(i64::MAX) {
            found.push(record.revision());
        }
        found
    }
}

fn real() -> (tempfile::TempDir, Arc<dyn Dir>) {
    let temp = tempfile::tempdir().unwrap();
    let dir = RealDir::open(temp.path(), true).unwrap();
    (temp, Arc::new(dir))
}

/// Every way to append, with its directory.
fn all_ways() -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for (name, filesystem, durability) in [
        ("mapped", Filesystem::InPlace, Durability::None),
        ("staged", Filesystem::InPlace, Durability::Commit),
        ("through", Filesystem::CopyOnWrite, Durability::Interval),
    ] {
        let (temp, dir) = real();
        ways.push((name, Mask::new(dir, filesystem), durability, Some(temp)));
    }
    ways.push(("memory", MemDir::new(), Durability::Commit, None));
    ways
}

/// A directory behind a mask.
pub(crate) struct Mask {
    inner: Arc<dyn Dir>,
    filesystem: Filesystem,
    boot: AtomicU8,
    fault: Arc<Fault>,
}

/// Counts operations that change something; from the chosen one on, they fail.
struct Fault {
    left: AtomicI64,
    errno: AtomicI64,
    once: bool,
}

impl Fault {
    fn step(&self) -> io::Result<()> {
        let left = self.left.fetch_sub(1, Ordering::AcqRel);
        if left == 0 || left < 0 && !self.once {
            return Err(io::Error::from_raw_os_error(self.errno.load(Ordering::Acquire) as i32));
        }
        Ok(())
    }
}

impl Mask {
    pub(crate) fn new(inner: Arc<dyn Dir>, filesystem: Filesystem) -> Arc<Self> {
        Self::failing(inner, filesystem, i64::MAX, libc::EIO, false)
    }

    /// Fails the changing operation number `at`, and all later ones unless `once`.
    fn failing(inner: Arc<dyn Dir>, filesystem: Filesystem, at: i64, errno: i32, once: bool) -> Arc<Self> {
        let fault = Fault { left: AtomicI64::new(at), errno: AtomicI64::new(errno.into()), once };
        Arc::new(Self { inner, filesystem, boot: AtomicU8::new(1), fault: Arc::new(fault) })
    }

    fn fail_at(&self, at: i64, errno: i32) {
        self.fault.errno.store(errno.into(), Ordering::Release);
        self.fault.left.store(at, Ordering::Release);
    }

    pub(crate) fn reboot(&self) {
        self.boot.fetch_add(1, Ordering::AcqRel);
    }
}

impl Dir for Mask {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(MaskFile { inner: self.inner.open(name, write)?, fault: Arc::clone(&self.fault) }))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.fault.step()?;
        Ok(Arc::new(MaskFile { inner: self.inner.create(name)?, fault: Arc::clone(&self.fault) }))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.fault.step()?;
        self.inner.remove(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.fault.step()?;
        self.inner.rename(from, to)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }
    fn sync(&self) -> io::Result<()> {
        self.fault.step()?;
        self.inner.sync()
    }
    fn lock(&self, name: &str, create: bool) -> io::Result<Box<dyn Lock>> {
        self.inner.lock(name, create)
    }
    fn filesystem(&self) -> io::Result<Filesystem> {
        Ok(self.filesystem)
    }
    fn boot_id(&self) -> io::Result<[u8; 16]> {
        Ok([self.boot.load(Ordering::Acquire); 16])
    }
    fn random(&self, out: &mut [u8]) -> io::Result<()> {
        self.inner.random(out)
    }
}

struct MaskFile {
    inner: Arc<dyn File>,
    fault: Arc<Fault>,
}

impl File for MaskFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(out, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.fault.step()?;
        self.inner.write_at(bytes, offset)
    }
    fn allocate(&self, len: u64) -> io::Result<()> {
        self.fault.step()?;
        self.inner.allocate(len)
    }
    fn extend_sparse(&self, len: u64) -> io::Result<()> {
        self.fault.step()?;
        self.inner.extend_sparse(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.fault.step()?;
        self.inner.sync_data()
    }
    fn map_read(&self, len: u64) -> io::Result<Arc<Mapping>> {
        self.inner.map_read(len)
    }
    fn map_write(&self, len: u64) -> io::Result<Arc<Mapping>> {
        self.inner.map_write(len)
    }
}

/// All bytes of a file.
fn read_file(dir: &Arc<dyn Dir>, name: &str) -> Vec<u8> {
    let file = dir.open(name, false).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// All files but the lock.
fn read_all(dir: &Arc<dyn Dir>) -> BTreeMap<String, Vec<u8>> {
    let names = dir.list().unwrap().into_iter().filter(|name| name != "LOCK");
    names.map(|name| (name.clone(), read_file(dir, &name))).collect()
}

/// A copy in memory of what a crash would leave, with its boot and filesystem.
pub(crate) fn crash_image(dir: &Arc<dyn Dir>, filesystem: Filesystem) -> Arc<Mask> {
    let copy = MemDir::new();
    for (name, bytes) in read_all(dir) {
        let file = copy.create(&name).unwrap();
        file.write_at(&bytes, 0).unwrap();
    }
    Mask::new(copy, filesystem)
}

fn flip(dir: &Arc<dyn Dir>, name: &str, offset: u64) {
    let file = dir.open(name, true).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, offset).unwrap();
    file.write_at(&[byte[0] ^ 0x10], offset).unwrap();
}

fn name(seq: u32) -> String {
    header::segment_name(seq)
}
