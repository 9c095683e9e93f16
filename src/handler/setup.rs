//! The setup of a shard: an embedder registers its routes' functions and handlers.

use super::access_rules::AccessRule;
use super::admission::{Admission, Joining, RequestHead, Upgrade};
use super::chain::{Next, Registered, erase_handler, erase_middleware};
use super::context::Context;
use super::handle::Handle;
use super::http_service::{EmbedderBody, HttpService};
use super::registry::{HeadFn, Registry, RouteRegistry};
use super::response::IntoResponse;
use super::route_handle::{RouteHandle, RouteInfo};
use super::session::Session;
use super::task::{Label, LocalFuture};
use crate::dialect::{Rejection, TokenPlace};
use crate::runtime::panic::DropGuarded;
use crate::shard::classes::ChannelClass;
use crate::vocabulary::channel_pattern::{ChannelPattern, PatternError};
use crate::vocabulary::channel_rules::{ChannelRules, SlowMembers};
use crate::vocabulary::content::Failure;
use hyper::body::Incoming;
use hyper::{Request, Response as HttpResponse};
use std::fmt;
use std::future::{Future, ready};
use std::rc::Rc;
use std::sync::Arc;

/// The setup functions of every shard, in order.
pub(crate) type Setups = Arc<[SetupFn]>;

/// A setup function.
pub(crate) type SetupFn = Arc<dyn Fn(&mut Setup) + Send + Sync>;

/// The setup of one shard. The closure given to [`Builder::shard`] runs once on each shard's
/// thread. The values it creates may be `!Send` and are used on that shard only.
///
/// [`Builder::shard`]: crate::Builder::shard
#[derive(Debug)]
pub struct Setup {
    handle: Handle,
    registry: Registry,
    error: Option<SetupError>,
}

/// The setup of one route on one shard.
#[derive(Debug)]
pub struct RouteSetup<'s> {
    setup: &'s mut Setup,
    /// `None` if there is no such route. That error is recorded, and the other methods do nothing.
    index: Option<usize>,
}

/// An error in an embedder's setup. The gateway does not start.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub(super) String);

impl SetupError {
    pub(crate) fn panicked() -> Self {
        Self("a setup panicked".to_owned())
    }
}

impl Setup {
    pub(crate) fn new(handle: Handle) -> Self {
        let registry = Registry::empty(handle.routes().len());
        Self {
            handle,
            registry,
            error: None,
        }
    }

    /// Finishes the setup and returns the registry, for `routes_count` routes.
    ///
    /// # Errors
    ///
    /// The first error recorded.
    pub(crate) fn finish(mut self, routes_count: usize) -> Result<Registry, SetupError> {
        // Routes that are not in the config, such as taps, follow those of the config.
        self.registry
            .routes
            .resize_with(routes_count, RouteRegistry::default);
        let mut routes = self.handle.routes().iter().zip(&self.registry.routes);
        let never_called = routes.find(|(info, registry)| {
            let place = info.dialect.route_spec().token;
            registry.authenticate.is_some()
                && matches!(place, TokenPlace::None | TokenPlace::Sources)
        });
        if let Some((info, _)) = never_called {
            let (path, dialect) = (&info.path, info.dialect.name());
            self.record_error(format!(
                "{path}: dialect {dialect:?} has no place for a token, so authenticate would never \
                 run; use admit"
            ));
        }
        self.error.map_or(Ok(self.registry), Err)
    }

    /// Returns the setup of the route with this path. If the config has no such route, the gateway
    /// does not start.
    pub fn route(&mut self, path: &str) -> RouteSetup<'_> {
        let index = self
            .handle
            .routes()
            .iter()
            .position(|info| info.path == path);
        if index.is_none() {
            self.record_error(format!("there is no route {path} in the config"));
        }
        RouteSetup { setup: self, index }
    }

    /// Registers a function that maps tokens in messages to users, on every route without one. The
    /// calling shard blocks while it runs.
    pub(crate) fn authenticate_messages_by_default<F>(&mut self, function: &Arc<DropGuarded<F>>)
    where
        F: Fn(&str) -> Option<String> + 'static,
    {
        for index in 0..self.registry.routes.len() {
            let mut route = self.route_at(index);
            let is_free = |(info, registry): (&RouteInfo, &mut RouteRegistry)| {
                info.dialect.route_spec().token == TokenPlace::Message
                    && registry.authenticate.is_none()
            };
            if route.parts().is_some_and(is_free) {
                let function = Arc::clone(function);
                route.authenticate(move |token| ready(function(&token)));
            }
        }
    }

    /// Registers a function that authorizes pushes and drops over HTTP, on every route without one.
    pub(crate) fn authorize_pushes_by_default<F>(&mut self, function: &Arc<DropGuarded<F>>)
    where
        F: Fn(&RequestHead<'_>) -> bool + 'static,
    {
        for index in 0..self.registry.routes.len() {
            if self.registry.routes[index].authorize_push.is_none() {
                let function = Arc::clone(function);
                self.route_at(index)
                    .authorize_push(move |head| function(head));
            }
        }
    }

    fn route_at(&mut self, index: usize) -> RouteSetup<'_> {
        RouteSetup {
            setup: self,
            index: Some(index),
        }
    }

    /// Registers a hyper service for all requests on the gateway's port that nothing else serves.
    ///
    /// Each request runs as a local task. The response to an error or panic is 500. A request with
    /// a body must be answered within `body_timeout_ms`. Consecutive parts of a response may be up
    /// to `keep_alive_timeout_ms` apart.
    pub fn http<F, Fut, B, E>(&mut self, service: F) -> &mut Self
    where
        F: Fn(Request<Incoming>) -> Fut + 'static,
        Fut: Future<Output = Result<HttpResponse<B>, E>> + 'static,
        B: hyper::body::Body<Data = bytes::Bytes> + 'static,
        B::Error: fmt::Display,
        E: fmt::Display,
    {
        let label = self.label("the HTTP service");
        let service: Rc<HttpService> = Rc::new(move |request| {
            let future = service(request);
            Box::pin(async move {
                let result = future.await.map_err(|error| error.to_string());
                result.map(|response| response.map(EmbedderBody::new))
            })
        });
        self.registry.http = Some((service, label));
        self
    }

    /// Returns a handle to the gateway that uses this shard: its operations are ordered with those
    /// of this shard's handlers.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Returns the index of this shard, from zero.
    #[must_use]
    pub fn shard_index(&self) -> usize {
        self.handle.home().index()
    }

    fn label(&mut self, text: impl Into<Box<str>>) -> Label {
        let index = u32::try_from(self.registry.labels.len()).expect("registered one by one");
        self.registry.labels.push(text.into());
        Label(index)
    }

    /// Records an error, if it is the first. The gateway does not start.
    pub(crate) fn record_error(&mut self, problem: String) {
        self.error.get_or_insert(SetupError(problem));
    }
}

impl RouteSetup<'_> {
    /// Registers a handler for a command, in place of the config's handler of that command.
    ///
    /// A second handler of a command is appended in dialects that allow several (`wsrv`). In other
    /// dialects it is a setup error. So is a command that no client of the dialect can send.
    pub fn handle<F, Fut>(&mut self, command: &str, handler: F) -> &mut Self
    where
        F: Fn(Context) -> Fut + 'static,
        Fut: Future<Output: IntoResponse> + 'static,
    {
        if let Some((_, registry)) = self.parts()
            && registry.configured.remove(command)
        {
            registry.handlers.remove(command);
        }
        self.add_handler(command, handler)
    }

    /// Registers a handler of the config, which a handler in code replaces.
    pub(crate) fn handle_configured<F, Fut>(&mut self, command: &str, handler: F) -> &mut Self
    where
        F: Fn(Context) -> Fut + 'static,
        Fut: Future<Output: IntoResponse> + 'static,
    {
        if let Some((_, registry)) = self.parts() {
            registry.configured.insert(command.into());
        }
        self.add_handler(command, handler)
    }

    fn add_handler<F, Fut>(&mut self, command: &str, handler: F) -> &mut Self
    where
        F: Fn(Context) -> Fut + 'static,
        Fut: Future<Output: IntoResponse> + 'static,
    {
        let Some((info, _)) = self.parts() else {
            return self;
        };
        let (dialect, spec, path) = (info.dialect, info.dialect.spec(), info.path.clone());
        if let Err(problem) = dialect.check_command(command) {
            self.setup.record_error(format!("{path}: {problem}"));
            return self;
        }
        let registered = self.register(format!("{command:?} of {path}"), erase_handler(handler));
        let (_, registry) = self.parts().expect("just seen");
        let handlers = registry.handlers.entry(command.into()).or_default();
        if handlers.is_empty() || spec.appends_handlers {
            handlers.push(registered);
        } else {
            self.setup
                .record_error(format!("{path}: command {command} already exists"));
        }
        self
    }

    /// Sets the function that authorizes pushes and drops over HTTP, in place of the config's rule.
    /// It must not block.
    ///
    /// If other machines can connect to the gateway, the route's config must have
    /// [`push_authorized_by_code`](crate::config::Route::push_authorized_by_code).
    /// [`RouteBuilder::authorize_push`](crate::gateway::RouteBuilder::authorize_push) sets it.
    pub fn authorize_push(
        &mut self,
        rule: impl Fn(&RequestHead<'_>) -> bool + 'static,
    ) -> &mut Self {
        let rule: Rc<HeadFn> = Rc::new(rule);
        let registered = self.register_here("authorize_push", rule);
        self.with(|registry| registry.authorize_push = Some(registered))
    }

    /// Sets the function that checks the origin of an upgrade request, in place of the config's
    /// rule. `false` rejects the request. It must not block.
    pub fn origin(&mut self, rule: impl Fn(&RequestHead<'_>) -> bool + 'static) -> &mut Self {
        let rule: Rc<HeadFn> = Rc::new(rule);
        let registered = self.register_here("origin", rule);
        self.with(|registry| registry.origin = Some(registered))
    }

    /// Sets the function that selects this route's requests, in place of its path. Routes with a
    /// path are tried first. It must not block.
    pub fn matcher(&mut self, rule: impl Fn(&RequestHead<'_>) -> bool + 'static) -> &mut Self {
        let rule: Rc<HeadFn> = Rc::new(rule);
        let registered = self.register_here("matcher", rule);
        self.with(|registry| registry.matcher = Some(registered))
    }

    /// Declares a channel of the route's namespace, or all channels that match a pattern
    /// ([`ChannelPattern`]). Any client may join.
    ///
    /// A name takes precedence over patterns; of several matching patterns the first one declared
    /// applies.
    pub fn channel(&mut self, name: &str) -> &mut Self {
        self.declare(
            name,
            |registry| &mut registry.access_rules.joins,
            AccessRule::Open,
        )
    }

    /// Declares a channel or pattern as [`RouteSetup::channel`] does, for clients that `validator`
    /// allows. A client never receives the validator's reason.
    pub fn channel_with<F, Fut>(&mut self, name: &str, validator: F) -> &mut Self
    where
        F: Fn(Joining) -> Fut + 'static,
        Fut: Future<Output = Result<(), Failure>> + 'static,
    {
        let label = format!("the validator of {name:?}");
        let registered = self.register_here(&label, erase(validator));
        self.declare(
            name,
            |registry| &mut registry.access_rules.joins,
            AccessRule::Validator(registered),
        )
    }

    /// Declares a channel or pattern as [`RouteSetup::channel`] does, closed to clients: only the
    /// embedder's code and the server API can add sessions.
    pub fn channel_closed(&mut self, name: &str) -> &mut Self {
        self.declare(
            name,
            |registry| &mut registry.access_rules.joins,
            AccessRule::Closed,
        )
    }

    /// Restricts client publications ([`Context::publish_as_client`]) to a channel, or to all
    /// channels that match a pattern, to those that `validator` allows. Without a rule, every
    /// session on a channel may publish.
    pub fn publishers<F, Fut>(&mut self, name: &str, validator: F) -> &mut Self
    where
        F: Fn(Joining) -> Fut + 'static,
        Fut: Future<Output = Result<(), Failure>> + 'static,
    {
        let label = format!("the publishers of {name:?}");
        let registered = self.register_here(&label, erase(validator));
        self.declare(
            name,
            |registry| &mut registry.access_rules.publishers,
            AccessRule::Validator(registered),
        )
    }

    /// Denies client publications to a channel, or to all channels that match a pattern.
    pub fn no_publishers(&mut self, name: &str) -> &mut Self {
        self.declare(
            name,
            |registry| &mut registry.access_rules.publishers,
            AccessRule::Closed,
        )
    }

    /// Sets what happens when a publication to a channel, or to a channel that matches a pattern,
    /// does not fit in the outbox of a member. Without a rule, the member is closed with 1008.
    ///
    /// Precedence is as in [`RouteSetup::channel`]. Each `[[routes.channels]]` row of the config is
    /// such a rule, so its name or pattern cannot have another. Routes of one namespace may declare
    /// the same rule again, but not a different one.
    pub fn slow_members(&mut self, name: &str, slow: SlowMembers) -> &mut Self {
        self.declare(
            name,
            |registry| &mut registry.classes,
            ChannelClass { slow },
        )
    }

    /// Returns a handle to the route.
    ///
    /// # Panics
    ///
    /// If the config has no such route.
    #[must_use]
    pub fn handle_of_route(&self) -> RouteHandle {
        let index = self.index.expect("there is no such route");
        self.setup.handle.route_at(index)
    }

    /// Returns the setup of another route, see [`Setup::route`].
    pub fn route(&mut self, path: &str) -> RouteSetup<'_> {
        self.setup.route(path)
    }

    fn declare<R>(
        &mut self,
        name: &str,
        rules: fn(&mut RouteRegistry) -> &mut ChannelRules<R>,
        rule: R,
    ) -> &mut Self {
        let Some((info, registry)) = self.parts() else {
            return self;
        };
        let rules = rules(registry);
        let problem = match ChannelPattern::parse(name) {
            Err(PatternError::Empty) => "a channel's name may not be empty".to_owned(),
            Err(problem) => format!("channel {name} {problem}"),
            Ok(pattern) => {
                if rules.declare(pattern, rule).is_ok() {
                    return self;
                }
                format!("channel {name} already exists")
            }
        };
        let problem = format!("{}: {problem}", info.path);
        self.setup.record_error(problem);
        self
    }

    fn parts(&mut self) -> Option<(&RouteInfo, &mut RouteRegistry)> {
        let index = self.index?;
        let info = &self.setup.handle.routes()[index];
        Some((info, &mut self.setup.registry.routes[index]))
    }

    fn with(&mut self, change: impl FnOnce(&mut RouteRegistry)) -> &mut Self {
        if let Some((_, registry)) = self.parts() {
            change(registry);
        }
        self
    }

    fn register_here<F: ?Sized>(&mut self, what: &str, function: Rc<F>) -> Registered<F> {
        let path = self.parts().map(|(info, _)| info.path.clone());
        self.register(format!("{what} of {}", path.unwrap_or_default()), function)
    }

    fn register<F: ?Sized>(&mut self, label: String, function: Rc<F>) -> Registered<F> {
        let label = self.setup.label(label);
        Registered { function, label }
    }
}

/// Defines the methods of [`RouteSetup`] that register an async function.
macro_rules! async_functions {
    ($($(#[$doc:meta])* $name:ident ($($given:ty),*) -> [$($output:tt)*]: $label:literal,
        $erase:expr, |$registry:ident, $registered:ident| $file:expr;)*) => {
        impl RouteSetup<'_> {
            $(
                $(#[$doc])*
                pub fn $name<F, Fut>(&mut self, function: F) -> &mut Self
                where
                    F: Fn($($given),*) -> Fut + 'static,
                    Fut: Future<$($output)*> + 'static,
                {
                    let $registered = self.register_here($label, $erase(function));
                    self.with(|$registry| $file)
                }
            )*
        }
    };
}

async_functions! {
    /// Registers the handler for commands without a handler and for messages without a command.
    fallback(Context) -> [Output: IntoResponse]: "the fallback",
        erase_handler, |registry, it| registry.fallback = Some(it);
    /// Registers middleware around every call of the route; the first one registered is outermost.
    /// It sees the call, runs the rest of the chain with [`Next::run`] or skips it, and may change
    /// the response.
    middleware(Context, Next) -> [Output: IntoResponse]: "middleware",
        erase_middleware, |registry, it| registry.middleware.push(it);
    /// Registers a function that is called for every call before its chain. Its result is the
    /// response if no handler exists for the call.
    on_message(Context) -> [Output: IntoResponse]: "on_message",
        erase_handler, |registry, it| registry.on_message.push(it);
    /// Registers a function that is called when a session has opened. The session's messages wait
    /// until it has finished.
    on_open(Session) -> [Output = ()]: "on_open",
        erase, |registry, it| registry.on_open.push(it);
    /// Registers a function that is called once when a session has ended and its handlers have
    /// finished.
    on_close(Session) -> [Output = ()]: "on_close",
        erase, |registry, it| registry.on_close.push(it);
    /// Registers the function that admits an upgrade request or rejects it with a status and a
    /// body, in place of the config's tokens. It runs before the checks of RFC 6455.
    admit(Upgrade) -> [Output = Result<Admission, Rejection>]: "admit",
        erase, |registry, it| registry.admit = Some(it);
    /// Registers the function that maps a token to its user, in place of the config's rule; `None`
    /// means that the token is invalid.
    ///
    /// The token is that of a register message (`wserver`) or of the upgrade request. In a dialect
    /// without a place for tokens (`wsrv`, `projectforge`, `echo`) it is a setup error: use
    /// [`RouteSetup::admit`] there.
    authenticate(Box<str>) -> [Output = Option<String>]: "authenticate",
        erase, |registry, it| registry.authenticate = Some(it);
}

/// Erases the type of a function's future.
fn erase<A, T, F, Fut>(function: F) -> Rc<dyn Fn(A) -> LocalFuture<T>>
where
    F: Fn(A) -> Fut + 'static,
    Fut: Future<Output = T> + 'static,
{
    Rc::new(move |given| Box::pin(function(given)))
}
