//! A store as a series of items: for leaving libwatch, and for looking at history with other tools. The way
//! back is in [`super::load`].

use std::path::Path;
use std::sync::Arc;

use super::verify::bytes_of;
use super::{ProgressFn, Steps};
use crate::error::{Error, Result};
use crate::limits;
use crate::log::{Change, ChangeOp, Log, LogOptions, OpenVisitor, Record, SegmentTable};
use crate::options::Durability;
use crate::os::real::RealDir;
use crate::os::view::View;

/// One change, or the last state of a key whose history was compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DumpChange<'a> {
    /// A delete has a key and nothing else.
    pub delete: bool,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
    /// 0: none.
    pub lease: i64,
    /// Revision of the put that created the key; 0 in deletes.
    pub create_revision: i64,
    /// Revision of the change.
    pub mod_revision: i64,
    /// Puts since the key was created; 0 in deletes.
    pub version: i64,
}

/// The items of a store, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpItem<'a> {
    /// The first one. Up to this revision compaction dropped the history; 0 if none was dropped.
    Begin {
        /// The last revision without history.
        base_revision: i64,
    },
    /// A key that lived at the base revision, as it was there; keys ascend.
    Base(DumpChange<'a>),
    /// A transaction; revisions ascend. Where one is missing, a crash took it or nobody ever had it.
    Txn(i64, &'a [DumpChange<'a>]),
    /// The last one.
    End {
        /// The current revision.
        revision: i64,
        /// The last compaction, or -1.
        compact_revision: i64,
    },
}

/// Shows every item of the closed store in the directory `path`. Changes nothing; holds the store's lock
/// meanwhile. Without an [`DumpItem::End`] it was not everything.
///
/// # Errors
/// `Locked`, `Corrupt`, `Format`, `Filesystem`, `Io`, and those of `show`.
pub fn dump(
    path: impl AsRef<Path>,
    show: &mut dyn FnMut(DumpItem<'_>) -> Result<()>,
    progress: ProgressFn<'_>,
) -> Result<()> {
    let path = path.as_ref();
    let dir = RealDir::open(path, false)
        .map_err(|error| Error::io(format_args!("open the store {}", path.display()), &error))?;
    let mut steps = Steps::new(bytes_of(&dir), progress);
    let mut shower = Shower { show, begun: false, done: 0, steps: &mut steps };
    let (log, _, found) = Log::open(View::new(Arc::new(dir)), &options(true), &mut shower)?;
    shower.begin(&log.table())?;
    let (revision, compact_revision) = (found.last_revision, found.compact_revision);
    (shower.show)(DumpItem::End { revision, compact_revision })?;
    steps.finish();
    Ok(())
}

pub(super) fn options(read_only: bool) -> LogOptions {
    LogOptions {
        segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
        durability: Durability::None,
        create: !read_only,
        read_only,
    }
}

/// Shows what an opening finds.
struct Shower<'a, 'p> {
    show: &'a mut dyn FnMut(DumpItem<'_>) -> Result<()>,
    begun: bool,
    done: u64,
    steps: &'a mut Steps<'p>,
}

impl Shower<'_, '_> {
    fn begin(&mut self, table: &SegmentTable) -> Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        (self.show)(DumpItem::Begin { base_revision: table.base_revision() })
    }

    fn item<'c>(&mut self, change: &Change<'c>) -> DumpChange<'c> {
        self.done += change.encoded_len();
        self.steps.done(self.done);
        DumpChange {
            delete: change.op() == ChangeOp::Delete,
            key: change.key(),
            value: change.value(),
            lease: change.lease(),
            create_revision: change.create_revision(),
            mod_revision: change.mod_revision(),
            version: change.version(),
        }
    }
}

impl OpenVisitor for Shower<'_, '_> {
    fn base(&mut self, table: &SegmentTable, change: Change<'_>) -> Result<()> {
        self.begin(table)?;
        let item = self.item(&change);
        (self.show)(DumpItem::Base(item))
    }

    fn record(&mut self, table: &SegmentTable, record: &Record<'_>) -> Result<()> {
        self.begin(table)?;
        let changes: Vec<_> = record.changes().map(|change| self.item(&change)).collect();
        (self.show)(DumpItem::Txn(record.revision(), &changes))
    }
}
