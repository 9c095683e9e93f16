//! The embedder's API to build, start and stop a gateway.

mod error;
mod route_builder;
mod settings;
mod summary;

pub use self::error::Error;
pub use self::route_builder::RouteBuilder;
pub use self::settings::shard_settings;
use self::settings::{handle_core, host_settings, stop_plan, turn_limits};
use self::summary::Summary;
pub use crate::auth::{KeyFiles, KeysReloaded};
use crate::builtin::{self, Builtin};
use crate::config::{Config, MemoryBound};
use crate::driver::IdleFunction;
use crate::driver::machine;
pub use crate::driver::probe::ShardCount;
use crate::driver::stage::StageFactory;
use crate::driver::start_error::StartError;
use crate::driver::stop::{Ending, StopFlag, StopPlan};
use crate::driver::threads::{self, Common};
use crate::driver::watchdog::{self, Watchdog};
use crate::handler::{Handle, HandleCore, RequestHead, RouteHandle, Setup, SetupFn, Setups};
use crate::hooks::Backends;
use crate::host::{Host, HostParts, HostSettings, Seeds};
use crate::logging;
use crate::mailbox::Exchange;
#[doc(hidden)]
pub use crate::runtime::fault::Fault;
use crate::runtime::panic::DropGuarded;
use crate::runtime::{entropy, wall_clock};
use crate::shard::home::HomeKey;
use crate::vocabulary::id::ShardId;
use crate::vocabulary::limits::ProcessLimits;
use crate::vocabulary::metrics::Counters;
use crate::vocabulary::public_id::IdCipher;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running gateway.
///
/// Dropping it leaves the gateway running; call [`Gateway::stop`].
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    exchange: Arc<Exchange>,
    shards: ShardCount,
    stop: Arc<StopFlag>,
    stop_plan: StopPlan,
    threads: Vec<JoinHandle<()>>,
    core: Arc<HandleCore>,
    watchdog: Option<Watchdog>,
    summary: Option<Summary>,
    backends: Arc<Backends>,
    limits: ProcessLimits,
    key_files: KeyFiles,
}

/// A gateway that has not started: its config and the embedder's functions.
#[must_use = "a gateway serves once it is started"]
pub struct Builder {
    config: Config,
    /// The embedder's setups, in order.
    setups: Vec<SetupFn>,
    /// Defaults for routes without a setting of their own. Of one kind the last one applies.
    defaults: Vec<SetupFn>,
    on_idle: Option<Arc<IdleFunction>>,
    fault: Option<Fault>,
    stage: Option<StageFactory>,
}

impl Gateway {
    /// Returns a builder for a gateway with this config.
    pub fn builder(config: Config) -> Builder {
        Builder {
            config,
            setups: Vec::new(),
            defaults: Vec::new(),
            on_idle: None,
            fault: None,
            stage: None,
        }
    }

    /// Returns the first address that the gateway listens on, with the actual port if the config
    /// leaves it to the kernel.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Returns all addresses that the gateway listens on. `localhost` may stand for two. The first
    /// is [`Gateway::local_addr`].
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Returns a report on each backend of the hooks, as in `/health`: name, state, counts, last
    /// error.
    #[must_use]
    pub fn backend_reports(&self) -> Vec<serde_json::Value> {
        self.backends.report()
    }

    /// Returns the limits in force for the process.
    #[must_use]
    pub fn limits(&self) -> ProcessLimits {
        self.limits
    }

    /// Returns the number of shards.
    #[must_use]
    pub fn shards_count(&self) -> usize {
        self.threads.len()
    }

    /// Returns the config's key files, which can be reloaded while the gateway runs.
    #[must_use]
    pub fn key_files(&self) -> KeyFiles {
        self.key_files.clone()
    }

    /// Returns the number of shards, and whether a CPU quota reduced it.
    #[must_use]
    pub fn shard_count(&self) -> ShardCount {
        self.shards
    }

    /// Returns a handle to publish, join, close and list, from any thread.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::outside(&self.core)
    }

    /// Returns the route with this path; `None` if the config has none.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<RouteHandle> {
        self.handle().route(path)
    }

    /// Stops the gateway and returns the counters of all shards.
    ///
    /// First, for the config's `drain_delay_ms`, only `/health` changes: it responds 503. Then the
    /// gateway accepts no more connections, finishes accepted work, and rejects new work with 503
    /// or [`HandleError::Stopping`](crate::handler::HandleError). It closes all sessions with 1001
    /// at the pace of `drain_ms`, and waits for them and for the embedder's tasks. After `grace` it
    /// aborts what is left.
    ///
    /// A handler that blocks its shard makes this take longer. Other blocking work that is not done
    /// by then is abandoned.
    ///
    /// # Panics
    ///
    /// If a shard has panicked, which aborts the process first.
    #[must_use = "what was counted is gone then"]
    #[expect(
        clippy::disallowed_methods,
        reason = "it waits on a thread of the embedder's, which may block"
    )]
    pub fn stop(self, grace: Duration) -> Counters {
        let plan = StopPlan {
            grace: grace.min(GRACE_MAX),
            ..self.stop_plan
        };
        let until = Instant::now() + plan.delay + plan.grace.max(DESTRUCTORS_TIME_MIN);
        let (sender, endings) = channel();
        self.stop.set_and_report(plan, sender);
        self.exchange.wake_all();
        let mut all = Counters::default();
        let (mut running, mut alive) = (self.threads.len(), self.threads.len());
        while alive > 0 {
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
                Ok(Ending::Gone) => alive -= 1,
                Err(_) => break,
            }
        }
        drop(self.watchdog);
        self.backends.log_lost();
        drop(self.summary);
        logging::report_left_out();
        all
    }
}

impl Builder {
    /// Adds a setup. The closure runs once on each shard's thread, inside its runtime, before the
    /// first connection is accepted, so that it may create `!Send` values. May be called several
    /// times.
    pub fn shard(mut self, set_up: impl Fn(&mut Setup) + Send + Sync + 'static) -> Self {
        let set_up = DropGuarded::new(set_up);
        self.setups.push(Arc::new(move |setup| set_up(setup)));
        self
    }

    /// Starts the setup of the route with this path. Each shard gets a clone of its functions.
    pub fn route(self, path: &str) -> RouteBuilder {
        RouteBuilder::new(self, path)
    }

    /// Records that a function authorizes pushes on the route with this path.
    pub(crate) fn authorizes_pushes_of(&mut self, path: &str) {
        let mut routes = self.config.routes.iter_mut();
        if let Some(route) = routes.find(|it| it.path == path) {
            route.push_authorized_by_code = true;
        }
    }

    /// Sets the function that maps the token of a register message to a user, on every `wserver`
    /// route, in place of the config's rule. It returns `None` if the token names no user. For one
    /// route, or to wait, see [`RouteBuilder::authenticate`].
    ///
    /// The function runs on the shard's thread and must not block. A panic counts as `None`.
    pub fn authenticate_token(
        mut self,
        function: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let function = Arc::new(DropGuarded::new(function));
        self.defaults.push(Arc::new(move |setup| {
            setup.authenticate_messages_by_default(&function);
        }));
        self
    }

    /// Sets the function that authorizes push and drop requests on every route, in place of the
    /// config's rule.
    ///
    /// The function runs on the shard's thread and must not block. If it panics, the response is
    /// 500.
    pub fn authorize_push(
        mut self,
        function: impl Fn(&RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        for route in &mut self.config.routes {
            route.push_authorized_by_code = true;
        }
        let function = Arc::new(DropGuarded::new(function));
        self.defaults.push(Arc::new(move |setup| {
            setup.authorize_pushes_by_default(&function);
        }));
        self
    }

    /// Serves a test page for a route at `path`: connect, send, close. A route that the config does
    /// not have is an error at the start.
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

    /// Returns the setups of a shard: those of the config, then the embedder's, then the defaults.
    fn all_setups(&self, builtin: Builtin) -> Setups {
        let configured = builtin::is_needed(&self.config)
            .then(|| -> SetupFn { Arc::new(move |setup| builtin.set_up(setup)) });
        let embedder = self
            .setups
            .iter()
            .chain(self.defaults.iter().rev())
            .cloned();
        configured.into_iter().chain(embedder).collect()
    }

    /// Sets a function that a shard's thread calls after one idle second, if it freed memory
    /// before: the time to make an allocator return memory. The library itself does not choose the
    /// allocator.
    pub fn on_idle(mut self, function: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_idle = Some(Arc::new(DropGuarded::new(Box::new(function))));
        self
    }

    /// Injects a panic at one place, for tests of the process's end.
    #[doc(hidden)]
    pub fn provoke_panic(mut self, place: Fault) -> Self {
        self.fault = Some(place);
        self
    }

    /// Puts a stage between the sockets and the gateway, for tests of the driver.
    #[doc(hidden)]
    pub fn stage(mut self, stage: StageFactory) -> Self {
        self.stage = Some(stage);
        self
    }

    /// Starts the shards, and returns when all of them accept connections.
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] if the config is invalid.
    /// - [`Error::Descriptor`], [`Error::Keys`] or [`Error::Backend`] if a file or a backend that
    ///   it names cannot be used.
    /// - [`Error::Setup`] if a setup fails or panics.
    /// - [`Error::Start`] if the machine lacks the port, `io_uring`, lockable memory, open files or
    ///   threads.
    pub fn start(self) -> Result<Gateway, Error> {
        self.config.validate().map_err(Error::Config)?;
        let builtin = Builtin::open(&self.config)?;
        let backends = Arc::clone(builtin.backends());
        let key_files = builtin.key_files();
        let setups = self.all_setups(builtin);
        let is_embedded = !(self.setups.is_empty() && self.defaults.is_empty());
        let Self {
            config,
            on_idle,
            fault,
            stage,
            ..
        } = self;
        let mut host = host_settings(&config)?;
        let prepared = threads::prepare(&config).map_err(Error::Start)?;
        let limits = prepared.limits;
        init_host_settings(&mut host, &backends, limits)?;
        let stop = Arc::new(StopFlag::new(prepared.exchange.shards()));
        let stop_plan = stop_plan(&config);
        let core = handle_core(&config, &host, &prepared.exchange);
        let watchdog = Watchdog::new(&config, prepared.exchange.shards());
        let common = Common {
            host,
            turn_limits: turn_limits(&config, limits.sessions_max),
            on_idle,
            fault,
            stage,
            setups,
            core: Arc::clone(&core),
            watch: watchdog.shared(),
            exchange: Arc::clone(&prepared.exchange),
            stop: Arc::clone(&stop),
        };
        let addresses = prepared.addresses.clone();
        let exchange = Arc::clone(&prepared.exchange);
        let shards = prepared.shards;
        let threads = prepared.start(&common)?;
        // Only an embedder's code can block a shard.
        let watchdog = if is_embedded {
            Some(watchdog.start().map_err(Error::Start)?)
        } else {
            None
        };
        log_warnings(&config);
        logging::set_lines_per_place_max(config.logging.lines_per_place_max);
        let failures = Arc::clone(&backends);
        let summary = Summary::start(
            config.logging.summary_interval_ms,
            Arc::clone(&core),
            Box::new(move || failures.failures()),
        );
        Ok(Gateway {
            addresses,
            exchange,
            shards,
            stop,
            stop_plan,
            threads,
            core,
            watchdog,
            summary: summary.map_err(Error::Start)?,
            backends,
            limits,
            key_files,
        })
    }
}

/// Sets what is not in the config: keys, the start time and the backends' reports.
fn init_host_settings(
    host: &mut HostSettings,
    backends: &Arc<Backends>,
    limits: ProcessLimits,
) -> Result<(), Error> {
    let shard = Arc::get_mut(&mut host.shard).expect("made a moment ago");
    let keys = random_keys()?;
    shard.ids = IdCipher::new(keys[0]);
    shard.home_key = HomeKey(keys[1]);
    shard.started_unix_ms = wall_clock::unix_ms();
    let api = Arc::get_mut(&mut host.api).expect("made a moment ago");
    let backends = Arc::clone(backends);
    let [key, _] = random_keys()?;
    api.init(key, Arc::new(move || backends.report()), limits);
    Ok(())
}

/// Returns two random keys.
fn random_keys() -> Result<[[u64; 2]; 2], Error> {
    entropy::random_keys().map_err(|error| Error::Start(StartError::Thread(error)))
}

fn log_warnings(config: &Config) {
    for warning in config.warnings() {
        tracing::warn!(warning, "the config is valid but has a problem");
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("setups", &(self.setups.len() + self.defaults.len()))
            .finish_non_exhaustive()
    }
}

/// Reads the files that a valid config names, as a start does: keys, certificates and descriptors.
///
/// Returns an error for each that cannot be used.
#[must_use]
pub fn check_files(config: &Config) -> Vec<Error> {
    let routes = config.routes.iter().flat_map(|route| {
        let keys = Builtin::check_route(route, config).map_err(Error::from);
        [keys.err(), settings::schema_of(route).err()]
    });
    let backends = config.backends.iter();
    let backends = backends.map(|it| Builtin::check_backend(it).map_err(Error::from).err());
    routes.chain(backends).flatten().collect()
}

/// Returns the most memory that a gateway with this config may use on this machine.
#[must_use]
pub fn memory_bound(config: &Config) -> MemoryBound {
    MemoryBound::of(config, machine::machine(config))
}

/// The shared parts of a gateway without threads, for a simulator that takes the driver's place.
pub struct Simulation {
    builder: Builder,
    setups: Setups,
    settings: HostSettings,
    core: Arc<HandleCore>,
}

impl Simulation {
    /// Creates the shared parts of the gateway that `builder` describes, on the shards of
    /// `exchange`.
    ///
    /// # Errors
    ///
    /// As [`Builder::start`], without [`Error::Setup`] and [`Error::Start`].
    pub fn new(builder: Builder, exchange: &Arc<Exchange>) -> Result<Self, Error> {
        builder.config.validate().map_err(Error::Config)?;
        let builtin = Builtin::open(&builder.config)?;
        let settings = host_settings(&builder.config)?;
        let core = handle_core(&builder.config, &settings, exchange);
        let setups = builder.all_setups(builtin);
        Ok(Self {
            builder,
            setups,
            settings,
            core,
        })
    }

    /// Creates the host of one shard. The embedder's setup runs in the current `LocalSet`.
    ///
    /// # Errors
    ///
    /// [`Error::Setup`] if a setup fails or panics.
    pub fn host(&self, id: ShardId, seeds: Seeds) -> Result<Host, Error> {
        let parts = HostParts {
            id,
            core: Arc::clone(&self.core),
            fault: self.builder.fault,
            seeds,
            settings: self.settings.clone(),
        };
        let watch = watchdog::detached_watch(&self.builder.config);
        Host::build(parts, &self.setups, watch).map_err(Error::Setup)
    }

    /// Returns a handle that belongs to no shard.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::outside(&self.core)
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.builder.fmt(f)
    }
}

/// Least time that embedders' destructors get, even if `grace` is shorter.
const DESTRUCTORS_TIME_MIN: Duration = Duration::from_millis(500);
/// Upper limit of `grace`.
const GRACE_MAX: Duration = Duration::from_secs(1 << 32);

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    /// A function that authorizes pushes takes the place of a secret where other machines can
    /// connect.
    #[test]
    fn a_builder_knows_where_code_authorizes_pushes() {
        let mut config = Config {
            listen: (Ipv4Addr::UNSPECIFIED, 80).into(),
            ..Config::default()
        };
        config.routes.retain(|route| route.push_path.is_some());
        let validated = |builder: Builder| builder.config.validate();
        assert!(validated(Gateway::builder(config.clone())).is_err());
        let everywhere = Gateway::builder(config.clone()).authorize_push(|_| true);
        assert_eq!(validated(everywhere), Ok(()));
        let route = Gateway::builder(config.clone()).route("/ws");
        let route = route.authorize_push(|_| true).done();
        assert_eq!(validated(route), Ok(()));
        let other = Gateway::builder(config).route("/other");
        assert!(validated(other.authorize_push(|_| true).done()).is_err());
    }
}
