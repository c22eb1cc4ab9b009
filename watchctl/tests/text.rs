//! A dump holds everything, and a store made from it is the same again.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use libwatch::{
    CreateRequest, DeleteRangeRequest, Durability, PutRequest, RangeRequest, Store, StoreOptions,
    StreamOptions, WATCH_ID_NONE,
};
use tempfile::TempDir;

fn options() -> StoreOptions {
    StoreOptions { segment_bytes: 1 << 16, durability: Durability::None, ..StoreOptions::default() }
}

fn put(store: &Store, key: &[u8], value: &[u8], lease: i64) {
    store.put(&PutRequest { key, value, lease, ..PutRequest::default() }).unwrap();
}

fn fill(store: &Store) {
    for i in 0..300i64 {
        let key = format!("key{}", i % 11);
        put(store, key.as_bytes(), &vec![i as u8; (i * 7 % 900) as usize], i % 3);
        if i % 5 == 0 {
            let request = DeleteRangeRequest { key: b"key3", range_end: b"key6", ..Default::default() };
            store.delete_range(&request).unwrap();
        }
    }
}

/// A name, and how to fill a store.
type Shape<'a> = (&'a str, &'a dyn Fn(&Store));

/// A closed store.
fn store(dir: &TempDir, fill: impl FnOnce(&Store)) {
    let store = Store::open(dir.path().join("store"), &options()).unwrap();
    fill(&store);
    store.close().unwrap();
}

/// Runs watchctl with an input; exit code, stdout, stderr.
fn watchctl(dir: &TempDir, line: &str, input: &[u8]) -> (i32, Vec<u8>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_watchctl"))
        .args(line.split_whitespace())
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Who refuses the first line does not read the last one.
    let _ = stdin.write_all(input);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

/// Revisions, pairs and events of a store, in lines.
fn seen(path: &Path) -> Vec<String> {
    let store = Store::open(path, &StoreOptions { read_only: true, create: false, ..options() }).unwrap();
    let mut lines = vec![format!("{} {}", store.revision(), store.compact_revision())];
    let (key, range_end) = (&b"\0"[..], &b"\0"[..]);
    let oldest = store.compact_revision().max(1);
    for revision in [oldest, (oldest + store.revision()) / 2, store.revision()] {
        let request = RangeRequest { key, range_end, revision, ..Default::default() };
        let Ok(pairs) = store.range(&request) else { continue };
        lines.extend(pairs.iter().map(|kv| format!("{kv:?}")));
    }
    let stream = store.stream(&StreamOptions::default()).unwrap();
    let start_revision = oldest;
    let request = CreateRequest { key, range_end, start_revision, prev_kv: true, ..Default::default() };
    stream.create(&request).unwrap();
    stream.request_progress().unwrap();
    loop {
        let response = stream.next(None).unwrap().unwrap();
        if response.is_progress() && response.watch_id() == WATCH_ID_NONE {
            return lines;
        }
        lines.extend(response.events().map(|event| format!("{event:?}")));
    }
}

/// etcd 1.1, 1.6, 10.2: revisions, versions, leases and the compaction.
#[test]
fn dump_and_load_make_the_same_store_again() {
    let compacted = |store: &Store| {
        fill(store);
        store.compact(200, true).unwrap();
        fill(store);
    };
    let logically = |store: &Store| {
        fill(store);
        store.compact(store.revision(), false).unwrap();
    };
    let bytes = |store: &Store| {
        put(store, b"\0\xff", b"\xc3\x28", -1);
        put(store, "\u{e4}\"\\\n".as_bytes(), b"", i64::MAX);
        put(store, &[7; 65535], &vec![0xee; 100_000], 0);
    };
    let emptied = |store: &Store| {
        fill(store);
        let request = DeleteRangeRequest { key: b"\0", range_end: b"\0", ..Default::default() };
        store.delete_range(&request).unwrap();
        store.delete_range(&request).unwrap();
        store.compact(store.revision(), true).unwrap();
    };
    let shapes: [Shape<'_>; 6] = [
        ("empty", &|_| {}),
        ("filled", &fill),
        ("compacted", &compacted),
        ("compacted logically", &logically),
        ("bytes", &bytes),
        ("emptied", &emptied),
    ];
    for (name, shape) in shapes {
        let dir = tempfile::tempdir().unwrap();
        store(&dir, shape);
        let (code, text, err) = watchctl(&dir, "dump store", b"");
        assert_eq!((code, err.as_str()), (0, ""), "{name}");
        let (code, out, err) = watchctl(&dir, "load - new", &text);
        assert_eq!((code, err.as_str()), (0, ""), "{name}");
        assert!(out.starts_with(b"revision: "), "{name}");
        assert_eq!(seen(&dir.path().join("new")), seen(&dir.path().join("store")), "{name}");
        let (_, again, _) = watchctl(&dir, "dump new", b"");
        assert!(again == text, "{name}: the dump of the new store is another one");
        assert_eq!(watchctl(&dir, "verify new", b"").0, 0, "{name}");
        // It goes on as the first one would.
        let next = |path: &str| {
            let store = Store::open(dir.path().join(path), &options()).unwrap();
            let request = PutRequest { key: b"key1", value: b"next", prev_kv: true, ..Default::default() };
            let result = store.put(&request).unwrap();
            (result.revision(), format!("{:?}", result.prev_kv()))
        };
        assert_eq!(next("new"), next("store"), "{name}");
        assert_eq!(watchctl(&dir, "verify new", b"").0, 0, "{name}");
    }
}

/// etcd 1.1: revisions that a crash took stay taken.
#[test]
fn a_gap_in_the_revisions_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    store(&dir, fill);
    assert_eq!(watchctl(&dir, "backup store copy", b"").0, 0);
    let copy = Store::open(dir.path().join("copy"), &options()).unwrap();
    put(&copy, b"key1", b"behind the gap", 0);
    copy.close().unwrap();
    let (_, text, _) = watchctl(&dir, "dump copy", b"");
    assert_eq!(watchctl(&dir, "load - new", &text).0, 0);
    assert_eq!(seen(&dir.path().join("new")), seen(&dir.path().join("copy")));
    assert!(seen(&dir.path().join("new"))[0].starts_with("17592186044417 "));
}

/// etcd 19.8: a dump that makes no sense names its line, and nothing is left.
#[test]
fn a_dump_that_makes_no_sense_is_refused_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let begin = r#"{"libwatch_dump":1,"base_revision":0}"#;
    let begin_3 = r#"{"libwatch_dump":1,"base_revision":3}"#;
    let put = |revision, create, version| {
        let numbers = format!(r#""create_revision":{create},"version":{version}"#);
        format!(r#"{{"revision":{revision},"changes":[{{"put":"k","value":"v",{numbers}}}]}}"#)
    };
    let base = r#"{"base":{"key":"k","value":"v","create_revision":2,"mod_revision":9,"version":1}}"#;
    let end = r#"{"end":{"revision":2,"compact_revision":-1}}"#;
    for (lines, complaint) in [
        (vec![], "the dump has no end"),
        (vec![begin], "the dump has no end"),
        (vec![begin, &put(2, 2, 1)], "the dump has no end"),
        (vec![end], "line 1: the beginning is missing"),
        (vec![begin, begin], "line 2: a second beginning"),
        (vec![r#"{"libwatch_dump":2}"#], "line 1: a dump of version 2; this is version 1"),
        (vec!["{"], "line 1: not JSON"),
        (vec![begin, "7"], "line 2: revision is not a number"),
        (vec![begin, r#"{"revision":2}"#], "line 2: changes are missing"),
        (vec![begin, base], "line 2: a key of the base behind transactions"),
        (vec![begin_3, base], "line 2: the base cannot have key \"k\""),
        (vec![begin, &put(2, 2, 2)], "line 2: revision 2, key \"k\": its numbers do not follow"),
        (vec![begin, &put(2, 2, 1), &put(2, 2, 2)], "line 3: revision 2 behind revision 2"),
        (
            vec![begin, r#"{"revision":2,"changes":[{"delete":"k"}]}"#],
            "line 2: revision 2, key \"k\": deleted",
        ),
        (vec![begin, r#"{"revision":2,"changes":[]}"#], "line 2: a transaction without changes"),
        (vec![begin, &put(3, 3, 1), end], "line 3: an end at revision 2"),
        (vec![begin, r#"{"end":{"revision":2,"compact_revision":3}}"#], "line 2: an end at revision 2"),
        (vec![begin, end, end], "line 3: something behind the end"),
    ] {
        let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        let (code, out, err) = watchctl(&dir, "load - new", text.as_bytes());
        assert_eq!((code, out.len()), (2, 0), "{text}{err}");
        assert!(err.starts_with(&format!("watchctl: {complaint}")), "{text}{err}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{text}");
    }
}

/// etcd 19.9: a damaged store is not dumped to its end.
#[test]
fn a_dump_of_a_damaged_or_open_store_has_no_end() {
    let dir = tempfile::tempdir().unwrap();
    store(&dir, fill);
    let segment = dir.path().join("store/seg-0000000000000001.lws");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[20_000] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let (code, text, err) = watchctl(&dir, "dump store", b"");
    assert!(code == 2 && err.contains("seg-0000000000000001.lws, offset "), "{err}");
    assert_eq!(watchctl(&dir, "load - new", &text).0, 2);
    bytes[20_000] ^= 1;
    std::fs::write(&segment, &bytes).unwrap();
    let open = Store::open(dir.path().join("store"), &options()).unwrap();
    assert_eq!(watchctl(&dir, "dump store", b"").0, 3);
    open.close().unwrap();
    assert_eq!(watchctl(&dir, "load none new", b"").0, 3);
    let (_, text, _) = watchctl(&dir, "dump store", b"");
    std::fs::write(dir.path().join("dump"), &text).unwrap();
    assert_eq!(watchctl(&dir, "load dump store", b"").0, 3);
    assert_eq!(watchctl(&dir, "load dump new", b"").0, 0);
}
