//! Is a store sound? Reads every byte of it and writes none. A store that this calls sound opens, and holds
//! what was written: each record in its place, each change behind the one of its key before it, and an index
//! that says the same.

use std::path::Path;
use std::sync::Arc;

use super::{ProgressFn, Steps};
use crate::error::{Error, ErrorCode, Result};
use crate::log::verify::{Checker, orphaned};
use crate::mvcc::Mvcc;
use crate::options::StoreOptions;
use crate::os::file::Dir;
use crate::os::real::RealDir;
use crate::os::view::View;

/// The first thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// `Corrupt`, or `Format` where another version wrote the files.
    pub code: ErrorCode,
    /// Name of the file.
    pub file: String,
    /// Where in the file; 0 if it is about the file as a whole.
    pub offset: u64,
    /// One line that names file, place and fault.
    pub message: String,
}

/// What was found. The counts are those of the whole store only if there is no damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// `None`: the store is sound.
    pub damage: Option<Damage>,
    /// The revision of the last record.
    pub revision: i64,
    /// The last compaction, or -1.
    pub compact_revision: i64,
    /// The last writer closed the store. One that crashed leaves a sound store all the same.
    pub clean: bool,
    /// Bytes behind the last record that a crash left, and the next writer clears.
    pub torn_bytes: u64,
    /// Intact copies of the manifest, of four.
    pub manifest_copies: u32,
    /// Segments of the log.
    pub segments: u32,
    /// Files of the base.
    pub base_parts: u32,
    /// Keys in the base: what compaction kept of the past.
    pub base_entries: u64,
    /// Transactions in the log.
    pub transactions: u64,
    /// Their changes.
    pub changes: u64,
    /// Keys that exist now.
    pub live_keys: u64,
    /// Bytes of log and base.
    pub bytes: u64,
    /// Files that a crash left, and the next writer removes.
    pub leftovers: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.damage.is_none()
    }
}

/// Checks the closed store in the directory `path`: every checksum and every number that follows from others,
/// and that an index built from scratch agrees. Changes nothing; holds the store's lock meanwhile. Damage is a
/// result and not an error.
///
/// # Errors
/// If nothing can be said: `Locked` if the store is open, `Io` if it is not there or cannot be read,
/// `Filesystem`, `NoMemory`.
pub fn verify(path: impl AsRef<Path>, progress: ProgressFn<'_>) -> Result<VerifyReport> {
    let path = path.as_ref();
    let dir = RealDir::open(path, false)
        .map_err(|error| Error::io(format_args!("open the store {}", path.display()), &error))?;
    verify_in(Arc::new(dir), progress)
}

pub(super) fn verify_in(dir: Arc<dyn Dir>, progress: ProgressFn<'_>) -> Result<VerifyReport> {
    let mut report = VerifyReport { compact_revision: -1, ..VerifyReport::default() };
    if let Some(lost) = orphaned(&*dir)? {
        report.damage = Some(damage_of(&lost));
        return Ok(report);
    }
    // Read once to check it, and once more to build the index.
    let mut steps = Steps::new(bytes_of(&*dir) * 2, progress);
    match check(&dir, &mut report, &mut steps) {
        Err(error) if is_damage(&error) => report.damage = Some(damage_of(&error)),
        checked => checked?,
    }
    steps.finish();
    Ok(report)
}

fn check(dir: &Arc<dyn Dir>, report: &mut VerifyReport, steps: &mut Steps<'_>) -> Result<()> {
    let view: Arc<dyn Dir> = View::new(Arc::clone(dir));
    let mut tell = |done| steps.done(done);
    let mut checker = Checker::new(&mut tell);
    let checked = checker.check(&view);
    let counts = std::mem::take(&mut checker.counts);
    let keys = std::mem::take(&mut checker.keys);
    report.manifest_copies = counts.manifest_copies;
    report.segments = counts.segments;
    report.base_parts = counts.base_parts;
    report.base_entries = counts.base_entries;
    report.transactions = counts.transactions;
    report.changes = counts.changes;
    report.bytes = counts.bytes;
    report.leftovers = counts.leftovers;
    report.live_keys = keys.values().filter(|newest| newest.lives).count() as u64;
    let (log, found) = checked?;
    report.revision = found.last_revision;
    report.compact_revision = found.compact_revision;
    report.clean = found.clean;
    report.torn_bytes = found.torn_bytes;
    steps.phase(steps.total / 2);
    // The lock is held by `log` until here.
    let options = StoreOptions { read_only: true, create: false, ..StoreOptions::default() };
    let store = Mvcc::open(View::of_locked(Arc::clone(dir)), options.checked()?)?;
    let table = store.log.table();
    let disagree =
        |what: &str| Err(Error::new(ErrorCode::Corrupt, format!("the index does not agree: {what}")));
    if (store.revision(), store.compact_revision()) != (found.last_revision, found.compact_revision) {
        return disagree("other revisions");
    }
    if store.index.len() != keys.len() {
        return disagree("another number of keys");
    }
    for (key, newest) in &keys {
        let indexed = store.index.find(&table, store.index.hash(key), key);
        if !matches!(indexed, Ok(Some((_, at))) if at == newest.position) {
            return disagree("another newest change of a key");
        }
    }
    drop(log);
    Ok(())
}

/// Whether an error of opening says that the bytes are wrong, and not that they could not be had.
pub(super) fn is_damage(error: &Error) -> bool {
    // A file that ends early is no answer of the system.
    let is_short = error.code() == ErrorCode::Io && error.os_error() == 0;
    matches!(error.code(), ErrorCode::Corrupt | ErrorCode::Format) || is_short
}

/// Takes file and place out of the line, where every such error has them.
pub(super) fn damage_of(error: &Error) -> Damage {
    let message = error.message();
    let is_file = |word: &&str| *word == "MANIFEST" || word.ends_with(".lws");
    let mut words = message.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '.');
    let file = words.find(is_file).unwrap_or_default().to_string();
    let offset = message.split_once(", offset ").and_then(|(_, rest)| rest.split(':').next()?.parse().ok());
    let code = if error.code() == ErrorCode::Format { ErrorCode::Format } else { ErrorCode::Corrupt };
    Damage { code, file, offset: offset.unwrap_or(0), message: message.to_string() }
}

/// Bytes of the files of a store, for progress.
pub(super) fn bytes_of(dir: &dyn Dir) -> u64 {
    let names = dir.list().unwrap_or_default();
    let files = names.iter().filter(|name| name.ends_with(".lws"));
    files.filter_map(|name| dir.open(name, false).and_then(|file| file.len()).ok()).sum()
}
