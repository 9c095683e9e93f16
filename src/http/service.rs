//! The hyper service of a connection, and the commands of its requests to the shard.

use super::answered_get::Opening;
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

/// The state shared by all requests of one shard.
#[derive(derive_more::Debug)]
#[debug("HttpContext {{ .. }}")]
pub(crate) struct HttpContext {
    pub(crate) routes: Vec<HttpRoute>,
    pub(crate) settings: Arc<ShardSettings>,
    pub(crate) registry: Rc<Registry>,
    pub(crate) handle: Handle,
    pub(crate) watch: Watch,
    /// Rules for upgrade requests besides those of the dialect, indexed by route.
    pub(crate) upgrades: Arc<[UpgradeRules]>,
    /// The trust rule for pushes and drops on routes without a secret.
    pub(crate) keyless: Keyless,
    pub(crate) body_bytes_max: usize,
    pub(crate) partial_bytes_max: usize,
    /// Commands of requests to the shard, in FIFO order.
    pub(crate) http_commands: RefCell<VecDeque<QueuedCommand>>,
    /// Bytes of unfinished bodies.
    pub(crate) bodies_bytes: Cell<usize>,
    /// Bytes of the shard's unfinished messages, as of the last turn.
    pub(crate) messages_bytes: Cell<usize>,
    /// Whether the maximum number of sessions is reached, so that upgrades are rejected.
    pub(crate) is_full: Cell<bool>,
    /// Whether the gateway is stopping.
    pub(crate) is_stopping: Cell<bool>,
    /// Whether the listeners are closed: new work is rejected, and the next response of a
    /// connection is its last.
    pub(crate) rejects_work: Cell<bool>,
    pub(crate) api: Arc<Api>,
    /// Whether each close and rejection is logged, with the peer's address.
    pub(crate) wants_reports: bool,
    /// Connections and their peers' addresses, indexed by slot; empty unless `wants_reports`.
    pub(crate) peers: RefCell<Vec<Option<(ConnectionId, SocketAddr)>>>,
    pub(crate) rejections: RefCell<Rejections>,
}

/// The rules for a route's upgrade requests besides those of its dialect.
#[derive(Clone, Debug)]
pub(crate) struct UpgradeRules {
    /// The origins of pages that may connect.
    pub(crate) origin: Origin,
    /// The rule for taps; `None` on a route for clients.
    pub(crate) tap: Option<TapRule>,
    /// The trust rule for the header `x-user-id`.
    pub(crate) user_header: Keyless,
    /// The subprotocols to accept, if the dialect has none of its own.
    pub(crate) subprotocols: Box<[Box<str>]>,
}

/// The rule for taps on a route.
#[derive(Clone, Debug)]
pub(crate) enum TapRule {
    /// Requests with this secret in `Authorization: Bearer`.
    Secret(Secret),
    /// Requests that are trusted without a secret.
    Keyless(Keyless),
}

/// A command of a request to the shard.
pub(crate) enum HttpCommand {
    Push {
        route: u16,
        body: RequestBody,
    },
    Drop(DropTarget),
    Claim(UserClaim),
    /// Run this future as a task. With a connection, limit it to the time of the handshake.
    Run(Label, LocalFuture<()>, Option<ConnectionId>),
}

/// A claim to be the only session of an exclusive user.
#[derive(Debug)]
pub(crate) struct UserClaim {
    pub(crate) id: ConnectionId,
    pub(crate) namespace: u16,
    pub(crate) user: Box<str>,
    pub(crate) yields: bool,
}

/// A command and the slot for its result.
pub(crate) struct QueuedCommand {
    pub(crate) command: HttpCommand,
    pub(crate) reply: Rc<ResultSlot>,
}

/// The slot in which a request waits for its command's result.
#[derive(Debug, Default)]
pub(crate) struct ResultSlot {
    value: Cell<Option<CommandResult>>,
    waiting: RefCell<Option<Waker>>,
}

/// The result of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CommandResult {
    /// The number of sessions reached on all shards.
    Total(u64),
    /// The outcome of the claim.
    Claimed(ClaimOutcome),
    /// The task has ended; `false` if it panicked.
    Ran(bool),
    /// The command failed, or its result is unknown.
    Failed(CommandError),
}

/// The error of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CommandError {
    /// The body is invalid.
    Illegal,
    /// The shard is overloaded. Nothing was done.
    Busy,
    /// Not every shard responded in time. Some may have delivered.
    TimedOut,
    /// The gateway is stopping. Nothing was done.
    Stopping,
}

/// An accepted upgrade, or a GET request that opens a session without one.
#[derive(Debug)]
pub(crate) struct GrantedUpgrade {
    pub(crate) route: u16,
    pub(crate) format: u8,
    pub(crate) opening: Opening,
    pub(crate) admitted: Admitted,
}

/// The hyper service of one connection.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) context: Rc<HttpContext>,
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
        // A request that arrived before is processed as usual. The next one is rejected with a
        // reason and `Connection: close`, unless further requests have arrived, which get responses
        // too.
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

/// Checks the head of a request and serves it with the HTTP version that the client sent.
async fn serve_one(
    context: &HttpContext,
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
    // hyper may have dropped a Content-Length, so the connection ends after this body (RFC 9112
    // 6.3).
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
    // hyper closes a connection on which an unread body may still arrive.
    let is_drained = raw.is_some_and(RawHead::is_drained) && connection.has_whole_request();
    let is_unread = has_body && !connection.has_read_body.get() && !is_drained;
    response::with_close_if(is_unread || may_hide_length, response)
}

async fn serve(
    context: &HttpContext,
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
            // Boxed, so that the large future does not enlarge that of pushes.
            Box::pin(upgrade::response(
                context, connection, *index, head, parameters,
            ))
            .await
        }
        Served::Page(text) => response::page(head.method.as_str(), text),
        Served::Api => Box::pin(api::serve(context, connection, head, body)).await,
        Served::Health => Box::pin(api::health(context, connection, &head)).await,
        Served::Push(index, auth) => {
            let operation = (PushOrDrop::Push, *index, auth);
            push_or_drop(context, connection, operation, &head, body).await
        }
        Served::Drop(index, auth) => {
            let operation = (PushOrDrop::Drop, *index, auth);
            push_or_drop(context, connection, operation, &head, body).await
        }
    }
}

impl HttpContext {
    /// Returns the route for a request: the one with this exact path, else the API, else a matching
    /// pattern, else an embedder's matcher. `None` if there is none.
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

    /// Applies an embedder's rule to a request. Returns `false` if it panics.
    pub(super) fn matches_head(&self, rule: &Registered<HeadFn>, head: &Parts) -> bool {
        let head = RequestHead::new(head);
        let held = self.watch.run(rule.label, || (rule.function)(&head));
        held.unwrap_or(false)
    }

    /// Runs an embedder's future as a task of the shard and waits for it; with a connection, at
    /// most for the time of its handshake.
    ///
    /// # Errors
    ///
    /// A [`RunError`] if it panics or does not finish in time.
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

/// The error of an embedder's future.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RunError {
    Panicked,
    TimedOut,
}

impl RunError {
    /// Returns the rejection of an upgrade that depends on the future.
    pub(super) fn rejection(self) -> Rejection {
        match self {
            Self::Panicked => Rejection::INTERNAL_ERROR,
            Self::TimedOut => Rejection::TIMED_OUT,
        }
    }
}

impl CommandResult {
    /// Returns the total of a command that counts sessions.
    ///
    /// # Errors
    ///
    /// The command's [`CommandError`].
    pub(super) fn total(self) -> Result<u64, CommandError> {
        match self {
            Self::Total(total) => Ok(total),
            Self::Failed(refused) => Err(refused),
            Self::Claimed(_) | Self::Ran(_) => {
                unreachable!("the command counts sessions")
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

/// Returns whether a request has this secret in `Authorization: Bearer`.
pub(super) fn has_bearer_secret(headers: &hyper::HeaderMap, secret: &Secret) -> bool {
    bearer(headers).is_some_and(|shown| secret.matches(shown))
}

impl HttpContext {
    /// Enqueues a command for the host and waits for its result.
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
    /// Sets the result and wakes the request if it still exists.
    pub(crate) fn set(&self, replied: CommandResult) {
        self.value.set(Some(replied));
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }
}
