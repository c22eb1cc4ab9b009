//! One program on libwatch and on etcd, step by step, down to the first difference; the model has its say.

use std::fmt;

use libwatch_model::answer::{Answer, Event, Response, What};
use libwatch_model::call::{Call, Step};
use libwatch_model::drive::Subject;
use libwatch_model::generate::Profile;
use libwatch_model::model::{Checked, Model};
use libwatch_model::program::{Now, Program};

use crate::etcd::{Etcd, Revisions};
use crate::seen::{End, Seen, Watch};
use crate::{Failure, apart};

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub programs: u64,
    pub steps: u64,
    pub events: u64,
    /// Steps that both refused.
    pub refused: u64,
    /// Watches that a compaction ended on both sides.
    pub compacted: u64,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.programs += other.programs;
        self.steps += other.steps;
        self.events += other.events;
        self.refused += other.refused;
        self.compacted += other.compacted;
    }
}

/// Where the two part.
#[derive(Clone, Debug)]
pub struct Difference {
    pub at: String,
    pub libwatch: String,
    pub etcd: String,
    /// What the model holds against libwatch, if anything.
    pub model: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, libwatch, etcd, model } = self;
        let model = model.as_deref().unwrap_or("agrees with libwatch");
        write!(f, "at {at}\n  libwatch: {libwatch}\n  etcd:     {etcd}\n  model:    {model}")
    }
}

/// Why a program did not end well.
#[derive(Clone, Debug)]
pub enum Trouble {
    Different(Difference),
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Different(difference) => difference.fmt(f),
            Self::Failed(Failure::Setup(text) | Failure::Etcd(text)) => f.write_str(text),
        }
    }
}

/// Runs a program on both.
///
/// # Errors
/// The first difference, or that etcd cannot be had.
pub fn run(program: &Program, profile: &Profile, subject: &mut dyn Subject) -> Result<Sum, Trouble> {
    let etcd = Etcd::start(program.setup.streams.len())?;
    let (model, ours, sum) = (Model::new(&program.setup), Seen::default(), Sum::default());
    let mut run = Run { model, complaint: None, subject, ours, etcd, sum };
    run.sum.programs = 1;
    for (number, step) in program.steps.iter().enumerate() {
        let call = step.resolve(&run.model);
        if apart::is_compared(profile, &run.model, &call) {
            run.step(&call).map_err(|trouble| run.explained(trouble, &format!("step {number}: {call}")))?;
        }
    }
    run.finish().map_err(|trouble| run.explained(trouble, "the end"))?;
    Ok(run.sum)
}

struct Run<'s> {
    model: Model,
    /// The first thing that the model holds against libwatch.
    complaint: Option<String>,
    subject: &'s mut dyn Subject,
    /// What libwatch's watches have seen.
    ours: Seen,
    etcd: Etcd,
    sum: Sum,
}

impl Run<'_> {
    fn step(&mut self, call: &Call) -> Result<(), Trouble> {
        if matches!(call, Step::Watch { .. } | Step::Cancel { .. } | Step::Compact { .. }) {
            self.drain();
            // What a watch has been given by now decides what becomes of it, and which ids are free.
            self.etcd.settle(&self.ours, self.now())?;
            self.compare_watches()?;
        }
        if *call == Step::Drain {
            self.drain();
            return Ok(());
        }
        let given = self.subject.call(call);
        let checked = self.model.check(call, &given);
        self.complain(checked);
        if let (Step::Watch { stream, .. }, Answer::Watch { watch_id }) = (call, &given) {
            self.ours.created(*stream, *watch_id);
        }
        self.take();
        let theirs = apart::leveled(call, self.etcd.answer(call)?);
        let ours = apart::leveled(call, given);
        self.sum.steps += 1;
        self.sum.refused += u64::from(matches!(ours, Answer::Refused(_)));
        same("", &ours, &theirs)
    }

    fn finish(&mut self) -> Result<(), Trouble> {
        self.drain();
        self.etcd.settle(&self.ours, self.now())?;
        self.compare_watches()?;
        self.etcd.finish(self.now())?;
        self.compare_watches()?;
        if let Some(complaint) = self.complaint.take() {
            let (libwatch, etcd) = ("as etcd".to_string(), "as libwatch".to_string());
            let at = "the model".to_string();
            return Err(Trouble::Different(Difference { at, libwatch, etcd, model: Some(complaint) }));
        }
        let watches = &self.ours.watches;
        self.sum.events = watches.iter().map(|watch| watch.events.len() as u64).sum();
        let compacted = watches.iter().filter(|watch| matches!(watch.end, Some(End::Compacted(_))));
        self.sum.compacted = compacted.count() as u64;
        Ok(())
    }

    fn now(&self) -> Revisions {
        Revisions { current: self.model.revision(), compacted: self.model.compact_revision() }
    }

    fn explained(&self, trouble: Trouble, at: &str) -> Trouble {
        match trouble {
            Trouble::Different(mut difference) => {
                difference.at = format!("{at}{}", difference.at);
                difference.model = difference.model.or_else(|| self.complaint.clone());
                Trouble::Different(difference)
            }
            Trouble::Failed(Failure::Etcd(text)) => {
                Trouble::Failed(Failure::Etcd(format!("at {at}: {text}\n{}", self.etcd.log())))
            }
            failed => failed,
        }
    }

    fn complain(&mut self, checked: Checked) {
        self.complaint = self.complaint.take().or(checked.err());
    }

    fn drain(&mut self) {
        let answer = self.subject.call(&Step::Drain);
        let checked = self.model.check(&Step::Drain, &answer);
        self.complain(checked);
        self.take();
        let checked = self.model.drained();
        self.complain(checked);
    }

    fn take(&mut self) {
        match self.subject.responses() {
            Ok(responses) => responses.into_iter().for_each(|(stream, response)| {
                let checked = self.model.deliver(stream, &response);
                self.complain(checked);
                self.note(stream, response);
            }),
            Err(breach) => self.complain(Err(breach)),
        }
    }

    fn note(&mut self, stream: usize, response: Response) {
        let id = response.watch_id;
        let known = match response.what {
            What::Created | What::Progress => true,
            What::Events(events) => self.ours.events(stream, id, events),
            What::Canceled { code: None, .. } => self.ours.ended(stream, id, End::Canceled),
            What::Canceled { compact_revision, .. } => {
                self.ours.ended(stream, id, End::Compacted(compact_revision))
            }
        };
        if !known {
            self.complain(Err(format!("stream {stream}: a response for watch {id}, which does not live")));
        }
    }

    fn compare_watches(&self) -> Result<(), Trouble> {
        let (ours, theirs) = (&self.ours.watches, &self.etcd.seen().watches);
        ours.iter().zip(theirs).try_for_each(|(ours, theirs)| compare_watch(ours, theirs))
    }
}

/// `Ok` where both said the same.
fn same<T: fmt::Debug + PartialEq>(of: &str, ours: &T, theirs: &T) -> Result<(), Trouble> {
    if ours == theirs {
        return Ok(());
    }
    let (libwatch, etcd) = (format!("{ours:?}"), format!("{theirs:?}"));
    Err(Trouble::Different(Difference { at: of.to_string(), libwatch, etcd, model: None }))
}

fn compare_watch(ours: &Watch, theirs: &Watch) -> Result<(), Trouble> {
    let of = format!(", stream {} watch {}", ours.stream, ours.id);
    for number in 0..ours.events.len().max(theirs.events.len()) {
        let event = |watch: &Watch| -> Option<Event> { watch.events.get(number).cloned() };
        same(&format!("{of}, event {number}"), &event(ours), &event(theirs))?;
    }
    same(&format!("{of}, its end"), &ours.end, &theirs.end)
}
