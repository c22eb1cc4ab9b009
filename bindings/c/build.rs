//! Gives libwatch.so its SONAME, whose number is WATCH_ABI_VERSION, and keeps it loaded: threads of the
//! library may still run when the host calls dlclose.

use std::{env, fs, process};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/version.rs");
    let version = fs::read_to_string("src/version.rs").unwrap_or_default();
    let Some(abi) = abi_version(&version) else {
        println!("cargo::error=src/version.rs has no line `pub const WATCH_ABI_VERSION: u32 = <number>;`");
        process::exit(1);
    };
    if env::var_os("CARGO_FEATURE_CAPI").is_none() {
        println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libwatch.so.{abi}");
    }
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    for name in ["TARGET", "PROFILE"] {
        println!("cargo::rustc-env=WATCH_BUILD_{name}={}", env::var(name).unwrap_or_default());
    }
}

fn abi_version(source: &str) -> Option<u32> {
    let (_, rest) = source.split_once("pub const WATCH_ABI_VERSION: u32 = ")?;
    rest.split_once(';')?.0.parse().ok()
}
