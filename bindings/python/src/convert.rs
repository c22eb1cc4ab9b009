//! What callers may pass: keys and values as bytes, any buffer or str; times as float seconds; names as str.

use std::time::Duration;

use libwatch::{AutoCompaction, Durability, ErrorCode, SortTarget};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyMemoryView, PyString};

use crate::errors::{Failure, invalid, refuse};

/// A key or a value. A bytes object is used as it is; a str is encoded as UTF-8 and any other buffer copied,
/// because its owner could change it while the call runs.
pub struct Data<'py>(Bound<'py, PyBytes>);

impl Data<'_> {
    pub fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    pub fn unbind(self) -> Py<PyBytes> {
        self.0.unbind()
    }
}

impl<'py> FromPyObject<'_, 'py> for Data<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Data(bytes.to_owned()));
        }
        if let Ok(text) = object.cast::<PyString>() {
            return Ok(Data(PyBytes::new(object.py(), text.to_str()?.as_bytes())));
        }
        let Ok(view) = PyMemoryView::from(&object) else {
            let name = object.get_type().name()?;
            return Err(PyTypeError::new_err(format!("expected bytes, a buffer or str, not '{name}'")));
        };
        Ok(Data(view.call_method0("tobytes")?.cast_into()?))
    }
}

/// Key and range_end of a call, with `prefix` resolved.
pub struct Span {
    pub key: Vec<u8>,
    pub range_end: Vec<u8>,
}

impl Span {
    pub fn new(key: &Data<'_>, range_end: Option<&Data<'_>>, prefix: bool) -> Result<Self, Failure> {
        let key = key.bytes();
        let (key, range_end) = match (range_end, prefix) {
            (Some(_), true) => return Err(invalid("range_end and prefix exclude each other")),
            (Some(end), false) => (key, end.bytes().to_vec()),
            (None, false) => (key, Vec::new()),
            // The empty prefix is every key (etcd 2.5).
            (None, true) => (if key.is_empty() { b"\0" } else { key }, libwatch::prefix_end(key)),
        };
        Ok(Self { key: key.to_vec(), range_end })
    }
}

/// A timeout: `None` and infinity are no limit, a negative one is 0.
pub fn timeout(seconds: Option<f64>) -> Result<Option<Duration>, Failure> {
    match seconds {
        Some(seconds) if seconds.is_nan() => Err(invalid("timeout is not a number")),
        Some(seconds) => Ok(Duration::try_from_secs_f64(seconds.max(0.0)).ok()),
        None => Ok(None),
    }
}

/// An interval in milliseconds, at least one.
pub fn interval_ms(name: &str, seconds: f64) -> Result<u32, Failure> {
    if seconds.is_nan() || seconds <= 0.0 {
        return Err(invalid(format!("{name} = {seconds} is not a positive number of seconds")));
    }
    let most = u32::MAX / 1000;
    if seconds > f64::from(most) {
        return Err(refuse(ErrorCode::Limit, format!("{name} = {seconds} is more than {most} seconds")));
    }
    Ok(((seconds * 1000.0) as u32).max(1))
}

/// What `open` was asked to compact by itself.
pub fn auto_compaction(revisions: Option<i64>, seconds: Option<f64>) -> Result<AutoCompaction, Failure> {
    match (revisions, seconds) {
        (None, None) => Ok(AutoCompaction::Off),
        (Some(revisions), None) => Ok(AutoCompaction::Revisions(revisions)),
        (None, Some(seconds)) => match Duration::try_from_secs_f64(seconds) {
            Ok(period) => Ok(AutoCompaction::Period(period)),
            Err(_) => Err(invalid(format!("auto_compaction_period = {seconds} is no number of seconds"))),
        },
        _ => Err(invalid("auto_compaction_revisions and auto_compaction_period are both given")),
    }
}

/// A number that counts something, at least one.
pub fn positive<T: TryFrom<i64>>(name: &str, number: i64) -> Result<T, Failure> {
    if number <= 0 {
        return Err(invalid(format!("{name} = {number} is not positive")));
    }
    T::try_from(number).map_err(|_| refuse(ErrorCode::Limit, format!("{name} = {number} is too large")))
}

pub fn durability(name: &str) -> Result<Durability, Failure> {
    match name {
        "none" => Ok(Durability::None),
        "interval" => Ok(Durability::Interval),
        "commit" => Ok(Durability::Commit),
        _ => Err(invalid(format!("durability '{name}' is not 'none', 'interval' or 'commit'"))),
    }
}

pub fn sort_target(name: &str) -> Result<SortTarget, Failure> {
    match name {
        "key" => Ok(SortTarget::Key),
        "version" => Ok(SortTarget::Version),
        "create" => Ok(SortTarget::Create),
        "mod" => Ok(SortTarget::Mod),
        "value" => Ok(SortTarget::Value),
        _ => Err(invalid(format!("sort '{name}' is not 'key', 'version', 'create', 'mod' or 'value'"))),
    }
}

/// Which events a watch leaves out.
#[derive(Clone, Copy, Default)]
pub struct Filters {
    pub noput: bool,
    pub nodelete: bool,
}

impl Filters {
    pub fn new(names: Option<&Bound<'_, PyAny>>) -> Result<Self, Failure> {
        let mut filters = Self::default();
        let Some(names) = names else { return Ok(filters) };
        if names.is_instance_of::<PyString>() {
            return Err(PyTypeError::new_err("filters is a list of names, not a str").into());
        }
        for name in names.try_iter()? {
            match name?.extract::<String>()?.as_str() {
                "noput" => filters.noput = true,
                "nodelete" => filters.nodelete = true,
                other => return Err(invalid(format!("filter '{other}' is not 'noput' or 'nodelete'"))),
            }
        }
        Ok(filters)
    }
}

/// The end of the range that holds every key starting with `prefix`.
#[pyfunction]
#[pyo3(signature = (prefix, /))]
pub fn prefix_end<'py>(py: Python<'py>, prefix: Data<'py>) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &libwatch::prefix_end(prefix.bytes()))
}

/// How bytes appear in a repr; long ones are cut.
pub fn shown(py: Python<'_>, bytes: &[u8]) -> PyResult<String> {
    const SHOWN: usize = 64;
    let text = PyBytes::new(py, &bytes[..bytes.len().min(SHOWN)]).repr()?.to_string();
    Ok(if bytes.len() > SHOWN { format!("<{} bytes {text}...>", bytes.len()) } else { text })
}

/// How a bool appears in a repr.
pub fn truth(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}
