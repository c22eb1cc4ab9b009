//! The versions of one key, newest to oldest, as they hang together in the log.
//!
//! Each change names the change of its key before it (`prev`) and one further back (`skip`), so that the
//! version at a revision is found in logarithmic time (D6). Every `BLOCK`-th change of a chain is a
//! checkpoint: the changes of a block skip to the checkpoint that begins it, and checkpoints skip among
//! themselves by the rule of skew-binary numbers, which needs no more than the two checkpoints before.
//!
//! A pointer into a segment that compaction dropped stands for the newest change of the key at or below the
//! base's revision, which the base holds if the key was alive then.

use crate::log::{BASE_BIT, Change, Position, SegmentTable};

const BLOCK: u32 = 16;

/// The snapshot of the segments is older than a position found in the index: take a newer one and try again.
#[derive(Debug, PartialEq, Eq)]
pub struct Stale;

/// The change at `at`, or what stands for it after a compaction; `None` where the key was not alive there.
pub fn resolve<'t>(table: &'t SegmentTable, at: Position, key: &[u8]) -> Result<Option<Change<'t>>, Stale> {
    if at.is_none() {
        return Ok(None);
    }
    if let Some(change) = table.change(at) {
        return Ok(Some(change));
    }
    let newest = match at.seq() & BASE_BIT {
        0 => table.segments().last().map_or(0, |segment| segment.seq()),
        _ => table.base_end() - 1,
    };
    if at.seq() > newest {
        return Err(Stale);
    }
    Ok(table.base_lookup(key).and_then(|base| table.change(base)))
}

/// The newest change of the chain that begins at `newest` with a revision at or below `revision`; it may be a
/// delete.
pub fn at_revision<'t>(
    table: &'t SegmentTable,
    newest: Position,
    key: &[u8],
    revision: i64,
) -> Result<Option<Change<'t>>, Stale> {
    walk(table, newest, key, |change| change.mod_revision() <= revision)
}

/// Walks back to the newest change for which `reached` holds; it must hold for all older ones too.
fn walk<'t>(
    table: &'t SegmentTable,
    newest: Position,
    key: &[u8],
    reached: impl Fn(&Change<'t>) -> bool,
) -> Result<Option<Change<'t>>, Stale> {
    let mut change = match resolve(table, newest, key)? {
        Some(change) => change,
        None => return Ok(None),
    };
    let mut too_far = Position::NONE;
    while !reached(&change) {
        let skip = change.skip();
        if !skip.is_none() && skip != too_far {
            match table.change(skip) {
                Some(target) if !reached(&target) => {
                    change = target;
                    continue;
                }
                _ => too_far = skip,
            }
        }
        change = match resolve(table, change.prev(), key)? {
            Some(change) => change,
            None => return Ok(None),
        };
    }
    Ok(Some(change))
}

/// `skip` and `depth` of the change that follows `prev` in its chain.
pub fn link(table: &SegmentTable, prev: Option<&Change<'_>>) -> (Position, u32) {
    let Some(prev) = prev else { return (Position::NONE, 0) };
    let depth = prev.depth().wrapping_add(1);
    let checkpoint = if prev.depth().is_multiple_of(BLOCK) { prev.position() } else { prev.skip() };
    if !depth.is_multiple_of(BLOCK) {
        return (checkpoint, depth);
    }
    let Some(near) = table.change(checkpoint) else { return (Position::NONE, depth) };
    let Some(far) = table.change(near.skip()) else { return (checkpoint, depth) };
    let far_target = table.change(far.skip()).map_or(far.depth(), |target| target.depth());
    let equal_steps = near.depth().wrapping_sub(far.depth()) == far.depth().wrapping_sub(far_target);
    let farthest = if far.skip().is_none() { far.position() } else { far.skip() };
    (if equal_steps { farthest } else { checkpoint }, depth)
}
