//! Disks that fill up, break, and processes that die at any step.

use super::*;

#[test]
fn a_full_disk_leaves_the_log_as_it_was_and_room_later_helps() {
    let memory = MemDir::with_room(3 * SEGMENT);
    let dir: Arc<dyn Dir> = memory.clone();
    let mut store = open(&dir, Durability::None);
    let error = loop {
        match store.try_put(&["key"], 500) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), ErrorCode::NoSpace);
    let (end, last) = (store.appender.end(), store.appender.revision());
    for _ in 0..3 {
        assert_eq!(store.try_put(&["key"], 500).unwrap_err().code(), ErrorCode::NoSpace);
        assert_eq!((store.appender.end(), store.appender.revision()), (end, last));
    }
    assert_eq!(store.revisions(1).len() as i64, last - 1);
    assert!(!store.log.is_poisoned());
    memory.set_room(u64::MAX);
    store.put_until(last + 50, 500);
    memory.set_room(0);
    while store.try_put(&["key"], 100).is_ok() {}
    let last = store.appender.revision();
    store.appender.close().unwrap();
    memory.set_room(u64::MAX);
    let store = open(&dir, Durability::None);
    assert_eq!((store.report.last_revision, store.report.clean), (last, true));
}

#[test]
fn a_full_disk_in_write_through_mode_does_not_poison() {
    let (_temp, inner) = real();
    let mask = Mask::failing(inner, Filesystem::CopyOnWrite, i64::MAX, libc::ENOSPC, true);
    let dir: Arc<dyn Dir> = mask.clone();
    let mut store = open(&dir, Durability::None);
    store.put_until(20, 100);
    let end = store.appender.end();
    mask.fail_at(0, libc::ENOSPC);
    assert_eq!(store.try_put(&["long"], 900).unwrap_err().code(), ErrorCode::NoSpace);
    assert_eq!(store.appender.end(), end);
    store.put_until(40, 10);
    assert_eq!(store.revisions(1), (2..=40).collect::<Vec<_>>());
    drop(store);
    assert_eq!(open(&dir, Durability::None).report.last_revision, 40);
}

#[test]
fn a_failed_write_or_sync_poisons_until_the_store_is_opened_again() {
    for (filesystem, durability) in
        [(Filesystem::InPlace, Durability::Commit), (Filesystem::InPlace, Durability::None)]
    {
        for at in 0..2 {
            let (_temp, inner) = real();
            let mask = Mask::new(inner, filesystem);
            let dir: Arc<dyn Dir> = mask.clone();
            let mut store = open(&dir, durability);
            store.put_until(30, 100);
            store.flush();
            let durable = store.log.durable();
            store.put_until(40, 100);
            if durability == Durability::None && at == 1 {
                continue;
            }
            mask.fail_at(at, libc::EIO);
            let error = store.appender.flush_job().run().unwrap_err();
            assert_eq!((error.code(), error.os_error()), (ErrorCode::Io, libc::EIO));
            mask.fail_at(i64::MAX, libc::EIO);
            assert!(store.log.is_poisoned());
            assert_eq!(store.log.durable(), durable);
            assert_eq!(store.try_put(&["k"], 1).unwrap_err().code(), ErrorCode::Poisoned);
            assert_eq!(store.appender.flush_job().run().unwrap_err().code(), ErrorCode::Poisoned);
            assert_eq!(store.appender.roll().unwrap_err().code(), ErrorCode::Poisoned);
            assert_eq!(store.revisions(1).len(), 39, "readers go on");
            assert_eq!(store.appender.close().unwrap_err().code(), ErrorCode::Poisoned);
            let mut store = open(&dir, durability);
            assert!(store.report.last_revision >= 30 && !store.report.clean);
            store.put(&["k"], 1);
            store.flush();
        }
    }
}

#[test]
fn a_creation_that_dies_at_any_step_is_done_again() {
    for read_only in [false, true] {
        for at in 0.. {
            let mask = Mask::failing(MemDir::new(), Filesystem::InPlace, at, libc::EIO, false);
            let dir: Arc<dyn Dir> = mask.clone();
            let done = try_open(&dir, &options(Durability::Commit)).is_ok();
            mask.fail_at(i64::MAX, libc::EIO);
            if read_only {
                let how = LogOptions { read_only, ..options(Durability::Commit) };
                match try_open(&dir, &how) {
                    Ok(store) => assert_eq!(store.report.last_revision, 1, "step {at}"),
                    Err(error) => assert_eq!(error.os_error(), libc::ENOENT, "step {at}: {error}"),
                }
            }
            let mut store = open(&dir, Durability::Commit);
            assert_eq!((store.report.last_revision, store.report.torn_bytes), (1, 0), "step {at}");
            store.put(&["k"], 1);
            if done {
                assert!(at > 8);
                break;
            }
        }
    }
}

#[test]
fn a_compaction_that_dies_at_any_step_leaves_the_old_or_the_new_state() {
    let mut outcomes = [0, 0];
    for at in 0.. {
        let mask = Mask::new(MemDir::new(), Filesystem::InPlace);
        let dir: Arc<dyn Dir> = mask.clone();
        let mut store = open(&dir, Durability::None);
        store.put_until(700, 150);
        store.appender.append_compact(700, 600).unwrap();
        store.appender.roll().unwrap();
        store.flush();
        mask.fail_at(at, libc::EIO);
        let done = compact_once(&store).is_ok();
        drop(store);
        mask.fail_at(i64::MAX, libc::EIO);
        let mut store = open(&dir, Durability::None);
        assert_eq!((store.report.last_revision, store.report.compact_revision), (700, 600), "step {at}");
        let first = store.log.table().first_revision();
        outcomes[usize::from(first == 600)] += 1;
        assert_eq!(store.log.table().base_revision(), if first == 600 { 600 } else { 0 }, "step {at}");
        assert_eq!(store.revisions(600), (600..=700).collect::<Vec<_>>(), "step {at}");
        assert!(dir.list().unwrap().iter().all(|name| !name.ends_with(".tmp")), "step {at}");
        store.put_until(720, 10);
        compact_once(&store).unwrap();
        store.appender.close().unwrap();
        let store = open(&dir, Durability::None);
        assert_eq!((store.report.last_revision, store.seen.base.len()), (720, 50), "step {at}");
        if done && at > 30 {
            break;
        }
    }
    assert!(outcomes[0] > 5 && outcomes[1] > 3, "{outcomes:?}");
}

/// A base at 600 with the keys that live there.
fn compact_once(store: &Opened) -> Result<()> {
    let table = store.log.table();
    let mut live: BTreeMap<Vec<u8>, Position> =
        table.base_entries().map(|entry| (entry.key().to_vec(), entry.position())).collect();
    let mut cursor = Cursor::at_revision(table.clone(), table.first_revision()).unwrap();
    while let Some(record) = cursor.next(600) {
        live.extend(record.changes().map(|change| (change.key().to_vec(), change.position())));
    }
    let mut writer = store.log.base_writer(600)?;
    for at in live.values() {
        writer.push(table.change(*at).unwrap())?;
    }
    store.log.install_base(writer.finish()?, 600).map(drop)
}

#[test]
fn flushes_on_other_threads_race_with_the_writer_and_lose_nothing() {
    let (_temp, inner) = real();
    let dir: Arc<dyn Dir> = Mask::new(inner, Filesystem::InPlace);
    let mut store = open(&dir, Durability::Commit);
    let begun = std::time::Instant::now();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flushers: Vec<_> = (0..2)
        .map(|_| {
            let (log, stop) = (Arc::clone(&store.log), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut before = Position::NONE;
                while !stop.load(Ordering::Acquire) {
                    assert!(begun.elapsed().as_secs() < 60);
                    let job = log.flush_job();
                    job.run().unwrap();
                    assert!(log.durable() >= job.end() && log.durable() >= before);
                    before = log.durable();
                }
            })
        })
        .collect();
    store.put_until(5000, 200);
    store.flush();
    let all = (2..=5000).collect::<Vec<_>>();
    assert_eq!(store.revisions(1), all);
    drop(store.appender);
    stop.store(true, Ordering::Release);
    flushers.into_iter().for_each(|flusher| flusher.join().unwrap());
    let store = open(&dir, Durability::Commit);
    assert_eq!((store.report.last_revision, store.report.torn_bytes), (5000, 0));
}
