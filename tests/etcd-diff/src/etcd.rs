//! A fresh etcd as the side that is compared with: answers calls, and knows when its watches have been told
//! everything, although it tells them later and gives no sign.

use std::time::{Duration, Instant};

use libwatch_model::answer::{Answer, ErrorCode};
use libwatch_model::call::{Call, Step};
use tokio::runtime::{Builder, Runtime};

use crate::client::{Client, Stream};
use crate::seen::{End, Seen};
use crate::server::Server;
use crate::wire::{self, WatchCall, WatchCancelRequest, WatchCreateRequest, WatchResponse};
use crate::{Failure, convert};

/// How long events may take before barriers are put up to show that there are none.
const SOON: Duration = Duration::from_millis(500);
/// Ids from here on belong to barriers.
const BARRIERS: i64 = i64::MAX - 1_000_000;
/// Written when a program is over; sorts behind every key of a program.
const SENTINEL: &[u8] = b"\xff\xffetcd-diff";
const ALL: &[u8] = b"\0";
const KV: [&str; 5] = [
    "/etcdserverpb.KV/Put",
    "/etcdserverpb.KV/Range",
    "/etcdserverpb.KV/DeleteRange",
    "/etcdserverpb.KV/Txn",
    "/etcdserverpb.KV/Compact",
];

/// A stream with what is still to come on it.
struct Line {
    stream: Stream,
    /// Ids of watches that a compaction ended, freed as etcd's own client does it; the answer is not ours.
    freed: Vec<i64>,
}

/// The revisions of a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Revisions {
    pub current: i64,
    pub compacted: i64,
}

/// See the module. Fields are dropped in this order: nobody speaks to a process that is gone.
pub struct Etcd {
    lines: Vec<Line>,
    client: Client,
    runtime: Runtime,
    server: Server,
    seen: Seen,
    /// A watch of the past was created, and no barrier has shown yet that it has caught up.
    unsynced: bool,
    barriers: i64,
}

impl Etcd {
    /// A new process with so many streams.
    pub fn start(streams: usize) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Setup(format!("no runtime: {error}")))?;
        let server = Server::start()?;
        let explained = |failure| match failure {
            Failure::Setup(text) => Failure::Setup(format!("{text}\n{}", server.log())),
            other => other,
        };
        let client = runtime.block_on(Client::connect(&server.socket())).map_err(explained)?;
        let lines = {
            let _inside = runtime.enter();
            (0..streams).map(|_| Line { stream: client.stream(), freed: Vec::new() }).collect()
        };
        let seen = Seen::default();
        let mut etcd = Self { lines, client, runtime, server, seen, unsynced: false, barriers: BARRIERS };
        for stream in 0..streams {
            etcd.skip_id_zero(stream)?;
        }
        Ok(etcd)
    }

    /// What its watches have seen up to now.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The last lines of the process' log.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// One step. Steps about how a consumer takes responses have no meaning here.
    pub fn answer(&mut self, call: &Call) -> Result<Answer, Failure> {
        match call {
            Step::Put(put) => {
                let outcome = self.call(KV[0], convert::put(put))?;
                convert::answer(outcome, |it| Ok(Answer::Put(convert::put_answer(it))))
            }
            Step::Range(range) => {
                let outcome = self.call(KV[1], convert::range(range))?;
                convert::answer(outcome, |it| Ok(Answer::Range(convert::range_answer(it))))
            }
            Step::DeleteRange(delete) => {
                let outcome = self.call(KV[2], convert::delete_range(delete))?;
                convert::answer(outcome, |it| Ok(Answer::DeleteRange(convert::delete_answer(it))))
            }
            Step::Txn(txn) => {
                let outcome = self.call(KV[3], convert::txn(txn))?;
                convert::answer(outcome, |it| Ok(Answer::Txn(convert::txn_answer(it)?)))
            }
            Step::Compact { revision, physical } => {
                let request = wire::CompactionRequest { revision: *revision, physical: *physical };
                let outcome = self.call::<_, wire::CompactionResponse>(KV[4], request)?;
                convert::answer(outcome, |_| Ok(Answer::Done))
            }
            Step::Watch { stream, watch_id, request } => {
                self.unsynced |= request.start_revision > 0;
                self.create(*stream, convert::create(*watch_id, request))
            }
            Step::Cancel { stream, watch_id } => self.cancel(*stream, *watch_id),
            Step::RequestProgress { .. }
            | Step::Take { .. }
            | Step::Refuse { .. }
            | Step::Drain
            | Step::Reopen => Ok(Answer::Done),
        }
    }

    fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<Result<A, tonic::Status>, Failure>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        self.runtime.block_on(self.client.call(path, request))
    }

    fn create(&mut self, stream: usize, request: WatchCreateRequest) -> Result<Answer, Failure> {
        self.lines[stream].stream.send(WatchCall::Create(request))?;
        let created = self.take_until(stream, |response| response.created)?;
        if created.canceled {
            return Ok(Answer::Refused(convert::refusal(&created.cancel_reason)?));
        }
        Ok(Answer::Watch { watch_id: created.watch_id })
    }

    /// etcd does not answer a cancel of an unknown id. Requests are answered in order, so a create that must be
    /// refused shows when there is no answer.
    fn cancel(&mut self, stream: usize, watch_id: i64) -> Result<Answer, Failure> {
        let lived = self.seen.knows(stream, watch_id);
        let echo = WatchCreateRequest { key: b"b".to_vec(), range_end: b"a".to_vec(), ..Default::default() };
        self.lines[stream].stream.send(WatchCall::Cancel(WatchCancelRequest { watch_id }))?;
        self.lines[stream].stream.send(WatchCall::Create(echo))?;
        self.take_until(stream, |response| response.created)?;
        let ended = lived && !self.seen.knows(stream, watch_id);
        Ok(if ended { Answer::Done } else { Answer::Refused(ErrorCode::WatchNotFound) })
    }

    /// etcd's first automatic id is 0, libwatch's is 1; from then on they go alike.
    fn skip_id_zero(&mut self, stream: usize) -> Result<(), Failure> {
        let request = WatchCreateRequest { key: SENTINEL.to_vec(), ..Default::default() };
        self.create(stream, request)?;
        self.cancel(stream, 0)?;
        self.seen = Seen::default();
        Ok(())
    }

    /// Takes responses of a stream until one fits; the others are put down to their watches.
    fn take_until(
        &mut self,
        stream: usize,
        fits: impl Fn(&WatchResponse) -> bool,
    ) -> Result<WatchResponse, Failure> {
        loop {
            let response = self.runtime.block_on(self.lines[stream].stream.next())?;
            self.note(stream, &response)?;
            if fits(&response) {
                return Ok(response);
            }
        }
    }

    fn note(&mut self, stream: usize, response: &WatchResponse) -> Result<(), Failure> {
        let id = response.watch_id;
        if id == -1 || id >= BARRIERS {
            return Ok(());
        }
        if response.created {
            self.seen.created(stream, id);
        }
        let events = response.events.iter().filter(|event| !is_sentinel(event));
        let mut known = self.seen.events(stream, id, events.cloned().map(convert::event));
        if response.canceled && response.compact_revision != 0 {
            known = self.seen.ended(stream, id, End::Compacted(response.compact_revision));
            self.lines[stream].freed.push(id);
            self.lines[stream].stream.send(WatchCall::Cancel(WatchCancelRequest { watch_id: id }))?;
        } else if response.canceled {
            let freed = &mut self.lines[stream].freed;
            match freed.iter().position(|freed| *freed == id) {
                Some(place) => {
                    freed.swap_remove(place);
                    known = true;
                }
                None => known = self.seen.ended(stream, id, End::Canceled),
            }
        }
        if known {
            return Ok(());
        }
        Err(Failure::Etcd(format!("a response for stream {stream}, watch {id}, which does not live")))
    }

    /// Waits until the watches have seen what `other` has seen, or until it is certain that they will not.
    pub fn settle(&mut self, other: &Seen, now: Revisions) -> Result<(), Failure> {
        if self.unsynced && now.current > 1 {
            self.pass(now)?;
            self.unsynced = false;
        }
        let begin = Instant::now();
        while let Some(behind) = self.seen.behind(other) {
            let Some(rest) = SOON.checked_sub(begin.elapsed()) else {
                return if now.current > 1 { self.pass(now) } else { Ok(()) };
            };
            let stream = behind.stream;
            if let Some(response) = self.runtime.block_on(self.lines[stream].stream.next_within(rest))? {
                self.note(stream, &response)?;
            }
        }
        Ok(())
    }

    /// Waits for a pass of etcd's catch-up, which treats all watches of the past at once, by a watch that it must
    /// tell something: after that the others are no longer of the past. What they are told may come right behind,
    /// but before anything of a next pass.
    fn pass(&mut self, now: Revisions) -> Result<(), Failure> {
        self.barriers += 1;
        let watch_id = self.barriers;
        let start_revision = if now.compacted > 1 { 1 } else { now.current };
        for line in &self.lines {
            let (key, range_end) = (ALL.to_vec(), ALL.to_vec());
            let probe = WatchCreateRequest { key, range_end, start_revision, watch_id, ..Default::default() };
            line.stream.send(WatchCall::Create(probe))?;
        }
        for stream in 0..self.lines.len() {
            self.take_until(stream, |response| response.watch_id == watch_id && !response.created)?;
            self.lines[stream].stream.send(WatchCall::Cancel(WatchCancelRequest { watch_id }))?;
        }
        Ok(())
    }

    /// Makes certain that nothing is on its way any more: a last event goes through every stream.
    pub fn finish(&mut self, now: Revisions) -> Result<(), Failure> {
        if self.unsynced && now.current > 1 {
            self.pass(now)?;
        }
        self.barriers += 1;
        let watch_id = self.barriers;
        for stream in 0..self.lines.len() {
            let request = WatchCreateRequest { key: SENTINEL.to_vec(), watch_id, ..Default::default() };
            self.create(stream, request)?;
        }
        let put = wire::PutRequest { key: SENTINEL.to_vec(), ..Default::default() };
        let outcome: Result<wire::PutResponse, tonic::Status> = self.call(KV[0], put)?;
        outcome.map_err(|status| Failure::Etcd(format!("the last put failed: {status}")))?;
        for stream in 0..self.lines.len() {
            self.take_until(stream, |response| response.watch_id == watch_id && !response.created)?;
        }
        Ok(())
    }
}

fn is_sentinel(event: &wire::Event) -> bool {
    event.kv.as_ref().is_some_and(|kv| kv.key == SENTINEL)
}
