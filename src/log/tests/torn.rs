//! What a crash left behind the end is set aside before it is cleared.

use super::*;
use crate::log::torn::{FILES_MAX, TornHeader};

/// A store with `torn` behind its last record, and the end of that record.
fn torn_store(torn: &[u8]) -> (Arc<Mask>, u64) {
    let memory: Arc<dyn Dir> = Mask::new(MemDir::new(), Filesystem::InPlace);
    let mut store = open(&memory, Durability::Commit);
    store.put_until(40, 100);
    store.flush();
    let end = store.appender.end().offset();
    let image = crash_image(&memory, Filesystem::InPlace);
    image.open(&name(1), true).unwrap().write_at(torn, end).unwrap();
    (image, end)
}

fn aside(dir: &Arc<dyn Dir>) -> Vec<String> {
    let mut names: Vec<_> =
        dir.list().unwrap().into_iter().filter(|name| name.starts_with("torn-")).collect();
    names.sort();
    names
}

/// Design decision D9: what is cut off the log is kept for whoever wants to look at it.
#[test]
fn torn_bytes_are_in_a_file_when_the_store_is_open() {
    let torn: Vec<u8> = (0..500).map(|i| (i % 250 + 1) as u8).collect();
    let (image, end) = torn_store(&torn);
    let dir: Arc<dyn Dir> = image;
    let store = open(&dir, Durability::Commit);
    assert_eq!((store.report.last_revision, store.report.torn_bytes), (40, 504));
    assert_eq!(aside(&dir), ["torn-00000001.lws"]);
    let file = read_file(&dir, "torn-00000001.lws");
    let header = TornHeader::decode(&file[..4096]).unwrap();
    assert_eq!((header.session, header.revision, header.ranges.len()), (1, 40, 1));
    let range = header.ranges[0];
    assert_eq!((range.seq, range.from, range.to, range.stored), (1, end, end + 504, 504));
    assert!(
        file.len() == 4096 + 504
            && file[4096..4596] == torn[..]
            && range.crc == crc32c::crc32c(&file[4096..])
    );
    let log = read_file(&dir, &name(1));
    assert!(log[end as usize..].iter().all(|byte| *byte == 0));
    drop(store);
    assert_eq!(open(&dir, Durability::Commit).report.torn_bytes, 0);
    assert_eq!(aside(&dir).len(), 1, "nothing was torn this time");
}

/// Design decision D9: a store that crashes again and again does not fill the disk with what it cut off.
#[test]
fn only_the_newest_files_of_torn_bytes_are_kept() {
    let (image, mut end) = torn_store(b"torn");
    let dir: Arc<dyn Dir> = image;
    for round in 1..=FILES_MAX + 3 {
        let mut store = open(&dir, Durability::Commit);
        assert_eq!(store.report.torn_bytes, 8, "{round}");
        let names = aside(&dir);
        assert_eq!(names.len(), round.min(FILES_MAX));
        assert_eq!(names.last(), Some(&format!("torn-{round:08x}.lws")));
        store.put(&["k"], 10);
        store.flush();
        end = store.appender.end().offset().max(end);
        drop(store);
        dir.open(&name(1), true).unwrap().write_at(b"again", end).unwrap();
    }
}

/// Design decision D9: a disk without room for the copy does not keep the store closed.
#[test]
fn a_full_disk_is_no_reason_not_to_open() {
    let mut without = 0;
    for at in 0.. {
        let (image, _) = torn_store(b"torn bytes");
        let inner: Arc<dyn Dir> = image;
        let mask = Mask::failing(Arc::clone(&inner), Filesystem::InPlace, at, libc::ENOSPC, true);
        let dir: Arc<dyn Dir> = mask.clone();
        let opened = try_open(&dir, &options(Durability::Commit));
        let failed = mask.fault.left.load(Ordering::Acquire) < 0;
        match opened {
            Ok(store) => {
                assert_eq!(store.report.last_revision, 40, "operation {at}");
                without += usize::from(aside(&inner).is_empty());
                assert!(inner.list().unwrap().iter().all(|name| !name.ends_with(".tmp")), "operation {at}");
            }
            Err(error) => assert_eq!(error.code(), ErrorCode::NoSpace, "operation {at}"),
        }
        let mut store = open(&inner, Durability::Commit);
        assert_eq!(store.report.last_revision, 40, "operation {at}");
        store.put(&["k"], 1);
        if !failed {
            break;
        }
    }
    assert!(without >= 5, "{without}");
}

/// Design decision D9: damage that is refused is left as it is, for whoever repairs it.
#[test]
fn what_is_refused_is_not_set_aside() {
    let (image, end) = torn_store(b"torn");
    let dir: Arc<dyn Dir> = image;
    let file = dir.open(&name(1), true).unwrap();
    let mut store = open(&dir, Durability::Commit);
    store.put_until(60, 10);
    store.flush();
    store.put_until(70, 10);
    store.flush();
    drop(store);
    file.write_at(&[0xff; 8], end + 64).unwrap();
    let before = read_all(&dir);
    assert_eq!(open_error(&dir, Durability::Commit).code(), ErrorCode::Corrupt);
    assert_eq!(read_all(&dir), before);
}
