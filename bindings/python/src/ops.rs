//! Compare and Op: the parts of a transaction, checked when they are made and immutable afterwards. The Python
//! modules `libwatch.compare` and `libwatch.op` make them.

use libwatch::{CompareResult, CompareTarget, ErrorCode, limits};
use pyo3::PyClass;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::convert::{Data, Span, shown, sort_target};
use crate::errors::{Failure, invalid, refuse};

/// What a compare is held against.
enum Operand {
    Number(i64),
    Value(Py<PyBytes>),
}

/// One condition of a transaction.
#[pyclass(frozen, module = "libwatch", weakref)]
pub struct Compare {
    target: &'static str,
    span: Span,
    result: CompareResult,
    operand: Operand,
}

const TARGETS: [&str; 5] = ["version", "create_revision", "mod_revision", "value", "lease"];

impl Compare {
    pub fn request<'a>(&'a self, py: Python<'_>) -> libwatch::Compare<'a> {
        let target = match &self.operand {
            Operand::Value(value) => CompareTarget::Value(value.as_bytes(py)),
            Operand::Number(number) => match self.target {
                "version" => CompareTarget::Version(*number),
                "create_revision" => CompareTarget::Create(*number),
                "mod_revision" => CompareTarget::Mod(*number),
                _ => CompareTarget::Lease(*number),
            },
        };
        let Span { key, range_end } = &self.span;
        libwatch::Compare { key, range_end, target, result: self.result }
    }
}

#[pymethods]
impl Compare {
    fn __bool__(&self) -> PyResult<bool> {
        Err(PyTypeError::new_err("a Compare has no truth value: give it to txn(compare=[...])"))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let relation = match self.result {
            CompareResult::Equal => "==",
            CompareResult::NotEqual => "!=",
            CompareResult::Greater => ">",
            CompareResult::Less => "<",
        };
        let operand = match &self.operand {
            Operand::Number(number) => number.to_string(),
            Operand::Value(value) => shown(py, value.as_bytes(py))?,
        };
        Ok(format!("<Compare {}({}) {relation} {operand}>", self.target, span_shown(py, &self.span)?))
    }
}

fn span_shown(py: Python<'_>, span: &Span) -> PyResult<String> {
    let key = shown(py, &span.key)?;
    Ok(if span.range_end.is_empty() { key } else { format!("{key}, {}", shown(py, &span.range_end)?) })
}

/// Makes a Compare; `relation` is the operator as it was written.
#[pyfunction]
pub fn make_compare(
    target: &str,
    relation: &str,
    key: Data<'_>,
    range_end: Option<Data<'_>>,
    prefix: bool,
    operand: &Bound<'_, PyAny>,
) -> Result<Compare, Failure> {
    let Some(target) = TARGETS.iter().find(|known| **known == target) else {
        return Err(invalid(format!("compare target '{target}' is not one of {TARGETS:?}")));
    };
    let result = match relation {
        "==" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        _ => return Err(invalid(format!("'{relation}' is not '==', '!=', '<' or '>'"))),
    };
    let operand = if *target == "value" {
        Operand::Value(operand.extract::<Data<'_>>()?.unbind())
    } else {
        Operand::Number(operand.extract()?)
    };
    Ok(Compare { target, span: Span::new(&key, range_end.as_ref(), prefix)?, result, operand })
}

/// A list of parts, borrowed by the request built from it.
pub type Parts<T> = Vec<Py<T>>;

enum Kind {
    Put { key: Py<PyBytes>, value: Py<PyBytes>, prev_kv: bool, ignore_value: bool, lease: i64 },
    Range(Range),
    Delete { span: Span, prev_kv: bool },
    Txn { compare: Parts<Compare>, success: Parts<Op>, failure: Parts<Op> },
}

/// One operation of a transaction.
#[pyclass(frozen, module = "libwatch", weakref)]
pub struct Op {
    kind: Kind,
    /// Transactions inside each other from here on down.
    depth: u32,
}

impl Op {
    pub fn request<'a>(&'a self, py: Python<'_>) -> libwatch::Op<'a> {
        match &self.kind {
            Kind::Put { key, value, prev_kv, ignore_value, lease } => {
                libwatch::Op::Put(libwatch::PutRequest {
                    key: key.as_bytes(py),
                    value: value.as_bytes(py),
                    lease: *lease,
                    prev_kv: *prev_kv,
                    ignore_value: *ignore_value,
                    ..libwatch::PutRequest::default()
                })
            }
            Kind::Range(range) => libwatch::Op::Range(range.request()),
            Kind::Delete { span, prev_kv } => libwatch::Op::DeleteRange(libwatch::DeleteRangeRequest {
                key: &span.key,
                range_end: &span.range_end,
                prev_kv: *prev_kv,
            }),
            Kind::Txn { compare, success, failure } => {
                libwatch::Op::Txn(txn_request(py, compare, success, failure))
            }
        }
    }
}

#[pymethods]
impl Op {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(match &self.kind {
            Kind::Put { key, value, .. } => {
                format!("<Op put({}, {})>", shown(py, key.as_bytes(py))?, shown(py, value.as_bytes(py))?)
            }
            Kind::Range(range) => format!("<Op range({})>", span_shown(py, &range.span)?),
            Kind::Delete { span, .. } => format!("<Op delete({})>", span_shown(py, span)?),
            Kind::Txn { compare, success, failure } => format!(
                "<Op txn of {} compares, {} and {} operations>",
                compare.len(),
                success.len(),
                failure.len()
            ),
        })
    }
}

/// Builds the request of a transaction from its parts.
pub fn txn_request<'a>(
    py: Python<'_>,
    compare: &'a Parts<Compare>,
    success: &'a Parts<Op>,
    failure: &'a Parts<Op>,
) -> libwatch::TxnRequest<'a> {
    libwatch::TxnRequest {
        compare: compare.iter().map(|compare| compare.get().request(py)).collect(),
        success: success.iter().map(|op| op.get().request(py)).collect(),
        failure: failure.iter().map(|op| op.get().request(py)).collect(),
    }
}

/// Reads one argument of a transaction.
pub fn parts<T: PyClass>(name: &str, items: Option<&Bound<'_, PyAny>>) -> PyResult<Parts<T>> {
    let Some(items) = items else { return Ok(Vec::new()) };
    items
        .try_iter()?
        .map(|item| {
            let item = item?;
            let kind = item.get_type().name()?;
            item.cast_into::<T>().map(Bound::unbind).map_err(|_| {
                let wanted = if name == "compare" { "libwatch.compare" } else { "libwatch.op" };
                PyTypeError::new_err(format!("{name}: expected what {wanted} makes, not '{kind}'"))
            })
        })
        .collect()
}

/// The arguments of a range, for `Store.range` and `op.range` alike.
pub struct Range {
    span: Span,
    numbers: [i64; 6],
    sort: libwatch::SortTarget,
    descending: bool,
    keys_only: bool,
    count_only: bool,
}

impl Range {
    /// `numbers`: revision, limit, and the least and greatest mod and create revision.
    pub fn new(
        span: Span,
        numbers: [i64; 6],
        sort: &str,
        descending: bool,
        keys_only: bool,
        count_only: bool,
    ) -> Result<Self, Failure> {
        if numbers[1] < 0 {
            return Err(invalid(format!("limit {} is negative; 0 is no limit", numbers[1])));
        }
        Ok(Self { span, numbers, sort: sort_target(sort)?, descending, keys_only, count_only })
    }

    pub fn request(&self) -> libwatch::RangeRequest<'_> {
        let order = if self.descending { libwatch::SortOrder::Descend } else { libwatch::SortOrder::None };
        let [revision, limit, min_mod, max_mod, min_create, max_create] = self.numbers;
        libwatch::RangeRequest {
            key: &self.span.key,
            range_end: &self.span.range_end,
            revision,
            limit,
            min_mod_revision: min_mod,
            max_mod_revision: max_mod,
            min_create_revision: min_create,
            max_create_revision: max_create,
            sort_target: self.sort,
            sort_order: order,
            keys_only: self.keys_only,
            count_only: self.count_only,
        }
    }
}

#[pyfunction]
pub fn op_put(key: Data<'_>, value: Data<'_>, prev_kv: bool, ignore_value: bool, lease: i64) -> Op {
    let kind = Kind::Put { key: key.unbind(), value: value.unbind(), prev_kv, ignore_value, lease };
    Op { kind, depth: 0 }
}

#[pyfunction]
pub fn op_delete(
    key: Data<'_>,
    range_end: Option<Data<'_>>,
    prefix: bool,
    prev_kv: bool,
) -> Result<Op, Failure> {
    let span = Span::new(&key, range_end.as_ref(), prefix)?;
    Ok(Op { kind: Kind::Delete { span, prev_kv }, depth: 0 })
}

#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "one for each of Store.range")]
pub fn op_range(
    key: Data<'_>,
    range_end: Option<Data<'_>>,
    prefix: bool,
    numbers: [i64; 6],
    sort: &str,
    descending: bool,
    keys_only: bool,
    count_only: bool,
) -> Result<Op, Failure> {
    let span = Span::new(&key, range_end.as_ref(), prefix)?;
    let range = Range::new(span, numbers, sort, descending, keys_only, count_only)?;
    Ok(Op { kind: Kind::Range(range), depth: 0 })
}

#[pyfunction]
pub fn op_txn(
    compare: &Bound<'_, PyAny>,
    success: &Bound<'_, PyAny>,
    failure: &Bound<'_, PyAny>,
) -> Result<Op, Failure> {
    let compare = parts::<Compare>("compare", Some(compare))?;
    let success = parts::<Op>("success", Some(success))?;
    let failure = parts::<Op>("failure", Some(failure))?;
    let below = success.iter().chain(&failure).map(|op| op.get().depth).max().unwrap_or(0);
    // The core has the exact bound; this one keeps what walks the tree from running out of stack before that.
    if below > limits::TXN_DEPTH_MAX {
        let message = format!("transactions are nested deeper than {}", limits::TXN_DEPTH_MAX);
        return Err(refuse(ErrorCode::Limit, message));
    }
    Ok(Op { kind: Kind::Txn { compare, success, failure }, depth: below + 1 })
}
