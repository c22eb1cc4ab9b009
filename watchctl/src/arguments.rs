//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::{Arg, Parser};

pub const HELP: &str = "\
Usage: watchctl VERB ARGUMENTS
       watchctl VERB --help

Checks, copies and describes libwatch stores. A store is a directory.

Verbs:
  verify STORE            says whether a closed store is sound; changes nothing
  backup STORE NEW        copies a closed store to a new directory, and checks the copy
  repair STORE NEW        makes a store of what is sound in a damaged one
  stat STORE              says how much a closed store holds
  dump STORE              writes every change of a closed store as lines of JSON
  load FILE NEW           makes a store from a dump; FILE may be -

Options:
  -q, --quiet             no progress on the terminal
  -h, --help              this text, or that of a verb
  -V, --version           the version

Exit codes:
  0  done; a store that was checked is sound
  1  the command line makes no sense
  2  the store is damaged
  3  it could not be done: no such store, open elsewhere, no space, no permission
";

const VERIFY: &str = "\
Usage: watchctl verify STORE

Reads every byte of the store and changes none: all checksums, each change against the one of its key before
it, the manifest against the files, unused bytes against zero, and an index built anew. Holds the store's lock
meanwhile; a store that is open elsewhere is not looked at (exit code 3).

Prints `sound: yes` or `sound: no` and what was counted. Of a damaged store (exit code 2) it names the first
fault with file and offset. What a crash leaves behind the last record is no damage; the line `closed: no` and
the number of torn bytes tell of it.
";

const BACKUP: &str = "\
Usage: watchctl backup STORE NEW

Copies the store to the directory NEW, which must not exist, checks the copy and gives it its name last, so
there is all of it or nothing. An open store is copied by its own process (watch_store_backup, Store.backup).

The copy is a fork with an identity of its own. So that no revision ever names two things, its first writer
goes on at the revision that is printed as `fork revision`, far above that of the original. To move a store
rather than fork it, close it and use cp -a or mv.
";

const REPAIR: &str = "\
Usage: watchctl repair STORE NEW

Makes a store in the directory NEW, which must not exist, from what is sound in the closed store STORE, which
is not changed: its history from the beginning up to the first damage. History has no holes, so what lies
behind the damage is left out; it is counted, as far as it can be read. Where manifest or base are damaged
nothing is known for sure, and NEW is not made.

Revisions behind the damage may have been seen, so the new store goes on at the revision printed as `fork
revision`, far above them.

Exit codes: 0 the store was sound, and NEW has all of it; 2 the store is damaged (NEW was made if `kept up to
revision` is printed).
";

const STAT: &str = "\
Usage: watchctl stat STORE

Prints numbers of a closed store: revisions, keys, transactions, files and bytes.
";

const DUMP: &str = "\
Usage: watchctl dump STORE

Writes the store to stdout, one JSON object a line:

  {\"libwatch_dump\":1,\"base_revision\":B}
        the first line. Compaction dropped the history up to revision B, 0 if there is all of it
  {\"base\":{\"key\":K,\"value\":V,\"create_revision\":..,\"mod_revision\":..,\"version\":..}}
        a key that lived at revision B, as it was then
  {\"revision\":R,\"changes\":[{\"put\":K,\"value\":V,\"create_revision\":..,\"version\":..},{\"delete\":K}]}
        a transaction. Revisions between two of them were lost in a crash or never used
  {\"end\":{\"revision\":R,\"compact_revision\":C}}
        the last line, without which a dump is not complete; C is -1 if nothing was compacted

Bytes that are not UTF-8 are {\"hex\":\"00ff\"} in the place of the string. A put with a lease has \"lease\".
";

const LOAD: &str = "\
Usage: watchctl load FILE NEW

Makes a store in the directory NEW, which must not exist, from a dump: the same revisions, versions and
compaction. FILE may be - for stdin. The store is checked and gets its name last, so there is all of it or
nothing. It goes on at the revision after its last one: write to it or to the store that was dumped, not to
both. Exit code 2: the dump does not make sense, or is not complete.
";

/// What was asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Help(&'static str),
    Version,
    Run(Job),
}

/// A verb with its arguments.
#[derive(Debug, PartialEq, Eq)]
pub struct Job {
    pub verb: Verb,
    pub paths: Vec<PathBuf>,
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Verify,
    Backup,
    Repair,
    Stat,
    Dump,
    Load,
}

/// Name, verb, names of its arguments, help.
const VERBS: [(&str, Verb, &[&str], &str); 6] = [
    ("verify", Verb::Verify, &["STORE"], VERIFY),
    ("backup", Verb::Backup, &["STORE", "NEW"], BACKUP),
    ("repair", Verb::Repair, &["STORE", "NEW"], REPAIR),
    ("stat", Verb::Stat, &["STORE"], STAT),
    ("dump", Verb::Dump, &["STORE"], DUMP),
    ("load", Verb::Load, &["FILE", "NEW"], LOAD),
];

/// Reads the arguments behind the name of the command; the error is a line for the user.
pub fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Command, String> {
    let mut parser = Parser::from_args(arguments);
    let mut verb = None;
    let (mut paths, mut quiet) = (Vec::new(), false);
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => {
                return Ok(Command::Help(verb.map_or(HELP, |(_, _, _, help)| help)));
            }
            Arg::Short('V') | Arg::Long("version") => return Ok(Command::Version),
            Arg::Short('q') | Arg::Long("quiet") => quiet = true,
            Arg::Value(name) if verb.is_none() => {
                let known = VERBS.into_iter().find(|(known, ..)| name == *known);
                verb = Some(known.ok_or_else(|| format!("no verb {}", name.display()))?);
            }
            Arg::Value(path) => paths.push(PathBuf::from(path)),
            unknown => return Err(unknown.unexpected().to_string()),
        }
    }
    let Some((name, verb, wanted, _)) = verb else { return Err("a verb is missing".to_string()) };
    match paths.len().cmp(&wanted.len()) {
        std::cmp::Ordering::Less => Err(format!("{name}: {} is missing", wanted[paths.len()])),
        std::cmp::Ordering::Greater => Err(format!("{name}: {} is too much", paths[wanted.len()].display())),
        std::cmp::Ordering::Equal => Ok(Command::Run(Job { verb, paths, quiet })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    /// etcd 19.9: a part of libwatch only.
    #[test]
    fn a_line_is_a_verb_with_its_arguments_or_a_complaint() {
        let job = |verb, paths: &[&str], quiet| {
            Ok(Command::Run(Job { verb, paths: paths.iter().map(PathBuf::from).collect(), quiet }))
        };
        assert_eq!(parsed("verify a"), job(Verb::Verify, &["a"], false));
        assert_eq!(parsed("backup a -q -- -b"), job(Verb::Backup, &["a", "-b"], true));
        assert_eq!(parsed("load - new"), job(Verb::Load, &["-", "new"], false));
        assert_eq!(parsed("--help"), Ok(Command::Help(HELP)));
        assert_eq!(parsed("stat --help"), Ok(Command::Help(STAT)));
        assert_eq!(parsed("-V"), Ok(Command::Version));
        for (line, complaint) in [
            ("", "a verb is missing"),
            ("veriffy a", "no verb veriffy"),
            ("verify", "verify: STORE is missing"),
            ("backup a", "backup: NEW is missing"),
            ("verify a b", "verify: b is too much"),
            ("verify --fast a", "invalid option '--fast'"),
        ] {
            assert_eq!(parsed(line), Err(complaint.to_string()), "{line}");
        }
    }

    /// etcd 19.9: as above.
    #[test]
    fn the_help_names_every_verb() {
        for (name, _, arguments, help) in VERBS {
            let usage = format!("{name} {}", arguments.join(" "));
            assert!(HELP.contains(&usage) && help.contains(&format!("watchctl {usage}")), "{usage}");
        }
    }
}
