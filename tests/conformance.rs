//! Replays programs that were recorded against a live etcd and compares every answer and every event,
//! without a difference allowed. The format, and what etcd and libwatch number differently, is in
//! conformance/FORMAT.md.

mod common;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use common::*;
use libwatch::{
    Compare, CompareResult, CompareTarget, CreateRequest, DeleteRangeRequest, DeleteRangeResult, Error,
    ErrorCode, EventType, KeyValue, Op, OpResult, PutRequest, PutResult, RangeRequest, RangeResult,
    SortOrder, SortTarget, Store, Stream, TxnRequest,
};
use serde_json::{Map, Value, json};

/// The byte strings of one step, decoded; requests borrow from it.
struct Bytes(HashMap<String, Vec<u8>>);

impl Bytes {
    fn of(step: &Value) -> Self {
        let mut all = HashMap::new();
        gather(step, &mut all);
        Self(all)
    }

    fn get(&self, object: &Value, name: &str) -> &[u8] {
        object[name].as_str().map_or(&[], |digits| &self.0[digits])
    }
}

fn gather(value: &Value, all: &mut HashMap<String, Vec<u8>>) {
    match value {
        Value::Object(object) => {
            for name in ["key", "range_end", "value", "operand"] {
                if let Some(digits) = object.get(name).and_then(Value::as_str) {
                    all.insert(digits.to_string(), unhex(digits));
                }
            }
            object.values().for_each(|inner| gather(inner, all));
        }
        Value::Array(array) => array.iter().for_each(|inner| gather(inner, all)),
        _ => {}
    }
}

fn number(object: &Value, name: &str) -> i64 {
    object.get(name).map_or(0, |value| value.as_i64().unwrap_or_else(|| panic!("{name} is no number")))
}

fn flag(object: &Value, name: &str) -> bool {
    object.get(name).is_some_and(|value| value.as_bool().unwrap_or_else(|| panic!("{name} is no flag")))
}

fn put_request<'a>(step: &Value, bytes: &'a Bytes) -> PutRequest<'a> {
    PutRequest {
        key: bytes.get(step, "key"),
        value: bytes.get(step, "value"),
        prev_kv: flag(step, "prev_kv"),
        ..PutRequest::default()
    }
}

fn delete_request<'a>(step: &Value, bytes: &'a Bytes) -> DeleteRangeRequest<'a> {
    DeleteRangeRequest {
        key: bytes.get(step, "key"),
        range_end: bytes.get(step, "range_end"),
        prev_kv: flag(step, "prev_kv"),
    }
}

fn range_request<'a>(step: &Value, bytes: &'a Bytes) -> RangeRequest<'a> {
    RangeRequest {
        key: bytes.get(step, "key"),
        range_end: bytes.get(step, "range_end"),
        revision: number(step, "revision"),
        limit: number(step, "limit"),
        count_only: flag(step, "count_only"),
        keys_only: flag(step, "keys_only"),
        min_mod_revision: number(step, "min_mod_revision"),
        max_create_revision: number(step, "max_create_revision"),
        sort_target: match step["sort_target"].as_str().unwrap_or("KEY") {
            "KEY" => SortTarget::Key,
            "MOD" => SortTarget::Mod,
            "CREATE" => SortTarget::Create,
            other => panic!("unknown sort target {other}"),
        },
        sort_order: match step["sort_order"].as_str().unwrap_or("NONE") {
            "NONE" => SortOrder::None,
            "ASCEND" => SortOrder::Ascend,
            "DESCEND" => SortOrder::Descend,
            other => panic!("unknown sort order {other}"),
        },
        ..RangeRequest::default()
    }
}

fn compare<'a>(condition: &Value, bytes: &'a Bytes) -> Compare<'a> {
    let operand = || number(condition, "operand");
    Compare {
        key: bytes.get(condition, "key"),
        range_end: &[],
        target: match condition["target"].as_str().unwrap() {
            "VERSION" => CompareTarget::Version(operand()),
            "CREATE" => CompareTarget::Create(operand()),
            "MOD" => CompareTarget::Mod(operand()),
            "VALUE" => CompareTarget::Value(bytes.get(condition, "operand")),
            other => panic!("unknown compare target {other}"),
        },
        result: match condition["result"].as_str().unwrap() {
            "EQUAL" => CompareResult::Equal,
            "GREATER" => CompareResult::Greater,
            "LESS" => CompareResult::Less,
            "NOT_EQUAL" => CompareResult::NotEqual,
            other => panic!("unknown compare result {other}"),
        },
    }
}

fn op<'a>(operation: &Value, bytes: &'a Bytes) -> Op<'a> {
    match operation["op"].as_str().unwrap() {
        "put" => Op::Put(put_request(operation, bytes)),
        "delete_range" => Op::DeleteRange(delete_request(operation, bytes)),
        "range" => Op::Range(range_request(operation, bytes)),
        other => panic!("unknown operation {other}"),
    }
}

fn txn_request<'a>(step: &Value, bytes: &'a Bytes) -> TxnRequest<'a> {
    let list = |name: &str| step[name].as_array().unwrap().clone();
    TxnRequest {
        compare: list("compare").iter().map(|condition| compare(condition, bytes)).collect(),
        success: list("success").iter().map(|operation| op(operation, bytes)).collect(),
        failure: list("failure").iter().map(|operation| op(operation, bytes)).collect(),
    }
}

fn kv_json(kv: &KeyValue<'_>) -> Value {
    assert_eq!(kv.lease, 0, "no trace uses leases");
    json!({
        "key": hex(kv.key), "value": hex(kv.value), "create_revision": kv.create_revision,
        "mod_revision": kv.mod_revision, "version": kv.version,
    })
}

fn put_json(result: &PutResult) -> Map<String, Value> {
    let prev = result.prev_kv().map_or(Value::Null, |kv| kv_json(&kv));
    Map::from_iter([("prev_kv".to_string(), prev)])
}

fn delete_json(result: &DeleteRangeResult) -> Map<String, Value> {
    let prev: Vec<Value> = (0..result.prev_kv_count()).map(|i| kv_json(&result.prev_kv(i))).collect();
    Map::from_iter([("deleted".to_string(), result.deleted().into()), ("prev_kvs".to_string(), prev.into())])
}

fn range_json(result: &RangeResult) -> Map<String, Value> {
    let kvs: Vec<Value> = result.iter().map(|kv| kv_json(&kv)).collect();
    Map::from_iter([
        ("count".to_string(), result.count().into()),
        ("more".to_string(), result.more().into()),
        ("kvs".to_string(), kvs.into()),
    ])
}

fn with(mut answer: Map<String, Value>, name: &str, value: impl Into<Value>) -> Value {
    answer.insert(name.to_string(), value.into());
    answer.into()
}

fn op_json(result: &OpResult) -> Value {
    match result {
        OpResult::Put(result) => with(put_json(result), "op", "put"),
        OpResult::DeleteRange(result) => with(delete_json(result), "op", "delete_range"),
        OpResult::Range(result) => with(range_json(result), "op", "range"),
        OpResult::Txn(_) => panic!("no trace nests transactions"),
    }
}

fn error_json(error: &Error) -> Value {
    let name = match error.code() {
        ErrorCode::Compacted => "compacted",
        ErrorCode::FutureRevision => "future_revision",
        ErrorCode::EmptyKey => "empty_key",
        ErrorCode::DuplicateKey => "duplicate_key",
        ErrorCode::EmptyRange => "empty_range",
        ErrorCode::DuplicateWatchId => "duplicate_id",
        _ => panic!("{error}"),
    };
    json!({ "error": name })
}

/// A store with the two streams of a trace.
struct Replay {
    store: Store,
    streams: [Stream; 2],
    /// Stream and recorded id of each live watch, to libwatch's id.
    ids: HashMap<(usize, i64), i64>,
    /// Stream and libwatch's id, to the watcher's number and recorded id. Ended watches stay known.
    watchers: HashMap<(usize, i64), (i64, i64)>,
}

impl Replay {
    fn new(store: Store) -> Self {
        let streams = [stream(&store), stream(&store)];
        Self { store, streams, ids: HashMap::new(), watchers: HashMap::new() }
    }

    fn answer(&mut self, step: &Value) -> Value {
        let bytes = Bytes::of(step);
        let store = self.store.clone();
        let answer = match step["op"].as_str().unwrap() {
            "put" => {
                store.put(&put_request(step, &bytes)).map(|r| with(put_json(&r), "revision", r.revision()))
            }
            "delete_range" => store
                .delete_range(&delete_request(step, &bytes))
                .map(|r| with(delete_json(&r), "revision", r.revision())),
            "range" => store
                .range(&range_request(step, &bytes))
                .map(|r| with(range_json(&r), "revision", r.revision())),
            "txn" => store.txn(&txn_request(step, &bytes)).map(|r| {
                let responses: Vec<Value> = r.results().iter().map(op_json).collect();
                json!({ "revision": r.revision(), "succeeded": r.succeeded(), "responses": responses })
            }),
            "compact" => store
                .compact(number(step, "revision"), false)
                .map(|()| json!({ "revision": store.revision() })),
            "watch" => self.watch(step, &bytes),
            "cancel" => return self.cancel(step),
            other => panic!("unknown step {other}"),
        };
        answer.unwrap_or_else(|error| error_json(&error))
    }

    /// The answer of a watch is its recorded one if the watch was created: ids are libwatch's own.
    fn watch(&mut self, step: &Value, bytes: &Bytes) -> Result<Value, Error> {
        let on = number(step, "stream") as usize;
        let asked = number(step, "watch_id");
        let filters = step["filters"].as_array().unwrap();
        let request = CreateRequest {
            key: bytes.get(step, "key"),
            range_end: bytes.get(step, "range_end"),
            start_revision: number(step, "start_revision"),
            watch_id: match asked {
                0 => 0,
                live => self.ids.get(&(on, live)).copied().unwrap_or(live + 1000),
            },
            prev_kv: flag(step, "prev_kv"),
            filter_noput: filters.contains(&json!("NOPUT")),
            filter_nodelete: filters.contains(&json!("NODELETE")),
            ..CreateRequest::default()
        };
        let id = self.streams[on].create(&request)?;
        let expect = &step["expect"];
        assert!(expect.get("error").is_none(), "libwatch accepted a watch that etcd refused");
        let recorded = number(expect, "watch_id");
        let before = self.ids.insert((on, recorded), id);
        assert_eq!(before, None, "the recorded id is live");
        self.watchers.insert((on, id), (number(expect, "watcher"), recorded));
        Ok(expect.clone())
    }

    fn cancel(&mut self, step: &Value) -> Value {
        let on = number(step, "stream") as usize;
        let recorded = number(step, "watch_id");
        match self.ids.remove(&(on, recorded)) {
            Some(id) => {
                self.streams[on].cancel(id).unwrap();
                json!({ "canceled": true, "watcher": self.watchers[&(on, id)].0, "compact_revision": 0 })
            }
            None => {
                assert_eq!(refused(self.streams[on].cancel(recorded + 1_000_000)), ErrorCode::WatchNotFound);
                json!({ "canceled": false })
            }
        }
    }

    /// What the watches got since the last step. The response to a cancel is no part of the recording.
    fn delivered(&mut self) -> Value {
        let mut all: BTreeMap<String, Value> = BTreeMap::new();
        for on in 0..2 {
            for response in drain(&self.streams[on]) {
                let (watcher, recorded) = self.watchers[&(on, response.watch_id())];
                if response.is_canceled() && response.cancel_code().is_none() {
                    continue;
                }
                let entry = all.entry(watcher.to_string()).or_insert_with(|| json!({ "events": [] }));
                let events = entry["events"].as_array_mut().unwrap();
                for event in response.events() {
                    let event_type = if event.event_type == EventType::Put { "PUT" } else { "DELETE" };
                    let mut told = json!({ "type": event_type, "kv": kv_json(&event.kv) });
                    if let Some(prev) = event.prev_kv {
                        told["prev_kv"] = kv_json(&prev);
                    }
                    events.push(told);
                }
                if response.is_canceled() {
                    assert_eq!(response.cancel_code(), Some(ErrorCode::Compacted));
                    entry["canceled"] = true.into();
                    entry["compact_revision"] = response.compact_revision().into();
                    self.ids.remove(&(on, recorded));
                }
            }
        }
        json!(all)
    }
}

fn traces() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance");
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut traces: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "json")).collect();
    traces.sort();
    traces
}

fn replay(trace: &Path, store: Store) {
    let text = std::fs::read_to_string(trace).unwrap();
    let recording: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(recording["format"], "etcd-watch-trace/1");
    let mut replay = Replay::new(store);
    let steps = recording["steps"].as_array().unwrap();
    assert!(!steps.is_empty());
    for (i, step) in steps.iter().enumerate() {
        let place = || format!("{} step {i}: {step}", trace.display());
        let answer = replay.answer(step);
        assert_eq!(answer, step["expect"], "{}", place());
        let delivered = replay.delivered();
        assert_eq!(delivered, step["delivered"], "{}", place());
    }
}

#[test]
fn a_store_in_memory_answers_every_recorded_program_as_etcd_did() {
    watched(|| {
        let traces = traces();
        assert!(traces.len() >= 17, "traces are missing");
        traces.iter().for_each(|trace| replay(trace, memory()));
    });
}

#[test]
fn a_store_in_small_files_answers_every_recorded_program_as_etcd_did() {
    watched(|| {
        for trace in traces() {
            let folder = folder();
            replay(&trace, Store::open(folder.path(), &tiny()).unwrap());
        }
    });
}
