//! What an embedder sets up on each shard: the routes' functions and handlers.

use super::admission::{Admission, Joining, RequestHead, Upgrade};
use super::chain::{Next, Registered, erase_handler, erase_middleware};
use super::context::Context;
use super::handle::{Handle, RouteHandle, RouteInfo};
use super::http_service::{EmbedderBody, HttpService};
use super::permissions::{Gate, Gates};
use super::program::{HeadFn, Program, RouteProgram};
use super::session::Session;
use super::task::{Label, LocalFuture};
use super::words::IntoResponse;
use crate::dialect::{Rejection, TokenPlace};
use crate::runtime::panic::DropGuarded;
use crate::vocabulary::channel_pattern::{BadPattern, ChannelPattern};
use crate::vocabulary::channel_rules::ChannelRules;
use crate::vocabulary::content::Failure;
use hyper::body::Incoming;
use hyper::{Request, Response as HttpResponse};
use std::fmt;
use std::future::{Future, ready};
use std::rc::Rc;
use std::sync::Arc;

/// What every shard sets up, in order.
pub(crate) type Setups = Arc<[SetupFn]>;

/// One of them.
pub(crate) type SetupFn = Arc<dyn Fn(&mut Setup) + Send + Sync>;

/// What an embedder sets up on one shard. The closure given to [`Builder::shard`] runs once on each
/// shard's thread; what it makes there may be `!Send` and is used on that shard alone.
///
/// [`Builder::shard`]: crate::Builder::shard
#[derive(Debug)]
pub struct Setup {
    handle: Handle,
    program: Program,
    error: Option<SetupError>,
}

/// Sets up one route.
#[derive(Debug)]
pub struct RouteSetup<'s> {
    setup: &'s mut Setup,
    /// `None` if there is no such route, which has been noted.
    index: Option<usize>,
}

/// Why a gateway cannot start with what an embedder has set up.
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
        let program = Program::empty(handle.routes().len());
        Self {
            handle,
            program,
            error: None,
        }
    }

    /// Everything that was set up, for so many routes.
    ///
    /// # Errors
    ///
    /// The first thing that cannot be.
    pub(crate) fn finish(mut self, routes_count: usize) -> Result<Program, SetupError> {
        // Behind the routes of the config there may be others, such as taps.
        self.program
            .routes
            .resize_with(routes_count, RouteProgram::default);
        let mut routes = self.handle.routes().iter().zip(&self.program.routes);
        let never_asked = routes.find(|(info, program)| {
            let place = info.dialect.route_spec().token;
            program.authenticate.is_some()
                && matches!(place, TokenPlace::None | TokenPlace::Sources)
        });
        if let Some((info, _)) = never_asked {
            let (path, language) = (&info.path, info.dialect.name());
            self.complain(format!(
                "{path}: {language:?} has no place for a token, so authenticate would never be \
                 asked; use admit"
            ));
        }
        self.error.map_or(Ok(self.program), Err)
    }

    /// Sets up the route of the config with this path. That there is none is an error when the
    /// gateway starts.
    pub fn route(&mut self, path: &str) -> RouteSetup<'_> {
        let index = self
            .handle
            .routes()
            .iter()
            .position(|info| info.path == path);
        if index.is_none() {
            self.complain(format!("there is no route {path} in the config"));
        }
        RouteSetup { setup: self, index }
    }

    /// Has a function find the users of tokens in messages, on every route on which nothing else
    /// does. A shard that asks it waits for it.
    pub(crate) fn authenticate_messages_by_default<F>(&mut self, function: &Arc<DropGuarded<F>>)
    where
        F: Fn(&str) -> Option<String> + 'static,
    {
        for index in 0..self.program.routes.len() {
            let mut route = self.route_at(index);
            let is_free = |(info, program): (&RouteInfo, &mut RouteProgram)| {
                info.dialect.route_spec().token == TokenPlace::Message
                    && program.authenticate.is_none()
            };
            if route.parts().is_some_and(is_free) {
                let function = Arc::clone(function);
                route.authenticate(move |token| ready(function(&token)));
            }
        }
    }

    /// Has a function decide who may push and drop, on every route on which nothing else does.
    pub(crate) fn authorize_pushes_by_default<F>(&mut self, function: &Arc<DropGuarded<F>>)
    where
        F: Fn(&RequestHead<'_>) -> bool + 'static,
    {
        for index in 0..self.program.routes.len() {
            if self.program.routes[index].authorize_push.is_none() {
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

    /// Serves whatever nothing else is served for, on the gateway's own port: any hyper service.
    /// Each request is a local task. Its error, or panic, is answered with 500. One with a body
    /// must be answered within `body_timeout_ms`; parts of an answer may come for as long as no two
    /// are further apart than `keep_alive_timeout_ms`.
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
                let answered = future.await.map_err(|error| error.to_string());
                answered.map(|response| response.map(EmbedderBody::new))
            })
        });
        self.program.http = Some((service, label));
        self
    }

    /// The gateway, for whatever is set up here: on this shard, in order with its handlers.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Index of this shard, from zero.
    #[must_use]
    pub fn shard_index(&self) -> usize {
        self.handle.home().index()
    }

    fn label(&mut self, text: impl Into<Box<str>>) -> Label {
        let index = u32::try_from(self.program.labels.len()).expect("registered one by one");
        self.program.labels.push(text.into());
        Label(index)
    }

    /// Notes that this cannot be set up: the gateway does not start.
    pub(crate) fn complain(&mut self, problem: String) {
        self.error.get_or_insert(SetupError(problem));
    }
}

impl RouteSetup<'_> {
    /// Handles a command. Where a language lets several handlers run for one (`wsrv`), a second is
    /// appended; elsewhere it is an error when the gateway starts, and so is a command that no
    /// client of the language could send.
    ///
    /// A command of the config's is taken over.
    pub fn handle<F, Fut>(&mut self, command: &str, handler: F) -> &mut Self
    where
        F: Fn(Context) -> Fut + 'static,
        Fut: Future<Output: IntoResponse> + 'static,
    {
        if let Some((_, program)) = self.parts()
            && program.configured.remove(command)
        {
            program.handlers.remove(command);
        }
        self.add_handler(command, handler)
    }

    /// Handles a command as the config says, until code does.
    pub(crate) fn handle_configured<F, Fut>(&mut self, command: &str, handler: F) -> &mut Self
    where
        F: Fn(Context) -> Fut + 'static,
        Fut: Future<Output: IntoResponse> + 'static,
    {
        if let Some((_, program)) = self.parts() {
            program.configured.insert(command.into());
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
        let (dialect, habits, path) = (info.dialect, info.dialect.habits(), info.path.clone());
        if let Err(problem) = dialect.check_command(command) {
            self.setup.complain(format!("{path}: {problem}"));
            return self;
        }
        let registered = self.register(format!("{command:?} of {path}"), erase_handler(handler));
        let (_, program) = self.parts().expect("just seen");
        let handlers = program.handlers.entry(command.into()).or_default();
        if handlers.is_empty() || habits.appends_handlers {
            handlers.push(registered);
        } else {
            self.setup
                .complain(format!("{path}: command {command} already exists"));
        }
        self
    }

    /// Decides who may push and drop over HTTP, in place of the config's rule. It must not block.
    ///
    /// On a gateway that others than this machine can connect to, the config of the route must say
    /// [`push_authorized_by_code`](crate::config::Route::push_authorized_by_code), which
    /// [`RouteBuilder::authorize_push`](crate::gateway::RouteBuilder::authorize_push) does by
    /// itself.
    pub fn authorize_push(
        &mut self,
        rule: impl Fn(&RequestHead<'_>) -> bool + 'static,
    ) -> &mut Self {
        let rule: Rc<HeadFn> = Rc::new(rule);
        let registered = self.register_here("authorize_push", rule);
        self.with(|program| program.authorize_push = Some(registered))
    }

    /// Decides from where pages may connect, in place of the config's rule. It must not block.
    pub fn origin(&mut self, rule: impl Fn(&RequestHead<'_>) -> bool + 'static) -> &mut Self {
        let rule: Rc<HeadFn> = Rc::new(rule);
        let registered = self.register_here("origin", rule);
        self.with(|program| program.origin = Some(registered))
    }

    /// Decides which requests are for this route, in place of its path. Routes with a path of
    /// theirs come first. It must not block.
    pub fn matcher(&mut self, rule: impl Fn(&RequestHead<'_>) -> bool + 'static) -> &mut Self {
        let rule: Rc<HeadFn> = Rc::new(rule);
        let registered = self.register_here("matcher", rule);
        self.with(|program| program.matcher = Some(registered))
    }

    /// Declares a channel of the route's namespace that anyone may join; or all whose names fit a
    /// pattern ([`ChannelPattern`]). A name goes before a pattern, and of several patterns the
    /// first that fits counts.
    pub fn channel(&mut self, name: &str) -> &mut Self {
        self.declare(name, |gates| &mut gates.joins, Gate::Open)
    }

    /// The same for clients whom `validator` lets in, whatever language they ask in. They are never
    /// told why not.
    pub fn channel_with<F, Fut>(&mut self, name: &str, validator: F) -> &mut Self
    where
        F: Fn(Joining) -> Fut + 'static,
        Fut: Future<Output = Result<(), Failure>> + 'static,
    {
        let label = format!("the validator of {name:?}");
        let registered = self.register_here(&label, erase(validator));
        self.declare(name, |gates| &mut gates.joins, Gate::Ask(registered))
    }

    /// The same for no client: only the embedder's code and the server API put sessions on it.
    pub fn channel_closed(&mut self, name: &str) -> &mut Self {
        self.declare(name, |gates| &mut gates.joins, Gate::Closed)
    }

    /// Lets only those publish to a channel, or to all that fit a pattern, whom `validator` lets,
    /// when they do so by themselves ([`Context::publish_as_client`]). Otherwise whoever is on a
    /// channel may.
    pub fn publishers<F, Fut>(&mut self, name: &str, validator: F) -> &mut Self
    where
        F: Fn(Joining) -> Fut + 'static,
        Fut: Future<Output = Result<(), Failure>> + 'static,
    {
        let label = format!("the publishers of {name:?}");
        let registered = self.register_here(&label, erase(validator));
        self.declare(name, |gates| &mut gates.publishers, Gate::Ask(registered))
    }

    /// Lets no client publish to a channel, or to all that fit a pattern, by itself.
    pub fn no_publishers(&mut self, name: &str) -> &mut Self {
        self.declare(name, |gates| &mut gates.publishers, Gate::Closed)
    }

    /// The route, for whatever is set up here.
    ///
    /// # Panics
    ///
    /// If there is no such route.
    #[must_use]
    pub fn handle_of_route(&self) -> RouteHandle {
        let index = self.index.expect("there is no such route");
        self.setup.handle.route_at(index)
    }

    /// Goes on with another route.
    pub fn route(&mut self, path: &str) -> RouteSetup<'_> {
        self.setup.route(path)
    }

    fn declare(
        &mut self,
        name: &str,
        rules: fn(&mut Gates) -> &mut ChannelRules<Gate>,
        gate: Gate,
    ) -> &mut Self {
        let Some((info, program)) = self.parts() else {
            return self;
        };
        let rules = rules(&mut program.gates);
        let problem = match ChannelPattern::parse(name) {
            Err(BadPattern::Empty) => "a channel's name may not be empty".to_owned(),
            Err(problem) => format!("channel {name} {problem}"),
            Ok(pattern) => {
                if rules.declare(pattern, gate).is_ok() {
                    return self;
                }
                format!("channel {name} already exists")
            }
        };
        let problem = format!("{}: {problem}", info.path);
        self.setup.complain(problem);
        self
    }

    fn parts(&mut self) -> Option<(&RouteInfo, &mut RouteProgram)> {
        let index = self.index?;
        let info = &self.setup.handle.routes()[index];
        Some((info, &mut self.setup.program.routes[index]))
    }

    fn with(&mut self, change: impl FnOnce(&mut RouteProgram)) -> &mut Self {
        if let Some((_, program)) = self.parts() {
            change(program);
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

/// Methods of [`RouteSetup`] that register an async function.
macro_rules! async_functions {
    ($($(#[$doc:meta])* $name:ident ($($given:ty),*) -> [$($output:tt)*]: $label:literal,
        $erase:expr, |$program:ident, $registered:ident| $file:expr;)*) => {
        impl RouteSetup<'_> {
            $(
                $(#[$doc])*
                pub fn $name<F, Fut>(&mut self, function: F) -> &mut Self
                where
                    F: Fn($($given),*) -> Fut + 'static,
                    Fut: Future<$($output)*> + 'static,
                {
                    let $registered = self.register_here($label, $erase(function));
                    self.with(|$program| $file)
                }
            )*
        }
    };
}

async_functions! {
    /// Handles commands that have no handler of their own, and messages without a command.
    fallback(Context) -> [Output: IntoResponse]: "the fallback",
        erase_handler, |program, it| program.fallback = Some(it);
    /// Wraps the rest of the chain of every call; the first one added is outermost. It sees the
    /// call, runs the rest by [`Next::run`] or aborts, and sees and may change the response.
    middleware(Context, Next) -> [Output: IntoResponse]: "middleware",
        erase_middleware, |program, it| program.middleware.push(it);
    /// Called for every message that is a call, before its chain. What it returns is the response
    /// if nothing else handles the call.
    on_message(Context) -> [Output: IntoResponse]: "on_message",
        erase_handler, |program, it| program.on_message.push(it);
    /// Called when a session has opened. Its messages wait until this is done.
    on_open(Session) -> [Output = ()]: "on_open",
        erase, |program, it| program.on_open.push(it);
    /// Called once when a session has ended and its handlers are done.
    on_close(Session) -> [Output = ()]: "on_close",
        erase, |program, it| program.on_close.push(it);
    /// Decides whom an upgrade request is from and with what it is admitted, or refuses it with a
    /// status and a body. It comes before everything that RFC 6455 asks of the request, and in
    /// place of the config's tokens.
    admit(Upgrade) -> [Output = Result<Admission, Rejection>]: "admit",
        erase, |program, it| program.admit = Some(it);
    /// Finds the user that a token names, in place of the config's rule; `None` if it names nobody.
    /// The token is that of a register message (`wserver`) or of the upgrade request. Where a
    /// language has no place for tokens (`wsrv`, `projectforge`, `echo`) it is an error when the
    /// gateway starts: there [`RouteSetup::admit`] finds the token too.
    authenticate(Box<str>) -> [Output = Option<String>]: "authenticate",
        erase, |program, it| program.authenticate = Some(it);
}

/// Has a function's future be of a type that nobody needs to know.
fn erase<A, T, F, Fut>(function: F) -> Rc<dyn Fn(A) -> LocalFuture<T>>
where
    F: Fn(A) -> Fut + 'static,
    Fut: Future<Output = T> + 'static,
{
    Rc::new(move |given| Box::pin(function(given)))
}
