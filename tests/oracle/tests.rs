//! The judge himself: a right history passes, and each rule is broken by a history that breaks nothing else.

use std::collections::BTreeMap;

use super::*;

pub(super) fn put(key: &str, value: &str) -> Change {
    Change { put: true, key: key.into(), value: value.into(), lease: 0 }
}

pub(super) fn delete(key: &str) -> Change {
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
    response(
        Kind::Events(numbers.iter().map(|number| log.events[*number].clone()).collect()),
        resume_revision,
    )
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

fn compacted(resume_revision: i64, compact_revision: i64) -> Given {
    let code = Some(ErrorCode::Compacted);
    Given { compact_revision: 6, ..response(Kind::Canceled { code, compact_revision }, resume_revision) }
}

/// Revision 3 in two parts.
fn in_parts(watch: &mut Watch) {
    watch.given[2] = Given { fragment: true, ..events(&[1], 0) };
    watch.given.insert(3, events(&[2], 4));
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

/// etcd 17: every rule holds for a watch that was served well
#[test]
fn what_is_right_passes() {
    assert_eq!(check(&log(), &right()), Ok(5));
    let mut now = right();
    now.start = (3, 5);
    now.created_notify = false;
    now.given = vec![events(&[4, 5], 7), canceled(7)];
    assert_eq!(check(&log(), &now), Ok(2));
    let mut parts = right();
    in_parts(&mut parts);
    assert_eq!(check(&log(), &parts), Ok(5));
    let mut filtered = right();
    filtered.filter_nodelete = true;
    filtered.given[4] = events(&[5], 7);
    assert_eq!(check(&log(), &filtered), Ok(4));
    let mut overtaken = right();
    overtaken.given.truncate(3);
    overtaken.given.push(compacted(4, 6));
    assert_eq!(check(&log(), &overtaken), Ok(3));
    assert_eq!(check(&log().with_compactions(&[3, 6]), &overtaken), Ok(3));
}

/// etcd 17 Ordered, Unique, Reliable, Filter
#[test]
fn order_and_number_of_events() {
    breaks(Rule::Ordered, |watch| watch.given[4] = events(&[5, 4], 7));
    breaks(Rule::Ordered, |watch| {
        watch.given.insert(3, events(&[1], 4));
        edit(watch, 3, 0, |event| (event.kv.key, event.kv.mod_revision) = (b"b".to_vec(), 2));
    });
    breaks(Rule::Ordered, |watch| watch.given[2] = events(&[2, 1], 4));
    breaks(Rule::Unique, |watch| watch.given[4] = events(&[4, 4, 5], 7));
    breaks(Rule::Unique, |watch| watch.given.insert(5, events(&[0], 7)));
    breaks(Rule::Unique, |watch| watch.given.insert(2, events(&[0], 3)));
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

/// etcd 17 Atomic, 8.12, 13.3
#[test]
fn a_revision_stays_whole() {
    breaks(Rule::Atomic, |watch| {
        watch.given[2] = events(&[1], 4);
        watch.given.insert(3, events(&[2], 4));
    });
    breaks(Rule::Atomic, |watch| watch.given[2] = events(&[1], 3));
    breaks(Rule::Atomic, |watch| watch.given[2] = response(Kind::Events(vec![]), 4));
    breaks(Rule::Atomic, |watch| watch.given[3].fragment = true);
    breaks(Rule::Atomic, |watch| watch.given[0].fragment = true);
    // The last part is missing: what comes next is another revision.
    breaks(Rule::Reliable, |watch| {
        in_parts(watch);
        watch.given.drain(3..5);
    });
    // What comes after the last part belongs to it no more.
    breaks(Rule::Unique, |watch| {
        in_parts(watch);
        watch.given.insert(4, events(&[2], 4));
    });
}

/// etcd 17 Resumable, 3.2, 8.14
#[test]
fn where_to_go_on() {
    breaks(Rule::Resumable, |watch| watch.given[1].resume_revision = 4);
    breaks(Rule::Resumable, |watch| watch.given[1].resume_revision = 2);
    breaks(Rule::Resumable, |watch| watch.given[0].resume_revision = 3);
    breaks(Rule::Resumable, |watch| watch.given[5].resume_revision = 6);
    // Beyond what the store has: what is written next would be missed.
    breaks(Rule::Resumable, |watch| watch.given[5].resume_revision = 8);
    breaks(Rule::Resumable, |watch| watch.given[4].resume_revision = 8);
    breaks(Rule::Resumable, |watch| {
        watch.given[2] = Given { fragment: true, ..events(&[1], 4) };
        watch.given.insert(3, events(&[2], 4));
    });
    // Canceled amid fragments: after what was not given, or before what was.
    for resume in [4, 2] {
        breaks(Rule::Resumable, |watch| {
            in_parts(watch);
            watch.given.truncate(3);
            watch.given.push(canceled(resume));
        });
    }
    // A start is a lower bound, and the first event is the first that matches.
    breaks(Rule::Resumable, |watch| {
        watch.start = (4, 4);
        watch.given[0].resume_revision = 4;
    });
    breaks(Rule::Resumable, |watch| drop(watch.given.remove(1)));
}

/// etcd 17 Bookmarkable, 12.1, 12.3
#[test]
fn what_progress_promises() {
    breaks(Rule::Bookmarkable, |watch| watch.given[3] = progress(5));
    breaks(Rule::Bookmarkable, |watch| watch.given[3] = progress(2));
    breaks(Rule::Bookmarkable, |watch| watch.given[3].resume_revision = 4);
    breaks(Rule::Bookmarkable, |watch| watch.given.insert(4, progress(3)));
    breaks(Rule::Bookmarkable, |watch| {
        watch.given[2] = Given { fragment: true, ..events(&[1], 0) };
        watch.given[3] = progress(3);
    });
    // Between two parts, although it is true.
    breaks(Rule::Bookmarkable, |watch| {
        watch.given[1] = Given { fragment: true, ..events(&[0], 0) };
        watch.given.insert(2, progress(2));
    });
    // Events that progress went past never come.
    breaks(Rule::Reliable, |watch| {
        watch.given[3] = progress(6);
        watch.given[4] = canceled(7);
        watch.given.truncate(5);
    });
    // What nobody wrote comes below it.
    breaks(Rule::Bookmarkable, |watch| edit(watch, 4, 0, |event| event.kv.mod_revision = 4));
    // A watch on the future hears nothing before its start.
    breaks(Rule::Bookmarkable, |watch| {
        watch.start = (5, 5);
        watch.given[0].resume_revision = 5;
        watch.given.drain(1..3);
        watch.given.insert(1, progress(3));
    });
}

/// etcd 17 IsCreate and PrevKV, 5.1, 5.2, 7.3, 8.4
#[test]
fn what_an_event_says() {
    breaks(Rule::IsCreate, |watch| edit(watch, 4, 1, |event| event.kv.create_revision = 2));
    breaks(Rule::IsCreate, |watch| edit(watch, 2, 0, |event| event.kv.create_revision = 3));
    breaks(Rule::Content, |watch| edit(watch, 4, 1, |event| event.kv.value = b"4".to_vec()));
    breaks(Rule::Content, |watch| edit(watch, 4, 1, |event| event.kv.version = 2));
    breaks(Rule::Content, |watch| edit(watch, 4, 1, |event| event.kv.lease = 1));
    breaks(Rule::Content, |watch| edit(watch, 4, 0, |event| event.put = true));
    breaks(Rule::PrevKv, |watch| edit(watch, 4, 0, |event| event.prev = None));
    breaks(Rule::PrevKv, |watch| edit(watch, 2, 0, |event| event.prev.as_mut().unwrap().version = 2));
    breaks(Rule::PrevKv, |watch| watch.prev_kv = false);
    // A compaction excuses only what lies at or below it.
    breaks(Rule::PrevKv, |watch| {
        edit(watch, 4, 0, |event| event.prev = None);
        watch.given[4].compact_revision = 4;
    });
    breaks(Rule::PrevKv, |watch| edit(watch, 1, 0, |event| event.prev = Some(event.kv.clone())));
}

/// etcd 8.4, 8.14
#[test]
fn what_the_header_says() {
    breaks(Rule::Header, |watch| watch.given[4].revision = 5);
    breaks(Rule::Header, |watch| watch.given[5].revision = 5);
    breaks(Rule::Header, |watch| {
        watch.given.truncate(1);
        watch.given[0].revision = 2;
        watch.given.push(Given { revision: 1, ..canceled(2) });
        watch.reaches = 0;
    });
    breaks(Rule::Header, |watch| {
        watch.given.truncate(2);
        watch.given[1].revision = 1;
        watch.given.push(canceled(3));
        watch.reaches = 0;
    });
    breaks(Rule::Readable, |watch| watch.given[4].readable_revision = 5);
    breaks(Rule::Readable, |watch| watch.given[3].readable_revision = 3);
    breaks(Rule::Readable, |watch| {
        watch.given[4].revision = 5;
        watch.given[4].readable_revision = 5;
    });
}

/// etcd 3.12, 4.1, 9.2, 9.3, 10.6
#[test]
fn beginning_and_end() {
    breaks(Rule::Created, |watch| drop(watch.given.remove(0)));
    breaks(Rule::Created, |watch| watch.given.insert(1, watch.given[0].clone()));
    breaks(Rule::Created, |watch| watch.given.swap(0, 1));
    breaks(Rule::Created, |watch| watch.created_notify = false);
    breaks(Rule::Final, |watch| drop(watch.given.pop()));
    breaks(Rule::Final, |watch| watch.given.push(canceled(7)));
    breaks(Rule::Final, |watch| watch.given.push(progress(6)));
    breaks(Rule::Final, |watch| {
        watch.given.swap(4, 5);
        watch.given[4].resume_revision = 5;
    });
    breaks(Rule::Final, |watch| {
        watch.given[5] = response(Kind::Canceled { code: None, compact_revision: 3 }, 7);
    });
    // Nothing was missing, not so far yet, or not at all.
    breaks(Rule::Final, |watch| watch.given[5] = compacted(7, 6));
    breaks(Rule::Final, |watch| watch.given[5] = compacted(7, 9));
    breaks(Rule::Final, |watch| watch.given[5] = compacted(7, 0));
    // A watch whose start the compaction did not reach lost nothing.
    breaks(Rule::Final, |watch| {
        watch.start = (6, 6);
        watch.given.truncate(1);
        watch.given[0].resume_revision = 6;
        watch.given.push(compacted(6, 6));
    });
    // To claim that it had, it would have to go back.
    breaks(Rule::Resumable, |watch| watch.given[5] = compacted(4, 6));
    let mut overtaken = right();
    overtaken.given.truncate(3);
    overtaken.given.push(compacted(4, 5));
    let broken = check(&log().with_compactions(&[4, 6]), &overtaken).unwrap_err();
    assert_eq!(broken.0, Rule::Final, "nobody compacted to 5");
}

/// etcd 3.8, 12.5, 13.4
#[test]
fn responses_find_their_watch() {
    let mut fresh = Route::default();
    fresh.created(10, 1);
    fresh.created(20, 2);
    let takes = |responses: &[(i64, usize, bool, bool)]| {
        let mut route = fresh.clone();
        responses.iter().try_for_each(|(id, data, progress, part)| route.take(*id, *data, *progress, *part))
    };
    let right = [(1, 10, false, true), (1, 10, false, false), (2, 20, true, false), (-1, 0, true, false)];
    assert_eq!(takes(&right), Ok(()));
    for wrong in [
        &[(1, 20, false, false)][..],
        &[(3, 10, false, false)],
        &[(1, 30, false, false)],
        &[(-1, 0, false, false)],
        &[(-1, 10, true, false)],
        &[(1, 10, false, true), (2, 20, false, false)],
        &[(1, 10, false, true), (1, 10, true, false)],
        &[(1, 10, false, true), (-1, 0, true, false)],
    ] {
        assert_eq!(takes(wrong).unwrap_err().0, Rule::Route, "{wrong:?}");
    }
}

/// etcd 17: what a watch was to be given does not depend on how it is looked up
#[test]
fn looking_up_by_key_finds_what_reading_finds() {
    let mut writes = BTreeMap::new();
    for revision in 2..600 {
        let mut changes = vec![put(&format!("k{:02}", revision * 7 % 50), "x")];
        if revision % 5 == 0 {
            changes.push(delete(&format!("z{}", revision % 3)));
        }
        writes.insert(revision, changes);
    }
    let log = Log::new(&writes);
    for (key, range_end) in
        [("k07", ""), ("k1", "k2"), ("k", "z"), ("z", "\0"), ("\0", "\0"), ("q", ""), ("k49", "l")]
    {
        for (start, reaches) in [(0, 0), (0, 700), (300, 320), (300, 599), (599, 599), (601, 700)] {
            let (key, range_end) = (key.into(), range_end.into());
            let watch = Watch { key, range_end, start: (start, start), reaches, ..Watch::default() };
            let due = |event: &&Happened| {
                (start..=reaches.max(start)).contains(&event.kv.mod_revision) && watch.wants(event)
            };
            let read: Vec<&Happened> = log.events.iter().filter(due).collect();
            assert_eq!(log.matching(&watch), read, "{watch:?}");
        }
    }
}
