//! Bases: written, found again, installed; segments dropped and rewritten; what others hold stays as it was.

use super::*;

/// The newest change of each key at a revision, as the layer above would know it.
fn live(store: &Opened, at: i64) -> BTreeMap<Vec<u8>, Position> {
    let table = store.log.table();
    let mut live: BTreeMap<Vec<u8>, Position> =
        table.base_entries().map(|change| (change.key().to_vec(), change.position())).collect();
    let mut cursor = Cursor::at_revision(table.clone(), table.first_revision()).unwrap();
    while let Some(record) = cursor.next(at) {
        for change in record.changes().filter(|change| change.mod_revision() > table.base_revision()) {
            live.insert(change.key().to_vec(), change.position());
        }
    }
    live
}

fn write_base(store: &Opened, at: i64, part_bytes: u64) -> (BaseDraft, BTreeMap<Vec<u8>, Position>) {
    let table = store.log.table();
    let mut writer = store.log.base_writer(at).unwrap();
    writer.set_part_bytes(part_bytes);
    let mut places = BTreeMap::new();
    for (key, position) in live(store, at) {
        places.insert(key, writer.push(table.change(position).unwrap()).unwrap());
    }
    (writer.finish().unwrap(), places)
}

/// Compacts to `at` the way the layer above does.
fn compact(store: &mut Opened, at: i64, part_bytes: u64) -> BTreeMap<Vec<u8>, Position> {
    let revision = store.appender.revision();
    store.appender.append_compact(revision, at).unwrap();
    store.appender.roll().unwrap();
    let (draft, places) = write_base(store, at, part_bytes);
    store.log.install_base(draft, at).unwrap();
    places
}

/// Puts and deletes with real histories.
fn grow(store: &mut Opened, last: i64) {
    while store.appender.revision() < last {
        let revision = store.appender.revision() + 1;
        let key = format!("key-{:03}", revision * 7919 % 200);
        let value = vec![revision as u8; 150];
        let change = NewChange {
            lease: revision % 3,
            version: revision + 1,
            depth: revision as u32,
            prev: Position::new(1, 4096),
            skip: Position::new(1, 8192),
            ..put(key.as_bytes(), &value, revision - 1)
        };
        store.appender.append_txn(revision, &[change], &mut Vec::new()).unwrap();
    }
}

#[test]
fn a_base_takes_the_place_of_old_segments() {
    for (way, dir, durability, _temp) in all_ways() {
        for part_bytes in [1 << 30, 8192] {
            let mut store = open(&dir, durability);
            let begin = store.report.last_revision;
            grow(&mut store, begin + 2000);
            let at = begin + 1500;
            let expected = live(&store, at);
            let before = store.log.table();
            let reclaimable = store.log.reclaimable_bytes(at);
            let bytes = store.log.log_bytes();
            let places = compact(&mut store, at, part_bytes);
            let table = store.log.table();
            assert_eq!((table.base_revision(), table.first_revision()), (at, at), "{way}");
            assert!(table.segments().len() < before.segments().len(), "{way}");
            assert!(store.log.log_bytes() < bytes && reclaimable > 0, "{way}");
            assert_eq!(store.revisions(at), (at..=begin + 2000).collect::<Vec<_>>(), "{way}");
            assert!(Cursor::at_revision(store.log.table(), at - 1).is_none(), "{way}");
            for (key, old) in &expected {
                let old = before.change(*old).unwrap();
                let new = table.change(table.base_lookup(key).unwrap()).unwrap();
                assert_eq!(new.position(), places[key], "{way}");
                assert_eq!(
                    (new.key(), new.value(), new.lease()),
                    (old.key(), old.value(), old.lease()),
                    "{way}"
                );
                assert_eq!(new.mod_revision(), old.mod_revision(), "{way}");
                assert_eq!(new.create_revision(), old.create_revision(), "{way}");
                assert_eq!((new.version(), new.depth()), (old.version(), old.depth()), "{way}");
                assert!(new.prev().is_none() && new.skip().is_none(), "{way}");
            }
            for key in [&b""[..], b"a", b"key-", b"key-0000", b"key-1995", b"z"] {
                assert_eq!(table.base_lookup(key), None, "{way}");
            }
            assert!(
                table.base_entries().zip(expected.keys()).all(|(entry, key)| entry.key() == key),
                "{way}"
            );
            assert_eq!(table.base_parts().len() > 1, part_bytes == 8192, "{way}");
            let old_bytes = before.change(Position::new(before.segments()[0].seq(), 4136));
            assert!(store.log.pinned_bytes() > 0, "{way}");
            assert!(old_bytes.is_none_or(|change| !change.key().is_empty()), "{way}");
            drop(before);
            assert_eq!(store.log.pinned_bytes(), 0, "{way}");
            store.appender.close().unwrap();
            drop(table);
            let mut store = open(&dir, durability);
            assert_eq!(store.report.compact_revision, at, "{way}");
            assert_eq!(store.report.last_revision, begin + 2000, "{way}");
            assert_eq!(store.seen.base.len(), expected.len(), "{way}");
            assert!(store.seen.base.iter().map(|(key, _)| key).eq(expected.keys()), "{way}");
            assert_eq!(store.seen.records[0].0, at, "{way}");
            assert_eq!(live(&store, begin + 2000).len(), 200, "{way}");
            store.appender.close().unwrap();
        }
    }
}

#[test]
fn positions_survive_the_rewriting_of_their_segment() {
    for (way, dir, durability, _temp) in all_ways() {
        let mut store = open(&dir, durability);
        let mut positions = BTreeMap::new();
        for revision in 2..600 {
            positions.insert(revision, store.put(&["k"], 200)[0]);
        }
        store.flush();
        let old = store.log.table();
        let segment = &old.segments()[0];
        let next = old.segments()[1].first_revision();
        let at = next - 20;
        let mut follower = Cursor::at_revision(store.log.table(), at - 5).unwrap();
        let behind = Cursor::at_revision(store.log.table(), 10).unwrap();
        assert_eq!(follower.next(i64::MAX).unwrap().revision(), at - 5, "{way}");
        compact(&mut store, at, 1 << 30);
        let table = store.log.table();
        let rewritten = &table.segments()[0];
        assert_eq!((rewritten.seq(), rewritten.first_revision()), (segment.seq(), at), "{way}");
        assert!(rewritten.stored_bytes() < segment.stored_bytes() / 2, "{way}");
        for (revision, position) in &positions {
            let now = table.change(*position).map(|change| change.mod_revision());
            assert_eq!(now, (*revision >= at).then_some(*revision), "{way}");
            assert_eq!(old.change(*position).unwrap().mod_revision(), *revision, "{way}");
        }
        for (mut cursor, first) in [(follower, at - 4), (behind, 10)] {
            cursor.retarget(store.log.table());
            assert!(!cursor.is_overtaken(), "{way}");
            for revision in first..600 {
                assert_eq!(cursor.next(i64::MAX).unwrap().revision(), revision, "{way}");
            }
            assert!(cursor.next(i64::MAX).is_none(), "{way}");
        }
        assert_eq!(store.revisions(at), (at..600).collect::<Vec<_>>(), "{way}");
        assert_eq!(store.revisions(at + 7)[0], at + 7, "{way}");
        store.appender.close().unwrap();
        let mut store = open(&dir, durability);
        assert_eq!(store.seen.records[0].0, at, "{way}");
        store.put_until(700, 200);
        assert_eq!(store.revisions(at), (at..=700).collect::<Vec<_>>(), "{way}");
        // A second rewriting of the same segment, then its end.
        compact(&mut store, at + 15, 1 << 30);
        assert_eq!(store.revisions(at + 15), (at + 15..=700).collect::<Vec<_>>(), "{way}");
        compact(&mut store, 700, 1 << 30);
        assert_eq!(store.revisions(700), [700], "{way}");
        store.appender.close().unwrap();
        assert_eq!(open(&dir, durability).report.last_revision, 700, "{way}");
    }
}

#[test]
fn a_cursor_that_compaction_overtook_says_so() {
    let dir: Arc<dyn Dir> = MemDir::new();
    let mut store = open(&dir, Durability::None);
    store.put_until(2000, 100);
    let mut cursor = Cursor::at_revision(store.log.table(), 2).unwrap();
    assert_eq!(cursor.next(i64::MAX).unwrap().revision(), 2);
    let second = store.log.table().segments()[1].first_revision();
    compact(&mut store, 1900, 1 << 30);
    cursor.retarget(store.log.table());
    assert!(cursor.is_overtaken());
    let mut last = 2;
    while let Some(record) = cursor.next(i64::MAX) {
        last += 1;
        assert_eq!(record.revision(), last);
    }
    assert_eq!(last, second - 1, "the segment in hand is read to its end and nothing is skipped");
}

#[test]
fn numbers_of_base_parts_are_never_given_twice() {
    for (way, dir, durability, _temp) in all_ways() {
        let mut store = open(&dir, durability);
        let mut given = std::collections::BTreeSet::new();
        for round in 0..4 {
            let begin = store.appender.revision();
            grow(&mut store, begin + 300);
            compact(&mut store, begin + 200, 8192);
            let parts = store.log.table().base_parts().iter().map(|part| part.seq()).collect::<Vec<_>>();
            assert!(parts.len() > 1, "{way}");
            assert!(parts.iter().all(|seq| given.insert(*seq)), "{way}: {parts:?} in round {round}");
            // A base without parts, as where every key was deleted.
            store.appender.append_compact(begin + 300, begin + 300).unwrap();
            store.appender.roll().unwrap();
            let draft = store.log.base_writer(begin + 299).unwrap().finish().unwrap();
            store.log.install_base(draft, begin + 300).unwrap();
            assert!(store.log.table().base_parts().is_empty(), "{way}");
            if round % 2 == 0 {
                store.appender.close().unwrap();
                drop(store);
                store = open(&dir, durability);
            }
        }
    }
}

#[test]
fn a_base_of_nothing_and_of_everything() {
    let dir: Arc<dyn Dir> = MemDir::new();
    let mut store = open(&dir, Durability::None);
    store.put_until(100, 100);
    store.appender.roll().unwrap();
    let draft = store.log.base_writer(100).unwrap().finish().unwrap();
    store.log.install_base(draft, 101).unwrap();
    assert_eq!(store.log.table().base_entries().count(), 0);
    assert_eq!(store.log.table().base_lookup(b"k"), None);
    assert_eq!(store.log.table().segments().len(), 1);
    drop(store);
    let mut store = open(&dir, Durability::None);
    assert_eq!((store.report.last_revision, store.log.table().base_revision()), (100, 100));
    store.put_until(150, 100);
    compact(&mut store, 150, 1 << 30);
    drop(store);
    let store = open(&dir, Durability::None);
    assert_eq!((store.report.last_revision, store.seen.base.len()), (150, 50));
}

#[test]
fn misuse_is_refused_and_an_abandoned_base_leaves_nothing() {
    let dir: Arc<dyn Dir> = MemDir::new();
    let mut store = open(&dir, Durability::None);
    grow(&mut store, 500);
    let names = || {
        let mut names = dir.list().unwrap();
        names.sort();
        names
    };
    let before = names();
    let table = store.log.table();
    let mut cursor = Cursor::at_revision(table.clone(), 2).unwrap();
    let at = cursor.next(9).unwrap().changes().next().unwrap().position();
    let mut writer = store.log.base_writer(400).unwrap();
    assert_eq!(store.log.base_writer(400).err().unwrap().code(), ErrorCode::InvalidState);
    writer.push(table.change(at).unwrap()).unwrap();
    assert_eq!(writer.push(table.change(at).unwrap()).unwrap_err().code(), ErrorCode::InvalidArgument);
    drop(writer);
    assert_eq!(names(), before);
    let (draft, _) = write_base(&store, 400, 8192);
    assert_ne!(names(), before);
    drop(draft);
    assert_eq!(names(), before);
    compact(&mut store, 400, 8192);
    let (draft, _) = write_base(&store, 400, 8192);
    assert_eq!(store.log.install_base(draft, 399).unwrap_err().code(), ErrorCode::InvalidArgument);
    let draft = store.log.base_writer(399).unwrap().finish().unwrap();
    assert_eq!(store.log.install_base(draft, 450).unwrap_err().code(), ErrorCode::InvalidArgument);
    assert_eq!(store.log.table().base_revision(), 400);
}

#[test]
fn every_byte_of_a_base_is_guarded() {
    let dir: Arc<dyn Dir> = MemDir::new();
    let mut store = open(&dir, Durability::None);
    grow(&mut store, 300);
    compact(&mut store, 290, 1 << 30);
    let part = store.log.table().base_parts()[0].clone();
    store.appender.close().unwrap();
    drop(store);
    let name = header::base_name(part.seq());
    for offset in (0..part.len()).step_by(97).chain(part.len() - 400..part.len() - 4) {
        flip(&dir, &name, offset);
        let error = open_error(&dir, Durability::None);
        let known = matches!(error.code(), ErrorCode::Corrupt | ErrorCode::Format);
        assert!(known && error.message().contains(&name), "{offset}: {error}");
        flip(&dir, &name, offset);
    }
    dir.remove(&name).unwrap();
    assert_eq!(open_error(&dir, Durability::None).code(), ErrorCode::Corrupt);
}

#[test]
fn jumps_and_rewritten_segments_go_together() {
    let mask = Mask::new(MemDir::new(), Filesystem::InPlace);
    let dir: Arc<dyn Dir> = mask.clone();
    let mut store = open(&dir, Durability::None);
    store.put_until(200, 100);
    drop(store);
    mask.reboot();
    let mut store = open(&dir, Durability::None);
    let first = store.report.last_revision;
    store.put_until(first + 20, 100);
    compact(&mut store, first - 3, 1 << 30);
    assert_eq!(store.revisions(first - 3)[0], first + 1);
    store.appender.close().unwrap();
    let store = open(&dir, Durability::None);
    assert_eq!(store.report.jumps, [(200, first)]);
    assert_eq!(store.seen.records[0].0, first + 1);
}
