//! The driver is held against planted faults: a subject that is right but for one small thing must be found, and
//! the program that shows it must be small. And what programs are made of is counted.

use std::collections::BTreeMap;
use std::time::Duration;

use libwatch_model::answer::{Answer, Response, What};
use libwatch_model::call::{Call, Step};
use libwatch_model::drive::{Subject, run};
use libwatch_model::generate::Profile;
use libwatch_model::hunt::{Found, chance, hunt, seed};
use libwatch_model::program::Program;
use libwatch_model::subject::Libwatch;
use proptest::strategy::{Strategy, ValueTree};

/// A right subject that says some things wrong.
struct Planted<A, R> {
    subject: Libwatch,
    answer: A,
    response: R,
}

impl<A: FnMut(&Call, &mut Answer), R: FnMut(Response) -> Vec<Response>> Subject for Planted<A, R> {
    fn call(&mut self, call: &Call) -> Answer {
        let mut answer = self.subject.call(call);
        (self.answer)(call, &mut answer);
        answer
    }

    fn responses(&mut self) -> Result<Vec<(usize, Response)>, String> {
        let responses = self.subject.responses()?;
        let said = responses.into_iter().flat_map(|(stream, response)| {
            (self.response)(response).into_iter().map(move |response| (stream, response)).collect::<Vec<_>>()
        });
        Ok(said.collect())
    }
}

/// Without threads of the library, so that a smaller program shows the fault each time or never.
fn repeatable() -> Profile {
    Profile { files: false, consumers: false, ..Profile::libwatch() }
}

fn find(answer: fn(&Call, &mut Answer), response: fn(Response) -> Vec<Response>) -> Box<Found> {
    let planted = |program: &Program| Planted { subject: Libwatch::new(&program.setup), answer, response };
    let found = hunt(&repeatable(), seed(), Duration::from_secs(60), planted);
    found.expect_err("the fault was not found")
}

fn answers_wrongly(answer: fn(&Call, &mut Answer)) -> Box<Found> {
    find(answer, |response| vec![response])
}

fn delivers_wrongly(response: fn(Response) -> Vec<Response>) -> Box<Found> {
    find(|_, _| (), response)
}

fn is_small(found: &Found, steps: usize) {
    assert!(found.program.steps.len() <= steps, "{found}");
}

/// etcd 14.4
#[test]
fn a_wrong_count_is_found_in_a_single_step() {
    let found = answers_wrongly(|_, answer| {
        if let Answer::Range(answer) = answer {
            answer.count += i64::from(answer.count == 2);
        }
    });
    is_small(&found, 2);
}

/// etcd 1.6
#[test]
fn a_version_that_does_not_start_anew_is_found_in_a_few_steps() {
    let found = answers_wrongly(|_, answer| {
        if let Answer::Put(answer) = answer
            && let Some(prev) = &mut answer.prev_kv
            && prev.create_revision > 3
        {
            prev.version += 1;
        }
    });
    is_small(&found, 8);
}

/// etcd 10.1
#[test]
fn a_compaction_that_is_refused_wrongly_is_found_in_a_single_step() {
    let found = answers_wrongly(|call, answer| {
        if matches!(call, Step::Compact { .. }) && *answer == Answer::Done {
            *answer = Answer::Refused(libwatch::ErrorCode::Compacted);
        }
    });
    is_small(&found, 2);
}

/// etcd 17: Reliable
#[test]
fn a_lost_event_is_found_in_a_few_steps() {
    let found = delivers_wrongly(|mut response| {
        if let What::Events(events) = &mut response.what {
            events.retain(|event| event.put);
            if events.is_empty() {
                return Vec::new();
            }
        }
        vec![response]
    });
    is_small(&found, 6);
}

/// etcd 17: Unique
#[test]
fn a_response_that_comes_again_is_found_in_a_few_steps() {
    let found = delivers_wrongly(|response| match &response.what {
        What::Events(events) if events.len() > 1 => vec![response.clone(), response],
        _ => vec![response],
    });
    is_small(&found, 6);
}

/// etcd 17: PrevKV
#[test]
fn a_wrong_prev_kv_is_found_in_a_few_steps() {
    let found = delivers_wrongly(|mut response| {
        if let What::Events(events) = &mut response.what {
            for event in events {
                if !event.put
                    && let Some(prev) = &mut event.prev_kv
                {
                    prev.mod_revision -= 1;
                }
            }
        }
        vec![response]
    });
    is_small(&found, 5);
}

/// etcd 8.14, 17: Resumable
#[test]
fn a_resume_revision_that_skips_a_revision_is_found_in_a_few_steps() {
    let found = delivers_wrongly(|mut response| {
        let more = matches!(&response.what, What::Events(events) if !events.is_empty());
        if more && !response.fragment {
            response.resume_revision = response.resume_revision.map(|revision| revision + 1);
        }
        vec![response]
    });
    is_small(&found, 8);
}

/// etcd 12.5
#[test]
fn progress_that_runs_ahead_is_found_in_a_few_steps() {
    let found = delivers_wrongly(|mut response| {
        if response.what == What::Progress {
            response.revision += 1;
            response.resume_revision = Some(response.revision + 1);
        }
        vec![response]
    });
    is_small(&found, 3);
}

/// etcd 10.6
#[test]
fn a_missing_final_response_is_found_in_a_few_steps() {
    let found = delivers_wrongly(|response| match response.what {
        What::Canceled { code: Some(_), .. } => Vec::new(),
        _ => vec![response],
    });
    is_small(&found, 8);
}

/// What a subject was asked and what it said, by kind.
struct Counting<'c> {
    subject: Libwatch,
    counts: &'c mut BTreeMap<String, u64>,
}

impl Subject for Counting<'_> {
    fn call(&mut self, call: &Call) -> Answer {
        let answer = self.subject.call(call);
        let asked = format!("{call:?}");
        let asked = asked.split([' ', '(']).next().unwrap_or_default();
        let said = match &answer {
            Answer::Refused(code) => format!("{code:?}"),
            _ => "ok".to_string(),
        };
        *self.counts.entry(format!("{asked} {said}")).or_default() += 1;
        answer
    }

    fn responses(&mut self) -> Result<Vec<(usize, Response)>, String> {
        let responses = self.subject.responses()?;
        for (_, response) in &responses {
            let said = match &response.what {
                What::Events(_) if response.fragment => "part".into(),
                What::Events(_) => "events".into(),
                What::Canceled { code, .. } => format!("canceled {code:?}"),
                other => format!("{other:?}").to_lowercase(),
            };
            *self.counts.entry(said).or_default() += 1;
        }
        Ok(responses)
    }
}

/// etcd 3.4 to 3.9, 9.1, 10.1, 14.1 to 14.12
#[test]
fn programs_meet_every_refusal_and_every_kind_of_response() {
    let (mut counts, programs) = (BTreeMap::new(), Profile { files: false, ..Profile::libwatch() }.program());
    for number in 0..120 {
        let program = programs.new_tree(&mut chance(number)).unwrap().current();
        let mut subject = Counting { subject: Libwatch::new(&program.setup), counts: &mut counts };
        run(&program, &mut subject).unwrap();
    }
    let all = [
        "Put EmptyKey",
        "Put InvalidArgument",
        "Put KeyNotFound",
        "Range EmptyKey",
        "Range Compacted",
        "Range FutureRevision",
        "DeleteRange EmptyKey",
        "Txn DuplicateKey",
        "Txn Limit",
        "Txn EmptyKey",
        "Txn Compacted",
        "Txn FutureRevision",
        "Txn KeyNotFound",
        "Compact Compacted",
        "Compact FutureRevision",
        "Watch EmptyRange",
        "Watch InvalidArgument",
        "Watch DuplicateWatchId",
        "Cancel WatchNotFound",
        "Cancel ok",
        "created",
        "events",
        "part",
        "progress",
        "canceled None",
        "canceled Some(Compacted)",
    ];
    for name in all {
        assert!(counts.get(name).is_some_and(|count| *count > 0), "{name} is rare: {counts:#?}");
    }
    for name in ["Put", "Range", "DeleteRange", "Txn", "Compact", "Watch"] {
        let of = |said: &str| counts.get(&format!("{name} {said}")).copied().unwrap_or_default();
        let asked: u64 = counts.range(format!("{name} ")..format!("{name}!")).map(|(_, count)| count).sum();
        assert!(of("ok") * 3 > asked, "most of {name} is refused: {counts:#?}");
    }
}
