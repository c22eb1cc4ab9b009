//! Calls as libwatch's requests, and libwatch's results as answers.

use libwatch::{
    CompareTarget, CreateRequest, DeleteRangeRequest, DeleteRangeResult, EventType, KeyValue, OpResult,
    PutRequest, PutResult, RangeRequest, RangeResult, Store, TxnRequest, TxnResult,
};

use crate::answer::{
    Answer, DeleteAnswer, Event, OpAnswer, Pair, PutAnswer, RangeAnswer, Response, TxnAnswer, What,
};
use crate::call::{Call, Compare, Create, DeleteRange, Op, Put, Range, Step, Target, Txn};

fn put_request(put: &Put) -> PutRequest<'_> {
    PutRequest {
        key: &put.key,
        value: &put.value,
        lease: put.lease,
        prev_kv: put.prev_kv,
        ignore_value: put.ignore_value,
        ignore_lease: put.ignore_lease,
    }
}

fn range_request(range: &Range) -> RangeRequest<'_> {
    RangeRequest {
        key: &range.key,
        range_end: &range.range_end,
        revision: range.revision,
        limit: range.limit,
        min_mod_revision: range.min_mod_revision,
        max_mod_revision: range.max_mod_revision,
        min_create_revision: range.min_create_revision,
        max_create_revision: range.max_create_revision,
        sort_target: range.sort_target,
        sort_order: range.sort_order,
        keys_only: range.keys_only,
        count_only: range.count_only,
    }
}

fn delete_request(delete: &DeleteRange) -> DeleteRangeRequest<'_> {
    DeleteRangeRequest { key: &delete.key, range_end: &delete.range_end, prev_kv: delete.prev_kv }
}

fn compare(compare: &Compare) -> libwatch::Compare<'_> {
    libwatch::Compare {
        key: &compare.key,
        range_end: &compare.range_end,
        target: match &compare.target {
            Target::Version(version) => CompareTarget::Version(*version),
            Target::Create(revision) => CompareTarget::Create(*revision),
            Target::Mod(revision) => CompareTarget::Mod(*revision),
            Target::Value(value) => CompareTarget::Value(value),
            Target::Lease(lease) => CompareTarget::Lease(*lease),
        },
        result: compare.result,
    }
}

fn op(op: &Op) -> libwatch::Op<'_> {
    match op {
        Op::Put(put) => libwatch::Op::Put(put_request(put)),
        Op::Range(range) => libwatch::Op::Range(range_request(range)),
        Op::DeleteRange(delete) => libwatch::Op::DeleteRange(delete_request(delete)),
        Op::Txn(txn) => libwatch::Op::Txn(txn_request(txn)),
    }
}

fn txn_request(txn: &Txn) -> TxnRequest<'_> {
    TxnRequest {
        compare: txn.compare.iter().map(compare).collect(),
        success: txn.success.iter().map(op).collect(),
        failure: txn.failure.iter().map(op).collect(),
    }
}

/// The request for a watch with an id and data of the caller's.
pub fn create_request(create: &Create, watch_id: i64, watch_data: usize) -> CreateRequest<'_> {
    CreateRequest {
        key: &create.key,
        range_end: &create.range_end,
        start_revision: create.start_revision,
        watch_id,
        prev_kv: create.prev_kv,
        progress_notify: create.progress_notify,
        fragment: create.fragment,
        created_notify: create.created_notify,
        filter_noput: create.filter_noput,
        filter_nodelete: create.filter_nodelete,
        watch_data,
    }
}

fn pair(kv: &KeyValue<'_>) -> Pair {
    Pair {
        key: kv.key.into(),
        value: kv.value.into(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

fn put_answer(result: &PutResult) -> PutAnswer {
    PutAnswer { revision: result.revision(), prev_kv: result.prev_kv().as_ref().map(pair) }
}

fn range_answer(result: &RangeResult) -> RangeAnswer {
    let kvs = result.iter().map(|kv| pair(&kv)).collect();
    RangeAnswer { revision: result.revision(), count: result.count(), more: result.more(), kvs }
}

fn delete_answer(result: &DeleteRangeResult) -> DeleteAnswer {
    let prev_kvs = (0..result.prev_kv_count()).map(|i| pair(&result.prev_kv(i))).collect();
    DeleteAnswer { revision: result.revision(), deleted: result.deleted(), prev_kvs }
}

fn txn_answer(result: &TxnResult) -> TxnAnswer {
    let results = result
        .results()
        .iter()
        .map(|result| match result {
            OpResult::Put(result) => OpAnswer::Put(put_answer(result)),
            OpResult::Range(result) => OpAnswer::Range(range_answer(result)),
            OpResult::DeleteRange(result) => OpAnswer::DeleteRange(delete_answer(result)),
            OpResult::Txn(result) => OpAnswer::Txn(txn_answer(result)),
        })
        .collect();
    TxnAnswer { revision: result.revision(), succeeded: result.succeeded(), results }
}

/// Does a call that is for the store and no stream.
///
/// # Panics
/// For any other.
pub fn call(store: &Store, call: &Call) -> Answer {
    let answer = match call {
        Step::Put(put) => store.put(&put_request(put)).map(|result| Answer::Put(put_answer(&result))),
        Step::Range(range) => {
            store.range(&range_request(range)).map(|result| Answer::Range(range_answer(&result)))
        }
        Step::DeleteRange(delete) => {
            let result = store.delete_range(&delete_request(delete));
            result.map(|result| Answer::DeleteRange(delete_answer(&result)))
        }
        Step::Txn(txn) => store.txn(&txn_request(txn)).map(|result| Answer::Txn(txn_answer(&result))),
        Step::Compact { revision, physical } => store.compact(*revision, *physical).map(|()| Answer::Done),
        _ => panic!("{call} is not for the store alone"),
    };
    answer.unwrap_or_else(|error| Answer::Refused(error.code()))
}

/// A response with its bytes copied.
pub fn response(response: &libwatch::Response) -> Response {
    let what = if response.is_created() {
        What::Created
    } else if response.is_canceled() {
        What::Canceled { code: response.cancel_code(), compact_revision: response.compact_revision() }
    } else if response.is_progress() {
        What::Progress
    } else {
        let event = |event: libwatch::Event<'_>| Event {
            put: event.event_type == EventType::Put,
            kv: pair(&event.kv),
            prev_kv: event.prev_kv.as_ref().map(pair),
        };
        What::Events(response.events().map(event).collect())
    };
    Response {
        watch_id: response.watch_id(),
        revision: response.revision(),
        resume_revision: Some(response.resume_revision()),
        fragment: response.is_fragment(),
        what,
    }
}
