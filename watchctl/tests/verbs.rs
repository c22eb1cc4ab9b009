//! Each verb as its users meet it: arguments, stdout, stderr and exit code.

use std::path::Path;
use std::process::{Command, Output};

use libwatch::{Durability, PutRequest, Store, StoreOptions};
use tempfile::TempDir;

fn options() -> StoreOptions {
    StoreOptions { segment_bytes: 1 << 16, durability: Durability::None, ..StoreOptions::default() }
}

fn put(store: &Store, key: &str, value: &str) -> i64 {
    let request = PutRequest { key: key.as_bytes(), value: value.as_bytes(), ..PutRequest::default() };
    store.put(&request).unwrap().revision()
}

/// A folder with a closed store in it.
fn sound() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store"), &options()).unwrap();
    for i in 0..40 {
        put(&store, &format!("key{}", i % 7), &"v".repeat(i));
    }
    store.compact(21, true).unwrap();
    store.close().unwrap();
    dir
}

fn damage(store: &Path) {
    let base = std::fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let base = base.into_iter().find(|path| path.to_str().unwrap().contains("base-")).unwrap();
    let mut bytes = std::fs::read(&base).unwrap();
    bytes[4096 + 70] ^= 1;
    std::fs::write(base, bytes).unwrap();
}

/// Exit code, stdout, stderr.
fn watchctl(dir: &TempDir, line: &str) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watchctl"));
    let Output { status, stdout, stderr } =
        command.args(line.split_whitespace()).current_dir(dir.path()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

/// etcd 19.9: what is sound is called so, with its numbers.
#[test]
fn a_sound_store_has_numbers_and_code_0() {
    let dir = sound();
    let (code, out, err) = watchctl(&dir, "verify store");
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "sound: yes");
    for line in ["closed: yes", "torn bytes: 0", "revision: 41", "compact revision: 21", "keys: 7"] {
        assert!(lines.contains(&line), "{line} is missing in {out}");
    }
    let (code, stat, err) = watchctl(&dir, "stat store");
    assert_eq!((code, err.as_str(), format!("sound: yes\n{stat}")), (0, "", out));
}

/// etcd 19.9: what is damaged is named with file and place.
#[test]
fn a_damaged_store_has_code_2_and_says_where() {
    let dir = sound();
    damage(&dir.path().join("store"));
    let (code, out, err) = watchctl(&dir, "verify store");
    assert_eq!((code, out.as_str()), (2, "sound: no\nfile: base-80000001.lws\noffset: 4096\n"));
    assert_eq!(err, "watchctl: base-80000001.lws, offset 4096: an entry is not valid\n");
    let (code, out, stat) = watchctl(&dir, "stat store");
    assert_eq!((code, out.as_str(), stat), (2, "", err.clone()));
    let (code, out, backup) = watchctl(&dir, "backup store copy");
    assert_eq!((code, out.as_str(), backup), (2, "", err));
    assert!(!dir.path().join("copy").exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// etcd 1.1: a copy has the same revision, and a place of its own to go on.
#[test]
fn a_copy_is_made_checked_and_named() {
    let dir = sound();
    let (code, out, err) = watchctl(&dir, "backup store copy");
    assert_eq!((code, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["revision: 41", "fork revision: 17592186044416"]);
    let numbers = |out: String| out.lines().take(6).map(str::to_string).collect::<Vec<_>>();
    let (of_copy, of_store) = (watchctl(&dir, "verify copy"), watchctl(&dir, "verify store"));
    assert_eq!((of_copy.0, numbers(of_copy.1)), (0, numbers(of_store.1)));
    let (code, out, err) = watchctl(&dir, "backup store copy");
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(err.starts_with("watchctl: write to copy: File exists"), "{err}");
    let store = Store::open(dir.path().join("copy"), &options()).unwrap();
    assert_eq!(put(&store, "key", ""), 17592186044417);
}

/// etcd 19.9: what is sound is kept, what is lost is said.
#[test]
fn a_damaged_store_is_repaired_into_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store"), &options()).unwrap();
    for i in 0..40 {
        put(&store, &format!("key{}", i % 7), "value");
    }
    store.close().unwrap();
    let (code, out, err) = watchctl(&dir, "repair store sound");
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("kept up to revision: 41\nkept transactions: 40\nlost transactions found: 0\n"));
    let segment = dir.path().join("store/seg-0000000000000001.lws");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[4096 + 40 + 96 * 10 + 50] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (code, out, err) = watchctl(&dir, "repair store new");
    let kept = "kept up to revision: 11\nkept transactions: 10\nlost transactions found: 29\n";
    assert_eq!((code, out), (2, format!("{kept}lost up to revision: 41\nfork revision: 17592186044416\n")));
    assert!(err.starts_with("watchctl: seg-0000000000000001.lws, offset 5096: "), "{err}");
    assert_eq!(watchctl(&dir, "verify new").0, 0);
    assert_eq!(watchctl(&dir, "repair store new").0, 3);
}

/// etcd 19.1: a crash is told, and is no damage.
#[test]
fn a_store_that_was_not_closed_is_sound() {
    let dir = sound();
    let store = Store::open(dir.path().join("store"), &options()).unwrap();
    put(&store, "key", "unclosed");
    let copy = dir.path().join("crashed");
    std::fs::create_dir(&copy).unwrap();
    for entry in std::fs::read_dir(dir.path().join("store")).unwrap().map(|entry| entry.unwrap()) {
        std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    std::fs::write(copy.join("seg-0000000000000009.lws.tmp"), "").unwrap();
    let (code, out, err) = watchctl(&dir, "verify crashed");
    assert!(code == 0 && out.contains("closed: no\n") && out.contains("revision: 42\n"), "{out}");
    let left = "watchctl: seg-0000000000000009.lws.tmp was left by a crash; the next writer removes it\n";
    assert_eq!(err, left);
}

/// etcd 19.7: what is open elsewhere, or not there, is code 3.
#[test]
fn what_cannot_be_looked_at_has_code_3() {
    let dir = sound();
    let store = Store::open(dir.path().join("store"), &options()).unwrap();
    for line in ["verify store", "stat store", "backup store copy"] {
        let (code, out, err) = watchctl(&dir, line);
        assert_eq!((code, out.as_str()), (3, ""), "{line}");
        assert!(err.starts_with("watchctl: another opener holds the store in "), "{err}");
    }
    store.close().unwrap();
    for line in ["verify none", "stat none", "backup none copy", "verify .", "backup store no/copy"] {
        let (code, out, err) = watchctl(&dir, line);
        assert_eq!((code, out.as_str(), err.lines().count()), (3, "", 1), "{line}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// etcd 19.8: a line that makes no sense is code 1, with a hint.
#[test]
fn bad_lines_have_code_1_and_help_has_code_0() {
    let dir = sound();
    for line in
        ["", "verify", "verify store store", "frobnicate store", "verify --fast store", "backup store"]
    {
        let (code, out, err) = watchctl(&dir, line);
        assert_eq!((code, out.as_str()), (1, ""), "{line}");
        assert!(err.starts_with("watchctl: ") && err.ends_with("Try: watchctl --help\n"), "{err}");
    }
    for line in ["--help", "-h", "verify --help", "backup -h", "stat --help"] {
        let (code, out, err) = watchctl(&dir, line);
        assert!(code == 0 && err.is_empty() && out.starts_with("Usage: watchctl "), "{line}: {err}");
    }
    let (code, out, _) = watchctl(&dir, "--version");
    assert_eq!((code, out), (0, format!("watchctl {}\n", env!("CARGO_PKG_VERSION"))));
}

/// etcd 19.1: nobody reading the answer is no failure.
#[test]
fn a_reader_that_left_is_no_failure() {
    let dir = sound();
    let mut child = Command::new(env!("CARGO_BIN_EXE_watchctl"))
        .args(["verify", "store"])
        .current_dir(dir.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
