//! The gateway as a process of its own: started, listened to, told to stop, killed on drop.
//!
//! It is started on a port of the kernel's choice and its address is read from what it says on
//! standard output. Every wait has a time-out; nothing sleeps. It knows nothing of the gateway's
//! code.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

/// A gateway that serves; killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    log: Receiver<String>,
}

/// A process that has ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// All that it wrote to standard error.
    pub(crate) log: String,
}

impl Process {
    /// Starts `command` and waits until it serves.
    ///
    /// # Panics
    ///
    /// If it ends, or says nothing for [`PATIENCE`]; with what it wrote to standard error.
    #[track_caller]
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be executed");
        let log = collect(child.stderr.take().expect("piped above"));

        let mut output = BufReader::new(child.stdout.take().expect("piped above"));
        let (found, address) = channel();
        spawn("gateway output", move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|len| len > 0) {
                if let Some((_, rest)) = line.split_once("ws://") {
                    let address = rest.split('/').next().and_then(|it| it.parse().ok());
                    let sent = found.send(address.expect("an address and a port"));
                    sent.expect("somebody waits for it");
                    break;
                }
                line.clear();
            }
            drop(found);
            // Nobody reads on, yet a full pipe would stop the gateway.
            drop(io::copy(&mut output, &mut io::sink()));
        });
        let Ok(address) = address.recv_timeout(PATIENCE) else {
            // What it has said is of use only once it has ended.
            drop(child.kill());
            panic!("does not serve: {}", log.recv().unwrap_or_default());
        };
        Self {
            child,
            address,
            log,
        }
    }

    /// Asks it to stop and waits until it has.
    #[track_caller]
    pub(crate) fn stop(self) -> Ended {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is our child");
        self.wait()
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let log = self.log.recv_timeout(PATIENCE);
        let log = log.expect("it ends, and standard error with it");
        let status = self.child.wait().expect("it is our child");
        Ended { status, log }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        if self.child.kill().is_ok() {
            self.child.wait().expect("it is our child");
        }
    }
}

/// The executable under test, four shards, a port of the kernel's choice; with a config, if any.
pub(crate) fn gateway(config: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
    command.args(["--listen", "127.0.0.1:0", "--shards", "4"]);
    if let Some(text) = config {
        command.arg("--config").arg(config_file(text));
    }
    command
}

/// A file with this text, of its own for every test.
pub(crate) fn config_file(text: &str) -> PathBuf {
    let test = thread::current().name().unwrap_or("main").to_owned();
    let name = test.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    let file = format!("{}-{name}.toml", env!("CARGO_CRATE_NAME"));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(file);
    std::fs::write(&path, text).expect("cargo made the folder");
    path
}

/// Sends all that is written to a pipe, once its other end is closed.
pub(crate) fn collect(mut pipe: impl io::Read + Send + 'static) -> Receiver<String> {
    let (ended, text) = channel();
    spawn("collecting output", move || {
        let mut bytes = Vec::new();
        drop(pipe.read_to_end(&mut bytes));
        // Whoever has given up waiting needs it no more.
        drop(ended.send(String::from_utf8_lossy(&bytes).into_owned()));
    });
    text
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(body).expect("a thread");
}

/// For anything that happens at once unless something is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
