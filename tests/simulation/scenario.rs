//! Scenarios of the simulation: parameters, and the config of the gateway.

use campanile::config::{Config, Route};
use campanile::dialect::edk::Edk;
use campanile::time::TICK_MS;

/// The parameters of a simulation.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) shards: usize,
    pub(crate) mailbox_messages: usize,
    pub(crate) mailbox_bytes: u64,
    pub(crate) pushes_in_flight: u32,
    pub(crate) outbox_bytes: u32,
    pub(crate) publication_bytes: u64,
    pub(crate) batch_bytes: u32,
    pub(crate) registration_timeout: u32,
    pub(crate) handshake_timeout: u32,
    pub(crate) steps: u32,
    pub(crate) sessions: usize,
    pub(crate) pushers: usize,
    /// True if clients stall, abort and are dropped, and time leaps.
    pub(crate) has_faults: bool,
    /// True if there are channels, exclusive users and an embedder.
    pub(crate) has_channels: bool,
    /// True if there are frequent pauses of minutes.
    pub(crate) is_quiet: bool,
    /// True if there are only sessions with presence, and taps.
    pub(crate) has_taps: bool,
    /// True if sessions move between shards.
    pub(crate) has_moves: bool,
}

pub(crate) fn config(scenario: &Scenario) -> Config {
    let mut config = Config::default();
    let ms = |ticks: u32| ticks * u32::try_from(TICK_MS).expect("small");
    config.limits.pushes_in_flight_max = scenario.pushes_in_flight;
    config.limits.publication_bytes_max = scenario.publication_bytes;
    config.limits.batch_bytes_max = scenario.batch_bytes;
    config.limits.gather_bytes_max = 1_024;
    config.heartbeat.handshake_timeout_ms = ms(scenario.handshake_timeout);
    config.heartbeat.close_grace_ms = ms(CLOSE_GRACE);
    config.http.keep_alive_timeout_ms = ms(120);
    config.http.body_timeout_ms = ms(120);
    config.http.push_timeout_ms = ms(PUSH_TIMEOUT);
    config.http.http_in_bytes_max = 4_096;
    config.http.http_out_bytes_max = 4_096;
    if scenario.has_channels {
        config.limits.channels_per_session_max = u32::try_from(CHANNELS_MAX).expect("few");
        config.limits.claims_waiting_max = 2;
        let mut yields = Route::new("/edk-yields", &Edk);
        yields.kick_out_new_user_conn = true;
        config.routes.push(yields);
    }
    for route in &mut config.routes {
        // The model does not cover commands and channels of the config.
        route.commands.clear();
        route.channels.clear();
        route.join_on_open.clear();
        if scenario.has_taps && route.dialect.name() == "projectforge" {
            route.tap_path = Some("/tap".to_owned());
        }
        if scenario.has_channels {
            route.namespace = Some("town".to_owned());
        }
        route.limits.outbox_bytes_max = scenario.outbox_bytes;
        route.limits.ping_interval_ms = ms(100);
        route.limits.idle_timeout_ms = ms(IDLE_TIMEOUT);
        if route.dialect.name() == "wserver" {
            if scenario.has_channels {
                // The witnesses are never slow, not even in a step that applies many publications.
                route.limits.outbox_bytes_max = 1 << 20;
            }
            route.limits.registration_timeout_ms = ms(scenario.registration_timeout);
        }
    }
    config
}

pub(crate) fn user_name(user: usize) -> String {
    format!("u{user}")
}

/// Returns the event of pushes to a user. A registration for another event receives nothing.
pub(crate) fn event_of(user: usize) -> &'static str {
    ["even", "odd"][user % 2]
}

/// The number of users that are pushed to, without `d0` and `d1`, which are dropped.
pub(crate) const USERS: usize = 5;
/// The users with at most one session.
pub(crate) const EXCLUSIVE: [&str; 2] = ["x0", "x1"];
/// The event of pushes to exclusive users, for registrations in `wserver`.
pub(crate) const EXCLUSIVE_EVENT: &str = "x";
/// The channels that are published to. All clients may join the first two, some the third; only the
/// embedder joins sessions to the fourth.
pub(crate) const CHANNELS: [&str; 4] = ["open", "free", "asked", "made"];
/// The channel of [`CHANNELS`] whose members miss what their outbox has no room for.
pub(crate) const LOSSY: &str = CHANNELS[1];
/// Pending bytes up to which an outbox accepts a publication of any size.
pub(crate) const HEADROOM_BYTES: u64 = 1_024;
/// The longest frame of a publication to a channel.
pub(crate) const FRAME_BYTES_MAX: u64 = 1_600;
/// Channels without publications, to reach the limit of channels.
pub(crate) const FILLERS: [&str; 2] = ["full0", "full1"];
/// The limit of channels per session.
pub(crate) const CHANNELS_MAX: usize = 4;
/// A limit of publication bytes that no simulated shard reaches.
pub(crate) const PUBLICATION_BYTES_AMPLE: u64 = 256 << 20;
/// In ticks, like the next two.
pub(crate) const IDLE_TIMEOUT: u32 = 400;
pub(crate) const CLOSE_GRACE: u32 = 50;
pub(crate) const PUSH_TIMEOUT: u32 = 60;
