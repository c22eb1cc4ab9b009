//! The judge himself: a right history passes, and each rule is broken by a history that breaks nothing else.

use std::collections::BTreeMap;

use super::*;

fn put(key: &str, value: &str) -> Change {
    Change { put: true, key: key.into(), value: value.into(), lease: 0 }
}

fn delete(key: &str) -> Change {
    Change { put: false, key: key.into(), value: Vec::new(), lease: 0 }
}

fn log() -> Log {
    Log::new(&BTreeMap::from([
        (2, vec![put("a", "1")]),
        (3, vec![put("a", "2"), put("b", "1")]),
        (4, vec![put("z", "1")]),
        (5, vec![delete("a")]),
        (6, vec![put("a", "3")]),
    ]))
}

fn response(kind: Kind, resume_revision: i64) -> Given {
    Given { kind, revision: 6, resume_revision, fragment: false, readable_revision: 6, compact_revision: -1 }
}

/// The events of the log with these numbers.
fn events(numbers: &[usize], resume_revision: i64) -> Given {
    let log = log();
    response(Kind::Events(numbers.iter().map(|number| log.0[*number].clone()).collect()), resume_revision)
}

fn progress(revision: i64) -> Given {
    Given { revision, ..response(Kind::Progress, revision + 1) }
}

fn canceled(resume_revision: i64) -> Given {
    response(Kind::Canceled { code: None, compact_revision: 0 }, resume_revision)
}

/// A watch of `a` and `b` from revision 2 on, with everything right.
fn right() -> Watch {
    Watch {
        key: b"a".to_vec(),
        range_end: b"c".to_vec(),
        start: (2, 2),
        prev_kv: true,
        created_notify: true,
        reaches: 6,
        given: vec![
            Given { revision: 1, ..response(Kind::Created, 2) },
            events(&[0], 3),
            events(&[1, 2], 4),
            progress(4),
            events(&[4, 5], 7),
            canceled(7),
        ],
        ..Watch::default()
    }
}

fn edit(watch: &mut Watch, number: usize, event: usize, change: impl FnOnce(&mut Happened)) {
    match &mut watch.given[number].kind {
        Kind::Events(events) => change(&mut events[event]),
        other => panic!("{other:?} has no events"),
    }
}

#[track_caller]
fn breaks(rule: Rule, change: impl FnOnce(&mut Watch)) {
    let mut watch = right();
    change(&mut watch);
    match check(&log(), &watch) {
        Err(Broken(broken, how)) => assert_eq!(broken, rule, "{how}"),
        Ok(_) => panic!("{rule:?} was broken and nobody noticed"),
    }
}

#[test]
fn what_is_right_passes() {
    assert_eq!(check(&log(), &right()), Ok(5));
    let mut now = right();
    now.start = (3, 5);
    now.created_notify = false;
    now.given = vec![events(&[4, 5], 7), canceled(7)];
    assert_eq!(check(&log(), &now), Ok(2));
    let mut parts = right();
    parts.given[2] = Given { fragment: true, ..events(&[1], 0) };
    parts.given.insert(3, events(&[2], 4));
    assert_eq!(check(&log(), &parts), Ok(5));
    let mut filtered = right();
    filtered.filter_nodelete = true;
    filtered.given[4] = events(&[5], 7);
    assert_eq!(check(&log(), &filtered), Ok(4));
    let mut compacted = right();
    compacted.given.truncate(3);
    let code = Some(ErrorCode::Compacted);
    let last = response(Kind::Canceled { code, compact_revision: 6 }, 4);
    compacted.given.push(Given { compact_revision: 6, ..last });
    assert_eq!(check(&log(), &compacted), Ok(3));
}

#[test]
fn order_and_number_of_events() {
    breaks(Rule::Ordered, |watch| watch.given[4] = events(&[5, 4], 7));
    breaks(Rule::Unique, |watch| watch.given[4] = events(&[4, 4, 5], 7));
    breaks(Rule::Unique, |watch| watch.given.insert(5, events(&[0], 7)));
    breaks(Rule::Reliable, |watch| watch.given[4] = events(&[5], 7));
    breaks(Rule::Reliable, |watch| {
        watch.given.truncate(4);
        watch.given.push(canceled(5));
    });
    breaks(Rule::Reliable, |watch| edit(watch, 4, 0, |event| event.kv.key = b"b".to_vec()));
    breaks(Rule::Filter, |watch| watch.given[4] = events(&[3, 4, 5], 7));
    breaks(Rule::Filter, |watch| watch.filter_nodelete = true);
    breaks(Rule::Filter, |watch| watch.filter_noput = true);
}

#[test]
fn a_revision_stays_whole() {
    breaks(Rule::Atomic, |watch| {
        watch.given[2] = events(&[1], 4);
        watch.given.insert(3, events(&[2], 4));
    });
    breaks(Rule::Atomic, |watch| watch.given[2] = events(&[1], 3));
    breaks(Rule::Atomic, |watch| watch.given[2] = response(Kind::Events(vec![]), 4));
}

#[test]
fn where_to_go_on() {
    breaks(Rule::Resumable, |watch| watch.given[1].resume_revision = 4);
    breaks(Rule::Resumable, |watch| watch.given[1].resume_revision = 2);
    breaks(Rule::Resumable, |watch| watch.given[0].resume_revision = 3);
    breaks(Rule::Resumable, |watch| watch.given[5].resume_revision = 6);
    breaks(Rule::Resumable, |watch| {
        watch.given[2] = Given { fragment: true, ..events(&[1], 4) };
        watch.given.insert(3, events(&[2], 4));
    });
    breaks(Rule::Bookmarkable, |watch| watch.given[3] = progress(5));
    breaks(Rule::Bookmarkable, |watch| watch.given[3] = progress(2));
    breaks(Rule::Bookmarkable, |watch| watch.given[3].resume_revision = 4);
    breaks(Rule::Bookmarkable, |watch| watch.given.insert(4, progress(3)));
    breaks(Rule::Bookmarkable, |watch| {
        watch.given[2] = Given { fragment: true, ..events(&[1], 0) };
        watch.given[3] = progress(3);
    });
}

#[test]
fn what_an_event_says() {
    breaks(Rule::IsCreate, |watch| edit(watch, 4, 1, |event| event.kv.create_revision = 2));
    breaks(Rule::Content, |watch| edit(watch, 4, 1, |event| event.kv.value = b"4".to_vec()));
    breaks(Rule::Content, |watch| edit(watch, 4, 1, |event| event.kv.version = 2));
    breaks(Rule::Content, |watch| edit(watch, 4, 1, |event| event.kv.lease = 1));
    breaks(Rule::PrevKv, |watch| edit(watch, 4, 0, |event| event.prev = None));
    breaks(Rule::PrevKv, |watch| edit(watch, 2, 0, |event| event.prev.as_mut().unwrap().version = 2));
    breaks(Rule::PrevKv, |watch| watch.prev_kv = false);
    breaks(Rule::Header, |watch| watch.given[4].revision = 5);
    breaks(Rule::Readable, |watch| watch.given[4].readable_revision = 5);
    breaks(Rule::Readable, |watch| {
        watch.given[4].revision = 6;
        watch.given[4].readable_revision = 4;
    });
}

#[test]
fn beginning_and_end() {
    breaks(Rule::Created, |watch| drop(watch.given.remove(0)));
    breaks(Rule::Created, |watch| watch.given.insert(1, watch.given[0].clone()));
    breaks(Rule::Created, |watch| watch.created_notify = false);
    breaks(Rule::Final, |watch| drop(watch.given.pop()));
    breaks(Rule::Final, |watch| watch.given.push(canceled(7)));
    breaks(Rule::Final, |watch| watch.given.push(progress(6)));
    breaks(Rule::Final, |watch| {
        watch.given[5] = response(Kind::Canceled { code: None, compact_revision: 3 }, 7);
    });
    breaks(Rule::Final, |watch| {
        let code = Some(ErrorCode::Compacted);
        watch.given[5] = response(Kind::Canceled { code, compact_revision: 9 }, 7);
    });
}
