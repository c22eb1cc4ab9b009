//! What can still be had of a damaged store, in a new one. Only history without a hole is history: everything up to
//! the first damage is kept, and what lies behind it is counted and left out.

use std::path::Path;
use std::sync::Arc;

use super::verify::{damage_of, is_damage};
use super::{Damage, DumpItem, Loader, ProgressFn, dump};
use crate::error::{Error, ErrorCode, Result};
use crate::log::copy::floor_of;
use crate::log::verify::found_above;
use crate::os::real::RealDir;
use crate::os::view::View;

/// What was kept and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Where the sound history ends and why; `None` if the store is sound, and nothing was lost.
    pub damage: Option<Damage>,
    /// The last revision that was kept.
    pub revision: i64,
    /// Transactions kept; the keys of the base come on top.
    pub transactions: u64,
    /// Whole transactions behind the damage, which were left out. What the damage itself took is not known.
    pub lost_transactions: u64,
    /// The highest revision of those; 0 if there are none.
    pub lost_revision: i64,
    /// The new store is at this revision, far above any that was seen of the damaged one.
    pub fork_revision: i64,
}

/// Makes a store in the new directory `to` from what is sound in the closed store in the directory `from`, which is
/// not changed: its history from the beginning up to the first damage, with the same revisions and versions. After
/// an error there is nothing at `to`.
///
/// Revisions behind the damage may have been seen, so the new store goes on far above them, and a watch that asks
/// for one of them ends like a compacted one. A compaction behind the damage is not known any more.
///
/// # Errors
/// `Corrupt` or `Format` if manifest or base are damaged: then nothing is known for sure. `Locked`, `Io`, `NoSpace`,
/// `Filesystem`.
pub fn repair(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    progress: ProgressFn<'_>,
) -> Result<RepairReport> {
    let from = from.as_ref();
    let mut loader = Loader::begin(to)?;
    let mut report = RepairReport { revision: 1, ..RepairReport::default() };
    let (mut refused, mut base_revision, mut in_log, mut end) = (None, None, false, None);
    let mut show = |item: DumpItem<'_>| {
        match item {
            DumpItem::Begin { base_revision: revision } => {
                base_revision = Some(revision);
                report.revision = report.revision.max(revision);
            }
            DumpItem::Base(_) => {}
            DumpItem::Txn(..) => in_log = true,
            DumpItem::End { revision, compact_revision } => {
                end = Some((revision, compact_revision));
                return Ok(());
            }
        }
        loader.add(item).inspect_err(|error| refused = Some(error.clone()))?;
        if let DumpItem::Txn(revision, _) = item {
            report.revision = revision;
            report.transactions += 1;
        }
        Ok(())
    };
    let dumped = dump(from, &mut show, progress);
    report.damage = match (dumped, refused) {
        (Ok(()), _) => None,
        // The bytes are those that were written, and make no sense all the same.
        (Err(_), Some(error)) if error.code() == ErrorCode::InvalidArgument => {
            Some(Damage { code: ErrorCode::Corrupt, ..damage_of(&error) })
        }
        (Err(error), None) if is_damage(&error) => Some(damage_of(&error)),
        (Err(error), _) => return Err(error),
    };
    if let Some(damage) = &report.damage {
        let whole = base_revision.is_some() && (in_log || damage.file.starts_with("seg-"));
        if !whole {
            return Err(Error::new(damage.code, damage.message.clone()));
        }
        let dir = RealDir::open(from, false)
            .map_err(|error| Error::io(format_args!("open the store {}", from.display()), &error))?;
        let found = found_above(&*View::new(Arc::new(dir)), report.revision)?;
        (report.lost_transactions, report.lost_revision) = found;
    }
    let compacted = base_revision.filter(|base| *base > 0).map_or(-1, |base| base + 1);
    let (revision, compact_revision) = end.unwrap_or((report.revision, compacted));
    report.revision = revision;
    report.fork_revision = floor_of(revision.max(report.lost_revision));
    loader.add(DumpItem::End { revision: report.fork_revision, compact_revision })?;
    loader.finish(&mut |_| {})?;
    Ok(report)
}
