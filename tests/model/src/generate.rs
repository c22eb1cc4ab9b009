//! Random programs. A profile says what may occur in them; shrinking takes steps away and makes them smaller.

use libwatch::prefix_end;
use proptest::prelude::*;
use proptest::strategy::Union;

use crate::call::{
    Bytes, Compare, CompareResult, Create, DeleteRange, Op, Put, Range, SortOrder, SortTarget, Step, Target,
    Txn,
};
use crate::model::Model;
use crate::ops::changes_once;
use crate::program::{Abstract, At, Consumer, Durability, Id, Program, Setup, StreamSetup};

/// What may occur in a program.
#[derive(Clone, Debug)]
pub struct Profile {
    pub steps: usize,
    pub streams: usize,
    /// Stores in files, and values that need more than one segment.
    pub files: bool,
    /// Streams with callbacks, with descriptors, and with small batches.
    pub consumers: bool,
    /// Requests that are refused without a look at the store.
    pub invalid: bool,
    pub leases: bool,
    /// How often watches are made, against 40 puts; 0: never.
    pub watches: u32,
    pub compactions: bool,
    /// Takes, refusals and progress, which need a consumer in this process.
    pub slow: bool,
    pub progress: bool,
    pub fragments: bool,
    pub reopens: bool,
    /// Leave out what etcd does otherwise: see [`Profile::allows`].
    pub etcd: bool,
}

impl Profile {
    /// Everything that libwatch can do.
    pub fn libwatch() -> Self {
        Self {
            steps: 120,
            streams: 3,
            files: true,
            consumers: true,
            invalid: true,
            leases: true,
            watches: 12,
            compactions: true,
            slow: true,
            progress: true,
            fragments: true,
            reopens: true,
            etcd: false,
        }
    }

    /// Many watches of few streams, so that many read the log together.
    pub fn crowd() -> Self {
        Self { steps: 300, streams: 2, watches: 50, ..Self::libwatch() }
    }

    /// What etcd over gRPC can do as well and answers in the same way.
    pub fn etcd() -> Self {
        Self {
            streams: 2,
            files: false,
            consumers: false,
            leases: false,
            slow: false,
            progress: false,
            fragments: false,
            reopens: false,
            etcd: true,
            ..Self::libwatch()
        }
    }

    /// Writes and reads alone.
    pub fn writers() -> Self {
        Self { watches: 0, compactions: false, files: false, reopens: false, ..Self::libwatch() }
    }

    /// Whether a call may be compared. Only the model's state tells where etcd differs on purpose or by a bug
    /// that was mended later: a delete at the compaction, a key put and deleted by a range that only libwatch
    /// takes for an overlap, and the id of a watch that a compaction ended.
    pub fn allows(&self, model: &Model, call: &crate::call::Call) -> bool {
        if !self.etcd {
            return true;
        }
        match call {
            Step::Compact { revision, .. } => !model.deletes_at(*revision),
            Step::Txn(txn) => {
                let twice = changes_once(&txn.success).is_err() || changes_once(&txn.failure).is_err();
                !(twice && has_subtle_overlap(txn))
            }
            Step::Watch { stream, watch_id, .. } | Step::Cancel { stream, watch_id } => {
                *watch_id == 0 || !model.was_compacted(*stream, *watch_id)
            }
            _ => true,
        }
    }

    pub fn program(&self) -> impl Strategy<Value = Program> + use<> {
        let steps = prop::collection::vec(self.step(), 1..=self.steps);
        (self.setup(), steps).prop_map(|(setup, steps)| Program { setup, steps })
    }

    fn setup(&self) -> BoxedStrategy<Setup> {
        let consumer = match self.consumers {
            true => prop::sample::select(vec![Consumer::Poll, Consumer::Descriptor, Consumer::Callback]),
            false => prop::sample::select(vec![Consumer::Poll]),
        };
        let numbers = |some: &[u64]| prop::sample::select(some.to_vec());
        let (revisions, bytes) = match self.consumers {
            true => (numbers(&[0, 1, 2, 3, 9]), numbers(&[0, 1, 50, 700])),
            false => (numbers(&[0]), numbers(&[0])),
        };
        let stream = (consumer, revisions, bytes).prop_map(|(consumer, revisions, batch_bytes)| {
            StreamSetup { consumer, batch_revisions: revisions as u32, batch_bytes }
        });
        let fragment_bytes = numbers(if self.fragments { &[0, 1, 60, 400] } else { &[0] });
        let txn_ops_max = numbers(if self.etcd { &[0] } else { &[0, 0, 0, 3] });
        let streams = prop::collection::vec(stream, self.streams);
        let mode = prop::sample::select(vec![Durability::None, Durability::Interval, Durability::Commit]);
        let files = if self.files { prop::bool::weighted(0.4).boxed() } else { Just(false).boxed() };
        (files, mode, fragment_bytes, txn_ops_max, streams)
            .prop_map(|(files, durability, fragment_bytes, txn_ops_max, streams)| Setup {
                files,
                durability,
                fragment_bytes,
                txn_ops_max: txn_ops_max as u32,
                streams,
            })
            .boxed()
    }

    /// One step.
    pub fn step(&self) -> BoxedStrategy<Abstract> {
        let streams = 0..self.streams;
        let ids = self.ids();
        let mut all: Vec<(u32, BoxedStrategy<Abstract>)> = vec![
            (40, self.put().prop_map(Step::Put).boxed()),
            (8, self.delete().prop_map(Step::DeleteRange).boxed()),
            (8, self.range().prop_map(Step::Range).boxed()),
            (12, self.txn(2).prop_map(Step::Txn).boxed()),
        ];
        if self.compactions {
            let compact = (revision(), any::<bool>())
                .prop_map(|(revision, physical)| Step::Compact { revision, physical });
            all.push((5, compact.boxed()));
        }
        if self.watches > 0 {
            let watch = (streams.clone(), ids.clone(), self.create());
            let watch =
                watch.prop_map(|(stream, watch_id, request)| Step::Watch { stream, watch_id, request });
            all.push((self.watches, watch.boxed()));
            let cancel = (streams.clone(), prop_oneof![4 => (0..9_usize).prop_map(Id::Live), 1 => ids]);
            all.push((4, cancel.prop_map(|(stream, watch_id)| Step::Cancel { stream, watch_id }).boxed()));
            all.push((3, Just(Step::Drain).boxed()));
        }
        if self.watches > 0 && self.progress {
            all.push((4, streams.clone().prop_map(|stream| Step::RequestProgress { stream }).boxed()));
        }
        if self.watches > 0 && self.slow {
            let some = || (streams.clone(), 1..5_usize);
            let take = some().prop_map(|(stream, responses)| Step::Take { stream, responses });
            let refuse = some().prop_map(|(stream, responses)| Step::Refuse { stream, responses });
            all.push((12, take.boxed()));
            all.push((3, refuse.boxed()));
        }
        if self.reopens {
            all.push((1, Just(Step::Reopen).boxed()));
        }
        Union::new_weighted(all).boxed()
    }

    fn ids(&self) -> BoxedStrategy<Id> {
        let invalid = if self.etcd { 7 } else { -1 };
        prop_oneof![
            10 => Just(Id::Auto),
            2 => (1..6_i64).prop_map(Id::Exactly),
            1 => (0..9_usize).prop_map(Id::Live),
            1 => (0..9_usize).prop_map(Id::Ended),
            1 => prop::sample::select(vec![77, invalid]).prop_map(Id::Exactly),
        ]
        .boxed()
    }

    fn key(&self) -> BoxedStrategy<Bytes> {
        let empty = u32::from(self.invalid);
        prop_oneof![30 => key(), empty => Just(Bytes::default())].boxed()
    }

    fn value(&self) -> BoxedStrategy<Bytes> {
        let large = if self.files { 30_000 } else { 300 };
        prop_oneof![
            4 => Just(0_usize),
            20 => 1..6_usize,
            4 => 50..120_usize,
            2 => 300..500_usize,
            1 => Just(large),
        ]
        .prop_flat_map(|len| (0..26_u8).prop_map(move |letter| Bytes(vec![b'a' + letter; len])))
        .boxed()
    }

    fn put(&self) -> BoxedStrategy<Put> {
        let lease =
            if self.leases { prop_oneof![3 => Just(0), 1 => 1..4_i64].boxed() } else { Just(0).boxed() };
        let ignore = || prop::bool::weighted(0.08);
        let ignore_lease = if self.leases { ignore().boxed() } else { Just(false).boxed() };
        let invalid = self.invalid;
        (self.key(), self.value(), lease, any::<bool>(), ignore(), ignore_lease, 0..4_u8)
            .prop_map(move |(key, value, lease, prev_kv, ignore_value, ignore_lease, wrong)| {
                let wrong = invalid && wrong == 0;
                let value = if ignore_value && !wrong { Bytes::default() } else { value };
                let lease = if ignore_lease && !wrong { 0 } else { lease };
                Put { key, value, lease, prev_kv, ignore_value, ignore_lease }
            })
            .boxed()
    }

    fn delete(&self) -> BoxedStrategy<DeleteRange> {
        (self.keys(), any::<bool>())
            .prop_map(|((key, range_end), prev_kv)| DeleteRange { key, range_end, prev_kv })
            .boxed()
    }

    fn range(&self) -> BoxedStrategy<Range<At>> {
        let mostly_none = || prop_oneof![6 => Just(At::Exactly(0)), 1 => revision()];
        let target = prop::sample::select(vec![
            SortTarget::Key,
            SortTarget::Version,
            SortTarget::Create,
            SortTarget::Mod,
            SortTarget::Value,
        ]);
        let order = prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
        let sort = prop_oneof![2 => Just((SortTarget::Key, SortOrder::None)), 1 => (target, order)];
        let limit = prop_oneof![4 => Just(0_i64), 1 => Just(-1_i64), 2 => 1..5_i64];
        let bounds = (mostly_none(), mostly_none(), mostly_none(), mostly_none());
        let flags = (prop::bool::weighted(0.15), prop::bool::weighted(0.15));
        let at = prop_oneof![2 => Just(At::Exactly(0)), 3 => revision()];
        (self.keys(), at, limit, bounds, sort, flags)
            .prop_map(|((key, range_end), revision, limit, bounds, sort, flags)| Range {
                key,
                range_end,
                revision,
                limit,
                min_mod_revision: bounds.0,
                max_mod_revision: bounds.1,
                min_create_revision: bounds.2,
                max_create_revision: bounds.3,
                sort_target: sort.0,
                sort_order: sort.1,
                keys_only: flags.0,
                count_only: flags.1,
            })
            .boxed()
    }

    fn compare(&self) -> BoxedStrategy<Compare<At>> {
        let lease = u32::from(self.leases);
        let target = prop_oneof![
            3 => (0..4_i64).prop_map(Target::Version),
            2 => revision().prop_map(Target::Create),
            2 => revision().prop_map(Target::Mod),
            2 => self.value().prop_map(Target::Value),
            lease => (0..4_i64).prop_map(Target::Lease),
        ];
        let result = prop::sample::select(vec![
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ]);
        (self.keys(), target, result)
            .prop_map(|((key, range_end), target, result)| Compare { key, range_end, target, result })
            .boxed()
    }

    fn txn(&self, depth: u32) -> BoxedStrategy<Txn<At>> {
        let ops = || prop::collection::vec(self.op(depth), 0..5);
        (prop::collection::vec(self.compare(), 0..3), ops(), ops())
            .prop_map(|(compare, success, failure)| Txn { compare, success, failure })
            .boxed()
    }

    fn op(&self, depth: u32) -> BoxedStrategy<Op<At>> {
        // Every other reading is of now: an unreadable revision refuses the whole transaction.
        let now = self.range().prop_map(|range| Op::Range(Range { revision: At::Exactly(0), ..range }));
        let mut all = vec![
            (10, self.put().prop_map(Op::Put).boxed()),
            (3, self.delete().prop_map(Op::DeleteRange).boxed()),
            (2, now.boxed()),
            (1, self.range().prop_map(Op::Range).boxed()),
        ];
        if depth > 0 {
            all.push((2, self.txn(depth - 1).prop_map(Op::Txn).boxed()));
        }
        Union::new_weighted(all).boxed()
    }

    fn create(&self) -> BoxedStrategy<Create<At>> {
        let negative = if self.invalid && !self.etcd { -1 } else { 0 };
        let start = prop_oneof![
            4 => Just(At::Exactly(0)),
            2 => prop::sample::select(vec![1, 1, 2, negative]).prop_map(At::Exactly),
            6 => revision(),
        ];
        let flag = |weight: f64| prop::bool::weighted(weight);
        let fragment = if self.fragments { flag(0.4).boxed() } else { Just(false).boxed() };
        let notify = if self.progress { flag(0.2).boxed() } else { Just(false).boxed() };
        let etcd = self.etcd;
        let all = || (Bytes::from(b"\0"), Bytes::from(b"\0"));
        let keys = prop_oneof![2 => self.keys(), 1 => Just(all())];
        (keys, start, flag(0.5), notify, fragment, flag(0.4), (flag(0.08), flag(0.08)))
            .prop_map(
                move |((key, range_end), start_revision, prev_kv, progress_notify, fragment, created, no)| {
                    Create {
                        key,
                        range_end,
                        start_revision,
                        prev_kv,
                        progress_notify,
                        fragment,
                        created_notify: created || etcd,
                        filter_noput: no.0,
                        filter_nodelete: no.1,
                    }
                },
            )
            .boxed()
    }

    /// Key and range end: one key, a prefix, everything from a key on, everything, or from one key to another.
    fn keys(&self) -> BoxedStrategy<(Bytes, Bytes)> {
        let reversed = u32::from(self.invalid);
        prop_oneof![
            16 => self.key().prop_map(|key| (key, Bytes::default())),
            8 => key().prop_map(|key| { let end = prefix_end(&key); (key, Bytes(end)) }),
            3 => key().prop_map(|key| (key, Bytes::from(b"\0"))),
            6 => Just((Bytes::from(b"\0"), Bytes::from(b"\0"))),
            5 => (key(), key()).prop_map(|(a, b)| if a < b { (a, b) } else { (b, a) }),
            reversed => (key(), key()),
        ]
        .boxed()
    }
}

/// Keys of which some are prefixes of others, at both ends of the order.
fn key() -> impl Strategy<Value = Bytes> + Clone {
    let keys: [&[u8]; 14] = [
        b"a",
        b"ab",
        b"abc",
        b"abd",
        b"b",
        b"ba",
        b"a\0",
        b"a\xff",
        b"ab\xff",
        b"\0",
        b"\0\0",
        b"\xff",
        b"\xff\xff",
        b"z",
    ];
    prop::sample::select(keys.map(Bytes::from).to_vec())
}

/// Revisions around what matters: the present, the compaction, and the ends.
fn revision() -> impl Strategy<Value = At> + Clone {
    prop_oneof![
        6 => (-12..3_i64).prop_map(At::Current),
        3 => (-2..4_i64).prop_map(At::Compaction),
        2 => (0..8_i64).prop_map(At::Exactly),
        1 => prop::sample::select(vec![-1, 1 << 40]).prop_map(At::Exactly),
    ]
}

fn has_subtle_overlap(txn: &Txn) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        Op::DeleteRange(delete) => *delete.range_end == [0],
        Op::Txn(_) => true,
        _ => false,
    })
}
