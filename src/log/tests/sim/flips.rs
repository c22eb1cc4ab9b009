//! Bits that turn on the medium: the store is refused with the name of the file and an offset and nothing is
//! changed, or all of it reads as it was. Of a store that was not closed the last group of commits has no witness
//! (docs/format.md): damage there may look like a torn tail, and is reported as one.

use super::disk::{Cut, Dice, Disk, Replay};
use super::say;
use super::story::{Note, Story, open};
use super::workload::{Life, Shape};
use crate::error::ErrorCode;
use crate::options::Durability;
use crate::os::file::{Dir, Filesystem};
use std::sync::Arc;

/// A disk, what is on it, and the position below which everything is proved.
struct Subject {
    name: &'static str,
    disk: Disk,
    story: Story,
    shape: Shape,
}

fn subject(name: &'static str, segment_bytes: u64, txns: usize, compact: bool, close: bool) -> Subject {
    let shape =
        Shape { filesystem: Filesystem::InPlace, segment_bytes, durability: Durability::Commit, steps: 0 };
    let mut life = Life::new(&Disk::default(), Story::new(), shape, 1, Dice::new(3));
    life.open().unwrap();
    for i in 0..txns {
        life.append().unwrap();
        life.flush().unwrap();
        if compact && i % (txns / 3) == txns / 4 {
            life.compact().unwrap();
        }
    }
    let end = if close {
        life.close().unwrap();
        life.notes.iter().find(|note| matches!(note.1, Note::Closed)).unwrap().0
    } else {
        life.dir.ops().len()
    };
    let ops = life.dir.ops();
    let mut replay = Replay::new(Disk::default());
    (0..end).for_each(|at| replay.step(&ops, at));
    let mut story = Story::new();
    life.notes.iter().filter(|note| note.0 <= end).for_each(|note| story.add(&note.1));
    story.closed = close;
    let disk = replay.cut(&ops, Cut::All, &mut Dice::new(1));
    Subject { name, disk, story, shape }
}

#[derive(Default)]
struct Tally {
    refused: u64,
    equal: u64,
    torn: u64,
}

impl Subject {
    /// Every file with its length in bits.
    fn files(&self) -> Vec<(String, u32, u64)> {
        let bits = |ino: &u32| self.disk.files[ino].len * 8;
        self.disk.names.iter().map(|(name, ino)| (name.clone(), *ino, bits(ino))).collect()
    }

    fn flip(&self, name: &str, ino: u32, bit: u64, tally: &mut Tally) {
        let mut disk = self.disk.clone();
        let file = Arc::make_mut(disk.files.get_mut(&ino).unwrap());
        let mut byte = [0];
        file.read(bit / 8, &mut byte);
        file.write(bit / 8, &[byte[0] ^ 1 << (bit % 8)]);
        let life = Life::new(&disk, self.story.clone(), self.shape, 2, Dice::new(bit));
        let place = || format!("{}: bit {bit} of {name}", self.name);
        let opened = match open(Arc::clone(&life.dir) as Arc<dyn Dir>, &life.options()) {
            Err(error) => {
                let known = matches!(error.code(), ErrorCode::Corrupt | ErrorCode::Format);
                let says = error.message().contains(name) && error.message().contains("offset");
                assert!(known && says, "{}: {error}", place());
                assert_eq!(life.dir.op_count(), 0, "{}: the refusal changed something", place());
                assert_ne!(name, "MANIFEST", "{}: {error}", place());
                tally.refused += 1;
                return;
            }
            Ok(opened) => opened,
        };
        let mut story = self.story.clone();
        story.closed = false;
        let all = story.txns.len();
        if !self.story.closed {
            // Whatever the last flush acknowledged has no record after it that says so.
            story.durable = all - 1;
            story.seen = story.txns[all - 1].revision - 1;
        }
        let kept = story.check(&opened, true).unwrap_or_else(|why| panic!("{}: {why}", place()));
        story.check_cursor(&opened.log, kept).unwrap_or_else(|why| panic!("{}: {why}", place()));
        if kept == all {
            tally.equal += 1;
        } else {
            assert!(opened.report.torn_bytes > 0, "{}: nothing is said", place());
            tally.torn += 1;
        }
    }

    fn run(&self, bits: &mut dyn FnMut(u64) -> Vec<u64>) {
        let mut tally = Tally::default();
        for (name, ino, len) in self.files() {
            for bit in bits(len) {
                self.flip(&name, ino, bit, &mut tally);
            }
        }
        let Tally { refused, equal, torn } = tally;
        let all = refused + equal + torn;
        let name = self.name;
        let ends = format!("{refused} refused, {equal} without effect, {torn} reported as a torn tail");
        say(&format!("{all} bits of {name} turned: 0 silent, 0 violations ({ends})"));
        assert!(refused > 0 && equal > 0 && (torn > 0) != self.story.closed, "{name}: {ends}");
    }
}

/// Design decision D9, second rule: no bit of a store can turn without an error or without being of no consequence.
#[test]
fn no_bit_turns_silently() {
    crate::os::thread::refusal::set(true);
    let wanted = std::env::var("LIBWATCH_SIM_FLIPS").unwrap_or("12000".into());
    let subjects = [
        subject("a closed store of one 64 KiB segment", 64 << 10, 150, false, true),
        subject("a closed and compacted store", 12 << 10, 120, true, true),
        subject("a store that was not closed", 12 << 10, 40, false, false),
    ];
    let share = wanted.parse::<u64>().unwrap_or(u64::MAX) / subjects.len() as u64;
    let mut dice = Dice::new(1);
    for subject in subjects {
        let all: u64 = subject.files().iter().map(|file| file.2).sum();
        subject.run(&mut |len| {
            if wanted == "all" {
                return (0..len).collect();
            }
            let part = (share as u128 * u128::from(len) / u128::from(all)) as u64;
            (0..part.max(50)).map(|_| dice.below(len)).collect()
        });
    }
}
