//! Stores that between them have everything that files can hold, and ways to damage them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use libwatch::{CreateRequest, DeleteRangeRequest, Op, PutRequest, RangeRequest, Store, TxnRequest};
use tempfile::TempDir;

use super::common::{ALL, Random, crash_image, folder, lines, pair, put, settle, stream, tiny, watch};

const PAGE: usize = 4096;

/// A way to fill a store.
pub type Fill = fn(&Store);

pub const SHAPES: [(&str, Fill); 10] = [
    ("empty", |_| {}),
    ("puts", |store| fill(store, 40, 10)),
    ("segments", |store| fill(store, 500, 700)),
    ("a large value", |store| {
        put(store, "large", vec![7; 200_000]);
        fill(store, 20, 2000);
    }),
    ("compacted logically", |store| {
        fill(store, 500, 700);
        store.compact(store.revision() / 2, false).unwrap();
    }),
    ("compacted", compacted),
    ("compacted twice", |store| {
        compacted(store);
        fill(store, 300, 700);
        store.compact(store.revision() - 50, true).unwrap();
        fill(store, 30, 30);
    }),
    ("a base without keys", base_without_keys),
    ("a base behind one without keys", |store| {
        compacted(store);
        base_without_keys(store);
        fill(store, 200, 300);
        store.compact(store.revision() - 20, true).unwrap();
        fill(store, 20, 300);
    }),
    ("all keys deleted", |store| {
        fill(store, 300, 700);
        let (key, range_end) = ALL;
        store.delete_range(&DeleteRangeRequest { key, range_end, ..Default::default() }).unwrap();
        put(store, "last", "");
        super::common::delete(store, "last");
        store.compact(store.revision(), true).unwrap();
    }),
];

/// Puts, deletes and transactions on a few keys.
pub fn fill(store: &Store, count: u64, value: u64) {
    let mut dice = Random::new(count + store.revision() as u64);
    for i in 0..count {
        let key = format!("key{:03}", dice.below(50));
        let bytes = vec![b'a' + (i % 26) as u8; dice.below(value + 1) as usize];
        match dice.below(6) {
            0 => drop(store.delete_range(&DeleteRangeRequest { key: key.as_bytes(), ..Default::default() })),
            1 => {
                let other = format!("other{i}");
                let request = |key| PutRequest { key, value: &bytes, lease: i as i64, ..Default::default() };
                let success = [Op::Put(request(key.as_bytes())), Op::Put(request(other.as_bytes()))];
                store.txn(&TxnRequest { success: success.to_vec(), ..Default::default() }).unwrap();
            }
            _ => drop(put(store, key, bytes)),
        }
    }
}

/// Nothing lived just below the compaction, and keys come back later.
fn base_without_keys(store: &Store) {
    fill(store, 300, 700);
    let (key, range_end) = ALL;
    store.delete_range(&DeleteRangeRequest { key, range_end, ..Default::default() }).unwrap();
    put(store, "key001", "first again");
    store.compact(store.revision(), true).unwrap();
    fill(store, 100, 700);
}

/// With a base, a rewritten segment and history in several segments.
pub fn compacted(store: &Store) {
    fill(store, 600, 700);
    store.compact(store.revision() / 2, true).unwrap();
    fill(store, 100, 200);
}

/// A closed store of a shape.
pub fn closed(shape: Fill) -> TempDir {
    let dir = folder();
    let store = Store::open(dir.path(), &tiny()).unwrap();
    shape(&store);
    store.close().unwrap();
    dir
}

/// The files that a process leaves that is killed.
pub fn crashed(shape: Fill) -> TempDir {
    let dir = folder();
    let store = Store::open(dir.path(), &tiny()).unwrap();
    shape(&store);
    crash_image(&dir)
}

/// Every file with its bytes.
pub fn files(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Everything that a program can see of a store: its pairs at a revision, and the events up to it in lines.
pub fn seen(store: &Store, revision: i64) -> (Vec<String>, Vec<String>) {
    let (key, range_end) = ALL;
    let pairs = store.range(&RangeRequest { key, range_end, revision, ..Default::default() }).unwrap();
    let pairs = pairs.iter().map(|kv| format!("{:?}", pair(&kv))).collect();
    let stream = stream(store);
    let start = store.compact_revision().max(1);
    stream.create(&CreateRequest { prev_kv: true, ..watch(ALL, start) }).unwrap();
    let mut events: Vec<String> = settle(&stream).iter().flat_map(lines).collect();
    let number = |line: &String| line.split(' ').next().unwrap().parse::<i64>().unwrap();
    events.retain(|line| number(line) <= revision);
    (pairs, events)
}

/// The only file whose name has this part.
pub fn file(path: &Path, part: &str) -> PathBuf {
    let named = |file: &PathBuf| file.file_name().unwrap().to_str().unwrap().contains(part);
    files(path).into_keys().find(named).unwrap_or_else(|| panic!("no file with {part}"))
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn half(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// The records of a file: offset, kind.
pub fn records(bytes: &[u8]) -> Vec<(usize, u8)> {
    let mut at = word(bytes, 64) as usize;
    let mut found = Vec::new();
    while at + 32 <= bytes.len() && half(bytes, at) >= 32 && (1..=7).contains(&bytes[at + 28]) {
        found.push((at, bytes[at + 28]));
        at += half(bytes, at);
    }
    found
}

/// Changes a record and gives it the checksum that a writer would have.
pub fn forge(bytes: &mut [u8], at: usize, change: impl FnOnce(&mut [u8])) {
    let len = half(bytes, at);
    change(&mut bytes[at..at + len]);
    let crc = crc32c::crc32c(&bytes[32..48]);
    let place = [(len as u32).to_le_bytes(), ((at / 8) as u32).to_le_bytes()].concat();
    let crc = crc32c::crc32c_append(crc, &place);
    let crc = crc32c::crc32c_append(crc, &bytes[at + 8..at + len]);
    bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Changes pages and gives them their checksums.
pub fn forge_pages(bytes: &mut [u8], change: impl Fn(&mut [u8])) {
    for page in bytes.chunks_exact_mut(PAGE) {
        change(page);
        let crc = crc32c::crc32c(&page[..PAGE - 4]);
        page[PAGE - 4..].copy_from_slice(&crc.to_le_bytes());
    }
}
