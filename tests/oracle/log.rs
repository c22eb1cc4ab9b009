//! The true log: every event that the writes made, found for a watch at the cost of what it matches.

use std::collections::{BTreeMap, HashMap};

use libwatch::KeyRange;

use super::{Change, Happened, Kind, Pair, Watch};

/// Every event there was, in order.
pub struct Log {
    pub(super) events: Vec<Happened>,
    /// Where the events of each key are.
    by_key: BTreeMap<Vec<u8>, Vec<u32>>,
    /// The revisions of the compactions, where they are known.
    pub(super) compactions: Option<Vec<i64>>,
}

impl Log {
    /// Runs the writes of a store that began empty, in the order of their revisions.
    pub fn new(writes: &BTreeMap<i64, Vec<Change>>) -> Self {
        let mut alive: HashMap<&[u8], Pair> = HashMap::new();
        let mut events = Vec::new();
        let mut by_key: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
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
                match by_key.get_mut(&change.key) {
                    Some(known) => known.push(events.len() as u32),
                    None => drop(by_key.insert(change.key.clone(), vec![events.len() as u32])),
                }
                events.push(Happened { put: change.put, kv, prev });
            }
        }
        Self { events, by_key, compactions: None }
    }

    /// Says which compactions there were, so that a watch can only be told of one of them.
    pub fn with_compactions(self, revisions: &[i64]) -> Self {
        Self { compactions: Some(revisions.to_vec()), ..self }
    }

    /// What the watch was to be given, up to where anything depends on it. Looked up by key, or by reading the
    /// log where that is shorter.
    pub(super) fn matching(&self, watch: &Watch) -> Vec<&Happened> {
        let upto = horizon(watch);
        let begin = self.events.partition_point(|event| event.kv.mod_revision < watch.start.0);
        let end = self.events.partition_point(|event| event.kv.mod_revision <= upto).max(begin);
        let range = KeyRange::new(&watch.key, &watch.range_end);
        let part = |places: &[u32]| {
            let low = places.partition_point(|place| (*place as usize) < begin);
            let high = places.partition_point(|place| (*place as usize) < end);
            low..high
        };
        let mut places: Vec<u32> = Vec::new();
        let mut runs = 0;
        for (key, of_key) in self.by_key.range(watch.key.clone()..) {
            if !range.contains(key) {
                break;
            }
            runs += 1;
            places.extend(&of_key[part(of_key)]);
            if (places.len() + runs) * 16 > end - begin {
                return self.events[begin..end].iter().filter(|event| watch.wants(event)).collect();
            }
        }
        if runs > 1 {
            places.sort_unstable();
        }
        let events = places.iter().map(|place| &self.events[*place as usize]);
        events.filter(|event| watch.wants(event)).collect()
    }
}

/// No response of the watch says anything about revisions above the answer.
fn horizon(watch: &Watch) -> i64 {
    let said = watch.given.iter().map(|given| {
        let event = match &given.kind {
            Kind::Events(events) => events.iter().map(|event| event.kv.mod_revision).max(),
            _ => None,
        };
        given.resume_revision.max(given.revision).max(event.unwrap_or(0))
    });
    said.max().unwrap_or(0).max(watch.reaches).max(watch.start.1)
}
