//! watchctl: one verb, one thing done to a store. Answers go to stdout, everything else to stderr.

mod arguments;
mod bar;
mod text;
mod verbs;

use std::io::Write;
use std::process::ExitCode;

use arguments::{Command, HELP};

/// What the exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Done; a store that was checked is sound.
    Done = 0,
    /// The command line makes no sense.
    Usage = 1,
    /// The store is damaged.
    Damaged = 2,
    /// It could not be done: no such store, open elsewhere, no space, no permission.
    Failed = 3,
}

fn main() -> ExitCode {
    let outcome = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help(text)) => answer(text),
        Ok(Command::Version) => answer(concat!("watchctl ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Command::Run(job)) => verbs::run(&job),
        Err(message) => {
            eprintln!("watchctl: {message}");
            eprint!("{}", HELP.lines().take(2).map(|line| format!("{line}\n")).collect::<String>());
            eprintln!("Try: watchctl --help");
            Outcome::Usage
        }
    };
    ExitCode::from(outcome as u8)
}

/// Prints to stdout; a reader that left early is no failure.
fn answer(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("watchctl: write to stdout: {error}");
            Outcome::Failed
        }
        _ => Outcome::Done,
    }
}
