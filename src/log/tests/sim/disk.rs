//! What a power cut can leave. A [`Disk`] is what is certain to be on the medium; a [`Replay`] follows the recorded
//! operations and knows which bytes, lengths and names were asked for and not yet synced; [`Replay::cut`] chooses
//! what of them arrived: all, none, a prefix, any sectors in any of their versions, torn ones, any names.

use std::collections::BTreeMap;
use std::sync::Arc;

pub const SECTOR: u64 = 512;
pub const PAGE: u64 = 4096;

/// Splitmix64: the whole harness is decided by its seed.
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The bytes of one file; pages that are not there are zeros.
#[derive(Clone, Default)]
pub struct Image {
    pub len: u64,
    pages: Vec<Option<Arc<[u8; PAGE as usize]>>>,
}

impl Image {
    pub fn write(&mut self, mut at: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (page, from) = ((at / PAGE) as usize, (at % PAGE) as usize);
            let (piece, rest) = bytes.split_at(bytes.len().min(PAGE as usize - from));
            if self.pages.len() <= page {
                self.pages.resize(page + 1, None);
            }
            let slot = self.pages[page].get_or_insert_with(|| Arc::new([0; PAGE as usize]));
            Arc::make_mut(slot)[from..from + piece.len()].copy_from_slice(piece);
            at += piece.len() as u64;
            bytes = rest;
        }
    }

    pub fn read(&self, at: u64, out: &mut [u8]) {
        for (i, byte) in out.iter_mut().enumerate() {
            let at = at + i as u64;
            let page = self.pages.get((at / PAGE) as usize).and_then(Option::as_ref);
            *byte = page.map_or(0, |page| page[(at % PAGE) as usize]);
        }
    }

    /// The pages that have been written, with their offsets, cut at the length.
    pub fn pages(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let with_offset = self.pages.iter().enumerate().map(|(i, page)| (i as u64 * PAGE, page));
        let inside = with_offset.filter(|(at, _)| *at < self.len);
        inside.filter_map(|(at, page)| Some((at, &page.as_ref()?[..(self.len - at).min(PAGE) as usize])))
    }
}

/// Names and files.
#[derive(Clone, Default)]
pub struct Disk {
    pub names: BTreeMap<String, u32>,
    pub files: BTreeMap<u32, Arc<Image>>,
}

impl Disk {
    fn file(&mut self, ino: u32) -> &mut Image {
        Arc::make_mut(self.files.entry(ino).or_default())
    }

    fn apply_name(&mut self, op: &Op) {
        match op {
            Op::Create { name, ino } => drop(self.names.insert(name.clone(), *ino)),
            Op::Remove { name } => drop(self.names.remove(name)),
            Op::Rename { from, to, ino } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *ino);
            }
            _ => {}
        }
    }

    /// Files that lost their names are gone, and a name that arrived alone leads to an empty file.
    fn sweep(&mut self) {
        let names = &self.names;
        for ino in names.values() {
            self.files.entry(*ino).or_default();
        }
        self.files.retain(|ino, _| names.values().any(|named| named == ino));
    }
}

/// One change that was asked for.
#[derive(Clone, Debug)]
pub enum Op {
    Create {
        name: String,
        ino: u32,
    },
    Remove {
        name: String,
    },
    Rename {
        from: String,
        to: String,
        ino: u32,
    },
    SyncDir,
    Size {
        ino: u32,
        len: u64,
    },
    Write {
        ino: u32,
        at: u64,
        bytes: Arc<[u8]>,
    },
    Sync {
        ino: u32,
    },
    /// The system reported an error and forgot that the pages were dirty.
    SyncFailed {
        ino: u32,
    },
}

impl Op {
    pub fn words(&self) -> String {
        match self {
            Self::Write { ino, at, bytes } => format!("write file {ino} at {at}, {} bytes", bytes.len()),
            other => format!("{other:?}"),
        }
    }
}

/// What arrives of the operations that no sync vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of them.
    All,
    /// None.
    Nothing,
    /// The first so many of them, and a part of the next one.
    Prefix(usize),
    /// Each sector (of this size) as it is in the end with this chance in percent, else in any older version.
    Some { percent: u64, sector: u64 },
    /// All but one sector or name.
    AllBut(usize),
    /// One sector or name only.
    Only(usize),
}

/// Follows the operations.
#[derive(Clone)]
pub struct Replay {
    pub disk: Disk,
    /// Indices of pending operations, in order.
    names: Vec<usize>,
    files: BTreeMap<u32, Vec<usize>>,
}

impl Replay {
    pub fn new(disk: Disk) -> Self {
        Self { disk, names: Vec::new(), files: BTreeMap::new() }
    }

    pub fn pending(&self) -> usize {
        self.names.len() + self.files.values().map(Vec::len).sum::<usize>()
    }

    pub fn step(&mut self, ops: &[Op], at: usize) {
        match &ops[at] {
            Op::Create { .. } | Op::Remove { .. } | Op::Rename { .. } => self.names.push(at),
            Op::SyncDir => {
                for i in std::mem::take(&mut self.names) {
                    self.disk.apply_name(&ops[i]);
                }
            }
            Op::Size { ino, .. } | Op::Write { ino, .. } => self.files.entry(*ino).or_default().push(at),
            Op::Sync { ino } => {
                let done = self.files.remove(ino).unwrap_or_default();
                apply(self.disk.file(*ino), ops, &done, &mut |_, _| true);
            }
            Op::SyncFailed { ino } => {
                // Some of the pages got there; the rest will not unless somebody writes them again.
                let done = self.files.remove(ino).unwrap_or_default();
                let salt = at as u64;
                apply(self.disk.file(*ino), ops, &done, &mut |_, at| {
                    mix(salt ^ ((at / PAGE) << 20) ^ (u64::from(*ino) << 50)) & 1 == 0
                });
            }
        }
    }

    /// The medium after a power cut right now.
    pub fn cut(&self, ops: &[Op], how: Cut, dice: &mut Dice) -> Disk {
        let mut disk = self.disk.clone();
        let salt = dice.next();
        let pick = |list: &[usize], unit: u64, i: usize, nth: usize| match how {
            Cut::All => true,
            Cut::Nothing => false,
            Cut::Prefix(_) => nth > i,
            Cut::Some { percent, .. } => {
                let draw = mix(salt ^ mix(unit));
                let version = list.get((mix(draw) % (list.len() as u64 + 1)) as usize).copied();
                draw % 100 < percent || version.is_some_and(|version| i < version)
            }
            Cut::AllBut(_) => mix(unit ^ salt) & 3 != 0 || i != nth,
            Cut::Only(_) => i == nth,
        };
        let nth = self.nth(how);
        for i in &self.names {
            if pick(&self.names, u64::MAX - *i as u64, *i, nth) {
                disk.apply_name(&ops[*i]);
            }
        }
        let size = if let Cut::Some { sector, .. } = how { sector } else { SECTOR };
        for (ino, list) in &self.files {
            let file = disk.file(*ino);
            let unit = |at: u64| (u64::from(*ino) << 40) | (at / size);
            apply(file, ops, list, &mut |i, at| pick(list, unit(at), i, nth));
        }
        if !matches!(how, Cut::All | Cut::Nothing) && !self.files.is_empty() {
            self.tear(&mut disk, ops, nth, how, dice);
        }
        disk.sweep();
        disk
    }

    /// The index of the chosen operation.
    fn nth(&self, how: Cut) -> usize {
        let (Cut::Prefix(n) | Cut::AllBut(n) | Cut::Only(n)) = how else { return 0 };
        let mut all: Vec<usize> = self.files.values().flatten().chain(&self.names).copied().collect();
        all.sort_unstable();
        all.get(n % all.len().max(1)).copied().unwrap_or(0)
    }

    /// Leaves one sector of one pending write half way: a prefix, a mixture, or rubbish where it changes.
    fn tear(&self, disk: &mut Disk, ops: &[Op], nth: usize, how: Cut, dice: &mut Dice) {
        let list: Vec<usize> = self.files.values().flatten().copied().collect();
        let i =
            if matches!(how, Cut::Prefix(_)) { nth } else { list[dice.below(list.len() as u64) as usize] };
        let Op::Write { ino, at, bytes } = &ops[i] else { return };
        let sectors = (at + bytes.len() as u64 - 1) / SECTOR - at / SECTOR + 1;
        let chosen = at / SECTOR + dice.below(sectors);
        let from = (chosen * SECTOR).max(*at);
        let to = ((chosen + 1) * SECTOR).min(at + bytes.len() as u64);
        let new = &bytes[(from - at) as usize..(to - at) as usize];
        let file = disk.file(*ino);
        let mut old = vec![0; new.len()];
        file.read(from, &mut old);
        let (kind, split) = (dice.below(4), dice.below(new.len() as u64 + 1) as usize);
        for (j, (old, new)) in old.iter_mut().zip(new).enumerate() {
            let changed = *old != *new;
            match kind {
                0 if j < split => *old = *new,
                1 if mix(split as u64 ^ ((from + j as u64) / 8)) & 1 == 0 => *old = *new,
                2 if changed => *old = 0,
                3 if changed => *old = mix(split as u64 ^ j as u64) as u8,
                _ => {}
            }
        }
        file.write(from, &old);
    }
}

/// Applies pending operations on a file, sector by sector, as `pick(index, offset)` chooses.
fn apply(file: &mut Image, ops: &[Op], list: &[usize], pick: &mut dyn FnMut(usize, u64) -> bool) {
    for i in list {
        match &ops[*i] {
            Op::Size { len, .. } if pick(*i, u64::MAX >> 1) => file.len = *len,
            Op::Write { at, bytes, .. } => {
                let mut from = *at;
                let end = at + bytes.len() as u64;
                while from < end {
                    let to = ((from / SECTOR + 1) * SECTOR).min(end);
                    if pick(*i, from) {
                        file.write(from, &bytes[(from - at) as usize..(to - at) as usize]);
                    }
                    from = to;
                }
            }
            _ => {}
        }
    }
}
