//! One life of a store: from mounting a disk to a power cut. It opens, writes in all the ways there are, flushes,
//! compacts, closes, is killed and opened again, and notes what it was promised. With faults expected it takes
//! errors as answers, and checks what an error may change.

use super::dir::SimDir;
use super::disk::{Dice, Disk};
use super::story::{Note, Opened, Story, Txn, chain, digest, open};
use crate::error::{Error, ErrorCode};
use crate::log::{ChangeOp, Cursor, LogOptions, NewChange, Position};
use crate::options::Durability;
use crate::os::file::{Dir, Filesystem};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const KEYS: u64 = 24;

/// What stays the same for all lives of a store.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub filesystem: Filesystem,
    pub segment_bytes: u64,
    pub durability: Durability,
    /// Steps of a life.
    pub steps: u64,
}

impl Shape {
    pub fn draw(dice: &mut Dice) -> Self {
        let filesystem = if dice.chance(70) { Filesystem::InPlace } else { Filesystem::CopyOnWrite };
        let segment_bytes = [12 << 10, 16 << 10, 16 << 10, 64 << 10][dice.below(4) as usize];
        Self { filesystem, segment_bytes, durability: draw_durability(dice), steps: 8 + dice.below(40) }
    }
}

fn draw_durability(dice: &mut Dice) -> Durability {
    [Durability::Commit, Durability::Commit, Durability::Interval, Durability::None][dice.below(4) as usize]
}

/// See the module.
pub struct Life {
    pub dir: Arc<SimDir>,
    pub notes: Vec<(usize, Note)>,
    pub story: Story,
    pub shape: Shape,
    pub dice: Dice,
    /// Errors are to be expected.
    pub faulty: bool,
    store: Option<Opened>,
    /// The next opening follows a power cut.
    power: bool,
    /// Transactions that the open log has.
    appended: usize,
    newest: BTreeMap<u8, Position>,
}

/// Value, numbers and depth of a change.
type Part = (Option<Vec<u8>>, [i64; 3], u32);
pub type Outcome = std::result::Result<(), String>;

impl Life {
    /// Mounts a disk that a power cut left.
    pub fn new(disk: &Disk, story: Story, shape: Shape, boot: u8, mut dice: Dice) -> Self {
        let dir = SimDir::mount(disk, shape.filesystem, boot, dice.next());
        Self {
            dir,
            notes: Vec::new(),
            story,
            shape,
            dice,
            faulty: false,
            store: None,
            power: true,
            appended: 0,
            newest: BTreeMap::new(),
        }
    }

    fn note(&mut self, note: Note) {
        self.dir.observe();
        self.story.add(&note);
        self.notes.push((self.dir.op_count(), note));
    }

    pub fn options(&self) -> LogOptions {
        let Shape { segment_bytes, durability, .. } = self.shape;
        LogOptions { segment_bytes, durability, create: true, read_only: false }
    }

    /// Opens the store and checks what it finds. With faults an error is an answer too; then it stays closed.
    pub fn open(&mut self) -> Outcome {
        let durability = self.shape.durability;
        self.note(Note::Opening(durability));
        let opened = match open(Arc::clone(&self.dir) as Arc<dyn Dir>, &self.options()) {
            Ok(opened) => opened,
            Err(error) if self.faulty && self.dir.failed() > 0 && is_of_the_disk(&error) => return Ok(()),
            Err(error) => return Err(format!("the opening is refused: {error}")),
        };
        let kept = self.story.check(&opened, self.power)?;
        self.power = false;
        self.appended = kept;
        self.newest.clear();
        let revision = opened.report.last_revision;
        self.store = Some(opened);
        self.note(Note::Opened { kept, revision, durability });
        self.check_cursor()
    }

    /// The end of the open log.
    pub fn end(&self) -> Position {
        self.store.as_ref().map_or(Position::NONE, |store| store.appender.end())
    }

    pub fn torn_bytes(&self) -> u64 {
        self.store.as_ref().map_or(0, |store| store.report.torn_bytes)
    }

    /// The process dies and another one opens the store, on the same machine.
    pub fn kill(&mut self) {
        self.dir.set_dead(true);
        self.store = None;
        self.dir.set_dead(false);
    }

    pub fn check_cursor(&self) -> Outcome {
        match &self.store {
            Some(store) => self.story.check_cursor(&store.log, self.appended),
            None => Ok(()),
        }
    }

    /// The disk works again: whatever state the log is in, it can be opened.
    pub fn heal(&mut self) -> Outcome {
        self.dir.set_fault(None);
        let unusable = self.store.as_ref().is_none_or(|store| store.log.is_poisoned());
        if unusable { self.reopen_killed() } else { self.check_cursor() }
    }

    /// Some steps of everything.
    pub fn run(&mut self) -> Outcome {
        for _ in 0..self.shape.steps {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Outcome {
        if self.store.is_none() {
            return self.open();
        }
        let eager = self.shape.durability == Durability::Commit && self.dice.chance(60);
        match self.dice.below(100) {
            0..66 => self.write(eager),
            66..80 => self.flush(),
            80..84 => self.roll(),
            84..87 => self.prepare(),
            87..93 => self.compact(),
            93..96 => self.close(),
            _ => self.reopen_killed(),
        }
    }

    fn write(&mut self, flush: bool) -> Outcome {
        self.append()?;
        if flush { self.flush() } else { Ok(()) }
    }

    fn value(&mut self) -> Vec<u8> {
        let len = match self.dice.below(40) {
            0 => self.dice.below(2 * self.shape.segment_bytes),
            1..4 => self.dice.below(4000),
            _ => self.dice.below(130),
        };
        // Zeros look like space that was never written.
        let fill = if self.dice.chance(25) { 0 } else { self.dice.next() as u8 };
        let mut value = vec![fill; len as usize];
        let tag = self.dice.next().to_le_bytes();
        let there = value.len().min(8);
        value[..there].copy_from_slice(&tag[..there]);
        value
    }

    /// One transaction.
    pub fn append(&mut self) -> Outcome {
        let Some(store) = &self.store else { return Ok(()) };
        let revision = store.appender.revision() + 1;
        let count = if self.dice.chance(15) { 2 + self.dice.below(4) } else { 1 };
        let mut parts: BTreeMap<u8, Part> = BTreeMap::new();
        for _ in 0..count {
            let key = self.dice.below(KEYS) as u8;
            let value = if self.dice.chance(15) { None } else { Some(self.value()) };
            let numbers = [revision, 1 + self.dice.below(9) as i64, self.dice.below(3) as i64];
            parts.insert(key, (value, numbers, self.dice.below(5) as u32));
        }
        let names: Vec<[u8; 5]> = parts.keys().map(|key| name(*key)).collect();
        let mut changes = Vec::new();
        let (mut sum, mut effects) = (0, Vec::new());
        for ((key, (value, numbers, depth)), name) in parts.iter().zip(&names) {
            let op = if value.is_some() { ChangeOp::Put } else { ChangeOp::Delete };
            let bytes = value.as_deref().unwrap_or_default();
            let own = digest(op, name, bytes, *numbers, *depth);
            let prev = self.newest.get(key).copied().unwrap_or_default();
            sum = chain(sum, revision, own ^ prev.to_bits());
            effects.push((*key, value.is_some().then_some(own)));
            let [create_revision, version, lease] = *numbers;
            let (key, value, skip, depth) = (&name[..], bytes, Position::NONE, *depth);
            changes.push(NewChange { op, key, value, create_revision, version, lease, prev, skip, depth });
        }
        self.note(Note::Begun(Txn { revision, digest: sum, changes: effects.into() }));
        let mut positions = Vec::new();
        let Some(store) = &mut self.store else { return Ok(()) };
        let appended = store.appender.append_txn(revision, &changes, &mut positions);
        match appended {
            Ok(()) => {
                self.appended += 1;
                self.newest.extend(parts.keys().copied().zip(positions));
                if self.shape.durability != Durability::Commit {
                    self.note(Note::Seen(revision));
                }
                Ok(())
            }
            Err(error) => {
                if !store.log.is_poisoned() {
                    self.note(Note::Withdrawn(revision));
                }
                self.failed(&error)
            }
        }
    }

    /// Everything so far becomes durable.
    pub fn flush(&mut self) -> Outcome {
        let Some(store) = &mut self.store else { return Ok(()) };
        match store.appender.flush_job().run() {
            Ok(()) => self.note(Note::Durable),
            Err(error) => return self.failed(&error),
        }
        Ok(())
    }

    fn roll(&mut self) -> Outcome {
        let Some(store) = &mut self.store else { return Ok(()) };
        let rolled = store.appender.roll();
        rolled.or_else(|error| self.failed(&error))
    }

    fn prepare(&mut self) -> Outcome {
        if let Some(store) = &self.store {
            store.log.preparer.make_ahead(store.appender.end().seq() + 1);
        }
        Ok(())
    }

    /// Leaves in order and comes back, perhaps with another durability.
    pub fn close(&mut self) -> Outcome {
        let Some(store) = &mut self.store else { return Ok(()) };
        match store.appender.close() {
            Ok(()) => {
                self.note(Note::Durable);
                self.note(Note::Closed);
                self.store = None;
                self.change_durability();
                self.open()
            }
            Err(error) => {
                self.blame_the_disk(&error)?;
                self.dir.set_fault(None);
                self.reopen_killed()
            }
        }
    }

    fn reopen_killed(&mut self) -> Outcome {
        self.kill();
        self.change_durability();
        self.open()
    }

    fn change_durability(&mut self) {
        if self.dice.chance(30) {
            self.shape.durability = draw_durability(&mut self.dice);
        }
    }

    pub fn compact(&mut self) -> Outcome {
        self.flush()?;
        let Some(store) = &mut self.store else { return Ok(()) };
        let (current, done) = (store.appender.revision(), self.story.compact_begun.max(1));
        if current <= done {
            return Ok(());
        }
        let to = done + 1 + self.dice.below((current - done) as u64) as i64;
        self.note(Note::CompactBegun(to));
        let Some(store) = &mut self.store else { return Ok(()) };
        if let Err(error) = store.appender.append_compact(current, to) {
            return self.failed(&error);
        }
        match store.appender.flush_job().run() {
            Ok(()) => {
                self.note(Note::Durable);
                self.note(Note::CompactDurable(to));
            }
            Err(error) => return self.failed(&error),
        }
        if self.dice.chance(75) { self.reclaim(to) } else { Ok(()) }
    }

    /// What the layer above does to give space back.
    fn reclaim(&mut self, to: i64) -> Outcome {
        let Some(store) = &mut self.store else { return Ok(()) };
        let table = store.log.table();
        if to <= table.first_revision() || to <= table.base_revision() + 1 {
            return Ok(());
        }
        let active = table.segments().last().map_or(0, |segment| segment.first_revision());
        if active < to
            && let Err(error) = store.appender.roll()
        {
            return self.failed(&error);
        }
        let content = self.story.state(to - 1).values().fold(0, |sum, (at, own)| chain(sum, *at, *own));
        self.note(Note::Base { revision: to - 1, first: to, content });
        let Some(store) = &self.store else { return Ok(()) };
        let done = install(store, to);
        self.newest.clear();
        done.or_else(|error| self.failed(&error))
    }

    fn blame_the_disk(&self, error: &Error) -> Outcome {
        if self.faulty && self.dir.failed() > 0 && is_of_the_disk(error) {
            return Ok(());
        }
        Err(format!("an operation fails without a reason: {error}"))
    }

    /// An operation answered with an error: only a failing disk may be the reason, what readers see stays as it was,
    /// and a log that cannot know its own state says so until it is opened again.
    fn failed(&mut self, error: &Error) -> Outcome {
        self.blame_the_disk(error)?;
        self.check_cursor()?;
        let Some(store) = &mut self.store else { return Ok(()) };
        if !store.log.is_poisoned() {
            return Ok(());
        }
        let revision = store.appender.revision() + 1;
        let value = NewChange { op: ChangeOp::Put, key: b"k", value: b"", ..blank() };
        let refused = store.appender.append_txn(revision, &[value], &mut Vec::new());
        if refused.map_err(|error| error.code()) != Err(ErrorCode::Poisoned) {
            return Err("a poisoned log takes a write".into());
        }
        if store.appender.close().is_ok() {
            return Err("a poisoned log is closed as if nothing had happened".into());
        }
        self.dir.set_fault(None);
        self.reopen_killed()
    }
}

fn blank() -> NewChange<'static> {
    let (none, zero) = (Position::NONE, 0);
    NewChange {
        op: ChangeOp::Put,
        key: b"",
        value: b"",
        create_revision: zero,
        version: 1,
        lease: 0,
        prev: none,
        skip: none,
        depth: 0,
    }
}

fn is_of_the_disk(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::Io | ErrorCode::NoSpace | ErrorCode::Poisoned)
}

pub fn name(key: u8) -> [u8; 5] {
    [b'k', b'-', b'0' + key / 100, b'0' + key / 10 % 10, b'0' + key % 10]
}

/// Writes and installs the base below `to`.
fn install(store: &Opened, to: i64) -> crate::error::Result<()> {
    let table = store.log.table();
    let mut live: BTreeMap<Vec<u8>, Position> = BTreeMap::new();
    for entry in table.base_entries() {
        live.insert(entry.key().to_vec(), entry.position());
    }
    let first = table.first_revision();
    if let Some(mut cursor) = Cursor::at_revision(Arc::clone(&table), first) {
        while let Some(record) = cursor.next(to - 1) {
            for change in record.changes() {
                match change.op() {
                    ChangeOp::Put => drop(live.insert(change.key().to_vec(), change.position())),
                    ChangeOp::Delete => drop(live.remove(change.key())),
                }
            }
        }
    }
    let mut writer = store.log.base_writer(to - 1)?;
    for at in live.values() {
        if let Some(change) = table.change(*at) {
            writer.push(change)?;
        }
    }
    store.log.install_base(writer.finish()?, to).map(drop)
}
