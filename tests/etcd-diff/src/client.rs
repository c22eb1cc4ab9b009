//! Calls of etcd's KV and Watch services over its socket.

use std::path::Path;
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use prost::Message;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

use crate::Failure;
use crate::wire::{RangeRequest, RangeResponse, WatchCall, WatchRequest, WatchResponse};

/// After which etcd counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);
const WATCH: &str = "/etcdserverpb.Watch/Watch";

/// A connection.
pub struct Client(Grpc<Channel>);

impl Client {
    /// Connects as soon as the socket is there, and waits until etcd answers.
    pub async fn connect(socket: &Path) -> Result<Self, Failure> {
        let begin = Instant::now();
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))
            .map_err(|error| Failure::Setup(format!("the socket has no usable path: {error}")))?;
        let channel = loop {
            match endpoint.connect().await {
                Ok(channel) => break channel,
                Err(error) if begin.elapsed() > PATIENCE => {
                    return Err(Failure::Setup(format!("etcd does not start: {error}")));
                }
                Err(_) => sleep(Duration::from_millis(2)).await,
            }
        };
        let mut client = Self(Grpc::new(channel));
        loop {
            let any = RangeRequest { key: b"ready".to_vec(), ..RangeRequest::default() };
            match client.call::<_, RangeResponse>("/etcdserverpb.KV/Range", any).await? {
                Ok(_) => return Ok(client),
                Err(status) if begin.elapsed() > PATIENCE => {
                    return Err(Failure::Setup(format!("etcd does not become ready: {}", status.message())));
                }
                Err(_) => sleep(Duration::from_millis(2)).await,
            }
        }
    }

    /// One call; the inner error is etcd's answer.
    pub async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<Result<A, Status>, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let answer = async {
            self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let path = PathAndQuery::from_static(path);
            self.0.unary(Request::new(request), path, ProstCodec::<Q, A>::default()).await
        };
        match timeout(PATIENCE, answer).await {
            Ok(answer) => Ok(answer.map(tonic::Response::into_inner)),
            Err(_) => Err(Failure::Etcd(format!("{path} was not answered"))),
        }
    }

    /// Opens a watch stream. Its responses are taken at once, so that etcd never finds it slow.
    pub fn stream(&self) -> Stream {
        let (calls, requests) = unbounded_channel();
        let (inbox, responses) = unbounded_channel();
        tokio::spawn(receive(self.0.clone(), requests, inbox));
        Stream { calls, responses }
    }
}

async fn receive(
    mut grpc: Grpc<Channel>,
    requests: UnboundedReceiver<WatchRequest>,
    inbox: UnboundedSender<Result<WatchResponse, Status>>,
) {
    let outcome = async {
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let requests = Request::new(UnboundedReceiverStream::new(requests));
        let codec = ProstCodec::<WatchRequest, WatchResponse>::default();
        let mut responses =
            grpc.streaming(requests, PathAndQuery::from_static(WATCH), codec).await?.into_inner();
        while let Some(response) = responses.message().await? {
            if inbox.send(Ok(response)).is_err() {
                return Ok(());
            }
        }
        Err(Status::unavailable("etcd ended the stream"))
    };
    if let Err(status) = outcome.await {
        // Nobody listens any more when the program is over.
        let _ = inbox.send(Err(status));
    }
}

/// An open watch stream.
pub struct Stream {
    calls: UnboundedSender<WatchRequest>,
    responses: UnboundedReceiver<Result<WatchResponse, Status>>,
}

impl Stream {
    /// Sends a request; etcd answers in its order.
    pub fn send(&self, call: WatchCall) -> Result<(), Failure> {
        let gone = |_| Failure::Etcd("the watch stream is gone".to_string());
        self.calls.send(WatchRequest { call: Some(call) }).map_err(gone)
    }

    /// The next response, waited for.
    pub async fn next(&mut self) -> Result<WatchResponse, Failure> {
        match self.next_within(PATIENCE).await? {
            Some(response) => Ok(response),
            None => Err(Failure::Etcd("a watch request was not answered".to_string())),
        }
    }

    /// The next response, if it comes in time.
    pub async fn next_within(&mut self, time: Duration) -> Result<Option<WatchResponse>, Failure> {
        match timeout(time, self.responses.recv()).await {
            Err(_) => Ok(None),
            Ok(Some(Ok(response))) => Ok(Some(response)),
            Ok(Some(Err(status))) => Err(Failure::Etcd(format!("the watch stream failed: {status}"))),
            Ok(None) => Err(Failure::Etcd("the watch stream is gone".to_string())),
        }
    }
}
