//! What is served over HTTP, and what a request asks of the shard.

use super::body::RequestBody;
use super::connection_context::ConnectionContext;
use super::push::{PushOrDrop, push_or_drop};
use super::raw_head::RawHead;
use super::response::{self, HttpResponse};
use super::route::{self, HttpRoute, Parameters, Served};
use super::{api, embedded, message, upgrade};
use crate::api::{Api, path_within};
use crate::auth::{Keyless, bearer};
use crate::config::{Origin, Secret};
use crate::dialect::Rejection;
use crate::handler::{
    Admitted, Handle, HeadFn, Label, LocalFuture, Registered, Registry, RequestHead, Watch,
};
use crate::shard::message::DropTarget;
use crate::shard::settings::ShardSettings;
use crate::shard::{ClaimOutcome, HttpPhase};
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
    pub(crate) registry: Rc<Registry>,
    pub(crate) handle: Handle,
    pub(crate) watch: Watch,
    /// By route: what an upgrade request must show beside what its language asks.
    pub(crate) upgrades: Arc<[UpgradeRules]>,
    /// Whose pushes and drops are trusted where no secret is asked for.
    pub(crate) keyless: Keyless,
    pub(crate) body_bytes_max: usize,
    pub(crate) partial_bytes_max: usize,
    /// What requests want from the shard, in the order in which they asked.
    pub(crate) http_commands: RefCell<VecDeque<QueuedCommand>>,
    /// What unfinished bodies hold.
    pub(crate) bodies_bytes: Cell<usize>,
    /// What the shard's unfinished messages hold, as of the last turn.
    pub(crate) messages_bytes: Cell<usize>,
    /// While set, sessions are refused: there are as many as there may be.
    pub(crate) is_full: Cell<bool>,
    /// Set when the gateway is to stop.
    pub(crate) is_stopping: Cell<bool>,
    /// Set when listeners close: no new work is taken, and the next answer is a connection's last.
    pub(crate) rejects_work: Cell<bool>,
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
pub(crate) enum HttpCommand {
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
pub(crate) struct QueuedCommand {
    pub(crate) command: HttpCommand,
    pub(crate) reply: Rc<ResultSlot>,
}

/// Where a request waits for its answer.
#[derive(Debug, Default)]
pub(crate) struct ResultSlot {
    value: Cell<Option<CommandResult>>,
    waiting: RefCell<Option<Waker>>,
}

/// What became of an ask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CommandResult {
    /// So many sessions were reached on all shards.
    Total(u64),
    /// This was decided about its claim.
    Claimed(ClaimOutcome),
    /// A task has ended, or, `false`, panicked.
    Ran(bool),
    /// It was not done, or nobody knows.
    Failed(CommandError),
}

/// Why there is no total.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CommandError {
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
    pub(super) connection: Rc<ConnectionContext>,
}

type ResponseFuture = Pin<Box<dyn Future<Output = Result<HttpResponse, Infallible>>>>;

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = HttpResponse;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<Incoming>) -> ResponseFuture {
        let (context, connection) = (Rc::clone(&self.context), Rc::clone(&self.connection));
        connection.phase.set(HttpPhase::Response);
        connection.served.set(true);
        // A request that came before is answered as ever; the next one hears why it is the last,
        // unless others have come behind it, which are answered too.
        let is_last = context.rejects_work.get();
        Box::pin(async move {
            connection.wait_for_room().await;
            let response = serve_one(&context, &connection, request).await;
            connection.phase.set(HttpPhase::Idle);
            Ok(response::with_close_if(
                is_last && connection.is_last_request(),
                response,
            ))
        })
    }
}

/// Serves a request whose head is valid, in the version that its client has said.
async fn serve_one(
    context: &Context,
    connection: &Rc<ConnectionContext>,
    request: Request<Incoming>,
) -> HttpResponse {
    let (mut head, body) = request.into_parts();
    let raw = connection.raw_head.take();
    let is_http_10_upgrade = raw.is_some_and(|raw| raw.is_http_10_upgrade);
    connection
        .offers_upgrade
        .set(head.version == Version::HTTP_11);
    if is_http_10_upgrade {
        head.version = Version::HTTP_10;
    }
    let has_body = !body.is_end_stream();
    connection.has_read_body.set(false);
    // Only one body is read of those whose length hyper may have dropped (RFC 9112 6.3).
    let may_hide_length = raw.is_none() && head.headers.contains_key(TRANSFER_ENCODING);
    let mut response = match message::check(&head, raw) {
        Ok(()) => serve(context, connection, head, body).await,
        Err(invalid) => {
            let response = invalid.response();
            context.note_response(connection, response.status(), head.uri.path());
            response
        }
    };
    if is_http_10_upgrade && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        *response.version_mut() = Version::HTTP_10;
        return response::with_close(response);
    }
    // hyper ends a connection on which an unread body may still come.
    let is_drained = raw.is_some_and(RawHead::is_drained) && connection.has_whole_request();
    let is_unread = has_body && !connection.has_read_body.get() && !is_drained;
    response::with_close_if(is_unread || may_hide_length, response)
}

async fn serve(
    context: &Context,
    connection: &Rc<ConnectionContext>,
    head: Parts,
    body: Incoming,
) -> HttpResponse {
    let Some((route, parameters)) = context.find(&head) else {
        let request = Request::from_parts(head, body);
        return Box::pin(embedded::serve(context, connection, request)).await;
    };
    match &route.what {
        Served::WebSocket(index) => {
            // In a box of its own: a push is not to pay for its size.
            Box::pin(upgrade::response(
                context, connection, *index, head, parameters,
            ))
            .await
        }
        Served::Page(text) => response::page(head.method.as_str(), text),
        Served::Api => Box::pin(api::serve(context, connection, head, body)).await,
        Served::Health => Box::pin(api::health(context, connection, &head)).await,
        Served::Push(index, auth) => {
            let wanted = (PushOrDrop::Push, *index, auth);
            push_or_drop(context, connection, wanted, &head, body).await
        }
        Served::Drop(index, auth) => {
            let wanted = (PushOrDrop::Drop, *index, auth);
            push_or_drop(context, connection, wanted, &head, body).await
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
            let matcher = self.registry.routes[usize::from(index)].matcher.as_ref();
            matcher.is_some_and(|matcher| self.matches_head(matcher, head))
        });
        found.map(|route| (route, Parameters::new()))
    }

    /// What an embedder's rule says about a request; `false` if it panics.
    pub(super) fn matches_head(&self, rule: &Registered<HeadFn>, head: &Parts) -> bool {
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
    ) -> Result<T, RunError> {
        let output = Rc::new(RefCell::new(None));
        let store = Rc::clone(&output);
        let work = Box::pin(async move {
            let value = future.await;
            *store.borrow_mut() = Some(value);
        });
        match self.execute(HttpCommand::Run(label, work, handshake)).await {
            CommandResult::Ran(true) => output.take().ok_or(RunError::Panicked),
            CommandResult::Failed(_) => Err(RunError::TimedOut),
            CommandResult::Ran(false) | CommandResult::Total(_) | CommandResult::Claimed(_) => {
                Err(RunError::Panicked)
            }
        }
    }
}

/// Why an embedder's future has no output.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RunError {
    Panicked,
    TimedOut,
}

impl RunError {
    /// What a client hears whose upgrade depended on it.
    pub(super) fn rejection(self) -> Rejection {
        match self {
            Self::Panicked => Rejection::INTERNAL_ERROR,
            Self::TimedOut => Rejection::TIMED_OUT,
        }
    }
}

impl CommandResult {
    /// The total, or why there is none.
    pub(super) fn total(self) -> Result<u64, CommandError> {
        match self {
            Self::Total(total) => Ok(total),
            Self::Failed(refused) => Err(refused),
            Self::Claimed(_) | Self::Ran(_) => {
                unreachable!("whoever asks for a total gets one")
            }
        }
    }
}

impl CommandError {
    pub(super) fn response(self) -> HttpResponse {
        match self {
            Self::Illegal => response::text(StatusCode::BAD_REQUEST, "request data illegal"),
            Self::Busy => response::unavailable("too busy, nothing was delivered"),
            Self::TimedOut => response::unavailable("timed out, delivery may have happened"),
            Self::Stopping => response::unavailable("stopping, nothing was delivered or dropped"),
        }
    }
}

/// Whether a request shows a secret behind `Authorization: Bearer`.
pub(super) fn has_bearer_secret(headers: &hyper::HeaderMap, secret: &Secret) -> bool {
    bearer(headers).is_some_and(|shown| secret.matches(shown))
}

impl Context {
    /// Leaves an ask for the host and waits for its answer.
    pub(super) async fn execute(&self, command: HttpCommand) -> CommandResult {
        let reply = Rc::new(ResultSlot::default());
        self.http_commands.borrow_mut().push_back(QueuedCommand {
            command,
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

impl ResultSlot {
    /// Answers, and wakes the request if it is still there.
    pub(crate) fn set(&self, replied: CommandResult) {
        self.value.set(Some(replied));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}
