//! What this build is: release, ABI number, features. build.rs reads WATCH_ABI_VERSION for the SONAME.

use std::ffi::{CStr, c_char};

/// Release that this header belongs to.
pub const WATCH_VERSION_MAJOR: u32 = 0;
pub const WATCH_VERSION_MINOR: u32 = 1;
pub const WATCH_VERSION_PATCH: u32 = 0;
/// equals the SONAME number
pub const WATCH_ABI_VERSION: u32 = 1;

const NUMBER: u32 = WATCH_VERSION_MAJOR * 1_000_000 + WATCH_VERSION_MINOR * 1000 + WATCH_VERSION_PATCH;

const _: () = {
    assert!(WATCH_VERSION_MAJOR == number(env!("CARGO_PKG_VERSION_MAJOR")));
    assert!(WATCH_VERSION_MINOR == number(env!("CARGO_PKG_VERSION_MINOR")));
    assert!(WATCH_VERSION_PATCH == number(env!("CARGO_PKG_VERSION_PATCH")));
};

const fn number(digits: &str) -> u32 {
    let (bytes, mut at, mut number) = (digits.as_bytes(), 0, 0);
    while at < bytes.len() {
        number = number * 10 + (bytes[at] - b'0') as u32;
        at += 1;
    }
    number
}

/// Bits of watch_features.
#[expect(dead_code, reason = "a number of the header; no build has the second bit yet")]
#[repr(u64)]
pub enum watch_feature {
    /// watch_stream_fd gives a file descriptor
    WATCH_FEATURE_FD = 1 << 0,
    /// commits can go to disk without a separate sync
    WATCH_FEATURE_DIRECT_SYNC = 1 << 1,
}

const RELEASE: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("a release name has no NUL"),
};

const BUILD: &str = concat!(
    "libwatch ",
    env!("CARGO_PKG_VERSION"),
    " ",
    env!("WATCH_BUILD_TARGET"),
    " ",
    env!("WATCH_BUILD_PROFILE"),
    "\0"
);
const BUILD_INFO: &CStr = match CStr::from_bytes_with_nul(BUILD.as_bytes()) {
    Ok(text) => text,
    Err(_) => panic!("the build environment has no NUL"),
};

/// The release of the library that runs, as WATCH_VERSION_NUMBER counts it.
/// Thr: any. Blk: no
#[unsafe(no_mangle)]
pub extern "C" fn watch_version_number() -> u32 {
    NUMBER
}

/// The release of the library that runs, such as "0.1.0".
/// Own: static. Thr: any. Blk: no
#[unsafe(no_mangle)]
pub extern "C" fn watch_version_string() -> *const c_char {
    RELEASE.as_ptr()
}

/// The ABI number of the library that runs; another number than WATCH_ABI_VERSION means another library.
/// Thr: any. Blk: no
#[unsafe(no_mangle)]
pub extern "C" fn watch_abi_version() -> u32 {
    WATCH_ABI_VERSION
}

/// The WATCH_FEATURE_* bits of this build. Features never change the header.
/// Thr: any. Blk: no
#[unsafe(no_mangle)]
pub extern "C" fn watch_features() -> u64 {
    if cfg!(target_os = "linux") { watch_feature::WATCH_FEATURE_FD as u64 } else { 0 }
}

/// Release, target and profile of this build, for a bug report: one line, not to be parsed.
/// Own: static. Thr: any. Blk: no
#[unsafe(no_mangle)]
pub extern "C" fn watch_build_info() -> *const c_char {
    BUILD_INFO.as_ptr()
}
