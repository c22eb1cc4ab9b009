//! Folders that cannot be opened as what the caller thinks they are.

use std::sync::{Arc, Mutex};

use libwatch::{DeleteRangeRequest, ErrorCode, PutRequest, Store, StoreOptions, TxnRequest};

use crate::common::*;
use crate::scene::{error, op_put};

/// etcd 11.1: only what a store wrote is restored
#[test]
fn a_path_that_is_no_folder_is_refused() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, b"mine").unwrap();
    for path in [file.clone(), file.join("below"), folder.path().join("no\0good"), "".into()] {
        let refusal = error(Store::open(&path, &tiny()));
        assert_eq!(refusal.code(), ErrorCode::Io, "{refusal}");
        let named = path.display().to_string().replace('\0', "");
        assert!(refusal.message().replace('\0', "").contains(&named), "{refusal}");
    }
    assert_eq!(std::fs::read(&file).unwrap(), b"mine", "what is not ours is left alone");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
}

/// etcd 11.1
#[test]
fn a_store_that_must_exist_is_not_made() {
    let folder = folder();
    let path = folder.path().join("absent");
    for options in [StoreOptions { create: false, ..tiny() }, StoreOptions { read_only: true, ..tiny() }] {
        let refusal = error(Store::open(&path, &options));
        assert_eq!(refusal.code(), ErrorCode::Io);
        assert!(refusal.message().contains("absent") && refusal.os_error() == 2, "{refusal}");
    }
    assert!(!path.exists());
}

/// etcd 1.13: there is one writer
#[test]
fn a_store_that_is_open_is_locked() {
    let folder = folder();
    let store = Store::open(folder.path(), &tiny()).unwrap();
    put(&store, "a", "1");
    let refusal = error(Store::open(folder.path(), &tiny()));
    assert_eq!(refusal.code(), ErrorCode::Locked);
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    assert!(refusal.message().contains(name), "{refusal}");
    assert_eq!((put(&store, "a", "2"), get(&store, "a", 0).as_deref()), (3, Some("2")));
}

/// etcd 11.1, 14.11
#[test]
fn a_read_only_store_refuses_writes() {
    watched(|| {
        let folder = folder();
        let store = Store::open(folder.path(), &tiny()).unwrap();
        put(&store, "a", "1");
        store.close().unwrap();
        let store = Store::open(folder.path(), &StoreOptions { read_only: true, ..tiny() }).unwrap();
        let stream = stream(&store);
        stream.create(&watch(ALL, 1)).unwrap();
        let put = PutRequest { key: b"a", value: b"2", ..Default::default() };
        let delete = DeleteRangeRequest { key: b"a", ..Default::default() };
        let txn = TxnRequest { success: vec![op_put(b"a", b"2")], ..Default::default() };
        for refusal in [
            error(store.put(&put)),
            error(store.delete_range(&delete)),
            error(store.txn(&txn)),
            error(store.compact(2, false)),
        ] {
            assert_eq!(refusal.code(), ErrorCode::ReadOnly);
            assert!(refusal.message().contains("read-only"));
        }
        assert_eq!((store.revision(), store.compact_revision()), (2, -1));
        assert_eq!(lines_of(&settle(&stream), 1), ["2 put a=1"]);
    });
}

/// etcd 11.1: only what a store wrote is restored
#[test]
fn files_that_are_no_store_are_never_taken_for_one() {
    let original = folder();
    let store = Store::open(original.path(), &tiny()).unwrap();
    (0..500).for_each(|i| _ = put(&store, format!("{i}"), "value"));
    store.close().unwrap();
    let names: Vec<_> =
        std::fs::read_dir(original.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let mut refusals = 0;
    for name in names {
        let spoilt: [fn(Vec<u8>) -> Vec<u8>; 3] = [
            |_| Vec::new(),
            |bytes| vec![0x5a; bytes.len()],
            |mut bytes| {
                bytes.truncate(bytes.len() / 2);
                bytes
            },
        ];
        for spoil in spoilt {
            let image = crash_image(&original);
            let path = image.path().join(&name);
            std::fs::write(&path, spoil(std::fs::read(&path).unwrap())).unwrap();
            match Store::open(image.path(), &tiny()) {
                Ok(store) => {
                    assert_eq!(get(&store, "499", 0).as_deref(), Some("value"), "{name:?} was needed")
                }
                Err(error) => {
                    assert!(
                        matches!(error.code(), ErrorCode::Corrupt | ErrorCode::Format),
                        "{name:?}: {error}"
                    );
                    refusals += 1;
                }
            }
        }
    }
    assert!(refusals > 0, "some file of a store matters");
}

/// etcd 11.1: what opening finds is said to the sink, if there is one
#[test]
fn a_sink_for_log_lines_gets_them_and_silence_is_the_default() {
    let lines: Arc<Mutex<Vec<(u32, String)>>> = Arc::default();
    let sink = lines.clone();
    libwatch::set_log(
        3,
        Some(Box::new(move |level, line| sink.lock().unwrap().push((level, line.to_string())))),
    );
    drop(Store::open_in_memory(&StoreOptions::default()).unwrap());
    libwatch::set_log(4, None);
    let heard = std::mem::take(&mut *lines.lock().unwrap());
    assert!(heard.iter().any(|(level, line)| *level == 3 && line.contains("opened")), "{heard:?}");
    assert!(heard.iter().all(|(level, line)| (1..=3).contains(level) && !line.contains('\n')));
    assert_eq!(Arc::strong_count(&lines), 1, "the sink was dropped");
}
