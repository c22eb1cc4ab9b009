//! Kills a writing process with SIGKILL at random moments, again and again on one directory, and opens it after
//! each death: everything acknowledged is there with its content, transactions are whole, and no revision is ever
//! given to other content. LIBWATCH_KILL_ROUNDS (200) rounds for each durability mode; LIBWATCH_KILL_SEED repeats
//! the choices, not the scheduling. The child is this same program, told by an environment variable.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use libwatch::{
    CreateRequest, DeleteRangeRequest, Durability, EventType, Op, PutRequest, RangeRequest, Store,
    StoreOptions, StreamOptions, TxnRequest, WATCH_ID_NONE,
};

#[path = "stress/dice.rs"]
mod dice;
use dice::Dice;

const CHILD: &str = "LIBWATCH_KILL_CHILD";
const MODES: [(&str, Durability); 3] =
    [("none", Durability::None), ("interval", Durability::Interval), ("commit", Durability::Commit)];
/// A store lives through so many deaths, then a fresh one begins.
const DEATHS: usize = 25;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

fn options(mode: &str) -> StoreOptions {
    let durability = MODES.iter().find(|known| known.0 == mode).expect("a known mode").1;
    StoreOptions {
        durability,
        segment_bytes: libwatch::limits::SEGMENT_BYTES_MIN,
        sync_interval_ms: 1,
        ..StoreOptions::default()
    }
}

/// FNV-1a over what a revision holds: each event's type, key and value.
#[derive(Clone, Copy)]
struct Sum(u64);

impl Sum {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(mut self, put: bool, key: &[u8], value: &[u8]) -> Self {
        for part in [&[u8::from(put)][..], key, &[0xff], value, &[0xfe]] {
            for byte in part {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        self
    }
}

/// The child: writes until it is killed and says what was answered, one line for each revision.
#[test]
fn child() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let parts: Vec<&str> = told.splitn(3, ' ').collect();
    let [mode, seed, path] = parts[..] else { panic!("{told}") };
    let mut dice = Dice::new(seed.parse().unwrap());
    let mut pipe = std::io::stdout().lock();
    let mut say = |line: String| pipe.write_all(line.as_bytes()).and_then(|()| pipe.flush());
    say("\nopening\n".into()).unwrap();
    let store = Store::open(path, &options(mode)).unwrap();
    for turn in 0.. {
        let line = match dice.below(40) {
            0..24 => put(&store, &mut dice, turn),
            24..35 => transact(&store, &mut dice, turn),
            35..39 => delete(&store, &mut dice),
            _ => compact(&store, &mut dice),
        };
        if say(line).is_err() {
            break;
        }
    }
}

fn key(dice: &mut Dice) -> Vec<u8> {
    format!("key-{:02}", dice.below(60)).into_bytes()
}

/// Its first word is a token that all puts of one transaction share, its second the number of puts there are.
fn value(dice: &mut Dice, turn: u64, token: u64, puts: usize) -> Vec<u8> {
    let mut value = format!("{token:x} {puts} {turn} ").into_bytes();
    let long = if dice.one_in(10) { 8000 } else { 600 };
    value.resize(value.len() + dice.below(long) as usize, b'.');
    value
}

fn put(store: &Store, dice: &mut Dice, turn: u64) -> String {
    let (key, token) = (key(dice), dice.roll());
    let value = value(dice, turn, token, 1);
    let result = store.put(&PutRequest { key: &key, value: &value, ..PutRequest::default() }).unwrap();
    format!("wrote {} {:016x}\n", result.revision(), Sum::new().add(true, &key, &value).0)
}

fn transact(store: &Store, dice: &mut Dice, turn: u64) -> String {
    let mut keys: Vec<Vec<u8>> = (0..2 + dice.below(6)).map(|_| key(dice)).collect();
    keys.sort();
    keys.dedup();
    let token = dice.roll();
    let values: Vec<Vec<u8>> = keys.iter().map(|_| value(dice, turn, token, keys.len())).collect();
    let pairs = || keys.iter().zip(&values);
    let puts = pairs().map(|(key, value)| Op::Put(PutRequest { key, value, ..PutRequest::default() }));
    let result = store.txn(&TxnRequest { success: puts.collect(), ..TxnRequest::default() }).unwrap();
    let sum = pairs().fold(Sum::new(), |sum, (key, value)| sum.add(true, key, value));
    format!("wrote {} {:016x}\n", result.revision(), sum.0)
}

fn delete(store: &Store, dice: &mut Dice) -> String {
    let key = key(dice);
    let result =
        store.delete_range(&DeleteRangeRequest { key: &key, ..DeleteRangeRequest::default() }).unwrap();
    match result.deleted() {
        0 => String::new(),
        _ => format!("wrote {} {:016x}\n", result.revision(), Sum::new().add(false, &key, b"").0),
    }
}

fn compact(store: &Store, dice: &mut Dice) -> String {
    let revision = store.revision() - dice.below(40) as i64;
    if revision <= store.compact_revision().max(1) {
        return String::new();
    }
    store.compact(revision, dice.one_in(2)).unwrap();
    format!("compacted {revision}\n")
}

/// What the parent knows of a store.
struct Known {
    /// Content of every revision that was acknowledged or seen after a death.
    content: BTreeMap<i64, u64>,
    /// Of those, the ones acknowledged since the store was last looked at.
    acknowledged: Vec<i64>,
    compacted: i64,
    last: i64,
}

impl Known {
    fn new() -> Self {
        Self { content: BTreeMap::new(), acknowledged: Vec::new(), compacted: -1, last: 1 }
    }

    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["wrote", revision, sum] if sum.len() == 16 => {
                let (revision, sum) = (revision.parse().unwrap(), u64::from_str_radix(sum, 16).unwrap());
                let before = self.content.insert(revision, sum);
                assert!(before.is_none_or(|before| before == sum), "revision {revision} was given out twice");
                assert!(revision > self.last, "revision {revision} comes after {}", self.last);
                self.last = revision;
                self.acknowledged.push(revision);
            }
            ["compacted", revision] => self.compacted = revision.parse().unwrap(),
            // Lines of the test harness, and the last one, which the kill may have cut.
            _ => {}
        }
    }

    /// Opens the store and holds it against what is known. Answers how many acknowledged writes were found.
    fn examine(&mut self, path: &Path, mode: &str) -> u64 {
        let store = Store::open(path, &options(mode)).unwrap_or_else(|error| panic!("open failed: {error}"));
        let compacted = store.compact_revision();
        assert!(compacted >= self.compacted, "compacted to {compacted}, {} was acknowledged", self.compacted);
        self.compacted = compacted;
        let last = store.revision();
        assert!(last >= self.last, "revision {last} after {} was acknowledged", self.last);
        let first = compacted.max(2);
        let found = replay(&store, first, last);
        assert!(found.keys().copied().eq(first..=last), "the revisions from {first} to {last} have gaps");
        for (revision, sum) in &found {
            let known = self.content.insert(*revision, *sum);
            assert!(known.is_none_or(|known| known == *sum), "revision {revision} has other content");
        }
        let kept = std::mem::take(&mut self.acknowledged).iter().filter(|one| **one >= first).count();
        self.last = last;
        same_state(&store);
        store.close().unwrap();
        kept as u64
    }
}

/// The content of every revision, as a watch replays it; transactions are checked to be whole.
fn replay(store: &Store, first: i64, last: i64) -> BTreeMap<i64, u64> {
    let mut found: BTreeMap<i64, (Sum, Vec<Vec<u8>>)> = BTreeMap::new();
    let stream = store.stream(&StreamOptions::default()).unwrap();
    let all =
        CreateRequest { key: b"\0", range_end: b"\0", start_revision: first, ..CreateRequest::default() };
    stream.create(&all).unwrap();
    stream.request_progress().unwrap();
    loop {
        let response = stream.next(None).unwrap().expect("without a timeout there is a response");
        if response.watch_id() == WATCH_ID_NONE {
            assert_eq!(response.revision(), last);
            break;
        }
        assert!(!response.is_canceled(), "{}", response.cancel_reason());
        for event in response.events() {
            let put = event.event_type == EventType::Put;
            let revision = found.entry(event.kv.mod_revision).or_insert_with(|| (Sum::new(), Vec::new()));
            revision.0 = revision.0.add(put, event.kv.key, event.kv.value);
            if put {
                revision.1.push(event.kv.value.to_vec());
            }
        }
    }
    let whole = |(revision, (sum, values)): (i64, (Sum, Vec<Vec<u8>>))| {
        let words =
            |value: &[u8]| String::from_utf8_lossy(value).split(' ').take(2).collect::<Vec<_>>().join(" ");
        if let Some(value) = values.first() {
            let head = words(value);
            assert!(values.iter().all(|other| words(other) == head), "revision {revision} is mixed");
            let puts = head.split(' ').nth(1).and_then(|puts| puts.parse().ok());
            assert_eq!(puts, Some(values.len()), "revision {revision} is not whole");
        }
        (revision, sum.0)
    };
    found.into_iter().map(whole).collect()
}

/// What single look-ups say and what the ordered view says is the same.
fn same_state(store: &Store) {
    let all = RangeRequest { key: b"\0", range_end: b"\0", ..RangeRequest::default() };
    let all = store.range(&all).unwrap();
    assert!(all.iter().map(|kv| kv.key).is_sorted());
    for kv in all.iter() {
        let one = store.get(kv.key, 0).unwrap();
        assert_eq!(one.kv(0), kv);
    }
}

fn start_child(mode: &str, seed: u64, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{mode} {seed} {}", path.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Lets a child write for a random time, kills it, and takes in what it had said.
fn one_death(mode: &str, path: &Path, known: &mut Known, dice: &mut Dice) {
    let mut child = start_child(mode, dice.roll(), path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n').map_while(Result::ok);
    // One in eight dies while it opens the store, which is recovery after the death before.
    let opens = dice.one_in(8);
    let mut heard = Vec::new();
    let sign = |line: &[u8]| if opens { line == b"opening" } else { line.starts_with(b"wrote") };
    for line in lines.by_ref() {
        let is_sign = sign(&line);
        heard.push(line);
        if is_sign {
            break;
        }
    }
    let longest = if opens { 1500 } else { dice.pick(&[200, 4000, 30_000, 60_000]) };
    let wait = dice.below(longest);
    let end = Instant::now() + Duration::from_micros(wait);
    let (status, rest) = std::thread::scope(|scope| {
        let rest = scope.spawn(|| lines.collect::<Vec<_>>());
        // Sleeping alone would kill at the ticks of a timer.
        std::thread::sleep(Duration::from_micros(wait.saturating_sub(300)));
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        (status, rest.join().unwrap())
    });
    if status.code().is_some() {
        let mut why = String::new();
        let _ = std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut why);
        panic!("the child ended by itself: {why}");
    }
    heard.extend(rest);
    for line in heard {
        known.hear(&String::from_utf8_lossy(&line));
    }
}

/// Which files the store has.
fn files(path: &Path) -> BTreeSet<std::ffi::OsString> {
    std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// What the deaths of one mode came to.
#[derive(Debug, Default)]
struct Toll {
    writes: u64,
    rounds_that_compacted: u64,
    rounds_that_changed_files: u64,
}

fn deaths(mode: &str, rounds: u64, seed: u64) -> Toll {
    let mut dice = Dice::new(seed);
    let mut toll = Toll::default();
    let mut store: Option<(tempfile::TempDir, Known)> = None;
    for round in 0..rounds {
        if (round as usize).is_multiple_of(DEATHS) {
            store = None;
        }
        let (folder, known) = store.get_or_insert_with(|| (tempfile::tempdir().unwrap(), Known::new()));
        let (compacted, before) = (known.compacted, files(folder.path()));
        one_death(mode, folder.path(), known, &mut dice);
        toll.rounds_that_changed_files += u64::from(files(folder.path()) != before);
        toll.writes += known.examine(folder.path(), mode);
        toll.rounds_that_compacted += u64::from(known.compacted > compacted);
    }
    toll
}

#[test]
fn what_was_acknowledged_survives_kills() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let clock = std::time::UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64);
    let (rounds, seed) = (number("LIBWATCH_KILL_ROUNDS", 200), number("LIBWATCH_KILL_SEED", clock));
    println!("LIBWATCH_KILL_SEED={seed}");
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        for (number, (mode, _)) in MODES.iter().enumerate() {
            let start = Instant::now();
            let toll = deaths(mode, rounds, seed.wrapping_add(number as u64));
            let seconds = start.elapsed().as_secs_f64();
            println!("{mode}: {rounds} kills, acknowledged {toll:?}, {seconds:.1} s");
            assert!(toll.writes >= rounds / 2, "the children hardly wrote");
        }
        let _ = done.send(());
    });
    if ended.recv_timeout(Duration::from_secs(120 + 3 * rounds)) == Err(RecvTimeoutError::Timeout) {
        panic!("a round hangs");
    }
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// The judge himself: what must not happen is noticed.
#[test]
fn a_lost_or_changed_revision_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path(), &options("commit")).unwrap();
    let mut dice = Dice::new(1);
    let lines: Vec<String> = (0..5).map(|turn| put(&store, &mut dice, turn)).collect();
    store.close().unwrap();
    let examine = |lines: &[String]| {
        let mut known = Known::new();
        lines.iter().for_each(|line| known.hear(line.trim_end()));
        known.examine(folder.path(), "commit")
    };
    assert_eq!(examine(&lines), 5);
    let fails = |change: fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        let quiet = std::panic::AssertUnwindSafe(|| examine(&lines));
        assert!(std::panic::catch_unwind(quiet).is_err(), "{lines:?} passed");
    };
    fails(|lines| lines.push("wrote 7 0000000000000001".into()));
    fails(|lines| lines[2] = "wrote 4 0000000000000001".into());
    fails(|lines| lines.push("wrote 3 0000000000000001".into()));
    fails(|lines| lines.push("compacted 4".into()));
    assert_eq!(Store::open(folder.path(), &options("commit")).unwrap().revision(), 6);
}
