//! The judge of one watch: walks over what it was given beside what it was to be given. Each step costs a few
//! comparisons; what exactly went wrong is looked for only once something has.

use libwatch::ErrorCode;

use super::{Broken, Given, Happened, Kind, Log, Rule, Watch, hold};

/// Judges one watch. Answers the number of events that were right.
pub fn check(log: &Log, watch: &Watch) -> Result<u64, Broken> {
    let mut judge = Judge::new(log, watch);
    for (number, given) in watch.given.iter().enumerate() {
        judge
            .take(number, given)
            .map_err(|Broken(rule, how)| Broken(rule, format!("response {number}: {how}")))?;
    }
    judge.end()?;
    Ok((judge.next - judge.begin) as u64)
}

struct Judge<'a> {
    log: &'a Log,
    watch: &'a Watch,
    expected: Vec<&'a Happened>,
    /// Indexes of the first and of the next expected event.
    begin: usize,
    next: usize,
    last_revision: i64,
    resume: i64,
    progress: i64,
    header: i64,
    in_fragments: bool,
    last: Option<&'a Given>,
}

fn is_same(one: &Happened, other: &Happened) -> bool {
    one.kv.mod_revision == other.kv.mod_revision && one.kv.key == other.kv.key
}

fn name(event: &Happened) -> String {
    format!("{} {}", event.kv.mod_revision, event.kv.key.escape_ascii())
}

impl<'a> Judge<'a> {
    fn new(log: &'a Log, watch: &'a Watch) -> Self {
        let expected = log.matching(watch);
        let start = true_start(watch);
        let begin = expected.partition_point(|event| event.kv.mod_revision < start);
        Self {
            log,
            watch,
            expected,
            begin,
            next: begin,
            last_revision: 0,
            resume: watch.start.0,
            progress: 0,
            header: 0,
            in_fragments: false,
            last: None,
        }
    }

    fn next_revision(&self) -> i64 {
        self.expected.get(self.next).map_or(i64::MAX, |event| event.kv.mod_revision)
    }

    fn take(&mut self, number: usize, given: &'a Given) -> Result<(), Broken> {
        let ended = matches!(self.last, Some(Given { kind: Kind::Canceled { .. }, .. }));
        hold(Rule::Final, !ended, || "it comes after the final response".into())?;
        hold(Rule::Readable, given.readable_revision >= given.revision, || {
            format!("it says {}, the store was at {}", given.revision, given.readable_revision)
        })?;
        let has_events = matches!(given.kind, Kind::Events(_));
        hold(Rule::Atomic, has_events || !given.fragment, || "a part of what has no events".into())?;
        let first = number == 0;
        match &given.kind {
            Kind::Created => self.created(first, given)?,
            _ if first && self.watch.created_notify => {
                return Err(Broken(Rule::Created, "the first response is no created response".into()));
            }
            Kind::Events(events) => self.events(given, events)?,
            Kind::Progress => self.progress(number, given)?,
            Kind::Canceled { code, compact_revision } => self.canceled(given, *code, *compact_revision)?,
        }
        // A progress names what was delivered, which may be less than the header of events said.
        let falls = given.kind != Kind::Progress && given.revision < self.header;
        hold(Rule::Header, !falls, || format!("header {} after {}", given.revision, self.header))?;
        self.header = self.header.max(given.revision);
        if !given.fragment {
            self.resume(given)?;
        }
        self.in_fragments = given.fragment;
        self.last = Some(given);
        Ok(())
    }

    /// It never goes back, and never beyond what the store has.
    fn resume(&mut self, given: &Given) -> Result<(), Broken> {
        let resume = given.resume_revision;
        hold(Rule::Resumable, resume >= self.resume, || {
            format!("resume_revision {resume} after {}", self.resume)
        })?;
        let most = self.watch.start.1.max(given.readable_revision + 1);
        hold(Rule::Resumable, resume <= most, || format!("resume_revision {resume}, at most {most} is due"))?;
        self.resume = resume;
        Ok(())
    }

    fn created(&self, first: bool, given: &Given) -> Result<(), Broken> {
        let due = first && self.watch.created_notify;
        hold(Rule::Created, due, || "a created response that is not due".into())?;
        let (low, high) = self.watch.start;
        let resume = given.resume_revision;
        hold(Rule::Resumable, (low..=high).contains(&resume), || {
            format!("created at {resume}, not within {low} to {high}")
        })
    }

    fn events(&mut self, given: &Given, events: &[Happened]) -> Result<(), Broken> {
        hold(Rule::Atomic, !events.is_empty(), || "a response of events without events".into())?;
        let first = events[0].kv.mod_revision;
        if first <= self.last_revision && !self.in_fragments {
            hold(Rule::Unique, !self.was_given(&events[0]), || format!("{} comes again", name(&events[0])))?;
            hold(Rule::Atomic, first != self.last_revision, || format!("revision {first} is split"))?;
        }
        let sorted = events.is_sorted_by_key(|event| event.kv.mod_revision);
        hold(Rule::Ordered, sorted, || "revisions go down inside the response".into())?;
        for (i, event) in events.iter().enumerate() {
            self.event(given, event, &events[i + 1..])?;
        }
        let last = self.last_revision;
        hold(Rule::Header, given.revision >= last, || format!("header {} below {last}", given.revision))?;
        if given.fragment {
            return hold(Rule::Resumable, given.resume_revision == 0, || {
                "a fragment names a revision".into()
            });
        }
        hold(Rule::Atomic, self.next_revision() != last, || format!("revision {last} is not complete"))?;
        self.resumes_exactly(given)
    }

    fn event(&mut self, given: &Given, event: &Happened, rest: &[Happened]) -> Result<(), Broken> {
        let (watch, kv) = (self.watch, &event.kv);
        hold(Rule::Filter, watch.wants(event), || format!("{} was not asked for", name(event)))?;
        let Some(known) = self.expected.get(self.next).filter(|known| is_same(known, event)) else {
            return Err(self.misplaced(event, rest));
        };
        hold(Rule::Readable, given.readable_revision >= kv.mod_revision, || {
            format!("{} is not readable", name(event))
        })?;
        let creates = |event: &Happened| event.put && event.kv.create_revision == event.kv.mod_revision;
        hold(Rule::IsCreate, creates(event) == creates(known), || {
            format!("is_create of {} is wrong", name(event))
        })?;
        hold(Rule::Content, event.put == known.put && *kv == known.kv, || {
            format!("{kv:?} where {:?} was written", known.kv)
        })?;
        let excused = event.prev.is_none() && kv.mod_revision <= given.compact_revision;
        let right = if watch.prev_kv { event.prev == known.prev } else { event.prev.is_none() };
        hold(Rule::PrevKv, right || excused, || {
            format!("{} had {:?}, it says {:?}", name(event), known.prev, event.prev)
        })?;
        self.last_revision = kv.mod_revision;
        self.next += 1;
        Ok(())
    }

    /// Which rule an event breaks that is not the expected one.
    fn misplaced(&self, event: &Happened, rest: &[Happened]) -> Broken {
        let (next, revision) = (self.expected.get(self.next), event.kv.mod_revision);
        let complete = revision == self.last_revision && revision != self.next_revision();
        let overtakes = revision == self.next_revision()
            && rest.iter().any(|later| next.is_some_and(|next| is_same(next, later)));
        let rule = if self.was_given(event) || complete {
            Rule::Unique
        } else if revision < self.last_revision || overtakes {
            Rule::Ordered
        } else if revision <= self.progress {
            Rule::Bookmarkable
        } else if self.next == self.begin && self.watch.start.0 == self.watch.start.1 {
            Rule::Resumable
        } else {
            Rule::Reliable
        };
        let after = (self.last_revision, self.progress);
        Broken(
            rule,
            format!("{} after {after:?} where {:?} is next", name(event), next.map(|next| name(next))),
        )
    }

    fn was_given(&self, event: &Happened) -> bool {
        let given = &self.expected[self.begin..self.next];
        let from = given.partition_point(|known| known.kv.mod_revision < event.kv.mod_revision);
        let same = given[from..].iter().take_while(|known| known.kv.mod_revision == event.kv.mod_revision);
        same.into_iter().any(|known| is_same(known, event))
    }

    /// Everything below the resume revision was given and nothing from there on.
    fn resumes_exactly(&self, given: &Given) -> Result<(), Broken> {
        let resume = given.resume_revision;
        hold(Rule::Resumable, resume > self.last_revision && resume <= self.next_revision(), || {
            format!("resume_revision {resume} is not after {} and up to the next", self.last_revision)
        })
    }

    fn progress(&mut self, number: usize, given: &Given) -> Result<(), Broken> {
        let revision = given.revision;
        hold(Rule::Bookmarkable, !self.in_fragments, || format!("progress {revision} amid fragments"))?;
        hold(Rule::Bookmarkable, revision + 1 >= self.watch.start.0, || {
            format!("progress {revision} of a watch that starts at {}", self.watch.start.0)
        })?;
        hold(Rule::Bookmarkable, revision >= self.progress.max(self.last_revision), || {
            format!("progress {revision} after progress {} and {}", self.progress, self.last_revision)
        })?;
        if self.next_revision() <= revision {
            let too_early = self.watch.given[number..].iter().any(|later| match &later.kind {
                Kind::Events(events) => events.iter().any(|event| event.kv.mod_revision <= revision),
                _ => false,
            });
            let rule = if too_early { Rule::Bookmarkable } else { Rule::Reliable };
            let missing = self.next_revision();
            return Err(Broken(rule, format!("progress {revision}, but {missing} is missing")));
        }
        hold(Rule::Bookmarkable, given.resume_revision == revision + 1, || {
            format!("progress {revision} resumes at {}", given.resume_revision)
        })?;
        self.progress = revision;
        Ok(())
    }

    fn canceled(&self, given: &Given, code: Option<ErrorCode>, legal: i64) -> Result<(), Broken> {
        let resume = given.resume_revision;
        if code == Some(ErrorCode::Compacted) {
            hold(Rule::Final, resume < legal && legal <= given.compact_revision, || {
                format!("compacted to {legal} at {resume}, the store says {}", given.compact_revision)
            })?;
            let known = self.log.compactions.as_ref().is_none_or(|known| known.contains(&legal));
            hold(Rule::Final, known, || format!("compacted to {legal}, which nobody did"))?;
        } else {
            hold(Rule::Final, legal == 0, || format!("compact_revision {legal} without a compaction"))?;
        }
        if self.in_fragments {
            // Fragments that were taken may end inside a revision, which then comes again.
            let within = self.last_revision <= resume && resume <= self.next_revision();
            return hold(Rule::Resumable, within, || format!("resume_revision {resume} amid fragments"));
        }
        self.resumes_exactly(given)
    }

    fn end(&self) -> Result<(), Broken> {
        let Some(Given { kind: Kind::Canceled { code, .. }, .. }) = self.last else {
            return Err(Broken(Rule::Final, "there is no final response".into()));
        };
        let early = matches!(code, Some(code) if *code != ErrorCode::Closed);
        hold(Rule::Reliable, early || self.next_revision() > self.watch.reaches, || {
            format!("{} is missing at the end, {} was due", self.next_revision(), self.watch.reaches)
        })
    }
}

/// Where the watch began: as its created response says, else no later than its first event.
fn true_start(watch: &Watch) -> i64 {
    let (low, high) = watch.start;
    let said = watch.given.first().map(|given| match &given.kind {
        Kind::Events(events) => events.first().map_or(high, |event| event.kv.mod_revision),
        Kind::Created | Kind::Progress | Kind::Canceled { .. } => given.resume_revision,
    });
    said.map_or(high, |said| said.clamp(low, high))
}
