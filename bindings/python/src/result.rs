//! What operations answer. Each class is a thin view of the core's result; pairs become Python objects when
//! somebody looks at them.

use libwatch::OpResult;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyAny, PyList, PySlice};

use crate::convert::truth;
use crate::kv::KeyValue;
use crate::view::{Held, Pair, Whole};

/// What a put answers.
#[pyclass(frozen, module = "libwatch", weakref)]
pub struct PutResult {
    result: Held<Whole<libwatch::PutResult>>,
    prev_kv: PyOnceLock<Option<Py<KeyValue>>>,
}

impl PutResult {
    pub fn new(result: Held<Whole<libwatch::PutResult>>) -> Self {
        Self { result, prev_kv: PyOnceLock::new() }
    }
}

#[pymethods]
impl PutResult {
    #[getter]
    fn revision(&self) -> i64 {
        self.result.get().revision()
    }

    #[getter]
    fn prev_kv(&self, py: Python<'_>) -> PyResult<&Option<Py<KeyValue>>> {
        self.prev_kv.get_or_try_init(py, || {
            let pair = self.result.part_if::<Pair>(|result| result.prev_kv());
            pair.map(|pair| Py::new(py, KeyValue::new(pair))).transpose()
        })
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let prev_kv = match self.prev_kv(py)? {
            Some(kv) => kv.get().__repr__(py)?,
            None => "None".to_owned(),
        };
        Ok(format!("PutResult(revision={}, prev_kv={prev_kv})", self.revision()))
    }
}

/// The pairs of a range: a sequence.
#[pyclass(frozen, module = "libwatch", weakref)]
pub struct RangeResult {
    result: Held<Whole<libwatch::RangeResult>>,
}

impl RangeResult {
    pub fn new(result: Held<Whole<libwatch::RangeResult>>) -> Self {
        Self { result }
    }

    pub fn pair(&self, i: usize) -> KeyValue {
        KeyValue::new(self.result.part::<Pair>(|result| result.kv(i)))
    }

    fn position(&self, value: &Bound<'_, PyAny>, from: usize, to: usize) -> Option<usize> {
        let wanted = value.cast::<KeyValue>().ok()?;
        (from..to.min(self.__len__())).find(|&i| self.pair(i) == *wanted.get())
    }
}

/// A place in a sequence as Python counts it, from the end where it is negative.
fn from_end(index: isize, len: usize) -> usize {
    if index < 0 { len.saturating_sub(index.unsigned_abs()) } else { index.unsigned_abs() }
}

#[pymethods]
impl RangeResult {
    #[getter]
    fn revision(&self) -> i64 {
        self.result.get().revision()
    }

    #[getter]
    fn count(&self) -> i64 {
        self.result.get().count()
    }

    #[getter]
    fn more(&self) -> bool {
        self.result.get().more()
    }

    pub fn __len__(&self) -> usize {
        self.result.get().len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let len = self.__len__();
        if let Ok(slice) = index.cast::<PySlice>() {
            let slice = slice.indices(len as isize)?;
            let at = |n: usize| (slice.start + n as isize * slice.step) as usize;
            return Ok(PyList::new(py, (0..slice.slicelength).map(|n| self.pair(at(n))))?.into_any());
        }
        let index: isize = index.extract()?;
        if index >= len as isize || index < -(len as isize) {
            return Err(PyIndexError::new_err("RangeResult index out of range"));
        }
        Ok(Bound::new(py, self.pair(from_end(index, len)))?.into_any())
    }

    fn __iter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<RangeIterator>> {
        let to = slf.get().__len__();
        Py::new(py, RangeIterator { range: slf, ends: std::sync::Mutex::new((0, to)), reversed: false })
    }

    fn __reversed__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<RangeIterator>> {
        let to = slf.get().__len__();
        Py::new(py, RangeIterator { range: slf, ends: std::sync::Mutex::new((0, to)), reversed: true })
    }

    fn __contains__(&self, value: &Bound<'_, PyAny>) -> bool {
        self.position(value, 0, usize::MAX).is_some()
    }

    #[pyo3(signature = (value, start=0, stop=None))]
    fn index(&self, value: &Bound<'_, PyAny>, start: isize, stop: Option<isize>) -> PyResult<usize> {
        let len = self.__len__();
        let to = stop.map_or(len, |stop| from_end(stop, len));
        let found = self.position(value, from_end(start, len), to);
        found.ok_or_else(|| PyValueError::new_err("the value is not in the RangeResult"))
    }

    fn __repr__(&self) -> String {
        let result = self.result.get();
        format!(
            "<RangeResult of {} of {} keys, revision={}, more={}>",
            result.len(),
            result.count(),
            result.revision(),
            truth(result.more())
        )
    }
}

/// Walks a range from either end.
#[pyclass(frozen, module = "libwatch")]
pub struct RangeIterator {
    range: Py<RangeResult>,
    ends: std::sync::Mutex<(usize, usize)>,
    reversed: bool,
}

#[pymethods]
impl RangeIterator {
    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__(&self) -> Option<KeyValue> {
        let mut ends = self.ends.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if ends.0 == ends.1 {
            return None;
        }
        let i = if self.reversed {
            ends.1 -= 1;
            ends.1
        } else {
            ends.0 += 1;
            ends.0 - 1
        };
        drop(ends);
        Some(self.range.get().pair(i))
    }

    fn __length_hint__(&self) -> usize {
        let ends = self.ends.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        ends.1 - ends.0
    }
}

/// What a delete answers.
#[pyclass(frozen, module = "libwatch", weakref)]
pub struct DeleteResult {
    result: Held<Whole<libwatch::DeleteRangeResult>>,
}

impl DeleteResult {
    pub fn new(result: Held<Whole<libwatch::DeleteRangeResult>>) -> Self {
        Self { result }
    }
}

#[pymethods]
impl DeleteResult {
    #[getter]
    fn revision(&self) -> i64 {
        self.result.get().revision()
    }

    #[getter]
    fn deleted(&self) -> i64 {
        self.result.get().deleted()
    }

    #[getter]
    fn prev_kvs(&self) -> Vec<KeyValue> {
        let pair = |i| KeyValue::new(self.result.part::<Pair>(|result| result.prev_kv(i)));
        (0..self.result.get().prev_kv_count()).map(pair).collect()
    }

    fn __repr__(&self) -> String {
        let result = self.result.get();
        format!(
            "<DeleteResult deleted={}, revision={}, {} prev_kvs>",
            result.deleted(),
            result.revision(),
            result.prev_kv_count()
        )
    }
}

/// What a transaction answers; true if its compares held.
#[pyclass(frozen, module = "libwatch", weakref)]
pub struct TxnResult {
    result: Held<Whole<libwatch::TxnResult>>,
}

impl TxnResult {
    pub fn new(result: Held<Whole<libwatch::TxnResult>>) -> Self {
        Self { result }
    }

    fn operation<'py>(&self, py: Python<'py>, i: usize) -> PyResult<Bound<'py, PyAny>> {
        let op = self.result.part::<Whole<OpResult>>(|result| &result.results()[i]);
        macro_rules! wrapped {
            ($kind:ident, $core:ty, $class:ty) => {
                op.part_if::<Whole<$core>>(|op| if let OpResult::$kind(it) = op { Some(it) } else { None })
                    .map(|it| Bound::new(py, <$class>::new(it)).map(Bound::into_any))
            };
        }
        wrapped!(Put, libwatch::PutResult, PutResult)
            .or_else(|| wrapped!(Range, libwatch::RangeResult, RangeResult))
            .or_else(|| wrapped!(DeleteRange, libwatch::DeleteRangeResult, DeleteResult))
            .or_else(|| wrapped!(Txn, libwatch::TxnResult, TxnResult))
            .unwrap_or_else(|| Err(PyValueError::new_err("a result of an unknown kind")))
    }
}

#[pymethods]
impl TxnResult {
    #[getter]
    fn revision(&self) -> i64 {
        self.result.get().revision()
    }

    #[getter]
    fn succeeded(&self) -> bool {
        self.result.get().succeeded()
    }

    #[getter]
    fn results<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        (0..self.result.get().results().len()).map(|i| self.operation(py, i)).collect()
    }

    fn __bool__(&self) -> bool {
        self.succeeded()
    }

    fn __repr__(&self) -> String {
        let result = self.result.get();
        format!(
            "<TxnResult succeeded={}, revision={}, {} results>",
            truth(result.succeeded()),
            result.revision(),
            result.results().len()
        )
    }
}
