//! What is sound is called sound and left alone; what is not is never called sound.

use std::path::Path;

use libwatch::tools::{Progress, VerifyReport, verify};
use libwatch::{Durability, ErrorCode, Store};

use super::common::{Random, folder, mode, put, refused, tiny};
use super::shapes::{SHAPES, closed, compacted, crashed, file, files, forge, forge_pages, records};

fn check(path: &Path) -> VerifyReport {
    verify(path, &mut |_| {}).unwrap()
}

#[track_caller]
fn assert_damaged(path: &Path, what: &str) -> VerifyReport {
    let report = check(path);
    assert!(!report.is_sound(), "{what} is called sound");
    report
}

/// S 19.1, 19.11: every answered write is in the files.
#[test]
fn stores_of_every_shape_are_sound_and_are_left_alone() {
    for (name, shape) in SHAPES {
        let dir = closed(shape);
        let before = files(dir.path());
        let report = check(dir.path());
        assert_eq!(report.damage, None, "{name}");
        assert_eq!(files(dir.path()), before, "{name}");
        assert!(report.clean && report.torn_bytes == 0 && report.leftovers.is_empty(), "{name}");
        assert_eq!(report.manifest_copies, 4);
        let store = Store::open(dir.path(), &tiny()).unwrap();
        assert_eq!(report.revision, store.revision(), "{name}");
        assert_eq!(report.compact_revision, store.compact_revision(), "{name}");
        let (key, range_end) = super::common::ALL;
        let all = libwatch::RangeRequest { key, range_end, ..Default::default() };
        assert_eq!(report.live_keys, store.range(&all).unwrap().count() as u64, "{name}");
        assert_eq!(report.transactions > 0, name != "empty");
    }
}

/// S 19.1: a crash of the process takes nothing, and leaves nothing that is wrong.
#[test]
fn what_a_crash_leaves_is_sound() {
    for (name, shape) in SHAPES {
        let dir = crashed(shape);
        let report = check(dir.path());
        assert_eq!((report.damage, report.clean), (None, false), "{name}");
        // A write that was cut short, and a file that had no name yet.
        let last = files(dir.path()).into_keys().find(|file| file.ends_with("seg-0000000000000001.lws"));
        if let Some(segment) = last.filter(|_| name == "puts") {
            let mut bytes = std::fs::read(&segment).unwrap();
            let (at, _) = *records(&bytes).last().unwrap();
            bytes[at + 60] ^= 1;
            std::fs::write(&segment, bytes).unwrap();
            std::fs::write(segment.with_file_name("seg-0000000000000002.lws.tmp"), "").unwrap();
            let torn = check(dir.path());
            assert_eq!((torn.damage, torn.revision), (None, report.revision - 1));
            assert!(torn.torn_bytes >= 88 && torn.torn_bytes < 200);
            assert_eq!(torn.leftovers, ["seg-0000000000000002.lws.tmp"]);
        }
        // Opened, closed and as good as new.
        Store::open(dir.path(), &tiny()).unwrap().close().unwrap();
        let report = check(dir.path());
        assert_eq!((report.damage, report.clean), (None, true), "{name}");
    }
}

/// S 19.1: in every mode.
#[test]
fn stores_of_every_durability_are_sound() {
    for durability in [Durability::Commit, Durability::Interval, Durability::None] {
        let dir = folder();
        for _ in 0..2 {
            let store = Store::open(dir.path(), &mode(durability)).unwrap();
            put(&store, "key", "value");
            store.compact(store.revision(), true).unwrap();
            store.close().unwrap();
            assert_eq!(check(dir.path()).damage, None, "{durability:?}");
        }
    }
}

/// S 19.9, 19.11: damage is told, never passed over.
#[test]
fn no_flipped_bit_is_called_sound() {
    let dir = closed(compacted);
    let mut dice = Random::new(1);
    for (path, bytes) in files(dir.path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if name == "LOCK" {
            continue;
        }
        let last = if name.starts_with("seg") { records(&bytes).pop() } else { None };
        if last.is_none() && name.starts_with("seg") {
            // Made ahead and never used; the next writer makes it anew if something is wrong with it.
            continue;
        }
        for i in 0..24 {
            // Half of them where records are, the rest anywhere.
            let used = last.map_or(bytes.len(), |(at, _)| at);
            let at = dice.below(if i % 2 == 0 { used } else { bytes.len() } as u64) as usize;
            let mut bad = bytes.clone();
            bad[at] ^= 1 << dice.below(8);
            std::fs::write(&path, &bad).unwrap();
            let report = check(dir.path());
            // The very last record has no witness: without it the store looks like one that was not closed.
            let is_close = last.is_some_and(|(close, kind)| kind == 4 && (close..close + 40).contains(&at));
            assert!(!report.is_sound() || is_close && !report.clean, "{name}, byte {at}");
            if let Some(damage) = report.damage {
                assert_eq!((damage.code, damage.file.as_str()), (ErrorCode::Corrupt, name.as_str()), "{at}");
                assert!(damage.offset <= at as u64 || damage.offset == 64, "{name}: {}", damage.message);
            }
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(check(dir.path()).is_sound());
}

/// S 19.9: as above.
#[test]
fn no_missing_or_foreign_file_is_called_sound() {
    let (dir, other) = (closed(compacted), closed(compacted));
    for (path, bytes) in files(dir.path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        if name == "LOCK" || name.starts_with("seg") && records(&bytes).is_empty() {
            continue;
        }
        std::fs::remove_file(&path).unwrap();
        assert_damaged(dir.path(), &format!("a store without {name}"));
        for changed in [vec![], bytes[..bytes.len() - 4096].to_vec(), vec![0; bytes.len()]] {
            std::fs::write(&path, &changed).unwrap();
            assert_damaged(dir.path(), &format!("{name} with {} bytes", changed.len()));
        }
        if let Ok(foreign) = std::fs::read(other.path().join(&name)) {
            std::fs::write(&path, foreign).unwrap();
            assert_damaged(dir.path(), &format!("a store with {name} of another one"));
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(check(dir.path()).is_sound());
}

/// etcd 1.6, 1.8: create revisions and versions follow from the history.
#[test]
fn changes_that_do_not_follow_from_each_other_are_damage_whatever_their_checksums() {
    // Offset in the first change of a record, and what its bits are turned into.
    type Forgery = (&'static str, usize, u8);
    const FORGERIES: [Forgery; 8] = [
        ("another operation", 2, 1),
        ("another depth", 12, 1),
        ("another create revision", 16, 1),
        ("another version", 24, 1),
        ("another prev", 32, 1),
        ("a prev in another file", 36, 4),
        ("another skip", 40, 1),
        ("a skip in another file", 44, 4),
    ];
    let dir = closed(|store| super::shapes::fill(store, 300, 100));
    let path = file(dir.path(), "seg-0000000000000001");
    let bytes = std::fs::read(&path).unwrap();
    let transactions: Vec<_> = records(&bytes).into_iter().filter(|(_, kind)| *kind == 1).collect();
    for (what, offset, bits) in FORGERIES {
        for (record, _) in transactions.iter().skip(100).step_by(20) {
            let mut bad = bytes.clone();
            forge(&mut bad, *record, |record| record[32 + offset] ^= bits);
            std::fs::write(&path, &bad).unwrap();
            let report = assert_damaged(dir.path(), what);
            let damage = report.damage.unwrap();
            assert_eq!(damage.file, "seg-0000000000000001.lws", "{what}");
            assert!(damage.offset >= *record as u64, "{what}: {}", damage.message);
        }
    }
    let mut same = bytes.clone();
    forge(&mut same, transactions[0].0, |_| {});
    assert_eq!(same, bytes);
}

/// etcd 10.1: what compaction left is what its numbers say.
#[test]
fn a_manifest_or_base_that_does_not_fit_the_files_is_damage_whatever_its_checksum() {
    let dir = closed(compacted);
    let manifest = dir.path().join("MANIFEST");
    let pages = std::fs::read(&manifest).unwrap();
    for (what, offset) in [
        ("first segment", 72),
        ("first base part", 76),
        ("number of base parts", 80),
        ("base revision", 88),
        ("first revision", 96),
        ("compact revision", 106),
        ("compact revision, which is lower,", 105),
        ("generation", 32),
        ("identity", 16),
    ] {
        let mut bad = pages.clone();
        forge_pages(&mut bad, |page| page[offset] = if what == "generation" { 1 } else { page[offset] ^ 1 });
        std::fs::write(&manifest, bad).unwrap();
        assert_damaged(dir.path(), &format!("a manifest with another {what}"));
    }
    std::fs::write(&manifest, &pages).unwrap();
    let base = file(dir.path(), "base-");
    let bytes = std::fs::read(&base).unwrap();
    for (what, offset) in [("base revision", 80), ("generation", 77), ("identity", 16), ("number", 48)] {
        let mut bad = bytes.clone();
        forge_pages(&mut bad[..4096], |page| page[offset] ^= 1);
        std::fs::write(&base, bad).unwrap();
        assert_damaged(dir.path(), &format!("a base with another {what}"));
    }
    for (what, offset) in [("mod revision", 10), ("operation", 34), ("create revision", 50), ("version", 56)]
    {
        let mut bad = bytes.clone();
        forge(&mut bad, 4096, |record| record[offset] ^= if what == "version" { 0xff } else { 1 });
        std::fs::write(&base, bad).unwrap();
        let report = check(dir.path());
        // A version in the base can only be checked against the log behind it.
        assert!(!report.is_sound() || what == "version", "another {what}");
    }
    std::fs::write(&base, &bytes).unwrap();
    assert!(check(dir.path()).is_sound());
}

/// S 19.7: nothing is said of what cannot be looked at.
#[test]
fn a_store_that_is_open_or_not_there_is_an_error() {
    let dir = folder();
    let store = Store::open(dir.path(), &tiny()).unwrap();
    put(&store, "key", "value");
    assert_eq!(refused(verify(dir.path(), &mut |_| {})), ErrorCode::Locked);
    store.close().unwrap();
    assert!(check(dir.path()).is_sound());
    assert_eq!(refused(verify(dir.path().join("none"), &mut |_| {})), ErrorCode::Io);
    assert_eq!(refused(verify(folder().path(), &mut |_| {})), ErrorCode::Io);
    assert_eq!(refused(verify(dir.path().join("MANIFEST"), &mut |_| {})), ErrorCode::Io);
}

/// S 19.9: a format of another version is not guessed at.
#[test]
fn another_version_of_the_format_is_named() {
    let dir = closed(|_| {});
    let manifest = dir.path().join("MANIFEST");
    let mut pages = std::fs::read(&manifest).unwrap();
    forge_pages(&mut pages, |page| page[8] = 9);
    std::fs::write(&manifest, pages).unwrap();
    let damage = check(dir.path()).damage.unwrap();
    assert_eq!((damage.code, damage.file.as_str()), (ErrorCode::Format, "MANIFEST"));
    assert!(damage.message.contains("format 9"), "{}", damage.message);
}

/// S 19.9: the work is told in steps that rise to the whole.
#[test]
fn progress_rises_to_the_total() {
    let dir = closed(compacted);
    let mut told: Vec<Progress> = Vec::new();
    verify(dir.path(), &mut |progress| told.push(progress)).unwrap();
    assert!(told.is_sorted_by_key(|progress| progress.done));
    let last = told.last().unwrap();
    assert!(last.done == last.total && last.total > 0);
}
