//! The power cut, after every operation of a workload and of the recoveries that follow, with every kind of rest.

use super::disk::{Cut, Dice, Disk, Op, PAGE, Replay, SECTOR};
use super::story::{Note, Story, open};
use super::workload::{Life, Outcome, Shape};
use super::{campaign, knob};
use crate::log::LogOptions;
use crate::log::header::segment_name;
use crate::log::torn::TornHeader;
use crate::options::Durability;
use crate::os::file::Dir;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lives of one store, each begun on what a power cut left of the one before.
const LIVES: u64 = 3;

/// Which rests are tried after one operation.
fn cuts(replay: &Replay, after_sync: bool, dice: &mut Dice, random: u64) -> Vec<Cut> {
    let pending = replay.pending();
    let mut cuts = vec![Cut::All];
    if pending == 0 {
        return cuts;
    }
    if after_sync || dice.chance(10) {
        cuts.push(Cut::Nothing);
    }
    for _ in 0..random {
        let n = dice.below(pending as u64) as usize;
        let percent = [3, 20, 50, 80, 97][dice.below(5) as usize];
        let sector = if dice.chance(50) { SECTOR } else { PAGE };
        cuts.push(match dice.below(8) {
            0 => Cut::Prefix(n),
            1 | 2 => Cut::AllBut(n),
            3 => Cut::Only(n),
            _ => Cut::Some { percent, sector },
        });
    }
    cuts
}

/// A life that was recorded, and what it began with.
struct Tape<'a> {
    life: &'a Life,
    ops: Vec<Op>,
    disk: &'a Disk,
    story: &'a Story,
    boot: u8,
}

impl Tape<'_> {
    /// Calls `each` with every rest after every operation below `until`.
    fn play(
        &self,
        until: usize,
        random: u64,
        dice: &mut Dice,
        each: &mut dyn FnMut(Disk, &Story, &mut Dice) -> Outcome,
    ) -> Outcome {
        let mut replay = Replay::new(self.disk.clone());
        let mut story = self.story.clone();
        let mut notes = self.life.notes.iter().peekable();
        for k in 0..=self.ops.len().min(until) {
            while let Some((_, note)) = notes.next_if(|(at, _)| *at <= k) {
                story.add(note);
            }
            let after_sync = k > 0 && matches!(self.ops[k - 1], Op::Sync { .. } | Op::SyncDir);
            for cut in cuts(&replay, after_sync, dice, random) {
                let disk = replay.cut(&self.ops, cut, dice);
                let tail: Vec<String> = self.ops[k.saturating_sub(6)..k].iter().map(Op::words).collect();
                let place = || format!("{cut:?} after operation {k}, {:?}: {tail:#?}", self.life.shape);
                each(disk, &story, dice).map_err(|why| format!("{why}\n{}", place()))?;
            }
            if k < self.ops.len() {
                replay.step(&self.ops, k);
            }
        }
        Ok(())
    }
}

/// Opens what a power cut left, checks it, goes on writing, and opens it again in one of several ways.
pub fn survive(disk: &Disk, story: &Story, shape: Shape, boot: u8, dice: &mut Dice) -> Outcome {
    let mut life = Life::new(disk, story.clone(), shape, boot, dice.clone());
    if dice.chance(6) {
        look(&life)?;
    }
    life.open()?;
    check_aside(disk, &life)?;
    match dice.below(3) {
        0 => {
            for _ in 0..1 + dice.below(3) {
                life.append()?;
            }
            life.close()?;
            life.append()
        }
        1 => {
            let before = life.story.txns.len();
            life.kill();
            life.open()?;
            if life.story.txns.len() != before || life.torn_bytes() > 0 {
                return Err("a second opening finds something else".into());
            }
            life.append()?;
            life.flush()?;
            life.kill();
            life.open()
        }
        _ => {
            life.append()?;
            life.append()?;
            life.flush()?;
            life.append()?;
            let ops = life.dir.ops();
            let mut replay = Replay::new(disk.clone());
            (0..ops.len()).for_each(|at| replay.step(&ops, at));
            let rest = replay.cut(&ops, if dice.chance(50) { Cut::Nothing } else { Cut::All }, dice);
            let mut life = Life::new(&rest, life.story.clone(), shape, boot + 1, dice.clone());
            life.open()?;
            life.append()
        }
    }
}

/// What the opening cleared is in a file, byte for byte, unless an earlier opening had begun with it.
fn check_aside(disk: &Disk, life: &Life) -> Outcome {
    let is_torn = |name: &&String| name.starts_with("torn-") && name.ends_with(".lws");
    let Some(name) = disk
        .names
        .keys()
        .rfind(is_torn)
        .cloned()
        .into_iter()
        .chain(life.dir.list().unwrap())
        .max_by(|a, b| is_torn(&a).cmp(&is_torn(&b)).then(a.cmp(b)))
    else {
        return Ok(());
    };
    if life.torn_bytes() == 0 {
        return Ok(());
    }
    if !is_torn(&&name) {
        return Err("torn bytes were cleared and not set aside".into());
    }
    if disk.names.contains_key(&name) {
        return Ok(());
    }
    let read = |at: u64, len: u64| {
        let mut bytes = vec![0; len as usize];
        life.dir.open(&name, false).and_then(|file| file.read_at(&mut bytes, at)).map(|()| bytes)
    };
    let header = TornHeader::decode(&read(0, PAGE).unwrap()).ok_or("the file of torn bytes is not valid")?;
    let mut at = PAGE;
    for range in &header.ranges {
        let stored = read(at, range.stored).unwrap();
        let mut there = vec![0; stored.len()];
        disk.files[&disk.names[&segment_name(range.seq)]].read(range.from, &mut there);
        if stored != there || crc32c::crc32c(&stored) != range.crc {
            return Err(format!("{name} does not hold what was at {range:?}"));
        }
        at += range.stored;
    }
    let all: u64 = header.ranges.iter().map(|range| range.to - range.from).sum();
    if all == life.torn_bytes() { Ok(()) } else { Err(format!("{name} has {all} bytes")) }
}

/// A reader finds what the writer after it will find, and changes nothing.
fn look(life: &Life) -> Outcome {
    let reader = LogOptions { read_only: true, create: false, ..life.options() };
    match open(Arc::clone(&life.dir) as Arc<dyn Dir>, &reader) {
        Err(error) if error.os_error() == libc::ENOENT && life.story.txns.is_empty() => {}
        Err(error) => return Err(format!("a reader is refused: {error}")),
        Ok(opened) => {
            let mut story = life.story.clone();
            // A reader skips nothing; the writer will.
            story.seen = if story.relaxed { 1 } else { story.seen };
            story.check(&opened, true)?;
        }
    }
    if life.dir.op_count() > 0 { Err("a reader changed something".into()) } else { Ok(()) }
}

fn draw_next(shape: Shape, dice: &mut Dice) -> Shape {
    let durability = if dice.chance(75) { shape.durability } else { Shape::draw(dice).durability };
    Shape { durability, ..shape }
}

/// What the next life begins with; `None`: there is none.
type Next = std::result::Result<Option<(Disk, Story)>, String>;

/// Lives of one store; `each` sees every one, and its answer is what the next one begins with.
fn lives(seed: u64, each: &mut dyn FnMut(&Tape<'_>, &mut Dice) -> Next) -> Outcome {
    let mut dice = Dice::new(seed);
    let mut shape = Shape::draw(&mut dice);
    let (mut disk, mut story) = (Disk::default(), Story::new());
    for boot in 0..LIVES as u8 {
        let mut life = Life::new(&disk, story.clone(), shape, 10 * boot + 1, Dice::new(dice.next()));
        life.open().and_then(|()| life.run()).map_err(|why| format!("{why}\nin life {boot}: {shape:?}"))?;
        let ops = life.dir.ops();
        let tape = Tape { life: &life, ops, disk: &disk, story: &story, boot: 10 * boot + 1 };
        let Some(next) = each(&tape, &mut dice)? else { return Ok(()) };
        shape = draw_next(shape, &mut dice);
        (disk, story) = next;
    }
    Ok(())
}

/// Design decision D9, both rules, and D10: whatever a power cut leaves of a workload, everything acknowledged is
/// there, the rest is a prefix, no revision that was seen comes again, and the store goes on.
#[test]
fn every_state_that_a_power_cut_leaves_opens_to_what_was_promised() {
    campaign("crash states", knob("STATES", 20_000), |seed, count| {
        lives(seed, &mut |tape, dice| {
            let keep = dice.below(tape.ops.len() as u64 * 4);
            let (mut nth, mut kept) = (0, None);
            let shape = draw_next(tape.life.shape, dice);
            tape.play(usize::MAX, 4, dice, &mut |disk, story, dice| {
                survive(&disk, story, shape, tape.boot + 1, dice)?;
                count.fetch_add(1, Ordering::Relaxed);
                if nth <= keep {
                    kept = Some((disk, story.clone()));
                }
                nth += 1;
                Ok(())
            })?;
            Ok(kept)
        })
    });
}

/// Design decision D9: a recovery that the power cut ends at any operation is done again by the next one.
#[test]
fn every_crash_during_a_recovery_is_recovered_from() {
    let count_of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let enough = knob("RECOVERIES", 4_000);
    campaign("crashes during recovery", enough, |seed, count| {
        lives(seed ^ 1 << 40, &mut |tape, dice| {
            let shape = draw_next(tape.life.shape, dice);
            let mut kept = None;
            tape.play(usize::MAX, 1, dice, &mut |disk, story, dice| {
                if !dice.chance(8) || count_of(count) >= enough {
                    return Ok(());
                }
                let mut life = Life::new(&disk, story.clone(), shape, tape.boot + 1, dice.clone());
                life.open()?;
                let is_opened = |note: &&(usize, Note)| matches!(note.1, Note::Opened { .. });
                let opened = life.notes.iter().find(is_opened).map_or(0, |note| note.0);
                if opened == 0 {
                    return Ok(());
                }
                let second =
                    Tape { life: &life, ops: life.dir.ops(), disk: &disk, story, boot: tape.boot + 1 };
                second.play(opened, 2, dice, &mut |disk, story, dice| {
                    survive(&disk, story, shape, tape.boot + 2, dice)?;
                    count.fetch_add(1, Ordering::Relaxed);
                    kept = Some((disk, story.clone()));
                    Ok(())
                })
            })?;
            Ok(kept)
        })
    });
}

/// The simulation itself: a sync keeps what was written, and nothing else is certain.
#[test]
fn the_simulated_disk_keeps_what_was_synced_and_may_lose_the_rest() {
    let shape = Shape {
        filesystem: crate::os::file::Filesystem::InPlace,
        segment_bytes: 16 << 10,
        durability: Durability::Commit,
        steps: 0,
    };
    let life = Life::new(&Disk::default(), Story::new(), shape, 1, Dice::new(1));
    let file = life.dir.create("a").unwrap();
    file.write_at(b"one", 0).unwrap();
    file.sync_data().unwrap();
    life.dir.sync().unwrap();
    file.write_at(&[7; 2000], 100).unwrap();
    life.dir.rename("a", "b").unwrap();
    let ops = life.dir.ops();
    let mut replay = Replay::new(Disk::default());
    (0..ops.len()).for_each(|at| replay.step(&ops, at));
    let mut dice = Dice::new(5);
    let nothing = replay.cut(&ops, Cut::Nothing, &mut dice);
    assert!(nothing.names.keys().eq(["a"]) && nothing.files.values().all(|file| file.len == 3));
    let all = replay.cut(&ops, Cut::All, &mut dice);
    assert!(all.names.keys().eq(["b"]) && all.files.values().all(|file| file.len == 2100));
    let (mut torn, mut short, mut old_name) = (0, 0, 0);
    for _ in 0..200 {
        let some = replay.cut(&ops, Cut::Some { percent: 50, sector: SECTOR }, &mut dice);
        let file = some.files.values().next().unwrap();
        let mut bytes = vec![0; 2100];
        file.read(0, &mut bytes);
        assert_eq!(&bytes[..3], b"one");
        torn += usize::from(bytes[100..512].contains(&7) != bytes[1536..].contains(&7));
        short += usize::from(file.len == 3);
        old_name += usize::from(some.names.contains_key("a"));
    }
    assert!(torn > 20 && short > 20 && old_name > 20, "{torn} {short} {old_name}");
}

/// Design decision D9: a recovery takes segments away one by one, so that no order in which names reach the disk
/// leaves a gap.
#[test]
fn segments_that_are_not_in_use_are_removed_one_by_one() {
    crate::os::thread::refusal::set(true);
    let filesystem = crate::os::file::Filesystem::InPlace;
    let shape = Shape { filesystem, segment_bytes: 12 << 10, durability: Durability::None, steps: 0 };
    let mut life = Life::new(&Disk::default(), Story::new(), shape, 1, Dice::new(2));
    life.open().unwrap();
    (0..150).for_each(|_| life.append().unwrap());
    let ops = life.dir.ops();
    let mut replay = Replay::new(Disk::default());
    (0..ops.len()).for_each(|at| replay.step(&ops, at));
    let disk = replay.cut(&ops, Cut::Nothing, &mut Dice::new(1));
    let mut after = Life::new(&disk, life.story.clone(), shape, 2, Dice::new(3));
    after.open().unwrap();
    let (mut removed, mut pending) = (0, 0);
    for op in after.dir.ops() {
        match op {
            Op::Remove { name } if name.starts_with("seg-") => {
                (removed, pending) = (removed + 1, pending + 1);
                assert!(pending < 2, "{name} is removed before the one above it is gone");
            }
            Op::SyncDir => pending = 0,
            _ => {}
        }
    }
    assert!(removed > 2, "{removed}");
}
