//! Reading the log for watches that are behind (D5). It works in bounded slices and costs what it delivers: a
//! key or a few keys are followed along their chains, everything else shares a scan of the log, from the watch
//! that is furthest behind, and another one near the end. A slice ends at the end of a revision. Who has read
//! everything goes live again.

use std::sync::Arc;
use std::time::Instant;

use super::consumer::{Batch, Consumer};
use super::matcher::Matcher;
use super::state::{Phase, Shared, Spec};
use super::stream::Stream;
use crate::error::ErrorCode;
use crate::index::{Stale, chain};
use crate::limits;
use crate::log::{Change, Cursor, Position, Record, SegmentTable};
use crate::mvcc::Mvcc;

/// Watches that share one slice.
const GROUP_MAX: usize = 1024;
/// Records read in one slice.
const SLICE_RECORDS: usize = 8192;
/// Matches collected in one slice.
const SLICE_MATCHES: usize = 65_536;
/// A group this small is matched one by one.
const GROUP_SMALL: usize = 8;
/// A range with more keys than this is read by a scan.
const NARROW_KEYS: usize = 64;
/// Changes followed along chains in one slice.
const NARROW_CHANGES: u64 = 4096;

/// Whether there is more to read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    More,
    Done,
}

/// A watch while it reads a slice.
pub(super) struct Reader {
    place: u32,
    birth: u64,
    spec: Arc<Spec>,
    from: i64,
    /// A refused delivery is offered again up to here and not further.
    last: Option<i64>,
    skip: usize,
    partly: bool,
    entries: Vec<(i64, Position)>,
    bytes: u64,
    revisions: u32,
    /// Read up to here.
    end: i64,
}

impl Reader {
    fn take(&mut self, change: &Change<'_>, revision: i64) {
        if revision < self.from || !self.spec.wants(change.op()) {
            return;
        }
        if self.entries.last().is_none_or(|last| last.0 != revision) {
            self.revisions += 1;
        }
        self.bytes += (change.key().len() + change.value().len()) as u64;
        self.entries.push((revision, change.position()));
    }

    fn is_full(&self, stream: &Stream) -> bool {
        self.revisions >= stream.options.batch_revisions || self.bytes >= stream.options.batch_bytes
    }
}

/// Reads one slice for the watches of the stream that are behind, and queues what was found.
pub(super) fn advance(consumer: &mut Consumer, stream: &Arc<Stream>, mut readers: Vec<Reader>) -> Outcome {
    if readers.is_empty() {
        return Outcome::Done;
    }
    let mvcc = &stream.hub.mvcc;
    let current = mvcc.revision();
    readers.retain(|reader| {
        let legal = mvcc.legal_start(reader.from);
        let lost = reader.from <= current && legal > reader.from;
        if lost {
            stream.cancel_for(reader.place, reader.birth, ErrorCode::Compacted, legal);
        }
        !lost
    });
    for reader in &mut readers {
        reader.end = reader.from - 1;
    }
    let mut wide = Vec::new();
    for (i, reader) in readers.iter_mut().enumerate() {
        let upto = reader.last.unwrap_or(current).min(current);
        if reader.from > upto {
            continue;
        }
        match narrow(mvcc, reader, upto) {
            Some(records) => stream.hub.count_read(records),
            None => wide.push(i),
        }
    }
    // Who is nearly there does not wait for who is far behind.
    let near = |i: &usize| readers[*i].from > current - SLICE_RECORDS as i64;
    let (near, far): (Vec<usize>, Vec<usize>) = wide.into_iter().partition(near);
    scan(stream, &mut readers, &near, current);
    scan(stream, &mut readers, &far, current);
    settle(consumer, stream, readers);
    consumer.take_controls(stream);
    Outcome::More
}

/// The watches that are behind and not paused, a bounded number, in turn; those aside that begin above `matched`,
/// for which the ring may hold what comes before.
pub(super) fn collect(turn: &mut usize, shared: &Shared, matched: i64) -> Vec<Reader> {
    let mut readers = Vec::new();
    if shared.behind_count == 0 || shared.end.is_some() {
        return readers;
    }
    let now = Instant::now();
    let places = shared.places.len();
    let first = *turn % places.max(1);
    for i in 0..places {
        let place = (first + i) % places;
        let Some(watch) = &shared.places[place] else { continue };
        let Phase::Behind { from } = watch.phase else { continue };
        if from > matched || watch.pause.is_some_and(|pause| pause.until > now) {
            continue;
        }
        readers.push(Reader {
            place: place as u32,
            birth: watch.birth,
            spec: watch.spec.clone(),
            from,
            last: watch.pause.map(|pause| pause.last),
            skip: watch.pause.map_or(0, |pause| pause.skip),
            partly: watch.pause.is_some_and(|pause| pause.partly),
            entries: Vec::new(),
            bytes: 0,
            revisions: 0,
            end: 0,
        });
        if readers.len() == GROUP_MAX {
            *turn = place + 1;
            break;
        }
    }
    readers
}

/// Enters what was read into the watches, queues the responses and lets those rejoin that have read everything.
fn settle(consumer: &mut Consumer, stream: &Arc<Stream>, readers: Vec<Reader>) {
    let mut batches = Vec::new();
    {
        let engine = stream.hub.engine();
        let mut shared = stream.shared();
        for reader in readers {
            let Some(watch) = shared.watch(reader.place, reader.birth) else { continue };
            let next = reader.end + 1;
            watch.next_revision = watch.next_revision.max(next);
            if reader.end >= reader.from {
                watch.pause = None;
            }
            watch.active |= !reader.entries.is_empty();
            // Nothing above `engine.matched` has been offered to anyone yet, and nobody matches now.
            let phase = match next > engine.matched && watch.pause.is_none() {
                true => Phase::Live { min_revision: next },
                false => Phase::Behind { from: next },
            };
            shared.set_phase(reader.place, phase);
            batches.push(Batch {
                place: reader.place,
                birth: reader.birth,
                spec: reader.spec,
                entries: reader.entries,
                resume_revision: next,
                skip: reader.skip,
                partly: reader.partly,
            });
        }
    }
    for batch in batches {
        consumer.emit(stream, batch);
    }
}

/// One scan of the log for all readers in `wide`.
fn scan(stream: &Stream, readers: &mut [Reader], wide: &[usize], current: i64) {
    let Some(from) = wide.iter().map(|i| readers[*i].from).min() else { return };
    // Taken after `current` was read, so it holds every record up to there.
    let table = stream.hub.mvcc.log.table();
    let Some(mut cursor) = Cursor::at_revision(table, from) else { return };
    let upto = wide.iter().filter_map(|i| readers[*i].last).fold(current, i64::min);
    let group = Group::new(readers, wide);
    let (mut records, mut matches) = (0, 0);
    let end = loop {
        let Some(record) = cursor.next(upto) else { break upto };
        let revision = record.revision();
        let (found, full) = group.offer(readers, &record, stream);
        matches += found;
        records += 1;
        if full || records == SLICE_RECORDS || matches >= SLICE_MATCHES {
            break revision;
        }
    };
    stream.hub.count_read(records);
    for i in wide {
        let reader = &mut readers[*i];
        reader.end = reader.end.max(end);
    }
}

/// The readers of a scan: a few are asked one by one, many through a matcher.
struct Group<'w> {
    wide: &'w [usize],
    matcher: Option<Matcher<u32>>,
}

impl<'w> Group<'w> {
    fn new(readers: &[Reader], wide: &'w [usize]) -> Self {
        let matcher = (wide.len() > GROUP_SMALL).then(|| {
            let mut matcher = Matcher::new();
            for i in wide {
                matcher.insert(readers[*i].spec.range(), *i as u32);
            }
            matcher
        });
        Self { wide, matcher }
    }

    /// Gives a record to those who want it. Answers the number of matches and whether somebody has enough.
    fn offer(&self, readers: &mut [Reader], record: &Record<'_>, stream: &Stream) -> (usize, bool) {
        let (mut found, mut full) = (0, false);
        let revision = record.revision();
        let mut give = |reader: &mut Reader, change: &Change<'_>| {
            reader.take(change, revision);
            found += 1;
            full |= reader.is_full(stream);
        };
        for change in record.changes() {
            match &self.matcher {
                Some(matcher) => {
                    matcher.for_each(change.key(), |i| give(&mut readers[i as usize], &change));
                }
                None => {
                    for i in self.wide {
                        let reader = &mut readers[*i];
                        if reader.spec.range().contains(change.key()) {
                            give(reader, &change);
                        }
                    }
                }
            }
        }
        (found, full)
    }
}

/// Follows the chains of the reader's keys if they are few and have changed little, and answers how many records
/// it read; `None` if a scan is cheaper.
fn narrow(mvcc: &Mvcc, reader: &mut Reader, upto: i64) -> Option<usize> {
    let spec = reader.spec.clone();
    let range = spec.range();
    let from = reader.from;
    let _gate = mvcc.gate_shared();
    if mvcc.legal_start(from) > from {
        // A compaction came meanwhile and may have cut the chains; the next slice says so.
        return Some(0);
    }
    let keys = if range.is_single() {
        let hash = mvcc.index.hash(range.key);
        let found = mvcc.fresh_table(|table| mvcc.index.find(table, hash, range.key));
        found.map_or_else(Vec::new, |(_, at)| vec![at])
    } else {
        let chunk = mvcc.fresh_table(|_| mvcc.index.chunk(|| mvcc.log.table(), range, None, NARROW_KEYS));
        if chunk.resume_after.is_some() {
            return None;
        }
        chunk.newest
    };
    let count = |upto: i64| -> u64 {
        keys.iter().map(|at| mvcc.fresh_table(|table| count_between(table, *at, from, upto))).sum()
    };
    let changes = count(upto);
    let revisions = (upto - from + 1) as u64;
    if !range.is_single() && changes * 4 + keys.len() as u64 * 16 > revisions {
        return None;
    }
    let end = if changes <= NARROW_CHANGES { upto } else { last_within(from, upto, count) };
    let mut found = Vec::new();
    for at in &keys {
        let before = found.len();
        mvcc.fresh_table(|table| {
            found.truncate(before);
            gather(table, *at, from, end, &mut found)
        });
    }
    found.sort_unstable_by_key(|(_, at)| *at);
    let (table, records) = (mvcc.log.table(), found.len());
    for (revision, at) in found {
        if let Some(change) = table.change(at) {
            reader.take(&change, revision);
        }
    }
    reader.end = end;
    Some(records)
}

/// The highest revision up to which there are no more changes than one slice takes; at least `from`.
fn last_within(from: i64, upto: i64, count: impl Fn(i64) -> u64) -> i64 {
    let (mut low, mut high) = (from, upto);
    while low < high {
        let middle = low + (high - low + 1) / 2;
        if count(middle) <= NARROW_CHANGES { low = middle } else { high = middle - 1 }
    }
    low
}

/// How many changes the chain has from revision `from` to `upto`; too many where compaction cut the chain.
fn count_between(table: &SegmentTable, newest: Position, from: i64, upto: i64) -> Result<u64, Stale> {
    let Some(first) = table.change(newest) else { return Err(Stale) };
    let key = first.key();
    let Some(last) = chain::at_revision(table, newest, key, upto)? else { return Ok(0) };
    if last.mod_revision() < from {
        return Ok(0);
    }
    let before = chain::at_revision(table, last.position(), key, from - 1)?;
    Ok(before.map_or(u64::from(last.depth()) + 1, |before| last.depth().wrapping_sub(before.depth()).into()))
}

/// The changes of the chain from revision `from` to `upto`, newest first.
fn gather(
    table: &SegmentTable,
    newest: Position,
    from: i64,
    upto: i64,
    found: &mut Vec<(i64, Position)>,
) -> Result<(), Stale> {
    let Some(first) = table.change(newest) else { return Err(Stale) };
    let key = first.key();
    let mut next = chain::at_revision(table, newest, key, upto)?;
    while let Some(change) = next {
        if change.mod_revision() < from {
            break;
        }
        found.push((change.mod_revision(), change.position()));
        next = chain::resolve(table, change.prev(), key)?;
    }
    Ok(())
}

const _: () = assert!(SLICE_RECORDS > limits::BATCH_REVISIONS_DEFAULT as usize);
