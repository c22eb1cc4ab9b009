//! A store as a whole: is it sound, and a copy of it.

use std::path::PathBuf;

use libwatch::Error;
use libwatch::tools;
use pyo3::prelude::*;

use crate::errors::{Failure, detached};

/// What a copy holds.
#[pyclass(frozen, get_all, module = "libwatch")]
pub struct BackupReport {
    revision: i64,
    fork_revision: i64,
    bytes: u64,
}

impl From<tools::BackupReport> for BackupReport {
    fn from(report: tools::BackupReport) -> Self {
        let tools::BackupReport { revision, fork_revision, bytes } = report;
        Self { revision, fork_revision, bytes }
    }
}

#[pymethods]
impl BackupReport {
    fn __repr__(&self) -> String {
        let Self { revision, fork_revision, bytes } = self;
        format!("BackupReport(revision={revision}, fork_revision={fork_revision}, bytes={bytes})")
    }
}

/// What a sound store holds.
#[pyclass(frozen, get_all, module = "libwatch")]
pub struct VerifyReport {
    revision: i64,
    compact_revision: i64,
    closed: bool,
    key_count: u64,
    base_key_count: u64,
    transaction_count: u64,
    change_count: u64,
    bytes: u64,
    torn_bytes: u64,
    segment_count: u32,
    base_part_count: u32,
    manifest_copies: u32,
}

#[pymethods]
impl VerifyReport {
    fn __repr__(&self) -> String {
        let Self { revision, compact_revision, key_count, bytes, .. } = self;
        format!(
            "VerifyReport(revision={revision}, compact_revision={compact_revision}, key_count={key_count}, \
             bytes={bytes}, ...)"
        )
    }
}

/// Checks a closed store.
#[pyfunction]
#[pyo3(signature = (path))]
pub fn verify(py: Python<'_>, path: PathBuf) -> Result<VerifyReport, Failure> {
    let found = detached(py, || {
        let found = tools::verify(&path, &mut |_| {})?;
        match &found.damage {
            Some(damage) => Err(Error::new(damage.code, damage.message.clone())),
            None => Ok(found),
        }
    })?;
    Ok(VerifyReport {
        revision: found.revision,
        compact_revision: found.compact_revision,
        closed: found.clean,
        key_count: found.live_keys,
        base_key_count: found.base_entries,
        transaction_count: found.transactions,
        change_count: found.changes,
        bytes: found.bytes,
        torn_bytes: found.torn_bytes,
        segment_count: found.segments,
        base_part_count: found.base_parts,
        manifest_copies: found.manifest_copies,
    })
}
