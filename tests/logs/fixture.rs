//! The fixture of the tests: a gateway with a chosen standard error, clients, and waits for lines.

use crate::GATEWAY;
use campanile_tests::client::{Client, closing, expect_no_message, open};
use campanile_tests::net::{connect, free_address};
use campanile_tests::process::{KillOnDrop, read_address, signal_child};
use campanile_tests::{PATIENCE, wait_for};
use rustix::process::Signal;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::Receiver;

/// A running gateway. Dropping it kills the process.
pub(crate) struct Served {
    child: KillOnDrop,
    pub(crate) address: SocketAddr,
    /// Kept open, so that standard output has a reader.
    _output: Option<BufReader<ChildStdout>>,
}

/// Starts the executable with a config and flags.
#[track_caller]
pub(crate) fn serve(config: &str, flags: &[&str], stderr: impl Into<Stdio>) -> Served {
    let mut command = GATEWAY.command(Some(config));
    command.args(flags);
    let mut child = spawn(command, Stdio::piped(), stderr.into());
    let mut output = BufReader::new(child.stdout.take().expect("piped above"));
    let address = read_address(&mut output);
    Served {
        child,
        address: address.expect("it serves"),
        _output: Some(output),
    }
}

/// Starts the executable with a chosen standard output, on an address that is selected before.
#[track_caller]
pub(crate) fn serve_with_stdout(stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Served {
    let address = free_address();
    let mut command = Command::new(GATEWAY.path);
    command.args(["--shards", "2", "--listen", &address.to_string()]);
    let child = spawn(command, stdout.into(), stderr.into());
    wait_for("it listens", || TcpStream::connect(address).is_ok());
    Served {
        child,
        address,
        _output: None,
    }
}

fn spawn(mut command: Command, stdout: Stdio, stderr: Stdio) -> KillOnDrop {
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let child = command.spawn();
    KillOnDrop(child.expect("the program can be executed"))
}

impl Served {
    /// Sends `count` invalid requests on separate connections. Each causes a line at `debug`.
    pub(crate) fn send_invalid_requests(&self, count: usize) {
        for _ in 0..count {
            let mut peer = connect(self.address);
            peer.write_all(b"nonsense\r\n\r\n").expect("it reads");
            // Read the response until the connection ends, also by a reset.
            drop(peer.read_to_end(&mut Vec::new()));
        }
    }

    /// Opens enough sessions for every shard and asserts that each gets a pong.
    pub(crate) fn sessions(&self) -> Vec<Client> {
        let mut clients: Vec<Client> = (0..16).map(|_| open(self.address, "/ws")).collect();
        clients.iter_mut().for_each(expect_no_message);
        clients
    }

    /// Stops the gateway with SIGTERM. Asserts that every session gets code 1001 and the exit is 0.
    #[track_caller]
    pub(crate) fn expect_stop(self, clients: Vec<Client>) {
        signal_child(&self.child, Signal::TERM);
        for mut client in clients {
            assert_eq!(closing(&mut client).0, 1001);
            // Send the reply to the close frame.
            while client.read().is_ok() {}
        }
        assert_eq!(self.child.wait_for_end().code(), Some(0));
    }
}

/// Waits for a line that contains all `parts`.
#[track_caller]
pub(crate) fn expect(lines: &Receiver<String>, parts: &[&str]) -> String {
    let mut before = Vec::new();
    while let Ok(line) = lines.recv_timeout(PATIENCE) {
        if parts.iter().all(|part| line.contains(part)) {
            return line;
        }
        before.push(line);
    }
    panic!("no line has all of {parts:?}: {before:#?}");
}
