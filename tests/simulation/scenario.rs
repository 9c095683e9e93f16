//! What a simulated world is like, and the config that its gateway runs with.

use campanile::config::{Config, Route};
use campanile::dialect::edk::Edk;
use campanile::time::TICK_MS;

/// What a world is like.
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
    /// Whether clients stall, vanish and are dropped, and time leaps.
    pub(crate) has_faults: bool,
    /// Whether there are channels, users with one session each, and an embedder.
    pub(crate) has_channels: bool,
    /// Whether nothing happens for minutes, often.
    pub(crate) is_quiet: bool,
    /// Whether there is nobody but sessions that are told of each other, and taps.
    pub(crate) has_taps: bool,
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
        // The model knows what clients and handlers do, and no program of the config's.
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
            route.limits.registration_timeout_ms = ms(scenario.registration_timeout);
        }
    }
    config
}

pub(crate) fn user_name(user: usize) -> String {
    format!("u{user}")
}

/// The event under which a user is pushed to; a registration for another one hears nothing.
pub(crate) fn event_of(user: usize) -> &'static str {
    ["even", "odd"][user % 2]
}

/// Users that are pushed to; `d0` and `d1`, who are dropped, are not among them.
pub(crate) const USERS: usize = 5;
/// Users who have one session each.
pub(crate) const EXCLUSIVE: [&str; 2] = ["x0", "x1"];
/// What somebody hears who registers for one of them as for any user.
pub(crate) const EXCLUSIVE_EVENT: &str = "x";
/// What is published to: anyone may listen to the first two, some to the third, and only the
/// embedder puts sessions on the fourth.
pub(crate) const CHANNELS: [&str; 4] = ["open", "free", "asked", "made"];
/// Channels on which nothing is said, to have too many of.
pub(crate) const FILLERS: [&str; 2] = ["full0", "full1"];
/// As many channels as a session may be on.
pub(crate) const CHANNELS_MAX: usize = 4;
/// More than all batches of a simulated shard ever hold.
pub(crate) const PUBLICATION_BYTES_AMPLE: u64 = 256 << 20;
/// In ticks.
pub(crate) const IDLE_TIMEOUT: u32 = 400;
pub(crate) const CLOSE_GRACE: u32 = 50;
pub(crate) const PUSH_TIMEOUT: u32 = 60;
