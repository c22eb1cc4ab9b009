//! Judges watches: holds what each was given against the true log, rule by rule, with the names etcd's robustness
//! suite gives them (etcd 17). Knows nothing of the engine; the log comes from those who wrote it.
#![allow(dead_code)] // each test binary uses a part of it

mod tests;

use std::collections::{BTreeMap, HashMap};

use libwatch::{ErrorCode, Event, EventType, KeyRange, KeyValue, Response, Store};

/// One change as its writer asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub put: bool,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub lease: i64,
}

/// A pair as a model of the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
    pub lease: i64,
}

/// An event: what happened, and what the key was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    pub put: bool,
    pub kv: Pair,
    pub prev: Option<Pair>,
}

/// Every event there was, in order.
pub struct Log(Vec<Happened>);

impl Log {
    /// Runs the writes of a store that began empty, in the order of their revisions.
    pub fn new(writes: &BTreeMap<i64, Vec<Change>>) -> Self {
        let mut alive: HashMap<&[u8], Pair> = HashMap::new();
        let mut events = Vec::new();
        for (revision, changes) in writes {
            for change in changes {
                let prev = alive.remove(change.key.as_slice());
                let key = change.key.clone();
                let kv = if change.put {
                    Pair {
                        key,
                        value: change.value.clone(),
                        create_revision: prev.as_ref().map_or(*revision, |prev| prev.create_revision),
                        mod_revision: *revision,
                        version: prev.as_ref().map_or(0, |prev| prev.version) + 1,
                        lease: change.lease,
                    }
                } else {
                    let (value, mod_revision) = (Vec::new(), *revision);
                    Pair { key, value, create_revision: 0, mod_revision, version: 0, lease: 0 }
                };
                if change.put {
                    alive.insert(&change.key, kv.clone());
                }
                events.push(Happened { put: change.put, kv, prev });
            }
        }
        Self(events)
    }

    fn matching(&self, watch: &Watch) -> Vec<&Happened> {
        let from = self.0.partition_point(|event| event.kv.mod_revision < watch.start.0);
        self.0[from..].iter().filter(|event| watch.wants(event)).collect()
    }
}

/// What a response was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Created,
    Events(Vec<Happened>),
    Progress,
    Canceled { code: Option<ErrorCode>, compact_revision: i64 },
}

/// One response, and what the store said when it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub kind: Kind,
    pub revision: i64,
    pub resume_revision: i64,
    pub fragment: bool,
    pub readable_revision: i64,
    pub compact_revision: i64,
}

impl Given {
    /// Copies a response that has just arrived.
    pub fn of(response: &Response, store: &Store) -> Self {
        let kind = if response.is_created() {
            Kind::Created
        } else if response.is_canceled() {
            let (code, compact_revision) = (response.cancel_code(), response.compact_revision());
            Kind::Canceled { code, compact_revision }
        } else if response.is_progress() {
            Kind::Progress
        } else {
            Kind::Events(response.events().map(|event| happened(&event)).collect())
        };
        Self {
            kind,
            revision: response.revision(),
            resume_revision: response.resume_revision(),
            fragment: response.is_fragment(),
            readable_revision: store.revision(),
            compact_revision: store.compact_revision(),
        }
    }
}

fn happened(event: &Event<'_>) -> Happened {
    let put = event.event_type == EventType::Put;
    Happened { put, kv: pair(&event.kv), prev: event.prev_kv.as_ref().map(pair) }
}

fn pair(kv: &KeyValue<'_>) -> Pair {
    Pair {
        key: kv.key.to_vec(),
        value: kv.value.to_vec(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: kv.lease,
    }
}

/// A watch: what it asked for and everything it was given.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    pub key: Vec<u8>,
    pub range_end: Vec<u8>,
    /// The start is between these two; they differ for a watch "from now on" while others write.
    pub start: (i64, i64),
    pub prev_kv: bool,
    pub filter_noput: bool,
    pub filter_nodelete: bool,
    pub created_notify: bool,
    /// Everything up to here must have been given, unless the watch was canceled before.
    pub reaches: i64,
    pub given: Vec<Given>,
}

impl Watch {
    fn wants(&self, event: &Happened) -> bool {
        let filtered = if event.put { self.filter_noput } else { self.filter_nodelete };
        !filtered && KeyRange::new(&self.key, &self.range_end).contains(&event.kv.key)
    }
}

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    Ordered,
    Unique,
    Atomic,
    Reliable,
    Resumable,
    Bookmarkable,
    Filter,
    IsCreate,
    PrevKv,
    /// Key, value, version, lease and revisions are those written.
    Content,
    /// The header is not older than the events.
    Header,
    /// What arrives can be read.
    Readable,
    /// One created response at the beginning if it was asked for, else none.
    Created,
    /// One final response at the end.
    Final,
}

/// A rule that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub Rule, pub String);

fn hold(rule: Rule, holds: bool, how: impl FnOnce() -> String) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken(rule, how())) }
}

/// Judges one watch. Answers the number of events that were right.
pub fn check(log: &Log, watch: &Watch) -> Result<u64, Broken> {
    let mut judge = Judge::new(watch, log.matching(watch));
    for (number, given) in watch.given.iter().enumerate() {
        judge
            .take(number, given)
            .map_err(|Broken(rule, how)| Broken(rule, format!("response {number}: {how}")))?;
    }
    judge.end()?;
    Ok(judge.count)
}

struct Judge<'a> {
    watch: &'a Watch,
    expected: Vec<&'a Happened>,
    /// Index of the next expected event, once the first one told where the watch begins.
    next: usize,
    count: u64,
    last_revision: i64,
    resume: i64,
    progress: i64,
    in_fragments: bool,
    last: Option<&'a Given>,
}

impl<'a> Judge<'a> {
    fn new(watch: &'a Watch, expected: Vec<&'a Happened>) -> Self {
        let mut judge = Self {
            watch,
            expected,
            next: 0,
            count: 0,
            last_revision: 0,
            resume: watch.start.0,
            progress: 0,
            in_fragments: false,
            last: None,
        };
        judge.begin_at(judge.true_start());
        judge
    }

    /// Where the watch began: as its created response says, else no later than its first event.
    fn true_start(&self) -> i64 {
        let (low, high) = self.watch.start;
        let said = self.watch.given.iter().find_map(|given| match &given.kind {
            Kind::Created => Some(given.resume_revision),
            Kind::Events(events) => events.first().map(|event| event.kv.mod_revision),
            Kind::Progress | Kind::Canceled { .. } => Some(given.resume_revision),
        });
        said.map_or(high, |said| said.clamp(low, high))
    }

    fn begin_at(&mut self, start: i64) {
        self.next = self.expected.partition_point(|event| event.kv.mod_revision < start);
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
        let first = number == 0;
        match &given.kind {
            Kind::Created => self.created(first, given)?,
            _ if first && self.watch.created_notify => {
                return Err(Broken(Rule::Created, "the first response is no created response".into()));
            }
            Kind::Events(events) => self.events(given, events)?,
            Kind::Progress => self.progress(given)?,
            Kind::Canceled { code, compact_revision } => self.canceled(given, *code, *compact_revision)?,
        }
        if !given.fragment {
            let resume = given.resume_revision;
            hold(Rule::Resumable, resume >= self.resume, || {
                format!("resume_revision {resume} after {}", self.resume)
            })?;
            self.resume = resume;
        }
        self.in_fragments = given.fragment;
        self.last = Some(given);
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
        hold(Rule::Atomic, self.in_fragments || first != self.last_revision, || {
            format!("revision {first} is split")
        })?;
        let sorted = events.is_sorted_by_key(|event| event.kv.mod_revision);
        hold(Rule::Ordered, sorted, || "revisions go down inside the response".into())?;
        for event in events {
            self.event(given, event)?;
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

    fn event(&mut self, given: &Given, event: &Happened) -> Result<(), Broken> {
        let (watch, kv) = (self.watch, &event.kv);
        let name = || format!("{} {}", kv.mod_revision, kv.key.escape_ascii());
        hold(Rule::Filter, watch.wants(event), || format!("{} was not asked for", name()))?;
        let same = |known: &&&Happened| known.kv.mod_revision == kv.mod_revision && known.kv.key == kv.key;
        let from =
            self.expected[..self.next].partition_point(|known| known.kv.mod_revision < kv.mod_revision);
        let again = self.count > 0 && self.expected[from..self.next].iter().any(|known| same(&known));
        hold(Rule::Unique, !again, || format!("{} comes again", name()))?;
        hold(Rule::Ordered, kv.mod_revision >= self.last_revision, || {
            format!("{} comes after {}", name(), self.last_revision)
        })?;
        hold(Rule::Bookmarkable, kv.mod_revision > self.progress, || {
            format!("{} comes after progress {}", name(), self.progress)
        })?;
        let Some(known) = self.expected.get(self.next).filter(same) else {
            let missing = self.expected.get(self.next).map(|known| (known.kv.mod_revision, &known.kv.key));
            return Err(Broken(Rule::Reliable, format!("{} where {missing:?} is next", name())));
        };
        hold(Rule::Readable, given.readable_revision >= kv.mod_revision, || {
            format!("{} is not readable", name())
        })?;
        let creates = |event: &Happened| event.put && event.kv.create_revision == event.kv.mod_revision;
        hold(Rule::IsCreate, creates(event) == creates(known), || {
            format!("is_create of {} is wrong", name())
        })?;
        hold(Rule::Content, event.put == known.put && *kv == known.kv, || {
            format!("{kv:?} where {:?} was written", known.kv)
        })?;
        let excused = event.prev.is_none() && kv.mod_revision <= given.compact_revision;
        let right = event.prev == if watch.prev_kv { known.prev.clone() } else { None };
        hold(Rule::PrevKv, right || excused, || {
            format!("{} had {:?}, it says {:?}", name(), known.prev, event.prev)
        })?;
        self.last_revision = kv.mod_revision;
        self.next += 1;
        self.count += 1;
        Ok(())
    }

    /// Everything below the resume revision was given and nothing from there on.
    fn resumes_exactly(&self, given: &Given) -> Result<(), Broken> {
        let resume = given.resume_revision;
        hold(Rule::Resumable, resume > self.last_revision && resume <= self.next_revision(), || {
            format!("resume_revision {resume} is not after {} and up to the next", self.last_revision)
        })
    }

    fn progress(&mut self, given: &Given) -> Result<(), Broken> {
        let revision = given.revision;
        hold(Rule::Bookmarkable, revision >= self.progress.max(self.last_revision), || {
            format!("progress {revision} after progress {} and {}", self.progress, self.last_revision)
        })?;
        hold(Rule::Bookmarkable, self.next_revision() > revision, || {
            format!("progress {revision}, but {} is missing", self.next_revision())
        })?;
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
