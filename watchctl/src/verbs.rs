//! What the verbs do.

use libwatch::tools::{self, RepairReport, VerifyReport};
use libwatch::{Error, ErrorCode};

use crate::arguments::{Job, Verb};
use crate::bar::Bar;
use crate::{Outcome, answer, text};

const BROKEN_PIPE: i32 = 32;

pub fn run(job: &Job) -> Outcome {
    let mut bar = Bar::new(job.quiet);
    let mut show = |progress| bar.show(progress);
    let paths: Vec<_> = job.paths.iter().map(|path| path.as_path()).collect();
    let done = match (job.verb, paths.as_slice()) {
        (Verb::Verify, [store]) => tools::verify(store, &mut show).map(Answer::Verified),
        (Verb::Stat, [store]) => tools::verify(store, &mut show).map(Answer::Counted),
        (Verb::Backup, [store, new]) => tools::backup(store, new, &mut show).map(|report| {
            Answer::Text(format!(
                "revision: {}\nfork revision: {}\nbytes: {}\n",
                report.revision, report.fork_revision, report.bytes
            ))
        }),
        (Verb::Repair, [store, new]) => tools::repair(store, new, &mut show).map(Answer::Repaired),
        (Verb::Dump, [store]) => text::dump(store, &mut show).map(|()| Answer::Text(String::new())),
        (Verb::Load, [file, new]) => text::load(file, new, &mut show).map(|report| {
            Answer::Text(format!("revision: {}\nkeys: {}\n", report.revision, report.live_keys))
        }),
        _ => Err(Error::new(ErrorCode::InvalidArgument, "the arguments do not fit the verb")),
    };
    drop(bar);
    match done {
        Ok(Answer::Text(text)) => answer(&text),
        Ok(Answer::Repaired(report)) => repaired(&report),
        Ok(Answer::Verified(report)) => verified(&report, true),
        Ok(Answer::Counted(report)) => verified(&report, false),
        Err(error) => failed(&error),
    }
}

enum Answer {
    Text(String),
    Repaired(RepairReport),
    Verified(VerifyReport),
    Counted(VerifyReport),
}

fn failed(error: &Error) -> Outcome {
    // Who stopped reading stdout knows it.
    if error.os_error() == BROKEN_PIPE {
        return Outcome::Failed;
    }
    eprintln!("watchctl: {error}");
    match error.code() {
        // A dump that makes no sense is an invalid argument to the library.
        ErrorCode::Corrupt | ErrorCode::Format | ErrorCode::InvalidArgument => Outcome::Damaged,
        _ => Outcome::Failed,
    }
}

fn repaired(report: &RepairReport) -> Outcome {
    let told = answer(&format!(
        "kept up to revision: {}\nkept transactions: {}\nlost transactions found: {}\n\
         lost up to revision: {}\nfork revision: {}\n",
        report.revision,
        report.transactions,
        report.lost_transactions,
        if report.lost_revision > 0 { report.lost_revision.to_string() } else { "none".to_string() },
        report.fork_revision
    ));
    match &report.damage {
        Some(damage) => {
            eprintln!("watchctl: {}", damage.message);
            Outcome::Damaged
        }
        None => told,
    }
}

/// Prints the report, with a verdict if one was asked for. Without, damage leaves nothing to print.
fn verified(report: &VerifyReport, verdict: bool) -> Outcome {
    if let Some(damage) = &report.damage {
        eprintln!("watchctl: {}", damage.message);
        if verdict {
            let place = format!("file: {}\noffset: {}\n", damage.file, damage.offset);
            answer(&format!("sound: no\n{place}"));
        }
        return Outcome::Damaged;
    }
    if report.manifest_copies < 4 {
        eprintln!("watchctl: {} of 4 copies of the manifest are intact", report.manifest_copies);
    }
    for name in &report.leftovers {
        eprintln!("watchctl: {name} was left by a crash; the next writer removes it");
    }
    let head = if verdict { "sound: yes\n" } else { "" };
    answer(&format!("{head}{}", numbers(report)))
}

fn numbers(report: &VerifyReport) -> String {
    let compacted =
        if report.compact_revision < 0 { "none".to_string() } else { report.compact_revision.to_string() };
    let lines: [(&str, String); 11] = [
        ("closed", if report.clean { "yes" } else { "no" }.to_string()),
        ("torn bytes", report.torn_bytes.to_string()),
        ("revision", report.revision.to_string()),
        ("compact revision", compacted),
        ("keys", report.live_keys.to_string()),
        ("transactions", report.transactions.to_string()),
        ("changes", report.changes.to_string()),
        ("keys in the base", report.base_entries.to_string()),
        ("segments", report.segments.to_string()),
        ("base files", report.base_parts.to_string()),
        ("bytes", report.bytes.to_string()),
    ];
    lines.into_iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}
