//! The one table of outcomes. The number of an [`ErrorCode`] is the C status of the same name, and the
//! Python exception of the same name carries it as `.code`; numbers are never reused.

use std::fmt;

/// What went wrong. The number is the C status (`WATCH_ERR_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum ErrorCode {
    /// An argument has a value that no call accepts.
    InvalidArgument = -1,
    /// The call does not fit what the object is, such as `next` on a callback stream.
    InvalidState = -2,
    /// An option or flag that this version does not know.
    Unsupported = -3,
    /// Header and library do not fit together.
    AbiMismatch = -4,
    /// The store or stream was closed.
    Closed = -5,
    /// Another consumer is inside the same stream.
    Busy = -6,
    /// A bound of [`crate::limits`] was exceeded.
    Limit = -7,
    /// The revision is below the compaction.
    Compacted = -20,
    /// The revision has not been written yet.
    FutureRevision = -21,
    /// The key is empty.
    EmptyKey = -22,
    /// `range_end` is not above `key`.
    EmptyRange = -23,
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    KeyNotFound = -24,
    /// One transaction would change a key twice.
    DuplicateKey = -25,
    /// The chosen watch id is in use on this stream.
    DuplicateWatchId = -26,
    /// No live watch has this id on this stream.
    WatchNotFound = -27,
    /// The operating system refused an input or output.
    Io = -40,
    /// The disk is full; nothing was changed.
    NoSpace = -41,
    /// Bytes on disk are not what was written.
    Corrupt = -42,
    /// Another opener holds the store.
    Locked = -43,
    /// The store was opened read-only.
    ReadOnly = -44,
    /// The files are of another format version.
    Format = -45,
    /// An earlier write or sync failed; reopen the store.
    Poisoned = -46,
    /// A filesystem on which mappings or locks cannot be trusted.
    Filesystem = -47,
    /// The system has no memory for this call.
    NoMemory = -60,
    /// A panic was contained.
    Panic = -61,
    /// The handle was opened before a `fork`; open the store again in the child.
    Forked = -62,
}

impl ErrorCode {
    /// Every code with the name of its C status and a general sentence.
    pub const TABLE: &'static [(ErrorCode, &'static str, &'static str)] = &[
        (Self::InvalidArgument, "WATCH_ERR_INVALID_ARGUMENT", "an argument is not valid"),
        (Self::InvalidState, "WATCH_ERR_INVALID_STATE", "the call does not fit the state of the object"),
        (Self::Unsupported, "WATCH_ERR_UNSUPPORTED", "an option or flag is not known to this version"),
        (Self::AbiMismatch, "WATCH_ERR_ABI_MISMATCH", "header and library do not fit together"),
        (Self::Closed, "WATCH_ERR_CLOSED", "the store or stream is closed"),
        (Self::Busy, "WATCH_ERR_BUSY", "another consumer is using this stream"),
        (Self::Limit, "WATCH_ERR_LIMIT", "a limit was exceeded"),
        (Self::Compacted, "WATCH_ERR_COMPACTED", "the required revision has been compacted"),
        (Self::FutureRevision, "WATCH_ERR_FUTURE_REVISION", "the required revision is a future revision"),
        (Self::EmptyKey, "WATCH_ERR_EMPTY_KEY", "the key is empty"),
        (Self::EmptyRange, "WATCH_ERR_EMPTY_RANGE", "the watch range is empty"),
        (Self::KeyNotFound, "WATCH_ERR_KEY_NOT_FOUND", "the key does not exist"),
        (Self::DuplicateKey, "WATCH_ERR_DUPLICATE_KEY", "one transaction changes a key twice"),
        (Self::DuplicateWatchId, "WATCH_ERR_DUPLICATE_WATCH_ID", "the watch id is in use on this stream"),
        (Self::WatchNotFound, "WATCH_ERR_WATCH_NOT_FOUND", "no live watch has this id"),
        (Self::Io, "WATCH_ERR_IO", "input or output failed"),
        (Self::NoSpace, "WATCH_ERR_NO_SPACE", "no space is left on the device"),
        (Self::Corrupt, "WATCH_ERR_CORRUPT", "the stored bytes are corrupt"),
        (Self::Locked, "WATCH_ERR_LOCKED", "the store is open elsewhere"),
        (Self::ReadOnly, "WATCH_ERR_READ_ONLY", "the store is open read-only"),
        (Self::Format, "WATCH_ERR_FORMAT", "the files are of another format version"),
        (Self::Poisoned, "WATCH_ERR_POISONED", "an earlier write or sync failed; reopen the store"),
        (Self::Filesystem, "WATCH_ERR_FILESYSTEM", "the filesystem cannot be trusted with a store"),
        (Self::NoMemory, "WATCH_ERR_NO_MEMORY", "out of memory"),
        (Self::Panic, "WATCH_ERR_PANIC", "an internal error was contained"),
        (Self::Forked, "WATCH_ERR_FORKED", "the handle was opened before a fork"),
    ];

    /// The number that crosses the C boundary.
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The code with this number.
    pub fn from_number(number: i32) -> Option<Self> {
        Self::TABLE.iter().map(|row| row.0).find(|code| code.number() == number)
    }

    /// The name of the C status, such as `WATCH_ERR_COMPACTED`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// One general sentence.
    pub fn sentence(self) -> &'static str {
        self.row().2
    }

    fn row(self) -> &'static (ErrorCode, &'static str, &'static str) {
        Self::TABLE.iter().find(|row| row.0 == self).expect("every code has its row; a test walks the table")
    }
}

/// A failed call: a code, one line that names the thing, and the numbers some codes carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    message: String,
    os_error: i32,
    revision: i64,
}

/// The result of every call that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with its line. The line names the thing and ends without a full stop.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), os_error: 0, revision: 0 }
    }

    /// `Compacted`, with the lowest revision that can still be asked for.
    pub fn compacted(required: i64, compact_revision: i64) -> Self {
        let message = match compact_revision {
            0.. => format!("revision {required} has been compacted; the oldest is {compact_revision}"),
            _ => format!("revision {required} is below every revision"),
        };
        Self { revision: compact_revision.max(0), ..Self::new(ErrorCode::Compacted, message) }
    }

    /// `FutureRevision`, with the current revision.
    pub fn future_revision(required: i64, current: i64) -> Self {
        let message = format!("revision {required} is in the future; the current revision is {current}");
        Self { revision: current, ..Self::new(ErrorCode::FutureRevision, message) }
    }

    /// What the system answered when `doing` was tried; a full disk or quota becomes `NoSpace`.
    pub fn io(doing: impl fmt::Display, source: &std::io::Error) -> Self {
        let os_error = source.raw_os_error().unwrap_or(0);
        let code = match os_error {
            libc::ENOSPC | libc::EDQUOT => ErrorCode::NoSpace,
            libc::ENOMEM => ErrorCode::NoMemory,
            _ => ErrorCode::Io,
        };
        Self { os_error, ..Self::new(code, format!("{doing}: {source}")) }
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// One line for a person.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// `errno`, or 0.
    pub fn os_error(&self) -> i32 {
        self.os_error
    }

    /// For [`ErrorCode::Compacted`], else 0.
    pub fn compact_revision(&self) -> i64 {
        if self.code == ErrorCode::Compacted { self.revision } else { 0 }
    }

    /// For [`ErrorCode::FutureRevision`], else 0.
    pub fn current_revision(&self) -> i64 {
        if self.code == ErrorCode::FutureRevision { self.revision } else { 0 }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_lead_back() {
        for (i, (code, name, _)) in ErrorCode::TABLE.iter().enumerate() {
            assert_eq!(ErrorCode::from_number(code.number()), Some(*code));
            assert_eq!(code.name(), *name);
            assert!(
                ErrorCode::TABLE[..i]
                    .iter()
                    .all(|other| other.0.number() != code.number() && other.1 != *name)
            );
        }
        assert_eq!(ErrorCode::from_number(0), None);
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        let full = std::io::Error::from_raw_os_error(libc::ENOSPC);
        assert_eq!(Error::io("grow", &full).code(), ErrorCode::NoSpace);
        let broken = std::io::Error::from_raw_os_error(libc::EIO);
        assert_eq!(Error::io("grow", &broken).code(), ErrorCode::Io);
        assert_eq!(Error::io("grow", &broken).os_error(), libc::EIO);
    }
}
