//! The comparison is itself held to account: faults planted into libwatch's answers must be found and made small.
//! These tests need etcd on PATH; `make etcd-diff` runs them where there is one.

use libwatch_model::answer::{Answer, Response, What};
use libwatch_model::call::Call;
use libwatch_model::drive::Subject;
use libwatch_model::generate::Profile;
use libwatch_model::subject::Libwatch;

use crate::apart;
use crate::diff::Trouble;
use crate::search::{Bounds, Found, search};

/// A libwatch that is wrong in one way.
struct Planted {
    inner: Libwatch,
    answer: fn(&mut Answer),
    /// Changes a response; `false` loses it.
    response: fn(&mut Response) -> bool,
}

impl Subject for Planted {
    fn call(&mut self, call: &Call) -> Answer {
        let mut answer = self.inner.call(call);
        (self.answer)(&mut answer);
        answer
    }

    fn responses(&mut self) -> Result<Vec<(usize, Response)>, String> {
        let mut all = self.inner.responses()?;
        all.retain_mut(|(_, response)| (self.response)(response));
        Ok(all)
    }
}

/// What a search finds with a fault in place, in programs of up to so many steps.
fn found(steps: usize, answer: fn(&mut Answer), response: fn(&mut Response) -> bool) -> Found {
    let bounds = Bounds { seconds: None, steps: Some(3000) };
    // Short programs are soon made minimal.
    let profile = Profile { steps, ..apart::profile() };
    let planted = |inner| Planted { inner, answer, response };
    let outcome = search(&profile, 1, bounds, |program| planted(Libwatch::new(&program.setup)));
    *outcome.expect_err("the planted fault was not found")
}

fn told(found: &Found) -> String {
    println!("{found}");
    match &found.trouble {
        Trouble::Different(difference) => difference.at.clone(),
        Trouble::Failed(_) => panic!("{found}"),
    }
}

/// etcd 1.6: a version that is off by one shows in the first answer that carries a previous pair.
#[test]
fn a_wrong_version_is_found_with_two_steps() {
    let answer = |answer: &mut Answer| {
        if let Answer::Put(put) = answer
            && let Some(kv) = &mut put.prev_kv
        {
            kv.version += 1;
        }
    };
    let found = found(12, answer, |_| true);
    assert!(told(&found).starts_with("step 1: put"));
    assert_eq!(found.program.steps.len(), 2, "{found}");
}

/// etcd 5.2, 8.13: a lost delete is missed although etcd tells its events late and gives no sign of the last.
#[test]
fn a_lost_event_is_found_with_three_steps() {
    let response = |response: &mut Response| match &mut response.what {
        What::Events(events) => {
            events.retain(|event| event.put);
            !events.is_empty()
        }
        _ => true,
    };
    let found = found(12, |_| {}, response);
    assert!(told(&found).contains("event"), "{found}");
    assert_eq!(found.program.steps.len(), 3, "{found}");
}

/// etcd 8.2: an event too many is found although etcd could still be about to tell it.
#[test]
fn a_repeated_event_is_found_with_two_steps() {
    let response = |response: &mut Response| {
        if let What::Events(events) = &mut response.what {
            events.extend(events.last().cloned());
        }
        true
    };
    let found = found(12, |_| {}, response);
    assert!(told(&found).contains("event"), "{found}");
    assert_eq!(found.program.steps.len(), 2, "{found}");
}

/// etcd 3.5, 10.6: a watch that a compaction ended must say at which revision.
#[test]
fn a_wrong_end_is_found_with_three_steps() {
    let response = |response: &mut Response| {
        if let What::Canceled { compact_revision, .. } = &mut response.what
            && *compact_revision > 0
        {
            *compact_revision += 1;
        }
        true
    };
    let found = found(20, |_| {}, response);
    assert!(told(&found).ends_with("its end"), "{found}");
    assert_eq!(found.program.steps.len(), 3, "{found}");
}

/// etcd 3.5, 14.2: what is compared is worth it: both refuse steps alike, compactions end watches, and events are told.
#[test]
fn programs_have_refusals_and_compacted_watches_and_events() {
    let bounds = Bounds { seconds: None, steps: Some(800) };
    let sum = search(&apart::profile(), 2, bounds, |program| Libwatch::new(&program.setup));
    let sum = sum.unwrap_or_else(|found| panic!("{found}"));
    assert!(sum.steps >= 800 && sum.events > sum.steps / 2, "{sum:?}");
    assert!(sum.refused > 20 && sum.compacted > 0, "{sum:?}");
}
