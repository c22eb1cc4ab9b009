//! Judges watches: holds what each was given against the true log, rule by rule, with the names etcd's robustness
//! suite gives them (etcd 17). Knows nothing of the engine; the log comes from those who wrote it.
#![allow(dead_code, unused_imports)] // each test binary uses a part of it

mod judge;
mod log;
mod route;
mod tests;
mod validate;

use libwatch::{ErrorCode, Event, EventType, KeyRange, KeyValue, Response, Store};

pub use judge::check;
pub use log::Log;
pub use route::Route;

/// One change as its writer asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub put: bool,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub lease: i64,
}

/// A pair as a model of the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

/// An event: what happened, and what the key was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    pub put: bool,
    pub kv: Pair,
    pub prev: Option<Pair>,
}

/// What a response was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Created,
    Events(Vec<Happened>),
    Progress,
    Canceled { code: Option<ErrorCode>, compact_revision: i64 },
}

/// One response, and what the store said when it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub kind: Kind,
    pub revision: i64,
    pub resume_revision: i64,
    pub fragment: bool,
    pub readable_revision: i64,
    pub compact_revision: i64,
}

impl Given {
    /// Copies a response that has just arrived, which is one thing only.
    pub fn of(response: &Response, store: &Store) -> Self {
        let kinds = [response.is_created(), response.is_canceled(), response.is_progress()];
        let count = kinds.iter().filter(|is| **is).count() + usize::from(!response.is_empty());
        assert_eq!(count, 1, "created, canceled, progress: {kinds:?}, {} events", response.len());
        let kind = if response.is_created() {
            Kind::Created
        } else if response.is_canceled() {
            let (code, compact_revision) = (response.cancel_code(), response.compact_revision());
            Kind::Canceled { code, compact_revision }
        } else if response.is_progress() {
            Kind::Progress
        } else {
            Kind::Events(response.events().map(|event| happened(&event)).collect())
        };
        Self {
            kind,
            revision: response.revision(),
            resume_revision: response.resume_revision(),
            fragment: response.is_fragment(),
            readable_revision: store.revision(),
            compact_revision: store.compact_revision(),
        }
    }
}

fn happened(event: &Event<'_>) -> Happened {
    let put = event.event_type == EventType::Put;
    Happened { put, kv: pair(&event.kv), prev: event.prev_kv.as_ref().map(pair) }
}

fn pair(kv: &KeyValue<'_>) -> Pair {
    Pair {
        key: kv.key.to_vec(),
        value: kv.value.to_vec(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// A watch: what it asked for and everything it was given.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    pub key: Vec<u8>,
    pub range_end: Vec<u8>,
    /// The start is between these two; they differ for a watch "from now on" while others write.
    pub start: (i64, i64),
    pub prev_kv: bool,
    pub filter_noput: bool,
    pub filter_nodelete: bool,
    pub created_notify: bool,
    /// Everything up to here must have been given, unless the watch was canceled before.
    pub reaches: i64,
    pub given: Vec<Given>,
}

impl Watch {
    fn wants(&self, event: &Happened) -> bool {
        let filtered = if event.put { self.filter_noput } else { self.filter_nodelete };
        !filtered && KeyRange::new(&self.key, &self.range_end).contains(&event.kv.key)
    }
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Ordered,
    Unique,
    Atomic,
    Reliable,
    Resumable,
    Bookmarkable,
    Filter,
    IsCreate,
    PrevKv,
    /// Key, value, version, lease and revisions are those written.
    Content,
    /// The header is not older than the events.
    Header,
    /// What arrives can be read.
    Readable,
    /// One created response at the beginning if it was asked for, else none.
    Created,
    /// One final response at the end.
    Final,
    /// A response goes to its watch, and the parts of one are neighbours. Of a stream; see [`Route`].
    Route,
}

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub Rule, pub String);

fn hold(rule: Rule, holds: bool, how: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(rule, how())) }
}
