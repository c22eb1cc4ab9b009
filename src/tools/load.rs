//! A store from the items of a dump: the same revisions, versions and compaction.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::backup::Draft;
use super::dump::options;
use super::verify::verify_in;
use super::{DumpChange, DumpItem, ProgressFn, VerifyReport};
use crate::error::{Error, ErrorCode, Result};
use crate::index::chain;
use crate::log::load::{BaseDraft, jump, with_change};
use crate::log::{
    Appender, BaseWriter, Change, ChangeOp, Log, NewChange, OpenVisitor, Position, Record, SegmentTable,
};
use crate::os::file::Dir;
use crate::os::real::RealDir;

/// Builds a store item by item. It gets its name when it is complete and checked; before, and after an error,
/// there is nothing. The store has an identity of its own and goes on at the revision after its last one: write
/// to it or to the one that was dumped, not to both.
pub struct Loader {
    to: PathBuf,
    dir: Arc<dyn Dir>,
    log: Arc<Log>,
    appender: Appender,
    stage: Stage,
    base_revision: i64,
    /// The current revision.
    revision: i64,
    keys: HashMap<Box<[u8]>, Known>,
    positions: Vec<Position>,
    /// Goes last: nothing is removed before everything is closed.
    draft: Draft,
}

/// What comes next.
enum Stage {
    Begin,
    Base(Box<BaseWriter>),
    Log(Option<Box<BaseDraft>>),
    End,
}

/// The newest change of a key.
#[derive(Clone, Copy)]
struct Known {
    position: Position,
    lives: bool,
    create_revision: i64,
    version: i64,
}

/// A new store has nothing to show.
struct Empty;

impl OpenVisitor for Empty {
    fn base(&mut self, _: &SegmentTable, _: Change<'_>) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, _: &SegmentTable, _: &Record<'_>) -> Result<()> {
        Ok(())
    }
}

impl Loader {
    /// Begins a store in the new directory `to`.
    ///
    /// # Errors
    /// `Io` with `EEXIST` if there is something at `to`; `Io`, `NoSpace`, `Filesystem`.
    pub fn begin(to: impl AsRef<Path>) -> Result<Self> {
        let to = to.as_ref().to_path_buf();
        let draft = Draft::begin(&to)?;
        let dir = RealDir::open(&draft.path, false).map_err(|error| draft.failed("open", &error))?;
        let dir: Arc<dyn Dir> = Arc::new(dir);
        let (log, appender, _) = Log::open(Arc::clone(&dir), &options(false), &mut Empty)?;
        Ok(Self {
            to,
            dir,
            log,
            appender,
            stage: Stage::Begin,
            base_revision: 0,
            revision: 1,
            keys: HashMap::new(),
            positions: Vec::new(),
            draft,
        })
    }

    /// Adds the next item.
    ///
    /// # Errors
    /// `InvalidArgument` for an item that does not follow from those before; `Limit`, `EmptyKey`, `Io`, `NoSpace`.
    pub fn add(&mut self, item: DumpItem<'_>) -> Result<()> {
        match item {
            DumpItem::Begin { base_revision } => self.begin_at(base_revision),
            DumpItem::Base(entry) => self.base(&entry),
            DumpItem::Txn(revision, changes) => self.txn(revision, changes),
            DumpItem::End { revision, compact_revision } => self.end(revision, compact_revision),
        }
    }

    /// Checks the store and gives it its name.
    ///
    /// # Errors
    /// `InvalidArgument` if there was no [`DumpItem::End`]; `Io`, `NoSpace`, `Corrupt`.
    pub fn finish(self, progress: ProgressFn<'_>) -> Result<VerifyReport> {
        if !matches!(self.stage, Stage::End) {
            return refuse("the dump has no end");
        }
        let Self { to, dir, log, appender, draft, .. } = self;
        drop((appender, log));
        let report = verify_in(dir, progress)?;
        if let Some(damage) = report.damage {
            return Err(Error::new(ErrorCode::Corrupt, format!("the new store: {}", damage.message)));
        }
        draft.publish(&to)?;
        Ok(report)
    }

    fn begin_at(&mut self, base_revision: i64) -> Result<()> {
        if !matches!(self.stage, Stage::Begin) {
            return refuse("a second beginning");
        }
        if !(0..crate::limits::REVISION_MAX).contains(&base_revision) {
            return refuse(&format!("base revision {base_revision}"));
        }
        self.base_revision = base_revision;
        self.jump_to(base_revision)?;
        self.stage = match base_revision {
            0 => Stage::Log(None),
            _ => Stage::Base(Box::new(self.log.base_writer(base_revision)?)),
        };
        Ok(())
    }

    fn jump_to(&mut self, revision: i64) -> Result<()> {
        if revision > self.revision {
            jump(&mut self.appender, revision)?;
            self.revision = revision;
        }
        Ok(())
    }

    fn base(&mut self, entry: &DumpChange<'_>) -> Result<()> {
        let Stage::Base(writer) = &mut self.stage else {
            return refuse("a key of the base behind transactions, or without a beginning that has a base");
        };
        let revisions = 2 <= entry.create_revision
            && entry.create_revision <= entry.mod_revision
            && entry.mod_revision <= self.base_revision
            && entry.version >= 1;
        if entry.delete || !revisions {
            return refuse(&format!("the base cannot have key {} like this", name(entry.key)));
        }
        let new = new_change(entry, Position::NONE, (Position::NONE, 0));
        let position = with_change(entry.mod_revision, &new, |change| writer.push(change))?;
        let (create_revision, version) = (entry.create_revision, entry.version);
        self.keys.insert(entry.key.into(), Known { position, lives: true, create_revision, version });
        Ok(())
    }

    /// Has the base behind it, if there is one.
    fn enter_log(&mut self) -> Result<()> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Begin) {
            Stage::Base(writer) => Stage::Log(Some(Box::new(writer.finish()?))),
            Stage::Log(base) => Stage::Log(base),
            Stage::Begin => return refuse("the beginning is missing"),
            Stage::End => return refuse("something behind the end"),
        };
        Ok(())
    }

    fn txn(&mut self, revision: i64, changes: &[DumpChange<'_>]) -> Result<()> {
        self.enter_log()?;
        if revision <= self.revision {
            return refuse(&format!("revision {revision} behind revision {}", self.revision));
        }
        self.jump_to(revision - 1)?;
        let table = self.log.table();
        let mut new = Vec::with_capacity(changes.len());
        let mut seen = HashSet::with_capacity(changes.len());
        for change in changes {
            let at = || format!("revision {revision}, key {}", name(change.key));
            let known = self.keys.get(change.key).copied();
            let live = known.filter(|known| known.lives);
            let expected = match (change.delete, live) {
                (true, None) => return refuse(&format!("{}: deleted, but it does not live", at())),
                (true, Some(_)) => (0, 0),
                (false, None) => (revision, 1),
                (false, Some(known)) => (known.create_revision, known.version + 1),
            };
            if (change.create_revision, change.version) != expected || change.mod_revision != revision {
                return refuse(&format!("{}: its numbers do not follow from those before", at()));
            }
            if !seen.insert(change.key) {
                return refuse(&format!("{}: twice in one revision", at()));
            }
            let prev = known.map_or(Position::NONE, |known| known.position);
            let link = match table.change(prev) {
                None if !prev.is_none() => (prev, 1),
                before => chain::link(&table, before.as_ref()),
            };
            new.push(new_change(change, prev, link));
        }
        self.positions.clear();
        self.appender.append_txn(revision, &new, &mut self.positions)?;
        self.revision = revision;
        for (change, position) in changes.iter().zip(&self.positions) {
            let known = Known {
                position: *position,
                lives: !change.delete,
                create_revision: change.create_revision,
                version: change.version,
            };
            self.keys.insert(change.key.into(), known);
        }
        Ok(())
    }

    fn end(&mut self, revision: i64, compact_revision: i64) -> Result<()> {
        self.enter_log()?;
        let compacted = if compact_revision == -1 { 0 } else { compact_revision };
        let fits = if self.base_revision == 0 { compacted >= 0 } else { compacted > self.base_revision };
        if revision < self.revision || compacted > revision || !fits {
            return refuse(&format!("an end at revision {revision}, compacted at {compact_revision}"));
        }
        self.jump_to(revision)?;
        if compacted > 0 {
            self.appender.append_compact(revision, compacted)?;
        }
        if let Stage::Log(Some(base)) = std::mem::replace(&mut self.stage, Stage::End) {
            self.log.install_base(*base, self.base_revision + 1)?;
        }
        self.appender.close()
    }
}

fn new_change<'a>(change: &DumpChange<'a>, prev: Position, link: (Position, u32)) -> NewChange<'a> {
    NewChange {
        op: if change.delete { ChangeOp::Delete } else { ChangeOp::Put },
        key: change.key,
        value: change.value,
        create_revision: change.create_revision,
        version: change.version,
        lease: change.lease,
        prev,
        skip: link.0,
        depth: link.1,
    }
}

fn name(key: &[u8]) -> String {
    format!("\"{}\"", key.escape_ascii())
}

fn refuse<T>(what: &str) -> Result<T> {
    Err(Error::new(ErrorCode::InvalidArgument, what))
}
