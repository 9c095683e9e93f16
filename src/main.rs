//! Reads the command line and the config, runs a gateway, stops it when asked to.

use campanile::cli::{self, Cli, Command};
use campanile::config::{self, Config, Log};
use campanile::gateway::Gateway;
use clap::Parser;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::filter::LevelFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    campanile::abort_on_panic();
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Config) => say(&config::default_text()),
        Some(Command::Check(check)) => cli::check(check)
            .map_err(|error| error.to_string())
            .and_then(|line| say(&line)),
        None => cli::load(&cli.serve)
            .map_err(|error| error.to_string())
            .and_then(|it| serve(&it)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails.
            drop(writeln!(std::io::stderr(), "campanile: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(config: &Config) -> Result<(), String> {
    start_logging(config.log);
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|error| error.to_string())?;
    let builder = Gateway::builder(config.clone()).on_idle(collect_memory);
    let gateway = builder.start().map_err(|error| error.to_string())?;
    say(&cli::welcome(
        config,
        gateway.local_addr(),
        gateway.shards_count(),
    ))?;

    let asked = signals.forever().next();
    tracing::info!(signal = asked, "stopping");
    let counters = gateway.stop(Duration::from_millis(u64::from(config.shutdown_grace_ms)));
    tracing::info!(
        connections = counters.connections_accepted,
        sessions = counters.sessions_opened,
        publications = counters.publications,
        deliveries = counters.deliveries,
        ends = ?counters.ends,
        "stopped"
    );
    Ok(())
}

fn say(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    let text = text.trim_end();
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(|error| error.to_string())
}

fn start_logging(log: Log) {
    let level = match log {
        Log::Error => LevelFilter::ERROR,
        Log::Warn => LevelFilter::WARN,
        Log::Info | Log::Json => LevelFilter::INFO,
        Log::Debug => LevelFilter::DEBUG,
        Log::Trace => LevelFilter::TRACE,
    };
    let logging = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_max_level(level);
    if log == Log::Json {
        logging.json().init();
    } else {
        logging.init();
    }
}

/// Returns to the kernel what the allocator kept of memory that this thread gave up.
#[expect(unsafe_code, reason = "mimalloc offers this as a C function only")]
fn collect_memory() {
    // SAFETY: it may be called at any time and touches only the allocator's own state.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
