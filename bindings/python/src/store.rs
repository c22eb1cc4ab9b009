//! Store: the handle of an open store and its operations. Everything that can wait or lock runs detached.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use libwatch::{StoreOptions, StreamOptions};
use pyo3::exceptions::{PyTimeoutError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::convert::{self, Data, Filters, Span, truth};
use crate::errors::{Failure, Handle, detached};
use crate::kv::KeyValue;
use crate::ops::{self, Compare, Op, Range};
use crate::result::{DeleteResult, PutResult, RangeResult, TxnResult};
use crate::stream::{WatchArguments, WatchStream, join};
use crate::tools::BackupReport;
use crate::view::{Held, Pair};

/// Longest wait of `sync` without a look at the signals.
const SLICE: Duration = Duration::from_millis(50);

/// An open store.
#[pyclass(frozen, module = "libwatch", weakref)]
pub struct Store {
    handle: Handle<libwatch::Store>,
    path: Option<PathBuf>,
    /// The threads of its callbacks, so that `close` can wait for them.
    threads: Mutex<Vec<Py<PyAny>>>,
}

/// Opens the store in the folder `path`, or one in memory.
#[pyfunction]
#[pyo3(signature = (path, *, create=true, read_only=false, durability="commit", sync_interval=0.01,
    progress_interval=600.0, segment_bytes=None, fragment_bytes=None, txn_ops_max=None,
    auto_compaction_revisions=None, auto_compaction_period=None),
    text_signature = "(path, *, create=True, read_only=False, durability='commit', sync_interval=0.01, \
    progress_interval=600.0, segment_bytes=None, fragment_bytes=None, txn_ops_max=None, \
    auto_compaction_revisions=None, auto_compaction_period=None)")]
#[expect(clippy::too_many_arguments, reason = "Python callers name them")]
pub fn open(
    py: Python<'_>,
    path: Option<PathBuf>,
    create: bool,
    read_only: bool,
    durability: &str,
    sync_interval: f64,
    progress_interval: f64,
    segment_bytes: Option<i64>,
    fragment_bytes: Option<i64>,
    txn_ops_max: Option<i64>,
    auto_compaction_revisions: Option<i64>,
    auto_compaction_period: Option<f64>,
) -> Result<Store, Failure> {
    let mut options = StoreOptions {
        create,
        read_only,
        durability: convert::durability(durability)?,
        sync_interval_ms: convert::interval_ms("sync_interval", sync_interval)?,
        progress_interval_ms: convert::interval_ms("progress_interval", progress_interval)?,
        auto_compaction: convert::auto_compaction(auto_compaction_revisions, auto_compaction_period)?,
        ..StoreOptions::default()
    };
    if let Some(bytes) = segment_bytes {
        options.segment_bytes = convert::positive("segment_bytes", bytes)?;
    }
    if let Some(bytes) = fragment_bytes {
        options.fragment_bytes = convert::positive("fragment_bytes", bytes)?;
    }
    if let Some(ops) = txn_ops_max {
        options.txn_ops_max = convert::positive("txn_ops_max", ops)?;
    }
    let handle = detached(py, || match &path {
        Some(path) => libwatch::Store::open(path, &options),
        None => libwatch::Store::open_in_memory(&options),
    })?;
    Ok(Store { handle: Handle::new(handle), path, threads: Mutex::default() })
}

impl Store {
    fn remember(&self, py: Python<'_>, thread: Py<PyAny>) -> PyResult<()> {
        // Asking a thread runs Python code, so the lock is not held meanwhile.
        let mut threads = self.take_threads();
        threads.push(thread);
        let mut alive = Vec::new();
        for thread in threads {
            if thread.call_method0(py, "is_alive")?.is_truthy(py)? {
                alive.push(thread);
            }
        }
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).extend(alive);
        Ok(())
    }

    fn take_threads(&self) -> Vec<Py<PyAny>> {
        std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn check_callback(callback: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    match callback {
        Some(callback) if !callback.is_callable() => {
            let name = callback.get_type().name()?;
            Err(PyTypeError::new_err(format!("callback: expected something callable, not '{name}'")))
        }
        _ => Ok(()),
    }
}

#[pymethods]
impl Store {
    #[getter]
    fn revision(&self) -> i64 {
        self.handle.revision()
    }

    #[getter]
    fn compact_revision(&self) -> i64 {
        self.handle.compact_revision()
    }

    #[getter]
    fn durable_revision(&self) -> i64 {
        self.handle.durable_revision()
    }

    #[getter]
    fn closed(&self) -> bool {
        self.handle.is_closed()
    }

    #[pyo3(signature = (key, value, *, prev_kv=false, ignore_value=false, lease=0))]
    fn put(
        &self,
        py: Python<'_>,
        key: Data<'_>,
        value: Data<'_>,
        prev_kv: bool,
        ignore_value: bool,
        lease: i64,
    ) -> Result<PutResult, Failure> {
        let request = libwatch::PutRequest {
            key: key.bytes(),
            value: value.bytes(),
            lease,
            prev_kv,
            ignore_value,
            ..libwatch::PutRequest::default()
        };
        Ok(PutResult::new(Held::new(detached(py, || self.handle.put(&request))?)))
    }

    #[pyo3(signature = (key, *, revision=0))]
    fn get(&self, py: Python<'_>, key: Data<'_>, revision: i64) -> Result<Option<KeyValue>, Failure> {
        let key = key.bytes();
        let found = Held::new(detached(py, || self.handle.get(key, revision))?);
        let pair = found.part_if::<Pair>(|result| (!result.is_empty()).then(|| result.kv(0)));
        Ok(pair.map(KeyValue::new))
    }

    #[pyo3(signature = (key, range_end=None, *, prefix=false, revision=0, limit=0, keys_only=false,
        count_only=false, sort="key", descending=false, min_mod_revision=0, max_mod_revision=0,
        min_create_revision=0, max_create_revision=0))]
    #[expect(clippy::too_many_arguments, reason = "Python callers name them")]
    fn range(
        &self,
        py: Python<'_>,
        key: Data<'_>,
        range_end: Option<Data<'_>>,
        prefix: bool,
        revision: i64,
        limit: i64,
        keys_only: bool,
        count_only: bool,
        sort: &str,
        descending: bool,
        min_mod_revision: i64,
        max_mod_revision: i64,
        min_create_revision: i64,
        max_create_revision: i64,
    ) -> Result<RangeResult, Failure> {
        let bounds = [min_mod_revision, max_mod_revision, min_create_revision, max_create_revision];
        let numbers = [revision, limit, bounds[0], bounds[1], bounds[2], bounds[3]];
        let span = Span::new(&key, range_end.as_ref(), prefix)?;
        let range = Range::new(span, numbers, sort, descending, keys_only, count_only)?;
        let request = range.request();
        Ok(RangeResult::new(Held::new(detached(py, || self.handle.range(&request))?)))
    }

    #[pyo3(signature = (key, range_end=None, *, prefix=false, prev_kv=false))]
    fn delete(
        &self,
        py: Python<'_>,
        key: Data<'_>,
        range_end: Option<Data<'_>>,
        prefix: bool,
        prev_kv: bool,
    ) -> Result<DeleteResult, Failure> {
        let Span { key, range_end } = &Span::new(&key, range_end.as_ref(), prefix)?;
        let request = libwatch::DeleteRangeRequest { key, range_end, prev_kv };
        Ok(DeleteResult::new(Held::new(detached(py, || self.handle.delete_range(&request))?)))
    }

    #[pyo3(signature = (*, compare=None, success=None, failure=None),
        text_signature = "($self, *, compare=(), success=(), failure=())")]
    fn txn(
        &self,
        py: Python<'_>,
        compare: Option<Bound<'_, PyAny>>,
        success: Option<Bound<'_, PyAny>>,
        failure: Option<Bound<'_, PyAny>>,
    ) -> Result<TxnResult, Failure> {
        let compare = ops::parts::<Compare>("compare", compare.as_ref())?;
        let success = ops::parts::<Op>("success", success.as_ref())?;
        let failure = ops::parts::<Op>("failure", failure.as_ref())?;
        let request = ops::txn_request(py, &compare, &success, &failure);
        Ok(TxnResult::new(Held::new(detached(py, || self.handle.txn(&request))?)))
    }

    #[pyo3(signature = (revision, *, physical=false))]
    fn compact(&self, py: Python<'_>, revision: i64, physical: bool) -> Result<(), Failure> {
        detached(py, || self.handle.compact(revision, physical))
    }

    #[pyo3(signature = (path))]
    fn backup(&self, py: Python<'_>, path: PathBuf) -> Result<BackupReport, Failure> {
        Ok(detached(py, || self.handle.backup(&path, &mut |_| {}))?.into())
    }

    #[pyo3(signature = (revision=0, *, timeout=None))]
    fn sync(&self, py: Python<'_>, revision: i64, timeout: Option<f64>) -> Result<i64, Failure> {
        let timeout = convert::timeout(timeout)?;
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        // "Now" is when the call began, in every slice.
        let revision = if revision == 0 { self.handle.revision() } else { revision };
        loop {
            let left = deadline.map_or(SLICE, |at| at.saturating_duration_since(Instant::now()).min(SLICE));
            if let Some(durable) = detached(py, || self.handle.sync(revision, Some(left)))? {
                return Ok(durable);
            }
            py.check_signals()?;
            if deadline.is_some_and(|at| Instant::now() >= at) {
                let durable = self.handle.durable_revision();
                return Err(PyTimeoutError::new_err(format!("durable up to revision {durable}")).into());
            }
        }
    }

    #[pyo3(signature = (key, range_end=None, *, prefix=false, start_revision=0, prev_kv=false,
        progress_notify=false, fragment=false, filters=None, callback=None),
        text_signature = "($self, key, range_end=None, *, prefix=False, start_revision=0, prev_kv=False, \
        progress_notify=False, fragment=False, filters=(), callback=None)")]
    #[expect(clippy::too_many_arguments, reason = "Python callers name them")]
    fn watch<'py>(
        &self,
        py: Python<'py>,
        key: Data<'py>,
        range_end: Option<Data<'py>>,
        prefix: bool,
        start_revision: i64,
        prev_kv: bool,
        progress_notify: bool,
        fragment: bool,
        filters: Option<Bound<'py, PyAny>>,
        callback: Option<Bound<'py, PyAny>>,
    ) -> Result<Bound<'py, PyAny>, Failure> {
        static WATCH: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        check_callback(callback.as_ref())?;
        // The created response tells the revision from which the watch can be resumed.
        let arguments = WatchArguments {
            span: Span::new(&key, range_end.as_ref(), prefix)?,
            watch_id: 0,
            start_revision,
            prev_kv,
            progress_notify,
            fragment,
            created_notify: true,
            filters: Filters::new(filters.as_ref())?,
        };
        let options = StreamOptions::default();
        let stream = WatchStream::open(py, &self.handle, &options, callback.is_some(), true)?;
        let watch_id = stream.create_watch(py, &arguments)?;
        let watch = WATCH.import(py, "libwatch.watch", "Watch")?.call1((stream, watch_id, &callback))?;
        if callback.is_some() {
            self.remember(py, watch.getattr("_thread")?.unbind())?;
        }
        Ok(watch)
    }

    #[pyo3(signature = (*, batch_revisions=1000, batch_bytes=1048576, callback=None))]
    fn watch_stream(
        &self,
        py: Python<'_>,
        batch_revisions: i64,
        batch_bytes: i64,
        callback: Option<Bound<'_, PyAny>>,
    ) -> Result<WatchStream, Failure> {
        static START: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        check_callback(callback.as_ref())?;
        let options = StreamOptions {
            batch_revisions: convert::positive("batch_revisions", batch_revisions)?,
            batch_bytes: convert::positive("batch_bytes", batch_bytes)?,
        };
        let stream = WatchStream::open(py, &self.handle, &options, callback.is_some(), false)?;
        let Some(callback) = callback else { return Ok(stream) };
        let back = Bound::new(py, stream)?;
        let thread = START.import(py, "libwatch._callbacks", "start")?.call1((&back, callback))?.unbind();
        self.remember(py, thread.clone_ref(py))?;
        Ok(back.get().front(py, thread))
    }

    fn stats<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyDict>, Failure> {
        let stats = detached(py, || self.handle.stats())?;
        let dict = PyDict::new(py);
        macro_rules! fill {
            ($($name:ident)*) => { $(dict.set_item(stringify!($name), stats.$name)?;)* };
        }
        fill!(revision compact_revision durable_revision oldest_watch_revision key_count log_bytes
            pinned_bytes stream_count watch_count watch_synced_count watch_unsynced_count watch_victim_count
            put_total delete_total txn_total sync_total event_delivered_total record_read_total);
        Ok(dict)
    }

    /// Ends the streams and closes the store; then waits for running callbacks, unless called from one.
    fn close(&self, py: Python<'_>) -> Result<(), Failure> {
        let closed = detached(py, || self.handle.close());
        join(py, &PyTuple::new(py, self.take_threads())?)?;
        closed
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (exc_type, exc, tb, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        exc_type: &Bound<'_, PyAny>,
        exc: &Bound<'_, PyAny>,
        tb: &Bound<'_, PyAny>,
    ) -> Result<(), Failure> {
        let _ = (exc_type, exc, tb);
        self.close(py)
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err("a Store cannot be pickled: open it again in the other process"))
    }

    fn __repr__(&self) -> String {
        let path = match &self.path {
            Some(path) => format!("'{}'", path.display()),
            None => "in memory".to_owned(),
        };
        format!(
            "<Store {path} revision={} closed={}>",
            self.handle.revision(),
            truth(self.handle.is_closed())
        )
    }
}
