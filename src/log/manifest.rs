//! The one page that says which files make up the store. It is kept four times; a new generation overwrites
//! the two copies of the generation before the last, one after the other with a sync after each, so a crash
//! at any point leaves a complete generation. A switch of generations is the commit point of compaction.

use super::change::{u32_at, u64_at};
use super::header::{FORMAT_MAJOR, FORMAT_MINOR, Naming, PAGE, PageError, array_at, open_page, seal_page};
use crate::error::{Error, ErrorCode, Result};
use crate::options::Durability;
use crate::os::file::{Dir, File};
use std::sync::Arc;

pub(super) const MANIFEST: &str = "MANIFEST";
const MANIFEST_TMP: &str = "MANIFEST.tmp";
const MAGIC: &[u8; 8] = b"libwMAN\n";
const COPIES: usize = 4;

/// The decoded page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub generation: u64,
    pub uuid: [u8; 16],
    pub hash_seed: u64,
    /// Counts the openings by writers; a CLOSE record carries it, so a CLOSE of an earlier session proves
    /// nothing.
    pub session: u64,
    pub boot_id: [u8; 16],
    pub durability: Durability,
    pub first_seq: u32,
    pub base_first: u32,
    pub base_count: u32,
    pub base_revision: i64,
    pub first_revision: i64,
    pub compact_revision: i64,
    /// No revision below this one may be given out any more.
    pub floor: i64,
    pub segment_bytes: u64,
}

impl Manifest {
    fn encode(&self) -> Vec<u8> {
        let mut page = vec![0; PAGE];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(8, &FORMAT_MAJOR.to_le_bytes());
        put(10, &FORMAT_MINOR.to_le_bytes());
        put(12, &durability_number(self.durability).to_le_bytes());
        put(16, &self.uuid);
        put(32, &self.generation.to_le_bytes());
        put(40, &self.hash_seed.to_le_bytes());
        put(48, &self.session.to_le_bytes());
        put(56, &self.boot_id);
        put(72, &self.first_seq.to_le_bytes());
        put(76, &self.base_first.to_le_bytes());
        put(80, &self.base_count.to_le_bytes());
        put(88, &self.base_revision.to_le_bytes());
        put(96, &self.first_revision.to_le_bytes());
        put(104, &self.compact_revision.to_le_bytes());
        put(112, &self.floor.to_le_bytes());
        put(120, &self.segment_bytes.to_le_bytes());
        seal_page(&mut page);
        page
    }

    fn decode(page: &[u8]) -> std::result::Result<Self, PageError> {
        open_page(page, MAGIC)?;
        Ok(Self {
            generation: u64_at(page, 32),
            uuid: array_at(page, 16),
            hash_seed: u64_at(page, 40),
            session: u64_at(page, 48),
            boot_id: array_at(page, 56),
            durability: match u32_at(page, 12) {
                0 => Durability::None,
                1 => Durability::Interval,
                2 => Durability::Commit,
                _ => return Err(PageError::Corrupt("the durability is not a known one")),
            },
            first_seq: u32_at(page, 72),
            base_first: u32_at(page, 76),
            base_count: u32_at(page, 80),
            base_revision: u64_at(page, 88) as i64,
            first_revision: u64_at(page, 96) as i64,
            compact_revision: u64_at(page, 104) as i64,
            floor: u64_at(page, 112) as i64,
            segment_bytes: u64_at(page, 120),
        })
    }

    /// Numbers of the base parts.
    pub fn base_parts(&self) -> std::ops::Range<u32> {
        self.base_first..self.base_first.saturating_add(self.base_count)
    }

    /// Whether the last writer acknowledged commits before they were on disk.
    pub fn is_relaxed(&self) -> bool {
        self.durability != Durability::Commit
    }
}

fn durability_number(durability: Durability) -> u32 {
    match durability {
        Durability::None => 0,
        Durability::Interval => 1,
        Durability::Commit => 2,
    }
}

/// The open file and its newest generation.
pub(super) struct ManifestFile {
    file: Arc<dyn File>,
    now: Manifest,
    /// Not all copies are what they should be, so the next update is due even if nothing changed.
    damaged: bool,
}

impl ManifestFile {
    /// Makes the file in one step: whoever finds it finds it complete.
    pub fn create(dir: &dyn Dir, now: Manifest) -> Result<Self> {
        let file = dir.create(MANIFEST_TMP).doing("create", MANIFEST)?;
        for copy in 0..COPIES {
            file.write_at(&now.encode(), (copy * PAGE) as u64).doing("write", MANIFEST)?;
        }
        file.sync_data().doing("sync", MANIFEST)?;
        dir.rename(MANIFEST_TMP, MANIFEST).doing("rename", MANIFEST)?;
        dir.sync().doing("sync the directory of", MANIFEST)?;
        Ok(Self { file, now, damaged: false })
    }

    /// Reads the newest complete generation.
    pub fn open(dir: &dyn Dir, write: bool) -> Result<Self> {
        let file = dir.open(MANIFEST, write).doing("open", MANIFEST)?;
        let mut best: Option<Manifest> = None;
        let mut refused = PageError::Corrupt("no copy is intact");
        let mut found = [0; COPIES];
        for (copy, generation) in found.iter_mut().enumerate() {
            let mut page = vec![0; PAGE];
            if file.read_at(&mut page, (copy * PAGE) as u64).is_err() {
                continue;
            }
            match Manifest::decode(&page) {
                Ok(manifest) => {
                    *generation = manifest.generation;
                    best = best.filter(|best| best.generation >= manifest.generation).or(Some(manifest));
                }
                Err(newer @ PageError::Format(_)) => refused = newer,
                Err(PageError::Corrupt(_)) => {}
            }
        }
        let Some(now) = best else { return Err(refused.into_error(MANIFEST)) };
        let damaged = found.iter().filter(|generation| **generation == now.generation).count() < 2
            || found.contains(&0);
        Ok(Self { file, now, damaged })
    }

    pub fn now(&self) -> &Manifest {
        &self.now
    }

    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// Switches to a new generation. On failure the old one may or may not still rule.
    pub fn update(&mut self, mut next: Manifest) -> Result<()> {
        next.generation = self.now.generation.checked_add(1).ok_or_else(|| {
            Error::new(ErrorCode::Corrupt, format!("{MANIFEST}: the generation is at its end"))
        })?;
        let pair = (next.generation % 2) as usize * 2;
        for copy in [pair, pair + 1] {
            self.file.write_at(&next.encode(), (copy * PAGE) as u64).doing("write", MANIFEST)?;
            self.file.sync_data().doing("sync", MANIFEST)?;
        }
        self.now = next;
        self.damaged = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::memory::MemDir;

    fn manifest() -> Manifest {
        Manifest {
            generation: 1,
            uuid: [3; 16],
            hash_seed: 4,
            session: 5,
            boot_id: [6; 16],
            durability: Durability::Interval,
            first_seq: 7,
            base_first: 8,
            base_count: 9,
            base_revision: 10,
            first_revision: 11,
            compact_revision: -1,
            floor: 13,
            segment_bytes: 14,
        }
    }

    #[test]
    fn copies_are_lost_one_by_one() {
        let dir = MemDir::new();
        let mut file = ManifestFile::create(&*dir, manifest()).unwrap();
        for _ in 0..3 {
            file.update(Manifest { first_seq: file.now().first_seq + 1, ..manifest() }).unwrap();
        }
        let want = Manifest { generation: 4, first_seq: 10, ..manifest() };
        let raw = dir.open(MANIFEST, true).unwrap();
        let read = || ManifestFile::open(&*dir, true);
        assert!(!read().unwrap().is_damaged());
        for (copy, generation) in [(1, 4), (0, 3), (3, 3)] {
            raw.write_at(b"?", copy * PAGE as u64 + 100).unwrap();
            let now = read().unwrap();
            assert!(now.is_damaged());
            assert_eq!(now.now().generation, generation);
            if generation == 4 {
                assert_eq!(*now.now(), want);
            }
        }
        raw.write_at(b"?", 2 * PAGE as u64).unwrap();
        assert_eq!(read().err().unwrap().code(), ErrorCode::Corrupt);
    }

    #[test]
    fn a_half_written_generation_leaves_the_one_before() {
        let dir = MemDir::new();
        let mut file = ManifestFile::create(&*dir, manifest()).unwrap();
        file.update(manifest()).unwrap();
        let raw = dir.open(MANIFEST, true).unwrap();
        raw.write_at(&[0x55; 2048], 2 * PAGE as u64 + 17).unwrap();
        let mut file = ManifestFile::open(&*dir, true).unwrap();
        assert_eq!(file.now().generation, 2);
        file.update(manifest()).unwrap();
        assert_eq!(ManifestFile::open(&*dir, true).unwrap().now().generation, 3);
    }

    #[test]
    fn another_format_is_named() {
        let dir = MemDir::new();
        ManifestFile::create(&*dir, manifest()).unwrap();
        let raw = dir.open(MANIFEST, true).unwrap();
        for copy in 0..COPIES {
            raw.write_at(&[9], (copy * PAGE) as u64 + 8).unwrap();
        }
        let error = ManifestFile::open(&*dir, false).err().unwrap();
        assert_eq!(error.code(), ErrorCode::Format);
        assert!(error.message().contains("format 9"), "{error}");
    }
}
