//! The `campanile` binary: reads the command line and the config, and runs a gateway until a
//! signal.

mod signals;

use campanile::cli::{self, Cli, Command};
use campanile::config::{Config, KeyLines};
use campanile::gateway::Gateway;
use campanile::logging;
use clap::Parser;
use signals::StopSignals;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    campanile::abort_on_panic();
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Config(flags)) => {
            print(&cli::print(*flags)).map_err(|error| error.to_string())
        }
        Some(Command::Check(check)) => {
            cli::check(check).and_then(|line| print(&line).map_err(|error| error.to_string()))
        }
        None => StopSignals::catch()
            .map_err(|error| error.to_string())
            .and_then(|signals| {
                let loaded = cli::load(&cli.serve).map_err(|errors| errors.to_string());
                let (config, lines) = loaded?;
                serve(&config, &lines, &signals)
            }),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let lines = error.lines().map(|line| format!("campanile: {line}\n"));
            write_error(lines.collect());
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal comes. Clients are not affected if standard output or standard error block
/// or fail.
///
/// # Errors
///
/// The text of the error if the log or the gateway cannot start.
fn serve(config: &Config, lines: &KeyLines, signals: &StopSignals) -> Result<(), String> {
    let log = logging::start(config).map_err(|error| error.to_string())?;
    let served = serve_and_log(config, lines, signals);
    log.finish(milliseconds(config.logging.flush_ms));
    served
}

fn serve_and_log(config: &Config, lines: &KeyLines, signals: &StopSignals) -> Result<(), String> {
    let builder = Gateway::builder(config.clone()).on_idle(collect_memory);
    let started = builder.start();
    let gateway = started.map_err(|error| cli::message(&error, config, lines))?;
    signals.on_reload(gateway.key_files());
    let text = cli::welcome(config, gateway.local_addrs(), gateway.shard_count());
    write_welcome(text + &cli::limits_line(gateway.limits()));

    let signal = signals.wait_for_stop();
    tracing::info!(signal, "stopping");
    let counters = gateway.stop(milliseconds(config.shutdown_grace_ms));
    tracing::info!(
        connections = counters.connections_accepted,
        sessions = counters.sessions_opened,
        publications = counters.publications,
        deliveries = counters.deliveries,
        ends = ?counters.ends,
        rejections = counters.rejections.values().sum::<u64>(),
        "stopped"
    );
    Ok(())
}

/// Writes the start-up text on a thread of its own, because standard output may block.
fn write_welcome(text: String) {
    let thread = std::thread::Builder::new().name("welcome".to_owned());
    let started = thread.spawn(move || {
        if let Err(error) = print(&text) {
            tracing::warn!(%error, "cannot write the start-up text to standard output");
        }
    });
    if let Err(error) = started {
        tracing::warn!(%error, "cannot write the start-up text: no thread");
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush())
}

/// Writes the final error, for at most [`ERROR_TIMEOUT`], because standard error may block.
fn write_error(text: String) {
    let (sender, done) = channel();
    let thread = std::thread::Builder::new().name("final-error".to_owned());
    let started = thread.spawn(move || {
        // A failure cannot be reported, and the receiver may have stopped waiting.
        drop(io::stderr().write_all(text.as_bytes()));
        match sender.send(()) {
            Ok(()) | Err(_) => {}
        }
    });
    if started.is_ok() {
        match done.recv_timeout(ERROR_TIMEOUT) {
            Ok(()) | Err(_) => {}
        }
    }
}

fn milliseconds(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

/// Maximum time to write the final error.
const ERROR_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns freed memory that the allocator keeps for this thread to the kernel.
#[expect(unsafe_code, reason = "mimalloc offers this as a C function only")]
fn collect_memory() {
    // SAFETY: it may be called at any time and touches only the allocator's own state.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
