//! What survives closing, a crash and damage, in each durability mode; and that a store has one opener.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::*;
use libwatch::{Durability, ErrorCode, PutRequest, RangeRequest, Store, StoreOptions};

const MODES: [Durability; 3] = [Durability::None, Durability::Interval, Durability::Commit];
/// Tells a test that it runs as another process, and on which folder.
const CHILD: &str = "LIBWATCH_TEST_CHILD";

fn value(i: usize) -> String {
    format!("value-{i:06}-{}", "x".repeat(100))
}

fn fill(store: &Store, count: usize) {
    for i in 0..count {
        put(store, format!("key-{i:06}"), value(i));
    }
}

fn holds(store: &Store, count: usize) {
    let all = store.range(&RangeRequest { key: ALL.0, range_end: ALL.1, ..Default::default() }).unwrap();
    assert_eq!(all.len(), count);
    for (i, kv) in all.iter().enumerate() {
        let expected = (format!("key-{i:06}"), value(i), i as i64 + 2, i as i64 + 2, 1, 0);
        assert_eq!(pair(&kv), expected);
    }
}

/// Flips a bit of the one place in the folder's files where `needle` stands, and names the file.
fn damage(folder: &Path, needle: &str) -> String {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let at: Vec<usize> = bytes
            .windows(needle.len())
            .enumerate()
            .filter(|w| w.1 == needle.as_bytes())
            .map(|w| w.0)
            .collect();
        for at in at {
            bytes[at] ^= 0x10;
            std::fs::write(&path, &bytes).unwrap();
            found.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    assert_eq!(found.len(), 1, "{needle} stands in {found:?}");
    found.remove(0)
}

/// Runs one test of this file again as another process, on a folder.
fn child(test: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn reopening_finds_everything_in_every_mode() {
    watched(|| {
        for durability in MODES {
            let folder = folder();
            let options = StoreOptions { durability, ..tiny() };
            let store = Store::open(folder.path(), &options).unwrap();
            fill(&store, 300);
            store.close().unwrap();
            let store = Store::open(folder.path(), &options).unwrap();
            assert_eq!((store.revision(), store.durable_revision()), (301, 301), "{durability:?}");
            holds(&store, 300);
            assert_eq!(put(&store, "more", "x"), 302, "a clean close leaves no hole in the revisions");
        }
    });
}

/// etcd 11.1
#[test]
fn history_versions_and_leases_survive_reopening() {
    let folder = folder();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    store.put(&PutRequest { key: b"a", value: b"1", lease: 42, ..Default::default() }).unwrap();
    store.put(&PutRequest { key: b"a", value: b"2", lease: -1, ..Default::default() }).unwrap();
    delete(&store, "a");
    put(&store, "a", "3");
    put(&store, "a", "4");
    delete(&store, "never");
    drop(store);
    let store = Store::open(folder.path(), &tiny()).unwrap();
    let at = |revision| pair(&store.get(b"a", revision).unwrap().kv(0));
    assert_eq!(at(2), ("a".into(), "1".into(), 2, 2, 1, 42));
    assert_eq!(at(3), ("a".into(), "2".into(), 2, 3, 2, -1));
    assert_eq!(get(&store, "a", 4), None);
    assert_eq!(at(0), ("a".into(), "4".into(), 5, 6, 2, 0));
    put(&store, "a", "5");
    assert_eq!(at(0), ("a".into(), "5".into(), 5, 7, 3, 0));
}

#[test]
fn the_log_grows_by_segments_and_a_record_may_be_larger_than_one() {
    let folder = folder();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    let files = || std::fs::read_dir(folder.path()).unwrap().count();
    let before = files();
    fill(&store, 2000);
    let big = vec![1u8; 300_000];
    put(&store, "zbig", &big);
    put(&store, "zsmall", "after");
    assert!(files() >= before + 4, "2000 values of 100 bytes do not fit four segments of 64 KiB");
    drop(store);
    let store = Store::open(folder.path(), &tiny()).unwrap();
    assert!(store.get(b"zbig", 0).unwrap().kv(0).value == big);
    assert_eq!(get(&store, "zsmall", 0).as_deref(), Some("after"));
    assert_eq!(get(&store, "key-001234", 0), Some(value(1234)));
}

#[test]
fn reopening_many_times_keeps_adding() {
    let folder = folder();
    for round in 0..20 {
        let store = Store::open(folder.path(), &tiny()).unwrap();
        assert_eq!(store.revision(), 1 + 50 * round);
        for i in 0..50 {
            put(&store, format!("{i}"), value(round as usize));
        }
    }
    let store = Store::open(folder.path(), &tiny()).unwrap();
    for i in 0..50 {
        let result = store.get(i.to_string().as_bytes(), 0).unwrap();
        assert_eq!((text(result.kv(0).value), result.kv(0).version), (value(19), 20));
        assert_eq!(get(&store, i.to_string(), 1 + 50 * 7), Some(value(6)));
    }
}

/// S 19.1
#[test]
fn a_killed_process_loses_nothing_in_any_mode() {
    const TEST: &str = "a_killed_process_loses_nothing_in_any_mode";
    let options = |durability| StoreOptions { durability, ..tiny() };
    if let Some(folder) = std::env::var_os(CHILD) {
        let durability =
            MODES.into_iter().find(|mode| folder.to_string_lossy().ends_with(&format!("{mode:?}")));
        let store = Store::open(&folder, &options(durability.unwrap())).unwrap();
        fill(&store, 1000);
        println!("\nwritten");
        let _ = std::io::stdin().read(&mut [0]);
        unreachable!("the parent kills this process and never writes to it");
    }
    watched(move || {
        for durability in MODES {
            let above = folder();
            let folder = above.path().join(format!("{durability:?}"));
            let mut child = child(TEST, &folder);
            let lines = BufReader::new(child.stdout.take().unwrap()).lines();
            let written = lines.map(Result::unwrap).any(|line| line == "written");
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(written, "the child ended early");
            let store = Store::open(&folder, &options(durability)).unwrap();
            holds(&store, 1000);
            assert!(put(&store, "more", "x") > 1001, "no revision is given out twice");
        }
    });
}

/// S 19.7
#[test]
fn another_process_is_locked_out() {
    const TEST: &str = "another_process_is_locked_out";
    if let Some(folder) = std::env::var_os(CHILD) {
        assert_eq!(refused(Store::open(&folder, &tiny())), ErrorCode::Locked);
        return;
    }
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        assert!(child(TEST, folder.path()).wait().unwrap().success());
        put(&store, "a", "1");
    });
}

/// S 19.7
#[test]
fn a_second_opener_of_this_process_is_locked_out_until_the_first_closes() {
    let folder = folder();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    assert_eq!(refused(Store::open(folder.path(), &tiny())), ErrorCode::Locked);
    let other = store.clone();
    drop(store);
    assert_eq!(refused(Store::open(folder.path(), &tiny())), ErrorCode::Locked, "a handle is left");
    other.close().unwrap();
    let again = Store::open(folder.path(), &tiny()).unwrap();
    drop(again);
    drop(Store::open(folder.path(), &tiny()).unwrap());
}

#[test]
fn a_torn_tail_is_cut_and_everything_before_it_is_kept() {
    watched(|| {
        for durability in [Durability::None, Durability::Interval] {
            let original = folder();
            let options = StoreOptions { durability, sync_interval_ms: 1_000_000, ..tiny() };
            let store = Store::open(original.path(), &options).unwrap();
            fill(&store, 100);
            let image = crash_image(&original);
            damage(image.path(), "value-000099");
            let store = Store::open(image.path(), &options).unwrap();
            holds(&store, 99);
            assert!(get(&store, "key-000099", 0).is_none());
            let next = put(&store, "next", "x");
            assert!(next >= 101, "revision {next} was given out before");
            drop(store);
            let store = Store::open(image.path(), &options).unwrap();
            assert_eq!((store.revision(), get(&store, "next", 0).as_deref()), (next, Some("x")));
            assert_eq!(get(&store, "key-000098", 0), Some(value(98)));
        }
    });
}

/// S 19.9
#[test]
fn damage_to_what_was_certainly_on_disk_is_refused_and_named() {
    for durability in MODES {
        let original = folder();
        let options = StoreOptions { durability, ..tiny() };
        let store = Store::open(original.path(), &options).unwrap();
        fill(&store, 1000);
        store.sync(0, None).unwrap();
        put(&store, "last", "x");
        for i in [0, 500] {
            let image = crash_image(&original);
            let file = damage(image.path(), &format!("value-{i:06}"));
            let error = Store::open(image.path(), &options).err().expect("the store is damaged");
            assert_eq!(error.code(), ErrorCode::Corrupt, "{durability:?} {error}");
            assert!(error.message().contains(&file), "{error} does not name {file}");
        }
    }
}

/// S 19.9
#[test]
fn a_missing_segment_is_refused() {
    let folder = folder();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    fill(&store, 2000);
    store.close().unwrap();
    let holder = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| std::fs::read(path).unwrap().windows(12).any(|window| window == b"value-001000"));
    std::fs::remove_file(holder.unwrap()).unwrap();
    assert_eq!(refused(Store::open(folder.path(), &tiny())), ErrorCode::Corrupt);
}

#[test]
fn a_copy_of_an_open_store_is_a_store() {
    let original = folder();
    let store = Store::open(original.path(), &tiny()).unwrap();
    fill(&store, 500);
    let image = crash_image(&original);
    holds(&Store::open(image.path(), &tiny()).unwrap(), 500);
    fill(&store, 1);
    let twice = crash_image(&image);
    holds(&Store::open(twice.path(), &tiny()).unwrap(), 500);
}

/// S 19.1
#[test]
fn in_mode_commit_nobody_sees_what_is_not_on_disk() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &mode(Durability::Commit)).unwrap();
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let store = store.clone();
                std::thread::spawn(move || {
                    for i in 0..25 {
                        let revision = put(&store, format!("{writer}/{i}"), "x");
                        assert!(store.durable_revision() >= revision);
                    }
                })
            })
            .collect();
        while store.revision() < 201 {
            let seen = store.revision();
            assert!(store.durable_revision() >= seen);
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let stats = store.stats().unwrap();
        assert!(stats.sync_total > 0 && stats.sync_total <= 200, "{} syncs for 200 puts", stats.sync_total);
        assert_eq!(stats.durable_revision, 201);
    });
}

#[test]
fn in_mode_interval_writes_become_durable_by_themselves() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &mode(Durability::Interval)).unwrap();
        for _ in 0..3 {
            let revision = put(&store, "a", "1");
            until(|| store.durable_revision() >= revision);
        }
        assert!(store.stats().unwrap().sync_total > 0);
    });
}

/// S 19.1
#[test]
fn sync_makes_everything_durable_in_every_mode() {
    watched(|| {
        let folders = [folder(), folder(), folder()];
        let files =
            folders.iter().zip(MODES).map(|(at, durability)| Store::open(at.path(), &mode(durability)));
        let mut stores: Vec<Store> = files.map(Result::unwrap).collect();
        stores.push(memory());
        for store in stores {
            assert_eq!(store.sync(0, None).unwrap(), Some(store.durable_revision()));
            let revision = put(&store, "a", "1");
            assert_eq!(store.sync(revision, None).unwrap(), Some(2));
            put(&store, "a", "2");
            assert_eq!(store.sync(0, Some(Duration::from_secs(600))).unwrap(), Some(3));
            assert_eq!(refused(store.sync(4, None)), ErrorCode::FutureRevision);
            assert_eq!(refused(store.sync(-1, None)), ErrorCode::InvalidArgument);
        }
    });
}

#[test]
fn a_read_only_store_answers_reads_and_refuses_every_write() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        fill(&store, 100);
        store.compact(50, false).unwrap();
        store.close().unwrap();
        let store = Store::open(folder.path(), &StoreOptions { read_only: true, ..tiny() }).unwrap();
        assert_eq!((store.revision(), store.compact_revision()), (101, 50));
        holds(&store, 100);
        assert_eq!(refused(store.put(&PutRequest { key: b"a", ..Default::default() })), ErrorCode::ReadOnly);
        assert_eq!(refused(store.delete_range(&Default::default())), ErrorCode::EmptyKey);
        let delete = libwatch::DeleteRangeRequest { key: b"a", ..Default::default() };
        assert_eq!(refused(store.delete_range(&delete)), ErrorCode::ReadOnly);
        assert_eq!(refused(store.txn(&Default::default())), ErrorCode::ReadOnly);
        assert_eq!(refused(store.compact(60, false)), ErrorCode::ReadOnly);
        let stream = stream(&store);
        stream.create(&watch(ALL, 50)).unwrap();
        assert_eq!(take_lines(&stream, 52).len(), 52);
        store.close().unwrap();
    });
}

#[test]
fn a_store_that_does_not_exist_is_made_only_if_wished() {
    let above = folder();
    let path = above.path().join("store");
    let absent = StoreOptions { create: false, ..tiny() };
    assert!(Store::open(&path, &absent).is_err());
    assert!(Store::open(&path, &StoreOptions { read_only: true, ..tiny() }).is_err());
    assert!(!path.exists(), "a refused open leaves nothing behind");
    put(&Store::open(&path, &tiny()).unwrap(), "a", "1");
    let store = Store::open(&path, &absent).unwrap();
    assert_eq!(get(&store, "a", 0).as_deref(), Some("1"));
}
