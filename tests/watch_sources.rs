//! Events are the same wherever a watch gets them from: live, along the chain of a key, from a scan of the
//! log, or from what compaction and reopening left; and a watch may change its source at any moment without
//! a seam.

mod common;

use common::*;
use libwatch::{
    CreateRequest, DeleteRangeRequest, Op, PutRequest, Store, StreamOptions, TxnRequest, prefix_end,
};

/// One event as the model knows it.
#[derive(Clone)]
struct Told {
    revision: i64,
    key: Vec<u8>,
    put: bool,
    line: String,
    line_with_prev: String,
}

/// Random transactions over keys with shared prefixes, and the events they must give.
struct Program {
    random: Random,
    state: std::collections::BTreeMap<Vec<u8>, (String, i64)>,
    events: Vec<Told>,
}

impl Program {
    fn new(seed: u64) -> Self {
        Self { random: Random::new(seed), state: Default::default(), events: Vec::new() }
    }

    fn key(&mut self) -> Vec<u8> {
        let (group, item) = (self.random.below(4), self.random.below(12));
        format!("g{group}/{item:02}").into_bytes()
    }

    /// One transaction of up to four changes.
    fn step(&mut self, store: &Store) {
        let mut ops: Vec<(Vec<u8>, Option<String>)> = Vec::new();
        for _ in 0..1 + self.random.below(4) {
            let key = self.key();
            let value = (self.random.below(3) > 0).then(|| "v".repeat(self.random.below(90) as usize));
            if ops.iter().all(|op| op.0 != key) {
                ops.push((key, value));
            }
        }
        let success = ops.iter().map(|(key, value)| match value {
            Some(value) => Op::Put(PutRequest { key, value: value.as_bytes(), ..Default::default() }),
            None => Op::DeleteRange(DeleteRangeRequest { key, ..Default::default() }),
        });
        let request = TxnRequest { success: success.collect(), ..Default::default() };
        let revision = store.txn(&request).unwrap().revision();
        for (key, value) in ops {
            let before = self.state.remove(&key);
            let mut line = match &value {
                Some(value) => format!("{revision} put {}={value}", text(&key)),
                None if before.is_some() => format!("{revision} delete {}", text(&key)),
                None => continue,
            };
            let line_alone = line.clone();
            if let Some((value, modified)) = before {
                line += &format!(" [{value}@{modified}]");
            }
            let put = value.is_some();
            value.map(|value| self.state.insert(key.clone(), (value, revision)));
            self.events.push(Told { revision, key, put, line: line_alone, line_with_prev: line });
        }
    }

    /// What a watch must be told from a start on, when `compacted` was the last compaction.
    fn expect(&self, asked: &Asked, compacted: i64) -> Vec<String> {
        let range = libwatch::KeyRange::new(&asked.key, &asked.range_end);
        let wanted = self.events.iter().filter(|event| {
            event.revision >= asked.start
                && range.contains(&event.key)
                && (if event.put { !asked.noput } else { !asked.nodelete })
        });
        let line = |event: &Told| {
            let with_prev = asked.prev && event.revision > compacted;
            if with_prev { event.line_with_prev.clone() } else { event.line.clone() }
        };
        wanted.map(line).collect()
    }

    /// A watch on a key, a prefix, a range, from a key on, or on everything.
    fn ask(&mut self, start: i64) -> Asked {
        let (mut key, mut range_end) = (self.key(), Vec::new());
        match self.random.below(6) {
            0 => {
                key.truncate(3);
                range_end = prefix_end(&key);
            }
            1 => {
                range_end = self.key();
                if key > range_end {
                    std::mem::swap(&mut key, &mut range_end);
                } else if key == range_end {
                    range_end.push(0);
                }
            }
            2 => range_end = vec![0],
            3 => (key, range_end) = (vec![0], vec![0]),
            _ => {}
        }
        let (noput, nodelete) = (self.random.below(6) == 0, self.random.below(6) == 0);
        Asked { key, range_end, start, noput, nodelete, prev: self.random.below(2) == 0 }
    }
}

struct Asked {
    key: Vec<u8>,
    range_end: Vec<u8>,
    start: i64,
    noput: bool,
    nodelete: bool,
    prev: bool,
}

impl Asked {
    fn request(&self) -> CreateRequest<'_> {
        CreateRequest {
            prev_kv: self.prev,
            filter_noput: self.noput,
            filter_nodelete: self.nodelete,
            ..watch((&self.key, &self.range_end), self.start)
        }
    }
}

/// Creates `count` watches at starts from `low` to `high` on one stream and checks what each is told.
fn check_history(program: &mut Program, store: &Store, count: usize, low: i64, high: i64, compacted: i64) {
    let stream = stream(store);
    let asked: Vec<Asked> = (0..count)
        .map(|_| {
            let start = low + program.random.below((high - low + 1) as u64) as i64;
            program.ask(start)
        })
        .collect();
    let ids: Vec<i64> = asked.iter().map(|asked| stream.create(&asked.request()).unwrap()).collect();
    let responses = settle(&stream);
    for (asked, id) in asked.iter().zip(ids) {
        let expected = program.expect(asked, compacted);
        assert_eq!(lines_of(&responses, id), expected, "{} from {}", text(&asked.key), asked.start);
    }
}

#[test]
fn live_watches_of_every_kind_are_told_what_the_model_says() {
    // etcd 17 Ordered, Unique, Reliable, Filter, PrevKV
    watched(|| {
        for seed in 1..=4 {
            let store = memory();
            let mut program = Program::new(seed);
            let stream = stream(&store);
            let mut asked: Vec<(i64, Asked)> = Vec::new();
            let mut responses = Vec::new();
            for round in 0..60 {
                for _ in 0..5 {
                    // Now, or somewhat in the future.
                    let start = store.revision() + 1 + program.random.below(20) as i64 * (round % 2);
                    let ask = program.ask(start);
                    asked.push((stream.create(&ask.request()).unwrap(), ask));
                }
                (0..10).for_each(|_| program.step(&store));
                if round % 7 == 0 {
                    responses.extend(settle(&stream));
                }
            }
            responses.extend(settle(&stream));
            for (id, ask) in asked {
                assert_eq!(lines_of(&responses, id), program.expect(&ask, -1), "seed {seed} watch {id}");
            }
        }
    });
}

#[test]
fn history_is_the_same_from_chains_scans_the_base_and_after_reopening() {
    // etcd 17 Reliable, 10.4, 11.1
    watched(|| {
        for seed in 1..=3 {
            let folder = folder();
            let mut store = Store::open(folder.path(), &tiny()).unwrap();
            let mut program = Program::new(seed);
            (0..3000).for_each(|_| program.step(&store));
            let end = store.revision();
            for count in [1, 5, 60] {
                check_history(&mut program, &store, count, 1, end, -1);
            }
            store.compact(end / 2, true).unwrap();
            check_history(&mut program, &store, 60, end / 2, end, end / 2);
            store.close().unwrap();
            store = Store::open(folder.path(), &tiny()).unwrap();
            check_history(&mut program, &store, 1, end / 2, end, end / 2);
            check_history(&mut program, &store, 60, end / 2, end, end / 2);
            (0..500).for_each(|_| program.step(&store));
            store.compact(end, true).unwrap();
            check_history(&mut program, &store, 60, end, store.revision(), end);
        }
    });
}

/// etcd 8.10
#[test]
fn a_key_with_ten_thousand_versions_is_replayed_in_order() {
    // More than one slice along the chain.
    watched(|| {
        let store = memory();
        for i in 0..10_000 {
            put(&store, "hot", i.to_string());
            put(&store, format!("other-{}", i % 50), "x");
        }
        for start in [1, 9_999] {
            let stream = stream(&store);
            stream.create(&watch((b"hot", b""), start)).unwrap();
            let told: Vec<String> = settle(&stream).iter().flat_map(lines).collect();
            let expected = (0..10_000).map(|i| (2 * i + 2, i)).filter(|(revision, _)| *revision >= start);
            let expected: Vec<String> =
                expected.map(|(revision, i)| format!("{revision} put hot={i}")).collect();
            assert_eq!(told, expected);
        }
    });
}

/// etcd 8.2, 17 Unique
#[test]
fn watches_join_from_any_revision_while_others_write() {
    // etcd 3.1, 8.13, 15.3
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        const LAST: i64 = 6001;
        let writer = {
            let store = store.clone();
            std::thread::spawn(move || (2..=LAST).for_each(|i| _ = put(&store, "k", i.to_string())))
        };
        let consumers: Vec<_> = (0..3)
            .map(|seed| {
                let store = store.clone();
                std::thread::spawn(move || join_again_and_again(&store, seed + 1, LAST))
            })
            .collect();
        consumers.into_iter().for_each(|consumer| consumer.join().unwrap());
        writer.join().unwrap();
    });
}

/// Creates a watch, reads a little, leaves, and resumes where it was told to.
fn join_again_and_again(store: &Store, seed: u64, last: i64) {
    let mut random = Random::new(seed);
    let mut next = 2;
    while next <= last {
        let batch_revisions = 1 + random.below(500) as u32;
        let stream = store.stream(&StreamOptions { batch_revisions, batch_bytes: 0 }).unwrap();
        stream.create(&watch((b"k", b""), next)).unwrap();
        for _ in 0..1 + random.below(8) {
            if next > last {
                return;
            }
            let response = take(&stream);
            for event in response.events() {
                assert_eq!((event.kv.mod_revision, text(event.kv.value)), (next, next.to_string()));
                next += 1;
            }
            assert_eq!(response.resume_revision(), next);
        }
    }
}

#[test]
fn resuming_continues_exactly_also_across_reopening() {
    // etcd 17 Resumable
    watched(|| {
        let folder = folder();
        let mut store = Store::open(folder.path(), &tiny()).unwrap();
        let mut program = Program::new(9);
        let ask = Asked {
            key: b"g1".to_vec(),
            range_end: b"g3".to_vec(),
            start: 1,
            noput: false,
            nodelete: false,
            prev: true,
        };
        let mut next = 1;
        let mut told = Vec::new();
        for round in 0..20 {
            (0..100).for_each(|_| program.step(&store));
            let options = StreamOptions { batch_revisions: 13, batch_bytes: 0 };
            let stream = store.stream(&options).unwrap();
            stream.create(&CreateRequest { start_revision: next, ..ask.request() }).unwrap();
            for _ in 0..program.random.below(6) {
                let response = take(&stream);
                told.extend(lines(&response));
                next = response.resume_revision();
                if next > store.revision() {
                    break;
                }
            }
            if round % 3 == 0 {
                store.close().unwrap();
                store = Store::open(folder.path(), &tiny()).unwrap();
            }
        }
        let stream = stream(&store);
        stream.create(&CreateRequest { start_revision: next, ..ask.request() }).unwrap();
        told.extend(settle(&stream).iter().flat_map(lines));
        assert_eq!(told, program.expect(&ask, -1));
    });
}

#[test]
fn many_streams_are_each_told_everything_live() {
    // etcd 8.9
    watched(|| {
        let store = memory();
        let consumers: Vec<_> = (0..8)
            .map(|i| {
                let stream = stream(&store);
                let key = format!("{}", i % 4);
                stream.create(&watch((key.as_bytes(), b""), 0)).unwrap();
                stream.create(&watch(ALL, 0)).unwrap();
                std::thread::spawn(move || {
                    let (mut own, mut all) = (0, 1);
                    while own < 500 || all < 2001 {
                        let response = take(&stream);
                        for event in response.events() {
                            match response.watch_id() {
                                1 => {
                                    assert_eq!(text(event.kv.key), key);
                                    own += 1;
                                    assert_eq!(event.kv.version, own);
                                }
                                _ => {
                                    all += 1;
                                    assert_eq!(event.kv.mod_revision, all);
                                }
                            }
                        }
                    }
                })
            })
            .collect();
        for i in 0..2000 {
            put(&store, format!("{}", i % 4), "x");
        }
        consumers.into_iter().for_each(|consumer| consumer.join().unwrap());
    });
}
