//! Copies of a store while it is used, or of a closed one. A copy is a store of its own: it begins with the
//! same history and goes on for itself.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::verify::verify_in;
use super::{ProgressFn, Steps};
use crate::error::{Error, ErrorCode, Result};
use crate::log::copy::Copied;
use crate::log::{Log, LogOptions, OpenVisitor, Record, SegmentTable};
use crate::options::Durability;
use crate::os::file::Dir;
use crate::os::real::{RealDir, random};
use crate::os::view::View;
use crate::store::Store;

/// What a copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The copy has everything up to this revision.
    pub revision: i64,
    /// The revision that the copy is at once it was opened for writing; the next write has the one after it.
    pub fork_revision: i64,
    /// Bytes of log and base that were copied.
    pub bytes: u64,
}

/// Copies the closed store in the directory `from` to `to`, as [`crate::Store::backup`] does an open one.
///
/// # Errors
/// As there; `Locked` if the store is open.
pub fn backup(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    progress: ProgressFn<'_>,
) -> Result<BackupReport> {
    let from = from.as_ref();
    let dir = RealDir::open(from, false)
        .map_err(|error| Error::io(format_args!("open the store {}", from.display()), &error))?;
    let options = LogOptions {
        segment_bytes: crate::limits::SEGMENT_BYTES_DEFAULT,
        durability: Durability::Commit,
        create: false,
        read_only: true,
    };
    let (log, _, found) = Log::open(View::new(Arc::new(dir)), &options, &mut Unseen)?;
    backup_of(&log, to.as_ref(), &|| found.last_revision, progress)
}

impl Store {
    /// Copies the store as it is now, in memory or in files, to a store of its own in the new directory `to`, while
    /// reads, writes and watches go on. The copy is checked as by [`crate::tools::verify`] before it gets its name; on
    /// an error there is nothing at `to`.
    ///
    /// The copy is a fork: what is written to it later is another history than the original's. So that no revision
    /// ever names two things, its first writer goes on far above, at [`BackupReport::fork_revision`], and a watch that
    /// asks for a revision in between ends like a compacted one. To move a store and not to fork it, close it and copy
    /// the directory.
    ///
    /// # Errors
    /// `Io` with `EEXIST` if there is something at `to`; `Io`, `NoSpace`, `Corrupt`, `Closed`.
    pub fn backup(&self, to: impl AsRef<Path>, progress: ProgressFn<'_>) -> Result<BackupReport> {
        let mvcc = self.mvcc();
        mvcc.check_open()?;
        backup_of(&mvcc.log, to.as_ref(), &|| mvcc.revision(), progress)
    }
}

/// Copies a log as it is at the revision that `revision` answers once the copy begins.
fn backup_of(
    log: &Log,
    to: &Path,
    revision: &dyn Fn() -> i64,
    progress: ProgressFn<'_>,
) -> Result<BackupReport> {
    let draft = Draft::begin(to)?;
    let dir: Arc<dyn Dir> =
        Arc::new(RealDir::open(&draft.path, false).map_err(|error| draft.failed("open", &error))?);
    // Copied, then checked, which reads it twice.
    let mut steps = Steps::new(log.log_bytes() * 3, progress);
    let (table, revision) = loop {
        // The revision first: everything up to it is in a table that is taken later, unless a compaction came.
        let (revision, table) = (revision(), log.table());
        if table.first_revision() <= revision {
            break (table, revision);
        }
    };
    let copied = log.copy_to(&table, revision, &*dir, &mut |done| steps.done(done))?;
    drop(table);
    steps.phase(steps.total / 3);
    let checked = verify_in(dir, &mut |part| steps.done(part.done))?;
    match checked.damage {
        Some(damage) => {
            let message = format!("the copy {} is not sound: {}", draft.path.display(), damage.message);
            return Err(Error::new(ErrorCode::Corrupt, message));
        }
        None if checked.revision != copied.revision => {
            let message = format!("the copy {} is at another revision", draft.path.display());
            return Err(Error::new(ErrorCode::Corrupt, message));
        }
        None => {}
    }
    draft.publish(to)?;
    steps.finish();
    let Copied { revision, floor, bytes } = copied;
    Ok(BackupReport { revision, fork_revision: floor, bytes })
}

/// Nothing of what an opening shows is of interest.
struct Unseen;

impl OpenVisitor for Unseen {
    fn base(&mut self, _: &SegmentTable, _: crate::log::Change<'_>) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, _: &SegmentTable, _: &Record<'_>) -> Result<()> {
        Ok(())
    }
}

/// A directory under a temporary name beside the one it will be; removed unless it was finished.
pub(super) struct Draft {
    pub path: PathBuf,
    keep: bool,
}

impl Draft {
    pub fn begin(to: &Path) -> Result<Self> {
        if to.symlink_metadata().is_ok() {
            let exists = io::Error::from_raw_os_error(libc::EEXIST);
            return Err(Error::io(format_args!("write to {}", to.display()), &exists));
        }
        let mut name = match to.file_name() {
            Some(name) => name.to_os_string(),
            None => {
                let message = format!("{} does not name a new directory", to.display());
                return Err(Error::new(ErrorCode::InvalidArgument, message));
            }
        };
        let mut word = [0; 8];
        random(&mut word).map_err(|error| Error::io("draw a temporary name", &error))?;
        name.push(format!(".{:016x}.tmp", u64::from_le_bytes(word)));
        let mut draft = Self { path: to.with_file_name(name), keep: true };
        let made = fs::DirBuilder::new().mode(0o700).create(&draft.path);
        made.map_err(|error| draft.failed("create", &error))?;
        draft.keep = false;
        Ok(draft)
    }

    pub fn failed(&self, doing: &str, error: &io::Error) -> Error {
        Error::io(format_args!("{doing} {}", self.path.display()), error)
    }

    /// Gives the directory its name, in one step and for good.
    pub fn publish(mut self, to: &Path) -> Result<()> {
        fs::rename(&self.path, to).map_err(|error| self.failed("rename", &error))?;
        self.keep = true;
        let parent = match to.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let synced = fs::File::open(parent).and_then(|parent| parent.sync_all());
        synced.map_err(|error| Error::io(format_args!("sync {}", parent.display()), &error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.keep {
            // What cannot be removed now has a name that says what it is.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
