//! Slow consumers: the log is the buffer. Whatever piles up, nothing is lost, repeated or split, and others
//! go on.

mod common;

use std::sync::mpsc::channel;
use std::time::Duration;

use common::*;
use libwatch::{Answer, CreateRequest, Op, PutRequest, Response, Store, StreamOptions, TxnRequest, limits};

/// More matches than the ring of a stream holds.
const MANY: i64 = 3 * limits::RING_ENTRIES_MAX as i64;

/// Checks that a response goes on where the last one of its watch ended, and moves the mark.
fn go_on(next: &mut i64, response: &Response) {
    for event in response.events() {
        assert_eq!(event.kv.mod_revision, *next, "a gap or a repetition");
        *next += 1;
    }
    assert_eq!(response.resume_revision(), *next);
}

/// etcd 8.3, 8.8
#[test]
fn a_consumer_that_sleeps_longer_than_the_ring_gets_everything_once() {
    // etcd 8.8, 17 Unique and Reliable
    watched(|| {
        let folder = folder();
        for store in [memory(), Store::open(folder.path(), &tiny()).unwrap()] {
            let stream = stream(&store);
            stream.create(&watch(ALL, 0)).unwrap();
            for burst in 1..=3 {
                let last = 1 + burst * MANY;
                let mut next = store.revision() + 1;
                (next..=last).for_each(|_| _ = put(&store, "a", "x"));
                while next <= last {
                    go_on(&mut next, &take(&stream));
                }
            }
            put(&store, "a", "live");
            assert_eq!(take_lines(&stream, 1), [format!("{} put a=live", 2 + 3 * MANY)]);
        }
    });
}

/// etcd 8.12
#[test]
fn a_full_ring_never_splits_a_revision() {
    // etcd 8.12; three entries for each revision do not divide the ring
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let narrow = stream.create(&watch((b"b", b""), 0)).unwrap();
        stream.create(&watch(ALL, 0)).unwrap();
        let op_put = |key: &'static [u8]| Op::Put(PutRequest { key, ..Default::default() });
        for _ in 0..limits::RING_ENTRIES_MAX {
            let success = vec![op_put(b"a"), op_put(b"b"), op_put(b"c")];
            store.txn(&TxnRequest { success, ..Default::default() }).unwrap();
        }
        let (mut next, mut next_narrow) = (2, 2);
        for response in settle(&stream) {
            if response.watch_id() == narrow {
                go_on(&mut next_narrow, &response);
                continue;
            }
            let revisions: Vec<i64> = response.events().map(|event| event.kv.mod_revision).collect();
            for whole in revisions.chunks(3) {
                assert_eq!(whole, [next; 3]);
                next += 1;
            }
        }
        assert_eq!([next, next_narrow], [2 + limits::RING_ENTRIES_MAX as i64; 2]);
    });
}

/// etcd 8.12
#[test]
fn one_revision_may_be_larger_than_the_ring() {
    // etcd 8.12
    watched(|| {
        let store = memory_with(|options| options.txn_ops_max = limits::TXN_OPS_MAX);
        let stream = stream(&store);
        stream.create(&watch(ALL, 0)).unwrap();
        put(&store, "before", "x");
        let keys: Vec<String> = (0..limits::RING_ENTRIES_MAX * 2).map(|i| format!("{i:06}")).collect();
        let op =
            |key: &String| Op::Put(PutRequest { key: key.as_bytes().to_vec().leak(), ..Default::default() });
        store.txn(&TxnRequest { success: keys.iter().map(op).collect(), ..Default::default() }).unwrap();
        put(&store, "after", "x");
        let responses = settle(&stream);
        let whole = responses.iter().find(|response| response.len() > keys.len() / 2).unwrap();
        let own = whole.events().filter(|event| event.kv.mod_revision == 3);
        assert_eq!(own.map(|event| text(event.kv.key)).collect::<Vec<_>>(), keys);
        let total: usize = responses.iter().map(|response| response.len()).sum();
        assert_eq!(total, keys.len() + 2);
    });
}

#[test]
fn many_watches_of_one_slow_stream_share_the_ring_and_lose_nothing() {
    watched(|| {
        let store = memory();
        let stream = store.stream(&StreamOptions { batch_revisions: 50, batch_bytes: 0 }).unwrap();
        for i in 0..30 {
            let key = format!("{}", i % 10);
            stream.create(&watch((key.as_bytes(), b""), 0)).unwrap();
        }
        let mut versions = [0; 31];
        let mut random = Random::new(3);
        for round in 0..6 {
            for i in 0..3000 {
                put(&store, format!("{}", i % 10), "x");
            }
            for _ in 0..random.below(40) * (round % 2) {
                count(&mut versions, &take(&stream));
            }
        }
        settle(&stream).iter().for_each(|response| count(&mut versions, response));
        assert_eq!(versions[1..], [1800; 30]);
    });
}

/// Versions of one key count up without a gap.
fn count(versions: &mut [i64], response: &Response) {
    let version = &mut versions[response.watch_id() as usize];
    for event in response.events() {
        *version += 1;
        assert_eq!(event.kv.version, *version, "watch {}", response.watch_id());
    }
}

/// etcd 8.9
#[test]
fn a_watch_a_little_behind_does_not_wait_for_one_that_is_far_behind() {
    watched(|| {
        let store = memory();
        for i in 0..60_000 {
            put(&store, format!("{:03}", i % 500), "");
        }
        let stream = stream(&store);
        let far = stream.create(&watch(ALL, 1)).unwrap();
        take(&stream);
        let near = stream.create(&watch(ALL, 60_000)).unwrap();
        for _ in 0..10 {
            let response = take(&stream);
            if response.watch_id() == near {
                assert_eq!(lines(&response), ["60000 put 498=", "60001 put 499="]);
                return;
            }
            assert_eq!(response.watch_id(), far);
        }
        panic!("ten responses of one watch while another waited");
    });
}

#[test]
fn a_stopped_consumer_does_not_hold_up_writers_or_other_streams() {
    // etcd 8.3
    watched(|| {
        let store = memory();
        let stopped = stream(&store);
        stopped.create(&watch(ALL, 0)).unwrap();
        let quick = stream(&store);
        quick.create(&watch(ALL, 0)).unwrap();
        let mut next = 2;
        while next < 2 + MANY {
            put(&store, "a", "x");
            go_on(&mut next, &take(&quick));
        }
        let mut late = 2;
        while late < 2 + MANY {
            go_on(&mut late, &take(&stopped));
        }
    });
}

#[test]
fn a_callback_that_blocks_longer_than_the_ring_gets_everything_once() {
    watched(|| {
        let store = memory();
        let ((sender, received), (enter, entered), (go, gate)) = (channel(), channel(), channel::<()>());
        let mut blocked = true;
        let callback = Box::new(move |response: &Response| {
            if blocked {
                enter.send(()).unwrap();
                gate.recv().unwrap();
                blocked = false;
            }
            sender.send(response.clone()).unwrap();
            Answer::Taken
        });
        let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
        stream.create(&watch(ALL, 0)).unwrap();
        let other = common::stream(&store);
        other.create(&watch(ALL, 0)).unwrap();
        put(&store, "a", "x");
        entered.recv().unwrap();
        (1..MANY).for_each(|_| _ = put(&store, "a", "x"));
        assert_eq!(take_lines(&other, MANY as usize).len() as i64, MANY, "another stream goes on");
        go.send(()).unwrap();
        let mut next = 2;
        while next < 2 + MANY {
            go_on(&mut next, &received.recv().unwrap());
        }
    });
}

#[test]
fn a_callback_that_says_not_now_at_random_gets_everything_once() {
    // etcd 8.6 to 8.8
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let (sender, received) = channel();
        let mut random = Random::new(5);
        let callback = Box::new(move |response: &Response| {
            if !response.is_empty() && random.below(3) == 0 {
                return Answer::Again;
            }
            sender.send(response.clone()).unwrap();
            Answer::Taken
        });
        let options = StreamOptions { batch_revisions: 100, batch_bytes: 0 };
        let stream = store.stream_with_callback(&options, callback).unwrap();
        for i in 0..10 {
            let fragment = i % 2 == 0;
            stream
                .create(&CreateRequest { fragment, ..watch((format!("{i}").as_bytes(), b""), i % 3) })
                .unwrap();
        }
        (0..10 * 2000).for_each(|i| _ = put(&store, format!("{}", i % 10), "x"));
        let mut versions = [0; 11];
        while versions[1..] != [2000; 10] {
            count(&mut versions, &received.recv().unwrap());
        }
        // Counted after the callback returned.
        until(|| store.stats().unwrap().event_delivered_total >= 20_000);
        assert_eq!(store.stats().unwrap().event_delivered_total, 20_000);
    });
}

#[test]
fn a_batch_takes_what_is_ready_up_to_its_size() {
    watched(|| {
        let store = memory();
        let stream = store.stream(&StreamOptions { batch_revisions: 1, batch_bytes: 0 }).unwrap();
        stream.create(&watch(ALL, 0)).unwrap();
        (0..10).for_each(|_| _ = put(&store, "a", "x"));
        let sizes: Vec<usize> = [3, 3, 100].map(|max| stream.next_batch(max, None).unwrap().len()).to_vec();
        assert_eq!(sizes, [3, 3, 4]);
        assert!(stream.next_batch(3, Some(Duration::ZERO)).unwrap().is_empty());
        assert!(stream.next(Some(Duration::from_millis(20))).unwrap().is_none());
    });
}

/// S 19.4
#[test]
fn a_consumer_waits_at_least_its_timeout_and_is_woken_by_a_put() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch(ALL, 0)).unwrap();
        let begin = std::time::Instant::now();
        assert!(stream.next(Some(Duration::from_millis(30))).unwrap().is_none());
        assert!(begin.elapsed() >= Duration::from_millis(30));
        for timeout in [None, Some(Duration::from_secs(3600)), Some(Duration::MAX)] {
            let consumer = {
                let stream = stream.clone();
                std::thread::spawn(move || stream.next_batch(5, timeout).unwrap().len())
            };
            put(&store, "a", "x");
            assert_eq!(consumer.join().unwrap(), 1);
        }
    });
}
