//! What a workload was promised, noted beside it: each transaction with a digest of its content, what a flush
//! acknowledged, what anybody could have seen, compactions and bases. [`Story::check`] holds an opened store against
//! it.

use super::disk::mix;
use crate::error::Result;
use crate::log::open::OpenReport;
use crate::log::{Appender, Change, ChangeOp, Cursor, Log, LogOptions, OpenVisitor, Record, SegmentTable};
use crate::options::Durability;
use crate::os::file::Dir;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::Arc;

pub fn digest(op: ChangeOp, key: &[u8], value: &[u8], numbers: [i64; 3], depth: u32) -> u64 {
    foldhash::quality::FixedState::with_seed(7).hash_one((op as u8, key, value, numbers, depth))
}

fn digest_of(change: &Change<'_>) -> u64 {
    let numbers = [change.create_revision(), change.version(), change.lease()];
    digest(change.op(), change.key(), change.value(), numbers, change.depth())
}

/// One change in a chain of them.
pub fn chain(before: u64, revision: i64, digest: u64) -> u64 {
    mix(before.rotate_left(5) ^ mix(digest ^ revision as u64))
}

/// A transaction that was handed to the log.
#[derive(Clone, Debug)]
pub struct Txn {
    pub revision: i64,
    pub digest: u64,
    /// Key and what it is then; `None`: deleted.
    pub changes: Arc<[(u8, Option<u64>)]>,
}

/// Reads a whole store while it is opened.
#[derive(Default)]
pub struct Reader {
    pub records: Vec<(i64, u64)>,
    pub base: u64,
    pub base_keys: usize,
}

impl OpenVisitor for Reader {
    fn base(&mut self, _: &SegmentTable, change: Change<'_>) -> Result<()> {
        self.base = chain(self.base, change.mod_revision(), digest_of(&change));
        self.base_keys += 1;
        Ok(())
    }

    fn record(&mut self, _: &SegmentTable, record: &Record<'_>) -> Result<()> {
        self.records.push(read(record));
        Ok(())
    }
}

fn read(record: &Record<'_>) -> (i64, u64) {
    let links = |change: &Change<'_>| change.prev().to_bits() ^ change.skip().to_bits().rotate_left(9);
    let one =
        |before, change: Change<'_>| chain(before, record.revision(), digest_of(&change) ^ links(&change));
    (record.revision(), record.changes().fold(0, one))
}

/// An open store and what its opening showed.
pub struct Opened {
    pub log: Arc<Log>,
    pub appender: Appender,
    pub report: OpenReport,
    pub reader: Reader,
}

pub fn open(dir: Arc<dyn Dir>, options: &LogOptions) -> Result<Opened> {
    let mut reader = Reader::default();
    let (log, appender, report) = Log::open(dir, options, &mut reader)?;
    Ok(Opened { log, appender, report, reader })
}

/// Something that a workload knows from a moment on.
#[derive(Clone, Debug)]
pub enum Note {
    Opening(Durability),
    /// The store is open, with so many transactions and this current revision.
    Opened {
        kept: usize,
        revision: i64,
        durability: Durability,
    },
    /// Handed to the log; nothing is known yet.
    Begun(Txn),
    /// Answered with an error that says that nothing changed.
    Withdrawn(i64),
    /// Readers may have seen it.
    Seen(i64),
    /// Everything so far was acknowledged as durable.
    Durable,
    CompactBegun(i64),
    CompactDurable(i64),
    /// A base may come: its revision, the first one kept then, and its content.
    Base {
        revision: i64,
        first: i64,
        content: u64,
    },
    Closed,
}

/// The sum of the notes up to a moment.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Every transaction from the beginning on that a store may hold, in order.
    pub txns: Vec<Txn>,
    /// So many of them must be there.
    pub durable: usize,
    /// No revision up to this one may be given out with new content.
    pub seen: i64,
    pub compact_begun: i64,
    pub compact_durable: i64,
    pub bases: BTreeMap<i64, (i64, u64)>,
    /// A writer answered before it synced, so an opening after a power cut may skip revisions.
    pub relaxed: bool,
    /// The last writer left in order and said so.
    pub closed: bool,
}

impl Story {
    pub fn new() -> Self {
        Self { seen: 1, compact_begun: -1, compact_durable: -1, ..Self::default() }
    }

    pub fn add(&mut self, note: &Note) {
        match note {
            Note::Opening(durability) => {
                self.closed = false;
                self.relaxed |= *durability != Durability::Commit;
            }
            Note::Opened { kept, revision, durability } => {
                self.txns.truncate(*kept);
                self.durable = self.durable.min(*kept);
                self.seen = self.seen.max(*revision);
                if *durability == Durability::Commit {
                    self.durable = *kept;
                    self.relaxed = false;
                }
            }
            Note::Begun(txn) => self.txns.push(txn.clone()),
            Note::Withdrawn(revision) => self.txns.retain(|txn| txn.revision < *revision),
            Note::Seen(revision) => self.seen = self.seen.max(*revision),
            Note::Durable => {
                self.durable = self.txns.len();
                self.seen = self.seen.max(self.txns.last().map_or(1, |txn| txn.revision));
            }
            Note::CompactBegun(revision) => self.compact_begun = self.compact_begun.max(*revision),
            Note::CompactDurable(revision) => self.compact_durable = self.compact_durable.max(*revision),
            Note::Base { revision, first, content } => {
                self.bases.insert(*revision, (*first, *content));
            }
            Note::Closed => self.closed = true,
        }
    }

    /// What the keys are at a revision, in the order of keys.
    pub fn state(&self, revision: i64) -> BTreeMap<u8, (i64, u64)> {
        let mut state = BTreeMap::new();
        for txn in self.txns.iter().take_while(|txn| txn.revision <= revision) {
            for (key, now) in txn.changes.iter() {
                match now {
                    Some(digest) => drop(state.insert(*key, (txn.revision, *digest))),
                    None => drop(state.remove(key)),
                }
            }
        }
        state
    }

    /// Holds an opened store against the story; the answer is how many transactions it has. `power` is whether
    /// everything unsynced may have been lost.
    pub fn check(&self, opened: &Opened, power: bool) -> std::result::Result<usize, String> {
        let (report, table) = (&opened.report, opened.log.table());
        let kept = self.check_records(opened)?;
        let last = kept.checked_sub(1).map_or(1, |i| self.txns[i].revision);
        let fail = |why: String| Err(format!("{why}; {report:?}, base {}", table.base_revision()));
        if kept < self.durable {
            return fail(format!("{kept} transactions of {} acknowledged ones", self.durable));
        }
        if report.last_revision < self.seen.max(last) {
            return fail(format!("revision {} was seen and can come again", self.seen));
        }
        if !power && self.relaxed && self.txns.get(kept).is_some_and(|txn| txn.revision <= self.seen) {
            return fail(format!("revision {} was answered and lost without a power cut", self.seen));
        }
        let dense = !self.relaxed || !power || self.closed;
        if dense && report.last_revision > last.max(self.seen) {
            return fail("revisions were skipped without need".into());
        }
        if self.closed && !report.clean {
            return fail("the store was closed and is not clean".into());
        }
        if report.compact_revision < self.compact_durable || report.compact_revision > self.compact_begun {
            return fail(format!("compaction not in {}..={}", self.compact_durable, self.compact_begun));
        }
        Ok(kept)
    }

    fn check_records(&self, opened: &Opened) -> std::result::Result<usize, String> {
        let (reader, table) = (&opened.reader, opened.log.table());
        let first = table.first_revision();
        let base = table.base_revision();
        match self.bases.get(&base) {
            Some((kept, content)) if *kept == first && *content == reader.base => {}
            None if base == 0 && reader.base_keys == 0 && first == 1 => {}
            _ => return Err(format!("the base at {base}, log from {first}, is not one that was written")),
        }
        let begin = self.txns.partition_point(|txn| txn.revision < first);
        for (i, (revision, digest)) in reader.records.iter().enumerate() {
            match self.txns.get(begin + i) {
                Some(txn) if txn.revision == *revision && txn.digest == *digest => {}
                Some(txn) => {
                    let same = txn.revision == *revision;
                    return Err(format!(
                        "revision {revision} where {} was; same number: {same}",
                        txn.revision
                    ));
                }
                None => return Err(format!("revision {revision} was never written")),
            }
        }
        Ok(begin + reader.records.len())
    }

    /// Whether a cursor finds what the opening showed.
    pub fn check_cursor(&self, log: &Log, kept: usize) -> std::result::Result<(), String> {
        let table = log.table();
        let first = table.first_revision();
        let begin = self.txns.partition_point(|txn| txn.revision < first);
        let mut cursor = Cursor::at_revision(table, first).ok_or("no cursor")?;
        for txn in &self.txns[begin.min(kept)..kept] {
            let found = cursor.next(i64::MAX).map(|record| read(&record));
            if found != Some((txn.revision, txn.digest)) {
                return Err(format!("a cursor finds {found:?} where revision {} is", txn.revision));
            }
        }
        match cursor.next(i64::MAX) {
            Some(record) => Err(format!("a cursor finds revision {} behind the end", record.revision())),
            None => Ok(()),
        }
    }
}
