//! What is served over HTTP, and what a request asks of the shard.

use super::answer::{self, Answer};
use super::body::RequestBody;
use super::line::Line;
use super::push::{PushOrDrop, push_or_drop};
use super::raw_head::RawHead;
use super::route::{self, HttpRoute, Parameters, Served};
use super::{api, embedded, message, upgrade};
use crate::api::{Api, path_within};
use crate::auth::{Keyless, bearer};
use crate::config::{Origin, Secret};
use crate::dialect::Rejection;
use crate::handler::{
    Admitted, Handle, HeadFn, Label, LocalFuture, Program, Registered, RequestHead, Watch,
};
use crate::shard::message::DropTarget;
use crate::shard::settings::ShardSettings;
use crate::shard::{HttpPhase, Ruling};
use crate::vocabulary::id::ConnectionId;
use crate::vocabulary::metrics::Rejections;
use crate::ws::handshake::Accept;
use hyper::body::{Body, Incoming};
use hyper::header::TRANSFER_ENCODING;
use hyper::http::request::Parts;
use hyper::{Request, StatusCode, Version};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

/// What all requests of one shard share.
#[derive(derive_more::Debug)]
#[debug("Context {{ .. }}")]
pub(crate) struct Context {
    pub(crate) routes: Vec<HttpRoute>,
    pub(crate) settings: Arc<ShardSettings>,
    pub(crate) program: Rc<Program>,
    pub(crate) handle: Handle,
    pub(crate) watch: Watch,
    /// By route: what an upgrade request must show beside what its language asks.
    pub(crate) upgrades: Arc<[UpgradeRules]>,
    /// Whose pushes and drops are trusted where no secret is asked for.
    pub(crate) keyless: Keyless,
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
    /// Set when the gateway is to stop.
    pub(crate) is_stopping: Cell<bool>,
    /// Set when listeners close: no new work is taken, and the next answer is a connection's last.
    pub(crate) refuses_work: Cell<bool>,
    pub(crate) api: Arc<Api>,
    /// Whether single ends and rejections are logged, and their peers' addresses wanted.
    pub(crate) wants_reports: bool,
    /// By slot: connections and their peers' addresses, where those are wanted.
    pub(crate) peers: RefCell<Vec<Option<(ConnectionId, SocketAddr)>>>,
    pub(crate) rejections: RefCell<Rejections>,
}

/// What an upgrade request must show beside what its language asks.
#[derive(Clone, Debug)]
pub(crate) struct UpgradeRules {
    /// From which pages browsers may connect.
    pub(crate) origin: Origin,
    /// What is asked of whoever taps; `None` where clients connect.
    pub(crate) tap: Option<TapRule>,
    /// When the header `x-user-id` is believed.
    pub(crate) user_header: Keyless,
    /// The subprotocols that are agreed on, where the language has none of its own.
    pub(crate) subprotocols: Box<[Box<str>]>,
}

/// Who may watch the traffic of a route.
#[derive(Clone, Debug)]
pub(crate) enum TapRule {
    /// Whoever shows this behind `Authorization: Bearer`.
    Secret(Secret),
    /// Whoever is trusted without a secret.
    Keyless(Keyless),
}

/// Something a request wants from the shard.
pub(crate) enum HttpAsk {
    Push {
        route: u16,
        body: RequestBody,
    },
    Drop(DropTarget),
    Claim(Claim),
    /// Run this as a task; for as long as a handshake may take, if it is for this connection's.
    Run(Label, LocalFuture<()>, Option<ConnectionId>),
}

/// A wish to be an exclusive user's session.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) id: ConnectionId,
    pub(crate) namespace: u16,
    pub(crate) user: Box<str>,
    pub(crate) yields: bool,
}

/// An ask and where its answer goes.
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
    /// This was decided about its claim.
    Ruling(Ruling),
    /// A task has ended, or, `false`, panicked.
    Ran(bool),
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
    /// Nothing was done: the gateway is stopping.
    Stopping,
}

/// A granted upgrade.
#[derive(Debug)]
pub(crate) struct GrantedUpgrade {
    pub(crate) route: u16,
    pub(crate) accept: Accept,
    pub(crate) subprotocol: Option<Box<str>>,
    pub(crate) admitted: Admitted,
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
        // A request that came before is answered as ever; the next one hears why it is the last,
        // unless others have come behind it, which are answered too.
        let is_last = context.refuses_work.get();
        Box::pin(async move {
            line.wait_for_room().await;
            let answer = serve_one(&context, &line, request).await;
            line.phase.set(HttpPhase::Idle);
            Ok(answer::closing_if(
                is_last && line.is_last_request(),
                answer,
            ))
        })
    }
}

/// Serves a request whose head is valid, in the version that its client has said.
async fn serve_one(context: &Context, line: &Rc<Line>, request: Request<Incoming>) -> Answer {
    let (mut head, body) = request.into_parts();
    let raw = line.raw_head.take();
    let is_http_10_upgrade = raw.is_some_and(|raw| raw.is_http_10_upgrade);
    line.offers_upgrade.set(head.version == Version::HTTP_11);
    if is_http_10_upgrade {
        head.version = Version::HTTP_10;
    }
    let has_body = !body.is_end_stream();
    line.has_read_body.set(false);
    // Only one body is read of those whose length hyper may have dropped (RFC 9112 6.3).
    let may_hide_length = raw.is_none() && head.headers.contains_key(TRANSFER_ENCODING);
    let mut answer = match message::check(&head, raw) {
        Ok(()) => serve(context, line, head, body).await,
        Err(invalid) => {
            let answer = invalid.answer();
            context.note_answer(line, answer.status(), head.uri.path());
            answer
        }
    };
    if is_http_10_upgrade && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        *answer.version_mut() = Version::HTTP_10;
        return answer::closing(answer);
    }
    // hyper ends a connection on which an unread body may still come.
    let is_drained = raw.is_some_and(RawHead::is_drained) && line.has_whole_request();
    let is_unread = has_body && !line.has_read_body.get() && !is_drained;
    answer::closing_if(is_unread || may_hide_length, answer)
}

async fn serve(context: &Context, line: &Rc<Line>, head: Parts, body: Incoming) -> Answer {
    let Some((route, parameters)) = context.find(&head) else {
        let request = Request::from_parts(head, body);
        return Box::pin(embedded::serve(context, line, request)).await;
    };
    match &route.what {
        Served::WebSocket(index) => {
            // In a box of its own: a push is not to pay for its size.
            Box::pin(upgrade::answer(context, line, *index, head, parameters)).await
        }
        Served::Page(text) => answer::page(head.method.as_str(), text),
        Served::Api => Box::pin(api::serve(context, line, head, body)).await,
        Served::Health => Box::pin(api::health(context, line, &head)).await,
        Served::Push(index, auth) => {
            let wanted = (PushOrDrop::Push, *index, auth);
            push_or_drop(context, line, wanted, &head, body).await
        }
        Served::Drop(index, auth) => {
            let wanted = (PushOrDrop::Drop, *index, auth);
            push_or_drop(context, line, wanted, &head, body).await
        }
    }
}

impl Context {
    /// What is served for this request: what has its very path, else the API, else a pattern that
    /// fits, else what an embedder's matcher picks.
    fn find(&self, head: &Parts) -> Option<(&HttpRoute, Parameters)> {
        let whole = head.uri.path();
        let path = &*route::decoded(whole);
        let exact = self.routes.iter().find(|route| route.is_at(path));
        if let Some(route) = exact {
            return Some((route, Parameters::new()));
        }
        if path_within(whole).is_some() {
            let mut all = self.routes.iter();
            if let Some(api) = all.find(|route| matches!(route.what, Served::Api)) {
                return Some((api, Parameters::new()));
            }
        }
        let mut patterns = self.routes.iter();
        if let Some(found) = patterns.find_map(|route| Some((route, route.parameters(whole)?))) {
            return Some(found);
        }
        let mut matchers = self.routes.iter().filter(|route| route.is_matched);
        let found = matchers.find(|route| {
            let Served::WebSocket(index) = route.what else {
                return false;
            };
            let matcher = self.program.routes[usize::from(index)].matcher.as_ref();
            matcher.is_some_and(|matcher| self.holds(matcher, head))
        });
        found.map(|route| (route, Parameters::new()))
    }

    /// What an embedder's rule says about a request; `false` if it panics.
    pub(super) fn holds(&self, rule: &Registered<HeadFn>, head: &Parts) -> bool {
        let head = RequestHead::new(head);
        let held = self.watch.run(rule.label, || (rule.function)(&head));
        held.unwrap_or(false)
    }

    /// Has an embedder's future run as a task of the shard's, and waits for it; with a connection,
    /// for as long as its handshake may take.
    pub(super) async fn run<T: 'static>(
        &self,
        label: Label,
        future: LocalFuture<T>,
        handshake: Option<ConnectionId>,
    ) -> Result<T, NotRun> {
        let output = Rc::new(RefCell::new(None));
        let store = Rc::clone(&output);
        let work = Box::pin(async move {
            let value = future.await;
            *store.borrow_mut() = Some(value);
        });
        match self.ask(HttpAsk::Run(label, work, handshake)).await {
            Replied::Ran(true) => output.take().ok_or(NotRun::Panicked),
            Replied::Refused(_) => Err(NotRun::TimedOut),
            Replied::Ran(false) | Replied::Total(_) | Replied::Ruling(_) => Err(NotRun::Panicked),
        }
    }
}

/// Why an embedder's future has no output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NotRun {
    Panicked,
    TimedOut,
}

impl NotRun {
    /// What a client hears whose upgrade depended on it.
    pub(super) fn rejection(self) -> Rejection {
        match self {
            Self::Panicked => Rejection::INTERNAL_ERROR,
            Self::TimedOut => Rejection::TIMED_OUT,
        }
    }
}

impl Replied {
    /// The total, or why there is none.
    pub(super) fn total(self) -> Result<u64, Refused> {
        match self {
            Self::Total(total) => Ok(total),
            Self::Refused(refused) => Err(refused),
            Self::Ruling(_) | Self::Ran(_) => unreachable!("whoever asks for a total gets one"),
        }
    }
}

impl Refused {
    pub(super) fn answer(self) -> Answer {
        match self {
            Self::Illegal => answer::text(StatusCode::BAD_REQUEST, "request data illegal"),
            Self::Busy => answer::unavailable("too busy, nothing was delivered"),
            Self::TimedOut => answer::unavailable("timed out, delivery may have happened"),
            Self::Stopping => answer::unavailable("stopping, nothing was delivered or dropped"),
        }
    }
}

/// Whether a request shows a secret behind `Authorization: Bearer`.
pub(super) fn bears(headers: &hyper::HeaderMap, secret: &Secret) -> bool {
    bearer(headers).is_some_and(|shown| secret.matches(shown))
}

impl Context {
    /// Leaves an ask for the host and waits for its answer.
    pub(super) async fn ask(&self, ask: HttpAsk) -> Replied {
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
