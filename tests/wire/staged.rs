//! The tests of this crate once more, with a byte stage between every socket and the gateway.
//!
//! ```text
//!   test <--plain--> proxy <--records--> stage, gateway      one process with proxy and gateway
//! ```
//!
//! The other tests run in a process of their own, in which the fixture starts this file's gateway
//! in place of the executable. Left out are tests of what the kernel keeps for a client that does
//! not read, since the proxy reads.

use campanile::cli::{self, Cli};
use campanile::driver::stage::{Stage, StageError};
use campanile::gateway::Gateway;
use campanile::logging;
use campanile_tests::process::{STAGED, STAGED_ARGUMENTS};
use campanile_tests::records::{Opener, Record, Sealer};
use campanile_tests::spawn;
use clap::Parser as _;
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_other_tests_pass_through_a_byte_stage() {
    if std::env::var_os(STAGED).is_some() {
        return; // this is one of them
    }
    let mut command = Command::new(std::env::current_exe().expect("it runs"));
    command.env(STAGED, "1");
    for test in LEFT_OUT {
        command.args(["--skip", test]);
    }
    let output = command.output().expect("it can be executed");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    println!("{text}");
}

/// Serves until SIGTERM, with a proxy that speaks plain bytes.
#[test]
#[ignore = "a program of the test above"]
fn gateway() {
    let Ok(arguments) = std::env::var(STAGED_ARGUMENTS) else {
        return;
    };
    let arguments = ["campanile"].into_iter().chain(arguments.split(' '));
    let cli = Cli::parse_from(arguments);
    let mut signals = Signals::new([SIGTERM]).expect("it can be caught");
    let (config, _) = cli::load(&cli.serve).expect("the config is valid");
    let log = logging::start(&config).expect("it can be written");
    let grace = Duration::from_millis(config.shutdown_grace_ms.into());
    let builder = Gateway::builder(config).stage(Arc::new(|| Box::new(RecordStage::new())));
    let gateway = builder.start().expect("it can be started");
    let address = gateway.local_addr();

    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    println!("ws://{}/", listener.local_addr().expect("bound"));
    spawn("proxy", move || {
        for client in listener.incoming().flatten() {
            drop(relay(&client, address));
        }
    });
    signals.forever().next();
    tracing::info!("stopping");
    // Tests look for these counts in the log.
    let counters = gateway.stop(grace);
    tracing::info!(
        connections = counters.connections_accepted,
        sessions = counters.sessions_opened,
        publications = counters.publications,
        deliveries = counters.deliveries,
        ends = ?counters.ends,
        rejections = counters.rejections.values().sum::<u64>(),
        "stopped"
    );
    log.finish(Duration::from_secs(1));
}

/// Starts to relay between a client and the gateway.
fn relay(client: &TcpStream, gateway: SocketAddr) -> io::Result<()> {
    let gateway = TcpStream::connect(gateway)?;
    gateway.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (from_client, to_client) = (client.try_clone()?, client.try_clone()?);
    let (to_gateway, from_gateway) = (gateway.try_clone()?, gateway);
    spawn("upwards", move || {
        if seal(&from_client, &to_gateway).is_err() {
            reset(&to_gateway);
        }
    });
    spawn("downwards", move || {
        if open(&from_gateway, &to_client).is_err() {
            reset(&to_client);
        }
    });
    Ok(())
}

fn seal(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let mut sealer = Sealer::new(1);
    let (mut bytes, mut sealed) = (vec![0; 16 << 10], Vec::new());
    sealer.hello(&mut sealed);
    loop {
        let len = from.read(&mut bytes)?;
        if len == 0 {
            sealer.end(&mut sealed);
            to.write_all(&sealed)?;
            return to.shutdown(Shutdown::Write);
        }
        sealer.seal(&bytes[..len], &mut sealed);
        to.write_all(&sealed)?;
        sealed.clear();
    }
}

fn open(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let (mut opener, mut bytes) = (Opener::new(), vec![0; 16 << 10]);
    loop {
        let len = from.read(&mut bytes)?;
        if len == 0 {
            return to.shutdown(Shutdown::Write);
        }
        let mut plain = Vec::new();
        let opened = opener.open(&mut bytes[..len], &mut |record| {
            if let Record::Data(bytes) = record {
                plain.extend_from_slice(bytes);
            }
        });
        opened.expect("the gateway's records are valid");
        to.write_all(&plain)?;
    }
}

/// Ends a connection as its other side has ended.
fn reset(socket: &TcpStream) {
    let socket = socket2::SockRef::from(socket);
    drop(socket.set_linger(Some(Duration::ZERO)));
    drop(socket.shutdown(Shutdown::Both));
}

/// A stage that opens and seals records. It seals nothing before the client's greeting.
struct RecordStage {
    opener: Opener,
    sealer: Sealer,
    is_greeted: bool,
    owes_greeting: bool,
}

impl RecordStage {
    fn new() -> Self {
        Self {
            opener: Opener::new(),
            sealer: Sealer::new(2),
            is_greeted: false,
            owes_greeting: false,
        }
    }
}

impl Stage for RecordStage {
    fn receive(
        &mut self,
        bytes: &mut [u8],
        plain: &mut dyn FnMut(&mut [u8]),
    ) -> Result<(), StageError> {
        let mut is_greeted = false;
        let opened = self.opener.open(bytes, &mut |record| match record {
            Record::Hello => is_greeted = true,
            Record::Data(bytes) => plain(bytes),
            Record::End => {}
        });
        self.is_greeted |= is_greeted;
        self.owes_greeting |= is_greeted;
        opened.map_err(StageError)
    }

    fn receive_end(&mut self) -> Result<(), StageError> {
        let has_ended = self.opener.has_ended();
        has_ended
            .then_some(())
            .ok_or(StageError("the end was not announced"))
    }

    fn wants_to_send(&self) -> bool {
        self.owes_greeting
    }

    fn send_own(&mut self, out: &mut Vec<u8>) {
        self.owes_greeting = false;
        self.sealer.hello(out);
    }

    fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> usize {
        if !self.is_greeted {
            return 0;
        }
        self.sealer.seal(plain, out);
        plain.len()
    }

    fn seal_end(&mut self, out: &mut Vec<u8>) {
        if !self.is_greeted {
            self.sealer.hello(out);
        }
        self.sealer.end(out);
    }

    fn held_bytes(&self) -> usize {
        self.opener.held_bytes()
    }
}

/// Tests of the kernel's buffers and of descriptors, and deadlines, which take long.
const LEFT_OUT: &[&str] = &[
    "send_buffers",
    "slow_readers",
    "deadlines",
    "without_descriptors",
    "a_client_that_does_not_read",
    "that_reads_no_responses",
];
