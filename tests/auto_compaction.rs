//! Compaction without being asked: what is kept, and that nobody is surprised by it.

mod common;

use std::time::Duration;

use common::*;
use libwatch::{AutoCompaction, ErrorCode, Store, StoreOptions, limits};

fn keeping(auto_compaction: AutoCompaction) -> StoreOptions {
    StoreOptions { auto_compaction, ..tiny() }
}

fn puts(store: &Store, count: usize) {
    for _ in 0..count {
        put(store, "a", "");
    }
}

const SHORT: Duration = Duration::from_millis(limits::AUTO_COMPACTION_PERIOD_MS_MIN);

/// etcd 10.13
#[test]
fn by_number_it_keeps_that_many_revisions_and_little_more() {
    watched(|| {
        let store = memory_with(|options| options.auto_compaction = AutoCompaction::Revisions(50));
        for i in 0..2_000 {
            put(&store, format!("{}", i % 7), format!("{i}"));
            let (compacted, current) = (store.compact_revision(), store.revision());
            assert!(current - compacted.max(1) >= 50 || compacted == -1, "{compacted} of {current}");
        }
        until(|| store.revision() - store.compact_revision() < 50 + limits::AUTO_COMPACTION_STEP_MIN);
        assert_eq!(get(&store, "0", store.revision() - 49).as_deref(), Some("1946"));
        assert_eq!(get(&store, "6", 0).as_deref(), Some("1994"));
    });
}

/// etcd 10.13
#[test]
fn one_revision_less_than_the_step_is_no_reason() {
    watched(|| {
        let store = memory_with(|options| options.auto_compaction = AutoCompaction::Revisions(10));
        let step = limits::AUTO_COMPACTION_STEP_MIN;
        while store.revision() < 1 + 10 + step - 1 {
            put(&store, "a", "");
        }
        assert_eq!(store.compact_revision(), -1);
        put(&store, "a", "");
        until(|| store.compact_revision() == 1 + step);
    });
}

/// etcd 10.13
#[test]
fn by_age_it_forgets_what_is_older_and_goes_to_rest() {
    watched(|| {
        let store = memory_with(|options| options.auto_compaction = AutoCompaction::Period(SHORT));
        for round in 0..3 {
            put(&store, "a", format!("{round}"));
            let last = put(&store, "b", "");
            until(|| store.compact_revision() == last);
            assert_eq!(get(&store, "a", 0), Some(format!("{round}")));
        }
    });
}

/// etcd 10.13
#[test]
fn what_an_opening_finds_counts_as_written_then() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        let last = put(&store, "a", "1");
        store.close().unwrap();
        let store = Store::open(folder.path(), &keeping(AutoCompaction::Period(SHORT))).unwrap();
        until(|| store.compact_revision() == last);
        assert_eq!(get(&store, "a", 0).as_deref(), Some("1"));
        store.close().unwrap();
        let read_only = StoreOptions { read_only: true, ..keeping(AutoCompaction::Period(SHORT)) };
        assert_eq!(Store::open(folder.path(), &read_only).unwrap().compact_revision(), last);
    });
}

/// etcd 10.6, 10.13
#[test]
fn a_watch_that_is_too_slow_for_it_is_told() {
    watched(|| {
        let store = memory_with(|options| options.auto_compaction = AutoCompaction::Revisions(10));
        let stream = stream(&store);
        puts(&store, 300);
        until(|| store.compact_revision() > 100);
        stream.create(&watch((b"a", b""), 2)).unwrap();
        let last = take(&stream);
        assert_eq!((last.is_canceled(), last.cancel_code()), (true, Some(ErrorCode::Compacted)));
        assert_eq!(last.compact_revision(), store.compact_revision());
    });
}

/// etcd 10.13
#[test]
fn without_the_option_nothing_is_compacted_and_compact_works_beside_it() {
    watched(|| {
        let store = memory();
        puts(&store, 500);
        assert_eq!(store.compact_revision(), -1);
        let store = memory_with(|options| options.auto_compaction = AutoCompaction::Revisions(100));
        puts(&store, 500);
        store.compact(501, true).unwrap();
        put(&store, "a", "");
        assert_eq!((store.compact_revision(), store.revision()), (501, 502));
    });
}

/// S 19.6
#[test]
fn stores_with_it_are_opened_written_and_closed_many_times() {
    watched(|| {
        let folder = folder();
        for round in 0..50 {
            let auto = match round % 2 {
                0 => AutoCompaction::Revisions(1),
                _ => AutoCompaction::Period(SHORT),
            };
            let store = Store::open(folder.path(), &keeping(auto)).unwrap();
            puts(&store, 150);
            assert_eq!(store.revision(), 1 + (round + 1) * 150);
            store.close().unwrap();
        }
    });
}
