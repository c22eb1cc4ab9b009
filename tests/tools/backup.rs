//! A copy holds what the store held at one revision, whatever goes on meanwhile, and then is a store of its own.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use libwatch::tools::{BackupReport, Progress, backup, verify};
use libwatch::{CreateRequest, Durability, ErrorCode, Store, StoreOptions};

use super::common::{ALL, folder, memory, put, refused, settle, stream, tiny, watch, watched};
use super::shapes::{SHAPES, closed, compacted, crashed, file, files, fill, records, seen};

/// Looks at a copy without writing to it.
fn look(path: &Path) -> Store {
    Store::open(path, &StoreOptions { read_only: true, create: false, ..tiny() }).unwrap()
}

fn copy(store: &Store, to: &Path) -> BackupReport {
    store.backup(to, &mut |_| {}).unwrap()
}

/// etcd 1.1, 1.6: the same revisions, pairs and events.
#[test]
fn a_copy_of_every_shape_holds_the_same_whether_the_store_is_open_closed_or_crashed() {
    for (name, shape) in SHAPES {
        let (dir, to) = (folder(), folder());
        let store = Store::open(dir.path(), &tiny()).unwrap();
        shape(&store);
        let expected = (store.compact_revision(), seen(&store, store.revision()));
        let paths = ["open", "closed", "crashed"].map(|kind| to.path().join(kind));
        let report = copy(&store, &paths[0]);
        assert_eq!(report.revision, store.revision(), "{name}");
        let crashed = super::common::crash_image(&dir);
        store.close().unwrap();
        for (from, to) in [(dir.path(), &paths[1]), (crashed.path(), &paths[2])] {
            let copied = backup(from, to, &mut |_| {}).unwrap();
            assert_eq!(
                (copied.revision, copied.fork_revision),
                (report.revision, report.fork_revision),
                "{name}"
            );
        }
        for path in &paths {
            let checked = verify(path, &mut |_| {}).unwrap();
            assert_eq!((checked.damage, checked.clean), (None, true), "{name}");
            let copy = look(path);
            assert_eq!(copy.revision(), report.revision, "{name}");
            assert_eq!((copy.compact_revision(), seen(&copy, copy.revision())), expected, "{name}");
        }
    }
}

/// etcd 17 Ordered and Unique, S 19.10: no revision has two contents, in the original or in a copy.
#[test]
fn the_writer_of_a_copy_goes_on_where_the_original_will_never_come() {
    let (dir, to) = (folder(), folder());
    let store = Store::open(dir.path(), &tiny()).unwrap();
    fill(&store, 50, 50);
    let report = copy(&store, &to.path().join("copy"));
    assert_eq!(put(&store, "key", "of the original"), report.revision + 1);
    let fork = Store::open(to.path().join("copy"), &tiny()).unwrap();
    assert_eq!(fork.revision(), report.fork_revision);
    assert!(report.fork_revision - report.revision > 1 << 40);
    assert_eq!(put(&fork, "key", "of the copy"), report.fork_revision + 1);
    // The history before is there, and a bookmark of the original above it is refused like a compacted one.
    let expected = seen(&store, report.revision);
    assert_eq!(seen(&fork, report.revision).0, expected.0);
    let stream = stream(&fork);
    stream.create(&watch(ALL, report.revision + 2)).unwrap();
    let ends = settle(&stream);
    assert!(ends[0].is_canceled() && ends[0].compact_revision() == report.fork_revision);
    stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, report.fork_revision + 1) }).unwrap();
    assert_eq!(settle(&stream).iter().map(|response| response.len()).sum::<usize>(), 1);
    // And so on, through further copies.
    let again = copy(&fork, &to.path().join("again"));
    assert!(again.fork_revision > again.revision && again.revision == fork.revision());
    fork.close().unwrap();
    let report = verify(to.path().join("copy"), &mut |_| {}).unwrap();
    assert_eq!(report.damage, None);
}

/// S 19.9: files of copy and original cannot be mixed up.
#[test]
fn no_file_of_the_original_passes_for_one_of_the_copy() {
    let (dir, to) = (closed(compacted), folder());
    let copy = to.path().join("copy");
    backup(dir.path(), &copy, &mut |_| {}).unwrap();
    for (path, bytes) in files(&copy) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if name == "LOCK" {
            continue;
        }
        std::fs::copy(dir.path().join(name), &path).unwrap();
        assert!(!verify(&copy, &mut |_| {}).unwrap().is_sound(), "{name}");
        std::fs::write(&path, bytes).unwrap();
    }
    assert!(verify(&copy, &mut |_| {}).unwrap().is_sound());
}

/// etcd 1.13: reads, writes, watches and compactions go on while a copy is made.
#[test]
fn copies_made_while_everything_goes_on_hold_one_revision_each() {
    watched(|| {
        for durability in [Durability::None, Durability::Commit] {
            let (dir, to) = (folder(), folder());
            let store = Store::open(dir.path(), &StoreOptions { durability, ..tiny() }).unwrap();
            fill(&store, 100, 500);
            let done = AtomicBool::new(false);
            let stream = stream(&store);
            stream.create(&watch(ALL, 1)).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        fill(&store, 10, 500);
                    }
                });
                scope.spawn(|| {
                    while !done.load(Ordering::Acquire) {
                        let revision = store.revision() - 60;
                        if revision > store.compact_revision() {
                            store.compact(revision, true).unwrap();
                        }
                    }
                });
                for i in 0..6 {
                    let before = store.revision();
                    let path = to.path().join(i.to_string());
                    let report = copy(&store, &path);
                    assert!(report.revision >= before);
                    assert_eq!(look(&path).revision(), report.revision);
                }
                done.store(true, Ordering::Release);
            });
            let end = store.revision();
            assert_eq!(put(&store, "after", ""), end + 1);
            drop(settle(&stream));
            for i in 0..6 {
                let report = verify(to.path().join(i.to_string()), &mut |_| {}).unwrap();
                assert_eq!((report.damage, report.clean), (None, true));
            }
        }
    });
}

/// etcd 1.6, S 19.10: each copy is what the history says at its revision.
#[test]
fn a_copy_made_while_writing_is_a_prefix_of_the_history() {
    watched(|| {
        let (dir, to) = (folder(), folder());
        let store = Store::open(dir.path(), &tiny()).unwrap();
        let done = AtomicBool::new(false);
        let mut reports = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    fill(&store, 10, 300);
                }
            });
            for i in 0..6 {
                reports.push(copy(&store, &to.path().join(i.to_string())));
            }
            done.store(true, Ordering::Release);
        });
        for (i, report) in reports.iter().enumerate() {
            let copy = look(&to.path().join(i.to_string()));
            assert_eq!(seen(&copy, report.revision), seen(&store, report.revision));
        }
    });
}

/// etcd 1.1: a store in memory has the same history.
#[test]
fn a_store_in_memory_is_copied_to_files() {
    let (store, to) = (memory(), folder());
    fill(&store, 200, 200);
    store.compact(store.revision() / 2, true).unwrap();
    let report = copy(&store, &to.path().join("copy"));
    let copied = look(&to.path().join("copy"));
    assert_eq!(report.revision, store.revision());
    assert_eq!(seen(&copied, report.revision), seen(&store, report.revision));
}

/// S 19.1: there is a whole copy or none.
#[test]
fn a_copy_that_fails_leaves_nothing() {
    let (dir, to) = (closed(compacted), folder());
    let names = || files(to.path()).into_keys().collect::<Vec<_>>();
    let path = file(dir.path(), "base-");
    let bytes = std::fs::read(&path).unwrap();
    let mut bad = bytes.clone();
    bad[4200] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    let nothing = &mut |_: Progress| {};
    assert_eq!(refused(backup(dir.path(), to.path().join("copy"), nothing)), ErrorCode::Corrupt);
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0, "{:?}", names());
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(refused(backup(dir.path(), to.path().join("no/copy"), nothing)), ErrorCode::Io);
    assert_eq!(refused(backup(dir.path(), to.path(), nothing)), ErrorCode::Io);
    assert_eq!(refused(backup(dir.path(), dir.path(), nothing)), ErrorCode::Io);
    assert_eq!(refused(backup(to.path(), to.path().join("copy"), nothing)), ErrorCode::Io);
    assert_eq!(refused(backup(dir.path(), "..", nothing)), ErrorCode::Io);
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0);
    let store = Store::open(dir.path(), &tiny()).unwrap();
    assert_eq!(refused(backup(dir.path(), to.path().join("copy"), nothing)), ErrorCode::Locked);
    store.close().unwrap();
    assert_eq!(refused(store.backup(to.path().join("copy"), nothing)), ErrorCode::Closed);
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0);
}

/// S 19.9: damage met in an open store is told and not copied.
#[test]
fn a_damaged_record_does_not_reach_a_copy_with_a_new_checksum() {
    let (dir, to) = (crashed(compacted), folder());
    let store = Store::open(dir.path(), &tiny()).unwrap();
    for (path, bytes) in files(dir.path()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let used = records(&bytes);
        if !name.ends_with(".lws") || used.len() < 3 {
            continue;
        }
        // The file is the memory that the store reads; a page of it goes bad.
        let mut bad = bytes.clone();
        bad[used[1].0 + 70] ^= 1;
        overwrite(&path, &bad);
        let error = store.backup(to.path().join("copy"), &mut |_| {}).err().unwrap();
        assert_eq!(error.code(), ErrorCode::Corrupt, "{name}");
        assert!(error.message().starts_with(name), "{error}");
        assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0);
        overwrite(&path, &bytes);
    }
    copy(&store, &to.path().join("copy"));
}

/// Writes in place: who has the file mapped sees it.
fn overwrite(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, 0).unwrap();
}
