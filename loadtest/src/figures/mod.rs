//! `loadtest figures`: each promised figure measured, against its bound, in one table.
//!
//! A figure is a file (or shares one with its kin); each starts the servers it needs and stops them
//! again, so that figures do not warm or fatten each other's processes.

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

/// What can be measured.
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
    /// System calls of the shard's thread per push to 1,000 sessions
    Syscalls,
    /// Anonymous memory per idle session
    Memory,
    /// CPU per connection, from connect to registered
    Connect,
    /// Latency of one push to one session
    Rtt,
}

/// The default configuration but for the heartbeat, in a file that goes when this is dropped.
///
/// The figures' readers count bytes: a ping after 30 s of silence would be bytes too many, and they
/// answer none.
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

/// Runs the command; `true` when every figure that was measured holds.
///
/// # Errors
///
/// A server could not be started, or a measurement went wrong.
pub(crate) fn run(arguments: &FiguresArguments) -> Outcome<bool> {
    let cores = Cores::find()?;
    cores.stand_on_client()?;
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
            println!("{row}"); // at once: a later figure may fail or be interrupted
            rows.push(row);
        }
    }
    for note in rows.iter().filter_map(Row::note) {
        println!("\n{note}");
    }
    Ok(rows.iter().all(Row::holds))
}

/// What every figure needs to be measured.
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
        let fanout = |clients, frames, pushers, bound| Fanout {
            clients,
            frames,
            pushers,
            bound,
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

/// An engine for a gateway whose `groups` users have so many sessions each.
fn engine(gateway: &Gateway, groups: Vec<u32>) -> Outcome<Engine> {
    let setup = Setup {
        target: gateway.target().clone(),
        protocol: ProtocolName::Wserver.build(&Options::default()),
        groups: groups.into(),
        bytes: MESSAGE_BYTES,
        speakers: 1,
        sources: Vec::new(),
        counts_receivers: true,
        keeps_times: false,
        may_end: false,
    };
    Engine::new(&setup, &Arc::new(Shared::new(1)?), 0)
}

/// Pushes `pushes` messages to each of the first `users` users of `engine`, and reads them; many
/// users' pushes are pipelined at a time.
///
/// # Errors
///
/// One does not arrive, or reaches another number of sessions than the user has.
fn push_to_each(engine: &mut Engine, users: usize, pushes: usize) -> Outcome<()> {
    let at_once = PIPELINED_MAX.div_ceil(pushes);
    for first in (0..users).step_by(at_once) {
        engine.step(first..users.min(first + at_once), pushes, Until::Delivered)?;
    }
    engine.check()
}

/// As many pushes as fit into a socket's buffer, whatever the kernel's defaults.
const PIPELINED_MAX: usize = 128;
/// The sessions whose memory is the zero of the memory figure.
const BASE_SESSIONS: usize = 100;
/// How many handshakes are under way at once where the figures speak of a storm.
const STORM_AT_A_TIME: usize = 256;
/// Seeds every bootstrap: the same samples give the same table.
const BOOTSTRAP_SEED: u64 = 0x6361_6d70;
