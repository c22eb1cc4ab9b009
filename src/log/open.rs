//! Opening: takes the lock, makes the store if there is none, lets [`super::recover`] read it, and then, for
//! a writer only, does what a crash left to do. Each step can be cut short by another crash and is done again
//! by the next opening.

use super::appender::{Active, Appender};
use super::base::{check_part, open_part};
use super::change::Change;
use super::flush::Tail;
use super::header::{HEADER_BYTES, Name, Naming, base_name, parse_name, segment_name};
use super::manifest::{MANIFEST, Manifest, ManifestFile};
use super::position::Position;
use super::prepare::{Blueprint, Preparer};
use super::record::Record;
use super::recover::{Recovered, open_parts, recover};
use super::shared::{Log, LogOptions, Mode};
use super::table::SegmentTable;
use super::torn::set_aside;
use crate::error::{Error, ErrorCode, Result};
use crate::os::file::{Dir, Filesystem, Lock};
use crate::os::region::{Mapping, Region};
use crate::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};

const LOCK: &str = "LOCK";

/// Gets everything that is in the log, in order, while it is being opened. An error ends the opening with it.
pub trait OpenVisitor {
    /// The newest change of a key in the base; keys ascend, and all of them come before the first record.
    fn base(&mut self, table: &SegmentTable, change: Change<'_>) -> Result<()>;
    /// A transaction; revisions ascend from `table.first_revision()` on. The table resolves every position up
    /// to this record. With a base, the first ones may be at or below `table.base_revision()`, and then the
    /// base has their effect already.
    fn record(&mut self, table: &SegmentTable, record: &Record<'_>) -> Result<()>;
}

/// What an opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// The current revision; 1 in an empty store.
    pub last_revision: i64,
    /// The highest revision that was compacted; -1: none.
    pub compact_revision: i64,
    /// For the hash tables of this store.
    pub hash_seed: u64,
    /// The last revision before and the first after each jump that the log still has.
    pub jumps: Vec<(i64, i64)>,
    /// Bytes behind the last valid record that a crash left; a writer cleared them.
    pub torn_bytes: u64,
    /// The last writer left in order.
    pub clean: bool,
}

impl Log {
    /// Opens the store in `dir`, showing its content to `visit`. Blocks for the disk. Everything is read and
    /// verified once. `Io` with `ENOENT` if there is no store and none may be made; `Locked`, `Corrupt`,
    /// `Format` and `Filesystem` as in [`ErrorCode`]. On an error no bytes of the log have been changed.
    pub fn open(
        dir: Arc<dyn Dir>,
        options: &LogOptions,
        visit: &mut dyn OpenVisitor,
    ) -> Result<(Arc<Log>, Appender, OpenReport)> {
        let write = !options.read_only;
        let filesystem = dir.filesystem().doing("look at the filesystem of", &dir.describe())?;
        if filesystem == Filesystem::Untrusted {
            let message =
                format!("{} is on a filesystem that cannot be trusted with a store", dir.describe());
            return Err(Error::new(ErrorCode::Filesystem, message));
        }
        let lock = take_lock(&*dir, options.create && write)?;
        let names = list(&*dir)?;
        let manifest = if names.has_manifest {
            ManifestFile::open(&*dir, write)?
        } else if options.create && write {
            create(&dir, options, &names)?
        } else {
            let missing = std::io::Error::from_raw_os_error(libc::ENOENT);
            return Err(Error::io(format_args!("no store in {}", dir.describe()), &missing));
        };
        let now = manifest.now().clone();
        let boot_id = dir.boot_id().doing("read", "the boot id")?;
        let table = open_base(&*dir, &now, visit)?;
        let segments = if names.has_manifest { names.segments } else { vec![1] };
        let parts = open_parts(&*dir, &now, &segments, write)?;
        let found = recover(parts, table, &now, boot_id != now.boot_id, visit)?;
        let manifest_is_damaged = manifest.is_damaged();
        let mut opening = Opening { dir, options, filesystem, manifest, manifest_is_damaged, boot_id };
        let leftovers = if names.has_manifest { names.all } else { Vec::new() };
        if write {
            opening.repair(&found, &leftovers)?;
        }
        opening.finish(found, lock)
    }
}

fn take_lock(dir: &dyn Dir, create: bool) -> Result<Box<dyn Lock>> {
    match dir.lock(LOCK, create) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            let message = format!("another opener holds the store in {}", dir.describe());
            Err(Error::new(ErrorCode::Locked, message))
        }
        taken => taken.doing("lock", &format!("the store in {}", dir.describe())),
    }
}

struct Names {
    all: Vec<(String, Name)>,
    segments: Vec<u32>,
    has_manifest: bool,
}

fn list(dir: &dyn Dir) -> Result<Names> {
    let names = dir.list().doing("list", &dir.describe())?;
    let has_manifest = names.iter().any(|name| name == MANIFEST);
    let all: Vec<_> =
        names.into_iter().map(|name| (parse_name(&name), name)).map(|(kind, n)| (n, kind)).collect();
    let number = |(_, kind): &(String, Name)| if let Name::Segment(seq) = kind { Some(*seq) } else { None };
    let mut segments: Vec<u32> = all.iter().filter_map(number).collect();
    segments.sort_unstable();
    Ok(Names { all, segments, has_manifest })
}

/// Makes an empty store: first its segment, then the manifest, whose appearance makes it one.
fn create(dir: &Arc<dyn Dir>, options: &LogOptions, names: &Names) -> Result<ManifestFile> {
    for (name, kind) in &names.all {
        match kind {
            Name::Leftover => dir.remove(name).doing("remove", name)?,
            Name::Segment(1) | Name::Other => {}
            // An interrupted creation leaves nothing of this kind, so this was a store.
            Name::Segment(_) | Name::Base(_) | Name::Torn(_) => {
                return Err(Error::new(
                    ErrorCode::Corrupt,
                    format!("{MANIFEST} is missing, but there is {name}"),
                ));
            }
        }
    }
    if names.segments == [1] && holds_records(&**dir)? {
        let message = format!("{MANIFEST} is missing, but {} has records", segment_name(1));
        return Err(Error::new(ErrorCode::Corrupt, message));
    }
    let mut random = [0; 24];
    dir.random(&mut random).doing("draw the identity of", &dir.describe())?;
    let blueprint = blueprint(dir, options, super::header::array_at(&random, 0), 1);
    blueprint.build(1, options.segment_bytes)?;
    let manifest = Manifest {
        generation: 1,
        uuid: blueprint.uuid,
        hash_seed: super::change::u64_at(&random, 16),
        session: 0,
        boot_id: [0; 16],
        durability: crate::options::Durability::Commit,
        first_seq: 1,
        base_first: 0,
        base_count: 0,
        base_revision: 0,
        first_revision: 1,
        compact_revision: -1,
        floor: 0,
        segment_bytes: options.segment_bytes,
    };
    ManifestFile::create(&**dir, manifest)
}

/// Whether the first segment has anything behind its header.
fn holds_records(dir: &dyn Dir) -> Result<bool> {
    let name = segment_name(1);
    let file = dir.open(&name, false).doing("open", &name)?;
    let mut word = [0; 8];
    let len = file.len().doing("read the length of", &name)?;
    if len < HEADER_BYTES + word.len() as u64 {
        return Ok(false);
    }
    file.read_at(&mut word, HEADER_BYTES).doing("read", &name)?;
    Ok(word != [0; 8])
}

fn blueprint(dir: &Arc<dyn Dir>, options: &LogOptions, uuid: [u8; 16], generation: u64) -> Blueprint {
    let staged = options.durability == crate::options::Durability::Commit;
    let on_disk = !matches!(dir.filesystem(), Ok(Filesystem::Memory));
    Blueprint {
        dir: Arc::clone(dir),
        uuid,
        segment_bytes: options.segment_bytes,
        zero_fill: staged && on_disk,
        generation: AtomicU64::new(generation),
    }
}

/// Opens and verifies the base, showing it to the visitor.
fn open_base(dir: &dyn Dir, manifest: &Manifest, visit: &mut dyn OpenVisitor) -> Result<SegmentTable> {
    let mut table = SegmentTable {
        segments: Vec::new(),
        base: Vec::new(),
        base_first: manifest.base_first,
        first_revision: manifest.first_revision,
        base_revision: manifest.base_revision,
    };
    let mut index_crcs = Vec::new();
    for seq in manifest.base_parts() {
        let (part, header) = open_part(dir, &manifest.uuid, seq)?;
        table.base.push(part);
        index_crcs.push(header.index_crc);
    }
    let mut last_key = Vec::new();
    for (part, index_crc) in table.base.iter().zip(index_crcs) {
        let mut show = |change: Change<'_>| visit.base(&table, change);
        check_part(part, &base_name(part.seq()), index_crc, &mut last_key, &mut show)?;
    }
    Ok(table)
}

/// What is known while a store is being opened.
struct Opening<'a> {
    dir: Arc<dyn Dir>,
    options: &'a LogOptions,
    filesystem: Filesystem,
    manifest: ManifestFile,
    /// Both pairs of copies are to be written anew.
    manifest_is_damaged: bool,
    boot_id: [u8; 16],
}

impl Opening<'_> {
    /// Clears what a crash left. The floor is durable before any evidence that it is needed is cleared, and so is
    /// the manifest as a whole: after a failed sync it may have been read from a cache that the disk does not have.
    fn repair(&mut self, found: &Recovered, names: &[(String, Name)]) -> Result<()> {
        if !found.clean && !names.is_empty() || found.floor > self.manifest.now().floor {
            let next = Manifest { floor: found.floor, ..self.manifest.now().clone() };
            self.manifest.update(next)?;
        }
        let manifest = self.manifest.now();
        for (name, kind) in names {
            let dead = match kind {
                Name::Leftover => true,
                Name::Segment(seq) => *seq < manifest.first_seq,
                Name::Base(seq) => !manifest.base_parts().contains(seq),
                Name::Torn(_) | Name::Other => false,
            };
            if dead {
                self.dir.remove(name).doing("remove", name)?;
            }
        }
        let last = &found.parts[found.last_part];
        let name = segment_name(last.seq);
        let mut dirty_end = found.dirty_end;
        if !found.clean && !names.is_empty() {
            dirty_end = set_aside(&*self.dir, self.manifest.now(), found, names)?;
        }
        if dirty_end > found.end {
            let zeros = vec![0; (1 << 20).min((dirty_end - found.end) as usize)];
            for at in (found.end..dirty_end).step_by(zeros.len()) {
                let len = (dirty_end - at).min(zeros.len() as u64) as usize;
                last.file.write_at(&zeros[..len], at).doing("clear the torn end of", &name)?;
            }
            last.file.sync_data().doing("sync", &name)?;
        }
        // From the last one down and one by one, so that a crash in between leaves no gap.
        for part in found.parts[found.last_part + 1..].iter().rev() {
            let name = segment_name(part.seq);
            self.dir.remove(&name).doing("remove", &name)?;
            self.dir.sync().doing("sync", &self.dir.describe())?;
        }
        self.dir.sync().doing("sync", &self.dir.describe())
    }

    fn finish(self, found: Recovered, lock: Box<dyn Lock>) -> Result<(Arc<Log>, Appender, OpenReport)> {
        let write = !self.options.read_only;
        let manifest = self.manifest.now().clone();
        let mut report = OpenReport {
            last_revision: found.last_revision,
            compact_revision: found.compact_revision,
            hash_seed: manifest.hash_seed,
            jumps: found.jumps.clone(),
            torn_bytes: found.torn_bytes,
            clean: found.clean,
        };
        let floor = found.floor;
        let last_crc = found.last_crc;
        let is_empty = found.end == HEADER_BYTES;
        let mode = Mode::choose(self.filesystem, self.options.durability);
        let blueprint = Arc::new(blueprint(&self.dir, self.options, manifest.uuid, manifest.generation));
        let (tails, table, active) =
            if write { self.activate(found, mode, last_crc)? } else { (Vec::new(), found.table, None) };
        let durable = tails.first().map_or(Position::NONE, |(_, durable)| *durable);
        let log = Arc::new(Log {
            preparer: Preparer::new(Arc::clone(&blueprint)),
            blueprint,
            mode,
            is_memory: self.filesystem == Filesystem::Memory,
            read_only: !write,
            table: Mutex::new(Arc::new(table)),
            tails: Mutex::new(tails.into_iter().map(|(tail, _)| tail).collect()),
            durable: AtomicU64::new(durable.to_bits()),
            poisoned: AtomicBool::new(false),
            flush_turn: Mutex::new(()),
            manifest: Mutex::new(self.manifest),
            compact_revision: AtomicI64::new(report.compact_revision),
            former: Mutex::new(Vec::new()),
            base_turn: Arc::default(),
            lock: Mutex::new(Some(lock)),
        });
        let session = manifest.session + 1;
        let mut appender = Appender::new(Arc::clone(&log), active, report.last_revision, session, false);
        if write {
            // What an unsynced session left becomes durable before a syncing one vouches for it.
            // A jump that is in the cache only would be lost together with more revisions than fit behind its place.
            let jumped = floor > report.last_revision || !report.clean && !report.jumps.is_empty();
            if self.options.durability == crate::options::Durability::Commit || jumped {
                log.flush_job().run()?;
            }
            if self.manifest_is_damaged {
                log.update_manifest(|_| {})?;
            }
            log.update_manifest(|next| {
                next.session = session;
                next.boot_id = self.boot_id;
                next.durability = self.options.durability;
                next.segment_bytes = self.options.segment_bytes;
            })?;
            if is_empty {
                appender.start()?;
            }
            if floor > report.last_revision {
                appender.append_epoch(floor)?;
                log.flush_job().run()?;
                report.jumps.push((report.last_revision, floor));
                report.last_revision = floor;
            }
        }
        Ok((log, appender, report))
    }

    /// Makes the last segment ready to be written and lists the segments that may not be durable, each with
    /// the position from which on.
    #[allow(clippy::type_complexity)]
    fn activate(
        &self,
        found: Recovered,
        mode: Mode,
        last_crc: u32,
    ) -> Result<(Vec<(Arc<Tail>, Position)>, SegmentTable, Option<Active>)> {
        let mut table = SegmentTable::clone(&found.table);
        let durable = found.durable;
        let mut tails = Vec::new();
        let written =
            |seq: u32, start: u64| if seq == durable.seq() { durable.offset().max(start) } else { start };
        for part in found.parts[..found.last_part].iter().filter(|part| part.seq >= durable.seq()) {
            let Some(segment) = table.segment(part.seq) else { continue };
            let from = written(part.seq, segment.info().data_start);
            let tail = Tail::new(Arc::clone(segment), Arc::clone(&part.file), false, from, segment.end());
            tail.seal();
            tails.push((tail, durable));
        }
        let (end, last_part) = (found.end, found.last_part);
        let Some((file, sampler)) = found.take_sampler() else { return Ok((tails, table, None)) };
        let old = Arc::clone(&table.segments[last_part]);
        let name = segment_name(old.seq());
        let map = match mode {
            Mode::Mapped => file.map_write(old.len()),
            Mode::Staged | Mode::Through => Mapping::anonymous(old.len()),
        };
        let copied = if mode == Mode::Mapped { end } else { 0 };
        let (region, mut writer) = Region::new(map.doing("map", &name)?, copied);
        if let (Some(to), Some(from)) = (writer.window(copied, end - copied), old.bytes(copied, end - copied))
        {
            to.copy_from_slice(from);
        }
        writer.publish(&region, end);
        let segment = old.remapped(region);
        table.segments[last_part] = Arc::clone(&segment);
        let through = (mode == Mode::Through).then(|| Arc::clone(&file));
        let from = written(segment.seq(), segment.info().data_start);
        let tail = Tail::new(segment, file, mode == Mode::Staged, from, end);
        let active = Active::new(Arc::clone(&tail), through, (writer, sampler), last_crc);
        tails.push((tail, durable));
        Ok((tails, table, Some(active)))
    }
}
