//! Everything that can be known about the files of a store without trusting them. An opening proves that the
//! bytes are those that were written, in their place and order; this proves in addition that they make sense:
//! each change against the one of its key before it, the manifest against the files, and the bytes that should
//! not be used against zero.

use super::change::{Change, ChangeOp, u64_at};
use super::header::{
    FileHeader, HEADER_BYTES, Name, Naming, PAGE, base_name, corrupt, file_name, open_page, parse_name,
};
use super::manifest::MANIFEST;
use super::open::{OpenReport, OpenVisitor};
use super::position::{BASE_BIT, Position};
use super::record::{RECORD_HEADER, Record, RecordKind, plausible_len, verify};
use super::segment::Segment;
use super::shared::{Log, LogOptions};
use super::table::SegmentTable;
use crate::error::{Error, ErrorCode, Result};
use crate::limits::SEGMENT_BYTES_DEFAULT;
use crate::options::Durability;
use crate::os::file::Dir;
use crate::sync::lock;
use std::collections::HashMap;
use std::sync::Arc;

const PIECE: usize = 1 << 20;
const COPIES: usize = 4;
const MANIFEST_MAGIC: &[u8; 8] = b"libwMAN\n";

/// What a check counted; as far as it came, if it found damage.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Copies of the manifest that are intact, of four.
    pub manifest_copies: u32,
    /// Log segments with records.
    pub segments: u32,
    /// Files of the base.
    pub base_parts: u32,
    /// Keys in the base.
    pub base_entries: u64,
    /// Transactions that the log keeps.
    pub transactions: u64,
    /// Their changes.
    pub changes: u64,
    /// Bytes of the files of log and base.
    pub bytes: u64,
    /// Files that a crash left and the next writer removes.
    pub leftovers: Vec<String>,
}

/// The newest change of a key.
#[derive(Clone, Copy, Debug)]
pub struct Newest {
    /// Where it is.
    pub position: Position,
    /// Whether it is a put.
    pub lives: bool,
    revision: i64,
    create_revision: i64,
    version: i64,
}

/// A visitor that checks each change against the one of its key before it.
pub struct Checker<'p> {
    /// What was counted.
    pub counts: Counts,
    /// The newest change of every key.
    pub keys: HashMap<Box<[u8]>, Newest>,
    /// Called with the bytes done.
    progress: &'p mut dyn FnMut(u64),
    done: u64,
}

impl<'p> Checker<'p> {
    /// `progress` is told bytes done.
    pub fn new(progress: &'p mut dyn FnMut(u64)) -> Self {
        Self { counts: Counts::default(), keys: HashMap::new(), progress, done: 0 }
    }

    /// Opens the store for reading, which takes its lock, and checks all of it. The log is answered so that
    /// its holder keeps the lock.
    pub fn check(&mut self, dir: &Arc<dyn Dir>) -> Result<(Arc<Log>, OpenReport)> {
        let options = LogOptions {
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            durability: Durability::Commit,
            create: false,
            read_only: true,
        };
        let (log, _, report) = Log::open(Arc::clone(dir), &options, self)?;
        let table = log.table();
        self.counts.segments = table.segments().len() as u32;
        self.counts.base_parts = table.base_parts().len() as u32;
        self.counts.bytes = log.log_bytes();
        self.manifest(&log, &report)?;
        self.base_headers(&log)?;
        self.unused_bytes(&log, &report)?;
        Ok((log, report))
    }

    fn did(&mut self, change: &Change<'_>) {
        self.done += change.encoded_len() + RECORD_HEADER as u64;
        (self.progress)(self.done);
    }

    /// The manifest against itself, its other copies and what was found.
    fn manifest(&mut self, log: &Log, report: &OpenReport) -> Result<()> {
        let now = lock(&log.manifest).now().clone();
        let fail = |offset, why: &str| Err(corrupt(MANIFEST, offset, why));
        if now.first_revision != now.base_revision + 1 || now.base_revision == 0 && now.base_count > 0 {
            return fail(88, "base revision and first revision contradict each other");
        }
        if now.base_revision > 0 && now.compact_revision < now.first_revision {
            return fail(104, "the compact revision is below the base");
        }
        if report.compact_revision > report.last_revision {
            return fail(104, "the compact revision is above the current one");
        }
        let file = log.dir().open(MANIFEST, false).doing("open", MANIFEST)?;
        let mut pages = vec![0; COPIES * PAGE];
        if file.len().doing("read the length of", MANIFEST)? != pages.len() as u64 {
            return fail(0, "the file does not have four copies");
        }
        file.read_at(&mut pages, 0).doing("read", MANIFEST)?;
        let mut generations = [0; COPIES];
        for (copy, page) in pages.chunks_exact(PAGE).enumerate() {
            if open_page(page, MANIFEST_MAGIC).is_ok() {
                generations[copy] = u64_at(page, 32);
                self.counts.manifest_copies += 1;
            } else if report.clean {
                // A crash while the manifest was written can break a copy, and nothing but a crash.
                return fail((copy * PAGE) as u64, "this copy is not intact");
            }
        }
        let pairs = [generations[0] == generations[1], generations[2] == generations[3]];
        let near = generations.iter().all(|generation| now.generation - generation <= 1);
        if report.clean && (pairs != [true; 2] || !near) {
            return fail(32, "the copies are not of the two newest generations");
        }
        Ok(())
    }

    fn base_headers(&mut self, log: &Log) -> Result<()> {
        let now = lock(&log.manifest).now().clone();
        for part in log.table().base_parts() {
            let name = base_name(part.seq());
            let mut page = vec![0; PAGE];
            let file = log.dir().open(&name, false).doing("open", &name)?;
            file.read_at(&mut page, 0).doing("read", &name)?;
            let header = FileHeader::decode(&page).map_err(|error| error.into_error(&name))?;
            if header.revision != now.base_revision {
                return Err(corrupt(&name, 80, "the base revision is not that of the manifest"));
            }
            if header.generation > now.generation {
                return Err(corrupt(&name, 72, "the generation is newer than that of the manifest"));
            }
        }
        Ok(())
    }

    /// Where no record lies there are zeros: behind the end, in holes, in files made ahead. After a crash the
    /// end may have something behind it, which the opening has judged.
    fn unused_bytes(&mut self, log: &Log, report: &OpenReport) -> Result<()> {
        let table = log.table();
        let last = table.segments().last().map_or(0, |segment| segment.seq());
        for segment in table.segments() {
            self.hole(log, segment)?;
            if report.clean || segment.seq() != last {
                zeros(log, &file_name(segment.seq()), segment.end(), segment.len())?;
            }
        }
        let base = table.base_parts().first().map(|part| part.seq());
        let parts = base.map(|first| first..first + table.base_parts().len() as u32).unwrap_or(0..0);
        let first = table.segments().first().map_or(0, |segment| segment.seq());
        let names = log.dir().list().doing("list", &log.dir().describe())?;
        for name in names {
            match parse_name(&name) {
                Name::Leftover => self.counts.leftovers.push(name),
                Name::Segment(seq) if seq < first => self.counts.leftovers.push(name),
                Name::Base(seq) if !parts.contains(&seq) => self.counts.leftovers.push(name),
                Name::Segment(seq) if seq > last && report.clean => {
                    let file = log.dir().open(&name, false).doing("open", &name)?;
                    let len = file.len().doing("read the length of", &name)?;
                    zeros(log, &name, HEADER_BYTES, len)?;
                }
                _ => {}
            }
        }
        self.counts.leftovers.sort();
        Ok(())
    }

    fn hole(&mut self, log: &Log, segment: &Arc<Segment>) -> Result<()> {
        zeros(log, &file_name(segment.seq()), HEADER_BYTES, segment.info().data_start)
    }

    /// Checks a change of the log and makes it the newest of its key.
    fn change(&mut self, table: &SegmentTable, change: &Change<'_>) -> Result<()> {
        self.did(change);
        self.counts.changes += 1;
        let fail = |why: &str| Err(corrupt_at(change.position(), why));
        let before = self.keys.get(change.key()).copied();
        let live = before.filter(|newest| newest.lives);
        if before.is_some_and(|newest| newest.revision >= change.mod_revision()) {
            return fail("the key changes twice in one revision");
        }
        let lives = change.op() == ChangeOp::Put;
        let expected = match (lives, live) {
            (false, None) => return fail("a delete of a key that does not live"),
            (false, Some(_)) => (0, 0),
            (true, None) => (change.mod_revision(), 1),
            (true, Some(newest)) => (newest.create_revision, newest.version + 1),
        };
        let is_bare = change.value().is_empty() && change.lease() == 0;
        if !lives && !is_bare {
            return fail("a delete with a value or lease");
        }
        if (change.create_revision(), change.version()) != expected {
            return fail("create revision and version do not follow the change before");
        }
        self.chain(table, change, before)?;
        let newest = Newest {
            position: change.position(),
            lives,
            revision: change.mod_revision(),
            create_revision: change.create_revision(),
            version: change.version(),
        };
        match self.keys.get_mut(change.key()) {
            Some(slot) => *slot = newest,
            None => drop(self.keys.insert(change.key().into(), newest)),
        }
        Ok(())
    }

    /// Checks where `prev` and `skip` lead.
    fn chain(&self, table: &SegmentTable, change: &Change<'_>, before: Option<Newest>) -> Result<()> {
        let fail = |why: &str| Err(corrupt_at(change.position(), why));
        let (prev, skip) = (change.prev(), change.skip());
        if prev.is_none() {
            let is_first = before.is_none() && skip.is_none() && change.depth() == 0;
            return if is_first { Ok(()) } else { fail("prev is missing") };
        }
        let in_log = before.filter(|newest| newest.position.seq() & BASE_BIT == 0);
        if in_log.is_some_and(|newest| newest.position != prev) {
            return fail("prev is not the change before");
        }
        if !is_dropped(table, prev) {
            let Some(found) = table.change(prev) else { return fail("prev leads nowhere") };
            // What the log kept of before the base's revision ends as the base says.
            let fits = match before {
                Some(newest) => found.mod_revision() == newest.revision,
                None => found.op() == ChangeOp::Delete && found.mod_revision() < table.first_revision(),
            };
            if !fits || found.key() != change.key() {
                return fail("prev is not the change before");
            }
            if change.depth() != found.depth().wrapping_add(1) {
                return fail("the depth does not follow the change before");
            }
        }
        if skip.is_none() || is_dropped(table, skip) {
            return Ok(());
        }
        let leads_back =
            |found: Change<'_>| found.key() == change.key() && found.mod_revision() < change.mod_revision();
        if table.change(skip).is_some_and(leads_back) { Ok(()) } else { fail("skip leads nowhere") }
    }
}

/// Whether compaction dropped what was there: the file is gone, or the place lies in a hole.
fn is_dropped(table: &SegmentTable, at: Position) -> bool {
    if let Some(segment) = table.segment(at.seq()) {
        return at.offset() < segment.info().data_start;
    }
    let first = table.segments().first().map_or(0, |first| first.seq());
    at.seq() < if at.seq() & BASE_BIT == 0 { first } else { table.base_first }
}

fn corrupt_at(at: Position, why: &str) -> Error {
    corrupt(&file_name(at.seq()), at.offset(), why)
}

/// Refuses bytes that are not zero.
fn zeros(log: &Log, name: &str, from: u64, to: u64) -> Result<()> {
    if from >= to {
        return Ok(());
    }
    let file = log.dir().open(name, false).doing("open", name)?;
    let mut piece = vec![0; PIECE.min((to - from) as usize)];
    for at in (from..to).step_by(PIECE) {
        let part = &mut piece[..PIECE.min((to - at) as usize)];
        file.read_at(part, at).doing("read", name)?;
        if let Some(found) = part.iter().position(|byte| *byte != 0) {
            return Err(corrupt(name, at + found as u64, "no record is here, and the bytes are not zero"));
        }
    }
    Ok(())
}

impl OpenVisitor for Checker<'_> {
    fn base(&mut self, table: &SegmentTable, change: Change<'_>) -> Result<()> {
        self.did(&change);
        self.counts.base_entries += 1;
        let ends_here = change.prev().is_none() && change.skip().is_none();
        let revisions = 2 <= change.create_revision()
            && change.create_revision() <= change.mod_revision()
            && change.mod_revision() <= table.base_revision()
            && change.version() >= 1;
        if change.op() != ChangeOp::Put || !ends_here || !revisions {
            return Err(corrupt_at(change.position(), "a change that cannot be in the base"));
        }
        let newest = Newest {
            position: change.position(),
            lives: true,
            revision: change.mod_revision(),
            create_revision: change.create_revision(),
            version: change.version(),
        };
        self.keys.insert(change.key().into(), newest);
        Ok(())
    }

    fn record(&mut self, table: &SegmentTable, record: &Record<'_>) -> Result<()> {
        self.counts.transactions += 1;
        record.changes().try_for_each(|change| self.change(table, &change))
    }
}

/// The error for files of a store that lie in a directory without manifest; `None` if there are none, or only
/// what an interrupted creation leaves.
pub fn orphaned(dir: &dyn Dir) -> Result<Option<Error>> {
    let names = dir.list().doing("list", &dir.describe())?;
    if names.iter().any(|name| name == MANIFEST) {
        return Ok(None);
    }
    for name in names {
        let is_lost = match parse_name(&name) {
            Name::Segment(1) => {
                let file = dir.open(&name, false).doing("open", &name)?;
                let mut word = [0; 8];
                let len = file.len().doing("read the length of", &name)?;
                len >= HEADER_BYTES + 8 && {
                    file.read_at(&mut word, HEADER_BYTES).doing("read", &name)?;
                    word != [0; 8]
                }
            }
            Name::Segment(_) | Name::Base(_) | Name::Torn(_) => true,
            _ => false,
        };
        if is_lost {
            let message = format!("{MANIFEST} is missing, but there is {name}");
            return Ok(Some(Error::new(ErrorCode::Corrupt, message)));
        }
    }
    Ok(None)
}

/// Counts the valid transactions above `revision`, wherever they lie in the files, and names the highest.
pub fn found_above(dir: &dyn Dir, revision: i64) -> Result<(u64, i64)> {
    let (mut count, mut highest) = (0, 0);
    for name in dir.list().doing("list", &dir.describe())? {
        let Name::Segment(_) = parse_name(&name) else { continue };
        let file = dir.open(&name, false).doing("open", &name)?;
        let len = file.len().doing("read the length of", &name)?;
        let mut bytes = vec![0; len as usize];
        file.read_at(&mut bytes, 0).doing("read", &name)?;
        let Some(header) = bytes.get(..PAGE).and_then(|page| FileHeader::decode(page).ok()) else { continue };
        let mut at = header.data_start.min(len) as usize;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let record = plausible_len(rest).and_then(|len| rest.get(..len as usize));
            match record.and_then(|record| verify(record, header.salt_crc(), at as u64)) {
                Some(found) => {
                    if found.kind == RecordKind::Txn && found.revision > revision {
                        count += 1;
                        highest = highest.max(found.revision);
                    }
                    at += record.map_or(8, <[u8]>::len);
                }
                None => at += 8,
            }
        }
    }
    Ok((count, highest))
}
