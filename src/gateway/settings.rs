//! Conversion of a config to the settings of shards, hosts and handles, in their units.

use super::Error;
use crate::api::{self, Api};
use crate::auth::Keyless;
use crate::builtin;
use crate::codec::protobuf;
use crate::config::{Config, PushFrame, Route, Schema, Sender};
use crate::dialect::{self, Dialect, Options};
use crate::driver::TurnLimits;
use crate::driver::stop::StopPlan;
use crate::handler::{CommandQueues, HandleCore, RouteInfo};
use crate::host::{HostLimits, HostSettings};
use crate::http::{Served, ServedPath, TapRule, UpgradeRules, playground};
use crate::mailbox::Exchange;
use crate::shard::home::HomeKey;
use crate::shard::settings::{
    NamespaceSettings, RouteFormat, RouteSettings, ShardSettings, TokenRule,
};
use crate::vocabulary::channel_pattern::ChannelPattern;
use crate::vocabulary::public_id::IdCipher;
use crate::vocabulary::time::Ticks;
use crate::ws::MessageType;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

/// Converts a config to the settings of hosts, and reads the files that it names.
pub(super) fn host_settings(config: &Config) -> Result<HostSettings, Error> {
    let mut shard = shard_settings(config);
    for (route, settings) in config.routes.iter().zip(&mut shard.routes) {
        let schema = schema_of(route)?;
        for format in &mut settings.formats {
            format.options.schema = schema.clone();
        }
    }
    shard.intern_encodings();
    Ok(HostSettings {
        shard: Arc::new(shard),
        paths: served_paths(config).into(),
        upgrades: upgrade_rules(config).into(),
        keyless: Keyless::of(config),
        limits: host_limits(config),
        api: Arc::new(Api::new(config)),
    })
}

/// Converts a config to the settings of a shard. Schemas in files are left out.
pub fn shard_settings(config: &Config) -> ShardSettings {
    let limits = &config.limits;
    let namespaces = config.namespaces();
    let count = namespaces.iter().map(|&index| usize::from(index) + 1).max();
    let with_namespaces = || config.routes.iter().zip(&namespaces);
    let mut routes: Vec<RouteSettings> = with_namespaces()
        .map(|(route, &namespace)| route_settings(route, namespace))
        .collect();
    let taps = with_namespaces().filter(|(route, _)| route.tap_path.is_some());
    routes.extend(taps.map(|(route, &namespace)| tap_settings(route, namespace)));
    let mut settings = ShardSettings {
        routes,
        encodings: Vec::new(),
        namespaces: vec![NamespaceSettings::default(); count.unwrap_or(0)],
        classes: Arc::default(),
        ids: IdCipher::new([0; 2]),
        home_key: HomeKey([0; 2]),
        started_unix_ms: 0,
        handshake_timeout: Ticks::from_ms(config.heartbeat.handshake_timeout_ms),
        body_timeout: Ticks::from_ms(config.http.body_timeout_ms),
        send_timeout: Ticks::from_ms(config.http.send_timeout_ms),
        keep_alive_timeout: Ticks::from_ms(config.http.keep_alive_timeout_ms),
        message_timeout: optional(config.heartbeat.message_timeout_ms),
        close_grace: Ticks::from_ms(config.heartbeat.close_grace_ms),
        partial_bytes_max: usize::try_from(limits.partial_bytes_max).unwrap_or(usize::MAX),
        publication_bytes_max: usize::try_from(limits.publication_bytes_max).unwrap_or(usize::MAX),
        batch_bytes_max: limits.batch_bytes_max as usize,
        gather_bytes_max: limits.gather_bytes_max,
        name_bytes_max: limits.name_bytes_max as usize,
        token_bytes_max: limits.token_bytes_max as usize,
        names_bytes_per_session_max: limits.names_bytes_per_session_max as usize,
        names_bytes_max: usize::try_from(limits.names_bytes_max).unwrap_or(usize::MAX),
        users_per_session_max: limits.users_per_session_max,
        channels_per_session_max: limits.channels_per_session_max,
        claims_waiting_max: limits.claims_waiting_max,
    };
    settings.intern_encodings();
    settings
}

fn route_settings(route: &Route, namespace: u16) -> RouteSettings {
    let dialect = route.dialect;
    let spec = dialect.route_spec();
    let tokens = match &route.tokens {
        None => TokenRule::UserName,
        Some(tokens) => {
            let pairs = tokens.iter();
            let table = pairs.map(|(token, user)| (token.into(), user.into()));
            TokenRule::Table(Arc::new(table.collect()))
        }
    };
    let is_concurrent = dialect.spec().concurrent;
    RouteSettings {
        dialect,
        formats: formats_of(dialect, route),
        namespace,
        tokens,
        exclusive: spec.exclusive_users,
        newcomer_yields: route.kick_out_new_user_conn,
        joins_on_open: route
            .join_on_open
            .iter()
            .filter_map(|name| ChannelPattern::parse(name).ok())
            .collect(),
        handles_calls: false,
        observes_ends: false,
        named_by_user: route.from == Sender::User,
        is_tap: false,
        calls_in_flight_max: if is_concurrent {
            u16::try_from(route.limits.requests_in_flight_max).expect("bounded by its range")
        } else {
            1
        },
        message_bytes_max: route.limits.message_bytes_max as usize,
        outbox_bytes_max: route.limits.outbox_bytes_max,
        ping_interval: optional(route.limits.ping_interval_ms),
        idle_timeout: optional(route.limits.idle_timeout_ms),
        idle_timeout_ms: route.limits.idle_timeout_ms,
        registration_timeout: optional(route.limits.registration_timeout_ms),
    }
}

/// Returns the formats of a route's sessions in a dialect: the route's own, or that of its tap.
fn formats_of(dialect: &dyn Dialect, route: &Route) -> Box<[RouteFormat]> {
    let formats = 0..dialect.formats();
    let options = formats.map(|format| Options {
        format,
        push_kind: match route.push_frame {
            PushFrame::Binary => MessageType::Binary,
            PushFrame::Text => MessageType::Text,
        },
        schema: dialect::Schema::Opaque,
        lenient: route.lenient,
    });
    options.map(RouteFormat::new).collect()
}

/// Converts a time in milliseconds; `None` for 0, which turns it off.
fn optional(ms: u32) -> Option<Ticks> {
    (ms > 0).then(|| Ticks::from_ms(ms))
}

/// Returns the settings of a route's tap.
fn tap_settings(route: &Route, namespace: u16) -> RouteSettings {
    let tap = route.dialect.route_spec().tap;
    let dialect = tap.expect("only routes that have a tap have its path");
    RouteSettings {
        dialect,
        formats: formats_of(dialect, route),
        exclusive: false,
        joins_on_open: Box::default(),
        is_tap: true,
        registration_timeout: None,
        ..route_settings(route, namespace)
    }
}

/// Returns the schema of a route's messages, read from its file if it has one.
pub(super) fn schema_of(route: &Route) -> Result<dialect::Schema, Error> {
    match route.schema {
        Schema::Opaque => Ok(dialect::Schema::Opaque),
        Schema::Builtin => Ok(dialect::Schema::Builtin),
        Schema::Descriptor => {
            let keys = (&route.descriptor_set, &route.message);
            let (Some(file), Some(message)) = keys else {
                unreachable!("a valid route has both beside this schema");
            };
            let problem = |problem: String| Error::Descriptor {
                path: route.path.clone(),
                file: file.clone(),
                problem,
            };
            let bytes = std::fs::read(file).map_err(|error| problem(error.to_string()))?;
            let schema = protobuf::Schema::from_descriptor_set(
                &bytes,
                message,
                route.command_field.as_deref(),
            );
            let schema = schema.map_err(|error| problem(error.to_string()))?;
            Ok(dialect::Schema::Descriptor(Arc::new(schema)))
        }
    }
}

/// Returns the upgrade rules by route, with those of taps at the end.
fn upgrade_rules(config: &Config) -> Vec<UpgradeRules> {
    let rules = |route: &Route, tap| UpgradeRules {
        origin: route.origin().clone(),
        tap,
        user_header: Keyless::of_user_header(config, route),
        subprotocols: route
            .subprotocols
            .iter()
            .map(|it| it.as_str().into())
            .collect(),
    };
    let own = config.routes.iter().map(|route| rules(route, None));
    let taps = config.routes.iter().filter(|it| it.tap_path.is_some());
    let taps = taps.map(|route| {
        let tap = match &route.tap_secret {
            Some(secret) => TapRule::Secret(secret.clone()),
            None => TapRule::Keyless(Keyless::of(config)),
        };
        rules(route, Some(tap))
    });
    own.chain(taps).collect()
}

/// Returns all served paths, in the order of the config.
fn served_paths(config: &Config) -> Vec<ServedPath> {
    let mut paths = Vec::new();
    let mut next_tap = config.routes.len();
    for (route, index) in config.routes.iter().zip(0..) {
        let auth = || route.push_auth();
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
    if let Some(path) = config.health_path.clone() {
        let what = Served::Health;
        paths.push(ServedPath { path, what });
    }
    if config.serves_api() {
        let (path, what) = (api::ROOT.to_owned(), Served::Api);
        paths.push(ServedPath { path, what });
    }
    paths
}

/// Returns the limits of a host.
fn host_limits(config: &Config) -> HostLimits {
    HostLimits {
        http_connections_max: config.http.http_connections_max as usize,
        http_in_bytes_max: config.http.http_in_bytes_max as usize,
        http_out_bytes_max: config.http.http_out_bytes_max as usize,
        held_bytes_per_session_max: config.limits.held_bytes_per_session_max as usize,
        http_unread_bytes_max: config.http.http_unread_bytes_max as usize,
        body_bytes_max: config.http.body_bytes_max as usize,
        pushes_in_flight_max: config.limits.pushes_in_flight_max as usize,
        push_timeout: Ticks::from_ms(config.http.push_timeout_ms),
    }
}

/// Creates the state that all handles of a gateway share.
pub(super) fn handle_core(
    config: &Config,
    settings: &HostSettings,
    exchange: &Arc<Exchange>,
) -> Arc<HandleCore> {
    let routes = config.routes.iter().zip(&settings.shard.routes);
    let dialects = |namespace| {
        let of_namespace = routes
            .clone()
            .filter(move |(_, it)| it.namespace == namespace);
        let by_name = of_namespace.map(|(_, it)| (it.dialect.name(), it.dialect));
        by_name.collect::<BTreeMap<_, _>>().into_values().collect()
    };
    let routes = routes.clone().map(|(route, settings)| RouteInfo {
        path: route.path.clone(),
        name: route.name().to_owned(),
        namespace: settings.namespace,
        dialect: settings.dialect,
        tokens: settings.tokens.clone(),
        dialects: dialects(settings.namespace),
        sessions: AtomicU64::new(0),
    });
    Arc::new(HandleCore {
        exchange: Arc::clone(exchange),
        commands: CommandQueues::new(exchange, config.limits.commands_max as usize),
        ids: settings.shard.ids.clone(),
        routes: routes.collect(),
        name_bytes_max: settings.shard.name_bytes_max,
        user_bytes_max: config.limits.user_bytes_max() as usize,
        declared: declared_channels(config),
        next_home: AtomicUsize::new(0),
    })
}

/// Returns the channels that exist without members, with their namespaces.
fn declared_channels(config: &Config) -> Box<[(Box<str>, u16)]> {
    let namespaces = config.namespaces();
    let declared = builtin::declared_channels(config);
    let declared = declared.map(|(route, name)| (name.into(), namespaces[route]));
    declared.collect()
}

/// Returns the timing of a stop. [`Gateway::stop`](super::Gateway::stop) replaces the grace.
pub(super) fn stop_plan(config: &Config) -> StopPlan {
    let ms = |ms: u32| Duration::from_millis(ms.into());
    StopPlan {
        delay: ms(config.drain_delay_ms),
        grace: ms(config.shutdown_grace_ms),
        drain: ms(config.drain_ms),
        close_grace: ms(config.heartbeat.close_grace_ms),
    }
}

pub(super) fn turn_limits(config: &Config, sessions_max: usize) -> TurnLimits {
    TurnLimits {
        looks_per_turn_max: config.limits.looks_per_turn_max,
        busy_poll: Duration::from_micros(config.limits.busy_poll_us.into()),
        sends_per_enter_max: config.limits.sends_per_enter_max,
        sends_per_turn_max: config.limits.sends_per_turn_max,
        cancel_timeout: Duration::from_millis(config.heartbeat.close_grace_ms.into()),
        sessions_max,
    }
}
