//! What is asked of a store, owned and comparable. `N` is how revisions are written: a number in a concrete
//! call, a distance in a program; `I` the same for watch ids.

use std::fmt;
use std::ops::Deref;

pub use libwatch::{CompareResult, SortOrder, SortTarget};

/// Bytes that show themselves as text.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Bytes {
    fn from(bytes: &T) -> Self {
        Self(bytes.as_ref().to_vec())
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.len() {
            0..=24 => write!(f, "\"{}\"", self.escape_ascii()),
            len => write!(f, "\"{}\"..({len} bytes)", self[..16].escape_ascii()),
        }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    pub key: Bytes,
    pub value: Bytes,
    pub lease: i64,
    pub prev_kv: bool,
    pub ignore_value: bool,
    pub ignore_lease: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range<N = i64> {
    pub key: Bytes,
    pub range_end: Bytes,
    pub revision: N,
    pub limit: i64,
    pub min_mod_revision: N,
    pub max_mod_revision: N,
    pub min_create_revision: N,
    pub max_create_revision: N,
    pub sort_target: SortTarget,
    pub sort_order: SortOrder,
    pub keys_only: bool,
    pub count_only: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRange {
    pub key: Bytes,
    pub range_end: Bytes,
    pub prev_kv: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<N = i64> {
    Version(i64),
    Create(N),
    Mod(N),
    Value(Bytes),
    Lease(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare<N = i64> {
    pub key: Bytes,
    pub range_end: Bytes,
    pub target: Target<N>,
    pub result: CompareResult,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op<N = i64> {
    Put(Put),
    Range(Range<N>),
    DeleteRange(DeleteRange),
    Txn(Txn<N>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn<N = i64> {
    pub compare: Vec<Compare<N>>,
    pub success: Vec<Op<N>>,
    pub failure: Vec<Op<N>>,
}

/// A watch to be created; its id is beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Create<N = i64> {
    pub key: Bytes,
    pub range_end: Bytes,
    pub start_revision: N,
    pub prev_kv: bool,
    pub progress_notify: bool,
    pub fragment: bool,
    pub created_notify: bool,
    pub filter_noput: bool,
    pub filter_nodelete: bool,
}

/// One step. Streams are numbered from 0 in the order of the setup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<N, I> {
    Put(Put),
    Range(Range<N>),
    DeleteRange(DeleteRange),
    Txn(Txn<N>),
    Compact {
        revision: N,
        physical: bool,
    },
    Watch {
        stream: usize,
        /// 0: the stream chooses.
        watch_id: I,
        request: Create<N>,
    },
    Cancel {
        stream: usize,
        watch_id: I,
    },
    RequestProgress {
        stream: usize,
    },
    /// Takes at most so many responses of what is there.
    Take {
        stream: usize,
        responses: usize,
    },
    /// The callback of the stream answers "not now" to so many responses; nothing for another stream.
    Refuse {
        stream: usize,
        responses: usize,
    },
    /// Takes everything from every stream, until each watch was given all there is up to now.
    Drain,
    /// Closes the store and opens it again; watches end. A program in memory passes it over.
    Reopen,
}

/// A step with every number known.
pub type Call = Step<i64, i64>;

impl<N> Range<N> {
    fn map<M>(&self, to: &impl Fn(&N) -> M) -> Range<M> {
        Range {
            key: self.key.clone(),
            range_end: self.range_end.clone(),
            revision: to(&self.revision),
            limit: self.limit,
            min_mod_revision: to(&self.min_mod_revision),
            max_mod_revision: to(&self.max_mod_revision),
            min_create_revision: to(&self.min_create_revision),
            max_create_revision: to(&self.max_create_revision),
            sort_target: self.sort_target,
            sort_order: self.sort_order,
            keys_only: self.keys_only,
            count_only: self.count_only,
        }
    }
}

impl<N> Compare<N> {
    fn map<M>(&self, to: &impl Fn(&N) -> M) -> Compare<M> {
        let target = match &self.target {
            Target::Version(version) => Target::Version(*version),
            Target::Create(revision) => Target::Create(to(revision)),
            Target::Mod(revision) => Target::Mod(to(revision)),
            Target::Value(value) => Target::Value(value.clone()),
            Target::Lease(lease) => Target::Lease(*lease),
        };
        let (key, range_end) = (self.key.clone(), self.range_end.clone());
        Compare { key, range_end, target, result: self.result }
    }
}

impl<N> Op<N> {
    fn map<M>(&self, to: &impl Fn(&N) -> M) -> Op<M> {
        match self {
            Op::Put(put) => Op::Put(put.clone()),
            Op::Range(range) => Op::Range(range.map(to)),
            Op::DeleteRange(delete) => Op::DeleteRange(delete.clone()),
            Op::Txn(txn) => Op::Txn(txn.map(to)),
        }
    }
}

impl<N> Txn<N> {
    fn map<M>(&self, to: &impl Fn(&N) -> M) -> Txn<M> {
        Txn {
            compare: self.compare.iter().map(|compare| compare.map(to)).collect(),
            success: self.success.iter().map(|op| op.map(to)).collect(),
            failure: self.failure.iter().map(|op| op.map(to)).collect(),
        }
    }
}

impl<N> Create<N> {
    fn map<M>(&self, to: &impl Fn(&N) -> M) -> Create<M> {
        Create {
            key: self.key.clone(),
            range_end: self.range_end.clone(),
            start_revision: to(&self.start_revision),
            prev_kv: self.prev_kv,
            progress_notify: self.progress_notify,
            fragment: self.fragment,
            created_notify: self.created_notify,
            filter_noput: self.filter_noput,
            filter_nodelete: self.filter_nodelete,
        }
    }
}

impl<N, I> Step<N, I> {
    /// The step with its revisions and, by stream, its watch ids written otherwise.
    pub fn map<M, J>(&self, to: impl Fn(&N) -> M, id: impl Fn(usize, &I) -> J) -> Step<M, J> {
        match self {
            Step::Put(put) => Step::Put(put.clone()),
            Step::Range(range) => Step::Range(range.map(&to)),
            Step::DeleteRange(delete) => Step::DeleteRange(delete.clone()),
            Step::Txn(txn) => Step::Txn(txn.map(&to)),
            Step::Compact { revision, physical } => {
                Step::Compact { revision: to(revision), physical: *physical }
            }
            Step::Watch { stream, watch_id, request } => {
                let watch_id = id(*stream, watch_id);
                Step::Watch { stream: *stream, watch_id, request: request.map(&to) }
            }
            Step::Cancel { stream, watch_id } => {
                Step::Cancel { stream: *stream, watch_id: id(*stream, watch_id) }
            }
            Step::RequestProgress { stream } => Step::RequestProgress { stream: *stream },
            Step::Take { stream, responses } => Step::Take { stream: *stream, responses: *responses },
            Step::Refuse { stream, responses } => Step::Refuse { stream: *stream, responses: *responses },
            Step::Drain => Step::Drain,
            Step::Reopen => Step::Reopen,
        }
    }
}

/// A range below a prefix; an empty key stays what it is, as it is refused.
fn move_range(key: &mut Bytes, range_end: &mut Bytes, prefix: &[u8]) {
    if key.is_empty() {
        return;
    }
    key.0.splice(..0, prefix.iter().copied());
    match &**range_end {
        [] => {}
        [0] => range_end.0 = libwatch::prefix_end(prefix),
        _ => _ = range_end.0.splice(..0, prefix.iter().copied()),
    }
}

fn move_put(put: &mut Put, prefix: &[u8]) {
    move_range(&mut put.key, &mut Bytes::default(), prefix);
}

impl<N> Txn<N> {
    fn move_below(&mut self, prefix: &[u8]) {
        for compare in &mut self.compare {
            move_range(&mut compare.key, &mut compare.range_end, prefix);
        }
        for op in self.success.iter_mut().chain(&mut self.failure) {
            match op {
                Op::Put(put) => move_put(put, prefix),
                Op::Range(range) => move_range(&mut range.key, &mut range.range_end, prefix),
                Op::DeleteRange(delete) => move_range(&mut delete.key, &mut delete.range_end, prefix),
                Op::Txn(txn) => txn.move_below(prefix),
            }
        }
    }
}

impl<N, I> Step<N, I> {
    /// Moves every key of a read or write below a prefix, so that writers do not meet.
    pub fn move_below(&mut self, prefix: &[u8]) {
        match self {
            Step::Put(put) => move_put(put, prefix),
            Step::Range(range) => move_range(&mut range.key, &mut range.range_end, prefix),
            Step::DeleteRange(delete) => move_range(&mut delete.key, &mut delete.range_end, prefix),
            Step::Txn(txn) => txn.move_below(prefix),
            _ => {}
        }
    }
}
