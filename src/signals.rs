//! Signal handling on a thread of its own.
//!
//! ```text
//!   SIGTERM, SIGINT   the first stops the gateway, the second ends the process at once
//!   SIGHUP            reads the key files again; never ends the process
//! ```
//!
//! The signals are caught before the config is read, so that none of them has its default action. A
//! signal that arrives before the gateway runs takes effect once it does.

use campanile::gateway::KeyFiles;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};

/// The main thread's side of the signal thread.
#[derive(Debug)]
pub(crate) struct StopSignals {
    stop: Receiver<i32>,
    reload: Arc<Reload>,
}

/// The key files, once known, and whether a reload is pending.
#[derive(Debug, Default)]
struct Reload {
    files: OnceLock<KeyFiles>,
    is_pending: AtomicBool,
}

impl StopSignals {
    /// Catches the signals and starts the signal thread.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if a signal handler or the thread cannot be set up.
    pub(crate) fn catch() -> io::Result<Self> {
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let (sender, stop) = channel();
        let reload = Arc::new(Reload::default());
        let shared = Arc::clone(&reload);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || run(signals, &sender, &shared))?;
        Ok(Self { stop, reload })
    }

    /// Sets the files that SIGHUP reloads, once the gateway runs. Reloads them now if SIGHUP has
    /// come before.
    pub(crate) fn on_reload(&self, files: KeyFiles) {
        drop(self.reload.files.set(files)); // called once, so the cell is empty
        fence(Ordering::SeqCst);
        self.reload.read_if_pending();
    }

    /// Waits for the first SIGTERM or SIGINT and returns its number.
    pub(crate) fn wait_for_stop(&self) -> i32 {
        self.stop.recv().expect("the signal thread never ends")
    }
}

fn run(mut signals: Signals, stop: &Sender<i32>, reload: &Reload) {
    let mut is_stopping = false;
    for signal in signals.forever() {
        if signal == SIGHUP {
            reload.is_pending.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            reload.read_if_pending();
        } else if is_stopping {
            tracing::warn!(signal, "a second signal to stop: ending at once");
            exit_now(signal);
        } else {
            // `send` fails if the start has just failed; then the process ends by itself.
            is_stopping = stop.send(signal).is_ok();
        }
    }
}

impl Reload {
    /// Reads the files again if they are known and a reload is pending.
    fn read_if_pending(&self) {
        if let Some(files) = self.files.get()
            && self.is_pending.swap(false, Ordering::SeqCst)
        {
            reload_now(files);
        }
    }
}

fn reload_now(files: &KeyFiles) {
    let result = files.reload();
    tracing::info!(
        changed = result.changed,
        unchanged = result.unchanged,
        failed = result.failed,
        "SIGHUP: key files were read again"
    );
}

/// Ends the process with the status that shells report for a signal: 128 plus its number. Raising
/// the signal's default action would not end PID 1 of a container.
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "part of main; it waits only for the log, for a bounded time"
)]
fn exit_now(signal: i32) -> ! {
    campanile::logging::flush_before_exit();
    process::exit(128 + signal)
}
