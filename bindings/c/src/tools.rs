//! A store as a whole: is it sound, and a copy of it.

use std::ffi::c_char;

use libwatch::tools::{self, BackupReport, VerifyReport};
use libwatch::{Error, Result};

use crate::guard;
use crate::ptr;
use crate::sized::{self, request};
use crate::store::{enter, watch_store};
use crate::types::watch_status;

/// request (filled in by the library): what a copy holds
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_backup_report {
    pub size: usize,
    /// the copy has everything up to this revision
    pub revision: i64,
    /// where the copy is at once it was opened for writing; its next write has the revision after it
    pub fork_revision: i64,
    /// of log and base
    pub bytes: u64,
}
request!(watch_backup_report { revision, fork_revision, bytes });

/// request (filled in by the library): what a sound store holds
#[repr(C)]
#[derive(Clone, Copy)]
pub struct watch_verify_report {
    pub size: usize,
    pub revision: i64,
    /// -1 before the first compaction
    pub compact_revision: i64,
    /// keys that exist now
    pub key_count: u64,
    /// keys in the base: what compaction kept of the past
    pub base_key_count: u64,
    /// in the log, here and below
    pub transaction_count: u64,
    pub change_count: u64,
    /// of log and base
    pub bytes: u64,
    /// behind the last record: a crash left them, and the next writer clears them
    pub torn_bytes: u64,
    /// files
    pub segment_count: u32,
    pub base_part_count: u32,
    /// intact copies of the manifest, of four
    pub manifest_copies: u32,
    /// 1 if the last writer closed the store, 0 if it crashed, which a sound store survives
    pub closed: u32,
}
request!(watch_verify_report {
    revision,
    compact_revision,
    key_count,
    base_key_count,
    transaction_count,
    change_count,
    bytes,
    torn_bytes,
    segment_count,
    base_part_count,
    manifest_copies,
    closed,
});

#[cfg(target_pointer_width = "64")]
const _: () = {
    use std::mem::size_of;
    assert!(size_of::<watch_backup_report>() == 32);
    assert!(size_of::<watch_verify_report>() == 88);
};

/// Checks the closed store in the directory path: every checksum, every number that follows from others,
/// and that an index built anew agrees. Nothing is changed. Damage is CORRUPT, or FORMAT where another
/// version wrote the files; the message names file and offset. report may be NULL; it is filled in on OK.
/// Thr: any. Blk: reads the whole store twice; a second opener gets LOCKED meanwhile.
/// Err: CORRUPT FORMAT LOCKED IO FILESYSTEM NO_MEMORY INVALID_ARGUMENT UNSUPPORTED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_verify(path: *const c_char, report: *mut watch_verify_report) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about strings.
        let path = unsafe { ptr::path(path) }?;
        // SAFETY: the header's promise about requests. A bad one is refused before the work.
        let _ = unsafe { sized::read_or_default(report) }?.accept()?;
        let found = tools::verify(path, &mut |_| {})?;
        if let Some(damage) = &found.damage {
            return Err(Error::new(damage.code, damage.message.clone()));
        }
        // SAFETY: the header's promise about requests.
        unsafe { fill_if_wanted(report, &verified(&found)) }
    })
}

/// Copies the store as it is now, in memory or in files, to a store of its own in the new directory path,
/// while reads, writes and watches go on. The copy is checked as by watch_verify before it gets its name; on
/// an error nothing is at path. The copy is a fork: it has an identity of its own, and so that no revision
/// ever names two things its first writer goes on at report->fork_revision, far above the original. To move
/// a store rather than fork it, close it and copy or rename the directory. report may be NULL.
/// Thr: any. Blk: writes and syncs the copy, then reads it twice. Err: IO (also if path exists) NO_SPACE
/// CORRUPT FILESYSTEM CLOSED NO_MEMORY INVALID_ARGUMENT UNSUPPORTED
#[unsafe(no_mangle)]
pub unsafe extern "C" fn watch_store_backup(
    store: *mut watch_store,
    path: *const c_char,
    report: *mut watch_backup_report,
) -> watch_status {
    guard::call(|| {
        // SAFETY: the header's promise about handles.
        let store = unsafe { enter(store) }?;
        // SAFETY: the header's promise about strings.
        let path = unsafe { ptr::path(path) }?;
        // SAFETY: the header's promise about requests. A bad one is refused before the work.
        let _ = unsafe { sized::read_or_default(report) }?.accept()?;
        let BackupReport { revision, fork_revision, bytes } = store.backup(path, &mut |_| {})?;
        let copied =
            watch_backup_report { size: size_of::<watch_backup_report>(), revision, fork_revision, bytes };
        // SAFETY: the header's promise about requests.
        unsafe { fill_if_wanted(report, &copied) }
    })
}

fn verified(found: &VerifyReport) -> watch_verify_report {
    watch_verify_report {
        size: size_of::<watch_verify_report>(),
        revision: found.revision,
        compact_revision: found.compact_revision,
        key_count: found.live_keys,
        base_key_count: found.base_entries,
        transaction_count: found.transactions,
        change_count: found.changes,
        bytes: found.bytes,
        torn_bytes: found.torn_bytes,
        segment_count: found.segments,
        base_part_count: found.base_parts,
        manifest_copies: found.manifest_copies,
        closed: found.clean.into(),
    }
}

/// # Safety
/// As for `sized::fill`.
unsafe fn fill_if_wanted<T: sized::Request>(place: *mut T, value: &T) -> Result<()> {
    if place.is_null() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { sized::fill(place, value) }
}
