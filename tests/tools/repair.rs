//! A repaired store has everything up to the first damage and says what it has not.

use std::path::Path;

use libwatch::tools::{RepairReport, repair, verify};
use libwatch::{ErrorCode, Store, StoreOptions};

use super::common::{Random, delete, folder, put, refused, stream, tiny, watch};
use super::shapes::{SHAPES, closed, compacted, file, files, fill, forge, records, seen};

fn mend(from: &Path, to: &Path) -> libwatch::Result<RepairReport> {
    repair(from, to, &mut |_| {})
}

fn look(path: &Path) -> Store {
    Store::open(path, &StoreOptions { read_only: true, create: false, ..tiny() }).unwrap()
}

/// etcd 1.1, 1.6: nothing is lost where nothing is damaged.
#[test]
fn a_sound_store_loses_nothing() {
    for (name, shape) in SHAPES {
        let (dir, to) = (closed(shape), folder());
        let report = mend(dir.path(), &to.path().join("new")).unwrap();
        assert_eq!((report.damage, report.lost_transactions, report.lost_revision), (None, 0, 0), "{name}");
        assert_eq!(verify(to.path().join("new"), &mut |_| {}).unwrap().damage, None, "{name}");
        let (old, new) = (look(dir.path()), look(&to.path().join("new")));
        assert_eq!((old.revision(), new.revision()), (report.revision, report.fork_revision), "{name}");
        assert_eq!(old.compact_revision(), new.compact_revision(), "{name}");
        assert_eq!(seen(&new, old.revision()), seen(&old, old.revision()), "{name}");
    }
}

/// S 19.9, 19.11: history has no hole; what is behind the damage is counted.
#[test]
fn everything_up_to_the_damage_is_kept_and_the_rest_is_counted() {
    let dir = closed(|store| fill(store, 400, 700));
    let whole = look(dir.path());
    let all = (whole.revision(), seen(&whole, whole.revision()).1);
    let mut dice = Random::new(5);
    for (path, bytes) in files(dir.path()) {
        let name = path.file_name().unwrap().to_str().unwrap().to_string();
        let txns: Vec<_> = records(&bytes).into_iter().filter(|(_, kind)| *kind == 1).collect();
        if !name.starts_with("seg-") || txns.len() < 20 {
            continue;
        }
        whole.close().unwrap();
        let (record, _) = txns[5 + dice.below(txns.len() as u64 - 10) as usize];
        let revision = i64::from_le_bytes(bytes[record + 8..record + 16].try_into().unwrap());
        let mut bad = bytes.clone();
        bad[record + 40] ^= 4;
        std::fs::write(&path, &bad).unwrap();
        let before = files(dir.path());
        let to = folder();
        let report = mend(dir.path(), &to.path().join("new")).unwrap();
        assert_eq!(files(dir.path()), before, "{name}");
        let damage = report.damage.unwrap();
        assert_eq!((damage.file.as_str(), damage.offset), (name.as_str(), record as u64));
        assert_eq!(report.revision, revision - 1);
        assert_eq!(report.transactions, revision as u64 - 2);
        assert_eq!((report.lost_transactions, report.lost_revision), ((all.0 - revision) as u64, all.0));
        assert!(report.fork_revision > all.0);
        assert_eq!(verify(to.path().join("new"), &mut |_| {}).unwrap().damage, None);
        let new = look(&to.path().join("new"));
        let kept: Vec<_> = seen(&new, report.revision).1;
        assert_eq!(kept, all.1[..kept.len()]);
        let next = &all.1[kept.len()];
        assert!(next.starts_with(&format!("{revision} ")), "{next}");
        std::fs::write(&path, &bytes).unwrap();
    }
}

/// etcd 17 Unique: no revision that was seen gets other content.
#[test]
fn the_new_store_goes_on_above_everything_that_was_seen() {
    let (dir, to) = (closed(|store| fill(store, 100, 10)), folder());
    let path = file(dir.path(), "seg-0000000000000001");
    let mut bytes = std::fs::read(&path).unwrap();
    let (record, _) = records(&bytes)[50];
    bytes[record + 40] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let report = mend(dir.path(), &to.path().join("new")).unwrap();
    let store = Store::open(to.path().join("new"), &tiny()).unwrap();
    assert_eq!(put(&store, "key", "new"), report.fork_revision + 1);
    let stream = stream(&store);
    stream.create(&watch(super::common::ALL, report.revision + 2)).unwrap();
    let end = super::common::take(&stream);
    assert!(end.is_canceled() && end.compact_revision() == report.fork_revision);
}

/// etcd 1.6: a change whose checksum is right and whose numbers are not is damage as well.
#[test]
fn a_change_that_does_not_follow_ends_the_history() {
    let dir = closed(|store| {
        put(store, "a", "1");
        put(store, "a", "2");
        delete(store, "a");
    });
    let path = file(dir.path(), "seg-0000000000000001");
    let mut bytes = std::fs::read(&path).unwrap();
    let (second, _) = records(&bytes)[2];
    forge(&mut bytes, second, |record| record[32 + 24] ^= 1);
    std::fs::write(&path, &bytes).unwrap();
    let to = folder();
    let report = mend(dir.path(), &to.path().join("new")).unwrap();
    assert_eq!((report.revision, report.lost_transactions, report.lost_revision), (2, 2, 4));
    assert!(report.damage.unwrap().message.contains("revision 3, key \"a\""));
}

/// S 19.9: without manifest or base nothing is known for sure, and nothing is made up.
#[test]
fn what_cannot_be_repaired_is_an_error_and_leaves_nothing() {
    let (dir, to) = (closed(compacted), folder());
    let new = to.path().join("new");
    for part in ["base-", "MANIFEST"] {
        let path = file(dir.path(), part);
        let bytes = std::fs::read(&path).unwrap();
        let mut bad = bytes.clone();
        bad.iter_mut().skip(100).step_by(4096).for_each(|byte| *byte ^= 1);
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(refused(mend(dir.path(), &new)), ErrorCode::Corrupt, "{part}");
        std::fs::write(&path, &bytes).unwrap();
    }
    let store = Store::open(dir.path(), &tiny()).unwrap();
    assert_eq!(refused(mend(dir.path(), &new)), ErrorCode::Locked);
    store.close().unwrap();
    assert_eq!(refused(mend(&dir.path().join("none"), &new)), ErrorCode::Io);
    assert_eq!(std::fs::read_dir(to.path()).unwrap().count(), 0);
    assert_eq!(refused(mend(dir.path(), to.path())), ErrorCode::Io);
    mend(dir.path(), &new).unwrap();
}
