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
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};

/// What the thread of the signals has to tell, and is told.
#[derive(Debug)]
pub(crate) struct Wishes {
    stop: Receiver<i32>,
    reload: Arc<Reload>,
}

/// The key files, once they are known, and whether somebody wants them read again.
#[derive(Debug, Default)]
struct Reload {
    files: OnceLock<KeyFiles>,
    is_wanted: AtomicBool,
}

impl Wishes {
    /// Catches the signals and starts the thread.
    pub(crate) fn catch() -> io::Result<Self> {
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        let (sender, stop) = channel();
        let reload = Arc::new(Reload::default());
        let shared = Arc::clone(&reload);
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || watch(signals, &sender, &shared))?;
        Ok(Self { stop, reload })
    }

    /// The gateway runs: from now on SIGHUP reads these files again, and so does one that has come
    /// before.
    pub(crate) fn on_reload(&self, files: KeyFiles) {
        drop(self.reload.files.set(files)); // it runs once
        fence(Ordering::SeqCst);
        self.reload.read_if_wanted();
    }

    /// Waits for the signal that stops the gateway, and returns it.
    pub(crate) fn wait_for_stop(&self) -> i32 {
        self.stop.recv().expect("the thread of the signals goes on")
    }
}

fn watch(mut signals: Signals, stop: &Sender<i32>, reload: &Reload) {
    let mut is_stopping = false;
    for signal in signals.forever() {
        if signal == SIGHUP {
            reload.is_wanted.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            reload.read_if_wanted();
        } else if is_stopping {
            tracing::warn!(signal, "a second signal to stop: ending at once");
            end_at_once(signal);
        } else {
            // Nobody waits if the start has just failed, and the process ends by itself.
            is_stopping = stop.send(signal).is_ok();
        }
    }
}

impl Reload {
    /// Reads the files again, if they are known and that is wanted.
    fn read_if_wanted(&self) {
        if let Some(files) = self.files.get()
            && self.is_wanted.swap(false, Ordering::SeqCst)
        {
            read_again(files);
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
#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "it is a part of main, and waits for nobody but the log, for a moment"
)]
fn end_at_once(signal: i32) -> ! {
    campanile::logging::flush_before_exit();
    process::exit(128 + signal)
}
