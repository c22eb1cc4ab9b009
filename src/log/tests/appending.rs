//! Appending, reading back, rolling, following, closing.

use super::*;

#[test]
fn what_was_appended_is_read_back_live_and_after_reopening() {
    for (way, dir, durability, _temp) in all_ways() {
        let mut store = open(&dir, durability);
        assert_eq!((store.report.last_revision, store.report.compact_revision), (1, -1), "{way}");
        let seed = store.report.hash_seed;
        let mut expected = Vec::new();
        let mut positions = Vec::new();
        for revision in 2..1500 {
            let keys: Vec<String> = (0..revision % 4 + 1).map(|i| format!("k{i}-{revision}")).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let size = (revision % 300) as usize;
            positions.push(store.put(&keys, size)[0]);
            expected
                .push((revision, keys.iter().map(|key| (key.as_bytes().to_vec(), size)).collect::<Vec<_>>()));
            if revision % 97 == 0 {
                store.flush();
            }
        }
        let table = store.log.table();
        assert!(table.segments().len() > 3, "{way}");
        for (revision, at) in (2..).zip(&positions) {
            assert_eq!(table.change(*at).unwrap().mod_revision(), revision, "{way}");
        }
        assert_eq!(store.revisions(1), (2..1500).collect::<Vec<_>>(), "{way}");
        assert_eq!(store.revisions(777), (777..1500).collect::<Vec<_>>(), "{way}");
        store.flush();
        assert_eq!(store.log.durable(), store.appender.end(), "{way}");
        assert!(store.appender.flush_job().is_empty(), "{way}");
        store.appender.close().unwrap();
        let mut store = open(&dir, durability);
        assert!(store.report.clean, "{way}");
        assert_eq!((store.report.last_revision, store.report.hash_seed), (1499, seed), "{way}");
        assert_eq!((store.report.torn_bytes, store.report.jumps.len()), (0, 0), "{way}");
        assert_eq!(store.seen.records, expected, "{way}");
        let at = store.put(&["more"], 5)[0];
        assert_eq!(store.log.table().change(at).unwrap().mod_revision(), 1500, "{way}");
    }
}

#[test]
fn flushed_segments_give_their_images_up() {
    let (_temp, dir) = real();
    let mut store = open(&dir, Durability::Commit);
    store.put_until(1000, 200);
    let images = store.log.table();
    store.flush();
    let mapped = store.log.table();
    let last = images.segments().len() - 1;
    assert!(last > 2 && mapped.segments().len() == last + 1);
    for (i, (old, new)) in images.segments().iter().zip(mapped.segments()).enumerate() {
        assert_eq!(Arc::ptr_eq(old, new), i == last);
        assert_eq!(old.bytes(4096, old.end() - 4096), new.bytes(4096, new.end() - 4096));
    }
}

#[test]
fn a_store_that_was_not_closed_goes_on_where_it_was() {
    for (way, dir, durability, _temp) in all_ways() {
        let mut last = 1;
        for round in 0..4 {
            let mut store = open(&dir, durability);
            assert_eq!(store.report.last_revision, last, "{way} {round}");
            assert!(!store.report.clean, "{way} {round}");
            last += 400;
            store.put_until(last, 100);
            if durability == Durability::Commit {
                store.flush();
            }
        }
    }
}

#[test]
fn commits_that_were_not_flushed_are_lost_with_the_process_and_nothing_else() {
    let (_temp, dir) = real();
    let mut store = open(&dir, Durability::Commit);
    store.put_until(300, 200);
    store.flush();
    store.put_until(700, 200);
    drop(store);
    let mut store = open(&dir, Durability::Commit);
    assert_eq!(store.report.last_revision, 300);
    store.put_until(301, 10);
    assert_eq!(store.revisions(299), [299, 300, 301]);
}

#[test]
fn a_record_larger_than_a_segment_gets_its_own() {
    for (way, dir, durability, _temp) in all_ways() {
        let mut store = open(&dir, durability);
        store.put(&["small"], 10);
        let big = store.put(&["big", "bigger"], 300_000);
        store.put(&["small again"], 10);
        store.put(&["half"], SEGMENT as usize - 200);
        let table = store.log.table();
        assert_eq!(table.change(big[1]).unwrap().value().len(), 300_000, "{way}");
        assert!(table.segment(big[0].seq()).unwrap().len() > 600_000, "{way}");
        assert_eq!(store.revisions(1), [2, 3, 4, 5], "{way}");
        store.appender.close().unwrap();
        let store = open(&dir, durability);
        assert_eq!(store.seen.records.len(), 4, "{way}");
    }
}

#[test]
fn a_cursor_follows_the_live_end_over_rolls() {
    for (way, dir, durability, _temp) in all_ways() {
        let mut store = open(&dir, durability);
        let mut cursor = Cursor::at_revision(store.log.table(), 5).unwrap();
        let mut next = 5;
        for revision in 2..1200 {
            store.put(&["a", "b"], 90);
            if revision % 50 == 0 {
                store.flush();
            }
            if revision % 7 == 0 {
                let limit = revision - 2;
                for _ in 0..2 {
                    while let Some(record) = cursor.next(limit) {
                        assert_eq!(record.revision(), next, "{way}");
                        assert_eq!(record.changes().count(), 2, "{way}");
                        next += 1;
                    }
                    cursor.retarget(store.log.table());
                }
                assert_eq!(next, (limit + 1).max(5), "{way}");
            }
        }
        assert!(store.log.table().segments().len() > 4, "{way}");
    }
}

#[test]
fn a_reader_on_another_thread_sees_only_complete_records() {
    let dir: Arc<dyn Dir> = MemDir::new();
    let mut store = open(&dir, Durability::None);
    let log = Arc::clone(&store.log);
    let last = 20_000;
    let reader = std::thread::spawn(move || {
        let begun = std::time::Instant::now();
        let mut cursor = Cursor::at_revision(log.table(), 2).unwrap();
        let mut next = 2;
        while next <= last {
            match cursor.next(i64::MAX) {
                Some(record) => {
                    assert_eq!(record.revision(), next);
                    let change = record.changes().next().unwrap();
                    assert!(change.value().iter().zip(0..).all(|(byte, i)| *byte == (i + next) as u8));
                    next += 1;
                }
                None => {
                    assert!(begun.elapsed().as_secs() < 60, "stuck at {next}");
                    cursor.retarget(log.table());
                    std::thread::yield_now();
                }
            }
        }
    });
    store.put_until(last, 64);
    reader.join().unwrap();
}

#[test]
fn refused_changes_leave_no_trace() {
    let dir: Arc<dyn Dir> = MemDir::new();
    let mut store = open(&dir, Durability::None);
    store.put(&["a"], 1);
    let end = store.appender.end();
    let long = vec![b'k'; crate::limits::KEY_BYTES_MAX + 1];
    let value = vec![0; crate::limits::VALUE_BYTES_MAX + 1];
    let mut positions = Vec::new();
    let mut code = |revision: i64, changes: &[NewChange<'_>]| {
        store.appender.append_txn(revision, changes, &mut positions).unwrap_err().code()
    };
    assert_eq!(code(3, &[put(&long, b"", 3)]), ErrorCode::Limit);
    assert_eq!(code(3, &[put(b"k", &value, 3)]), ErrorCode::Limit);
    assert_eq!(code(3, &[put(b"", b"", 3)]), ErrorCode::EmptyKey);
    assert_eq!(code(3, &[]), ErrorCode::InvalidArgument);
    assert_eq!(code(4, &[put(b"k", b"", 4)]), ErrorCode::InvalidArgument);
    assert_eq!(code(2, &[put(b"k", b"", 2)]), ErrorCode::InvalidArgument);
    let huge = vec![put(b"k", &value[1..], 3); 17];
    assert_eq!(code(3, &huge), ErrorCode::Limit);
    assert!(positions.is_empty());
    assert_eq!(store.appender.end(), end);
    let key = vec![b'k'; crate::limits::KEY_BYTES_MAX];
    store.appender.append_txn(3, &[put(&key, &value[1..], 3)], &mut positions).unwrap();
    let table = store.log.table();
    assert_eq!(table.change(positions[0]).unwrap().key(), key);
}

#[test]
fn pins_keep_bytes_when_table_log_and_directory_are_gone() {
    let (temp, dir) = real();
    let mut store = open(&dir, Durability::None);
    let mut pins = PinSet::default();
    let mut pinned = Vec::new();
    for revision in 2..1000 {
        let at = store.put(&["key"], 150)[0];
        if revision % 10 == 0 {
            pinned.push((revision, pins.pin(&store.log.table(), at).unwrap()));
        }
    }
    assert!(pins.pin(&store.log.table(), Position::NONE).is_none());
    assert!(pins.pin(&store.log.table(), Position::new(99, 4096)).is_none());
    assert!(pins.pin(&store.log.table(), Position::new(1, SEGMENT)).is_none());
    store.appender.close().unwrap();
    drop(store);
    drop(temp);
    for (revision, at) in pinned {
        assert_eq!(pins.change(at).mod_revision(), revision);
        assert_eq!(pins.change(at).value()[149], (149 + revision) as u8);
    }
    assert_eq!(std::mem::size_of::<Pinned>(), 8);
}

#[test]
fn no_position_whatsoever_reads_outside() {
    let dir: Arc<dyn Dir> = MemDir::new();
    let mut store = open(&dir, Durability::None);
    store.put_until(100, 77);
    let table = store.log.table();
    let end = table.segments()[0].end();
    for offset in (0..end + 64).step_by(8) {
        if let Some(change) = table.change(Position::new(1, offset)) {
            assert!(change.key().len() + change.value().len() < end as usize);
        }
    }
    for bits in [u64::MAX, 1, 1 << 32, (1 << 33) - 1, 1 << 63, (1 << 63) + 5] {
        assert!(table.change(Position::from_bits(bits)).is_none());
    }
}

#[test]
fn marks_survive_and_rolling_early_is_harmless() {
    for (way, dir, durability, _temp) in all_ways() {
        let mut store = open(&dir, durability);
        store.appender.roll().unwrap();
        assert_eq!(store.log.table().segments().len(), 1, "{way}");
        store.put_until(10, 10);
        store.appender.append_compact(10, 7).unwrap();
        assert_eq!(
            store.appender.append_compact(9, 7).unwrap_err().code(),
            ErrorCode::InvalidArgument,
            "{way}"
        );
        store.appender.roll().unwrap();
        store.appender.roll().unwrap();
        assert_eq!(store.log.table().segments().len(), 2, "{way}");
        store.put_until(20, 10);
        assert_eq!(store.revisions(1), (2..=20).collect::<Vec<_>>(), "{way}");
        store.appender.close().unwrap();
        store.appender.close().unwrap();
        assert_eq!(store.try_put(&["x"], 1).unwrap_err().code(), ErrorCode::Closed, "{way}");
        let store = open(&dir, durability);
        assert_eq!((store.report.compact_revision, store.report.last_revision), (7, 20), "{way}");
    }
}
