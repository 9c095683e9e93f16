//! The signals that the process reacts to, on a thread of their own.
//!
//! ```text
//!   SIGTERM, SIGINT   the first stops the gateway, the second ends the process at once
//!   SIGHUP            reads key files again, at any time; never ends the process
//! ```
//!
//! They are caught before anything of a config is read, so that none of them finds its default
//! action. Until the gateway runs, a wish to stop waits, and key files are read once it does.

use campanile::gateway::KeyFiles;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::process;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

/// What the thread of the signals has to tell, and is told.
#[derive(Debug)]
pub(crate) struct Wishes {
    stop: Receiver<i32>,
    reload: Arc<Mutex<Reload>>,
}

/// The key files, or whether somebody has asked for them before they were known.
#[derive(Debug)]
enum Reload {
    Starting { is_wanted: bool },
    Running(KeyFiles),
}

impl Wishes {
    /// Catches the signals and starts the thread.
    pub(crate) fn catch() -> io::Result<Self> {
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let (sender, stop) = channel();
        let reload = Arc::new(Mutex::new(Reload::Starting { is_wanted: false }));
        let shared = Arc::clone(&reload);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || watch(signals, &sender, &shared))?;
        Ok(Self { stop, reload })
    }

    /// The gateway runs: from now on SIGHUP reads these files again, and so does one that has come
    /// before.
    pub(crate) fn on_reload(&self, files: KeyFiles) {
        let mut reload = self.reload.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *reload, Reload::Running(files));
        if let (Reload::Starting { is_wanted: true }, Reload::Running(files)) = (before, &*reload) {
            read_again(files);
        }
    }

    /// Waits for the signal that stops the gateway, and returns it.
    pub(crate) fn wait_for_stop(&self) -> i32 {
        self.stop.recv().expect("the thread of the signals goes on")
    }
}

fn watch(mut signals: Signals, stop: &Sender<i32>, reload: &Mutex<Reload>) {
    let mut is_stopping = false;
    for signal in signals.forever() {
        if signal == SIGHUP {
            match &mut *reload.lock().unwrap_or_else(PoisonError::into_inner) {
                Reload::Starting { is_wanted } => *is_wanted = true,
                Reload::Running(files) => read_again(files),
            }
        } else if is_stopping {
            tracing::warn!(signal, "a second signal to stop: ending at once");
            end_at_once(signal);
        } else {
            // Nobody waits if the start has just failed, and the process ends by itself.
            is_stopping = stop.send(signal).is_ok();
        }
    }
}

fn read_again(files: &KeyFiles) {
    let result = files.reload();
    tracing::info!(
        changed = result.changed,
        unchanged = result.unchanged,
        failed = result.failed,
        "SIGHUP: key files were read again"
    );
}

/// Ends the process with the status that shells give to one that a signal has ended. To be ended by
/// the signal itself is not possible for the first process of a container.
#[expect(clippy::exit, reason = "it is a part of main, and waits for nobody")]
fn end_at_once(signal: i32) -> ! {
    process::exit(128 + signal)
}
