//! Steps as lines that a person reads.

use std::fmt::{Display, Formatter, Result};

use crate::call::{
    Bytes, Compare, CompareResult, Create, DeleteRange, Op, Put, Range, SortOrder, SortTarget, Step, Target,
    Txn,
};

fn flags(f: &mut Formatter<'_>, flags: &[(&str, bool)]) -> Result {
    flags.iter().filter(|(_, set)| *set).try_for_each(|(name, _)| write!(f, " {name}"))
}

fn range(f: &mut Formatter<'_>, key: &Bytes, range_end: &Bytes) -> Result {
    match range_end.is_empty() {
        true => write!(f, "{key}"),
        false => write!(f, "[{key}, {range_end})"),
    }
}

impl Display for Put {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "put {} = {}", self.key, self.value)?;
        if self.lease != 0 {
            write!(f, " lease {}", self.lease)?;
        }
        let Put { prev_kv, ignore_value, ignore_lease, .. } = self;
        flags(f, &[("prev_kv", *prev_kv), ("ignore_value", *ignore_value), ("ignore_lease", *ignore_lease)])
    }
}

impl<N: Display> Display for Range<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "range ")?;
        range(f, &self.key, &self.range_end)?;
        let numbers = [
            ("at", self.revision.to_string()),
            ("limit", self.limit.to_string()),
            ("mod >=", self.min_mod_revision.to_string()),
            ("mod <=", self.max_mod_revision.to_string()),
            ("create >=", self.min_create_revision.to_string()),
            ("create <=", self.max_create_revision.to_string()),
        ];
        for (name, number) in numbers.iter().filter(|(_, number)| number != "0") {
            write!(f, " {name} {number}")?;
        }
        if self.sort_target != SortTarget::Key || self.sort_order != SortOrder::None {
            write!(f, " by {:?} {:?}", self.sort_target, self.sort_order)?;
        }
        flags(f, &[("keys_only", self.keys_only), ("count_only", self.count_only)])
    }
}

impl Display for DeleteRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "delete ")?;
        range(f, &self.key, &self.range_end)?;
        flags(f, &[("prev_kv", self.prev_kv)])
    }
}

impl<N: Display> Display for Compare<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let result = match self.result {
            CompareResult::Equal => "==",
            CompareResult::Greater => ">",
            CompareResult::Less => "<",
            CompareResult::NotEqual => "!=",
        };
        let (name, given) = match &self.target {
            Target::Version(version) => ("version", version.to_string()),
            Target::Create(revision) => ("create", revision.to_string()),
            Target::Mod(revision) => ("mod", revision.to_string()),
            Target::Value(value) => ("value", value.to_string()),
            Target::Lease(lease) => ("lease", lease.to_string()),
        };
        write!(f, "{name} of ")?;
        range(f, &self.key, &self.range_end)?;
        write!(f, " {result} {given}")
    }
}

impl<N: Display> Display for Op<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Op::Put(put) => put.fmt(f),
            Op::Range(range) => range.fmt(f),
            Op::DeleteRange(delete) => delete.fmt(f),
            Op::Txn(txn) => txn.fmt(f),
        }
    }
}

fn list<T: Display>(f: &mut Formatter<'_>, name: &str, items: &[T]) -> Result {
    write!(f, " {name} {{")?;
    for (number, item) in items.iter().enumerate() {
        write!(f, "{}{item}", if number == 0 { " " } else { "; " })?;
    }
    write!(f, " }}")
}

impl<N: Display> Display for Txn<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "txn")?;
        list(f, "if", &self.compare)?;
        list(f, "then", &self.success)?;
        list(f, "else", &self.failure)
    }
}

impl<N: Display> Display for Create<N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        range(f, &self.key, &self.range_end)?;
        write!(f, " from {}", self.start_revision)?;
        flags(
            f,
            &[
                ("prev_kv", self.prev_kv),
                ("progress_notify", self.progress_notify),
                ("fragment", self.fragment),
                ("created_notify", self.created_notify),
                ("noput", self.filter_noput),
                ("nodelete", self.filter_nodelete),
            ],
        )
    }
}

impl<N: Display, I: Display> Display for Step<N, I> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Step::Put(put) => put.fmt(f),
            Step::Range(range) => range.fmt(f),
            Step::DeleteRange(delete) => delete.fmt(f),
            Step::Txn(txn) => txn.fmt(f),
            Step::Compact { revision, physical } => {
                write!(f, "compact {revision}")?;
                flags(f, &[("physical", *physical)])
            }
            Step::Watch { stream, watch_id, request } => {
                write!(f, "stream {stream}: watch {watch_id} of {request}")
            }
            Step::Cancel { stream, watch_id } => write!(f, "stream {stream}: cancel {watch_id}"),
            Step::RequestProgress { stream } => write!(f, "stream {stream}: request progress"),
            Step::Take { stream, responses } => write!(f, "stream {stream}: take {responses}"),
            Step::Refuse { stream, responses } => write!(f, "stream {stream}: refuse {responses}"),
            Step::Drain => write!(f, "drain"),
            Step::Reopen => write!(f, "reopen"),
        }
    }
}
