//! What a caller asks for. All-default means what zero means in etcd: the newest revision, no limit, no filter.

/// A put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutRequest<'a> {
    /// The key, 1 to [`crate::limits::KEY_BYTES_MAX`] bytes.
    pub key: &'a [u8],
    /// The value, to [`crate::limits::VALUE_BYTES_MAX`] bytes.
    pub value: &'a [u8],
    /// Carried, never interpreted.
    pub lease: i64,
    /// Return the key as it was before.
    pub prev_kv: bool,
    /// Keep the value; `value` must be empty and the key must exist.
    pub ignore_value: bool,
    /// Keep the lease; `lease` must be 0 and the key must exist.
    pub ignore_lease: bool,
}

/// What a range is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value.
    Value,
}

/// Which way a range is sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// By key; another target than the key is ascending (etcd 14.6).
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Largest first.
    Descend,
}

/// A read of one key or a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeRequest<'a> {
    /// The first key.
    pub key: &'a [u8],
    /// Empty: the single key. `"\0"`: every key from `key` on. Otherwise the first key that is out.
    pub range_end: &'a [u8],
    /// The revision to read at; 0 or less: the newest (in a transaction a negative one is compacted).
    pub revision: i64,
    /// Most keys to return; 0 or less: all.
    pub limit: i64,
    /// Leave out keys last changed before this revision; 0: none.
    pub min_mod_revision: i64,
    /// Leave out keys last changed after this revision; 0: none.
    pub max_mod_revision: i64,
    /// Leave out keys created before this revision; 0: none.
    pub min_create_revision: i64,
    /// Leave out keys created after this revision; 0: none.
    pub max_create_revision: i64,
    /// What to sort by.
    pub sort_target: SortTarget,
    /// Which way to sort.
    pub sort_order: SortOrder,
    /// Return empty values.
    pub keys_only: bool,
    /// Return only the count.
    pub count_only: bool,
}

/// A delete of one key or a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeRequest<'a> {
    /// The first key.
    pub key: &'a [u8],
    /// As in [`RangeRequest::range_end`].
    pub range_end: &'a [u8],
    /// Return the keys as they were before.
    pub prev_kv: bool,
}

/// How a compare relates the stored to the given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareResult {
    /// Stored equals given.
    Equal,
    /// Stored is greater than given.
    Greater,
    /// Stored is less than given.
    Less,
    /// Stored differs from given.
    NotEqual,
}

/// What a compare looks at, with what it is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareTarget<'a> {
    /// The version; 0 where the key is absent.
    Version(i64),
    /// The create revision; 0 where the key is absent.
    Create(i64),
    /// The mod revision; 0 where the key is absent.
    Mod(i64),
    /// The value; never true where the key is absent, not even `NotEqual` (etcd 14.9).
    Value(&'a [u8]),
    /// The lease; 0 where the key is absent.
    Lease(i64),
}

/// One condition of a transaction. With a range every key in it must pass; an empty range is an absent key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare<'a> {
    /// The first key.
    pub key: &'a [u8],
    /// As in [`RangeRequest::range_end`].
    pub range_end: &'a [u8],
    /// What is looked at and held against.
    pub target: CompareTarget<'a>,
    /// How the two must relate.
    pub result: CompareResult,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// Write a key.
    Put(PutRequest<'a>),
    /// Read; sees what earlier operations of the transaction wrote.
    Range(RangeRequest<'a>),
    /// Delete.
    DeleteRange(DeleteRangeRequest<'a>),
    /// A transaction inside; its compares see the state before the outermost one began (etcd 14.10).
    Txn(TxnRequest<'a>),
}

/// If all compares hold, `success` runs, otherwise `failure`: as one revision, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnRequest<'a> {
    /// All must hold; an empty list holds.
    pub compare: Vec<Compare<'a>>,
    /// Runs if the compares hold.
    pub success: Vec<Op<'a>>,
    /// Runs if they do not.
    pub failure: Vec<Op<'a>>,
}

/// A watch to be created on a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateRequest<'a> {
    /// The first key; empty stands for the key `"\0"` (etcd 2.1).
    pub key: &'a [u8],
    /// As in [`RangeRequest::range_end`]; a range with nothing in it is `EmptyRange`.
    pub range_end: &'a [u8],
    /// 0: from now on. Otherwise history is replayed from this revision on, inclusive; it may lie in the future.
    pub start_revision: i64,
    /// 0: the stream chooses. Otherwise a positive id that is not in use on this stream.
    pub watch_id: i64,
    /// Give each event the key as it was before.
    pub prev_kv: bool,
    /// Send periodic progress notifications while there are no events.
    pub progress_notify: bool,
    /// Split responses larger than [`crate::StoreOptions::fragment_bytes`].
    pub fragment: bool,
    /// Send a created response before anything else.
    pub created_notify: bool,
    /// Leave out puts.
    pub filter_noput: bool,
    /// Leave out deletes.
    pub filter_nodelete: bool,
    /// Handed back in each response of this watch; not interpreted.
    pub watch_data: usize,
}
