//! Runs a program on a subject beside the model, and says at which step they part.

use std::fmt;

use crate::answer::{Answer, Response};
use crate::call::{Bytes, Call, Range, Step};
use crate::model::Model;
use crate::program::{Now, Program};

/// Whatever can be asked like a store.
pub trait Subject {
    /// Does a call.
    fn call(&mut self, call: &Call) -> Answer;

    /// What streams were given since the last time, in the order of each stream. `Err` is a breach that the
    /// subject saw itself.
    fn responses(&mut self) -> Result<Vec<(usize, Response)>, String>;
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub programs: u64,
    pub steps: u64,
    pub responses: u64,
    pub events: u64,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.programs += other.programs;
        self.steps += other.steps;
        self.responses += other.responses;
        self.events += other.events;
    }
}

/// Where subject and model part.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The call, or what was done in the end.
    pub at: String,
    pub how: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {}\n{}", self.at, self.how)
    }
}

/// Runs a program, then drains, compares every revision that can be read, and does so again after opening the
/// store anew.
pub fn run(program: &Program, subject: &mut dyn Subject) -> Result<Sum, Failure> {
    let (model, reopens) = (Model::new(&program.setup), program.setup.files);
    let mut run = Run { model, subject, reopens, sum: Sum::default() };
    run.sum.programs = 1;
    for (number, step) in program.steps.iter().enumerate() {
        let call = step.resolve(&run.model);
        run.step(&call).map_err(|how| Failure { at: format!("step {number}: {call}"), how })?;
        run.sum.steps += 1;
    }
    let streams = program.setup.streams.len();
    run.finish(streams).map_err(|how| Failure { at: "the end".into(), how })?;
    Ok(run.sum)
}

struct Run<'s> {
    model: Model,
    subject: &'s mut dyn Subject,
    reopens: bool,
    sum: Sum,
}

impl Run<'_> {
    fn step(&mut self, call: &Call) -> Result<(), String> {
        match call {
            Step::Drain => {
                self.call(call)?;
                self.model.drained()
            }
            Step::Reopen if !self.reopens => Ok(()),
            Step::Reopen => {
                self.model.close();
                let answer = self.subject.call(call);
                self.take()?;
                self.model.closed()?;
                self.model.check(call, &answer)
            }
            _ => self.call(call),
        }
    }

    fn call(&mut self, call: &Call) -> Result<(), String> {
        let answer = self.subject.call(call);
        self.model.check(call, &answer)?;
        self.take()
    }

    fn take(&mut self) -> Result<(), String> {
        for (stream, response) in self.subject.responses()? {
            self.model.deliver(stream, &response)?;
            self.sum.responses += 1;
            if let crate::answer::What::Events(events) = &response.what {
                self.sum.events += events.len() as u64;
            }
        }
        Ok(())
    }

    fn finish(&mut self, streams: usize) -> Result<(), String> {
        for stream in 0..streams {
            self.step(&Step::RequestProgress { stream })?;
        }
        self.step(&Step::Drain)?;
        self.compare()?;
        self.step(&Step::Reopen)?;
        self.compare()
    }

    /// The whole state at each revision that can be read, and that one more cannot.
    fn compare(&mut self) -> Result<(), String> {
        let (compacted, current) = (self.model.compact_revision(), self.model.revision());
        for revision in (compacted - 1).max(1)..=current + 1 {
            let all = Bytes::from(b"\0");
            let range = Range { key: all.clone(), range_end: all, revision, ..Range::default() };
            self.call(&Step::Range(range)).map_err(|how| format!("everything at {revision}: {how}"))?;
        }
        Ok(())
    }
}
