//! The log lines of this process, for tests to wait for.

use campanile_tests::PATIENCE;
use std::io;
use std::sync::OnceLock;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::broadcast::{Receiver, Sender, channel};

/// The log lines from now on.
pub(crate) struct Log(std::cell::RefCell<Receiver<String>>);

/// Begins to collect log lines. All tests of the process share one log, so an expected line must
/// contain something unique to its test.
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
        set.expect("this process has no other subscriber");
        sender
    });
    Log(lines.subscribe().into())
}

impl Log {
    /// Waits for a line that contains all `parts` and returns it.
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
    /// Asserts that no unread line so far contains all `parts`.
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

/// A writer that forwards lines. Each write is one line.
struct Lines(Sender<String>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // There may be no receiver now.
        drop(self.0.send(String::from_utf8_lossy(bytes).into_owned()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LINES_MAX: usize = 16_384;
