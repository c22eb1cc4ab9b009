//! KeyValue and Event: immutable values over pinned bytes.

use std::hash::{Hash, Hasher};

use libwatch::EventType;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

use crate::convert::shown;
use crate::view::{Change, Field, Held, Pair, View};

/// A key with the state it had at one revision.
#[pyclass(frozen, eq, hash, module = "libwatch", weakref)]
pub struct KeyValue {
    pair: Held<Pair>,
    key: PyOnceLock<Py<PyBytes>>,
    value: PyOnceLock<Py<PyBytes>>,
}

impl KeyValue {
    pub fn new(pair: Held<Pair>) -> Self {
        Self { pair, key: PyOnceLock::new(), value: PyOnceLock::new() }
    }
}

impl PartialEq for KeyValue {
    fn eq(&self, other: &Self) -> bool {
        self.pair.get() == other.pair.get()
    }
}

impl Hash for KeyValue {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let kv = self.pair.get();
        (kv.key, kv.mod_revision, kv.version).hash(state);
    }
}

#[pymethods]
impl KeyValue {
    #[getter]
    pub fn key(&self, py: Python<'_>) -> &Py<PyBytes> {
        self.key.get_or_init(py, || PyBytes::new(py, self.pair.get().key).unbind())
    }

    #[getter]
    pub fn value(&self, py: Python<'_>) -> &Py<PyBytes> {
        self.value.get_or_init(py, || PyBytes::new(py, self.pair.get().value).unbind())
    }

    #[getter]
    fn key_view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        View::memoryview(py, self.pair.clone(), Field::Key)
    }

    #[getter]
    fn value_view<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyMemoryView>> {
        View::memoryview(py, self.pair.clone(), Field::Value)
    }

    #[getter]
    fn create_revision(&self) -> i64 {
        self.pair.get().create_revision
    }

    #[getter]
    pub fn mod_revision(&self) -> i64 {
        self.pair.get().mod_revision
    }

    #[getter]
    fn version(&self) -> i64 {
        self.pair.get().version
    }

    #[getter]
    fn lease(&self) -> i64 {
        self.pair.get().lease
    }

    pub fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let kv = self.pair.get();
        Ok(format!(
            "KeyValue(key={}, value={}, create_revision={}, mod_revision={}, version={}, lease={})",
            shown(py, kv.key)?,
            shown(py, kv.value)?,
            kv.create_revision,
            kv.mod_revision,
            kv.version,
            kv.lease
        ))
    }
}

/// One change of one key.
#[pyclass(frozen, eq, hash, module = "libwatch", weakref)]
pub struct Event {
    change: Held<Change>,
    kv: PyOnceLock<Py<KeyValue>>,
    prev_kv: PyOnceLock<Option<Py<KeyValue>>>,
}

impl Event {
    pub fn new(change: Held<Change>) -> Self {
        Self { change, kv: PyOnceLock::new(), prev_kv: PyOnceLock::new() }
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.change.get() == other.change.get()
    }
}

impl Hash for Event {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let event = self.change.get();
        (event.event_type, event.kv.key, event.kv.mod_revision).hash(state);
    }
}

#[pymethods]
impl Event {
    #[classattr]
    #[pyo3(name = "__match_args__")]
    const MATCH_ARGS: (&'static str, &'static str, &'static str) = ("type", "kv", "prev_kv");

    #[getter]
    fn r#type<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        match self.change.get().event_type {
            EventType::Put => intern!(py, "PUT"),
            EventType::Delete => intern!(py, "DELETE"),
        }
    }

    #[getter]
    fn kv(&self, py: Python<'_>) -> PyResult<&Py<KeyValue>> {
        self.kv.get_or_try_init(py, || Py::new(py, KeyValue::new(self.change.kv())))
    }

    #[getter]
    fn prev_kv(&self, py: Python<'_>) -> PyResult<&Option<Py<KeyValue>>> {
        self.prev_kv.get_or_try_init(py, || {
            self.change.prev_kv().map(|pair| Py::new(py, KeyValue::new(pair))).transpose()
        })
    }

    #[getter]
    fn is_create(&self) -> bool {
        self.change.get().is_create()
    }

    #[getter]
    fn is_modify(&self) -> bool {
        self.change.get().is_modify()
    }

    #[getter]
    fn key<'py>(&'py self, py: Python<'py>) -> PyResult<&'py Py<PyBytes>> {
        Ok(self.kv(py)?.get().key(py))
    }

    #[getter]
    fn value<'py>(&'py self, py: Python<'py>) -> PyResult<&'py Py<PyBytes>> {
        Ok(self.kv(py)?.get().value(py))
    }

    #[getter]
    fn mod_revision(&self) -> i64 {
        self.change.get().kv.mod_revision
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let kv = self.kv(py)?.get().__repr__(py)?;
        let prev_kv = match self.prev_kv(py)? {
            Some(kv) => kv.get().__repr__(py)?,
            None => "None".to_owned(),
        };
        Ok(format!("Event(type='{}', kv={kv}, prev_kv={prev_kv})", self.r#type(py)))
    }
}
