//! What the watches of one side have seen: one flat list of events for each, and how it ended. How events are
//! grouped into responses is nobody's promise and is not kept.

use std::collections::HashMap;

use libwatch_model::answer::Event;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Somebody asked for it.
    Canceled,
    /// By a compaction, at this revision.
    Compacted(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    pub stream: usize,
    pub id: i64,
    pub events: Vec<Event>,
    pub end: Option<End>,
}

/// All watches of a program in the order of their creation; an id can be used again after its end.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub watches: Vec<Watch>,
    live: HashMap<(usize, i64), usize>,
}

impl Seen {
    pub fn created(&mut self, stream: usize, id: i64) {
        self.live.insert((stream, id), self.watches.len());
        self.watches.push(Watch { stream, id, events: Vec::new(), end: None });
    }

    /// Whether a watch of this id lives.
    pub fn knows(&self, stream: usize, id: i64) -> bool {
        self.live.contains_key(&(stream, id))
    }

    /// Events of a watch; `false`: nothing with this id lives.
    pub fn events(&mut self, stream: usize, id: i64, events: impl IntoIterator<Item = Event>) -> bool {
        let Some(watch) = self.live.get(&(stream, id)) else { return false };
        self.watches[*watch].events.extend(events);
        true
    }

    /// The end of a watch; `false`: nothing with this id lives.
    pub fn ended(&mut self, stream: usize, id: i64, end: End) -> bool {
        let Some(watch) = self.live.remove(&(stream, id)) else { return false };
        self.watches[watch].end = Some(end);
        true
    }

    /// The first watch that has not yet seen what the other side saw.
    pub fn behind<'a>(&self, other: &'a Seen) -> Option<&'a Watch> {
        let pairs = self.watches.iter().zip(&other.watches);
        let mut late = pairs.filter(|(own, other)| {
            own.events.len() < other.events.len() || own.end.is_none() && other.end.is_some()
        });
        late.next().map(|(_, other)| other)
    }
}
