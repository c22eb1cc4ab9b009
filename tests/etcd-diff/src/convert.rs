//! The model's calls as etcd's messages, and etcd's messages as the model's answers.

use libwatch_model::answer::{
    Answer, DeleteAnswer, ErrorCode, Event, OpAnswer, Pair, PutAnswer, RangeAnswer, TxnAnswer,
};
use libwatch_model::call::{
    Compare, CompareResult, Create, DeleteRange, Op, Put, Range, SortOrder, SortTarget, Target, Txn,
};

use crate::{Failure, apart, wire};

/// etcd's refusals by the end of their text: a call's error and a watch's cancel reason differ in front of it.
const REFUSALS: [(&str, ErrorCode); 10] = [
    ("key is not provided", ErrorCode::EmptyKey),
    ("key not found", ErrorCode::KeyNotFound),
    ("value is provided", ErrorCode::InvalidArgument),
    ("lease is provided", ErrorCode::InvalidArgument),
    ("too many operations in txn request", ErrorCode::Limit),
    ("duplicate key given in txn request", ErrorCode::DuplicateKey),
    ("mvcc: required revision has been compacted", ErrorCode::Compacted),
    ("mvcc: required revision is a future revision", ErrorCode::FutureRevision),
    ("mvcc: watcher range is empty", ErrorCode::EmptyRange),
    ("mvcc: duplicate watch ID provided on the WatchStream", ErrorCode::DuplicateWatchId),
];

/// The code of a refusal; a text that is not in the table is a failure of etcd.
pub fn refusal(text: &str) -> Result<ErrorCode, Failure> {
    let known = REFUSALS.iter().find(|(end, _)| text.ends_with(end));
    known.map(|(_, code)| *code).ok_or_else(|| Failure::Etcd(format!("etcd says: {text}")))
}

pub fn put(put: &Put) -> wire::PutRequest {
    wire::PutRequest {
        key: put.key.to_vec(),
        value: put.value.to_vec(),
        lease: put.lease,
        prev_kv: put.prev_kv,
        ignore_value: put.ignore_value,
        ignore_lease: put.ignore_lease,
    }
}

pub fn range(range: &Range) -> wire::RangeRequest {
    let range = &apart::as_asked(range);
    wire::RangeRequest {
        key: range.key.to_vec(),
        range_end: range.range_end.to_vec(),
        limit: range.limit,
        revision: range.revision,
        sort_order: match range.sort_order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
        },
        sort_target: match range.sort_target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
        },
        keys_only: range.keys_only,
        count_only: range.count_only,
        min_mod_revision: range.min_mod_revision,
        max_mod_revision: range.max_mod_revision,
        min_create_revision: range.min_create_revision,
        max_create_revision: range.max_create_revision,
    }
}

pub fn delete_range(delete: &DeleteRange) -> wire::DeleteRangeRequest {
    let DeleteRange { key, range_end, prev_kv } = delete;
    wire::DeleteRangeRequest { key: key.to_vec(), range_end: range_end.to_vec(), prev_kv: *prev_kv }
}

fn compare(compare: &Compare) -> wire::Compare {
    let (target, operand) = match &compare.target {
        Target::Version(version) => (0, wire::Operand::Version(*version)),
        Target::Create(revision) => (1, wire::Operand::CreateRevision(*revision)),
        Target::Mod(revision) => (2, wire::Operand::ModRevision(*revision)),
        Target::Value(value) => (3, wire::Operand::Value(value.to_vec())),
        Target::Lease(lease) => (4, wire::Operand::Lease(*lease)),
    };
    wire::Compare {
        result: match compare.result {
            CompareResult::Equal => 0,
            CompareResult::Greater => 1,
            CompareResult::Less => 2,
            CompareResult::NotEqual => 3,
        },
        target,
        key: compare.key.to_vec(),
        operand: Some(operand),
        range_end: compare.range_end.to_vec(),
    }
}

fn op(op: &Op) -> wire::RequestOp {
    let request = match op {
        Op::Put(it) => wire::Request::Put(put(it)),
        Op::Range(it) => wire::Request::Range(range(it)),
        Op::DeleteRange(it) => wire::Request::DeleteRange(delete_range(it)),
        Op::Txn(it) => wire::Request::Txn(txn(it)),
    };
    wire::RequestOp { request: Some(request) }
}

pub fn txn(txn: &Txn) -> wire::TxnRequest {
    wire::TxnRequest {
        compare: txn.compare.iter().map(compare).collect(),
        success: txn.success.iter().map(op).collect(),
        failure: txn.failure.iter().map(op).collect(),
    }
}

pub fn create(watch_id: i64, request: &Create) -> wire::WatchCreateRequest {
    let filters = [(0, request.filter_noput), (1, request.filter_nodelete)];
    wire::WatchCreateRequest {
        key: request.key.to_vec(),
        range_end: request.range_end.to_vec(),
        start_revision: request.start_revision,
        filters: filters.iter().filter(|(_, set)| *set).map(|(filter, _)| *filter).collect(),
        prev_kv: request.prev_kv,
        watch_id,
        fragment: request.fragment,
    }
}

fn pair(kv: wire::KeyValue) -> Pair {
    Pair {
        key: (&kv.key).into(),
        value: (&kv.value).into(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

fn revision(header: Option<wire::Header>) -> i64 {
    header.unwrap_or_default().revision
}

pub fn put_answer(response: wire::PutResponse) -> PutAnswer {
    PutAnswer { revision: revision(response.header), prev_kv: response.prev_kv.map(pair) }
}

pub fn range_answer(response: wire::RangeResponse) -> RangeAnswer {
    RangeAnswer {
        revision: revision(response.header),
        count: response.count,
        more: response.more,
        kvs: response.kvs.into_iter().map(pair).collect(),
    }
}

pub fn delete_answer(response: wire::DeleteRangeResponse) -> DeleteAnswer {
    DeleteAnswer {
        revision: revision(response.header),
        deleted: response.deleted,
        prev_kvs: response.prev_kvs.into_iter().map(pair).collect(),
    }
}

pub fn txn_answer(response: wire::TxnResponse) -> Result<TxnAnswer, Failure> {
    let result = |op: wire::ResponseOp| match op.response {
        Some(wire::Response::Put(it)) => Ok(OpAnswer::Put(put_answer(it))),
        Some(wire::Response::Range(it)) => Ok(OpAnswer::Range(range_answer(it))),
        Some(wire::Response::DeleteRange(it)) => Ok(OpAnswer::DeleteRange(delete_answer(it))),
        Some(wire::Response::Txn(it)) => Ok(OpAnswer::Txn(txn_answer(it)?)),
        None => Err(Failure::Etcd("a transaction has an operation without an answer".to_string())),
    };
    Ok(TxnAnswer {
        revision: revision(response.header),
        succeeded: response.succeeded,
        results: response.responses.into_iter().map(result).collect::<Result<_, _>>()?,
    })
}

pub fn event(event: wire::Event) -> Event {
    Event { put: event.kind == 0, kv: pair(event.kv.unwrap_or_default()), prev_kv: event.prev_kv.map(pair) }
}

/// A call's outcome: its answer, or the refusal.
pub fn answer<T>(
    outcome: Result<T, tonic::Status>,
    wrap: impl FnOnce(T) -> Result<Answer, Failure>,
) -> Result<Answer, Failure> {
    match outcome {
        Ok(response) => wrap(response),
        Err(status) => Ok(Answer::Refused(refusal(status.message())?)),
    }
}
