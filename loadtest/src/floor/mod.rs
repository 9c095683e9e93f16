//! The floor: what the kernel alone costs for the same bytes, to hold the gateway's price against.
//!
//! `ring.rs` is the floor of throughput, a bare `io_uring` loop; `epoll.rs` that of latency. Both
//! are processes of their own, started here, so that their CPU time is nobody else's.

pub(crate) mod epoll;
pub(crate) mod ring;

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::cli::{FloorArguments, ReaderArguments};
use crate::cores::Cores;
use crate::failure::{Attempt as _, Failure, Outcome};
use crate::rounds::{Asking, Reader};
use crate::stats::duration;
use crate::wire::Target;
use crate::{gateway, limits, procfs};

/// Runs the command: one line a second, then the best and the median are the reader's to see.
///
/// # Errors
///
/// The floor could not be started, or a byte was lost.
pub(crate) fn run(arguments: FloorArguments) -> Outcome<bool> {
    let FloorArguments {
        clients,
        frames,
        seconds,
    } = arguments;
    let cores = Cores::find()?;
    cores.stand_on_client()?;
    println!("{}; {}", procfs::machine(), cores.describe());

    let (_floor, mut reader) = start_with_reader(clients, frames, &cores)?;
    let mut costs = Vec::new();
    for _ in 0..seconds {
        let round = reader.round(1000)?;
        costs.push(round.server_ns_each());
        println!(
            "{} deliveries to {clients} sockets, {frames} at a time: {} of server CPU each \
             (client {})",
            round.deliveries,
            duration(round.server_ns_each()),
            duration(round.client_ns_each()),
        );
    }
    println!(
        "median {} per delivery",
        duration(crate::stats::median(&costs))
    );
    Ok(true)
}

/// A floor of `clients` sockets and the client process that has filled them.
///
/// # Errors
///
/// One of them could not be started.
pub(crate) fn start_with_reader(
    clients: usize,
    frames: usize,
    cores: &Cores,
) -> Outcome<(Floor, Reader)> {
    let floor = Floor::start_ring(clients, frames, cores)?;
    let reader = Reader::start(&ReaderArguments {
        target: floor.url.clone(),
        pid: floor.pid(),
        clients,
        frames,
        asking: Asking::Trigger,
    })?;
    Ok((floor, reader))
}

/// A floor's process; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    url: String,
}

impl Floor {
    /// The bare ring that sends `frames` frames to each of `clients` sockets per trigger.
    ///
    /// # Errors
    ///
    /// It could not be started; it said on standard error why.
    pub(crate) fn start_ring(clients: usize, frames: usize, cores: &Cores) -> Outcome<Self> {
        let (clients, frames) = (clients.to_string(), frames.to_string());
        Self::start(
            &["floor-server", "--clients", &clients, "--frames", &frames],
            cores,
        )
    }

    /// The epoll loop that answers one trigger with one frame on another socket.
    ///
    /// # Errors
    ///
    /// It could not be started; it said on standard error why.
    pub(crate) fn start_epoll(cores: &Cores) -> Outcome<Self> {
        Self::start(&["epoll-server"], cores)
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// It printed something else than a URL.
    pub(crate) fn target(&self) -> Outcome<Target> {
        Target::parse(&self.url)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn start(arguments: &[&str], cores: &Cores) -> Outcome<Self> {
        let own = std::env::current_exe().attempt("find this program's own executable")?;
        let mut command = Command::new(own);
        command.args(arguments).stdout(Stdio::piped());
        let mut child = cores.start_on_server(&mut command, "start the floor")?;
        let mut url = String::new();
        let printed = child.stdout.take().expect("it is piped");
        let read = BufReader::new(printed).read_line(&mut url);
        let floor = Self {
            child,
            url: url.trim_end().to_owned(),
        };
        match read.attempt("read from the floor")? {
            0 => Err(Failure::new("the floor ended before it listened")),
            _ => Ok(floor),
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        gateway::stop(&mut self.child);
    }
}

/// A listener on a free port of loopback, its URL printed for the parent; with room in its queue
/// for as many as connect at once.
fn listen() -> Outcome<(TcpListener, Target)> {
    limits::end_with_parent()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).attempt("listen on loopback")?;
    rustix::net::listen(&listener, BACKLOG).attempt("listen on loopback")?;
    let address = listener.local_addr().attempt("ask for the port")?;
    let url = format!("ws://{address}/ws");
    println!("{url}");
    Ok((listener, Target::parse(&url)?))
}

const BACKLOG: i32 = 4096;
