//! An example as a child process: start, log, stop, kill on drop.
//!
//! The executable is the one that cargo has built beside the tests. It listens on a free port,
//! which is read from its log. Every wait has a timeout; nothing sleeps.

use campanile_tests::PATIENCE;
use campanile_tests::process::{KillOnDrop, address_in, lines, signal_child};
use rustix::process::Signal;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;

/// A running example. Dropping it kills the process.
pub(crate) struct Example {
    child: KillOnDrop,
    /// The address on which it listens.
    pub(crate) address: SocketAddr,
    lines: Receiver<String>,
    /// Log lines that no test has expected yet.
    passed: VecDeque<String>,
}

impl Example {
    /// Starts the example `name` and waits until it listens.
    #[track_caller]
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let child = Command::new(executable(name))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = KillOnDrop(child.expect("the example can be executed"));
        let lines = lines(child.stderr.take().expect("piped above"));
        let mut example = Self {
            child,
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            lines,
            passed: VecDeque::new(),
        };
        example.address = address_in(&example.expect_log("ws://"));
        example
    }

    /// Returns the first unexpected log line that contains `wanted`, and waits for it if necessary.
    #[track_caller]
    pub(crate) fn expect_log(&mut self, wanted: &str) -> String {
        if let Some(at) = self.passed.iter().position(|line| line.contains(wanted)) {
            return self.passed.remove(at).expect("just found");
        }
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let Ok(line) = line else {
                panic!("does not log {wanted:?}, but {:?}", self.passed);
            };
            if line.contains(wanted) {
                return line;
            }
            self.passed.push_back(line);
        }
    }

    /// Stops the example with SIGTERM and asserts success.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        signal_child(&self.child, Signal::TERM);
        self.expect_log("sessions were served");
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{status}");
        for line in self.passed.drain(..).chain(self.lines.iter()) {
            assert!(!line.contains("panicked"), "{line}");
        }
    }
}

/// Returns the path of an example that cargo has built.
///
/// # Panics
///
/// The executable is missing or older than its source; `cargo test --test examples` does not build
/// examples.
#[track_caller]
pub(crate) fn executable(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("it runs");
    let target = test.ancestors().nth(2).expect("in target/debug/deps");
    let executable = target.join("examples").join(name);
    let built = modified(&executable);
    for source in sources(&executable.with_extension("d")) {
        let is_fresh = modified(&source) <= built;
        assert!(
            is_fresh && built.is_some(),
            "{} is not built, or not from what is here: run `cargo build --examples`",
            executable.display()
        );
    }
    executable
}

/// Returns the source files of an executable from cargo's dependency file; if that is missing, its
/// own path.
fn sources(dependencies: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(dependencies).unwrap_or_default();
    let list = text.lines().next().and_then(|line| line.split_once(": "));
    let Some((_, list)) = list else {
        return vec![dependencies.to_owned()];
    };
    list.split(' ').map(PathBuf::from).collect()
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    let metadata = std::fs::metadata(path).ok()?;
    metadata.modified().ok()
}
