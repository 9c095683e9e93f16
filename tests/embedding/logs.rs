//! What the gateways of this process log, for tests to wait for.

use campanile_tests::PATIENCE;
use std::io;
use std::sync::OnceLock;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// What is logged from now on.
pub(crate) struct Log(std::cell::RefCell<Receiver<String>>);

/// Begins to watch what is logged. All tests of the process log to the same place, so what is
/// waited for must name something that only one of them has.
pub(crate) fn watch() -> Log {
    static LINES: OnceLock<Sender<String>> = OnceLock::new();
    let lines = LINES.get_or_init(|| {
        let (sender, _) = channel(LINES_MAX);
        let lines = sender.clone();
        let set = tracing_subscriber::fmt()
            .with_env_filter("campanile=debug")
            .with_ansi(false)
            .with_writer(move || Lines(lines.clone()))
            .try_init();
        set.expect("nobody else in this process does so");
        sender
    });
    Log(lines.subscribe().into())
}

impl Log {
    /// Waits for a line with all of these parts, and returns it.
    #[track_caller]
    pub(crate) fn expect(&self, parts: &[&str]) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let mut lines = self.0.borrow_mut();
        let found = async {
            loop {
                let line = lines.recv().await.expect("few lines are logged at once");
                if parts.iter().all(|part| line.contains(part)) {
                    return line;
                }
            }
        };
        let timed = async { tokio::time::timeout(PATIENCE, found).await };
        let line = runtime.expect("a runtime").block_on(timed);
        line.unwrap_or_else(|_| panic!("no line has all of {parts:?}"))
    }
}

impl Log {
    /// Shows that no line so far that was not looked at has all of these parts.
    #[track_caller]
    pub(crate) fn expect_not(&self, parts: &[&str]) {
        let mut lines = self.0.borrow_mut();
        loop {
            let line = match lines.try_recv() {
                Ok(line) => line,
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
                Err(TryRecvError::Lagged(_)) => panic!("too many lines to look at"),
            };
            let has_all = parts.iter().all(|part| line.contains(part));
            assert!(!has_all, "{line}");
        }
    }
}

/// Takes what is written: one line at a time.
struct Lines(Sender<String>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Perhaps nobody watches just now.
        drop(self.0.send(String::from_utf8_lossy(bytes).into_owned()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LINES_MAX: usize = 16_384;
