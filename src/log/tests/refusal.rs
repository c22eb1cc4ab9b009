//! Stores that are not opened, and why.

use super::*;

#[test]
fn a_store_that_does_not_exist_is_made_only_when_asked() {
    let (_temp, dir) = real();
    for (create, read_only) in [(false, false), (true, true), (false, true)] {
        let how = LogOptions { create, read_only, ..options(Durability::Commit) };
        let error = try_open(&dir, &how).err().unwrap();
        assert_eq!((error.code(), error.os_error()), (ErrorCode::Io, libc::ENOENT), "{error}");
        assert!(dir.list().unwrap().is_empty());
    }
    open(&dir, Durability::Commit);
    let how = LogOptions { create: false, ..options(Durability::Commit) };
    assert_eq!(try_open(&dir, &how).unwrap().report.last_revision, 1);
}

#[test]
fn the_second_opener_waits_for_the_close_of_the_first() {
    for (way, dir, durability, _temp) in all_ways() {
        let mut first = open(&dir, durability);
        assert_eq!(open_error(&dir, durability).code(), ErrorCode::Locked, "{way}");
        let reader = LogOptions { read_only: true, ..options(durability) };
        assert_eq!(try_open(&dir, &reader).err().unwrap().code(), ErrorCode::Locked, "{way}");
        first.appender.close().unwrap();
        let second = open(&dir, durability);
        assert_eq!(first.log.base_writer(1).err().unwrap().code(), ErrorCode::Closed, "{way}");
        drop(second);
        assert!(try_open(&dir, &reader).is_ok(), "{way}");
    }
}

#[test]
fn a_reader_refuses_to_write_and_changes_nothing() {
    let (_temp, dir) = real();
    let mut store = open(&dir, Durability::None);
    store.put_until(100, 100);
    drop(store);
    let before = read_all(&dir);
    let reader = LogOptions { read_only: true, ..options(Durability::None) };
    let mut store = try_open(&dir, &reader).unwrap();
    assert_eq!(store.report.last_revision, 100);
    assert_eq!(store.revisions(1).len(), 99);
    assert_eq!(store.try_put(&["k"], 1).unwrap_err().code(), ErrorCode::ReadOnly);
    assert_eq!(store.appender.append_compact(100, 5).unwrap_err().code(), ErrorCode::ReadOnly);
    assert_eq!(store.appender.roll().unwrap_err().code(), ErrorCode::ReadOnly);
    assert_eq!(store.log.base_writer(5).err().unwrap().code(), ErrorCode::ReadOnly);
    store.appender.flush_job().run().unwrap();
    store.appender.close().unwrap();
    assert_eq!(read_all(&dir), before);
}

#[test]
fn filesystems_without_coherent_mappings_are_refused() {
    let dir: Arc<dyn Dir> = Mask::new(MemDir::new(), Filesystem::Untrusted);
    assert_eq!(open_error(&dir, Durability::Commit).code(), ErrorCode::Filesystem);
}

#[test]
fn missing_files_and_foreign_files_are_named() {
    let (_temp, dir) = real();
    let mut store = open(&dir, Durability::None);
    store.put_until(1500, 100);
    let last = store.appender.end().seq();
    store.appender.close().unwrap();
    let (_other_temp, other) = real();
    let mut store = open(&other, Durability::None);
    store.put_until(1500, 100);
    store.appender.close().unwrap();
    let whole = read_all(&dir);
    assert!(last > 3);
    for seq in [1, 2, last] {
        dir.remove(&name(seq)).unwrap();
        let error = open_error(&dir, Durability::None);
        assert_eq!(error.code(), ErrorCode::Corrupt, "{seq}");
        assert!(error.message().contains(&name(seq)), "{error}");
        dir.create(&name(seq)).unwrap().write_at(&read_file(&other, &name(seq)), 0).unwrap();
        let error = open_error(&dir, Durability::None);
        assert_eq!(error.code(), ErrorCode::Corrupt, "{seq}");
        assert!(error.message().contains(&name(seq)), "{error}");
        dir.remove(&name(seq)).unwrap();
        dir.create(&name(seq)).unwrap().write_at(&whole[&name(seq)], 0).unwrap();
    }
    dir.remove("MANIFEST").unwrap();
    let error = open_error(&dir, Durability::None);
    assert!(error.code() == ErrorCode::Corrupt && error.message().contains("MANIFEST"), "{error}");
    dir.create("MANIFEST").unwrap().write_at(&whole["MANIFEST"], 0).unwrap();
    assert_eq!(open(&dir, Durability::None).report.last_revision, 1500);
}

#[test]
fn a_store_of_another_format_is_told_from_a_broken_one() {
    let dir: Arc<dyn Dir> = MemDir::new();
    open(&dir, Durability::None);
    let manifest = dir.open("MANIFEST", true).unwrap();
    let good = read_file(&dir, "MANIFEST");
    for copy in 0..4 {
        manifest.write_at(&[2], copy * 4096 + 8).unwrap();
    }
    assert_eq!(open_error(&dir, Durability::None).code(), ErrorCode::Format);
    manifest.write_at(&good, 0).unwrap();
    let segment = dir.open(&name(1), true).unwrap();
    segment.write_at(&[2], 8).unwrap();
    let error = open_error(&dir, Durability::None);
    assert!(error.code() == ErrorCode::Format && error.message().contains(&name(1)), "{error}");
    segment.write_at(&[1], 8).unwrap();
    assert!(try_open(&dir, &options(Durability::None)).is_ok());
}

#[test]
fn an_older_manifest_than_the_segments_is_noticed() {
    let dir: Arc<dyn Dir> = MemDir::new();
    let mut store = open(&dir, Durability::None);
    store.appender.close().unwrap();
    let old = read_file(&dir, "MANIFEST");
    for round in 1..4 {
        let mut store = open(&dir, Durability::None);
        store.put_until(round * 700, 100);
        store.appender.close().unwrap();
    }
    dir.open("MANIFEST", true).unwrap().write_at(&old, 0).unwrap();
    let error = open_error(&dir, Durability::None);
    assert!(error.code() == ErrorCode::Corrupt && error.message().contains("MANIFEST"), "{error}");
}

#[test]
fn a_visitor_can_stop_the_opening() {
    struct Refuse;
    impl OpenVisitor for Refuse {
        fn base(&mut self, _: &SegmentTable, _: Change<'_>) -> Result<()> {
            Ok(())
        }
        fn record(&mut self, _: &SegmentTable, record: &Record<'_>) -> Result<()> {
            let message = format!("no room for revision {}", record.revision());
            Err(Error::new(ErrorCode::NoMemory, message))
        }
    }
    let dir: Arc<dyn Dir> = MemDir::new();
    let mut store = open(&dir, Durability::None);
    store.put_until(10, 1);
    store.appender.close().unwrap();
    let error = Log::open(Arc::clone(&dir), &options(Durability::None), &mut Refuse).err().unwrap();
    assert_eq!(error.message(), "no room for revision 2");
    assert_eq!(open(&dir, Durability::None).report.last_revision, 10);
}
