//! What an opening makes of each kind of end, and when it skips revisions.

use super::*;

/// A store with some segments whose last session was not closed; returns its crash image.
fn crashed(durability: Durability, flush_every: i64) -> (Arc<Mask>, u64, u32) {
    let memory: Arc<dyn Dir> = Mask::new(MemDir::new(), Filesystem::InPlace);
    let mut store = open(&memory, durability);
    for last in 1..=60 {
        store.put_until(last * 20, 100);
        if last % flush_every == 0 {
            store.flush();
        }
    }
    let end = store.appender.end();
    let image = crash_image(&memory, Filesystem::InPlace);
    drop(store);
    (image, end.offset(), end.seq())
}

fn as_dir(mask: &Arc<Mask>) -> Arc<dyn Dir> {
    Arc::clone(mask) as Arc<dyn Dir>
}

#[test]
fn a_torn_record_is_cut_and_everything_before_it_stays() {
    for (durability, flush_every) in [(Durability::Commit, 1), (Durability::None, 1000)] {
        for part in ["length only", "half", "garbage"] {
            let (image, end, seq) = crashed(durability, flush_every);
            let dir = as_dir(&image);
            let file = dir.open(&name(seq), true).unwrap();
            let torn: Vec<u8> = match part {
                "length only" => 200u32.to_le_bytes().to_vec(),
                "half" => {
                    let mut start = vec![0; 100];
                    file.read_at(&mut start, end - 192).unwrap();
                    start
                }
                _ => (0..333).map(|i| (i * 7 + 1) as u8).collect(),
            };
            file.write_at(&torn, end).unwrap();
            let before = read_all(&dir);
            let reader = LogOptions { read_only: true, create: false, ..options(durability) };
            let store = try_open(&dir, &reader).unwrap();
            assert_eq!(store.report.last_revision, 1200, "{part}");
            assert!(store.report.torn_bytes >= 1 && store.report.torn_bytes <= 336, "{part}");
            drop(store);
            assert_eq!(read_all(&dir), before, "a reader changed something after {part}");
            let mut store = open(&dir, durability);
            assert_eq!(store.report.last_revision, 1200, "{part}");
            assert!(store.report.torn_bytes >= 1 && !store.report.clean, "{part}");
            assert!(store.report.jumps.is_empty(), "{part}");
            assert_eq!(store.seen.records.len(), 1199, "{part}");
            store.put_until(1300, 50);
            store.appender.close().unwrap();
            let store = open(&dir, durability);
            assert_eq!((store.report.last_revision, store.report.torn_bytes), (1300, 0), "{part}");
        }
    }
}

#[test]
fn a_record_that_was_durable_is_never_dropped() {
    let (image, end, seq) = crashed(Durability::Commit, 1);
    let dir = as_dir(&image);
    // The last record names everything up to the flush before it.
    for at in [4096 + 40, end / 2 / 8 * 8, end - 20 * 200] {
        let before = read_all(&dir);
        flip(&dir, &name(seq), at);
        let damaged = read_all(&dir);
        for read_only in [true, false] {
            let how = LogOptions { read_only, ..options(Durability::Commit) };
            let error = try_open(&dir, &how).err().unwrap();
            assert_eq!(error.code(), ErrorCode::Corrupt, "{at}: {error}");
            assert!(error.message().contains(&name(seq)) && error.message().contains("offset"), "{error}");
        }
        assert_eq!(read_all(&dir), damaged, "the refusal changed something");
        flip(&dir, &name(seq), at);
        assert_eq!(read_all(&dir), before);
    }
    assert_eq!(open(&dir, Durability::Commit).report.last_revision, 1200);
}

#[test]
fn damage_in_a_segment_that_is_not_the_last_is_refused() {
    for (durability, flush_every) in [(Durability::Commit, 1), (Durability::None, 1000)] {
        let (image, _, seq) = crashed(durability, flush_every);
        let dir = as_dir(&image);
        assert!(seq > 2);
        for victim in 1..seq {
            flip(&dir, &name(victim), 20_000);
            let error = open_error(&dir, durability);
            assert_eq!(error.code(), ErrorCode::Corrupt);
            assert!(error.message().contains(&name(victim)), "{error}");
            flip(&dir, &name(victim), 20_000);
        }
        let mut store = open(&dir, durability);
        store.put_until(1201, 1);
    }
}

#[test]
fn unsynced_segments_may_be_torn_by_a_power_loss_and_no_revision_comes_back() {
    let (image, _, seq) = crashed(Durability::None, 1000);
    let dir = as_dir(&image);
    flip(&dir, &name(2), 20_000);
    image.reboot();
    let reader = LogOptions { read_only: true, ..options(Durability::None) };
    let store = try_open(&dir, &reader).unwrap();
    let last = store.report.last_revision;
    assert!(last < 1200 && last > 300 && store.report.jumps.is_empty());
    drop(store);
    let mut store = open(&dir, Durability::None);
    assert_eq!(store.report.jumps, [(last, store.report.last_revision)]);
    assert!(store.report.last_revision > 1200, "a revision that was seen could come back");
    assert!(store.report.torn_bytes > SEGMENT && seq > 2);
    let first = store.report.last_revision + 1;
    store.put_until(first + 500, 80);
    assert_eq!(store.revisions(last)[..3], [last, first, first + 1]);
    store.appender.close().unwrap();
    image.reboot();
    let store = open(&dir, Durability::None);
    assert!(store.report.clean);
    assert_eq!(store.report.last_revision, first + 500);
    assert_eq!(store.report.jumps, [(last, first - 1)]);
}

#[test]
fn the_jump_is_made_exactly_when_something_seen_may_be_lost() {
    for (durability, reboot, close, jumps) in [
        (Durability::None, true, false, 1),
        (Durability::Interval, true, false, 1),
        (Durability::Interval, false, false, 0),
        (Durability::None, true, true, 0),
        (Durability::Commit, true, false, 0),
    ] {
        let mask = Mask::new(MemDir::new(), Filesystem::InPlace);
        let dir = as_dir(&mask);
        let mut store = open(&dir, durability);
        store.put_until(50, 10);
        store.flush();
        if close {
            store.appender.close().unwrap();
        }
        drop(store);
        if reboot {
            mask.reboot();
        }
        let store = open(&dir, durability);
        let case = format!("{durability:?} reboot {reboot} close {close}");
        assert_eq!(store.report.jumps.len(), jumps, "{case}");
        if jumps == 0 {
            assert_eq!(store.report.last_revision, 50, "{case}");
        } else {
            assert!(store.report.last_revision >= 50 + (SEGMENT as i64 - 16_384) / 88, "{case}");
        }
    }
}

#[test]
fn a_clean_close_of_an_earlier_session_proves_nothing() {
    let mask = Mask::new(MemDir::new(), Filesystem::InPlace);
    let dir = as_dir(&mask);
    let mut store = open(&dir, Durability::None);
    store.put_until(50, 10);
    store.appender.close().unwrap();
    let closed = read_all(&dir);
    let mut store = open(&dir, Durability::None);
    store.put_until(60, 10);
    // All records of the second session are lost with the power; only what an opening syncs is there.
    let file = dir.open(&name(1), true).unwrap();
    file.write_at(&closed[&name(1)], 0).unwrap();
    drop(store);
    mask.reboot();
    let store = open(&dir, Durability::None);
    assert!(!store.report.clean);
    assert_eq!(store.report.jumps.len(), 1);
    assert!(store.report.last_revision >= 60);
}

#[test]
fn an_opening_that_crashes_during_repair_is_repeated() {
    for at in 0..40 {
        let (image, _, _) = crashed(Durability::None, 1000);
        flip(&as_dir(&image), &name(2), 20_000);
        image.reboot();
        image.fail_at(at, libc::EIO);
        let first = try_open(&as_dir(&image), &options(Durability::None));
        let done = first.is_ok();
        drop(first);
        image.fail_at(i64::MAX, libc::EIO);
        let store = open(&as_dir(&image), Durability::None);
        assert!(store.report.last_revision > 1200, "at operation {at}: {:?}", store.report);
        if done {
            assert!(at > 10, "the repair takes more steps than {at}");
            return;
        }
    }
    panic!("no opening came to its end");
}

#[test]
fn a_crash_between_the_seal_and_the_next_start_is_repaired() {
    let (image, _, seq) = crashed(Durability::None, 1000);
    let dir = as_dir(&image);
    let file = dir.open(&name(seq), true).unwrap();
    let rest = vec![0; file.len().unwrap() as usize - 4096];
    file.write_at(&rest, 4096).unwrap();
    let mut store = open(&dir, Durability::None);
    assert!(store.report.last_revision < 1200);
    assert_eq!(store.appender.end().seq(), seq);
    let last = store.report.last_revision;
    store.put_until(last + 100, 60);
    store.appender.close().unwrap();
    assert_eq!(open(&dir, Durability::None).report.last_revision, last + 100);
}

#[test]
fn prepared_segments_that_were_not_used_are_no_trouble() {
    // The last one has a magic number, but its version has not reached the disk.
    for broken in [None, Some(vec![0; 100]), Some([&b"libwSEG\n"[..], &[0; 5000]].concat())] {
        let (image, _, seq) = crashed(Durability::Commit, 1);
        let dir = as_dir(&image);
        let next = name(seq + 1);
        if let Some(bytes) = broken {
            let _ = dir.remove(&next);
            dir.create(&next).unwrap().write_at(&bytes, 0).unwrap();
        }
        let mut store = open(&dir, Durability::Commit);
        assert_eq!(store.report.last_revision, 1200);
        store.put_until(2000, 100);
        store.appender.close().unwrap();
        assert_eq!(open(&dir, Durability::Commit).report.last_revision, 2000);
    }
}

#[test]
fn durability_may_change_from_session_to_session() {
    let (_temp, inner) = real();
    let mut last = 1;
    let modes = [Durability::None, Durability::Commit, Durability::Interval];
    for (round, durability) in modes.into_iter().cycle().take(9).enumerate() {
        let filesystem = if round % 2 == 0 { Filesystem::InPlace } else { Filesystem::CopyOnWrite };
        let dir: Arc<dyn Dir> = Mask::new(Arc::clone(&inner), filesystem);
        let mut store = open(&dir, durability);
        assert_eq!((store.report.last_revision, store.report.jumps.len()), (last, 0), "{round}");
        last += 333;
        store.put_until(last, 120);
        if round % 3 == 0 {
            store.appender.close().unwrap();
        } else {
            store.flush();
        }
    }
}

#[test]
fn every_cut_of_an_unclean_log_opens_to_a_prefix() {
    let memory: Arc<dyn Dir> = Mask::new(MemDir::new(), Filesystem::InPlace);
    let mut store = open(&memory, Durability::None);
    store.put_until(30, 40);
    let end = store.appender.end().offset();
    let image = read_all(&memory);
    drop(store);
    let bytes = &image[&name(1)];
    let mut last = 0;
    for cut in 4096..=end {
        let copy = MemDir::new();
        for (name, bytes) in &image {
            copy.create(name).unwrap().write_at(bytes, 0).unwrap();
        }
        let file = copy.open(&name(1), true).unwrap();
        file.write_at(&vec![0; bytes.len() - cut as usize], cut).unwrap();
        let dir: Arc<dyn Dir> = Mask::new(copy, Filesystem::InPlace);
        let store = open(&dir, Durability::None);
        assert!(store.report.last_revision >= last, "cut at {cut}");
        last = store.report.last_revision;
        let want: Vec<i64> = (2..=last).collect();
        assert_eq!(store.revisions(1), want, "cut at {cut}");
    }
    assert_eq!(last, 30);
}
