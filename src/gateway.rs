//! The embedder's handle: build a gateway, start it, stop it.

use crate::config::{Config, ConfigError, DialectName, Route};
use crate::dialect;
use crate::driver::TurnLimits;
use crate::driver::host::{Host, HostLimits, HostSettings, Served, ServedPath};
use crate::driver::mailbox::Exchange;
use crate::driver::start::{self, Common};
use crate::driver::start_error::StartError;
use crate::driver::stop::StopFlag;
use crate::embedder::{Embedder, Fault, PushRequest};
use crate::id::ShardId;
use crate::metrics::Counters;
use crate::shard::hash::HashSeed;
use crate::shard::settings::{EncodingId, RouteSettings, ShardSettings, TokenRule};
use crate::time::Ticks;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A running gateway.
///
/// Dropping it leaves it running; call [`Gateway::stop`].
#[derive(Debug)]
pub struct Gateway {
    address: SocketAddr,
    exchange: Arc<Exchange>,
    stop: Arc<StopFlag>,
    threads: Vec<JoinHandle<Counters>>,
}

/// A gateway that has not started: its config and the functions of the embedding program.
#[derive(Debug)]
#[must_use = "a gateway serves once it is started"]
pub struct Builder {
    config: Config,
    embedder: Embedder,
}

/// Why a gateway did not start.
#[derive(Debug)]
pub enum Error {
    /// The config is not valid.
    Config(ConfigError),
    /// The machine does not give what is needed.
    Start(StartError),
}

impl Gateway {
    /// Prepares a gateway that runs with `config`.
    pub fn builder(config: Config) -> Builder {
        Builder {
            config,
            embedder: Embedder::default(),
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

    /// Stops: accepts no more, closes every session with 1001, and waits for them to end, at most
    /// as long as `grace`. Returns what all shards have counted.
    ///
    /// # Panics
    ///
    /// If a shard has panicked, which ends the process before.
    #[must_use = "what was counted is gone then"]
    pub fn stop(self, grace: Duration) -> Counters {
        self.stop.set(grace);
        self.exchange.wake_all();
        let mut all = Counters::default();
        for thread in self.threads {
            all.add(&thread.join().expect("a shard that panics ends the process"));
        }
        all
    }
}

impl Builder {
    /// Finds the user that a token in a register message names, in place of the config's rule.
    ///
    /// The function runs on the shard's thread and holds it up: it must not block. If it panics,
    /// the token names nobody.
    pub fn authenticate_token(
        mut self,
        function: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.embedder.token = Some(Box::new(function));
        self
    }

    /// Decides who may push and drop, in place of the config's rule.
    ///
    /// The function runs on the shard's thread and holds it up: it must not block. If it panics,
    /// the request is answered with 500.
    pub fn authorize_push(
        mut self,
        function: impl Fn(&PushRequest<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.embedder.push = Some(Box::new(function));
        self
    }

    /// Called on a shard's thread when it has been idle for a second after it gave up memory: the
    /// moment to have an allocator return what it kept. The library never chooses the allocator.
    pub fn on_idle(mut self, function: impl Fn() + Send + Sync + 'static) -> Self {
        self.embedder.idle = Some(Box::new(function));
        self
    }

    /// Makes a shard panic in one place, so that a test can see the process end.
    #[doc(hidden)]
    pub fn provoke_panic(mut self, place: Fault) -> Self {
        self.embedder.fault = Some(place);
        self
    }

    /// Starts the shards, and returns when all of them accept connections.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the config breaks a rule; [`Error::Start`] if the machine does not give
    /// what is needed: the port, `io_uring`, lockable memory, open files.
    pub fn start(self) -> Result<Gateway, Error> {
        let Self { config, embedder } = self;
        config.validate().map_err(Error::Config)?;
        let prepared = start::prepare(&config).map_err(Error::Start)?;
        let stop = Arc::new(StopFlag::default());
        let common = Common {
            host: host_settings(&config, embedder.token.is_some()),
            turn_limits: turn_limits(&config, prepared.sessions_max),
            embedder: Arc::new(embedder),
            exchange: Arc::clone(&prepared.exchange),
            stop: Arc::clone(&stop),
        };
        let address = prepared.address;
        let exchange = Arc::clone(&prepared.exchange);
        let threads = prepared.start(&common).map_err(Error::Start)?;
        Ok(Gateway {
            address,
            exchange,
            stop,
            threads,
        })
    }
}

fn host_settings(config: &Config, ask_for_users: bool) -> HostSettings {
    HostSettings {
        shard: Arc::new(shard_settings(config, ask_for_users)),
        paths: served_paths(config).into(),
        limits: host_limits(config),
    }
}

/// The part of a config that shards need, in their units.
pub fn shard_settings(config: &Config, ask_for_users: bool) -> ShardSettings {
    let limits = &config.limits;
    ShardSettings {
        routes: config
            .routes
            .iter()
            .zip(0..)
            .map(|(route, namespace)| route_settings(route, namespace, ask_for_users))
            .collect(),
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
    }
}

fn route_settings(route: &Route, namespace: u16, ask_for_users: bool) -> RouteSettings {
    let name = match route.dialect {
        DialectName::Wserver => "wserver",
        DialectName::Echo => "echo",
    };
    let encoding = dialect::ALL
        .iter()
        .zip(0..)
        .find(|(dialect, _)| dialect.name() == name);
    let (&dialect, encoding) = encoding.expect("every dialect of the config is built in");
    let tokens = match &route.tokens {
        _ if ask_for_users => TokenRule::Ask,
        None => TokenRule::Itself,
        Some(tokens) => TokenRule::Table(
            tokens
                .iter()
                .map(|(token, user)| (token.into(), user.into()))
                .collect(),
        ),
    };
    let optional = |ms: u32| (ms > 0).then(|| Ticks::from_ms(ms));
    RouteSettings {
        dialect,
        encoding: EncodingId(encoding),
        namespace,
        tokens,
        message_bytes_max: route.limits.message_bytes_max as usize,
        outbox_bytes_max: route.limits.outbox_bytes_max,
        ping_interval: optional(route.limits.ping_interval_ms),
        idle_timeout: optional(route.limits.idle_timeout_ms),
        registration_timeout: optional(route.limits.registration_timeout_ms),
    }
}

/// Every path that is served, in the order of the config.
fn served_paths(config: &Config) -> Vec<ServedPath> {
    let mut paths = Vec::new();
    for (route, index) in config.routes.iter().zip(0..) {
        let auth = || route.push_auth.clone();
        paths.push(ServedPath {
            path: route.path.clone(),
            what: Served::WebSocket(index),
        });
        if let Some(path) = &route.push_path {
            paths.push(ServedPath {
                path: path.clone(),
                what: Served::Push(index, auth()),
            });
        }
        if let Some(path) = &route.drop_path {
            paths.push(ServedPath {
                path: path.clone(),
                what: Served::Drop(index, auth()),
            });
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

/// One shard's host as a gateway with this config has it, for a simulation that plays the driver.
#[must_use]
pub fn simulated_host(
    config: &Config,
    id: ShardId,
    exchange: &Arc<Exchange>,
    seed: [u64; 2],
) -> Host {
    let settings = host_settings(config, false);
    Host::new(
        id,
        exchange,
        Arc::new(Embedder::default()),
        HashSeed(seed),
        settings,
    )
}

fn turn_limits(config: &Config, sessions_max: usize) -> TurnLimits {
    TurnLimits {
        looks_per_turn_max: config.limits.looks_per_turn_max,
        sends_per_enter_max: config.limits.sends_per_enter_max,
        sends_per_turn_max: config.limits.sends_per_turn_max,
        sessions_max,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Start(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}
