//! What a store says: answers of calls, and the responses of streams, owned and comparable.

pub use libwatch::ErrorCode;

use crate::call::Bytes;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pair {
    pub key: Bytes,
    pub value: Bytes,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAnswer {
    pub revision: i64,
    pub prev_kv: Option<Pair>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeAnswer {
    pub revision: i64,
    pub count: i64,
    pub more: bool,
    pub kvs: Vec<Pair>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteAnswer {
    pub revision: i64,
    pub deleted: i64,
    pub prev_kvs: Vec<Pair>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnAnswer {
    pub revision: i64,
    pub succeeded: bool,
    pub results: Vec<OpAnswer>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpAnswer {
    Put(PutAnswer),
    Range(RangeAnswer),
    DeleteRange(DeleteAnswer),
    Txn(TxnAnswer),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Put(PutAnswer),
    Range(RangeAnswer),
    DeleteRange(DeleteAnswer),
    Txn(TxnAnswer),
    Watch {
        watch_id: i64,
    },
    /// The store after it was opened again.
    Reopened {
        revision: i64,
        compact_revision: i64,
    },
    /// Of calls that have nothing to tell.
    Done,
    Refused(ErrorCode),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub put: bool,
    pub kv: Pair,
    pub prev_kv: Option<Pair>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Created,
    Events(Vec<Event>),
    Progress,
    Canceled { code: Option<ErrorCode>, compact_revision: i64 },
}

/// One response of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// -1: the answer to a request for progress.
    pub watch_id: i64,
    /// The header's.
    pub revision: i64,
    /// `None` where the subject does not tell.
    pub resume_revision: Option<i64>,
    pub fragment: bool,
    pub what: What,
}

impl OpAnswer {
    /// Whether the store was changed.
    pub fn changes(&self) -> bool {
        match self {
            OpAnswer::Put(_) => true,
            OpAnswer::Range(_) => false,
            OpAnswer::DeleteRange(answer) => answer.deleted > 0,
            OpAnswer::Txn(answer) => answer.results.iter().any(OpAnswer::changes),
        }
    }
}

impl Answer {
    /// Whether the store was changed.
    pub fn changes(&self) -> bool {
        match self {
            Answer::Put(_) => true,
            Answer::DeleteRange(answer) => answer.deleted > 0,
            Answer::Txn(answer) => answer.results.iter().any(OpAnswer::changes),
            _ => false,
        }
    }

    /// The revision that the answer names.
    pub fn revision(&self) -> Option<i64> {
        match self {
            Answer::Put(answer) => Some(answer.revision),
            Answer::Range(answer) => Some(answer.revision),
            Answer::DeleteRange(answer) => Some(answer.revision),
            Answer::Txn(answer) => Some(answer.revision),
            _ => None,
        }
    }
}
