//! The model itself, on programs whose answers are written down by hand from the rules.

use libwatch_model::answer::{
    Answer, DeleteAnswer, ErrorCode, Event, OpAnswer, Pair, PutAnswer, Response, What,
};
use libwatch_model::call::{
    Bytes, Call, Compare, CompareResult, Create, DeleteRange, Op, Put, Range, SortOrder, SortTarget, Step,
    Target, Txn,
};
use libwatch_model::model::Model;
use libwatch_model::program::{At, Id, Now, Program, Setup, StreamSetup};

const ALL: (&str, &str) = ("\0", "\0");

fn put(key: &str, value: &str) -> Put {
    Put { key: key.into(), value: value.into(), prev_kv: true, ..Put::default() }
}

fn delete(range: (&str, &str)) -> DeleteRange {
    DeleteRange { key: range.0.into(), range_end: range.1.into(), prev_kv: true }
}

fn range(range: (&str, &str)) -> Range {
    Range { key: range.0.into(), range_end: range.1.into(), ..Range::default() }
}

fn pair(key: &str, value: &str, create_revision: i64, mod_revision: i64, version: i64) -> Pair {
    Pair { key: key.into(), value: value.into(), create_revision, mod_revision, version, lease: 0 }
}

fn txn(compare: Vec<Compare>, success: Vec<Op>, failure: Vec<Op>) -> Call {
    Step::Txn(Txn { compare, success, failure })
}

fn watch(range: (&str, &str), start_revision: i64) -> Create {
    Create { key: range.0.into(), range_end: range.1.into(), start_revision, ..Create::default() }
}

fn setup() -> Setup {
    Setup { streams: vec![StreamSetup::default()], ..Setup::default() }
}

/// A store with: 2 a=1, 3 b=2, 4 a=3, 5 delete of a.
fn some() -> Model {
    let mut model = Model::new(&setup());
    for step in [put("a", "1"), put("b", "2"), put("a", "3")] {
        model.apply(&Step::Put(step));
    }
    model.apply(&Step::DeleteRange(delete(("a", ""))));
    assert_eq!(model.revision(), 5);
    model
}

fn code(model: &mut Model, call: Call) -> Option<ErrorCode> {
    match model.apply(&call) {
        Answer::Refused(code) => Some(code),
        _ => None,
    }
}

fn events(put: bool, kv: Pair, prev_kv: Option<Pair>) -> What {
    What::Events(vec![Event { put, kv, prev_kv }])
}

fn response(watch_id: i64, what: What, resume_revision: i64) -> Response {
    let (revision, resume_revision) = (5, Some(resume_revision));
    Response { watch_id, revision, resume_revision, fragment: false, what }
}

fn created(model: &mut Model, request: Create) -> i64 {
    match model.apply(&Step::Watch { stream: 0, watch_id: 0, request }) {
        Answer::Watch { watch_id } => watch_id,
        other => panic!("{other:?}"),
    }
}

/// etcd 1.2, 1.6, 1.12, 14.8
#[test]
fn versions_count_from_a_creation_to_a_deletion() {
    let mut model = some();
    let kv = pair("a", "4", 6, 6, 1);
    assert_eq!(model.apply(&Step::Put(put("a", "4"))), Answer::Put(PutAnswer { revision: 6, prev_kv: None }));
    let prev_kvs = vec![kv.clone(), pair("b", "2", 3, 3, 1)];
    assert_eq!(
        model.apply(&Step::DeleteRange(delete(ALL))),
        Answer::DeleteRange(DeleteAnswer { revision: 7, deleted: 2, prev_kvs })
    );
    let at = |revision: i64| match model.range(&Range { revision, ..range(("a", "")) }) {
        Answer::Range(answer) => answer.kvs,
        other => panic!("{other:?}"),
    };
    assert_eq!(at(3), [pair("a", "1", 2, 2, 1)]);
    assert_eq!(at(4), [pair("a", "3", 2, 4, 2)]);
    assert_eq!((at(5), at(6), at(7)), (vec![], vec![kv], vec![]));
}

/// etcd 1.3, 1.4, 1.5, 14.10, 14.13
#[test]
fn a_transaction_sees_its_own_changes_but_its_compares_do_not() {
    let mut model = some();
    let absent = |key: &str| Compare {
        key: key.into(),
        range_end: Bytes::default(),
        target: Target::Version(0),
        result: CompareResult::Equal,
    };
    let nested = Txn {
        compare: vec![absent("c")],
        success: vec![Op::Range(range(ALL))],
        failure: vec![Op::Put(put("never", ""))],
    };
    let ops = vec![Op::DeleteRange(delete(("x", ""))), Op::Put(put("c", "5")), Op::Txn(nested)];
    let Answer::Txn(answer) = model.apply(&txn(vec![absent("a")], ops, vec![])) else { panic!() };
    assert_eq!((answer.revision, answer.succeeded), (6, true));
    let none = DeleteAnswer { revision: 5, deleted: 0, prev_kvs: vec![] };
    assert_eq!(answer.results[0], OpAnswer::DeleteRange(none));
    let OpAnswer::Txn(inner) = &answer.results[2] else { panic!() };
    let OpAnswer::Range(read) = &inner.results[0] else { panic!() };
    assert_eq!((inner.succeeded, read.revision, read.count), (true, 6, 2));
    assert_eq!(read.kvs, [pair("b", "2", 3, 3, 1), pair("c", "5", 6, 6, 1)]);
}

/// etcd 14.9, 14.11, 14.12
#[test]
fn a_transaction_is_refused_as_a_whole() {
    let mut model = some();
    let twice = || vec![Op::Put(put("a", "")), Op::DeleteRange(delete(("a", "b")))];
    let nested = |success, failure| Op::Txn(Txn { compare: vec![], success, failure });
    let one = || vec![Op::Put(put("a", ""))];
    assert_eq!(code(&mut model, txn(vec![], vec![], twice())), Some(ErrorCode::DuplicateKey));
    assert_eq!(code(&mut model, txn(vec![], vec![nested(one(), one())], vec![])), None);
    let missing = Put { ignore_value: true, ..put("none", "") };
    let late = vec![Op::Put(put("z", "")), Op::Put(missing)];
    assert_eq!(code(&mut model, txn(vec![], late.clone(), vec![])), Some(ErrorCode::KeyNotFound));
    assert_eq!(code(&mut model, txn(vec![], vec![], late)), None, "only the chosen branch is checked");
    for (revision, refused) in
        [(-1, Some(ErrorCode::Compacted)), (0, None), (6, None), (7, Some(ErrorCode::FutureRevision))]
    {
        let read = Op::Range(Range { revision, ..range(ALL) });
        assert_eq!(code(&mut model, txn(vec![], vec![read], vec![])), refused);
    }
    assert_eq!(model.revision(), 6);
    let value_of_nothing = Compare {
        key: "none".into(),
        range_end: Bytes::default(),
        target: Target::Value("x".into()),
        result: CompareResult::NotEqual,
    };
    let Answer::Txn(answer) = model.apply(&txn(vec![value_of_nothing], vec![], vec![])) else { panic!() };
    assert!(!answer.succeeded);
}

/// etcd 14.2, 14.4, 14.5, 14.6, 10.1
#[test]
fn ranges_count_bound_sort_and_cut_in_this_order() {
    let mut model = some();
    model.apply(&Step::Put(put("c", "0")));
    model.apply(&Step::Put(put("b", "9")));
    let sorted = Range {
        limit: 1,
        min_mod_revision: 6,
        sort_target: SortTarget::Value,
        sort_order: SortOrder::Descend,
        keys_only: true,
        ..range(ALL)
    };
    let Answer::Range(answer) = model.range(&sorted) else { panic!() };
    assert_eq!((answer.revision, answer.count, answer.more), (7, 2, true));
    assert_eq!(answer.kvs, [pair("b", "", 3, 7, 2)]);
    assert_eq!(
        code(&mut model, Step::Compact { revision: 8, physical: false }),
        Some(ErrorCode::FutureRevision)
    );
    assert_eq!(code(&mut model, Step::Compact { revision: 4, physical: false }), None);
    assert_eq!(code(&mut model, Step::Compact { revision: 4, physical: false }), Some(ErrorCode::Compacted));
    let at = |model: &mut Model, revision| code(model, Step::Range(Range { revision, ..range(ALL) }));
    assert_eq!(
        [3, 4, 7, 8, -5].map(|revision| at(&mut model, revision)),
        [Some(ErrorCode::Compacted), None, None, Some(ErrorCode::FutureRevision), None]
    );
}

/// etcd 3.3, 3.8, 7.1 to 7.4, 9.2, 9.3
#[test]
fn a_watch_must_be_given_each_event_and_its_end() {
    let mut model = some();
    let id = created(&mut model, Create { prev_kv: true, ..watch(("a", ""), 4) });
    assert_eq!(id, 1);
    let (first, second) = (pair("a", "1", 2, 2, 1), pair("a", "3", 2, 4, 2));
    let gone = pair("a", "", 0, 5, 0);
    assert!(model.deliver(0, &response(1, events(false, gone.clone(), Some(second.clone())), 6)).is_err());
    let mut model_again = some();
    created(&mut model_again, Create { prev_kv: true, ..watch(("a", ""), 4) });
    let model = &mut model_again;
    assert!(model.drained().is_err());
    model.deliver(0, &response(1, events(true, second.clone(), Some(first)), 5)).unwrap();
    assert_eq!(model.apply(&Step::Cancel { stream: 0, watch_id: 1 }), Answer::Done);
    let canceled = What::Canceled { code: None, compact_revision: 0 };
    assert!(model.deliver(0, &response(1, canceled.clone(), 6)).is_err(), "6 would skip what was not given");
    model.deliver(0, &response(1, canceled, 5)).unwrap();
    model.drained().unwrap();
    assert_eq!(code(model, Step::Cancel { stream: 0, watch_id: 1 }), Some(ErrorCode::WatchNotFound));
}

/// etcd 3.5, 10.5, 10.6
#[test]
fn only_a_watch_that_needs_what_is_gone_may_be_lost() {
    let mut model = some();
    let lost = created(&mut model, watch(ALL, 3));
    let from_now = created(&mut model, watch(ALL, 0));
    model.apply(&Step::Compact { revision: 5, physical: false });
    let below = created(&mut model, watch(ALL, 4));
    assert_eq!((lost, from_now, below), (1, 2, 3));
    let compacted = || What::Canceled { code: Some(ErrorCode::Compacted), compact_revision: 5 };
    assert!(model.deliver(0, &response(2, compacted(), 4)).is_err());
    model.deliver(0, &response(1, compacted(), 3)).unwrap();
    assert!(model.drained().is_err(), "the watch below the compaction has no end");
    model.deliver(0, &response(3, compacted(), 4)).unwrap();
    model.drained().unwrap();
    assert_eq!(model.live_ids(0), [2]);
}

/// etcd 12.1, 12.5
#[test]
fn progress_is_for_those_who_have_everything() {
    let mut model = some();
    created(&mut model, watch(("b", ""), 1));
    created(&mut model, watch(("b", ""), 9));
    let progress = |upto: i64| Response { revision: upto, ..response(-1, What::Progress, upto + 1) };
    assert!(model.deliver(0, &progress(5)).is_err(), "nobody asked");
    model.apply(&Step::RequestProgress { stream: 0 });
    model.apply(&Step::RequestProgress { stream: 0 });
    assert!(model.deliver(0, &progress(5)).is_err(), "revision 3 is missing");
    model.deliver(0, &response(1, events(true, pair("b", "2", 3, 3, 1), None), 4)).unwrap();
    assert!(model.drained().is_err(), "a request is open");
    model.deliver(0, &progress(5)).unwrap();
    model.drained().unwrap();
}

/// etcd 3.4, 3.9
#[test]
fn steps_find_their_revisions_and_watches_when_they_run() {
    let mut model = some();
    created(&mut model, watch(ALL, 0));
    let cancel = |watch_id| Step::Cancel { stream: 0, watch_id };
    let resolved = |model: &Model, id| cancel(id).resolve(model);
    assert_eq!(resolved(&model, Id::Live(7)), Step::Cancel { stream: 0, watch_id: 1 });
    assert_eq!(resolved(&model, Id::Ended(0)), Step::Cancel { stream: 0, watch_id: 1001 });
    model.apply(&resolved(&model, Id::Live(0)));
    assert_eq!(resolved(&model, Id::Live(0)), Step::Cancel { stream: 0, watch_id: 1000 });
    assert_eq!(resolved(&model, Id::Ended(3)), Step::Cancel { stream: 0, watch_id: 1 });
    let compact = |revision| Step::Compact { revision, physical: true };
    let program =
        Program { setup: setup(), steps: vec![compact(At::Current(-2)), compact(At::Compaction(1))] };
    assert_eq!(program.steps[0].resolve(&model), compact_call(3));
    model.apply(&compact_call(3));
    assert_eq!(program.steps[1].resolve(&model), compact_call(4));
    assert!(
        program
            .to_string()
            .ends_with("  0  compact current-2 physical\n  1  compact compaction+1 physical\n")
    );
}

fn compact_call(revision: i64) -> Call {
    Step::Compact { revision, physical: true }
}
