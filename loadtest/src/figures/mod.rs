//! `loadtest figures`: measures every promised figure and prints it with its limit in one table.
//!
//! Each figure starts its own servers and stops them, so that no figure depends on the caches or
//! the memory of an earlier one.

mod arguments;
mod connect;
mod fanout;
mod memory;
mod rtt;
mod syscalls;
mod table;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;

pub(crate) use self::arguments::FiguresArguments;
use self::fanout::{Fanout, Pushers};
use self::table::Row;
use crate::clock;
use crate::cores::Cores;
use crate::engine::{Engine, Setup, Shared, Until};
use crate::failure::{Attempt as _, Outcome};
use crate::gateway::{Gateway, GatewayOptions};
use crate::procfs::{self, wait_until_idle};
use crate::protocol::{Name as ProtocolName, Options};
use crate::wire::MESSAGE_BYTES;

/// The names of the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// One push of 128 bytes at a time to 1,000 sessions
    #[value(name = "fanout-1000")]
    Fanout1000,
    /// The same to 10,000 sessions
    #[value(name = "fanout-10000")]
    Fanout10000,
    /// 16 pushes outstanding, each on its own connection, to 1,000 sessions
    #[value(name = "window-1000")]
    Window1000,
    /// 16 pushes outstanding, pipelined on one connection, to 1,000 sessions
    #[value(name = "pipelined-1000")]
    Pipelined1000,
    /// System calls of the shard thread per push to 1,000 sessions
    Syscalls,
    /// Anonymous memory per idle session
    Memory,
    /// CPU per connection, from connect to registered
    Connect,
    /// Latency of one push to one session
    Rtt,
}

/// A temporary configuration file with the defaults but without heartbeats. Dropping it removes
/// the file.
///
/// The clients of some figures count bytes and do not respond to pings, which the gateway sends
/// after 30 s without traffic.
struct QuietConfig {
    path: PathBuf,
}

impl QuietConfig {
    fn write() -> Outcome<Self> {
        let name = format!("loadtest-{}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, QUIET_CONFIG).attempt(&format!("write {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for QuietConfig {
    fn drop(&mut self) {
        // A file left in the temporary folder is harmless.
        drop(fs::remove_file(&self.path));
    }
}

const QUIET_CONFIG: &str = "[heartbeat]\nping_interval_ms = 86400000\nidle_timeout_ms = 86400000\n";

/// Runs the command. Returns `true` if every measured figure holds.
///
/// # Errors
///
/// A server cannot be started, or a measurement failed.
pub(crate) fn run(arguments: &FiguresArguments) -> Outcome<bool> {
    let cores = Cores::find()?;
    cores.pin_to_client()?;
    let quiet = QuietConfig::write()?;
    let config = arguments.gateway.config.clone();
    let bench = Bench {
        options: GatewayOptions {
            executable: arguments.gateway.gateway.clone(),
            config: Some(config.unwrap_or_else(|| quiet.path.clone())),
            shards: 1,
            port: 0,
        },
        cores,
        pairs: arguments.pairs,
        round_ms: arguments.round_ms,
        memory_sessions: arguments.memory_sessions,
    };
    println!(
        "{}; {}; {}",
        procfs::machine(),
        bench.cores.describe(),
        clock::date()
    );
    println!(
        "{} pairs of {} ms, one shard\n",
        bench.pairs, bench.round_ms
    );

    let all = Name::value_variants();
    let chosen = if arguments.only.is_empty() {
        all
    } else {
        &arguments.only
    };
    let mut rows = Vec::new();
    println!("{}", table::HEAD);
    for name in chosen {
        for row in bench.measure(*name)? {
            println!("{row}"); // A later figure may fail or be interrupted.
            rows.push(row);
        }
    }
    for note in rows.iter().filter_map(Row::note) {
        println!("\n{note}");
    }
    Ok(rows.iter().all(Row::holds))
}

/// The settings of all figures.
#[derive(Debug)]
struct Bench {
    options: GatewayOptions,
    cores: Cores,
    pairs: usize,
    round_ms: u64,
    memory_sessions: usize,
}

impl Bench {
    fn measure(&self, name: Name) -> Outcome<Vec<Row>> {
        let fanout = |clients, frames, pushers, limit| Fanout {
            clients,
            frames,
            pushers,
            limit,
        };
        match name {
            Name::Fanout1000 => fanout(1_000, 1, Pushers::Many, 1.15).measure(self),
            Name::Fanout10000 => fanout(10_000, 1, Pushers::Many, 1.15).measure(self),
            Name::Window1000 => fanout(1_000, 16, Pushers::Many, 1.3).measure(self),
            Name::Pipelined1000 => fanout(1_000, 16, Pushers::One, 1.5).measure(self),
            Name::Syscalls => syscalls::measure(self),
            Name::Memory => memory::measure(self),
            Name::Connect => connect::measure(self),
            Name::Rtt => rtt::measure(self),
        }
    }

    fn start_gateway(&self) -> Outcome<Gateway> {
        Gateway::start(&self.options, &self.cores)
    }
}

/// Creates an engine for a gateway. `groups` has the number of sessions of each user.
fn engine(gateway: &Gateway, groups: Vec<u32>) -> Outcome<Engine> {
    let setup = Setup {
        target: gateway.target().clone(),
        protocol: ProtocolName::Wserver.build(&Options::default()),
        groups: groups.into(),
        bytes: MESSAGE_BYTES,
        client_publishers: 1,
        sources: Vec::new(),
        counts_receivers: true,
        keeps_times: false,
        may_end: false,
    };
    Engine::new(&setup, &Arc::new(Shared::new(1)?), 0)
}

/// Pushes `pushes` messages to each of the first `users` users and waits for their delivery.
///
/// At most about [`PIPELINED_MAX`] pushes are in flight at a time.
///
/// # Errors
///
/// A push fails, or it does not reach exactly the sessions of its user.
fn push_to_each(engine: &mut Engine, users: usize, pushes: usize) -> Outcome<()> {
    let at_once = PIPELINED_MAX.div_ceil(pushes);
    for first in (0..users).step_by(at_once) {
        engine.step(first..users.min(first + at_once), pushes, Until::Delivered)?;
    }
    engine.check()
}

/// The number of pushes in flight. They fit into a socket's buffer with all kernel defaults.
const PIPELINED_MAX: usize = 128;
/// The sessions whose memory is the baseline of the figure `memory`.
const BASE_SESSIONS: usize = 100;
/// The number of concurrent handshakes when a figure opens many sessions.
const STORM_AT_A_TIME: usize = 256;
/// The seed of every bootstrap, constant so that equal samples give equal tables.
const BOOTSTRAP_SEED: u64 = 0x6361_6d70;
