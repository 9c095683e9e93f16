//! What is served over HTTP, and what a request asks of the shard.

use super::answer::{self, Answer};
use crate::config::PushAuth;
use crate::dialect::wserver;
use crate::embedder::{Embedder, PushRequest};
use crate::id::ConnectionId;
use crate::shard::HttpPhase;
use crate::shard::publication::DropTarget;
use crate::ws::handshake::{self, Accept, Refusal};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HeaderValue, UPGRADE};
use hyper::{Method, Request, StatusCode, Version};
use smallvec::SmallVec;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// What all requests of one shard share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) routes: Vec<HttpRoute>,
    pub(crate) embedder: Arc<Embedder>,
    pub(crate) body_bytes_max: usize,
    pub(crate) partial_bytes_max: usize,
    /// What requests want from the shard, in the order in which they asked.
    pub(crate) asks: RefCell<VecDeque<Asked>>,
    /// What unfinished bodies hold.
    pub(crate) bodies_bytes: Cell<usize>,
    /// What the shard's unfinished messages hold, as of the last turn.
    pub(crate) messages_bytes: Cell<usize>,
    /// While set, sessions are refused: there are as many as there may be.
    pub(crate) is_full: Cell<bool>,
}

/// One path and what is served there.
#[derive(Debug)]
pub(crate) enum HttpRoute {
    WebSocket {
        path: String,
        route: u16,
    },
    Push {
        path: String,
        namespace: u16,
        auth: PushAuth,
    },
    Drop {
        path: String,
        namespace: u16,
        auth: PushAuth,
    },
}

/// Something a request wants from the shard.
#[derive(Debug)]
pub(crate) enum HttpAsk {
    Push { namespace: u16, body: RequestBody },
    Drop(DropTarget),
}

/// An ask and where its answer goes.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) ask: HttpAsk,
    pub(crate) reply: Rc<Reply>,
}

/// Where a request waits for its answer.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    value: Cell<Option<Replied>>,
    waiting: RefCell<Option<Waker>>,
}

/// What became of an ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Replied {
    /// So many sessions were reached on all shards.
    Total(u64),
    /// It was not done, or nobody knows.
    Refused(Refused),
}

/// Why there is no total.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// The body does not say what it must.
    Illegal,
    /// Nothing was done: there is too much to do already.
    Busy,
    /// Not every shard answered in time; some may have delivered.
    TimedOut,
}

/// A request's body, as few copies of it as came in.
#[derive(Debug)]
pub(crate) enum RequestBody {
    One(Bytes),
    Joined(Vec<u8>),
}

/// What one connection's requests tell its driver.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: ConnectionId,
    pub(super) phase: Cell<HttpPhase>,
    pub(super) upgrade: Cell<Option<Upgrade>>,
    /// A request has come since the driver looked.
    pub(super) served: Cell<bool>,
}

/// A granted upgrade.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upgrade {
    pub(crate) route: u16,
    pub(crate) accept: Accept,
}

/// hyper's view of the gateway, for one connection.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) context: Rc<Context>,
    pub(super) line: Rc<Line>,
}

type Answering = Pin<Box<dyn Future<Output = Result<Answer, Infallible>>>>;

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let (context, line) = (Rc::clone(&self.context), Rc::clone(&self.line));
        line.phase.set(HttpPhase::Answer);
        line.served.set(true);
        Box::pin(async move {
            let answer = serve(&context, &line, request).await;
            line.phase.set(HttpPhase::Idle);
            Ok(answer)
        })
    }
}

async fn serve(context: &Context, line: &Line, request: Request<Incoming>) -> Answer {
    let path = request.uri().path();
    let Some(route) = context.routes.iter().find(|route| route.path() == path) else {
        return answer::not_found();
    };
    match route {
        HttpRoute::WebSocket { route, .. } => upgrade(context, line, *route, &request),
        HttpRoute::Push {
            namespace, auth, ..
        } => {
            let body = match admitted_body(context, line, auth, request).await {
                Ok(body) => body,
                Err(refusal) => return refusal,
            };
            match context
                .ask(HttpAsk::Push {
                    namespace: *namespace,
                    body,
                })
                .await
            {
                Replied::Total(total) => {
                    answer::text(StatusCode::OK, format!("message sent to {total} clients"))
                }
                Replied::Refused(refused) => refused.answer(),
            }
        }
        HttpRoute::Drop {
            namespace, auth, ..
        } => {
            let body = match admitted_body(context, line, auth, request).await {
                Ok(body) => body,
                Err(refusal) => return refusal,
            };
            let target = match wserver::read_drop(&mut body.into_vec()) {
                Ok(wserver::Drop { user, event }) => DropTarget {
                    namespace: *namespace,
                    name: user.into_bytes().into(),
                    event: event.map(|event| event.into_bytes().into()),
                },
                Err(why) => return answer::text(StatusCode::BAD_REQUEST, why),
            };
            match context.ask(HttpAsk::Drop(target)).await {
                Replied::Total(total) => {
                    answer::text(StatusCode::OK, format!("dropped {total} connections"))
                }
                Replied::Refused(refused) => refused.answer(),
            }
        }
    }
}

impl Refused {
    fn answer(self) -> Answer {
        match self {
            Self::Illegal => answer::text(StatusCode::BAD_REQUEST, "request data illegal"),
            Self::Busy => answer::unavailable("too busy, nothing was delivered"),
            Self::TimedOut => answer::unavailable("timed out, delivery may have happened"),
        }
    }
}

/// Judges an upgrade request. hyper's own answer to a granted one is thrown away (see
/// `HttpConnection::poll`); it only has to end hyper's part.
fn upgrade(context: &Context, line: &Line, route: u16, request: &Request<Incoming>) -> Answer {
    let lines = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let headers: SmallVec<[(&str, &[u8]); 16]> = lines.collect();
    if request.version() != Version::HTTP_11 {
        // RFC 9110 7.8: in HTTP/1.0 there is no upgrade, and hyper writes no 101 there.
        return answer::refused(Refusal::NoWebSocketInUpgrade);
    }
    let judged = handshake::judge(request.method().as_str(), headers.iter().copied(), || true);
    let accept = match judged {
        Ok(accept) => accept,
        Err(refusal) => return answer::refused(refusal),
    };
    if context.is_full.get() {
        // It is one of the connections that there are too many of.
        let mut answer = answer::unavailable("too many sessions\n");
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
        return answer;
    }
    line.upgrade.set(Some(Upgrade { route, accept }));
    let mut answer = answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer
        .headers_mut()
        .insert(UPGRADE, HeaderValue::from_static("websocket"));
    answer
}

/// The body of a POST by somebody who may push.
async fn admitted_body(
    context: &Context,
    line: &Line,
    auth: &PushAuth,
    request: Request<Incoming>,
) -> Result<RequestBody, Answer> {
    if request.method() != Method::POST {
        return Err(answer::empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    let (head, body) = request.into_parts();
    match context.embedder.authorize_push(PushRequest::new(&head)) {
        Some(Ok(true)) => {}
        None if shows_secret(&head.headers, auth) => {}
        Some(Ok(false)) | None => return Err(answer::empty(StatusCode::UNAUTHORIZED)),
        Some(Err(_)) => {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            return Err(answer::text(status, "internal error"));
        }
    }
    let declared = head
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|len| len.to_str().ok()?.parse().ok());
    if declared.is_some_and(|len: u64| len > context.body_bytes_max as u64) {
        return Err(answer::text(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE));
    }
    line.phase.set(HttpPhase::Body);
    let read = read_body(context, body).await;
    line.phase.set(HttpPhase::Answer);
    read
}

fn shows_secret(headers: &hyper::HeaderMap, auth: &PushAuth) -> bool {
    match auth {
        PushAuth::None => true,
        PushAuth::Bearer { secret } => headers.get(AUTHORIZATION).is_some_and(|given| {
            let (scheme, token) = given.as_bytes().split_at(given.len().min(BEARER.len()));
            scheme.eq_ignore_ascii_case(BEARER) && secret.matches(token)
        }),
        PushAuth::Header { name, value } => headers
            .get(name)
            .is_some_and(|given| value.matches(given.as_bytes())),
    }
}

/// Collects a body, within the bounds of one body and of all unfinished ones together.
async fn read_body(context: &Context, mut body: Incoming) -> Result<RequestBody, Answer> {
    let mut held = HeldBytes { context, bytes: 0 };
    let mut first: Option<Bytes> = None;
    let mut joined: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(answer::text(
                StatusCode::BAD_REQUEST,
                "request data illegal",
            ));
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if held.bytes + data.len() > context.body_bytes_max {
            return Err(answer::text(StatusCode::PAYLOAD_TOO_LARGE, TOO_LARGE));
        }
        if !held.add(data.len()) {
            return Err(answer::unavailable("too many unfinished requests"));
        }
        if body.is_end_stream() && first.is_none() {
            return Ok(RequestBody::One(data));
        }
        if let Some(first) = first.replace(Bytes::new()) {
            joined.extend_from_slice(&first);
            joined.extend_from_slice(&data);
        } else {
            first = Some(data);
        }
    }
    match first {
        Some(data) if joined.is_empty() => Ok(RequestBody::One(data)),
        _ => Ok(RequestBody::Joined(joined)),
    }
}

/// What one unfinished body adds to [`Context::bodies_bytes`], until it is dropped.
struct HeldBytes<'c> {
    context: &'c Context,
    bytes: usize,
}

impl HeldBytes<'_> {
    /// Counts more bytes, unless all together are too many.
    fn add(&mut self, bytes: usize) -> bool {
        let all = self.context.bodies_bytes.get() + bytes;
        if all + self.context.messages_bytes.get() > self.context.partial_bytes_max {
            return false;
        }
        self.context.bodies_bytes.set(all);
        self.bytes += bytes;
        true
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        self.context
            .bodies_bytes
            .set(self.context.bodies_bytes.get() - self.bytes);
    }
}

impl Context {
    /// Leaves an ask for the driver's loop and waits for its answer.
    async fn ask(&self, ask: HttpAsk) -> Replied {
        let reply = Rc::new(Reply::default());
        self.asks.borrow_mut().push_back(Asked {
            ask,
            reply: Rc::clone(&reply),
        });
        std::future::poll_fn(|cx| {
            if let Some(replied) = reply.value.take() {
                return Poll::Ready(replied);
            }
            *reply.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Reply {
    /// Answers, and wakes the request if it is still there.
    pub(crate) fn set(&self, replied: Replied) {
        self.value.set(Some(replied));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}

impl RequestBody {
    fn into_vec(self) -> Vec<u8> {
        match self {
            Self::One(bytes) => bytes.into(),
            Self::Joined(bytes) => bytes,
        }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::One(bytes) => bytes,
            Self::Joined(bytes) => bytes,
        }
    }
}

impl HttpRoute {
    fn path(&self) -> &str {
        match self {
            Self::WebSocket { path, .. } | Self::Push { path, .. } | Self::Drop { path, .. } => {
                path
            }
        }
    }
}

const BEARER: &[u8] = b"Bearer ";
const TOO_LARGE: &str = "request body too large";
