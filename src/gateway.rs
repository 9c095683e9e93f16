//! The embedder's handle: build a gateway, start it, stop it.

mod error;

pub use self::error::Error;

use crate::config::{Config, DialectName, PushFrame, Route, Schema, Secret, Sender};
use crate::dialect::{self, Options, protobuf};
use crate::driver::TurnLimits;
use crate::driver::host::{Host, HostLimits, HostParts, HostSettings, Seeds, Served, ServedPath};
use crate::driver::mailbox::Exchange;
use crate::driver::start::{self, Common};
use crate::driver::stop::{Ending, StopFlag};
use crate::driver::watchdog::Watchdog;
use crate::embedder::{Embedder, Fault};
use crate::handler::{
    Handle, HandleCore, RequestHead, RouteBuilder, RouteHandle, RouteInfo, Setup,
};
use crate::http::{UpgradeRules, playground};
use crate::id::ShardId;
use crate::metrics::Counters;
use crate::public_id::IdCipher;
use crate::shard::claims::HomeKey;
use crate::shard::settings::{
    EncodingId, NamespaceSettings, RouteSettings, ShardSettings, TokenRule,
};
use crate::time::Ticks;
use crate::ws::Kind;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running gateway.
///
/// Dropping it leaves it running; call [`Gateway::stop`].
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    exchange: Arc<Exchange>,
    stop: Arc<StopFlag>,
    threads: Vec<JoinHandle<()>>,
    core: Arc<HandleCore>,
    watchdog: Option<Watchdog>,
}

/// A gateway that has not started: its config and the functions of the embedding program.
#[must_use = "a gateway serves once it is started"]
pub struct Builder {
    config: Config,
    embedder: Arc<Embedder>,
    setups: Setups,
}

/// What an embedder has every shard set up.
pub(crate) type Setups = Arc<[SetupFn]>;

/// One of them.
pub(crate) type SetupFn = Arc<dyn Fn(&mut Setup) + Send + Sync>;

impl Gateway {
    /// Prepares a gateway that runs with `config`.
    pub fn builder(config: Config) -> Builder {
        Builder {
            config,
            embedder: Arc::default(),
            setups: Arc::from([]),
        }
    }

    /// Where it listens; the port is resolved if the config left it to the kernel.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// How many shards it has.
    #[must_use]
    pub fn shards_count(&self) -> usize {
        self.threads.len()
    }

    /// The gateway in your hand: push, join, close and list, from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::outside(&self.core)
    }

    /// The route of the config with this path.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<RouteHandle> {
        self.handle().route(path)
    }

    /// Stops: accepts no more, closes every session with 1001, and waits for them and for what
    /// embedders' tasks are doing, at most as long as `grace`. Returns what all shards have
    /// counted.
    ///
    /// Only a handler that holds its shard can make it take longer. Work that blocks elsewhere and
    /// is not done then is left to itself.
    ///
    /// # Panics
    ///
    /// If a shard has panicked, which ends the process before.
    #[must_use = "what was counted is gone then"]
    #[expect(
        clippy::disallowed_methods,
        reason = "it waits on a thread of the embedder's, which may block"
    )]
    pub fn stop(self, grace: Duration) -> Counters {
        let until = Instant::now() + grace.clamp(LEAVING, FOREVER);
        let (sender, endings) = channel();
        self.stop.set_and_hear(grace, sender);
        self.exchange.wake_all();
        let mut all = Counters::default();
        let (mut running, mut there) = (self.threads.len(), self.threads.len());
        while there > 0 {
            let ending = if running > 0 {
                let ending = endings.recv();
                Ok(ending.expect("a shard that panics ends the process"))
            } else {
                endings.recv_timeout(until.saturating_duration_since(Instant::now()))
            };
            match ending {
                Ok(Ending::Counted(counters)) => {
                    all.add(&counters);
                    running -= 1;
                }
                Ok(Ending::Gone) => there -= 1,
                Err(_) => break,
            }
        }
        drop(self.watchdog);
        all
    }
}

impl Builder {
    /// Has every shard set something up: the closure runs once on each shard's thread, within its
    /// runtime, before the first connection is accepted. What it makes there may be `!Send`. May be
    /// called several times.
    pub fn shard(mut self, set_up: impl Fn(&mut Setup) + Send + Sync + 'static) -> Self {
        let before = self.setups.iter().cloned();
        let set_up: SetupFn = Arc::new(set_up);
        self.setups = before.chain([set_up]).collect();
        self
    }

    /// Sets up the route of the config with this path, with functions that every shard gets a copy
    /// of.
    pub fn route(self, path: &str) -> RouteBuilder {
        RouteBuilder::new(self, path)
    }

    /// Finds the user that a token in a register message names, on every `wserver` route, in place
    /// of the config's rule. [`RouteBuilder::authenticate`] does so for one route, and may wait.
    ///
    /// The function runs on the shard's thread and holds it up: it must not block. If it panics,
    /// the token names nobody.
    pub fn authenticate_token(
        self,
        function: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.with(|embedder| embedder.token = Some(Box::new(function)))
    }

    /// Decides who may push and drop, on every route, in place of the config's rule.
    ///
    /// The function runs on the shard's thread and holds it up: it must not block. If it panics,
    /// the request is answered with 500.
    pub fn authorize_push(
        self,
        function: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.with(|embedder| embedder.push = Some(Box::new(function)))
    }

    /// Serves a page to try a route, where one can connect, send and close.
    pub fn playground(mut self, path: &str, route: &str) -> Self {
        let mut routes = self.config.routes.iter_mut();
        if let Some(route) = routes.find(|each| each.path == route) {
            route.playground_path = Some(path.to_owned());
            return self;
        }
        let route = route.to_owned();
        self.shard(move |setup| {
            setup.route(&route);
        })
    }

    fn with(mut self, change: impl FnOnce(&mut Embedder)) -> Self {
        let embedder = Arc::get_mut(&mut self.embedder);
        change(embedder.expect("shared only when it starts"));
        self
    }

    /// Called on a shard's thread when it has been idle for a second after it gave up memory: the
    /// moment to have an allocator return what it kept. The library never chooses the allocator.
    pub fn on_idle(self, function: impl Fn() + Send + Sync + 'static) -> Self {
        self.with(|embedder| embedder.idle = Some(Box::new(function)))
    }

    /// Makes a shard panic in one place, so that a test can see the process end.
    #[doc(hidden)]
    pub fn provoke_panic(self, place: Fault) -> Self {
        self.with(|embedder| embedder.fault = Some(place))
    }

    /// Starts the shards, and returns when all of them accept connections.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the config breaks a rule; [`Error::Start`] if the machine does not give
    /// what is needed: the port, `io_uring`, lockable memory, open files.
    pub fn start(self) -> Result<Gateway, Error> {
        let Self {
            config,
            embedder,
            setups,
        } = self;
        config.validate().map_err(Error::Config)?;
        let mut host = host_settings(&config, embedder.token.is_some())?;
        let prepared = start::prepare(&config).map_err(Error::Start)?;
        let keys = start::random_keys().map_err(Error::Start)?;
        let shard = Arc::get_mut(&mut host.shard).expect("made a moment ago");
        shard.ids = IdCipher::new(keys[0]);
        shard.home_key = HomeKey(keys[1]);
        shard.started_unix_ms = start::unix_ms();
        let stop = Arc::new(StopFlag::default());
        let core = handle_core(&config, &host, &prepared.exchange);
        let watchdog = Watchdog::new(&config, prepared.exchange.shards());
        let common = Common {
            host,
            turn_limits: turn_limits(&config, prepared.sessions_max),
            embedder,
            setups: Arc::clone(&setups),
            core: Arc::clone(&core),
            watch: watchdog.seats(),
            exchange: Arc::clone(&prepared.exchange),
            stop: Arc::clone(&stop),
        };
        let address = prepared.address;
        let exchange = Arc::clone(&prepared.exchange);
        let threads = prepared.start(&common)?;
        let watchdog = if setups.is_empty() {
            None
        } else {
            Some(watchdog.start().map_err(Error::Start)?)
        };
        Ok(Gateway {
            address,
            exchange,
            stop,
            threads,
            core,
            watchdog,
        })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("embedder", &self.embedder)
            .field("setups", &self.setups.len())
            .finish()
    }
}

/// Reads what a config leaves to files, and puts everything into the units of those who need it.
fn host_settings(config: &Config, ask_for_users: bool) -> Result<HostSettings, Error> {
    let mut shard = shard_settings(config, ask_for_users);
    for (route, settings) in config.routes.iter().zip(&mut shard.routes) {
        settings.options.schema = schema_of(route)?;
    }
    intern_encodings(&mut shard.routes);
    Ok(HostSettings {
        shard: Arc::new(shard),
        paths: served_paths(config).into(),
        upgrades: upgrade_rules(config).into(),
        limits: host_limits(config),
    })
}

/// The part of a config that shards need, in their units. Schemas in files are left out.
pub fn shard_settings(config: &Config, ask_for_users: bool) -> ShardSettings {
    let limits = &config.limits;
    let namespaces = config.namespaces();
    let count = namespaces.iter().map(|&index| usize::from(index) + 1).max();
    let with_namespaces = || config.routes.iter().zip(&namespaces);
    let mut routes: Vec<RouteSettings> = with_namespaces()
        .map(|(route, &namespace)| route_settings(config, route, namespace, ask_for_users))
        .collect();
    let taps = with_namespaces().filter(|(route, _)| route.tap_path.is_some());
    routes.extend(taps.map(|(route, &namespace)| tap_settings(config, route, namespace)));
    intern_encodings(&mut routes);
    ShardSettings {
        routes,
        namespaces: vec![NamespaceSettings::default(); count.unwrap_or(0)],
        ids: IdCipher::new([0; 2]),
        home_key: HomeKey([0; 2]),
        started_unix_ms: 0,
        handshake_timeout: Ticks::from_ms(config.heartbeat.handshake_timeout_ms),
        body_timeout: Ticks::from_ms(config.http.body_timeout_ms),
        keep_alive_timeout: Ticks::from_ms(config.http.keep_alive_timeout_ms),
        close_grace: Ticks::from_ms(config.heartbeat.close_grace_ms),
        partial_bytes_max: usize::try_from(limits.partial_bytes_max).unwrap_or(usize::MAX),
        publication_bytes_max: usize::try_from(limits.publication_bytes_max).unwrap_or(usize::MAX),
        batch_bytes_max: limits.batch_bytes_max as usize,
        gather_bytes_max: limits.gather_bytes_max,
        name_bytes_max: limits.name_bytes_max as usize,
        users_per_session_max: limits.users_per_session_max,
        channels_per_session_max: limits.channels_per_session_max,
        claims_waiting_max: limits.claims_waiting_max,
    }
}

fn route_settings(
    config: &Config,
    route: &Route,
    namespace: u16,
    ask_for_users: bool,
) -> RouteSettings {
    let dialect = dialect::named(route.dialect.as_str());
    let dialect = dialect.expect("every dialect of the config is built in");
    let tokens = match &route.tokens {
        _ if ask_for_users && route.dialect == DialectName::Wserver => TokenRule::Ask,
        None => TokenRule::Itself,
        Some(tokens) => TokenRule::Table(
            tokens
                .iter()
                .map(|(token, user)| (token.into(), user.into()))
                .collect(),
        ),
    };
    let optional = |ms: u32| (ms > 0).then(|| Ticks::from_ms(ms));
    let is_concurrent = dialect.habits().concurrent;
    RouteSettings {
        dialect,
        options: Options {
            push_kind: match route.push_frame {
                PushFrame::Binary => Kind::Binary,
                PushFrame::Text => Kind::Text,
            },
            schema: dialect::Schema::Opaque,
            trust_user_header: config.trusts_user_header(route),
        },
        encoding: EncodingId(0),
        namespace,
        tokens,
        exclusive: route.dialect == DialectName::Edk,
        newcomer_yields: route.kick_out_new_user_conn,
        handles_calls: false,
        observes_ends: false,
        named_by_user: route.from == Sender::User,
        watches: false,
        calls_in_flight_max: if is_concurrent {
            u16::try_from(route.limits.requests_in_flight_max).expect("bounded by its range")
        } else {
            1
        },
        message_bytes_max: route.limits.message_bytes_max as usize,
        outbox_bytes_max: route.limits.outbox_bytes_max,
        ping_interval: optional(route.limits.ping_interval_ms),
        idle_timeout: optional(route.limits.idle_timeout_ms),
        registration_timeout: optional(route.limits.registration_timeout_ms),
    }
}

/// The route on which the traffic of another is shown.
fn tap_settings(config: &Config, route: &Route, namespace: u16) -> RouteSettings {
    RouteSettings {
        dialect: &dialect::tap::Tap,
        exclusive: false,
        watches: true,
        registration_timeout: None,
        ..route_settings(config, route, namespace, false)
    }
}

/// Gives routes whose publications have the same bytes the same encoding.
fn intern_encodings(routes: &mut [RouteSettings]) {
    for index in 0..routes.len() {
        let (before, rest) = routes.split_at_mut(index);
        let this = &mut rest[0];
        let same = before.iter().find(|other| {
            other.dialect.name() == this.dialect.name() && other.options.words_like(&this.options)
        });
        this.encoding = match same {
            Some(other) => other.encoding,
            None => EncodingId(u16::try_from(index).expect("few routes")),
        };
    }
}

/// What the messages of a route are; a descriptor set is read from its file.
fn schema_of(route: &Route) -> Result<dialect::Schema, Error> {
    match &route.schema {
        Schema::Opaque => Ok(dialect::Schema::Opaque),
        Schema::Builtin => Ok(dialect::Schema::Builtin),
        Schema::Descriptor {
            file,
            message,
            command_field,
        } => {
            let problem = |problem: String| Error::Descriptor {
                path: route.path.clone(),
                file: file.clone(),
                problem,
            };
            let bytes = std::fs::read(file).map_err(|error| problem(error.to_string()))?;
            let schema =
                protobuf::Schema::from_descriptor_set(&bytes, message, command_field.as_deref());
            let schema = schema.map_err(|error| problem(error.to_string()))?;
            Ok(dialect::Schema::Descriptor(Arc::new(schema)))
        }
    }
}

/// What upgrade requests must show, by route, taps behind the others.
fn upgrade_rules(config: &Config) -> Vec<UpgradeRules> {
    let rules = |route: &Route, secret: Option<Secret>| UpgradeRules {
        origin: route.origin().clone(),
        secret,
    };
    let own = config.routes.iter().map(|route| rules(route, None));
    let taps = config
        .routes
        .iter()
        .filter(|route| route.tap_path.is_some());
    own.chain(taps.map(|route| rules(route, route.tap_secret.clone())))
        .collect()
}

/// Every path that is served, in the order of the config.
fn served_paths(config: &Config) -> Vec<ServedPath> {
    let mut paths = Vec::new();
    let mut next_tap = config.routes.len();
    for (route, index) in config.routes.iter().zip(0..) {
        let auth = || route.push_auth.clone();
        let mut serve = |path: &Option<String>, what: Served| {
            if let Some(path) = path.clone() {
                paths.push(ServedPath { path, what });
            }
        };
        serve(&Some(route.path.clone()), Served::WebSocket(index));
        serve(&route.push_path, Served::Push(index, auth()));
        serve(&route.drop_path, Served::Drop(index, auth()));
        let page = playground::page(route.dialect, &route.path);
        serve(&route.playground_path, Served::Page(page));
        if route.tap_path.is_some() {
            let tap = u16::try_from(next_tap).expect("few routes");
            serve(&route.tap_path, Served::WebSocket(tap));
            next_tap += 1;
        }
    }
    paths
}

/// The bounds of a shard's host.
fn host_limits(config: &Config) -> HostLimits {
    HostLimits {
        http_connections_max: config.http.http_connections_max as usize,
        http_in_bytes_max: config.http.http_in_bytes_max as usize,
        http_out_bytes_max: config.http.http_out_bytes_max as usize,
        body_bytes_max: config.http.body_bytes_max as usize,
        pushes_in_flight_max: config.limits.pushes_in_flight_max as usize,
        push_timeout: Ticks::from_ms(config.http.push_timeout_ms),
    }
}

/// What all shards of a gateway have in common, for a simulation that plays the driver.
#[derive(Debug)]
pub struct Simulation {
    builder: Builder,
    settings: HostSettings,
    core: Arc<HandleCore>,
}

impl Simulation {
    /// Gateways as `builder` describes them, on the shards of `exchange`.
    ///
    /// # Errors
    ///
    /// If the config breaks a rule, or names a file that cannot be read.
    pub fn new(builder: Builder, exchange: &Arc<Exchange>) -> Result<Self, Error> {
        builder.config.validate().map_err(Error::Config)?;
        let settings = host_settings(&builder.config, builder.embedder.token.is_some())?;
        let core = handle_core(&builder.config, &settings, exchange);
        Ok(Self {
            builder,
            settings,
            core,
        })
    }

    /// One shard's host. What the embedder has set up runs as tasks of the `LocalSet` that is
    /// entered.
    ///
    /// # Errors
    ///
    /// If what the embedder sets up cannot be.
    pub fn host(&self, id: ShardId, seeds: Seeds) -> Result<Host, Error> {
        let parts = HostParts {
            id,
            core: Arc::clone(&self.core),
            embedder: Arc::clone(&self.builder.embedder),
            seeds,
            settings: self.settings.clone(),
        };
        let watch = start::watch_of_nobody(&self.builder.config);
        start::make_host(parts, &self.builder.setups, watch).map_err(Error::Setup)
    }

    /// The gateway, from no shard.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::outside(&self.core)
    }
}

/// What all handles of a gateway share.
fn handle_core(
    config: &Config,
    settings: &HostSettings,
    exchange: &Arc<Exchange>,
) -> Arc<HandleCore> {
    let routes = config.routes.iter().zip(&settings.shard.routes);
    let routes = routes.map(|(route, settings)| RouteInfo {
        path: route.path.clone(),
        name: route.name().to_owned(),
        namespace: settings.namespace,
        dialect: settings.dialect,
        sessions: AtomicU64::new(0),
    });
    Arc::new(HandleCore {
        exchange: Arc::clone(exchange),
        ids: settings.shard.ids.clone(),
        routes: routes.collect(),
        names_bytes_max: settings.shard.name_bytes_max,
        next_home: AtomicUsize::new(0),
    })
}

fn turn_limits(config: &Config, sessions_max: usize) -> TurnLimits {
    TurnLimits {
        looks_per_turn_max: config.limits.looks_per_turn_max,
        sends_per_enter_max: config.limits.sends_per_enter_max,
        sends_per_turn_max: config.limits.sends_per_turn_max,
        sessions_max,
    }
}

/// What is granted to the destructors of what embedders keep, when no grace is.
const LEAVING: Duration = Duration::from_millis(500);
/// The longest that anybody waits.
const FOREVER: Duration = Duration::from_secs(1 << 32);
