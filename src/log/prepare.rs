//! Makes segment files before they are needed. A file gets its name only together with all of its room, a
//! synced header and a synced directory entry, so a record never goes to a file that a power loss could take
//! away. The helper thread starts with the first request and makes one file ahead.

use super::header::{FileHeader, HEADER_BYTES, Naming, segment_name};
use crate::error::Result;
use crate::os::file::{Dir, File};
use crate::os::thread::{self, Thread};
use crate::sync::{Condvar, Mutex, lock, wait};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const ZEROS: usize = 1 << 20;

/// What new segment files have in common.
pub(super) struct Blueprint {
    pub dir: Arc<dyn Dir>,
    pub uuid: [u8; 16],
    pub segment_bytes: u64,
    /// Write zeros ahead, so that a sync of a commit has no new extent to record.
    pub zero_fill: bool,
    /// Generation of the manifest, echoed in each header.
    pub generation: AtomicU64,
}

/// A segment file without records.
pub(super) struct Prepared {
    pub file: Arc<dyn File>,
    pub header: FileHeader,
}

impl Blueprint {
    /// Makes the file of segment `seq` with `len` bytes. On failure nothing is left behind.
    pub fn build(&self, seq: u32, len: u64) -> Result<Prepared> {
        let name = segment_name(seq);
        let file = match self.dir.create(&name) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                // An earlier attempt whose removal failed; it never held a record.
                self.dir.remove(&name).doing("remove", &name)?;
                self.dir.create(&name)
            }
            created => created,
        };
        let file = file.doing("create", &name)?;
        self.fill(&name, file, seq, len).inspect_err(|_| drop(self.dir.remove(&name)))
    }

    fn fill(&self, name: &str, file: Arc<dyn File>, seq: u32, len: u64) -> Result<Prepared> {
        file.allocate(len).doing("allocate", name)?;
        if self.zero_fill {
            let zeros = vec![0; ZEROS.min(len as usize)];
            for at in (0..len).step_by(zeros.len()) {
                let piece = (len - at).min(zeros.len() as u64) as usize;
                file.write_at(&zeros[..piece], at).doing("write", name)?;
            }
        }
        let mut salt = [0; 16];
        self.dir.random(&mut salt).doing("draw the salt of", name)?;
        let header = FileHeader {
            uuid: self.uuid,
            salt,
            seq,
            file_len: len,
            data_start: HEADER_BYTES,
            generation: self.generation.load(Ordering::Acquire),
            revision: 0,
            index_at: 0,
            index_count: 0,
            index_crc: 0,
        };
        file.write_at(&header.encode(), 0).doing("write", name)?;
        file.sync_data().doing("sync", name)?;
        self.dir.sync().doing("sync the directory of", name)?;
        Ok(Prepared { file, header })
    }
}

/// Owner of the helper thread.
pub(super) struct Preparer {
    shared: Arc<Shared>,
    thread: Mutex<Option<Thread>>,
}

struct Shared {
    blueprint: Arc<Blueprint>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The segment the thread is asked for or working on.
    wanted: Option<u32>,
    ready: Option<Prepared>,
    stop: bool,
}

impl Preparer {
    pub fn new(blueprint: Arc<Blueprint>) -> Self {
        let shared = Shared { blueprint, state: Mutex::new(State::default()), changed: Condvar::new() };
        Self { shared: Arc::new(shared), thread: Mutex::new(None) }
    }

    /// Asks for a segment ahead of its use. Does not block; if no thread can be had, the file is made when
    /// needed.
    pub fn request(&self, seq: u32) {
        let mut state = lock(&self.shared.state);
        let has_it = state.ready.as_ref().is_some_and(|ready| ready.header.seq == seq);
        if state.stop || has_it || state.wanted.is_some() {
            return;
        }
        let mut thread = lock(&self.thread);
        if thread.is_none() {
            let shared = Arc::clone(&self.shared);
            *thread = thread::spawn("watch-segment", move || shared.run()).ok();
        }
        if thread.is_some() {
            state.wanted = Some(seq);
            self.shared.changed.notify_all();
        }
    }

    /// The segment, made ahead or now; blocks for the disk. It has at least `len` bytes.
    pub fn take(&self, seq: u32, len: u64) -> Result<Prepared> {
        let mut state = lock(&self.shared.state);
        while state.wanted.is_some() && !state.stop {
            state = wait(&self.shared.changed, state);
        }
        let ready = state.ready.take();
        drop(state);
        match ready.filter(|ready| ready.header.seq == seq && ready.header.file_len >= len) {
            Some(ready) => Ok(ready),
            None => self.shared.blueprint.build(seq, len.max(self.shared.blueprint.segment_bytes)),
        }
    }

    /// Gives a segment back that could not be put to use.
    pub fn put_back(&self, prepared: Prepared) {
        lock(&self.shared.state).ready = Some(prepared);
    }

    #[cfg(test)]
    /// What the helper thread does for a request, on the calling thread.
    pub fn make_ahead(&self, seq: u32) {
        let built = self.shared.blueprint.build(seq, self.shared.blueprint.segment_bytes);
        lock(&self.shared.state).ready = built.ok();
    }

    /// Ends the thread and waits for it.
    pub fn stop(&self) {
        lock(&self.shared.state).stop = true;
        self.shared.changed.notify_all();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut state = lock(&self.state);
        while !state.stop {
            let Some(seq) = state.wanted else {
                state = wait(&self.changed, state);
                continue;
            };
            drop(state);
            let built = self.blueprint.build(seq, self.blueprint.segment_bytes);
            state = lock(&self.state);
            // A failure is not kept: whoever needs the segment tries again and gets the error of that moment.
            state.ready = built.ok();
            state.wanted = None;
            self.changed.notify_all();
        }
    }
}
