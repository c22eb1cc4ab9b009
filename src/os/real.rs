//! Files of the system. All names are resolved against one directory descriptor, so a change of the working
//! directory or a rename of the store's path does not matter. Descriptors are close-on-exec and never 0, 1 or
//! 2: a host that writes to a closed standard stream must not hit the store.
#![allow(unsafe_code)]

use super::file::{Dir, File, Filesystem, Lock};
use super::fork::ParentOnly;
use super::region::Mapping;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Length of the lock file: page 1 is locked, page 2 is reserved for the header that processes will share.
const LOCK_FILE_BYTES: u64 = 8192;

/// An open directory.
pub struct RealDir {
    fd: OwnedFd,
    path: PathBuf,
}

impl RealDir {
    /// Opens a directory; with `create` makes it, and missing parents, readable for the owner only.
    pub fn open(path: &Path, create: bool) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        if create && !path.is_dir() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
            if let Some(parent) = path.parent() {
                fs::File::open(parent)?.sync_all()?;
            }
        }
        let name = c_name(path.to_str().ok_or(io::ErrorKind::InvalidInput)?)?;
        let flags = libc::O_DIRECTORY | libc::O_RDONLY;
        Ok(Self { fd: open_at(libc::AT_FDCWD, &name, flags)?, path })
    }
}

fn c_name(name: &str) -> io::Result<CString> {
    CString::new(name).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> i32) -> io::Result<i32> {
    loop {
        let result = call();
        if result >= 0 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn open_at(dir: RawFd, name: &CString, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: `name` is a C string that lives through the call.
    let fd = retry(|| unsafe { libc::openat(dir, name.as_ptr(), flags | libc::O_CLOEXEC, 0o600) })?;
    // SAFETY: openat returned a new descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    // SAFETY: duplicates a live descriptor to a number of at least 3.
    let high = retry(|| unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 3) })?;
    // SAFETY: fcntl returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(high) })
}

impl Dir for RealDir {
    fn describe(&self) -> String {
        self.path.display().to_string()
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn File>> {
        let flags = if write { libc::O_RDWR } else { libc::O_RDONLY };
        let fd = open_at(self.fd.as_raw_fd(), &c_name(name)?, flags | libc::O_NOFOLLOW)?;
        Ok(Arc::new(RealFile(fd.into())))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
        let fd = open_at(self.fd.as_raw_fd(), &c_name(name)?, flags)?;
        Ok(Arc::new(RealFile(fd.into())))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let name = c_name(name)?;
        // SAFETY: a live directory descriptor and a C string.
        retry(|| unsafe { libc::unlinkat(self.fd.as_raw_fd(), name.as_ptr(), 0) }).map(drop)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to, dir) = (c_name(from)?, c_name(to)?, self.fd.as_raw_fd());
        // SAFETY: a live directory descriptor and two C strings.
        retry(|| unsafe { libc::renameat(dir, from.as_ptr(), dir, to.as_ptr()) }).map(drop)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn sync(&self) -> io::Result<()> {
        // SAFETY: a live descriptor.
        retry(|| unsafe { libc::fsync(self.fd.as_raw_fd()) }).map(drop)
    }

    fn lock(&self, name: &str, create: bool) -> io::Result<Box<dyn Lock>> {
        let (dir, name) = (self.fd.as_raw_fd(), c_name(name)?);
        let flags = if create { libc::O_RDWR | libc::O_CREAT } else { libc::O_RDWR };
        let (fd, kind) = match open_at(dir, &name, flags) {
            // A medium that cannot be written has no writer to keep out.
            Err(error) if !create && is_refused(&error) => {
                (open_at(dir, &name, libc::O_RDONLY)?, libc::F_RDLCK)
            }
            opened => (opened?, libc::F_WRLCK),
        };
        lock_first_byte(fd.as_raw_fd(), kind)?;
        let file = fs::File::from(fd);
        if create && file.metadata()?.len() < LOCK_FILE_BYTES {
            file.set_len(LOCK_FILE_BYTES)?;
        }
        Ok(Box::new(RealLock(ParentOnly::new(file.into()))))
    }

    fn filesystem(&self) -> io::Result<Filesystem> {
        // SAFETY: `found` is filled in by the call before it is read.
        let found = unsafe {
            let mut found: libc::statfs = std::mem::zeroed();
            retry(|| libc::fstatfs(self.fd.as_raw_fd(), &mut found))?;
            found
        };
        Ok(classify(found.f_type as u32))
    }

    fn boot_id(&self) -> io::Result<[u8; 16]> {
        let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let digits: Vec<u8> =
            text.bytes().filter_map(|b| (b as char).to_digit(16).map(|d| d as u8)).collect();
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(id)
    }

    fn random(&self, out: &mut [u8]) -> io::Result<()> {
        random(out)
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EROFS | libc::EACCES | libc::EPERM))
}

fn lock_first_byte(fd: RawFd, kind: i32) -> io::Result<()> {
    // SAFETY: all-zero is a valid flock: the first byte is set below.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as _;
    lock.l_whence = libc::SEEK_SET as _;
    lock.l_len = 1;
    // SAFETY: a live descriptor and a flock that lives through the call.
    match retry(|| unsafe { libc::fcntl(fd, libc::F_OFD_SETLK, &lock) }) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Err(io::ErrorKind::WouldBlock.into())
        }
        result => result.map(drop),
    }
}

/// Unpredictable bytes from the system.
pub fn random(out: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < out.len() {
        let rest = &mut out[filled..];
        // SAFETY: the pointer and length are those of a live slice.
        filled +=
            retry(|| unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) as i32 })? as usize;
    }
    Ok(())
}

/// By the magic number of `statfs(2)`. A filesystem that is not listed is written with calls only.
fn classify(magic: u32) -> Filesystem {
    match magic {
        0xef53 | 0x5846_5342 | 0x0102_1994 | 0x8584_58f6 => Filesystem::InPlace, // ext, xfs, tmpfs, ramfs
        0x6969 | 0xff53_4d42 | 0xfe53_4d42 | 0x0102_1997 => Filesystem::Untrusted, // nfs, cifs, smb2, 9p
        // fuse, vboxsf, ceph, afs
        0x6573_5546 | 0x786f_4256 | 0x00c3_6400 | 0x5346_414f => Filesystem::Untrusted,
        _ => Filesystem::CopyOnWrite,
    }
}

struct RealLock(ParentOnly);

impl Lock for RealLock {}

impl Drop for RealLock {
    /// Closing is not enough: a process that is just being forked or spawned has the same open file for a moment.
    fn drop(&mut self) {
        let fd = self.0.raw();
        if fd >= 0 {
            let _ = lock_first_byte(fd, libc::F_UNLCK);
        }
    }
}

struct RealFile(fs::File);

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let (fd, size) = (self.0.as_raw_fd(), len as libc::off_t);
        // SAFETY: a live descriptor. glibc's posix_fallocate is avoided: where the filesystem cannot reserve
        // it writes one byte per block behind the caller's back.
        match retry(|| unsafe { libc::fallocate(fd, 0, 0, size) }) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
                let zeros = vec![0; 1 << 20];
                for at in (0..len).step_by(zeros.len()) {
                    self.write_at(&zeros[..(len - at).min(zeros.len() as u64) as usize], at)?;
                }
                Ok(())
            }
            result => result.map(drop),
        }
    }

    fn extend_sparse(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn map_read(&self, len: u64) -> io::Result<Arc<Mapping>> {
        self.check_len(len)?;
        Mapping::of_file(&self.0, len, false)
    }

    fn map_write(&self, len: u64) -> io::Result<Arc<Mapping>> {
        self.check_len(len)?;
        Mapping::of_file(&self.0, len, true)
    }
}

impl RealFile {
    /// Pages of a mapping past the end of its file would raise SIGBUS.
    fn check_len(&self, len: u64) -> io::Result<()> {
        if self.len()? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_made_read_mapped_and_renamed() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RealDir::open(&temp.path().join("a/b"), true).unwrap();
        let file = dir.create("x").unwrap();
        assert_eq!(dir.create("x").err().unwrap().raw_os_error(), Some(libc::EEXIST));
        file.allocate(8192).unwrap();
        file.write_at(b"hello", 4094).unwrap();
        file.sync_data().unwrap();
        dir.rename("x", "y").unwrap();
        dir.sync().unwrap();
        assert_eq!(dir.list().unwrap(), ["y"]);
        let file = dir.open("y", false).unwrap();
        let (region, _) = super::super::region::Region::new(file.map_read(8192).unwrap(), 8192);
        assert_eq!(region.bytes(4094, 5).unwrap(), b"hello");
        assert!(file.map_read(8193).is_err());
        assert!(file.write_at(b"x", 0).is_err());
        assert_ne!(dir.boot_id().unwrap(), [0; 16]);
        assert!(dir.open("../y", false).is_err() && dir.open("nothing", false).is_err());
    }

    #[test]
    fn the_lock_has_one_holder_in_one_process_too() {
        let temp = tempfile::tempdir().unwrap();
        let one = RealDir::open(temp.path(), false).unwrap();
        let two = RealDir::open(temp.path(), false).unwrap();
        assert_eq!(one.lock("LOCK", false).err().unwrap().raw_os_error(), Some(libc::ENOENT));
        let held = one.lock("LOCK", true).unwrap();
        assert_eq!(two.lock("LOCK", true).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(one.lock("LOCK", false).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(two.lock("LOCK", false).is_ok());
        assert_eq!(two.open("LOCK", false).unwrap().len().unwrap(), LOCK_FILE_BYTES);
    }

    #[test]
    fn the_lock_goes_back_although_a_copy_of_its_descriptor_lives_on() {
        let temp = tempfile::tempdir().unwrap();
        let dir = RealDir::open(temp.path(), false).unwrap();
        let file = fs::File::create(temp.path().join("LOCK")).unwrap();
        let copy = file.try_clone().unwrap();
        lock_first_byte(file.as_raw_fd(), libc::F_WRLCK).unwrap();
        let held = RealLock(ParentOnly::new(file.into()));
        assert_eq!(dir.lock("LOCK", true).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(dir.lock("LOCK", true).is_ok());
        drop(copy);
    }

    #[test]
    fn filesystems_are_told_apart() {
        assert_eq!(classify(0xef53), Filesystem::InPlace);
        assert_eq!(classify(0x9123_683e), Filesystem::CopyOnWrite);
        assert_eq!(classify(0x6969), Filesystem::Untrusted);
    }
}
