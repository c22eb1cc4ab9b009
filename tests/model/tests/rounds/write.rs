//! A writer: runs a generated program, over and over until the round's quota is used up, and notes each call with
//! its answer.

use std::sync::atomic::Ordering;

use libwatch::Store;
use libwatch_model::answer::Answer;
use libwatch_model::call::Call;
use libwatch_model::convert::call;
use libwatch_model::generate::Profile;
use libwatch_model::hunt::chance;
use libwatch_model::program::{Abstract, Now};
use proptest::strategy::{Strategy, ValueTree};

use super::Round;
use super::dice::Dice;

/// What watches of a round may take for a prefix; the last two are those of writers that share no keys.
pub const PREFIXES: [&[u8]; 4] = [b"a", b"ab", b"w0/", b"w1/a"];

/// A key that a watch of a round may be interested in.
pub fn key(dice: &mut Dice) -> Vec<u8> {
    let names: [&[u8]; 7] = [b"a", b"ab", b"abc", b"b", b"z", b"a\xff", b"\xff\xff"];
    let name = dice.pick(&names);
    match dice.one_in(2) {
        true => [format!("w{}/", dice.below(4)).as_bytes(), name].concat(),
        false => name.to_vec(),
    }
}

/// Reads and writes of one writer.
pub fn program(steps: usize, dice: &mut Dice) -> Vec<Abstract> {
    let (mut chance, step) = (chance(dice.roll()), Profile::writers().step());
    (0..steps).map(|_| step.new_tree(&mut chance).expect("a step").current()).collect()
}

struct Seen<'s>(&'s Store);

impl Now for Seen<'_> {
    fn revision(&self) -> i64 {
        self.0.revision()
    }

    fn compact_revision(&self) -> i64 {
        self.0.compact_revision()
    }

    fn live_ids(&self, _stream: usize) -> Vec<i64> {
        Vec::new()
    }

    fn ended_ids(&self, _stream: usize) -> Vec<i64> {
        Vec::new()
    }
}

/// Writes until the quota is used up.
pub fn run(round: &Round, program: &[Abstract]) -> Vec<(Call, Answer)> {
    let mut notes = Vec::new();
    for step in program.iter().cycle() {
        if round.left.fetch_sub(1, Ordering::Relaxed) <= 0 {
            break;
        }
        let asked = step.resolve(&Seen(&round.store));
        let answer = call(&round.store, &asked);
        if let Some(revision) = answer.revision() {
            assert!(revision <= round.store.revision(), "answered before it is visible");
            notes.push((asked, answer));
        }
    }
    notes
}
