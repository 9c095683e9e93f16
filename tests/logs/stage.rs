//! A gateway whose standard error is the test's to choose, strangers, and lines to wait for.

use crate::client::{Client, open, settle};
use crate::full_pipe::wait;
use crate::process::{PATIENCE, gateway};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead as _, BufReader, PipeReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tungstenite::Message;

/// A gateway that serves; killed when dropped.
pub(crate) struct Served {
    child: Option<Child>,
    pub(crate) address: SocketAddr,
    /// Kept open: somebody who goes away is another story.
    _output: Option<BufReader<ChildStdout>>,
}

/// Starts the executable with a config and flags.
#[track_caller]
pub(crate) fn serve(config: &str, flags: &[&str], stderr: impl Into<Stdio>) -> Served {
    let mut command = gateway(Some(config));
    command.args(flags);
    let mut child = spawn(command, Stdio::piped(), stderr.into());
    let mut output = BufReader::new(child.stdout.take().expect("piped above"));
    let address = loop {
        let mut line = String::new();
        let len = output.read_line(&mut line).expect("text");
        assert!(len > 0, "it does not serve");
        if let Some((_, rest)) = line.split_once("ws://") {
            let address = rest.split('/').next().and_then(|it| it.parse().ok());
            break address.expect("an address and a port");
        }
    };
    Served {
        child: Some(child),
        address,
        _output: Some(output),
    }
}

/// The same for one whose standard output is the test's to choose too, so that it says nowhere
/// where it listens.
#[track_caller]
pub(crate) fn serve_saying_nothing(stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let mut command = Command::new(env!("CARGO_BIN_EXE_campanile"));
    command.args(["--shards", "2", "--listen", &address.to_string()]);
    let child = spawn(command, stdout.into(), stderr.into());
    let served = Served {
        child: Some(child),
        address,
        _output: None,
    };
    wait_for("it listens", || TcpStream::connect(address).is_ok());
    served
}

fn spawn(mut command: Command, stdout: Stdio, stderr: Stdio) -> Child {
    command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
    let child = command.spawn();
    child.expect("the program can be executed")
}

impl Served {
    /// Strangers that send something which is no request: each is a line at `debug`.
    pub(crate) fn strangers(&self, count: usize) {
        for _ in 0..count {
            let mut peer = TcpStream::connect(self.address).expect("it listens");
            peer.set_read_timeout(Some(PATIENCE)).expect("not zero");
            peer.write_all(b"nonsense\r\n\r\n").expect("it reads");
            // Until it has been answered and closed; a reset is as good.
            drop(peer.read_to_end(&mut Vec::new()));
        }
    }

    /// Sessions enough for every shard to have some, each of which is answered.
    pub(crate) fn sessions(&self) -> Vec<Client> {
        let mut clients: Vec<Client> = (0..16).map(|_| open(self.address, "/ws")).collect();
        clients.iter_mut().for_each(settle);
        clients
    }

    /// Asks it to stop: every session hears so, and it ends well.
    #[track_caller]
    pub(crate) fn stops_in_order(mut self, clients: Vec<Client>) {
        let child = self.child.take().expect("it runs");
        kill_process(Pid::from_child(&child), Signal::TERM).expect("it is our child");
        for mut client in clients {
            let message = client.read().expect("a close frame comes");
            let Message::Close(Some(frame)) = message else {
                panic!("{message:?}");
            };
            assert_eq!(u16::from(frame.code), 1001);
            // The answer to it.
            while client.read().is_ok() {}
        }
        assert_eq!(wait(child).code(), Some(0));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take()
            && child.kill().is_ok()
        {
            child.wait().expect("it is our child");
        }
    }
}

/// The lines that come out of a pipe from now on.
pub(crate) fn lines(pipe: PipeReader) -> Receiver<String> {
    let (sender, lines) = channel();
    let thread = std::thread::Builder::new().name("log lines".to_owned());
    let reading = move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    };
    thread.spawn(reading).expect("a thread");
    lines
}

/// Waits for a line with all of these parts.
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

#[track_caller]
pub(crate) fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let (_sender, never) = channel::<()>();
    let pause = Duration::from_millis(5);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if condition() {
            return;
        }
        assert!(never.recv_timeout(pause).is_err());
    }
    panic!("not in time: {what}");
}
