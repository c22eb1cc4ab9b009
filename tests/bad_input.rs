//! What callers get wrong is answered with a code and a line that names the thing, and disturbs nothing else.

mod common;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use libwatch::{
    Answer, CreateRequest, DeleteRangeRequest, Error, ErrorCode, Op, PutRequest, RangeRequest, Result, Store,
    StoreOptions, StreamOptions, TxnRequest,
};

fn error<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("the call was accepted"),
        Err(error) => {
            let line = error.message();
            assert!(!line.is_empty() && !line.contains('\n') && !line.ends_with('.'), "{line:?} is no line");
            assert_eq!(error.to_string(), line);
            error
        }
    }
}

#[test]
fn a_watch_range_with_nothing_in_it_is_refused() {
    // etcd 2.4
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        for (key, end) in [("b", "a"), ("b", "b"), ("b\0", "b"), ("", "\0\0")] {
            let request = watch((key.as_bytes(), end.as_bytes()), 0);
            match key {
                "" => _ = stream.create(&request).unwrap(),
                _ => assert_eq!(error(stream.create(&request)).code(), ErrorCode::EmptyRange),
            }
        }
        assert_eq!(store.stats().unwrap().watch_count, 1);
    });
}

#[test]
fn negative_starts_and_ids_are_refused_by_name() {
    // etcd 3.4, 3.9
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        for number in [-1, i64::MIN] {
            let start = error(stream.create(&watch(ALL, number)));
            assert_eq!(start.code(), ErrorCode::InvalidArgument);
            assert!(
                start.message().contains("start_revision") && start.message().contains(&number.to_string())
            );
            let id = error(stream.create(&CreateRequest { watch_id: number, ..watch(ALL, 0) }));
            assert_eq!(id.code(), ErrorCode::InvalidArgument);
            assert!(id.message().contains("watch_id") && id.message().contains(&number.to_string()));
        }
    });
}

#[test]
fn a_refused_watch_gives_no_response_and_disturbs_no_other() {
    // etcd 3.10, 19.3 #14296
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        let good = stream.create(&CreateRequest { watch_id: 5, ..watch(ALL, 0) }).unwrap();
        error(stream.create(&watch((b"b", b"a"), 0)));
        error(stream.create(&CreateRequest { watch_id: 5, created_notify: true, ..watch(ALL, 0) }));
        error(stream.create(&watch(ALL, -1)));
        put(&store, "a", "1");
        let responses = settle(&stream);
        assert_eq!(responses.len(), 1);
        assert_eq!(lines_of(&responses, good), ["2 put a=1"]);
    });
}

#[test]
fn values_and_leases_are_not_given_together_with_what_ignores_them() {
    // etcd 14.7
    let store = memory();
    put(&store, "a", "1");
    let value = PutRequest { key: b"a", value: b"2", ignore_value: true, ..Default::default() };
    let refusal = error(store.put(&value));
    assert_eq!(refusal.code(), ErrorCode::InvalidArgument);
    assert!(refusal.message().contains("ignore_value"));
    let lease = PutRequest { key: b"a", lease: 2, ignore_lease: true, ..Default::default() };
    let refusal = error(store.put(&lease));
    assert_eq!(refusal.code(), ErrorCode::InvalidArgument);
    assert!(refusal.message().contains("ignore_lease"));
    let absent = PutRequest { key: b"who\n", ignore_value: true, ..Default::default() };
    assert!(error(store.put(&absent)).message().contains("who\\n"), "the key is named and escaped");
    assert_eq!(store.revision(), 2);
}

#[test]
fn errors_carry_the_numbers_that_help() {
    let store = memory();
    (0..5).for_each(|_| _ = put(&store, "a", "1"));
    store.compact(4, false).unwrap();
    let compacted = error(store.get(b"a", 3));
    assert_eq!((compacted.compact_revision(), compacted.current_revision()), (4, 0));
    let future = error(store.get(b"a", 30));
    assert_eq!((future.compact_revision(), future.current_revision()), (0, 6));
    assert!(future.message().contains("30") && future.message().contains('6'));
    assert_eq!((future.os_error(), future.code().name()), (0, "WATCH_ERR_FUTURE_REVISION"));
}

#[test]
fn a_long_key_in_an_error_is_cut() {
    let store = memory();
    let key = vec![0xff; 60_000];
    let op = || Op::Put(PutRequest { key: &key, ..Default::default() });
    let refusal = error(store.txn(&TxnRequest { success: vec![op(), op()], ..Default::default() }));
    assert_eq!(refusal.code(), ErrorCode::DuplicateKey);
    assert!(refusal.message().len() < 500);
    let absent = PutRequest { key: &key, ignore_value: true, ..Default::default() };
    assert!(error(store.put(&absent)).message().len() < 500);
}

#[test]
fn a_batch_of_nothing_is_refused() {
    watched(|| {
        let store = memory();
        assert_eq!(error(stream(&store).next_batch(0, None)).code(), ErrorCode::InvalidArgument);
    });
}

#[test]
fn a_callback_stream_has_no_consumer_and_no_descriptor() {
    watched(|| {
        let store = memory();
        let callback = Box::new(|_: &libwatch::Response| Answer::Taken);
        let stream = store.stream_with_callback(&StreamOptions::default(), callback).unwrap();
        assert_eq!(error(stream.next(None)).code(), ErrorCode::InvalidState);
        assert_eq!(error(stream.next_batch(1, Some(Duration::ZERO))).code(), ErrorCode::InvalidState);
        assert_eq!(error(stream.fd()).code(), ErrorCode::InvalidState);
    });
}

/// S 19.4
#[test]
fn a_second_consumer_is_told_that_the_stream_is_busy() {
    watched(|| {
        let store = memory();
        let stream = stream(&store);
        stream.create(&watch(ALL, 0)).unwrap();
        let (done, consumed) = channel();
        let consumer = {
            let stream = stream.clone();
            std::thread::spawn(move || done.send(take(&stream).len()).unwrap())
        };
        until(|| match stream.next(Some(Duration::ZERO)) {
            Ok(None) => false,
            Ok(Some(_)) => panic!("nothing was written"),
            Err(error) => error.code() == ErrorCode::Busy,
        });
        put(&store, "a", "1");
        assert_eq!(consumed.recv().unwrap(), 1);
        consumer.join().unwrap();
        assert!(stream.next(Some(Duration::ZERO)).unwrap().is_none(), "the turn was given back");
    });
}

#[test]
fn reversed_ranges_are_fine_for_reads_and_deletes() {
    // etcd 2.4, 14.1
    let store = memory();
    put(&store, "a", "1");
    let read = RangeRequest { key: b"z", range_end: b"a", ..Default::default() };
    assert_eq!(store.range(&read).unwrap().count(), 0);
    let delete = DeleteRangeRequest { key: b"z", range_end: b"a", prev_kv: true };
    assert_eq!(store.delete_range(&delete).unwrap().deleted(), 0);
}

#[test]
fn a_path_that_is_no_folder_is_refused_by_name() {
    let folder = folder();
    let file = folder.path().join("file");
    std::fs::write(&file, b"mine").unwrap();
    for path in [file.clone(), file.join("below"), folder.path().join("no\0good")] {
        let refusal = error(Store::open(&path, &tiny()));
        assert!(matches!(refusal.code(), ErrorCode::Io | ErrorCode::InvalidArgument), "{refusal}");
    }
    assert!(error(Store::open(&file, &tiny())).message().contains("file"));
    assert_eq!(std::fs::read(&file).unwrap(), b"mine", "what is not ours is left alone");
}

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
