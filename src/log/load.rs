//! What the rest of the log does not need but a store that is built from a description does: a jump over
//! revisions, and a change that is not in any file yet.

use super::appender::Appender;
use super::change::{Change, NewChange};
use super::record::RECORD_HEADER;
use crate::error::{Error, ErrorCode, Result};

pub use super::base::BaseDraft;

/// Makes `revision` the current one without a transaction.
pub fn jump(appender: &mut Appender, revision: i64) -> Result<()> {
    appender.append_epoch(revision)
}

/// Calls `use_it` with the change as it would be in a log at `revision`.
pub fn with_change<R>(
    revision: i64,
    change: &NewChange<'_>,
    use_it: impl FnOnce(Change<'_>) -> Result<R>,
) -> Result<R> {
    let mut record = vec![0; RECORD_HEADER + change.encoded_len() as usize];
    record[8..16].copy_from_slice(&revision.to_le_bytes());
    change.encode(&mut record[RECORD_HEADER..], RECORD_HEADER as u64);
    let change = Change::decode(&record, RECORD_HEADER as u64, 0, 0)
        .ok_or_else(|| Error::new(ErrorCode::InvalidArgument, "a change that cannot be"))?;
    use_it(change)
}
