//! The simulated directory as the log sees it. The cache is a directory in memory, the medium is the [`Disk`] that
//! it was mounted from; every change is recorded, stores into mappings when the next operation or
//! [`SimDir::observe`] finds them. One operation, or all from one on, can be told to fail.

use super::disk::{Dice, Disk, Op, SECTOR};
use crate::os::file::{Dir, File, Filesystem, Lock};
use crate::os::memory::MemDir;
use crate::os::region::Mapping;
use crate::sync::{Mutex, lock};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// How a chosen operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// `EIO`; a sync forgets what was dirty.
    Broken,
    /// `ENOSPC` where room is asked for, nothing elsewhere.
    Full,
    /// `ENOSPC` after half of the bytes were written.
    Short,
}

/// Which operations fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub at: usize,
    pub how: Failure,
    pub once: bool,
}

pub struct SimDir {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    cache: Arc<MemDir>,
}

struct State {
    names: BTreeMap<String, u32>,
    nodes: BTreeMap<u32, Node>,
    next_ino: u32,
    ops: Vec<Op>,
    filesystem: Filesystem,
    boot: u8,
    dice: Dice,
    fault: Option<Fault>,
    /// Operations that could have failed so far, and whether one did.
    steps: usize,
    failed: usize,
    dead: bool,
}

struct Node {
    file: Arc<dyn File>,
    /// What has been recorded of a file that is mapped for writing.
    recorded: Option<Vec<u8>>,
    /// A sync failed, so that the medium may differ from the cache where nothing is dirty.
    lost: bool,
}

fn error(errno: i32) -> io::Error {
    io::Error::from_raw_os_error(errno)
}

impl SimDir {
    pub fn mount(disk: &Disk, filesystem: Filesystem, boot: u8, seed: u64) -> Arc<Self> {
        let cache = MemDir::like_a_disk();
        let mut nodes = BTreeMap::new();
        for (ino, image) in &disk.files {
            let file = cache.create(&ino.to_string()).expect("a new file");
            if image.len > 0 {
                file.allocate(image.len).expect("memory");
            }
            for (at, bytes) in image.pages() {
                file.write_at(bytes, at).expect("memory");
            }
            nodes.insert(*ino, Node { file, recorded: None, lost: false });
        }
        let next_ino = nodes.keys().last().map_or(1, |last| last + 1);
        let state = State {
            names: disk.names.clone(),
            nodes,
            next_ino,
            ops: Vec::new(),
            filesystem,
            boot,
            dice: Dice::new(seed),
            fault: None,
            steps: 0,
            failed: 0,
            dead: false,
        };
        Arc::new(Self { shared: Arc::new(Shared { state: Mutex::new(state), cache }) })
    }

    /// Records what was stored into mappings since the last look.
    pub fn observe(&self) {
        lock(&self.shared.state).observe();
    }

    pub fn op_count(&self) -> usize {
        lock(&self.shared.state).ops.len()
    }

    /// A copy of what was recorded.
    pub fn ops(&self) -> Vec<Op> {
        let mut state = lock(&self.shared.state);
        state.observe();
        state.ops.clone()
    }

    /// Operations so far that could have been told to fail.
    pub fn steps(&self) -> usize {
        lock(&self.shared.state).steps
    }

    /// Operations that failed.
    pub fn failed(&self) -> usize {
        lock(&self.shared.state).failed
    }

    /// `None` heals the disk, and from then on nothing may fail.
    pub fn set_fault(&self, fault: Option<Fault>) {
        let mut state = lock(&self.shared.state);
        state.failed = 0;
        state.fault = fault;
    }

    /// The process is killed: whatever its destructors try has no effect.
    pub fn set_dead(&self, dead: bool) {
        let mut state = lock(&self.shared.state);
        state.observe();
        state.dead = dead;
    }
}

impl State {
    fn observe(&mut self) {
        let inos: Vec<u32> =
            self.nodes.iter().filter(|node| node.1.recorded.is_some()).map(|n| *n.0).collect();
        for ino in inos {
            self.observe_file(ino);
        }
    }

    fn observe_file(&mut self, ino: u32) {
        let Some(node) = self.nodes.get_mut(&ino) else { return };
        let Some(recorded) = &mut node.recorded else { return };
        let mut now = vec![0; recorded.len()];
        node.file.read_at(&mut now, 0).expect("memory");
        if now == *recorded {
            return;
        }
        for (i, (old, new)) in recorded.chunks(SECTOR as usize).zip(now.chunks(SECTOR as usize)).enumerate() {
            let differs = |(old, new): (&u8, &u8)| old != new;
            let Some(first) = old.iter().zip(new).position(differs) else { continue };
            let last = old.iter().zip(new).rposition(differs).unwrap_or(first);
            let at = i as u64 * SECTOR + first as u64;
            self.ops.push(Op::Write { ino, at, bytes: new[first..=last].into() });
        }
        *recorded = now;
    }

    /// Begins an operation that changes something: fails it if it is its turn.
    fn step(&mut self, needs_room: bool) -> io::Result<()> {
        if self.dead {
            return Err(error(libc::EIO));
        }
        self.observe();
        match self.failing() {
            Some(Failure::Broken) => Err(self.fail(libc::EIO)),
            Some(_) if needs_room => Err(self.fail(libc::ENOSPC)),
            _ => Ok(()),
        }
    }

    fn failing(&mut self) -> Option<Failure> {
        self.steps += 1;
        let fault = self.fault?;
        let now = self.steps - 1;
        (now == fault.at || now > fault.at && !fault.once).then_some(fault.how)
    }

    fn fail(&mut self, errno: i32) -> io::Error {
        self.failed += 1;
        error(errno)
    }
}

struct Free;

impl Lock for Free {}

impl Dir for SimDir {
    fn describe(&self) -> String {
        "simulation".into()
    }

    fn open(&self, name: &str, _write: bool) -> io::Result<Arc<dyn File>> {
        let state = lock(&self.shared.state);
        let ino = *state.names.get(name).ok_or_else(|| error(libc::ENOENT))?;
        let inner = Arc::clone(&state.nodes[&ino].file);
        Ok(Arc::new(SimFile { shared: Arc::clone(&self.shared), inner, ino }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut state = lock(&self.shared.state);
        state.step(true)?;
        if state.names.contains_key(name) {
            return Err(error(libc::EEXIST));
        }
        let ino = state.next_ino;
        state.next_ino += 1;
        let file = self.shared.cache.create(&ino.to_string())?;
        state.nodes.insert(ino, Node { file: Arc::clone(&file), recorded: None, lost: false });
        state.names.insert(name.into(), ino);
        state.ops.push(Op::Create { name: name.into(), ino });
        Ok(Arc::new(SimFile { shared: Arc::clone(&self.shared), inner: file, ino }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        if !state.names.contains_key(name) {
            return Err(error(libc::ENOENT));
        }
        state.step(false)?;
        state.names.remove(name);
        state.ops.push(Op::Remove { name: name.into() });
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        state.step(true)?;
        let ino = state.names.remove(from).ok_or_else(|| error(libc::ENOENT))?;
        state.names.insert(to.into(), ino);
        state.ops.push(Op::Rename { from: from.into(), to: to.into(), ino });
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(lock(&self.shared.state).names.keys().cloned().collect())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        state.step(false)?;
        state.ops.push(Op::SyncDir);
        Ok(())
    }

    fn lock(&self, _name: &str, _create: bool) -> io::Result<Box<dyn Lock>> {
        Ok(Box::new(Free))
    }

    fn filesystem(&self) -> io::Result<Filesystem> {
        Ok(lock(&self.shared.state).filesystem)
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        Ok([lock(&self.shared.state).boot; 16])
    }

    fn random(&self, out: &mut [u8]) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        for piece in out.chunks_mut(8) {
            piece.copy_from_slice(&state.dice.next().to_le_bytes()[..piece.len()]);
        }
        Ok(())
    }
}

struct SimFile {
    shared: Arc<Shared>,
    inner: Arc<dyn File>,
    ino: u32,
}

impl SimFile {
    /// Records a write that the cache already has, but not where it changed nothing: cache and medium agree there
    /// unless a sync failed.
    fn record(&self, state: &mut State, at: u64, before: &[u8], bytes: &[u8]) {
        let Some(node) = state.nodes.get_mut(&self.ino) else { return };
        if let Some(recorded) = &mut node.recorded {
            let end = (at as usize + bytes.len()).min(recorded.len());
            if at < end as u64 {
                recorded[at as usize..end].copy_from_slice(&bytes[..end - at as usize]);
            }
        }
        let range = if node.lost || before.len() < bytes.len() {
            0..bytes.len()
        } else {
            let differs = |(old, new): (&u8, &u8)| old != new;
            let Some(first) = before.iter().zip(bytes).position(differs) else { return };
            first..before.iter().zip(bytes).rposition(differs).unwrap_or(first) + 1
        };
        let bytes: Arc<[u8]> = bytes[range.clone()].into();
        state.ops.push(Op::Write { ino: self.ino, at: at + range.start as u64, bytes });
    }

    fn write(&self, state: &mut State, bytes: &[u8], at: u64) -> io::Result<()> {
        let len = self.inner.len()?;
        let known = len.saturating_sub(at).min(bytes.len() as u64) as usize;
        let mut before = vec![0; known];
        self.inner.read_at(&mut before, at.min(len - known as u64))?;
        self.inner.write_at(bytes, at)?;
        let end = at + bytes.len() as u64;
        if end > len {
            state.ops.push(Op::Size { ino: self.ino, len: end });
        }
        self.record(state, at, &before, bytes);
        Ok(())
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        state.step(true)?;
        self.inner.allocate(len)?;
        state.ops.push(Op::Size { ino: self.ino, len });
        Ok(())
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_at(out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        if state.dead {
            return Err(error(libc::EIO));
        }
        state.observe();
        match state.failing() {
            Some(Failure::Full) => Err(state.fail(libc::ENOSPC)),
            Some(how) => {
                // A write that fails may have moved any part of its bytes.
                self.write(&mut state, &bytes[..bytes.len() / 2], offset)?;
                Err(state.fail(if how == Failure::Broken { libc::EIO } else { libc::ENOSPC }))
            }
            None => self.write(&mut state, bytes, offset),
        }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.grow(len)
    }

    fn extend_sparse(&self, len: u64) -> io::Result<()> {
        self.grow(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        let ino = self.ino;
        match state.step(true) {
            Ok(()) => state.ops.push(Op::Sync { ino }),
            Err(error) if state.dead => return Err(error),
            Err(error) => {
                if let Some(node) = state.nodes.get_mut(&ino) {
                    node.lost = true;
                }
                state.ops.push(Op::SyncFailed { ino });
                return Err(error);
            }
        }
        Ok(())
    }

    fn map_read(&self, len: u64) -> io::Result<Arc<Mapping>> {
        self.inner.map_read(len)
    }

    fn map_write(&self, len: u64) -> io::Result<Arc<Mapping>> {
        let mut state = lock(&self.shared.state);
        let map = self.inner.map_write(len)?;
        if let Some(node) = state.nodes.get_mut(&self.ino) {
            let mut now = vec![0; len as usize];
            self.inner.read_at(&mut now, 0)?;
            node.recorded.get_or_insert(now);
        }
        Ok(map)
    }
}
