//! A stream with a few watches: a thread that makes and cancels them while others write, and whoever takes the
//! responses. Watches end when everything has been given, some of them before.
#![allow(unsafe_code)] // poll(2)

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use libwatch::{
    Answer, CreateRequest, ErrorCode, Response, Store, Stream, StreamOptions, WATCH_ID_NONE, prefix_end,
};

use super::dice::Dice;
use super::write::{PREFIXES, key};
use crate::Round;
use crate::oracle::{Given, Kind, Watch};

/// Who takes the responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taker {
    Next,
    Batch,
    Slow,
    Descriptor,
    Callback,
}

/// What the responses of a stream are noted in. `watch_data` is the index of a watch.
struct Notes {
    store: Store,
    given: Mutex<Vec<Vec<Given>>>,
    ended: AtomicUsize,
    /// Answers to requests for progress. Each request has one, in order.
    answers: AtomicUsize,
}

impl Notes {
    fn take(&self, response: &Response, dice: &mut Dice) {
        let mut all = self.given.lock().unwrap();
        let given = Given::of(response, &self.store);
        if response.watch_id() == WATCH_ID_NONE {
            assert!(response.is_progress());
            self.answers.fetch_add(1, Ordering::SeqCst);
            // It is for all watches that were there when it was made, as far as they began.
            for watch in all.iter_mut().filter(|watch| speaks_to(watch, given.revision)) {
                watch.push(given.clone());
            }
            return;
        }
        if dice.one_in(8) {
            self.read_back(response);
        }
        self.ended.fetch_add(usize::from(response.is_canceled()), Ordering::SeqCst);
        all[response.watch_data()].push(given);
    }

    /// What an event says can be read at its revision.
    fn read_back(&self, response: &Response) {
        let Some(event) = response.events().last() else { return };
        match self.store.get(event.kv.key, event.kv.mod_revision) {
            Ok(result) if result.is_empty() => assert!(event.kv.version == 0, "a put that cannot be read"),
            Ok(result) => assert_eq!(result.kv(0), event.kv),
            Err(error) => assert_eq!(error.code(), ErrorCode::Compacted, "{error}"),
        }
    }
}

fn speaks_to(watch: &[Given], revision: i64) -> bool {
    watch.last().is_some_and(|last| {
        let began = last.kind != Kind::Created || last.resume_revision <= revision + 1;
        began && !matches!(last.kind, Kind::Canceled { .. })
    })
}

/// A stream whose threads are through, those aside that wait for the store's end.
pub struct Running {
    stream: Stream,
    watches: Vec<Watch>,
    notes: Arc<Notes>,
}

impl Running {
    /// The watches with all they were given. The store is closed.
    pub fn finish(self) -> Vec<Watch> {
        self.stream.close();
        let given = std::mem::take(&mut *self.notes.given.lock().unwrap());
        let mut watches = self.watches;
        for (watch, given) in watches.iter_mut().zip(given) {
            watch.given = given;
        }
        watches
    }
}

/// A watch for short, for a failure.
pub fn describe(watch: &Watch) -> String {
    let kinds = watch.given.iter().map(|given| match &given.kind {
        Kind::Events(events) => {
            let part = if given.fragment { "~" } else { "" };
            let ends =
                [events.first(), events.last()].map(|end| end.map_or(0, |event| event.kv.mod_revision));
            format!("{}..{}{part}>{}", ends[0], ends[1], given.resume_revision)
        }
        kind => format!("{kind:?}@{}>{}", given.revision, given.resume_revision),
    });
    let all: Vec<String> = kinds.collect();
    format!("{:?}\n{}", Watch { given: Vec::new(), ..watch.clone() }, all.join(" "))
}

/// Why a watch ended.
pub fn ended_by(watch: &Watch) -> Option<ErrorCode> {
    match watch.given.last()?.kind {
        Kind::Canceled { code, .. } => code,
        _ => None,
    }
}

/// Runs a stream of `count` watches until they have been given everything.
pub fn run_stream(round: &Arc<Round>, taker: Taker, count: usize, mut dice: Dice) -> Running {
    let notes = Arc::new(Notes {
        store: round.store.clone(),
        given: Mutex::new(vec![Vec::new(); count]),
        ended: AtomicUsize::new(0),
        answers: AtomicUsize::new(0),
    });
    let options =
        StreamOptions { batch_revisions: dice.pick(&[0, 1, 9]), batch_bytes: dice.pick(&[0, 0, 700]) };
    let stream = match taker {
        Taker::Callback => {
            let (notes, mut dice) = (notes.clone(), dice.fork());
            let callback = Box::new(move |response: &Response| answer(&notes, response, &mut dice));
            round.store.stream_with_callback(&options, callback).unwrap()
        }
        _ => round.store.stream(&options).unwrap(),
    };
    let thread = (taker != Taker::Callback).then(|| consume(&stream, taker, count, &notes, dice.fork()));
    let watches = drive(round, &stream, &notes, count, taker, &mut dice);
    if let Some(thread) = thread {
        thread.join().unwrap();
        while let Some(late) = stream.next(Some(Duration::ZERO)).unwrap() {
            assert_eq!(late.watch_id(), WATCH_ID_NONE, "a response after the final ones");
        }
    }
    Running { stream, watches, notes }
}

/// A callback that is busy, not ready or has enough now and then.
fn answer(notes: &Notes, response: &Response, dice: &mut Dice) -> Answer {
    if dice.one_in(30) {
        std::thread::sleep(Duration::from_micros(100));
    }
    if !response.is_empty() && dice.one_in(12) {
        return Answer::Again;
    }
    notes.take(response, dice);
    if !response.is_empty() && !response.is_fragment() && dice.one_in(3000) {
        return Answer::Cancel(ErrorCode::Limit);
    }
    Answer::Taken
}

fn consume(
    stream: &Stream,
    taker: Taker,
    count: usize,
    notes: &Arc<Notes>,
    mut dice: Dice,
) -> JoinHandle<()> {
    let (stream, notes) = (stream.clone(), notes.clone());
    std::thread::spawn(move || {
        let fd = (taker == Taker::Descriptor).then(|| stream.fd().unwrap());
        while notes.ended.load(Ordering::SeqCst) < count {
            let some = match (taker, fd) {
                (Taker::Batch, _) => stream.next_batch(1 + dice.below(40) as usize, None).unwrap(),
                (_, Some(fd)) => {
                    wait_readable(fd);
                    stream.next_batch(1 + dice.below(4) as usize, Some(Duration::ZERO)).unwrap()
                }
                _ => stream
                    .next(if dice.one_in(2) { None } else { Some(Duration::from_millis(3)) })
                    .unwrap()
                    .into_iter()
                    .collect(),
            };
            if taker == Taker::Slow && dice.one_in(4) {
                std::thread::sleep(Duration::from_millis(2));
            }
            some.iter().for_each(|response| notes.take(response, &mut dice));
        }
    })
}

fn wait_readable(fd: RawFd) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives on this stack.
    unsafe { libc::poll(&mut poll, 1, -1) };
}

/// Makes watches while the store is written, asks for progress, cancels some early and the others in the end.
fn drive(
    round: &Round,
    stream: &Stream,
    notes: &Notes,
    count: usize,
    taker: Taker,
    dice: &mut Dice,
) -> Vec<Watch> {
    let (mut watches, mut ids, mut asked) = (Vec::new(), Vec::new(), 1);
    let mut moments: Vec<i64> =
        (0..count).map(|_| dice.below(round.quota as u64) as i64 * i64::from(!dice.one_in(3))).collect();
    moments.sort_unstable();
    for (index, moment) in moments.into_iter().enumerate() {
        round.until(moment);
        let (watch, id) = create(round, stream, index, dice);
        watches.push(watch);
        ids.push(id);
        if dice.one_in(3) {
            stream.request_progress().unwrap();
            asked += 1;
        }
    }
    for (watch, id) in watches.iter_mut().zip(&ids) {
        if dice.one_in(5) {
            round.until(round.store.revision() + dice.below(round.quota as u64 / 2) as i64);
            watch.reaches = 0;
            cancel(stream, *id);
        }
    }
    round.until(i64::MAX);
    let last = round.last();
    for watch in watches.iter_mut().filter(|watch| watch.reaches != 0) {
        watch.reaches = last;
    }
    // Only its own answer speaks of every watch.
    stream.request_progress().unwrap();
    while notes.answers.load(Ordering::SeqCst) < asked && notes.ended.load(Ordering::SeqCst) < count {
        std::thread::sleep(Duration::from_micros(500));
    }
    if taker != Taker::Callback || dice.one_in(2) {
        ids.into_iter().for_each(|id| cancel(stream, id));
    }
    watches
}

fn cancel(stream: &Stream, id: i64) {
    if let Err(error) = stream.cancel(id) {
        assert_eq!(error.code(), ErrorCode::WatchNotFound, "{error}");
    }
}

fn create(round: &Round, stream: &Stream, index: usize, dice: &mut Dice) -> (Watch, i64) {
    let (key, range_end) = range(dice);
    let current = round.store.revision();
    let start_revision = match dice.below(6) {
        0 | 1 => 0,
        2 => 2,
        3 => 1 + dice.below(current as u64) as i64,
        4 => current,
        _ => current + dice.below(round.quota as u64 / 3) as i64,
    };
    let request = CreateRequest {
        key: &key,
        range_end: &range_end,
        start_revision,
        prev_kv: dice.one_in(2),
        progress_notify: dice.one_in(3),
        fragment: dice.one_in(3),
        created_notify: dice.one_in(2),
        filter_noput: dice.one_in(8),
        filter_nodelete: dice.one_in(8),
        watch_data: index,
        ..CreateRequest::default()
    };
    let id = stream.create(&request).unwrap();
    let now = (current + 1, round.store.revision() + 1);
    let watch = Watch {
        start: if start_revision == 0 { now } else { (start_revision, start_revision) },
        prev_kv: request.prev_kv,
        filter_noput: request.filter_noput,
        filter_nodelete: request.filter_nodelete,
        created_notify: request.created_notify,
        reaches: 1,
        given: Vec::new(),
        key,
        range_end,
    };
    (watch, id)
}

fn range(dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
    let some = key(dice);
    match dice.below(7) {
        0 => (some, Vec::new()),
        1 | 2 => {
            let prefix = dice.pick(&PREFIXES).to_vec();
            let end = prefix_end(&prefix);
            (prefix, end)
        }
        3 => {
            let prefix = some[..some.len() - 1].to_vec();
            let end = prefix_end(&prefix);
            (prefix, end)
        }
        4 => {
            let other = key(dice);
            if some < other { (some, other) } else { (other, [some.as_slice(), b"~"].concat()) }
        }
        5 => (some, vec![0]),
        _ => (vec![0], vec![0]),
    }
}
