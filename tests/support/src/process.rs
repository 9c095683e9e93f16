//! Child processes: start, log, stop, pause, kill on drop.
//!
//! The gateway is started on a free port; its address is read from its standard output.

use crate::{PATIENCE, spawn, wait_for};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::env;
use std::io::{self, BufRead, BufReader, PipeReader, PipeWriter, Write as _, pipe};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// The executable under test. Create it with [`executable!`](crate::executable) in the test's
/// crate: cargo sets the path only there.
#[derive(Clone, Copy, Debug)]
pub struct Executable {
    /// The path of the executable.
    pub path: &'static str,
    /// A folder for temporary files.
    pub folder: &'static str,
    /// The name of the test's crate, a prefix of file names in `folder`.
    pub test: &'static str,
}

/// Creates the [`Executable`] of the calling test's crate.
#[macro_export]
macro_rules! executable {
    () => {
        $crate::process::Executable {
            path: env!("CARGO_BIN_EXE_campanile"),
            folder: env!("CARGO_TARGET_TMPDIR"),
            test: env!("CARGO_CRATE_NAME"),
        }
    };
}

impl Executable {
    /// Starts the gateway with four shards and an optional config.
    #[track_caller]
    pub fn start(&self, config: Option<&str>) -> Process {
        Process::start(self.command(config))
    }

    /// Starts the gateway with `shards` shards and an optional config.
    #[track_caller]
    pub fn start_on(&self, shards: usize, config: Option<&str>) -> Process {
        Process::start(self.command_on(shards, config))
    }

    /// Returns a command with four shards, a free port and an optional config.
    pub fn command(&self, config: Option<&str>) -> Command {
        self.command_on(4, config)
    }

    /// Returns a command with `shards` shards, a free port and an optional config.
    pub fn command_on(&self, shards: usize, config: Option<&str>) -> Command {
        let shards = shards.to_string();
        let mut arguments = vec!["--listen", "127.0.0.1:0", "--shards", &shards];
        let file = config.map(|text| self.config_file(text));
        if let Some(file) = &file {
            arguments.extend(["--config", file.to_str().expect("a path of cargo's")]);
        }
        if env::var_os(STAGED).is_some() {
            return staged(&arguments);
        }
        let mut command = Command::new(self.path);
        command.args(arguments);
        command
    }

    /// Writes a config file of the current test and returns its path.
    pub fn config_file(&self, text: &str) -> PathBuf {
        let name = thread::current().name().unwrap_or("main").to_owned();
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let path = Path::new(self.folder).join(format!("{}-{name}.toml", self.test));
        std::fs::write(&path, text).expect("cargo made the folder");
        path
    }
}

/// Returns a command that runs the test `staged::gateway` of the current test's crate in place of
/// the executable.
fn staged(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::current_exe().expect("it runs"));
    command.args(["staged::gateway", "--exact", "--ignored", "--nocapture"]);
    command.env(STAGED_ARGUMENTS, arguments.join(" "));
    command
}

/// The variable that makes tests run gateways with a byte stage (`tests/wire/staged.rs`).
pub const STAGED: &str = "CAMPANILE_STAGED";
/// The variable with the arguments of such a gateway.
pub const STAGED_ARGUMENTS: &str = "CAMPANILE_STAGED_ARGUMENTS";

/// A child process. Dropping it kills the process.
#[derive(Debug)]
pub struct KillOnDrop(pub Child);

impl KillOnDrop {
    /// Waits until the process has exited.
    #[track_caller]
    pub fn wait_for_end(mut self) -> ExitStatus {
        let mut status = None;
        wait_for("it ends", || {
            status = self.0.try_wait().expect("it is our child");
            status.is_some()
        });
        status.expect("just waited for")
    }
}

impl Deref for KillOnDrop {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for KillOnDrop {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        // It fails only if the process has exited already.
        if self.0.kill().is_ok() {
            self.0.wait().expect("it is our child");
        }
    }
}

/// A running gateway. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    /// The process.
    pub child: KillOnDrop,
    /// The listening address.
    pub address: SocketAddr,
    log: Receiver<String>,
}

/// The result of a process that has exited.
#[derive(Debug)]
pub struct Ended {
    /// The exit status.
    pub status: ExitStatus,
    /// The standard error of the process.
    pub log: String,
}

impl Process {
    /// Starts `command` and waits until it listens.
    ///
    /// # Panics
    ///
    /// The process exits or prints no address within [`PATIENCE`]. The message has its standard
    /// error.
    #[track_caller]
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        let mut child = KillOnDrop(child.expect("the program can be executed"));
        let log = collect(child.stderr.take().expect("piped above"));

        let mut output = BufReader::new(child.stdout.take().expect("piped above"));
        let (found, address) = channel();
        spawn("gateway output", move || {
            if let Some(address) = read_address(&mut output) {
                found.send(address).expect("the receiver waits");
            }
            drop(found);
            // Discard the rest, because a full pipe would block the gateway.
            drop(io::copy(&mut output, &mut io::sink()));
        });
        let Ok(address) = address.recv_timeout(PATIENCE) else {
            // The log is complete only after the exit.
            drop(child.kill());
            panic!("does not serve: {}", log.recv().unwrap_or_default());
        };
        Self {
            child,
            address,
            log,
        }
    }

    /// Sends a signal to the process.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        signal_child(&self.child, signal);
    }

    /// Stops the gateway with SIGTERM and waits until it has exited.
    #[track_caller]
    pub fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Waits until the process has exited by itself.
    #[track_caller]
    pub fn wait(mut self) -> Ended {
        let log = self.log.recv_timeout(PATIENCE);
        let log = log.expect("it ends, and standard error with it");
        let status = self.child.wait().expect("it is our child");
        Ended { status, log }
    }
}

/// Sends a signal to a child process.
#[track_caller]
pub fn signal_child(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("it is our child");
}

/// Pauses a child process (SIGSTOP) and waits until none of its threads runs.
#[track_caller]
pub fn pause(child: &Child) {
    signal_child(child, Signal::STOP);
    let stopped = waitpid(Some(Pid::from_child(child)), WaitOptions::UNTRACED);
    let stopped = stopped.expect("it is our child");
    assert!(stopped.is_some_and(|(_, status)| status.stopped()));
}

/// Continues a paused child process (SIGCONT).
#[track_caller]
pub fn resume(child: &Child) {
    signal_child(child, Signal::CONT);
}

/// Reads until a gateway prints its address; `None` if the output ends before.
#[track_caller]
pub fn read_address(output: &mut impl BufRead) -> Option<SocketAddr> {
    let mut line = String::new();
    while output.read_line(&mut line).is_ok_and(|len| len > 0) {
        if line.contains("ws://") {
            return Some(address_in(&line));
        }
        line.clear();
    }
    None
}

/// Returns the address in a line with a `ws://` URL.
#[track_caller]
pub fn address_in(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("ws://").expect("a URL");
    let address = rest.split('/').next().and_then(|it| it.parse().ok());
    address.expect("an address and a port")
}

/// Returns the lines of a pipe from now on. The pipe is read to its end even if the receiver is
/// dropped, because a full pipe would block its writer.
pub fn lines(pipe: impl io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    spawn("lines of output", move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            drop(sender.send(line));
        }
    });
    lines
}

/// Creates a full pipe: writes block until it is read.
pub fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("two descriptors");
    let flags = fcntl_getfl(&writer).expect("it is open");
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("it is open");
    while writer.write(&[b'\n'; 4096]).is_ok() {}
    while writer.write(b"\n").is_ok() {}
    fcntl_setfl(&writer, flags).expect("it is open");
    (reader, writer)
}

/// Reads a pipe to its end and sends the text.
pub fn collect(mut pipe: impl io::Read + Send + 'static) -> Receiver<String> {
    let (ended, text) = channel();
    spawn("collecting output", move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        // The receiver is gone after a timeout.
        drop(ended.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    text
}
